"""
The comparison at the end of the demo finds every way in which two books can differ.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mixpanel_export import Stats
from mixpanel_export.cli._ledger import Stored, Told, differences

TOLD = Told({"logging": 700, "by hand": 500}, 30, {"u-1": {"plan": "pro"}, "u-2": {"plan": "free"}})
GOOD = Stats(accepted=1_230, delivered=1_230, ignored=7, requests=3)
COUNTS = {
    "imported": 1_200,
    "distinct": 1_200,
    "duplicates": 0,
    "rejected": 0,
    "updates_rejected": 0,
    "vanished": 0,
}
STORED = Stored(COUNTS, TOLD.events, TOLD.profiles)


def stored(**counts: int) -> Stored:
    """
    Give what the emulator says with other counts.
    """
    return STORED._replace(counts={**COUNTS, **counts})


def test_equal_books_have_no_differences() -> None:
    """
    All that was said was accepted, delivered and stored: nothing to say.
    """
    assert differences(TOLD, GOOD, STORED) == []


def test_repetitions_are_no_difference() -> None:
    """
    An event that was sent twice is one event in every report.
    """
    assert differences(TOLD, GOOD, stored(imported=1_300, duplicates=100)) == []


def test_what_the_door_did_not_take_is_a_difference() -> None:
    """
    An event that was said and never accepted is named, even if no reason was counted.
    """
    told = TOLD._replace(events={"logging": 700, "by hand": 501})

    assert differences(told, GOOD, STORED) == [
        "1,201 said, but 1,200 accepted",
        "501 said through by hand, but 500 in the emulator",
    ]


def test_doors_that_make_up_for_each_other_are_a_difference() -> None:
    """
    Sums that agree are not enough: each door is compared for itself, one that nobody knows, too.
    """
    events = {"logging": 700, "by hand": 499, "unknown": 1}

    assert differences(TOLD, GOOD, STORED._replace(events=events)) == [
        "500 said through by hand, but 499 in the emulator",
        "0 said through unknown, but 1 in the emulator",
    ]


@pytest.mark.parametrize(
    "profiles",
    [
        {"u-1": {"plan": "pro"}},
        {"u-1": {"plan": "pro"}, "u-2": {"plan": "team"}},
        {**TOLD.profiles, "u-3": {"plan": "free"}},
    ],
)
def test_a_wrong_profile_is_a_difference(profiles: dict[str, dict[str, str]]) -> None:
    """
    A profile that is missing, one with another value, and one that nobody has set: each counts.
    """
    assert differences(TOLD, GOOD, STORED._replace(profiles=profiles)) == [
        "1 profiles that are not as they were set"
    ]


def test_what_was_not_delivered_is_a_difference() -> None:
    """
    Accepted and delivered are compared.
    """
    stats = replace(GOOD, delivered=1_229)

    assert differences(TOLD, stats, STORED) == [
        "1,200 accepted, but 1,199 delivered",
        "1,199 delivered, but 1,200 distinct in the emulator",
    ]


@pytest.mark.parametrize("distinct", [1_199, 1_201])
def test_what_the_emulator_does_not_have_is_a_difference(distinct: int) -> None:
    """
    Delivered and stored are compared, in both directions.
    """
    assert differences(TOLD, GOOD, stored(distinct=distinct)) == [
        f"1,200 delivered, but {distinct:,} distinct in the emulator"
    ]


@pytest.mark.parametrize("name", ["rejected", "evicted", "expired", "abandoned", "queued"])
def test_whatever_else_happened_to_an_event_is_a_difference(name: str) -> None:
    """
    Each name of the ledger that stands for an event that is not there must be zero.
    """
    found: dict[str, Any] = {name: 2}
    stats = replace(GOOD, **found)

    assert differences(TOLD, stats, STORED) == [f"2 {name}"]


def test_dropped_events_are_a_difference_by_reason() -> None:
    """
    Each reason for not accepting an event is named.
    """
    stats = replace(GOOD, dropped={"full": 2, "transform": 1})

    assert differences(TOLD, stats, STORED) == ["2 dropped (full)", "1 dropped (transform)"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("rejected", "3 rejected by the emulator"),
        ("updates_rejected", "3 updates rejected by the emulator"),
        ("vanished", "3 acknowledged but not stored by the emulator"),
    ],
)
def test_what_the_emulator_did_not_keep_is_a_difference(name: str, words: str) -> None:
    """
    The emulator's own counts of events that it did not keep must be zero.
    """
    assert differences(TOLD, GOOD, stored(**{name: 3})) == [words]
