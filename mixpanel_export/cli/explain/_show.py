"""What the command `explain` shows."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mixpanel_export._limits import MAX_EVENT_BYTES
from mixpanel_export.cli._terminal import printable, safe_json
from mixpanel_export.cli.explain._reasons import Explanation

# So much of a value is shown, if there is room.
_WIDTH: Final = 40


def show(explanations: Iterable[Explanation]) -> None:
    """Print each, with a blank line in between."""
    console = Console(highlight=False)
    for number, each in enumerate(explanations):
        if number:
            console.print()
        _show(console, each)


def _show(console: Console, explanation: Explanation) -> None:
    if explanation.verdict == "event":
        title = Text.assemble(("Event ", "bold green"), (printable(explanation.name), "bold"))
        title.append(f"  {explanation.bytes:,} bytes of {MAX_EVENT_BYTES:,}", "dim")
    else:
        title = Text(f"No event, {explanation.verdict}", "bold red")
        if explanation.name:
            title.append(f": {printable(explanation.name)}", "not bold default")
    console.print(title)
    if explanation.why:
        console.print(_table([("why", "", explanation.why), ("to do", "", explanation.fix)]))
    if explanation.properties:
        rows = [
            (each.name, _value(each.value), "; ".join(each.why)) for each in explanation.properties
        ]
        console.print()
        console.print(_table(rows, "property", "value", width=console.width))
    if explanation.omitted:
        console.print()
        console.print(
            _table([(each.name, "", each.why) for each in explanation.omitted], "not sent")
        )
    for update in explanation.updates:
        console.print()
        console.print(Text.assemble(("Beside it, to the profile  ", "bold"), _value(update)))
    if explanation.notes:
        console.print()
        notes = Table.grid(padding=(0, 1, 0, 0))
        for note in explanation.notes:
            notes.add_row(Text("!", "yellow"), Text(printable(note)))
        console.print(notes)


def _table(
    rows: list[tuple[str, str, str]], first: str = "", second: str = "", *, width: int = 80
) -> Table:
    table = Table(
        box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=bool(first), header_style="bold"
    )
    table.add_column(first, overflow="fold", max_width=26, style="cyan")
    if second:
        table.add_column(second, no_wrap=True, max_width=max(28, width // 3))
    table.add_column("why" if first else "", overflow="fold")
    for name, value, why in rows:
        if why:
            # As texts, since square brackets would be taken for markup.
            cells = (name, value, why) if second else (name, why)
            table.add_row(*(Text(printable(cell)) for cell in cells))
    return table


def _value(value: object) -> str:
    text = safe_json(json.dumps(value, ensure_ascii=False))
    return text if len(text) <= _WIDTH else f"{text[:_WIDTH]}…"
