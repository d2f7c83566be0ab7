"""
What tests of middlewares share: a logger whose events are looked at, and a request to send.
"""

from __future__ import annotations

import logging
from typing import Any

import orjson

from mixpanel_export import MixpanelHandler, Settings
from mixpanel_export.testing import ScriptedTransport

#: What a client sends along, and what the events are to have of it.
HEADERS = {
    "Accept": "text/html",
    "User-Agent": (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15"
        " (KHTML, like Gecko) Version/17.4 Mobile/15E148 Safari/604.1"
    ),
    "Referer": "https://www.example.org/blog?reader=mary",
    "X-Forwarded-For": "6.6.6.6, 203.0.113.9",
    "Cookie": "sessionid=secret; device=d-1",
    "Host": "shop.example",
}
QUERY = "utm_source=mail&token=secret"
FACTS = {
    "ip": "203.0.113.9",
    "$current_url": "http://shop.example/tea?utm_source=mail",
    "$referrer": "https://www.example.org/blog",
    "$referring_domain": "www.example.org",
    "utm_source": "mail",
}

# In each event, or only with the extra `ua`.
_OTHER = ("time", "$insert_id", "mp_lib", "$browser", "$browser_version", "$os", "$device")


class Shop:
    """A logger with our handler on it, and what arrived."""

    def __init__(self) -> None:
        self.transport = ScriptedTransport()
        self.handler = MixpanelHandler(settings=Settings(token="t", transport=self.transport))
        # Not in the tree of loggers, so that it is gone with the test.
        self.log = logging.Logger("shop")  # noqa: LOG001 -- gone with the test
        self.log.addHandler(self.handler)

    def log_event(self, name: str, **fields: object) -> None:
        """
        Log what is an event for its mark, whatever else it carries.
        """
        self.log.info(name, extra={"mixpanel.event": True, **fields})

    def events(self) -> list[dict[str, Any]]:
        """
        Return what arrived.
        """
        assert self.handler.pipeline.flush(10.0)
        return [orjson.loads(line) for line in self.transport.lines]

    def facts(self) -> dict[str, dict[str, Any]]:
        """
        Return what was particular about each event, by its name: not what every event has.
        """
        return {
            event["event"]: {
                name: value for name, value in event["properties"].items() if name not in _OTHER
            }
            for event in self.events()
        }

    def close(self) -> None:
        """
        Stop delivering.
        """
        self.handler.pipeline.close()
