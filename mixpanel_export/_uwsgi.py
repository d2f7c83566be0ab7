"""
What is different under uWSGI, which starts Python itself, and forks without telling it.

The module `uwsgi` is there in its processes only, and is theirs: nothing here imports it.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress


def forks_later() -> bool:
    """
    Say whether this process is going to fork behind Python's back.

    That is uWSGI's habit of loading an application before it starts its workers. It does not hold
    Python's global lock when it forks, so that a thread which has it at that moment, or has asked
    for it, leaves each worker with a lock that nobody will ever release. -- uWSGI 2.0.31 with
    threads that are merely busy: one start in ten hangs (measured 2026-11-21).
    """
    uwsgi = sys.modules.get("uwsgi")
    # Elsewhere applications put something in its place, which may know none of these.
    with suppress(AttributeError, TypeError):
        if uwsgi is None or uwsgi.worker_id() or "py-call-uwsgi-fork-hooks" in uwsgi.opt:
            return False
        # 0 is no master; a mule or a spooler has the number of somebody else.
        master = uwsgi.masterpid()
        return bool(master == os.getpid() or (not master and uwsgi.numproc > 1))
    return False


def lacks_threads() -> bool:
    """Say whether threads hardly ever get a turn until the process ends."""
    return not getattr(sys.modules.get("uwsgi"), "has_threads", True)


class Baton:
    """
    Something that of all processes forked from here only one can take, however they fork.

    Raises:
        OSError: If this process may open no more files.
    """

    __slots__ = ("_ends", "_files")

    def __init__(self) -> None:
        self._ends = os.pipe()
        os.set_blocking(self._ends[0], False)
        os.write(self._ends[1], b"!")
        self._files = [os.fstat(end) for end in self._ends]

    def take(self) -> bool:
        """Try to take it, once in each process; True for the first."""
        taken = b""
        # A daemon may have closed them, and opened something else there.
        with suppress(OSError):
            if all(map(os.path.samestat, self._files, map(os.fstat, self._ends))):
                with suppress(BlockingIOError):
                    taken = os.read(self._ends[0], 1)
                for end in self._ends:
                    os.close(end)
        return taken != b""
