"""
Fields into properties: what is looked at, and what is remembered.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import orjson
import pytest

from mixpanel_export._fill import Filler
from mixpanel_export._ids import MEMORY
from mixpanel_export._limits import MAX_NESTED_BYTES
from mixpanel_export._privacy import SCRUBBED, Privacy

CARD = 4111111111111111


class Told(list[str]):
    """What the user was told."""


def filled(value: object, *, told: Told | None = None, scrub: bool = True) -> dict[str, Any]:
    """
    Return the properties that one field fills, twice in a row.
    """
    filler = Filler(Privacy(scrub=scrub), (Told() if told is None else told).append)
    lines = []
    for _ in range(2):
        properties: dict[str, Any] = {}
        filler.fill(properties, {"field": value}, (("field", "name"),))
        lines.append(filler.line("E", properties))
    assert lines[0] == lines[1]
    found: dict[str, Any] = orjson.loads(lines[0] or b"")["properties"]
    return found


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("pro", "pro"),
        ("token=abcd", "token=[scrubbed]"),
        ("x" * 300, "x" * 255),
        ("ü" * 200, "ü" * 127),
        ("half \ud83d", "half ?"),
        (5, 5),
        (-5, -5),
        (CARD, SCRUBBED),
        (CARD + 1, CARD + 1),
        (2**63, "9223372036854775808"),
        (0.5, 0.5),
        (True, True),
        (["a", "b"], ["a", "b"]),
        (["a", "token=abcd"], ["a", "token=[scrubbed]"]),
        (["x" * 300], ["x" * 255]),
        ([1, "a", None], [1, "a"]),
        ([["a"]], [["a"]]),
        (["a"] * 300, ["a"] * 254),
        ({"password": "hunter2", "n": CARD}, {"password": SCRUBBED, "n": SCRUBBED}),
        ({"a": {"b": ["secret: abcd"]}}, {"a": {"b": ["secret: [scrubbed]"]}}),
        (datetime(2026, 11, 21, tzinfo=timezone.utc), "2026-11-21T00:00:00"),
    ],
)
def test_each_value_becomes_what_is_sent(value: object, expected: object) -> None:
    """
    The first time, and when it is remembered.
    """
    assert filled(value) == {"name": expected}


@pytest.mark.parametrize("value", [None, b"raw", float("nan"), float("inf"), -float("inf")])
def test_what_says_nothing_is_left_out(value: object) -> None:
    """
    There is no property of that name then.
    """
    assert filled(value) == {}


def test_without_scrubbing_secrets_stay() -> None:
    """
    What is not searched for is not found.
    """
    value = {"password": "hunter2", "card": CARD, "text": "token=abcd"}

    assert filled(value, scrub=False) == {"name": value}


def test_a_long_list_of_texts_fits() -> None:
    """
    However it is taken, it is never larger than Mixpanel takes.
    """
    for count in range(1, 60):
        found = filled(["\x01" * 255] * count)["name"]
        assert len(orjson.dumps(found)) <= MAX_NESTED_BYTES


def test_users_hear_of_what_was_changed() -> None:
    """
    A text that was cut, each time; one that was scrubbed is no news. A date without a zone.
    """
    told = Told()
    filled("x" * 300, told=told)
    assert told == ["cut", "cut"]

    told.clear()
    filled("token=abcd", told=told)
    filled("half \ud83d", told=told)
    filled("ü" * 100, told=told)
    filled(datetime(2026, 11, 21, tzinfo=timezone.utc), told=told)
    assert told == []

    filled(datetime(2026, 11, 21), told=told)  # noqa: DTZ001 -- that is the point
    assert told == ["naive", "naive"]


def test_texts_without_end_do_not_fill_the_memory() -> None:
    """
    Only so many are remembered.
    """
    filler = Filler(Privacy(), Told().append)

    for number in range(2 * MEMORY + 1):
        assert filler.value(f"text {number}") == f"text {number}"

    assert 0 < len(filler.known) <= MEMORY


def test_numbers_and_lists_without_end_do_not_fill_the_memory() -> None:
    """
    Only so many are remembered; each is written as it is, whatever was before.
    """
    filler = Filler(Privacy(), Told().append)

    for number in range(MEMORY):
        assert filler.json(number / 4) == orjson.dumps(number / 4).decode()
        assert filler.json([f"text {number}"]) == f'["text {number}"]'

    assert 0 < len(filler.written) <= MEMORY


@pytest.mark.parametrize("text", ["seq0000042", "41111111-1111-1111-8111-deadbeef0000", ""])
def test_ids_are_not_remembered(text: str) -> None:
    """
    Each is new, and would only make others forgotten.
    """
    filler = Filler(Privacy(), Told().append)

    assert filler.value(text) == text
    assert filler.known.keys() == ({text} - {"seq0000042", "41111111-1111-1111-8111-deadbeef0000"})
