"""
A segment: one file of records, each a line with a checksum.

::

    MXSPOOL 1 | mark | magic lane size crc line | magic lane size crc line | … | zeros

A record is written by one statement in which CPython lets neither another thread nor a signal come
in. A process that is killed in the middle of it leaves a record that fails its checksum, and whose
`emit` never returned.

The mark says how many records stood up to which place when somebody last looked. So whoever finds
damage later knows how many it has cost, even where a whole page is gone.
"""

from __future__ import annotations

import os
from mmap import mmap
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple
from zlib import crc32

from mixpanel_export import _disk
from mixpanel_export._batch import Lane

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mixpanel_export._directory import Directory

#: The bytes of one file. Small enough to be prepared in a millisecond and deleted soon after its
#: events are delivered, large enough that a file is no more than four batches. Ours.
SEGMENT_BYTES: Final = 4 * 1024 * 1024

#: How a file begins; the last byte is the version of the format.
PREAMBLE: Final = b"MXSPOOL\x01".ljust(16, b"\0")

# Where the mark stands: an end, a count, and the checksum of both.
_MARK: Final = slice(len(PREAMBLE), len(PREAMBLE) + 12)
_pair: Final = Struct("<II")

#: Where the first record stands.
START: Final = len(PREAMBLE) + 16

# JSON holds no control character, and with the lane behind it this is one: so it is never found
# inside a line.
_MAGIC: Final = b"\x9dMX"
_RECORD: Final = Struct("<3sBII")
_pack: Final = _RECORD.pack
_unpack: Final = _RECORD.unpack_from

#: What a record takes beside its line.
FRAME: Final = _RECORD.size

#: The number of the events' lane in a record; `/import` or `/track` is decided when they are sent.
EVENT: Final = 0

_LANES: Final = (None, Lane.IDENTITY, Lane.ENGAGE, Lane.GROUPS)

#: In place of a lane: what stands here is no record.
DAMAGED: Final = -1

# So many pages are touched in one step, which holds Python's global lock.
_PAGE: Final = 4096
_STEP: Final = 64 * _PAGE


def number_of(lane: Lane) -> int:
    """Give the number of a lane in a record."""
    return _LANES.index(lane)


def lane_of(number: int) -> Lane:
    """Give the lane, not the events', of a number in a record."""
    lane = _LANES[number]
    assert lane is not None  # noqa: S101 -- `walk` gives no others, and events are told apart
    return lane


def record_of(line: bytes, lane: int = EVENT) -> bytes:
    """Make the record of a line."""
    return _pack(_MAGIC, lane, len(line), crc32(line, lane)) + line


# What `walk` finds: the number of the lane or `DAMAGED`, the line, where it starts and stops. A
# plain tuple, since there are millions after a long night.
Found = tuple[int, bytes, int, int]


def walk(data: bytes | mmap, start: int, stop: int) -> Iterator[Found]:
    """
    Go from record to record between *start* and *stop*.

    A record that fails its checksum, and whatever else does not belong there, comes as `DAMAGED`,
    up to the next place where a record may begin. Zeros up to the end are no damage.
    """
    while start + FRAME <= stop:
        magic, lane, size, crc = _unpack(data, start)
        begin = start + FRAME
        end = begin + size
        if magic == _MAGIC and end <= stop and lane < len(_LANES):
            line = data[begin:end]
            if crc32(line, lane) == crc:
                yield lane, line, start, end
                start = end
                continue
        found = data.find(_MAGIC, start + 1, stop)
        end = stop if found < 0 else found
        if found >= 0 or data[start:stop].strip(b"\0"):
            yield DAMAGED, b"", start, end
        start = end


def mark_of(data: bytes) -> tuple[int, int] | None:
    """Give the mark of a file: an end, and how many records stood before it; `None` without."""
    mark = data[_MARK]
    if len(mark) < 12 or crc32(mark[:8]).to_bytes(4, "little") != mark[8:]:
        return None
    end, count = _pair.unpack(mark[:8])
    return end, count


class Span(NamedTuple):
    """Records that stand side by side in one segment."""

    segment: Segment
    start: int
    stop: int
    lines: int


def gather(
    segment: Segment, data: bytes | mmap, part: tuple[int, int], most: int, room: int
) -> tuple[list[bytes], list[Span], int]:
    """Read events; give the lines, where they stand, and where to go on."""
    start, stop = part
    lines: list[bytes] = []
    spans: list[Span] = []
    count = 0
    end = start
    for lane, line, begin, finish in walk(data, start, stop):
        if lane == EVENT:
            # A comma and a line break go between them.
            room -= len(line) + 2
            if lines and (len(lines) == most or room < 0):
                stop = begin
                break
            lines.append(line)
            if not count:
                start = begin
            count += 1
            end = finish
            continue
        if count:
            spans.append(Span(segment, start, end, count))
            count = 0
    if count:
        spans.append(Span(segment, start, end, count))
    return lines, spans, stop


class Segment:
    """
    A segment that this process fills and reads, or that a dead one left: see `Orphan`.

    `end`, `count` and `asides` belong to those who put, all else to whoever holds the engine's
    lock.

    Args:
        directory: Where it is.

        number: Which of its directory's files it is.

    Raises:
        OSError: If the file cannot be made.
    """

    __slots__ = (
        "alarm",
        "asides",
        "count",
        "directory",
        "end",
        "file",
        "map",
        "number",
        "path",
        "read",
        "sealed",
        "settled",
        "synced",
        "taken",
        "touched",
    )

    map: mmap

    def __init__(self, directory: Directory, number: int) -> None:
        self.directory = directory
        self.number = number
        self.path = os.path.join(directory.path, f"{number:08}.seg")
        self.file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            _disk.allocate(self.file, SEGMENT_BYTES)
            self.map = mmap(self.file, SEGMENT_BYTES)
            for start in range(0, SEGMENT_BYTES, _STEP):
                # Otherwise whoever comes first to a page waits for it.
                self.map[start : start + _STEP : _PAGE] = bytes(_STEP // _PAGE)
        except BaseException:
            os.close(self.file)
            os.unlink(self.path)
            raise
        self.map[: len(PREAMBLE)] = PREAMBLE
        #: Where the next record goes; beyond the end of the file once one did not fit.
        self.end = START
        #: How many records were put, how many of them not events, and a count that rings.
        self.count = 0
        self.asides = 0
        self.alarm = 0
        #: Where to read on; how many events were read; how many records are done with.
        self.read = START
        self.taken = 0
        self.settled = 0
        #: True when no more records come.
        self.sealed = False
        #: Up to where it is on the disk, and when it was written to last, by the wall clock.
        self.synced = 0
        self.touched = 0.0

    @property
    def limit(self) -> int:
        """Up to where records may stand."""
        return min(self.end, SEGMENT_BYTES)

    @property
    def unread(self) -> int:
        """How many events were not taken yet."""
        return self.count - self.asides - self.taken

    @property
    def unread_bytes(self) -> int:
        """How much of the file is still to be read."""
        return max(0, self.limit - self.read)

    @property
    def finished(self) -> bool:
        """True if all its records are done with."""
        return self.sealed and self.settled >= self.count

    def mark(self) -> int:
        """Write down how many records there are, and return up to where."""
        # One statement without a call: no record comes between the two.
        end, count = self.end, self.count
        end = min(end, SEGMENT_BYTES)
        mark = _pair.pack(end, count)
        self.map[_MARK] = mark + crc32(mark).to_bytes(4, "little")
        return end

    def take(self, most: int, room: int) -> tuple[list[bytes], list[Span]]:
        """
        Read the next events.

        Args:
            most: How many at most.

            room: How many bytes of JSON at most, unless the first takes more.

        Returns:
            The lines, and where they stand. None, though some are unread, if these were damaged.
        """
        # Not beyond the mark: what is settled is part of what it counts.
        part = self.read, self.mark()
        lines, spans, self.read = gather(self, self.map, part, most, room)
        self.taken += len(lines)
        return lines, spans

    def sync(self) -> None:
        """
        Wait until it is on the disk.

        Raises:
            OSError: If the disk fails.
        """
        limit = self.mark()
        _disk.sync(self.file)
        self.synced = limit

    def close(self) -> None:
        """Close it; the file remains. Idempotent."""
        if self.file >= 0:
            self.map.close()
            os.close(self.file)
            self.file = -1

    def remove(self) -> None:
        """Close and delete it."""
        self.close()
        Path(self.path).unlink(missing_ok=True)
