"""Stand-ins for time and for the network, for the tests of those who build on this package."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import orjson

from mixpanel_export._batch import Batch
from mixpanel_export._wire import Request, Response

if TYPE_CHECKING:
    import threading

    from mixpanel_export._clock import Deadline

__all__ = ["FakeClock", "ScriptedTransport", "lines_of"]


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
