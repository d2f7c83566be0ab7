"""
The server of the simulation: honest, with a memory, in a world where much goes wrong.
"""

from __future__ import annotations

import math
from email.utils import formatdate
from typing import TYPE_CHECKING, Final

import orjson

from mixpanel_export._batch import Lane
from mixpanel_export._clock import Deadline
from mixpanel_export._exceptions import TransportError
from mixpanel_export._outcome import MAX_RETRY_AFTER
from mixpanel_export._wire import Request, Response
from mixpanel_export.testing import lines_of
from tests.simulation_books import Line, claim

if TYPE_CHECKING:
    from tests.simulation import World

#: How to name the events that are rejected.
ROWS: Final = ("index", "insert_id", "$insert_id", "strings", "unknown")

#: What an answer may be. The last five are none; "poison" is a 500 that comes back as long as one
#: line is in the request.
KINDS: Final = (
    "delivered",
    *ROWS,
    "refused",
    "too_large",
    "429",
    "503",
    "5xx",
    "poison",
    "html",
    "401",
    "redirect",
    "unsent",
    "sent",
    "stale",
    "exception",
    "timeout",
)

TOKEN: Final = "the-token"


class Server:
    """A transport and what is behind it, for all processes."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rng = rng = world.rng
        #: Whether anything goes wrong.
        self.faults = False
        #: All that was ever accepted.
        self.lines: dict[bytes, Line] = {}
        #: For how many seconds the last answer asked; `None` if for none.
        self.asked: float | None = None
        self._most = rng.choice((math.inf, math.inf, 500, 1_500))
        self._rate = rng.choice((0.2, 0.5, 0.8))
        self._mood = ("delivered", 0)
        self._bodies: dict[tuple[str, tuple[bytes, ...]], bytes] = {}
        self._last: dict[tuple[int, Lane], int] = {}

    # -- as a transport ---------------------------------------------------------------------------

    def close(self) -> None:
        self._world.meanwhile(0.3)

    def send(self, request: Request, deadline: Deadline) -> Response:
        world, rng = self._world, self._rng
        claim(not world.host.locked, "a request is made under the lock")
        world.report.requests += 1
        path = request.url.split("?")[0].rpartition("/")[2]
        lines = self._read(path, request)
        kind = self._kind("strict" in request.url, lines)
        world.note("send", path, len(lines), kind)
        patience = min(deadline.left(), world.settings.timeout)
        if kind == "timeout":
            self._apply(lines, rng.random() < 0.5)
            world.elapse(patience)
        elif rng.random() < 0.2:
            world.elapse(min(patience, rng.expovariate(2.0)))
        # Others may have been answered meanwhile.
        self.asked = None
        if kind == "timeout" or deadline.passed:
            world.count("timeout")
            raise TransportError("ReadTimeout: timed out")
        if kind in {"delivered", "refused", *ROWS}:
            return self._verdict(kind, lines, request.url)
        world.count(kind)
        return self._trouble(kind, lines)

    def _read(self, path: str, request: Request) -> list[bytes]:
        """Take a request apart, and look whether it may have been made."""
        lines = lines_of(request)
        if path == "track":
            splice = b'"properties":{"token":"%s",' % TOKEN.encode()
            lines = [line.replace(splice, b'"properties":{', 1) for line in lines]
        elif path != "import":
            splice = b'{"$token":"%s",' % TOKEN.encode()
            lines = [line.replace(splice, b"{", 1) for line in lines]
        same = self._bodies.setdefault((path, tuple(lines)), request.body)
        claim(same == request.body, "the same lines in another body")
        claim(len(set(lines)) == len(lines), "a line twice in one request")
        for line in lines:
            known = self.lines.get(line)
            claim(known, "a line that nobody submitted:", line)
            assert known is not None
            claim(known.pid == self._world.host.pid, "a line that another process submitted")
            claim(known.fate in {"", "abandoned"}, "sent again, though", known.fate)
            ways = {"identity": ("import",), "track": ("track", "import")}
            way = ways.get(known.lane.value, (known.lane.value,))
            claim(path in way, "a line of the lane", known.lane.value, "to", path)
        return lines

    # -- what it answers --------------------------------------------------------------------------

    def _kind(self, strict: bool, lines: list[bytes]) -> str:
        """Say what goes wrong with a request for these lines."""
        rng = self._rng
        if sum(map(len, lines)) > self._most:
            return "too_large"
        if not self.faults:
            return "delivered"
        known = [self.lines[line] for line in lines]
        if any(line.poison for line in known):
            return "poison"
        kind, left = self._mood
        if left:
            self._mood = (kind, left - 1)
        elif rng.random() < self._rate:
            kinds = [each for each in KINDS if each not in ROWS]
            kind = rng.choice([*kinds, *ROWS, *ROWS] if strict else kinds)
            if rng.random() < 0.15:
                self._mood = (kind, rng.randint(1, 12))
        if kind == "poison":
            rng.choice(known).poison = True
        return "delivered" if kind == "too_large" else kind

    def _trouble(self, kind: str, lines: list[bytes]) -> Response:
        rng = self._rng
        if kind == "429" or (kind == "503" and rng.random() < 0.6):
            return Response(int(kind), b'{"error":"slow down"}', self._retry_after(0.7))
        if kind in {"503", "5xx", "poison", "html", "sent", "stale", "exception"}:
            self._apply(lines, rng.random() < 0.5)
        match kind:
            case "503" | "5xx" | "poison":
                status = 503 if kind == "503" else rng.choice((500, 502, 504))
                return Response(status, b"oops", self._retry_after(0.2))
            case "too_large":
                return Response(413, b"<html>413</html>")
            case "html":
                return Response(200, b"<html>Welcome to the airport</html>")
            case "401":
                return Response(rng.choice((401, 402, 403, 404)), b'{"error":"no"}')
            case "redirect":
                return Response(302, b"", {"location": "https://elsewhere.example"})
            case "exception":
                raise ZeroDivisionError("somebody else's bug")
        raise TransportError(kind, sent=kind != "unsent", stale=kind == "stale")

    def _verdict(self, kind: str, lines: list[bytes], url: str) -> Response:
        """Apply what is good and say what is not."""
        rng, world, strict = self._rng, self._world, "strict" in url
        known = [self.lines[line] for line in lines]
        fresh = [line for line in known if not line.applied]
        if kind != "delivered" and fresh and not any(line.bad for line in known):
            for line in rng.sample(fresh, min(len(fresh), rng.choice((1, 1, 2)))):
                line.bad = True
        bad = [index for index, line in enumerate(known) if line.bad]
        if not bad:
            self._apply(lines)
            world.count("delivered")
            answer = b'{"status":"OK","num_records_imported":1}' if strict else b'{"status":1}'
            return Response(200, answer)
        if kind == "refused" or not strict:
            # Nothing was applied, or what stood before the first bad one: who knows?
            self._apply(lines[: bad[0]], rng.random() < 0.3)
            world.count("refused")
            return Response(400 if strict else 200, b'{"status":0,"error":"bad"}')
        if kind == "strings" and len(fresh) == len(lines):
            for line in known:
                line.bad = True
            failed: list[object] = ["no"] * len(lines)
        else:
            kind = "index" if kind in {"delivered", "strings"} else kind
            self._apply(lines)
            failed = [_row(kind, index, lines[index]) for index in bad]
        world.count(kind)
        body = {"code": 400, "status": "Bad Request", "failed_records": failed}
        return Response(400, orjson.dumps(body))

    def _apply(self, lines: list[bytes], happens: bool = True) -> None:
        """Take in what is valid."""
        for line in lines if happens else ():
            known = self.lines[line]
            if known.bad:
                continue
            claim(known.repeatable or not known.applied, "an increment was applied twice")
            # What was given up in flight comes when it comes.
            if known.lane.in_order and not known.applied and not known.fate:
                last = self._last.get((known.pid, known.lane), -1)
                claim(known.order > last, "applied out of order:", known.lane.value)
                self._last[known.pid, known.lane] = known.order
            known.applied += 1

    def _retry_after(self, chance: float) -> dict[str, str]:
        rng, now = self._rng, self._world.clock.wall()
        if rng.random() >= chance:
            return {}
        seconds = rng.choice((0, 1, 7, 45))
        # A date has no fractions.
        date = math.floor(now + seconds)
        value, self.asked = rng.choice(
            (
                (f"{seconds}", seconds),
                (f"{seconds}", seconds),
                (formatdate(date, usegmt=True), max(0.0, date - now)),
                ("1e9", MAX_RETRY_AFTER),
                ("-5", 0.0),
                ("soon", None),
                ("nan", None),
            )
        )
        return {"retry-after": value}


def _row(kind: str, index: int, line: bytes) -> dict[str, object]:
    row: dict[str, object] = {"field": "properties", "message": "no"}
    if kind == "index":
        row["index"] = index
    elif kind != "unknown":
        row[kind] = orjson.loads(line)["properties"]["$insert_id"]
    return row
