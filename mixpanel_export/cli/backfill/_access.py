"""
The format of web servers' access logs: a line for each request, a page view each.

Apache calls it "combined", and nginx has it by the same name. -- Apache HTTP Server 2.4, Log Files;
nginx, ngx_http_log_module (read 2026-11-21). Without referrer and agent at its end it is "common".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

from mixpanel_export._ids import address
from mixpanel_export._web import agent, campaign, current_url, referrer
from mixpanel_export.cli.backfill._pieces import Chunk, lines
from mixpanel_export.cli.backfill._trouble import Fault, excerpt

_QUOTED: Final = r'"((?:[^"\\]|\\.)*)"'

# Agents with a line break in their name end without quote.
_REQUEST: Final = re.compile(
    r'(\S+) \S+ \S+ \[([^]]+)\] "([A-Z]+) (\S+)(?: [^"]*)?" (\d{3}) (\d+|-)'
    rf'(?: {_QUOTED} {_QUOTED[:-1]}"?)?\s*'
)

# `current_url` wants a whole address, and a log has paths only.
_SITE: Final = "http://log"


def is_access_log(line: bytes) -> bool:
    """Say whether *line* is one of an access log."""
    return _REQUEST.fullmatch(line.decode("utf-8", "backslashreplace")) is not None


def access_log(pieces: Iterable[bytes]) -> Iterator[Chunk]:
    """Give the requests of an access log; raises `Damage` as *pieces* do."""
    for chunk in lines(pieces):
        items = [_request(item) if isinstance(item, bytes) else item for item in chunk.items]
        yield Chunk(items, chunk.numbers, chunk.end)


def _request(line: bytes) -> dict[str, Any] | Fault | bytes:
    if not line.strip():
        return b""
    match = _REQUEST.fullmatch(line.decode("utf-8", "backslashreplace"))
    if match is None:
        return Fault("is not a request of an access log", excerpt(line))
    client, moment, method, target, status, size, referer, browser = match.groups(default="")
    try:
        time = datetime.strptime(moment, "%d/%b/%Y:%H:%M:%S %z")
    except ValueError:
        return Fault(f"has a time that does not exist: {moment}", excerpt(line))
    return {
        "event": "Page Viewed",
        "time": time,
        "distinct_id": _visitor(client, browser),
        "method": method,
        "path": _path(target),
        "status": int(status),
        **({"bytes": int(size)} if size.isdigit() else {}),
        **({"ip": found} if (found := address(client)) else {}),
        **campaign(target.partition("?")[2]),
        **referrer(referer),
        **agent(browser),
        **({"user_agent": browser} if browser not in {"", "-"} else {}),
    }


@lru_cache(maxsize=10_000)
def _visitor(client: str, browser: str) -> str:
    # The same visitor has the same id on every day, without being named by it.
    return sha256(f"{client} {browser}".encode()).hexdigest()[:32]


@lru_cache(maxsize=10_000)
def _path(target: str) -> str:
    found = current_url(_SITE + target if target.startswith("/") else target).get("$current_url")
    path = str(found or target).removeprefix(_SITE)
    # What follows a question mark may be a secret, a key to reset a password say.
    return path.partition("?")[0]
