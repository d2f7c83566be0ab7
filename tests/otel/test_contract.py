"""
What OpenTelemetry's specification and SDK expect of an exporter, of both kinds alike.
"""

from __future__ import annotations

import inspect
import os
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, NamedTuple

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import (
    BatchLogRecordProcessor,
    LogRecordExporter,
    LogRecordExportResult,
)
from opentelemetry.sdk.trace import Event as SpanEvent
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanContext

from mixpanel_export import Event, MixpanelHandler, Pipeline, Settings, SettingsError
from mixpanel_export._process import delivering
from mixpanel_export.emulator import _event, _rules
from mixpanel_export.otel import MixpanelLogRecordExporter, MixpanelSpanExporter
from mixpanel_export.testing import ScriptedTransport
from tests import effort
from tests.otel.conftest import NOWHERE


class Signal(NamedTuple):
    """One kind of what OpenTelemetry exports."""

    exporter: Any
    base: type
    item: Callable[..., Any]
    success: object
    failure: object


def span(name: str = "Happened", **attributes: Any) -> ReadableSpan:  # noqa: ANN401 -- any attribute
    """
    Make a span that is an event.
    """
    place = SpanContext(0xABC, next(_NUMBERS), is_remote=False)
    return ReadableSpan(name, place, resource=NOWHERE, attributes={"user.id": "u-1", **attributes})


def log(name: str = "Happened", **attributes: Any) -> ReadableLogRecord:  # noqa: ANN401 -- any attribute
    """
    Make a log record that is an event.
    """
    return ReadableLogRecord(LogRecord(event_name=name, attributes=attributes), NOWHERE)


_NUMBERS = count(1)
SIGNALS = [
    pytest.param(
        Signal(
            MixpanelSpanExporter,
            SpanExporter,
            span,
            SpanExportResult.SUCCESS,
            SpanExportResult.FAILURE,
        ),
        id="spans",
    ),
    pytest.param(
        Signal(
            MixpanelLogRecordExporter,
            LogRecordExporter,
            log,
            LogRecordExportResult.SUCCESS,
            LogRecordExportResult.FAILURE,
        ),
        id="logs",
    ),
]


@pytest.fixture(params=SIGNALS)
def signal(request: pytest.FixtureRequest) -> Signal:
    """
    Run a test for each kind.
    """
    found: Signal = request.param
    return found


class Sink:
    """An exporter, and what arrives."""

    def __init__(self, signal: Signal, *answers: Any, **fields: Any) -> None:  # noqa: ANN401 -- any answer, any setting
        self.signal = signal
        self.transport = ScriptedTransport(*answers)
        self.pipeline = Pipeline(Settings(token="t", transport=self.transport, **fields))
        self.exporter = signal.exporter(pipeline=self.pipeline)

    def export(self, *names: str) -> object:
        """
        Export events of these names.
        """
        found: object = self.exporter.export([self.signal.item(name) for name in names])
        return found

    def names(self) -> list[str]:
        """
        Give the names of what has arrived.
        """
        assert self.pipeline.flush(10.0)
        return [orjson.loads(line)["event"] for line in self.transport.lines]


@pytest.fixture
def sink(signal: Signal) -> Iterator[Sink]:
    """
    Open an exporter for one test.
    """
    sink = Sink(signal)
    yield sink
    sink.pipeline.close()


# -- what it is -----------------------------------------------------------------------------------


def test_it_is_an_exporter_by_its_base(signal: Signal) -> None:
    """
    OpenTelemetry takes what an entry point names only if it is a class of the right family.
    """
    arguments = inspect.getfullargspec(signal.exporter.shutdown).args

    assert "timeout_millis" in arguments  # else the SDK does not hand the time over
    assert inspect.isclass(signal.exporter)
    assert issubclass(signal.exporter, signal.base)


def test_the_environment_alone_is_enough(signal: Signal, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    OpenTelemetry calls the class without arguments.
    """
    monkeypatch.setenv("MIXPANEL_TOKEN", "from-env")
    monkeypatch.setenv("MIXPANEL_REGION", "eu")

    exporter = signal.exporter()

    assert exporter.pipeline.settings.token == "from-env"
    assert exporter.pipeline.settings.region == "eu"
    exporter.shutdown()


@pytest.mark.parametrize("environment", [{}, {"TOKEN": "t", "REGION": "europe"}])
def test_without_credentials_it_is_off(
    signal: Signal,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """
    It warns once, takes nothing, and nothing about it fails: the application must start.
    """
    for name, text in environment.items():
        monkeypatch.setenv(f"MIXPANEL_{name}", text)

    exporter = signal.exporter()
    results = [exporter.export([signal.item()]) for _ in range(3)]

    assert results == [signal.success] * 3
    assert exporter.force_flush()
    exporter.shutdown()
    assert len(caplog.records) == 1
    assert "is off" in caplog.text


def test_wrong_keywords_raise(signal: Signal) -> None:
    """
    What is configured in code or in a file is checked where it stands.
    """
    with pytest.raises(SettingsError, match="region must be"):
        signal.exporter(token="t", region="europe")


def test_it_shares_a_pipeline_with_other_doors() -> None:
    """
    With equal delivery settings: one queue and one ledger, whatever each door selects.
    """
    transport = ScriptedTransport()
    settings = Settings(token="t", transport=transport)

    doors: list[Any] = [
        MixpanelHandler(settings=settings),
        MixpanelSpanExporter(settings=settings, select="all"),
        MixpanelLogRecordExporter(settings=settings, baggage=["tenant"]),
    ]

    assert len({id(door.pipeline) for door in doors}) == 1
    doors[0].pipeline.close()


# -- export ---------------------------------------------------------------------------------------


def test_success_is_accepted(sink: Sink) -> None:
    """
    Not delivered: retries are ours, and the caller's thread waits for nothing.
    """
    assert sink.export("A", "B") is sink.signal.success
    assert sink.export() is sink.signal.success
    assert sink.names() == ["A", "B"]


def test_ignored_is_no_failure(sink: Sink) -> None:
    """
    Most of what is exported is no event.
    """
    ignored = sink.signal.item(**{"mixpanel.event": False})

    assert sink.exporter.export((ignored,)) is sink.signal.success
    assert sink.pipeline.stats.ignored == 1


def test_what_a_transform_drops_is_no_failure(signal: Signal) -> None:
    """
    The application wants it so.
    """
    pipeline = Pipeline(Settings(token="t", transport=ScriptedTransport()))
    exporter = signal.exporter(pipeline=pipeline, transform=lambda _: None)

    assert exporter.export([signal.item()]) is signal.success
    assert pipeline.stats.dropped == {"transform": 1}
    pipeline.close()


@pytest.mark.parametrize("fields", [{"sample": 0.0}, {"budget": 1}])
def test_what_is_held_back_is_no_failure(signal: Signal, fields: dict[str, Any]) -> None:
    """
    Samples and budgets are wanted, too.
    """
    pipeline = Pipeline(Settings(token="t", transport=ScriptedTransport()))
    exporter = signal.exporter(pipeline=pipeline, **fields)

    assert exporter.export([signal.item(), signal.item()]) is signal.success
    assert pipeline.stats.accepted < 2
    pipeline.close()


def test_refused_is_failure(signal: Signal) -> None:
    """
    One event that did not fit makes the call fail; the others of it are accepted.
    """
    sink = Sink(signal, *[503] * 1_000, max_events=2)

    assert sink.export("A") is signal.success
    assert sink.export("B", "C") is signal.failure
    stats = sink.pipeline.stats
    assert (stats.accepted, stats.dropped) == (2, {"full": 1})
    sink.pipeline.close(0.0)


def test_a_closed_pipeline_is_failure(sink: Sink) -> None:
    """
    The application has closed what it handed over.
    """
    sink.pipeline.close()

    assert sink.export("A") is sink.signal.failure
    assert sink.pipeline.stats.dropped == {"closed": 1}


def test_one_that_raises_costs_itself_only(signal: Signal) -> None:
    """
    A transform, or what OpenTelemetry handed over: counted, told, and never raised.
    """

    def transform(event: Event) -> Event:
        if event.name == "B":
            raise ValueError(event)
        return event

    transport = ScriptedTransport()
    pipeline = Pipeline(Settings(token="t", transport=transport))
    exporter = signal.exporter(pipeline=pipeline, transform=transform)
    items = [signal.item("A"), signal.item("B"), object(), signal.item("C")]

    result = exporter.export(items)

    assert result is signal.failure
    assert pipeline.flush(10.0)
    assert [orjson.loads(line)["event"] for line in transport.lines] == ["A", "C"]
    assert pipeline.stats.dropped == {"transform": 2}
    pipeline.close()


def test_a_thread_that_delivers_exports_nothing(sink: Sink) -> None:
    """
    With a simple processor, what a transport says comes here: it would feed on itself.
    """
    delivering[threading.get_ident()] = os.getpid()
    try:
        result = sink.export("A", "B")
    finally:
        delivering.clear()

    assert result is sink.signal.success
    assert sink.names() == []
    assert sink.pipeline.stats.ignored == 2


def test_many_threads_may_export(sink: Sink) -> None:
    """
    Simple processors call it from the application's own threads.
    """

    def work(number: int) -> None:
        for index in range(50):
            assert sink.export(f"{number}/{index}") is sink.signal.success

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(sink.names()) == sorted(f"{n}/{i}" for n in range(4) for i in range(50))


# -- force_flush and shutdown ---------------------------------------------------------------------


def test_a_flush_delivers(sink: Sink) -> None:
    """
    What was exported before the call, now and not after the interval.
    """
    sink.export("A")

    assert sink.exporter.force_flush()
    assert len(sink.transport.lines) == 1


def test_a_flush_has_milliseconds(signal: Signal) -> None:
    """
    Its timeout is obeyed, in OpenTelemetry's unit.
    """
    sink = Sink(signal, *[503] * 1_000)
    sink.export("A")

    started = time.monotonic()
    flushed = sink.exporter.force_flush(200)
    took = time.monotonic() - started

    assert not flushed
    assert 0.2 <= took < 5.0
    sink.pipeline.close(0.0)


def test_after_a_shutdown_everything_fails(sink: Sink) -> None:
    """
    What came before is delivered; what comes after is not even counted.
    """
    sink.export("A")

    sink.exporter.shutdown()
    sink.exporter.shutdown()
    sink.exporter.shutdown(timeout_millis=10)

    assert len(sink.transport.lines) == 1
    assert sink.export("B") is sink.signal.failure
    assert sink.exporter.force_flush()
    assert sink.names() == ["A"]


def test_a_shutdown_is_that_of_one_door(sink: Sink) -> None:
    """
    The pipeline and other exporters on it go on.
    """
    other = sink.signal.exporter(pipeline=sink.pipeline)

    sink.exporter.shutdown()
    result = other.export([sink.signal.item("B")])

    assert result is sink.signal.success
    assert not sink.pipeline.closed
    assert sink.names() == ["B"]


def test_a_shutdown_does_not_wait_for_ever(signal: Signal) -> None:
    """
    Neither longer than it may, nor than the setting; the events stay for the end of the process.
    """
    sink = Sink(signal, *[503] * 1_000, shutdown_timeout=0.3)
    sink.export("A")

    started = time.monotonic()
    sink.exporter.shutdown(30_000)
    took = time.monotonic() - started

    assert 0.2 < took < 5.0
    assert sink.pipeline.stats.queued == 1
    sink.pipeline.close(0.0)


def test_a_shutdown_may_be_called_while_others_export(sink: Sink) -> None:
    """
    Each call is one of the two results, and what succeeded is delivered.
    """
    results: list[object] = []
    begun = threading.Event()

    def work() -> None:
        for _ in range(500):
            results.append(sink.export("A"))
            begun.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(60.0)
    sink.exporter.shutdown()
    thread.join()

    assert set(results) <= {sink.signal.success, sink.signal.failure}
    assert len(sink.names()) == results.count(sink.signal.success)


# -- inside OpenTelemetry's processors ------------------------------------------------------------


def test_batches_of_spans_arrive_whole() -> None:
    """
    More than the processor's queue holds at once is never dropped by us.
    """
    sink = Sink(Signal(MixpanelSpanExporter, SpanExporter, span, None, None))
    provider = TracerProvider(resource=NOWHERE, shutdown_on_exit=False)
    provider.add_span_processor(
        BatchSpanProcessor(sink.exporter, max_queue_size=5_000, max_export_batch_size=64)
    )
    tracer = provider.get_tracer("shop")
    for number in range(1_000):
        tracer.start_span(f"{number}", attributes={"user.id": "u-1"}).end()
    provider.shutdown()

    assert sorted(map(int, sink.names())) == list(range(1_000))
    sink.pipeline.close()


def test_batches_of_logs_arrive_whole() -> None:
    """
    Likewise.
    """
    sink = Sink(Signal(MixpanelLogRecordExporter, LogRecordExporter, log, None, None))
    provider = LoggerProvider(resource=NOWHERE, shutdown_on_exit=False)
    provider.add_log_record_processor(
        BatchLogRecordProcessor(sink.exporter, max_queue_size=5_000, max_export_batch_size=64)
    )
    logger = provider.get_logger("shop")
    for number in range(1_000):
        logger.emit(event_name=f"{number}")
    provider.shutdown()

    assert sorted(map(int, sink.names())) == list(range(1_000))
    sink.pipeline.close()


def test_unsampled_spans_are_never_exported() -> None:
    """
    Whoever samples traces samples events too: that is a choice of the application's.
    """
    sink = Sink(Signal(MixpanelSpanExporter, SpanExporter, span, None, None))
    provider = TracerProvider(ALWAYS_OFF, resource=NOWHERE, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(sink.exporter))
    provider.get_tracer("shop").start_span("A", attributes={"user.id": "u-1"}).end()
    provider.shutdown()

    assert sink.names() == []
    assert sink.pipeline.stats.ignored == 0
    sink.pipeline.close()


# -- whatever there is ----------------------------------------------------------------------------

NAMES = st.one_of(
    st.text(min_size=1),
    st.sampled_from(
        [
            *("user.id", "enduser.id", "device.id", "distinct_id", "$user_id", "$device_id"),
            *("mixpanel.distinct_id", "mixpanel.ip", "mixpanel.insert_id"),
            *("mixpanel.event", "mixpanel_event", "time", "ip", "$insert_id", "token", "$set"),
            *("client.address", "url.full", "http.url", "url.path", "http.target", "url.query"),
            *("user_agent.original", "http.request.header.referer", "browser.platform"),
            *("log.record.uid", "otel.event.name", "event.name", "exception.message"),
            *("mixpanel.bound.distinct_id", "mixpanel.bound.ip", "mixpanel.json.tags"),
            *("mixpanel.baggage.ip", "service.name", "trace_id", "span_id", "$duration"),
        ]
    ),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(), each, max_size=3),
    max_leaves=6,
)
ATTRIBUTES = st.none() | st.dictionaries(NAMES, VALUES, max_size=8)
TIMES = st.none() | st.integers(-(2**63), 2**64)
SPANS = st.builds(
    ReadableSpan,
    name=st.text(),
    context=st.builds(
        SpanContext, st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans()
    ),
    attributes=ATTRIBUTES,
    events=st.lists(st.builds(SpanEvent, st.text(), ATTRIBUTES, st.integers(0, 2**64)), max_size=2),
    start_time=TIMES,
    end_time=TIMES,
)
LOGS = st.builds(
    ReadableLogRecord,
    st.builds(
        LogRecord,
        timestamp=TIMES,
        observed_timestamp=TIMES,
        body=VALUES,
        attributes=ATTRIBUTES,
        event_name=st.none() | st.text(),
        severity_text=st.none() | st.text(),
    ),
    st.just(NOWHERE),
)
RULES = _rules.Rulebook(_rules.Mode.STRICT)


@settings(effort.steadily(150), suppress_health_check=list(HealthCheck))
@given(st.data())
def test_whatever_there_is_makes_valid_lines(signal: Signal, data: st.DataObject) -> None:
    """
    No attribute, time or body makes it raise, or makes a line that Mixpanel would reject.
    """
    transport = ScriptedTransport()
    pipeline = Pipeline(Settings(token="t", transport=transport))
    exporter = signal.exporter(pipeline=pipeline, select="all")
    items = data.draw(st.lists(SPANS if signal.item is span else LOGS, min_size=1, max_size=3))

    result = exporter.export(items)

    assert result is signal.success
    assert pipeline.flush(10.0)
    scene = _event.Scene(now_ms=time.time_ns() // 1_000_000, simplified=True)
    for line in transport.lines:
        assert RULES.first_fault(_event.Event(orjson.loads(line), scene)) is None
    assert "transform" not in pipeline.stats.dropped
    pipeline.close()
