"""
The fixtures, as our users' tests have them.

Few runs of pytest, since each takes a second; what becomes of their tests is looked at one by one.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.inner_pytest import ALONE, outcomes, run_pytest

SHOP = """
import logging
from mixpanel_export import MixpanelHandler

log = logging.getLogger("shop")
log.setLevel(logging.INFO)
log.addHandler(MixpanelHandler(flush_interval=0.01))
"""

MODULES = """
import sys

def test_modules():
    assert "mixpanel_export.pytest_plugin" in sys.modules
    assert not {"httpx", "starlette", "uvicorn", "structlog"} & set(sys.modules)
    assert "mixpanel_export.emulator" not in sys.modules
"""

CAPTURED = """
import os
import subprocess
import sys

import pytest
from mixpanel_export import Event, MixpanelHandler, Pipeline, Settings, bind, bound

import shop

def test_imported_before(mixpanel_events):
    shop.log.info("Signed Up", extra={"distinct_id": "u-1", "plan": "pro"})
    mixpanel_events.assert_tracked("Signed Up", distinct_id="u-1", plan="pro")
    bind(distinct_id="u-2")

def test_nothing_is_left(mixpanel_events):
    assert mixpanel_events == []
    shop.log.info("Logged In", extra={"by": "form"})
    assert mixpanel_events[0].distinct_id == ""

@pytest.fixture
def user():
    with bound(distinct_id="u-3"):
        yield

def test_what_later_fixtures_bind_holds(mixpanel_events, user):
    shop.log.info("Logged In", extra={"by": "form"})
    mixpanel_events.assert_tracked("Logged In", distinct_id="u-3")

def test_made_inside(mixpanel_events):
    with Pipeline(Settings.from_environment()) as pipeline:
        assert pipeline.submit(Event("Job Done"))
        assert pipeline.update_profile("u-1", add={"jobs": 1})
    mixpanel_events.assert_tracked("Job Done")
    assert len(mixpanel_events.updates) == 1

def test_what_it_starts_sends_nothing(mixpanel_events):
    script = "import mixpanel_export as m; print(m.Settings.from_environment().disabled)"
    said = subprocess.check_output([sys.executable, "-c", script], text=True)
    assert said.strip() == "True"

def test_without_the_fixture():
    assert "MIXPANEL_DISABLED" not in os.environ

def test_missing(mixpanel_events):
    shop.log.info("Signed Up", extra={"plan": "free"})
    mixpanel_events.assert_tracked("Signed Up", plan="pro")
"""

LEFT = """
import logging

from mixpanel_export import Event, MixpanelHandler, Pipeline, Settings, bind, bound, clear
from mixpanel_export.testing import ScriptedTransport

pipelines = []

def test_leaves_a_user():
    bind(distinct_id="u-1")

def test_has_found_it():
    clear()

def test_leaves_a_handler():
    logging.getLogger("some.where").addHandler(MixpanelHandler(token="t"))

def test_has_found_that_too():
    assert logging.getLogger("some.where").handlers

def test_leaves_events():
    settings = Settings(token="t", transport=ScriptedTransport(), flush_interval=600)
    pipelines.append(Pipeline(settings))
    pipelines[0].submit(Event("A"))
    pipelines[0].submit(Event("B"))

def test_leaves_nothing(mixpanel_events):
    bind(distinct_id="u-1")
    with bound(plan="pro"), Pipeline(Settings(token="t")) as pipeline:
        pipeline.submit(Event("A"))
    pipelines[0].close()
"""

SENT = """
import httpx
import pytest
from mixpanel_export import Event, Pipeline, Settings

addresses = set()
spooled = []

@pytest.fixture
def shop(mixpanel_emulator):
    import shop

    addresses.add(mixpanel_emulator.url)
    return shop

@pytest.fixture(autouse=True)
def production(monkeypatch):
    monkeypatch.setenv("MIXPANEL_SPOOL", "/var/spool/mixpanel")
    monkeypatch.setenv("MIXPANEL_DISABLED", "true")

def test_signs_up(shop, mixpanel_emulator):
    extra = {"distinct_id": "u-1", "plan": "pro", "$set": {"plan": "pro"}}
    shop.log.info("Signed Up", extra=extra)
    events = mixpanel_emulator.events()
    events.assert_tracked("Signed Up", distinct_id="u-1", plan="pro")
    [profile] = mixpanel_emulator.profiles()
    assert profile["properties"]["plan"] == "pro"
    assert mixpanel_emulator.stats()["imported"] == 1

def test_nothing_is_left(mixpanel_emulator):
    assert mixpanel_emulator.events() == []
    assert mixpanel_emulator.profiles() == []

@pytest.mark.asyncio
async def test_sends(mixpanel_emulator):
    pipeline = Pipeline(Settings.from_environment())
    pipeline.submit(Event("Sent"))
    assert await pipeline.aclose()
    [event] = mixpanel_emulator.events()
    assert (event.name, event.distinct_id) == ("Sent", "")

def test_a_fault_is_survived(shop, mixpanel_emulator):
    mixpanel_emulator.faults(
        [
            {"path": "/import", "times": 1, "status": 503},
            {"path": "/import", "times": 1, "store": True, "action": "reset"},
        ]
    )
    shop.log.info("Paid", extra={"total": 5})
    assert len(mixpanel_emulator.events()) == 1

def test_ends_while_nothing_answers(shop, mixpanel_emulator, tmp_path):
    mixpanel_emulator.faults([{"path": "/import", "action": "pass", "delay": 1.5}])
    spooled.append(Pipeline(Settings.from_environment(spool=str(tmp_path))))
    spooled[0].submit(Event("Too Late"))
    shop.log.info("Too Late", extra={"total": 5})
    with pytest.raises(AssertionError, match="the ledger: .*queued=1"):
        mixpanel_emulator.events(timeout=0.1).assert_tracked("Too Late")

def test_hears_nothing_of_it(shop, mixpanel_emulator):
    shop.log.info("In Time", extra={"total": 5})
    [event] = mixpanel_emulator.events()
    assert event.name == "In Time"
    assert spooled[0].closed
    assert len(addresses) == 1

def test_says_what_is_wrong(mixpanel_emulator):
    mixpanel_emulator.faults([{"path": "/import", "status": 401}])
    with Pipeline(Settings.from_environment(shutdown_timeout=0.1)) as pipeline:
        pipeline.submit(Event("A"))
        with pytest.raises(AssertionError, match="delivery does not work"):
            mixpanel_emulator.events(timeout=0.1).assert_tracked("A")

def test_says_what_was_rejected(mixpanel_emulator):
    address = mixpanel_emulator.url + "/import?strict=1"
    httpx.post(address, json=[{"event": "A"}], auth=("test", ""), trust_env=False)
    [failure] = mixpanel_emulator.failures()
    assert (failure["kind"], failure["field"]) == ("rejected", "properties")
    with pytest.raises(AssertionError, match="1 rejected by the emulator: .*must be an object"):
        mixpanel_emulator.events().assert_tracked("A")

def test_says_that_nothing_is_there(mixpanel_emulator, monkeypatch):
    monkeypatch.setattr("mixpanel_export.pytest_plugin.living", lambda: [])
    with pytest.raises(AssertionError, match="nothing in this process sends to http"):
        mixpanel_emulator.events().assert_tracked("A")
"""

ASYNCHRONOUS = """
import asyncio
import os

import pytest
from mixpanel_export import bind, bound

def test_has_a_worker():
    assert os.environ["PYTEST_XDIST_WORKER"]

@pytest.mark.asyncio
@pytest.mark.parametrize("number", range(3))
async def test_captures_tasks(mixpanel_events, number):
    import shop  # Not earlier: each worker reads all files, and one wants an emulator first.

    async def work(name):
        with bound(distinct_id=name):
            await asyncio.sleep(0)
            await asyncio.to_thread(shop.log.info, "Worked", extra={"number": number})

    await asyncio.gather(work("u-1"), work("u-2"))
    assert sorted(event.distinct_id for event in mixpanel_events) == ["u-1", "u-2"]
    assert {event.properties["number"] for event in mixpanel_events} == {number}
    bind(distinct_id="u-3")
"""

Ran = subprocess.CompletedProcess[str]


def write(folder: Path, **sources: str) -> Path:
    """
    Write modules.
    """
    for name, source in sources.items():
        (folder / f"{name}.py").write_text(source, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """
    Run what needs nothing but pytest, and look in all of it for what is left behind.
    """
    folder = tmp_path_factory.mktemp("plain")
    write(folder, shop=SHOP, test_captured=CAPTURED, test_left=LEFT)
    return run_pytest(folder, *ALONE, configuration="usefixtures = mixpanel_no_leaks")


@pytest.fixture(scope="module")
def parallel(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """
    Run what needs an emulator and what is asynchronous, each in a worker of pytest-xdist.
    """
    folder = tmp_path_factory.mktemp("parallel")
    write(folder, shop=SHOP, test_sent=SENT, test_asynchronous=ASYNCHRONOUS)
    return run_pytest(
        folder,
        *("-n", "2", "--dist", "loadfile"),
        configuration="asyncio_default_fixture_loop_scope = function",
    )


def test_installed_it_costs_nothing(tmp_path: Path) -> None:
    """
    It brings neither the client nor the server, nor anything else that takes long to import.
    """
    ran = run_pytest(write(tmp_path, test_modules=MODULES), *ALONE)

    assert outcomes(ran, "test_modules.py") == {"PASSED": ["test_modules"]}, ran.stdout


def test_events_are_captured(plain: Ran) -> None:
    """
    Of an application that was there before, made in the test, by hand; none is left for the next.
    """
    found = outcomes(plain, "test_captured.py")

    assert found.keys() == {"PASSED", "FAILED"}, plain.stdout
    assert len(found["PASSED"]) == 6


def test_a_missing_event_fails_readably(plain: Ran) -> None:
    """
    With the difference, and without the frames of this package.
    """
    assert outcomes(plain, "test_captured.py")["FAILED"] == ["test_missing"]
    said = [line[1:].strip() for line in plain.stdout.splitlines() if line.startswith("E ")]
    assert said[:3] == [
        "AssertionError: no event 'Signed Up' has all of this; the nearest is 1 of 1:",
        "- plan: 'pro'",
        "+ plan: 'free'",
    ]
    assert "_tracked.py" not in plain.stdout


def test_what_a_test_leaves_behind_fails_it(plain: Ran) -> None:
    """
    What is bound, a handler, events that nobody has sent; each with the remedy. Others pass.
    """
    found = outcomes(plain, "test_left.py")

    assert found["ERROR"] == ["test_leaves_a_user", "test_leaves_a_handler", "test_leaves_events"]
    assert len(found["PASSED"]) == 6
    assert "'distinct_id' is bound; use bound(), or unbind() it" in plain.stdout
    assert "the logger 'some.where' has one more MixpanelHandler; remove it" in plain.stdout
    assert "a pipeline to https://api.mixpanel.com holds 2 events; flush or close" in plain.stdout


@pytest.mark.runners
@pytest.mark.emulator
def test_the_emulator_gets_what_is_sent(parallel: Ran) -> None:
    """
    In each test from the beginning, at the same address, with faults that end with the test.
    """
    found = outcomes(parallel, "test_sent.py")

    assert found.keys() == {"PASSED"}, parallel.stdout
    assert len(found["PASSED"]) == 9


@pytest.mark.runners
@pytest.mark.emulator
def test_tests_may_be_parallel_and_asynchronous(parallel: Ran) -> None:
    """
    With pytest-xdist each worker captures its own; with pytest-asyncio in coroutines and tasks too.
    """
    found = outcomes(parallel, "test_asynchronous.py")

    assert found.keys() == {"PASSED"}, parallel.stdout
    assert len(found["PASSED"]) == 4
