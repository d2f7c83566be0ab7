"""
What is delivered, and how the process ends: this library beside others, as a Markdown table.

    python benchmarks/baseline.py [--only ROW,…] [--systems a,b] [--repeats N] [--json FILE]

Each cell is a fresh interpreter that talks to a fresh server, on 127.0.0.1 only. Libraries that are
not installed are left out; README.md in this folder says how to get them. Nothing else should run
on the machine meanwhile.
"""

import argparse
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from typing import Any
from urllib.request import urlopen

HERE = Path(__file__).parent

# Seconds. What the process sent last is read by the server before it is asked for its counts.
SETTLE = 0.5


@dataclass(frozen=True, kw_only=True)
class Run:
    """One cell, once."""

    in_time: bool
    """False if it was killed at the limit."""

    exit_code: int
    total: float
    """Seconds from the first event to the end of the process; from its start if it was killed."""

    made: float
    """Seconds that making the events took, which is what the caller waited for."""

    p50: float
    p99: float
    """What one event cost the caller, in µs."""

    raised: int
    """Calls that raised into the application."""

    expected: int
    distinct: int
    duplicates: int
    requests: int
    answers: dict[str, int]
    """How many answers had which status."""

    lines: int
    """Lines on stderr."""

    counted: bool
    """Whether one of these lines has the number of lost events in it."""

    stderr: str
    """The beginning of it."""

    @property
    def lost(self) -> int:
        """How many events never arrived."""
        return self.expected - self.distinct


# -- how a cell reads -------------------------------------------------------------------------


def cost(runs: list[Run]) -> str:
    """Tell what an event costs the caller."""
    return f"{median(run.p50 for run in runs):,.0f} / {median(run.p99 for run in runs):,.0f}"


def delivered(runs: list[Run]) -> str:
    """Tell how many events arrived."""
    told = between([run.distinct for run in runs])
    if any(run.duplicates for run in runs):
        told += f", {between([run.duplicates for run in runs])} of them twice"
    return told if all(run.in_time for run in runs) else f"{told}; {total(runs)}"


def delivered_at_exit(runs: list[Run]) -> str:
    """Tell how many events arrived, and how long the end of the process took."""
    told = delivered(runs)
    if all(run.in_time for run in runs):
        told += f"; {median(run.total - run.made for run in runs):.1f} s"
    made = median(run.made for run in runs)
    return told if made < 1 else f"{told}, after {made:.1f} s in the caller"


def delivered_or_told(runs: list[Run]) -> str:
    """Tell how many events arrived, how many did not, and who was told."""
    lost = between([run.lost for run in runs])
    return f"{delivered(runs)}; {lost} lost{words(runs)}" if lost != "0" else delivered(runs)


def delivered_if_refused(runs: list[Run]) -> str:
    """Tell how many events arrived, unless no request was refused."""
    refused = any("413" in run.answers for run in runs)
    return delivered(runs) if refused else f"{delivered(runs)} (never above 20 kB)"


def time_and_words(runs: list[Run]) -> str:
    """Tell how long it all took, and who was told of the loss."""
    return total(runs) + words(runs)


def time_and_requests(runs: list[Run]) -> str:
    """Tell how long it all took, and how often the server was asked."""
    requests = between([run.requests for run in runs])
    return f"{total(runs)}, {plural(requests, 'request')}{words(runs)}"


def total(runs: list[Run]) -> str:
    """Tell the seconds from the first event to the end."""
    seconds = median(run.total for run in runs)
    return f"{seconds:.1f} s" if all(run.in_time for run in runs) else f"> {seconds:.0f} s"


def words(runs: list[Run]) -> str:
    """Tell how the process told of what it lost."""
    run = runs[-1]
    told = f", {run.raised:,} calls raised" if run.raised else ""
    if run.lines:
        told += f", {plural(f'{run.lines:,}', 'line')}{' with the number' * run.counted}"
    return told or (", silently" if run.lost and run.in_time else "")


def between(values: list[int]) -> str:
    """Tell the smallest and the largest of *values*, if they differ."""
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def plural(number: str, noun: str) -> str:
    """Count *noun*."""
    return f"{number} {noun}" if number == "1" else f"{number} {noun}s"


# -- the rows ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One question."""

    title: str
    action: str
    """What `_cell.py` does."""

    count: int
    """How many events it makes."""

    server: str
    """How `_server.py` behaves."""

    tell: Callable[[list[Run]], str]

    ours_only: bool = False
    """True if no other library has this to offer."""


ROWS = {
    "cost": Row(
        "caller cost of an event, µs: p50 / p99 (1,000 events, fast server)",
        "flush",
        1_000,
        "",
        cost,
    ),
    "slow": Row(
        "3,000 events, each answer after 100 ms, plain exit: delivered; time to exit",
        "exit",
        3_000,
        "--latency 0.1",
        delivered_at_exit,
    ),
    "hang": Row(
        "3,000 events, no answer ever, plain exit: time in all, and who was told",
        "exit",
        3_000,
        "--hang",
        time_and_words,
    ),
    "fork": Row(
        "`multiprocessing` fork: 1 event in the parent, 300 in the child: delivered of 301",
        "fork",
        301,
        "",
        delivered,
    ),
    "os.fork": Row(
        "`os.fork()`, the child ends with `sys.exit()`: the same",
        "os.fork",
        301,
        "",
        delivered,
    ),
    "spawn": Row("`multiprocessing` spawn: the same", "spawn", 301, "", delivered),
    "forkserver": Row("`multiprocessing` forkserver: the same", "forkserver", 301, "", delivered),
    "sigterm": Row(
        "300 events, then SIGTERM, no handler: delivered",
        "sigterm",
        300,
        "",
        delivered,
    ),
    "drain_on_sigterm": Row(
        "the same after `drain_on_sigterm()`",
        "drain_on_sigterm",
        300,
        "",
        delivered,
        ours_only=True,
    ),
    "503": Row(
        "300 events, every answer is 503, plain exit: time in all, requests, and who was told",
        "exit",
        300,
        "--status 503",
        time_and_requests,
    ),
    "413": Row(
        "400 events, 413 for bodies above 20 kB, flush: delivered",
        "flush",
        400,
        "--limit 20000",
        delivered_if_refused,
    ),
    "burst": Row(
        "50,000 events at once, then flush: delivered, lost, and who was told",
        "flush",
        50_000,
        "",
        delivered_or_told,
    ),
}


# -- measuring --------------------------------------------------------------------------------


def measure(system: str, row: Row, limit: float) -> Run:
    """
    Measure one cell.

    Raises:
        RuntimeError: If the library failed before it had taken the events.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            [sys.executable, HERE / "_server.py", *row.server.split()],
            stdout=subprocess.PIPE,
            text=True,
        ) as server,
    ):
        try:
            assert server.stdout is not None
            url = f"http://127.0.0.1:{int(server.stdout.readline())}"
            return _measure(system, row, limit, url, Path(folder))
        finally:
            server.kill()


def _measure(system: str, row: Row, limit: float, url: str, folder: Path) -> Run:
    out, err = folder / "out", folder / "err"
    # Nothing of the caller's: variables configure many of these libraries, and name proxies.
    environment = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    with out.open("wb") as stdout, err.open("wb") as stderr:
        # A session of its own, so that it can be killed together with its children.
        process = subprocess.Popen(
            [sys.executable, HERE / "_cell.py", system, row.action, url, str(row.count)],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env={**environment, "HOME": str(folder), "TMPDIR": str(folder)},
            cwd=folder,
            start_new_session=True,
        )
        started, in_time = time.monotonic(), True
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            in_time = False
        ended = time.monotonic()
        with suppress(ProcessLookupError):  # A child may be there when its parent is not.
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    time.sleep(SETTLE)
    with urlopen(f"{url}/report", timeout=10) as answer:
        seen = json.load(answer)
    told = err.read_text(errors="replace")
    reports = [line for line in out.read_text(errors="replace").splitlines() if line[:1] == "{"]
    if not reports and in_time:
        raise RuntimeError(f"{system} failed, with exit code {process.returncode}:\n{told}")
    # Killed before it came to report: all the time was the caller's.
    made = json.loads(reports[0]) if reports else _unfinished(started, ended)
    lost = row.count - seen["distinct"]
    return Run(
        in_time=in_time,
        exit_code=process.returncode,
        total=ended - (made["begun"] if in_time else started),
        made=made["ended"] - made["begun"],
        p50=made["p50"],
        p99=made["p99"],
        raised=made["raised"],
        expected=row.count,
        distinct=seen["distinct"],
        duplicates=seen["duplicates"],
        requests=seen["requests"],
        answers=seen["answers"],
        lines=told.count("\n"),
        counted=lost > 0 and bool(re.search(rf"\b{lost}\b", told.replace(",", ""))),
        stderr=told[:2_000],
    )


def _unfinished(started: float, ended: float) -> dict[str, Any]:
    return {"begun": started, "ended": ended, "p50": 0.0, "p99": 0.0, "raised": 0}


def installed() -> dict[str, dict[str, str | None]]:
    """Ask which libraries there are, in an interpreter of its own."""
    answer = subprocess.run(
        [sys.executable, HERE / "_cell.py", "--describe"],
        check=True,
        capture_output=True,
        text=True,
    )
    described: dict[str, dict[str, str | None]] = json.loads(answer.stdout)
    return described


# -- the table --------------------------------------------------------------------------------


def table(
    systems: dict[str, dict[str, str | None]], results: dict[str, dict[str, list[Run]]]
) -> str:
    """Write the table in Markdown."""
    heads = [f"{each['label']} {each['version'] or ''}".strip() for each in systems.values()]
    lines = [cells(["", *heads]), "|---" * (len(heads) + 1) + "|"]
    for name, by_system in results.items():
        told = [
            ROWS[name].tell(by_system[system])
            if system in by_system
            else "not installed"
            if systems[system]["version"] is None
            else "–"
            for system in systems
        ]
        lines.append(cells([ROWS[name].title, *told]))
    return "\n".join(lines)


def cells(texts: list[str]) -> str:
    """Write one line of the table."""
    return f"| {' | '.join(texts)} |"


def circumstances(arguments: argparse.Namespace) -> str:
    """Say when and where this was measured; the load is that of the last quarter of an hour."""
    return (
        f"{datetime.now(timezone.utc):%Y-%m-%d}, {platform.python_implementation()} "
        f"{platform.python_version()}, {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} cores, load {os.getloadavg()[2]:.1f}, "
        f"{arguments.repeats} run(s) per cell, limit {arguments.limit:.0f} s"
    )


def chosen(text: str, known: dict[str, Any]) -> list[str]:
    """Read a list with commas; raises ValueError for a name that is not known."""
    names = text.split(",") if text else list(known)
    for name in names:
        if name not in known:
            raise ValueError(f"{name!r} is none of {', '.join(known)}")
    return names


def main() -> int:
    """Measure what is asked for, and print the table."""
    parser = argparse.ArgumentParser(description="Compare delivery and exits; see README.md here.")
    parser.add_argument("--only", default="", help=f"rows, with commas: {','.join(ROWS)}")
    parser.add_argument("--systems", default="", help="columns, with commas")
    parser.add_argument("--repeats", type=int, default=1, help="runs per cell; medians are shown")
    parser.add_argument("--limit", type=float, default=45.0, help="seconds a cell may take")
    parser.add_argument("--json", type=Path, help="write each single run to this file")
    arguments = parser.parse_args()
    known = installed()
    try:
        rows = chosen(arguments.only, ROWS)
        systems = {name: known[name] for name in chosen(arguments.systems, known)}
    except ValueError as error:
        parser.error(str(error))
    results: dict[str, dict[str, list[Run]]] = {name: {} for name in rows}
    for repeat in range(arguments.repeats):
        for name in rows:
            for system, about in systems.items():
                if about["version"] is None or (ROWS[name].ours_only and system != "ours"):
                    continue
                run = measure(system, ROWS[name], arguments.limit)
                results[name].setdefault(system, []).append(run)
                print(f"{repeat + 1} {name} {system}: {ROWS[name].tell([run])}", file=sys.stderr)
    print(f"{circumstances(arguments)}\n\n{table(systems, results)}")
    if arguments.json:
        runs = {
            name: {system: [asdict(run) for run in each] for system, each in by_system.items()}
            for name, by_system in results.items()
        }
        told = {"circumstances": circumstances(arguments), "systems": systems, "rows": runs}
        arguments.json.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
