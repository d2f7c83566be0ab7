"""The limit of events and bytes in a rolling window."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable


class RateWindow:
    """
    What one project sent during the last *window* seconds, and whether more fits.

    A request either fits entirely or is refused entirely, and a refused one does not count. One
    that is bigger than the whole limit passes when the window is empty, so that a small limit
    slows a sender down and never locks it out.

    Args:
        max_events: Events in a window. 0: no limit, of bytes neither.

        max_bytes: Uncompressed bytes in a window.

        window: Its length in seconds.

        clock: Monotonic seconds.
    """

    def __init__(
        self, *, max_events: int, max_bytes: int, window: float, clock: Callable[[], float]
    ) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._window = window
        self._clock = clock
        self._admitted: deque[tuple[float, int, int]] = deque()
        self._events = 0
        self._bytes = 0

    def admit(self, events: int, size: int) -> bool:
        """Count a request of *events* and *size* bytes, or say that it exceeds the limit."""
        if not self._max_events:
            return True
        now = self._clock()
        self._forget_before(now - self._window)
        full = self._events + events > self._max_events or self._bytes + size > self._max_bytes
        if full and self._admitted:
            return False
        self._admitted.append((now, events, size))
        self._events += events
        self._bytes += size
        return True

    def reset(self) -> None:
        """Forget what was admitted."""
        self._admitted.clear()
        self._events = self._bytes = 0

    def _forget_before(self, start: float) -> None:
        while self._admitted and self._admitted[0][0] <= start:
            _, events, size = self._admitted.popleft()
            self._events -= events
            self._bytes -= size
