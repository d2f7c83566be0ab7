"""
The command `import`, against an emulator over real sockets.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

from mixpanel_export.cli._command import command
from mixpanel_export.cli.backfill import _journal, _run
from mixpanel_export.emulator import EmulatorProcess

pytestmark = pytest.mark.emulator

FIRST = 1_760_000_000_000

# Backing off as in earnest would take too long.
QUICK = ("--backoff-initial", "0.05", "--backoff-max", "0.1", "--jitter", "0")

COMBINED = """\
203.0.113.9 - - [17/May/2025:10:05:03 +0200] "GET /tea?session=secret&utm_source=n HTTP/1.1" 200 \
2326 "http://example.com/start?q=tea" "Mozilla/5.0 (X11; \\"Linux\\")"
out of disk space

198.51.100.7 - mary [17/May/2025:10:05:04 +0200] "HEAD / HTTP/1.0" 304 - "-" "curl/7.38.0"
198.51.100.7 - mary [17/May/2025:10:05:04 +0200] "HEAD / HTTP/1.0" 304 - "-" "curl/7.38.0"
203.0.113.9 - - [17/Mai/2025:10:05:09 +0200] "GET / HTTP/1.1" 200 5 "-" "-"
"""


@pytest.fixture(scope="module")
def running() -> Iterator[EmulatorProcess]:
    """
    One emulator for all tests of this file.
    """
    with EmulatorProcess("--max-stored", "0") as emulator:
        yield emulator


@pytest.fixture
def emulator(running: EmulatorProcess) -> EmulatorProcess:
    """
    An emulator that has seen nothing yet.
    """
    running.reset()
    return running


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, running: EmulatorProcess) -> Path:
    """
    An empty folder, in which the command is at home, and its environment.
    """
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("MIXPANEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MIXPANEL_TOKEN", "test-token-of-32-characters-made")
    monkeypatch.setenv("MIXPANEL_BASE_URL", running.url)
    return tmp_path


def run(*arguments: str, stdin: str | None = None) -> Result:
    """
    Run the command in this process.
    """
    # Before its release 8.2 click mixed both outputs unless it was told not to.
    separately: dict[str, Any] = (
        {"mix_stderr": False} if "mix_stderr" in signature(CliRunner).parameters else {}
    )
    return CliRunner(**separately).invoke(command, ["import", *arguments], input=stdin)


def run_apart(folder: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """
    Run the command in a process of its own.
    """
    return subprocess.run(
        [sys.executable, "-m", "mixpanel_export", "import", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=folder,
    )


def ledger(said: str) -> dict[str, int]:
    """
    Read the ledger.
    """
    rows = re.findall(r"^(\S.*?)\s{2,}([\d,]+)\s*$", said, re.MULTILINE)
    return {name: int(number.replace(",", "")) for name, number in rows}


def event(number: int, name: str = "Order Placed", **properties: object) -> dict[str, Any]:
    """
    Return an event as Mixpanel has it, with an id of its own.
    """
    fixed = {"time": FIRST + number, "distinct_id": f"u-{number % 97}"}
    return {"event": name, "properties": {**fixed, "$insert_id": f"{number:032x}", **properties}}


def lines(records: Sequence[Mapping[str, Any]]) -> bytes:
    """
    Write *records* as NDJSON.
    """
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def rejected(folder: Path) -> list[dict[str, Any]]:
    """
    Read the file of rejected records.
    """
    [path] = folder.glob("*.rejected.ndjson")
    return [json.loads(line) for line in path.read_text().splitlines()]


# -- files ----------------------------------------------------------------------------------------


def test_gzip_files_arrive_whole_and_once(folder: Path, emulator: EmulatorProcess) -> None:
    """
    All events of a pattern arrive as they are; the same command again sends nothing.
    """
    for index in range(3):
        some = [event(number, plan="pro") for number in range(index * 1_500, (index + 1) * 1_500)]
        (folder / f"{index}.ndjson.gz").write_bytes(gzip.compress(lines(some)))

    first = run("*.gz")
    again = run("*.gz")

    assert first.exit_code == again.exit_code == 0, first.output
    assert ledger(first.stdout)["delivered"] == 4_500
    assert ledger(again.stdout)["of these by earlier runs"] == 4_500
    assert ledger(again.stdout)["requests"] == 0
    stats = emulator.stats()
    assert (stats["distinct"], stats["imported"]) == (4_500, 4_500)
    stored = emulator.events()[0]["properties"]
    assert stored["plan"] == "pro"
    assert not list(folder.glob("*.rejected.ndjson"))


def test_ids_are_made_of_the_content(folder: Path, emulator: EmulatorProcess) -> None:
    """
    Forgetting what was done, and writing it in another way, duplicates nothing.
    """
    records = [{"event": "A", "time": FIRST + n, "distinct_id": "u", "n": n} for n in range(50)]
    (folder / "one.ndjson").write_bytes(lines(records))
    (folder / "two.json").write_text(json.dumps(records, indent=2), encoding="utf-8")

    assert run("one.ndjson").exit_code == 0
    assert run("one.ndjson", "--restart").exit_code == 0
    assert run("two.json").exit_code == 0

    assert emulator.stats()["imported"] == 150
    assert emulator.stats()["distinct"] == 50


def test_records_that_are_alike_can_be_told_apart(folder: Path, emulator: EmulatorProcess) -> None:
    """
    With --repeats each is an event of its own, and still the same in the next run.
    """
    record = {"event": "A", "time": FIRST, "distinct_id": "u"}
    (folder / "a.ndjson").write_bytes(lines([record] * 3))

    run("--repeats", "a.ndjson")
    run("--repeats", "--restart", "a.ndjson")

    assert emulator.stats()["distinct"] == 3


def test_what_was_appended_is_new(folder: Path, emulator: EmulatorProcess) -> None:
    """
    A file that has grown goes on where it ended; one that begins otherwise is another file.
    """
    path = folder / "log.ndjson"
    path.write_bytes(lines([event(n) for n in range(10)]))
    run("log.ndjson")
    with path.open("ab") as file:
        file.write(lines([event(n) for n in range(10, 15)]))

    grown = run("log.ndjson")
    path.write_bytes(lines([event(n) for n in range(100, 107)]))
    other = run("log.ndjson")

    assert ledger(grown.stdout)["delivered"] == 15
    assert ledger(other.stdout)["delivered"] == 22
    assert emulator.stats()["imported"] == 22


def test_standard_input(folder: Path, emulator: EmulatorProcess) -> None:
    """
    A pipe is a source, too, in a process of its own.
    """
    ran = run_apart(folder, "-", stdin=lines([event(n) for n in range(7)]).decode())

    assert ran.returncode == 0, ran.stderr
    assert emulator.stats()["distinct"] == 7


# -- what is wrong --------------------------------------------------------------------------------


def test_what_mixpanel_rejects_is_kept_with_its_reason(
    folder: Path, emulator: EmulatorProcess
) -> None:
    """
    Its verdict, and the line of the source, however the batch was split meanwhile.
    """
    emulator.faults([{"path": "/import", "times": 1, "status": 413}])
    body = {
        "code": 400,
        "error": "some data points in the request failed validation",
        "status": "Bad Request",
        "num_records_imported": 2,
        "failed_records": [{"index": 1, "insert_id": "", "field": "event", "message": "no good"}],
    }
    emulator.faults([{"path": "/import", "times": 1, "status": 400, "body": json.dumps(body)}])
    (folder / "a.ndjson").write_bytes(lines([event(n) for n in range(5)]))

    ran = run("a.ndjson", *QUICK)

    assert ran.exit_code == 1
    assert ledger(ran.stdout)["rejected by Mixpanel"] == 1
    [row] = rejected(folder)
    assert (row["source"], row["reason"], row["field"]) == ("a.ndjson", "no good", "event")
    assert row["record"]["properties"]["time"] == FIRST + row["line"] - 1
    assert f"a.ndjson, line {row['line']}: rejected by Mixpanel: no good" in ran.stderr


def test_hostile_files_cost_themselves_only(folder: Path, emulator: EmulatorProcess) -> None:
    """
    Each with a clear message and its place; nothing around is lost.
    """
    data = lines([event(n) for n in range(400)])
    packed = gzip.compress(data)
    (folder / "truncated.ndjson.gz").write_bytes(packed[: len(packed) // 2])
    flipped = bytearray(packed)
    flipped[len(packed) // 2] ^= 0xFF
    (folder / "corrupt.ndjson.gz").write_bytes(bytes(flipped))
    latin = '{"event": "Käse"}'.encode("latin-1")
    ok = iter(lines([event(n)])[:-1] for n in range(10_000, 10_100))
    (folder / "mixed.ndjson").write_bytes(b"\n".join([next(ok), latin, next(ok)]))
    (folder / "bom.ndjson").write_bytes(b"\xef\xbb\xbf" + next(ok))
    (folder / "wide.ndjson").write_bytes('{"event": "A"}'.encode("utf-16"))
    (folder / "crlf.ndjson").write_bytes(b"\r\n".join([next(ok), b"", next(ok), b""]))
    long = b'{"event": "' + b"x" * 9_000_000 + b'"}'
    (folder / "long.ndjson").write_bytes(b"\n".join([next(ok), long, next(ok)]))
    (folder / "nan.ndjson").write_bytes(lines([event(10_500, x=float("nan"), y=1)]))
    twice = lines([event(10_501, a=1)]).replace(b'"a"', b'"a": 2, "a"')
    (folder / "twice.ndjson").write_bytes(next(ok) + b"\n" + twice)
    deep = b'{"event": "A", "x": ' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    (folder / "deep.ndjson").write_bytes(b"\n".join([next(ok), deep, next(ok)]))
    (folder / "quotes.csv").write_text(
        "event,time,distinct_id,note\n"
        "A,2025-01-01,u,fine\n"
        'A,2025-01-01T01:00:00Z,u,"never closed\n'
        'A,2025-01-01T02:00:00Z,u,"a ""word"""\n'
        'A,2025-01-01T03:00:00Z,u,"two\nlines"\n'
        'A,2025-01-01T04:00:00Z,u,"bad" tail\n'
        "A,2025-01-01T05:00:00Z\n"
        "A,2025-01-01T06:00:00Z,u,last\n",
        encoding="utf-8",
    )
    (folder / "empty.ndjson").write_bytes(b"")
    (folder / "broken.json").write_bytes(b"[" + next(ok) + b', {"event": }, 7, ' + next(ok) + b"]")
    (folder / "cut.json").write_bytes(b"[" + next(ok) + b"," + next(ok)[:30])
    (folder / "noise.bin").write_bytes(bytes(range(128, 256)) * 40)
    (folder / "archive.bin").write_bytes(b"PK\3\4" + bytes(40))
    (folder / "lines.json").write_bytes(b'[{\n "event": }]')

    ran = run(*sorted(path.name for path in folder.iterdir()))

    assert ran.exit_code == 1
    for expected in (
        r"truncated\.ndjson\.gz: the gzip stream breaks off at byte [\d,]+: .* line \d+ is not",
        r"corrupt\.ndjson\.gz: the gzip stream is damaged at byte [\d,]+",
        r"mixed\.ndjson, line 2, column 13: is not UTF-8",
        r"wide\.ndjson: the text is UTF-16",
        r"long\.ndjson, line 2: the line is longer than 4,000,000 bytes",
        r"twice\.ndjson, line 2: a name stood twice",
        r"deep\.ndjson, line 2: is nested too deeply",
        r"quotes\.csv, line 3, column 26: a quote is opened and not closed",
        r"quotes\.csv, line 7: is not a row of CSV: ',' expected",
        r"quotes\.csv, line 8: has 2 columns, but the header has 4",
        r"empty\.ndjson: is empty",
        r"broken\.json, item 2, column 11: is not JSON",
        r"broken\.json, item 3: is not a JSON object",
        r"cut\.json: the text ends in the middle of item 2",
        r"noise\.bin: line 1, column 1: no format begins with",
        r"archive\.bin: it is a ZIP archive",
        r"lines\.json, item 1: is not JSON: .* at its line 2, column 11",
    ):
        assert re.search(expected, ran.stderr), expected
    books = ledger(ran.stdout)
    assert books["not fit to be sent"] == len(rejected(folder))
    stored = emulator.events()
    assert books["delivered"] == len(stored) == emulator.stats()["imported"]
    numbers = {each["properties"]["time"] - FIRST for each in stored}
    assert numbers >= {10_000 + n for n in range(13)} | {10_500, 10_501}
    notes = [e["properties"]["note"] for e in stored if "note" in e["properties"]]
    assert sorted(notes) == ['a "word"', "fine", "last", "two\nlines"]
    assert len({n for n in numbers if n < 400}) > 150


@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
    [
        (("nothing.ndjson",), 1, "there is no such file"),
        ((".",), 1, "is a folder"),
        (("--profiles", "--groups", "company", "a"), 2, "exclude each other"),
        (("--rename", "a", "a"), 2, "must be given as NAME=VALUE"),
        (("--timezone", "Berlin", "a.ndjson"), 1, "there is no time zone 'Berlin'"),
        (("--since", "soon", "a.ndjson"), 2, "is no time such as 2026-01-31"),
        (("--transform", "nowhere:f", "a.ndjson"), 2, "cannot be imported"),
        (("--connections", "many", "a.ndjson"), 2, "must be a whole number"),
        (("--connections", "99", "a.ndjson"), 2, "connections must be a whole number from 1 to 64"),
        (("nowhere://bucket/a",), 1, "nowhere"),
        (("memory://nothing",), 1, "there is no such file"),
        (("b*.ndjson",), 1, "no file matches"),
        (("--timezone", "Berlin", "a.ndjson"), 1, "did you mean Europe/Berlin?"),
        (("--timezone", "Nowhere", "a.ndjson"), 1, "they are named as Europe/Berlin"),
        (
            ("--transform", "json:dumps", "a.ndjson"),
            1,
            "Event is not JSON serializable (encoder.py",
        ),
        (("--transform", "builtins:type", "a.ndjson"), 1, "must return the event or None"),
        (("--event", "name", "a.ndjson"), 1, "'name'; it has 'time', 'distinct_id', "),
        (("--time", "when", "a.ndjson"), 1, "has no time in the field 'when'; it has "),
        (("--time", "event", "--event", "n", "a.ndjson"), 1, "has no name in the field 'n'"),
        (("--set", "time=7", "a.ndjson"), 1, "to an hour ahead: 7\n"),
        (("--profiles", "--distinct-id", "who", "a.ndjson"), 1, "; --distinct-id names another"),
        (("p.json",), 1, "for profiles there are --profiles and --groups"),
        (("empty.json",), 1, "it is empty"),
        (("--format", "csv", "a.ndjson"), 1, "line 1, column 1: this is no header, but JSON"),
        (("days.csv",), 1, "'31.1.2026'; --time-format says how times are written"),
        (("--time-format", "%d/%m", "days.csv"), 1, "says that it is written as '%d/%m'"),
        (("--state", "no/folder", "a.ndjson"), 1, "no/folder: No such file or directory"),
    ],
)
def test_wrong_usage_is_explained(
    folder: Path, arguments: tuple[str, ...], status: int, expected: str
) -> None:
    """
    With what was wrong and what helps, and without a traceback.
    """
    (folder / "a.ndjson").write_bytes(lines([event(1)]))
    (folder / "p.json").write_bytes(b'[{"$distinct_id": "u-1", "$properties": {"plan": "pro"}}]')
    (folder / "empty.json").write_bytes(b"[{}]")
    (folder / "days.csv").write_bytes(b"event,time\nPaid,31.1.2026\n")

    ran = run(*arguments)

    assert ran.exit_code == status
    assert expected in ran.stderr
    assert isinstance(ran.exception, SystemExit)


def test_what_is_wrong_in_the_same_way_is_shown_three_times(folder: Path) -> None:
    """
    So that something else that is wrong is seen, too.
    """
    records = [{"name": "Paid"}] * 9 + [{"event": "Paid"}] * 20
    (folder / "a.ndjson").write_bytes(lines(records))

    ran = run("--dry-run", "a.ndjson")

    assert [line.partition(": ")[::2][0] for line in ran.stderr.splitlines()] == [
        *(f"a.ndjson, line {number}" for number in (1, 2, 3)),
        "a.ndjson",
        *(f"a.ndjson, line {number}" for number in (10, 11, 12)),
    ]
    assert ledger(ran.stdout)["not fit to be sent"] == 29


@pytest.mark.parametrize(("owner", "name"), [(_run, "read"), (_journal.Journal, "settle")])
@pytest.mark.usefixtures("emulator")
def test_a_bug_is_one_line_unless_somebody_debugs(
    folder: Path, owner: object, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Wherever it happens: while the sources are read, or on a thread that sends.
    """
    (folder / "a.ndjson").write_bytes(lines([event(1)]))

    def fail(*_args: object, **_kwargs: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(owner, name, fail)
    told, traced = run("--restart", "a.ndjson"), run("--restart", "--debug", "a.ndjson")

    assert told.exit_code == traced.exit_code == 1
    assert "Error: OSError: no space left (--debug shows where)\n" in told.stderr
    assert isinstance(traced.exception, OSError)


@pytest.mark.parametrize(
    ("words", "offers"),
    [
        ("im", ["import"]),
        ("import a.n", ["a.n"]),
        ("import --format n", ["ndjson"]),
        ("import --region e", ["eu"]),
        ("import --timezone Europe/Berl", ["Europe/Berlin"]),
        ("explain --select s", ["structured"]),
        ("check --spool va", ["va"]),
    ],
)
def test_shells_complete_it(words: str, offers: list[str]) -> None:
    """
    Commands, files, zones, and what settings may be.
    """
    *before, begun = words.split()

    completer = ShellComplete(command, {}, "mixpanel-export", "_MIXPANEL_EXPORT_COMPLETE")
    found = completer.get_completions(before, begun)

    assert [each.value for each in found] == offers


def test_without_credentials_it_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Nothing is read before; a dry run needs none. What is switched off stays off.
    """
    (folder / "a.ndjson").write_bytes(lines([event(1)]))
    monkeypatch.delenv("MIXPANEL_TOKEN")

    assert "set MIXPANEL_TOKEN" in run("a.ndjson").stderr
    dry = run("--dry-run", "a.ndjson")
    monkeypatch.setenv("MIXPANEL_DISABLED", "true")
    assert "MIXPANEL_DISABLED" in run("--dry-run", "a.ndjson").stderr

    assert dry.exit_code == 0
    assert "would send: {" in dry.stderr
    assert ledger(dry.stdout)["would be sent"] == 1
    assert sorted(path.name for path in folder.iterdir()) == ["a.ndjson"]


def test_wrong_credentials_end_it_at_once(folder: Path, emulator: EmulatorProcess) -> None:
    """
    With Mixpanel's words; nothing is lost, and the next run goes on.
    """
    emulator.faults([{"path": "/import", "times": 1, "status": 401, "body": '{"error":"Bad"}'}])
    (folder / "a.ndjson").write_bytes(lines([event(n) for n in range(5)]))

    ran = run("a.ndjson", *QUICK)

    assert ran.exit_code == 1
    assert "gave up: http://127.0.0.1" in ran.stdout
    assert "answers status 401: Bad; the credentials" in ran.stdout
    assert "the same command goes on" in ran.stdout
    assert ledger(run("a.ndjson", *QUICK).stdout)["delivered"] == 5


def test_a_server_that_stays_away_ends_it(folder: Path, emulator: EmulatorProcess) -> None:
    """
    After --patience without a verdict.
    """
    emulator.faults([{"path": "/import", "times": 1_000, "status": 500}])
    (folder / "a.ndjson").write_bytes(lines([event(1)]))

    ran = run("a.ndjson", "--patience", "0.2", *QUICK)

    assert ran.exit_code == 1
    assert re.search(r"gave up: .* gave no verdict for 0 s: status 500", ran.stdout)


def test_a_state_belongs_to_one_import(folder: Path, emulator: EmulatorProcess) -> None:
    """
    That of another is not touched, unless it is to be forgotten.
    """
    (folder / "a.ndjson").write_bytes(lines([event(1)]))
    run("a.ndjson", "--state", "s")

    other = run("a.ndjson", "--state", "s", "--set", "plan=pro")
    forced = run("a.ndjson", "--state", "s", "--set", "plan=pro", "--restart")

    assert other.exit_code == 1
    assert "s: this is the state of another import" in other.stderr
    assert forced.exit_code == 0
    assert emulator.stats()["imported"] == 2


# -- 429, Ctrl-C, kill ----------------------------------------------------------------------------


def test_too_many_requests_are_waited_out(folder: Path, emulator: EmulatorProcess) -> None:
    """
    Every third answer is 429 for a while: all arrives once, and retries are counted.
    """
    emulator.faults([{"path": "/import", "every": 3, "times": 6, "status": 429}])
    (folder / "a.ndjson").write_bytes(lines([event(n) for n in range(3_000)]))

    ran = run("a.ndjson", "--batch-events", "100", *QUICK)

    assert ran.exit_code == 0
    assert ledger(ran.stdout)["of these without a verdict"] == 6
    assert ledger(ran.stdout)["requests"] == 36
    assert emulator.stats()["imported"] == emulator.stats()["distinct"] == 3_000


def test_what_was_stored_but_not_acknowledged_is_recognised(
    folder: Path, emulator: EmulatorProcess
) -> None:
    """
    A connection that breaks after the request: the same bytes again.
    """
    emulator.faults([{"path": "/import", "times": 1, "store": True, "action": "reset"}])
    (folder / "a.ndjson").write_bytes(lines([event(n) for n in range(50)]))

    ran = run("a.ndjson", *QUICK)

    assert ran.exit_code == 0
    assert emulator.stats()["imported"] == 100
    assert emulator.stats()["distinct"] == 50


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_an_import_that_is_ended_goes_on(
    folder: Path, emulator: EmulatorProcess, number: signal.Signals
) -> None:
    """
    Killed or interrupted on its way: nothing is lost, and only what was under way is repeated.
    """
    emulator.faults([{"path": "/import", "every": 1, "action": "pass", "delay": 0.05}])
    total, size, connections = 3_000, 50, 4
    for index in range(3):
        some = [event(n) for n in range(index * total // 3, (index + 1) * total // 3)]
        some[7]["properties"]["time"] = "never"
        (folder / f"{index}.ndjson.gz").write_bytes(gzip.compress(lines(some)))
    options = ("*.gz", "--batch-events", str(size), "--connections", str(connections))
    child = subprocess.Popen(
        [sys.executable, "-m", "mixpanel_export", "import", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 60
    while emulator.stats()["imported"] < total // 4 and time.monotonic() < deadline:
        time.sleep(0.02)  # Another process: there is nothing to wait on.

    child.send_signal(number)
    said, _ = child.communicate(timeout=60)
    before = emulator.stats()["imported"]
    resumed = run(*options)

    assert child.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 130)
    assert "the same command goes on" in said or number == signal.SIGKILL
    assert before < total
    stats = emulator.stats()
    assert stats["distinct"] == total - 3
    assert stats["duplicates"] <= size * connections
    if number == signal.SIGINT:
        assert stats["duplicates"] == 0
    books = ledger(resumed.stdout)
    assert books["records"] == books["delivered"] + 3 == total
    assert [(row["source"], row["line"]) for row in sorted(rejected(folder), key=str)] == [
        (f"{index}.ndjson.gz", 8) for index in range(3)
    ]


# -- formats and mapping --------------------------------------------------------------------------


def test_an_access_log(folder: Path, emulator: EmulatorProcess) -> None:
    """
    A page view for each request, of a visitor without a name; secrets of addresses are left out.
    """
    (folder / "access.log").write_text(COMBINED, encoding="utf-8")

    ran = run("--repeats", "access.log")

    assert ran.exit_code == 1
    assert [(row["line"], row["reason"]) for row in rejected(folder)] == [
        (2, "is not a request of an access log"),
        (6, "has a time that does not exist: 17/Mai/2025:10:05:09 +0200"),
    ]
    tea, first, second = (each["properties"] for each in emulator.events())
    assert (tea["path"], tea["status"], tea["bytes"]) == ("/tea", 200, 2_326)
    assert tea["utm_source"] == "n"
    assert tea["$referrer"] == "http://example.com/start"
    assert tea["time"] == 1_747_469_103_000
    assert first["distinct_id"] == second["distinct_id"] != tea["distinct_id"]
    assert "secret" not in json.dumps(tea)
    assert emulator.stats()["distinct"] == 3


def test_columns_are_mapped(folder: Path, emulator: EmulatorProcess) -> None:
    """
    Fields of other names, constants, zones, cells that are numbers.
    """
    (folder / "a.csv").write_text(
        "action;when;user;zip;price;gone\nBought;2025-06-01 12:00:00;7;00501;3.5;\n",
        encoding="utf-8",
    )

    ran = run(
        *("a.csv", "--event", "action", "--time", "when", "--distinct-id", "user"),
        *("--rename", "price=amount", "--set", "source=till", "--set", "v=2"),
        *("--timezone", "Europe/Berlin"),
    )

    assert ran.exit_code == 0, ran.output
    [stored] = emulator.events()
    properties = stored["properties"]
    assert stored["event"] == "Bought"
    assert properties["time"] == 1_748_772_000_000
    assert (properties["distinct_id"], properties["zip"]) == ("7", "00501")
    assert (properties["amount"], properties["source"], properties["v"]) == (3.5, "till", 2)
    assert "gone" not in properties
    assert "a time without a zone" in ran.stdout


def test_profiles_and_groups(folder: Path, emulator: EmulatorProcess) -> None:
    """
    Plain records are set; those with operations are done as they say.
    """
    (folder / "users.json").write_text(
        json.dumps(
            [
                {"$distinct_id": "u-1", "$properties": {"plan": "pro", "password": "x"}},
                {"distinct_id": "u-2", "plan": "free"},
                {"$distinct_id": "u-2", "$set": {"plan": "team"}, "$add": {"logins": 2}},
                {"plan": "of nobody"},
            ]
        ),
        encoding="utf-8",
    )
    (folder / "groups.csv").write_text("id,tier\nacme,gold\n", encoding="utf-8")

    users = run("--profiles", "users.json")
    groups = run("--groups", "company", "--distinct-id", "id", "groups.csv")

    assert users.exit_code == 1
    assert groups.exit_code == 0, groups.output
    profiles = {
        p.get("$distinct_id") or p["$group_id"]: p["properties"] for p in emulator.profiles()
    }
    assert profiles["u-1"]["plan"] == "pro"
    assert profiles["u-1"]["password"] == "[scrubbed]"
    assert (profiles["u-2"]["plan"], profiles["u-2"]["logins"]) == ("team", 2)
    assert profiles["acme"]["tier"] == "gold"
    [row] = rejected(folder)
    assert row["item"] == 4


def test_only_what_is_asked_for_is_sent(folder: Path, emulator: EmulatorProcess) -> None:
    """
    A time to begin and one to end, a transform, a sample; the rest is counted by reason.
    """
    (folder / "rules.py").write_text(
        "from dataclasses import replace\n"
        "def change(event):\n"
        "    number = event.properties['n']\n"
        "    if number == 5: raise ValueError('five')\n"
        "    if number == 4: return None\n"
        "    return replace(event, name=event.name.upper())\n",
        encoding="utf-8",
    )
    some = [event(n * 1_000, n=n) for n in range(10)]
    (folder / "a.ndjson").write_bytes(lines(some))
    since, until = str(FIRST + 2_000), str(FIRST + 8_000)

    ran = run("a.ndjson", "--since", since, "--until", until, "--transform", "rules:change")
    none = run("a.ndjson", "--sample", "0")

    assert ran.exit_code == 1
    assert [each["event"] for each in emulator.events()] == ["ORDER PLACED"] * 4
    assert ledger(ran.stdout)["before --since or from --until on"] == 4
    assert ledger(ran.stdout)["left out by the transform"] == 1
    assert "ValueError: five" in ran.stderr
    assert ledger(none.stdout)["not in the sample"] == 10


def test_the_newest_source_comes_first(folder: Path, emulator: EmulatorProcess) -> None:
    """
    By the times in it, not by its name; --rate spaces the records out.
    """
    for name, start in (("a", 0), ("b", 2_000_000), ("c", 1_000_000)):
        (folder / f"{name}.ndjson").write_bytes(lines([event(start + n) for n in range(10)]))
    (folder / "d.ndjson").write_bytes(b"\n[]\n")

    started = time.monotonic()
    ran = run(
        "*.ndjson", "--newest-first", "--rate", "100", "--batch-events", "10", "--connections", "1"
    )
    seconds = time.monotonic() - started

    assert ran.exit_code == 1
    times = [each["properties"]["time"] - FIRST for each in emulator.events()]
    assert sorted(times[:10]) == list(range(2_000_000, 2_000_010))
    assert seconds > 0.2


@pytest.mark.files
def test_parquet_zstd_and_addresses(folder: Path, emulator: EmulatorProcess) -> None:
    """
    What fsspec opens, compressed in other ways, and tables.
    """
    import fsspec
    import pyarrow as pa
    from pyarrow import parquet

    system = fsspec.filesystem("memory")
    system.pipe("/events/a.ndjson.zst", pa.compress(lines([event(1)]), "zstd", asbytes=True))
    times = pa.array([FIRST * 1_000_000 + 1, FIRST * 1_000_000 + 2], pa.timestamp("ns", "UTC"))
    table = pa.table({"event": ["A", "B"], "time": times, "none": [None, "x"]})
    with system.open("/events/b.parquet", "wb") as file:
        parquet.write_table(table, file)
    cut = pa.compress(lines([event(n) for n in range(9_000)]), "zstd", asbytes=True)
    system.pipe("/cut.zst", cut[: len(cut) // 2])
    (folder / "broken.parquet").write_bytes(b"PAR1" + b"x" * 100)

    good = run("memory://events/*")
    bad = run("memory://cut.zst", "broken.parquet")

    assert good.exit_code == 0, good.output
    assert sorted(each["event"] for each in emulator.events()[:3]) == ["A", "B", "Order Placed"]
    assert bad.exit_code == 1
    assert re.search(r"memory://+cut.zst: the zstd stream is damaged or cut off", bad.stderr)
    assert "broken.parquet: " in bad.stderr


def test_verbs_of_identity_go_by_themselves(folder: Path) -> None:
    """
    Exports of older projects hold them; they never share a request with events.
    """
    verb = event(1, "$identify", **{"$identified_id": "u", "$anon_id": "a"})
    (folder / "a.ndjson").write_bytes(lines([event(2), verb, event(3)]))

    ran = run("a.ndjson")

    assert ledger(ran.stdout)["delivered"] == 2
    assert ledger(ran.stdout)["rejected by Mixpanel"] == 1
    assert [row["line"] for row in rejected(folder)] == [2]


REMOTE = all(map(importlib.util.find_spec, ("moto", "flask_cors", "s3fs")))


@pytest.mark.long
@pytest.mark.files
@pytest.mark.skipif(not REMOTE, reason="needs moto and s3fs")
def test_a_bucket_is_read(
    folder: Path, emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    From a server that speaks as Amazon's does, through ``s3://``.
    """
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    for name, value in (
        ("AWS_ENDPOINT_URL", address),
        ("AWS_ACCESS_KEY_ID", "made-up"),
        ("AWS_SECRET_ACCESS_KEY", "made-up"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("NO_PROXY", "*"),
    ):
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="events")
    for index in range(2):
        some = [event(n) for n in range(index * 500, index * 500 + 500)]
        client.put_object(
            Bucket="events", Key=f"2026/{index}.ndjson.gz", Body=gzip.compress(lines(some))
        )
    try:
        ran = run_apart(folder, "s3://events/2026/*.gz")
        missing = run_apart(folder, "s3://events/nothing.gz")
    finally:
        server.stop()

    assert ran.returncode == 0, ran.stderr
    assert emulator.stats()["distinct"] == 1_000
    assert missing.returncode == 1
    assert "s3://events/nothing.gz: there is no such file" in missing.stderr
