"""
What happens to all pipelines of a process when it forks and when it ends.

One coordinator for all of them, so that they share one deadline at exit and none is forgotten.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from mixpanel_export._clock import Deadline


class Living(Protocol):
    """A pipeline, as seen from here."""

    def start_exit(self) -> Deadline:
        """Make haste, without waiting; say until when there is time."""

    def finish_exit(self, deadline: Deadline) -> None:
        """Wait until nothing is left, or until *deadline*, and account for the rest."""

    def resume(self) -> None:
        """Go on at the ordinary pace: it was not the end after all."""

    def forked(self) -> None:
        """Start anew in a child process: empty, with nothing of the parent's."""


_living: weakref.WeakSet[Living] = weakref.WeakSet()
_registered_in: int | None = None
_exit_deadline: Deadline | None = None


def enroll(pipeline: Living) -> None:
    """Have *pipeline* told of forks and of the end of the process, as long as it lives."""
    _living.add(pipeline)


def living() -> list[Living]:
    """Give the pipelines of this process."""
    return list(_living)


def register() -> None:
    """
    Register the drain at exit, once in each process; takes no lock.

    Called with the first event and not earlier: a `multiprocessing` child forgets what was
    registered before it started (CPython 3.10 to 3.13).
    """
    global _registered_in
    pid = os.getpid()
    if _registered_in == pid:
        return
    first, _registered_in = _registered_in is None, pid
    if first:
        # A forked child inherits this one.
        atexit.register(drain)
    # Children of multiprocessing end with os._exit and never get to atexit. If this module is not
    # there, this is no such child; importing it for nothing would cost milliseconds.
    if util := sys.modules.get("multiprocessing.util"):
        util.Finalize(None, drain, exitpriority=10)


def drain() -> None:
    """Deliver what all pipelines hold, within one deadline; they stay usable."""
    for pipeline, deadline in _begin_exit():
        pipeline.finish_exit(deadline)


def exit_deadline() -> Deadline | None:
    """
    Say until when what comes during the exit may take; None if the process is not exiting.

    Others' functions at exit may come before our own, or instead of it, if nothing was sent until
    then: then the time begins to run here.
    """
    if _exit_deadline is None and is_late():
        _begin_exit()
    return _exit_deadline


def is_late() -> bool:
    """Say whether this is the main thread after its end, where the functions at exit run."""
    # The main thread counts as ended while it waits for others, which may take as long as it likes;
    # what it does itself after its end are the functions at exit.
    main = threading.main_thread()
    return main.ident == threading.get_ident() and not main.is_alive()


def _begin_exit() -> list[tuple[Living, Deadline]]:
    """Have all pipelines make haste; say until when each has time, all within the first's end."""
    global _exit_deadline  # noqa: PLW0603 -- there is one exit
    deadlines = [(pipeline, pipeline.start_exit()) for pipeline in living()]
    if deadlines and _exit_deadline is None:
        _exit_deadline = max((each for _, each in deadlines), key=lambda each: each.at)
    end = _exit_deadline
    return [
        (pipeline, deadline if end is None or deadline.at <= end.at else end)
        for pipeline, deadline in deadlines
    ]


def drain_on_sigterm() -> None:
    """
    Deliver what is queued when the process is told to end, then let it end as it would have.

    Python's default for SIGTERM ends the process on the spot: without this, or a handler of the
    application's that exits, what is queued is lost. The handler that was there before is called
    after the drain; without one the process ends by the signal, as its parent expects. The drain
    takes at most the setting `shutdown_timeout`. Calling it twice is the same as once.

    Raises:
        ValueError: If this is not the main thread: only there can signals be handled.
    """
    before = signal.getsignal(signal.SIGTERM)
    if isinstance(before, _Terminator):
        return
    signal.signal(signal.SIGTERM, _Terminator(before))


class _Terminator:
    """Handles SIGTERM."""

    def __init__(self, before: Callable[[int, FrameType | None], Any] | int | None) -> None:
        self._before = before

    def __call__(self, number: int, frame: FrameType | None) -> None:
        global _exit_deadline  # noqa: PLW0603 -- there is one exit
        drain()
        before = self._before
        if callable(before):
            before(number, frame)
        elif before == signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        # Ignored, or handled without an exit: life goes on.
        _exit_deadline = None
        for pipeline in living():
            pipeline.resume()


def _after_fork_in_child() -> None:
    global _exit_deadline  # noqa: PLW0603 -- there is one exit
    _exit_deadline = None
    for pipeline in living():
        pipeline.forked()


with contextlib.suppress(AttributeError):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_after_fork_in_child)
