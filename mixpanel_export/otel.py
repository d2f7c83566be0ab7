"""
The doors for OpenTelemetry: spans and log records as events.

Needs the extra ``otel``. The exporters also answer to the name ``mixpanel``, in
``OTEL_TRACES_EXPORTER`` and ``OTEL_LOGS_EXPORTER`` and in OpenTelemetry's configuration file.
"""

from __future__ import annotations

from _thread import get_ident
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from mixpanel_export._door import Door
from mixpanel_export._event import Drop
from mixpanel_export._notice import logger
from mixpanel_export._pipeline import Pipeline
from mixpanel_export._plan import MARKS
from mixpanel_export._process import delivering, is_delivering
from mixpanel_export._record import Record
from mixpanel_export._settings import Settings
from mixpanel_export._translate import Sealed

try:
    from opentelemetry._logs import LogRecord
    from opentelemetry.context import Context
    from opentelemetry.sdk._logs import LogRecordProcessor, ReadableLogRecord, ReadWriteLogRecord
    from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
    from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    from mixpanel_export._telemetry import Reader, Stamper
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
_MEANT: Final = frozenset({Drop.IGNORED, Drop.TRANSFORM, Drop.SAMPLED, Drop.BUDGET})


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
    ) -> Sealed:
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
        self._read = Reader(door.settings)
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

    def __init__(self, *, settings: Settings | None = None, **fields: Any) -> None:  # noqa: ANN401 -- any field of Settings
        self._stamper = Stamper(settings, fields)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Stamp *span*."""
        self._stamper.stamp(span.set_attributes, parent_context)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 -- the SDK's signature
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

    def __init__(self, *, settings: Settings | None = None, **fields: Any) -> None:  # noqa: ANN401 -- any field of Settings
        self._stamper = Stamper(settings, fields)

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

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 -- the SDK's signature
        """Have nothing to deliver."""
        return True


def _add(log: LogRecord, found: dict[str, Any]) -> None:
    if log.attributes is None:
        log.attributes = found
    else:
        cast("dict[str, Any]", log.attributes).update(found)
