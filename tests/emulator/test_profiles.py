"""
Operations on profiles of users and groups.
"""

from __future__ import annotations

from typing import Any

import pytest

from mixpanel_export.emulator._profiles import InapplicableError, apply
from tests.emulator.api import Api, Run, event


@pytest.mark.parametrize(
    ("operation", "value", "before", "after"),
    [
        ("$set", {"a": 2, "b": 1}, {"a": 1}, {"a": 2, "b": 1}),
        ("$set_once", {"a": 2, "b": 1}, {"a": 1}, {"a": 1, "b": 1}),
        ("$add", {"a": 2}, {}, {"a": 2}),
        ("$add", {"a": -2}, {"a": 5}, {"a": 3}),
        ("$add", {"a": 0.5}, {"a": 1}, {"a": 1.5}),
        ("$append", {"a": 1}, {}, {"a": [1]}),
        ("$append", {"a": 1}, {"a": [1]}, {"a": [1, 1]}),
        ("$union", {"a": [1, 2, 2]}, {"a": [1]}, {"a": [1, 2]}),
        ("$union", {"a": [1, 2]}, {}, {"a": [1, 2]}),
        ("$union", {"a": [1, True, 1.0, "1", [1]]}, {"a": [[1]]}, {"a": [[1], 1, True, "1"]}),
        ("$remove", {"a": 1}, {"a": [1, 2, 1]}, {"a": [2]}),
        ("$remove", {"a": 1}, {"a": [True, 1.0, {"b": 1}]}, {"a": [True, {"b": 1}]}),
        ("$remove", {"a": 3}, {"a": [1]}, {"a": [1]}),
        ("$remove", {"b": 3}, {"a": [1]}, {"a": [1]}),
        ("$unset", ["a", "c"], {"a": 1, "b": 2}, {"b": 2}),
        ("$delete", "", {"a": 1}, None),
        ("$delete", None, {"a": 1}, None),
    ],
)
def test_c112_to_c116_operations(
    operation: str, value: object, before: dict[str, Any], after: dict[str, Any] | None
) -> None:
    """
    Each operation leaves behind what Mixpanel documents, and its input as it was.
    """
    untouched = dict(before)

    assert apply({operation: value}, before, group=False) == after
    assert before == untouched


@pytest.mark.parametrize(
    ("update", "before"),
    [
        ({}, {}),
        ({"$set": [1]}, {}),
        ({"$unset": {"a": 1}}, {}),
        ({"$add": {"a": "1"}}, {}),
        ({"$add": {"a": True}}, {}),
        ({"$add": {"a": 1}}, {"a": "text"}),
        ({"$add": {"a": 1e308}}, {"a": 1e308}),
        ({"$add": {"a": 0.5}}, {"a": 10**400}),
        ({"$add": {"a": 1}}, {"a": 10**400}),
        ({"$append": {"a": 1}}, {"a": 1}),
        ({"$union": {"a": 1}}, {}),
        ({"$remove": {"a": 1}}, {"a": 1}),
        ({"$set": {"a": "x" * 1_000_000}}, {}),
        ({"$set": {"more": 1}}, {f"p{n}": n for n in range(2000)}),
        ({"$set": {"x" * 256: 1}}, {}),
    ],
    ids=lambda value: next(iter(value), "nothing") if value else "nothing",
)
def test_c118_c121_what_does_not_fit_fails(update: dict[str, Any], before: dict[str, Any]) -> None:
    """
    Wrong types, updates over 1 MB, profiles over 2000 properties and names over 255 characters.
    """
    with pytest.raises(InapplicableError):
        apply(update, before, group=False)


@pytest.mark.parametrize("operation", ["$append", "$add"])
def test_groups_know_fewer_operations(operation: str) -> None:
    """
    The documentation leaves these two to users.
    """
    with pytest.raises(InapplicableError, match="not supported for groups"):
        apply({operation: {"a": 1}}, {}, group=True)


def test_c112_updates_take_effect_in_their_order(api: Api) -> None:
    """
    Within one request and from one to the next.
    """
    api.engage({"$set": {"plan": "free"}}, {"$set_once": {"plan": "no", "first": 1}})
    api.engage({"$set": {"plan": "pro"}}, {"$add": {"logins": 1}}, {"$add": {"logins": 1}})

    assert api.properties() == {"plan": "pro", "first": 1, "logins": 2}


def test_a_profile_may_change_often_in_one_request(api: Api) -> None:
    """
    Which costs no more than it has to, and is deleted and made again in between.
    """
    api.engage({"$set": {"old": 1}}, {"$set": {"old": 2}, "$distinct_id": "u-2"})
    api.engage({"$delete": ""}, *[{"$append": {"list": "x" * 500}}] * 1999)
    api.engage({"$union": {"set": [number % 50_000 for number in range(100_000)]}})
    api.engage({"$set": {"gone": 1}, "$distinct_id": "u-2"}, {"$delete": "", "$distinct_id": "u-2"})

    found = api.properties()
    assert found["list"] == ["x" * 500] * 1999
    assert found["set"] == list(range(50_000))
    assert "old" not in found


def test_an_update_finds_the_user_whose_id_was_cut(api: Api) -> None:
    """
    An id is cut in an update as it is in an event.
    """
    long = "é" * 200
    api.imports([event(distinct_id=long)])
    api.engage({"$set": {"plan": "pro"}, "$distinct_id": long})

    (profile,) = api.emulator.profiles()
    assert profile["$distinct_id"] == api.stored()["distinct_id"] == "é" * 127


def test_c116_events_outlive_their_profile(api: Api) -> None:
    """
    `$delete` removes the profile only.
    """
    api.imports([event()])
    api.engage({"$set": {"a": 1}}, {"$delete": "", "$ignore_alias": True})

    stats = api.emulator.stats()
    assert (stats["profiles"], stats["imported"]) == (0, 1)


def test_c118_a_bad_update_does_not_cost_its_neighbours(api: Api) -> None:
    """
    The answer names the first failure, the others take effect.
    """
    response = api.engage({"$add": {"a": "x"}}, {"$set": {"b": 1}})

    assert response.json() == {"error": "$add, a is not a number", "status": 0}
    assert api.properties() == {"b": 1}
    stats = api.emulator.stats()
    assert (stats["updates"], stats["updates_rejected"]) == (1, 1)


def test_c119_last_seen_is_the_time_of_the_last_update(api: Api) -> None:
    """
    Unless that says `$ignore_time`; `$time` states another one.
    """
    api.engage({"$set": {"a": 1}, "$time": 1_700_000_000})
    api.engage({"$set": {"a": 2}, "$ignore_time": True})

    (profile,) = api.emulator.profiles()
    assert profile["$last_seen"] == "2023-11-14T22:13:20"
    assert profile["properties"] == {"a": 2}


LONDON = {
    "$city": "London",
    "$region": "England",
    "$country_code": "GB",
    "$timezone": "Europe/London",
}


def test_a_user_is_where_the_update_comes_from(api: Api) -> None:
    """
    As far as the address tells, and the update does not say itself.
    """
    api.engage({"$set": {"a": 1, "$city": "Leeds"}, "$ip": "198.51.100.7"})

    assert api.properties() == {**LONDON, "a": 1, "$city": "Leeds"}


@pytest.mark.parametrize(
    ("update", "query"),
    [
        ({"$set": {"a": 1}, "$ip": "0"}, "?verbose=1"),
        ({"$set": {"a": 1}}, "?verbose=1&ip=0"),
        ({"$add": {"a": 1}, "$ip": "192.0.2.1"}, "?verbose=1"),
    ],
)
def test_c120_an_update_may_leave_the_place_alone(
    api: Api, update: dict[str, Any], query: str
) -> None:
    """
    Or does so because it sets nothing.
    """
    api.engage({"$set": {"b": 1}, "$ip": "198.51.100.7"})

    api.engage(update, query=query)

    assert api.properties() == {**LONDON, "a": 1, "b": 1}


def test_c123_groups_have_profiles_of_their_own(api: Api) -> None:
    """
    By key and id, beside the users.
    """
    api.groups({"$set": {"tier": "gold"}}, {"$set": {"tier": "none"}, "$group_id": "other"})
    api.engage({"$set": {"a": 1}})

    assert api.emulator.profiles()[1:] == [
        {"$group_key": "company", "$group_id": "acme", "properties": {"tier": "gold"}},
        {"$group_key": "company", "$group_id": "other", "properties": {"tier": "none"}},
    ]
    stats = api.emulator.stats()
    assert (stats["profiles"], stats["groups"]) == (1, 2)


def test_updates_with_an_unknown_token_vanish(running: Run) -> None:
    """
    The answer is success, as for events.
    """
    api = running("--token", "other")

    assert api.engage({"$set": {"a": 1}}).json() == {"error": None, "status": 1}
    stats = api.emulator.stats()
    assert (stats["profiles"], stats["vanished"]) == (0, 1)


def test_surrogates_do_no_harm(api: Api) -> None:
    """
    What no database can hold is kept in escapes, or replaced in an id.
    """
    body = b'[{"$token": "T", "$distinct_id": "a\\ud800", "$set": {"x": "\\ud800"}}]'

    assert api.send("/engage", body).text == "1"
    (profile,) = api.emulator.profiles()
    assert (profile["$distinct_id"], profile["properties"]) == ("a?", {"x": "\ud800"})
