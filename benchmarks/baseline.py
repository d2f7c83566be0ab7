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
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from _run import Run, between, cells, chosen, circumstances, described, measure
from _systems import SYSTEMS

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


def main() -> int:
    """Measure what is asked for, and print the table."""
    parser = argparse.ArgumentParser(description="Compare delivery and exits; see README.md here.")
    parser.add_argument("--only", default="", help=f"rows, with commas: {','.join(ROWS)}")
    parser.add_argument("--systems", default="", help="columns, with commas")
    parser.add_argument("--repeats", type=int, default=1, help="runs per cell; medians are shown")
    parser.add_argument("--limit", type=float, default=45.0, help="seconds a cell may take")
    parser.add_argument("--json", type=Path, help="write each single run to this file")
    arguments = parser.parse_args()
    found = described()["systems"]
    known = {name: found[name] for name in SYSTEMS}
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
                row = ROWS[name]
                run = measure(
                    system, row.action, row.count, server=row.server, limit=arguments.limit
                )
                results[name].setdefault(system, []).append(run)
                print(f"{repeat + 1} {name} {system}: {ROWS[name].tell([run])}", file=sys.stderr)
    # The load is that of the last quarter of an hour.
    where = (
        f"{circumstances()}, load {os.getloadavg()[2]:.1f}, {arguments.repeats} run(s) per cell,"
        f" limit {arguments.limit:.0f} s"
    )
    print(f"{where}\n\n{table(systems, results)}")
    if arguments.json:
        runs = {
            name: {system: [asdict(run) for run in each] for system, each in by_system.items()}
            for name, by_system in results.items()
        }
        told = {"circumstances": where, "systems": systems, "rows": runs}
        arguments.json.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
