"""
What to do next: the state of one pipeline in one process, without threads.

::

    queue ── pack ──> ready ── next ──> in flight ── settle ──> ledger
                        ^                   │
                        └───── parked <─────┘ to be tried again when due

A worker calls `pack`, whoever has a connection calls `next` and `settle`; a simulator calls all
three. Each method takes the lock for a moment; nothing slow happens under it.
"""

from __future__ import annotations

import heapq
import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from mixpanel_export._batch import Batch
from mixpanel_export._notice import Notices
from mixpanel_export._outcome import Misconfigured, Retryable
from mixpanel_export._queue import MemoryQueue
from mixpanel_export._sender import Attempt, Shipment
from mixpanel_export._tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mixpanel_export._clock import Clock
    from mixpanel_export._settings import Settings

#: Why an event was never accepted.
DROPS: Final = (
    "full",
    "closed",
    "no_identity",
    "no_token",
    "too_large",
    "transform",
    "sampled",
    "budget",
)

#: Failures in a row after which only single requests probe. Ours: two can be chance.
CIRCUIT_FAILURES: Final = 3

#: How long the first event of an idle pipeline waits for company, in seconds.
FIRST_WAIT: Final = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """
    The ledger, in events.

    ::

        accepted + adopted = delivered + rejected + evicted + expired + abandoned + queued

    """

    accepted: int = 0
    """Taken in."""

    adopted: int = 0
    """Taken over from the spool of a process that is gone."""

    delivered: int = 0
    """Acknowledged by Mixpanel."""

    rejected: int = 0
    """Refused by Mixpanel for what they are; final."""

    evicted: int = 0
    """Pushed out by newer ones, with ``overflow="drop_oldest"``."""

    expired: int = 0
    """Too old to be kept any longer."""

    abandoned: int = 0
    """Given up: not sent when the time to close or exit was over."""

    queued: int = 0
    """Waiting, in flight, or waiting to be tried again."""

    dropped: Mapping[str, int] = field(default_factory=dict)
    """Never accepted, by reason; only reasons that occurred."""

    ignored: int = 0
    """Records that are no events."""

    damaged: int = 0
    """Found broken in a spool, and left out."""

    retries: int = 0
    """Requests that brought no verdict and were, or will be, made again."""

    requests: int = 0
    """Requests in all."""

    queued_bytes: int = 0
    """What `queued` takes, as it is held."""

    oldest_age: float = 0.0
    """How long the oldest of `queued` has waited, in seconds; 0.0 if there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether delivery works."""

    ok: bool
    """True unless the last attempt failed."""

    circuit: str
    """``closed``: sending; ``open``: no answers, single probes; ``paused``: misconfigured."""

    reason: str = ""
    """What is wrong, in a few words."""

    last_success_age: float | None = None
    """Seconds since the last verdict from Mixpanel; `None` if there was none yet."""


class Engine:
    """
    The state of one pipeline in one process.

    Args:
        settings: The delivery fields are read.

        clock: Where the time comes from.

        notices: Where trouble is told.

        ring: Wakes whoever calls `pack`; see `MemoryQueue`.
    """

    def __init__(
        self, settings: Settings, *, clock: Clock, notices: Notices, ring: Callable[[], object]
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._notices = notices
        self.queue = MemoryQueue(
            max_events=settings.max_events,
            max_bytes=settings.max_bytes,
            batch_events=settings.batch_events,
            batch_bytes=settings.batch_bytes,
            ring=ring,
        )
        # Guards all that follows but the tallies. Callers' threads take it only when they ask for
        # something (flush, close, stats), never when they emit; hence a condition to wait on, and a
        # lock that the same thread may take again, from a signal handler.
        self.changed = threading.Condition(threading.RLock())
        self._ready: deque[Shipment] = deque()
        self._parked: list[tuple[float, int, Shipment]] = []
        self._flying: dict[int, Shipment] = {}
        self._order = count()
        self._packing = 0
        self._taken = 0
        self._given_up = 0
        self._counts: Counter[str] = Counter()
        self._since: float | None = None
        self._seal_at: float | None = None
        self._last_seal = float("-inf")
        self._wanted = 0
        self._hurried = False
        # Failures in a row. Those of requests that were under way at the same time count as one:
        # four connections that break together are no worse than one.
        self._failures = 0
        self._launches = 0
        self._noticed = 0
        self._paused = False
        self._resume_at = float("-inf")
        self._reason = ""
        self._last_success: float | None = None
        self._warned_drops = 0
        self.ignored = Tally()
        self.dropped = {reason: Tally() for reason in DROPS}

    # -- the worker's part ------------------------------------------------------------------------

    def pack(self) -> bool:
        """Seal one batch, if one is due; False if none was."""
        with self.changed:
            if not self._seal_due():
                return False
            ordinal, since, era = self._taken, self._since, self._given_up
            lines = self.queue.take()
            self._taken += len(lines)
            self._packing += 1
            now = self._clock.monotonic()
            self._since = self._seal_at = None
            self._last_seal = now
        # Compressing takes milliseconds; nobody should wait for the lock meanwhile.
        raw = sum(map(len, lines))
        shipment = None
        try:
            batch = Batch.of(lines, gzip=self._settings.gzip)
            shipment = Shipment(batch, ordinal=ordinal, since=now if since is None else since)
        finally:
            # Also if there was no memory for it: then these lines are lost, and counted.
            with self.changed:
                self._packing -= 1
                if shipment is None:
                    self._counts["abandoned"] += len(lines)
                    self.queue.release(len(lines), raw)
                else:
                    self.queue.resize(raw, len(shipment.batch.body))
                    self._admit(shipment, era)
                self.changed.notify_all()
        return True

    def _admit(self, shipment: Shipment, era: int) -> None:
        if era == self._given_up:
            self._ready.append(shipment)
            self._evict()
        else:
            self._count("abandoned", shipment)

    def _seal_due(self) -> bool:
        queue = self.queue
        if not len(queue):
            return False
        now = self._clock.monotonic()
        if self._since is None:
            self._since = now
        if queue.full_batch or self._hurried or self._taken < self._wanted:
            return True
        if self._ready:
            # More than the connections can take is waiting anyway: let this batch grow.
            return False
        if self._seal_at is None:
            interval = self._settings.flush_interval
            self._seal_at = max(self._last_seal + interval, now + min(FIRST_WAIT, interval))
        return now >= self._seal_at

    def _evict(self) -> None:
        """Make room for a batch by giving up the oldest ones, if that is the policy."""
        settings = self._settings
        if settings.overflow != "drop_oldest":
            return
        queue = self.queue
        while (
            queue.held_events > settings.max_events - settings.batch_events
            or queue.held_bytes > settings.max_bytes - settings.batch_bytes
        ):
            idle = [*self._ready, *(shipment for _, _, shipment in self._parked)]
            if not idle:
                return
            oldest = min(idle, key=lambda shipment: shipment.ordinal)
            self._forget(oldest)
            self._count("evicted", oldest)
            self._notices.warn(
                "evicted",
                "the queue is full: the oldest events are given up; Mixpanel takes them too slowly,"
                " or max_events and max_bytes are too small",
            )

    def _forget(self, shipment: Shipment) -> None:
        if shipment in self._ready:
            self._ready.remove(shipment)
        else:
            self._parked = [entry for entry in self._parked if entry[2] is not shipment]
            heapq.heapify(self._parked)

    def _count(self, name: str, shipment: Shipment) -> None:
        batch = shipment.batch
        self._counts[name] += batch.count
        self.queue.release(batch.count, len(batch.body))

    def wait(self) -> float | None:
        """
        Say in how many seconds there will be something to do; None if only a ring can bring it.

        Arms the queue: what comes after the call rings.
        """
        with self.changed:
            self._warn_of_drops()
            queue = self.queue
            queue.arm(batch=False)
            # Only now look at the lines: one may have come before the queue was armed.
            if len(queue):
                if self._seal_due():
                    return 0.0
                queue.arm(batch=True)
            moments = [] if self._seal_at is None else [self._seal_at]
            if self._parked and not self._ready:
                moments.append(max(self._parked[0][0], self._resume_at))
            if self._ready:
                moments.append(self._resume_at)
            now = self._clock.monotonic()
            later = [moment for moment in moments if moment > now]
            return min(later) - now if later else None

    def _warn_of_drops(self) -> None:
        full = self.dropped["full"].value
        if full > self._warned_drops:
            self._notices.warn(
                "full",
                f"the queue is full: {full} events were not accepted so far; Mixpanel takes them"
                " too slowly, or max_events and max_bytes are too small",
            )
            self._warned_drops = full

    # -- the connections' part --------------------------------------------------------------------

    def next(self) -> Shipment | None:
        """Give what may be sent now, or None; it counts as in flight until `settle`."""
        with self.changed:
            now = self._clock.monotonic()
            while self._parked and self._parked[0][0] <= now:
                self._ready.append(heapq.heappop(self._parked)[2])
            if not self._ready or now < self._resume_at:
                return None
            if self.circuit != "closed" and self._flying:
                return None
            # A fresh batch that probes after five failures waits as long as after five of its own.
            shipment = self._ready.popleft()
            self._launches += 1
            shipment = replace(
                shipment,
                failures=max(shipment.failures, self._failures),
                launch=self._launches,
            )
            self._flying[shipment.launch] = shipment
            return shipment

    def settle(self, shipment: Shipment, attempt: Attempt) -> None:
        """Enter in the ledger what an attempt brought, and keep what is to be tried again."""
        with self.changed:
            if self._flying.pop(shipment.launch, None) is None:
                # Given up meanwhile, and counted as that: the time to close was over.
                return
            self._counts["requests"] += attempt.requests
            self._counts["retries"] += attempt.requests - 1
            self._counts["delivered"] += attempt.delivered
            self._counts["rejected"] += len(attempt.rejections)
            self._judge(shipment, attempt)
            batch = shipment.batch
            again = sum(len(each.batch.body) for each in attempt.again)
            self.queue.resize(len(batch.body), again)
            self.queue.release(batch.count - sum(each.batch.count for each in attempt.again), 0)
            now = self._clock.monotonic()
            for each in reversed(attempt.again):
                if each.due <= now:
                    # Halves go before what came later.
                    self._ready.appendleft(each)
                else:
                    heapq.heappush(self._parked, (each.due, next(self._order), each))
            self.changed.notify_all()

    def _judge(self, shipment: Shipment, attempt: Attempt) -> None:
        """Open or close the circuit."""
        outcome = attempt.outcome
        now = self._clock.monotonic()
        match outcome:
            case Retryable(reason=reason, after=after):
                self._fail(shipment, reason)
                due = max(each.due for each in attempt.again)
                if self._failures >= CIRCUIT_FAILURES or after is not None:
                    # What was asked of one connection holds for all.
                    self._resume_at = max(self._resume_at, due)
                self._notices.warn(
                    "unreachable",
                    f"events cannot be delivered at the moment ({reason}); they are kept and sent"
                    " again",
                )
            case Misconfigured(status=status, message=message):
                self._fail(shipment, f"status {status}: {message}")
                self._paused = True
                self._resume_at = max(each.due for each in attempt.again)
                self._notices.warn(
                    "misconfigured",
                    f"Mixpanel does not take events from here (status {status}: {message});"
                    " check the token or the service account, the region and the address; events"
                    " are kept meanwhile",
                )
            case _:
                if self.circuit != "closed":
                    # It works again: everything at once, nothing waits out its own delay.
                    self._unpark()
                self._failures = 0
                self._paused = False
                self._resume_at = float("-inf")
                self._reason = ""
                self._last_success = now

    def _fail(self, shipment: Shipment, reason: str) -> None:
        self._counts["retries"] += 1
        self._reason = reason
        if shipment.launch > self._noticed:
            self._failures += 1
            self._noticed = self._launches

    def _unpark(self) -> None:
        self._ready.extend(shipment for _, _, shipment in sorted(self._parked))
        self._parked.clear()

    # -- everybody's part -------------------------------------------------------------------------

    @property
    def circuit(self) -> str:
        """``closed``, ``open`` or ``paused``; see `Health`."""
        if self._paused:
            return "paused"
        return "open" if self._failures >= CIRCUIT_FAILURES else "closed"

    @property
    def accepted(self) -> int:
        """How many events were accepted so far."""
        with self.changed:
            return self._taken + len(self.queue)

    def want(self, ordinal: int) -> None:
        """Ask that the first *ordinal* events be sealed without waiting for others."""
        with self.changed:
            self._wanted = max(self._wanted, ordinal)

    def hurry(self) -> None:
        """Seal and try everything at once from now on: the time is running out."""
        with self.changed:
            self._hurried = True
            if not self._paused:
                # One try for what is waiting for a retry that might come too late.
                self._unpark()
                self._resume_at = float("-inf")

    def unhurry(self) -> None:
        """Go back to the ordinary pace."""
        with self.changed:
            self._hurried = False

    def settled(self, ordinal: int) -> bool:
        """Say whether the first *ordinal* events have reached a final state."""
        with self.changed:
            if self._packing or self._taken < ordinal:
                return False
            return all(shipment.ordinal >= ordinal for shipment in self._held())

    def _held(self) -> Iterator[Shipment]:
        yield from self._ready
        yield from (shipment for _, _, shipment in self._parked)
        yield from self._flying.values()

    @property
    def idle(self) -> bool:
        """True if nothing is held at all."""
        with self.changed:
            return not (self._packing or len(self.queue) or any(True for _ in self._held()))

    @property
    def sendable(self) -> int:
        """How many batches could be sent now if there were connections for them."""
        with self.changed:
            now = self._clock.monotonic()
            if now < self._resume_at:
                return 0
            due = len(self._ready) + sum(moment <= now for moment, _, _ in self._parked)
            return due if self.circuit == "closed" else min(due, int(not self._flying))

    def lose(self, shipment: Shipment) -> None:
        """Give up what is in flight, because of a bug."""
        with self.changed:
            if self._flying.pop(shipment.launch, None) is not None:
                self._count("abandoned", shipment)
                self.changed.notify_all()

    def abandon(self) -> int:
        """Give up all that is held, and say how many events that were."""
        with self.changed:
            before = self._counts["abandoned"]
            # A batch that is being packed at this moment belongs to it too.
            self._given_up += 1
            while lines := self.queue.take():
                self._taken += len(lines)
                self._counts["abandoned"] += len(lines)
                self.queue.release(len(lines), sum(map(len, lines)))
            for shipment in list(self._held()):
                self._count("abandoned", shipment)
            self._ready.clear()
            self._parked.clear()
            self._flying.clear()
            self.changed.notify_all()
            return self._counts["abandoned"] - before

    @property
    def stats(self) -> Stats:
        """The ledger as it stands."""
        with self.changed:
            counts = self._counts
            now = self._clock.monotonic()
            final = ("delivered", "rejected", "evicted", "abandoned")
            dropped = {reason: tally.value for reason, tally in self.dropped.items()}
            since = [shipment.since for shipment in self._held()]
            if self._since is not None:
                since.append(self._since)
            return Stats(
                accepted=self._taken + len(self.queue),
                queued=self.queue.held_events,
                **{name: counts[name] for name in (*final, "retries", "requests")},
                dropped=MappingProxyType({name: n for name, n in dropped.items() if n}),
                ignored=self.ignored.value,
                queued_bytes=self.queue.held_bytes,
                oldest_age=now - min(since) if since else 0.0,
            )

    @property
    def health(self) -> Health:
        """Whether delivery works."""
        with self.changed:
            last = self._last_success
            return Health(
                ok=self._failures == 0,
                circuit=self.circuit,
                reason=self._reason,
                last_success_age=None if last is None else self._clock.monotonic() - last,
            )
