"""
One cell of a table: one library does one thing, in an interpreter of its own.

    python _cell.py SYSTEM ACTION URL COUNT [options]
    python _cell.py --describe

When the events are made, one line of JSON on stdout says how long that took, and after a flush one
what the process used; with turns it is one line for all. `--describe` tells which libraries are
installed.
"""

import argparse
import json
import logging
import multiprocessing
import os
import platform
import signal
import socket
import sys
import threading
import time
from array import array
from pathlib import Path
from random import Random
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from _systems import BESIDE, FLOOR, SYSTEMS, VARIANTS, Client, describe, sources

# What fork and its relatives do: the parent makes event 0, the child the others.
PARENT = range(1)
CHILD = range(1, 301)
FAMILY = {"made": len(PARENT) + len(CHILD)}

# Events and seconds between them, before anything is measured.
WARM = 500
WARM_RATE = 1_000.0

# The most single costs that are sorted, which takes memory.
SAMPLE = 20_000


def event(number: int) -> tuple[str, dict[str, Any]]:
    """
    Make up a user and about 200 bytes of properties, among them the mark that is counted.

    Every fifth user is new. -- Of 10,000 requests to a web server 22 % came from none of about 250
    visitors before.
    """
    return f"user-{number % 37 if number % 5 else number}", {
        "seq": f"seq{number:07}",
        "plan": "pro",
        "total": 31.5,
        "items": 3,
        "first": number % 5 == 0,
        "tags": ["garden", "spring"],
        "page": "/products/garden/chairs",
        "campaign": "https://shop.example/spring?from=newsletter",
    }


def track(
    client: Client, numbers: range, *, rate: float = 0.0, seconds: float = 3_600.0
) -> dict[str, Any]:
    """
    Make events, and say what each cost the caller, in µs, its properties included.

    Args:
        client: Who takes them.

        numbers: Theirs.

        rate: How many a second; 0 is as many as possible. What is late is made up for.

        seconds: When these are over, no further one is made.
    """
    clock = time.monotonic_ns
    # Of a fixed size, so that it is no part of what memory grows by.
    costs = array("Q", bytes(8 * len(numbers)))
    made = raised = 0
    begun = clock()
    until = begun + int(seconds * 1e9)
    pause = int(1e9 / rate) if rate else 0
    for number in numbers:
        before = clock()
        if pause and (early := begun + made * pause - before) > 1_000_000:
            time.sleep(early / 1e9)  # The pace that was asked for.
            before = clock()
        if before > until:
            break
        who, properties = event(number)
        try:
            client.track(who, properties)
        except Exception:  # noqa: BLE001 -- as an application would, lest tracking break it
            raised += 1
        costs[made] = clock() - before
        made += 1
    ended = clock()
    longest = max(costs)
    # By chance: what costs more each fiftieth time must not fall between them.
    some = sorted(map(costs.__getitem__, Random(1).sample(range(made), min(made, SAMPLE))))
    return {
        "begun": begun / 1e9,
        "ended": ended / 1e9,
        "made": made,
        "p50": some[len(some) // 2] / 1e3,
        "p99": some[len(some) * 99 // 100] / 1e3,
        "p999": some[len(some) * 999 // 1000] / 1e3,
        "longest": longest / 1e3,
        "raised": raised,
    }


class Meter:
    """What this process uses from now on."""

    def __init__(self) -> None:
        self._cpu = time.process_time()
        self._memory = _memory("VmRSS")
        if self._memory is not None:
            # "Write 5 to reset the peak resident set size." -- proc_pid_clear_refs(5)
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")

    def read(self) -> dict[str, float | None]:
        """Say how many seconds of CPU it took and how many bytes its memory grew at most."""
        cpu = time.process_time() - self._cpu
        peak = _memory("VmHWM")
        grown = None if peak is None or self._memory is None else peak - self._memory
        return {"cpu": cpu, "grown": grown}


def _memory(name: str) -> int | None:
    status = Path("/proc/self/status")
    if not status.exists():
        return None  # Not on Linux.
    [line] = [line for line in status.read_text().splitlines() if line.startswith(f"{name}:")]
    return int(line.split()[1]) * 1024


def tell(url: str, what: str) -> None:
    """Have the server do *what*; without an HTTP client, which would count as the library's."""
    address = urlsplit(url)
    assert address.hostname is not None
    with socket.create_connection((address.hostname, address.port or 80)) as connection:
        connection.sendall(f"GET {what} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
        if not connection.recv(1 << 16).startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"the server did not take {what!r}")


def deliver(client: Client, url: str, options: argparse.Namespace) -> None:
    """Make events and have them delivered; measured when the first ones have been, if *warm*."""
    warm = WARM if options.warm else 0
    if warm:
        track(client, range(options.first, options.first + warm), rate=WARM_RATE)
        client.flush()
    if options.hang:
        tell(url, f"/hang?{options.hang}")
    numbers = range(options.first + warm, options.first + warm + options.count)
    meter = Meter()
    report(track(client, numbers, rate=options.rate, seconds=options.seconds) | {"warm": warm})
    if options.hang:
        tell(url, "/answer")

    def leave() -> None:
        report(meter.read())
        os._exit(0)

    patience = threading.Timer(options.patience, leave)
    patience.daemon = True
    patience.start()
    flush(client)
    patience.cancel()
    if options.leave:
        leave()
    report(meter.read())


def flush(client: Client) -> None:
    """Flush; what that raises ends no application."""
    try:
        client.flush()
    except Exception as error:  # noqa: BLE001 -- as an application would
        logging.getLogger("shop").warning("flush raised %s", type(error).__name__)


def take_turns(client: Client, options: argparse.Namespace) -> None:
    """
    Make events in turns with what the library is compared with, which costs the caller anyway.

    The machine may be twice as slow in one second as in the next; so they are compared within a
    turn, in one process. Who has made events has flushed them before the other begins, and who
    begins changes.
    """
    names = BESIDE.get(options.system, FLOOR)
    known = {**SYSTEMS, **VARIANTS}
    clients = {"": client} | {name: known[name].open(options.url) for name in names}
    for each in clients.values():
        track(each, range(WARM), rate=WARM_RATE)
        each.flush()
    turns = []
    for turn in range(options.turns):
        start = WARM + turn * options.count
        order = list(clients.items())[:: -1 if turn % 2 else 1]
        numbers = range(start, start + options.count)
        turns.append({name: take_turn(each, numbers) for name, each in order})
    own = [turn[""] for turn in turns]
    report(
        {
            "begun": own[0]["begun"],
            "ended": own[-1]["ended"],
            "made": sum(turn["made"] for turn in own),
            "raised": sum(turn["raised"] for turn in own),
            "longest": max(turn["longest"] for turn in own),
            **{name: median(turn[name] for turn in own) for name in ("p50", "p99", "p999")},
            "cpu": sum(turn["cpu"] for turn in own),
            "warm": WARM,
            "turns": turns,
        }
    )
    os._exit(0)


def take_turn(client: Client, numbers: range) -> dict[str, Any]:
    """Make events and flush; say what each cost the caller, and all of it in seconds of CPU."""
    before = time.process_time()
    made = track(client, numbers)
    flush(client)
    return {**made, "cpu": time.process_time() - before}


def act(client: Client, options: argparse.Namespace) -> None:
    """Do what is asked for, and report it."""
    numbers = range(options.count)
    match options.action:
        case "flush":
            deliver(client, options.url, options)
        case "turns":
            take_turns(client, options)
        case "exit":
            report(track(client, numbers))
        case "kill":
            report(track(client, numbers))
            os.kill(os.getpid(), signal.SIGKILL)
        case "sigterm" | "drain_on_sigterm":
            if options.action == "drain_on_sigterm":
                from mixpanel_export import drain_on_sigterm

                drain_on_sigterm()
            report(track(client, numbers))
            os.kill(os.getpid(), signal.SIGTERM)
        case "os.fork":
            report(track(client, PARENT) | FAMILY)
            if (pid := os.fork()) == 0:
                track(client, CHILD)
                sys.exit(0)
            os.waitpid(pid, 0)
        case "fork":
            report(track(client, PARENT) | FAMILY)
            run(multiprocessing.get_context("fork").Process(target=track, args=(client, CHILD)))
        case "spawn" | "forkserver":
            report(track(client, PARENT) | FAMILY)
            context: Any = multiprocessing.get_context(options.action)
            run(context.Process(target=child, args=(options.system, options.url)))
        case _:
            raise ValueError(f"unknown action {options.action!r}")


def child(system: str, url: str) -> None:
    """Be a child that knows nothing of its parent."""
    configure()
    track(SYSTEMS[system].open(url), CHILD)


def run(process: Any) -> None:  # noqa: ANN401 -- each way to start one has a class of its own
    """Run *process* to its end."""
    process.start()
    process.join()


def report(found: dict[str, Any]) -> None:
    """Tell what was found out."""
    print(json.dumps(found), flush=True)


def configure() -> None:
    """Let warnings be seen, as in any application, and nothing less: they are counted."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    # Some libraries give their loggers a level of their own.
    logging.getLogger().handlers[0].setLevel(logging.WARNING)


def main() -> None:
    """See the top of this file."""
    if sys.argv[1:] == ["--describe"]:
        found = {"systems": describe(), "sources": sources()}
        print(json.dumps({**found, "python": platform.python_version()}))
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("system")
    parser.add_argument("action")
    parser.add_argument("url")
    parser.add_argument("count", type=int)
    parser.add_argument("--first", type=int, default=0, help="the first event's number")
    parser.add_argument("--warm", action="store_true", help=f"deliver {WARM} events beforehand")
    parser.add_argument("--leave", action="store_true", help="skip what happens at exit")
    parser.add_argument("--rate", type=float, default=0.0, help="events a second; 0: all at once")
    parser.add_argument("--seconds", type=float, default=3_600.0, help="make no more after these")
    parser.add_argument("--patience", type=float, default=3_600.0, help="end after so long a flush")
    parser.add_argument("--turns", type=int, default=1, help="so often as many events")
    parser.add_argument("--hang", default="", help="how the server hangs; see _server.py")
    options = parser.parse_args()
    configure()
    act({**SYSTEMS, **VARIANTS}[options.system].open(options.url), options)


if __name__ == "__main__":
    main()
