"""
What is known of a web request -> properties, under the names that Mixpanel's own libraries use.

A request holds more than an analyst should see: keys to a session in cookies, tokens in addresses,
and whatever its client made up. So only what is named here is taken over, and what a header says of
the client's address only as far as it is known how many proxies have written it.

Each function takes text as it stands in the request and gives properties, none where it makes no
sense. They never raise.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

#: The headers that are looked at, in lower case.
HEADERS: Final = frozenset(
    {"cookie", "forwarded", "host", "referer", "user-agent", "x-forwarded-for", "x-forwarded-proto"}
)

#: Query parameters that become properties, and stay in addresses. These are what Mixpanel's library
#: for browsers looks for (`campaignParams`, read 2026-11-21); any other utm_… may be made up.
CAMPAIGN: Final = ("utm_source", "utm_medium", "utm_campaign", "utm_content", "utm_term")

# Longer than what browsers send. Patterns are matched against these texts, so their length is the
# client's claim on our time.
_MAX_AGENT: Final = 500
_MAX_URL: Final = 4_000
_MAX_FORWARDED: Final = 500

_PORTS: Final = {"http": ":80", "https": ":443", "ws": ":80", "wss": ":443"}
_HOST: Final = re.compile(r"([0-9A-Za-z._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:\d{1,5})?")

# RFC 6265 calls these cookie-octets.
_COOKIE: Final = re.compile(r"[!#-+\--:<-\[\]-~]{1,255}")

# Elements between commas, pairs between semicolons. -- RFC 7239, section 4. A quote that is not
# closed goes to the end, for otherwise each of many would be tried.
_ELEMENT: Final = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*(?:"|\\?$))+')
_PAIR: Final = re.compile(r'(?:[^";]|"(?:[^"\\]|\\.)*(?:"|\\?$))+')
_PORT: Final = re.compile(r"(\d+\.\d+\.\d+\.\d+):\d+|\[([^]]*)\](?::\d+)?")

# What opens a door for whoever has it, such as the end of a link that resets a password, is long
# and made by a machine. Between the words of a title there are hyphens, and within a UUID too.
_RUN: Final = re.compile(r"[0-9A-Za-z]{20,}")
_LONG_RUN: Final = re.compile(r"[0-9A-Za-z_-]{20,}")
_DIGIT: Final = re.compile(r"[0-9]")
_LETTER: Final = re.compile(r"[A-Za-z]")
_SMALL: Final = re.compile(r"[a-z]")
_CAPITAL: Final = re.compile(r"[A-Z]")
_AT: Final = re.compile(r"[^@](@|%40)[0-9A-Za-z-]{1,63}\.")

# The same things under the names by which ua-parser and Mixpanel's library for browsers know them,
# so that one report shows the events of both. (`browser` and `os` there, read 2026-11-21.)
_BROWSERS: Final = {
    "Chrome Mobile": "Chrome",
    "Chrome Mobile WebView": "Chrome",
    "Chrome Mobile iOS": "Chrome iOS",
    "Edge": "Microsoft Edge",
    "Edge Mobile": "Microsoft Edge",
    "Facebook": "Facebook Mobile",
    "Firefox Mobile": "Firefox",
    "IE": "Internet Explorer",
    "IE Mobile": "Internet Explorer Mobile",
    "Mobile Safari UI/WKWebView": "Mobile Safari",
    "Opera Mobile": "Opera",
}
_SYSTEMS: Final = {
    "Arch Linux": "Linux",
    "CentOS": "Linux",
    "Debian": "Linux",
    "Fedora": "Linux",
    "Red Hat": "Linux",
    "Ubuntu": "Linux",
}


class Request(NamedTuple):
    """What there is of a request, the same for every kind of server."""

    url: str
    """What was asked for, as the server knows it: scheme, host, path, query."""

    peer: str
    """The address at the other end of the socket; ``""`` if it has none."""

    headers: Mapping[str, str]
    """Those of `HEADERS` that are there; one that is there twice is joined by commas."""


def describe(
    request: Request, *, proxies: int = 0, parameters: Collection[str] = ()
) -> dict[str, object]:
    """
    Give what events of *request* carry: where from, with what, what for.

    Args:
        request: The request.

        proxies: How many proxies of the application's own it came through, each of which has
            appended to ``X-Forwarded-For`` or ``Forwarded``. With 0 no header is believed.

        parameters: Query parameters that may stay in ``$current_url``, beside those of campaigns.
    """
    url, headers = request.url, request.headers
    scheme = headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
    if proxies and scheme in {"http", "https"}:
        url = scheme + "://" + url.partition("://")[2]
    return {
        **client(
            request.peer,
            x_forwarded_for=headers.get("x-forwarded-for", ""),
            forwarded=headers.get("forwarded", ""),
            proxies=proxies,
        ),
        **current_url(url, parameters),
        **referrer(headers.get("referer", "")),
        **campaign(url.partition("#")[0].partition("?")[2]),
        **agent(headers.get("user-agent", "")),
    }


# -- the client's address -------------------------------------------------------------------------


def client(
    peer: str, *, x_forwarded_for: str = "", forwarded: str = "", proxies: int = 0
) -> dict[str, object]:
    """
    Find the client's address: `ip`.

    The last proxy is the peer; each has appended whom it heard from, so with *proxies* of them the
    client is that many entries from the end. What stands before may be made up by the client and is
    not looked at. A request with fewer entries did not come through all proxies: nothing is known.
    Nor is it if both headers are there and disagree, since one of them was not written by a proxy.
    """
    if proxies <= 0:
        found = {_address(peer)}
    else:
        found = {
            _address(hops[-proxies]) if len(hops) >= proxies else ""
            for hops in (_hops(x_forwarded_for), _hops_of_rfc_7239(forwarded))
            if hops
        }
    return {"ip": found.pop()} if len(found) == 1 and "" not in found else {}


def _hops(header: str) -> list[str]:
    return header[-_MAX_FORWARDED:].split(",") if header.strip() else []


def _hops_of_rfc_7239(header: str) -> list[str]:
    found = []
    for element in _ELEMENT.findall(header[-_MAX_FORWARDED:]):
        pairs = (pair.partition("=") for pair in _PAIR.findall(element))
        found.append(next((value for name, _, value in pairs if name.strip().lower() == "for"), ""))
    return found


def _address(text: str) -> str:
    """Give the canonical form of an address, with or without a port; ``""`` if it is none."""
    text = text.strip().strip('"')
    if match := _PORT.fullmatch(text):
        text = match[1] or match[2]
    try:
        # The zone of a local address means nothing anywhere else.
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    # A socket that listens on IPv6 shows clients of IPv4 like this.
    return str((isinstance(found, IPv6Address) and found.ipv4_mapped) or found)


# -- addresses of pages ---------------------------------------------------------------------------


def current_url(url: str, parameters: Collection[str] = ()) -> dict[str, object]:
    """
    Clean the address of the request: `$current_url`.

    Goes: user and password, the fragment, every query parameter that is not of a campaign or among
    *parameters*, and parts of the path that look like a secret or an e-mail address.
    """
    cleaned = _clean(url, (*CAMPAIGN, *parameters))
    return {"$current_url": cleaned[0]} if cleaned else {}


def referrer(url: str) -> dict[str, object]:
    """Clean the address of the page before, by the same rules: `$referrer`, `$referring_domain`."""
    cleaned = _clean(url, CAMPAIGN)
    return {"$referrer": cleaned[0], "$referring_domain": cleaned[1]} if cleaned else {}


def campaign(query: str) -> dict[str, object]:
    """Find out by which campaign somebody came: `utm_source` and its like."""
    return _parameters(query, CAMPAIGN)


def _clean(url: str, keep: Collection[str]) -> tuple[str, str] | None:
    """Give a harmless address and its host, or None if it has none."""
    try:
        parts = urlsplit(url[:_MAX_URL])
    except ValueError:
        return None
    host = parts.netloc.rpartition("@")[2].lower().removesuffix(_PORTS.get(parts.scheme, ""))
    if not parts.scheme or not _HOST.fullmatch(host):
        return None
    path = "/".join("*" if _is_secret(each) else each for each in parts.path.split("/"))
    query = urlencode(_parameters(parts.query, keep), errors="replace")
    return f"{parts.scheme}://{host}{path}{query and '?'}{query}", host


def _is_secret(part: str) -> bool:
    return (
        any(_DIGIT.search(run) and _LETTER.search(run) for run in _RUN.findall(part))
        or any(
            _DIGIT.search(run) and _SMALL.search(run) and _CAPITAL.search(run)
            for run in _LONG_RUN.findall(part)
        )
        or _AT.search(part) is not None
    )


def _parameters(query: str, names: Collection[str]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in parse_qsl(query[:_MAX_URL]):
        if name in names:
            found.setdefault(name, value)
    return found


# -- the client -----------------------------------------------------------------------------------


@lru_cache(maxsize=1_000)
def _agent(text: str) -> tuple[tuple[str, object], ...]:
    try:
        from ua_parser import parse
    except ImportError:
        return ()
    found: dict[str, object] = {}
    parsed = parse(text)
    if browser := parsed.user_agent:
        found["$browser"] = _BROWSERS.get(browser.family, browser.family)
        # A number, as from a browser: Mixpanel's reports compare them.
        with suppress(ValueError):
            found["$browser_version"] = float(f"{browser.major}.{browser.minor or 0}")
    if parsed.os:
        found["$os"] = _SYSTEMS.get(parsed.os.family, parsed.os.family)
        if parsed.os.family == "iOS" and parsed.device:
            found["$device"] = parsed.device.family
        elif parsed.os.family == "Android":
            found["$device"] = "Android"
    return tuple(found.items())


def agent(text: str) -> dict[str, object]:
    """
    Read a user agent: `$browser`, `$browser_version`, `$os`, `$device`.

    Without the extra `ua` nothing: the text itself is too long and too varied for a report. The
    first call takes 0.2 s, and that for a text that was not seen lately a millisecond.
    """
    return dict(_agent(text[:_MAX_AGENT])) if text else {}


def device(cookies: str, name: str) -> dict[str, object]:
    """Find the cookie *name*, the device's id: `$device_id`."""
    for each in cookies.split(";"):
        key, _, value = each.strip().partition("=")
        if key == name and _COOKIE.fullmatch(value.strip('"')):
            return {"$device_id": value.strip('"')}
    return {}
