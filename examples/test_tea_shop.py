"""The tests of tea_shop.py: the fixtures are there because mixpanel-export is installed."""

import subprocess
import sys
from pathlib import Path

import pytest
from tea_shop import Shop, SoldOutError

from mixpanel_export import ProfileUpdate
from mixpanel_export.pytest_plugin import Emulator
from mixpanel_export.testing import TrackedEvents

# Nothing may be left for the tests that follow.
pytestmark = pytest.mark.usefixtures("mixpanel_no_leaks")


def test_an_order_is_tracked(mixpanel_events: TrackedEvents) -> None:
    """The event says who ordered what, and the profile counts it."""
    Shop({"oolong": 3}).order("mary", "oolong", 2)

    event = mixpanel_events.assert_tracked("Tea Ordered", distinct_id="mary", cups=2, price=9.0)
    assert event.properties["service"] == "tea-shop"
    assert mixpanel_events.updates == [ProfileUpdate("mary", "$add", {"cups": 2})]


def test_what_is_sold_out_is_no_order(mixpanel_events: TrackedEvents) -> None:
    """It is an event of its own."""
    with pytest.raises(SoldOutError):
        Shop({"oolong": 1}).order("mary", "oolong", 2)

    mixpanel_events.assert_tracked("Sold Out", tea="oolong", missing=1)
    mixpanel_events.assert_not_tracked("Tea Ordered")


def test_no_card_number_leaves(mixpanel_events: TrackedEvents) -> None:
    """Whatever it is called."""
    Shop({"oolong": 3}).order("mary", "oolong", 2, card="4111 1111 1111 1111")

    assert "4111" not in repr(mixpanel_events)


def test_an_outage_loses_nothing(mixpanel_emulator: Emulator) -> None:
    """The program itself, in a process of its own, against a Mixpanel that fails at first."""
    mixpanel_emulator.faults([{"path": "/import", "times": 2, "status": 503}])

    program = Path(__file__).with_name("tea_shop.py")
    subprocess.run([sys.executable, program, "mary", "oolong", "2"], check=True)

    [event] = mixpanel_emulator.events()
    assert event.name == "Tea Ordered"
    assert mixpanel_emulator.stats()["requests"]["503"] == 2
    [profile] = mixpanel_emulator.profiles()
    assert profile["properties"]["cups"] == 2
