"""
The coordinator of exits and forks. Real processes are in tests/lifecycle.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from mixpanel_export import _lifecycle
from mixpanel_export._clock import Deadline
from mixpanel_export.testing import FakeClock


class Lodger:
    """Stands in for a pipeline and notes what it is told."""

    def __init__(self, clock: FakeClock, seconds: float) -> None:
        self.clock = clock
        self.seconds = seconds
        self.told: list[str] = []

    def start_exit(self) -> Deadline:
        self.told.append("start")
        return Deadline(self.clock, self.seconds)

    def finish_exit(self, deadline: Deadline) -> None:
        self.told.append(f"finish {deadline.left():g}")
        self.clock.advance(1.0)

    def resume(self) -> None:
        self.told.append("resume")

    def forked(self) -> None:
        self.told.append("forked")


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Let each test have a coordinator of its own.
    """
    monkeypatch.setattr(_lifecycle, "_living", type(_lifecycle._living)())
    monkeypatch.setattr(_lifecycle, "_exit_deadline", None)
    monkeypatch.setattr(_lifecycle, "_registered_in", None)


def test_all_make_haste_before_any_is_waited_for() -> None:
    """
    Pipelines drain side by side: the time of one counts for all.
    """
    clock = FakeClock()
    lodgers = [Lodger(clock, 5.0), Lodger(clock, 5.0)]
    for lodger in lodgers:
        _lifecycle.enroll(lodger)

    _lifecycle.drain()

    told = sorted(tuple(lodger.told) for lodger in lodgers)
    assert told == [("start", "finish 4"), ("start", "finish 5")]


def test_what_comes_later_has_what_remains() -> None:
    """
    The first drain sets the deadline of the exit; a second one does not move it.
    """
    clock = FakeClock()
    lodger = Lodger(clock, 5.0)
    _lifecycle.enroll(lodger)
    before = _lifecycle.exit_deadline()

    _lifecycle.drain()
    _lifecycle.drain()

    deadline = _lifecycle.exit_deadline()
    assert before is None
    assert deadline is not None
    assert deadline.at == 5.0


def test_whoever_is_first_at_exit_begins_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Others' functions at exit run before our own: they begin the time, and the drain keeps to it.
    """
    clock = FakeClock()
    lodger = Lodger(clock, 5.0)
    _lifecycle.enroll(lodger)
    monkeypatch.setattr(_lifecycle, "is_late", lambda: True)

    begun = _lifecycle.exit_deadline()
    clock.advance(2.0)
    _lifecycle.drain()

    assert begun is not None
    assert begun.at == 5.0
    assert lodger.told == ["start", "start", "finish 3"]


def test_it_is_late_once_the_main_thread_has_ended() -> None:
    """
    In the functions at exit, and not in threads that go on after the main thread.
    """
    program = """
import atexit, threading
from mixpanel_export import _lifecycle

def go_on():
    threading.main_thread().join()
    print("thread", _lifecycle.is_late())

threading.Thread(target=go_on).start()
print("main", _lifecycle.is_late())
atexit.register(lambda: print("exit", _lifecycle.is_late()))
"""

    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )

    assert ran.stdout.splitlines() == ["main False", "thread False", "exit True"]


def test_without_pipelines_nothing_happens() -> None:
    """
    A process that never used one has no deadline.
    """
    _lifecycle.drain()

    assert _lifecycle.exit_deadline() is None


def test_a_pipeline_that_is_gone_is_not_kept() -> None:
    """
    Being enrolled does not keep anything alive.
    """
    clock = FakeClock()
    _lifecycle.enroll(Lodger(clock, 1.0))

    _lifecycle.drain()

    assert _lifecycle.exit_deadline() is None


def test_a_child_is_not_exiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A process forked during the exit of its parent has a deadline of its own.
    """
    clock = FakeClock()
    lodger = Lodger(clock, 5.0)
    _lifecycle.enroll(lodger)
    monkeypatch.setattr(_lifecycle, "_exit_deadline", Deadline(clock, 1.0))

    _lifecycle._after_fork_in_child()

    assert _lifecycle.exit_deadline() is None
    assert lodger.told == ["forked"]


def test_the_drain_is_registered_once_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    At the first event with `atexit`, and in a child of multiprocessing with its finalisers too.
    """
    registered: list[Callable[[], None]] = []
    finalized: list[tuple[object, Callable[[], None], int]] = []

    class Util:
        @staticmethod
        def Finalize(  # noqa: N802 -- multiprocessing's name
            obj: object, callback: Callable[[], None], *, exitpriority: int
        ) -> None:
            finalized.append((obj, callback, exitpriority))

    monkeypatch.setattr(atexit, "register", registered.append)
    monkeypatch.delitem(sys.modules, "multiprocessing.util", raising=False)

    _lifecycle.register()
    _lifecycle.register()
    monkeypatch.setitem(sys.modules, "multiprocessing.util", Util)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    _lifecycle.register()
    _lifecycle.register()

    assert registered == [_lifecycle.drain]
    assert finalized == [(None, _lifecycle.drain, 10)]


@pytest.fixture
def _sigterm_as_before() -> Iterator[None]:
    """
    Put back the handler that a test replaces.
    """
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("_sigterm_as_before")
def test_after_the_drain_the_signal_does_what_it_would_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    Without a handler of the application's the process is ended by the signal itself.
    """
    killed: list[tuple[int, int]] = []
    lodger = Lodger(FakeClock(), 5.0)
    _lifecycle.enroll(lodger)
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append((pid, number)))
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _lifecycle.drain_on_sigterm()
    handler = signal.getsignal(signal.SIGTERM)
    assert callable(handler)

    handler(signal.SIGTERM, None)

    assert lodger.told == ["start", "finish 5"]
    assert killed == [(os.getpid(), signal.SIGTERM)]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.usefixtures("_sigterm_as_before")
def test_a_signal_that_does_not_end_the_process_is_no_end() -> None:
    """
    Where the application handles or ignores it, everything goes on at the ordinary pace.
    """
    handled: list[int] = []
    lodger = Lodger(FakeClock(), 5.0)
    _lifecycle.enroll(lodger)
    signal.signal(signal.SIGTERM, lambda number, _frame: handled.append(number))
    _lifecycle.drain_on_sigterm()
    _lifecycle.drain_on_sigterm()
    handler = signal.getsignal(signal.SIGTERM)
    assert callable(handler)

    handler(signal.SIGTERM, None)

    assert handled == [signal.SIGTERM]
    assert lodger.told == ["start", "finish 5", "resume"]
    assert _lifecycle.exit_deadline() is None
