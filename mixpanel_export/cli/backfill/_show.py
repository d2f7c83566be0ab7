"""How far it is: a live line on a terminal, lines in a pipe; and the ledger at the end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mixpanel_export.cli._terminal import printable
from mixpanel_export.cli.backfill._books import LEFT_OUT, Books

# Between two lines in a pipe, in seconds.
_INTERVAL: Final = 5.0


@contextmanager
def progress(books: Books) -> Iterator[Callable[[str], None]]:
    """Show how far *books* are, on the standard error; gives what writes a line there."""
    console = _console(stderr=True)
    if console.is_terminal and not console.is_dumb_terminal:
        with Live(
            console=console,
            transient=True,
            refresh_per_second=5,
            get_renderable=lambda: _picture(books),
        ):
            yield lambda text: console.print(_told(text))
        return
    over = threading.Event()

    def say() -> None:
        while not over.wait(_INTERVAL):
            console.print(Text(_line(books)))

    thread = threading.Thread(target=say, name="mixpanel-import-progress", daemon=True)
    thread.start()
    try:
        yield lambda text: console.print(_told(text))
    finally:
        over.set()
        thread.join()


def _console(*, stderr: bool = False) -> Console:
    console = Console(stderr=stderr, highlight=False)
    # Who reads a pipe wants a line for each thing; a terminal would break words.
    console.soft_wrap = not console.is_terminal
    return console


def _told(text: str) -> Text:
    """Set off where something is from what it is; either may be anybody's words."""
    text = printable(text)
    place, sign, what = text.partition(": ")
    return Text.assemble((place, "yellow"), sign, what) if sign else Text(text)


def _line(books: Books) -> str:
    trouble = f"  ({books.trouble})" if books.trouble else ""
    return f"{books.seconds:6.0f} s  {_progress(books)}{trouble}"


def _progress(books: Books) -> str:
    counts = books.counts
    left = books.left
    wrong = counts["rejected"] + counts["invalid"]
    return (
        f"{books.settled:,} records  {books.rate():,.0f}/s"
        f"  {wrong:,} rejected  {books.retries:,} retried"
        + (f"  {_duration(left)} left" if left is not None else "")
    )


def _picture(books: Books) -> RenderableType:
    picture = Table.grid()
    if books.size:
        picture.add_row(ProgressBar(total=books.size, completed=books.position, width=60))
    picture.add_row(_progress(books))
    if books.trouble:
        picture.add_row(Text(printable(books.trouble), "yellow"))
    return picture


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def show_ledger(books: Books, *, dry: bool, notes: list[str]) -> None:
    """
    Print what became of each record.

    Args:
        books: What became of them.

        dry: Whether nothing was sent.

        notes: What else there is to say, a line each.
    """
    console = _console()
    counts = books.counts
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), show_header=False)
    table.add_column(min_width=28)
    table.add_column(justify="right", min_width=11)
    rows = [
        ("records", books.settled, ""),
        ("would be sent" if dry else "delivered", counts["delivered"], "green"),
        ("rejected by Mixpanel", counts["rejected"], "bold red"),
        ("not fit to be sent", counts["invalid"], "bold red"),
        ("abandoned, outcome unknown", counts["abandoned"], "bold red"),
        *((text, counts[name], "") for name, text in LEFT_OUT.items() if counts[name]),
    ]
    for name, count, style in rows:
        table.add_row(name, f"{count:,}", style=style if count else "")
    if any(books.before.values()):
        table.add_row("of these by earlier runs", f"{sum(books.before.values()):,}")
    if not dry:
        table.add_row("requests", f"{books.requests:,}")
        table.add_row("of these without a verdict", f"{books.retries:,}")
    table.add_row("records per second", f"{books.average:,.0f}")
    if console.is_terminal:
        console.print()
    console.print(table)
    for text, count in books.hints:
        console.print(Text(f"note, {_times(count)}: {text}"))
    for note in notes:
        console.print(Text(note))
