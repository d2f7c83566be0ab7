"""Lines in a coordinate system, drawn as SVG."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 720, 380
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 50, 55

#: Told apart by those who see no difference between red and green too.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")

#: How far apart, in pixels, the names of two lines stand at least.
LEADING = 16

GRID = "#dddddd"
INK = "#333333"


@dataclass(frozen=True, kw_only=True)
class Plot:
    """
    A picture: one value on each axis, and a line for each name.

    The vertical axis begins at 0, so that what is flat looks flat and nothing else does.
    """

    title: str
    x: str
    """What the horizontal axis counts."""

    y: str
    """What the vertical one measures, with its unit."""

    lines: dict[str, dict[int, float]]
    """For each name the values, by their places on the horizontal axis; the same for all names."""

    logarithmic: bool = False
    """Whether each power of ten has the same room; 0 has its place before the first of them."""

    def svg(self) -> str:
        """Draw it."""
        top = _round_up(max(max(values.values()) for values in self.lines.values()))
        parts = [*self._frame(top)]
        ends = _apart([self._down(list(each.values())[-1], top) for each in self.lines.values()])
        for (name, values), colour, end in zip(self.lines.items(), COLOURS, ends, strict=False):
            places = [(self._along(x), self._down(y, top)) for x, y in values.items()]
            path = " ".join(f"{across:.1f},{down:.1f}" for across, down in places)
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" {_WIDE}/>')
            parts += [
                f'<circle cx="{across:.1f}" cy="{down:.1f}" r="3.5" fill="{colour}"/>'
                for across, down in places
            ]
            parts.append(_text(WIDTH - RIGHT + 12, end + 4, name, colour=colour))
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            f'font-family="system-ui, sans-serif" font-size="12">'
        )
        return "\n".join([head, f"<title>{escape(self.title)}</title>", *parts, "</svg>", ""])

    def _frame(self, top: float) -> list[str]:
        """Draw what the lines stand in."""
        parts = [
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
            f'<text x="{LEFT}" y="24" fill="{INK}" font-size="15">{escape(self.title)}</text>',
            _text(LEFT, 42, self.y),
            _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, self.x, anchor="middle"),
        ]
        for step in range(5):
            value = top * step / 4
            down = self._down(value, top)
            parts.append(
                f'<path d="M{LEFT} {down:.1f}H{WIDTH - RIGHT}" stroke="{GRID}"/>'
                + _text(LEFT - 8, down + 4, f"{value:,.10g}", anchor="end")
            )
        for x in next(iter(self.lines.values())):
            across = self._along(x)
            parts.append(
                f'<path d="M{across:.1f} {HEIGHT - BOTTOM}v5" stroke="{INK}"/>'
                + _text(across, HEIGHT - BOTTOM + 19, f"{x:,}", anchor="middle")
            )
        return parts

    def _along(self, x: int) -> float:
        """Say how far to the right *x* is, in pixels."""
        places = list(next(iter(self.lines.values())))
        if self.logarithmic:
            # 0 stands one power of ten before the first place that has a logarithm.
            zero = math.log10(min(place for place in places if place)) - 1
            x_, low, high = (
                math.log10(each) if each else zero for each in (x, places[0], places[-1])
            )
        else:
            x_, low, high = float(x), 0.0, float(places[-1])
        return LEFT + (WIDTH - LEFT - RIGHT) * (x_ - low) / (high - low)

    @staticmethod
    def _down(y: float, top: float) -> float:
        """Say how far down *y* is, in pixels."""
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * y / top


_WIDE = 'stroke-width="2" stroke-linejoin="round"'


def _text(
    across: float,
    down: float,
    text: str,
    *,
    anchor: str = "start",
    colour: str = INK,
) -> str:
    return (
        f'<text x="{across:.1f}" y="{down:.1f}" text-anchor="{anchor}" fill="{colour}">'
        f"{escape(text)}</text>"
    )


def _apart(ends: list[float]) -> list[float]:
    """Move names that would stand on each other down, in their order."""
    moved = list(ends)
    lowest = -math.inf
    for index in sorted(range(len(ends)), key=lambda each: ends[each]):
        moved[index] = lowest = max(ends[index], lowest + LEADING)
    return moved


def _round_up(value: float) -> float:
    """Give the next number above *value* that a quarter of is short: 1, 2, 4 or 8 and zeros."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(
        power * each for each in (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10) if power * each >= value
    )
