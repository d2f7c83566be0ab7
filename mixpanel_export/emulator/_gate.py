"""Which requests may come in at all: the guard against other web pages and other machines."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

# Everything that is the emulator's own and not Mixpanel's.
OWN_PREFIX = "/_emulator"

ACCESS_COOKIE = "mixpanel_emulator_access"


class Gate:
    """
    Judges a request by its headers alone.

    Args:
        hosts: Names that the ``Host`` header may carry beside those of loopback. A web page whose
            name was made to point here (DNS rebinding) is told apart by that header only.

        access_key: What the page and its API ask for. None: nothing.
    """

    def __init__(self, *, hosts: Iterable[str], access_key: str | None) -> None:
        self._hosts = LOOPBACK | {host.lower().strip("[]") for host in hosts}
        self._access_key = access_key

    def refuse_host(self, host: str | None) -> str | None:
        """Return why a request with this ``Host`` is refused, or None."""
        name = hostname(host or "")
        if name in self._hosts:
            return None
        if self._access_key is not None and _is_address(name):
            # One listens elsewhere so that others come; what DNS can make point here is a name.
            return None
        return f"host {host!r} is not allowed here; start the emulator with --allow-host"

    def is_key(self, offered: str | None) -> bool:
        """Say whether this is the key; without one nothing is."""
        key = self._access_key
        return key is not None and hmac.compare_digest(key.encode(), _bytes(offered))

    def refuse_visitor(self, headers: Mapping[str, str], query: Mapping[str, str]) -> str | None:
        """Return why somebody may not see the page or use its API, or None."""
        if self._access_key is None:
            return None
        offered = (
            query.get("access"),
            headers.get("authorization", "").removeprefix("Bearer "),
            _cookie(headers.get("cookie", "")),
        )
        if any(map(self.is_key, offered)):
            return None
        return "open the address that the emulator printed when it started: it contains a key"


def refuse_command(headers: Mapping[str, str]) -> tuple[int, str] | None:
    """
    Return status and reason if a POST to the emulator itself may come from another web page.

    A page elsewhere can send a form or plain text here without asking, but neither JSON nor our
    own origin.
    """
    origin = headers.get("origin")
    if origin is not None and origin != f"http://{headers.get('host')}":
        return 403, f"origin {origin!r} may not do this"
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        return 415, f"content-type must be application/json, not {content_type!r}"
    return None


def hostname(host: str) -> str:
    """Return the name in a ``Host`` header, without port and brackets, in lower case."""
    name = host.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0]


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _cookie(header: str) -> str | None:
    try:
        morsel = SimpleCookie(header).get(ACCESS_COOKIE)
    except CookieError:
        # Somebody else's cookies on this host, which are none of our business.
        return None
    return morsel.value if morsel else None


def _bytes(text: str | None) -> bytes:
    return (text or "").encode("utf-8", "surrogatepass")
