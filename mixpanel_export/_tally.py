"""Counting without a lock."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Tally:
    """
    A counter that any thread may bump, also from a signal handler or a finaliser.

    A lock there could deadlock with itself, and ``n += 1`` can lose a step between two threads.
    ``next()`` of an `itertools.count` is one call into C that nothing interrupts. Reading it is a
    step too, so the reads are counted, under a lock, and taken off again.
    """

    __slots__ = ("_lock", "_reads", "bump")

    bump: Callable[[], int]
    """Count one more. The value that it returns has no meaning."""

    def __init__(self) -> None:
        self.bump = itertools.count().__next__
        # Guards the pair of a read and its being counted. Never taken to bump.
        self._lock = threading.RLock()
        self._reads = 0

    @property
    def value(self) -> int:
        """How often `bump` was called."""
        with self._lock:
            steps = self.bump()
            self._reads += 1
            return steps - self._reads + 1
