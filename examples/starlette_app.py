"""
A Starlette application whose events know who asked, from where, and which campaign sent them.

    MIXPANEL_TOKEN=... uvicorn starlette_app:app
    curl -H 'Authorization: Bearer secret-of-mary' -d tea=oolong http://127.0.0.1:8000/orders

The same middleware serves FastAPI and every other ASGI application.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

import mixpanel_export
from mixpanel_export.asgi import MixpanelMiddleware

USERS = {"Bearer secret-of-mary": "u-1"}

log = logging.getLogger("shop")
log.setLevel(logging.INFO)
handler = mixpanel_export.MixpanelHandler()
log.addHandler(handler)


def check_stock(tea: str) -> int:
    """Look into the database, in a thread; what is bound there holds for the whole request."""
    mixpanel_export.bind(warehouse="Hamburg")
    return {"oolong": 7}.get(tea, 0)


async def order(request: Request) -> Response:
    """Take an order."""
    request.scope["user_id"] = USERS.get(request.headers.get("Authorization", ""))
    tea = (await request.body()).decode().removeprefix("tea=")
    if not await run_in_threadpool(check_stock, tea):
        log.info("Tea Sold Out", extra={"tea": tea})
        return PlainTextResponse("sold out\n", 404)
    log.info("Tea Ordered", extra={"tea": tea})
    return PlainTextResponse("it is on its way\n", 202)


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    """Deliver what is queued before uvicorn ends the process, which skips what Python does then."""
    yield
    await handler.pipeline.aflush(5.0)


shop = Starlette(routes=[Route("/orders", order, methods=["POST"])], lifespan=lifespan)
app = MixpanelMiddleware(shop, identify=lambda scope: scope.get("user_id"), proxies=1)
