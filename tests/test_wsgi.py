"""
What is logged in a WSGI request knows its facts until the response is out, and not beyond it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from wsgiref.util import FileWrapper, setup_testing_defaults

import pytest

from mixpanel_export import bind
from mixpanel_export._context import current
from mixpanel_export.wsgi import Application, Environ, MixpanelMiddleware, StartResponse
from tests.web import FACTS, HEADERS, QUERY, Shop


@pytest.fixture
def shop() -> Iterator[Shop]:
    """
    Open a shop for one test.
    """
    shop = Shop()
    yield shop
    shop.close()


def environ(**other: object) -> Environ:
    """
    Make the environ of a request for the tea, through one proxy.
    """
    found: Environ = {
        **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in HEADERS.items()},
        "REMOTE_ADDR": "10.0.0.1",
        "PATH_INFO": "/tea",
        "SCRIPT_NAME": "",
        "QUERY_STRING": QUERY,
    }
    setup_testing_defaults(found)
    return {**found, **other}


def start_response(*_: object) -> Callable[[bytes], object]:
    """
    Take the head of a response.
    """
    return io.BytesIO().write


def run(app: Application, **other: object) -> list[bytes]:
    """
    Serve one request as a server does: take all parts, then close.
    """
    body = app(environ(**other), start_response)
    try:
        parts = []
        for part in body:
            parts.append(part)
            assert current() == {}, "the server's own code is not a part of the request"
        return parts
    finally:
        close = getattr(body, "close", None)
        if close:
            close()


class Parts:
    """A body that notices what becomes of it."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop

    def __iter__(self) -> Iterator[bytes]:
        self._shop.log_event("Begun")
        yield b"a"
        bind(distinct_id="u-1")
        yield b"b"
        self._shop.log_event("Finished")

    def close(self) -> None:
        self._shop.log_event("Closed")


def test_what_is_logged_carries_the_facts(shop: Shop) -> None:
    """
    Address, page, referrer, campaign; no secret of it.
    """

    def app(_environ: Environ, _start: StartResponse) -> Iterable[bytes]:
        shop.log_event("Tea Seen", tea="oolong")
        return [b"tea"]

    assert run(MixpanelMiddleware(app, proxies=1)) == [b"tea"]

    assert shop.facts() == {"Tea Seen": {**FACTS, "distinct_id": "", "tea": "oolong"}}
    assert "secret" not in str(shop.events())


def test_a_response_that_streams_is_a_part_of_its_request(shop: Shop) -> None:
    """
    What a generator logs and binds belongs to its request; while the server sends what it yields,
    nothing is bound.
    """

    def app(_environ: Environ, _start: StartResponse) -> Iterable[bytes]:
        return Parts(shop)

    assert run(MixpanelMiddleware(app, proxies=1)) == [b"a", b"b"]

    assert shop.facts() == {
        "Begun": {**FACTS, "distinct_id": ""},
        "Finished": {**FACTS, "distinct_id": "u-1"},
        "Closed": {**FACTS, "distinct_id": "u-1"},
    }


def test_responses_that_stream_in_turns_do_not_mix(shop: Shop) -> None:
    """
    One thread may serve several at once, part by part.
    """

    def app(environ: Environ, _start: StartResponse) -> Iterable[bytes]:
        bind(distinct_id=environ["PATH_INFO"])
        yield b"a"
        shop.log_event(environ["PATH_INFO"])

    middleware = MixpanelMiddleware(app)
    bodies = [
        iter(middleware(environ(PATH_INFO=path), start_response)) for path in ("/one", "/two")
    ]
    for _ in range(2):
        for body in bodies:
            next(body, None)

    assert {name: facts["distinct_id"] for name, facts in shop.facts().items()} == {
        "/one": "/one",
        "/two": "/two",
    }


def test_a_response_that_is_given_up_is_closed_in_its_request(shop: Shop) -> None:
    """
    The client leaves after the first part; the body is closed all the same.
    """

    def app(_environ: Environ, _start: StartResponse) -> Iterable[bytes]:
        return Parts(shop)

    body = MixpanelMiddleware(app, proxies=1)(environ(), start_response)
    next(iter(body))
    body.close()  # type: ignore[attr-defined]  # PEP 3333: if it is there

    assert shop.facts()["Closed"] == {**FACTS, "distinct_id": ""}


def test_a_thread_that_serves_again_starts_with_nothing(shop: Shop) -> None:
    """
    Threads of a pool are used again, also after an error.
    """

    def app(environ: Environ, _start: StartResponse) -> Iterable[bytes]:
        shop.log_event(environ["PATH_INFO"])
        bind(distinct_id="u-1", plan="pro")
        if environ["PATH_INFO"] == "/bad":
            raise LookupError("no tea")
        return [b"tea"]

    middleware = MixpanelMiddleware(app)
    with ThreadPoolExecutor(1) as pool:
        assert isinstance(pool.submit(run, middleware, PATH_INFO="/bad").exception(), LookupError)
        pool.submit(run, middleware, PATH_INFO="/good").result()
        pool.submit(shop.log_event, "Outside").result()

    facts = shop.facts()
    assert facts["/good"]["distinct_id"] == ""
    assert "plan" not in facts["/good"]
    assert facts["Outside"] == {"ip": "0", "distinct_id": ""}


def test_a_thread_that_the_request_starts_shares_what_is_bound(shop: Shop) -> None:
    """
    If it is given a copy of the context, as a pool that knows contexts does.
    """

    def app(_environ: Environ, _start: StartResponse) -> Iterable[bytes]:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(copy_context().run, bind, {"distinct_id": "u-1"}).result()
        shop.log_event("Tea Seen")
        return [b"tea"]

    run(MixpanelMiddleware(app, proxies=1))

    assert shop.facts()["Tea Seen"]["distinct_id"] == "u-1"


def test_the_user_is_whom_the_application_finds(shop: Shop) -> None:
    """
    Authentication happens inside of the middleware; what it does to the address is not looked at.
    """

    def app(environ: Environ, _start: StartResponse) -> Iterable[bytes]:
        environ["user"] = "u-1"
        environ.update(SCRIPT_NAME="/tea", PATH_INFO="/", HTTP_HOST="other.example")
        shop.log_event("Tea Seen")
        return [b"tea"]

    run(
        MixpanelMiddleware(
            app, proxies=1, identify=lambda environ: environ["user"], device_cookie="device"
        )
    )

    identity = {"distinct_id": "u-1", "$user_id": "u-1", "$device_id": "d-1"}
    assert shop.facts()["Tea Seen"] == {**FACTS, **identity}


@pytest.mark.parametrize(
    ("other", "url"),
    [
        ({"SCRIPT_NAME": "/app"}, "http://shop.example/app/tea"),
        ({"PATH_INFO": "/th\xc3\xa9"}, "http://shop.example/th%C3%A9"),
        ({"wsgi.url_scheme": "https"}, "https://shop.example/tea"),
        (
            {"HTTP_HOST": "", "SERVER_NAME": "shop.local", "SERVER_PORT": "8000"},
            "http://shop.local:8000/tea",
        ),
    ],
)
def test_the_address_is_put_together(shop: Shop, other: dict[str, str], url: str) -> None:
    """
    From the parts that CGI takes it to.
    """

    def app(_environ: Environ, _start: StartResponse) -> Iterable[bytes]:
        shop.log_event("Seen")
        return []

    run(MixpanelMiddleware(app), QUERY_STRING="", **other)

    assert shop.facts()["Seen"]["$current_url"] == url


def test_a_file_is_left_to_the_server() -> None:
    """
    A server that can send a file without Python recognises its own wrapper.
    """
    file = FileWrapper(io.BytesIO(b"tea"))

    def app(_environ: Environ, _start: StartResponse) -> Iterable[bytes]:
        return file

    middleware = MixpanelMiddleware(app)

    assert middleware(environ(**{"wsgi.file_wrapper": FileWrapper}), start_response) is file
    assert middleware(environ(), start_response) is not file


def test_the_length_of_a_body_is_not_lost() -> None:
    """
    Servers write it into the head of a response that has a single part.
    """

    class Single(Iterable[bytes]):
        """A body with a length."""

        def __len__(self) -> int:
            return 1

        def __iter__(self) -> Iterator[bytes]:
            return iter([b"tea"])

    def app(_environ: Environ, _start: StartResponse) -> Iterable[bytes]:
        return Single()

    body = MixpanelMiddleware(app)(environ(), start_response)

    assert len(body) == 1  # type: ignore[arg-type]  # that is the question
    assert run(MixpanelMiddleware(app)) == [b"tea"]


def test_a_body_without_end_has_no_length() -> None:
    """
    A generator has none to tell, and is taken one part at a time.
    """

    def app(_environ: Environ, _start: StartResponse) -> Iterable[bytes]:
        while True:
            yield b"tea"

    body = MixpanelMiddleware(app)(environ(), start_response)

    assert not hasattr(body, "__len__")
    assert next(iter(body)) == b"tea"
