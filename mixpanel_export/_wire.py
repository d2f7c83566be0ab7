"""Requests and responses, and what a batch looks like on the wire."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from mixpanel_export._exceptions import SettingsError

if TYPE_CHECKING:
    from mixpanel_export._batch import Batch
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
    Make the request that delivers *batch* to ``/import``.

    The same batch gives the same bytes at every attempt.

    Raises:
        SettingsError: If *settings* hold no credentials.
    """
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
    headers = {
        "Authorization": "Basic " + b64encode(":".join(credentials).encode()).decode(),
        "Content-Type": "application/json",
        "Accept": "application/json",
        "User-Agent": "mixpanel-export-python",
    }
    if batch.gzip:
        headers["Content-Encoding"] = "gzip"
    return Request(
        url=f"{settings.host}/import?{urlencode(query)}", body=batch.body, headers=headers
    )
