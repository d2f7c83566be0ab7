"""
How what an event costs grows: with its properties, with threads, with events, with what waits.

    python benchmarks/growth.py              some six minutes: tables, and a picture for each
    python benchmarks/growth.py --long       ten million events too, ten minutes more

Each cell is a fresh interpreter that logs with this library's handler on its defaults, and a fresh
server on 127.0.0.1 that counts each event. The rounds go through all cells one after the other; the
tables show the least of each figure, since what else a machine does can only add to it. Beside it
stands the same logging call with `logging.NullHandler`, from the same process: where both grow, it
is the fields that grow, or the machine that is busy.
Pictures go to this folder, or to `--out FOLDER`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from _growth_cell import EVENTS, Figures
from _plot import Plot
from _run import HERE, cells, chosen, circumstances, environment, serve

# -- rows -----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Row:
    """What is varied, and what is shown."""

    places: tuple[int, ...]
    columns: dict[str, str]
    """The heads of the columns, by what a cell calls its figures."""

    digits: dict[str, int]
    """How many decimals a figure has; 1 if it is not said."""


WAITING = Row(
    places=(0, 1_000, 10_000, 100_000, 1_000_000),
    columns={
        "bare": "logging call alone, µs",
        "call": "with our handler, µs",
        "stats": "`stats`, µs",
        "memory": "memory, MB",
    },
    digits={"stats": 0},
)

ROWS = {
    "properties": Row(
        places=(10, 50, 200),
        columns={
            "bare": "logging call alone, µs",
            "call": "with our handler, µs",
            "each": "beyond the call, ns a property",
            "cpu": "CPU µs until delivered",
        },
        digits={"each": 0},
    ),
    "threads": Row(
        places=(1, 4, 16),
        columns={
            "bare": "logging call alone, µs",
            "call": "with our handler, µs",
            "bare cpu": "call alone, CPU µs",
            "call cpu": "CPU µs until delivered",
        },
        digits={},
    ),
    "events": Row(
        places=(10, 100, 1_000, 10_000, 100_000, 1_000_000),
        columns={
            "bare": "logging call alone, µs",
            "call": "with our handler, µs",
            "cpu": "CPU µs until delivered",
            "memory": "memory, MB",
        },
        digits={},
    ),
    "depth": WAITING,
    "spool": WAITING,
}

#: What is measured with `--long` only.
LONG = {"events": (10_000_000,)}

Found = dict[str, dict[int, Figures]]


def plots(found: Found) -> Iterator[tuple[str, Plot]]:
    """Draw what was found, as far as it was asked for."""

    def of(row: str, figure: str) -> dict[int, float]:
        return {place: figures[figure] for place, figures in found[row].items()}

    three = {"bare": "call alone", "call": "with our handler", "cpu": "CPU until delivered"}
    if "properties" in found:
        yield (
            "properties",
            Plot(
                title="An event's cost, by the number of its properties",
                x="properties",
                y="µs per event",
                lines={name: of("properties", figure) for figure, name in three.items()},
            ),
        )
    if "threads" in found:
        names = {"call cpu": "CPU until delivered", "bare cpu": "CPU, call alone"}
        names |= {"call": "with our handler", "bare": "call alone"}
        yield (
            "threads",
            Plot(
                title="An event's cost, by the number of threads that log",
                x="threads",
                y="µs per event",
                lines={name: of("threads", figure) for figure, name in names.items()},
                logarithmic=True,
            ),
        )
    if "events" in found:
        # What the first events of a process open is shared by few; the table has it.
        shown = [place for place in found["events"] if place >= 1_000]
        yield (
            "events",
            Plot(
                title="An event's cost, by the number of events",
                x="events, one after the other",
                y="µs per event",
                lines={
                    name: {place: found["events"][place][figure] for place in shown}
                    for figure, name in three.items()
                },
                logarithmic=True,
            ),
        )
    if "depth" in found and "spool" in found:
        yield (
            "depth",
            Plot(
                title="A call's cost, by the number of events that wait",
                x="events that wait",
                y="µs per event",
                lines={
                    "call alone": of("depth", "bare"),
                    "in memory": of("depth", "call"),
                    "with a spool": of("spool", "call"),
                },
                logarithmic=True,
            ),
        )


# -- measuring ------------------------------------------------------------------------------------


def measure(row: str, place: int) -> Figures:
    """
    Measure one cell, once.

    Raises:
        RuntimeError: If it failed, or an event is missing or came twice.
    """
    hangs = row in ("depth", "spool")
    with serve("--hang" * hangs) as address:
        cell = subprocess.run(
            [sys.executable, HERE / "_growth_cell.py", row, str(place), address],
            check=False,
            capture_output=True,
            text=True,
            env=environment(),
        )
        if cell.returncode:
            raise RuntimeError(f"{row} {place} failed:\n{cell.stderr}")
        figures: Figures = json.loads(cell.stdout)
        if not hangs:
            with urlopen(f"{address}/report", timeout=600) as answer:
                seen = json.load(answer)
            expected = place if row == "events" else EVENTS
            if (seen["distinct"], seen["duplicates"]) != (expected, 0):
                raise RuntimeError(f"{row} {place}: {seen} instead of {expected} events, once each")
    return figures


def table(row: Row, name: str, found: dict[int, Figures]) -> str:
    """Write one table in Markdown."""
    lines = [cells([name, *row.columns.values()]), "|--:" * (len(row.columns) + 1) + "|"]
    for place, figures in found.items():
        told = [f"{figures[each]:,.{row.digits.get(each, 1)}f}" for each in row.columns]
        lines.append(cells([f"{place:,}", *told]))
    return "\n".join(lines)


def main() -> None:
    """Measure what is asked for, print the tables, and draw the pictures."""
    parser = argparse.ArgumentParser(description="How cost grows; see README.md here.")
    parser.add_argument("--only", default="", help=f"rows, with commas: {','.join(ROWS)}")
    parser.add_argument("--rounds", type=int, default=3, help="runs per cell; the least is shown")
    parser.add_argument("--long", action="store_true", help="ten million events too, once")
    parser.add_argument("--out", type=Path, default=HERE, help="where the pictures go")
    arguments = parser.parse_args()
    try:
        rows = chosen(arguments.only, ROWS)
    except ValueError as error:
        parser.error(str(error))
    runs: dict[str, dict[int, list[Figures]]] = {row: {} for row in rows}
    for turn in range(arguments.rounds):
        for row in rows:
            long = LONG.get(row, ()) if arguments.long and not turn else ()
            for place in (*ROWS[row].places, *long):
                figures = measure(row, place)
                runs[row].setdefault(place, []).append(figures)
                told = ", ".join(f"{name} {value:,.1f}" for name, value in figures.items())
                print(f"{turn + 1} {row} {place:,}: {told}", file=sys.stderr)
    found = {
        row: {
            place: {name: min(each[name] for each in several) for name in several[0]}
            for place, several in by_place.items()
        }
        for row, by_place in runs.items()
    }
    for properties, figures in found.get("properties", {}).items():
        # Of what is shown: the least difference would be that of a call alone that was disturbed.
        figures["each"] = (figures["call"] - figures["bare"]) / properties * 1e3
    load = os.getloadavg()[2]
    print(f"{circumstances()}, load {load:.1f}, the least of {arguments.rounds} run(s) per cell")
    for row in rows:
        print(f"\n{table(ROWS[row], row, found[row])}")
    for name, plot in plots(found):
        (arguments.out / f"growth_{name}.svg").write_text(plot.svg(), encoding="utf-8")


if __name__ == "__main__":
    main()
