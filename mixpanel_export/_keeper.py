"""Who looks after the files of a spool, on a thread of its own."""

from __future__ import annotations

import _thread
import queue
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from mixpanel_export._chain import PATIENCE
from mixpanel_export._segment import SEGMENT_BYTES

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from mixpanel_export._adoption import Adoption
    from mixpanel_export._chain import Chain
    from mixpanel_export._clock import Clock
    from mixpanel_export._orphan import Orphan
    from mixpanel_export._stock import Stock

#: Seconds between two looks for what others left behind. Ours.
ADOPTION: Final = 5.0

#: How many bytes are adopted at once. Ours: enough to be busy with.
AT_ONCE: Final = 4 * SEGMENT_BYTES


class Bell:
    """Wakes the keeper."""

    def __init__(self) -> None:
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._rung = False

    def ring(self) -> None:
        """Have `Keeper.keep` called soon; takes no lock."""
        if not self._rung:
            self._rung = True
            self._bell.put(None)

    def listen(self, seconds: float) -> None:
        """Wait for a ring, at most so long."""
        with suppress(queue.Empty):
            self._bell.get(timeout=seconds)
        self._rung = False


class Keeper:
    """
    Deletes, waits for the disk, adopts, and has the next segments ready.

    Args:
        chain: The segments that this process fills.

        stock: All that wait.

        adoption: Finds what others left.

        clock: Where the time comes from.

        lock: The engine's lock, taken for moments.

        interval: How often the disk is waited for, in seconds.

        welcome: Takes over the segments of one directory; under the lock.

        shed: Gives up what is too old or too much; under the lock.

        busy: Says whether anything is held.

        complain: Called with each error of the disk.
    """

    def __init__(  # noqa: PLR0913 -- what it looks after, and for whom
        self,
        chain: Chain,
        stock: Stock,
        adoption: Adoption,
        *,
        clock: Clock,
        lock: threading.Condition,
        interval: float,
        welcome: Callable[[list[Orphan]], object],
        shed: Callable[[], object],
        busy: Callable[[], bool],
        complain: Callable[[Exception], object],
    ) -> None:
        self._chain = chain
        self._stock = stock
        self._adoption = adoption
        self._clock = clock
        self._lock = lock
        self._interval = interval
        self._welcome = welcome
        self._shed = shed
        self._busy = busy
        self._complain = complain
        # One at a time.
        self._keeping = _thread.allocate_lock()
        # Whether more may be left behind than was taken over.
        self._more = False
        self._synced_at = self._looked_at = float("-inf")

    def keep(self) -> float:
        """
        Do what the disk needs; may take long.

        Returns:
            In how many seconds to come again, unless the bell rings before.
        """
        if not self._keeping.acquire(blocking=False):
            return PATIENCE
        try:
            return self._keep()
        finally:
            self._keeping.release()

    def adopt(self) -> bool:
        """
        Do the same, and look at once for what others left behind; waits for another `keep`.

        Returns:
            True if there may be more than was taken over now.
        """
        with self._keeping:
            self._looked_at = float("-inf")
            self._more = False
            self._keep()
            return self._more

    def tidy(self) -> None:
        """Delete what is done with, and the directory if it is empty, unless that takes long."""
        if not self._keeping.acquire(timeout=PATIENCE):
            return
        try:
            with self._lock:
                self._stock.finish()
            self._delete()
            self._chain.empty()
        finally:
            self._keeping.release()

    def _keep(self) -> float:
        chain = self._chain
        if chain.closed:
            return ADOPTION
        now = self._clock.monotonic()
        self._delete()
        if now >= self._synced_at + self._interval:
            self._synced_at = now
            chain.sync()
        if now >= self._looked_at + ADOPTION:
            self._looked_at = now
            try:
                self._adopt()
            except OSError as error:
                self._complain(error)
        with self._lock:
            self._stock.finish()
            self._shed()
        chain.prepare(now)
        return self._interval if self._busy() or chain.failed_at is not None else ADOPTION

    def _delete(self) -> None:
        if self._stock.delete():
            # There may be more where that came from.
            self._looked_at = float("-inf")

    def _adopt(self) -> None:
        """Take over what processes left that are gone, a few megabytes at a time."""
        found = self._adoption.look(self._clock.wall())
        # When these are delivered it is looked for more.
        while sum(orphan.unread_bytes for orphan in self._stock.orphans) < AT_ONCE:
            directory, orphans = next(found, (None, []))
            if directory is None:
                return
            with self._lock:
                self._welcome(orphans)
            if not any(orphan.count for orphan in orphans):
                directory.remove()
        self._more = True
