"""
A command and an emulator that hears what it says.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, cast

import pytest
from click.testing import CliRunner

from mixpanel_export.cli import _run
from mixpanel_export.cli._run import _environment, run
from mixpanel_export.emulator import EmulatorProcess

pytestmark = pytest.mark.emulator

# An application that knows nothing but its environment, and says good things and bad ones.
APPLICATION = """
import json, os, sys, urllib.request
def send(path, content):
    request = urllib.request.Request(os.environ["MIXPANEL_BASE_URL"] + path,
        json.dumps(content).encode(), {"Content-Type": "application/json",
        "Authorization": "Basic " + __import__("base64").b64encode(
            (os.environ["MIXPANEL_TOKEN"] + ":").encode()).decode()})
    try: urllib.request.urlopen(request).read()
    except urllib.error.HTTPError: pass
import time
def event(name, number, when=None):
    return {"event": name, "properties": {"distinct_id": "u", "$insert_id": f"i-{number}",
        "time": when or int(time.time())}}
send("/import?strict=1", [event("Order [bold]Placed", 1), event("Order [bold]Placed", 2),
    event("Login\\x1b[31m", 3), event("Old", 4, 1)])
send("/import?strict=1", [event(f"Name {n}", n) for n in range(30)])
print("its own output")
sys.exit(5)
"""

RUN = (sys.executable, "-m", "mixpanel_export", "run", "--port", "0")

HOSTILE = {
    "MIXPANEL_TOKEN": "somebody's",
    "MIXPANEL_BASE_URL": "http://127.0.0.1:9",
    "MIXPANEL_DISABLED": "true",
    "http_proxy": "http://127.0.0.1:9",
    "HTTP_PROXY": "http://127.0.0.1:9",
}


def test_what_arrived_is_told_at_the_end() -> None:
    """
    On standard error; output and exit status are the command's, and no environment leads away.
    """
    ran = subprocess.run(
        [*RUN, "--", sys.executable, "-c", APPLICATION],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **HOSTILE},
    )

    assert (ran.returncode, ran.stdout) == (5, "its own output\n")
    told = ran.stderr
    assert re.match(r"A local Mixpanel with a live page:  http://127\.0\.0\.1:\d+\n", told)
    lines = [line for line in told.splitlines() if line.strip()]
    rows = {line.split("  ")[0]: line.split() for line in reversed(lines)}
    assert rows["requests"][1:] == ["2", "1", "×", "200,", "1", "×", "400"]
    assert [rows[name][-1] for name in ("imported", "distinct", "rejected")] == ["33", "33", "1"]
    assert rows["Order [bold]Placed"][-1] == "2"
    assert rows["Login\\x1b[31m"][-1] == "1"
    assert "12 more names" in told
    why = "'properties.time' is invalid: must not be before 1971-01-01"
    assert f"  1 × rejected  properties.time: {why}\n      guess: docs, reference/" in told


@pytest.fixture(scope="module")
def running() -> Iterator[EmulatorProcess]:
    """
    An emulator that several commands share, one after the other.
    """
    with EmulatorProcess() as emulator:
        yield emulator


@pytest.fixture
def lent(running: EmulatorProcess, monkeypatch: pytest.MonkeyPatch) -> EmulatorProcess:
    """
    The emulator that the command will get; it does not end with it.
    """

    def lend(*_args: str, port: int | None) -> AbstractContextManager[EmulatorProcess]:
        assert port == 0
        return nullcontext(running)

    running.reset()
    monkeypatch.setattr(_run, "EmulatorProcess", lend)
    return running


@pytest.mark.usefixtures("lent")
def test_a_silent_command_is_wondered_about() -> None:
    """
    The likely reason is an address that it does not read.
    """
    result = CliRunner().invoke(run, ["--port", "0", "--", "true"])

    assert result.exit_code == 0
    assert "Nothing arrived. Does the command send to MIXPANEL_BASE_URL?" in result.output


@pytest.mark.usefixtures("lent")
def test_a_command_that_is_not_there() -> None:
    """
    The status is that of shells.
    """
    result = CliRunner().invoke(run, ["--port", "0", "no-such-command", "--its-option"])

    assert result.exit_code == 127
    assert "there is no command 'no-such-command'" in result.output


@pytest.mark.usefixtures("lent")
def test_a_command_that_cannot_be_run(tmp_path: Path) -> None:
    """
    A file without the permission.
    """
    result = CliRunner().invoke(run, ["--port", "0", str(tmp_path)])

    assert result.exit_code == 126
    assert "cannot run" in result.output


def test_an_emulator_that_dies_does_not_change_the_status(
    lent: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    What cannot be told is not told.
    """

    def gone() -> None:
        raise ConnectionRefusedError("gone")

    monkeypatch.setattr(lent, "failures", gone)

    result = CliRunner().invoke(run, ["--port", "0", "--", "sh", "-c", "exit 4"])

    assert result.exit_code == 4
    assert "the emulator does not answer: gone" in result.output


def test_a_port_that_is_taken_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Nothing is run then.
    """

    def taken(*_args: str, **_options: object) -> EmulatorProcess:
        raise RuntimeError("the emulator did not start: taken")

    monkeypatch.setattr(_run, "EmulatorProcess", taken)

    result = CliRunner().invoke(run, ["--port", "1", "--open", "--", "true"])

    assert (result.exit_code, "taken" in result.output) == (1, True)


def test_the_page_can_stay() -> None:
    """
    With ``--keep`` until Ctrl-C; the status is still the command's.
    """
    with subprocess.Popen(
        [*RUN, "--keep", "--", "sh", "-c", "exit 6"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        for line in cast("IO[str]", process.stderr):
            if "stays until Ctrl-C" in line:
                break
        process.send_signal(signal.SIGINT)

        assert process.wait(20) == 6


def test_the_environment_leads_here_and_nowhere_else() -> None:
    """
    Other credentials are gone, other settings stay, and proxies are passed by.
    """
    own = {
        "PATH": "/bin",
        "MIXPANEL_SELECT": "all",
        "MIXPANEL_SERVICE_SECRET": "s",
        "MIXPANEL_DISABLED": "1",
        "NO_PROXY": "example.com",
    }

    assert _environment(own, "http://127.0.0.1:1") == {
        "PATH": "/bin",
        "MIXPANEL_SELECT": "all",
        "MIXPANEL_BASE_URL": "http://127.0.0.1:1",
        "MIXPANEL_TOKEN": "local",
        "NO_PROXY": "example.com,127.0.0.1",
        "no_proxy": "example.com,127.0.0.1",
    }
