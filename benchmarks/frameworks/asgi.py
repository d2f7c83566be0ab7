"""
An ASGI application that logs when it is imported and in each request.

``SHOP_END`` says what it does for the end: ``nothing``, ``lifespan`` to flush when the server shuts
down, ``sigterm`` to drain on the signal.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

from shop import emit, handler  # type: ignore[import-not-found]  # It lies beside this file.

from mixpanel_export import drain_on_sigterm

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

END = os.environ["SHOP_END"]

emit(100, "import")
if END == "sigterm":
    drain_on_sigterm()


async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """
    Answer anything.
    """
    if scope["type"] == "lifespan":
        await live(receive, send)
        return
    emit(5, "request")
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


async def live(receive: Receive, send: Send) -> None:
    """
    Begin and end with the server.
    """
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    emit(5, "shutdown")
    if END == "lifespan":
        await handler.pipeline.aflush()
    await send({"type": "lifespan.shutdown.complete"})
