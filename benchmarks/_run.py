"""Run a cell of a table beside a server of its own, and put together what both say."""

import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

HERE = Path(__file__).resolve().parent

# Not through a proxy.
_OPENER = build_opener(ProxyHandler({}))


@dataclass(frozen=True, kw_only=True)
class Run:
    """One cell, once."""

    in_time: bool
    """False if it was killed at the limit."""

    exit_code: int
    total: float
    """Seconds from the first event to the end of the process; from its start if it was killed."""

    made: float
    """
    Seconds that making the events took, which is what the caller waited for; with turns, all of it.
    """

    p50: float
    p99: float
    p999: float
    longest: float
    """What one event cost the caller, in µs."""

    raised: int
    """Calls that raised into the application."""

    warm: int
    """Events that were delivered before the first that counts for times."""

    expected: int
    """Events that were made, those among them."""

    distinct: int
    duplicates: int
    requests: int
    answers: dict[str, int]
    """How many answers had which status."""

    rate: float
    """Events a second from the first one's making to the last answer."""

    cpu: float | None
    """Seconds of CPU from the first event to the end of the flush, of all turns; None without."""

    grown: int | None
    """By how many bytes memory grew at most meanwhile; None also where there is no /proc."""

    turns: list[dict[str, dict[str, Any]]]
    """For each turn, what the library's events cost, by ``""``, and what it is compared with."""

    lines: int
    """Lines on stderr."""

    counted: bool
    """Whether one of these lines has the number of lost events in it."""

    stderr: str
    """The beginning of it."""

    @property
    def lost(self) -> int:
        """How many events never arrived."""
        return self.expected - self.distinct


@dataclass(frozen=True)
class _Ended:
    """A process that has ended, or was ended."""

    in_time: bool
    exit_code: int
    started: float
    ended: float
    told: dict[str, Any]
    """What it reported; empty if it was killed before it could."""

    stderr: str


def measure(  # noqa: PLR0913 -- a cell is that
    system: str,
    action: str,
    count: int,
    *,
    server: str = "",
    options: str = "",
    again: str = "",
    limit: float = 45.0,
) -> Run:
    """
    Measure one cell.

    Args:
        system: The library.

        action: What `_cell.py` does with it.

        count: With how many events.

        server: How `_server.py` behaves.

        options: What else `_cell.py` is told.

        again: What a second process in the same folder does, action and all; "" is nothing.

        limit: Seconds before a process is killed.

    Raises:
        RuntimeError: If the library failed before it had taken the events.
    """
    with tempfile.TemporaryDirectory() as folder, serve(server) as url:
        first = _run(system, f"{action} {url} {count} {options}", Path(folder), limit)
        runs = [first]
        if again:
            runs.append(_run(system, again.format(url=url), Path(folder), limit))
        with _OPENER.open(f"{url}/report", timeout=60) as answer:
            seen = json.load(answer)
    # Killed before it came to report: all the time was the caller's.
    told = {
        "begun": first.started,
        "ended": first.ended,
        "p50": 0.0,
        "p99": 0.0,
        "p999": 0.0,
        "longest": (first.ended - first.started) * 1e6,
        "raised": 0,
        "warm": 0,
        "cpu": None,
        "grown": None,
        "turns": [],
        **first.told,
    }
    expected = told["warm"] + sum(each.told.get("made", count) for each in runs)
    lost = expected - seen["distinct"]
    stderr = "".join(each.stderr for each in runs)
    return Run(
        in_time=all(each.in_time for each in runs),
        exit_code=first.exit_code,
        total=first.ended - (told["begun"] if first.in_time else first.started),
        made=told["ended"] - told["begun"],
        **{name: told[name] for name in ("p50", "p99", "p999", "longest", "raised", "warm")},
        expected=expected,
        **{name: seen[name] for name in ("distinct", "duplicates", "requests", "answers")},
        rate=max(0, seen["distinct"] - told["warm"]) / max(1e-9, seen["last"] - told["begun"]),
        cpu=told["cpu"],
        grown=told["grown"],
        turns=told["turns"],
        lines=stderr.count("\n"),
        counted=lost > 0 and bool(re.search(rf"\b{lost}\b", stderr.replace(",", ""))),
        stderr=stderr[:2_000],
    )


@contextmanager
def serve(options: str) -> Iterator[str]:
    """Give the address of a fresh server."""
    command = [sys.executable, str(HERE / "_server.py"), *options.split()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.kill()


def _run(system: str, arguments: str, folder: Path, limit: float) -> _Ended:
    out, err = folder / "out", folder / "err"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        # A session of its own, so that it can be killed together with its children.
        process = subprocess.Popen(
            [sys.executable, HERE / "_cell.py", system, *arguments.split()],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env={**environment(), "HOME": str(folder), "TMPDIR": str(folder)},
            cwd=folder,
            start_new_session=True,
        )
        started, in_time = time.monotonic(), True
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            in_time = False
        ended = time.monotonic()
        with suppress(ProcessLookupError):  # A child may be there when its parent is not.
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    said = err.read_text(errors="replace")
    reports = [line for line in out.read_text(errors="replace").splitlines() if line[:1] == "{"]
    if not reports and in_time:
        raise RuntimeError(f"{system} failed, with exit code {process.returncode}:\n{said}")
    told: dict[str, Any] = {}
    for each in reports:
        told |= json.loads(each)
    return _Ended(in_time, process.returncode, started, ended, told, said)


def environment() -> dict[str, str]:
    """
    Give what a process is to know.

    Nothing of the caller's: variables configure many of these libraries, and name proxies.
    """
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ}
    # Logfire has a plugin for pydantic, which would be loaded with each library that uses pydantic.
    return {**kept, "PYDANTIC_DISABLE_PLUGINS": "__all__"}


def described() -> dict[str, Any]:
    """Ask which libraries there are, in an interpreter of its own."""
    answer = subprocess.run(
        [sys.executable, HERE / "_cell.py", "--describe"],
        check=True,
        capture_output=True,
        text=True,
        env=environment(),
    )
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def circumstances() -> str:
    """Say when and where this is measured."""
    return (
        f"{datetime.now(timezone.utc):%Y-%m-%d}, {platform.python_implementation()} "
        f"{platform.python_version()}, {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} cores"
    )


def chosen(text: str, known: dict[str, Any]) -> list[str]:
    """Read a list with commas; raises ValueError for a name that is not known."""
    names = text.split(",") if text else list(known)
    for name in names:
        if name not in known:
            raise ValueError(f"{name!r} is none of {', '.join(known)}")
    return names


def cells(texts: list[str]) -> str:
    """Write one line of a table."""
    return f"| {' | '.join(texts)} |"


def between(values: list[int]) -> str:
    """Tell the smallest and the largest of *values*, if they differ."""
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"
