"""
Events of a running emulator, line by line.
"""

from __future__ import annotations

import base64
import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import IO, Any, cast
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner

from mixpanel_export.cli._tail import _Reader, tail
from mixpanel_export.cli._terminal import printable, safe_json
from mixpanel_export.emulator import EmulatorProcess

pytestmark = pytest.mark.emulator


@pytest.fixture(scope="module")
def shared() -> Iterator[EmulatorProcess]:
    """
    An emulator for all tests of this file, forgetful.
    """
    with EmulatorProcess() as emulator:
        yield emulator


@pytest.fixture
def emulator(shared: EmulatorProcess) -> EmulatorProcess:
    """
    The same, empty.
    """
    shared.reset()
    return shared


def send(emulator: EmulatorProcess, *events: dict[str, Any]) -> None:
    """
    Send events.
    """
    connection = http.client.HTTPConnection(urlsplit(emulator.url).netloc, timeout=10)
    user = "Basic " + base64.b64encode(b"T:").decode()
    connection.request("POST", "/import?strict=1", json.dumps(events), {"Authorization": user})
    connection.getresponse().read()
    connection.close()


def event(name: str, number: int, **properties: object) -> dict[str, Any]:
    """
    Return a valid event, but for what *properties* change.
    """
    common = {"time": int(time.time()), "distinct_id": "ada", "$insert_id": f"i-{number}"}
    return {"event": name, "properties": {**common, **properties}}


class Tail:
    """
    A running `tail` in a pipe.
    """

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mixpanel_export", "tail", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._stdout = cast("IO[str]", self.process.stdout)

    def line(self) -> str:
        """
        Return the next line.
        """
        return self._stdout.readline()

    def complaint(self) -> str:
        """
        Return the next line that is not about an event.
        """
        return cast("IO[str]", self.process.stderr).readline()

    def end(self) -> tuple[int, str]:
        """
        Press Ctrl-C; returns its status and what it complained about.
        """
        self.process.send_signal(signal.SIGINT)
        _, errors = self.process.communicate(timeout=20)
        return self.process.returncode, errors


def test_events_appear_as_they_arrive(emulator: EmulatorProcess) -> None:
    """
    Who, what, with which properties; the last ones first, and failures between them.
    """
    before = event("Before", 2, ip="0", mp_lib="python", **{"$os": "Plan 9"}, plan="pro")
    send(emulator, event("Old", 1), before)
    running = Tail(emulator.url, "-n", "1")
    first = running.line()

    send(emulator, event("Order\x1b[31m", 3, total=5, tags=["a"]), event("Old", 4, time=1))
    send(emulator, before)

    assert first.split()[1:] == ["Before", "ada", "plan=pro", "$os=Plan", "9"]
    lines = [running.line() for _ in range(3)]
    told = sorted(" ".join(line.split()[1:]) for line in lines)
    assert told[:2] == [
        "Before (duplicate) ada plan=pro $os=Plan 9",
        'Order\\x1b[31m ada total=5 tags=["a"]',
    ]
    assert told[2].startswith("rejected 1× /import properties.time: ")
    assert told[2].endswith("must not be before 1971-01-01")
    assert running.end() == (130, "")


def test_in_json_each_event_is_as_it_was_stored(emulator: EmulatorProcess) -> None:
    """
    One a line, and nothing else, whatever happens beside.
    """
    sent = [event("A", number, note="\x9b31m") for number in range(3)]
    running = Tail(emulator.url, "--json")
    send(emulator, *sent)

    lines = [running.line() for _ in range(3)]
    send(emulator, event("", 9))
    complaint = running.complaint()

    assert [json.loads(line) for line in lines] == sent
    assert not any("\x9b" in line for line in lines)
    assert complaint.endswith("'event' must not be missing or blank\n")
    assert running.end() == (130, "")


def test_one_name_or_one_user(emulator: EmulatorProcess) -> None:
    """
    Others are left out.
    """
    send(emulator, event("A", 1), event("B", 2), event("A", 3, distinct_id="bob"))
    running = Tail(emulator.url, "--name", "A", "--user", "bob", "--json")

    assert json.loads(running.line())["properties"]["$insert_id"] == "i-3"
    running.end()


def test_the_end_of_the_emulator_is_the_end() -> None:
    """
    It says so, and that is no failure; the address may be in the environment.
    """
    emulator = EmulatorProcess("--host", "0.0.0.0")
    send(emulator, event("A", 1))
    refused = CliRunner().invoke(tail, [], env={"MIXPANEL_BASE_URL": emulator.url})
    running = Tail(f"{emulator.url}/?access={emulator.access_key}")
    assert " A " in running.line()

    emulator.stop()

    assert running.process.wait(20) == 0
    assert cast("IO[str]", running.process.stderr).read() == "The emulator has stopped.\n"
    assert refused.exit_code == 1
    assert "answered 403: open the address that the emulator printed" in refused.output
    running.process.communicate()


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("http://127.0.0.1:9", "no emulator answers at http://127.0.0.1:9"),
        ("https://api.mixpanel.com", "is not the address of an emulator"),
        ("localhost", "is not the address of an emulator"),
    ],
)
def test_without_an_emulator_it_says_how_to_start_one(address: str, why: str) -> None:
    """
    One line, no traceback.
    """
    result = CliRunner().invoke(tail, [address])

    assert result.exit_code == 1
    assert why in result.output


# -- without an emulator -------------------------------------------------------------------------


def row(number: int, **properties: object) -> dict[str, Any]:
    """
    Return an event as the stream tells it.
    """
    line = json.dumps({"event": "A", "properties": properties})
    known = {"endpoint": "/track", "received_ms": 0, "duplicate": False, "user": ""}
    return {"id": number, "line": line, **known}


def test_gaps_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Where events were gone before they could be read; not where only some are asked for.
    """
    for complete in (True, False):
        reader = _Reader(as_json=True, complete=complete)
        reader.show({"epoch": 1, "events": [row(3)], "failures": []})
        reader.show({"events": [row(4), row(5)]})
        reader.show({"events": [row(1500)]})
        reader.show({"epoch": 2, "events": [row(1)]})

    assert capsys.readouterr().err == "… 1,494 events were gone before they could be read\n"


def test_failures_are_told_when_they_happen(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Not those of before, and all again after a reset.
    """
    failure = {
        "kind": "rejected",
        "endpoint": "/import",
        "field": "event",
        "message": "bad",
        "last_ms": 0,
    }
    reader = _Reader(as_json=False, complete=True)
    for epoch, count in ((1, 5), (1, 7), (2, 1)):
        update = {"failures": [{**failure, "count": count}], "events": []}
        reader.show({**update, "epoch": epoch} if count != 7 else update)

    lines = [line.split("  ")[1] for line in capsys.readouterr().out.splitlines()]
    assert lines == ["rejected 2×", "rejected 1×"]


def test_on_a_terminal_lines_are_cut(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    To its width; in a pipe they are whole.
    """
    monkeypatch.setenv("COLUMNS", "80")
    for terminal in (True, False):
        monkeypatch.setattr(sys.stdout, "isatty", lambda terminal=terminal: terminal)
        reader = _Reader(as_json=False, complete=True)
        monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
        reader.show({"events": [row(1, note="x" * 200)]})

    cut, whole = capsys.readouterr().out.splitlines()
    assert len(cut) == 80
    assert "A (/track)" in cut
    assert whole.endswith("x" * 200)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Ünï 漢字", "Ünï 漢字"),
        ("a\x1b[31m\x9b", "a\\x1b[31m\\x9b"),
        ("a\nb\u202ec", "a\\nb\\u202ec"),
    ],
)
def test_texts_cannot_drive_a_terminal(text: str, shown: str) -> None:
    """
    What is not visible is spelt out, and in JSON it means the same.
    """
    assert printable(text) == shown
    assert json.loads(safe_json(json.dumps(text, ensure_ascii=False))) == text
    assert "\x9b" not in safe_json(json.dumps(text, ensure_ascii=False))
