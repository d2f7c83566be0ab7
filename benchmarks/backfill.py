"""
Measure `mixpanel-export import`: how fast, at what cost, and what being killed costs.

    python benchmarks/backfill.py                    a million events, about 500 MB, in 20 files
    python benchmarks/backfill.py --events 100000    fewer
    python benchmarks/backfill.py --beside DIR       beside the mixpanel-import of npm in DIR

Each request is answered after 200 ms. The first run goes through undisturbed. The second is killed
with SIGKILL three times on its way and started again each time. The server counts what arrives by
`$insert_id`, so losses and repetitions are exact. What nobody gets around is measured in
between: to unpack, read, write and pack the same events, with the same libraries, nothing else.

With `--beside`, other importers read the same files, and nobody is killed. mixpanel-import knows
Mixpanel's own addresses only, so all of it happens in a namespace without a network, in which these
are a server on this machine with a certificate of its own. That takes Linux, and root or user
namespaces.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import httpx
import orjson

HERE = Path(__file__).resolve().parent
FILES = 20
KILLS = 3
FIRST = 1_760_000_000_000
BATCH = 2_000
HOST = "api.mixpanel.com"


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


def floor(folder: Path) -> float:
    """Do with the events what cannot be left out; returns the seconds of CPU that it takes."""
    started = time.process_time()
    for path in sorted(folder.glob("*.gz")):
        lines = [
            orjson.dumps(orjson.loads(line))
            for line in zlib.decompress(path.read_bytes(), 31).splitlines()
        ]
        for first in range(0, len(lines), BATCH):
            zlib.compress(b"[" + b",\n".join(lines[first : first + BATCH]) + b"]", 1)
    return time.process_time() - started


@contextmanager
def server(latency: float, certificate: Path | None = None) -> Iterator[str]:
    """Run the server that counts; gives its address, which is Mixpanel's with a *certificate*."""
    command = [sys.executable, str(HERE / "_server.py"), "--latency", str(latency)]
    if certificate is not None:
        command += ["--port", "443", "--tls", str(certificate)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        port = int(cast("IO[bytes]", child.stdout).readline())
        yield f"http://127.0.0.1:{port}" if certificate is None else f"https://{HOST}"
    finally:
        child.kill()
        child.wait()
        cast("IO[bytes]", child.stdout).close()


def report(address: str) -> dict[str, Any]:
    """Ask the server for its counts."""
    counts: dict[str, Any] = httpx.get(f"{address}/report", timeout=60).json()
    return counts


def run(
    command: Sequence[str | Path],
    variables: Mapping[str, str],
    said: Path,
    kill_after: float | None = None,
) -> Cost:
    """Run an importer in the folder of *said*; kill it after some seconds, if so asked."""
    started = time.monotonic()
    with said.open("a", encoding="utf-8") as file:
        child = subprocess.Popen(
            command,
            cwd=said.parent,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
    if kill_after is not None:
        time.sleep(kill_after)  # It dies at a moment of its own.
        # Not by `send_signal`, which would wait for one that has ended by itself.
        os.kill(child.pid, signal.SIGKILL)
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


def ours(folder: Path, address: str, state: str, kill_after: float | None = None) -> Cost:
    """Import all files with `mixpanel-export import`."""
    command = [sys.executable, "-m", "mixpanel_export", "import", "--state", state]
    variables = {
        "PYTHONPATH": str(HERE.parent),
        "MIXPANEL_TOKEN": "benchmark-token",
        "MIXPANEL_BASE_URL": address,
    }
    files = sorted(folder.glob("*.gz"))
    return run([*command, *files], variables, folder / f"{state}.said", kill_after)


def theirs(folder: Path, modules: Path, *options: str) -> Cost:
    """Import all files with `mixpanel-import`."""
    script = modules / "node_modules" / "mixpanel-import" / "index.js"
    # It takes a folder, and would take what else is in ours for events.
    events = folder / "events"
    events.mkdir(exist_ok=True)
    for path in folder.glob("*.gz"):
        if not (link := events / path.name.replace(".ndjson", ".jsonl")).exists():
            os.link(path, link)
    # With a token alone it wants the secret, too, which the server does not look at.
    given = ["--token", "benchmark-token", "--secret", "benchmark-secret", "--no-logs"]
    return run(["node", script, events, *given, *options], {}, folder / "theirs.said")


def show(name: str, events: int, cost: Cost, counts: Mapping[str, Any]) -> None:
    """Print what a run has come to."""
    print(
        f"{name}: {cost.seconds:.1f} s, {events / cost.seconds:,.0f} events/s,"
        f" {cost.cpu / events * 1e6:.1f} CPU seconds per million,"
        f" {cost.memory / 1e6:,.0f} MB, status {cost.status},"
        f" {counts['distinct']:,} different, {counts['duplicates']:,} repeated",
        flush=True,
    )


def alone(folder: Path, events: int, latency: float) -> bool:
    """Measure ours, undisturbed and killed; returns whether all has arrived."""
    with server(latency) as address:
        cost = ours(folder, address, "straight.state")
        counts = report(address)
    show("undisturbed", events, cost, counts)
    # Afterwards, since a process counts the memory of the one that started it.
    least = floor(folder)
    print(
        f"what nobody gets around: {least / events * 1e6:.1f} CPU seconds per million;"
        f" that was {cost.cpu / least:.2f} times as much"
    )
    whole = counts["distinct"] == events and counts["duplicates"] == 0 and not cost.status
    with server(latency) as address:
        kills = sum(
            ours(folder, address, "killed.state", cost.seconds * 0.2).status == -signal.SIGKILL
            for _ in range(KILLS)
        )
        cost = ours(folder, address, "killed.state")
        counts = report(address)
    print(
        f"killed {kills} times and resumed: status {cost.status},"
        f" {counts['distinct']:,} different, {counts['duplicates']:,} repeated"
    )
    print((folder / "killed.state.said").read_text(encoding="utf-8"))
    return whole and kills == KILLS and counts["distinct"] == events and not cost.status


def beside(folder: Path, events: int, latency: float, modules: Path) -> bool:
    """Measure ours and theirs on the same files; returns whether all has arrived."""
    package = modules / "node_modules" / "mixpanel-import" / "package.json"
    version = json.loads(package.read_text(encoding="utf-8"))["version"]
    certificate = certify(folder)
    os.environ |= {"SSL_CERT_FILE": str(certificate), "NODE_EXTRA_CA_CERTS": str(certificate)}
    runs: dict[str, Callable[[], Cost]] = {
        "mixpanel-export": lambda: ours(folder, address, "tls.state"),
        f"mixpanel-import {version}": lambda: theirs(folder, modules),
        f"mixpanel-import {version} --compress": lambda: theirs(folder, modules, "--compress"),
    }
    whole = True
    for name, importer in runs.items():
        with server(latency, certificate) as address:
            cost = importer()
            counts = report(address)
        show(name, events, cost, counts)
        whole = whole and counts["distinct"] == events
    return whole


def certify(folder: Path) -> Path:
    """Let Mixpanel's host be this machine, and give the certificate that says so, with its key."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    hosts = folder / "hosts"
    hosts.write_text(f"127.0.0.1 localhost {HOST}\n", encoding="ascii")
    subprocess.run(["mount", "--bind", hosts, "/etc/hosts"], check=True)
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}"),
            *("-keyout", key, "-out", certificate),
        ],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    with certificate.open("a", encoding="ascii") as file:
        file.write(key.read_text(encoding="ascii"))
    return certificate


def main() -> int:
    """Measure, print, and return 0 if nothing was lost."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--beside", type=Path, metavar="DIR")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.beside and not arguments.inside:
        # A network and a file system of its own, of which nothing remains.
        unshare = ["unshare", "--net", "--mount", "--map-root-user"]
        os.execvp("unshare", [*unshare, sys.executable, *sys.argv, "--inside"])
    events: int = arguments.events
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = write_files(folder, events)
        print(f"{events:,} events, {size / 1e6:,.0f} MB, {FILES} gzip files", flush=True)
        if arguments.beside:
            whole = beside(folder, events, arguments.latency, arguments.beside.resolve())
        else:
            whole = alone(folder, events, arguments.latency)
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
