"""The process that listens: sockets, signals, and an end that leaves nothing behind."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import secrets
import socket
import threading
import time
import webbrowser
from collections.abc import Callable

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from mixpanel_export.emulator._app import TRANSPORT, Application
from mixpanel_export.emulator._gate import LOOPBACK, Gate
from mixpanel_export.emulator._options import DEFAULT_PORT, EmulatorOptions
from mixpanel_export.emulator._project import Project

# Ports tried after the usual one.
_MAX_PORTS = 100

# How often a parent that has died is noticed, in seconds.
_WATCH = 0.25

# How long an idle connection is kept, in seconds. Mixpanel does not say; nginx's default. uvicorn's
# own 5 seconds would close nearly every connection of a client that sends now and then.
_KEEP_ALIVE = 75

# How long open requests may take once the end has come, in seconds.
_GRACE = 2


class _Protocol(H11Protocol):
    """HTTP/1.1 that tells the application which connection a request came on."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # see below
        # uvicorn narrows the argument of asyncio.Protocol in the same way.
        super().connection_made(transport)
        app = self.app

        async def app_with_transport(scope: Scope, receive: Receive, send: Send) -> None:
            await app({**scope, TRANSPORT: transport}, receive, send)

        self.app = app_with_transport


class _Server(uvicorn.Server):
    """
    A server that announces itself, ends its endless answers, and dies with its parent.

    Args:
        config: As for uvicorn.

        application: What it serves.

        parent: Process without which it has no purpose, or None.

        ready: Called once connections are accepted.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        application: Application,
        *,
        parent: int | None,
        ready: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._application = application
        self._parent = parent
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def main_loop(self) -> None:
        watch = asyncio.ensure_future(self._watch_parent())
        await super().main_loop()
        watch.cancel()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Pages that listen and requests that hang would keep it waiting for ever.
        self._application.stopping.set()
        await super().shutdown(sockets)

    async def _watch_parent(self) -> None:
        # A process whose parent dies is given another one.
        while self._parent in (None, os.getppid()):  # noqa: ASYNC110  # Nothing tells of it.
            await asyncio.sleep(_WATCH)
        self.should_exit = True


def serve(options: EmulatorOptions, *, parent: int | None, announce: Callable[[str], None]) -> None:
    """
    Serve until a signal or the death of *parent* ends it.

    Args:
        options: What to serve.

        parent: Process without which it has no purpose, or None.

        announce: Called once with the address of the page, when connections are accepted.

    Raises:
        OSError: If it cannot listen there.

        sqlite3.Error: If it cannot use its database.
    """
    project = Project(options, wall=time.time, monotonic=time.monotonic)
    listener = _listen(options)
    access_key = None if options.host in LOOPBACK else secrets.token_urlsafe(18)
    address = _address(options.host, listener.getsockname()[1], access_key)
    gate = Gate(hosts=(options.host, *options.allow_hosts), access_key=access_key)
    application = Application(project, gate, limit=options.max_request_bytes)

    def ready() -> None:
        announce(address)
        if options.open_browser:
            # On a thread: a browser in the terminal would not return before it is closed.
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

    # What a request makes is freed when it is answered, and hardly any of it is in a cycle: looking
    # for those after every 700 objects was 15 % of the time.
    gc.set_threshold(100_000)
    try:
        _Server(_config(application), application, parent=parent, ready=ready).run([listener])
    finally:
        project.books.store.close()
        listener.close()


def _config(application: Application) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        http=_Protocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_GRACE,
    )


def _listen(options: EmulatorOptions) -> socket.socket:
    if options.port is not None:
        return _bind(options.host, options.port)
    for port in range(DEFAULT_PORT, DEFAULT_PORT + _MAX_PORTS):
        listener = _bind_if_free(options.host, port)
        if listener is not None:
            return listener
    raise OSError(f"ports {DEFAULT_PORT} to {DEFAULT_PORT + _MAX_PORTS - 1} are taken")


def _bind_if_free(host: str, port: int) -> socket.socket | None:
    try:
        return _bind(host, port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return None


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=2048)
    # Connections inherit it. asyncio sets it only on sockets that were made with TCP's number, and
    # without it each answer waits 40 ms for the client's acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


_OPENABLE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104  # Not bound.


def _address(host: str, port: int, access_key: str | None) -> str:
    # Not every name that one can listen on is one that a browser can open.
    name = _OPENABLE.get(host, host)
    if ":" in name and not name.startswith("["):
        name = f"[{name}]"
    return f"http://{name}:{port}/" + (f"?access={access_key}" if access_key else "")
