"""
Volume: users with too many events, and names without end.
"""

from __future__ import annotations

from typing import Any

from mixpanel_export.emulator import EmulatorOptions
from mixpanel_export.emulator import _hotshard as hotshard
from mixpanel_export.emulator._event import Event, Scene
from tests.emulator.api import Api, Run, event, events, now_ms
from tests.emulator.cases import DAY, ODD, OK
from tests.emulator.test_live import updates

# Yesterday's, so that it is neither ahead nor too old.
NOON = now_ms() // DAY * DAY - DAY // 2


def made(**properties: object) -> Event:
    """
    Return an event that has arrived.
    """
    return Event(event(**{"time": NOON, **properties}), Scene(NOON, simplified=True))


def test_c125_the_limit_is_the_documented_one() -> None:
    """
    200 000 events of a user on a day are as they were, the next one is not.
    """
    shards = hotshard.HotShards(EmulatorOptions().hot_shard_events)
    one = made()

    assert [n for n in range(1, 200_003) if shards.is_hot(one)] == [200_001, 200_002]


def test_c125_what_is_too_much_is_renamed(running: Run) -> None:
    """
    The answer does not say so; the originals are kept, and the page tells.
    """
    api = running(*ODD)
    batch = [event(time=NOON) for _ in range(5)]

    response = api.imports(batch)

    assert response.json() == {**OK, "num_records_imported": 5}
    stored = api.emulator.events()
    assert stored[:3] == batch[:3]
    assert [one["event"] for one in stored[3:]] == ["$hotshard_events"] * 2
    hidden: dict[str, Any] = stored[3]["properties"]
    assert hidden == {
        **batch[3]["properties"],
        "distinct_id": "",
        "mp_original_event_name": "Order Placed",
        "mp_original_distinct_id": "u-1",
    }
    assert api.exported()[3]["properties"]["distinct_id"] == ""
    with updates(api) as stream:
        (failure,) = next(stream)["failures"]
    assert "$hotshard_events" in failure["message"]


def test_c125_a_device_is_hidden_too(running: Run) -> None:
    """
    Also where the service derives the id.
    """
    api = running(*ODD)
    api.imports([event(**{"time": NOON, "distinct_id": None, "$user_id": "u"}) for _ in range(4)])

    assert api.emulator.events()[3]["properties"]["mp_original_distinct_id"] == "u"
    assert [one["properties"]["distinct_id"] for one in api.exported()] == ["u", "u", "u", ""]


def test_c125_each_day_and_user_counts_alone() -> None:
    """
    By the date of the event, not of its arrival.
    """
    shards = hotshard.HotShards(1)
    first = [made(), made(distinct_id="u-2"), made(time=NOON + DAY), made(time=NOON / 1000)]

    assert [shards.is_hot(one) for one in first] == [False, False, False, True]


def test_c126_events_without_a_user_are_never_too_many(running: Run) -> None:
    """
    However many there are.
    """
    api = running(*ODD)
    batch = [event(distinct_id="") for _ in range(9)]

    api.imports(batch)

    assert api.emulator.events() == batch


def test_c127_any_number_of_names_is_stored(api: Api) -> None:
    """
    The 5001st too: the limit is one of what reports offer.
    """
    batch = [{**one, "event": f"Name {number}"} for number, one in enumerate(events(5001))]
    for start in range(0, 5001, 2000):
        api.imports(batch[start : start + 2000])

    assert len({one["event"] for one in api.emulator.events()}) == 5001


def test_no_limit_hides_nothing() -> None:
    """
    0 means that.
    """
    shards = hotshard.HotShards(0)

    assert not any(shards.is_hot(made()) for _ in range(10))


def test_what_is_counted_is_bounded() -> None:
    """
    Rare users are forgotten, the frequent one is not.
    """
    shards = hotshard.HotShards(3)
    frequent, rare = made(distinct_id="often"), made()
    for number in range(100_100):
        rare.properties["distinct_id"] = f"rare-{number}"
        shards.is_hot(rare)
        if number % 40_000 == 0:
            shards.is_hot(frequent)

    assert len(shards._counts) <= 100_000
    assert shards.is_hot(frequent)


def test_a_reset_forgets_the_counts(running: Run) -> None:
    """
    The day begins anew.
    """
    api = running(*ODD)
    api.imports([event(time=NOON) for _ in range(3)])
    api.emulator.reset()
    api.imports([event(time=NOON) for _ in range(3)])

    assert {one["event"] for one in api.emulator.events()} == {"Order Placed"}
