"""
Ids that belong to the same user, in both ways of Mixpanel.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from mixpanel_export.emulator import _facts
from mixpanel_export.emulator._event import Event, Scene
from mixpanel_export.emulator._store import Store
from tests.emulator.api import Api, Run, event
from tests.emulator.cases import ORIGINAL
from tests.emulator.test_live import updates


def ids(**properties: object) -> dict[str, Any]:
    """
    Return an event of a ``device``, a ``user``, or whatever else is told.
    """
    names = {"device": "$device_id", "user": "$user_id"}
    given = {names.get(name, name): value for name, value in properties.items()}
    return event(**{"distinct_id": None, **given})


def verb(name: str, **properties: object) -> dict[str, Any]:
    """
    Return an event that merges.
    """
    return {
        "event": name,
        "properties": {f"${k}" if k != "alias" else k: v for k, v in properties.items()},
    }


def whose(api: Api) -> list[tuple[str, str | None]]:
    """
    Return the user of each exported event, and whose it was before.
    """
    found = [one["properties"] for one in api.exported()]
    return [(one["distinct_id"], one.get("$distinct_id_before_identity")) for one in found]


def reasons(api: Api) -> list[str]:
    """
    Return why nothing was merged, as the page shows it.
    """
    with updates(api) as stream:
        return [failure["message"] for failure in next(stream)["failures"]]


# -- simplified ----------------------------------------------------------------------------------


def test_a_user_gets_the_events_of_the_device(api: Api) -> None:
    """
    Those before the first event with both, and those after it, on each device.
    """
    api.imports([ids(device="d1"), ids(device="d2"), ids(device="d1", user="u")])
    api.imports([ids(device="d2", user="u"), ids(device="d1"), ids(device="d3")])

    assert whose(api) == [
        ("u", "$device:d1"),
        ("u", "$device:d2"),
        ("u", None),
        ("u", None),
        ("u", "$device:d1"),
        ("$device:d3", None),
    ]


def test_the_first_user_of_a_device_keeps_it(api: Api) -> None:
    """
    A second one does not get its events, and the page says so.
    """
    api.imports([ids(device="d", user="u1"), ids(device="d", user="u2"), ids(device="d")])

    assert whose(api) == [("u1", None), ("u2", None), ("u1", "$device:d")]
    assert reasons(api) == [_facts.ALREADY_MERGED]


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        ({"distinct_id": "u"}, {"distinct_id": "u", "$user_id": "u"}),
        ({"distinct_id": "$device:d"}, {"distinct_id": "$device:d", "$device_id": "d"}),
        ({"device": "$device:d"}, {"distinct_id": "$device:d", "$device_id": "d"}),
        ({"distinct_id": "", "device": "d"}, {"distinct_id": "$device:d", "$device_id": "d"}),
        ({"distinct_id": "x", "user": "u"}, {"distinct_id": "u", "$user_id": "u"}),
        ({"distinct_id": ""}, {"distinct_id": ""}),
    ],
)
def test_ids_say_what_they_are(api: Api, sent: dict[str, str], found: dict[str, str]) -> None:
    """
    The prefix makes a device, anything else a user; `$user_id` decides.
    """
    api.imports([ids(**sent)])

    (one,) = api.exported()
    names = ("distinct_id", "$user_id", "$device_id")
    assert {n: one["properties"][n] for n in names if n in one["properties"]} == found


def test_a_user_gets_the_profile_of_the_device(api: Api) -> None:
    """
    What the user's own says counts more; updates of either id change the one that is left.
    """
    device = {"$distinct_id": "$device:d"}
    api.engage(
        {**device, "$set": {"plan": "free", "seen": 1}},
        {"$distinct_id": "u", "$set": {"plan": "pro"}},
    )
    api.imports([ids(device="d", user="u")])
    api.engage({**device, "$set": {"late": True}})

    (profile,) = api.emulator.profiles()
    assert profile["$distinct_id"] == "u"
    assert profile["properties"] == {"plan": "pro", "seen": 1, "late": True}


def test_an_alias_can_be_ignored(api: Api) -> None:
    """
    `$ignore_alias` means the profile of this very id.
    """
    api.imports([ids(device="d", user="u")])
    api.engage({"$distinct_id": "u", "$set": {"a": 1}})

    api.engage({"$distinct_id": "$device:d", "$delete": "", "$ignore_alias": True})
    assert len(api.emulator.profiles()) == 1
    api.engage({"$distinct_id": "$device:d", "$delete": ""})
    assert api.emulator.profiles() == []


def test_a_reset_forgets_who_is_who(api: Api) -> None:
    """
    The device is free again.
    """
    api.imports([ids(device="d", user="u1")])
    api.emulator.reset()
    api.imports([ids(device="d", user="u2"), ids(device="d")])

    assert whose(api) == [("u2", None), ("u2", "$device:d")]


# -- original ------------------------------------------------------------------------------------


@pytest.fixture
def original(running: Run) -> Api:
    """
    An emulator of a project on Original ID Merge.
    """
    return running(*ORIGINAL)


def test_c78_identify_gives_a_user_the_anonymous_events(original: Api) -> None:
    """
    From several devices, whenever they happened.
    """
    first, second = str(uuid4()), str(uuid4())
    original.imports([event(distinct_id=each) for each in (first, second, "u")])
    answer = original.imports(
        [verb("$identify", identified_id="u", anon_id=each) | {} for each in (first, second)]
    )

    assert answer.json()["status"] == "OK"
    assert whose(original)[:3] == [("u", first), ("u", second), ("u", None)]


def test_identify_takes_uuids_that_are_free(original: Api) -> None:
    """
    Others are answered with success, and merged with nobody.
    """
    anonymous = str(uuid4())
    original.imports([verb("$identify", identified_id="u1", anon_id=anonymous)])
    original.imports([verb("$identify", identified_id="u2", anon_id=anonymous)])
    original.imports([verb("$identify", identified_id="u2", anon_id="session-1")])
    original.imports([verb("$identify", identified_id="u2")])
    original.imports([event(distinct_id=each) for each in (anonymous, "session-1", "u2")])

    assert whose(original)[-3:] == [("u1", anonymous), ("session-1", None), ("u2", None)]
    assert reasons(original) == [_facts.IDS_MISSING, _facts.NOT_A_UUID, _facts.ALREADY_MERGED]


def test_aliases_form_chains(original: Api) -> None:
    """
    An alias of an alias is the user's; one that is taken stays where it is.
    """
    original.imports([{"event": "$create_alias", "properties": {"distinct_id": "a", "alias": "b"}}])
    original.imports([{"event": "$create_alias", "properties": {"distinct_id": "b", "alias": "c"}}])
    original.imports([{"event": "$create_alias", "properties": {"distinct_id": "x", "alias": "c"}}])
    original.imports([event(distinct_id="c"), event(distinct_id="x")])

    assert whose(original)[-2:] == [("a", "c"), ("x", None)]


def test_merge_joins_any_two(original: Api) -> None:
    """
    Two users with all their ids, and their profiles.
    """
    original.engage(
        {"$distinct_id": "b", "$set": {"b": 1}}, {"$distinct_id": "c", "$set": {"c": 1}}
    )
    for pair in (["a", "b"], ["c", "d"], ["b", "c"]):
        original.imports([verb("$merge", distinct_ids=pair)])
    original.imports([event(distinct_id=each) for each in "abcd"])

    assert whose(original)[-4:] == [("a", None), ("a", "b"), ("a", "c"), ("a", "d")]
    (profile,) = original.emulator.profiles()
    assert (profile["$distinct_id"], profile["properties"]) == ("a", {"b": 1, "c": 1})


def test_merge_is_not_tracked(original: Api) -> None:
    """
    Only /import merges any two ids.
    """
    original.track({"event": "$merge", "properties": {"token": "T", "$distinct_ids": ["a", "b"]}})
    original.imports([event(distinct_id="b")])

    assert whose(original)[-1] == ("b", None)
    assert reasons(original) == [_facts.MERGE_IS_IMPORTED]


def test_verbs_may_be_tracked(original: Api) -> None:
    """
    As official libraries do.
    """
    alias = {"token": "T", "distinct_id": "u", "alias": "a"}
    original.track({"event": "$create_alias", "properties": alias})
    original.imports([event(distinct_id="a")])

    assert whose(original)[-1] == ("u", "a")


def test_devices_mean_nothing(original: Api) -> None:
    """
    `$device_id` and `$user_id` are stored and that is all.
    """
    original.imports([ids(distinct_id="x", device="d", user="u"), ids(distinct_id="$device:d")])

    assert whose(original) == [("x", None), ("$device:d", None)]


def test_a_user_has_500_ids() -> None:
    """
    What would make more is not merged.
    """
    store = Store(None, max_stored=0)
    scene = Scene(0, simplified=False)

    said = [
        store.users.learn(
            Event(verb("$merge", distinct_ids=["u", str(number)]), scene), tracked=False
        )
        for number in range(500)
    ]

    assert said == [None] * 499 + [_facts.CLUSTER_FULL]
    assert store.users.canonical("498") == "u"
    assert store.users.canonical("499") == "499"
    store.close()


def test_a_user_may_have_more_ids_than_one_wants_to_see() -> None:
    """
    Those of devices in their order, behind the user's own.
    """
    store = Store(None, max_stored=0)
    scene = Scene(0, simplified=True)
    for number in range(5):
        store.users.learn(Event(ids(device=f"d{number}", user="u"), scene), tracked=False)

    assert store.users.ids("$device:d4", limit=3) == ["u", "$device:d0", "$device:d1"]
    assert store.users.ids("nobody", limit=3) == ["nobody"]
    store.close()


def test_who_is_who_survives_a_restart(tmp_path: Path) -> None:
    """
    With the events.
    """
    path = str(tmp_path / "emulator.db")
    scene = Scene(0, simplified=True)
    before = Store(path, max_stored=0)
    before.users.learn(Event(ids(device="d", user="u"), scene), tracked=False)
    before.close()

    after = Store(path, max_stored=0)

    assert after.users.canonical("$device:d") == "u"
    after.close()
