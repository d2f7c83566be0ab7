"""
Misbehaviour on demand.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from mixpanel_export.emulator import _facts
from mixpanel_export.emulator._faults import ENDPOINTS, FaultList, read_faults
from tests.emulator.api import Api, event, events


def acted(faults: list[dict[str, Any]], paths: list[str]) -> list[int | None]:
    """
    Return which status each of a series of requests meets; None where it passes.
    """
    chosen = FaultList()
    chosen.add(read_faults(faults))
    hit = [chosen.next(path) for path in paths]
    return [fault.status if fault else None for fault in hit]


def test_every_hits_each_nth_request_to_the_path() -> None:
    """
    Other paths are not counted.
    """
    paths = ["/import", "/track", "/import", "/import", "/import", "/import", "/import"]

    hit = acted([{"path": "/import", "every": 3, "status": 503}], paths)

    assert hit == [None, None, None, 503, None, None, 503]


def test_times_bounds_how_often_it_acts() -> None:
    """
    After that requests pass.
    """
    assert acted([{"times": 2, "status": 500}], ["/import"] * 4) == [500, 500, None, None]


def test_probability_is_decided_by_the_seed() -> None:
    """
    The same seed hits the same requests, about as many as it should.
    """
    faults = [{"probability": 0.3, "seed": 7, "status": 500}]

    first, second = (acted(faults, ["/import"] * 1000) for _ in range(2))

    assert first == second
    assert 250 < first.count(500) < 350


def test_the_first_fault_that_is_due_acts() -> None:
    """
    Later ones count the request all the same: each third request is each third request.
    """
    faults = [{"times": 1, "status": 500}, {"every": 2, "status": 503}]

    assert acted(faults, ["/import"] * 4) == [500, 503, None, 503]


def test_a_pass_shields_a_request_from_later_faults() -> None:
    """
    `pass` is an action like the others.
    """
    faults = [{"action": "pass", "times": 2}, {"status": 500}]

    chosen = FaultList()
    chosen.add(read_faults(faults))

    assert [chosen.next("/import").action for _ in range(3)] == ["pass", "pass", "respond"]  # type: ignore[union-attr] # there is one each time


@pytest.mark.parametrize("path", ENDPOINTS)
def test_a_fault_without_a_path_hits_every_endpoint(path: str) -> None:
    """
    Also those for profiles.
    """
    assert acted([{"status": 500}], [path]) == [500]


@pytest.mark.parametrize(
    ("faults", "complaint"),
    [
        ({}, "faults must be a list"),
        ([7], "a fault must be an object"),
        ([{"stauts": 500}], "unknown key 'stauts'"),
        ([{"path": "/imports"}], "path must be"),
        ([{"every": 0}], "every must be 1 or more"),
        ([{"times": True}], "times must be 1 or more"),
        ([{"probability": 1.5}], "probability must be between 0 and 1"),
        ([{"status": 99}], "status must be"),
        ([{"action": "explode"}], "action must be one of"),
        ([{"headers": {"a": "b\nc"}}], "headers must be"),
        ([{"headers": {"a b": "c"}}], "headers must be"),
        ([{"headers": {"": "c"}}], "headers must be"),
        ([{"headers": {"a": " b"}}], "headers must be"),
        ([{"headers": {"a": 7}}], "headers must be"),
        ([{"headers": {"Content-Length": "1"}}], "without content-length"),
        ([{"delay": -1}], "delay must be"),
        ([{"store": 1}], "store must be"),
        ([{"seed": "x"}], "seed must be"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(faults: object, complaint: str) -> None:
    """
    The key, the value and the fix are named.
    """
    with pytest.raises(ValueError, match=complaint):
        read_faults(faults)


def test_a_refused_fault_is_explained_to_the_client(api: Api) -> None:
    """
    The answer is 400, and nothing is added.
    """
    with pytest.raises(RuntimeError, match=r"400.*every must be 1 or more"):
        api.emulator.faults([{"status": 500}, {"every": 0}])

    assert api.imports(events(1)).status_code == 200


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        ("<h1>Bad Gateway</h1>", "text/html; charset=utf-8", "<h1>Bad Gateway</h1>"),
        ("oops", "text/plain; charset=utf-8", "oops"),
        ("", "text/plain; charset=utf-8", ""),
        ({"status": 0}, "application/json", '{"status":0}'),
    ],
)
def test_c94_a_response_has_the_body_one_wants(
    api: Api, body: object, kind: str, text: str
) -> None:
    """
    HTML, text, nothing, or JSON.
    """
    api.emulator.faults([{"status": 502, "body": body}])

    response = api.imports(events(1))

    assert (response.status_code, response.text) == (502, text)
    assert response.headers["content-type"] == kind


def test_a_response_may_have_any_headers(api: Api) -> None:
    """
    Such as Retry-After, or another content type.
    """
    headers = {"Retry-After": "7", "Content-Type": "text/weird"}
    api.emulator.faults([{"status": 429, "headers": headers}])

    response = api.imports(events(1))

    assert response.headers["retry-after"] == "7"
    assert response.headers.get_list("content-type") == ["text/weird"]


def test_a_body_that_is_no_text_is_sent_all_the_same(api: Api) -> None:
    """
    A half of a surrogate pair is not in UTF-8.
    """
    api.emulator.faults([{"status": 503, "body": "a\ud800"}])

    assert api.imports(events(1)).text == "a?"


def test_a_response_without_a_body_says_what_mixpanel_says(api: Api) -> None:
    """
    429 by default is the documented one.
    """
    api.emulator.faults([{"status": 429}])

    assert api.imports(events(1)).json()["error"] == _facts.RATE_LIMITED


@pytest.mark.parametrize("status", [204, 302, 200])
def test_a_success_without_a_body_is_empty(api: Api, status: int) -> None:
    """
    Something in between answered, and not Mixpanel.
    """
    api.emulator.faults([{"status": status}])

    response = api.imports(events(1))

    assert (response.status_code, response.content) == (status, b"")


def test_a_failed_request_leaves_nothing(api: Api) -> None:
    """
    Unless it is told to store, a fault acts instead of the endpoint.
    """
    api.emulator.faults([{"status": 500, "times": 1}])

    api.imports(events(2))

    assert api.emulator.stats()["imported"] == 0


def test_c95_data_of_a_broken_connection_arrive_once(api: Api) -> None:
    """
    Stored, reset, and sent again: stored twice, shown once.
    """
    batch = events(3)
    api.emulator.faults([{"action": "reset", "store": True, "times": 1}])

    with pytest.raises(httpx.TransportError):
        api.imports(batch)
    api.imports(batch)

    stats = api.emulator.stats()
    assert (stats["imported"], stats["distinct"], stats["duplicates"]) == (6, 3, 3)
    assert stats["requests"] == {"reset": 1, "200": 1}


def test_store_with_a_response_stores_before_it_lies(api: Api) -> None:
    """
    The client is told 503 and the data are there.
    """
    api.emulator.faults([{"status": 503, "store": True, "times": 1}])

    assert api.imports(events(2)).status_code == 503
    assert api.emulator.stats()["imported"] == 2


def raw(api: Api, body: bytes) -> socket.socket:
    """
    Open a connection and send a request on it.
    """
    url = urlsplit(api.emulator.url)
    connection = socket.create_connection((url.hostname, url.port or 0), timeout=10)
    head = (
        "POST /import?strict=1 HTTP/1.1\r\n"
        f"Host: {url.netloc}\r\nAuthorization: Basic T:\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    connection.sendall(head.encode() + body)
    return connection


def test_a_reset_is_a_reset(api: Api) -> None:
    """
    The connection ends with RST and without a byte.
    """
    api.emulator.faults([{"action": "reset"}])

    with raw(api, b"[]") as connection, pytest.raises(ConnectionResetError):
        connection.recv(1)


def test_a_hang_lasts_until_its_delay_is_over(api: Api) -> None:
    """
    Then the connection is closed without a byte.
    """
    api.emulator.faults([{"action": "hang", "delay": 0.3}])
    start = time.monotonic()

    with raw(api, b"[]") as connection, pytest.raises(ConnectionResetError):
        connection.recv(1)

    assert 0.3 <= time.monotonic() - start < 5
    assert api.emulator.stats()["requests"] == {"hang": 1}


def test_a_hang_without_delay_lasts_until_the_client_leaves(api: Api) -> None:
    """
    Others are served meanwhile, and the client that gives up is not waited for.
    """
    api.emulator.faults([{"action": "hang", "times": 1}])

    with pytest.raises(httpx.ReadTimeout):
        api.client.post(api.emulator.url + "/import", timeout=0.3)

    assert api.imports(events(1)).status_code == 200
    assert api.emulator.stats()["requests"] == {"hang": 1, "200": 1}


@pytest.mark.parametrize("fault", [{"action": "pass"}, {}, {"status": 200, "body": "1"}])
def test_a_delay_comes_before_the_answer(api: Api, fault: dict[str, Any]) -> None:
    """
    Whether the request passes or not.
    """
    api.emulator.faults([{**fault, "delay": 0.2}])
    start = time.monotonic()

    assert api.imports(events(1)).status_code == 200
    assert time.monotonic() - start >= 0.2


def test_delayed_requests_do_not_wait_for_each_other(api: Api) -> None:
    """
    Ten requests that take half a second each take half a second together.
    """
    api.emulator.faults([{"delay": 0.5}])
    batch = json.dumps([event()]).encode()
    senders = [threading.Thread(target=api.imports, args=(batch,)) for _ in range(10)]
    start = time.monotonic()

    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()

    assert time.monotonic() - start < 2.5
    assert api.emulator.stats()["imported"] == 10


def test_half_a_request_leaves_nothing(api: Api) -> None:
    """
    A client that leaves in the middle of its body is counted and that is all.
    """
    body = json.dumps(events(2)).encode()
    url = urlsplit(api.emulator.url)
    head = f"POST /import HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection((url.hostname, url.port or 0)) as connection:
        connection.sendall(head.encode() + body[:-10])
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    # It is noticed a moment later; each question takes about a millisecond.
    seen = (api.emulator.stats() for _ in range(5000))
    stats = next(one for one in seen if one["requests"])
    assert (stats["requests"], stats["imported"]) == ({"left": 1}, 0)


def test_reset_forgets_faults(api: Api) -> None:
    """
    After a reset every request passes.
    """
    api.emulator.faults([{"status": 500}])
    api.emulator.reset()

    assert api.imports(events(1)).status_code == 200


def test_one_fault_can_be_removed_or_all_of_them(api: Api) -> None:
    """
    By its number, which the stream tells; what has arrived stays.
    """
    api.imports(events(1))
    api.emulator.faults([{"path": "/import", "status": 500}, {"path": "/import", "status": 502}])
    own = api.emulator.url + "/_emulator/faults"
    json_type = {"content-type": "application/json"}

    with api.client.stream("GET", api.emulator.url + "/_emulator/live") as stream:
        first = next(line for line in stream.iter_lines() if line.startswith("data: "))
    numbers = [fault["id"] for fault in json.loads(first[6:])["faults"]]

    assert api.client.delete(f"{own}/{numbers[0]}", headers=json_type).status_code == 200
    assert api.imports(events(1)).status_code == 502
    assert api.client.delete(f"{own}/{numbers[0]}", headers=json_type).status_code == 404
    assert api.client.delete(own).status_code == 415
    assert api.client.delete(own, headers=json_type).status_code == 200
    assert api.imports(events(1)).status_code == 200
    assert api.emulator.stats()["imported"] == 2


def test_faults_say_how_often_they_acted() -> None:
    """
    Of the requests to their path.
    """
    faults = FaultList()
    faults.add(read_faults([{"path": "/import", "every": 2, "status": 503}]))
    for path in ("/import", "/import", "/track", "/import"):
        faults.next(path)

    (state,) = faults.state()

    assert (state["path"], state["status"], state["every"]) == ("/import", 503, 2)
    assert (state["acted"], state["seen"]) == (1, 3)


def test_there_is_an_end_to_faults(api: Api) -> None:
    """
    Every request asks each of them.
    """
    api.emulator.faults([{"status": 500}] * 100)

    with pytest.raises(RuntimeError, match="faults must be 100 at most"):
        api.emulator.faults([{"status": 500}])
