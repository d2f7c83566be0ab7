"""
Which events there are, what they carry, and who sent them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from mixpanel_export.emulator._catalogue import (
    MAX_NAMES,
    MAX_PROPERTIES,
    MAX_USERS,
    Catalogue,
    type_of,
)
from mixpanel_export.emulator._reading import Reader
from mixpanel_export.emulator._store import Store


def studied(*events: tuple[str, Mapping[str, object]]) -> Catalogue:
    """
    Return a catalogue that has looked at these events.
    """
    store = Store(None, max_stored=0)
    lines = [json.dumps({"event": name, "properties": of}).encode() for name, of in events]
    store.add("/import", 5, [(number, 0, line) for number, line in enumerate(lines)])
    catalogue = Catalogue(store, Reader(store, simplified=True))
    while catalogue.behind:
        catalogue.study()
    return catalogue


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("pro", "string"),
        ("2026-01-31", "date"),
        ("2026-01-31T10:00:00", "date"),
        ("2026-01-31 10:00:00.5+01:00", "date"),
        ("2026-01-31 or so", "string"),
        ("", "string"),
        (5, "numeric"),
        (5.5, "numeric"),
        (True, "boolean"),
        (None, "null"),
        ([1], "list"),
        ({"a": 1}, "object"),
    ],
)
def test_types_have_mixpanels_names(value: object, name: str) -> None:
    """
    A boolean is no number, and a date is a text.
    """
    assert type_of(value) == name


def test_names_are_counted_the_most_frequent_first() -> None:
    """
    With their properties, without those that every event has.
    """
    common = {"distinct_id": "u", "time": 1, "$insert_id": "i", "token": "t"}
    catalogue = studied(("A", common), ("B", {**common, "x": 1}), ("B", {"x": 2, "y": 3}))

    assert catalogue.names() == [
        {"name": "B", "count": 2, "last_ms": 5, "properties": 2, "drifting": 0},
        {"name": "A", "count": 1, "last_ms": 5, "properties": 0, "drifting": 0},
    ]


def test_values_of_several_types_drift() -> None:
    """
    Those come first; a property that is null now and then does not.
    """
    catalogue = studied(
        ("A", {"a": 1, "z": 1}),
        ("A", {"a": None, "z": "1"}),
        ("A", {"z": [2, "b"]}),
        ("A", {"z": 5}),
    )

    (drifting, steady) = catalogue.properties("A")

    assert catalogue.names()[0]["drifting"] == 1
    assert drifting == {
        "name": "z",
        "count": 4,
        "drifts": True,
        "types": [
            {"type": "numeric", "count": 2, "example": "1"},
            {"type": "string", "count": 1, "example": "1"},
            {"type": "list", "count": 1, "example": '[2,"b"]'},
        ],
    }
    assert (steady["name"], steady["drifts"], len(steady["types"])) == ("a", False, 2)
    assert catalogue.properties("unheard of") == []


def test_users_are_listed_the_latest_first() -> None:
    """
    With what they did last; nobody is no user.
    """
    catalogue = studied(
        ("A", {"distinct_id": "ada"}),
        ("B", {"distinct_id": "bob"}),
        ("C", {"distinct_id": "ada"}),
        ("D", {"distinct_id": ""}),
    )

    assert catalogue.users() == [
        {"user": "ada", "count": 2, "last_ms": 5, "name": "C"},
        {"user": "bob", "count": 1, "last_ms": 5, "name": "B"},
    ]


def test_it_is_bounded_whatever_arrives() -> None:
    """
    In names, in properties of a name, in users, and in what it keeps of a value.
    """
    many = {f"p{number}": "x" * 1000 for number in range(MAX_PROPERTIES + 50)}
    catalogue = studied(
        ("A", many),
        *((f"N{number}", {"distinct_id": f"u{number}"}) for number in range(MAX_NAMES + 50)),
    )

    assert len(catalogue.names()) == MAX_NAMES
    assert len(catalogue.properties("A")) == MAX_PROPERTIES
    assert {len(one["types"][0]["example"]) for one in catalogue.properties("A")} == {80}
    assert len(catalogue.users()) == MAX_USERS
    assert catalogue.users()[0]["user"] == f"u{MAX_NAMES + 49}"


def test_it_catches_up_in_steps_and_leaves_out_what_is_too_old() -> None:
    """
    So that a flood does not stop the emulator.
    """
    store = Store(None, max_stored=0)
    line = b'{"event":"A","properties":{}}'
    store.add("/import", 0, [(number, 0, line) for number in range(60_000)])
    catalogue = Catalogue(store, Reader(store, simplified=True))

    assert catalogue.behind == 50_000
    catalogue.study()
    assert (catalogue.behind, catalogue.seen) == (48_000, 2_000)
    while catalogue.behind:
        catalogue.study()
    assert catalogue.seen == 50_000
    catalogue.reset()
    assert (catalogue.names(), catalogue.seen) == ([], 0)
    store.close()
