"""
A command that runs as if it had been started in our place: real processes, real signals.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import IO, cast

import pytest

# Runs the command that its arguments are.
PARENT = """
import os, sys
from mixpanel_export.cli._child import Child
sys.exit(Child().run(sys.argv[1:], os.environ))
"""

# Says what it hears, until it is told to end, and when it listens.
LISTENER = """
import signal, sys, time
heard = []
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
    if signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, lambda number, _: heard.append(signal.Signals(number).name))
print("ready", flush=True)
for _ in range(6000):
    time.sleep(0.01)  # Until a signal comes.
    while heard:
        name = heard.pop(0)
        print(name, flush=True)
        if name == "SIGUSR1":
            sys.exit(7)
"""


def start(*command: str, ignored: signal.Signals | None = None) -> subprocess.Popen[str]:
    """
    Start a parent of *command*, perhaps one that was told to ignore a signal.
    """

    def ignore() -> None:
        if ignored is not None:
            signal.signal(ignored, signal.SIG_IGN)

    return subprocess.Popen(
        [sys.executable, "-c", PARENT, *command],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=ignore,  # noqa: PLW1509  # No thread is running.
        start_new_session=True,
    )


def line_of(process: subprocess.Popen[str]) -> str:
    """
    Return the next line that it says.
    """
    return cast("IO[str]", process.stdout).readline()


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("pass", 0),
        ("import sys; sys.exit(9)", 9),
        ("import os; os.kill(os.getpid(), 9)", 137),
        ("import os; os.kill(os.getpid(), 15)", 143),
    ],
)
def test_its_exit_status_is_ours(script: str, status: int) -> None:
    """
    And if a signal ended it, as shells count it.
    """
    with start(sys.executable, "-c", script) as process:
        assert process.wait(20) == status


def test_signals_go_to_the_command() -> None:
    """
    Each once, and it decides what to make of them.
    """
    with start(sys.executable, "-c", LISTENER) as process:
        assert line_of(process) == "ready\n"
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            process.send_signal(number)

            assert line_of(process) == f"{number.name}\n"

        assert process.wait(20) == 7


def test_what_is_ignored_stays_so() -> None:
    """
    As `nohup` arranges it, for us and for the command.
    """
    with start(sys.executable, "-c", LISTENER, ignored=signal.SIGHUP) as process:
        assert line_of(process) == "ready\n"
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGUSR1)

        assert line_of(process) == "SIGUSR1\n"


def test_ctrl_c_is_heard_once() -> None:
    """
    The terminal sends it to both of us; a second one would look like impatience.
    """
    pty = pytest.importorskip("pty")
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", PARENT, sys.executable, "-c", LISTENER])
    screen = os.fdopen(terminal, "rb", buffering=0)
    assert b"ready" in read_until(screen, b"ready")

    os.write(terminal, b"\x03")
    read_until(screen, b"SIGINT")
    time.sleep(0.2)  # A second one would come at once.
    os.kill(child, signal.SIGUSR1)

    assert b"SIGINT" not in read_until(screen, b"SIGUSR1")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    screen.close()


def read_until(screen: IO[bytes], word: bytes) -> bytes:
    """
    Return what a terminal shows up to a word.
    """
    shown = b""
    while word not in shown:
        shown += screen.read(1000)
    return shown


def test_a_signal_before_it_has_begun_is_kept() -> None:
    """
    Not lost, and no end of ours without it.
    """
    script = """
import os, signal, subprocess, sys
from mixpanel_export.cli._child import Child
plain = subprocess.Popen
def slow(*args, **options):
    os.kill(os.getpid(), signal.SIGTERM)
    return plain(*args, **options)
subprocess.Popen = slow
sys.exit(Child().run(["sleep", "20"], os.environ))
"""
    ran = subprocess.run([sys.executable, "-c", script], check=False, timeout=20)

    assert ran.returncode == 143
