"""
Fixtures for pytest, which finds them by itself once this package is installed.

::

    mixpanel_events      what the test's own process would send, captured; without network
    mixpanel_emulator    a local Mixpanel to send to, in a process of its own
    mixpanel_no_leaks    fails a test that leaves something behind for those after it
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import pytest

from mixpanel_export import _context
from mixpanel_export._clock import SYSTEM_CLOCK, Deadline
from mixpanel_export._handler import MixpanelHandler
from mixpanel_export._pipeline import Pipeline, living
from mixpanel_export._settings import Settings
from mixpanel_export._tracked import TrackedEvents
from mixpanel_export.testing import capture_events

if TYPE_CHECKING:
    from mixpanel_export.emulator import EmulatorProcess

__all__ = ["Emulator", "mixpanel_emulator", "mixpanel_events", "mixpanel_no_leaks"]

#: The token that the environment has in tests with the emulator, which takes any.
TOKEN: Final = "test"  # noqa: S105 -- opens nothing

# How long the end of a test waits for what is still on its way to the emulator, in seconds.
_BRIEF: Final = 0.5

# What would send elsewhere, or send what an earlier process has left.
_ELSEWHERE: Final = [
    f"MIXPANEL_{each.name.upper()}"
    for each in dataclasses.fields(Settings)
    if each.metadata["group"] in ("who", "where") or each.name in ("disabled", "spool")
]


@pytest.fixture
def mixpanel_events() -> Iterator[TrackedEvents]:
    """
    What this test's process would have sent to Mixpanel, captured; nothing is sent.

    A list of `mixpanel_export.Event`, each there when the call returns that made it, with
    `assert_tracked(name, **properties)`; `updates` are those of profiles. No credentials are
    needed. What is bound before the test does not hold in it, nor the other way round.
    """
    with pytest.MonkeyPatch.context() as patch:
        # Pipelines that are made in the test can do without credentials, and neither they nor
        # processes that the test starts send anything afterwards.
        patch.setenv("MIXPANEL_DISABLED", "true")
        with _context.unbound(), capture_events() as captured:
            yield captured


class Emulator:
    """
    The local Mixpanel of one test.

    Attributes:
        url: Its address, without a slash at the end; the setting `base_url`.

        token: What the environment has as `MIXPANEL_TOKEN`; others are accepted too.
    """

    def __init__(self, process: EmulatorProcess) -> None:
        self._process = process
        self.url = process.url
        self.token = TOKEN

    def events(self, timeout: float = 5.0) -> TrackedEvents:
        """
        Deliver what this process has for the emulator, and return what arrived, each event once.

        Args:
            timeout: How long to wait for that at most, in seconds.
        """
        self._deliver(timeout)
        tracked = TrackedEvents(self._reasons)
        for record in self._process.events(dedup=True):
            tracked.add(record)
        return tracked

    def profiles(self, timeout: float = 5.0) -> list[dict[str, Any]]:
        """Deliver as `events` does, and return the profiles of users and groups."""
        self._deliver(timeout)
        return self._process.profiles()

    def stats(self, timeout: float = 5.0) -> dict[str, Any]:
        """Deliver as `events` does, and return the counts since the test began."""
        self._deliver(timeout)
        return self._process.stats()

    def failures(self, timeout: float = 5.0) -> list[dict[str, Any]]:
        """
        Deliver as `events` does, and return what Mixpanel would not have taken.

        One entry for each kind, the newest first: what failed (``kind``, ``endpoint``, ``field``,
        ``message``), how often (``count``), and the beginning of the latest (``sample``).
        """
        self._deliver(timeout)
        return self._process.failures()

    def faults(self, faults: Iterable[Mapping[str, Any]]) -> None:
        """
        Make it misbehave for the rest of the test; see the README for what it can do.

        Raises:
            RuntimeError: If it does not understand them; with what it said.
        """
        self._process.faults(faults)

    def pipelines(self) -> list[Pipeline]:
        """Give the pipelines of this process that send to it."""
        return [each for each in living() if each.settings.host == self.url]

    def _deliver(self, timeout: float) -> None:
        deadline = Deadline(SYSTEM_CLOCK, timeout)
        for pipeline in self.pipelines():
            pipeline.flush(deadline.left())

    def _reasons(self) -> Iterator[str]:
        pipelines = self.pipelines()
        if not pipelines:
            yield f"nothing in this process sends to {self.url}: was it made before the fixture?"
        for pipeline in pipelines:
            yield f"the ledger: {pipeline.stats}"
            if not pipeline.health.ok:
                yield f"delivery does not work: {pipeline.health.reason}"
        for one in self._process.failures():
            yield f"{one['count']} {one['kind']} by the emulator: {one['field']} {one['message']}"


class _Runner:
    """Keeps an emulator running from the first test that wants it on."""

    def __init__(self) -> None:
        self._process: EmulatorProcess | None = None
        self._port = 0

    def fresh(self) -> EmulatorProcess:
        """Give an emulator that has seen nothing, always at the same address."""
        if self._process is None:
            from mixpanel_export.emulator import EmulatorProcess

            self._process = EmulatorProcess("--port", str(self._port))
            self._port = urlsplit(self._process.url).port or 0
        else:
            self._process.reset()
        return self._process

    def stop(self) -> None:
        """End it; the next who asks gets another one."""
        if self._process is not None:
            self._process.stop()
            self._process = None


@pytest.fixture(scope="session")
def _mixpanel_emulator_runner() -> Iterator[_Runner]:
    runner = _Runner()
    yield runner
    runner.stop()


@pytest.fixture
def mixpanel_emulator(_mixpanel_emulator_runner: _Runner) -> Iterator[Emulator]:
    """
    A local Mixpanel that has seen nothing yet; the environment points at it.

    It has `url` and `token`; `events()`, which delivers first, `profiles()`, `stats()` and
    `failures()`; and `faults([...])` to make it misbehave. Retries follow quickly unless settings
    say otherwise. Needs the extra `emulator`.
    """
    process = _mixpanel_emulator_runner.fresh()
    emulator = Emulator(process)
    with pytest.MonkeyPatch.context() as patch, _context.unbound():
        for name in _ELSEWHERE:
            patch.delenv(name, raising=False)
        patch.setenv("MIXPANEL_TOKEN", emulator.token)
        patch.setenv("MIXPANEL_BASE_URL", emulator.url)
        patch.setenv("MIXPANEL_BACKOFF_INITIAL", "0.05")
        patch.setenv("MIXPANEL_JITTER", "0")
        yield emulator
    process.reset()
    if not all([each.flush(_BRIEF) for each in emulator.pipelines()]):  # noqa: C419 -- all of them
        for pipeline in emulator.pipelines():
            _give_up(pipeline)
        # It may have got what it has not yet answered; the next test must not see that.
        _mixpanel_emulator_runner.stop()


def _give_up(pipeline: Pipeline) -> None:
    """Have *pipeline* forget what it holds, so that it does not arrive in another test."""
    if pipeline.settings.spool is None:
        pipeline.finish_exit(Deadline(SYSTEM_CLOCK, 0.0))
    else:
        # On the disk it stays, for whoever opens it.
        pipeline.close(0.0)


@pytest.fixture
def mixpanel_no_leaks() -> Iterator[None]:
    """
    Fail a test that leaves something behind which would change the events of those after it.

    What it has bound, handlers that it has added to loggers, pipelines that still hold events. For
    all tests: ``usefixtures = mixpanel_no_leaks`` in pytest's configuration.
    """
    bound = dict(_context.current().items())
    handlers = set(_handlers())
    holding = set(_holding())
    yield
    left = [
        f"{name!r} is bound; use bound(), or unbind() it"
        for name, value in _context.current().items()
        if name not in bound or bound[name] is not value
    ]
    left += [
        f"the logger {name!r} has one more MixpanelHandler; remove it"
        for name, handler in _handlers()
        if (name, handler) not in handlers
    ]
    left += [
        f"a pipeline to {each.settings.host} holds {each.stats.queued} events; flush or close it"
        for each in _holding()
        if each not in holding
    ]
    if left:
        pytest.fail("\n".join(["the test left something behind:", *left]), pytrace=False)


def _handlers() -> Iterator[tuple[str, MixpanelHandler]]:
    loggers = [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]
    for logger in loggers:
        if isinstance(logger, logging.Logger):
            for handler in logger.handlers:
                if isinstance(handler, MixpanelHandler):
                    yield logger.name, handler


def _holding() -> Iterator[Pipeline]:
    return (each for each in living() if each.stats.queued)
