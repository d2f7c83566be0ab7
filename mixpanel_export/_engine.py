"""
What to do next: the state of one pipeline in one process, without threads.

::

    queue ── pack ──> ready ── next ──> in flight ── settle ──> ledger
                        ^                   │
                        └───── parked <─────┘ to be tried again when due

A worker calls `pack`, whoever has a connection calls `next` and `settle`; a simulator calls all
three. Each method takes the lock for a moment; nothing slow happens under it.

With a spool only what the connections need next is sealed; the rest waits on the disk, and so does
each sealed batch until it is settled: see `_spool`.

Events go side by side and overtake each other. What goes by another lane (see `Lane`) waits in a
line of its own, of which only the head may be in flight.
"""

from __future__ import annotations

import heapq
import sys
import threading
from collections import Counter, deque
from dataclasses import replace
from itertools import count, islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from mixpanel_export._batch import LINE_COST, Batch, Lane
from mixpanel_export._circuit import Circuit
from mixpanel_export._ledger import DROPS, Health, Stats
from mixpanel_export._limits import MAX_REQUEST_UPDATES
from mixpanel_export._outcome import Misconfigured, Retryable, likely_cause
from mixpanel_export._queue import MemoryQueue
from mixpanel_export._sender import Attempt, Shipment
from mixpanel_export._tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mixpanel_export._clock import Clock
    from mixpanel_export._notice import Notices
    from mixpanel_export._settings import Settings
    from mixpanel_export._spool import Places, SpoolQueue

#: How long the first event of an idle pipeline waits for company, in seconds.
FIRST_WAIT: Final = 0.25

#: How often a batch may fail with a 5xx, with others succeeding in between, until it is halved:
#: then something in it seems to break the server. Ours.
FAILURES_ALONE: Final = 3


#: How many sealed batches for each connection may wait for a retry before what is on the disk stays
#: there. Ours: with the defaults some ten megabytes, and more than fail without an outage.
PARKED: Final = 16


class Mark(NamedTuple):
    """A moment in what was accepted: how many events before it, and how many of all else."""

    events: int
    aside: int


class _Load(NamedTuple):
    """Lines on their way from the queue into a batch."""

    lines: list[bytes]
    lane: Lane
    repeatable: bool
    ordinal: int
    since: float
    places: Places | None


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
        # Guards all that follows but the tallies. Callers' threads take it only when they ask for
        # something (flush, close, stats), never when they emit; hence a condition to wait on, and a
        # lock that the same thread may take again, from a signal handler.
        self.changed = threading.Condition(threading.RLock())
        #: The queue, if it is on disk.
        self.spool: SpoolQueue | None = None
        self.queue = self._new_queue(ring)
        self._events_lane = Lane.TRACK if settings.api == "track" else Lane.IMPORT
        self._ready: deque[Shipment] = deque()
        self._parked: list[tuple[float, int, Shipment]] = []
        self._lanes: dict[Lane, deque[Shipment]] = {lane: deque() for lane in Lane if lane.in_order}
        self._flying: dict[int, Shipment] = {}
        self._order = count()
        # What `pack` is compressing at the moment.
        self._packing: _Load | None = None
        self._stopped = False
        self._taken = Mark(0, 0)
        self._counts: Counter[str] = Counter()
        self._since: float | None = None
        self._seal_at: float | None = None
        self._last_seal = float("-inf")
        self._wanted = Mark(0, 0)
        self._hurried = False
        # When somebody last looked for something to send, and when the gate was to open then.
        self._looked = float("-inf")
        self._opens_at = float("-inf")
        self._circuit = Circuit(clock, settings.requests_per_hour)
        self._warned_drops = 0
        self.ignored = Tally()
        self.dropped = {reason: Tally() for reason in DROPS}

    def _new_queue(self, ring: Callable[[], object]) -> MemoryQueue:
        settings = self._settings
        if settings.spool is not None:
            # Whoever has none need not wait for its import.
            from mixpanel_export._spool import SpoolQueue

            self.spool = SpoolQueue(
                settings=settings,
                ring=ring,
                clock=self._clock,
                notices=self._notices,
                lock=self.changed,
            )
            return self.spool
        return MemoryQueue(
            max_events=settings.max_events,
            max_bytes=settings.max_bytes,
            batch_events=settings.batch_events,
            batch_bytes=settings.batch_bytes,
            ring=ring,
        )

    # -- the worker's part ------------------------------------------------------------------------

    def pack(self) -> bool:
        """Seal one batch, if one is due; False if none was."""
        with self.changed:
            # One at a time: two could bring their lines into a lane in the wrong order.
            if self._stopped or self._packing is not None or not self._seal_due():
                return False
            load = self._load()
            if not load.lines:
                # What should have been there was found broken, and counted.
                return False
            self._packing = load
        # Compressing takes milliseconds; nobody should wait for the lock meanwhile.
        shipment = None
        try:
            # Mixpanel does not take compressed updates. -- User Profiles: Set (read 2026-08-21).
            gzip = self._settings.gzip and load.lane not in {Lane.ENGAGE, Lane.GROUPS}
            batch = Batch.of(load.lines, gzip=gzip, lane=load.lane, repeatable=load.repeatable)
            shipment = Shipment(batch, ordinal=load.ordinal, since=load.since, places=load.places)
        finally:
            # Also if there was no memory for it: then these lines are lost, and counted.
            with self.changed:
                # Otherwise it was given up meanwhile, and counted as that.
                if self._packing is load:
                    self._packing = None
                    self._admit(load, shipment)
                self.changed.notify_all()
        return True

    def _load(self) -> _Load:
        """Take the lines of one batch: of the other lanes first, since they are few."""
        settings = self._settings
        now = self._clock.monotonic()
        since = now if self._since is None else self._since
        events, others = self._passed
        aside = self.queue.take_aside(
            min(MAX_REQUEST_UPDATES, settings.batch_events), settings.batch_bytes
        )
        lines = [each.line for each in aside] if aside else self.queue.take()
        places = self.queue.places()
        if aside:
            lane, repeatable = aside[0].lane, aside[0].repeatable
            load = _Load(lines, lane, repeatable, others, since, places)
            self._taken = self._taken._replace(aside=self._taken.aside + len(lines))
        elif places is not None and places.adopted:
            # Nobody here waits for them.
            load = _Load(lines, self._events_lane, True, sys.maxsize, since, places)
        else:
            load = _Load(lines, self._events_lane, True, events, since, places)
            self._taken = self._taken._replace(events=self._taken.events + len(lines))
        if not aside or not self.queue.waiting:
            self._since = self._seal_at = None
            self._last_seal = now
        return load

    @property
    def _passed(self) -> Mark:
        """How much of what was accepted waits no more."""
        taken, queue = self._taken, self.queue
        return Mark(taken.events + queue.shed_events, taken.aside + queue.shed_aside)

    def _admit(self, load: _Load, shipment: Shipment | None) -> None:
        count = len(load.lines)
        if shipment is None:
            self._counts["abandoned"] += count
            self.queue.release(count, sum(map(len, load.lines)), load.places)
            return
        batch = shipment.batch
        self.queue.resize(batch.raw_size - LINE_COST * count, len(batch.body))
        if load.lane.in_order:
            self._lanes[load.lane].append(shipment)
        else:
            self._ready.append(shipment)
            self._evict()

    def _seal_due(self) -> bool:
        queue = self.queue
        if not queue.waiting:
            return False
        if queue.durable and not queue.aside and self._is_supplied():
            # What waits on the disk is safe there, and takes no memory.
            return False
        now = self._clock.monotonic()
        if self._since is None:
            self._since = now
        full = queue.full_batch or queue.aside >= MAX_REQUEST_UPDATES
        if full or self._hurried or self._is_wanted():
            return True
        if self._ready and not queue.aside:
            # More than the connections can take is waiting anyway: let this batch grow.
            return False
        if self._seal_at is None:
            interval = self._settings.flush_interval
            self._seal_at = max(self._last_seal + interval, now + min(FIRST_WAIT, interval))
        return now >= self._seal_at

    def _is_supplied(self) -> bool:
        """True if as many batches are sealed as the connections need next."""
        connections, sealed = self._settings.connections, len(self._ready) + len(self._parked)
        # While others are taken, what waits for its retry must not keep them on the disk.
        most = connections * PARKED if self.circuit == "closed" else connections
        return len(self._ready) >= connections or sealed >= most

    def _is_wanted(self) -> bool:
        taken, wanted = self._passed, self._wanted
        return taken.events < wanted.events or taken.aside < wanted.aside

    def _evict(self) -> None:
        """Make room for a batch by giving up the oldest ones, if that is the policy."""
        if self._settings.overflow != "drop_oldest":
            return
        while self.queue.crowded:
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
        self.queue.release(batch.count, len(batch.body), shipment.places)

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
            if queue.waiting and not self._stopped:
                if self._seal_due():
                    return 0.0
                queue.arm(batch=True)
            now = self._clock.monotonic()
            opens_at = max(self._circuit.opens_at(), self._opens_at)
            moments = [max(due, opens_at) for due in self._due_times()]
            if self._seal_at is not None:
                moments.append(self._seal_at)
            # What has become due since somebody last looked for something to send counts too; what
            # was due before waits for a connection, and its end rings.
            later = [moment for moment in moments if moment > self._looked]
            return max(0.0, min(later) - now) if later else None

    def _due_times(self) -> Iterator[float]:
        """Give the moments at which what waits may be tried, as far as it is concerned itself."""
        if self._ready:
            yield float("-inf")
        if self._parked:
            yield self._parked[0][0]
        yield from (head.due for head in self._heads())

    def _heads(self) -> Iterator[Shipment]:
        """Give the first shipment of each lane that has nothing in flight."""
        busy = {shipment.batch.lane for shipment in self._flying.values()}
        for lane, shipments in self._lanes.items():
            if shipments and lane not in busy:
                yield shipments[0]

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
            if self._stopped or not self._gate_is_open():
                return None
            shipment = self._pick()
            if shipment is None:
                return None
            # A fresh batch that probes after five failures waits as long as after five of its own.
            shipment = replace(
                shipment,
                failures=max(shipment.failures, self._circuit.failures),
                launch=self._circuit.launch(),
            )
            self._flying[shipment.launch] = shipment
            return shipment

    def _gate_is_open(self) -> bool:
        circuit = self._circuit
        self._looked = self._clock.monotonic()
        self._opens_at = circuit.opens_at()
        if self._looked < self._opens_at:
            return False
        return circuit.state == "closed" or not self._flying

    def _pick(self) -> Shipment | None:
        now = self._looked
        while self._parked and self._parked[0][0] <= now:
            self._ready.append(heapq.heappop(self._parked)[2])
        found = [head for head in self._heads() if head.due <= now]
        found += islice(self._ready, 1)
        if not found:
            return None
        # What failed least goes first as long as requests go one by one: an update that nobody
        # takes must not be the only one that ever asks whether it works again.
        closed = self._circuit.state == "closed"
        best = found[0] if closed else min(found, key=lambda shipment: shipment.failures)
        lane = best.batch.lane
        return (self._lanes[lane] if lane.in_order else self._ready).popleft()

    def settle(self, shipment: Shipment, attempt: Attempt) -> None:
        """Enter in the ledger what an attempt brought, and keep what is to be tried again."""
        # Halving takes milliseconds; nobody should wait for the lock meanwhile.
        again = self._again(attempt)
        with self.changed:
            if self._flying.pop(shipment.launch, None) is None:
                # Given up meanwhile, and counted as that: the time to close was over.
                return
            if attempt.outcome is not None:
                self._judge(shipment, attempt)
            counts = self._counts
            # One was paid for at the start.
            self._circuit.spend(max(0, attempt.requests - 1))
            counts["requests"] += attempt.requests
            counts["retries"] += max(0, attempt.requests - 1)
            counts["delivered"] += attempt.delivered
            counts["rejected"] += len(attempt.rejections)
            counts["abandoned"] += attempt.abandoned
            batch = shipment.batch
            self.queue.resize(len(batch.body), sum(len(each.batch.body) for each in again))
            done = batch.count - sum(each.batch.count for each in again)
            self.queue.release(done, 0, shipment.places)
            # In reverse, since each goes to the front: parts stay in their order, and go before
            # what came later.
            for each in reversed(again):
                self._return(each)
            self.changed.notify_all()

    def _return(self, shipment: Shipment) -> None:
        lane = shipment.batch.lane
        if lane.in_order:
            self._lanes[lane].appendleft(shipment)
        elif shipment.due <= self._clock.monotonic():
            self._ready.appendleft(shipment)
        else:
            heapq.heappush(self._parked, (shipment.due, next(self._order), shipment))

    def _judge(self, shipment: Shipment, attempt: Attempt) -> None:
        """Open or close the circuit, and tell of trouble."""
        # What is refused though others were taken since the last time waits by itself.
        wrong = isinstance(attempt.outcome, Misconfigured)
        alone = wrong and self._circuit.successes > shipment.witnessed
        if not alone and self._circuit.judge(shipment.launch, attempt):
            # It works again: everything at once, nothing waits out its own delay.
            self._unpark()
        match attempt.outcome:
            case Retryable(reason=reason) if attempt.again:
                self._counts["retries"] += 1
                self._notices.warn(
                    "unreachable",
                    f"events cannot be delivered at the moment ({reason}); they are kept and sent"
                    " again",
                )
            case Misconfigured(status=status) as outcome:
                self._counts["retries"] += 1
                self._notices.warn(
                    "misconfigured",
                    f"Mixpanel does not take events from here ({outcome.reason});"
                    f" {likely_cause(status, self._settings)}; events are kept meanwhile",
                )
        if attempt.abandoned:
            self._notices.warn(
                "unknown",
                f"{attempt.abandoned} updates such as increments may or may not have been applied;"
                " they are not sent again",
            )

    def _again(self, attempt: Attempt) -> tuple[Shipment, ...]:
        """Give what is to be tried again; halved if it keeps failing while others succeed."""
        outcome = attempt.outcome
        successes = self._circuit.successes
        if isinstance(outcome, Misconfigured):
            return tuple(replace(each, witnessed=successes) for each in attempt.again)
        if not isinstance(outcome, Retryable) or (outcome.status or 0) < 500:
            return attempt.again
        again = []
        for each in attempt.again:
            alone = each.alone + (successes > each.witnessed)
            marked = replace(each, alone=alone, witnessed=successes)
            if alone < FAILURES_ALONE or each.batch.count == 1:
                again.append(marked)
            else:
                marked = replace(marked, alone=0, failures=0)
                again += [replace(marked, batch=half) for half in each.batch.halves()]
        return tuple(again)

    def _unpark(self) -> None:
        """Let everything be tried at once, and wait as after a first failure if it fails again."""
        self._ready.extend(shipment for _, _, shipment in sorted(self._parked))
        self._ready = deque(replace(shipment, failures=0) for shipment in self._ready)
        self._parked.clear()
        for lane in self._lanes.values():
            if lane:
                lane[0] = replace(lane[0], due=0.0, failures=0)

    # -- everybody's part -------------------------------------------------------------------------

    @property
    def circuit(self) -> str:
        """``closed``, ``open`` or ``paused``; see `Health`."""
        return self._circuit.state

    def mark(self) -> Mark:
        """Say how much was accepted so far."""
        with self.changed:
            events, aside = self._passed
            return Mark(events + len(self.queue), aside + self.queue.aside)

    def want(self, mark: Mark) -> None:
        """Ask that what was accepted before *mark* be sealed without waiting for more."""
        with self.changed:
            wanted = self._wanted
            self._wanted = Mark(max(wanted.events, mark.events), max(wanted.aside, mark.aside))

    def hurry(self) -> None:
        """Seal and try everything at once from now on: the time is running out."""
        with self.changed:
            self._hurried = True
            # One try for what is waiting for a retry that might come too late.
            self._unpark()
            self._circuit.hurry()

    def calm(self) -> None:
        """Go back to the ordinary pace."""
        with self.changed:
            self._hurried = False

    def settled(self, mark: Mark) -> bool:
        """Say whether what was accepted before *mark* has reached a final state."""
        with self.changed:
            taken = self._passed
            if self._packing is not None:
                return False
            if taken.events < mark.events or taken.aside < mark.aside:
                return False
            return all(
                shipment.ordinal >= (mark.aside if shipment.batch.lane.in_order else mark.events)
                for shipment in self._held()
            )

    def _held(self) -> Iterator[Shipment]:
        yield from self._ready
        yield from (shipment for _, _, shipment in self._parked)
        yield from self._flying.values()
        for lane in self._lanes.values():
            yield from lane

    @property
    def idle(self) -> bool:
        """True if nothing is held at all."""
        with self.changed:
            if self._packing is not None or (self.queue.waiting and not self._stopped):
                return False
            return not any(True for _ in self._held())

    @property
    def sendable(self) -> int:
        """How many batches could be sent now if there were connections for them."""
        with self.changed:
            if not self._gate_is_open():
                return 0
            now = self._looked
            due = len(self._ready) + sum(moment <= now for moment, _, _ in self._parked)
            due += sum(head.due <= now for head in self._heads())
            return due if self.circuit == "closed" else min(due, 1)

    @property
    def in_flight(self) -> int:
        """How many events are in requests that were not answered yet."""
        with self.changed:
            return sum(shipment.batch.count for shipment in self._flying.values())

    def lose(self, shipment: Shipment) -> None:
        """Give up what is in flight, because of a bug."""
        with self.changed:
            if self._flying.pop(shipment.launch, None) is not None:
                self._count("abandoned", shipment)
                self.changed.notify_all()

    def abandon(self) -> int:
        """Give up all that would end with the process, and say how many events that were."""
        with self.changed:
            before = self._counts["abandoned"]
            # A batch that is being packed at this moment belongs to it too.
            if self._packing is not None and self._packing.places is None:
                self._admit(self._packing, None)
                self._packing = None
            events, aside = self.queue.lose()
            self._counts["abandoned"] += events + aside
            self._taken = Mark(self._taken.events + events, self._taken.aside + aside)
            if not self.queue.waiting:
                self._since = self._seal_at = None
            for shipment in list(self._held()):
                if shipment.places is None:
                    self._count("abandoned", shipment)
                    self._discard(shipment)
            self.changed.notify_all()
            return self._counts["abandoned"] - before

    def _discard(self, shipment: Shipment) -> None:
        lane = self._lanes.get(shipment.batch.lane, ())
        if self._flying.pop(shipment.launch, None) is None:
            if shipment in lane:
                self._lanes[shipment.batch.lane].remove(shipment)
            else:
                self._forget(shipment)

    def stop(self) -> None:
        """Do nothing more, for good; what is on the disk is left there."""
        with self.changed:
            self._stopped = True
            self._packing = None
            self._ready.clear()
            self._parked.clear()
            self._flying.clear()
            for lane in self._lanes.values():
                lane.clear()
            self.changed.notify_all()

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
            queue = self.queue
            counted = {name: counts[name] for name in (*final, "retries", "requests")}
            counted["evicted"] += queue.evicted
            counted["abandoned"] += queue.lost
            return Stats(
                accepted=sum(self.mark()),
                adopted=queue.adopted,
                expired=queue.expired,
                damaged=queue.damaged,
                queued=queue.held_events,
                **counted,
                dropped=MappingProxyType({name: n for name, n in dropped.items() if n}),
                ignored=self.ignored.value,
                queued_bytes=queue.held_bytes,
                oldest_age=now - min(since) if since else 0.0,
            )

    @property
    def health(self) -> Health:
        """Whether delivery works."""
        with self.changed:
            circuit = self._circuit
            last = circuit.last_success
            return Health(
                ok=circuit.failures == 0,
                circuit=circuit.state,
                reason=circuit.reason,
                last_success_age=None if last is None else self._clock.monotonic() - last,
            )
