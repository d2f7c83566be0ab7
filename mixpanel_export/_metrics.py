"""
Our own figures as OpenTelemetry metrics, where the application uses OpenTelemetry.

The names and attributes are those of its semantic conventions for SDK components (status:
development, read 2026-11-20); they are written out here, since the package that holds them calls
them private.
"""

from __future__ import annotations

import sys
import threading
import weakref
from itertools import count
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mixpanel_export._engine import Engine
    from mixpanel_export._settings import Settings

_TYPE: Final = "mixpanel_export.Pipeline"
_UNIT: Final = "{log_record}"
_number = count()


def observe(engine: Engine, settings: Settings) -> Callable[[float, str], None] | None:
    """
    Publish the ledger of *engine*, as long as it lives.

    Returns:
        What to call after each request with its seconds and the type of its error, ``""`` for none;
        `None` if the application does not use OpenTelemetry's metrics.
    """
    metrics = sys.modules.get("opentelemetry.metrics")
    # Once the main thread has ended, so have OpenTelemetry's providers, and they complain if asked.
    if metrics is None or not threading.main_thread().is_alive():
        return None
    host = urlsplit(settings.host)
    attributes = {
        "otel.component.type": _TYPE,
        "otel.component.name": f"{_TYPE}/{next(_number)}",
        "server.address": host.hostname or "",
        "server.port": host.port or (443 if host.scheme == "https" else 80),
    }
    meter = metrics.get_meter("mixpanel_export")
    reference = weakref.ref(engine)

    def observation(value: int, error: str = "") -> Any:  # noqa: ANN401 -- OpenTelemetry's type
        more = {"error.type": error} if error else {}
        return metrics.Observation(value, {**attributes, **more})

    def queue_size(_options: object) -> Iterator[Any]:
        if (alive := reference()) is not None:
            yield observation(alive.stats.queued)

    def queue_capacity(_options: object) -> Iterator[Any]:
        if reference() is not None:
            yield observation(settings.max_events)

    def inflight(_options: object) -> Iterator[Any]:
        if (alive := reference()) is not None:
            yield observation(alive.in_flight)

    def processed(_options: object) -> Iterator[Any]:
        if (alive := reference()) is not None:
            stats = alive.stats
            yield observation(stats.accepted)
            for reason, number in stats.dropped.items():
                yield observation(number, _ERRORS.get(reason, reason))

    def exported(_options: object) -> Iterator[Any]:
        if (alive := reference()) is not None:
            stats = alive.stats
            yield observation(stats.delivered)
            for reason in ("rejected", "evicted", "expired", "abandoned"):
                if number := getattr(stats, reason):
                    yield observation(number, reason)

    meter.create_observable_up_down_counter(
        "otel.sdk.processor.log.queue.size", [queue_size], unit=_UNIT
    )
    meter.create_observable_up_down_counter(
        "otel.sdk.processor.log.queue.capacity", [queue_capacity], unit=_UNIT
    )
    meter.create_observable_up_down_counter(
        "otel.sdk.exporter.log.inflight", [inflight], unit=_UNIT
    )
    meter.create_observable_counter("otel.sdk.processor.log.processed", [processed], unit=_UNIT)
    meter.create_observable_counter("otel.sdk.exporter.log.exported", [exported], unit=_UNIT)
    histogram = meter.create_histogram("otel.sdk.exporter.operation.duration", unit="s")

    def time(seconds: float, error: str) -> None:
        more = {"error.type": error} if error else {}
        histogram.record(seconds, {**attributes, **more})

    return time


# The conventions have words of their own for two of our reasons.
_ERRORS: Final = {"full": "queue_full", "closed": "already_shutdown"}
