"""
How many requests may be under way: as many as there are connections, fewer when Mixpanel asks.

After a 429 all wait, then half as many go on, and with each success the window opens a little: in
the long run as much is sent as Mixpanel takes. -- the way of TCP, RFC 5681, 3.1.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from mixpanel_export._clock import Clock

# How often somebody who waits looks whether it is still worth it, in seconds.
_LOOK = 0.2


class Window:
    """
    The gate that all connections go through.

    Args:
        connections: The most requests at once.

        clock: Where the time comes from.

        stopping: Says whether waiting has no use any more.
    """

    def __init__(self, connections: int, clock: Clock, stopping: Callable[[], bool]) -> None:
        self._most = connections
        self._clock = clock
        self._stopping = stopping
        self._changed = threading.Condition()
        self._size = float(connections)
        self._under_way = 0
        self._launched = 0
        self._narrowed = 0  # requests up to this one know of the last narrowing
        self._opens_at = 0.0

    @property
    def size(self) -> int:
        """How many requests may be under way."""
        return max(1, int(self._size))

    def enter(self, due: float = 0.0) -> int:
        """
        Wait until a request may be made.

        Args:
            due: Not before this, in seconds on the monotonic clock.

        Returns:
            Its number, from 1 on; 0 if it is not to be made at all.
        """
        with self._changed:
            while not self._stopping():
                wait = max(due, self._opens_at) - self._clock.monotonic()
                if wait <= 0 and self._under_way < self.size:
                    self._under_way += 1
                    self._launched += 1
                    return self._launched
                self._clock.wait(self._changed, min(wait, _LOOK) if wait > 0 else _LOOK)
        return 0

    def leave(self, number: int, *, limited: bool, pause: float = 0.0) -> None:
        """
        Note that a request came to its end.

        Args:
            number: What `enter` gave.

            limited: Whether the answer was that there are too many.

            pause: How long nobody is to make another then, in seconds.
        """
        with self._changed:
            self._under_way -= 1
            if not limited:
                self._size = min(self._most, self._size + 1 / self._size)
            else:
                # Those that were under way together are told the same thing together.
                if number > self._narrowed:
                    self._size = max(1.0, self._size / 2)
                    self._narrowed = self._launched
                self._opens_at = max(self._opens_at, self._clock.monotonic() + pause)
            self._changed.notify_all()
