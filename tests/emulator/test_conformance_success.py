"""
Statements 33 to 54: events that /import?strict=1 takes.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.emulator.api import Api, event, events, now_ms
from tests.emulator.cases import HOUR, OK, ORIGINAL, valid

CASES = [
    valid("c33", *events(3)),
    valid("c37", event(distinct_id="")),
    valid("c38", event(**{"distinct_id": None, "$device_id": "d", "$user_id": "u"})),
    valid("c39-seconds", event(time=now_ms() // 1000)),
    valid("c39-milliseconds", event(time=now_ms())),
    valid("c40", event(time=now_ms() + HOUR // 2)),
    valid("c41", event(insert_id="0123456789-abcdefABCDEF-0123456789ab")),
    valid("c42", event(insert_id="whose")),
    valid("c43", *events(2000)),
    valid("c46", event(deep={"a": {"b": {"c": {"d": {"e": 1}}}}})),
    valid("c52-empty", event(**{"$ignore": ""})),
    valid("c52-false", event(**{"$ignore": False})),
    valid("c53", event(token="T")),
    valid("c78-identify", event("$identify", **{"$identified_id": "u", "$anon_id": "d"}),
          options=ORIGINAL),
    valid("c78-alias", event("$create_alias", alias="d"), options=ORIGINAL),
    valid("c78-merge", {"event": "$merge", "properties": {"$distinct_ids": ["u", "d"]}},
          options=ORIGINAL),
]  # fmt: skip


def test_c34_a_repeated_batch_is_imported_again(api: Api) -> None:
    """
    Duplicates are neither refused nor reported.
    """
    batch = events(3)

    answers = [api.imports(batch).json() for _ in range(2)]

    assert answers == [{**OK, "num_records_imported": 3}] * 2


def test_c35_a_view_without_duplicates_shows_each_event_once(api: Api) -> None:
    """
    What is equal in event, time, distinct_id and $insert_id counts once.
    """
    batch = events(3)
    for _ in range(2):
        api.imports(batch)

    assert len(api.emulator.events()) == 6
    assert api.emulator.events(dedup=True) == batch


@pytest.mark.parametrize(
    "change",
    [{"time": 1_700_000_000_001}, {"distinct_id": "u-2"}, {"insert_id": "b"}, {"name": "B"}],
    ids=["time", "distinct_id", "insert_id", "event"],
)
def test_c36_one_different_field_makes_another_event(api: Api, change: dict[str, Any]) -> None:
    """
    All four fields decide.
    """
    same: dict[str, Any] = {"name": "A", "time": 1_700_000_000_000, "insert_id": "a"}

    api.imports([event(**same), event(**{**same, **change})])

    assert len(api.emulator.events(dedup=True)) == 2


def test_c39_seconds_and_milliseconds_are_the_same_instant(api: Api) -> None:
    """
    An event with its time in seconds equals the same event with its time in milliseconds.
    """
    same = event(time=1_700_000_000)

    api.imports([same])
    same["properties"]["time"] *= 1000
    api.imports([same])

    assert len(api.emulator.events(dedup=True)) == 1


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("x" * 300, "x" * 255), ("é" * 150, "é" * 127), ("x" * 255, "x" * 255)],
)
def test_c44_long_texts_are_cut(api: Api, sent: str, kept: str) -> None:
    """
    A text keeps its first 255 bytes, in whole characters, at any depth.
    """
    api.imports([event(text=sent, deep={"list": [sent]})])

    assert api.stored()["text"] == kept
    assert api.stored()["deep"] == {"list": [kept]}


def test_c45_long_names_are_cut(api: Api) -> None:
    """
    A property's name keeps its first 255 bytes.
    """
    api.imports([event(**{"n" * 300: 1})])

    assert api.stored()["n" * 255] == 1


@pytest.mark.parametrize("value", [True, "yes"])
def test_c51_ignored_events_succeed_and_are_not_stored(api: Api, value: object) -> None:
    """
    `$ignore` makes an event vanish behind an answer that says it was imported.
    """
    response = api.imports([event(**{"$ignore": value})])

    assert response.json() == {**OK, "num_records_imported": 1}
    assert api.emulator.stats()["imported"] == 0
    assert api.emulator.stats()["vanished"] == 1


def test_c54_values_of_every_type_are_kept(api: Api) -> None:
    """
    What arrives is stored as it arrived.
    """
    sent = event(a=None, b=True, c=1.5, d=2**53, e=["x", {"y": 1}], f={"g": []}, h="ü", i="")
    sent["properties"]["a"] = None

    api.imports([sent])

    assert api.emulator.events() == [sent]
