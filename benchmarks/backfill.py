"""
Measure `mixpanel-export import`: how fast, at what cost, and what being killed costs.

    python benchmarks/backfill.py                    a million events, about 500 MB, in 20 files
    python benchmarks/backfill.py --events 100000    fewer

Each request is answered after 200 ms. The first run goes through undisturbed. The second is killed
with SIGKILL three times on its way and started again each time. The server counts what arrives by
`$insert_id`, so losses and repetitions are exact.
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import orjson

HERE = Path(__file__).resolve().parent
FILES = 20
KILLS = 3
FIRST = 1_760_000_000_000


class Cost(NamedTuple):
    """What a run has cost: seconds, seconds of CPU, most bytes of memory; and how it ended."""

    seconds: float
    cpu: float
    memory: int
    status: int


def event(chance: random.Random, number: int) -> dict[str, Any]:
    """Make up an event as a shop has them, of about 500 bytes."""
    choice = chance.choice
    return {
        "event": choice(("Page Viewed", "Product Viewed", "Added to Cart", "Order Placed")),
        "properties": {
            "time": FIRST + number * 37,
            "distinct_id": f"user-{chance.randrange(200_000):07}",
            "$insert_id": f"seq{number:07}{chance.getrandbits(88):022x}",
            "$os": choice(("Mac OS X", "Windows", "iOS", "Android")),
            "$browser": choice(("Chrome", "Safari", "Firefox")),
            "$browser_version": choice((129, 130.0, 17.5)),
            "$city": choice(("Berlin", "Paris", "Lyon", "Madrid")),
            "mp_country_code": choice(("DE", "FR", "ES")),
            "$current_url": f"https://shop.example.com/products/{chance.randrange(100_000)}"
            f"?page={chance.randrange(30)}",
            "$referrer": f"https://example.com/blog/{chance.randrange(1_000)}",
            "plan": choice(("free", "pro", "team")),
            "price": chance.randrange(1, 30_000) / 100,
            "quantity": chance.randrange(1, 9),
            "currency": "EUR",
            "visit": f"v-{chance.getrandbits(48):012x}",
            "experiment": choice(("A", "B")),
            "is_member": chance.random() < 0.5,
            "tags": chance.sample(("new", "sale", "outlet", "gift"), 2),
        },
    }


def write_files(folder: Path, events: int) -> int:
    """Write the events into files, gzipped; returns their size before that."""
    chance = random.Random(1)
    size = number = 0
    for index in range(FILES):
        with gzip.open(folder / f"events-{index:02}.ndjson.gz", "wb", 6) as file:
            for _ in range(events * index // FILES, events * (index + 1) // FILES):
                size += file.write(orjson.dumps(event(chance, number)) + b"\n")
                number += 1
    return size


@contextmanager
def server(latency: float) -> Iterator[str]:
    """Run the server that counts; gives its address."""
    child = subprocess.Popen(
        [sys.executable, HERE / "_server.py", "--latency", str(latency)], stdout=subprocess.PIPE
    )
    try:
        port = int(cast("IO[bytes]", child.stdout).readline())
        yield f"127.0.0.1:{port}"
    finally:
        child.kill()
        child.wait()
        cast("IO[bytes]", child.stdout).close()


def report(address: str) -> dict[str, Any]:
    """Ask the server for its counts."""
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request("GET", "/report")
    counts: dict[str, Any] = json.loads(connection.getresponse().read())
    connection.close()
    return counts


def run(folder: Path, address: str, state: str, kill_after: float | None = None) -> Cost:
    """Import all files; kill it after some seconds, if so asked."""
    started = time.monotonic()
    with (folder / f"{state}.said").open("a", encoding="utf-8") as said:
        child = subprocess.Popen(
            [
                *(sys.executable, "-m", "mixpanel_export", "import", "--state", state),
                *sorted(str(path) for path in folder.glob("*.gz")),
            ],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": str(HERE.parent),
                "MIXPANEL_TOKEN": "benchmark-token",
                "MIXPANEL_BASE_URL": f"http://{address}",
            },
            stdout=said,
            stderr=said,
        )
    if kill_after is not None:
        time.sleep(kill_after)
        child.send_signal(signal.SIGKILL)
    _, status, usage = os.wait4(child.pid, 0)
    # Known to this process's books, too, so that nobody waits for it again.
    child.returncode = os.waitstatus_to_exitcode(status)
    scale = 1 if sys.platform == "darwin" else 1_024
    return Cost(
        time.monotonic() - started,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss * scale,
        child.returncode,
    )


def main() -> int:
    """Measure, print, and return 0 if nothing was lost."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--latency", type=float, default=0.2)
    arguments = parser.parse_args()
    events: int = arguments.events
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = write_files(folder, events)
        print(f"{events:,} events, {size / 1e6:,.0f} MB, {FILES} gzip files")
        with server(arguments.latency) as address:
            cost = run(folder, address, "straight.state")
            counts = report(address)
        print(
            f"undisturbed: {cost.seconds:.1f} s, {events / cost.seconds:,.0f} events/s,"
            f" {cost.cpu / events * 1e6:.1f} CPU seconds per million,"
            f" {cost.memory / 1e6:,.0f} MB, status {cost.status},"
            f" {counts['distinct']:,} different, {counts['duplicates']:,} repeated"
        )
        whole = counts["distinct"] == events and counts["duplicates"] == 0 and not cost.status
        with server(arguments.latency) as address:
            for _ in range(KILLS):
                run(folder, address, "killed.state", cost.seconds * 0.22 + 0.3)
            cost = run(folder, address, "killed.state")
            counts = report(address)
        print(
            f"killed {KILLS} times and resumed: status {cost.status},"
            f" {counts['distinct']:,} different, {counts['duplicates']:,} repeated"
        )
        whole = whole and counts["distinct"] == events and not cost.status
        print((folder / "killed.state.said").read_text(encoding="utf-8"))
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
