"""
Middleware for Django: what is logged in a request knows who asked, from where and how.

::

    MIDDLEWARE = ["mixpanel_export.django.MixpanelMiddleware", …]
    MIXPANEL_EXPORT = {"proxies": 1}

It sends nothing by itself.
"""

from __future__ import annotations

from asyncio import get_running_loop
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from threading import get_ident
from typing import Any, Final

from mixpanel_export._context import Holder
from mixpanel_export._exceptions import SettingsError
from mixpanel_export._request import Reception, check_identify
from mixpanel_export._web import Request
from mixpanel_export.wsgi import headers_of

try:
    from asgiref.sync import iscoroutinefunction, markcoroutinefunction
    from django.conf import settings
    from django.http import HttpRequest, HttpResponseBase
    from django.utils.functional import LazyObject, empty
    from django.utils.module_loading import import_string
except ModuleNotFoundError as error:
    if error.name not in {"asgiref", "django"}:
        raise
    raise ModuleNotFoundError(
        f"{error.name} is missing; the middleware needs pip install 'mixpanel-export[django]'",
        name=error.name,
    ) from None

__all__ = ["MixpanelMiddleware"]

_OPTIONS: Final = frozenset({"proxies", "device_cookie", "parameters"})  # and identify


class MixpanelMiddleware:
    """
    Bind the facts of each request, and its user, to whatever is logged in it.

    The events carry `ip`, `$current_url`, `$referrer`, `$referring_domain`, utm_source and its
    like, and with the extra `ua` `$browser`, `$browser_version`, `$os` and `$device`. What `bind`
    adds, in whichever thread or task of the request, holds until the response has gone out. Put it
    first in ``MIDDLEWARE``, so that it surrounds the others.

    The user is ``request.user``, by primary key. A request in which no event is logged and no task
    queued does not touch session or database. If one is and nobody has looked at ``request.user``
    before, it is loaded as if the view had done so: with its queries, and ``Vary: Cookie`` in the
    response. Not so in async code, which cannot wait for a database there, and once the view has
    returned: then events have a user if the application has looked, say with
    ``await request.auser()``.

    The setting ``MIXPANEL_EXPORT`` is a mapping:

    - ``proxies``: how many proxies of your own stand in front of the server and append to
      ``X-Forwarded-For`` or ``Forwarded``. With 0, the default, the client is ``REMOTE_ADDR``.
    - ``identify``: a function, or the dotted name of one, that gives the user's id for a request,
      None if there is none. Called for each event, so it must be quick, and not async.
    - ``device_cookie``: the name of a cookie with an id of the browser, which becomes `$device_id`.
    - ``parameters``: query parameters that `$current_url` keeps; others are left out.

    Raises:
        SettingsError: If one of these makes no sense.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        options = dict(getattr(settings, "MIXPANEL_EXPORT", {}))
        identify = options.pop("identify", None)
        if isinstance(identify, str):
            identify = import_string(identify)
        check_identify(identify)
        if unknown := options.keys() - _OPTIONS:
            raise SettingsError(f"MIXPANEL_EXPORT has no {', '.join(sorted(unknown))}")
        self._identify: Callable[[HttpRequest], object] | None = identify
        self._reception: Reception[_Visit] = Reception(identify=_Visit.identify, **options)
        self._get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Handle *request*, in the way in which what stands behind does it."""
        if self._is_async:
            return self._handle_async(request)
        visit = _Visit(request, self._identify, get_ident())
        holder = self._holder(visit)
        with holder.open():
            response = self._get_response(request)
        return _answer(response, visit, holder)

    async def _handle_async(self, request: HttpRequest) -> HttpResponseBase:
        visit = _Visit(request, self._identify, None)
        holder = self._holder(visit)
        with holder.open():
            response = await self._get_response(request)
        return _answer(response, visit, holder)

    def _holder(self, visit: _Visit) -> Holder:
        return self._reception.holder(visit, lambda: _read(visit.request))


class _Visit:
    """
    One request, and what is known of its user.

    Args:
        request: The request.

        ask: The application's own way of identifying users; None is ``request.user``.

        thread: The only thread in which the user may be loaded, since connections to databases
            belong to threads; None if Django itself divides the request among threads.
    """

    __slots__ = ("_ask", "_thread", "answered", "request")

    def __init__(
        self,
        request: HttpRequest,
        ask: Callable[[HttpRequest], object] | None,
        thread: int | None,
    ) -> None:
        self.request = request
        self._ask = ask
        self._thread = thread
        #: Whether there is a response, which cannot take up what loading a session may change.
        self.answered = False

    def identify(self) -> object:
        if self._ask is not None:
            return self._ask(self.request)
        user = getattr(self.request, "user", None)  # Looking for it does not load it.
        if isinstance(user, LazyObject) and user._wrapped is empty and not self._may_load():
            # What `auser` has found does not show in `user`.
            user = getattr(self.request, "_acached_user", None)
        return user.pk if user is not None and user.is_authenticated else None

    def _may_load(self) -> bool:
        if self.answered or self._thread not in {None, get_ident()}:
            return False
        try:
            get_running_loop()
        except RuntimeError:
            # A synchronous view, also one that an asynchronous server has put into a thread.
            return not hasattr(self.request, "_acached_user")
        return False


def _answer(response: Any, visit: _Visit, holder: Holder) -> HttpResponseBase:  # noqa: ANN401 -- whatever a view returned
    visit.answered = True
    # A file is read by Django or by the server, and none of the application's code runs there.
    if response.streaming and getattr(response, "file_to_stream", None) is None:
        within = _within_async if response.is_async else _within
        response.streaming_content = within(holder, response.streaming_content)
    return response


def _within(holder: Holder, parts: Iterable[bytes]) -> Iterator[bytes]:
    iterator = iter(parts)
    while True:
        with holder.open():
            try:
                part = next(iterator)
            except StopIteration:
                return
        yield part


async def _within_async(holder: Holder, parts: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    iterator = aiter(parts)
    while True:
        with holder.open():
            try:
                part = await anext(iterator)
            except StopAsyncIteration:
                return
        yield part


def _read(request: HttpRequest) -> Request:
    meta = request.META
    host = meta.get("HTTP_HOST") or "{SERVER_NAME}:{SERVER_PORT}".format_map(meta)
    # Django knows the scheme better: there is a setting for it.
    url = f"{request.scheme}://{host}{request.get_full_path()}"
    return Request(url, meta.get("REMOTE_ADDR") or "", headers_of(meta))
