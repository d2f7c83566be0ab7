"""
The stand-ins that others build their tests on.
"""

from __future__ import annotations

import logging
import sys
import threading
from types import ModuleType

import pytest

from mixpanel_export import Event, MixpanelHandler, Pipeline, ProfileUpdate, merge_event
from mixpanel_export._batch import Batch
from mixpanel_export._clock import Deadline
from mixpanel_export._settings import Settings
from mixpanel_export._wire import Response, encode
from mixpanel_export.testing import FakeClock, ScriptedTransport, capture_events, lines_of


def test_a_fake_clock_jumps() -> None:
    """
    Waiting takes no time and lets it pass, on both clocks.
    """
    clock = FakeClock(100.0)

    clock.sleep(2.0)
    clock.advance(1.0)
    clock.sleep(-5.0)
    with (condition := threading.Condition()):
        clock.wait(condition, 4.0)

    assert (clock.wall(), clock.monotonic()) == (107.0, 7.0)


def test_a_fake_clock_waits_for_a_notice() -> None:
    """
    Without a limit it really waits: somebody has to notify.
    """
    clock = FakeClock()
    condition = threading.Condition()
    done = threading.Event()

    def wait() -> None:
        with condition:
            clock.wait(condition, None)
        done.set()

    thread = threading.Thread(target=wait)
    thread.start()
    while not done.wait(0.01):
        with condition:
            condition.notify_all()
    thread.join()

    assert clock.monotonic() == 0.0


@pytest.mark.parametrize("gzip", [True, False])
def test_a_script_is_followed_and_then_everything_is_well(*, gzip: bool) -> None:
    """
    Responses, status codes and exceptions in their order; after the last, success.
    """
    batch = Batch.of([b'{"a":1}', b'{"b":2}'], gzip=gzip)
    request = encode(batch, Settings(token="t"))
    deadline = Deadline(FakeClock(), None)
    transport = ScriptedTransport(503, Response(200, b"x"), ValueError("as scripted"))

    statuses = [transport.send(request, deadline) for _ in range(2)]
    with pytest.raises(ValueError, match="as scripted"):
        transport.send(request, deadline)
    last = transport.send(request, deadline)
    transport.close()

    assert statuses == [Response(503), Response(200, b"x")]
    assert b'"num_records_imported":2' in last.body
    assert lines_of(request) == [b'{"a":1}', b'{"b":2}']
    assert len(transport.lines) == 8
    assert transport.closed == 1


def log_with(handler: logging.Handler) -> logging.Logger:
    """
    Make a logger that is not in the tree of loggers, so that it is gone with the test.
    """
    log = logging.Logger("shop", logging.INFO)  # noqa: LOG001 -- gone with the test
    log.addHandler(handler)
    return log


def test_what_is_captured_is_there_at_once() -> None:
    """
    Translated, with its identity and without secrets; of doors made before and inside.
    """
    transport = ScriptedTransport()
    log = log_with(MixpanelHandler(token="t", transport=transport))

    with capture_events() as captured:
        log.info("cache is warm")
        log.info(
            "Signed Up",
            extra={"distinct_id": "u-1", "password": "secret", "plan": "pro", "$set": {"n": 1}},
        )
        with Pipeline(Settings(token="t", transport=transport)) as pipeline:
            thread = threading.Thread(target=pipeline.submit, args=[Event("Elsewhere")])
            thread.start()
            thread.join()
            pipeline.submit(merge_event("u-1", "u-2"))

    assert [event.name for event in captured] == ["Signed Up", "Elsewhere", "$merge"]
    event = captured.assert_tracked("Signed Up", distinct_id="u-1", plan="pro")
    assert event.properties["password"] == "[scrubbed]"
    assert event.time is not None
    assert event.insert_id
    assert captured.updates == [ProfileUpdate("u-1", "$set", {"n": 1})]
    assert transport.requests == []


def test_no_credentials_are_needed(caplog: pytest.LogCaptureFixture) -> None:
    """
    A door that is off for want of them, or by its settings, is heard all the same.
    """
    logs = [log_with(MixpanelHandler()), log_with(MixpanelHandler(disabled=True))]

    with capture_events() as captured:
        for number, log in enumerate(logs):
            log.info("Heard", extra={"n": number})
    logs[0].info("Not Heard", extra={"n": 2})

    assert [event.properties["n"] for event in captured] == [0, 1]
    assert "no credentials" in caplog.text


@pytest.mark.structlog
def test_structlog_is_captured() -> None:
    """
    What its processor takes.
    """
    import structlog

    from mixpanel_export import MixpanelProcessor

    log = structlog.wrap_logger(structlog.testing.CapturingLogger(), [MixpanelProcessor()])

    with capture_events() as captured:
        log.info("Trial Started", distinct_id="u-1", plan="pro")

    captured.assert_tracked("Trial Started", distinct_id="u-1", plan="pro")


@pytest.mark.otel
def test_opentelemetry_is_captured() -> None:
    """
    Spans and log records, also those that a batch processor exports on a thread of its own.
    """
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from mixpanel_export.otel import MixpanelLogRecordExporter, MixpanelSpanExporter

    traces, logs = TracerProvider(shutdown_on_exit=False), LoggerProvider(shutdown_on_exit=False)
    traces.add_span_processor(BatchSpanProcessor(MixpanelSpanExporter(token="t")))
    logs.add_log_record_processor(SimpleLogRecordProcessor(MixpanelLogRecordExporter(token="t")))

    with capture_events() as captured:
        span = traces.get_tracer("shop").start_span("Checkout", attributes={"user.id": "u-1"})
        span.end()
        assert traces.force_flush()
        logs.get_logger("shop").emit(event_name="Coupon Used", attributes={"user.id": "u-2"})
    traces.shutdown()
    logs.shutdown()

    assert captured.assert_tracked("Checkout", distinct_id="u-1").properties["$duration"] >= 0
    captured.assert_tracked("Coupon Used", distinct_id="u-2")


def test_captures_may_overlap() -> None:
    """
    Each gets everything of its time, in whichever order they end; then delivery goes on.
    """
    transport = ScriptedTransport()
    with Pipeline(Settings(token="t", transport=transport)) as pipeline:
        first, second = capture_events(), capture_events()
        one = first.__enter__()
        pipeline.submit(Event("A"))
        two = second.__enter__()
        pipeline.submit(Event("B"))
        first.__exit__(None, None, None)
        pipeline.submit(Event("C"))
        second.__exit__(None, None, None)
        pipeline.submit(Event("D"))

    assert [event.name for event in one] == ["A", "B"]
    assert [event.name for event in two] == ["B", "C"]
    assert len(transport.lines) == 1


def test_an_empty_capture_knows_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Records that are no events, events that were dropped, nothing at all; since it began.
    """
    log = log_with(MixpanelHandler(token="t", select="identified"))
    pipeline = Pipeline(Settings(token="t", transform=lambda _event: None))
    pipeline.submit(Event("Long Ago"))
    monkeypatch.delitem(sys.modules, "opentelemetry.sdk", raising=False)

    with capture_events() as captured:
        with pytest.raises(AssertionError, match="is there a door"):
            captured.assert_tracked("A")
        log.info("A", extra={"n": 1})
        pipeline.submit(Event("A"))
        with pytest.raises(AssertionError) as caught:
            captured.assert_tracked("A")

    assert str(caught.value).splitlines()[1:] == [
        "  1 dropped: transform",
        "  1 ignored: no events by the setting `select`",
    ]


def test_an_empty_capture_thinks_of_batch_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Where OpenTelemetry is in use, spans may wait there.
    """
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", ModuleType("opentelemetry.sdk"))

    with capture_events() as captured, pytest.raises(AssertionError, match=r"force_flush\(\)"):
        captured.assert_tracked("A")
