"""Parcels -> outcomes, on several connections at once."""

from __future__ import annotations

import queue
import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mixpanel_export._batch import Batch
from mixpanel_export._clock import SYSTEM_CLOCK, Clock, Deadline
from mixpanel_export._outcome import Misconfigured, Rejection, Retryable
from mixpanel_export._sender import Attempt, Sender, Shipment
from mixpanel_export._transport import HttpxTransport
from mixpanel_export.cli.backfill._books import Books
from mixpanel_export.cli.backfill._parcel import Parcel
from mixpanel_export.cli.backfill._window import Window

if TYPE_CHECKING:
    from mixpanel_export._settings import Settings

# Statuses that say that there was too much at once.
_LIMITED: Final = frozenset({429, 503})

# How often a thread that waits looks whether it is to stop, in seconds.
_LOOK: Final = 0.2


@dataclass
class Outcome:
    """What became of a parcel."""

    parcel: Parcel
    counts: Counter[str]
    rejections: list[tuple[int | None, Rejection]] = field(default_factory=list)
    """What Mixpanel rejected, with the place of each."""


class Shipping:
    """
    The threads that send parcels.

    Args:
        settings: Where to, as whom, on how many connections.

        books: Where requests and retries are counted, and trouble is told.

        settle: Called with each parcel of which all is known, on the threads.

        patience: How long there may be no verdict before it gives up, in seconds.

        clock: Where the time comes from.
    """

    def __init__(
        self,
        settings: Settings,
        books: Books,
        settle: Callable[[Outcome], object],
        *,
        patience: float,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._settings = settings
        self._books = books
        self._settle = settle
        self._patience = patience
        self._clock = clock
        self._sender = Sender(
            settings,
            settings.transport or HttpxTransport(settings),
            random=random.random,
            clock=clock,
        )
        self._stop = threading.Event()
        self._window = Window(settings.connections, clock, self._stop.is_set)
        # As many wait as are under way, so that none waits for the reader.
        self._queue: queue.Queue[tuple[Parcel, Batch | None] | None] = queue.Queue(
            settings.connections
        )
        self._last_verdict = clock.monotonic()
        #: Why it gave up; empty if it did not.
        self.failure = ""
        #: What was raised on a thread, if that is why.
        self.error: Exception | None = None
        self._threads = [
            threading.Thread(target=self._work, name=f"mixpanel-import-{number}", daemon=True)
            for number in range(settings.connections)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def connections(self) -> int:
        """How many requests may be under way at the moment."""
        return self._window.size

    def put(self, parcel: Parcel, stopped: Callable[[], bool]) -> None:
        """Have *parcel* sent; waits for its turn, unless *stopped* says that there is no use."""
        batch = None
        if parcel.lines:
            batch = Batch.of(
                parcel.lines,
                gzip=self._settings.gzip,
                lane=parcel.lane,
                repeatable=parcel.repeatable,
            )
            # The batch has them, in a tenth of the room.
            parcel.lines.clear()
        self._put((parcel, batch), stopped)

    def _put(self, item: tuple[Parcel, Batch | None] | None, stopped: Callable[[], bool]) -> None:
        while not stopped() and not self._stop.is_set():
            try:
                self._queue.put(item, timeout=_LOOK)
            except queue.Full:
                continue
            return

    def finish(self, stopped: Callable[[], bool]) -> None:
        """Wait until all is sent; once *stopped* says so, only for what is under way."""
        for _ in self._threads:
            self._put(None, stopped)  # the sign for one of them to end
        for thread in self._threads:
            while thread.is_alive():
                if stopped():
                    self._stop.set()
                thread.join(_LOOK)
        self._sender.close()

    def _work(self) -> None:
        try:
            while not self._stop.is_set():
                try:
                    item = self._queue.get(timeout=_LOOK)
                except queue.Empty:
                    continue
                if item is None:
                    return
                outcome = self._deliver(*item)
                if outcome is not None:
                    self._settle(outcome)
        except Exception as error:  # noqa: BLE001 -- a full disk, say: nothing may go on unrecorded
            self.error = error
            self._fail(f"{type(error).__name__}: {error}")

    def _fail(self, reason: str) -> None:
        self.failure = self.failure or reason
        self._stop.set()

    def _deliver(self, parcel: Parcel, batch: Batch | None) -> Outcome | None:
        """Send *parcel*; None if it had to be given up, and will be sent by another run."""
        outcome = Outcome(parcel, parcel.counts)
        if batch is None:
            return outcome
        waiting = [Shipment(batch)]
        rejections: list[Rejection] = []
        while waiting:
            shipment = waiting.pop(0)
            number = self._window.enter(shipment.due)
            if not number:
                return None
            attempt = self._sender.attempt(shipment, self._deadline())
            self._note(number, attempt)
            # Parts before what comes after them: updates keep their order.
            waiting[:0] = attempt.again
            rejections += attempt.rejections
            outcome.counts["delivered"] += attempt.delivered
            outcome.counts["abandoned"] += attempt.abandoned
        if rejections:
            outcome.counts["rejected"] += len(rejections)
            places = dict(zip(batch.lines(), parcel.places, strict=True))
            outcome.rejections = [(places.get(each.line), each) for each in rejections]
        return outcome

    def _deadline(self) -> Deadline:
        return Deadline(self._clock, self._settings.timeout)

    def _note(self, number: int, attempt: Attempt) -> None:
        """Draw the conclusions of one attempt for all."""
        books, outcome = self._books, attempt.outcome
        books.requests += attempt.requests
        limited = isinstance(outcome, Retryable) and outcome.status in _LIMITED
        self._window.leave(number, limited=limited, pause=attempt.pause)
        if isinstance(outcome, Misconfigured):
            answer = (
                f"status {outcome.status}: {outcome.message}"
                if outcome.message
                else (f"status {outcome.status}")
            )
            self._fail(
                f"{self._settings.host} answers {answer}; the credentials, the region or the"
                " address are wrong: mixpanel-export check says which"
            )
        elif isinstance(outcome, Retryable):
            books.retries += 1
            books.trouble = outcome.reason
            silence = self._clock.monotonic() - self._last_verdict
            if silence > self._patience:
                self._fail(
                    f"{self._settings.host} gave no verdict for {silence:.0f} s: {outcome.reason};"
                    " mixpanel-export check looks for the cause"
                )
        else:
            books.trouble = ""
            self._last_verdict = self._clock.monotonic()
