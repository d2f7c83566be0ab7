"""
What is logged in an ASGI request knows its facts, wherever in the request, and not beyond it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from mixpanel_export import bind, bound
from mixpanel_export._context import current
from mixpanel_export.asgi import MixpanelMiddleware, Receive, Scope, Send
from tests.web import FACTS, HEADERS, QUERY, Shop


@pytest.fixture
def shop() -> Iterator[Shop]:
    """
    Open a shop for one test.
    """
    shop = Shop()
    yield shop
    shop.close()


def scope(**other: object) -> Scope:
    """
    Make the scope of a request for the tea, through one proxy.
    """
    return {
        "type": "http",
        "scheme": "http",
        "path": "/tea",
        "query_string": QUERY.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()],
        "client": ("10.0.0.1", 4711),
        "server": ("10.0.0.2", 8000),
        **other,
    }


async def receive() -> dict[str, Any]:
    """
    Give an empty body.
    """
    return {"type": "http.request"}


async def send(_: object) -> None:
    """
    Throw the answer away.
    """


def run(app: MixpanelMiddleware, *scopes: Scope) -> None:
    """
    Serve requests one after another in one task, as a keep-alive connection might.
    """

    async def serve() -> None:
        for each in scopes or (scope(),):
            await app(each, receive, send)
            assert current() == {}

    asyncio.run(serve())


def test_what_is_logged_carries_the_facts(shop: Shop) -> None:
    """
    Address, page, referrer, campaign; no secret of it.
    """

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        shop.log_event("Tea Seen", tea="oolong")

    run(MixpanelMiddleware(app, proxies=1))

    assert shop.facts() == {"Tea Seen": {**FACTS, "distinct_id": "", "tea": "oolong"}}
    assert "secret" not in str(shop.events())


def test_without_proxies_the_socket_counts(shop: Shop) -> None:
    """
    A forwarded address is the client's word until somebody vouches for it.
    """

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        shop.log_event("Tea Seen")

    run(MixpanelMiddleware(app))

    assert shop.facts()["Tea Seen"]["ip"] == "10.0.0.1"


def test_threads_and_tasks_of_a_request_share_what_is_bound(shop: Shop) -> None:
    """
    What a part of the request binds in a copied context is there for the rest of it.
    """

    async def log_in() -> None:
        await asyncio.to_thread(bind, distinct_id="u-1")

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        await asyncio.create_task(log_in())
        with bound(step=1):
            await asyncio.to_thread(shop.log_event, "In Thread")
        shop.log_event("After")

    run(MixpanelMiddleware(app, proxies=1))

    assert shop.facts() == {
        "In Thread": {**FACTS, "distinct_id": "u-1", "step": 1},
        "After": {**FACTS, "distinct_id": "u-1"},
    }


def test_nothing_stays_for_the_next_request(shop: Shop) -> None:
    """
    Neither what was bound nor the facts, also after an error.
    """

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        shop.log_event(scope["path"])
        bind(distinct_id="u-1", plan="pro")
        if scope["path"] == "/tea":
            raise LookupError("no tea")

    middleware = MixpanelMiddleware(app)
    with pytest.raises(LookupError):
        run(middleware)
    run(middleware, scope(path="/first"), scope(path="/second", headers=[]))
    shop.log_event("Outside")

    facts = shop.facts()
    assert facts["/second"] == {
        "ip": "10.0.0.1",
        "distinct_id": "",
        "$current_url": "http://10.0.0.2:8000/second?utm_source=mail",
        "utm_source": "mail",
    }
    assert facts["Outside"] == {"ip": "0", "distinct_id": ""}


def test_a_task_that_outlives_its_request_keeps_what_it_saw(shop: Shop) -> None:
    """
    What a request has started is still about its user.
    """
    left: list[asyncio.Task[None]] = []

    async def later(ended: asyncio.Event) -> None:
        await ended.wait()
        shop.log_event("Mail Sent")

    async def serve() -> None:
        ended = asyncio.Event()

        async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
            bind(distinct_id="u-1")
            left.append(asyncio.create_task(later(ended)))

        await MixpanelMiddleware(app, proxies=1)(scope(), receive, send)
        ended.set()
        await left[0]

    asyncio.run(serve())

    assert shop.facts()["Mail Sent"] == {**FACTS, "distinct_id": "u-1"}


def test_the_user_is_whom_the_application_finds(shop: Shop) -> None:
    """
    Authentication happens inside of the middleware, and the scope it writes to is the one asked.
    """

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        shop.log_event("Before")
        scope["user"] = "u-1"
        scope["path"], scope["root_path"] = "/", "/changed"
        shop.log_event("After")

    run(
        MixpanelMiddleware(
            app, proxies=1, identify=lambda scope: scope.get("user"), device_cookie="device"
        )
    )

    assert shop.facts() == {
        "Before": {**FACTS, "distinct_id": "$device:d-1", "$device_id": "d-1"},
        "After": {**FACTS, "distinct_id": "u-1", "$user_id": "u-1", "$device_id": "d-1"},
    }


def test_a_request_that_was_changed_is_described_as_it_came(shop: Shop) -> None:
    """
    A router rewrites the path while it looks for its way; that is not what was asked for.
    """

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        scope.update(path="/", root_path="/tea", headers=[])
        shop.log_event("Tea Seen")

    run(MixpanelMiddleware(app, proxies=1))

    assert shop.facts()["Tea Seen"] == {**FACTS, "distinct_id": ""}


@pytest.mark.parametrize(
    ("other", "url"),
    [
        ({"path": "/app/tea", "root_path": "/app"}, "http://shop.example/app/tea"),
        ({"path": "/tea", "root_path": "/app"}, "http://shop.example/app/tea"),
        ({"path": "/thé"}, "http://shop.example/th%C3%A9"),
        ({"headers": []}, "http://10.0.0.2:8000/tea"),
        ({"headers": [], "server": ("shop.local", None)}, "http://shop.local/tea"),
        ({"headers": [], "server": None}, None),
    ],
)
def test_the_address_is_put_together(shop: Shop, other: dict[str, Any], url: str | None) -> None:
    """
    From what servers tell in different ways.
    """

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        shop.log_event("Seen")

    run(MixpanelMiddleware(app), scope(**{"query_string": b"", **other}))

    assert shop.facts()["Seen"].get("$current_url") == url


def test_headers_that_come_in_pieces_are_put_together(shop: Shop) -> None:
    """
    Proxies may add a header of their own instead of writing to the client's, and HTTP/2 splits
    cookies.
    """

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        shop.log_event("Seen")

    headers = [
        (b"x-forwarded-for", b"6.6.6.6"),
        (b"X-Forwarded-For", b"203.0.113.9"),
        (b"cookie", b"a=b"),
        (b"cookie", b"device=d-1"),
    ]
    run(MixpanelMiddleware(app, proxies=1, device_cookie="device"), scope(headers=headers))

    facts = shop.facts()["Seen"]
    assert (facts["ip"], facts["$device_id"]) == ("203.0.113.9", "d-1")


def test_a_websocket_is_a_request_too(shop: Shop) -> None:
    """
    From the handshake to the end.
    """

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        bind(distinct_id="u-1")
        shop.log_event("Chat Joined")

    run(MixpanelMiddleware(app, proxies=1), scope(type="websocket", scheme="wss", client=None))

    facts = shop.facts()["Chat Joined"]
    assert facts["distinct_id"] == "u-1"
    assert facts["$current_url"] == "wss://shop.example/tea?utm_source=mail"


def test_start_and_stop_are_not_requests() -> None:
    """
    What the application binds when it starts is bound where it is bound.
    """
    seen: list[Scope] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append(scope)
        bind(server="a")

    async def serve() -> None:
        await MixpanelMiddleware(app)({"type": "lifespan"}, receive, send)
        assert current() == {"server": "a"}

    asyncio.run(serve())

    assert seen == [{"type": "lifespan"}]
