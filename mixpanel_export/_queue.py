"""The bounded queue, in memory: sealed lines between the callers' threads and the worker."""

from __future__ import annotations

from collections import deque
from itertools import repeat, starmap
from typing import TYPE_CHECKING

from mixpanel_export._batch import LINE_COST, fitting

if TYPE_CHECKING:
    from collections.abc import Callable

    from mixpanel_export._batch import Lane
    from mixpanel_export._spool import Places
    from mixpanel_export._update import Aside


def _kind(aside: Aside) -> tuple[Lane, bool, bool]:
    """Say with which others a line may share a batch."""
    return aside.lane, aside.repeatable, aside.place is None


class MemoryQueue:
    """
    Lines that wait to be sealed into batches.

    `put` may be called from any thread at any moment, also from a signal handler or a finaliser
    that interrupts another `put`: it takes no lock. All else belongs to whoever holds the engine's
    lock. What was taken still counts against the bounds until `release` says that it is gone.

    The number of lines is that of a `deque` and always exact. The number of bytes is kept by plain
    arithmetic on an attribute. In CPython with its global lock no thread and no signal comes
    between the load and the store of such a statement, since nothing is called there; were it
    otherwise, the bound would be less sharp and nothing else.

    Args:
        max_events: How many lines may be held.

        max_bytes: How many bytes these may have in all.

        batch_events: How many waiting lines are worth waking the worker.

        batch_bytes: How many waiting bytes are.

        ring: Wakes the worker. Called from `put`: takes no lock and never raises.
    """

    __slots__ = (
        "_alarm",
        "_alarm_room",
        "_aside",
        "_batch_bytes",
        "_batch_events",
        "_held_bytes",
        "_held_events",
        "_lines",
        "_max_bytes",
        "_max_events",
        "_ring",
        "_room",
        "adopted",
        "damaged",
        "durable",
        "evicted",
        "expired",
        "lost",
        "shed_aside",
        "shed_events",
    )

    def __init__(
        self,
        *,
        max_events: int,
        max_bytes: int,
        batch_events: int,
        batch_bytes: int,
        ring: Callable[[], object],
    ) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._batch_events = batch_events
        self._batch_bytes = batch_bytes
        self._ring = ring
        self._lines: deque[bytes] = deque()
        # What does not go with the events, in its own order.
        self._aside: deque[Aside] = deque()
        #: True if what is put survives the process.
        self.durable = False
        #: Lines that a spool has taken over, found too old, too many, or broken; and how many of
        #: what it had accepted it has lost.
        self.adopted = self.expired = self.evicted = self.damaged = self.lost = 0
        #: Lines, events and others, that left without being taken; what was adopted counts against
        #: it.
        self.shed_events = self.shed_aside = 0
        self._held_events = 0
        self._held_bytes = 0
        # Bytes that may still come until the bound is reached.
        self._room = max_bytes
        # A `put` that would find so many lines waiting, or leave no more room than this, looks
        # closer. At first any does: an idle worker wants to hear of the first line.
        self._alarm = 0
        self._alarm_room = 0

    def put(self, line: bytes) -> bool:
        """Add *line*; False if there is no room for it."""
        size = len(line)
        self._room = room = self._room - size
        lines = self._lines
        if room <= self._alarm_room or len(lines) >= self._alarm:
            return self._put_with_care(line, size)
        lines.append(line)
        return True

    def _put_with_care(self, line: bytes, size: int) -> bool:
        if self._room < 0 or self.held_events >= self._max_events:
            self._room += size
            return False
        # Silence the alarm, then ring. The other way round a worker that arms it in between would
        # never hear of the next batch.
        self._alarm = self._limit
        self._alarm_room = 0
        self._lines.append(line)
        self._ring()
        return True

    def put_aside(self, aside: Aside) -> bool:
        """Add a line of another lane; False if there is no room for it."""
        size = len(aside.line)
        self._room -= size
        if self._room < 0 or self.held_events >= self._max_events:
            self._room += size
            return False
        self._aside.append(aside)
        self._alarm = min(self._alarm, self._limit)
        self._ring()
        return True

    @property
    def _limit(self) -> int:
        """How many events may wait at most, beside all else that is held."""
        return self._max_events - self._held_events - len(self._aside)

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def waiting(self) -> int:
        """The number of all lines that wait."""
        return len(self._lines) + len(self._aside)

    @property
    def aside(self) -> int:
        """The number of lines of other lanes that wait."""
        return len(self._aside)

    @property
    def waiting_bytes(self) -> int:
        """The bytes of the lines that wait."""
        return max(0, self._max_bytes - self._room - self._held_bytes)

    @property
    def held_events(self) -> int:
        """The number of all that is held, taken or not."""
        return len(self._lines) + len(self._aside) + self._held_events

    @property
    def held_bytes(self) -> int:
        """The bytes of all that is held, taken or not."""
        return max(0, self._max_bytes - self._room)

    @property
    def full_batch(self) -> bool:
        """True if as many lines or bytes wait as one batch carries."""
        return len(self._lines) >= self._batch_events or self.waiting_bytes >= self._batch_bytes

    @property
    def crowded(self) -> bool:
        """True if a batch's worth of lines may not find room."""
        return (
            self.held_events > self._max_events - self._batch_events
            or self.held_bytes > self._max_bytes - self._batch_bytes
        )

    def arm(self, *, batch: bool) -> None:
        """
        Say what rings next: a batch's worth of lines if *batch*, else the next line.

        To be followed by a look at what waits: a line may have come just before.
        """
        self._alarm = min(self._batch_events - 1, self._limit) if batch else 0
        self._alarm_room = max(0, self._max_bytes - self._held_bytes - self._batch_bytes)

    def take(self) -> list[bytes]:
        """Take the oldest lines, as many as fit one batch; empty if none wait. They remain held."""
        count = min(len(self._lines), self._batch_events)
        # One call into C for all of them; Python would need one step a line.
        lines = list(starmap(self._lines.popleft, repeat((), count)))
        if not lines:
            return lines
        kept, size = fitting(lines, self._batch_bytes)
        self._lines.extendleft(reversed(lines[kept:]))
        del lines[kept:]
        self._held_events += kept
        self._held_bytes += size
        # The lines that wait are fewer now, the bound for all is the same.
        self._alarm = min(self._alarm, self._limit)
        return lines

    def take_aside(self, most: int, max_bytes: int) -> list[Aside]:
        """Take the oldest lines of other lanes, as many as may share a batch of *max_bytes*."""
        taken: list[Aside] = []
        size = 0
        while self._aside and len(taken) < most:
            first = self._aside[0]
            size += len(first.line) + LINE_COST
            if taken and (_kind(first) != _kind(taken[0]) or size > max_bytes):
                break
            taken.append(self._aside.popleft())
        self._held_events += len(taken)
        self._held_bytes += sum(len(aside.line) for aside in taken)
        return taken

    def resize(self, before: int, after: int) -> None:
        """Note that something held now takes *after* bytes instead of *before*."""
        self._held_bytes += after - before
        self._room -= after - before

    def places(self) -> Places | None:
        """Say where on the disk the lines stand that were taken last; here, nowhere."""
        return None

    def lose(self) -> tuple[int, int]:
        """Give up what waits and would end with the process; say how many events and others."""
        counts = []
        for waiting in (self._lines, self._aside):
            lines: list[bytes] = []
            while waiting:
                each = waiting.popleft()
                lines.append(each if isinstance(each, bytes) else each.line)
            self._room += sum(map(len, lines))
            counts.append(len(lines))
        return counts[0], counts[1]

    def release(self, events: int, size: int, places: Places | None = None) -> None:
        """
        Note that so many lines, which now take *size* bytes, are held no more.

        Args:
            events: How many.

            size: Their bytes.

            places: What `places` said when their batch was taken.
        """
        del places
        self._held_events -= events
        self._held_bytes -= size
        self._room += size
