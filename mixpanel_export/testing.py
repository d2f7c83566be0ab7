"""
What tests of applications need: what would be sent, captured; stand-ins for time and the network.

For pytest there are fixtures: `mixpanel_export.pytest_plugin`.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal
from weakref import WeakKeyDictionary

import orjson

from mixpanel_export._batch import Batch
from mixpanel_export._ledger import Stats
from mixpanel_export._pipeline import Pipeline, divert, living
from mixpanel_export._tracked import TrackedEvents
from mixpanel_export._wire import Request, Response

if TYPE_CHECKING:
    from mixpanel_export._clock import Deadline
    from mixpanel_export._update import Aside

__all__ = ["FakeClock", "ScriptedTransport", "TrackedEvents", "capture_events", "lines_of"]

# Those who capture at the moment, by identity: equal lists are not the same one. The lock guards
# who comes and goes, not what is captured.
_captures: dict[int, TrackedEvents] = {}
_changing = threading.RLock()


@contextmanager
def capture_events() -> Iterator[TrackedEvents]:
    """
    Capture, for a ``with`` block, what this process would send; nothing of it is sent.

    Through whichever door or pipeline it comes and on whichever thread, made before or inside of
    the block: when a logging call returns, its event is there. Doors without credentials, and those
    that are `disabled`, take part as if they had some. What is captured is not in the ledger.
    Blocks may overlap; each captures everything. What other processes do is not seen.

    Yields:
        What was captured so far. It grows, and can be asked after the block too.
    """
    before: WeakKeyDictionary[Pipeline, Stats] = WeakKeyDictionary(
        {pipeline: pipeline.stats for pipeline in living()}
    )
    captured = TrackedEvents(lambda: _reasons(before))
    with _changing:
        _captures[id(captured)] = captured
        divert(_take)
    try:
        yield captured
    finally:
        with _changing:
            del _captures[id(captured)]
            if not _captures:
                divert(None)


def _take(line: bytes | Aside) -> Literal[True]:
    record = orjson.loads(line if isinstance(line, bytes) else line.line)
    for captured in list(_captures.values()):
        captured.add(record)
    return True


def _reasons(before: WeakKeyDictionary[Pipeline, Stats]) -> Iterator[str]:
    """Yield what may be the reason that nothing was captured, each in a line."""
    ignored = 0
    dropped: dict[str, int] = {}
    for pipeline in living():
        then, now = before.get(pipeline, Stats()), pipeline.stats
        ignored += now.ignored - then.ignored
        for reason, count in now.dropped.items():
            dropped[reason] = dropped.get(reason, 0) + count - then.dropped.get(reason, 0)
    known = [f"{count} dropped: {reason}" for reason, count in dropped.items() if count]
    if ignored:
        known.append(f"{ignored} ignored: no events by the setting `select`")
    yield from known
    if not known:
        yield "nothing came in: is there a door, such as a MixpanelHandler, and a level low enough?"
    if "opentelemetry.sdk" in sys.modules:
        yield "what OpenTelemetry's batch processors hold comes with their provider's force_flush()"


class FakeClock:
    """
    A clock on which waiting takes no time: it jumps ahead instead.

    Args:
        now: The seconds since the epoch at which it starts; the monotonic clock starts at 0.
    """

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._epoch = now
        self._passed = 0.0

    def wall(self) -> float:
        """Say the seconds since the epoch."""
        return self._epoch + self._passed

    def monotonic(self) -> float:
        """Say the seconds since the clock was made."""
        return self._passed

    def advance(self, seconds: float) -> None:
        """Let *seconds*, not negative, pass."""
        self._passed += max(0.0, seconds)

    sleep = advance

    def wait(self, condition: threading.Condition, seconds: float | None) -> None:
        """Let *seconds* pass; for `None`, really wait for another thread's notice."""
        if seconds is None:
            condition.wait()
        else:
            self.advance(seconds)


class ScriptedTransport:
    """
    A transport that answers from a script.

    Once the script is at its end every request is answered as Mixpanel answers a valid one.

    Args:
        answers: What to answer, in this order: a `Response`, an exception to raise, or a status
            code, which stands for a response without a body.
    """

    def __init__(self, *answers: Response | Exception | int) -> None:
        self._answers = deque(answers)
        #: The requests so far.
        self.requests: list[Request] = []
        #: How often it was closed.
        self.closed = 0

    def send(self, request: Request, deadline: Deadline) -> Response:  # noqa: ARG002 -- protocol
        """Answer the next request."""
        self.requests.append(request)
        answer = self._answers.popleft() if self._answers else None
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, int):
            return Response(answer)
        if answer is not None:
            return answer
        imported = len(lines_of(request))
        body = {"code": 200, "num_records_imported": imported, "status": "OK"}
        return Response(200, orjson.dumps(body))

    def close(self) -> None:
        """Count that it was closed."""
        self.closed += 1

    @property
    def lines(self) -> list[bytes]:
        """The lines of all requests so far, whatever was answered."""
        return [line for request in self.requests for line in lines_of(request)]


def lines_of(request: Request) -> list[bytes]:
    """Take a request's body apart into the lines that it carries."""
    gzip = request.headers.get("Content-Encoding") == "gzip"
    return Batch(body=request.body, count=0, raw_size=0, gzip=gzip).lines()
