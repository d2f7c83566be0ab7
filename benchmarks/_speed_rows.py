"""What `speed.py` measures: one question each, put to a library at a time, answered in figures."""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from _run import Run, environment, measure
from _systems import BESIDE, FLOOR, SYSTEMS, VARIANTS

#: What came of a row: names and numbers; None where the platform does not tell.
Figures = dict[str, float | None]

# Ours and the rivals; with one of them tuned.
LIBRARIES = tuple(SYSTEMS)
BURST = (*LIBRARIES, "snowplow tuned")

# Other doors of ours. What the caller pays there is compared to a few percent, in turns.
DOORS = ("spool", "structlog", "submit")
TURNS = 4


@dataclass(frozen=True, kw_only=True)
class Row:
    """
    One question.

    Args:
        title: The question.

        ask: Answers it for a library, by name; *scale* makes it shorter.

        systems: The libraries that it is put to.

        lanes: How many of them at a time: more than one where it is about waiting.

        runs: The most runs that it is worth, whatever is asked for.

        often: How often a run puts it to *close* systems.

        close: Those for which a few percent matter, and which answer within seconds.
    """

    title: str
    ask: Callable[[str, float], tuple[Figures, str]]
    systems: tuple[str, ...] = LIBRARIES
    lanes: int = 1
    runs: int = 1_000
    often: int = 1
    close: tuple[str, ...] = ()


def calm(system: str, scale: float) -> tuple[Figures, str]:
    """See whether all that is made in peace is delivered and counted: a check of the harness."""
    run = measure(system, "flush", scaled(1_000, scale), options="--warm --leave --rate 500")
    return {**counts(run)}, run.stderr


def caller(system: str, scale: float) -> tuple[Figures, str]:
    """
    Let the caller make events as fast as it can.

    What they are compared with stands there with its own figures, ``floor p50``, and with how many
    ``times`` as much the library takes, or how much ``beyond`` it.
    """
    turns = TURNS if system in {"ours", *DOORS} else 1
    run = measure(system, "turns", scaled(20_000, scale), options=f"--turns {turns}", limit=120.0)
    if not run.turns:
        return counts(run), run.stderr  # It did not come to an end.
    arrived = run.distinct - run.warm
    cpu = None if run.cpu is None or arrived <= 0 else run.cpu / arrived * 1e6
    figures: Figures = {"p50": run.p50, "p999": run.p999, "longest": run.longest, "cpu": cpu}
    for base in BESIDE.get(system, FLOOR):
        pairs = [(turn[""], turn[base]) for turn in run.turns]
        figures |= {
            f"{base} p50": median(other["p50"] for _, other in pairs),
            f"{base} p999": median(other["p999"] for _, other in pairs),
            f"{base} cpu": median(other["cpu"] / other["made"] for _, other in pairs) * 1e6,
            f"times {base}": median(own["p50"] / other["p50"] for own, other in pairs),
            f"beyond {base}": median(own["p50"] - other["p50"] for own, other in pairs),
            f"cpu times {base}": median(own["cpu"] / other["cpu"] for own, other in pairs),
        }
    if system == "submit":
        figures["submitting"] = median(
            (turn[""]["p50"] - turn["event alone"]["p50"]) / turn["floor"]["p50"]
            for turn in run.turns
        )
    return {**counts(run), **figures}, run.stderr


def burst(latency: float, count: int, seconds: float) -> Callable[..., tuple[Figures, str]]:
    """
    Deliver a burst to a server that answers after *latency* seconds.

    Who keeps the caller waiting gets fewer than *count* events: those of so many *seconds*.
    """

    def ask(system: str, scale: float) -> tuple[Figures, str]:
        run = measure(
            system,
            "flush",
            scaled(count, scale),
            server=f"--latency {latency}",
            options=f"--warm --seconds {seconds} --patience 5",
            limit=60.0,
        )
        return {**counts(run), "rate": run.rate}, run.stderr

    return ask


def paced(system: str, scale: float) -> tuple[Figures, str]:
    """Deliver 30,000 events a second, as many as Mixpanel takes of a project, at 200 ms."""
    run = measure(
        system,
        "flush",
        scaled(300_000, scale),
        server="--latency 0.2",
        options="--warm --leave --rate 30000",
    )
    share = None if run.cpu is None else run.cpu / run.made
    return {**counts(run), "share": share}, run.stderr


def outage(system: str, scale: float) -> tuple[Figures, str]:
    """Let the server hang for 10 of 20 seconds, with 2,000 events in each."""
    run = measure(
        system,
        "flush",
        scaled(40_000, scale),
        options=f"--warm --rate 2000 --hang after={5 * scale}&for={10 * scale} --patience 30",
        limit=90.0,
    )
    return {**counts(run), "longest": run.longest, "grown": run.grown}, run.stderr


def memory(system: str, scale: float) -> tuple[Figures, str]:
    """Make events while the server hangs, until all are made; or for 15 seconds."""
    run = measure(
        system,
        "flush",
        scaled(500_000, scale),
        options=f"--warm --seconds 15 --hang after=0&for={max(1.0, 20 * scale)} --patience 30",
        limit=90.0,
    )
    return {**counts(run), "longest": run.longest, "grown": run.grown}, run.stderr


def leave(server: str, limit: float) -> Callable[..., tuple[Figures, str]]:
    """Make 5,000 events and end."""

    def ask(system: str, scale: float) -> tuple[Figures, str]:
        run = measure(system, "exit", scaled(5_000, scale), server=server, limit=limit)
        seconds = run.total - run.made if run.in_time else limit
        return {**counts(run), "seconds": seconds, "ended": run.in_time}, run.stderr

    return ask


def kill(system: str, scale: float) -> tuple[Figures, str]:
    """Make 5,000 events, be killed at once, start again and make two more within a second."""
    count = scaled(5_000, scale)
    again = f"flush {{url}} 2 --first {count} --rate 1"
    run = measure(system, "kill", count, again=again)
    return counts(run), run.stderr


def imports(system: str, _: float) -> tuple[Figures, str]:
    """Import what an application imports, compared with an interpreter that does not."""
    statement = f"import {(SYSTEMS | VARIANTS)[system].imports}"
    took(statement)  # So that it is compiled.
    beyond = [took(statement) - took("pass") for _ in range(3)]
    return {"seconds": median(beyond)}, ""


def took(statement: str) -> float:
    """Say how many seconds a fresh interpreter takes for *statement*."""
    before = time.monotonic()
    subprocess.run([sys.executable, "-c", statement], check=True, env=environment())
    return time.monotonic() - before


def counts(run: Run) -> Figures:
    """Give what every row can tell of its events."""
    made = run.expected - run.warm
    return {"expected": made, "lost": run.lost, "duplicates": run.duplicates}


def scaled(count: int, scale: float) -> int:
    """Make *count* smaller."""
    return max(1, round(count * scale))


ROWS = {
    "calm": Row(
        title="1,000 events, 500 a second",
        ask=calm,
        systems=(*BURST, *DOORS, "span"),
        lanes=4,
        runs=1,
    ),
    "caller": Row(
        title="20,000 events at once: what they cost",
        ask=caller,
        systems=(*BURST, *DOORS, "span"),
        often=5,
        close=("ours", *DOORS),
    ),
    "0ms": Row(
        title="100,000 events at once, answers at once",
        ask=burst(0.0, 100_000, 5.0),
        systems=BURST,
    ),
    "50ms": Row(
        title="the same, answers after 50 ms",
        ask=burst(0.05, 100_000, 2.0),
        systems=BURST,
    ),
    "200ms": Row(
        title="the same, answers after 200 ms",
        ask=burst(0.2, 100_000, 2.0),
        systems=BURST,
    ),
    "paced": Row(
        title="30,000 events a second, answers after 200 ms", ask=paced, systems=("floor", "ours")
    ),
    # One at a time: beside others a call may wait for a processor. Each takes half a minute.
    "outage": Row(title="10 s without answers in 20 s", ask=outage, runs=2),
    "memory": Row(title="500,000 events, no answers", ask=memory, lanes=2, runs=1),
    "exit": Row(title="5,000 events, then exit", ask=leave("", 45.0)),
    "hung": Row(title="the same, no answers", ask=leave("--hang", 35.0), lanes=10, runs=1),
    "kill": Row(
        title="5,000 events, then kill -9, then another start",
        ask=kill,
        systems=("spool", *LIBRARIES),
    ),
    "import": Row(title="import", ask=imports, systems=(*LIBRARIES, "handler")),
}
