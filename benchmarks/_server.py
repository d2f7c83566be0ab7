"""
A server that every library here takes for its own, counts events, and misbehaves as told.

It knows no dialect. Each event carries a mark, ``seq0000042``, that is found in whatever a request
decodes to: JSON, a form, protobuf. So "received twice" and "not received" are exact.

It prints its port. ``GET /report`` answers with the counts as JSON, every other GET with a
constant.
"""

import argparse
import asyncio
import base64
import gzip
import json
import re
import zlib
from collections import Counter

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
        self._hang = hang
        self._status = status
        self._limit = limit
        self._seen: Counter[bytes] = Counter()
        self._answers: Counter[int] = Counter()
        self._requests = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection, until the other side closes it."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                first, *lines = head.decode("latin-1").split("\r\n")
                method, target, _ = first.split(" ", 2)
                headers = {
                    name.lower(): value.strip()
                    for name, _, value in (line.partition(":") for line in lines if line)
                }
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                path = target.partition("?")[0]
                if method == "POST":
                    status, answer = await self._post(path, headers, body)
                else:
                    status, answer = 200, self._report() if path == "/report" else ASIDE
                kind = "application/json" if answer else "application/x-protobuf"
                # One write: two would meet Nagle's algorithm, and cost 40 ms each time.
                writer.write(
                    f"HTTP/1.1 {status} {REASONS[status]}\r\ncontent-type: {kind}\r\n"
                    f"content-length: {len(answer)}\r\n\r\n".encode()
                    + answer
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # The client is gone.
        finally:
            writer.close()

    async def _post(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        self._requests += 1
        if self._hang:
            await asyncio.Event().wait()
        plain = decode(body, headers.get("content-encoding", ""))
        status = 413 if self._limit and len(plain) > self._limit else self._status
        self._answers[status] += 1
        if status == 200:
            self._seen.update(marks(plain))
        if self._latency:
            await asyncio.sleep(self._latency)
        if status == 200:
            return status, GOOD.get(path, b"{}")
        # What Mixpanel, Amplitude and Segment look for; the others look at the status.
        reason = REASONS[status]
        return status, json.dumps({"code": status, "error": reason, "message": reason}).encode()

    def _report(self) -> bytes:
        return json.dumps(
            {
                "distinct": len(self._seen),
                "duplicates": self._seen.total() - len(self._seen),
                "requests": self._requests,
                "answers": self._answers,
            }
        ).encode()


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
    """Serve on a free port of 127.0.0.1 until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--hang", action="store_true")
    parser.add_argument("--status", type=int, default=200)
    parser.add_argument("--limit", type=int, default=0)
    arguments = parser.parse_args()
    server = Server(**vars(arguments))
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, limit=1 << 16)
    print(listening.sockets[0].getsockname()[1], flush=True)
    async with listening:
        await listening.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
