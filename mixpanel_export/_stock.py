"""What waits in files, of this process and of those that are gone: read, settled, deleted."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mixpanel_export._orphan import Orphan
from mixpanel_export._segment import SEGMENT_BYTES, Segment, Span

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable

    from mixpanel_export._chain import Chain


class Stock:
    """
    Segments until they are done with. All of it but `delete` belongs to whoever holds the lock.

    Args:
        chain: The segments of this process.

        lock: The engine's lock, which `delete` takes for moments.

        max_bytes: How much of the disk all of them may take.

        wake: Called when there is something to delete.

        complain: Called with each error of the disk.
    """

    def __init__(
        self,
        chain: Chain,
        *,
        lock: threading.Condition,
        max_bytes: int,
        wake: Callable[[], object],
        complain: Callable[[Exception], object],
    ) -> None:
        self._chain = chain
        self._lock = lock
        self._most = max_bytes // SEGMENT_BYTES
        self._wake = wake
        self._complain = complain
        self.orphans: list[Orphan] = []
        # Done with, to be deleted.
        self._finished: deque[Segment] = deque()
        self._turn = False
        self._divide()

    @property
    def own_events(self) -> int:
        """How many events of this process wait."""
        return sum(segment.unread for segment in self._chain.segments)

    @property
    def adopted_events(self) -> int:
        """How many events of others wait."""
        return sum(orphan.unread for orphan in self.orphans)

    @property
    def bytes(self) -> int:
        """How much is still to be read, in bytes."""
        return sum(segment.unread_bytes for segment in [*self._chain.segments, *self.orphans])

    def in_turn(self) -> list[Segment]:
        """Give all segments, so that neither own nor adopted ones wait for all of the others."""
        self._turn = not self._turn
        own, adopted = self._chain.segments, self.orphans
        return [*adopted, *own] if self._turn else [*own, *adopted]

    def sealed(self) -> list[Segment]:
        """Give those into which nothing more comes, the oldest first."""
        return [*self.orphans, *(each for each in self._chain.segments if each.sealed)]

    def welcome(self, orphan: Orphan) -> None:
        """Add a segment that was adopted; one that holds nothing is deleted."""
        if orphan.count:
            self.orphans.append(orphan)
            self._divide()
            return
        with suppress(OSError):
            orphan.remove()

    def settle(self, spans: Iterable[Span]) -> None:
        """Note on the disk that *spans* are done with."""
        by_segment: dict[Segment, list[Span]] = {}
        for span in spans:
            by_segment.setdefault(span.segment, []).append(span)
        for segment, found in by_segment.items():
            segment.settled += sum(span.lines for span in found)
            try:
                parts = [(each.start, each.stop, each.lines) for each in found]
                segment.directory.settle(segment.number, parts)
            except OSError as error:
                self._complain(error)
            self._finish(segment)

    def finish(self) -> None:
        """Part with what was settled before it was sealed."""
        for segment in list(self._chain.segments):
            self._finish(segment)

    def _finish(self, segment: Segment) -> None:
        if not segment.finished or segment in self._finished:
            return
        among: list[Any] = self.orphans if isinstance(segment, Orphan) else self._chain.segments
        among.remove(segment)
        self._finished.append(segment)
        self._divide()
        self._wake()

    def _divide(self) -> None:
        """Leave to the chain what the orphans do not take."""
        self._chain.most = self._most - len(self.orphans)

    def delete(self) -> bool:
        """Delete what is done with; True if there is a directory less that others left."""
        fewer = False
        while self._finished:
            segment = self._finished.popleft()
            directory = segment.directory
            with suppress(OSError):
                segment.remove()
            with self._lock:
                directory.forget(segment.number)
                others = [*self.orphans, *self._finished]
                last = not any(each.directory is directory for each in others)
            if last and directory is not self._chain.directory:
                directory.remove()
                fewer = True
        return fewer

    def release(self) -> None:
        """Leave what others left to whoever comes."""
        for directory in {orphan.directory for orphan in self.orphans}:
            directory.release()
