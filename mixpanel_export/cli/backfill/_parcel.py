"""Lines -> parcels: as much as one request may carry, and which records it settles."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Final

from mixpanel_export._batch import LINE_COST, Lane
from mixpanel_export._limits import MAX_REQUEST_UPDATES
from mixpanel_export._update import Aside
from mixpanel_export.cli.backfill._trouble import Fault

# A place is the index of its source and a record's number in one integer: thousands are held.
_SHIFT: Final = 40

# So many records that are not sent are settled at once if there are no others.
_MOST_SETTLED: Final = 10_000


def place(source: int, number: int) -> int:
    """Give the place of a record."""
    return source << _SHIFT | number


def source_of(where: int) -> int:
    """Give the index of the source of a place."""
    return where >> _SHIFT


def number_of(where: int) -> int:
    """Give the number of a record in its source."""
    return where & ((1 << _SHIFT) - 1)


@dataclass
class Parcel:
    """What is sent in one request, and what is settled with it."""

    lane: Lane = Lane.IMPORT
    repeatable: bool = True
    lines: list[bytes] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    """Where each line's record is."""

    runs: list[list[int]] = field(default_factory=list)
    """The places that are settled with it: from, to, the latter not included."""

    counts: Counter[str] = field(default_factory=Counter)
    """What became of records that are not sent."""

    faults: list[tuple[int, Fault]] = field(default_factory=list)
    size: int = 0

    def settles(self, start: int, end: int) -> None:
        """Note that records are settled with it."""
        if self.runs and self.runs[-1][1] == start:
            self.runs[-1][1] = end
        else:
            self.runs.append([start, end])

    @property
    def settled(self) -> int:
        """How many records it settles, about."""
        return sum(end - start for start, end in self.runs)


class Packer:
    """
    Fills parcels.

    Args:
        max_events: How many events one may hold.

        max_bytes: How many bytes, as an array of JSON.

        emit: Called with each that is full; may block.
    """

    def __init__(self, max_events: int, max_bytes: int, emit: Callable[[Parcel], object]) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._emit = emit
        self._open: dict[Lane, Parcel] = {}

    def add(self, source: int, numbers: Sequence[int], end: int, results: Sequence[Any]) -> None:
        """
        Take what became of records that stand one after the other.

        Args:
            source: The index of their source.

            numbers: Their numbers.

            end: The number of whatever comes next.

            results: A line for /import, lines for other ways, a fault, why it is left out, or None.
        """
        shift = place(source, 0)
        places = [shift + number for number in numbers]
        if set(map(type, results)) <= {bytes}:
            self._add_lines(results, places, shift + end)
            return
        for result, start, until in zip(results, places, [*places[1:], shift + end], strict=True):
            if type(result) is bytes:
                self._add_lines([result], [start], until)
            elif type(result) is tuple:
                self._add_asides(result, start, until)
            else:
                self._settle(result, start, until)

    def flush(self) -> None:
        """Give away what is there."""
        for parcel in list(self._open.values()):
            self._close(parcel)

    def _parcel(self, lane: Lane = Lane.IMPORT, *, repeatable: bool = True) -> Parcel:
        parcel = self._open.get(lane)
        if parcel is not None and parcel.repeatable != repeatable:
            # Updates keep their order, so this one cannot wait for more of its kind.
            self._close(parcel)
            parcel = None
        if parcel is None:
            parcel = self._open[lane] = Parcel(lane, repeatable)
        return parcel

    def _close(self, parcel: Parcel) -> None:
        del self._open[parcel.lane]
        self._emit(parcel)

    def _add_lines(self, lines: Sequence[bytes], places: list[int], end: int) -> None:
        start = 0
        while start < len(lines):
            parcel = self._parcel()
            count = self._fill(parcel, lines[start : start + self._max_events - len(parcel.lines)])
            if count:
                stop = start + count
                parcel.lines += lines[start:stop]
                parcel.places += places[start:stop]
                parcel.settles(places[start], places[stop] if stop < len(places) else end)
                start = stop
            if not count or len(parcel.lines) >= self._max_events:
                self._close(parcel)

    def _fill(self, parcel: Parcel, lines: Sequence[bytes]) -> int:
        """Say how many of *lines* have room; at least one if there is none in it yet."""
        room = self._max_bytes - parcel.size
        size = sum(map(len, lines)) + LINE_COST * len(lines)
        count = len(lines)
        if size > room:
            ends = list(accumulate(len(line) + LINE_COST for line in lines))
            count = max(bisect_right(ends, room), 0 if parcel.lines else 1)
            size = ends[count - 1] if count else 0
        parcel.size += size
        return count

    def _add_asides(self, asides: tuple[Aside, ...], start: int, end: int) -> None:
        """Take the lines of one record, which stay together: it is settled with all of them."""
        lane, repeatable = asides[0].lane, all(aside.repeatable for aside in asides)
        most = self._max_events if lane is Lane.IDENTITY else MAX_REQUEST_UPDATES
        lines = [aside.line for aside in asides]
        size = sum(map(len, lines)) + LINE_COST * len(lines)
        parcel = self._parcel(lane, repeatable=repeatable)
        if parcel.lines and (
            len(parcel.lines) + len(lines) > most or parcel.size + size > self._max_bytes
        ):
            self._close(parcel)
            parcel = self._parcel(lane, repeatable=repeatable)
        parcel.lines += lines
        parcel.places += [start] * len(lines)
        parcel.size += size
        parcel.settles(start, end)

    def _settle(self, result: Fault | str | None, start: int, end: int) -> None:
        parcel = self._parcel()
        parcel.settles(start, end)
        if isinstance(result, Fault):
            parcel.faults.append((start, result))
            parcel.counts["invalid"] += 1
        elif result is not None:
            parcel.counts[result] += 1
        if len(parcel.faults) >= self._max_events or parcel.settled >= _MOST_SETTLED:
            self._close(parcel)
