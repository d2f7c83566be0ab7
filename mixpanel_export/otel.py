"""
The doors for OpenTelemetry: spans and log records as events.

Needs the extra ``otel``. The exporters also answer to the name ``mixpanel``, in
``OTEL_TRACES_EXPORTER`` and ``OTEL_LOGS_EXPORTER`` and in OpenTelemetry's configuration file.
"""

from __future__ import annotations

import hashlib
import time
from _thread import get_ident
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

import orjson

from mixpanel_export._clock import SYSTEM_CLOCK
from mixpanel_export._context import current
from mixpanel_export._door import Door, replace_fields
from mixpanel_export._event import Drop
from mixpanel_export._exceptions import SettingsError
from mixpanel_export._ids import as_id
from mixpanel_export._limits import MAX_AHEAD_MS, MIN_TIME_MS
from mixpanel_export._notice import Notices, logger
from mixpanel_export._pipeline import Pipeline, delivering, is_delivering
from mixpanel_export._plan import IDENTITY, MARKS
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
from mixpanel_export._settings import Settings
from mixpanel_export._values import MISSING, clean, text_of

try:
    from opentelemetry._logs import LogRecord
    from opentelemetry.baggage import get_baggage
    from opentelemetry.context import Context
    from opentelemetry.sdk._logs import LogRecordProcessor, ReadableLogRecord, ReadWriteLogRecord
    from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
    from opentelemetry.sdk.trace import Event as SpanEvent
    from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
    from opentelemetry.trace import SpanKind, StatusCode
except ImportError as error:
    raise ImportError(
        "mixpanel_export.otel needs OpenTelemetry's SDK, 1.39 or newer:"
        " pip install 'mixpanel-export[otel]'"
    ) from error

__all__ = [
    "MixpanelContextLogProcessor",
    "MixpanelContextSpanProcessor",
    "MixpanelLogRecordExporter",
    "MixpanelSpanExporter",
]

# Why a record may be no event without anything having gone wrong.
_MEANT: Final = frozenset({Drop.IGNORED, Drop.TRANSFORM})

_KINDS: Final = {kind: kind.name.lower() for kind in SpanKind}
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
# What an event of a span has from it.
_SHARED: Final = (*RESOURCE, "trace_id", "span_id", *IDENTITY, "ip")
_NO_GROUNDS: Final[frozenset[str]] = frozenset()
_EVERY_GROUND: Final = frozenset({"marked", "identified", "structured", "entry", "all"})


class _Reader:
    """
    Makes records of what OpenTelemetry hands over.

    Args:
        settings: Where `loggers` is read.
    """

    def __init__(self, settings: Settings) -> None:
        self._scoped = settings.loggers is not None
        self._include: tuple[str, ...] = ()
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
        entry = (span.parent is None or span.parent.is_remote) and _somebody(fields, bound)
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
        if attributes.get(UID):
            fields["$insert_id"] = attributes[UID]
        moment = _moment(log.timestamp or log.observed_timestamp, fields)
        bound = speak(attributes, names, fields)
        called = event_name(attributes, log.event_name)
        grounds = _GROUNDS[names.own, names.named or bool(called), False]
        return Record(called or name_of(log.body), moment, fields, logger, bound, grounds)

    def _describe(self, resource: Any) -> dict[str, object]:  # noqa: ANN401
        known, described = self._resource
        if known is not resource:
            described = {} if resource is None else describe_resource(resource.attributes)
            self._resource = (resource, described)
        return described


class _Intake:
    """
    One call of `export`: offers records to the pipeline, and notes what becomes of them.

    Args:
        door: Where they go in.
    """

    __slots__ = ("_door", "_verdict", "record", "refused")

    def __init__(self, door: Door) -> None:
        self._door = door
        self._verdict: object = None
        #: The record that was offered last.
        self.record: Record | None = None
        #: Whether something that should have been taken was not.
        self.refused = False

    def take(self, read: Callable[..., Record], *what: object) -> bool:
        """Offer what *read* makes of *what*; say whether it is an event."""
        # What a pipeline that is off will not even look at.
        self._verdict, self.record = Drop.IGNORED, None
        # Read within: what raises is counted there.
        taken = self._door.pipeline.offer((read, what), self._seal)
        if not taken and self._verdict not in _MEANT:
            self.refused = True
        return self._verdict is not Drop.IGNORED

    def _seal(
        self,
        item: tuple[Callable[..., Record], tuple[object, ...]],
        insert_id: Callable[[], str],
        wall: Callable[[], float],
        /,
    ) -> bytes | Drop:
        self._verdict = None
        read, what = item
        self.record = read(*what)
        self._verdict = verdict = self._door.seal(self.record, insert_id, wall)
        return verdict


class _Exporter:
    """
    What both exporters have in common.

    Args:
        door: Where the records go in.
    """

    def __init__(self, door: Door) -> None:
        self._door = door
        self._read = _Reader(door.settings)
        self._ended = False

    @property
    def pipeline(self) -> Pipeline:
        """Where the events go."""
        return self._door.pipeline

    def _begin(self, count: int) -> _Intake | None:
        """Open an intake; None for *count* records of a thread that delivers."""
        # They would feed on themselves; with a simple processor they come here on that thread.
        thread = get_ident()
        if thread in delivering and is_delivering(thread):
            for _ in range(count):
                self._door.pipeline.ignore()
            return None
        return _Intake(self._door)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """
        Deliver what was exported so far.

        Args:
            timeout_millis: The longest wait; less while the process exits.

        Returns:
            True if all of it has reached a final state.
        """
        return self._ended or self._door.drain(timeout_millis / 1000)

    def shutdown(self, timeout_millis: int = 30_000) -> None:
        """
        Deliver what was exported, and take nothing more; other doors of the pipeline stay open.

        Args:
            timeout_millis: The longest wait; never longer than the setting `shutdown_timeout`.
        """
        if not self._ended:
            self._ended = True
            self._door.end(timeout_millis / 1000)


class MixpanelSpanExporter(_Exporter, SpanExporter):
    """
    Send spans that are events, and the events that were added to them, to Mixpanel.

    Made without arguments, as by OpenTelemetry itself, it is set by the environment; if that is
    wrong or holds no credentials, it warns once and takes nothing.

    Args:
        settings: Where everything is set; `None` is the environment. `select` is ``entry`` unless
            it says otherwise.

        pipeline: Deliver through this one instead of a shared one.

        fields: Single settings by name; they go before *settings* and the environment.

    Raises:
        SettingsError: If a setting is wrong.
    """

    def __init__(
        self,
        *,
        settings: Settings | None = None,
        pipeline: Pipeline | None = None,
        **fields: Any,  # noqa: ANN401 -- any field of Settings
    ) -> None:
        super().__init__(
            Door(
                "MixpanelSpanExporter",
                settings=settings,
                pipeline=pipeline,
                fields=fields,
                select="entry",
            )
        )

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """
        Take *spans*; returns at once and never raises.

        Returns:
            SUCCESS if the pipeline has accepted all that are events; FAILURE if it refused one, or
            after `shutdown`.
        """
        if self._ended:
            return SpanExportResult.FAILURE
        intake = self._begin(len(spans))
        if intake is None:
            return SpanExportResult.SUCCESS
        for span in spans:
            chosen = intake.take(self._read.read_span, span)
            if intake.record is not None and span.events:
                self._take_events(intake, span, intake.record, chosen)
        return SpanExportResult.FAILURE if intake.refused else SpanExportResult.SUCCESS

    def _take_events(
        self, intake: _Intake, span: ReadableSpan, of_span: Record, chosen: bool
    ) -> None:
        for number, event in enumerate(span.events):
            wanted = chosen and event.name != "exception"
            if wanted or any(mark in (event.attributes or ()) for mark in MARKS):
                intake.take(self._read.read_event, event, number, span, of_span, wanted)


class MixpanelLogRecordExporter(_Exporter, LogRecordExporter):
    """
    Send OpenTelemetry's log records that are events to Mixpanel.

    Made without arguments, as by OpenTelemetry itself, it is set by the environment; if that is
    wrong or holds no credentials, it warns once and takes nothing.

    Args:
        settings: Where everything is set; `None` is the environment. `select` is ``identified``
            unless it says otherwise.

        pipeline: Deliver through this one instead of a shared one.

        fields: Single settings by name; they go before *settings* and the environment.

    Raises:
        SettingsError: If a setting is wrong.
    """

    def __init__(
        self,
        *,
        settings: Settings | None = None,
        pipeline: Pipeline | None = None,
        **fields: Any,  # noqa: ANN401 -- any field of Settings
    ) -> None:
        super().__init__(
            Door(
                "MixpanelLogRecordExporter",
                settings=settings,
                pipeline=pipeline,
                fields=fields,
                select="identified",
            )
        )
        self._explained = False

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """
        Take the records of *batch*; returns at once and never raises.

        Returns:
            SUCCESS if the pipeline has accepted all that are events; FAILURE if it refused one, or
            after `shutdown`.
        """
        if self._ended:
            return LogRecordExportResult.FAILURE
        intake = self._begin(len(batch))
        if intake is None:
            return LogRecordExportResult.SUCCESS
        for record in batch:
            chosen = intake.take(self._read.read_log, record)
            if not chosen and intake.record is not None:
                self._explain(intake.record)
        return LogRecordExportResult.FAILURE if intake.refused else LogRecordExportResult.SUCCESS

    def _explain(self, record: Record) -> None:
        """Say once why a record that was meant to be an event is none."""
        marks = [record.fields[mark] for mark in MARKS if mark in record.fields]
        meant = marks[0] if marks else record.grounds and "identified" in record.grounds
        if meant and not record.name and not self._explained:
            self._explained = True
            logger.warning(
                "a log record is no event because nothing names it: give it an event_name, or the"
                " attribute mixpanel.event; more like it are counted as ignored"
            )


class _Stamper:
    """
    Writes down what is bound, and the chosen baggage, for exporters on another thread.

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


class MixpanelContextSpanProcessor(SpanProcessor):
    """
    Stamp each span, at its start, with what is bound then: `mixpanel_export.bind`.

    Exporters work later and elsewhere, where nothing is bound. The stamps are attributes whose
    names begin with ``mixpanel.``.

    Args:
        settings: Where `baggage`, the one setting that it reads, is set; `None` is the environment.

        fields: Single settings by name; they go before *settings* and the environment.

    Raises:
        SettingsError: If a setting is wrong.
    """

    def __init__(self, *, settings: Settings | None = None, **fields: Any) -> None:  # noqa: ANN401
        self._stamper = _Stamper(settings, fields)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Stamp *span*."""
        self._stamper.stamp(span.set_attributes, parent_context)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002
        """Have nothing to deliver."""
        return True


class MixpanelContextLogProcessor(LogRecordProcessor):
    """
    Stamp each log record, when it is emitted, with what is bound then: `mixpanel_export.bind`.

    Add it before the batch processor, which hands records on without their context. The stamps are
    attributes whose names begin with ``mixpanel.``.

    Args:
        settings: Where `baggage`, the one setting that it reads, is set; `None` is the environment.

        fields: Single settings by name; they go before *settings* and the environment.

    Raises:
        SettingsError: If a setting is wrong.
    """

    def __init__(self, *, settings: Settings | None = None, **fields: Any) -> None:  # noqa: ANN401
        self._stamper = _Stamper(settings, fields)

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Stamp *log_record*."""
        log = log_record.log_record
        self._stamper.stamp(lambda found: _add(log, found), log.context)
        thread = get_ident()
        if thread in delivering and is_delivering(thread):
            # About delivery: exporting it would feed on itself.
            _add(log, {MARKS[0]: False})

    def shutdown(self) -> None:
        """Have nothing to end."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002
        """Have nothing to deliver."""
        return True


def _add(log: LogRecord, found: dict[str, Any]) -> None:
    if log.attributes is None:
        log.attributes = found
    else:
        cast("dict[str, Any]", log.attributes).update(found)


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
    if MIN_TIME_MS <= milliseconds <= now * 1000 + MAX_AHEAD_MS:
        # A little more, so that it is this millisecond whichever way a float is rounded.
        return (milliseconds + 0.25) / 1000
    fields["time"] = nanoseconds
    return now


def _somebody(fields: Mapping[str, object], bound: Mapping[str, object]) -> bool:
    """Say whether it is known who it is about."""
    for source in (fields, bound):
        for name in IDENTITY:
            value = source.get(name)
            if value is not None:
                return bool(as_id(value))
    return False
