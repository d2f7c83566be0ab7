"""What became of each record, and how far it is."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Final

#: Why a record that is fine was not sent, by its name in the books, and in words.
LEFT_OUT: Final = {
    "outside": "before --since or from --until on",
    "sampled": "not in the sample",
    "transform": "left out by the transform",
}

# What becomes of a record, in the end; an update of a profile counts as one.
_ENDS: Final = ("delivered", "rejected", "invalid", "abandoned", *LEFT_OUT)

# The rate is that of the last so many seconds.
_RECENT: Final = 5.0


class Books:
    """
    Counts; safe to use from several threads.

    Args:
        sizes: The bytes of each source; None for one of which nobody knows.
    """

    def __init__(self, sizes: Sequence[int | None] = ()) -> None:
        #: What earlier runs of the same import had settled.
        self.before: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._hints: dict[str, tuple[str, int]] = {}
        self._started = time.monotonic()
        self._recent: deque[tuple[float, int]] = deque([(self._started, 0)])
        #: How many requests brought no verdict.
        self.retries = 0
        self.requests = 0
        #: The bytes of all sources, None if nobody knows, and of those how many were read.
        self.size = None if None in sizes else sum(size or 0 for size in sizes)
        self.position = 0
        #: What stands in the way at the moment; empty if nothing does.
        self.trouble = ""

    def settle(self, counts: Mapping[str, int]) -> None:
        """Count what became of some records."""
        with self._lock:
            self._counts.update(counts)

    def advance(self, size: int) -> None:
        """Note that so many bytes more of the sources were read."""
        self.position += size

    def hint(self, kind: str, text: str) -> None:
        """Remember what a user should know, once for each kind, and how often it happened."""
        with self._lock:
            self._hints[kind] = (text, self._hints.get(kind, ("", 0))[1] + 1)

    @property
    def hints(self) -> list[tuple[str, int]]:
        """What a user should know, and how often."""
        return list(self._hints.values())

    @property
    def counts(self) -> Counter[str]:
        """What became of records, with those of earlier runs."""
        with self._lock:
            return self.before + self._counts

    @property
    def settled(self) -> int:
        """How many records were settled, with those of earlier runs."""
        counts = self.counts
        return sum(counts[end] for end in _ENDS)

    @property
    def seconds(self) -> float:
        """How long it has taken."""
        return time.monotonic() - self._started

    @property
    def average(self) -> float:
        """Records per second, since the start."""
        return (self.settled - sum(self.before[end] for end in _ENDS)) / max(self.seconds, 0.001)

    def rate(self) -> float:
        """Say how many records were settled per second, since it was asked five seconds ago."""
        now, settled = time.monotonic(), self.settled
        if len(self._recent) == 1:
            self._recent[0] = (self._started, sum(self.before[end] for end in _ENDS))
        self._recent.append((now, settled))
        while len(self._recent) > 2 and self._recent[0][0] < now - _RECENT:
            self._recent.popleft()
        then, before = self._recent[0]
        return (settled - before) / max(now - then, 0.001)

    @property
    def left(self) -> float | None:
        """How many seconds it will still take; None if nobody can say."""
        if not self.size or not self.position or self.position > self.size:
            return None
        return self.seconds * (self.size - self.position) / self.position
