"""
What stands between an application and Mixpanel, on a free port of this machine.

    tunnel.py proxy PORT           an HTTP proxy that takes every host for 127.0.0.1:PORT
    tunnel.py tls PORT FILE        speaks TLS with what is in FILE, and hands on to 127.0.0.1:PORT
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import sys
import threading
from email.parser import BytesHeaderParser
from urllib.parse import urlsplit


class Tunnel:
    """
    Hands requests on.

    Args:
        port: Where to.

        context: How it speaks TLS, if it does.
    """

    def __init__(self, port: int, context: ssl.SSLContext | None) -> None:
        self._target = ("127.0.0.1", port)
        self._context = context

    def serve(self, client: socket.socket) -> None:
        """
        Serve one connection of a client.
        """
        # A client that does not trust us goes away.
        with contextlib.suppress(OSError):
            if self._context is not None:
                client = self._context.wrap_socket(client, server_side=True)
            with client, client.makefile("rb") as stream:
                while request := stream.readline():
                    lines = b"".join(iter(stream.readline, b"\r\n"))
                    if request.startswith(b"CONNECT "):
                        self.join(client)
                        return
                    headers = dict(BytesHeaderParser().parsebytes(lines).items())
                    body = stream.read(int(headers.get("Content-Length", "0")))
                    client.sendall(self.ask(request, headers, body))

    def ask(self, request: bytes, headers: dict[str, str], body: bytes) -> bytes:
        """
        Pass one request on, and return the answer.
        """
        method, target, _ = request.decode().split(" ", 2)
        address = urlsplit(target)
        # A proxy is asked for whole addresses, any other server for paths.
        if bool(address.netloc) is not (self._context is None):
            return b"HTTP/1.1 421 Misdirected Request\r\nContent-Length: 0\r\n\r\n"
        # The target's own name, since it may answer to no other.
        headers = {name: value for name, value in headers.items() if name.lower() != "host"}
        upstream = http.client.HTTPConnection(*self._target)
        upstream.request(method, f"{address.path}?{address.query}", body, headers)
        answer = upstream.getresponse()
        content = answer.read()
        upstream.close()
        head = f"HTTP/1.1 {answer.status} {answer.reason}\r\nContent-Length: {len(content)}\r\n\r\n"
        return head.encode() + content

    def join(self, client: socket.socket) -> None:
        """
        Connect *client* with the target until one of them is gone.
        """
        with socket.create_connection(self._target) as upstream:
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=copy, args=(upstream, client))
            back.start()
            copy(client, upstream)
            back.join()


def copy(source: socket.socket, target: socket.socket) -> None:
    """
    Copy until one side is gone.
    """
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


def main(kind: str, port: str, *files: str) -> None:
    """
    Say the port, and serve for ever.
    """
    context = None
    if kind == "tls":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
    tunnel = Tunnel(int(port), context)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            client, _ = listener.accept()
            threading.Thread(target=tunnel.serve, args=(client,), daemon=True).start()


main(*sys.argv[1:])
