"""
What waits on disk, seen and moved by hand: real files, a real emulator, real signals.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import signature
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mixpanel_export import Event, Pipeline, Settings
from mixpanel_export._directory import Directory
from mixpanel_export._segment import PREAMBLE
from mixpanel_export._wire import Response
from mixpanel_export.cli import _tables
from mixpanel_export.cli._command import command
from mixpanel_export.emulator import EmulatorProcess
from mixpanel_export.testing import ScriptedTransport

pytestmark = [
    pytest.mark.emulator,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX locks"),
]

REJECTING = Response(
    400,
    b'{"code":400,"status":"Bad Request","failed_records":[{"index":0,"field":"f","message":"m"}]}',
)


@pytest.fixture(scope="module")
def shared() -> Iterator[EmulatorProcess]:
    """
    One emulator for all tests.
    """
    with EmulatorProcess("--max-stored", "0") as emulator:
        yield emulator


@pytest.fixture
def emulator(shared: EmulatorProcess) -> EmulatorProcess:
    """
    It, forgetful.
    """
    shared.reset()
    return shared


def leave(spool: Path, count: int = 3, *, token: str = "t", url: str | None = None) -> None:
    """
    Leave events, and one update, as a process does that could not deliver them.
    """
    down = [ConnectionError("down")] * 100
    settings = Settings(
        token=token,
        spool=str(spool),
        base_url=url,
        transport=ScriptedTransport(*down),
        backoff_initial=60.0,
    )
    pipeline = Pipeline(settings)
    for number in range(count):
        assert pipeline.submit(Event("Left", distinct_id="u", properties={"number": number}))
    assert pipeline.update_profile("u", set={"plan": "pro"})
    pipeline.close(0.0)


@contextmanager
def child(program: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """
    Run a program that says when it is ready, and kill it in the end.
    """
    with subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


LIVING = """
import sys
from mixpanel_export import Event, Pipeline, Settings
pipeline = Pipeline(Settings(token="t", spool=sys.argv[1], base_url="http://127.0.0.1:9"))
pipeline.submit(Event("Alive"))
print("ready", flush=True)
sys.stdin.read()
"""

# As good as alive, and quicker.
HOLDING = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
fcntl.lockf(file, fcntl.LOCK_EX)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def held(tmp_path: Path) -> Iterator[None]:
    """
    What one living process has.
    """
    leave(tmp_path, 1)
    (lock,) = tmp_path.glob("*/*/lock")
    with child(HOLDING, lock):
        yield


def run(*arguments: object, token: str = "t", url: str = "", answer: str | None = None) -> Result:
    """
    Run the command in this process, with an environment of its own.
    """
    env = {"MIXPANEL_TOKEN": token, "MIXPANEL_BASE_URL": url, "MIXPANEL_JITTER": "0"}
    # Before click 8.2 both streams came as one unless it was asked.
    apart = {"mix_stderr": False} if "mix_stderr" in signature(CliRunner).parameters else {}
    runner = CliRunner(**apart)  # type: ignore[arg-type]  # what it takes depends on the release
    return runner.invoke(command, ["spool", *map(str, arguments)], env=env, input=answer)


def listed(spool: Path) -> dict[str, list[dict[str, object]]]:
    """
    Return what ``ls --json`` says.
    """
    found: dict[str, list[dict[str, object]]] = json.loads(run("ls", spool, "--json").stdout)
    return found


# -- ls -------------------------------------------------------------------------------------------


def test_ls_shows_each_process(tmp_path: Path) -> None:
    """
    Who lives, who is gone, how much each has; looking changes nothing.
    """
    leave(tmp_path)
    leave(tmp_path, 2, token="other")
    with child(LIVING, tmp_path) as living:
        ran = run("ls", tmp_path)
        rows = {str(row["process"]): row for row in listed(tmp_path)["processes"]}
    again = [row for row in listed(tmp_path)["processes"] if row["process"] in rows]

    assert ran.exit_code == 0
    assert [row for row in rows.values() if row["state"] == "gone"] == [
        row for row in again if not str(row["process"]).startswith(f"{living.pid}-")
    ]
    assert "8 events wait, 7 of processes that are gone." in ran.stdout
    assert sorted((row["state"], row["events"], row["updates"]) for row in rows.values()) == [
        ("alive", 1, 0),
        ("gone", 2, 1),
        ("gone", 3, 1),
    ]
    (alive,) = [row for name, row in rows.items() if name.startswith(f"{living.pid}-")]
    assert alive["state"] == "alive"
    assert alive["host"] == "http://127.0.0.1:9"
    assert abs(float(str(alive["last_write"])) - time.time()) < 60


def test_ls_says_what_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A newer version's files, somebody else's, what is no spool at all, what vanishes meanwhile.
    """
    for _ in range(3):
        leave(tmp_path, 1)
    newer, strange, ours = sorted(tmp_path.glob("*/*"))
    path = newer / "00000000.seg"
    path.write_bytes(PREAMBLE[:7] + b"\x09" + path.read_bytes()[8:])
    (newer.parent / "empty").mkdir()
    (newer.parent / ".hidden").mkdir()
    (tmp_path / "notes").mkdir()
    look = Directory.look

    def denied(path: str) -> object:
        if path == str(strange):
            raise PermissionError(13, "Permission denied")
        return look(path)

    monkeypatch.setattr(Directory, "look", denied)
    ran = run("ls", tmp_path)
    states = sorted(str(row["state"]) for row in listed(tmp_path)["processes"])
    exported = run("export", tmp_path)
    monkeypatch.setattr(Path, "iterdir", closed(newer.parent))
    nothing = listed(tmp_path)
    refused = run("purge", tmp_path, "--yes")

    assert (ran.exit_code, exported.exit_code) == (1, 1)
    assert states == ["gone", "newer version", "no access"]
    assert len(exported.stdout.splitlines()) == 2 * 2
    assert [row["state"] for row in nothing["processes"]] == ["no access"]
    assert (refused.exit_code, refused.stderr) == (1, "Error: [Errno 13] Permission denied\n")
    assert ours.exists()


def closed(folder: Path) -> Callable[[Path], Iterator[Path]]:
    """
    Return what lists folders, but not this one.
    """
    iterdir = Path.iterdir

    def listing(path: Path) -> Iterator[Path]:
        if path == folder:
            raise PermissionError(13, "Permission denied")
        return iterdir(path)

    return listing


def test_ls_counts_damage_and_what_was_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Broken events are counted apart; rejected ones stand in a file of their own.
    """
    # However slow the disk is, its files are gone when the first pipeline is closed.
    monkeypatch.setattr("mixpanel_export._keeper.PATIENCE", 60.0)
    settings = Settings(token="t", spool=tmp_path, transport=ScriptedTransport(REJECTING))  # type: ignore[arg-type]  # a path is fine
    with Pipeline(settings) as pipeline:
        pipeline.submit(Event("Wrong"))
    leave(tmp_path)
    (path,) = tmp_path.glob("*/*/*.seg")
    data = path.read_bytes()
    at = data.index(b'"number":1')
    path.write_bytes(data[:at] + b"?" + data[at + 1 :])

    found = listed(tmp_path)
    text = run("ls", tmp_path).stdout

    (row,) = found["processes"]
    assert (row["events"], row["updates"], row["damaged"]) == (2, 1, 1)
    (rejected,) = found["rejected"]
    assert rejected["events"] == 1
    assert "1 events of" in text


def test_an_empty_spool(tmp_path: Path) -> None:
    """
    There is nothing to see, and that is no mistake; a directory that is not there is one.
    """
    assert "0 events wait" in run("ls", tmp_path).stdout
    assert run("ls", tmp_path / "nowhere").exit_code == 2


def test_numbers_are_written_for_people() -> None:
    """
    Sizes and ages have units.
    """
    assert [_tables.size(n) for n in (7, 4_200, 4_200_000, 3 * 10**9)] == [
        "7 B",
        "4.2 kB",
        "4.2 MB",
        "3.0 GB",
    ]
    assert [_tables.age(n) for n in (-1, 59, 60, 7_200, 200_000)] == [
        "0 s",
        "59 s",
        "1 min",
        "2 h",
        "2 d",
    ]


# -- drain ----------------------------------------------------------------------------------------


def test_drain_delivers_and_prints_the_ledger(tmp_path: Path, emulator: EmulatorProcess) -> None:
    """
    A process of its own, as an operator runs it, over a real socket; nothing is left.
    """
    leave(tmp_path, 2_500, url=emulator.url)
    leave(tmp_path, 1, token="other", url=emulator.url)
    done = subprocess.run(
        [sys.executable, "-m", "mixpanel_export", "spool", "drain", str(tmp_path)],
        env={**os.environ, "MIXPANEL_TOKEN": "t", "MIXPANEL_BASE_URL": emulator.url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert ["adopted", "2,501"] in [line.split() for line in done.stdout.splitlines()]
    assert ["delivered", "2,501"] in [line.split() for line in done.stdout.splitlines()]
    assert done.stderr.splitlines()[-1].startswith("1 directories of other projects are left")
    assert emulator.stats()["distinct"] == 2_500
    assert emulator.profiles()[0]["properties"]["plan"] == "pro"
    assert [row["events"] for row in listed(tmp_path)["processes"]] == [1]


def test_drain_as_json(tmp_path: Path, emulator: EmulatorProcess) -> None:
    """
    The ledger by its names, and what is left.
    """
    leave(tmp_path, url=emulator.url)
    ran = run("drain", tmp_path, "--json", url=emulator.url)
    ledger = json.loads(ran.stdout)

    assert ran.exit_code == 0
    assert (ledger["adopted"], ledger["delivered"], ledger["left"]) == (4, 4, [])


@pytest.mark.usefixtures("held")
def test_drain_leaves_the_living_alone(tmp_path: Path, emulator: EmulatorProcess) -> None:
    """
    They deliver their own: nothing is left that would be ours to do.
    """
    leave(tmp_path, url=emulator.url)
    ran = run("drain", tmp_path, url=emulator.url)

    assert ran.exit_code == 0
    assert [row["state"] for row in listed(tmp_path)["processes"]] == ["alive"]


def test_drain_says_why_something_is_left(tmp_path: Path, emulator: EmulatorProcess) -> None:
    """
    Credentials that Mixpanel does not take, nobody there, lines for another address.
    """
    leave(tmp_path, url=emulator.url)
    emulator.faults([{"path": "/import", "status": 401}, {"path": "/engage", "status": 401}])
    wrong = run("drain", tmp_path, url=emulator.url)
    emulator.reset()
    emulator.faults([{"path": "*", "status": 503}])
    late = run("drain", tmp_path, "--timeout", "0.1", url=emulator.url)
    elsewhere = run("drain", tmp_path, url="http://localhost:9")
    emulator.reset()
    done = run("drain", tmp_path, url=emulator.url)

    assert [each.exit_code for each in (wrong, late, elsewhere, done)] == [1, 1, 1, 0]
    assert "Mixpanel does not take them: status 401" in wrong.stderr
    assert "the time was over" in late.stderr
    assert f"4 events of 1 processes are left, for {emulator.url}" in elsewhere.stderr
    assert emulator.stats()["distinct"] == 3


def test_drain_needs_credentials(tmp_path: Path) -> None:
    """
    And says so; a setting that is wrong is named.
    """
    nobody = run("drain", tmp_path, token="")
    wrong = run("drain", tmp_path, url="nonsense")

    assert (nobody.exit_code, wrong.exit_code) == (1, 1)
    assert "there are no credentials" in nobody.stderr
    assert "MIXPANEL_BASE_URL" in wrong.stderr or "base_url" in wrong.stderr


def test_ctrl_c_leaves_the_rest(tmp_path: Path, emulator: EmulatorProcess) -> None:
    """
    It ends soon, says what it did, and another one goes on.
    """
    leave(tmp_path, url=emulator.url)
    emulator.faults([{"path": "*", "action": "hang", "delay": 20}])
    with subprocess.Popen(
        [sys.executable, "-m", "mixpanel_export", "spool", "drain", str(tmp_path)],
        env={**os.environ, "MIXPANEL_TOKEN": "t", "MIXPANEL_BASE_URL": emulator.url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as draining:
        while [row["state"] for row in listed(tmp_path)["processes"]] != ["alive"]:
            time.sleep(0.02)  # Another process: there is nothing to wait on.
        draining.send_signal(signal.SIGINT)
        out, err = draining.communicate(timeout=20)
    emulator.reset()

    assert draining.returncode == 130
    assert ["queued", "4"] in [line.split() for line in out.splitlines()]
    assert "interrupted" in err
    assert run("drain", tmp_path, url=emulator.url).exit_code == 0


# -- export ---------------------------------------------------------------------------------------


def test_export_writes_what_would_be_sent(tmp_path: Path) -> None:
    """
    One object a line, updates too; nothing is gone thereafter, and no credential is in it.
    """
    leave(tmp_path, token="a-secret-token")
    file = tmp_path / "left.ndjson"
    ran = run("export", tmp_path)
    objects = list(map(json.loads, ran.stdout.splitlines()))
    to_file = run("export", tmp_path, "--output", file)
    once_more = run("export", tmp_path, "-o", file)
    other = run("export", tmp_path, "--project", "0" * 16)

    assert [ran.exit_code, to_file.exit_code, once_more.exit_code, other.exit_code] == [0, 0, 1, 0]
    assert [each.get("event") for each in objects] == [None, "Left", "Left", "Left"]
    assert [each["properties"]["number"] for each in objects[1:]] == [0, 1, 2]
    assert objects[0]["$set"] == {"plan": "pro"}
    assert "a-secret-token" not in ran.stdout
    assert file.read_text() == ran.stdout
    assert file.stat().st_mode & 0o777 == 0o600
    assert "File exists" in once_more.stderr
    assert (other.stdout, other.stderr) == ("", "0 lines written\n")
    assert [row["events"] for row in listed(tmp_path)["processes"]] == [3]


def test_export_of_the_rejected(tmp_path: Path) -> None:
    """
    With Mixpanel's reasons.
    """
    settings = Settings(token="t", spool=str(tmp_path), transport=ScriptedTransport(REJECTING))
    with Pipeline(settings) as pipeline:
        pipeline.submit(Event("Wrong"))
    (line,) = run("export", tmp_path, "--rejected").stdout.splitlines()

    assert json.loads(line)["message"] == "m"
    assert json.loads(line)["line"]["event"] == "Wrong"


@pytest.mark.usefixtures("held")
def test_export_leaves_the_living_alone(tmp_path: Path) -> None:
    """
    What they have changes while it is read; they deliver it themselves.
    """
    leave(tmp_path, 1)
    ran = run("export", tmp_path)

    assert ran.exit_code == 1
    assert len(ran.stdout.splitlines()) == 2
    assert "1 processes were left alone" in ran.stderr


# -- purge ----------------------------------------------------------------------------------------


def test_purge_asks_and_deletes(tmp_path: Path) -> None:
    """
    Only if the answer is yes; no directory of the project remains.
    """
    leave(tmp_path)
    (project,) = tmp_path.iterdir()
    (project / "rejected.1.jsonl").write_text("{}\n")
    no = run("purge", tmp_path, answer="n\n")
    kept = listed(tmp_path)["processes"]
    leave(tmp_path, 1, token="other")
    yes = run("purge", tmp_path, answer="y\n")

    assert (no.exit_code, yes.exit_code) == (1, 0)
    assert [row["events"] for row in kept] == [3]
    assert "6 events that wait and 1 rejected ones" in yes.stderr
    assert list(tmp_path.iterdir()) == []


def test_purge_of_the_rejected_only(tmp_path: Path) -> None:
    """
    What waits stays.
    """
    leave(tmp_path)
    (project,) = tmp_path.iterdir()
    (project / "rejected.jsonl").write_text("{}\n{}\n")
    ran = run("purge", tmp_path, "--rejected", "--yes", "--json", "--project", project.name)

    assert json.loads(ran.stdout) == {"events": 0, "rejected": 2, "left_alone": 0}
    assert [row["events"] for row in listed(tmp_path)["processes"]] == [3]
    assert listed(tmp_path)["rejected"] == []


@pytest.mark.usefixtures("held")
def test_purge_leaves_the_living_alone(tmp_path: Path) -> None:
    """
    The exit status says that something is there still.
    """
    leave(tmp_path)
    ran = run("purge", tmp_path, "--yes")

    assert ran.exit_code == 1
    assert [row["state"] for row in listed(tmp_path)["processes"]] == ["alive"]
