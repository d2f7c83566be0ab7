"""The figures of `speed.py` as bars, in SVG that is legible on light and on dark."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from _speed_results import Results
from _speed_table import OURS, number

WIDTH = 900
PANEL = WIDTH // 2
LABEL = 130  # Pixels for a library's name,
BAR = 190  # for the longest bar,
LINE = 19  # and from one bar to the next.

STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 }
rect { fill: #8c959f }
.ours { fill: #7856ff }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
rect { fill: #6e7681 }
.ours { fill: #a48fff }
}
"""


class Panel(NamedTuple):
    """One figure of all libraries."""

    title: str
    row: str
    name: str
    factor: float
    alone: str = ""
    """What ours calls that of logging alone, which has a bar then besides the table's columns."""


PANELS = (
    Panel("caller's thread, µs an event in the median", "caller", "p50", 1.0, "floor p50"),
    Panel("caller's thread, ms at p99.9", "caller", "p999", 1e-3, "floor p999"),
    Panel("CPU seconds per million events delivered", "caller", "cpu", 1.0, "floor cpu"),
    Panel("delivered per second, answers after 50 ms", "50ms", "rate", 1.0),
    Panel("lost when 10 of 20 s are without answers, of 40,000", "outage", "lost", 1.0),
    Panel("import, ms", "import", "seconds", 1e3),
)


def picture(results: Results, columns: Sequence[str]) -> str:
    """Draw the panels that have something to show, two in a row."""
    shown = []
    for panel in PANELS:
        wanted = [(system, system, panel.name) for system in columns]
        if panel.alone:
            wanted.append(("floor", OURS, panel.alone))
        bars = [
            (label, value * panel.factor)
            for label, system, name in wanted
            if (value := results.median(panel.row, system, name)) is not None
        ]
        if bars:
            shown.append((panel, bars))
    tall = max((len(bars) for _, bars in shown), default=0) * LINE + 50
    height = (len(shown) + 1) // 2 * tall
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>{escape('; '.join(panel.title for panel, _ in shown))}</title>",
        f"<style>{STYLE}</style>",
    ]
    for index, (panel, bars) in enumerate(shown):
        drawn.append(f'<g transform="translate({index % 2 * PANEL} {index // 2 * tall})">')
        drawn += draw(panel.title, bars, results)
        drawn.append("</g>")
    return "\n".join([*drawn, "</svg>\n"])


def draw(title: str, bars: Sequence[tuple[str, float]], results: Results) -> list[str]:
    """Draw the bars of one panel, below its title."""
    longest = max(value for _, value in bars) or 1.0
    drawn = [f'<text class="title" x="8" y="22">{escape(title)}</text>']
    for index, (system, value) in enumerate(bars):
        top = 36 + index * LINE
        length = max(0.0, value) / longest * BAR
        label = escape(results.head["systems"][system]["label"])
        ours = ' class="ours"' if system == OURS else ""
        drawn += [
            f'<text x="{LABEL}" y="{top + 12}" text-anchor="end">{label}</text>',
            f'<rect{ours} x="{LABEL + 8}" y="{top + 2}" width="{length:.1f}" height="13"/>',
            f'<text x="{LABEL + 14 + length:.1f}" y="{top + 12}">{number(value)}</text>',
        ]
    return drawn
