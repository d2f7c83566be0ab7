"""
Whatever stands on a span or a log record, the exporters do not raise, and what leaves is sound.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from mixpanel_export import Pipeline, Settings
from mixpanel_export.otel import MixpanelLogRecordExporter, MixpanelSpanExporter
from mixpanel_export.testing import ScriptedTransport
from tests.doors import Basket, anyhow, doors, fields, reveal, values, what_was_said
from tests.objects import any_text, wreck
from tests.otel.conftest import NOWHERE

TRANSPORT = ScriptedTransport()
NANO = 1_700_000_000_000_000_000
contexts = st.builds(
    SpanContext,
    st.integers(1, 2**128 - 1),
    st.integers(1, 2**64 - 1),
    st.booleans(),
    st.just(TraceFlags(1)),
)
moments = st.sampled_from([NANO, NANO + 10**9])
# Those of HTTP, databases and exceptions are read in their own way.
SEMANTIC = [
    "mixpanel.event",
    "user.id",
    "session.id",
    "http.request.method",
    "http.response.status_code",
    "url.full",
    "http.route",
    "client.address",
    "user_agent.original",
    "exception.type",
    "exception.message",
    "mixpanel.bound",
]
attributes = st.one_of(
    st.none(), fields(any_text), st.dictionaries(st.sampled_from(SEMANTIC), values, max_size=6)
).map(lambda found: found and {name: reveal(value) for name, value in found.items()})


@anyhow
@given(
    name=any_text,
    context=contexts,
    parent=st.none() | contexts,
    said=attributes,
    added=st.lists(st.builds(Event, any_text, attributes, moments), max_size=2),
    kind=st.sampled_from(SpanKind),
    status=st.sampled_from([Status(), Status(StatusCode.OK), Status(StatusCode.ERROR, "why")]),
    start=moments,
    door=doors,
)
def test_spans(said: dict[str, Any] | None, door: dict[str, Any], **of_span: Any) -> None:  # noqa: ANN401 -- whatever was made up
    """
    Each span becomes the same sound lines every time, or none.
    """
    pipeline = Pipeline(Settings(token="t", transport=TRANSPORT))
    basket = Basket(pipeline)
    exporter = MixpanelSpanExporter(pipeline=pipeline, **door)
    span = ReadableSpan(
        of_span["name"],
        of_span["context"],
        of_span["parent"],
        NOWHERE,
        said,
        of_span["added"],
        kind=of_span["kind"],
        status=of_span["status"],
        start_time=of_span["start"],
        end_time=of_span["start"] + 5,
    )

    exporter.export([span])
    first = basket.empty()
    exporter.export([span])
    wreck(said, set())
    second = basket.empty()

    assert basket.failed == 0
    if "budget" not in door and "sample" not in door:
        assert [what_was_said(line) for line in second] == [what_was_said(line) for line in first]


@anyhow
@given(
    name=st.none() | any_text,
    body=values,
    said=attributes,
    severity=st.none() | any_text,
    timestamp=moments,
    door=doors,
)
def test_log_records(  # noqa: PLR0913, PLR0917 -- all that a record has
    name: str | None,
    body: object,
    said: dict[str, Any] | None,
    severity: str | None,
    timestamp: int,
    door: dict[str, Any],
) -> None:
    """
    Each log record becomes the same sound line every time, or none.
    """
    pipeline = Pipeline(Settings(token="t", transport=TRANSPORT))
    basket = Basket(pipeline)
    exporter = MixpanelLogRecordExporter(pipeline=pipeline, **door)
    log = LogRecord(
        timestamp=timestamp,
        body=reveal(body),
        attributes=said,
        severity_text=severity,
        event_name=name,
    )
    record = ReadableLogRecord(log, NOWHERE)

    exporter.export([record])
    first = basket.empty()
    exporter.export([record])
    wreck([said, body], set())
    second = basket.empty()

    assert basket.failed == 0
    if "budget" not in door and "sample" not in door:
        assert [what_was_said(line) for line in second] == [what_was_said(line) for line in first]
