"""What the command `check` shows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mixpanel_export.cli._terminal import printable
from mixpanel_export.cli.check._finding import Finding

# Each level's sign, what stands for it where only ASCII is, and its colour.
_SIGNS: Final = {
    "ok": ("✓", "ok", "green"),
    "note": ("·", "-", "dim"),
    "warning": ("!", "!", "bold yellow"),
    "problem": ("✗", "X", "bold red"),
}


def show(findings: Iterable[Finding]) -> None:
    """Print what was found, and what to do about it."""
    console = Console(highlight=False)
    plain = not console.encoding.lower().startswith("utf")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for each in findings:
        sign, ascii_sign, style = _SIGNS[each.level]
        table.add_row(
            Text(ascii_sign if plain else sign, style),
            Text(each.subject, "bold"),
            Text(printable(each.text)),
        )
        if each.fix:
            table.add_row("", "", Text(f"{'->' if plain else '→'} {printable(each.fix)}", "cyan"))
    console.print(table)
    console.print()
    console.print(_sum(list(findings)))


def _sum(findings: list[Finding]) -> Text:
    problems, warnings = (
        sum(each.level == level for each in findings) for level in ("problem", "warning")
    )
    counts = ", ".join(
        f"{count} {name}{'s' * (count != 1)}"
        for count, name in ((problems, "problem"), (warnings, "warning"))
        if count
    )
    style = "bold red" if problems else "bold yellow" if warnings else "bold green"
    return Text(f"{counts}." if counts else "Nothing is wrong.", style)
