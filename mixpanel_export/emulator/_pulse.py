"""How many events arrived in each of the last seconds."""

from __future__ import annotations

from collections.abc import Callable

# As far as the page's chart goes back, in seconds.
HISTORY = 60


class Pulse:
    """
    Counts per second, for as long as the chart is.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._counts: dict[int, int] = {}

    def add(self, events: int) -> None:
        """Count events that arrived now."""
        second = int(self._clock())
        if second not in self._counts:
            start = second - HISTORY
            self._counts = {when: n for when, n in self._counts.items() if when >= start}
        self._counts[second] = self._counts.get(second, 0) + events

    def rate(self) -> float:
        """Return events per second, over the second that ends now."""
        now = self._clock()
        second = int(now)
        still_in_view = 1 - (now - second)
        return self._counts.get(second - 1, 0) * still_in_view + self._counts.get(second, 0)

    def history(self) -> list[int]:
        """Return the counts of the last complete seconds, oldest first."""
        second = int(self._clock())
        return [self._counts.get(when, 0) for when in range(second - HISTORY, second)]

    def reset(self) -> None:
        """Forget everything."""
        self._counts.clear()
