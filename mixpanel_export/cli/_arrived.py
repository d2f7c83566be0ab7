"""What arrived at an emulator, for those who look at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mixpanel_export.cli._terminal import printable
from mixpanel_export.emulator import EmulatorProcess

# The most frequent names and the latest kinds of failure: those that are looked for.
_MAX_NAMES: Final = 20
_MAX_FAILURES: Final = 10

_COUNTS: Final = ("imported", "distinct", "duplicates", "rejected", "vanished")


def show_arrived(emulator: EmulatorProcess) -> None:
    """
    Print requests, counts, events by name and failures to standard error.

    Raises:
        OSError, RuntimeError, http.client.HTTPException: If the emulator does not answer.
    """
    stats = emulator.stats()
    names = Counter(str(event["event"]) for event in emulator.each_event())
    failures = emulator.failures()
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print()
    if not stats["requests"]:
        console.print("Nothing arrived. Does the command send to MIXPANEL_BASE_URL?")
        return
    console.print(_counts(stats))
    if names:
        console.print()
        console.print(_names(names, stats))
    if failures:
        # Not as a table: these texts are long, and in a log each should be one line.
        console.print("", *_failures(failures), sep="\n", markup=False)


def _grid(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for name in names:
        number = name.endswith("#")
        table.add_column(name.rstrip("#"), justify="right" if number else "left", min_width=7)
    return table


def _counts(stats: Mapping[str, Any]) -> Table:
    requests = stats["requests"]
    answers = ", ".join(f"{count:,} × {answer}" for answer, count in sorted(requests.items()))
    table = _grid("arrived", "#", "")
    table.add_row("requests", f"{sum(requests.values()):,}", answers)
    for name in _COUNTS:
        table.add_row(name, f"{stats[name]:,}")
    table.add_row("profiles", f"{stats['profiles'] + stats['groups']:,}")
    if stats["updates_rejected"]:
        table.add_row("updates rejected", f"{stats['updates_rejected']:,}")
    return table


def _names(names: Counter[str], stats: Mapping[str, Any]) -> Table:
    part = "" if stats["stored"] == stats["imported"] else f" (of the newest {stats['stored']:,})"
    table = _grid(f"event{part}", "#")
    for name, count in names.most_common(_MAX_NAMES):
        table.add_row(Text(printable(name)), f"{count:,}")
    if len(names) > _MAX_NAMES:
        table.add_row(f"{len(names) - _MAX_NAMES:,} more names", "")
    return table


def _failures(failures: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "failed"
    for one in failures[:_MAX_FAILURES]:
        where = one["field"] if one["kind"] == "rejected" else f"{one['endpoint']} {one['field']}"
        yield printable(f"  {one['count']:,} × {one['kind']}  {where.strip()}: {one['message']}")
        if one["source"]:
            yield printable(f"      {one['origin']}: {one['source']}")
    if len(failures) > _MAX_FAILURES:
        yield f"  and {len(failures) - _MAX_FAILURES:,} other kinds"
