"""
A server that every library here takes for its own, counts events, and misbehaves as told.

It knows no dialect. Each event carries a mark, ``seq0000042``, that is found in whatever a request
decodes to: JSON, a form, protobuf. So "received twice" and "not received" are exact. While it is
busy it only keeps what it is sent; it decodes and counts when it is asked.

It prints its port. Of the paths that are asked for with GET, every other one has a constant answer:

- ``/report``: the counts as JSON, when all other connections are closed;
- ``/hang?after=5&for=10``: in 5 seconds, and for 10, requests are read and not answered; at the
  end their connections are reset, as if the server was started again;
- ``/answer``: that end is now.
"""

import argparse
import asyncio
import base64
import gzip
import json
import re
import ssl
import time
import zlib
from collections import Counter
from typing import Any
from urllib.parse import parse_qs

MARK = re.compile(rb"seq(\d{7})")
# Snowplow hides an event in base64.
WRAPPED = re.compile(rb'"ue_px":\s*"([\w=-]+)"')

REASONS = {200: "OK", 413: "Content Too Large", 503: "Service Unavailable"}
GOOD = {
    "/import": b'{"code":200,"num_records_imported":1,"status":"OK"}',
    "/track": b'{"status":1,"error":null}',
    "/2/httpapi": b'{"code":200}',
    "/v1/logs": b"",
    "/v1/traces": b"",
}
# Answers to GET. Logfire asks whose its token is.
ASIDE = b'{"project_name":"shop","project_url":"http://127.0.0.1/"}'

# Seconds that a report waits for the connections of a process that has ended.
PATIENCE = 10.0


class Server:
    """
    The server's conduct, and what it has seen.

    Args:
        latency: Seconds before each answer.

        hang: Read requests, never answer them.

        status: What every POST is answered with.

        limit: The longest body that is taken, in bytes before compression; 0 is no limit.
    """

    def __init__(self, *, latency: float, hang: bool, status: int, limit: int) -> None:
        self._latency = latency
        self._hangs = hang
        self._status = status
        self._limit = limit
        self._stuck: set[Connection] = set()
        self._kept: list[tuple[bytes, str]] = []
        self._seen: Counter[bytes] = Counter()
        self._answers: Counter[int] = Counter()
        self._requests = 0
        self._last = 0.0
        self.connections: set[Connection] = set()

    def get(self, connection: "Connection", target: str) -> None:
        """Do what is asked for."""
        path, _, query = target.partition("?")
        match path:
            case "/report":
                self._report(connection, time.monotonic() + PATIENCE)
                return
            case "/hang":
                [after], [for_] = parse_qs(query)["after"], parse_qs(query)["for"]
                loop = asyncio.get_running_loop()
                loop.call_later(float(after), self._hang)
                loop.call_later(float(after) + float(for_), self._answer)
            case "/answer":
                self._answer()
        connection.answer(200, ASIDE)

    def post(
        self, connection: "Connection", target: str, headers: dict[str, str], body: bytes
    ) -> None:
        """Take in *body*, or do not."""
        self._requests += 1
        if self._hangs:
            self._stuck.add(connection)
            return
        encoding = headers.get("content-encoding", "")
        too_large = self._limit and len(decode(body, encoding)) > self._limit
        status = 413 if too_large else self._status
        self._answers[status] += 1
        if status == 200:
            self._kept.append((body, encoding))
            answer = GOOD.get(target.partition("?")[0], b"{}")
        else:
            # What Mixpanel, Amplitude and Segment look for; the others look at the status.
            reason = REASONS[status]
            answer = json.dumps({"code": status, "error": reason, "message": reason}).encode()
        if self._latency:
            asyncio.get_running_loop().call_later(
                self._latency, self._finish, connection, status, answer
            )
        else:
            self._finish(connection, status, answer)

    def _finish(self, connection: "Connection", status: int, answer: bytes) -> None:
        if status == 200:
            self._last = time.monotonic()
        connection.answer(status, answer)

    def _hang(self) -> None:
        self._hangs = True

    def _answer(self) -> None:
        self._hangs = False
        for connection in self._stuck:
            connection.reset()
        self._stuck.clear()

    def _report(self, connection: "Connection", until: float) -> None:
        # What a process sent last may be on its way when it is gone.
        if self.connections != {connection} and time.monotonic() < until:
            asyncio.get_running_loop().call_later(0.01, self._report, connection, until)
            return
        for body, encoding in self._kept:
            self._seen.update(marks(decode(body, encoding)))
        self._kept.clear()
        counts = {
            "distinct": len(self._seen),
            "duplicates": self._seen.total() - len(self._seen),
            "requests": self._requests,
            "answers": self._answers,
            "last": self._last,
        }
        connection.answer(200, json.dumps(counts).encode())


class Connection(asyncio.Protocol):
    """One connection to *server*: requests, one after the other, until the other side closes it."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._buffer = bytearray()
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- asyncio's signature
        self._server.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            first, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
            method, target, _ = first.split(" ", 2)
            headers = {
                name.lower(): value.strip()
                for name, _, value in (line.partition(":") for line in lines)
            }
            if "transfer-encoding" in headers:
                raise ValueError("a body of unknown length was not expected of any library here")
            whole = end + 4 + int(headers.get("content-length", "0"))
            if len(self._buffer) < whole:
                return
            body = bytes(self._buffer[end + 4 : whole])
            del self._buffer[:whole]
            if method == "POST":
                self._server.post(self, target, headers, body)
            else:
                self._server.get(self, target)

    def answer(self, status: int, body: bytes) -> None:
        """Answer the request."""
        kind = "application/json" if body else "application/x-protobuf"
        # One write: two would meet Nagle's algorithm, and cost 40 ms each time.
        self._transport.write(
            f"HTTP/1.1 {status} {REASONS[status]}\r\ncontent-type: {kind}\r\n"
            f"content-length: {len(body)}\r\n\r\n".encode()
            + body
        )

    def reset(self) -> None:
        """Close it at once, whatever is under way."""
        self._transport.abort()


def decode(body: bytes, encoding: str) -> bytes:
    """Undo the compression of *body*; raises ValueError for one that is not known."""
    match encoding:
        case "" | "identity":
            return body
        case "gzip":
            return gzip.decompress(body)
        case "deflate":
            return zlib.decompress(body)
        case _:
            raise ValueError(f"content-encoding {encoding!r} is not known")


def marks(plain: bytes) -> list[bytes]:
    """List the marks of the events in *plain*."""
    found: list[bytes] = MARK.findall(plain)
    for wrapped in WRAPPED.findall(plain):
        found += MARK.findall(base64.urlsafe_b64decode(wrapped + b"==="))
    return found


async def main() -> None:
    """Serve on a port of 127.0.0.1, a free one if none is given, until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tls", metavar="FILE", help="the certificate and its key")
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--hang", action="store_true")
    parser.add_argument("--status", type=int, default=200)
    parser.add_argument("--limit", type=int, default=0)
    conduct = vars(parser.parse_args())
    port, certificate = conduct.pop("port"), conduct.pop("tls")
    context = None
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
    server = Server(**conduct)
    listening = await asyncio.get_running_loop().create_server(
        lambda: Connection(server), "127.0.0.1", port, ssl=context
    )
    print(listening.sockets[0].getsockname()[1], flush=True)
    async with listening:
        await listening.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
