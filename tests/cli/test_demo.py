"""
The demo: real processes, real signals, and two books that must agree.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, cast
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner

from mixpanel_export.cli import _demo
from mixpanel_export.emulator import EmulatorProcess

pytestmark = pytest.mark.emulator

# Settings that would ruin the demo if it listened to them.
HOSTILE = {
    "MIXPANEL_REGION": "nowhere",
    "MIXPANEL_DISABLED": "true",
    "MIXPANEL_SELECT": "marked",
    "MIXPANEL_BASE_URL": "http://127.0.0.1:9",
    "MIXPANEL_TOKEN": "somebody's",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "ALL_PROXY": "http://127.0.0.1:9",
    "NO_PROXY": "",
    "OTEL_SDK_DISABLED": "true",
    "OTEL_TRACES_SAMPLER": "always_off",
    "OTEL_ATTRIBUTE_COUNT_LIMIT": "1",
}


# Runs the command line in a Python that cannot import some modules.
WITHOUT = """
import sys
sys.modules.update(dict.fromkeys(sys.argv.pop(1).split(",")))
from mixpanel_export.cli import main
main()
"""


class Demo:
    """
    A running demo and what it has said so far.
    """

    def __init__(self, child: subprocess.Popen[str]) -> None:
        self.child = child
        self.said = ""
        self._stdout = cast("IO[str]", child.stdout)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """
        Read lines until one has *pattern*.
        """
        for line in self._stdout:
            self.said += line
            if match := re.search(pattern, line):
                return match
        raise AssertionError(f"no {pattern!r} in what the demo said:\n{self.said}")

    def wait(self) -> int:
        """
        Wait for its end; returns its exit status.
        """
        self.said += self._stdout.read()
        return self.child.wait(60)


@contextmanager
def demo(
    *options: str, env: Mapping[str, str] | None = None, without: str = "none"
) -> Iterator[Demo]:
    """
    Run the demo in a process of its own, in a pipe; in one that cannot import *without*.
    """
    child = subprocess.Popen(
        [sys.executable, "-c", WITHOUT, without, "demo", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **(env or {})},
        text=True,
    )
    try:
        yield Demo(child)
    finally:
        child.kill()
        child.wait()
        cast("IO[str]", child.stdout).close()


def listens(url: str) -> bool:
    """
    Say whether somebody accepts connections there.
    """
    address = urlsplit(url)
    try:
        socket.create_connection((str(address.hostname), address.port or 0), 5).close()
    except ConnectionRefusedError:
        return False
    return True


def falls_silent(url: str) -> bool:
    """
    Say whether nobody accepts connections there any more, now or within ten seconds.
    """
    deadline = time.monotonic() + 10
    while listens(url):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)  # Another process: there is nothing to wait on.
    return True


def ledger_of(said: str) -> dict[str, int]:
    """
    Read the ledger; the emulator's side has its name before each word.
    """
    found = {}
    for line in said.partition("pipeline ")[2].splitlines():
        cells = re.findall(r"(\S(?:.*?\S)?)\s+([\d,]+)(?=\s|$)", line)
        for side, (name, number) in zip(("", "emulator "), cells, strict=False):
            found[side + name] = int(number.replace(",", ""))
    return found


def doors_of(said: str) -> dict[str, tuple[int, int]]:
    """
    Read what was said and what arrived, by door.
    """
    table = said.partition("door ")[2].partition("\n\n")[0].splitlines()[1:]
    rows = [line.rsplit(None, 2) for line in table]
    return {name.strip(): (int(said), int(arrived)) for name, said, arrived in rows}


def test_in_a_pipe_it_is_lines_and_a_ledger() -> None:
    """
    Without a terminal: the address at once, a line a second, the ledger, no control characters.
    """
    with demo("--seconds", "2", "--rate", "100") as running:
        running.wait_for(r"http://127\.0\.0\.1:\d+")

        assert running.wait() == 0

    assert len(re.findall(r"^ +\d s  \d+ accepted", running.said, re.MULTILINE)) == 2
    assert "Both agree" in running.said
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", running.said)


def test_the_ledger_shows_both_sides() -> None:
    """
    Everything that was said stands on both sides; ordinary lines were seen and ignored.
    """
    with demo("--seconds", "1", "--rate", "600") as running:
        assert running.wait() == 0

    ledger = ledger_of(running.said)
    ignored = ledger.pop("ignored (not events)")
    updates = ledger["profile updates"]
    assert ignored > 0
    assert updates > 0
    assert ledger == {
        "events": 600,
        "profile updates": updates,
        "accepted": 600 + updates,
        "delivered": 600 + updates,
        "rejected": 0,
        "queued": 0,
        "abandoned": 0,
        "dropped": 0,
        "emulator imported": 600,
        "emulator duplicates": 0,
        "emulator distinct": 600,
        "emulator rejected": 0,
    }


@pytest.mark.structlog
@pytest.mark.otel
def test_all_doors_are_shown() -> None:
    """
    With everything installed the shop speaks through four doors, and each has its share.
    """
    with demo("--seconds", "1", "--rate", "600") as running:
        assert running.wait() == 0

    doors = doors_of(running.said)
    profiles = doors.pop("profiles")
    assert list(doors) == ["logging", "structlog", "OpenTelemetry", "by hand"]
    assert all(said == arrived > 50 for said, arrived in doors.values())
    assert sum(said for said, _ in doors.values()) == 600
    assert profiles[0] == profiles[1] > 0
    assert "not installed" not in running.said


def test_doors_that_are_not_installed_are_named() -> None:
    """
    With the command's own extras alone two doors are there; of the others it says what they need.
    """
    with demo("--seconds", "0.5", without="structlog,opentelemetry,opentelemetry.sdk") as running:
        assert running.wait() == 0

    assert list(doors_of(running.said)) == ["logging", "by hand", "profiles"]
    assert "structlog: not installed; pip install 'mixpanel-export[structlog]'\n" in running.said
    assert "OpenTelemetry: not installed; pip install 'mixpanel-export[otel]'\n" in running.said


def test_the_environment_has_no_say() -> None:
    """
    Neither MIXPANEL_ nor OTEL_ variables nor a proxy change what the demo does.
    """
    with demo("--seconds", "0.5", env=HOSTILE) as running:
        assert running.wait() == 0

    assert ledger_of(running.said)["emulator distinct"] == 100


def test_nothing_is_left_running() -> None:
    """
    When the demo has ended, its emulator has too.
    """
    with demo("--seconds", "0.2") as running:
        url = running.wait_for(r"http://\S+")[0]
        running.wait()

        assert not listens(url)


def test_an_emulator_does_not_outlive_a_killed_demo() -> None:
    """
    Not even `kill -9` leaves an orphan.
    """
    with demo("--seconds", "60") as running:
        url = running.wait_for(r"http://\S+")[0]
        assert listens(url)

        running.child.kill()

        assert falls_silent(url)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_closes_the_shop_early(number: signal.Signals, status: int) -> None:
    """
    Ctrl-C or SIGTERM: what was said is delivered, the ledger shown, the status says why.
    """
    with demo("--seconds", "60") as running:
        url = running.wait_for(r"http://\S+")[0]
        running.wait_for("accepted")

        running.child.send_signal(number)

        assert running.wait() == status
        assert not listens(url)
    assert "Both agree" in running.said
    assert "Traceback" not in running.said
    assert ledger_of(running.said)["emulator distinct"] >= 200


def test_ctrl_c_before_the_shop_is_open() -> None:
    """
    Asked to end while nothing has happened yet, it ends in the same orderly way.
    """
    with demo("--seconds", "60") as running:
        running.wait_for("http://")

        running.child.send_signal(signal.SIGINT)

        assert running.wait() == 130
    assert "Both agree" in running.said


def test_kept_until_ctrl_c() -> None:
    """
    With ``--keep`` emulator and events stay after the ledger; Ctrl-C is then the ordinary end.
    """
    with demo("--seconds", "0.5", "--keep") as running:
        url = running.wait_for("stays until Ctrl-C: +(http://.*)")[1]
        assert listens(url)

        running.child.send_signal(signal.SIGINT)

        assert running.wait() == 0
        assert not listens(url)


def test_on_a_terminal_it_is_a_live_picture() -> None:
    """
    On a terminal both sides are shown while they grow, in one place.
    """
    pty = pytest.importorskip("pty")
    screen, terminal = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "mixpanel_export", "demo", "--seconds", "1"],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"},
    )
    os.close(terminal)
    said = read_all(screen)

    assert child.wait(60) == 0
    assert "s of 1 s" in said
    assert "\x1b[" in said
    assert "Both agree" in said


def read_all(screen: int) -> str:
    """
    Read what is written on a terminal until nobody has it open.
    """
    pieces = []
    while True:
        try:
            piece = os.read(screen, 65_536)
        except OSError:
            break  # Linux's way to say the same as an empty read.
        if not piece:
            break
        pieces.append(piece)
    os.close(screen)
    return b"".join(pieces).decode()


class Liar(EmulatorProcess):
    """
    An emulator that acknowledges five events which it never stores.
    """

    def __init__(self, *args: str) -> None:
        super().__init__(*args)
        body = {"code": 200, "num_records_imported": 5, "status": "OK"}
        self.faults([{"path": "/import", "times": 1, "status": 200, "body": body}])


class Mortal(EmulatorProcess):
    """
    An emulator that is gone before anything can be stored.
    """

    def __init__(self, *args: str) -> None:
        super().__init__(*args)
        os.kill(self.pid, signal.SIGKILL)
        while listens(self.url):
            time.sleep(0.01)  # As above.


def stillborn(*_args: str) -> EmulatorProcess:
    """
    Stand for an emulator that does not start.
    """
    raise RuntimeError("the emulator did not start: no room")


def invoke(monkeypatch: pytest.MonkeyPatch, emulator: object, *options: str) -> tuple[int, str]:
    """
    Run the demo in this process with another emulator; returns its status and what it said.
    """
    monkeypatch.setattr(_demo, "EmulatorProcess", emulator)
    monkeypatch.setenv("NO_PROXY", "")
    result = CliRunner().invoke(_demo.demo, options, catch_exceptions=False)
    return result.exit_code, result.output


def test_books_that_differ_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    If the emulator does not have what was acknowledged, the demo says so and fails.
    """
    status, said = invoke(monkeypatch, Liar, "--seconds", "0.2")

    assert status == 1
    assert "They differ" in said
    assert re.search(r"40 delivered, but \d+ distinct in the emulator", said)
    assert "Both agree" not in said


def test_an_emulator_that_dies_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Without an answer from the emulator there is nothing to compare: an error in one line.
    """
    status, said = invoke(monkeypatch, Mortal, "--seconds", "0.1")

    assert status == 1
    assert "the emulator does not answer" in said


def test_an_emulator_that_does_not_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What the emulator said when it could not start is passed on, without traceback.
    """
    status, said = invoke(monkeypatch, stillborn)

    assert status == 1
    assert "no room" in said


def test_signals_are_as_before_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What the process did with Ctrl-C before the demo, it does again after it.
    """
    before: Any = signal.getsignal(signal.SIGINT)

    invoke(monkeypatch, stillborn)

    assert signal.getsignal(signal.SIGINT) is before
