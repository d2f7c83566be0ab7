"""What all middlewares have in common: a holder for each request, and what it says of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from inspect import iscoroutinefunction
from typing import Final, Generic, TypeVar

from mixpanel_export import _web
from mixpanel_export._clock import SYSTEM_CLOCK
from mixpanel_export._context import Holder
from mixpanel_export._exceptions import SettingsError
from mixpanel_export._notice import Notices

R = TypeVar("R")
T = TypeVar("T")

_notices: Final = Notices(SYSTEM_CLOCK)


class Reception(Generic[R]):
    """
    How requests are received: what is believed, what is kept, who it is.

    Args:
        proxies: How many proxies of the application's own stand in front of the server and append
            to ``X-Forwarded-For`` or ``Forwarded``. With 0 the client is whoever opened the
            connection.

        identify: Gives the user's id for a request, None if there is none. Called for each event,
            in the thread that logs it, so it must be quick; it may raise, and then there is none.

        device_cookie: The name of a cookie that holds an id of the browser, which becomes
            ``$device_id``. None looks at no cookie.

        parameters: Query parameters that ``$current_url`` keeps, beside utm_source and its like.

    Raises:
        SettingsError: If one of them makes no sense.
    """

    def __init__(
        self,
        *,
        proxies: int = 0,
        identify: Callable[[R], object] | None = None,
        device_cookie: str | None = None,
        parameters: Collection[str] = (),
    ) -> None:
        _check(proxies, identify, device_cookie, parameters)
        self._proxies = proxies
        self._identify = identify or _nobody
        self._device_cookie = device_cookie
        self._parameters = frozenset(parameters)
        # Loads the tables, which takes longer than a request may wait for.
        _web.agent("-")

    def holder(self, request: R, read: Callable[[], _web.Request]) -> Holder:
        """
        Make the holder of *request*.

        Args:
            request: What `identify` is called with.

            read: Called when the first event needs it, at most once unless threads race for it.
        """
        facts: Mapping[str, object] | None = None

        def ask() -> Mapping[str, object]:
            nonlocal facts
            if facts is None:
                facts = _try("reading a request", lambda: self._describe(read())) or {}
            user = _try("identify", lambda: _plain(self._identify(request)))
            if user is None or user == "":
                return facts
            # With both of them Mixpanel learns whose the device is.
            return {**facts, "$user_id" if "$device_id" in facts else "distinct_id": user}

        return Holder(ask)

    def _describe(self, request: _web.Request) -> Mapping[str, object]:
        facts = _web.describe(request, proxies=self._proxies, parameters=self._parameters)
        if self._device_cookie is not None:
            facts |= _web.device(request.headers.get("cookie", ""), self._device_cookie)
        return facts


def _nobody(_: object) -> None:
    return None


def _try(what: str, ask: Callable[[], T]) -> T | None:
    """Call *ask*; an error costs what it would have said, and not the event or the application."""
    try:
        return ask()
    except Exception as error:  # noqa: BLE001 -- the server's and the application's code
        _notices.warn(
            what, f"{what} failed with {type(error).__name__}: events go without what it says"
        )
        return None


def _plain(user: object) -> object:
    """Refuse what is yet to be awaited: its text would be the id of a user of its own each time."""
    if hasattr(user, "__await__"):
        raise TypeError("not async")
    return user


def check_identify(identify: object) -> None:
    """Raise SettingsError unless *identify* can be asked, or is None."""
    if identify is not None and (not callable(identify) or iscoroutinefunction(identify)):
        raise SettingsError(f"identify must be a function that is not async, not {identify!r}")


def _check(proxies: object, identify: object, device_cookie: object, parameters: object) -> None:
    if type(proxies) is not int or proxies < 0:
        raise SettingsError(f"proxies must be a whole number, 0 or more, not {proxies!r}")
    check_identify(identify)
    if device_cookie is not None and (not isinstance(device_cookie, str) or not device_cookie):
        raise SettingsError(f"device_cookie must be a name, not {device_cookie!r}")
    if isinstance(parameters, str) or not (
        isinstance(parameters, Collection) and all(isinstance(each, str) for each in parameters)
    ):
        raise SettingsError(f"parameters must be a list of names, not {parameters!r}")
