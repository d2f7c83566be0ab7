"""
The pipeline where something else stands in for threads and for forks: gevent, uWSGI.

Neither is needed here. Gevent puts a function of its own in the place of
`_thread.start_new_thread`: what it starts runs when the thread that started it comes back to its
loop, which a thread of a pool never does, and a fork copies all of it. uWSGI forks without telling
Python.
"""

from __future__ import annotations

import _thread
import errno
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from mixpanel_export import _lifecycle, _process
from mixpanel_export._clock import Deadline
from mixpanel_export._event import Event
from mixpanel_export._pipeline import Pipeline
from mixpanel_export._process import Process, delivering
from mixpanel_export._settings import Settings
from mixpanel_export._wire import Request, Response
from mixpanel_export.testing import ScriptedTransport

NEVER = 600.0


class Gate(ScriptedTransport):
    """Holds every request back until it is opened."""

    def __init__(self, *answers: Response | Exception | int) -> None:
        super().__init__(*answers)
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)

    def send(self, request: Request, deadline: Deadline) -> Response:
        self.entered.release()
        self.open.wait(10.0)
        return super().send(request, deadline)


def in_a_thread(function: Callable[[], object]) -> None:
    """
    Call *function* in another thread, and wait for it.
    """
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def pipeline_with(transport: object, **fields: object) -> Pipeline:
    """
    Make a quick pipeline.
    """
    quick = {"jitter": 0.0, "backoff_initial": 0.01, "flush_interval": 0.01}
    given = {"token": "t", "transport": transport, **quick, **fields}
    return Pipeline(Settings(**given))  # type: ignore[arg-type] # fields by name, as tests give


def eventually(condition: Callable[[], bool]) -> None:
    """
    Wait for another thread; fails after ten seconds.
    """
    end = time.monotonic() + 10.0
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < end, "it never came"
        pause.wait(0.005)


def traced_start(_function: Callable[..., object], _arguments: tuple[object, ...]) -> int:
    """
    Stand in for what debuggers make of `start_new_thread`.
    """
    pytest.fail("nothing is to be started")


def copy_of_a_fork(process: Process) -> None:
    """
    Make *process* what its copy in a child is: somebody else's.
    """
    process.pid = -1
    process.home = [0]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    """
    Every test ends with all delivery threads gone, whatever it was about.
    """
    yield
    eventually(lambda: not delivering)


@pytest.fixture
def transport() -> ScriptedTransport:
    """
    Answer everything as Mixpanel does.
    """
    return ScriptedTransport()


@pytest.fixture
def loops(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """
    Put in the place of `start_new_thread` what passes for gevent's.

    Returns:
        The threads that have started something, by the system's numbers for them.
    """
    start = _thread.start_new_thread
    starters: list[int] = []

    def start_new_thread(function: Callable[..., object], arguments: tuple[object, ...]) -> int:
        starters.append(threading.get_native_id())
        return start(function, arguments)

    start_new_thread.__module__ = "gevent.thread"
    monkeypatch.setattr(_thread, "start_new_thread", start_new_thread)
    return starters


# -- gevent ---------------------------------------------------------------------------------------


def test_the_bell_is_of_the_same_kind_as_the_worker(
    transport: ScriptedTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Threads and queues may be replaced after the pipeline was made, as gunicorn has gevent do.
    """
    waited: list[float | None] = []

    class Replaced(queue.Queue[None]):
        def get(self, block: bool = True, timeout: float | None = None) -> None:
            waited.append(timeout)
            super().get(block, timeout)

    pipeline = pipeline_with(transport)
    monkeypatch.setattr(queue, "SimpleQueue", Replaced)

    pipeline.submit(Event("A"))

    eventually(lambda: bool(waited))
    assert pipeline.close()
    assert pipeline.stats.delivered == 1


def test_the_main_thread_starts_what_a_pool_needs(
    transport: ScriptedTransport, loops: list[int]
) -> None:
    """
    A thread of gevent's pool would start something that never runs; the next event brings it.
    """
    pipeline = pipeline_with(transport)
    in_a_thread(lambda: [pipeline.submit(Event("A")) for _ in range(3)])
    started = list(loops)

    pipeline.submit(Event("B"))

    eventually(lambda: pipeline.stats.delivered == 4)
    assert started == []
    assert loops[0] == threading.get_native_id()
    assert pipeline.close()


def test_a_pool_that_flushes_delivers_itself(
    transport: ScriptedTransport, loops: list[int]
) -> None:
    """
    It does not wait for what does not run, and leaves nothing open that others could not use.
    """
    pipeline = pipeline_with(transport)
    flushed: list[bool] = []

    def job() -> None:
        pipeline.submit(Event("A"))
        flushed.append(pipeline.flush(10.0))

    in_a_thread(job)

    assert flushed == [True]
    assert loops == []
    assert len(transport.lines) == 1
    assert transport.closed == 1
    assert pipeline.close()


def test_two_threads_start_one_worker(transport: ScriptedTransport) -> None:
    """
    Of two that find it missing at the same time, one starts it.
    """

    class Taken(list[bool]):
        def pop(self, _index: object = None) -> bool:
            """
            Be empty by now.
            """
            raise IndexError

    pipeline = pipeline_with(transport)
    process = pipeline._process
    process.token = Taken([True])

    started = process.start()

    assert started
    assert not delivering
    process.token = [True]
    assert pipeline.close()


def test_a_copied_worker_ends(transport: ScriptedTransport) -> None:
    """
    In a child it would deliver what is the parent's.
    """
    pipeline = pipeline_with(transport, flush_interval=NEVER)
    process = pipeline._process
    pipeline.submit(Event("A"))
    eventually(lambda: bool(delivering))
    copy_of_a_fork(process)

    process.ring()

    eventually(lambda: not delivering)
    assert transport.requests == []


def test_a_worker_that_begins_in_a_child_ends(
    transport: ScriptedTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A fork may come before it had its first turn.
    """
    waiting: list[Callable[[], object]] = []
    pipeline = pipeline_with(transport)
    with monkeypatch.context() as patch:
        patch.setattr(_thread, "start_new_thread", lambda function, _: waiting.append(function))
        pipeline.submit(Event("A"))
    copy_of_a_fork(pipeline._process)

    waiting[0]()

    assert transport.requests == []


def test_a_copied_connection_ends(
    transport: ScriptedTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    One that waits for something to send takes nothing any more.
    """
    monkeypatch.setattr(_process, "IDLE", NEVER)
    pipeline = pipeline_with(transport)
    process = pipeline._process
    pipeline.submit(Event("A"))
    assert pipeline.flush(10.0)
    copy_of_a_fork(process)

    process.ring()
    with process.engine.changed:
        process.engine.changed.notify_all()

    eventually(lambda: not delivering)
    assert len(transport.requests) == 1


def test_a_copied_request_is_nobodys(caplog: pytest.LogCaptureFixture) -> None:
    """
    What becomes of it is the parent's to tell.
    """
    gate = Gate(503)
    pipeline = pipeline_with(gate)
    process = pipeline._process
    pipeline.submit(Event("A"))
    assert gate.entered.acquire(timeout=10.0)
    copy_of_a_fork(process)

    gate.open.set()

    process.ring()
    eventually(lambda: not delivering)
    assert process.engine.stats.requests == 0
    assert caplog.messages == []


@pytest.mark.usefixtures("loops")
def test_a_child_closes_its_copies_of_connections(transport: ScriptedTransport) -> None:
    """
    The answers to what is under way belong to the parent.
    """
    pipeline = pipeline_with(transport)
    copy_of_a_fork(pipeline._process)

    pipeline.forked()

    assert transport.closed == 1


@pytest.mark.parametrize("traced", [False, True])
def test_a_child_of_real_threads_touches_no_connection(
    transport: ScriptedTransport, monkeypatch: pytest.MonkeyPatch, *, traced: bool
) -> None:
    """
    Their locks may be held by threads that are not here; also where a debugger starts them.
    """
    if traced:
        monkeypatch.setattr(_thread, "start_new_thread", traced_start)
    pipeline = pipeline_with(transport)
    copy_of_a_fork(pipeline._process)

    pipeline.forked()

    assert transport.closed == 0


@pytest.mark.parametrize(
    ("module", "verdict"),
    [
        ("gevent.thread", True),
        ("eventlet.green.thread", True),
        ("_thread", False),
        ("debugger.gevent", False),
    ],
)
def test_who_stands_in_is_told_by_its_name(
    monkeypatch: pytest.MonkeyPatch, module: str, *, verdict: bool
) -> None:
    """
    Both of those that share the thread that starts them, and nobody else.
    """

    def start_new_thread() -> None:
        """Start nothing."""

    start_new_thread.__module__ = module
    monkeypatch.setattr(_thread, "start_new_thread", start_new_thread)

    assert _process.are_greenlets() is verdict


# -- uWSGI ----------------------------------------------------------------------------------------


@pytest.fixture
def uwsgi(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """
    Be a uWSGI process that serves requests.
    """
    uwsgi = ModuleType("uwsgi")
    says = {
        "worker_id": lambda: 1,
        "masterpid": os.getpid,
        "numproc": 2,
        "has_threads": 1,
        "opt": {},
    }
    for name, value in says.items():
        setattr(uwsgi, name, value)
    monkeypatch.setitem(sys.modules, "uwsgi", uwsgi)
    monkeypatch.setattr(_lifecycle, "_living", type(_lifecycle._living)())
    return uwsgi


@pytest.fixture
def preloading(uwsgi: ModuleType) -> ModuleType:
    """
    Be a uWSGI master that loads the application.
    """
    uwsgi.worker_id = lambda: 0  # type: ignore[attr-defined] # made up here
    return uwsgi


def test_a_process_that_uwsgi_forks_has_no_threads(
    preloading: ModuleType, transport: ScriptedTransport, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A thread could leave its workers hanging; it says so once, and one worker takes over.
    """
    pipeline = pipeline_with(transport)
    before = _thread._count()

    pipeline.submit(Event("master's"))
    baton = pipeline._process.baton
    for _ in range(4):
        pipeline.submit(Event("master's"))
    pipeline.update_profile("u-1", set={"a": 1})

    assert _thread._count() == before
    assert pipeline._process.baton is baton
    assert caplog.messages == [
        (
            "uWSGI loads the application before it forks: events wait for the first worker that"
            " logs or ends; set lazy-apps or py-call-uwsgi-fork-hooks"
        )
    ]
    assert list(pipeline._process.notices._kinds) == ["preload"]
    copy_of_a_fork(pipeline._process)
    preloading.worker_id = lambda: 2  # type: ignore[attr-defined] # made up here
    pipeline.submit(Event("worker's"))
    assert pipeline.close()
    assert len(transport.lines) == 7
    assert pipeline.stats.delivered == 7


def test_what_a_worker_takes_over_is_done_with(
    preloading: ModuleType, transport: ScriptedTransport, tmp_path: Path
) -> None:
    """
    Also in the files of the process that put it there: nobody finds it a second time.
    """
    pipeline = pipeline_with(transport, spool=tmp_path, batch_events=2)
    for _ in range(3):
        pipeline.submit(Event("master's"))
    pipeline.update_profile("u-1", set={"a": 1}, add={"b": 1})
    copy_of_a_fork(pipeline._process)
    preloading.worker_id = lambda: 2  # type: ignore[attr-defined] # made up here

    pipeline.submit(Event("worker's"))

    assert pipeline.close()
    assert len(transport.lines) == 6
    heir = pipeline_with(transport, spool=tmp_path)
    assert heir.adopt(10.0)
    assert heir.stats.adopted == 0
    assert heir.close()


@pytest.mark.usefixtures("preloading")
def test_a_process_that_may_open_no_more_files_tries_again(
    transport: ScriptedTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The application does not notice.
    """

    def refuse() -> tuple[int, int]:
        raise OSError(errno.EMFILE, "too many open files")

    pipeline = pipeline_with(transport)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pipe", refuse)
        assert pipeline.submit(Event("A"))

    assert pipeline.submit(Event("B"))
    copy_of_a_fork(pipeline._process)
    pipeline.forked()

    assert pipeline.stats.accepted == 2
    assert pipeline.close()


@pytest.mark.usefixtures("preloading")
def test_a_process_that_uwsgi_forks_may_flush(transport: ScriptedTransport) -> None:
    """
    Whoever asks for delivery there gets it, on his own thread; what is delivered is not taken over.
    """
    pipeline = pipeline_with(transport)
    pipeline.submit(Event("A"))

    flushed = pipeline.flush(10.0)

    assert flushed
    copy_of_a_fork(pipeline._process)
    pipeline.forked()
    assert pipeline.stats.accepted == 0
    assert len(transport.lines) == 1


@pytest.mark.usefixtures("preloading")
def test_a_process_that_uwsgi_forks_need_not_say_so_for_nothing(
    transport: ScriptedTransport, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Reconfiguring logging flushes handlers: without events there is nothing to tell.
    """
    pipeline = pipeline_with(transport)

    assert pipeline.flush(10.0)

    assert caplog.messages == []
    assert pipeline._process.baton is None


def test_a_process_that_becomes_a_worker_itself_goes_on(
    preloading: ModuleType, transport: ScriptedTransport
) -> None:
    """
    Without a master the process that has loaded the application is the first worker.
    """
    preloading.masterpid = lambda: 0  # type: ignore[attr-defined] # made up here
    pipeline = pipeline_with(transport)
    pipeline.submit(Event("before"))
    preloading.worker_id = lambda: 1  # type: ignore[attr-defined] # likewise

    pipeline.submit(Event("after"))

    eventually(lambda: pipeline.stats.delivered == 2)
    assert pipeline.close()


@pytest.mark.usefixtures("preloading")
def test_only_one_child_takes_over(transport: ScriptedTransport) -> None:
    """
    The others start empty.
    """
    pipeline = pipeline_with(transport)
    pipeline.submit(Event("A"))
    master = pipeline._process
    assert master.baton is not None
    # As another process would.
    os.read(master.baton._ends[0], 1)
    copy_of_a_fork(master)

    pipeline.forked()

    assert pipeline.stats.accepted == 0


def test_missing_threads_are_told_of(
    uwsgi: ModuleType, transport: ScriptedTransport, caplog: pytest.LogCaptureFixture
) -> None:
    """
    An old uWSGI without enable-threads delivers late, and says so once.
    """
    uwsgi.has_threads = 0  # type: ignore[attr-defined] # made up here
    pipeline = pipeline_with(transport)

    pipeline.submit(Event("A"))
    pipeline.submit(Event("A"))

    assert pipeline.close()
    assert caplog.messages == [
        "uWSGI runs without threads: most events are delivered at the end only; set enable-threads"
    ]
    assert list(pipeline._process.notices._kinds) == ["threads"]
