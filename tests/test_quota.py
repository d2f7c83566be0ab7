"""
Samples and budgets.
"""

from __future__ import annotations

import threading

import pytest

from mixpanel_export._event import Drop
from mixpanel_export._ids import MEMORY
from mixpanel_export._quota import Quota


def test_without_limits_there_is_nothing_to_ask() -> None:
    """
    A door without limits need not ask.
    """
    assert not Quota(1.0, None).limits
    assert Quota(0.5, None).limits
    assert Quota(1.0, 5).limits


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_sample_has_its_size(share: float) -> None:
    """
    Among many users it is the share that was asked for, within three standard deviations.
    """
    quota = Quota(share, None)
    kept = sum(quota.spend("A", f"user-{n}", "", 0.0) is None for n in range(10_000))

    assert abs(kept - 10_000 * share) <= 3 * (10_000 * share * (1 - share)) ** 0.5


def test_of_one_user_all_events_are_sent_or_none() -> None:
    """
    In every process, whatever the event.
    """
    first, second = Quota(0.5, None), Quota(0.5, None)

    for user in ("u-1", "u-2", "u-3", "u-4", "u-5", "ü-\ud83d"):
        verdicts = {
            quota.spend(name, user, insert_id, 0.0)
            for quota in (first, second)
            for name in ("A", "B")
            for insert_id in ("1", "2")
        }
        assert len(verdicts) == 1


def test_events_of_nobody_go_by_their_own_id() -> None:
    """
    They are a sample, too.
    """
    quota = Quota(0.5, None)

    verdicts = {quota.spend("A", "", f"id-{n}", 0.0) for n in range(100)}

    assert verdicts == {None, Drop.SAMPLED}


def test_a_larger_sample_holds_the_smaller_one() -> None:
    """
    Who raises the share keeps the users that are known already.
    """
    users = [f"user-{n}" for n in range(1_000)]
    small = {user for user in users if Quota(0.1, None).spend("A", user, "", 0.0) is None}
    large = {user for user in users if Quota(0.3, None).spend("A", user, "", 0.0) is None}

    assert small < large


def test_a_budget_is_for_each_name_and_minute() -> None:
    """
    The next minute has a new one.
    """
    quota = Quota(1.0, 2)

    def spend(name: str, now: float) -> Drop | None:
        return quota.spend(name, "u-1", "", now)

    assert [spend("A", 59.0) for _ in range(3)] == [None, None, Drop.BUDGET]
    assert [spend("B", 59.0) for _ in range(3)] == [None, None, Drop.BUDGET]
    assert [spend("A", 60.0) for _ in range(3)] == [None, None, Drop.BUDGET]


def test_names_without_end_do_not_fill_the_memory() -> None:
    """
    Only so many are remembered.
    """
    quota = Quota(1.0, 1)

    for number in range(2 * MEMORY + 1):
        assert quota.spend(f"name-{number}", "", "", 0.0) is None

    assert len(quota._spent) <= MEMORY


def test_threads_share_a_budget() -> None:
    """
    All of it is spent, and nothing beyond it.
    """
    quota = Quota(1.0, 1_000)
    quota.spend("A", "", "", 0.0)
    kept: list[int] = []

    def work() -> None:
        kept.append(sum(quota.spend("A", "", "", 0.0) is None for _ in range(500)))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(kept) == 999
