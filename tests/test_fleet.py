"""
Many processes that log more than one project may take: what of its limit is used, and by whom.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import time
from functools import partial
from typing import IO, Any, cast

import pytest

from mixpanel_export import Stats
from tests.fleet import LIMIT_EVENTS, WINDOW, Fleet, RetryAfter, fleet

#: How much more is logged than may be sent.
LOAD = 1.25

#: The least share of the limit that must be used while more is there.
GOODPUT = 0.9

#: The least that anybody must get of a fair share, as long as all log too much. Who had luck is
#: back soon, who had none waits up to a minute: so shares differ, but nobody is shut out.
SHARE = 0.1


def whole_seconds(seconds: float) -> str:
    """
    Ask for exactly the seconds after which the request would have been taken.
    """
    return str(math.ceil(seconds))


def log_too_much(made: Fleet, seconds: float, backlog: float) -> None:
    """
    Let all log, beginning with so many seconds' worth at once, as after an outage.
    """
    pace = LOAD * LIMIT_EVENTS / WINDOW / len(made.all)
    for process in made.all:
        process.log(round(pace * backlog))
        made.at(made.rng.uniform(0.0, 10.0), partial(process.log_on, pace, seconds))
    made.run(seconds)


def settle(made: Fleet) -> Stats:
    """
    Let everything be delivered, see that each line was taken once, and return all ledgers added up.
    """
    while not made.idle:
        made.run(made.clock.monotonic() + 5.0)
        assert made.clock.monotonic() < 7_200.0
    ledgers = [process.pipeline.stats for process in made.all]
    total = Stats(
        accepted=sum(each.accepted for each in ledgers),
        delivered=sum(each.delivered for each in ledgers),
    )
    assert set(made.project.lines.values()) == {1}
    assert len(made.project.lines) == total.accepted == total.delivered
    return total


@pytest.mark.parametrize("retry_after", [lambda _: None, whole_seconds, lambda _: "30"])
def test_the_limit_is_used_and_nothing_is_lost(retry_after: RetryAfter) -> None:
    """
    Two hundred processes with a minute's backlog each that go on logging too much use nine tenths
    of what their project may take, in every minute, and everything arrives once.
    """
    with fleet(200, retry_after=retry_after) as made:
        log_too_much(made, 120.0, backlog=60.0)

        assert min(made.project.goodput(start, start + 60.0) for start in (0.0, 60.0)) >= GOODPUT
        assert made.project.refused > 0
        assert settle(made).accepted > 0


@pytest.mark.long
@pytest.mark.parametrize("backlog", [0.0, 60.0])
@pytest.mark.parametrize("retry_after", [lambda _: None, whole_seconds, lambda _: "30"])
def test_nobody_is_shut_out(retry_after: RetryAfter, backlog: float) -> None:
    """
    The same for ten minutes, in which each process has a part of the limit.
    """
    with fleet(200, retry_after=retry_after) as made:
        log_too_much(made, 600.0, backlog)

        shares = made.project.shares(60.0, 600.0)
        goodput = sum(shares.values())
        least, most = min(shares.values()) * 200, max(shares.values()) * 200
        print(f"goodput {goodput:.3f}, least {least:.2f}, most {most:.2f}")
        assert goodput >= GOODPUT
        assert len(shares) == 200
        assert least >= SHARE
        settle(made)


# -- real processes -------------------------------------------------------------------------------

#: A tenth of what it is: the window, and what is waited for.
SHORT = 0.1

PROCESSES = 20
SECONDS = 60.0

#: Events in one window.
LIMIT = 9_000

PROGRAM = """
import json, sys, time
from mixpanel_export import Event, Pipeline, Settings

number, pace, seconds = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
with Pipeline(Settings.from_environment()) as pipeline:
    print(flush=True)
    sys.stdin.readline()
    started = time.monotonic()
    for each in range(int(pace * seconds)):
        pipeline.submit(Event("Bought", distinct_id=f"{number}-{each}"))
        # The pace of a real process.
        time.sleep(max(0.0, started + each / pace - time.monotonic()))
    halfway = pipeline.stats.delivered
    pipeline.flush(300.0)
    stats = pipeline.stats
    print(json.dumps([stats.accepted, halfway, stats.delivered, sum(stats.dropped.values())]))
"""


@pytest.mark.long
@pytest.mark.emulator
def test_twenty_processes_share_a_limit() -> None:
    """
    Real processes, a real server: its limit is used, nobody is shut out and nothing is lost.
    """
    from mixpanel_export.emulator import EmulatorProcess

    window = WINDOW * SHORT
    pace = LOAD * LIMIT / window / PROCESSES
    with EmulatorProcess(
        "--max-events-per-minute", str(LIMIT), "--rate-window", str(window)
    ) as emulator:
        environment = os.environ | {
            "MIXPANEL_TOKEN": "the-token",
            "MIXPANEL_BASE_URL": emulator.url,
            "MIXPANEL_BATCH_EVENTS": "100",
            "MIXPANEL_FLUSH_INTERVAL": str(2.0 * SHORT),
            "MIXPANEL_BACKOFF_INITIAL": str(2.0 * SHORT),
            "MIXPANEL_BACKOFF_MAX": str(60.0 * SHORT),
            "MIXPANEL_JITTER": str(5.0 * SHORT),
        }
        with contextlib.ExitStack() as stack:
            children = [
                stack.enter_context(
                    subprocess.Popen(
                        [sys.executable, "-c", PROGRAM, str(number), str(pace), str(SECONDS)],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.DEVNULL,
                        env=environment,
                    )
                )
                for number in range(PROCESSES)
            ]
            for child in children:
                cast("IO[bytes]", child.stdout).readline()
            for child in children:
                cast("IO[bytes]", child.stdin).close()
            # From the second window on, until nothing more is logged.
            time.sleep(window)
            first, began = emulator.stats()["imported"], time.monotonic()
            time.sleep(SECONDS - 2 * window)  # Real processes, a real limit.
            last, ended = emulator.stats()["imported"], time.monotonic()
            told = [json.loads(cast("IO[bytes]", child.stdout).read()) for child in children]
        counts: dict[str, Any] = emulator.stats()

    goodput = (last - first) / (ended - began) / (LIMIT / window)
    accepted, halfway, delivered, dropped = (list(column) for column in zip(*told, strict=True))
    shares = [each * PROCESSES / sum(halfway) for each in halfway]
    print(f"goodput {goodput:.3f}, least {min(shares):.2f}, most {max(shares):.2f}, {counts}")
    assert goodput >= GOODPUT
    assert min(shares) >= SHARE
    assert delivered == accepted
    assert sum(dropped) == 0
    assert (counts["distinct"], counts["duplicates"]) == (sum(accepted), 0)
