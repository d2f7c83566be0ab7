"""
Middleware for WSGI applications: what is logged in a request knows who asked, from where and how.

It sends nothing by itself and needs no framework.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from mixpanel_export._context import Holder
from mixpanel_export._request import Reception
from mixpanel_export._web import HEADERS, Request

__all__ = ["MixpanelMiddleware"]

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]


class MixpanelMiddleware:
    """
    Bind the facts of each request, and its user, to whatever is logged in it.

    The events carry `ip`, `$current_url`, `$referrer`, `$referring_domain`, utm_source and its
    like, and with the extra `ua` `$browser`, `$browser_version`, `$os` and `$device`. What `bind`
    adds holds until the response has gone out, also while a generator still makes it.

    Args:
        app: The application.

        proxies: How many proxies of your own stand in front of the server and append to
            ``X-Forwarded-For`` or ``Forwarded``. With 0 the client is ``REMOTE_ADDR``.

        identify: Gives the user's id for an environ, None if there is none. Called for each event,
            so it must be quick.

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
        identify: Callable[[Environ], object] | None = None,
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

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Run the application for one request."""
        # Other middleware changes the environ on its way; what was asked for stands here.
        asked = dict(environ)
        holder = self._reception.holder(environ, lambda: _read(asked))
        with holder.open():
            body = self._app(environ, start_response)
        if type(body) in {list, tuple} or _is_file(body, environ):
            return body  # No code of the application runs in these.
        return _SizedBody(body, holder) if hasattr(body, "__len__") else _Body(body, holder)


class _Body:
    """A body whose every step is made in its request's holder, whoever asks for it, and when."""

    def __init__(self, body: Iterable[bytes], holder: Holder) -> None:
        self._body = body
        self._holder = holder

    def __iter__(self) -> Iterator[bytes]:
        with self._holder.open():
            parts = iter(self._body)
        while True:
            with self._holder.open():
                try:
                    part = next(parts)
                except StopIteration:
                    return
            yield part

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            with self._holder.open():
                close()


class _SizedBody(_Body):
    """The same of a body with a length: servers tell the client of it."""

    def __len__(self) -> int:
        return len(self._body)  # type: ignore[arg-type]  # that is why it is this class


def _is_file(body: object, environ: Mapping[str, Any]) -> bool:
    """Tell whether the server can send *body* by itself, without Python."""
    wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(wrapper, type) and isinstance(body, wrapper)


def _read(environ: Mapping[str, Any]) -> Request:
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    host = environ.get("HTTP_HOST") or "{SERVER_NAME}:{SERVER_PORT}".format_map(environ)
    scheme, query = environ["wsgi.url_scheme"], environ.get("QUERY_STRING", "")
    # These are bytes, each as a character. -- PEP 3333, "Unicode Issues".
    url = f"{scheme}://{host}{quote(path.encode('latin-1', 'replace'))}?{query}"
    return Request(url, environ.get("REMOTE_ADDR", ""), headers_of(environ))


def headers_of(environ: Mapping[str, Any]) -> dict[str, str]:
    """Pick the headers that are looked at from what CGI calls meta-variables."""
    names = {name: "HTTP_" + name.upper().replace("-", "_") for name in HEADERS}
    return {name: environ[key] for name, key in names.items() if environ.get(key)}
