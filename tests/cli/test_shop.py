"""
The simulated shop behaves as an application does, and knows what it has logged.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from random import Random
from typing import NamedTuple

import pytest

from mixpanel_export import bound
from mixpanel_export._context import current
from mixpanel_export.cli._shop import Shop

STANDARD = vars(logging.makeLogRecord({})).keys()


class Heard(NamedTuple):
    """
    A record of the shop: its message, its own fields, and what was bound.
    """

    message: str
    fields: Mapping[str, object]
    bound: Mapping[str, object]


class Listener(logging.Handler):
    """
    Keeps what it hears.
    """

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Heard] = []

    def emit(self, record: logging.LogRecord) -> None:
        """
        Keep one.
        """
        fields = {name: value for name, value in vars(record).items() if name not in STANDARD}
        self.heard.append(Heard(str(record.msg), fields, current()))


@pytest.fixture
def listener() -> Iterator[Listener]:
    """
    Hears everything that the shop says.
    """
    logger, listener = logging.getLogger("shop"), Listener()
    before = logger.level, logger.propagate
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.addHandler(listener)
    yield listener
    logger.removeHandler(listener)
    logger.level, logger.propagate = before


@pytest.fixture
def shop() -> Iterator[Shop]:
    """
    A shop in which always the same happens.
    """
    shop = Shop(Random(1))
    yield shop
    shop.close()


def test_a_step_is_one_event(shop: Shop, listener: Listener) -> None:
    """
    Each step logs one record with fields, and all records without fields are counted apart.
    """
    for _ in range(1_000):
        shop.step()

    events = [heard for heard in listener.heard if heard.fields]
    assert len(events) == shop.events == 1_000
    assert len(listener.heard) - len(events) == shop.lines > 0


def test_everything_happens_that_shops_are_about(shop: Shop, listener: Listener) -> None:
    """
    Visitors view, sign up, fill carts, pay and cancel; the names are few, the rest is properties.
    """
    for _ in range(1_000):
        shop.step()

    assert {heard.message for heard in listener.heard if heard.fields} == {
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
