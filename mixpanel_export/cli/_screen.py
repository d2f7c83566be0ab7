"""What the demo shows: a live picture on a terminal, lines in a pipe, and the ledger at the end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import zip_longest
from typing import Final

import click
from rich.columns import Columns
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from mixpanel_export import Stats
from mixpanel_export.cli._ledger import Stored, Told

#: Shows how far things are: seconds passed, the pipeline's ledger, the emulator's counts.
Show = Callable[[float, Stats, Mapping[str, int]], None]

_Row = tuple[str, int | None]

_BLANK: Final[_Row] = ("", None)

# What of the ledger is shown while the shop is open.
_RUNNING: Final = ("accepted", "delivered", "queued")

# What is shown of what the emulator stored.
_STORED: Final = ("imported", "duplicates", "distinct", "rejected")


@contextmanager
def progress(seconds: float) -> Iterator[tuple[Show, float]]:
    """
    Give, for the time of this context, what shows how far things are, and how often to call it.

    Args:
        seconds: What counts as the whole way.
    """
    console = Console(highlight=False)
    if not sys.stdout.isatty() or console.is_dumb_terminal:
        yield _show_line, 1.0
        return
    bar = ProgressBar(total=seconds, width=48)
    with Live(console=console, transient=True, auto_refresh=False) as live:

        def show(passed: float, stats: Stats, stored: Mapping[str, int]) -> None:
            bar.update(passed)
            way = Columns([bar, f"{passed:.0f} s of {seconds:g} s"])
            live.update(Group(way, "", _table(_rows(stats, _RUNNING), stored)), refresh=True)

        yield show, 0.2


def show_ledger(told: Told, stats: Stats, stored: Stored) -> None:
    """Print what was said and what has arrived, door by door, and both ledgers in full."""
    console = Console(highlight=False)
    console.print(_doors(told, stored))
    console.print()
    rows = [
        ("events", sum(told.events.values())),
        ("profile updates", told.updates),
        *_rows(stats, ("accepted", "delivered", "rejected", "queued", "abandoned")),
        ("dropped", sum(stats.dropped.values())),
        *((f"  {reason}", count) for reason, count in stats.dropped.items()),
        ("ignored (not events)", stats.ignored),
    ]
    console.print(_table(rows, stored.counts))


def _show_line(passed: float, stats: Stats, stored: Mapping[str, int]) -> None:
    click.echo(
        f"{passed:4.0f} s  {stats.accepted:,} accepted  {stats.delivered:,} delivered"
        f"  {stats.queued:,} queued  {stored['distinct']:,} distinct in the emulator"
    )


def _rows(stats: Stats, names: tuple[str, ...]) -> list[_Row]:
    return [(name, getattr(stats, name)) for name in names]


def _doors(told: Told, stored: Stored) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("door", min_width=20)
    for side in ("said", "arrived"):
        table.add_column(side, justify="right", min_width=7)
    for door in {**told.events, **stored.events}:
        said, arrived = (events.get(door, 0) for events in (told.events, stored.events))
        table.add_row(door, _number(said), _number(arrived))
    table.add_row("profiles", _number(len(told.profiles)), _number(len(stored.profiles)))
    return table


def _table(left: list[_Row], stored: Mapping[str, int]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for side in ("pipeline", "emulator"):
        table.add_column(side, min_width=20)
        table.add_column("", justify="right", min_width=7, style="bold")
    right: list[_Row] = [(name, stored[name]) for name in _STORED]
    for (one, count), (other, found) in zip_longest(left, right, fillvalue=_BLANK):
        table.add_row(one, _number(count), other, _number(found))
    return table


def _number(count: int | None) -> str:
    return "" if count is None else f"{count:,}"
