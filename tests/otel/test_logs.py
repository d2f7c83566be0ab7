"""
OpenTelemetry's log records as events.
"""

from __future__ import annotations

import logging
import re
import time
from contextlib import closing
from typing import Any

import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExportResult

from tests.otel.conftest import NOWHERE, Shop

WHO = {"distinct_id": "u-1"}


def test_a_log_record_is_an_event(shop: Shop) -> None:
    """
    With its identity, its attributes, its severity and where it was said.
    """
    moment = time.time_ns() - 3_000_000_000
    shop.log.emit(
        timestamp=moment,
        severity_text="INFO",
        severity_number=SeverityNumber.INFO,
        event_name="Order Placed",
        body="order 4711 was placed by u-1",
        attributes={"user.id": "u-1", "total": 31.5},
    )

    (event,) = shop.events()
    assert event["event"] == "Order Placed"
    assert event["properties"] == {
        "time": moment // 1_000_000,
        "distinct_id": "u-1",
        "$insert_id": event["properties"]["$insert_id"],
        "ip": "0",
        "mp_lib": "mixpanel-export",
        "$user_id": "u-1",
        "severity": "INFO",
        "logger": "shop",
        "total": 31.5,
    }


def test_it_belongs_to_a_trace(shop: Shop) -> None:
    """
    If there was a span at that moment.
    """
    with shop.tracer.start_as_current_span("A") as span:
        shop.log.emit(event_name="B")

    place = span.get_span_context()
    found = shop.only()
    assert found["trace_id"] == f"{place.trace_id:032x}"
    assert found["span_id"] == f"{place.span_id:016x}"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"timestamp": 1_700_000_000_123_000_000}, 1_700_000_000_123),
        (
            {"timestamp": None, "observed_timestamp": 1_700_000_000_456_000_000},
            1_700_000_000_456,
        ),
    ],
)
def test_when_it_was_said(shop: Shop, given: dict[str, Any], expected: int) -> None:
    """
    When it happened, else when it was noticed.
    """
    shop.log.emit(event_name="A", **given)

    assert shop.only()["time"] == expected


def test_the_id_is_its_own_or_made_up(shop: Shop) -> None:
    """
    ``log.record.uid`` makes it one however often it is exported; a purpose goes before that.
    """
    uid = "01BX5ZZKBKACTAV9WEVGEMMVRZ"
    shop.log.emit(event_name="A", attributes={"log.record.uid": uid})
    shop.log.emit(event_name="A", attributes={"log.record.uid": uid, "mixpanel.insert_id": "i-1"})
    shop.log.emit(event_name="A", attributes={"$insert_id": "x"})
    shop.log.emit(event_name="A")

    ids = [event["properties"]["$insert_id"] for event in shop.events()]
    assert ids[:2] == [uid, "i-1"]
    assert all(re.fullmatch("[0-9a-f]{25,}", each) for each in ids[2:])
    assert ids[2] != ids[3]


# -- which log records ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selection", "names"),
    [
        (None, {"event", "attribute", "marked", "named"}),
        ("identified", {"event", "attribute", "marked", "named"}),
        ("marked", {"marked"}),
        ("entry", {"marked"}),
        ("structured", {"event", "attribute", "marked", "named", "own"}),
        ("all", {"event", "attribute", "marked", "named", "own", "user", "plain"}),
        (lambda record: record.name == "plain", {"marked", "plain"}),
    ],
)
def test_which_log_records_are_events(selection: Any, names: set[str]) -> None:  # noqa: ANN401 -- text or callable
    """
    By default what is called an event, and what Mixpanel's own names say whose it is.
    """
    with closing(Shop(select=selection)) as shop:
        emit = shop.log.emit
        emit(event_name="event")
        emit(body="x", attributes={"otel.event.name": "attribute"})
        emit(body="marked", attributes={"mixpanel.event": True})
        emit(event_name="never", attributes={"mixpanel.event": False})
        emit(body="named", attributes=WHO)
        emit(body="own", attributes={"total": 1})
        emit(body="user", attributes={"user.id": "u-1", "code.lineno": 7})
        emit(body="plain")

        assert set(shop.names()) == names
        assert shop.pipeline.stats.ignored == 8 - len(names)


@pytest.mark.parametrize("scope", ["mixpanel_export", "httpx", "httpcore.connection"])
def test_our_own_records_are_none(shop: Shop, scope: str) -> None:
    """
    What we and our HTTP client log is not sent, whatever it says: it would have no end.
    """
    attributes: dict[str, Any] = {**WHO, "mixpanel.event": True}
    shop.logged.get_logger(scope).emit(event_name="A", attributes=attributes)

    assert shop.names() == []


def test_a_framework_is_heard_about_users_only() -> None:
    """
    Its log records describe itself unless they say whose they are.
    """
    with closing(Shop(select="all")) as shop:
        log = shop.logged.get_logger("django.request")
        log.emit(body="A", attributes={"status": 500})
        log.emit(body="B", attributes=WHO)
        log.emit(event_name="C")

        assert shop.names() == ["B", "C"]


def test_loggers_can_be_chosen() -> None:
    """
    `loggers` names the scopes, which are loggers' names where `logging` feeds OpenTelemetry.
    """
    with closing(Shop(loggers=["shop"])) as shop:
        for scope in ("shop", "shop.cart", "other"):
            shop.logged.get_logger(scope).emit(event_name=f"in {scope}")

        assert shop.names() == ["in shop", "in shop.cart"]


# -- its name -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"event_name": "A", "body": "B"}, "A"),
        ({"event_name": "A", "attributes": {"mixpanel.event": "C"}}, "C"),
        ({"attributes": {"otel.event.name": "D", "event.name": "E"}}, "D"),
        ({"attributes": {"event.name": "E"}, "body": "B"}, "E"),
        ({"attributes": WHO, "body": "Order Placed"}, "Order Placed"),
    ],
)
def test_what_names_it(shop: Shop, given: dict[str, Any], name: str) -> None:
    """
    The mark, the event's name wherever it is, a body that looks like a name.
    """
    shop.log.emit(**given)

    assert shop.names() == [name]


def test_what_nothing_names_is_explained_once(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """
    A text with numbers in it would make each record an event of its own kind.
    """
    shop.log.emit(body="cache is warm after 1500 ms")
    shop.log.emit(body="order 4711 placed", attributes={**WHO, "mixpanel.event": False})
    before = len(caplog.records)
    shop.log.emit(body="order 4711 placed", attributes=WHO)
    shop.log.emit(body="order 4712 placed", attributes={"mixpanel.event": True})

    assert shop.names() == []
    assert shop.pipeline.stats.ignored == 4
    assert before == 0
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "event_name" in caplog.text


@pytest.mark.parametrize("body", [None, b"x", 7, ["x"], {"message": "x"}, {"a": {"b": [1, None]}}])
def test_any_body_is_taken(shop: Shop, body: Any) -> None:  # noqa: ANN401 -- any body
    """
    It is not sent; only a text can name an event.
    """
    shop.log.emit(body=body, event_name="A", attributes={**WHO, "list": ("a", None)})

    found = shop.only()
    assert found["list"] == ["a"]
    assert found.keys() & {"body", "message"} == set()


def test_texts_are_sent_if_they_are_asked_for() -> None:
    """
    `include` brings the body, and what an exception said and where.
    """
    attributes = {
        "exception.type": "ValueError",
        "exception.message": "no such user",
        "exception.stacktrace": "Traceback\n  File a",
    }
    with closing(Shop(include=["message", "stack"])) as shop:
        shop.log.emit(event_name="A", body="failed for u-1", attributes=attributes)
        shop.log.emit(event_name="B")

        first, second = (event["properties"] for event in shop.events())

    assert first["message"] == "failed for u-1"
    assert first["exception_message"] == "no such user"
    assert first["stack"] == ["Traceback", "  File a"]
    assert "message" not in second


# -- what it is made of ---------------------------------------------------------------------------


def test_parts_may_be_missing(shop: Shop) -> None:
    """
    A record without time, scope, attributes and place is one too.
    """
    bare = ReadableLogRecord(LogRecord(event_name="A"), NOWHERE)

    result = shop.logs.export([bare])

    found = shop.only()
    assert result is LogRecordExportResult.SUCCESS
    assert found.keys() == {"time", "distinct_id", "$insert_id", "ip", "mp_lib"}
    assert found["time"] == pytest.approx(time.time() * 1000, abs=60_000)


def test_attributes_may_be_any_mapping(shop: Shop) -> None:
    """
    Importers bring their own.
    """

    class Frozen(dict[str, Any]):
        copy = None  # type: ignore[assignment] # a mapping that cannot be copied

    record = LogRecord(event_name="A", attributes=Frozen(total=3), context=Context())

    shop.logs.export((ReadableLogRecord(record, NOWHERE),))

    assert shop.only()["total"] == 3
