"""
A fleet on a fake clock: many processes that share one project, and so its rate limit.

::

    Process ──> Pipeline, its worker and its connections, step by step ──> Project: takes, or 429
       └──────────────────────── Fleet: whose step comes next ────────────────────────┘

Pipelines, engines, senders and their step functions are the real ones; what is played are threads,
time, chance and the network. Nothing waits: whoever is due next is woken.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import math
import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final
from unittest import mock

import orjson

from mixpanel_export import _pipeline, _process
from mixpanel_export._clock import Deadline
from mixpanel_export._event import Event
from mixpanel_export._pipeline import Pipeline
from mixpanel_export._process import IDLE
from mixpanel_export._settings import Settings
from mixpanel_export._wire import Request, Response
from mixpanel_export.testing import FakeClock, lines_of

if TYPE_CHECKING:
    from mixpanel_export._sender import Shipment

# "2GB of uncompressed JSON/minute (~30k events/second) … a rolling 1 minute window" for each
# project. -- Mixpanel docs, Import Events, Rate Limits (read 2026-08-21).
LIMIT_BYTES: Final = 2_000_000_000
LIMIT_EVENTS: Final = 30_000 * 60
WINDOW: Final = 60.0

#: How many events of a real fleet a simulated one stands for: requests are as many as they would
#: be, with a two-hundredth of the lines in them.
WEIGHT: Final = 200

#: Seconds from a request's start to its answer, drawn evenly.
ANSWER: Final = (0.05, 0.3)

SLOW_DOWN: Final = orjson.dumps(
    {
        "code": 429,
        "error": "Project exceeded rate limits. Please retry the request with exponential backoff.",
        "status": "Too Many Requests",
    }
)

#: What a 429 asks for, from the seconds after which the request would have been taken; None: it
#: asks for nothing, as Mixpanel's.
RetryAfter = Callable[[float], str | None]


class Project:
    """
    Mixpanel, as far as its limits go, and a transport to it.

    Args:
        clock: Where the time comes from.

        retry_after: What is written into a 429.
    """

    def __init__(self, clock: FakeClock, retry_after: RetryAfter) -> None:
        self._clock = clock
        self._retry_after = retry_after
        self._window: deque[tuple[float, int, int]] = deque()
        self._events = self._bytes = 0
        #: How often each line was taken.
        self.lines: dict[bytes, int] = {}
        #: What was taken: when, from which process, how many events.
        self.taken: list[tuple[float, int, int]] = []
        self.refused = 0

    def send(self, request: Request, deadline: Deadline) -> Response:  # noqa: ARG002 -- protocol
        lines = lines_of(request)
        events, size = WEIGHT * len(lines), WEIGHT * sum(map(len, lines))
        now = self._clock.monotonic()
        while self._window and self._window[0][0] <= now - WINDOW:
            _, old_events, old_size = self._window.popleft()
            self._events -= old_events
            self._bytes -= old_size
        if self._events + events > LIMIT_EVENTS or self._bytes + size > LIMIT_BYTES:
            self.refused += 1
            asked = self._retry_after(self._free_in(events, size))
            return Response(429, SLOW_DOWN, {} if asked is None else {"retry-after": asked})
        self._window.append((now, events, size))
        self._events += events
        self._bytes += size
        number = int(lines[0].partition(b'"distinct_id":"')[2].partition(b"-")[0])
        self.taken.append((now, number, events))
        for line in lines:
            self.lines[line] = self.lines.get(line, 0) + 1
        return Response(200, b'{"code":200,"num_records_imported":1,"status":"OK"}')

    def close(self) -> None: ...

    def _free_in(self, events: int, size: int) -> float:
        """Say in how many seconds so much would be taken, if nobody else came."""
        events += self._events
        size += self._bytes
        for moment, old_events, old_size in self._window:
            events -= old_events
            size -= old_size
            if events <= LIMIT_EVENTS and size <= LIMIT_BYTES:
                return moment + WINDOW - self._clock.monotonic()
        raise AssertionError("a request that is larger than the limit")

    def goodput(self, start: float, end: float) -> float:
        """Say what share of the limit was taken between two moments."""
        return sum(self.shares(start, end).values())

    def shares(self, start: float, end: float) -> dict[int, float]:
        """Say what share of the limit each process had between two moments."""
        shares: dict[int, float] = {}
        for moment, number, events in self.taken:
            if start <= moment < end:
                shares[number] = shares.get(number, 0.0) + events
        whole = LIMIT_EVENTS / WINDOW * (end - start)
        return {number: events / whole for number, events in shares.items()}


class Process:
    """
    One process: a pipeline, its threads, and an application that logs.

    Args:
        fleet: Whom it belongs to.

        number: Which one it is; part of what it logs.
    """

    def __init__(self, fleet: Fleet, number: int) -> None:
        self._fleet = fleet
        self._number = number
        self.pipeline = Pipeline(fleet.settings, clock=fleet.clock)
        self._process = self.pipeline._process
        fleet.processes[self._process] = self
        self._logged = 0
        self._due = math.inf
        # When each connection that has nothing to do ends.
        self._idle: deque[float] = deque()

    def log(self, events: int) -> None:
        """Log so many events now."""
        for _ in range(round(events / WEIGHT)):
            number = f"{self._number}-{self._logged}"
            self._logged += 1
            assert self.pipeline.submit(Event("Bought", distinct_id=number))
        self._listen()

    def log_on(self, pace: float, end: float) -> None:
        """Log *pace* events in a second until *end*."""
        self.log(WEIGHT)
        following = self._fleet.clock.monotonic() + WEIGHT / pace
        if following < end:
            self._fleet.at(following, partial(self.log_on, pace, end))

    # -- threads ----------------------------------------------------------------------------------

    def start(self, name: str) -> None:
        """Start a thread: the worker's, or a connection's."""
        if name == "work":
            self._wake_at(self._fleet.clock.monotonic())
        else:
            self._rest()

    def _wake_at(self, moment: float) -> None:
        self._due = moment
        self._fleet.at(moment, partial(self._step, moment))

    def _listen(self) -> None:
        """Wake the worker, if somebody rang."""
        now = self._fleet.clock.monotonic()
        if not self._process.bell.empty() and self._due > now:
            self._wake_at(now)

    def _step(self, due: float) -> None:
        """Let the worker do what there is to do, unless it was woken earlier than *due*."""
        if due != self._due:
            return
        self._process.listen(0.0)
        pause = self._process.step()
        self._due = math.inf
        if pause is not None:
            self._wake_at(self._fleet.clock.monotonic() + pause)
        self._launch()
        self._listen()

    def _launch(self) -> None:
        """Let the connections that wait look for something to send."""
        engine = self._process.engine
        while self._idle and (shipment := engine.next()):
            self._idle.pop()
            self._process.idle -= 1
            answer = self._fleet.clock.monotonic() + self._fleet.rng.uniform(*ANSWER)
            self._fleet.at(answer, partial(self._carry, shipment))

    def _carry(self, shipment: Shipment) -> None:
        self._process.carry(shipment, Deadline(self._fleet.clock, None), connection=True)
        self._process.ring()
        self._rest()
        self._launch()
        self._listen()

    def _rest(self) -> None:
        until = self._fleet.clock.monotonic() + IDLE
        self._idle.append(until)
        self._fleet.at(until, self._end)

    def _end(self) -> None:
        """End the connections that had nothing to do for long."""
        while self._idle and self._idle[0] <= self._fleet.clock.monotonic():
            self._idle.popleft()
            self._process.connections -= 1
            self._process.idle -= 1


class Fleet:
    """
    Processes that share a project, and whose turn it is.

    Args:
        size: How many.

        retry_after: What the project writes into a 429.

        seed: Decides what chance does.
    """

    def __init__(self, size: int, *, retry_after: RetryAfter, seed: int) -> None:
        self.rng = random.Random(seed)
        self.clock = FakeClock()
        self.project = Project(self.clock, retry_after)
        self.settings = Settings(
            token="the-token", transport=self.project, batch_events=2_000 // WEIGHT
        )
        self.processes: dict[object, Process] = {}
        self._agenda: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()
        self.all = [Process(self, number) for number in range(size)]

    def at(self, moment: float, action: Callable[[], object]) -> None:
        """Let *action* happen at *moment*."""
        heapq.heappush(self._agenda, (moment, next(self._order), action))

    def run(self, until: float) -> None:
        """Let happen what happens *until* then."""
        while self._agenda and self._agenda[0][0] <= until:
            moment, _, action = heapq.heappop(self._agenda)
            self.clock.advance(moment - self.clock.monotonic())
            action()
        self.clock.advance(until - self.clock.monotonic())

    @property
    def idle(self) -> bool:
        """True if nothing is held by anybody."""
        return all(process.pipeline._process.engine.idle for process in self.all)


@contextmanager
def fleet(size: int, *, retry_after: RetryAfter = lambda _: None, seed: int = 1) -> Iterator[Fleet]:
    """Make a fleet for the time of a ``with`` block."""
    made: list[Fleet] = []

    def start_new_thread(function: Any, _arguments: object) -> None:  # noqa: ANN401 -- a method
        made[0].processes[function.__self__].start(function.__name__)

    # No exit of this process is theirs.
    lifecycle = SimpleNamespace(enroll=lambda _: None, register=lambda: None, is_late=lambda: False)
    replaced: dict[str, Any] = {
        "_thread": SimpleNamespace(start_new_thread=start_new_thread, get_ident=lambda: 0),
        "_lifecycle": lifecycle,
        "random": random.Random(seed),
    }
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(_pipeline, "_lifecycle", lifecycle))
        stack.enter_context(mock.patch.multiple(_process, **replaced))
        silenced = logging.getLogger("mixpanel_export")
        stack.enter_context(mock.patch.object(silenced, "disabled", True))
        # Processes start no pipeline's thread before it is here.
        made.append(Fleet(size, retry_after=retry_after, seed=seed))
        yield made[0]
