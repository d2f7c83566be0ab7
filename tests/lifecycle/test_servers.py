"""
What servers do to an application, done with nothing but the standard library.

The servers themselves run in `benchmarks/frameworks.py`.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from mixpanel_export import Event, Pipeline, Settings
from tests.raw_server import OK, RawServer, raw_server

# A master process that logs while it starts, before it forks.
MASTER = """
import logging, os, select, signal, sys, threading
from mixpanel_export import MixpanelHandler, drain_on_sigterm
handler = MixpanelHandler(
    token="t", base_url={url!r}, backoff_initial=0.05, jitter=0.05, shutdown_timeout=10.0
)
log = logging.getLogger("shop")
log.setLevel(logging.INFO)
log.addHandler(handler)

def emit(count, who):
    for number in range(count):
        log.info("Happened", extra={{"distinct_id": who, "number": number}})

def wait_for(children):
    for child in children:
        status = os.waitpid(child, 0)[1]
        assert status == 0, status

emit(100, "master")
"""


@pytest.fixture
def server() -> Iterator[RawServer]:
    """
    Run a server that takes everything.
    """
    with raw_server() as server:
        yield server


def run(server: RawServer, program: str, *, code: int = 0) -> str:
    """
    Run *program* in the master, expect its exit status, and return what it says on stderr.
    """
    done = subprocess.run(
        [sys.executable, "-c", MASTER.format(url=server.url) + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60.0,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stderr


def arrived(server: RawServer) -> Counter[str]:
    """
    Count what arrived, by who sent it; it must have been nothing twice.
    """
    events = [event["properties"] for event in server.events]
    assert len({(each["distinct_id"], each["number"]) for each in events}) == len(events)
    return Counter(each["distinct_id"] for each in events)


@pytest.mark.parametrize("settled", [True, False])
def test_workers_of_a_master_that_logged_deliver_from_their_threads(
    server: RawServer, *, settled: bool
) -> None:
    """
    As gunicorn with --preload and threads: each event once, whether the master was done or not.
    """
    program = f"""
    {"handler.pipeline.flush()" if settled else ""}
    children = []
    for worker in range(2):
        child = os.fork()
        if not child:
            barrier = threading.Barrier(3)
            def serve(name):
                barrier.wait()  # All of them are there before anything is logged.
                emit(50, name)
            threads = [
                threading.Thread(target=serve, args=(f"worker {{worker}} thread {{n}}",))
                for n in range(3)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            sys.exit(0)
        children.append(child)
    wait_for(children)
    """

    run(server, program)

    threads = {f"worker {w} thread {n}": 50 for w in range(2) for n in range(3)}
    assert arrived(server) == {"master": 100, **threads}


def test_workers_that_end_by_a_handler_that_exits_lose_nothing(server: RawServer) -> None:
    """
    As gunicorn does: a master that is told to end tells its workers, and they exit.
    """
    program = """
    children = []
    for worker in range(3):
        ready, written = os.pipe()
        child = os.fork()
        if not child:
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
            emit(200, f"worker {worker}")
            os.write(written, b"x")
            select.select([], [], [])
        os.read(ready, 1)
        children.append(child)
    for child in children:
        os.kill(child, signal.SIGTERM)
    wait_for(children)
    """

    run(server, program)

    assert arrived(server) == {"master": 100, **{f"worker {n}": 200 for n in range(3)}}


# Forks as uWSGI does, which runs no hook of Python's. CPython's child hangs if a thread has the
# global lock at that moment or has asked for it, with us or without; so there is none.
FORK_IN_C = """
import _thread, ctypes, time

def end_threads():
    handler.pipeline.flush()
    handler.pipeline.rest()
    while _thread._count():
        time.sleep(0.001)  # Threads that nobody can join.

def fork():
    assert not _thread._count()
    return ctypes.PyDLL(None).fork()

def start_threads():
    threads = [threading.Thread(target=emit, args=(50, f"thread {n}")) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


def test_workers_forked_in_c_deliver_from_their_threads(server: RawServer) -> None:
    """
    As uWSGI does: no hook of Python's runs, and the first event of the child is a thread's.
    """
    program = """
    end_threads()
    child = fork()
    if not child:
        start_threads()
        os._exit(not handler.pipeline.flush())
    wait_for([child])
    emit(50, "master, later")
    """

    run(server, FORK_IN_C + textwrap.dedent(program))

    threads = {f"thread {n}": 50 for n in range(3)}
    assert arrived(server) == {"master": 100, **threads, "master, later": 50}


@pytest.mark.parametrize("idle", [0, 1])
def test_workers_of_a_uwsgi_that_preloads_share_what_it_logged(
    server: RawServer, idle: int
) -> None:
    """
    Its master starts no threads; one worker takes over, be it with its first event or at its end.
    """
    program = f"""
    uwsgi = types.ModuleType("uwsgi")
    uwsgi.worker_id, uwsgi.masterpid = lambda: 0, os.getpid
    uwsgi.opt, uwsgi.numproc, uwsgi.has_threads = {{}}, 3, 1
    sys.modules["uwsgi"] = uwsgi
    end_threads()
    emit(100, "uWSGI")
    children = []
    for worker in range(1, 4):
        child = fork()
        if not child:
            uwsgi.worker_id = lambda: worker
            if worker > {idle}:
                start_threads()
            sys.exit(0)
        children.append(child)
    wait_for(children)
    os._exit(0)  # without its exit handlers, as uWSGI's master ends
    """

    said = run(server, "import types\n" + FORK_IN_C + textwrap.dedent(program))

    events = Counter(event["properties"]["distinct_id"] for event in server.events)
    threads = {f"thread {n}": (3 - idle) * 50 for n in range(3)}
    assert events == {"master": 100, "uWSGI": 100, **threads}
    assert said.count("\n") == 1
    assert "lazy-apps" in said


def test_a_pool_that_is_joined_loses_nothing(server: RawServer) -> None:
    """
    The workers of a pool end without exit handlers, and deliver all the same.
    """
    program = """
    import multiprocessing
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pool.starmap(emit, [(1, f"task {n}") for n in range(100)])
        pool.close()
        pool.join()
    """

    run(server, program)

    assert arrived(server) == {"master": 100, **{f"task {n}": 1 for n in range(100)}}


def test_a_server_that_raises_the_signal_again_is_drained(server: RawServer) -> None:
    """
    As uvicorn does: it replaces our handler, ends in good order, restores it and raises the signal.
    """
    program = """
    drain_on_sigterm()
    ours = signal.signal(signal.SIGTERM, lambda *_: emit(100, "goodbye"))
    os.kill(os.getpid(), signal.SIGTERM)
    signal.signal(signal.SIGTERM, ours)
    signal.raise_signal(signal.SIGTERM)
    """

    run(server, program, code=-signal.SIGTERM)

    assert arrived(server) == {"master": 100, "goodbye": 100}


def test_delivery_threads_that_never_get_a_turn_are_made_up_for_at_the_end(
    server: RawServer,
) -> None:
    """
    As under uWSGI without threads, where Python runs in the main thread only, until the end.
    """
    program = """
    sys.setswitchinterval(3_600)
    emit(500, "main")
    """

    assert run(server, program) == ""

    assert arrived(server) == {"master": 100, "main": 500}


def test_the_loop_goes_round_while_events_wait_for_their_answer() -> None:
    """
    The server answers once the loop has gone round a thousand times: logging and `aflush` let it.
    """
    rounds_done = threading.Event()

    def patiently(connection: socket.socket) -> None:
        rounds_done.wait(30.0)
        connection.sendall(OK)

    async def go_round() -> None:
        for _ in range(1_000):
            await asyncio.sleep(0)
        rounds_done.set()

    async def work(pipeline: Pipeline) -> bool:
        for number in range(500):
            pipeline.submit(Event("Happened", distinct_id="x", properties={"number": number}))
        flushed, _ = await asyncio.gather(pipeline.aflush(20.0), go_round())
        return flushed and await pipeline.aclose()

    with raw_server(patiently) as server:
        assert asyncio.run(work(Pipeline(Settings(token="t", base_url=server.url))))

        assert rounds_done.is_set()
        assert arrived(server) == {"x": 500}


def test_an_aflush_that_is_cancelled_leaves_the_events_where_they_are(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """
    A request that is given up while it waits for delivery takes nothing with it.
    """
    cancelled = threading.Event()

    def afterwards(connection: socket.socket) -> None:
        cancelled.wait(30.0)
        connection.sendall(OK)

    async def work(pipeline: Pipeline) -> None:
        pipeline.submit(Event("Happened", distinct_id="x", properties={"number": 0}))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(pipeline.aflush(20.0), 0.01)
        cancelled.set()
        assert await pipeline.aclose()

    with raw_server(afterwards) as server, caplog.at_level(logging.WARNING):
        asyncio.run(work(Pipeline(Settings(token="t", base_url=server.url))))

        assert arrived(server) == {"x": 1}
    assert caplog.records == []
