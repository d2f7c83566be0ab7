"""
One question to one host, which stores nothing.

Credentials are judged before the body, so that ``[{}]`` is a probe for them: good ones get the
answer that the event is invalid. -- mixpanel/sheets, utilities/validate.js (read 2026-08-21), which
does so against the live service.
"""

from __future__ import annotations

import dataclasses
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from mixpanel_export import Settings
from mixpanel_export._batch import Batch, Lane
from mixpanel_export._clock import Clock, Deadline
from mixpanel_export._exceptions import TransportError
from mixpanel_export._outcome import Delivered, Misconfigured, Refused, Retryable, read_response
from mixpanel_export._settings import is_loopback
from mixpanel_export._transport import HttpxTransport, Transport
from mixpanel_export._wire import Request, Response, encode

#: ``taken`` or ``refused``: Mixpanel's verdict on the credentials. ``odd``: an answer that says
#: nothing of them. ``silent``: none.
Verdict = Literal["taken", "refused", "odd", "silent"]

_NOTHING: Final = b"{}"
_REFUSING: Final = frozenset({401, 403})


@dataclass(frozen=True)
class Answer:
    """What came back."""

    host: str
    verdict: Verdict
    #: In the host's own words, or what went wrong on the way.
    text: str = ""
    #: What to do about it; empty if the verdict says enough.
    fix: str = ""
    #: Seconds by which this machine's clock is ahead of the host's; None if nobody knows.
    ahead: float | None = None


def ask_import(settings: Settings, clock: Clock) -> Answer:
    """Ask the host of *settings* whether it takes their credentials on ``/import``."""
    # `verbose=1` without strict; said outright too, as it was recorded.
    lenient = dataclasses.replace(settings, strict=False)
    batch = Batch.of([_NOTHING], gzip=settings.gzip)
    request = encode(batch, lenient)
    request = dataclasses.replace(request, url=f"{request.url}&strict=0")
    return _ask(settings, request, batch, clock)


def ask_door(settings: Settings, lane: Lane, clock: Clock) -> Answer:
    """
    Ask ``/track`` or ``/engage`` whether it answers, with something that it does not take.

    An event without a name, a profile of nobody: "event, missing" and "$distinct_id, missing or
    empty", and nothing is stored. The token is not checked there.
    """
    line = b'{"properties":{"ip":"0"}}' if lane is Lane.TRACK else b'{"$ip":"0"}'
    batch = Batch.of([line], gzip=settings.gzip and lane is Lane.TRACK, lane=lane)
    return _ask(settings, encode(batch, settings), batch, clock)


def proxy_of(settings: Settings) -> str | None:
    """Name the proxy that requests go through, without its credentials; None if there is none."""
    address = urlsplit(settings.host)
    host = address.hostname or ""
    if is_loopback(host) or proxy_bypass(host):
        return None
    proxies = getproxies()
    proxy = proxies.get(address.scheme) or proxies.get("all")
    if not proxy:
        return None
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{'***@' if parts.username else ''}{parts.hostname}{port}"


def _ask(settings: Settings, request: Request, batch: Batch, clock: Clock) -> Answer:
    transport: Transport = settings.transport or HttpxTransport(settings)
    begin = clock.wall()
    try:
        response = transport.send(request, Deadline(clock, settings.timeout))
    except TransportError as error:
        return Answer(settings.host, "silent", *_describe(error, settings))
    finally:
        if settings.transport is None:
            transport.close()
    end = clock.wall()
    ahead = _ahead(response, begin, end)
    return Answer(settings.host, *_read(response, batch, end), ahead=ahead)


def _read(response: Response, batch: Batch, now: float) -> tuple[Verdict, str, str]:
    match read_response(response, batch, now):
        case Misconfigured(status, message) if status in _REFUSING:
            return "refused", message or f"status {status}", ""
        case Misconfigured(status, message):
            fix = "look whether the address is right, and what stands in between"
            return "odd", f"status {status} {message}".rstrip(), fix
        case Refused(status, message) if status >= 400:
            return "odd", f"status {status}: {message}", "look at the message"
        case Retryable(reason):
            return "odd", reason, "try again in a minute; the events wait as long"
        case Delivered() | Refused() as judged:
            return "taken", judged.message if isinstance(judged, Refused) else "", ""
        case _:
            return "odd", f"status {response.status}", "look what answers there"


def _ahead(response: Response, begin: float, end: float) -> float | None:
    said = response.headers.get("date")
    if said is None:
        return None
    try:
        moment = parsedate_to_datetime(said).timestamp()
    except (ValueError, OverflowError):
        return None
    # It was said at some moment between both, and is cut to whole seconds.
    if begin - moment > 1:
        return max(0.0, begin - moment - 1)
    return min(0.0, end - moment)


def _describe(  # noqa: PLR0911 -- one for each thing that can go wrong
    error: TransportError, settings: Settings
) -> tuple[str, str]:
    """Say what went wrong on the way, and what to do about it."""
    host = urlsplit(settings.host).hostname
    causes = list(_causes(error))
    texts = " ".join(map(str, causes))

    def any_of(*kinds: type[BaseException]) -> bool:
        return any(isinstance(each, kinds) for each in causes)

    if any_of(ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in texts:
        return (
            f"its certificate is not trusted: {error}",
            "if a proxy opens TLS here, name its certificate by SSL_CERT_FILE",
        )
    if any_of(httpx.ProxyError):
        return f"the proxy refuses: {error}", "see HTTPS_PROXY and NO_PROXY, or ask who runs it"
    if (proxy := proxy_of(settings)) and any_of(httpx.ConnectError):
        return (
            f"the proxy {proxy} cannot be reached: {error}",
            "look at HTTPS_PROXY, or name this host in NO_PROXY",
        )
    if any_of(socket.gaierror):
        return f"the name {host} is not known", "look at base_url, and at the DNS of this machine"
    if any_of(ConnectionRefusedError):
        return "nothing listens there", "look at base_url; an emulator must have been started"
    if any_of(httpx.TimeoutException):
        return (
            f"no answer in time: {error}",
            f"let this machine reach {host}, by its firewall or through HTTPS_PROXY",
        )
    if any_of(ssl.SSLError):
        return f"no TLS: {error}", "look whether the address wants http:// or https://"
    return str(error), f"look whether this machine may reach {host}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
