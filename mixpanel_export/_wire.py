"""Requests and responses, and what a batch looks like on the wire."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import orjson

from mixpanel_export._batch import Batch, Lane
from mixpanel_export._exceptions import SettingsError

if TYPE_CHECKING:
    from mixpanel_export._settings import Settings


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request, complete but for what the transport adds (Host, Content-Length)."""

    url: str
    body: bytes = field(repr=False)
    # Credentials stand here: never shown.
    headers: Mapping[str, str] = field(repr=False)
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class Response:
    """A complete HTTP response."""

    status: int
    """The status code."""

    body: bytes = b""
    """The content, decompressed."""

    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""


def encode(batch: Batch, settings: Settings) -> Request:
    """
    Make the request that delivers *batch*, to the endpoint of its lane.

    The same batch gives the same bytes at every attempt. Lines hold no token; where the endpoint
    wants it in each record it is put there now.

    Raises:
        SettingsError: If *settings* hold no credentials for the endpoint.
    """
    if batch.lane in {Lane.IMPORT, Lane.IDENTITY}:
        return _encode_import(batch, settings)
    if not settings.token:
        raise SettingsError(f"/{batch.lane.value} needs the token")
    body, gzip = batch.array(), False
    token = orjson.dumps(settings.token)
    if batch.lane is Lane.TRACK:
        # The first properties of a line are the event's own: within the name quotes are escaped.
        lines = (
            line.replace(b'"properties":{', b'"properties":{"token":' + token + b",", 1)
            for line in batch.lines()
        )
        body, gzip = Batch.of(list(lines), gzip=batch.gzip).body, batch.gzip
    else:
        # A line break is never part of a line, so this finds the beginning of each but the first.
        prefix = b'{"$token":' + token + b","
        body = b"[" + prefix + body[2:].replace(b",\n{", b",\n" + prefix)
    # Without ip=0 the profile is located by our own address. -- Mixpanel docs, Geolocation (read
    # 2026-08-21). verbose=1 gives the reason where something is refused.
    url = f"{settings.host}/{batch.lane.value}?{urlencode({'verbose': '1', 'ip': '0'})}"
    return Request(url=url, body=body, headers=_headers(gzip=gzip))


def _encode_import(batch: Batch, settings: Settings) -> Request:
    credentials = settings.credentials
    if credentials is None:
        raise SettingsError(
            "there are no credentials; set token, or service_account, service_secret and project_id"
        )
    # The project's number belongs to a service account only: with a token it must be absent.
    # -- Mixpanel docs, Import Events (read 2026-08-21).
    query = {"strict": "1"} if settings.strict else {"verbose": "1"}
    if settings.service_account:
        query["project_id"] = str(settings.project_id)
    basic = b64encode(":".join(credentials).encode()).decode()
    headers = {"Authorization": f"Basic {basic}", **_headers(gzip=batch.gzip)}
    url = f"{settings.host}/import?{urlencode(query)}"
    return Request(url=url, body=batch.body, headers=headers)


def _headers(*, gzip: bool) -> dict[str, str]:
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json",
        "User-Agent": "mixpanel-export-python",
    }
    return {**headers, "Content-Encoding": "gzip"} if gzip else headers
