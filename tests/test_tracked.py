"""
What a test is told about events: that they are there, or what is there instead.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any
from unittest import mock

import pytest

from mixpanel_export import GroupUpdate, ProfileUpdate
from mixpanel_export._tracked import TrackedEvents


def tracked(*events: tuple[str, dict[str, Any]]) -> TrackedEvents:
    """
    Make what was tracked of names and properties.
    """
    found = TrackedEvents()
    for name, properties in events:
        found.add({"event": name, "properties": properties})
    return found


def refusal(events: TrackedEvents, name: str, **expected: object) -> str:
    """
    Return what is said about an event that is not there.
    """
    with pytest.raises(AssertionError) as caught:
        events.assert_tracked(name, **expected)
    return str(caught.value)


def test_an_event_is_read_as_one_writes_it() -> None:
    """
    The reserved names become the event's own; credentials are none of its business.
    """
    [event] = tracked(
        (
            "Signed Up",
            {
                "time": 1_700_000_000_250,
                "distinct_id": "u-1",
                "$insert_id": "i-1",
                "ip": "203.0.113.9",
                "token": "secret",
                "plan": "pro",
            },
        )
    )

    assert event.name == "Signed Up"
    assert event.distinct_id == "u-1"
    assert event.insert_id == "i-1"
    assert event.ip == "203.0.113.9"
    assert event.time == datetime(2023, 11, 14, 22, 13, 20, 250_000, timezone.utc)
    assert event.properties == {"plan": "pro"}


def test_an_event_of_somebody_else_is_read_too() -> None:
    """
    Without what Mixpanel does not demand, with seconds, with what is no time.
    """
    bare, seconds, odd, wild = tracked(
        ("A", {}),
        ("B", {"time": 1_700_000_000, "ip": "0"}),
        ("C", {"time": "noon"}),
        ("D", {"time": 1e99}),
    )

    assert [odd.time, wild.time] == [None, None]
    assert odd.properties == {"time": "noon"}
    assert (bare.distinct_id, bare.insert_id, bare.ip, bare.time) == ("", None, None, None)
    assert seconds.time == datetime(2023, 11, 14, 22, 13, 20, tzinfo=timezone.utc)
    assert seconds.ip is None


def test_updates_are_read_as_one_writes_them() -> None:
    """
    Beside the events, with everything they were made of.
    """
    events = tracked(("A", {}))
    events.add({"$distinct_id": "u-1", "$ip": "0", "$set": {"plan": "pro"}})
    events.add(
        {
            "$distinct_id": "u-1",
            "$ip": "203.0.113.9",
            "$time": 1.5,
            "$ignore_time": True,
            "$ignore_alias": True,
            "$delete": "",
        }
    )
    events.add({"$group_key": "company", "$group_id": "acme", "$unset": ["tier"]})

    assert len(events) == 1
    assert events.updates == [
        ProfileUpdate("u-1", "$set", {"plan": "pro"}),
        ProfileUpdate(
            "u-1",
            "$delete",
            "",
            ip="203.0.113.9",
            time=1.5,
            ignore_time=True,
            ignore_alias=True,
        ),
        GroupUpdate("company", "acme", "$unset", ["tier"]),
    ]
    events.clear()
    assert events == []
    assert events.updates == []


def test_a_tracked_event_is_returned() -> None:
    """
    The first that has all that is asked for; what is not asked for may be there too.
    """
    events = tracked(
        ("A", {"distinct_id": "u-1", "n": 1}),
        ("A", {"distinct_id": "u-1", "n": 2, "of": {"a": [1, {"b": 2}]}, "$city": "Oslo"}),
        ("A", {"distinct_id": "u-1", "n": 2, "last": True}),
    )

    event = events.assert_tracked(
        "A", distinct_id="u-1", n=2, of={"a": (1, {"b": 2})}, **{"$city": "Oslo"}
    )

    assert event is events[1]
    assert events.named("A") == list(events)
    assert events.named("B") == []
    assert events.assert_tracked("A", n=pytest.approx(1.0)) is events[0]
    assert events.assert_tracked("A", last=mock.ANY) is events[2]


@pytest.mark.parametrize(("expected", "actual"), [(1, True), (True, 1), (1.0, True), (False, 0)])
def test_true_is_not_one(expected: object, actual: object) -> None:
    """
    They are not the same type in Mixpanel.
    """
    said = refusal(tracked(("A", {"n": actual})), "A", n=expected)

    assert f"- n: {expected!r}\n  + n: {actual!r}\n" in said


def test_what_is_missing_equals_nothing() -> None:
    """
    Not even what equals everything.
    """
    assert "+ n: missing" in refusal(tracked(("A", {})), "A", n=mock.ANY)


def test_the_nearest_event_is_compared() -> None:
    """
    What was expected and what is there, inside of lists and mappings too; the rest by its names.
    """
    events = tracked(
        ("Order Placed", {"distinct_id": "u-2"}),
        (
            "Order Placed",
            {
                "distinct_id": "u-1",
                "total": 31.0,
                "lines": [{"sku": "tea", "count": 1}, {"sku": "cup", "count": 2}],
                "Plan": "pro",
                "cups": ["a"],
                "mp_lib": "mixpanel-export",
            },
        ),
    )

    said = refusal(
        events,
        "Order Placed",
        distinct_id="u-1",
        total=31.5,
        lines=[{"sku": "tea", "count": 1}, {"sku": "cup", "count": 3, "gift": True}],
        plan="pro",
        cups=["a", "b"],
    )

    assert said.splitlines() == [
        "no event 'Order Placed' has all of this; the nearest is 2 of 2:",
        "    distinct_id: 'u-1'",
        "  - total: 31.5",
        "  + total: 31.0",
        "  - lines[1].count: 3",
        "  + lines[1].count: 2",
        "  - lines[1].gift: True",
        "  + lines[1].gift: missing",
        "  - plan: 'pro'",
        "  + plan: missing; did you mean 'Plan'?",
        "  - cups: ['a', 'b']",
        "  + cups: ['a']",
        "  not asked for: Plan, mp_lib, time, ip, $insert_id",
    ]


def test_a_difference_stays_readable() -> None:
    """
    Long values and many properties are cut.
    """
    events = tracked(("A", {"text": "x" * 1000, **{f"p{number}": 1 for number in range(50)}}))

    said = refusal(events, "A", text="y" * 1000)

    assert max(map(len, said.splitlines())) < 250
    assert said.endswith("p19 and 34 more")


def test_a_similar_name_is_proposed() -> None:
    """
    A typing error is the first thing to think of; with all names that there are, how often.
    """
    events = tracked(("Signed Up", {}), ("Order Placed", {}), ("Signed Up", {}))

    assert refusal(events, "signed_up").splitlines() == [
        "no event 'signed_up' was tracked; did you mean 'Signed Up'?",
        "these were:",
        "  'Signed Up', 2 times",
        "  'Order Placed'",
    ]
    assert "mean" not in refusal(events, "Something Else")


def test_nothing_at_all_has_reasons() -> None:
    """
    Those that whoever collects the events knows of.
    """
    assert refusal(TrackedEvents(), "A") == "no event 'A' was tracked, nor any other"
    assert refusal(TrackedEvents(lambda: ["one", "two"]), "A").splitlines()[1:] == [
        "  one",
        "  two",
    ]


def test_what_should_not_be_there_is_shown() -> None:
    """
    With its number; what differs in a property is something else.
    """
    events = tracked(("B", {}), ("A", {"n": 1}))

    events.assert_not_tracked("C")
    events.assert_not_tracked("A", n=2)
    with pytest.raises(AssertionError, match=r"event 2 of 2 .*\n  Event\(name='A'"):
        events.assert_not_tracked("A", n=1)
