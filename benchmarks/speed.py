"""
How fast it is: this library beside others, as a Markdown table and a picture.

    python benchmarks/speed.py --json FILE            all of it, once
    python benchmarks/speed.py --json FILE --repeats 3 --write
    python benchmarks/speed.py --rows caller,import --systems ours,segment --quick
    python benchmarks/speed.py --show FILE            what was measured; nothing else

Each cell is a fresh interpreter with one library, beside a fresh server, on 127.0.0.1 only; the
libraries take turns. FILE grows with each cell: the same command, given again, goes on where it was
stopped. Libraries that are not installed are left out; README.md in this folder says how to get
them. Linux only. Nothing else should run on the machine meanwhile.
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from _run import chosen, circumstances, described
from _speed_picture import picture
from _speed_results import Results, begin, load
from _speed_rows import ROWS
from _speed_table import TUNED, table
from _systems import SYSTEMS, VARIANTS

HERE = Path(__file__).resolve().parent
PICTURE = "speed.svg"

# What `--write` replaces in README.md.
SECTION = re.compile(r"(?<=<!-- speed -->\n).*?(?=<!-- /speed -->\n)", re.DOTALL)


class Session:
    """
    What is measured now.

    Args:
        results: Where it goes,

        file: and where it is kept, if anywhere.

        scale: How much of each row, up to 1.
    """

    def __init__(self, results: Results, file: TextIO | None, scale: float) -> None:
        self._results = results
        self._file = file
        self._scale = scale
        self._begun = time.monotonic()

    def run(self, row: str, systems: Sequence[str], run: int) -> None:
        """Put one row to all *systems*, but for those that have answered."""
        left = [each for each in systems if not self._results.has(row, each, run)]
        with ThreadPoolExecutor(ROWS[row].lanes) as lanes:
            asked = lanes.map(lambda system: ROWS[row].ask(system, self._scale), left)
            for system, (figures, stderr) in zip(left, asked, strict=True):
                self._results.add(row, system, run, figures)
                cell = {"row": row, "system": system, "run": run, "figures": figures}
                if self._file:
                    self._file.write(f"{json.dumps({**cell, 'stderr': stderr[:500]})}\n")
                    self._file.flush()
                spent = time.monotonic() - self._begun
                print(f"{spent:5.0f} s  {run + 1} {row}, {system}: {figures}", file=sys.stderr)


def sections(repeats: int, rows: Sequence[str]) -> Iterator[tuple[int, str, Sequence[str]]]:
    """Give the rows, run by run, and who takes part."""
    for run in range(repeats):
        for name in rows:
            row = ROWS[name]
            if run < row.runs:
                yield run, name, row.systems
            for again in range(1, row.often):
                yield again * repeats + run, name, row.close


def conditions(results: Results) -> str:
    """Say how the figures came about."""
    head = results.head
    runs = f"medians of up to {results.runs} runs" if results.runs > 1 else "one run of each cell"
    told = f"{head['where']}, sources {head['sources']}, {runs}."
    return told if head["scale"] == 1 else f"{told} Only a try: {head['scale']:.0%} of the events."


def columns(results: Results) -> list[str]:
    """List the systems that have a column: those that are installed."""
    names = [name for each in SYSTEMS for name in ([each, TUNED] if each == "snowplow" else [each])]
    return [each for each in names if results.head["systems"][each]["version"] is not None]


def write(results: Results, told: str, readme: Path) -> None:
    """Put the table into *readme*, and the picture beside it."""
    text = readme.read_text(encoding="utf-8")
    if not SECTION.search(text):
        raise ValueError(f"{readme} has no place for the table")
    block = f"\n{told}\n\n![The same as bars]({PICTURE})\n\n"
    readme.write_text(SECTION.sub(lambda _: block, text), encoding="utf-8")
    drawn = picture(results, columns(results))
    readme.with_name(PICTURE).write_text(drawn, encoding="utf-8")


def measured(arguments: argparse.Namespace) -> Results:
    """Measure what is asked for and not there yet."""
    found = described()
    rows = chosen(arguments.rows, ROWS)
    systems = set(chosen(arguments.systems, SYSTEMS))
    # With a library go its other doors, or its other settings.
    systems |= {TUNED} if "snowplow" in systems else set()
    systems |= VARIANTS.keys() - {TUNED} if "ours" in systems else set()
    scale = 0.05 if arguments.quick else 1.0
    head = {"where": circumstances(), "scale": scale, **found}
    present = {name for name, about in found["systems"].items() if about["version"] is not None}
    with ExitStack() as stack:
        file = None
        if arguments.json:
            results = begin(arguments.json, head)
            file = stack.enter_context(arguments.json.open("a", encoding="utf-8"))
        else:
            results = Results(head)
        session = Session(results, file, scale)
        for run, row, askable in sections(arguments.repeats, rows):
            # There and back again, so that nobody always comes first.
            order = askable[:: -1 if run % 2 else 1]
            session.run(row, [each for each in order if each in systems & present], run)
    return results


def main() -> int:
    """Measure what is asked for, and print the table."""
    parser = argparse.ArgumentParser(description="Compare speed; see README.md here.")
    parser.add_argument("--rows", default="", help=f"with commas: {','.join(ROWS)}")
    parser.add_argument("--systems", default="", help="with commas; all that are installed")
    parser.add_argument("--repeats", type=int, default=1, help="runs per cell; medians are shown")
    parser.add_argument("--quick", action="store_true", help="a twentieth of the events, as a try")
    parser.add_argument("--json", type=Path, help="keep each run in this file, and go on with it")
    parser.add_argument("--show", type=Path, help="measure nothing; show what this file has")
    parser.add_argument(
        "--write",
        type=Path,
        nargs="?",
        const=HERE / "README.md",
        help="put the table into this README, and the picture beside it",
    )
    arguments = parser.parse_args()
    try:
        results = load(arguments.show) if arguments.show else measured(arguments)
        told = f"{conditions(results)}\n\n{table(results, columns(results))}"
        print(told)
        if arguments.write:
            write(results, told, arguments.write)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
