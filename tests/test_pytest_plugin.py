"""
The fixtures, in runs of pytest as our users have them: each in a process and a folder of its own.
"""

from __future__ import annotations

from importlib.metadata import entry_points

import pytest

pytest_plugins = ["pytester"]

# Where the package is not installed, as in a checkout, pytest has to be told.
INSTALLED = bool(entry_points(group="pytest11", name="mixpanel_export"))
OURS = () if INSTALLED else ("-p", "mixpanel_export.pytest_plugin")

# Others that may be here.
ALONE = ("-p", "no:anyio", "-p", "no:asyncio", "-p", "no:xdist")

SHOP = """
import logging
from mixpanel_export import MixpanelHandler

log = logging.getLogger("shop")
log.setLevel(logging.INFO)
log.addHandler(MixpanelHandler(flush_interval=0.01))
"""


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """
    Run pytest with warnings as errors, away from this project's configuration.
    """
    if not (pytester.path / "tox.ini").exists():
        pytester.makeini("[pytest]")
    return pytester.runpytest_subprocess(
        "-W", "error", "-p", "no:cacheprovider", *OURS, *arguments, timeout=100
    )


@pytest.fixture(autouse=True)
def _nobody_elses_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What these runs see is what their tests set.
    """
    for name in ("MIXPANEL_TOKEN", "MIXPANEL_BASE_URL", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)


def test_installed_it_costs_nothing(pytester: pytest.Pytester) -> None:
    """
    It brings neither the client nor the server, nor anything else that takes long to import.
    """
    pytester.makepyfile(
        """
        import sys

        def test_modules(pytestconfig):
            assert "mixpanel_export.pytest_plugin" in sys.modules
            assert not {"httpx", "starlette", "uvicorn", "structlog"} & set(sys.modules)
            assert "mixpanel_export.emulator" not in sys.modules
        """
    )

    run(pytester, *ALONE).assert_outcomes(passed=1)


def test_events_are_captured(pytester: pytest.Pytester) -> None:
    """
    Of an application that was there before, made in the test, by hand; none is left for the next.
    """
    pytester.makepyfile(
        shop=SHOP,
        test_shop="""
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
        """,
    )

    run(pytester, *ALONE).assert_outcomes(passed=6)


def test_a_missing_event_fails_readably(pytester: pytest.Pytester) -> None:
    """
    With the difference, and without the frames of this package.
    """
    pytester.makepyfile(
        shop=SHOP,
        test_shop="""
        import shop

        def test_signs_up(mixpanel_events):
            shop.log.info("Signed Up", extra={"plan": "free"})
            mixpanel_events.assert_tracked("Signed Up", plan="pro")
        """,
    )

    ran = run(pytester, *ALONE)

    ran.assert_outcomes(failed=1)
    ran.stdout.fnmatch_lines(
        [
            "E * no event 'Signed Up' has all of this; the nearest is 1 of 1:",
            "E *- plan: 'pro'",
            "E *+ plan: 'free'",
            "test_shop.py:5: AssertionError",
        ]
    )
    assert "_tracked.py" not in ran.stdout.str()


def test_what_a_test_leaves_behind_fails_it(pytester: pytest.Pytester) -> None:
    """
    What is bound, a handler, events that nobody has sent; each with the remedy. Others pass.
    """
    pytester.makeini("[pytest]\nusefixtures = mixpanel_no_leaks")
    pytester.makepyfile(
        """
        import logging

        import pytest
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
    )

    ran = run(pytester, *ALONE)

    ran.assert_outcomes(passed=6, errors=3)
    ran.stdout.fnmatch_lines_random(
        [
            "'distinct_id' is bound; use bound(), or unbind() it",
            "the logger 'some.where' has one more MixpanelHandler; remove it",
            "a pipeline to https://api.mixpanel.com holds 2 events; flush or close it",
        ]
    )


@pytest.mark.emulator
def test_the_emulator_gets_what_is_sent(pytester: pytest.Pytester) -> None:
    """
    In each test from the beginning, at the same address, with faults that end with the test.
    """
    pytester.makepyfile(
        shop=SHOP,
        test_shop="""
        import os

        import pytest
        from mixpanel_export import Event, Pipeline, Settings

        addresses = set()

        @pytest.fixture
        def shop(mixpanel_emulator):
            import shop

            addresses.add(mixpanel_emulator.url)
            assert len(addresses) == 1
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

        def test_a_fault_is_survived(shop, mixpanel_emulator):
            mixpanel_emulator.faults(
                [
                    {"path": "/import", "times": 1, "status": 503},
                    {"path": "/import", "times": 1, "store": True, "action": "reset"},
                ]
            )
            shop.log.info("Paid", extra={"total": 5})
            assert len(mixpanel_emulator.events()) == 1

        def test_ends_while_nothing_answers(shop, mixpanel_emulator):
            mixpanel_emulator.faults([{"path": "/import", "action": "pass", "delay": 1.5}])
            shop.log.info("Too Late", extra={"total": 5})
            with pytest.raises(AssertionError, match="the ledger: .*queued=1"):
                mixpanel_emulator.events(timeout=0.3).assert_tracked("Too Late")

        def test_hears_nothing_of_it(shop, mixpanel_emulator):
            shop.log.info("In Time", extra={"total": 5})
            [event] = mixpanel_emulator.events()
            assert event.name == "In Time"

        def test_says_what_is_wrong(mixpanel_emulator):
            mixpanel_emulator.faults([{"path": "/import", "status": 401}])
            with Pipeline(Settings.from_environment(shutdown_timeout=0.1)) as pipeline:
                pipeline.submit(Event("A"))
                with pytest.raises(AssertionError, match="delivery does not work"):
                    mixpanel_emulator.events(timeout=0.3).assert_tracked("A")
        """,
    )

    ran = run(pytester, *ALONE, "--durations=8")

    ran.assert_outcomes(passed=6)


@pytest.mark.runners
@pytest.mark.emulator
def test_tests_may_run_in_parallel_and_be_asynchronous(pytester: pytest.Pytester) -> None:
    """
    With pytest-xdist each worker captures its own, with an emulator of its own; in coroutines too.
    """
    pytester.makepyfile(
        shop=SHOP,
        test_shop="""
        import asyncio

        import pytest
        from mixpanel_export import bind, bound

        @pytest.mark.parametrize("number", range(8))
        def test_captures_its_own(mixpanel_events, number):
            import shop

            shop.log.info("Counted", extra={"number": number})
            [event] = mixpanel_events
            assert event.properties["number"] == number

        @pytest.mark.asyncio
        @pytest.mark.parametrize("number", range(4))
        async def test_captures_tasks(mixpanel_events, number):
            import shop

            async def work(name):
                with bound(distinct_id=name):
                    await asyncio.sleep(0)
                    await asyncio.to_thread(shop.log.info, "Worked", extra={"number": number})

            await asyncio.gather(work("u-1"), work("u-2"))
            assert sorted(event.distinct_id for event in mixpanel_events) == ["u-1", "u-2"]
            bind(distinct_id="u-3")

        @pytest.mark.asyncio
        async def test_sends(mixpanel_emulator):
            from mixpanel_export import Event, Pipeline, Settings

            async with asyncio.timeout(10) if hasattr(asyncio, "timeout") else asyncio.Lock():
                pipeline = Pipeline(Settings.from_environment())
                pipeline.submit(Event("Sent"))
                await pipeline.aclose()
            mixpanel_emulator.events().assert_tracked("Sent", distinct_id="")
        """,
    )

    run(pytester, "-n", "2", "-o", "asyncio_default_fixture_loop_scope=function").assert_outcomes(
        passed=13
    )
