"""
Delivery of one batch: attempts, waits, splitting. No thread, no queue.

::

    Batch ── encode ──> Request ── transport ──> Response ── read ──> Outcome ── decide ──> Attempt

`Sender.attempt` makes one try and says what remains; `Sender.send` repeats it until nothing remains
or the deadline has passed. The pipeline uses the first and waits in its own way.
"""

from __future__ import annotations

import heapq
import sys
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING, Final

from mixpanel_export._batch import Lane
from mixpanel_export._clock import SYSTEM_CLOCK, Clock, Deadline
from mixpanel_export._exceptions import TransportError
from mixpanel_export._limits import MAX_TRACK_AGE_MS
from mixpanel_export._outcome import (
    Delivered,
    Misconfigured,
    Outcome,
    Rejection,
    Retryable,
    TooLarge,
    read_response,
)
from mixpanel_export._wire import encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from mixpanel_export._batch import Batch
    from mixpanel_export._settings import Settings
    from mixpanel_export._spool import Places
    from mixpanel_export._transport import Transport
    from mixpanel_export._wire import Request, Response

#: How many requests the search for the line that spoils a batch may take. Ours: one bad line among
#: 2,000 is found in 22, two or three of them still fit.
MAX_BISECTIONS: Final = 64

#: What has fewer characters is looked for nowhere: it would be found in every other word, and is
#: made up for a test. Mixpanel's tokens and secrets have 32.
SHORTEST_SECRET: Final = 8


@dataclass(slots=True)
class _Search:
    """The requests that are left to search one refused batch; shared by its parts."""

    left: int = MAX_BISECTIONS


@dataclass(frozen=True, slots=True)
class Shipment:
    """A batch on its way: how often it was tried, and when it may be tried again."""

    batch: Batch
    ordinal: int = 0
    """Where its first event stood among all that its pipeline accepted."""

    failures: int = 0
    """How many attempts failed since the last one that brought news."""

    since: float = 0.0
    """When its first event came, in seconds on the monotonic clock."""

    due: float = 0.0
    """When it may be tried, on the same clock."""

    alone: int = 0
    """How often it failed with a 5xx while others succeeded."""

    witnessed: int = sys.maxsize
    """How many verdicts its pipeline had seen when it failed last; until then more than any."""

    launch: int = 0
    """Which of its pipeline's attempts this is, counted from 1; 0 before the first."""

    places: Places | None = field(default=None, repr=False)
    """Where its lines stand on the disk, if they do; its parts share it."""

    search: _Search | None = field(default=None, repr=False)
    """Set while the line that spoils it is searched for."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one try brought. Each line of the batch is delivered, rejected or still to be sent."""

    outcome: Outcome | None
    """What the answer means; `None` if nobody was asked."""

    delivered: int = 0
    rejections: tuple[Rejection, ...] = ()
    abandoned: int = 0
    """Lines of which nobody knows what became, and which must not be sent twice."""

    pause: float = 0.0
    """How long to wait, in seconds, until another try makes sense."""

    again: tuple[Shipment, ...] = ()
    """What is to be tried again, when it is due."""

    requests: int = 1
    """
    How many requests it took: two if the first met a connection that was closed meanwhile, none if
    it was clear without asking that the batch has to be split.
    """


class Sender:
    """
    Deliver batches.

    Safe to use from several threads. It keeps nothing between calls but the transport's
    connections.

    Args:
        settings: The fields of the groups "who", "where" and "send" are read.

        transport: What carries the requests.

        clock: Where the time comes from.

        random: Gives numbers from 0 to 1, for the jitter.
    """

    def __init__(
        self,
        settings: Settings,
        transport: Transport,
        *,
        random: Callable[[], float],
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._settings = settings
        self._transport = transport
        self._clock = clock
        self._random = random
        given = (settings.token, settings.service_secret, settings.api_secret)
        self._secrets = tuple(
            each.encode() for each in given if each and len(each) >= SHORTEST_SECRET
        )

    def attempt(self, shipment: Shipment, deadline: Deadline) -> Attempt:
        """
        Try once to deliver *shipment*, until *deadline* or the setting `timeout`.

        Never raises: no answer is an outcome too.
        """
        if shipment.batch.lane is Lane.TRACK:
            # Lines age while they wait, so this cannot be decided any earlier.
            oldest = round(self._clock.wall() * 1000) - MAX_TRACK_AGE_MS
            parts = shipment.batch.by_age(oldest)
            if parts != (shipment.batch,):
                again = tuple(replace(shipment, batch=part) for part in parts)
                return Attempt(None, again=again, requests=0)
        outcome, requests = self._ask(shipment.batch, deadline)
        return replace(self._decide(outcome, shipment), requests=requests)

    def _decide(  # noqa: PLR0911 -- a table of outcomes
        self, outcome: Outcome, shipment: Shipment
    ) -> Attempt:
        """Say what follows from *outcome*."""
        batch = shipment.batch
        match outcome:
            case Delivered(imported, rejections):
                return Attempt(outcome, imported, rejections)
            case Retryable(after=after, applied=applied):
                delay = max(self.backoff(shipment.failures), after or 0.0)
                if applied and not batch.repeatable:
                    return Attempt(outcome, abandoned=batch.count, pause=delay)
                return self._later(outcome, shipment, delay)
            case Misconfigured():
                # Only somebody who changes something can help; look now and then whether they did.
                delay = self._settings.backoff_max + self._jitter()
                return self._later(outcome, shipment, delay)
            case TooLarge():
                return self._split(outcome, shipment, "the request is too large", shipment.search)
        # What is left is `Refused`.
        if batch.repeatable or batch.count == 1:
            search = shipment.search or _Search()
            return self._split(outcome, shipment, outcome.message, search)
        # Some of it may have been applied, and the answer does not say what.
        return Attempt(outcome, abandoned=batch.count)

    def send(self, batch: Batch, deadline: Deadline) -> tuple[list[Attempt], list[Batch]]:
        """
        Deliver *batch*, with waits and splitting, until *deadline*.

        Returns:
            The attempts in their order, and the batches for which the time did not suffice.
        """
        order = count()
        attempts: list[Attempt] = []
        waiting = [(0.0, next(order), Shipment(batch))]
        while waiting and not deadline.passed:
            due, _, shipment = waiting[0]
            if (wait := due - self._clock.monotonic()) > 0:
                self._clock.sleep(deadline.clip(wait))
                continue
            heapq.heappop(waiting)
            attempts.append(self.attempt(shipment, deadline))
            for each in attempts[-1].again:
                heapq.heappush(waiting, (each.due, next(order), each))
        return attempts, [shipment.batch for _, _, shipment in waiting]

    def backoff(self, failures: int) -> float:
        """Say how long to wait, in seconds, after *failures* earlier failures and one more."""
        settings = self._settings
        # Beyond 2 ** 60 the exponent says nothing more, and a float would overflow in the end.
        growing = settings.backoff_initial * 2.0 ** min(failures, 60)
        if growing < settings.backoff_max:
            return growing + self._jitter()
        # A minute is also what Mixpanel's limit is about. Of many processes that share it, some
        # would come back at the same moment of each minute, and never find it open.
        spread = self._random() / 2 if settings.jitter else 0.0
        return settings.backoff_max * (1.0 - spread) + self._jitter()

    def close(self) -> None:
        """Close the transport's connections; the next attempt opens new ones."""
        self._transport.close()

    def _jitter(self) -> float:
        jitter = self._settings.jitter
        return jitter / 5 + self._random() * (jitter - jitter / 5)

    def _ask(self, batch: Batch, deadline: Deadline) -> tuple[Outcome, int]:
        """Send *batch* and read the answer; say also how many requests that took."""
        request = encode(batch, self._settings)
        limit = Deadline(self._clock, deadline.clip(self._settings.timeout))
        answer = self._send(request, limit)
        requests = 1
        if isinstance(answer, TransportError) and answer.stale and batch.repeatable:
            # The server closed a connection that had been idle; nothing is wrong with it.
            answer = self._send(request, limit)
            requests = 2
        if isinstance(answer, TransportError):
            return Retryable(answer.reason, applied=answer.sent), requests
        return read_response(answer, batch, self._clock.wall()), requests

    def _send(self, request: Request, deadline: Deadline) -> Response | TransportError:
        try:
            answer = self._transport.send(request, deadline)
        except TransportError as error:
            return error
        except Exception as error:  # noqa: BLE001 -- a transport is somebody else's code
            text = f"{type(error).__name__}: {error}"
            return TransportError(self._masked(text.encode("utf-8", "replace")).decode())
        # Its words end up in logs, and a server or a proxy may repeat what it was sent.
        masked = self._masked(answer.body)
        return answer if masked == answer.body else replace(answer, body=masked)

    def _masked(self, text: bytes) -> bytes:
        for secret in self._secrets:
            text = text.replace(secret, b"***")
        return text

    def _later(self, outcome: Outcome, shipment: Shipment, delay: float) -> Attempt:
        due = self._clock.monotonic() + delay
        later = replace(shipment, failures=shipment.failures + 1, due=due)
        return Attempt(outcome, pause=delay, again=(later,))

    def _split(
        self, outcome: Outcome, shipment: Shipment, message: str, search: _Search | None
    ) -> Attempt:
        """Go on with the halves; a line alone, or a search that took too long, is given up."""
        batch = shipment.batch
        if search is not None:
            search.left -= 2
        if batch.count == 1 or (search is not None and search.left < 0):
            return Attempt(
                outcome, rejections=tuple(Rejection(line, "", message) for line in batch.lines())
            )
        parts = (
            replace(shipment, batch=half, failures=0, search=search) for half in batch.halves()
        )
        return Attempt(outcome, again=tuple(parts))
