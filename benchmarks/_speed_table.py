"""How the figures of `speed.py` read: a table in Markdown."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import truediv

from _run import between, cells
from _speed_results import Results
from _systems import SYSTEMS

OURS = "ours"
RIVALS = tuple(each for each in SYSTEMS if each != OURS)
TUNED = "snowplow tuned"


@dataclass(frozen=True, kw_only=True)
class Line:
    """
    One line of the table.

    Args:
        title: What it is about; ``{floor}`` is what the floor takes.

        floor: Tells it.

        tell: Tells what a system has shown; "" is nothing.

        aim: What ours is to show.

        score: Compares that with what it shows: up to 1 it is met, 1.1 is missed by 10 %; `None` if
            there is nothing to compare.
    """

    title: str
    tell: Callable[[Results, str], str]
    floor: Callable[[Results], str] = lambda _: ""
    aim: str = ""
    score: Callable[[Results], float | None] = lambda _: None


# -- how a cell reads -------------------------------------------------------------------------


def number(value: float | None, factor: float = 1.0) -> str:
    """Write *value* times *factor* with three digits."""
    if value is None:
        return ""
    if not value:
        return "0"
    rounded = float(f"{value * factor:.3g}")
    return f"{rounded:,.{0 if abs(rounded) >= 100 else 1 if abs(rounded) >= 10 else 2}f}"


def alone(results: Results, name: str) -> float | None:
    """Give a figure of logging alone, beside the first library that was compared with it."""
    found = (results.median("caller", each, name) for each in SYSTEMS)
    return next((each for each in found if each is not None), None)


def costs(base: str) -> Callable[[Results, str], str]:
    """Tell the median of the caller's costs, and compare it with that of *base*."""

    def tell(results: Results, system: str) -> str:
        ratio = results.median("caller", system, f"times {base}")
        told = number(results.median("caller", system, "p50"))
        return told if ratio is None else f"{told} ({ratio:.2f}x)"

    return tell


def only(system: str, tell: Callable[[Results, str], str]) -> Callable[[Results, str], str]:
    """Tell of ours alone, and there of *system*."""
    return lambda results, column: tell(results, system) if column == OURS else ""


def simply(row: str, name: str, factor: float = 1.0, unit: str = "") -> Callable[..., str]:
    """Tell the median of one figure."""

    def tell(results: Results, system: str) -> str:
        told = number(results.median(row, system, name), factor)
        return f"{told}{unit}" if told else ""

    return tell


def rate(row: str) -> Callable[[Results, str], str]:
    """Tell how many events a second arrived, and how many did not."""

    def tell(results: Results, system: str) -> str:
        told = number(results.median(row, system, "rate"))
        made, lost = (results.median(row, system, name) for name in ("expected", "lost"))
        return f"{told}, {lost / made:.0%} missing" if lost and made else told

    return tell


def delivered(row: str) -> Callable[[Results, str], str]:
    """Tell how many events arrived, and how many of them twice."""

    def tell(results: Results, system: str) -> str:
        made, lost = (results.each(row, system, name) for name in ("expected", "lost"))
        if not made:
            return ""
        arrived = [int(all_ - gone) for all_, gone in zip(made, lost, strict=True)]
        told = f"{between(arrived)} of {between([int(each) for each in made])}"
        if results.most(row, system, "duplicates"):
            again = [int(each) for each in results.each(row, system, "duplicates")]
            told += f", {between(again)} twice"
        return told

    return tell


def left(row: str) -> Callable[[Results, str], str]:
    """Tell how long the end took, and how many events arrived."""

    def tell(results: Results, system: str) -> str:
        seconds = results.median(row, system, "seconds")
        if seconds is None:
            return ""
        ended = all(results.each(row, system, "ended"))
        return f"{'' if ended else '> '}{number(seconds)} s; {delivered(row)(results, system)}"

    return tell


def bore(row: str) -> Callable[[Results, str], str]:
    """Tell what was lost, how long a call took at most, and how memory grew."""

    def tell(results: Results, system: str) -> str:
        told = delivered(row)(results, system)
        if longest := results.most(row, system, "longest"):
            told += f"; {number(longest / 1e3)} ms"
        if results.each(row, system, "grown"):
            told += f"; {number(results.median(row, system, 'grown'), 1e-6)} MB"
        return told

    return tell


# -- whether aims are met ---------------------------------------------------------------------


def at_most(limit: float, row: str, system: str, name: str) -> Callable[[Results], float | None]:
    """Compare the median with *limit*."""

    def score(results: Results) -> float | None:
        found = results.median(row, system, name)
        return None if found is None else found / limit

    return score


def fastest(row: str, times: float, others: Sequence[str]) -> Callable[[Results], float | None]:
    """Compare with *times* the fastest of the *others* that loses nothing."""

    def score(results: Results) -> float | None:
        ours = results.median(row, OURS, "rate")
        theirs = [
            found
            for rival in others
            if (found := results.median(row, rival, "rate")) is not None
            and not results.most(row, rival, "lost")
        ]
        if ours is None or not theirs:
            return None
        return math.inf if results.most(row, OURS, "lost") else times * max(theirs) / ours

    return score


def no_slower_than_any(results: Results) -> float | None:
    """Compare with the rival that is imported fastest."""
    ours = results.median("import", OURS, "seconds")
    others = [
        found
        for rival in RIVALS
        if (found := results.median("import", rival, "seconds")) is not None
    ]
    return ours / min(others) if ours is not None and others else None


def sustained(limit: float) -> Callable[[Results], float | None]:
    """Demand that nothing is lost at Mixpanel's pace; compare the CPU with that of calls alone."""
    whole = unharmed("paced", OURS)

    def score(results: Results) -> float | None:
        harm = whole(results)
        times = results.beside("paced", (OURS, "floor"), "share", truediv)
        return None if harm is None or times is None else max(harm, times / limit)

    return score


def unharmed(
    row: str,
    system: str,
    *,
    twice: float = 0.0,
    longest: float = math.inf,
    **limits: float,
) -> Callable[[Results], float | None]:
    """
    Demand that nothing is lost in any run, and compare the medians with *limits*.

    At most a share of *twice* may arrive twice, and no call may take more than *longest* µs.
    """

    def score(results: Results) -> float | None:
        made = results.most(row, system, "expected")
        if not made:
            return None
        duplicates = results.most(row, system, "duplicates")
        if results.most(row, system, "lost") or (duplicates and not twice):
            return math.inf
        scores = [
            (results.median(row, system, name) or 0.0) / limit for name, limit in limits.items()
        ]
        stall = results.most(row, system, "longest") / longest
        return max([*scores, stall, duplicates / made / twice if twice else 0.0])

    return score


# -- the table --------------------------------------------------------------------------------

LINES = (
    Line(
        title="caller's thread, µs an event, median, and compared with logging alone ({floor})",
        floor=lambda results: number(alone(results, "floor p50")),
        tell=costs("floor"),
        aim="≤ 1.8x",
        score=at_most(1.8, "caller", OURS, "times floor"),
    ),
    Line(
        title="the same, with a spool",
        tell=only("spool", costs("floor")),
        aim="≤ 2.2x",
        score=at_most(2.2, "caller", "spool", "times floor"),
    ),
    Line(
        title="the same, structlog compared with structlog alone ({floor})",
        floor=lambda results: number(results.median("caller", "structlog", "structlog alone p50")),
        tell=only("structlog", costs("structlog alone")),
        aim="≤ 1.3x",
        score=at_most(1.3, "caller", "structlog", "times structlog alone"),
    ),
    Line(
        title="the same, µs of `Pipeline.submit` beyond making the `Event` ({floor})",
        floor=lambda results: number(results.median("caller", "submit", "event alone p50")),
        tell=only("submit", simply("caller", "beyond event alone")),
        aim="≤ 0.52x logging alone",
        score=at_most(0.52, "caller", "submit", "submitting"),
    ),
    Line(
        title="the same, spans compared with spans without an exporter ({floor})",
        floor=lambda results: number(results.median("caller", "span", "span alone p50")),
        tell=only("span", costs("span alone")),
    ),
    Line(
        title="the same, spans compared with spans into an exporter that does nothing ({floor})",
        floor=lambda results: number(results.median("caller", "span", "span unexported p50")),
        tell=only("span", costs("span unexported")),
    ),
    Line(
        title="caller's thread, ms at p99.9 (logging alone: {floor})",
        floor=lambda results: number(alone(results, "floor p999"), 1e-3),
        tell=simply("caller", "p999", 1e-3),
        aim="< 1",
        score=at_most(1e3, "caller", OURS, "p999"),
    ),
    Line(
        title="CPU seconds per million events delivered, the application's own call included"
        " (logging alone: {floor})",
        floor=lambda results: number(alone(results, "floor cpu")),
        tell=simply("caller", "cpu"),
        aim="≤ 2.1x logging alone",
        score=unharmed("caller", OURS, **{"cpu times floor": 2.1}),
    ),
    Line(title="the same, with a spool", tell=only("spool", simply("caller", "cpu"))),
    Line(title="the same, `Pipeline.submit`", tell=only("submit", simply("caller", "cpu"))),
    Line(
        title="100,000 events at once, or those of 5 s: delivered per second",
        tell=rate("0ms"),
        aim="≥ twice the fastest that loses nothing",
        score=fastest("0ms", 2.0, RIVALS),
    ),
    Line(
        title="100,000 events at once, or those of 2 s, answers after 50 ms: the same",
        tell=rate("50ms"),
        aim="≥ the fastest that loses nothing",
        score=fastest("50ms", 1.0, (*RIVALS, TUNED)),
    ),
    Line(
        title="100,000 events at once, or those of 2 s, answers after 200 ms: the same",
        tell=rate("200ms"),
    ),
    Line(
        title="30,000 events a second, answers after 200 ms: CPU (logging alone: {floor})",
        floor=lambda results: simply("paced", "share", 100, " %")(results, "floor"),
        tell=only(OURS, simply("paced", "share", 100, " %")),
        aim="≤ 2.8x logging alone",
        score=sustained(2.8),
    ),
    Line(
        title="2,000 events a second for 20 s, no answer for 10: delivered; longest call; memory",
        tell=bore("outage"),
        aim="all, once; < 10 ms; < 15 MB",
        score=unharmed("outage", OURS, longest=10e3, grown=15e6),
    ),
    Line(
        title="500,000 events, or those of 15 s, no answer for 20: delivered; longest call; memory",
        tell=bore("memory"),
        aim="all, once; ≤ 40 MB",
        score=unharmed("memory", OURS, grown=40e6),
    ),
    Line(
        title="5,000 events, exit: time to the end; delivered",
        tell=left("exit"),
        aim="≤ 0.3 s, all, once",
        score=unharmed("exit", OURS, seconds=0.3),
    ),
    Line(
        title="the same, no answer ever",
        tell=left("hung"),
        aim="≤ 5.3 s",
        score=at_most(5.3, "hung", OURS, "seconds"),
    ),
    Line(
        title="5,000 events, `kill -9`, a second start with 2 events: delivered; ours with a spool",
        tell=lambda results, system: delivered("kill")(
            results, "spool" if system == OURS else system
        ),
        aim="all, ≤ 1 % twice",
        score=unharmed("kill", "spool", twice=0.01),
    ),
    Line(
        title="import, ms (ours with `MixpanelHandler`: {floor})",
        floor=lambda results: simply("import", "seconds", 1e3)(results, "handler"),
        tell=simply("import", "seconds", 1e3),
        aim="≤ the fastest",
        score=no_slower_than_any,
    ),
    Line(
        title="a check of the counting: 1,000 events, 500 a second: delivered",
        tell=delivered("calm"),
    ),
)


def table(results: Results, columns: list[str]) -> str:
    """Write the table: the lines that have something to tell, and *columns* of systems."""
    systems = results.head["systems"]
    heads = [
        f"{systems[each]['label']} {systems[each]['version'] or ''}".strip() for each in columns
    ]
    lines = [cells(["", "aim", *heads]), "|---" * (len(heads) + 2) + "|"]
    for line in LINES:
        told = [line.tell(results, system) for system in columns]
        if any(told):
            title = line.title.format(floor=line.floor(results))
            lines.append(cells([title, verdict(line, results), *(each or "–" for each in told)]))
    return "\n".join(lines)


def verdict(line: Line, results: Results) -> str:
    """Say what is aimed at, and whether that is met."""
    score = line.score(results)
    if not line.aim or score is None:
        return line.aim or "–"
    if score <= 1:
        return f"{line.aim}: met"
    return f"{line.aim}: **missed**" + (
        f" by {max(0.01, score - 1):.0%}" if math.isfinite(score) else ""
    )
