"""
What a spool keeps of a process that was ended without warning: real processes, a real socket.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.raw_server import RawServer, raw_server

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX")

SETUP = """
import logging, os, signal, sys, threading
from pathlib import Path
from mixpanel_export import MixpanelHandler
handler = MixpanelHandler(
    token="t", base_url={url!r}, spool={spool!r}, backoff_initial=0.05, jitter=0.05,
    flush_interval={interval!r},
)
log = logging.getLogger("shop")
log.setLevel(logging.INFO)
log.addHandler(handler)

def emit(count, who="parent"):
    for number in range(count):
        log.info("Happened", extra={{"distinct_id": who, "number": number}})

def die():
    os.kill(os.getpid(), signal.SIGKILL)
"""

# Brings what others left, and waits until nothing is left.
DRAIN = """
while any(path.is_dir() for path in Path({spool!r}).glob("*/*")):
    handler.pipeline.flush(0.2)
    handler.pipeline.rest()
"""


@pytest.fixture
def server() -> Iterator[RawServer]:
    """
    Run a server that takes everything.
    """
    with raw_server() as server:
        yield server


def run(server: RawServer, spool: Path, program: str, *, interval: float = 60.0) -> int:
    """
    Run *program* after the usual set-up; return its exit status.
    """
    text = SETUP.format(url=server.url, spool=str(spool), interval=interval)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", text + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=100.0,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode


def drain(server: RawServer, spool: Path) -> Counter[tuple[str, int]]:
    """
    Let one more process bring what is left, and count what arrived.
    """
    assert run(server, spool, DRAIN.format(spool=str(spool)), interval=0.0) == 0
    return Counter(
        (event["properties"]["distinct_id"], event["properties"]["number"])
        for event in server.events
    )


def all_of(count: int, *who: str) -> Counter[tuple[str, int]]:
    """
    Count what must have arrived: *count* events of each, once.
    """
    return Counter((each, number) for each in who for number in range(count))


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("die()", -signal.SIGKILL),
        ("os._exit(3)", 3),
        ("os.abort()", -signal.SIGABRT),
        ("os.kill(os.getpid(), signal.SIGTERM); threading.Event().wait()", -signal.SIGTERM),
    ],
)
def test_however_it_is_ended_nothing_is_lost(
    server: RawServer, tmp_path: Path, end: str, status: int
) -> None:
    """
    The next process delivers all that was logged, once.
    """
    assert run(server, tmp_path, f"emit(700)\n{end}") == status

    assert drain(server, tmp_path) == all_of(700, "parent")


def test_a_pipe_of_deaths(server: RawServer, tmp_path: Path) -> None:
    """
    Five processes in a row, each killed; each takes over from those before it.
    """
    for life in range(5):
        run(server, tmp_path, f"emit(100, 'life-{life}')\ndie()")

    assert drain(server, tmp_path) == all_of(100, *(f"life-{life}" for life in range(5)))


def test_forked_children_keep_their_own(server: RawServer, tmp_path: Path) -> None:
    """
    Parent and children die; what each of them logged arrives, and nothing twice.
    """
    program = """
    emit(50)
    for child in "abc":
        if not os.fork():
            emit(100, child)
            die()
        os.wait()
    emit(0)
    die()
    """
    run(server, tmp_path, program)

    assert drain(server, tmp_path) == all_of(50, "parent") + all_of(100, "a", "b", "c")


def test_spawned_children_and_a_second_pipeline(server: RawServer, tmp_path: Path) -> None:
    """
    Each has a directory of its own, and nothing is taken from those that live.
    """
    program = """
    from mixpanel_export import Event, Pipeline, Settings
    if __name__ == "__main__":
        import multiprocessing
        emit(50)
        given = dict(token="t", base_url={url!r}, spool={spool!r}, flush_interval=90.0)
        second = Pipeline(Settings(**given))
        for number in range(30):
            second.submit(Event("Happened", distinct_id="second", properties={{"number": number}}))
        child = multiprocessing.get_context("spawn").Process(target=emit, args=(40, "child"))
        child.start()
        child.join()
        assert child.exitcode == 0, child.exitcode
        second._process.engine.spool.keeper.adopt()
        assert second.stats.adopted == 0
        die()
    """
    spool = tmp_path / "spool"
    file = tmp_path / "program.py"
    text = SETUP + textwrap.dedent(program)
    file.write_text(text.format(url=server.url, spool=str(spool), interval=60.0))
    ended = subprocess.run([sys.executable, str(file)], timeout=60.0, check=False)

    assert ended.returncode == -signal.SIGKILL
    assert drain(server, spool) == (
        all_of(50, "parent") + all_of(30, "second") + all_of(40, "child")
    )


def test_a_parent_that_is_killed_leaves_no_lock_to_its_child(
    server: RawServer, tmp_path: Path
) -> None:
    """
    The child lives on, and another process takes over at once what the parent left.
    """
    program = """
    emit(50)
    done, wait = os.pipe()
    if not os.fork():
        os.close(wait)
        sys.stdout.close()
        devnull = os.open(os.devnull, os.O_RDWR)
        os.dup2(devnull, 1), os.dup2(devnull, 2)
        signal.alarm(30)
        while any(path.is_dir() for path in Path({spool!r}).glob("*/*")):
            signal.sigtimedwait([], 0.05)
        os._exit(0)
    die()
    """
    run(server, tmp_path, program.format(spool=str(tmp_path)))

    assert drain(server, tmp_path) == all_of(50, "parent")


def test_signal_handlers_that_log(server: RawServer, tmp_path: Path) -> None:
    """
    They come in the middle of everything, also while a segment is made; nothing waits for itself.
    """
    program = """
    import itertools
    numbers = itertools.count()
    def tick(*_):
        log.info("Happened", extra={"distinct_id": "handler", "number": next(numbers)})
    signal.signal(signal.SIGALRM, tick)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    pad = ["x" * 200] * 20
    for number in range(3000):
        log.info("Happened", extra={"distinct_id": "parent", "number": number, "pad": pad})
    signal.setitimer(signal.ITIMER_REAL, 0)
    die()
    """
    run(server, tmp_path, program)

    arrived = drain(server, tmp_path)
    handled = sum(who == "handler" for who, _ in arrived)
    assert handled > 0
    # What was in flight at the end arrives twice.
    assert set(arrived) == set(all_of(3000, "parent") + all_of(handled, "handler"))
