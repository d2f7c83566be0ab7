"""
Which records become events, what stands in a line, and that no line is ever one Mixpanel rejects.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import FrozenInstanceError, replace
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from ipaddress import ip_address
from time import tzset
from typing import Any, cast

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixpanel_export import Event, Record, Settings
from mixpanel_export._event import Drop
from mixpanel_export._form import USERS, WORTH
from mixpanel_export._ids import MEMORY, NIL, SURELY_MS
from mixpanel_export._limits import (
    FORBIDDEN_IDS,
    HOSTS,
    MAX_AHEAD_MS,
    MAX_EVENT_BYTES,
    MAX_PROPERTIES,
    MAX_SAFE_INTEGER,
    MIN_TIME_MS,
)
from mixpanel_export._translate import MANY_NAMES, Translator, translate
from tests import effort
from tests.lines import FIXED, NOW, NOW_MS, RESERVED, assert_line

# The same examples on every run: a failure that is seen once is seen again.
steadily = effort.steadily(200)

MADE_UP = "made-up-1"
HALF = "\ud83d"  # the first half of a surrogate pair
LONG_ID = "u" * 300


def seal(
    item: Record | Event,
    *,
    default: str = "all",
    made_up: str = MADE_UP,
    **fields: Any,  # noqa: ANN401 -- any setting
) -> bytes | Drop:
    """
    Seal one item at a door with these settings.
    """
    translator = Translator(Settings(**fields), select=default)
    return cast("bytes | Drop", translator.seal(item, lambda: made_up, lambda: NOW))


def event_of(
    item: Record | Event,
    **fields: Any,  # noqa: ANN401 -- any setting
) -> dict[str, Any]:
    """
    Return what the line of an item says.
    """
    line = seal(item, **fields)
    assert isinstance(line, bytes), line
    return cast("dict[str, Any]", orjson.loads(line))


def properties_of(
    item: Record | Event,
    **fields: Any,  # noqa: ANN401 -- any setting
) -> dict[str, Any]:
    """
    Return the properties that the line of an item holds.
    """
    return cast("dict[str, Any]", event_of(item, **fields)["properties"])


def said(
    fields: Mapping[Any, Any] | None = None,
    *,
    name: str = "Order Placed",
    logger: str = "shop",
    bound: Mapping[str, Any] | None = None,
) -> Record:
    """
    Make a record.
    """
    return Record(name, NOW, fields or {}, logger, bound or {})


def is_event(
    record: Record,
    default: str = "all",
    **fields: Any,  # noqa: ANN401 -- any setting
) -> bool:
    """
    Say whether a door makes an event of a record.
    """
    return seal(record, default=default, **fields) is not Drop.IGNORED


def by_hand(**fields: Any) -> Event:  # noqa: ANN401 -- also what type checkers refuse
    """
    Make an event.
    """
    return Event("Order Placed", **fields)


def unchanged(event: Event) -> Event:
    """
    Transform nothing.
    """
    return event


# -- which records --------------------------------------------------------------------------------

MARK: dict[str, object] = {"mixpanel.event": True}
WHOSE: dict[str, object] = {"distinct_id": "u-1"}
OWN: dict[str, object] = {"total": 31.5}
STAMPS: dict[str, object] = {
    "taskName": "Task-1",
    "otelTraceID": "4bf9",
    "otelSpanID": "00f0",
    "otelServiceName": "shop",
    "otelTraceSampled": True,
    "dd.trace_id": "1",
    "dd.span_id": "2",
    "dd.service": "shop",
    "color_message": "\033[1m",
    "request": object(),
    "websocket": object(),
}
WEAK: dict[str, object] = {
    "status_code": 404,
    "server_time": "now",
    "data": {"id": 1},
    "trace_id": "4bf9",
    "span_id": "00f0",
}
ARGUMENTS: dict[str, object] = {"arg_0": "a", "arg_1": 2, "arg_23": None}


@pytest.mark.parametrize(
    ("selection", "selected"),
    [
        ("marked", [MARK]),
        ("identified", [MARK, WHOSE]),
        ("entry", [MARK, WHOSE]),
        ("structured", [MARK, WHOSE, OWN]),
        ("all", [MARK, WHOSE, OWN, WEAK, STAMPS, ARGUMENTS, {}]),
    ],
)
@pytest.mark.parametrize("by", ["default", "select"])
def test_what_each_selection_selects(
    selection: str, selected: list[dict[str, object]], by: str
) -> None:
    """
    Each selection takes what the narrower one takes and more, whether the door or a setting says.
    """
    records = [MARK, WHOSE, OWN, WEAK, STAMPS, ARGUMENTS, {}]

    found = [each for each in records if is_event(said(each), **{by: selection})]

    assert found == selected


@pytest.mark.parametrize("name", ["distinct_id", "$user_id", "$device_id"])
@pytest.mark.parametrize("selection", ["identified", "structured"])
def test_any_identity_selects(name: str, selection: str) -> None:
    """
    Each of Mixpanel's own names for an identity makes a record an event.
    """
    assert is_event(said({name: "u-1"}), selection)


def test_a_setting_goes_before_the_doors_default() -> None:
    """
    `select` decides, and only where it is not set the door does.
    """
    assert not is_event(said(OWN), "structured", select="marked")
    assert is_event(said(OWN), "marked", select="structured")


def test_a_callable_selects() -> None:
    """
    A callable sees the record, and its answer counts for what is not marked.
    """
    seen: list[Record] = []

    def choose(record: Record) -> bool:
        seen.append(record)
        return "total" in record.fields

    record = said(OWN)

    assert is_event(record, select=choose)
    assert not is_event(said({"other": 1}), select=choose)
    assert is_event(said(MARK), select=choose)
    assert not is_event(said({**OWN, "mixpanel.event": False}), select=choose)
    assert seen == [record, said({"other": 1})]


@pytest.mark.parametrize("selection", ["marked", "identified", "structured", "entry", "all"])
def test_a_door_may_know_better_than_the_names(selection: str) -> None:
    """
    Where a record says under which selections it is an event, its fields do not count; marks do.
    """
    grounds = frozenset({"entry", "all"})

    found = is_event(said(WHOSE)._replace(grounds=grounds), selection)

    assert found is (selection in grounds)
    assert not is_event(said({**WHOSE, **OWN})._replace(grounds=frozenset()), selection)
    assert is_event(said(MARK)._replace(grounds=frozenset()), selection)


def test_a_framework_is_heard_if_the_door_says_it_is_about_users() -> None:
    """
    With grounds it is these that say whether a record is identified.
    """
    record = said({}, logger="django")

    assert is_event(record._replace(grounds=frozenset({"identified", "all"})))
    assert not is_event(record._replace(grounds=frozenset({"all"})))


def test_a_callable_is_not_asked_about_what_is_decided() -> None:
    """
    Grounds that include ``marked`` stand for a mark.
    """
    record = said(OWN)._replace(grounds=frozenset({"all"}))

    assert not is_event(record, select=lambda _: False)
    assert is_event(record, select=lambda _: True)
    assert is_event(record._replace(grounds=frozenset({"all", "marked"})), select=lambda _: False)


@pytest.mark.parametrize("mark", ["mixpanel.event", "mixpanel_event"])
@pytest.mark.parametrize("selection", ["marked", "identified", "structured", "all"])
def test_a_mark_goes_before_every_selection(mark: str, selection: str) -> None:
    """
    Text names the event, True sends it under its own name, and False never sends it.
    """
    named = event_of(said({mark: "Signed Up", **WHOSE}), default=selection)
    sent = event_of(said({mark: True}), default=selection)
    never = seal(said({mark: False, **WHOSE, **OWN}), default=selection)

    assert named["event"] == "Signed Up"
    assert sent["event"] == "Order Placed"
    assert never is Drop.IGNORED


def test_a_mark_is_no_property() -> None:
    """
    Both marks stay out of the event.
    """
    found = properties_of(said({"mixpanel.event": "Signed Up", "mixpanel_event": True}))

    assert list(found) == FIXED


@pytest.mark.parametrize("name", ["", " ", "\n\t", "\u2003"])
def test_an_event_has_a_name(name: str) -> None:
    """
    What has a blank name is no event, wherever the name is from: Mixpanel rejects it.
    """
    assert seal(said(OWN, name=name)) is Drop.IGNORED
    assert seal(said({"mixpanel.event": name})) is Drop.IGNORED
    assert seal(Event(name)) is Drop.IGNORED
    assert seal(said(OWN), transform=lambda each: dataclasses.replace(each, name=name)) is (
        Drop.IGNORED
    )


@pytest.mark.parametrize(
    "logger",
    ["mixpanel_export", "mixpanel_export.delivery", "httpx", "httpcore.connection", "h11", "hpack"],
)
@pytest.mark.parametrize("within", [None, ["mixpanel_export", "httpx", "httpcore", "h11", "hpack"]])
def test_our_own_records_are_never_events(logger: str, within: list[str] | None) -> None:
    """
    What we and our HTTP client log is not sent, even if it is marked or asked for: it has no end.
    """
    record = said({**MARK, **WHOSE, **OWN}, logger=logger)

    assert not is_event(record, loggers=within)


@pytest.mark.parametrize("logger", ["httpxtra", "mixpanel_exporter", "shop.httpx", ""])
def test_names_that_begin_like_ours_are_not_ours(logger: str) -> None:
    """
    A logger belongs to us by the whole first part of its name.
    """
    assert is_event(said(OWN, logger=logger), "structured")


@pytest.mark.parametrize(
    "logger", ["django", "django.request", "uvicorn.access", "celery.worker", "urllib3", "asyncio"]
)
@pytest.mark.parametrize("selection", ["identified", "structured", "all"])
def test_a_framework_is_heard_about_users_only(logger: str, selection: str) -> None:
    """
    A framework's record is an event if it is marked or says whose it is, and not otherwise.
    """
    assert not is_event(said(OWN, logger=logger), selection)
    assert is_event(said(WHOSE, logger=logger), selection)
    assert is_event(said(MARK, logger=logger), selection)
    assert not is_event(said({}, logger=logger, bound=WHOSE), selection)


@pytest.mark.parametrize(
    ("logger", "heard"),
    [
        ("shop", True),
        ("shop.cart", True),
        ("billing.cards", True),
        ("django.request", True),
        ("shopping", False),
        ("billing", False),
        ("django", False),
        ("other", False),
        ("", False),
    ],
)
def test_loggers_can_be_chosen(logger: str, heard: bool) -> None:
    """
    With `loggers` only these and their children are looked at, then even a framework's.
    """
    chosen = ["shop", "billing.cards", "django.request"]

    assert is_event(said(OWN, logger=logger), "structured", loggers=chosen) is heard
    assert is_event(said(MARK, logger=logger), "structured", loggers=chosen) is heard


def test_no_loggers_are_none() -> None:
    """
    An empty list of loggers is a choice too.
    """
    assert not is_event(said(MARK), loggers=[])


# -- which properties -----------------------------------------------------------------------------


def test_stamps_are_no_properties() -> None:
    """
    What libraries put on every record is not sent.
    """
    assert list(properties_of(said({**STAMPS, **OWN}))) == [*FIXED, "total"]


def test_what_may_be_the_applications_is_sent() -> None:
    """
    Fields that do not make a record an event are properties of one all the same.
    """
    found = properties_of(said({**WEAK, **ARGUMENTS, **WHOSE}))

    assert found.keys() == {*FIXED, *WEAK, "arg_0", "arg_1"}


def test_an_event_made_by_hand_keeps_every_property() -> None:
    """
    Nothing stamps an event that was made on purpose, so that no name is taken for a stamp.
    """
    given = {"request": "r-1", "taskName": "Backup", "dd.env": "prod", "otelSpanID": "00f0"}

    assert given.items() <= properties_of(Event("Backup Done", properties=given)).items()


# As in Mixpanel's documentation, Reserved Properties (read 2026-08-21).


@pytest.mark.parametrize("name", RESERVED)
def test_reserved_names_get_an_underscore(name: str) -> None:
    """
    A property whose name means something else to Mixpanel is sent under another one.
    """
    for item in (said({name: "mine"}), Event("Order Placed", properties={name: "mine"})):
        found = properties_of(item, scrub=False)

        assert name not in found
        assert found[f"{name}_"] == "mine"


def test_a_record_is_a_flat_line() -> None:
    """
    A line has the event's name and its properties, and these begin with what every event has.
    """
    line = seal(said({**WHOSE, **OWN, "plan": "pro"}))

    assert line == (
        b'{"event":"Order Placed","properties":{"time":1700000000000,"distinct_id":"u-1",'
        b'"$insert_id":"made-up-1","ip":"0","mp_lib":"mixpanel-export","total":31.5,"plan":"pro"}}'
    )


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("pro", "pro"),
        ("x" * 256, "x" * 255),
        ("x" * 64, "x" * 64),
        ("é" * 200, "é" * 127),
        (7, 7),
        (2**53, "9007199254740992"),
        (-(2**60), "-1152921504606846976"),
        (0.5, 0.5),
        (sys.float_info.max, sys.float_info.max),
        (-sys.float_info.max, -sys.float_info.max),
        (True, True),
        (False, False),
        (Decimal("31.50"), 31.5),
        (date(2024, 2, 29), "2024-02-29"),
        ([1, "a", None], [1, "a"]),
        ({"a": {"b": 1}}, {"a": {"b": 1}}),
        (ValueError("no stock"), "no stock"),
    ],
)
def test_values_are_converted(value: object, sent: object) -> None:
    """
    Each value arrives in the form that `_values` gives it.
    """
    for item in (said({"value": value}), Event("Order Placed", properties={"value": value})):
        assert properties_of(item)["value"] == sent


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, b"raw", Decimal("NaN")])
def test_what_cannot_be_sent_is_left_out(value: object) -> None:
    """
    Nothing, what is no number, and raw bytes are no properties.
    """
    assert list(properties_of(said({"value": value, **OWN}))) == [*FIXED, "total"]


def test_later_changes_do_not_arrive() -> None:
    """
    A value that changes after it was logged arrives as it was.
    """
    cart = ["book"]
    line = seal(said({"cart": cart}))

    cart.append("pen")

    assert isinstance(line, bytes)
    assert orjson.loads(line)["properties"]["cart"] == ["book"]


def test_names_that_are_no_text_are_sent_as_theirs() -> None:
    """
    A key of any type is a name.
    """
    found = properties_of(said({1: "a", None: "b", ("x", 2): "c"}))

    assert (found["1"], found["None"], found["('x', 2)"]) == ("a", "b", "c")


def test_long_names_are_cut() -> None:
    """
    The names of events and properties are held to 255 bytes.
    """
    event = event_of(said({"é" * 200: 1}, name="ü" * 200))

    assert event["event"] == "ü" * 127
    assert event["properties"]["é" * 127] == 1


def test_what_is_bound_is_sent() -> None:
    """
    Properties that are bound stand in the event, and the record's own go before them.
    """
    found = properties_of(said({"plan": "pro"}, bound={"plan": "free", "server": "a"}))

    assert (found["plan"], found["server"]) == ("pro", "a")


def test_what_is_bound_does_not_select() -> None:
    """
    A record is chosen by what it says itself.
    """
    assert not is_event(said({}, bound={**WHOSE, **OWN, **MARK}), "structured")


def test_super_properties_are_in_every_event() -> None:
    """
    Records and events made by hand carry them, and what they say themselves goes before.
    """
    given = {"server": "a", "size": [1, None, 2], "bucket": "mine", "time": 1, "distinct_id": "x"}
    given["nothing"] = None

    for item in (said({"size": 3}), Event("Order Placed", properties={"size": 3})):
        found = properties_of(item, super_properties=given)

        assert (found["server"], found["size"], found["bucket_"]) == ("a", 3, "mine")
        assert (found["time"], found["distinct_id"]) == (NOW_MS, "")
        assert "nothing" not in found

    assert properties_of(said(), super_properties=given)["size"] == [1, 2]


def test_what_becomes_of_names_is_worked_out_once() -> None:
    """
    For each logger, until there are too many.
    """
    translator = Translator(Settings())

    first = translator.plan("shop", ("total",))

    assert translator.plan("shop", ("total",)) is first
    assert translator.plan("till", ("total",)) is not first


def test_super_properties_do_not_change_later() -> None:
    """
    A value that changes after the door was made is sent as it was.
    """
    tags = ["a"]
    translator = Translator(Settings(super_properties={"tags": tags}))

    tags.append("b")
    line = translator.seal(said(), lambda: MADE_UP, lambda: NOW)

    assert isinstance(line, bytes)
    assert orjson.loads(line)["properties"]["tags"] == ["a"]


def test_super_properties_say_nothing_of_users() -> None:
    """
    A constant is nobody's identity.
    """
    given = {"distinct_id": "a", "$user_id": "b", "$device_id": "c"}

    found = properties_of(said(OWN), super_properties=given)

    assert found["distinct_id"] == ""
    assert "$user_id" not in found
    assert "$device_id" not in found


@pytest.mark.parametrize(
    "settings",
    [
        Settings(token="hunter2-5d41402a"),
        Settings(api_secret="hunter2-5d41402a"),
        Settings(service_account="robot", service_secret="hunter2-5d41402a", project_id="1"),
    ],
    ids=["token", "secret", "account"],
)
def test_a_line_holds_no_credential(settings: Settings) -> None:
    """
    A line says nothing of how it will be sent.
    """
    translator = Translator(settings)

    for item in (said({**WHOSE, **OWN, "token": "mine"}), Event("Signed Up")):
        line = translator.seal(item, lambda: MADE_UP, lambda: NOW)

        assert isinstance(line, bytes)
        assert b"hunter2" not in line
        assert b"robot" not in line
        assert b'"token"' not in line


# -- identity -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "bound", "owner"),
    [
        ({}, {}, ""),
        ({"distinct_id": "d", "$user_id": "u", "$device_id": "x"}, {}, "d"),
        ({"$device_id": "x", "$user_id": "u", "distinct_id": "d"}, {}, "d"),
        ({"$user_id": "u", "$device_id": "x"}, {}, "u"),
        ({"$device_id": "x"}, {}, "$device:x"),
        ({"$device_id": "$device:x"}, {}, "$device:x"),
        ({"distinct_id": None, "$user_id": "u"}, {}, "u"),
        ({"distinct_id": None, "$user_id": None, "$device_id": "x"}, {}, "$device:x"),
        ({"distinct_id": "", "$user_id": "u"}, {}, ""),
        ({"distinct_id": "  ", "$user_id": "u"}, {}, ""),
        ({"distinct_id": "anon", "$user_id": "u"}, {}, ""),
        ({"distinct_id": 17}, {}, "17"),
        ({"distinct_id": " u 1 "}, {}, " u 1 "),
        ({}, {"distinct_id": "b"}, "b"),
        ({}, {"$user_id": "b"}, "b"),
        ({}, {"$device_id": "b"}, "$device:b"),
        ({}, {"distinct_id": None, "$user_id": "b"}, "b"),
        ({"distinct_id": "d"}, {"distinct_id": "b"}, "d"),
        ({"$user_id": "u"}, {"distinct_id": "b"}, "u"),
        ({"$device_id": "x"}, {"distinct_id": "b", "$user_id": "c"}, "$device:x"),
        ({"distinct_id": None}, {"distinct_id": "b"}, "b"),
        ({"distinct_id": None}, {"$user_id": "b"}, "b"),
        ({"$user_id": None}, {"$user_id": "b"}, "b"),
        ({"distinct_id": ""}, {"distinct_id": "b"}, ""),
        ({"distinct_id": "", "$user_id": None}, {"$user_id": "b"}, ""),
        ({"distinct_id": "null"}, {"distinct_id": "b"}, ""),
    ],
)
@pytest.mark.parametrize("transform", [None, unchanged], ids=["sealed", "transformed"])
def test_whose_an_event_is(
    fields: dict[str, Any], bound: dict[str, Any], owner: str, transform: object
) -> None:
    """
    The first identity that is not None decides, own ones before bound ones, and ``""`` is nobody.
    """
    found = properties_of(said(fields, bound=bound), transform=transform)

    assert found["distinct_id"] == owner


def test_an_own_identity_drops_the_bound_one() -> None:
    """
    An event is not a mix of two people.
    """
    bound = {"distinct_id": "b", "$user_id": "b", "$device_id": "c", "plan": "pro"}

    found = properties_of(said({"$user_id": "u"}, bound=bound))

    assert (found["distinct_id"], found["$user_id"]) == ("u", "u")
    assert "$device_id" not in found
    assert found["plan"] == "pro"


def test_a_user_and_a_device_are_sent_as_such() -> None:
    """
    Mixpanel gets the names that join a device's events to a user's.
    """
    found = properties_of(said({"$user_id": "u", "$device_id": "x"}))

    assert (found["distinct_id"], found["$user_id"], found["$device_id"]) == ("u", "u", "x")


@pytest.mark.parametrize("forbidden", sorted(FORBIDDEN_IDS))
@pytest.mark.parametrize("change", [str, str.upper, str.title, " {}\t".format])
def test_forbidden_ids_are_nobody(forbidden: str, change: Callable[[str], str]) -> None:
    """
    An id that Mixpanel forbids is sent as ``""``, in any case and with blanks around it.
    """
    bad = change(forbidden)

    for item in (
        said({"distinct_id": bad}),
        said({"$user_id": bad}),
        said({"$device_id": bad}),
        said({}, bound={"distinct_id": bad}),
        Event("Order Placed", distinct_id=bad),
        Event("Order Placed", properties={"$user_id": bad}),
    ):
        found = properties_of(item)

        assert found["distinct_id"] == ""
        assert found.keys().isdisjoint({"$user_id", "$device_id"})


@pytest.mark.parametrize("value", [0, -1, True, False, [], {}])
def test_values_that_read_like_forbidden_ids_are_nobody(value: object) -> None:
    """
    An id of another type is as forbidden as its text.
    """
    assert properties_of(said({"distinct_id": value}))["distinct_id"] == ""


@pytest.mark.parametrize("bad", ["null", "", None])
def test_a_forbidden_id_beside_a_good_one_is_not_sent(bad: object) -> None:
    """
    What is no user's id does not stand in the event as one.
    """
    fields = {"distinct_id": "u-1", "$user_id": bad, "$device_id": bad}

    for transform in (None, unchanged):
        found = properties_of(said(fields), transform=transform)

        assert found["distinct_id"] == "u-1"
        assert found.keys().isdisjoint({"$user_id", "$device_id"})


@pytest.mark.parametrize("name", ["distinct_id", "$user_id", "$device_id"])
def test_long_ids_are_not_cut(name: str) -> None:
    """
    Two long ids with the same beginning stay two, and each is the same whenever it is sent.
    """
    one, other = (said({name: LONG_ID + end}) for end in "12")

    first, second, again = properties_of(one), properties_of(other), properties_of(one)

    for key in ("distinct_id", name):
        assert first[key] == again[key] != second[key]
        assert re.fullmatch("[0-9a-f]{64}", first[key])


@pytest.mark.parametrize(("size", "kept"), [(254, True), (255, True), (256, False)])
def test_when_an_id_is_long(size: int, kept: bool) -> None:
    """
    Up to 255 bytes an id is sent as it is, and its length counts in bytes.
    """
    plain, accented = "u" * size, "é" * (size // 2) + "u" * (size % 2)

    for identity in (plain, accented):
        found = properties_of(said({"distinct_id": identity}))

        assert (found["distinct_id"] == identity) is kept


def test_a_long_user_id_is_the_distinct_id() -> None:
    """
    The two names for one user hold the same hash.
    """
    found = properties_of(said({"$user_id": LONG_ID}))

    assert found["distinct_id"] == found["$user_id"]
    assert found["$user_id"] == hashlib.sha256(LONG_ID.encode()).hexdigest()


# -- time -----------------------------------------------------------------------------------------

TWO_HOURS_EAST = timezone(timedelta(hours=2))


@pytest.mark.parametrize(
    ("time", "sent"),
    [
        (datetime(2023, 11, 14, 12, 0, tzinfo=timezone.utc), 1_699_963_200_000),
        (datetime(2023, 11, 14, 14, 0, tzinfo=TWO_HOURS_EAST), 1_699_963_200_000),
        (datetime.fromisoformat("2023-11-14T12:00:00"), 1_699_963_200_000),
        (datetime.fromisoformat("2023-11-14T12:00:00.123456"), 1_699_963_200_123),
        (1_699_963_200, 1_699_963_200_000),
        (1_699_963_200.25, 1_699_963_200_250),
        (1_699_963_200_123, 1_699_963_200_123),
        (1_699_963_200_123.4, 1_699_963_200_123),
        (NOW + 3_600, NOW_MS + MAX_AHEAD_MS),
        (NOW_MS + MAX_AHEAD_MS, NOW_MS + MAX_AHEAD_MS),
        (MIN_TIME_MS // 1_000, MIN_TIME_MS // 1_000),
        (MIN_TIME_MS, MIN_TIME_MS // 1_000),
        (datetime.fromisoformat("1971-01-01T00:00:00"), MIN_TIME_MS // 1_000),
        (SURELY_MS - 1, SURELY_MS // 1_000 - 1),
        (SURELY_MS, SURELY_MS),
    ],
)
def test_a_time_is_honoured(time: object, sent: int) -> None:
    """
    Moments, seconds and milliseconds from 1971 to an hour ahead are the event's time.

    In seconds before March 1973: as milliseconds, such a number might be taken for seconds.
    """
    for item in (
        said({"time": time}),
        by_hand(time=time),
        said({}, bound={"time": time}),
    ):
        found = properties_of(item)

        assert found["time"] == sent
        assert "time_" not in found


@pytest.fixture
def _far_from_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """
    The machine stands eleven hours west of Greenwich.
    """
    monkeypatch.setenv("TZ", "WST+11")
    tzset()
    yield
    monkeypatch.undo()
    tzset()


@pytest.mark.usefixtures("_far_from_utc")
def test_a_time_does_not_depend_on_where_one_is() -> None:
    """
    A moment without a zone is in UTC, wherever the machine is.
    """
    noon = datetime.fromisoformat("2023-11-14T12:00:00")

    assert properties_of(by_hand(time=noon))["time"] == 1_699_963_200_000


@pytest.mark.parametrize(
    "time",
    [
        "yesterday",
        "2023-11-14T12:00:00Z",
        True,
        math.nan,
        math.inf,
        -math.inf,
        -1,
        0,
        10**400,
        NOW + 3_601,
        NOW_MS + MAX_AHEAD_MS + 1,
        MIN_TIME_MS // 1_000 - 1,
        datetime.fromisoformat("1970-12-31T23:59:59"),
        datetime(2023, 11, 14, 23, 13, 21, tzinfo=timezone.utc),
        datetime.min.replace(tzinfo=TWO_HOURS_EAST),
        datetime.max.replace(tzinfo=timezone(-timedelta(hours=2))),
        date(2023, 11, 14),
        [1_699_963_200],
    ],
)
def test_what_is_no_time_is_a_property(time: object) -> None:
    """
    What is no moment, or lies before 1971 or too far ahead, is kept as the property ``time_``.
    """
    for item in (said({"time": time}), by_hand(time=time)):
        found = properties_of(item)

        assert found["time"] == NOW_MS
        assert isinstance(found["time_"], str)


def test_no_time_is_now() -> None:
    """
    A record's time is when it was made, an event's the moment in which it is sealed.
    """
    translator = Translator(Settings())

    lines = [
        translator.seal(item, lambda: MADE_UP, lambda: NOW)
        for item in (
            Record("Order Placed", NOW - 10.5, {"time": None}),
            Event("Order Placed"),
            Event("Order Placed", properties={"time": None}),
        )
    ]

    times = [orjson.loads(cast("bytes", line))["properties"]["time"] for line in lines]
    assert times == [NOW_MS - 10_500, NOW_MS, NOW_MS]


# -- $insert_id -----------------------------------------------------------------------------------


@pytest.mark.parametrize("given_id", ["a", "whose", "A-Z-9", "x" * 36, "f" * 32, 12345])
def test_a_valid_insert_id_is_kept(given_id: object) -> None:
    """
    Letters, digits and hyphens, up to 36 of them, are an id as they are.
    """
    for item in (said({"$insert_id": given_id}), by_hand(insert_id=given_id)):
        assert properties_of(item)["$insert_id"] == str(given_id)


@pytest.mark.parametrize(
    "given_id",
    [
        "",
        "order_17",
        "a b",
        "x" * 37,
        "é",
        "a\n",
        HALF,
        "x\0",
        1.5,
        b"raw",
        "NULL",
        *sorted(FORBIDDEN_IDS),
    ],
)
def test_an_invalid_insert_id_is_hashed(given_id: object) -> None:
    """
    What Mixpanel forbids becomes 32 hex digits, for the same id always the same.
    """
    text = str(given_id).encode("utf-8", "replace")

    for item in (said({"$insert_id": given_id}), by_hand(insert_id=given_id)):
        assert properties_of(item)["$insert_id"] == hashlib.sha256(text).hexdigest()[:32]


def test_an_id_is_made_up_only_if_none_is_brought() -> None:
    """
    An event that brings its id does not use one up.
    """
    asked = []

    def make_up() -> str:
        asked.append(True)
        return MADE_UP

    translator = Translator(Settings())
    for item in (
        said({"$insert_id": "mine"}),
        Event("Order Placed", insert_id="mine"),
        Event("Order Placed", properties={"$insert_id": "mine"}),
    ):
        translator.seal(item, make_up, lambda: NOW)
    brought = len(asked)
    for item in (said(), said({"$insert_id": None}), Event("Order Placed")):
        translator.seal(item, make_up, lambda: NOW)

    assert (brought, len(asked)) == (0, 3)


# -- ip -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "sent"),
    [
        ("203.0.113.7", "203.0.113.7"),
        (" 203.0.113.7\n", "203.0.113.7"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("0", "0"),
        (0, "0"),
        (ip_address("203.0.113.7"), "203.0.113.7"),
    ],
)
def test_an_address_is_honoured(address: object, sent: str) -> None:
    """
    An address of either kind is sent in its usual form, and 0 is no place.
    """
    for item in (said({"ip": address}), by_hand(ip=address)):
        found = properties_of(item)

        assert found["ip"] == sent
        assert "ip_" not in found


@pytest.mark.parametrize("address", ["localhost", "999.1.1.1", "", "203.0.113.7:80", 7, [1], HALF])
def test_what_is_no_address_is_a_property(address: object) -> None:
    """
    Mixpanel locates nobody by what is no address: it is kept as the property ``ip_``.
    """
    for item in (said({"ip": address}), by_hand(ip=address)):
        found = properties_of(item)

        assert found["ip"] == "0"
        assert isinstance(found["ip_"], str)


def test_without_an_address_nothing_is_located() -> None:
    """
    The address that Mixpanel would take instead is the server's, so that 0 is always sent.
    """
    for item in (said(), said({"ip": None}), Event("Order Placed")):
        found = properties_of(item)

        assert found["ip"] == "0"
        assert "ip_" not in found


# -- limits ---------------------------------------------------------------------------------------


def many(prefix: str, count: int) -> dict[str, Any]:
    """
    Make so many properties.
    """
    return {f"{prefix}{number}": number for number in range(count)}


def test_the_first_properties_are_kept() -> None:
    """
    Of more than 254 properties, the first stay beside those that every event has.
    """
    for item in (said(many("p", 300)), Event("Order Placed", properties=many("p", 300))):
        found = properties_of(item)

        assert len(found) == MAX_PROPERTIES
        assert list(found) == [*FIXED, *many("p", MAX_PROPERTIES - len(FIXED))]


@pytest.mark.parametrize("transform", [None, unchanged], ids=["sealed", "transformed"])
@pytest.mark.parametrize("count", [248, 249])
def test_as_many_as_fit_are_sent(count: int, transform: object) -> None:
    """
    No property is left out that there is room for.
    """
    found = properties_of(said(many("p", count)), transform=transform)

    assert list(found) == [*FIXED, *many("p", count)]


@pytest.mark.parametrize("transform", [None, unchanged], ids=["sealed", "transformed"])
@pytest.mark.parametrize(
    "fields", [{"mp_lib": "mine"}, {"time": "soon", "time_": "mine"}, {"ip": "here", "ip_": "mine"}]
)
def test_a_name_takes_one_place(fields: dict[str, Any], transform: object) -> None:
    """
    A property that replaces one that every event has, or a left-over, needs no further place.
    """
    found = properties_of(said({**fields, **many("p", 300)}), transform=transform)

    assert len(found) == MAX_PROPERTIES
    assert "mine" in found.values()


@pytest.mark.parametrize("transform", [None, unchanged], ids=["sealed", "transformed"])
@pytest.mark.parametrize("others", ["bound", "super"])
def test_an_events_own_properties_are_kept_first(others: str, transform: object) -> None:
    """
    What an event says itself goes before what is bound and what every event carries.
    """
    extra = many("x", 300)
    record = said(many("p", 20), bound=extra if others == "bound" else {})
    settings = {"super_properties": extra} if others == "super" else {}

    found = properties_of(record, transform=transform, **settings)

    assert many("p", 20).items() <= found.items()
    assert "x0" in found
    assert 253 <= len(found) <= MAX_PROPERTIES


def test_an_event_with_everything_keeps_the_limit() -> None:
    """
    Unusable times and addresses, a user, a device and super properties count like all others.
    """
    fields = {
        **many("p", 300),
        "time": "soon",
        "ip": "here",
        "$insert_id": "order_1",
        "$user_id": "u",
        "$device_id": "x",
    }

    for transform in (None, unchanged):
        found = properties_of(
            said(fields, bound=many("b", 300)),
            super_properties=many("s", 300),
            transform=transform,
        )

        assert 250 <= len(found) <= MAX_PROPERTIES
        assert {"time_", "ip_", "$user_id", "$device_id", "p0"} <= found.keys()


def test_own_and_super_properties_of_the_same_name_are_one() -> None:
    """
    A name that is both the event's own and a super property takes one place.
    """
    found = properties_of(said(many("s", 10)), super_properties=many("s", 249))

    assert len(found) == MAX_PROPERTIES


def big(count: int) -> dict[str, Any]:
    """
    Make so many properties of nearly 8 KB each, every one a little smaller than the one before.
    """
    return {f"p{number}": ["x" * 250] * 30 + ["x" * (254 - number)] for number in range(count)}


def test_a_big_event_loses_its_biggest_properties() -> None:
    """
    An event of more than 1 MB leaves out its biggest properties, no more than it must, and says so.
    """
    fields = {"first": 1, **big(150), "last": "z"}
    event = event_of(said({**fields, **WHOSE, "ip": "203.0.113.7", "$insert_id": "mine"}))

    found = event["properties"]
    line = orjson.dumps(event)
    lost = [name for name in fields if name not in found]

    assert MAX_EVENT_BYTES - 8_000 < len(line) <= MAX_EVENT_BYTES
    assert lost == [f"p{number}" for number in range(found["_truncated"])]
    assert (found["first"], found["last"], found["p149"]) == (1, "z", fields["p149"])
    assert [found[name] for name in FIXED] == [
        NOW_MS,
        "u-1",
        "mine",
        "203.0.113.7",
        "mixpanel-export",
    ]


def test_a_small_event_is_not_marked() -> None:
    """
    An event just within the limit is sent whole.
    """
    fields = big(124)
    found = properties_of(said(fields))
    room = MAX_EVENT_BYTES - len(orjson.dumps({"event": "Order Placed", "properties": found}))
    padding = {f"q{n}": "x" * 250 for n in range(room // 300)}

    found = properties_of(said({**fields, **padding}))

    assert found.keys() == {*FIXED, *fields, *padding}


def filling(size: int) -> dict[str, Any]:
    """
    Make properties of less than 7,700 bytes each with which an event takes exactly so many bytes.
    """
    found: dict[str, Any] = {f"f{n}": ["y" * 250] * 30 for n in range(131)}
    line = seal(Event("Order Placed", properties=found))
    assert isinstance(line, bytes)
    room = size - len(line)
    while room > 0:
        name = f"q{len(found)}"
        frame = len(f',"{name}":""')
        length = min(230, room - frame)
        if 0 < room - frame - length <= frame:
            length -= frame  # Leave enough for one more.
        found[name] = "z" * length
        room -= frame + length
    return found


@pytest.mark.parametrize("size", [MAX_EVENT_BYTES - 1, MAX_EVENT_BYTES])
def test_an_event_may_take_all_the_bytes_there_are(size: int) -> None:
    """
    Up to the last byte under 1 MB nothing is left out.
    """
    fields = filling(size)

    line = seal(said(fields))

    assert isinstance(line, bytes)
    assert len(line) == size
    assert orjson.loads(line)["properties"].keys() == {*FIXED, *fields}


@pytest.mark.parametrize("over", range(-6, 9))
def test_leaving_out_ends_where_it_may(over: int) -> None:
    """
    As many of the biggest properties go as must, to the last byte but two, and never one too few.
    """
    biggest = {f"b{n}": ["x" * 250] * 31 for n in range(10)}
    note = len(',"_truncated":10')
    rest = filling(MAX_EVENT_BYTES - note + over)

    line = seal(said({**rest, **biggest}))

    assert isinstance(line, bytes)
    assert len(line) <= MAX_EVENT_BYTES
    count = orjson.loads(line)["properties"]["_truncated"]
    # Room for a third digit of the count is kept.
    assert count == 10 if over < 0 else count == 11 if over > 0 else count in {10, 11}


def test_what_no_leaving_out_makes_small_is_dropped() -> None:
    """
    An event whose fixed fields alone are too big, by an id made up too long, is no line.
    """
    assert seal(said(OWN), made_up="x" * 1_000_000) is Drop.TOO_LARGE


@pytest.mark.parametrize(
    "item",
    [
        said(OWN, name=f"a{HALF}"),
        said({"value": HALF}),
        said({"value": f"{HALF}" * 100}),
        said({"value": [HALF, {"a": HALF}]}),
        said({f"name{HALF}": 1}),
        said({"distinct_id": f"u{HALF}"}),
        said({"distinct_id": HALF * 300}),
        said({"$user_id": f"u{HALF}"}),
        said({"$insert_id": HALF}),
        said({"ip": HALF, "time": HALF}),
        said({"mixpanel.event": f"a{HALF}"}),
        said({}, bound={f"b{HALF}": HALF}),
        Event(f"a{HALF}", distinct_id=HALF, insert_id=HALF, ip=HALF, properties={HALF: HALF}),
    ],
)
def test_half_a_character_anywhere_gives_a_line(item: Record | Event) -> None:
    """
    A lone surrogate becomes a question mark, wherever it stands.
    """
    line = seal(item)

    assert isinstance(line, bytes)
    assert len(orjson.loads(line)["properties"]) >= len(FIXED)


def test_half_a_character_in_super_properties_gives_a_line() -> None:
    """
    A lone surrogate in what every event carries does not spoil every event.
    """
    found = properties_of(said(), super_properties={"a": HALF, HALF: [HALF]})

    assert (found["a"], found["?"]) == ("?", ["?"])


def test_more_names_than_are_remembered_change_nothing() -> None:
    """
    A program that makes up names of loggers and fields gets the same lines as any other.
    """
    translator = Translator(Settings(), select="structured")

    def line_of(record: Record) -> bytes | Drop:
        return cast("bytes | Drop", translator.seal(record, lambda: MADE_UP, lambda: NOW))

    before = [line_of(said(OWN)), line_of(said(OWN, logger="django"))]
    for number in range(4_500):
        line_of(said({f"p{number}": number}, logger=f"logger.{number}"))
    after = [line_of(said(OWN)), line_of(said(OWN, logger="django"))]

    assert before == after
    assert after[1] is Drop.IGNORED
    assert len(translator._plans) <= 2_000


# -- transform ------------------------------------------------------------------------------------


def test_transform_sees_what_is_sent_and_may_change_it() -> None:
    """
    `transform` sees each event last, with the values that were given, and what it returns is sent.
    """
    seen: list[Event] = []

    def transform(event: Event) -> Event:
        seen.append(event)
        return dataclasses.replace(
            event, name=event.name.upper(), distinct_id="u-2", properties={"plan": "pro"}
        )

    total = Decimal("31.50")
    event = event_of(said({"distinct_id": "u-1", "total": total}), transform=transform)

    assert seen == [
        Event("Order Placed", distinct_id="u-1", properties={"total": total}, time=NOW_MS)
    ]
    assert event["event"] == "ORDER PLACED"
    assert event["properties"]["distinct_id"] == "u-2"
    assert list(event["properties"]) == [*FIXED, "plan"]


def test_transform_sees_events_made_by_hand() -> None:
    """
    No event goes past `transform`.
    """
    event = Event("Order Placed", properties={"plan": "pro"})
    seen: list[Event] = []

    def transform(each: Event) -> Event:
        seen.append(each)
        return each

    properties_of(event, transform=transform)

    assert seen == [event]


def test_transform_is_not_asked_about_what_is_no_event() -> None:
    """
    A record that is not selected costs no call.
    """

    def transform(_event: Event) -> Event:
        raise AssertionError

    assert seal(said(OWN), default="marked", transform=transform) is Drop.IGNORED


@pytest.mark.parametrize("result", [None, "Order Placed", True, {"event": "a"}, said(OWN)])
@pytest.mark.parametrize("item", [said(OWN), Event("Order Placed")], ids=["record", "event"])
def test_transform_drops(item: Record | Event, result: object) -> None:
    """
    `None`, or anything else that is no event, drops this one.
    """
    assert seal(item, transform=lambda _: result) is Drop.TRANSFORM


@pytest.mark.parametrize(
    "fields",
    [
        {**WHOSE, **OWN},
        {"$user_id": "u", "$device_id": "x"},
        {"distinct_id": "", "$user_id": "u"},
        {"distinct_id": "anon", "$user_id": "u"},
        {"time": "soon", "ip": "here", "time_": "mine", "ip_": "mine"},
        {"time": NOW - 5, "ip": "203.0.113.7", "$insert_id": "order_17"},
        {"token": "mine", "alias": "mine", "token_": "other"},
        {**STAMPS, **WEAK, **ARGUMENTS},
        many("p", 300),
        {**many("p", 300), "time": "soon", "ip": "here"},
        {"time": "soon", "time_": "mine", "ip": "here", "ip_": "mine", **many("p", 300)},
    ],
)
def test_a_transform_that_changes_nothing_changes_nothing(fields: dict[str, Any]) -> None:
    """
    A record gives the same event whether `transform` looks at it or not.
    """
    record = said(fields, bound={"$device_id": "b", "plan": "pro"})

    assert event_of(record, transform=unchanged) == event_of(record)


# -- events by hand, and translations -------------------------------------------------------------


def test_an_event_needs_a_name_only() -> None:
    """
    Without anything else it is nobody's, happens now, has no place and gets an id.
    """
    event = Event("Order Placed")

    assert dataclasses.astuple(event) == ("Order Placed", "", {}, None, None, None)
    assert event_of(event) == {
        "event": "Order Placed",
        "properties": {
            "time": NOW_MS,
            "distinct_id": "",
            "$insert_id": MADE_UP,
            "ip": "0",
            "mp_lib": "mixpanel-export",
        },
    }


def test_an_event_says_everything() -> None:
    """
    Whatever is given is sent.
    """
    event = Event(
        "Order Placed",
        distinct_id="u-1",
        properties={"total": 31.5},
        time=datetime.fromisoformat("2023-11-14T12:00:00"),
        insert_id="order-17",
        ip="203.0.113.7",
    )

    assert properties_of(event) == {
        "time": 1_699_963_200_000,
        "distinct_id": "u-1",
        "$insert_id": "order-17",
        "ip": "203.0.113.7",
        "mp_lib": "mixpanel-export",
        "total": 31.5,
    }


def test_properties_may_say_what_the_fields_do_not() -> None:
    """
    Mixpanel's own names among the properties are understood, and the fields go before them.
    """
    names = {"distinct_id": "a", "time": NOW - 5, "$insert_id": "b", "ip": "203.0.113.7"}

    alone = properties_of(Event("Order Placed", properties=names))
    beside = properties_of(
        Event("Order Placed", properties=names, distinct_id="u", time=NOW, insert_id="c", ip="0")
    )

    assert [alone[name] for name in FIXED[:4]] == [NOW_MS - 5_000, "a", "b", "203.0.113.7"]
    assert [beside[name] for name in FIXED[:4]] == [NOW_MS, "u", "c", "0"]


@pytest.mark.parametrize("name", [each.name for each in dataclasses.fields(Event)])
def test_an_event_does_not_change(name: str) -> None:
    """
    No field of an event can be set again.
    """
    with pytest.raises(FrozenInstanceError):
        setattr(Event("Order Placed"), name, "other")


def test_events_are_values() -> None:
    """
    Events that say the same are equal and hash alike.
    """
    one, other = (Event("Order Placed", properties={"plan": "pro"}) for _ in range(2))

    assert one == other
    assert len({one, other}) == 1


def test_all_but_the_name_is_given_by_keyword() -> None:
    """
    Nobody takes an id for the properties.
    """
    with pytest.raises(TypeError):
        cast("Any", Event)("Order Placed", "u-1")


def test_translate_makes_an_event() -> None:
    """
    A record's translation has its name, identity, time and properties, in the given types.
    """
    total = Decimal("31.50")
    record = said(
        {"distinct_id": "u-1", "total": total, "ip": "203.0.113.7", "$insert_id": "order-17"},
        bound={"plan": "pro"},
    )

    assert translate(record, Settings()) == Event(
        "Order Placed",
        distinct_id="u-1",
        properties={"total": total, "plan": "pro"},
        time=NOW_MS,
        insert_id="order-17",
        ip="203.0.113.7",
    )


def test_translate_makes_nothing_of_what_is_no_event() -> None:
    """
    Settings decide, and where they do not, the default that is given.
    """
    assert translate(said(OWN), Settings(select="marked")) is None
    assert translate(said(OWN), Settings(), select="identified") is None
    assert translate(said(OWN), Settings()) is not None


def test_translate_does_not_transform() -> None:
    """
    `transform` is asked when an event is sealed.
    """
    event = translate(said(OWN), Settings(transform=lambda _: None))

    assert event is not None
    assert event.properties == OWN


# -- properties -----------------------------------------------------------------------------------


class Broken:
    """An object without a text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    def __bool__(self) -> bool:
        raise RuntimeError("neither")

    __repr__ = object.__repr__


class Label(str):
    """A text of an application's own type."""

    __slots__ = ()


# Long ones are made of few, since each character costs a draw.
characters = st.text(st.characters(), max_size=4)
texts = st.one_of(
    characters,
    st.sampled_from(["Order Placed", "  ", "x" * 255, "é" * 128, "a" + "😀" * 70, "\0" * 63]),
    characters.map(lambda text: text * 99),
)
ids = st.one_of(
    texts,
    st.none(),
    st.integers(),
    st.sampled_from(sorted(FORBIDDEN_IDS)),
    st.sampled_from(["", LONG_ID, "é" * 200, Broken(), b"raw"]),
)
zones = st.none() | st.just(timezone.utc) | st.just(TWO_HOURS_EAST)
moments = st.one_of(
    st.datetimes(timezones=zones),
    st.floats(),
    st.integers(),
    st.integers(0, 2_000_000_000),
    st.integers(0, 2_000_000_000_000),
    texts,
    st.none(),
)
leaves = st.one_of(
    texts,
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.decimals(),
    st.datetimes(timezones=zones),
    st.binary(max_size=5),
    st.builds(Broken),
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(texts, inner, max_size=3)
        | inner.map(lambda each: [each] * 300)
    ),
    max_leaves=5,
)
special = st.fixed_dictionaries(
    {},
    optional={
        "distinct_id": ids,
        "$user_id": ids,
        "$device_id": ids,
        "time": moments,
        "$insert_id": ids,
        "ip": texts | st.ip_addresses() | st.none() | st.integers(0, 5),
    },
)
plain_names = st.one_of(
    texts,
    st.sampled_from([*RESERVED, *STAMPS, *WEAK, "arg_0", "time_", "ip_", "token_", "mp_lib"]),
    st.integers(),
    st.none(),
)
crowds: st.SearchStrategy[dict[Any, Any]] = st.just({}) | st.integers(240, 300).map(
    lambda count: many("p", count)
)
marks: st.SearchStrategy[dict[Any, Any]] = st.just({}) | st.fixed_dictionaries(
    {"mixpanel.event": st.booleans() | texts}
)


@st.composite
def mappings(draw: st.DrawFn) -> dict[Any, Any]:
    """
    Make fields, of which some have a meaning.
    """
    parts: list[dict[Any, Any]] = [
        draw(special),
        draw(st.dictionaries(plain_names, values, max_size=4)),
        draw(crowds),
        draw(marks),
    ]
    order = draw(st.permutations(range(len(parts))))
    return {name: value for index in order for name, value in parts[index].items()}


loggers = st.sampled_from(["", "shop", "shop.cart", "django.request", "mixpanel_export.queue"])
records = st.builds(
    Record,
    name=texts,
    time=st.floats(NOW - 1e9, NOW),
    fields=mappings(),
    logger=loggers,
    bound=st.just({}) | st.dictionaries(texts, values, max_size=2) | special,
)
events = st.builds(
    Event,
    texts,
    distinct_id=texts | st.sampled_from(["", LONG_ID, "anon"]),
    properties=mappings(),
    time=st.one_of(st.none(), st.datetimes(timezones=zones), st.floats(), st.integers()),
    insert_id=st.none() | texts,
    ip=st.none() | texts,
)
doors = st.fixed_dictionaries(
    {},
    optional={
        "select": st.sampled_from(["marked", "identified", "structured", "all"]),
        "loggers": st.sampled_from([["shop"], ["django"]]),
        "transform": st.just(unchanged),
        "super_properties": st.dictionaries(texts, values, max_size=2) | crowds,
    },
)


@steadily
@given(records, doors)
def test_every_record_gives_a_valid_line_or_none(record: Record, door: dict[str, Any]) -> None:
    """
    Whatever an application logs, its line is one that Mixpanel takes, or there is none.
    """
    line = seal(record, default="structured", **door)

    if isinstance(line, bytes):
        assert_line(line)
    else:
        assert line is Drop.IGNORED


@steadily
@given(events, doors)
def test_every_event_gives_a_valid_line_or_none(event: Event, door: dict[str, Any]) -> None:
    """
    Whatever is made by hand, its line is one that Mixpanel takes, unless its name is blank.
    """
    line = seal(event, **door)

    assert (line is Drop.IGNORED) == (not event.name.strip())
    if isinstance(line, bytes):
        assert_line(line)


@steadily
@given(records, doors)
def test_translating_and_sealing_is_sealing(record: Record, door: dict[str, Any]) -> None:
    """
    The event that a record translates to is the one that is sealed from it.
    """
    door.pop("transform", None)
    translator = Translator(Settings(**door), select="structured")

    event = translator.translate(record)
    line = translator.seal(record, lambda: MADE_UP, lambda: NOW)

    if event is None:
        assert line is Drop.IGNORED
    else:
        assert isinstance(line, bytes)
        again = translator.seal(event, lambda: MADE_UP, lambda: NOW)
        assert isinstance(again, bytes)
        assert orjson.loads(again) == orjson.loads(line)


@effort.steadily(50)
@given(records)
def test_the_same_record_gives_the_same_bytes(record: Record) -> None:
    """
    Sealed again, by the same door or another one, a record reads the same.
    """
    translator = Translator(Settings())

    lines = [translator.seal(record, lambda: MADE_UP, lambda: NOW) for _ in range(2)]

    assert lines[0] == lines[1] == seal(record)


@steadily
@given(
    st.dictionaries(
        st.text("abcxyz.-_ é", min_size=1, max_size=20).filter(
            lambda name: not name.startswith(("dd.", "otel"))
        ),
        st.one_of(
            st.text(max_size=60),
            st.booleans(),
            st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER),
            st.floats(allow_nan=False, allow_infinity=False),
            st.lists(st.text(max_size=20), max_size=5),
        ),
        max_size=40,
    )
)
def test_what_fits_arrives_as_it_is(fields: dict[str, Any]) -> None:
    """
    Ordinary properties arrive under their names and with their values, and nothing else beside.
    """
    for item in (said(fields), Event("Order Placed", properties=fields)):
        found = properties_of(item)

        assert fields.items() <= found.items()
        assert found.keys() == {*FIXED, *fields}


def test_the_hosts_are_not_in_a_line() -> None:
    """
    A line can be sent anywhere.
    """
    line = seal(said(OWN), base_url="https://proxy.example", region="eu")

    assert isinstance(line, bytes)
    assert not any(host.encode() in line for host in [*HOSTS.values(), "proxy.example"])


# -- privacy, samples, budgets, hints, profiles ----------------------------------------------------


def test_a_name_that_announces_a_secret_hides_its_value() -> None:
    """
    Of a record, of an event made by hand, and of what every event carries.
    """
    fields = {"password": "hunter2", "plan": "pro", "apiKey": None}
    for item in (said(fields), Event("Order Placed", properties=fields)):
        found = properties_of(item, super_properties={"client_secret": "psst"})

        assert found["password"] == "[scrubbed]"
        assert found["client_secret"] == "[scrubbed]"
        assert found["plan"] == "pro"
        assert "apiKey" not in found


def test_the_name_of_an_event_holds_no_secret() -> None:
    """
    An f-string in the message puts anything into it.
    """
    record = said({"total": 5}, name="Login with token=abcd1234")

    assert event_of(record)["event"] == "Login with token=[scrubbed]"


def test_lists_of_names_decide_what_is_sent() -> None:
    """
    `deny` leaves out, `allow` leaves out the rest; neither touches whose event it is, or when.
    """
    fields = {"distinct_id": "u-1", "plan": "pro", "note": "x", "password": "p", "time": NOW - 5}

    def sent(**rules: Any) -> set[str]:  # noqa: ANN401 -- any setting
        found = properties_of(said(fields), **rules)
        assert (found["distinct_id"], found["time"]) == ("u-1", NOW_MS - 5_000)
        return set(found) - set(FIXED)

    assert sent(deny=("note",)) == {"plan", "password"}
    assert sent(allow=("plan", "distinct_id")) == {"plan"}
    assert sent(allow=("plan", "note"), deny=("note",)) == {"plan"}
    assert properties_of(said(fields), allow=("password",))["password"] == "p"
    assert properties_of(said(fields), scrub=False)["password"] == "p"


def test_a_sample_and_a_budget_drop_events() -> None:
    """
    They are asked last, with the user and the name that would be sent.
    """
    assert seal(said({"distinct_id": "u-1"}), sample=0.0) is Drop.SAMPLED
    assert seal(Event("A", distinct_id="u-1"), sample=0.0) is Drop.SAMPLED
    assert isinstance(seal(said({"distinct_id": "u-1"}), sample=1.0), bytes)

    translator = Translator(Settings(budget=1))
    found = [translator.seal(said(OWN), lambda: MADE_UP, lambda: NOW) for _ in range(2)]
    assert isinstance(found[0], bytes)
    assert found[1] is Drop.BUDGET


def test_profiles_are_never_sampled() -> None:
    """
    A user whose profile misses an update would be wrong for ever.
    """
    record = said({"distinct_id": "u-1", "$set": {"plan": "pro"}})
    translator = Translator(Settings(token="t", sample=0.0))

    event, update = cast("Any", translator.seal(record, lambda: MADE_UP, lambda: NOW))

    assert event is Drop.SAMPLED
    assert orjson.loads(update.line)["$set"] == {"plan": "pro"}


def test_operations_on_the_profile_leave_the_event() -> None:
    """
    Each becomes an update of its own, of the user whose event it is.
    """
    fields = {
        "$set": {"plan": "pro", "password": "p"},
        "$add": {"logins": 1},
        "$unset": ["old"],
        "total": 5,
    }
    translator = Translator(Settings(token="t"))
    record = said(fields, bound={"distinct_id": "u-1"})

    event, *updates = cast("Any", translator.seal(record, lambda: MADE_UP, lambda: NOW))

    assert set(orjson.loads(event)["properties"]) == {*FIXED, "total"}
    assert [orjson.loads(update.line) for update in updates] == [
        {"$distinct_id": "u-1", "$ip": "0", "$set": {"plan": "pro", "password": "[scrubbed]"}},
        {"$distinct_id": "u-1", "$ip": "0", "$add": {"logins": 1}},
        {"$distinct_id": "u-1", "$ip": "0", "$unset": ["old"]},
    ]
    assert [update.repeatable for update in updates] == [True, False, True]


def test_operations_need_a_user_and_a_token() -> None:
    """
    Without them the event goes out all the same.
    """
    nobody = Translator(Settings(token="t"))
    stranger = Translator(
        Settings(service_account="a", service_secret="s", project_id="1"),
    )
    fields = {"$set": {"plan": "pro"}}

    for translator, owner, drop in (
        (nobody, {}, Drop.NO_IDENTITY),
        (stranger, {"distinct_id": "u-1"}, Drop.NO_TOKEN),
    ):
        record = said({**owner, **fields})
        event, update = cast("Any", translator.seal(record, lambda: MADE_UP, lambda: NOW))
        assert isinstance(event, bytes)
        assert update is drop


def test_operations_are_properties_of_events_made_by_hand() -> None:
    """
    There they have methods of their own.
    """
    assert properties_of(Event("A", properties={"$set": {"plan": "pro"}}))["$set"]


def test_a_transform_does_not_see_operations() -> None:
    """
    They are done for the user of the record, whatever becomes of the event.
    """
    translator = Translator(Settings(token="t", transform=lambda _event: None))
    record = said({"distinct_id": "u-1", "$set": {"plan": "pro"}})

    event, update = cast("Any", translator.seal(record, lambda: MADE_UP, lambda: NOW))

    assert event is Drop.TRANSFORM
    assert orjson.loads(update.line)["$distinct_id"] == "u-1"


def hints(*records: Record | Event, **fields: Any) -> list[str]:  # noqa: ANN401 -- any setting
    """
    Return the kinds of hints that sealing some items gives.
    """
    found: list[str] = []
    translator = Translator(
        Settings(**fields), select="structured", hint=lambda kind, _text: found.append(kind)
    )
    for record in records:
        translator.seal(record, lambda: MADE_UP, lambda: NOW)
    return found


def test_users_hear_of_ids_and_times_that_were_replaced() -> None:
    """
    Not of what says nobody on purpose.
    """
    assert hints(said({"distinct_id": "anonymous"})) == ["ids"]
    assert hints(Event("A", distinct_id="null")) == ["ids"]
    assert hints(said({"distinct_id": ""}), said({"distinct_id": None}), Event("A")) == []
    assert hints(said({"time": "soon"}), said({"time": NOW})) == ["time"]
    assert hints(said({"note": "x" * 300})) == ["cut"]


@pytest.mark.parametrize("verb", ["$identify", "$create_alias", "$merge"])
def test_records_join_no_users(verb: str) -> None:
    """
    Neither by their own name, nor by a mark, nor by what a transform makes of it; users hear of it.
    """
    rename = cast("Any", lambda event: replace(event, name=verb))

    assert hints(said(OWN, name=verb)) == ["verb"]
    assert hints(said({**OWN, "mixpanel_event": verb})) == ["verb"]
    assert hints(said(OWN), transform=rename) == ["verb"]
    assert hints(Event("A"), transform=rename) == ["verb"]
    translator = Translator(Settings())
    for _ in range(2):
        record = said(OWN, name=verb)
        assert translator.seal(record, lambda: MADE_UP, lambda: NOW) is Drop.IGNORED


def test_users_hear_of_names_without_end() -> None:
    """
    Of each name beyond the bound, so that a count can be given.
    """
    many = [said(OWN, name=f"Order {number}") for number in range(MANY_NAMES + 2)]

    assert hints(*many) == ["names", "names"]


def test_users_hear_of_the_first_record_that_is_no_event() -> None:
    """
    Once, and not of records that are of the delivery itself.
    """
    assert hints(said(logger="httpx"), said(name="warm"), said(name="hot")) == ["ignored"]
    assert hints(said({"mixpanel_event": False})) == ["ignored"]


@pytest.mark.parametrize(
    ("mark", "name"),
    [
        (True, "Order Placed"),
        (7, "Order Placed"),
        (Label("Paid"), "Paid"),
        (Broken(), "Order Placed"),
        (0, None),
        (Label(""), None),
        ("", None),
    ],
)
def test_marks_may_be_anything(mark: object, name: str | None) -> None:
    """
    What cannot say whether it is true counts as a mark.
    """
    record = said({"mixpanel.event": mark})

    assert is_event(record) == (name is not None)
    if name is not None:
        assert event_of(record)["event"] == name


def test_names_without_end_do_not_fill_the_memory() -> None:
    """
    A program that makes them up at run time still sends all of its events.
    """
    translator = Translator(Settings())

    for number in range(MEMORY + 1):
        line = translator.seal(said(name=f"Order {number}"), lambda: MADE_UP, lambda: NOW)
        assert isinstance(line, bytes)

    assert len(translator.names) == 1


def test_users_without_end_do_not_fill_the_memory() -> None:
    """
    Nor is one taken for another, however often they come again, and wherever they are named.
    """
    translator = Translator(Settings())

    long = "x" * 300
    usual = {
        '"quoted\\\n"': '"quoted\\\n"',
        " spaced ": " spaced ",
        f"half {HALF}": "half ?",
        long: hashlib.sha256(long.encode()).hexdigest(),
        7: "7",
        Label("someone-7"): "someone-7",
        "7": "7",
        "c": "c",
    }
    refused = dict.fromkeys(("anonymous", " Anonymous ", "NULL", "0", "-1", NIL, f" {NIL}", ""), "")

    for number in range(4 * USERS + WORTH):
        users: dict[Any, str] = {f"user-{number // 2}": f"user-{number // 2}", **usual, **refused}
        for user, owner in users.items():
            for item in (
                said({"distinct_id": user}),
                by_hand(distinct_id=user),
                by_hand(properties={"distinct_id": user}),
            ):
                line = translator.seal(item, lambda: MADE_UP, lambda: NOW)
                assert isinstance(line, bytes)
                assert orjson.loads(line)["properties"]["distinct_id"] == owner

    assert 0 < len(translator.owners) <= USERS


def test_half_a_character_spoils_nothing_beside_it() -> None:
    """
    It becomes a question mark; lists, numbers and objects stay what they are.
    """
    found = properties_of(said({"distinct_id": f"u{HALF}", "tags": ["a", "b"], "all": {"n": [1]}}))

    assert found["distinct_id"] == "u?"
    assert found["tags"] == ["a", "b"]
    assert found["all"] == {"n": [1]}
