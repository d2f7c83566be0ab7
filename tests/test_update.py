"""
Updates of profiles and the verbs of identity, sealed.
"""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from datetime import datetime, timezone
from typing import Any

import orjson
import pytest

from mixpanel_export import Event, alias_event, identify_event, merge_event
from mixpanel_export._batch import Lane
from mixpanel_export._event import Drop
from mixpanel_export._privacy import Privacy
from mixpanel_export._update import (
    OPERATIONS,
    VERBS,
    Aside,
    GroupUpdate,
    ProfileUpdate,
    seal_update,
    seal_verb,
)
from tests.objects import HOSTILE


def sealed(update: ProfileUpdate | GroupUpdate) -> dict[str, Any]:
    """
    Seal *update* and read its line.
    """
    aside = seal_update(update)
    assert isinstance(aside, Aside)
    line: dict[str, Any] = orjson.loads(aside.line)
    return line


def test_an_update_says_whose_and_what() -> None:
    """
    A line has the user, the operation and no place; the token is put in later.
    """
    assert sealed(ProfileUpdate("u-1", "$set", {"plan": "pro"})) == {
        "$distinct_id": "u-1",
        "$ip": "0",
        "$set": {"plan": "pro"},
    }


def test_everything_that_can_be_said_is_said() -> None:
    """
    Address, time and the two switches are part of the record.
    """
    moment = datetime(2026, 1, 1, tzinfo=timezone.utc)

    line = sealed(
        ProfileUpdate(
            "u-1", "$delete", None, ip="1.2.3.4", time=moment, ignore_time=True, ignore_alias=True
        )
    )

    assert line == {
        "$distinct_id": "u-1",
        "$ip": "1.2.3.4",
        "$time": 1767225600.0,
        "$ignore_time": True,
        "$ignore_alias": True,
        "$delete": "",
    }


def test_a_naive_time_is_utc() -> None:
    """
    As for events; numbers are seconds.
    """
    naive = ProfileUpdate("u", "$set", {}, time=datetime(2026, 1, 1))  # noqa: DTZ001 -- the point
    number = ProfileUpdate("u", "$set", {}, time=1767225600)

    assert sealed(naive)["$time"] == sealed(number)["$time"] == 1767225600.0


def test_a_group_is_no_user() -> None:
    """
    A group's record names key and id, and no distinct_id, for which Mixpanel would refuse it.
    """
    aside = seal_update(GroupUpdate("company", "acme", "$set", {"tier": "gold"}))

    assert isinstance(aside, Aside)
    assert aside.lane is Lane.GROUPS
    assert orjson.loads(aside.line) == {
        "$group_key": "company",
        "$group_id": "acme",
        "$set": {"tier": "gold"},
    }


@pytest.mark.parametrize("operation", OPERATIONS)
def test_increments_must_not_be_applied_twice(operation: str) -> None:
    """
    ``$add`` and ``$append`` give another result the second time; the others do not.
    """
    aside = seal_update(ProfileUpdate("u-1", operation, {"a": 1}))

    assert isinstance(aside, Aside)
    assert aside.lane is Lane.ENGAGE
    assert aside.repeatable == (operation not in {"$add", "$append"})


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (["a", "b"], ["a", "b"]),
        (("a", 1), ["a", "1"]),
        ("a", ["a"]),
        (7, []),
    ],
)
def test_unset_takes_names(value: object, sent: list[str]) -> None:
    """
    A list of names, or a single one.
    """
    assert sealed(ProfileUpdate("u-1", "$unset", value))["$unset"] == sent


def test_values_are_made_sound() -> None:
    """
    Names and values are converted as those of events; what is nothing is left out.
    """
    value = {"when": datetime(2026, 1, 1), 7: "seven", "nan": float("nan"), "bad": "\ud800"}  # noqa: DTZ001 -- that is the point

    line = sealed(ProfileUpdate("u-1", "$set", value))

    assert line["$set"] == {"when": "2026-01-01T00:00:00", "7": "seven", "bad": "?"}


def test_an_operand_that_is_no_mapping_is_empty() -> None:
    """
    Nonsense does nothing, rather than anything.
    """
    assert sealed(ProfileUpdate("u-1", "$set", "nonsense"))["$set"] == {}


@pytest.mark.parametrize(
    "update",
    [
        ProfileUpdate("", "$set", {}),
        ProfileUpdate("anonymous", "$set", {}),
        GroupUpdate("", "acme", "$set", {}),
        GroupUpdate("company", "null", "$set", {}),
    ],
)
def test_nobody_has_no_profile(update: ProfileUpdate | GroupUpdate) -> None:
    """
    Without an id that Mixpanel takes there is nothing to update.
    """
    assert seal_update(update) is Drop.NO_IDENTITY


def test_an_update_can_be_too_large() -> None:
    """
    Mixpanel takes a megabyte at most.
    """
    value = {f"p{number}": ["x" * 200] * 200 for number in range(30)}

    assert seal_update(ProfileUpdate("u-1", "$set", value)) is Drop.TOO_LARGE


def test_half_a_character_does_no_harm() -> None:
    """
    Lone surrogates in ids become question marks.
    """
    assert sealed(ProfileUpdate("\ud800", "$set", {}))["$distinct_id"] == "?"


@pytest.mark.parametrize("operation", ["set", "$increment", ""])
def test_an_operation_that_does_not_exist_is_an_error(operation: str) -> None:
    """
    The mistake is named where it is made.
    """
    with pytest.raises(ValueError, match="operation must be one of"):
        ProfileUpdate("u-1", operation, {})


@pytest.mark.parametrize("operation", ["$add", "$append"])
def test_groups_cannot_be_incremented(operation: str) -> None:
    """
    Mixpanel supports these for users only.
    """
    with pytest.raises(ValueError, match="operation must be one of"):
        GroupUpdate("company", "acme", operation, {})


def test_updates_cannot_be_changed() -> None:
    """
    What was submitted stays what it was.
    """
    update = ProfileUpdate("u-1", "$set", {})

    with pytest.raises(FrozenInstanceError):
        update.distinct_id = "u-2"  # type: ignore[misc] # the point


@pytest.mark.parametrize(
    ("event", "properties"),
    [
        (identify_event("u-1", "a-1"), {"$identified_id": "u-1", "$anon_id": "a-1"}),
        (alias_event("u-1", "alias-1"), {"alias": "alias-1"}),
        (merge_event("u-1", "u-2"), {"$distinct_ids": ["u-1", "u-2"]}),
    ],
)
def test_verbs_keep_their_reserved_names(event: Event, properties: dict[str, Any]) -> None:
    """
    What is reserved on events is what these are made of.
    """
    aside = seal_verb(event, "made-up", 1_700_000_000.0)
    line = orjson.loads(aside.line)

    assert event.name in VERBS
    assert aside.lane is Lane.IDENTITY
    assert aside.repeatable
    assert line["event"] == event.name
    assert line["properties"] == {
        "time": 1_700_000_000_000,
        "distinct_id": event.distinct_id,
        "$insert_id": "made-up",
        **properties,
    }


def test_a_verb_may_bring_its_own_time_and_id() -> None:
    """
    As every event made by hand.
    """
    event = Event("$identify", time=1_600_000_000, insert_id="mine", properties={"a": "\ud800"})

    properties = orjson.loads(seal_verb(event, "made-up", 1_700_000_000.0).line)["properties"]

    assert (properties["time"], properties["$insert_id"]) == (1_600_000_000_000, "mine")


def test_what_is_said_beside_the_ids_of_a_verb_follows_the_rules() -> None:
    """
    Secrets, names that are not wanted, and values that are none; the ids stay as they are.
    """
    event = Event(
        "$merge",
        properties={
            "$distinct_ids": ["token=abcd", "b"],
            "time": 5,
            "note": "token=abcd",
            "plan": "pro",
            "none": None,
            "password": "hunter2",
        },
    )

    aside = seal_verb(event, "made-up", 1_700_000_000.0, Privacy(deny=("plan",)))

    assert orjson.loads(aside.line)["properties"] == {
        "time": 1_700_000_000_000,
        "distinct_id": "",
        "$insert_id": "made-up",
        "$distinct_ids": ["token=abcd", "b"],
        "note": "token=[scrubbed]",
        "password": "[scrubbed]",
    }


@pytest.mark.parametrize("operation", ["$set", "$unset"])
def test_an_operand_that_cannot_be_read_changes_nothing(operation: str) -> None:
    """
    Nothing is raised for it, and one without an end has one.
    """
    broken = HOSTILE["mapping"] if operation == "$set" else HOSTILE["list"]

    assert sealed(ProfileUpdate("u", operation, broken))[operation] in ({}, [])
    assert len(sealed(ProfileUpdate("u", "$set", HOSTILE["endless"]))["$set"]) == 2_000
