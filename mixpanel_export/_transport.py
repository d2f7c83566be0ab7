"""What carries a request to the server and the answer back."""

from __future__ import annotations

import contextlib
import importlib
import ssl
import threading
from functools import cache
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

import httpx

from mixpanel_export._exceptions import TransportError
from mixpanel_export._settings import is_loopback
from mixpanel_export._wire import Request, Response

if TYPE_CHECKING:
    from mixpanel_export._clock import Deadline
    from mixpanel_export._settings import Settings

# What httpx and the standard library import when the first request is made. A fork in the middle of
# that, on a delivery thread, leaves the child with a lock that nobody will ever release (seen on
# CPython 3.11), and at exit it is too late for imports.
_LATE: Final = (
    "certifi",
    "encodings.idna",
    "h11",
    "httpcore",
    "importlib.resources.abc",
    "stringprep",
)
for _name in _LATE:
    # Another release of httpx, or of Python, may do without.
    with contextlib.suppress(ImportError):
        importlib.import_module(_name)

# Mixpanel's longest answer has a row for each of 2,000 events. Something on the way that sends more
# than this is not Mixpanel, and must not fill our memory.
MAX_RESPONSE_BYTES: Final = 4 * 1024 * 1024

# Failures at which no byte of the request has left.
_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)

# What the other side's closing of an idle connection looks like.
_CUT_OFF: Final = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)


class Transport(Protocol):
    """
    Something that carries requests. Called from several threads at once.

    An instance belongs to one process: after a fork, the child makes its own.
    """

    def send(self, request: Request, deadline: Deadline) -> Response:
        """
        Send *request* and wait for the whole answer, until *deadline* at the latest.

        Raises:
            TransportError: If there was no complete answer, for whatever reason.
        """

    def close(self) -> None:
        """Close all connections. Sending afterwards opens new ones."""


class HttpxTransport:
    """
    Carry requests with `httpx`, which honours the usual variables for proxies and certificates.

    Connections are opened when they are first needed and kept for later requests.
    """

    def __init__(self, settings: Settings) -> None:
        self._connect_timeout = settings.connect_timeout
        self._connections = settings.connections
        address = urlsplit(settings.host)
        host = address.hostname or ""
        # Here, where the application is configured, and not on a delivery thread: a fork in the
        # middle of it would leave the child with a lock inside OpenSSL that is never released.
        self._context = _context(encrypted=address.scheme == "https" or not is_loopback(host))
        # A proxy cannot reach an emulator on this machine.
        pattern = f"all://[{host}]" if ":" in host else f"all://{host}"
        self._mounts = {pattern: None} if is_loopback(host) else None
        self._client: httpx.Client | None = None
        # Guards the client's coming and going: two threads must not open one each, and lose one.
        self._lock = threading.Lock()

    def send(self, request: Request, deadline: Deadline) -> Response:
        """Send *request*; see `Transport.send`."""
        client = self._open()
        left = max(deadline.left(), 0.001)
        timeout = httpx.Timeout(left, connect=min(left, self._connect_timeout))
        trace = _Trace()
        try:
            with client.stream(
                request.method,
                request.url,
                content=request.body,
                headers=dict(request.headers),
                timeout=timeout,
                extensions={"trace": trace},
            ) as answer:
                body = bytearray()
                for chunk in answer.iter_bytes():
                    body += chunk
                    # The client's own timeout starts anew with each chunk.
                    if deadline.passed:
                        raise TransportError("the answer took too long")
                    if len(body) > MAX_RESPONSE_BYTES:
                        raise TransportError("the answer is too long to be Mixpanel's")
                headers = {name.lower(): value for name, value in answer.headers.items()}
                return Response(answer.status_code, bytes(body), headers)
        except _NOT_SENT as error:
            raise TransportError(_reason(error), sent=False) from error
        except _CUT_OFF as error:
            raise TransportError(_reason(error), stale=not trace.opened) from error
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError) as error:
            raise TransportError(_reason(error)) from error

    def close(self) -> None:
        """Close all connections; the next request opens new ones."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _open(self) -> httpx.Client:
        with self._lock:
            if self._client is None:
                limits = httpx.Limits(
                    max_connections=None, max_keepalive_connections=self._connections
                )
                self._client = httpx.Client(
                    verify=self._context,
                    limits=limits,
                    follow_redirects=False,
                    mounts=self._mounts,
                )
            return self._client


@cache
def _context(*, encrypted: bool) -> ssl.SSLContext:
    """
    Give the settings for TLS, made once and inherited by forked children.

    Args:
        encrypted: False if they are needed for the look of it only: one that trusts nobody is made
            in no time, and loading the certificates takes tens of milliseconds.
    """
    # The environment's SSL_CERT_FILE and SSL_CERT_DIR are honoured by httpx.
    return httpx.create_ssl_context() if encrypted else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class _Trace:
    """Notes whether a connection was opened for a request; if not, an earlier one served again."""

    __slots__ = ("opened",)

    def __init__(self) -> None:
        self.opened = False

    def __call__(self, event: str, _info: dict[str, object]) -> None:
        if event.startswith("connection.connect_"):
            self.opened = True


def _reason(error: Exception) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
