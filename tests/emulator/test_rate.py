"""
The rolling window, with a clock that the tests turn.
"""

from __future__ import annotations

from mixpanel_export.emulator._rate import RateWindow


class Clock:
    """
    Seconds that pass when told.
    """

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """
        Return the time.
        """
        return self.now


def window(clock: Clock, *, events: int = 10, size: int = 1_000) -> RateWindow:
    """
    Return a window of a minute.
    """
    return RateWindow(max_events=events, max_bytes=size, window=60.0, clock=clock)


def test_c93_the_limit_counts_events() -> None:
    """
    Up to the limit, and not one more.
    """
    rate = window(Clock())

    assert [rate.admit(5, 1), rate.admit(5, 1), rate.admit(1, 1)] == [True, True, False]


def test_c93_the_limit_counts_bytes() -> None:
    """
    Large events reach it earlier.
    """
    rate = window(Clock())

    assert [rate.admit(1, 600), rate.admit(1, 401), rate.admit(1, 400)] == [True, False, True]


def test_c93_the_window_rolls() -> None:
    """
    Each request leaves it a minute after it came, not all at the full minute.
    """
    clock = Clock()
    rate = window(clock)
    rate.admit(6, 1)
    clock.now += 59
    rate.admit(4, 1)
    refused = rate.admit(5, 1)
    clock.now += 1

    assert not refused
    assert rate.admit(6, 1)
    assert not rate.admit(1, 1)


def test_a_refused_request_does_not_count() -> None:
    """
    Knocking does not keep the door shut.
    """
    clock = Clock()
    rate = window(clock)
    rate.admit(10, 1)
    clock.now += 30
    rate.admit(10, 1)
    clock.now += 30

    assert rate.admit(10, 1)


def test_a_request_beyond_the_whole_limit_passes_when_nothing_else_does() -> None:
    """
    A small limit slows a sender down and does not lock it out.
    """
    clock = Clock()
    rate = window(clock)

    assert rate.admit(500, 1)
    assert not rate.admit(500, 1)
    clock.now += 60
    assert rate.admit(500, 1)


def test_no_limit_admits_everything() -> None:
    """
    0 events means no limit, of bytes neither.
    """
    rate = window(Clock(), events=0)

    assert all(rate.admit(10**6, 10**9) for _ in range(10))


def test_reset_empties_the_window() -> None:
    """
    What was admitted is forgotten.
    """
    rate = window(Clock())
    rate.admit(10, 1)
    rate.reset()

    assert rate.admit(10, 1)
