"""
Time: what the machine's clocks say, and a deadline that several steps share.
"""

from __future__ import annotations

import math
import time
from threading import Condition, Thread

import pytest

from mixpanel_export._clock import SYSTEM_CLOCK, Deadline
from mixpanel_export.testing import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    """
    A clock that stands still unless it is moved.
    """
    return FakeClock()


def test_a_deadline_counts_down(clock: FakeClock) -> None:
    """
    What is left of a deadline is what it was made with, less what has passed.
    """
    deadline = Deadline(clock, 5.0)

    clock.advance(2.0)

    assert deadline.left() == 3.0
    assert not deadline.passed


def test_a_deadline_is_a_moment(clock: FakeClock) -> None:
    """
    A deadline stands at one moment of the monotonic clock, whenever it is asked.
    """
    clock.advance(10.0)
    deadline = Deadline(clock, 5.0)

    clock.advance(2.0)

    assert deadline.at == 15.0


@pytest.mark.parametrize("late", [0.0, 7.0])
def test_a_deadline_passes(clock: FakeClock, late: float) -> None:
    """
    From its very moment on a deadline has passed, and nothing, never less, is left.
    """
    deadline = Deadline(clock, 5.0)

    clock.advance(5.0 + late)

    assert deadline.passed
    assert deadline.left() == 0.0


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_a_deadline_can_have_passed_from_the_start(clock: FakeClock, seconds: float) -> None:
    """
    Zero or fewer seconds make a deadline that has passed.
    """
    deadline = Deadline(clock, seconds)

    assert deadline.passed
    assert deadline.left() == 0.0


def test_without_seconds_there_is_no_limit(clock: FakeClock) -> None:
    """
    A deadline of `None` never passes.
    """
    deadline = Deadline(clock, None)

    clock.advance(1e12)

    assert not deadline.passed
    assert deadline.left() == math.inf


@pytest.mark.parametrize(("wanted", "got"), [(1.0, 1.0), (5.0, 5.0), (9.0, 5.0)])
def test_a_wait_is_clipped_to_what_is_left(clock: FakeClock, wanted: float, got: float) -> None:
    """
    A step may take what it wants, but no more than the deadline leaves it.
    """
    deadline = Deadline(clock, 5.0)

    assert deadline.clip(wanted) == got


def test_the_machines_clocks_are_those_of_the_standard_library() -> None:
    """
    The wall clock is `time.time`, and the other one `time.monotonic`.
    """
    before = time.time(), time.monotonic()

    now = SYSTEM_CLOCK.wall(), SYSTEM_CLOCK.monotonic()

    assert before <= now
    assert before[0] <= now[0] <= time.time()
    assert before[1] <= now[1] <= time.monotonic()


def test_sleeping_takes_its_time() -> None:
    """
    A sleep lasts as long as it was asked to.
    """
    before = time.monotonic()

    SYSTEM_CLOCK.sleep(0.02)

    # The two clocks that are compared may be read in steps of some milliseconds.
    assert time.monotonic() - before > 0.01


@pytest.mark.parametrize("seconds", [0.0, -1.0, -math.inf])
def test_a_sleep_of_nothing_returns(seconds: float) -> None:
    """
    Zero and negative sleeps return at once, where `time.sleep` would raise.
    """
    SYSTEM_CLOCK.sleep(seconds)


@pytest.mark.parametrize("seconds", [0.001, 0.0, -1.0])
def test_a_wait_ends_without_notice(seconds: float) -> None:
    """
    A wait that nobody ends is over when its seconds are; negative ones count as zero.
    """
    condition = Condition()

    with condition:
        SYSTEM_CLOCK.wait(condition, seconds)

        condition.notify()  # Raises unless the condition is held again.


@pytest.mark.parametrize("seconds", [None, math.inf, 1e30, 60.0])
def test_a_wait_ends_with_a_notice(seconds: float | None) -> None:
    """
    However long a wait may last, even longer than the system can count, a notice ends it.
    """
    condition = Condition()
    noticed = []

    def notify() -> None:
        with condition:
            noticed.append(True)
            condition.notify()

    with condition:
        thread = Thread(target=notify)
        thread.start()
        while not noticed:
            SYSTEM_CLOCK.wait(condition, seconds)
    thread.join()

    assert noticed == [True]
