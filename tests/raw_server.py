"""
A TCP server on this machine that does to a client exactly what a test tells it to.
"""

from __future__ import annotations

import gzip
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Reply = bytes | Callable[[socket.socket], None]


def answer(status: int, body: bytes, *headers: bytes) -> bytes:
    """
    Write out a response.
    """
    head = [b"HTTP/1.1 %d Status" % status, b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


OK = answer(200, b'{"code":200,"status":"OK"}')


def reset(connection: socket.socket) -> None:
    """
    Close *connection* with a reset instead of a farewell.
    """
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class RawServer:
    """
    Answers each request, on whatever connection, with the next reply of its script.

    Args:
        replies: Bytes to send, or what to do with the connection. After the last one it answers
            with `OK`.
    """

    def __init__(self, *replies: Reply) -> None:
        self._replies = list(replies)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.requests: list[bytes] = []
        self.accepted = 0
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # closed: the test is over
            self.accepted += 1
            self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            while request := self._read(connection):
                self.requests.append(request)
                reply = self._replies.pop(0) if self._replies else OK
                if callable(reply):
                    reply(connection)
                else:
                    connection.sendall(reply)
        except OSError:
            return  # the client, or a reply, closed the connection

    @staticmethod
    def _read(connection: socket.socket) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            more = connection.recv(65_536)
            if not more:
                return b""
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        while len(body) < length:
            body += connection.recv(65_536)
        return head + b"\r\n\r\n" + body

    @property
    def events(self) -> list[dict[str, Any]]:
        """
        The events of all requests so far, whatever was answered.
        """
        found = []
        for request in self.requests:
            head, _, body = request.partition(b"\r\n\r\n")
            gzipped = b"content-encoding: gzip" in head.lower()
            found += json.loads(gzip.decompress(body) if gzipped else body)
        return found

    def close(self) -> None:
        """
        Stop listening and close every connection.
        """
        # shutdown wakes the thread that waits in accept; close alone does not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for connection in self._connections:
            connection.close()


@contextmanager
def raw_server(*replies: Reply) -> Iterator[RawServer]:
    """
    Run a server inside a ``with`` block.
    """
    server = RawServer(*replies)
    try:
        yield server
    finally:
        server.close()
