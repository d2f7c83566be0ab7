"""
How a process ends, and what forks do: real processes against a real socket.

Each test writes a small program, runs it, and looks at what arrived.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.raw_server import OK, RawServer, raw_server

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

SETUP = """
import logging, os, signal, sys, time
from mixpanel_export import MixpanelHandler
handler = MixpanelHandler(
    token="t", base_url={url!r}, batch_events=500, backoff_initial=0.05, jitter=0.05,
    shutdown_timeout={timeout!r},
)
log = logging.getLogger("shop")
log.setLevel(logging.INFO)
log.addHandler(handler)

def emit(count, who="parent"):
    for number in range(count):
        log.info("Happened", extra={{"distinct_id": who, "number": number}})
"""


@pytest.fixture
def server() -> Iterator[RawServer]:
    """
    Run a server that takes everything.
    """
    with raw_server() as server:
        yield server


def slowly(connection: socket.socket) -> None:
    """
    Answer after a tenth of a second, as a distant server does.
    """
    time.sleep(0.1)  # the latency is what the test is about
    connection.sendall(OK)


def run(
    server: RawServer,
    program: str,
    *,
    timeout: float = 10.0,
    code: int = 0,
    warnings: str = "error",
) -> subprocess.CompletedProcess[str]:
    """
    Run *program* after the usual set-up, and expect its exit status.
    """
    text = SETUP.format(url=server.url, timeout=timeout) + textwrap.dedent(program)
    done = subprocess.run(
        [sys.executable, "-W", warnings, "-c", text],
        capture_output=True,
        text=True,
        timeout=600.0,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done


def arrived(server: RawServer) -> Counter[tuple[str, int]]:
    """
    Count what arrived, by who sent it and its number.
    """
    return Counter(
        (event["properties"]["distinct_id"], event["properties"]["number"])
        for event in server.events
    )


def all_of(count: int, *who: str) -> Counter[tuple[str, int]]:
    """
    Count what must have arrived: *count* events of each, once.
    """
    return Counter((each, number) for each in who for number in range(count))


def test_a_script_that_simply_ends_loses_nothing() -> None:
    """
    3,000 events, a server that takes 100 ms, no flush: all of them arrive, once.
    """
    with raw_server(*[slowly] * 20) as server:
        done = run(server, "emit(3_000)")

        assert arrived(server) == all_of(3_000, "parent")
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("sys.exit(3)", 3),
        ("raise SystemExit(4)", 4),
        ("raise ValueError('the application')", 1),
        ("logging.shutdown()", 0),
        ("handler.flush(); handler.close()", 0),
        ("handler.pipeline.close()", 0),
        ("import threading; threading.Thread(target=emit, args=(0,)).start()", 0),
    ],
)
def test_however_it_ends_nothing_is_lost(server: RawServer, end: str, code: int) -> None:
    """
    Exceptions, `sys.exit` and explicit shutdowns are all ends like another.
    """
    run(server, f"emit(700)\n{end}", code=code)

    assert arrived(server) == all_of(700, "parent")


def test_sigterm_with_a_handler_that_exits_loses_nothing(server: RawServer) -> None:
    """
    A handler that raises SystemExit, as servers install it, is an ordinary end.
    """
    program = """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    emit(700)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(30)  # The signal ends it.
    """

    run(server, program)

    assert arrived(server) == all_of(700, "parent")


def test_a_hung_server_does_not_hold_up_the_end() -> None:
    """
    The process ends after `shutdown_timeout`, with one warning that counts what is lost.
    """
    with raw_server(*[lambda _connection: None] * 100) as server:
        start = time.monotonic()
        done = run(server, "emit(1_200)", timeout=0.5)
        seconds = time.monotonic() - start

    assert done.stderr.count("\n") == 1
    assert "1200 events were not delivered" in done.stderr
    # Nowhere near the 15 s that a request may take.
    assert seconds < 10.0


def test_a_server_that_is_down_does_not_hold_up_the_end() -> None:
    """
    With nobody listening the end is as short, and says what was lost.
    """
    with raw_server() as server:
        url = server.url
    server.url = url

    done = run(server, "emit(100)", timeout=0.5)

    assert "100 events were not delivered" in done.stderr


def test_what_comes_at_exit_is_delivered_too(server: RawServer) -> None:
    """
    A record logged by an exit handler that runs after ours still arrives.
    """
    program = """
    import atexit
    atexit.register(emit, 5, "late")
    emit(5)
    """

    run(server, program)

    assert arrived(server) == all_of(5, "parent", "late")


def test_the_first_event_may_come_at_exit(server: RawServer) -> None:
    """
    Where no thread can be started any more, the calling thread delivers.
    """
    run(server, "import atexit\natexit.register(emit, 5, 'late')")

    assert arrived(server) == all_of(5, "late")


@needs_fork
@pytest.mark.parametrize("flush", ["", "handler.flush()"])
def test_forked_children_deliver_their_own_and_nothing_else(server: RawServer, flush: str) -> None:
    """
    After `os.fork` the child has none of the parent's events and all of its own.
    """
    program = f"""
    emit(600)
    {flush}
    children = []
    for number in range(3):
        child = os.fork()
        if not child:
            emit(600, f"child {{number}}")
            sys.exit(0)
        children.append(child)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    """

    run(server, program)

    assert arrived(server) == all_of(600, "parent", "child 0", "child 1", "child 2")


@needs_fork
def test_a_fork_that_python_does_not_see_is_noticed(server: RawServer) -> None:
    """
    A server that forks in C runs no hook; the first event compares the process number.
    """
    # Without threads: CPython's child hangs if one has asked for the global lock at that moment.
    program = """
    import _thread, ctypes
    start_new_thread = _thread.start_new_thread
    def refuse(*_):
        raise RuntimeError("not yet")
    _thread.start_new_thread = refuse
    emit(300)
    child = ctypes.PyDLL(None).fork()
    _thread.start_new_thread = start_new_thread
    if not child:
        emit(300, "child")
        handler.flush()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    """

    run(server, program)

    assert arrived(server) == all_of(300, "parent", "child")


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
@pytest.mark.parametrize("parent_first", [True, False])
def test_children_of_multiprocessing_deliver(
    server: RawServer, method: str, *, parent_first: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """
    These children end without running exit handlers; their events arrive all the same.
    """
    if method != "spawn" and not hasattr(os, "fork"):
        pytest.skip("needs fork")
    folder = tmp_path_factory.mktemp("program")
    program = SETUP.format(url=server.url, timeout=10.0) + textwrap.dedent(
        f"""
        import multiprocessing
        if __name__ == "__main__":
            {"emit(300)" if parent_first else ""}
            context = multiprocessing.get_context({method!r})
            children = [context.Process(target=emit, args=(300, f"child {{n}}")) for n in range(2)]
            for child in children:
                child.start()
            for child in children:
                child.join()
                assert child.exitcode == 0
        """
    )
    (folder / "program.py").write_text(program)

    # 3.12 and later warn of any fork beside a running thread, ours included, and rightly so.
    done = subprocess.run(
        [sys.executable, folder / "program.py"],
        capture_output=True,
        text=True,
        timeout=60.0,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    parents = ["parent"] if parent_first else []
    assert arrived(server) == all_of(300, *parents, "child 0", "child 1")


def test_reconfiguring_logging_loses_nothing(server: RawServer) -> None:
    """
    `dictConfig` closes handlers that stay in use; what they get afterwards arrives too.
    """
    program = """
    import logging.config
    emit(100)
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})
    emit(100, "after")
    """

    run(server, program)

    assert arrived(server) == all_of(100, "parent", "after")


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer that interrupts")
def test_logging_from_a_signal_handler_is_safe(server: RawServer) -> None:
    """
    A handler that logs may interrupt a log call of the same thread, thousands of times.
    """
    program = """
    import itertools
    numbers = itertools.count()
    inside = 0
    def interrupt(*_):
        global inside
        log.info("Interrupted", extra={"distinct_id": "signal", "number": next(numbers)})
        inside += 1
        # Anew each time: a slow machine would come to nothing but handling.
        signal.setitimer(signal.ITIMER_REAL, 0.0002)
    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.0002)
    outside = 0
    while inside < 300:
        log.info("Happened", extra={"distinct_id": "parent", "number": outside})
        outside += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    handler.flush()
    stats = handler.pipeline.stats
    assert stats.accepted == next(numbers) + outside, stats
    """

    run(server, program)

    assert max(arrived(server).values()) == 1


def test_logging_while_a_value_is_serialised_is_safe(server: RawServer) -> None:
    """
    A `__str__` that logs is part of an emit inside an emit.
    """
    program = """
    class Chatty:
        def __str__(self):
            emit(1, "inner")
            return "chatty"
    log.info("Happened", extra={"distinct_id": "outer", "number": 0, "thing": Chatty()})
    """

    run(server, program)

    assert arrived(server) == all_of(1, "inner", "outer")


def test_many_threads_emit_at_once(server: RawServer) -> None:
    """
    Eight threads, nothing lost, nothing twice.
    """
    program = """
    import threading
    threads = [threading.Thread(target=emit, args=(500, f"t{n}")) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    """

    run(server, program)

    assert arrived(server) == all_of(500, *(f"t{n}" for n in range(8)))


def test_its_own_traffic_is_not_exported(server: RawServer) -> None:
    """
    On the root logger, with everything at DEBUG, the HTTP client's records start no loop.
    """
    program = """
    root = logging.getLogger()
    root.setLevel(logging.DEBUG)
    root.addHandler(MixpanelHandler(settings=handler._door.settings, select="all"))
    log.propagate = False
    logging.getLogger("app").info("Happened", extra={"distinct_id": "parent", "number": 0})
    handler.pipeline.flush(10)
    stats = handler.pipeline.stats
    assert stats.accepted == 1, stats
    """

    run(server, program)

    assert arrived(server) == all_of(1, "parent")


def test_nothing_starts_before_the_first_event(server: RawServer) -> None:
    """
    Handlers that nobody uses leave neither threads nor connections.
    """
    program = """
        assert threading.active_count() == 1
    assert len(os.listdir("/proc/self/task")) == 1 if os.path.exists("/proc/self/task") else True
    """

    run(server, program)

    assert server.accepted == 0


@pytest.mark.parametrize("cycles", [40, pytest.param(1_000, marks=pytest.mark.long)])
def test_many_pipelines_leave_nothing_behind(server: RawServer, cycles: int) -> None:
    """
    Over many cycles of making, using and closing, threads and descriptors stay what they were.
    """
    program = """
    from mixpanel_export import Event, Pipeline, Settings
    settings = Settings(token="t", base_url=handler._door.settings.base_url, flush_interval=0.0)
    def cycle():
        with Pipeline(settings) as pipeline:
            pipeline.submit(Event("Happened", distinct_id="x", properties={"number": 0}))
        assert pipeline.stats.delivered == 1, pipeline.stats
    def count():
        return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))
    import gc
    for _ in range(10):
        cycle()
    if os.path.exists("/proc/self/task"):
        # A thread that has ended stands there a moment longer.
        gc.collect(); time.sleep(0.2); before = count()
        for _ in range(CYCLES):
            cycle()
        gc.collect(); time.sleep(0.2); after = count()
        assert after[0] <= before[0] + 1 and after[1] <= before[1] + 4, (before, after)
    """

    run(server, textwrap.dedent(program).replace("CYCLES", str(cycles)))

    assert len(server.events) == cycles + 10


def test_a_thread_that_emits_during_the_exit_breaks_nothing(server: RawServer) -> None:
    """
    A daemon thread that goes on emitting until the very end gets neither an exception nor a hang.
    """
    program = """
    import threading
    def for_ever():
        while True:
            emit(10, "daemon")
    threading.Thread(target=for_ever, daemon=True).start()
    emit(200)
    """

    # The interpreter ends in the middle of it, and would complain about the open socket.
    done = run(server, program, timeout=0.5, warnings="ignore")

    assert all_of(200, "parent") <= arrived(server)
    assert "Traceback" not in done.stderr


TERMINATE = """
    from mixpanel_export import drain_on_sigterm
    {before}
    drain_on_sigterm()
    drain_on_sigterm()
    emit(700)
    os.kill(os.getpid(), signal.SIGTERM)
    {after}
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no signals there")
@pytest.mark.parametrize(
    ("before", "after", "code"),
    [
        ("", "time.sleep(30)", -signal.SIGTERM),
        ("signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))", "time.sleep(30)", 3),
        ("signal.signal(signal.SIGTERM, signal.SIG_IGN)", "emit(100, 'after')", 0),
        ("signal.signal(signal.SIGTERM, lambda *_: None)", "emit(100, 'after')", 0),
    ],
    ids=["default", "exits", "ignored", "handled"],
)
def test_a_drain_on_sigterm_loses_nothing(
    server: RawServer, before: str, after: str, code: int
) -> None:
    """
    When asked for, the signal drains first, and then does what it would have done.
    """
    run(server, TERMINATE.format(before=before, after=after), code=code)

    others = all_of(100, "after") if "after" in after else Counter()
    assert arrived(server) == all_of(700, "parent") + others


def test_a_drain_on_sigterm_belongs_to_the_main_thread(server: RawServer) -> None:
    """
    Elsewhere signals cannot be handled, and it says so.
    """
    program = """
    import threading
    from mixpanel_export import drain_on_sigterm
    def elsewhere():
        try:
            drain_on_sigterm()
        except ValueError:
            emit(1)
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    """

    run(server, program)

    assert arrived(server) == all_of(1, "parent")


@needs_fork
def test_threads_of_a_child_are_not_taken_for_the_parents(server: RawServer) -> None:
    """
    A child gives its first threads the identifiers of its parent's delivery threads.
    """
    program = """
    import threading
    emit(300)
    handler.pipeline.flush(10)
    child = os.fork()
    if not child:
        for number in range(4):
            thread = threading.Thread(target=emit, args=(10, f"thread {number}"))
            thread.start()
            thread.join()
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0
    """

    run(server, program)

    threads = [f"thread {number}" for number in range(4)]
    assert arrived(server) == all_of(300, "parent") + all_of(10, *threads)
