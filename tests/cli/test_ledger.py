"""
The comparison at the end of the demo finds every way in which two books can differ.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mixpanel_export import Stats
from mixpanel_export.cli._ledger import differences

GOOD = Stats(accepted=1_200, delivered=1_200, ignored=7, requests=3)
STORED = {"imported": 1_200, "distinct": 1_200, "duplicates": 0, "rejected": 0, "vanished": 0}


def test_equal_books_have_no_differences() -> None:
    """
    All that was logged was accepted, delivered and stored: nothing to say.
    """
    assert differences(1_200, GOOD, STORED) == []


def test_repetitions_are_no_difference() -> None:
    """
    An event that was sent twice is one event in every report.
    """
    stored = {**STORED, "imported": 1_300, "duplicates": 100}

    assert differences(1_200, GOOD, stored) == []


def test_what_the_door_did_not_take_is_a_difference() -> None:
    """
    An event that was logged and never accepted is named, even if no reason was counted.
    """
    assert differences(1_201, GOOD, STORED) == ["1,201 logged, but 1,200 accepted"]


def test_what_was_not_delivered_is_a_difference() -> None:
    """
    Accepted and delivered are compared.
    """
    stats = replace(GOOD, accepted=1_201)

    assert differences(1_201, stats, STORED) == ["1,201 accepted, but 1,200 delivered"]


@pytest.mark.parametrize("distinct", [1_199, 1_201])
def test_what_the_emulator_does_not_have_is_a_difference(distinct: int) -> None:
    """
    Delivered and stored are compared, in both directions.
    """
    stored = {**STORED, "distinct": distinct}

    assert differences(1_200, GOOD, stored) == [
        f"1,200 delivered, but {distinct:,} distinct in the emulator"
    ]


@pytest.mark.parametrize("name", ["rejected", "evicted", "expired", "abandoned", "queued"])
def test_whatever_else_happened_to_an_event_is_a_difference(name: str) -> None:
    """
    Each name of the ledger that stands for an event that is not there must be zero.
    """
    found: dict[str, Any] = {name: 2}
    stats = replace(GOOD, **found)

    assert differences(1_200, stats, STORED) == [f"2 {name}"]


def test_dropped_events_are_a_difference_by_reason() -> None:
    """
    Each reason for not accepting an event is named.
    """
    stats = replace(GOOD, dropped={"full": 2, "transform": 1})

    assert differences(1_200, stats, STORED) == ["2 dropped (full)", "1 dropped (transform)"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("rejected", "3 rejected by the emulator"),
        ("vanished", "3 acknowledged but not stored by the emulator"),
    ],
)
def test_what_the_emulator_did_not_keep_is_a_difference(name: str, words: str) -> None:
    """
    The emulator's own counts of events that it did not keep must be zero.
    """
    assert differences(1_200, GOOD, {**STORED, name: 3}) == [words]
