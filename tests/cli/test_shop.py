"""
The simulated shop behaves as an application does, and knows what it has said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any, NamedTuple

import pytest

from mixpanel_export import bound
from mixpanel_export._context import current
from mixpanel_export.cli._shop import Shop, Visitor, Voice


class Heard(NamedTuple):
    """
    What the shop said: its name, its fields, what it sets in the profile, and what was bound.
    """

    message: str
    fields: Mapping[str, Any]
    profile: Mapping[str, Any]
    bound: Mapping[str, object]


class Listener(Voice):
    """
    Keeps what it is to say.
    """

    name = "listener"

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.notes: list[str] = []

    def say(
        self, visitor: Visitor, event: str, fields: Mapping[str, Any], profile: Mapping[str, Any]
    ) -> None:
        """
        Keep an event.
        """
        assert current()["distinct_id"] == visitor.distinct_id
        self.heard.append(Heard(event, fields, profile, current()))

    def note(self, text: str, *arguments: object) -> None:
        """
        Keep an ordinary line.
        """
        self.notes.append(text % arguments)


class Another(Listener):
    """
    The same under another name.
    """

    name = "another"


@pytest.fixture
def listener() -> Listener:
    """
    Hears everything that the shop says.
    """
    return Listener()


@pytest.fixture
def shop(listener: Listener) -> Iterator[Shop]:
    """
    A shop in which always the same happens.
    """
    shop = Shop(Random(1), [listener])
    yield shop
    shop.close()


def test_a_step_is_one_event(shop: Shop, listener: Listener) -> None:
    """
    Each step says one event, and all ordinary lines are counted apart.
    """
    for _ in range(1_000):
        shop.step()

    assert len(listener.heard) == shop.events == 1_000
    assert len(listener.notes) == shop.lines > 0


def test_visits_speak_with_the_voices_in_turn() -> None:
    """
    Each voice has its share, and what was said with each is counted.
    """
    voices = [Listener(), Another()]
    shop = Shop(Random(1), voices)
    for _ in range(1_000):
        shop.step()
    shop.close()

    assert shop.said == {voice.name: len(voice.heard) for voice in voices}
    assert min(shop.said.values()) > 300


def test_profiles_are_known(shop: Shop, listener: Listener) -> None:
    """
    Whoever signs up has a profile; the shop knows how often it was set, and to what.
    """
    for _ in range(1_000):
        shop.step()

    updates = [heard for heard in listener.heard if heard.profile]
    assert {heard.message for heard in updates} == {"Signed Up"}
    assert shop.updates == len(updates) > 0
    assert shop.profiles == {heard.bound["distinct_id"]: heard.profile for heard in updates}


def test_everything_happens_that_shops_are_about(shop: Shop, listener: Listener) -> None:
    """
    Visitors view, sign up, fill carts, pay and cancel; the names are few, the rest is properties.
    """
    for _ in range(1_000):
        shop.step()

    assert {heard.message for heard in listener.heard} == {
        "Page Viewed",
        "Signed Up",
        "Added to Cart",
        "Order Placed",
        "Order Paid",
        "Order Cancelled",
    }


def test_each_event_has_its_visitor(shop: Shop, listener: Listener) -> None:
    """
    Who it is and where from is bound once for a visit and holds for all of its events.
    """
    for _ in range(1_000):
        shop.step()

    bound = [heard.bound for heard in listener.heard]
    visitors = {(each["distinct_id"], each["ip"]) for each in bound}
    assert all(each.keys() == {"distinct_id", "ip"} for each in bound)
    assert 25 < len(visitors) < 401
    assert len(visitors) == len({distinct_id for distinct_id, _ in visitors})


def test_visits_leave_nothing_bound(shop: Shop, listener: Listener) -> None:
    """
    Though visits are interleaved on one thread, none binds anything for whoever runs the shop.
    """
    for _ in range(100):
        shop.step()

    assert listener.heard
    assert dict(current()) == {}


def test_a_closed_shop_is_empty(shop: Shop, listener: Listener) -> None:
    """
    Sent home, visitors say nothing more and change nothing that is bound for somebody else.
    """
    for _ in range(100):
        shop.step()
    said = len(listener.heard)

    with bound(distinct_id="somebody else"):
        shop.close()

        assert current()["distinct_id"] == "somebody else"
    assert len(listener.heard) == said


def test_orders_are_told_apart(shop: Shop, listener: Listener) -> None:
    """
    An order has one number, placed once and then paid or cancelled, with the same total.
    """
    for _ in range(1_000):
        shop.step()

    placed = [heard.fields for heard in listener.heard if heard.message == "Order Placed"]
    ended = [
        heard.fields
        for heard in listener.heard
        if heard.message in {"Order Paid", "Order Cancelled"}
    ]
    totals = {fields["order"]: fields["total"] for fields in placed}
    assert len(totals) == len(placed)
    assert 0 < len(ended) <= len(placed)
    assert all(totals[fields["order"]] == fields["total"] for fields in ended)
