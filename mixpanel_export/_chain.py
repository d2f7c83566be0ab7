"""
The segments that a process fills, one after the other.

::

    spares ── change ──> segment ── full ──> segments, until each is done with

As long as there is room in the segment a record is put there without a lock. When it is full the
next one is at hand, since `prepare`, on another thread, has made it; if not, it is made on the
spot.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Final, cast

from mixpanel_export import _disk
from mixpanel_export._directory import Directory
from mixpanel_export._exceptions import SpoolError
from mixpanel_export._segment import SEGMENT_BYTES, START, Segment, Span

if TYPE_CHECKING:
    from collections.abc import Callable

    from mixpanel_export._clock import Clock

#: How many segments are kept ready. Ours: at 40 MB/s one lasts a tenth of a second, about as long
#: as one wait for the disk.
SPARES: Final = 2

#: So many segments a process may have, whatever it has adopted.
FEWEST: Final = 4

#: Seconds until a disk that failed is tried again.
PATIENCE: Final = 1.0


class Nowhere:
    """Stands for a segment where there is none: nothing fits."""

    __slots__ = ("alarm", "asides", "count", "end", "map")

    def __init__(self) -> None:
        self.map = memoryview(b"")
        self.end = self.count = self.asides = self.alarm = 0


class Chain:
    """
    The segments of one process.

    Args:
        parent: The directory of the project.

        about: What is known about the process; see `Directory.make`.

        clock: Where the time comes from.

        call: Called when the count of a segment passes its alarm; takes no lock and never raises.

        wake: Has `prepare` called soon; likewise.

        complain: Called with each error of the disk.
    """

    def __init__(  # noqa: PLR0913 -- what it depends on
        self,
        parent: str,
        about: dict[str, Any],
        *,
        clock: Clock,
        call: Callable[[Segment | Nowhere], object],
        wake: Callable[[], object],
        complain: Callable[[Exception], object],
    ) -> None:
        self._parent = parent
        self._about = about
        self._clock = clock
        self._call = call
        self._wake = wake
        self._complain = complain
        self.directory: Directory | None = None
        #: Where the next record goes.
        self.segment: Segment | Nowhere = Nowhere()
        #: In their order; each until it is done with.
        self.segments: list[Segment] = []
        self.spares: deque[Segment] = deque()
        #: How many there may be, spares too.
        self.most = FEWEST
        #: How many had to be made while a caller waited.
        self.inline = 0
        #: When the disk failed, until it works again.
        self.failed_at: float | None = None
        self.closed = False
        self._made = 0
        # Guards the change of segments. Held while one is made on the spot, never while one is
        # prepared or the disk is waited for. The same thread may come again, from a signal handler
        # or a finaliser: what it brings then waits until the change is made.
        self._rotating = threading.RLock()
        self._changing = False
        self._deferred: deque[Callable[[], object]] = deque()

    def store(
        self, record: bytes, again: Callable[[], object], *, aside: bool = False
    ) -> Span | None:
        """
        Write *record*, into a new segment if need be.

        Args:
            record: The record.

            again: What to call later if this is a bad moment.

            aside: True if it is not an event.

        Returns:
            Where it stands; of no records if *again* will be called instead, `None` if there is no
            room.
        """
        size = len(record)
        if size > SEGMENT_BYTES - START:
            return None
        while True:
            segment = self.segment
            try:
                # One statement without a call, as in `SpoolQueue.put`.
                segment.end, segment.map[start:end] = (end := (start := segment.end) + size), record
            except (IndexError, ValueError, TypeError):
                advanced = self._advance(again)
                if advanced is None:
                    return Span(cast("Segment", segment), 0, 0, 0)
                if not advanced:
                    return None
                continue
            segment.asides += aside
            segment.count = number = segment.count + 1
            if number > segment.alarm:
                self._call(segment)
            return Span(cast("Segment", segment), start, end, 1)

    def _advance(self, again: Callable[[], object]) -> bool | None:
        """Put the next segment in place; False if there is none, `None` if *again* waits."""
        error = None
        with self._rotating:
            if self._changing:
                self._deferred.append(again)
                return None
            self._changing = True
            try:
                advanced = self._change()
            except (OSError, SpoolError) as failure:
                self.failed_at = self._clock.monotonic()
                advanced, error = False, failure
            finally:
                self._changing = False
        while self._deferred:
            self._deferred.popleft()()
        if error is not None:
            self._complain(error)
        self._wake()
        return advanced

    def _change(self) -> bool:
        if self.closed:
            return False
        if isinstance(self.segment, Segment) and self.segment.end <= SEGMENT_BYTES:
            # Somebody else has done it.
            return True
        try:
            fresh = self.spares.popleft()
        except IndexError:
            if self.failed_at is not None or not self.has_room:
                return False
            fresh = self._make()
            self.inline += 1
        full = self.segment
        fresh.touched = self._clock.wall()
        self.segments.append(fresh)
        self.segment = fresh
        if isinstance(full, Segment):
            full.sealed = True
        return True

    def _make(self) -> Segment:
        """Make a segment, and the directory if it is the first."""
        with self._rotating:
            if self.directory is None:
                self.directory = Directory.make(self._parent, self._about)
            directory = self.directory
            number, self._made = self._made, self._made + 1
        return Segment(directory, number)

    @property
    def has_room(self) -> bool:
        """True if one more segment is within the bound."""
        return len(self.segments) + len(self.spares) < max(self.most, FEWEST)

    # -- looking after it: one thread at a time ---------------------------------------------------

    def prepare(self, now: float) -> None:
        """
        Have the next segments ready, and try a disk again that failed.

        Args:
            now: Seconds on the monotonic clock.
        """
        if self.failed_at is not None and now < self.failed_at + PATIENCE:
            return
        if self.failed_at is None and not self.segments:
            # Nothing has come yet, or not since it was tidied.
            return
        try:
            # Whoever closes it may not have waited for this.
            while len(self.spares) < SPARES and self.has_room and not self.closed:
                self.spares.append(self._make())
                self.failed_at = None
        except (OSError, SpoolError) as error:
            self.failed_at = now
            self._complain(error)

    def sync(self) -> None:
        """Wait until all is on the disk that was put so far."""
        for segment in list(self.segments):
            self.sync_one(segment)

    def sync_one(self, segment: Segment) -> None:
        """Wait until one segment is on the disk as it is."""
        if segment.file < 0 or segment.synced >= segment.limit:
            return
        try:
            segment.touched = self._clock.wall()
            os.utime(segment.path, (segment.touched, segment.touched))
            if not segment.synced:
                # Its name is to be found, too.
                _disk.sync_directory(segment.directory.path)
            segment.sync()
        except FileNotFoundError:
            # Somebody has removed the directory. Delivery goes on; the next segment complains.
            segment.synced = segment.limit
        except OSError as error:
            self._complain(error)

    # -- the end ----------------------------------------------------------------------------------

    def seal(self) -> bool:
        """Put nothing more into the segment; False if it is just being changed."""
        with self._rotating:
            if self._changing:
                # This is a signal handler, and the directory is just in use.
                return False
            full, self.segment = self.segment, Nowhere()
            if isinstance(full, Segment):
                full.sealed = True
        return True

    def empty(self) -> None:
        """Delete the spares, and the directory, if nothing else is there."""
        with self._rotating:
            if self.segments:
                return
            while self.spares:
                self.spares.pop().remove()
            directory, self.directory = self.directory, None
        if directory is not None:
            directory.remove()

    def disown(self) -> None:
        """Close everything and let it lie."""
        directory, self.directory = self.directory, None
        self.segment = Nowhere()
        for segment in [*self.segments, *self.spares]:
            segment.close()
        self.spares.clear()
        if directory is not None:
            directory.release()
