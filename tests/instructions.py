"""
What an event costs its caller, in instructions of the processor, which callgrind counts.

::

    python tests/instructions.py      says what BUDGET in tests/test_instructions.py should be

Instructions are not time, but the same code takes as many of them each time, whatever else the
machine does. So that this is true, nothing is left to chance: dictionaries have a fixed hash seed,
addresses are not randomised, and no thread is ever started, so that what the caller pays is counted
and nothing else. One process warms up and is forked: the children begin with the same memory and
differ only in what they do then. The first of them does nothing, which is what the others are
compared with.
"""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

#: How many events a child makes: enough for what happens once per child, such as the first event's
#: ring for a worker, to be less than a thousandth.
EVENTS = 300

#: Calls before anything is counted, after which every name and value has been met, and what comes
#: again and again has a function of its own.
WARM_UP = 400

#: Seconds. It takes a few.
PATIENCE = 100.0

#: What children do, each with the number that it has there.
CHILDREN = ("nothing", "bare", "ours")

Call: TypeAlias = Callable[[int], object]

PLANS = ("free", "basic", "pro", "enterprise")
COUNTRIES = ("US", "DE", "FR", "JP", "BR", "IN", "GB", "ES")


def fields(number: int) -> dict[str, object]:
    """
    Return what a typical event carries.
    """
    return {
        # Every fifth is somebody new.
        "distinct_id": f"user-{number % 40 if number % 5 else number:06}",
        "plan": PLANS[number % 4],
        "price": 19.99 + number % 100,
        "country": COUNTRIES[number % 8],
        "referrer": "https://www.example.com/search?q=product+analytics",
        "is_trial": number % 2 == 0,
        "tags": ["beta", "mobile"],
        "source": "web",
        "seq": number,
    }


# -- what is counted ------------------------------------------------------------------------------


def calls() -> dict[str, Call]:
    """
    Return what a child may do with the number of an event, warmed up.
    """
    import _thread
    import gc

    from mixpanel_export import MixpanelHandler
    from mixpanel_export.testing import ScriptedTransport

    # Whoever asks for a thread is told that it runs.
    _thread.start_new_thread = lambda *_: 0
    handlers = {
        "bare": logging.NullHandler(),
        "ours": MixpanelHandler(token="the-token", transport=ScriptedTransport()),
    }
    found: dict[str, Call] = {"nothing": lambda _: None}
    for name, handler in handlers.items():
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
        found[name] = partial(_log, logger)
    for number in range(WARM_UP):
        for call in found.values():
            call(number)
    # What is there is old: no collection goes through it again.
    gc.collect()
    gc.freeze()
    return found


def _log(logger: logging.Logger, number: int) -> None:
    logger.info("Signed Up", extra=fields(number))


def fork_children() -> None:
    """
    Do what is counted: called in a process under callgrind.
    """
    found = calls()
    for each in CHILDREN:
        child = os.fork()
        if not child:
            # The first event after a fork does more than others, so all have it behind them.
            for call in found.values():
                call(0)
            call = found[each]
            for number in range(EVENTS):
                call(number)
            os._exit(0)
        print(each, child, flush=True)
        if os.waitpid(child, 0)[1]:
            raise SystemExit(f"{each} failed")


# -- counting -------------------------------------------------------------------------------------


def count() -> dict[str, float]:
    """
    Return how many instructions one event takes: of a ``bare`` logging call, and of ``ours``.

    Raises:
        RuntimeError: If callgrind failed; it says what was said.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        command = [
            *("setarch", "-R"),
            *("valgrind", "--tool=callgrind", f"--callgrind-out-file={out}.%p"),
            # Without `site`, whose hooks measure coverage, say; what it would add to the path is
            # handed over.
            *(sys.executable, "-S", __file__, json.dumps(sys.path)),
        ]
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env={"PATH": os.environ["PATH"], "PYTHONHASHSEED": "0"},
        )
        if done.returncode:
            raise RuntimeError(f"callgrind failed:\n{done.stdout}\n{done.stderr}")
        counted = {}
        for line in done.stdout.splitlines():
            name, child = line.split()
            told = Path(f"{out}.{child}").read_text(encoding="utf-8", errors="replace")
            counted[name] = int(re.findall(r"^(?:summary|totals): (\d+)$", told, re.MULTILINE)[-1])
    nothing = counted.pop("nothing")
    return {name: (instructions - nothing) / EVENTS for name, instructions in counted.items()}


def ratio(counted: dict[str, float]) -> float:
    """
    Return what a logging call takes with our handler, as a multiple of what it takes without.
    """
    return counted["ours"] / counted["bare"]


def main(path: str = "") -> None:
    """
    Be what is counted, if *path* is given: that of modules, as JSON. Otherwise count, and tell.
    """
    if path:
        sys.path[:] = json.loads(path)
        fork_children()
        return
    counted = count()
    for name, instructions in counted.items():
        print(f"{name}: {instructions:,.0f} instructions an event")
    print(f"ratio: {ratio(counted):.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
