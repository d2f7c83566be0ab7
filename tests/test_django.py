"""
What is logged in a Django request knows its facts and its user, and asks for the user only then.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import copy_context
from pathlib import Path
from typing import Any

import django
import pytest
from asgiref.sync import iscoroutinefunction, sync_to_async
from django.conf import settings
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, Client, RequestFactory
from django.test.utils import CaptureQueriesContext, override_settings

from mixpanel_export import SettingsError, bind
from mixpanel_export._context import current
from mixpanel_export._request import _notices
from mixpanel_export.django import MixpanelMiddleware
from tests.web import FACTS as OF_SHOP
from tests.web import HEADERS, QUERY, Shop

MIDDLEWARE = [
    "mixpanel_export.django.MixpanelMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
URL = f"/tea?{QUERY}"
# Django's clients have cookies and a host of their own.
SENT: Any = {
    "headers": {name: text for name, text in HEADERS.items() if name not in {"Cookie", "Host"}}
}
FACTS = {**OF_SHOP, "$current_url": "http://testserver/tea?utm_source=mail"}

View = Callable[[HttpRequest], Any]


class Site:
    """A site of one view, which each test sets, and the clients that ask for it."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.client = Client(**SENT)
        self.async_client = AsyncClient()
        self.user: Any = None
        self.view: View = lambda _: HttpResponse("tea")

    def log_in(self) -> None:
        """
        Let both clients have a session.
        """
        self.client.force_login(self.user)
        self.async_client.cookies = self.client.cookies

    def get(self, view: View, url: str = URL) -> HttpResponse:
        """
        Ask as a browser does, of a synchronous server.
        """
        self.view = view
        response = self.client.get(url)
        assert current() == {}
        return response

    def get_async(self, view: View, url: str = URL) -> HttpResponse:
        """
        The same of an asynchronous server.
        """
        self.view = view

        async def ask() -> HttpResponse:
            response = await self.async_client.get(url, **SENT)
            assert current() == {}
            return response

        return asyncio.run(ask())

    def queries(self) -> CaptureQueriesContext:
        """
        Count what goes to the database inside of a ``with`` block.
        """
        return CaptureQueriesContext(django.db.connection)


_site: Site | None = None


class Urls:
    """What Django takes for a module with addresses."""

    @staticmethod
    def answer(request: HttpRequest) -> HttpResponse:
        """
        Ask the view of the test that is running.
        """
        assert _site is not None
        return _site.view(request)

    @staticmethod
    async def answer_async(request: HttpRequest) -> HttpResponse:
        """
        The same if it is asynchronous.
        """
        assert _site is not None
        return await _site.view(request)


def lend_id(request: HttpRequest) -> str:
    """
    Identify users in another way.
    """
    return f"id of {request.path}"


@pytest.fixture(scope="module", autouse=True)
def _project(tmp_path_factory: pytest.TempPathFactory) -> None:
    """
    Configure Django, once for the process, and make a database.
    """
    settings.configure(
        ALLOWED_HOSTS=["testserver"],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": tmp_path_factory.mktemp("django") / "db.sqlite3",
            }
        },
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
        ],
        MIDDLEWARE=MIDDLEWARE,
        MIXPANEL_EXPORT={"proxies": 1},
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        ROOT_URLCONF=Urls,
        SECRET_KEY="test",
        USE_TZ=True,
    )
    django.setup()
    from django.core.management import call_command
    from django.urls import path

    Urls.urlpatterns = [  # type: ignore[attr-defined]  # as in a module
        path("tea", Urls.answer),
        path("async", Urls.answer_async),
    ]
    call_command("migrate", verbosity=0)


@pytest.fixture
def site() -> Iterator[Site]:
    """
    Open a site for one test, with a user who has not logged in.
    """
    global _site  # noqa: PLW0603 -- Django finds views by module
    from django.contrib.auth.models import User

    shop = Shop()
    _site = Site(shop)
    _site.user, _ = User.objects.get_or_create(username="mary")
    yield _site
    shop.close()
    django.db.connections.close_all()


def user_id(site: Site, name: str = "Tea Seen") -> object:
    """
    Return whose the event was.
    """
    return site.shop.facts()[name]["distinct_id"]


# -- facts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("get", [Site.get, Site.get_async])
def test_what_is_logged_carries_the_facts(site: Site, get: Callable[..., Any]) -> None:
    """
    With both kinds of servers: address, page, referrer, campaign; no secret of it.
    """

    def view(_: HttpRequest) -> HttpResponse:
        site.shop.log_event("Tea Seen", tea="oolong")
        return HttpResponse("tea")

    assert get(site, view).content == b"tea"

    assert site.shop.facts() == {"Tea Seen": {**FACTS, "distinct_id": "", "tea": "oolong"}}
    assert "secret" not in str(site.shop.events())


def test_an_asynchronous_view_has_them_too(site: Site) -> None:
    """
    The middleware is asynchronous where everything behind it is.
    """

    async def view(_: HttpRequest) -> HttpResponse:
        await asyncio.to_thread(bind, plan="pro")
        site.shop.log_event("Tea Seen")
        return HttpResponse("tea")

    site.get_async(view, f"/async?{QUERY}")

    facts = {**FACTS, "$current_url": "http://testserver/async?utm_source=mail"}
    assert site.shop.facts() == {"Tea Seen": {**facts, "distinct_id": "", "plan": "pro"}}


def test_the_middleware_is_of_the_kind_of_what_stands_behind() -> None:
    """
    Django puts no thread between itself and asynchronous views.
    """

    async def asynchronous(_: HttpRequest) -> HttpResponse:
        return HttpResponse()

    assert iscoroutinefunction(MixpanelMiddleware(asynchronous))
    assert not iscoroutinefunction(MixpanelMiddleware(lambda _: HttpResponse()))


def test_nothing_stays_for_the_next_request(site: Site) -> None:
    """
    What a view binds ends with its request.
    """

    def first(_: HttpRequest) -> HttpResponse:
        bind(distinct_id="u-1", plan="pro")
        return HttpResponse()

    def second(_: HttpRequest) -> HttpResponse:
        site.shop.log_event("Tea Seen")
        return HttpResponse()

    site.get(first)
    site.get(second)

    assert site.shop.facts()["Tea Seen"] == {**FACTS, "distinct_id": ""}


# -- users --------------------------------------------------------------------------------------


def test_the_user_of_an_event_is_the_requests(site: Site) -> None:
    """
    By primary key, also if the view never looks.
    """
    site.log_in()

    def view(_: HttpRequest) -> HttpResponse:
        site.shop.log_event("Tea Seen")
        return HttpResponse()

    site.get(view)

    assert user_id(site) == str(site.user.pk)


def test_without_an_event_nothing_is_touched(site: Site) -> None:
    """
    No query, no access to the session, so that the response may be cached as before; not even for
    log records that are none, or for what is bound.
    """
    site.log_in()

    def view(_: HttpRequest) -> HttpResponse:
        bind(plan="pro")
        site.shop.log.info("tea is %s", "hot")
        site.shop.log.info("no milk", exc_info=LookupError("milk"))
        return HttpResponse()

    with site.queries() as queries:
        response = site.get(view)

    assert len(queries) == 0
    assert not response.has_header("Vary")
    assert site.shop.events() == []


def test_a_user_who_was_looked_at_is_not_loaded_again(site: Site) -> None:
    """
    However many events there are, the queries are those of one look.
    """
    site.log_in()

    def look(request: HttpRequest) -> HttpResponse:
        assert request.user.username == "mary"
        return HttpResponse()

    def view(request: HttpRequest) -> HttpResponse:
        site.shop.log_event("First")
        assert request.user.username == "mary"
        site.shop.log_event("Second")
        return HttpResponse()

    with site.queries() as plain:
        site.get(look)
    with site.queries() as logging_too:
        response = site.get(view)

    assert len(logging_too) == len(plain) == 2
    assert response["Vary"] == "Cookie"
    assert user_id(site, "First") == user_id(site, "Second") == str(site.user.pk)


def test_who_logs_in_or_out_is_so_from_then_on(site: Site) -> None:
    """
    The user is asked for with each event.
    """
    from django.contrib.auth import login, logout

    def view(request: HttpRequest) -> HttpResponse:
        site.shop.log_event("Before")
        login(request, site.user, "django.contrib.auth.backends.ModelBackend")
        site.shop.log_event("Logged In")
        logout(request)
        site.shop.log_event("Logged Out")
        return HttpResponse()

    site.get(view)

    found = [user_id(site, name) for name in ("Before", "Logged In", "Logged Out")]
    assert found == ["", str(site.user.pk), ""]


def test_a_synchronous_view_of_an_asynchronous_server_has_its_user(site: Site) -> None:
    """
    Django runs it in a thread in which the database may be asked.
    """
    site.log_in()

    def view(_: HttpRequest) -> HttpResponse:
        site.shop.log_event("Tea Seen")
        return HttpResponse()

    site.get_async(view)

    assert user_id(site) == str(site.user.pk)


def test_an_asynchronous_view_has_a_user_once_it_has_looked(site: Site) -> None:
    """
    A log call there can wait for nothing, so before that there is none; nothing is warned of.
    """
    site.log_in()

    async def view(request: HttpRequest) -> HttpResponse:
        site.shop.log_event("Before")
        if hasattr(request, "auser"):  # Django 5.0
            await request.auser()
        else:
            await sync_to_async(lambda: request.user.pk)()
        site.shop.log_event("After")
        await asyncio.to_thread(site.shop.log_event, "In Thread")
        return HttpResponse()

    site.get_async(view, "/async")

    found = [user_id(site, name) for name in ("Before", "After", "In Thread")]
    assert found == ["", str(site.user.pk), str(site.user.pk)]


def test_a_thread_of_the_requests_own_does_not_load_the_user(site: Site) -> None:
    """
    It would open a connection to the database that nobody closes.
    """
    site.log_in()

    def view(request: HttpRequest) -> HttpResponse:
        def log_in_thread(name: str) -> None:
            context = copy_context()
            thread = threading.Thread(target=context.run, args=(site.shop.log_event, name))
            thread.start()
            thread.join()

        log_in_thread("Before")
        assert request.user.is_authenticated
        log_in_thread("After")
        return HttpResponse()

    site.get(view)

    assert (user_id(site, "Before"), user_id(site, "After")) == ("", str(site.user.pk))


def test_a_database_that_fails_costs_the_user_only(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """
    The view does not notice; the event has its facts; a warning says what is missing.
    """
    site.log_in()
    _notices._kinds.clear()

    def fail(*_: object) -> None:
        raise RuntimeError("the database is gone")

    def view(_: HttpRequest) -> HttpResponse:
        with django.db.connection.execute_wrapper(fail):
            site.shop.log_event("Tea Seen")
        return HttpResponse("tea")

    assert site.get(view).content == b"tea"

    assert site.shop.facts()["Tea Seen"] == {**FACTS, "distinct_id": ""}
    assert "identify failed with RuntimeError: events go without what it says" in caplog.messages


def test_queries_that_are_events_themselves_come_to_an_end(site: Site) -> None:
    """
    Loading the user asks the database, the database logs, and the log asks for the user.
    """
    site.log_in()
    logger = logging.getLogger("django.db.backends")
    handler = site.shop.handler

    def view(_: HttpRequest) -> HttpResponse:
        site.shop.log_event("Tea Seen")
        return HttpResponse()

    def mark(record: logging.LogRecord) -> bool:
        vars(record)["mixpanel.event"] = "Query"
        return True

    logger.addHandler(handler)
    logger.addFilter(mark)
    logger.setLevel(logging.DEBUG)
    try:
        with override_settings(DEBUG=True):
            site.get(view)
    finally:
        logger.removeHandler(handler)
        logger.removeFilter(mark)
        logger.setLevel(logging.NOTSET)

    assert user_id(site) == str(site.user.pk)
    assert site.shop.facts()["Query"]["distinct_id"] == ""


def test_users_can_be_identified_in_another_way(site: Site) -> None:
    """
    By a function, given itself or by its name; the device is that of the cookie that is named.
    """
    site.client.cookies["device"] = "d-1"

    def view(_: HttpRequest) -> HttpResponse:
        site.shop.log_event("Tea Seen")
        return HttpResponse()

    for identify in (lend_id, f"{__name__}.lend_id"):
        options = {"proxies": 1, "identify": identify, "device_cookie": "device"}
        with override_settings(MIXPANEL_EXPORT=options):
            site.client = Client(**SENT)
            site.client.cookies["device"] = "d-1"
            site.get(view)

    expected = {
        **FACTS,
        "distinct_id": "id of /tea",
        "$user_id": "id of /tea",
        "$device_id": "d-1",
    }
    assert [event["properties"]["$user_id"] for event in site.shop.events()] == ["id of /tea"] * 2
    assert site.shop.facts()["Tea Seen"] == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"proxy": 1}, "MIXPANEL_EXPORT has no proxy"),
        ({"proxies": "1"}, "proxies must be a whole number"),
        ({"identify": 7}, "identify must be a function"),
        ({"identify": Urls.answer_async}, "that is not async"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(options: dict[str, Any], message: str) -> None:
    """
    At start-up, with its name.
    """
    with (
        override_settings(MIXPANEL_EXPORT=options),
        pytest.raises(SettingsError, match=message),
    ):
        MixpanelMiddleware(lambda _: HttpResponse())


def test_without_options_the_socket_counts(site: Site) -> None:
    """
    The setting may be absent.
    """

    def view(_: HttpRequest) -> HttpResponse:
        site.shop.log_event("Tea Seen")
        return HttpResponse()

    with override_settings():
        del settings.MIXPANEL_EXPORT
        site.client = Client(**SENT)
        site.get(view)

    assert site.shop.facts()["Tea Seen"]["ip"] == "127.0.0.1"


# -- responses that stream ----------------------------------------------------------------------


def test_a_response_that_streams_is_a_part_of_its_request(site: Site) -> None:
    """
    What it logs has the facts, and the user if the view has looked: it is too late to load one.
    """
    site.log_in()

    def parts() -> Iterator[bytes]:
        site.shop.log_event("First")
        bind(plan="pro")
        yield b"a"
        site.shop.log_event("Second")
        yield b"b"

    def view(_: HttpRequest) -> StreamingHttpResponse:
        return StreamingHttpResponse(parts())

    def look(request: HttpRequest) -> StreamingHttpResponse:
        assert request.user.is_authenticated
        return StreamingHttpResponse(parts())

    response = site.get(view)
    with site.queries() as queries:
        assert b"".join(response.streaming_content) == b"ab"
    response.close()

    assert len(queries) == 0
    assert site.shop.facts() == {
        "First": {**FACTS, "distinct_id": ""},
        "Second": {**FACTS, "distinct_id": "", "plan": "pro"},
    }
    response = site.get(look)
    assert b"".join(response.streaming_content) == b"ab"
    response.close()
    assert user_id(site, "Second") == str(site.user.pk)


def test_an_asynchronous_response_streams_likewise(site: Site) -> None:
    """
    Each part is made in the request, and nothing is bound while it is sent.
    """

    async def parts() -> AsyncIterator[bytes]:
        bind(plan="pro")
        yield b"a"
        await asyncio.sleep(0)
        site.shop.log_event("Second")
        yield b"b"

    async def view(_: HttpRequest) -> StreamingHttpResponse:
        return StreamingHttpResponse(parts())

    async def ask() -> list[bytes]:
        site.view = view
        response = await site.async_client.get("/async", **SENT)
        found = []
        async for part in response.streaming_content:
            assert current() == {}
            found.append(part)
        await sync_to_async(response.close)()
        return found

    assert asyncio.run(ask()) == [b"a", b"b"]

    assert site.shop.facts()["Second"]["plan"] == "pro"
    assert site.shop.facts()["Second"]["ip"] == "203.0.113.9"


def test_a_file_is_left_to_django(tmp_path: Path) -> None:
    """
    A server that can send it without Python still finds it.
    """
    path = tmp_path / "tea"
    path.write_bytes(b"tea")

    request = RequestFactory().get(URL)

    response = MixpanelMiddleware(lambda _: FileResponse(path.open("rb")))(request)

    assert isinstance(response, FileResponse)
    assert response.file_to_stream is not None
    assert b"".join(response.streaming_content) == b"tea"
    response.close()
