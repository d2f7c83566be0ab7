"""
A request's facts become properties: what is believed, what is kept, and above all what is not.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixpanel_export import _web
from mixpanel_export._web import (
    Request,
    agent,
    campaign,
    client,
    current_url,
    describe,
    device,
    referrer,
)
from tests import effort

# The same examples on every run: a failure that is seen once is seen again.
steadily = effort.steadily(200)

IPHONE = "Mozilla/5.0 (iPhone; …) Version/17.4 Mobile/15E148 Safari/604.1"


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    """
    User agents are read anew in each test.
    """
    _web._agent.cache_clear()
    yield
    _web._agent.cache_clear()


@pytest.fixture
def parser(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """
    What a stand-in for ua-parser answers; set its fields.
    """
    answer = SimpleNamespace(user_agent=None, os=None, device=None, read=[])
    module = ModuleType("ua_parser")

    def parse(text: str) -> SimpleNamespace:
        answer.read.append(text)
        return answer

    module.parse = parse  # type: ignore[attr-defined]  # a made-up module
    monkeypatch.setitem(sys.modules, "ua_parser", module)
    return answer


# -- the client's address -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "ip"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:DB8::1", "2001:db8::1"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("fe80::1%eth0", "fe80::1"),
        ("203.0.113.9:4711", "203.0.113.9"),
    ],
)
def test_without_proxies_the_peer_is_the_client(peer: str, ip: str) -> None:
    """
    The socket's other end, in the form that Mixpanel can locate; headers are not looked at.
    """
    assert client(peer, x_forwarded_for="198.51.100.7", forwarded="for=198.51.100.7") == {"ip": ip}


@pytest.mark.parametrize("peer", ["", "/run/gunicorn.sock", "localhost", "0", "1.2.3"])
def test_a_peer_without_address_is_nowhere(peer: str) -> None:
    """
    A Unix socket and a test client have no place.
    """
    assert client(peer) == {}


@pytest.mark.parametrize(
    ("header", "proxies", "found"),
    [
        ("203.0.113.9", 1, {"ip": "203.0.113.9"}),
        ("6.6.6.6, 203.0.113.9", 1, {"ip": "203.0.113.9"}),
        ("6.6.6.6, 203.0.113.9, 10.0.0.1", 2, {"ip": "203.0.113.9"}),
        ("203.0.113.9:4711", 1, {"ip": "203.0.113.9"}),
        ("[2001:db8::1]:4711,10.0.0.1", 2, {"ip": "2001:db8::1"}),
        ("203.0.113.9", 2, {}),
        ("unknown", 1, {}),
        ("203.0.113.9, ", 1, {}),
        ("", 1, {}),
        (", ".join(["6.6.6.6"] * 5_000) + ", 203.0.113.9", 1, {"ip": "203.0.113.9"}),
    ],
)
def test_x_forwarded_for_is_believed_as_far_as_own_proxies_wrote_it(
    header: str, proxies: int, found: dict[str, object]
) -> None:
    """
    Counted from the end: what stands before may be the client's own invention.
    """
    assert client("10.0.0.2", x_forwarded_for=header, proxies=proxies) == found


@pytest.mark.parametrize(
    ("header", "proxies", "found"),
    [
        ("for=203.0.113.9", 1, {"ip": "203.0.113.9"}),
        ('For="[2001:db8:cafe::17]:4711";proto=http', 1, {"ip": "2001:db8:cafe::17"}),
        ("proto=https; for=203.0.113.9 ;by=10.0.0.2", 1, {"ip": "203.0.113.9"}),
        ("for=6.6.6.6, for=203.0.113.9, for=10.0.0.1", 2, {"ip": "203.0.113.9"}),
        ('host="a,b;for=6.6.6.6;";for=203.0.113.9', 1, {"ip": "203.0.113.9"}),
        ('host="\\";for=6.6.6.6";for=203.0.113.9', 1, {"ip": "203.0.113.9"}),
        ('for=203.0.113.9;host="a', 1, {"ip": "203.0.113.9"}),
        ("for=_hidden", 1, {}),
        ("proto=https", 1, {}),
        ("for=203.0.113.9", 2, {}),
    ],
)
def test_forwarded_is_read_as_rfc_7239_says(
    header: str, proxies: int, found: dict[str, object]
) -> None:
    """
    Quoted or not, with a port or without, in any order; also counted from the end.
    """
    assert client("10.0.0.2", forwarded=header, proxies=proxies) == found


def test_two_headers_that_disagree_are_not_believed() -> None:
    """
    Proxies write one of them, so the other one may be the client's.
    """
    assert client(
        "10.0.0.2", x_forwarded_for="6.6.6.6", forwarded="for=203.0.113.9", proxies=1
    ) == client("10.0.0.2", proxies=1)
    assert client(
        "10.0.0.2", x_forwarded_for="203.0.113.9", forwarded="for=203.0.113.9", proxies=1
    ) == {"ip": "203.0.113.9"}


# -- addresses of pages -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("https://example.com/tea", "https://example.com/tea"),
        ("HTTPS://Example.com:8443/Tea", "https://example.com:8443/Tea"),
        ("https://example.com", "https://example.com"),
        ("https://example.com:443/", "https://example.com/"),
        ("https://example.com:80/", "https://example.com:80/"),
        ("http://[2001:db8::1]:8000/", "http://[2001:db8::1]:8000/"),
        ("https://mary:hunter2@example.com/", "https://example.com/"),
        ("https://example.com/tea#access_token=abc", "https://example.com/tea"),
        ("https://example.com/?token=abc&password=x&code=1&key=2&sig=3", "https://example.com/"),
        ("https://example.com/?q=rash+on+arm&email=a@b.de", "https://example.com/"),
        (
            "https://example.com/?utm_source=mail&token=abc&utm_term=green%20tea",
            "https://example.com/?utm_source=mail&utm_term=green+tea",
        ),
        ("https://example.com/?utm_source=a\ud83d", "https://example.com/?utm_source=a%3F"),
        (
            "https://example.com/reset/c5x7ab-0f1e2d3c4b5a69788796a5b4/",
            "https://example.com/reset/*/",
        ),
        ("https://example.com/in/eyJhbGciOi-JIUzI1_NiJ9x", "https://example.com/in/*"),
        ("https://example.com/u/ada@example.com/x", "https://example.com/u/*/x"),
        ("https://example.com/u/ada%40example.com", "https://example.com/u/*"),
        ("https://example.com/@ada", "https://example.com/@ada"),
        (
            "https://example.com/7-teas-that-nobody-should-miss-in-2026",
            "https://example.com/7-teas-that-nobody-should-miss-in-2026",
        ),
        (
            "https://example.com/o/9b2e3c4d-0000-4000-8000-1234567890ab",
            "https://example.com/o/9b2e3c4d-0000-4000-8000-1234567890ab",
        ),
        ("https://example.com/donaudampfschifffahrtsgesellschaft", None),
    ],
)
def test_an_address_is_made_harmless(url: str, clean: str | None) -> None:
    """
    Place and page stay; what identifies somebody or opens something goes.
    """
    assert current_url(url) == {"$current_url": clean or url}


@pytest.mark.parametrize(
    "url",
    ["", "/tea", "about:blank", "https://", "https://exa mple/", "http://[::1", "//a/b", "x:y"],
)
def test_what_is_no_address_is_left_out(url: str) -> None:
    """
    Without scheme or host, or with an impossible one, there is nothing to show.
    """
    assert current_url(url) == {}
    assert referrer(url) == {}


def test_parameters_can_be_asked_for() -> None:
    """
    An application knows which of its parameters are harmless; of several the first counts.
    """
    url = "https://example.com/tea?page=2&sort=price&page=3&token=abc"

    assert current_url(url, ["page", "sort"]) == {
        "$current_url": "https://example.com/tea?page=2&sort=price"
    }


def test_a_referrer_has_a_domain() -> None:
    """
    The page before is cleaned likewise; its host is a property of its own.
    """
    assert referrer("https://www.google.com/search?q=embarrassing") == {
        "$referrer": "https://www.google.com/search",
        "$referring_domain": "www.google.com",
    }
    assert referrer("android-app://com.example.mail/") == {
        "$referrer": "android-app://com.example.mail/",
        "$referring_domain": "com.example.mail",
    }


def test_a_campaign_is_read_from_the_query() -> None:
    """
    The five parameters that Mixpanel knows, the first of each, if it says something.
    """
    query = "utm_source=mail&utm_source=x&utm_medium=&utm_campaign=f%C3%BCnf&utm_evil=1&token=abc"

    assert campaign(query) == {"utm_source": "mail", "utm_campaign": "fünf"}


# -- the client ---------------------------------------------------------------------------------


def test_without_its_extra_a_user_agent_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The raw text would be a property that no report can use.
    """
    monkeypatch.setitem(sys.modules, "ua_parser", None)

    assert agent(IPHONE) == {}


def test_a_user_agent_is_read(parser: SimpleNamespace) -> None:
    """
    Under the names that Mixpanel's library for browsers uses, the version as a number.
    """
    parser.user_agent = SimpleNamespace(family="Mobile Safari", major="17", minor="4")
    parser.os = SimpleNamespace(family="iOS")
    parser.device = SimpleNamespace(family="iPhone")

    found = agent(IPHONE)

    assert parser.read == [IPHONE]
    assert found == {
        "$browser": "Mobile Safari",
        "$browser_version": 17.4,
        "$os": "iOS",
        "$device": "iPhone",
    }


@pytest.mark.parametrize(
    ("browser", "system", "found"),
    [
        (("Edge", "124", None), "Windows", {"$browser": "Microsoft Edge", "$browser_version": 124}),
        (("Firefox", "125", "0"), "Ubuntu", {"$browser": "Firefox", "$browser_version": 125}),
        (("curl", None, None), "", {"$browser": "curl"}),
        (None, "Android", {"$device": "Android"}),
        (None, "iOS", {}),
        (None, "", {}),
    ],
)
def test_what_is_not_known_of_a_user_agent_is_left_out(
    parser: SimpleNamespace,
    browser: tuple[str, str | None, str | None] | None,
    system: str,
    found: dict[str, object],
) -> None:
    """
    A command has no version, a desktop no device, and what nobody knows nothing at all.
    """
    if browser:
        family, major, minor = browser
        parser.user_agent = SimpleNamespace(family=family, major=major, minor=minor)
    if system:
        parser.os = SimpleNamespace(family=system)
        found["$os"] = "Linux" if system == "Ubuntu" else system

    assert agent("anything") == found


def test_a_user_agent_is_read_once_and_not_for_ever(parser: SimpleNamespace) -> None:
    """
    Reading takes a millisecond and more with each character, so the result is remembered and a
    monstrous text cut; an absent one is not read at all. Nobody can change what is remembered.
    """
    parser.os = SimpleNamespace(family="Windows")

    agent("x" * 10_000)["$os"] = "changed"
    again = agent("x" * 10_000)

    assert parser.read == ["x" * 500]
    assert again == {"$os": "Windows"}
    assert agent("") == {}


@pytest.mark.parametrize(
    ("cookies", "found"),
    [
        ("device=d-1", {"$device_id": "d-1"}),
        ('session=s; device="d-1"; device=d-2', {"$device_id": "d-1"}),
        ("my_device=d-2; other", {}),
        ("device=; session=s", {}),
        ("device=a b", {}),
        ("device=" + "x" * 256, {}),
        ("", {}),
    ],
)
def test_a_device_is_named_by_its_cookie(cookies: str, found: dict[str, object]) -> None:
    """
    The value of the cookie of that name, if it can be one; no other cookie is looked at.
    """
    assert device(cookies, "device") == found


# -- all of it ----------------------------------------------------------------------------------


def test_a_request_is_described(parser: SimpleNamespace) -> None:
    """
    Everything at once.
    """
    parser.os = SimpleNamespace(family="Windows")
    headers = {
        "user-agent": "Mozilla/5.0",
        "referer": "https://www.example.org/blog?id=1",
        "x-forwarded-for": "203.0.113.9",
        "x-forwarded-proto": "https, http",
        "cookie": "sessionid=secret",
    }
    url = "http://shop.example/tea?utm_source=mail&sessionid=secret&page=2"

    found = describe(Request(url, "10.0.0.1", headers), proxies=1, parameters=("page",))

    assert found == {
        "ip": "203.0.113.9",
        "$current_url": "https://shop.example/tea?utm_source=mail&page=2",
        "$referrer": "https://www.example.org/blog",
        "$referring_domain": "www.example.org",
        "utm_source": "mail",
        "$os": "Windows",
    }


def test_a_request_that_says_nothing_has_nothing() -> None:
    """
    No headers, no peer, an address without host.
    """
    assert describe(Request("http:///", "", {})) == {}


def test_without_proxies_the_scheme_is_the_servers() -> None:
    """
    What a client claims of the scheme does not count.
    """
    headers = {"x-forwarded-proto": "https"}

    assert describe(Request("http://shop.example/", "", headers)) == {
        "$current_url": "http://shop.example/"
    }


@steadily
@given(st.text(), st.text(), st.text(), st.text(), st.integers(-1, 3))
def test_nothing_that_a_client_sends_raises(
    url: str, peer: str, forwarded: str, other: str, proxies: int
) -> None:
    """
    Whatever the headers hold, there are properties or there are none.
    """
    headers = {"x-forwarded-for": forwarded, "forwarded": other, "referer": other, "cookie": other}

    for address in (url, f"https://{url}", f"https://example.com/?{url}"):
        found = describe(Request(address, peer, headers), proxies=proxies, parameters=(url,))
        assert all(isinstance(value, str) for value in found.values())
    device(other, url)


@steadily
@given(
    st.text("0123456789abcdef", min_size=24, max_size=64).filter(lambda text: not text.isdigit()),
    st.sampled_from(["/{}", "/a/{}/b", "/?x={}", "/#{}", "//{}", "/b?utm_source=x&{}=1"]),
)
def test_no_address_shows_a_long_key(key: str, place: str) -> None:
    """
    Wherever a machine-made key stands in an address, it does not stand in the property.
    """
    if key.isalpha():
        key += "0"

    assert key not in str(current_url("https://example.com" + place.format(key)))
