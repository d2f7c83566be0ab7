"""
Networks of companies: a proxy on the way, a certificate of their own; real sockets, made-up names.
"""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.raw_server import RawServer, answer, raw_server

CERTIFICATES = Path(__file__).parent / "certificates"
AUTHORITY = CERTIFICATES / "c327e7cd.0"

# Prints what became of 300 events, and why.
PROGRAM = """
from mixpanel_export import Event, Pipeline, Settings
pipeline = Pipeline(Settings.from_environment(backoff_initial=0.01, backoff_max=0.01, jitter=0.01))
for number in range(300):
    pipeline.submit(Event("Happened", distinct_id="x", properties={"number": number}))
if pipeline.settings.shutdown_timeout < 5:
    while pipeline.stats.retries < 3:
        pipeline.flush(0.01)
pipeline.close()
stats = pipeline.stats
print(stats.accepted, stats.delivered, stats.abandoned, stats.requests, pipeline.health.reason)
"""

GIVE_UP = "0.2"


class TlsServer(RawServer):
    """
    The same, encrypted; and, if it is asked to connect somewhere, a proxy that is that place.

    Args:
        tunnel: Speak TLS only after a ``CONNECT``.
    """

    def __init__(self, *, tunnel: bool = False) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(CERTIFICATES / "server.pem")
        self._tunnel = tunnel
        self.asked: list[bytes] = []
        super().__init__()

    def _serve(self, connection: socket.socket) -> None:
        try:
            if self._tunnel:
                self.asked.append(self._read(connection))
                connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            encrypted = self._context.wrap_socket(connection, server_side=True)
        except OSError:
            return  # the client does not trust us
        self._connections.append(encrypted)
        super()._serve(encrypted)


@pytest.fixture
def tunnel() -> Iterator[TlsServer]:
    """
    Run a proxy that is Mixpanel at the same time.
    """
    server = TlsServer(tunnel=True)
    yield server
    server.close()


@pytest.fixture
def encrypted() -> Iterator[TlsServer]:
    """
    Run a Mixpanel with a certificate.
    """
    server = TlsServer()
    yield server
    server.close()


def run(**variables: str) -> list[str]:
    """
    Run the program in an environment with these and no other proxies or certificates.

    Returns:
        Accepted, delivered, abandoned, requests, and the reason.
    """
    ours = ("mixpanel_", "ssl_cert_", "http_proxy", "https_proxy", "all_proxy", "no_proxy")
    kept = {name: value for name, value in os.environ.items() if not name.lower().startswith(ours)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        env={**kept, "MIXPANEL_TOKEN": "t", **variables},
        capture_output=True,
        text=True,
        timeout=60.0,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.rstrip("\n").split(" ", 4)


def test_a_proxy_is_asked_for_whole_addresses() -> None:
    """
    With HTTP_PROXY the name of the host is the proxy's business, and the events arrive.
    """
    with raw_server() as proxy:
        ledger = run(HTTP_PROXY=proxy.url, MIXPANEL_BASE_URL="http://mixpanel.test:8080")

        assert ledger[:3] == ["300", "300", "0"]
        assert len(proxy.events) == 300
        assert all(
            request.startswith(b"POST http://mixpanel.test:8080/import?")
            for request in proxy.requests
        )


def test_a_proxy_tunnels_what_is_encrypted(tunnel: TlsServer) -> None:
    """
    With HTTPS_PROXY it learns the name of the host, and nothing else.
    """
    ledger = run(
        HTTPS_PROXY=tunnel.url,
        MIXPANEL_BASE_URL="https://mixpanel.test",
        SSL_CERT_FILE=str(AUTHORITY),
    )

    assert ledger[:3] == ["300", "300", "0"]
    assert len(tunnel.events) == 300
    assert tunnel.asked[0].startswith(b"CONNECT mixpanel.test:443 ")
    assert b"authorization" not in b"".join(tunnel.asked).lower()


def test_a_proxy_that_refuses_is_asked_again() -> None:
    """
    It is no verdict of Mixpanel's: the events are kept while there is time, and then counted.
    """
    refusals = [answer(407, b"who are you?")] * 100
    with raw_server(*refusals) as proxy:
        ledger = run(
            HTTPS_PROXY=proxy.url,
            MIXPANEL_BASE_URL="https://mixpanel.test",
            MIXPANEL_SHUTDOWN_TIMEOUT=GIVE_UP,
        )

        assert ledger[:3] == ["300", "0", "300"]
        assert "407" in ledger[4]
        assert all(request.startswith(b"CONNECT ") for request in proxy.requests)


@pytest.mark.parametrize(
    ("variable", "place"), [("SSL_CERT_FILE", AUTHORITY), ("SSL_CERT_DIR", CERTIFICATES)]
)
def test_an_authority_of_ones_own_is_trusted_if_named(
    encrypted: TlsServer, variable: str, place: Path
) -> None:
    """
    The variables that OpenSSL itself reads name it, as a file or as a folder.
    """
    address = encrypted.url.replace("http://127.0.0.1", "https://localhost")

    ledger = run(MIXPANEL_BASE_URL=address, **{variable: str(place)})

    assert ledger[:3] == ["300", "300", "0"]
    assert len(encrypted.events) == 300


def test_a_server_that_nobody_vouches_for_gets_nothing(encrypted: TlsServer) -> None:
    """
    Without the authority no byte of a request is sent; the reason says what is wrong.
    """
    address = encrypted.url.replace("http://127.0.0.1", "https://localhost")

    ledger = run(MIXPANEL_BASE_URL=address, MIXPANEL_SHUTDOWN_TIMEOUT=GIVE_UP)

    assert ledger[:3] == ["300", "0", "300"]
    assert "CERTIFICATE_VERIFY_FAILED" in ledger[4]
    assert encrypted.requests == []
