"""
Processes with a spool, as the queue sees them, that start and die at will.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mixpanel_export._batch import Lane
from mixpanel_export._keeper import ADOPTION
from mixpanel_export._notice import Notices
from mixpanel_export._segment import SEGMENT_BYTES
from mixpanel_export._settings import Settings
from mixpanel_export._spool import SpoolQueue
from mixpanel_export._update import Aside
from mixpanel_export.testing import FakeClock

SET = Aside(Lane.ENGAGE, b'{"$set":{"plan":"pro"}}', repeatable=True)
ADD = Aside(Lane.ENGAGE, b'{"$add":{"logins":1}}', repeatable=False)

# Eight of these fill a segment, as nearly as makes no difference.
BIG = SEGMENT_BYTES // 8 - 100


class Host:
    """
    One process with a spool, as the queue sees it.
    """

    def __init__(self, root: Path, **fields: object) -> None:
        given = {"token": "t", "spool": root, "batch_events": 10, **fields}
        self.clock = FakeClock()
        self.rings = 0
        self.queue = SpoolQueue(
            settings=Settings(**given),  # type: ignore[arg-type] # fields by name, as tests give
            ring=self.ring,
            clock=self.clock,
            notices=Notices(self.clock),
            lock=threading.Condition(threading.RLock()),
        )

    def ring(self) -> None:
        self.rings += 1

    def take(self) -> list[bytes]:
        """
        Take all that waits, and settle it.
        """
        found = []
        while lines := self.queue.take():
            self.queue.release(len(lines), sum(map(len, lines)), self.queue.places())
            found += lines
        return found

    def keep(self, seconds: float = ADOPTION) -> float:
        """
        Look after the directory a while later.
        """
        self.clock.advance(seconds)
        return self.queue.keeper.keep()

    def die(self) -> None:
        """
        End as a killed process does: nothing is written any more, and the lock is gone.
        """
        self.queue.disown()


@contextmanager
def hosting(root: Path) -> Iterator[Callable[..., Host]]:
    """
    Start processes on one directory; they end with the block.
    """
    hosts: list[Host] = []

    def start(**fields: object) -> Host:
        hosts.append(Host(root, **fields))
        return hosts[-1]

    yield start
    for host in hosts:
        host.queue.close()


def lines_of(count: int, size: int = 40) -> list[bytes]:
    """
    Return lines that differ.
    """
    return [b'{"n":%d,"pad":"' % number + b"x" * (size - 20) + b'"}' for number in range(count)]


def files(root: Path, pattern: str = "*.seg") -> list[Path]:
    """
    Return the files of all processes.
    """
    return sorted(root.glob(f"*/*/{pattern}"))
