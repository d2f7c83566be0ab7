"""
`kill -9`, over and over: whatever a process was told is accepted arrives.

Real processes, killed as a whole group at random moments. The witness is the process itself: after
each call that returned it says so through a pipe that belongs to the killer.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.emulator.api import Api, Run

ROOT = str(Path(__file__).parents[2])

# Each call that returned is one line in the pipe: short enough to come whole or not at all.
PROGRAM = """
import itertools, logging, os, random, sys, threading, time
from mixpanel_export import MixpanelHandler
url, spool, shape, life = sys.argv[1:]
handler = MixpanelHandler(
    token="t", base_url=url, spool=spool, backoff_initial=0.1, backoff_max=0.5, jitter=0.1,
    flush_interval=0.2,
)
log = logging.getLogger("shop")
log.setLevel(logging.INFO)
log.propagate = False
log.addHandler(handler)

def emit(who):
    for number in itertools.count():
        log.info("Happened", extra={"distinct_id": f"{life}-{who}", "number": number})
        os.write(1, b"%s-%s:%d\\n" % (life.encode(), who.encode(), number))
        time.sleep(0.001)

if shape == "forks":
    log.info("Forking", extra={"distinct_id": f"{life}-0", "number": 0})
    os.write(1, b"%s-0:0\\n" % life.encode())
    for child in "1234":
        if not os.fork():
            emit(child)
elif shape == "threads":
    for thread in range(8):
        threading.Thread(target=emit, args=(str(thread),)).start()
else:
    emit("0")
threading.Event().wait()
"""

DRAIN = """
import os, sys, time
from pathlib import Path
from mixpanel_export import Pipeline, Settings
url, spool = sys.argv[1:]
settings = Settings(
    token="t", base_url=url, spool=spool, backoff_initial=0.1, backoff_max=0.5, jitter=0.1
)
with Pipeline(settings) as pipeline:
    while any(path.is_dir() for path in Path(spool).glob("*/*")):
        pipeline.flush(timeout=0.2)
        pipeline.rest()
        time.sleep(0.05)  # looked at again and again until nothing is left
print(pipeline.stats)
"""

FAULTS = [
    {"path": "/import", "probability": 0.05, "seed": 1, "status": 429},
    {"path": "/import", "probability": 0.05, "seed": 2, "status": 500},
]
LOST_ANSWERS = [{"path": "/import", "every": 50, "store": True, "action": "reset"}]


def live_and_die(arguments: list[str], seconds: float) -> set[bytes]:
    """
    Run the program in a group of its own, kill it *seconds* after its first word; return the words.
    """
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": ROOT},
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


def kill_over_and_over(
    api: Api, spool: Path, kills: int, shapes: list[str], seed: int = 20
) -> None:
    """
    Kill and restart; then let one process bring the rest, and count what arrived.
    """
    chance = random.Random(seed)
    api.emulator.faults([*FAULTS, *LOST_ANSWERS])
    witnessed: set[bytes] = set()
    for life in range(kills):
        arguments = [api.emulator.url, str(spool), shapes[life % len(shapes)], str(life)]
        witnessed |= live_and_die(arguments, chance.uniform(0.02, 0.8))
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", DRAIN, api.emulator.url, str(spool)],
        env={**os.environ, "PYTHONPATH": ROOT},
        capture_output=True,
        timeout=300,
        check=False,
    )
    seconds = time.monotonic() - started

    assert done.returncode == 0, done.stderr.decode()
    arrived = {
        f"{event['properties']['distinct_id']}:{event['properties']['number']}".encode()
        for event in api.emulator.events(dedup=True)
    }
    stats = api.emulator.stats()
    sys.stdout.write(
        f"{kills} kills: {len(witnessed)} witnessed, {len(arrived)} arrived,"
        f" {len(witnessed - arrived)} lost; drained in {seconds:.1f} s; {stats}\n"
        f"{done.stdout.decode()}"
    )
    assert witnessed <= arrived
    # What was on its way when its process was killed may be here too, but nothing else.
    assert len(arrived - witnessed) <= 8 * kills


def test_twenty_kills_lose_nothing(running: Run, tmp_path: Path) -> None:
    """
    One thread, eight threads, four forked children, in turns.
    """
    api = running("--max-stored", "0")

    kill_over_and_over(api, tmp_path, 20, ["one", "threads", "forks"])


@pytest.mark.long
@pytest.mark.parametrize("seed", range(8))
def test_two_hundred_kills_lose_nothing(running: Run, tmp_path: Path, seed: int) -> None:
    """
    The same, ten times as often.
    """
    api = running("--max-stored", "0")

    kill_over_and_over(api, tmp_path, 25, ["one", "threads", "forks"], seed)
