"""What the spool's commands show."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rich.console import Console
from rich.table import Table

from mixpanel_export import Stats
from mixpanel_export.cli._survey import GONE, Left, Rejected

# What of the ledger is always shown, and what only if it is not 0.
_ALWAYS: Final = ("adopted", "delivered", "rejected")
_ELSE: Final = ("expired", "evicted", "abandoned", "queued", "damaged")

_UNITS: Final = (("d", 86_400), ("h", 3_600), ("min", 60))


def show_spool(left: list[Left], now: float) -> None:
    """
    Print what lies in a spool as a table.

    Args:
        left: The rows.

        now: Seconds since the epoch.
    """
    console = _console()
    table = _table("project", "process", "state", "host")
    for name in ("events", "updates", "damaged", "size", "last write"):
        table.add_column(name, justify="right")
    for each in left:
        table.add_row(
            each.project,
            each.process,
            each.state,
            each.host.partition("://")[2],
            *(f"{count:,}" if count else "" for count in (each.events, each.updates, each.damaged)),
            size(each.bytes) if each.bytes else "",
            "" if each.last_write is None else f"{age(now - each.last_write)} ago",
        )
    if left:
        console.print(table)
    waiting = sum(each.events + each.updates for each in left)
    orphaned = sum(each.events + each.updates for each in left if each.state == GONE)
    console.print(f"{waiting:,} events wait, {orphaned:,} of processes that are gone.")


def show_rejected(rejected: Iterable[Rejected]) -> None:
    """Print how much was rejected, a line for each project."""
    for each in rejected:
        _console().print(
            f"{each.events:,} events of {each.project} were rejected ({size(each.bytes)})."
        )


def show_ledger(stats: Stats) -> None:
    """Print what became of what was taken over."""
    table = _table("")
    table.add_column("events", justify="right")
    for name in (*_ALWAYS, *_ELSE):
        count = getattr(stats, name)
        if count or name in _ALWAYS:
            table.add_row(name, f"{count:,}")
    _console().print(table)


def size(count: int) -> str:
    """Write a number of bytes as people do."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} B"


def age(seconds: float) -> str:
    """Write a time that has passed as people do."""
    for name, unit in _UNITS:
        if seconds >= unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{max(0.0, seconds):.0f} s"


def _console() -> Console:
    # In a pipe nobody wants rows that are cut off at 80 columns.
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=1_000)


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for name in names:
        table.add_column(name, no_wrap=True)
    return table
