"""
What is bound reaches exporters on other threads.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timezone
from typing import Any, cast

import orjson
import pytest
from opentelemetry import baggage
from opentelemetry._logs import LogRecord
from opentelemetry.context import Context
from opentelemetry.sdk._logs import LoggerProvider, ReadWriteLogRecord
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, InMemoryLogRecordExporter
from opentelemetry.sdk.trace import Span, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from mixpanel_export import Settings, SettingsError, bind, bound, clear
from mixpanel_export._process import delivering
from mixpanel_export.otel import (
    MixpanelContextLogProcessor,
    MixpanelContextSpanProcessor,
    MixpanelLogRecordExporter,
    MixpanelSpanExporter,
)
from mixpanel_export.testing import ScriptedTransport
from tests.otel.conftest import NOWHERE, Shop


@pytest.fixture(autouse=True)
def _unbound() -> Iterator[None]:
    """
    Leave nothing bound.
    """
    yield
    clear()


def test_what_is_bound_goes_through_batches() -> None:
    """
    Spans have what was bound at their start, log records at that moment; exports come later.
    """
    transport = ScriptedTransport()
    settings = Settings(token="t", transport=transport)
    spans, logs = (
        MixpanelSpanExporter(settings=settings),
        MixpanelLogRecordExporter(settings=settings),
    )
    traced = TracerProvider(resource=NOWHERE, shutdown_on_exit=False)
    traced.add_span_processor(BatchSpanProcessor(spans))
    traced.add_span_processor(MixpanelContextSpanProcessor())
    logged = LoggerProvider(resource=NOWHERE, shutdown_on_exit=False)
    logged.add_log_record_processor(MixpanelContextLogProcessor())
    logged.add_log_record_processor(BatchLogRecordProcessor(logs))

    for user in ("u-1", "u-2"):
        with bound(distinct_id=user, plan="pro"):
            span = traced.get_tracer("shop").start_span("A")
            logged.get_logger("shop").emit(event_name="B")
        with bound(distinct_id="u-9", plan="none"):
            span.end()
    flushed = traced.force_flush(), logged.force_flush()

    assert flushed == (True, True)
    assert spans.pipeline is logs.pipeline
    assert spans.force_flush()
    found = sorted(
        (event["event"], event["properties"]["distinct_id"], event["properties"]["plan"])
        for event in map(orjson.loads, transport.lines)
    )
    assert found == [(name, user, "pro") for name in "AB" for user in ("u-1", "u-2")]
    traced.shutdown()
    logged.shutdown()
    spans.pipeline.close()


def test_without_the_processors_nothing_is_taken_from_the_exporting_thread(shop: Shop) -> None:
    """
    A flush exports the spans of others on the caller's thread: what is bound there is not theirs.
    """
    traced = TracerProvider(resource=NOWHERE, shutdown_on_exit=False)
    traced.add_span_processor(
        BatchSpanProcessor(MixpanelSpanExporter(pipeline=shop.pipeline, select="all"))
    )
    traced.get_tracer("shop").start_span("A").end()
    with bound(distinct_id="u-9"):
        traced.force_flush()

    assert shop.only()["distinct_id"] == ""
    traced.shutdown()


def test_what_is_bound_fills_up_and_does_not_select(shop: Shop) -> None:
    """
    The span's own goes first, its identity as a whole; a log record is not one for being bound.
    """
    with bound({"$device_id": "d-1"}, distinct_id="u-1", plan="pro", total=1):
        shop.tracer.start_span("A", attributes={"user.id": "u-2", "total": 2}).end()
        shop.tracer.start_span("B", attributes={"distinct_id": ""}).end()
        shop.log.emit(body="C")

    found = shop.only()
    assert (found["distinct_id"], found["total"], found["plan"]) == ("u-2", 2, "pro")
    assert "$device_id" not in found
    assert shop.pipeline.stats.ignored == 2


def test_a_bound_identity_makes_an_entry(shop: Shop) -> None:
    """
    That is what middleware binds it for.
    """
    with bound(distinct_id="u-1"):
        shop.tracer.start_span("A").end()
    with bound(distinct_id="anonymous"):
        shop.tracer.start_span("B").end()
    with bound(distinct_id=None, plan="pro"):
        shop.tracer.start_span("C").end()

    assert shop.names() == ["A"]


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("pro", "pro"),
        (3, 3),
        (True, True),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc), "2026-01-02T03:04:05"),
        (["a", 1, None], ["a", 1]),
        ([], []),
        ({"total": 3, "items": [{"sku": "x"}]}, {"total": 3, "items": [{"sku": "x"}]}),
        ({"b", "a"}, ["a", "b"]),
        ("\ud800", "?"),
    ],
)
def test_any_value_may_be_bound(
    shop: Shop, value: object, sent: object, caplog: pytest.LogCaptureFixture
) -> None:
    """
    OpenTelemetry has types for a few, and grumbles about the others: it gets them as it likes.
    """
    with bound(distinct_id="u-1", thing=value):
        shop.tracer.start_span("A").end()
        shop.log.emit(event_name="B")

    assert [event["properties"]["thing"] for event in shop.events()] == [sent, sent]
    assert caplog.records == []


@pytest.mark.parametrize("value", [None, float("nan"), b"x"])
def test_what_cannot_be_sent_is_not_stamped(shop: Shop, value: object) -> None:
    """
    As everywhere.
    """
    with bound(distinct_id="u-1", thing=value):
        shop.tracer.start_span("A").end()

    assert "thing" not in shop.only()


def test_a_bound_id_is_not_cut(shop: Shop) -> None:
    """
    It is the same id as at the other doors.
    """
    with bound({"$user_id": "x" * 300}):
        shop.tracer.start_span("A").end()
        shop.log.emit(event_name="B")

    spanned, logged = (event["properties"]["distinct_id"] for event in shop.events())
    assert spanned == logged
    assert len(spanned) == 64


def test_what_is_bound_may_steer(shop: Shop) -> None:
    """
    The address that middleware binds is the place.
    """
    with bound(distinct_id="u-1", ip="203.0.113.7"):
        shop.tracer.start_span("A").end()

    assert shop.only()["ip"] == "203.0.113.7"


def test_other_exporters_see_stamps_as_ours() -> None:
    """
    Span and log record are shared by all processors: our names do not clash with anybody's.
    """
    theirs = InMemorySpanExporter()
    logs = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call] # OpenTelemetry's
    with closing(Shop()) as shop:
        shop.traced.add_span_processor(BatchSpanProcessor(theirs))
        shop.logged.add_log_record_processor(BatchLogRecordProcessor(logs))
        with bound(distinct_id="u-1", tags=["a"]):
            shop.tracer.start_span("A", attributes={"tags": "own"}).end()
            shop.log.emit(event_name="B")
        shop.traced.force_flush()
        shop.logged.force_flush()

    (span,) = theirs.get_finished_spans()
    (log,) = logs.get_finished_logs()
    stamps = {"mixpanel.bound.distinct_id": "u-1", "mixpanel.json.tags": '["a"]'}
    assert dict(span.attributes or {}) == {"tags": "own", **stamps}
    assert dict(log.log_record.attributes or {}) == stamps


# -- baggage --------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["keyword", "settings", "environment"])
def test_named_baggage_becomes_properties(by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Only what is named, and as a property whatever its name is: it is the client's word.
    """
    names = ("tenant", "distinct_id", "ip")
    context = Context()
    for name in (*names, "secret"):
        context = baggage.set_baggage(name, f"client's {name}", context)
    monkeypatch.setenv("MIXPANEL_BAGGAGE", ",".join(names))
    with closing(Shop(select="all")) as shop:
        given: dict[str, dict[str, Any]] = {
            "keyword": {"baggage": names},
            "settings": {"settings": Settings(baggage=names)},
            "environment": {},
        }
        shop.traced.add_span_processor(MixpanelContextSpanProcessor(**given[by]))
        processor = MixpanelContextLogProcessor(**given[by])
        span = shop.tracer.start_span("A", context)
        log = ReadWriteLogRecord(LogRecord(event_name="B", context=context), NOWHERE)
        processor.on_emit(log)
        span.end()
        shop.logs.export([cast("Any", log)])

        events = [event["properties"] for event in shop.events()]

    assert len(events) == 2
    for found in events:
        assert found["tenant"] == "client's tenant"
        assert (found["distinct_id"], found["ip"]) == ("", "0")
        assert (found["distinct_id_"], found["ip_"]) == ("client's distinct_id", "client's ip")
        assert "secret" not in found


def test_what_is_bound_goes_over_baggage() -> None:
    """
    The application knows better than the client.
    """
    context = baggage.set_baggage("plan", "gold", Context())
    with closing(Shop(select="all", baggage=["plan", "absent"])) as shop:
        with bound(plan="pro"):
            shop.tracer.start_span("A", context).end()
        shop.tracer.start_span("B", context).end()

        assert [event["properties"]["plan"] for event in shop.events()] == ["pro", "gold"]


# -- whatever goes wrong --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [MixpanelContextSpanProcessor, MixpanelContextLogProcessor])
def test_a_wrong_setting_raises(
    kind: type[MixpanelContextSpanProcessor | MixpanelContextLogProcessor],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """
    Unless there is nothing but the environment: then it warns.
    """
    with pytest.raises(SettingsError, match="baggage must be a list"):
        kind(baggage="plan")
    with pytest.raises(SettingsError, match="bagage"):
        kind(settings=Settings(), bagage=())
    monkeypatch.setenv("MIXPANEL_REGION", "europe")
    with pytest.raises(SettingsError, match="region must be"):
        kind(baggage=["plan"])
    before = list(caplog.records)

    kind()

    assert before == []
    assert "baggage is not read: region must be" in caplog.text


def test_nothing_raises_at_the_caller(caplog: pytest.LogCaptureFixture) -> None:
    """
    Whatever becomes of the stamps, the span goes on.
    """

    class Broken:
        def set_attributes(self, found: object) -> None:
            raise ValueError(found)

    processor = MixpanelContextSpanProcessor()
    bind(plan="pro")

    for _ in range(3):
        processor.on_start(cast("Span", Broken()))

    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "what is bound was not added: ValueError" in caplog.text


def test_a_record_without_attributes_gets_some() -> None:
    """
    Not every record comes from the SDK.
    """
    log = ReadWriteLogRecord(LogRecord(event_name="A"), NOWHERE)
    log.log_record.attributes = None
    with bound(plan="pro"):
        MixpanelContextLogProcessor().on_emit(log)

    assert log.log_record.attributes == {"mixpanel.bound.plan": "pro"}


def test_what_is_said_while_delivering_is_no_event(shop: Shop) -> None:
    """
    A transport of the application's that logs would feed on itself, also through batches.
    """
    exporter = MixpanelLogRecordExporter(pipeline=shop.pipeline)
    logged = LoggerProvider(resource=NOWHERE, shutdown_on_exit=False)
    logged.add_log_record_processor(MixpanelContextLogProcessor())
    logged.add_log_record_processor(BatchLogRecordProcessor(exporter))
    delivering[threading.get_ident()] = os.getpid()
    try:
        logged.get_logger("transport").emit(event_name="Sent")
        shop.log.emit(event_name="Sent")
        shop.tracer.start_span("Sent", attributes={"user.id": "u-1"}).end()
    finally:
        delivering.clear()
    logged.force_flush()

    assert shop.names() == []
    assert shop.pipeline.stats.ignored == 3
    logged.shutdown()


def test_ending_the_processors_changes_nothing() -> None:
    """
    They hold nothing.
    """
    for processor in (MixpanelContextSpanProcessor(), MixpanelContextLogProcessor()):
        assert processor.force_flush()
        processor.shutdown()
        assert processor.force_flush(0)
