"""
Schedules of everything that can happen, and what must hold in each; see `tests.simulation`.
"""

from __future__ import annotations

import faulthandler
from collections import Counter
from contextlib import suppress

import pytest

from mixpanel_export._engine import Engine
from mixpanel_export._outcome import Delivered
from mixpanel_export._process import Process
from mixpanel_export._sender import Attempt, Shipment
from tests.simulation import STATES, run
from tests.simulation_host import WatchedPipeline
from tests.simulation_server import KINDS

#: Schedules of an ordinary run, in chunks.
SCHEDULES = 2_000
CHUNK = 100

#: Schedules beyond the first `SCHEDULES` that found something once, and what.
REMEMBERED = {
    2_032: "two threads that packed at the same time brought updates out of order",
}

#: Schedules within which a planted bug must be found.
ENOUGH = 100


@pytest.mark.parametrize("first", range(0, SCHEDULES, CHUNK))
def test_every_schedule_keeps_the_promises(first: int) -> None:
    """
    Nothing is lost silently, sent wrongly, sent again or left waiting, whatever happens.
    """
    for seed in range(first, first + CHUNK):
        run(seed)


@pytest.mark.parametrize("seed", REMEMBERED)
def test_what_was_found_once_does_not_come_back(seed: int) -> None:
    """
    A schedule that broke a promise is played again.
    """
    run(seed)


def test_a_schedule_can_be_played_again() -> None:
    """
    The same seed is the same schedule.
    """
    first, second = run(1), run(1)

    assert first == second
    assert first.requests > 0


def test_every_answer_is_met() -> None:
    """
    A few hundred schedules meet each answer, and each state of a process.
    """
    cells: Counter[tuple[str, str]] = Counter()
    for seed in range(200):
        cells += run(seed).cells

    assert {kind for kind, _ in cells} == set(KINDS)
    assert {state for _, state in cells} == set(STATES)


@pytest.mark.long
def test_every_answer_is_met_in_every_state() -> None:
    """
    Ten thousand schedules meet each answer a hundred times in each state, and keep the promises.
    """
    # Two minutes in one test are no sign that it hangs.
    faulthandler.cancel_dump_traceback_later()
    cells: Counter[tuple[str, str]] = Counter()
    for seed in range(10_000):
        cells += run(seed).cells

    rare = sorted((cells[kind, state], kind, state) for kind in KINDS for state in STATES)
    print("of", len(rare), "kinds in states the rarest:", *rare[:3])
    assert rare[0][0] >= 100, rare[:10]


# -- whether it would find anything ---------------------------------------------------------------


def seed_that_finds(pipeline: type[WatchedPipeline] = WatchedPipeline) -> int:
    """
    Give the first seed with which the simulation finds fault; fails if there is none.
    """
    for seed in range(ENOUGH):
        with suppress(AssertionError):
            run(seed, pipeline)
            continue
        return seed
    pytest.fail("a planted bug was not found")


def test_it_finds_a_batch_that_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A batch that was delivered and goes back to the others does not stay unnoticed.
    """
    settle = Engine.settle

    def forgetful(self: Engine, shipment: Shipment, attempt: Attempt) -> None:
        flying = shipment.launch in self._flying
        settle(self, shipment, attempt)
        if flying and isinstance(attempt.outcome, Delivered):
            self._ready.append(shipment)

    monkeypatch.setattr(Engine, "settle", forgetful)

    print("found by seed", seed_that_finds())


def test_it_finds_a_lock_that_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Two connections that settle at the same time, and overwrite each other's counts, are noticed.
    """
    settle = Engine.settle

    def racing(self: Engine, shipment: Shipment, attempt: Attempt) -> None:
        counts = self._counts.copy()
        settle(self, shipment, attempt)
        if self._flying:
            # The other one had read them before and writes them now.
            self._counts = counts

    monkeypatch.setattr(Engine, "settle", racing)

    print("found by seed", seed_that_finds())


def test_it_finds_a_child_that_takes_itself_for_its_parent() -> None:
    """
    A child that keeps its parent's queue would send everything twice.
    """

    class Blind(WatchedPipeline):
        def _current(self) -> Process:
            return self._process

    print("found by seed", seed_that_finds(Blind))
