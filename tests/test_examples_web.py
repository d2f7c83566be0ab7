"""
The examples for web frameworks, each in its real server: a request in, events out.
"""

from __future__ import annotations

import base64
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.web import HEADERS

if TYPE_CHECKING:
    from mixpanel_export.emulator import EmulatorProcess

pytestmark = pytest.mark.emulator

EXAMPLES = Path(__file__).parent.parent / "examples"
PATIENCE = 60.0

# What each event is to have of a request that was made with `HEADERS`.
FACTS = {
    "ip": "203.0.113.9",
    # The emulator's own, from the address.
    "$city": "Sydney",
    "$region": "New South Wales",
    "mp_country_code": "AU",
    "$referrer": "https://www.example.org/blog",
    "$referring_domain": "www.example.org",
    "utm_source": "mail",
}
CLIENT = {
    "$browser": "Mobile Safari",
    "$browser_version": 17.4,
    "$os": "iOS",
    "$device": "iPhone",
}


class Server:
    """
    A server in a process of its own, started as a user would, for the time of a ``with`` block.

    Args:
        arguments: What follows ``python``.

        env: Goes before the environment of the tests, which is cleared of our own variables.

        ready: What the server prints when it is ready; a group is its address.
    """

    def __init__(self, *arguments: str, env: Mapping[str, str], ready: str) -> None:
        clean = {
            name: text for name, text in os.environ.items() if not name.startswith("MIXPANEL_")
        }
        self._said: list[str] = []
        self._heard = threading.Condition()
        # gunicorn keeps a socket at home, and two of them would meet there.
        self._home = tempfile.TemporaryDirectory()
        own = {"HOME": self._home.name, "PYTHONDONTWRITEBYTECODE": "1"}
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=EXAMPLES,
            env={**clean, **own, **env},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self._ready = ready

    def __enter__(self) -> Server:  # noqa: PYI034 -- Self is not in Python 3.10
        try:
            match = self.wait_for(self._ready)
        except BaseException:
            self.stop()
            raise
        self.url = match[1] if match.re.groups else ""
        self.client = httpx.Client(base_url=self.url, timeout=PATIENCE, trust_env=False)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.stop()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """
        Wait until it has said something on its standard error.
        """
        ends = time.monotonic() + PATIENCE
        with self._heard:
            while not (match := re.search(pattern, "".join(self._said))):
                left = ends - time.monotonic()
                assert left > 0, f"it did not say {pattern!r} but:\n{''.join(self._said)}"
                assert self._process.poll() is None, "".join(self._said)
                self._heard.wait(min(left, 0.5))
        return match

    def post(self, path: str, form: dict[str, str], authorization: str = "") -> httpx.Response:
        """
        Send a form as a browser does that came by a link in a mail.
        """
        sent = {name: text for name, text in HEADERS.items() if name not in {"Host", "Cookie"}}
        if authorization:
            sent["Authorization"] = authorization
        return self.client.post(f"{path}?utm_source=mail&token=secret", headers=sent, data=form)

    def stop(self) -> None:
        """
        End it as an operator does.
        """
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._reader.join()
            assert self._process.stderr
            self._process.stderr.close()
            self._home.cleanup()

    def _read(self) -> None:
        assert self._process.stderr
        for line in self._process.stderr:
            with self._heard:
                self._said.append(line)
                self._heard.notify_all()


@pytest.fixture
def emulator() -> Iterator[EmulatorProcess]:
    """
    A running emulator that has seen nothing yet.
    """
    from mixpanel_export.emulator import EmulatorProcess

    with EmulatorProcess() as emulator:
        yield emulator


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[str]:
    """
    A broker, by its address.
    """
    path = tmp_path / "redis"
    with subprocess.Popen(
        ["redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--dir", tmp_path],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert any("ready to accept connections" in line.lower() for line in process.stdout)
        yield f"redis+socket://{path}"
        process.terminate()
        process.communicate(timeout=PATIENCE)


def at(emulator: EmulatorProcess, **other: str) -> dict[str, str]:
    """
    Return the environment of a server whose events go to *emulator*.

    Only the first event leaves soon. The others wait for the end of the process, which is to
    deliver them.
    """
    return {
        "MIXPANEL_TOKEN": "test",
        "MIXPANEL_BASE_URL": emulator.url,
        "MIXPANEL_FLUSH_INTERVAL": "60",
        **other,
    }


def particular(emulator: EmulatorProcess) -> dict[str, dict[str, Any]]:
    """
    Return the events by name, without what every event has.
    """
    found = {}
    for event in emulator.events():
        properties = event["properties"]
        assert "secret" not in str(properties)
        for name in ("time", "$insert_id", "mp_lib"):
            del properties[name]
        found[event["event"]] = properties
    return found


def basic(name: str, password: str) -> str:
    """
    Return the header with which a browser names somebody.
    """
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def gunicorn(app: str, env: Mapping[str, str], *arguments: str) -> Server:
    """
    Run *app* in gunicorn.
    """
    return Server(
        *("-W", "error", "-m", "gunicorn", "--bind", "127.0.0.1:0", *arguments, app),
        env=env,
        ready=r"Listening at: (http://\S+)",
    )


def uvicorn(app: str, env: Mapping[str, str]) -> Server:
    """
    Run *app* in uvicorn.
    """
    return Server(
        *("-W", "error", "-m", "uvicorn", "--port", "0", "--no-proxy-headers", app),
        env=env,
        ready=r"running on (http://\S+)",
    )


@pytest.mark.ua
def test_starlette_app_knows_whose_its_events_are(emulator: EmulatorProcess) -> None:
    """
    In uvicorn: user, client and page are in the events, and what a thread has bound.
    """
    with uvicorn("starlette_app:app", at(emulator)) as server:
        ordered = server.post("/orders", {"tea": "oolong"}, "Bearer secret-of-mary")
        nothing = server.post("/orders", {"tea": "mate"})
        url = f"{server.url}/orders?utm_source=mail"

    assert (ordered.status_code, nothing.status_code) == (202, 404)
    common = {**FACTS, **CLIENT, "$current_url": url, "warehouse": "Hamburg"}
    assert particular(emulator) == {
        "Tea Ordered": {**common, "distinct_id": "u-1", "tea": "oolong"},
        "Tea Sold Out": {**common, "distinct_id": "", "tea": "mate"},
    }


def test_starlette_app_keeps_requests_apart_that_come_at_once(emulator: EmulatorProcess) -> None:
    """
    A client may send its next request before it has the answer to the last, and a proxy may send
    those of different users like that; uvicorn starts one in the context of the other.
    """
    head = "POST /orders HTTP/1.1\r\nHost: shop.example\r\nContent-Length: {}\r\n{}\r\n{}"
    mary = head.format(10, "Authorization: Bearer secret-of-mary\r\n", "tea=oolong")
    nobody = head.format(8, "Connection: close\r\n", "tea=mate")
    with uvicorn("starlette_app:app", at(emulator)) as server:
        host, _, port = server.url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), PATIENCE) as connection:
            connection.sendall((mary + nobody).encode())
            answers = b"".join(iter(lambda: connection.recv(4096), b""))

    assert re.findall(rb"^HTTP/1.1 (\d+)", answers, re.MULTILINE) == [b"202", b"404"]
    found = {name: each["distinct_id"] for name, each in particular(emulator).items()}
    assert found == {"Tea Ordered": "u-1", "Tea Sold Out": ""}


@pytest.mark.ua
@pytest.mark.web
@pytest.mark.parametrize("threads", ["1", "4"])
def test_flask_app_knows_whose_its_events_are(emulator: EmulatorProcess, threads: str) -> None:
    """
    In gunicorn, with one thread and with a pool: also while the response streams.
    """
    with gunicorn("flask_app:app", at(emulator), "--threads", threads) as server:
        server.post("/login", {"name": "mary"}).raise_for_status()
        answer = server.post("/orders", {"tea": "oolong"})
        server.post("/login", {"name": "mary"}).raise_for_status()
        url = server.url

    assert answer.text == "brewing\ndone\n"
    common = {**FACTS, **CLIENT, "distinct_id": "mary"}
    order = {"$current_url": f"{url}/orders?utm_source=mail", "tea": "oolong"}
    assert particular(emulator) == {
        "Logged In": {**common, "$current_url": f"{url}/login?utm_source=mail", "by": "form"},
        "Tea Ordered": {**common, **order, "cups": 2},
        "Tea Brewed": {**common, **order, "minutes": 3},
    }


@pytest.mark.django
@pytest.mark.ua
@pytest.mark.web
@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_django_app_knows_whose_its_events_are(
    emulator: EmulatorProcess, tmp_path: Path, kind: str
) -> None:
    """
    In gunicorn and in uvicorn: the user is `request.user`.
    """
    database = str(tmp_path / "shop.sqlite3")
    env = at(emulator, DATABASE=database, DJANGO_SUPERUSER_PASSWORD="tea")
    for command in ("migrate", "createsuperuser --noinput --username mary --email m@example.com"):
        subprocess.run(
            [sys.executable, "-W", "error", "django_app.py", *command.split()],
            cwd=EXAMPLES,
            env={**os.environ, **env},
            stdout=subprocess.DEVNULL,
            check=True,
        )
    run = {"wsgi": gunicorn, "asgi": uvicorn}[kind]

    with run(f"django_app:{kind}", env) as server:
        answer = server.post("/orders", {"tea": "oolong"}, basic("mary", "tea"))
        url = f"{server.url}/orders?utm_source=mail"

    assert answer.status_code == 202
    common = {**FACTS, **CLIENT, "$current_url": url}
    assert particular(emulator) == {
        "Tea Ordered": {**common, "distinct_id": "1", "tea": "oolong"},
    }


@pytest.mark.broker
@pytest.mark.celery
@pytest.mark.ua
@pytest.mark.web
def test_celery_app_knows_whose_its_events_are(emulator: EmulatorProcess, redis: str) -> None:
    """
    Through a real broker, in a child of the prefork pool, after a retry and in a task of a task;
    what the child has queued is delivered when the worker stops.
    """
    # Without that the child would end, with os._exit, a second after it was told to.
    wait = {"path": "/import", "times": 2, "status": 503, "headers": {"retry-after": "3"}}
    emulator.faults([wait])
    env = at(emulator, BROKER=redis, MIXPANEL_JITTER="0")
    work = ("-A", "celery_app:jobs", "worker", "--concurrency", "1", "--loglevel", "INFO")
    worker = Server("-m", "celery", *work, env=env, ready="ready")
    with gunicorn("celery_app:web", env) as server, worker:  # The worker is stopped first.
        answer = server.post("/orders", {"tea": "oolong"}, basic("mary", ""))
        url = f"{server.url}/orders?utm_source=mail"
        worker.wait_for(r"celery_app\.serve\S* succeeded")

    assert answer.status_code == 202
    common = {**FACTS, **CLIENT, "$current_url": url, "distinct_id": "mary"}
    assert particular(emulator) == {
        "Tea Ordered": {**common, "tea": "oolong"},
        "Tea Brewed": {**common, "tea": "oolong", "minutes": 3},
        "Tea Served": {**common, "hot": True},
    }
