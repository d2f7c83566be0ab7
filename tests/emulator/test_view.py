"""
What somebody looks at: which events are chosen from the store, and how much of them is shown.
"""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from mixpanel_export.emulator._reading import Reader
from mixpanel_export.emulator._store import Shown, Store
from mixpanel_export.emulator._view import View, newest, read_view, shortened, shown


def stored(*events: dict[str, object], endpoint: str = "/import") -> Store:
    """
    Return a store with these events, numbered from 1; equal ones are the same.
    """
    store = Store(None, max_stored=0)
    lines = [json.dumps(one, separators=(",", ":"), ensure_ascii=False).encode() for one in events]
    store.add(endpoint, 0, [(hash(line), 0, line) for line in lines])
    return store


def of(name: str, **properties: object) -> dict[str, object]:
    """
    Return an event.
    """
    return {"event": name, "properties": properties}


def reader_of(store: Store) -> Reader:
    """
    Return a reader of a project with Simplified ID Merge.
    """
    return Reader(store, simplified=True)


def chosen(store: Store, view: View, *, after: int = 0, limit: int = 9) -> list[int]:
    """
    Return the numbers of the events that a view shows.
    """
    return [row.id for row in newest(store, reader_of(store), view, after=after, limit=limit)]


@pytest.mark.parametrize(
    ("view", "numbers"),
    [
        (View(), [4, 3, 2, 1]),
        (View(search="bEAr"), [3, 2]),
        (View(name="A"), [4, 1]),
        (View(user="a"), [2]),
        (View(user=""), [3]),
        (View(user="$device:d"), [4]),
        (View(user="7"), [1]),
        (View(name="A", user="7"), [1]),
        (View(name="A", user="a"), []),
        (View(endpoint="/track"), []),
        (View(repeated=True), []),
    ],
)
def test_only_what_is_asked_for_is_shown(view: View, numbers: list[int]) -> None:
    """
    An event that only contains the texts is not meant; users are those of Simplified ID Merge.
    """
    store = stored(
        of("A", distinct_id=7, note="a"),
        of("Bear", distinct_id="a", note="A"),
        of("Bear", note="7 a d"),
        of("A", **{"$device_id": "d"}),
    )

    assert chosen(store, view) == numbers
    store.close()


def test_repetitions_can_be_looked_at_alone() -> None:
    """
    Those that repeat the four fields of an earlier one.
    """
    store = stored(of("A"), of("B"), of("A"))

    assert chosen(store, View(repeated=True)) == [3]
    store.close()


def test_the_newest_of_many_are_found_wherever_they_are() -> None:
    """
    Page by page, and not further than asked.
    """
    store = stored(*(of("A" if number % 1500 == 0 else "B", a=number) for number in range(4000)))

    assert chosen(store, View(name="A")) == [3001, 1501, 1]
    assert chosen(store, View(name="A"), limit=2) == [3001, 1501]
    assert chosen(store, View(name="A"), after=2000) == [3001]
    store.close()


def test_a_text_may_be_as_long_as_an_address() -> None:
    """
    SQLite refuses patterns of more than 50 000 bytes.
    """
    store = stored(of("A", a="x" * 60_000))

    assert chosen(store, View(search="x" * 60_000)) == [1]
    assert chosen(store, View(name="x" * 60_000, user="%" * 60_000)) == []
    store.close()


@pytest.mark.parametrize(
    ("query", "view"),
    [
        ({}, View()),
        ({"q": "x", "part": "users", "user": ""}, View(search="x", part="users", user="")),
        ({"name": "A", "repeated": "1"}, View(name="A", repeated=True)),
        ({"follow": "1", "lines": "10"}, View(follow=True, lines=10)),
        ({"lines": "-1"}, View()),
        ({"lines": "9" * 99}, View()),
        ({"lines": "²"}, View()),
    ],
)
def test_parameters_of_the_address(query: dict[str, str], view: View) -> None:
    """
    What makes no sense is left out.
    """
    assert read_view(query, reader_of(stored())) == view


def test_small_events_are_shown_as_they_are() -> None:
    """
    Byte for byte, so that they can be copied.
    """
    row = Shown(1, "/import", 0, False, '{"event":"A","properties":{"a":1}}')

    assert shown(row, reader_of(stored())) == {**asdict(row), "user": "", "whole": True}


def test_of_large_events_a_part_is_shown() -> None:
    """
    It is still JSON, and says who and what.
    """
    properties = {"distinct_id": "ada", **{f"p{number}": "x" * 5000 for number in range(200)}}
    row = Shown(1, "/import", 0, False, json.dumps(of("A", **properties)))

    part = shown(row, reader_of(stored()))

    assert not part["whole"]
    assert len(part["line"]) < 20_000
    assert json.loads(part["line"])["properties"]["distinct_id"] == "ada"


def test_long_values_are_cut_where_there_is_too_much() -> None:
    """
    Lists become the beginning of their JSON.
    """
    values = {"text": "x" * 30_000, "list": ["y"] * 100, "number": 5}

    assert shortened(values) == {
        "text": "x" * 200 + " …",
        "list": json.dumps(["y"] * 100, separators=(",", ":"))[:200] + " …",
        "number": 5,
    }
    assert shortened({"list": ["y"] * 100}) == {"list": ["y"] * 100}
