"""
What the examples do and what the README says is true.

Both lie beside this folder; `tests/run` copies them together.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mixpanel_export import Settings, Stats
from tests.inner_pytest import ALONE, outcomes, run_pytest

if TYPE_CHECKING:
    from mixpanel_export.emulator import EmulatorProcess

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
README = (ROOT / "README.md").read_text(encoding="utf-8")

# Three requests in Apache's combined format, two of them the same, among lines that are none:
# noise, nothing, a client that asked for nothing, a month that does not exist.
ACCESS_LOG = """\
203.0.113.9 - - [17/May/2015:10:05:03 +0200] "GET /tea?session=secret HTTP/1.1" 200 2326 \
"http://example.com/start?q=tea" "Mozilla/5.0 (X11; \\"Linux\\")"
out of disk space

198.51.100.7 - mary [17/May/2015:10:05:04 +0200] "HEAD / HTTP/1.0" 304 - "-" "curl/7.38.0"
198.51.100.7 - mary [17/May/2015:10:05:04 +0200] "HEAD / HTTP/1.0" 304 - "-" "curl/7.38.0"
203.0.113.9 - - [17/May/2015:10:05:09 +0200] "-" 408 0 "-" "-"
203.0.113.9 - - [17/Mai/2015:10:05:09 +0200] "GET / HTTP/1.1" 200 5 "-" "-"
"""


@pytest.fixture
def emulator() -> Iterator[EmulatorProcess]:
    """
    A running emulator that has seen nothing yet.
    """
    from mixpanel_export.emulator import EmulatorProcess

    with EmulatorProcess() as emulator:
        yield emulator


def run(
    *arguments: str,
    emulator: EmulatorProcess | None = None,
    stdin: str = "",
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """
    Run this Python as a user would, with warnings as errors, and the environment pointing at
    *emulator*.
    """
    clean = {name: text for name, text in os.environ.items() if not name.startswith("MIXPANEL_")}
    at = {"MIXPANEL_TOKEN": "test", "MIXPANEL_BASE_URL": emulator.url} if emulator else {}
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        input=stdin,
        env={**clean, **at, **(env or {})},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """
    Run the tests that are shown: those of the example, those of the README, and these once more
    where something is wrong.
    """
    folder = tmp_path_factory.mktemp("shown")
    for path in EXAMPLES.glob("*tea_shop.py"):
        shutil.copy(path, folder)
    [shown] = blocks("python3")
    wrong = shown.replace("31.5})", "31.0})").replace('"shop"', '"another shop"')
    (folder / "test_readme.py").write_text(shown, encoding="utf-8")
    (folder / "test_wrong.py").write_text(wrong, encoding="utf-8")
    return run_pytest(folder, *ALONE)


# -- examples/access_log.py ---------------------------------------------------------------------


@pytest.mark.emulator
def test_access_log_sends_each_request(emulator: EmulatorProcess) -> None:
    """
    Each request is an event with its own time, address and facts, and nothing that may be secret.
    """
    ran = run(str(EXAMPLES / "access_log.py"), emulator=emulator, stdin=ACCESS_LOG)

    assert ran.returncode == 0
    first, second, third = emulator.events()
    assert first["event"] == "Page Viewed"
    properties = first["properties"]
    assert re.fullmatch("[0-9a-f]{32}", properties.pop("$insert_id"))
    assert re.fullmatch("[0-9a-f]{32}", properties.pop("distinct_id"))
    assert properties == {
        "time": 1431849903000,
        "ip": "203.0.113.9",
        "mp_lib": "mixpanel-export",
        "method": "GET",
        "path": "/tea",
        "status": 200,
        "user_agent": 'Mozilla/5.0 (X11; \\"Linux\\")',
        "$referrer": "http://example.com/start",
        # The service's own, from the address.
        "$city": "Sydney",
        "$region": "New South Wales",
        "mp_country_code": "AU",
    }
    assert "$referrer" not in second["properties"]
    assert second["properties"]["distinct_id"] == third["properties"]["distinct_id"]
    assert "mary" not in json.dumps(emulator.events())


@pytest.mark.emulator
def test_access_log_reports_what_it_cannot_read(emulator: EmulatorProcess) -> None:
    """
    Lines that are no requests are named with their numbers and counted; the others are sent.
    """
    ran = run(str(EXAMPLES / "access_log.py"), emulator=emulator, stdin=ACCESS_LOG)

    assert re.findall(r"^line (\d+): ", ran.stderr, re.MULTILINE) == ["2", "3", "6", "7"]
    assert len(ran.stderr.splitlines()) == 4
    assert ran.stdout == (
        "3 requests (4 malformed lines): 3 accepted, 3 delivered, 0 rejected, 0 dropped,"
        " 0 abandoned\n"
    )


@pytest.mark.emulator
def test_access_log_may_be_sent_again(emulator: EmulatorProcess, tmp_path: Path) -> None:
    """
    A second run over the same file, which has grown, adds only what is new to Mixpanel's reports.
    """
    path = tmp_path / "access.log"
    path.write_text(ACCESS_LOG, encoding="utf-8")
    run(str(EXAMPLES / "access_log.py"), str(path), emulator=emulator)
    last = ACCESS_LOG.splitlines(keepends=True)[3]
    path.write_text(ACCESS_LOG + last, encoding="utf-8")

    ran = run(str(EXAMPLES / "access_log.py"), str(path), emulator=emulator)

    assert "4 delivered" in ran.stdout
    assert emulator.stats()["imported"] == 7
    assert emulator.stats()["distinct"] == 4


@pytest.mark.emulator
def test_access_log_repeats_until_everything_has_arrived(emulator: EmulatorProcess) -> None:
    """
    Errors, and connections that break after the events were stored, cost time and nothing else.
    """
    emulator.faults(
        [
            {"path": "/import", "every": 2, "status": 503},
            {"path": "/import", "every": 3, "store": True, "action": "reset"},
        ]
    )
    line = ACCESS_LOG.splitlines(keepends=True)[0]
    fast = {
        "BATCH_EVENTS": "100",
        "BACKOFF_INITIAL": "0.01",
        "BACKOFF_MAX": "0.1",
        "JITTER": "0",
        "CONNECTIONS": "2",
    }

    ran = run(
        str(EXAMPLES / "access_log.py"),
        emulator=emulator,
        stdin=line * 2_000,
        env={f"MIXPANEL_{name}": text for name, text in fast.items()},
    )

    assert ran.returncode == 0
    assert "2,000 delivered" in ran.stdout
    stats = emulator.stats()
    assert stats["distinct"] == 2_000
    assert stats["duplicates"] > 0
    assert stats["requests"]["503"] > 0
    assert stats["requests"]["reset"] > 0


@pytest.mark.emulator
def test_access_log_fails_if_something_was_rejected(emulator: EmulatorProcess) -> None:
    """
    The exit status tells that not everything arrived.
    """
    failed = [{"index": 0, "insert_id": "", "field": "properties", "message": "no"}]
    body = {"code": 400, "failed_records": failed, "num_records_imported": 2, "status": "Bad"}
    emulator.faults([{"path": "/import", "times": 1, "status": 400, "body": body}])

    ran = run(str(EXAMPLES / "access_log.py"), emulator=emulator, stdin=ACCESS_LOG)

    assert ran.returncode == 1
    assert "2 delivered, 1 rejected" in ran.stdout


def test_access_log_fails_without_a_token() -> None:
    """
    Without credentials nothing can be sent; it says so instead of pretending.
    """
    ran = run(str(EXAMPLES / "access_log.py"), stdin=ACCESS_LOG)

    assert ran.returncode == 1
    assert "MIXPANEL_TOKEN" in ran.stderr
    assert "3 requests (4 malformed lines): 0 accepted" in ran.stdout


# -- examples/plain_script.py -------------------------------------------------------------------


@pytest.mark.emulator
def test_plain_script_tells_how_it_is_used(emulator: EmulatorProcess, tmp_path: Path) -> None:
    """
    Each file is an event of the same person, an ordinary line is none, and nothing is flushed by
    hand.
    """
    for name, rows in {"tea": 2, "cups": 1}.items():
        (tmp_path / f"{name}.csv").write_text("kind,price\n" + "green,5\n" * rows, encoding="utf-8")

    ran = run(
        str(EXAMPLES / "plain_script.py"),
        str(tmp_path / "tea.csv"),
        str(tmp_path / "cups.csv"),
        emulator=emulator,
    )

    assert ran.returncode == 0
    lines = ran.stderr.splitlines()
    assert lines.count("INFO File Converted") == 2
    assert sum("are no events" in line for line in lines) == 1
    assert json.loads((tmp_path / "tea.json").read_text()) == [{"kind": "green", "price": "5"}] * 2
    events = emulator.events()
    assert [event["event"] for event in events] == ["File Converted"] * 2
    first, second = [event["properties"] for event in events]
    assert (first["rows"], second["rows"]) == (2, 1)
    assert first["version"] == "1.2"
    assert first["distinct_id"] == second["distinct_id"]
    assert str(tmp_path) not in json.dumps(events)


def test_plain_script_works_without_a_token(tmp_path: Path) -> None:
    """
    It says so once, and does its work.
    """
    (tmp_path / "tea.csv").write_text("kind\ngreen\n", encoding="utf-8")

    ran = run(str(EXAMPLES / "plain_script.py"), str(tmp_path / "tea.csv"))

    assert ran.returncode == 0
    assert ran.stderr.count("MIXPANEL_TOKEN") == 1
    assert (tmp_path / "tea.json").exists()


# -- examples/structlog_script.py ---------------------------------------------------------------


@pytest.mark.structlog
@pytest.mark.emulator
def test_structlog_script_tells_how_games_end(emulator: EmulatorProcess) -> None:
    """
    Every line is printed; what carries the player's id arrives.
    """
    guesses = "".join(f"{guess}\n" for guess in range(1, 101))

    ran = run(str(EXAMPLES / "structlog_script.py"), "alice", emulator=emulator, stdin=guesses)

    assert (ran.returncode, ran.stderr) == (0, "")
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [line["event"] for line in lines[1:-1]] == ["too low"] * (len(lines) - 2)
    started, won = emulator.events()
    assert (started["event"], won["event"]) == ("Game Started", "Game Won")
    assert won["properties"]["distinct_id"] == "alice"
    assert won["properties"]["guesses"] == lines[-1]["guesses"] == len(lines) - 1
    assert won["properties"]["highest"] == 100
    assert "level" not in won["properties"]


@pytest.mark.structlog
@pytest.mark.emulator
def test_structlog_script_tells_who_leaves(emulator: EmulatorProcess) -> None:
    """
    A game without an end is one, too.
    """
    run(str(EXAMPLES / "structlog_script.py"), "bob", emulator=emulator, stdin="0\n")

    assert [event["event"] for event in emulator.events()] == ["Game Started", "Game Left"]


# -- examples/otel_script.py --------------------------------------------------------------------


@pytest.mark.otel
@pytest.mark.emulator
def test_otel_script_sends_its_spans(emulator: EmulatorProcess, tmp_path: Path) -> None:
    """
    Each file is an event of whoever was bound, and what was found in it another one.
    """
    (tmp_path / "a.txt").write_text("one two three", encoding="utf-8")
    (tmp_path / "b.md").write_text("", encoding="utf-8")

    ran = run(
        str(EXAMPLES / "otel_script.py"),
        "alice",
        str(tmp_path / "a.txt"),
        str(tmp_path / "b.md"),
        emulator=emulator,
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == f"3 {tmp_path / 'a.txt'}\n0 {tmp_path / 'b.md'}\n"
    events = {(event["event"], event["properties"].get("kind")) for event in emulator.events()}
    assert events == {("Words Counted", ".txt"), ("Words Counted", ".md")} | {
        ("Empty File Found", None)
    }
    for event in emulator.events():
        assert event["properties"]["distinct_id"] == "alice"
        assert event["properties"]["service_name"] == "word_counter"
    assert {event["properties"].get("words") for event in emulator.events()} == {3, 0, None}
    assert str(tmp_path) not in json.dumps(emulator.events())


@pytest.mark.otel
@pytest.mark.emulator
def test_otel_script_tells_of_failures(emulator: EmulatorProcess, tmp_path: Path) -> None:
    """
    A span that failed is an event too, without the text of the exception.
    """
    ran = run(str(EXAMPLES / "otel_script.py"), "bob", str(tmp_path / "none"), emulator=emulator)

    assert ran.returncode == 1
    assert "No such file" in ran.stderr
    (event,) = emulator.events()
    assert event["properties"]["span_status"] == "error"
    assert "No such file" not in json.dumps(event)


# -- examples/tea_shop.py -----------------------------------------------------------------------


@pytest.mark.emulator
def test_tea_shop_passes_its_tests(tested: subprocess.CompletedProcess[str]) -> None:
    """
    With the fixtures, and nothing else than what lies beside it.
    """
    found = outcomes(tested, "test_tea_shop.py")

    assert found.keys() == {"PASSED"}, tested.stdout
    assert len(found["PASSED"]) == 4


def test_each_example_has_its_tests() -> None:
    """
    An example that nobody runs would be wrong some day.
    """
    tested = [
        test
        for path in Path(__file__).parent.glob("test_examples*.py")
        for test in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]

    names = [path.stem for path in EXAMPLES.glob("*.py") if not path.match("test_*")]

    assert names
    assert all(any(test.startswith(f"test_{name}_") for test in tested) for name in names)


# -- README.md ----------------------------------------------------------------------------------


def blocks(language: str) -> list[str]:
    """
    Return the README's blocks of code in one language.
    """
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def rows_below(heading: str, header: str) -> list[list[str]]:
    """
    Return the cells of the table with *header* under *heading*, one list a row.
    """
    section = README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    table = section.partition(f"\n{header}\n")[2].partition("\n\n")[0]
    return [line.strip("| ").split(" | ") for line in table.splitlines()[1:]]


def default_of(field: dataclasses.Field[object]) -> str:
    """
    Return a setting's default as the README shows it.
    """
    value = field.metadata["default"]
    if isinstance(value, Mapping):
        value = dict(value)
    grouped = isinstance(value, int) and not isinstance(value, bool)
    return f"{value:_}" if grouped else repr(value)


def test_the_readme_lists_the_settings() -> None:
    """
    Every setting with its default and its meaning, in the order and the words of `Settings`.
    """
    declared = [
        [f"`{field.name}`", f"`{default_of(field)}`", field.metadata["help"]]
        for field in dataclasses.fields(Settings)
    ]

    table = "\n".join(f"| {' | '.join(row)} |" for row in declared)

    assert rows_below("Settings", "| setting | default | meaning |") == declared, (
        f"the README's table should be:\n\n{table}\n"
    )


def test_the_readme_shows_defaults_that_can_be_typed() -> None:
    """
    A default is written as one would write it in Python, and means the same.
    """
    shown = {row[0]: row[1] for row in rows_below("Settings", "| setting | default | meaning |")}

    for field in dataclasses.fields(Settings):
        text = shown[f"`{field.name}`"].strip("`")
        assert ast.literal_eval(text) == field.metadata["default"]


def test_the_readme_explains_the_ledger() -> None:
    """
    The names of the ledger's table, and those it says are always 0, are those of `Stats`.
    """
    explained = {row[0].strip("`") for row in rows_below("The ledger", "| name | events that |")}

    about_delivery = {"retries", "requests", "queued_bytes", "oldest_age"}
    declared = {field.name for field in dataclasses.fields(Stats)} - about_delivery
    assert explained | {"adopted", "expired", "damaged"} == declared


def test_links_of_the_readme_lead_somewhere() -> None:
    """
    What it points at in this repository is there.
    """
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)

    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.otel
@pytest.mark.structlog
@pytest.mark.emulator
def test_the_python_of_the_readme_is_a_program(emulator: EmulatorProcess) -> None:
    """
    Read from top to bottom, its Python runs without a warning, and the events arrive.
    """
    ran = run("-c", "\n".join(blocks("python")), emulator=emulator)

    assert (ran.returncode, ran.stderr) == (0, "")
    events = {event["event"]: event["properties"] for event in emulator.events()}
    assert events.keys() == {
        *("Signed Up", "Trial Started", "Checkout", "Coupon Used", "Order Placed", "Job Done"),
    }
    assert events["Coupon Used"]["distinct_id"] == "u-1"
    assert events["Order Placed"]["plan"] == "pro"
    assert events["Order Placed"]["ip"] == "203.0.113.7"


@pytest.mark.emulator
def test_the_tests_of_the_readme_pass(tested: subprocess.CompletedProcess[str]) -> None:
    """
    As they are shown, and what it shows of a failure is what one sees.
    """
    [failure] = [block for block in blocks("text") if block.startswith("no event")]
    said = [line[1:].strip() for line in tested.stdout.splitlines() if line.startswith("E ")]

    assert len(outcomes(tested, "test_readme.py")["PASSED"]) == 2
    assert len(outcomes(tested, "test_wrong.py")["FAILED"]) == 1
    assert [line.strip() for line in failure.splitlines()] == [
        line.removeprefix("AssertionError: ") for line in said
    ]


@pytest.mark.celery
@pytest.mark.django
@pytest.mark.emulator
@pytest.mark.web
def test_what_the_readme_shows_for_web_frameworks_works() -> None:
    """
    Each block makes what it says, with arguments that exist, and Django takes the settings.
    """
    shown = blocks("py")
    django = """
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
    MIDDLEWARE=MIDDLEWARE,
    MIXPANEL_EXPORT=MIXPANEL_EXPORT,
)
from django.core.wsgi import get_wsgi_application
get_wsgi_application()
"""

    ran = run("-c", "\n".join([*shown, django]))

    assert (ran.returncode, ran.stderr) == (0, "")
    assert len(shown) == 4


@pytest.mark.emulator
def test_the_faults_of_the_readme_are_faults(emulator: EmulatorProcess) -> None:
    """
    The emulator understands the list that the README shows.
    """
    [faults] = re.findall(r"-d '(\[.*?\])'", README, re.DOTALL)

    emulator.faults(json.loads(faults))


@pytest.mark.emulator
@pytest.mark.cli
def test_the_options_of_the_readme_exist() -> None:
    """
    Each option that is mentioned for the emulator is one, of one of the three commands.
    """
    section = README.partition("\n## The emulator\n")[2].partition("\n## ")[0]
    mentioned = set(re.findall(r"`(--[a-z-]+)", section))

    commands = ("emulator", "run", "tail")
    helps = [run("-m", "mixpanel_export", command, "--help").stdout for command in commands]
    explained = " ".join(helps)

    assert mentioned
    assert [option for option in mentioned if f" {option} " not in explained] == []
