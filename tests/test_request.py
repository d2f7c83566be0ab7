"""
What all middlewares have in common: options that make sense, facts that are read once, a user.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from mixpanel_export import MixpanelProcessor, SettingsError
from mixpanel_export._context import current
from mixpanel_export._request import Reception, _notices
from mixpanel_export._web import Request
from tests.web import Shop


def request(cookie: str = "") -> Request:
    """
    Make what a middleware reads of a request.
    """
    return Request("http://shop.example/tea", "203.0.113.9", {"cookie": cookie})


FACTS = {"ip": "203.0.113.9", "$current_url": "http://shop.example/tea"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"proxies": -1},
        {"proxies": True},
        {"proxies": "1"},
        {"identify": "me"},
        {"device_cookie": ""},
        {"device_cookie": b"device"},
        {"parameters": "page"},
        {"parameters": [1]},
        {"parameters": None},
    ],
)
def test_an_option_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    """
    At start-up, with its name and its value.
    """
    [(name, value)] = wrong.items()

    with pytest.raises(SettingsError, match=name) as caught:
        Reception(**wrong)

    assert repr(value) in str(caught.value)


def test_an_async_identify_is_refused() -> None:
    """
    A log call cannot wait, so it would never have an answer.
    """

    async def identify(_: object) -> str:
        return "u-1"

    with pytest.raises(SettingsError, match="not async"):
        Reception(identify=identify)


def test_facts_are_read_with_the_first_event_and_once() -> None:
    """
    A request in which nothing is logged costs next to nothing.
    """
    reads: list[str] = []

    def read() -> Request:
        reads.append("read")
        return request()

    with Reception[None]().holder(None, read).open():
        before = list(reads)
        first = dict(current().items())
        second = dict(current().items())

    assert before == []
    assert first == second == FACTS
    assert reads == ["read"]


@pytest.mark.parametrize(
    ("user", "cookie", "identity"),
    [
        ("u-1", "device=d-1", {"$user_id": "u-1", "$device_id": "d-1"}),
        ("u-1", "", {"distinct_id": "u-1"}),
        (7, "", {"distinct_id": 7}),
        (None, "device=d-1", {"$device_id": "d-1"}),
        ("", "device=d-1", {"$device_id": "d-1"}),
        (None, "", {}),
    ],
)
def test_a_request_has_a_user_or_a_device_or_both(
    user: object, cookie: str, identity: dict[str, object]
) -> None:
    """
    Both together tell Mixpanel whose the device is; without a user the device stands for them.
    """
    reception: Reception[object] = Reception(identify=lambda _: user, device_cookie="device")

    with reception.holder(None, lambda: request(cookie)).open():
        found = dict(current().items())

    assert found == {**FACTS, **identity}


def test_no_cookie_is_looked_at_unless_it_is_named() -> None:
    """
    What a browser is known by is the application's to decide.
    """
    with Reception[None]().holder(None, lambda: request("device=d-1")).open():
        assert dict(current().items()) == FACTS


def test_the_user_is_asked_for_with_each_event() -> None:
    """
    Who logs in or out in the middle of a request is right from then on.
    """
    who: dict[str, str] = {}
    identify: Callable[[dict[str, str]], object] = lambda it: it.get("user")  # noqa: E731 -- as a user writes it

    with Reception(identify=identify).holder(who, request).open():
        before = dict(current().items())
        who["user"] = "u-1"
        after = dict(current().items())

    assert "distinct_id" not in before
    assert after["distinct_id"] == "u-1"


def test_an_identify_that_fails_costs_the_user_only(caplog: pytest.LogCaptureFixture) -> None:
    """
    The event has its facts, nothing is raised, and one line says what is wrong, without the value.
    """

    def identify(_: object) -> str:
        raise KeyError("secret")

    _notices._kinds.clear()
    with (
        Reception(identify=identify).holder(None, request).open(),
        caplog.at_level(logging.WARNING, "mixpanel_export"),
    ):
        first = dict(current().items())
        second = dict(current().items())

    assert first == second == FACTS
    [line] = caplog.messages
    assert line == "identify failed with KeyError: events go without what it says"


def test_a_request_that_cannot_be_read_costs_its_facts_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """
    A server may break the rules; the event has its user all the same.
    """

    def read() -> Request:
        raise LookupError("SERVER_NAME")

    _notices._kinds.clear()
    with (
        Reception[None](identify=lambda _: "u-1").holder(None, read).open(),
        caplog.at_level(logging.WARNING, "mixpanel_export"),
    ):
        found = dict(current().items())

    assert found == {"distinct_id": "u-1"}
    assert caplog.messages == [
        "reading a request failed with LookupError: events go without what it says"
    ]


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_an_answer_that_is_to_be_awaited_is_none() -> None:
    """
    What hides that it is async is found out when it answers; no user is made up of it.
    """

    class Lookup:
        """Callable, and async."""

        async def __call__(self, _: object) -> str:
            return "u-1"

    with Reception(identify=Lookup()).holder(None, request).open():
        found = dict(current().items())

    assert found == FACTS


@pytest.mark.structlog
def test_what_is_said_to_structlog_and_is_no_event_asks_for_no_user() -> None:
    """
    Neither a plain line nor one with an exception; an event asks, whoever else names somebody.
    """
    import structlog

    shop = Shop()
    asked: list[str] = []

    def identify(_: object) -> str:
        asked.append("who")
        return "u-1"

    log = structlog.wrap_logger(
        structlog.testing.CapturingLogger(),
        processors=[
            structlog.contextvars.merge_contextvars,
            MixpanelProcessor(pipeline=shop.handler.pipeline),
        ],
    )
    with Reception[None](identify=identify).holder(None, request).open():
        log.info("the tea is hot", cups=2)
        log.error("no milk", exc_info=LookupError("milk"))
        before = list(asked)
        log.info("Tea Ordered", distinct_id="u-2")

    assert before == []
    assert shop.facts()["Tea Ordered"] == {**FACTS, "distinct_id": "u-2"}
    shop.close()
