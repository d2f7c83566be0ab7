"""
Middleware for ASGI applications: what is logged in a request knows who asked, from where and how.

It sends nothing by itself and needs no framework.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any
from urllib.parse import quote

from mixpanel_export._request import Reception
from mixpanel_export._web import HEADERS, Request

__all__ = ["MixpanelMiddleware"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class MixpanelMiddleware:
    """
    Bind the facts of each request or WebSocket, and its user, to whatever is logged in it.

    The events carry `ip`, `$current_url`, `$referrer`, `$referring_domain`, utm_source and its
    like, and with the extra `ua` `$browser`, `$browser_version`, `$os` and `$device`. What `bind`
    adds, in whichever thread or task of the request, holds until the request has ended.

    Args:
        app: The application.

        proxies: How many proxies of your own stand in front of the server and append to
            ``X-Forwarded-For`` or ``Forwarded``. With 0 the client is ``scope["client"]``.

        identify: Gives the user's id for a scope, None if there is none. Called for each event,
            so it must be quick, and not async.

        device_cookie: The name of a cookie with an id of the browser, which becomes `$device_id`.

        parameters: Query parameters that `$current_url` keeps; others are left out.

    Raises:
        SettingsError: If an argument makes no sense.
    """

    def __init__(
        self,
        app: Application,
        *,
        proxies: int = 0,
        identify: Callable[[Scope], object] | None = None,
        device_cookie: str | None = None,
        parameters: Collection[str] = (),
    ) -> None:
        self._app = app
        self._reception = Reception(
            proxies=proxies,
            identify=identify,
            device_cookie=device_cookie,
            parameters=parameters,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application for one connection."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        # A router changes the scope on its way; what was asked for stands here.
        asked = dict(scope)
        with self._reception.holder(scope, lambda: _read(asked)).open():
            await self._app(scope, receive, send)


def _read(scope: Scope) -> Request:
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if name in HEADERS:
            # Cookies are joined by semicolons. -- RFC 9113, 8.2.3.
            before = (
                f"{headers[name]}{'; ' if name == 'cookie' else ', '}" if name in headers else ""
            )
            headers[name] = before + value
    host, port = scope.get("server") or ("", None)
    path, root = scope["path"], scope.get("root_path", "")
    if not path.startswith(root):
        path = root + path  # Servers differ in whether it is a part of the path.
    return Request(
        "{}://{}{}?{}".format(
            scope.get("scheme", "http"),
            headers.get("host") or (f"{host}:{port}" if port else host),
            quote(path),
            scope.get("query_string", b"").decode("latin-1"),
        ),
        (scope.get("client") or ("",))[0],
        headers,
    )
