"""
OpenTelemetry's spans and log records -> records.

Exporters work later than the application and on another thread, where nothing is bound. What is, a
stamper writes on spans and log records in time; a reader looks nowhere else.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import orjson
from opentelemetry.baggage import get_baggage
from opentelemetry.trace import SpanKind, StatusCode

from mixpanel_export._clock import SYSTEM_CLOCK
from mixpanel_export._context import current
from mixpanel_export._door import replace_fields
from mixpanel_export._exceptions import SettingsError
from mixpanel_export._ids import SURELY_MS, as_id
from mixpanel_export._limits import MAX_AHEAD_MS
from mixpanel_export._notice import Notices, logger
from mixpanel_export._plan import IDENTITY
from mixpanel_export._record import Record
from mixpanel_export._semconv import (
    BAGGAGE,
    BOUND,
    BOUND_JSON,
    RESOURCE,
    UID,
    describe_resource,
    event_name,
    name_of,
    plan_names,
    speak,
)
from mixpanel_export._settings import SELECTIONS, Settings
from mixpanel_export._values import MISSING, clean, text_of

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.sdk.trace import Event as SpanEvent
    from opentelemetry.sdk.trace import ReadableSpan

_KINDS: Final = {kind: kind.name.lower() for kind in SpanKind}
# What these do, somebody else is asked to do: nothing comes in by them.
_OUTBOUND: Final = frozenset({SpanKind.CLIENT, SpanKind.PRODUCER})
_STATUSES: Final = {StatusCode.OK: "ok", StatusCode.ERROR: "error"}

# Under which selections a record is an event, by what speaks for it.
_GROUNDS: Final = {
    (own, named, entry): frozenset(
        selection
        for selection, holds in (
            ("all", True),
            ("structured", own or named),
            ("identified", named),
            ("entry", entry),
        )
        if holds
    )
    for own in (False, True)
    for named in (False, True)
    for entry in (False, True)
}
_NO_GROUNDS: Final[frozenset[str]] = frozenset()
_EVERY_GROUND: Final = frozenset({"marked", *SELECTIONS})

# What an event that was added to a span has from it.
_SHARED: Final = (*RESOURCE, "trace_id", "span_id", *IDENTITY, "ip")


class Reader:
    """
    Makes records of what OpenTelemetry hands over.

    Args:
        settings: Where `loggers` and `include` are read.
    """

    def __init__(self, settings: Settings) -> None:
        self._scoped = settings.loggers is not None
        self._include = settings.include
        self._resource: tuple[object, dict[str, object]] = (None, {})

    def read_span(self, span: ReadableSpan) -> Record:
        """Make a record of a span."""
        attributes = _copy(span.attributes)
        client = span.kind is SpanKind.CLIENT
        names = plan_names(tuple(attributes), client, self._include)
        trace_id, span_id = _ids(span)
        fields: dict[str, object] = {
            **self._describe(span.resource),
            "trace_id": trace_id,
            "span_id": span_id,
            "span_kind": _KINDS[span.kind],
            # The end of a trace id is the part that is random. -- W3C Trace Context, Level 2.
            "$insert_id": trace_id[-20:] + span_id,
        }
        status = _STATUSES.get(span.status.status_code)
        if status is not None:
            fields["span_status"] = status
        if span.start_time is not None and span.end_time is not None:
            fields["$duration"] = (span.end_time - span.start_time) / 1e9
        moment = _moment(span.start_time, fields)
        bound = speak(attributes, names, fields)
        entry = (
            span.kind not in _OUTBOUND
            and (span.parent is None or span.parent.is_remote)
            and _somebody(fields, bound)
        )
        scope = span.instrumentation_scope
        # A framework's spans are not what its log records are: only `loggers` looks at the scope.
        logger = scope.name if self._scoped and scope is not None else ""
        grounds = _GROUNDS[names.own, names.named, entry]
        return Record(span.name, moment, fields, logger, bound, grounds)

    def read_event(
        self, event: SpanEvent, number: int, span: ReadableSpan, of_span: Record, chosen: bool
    ) -> Record:
        """
        Make a record of what was added to a span.

        Args:
            event: What was added.

            number: How many were added before.

            span: To what.

            of_span: The record of the span.

            chosen: Whether it is an event.
        """
        attributes = _copy(event.attributes)
        names = plan_names(tuple(attributes), False, self._include)
        trace_id, span_id = _ids(span)
        fields = {name: of_span.fields[name] for name in _SHARED if name in of_span.fields}
        key = f"{trace_id}/{span_id}/{number}"
        fields["$insert_id"] = hashlib.sha256(key.encode()).hexdigest()[:32]
        moment = _moment(event.timestamp, fields)
        bound = {**of_span.bound, **speak(attributes, names, fields)}
        grounds = _EVERY_GROUND if chosen else _NO_GROUNDS
        return Record(event.name, moment, fields, of_span.logger, bound, grounds)

    def read_log(self, record: ReadableLogRecord) -> Record:
        """Make a record of a log record."""
        log = record.log_record
        attributes = _copy(log.attributes)
        names = plan_names(tuple(attributes), False, self._include)
        scope = record.instrumentation_scope
        logger = scope.name if scope is not None else ""
        fields = self._describe(record.resource).copy()
        if log.trace_id and log.span_id:
            fields["trace_id"] = f"{log.trace_id:032x}"
            fields["span_id"] = f"{log.span_id:016x}"
        if log.severity_text:
            fields["severity"] = log.severity_text
        if logger:
            fields["logger"] = logger
        if "message" in self._include and log.body is not None:
            fields["message"] = log.body
        if attributes.get(UID):
            fields["$insert_id"] = attributes[UID]
        moment = _moment(log.timestamp or log.observed_timestamp, fields)
        bound = speak(attributes, names, fields)
        called = event_name(attributes, log.event_name)
        grounds = _GROUNDS[names.own, names.named or bool(called), False]
        return Record(called or name_of(log.body), moment, fields, logger, bound, grounds)

    def _describe(self, resource: Any) -> dict[str, object]:  # noqa: ANN401 -- a resource; the SDK is not imported here
        known, described = self._resource
        if known is not resource:
            described = {} if resource is None else describe_resource(resource.attributes)
            self._resource = (resource, described)
        return described


class Stamper:
    """
    Writes down what is bound, and the chosen baggage, for the reader on another thread.

    Args:
        settings: Where `baggage` is read; `None` is the environment.

        fields: Settings that replace those.
    """

    def __init__(self, settings: Settings | None, fields: dict[str, Any]) -> None:
        self._notices = Notices(SYSTEM_CLOCK)
        self._baggage = _baggage(settings, fields)

    def stamp(self, write: Callable[[dict[str, Any]], object], context: Context | None) -> None:
        """Hand the stamps to *write*; whatever goes wrong, the application goes on."""
        try:
            found = self._collect(context)
            if found:
                write(found)
        except Exception as error:  # noqa: BLE001 -- OpenTelemetry calls us on the caller's thread
            self._notices.warn("stamp", f"what is bound was not added: {type(error).__name__}")

    def _collect(self, context: Context | None) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key in self._baggage:
            said = get_baggage(key, context)
            if said is not None:
                found[BAGGAGE + key] = text_of(said)
        for key, value in current().items():
            name = text_of(key)
            if name in IDENTITY:
                # Never cut, as other values are.
                if value is not None:
                    found[BOUND + name] = as_id(value, prefixed=name == "$device_id")
                continue
            plain = clean(value)
            if isinstance(plain, (list, dict)):
                # Older releases take no mappings, and lists only of one type.
                found[BOUND_JSON + name] = orjson.dumps(plain).decode()
            elif plain is not MISSING:
                found[BOUND + name] = plain
        return found


def _baggage(settings: Settings | None, fields: dict[str, Any]) -> tuple[str, ...]:
    try:
        if settings is None:
            return Settings.from_environment(**fields).baggage
        return replace_fields(settings, fields).baggage
    except SettingsError as error:
        if settings is not None or fields:
            raise
        logger.warning("baggage is not read: %s", error)
        return ()


def _copy(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    """Copy *attributes*; OpenTelemetry's own mapping would take a lock for each name."""
    if attributes is None:
        return {}
    copy: Callable[[], dict[str, Any]] | None = getattr(attributes, "copy", None)
    return dict(attributes) if copy is None else copy()


def _ids(span: ReadableSpan) -> tuple[str, str]:
    return f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"


def _moment(nanoseconds: int | None, fields: dict[str, object]) -> float:
    """Give the time in seconds; now, and a property with what was said, if it cannot be true."""
    now = time.time()
    if nanoseconds is None:
        return now
    milliseconds = nanoseconds // 1_000_000
    # An earlier one stands for nothing that OpenTelemetry could have seen.
    if SURELY_MS <= milliseconds <= now * 1000 + MAX_AHEAD_MS:
        # A little more, so that it is this millisecond whichever way a float is rounded.
        return (milliseconds + 0.25) / 1000
    fields["time_"] = nanoseconds
    return now


def _somebody(fields: Mapping[str, object], bound: Mapping[str, object]) -> bool:
    """Say whether it is known who it is about."""
    for source in (fields, bound):
        for name in IDENTITY:
            value = source.get(name)
            if value is not None:
                return bool(as_id(value))
    return False
