"""
Guards against other web pages and other machines.
"""

from __future__ import annotations

from urllib.parse import urlencode

import pytest

from mixpanel_export.emulator._gate import ACCESS_COOKIE, Gate, hostname
from tests.emulator.api import Api, Run, events

OWN = ("/_emulator/reset", "/_emulator/faults")


@pytest.mark.parametrize("path", ["/", "/import", "/track", "/_emulator/stats"])
def test_a_foreign_host_is_refused(api: Api, path: str) -> None:
    """
    A name that was made to point here (DNS rebinding) reaches nothing.
    """
    response = api.client.get(api.emulator.url + path, headers={"Host": "evil.example:80"})

    assert response.status_code == 403
    assert api.emulator.stats()["requests"] == {}


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("127.0.0.1:8787", "127.0.0.1"),
        ("LocalHost", "localhost"),
        ("[::1]:80", "::1"),
        ("evil.example", "evil.example"),
        ("127.0.0.1.evil.example", "127.0.0.1.evil.example"),
        ("", ""),
    ],
)
def test_the_name_is_what_counts_in_host(host: str, name: str) -> None:
    """
    Without port, brackets and case.
    """
    assert hostname(host) == name


def test_a_request_without_host_is_refused() -> None:
    """
    HTTP/1.0 may leave it out; a browser does not.
    """
    assert Gate(hosts=(), access_key=None).refuse_host(None)


def test_off_loopback_addresses_are_allowed() -> None:
    """
    Nobody can make an address point here; one that does is how others reach it.
    """
    gate = Gate(hosts=["0.0.0.0"], access_key="k")

    assert gate.refuse_host("192.168.1.7:8787") is None
    assert gate.refuse_host("[fe80::1]:8787") is None
    assert gate.refuse_host("evil.example")
    assert Gate(hosts=(), access_key=None).refuse_host("192.168.1.7")


def test_allow_host_lets_a_name_in(running: Run) -> None:
    """
    For containers that know each other by name.
    """
    api = running("--allow-host", "mixpanel.test")

    url = api.emulator.url + "/_emulator/stats"
    assert api.client.get(url, headers={"Host": "mixpanel.test:1"}).status_code == 200


@pytest.mark.parametrize("path", OWN)
@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_commands_must_be_json(api: Api, path: str, content_type: str) -> None:
    """
    What a page elsewhere can send without asking is refused.
    """
    api.imports(events(1))

    assert api.send(path, "[]", content_type=content_type).status_code == 415
    assert api.emulator.stats()["imported"] == 1


@pytest.mark.parametrize("path", OWN)
@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1"])
def test_commands_must_come_from_our_own_page(api: Api, path: str, origin: str) -> None:
    """
    An origin, if there is one, is the server's.
    """
    assert api.send(path, "[]", headers={"Origin": origin}).status_code == 403


def test_commands_from_our_own_page_are_obeyed(api: Api) -> None:
    """
    The page's own origin may reset.
    """
    api.imports(events(1))

    response = api.send("/_emulator/reset", "{}", headers={"Origin": api.emulator.url})

    assert response.status_code == 200
    assert api.emulator.stats()["imported"] == 0


@pytest.mark.parametrize("path", ["/track/", "/engage"])
def test_a_browser_may_read_what_it_is_answered(api: Api, path: str) -> None:
    """
    Mixpanel's library for browsers sends again until it can; nothing of ours is for other pages.
    """
    origin = {"Origin": "http://shop.example"}

    answer = api.send(path, "[]", headers=origin).headers

    assert answer["access-control-allow-origin"] == "http://shop.example"
    assert answer["access-control-allow-credentials"] == "true"
    for other in ("/", "/import", "/_emulator/events", "/_emulator/stats", "/api/2.0/export"):
        headers = api.send(other, method="GET", headers=origin).headers
        assert "access-control-allow-origin" not in headers
    assert "access-control-allow-origin" not in api.send(path, "[]").headers


def test_the_page_runs_nothing_from_elsewhere(api: Api) -> None:
    """
    No inline script, no frame, no other origin.
    """
    headers = api.client.get(api.emulator.url + "/").headers

    policy = headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"


def test_no_file_beside_the_page_is_served(api: Api) -> None:
    """
    Paths are names of known files, not places on the disk.
    """
    for name in ("../_app.py", "%2e%2e/_app.py", "vendor/README.md", "/etc/passwd"):
        assert api.send(f"/_emulator/page/{name}", method="GET").status_code in (403, 404)


@pytest.mark.parametrize("path", ["/", "/_emulator/stats", "/_emulator/page/page.js"])
def test_off_loopback_the_page_asks_for_a_key(running: Run, path: str) -> None:
    """
    Whoever has the printed address has the key; the others see nothing.
    """
    api = running("--host", "0.0.0.0")

    assert api.client.get(api.emulator.url + path).status_code == 403
    assert api.client.get(api.emulator.url + path + "?access=guess").status_code == 403
    assert api.emulator.stats()["requests"] == {}


def test_off_loopback_events_need_no_key(running: Run) -> None:
    """
    Mixpanel's endpoints have Mixpanel's credentials.
    """
    api = running("--host", "0.0.0.0")

    assert api.imports(events(1)).status_code == 200


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({}, {"access": "key"}),
        ({"authorization": "Bearer key"}, {}),
        ({"cookie": f"a=b; {ACCESS_COOKIE}=key"}, {}),
    ],
)
def test_a_key_may_come_in_three_ways(headers: dict[str, str], query: dict[str, str]) -> None:
    """
    In the address, as a bearer token, or in the cookie that the page gets.
    """
    gate = Gate(hosts=(), access_key="key")

    assert gate.refuse_visitor(headers, query) is None
    assert gate.refuse_visitor({}, {})


@pytest.mark.parametrize("access", ["wrong", "\x84\udcff€", "a; Domain=evil.example\r\nX: 1"])
def test_what_is_not_the_key_becomes_no_cookie(running: Run, access: str) -> None:
    """
    Whatever it is made of, with a key and without one.
    """
    query = urlencode({"access": access}, errors="surrogateescape")
    for api, status in ((running("--host", "0.0.0.0"), 403), (running(), 200)):
        response = api.client.get(f"{api.emulator.url}/?{query}")

        assert response.status_code == status
        assert "set-cookie" not in response.headers


def test_the_key_moves_from_the_address_to_a_cookie(running: Run) -> None:
    """
    So that it is not in the history, and cookies of other sites cannot bring it.
    """
    api = running("--host", "0.0.0.0")
    key = api.emulator.access_key

    response = api.client.get(f"{api.emulator.url}/?access={key}")

    assert (response.status_code, response.headers["location"]) == (303, "/")
    cookie = response.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    page = api.client.get(api.emulator.url + "/", headers={"Cookie": f"{ACCESS_COOKIE}={key}"})
    assert page.status_code == 200
    api.client.cookies.clear()
