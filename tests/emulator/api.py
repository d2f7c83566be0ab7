"""
A client of the emulator that says what a test means, and nothing of ours in between.
"""

from __future__ import annotations

import base64
import gzip
import itertools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx

from mixpanel_export.emulator import EmulatorProcess

# Dates of an export.
EVER = "project_id=7&from_date=1971-01-01&to_date=2199-12-31"

_numbers = itertools.count()


def now_ms() -> int:
    """
    Return the time in milliseconds.
    """
    return int(time.time() * 1000)


def event(name: object = "Order Placed", **properties: object) -> dict[str, Any]:
    """
    Return an event that is valid, but for what *properties* change; None removes a property.

    ``insert_id`` stands for ``$insert_id``.
    """
    if "insert_id" in properties:
        properties["$insert_id"] = properties.pop("insert_id")
    chosen = {
        "time": now_ms(),
        "distinct_id": "u-1",
        "$insert_id": f"id-{next(_numbers)}",
        **properties,
    }
    return {"event": name, "properties": {k: v for k, v in chosen.items() if v is not None}}


def events(count: int) -> list[dict[str, Any]]:
    """
    Return valid events that differ.
    """
    return [event(number=number) for number in range(count)]


def basic(user: str, password: str = "") -> str:
    """
    Return a value for ``Authorization``.
    """
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class Api:
    """
    One emulator, seen from outside.

    Args:
        emulator: The running process.

        client: Sends the requests.
    """

    def __init__(self, emulator: EmulatorProcess, client: httpx.Client) -> None:
        self.emulator = emulator
        self.client = client

    def send(  # noqa: PLR0913  # A request has that many parts.
        self,
        path: str,
        body: bytes | str = b"",
        *,
        content_type: str = "application/json",
        authorization: str | None = None,
        headers: Mapping[str, str] | None = None,
        method: str = "POST",
    ) -> httpx.Response:
        """
        Send a request as it is.
        """
        known = {"Content-Type": content_type}
        if authorization:
            known["Authorization"] = authorization
        return self.client.request(
            method, self.emulator.url + path, content=body, headers={**known, **(headers or {})}
        )

    def imports(
        self,
        content: object,
        *,
        query: str = "?strict=1",
        authorization: str | None = basic("T"),
        headers: Mapping[str, str] | None = None,
        compressed: bool = False,
    ) -> httpx.Response:
        """
        Send *content* as JSON to /import; bytes are sent as they are.
        """
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        extra = dict(headers or {})
        if compressed:
            body, extra["Content-Encoding"] = gzip.compress(body), "gzip"
        return self.send(f"/import{query}", body, authorization=authorization, headers=extra)

    def lines(self, content: Sequence[object], *, end: str = "") -> httpx.Response:
        """
        Send one JSON value a line to /import?strict=1.
        """
        body = "\n".join(map(json.dumps, content)) + end
        return self.send(
            "/import?strict=1",
            body,
            content_type="application/x-ndjson",
            authorization=basic("T"),
        )

    def form(
        self, path: str, fields: Mapping[str, str], *, authorization: str | None = None
    ) -> httpx.Response:
        """
        Send a form.
        """
        headers = {"Authorization": authorization} if authorization else {}
        return self.client.post(self.emulator.url + path, data=dict(fields), headers=headers)

    def track(self, content: object, *, query: str = "") -> httpx.Response:
        """
        Send *content* as JSON to /track.
        """
        return self.send(f"/track{query}", json.dumps(content))

    def engage(self, *updates: Mapping[str, object], query: str = "?verbose=1") -> httpx.Response:
        """
        Send updates of users; token and id are added where they are missing.
        """
        records = [{"$token": "T", "$distinct_id": "u-1", **update} for update in updates]
        return self.send(f"/engage{query}", json.dumps(records))

    def groups(self, *updates: Mapping[str, object]) -> httpx.Response:
        """
        Send updates of groups; token, key and id are added where they are missing.
        """
        known = {"$token": "T", "$group_key": "company", "$group_id": "acme"}
        return self.send("/groups?verbose=1", json.dumps([{**known, **one} for one in updates]))

    def exported(self, query: str = "", *, days: str = EVER) -> list[dict[str, Any]]:
        """
        Return events as Mixpanel's export gives them back.
        """
        response = self.send(
            f"/api/2.0/export?{days}{query}", method="GET", authorization=basic("svc", "pw")
        )
        assert response.status_code == 200, response.text
        return [json.loads(line) for line in response.text.splitlines()]

    def properties(self) -> dict[str, Any]:
        """
        Return the properties of the only profile.
        """
        (profile,) = self.emulator.profiles()
        found: dict[str, Any] = profile["properties"]
        return found

    def stored(self) -> dict[str, Any]:
        """
        Return the properties of the only event.
        """
        (only,) = self.emulator.events()
        found: dict[str, Any] = only["properties"]
        return found


# Starts the emulator with these options, or takes the one that has them.
Run = Callable[..., Api]
