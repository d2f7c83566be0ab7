"""
Spans as events.
"""

from __future__ import annotations

import re
import time
from contextlib import closing
from typing import Any

import pytest
from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
)

from mixpanel_export import Event, bound
from tests.otel.conftest import Shop

WHO = {"user.id": "u-1"}
SECOND = 1_000_000_000


def parent(*, remote: bool) -> context_api.Context:
    """
    Make a context whose current span was started here or in another service.
    """
    place = SpanContext(0xABC, 0xDEF, is_remote=remote, trace_flags=TraceFlags(1))
    return trace.set_span_in_context(NonRecordingSpan(place))


def test_a_span_is_an_event(shop: Shop) -> None:
    """
    With the identity and the attributes of the span, its ids, kind, status and duration.
    """
    start = time.time_ns()
    span = shop.tracer.start_span(
        "Order Placed",
        kind=SpanKind.SERVER,
        attributes={"user.id": "u-1", "total": 31.5, "http.route": "/orders"},
        start_time=start,
    )
    span.set_status(StatusCode.ERROR, "card number 4111 declined")
    span.end(start + SECOND // 4)

    (event,) = shop.events()
    place = span.get_span_context()
    trace_id, span_id = f"{place.trace_id:032x}", f"{place.span_id:016x}"
    assert event["event"] == "Order Placed"
    assert event["properties"] == {
        "time": start // 1_000_000,
        "distinct_id": "u-1",
        "$insert_id": trace_id[12:] + span_id,
        "ip": "0",
        "mp_lib": "mixpanel-export",
        "$user_id": "u-1",
        "trace_id": trace_id,
        "span_id": span_id,
        "span_kind": "server",
        "span_status": "error",
        "$duration": 0.25,
        "total": 31.5,
        "http_route": "/orders",
    }


def test_the_resource_says_where_it_comes_from() -> None:
    """
    The service and its environment, and never an identity.
    """
    resource = {
        "service.name": "checkout",
        "deployment.environment.name": "prod",
        "host.name": "h",
        "user.id": "u-9",
        "device.id": "d-9",
    }
    with closing(Shop(resource, select="all")) as shop:
        shop.tracer.start_span("A").end()
        shop.tracer.start_span("B").end()

        first, second = (event["properties"] for event in shop.events())

    for found in (first, second):
        assert (found["service_name"], found["environment"]) == ("checkout", "prod")
        assert found["distinct_id"] == ""
        assert "host_name" not in found


# -- which spans ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selection", "names"),
    [
        (None, {"root", "remote", "marked"}),
        ("entry", {"root", "remote", "marked"}),
        ("marked", {"marked"}),
        ("identified", {"marked", "named"}),
        ("structured", {"marked", "named", "own"}),
        (
            "all",
            {
                *("root", "remote", "marked", "named", "own", "inner", "nobody", "forbidden"),
                *("client", "producer"),
            },
        ),
        (lambda record: record.name == "inner", {"marked", "inner"}),
    ],
)
def test_which_spans_are_events(selection: Any, names: set[str]) -> None:  # noqa: ANN401 -- text or callable
    """
    By default the entries that are about somebody; marks go before any selection.
    """
    with closing(Shop(select=selection)) as shop:
        start = shop.tracer.start_span
        inside = parent(remote=False)
        start("root", attributes=WHO).end()
        start("remote", parent(remote=True), attributes=WHO).end()
        start("marked", inside, attributes={"mixpanel.event": True}).end()
        start("never", attributes={**WHO, "mixpanel.event": False}).end()
        start("named", inside, attributes={"mixpanel.distinct_id": "u-1"}).end()
        start("own", inside, attributes={"total": 1}).end()
        start("inner", inside, attributes=WHO).end()
        start("nobody").end()
        start("forbidden", attributes={"user.id": "anonymous"}).end()
        start("client", kind=SpanKind.CLIENT, attributes=WHO).end()
        start("producer", kind=SpanKind.PRODUCER, attributes=WHO).end()

        assert set(shop.names()) == names
        assert shop.pipeline.stats.ignored == 11 - len(names)


def test_a_mark_names_the_event(shop: Shop) -> None:
    """
    Text in ``mixpanel.event`` goes over the span's name, and is no property.
    """
    shop.tracer.start_span("POST /orders", attributes={"mixpanel.event": "Order Placed"}).end()

    (event,) = shop.events()
    assert event["event"] == "Order Placed"
    assert "mixpanel.event" not in event["properties"]


def test_spans_of_frameworks_are_spans_like_others(shop: Shop) -> None:
    """
    The rule about frameworks is for what they log: most spans are theirs.
    """
    tracer = shop.traced.get_tracer("django")

    tracer.start_span("GET /", attributes={"user.id": "u-1"}).end()

    assert shop.names() == ["GET /"]


def test_scopes_can_be_chosen() -> None:
    """
    `loggers` names the instrumentation scopes that are looked at.
    """
    with closing(Shop(loggers=["shop"], select="all")) as shop:
        for scope in ("shop", "shop.cart", "django", ""):
            shop.traced.get_tracer(scope).start_span(f"in {scope}").end()

        assert shop.names() == ["in shop", "in shop.cart"]


# -- who, when ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "distinct_id"),
    [
        ({"mixpanel.distinct_id": "a", "distinct_id": "b", "user.id": "c"}, "a"),
        ({"user.id": "c", "enduser.id": "d"}, "c"),
        ({"app.installation.id": "i"}, "$device:i"),
        ({"user.id": "c", "device.id": "d"}, "c"),
        ({"distinct_id": "", "user.id": "c"}, ""),
        ({"user.id": 7}, "7"),
        ({"session.id": "s"}, ""),
        ({}, ""),
    ],
)
def test_who_it_is_about(attributes: dict[str, Any], distinct_id: str) -> None:
    """
    Our own names, then the conventions'; a session is nobody.
    """
    with closing(Shop(select="all")) as shop:
        shop.tracer.start_span("A", attributes=attributes).end()

        assert shop.only()["distinct_id"] == distinct_id


def test_a_long_id_is_hashed(shop: Shop) -> None:
    """
    Cut, two users could become one.
    """
    shop.tracer.start_span("A", attributes={"user.id": "x" * 300}).end()

    assert re.fullmatch("[0-9a-f]{64}", shop.only()["distinct_id"])


@pytest.mark.parametrize(
    "nanoseconds", [1, SECOND, 31_536_000 * SECOND, 4_000_000_000 * SECOND, -SECOND]
)
def test_a_time_that_cannot_be_is_now(shop: Shop, nanoseconds: int) -> None:
    """
    Mixpanel would reject the event; what was said is kept as a property.
    """
    before = time.time_ns() // 1_000_000
    shop.tracer.start_span("A", attributes=WHO, start_time=nanoseconds).end(nanoseconds + 1)

    found = shop.only()
    assert before <= found["time"] <= time.time_ns() // 1_000_000
    # Numbers that a double cannot hold are text.
    assert found["time_"] in {nanoseconds, str(nanoseconds)}


@pytest.mark.parametrize("last", range(0, 1_000, 37))
def test_the_millisecond_is_exact(shop: Shop, last: int) -> None:
    """
    No float on the way makes it the one before.
    """
    start = 1_700_000_000 * SECOND + last * 1_000_000
    shop.tracer.start_span("A", attributes=WHO, start_time=start).end()

    assert shop.only()["time"] == start // 1_000_000


def test_ours_can_be_said_on_purpose(shop: Shop) -> None:
    """
    Time, address and id, under names that nobody uses by accident; plain names are properties.
    """
    attributes: dict[str, Any] = {
        **WHO,
        "mixpanel.time": 1_600_000_000,
        "mixpanel.ip": "203.0.113.7",
        "mixpanel.insert_id": "order-1",
        "time": 5,
        "ip": "10.0.0.1",
        "$insert_id": "x",
        "bucket": "t",
        "$set": "y",
    }
    shop.tracer.start_span("A", attributes=attributes).end()

    found = shop.only()
    assert found["time"] == 1_600_000_000_000
    assert found["ip"] == "203.0.113.7"
    assert found["$insert_id"] == "order-1"
    renamed = {name: found[name] for name in ("time_", "ip_", "$insert_id_", "bucket_", "$set_")}
    assert renamed == {
        "time_": 5,
        "ip_": "10.0.0.1",
        "$insert_id_": "x",
        "bucket_": "t",
        "$set_": "y",
    }
    assert not {"bucket", "$set"} & found.keys()


@pytest.mark.parametrize(
    ("address", "ip"),
    [("203.0.113.7", "203.0.113.7"), ("2001:DB8::1", "2001:db8::1"), ("/run/shop.sock", "0")],
)
def test_the_clients_address_is_the_place(shop: Shop, address: str, ip: str) -> None:
    """
    If it is an address; it may be a path.
    """
    shop.tracer.start_span("A", attributes={**WHO, "client.address": address}).end()

    assert shop.only()["ip"] == ip


# -- what is added to a span ----------------------------------------------------------------------


def test_an_event_of_a_span_is_an_event(shop: Shop) -> None:
    """
    With the span's identity and place, its own attributes, time and a stable id.
    """
    with bound(plan="pro"):
        span = shop.tracer.start_span(
            "POST /orders", attributes={**WHO, "client.address": "203.0.113.7", "total": 3}
        )
    moment = time.time_ns() - 5 * SECOND
    span.add_event("Coupon Used", {"coupon": "SUMMER"}, timestamp=moment)
    span.add_event("Coupon Used", {"coupon": "WINTER"})
    span.end()

    _, first, second = (event["properties"] for event in shop.events())
    place = span.get_span_context()
    assert first == {
        "time": moment // 1_000_000,
        "distinct_id": "u-1",
        "$insert_id": first["$insert_id"],
        "ip": "203.0.113.7",
        "mp_lib": "mixpanel-export",
        "$user_id": "u-1",
        "trace_id": f"{place.trace_id:032x}",
        "span_id": f"{place.span_id:016x}",
        "coupon": "SUMMER",
        "plan": "pro",
    }
    assert re.fullmatch("[0-9a-f]{32}", first["$insert_id"])
    assert first["$insert_id"] != second["$insert_id"]


def test_the_id_of_a_spans_event_does_not_change(shop: Shop) -> None:
    """
    Exported twice, by two processors say, it is still one.
    """
    span = shop.tracer.start_span("A", attributes=WHO)
    span.add_event("B")
    span.end()

    shop.spans.export([span])  # type: ignore[list-item] # the SDK's own span, as processors get it

    ids = [event["properties"]["$insert_id"] for event in shop.events()]
    assert ids[:2] == ids[2:]
    assert ids[0] != ids[1]


def test_an_event_of_a_span_may_be_about_somebody_else(shop: Shop) -> None:
    """
    Its own identity replaces the span's as a whole.
    """
    span = shop.tracer.start_span("A", attributes={"user.id": "u-1", "device.id": "d-1"})
    span.add_event("Invited", {"distinct_id": "u-2"})
    span.end()

    _, invited = shop.events()
    assert invited["properties"]["distinct_id"] == "u-2"
    assert not {"$user_id", "$device_id"} & invited["properties"].keys()


def test_exceptions_are_no_events(shop: Shop) -> None:
    """
    What `record_exception` adds stays where it is, unless it is marked.
    """
    span = shop.tracer.start_span("A", attributes=WHO)
    span.record_exception(ValueError("no"))
    span.record_exception(ValueError("yes"), attributes={"mixpanel.event": "Failed"})
    span.end()

    assert shop.names() == ["A", "Failed"]
    failed = shop.events()[1]["properties"]
    assert failed["exception_type"] == "ValueError"
    assert not {"exception_message", "exception_stacktrace"} & failed.keys()


@pytest.mark.parametrize("selection", ["entry", "marked", "identified", "structured"])
def test_events_of_a_span_that_is_none_are_none_but_for_marks(selection: str) -> None:
    """
    Their mark counts whatever their span is; they are not even counted otherwise.
    """
    with closing(Shop(select=selection)) as shop:
        span = shop.tracer.start_span("A", attributes={"http.route": "/"})
        span.add_event("B", {"total": 1})
        span.add_event("C", {"mixpanel.event": True})
        span.add_event("D", {"mixpanel.event": False})
        span.end()

        assert shop.names() == ["C"]
        assert shop.pipeline.stats.ignored == 2


def test_events_of_a_chosen_span_are_not_chosen_again() -> None:
    """
    A callable decides on the span; what was added to it comes along.
    """
    with closing(Shop(select=lambda record: record.name == "A")) as shop:
        for name in ("A", "B"):
            span = shop.tracer.start_span(name)
            span.add_event(f"in {name}")
            span.end()

        assert shop.names() == ["A", "in A"]


def test_a_transform_may_drop_the_span_and_keep_its_events() -> None:
    """
    Each is an event of its own.
    """

    def only_inner(event: Event) -> Event | None:
        return None if event.name == "A" else event

    with closing(Shop(transform=only_inner)) as shop:
        span = shop.tracer.start_span("A", attributes=WHO)
        span.add_event("B")
        span.end()

        assert shop.names() == ["B"]
        assert shop.events()[0]["properties"]["distinct_id"] == "u-1"


# -- what it is made of ---------------------------------------------------------------------------


def test_parts_may_be_missing(shop: Shop) -> None:
    """
    Others make spans too, importers and tests among them: a name and its ids are enough.
    """
    bare = ReadableSpan("A", SpanContext(0xABC, 0xDEF, is_remote=False), attributes=WHO)
    nobodys = ReadableSpan("B", SpanContext(0xABC, 0xDEE, is_remote=False))

    result = shop.spans.export([bare, nobodys])

    found = shop.only()
    assert result is SpanExportResult.SUCCESS
    assert not {"$duration", "span_status", "service_name"} & found.keys()
    assert found["time"] == pytest.approx(time.time() * 1000, abs=60_000)


def test_without_a_scope_it_is_in_no_chosen_one() -> None:
    """
    With `loggers` a span must say where it is from.
    """
    with closing(Shop(select="all", loggers=["shop"])) as shop:
        shop.spans.export([ReadableSpan("A", SpanContext(0xABC, 0xDEF, is_remote=False))])

        assert shop.names() == []
