"""
`kill -9`, over and over: whatever a process was told is accepted arrives.

Real programs, killed as a whole group at random moments, two of them at a time on one directory.
The witness is the process itself: after each call that returned it says so through a pipe that
belongs to the killer.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.emulator.api import Api, Run

ROOT = str(Path(__file__).parents[2])

# What is in flight when its process is killed may arrive twice: here it is little, since the lives
# are short. Each call that returned is one line in the pipe: short enough to come whole or
# not at all.
SETUP = """
import itertools, logging, os, sys, threading, time
from mixpanel_export import MixpanelHandler
life = os.environ["LIFE"]
handler = MixpanelHandler(
    token="t", base_url=os.environ["URL"], spool=os.environ["SPOOL"], batch_events=50,
    connections=1, flush_interval=0.05, backoff_initial=0.1, backoff_max=0.5, jitter=0.1,
)
log = logging.getLogger("shop")
log.setLevel(logging.INFO)
log.propagate = False
log.addHandler(handler)

def emit(who, numbers, pause=0.001):
    for number in numbers:
        log.info("Happened", extra={"distinct_id": f"{life}-{who}", "number": number})
        os.write(1, b"%s-%s:%d\\n" % (life.encode(), who.encode(), number))
        time.sleep(pause)  # So that kills find them at work.
"""

SHAPES = {
    "one thread": """
emit("0", itertools.count())
""",
    "eight threads": """
for thread in range(8):
    threading.Thread(target=emit, args=(str(thread), itertools.count())).start()
""",
    "four forks": """
emit("0", [0])
for child in "1234":
    if not os.fork():
        emit(child, itertools.count(), 0.004)  # Together they speak as often as one.
threading.Event().wait()
""",
}

# Under gunicorn: two workers of four threads, an event a request.
APPLICATION = """
numbers = itertools.count()

def application(environ, start_response):
    emit(str(os.getpid()), [next(numbers)])
    start_response("200 OK", [("Content-Length", "0")])
    return []
"""
GUNICORN = ("--workers", "2", "--worker-class", "gthread", "--threads", "4", "--log-level", "error")

DRAIN = ("-m", "mixpanel_export", "spool", "drain")

# How many processes of a program say something, and how many threads of it at most at one moment.
PROCESSES = {"one thread": 1, "eight threads": 1, "four forks": 5, "gunicorn": 2}
MOST_AT_ONCE = 8

# What each of these processes may have in flight: one batch, as `SETUP` says.
IN_FLIGHT = 50

FAULTS = [
    {"path": "/import", "probability": 0.05, "seed": 1, "status": 429},
    {"path": "/import", "probability": 0.05, "seed": 2, "status": 500},
]


def lost_answers(every: int) -> dict[str, object]:
    """
    Have the emulator store what it was sent, and hang up instead of answering, each so many times.
    """
    return {"path": "/import", "every": every, "store": True, "action": "reset"}


@contextmanager
def asking(address: str) -> Iterator[None]:
    """
    Ask a server for one thing after the other, four at a time, as long as it answers.
    """
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            with suppress(OSError), socket.socket(socket.AF_UNIX) as client:
                client.connect(address)
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                client.recv(100)
            # Also for a server that is not there yet, or no more.
            done.wait(0.005)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()


def live_and_die(command: list[str], env: dict[str, str], seconds: float) -> set[bytes]:
    """
    Run a program in a group of its own, kill it *seconds* after its first word; return the words.
    """
    with subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # It tells of the faults.
        env={**os.environ, "PYTHONPATH": ROOT, **env},
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        timer = threading.Timer(seconds, os.killpg, (process.pid, signal.SIGKILL))
        timer.start()
        words = process.stdout.read()
    assert process.returncode == -signal.SIGKILL
    # A word that is cut short at the end was not finished.
    return {first.strip(), *words[: words.rfind(b"\n") + 1].split()}


class Killer:
    """
    Starts programs and kills them, then has the rest delivered and counts what arrived.

    Args:
        api: The emulator.

        folder: Where there is room for a spool.

        longest: For how long a program lives at most, in seconds.

        seed: For the moments.
    """

    def __init__(self, api: Api, folder: Path, *, longest: float, seed: int = 20) -> None:
        self.api = api
        self.folder = folder
        self.spool = folder / "spool"
        self.longest = longest
        self.chance = random.Random(seed)
        self.witnessed: set[bytes] = set()
        self.kills = 0
        self.processes = 0

    def kill(self, lives: list[str]) -> None:
        """
        Let programs of these shapes live and die.
        """
        numbered = list(enumerate(lives, self.kills))
        self.kills += len(lives)
        self.processes += sum(map(PROCESSES.__getitem__, lives))
        moments = [self.chance.uniform(0.02, self.longest) for _ in lives]
        with ThreadPoolExecutor(2) as two:
            for words in two.map(self._live, *zip(*numbered, strict=True), moments):
                self.witnessed |= words

    def _live(self, life: int, shape: str, seconds: float) -> set[bytes]:
        env = {"URL": self.api.emulator.url, "SPOOL": str(self.spool), "LIFE": str(life)}
        if shape != "gunicorn":
            return live_and_die(["-c", SETUP + SHAPES[shape]], env, seconds)
        (self.folder / "shop.py").write_text(SETUP + APPLICATION)
        address = str(self.folder / f"{life}.sock")
        place = ("--bind", f"unix:{address}", "--chdir", str(self.folder))
        with asking(address):
            return live_and_die(["-m", "gunicorn", *GUNICORN, *place, "shop"], env, seconds)

    def drain(self) -> None:
        """
        Deliver the rest. Every word must be true, and nothing arrive twice but what was in flight.
        """
        started = time.monotonic()
        env = {"MIXPANEL_TOKEN": "t", "MIXPANEL_BASE_URL": self.api.emulator.url}
        quick = {"MIXPANEL_BACKOFF_INITIAL": "0.1", "MIXPANEL_JITTER": "0.1"}
        small = {"MIXPANEL_BATCH_EVENTS": str(IN_FLIGHT)}
        done = subprocess.run(
            [sys.executable, *DRAIN, str(self.spool)],
            env={**os.environ, "PYTHONPATH": ROOT, **env, **quick, **small},
            capture_output=True,
            timeout=300,
            check=False,
        )
        seconds = time.monotonic() - started
        stats = self.api.emulator.stats()
        arrived = {
            f"{event['properties']['distinct_id']}:{event['properties']['number']}".encode()
            for event in self.api.emulator.events(dedup=True)
        }
        twice = stats["duplicates"]
        sys.stdout.write(
            f"{self.kills} kills: {len(self.witnessed):,} witnessed,"
            f" {len(self.witnessed - arrived)} lost, {twice:,} of {len(arrived):,} twice"
            f" ({twice / len(arrived):.2%}); drained in {seconds:.1f} s; {stats['requests']}\n"
        )
        assert done.returncode == 0, done.stderr.decode()
        assert self.witnessed <= arrived
        # What was on its way into the queue may be here too, but nothing else.
        assert len(arrived - self.witnessed) <= MOST_AT_ONCE * self.kills
        lost_answers = stats["requests"].get("reset", 0)
        assert twice <= IN_FLIGHT * (self.processes + lost_answers)


@pytest.mark.cli
@pytest.mark.web
def test_twenty_kills_lose_nothing(running: Run, tmp_path: Path) -> None:
    """
    One thread, eight threads, four forked children, gunicorn, in turns.
    """
    api = running("--max-stored", "0")
    api.emulator.faults([*FAULTS, lost_answers(50)])
    killer = Killer(api, tmp_path, longest=0.4)

    killer.kill([*SHAPES, *SHAPES, *SHAPES, "gunicorn"] * 2)

    killer.drain()


@pytest.mark.cli
@pytest.mark.web
@pytest.mark.long
@pytest.mark.parametrize("shape", [*SHAPES, "gunicorn"])
def test_two_hundred_kills_lose_nothing(running: Run, tmp_path: Path, shape: str) -> None:
    """
    Fifty of each kind. How much is on the wire twice depends on how long a request takes, and a
    life: measured, half an event in a hundred, most of it for the answers that are lost.
    """
    api = running("--max-stored", "0")
    api.emulator.faults([*FAULTS, lost_answers(300)])
    killer = Killer(api, tmp_path, longest=8.0)

    killer.kill([shape] * 50)

    killer.drain()
