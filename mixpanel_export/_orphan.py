"""A segment that a dead process left: surveyed when it is found, read when there is time."""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING

from mixpanel_export._segment import (
    DAMAGED,
    EVENT,
    PREAMBLE,
    SEGMENT_BYTES,
    START,
    Found,
    Segment,
    Span,
    gather,
    mark_of,
    walk,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mixpanel_export._directory import Directory, Part


class Orphan(Segment):
    """
    A segment that a dead process left.

    It is read, not mapped: whoever cuts a mapped file short kills those who look at it.

    Args:
        directory: Where it is.

        number: Which of its directory's files it is.

        settled: The parts that are done with: where they start and stop, and how many records these
            were.

    Raises:
        OSError: If it cannot be read.

        ValueError: If it is of a format that is not known here.
    """

    __slots__ = ("_data", "_gaps", "asides_found", "damaged", "stop")

    def __init__(self, directory: Directory, number: int, settled: Iterable[Part]) -> None:
        self.directory = directory
        self.number = number
        self.path = os.path.join(directory.path, f"{number:08}.seg")
        self.touched = os.stat(self.path).st_mtime
        data = self._load()
        size = len(data)
        #: What goes by other lanes.
        self.asides_found: list[Found] = []
        #: How many records fail their checksum; of those that were put after the last mark, how
        #: many places.
        self.damaged = 0
        self.count = self.asides = self.taken = self.settled = 0
        self.alarm = 0
        self.sealed = True
        self.synced = self.end = self.read = self.stop = 0
        self._data: bytes | None = None
        self._gaps: deque[tuple[int, int]] = deque()
        known = data[:8] == PREAMBLE[:8]
        if not known and data[:7] == PREAMBLE[:7] and data[7:8] > PREAMBLE[7:8]:
            raise ValueError("it was written by a newer version")
        begin = START if known else 0
        done = 0
        for start, stop, lines in [*settled, (size, size, 0)]:
            done += lines
            if begin < start:
                self._gaps.append((begin, min(start, size)))
            begin = max(begin, stop)
        mark = mark_of(data)
        end, count = mark or (0, 0)
        sound = sum(self._survey(data, gap, end) for gap in self._gaps)
        self.damaged += max(0, count - done - sound)
        if mark is None and (not known or size < SEGMENT_BYTES):
            # One that could not be made is no damage.
            self.damaged += data.strip(b"\0") != b""

    def _survey(self, data: bytes, gap: tuple[int, int], mark: int) -> int:
        """Count what is in a gap between what is settled; say how much of it is before *mark*."""
        count = size = sound = 0
        for found in walk(data, *gap):
            lane, _, start, stop = found
            if lane == DAMAGED:
                self.damaged += start >= mark
                continue
            count += 1
            size += stop - start
            sound += start < mark
            if lane != EVENT:
                self.asides += 1
                self.asides_found.append(found)
        self.count += count
        self.end += size
        return sound

    def _load(self) -> bytes:
        with open(self.path, "rb") as file:
            return file.read(SEGMENT_BYTES)

    @property
    def limit(self) -> int:
        """Up to where records may stand."""
        return SEGMENT_BYTES

    @property
    def unread_bytes(self) -> int:
        """About how many bytes are still to be read."""
        return self.end * self.unread // max(1, self.count)

    def take(self, most: int, room: int) -> tuple[list[bytes], list[Span]]:
        """Read the next events; see `Segment.take`."""
        lines: list[bytes] = []
        spans: list[Span] = []
        data = self._data = self._load() if self._data is None else self._data
        while not lines and (self.read < self.stop or self._gaps):
            if self.read >= self.stop:
                self.read, self.stop = self._gaps.popleft()
            part = self.read, self.stop
            lines, spans, self.read = gather(self, data, part, most, room)
        self.taken += len(lines)
        if not self.unread:
            self._data = None
        return lines, spans

    def close(self) -> None:
        """Nothing is open."""

    def sync(self) -> None:
        """Nothing is written."""
