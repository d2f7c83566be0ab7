"""Time as a collaborator: what the clocks say, how to wait, and how long is left."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    import threading


class Clock(Protocol):
    """
    What the engine asks of time.

    Everything that waits or measures takes a clock, so that a test or a simulator can stand in for
    it. All values are seconds.
    """

    def wall(self) -> float:
        """Say the seconds since the epoch; may jump."""

    def monotonic(self) -> float:
        """Say the seconds on a clock that never goes back; its zero means nothing."""

    def sleep(self, seconds: float) -> None:
        """Wait for *seconds*; returns at once if they are zero or negative."""

    def wait(self, condition: threading.Condition, seconds: float | None) -> None:
        """
        Wait on *condition*, which the caller holds, for at most *seconds*.

        `None` waits for as long as it takes. May return early, as conditions do.
        """


class SystemClock:
    """The clocks of this machine."""

    __slots__ = ()

    wall = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)

    def sleep(self, seconds: float) -> None:
        """Wait for *seconds*."""
        if seconds > 0:
            time.sleep(seconds)  # The one place that does; tests have a clock of their own.

    def wait(self, condition: threading.Condition, seconds: float | None) -> None:
        """Wait on *condition* for at most *seconds*."""
        # Longer waits than this overflow the C time type that the lock uses.
        condition.wait(None if seconds is None else min(max(seconds, 0.0), 86_400.0))


SYSTEM_CLOCK: Final = SystemClock()


class Deadline:
    """
    A moment on the monotonic clock that several steps share.

    Args:
        clock: The clock to measure on.

        seconds: How long from now; `None` means there is no limit, 0 or less that it has passed.
    """

    __slots__ = ("_clock", "at")

    def __init__(self, clock: Clock, seconds: float | None) -> None:
        self._clock = clock
        #: The moment in seconds on the monotonic clock; infinite if there is no limit.
        self.at = math.inf if seconds is None else clock.monotonic() + seconds

    def left(self) -> float:
        """Say how many seconds are left: 0.0 when the deadline has passed, maybe infinite."""
        return max(0.0, self.at - self._clock.monotonic())

    def clip(self, seconds: float) -> float:
        """Say the shorter of *seconds* and what is left."""
        return min(seconds, self.left())

    @property
    def passed(self) -> bool:
        """True once no time is left."""
        return self._clock.monotonic() >= self.at
