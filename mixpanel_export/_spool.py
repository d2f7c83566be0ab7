"""
The queue on disk: what a caller was told is accepted survives the process.

::

    put ──> segment ─┬─> segment ──> take ──> batch ──> release ──> cursor, delete
                     └── the next one is ready       adopted segments ──> take

Memory-mapped segments *are* the queue: `put` writes a record where the kernel keeps it whatever
becomes of the process, and `take` reads it from there. A batch carries its `Places`: when the last
of its lines is delivered, rejected or given up, the cursor says that they are done with. What is
not done with when the process ends, in whatever way, is left to the next process that opens the
directory, or to a sibling that lives.

`put` takes no lock as long as there is room in the segment. When it is full the next one is at
hand, since `keep`, on a thread of its own, prepares it; if not, it is made on the spot. `keep` also
waits for the disk, deletes, adopts and expires.

Where the disk fails, what comes is held in memory as without a spool, with a warning, until the
disk works again. Increments are always held in memory: nobody could know whether to repeat them.
"""

from __future__ import annotations

import _thread
import os
import queue
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

import orjson

from mixpanel_export import _disk
from mixpanel_export._directory import MAX_REJECTED_BYTES, Directory, directory_of
from mixpanel_export._exceptions import SpoolError
from mixpanel_export._queue import MemoryQueue
from mixpanel_export._segment import (
    PREAMBLE,
    SEGMENT_BYTES,
    Orphan,
    Segment,
    Span,
    lane_of,
    number_of,
    record_of,
)
from mixpanel_export._settings import is_loopback
from mixpanel_export._update import Aside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mixpanel_export._clock import Clock
    from mixpanel_export._notice import Notices
    from mixpanel_export._outcome import Rejection
    from mixpanel_export._settings import Settings

#: How many segments are kept ready. Ours: at 40 MB/s one lasts a tenth of a second, about as long
#: as one wait for the disk.
SPARES: Final = 2

#: Seconds between two looks for what others left behind. Ours.
ADOPTION: Final = 5.0

#: How many bytes are adopted at once. Ours: enough to be busy with.
AT_ONCE: Final = 4 * SEGMENT_BYTES

#: So many segments of its own a process may have, whatever it has adopted.
FEWEST: Final = 4

#: Seconds until a disk that failed is tried again.
PATIENCE: Final = 1.0

_NEVER: Final = 1 << 62


@dataclass(slots=True)
class Places:
    """Where the lines of a batch stand on the disk."""

    spans: list[Span]
    left: int
    """How many of the lines are not done with."""

    adopted: bool = False
    """True if another process accepted them."""


class _Nowhere:
    """Stands for a segment where there is none: nothing fits."""

    __slots__ = ("alarm", "asides", "count", "end", "map")

    def __init__(self) -> None:
        self.map = memoryview(b"")
        self.end = self.count = self.asides = self.alarm = 0


class SpoolQueue(MemoryQueue):
    """
    Lines that wait to be sealed into batches, on disk.

    Args:
        settings: The groups "queue", "batch" and "spool", and who and where.

        ring: Wakes the worker; see `MemoryQueue`.

        clock: Where the time comes from.

        notices: Where trouble is told.

        lock: The engine's lock, which `keep` takes for moments.
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
        self._lock = lock
        self._parent = directory_of(settings)
        self._about = {"format": 1, "host": settings.host}
        self._directory: Directory | None = None
        self._numbers = count()
        self._segment: Segment | _Nowhere = _Nowhere()
        # Guards the change of segments. Held while one is made on the spot, never while one is
        # prepared or the disk is waited for. The same thread may come again, from a signal handler
        # or a finaliser: what it brings then waits until the change is made.
        self._rotating = threading.RLock()
        self._changing = False
        self._deferred: deque[Callable[[], bool]] = deque()
        self._spares: deque[Segment] = deque()
        # One at a time looks after the directory.
        self._keeping = _thread.allocate_lock()
        # In their order; each until it is done with.
        self._chain: list[Segment] = []
        self._orphans: list[Orphan] = []
        # Done with, to be deleted.
        self._finished: deque[Segment] = deque()
        self._places: Places | None = None
        self._turn = False
        self._failed_at: float | None = None
        self._closed = False
        self._synced_at = self._looked_at = float("-inf")
        self._strangers: set[str] = set()
        self._told = False
        self._always = settings.spool_sync == "always"
        self.bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._rung = False
        #: How many segments had to be made while a caller waited.
        self.inline = 0
        self.durable = True

    # -- from the callers' threads ----------------------------------------------------------------

    def put(self, line: bytes) -> bool:
        """Add *line*; False if there is no room for it."""
        record = record_of(line)
        size = len(record)
        segment = self._segment
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
        span = self._store(record, lambda: self.put(line))
        if span is None:
            return self._failed_at is not None and super().put(line)
        return True

    def put_aside(self, aside: Aside) -> bool:
        """Add a line of another lane; False if there is no room for it."""
        if not aside.repeatable:
            return super().put_aside(aside)
        record = record_of(aside.line, number_of(aside.lane))
        span = self._store(record, lambda: self.put_aside(aside), aside=True)
        if span is None:
            return self._failed_at is not None and super().put_aside(aside)
        if span.lines:
            self._room -= len(aside.line)
            self._aside.append(aside._replace(place=span))
            self._ring()
        return True

    def _store(
        self, record: bytes, again: Callable[[], bool], *, aside: bool = False
    ) -> Span | None:
        """
        Write *record*, into a new segment if need be.

        Returns:
            Where it stands; of no records if *again* will be called instead, `None` if there is no
            room.
        """
        size = len(record)
        if size > SEGMENT_BYTES - len(PREAMBLE):
            return None
        while True:
            segment = self._segment
            try:
                # As in `put`.
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

    def _call(self, segment: Segment | _Nowhere) -> None:
        segment.alarm = -1 if self._always else _NEVER
        if self._always:
            self._sync(segment)
        self._ring()
        self.wake()

    def _advance(self, again: Callable[[], bool]) -> bool | None:
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
                self._failed_at = self._clock.monotonic()
                advanced, error = False, failure
            finally:
                self._changing = False
        while self._deferred:
            if not self._deferred.popleft()():
                # It was said to be accepted.
                self.shed_events += 1
                self.lost += 1
        if error is not None:
            self._complain(error)
        self.wake()
        return advanced

    def _change(self) -> bool:
        if self._closed:
            return False
        if isinstance(self._segment, Segment) and self._segment.end <= SEGMENT_BYTES:
            # Somebody else has done it.
            return True
        try:
            fresh = self._spares.popleft()
        except IndexError:
            if self._failed_at is not None or not self._has_room():
                return False
            fresh = self._make()
            self.inline += 1
        full = self._segment
        fresh.touched = self._clock.wall()
        self._chain.append(fresh)
        self._segment = fresh
        if isinstance(full, Segment):
            full.sealed = True
        return True

    def _make(self) -> Segment:
        """Make a segment, and the directory if it is the first."""
        return Segment(self._own_directory(), next(self._numbers))

    def _own_directory(self) -> Directory:
        if self._directory is None:
            self._directory = Directory.make(self._parent, self._about)
        return self._directory

    def _has_room(self) -> bool:
        """Say whether one more segment is within the bound."""
        own = len(self._chain) + len(self._spares)
        most = self._settings.spool_max_bytes // SEGMENT_BYTES - len(self._orphans)
        return own < max(most, FEWEST)

    def _complain(self, error: Exception) -> None:
        # The text of an OSError names the path.
        self._notices.warn(
            "spool", f"the spool cannot be used, events are held in memory meanwhile: {error}"
        )

    # -- what waits -------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._lines) + sum(segment.unread for segment in self._chain)

    @property
    def _adopted_events(self) -> int:
        return sum(orphan.unread for orphan in self._orphans)

    @property
    def _disk_bytes(self) -> int:
        return sum(segment.unread_bytes for segment in [*self._chain, *self._orphans])

    @property
    def waiting(self) -> int:
        """The number of all lines that wait."""
        return len(self) + self._adopted_events + len(self._aside)

    @property
    def waiting_bytes(self) -> int:
        """The bytes of the lines that wait."""
        return super().waiting_bytes + self._disk_bytes

    @property
    def held_events(self) -> int:
        """The number of all that is held, taken or not."""
        return self.waiting + self._held_events

    @property
    def held_bytes(self) -> int:
        """The bytes of all that is held, taken or not."""
        return super().held_bytes + self._disk_bytes

    @property
    def full_batch(self) -> bool:
        """True if as much waits as one batch carries, or something that has waited already."""
        return (
            len(self) >= self._batch_events
            or self.waiting_bytes >= self._batch_bytes
            or self._adopted_events > 0
        )

    @property
    def crowded(self) -> bool:
        """Always False: `keep` makes room on the disk."""
        return False

    def arm(self, *, batch: bool) -> None:
        """Say what rings next; see `MemoryQueue.arm`."""
        super().arm(batch=batch)
        segment = self._segment
        if not self._always:
            segment.alarm = segment.count + self._batch_events - len(self) - 1 if batch else 0

    # -- out, and done ----------------------------------------------------------------------------

    def take(self) -> list[bytes]:
        """Take the oldest lines, as many as fit one batch; empty if none wait. They remain held."""
        self._places = None
        self._turn = not self._turn
        sources: Iterable[Segment] = (
            [*self._orphans, *self._chain] if self._turn else [*self._chain, *self._orphans]
        )
        for segment in sources:
            if segment.unread and (lines := self._take_from(segment)):
                return lines
        return super().take()

    def _take_from(self, segment: Segment) -> list[bytes]:
        try:
            lines, spans, damaged = segment.take(self._batch_events, self._batch_bytes - 2)
        except OSError:
            # Somebody has deleted it.
            lines, spans, damaged = [], [], 0
        self.damaged += damaged
        adopted = isinstance(segment, Orphan)
        if not lines:
            # Somebody has written over it. What is missing was accepted, and is no more.
            missing = segment.unread
            segment.taken += missing
            self.lost += missing
            self.shed_events += 0 if adopted else missing
            self._settle([Span(segment, segment.read, segment.read, missing)])
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
                self._settle(places.spans)

    def _settle(self, spans: Iterable[Span]) -> None:
        """Note on the disk that *spans* are done with."""
        parts: dict[Segment, list[Span]] = {}
        for span in spans:
            parts.setdefault(span.segment, []).append(span)
        for segment, found in parts.items():
            segment.settled += sum(span.lines for span in found)
            try:
                stretches = [(each.start, each.stop) for each in found]
                segment.directory.settle(segment.number, stretches)
            except OSError as error:
                self._complain(error)
            self._finish(segment)

    def _finish(self, segment: Segment) -> None:
        if not segment.finished or segment in self._finished:
            return
        own: list[Any] = self._orphans if isinstance(segment, Orphan) else self._chain
        own.remove(segment)
        self._finished.append(segment)
        self.wake()

    # -- looking after the directory --------------------------------------------------------------

    def wake(self) -> None:
        """Have `keep` called soon."""
        if not self._rung:
            self._rung = True
            self.bell.put(None)

    def listen(self, seconds: float) -> None:
        """Wait until it is time for `keep`, at most so long."""
        with suppress(queue.Empty):
            self.bell.get(timeout=seconds)
        self._rung = False

    def keep(self) -> float:
        """
        Do what the disk needs; may take long.

        Returns:
            In how many seconds to come again, unless `wake` is called before.
        """
        if not self._keeping.acquire(blocking=False):
            return PATIENCE
        try:
            return self._keep()
        finally:
            self._keeping.release()

    def adopt(self) -> None:
        """Do the same, and look at once for what others left behind; waits for another `keep`."""
        with self._keeping:
            self._looked_at = float("-inf")
            self._keep()

    def _keep(self) -> float:
        if self._closed:
            return ADOPTION
        now = self._clock.monotonic()
        interval = 0.5 if self._always else float(self._settings.spool_sync)
        self._delete()
        if now >= self._synced_at + interval:
            self._synced_at = now
            for segment in list(self._chain):
                self._sync(segment)
        if now >= self._looked_at + ADOPTION:
            self._looked_at = now
            try:
                self._adopt()
            except OSError as error:
                self._complain(error)
        with self._lock:
            for segment in list(self._chain):
                # Everything may have been settled before it was sealed.
                self._finish(segment)
            self._shed()
        self._prepare(now)
        return interval if self.held_events or self._failed_at is not None else ADOPTION

    def _sync(self, segment: Any) -> None:  # noqa: ANN401 -- a segment, or nowhere
        if segment.synced >= segment.limit:
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

    def _prepare(self, now: float) -> None:
        """Have the next segments ready, and try a disk again that failed."""
        if self._failed_at is not None and now < self._failed_at + PATIENCE:
            return
        if self._failed_at is None and not self._chain:
            # Nothing has come yet, or not since it was tidied.
            return
        try:
            while len(self._spares) < SPARES and self._has_room():
                with self._rotating:
                    directory = self._own_directory()
                self._spares.append(Segment(directory, next(self._numbers)))
                self._failed_at = None
        except (OSError, SpoolError) as error:
            self._failed_at = now
            self._complain(error)

    def _delete(self) -> None:
        while self._finished:
            segment = self._finished.popleft()
            directory = segment.directory
            with suppress(OSError):
                segment.remove()
            with self._lock:
                directory.forget(segment.number)
                last = directory is not self._directory and not any(
                    orphan.directory is directory for orphan in [*self._orphans, *self._finished]
                )
            if last:
                directory.remove()
                self._looked_at = float("-inf")

    # -- adoption ---------------------------------------------------------------------------------

    def _adopt(self) -> None:
        """Take over what processes left that are gone, a few megabytes at a time."""
        if not os.path.isdir(self._parent):
            return
        parent = self._parent
        self._tell_of_others(parent)
        for name in sorted(os.listdir(parent)):
            if sum(orphan.unread_bytes for orphan in self._orphans) >= AT_ONCE:
                # When these are delivered it is looked for more.
                return
            path = os.path.join(parent, name)
            if name in self._strangers or name.startswith(".") or not os.path.isdir(path):
                continue
            directory = Directory.adopt(path)
            if directory is None:
                continue
            if not self._is_for_us(directory.about):
                self._strangers.add(name)
                directory.release()
                continue
            try:
                orphans = [
                    Orphan(directory, number, directory.settled.get(number, ()))
                    for number in directory.numbers
                ]
            except FileNotFoundError:
                # A sibling was quicker, and has done with it.
                directory.release()
                continue
            except (OSError, ValueError) as error:
                self._strangers.add(name)
                directory.release()
                self._notices.warn("adoption", f"{path} was left alone: {error}")
                continue
            with self._lock:
                self._welcome(orphans)
                empty = not any(orphan.directory is directory for orphan in self._orphans)
            if empty:
                directory.remove()
            else:
                self._ring()

    def _tell_of_others(self, parent: str) -> None:
        root, ours = os.path.split(parent)
        others = [name for name in os.listdir(root) if name != ours]
        left = sum(
            entry.is_dir() and not entry.name.startswith(".")
            for name in others
            if os.path.isdir(os.path.join(root, name))
            for entry in os.scandir(os.path.join(root, name))
        )
        if left and not self._told:
            self._told = True
            self._notices.warn(
                "others", f"{root} holds {left} directories of other projects; they are left alone"
            )

    def _is_for_us(self, about: dict[str, Any]) -> bool:
        """Say whether lines that were queued for another host may go to ours."""
        theirs, ours = about.get("host"), self._settings.host
        hosts = [urlsplit(host).hostname or "" for host in (str(theirs), ours)]
        return theirs == ours or not any(map(is_loopback, hosts))

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
            if orphan.count:
                self._orphans.append(orphan)
            else:
                with suppress(OSError):
                    orphan.remove()
        # To the front: they were said before what waits here.
        self._aside.extendleft(reversed(asides))
        self.shed_aside -= len(asides)

    # -- giving up --------------------------------------------------------------------------------

    def _shed(self) -> None:
        """Give up what is too old, and the oldest where there is no room, if that is the policy."""
        oldest = self._clock.wall() - self._settings.spool_max_age
        sealed = [segment for segment in self._chain if segment.sealed]
        for segment in [*self._orphans, *sealed]:
            if segment.touched < oldest:
                self.expired += self._give_up(segment)
        if self._settings.overflow != "drop_oldest" or self._spares or self._has_room():
            return
        for segment in [*self._orphans, *sealed]:
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
        self._settle(spans)
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
        with self._rotating:
            if self._changing:
                # This is a signal handler, and the directory is just in use.
                return
            full, self._segment = self._segment, _Nowhere()
            if isinstance(full, Segment):
                full.sealed = True
        # Whoever keeps may be at rest too.
        self.wake()
        if not self._keeping.acquire(timeout=PATIENCE):
            return
        try:
            self._empty()
        finally:
            self._keeping.release()

    def _empty(self) -> None:
        with self._lock:
            for segment in list(self._chain):
                self._finish(segment)
        self._delete()
        with self._rotating:
            if self._chain:
                return
            while self._spares:
                self._spares.pop().remove()
            directory, self._directory = self._directory, None
        if directory is not None:
            directory.remove()

    def close(self) -> None:
        """End for good; what is left, others may take over."""
        self._closed = True
        self.tidy()
        for segment in self._chain:
            if segment.file >= 0:
                self._sync(segment)
        self.disown()

    def disown(self) -> None:
        """Close everything and let it lie: in a forked child it is the parent's."""
        directories = {orphan.directory for orphan in self._orphans}
        if self._directory is not None:
            directories.add(self._directory)
        self._directory = None
        self._segment = _Nowhere()
        for segment in [*self._chain, *self._spares]:
            segment.close()
        self._spares.clear()
        for directory in directories:
            directory.release()

    def bury(self, rejections: Iterable[Rejection]) -> None:
        """Keep what Mixpanel rejected, with its reason, for whoever wants to look."""
        lines = [
            orjson.dumps({"message": each.message, "field": each.field})[:-1]
            + b',"line":'
            + each.line
            + b"}\n"
            for each in rejections
        ]
        path = os.path.join(self._parent, "rejected.jsonl")
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                os.write(file, b"".join(lines))
                size = os.fstat(file).st_size
            finally:
                os.close(file)
            if size > MAX_REJECTED_BYTES:
                os.replace(path, os.path.join(self._parent, "rejected.1.jsonl"))
        except OSError as error:
            self._complain(error)
