"""
Our figures as OpenTelemetry metrics, with a stand-in for its API.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from mixpanel_export._engine import Engine
from mixpanel_export._metrics import observe
from mixpanel_export._notice import Notices
from mixpanel_export._settings import Settings
from mixpanel_export.testing import FakeClock

SETTINGS = Settings(token="t", max_events=2, region="eu")


class Meter:
    """Collects instruments and what they say."""

    def __init__(self) -> None:
        self.callbacks: dict[str, Callable[[object], Iterable[Any]]] = {}
        self.recorded: list[tuple[float, dict[str, object]]] = []

    def create_observable_up_down_counter(
        self, name: str, callbacks: list[Callable[[object], Iterable[Any]]], *, unit: str
    ) -> None:
        assert unit == "{log_record}"
        (self.callbacks[name],) = callbacks

    create_observable_counter = create_observable_up_down_counter

    def create_histogram(self, name: str, *, unit: str) -> Meter:
        assert (name, unit) == ("otel.sdk.exporter.operation.duration", "s")
        return self

    def record(self, seconds: float, attributes: dict[str, object]) -> None:
        self.recorded.append((seconds, attributes))

    def read(self, name: str) -> list[tuple[int, str | None]]:
        """
        Give what an instrument says: values and the types of their errors.
        """
        return [
            (value, attributes.get("error.type"))
            for value, attributes in self.callbacks[f"otel.sdk.{name}"](None)
        ]


@pytest.fixture
def meter(monkeypatch: pytest.MonkeyPatch) -> Meter:
    """
    Put the stand-in where the application's OpenTelemetry would be.
    """
    meter = Meter()
    api = SimpleNamespace(
        get_meter=lambda _name: meter, Observation=lambda value, attributes: (value, attributes)
    )
    monkeypatch.setitem(sys.modules, "opentelemetry.metrics", api)
    return meter


def make_engine() -> Engine:
    """
    Make an engine that holds nothing.
    """
    clock = FakeClock()
    return Engine(SETTINGS, clock=clock, notices=Notices(clock), ring=lambda: None)


def test_without_opentelemetry_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    It is used where the application has imported it, and imported by nobody else.
    """
    monkeypatch.delitem(sys.modules, "opentelemetry.metrics", raising=False)

    assert observe(make_engine(), SETTINGS) is None


def test_at_exit_there_is_nothing(meter: Meter, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    OpenTelemetry's provider has ended by then, and warns whoever asks for a meter.
    """
    monkeypatch.setattr(threading, "main_thread", threading.Thread)

    assert observe(make_engine(), SETTINGS) is None
    assert meter.callbacks == {}


def test_the_ledger_is_published(meter: Meter) -> None:
    """
    Queue, accepted, dropped, delivered and given up, with the conventional names and errors.
    """
    engine = make_engine()
    observe(engine, SETTINGS)
    for _ in range(2):
        engine.queue.put(b"{}")
    engine.dropped["full"].bump()
    engine.dropped["sampled"].bump()

    queued = meter.read("processor.log.queue.size")
    engine.want(engine.mark())
    engine.pack()
    engine.next()
    flying = meter.read("exporter.log.inflight")
    engine.abandon()

    assert (queued, flying) == ([(2, None)], [(2, None)])
    assert meter.read("exporter.log.inflight") == [(0, None)]
    assert meter.read("processor.log.queue.capacity") == [(2, None)]
    assert meter.read("processor.log.processed") == [(2, None), (1, "queue_full"), (1, "sampled")]
    assert meter.read("exporter.log.exported") == [(0, None), (2, "abandoned")]


def test_requests_are_timed(meter: Meter) -> None:
    """
    With the address, and the error if there was one.
    """
    engine = make_engine()
    time = observe(engine, SETTINGS)
    assert time is not None

    time(0.5, "")
    time(1.5, "Retryable")

    (fine, failed) = meter.recorded
    assert fine[0] == 0.5
    assert fine[1]["server.address"] == "api-eu.mixpanel.com"
    assert fine[1]["server.port"] == 443
    assert fine[1]["otel.component.type"] == "mixpanel_export.Pipeline"
    assert "error.type" not in fine[1]
    assert failed[1]["error.type"] == "Retryable"


def test_a_pipeline_that_is_gone_says_nothing(meter: Meter) -> None:
    """
    Metrics do not keep it alive.
    """
    observe(make_engine(), SETTINGS)
    gc.collect()

    assert [list(callback(None)) for callback in meter.callbacks.values()] == [[], [], [], [], []]
