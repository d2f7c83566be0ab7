"""
The stream behind the page.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from mixpanel_export.emulator._pulse import HISTORY, Pulse
from mixpanel_export.emulator._store import Store
from mixpanel_export.emulator._tally import Failure, Tally
from tests.emulator.api import Api, event, events


@contextmanager
def updates(api: Api, query: str = "") -> Iterator[Iterator[dict[str, Any]]]:
    """
    Listen as the page does.
    """
    url = f"{api.emulator.url}/_emulator/live{query}"
    with api.client.stream("GET", url, timeout=10) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.iter_lines()
        yield (json.loads(line[6:]) for line in lines if line.startswith("data: "))


def names(update: dict[str, Any]) -> list[str]:
    """
    Return the names of the events in an update.
    """
    return [json.loads(row["line"])["event"] for row in update["events"]]


def test_the_first_update_shows_what_is_there(api: Api) -> None:
    """
    The newest events first, and the counts.
    """
    api.imports([event("A"), event("B")])

    with updates(api) as stream:
        first = next(stream)

    assert names(first) == ["B", "A"]
    assert first["stats"]["imported"] == 2


def test_later_updates_show_what_is_new(api: Api) -> None:
    """
    Each event once.
    """
    api.imports([event("A")])
    with updates(api) as stream:
        next(stream)
        api.imports([event("B")])
        later = next(update for update in stream if update.get("events"))

    assert names(later) == ["B"]


def test_a_flood_is_coalesced(api: Api) -> None:
    """
    Thousands of events are a few updates of a hundred events at most.
    """
    with updates(api) as stream:
        count = 1
        next(stream)
        for _ in range(5):
            api.imports(events(2000))
        for update in stream:
            count += 1
            assert len(update.get("events", [])) <= 100
            if update.get("stats", {}).get("imported") == 10_000:
                break

    assert count < 40


def test_a_search_is_for_old_and_new(api: Api) -> None:
    """
    Only what contains the text is told.
    """
    api.imports([event("Apple"), event("Pear")])
    with updates(api, "?q=pea") as stream:
        first = next(stream)
        api.imports([event("Apple"), event("Pea Soup")])
        later = next(update for update in stream if update.get("events"))

    assert (names(first), names(later)) == (["Pear"], ["Pea Soup"])


def test_a_reset_begins_a_new_epoch(api: Api) -> None:
    """
    The page knows that what it shows is no longer true.
    """
    api.imports(events(1))
    with updates(api) as stream:
        first = next(stream)
        api.emulator.reset()
        api.imports([event("New")])
        later = next(update for update in stream if update.get("events"))

    assert later["epoch"] > first["epoch"]
    assert names(later) == ["New"]


def test_what_has_not_changed_is_not_told_again(api: Api) -> None:
    """
    The first update says everything, the next one what is new.
    """
    api.imports([event(time=1)])
    with updates(api) as stream:
        first = next(stream)
        api.imports([event("B")])
        later = next(update for update in stream if update.get("events"))

    assert first.keys() > {"epoch", "stats", "failures", "faults", "history"}
    assert later["stats"]["imported"] == 1
    assert not later.keys() & {"epoch", "failures", "faults"}


def test_each_part_of_the_page_is_told_what_it_needs(api: Api) -> None:
    """
    Names with the properties of one of them, users, or one user's events and profile.
    """
    api.imports([event("A", distinct_id="ada", plan="pro"), event("B", distinct_id="bob")])
    api.engage({"$set": {"plan": "pro"}, "$distinct_id": "ada"})

    with updates(api, "?part=names&name=A") as stream:
        first = next(stream)
        assert [one["name"] for one in first["names"]] == ["A", "B"]
        assert [one["name"] for one in first["properties"]] == ["plan"]
        assert names(first) == ["A"]
    with updates(api, "?part=users") as stream:
        assert [one["user"] for one in next(stream)["users"]] == ["bob", "ada"]
    with updates(api, "?part=users&user=ada") as stream:
        first = next(stream)
        assert (names(first), first["profile"]) == (["A"], {"plan": "pro"})
        assert "users" not in first


@pytest.mark.parametrize("asked", ["ada", "$device:d-1"])
def test_a_user_is_all_of_their_ids(api: Api, asked: str) -> None:
    """
    What somebody did before they said who they are is in their timeline, whichever id is asked for.
    """
    nobody = {"distinct_id": None, "$device_id": "d-1"}
    api.imports([event("Before", **nobody), event("Other", distinct_id="d-1")])
    api.imports([event("Login", **nobody, **{"$user_id": "ada"}), event("After", **nobody)])
    api.engage({"$set": {"plan": "pro"}, "$distinct_id": "ada"})

    with updates(api, f"?part=users&user={asked}") as stream:
        first = next(stream)

    assert names(first) == ["After", "Login", "Before"]
    assert {row["user"] for row in first["events"]} == {"ada"}
    assert first["ids"] == ["ada", "$device:d-1"]
    assert first["profile"] == {"plan": "pro"}


def test_a_follower_gets_every_event_in_order(api: Api) -> None:
    """
    However many arrive at once, with the last few that were here already; and after a reset.
    """
    api.imports(events(9))
    with updates(api, "?follow=1&lines=2") as stream:
        first = next(stream)
        for _ in range(3):
            api.imports(events(1500))
        found = [row["id"] for row in first["events"]]
        for update in stream:
            found += [row["id"] for row in update.get("events", [])]
            if found[-1] == 4509:
                break
        api.emulator.reset()
        api.imports([event("New")])
        fresh = next(update for update in stream if update.get("events"))

    assert found == list(range(8, 4510))
    assert names(fresh) == ["New"]


def test_failures_are_grouped(api: Api) -> None:
    """
    By what is wrong, with the newest culprit.
    """
    api.imports([event(insert_id="a:1"), event(insert_id="a:2")])

    with updates(api) as stream:
        (failure,) = next(stream)["failures"]

    assert (failure["kind"], failure["field"], failure["count"]) == ("rejected", "$insert_id", 2)
    assert "a:2" in failure["sample"]


@pytest.mark.parametrize("compressed", [False, True])
def test_the_body_of_a_refused_request_is_shown(api: Api, compressed: bool) -> None:
    """
    As much as fits, and uncompressed; of one that is too large nothing is kept.
    """
    api.imports([event("Whole")], authorization=None, compressed=compressed)
    api.imports(b'[{"event": "Long' + b"x" * 5000, compressed=compressed)
    api.imports(b"x" * (11 << 20), compressed=False)
    api.imports(b"no gzip", headers={"Content-Encoding": "gzip"})

    no_gzip, large, long, whole = api.emulator.failures()
    assert json.loads(whole["sample"])[0]["event"] == "Whole"
    assert whole["whole"]
    assert long["sample"].startswith('[{"event": "Longxxx')
    assert (len(long["sample"]), long["whole"]) == (4000, False)
    assert (large["sample"], large["whole"]) == ("", False)
    assert (no_gzip["sample"], no_gzip["whole"]) == ("no gzip", True)


def test_kinds_of_failure_are_bounded() -> None:
    """
    The one that was quiet for longest is dropped.
    """
    tally = Tally(lambda: 0.0, Pulse(lambda: 0.0), Store(None, max_stored=0))
    for number in [*range(200), 0, 200]:
        tally.pin(Failure("rejected", "/import", str(number), "bad"), b"{}")

    fields = [failure.field for failure in tally.failures()]
    tally.pin(Failure("rejected", "/import", "x" * 9999, "y" * 9999), b"z" * 9999)
    newest = tally.failures()[0]
    assert (len(newest.field), len(newest.message), len(newest.sample)) == (400, 400, 4000)
    assert not newest.whole
    assert len(fields) == 200
    assert fields[:2] == ["200", "0"]
    assert "1" not in fields


class Clock:
    """
    Seconds that pass when told.
    """

    def __init__(self) -> None:
        self.now = 1000.25

    def __call__(self) -> float:
        """
        Return the time.
        """
        return self.now


def test_the_pulse_knows_each_of_the_last_seconds() -> None:
    """
    Complete ones, the newest last; older ones are forgotten.
    """
    clock = Clock()
    pulse = Pulse(clock)
    pulse.add(3)
    clock.now += 1
    pulse.add(4)
    clock.now += 1

    assert pulse.history()[-2:] == [3, 4]
    assert len(pulse.history()) == HISTORY
    clock.now += HISTORY
    assert not any(pulse.history())


def test_the_rate_is_that_of_the_last_second() -> None:
    """
    What lies in it, wherever the full second falls.
    """
    clock = Clock()
    pulse = Pulse(clock)
    pulse.add(100)
    clock.now += 0.85
    pulse.add(50)

    assert round(pulse.rate()) == 140
