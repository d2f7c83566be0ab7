"""
Providers of OpenTelemetry's with our exporters behind them, and what arrives.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson
import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from mixpanel_export import Pipeline, Settings
from mixpanel_export.otel import (
    MixpanelContextLogProcessor,
    MixpanelContextSpanProcessor,
    MixpanelLogRecordExporter,
    MixpanelSpanExporter,
)
from mixpanel_export.testing import ScriptedTransport

# Not OpenTelemetry's own, which describes the machine and takes its time to find out.
NOWHERE = Resource({})


class Shop:
    """
    An application with tracer and logger, both exporting into one pipeline.

    Args:
        resource: What the application says of itself.

        fields: Settings of both exporters and of the processors.
    """

    def __init__(
        self,
        resource: Mapping[str, Any] | None = None,
        **fields: Any,  # noqa: ANN401 -- any setting
    ) -> None:
        self.transport = ScriptedTransport()
        settings = Settings(token="t", transport=self.transport)
        self.pipeline = Pipeline(settings)
        self.spans = MixpanelSpanExporter(pipeline=self.pipeline, **fields)
        self.logs = MixpanelLogRecordExporter(pipeline=self.pipeline, **fields)
        described = NOWHERE if resource is None else Resource(resource)
        self.traced = TracerProvider(resource=described, shutdown_on_exit=False)
        self.traced.add_span_processor(MixpanelContextSpanProcessor(settings=settings, **fields))
        self.traced.add_span_processor(SimpleSpanProcessor(self.spans))
        self.logged = LoggerProvider(resource=described, shutdown_on_exit=False)
        self.logged.add_log_record_processor(
            MixpanelContextLogProcessor(settings=settings, **fields)
        )
        self.logged.add_log_record_processor(SimpleLogRecordProcessor(self.logs))
        self.tracer = self.traced.get_tracer("shop")
        self.log = self.logged.get_logger("shop")

    def events(self) -> list[dict[str, Any]]:
        """
        Give everything that has arrived.
        """
        assert self.pipeline.flush(10.0)
        return [orjson.loads(line) for line in self.transport.lines]

    def names(self) -> list[str]:
        """
        Give the names of the events that have arrived.
        """
        return [event["event"] for event in self.events()]

    def only(self) -> dict[str, Any]:
        """
        Give the properties of the only event that has arrived.
        """
        (event,) = self.events()
        found: dict[str, Any] = event["properties"]
        return found

    def close(self) -> None:
        """
        End everything.
        """
        self.traced.shutdown()
        self.logged.shutdown()
        self.pipeline.close()


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Let no setting of the machine reach a test.
    """
    for name in ("TOKEN", "REGION", "BASE_URL", "BAGGAGE"):
        monkeypatch.delenv(f"MIXPANEL_{name}", raising=False)


@pytest.fixture
def shop() -> Iterator[Shop]:
    """
    Open a shop for one test.
    """
    shop = Shop()
    yield shop
    shop.close()
