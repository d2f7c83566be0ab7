"""
A counter without a lock: exact, and safe wherever it is bumped.
"""

from __future__ import annotations

from threading import Event, Thread

from mixpanel_export._tally import Tally


def test_a_tally_starts_at_nothing() -> None:
    """
    Before the first bump there is nothing.
    """
    assert Tally().value == 0


def test_a_tally_counts() -> None:
    """
    The value is the number of bumps.
    """
    tally = Tally()

    for _ in range(7):
        tally.bump()

    assert tally.value == 7


def test_looking_does_not_count() -> None:
    """
    Reading the value, however often and between whichever bumps, does not change it.
    """
    tally = Tally()
    tally.bump()

    seen = [tally.value for _ in range(5)]
    tally.bump()

    assert seen == [1] * 5
    assert tally.value == 2


def test_tallies_are_apart() -> None:
    """
    One tally knows nothing of another.
    """
    one, other = Tally(), Tally()

    one.bump()

    assert (one.value, other.value) == (1, 0)


def test_no_bump_is_lost_between_threads() -> None:
    """
    Threads that bump at the same time, while another one reads, lose no step.
    """
    tally = Tally()
    done = Event()
    seen = []

    def bump() -> None:
        for _ in range(20_000):
            tally.bump()

    def read() -> None:
        while not done.is_set():
            seen.append(tally.value)

    reader = Thread(target=read)
    bumpers = [Thread(target=bump) for _ in range(4)]
    for thread in (reader, *bumpers):
        thread.start()
    for thread in bumpers:
        thread.join()
    done.set()
    reader.join()

    assert tally.value == 80_000
    assert seen == sorted(seen)
    assert seen[-1] <= 80_000


def test_a_bump_waits_for_nobody() -> None:
    """
    While somebody reads, and holds what a reader holds, a bump goes through.
    """
    tally = Tally()
    thread = Thread(target=tally.bump, daemon=True)

    with tally._lock:
        thread.start()
        thread.join(timeout=10.0)
        waited = thread.is_alive()

    assert not waited
    assert tally.value == 1
