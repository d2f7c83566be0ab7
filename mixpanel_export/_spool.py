"""
The queue on disk: what a caller was told is accepted survives the process.

::

    put ──> segments ──> take ──> batch ──> release ──> cursor, delete
             orphans ──> take

Memory-mapped segments *are* the queue: `put` writes a record where the kernel keeps it whatever
becomes of the process, and `take` reads it from there. A batch carries its `Places`: when the last
of its lines is delivered, rejected or given up, the cursor says that they are done with. What is
not done with when the process ends, in whatever way, is left to the next process that opens the
directory, or to a sibling that lives.

`put` takes no lock as long as there is room in the segment; see `_chain`. What else the disk needs,
`_keeper` does on a thread of its own.

Where the disk fails, what comes is held in memory as without a spool, with a warning, until the
disk works again. Increments are always held in memory: nobody could know whether to repeat them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mixpanel_export import _rejected
from mixpanel_export._adoption import Adoption
from mixpanel_export._chain import Chain, Nowhere
from mixpanel_export._directory import directory_of
from mixpanel_export._keeper import Bell, Keeper
from mixpanel_export._orphan import Orphan
from mixpanel_export._queue import MemoryQueue
from mixpanel_export._segment import (
    Segment,
    Span,
    lane_of,
    number_of,
    record_of,
)
from mixpanel_export._stock import Stock
from mixpanel_export._update import Aside

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable

    from mixpanel_export._clock import Clock
    from mixpanel_export._notice import Notices
    from mixpanel_export._outcome import Rejection
    from mixpanel_export._settings import Settings

_NEVER: Final = 1 << 62


@dataclass(slots=True)
class Places:
    """Where the lines of a batch stand on the disk."""

    spans: list[Span]
    left: int
    """How many of the lines are not done with."""

    adopted: bool = False
    """True if another process accepted them."""


class SpoolQueue(MemoryQueue):
    """
    Lines that wait to be sealed into batches, on disk.

    Args:
        settings: The groups "queue", "batch" and "spool", and who and where.

        ring: Wakes the worker; see `MemoryQueue`.

        clock: Where the time comes from.

        notices: Where trouble is told.

        lock: The engine's lock, which the keeper takes for moments.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        ring: Callable[[], object],
        clock: Clock,
        notices: Notices,
        lock: threading.Condition,
    ) -> None:
        super().__init__(
            max_events=settings.max_events,
            max_bytes=settings.max_bytes,
            batch_events=settings.batch_events,
            batch_bytes=settings.batch_bytes,
            ring=ring,
        )
        self._settings = settings
        self._clock = clock
        self._notices = notices
        self._parent = directory_of(settings)
        self.bell = Bell()
        self._chain = Chain(
            self._parent,
            {"format": 1, "host": settings.host},
            clock=clock,
            call=self._call,
            wake=self.bell.ring,
            complain=self._complain,
        )
        self._stock = Stock(
            self._chain,
            lock=lock,
            max_bytes=settings.spool_max_bytes,
            wake=self.bell.ring,
            complain=self._complain,
        )
        self._places: Places | None = None
        self._always = settings.spool_sync == "always"
        self.keeper = Keeper(
            self._chain,
            self._stock,
            Adoption(self._parent, settings.host, notices),
            clock=clock,
            lock=lock,
            interval=0.5 if self._always else float(settings.spool_sync),
            welcome=self._welcome,
            shed=self._shed,
            busy=lambda: self.held_events > 0,
            complain=self._complain,
        )
        self.durable = True

    # -- from the callers' threads ----------------------------------------------------------------

    def put(self, line: bytes) -> bool:
        """Add *line*; False if there is no room for it."""
        record = record_of(line)
        size = len(record)
        segment = self._chain.segment
        try:
            # One statement without a call: nothing comes between finding the place and filling it.
            segment.end, segment.map[start:end] = (end := (start := segment.end) + size), record
        except (IndexError, ValueError, TypeError):
            return self._put_beyond(line, record)
        segment.count = number = segment.count + 1
        if number > segment.alarm:
            self._call(segment)
        return True

    def _put_beyond(self, line: bytes, record: bytes) -> bool:
        span = self._chain.store(record, lambda: self._put_late(self.put(line)))
        if span is None:
            return self._chain.failed_at is not None and super().put(line)
        return True

    def put_aside(self, aside: Aside) -> bool:
        """Add a line of another lane; False if there is no room for it."""
        if not aside.repeatable:
            return super().put_aside(aside)
        record = record_of(aside.line, number_of(aside.lane))
        span = self._chain.store(record, lambda: self._put_late(self.put_aside(aside)), aside=True)
        if span is None:
            return self._chain.failed_at is not None and super().put_aside(aside)
        if span.lines:
            self._room -= len(aside.line)
            self._aside.append(aside._replace(place=span))
            self._ring()
        return True

    def _put_late(self, accepted: bool) -> None:
        if not accepted:
            # It was said to be.
            self.shed_events += 1
            self.lost += 1

    def _call(self, segment: Segment | Nowhere) -> None:
        segment.alarm = -1 if self._always else _NEVER
        if self._always and isinstance(segment, Segment):
            self._chain.sync_one(segment)
        self._ring()
        self.bell.ring()

    def _complain(self, error: Exception) -> None:
        # The text of an OSError names the path.
        self._notices.warn(
            "spool", f"the spool cannot be used, events are held in memory meanwhile: {error}"
        )

    @property
    def inline(self) -> int:
        """How many segments had to be made while a caller waited."""
        return self._chain.inline

    # -- what waits -------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._lines) + self._stock.own_events

    @property
    def waiting(self) -> int:
        """The number of all lines that wait."""
        return len(self) + self._stock.adopted_events + len(self._aside)

    @property
    def waiting_bytes(self) -> int:
        """The bytes of the lines that wait."""
        return super().waiting_bytes + self._stock.bytes

    @property
    def held_events(self) -> int:
        """The number of all that is held, taken or not."""
        return self.waiting + self._held_events

    @property
    def held_bytes(self) -> int:
        """The bytes of all that is held, taken or not."""
        return super().held_bytes + self._stock.bytes

    @property
    def full_batch(self) -> bool:
        """True if as much waits as one batch carries, or something that has waited already."""
        return (
            len(self) >= self._batch_events
            or self.waiting_bytes >= self._batch_bytes
            or self._stock.adopted_events > 0
        )

    @property
    def crowded(self) -> bool:
        """Always False: the keeper makes room on the disk."""
        return False

    def arm(self, *, batch: bool) -> None:
        """Say what rings next; see `MemoryQueue.arm`."""
        super().arm(batch=batch)
        segment = self._chain.segment
        if not self._always:
            segment.alarm = segment.count + self._batch_events - len(self) - 1 if batch else 0

    # -- out, and done ----------------------------------------------------------------------------

    def take(self) -> list[bytes]:
        """Take the oldest lines, as many as fit one batch; empty if none wait. They remain held."""
        self._places = None
        for segment in self._stock.in_turn():
            if segment.unread and (lines := self._take_from(segment)):
                return lines
        return super().take()

    def _take_from(self, segment: Segment) -> list[bytes]:
        try:
            lines, spans = segment.take(self._batch_events, self._batch_bytes - 2)
        except OSError:
            # Somebody has deleted it.
            lines, spans = [], []
        adopted = isinstance(segment, Orphan)
        if not lines:
            # Somebody has written over it. What is missing was accepted, and is no more.
            missing = segment.unread
            segment.taken += missing
            self.lost += missing
            if not adopted:
                self.damaged += missing
                self.shed_events += missing
            self._stock.settle([Span(segment, segment.read, segment.read, missing)])
            return lines
        self._places = Places(spans, len(lines), adopted)
        size = sum(map(len, lines))
        self._held_events += len(lines)
        self._held_bytes += size
        self._room -= size
        return lines

    def take_aside(self, most: int, max_bytes: int) -> list[Aside]:
        """Take the oldest lines of other lanes, as many as may share a batch."""
        taken = super().take_aside(most, max_bytes)
        spans = [aside.place for aside in taken if isinstance(aside.place, Span)]
        self._places = Places(spans, len(spans)) if spans else None
        return taken

    def places(self) -> Places | None:
        """Say where on the disk the lines stand that were taken last; `None` if they do not."""
        return self._places

    def release(self, events: int, size: int, places: Places | None = None) -> None:
        """Note that so many lines, which now take *size* bytes, are held no more."""
        super().release(events, size)
        if places is not None:
            places.left -= events
            if not places.left:
                self._stock.settle(places.spans)

    # -- adoption ---------------------------------------------------------------------------------

    def _welcome(self, orphans: list[Orphan]) -> None:
        asides = []
        for orphan in orphans:
            self.damaged += orphan.damaged
            self.adopted += orphan.count
            for lane, line, start, stop in orphan.asides_found:
                place = Span(orphan, start, stop, 1)
                asides.append(Aside(lane_of(lane), line, repeatable=True, place=place))
                self._room -= len(line)
            orphan.asides_found.clear()
            self._stock.welcome(orphan)
        # To the front: they were said before what waits here.
        self._aside.extendleft(reversed(asides))
        self.shed_aside -= len(asides)
        if any(orphan.count for orphan in orphans):
            # Otherwise there is nothing to do, and no thread to start for it.
            self._ring()

    # -- giving up --------------------------------------------------------------------------------

    def _shed(self) -> None:
        """Give up what is too old, and the oldest where there is no room, if that is the policy."""
        oldest = self._clock.wall() - self._settings.spool_max_age
        sealed = self._stock.sealed()
        for segment in sealed:
            if segment.touched < oldest:
                self.expired += self._give_up(segment)
        if self._settings.overflow != "drop_oldest" or self._chain.spares or self._chain.has_room:
            return
        for segment in sealed:
            if given_up := self._give_up(segment):
                self.evicted += given_up
                self._notices.warn(
                    "evicted",
                    "the spool is full: the oldest events are given up; Mixpanel takes them too"
                    " slowly, or spool_max_bytes is too small",
                )
                return

    def _give_up(self, segment: Segment) -> int:
        """Give up what was not taken of a segment, and say how many lines that were."""
        events = segment.unread
        spans = [Span(segment, segment.read, segment.limit, events)] if events else []
        segment.taken += events
        for aside in list(self._aside):
            if isinstance(aside.place, Span) and aside.place.segment is segment:
                self._aside.remove(aside)
                self._room += len(aside.line)
                self.shed_aside += 1
                spans.append(aside.place)
        if not isinstance(segment, Orphan):
            self.shed_events += events
        self._stock.settle(spans)
        return sum(span.lines for span in spans)

    # -- the end ----------------------------------------------------------------------------------

    def lose(self) -> tuple[int, int]:
        """Give up what waits in memory; see `MemoryQueue.lose`."""
        durable = [aside for aside in self._aside if aside.place is not None]
        for aside in durable:
            self._room += len(aside.line)
        self._aside = deque(aside for aside in self._aside if aside.place is None)
        lost = super().lose()
        self._aside.extend(durable)
        for aside in durable:
            self._room -= len(aside.line)
        return lost

    def tidy(self) -> None:
        """Delete what is done with; where nothing is left, the directory too."""
        if not self._chain.seal():
            return
        # Whoever keeps may be at rest too.
        self.bell.ring()
        self.keeper.tidy()

    def close(self) -> None:
        """End for good; what is left, others may take over."""
        self._chain.closed = True
        self.tidy()
        self._chain.sync()
        self.disown()

    def disown(self) -> None:
        """Close everything and let it lie: in a forked child it is the parent's."""
        self._stock.release()
        self._chain.disown()

    def bury(self, rejections: Iterable[Rejection]) -> None:
        """Keep what Mixpanel rejected, with its reason, for whoever wants to look."""
        try:
            _rejected.bury(self._parent, rejections)
        except OSError as error:
            self._complain(error)
