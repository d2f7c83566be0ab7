"""
What is settled, on disk, so that a run can go on where another ended, however that ended.

A line of JSON is appended when a parcel is settled, after its rejected records were written to a
file of their own. A process may be killed between any two bytes of that: a line that is not whole
does not count, and neither does what the other file has grown by since the last whole line. So what
was under way is done again, and nothing else.
"""

from __future__ import annotations

import fcntl
import os
import threading
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any, Final, cast

import orjson

from mixpanel_export.cli.backfill._parcel import place, source_of
from mixpanel_export.cli.backfill._pieces import Chunk
from mixpanel_export.cli.backfill._sources import Source, digest
from mixpanel_export.cli.backfill._trouble import Unusable

_VERSION: Final = 1


class Journal:
    """
    The state of an import.

    Args:
        path: Its file; it is made if it is not there.

        key: What this import is, as opposed to others.

        rejected: The file of rejected records.

        restart: Whether to forget what was settled before.

    Raises:
        Unusable: If the file is of another import, or in use, or cannot be written.
    """

    def __init__(self, path: Path, key: str, rejected: Path, *, restart: bool) -> None:
        self._path = path
        #: What became of the records of earlier runs.
        self.counts: Counter[str] = Counter()
        self._sources: dict[str, dict[str, Any]] = {}
        self._ends: dict[int, tuple[int, int | None]] = {}
        self._runs: dict[int, list[tuple[int, int]]] = {}
        self._next = 0
        # Guards both files.
        self._lock = threading.Lock()
        with ExitStack() as opened:
            try:
                self._file = opened.enter_context(_open(path, "a+b"))
                size = self._read(key, restart=restart)
                self._rejected = opened.enter_context(_open(rejected, "ab"))
                self._rejected.truncate(min(size, self._rejected.tell()))
            except OSError as error:
                raise Unusable(f"{error.filename or path}: {error.strerror}") from error
            self._close = opened.pop_all().close

    def _read(self, key: str, *, restart: bool) -> int:
        """Read what is there; returns how long the file of rejected records was then."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unusable(f"{self._path}: another import is under way with this state") from None
        if restart:
            self._file.truncate(0)
        self._file.seek(0)
        *lines, rest = self._file.read().split(b"\n")
        # What is not whole was being written when the process was killed.
        self._file.truncate(self._file.tell() - len(rest))
        entries = [orjson.loads(line) for line in lines]
        ours = {"import": key, "version": _VERSION}
        if not entries:
            self._append(ours)
        elif entries[0] != ours:
            raise Unusable(
                f"{self._path}: this is the state of another import, to another project or with"
                " other options; name another file with --state, or forget it with --restart"
            )
        for entry in entries:
            self._take(entry)
        self._runs = {index: _merged(runs) for index, runs in self._runs.items()}
        return max((entry.get("rejected", 0) for entry in entries), default=0)

    def _take(self, entry: Mapping[str, Any]) -> None:
        if "source" in entry:
            self._sources[entry["source"]] = dict(entry)
            self._next = max(self._next, entry["index"] + 1)
        if "end" in entry:
            self._ends[entry["index"]] = (entry["end"], entry["size"])
        for start, end in entry.get("settled", ()):
            self._runs.setdefault(source_of(start), []).append((start, end))
        self.counts.update(entry.get("counts", {}))

    def _append(self, entry: Mapping[str, Any]) -> None:
        # One write, so that there is no half of it unless this process is killed in the middle.
        self._file.write(orjson.dumps(entry) + b"\n")

    def index(self, source: Source) -> int:
        """
        Give the number that stands for *source*, the one that it had if it is still the same.

        It is if it begins as it did; what was appended is new.

        Raises:
            Damage: If it cannot be read.
        """
        known = self._sources.get(source.name)
        head = source.head() if source.repeatable else b""
        if known and source.repeatable and known["head"] == digest(head[: known["length"]]):
            return cast("int", known["index"])
        with self._lock:
            index = self._next
            self._next += 1
            entry = {"source": source.name, "index": index}
            self._sources[source.name] = {**entry, "length": len(head), "head": digest(head)}
            self._append(self._sources[source.name])
        return index

    def is_done(self, index: int, size: int | None) -> bool:
        """Say whether everything in a source of this *size*, in bytes, was settled before."""
        end, before = self._ends.get(index, (0, None))
        if not end or size is None or size != before:
            return False
        first, last = place(index, 1), place(index, end)
        return first == last or any(
            start <= first and last <= stop for start, stop in self._runs.get(index, ())
        )

    def note_end(self, index: int, end: int, size: int | None) -> None:
        """Note that the source was read to its end: what comes after its last record is *end*."""
        with self._lock:
            self._append({"index": index, "end": end, "size": size})

    def remaining(self, index: int, chunk: Chunk) -> Chunk | None:
        """Leave out what was settled before; None if that is all."""
        runs = self._runs.get(index)
        if not runs:
            return chunk
        places = [place(index, number) for number in chunk.numbers]
        starts = [start for start, _ in runs]

        def is_settled(where: int) -> bool:
            found = bisect_right(starts, where) - 1
            return found >= 0 and where < runs[found][1]

        kept = [at for at, where in enumerate(places) if not is_settled(where)]
        if not kept:
            return None
        if len(kept) == len(places):
            return chunk
        return Chunk(
            [chunk.items[at] for at in kept], [chunk.numbers[at] for at in kept], chunk.end
        )

    def settle(
        self,
        runs: Sequence[Sequence[int]],
        counts: Mapping[str, int],
        rejected: Sequence[Mapping[str, Any]],
    ) -> None:
        """
        Note that records are settled.

        Args:
            runs: Their places: from, to.

            counts: What became of them.

            rejected: What is written to the file of rejected records.

        Raises:
            OSError: If that is not possible.
        """
        with self._lock:
            if rejected:
                self._rejected.write(b"".join(orjson.dumps(each) + b"\n" for each in rejected))
            size = self._rejected.tell()
            self._append({"settled": runs, "counts": counts, "rejected": size})

    def close(self) -> None:
        """Close both files, and remove that of rejected records if there are none."""
        with self._lock:
            if self._rejected.tell() == 0:
                Path(self._rejected.name).unlink(missing_ok=True)
            self._close()


def _open(path: Path, mode: str) -> FileIO:
    # Anybody's data are written to these files: nobody else is to read them.
    opener = partial(os.open, mode=0o600)
    return cast("FileIO", open(path, mode, buffering=0, opener=opener))


def _merged(runs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Put together runs that touch or overlap."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(runs):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found
