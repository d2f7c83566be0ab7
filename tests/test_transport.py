"""
What carries requests, over real sockets.
"""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpcore
import httpx
import pytest

from mixpanel_export._clock import SYSTEM_CLOCK, Deadline
from mixpanel_export._exceptions import TransportError
from mixpanel_export._settings import Settings
from mixpanel_export._transport import MAX_RESPONSE_BYTES, HttpxTransport, _Backend, _Stream
from mixpanel_export._wire import Request, Response
from mixpanel_export.testing import FakeClock
from tests.raw_server import OK, raw_server, reset

SETTINGS = Settings(token="t")


@pytest.fixture
def transport(monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpxTransport]:
    """
    Make a transport that no proxy of the machine gets at.
    """
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    transport = HttpxTransport(SETTINGS)
    yield transport
    transport.close()


def request_to(url: str, body: bytes = b"[]") -> Request:
    """
    Make a request to a server.
    """
    return Request(url=url + "/import", body=body, headers={"X-Test": "yes"})


def within(seconds: float) -> Deadline:
    """
    Allow so many seconds.
    """
    return Deadline(SYSTEM_CLOCK, seconds)


def test_a_request_arrives_and_its_answer_comes_back(transport: HttpxTransport) -> None:
    """
    Method, path, headers and body are those of the request; status, headers and body come back.
    """
    reply = b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nwait"
    with raw_server(reply) as server:
        response = transport.send(request_to(server.url, b"[1]"), within(5.0))

        head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /import HTTP/1.1\r\n")
    assert b"x-test: yes" in head.lower()
    assert body == b"[1]"
    assert (response.status, response.body) == (429, b"wait")
    assert response.headers["retry-after"] == "7"


def test_a_header_is_said_once(transport: HttpxTransport) -> None:
    """
    What the request says goes before what the client would say; the rest the client says.
    """
    headers = {"Accept": "application/json", "USER-AGENT": "ours"}
    with raw_server() as server:
        for _ in range(2):
            request = Request(url=server.url + "/import?strict=1", body=b"[]", headers=headers)
            transport.send(request, within(5.0))

        heads = [each.partition(b"\r\n\r\n")[0].decode().lower() for each in server.requests]
    assert heads[0] == heads[1]
    first, *lines = heads[0].split("\r\n")
    assert first == "post /import?strict=1 http/1.1"
    said = dict(line.split(": ") for line in lines)
    assert len(said) == len(lines)
    encodings = said.pop("accept-encoding")
    assert "gzip" in encodings
    assert said == {
        "host": server.url.removeprefix("http://"),
        "connection": "keep-alive",
        "content-length": "2",
        "accept": "application/json",
        "user-agent": "ours",
    }


def test_nothing_is_imported_while_requests_are_made() -> None:
    """
    A fork in the middle of an import would leave the child with a lock that is never released.
    """
    program = """
import sys
from mixpanel_export._clock import SYSTEM_CLOCK, Deadline
from mixpanel_export._settings import Settings
from mixpanel_export._transport import HttpxTransport
from mixpanel_export._wire import Request

transport = HttpxTransport(Settings(token="t"))
before = set(sys.modules)
transport.send(Request(url=sys.argv[1], body=b"[]", headers={}), Deadline(SYSTEM_CLOCK, 5.0))
transport.close()
print(*sorted(set(sys.modules) - before))
"""
    with raw_server() as server:
        done = subprocess.run(
            [sys.executable, "-c", program, server.url],
            capture_output=True,
            text=True,
            check=True,
            timeout=60.0,
        )

    assert done.stdout.strip() == ""


def test_a_proxy_is_not_asked_for_this_machine(
    monkeypatch: pytest.MonkeyPatch, transport: HttpxTransport
) -> None:
    """
    With a proxy in the environment an emulator on loopback is still reached.
    """
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with raw_server() as server:
        local = HttpxTransport(Settings(token="t", base_url=server.url))
        try:
            response = local.send(request_to(server.url), within(5.0))
        finally:
            local.close()

    assert response.status == 200
    # The fixture's transport is for Mixpanel itself: it goes through the proxy, which is not there.
    with pytest.raises(TransportError):
        transport.send(request_to("http://mixpanel.invalid"), within(5.0))


def test_an_ipv6_loopback_is_this_machine_too() -> None:
    """
    An address in brackets makes a client like any other.
    """
    transport = HttpxTransport(Settings(token="t", base_url="http://[::1]:9"))

    with pytest.raises(TransportError):
        transport.send(request_to("http://[::1]:9"), within(5.0))
    transport.close()


def test_a_connection_is_used_again(transport: HttpxTransport) -> None:
    """
    Requests one after the other share a connection.
    """
    with raw_server() as server:
        for _ in range(3):
            transport.send(request_to(server.url), within(5.0))

        assert server.accepted == 1


def test_requests_at_once_have_connections_of_their_own(transport: HttpxTransport) -> None:
    """
    A slow answer does not hold up another request.
    """
    first_is_in, go_on = threading.Event(), threading.Event()

    def slow(connection: socket.socket) -> None:
        first_is_in.set()
        go_on.wait(5.0)
        connection.sendall(OK)

    answers: list[Response] = []
    with raw_server(slow) as server:
        thread = threading.Thread(
            target=lambda: answers.append(transport.send(request_to(server.url), within(5.0)))
        )
        thread.start()
        first_is_in.wait(5.0)
        second = transport.send(request_to(server.url), within(5.0))
        unanswered = not answers
        go_on.set()
        thread.join()

    assert second.status == 200
    assert unanswered
    assert answers[0].status == 200


def test_a_closed_port_means_nothing_was_sent(transport: HttpxTransport) -> None:
    """
    A refused connection is known not to have reached anybody.
    """
    with raw_server() as server:
        url = server.url

    with pytest.raises(TransportError) as caught:
        transport.send(request_to(url), within(5.0))

    assert not caught.value.sent
    assert not caught.value.stale


def test_an_unknown_host_means_nothing_was_sent(transport: HttpxTransport) -> None:
    """
    So is a name that does not resolve.
    """
    with pytest.raises(TransportError) as caught:
        transport.send(request_to("http://does-not-exist.invalid"), within(5.0))

    assert not caught.value.sent


def test_an_address_that_is_none_is_an_error_like_others(transport: HttpxTransport) -> None:
    """
    Nonsense in the address does not raise anything else.
    """
    with pytest.raises(TransportError):
        transport.send(request_to("http://exa mple:port"), within(5.0))


def test_a_server_that_never_answers_is_left_at_the_deadline(transport: HttpxTransport) -> None:
    """
    The deadline holds when nothing comes back at all.
    """
    with raw_server(lambda _connection: None) as server:
        start = time.monotonic()
        with pytest.raises(TransportError) as caught:
            transport.send(request_to(server.url), within(0.3))

    assert caught.value.sent
    assert time.monotonic() - start < 3.0


@pytest.mark.parametrize(
    "beginning", [b"HTTP/1.1 200 OK\r\nX-", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"]
)
def test_an_answer_that_trickles_is_left_at_the_deadline(
    transport: HttpxTransport, beginning: bytes
) -> None:
    """
    A byte now and then, of the headers or of the body, does not keep the request alive for ever.
    """
    over = threading.Event()

    def trickle(connection: socket.socket) -> None:
        connection.sendall(beginning)
        while not over.wait(0.02):
            connection.sendall(b"x")

    with raw_server(trickle) as server:
        start = time.monotonic()
        with pytest.raises(TransportError, match="time"):
            transport.send(request_to(server.url), within(0.3))
        seconds = time.monotonic() - start
        over.set()

    assert seconds < 3.0


def test_an_endless_answer_is_cut_off(transport: HttpxTransport) -> None:
    """
    No more is read than the longest answer that Mixpanel can give.
    """
    length = MAX_RESPONSE_BYTES + 100_000
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length + b"x" * length
    with raw_server(reply) as server, pytest.raises(TransportError, match="too long"):
        transport.send(request_to(server.url), within(10.0))


def test_a_truncated_answer_is_no_answer(transport: HttpxTransport) -> None:
    """
    Half an answer says nothing about the batch.
    """

    def truncated(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        connection.shutdown(socket.SHUT_RDWR)

    with raw_server(truncated) as server, pytest.raises(TransportError) as caught:
        transport.send(request_to(server.url), within(5.0))

    assert caught.value.sent


def test_a_reset_on_a_fresh_connection_is_not_stale(transport: HttpxTransport) -> None:
    """
    A connection that never served is worth a wait before the next try.
    """
    with raw_server(reset) as server, pytest.raises(TransportError) as caught:
        transport.send(request_to(server.url), within(5.0))

    assert not caught.value.stale


def test_a_reset_on_a_used_connection_is_stale(transport: HttpxTransport) -> None:
    """
    A connection that had served before may be tried anew at once.
    """
    with raw_server(OK, reset) as server:
        transport.send(request_to(server.url), within(5.0))
        with pytest.raises(TransportError) as caught:
            transport.send(request_to(server.url), within(5.0))

    assert caught.value.stale


def test_a_connection_is_of_no_use_in_another_process(
    transport: HttpxTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A fork copies gevent's threads, and what they go on with there belongs to the parent.
    """
    with raw_server() as server:
        transport.send(request_to(server.url), within(5.0))
        monkeypatch.setattr(os, "getpid", lambda: -1)

        with pytest.raises(TransportError, match="another process"):
            transport.send(request_to(server.url), within(5.0))

        assert len(server.requests) == 1


def test_redirects_are_not_followed(transport: HttpxTransport) -> None:
    """
    Credentials never travel to an address that somebody else names.
    """
    reply = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
    with raw_server(reply) as server:
        response = transport.send(request_to(server.url), within(5.0))

        assert response.status == 302
        assert len(server.requests) == 1


def test_a_closed_transport_opens_again(transport: HttpxTransport) -> None:
    """
    Closing drops the connections and nothing else; closing twice is nothing.
    """
    with raw_server() as server:
        transport.send(request_to(server.url), within(5.0))
        transport.close()
        transport.close()

        response = transport.send(request_to(server.url), within(5.0))

        assert response.status == 200
        assert server.accepted == 2


def test_a_deadline_that_has_passed_fails_at_once(transport: HttpxTransport) -> None:
    """
    There is no time left for anything.
    """
    with raw_server(lambda _connection: None) as server, pytest.raises(TransportError):
        transport.send(request_to(server.url), within(-1.0))


def test_our_own_requests_are_not_traced(
    monkeypatch: pytest.MonkeyPatch, transport: HttpxTransport
) -> None:
    """
    Where the application uses OpenTelemetry, instrumentation is told to look away meanwhile.
    """
    told: list[tuple[str, object]] = []

    class Context:
        @staticmethod
        def set_value(name: str, value: object) -> tuple[str, object]:
            return name, value

        @staticmethod
        def attach(entry: tuple[str, object]) -> str:
            told.append(entry)
            return "token"

        @staticmethod
        def detach(token: str) -> None:
            told.append((token, "detached"))

    monkeypatch.setitem(sys.modules, "opentelemetry.context", Context)
    with raw_server() as server:
        transport.send(request_to(server.url), within(5.0))

    assert told == [("suppress_instrumentation", True), ("token", "detached")]


class Wire(httpcore.NetworkStream):
    """Stands in for a connection, and notes the timeouts that it is given."""

    def __init__(self) -> None:
        self.timeouts: list[float | None] = []

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self.timeouts.append(timeout)
        return b"x" * max_bytes

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,  # noqa: ARG002 -- httpcore's signature
        server_hostname: str | None = None,  # noqa: ARG002 -- the signature of what it replaces
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        self.timeouts.append(timeout)
        return Wire()

    def get_extra_info(self, info: str) -> str:
        return info


def test_every_step_of_a_connection_is_held_to_the_deadline() -> None:
    """
    The shorter of the client's own timeout and what is left; without a request, its own.
    """
    backend = _Backend()
    wire = Wire()
    stream = _Stream(wire, backend.current)

    stream.read(1, 9.0)
    backend.current.deadline = Deadline(clock := FakeClock(), 5.0)
    for timeout in (9.0, 2.0, None):
        stream.read(1, timeout)
    secured = stream.start_tls(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), "host", 9.0)
    clock.advance(5.0)
    with pytest.raises(httpcore.ReadTimeout):
        stream.read(1, 9.0)

    assert wire.timeouts == [9.0, 5.0, 2.0, 5.0, 5.0]
    assert isinstance(secured, _Stream)
    assert stream.get_extra_info("socket") == "socket"


def test_a_socket_in_the_file_system_is_a_connection_too(tmp_path: Path) -> None:
    """
    The backend can do all that httpx may ask of one.
    """
    backend = _Backend()
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        stream = backend.connect_unix_socket(path, 5.0)
        stream.close()
        backend.sleep(0.0)

    assert isinstance(stream, _Stream)


def test_a_client_of_another_make_keeps_its_own_timeouts() -> None:
    """
    Where a release of httpx keeps its connections elsewhere, nothing breaks.
    """
    with httpx.Client(
        transport=httpx.MockTransport(lambda _request: httpx.Response(200))
    ) as client:
        _Backend().install(client)

        assert client.post("http://127.0.0.1").status_code == 200
