"""
Pipelines whose lines are diverted, as tests do it: nothing is sent, kept, started or opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import orjson
import pytest

from mixpanel_export import _process
from mixpanel_export._event import Event
from mixpanel_export._pipeline import Pipeline, divert, living
from mixpanel_export._process import delivering
from mixpanel_export._settings import Settings
from mixpanel_export._update import Aside
from mixpanel_export.testing import ScriptedTransport


def take_to(lines: list[bytes | Aside]) -> Callable[[bytes | Aside], Literal[True]]:
    """
    Make what puts lines there.
    """

    def take(line: bytes | Aside) -> Literal[True]:
        lines.append(line)
        return True

    return take


@pytest.fixture
def taken() -> Iterator[list[bytes | Aside]]:
    """
    Divert everything to here.
    """
    lines: list[bytes | Aside] = []
    divert(take_to(lines))
    yield lines
    divert(None)


@pytest.fixture
def transport() -> ScriptedTransport:
    """
    Answer everything as Mixpanel does.
    """
    return ScriptedTransport()


def names(taken: list[bytes | Aside]) -> list[str]:
    """
    Return the names of events.
    """
    return [orjson.loads(line)["event"] for line in taken if isinstance(line, bytes)]


def test_what_is_diverted_is_neither_sent_nor_counted(
    taken: list[bytes | Aside], transport: ScriptedTransport
) -> None:
    """
    Events and updates are there when the call returns, and no thread was started for them.
    """
    pipeline = Pipeline(Settings(token="t", transport=transport))

    accepted = pipeline.submit(Event("A")), pipeline.update_profile("u-1", set={"a": 1})

    assert accepted == (True, True)
    assert names(taken) == ["A"]
    assert isinstance(taken[1], Aside)
    assert pipeline.stats.accepted == 0
    assert pipeline.flush(0.0)
    assert not delivering
    assert transport.requests == []


def test_a_pipeline_that_was_there_before_is_diverted_and_comes_back(
    taken: list[bytes | Aside], transport: ScriptedTransport
) -> None:
    """
    From its next event on, and until it is over.
    """
    with Pipeline(Settings(token="t", transport=transport, flush_interval=0.01)) as pipeline:
        divert(None)
        pipeline.submit(Event("Before"))
        divert(take_to(taken))
        pipeline.submit(Event("Meanwhile"))
        divert(None)
        pipeline.submit(Event("After"))

    assert names(taken) == ["Meanwhile"]
    assert names(list(transport.lines)) == ["Before", "After"]


def test_a_disabled_pipeline_is_diverted_like_others(taken: list[bytes | Aside]) -> None:
    """
    Without credentials too, for profiles too; afterwards it takes nothing again.
    """
    pipeline = Pipeline(Settings(disabled=True))

    accepted = pipeline.submit(Event("A")), pipeline.update_profile("u-1", set={"a": 1})
    divert(None)

    assert accepted == (True, True)
    assert len(taken) == 2
    assert not pipeline.submit(Event("B"))


def test_a_closed_pipeline_stays_closed(
    taken: list[bytes | Aside], transport: ScriptedTransport
) -> None:
    """
    What would have been dropped is not diverted, whether it was closed before or meanwhile.
    """
    pipeline = Pipeline(Settings(token="t", transport=transport))
    pipeline.submit(Event("A"))
    pipeline.close()

    divert(_process.diversion)
    accepted = pipeline.submit(Event("B"))

    assert not accepted
    assert names(taken) == ["A"]
    assert pipeline.stats.dropped == {"closed": 1}


def test_the_spool_is_left_alone(
    taken: list[bytes | Aside], transport: ScriptedTransport, tmp_path: Path
) -> None:
    """
    Nothing is written there, and what an earlier process has left is not sent.
    """
    spool = tmp_path / "spool"
    with Pipeline(Settings(token="t", transport=transport, spool=str(spool))) as pipeline:
        pipeline.submit(Event("A"))
        pipeline.flush()

    assert names(taken) == ["A"]
    assert not spool.exists()


def test_the_living_are_known(transport: ScriptedTransport) -> None:
    """
    As long as somebody has them.
    """
    pipeline = Pipeline(Settings(token="t", transport=transport))

    assert pipeline in living()
