"""The web application: Mixpanel's four endpoints, the emulator's own API, and the page."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Iterator, Mapping

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mixpanel_export.emulator import _facts
from mixpanel_export.emulator._answers import Answer, refusal
from mixpanel_export.emulator._body import MalformedError, parse
from mixpanel_export.emulator._event import JsonObject, compact
from mixpanel_export.emulator._faults import ENDPOINTS, Fault, FaultList, read_faults
from mixpanel_export.emulator._gate import ACCESS_COOKIE, OWN_PREFIX, Gate, refuse_command
from mixpanel_export.emulator._live import Broadcast, explained
from mixpanel_export.emulator._openapi import document
from mixpanel_export.emulator._parcel import Arrival
from mixpanel_export.emulator._project import Project
from mixpanel_export.emulator._site import SECURITY, Site
from mixpanel_export.emulator._store import Profile
from mixpanel_export.emulator._view import read_view

# Mixpanel has it on another host, data.mixpanel.com.
EXPORT = "/api/2.0/export"

# Live: mixpanel/mixpanel-js sends to "track/", "engage/" and "groups/" by default, other libraries
# to the same without a slash.
_FOR_BROWSERS = [path + end for path in ENDPOINTS[1:] for end in ("", "/")]

# Where the protocol in `_serve` leaves the connection that a request came on.
TRANSPORT = "mixpanel_emulator.transport"

# A compressed body may be a little larger than what is in it.
_GZIP_OVERHEAD = 64 * 1024

# The largest list of faults.
_MAX_COMMAND = 1024 * 1024


class Abort(Response):
    """No answer: the connection ends with a reset, as when a server dies."""

    async def __call__(self, scope: Scope, receive: Receive, _send: Send) -> None:
        transport: asyncio.Transport = scope[TRANSPORT]
        # Linger for zero seconds: close() then sends RST instead of FIN.
        linger = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
        # Until the server has noticed too: it would answer 500 to a request without an answer.
        while (await receive())["type"] != "http.disconnect":
            continue


class Application:
    """
    The ASGI application around one project.

    Args:
        project: What answers.

        gate: Who may come in.

        limit: Largest uncompressed body, in bytes.
    """

    def __init__(self, project: Project, gate: Gate, *, limit: int) -> None:
        self._project = project
        self._gate = gate
        self._limit = limit
        self._faults = FaultList()
        self.stopping = asyncio.Event()
        self._site = Site()
        self._routes = self._route()

    def _route(self) -> Starlette:
        routes = Starlette(
            routes=[
                Route("/import", self._ingest, methods=["POST"]),
                *(Route(path, self._ingest, methods=["GET", "POST"]) for path in _FOR_BROWSERS),
                Route(EXPORT, self._export),
                Route(f"{OWN_PREFIX}/events", self._events),
                Route(f"{OWN_PREFIX}/profiles", self._profiles),
                Route(f"{OWN_PREFIX}/stats", self._stats),
                Route(f"{OWN_PREFIX}/live", self._live),
                Route(f"{OWN_PREFIX}/openapi.json", self._document),
                Route(f"{OWN_PREFIX}/reset", self._reset, methods=["POST"]),
                Route(f"{OWN_PREFIX}/failures", self._failures),
                Route(f"{OWN_PREFIX}/faults", self._add_faults, methods=["POST"]),
                Route(f"{OWN_PREFIX}/faults", self._clear_faults, methods=["DELETE"]),
                Route(f"{OWN_PREFIX}/faults/{{number:int}}", self._end_fault, methods=["DELETE"]),
                Route(f"{OWN_PREFIX}/page/{{name:path}}", self._page),
                Route("/", self._page),
                Route("/favicon.ico", self._icon),
            ],
            exception_handlers={HTTPException: self._no_route},
        )
        # Mixpanel does not redirect, and a client that follows one may lose its body.
        routes.router.redirect_slashes = False
        return routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app: ASGIApp = self._routes
        if scope["type"] == "http":
            app = self._refuse_stranger(scope) or app
            if scope["path"].startswith(OWN_PREFIX):
                send = _with_headers(send, SECURITY)
            elif scope["path"] in _FOR_BROWSERS:
                send = _with_headers(send, _cross_origin(Headers(scope=scope)))
        await app(scope, receive, send)

    def _refuse_stranger(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        refused = self._gate.refuse_host(headers.get("host"))
        if refused:
            return PlainTextResponse(refused + "\n", 403)
        path = scope["path"]
        if path not in ("/", EXPORT) and not path.startswith(OWN_PREFIX):
            return None
        query = QueryParams(scope["query_string"])
        refused = self._gate.refuse_visitor(headers, query)
        if refused:
            return PlainTextResponse(refused + "\n", 403)
        if scope["method"] not in ("GET", "HEAD"):
            command = refuse_command(headers)
            if command:
                return PlainTextResponse(command[1] + "\n", command[0])
        return None

    # -- Mixpanel's endpoints --------------------------------------------------------------------

    async def _ingest(self, request: Request) -> Response:
        try:
            arrival = await self._receive(request)
        except ClientDisconnect:
            # Half a request leaves nothing behind; nobody is there to be told.
            self._count("left")
            return Response(status_code=400)
        fault = self._faults.next(arrival.path)
        if fault is None:
            return self._respond(self._project.answer(arrival))
        return await self._misbehave(fault, arrival, request)

    async def _receive(self, request: Request) -> Arrival:
        headers = request.headers
        return Arrival(
            path=request.url.path.rstrip("/"),
            query=request.query_params,
            body=await _read(request, self._limit + _GZIP_OVERHEAD),
            content_type=headers.get("content-type", "").partition(";")[0].strip().lower(),
            gzip=headers.get("content-encoding", "").strip().lower() == "gzip",
            authorization=headers.get("authorization"),
            client=request.client.host if request.client else "",
        )

    async def _misbehave(self, fault: Fault, arrival: Arrival, request: Request) -> Response:
        if fault.store:
            self._project.answer(arrival)
        if fault.action == "hang":
            self._count("hang")
            await self._until_gone(request, fault.delay)
            return Abort()
        if fault.delay:
            await self._until_gone(request, fault.delay)
        if fault.action == "reset":
            self._count("reset")
            return Abort()
        if fault.action == "respond":
            return self._respond(fault.answer())
        return self._respond(self._project.answer(arrival))

    async def _until_gone(self, request: Request, delay: float | None) -> None:
        """Wait until the client leaves, *delay* seconds are over, or the emulator stops."""
        ends = [
            asyncio.ensure_future(request.receive()),
            asyncio.ensure_future(self.stopping.wait()),
        ]
        await asyncio.wait(ends, timeout=delay, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()

    def _respond(self, answer: Answer) -> Response:
        self._count(str(answer.status))
        return Response(
            answer.body,
            answer.status,
            headers={"content-type": answer.content_type, **answer.headers},
        )

    def _count(self, outcome: str) -> None:
        self._project.books.tally.end_request(outcome)

    def _no_route(self, request: Request, error: Exception) -> Response:
        known = isinstance(error, HTTPException) and error.status_code == 405
        status, text = (405, _facts.NOT_ALLOWED) if known else (404, _facts.NOT_FOUND)
        if request.url.path.startswith(OWN_PREFIX):
            return PlainTextResponse(text + "\n", status)
        return self._respond(refusal(status, text))

    async def _export(self, request: Request) -> Response:
        found = self._project.export(request.headers.get("authorization"), request.query_params)
        if isinstance(found, Answer):
            return self._respond(found)
        self._count("200")
        return StreamingResponse(_on_the_loop(found), headers=SECURITY, media_type="text/plain")

    # -- the emulator's own API ------------------------------------------------------------------

    async def _events(self, request: Request) -> Response:
        dedup = request.query_params.get("dedup") == "1"
        return _lines(self._project.books.store.lines(dedup=dedup))

    async def _profiles(self, _request: Request) -> Response:
        return _lines(self._profile_lines())

    def _profile_lines(self) -> Iterator[str]:
        for page in self._project.books.store.profiles():
            yield "".join(compact(_told(one)).decode() + "\n" for one in page)

    async def _stats(self, _request: Request) -> Response:
        return JSONResponse(self._project.books.stats())

    async def _failures(self, _request: Request) -> Response:
        failures = self._project.books.tally.failures()
        return Response(
            b"".join(compact(explained(one)) + b"\n" for one in failures),
            media_type="application/x-ndjson",
        )

    async def _live(self, request: Request) -> Response:
        view = read_view(request.query_params, self._project.books.reader)
        broadcast = Broadcast(self._project, self._faults, view)
        return StreamingResponse(broadcast.stream(self.stopping), media_type="text/event-stream")

    async def _document(self, _request: Request) -> Response:
        return JSONResponse(document())

    async def _reset(self, _request: Request) -> Response:
        self._project.reset()
        self._faults.clear()
        return JSONResponse({"status": "ok"})

    async def _add_faults(self, request: Request) -> Response:
        try:
            faults = read_faults(parse(await _read(request, _MAX_COMMAND) or b""))
            self._faults.add(faults)
        except (MalformedError, ValueError) as error:
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse({"status": "ok", "added": len(faults)})

    async def _clear_faults(self, _request: Request) -> Response:
        self._faults.clear()
        return JSONResponse({"status": "ok"})

    async def _end_fault(self, request: Request) -> Response:
        if not self._faults.remove(request.path_params["number"]):
            raise HTTPException(404)
        return JSONResponse({"status": "ok"})

    async def _page(self, request: Request) -> Response:
        access = request.query_params.get("access")
        if request.url.path == "/" and access and self._gate.is_key(access):
            # Out of the address bar, the history and every later Referer.
            moved = Response(status_code=303, headers={"location": "/"})
            moved.set_cookie(ACCESS_COOKIE, access, httponly=True, samesite="strict")
            return moved
        file = self._site.file(request.path_params.get("name", "index.html"))
        if file is None:
            raise HTTPException(404)
        return file

    async def _icon(self, _request: Request) -> Response:
        # Browsers ask for it on their own account when they show an answer in JSON.
        return self._site.file("favicon.svg") or Response(status_code=404)


def _with_headers(send: Send, headers: Mapping[str, str]) -> Send:
    """Return *send*, but each answer has these headers."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(headers)
        await send(message)

    return send_with_headers


def _cross_origin(headers: Headers) -> Mapping[str, str]:
    """
    Return what lets a page read the answer to what it has sent from elsewhere.

    Sourced: mixpanel/mixpanel-js, src/mixpanel-core.js: it sends with credentials, and again until
    it can read the status 200.
    """
    origin = headers.get("origin")
    if origin is None:
        return {}
    return {
        "access-control-allow-origin": origin,
        "access-control-allow-credentials": "true",
        "vary": "origin",
    }


async def _read(request: Request, limit: int) -> bytes | None:
    """
    Read a body to its end, holding at most *limit* bytes; None if there are more.

    To its end, because a client that is still sending when the connection closes may never see
    the answer.
    """
    pieces: list[bytes] = []
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > limit:
            pieces.clear()
        else:
            pieces.append(piece)
    return None if size > limit else b"".join(pieces)


def _told(one: Profile) -> JsonObject:
    known: JsonObject = (
        {"$group_key": one.kind, "$group_id": one.id} if one.kind else {"$distinct_id": one.id}
    )
    known["properties"] = one.properties
    return {**known, "$last_seen": one.last_seen} if one.last_seen else known


def _lines(pages: Iterator[str]) -> Response:
    return StreamingResponse(_on_the_loop(pages), media_type="application/x-ndjson")


async def _on_the_loop(pages: Iterator[str]) -> AsyncIterator[str]:
    # As an async iterator, so that Starlette does not move the database to another thread.
    for page in pages:
        yield page
