"""
Everything that may be sent, and much that may not: no error of the emulator's own, no hang, and no
file but its own is touched.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.routing import Route

from mixpanel_export.emulator import EmulatorOptions, _facts
from mixpanel_export.emulator._app import Application
from mixpanel_export.emulator._gate import Gate
from mixpanel_export.emulator._openapi import document
from mixpanel_export.emulator._project import Project
from tests.emulator.api import Api, basic
from tests.plugins import is_there

# Seconds that an answer may take.
PATIENCE = 10

PATHS = list(document()["paths"])
METHODS = {"get", "post"}


def application(project: Project) -> Application:
    """
    Return the emulator's application, that of a process on loopback.
    """
    return Application(project, Gate(hosts=(), access_key=None), limit=_facts.MAX_REQUEST_BYTES)


@pytest.fixture
def project() -> Iterator[Project]:
    """
    A project in this process, in which ids are merged by verbs too.
    """
    options = EmulatorOptions(identity="original", hot_shard_events=2, max_events_per_minute=50)
    project = Project(options, wall=lambda: 1.7e9, monotonic=lambda: 0.0)
    yield project
    project.books.store.close()


def test_every_route_is_in_the_document(project: Project) -> None:
    """
    And nothing else, each with its methods.
    """
    routes = [one for one in application(project)._routes.routes if isinstance(one, Route)]
    served = {
        (re.sub(r":\w+}", "}", route.path), method.lower())
        for route in routes
        for method in route.methods or ()
    }
    documented = {(path, method) for path, item in document()["paths"].items() for method in item}

    assert {pair for pair in served if pair[1] != "head"} == documented


# -- in this process: what is read and written ---------------------------------------------------

NAMES = st.sampled_from(
    [
        *("event", "properties", "token", "time", "distinct_id", "$insert_id", "$device_id"),
        *("$user_id", "ip", "$ignore", "$distinct_ids", "alias", "$identified_id", "$anon_id"),
        *("$token", "$distinct_id", "$group_key", "$group_id", "$set", "$set_once", "$add"),
        *("$append", "$union", "$remove", "$unset", "$delete", "$ip", "$time", "$ignore_alias"),
        *("path", "status", "action", "body", "headers", "delay", "every", "a"),
    ]
)
WORDS = st.sampled_from(
    [
        *("T", "u", "", "0", "1", "a", "$merge", "$identify", "$create_alias", "198.51.100.7"),
        *("../../etc/passwd", "file:///etc/passwd", "\x00", "\ud800", "é" * 200, "[1]", "null"),
        *(
            "6f7b8c9d-0e1f-4a2b-8c3d-4e5f60718293",
            "1971-01-01",
            "9999-12-31",
            "true",
            "-1",
            "1e999",
        ),
    ]
)
SCALARS = st.one_of(
    WORDS,
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.just(1_700_000_000),
    st.text(max_size=20),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=6),
    max_leaves=20,
)
EVENTS = st.fixed_dictionaries(
    {"event": WORDS, "properties": st.dictionaries(NAMES, VALUES, max_size=8)}
)
UPDATES = st.fixed_dictionaries(
    {"$token": WORDS, "$distinct_id": WORDS}, optional={"$group_key": WORDS, "$group_id": WORDS}
).flatmap(lambda who: st.dictionaries(NAMES, VALUES, max_size=4).map(lambda rest: {**rest, **who}))
RECORDS = st.one_of(VALUES, st.lists(st.one_of(EVENTS, UPDATES, VALUES), max_size=5))
PARAMETERS = st.dictionaries(
    st.sampled_from(
        [
            *("strict", "verbose", "ip", "img", "callback", "data", "project_id", "access", "q"),
            *("from_date", "to_date", "event", "limit", "time_in_ms", "where", "dedup"),
        ]
    ),
    WORDS,
    max_size=5,
)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, dict[str, str]]:
    """
    Draw a body with the headers that say what it is, or say something else.
    """
    text = json.dumps(draw(RECORDS))
    kind = draw(st.sampled_from(["json", "lines", "form", "bytes"]))
    body = text.encode("utf-8", "surrogatepass")
    if kind == "form":
        body = urlencode({"data": text, **draw(PARAMETERS)}, errors="surrogatepass").encode()
    if kind == "bytes":
        body = draw(st.binary(max_size=50))
    types = {
        "json": "application/json",
        "lines": "application/x-ndjson",
        "form": "application/x-www-form-urlencoded",
        "bytes": "multipart/form-data; boundary=x",
    }
    headers = {"Content-Type": types[draw(st.sampled_from([kind, kind, kind, "json"]))]}
    if draw(st.integers(0, 4)) == 0:
        body = gzip.compress(body)
        headers["Content-Encoding"] = "gzip"
    return body, headers


@st.composite
def requests(draw: st.DrawFn) -> httpx.Request:
    """
    Draw a request to any path.
    """
    path = draw(st.sampled_from([*PATHS, "/", "/import", "/track", "/engage", "/api/2.0/export"]))
    path = path.replace("{name}", quote(draw(WORDS), errors="surrogatepass", safe=""))
    query = urlencode(draw(PARAMETERS), errors="surrogatepass")
    body, headers = draw(bodies())
    if draw(st.integers(0, 5)):
        headers["Authorization"] = draw(
            st.sampled_from([basic("T"), basic("svc", "pw"), "Basic T:"])
        )
    method = draw(st.sampled_from(["POST", "POST", "GET", "HEAD", "PUT", "OPTIONS"]))
    return httpx.Request(method, f"http://localhost{path}?{query}", headers=headers, content=body)


class Watch:
    """
    Notes what this process does to files, other processes and other machines, while it is told to.
    """

    def __init__(self) -> None:
        self.seen: list[tuple[str, Any]] = []
        self.on = False
        sys.addaudithook(self._note)

    def _note(self, name: str, args: tuple[Any, ...]) -> None:
        watched = ("open", "os.", "shutil.", "subprocess.", "sqlite3.connect", "socket.connect")
        if self.on and name.startswith(watched):
            self.seen.append((name, args))


def test_the_watch_sees_what_it_is_for() -> None:
    """
    Otherwise the next test proves nothing.
    """
    watch = Watch()
    watch.on = True
    with Path(os.devnull).open("rb"):
        watch.on = False

    assert [name for name, _ in watch.seen] == ["open"]


def test_no_request_touches_a_file(project: Project) -> None:
    """
    Nor fails, whatever is sent: the page's files were read before, the database was opened before.
    """
    app = application(project)
    # So that the page's stream and requests that hang come to their end.
    app.stopping.set()
    transport = httpx.ASGITransport(app, raise_app_exceptions=True)
    loop = asyncio.new_event_loop()
    watch = Watch()
    counts: dict[int, int] = {}

    async def answer(request: httpx.Request) -> int:
        response = await asyncio.wait_for(transport.handle_async_request(request), PATIENCE)
        await asyncio.wait_for(response.aread(), PATIENCE)
        return response.status_code

    @settings(
        max_examples=200, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(requests())
    def send(request: httpx.Request) -> None:
        watch.on = True
        try:
            status = loop.run_until_complete(answer(request))
        finally:
            watch.on = False
        assert status < 500
        assert watch.seen == []
        counts[status] = counts.get(status, 0) + 1
        project.reset()

    send()
    loop.close()
    assert counts[200] > 30


# -- over sockets --------------------------------------------------------------------------------


def test_what_is_not_http_is_answered_or_cut_off(api: Api) -> None:
    """
    And the next one is served.
    """
    url = urlsplit(api.emulator.url)

    @settings(max_examples=40, deadline=None, database=None)
    @given(st.one_of(st.binary(min_size=1, max_size=200), HEADS))
    def send(start: bytes) -> None:
        with socket.create_connection((url.hostname, url.port or 0), PATIENCE) as connection:
            connection.sendall(start)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                continue

    send()
    assert api.emulator.stats()["imported"] == 0


HEADS = st.sampled_from(
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        b"GET //evil.example/../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /import HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /import HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\nx",
        b"POST /import HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\n%s\r\n0\r\n\r\n"
        % b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/0.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ]
)


@pytest.mark.long
@pytest.mark.skipif(not is_there("schemathesis"), reason="needs schemathesis")
@pytest.mark.parametrize("path", [path for path in PATHS if path != "/_emulator/live"])
def test_what_the_document_says_is_true(api: Api, path: str) -> None:
    """
    Of what it allows, and of what it does not: statuses, types and shapes of all answers.
    """
    import schemathesis
    from schemathesis import GenerationMode
    from schemathesis.checks import (
        content_type_conformance,
        not_a_server_error,
        response_schema_conformance,
        status_code_conformance,
    )

    checks = [
        not_a_server_error,
        status_code_conformance,
        content_type_conformance,
        response_schema_conformance,
    ]
    schema = schemathesis.openapi.from_dict(document())
    for method, operation in document()["paths"][path].items():
        # Where there is nothing to be wrong, nothing can be made wrong.
        wrong = "requestBody" in operation or path == "/api/2.0/export"
        for mode in GenerationMode if wrong else (GenerationMode.POSITIVE,):

            @settings(
                max_examples=100,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            )
            @given(schema[path][method.upper()].as_strategy(generation_mode=mode))
            def send(case: schemathesis.Case) -> None:
                credentials = {"Authorization": basic("T")}
                response = case.call(
                    base_url=api.emulator.url, headers=credentials, timeout=PATIENCE
                )
                case.validate_response(response, checks=checks)

            send()
            api.emulator.reset()
