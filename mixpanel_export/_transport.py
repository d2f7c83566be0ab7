"""What carries a request to the server and the answer back."""

from __future__ import annotations

import contextlib
import importlib
import os
import ssl
import sys
import threading
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

import httpcore
import httpx

from mixpanel_export._exceptions import TransportError
from mixpanel_export._settings import is_loopback
from mixpanel_export._wire import Request, Response

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mixpanel_export._clock import Deadline
    from mixpanel_export._settings import Settings

# What httpx and the standard library import when the first request is made. A fork in the middle of
# that, on a delivery thread, leaves the child with a lock that nobody will ever release (seen on
# CPython 3.11), and at exit it is too late for imports.
_LATE: Final = (
    "certifi",
    "encodings.idna",
    "h11",
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
_NOT_SENT: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,  # raised while a tunnel is opened, before anything goes through it
)

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
        self._backend = _Backend()
        self._client: httpx.Client | None = None
        # What the client would say of itself; names in lower case.
        self._headers: dict[str, str] = {}
        # Guards the client's coming and going: two threads must not open one each, and lose one.
        self._lock = threading.Lock()

    def send(self, request: Request, deadline: Deadline) -> Response:
        """Send *request*; see `Transport.send`."""
        client = self._open()
        left = max(deadline.left(), 0.001)
        timeout = httpx.Timeout(left, connect=min(left, self._connect_timeout))
        trace = _Trace()
        self._backend.current.deadline = deadline
        try:
            # Not by the client's own way to make one: to merge what is the same each time takes it
            # as long as all the rest, and no other thread runs meanwhile.
            headers = {name.lower(): value for name, value in request.headers.items()}
            prepared = httpx.Request(
                request.method,
                _parsed(request.url),
                content=request.body,
                headers=self._headers | headers,
                extensions={"timeout": timeout.as_dict(), "trace": trace},
            )
            with _untraced(), contextlib.closing(client.send(prepared, stream=True)) as answer:
                body = bytearray()
                for chunk in answer.iter_bytes():
                    body += chunk
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
                self._backend.install(self._client)
                self._headers = dict(self._client.headers)
            return self._client


class _Current(threading.local):
    """The deadline of the request that a thread is making."""

    deadline: Deadline | None = None


class _Backend(httpcore.NetworkBackend):
    """
    Opens connections whose every read and write ends at the deadline of the request.

    The client's own timeouts begin anew with each byte that arrives, so that a server that trickles
    its answer could keep a request, and the end of the process, waiting for ever.
    """

    def __init__(self) -> None:
        self._network = httpcore.SyncBackend()
        self.current = _Current()

    def install(self, client: httpx.Client) -> None:
        """Have *client* open its connections here."""
        transports = [client._transport, *client._mounts.values()]
        for transport in transports:
            # There is no public way to hand a network backend to httpx. Where a release keeps it
            # elsewhere, the client's own timeouts are all there is; a test would tell.
            pool = getattr(transport, "_pool", None)
            if pool is not None and hasattr(pool, "_network_backend"):
                pool._network_backend = self

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Open a connection."""
        return _Stream(
            self._network.connect_tcp(host, port, timeout, local_address, socket_options),
            self.current,
        )

    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Open a connection to a socket in the file system."""
        return _Stream(
            self._network.connect_unix_socket(path, timeout, socket_options), self.current
        )

    def sleep(self, seconds: float) -> None:
        """Wait, between the client's own attempts to connect."""
        self._network.sleep(seconds)


class _Stream(httpcore.NetworkStream):
    """A connection, held to the deadline of whichever request uses it."""

    def __init__(self, stream: httpcore.NetworkStream, current: _Current) -> None:
        self._stream = stream
        self._current = current
        self._pid = os.getpid()

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what is there, at most so much."""
        return self._stream.read(max_bytes, self._clip(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write all of it."""
        self._stream.write(buffer, self._clip(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        """Encrypt the connection."""
        limit = self._clip(timeout, httpcore.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, limit), self._current)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 -- httpcore's signature
        """Say something about the connection."""
        return self._stream.get_extra_info(info)

    def _clip(self, timeout: float | None, error: type[Exception]) -> float | None:
        if self._pid != os.getpid():
            # A fork copies gevent's threads: this request is the parent's.
            raise error("the connection belongs to another process")
        deadline = self._current.deadline
        if deadline is None:
            return timeout
        left = deadline.left()
        if left <= 0:
            raise error("the time for the request is over")
        return left if timeout is None else min(timeout, left)


@contextlib.contextmanager
def _untraced() -> Iterator[None]:
    """Keep OpenTelemetry, if the application uses it, from tracing our own requests."""
    context = sys.modules.get("opentelemetry.context")
    if context is None:
        yield
        return
    # The plain key is honoured by the instrumentations of HTTP clients, httpx among them.
    token = context.attach(context.set_value("suppress_instrumentation", True))
    try:
        yield
    finally:
        context.detach(token)


@lru_cache(maxsize=16)
def _parsed(url: str) -> httpx.URL:
    """Take *url* apart, once: they are as many as there are endpoints."""
    return httpx.URL(url)


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
