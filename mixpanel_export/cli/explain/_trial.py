"""A record through its door, into a pipeline that only watches."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from mixpanel_export import Event, MixpanelHandler, MixpanelProcessor, Pipeline, Settings
from mixpanel_export._door import Door
from mixpanel_export._event import Drop
from mixpanel_export._handler import _own
from mixpanel_export._message import arguments
from mixpanel_export._pipeline import Seal
from mixpanel_export._record import Record
from mixpanel_export._translate import Sealed, Translator
from mixpanel_export.cli.explain import _spoken

Json = Mapping[str, Any]


@dataclass(kw_only=True)
class Trial:
    """What a door made of one record."""

    #: The settings of the door.
    settings: Settings
    translator: Translator
    #: What `select` is if no setting says so.
    select: str
    #: What was said, by its names there.
    said: Json
    #: What the door made of it; an event if it was made by hand.
    record: Record | Event
    #: What came out.
    sealed: Sealed
    #: The event as `transform` was given it, and gave it back.
    transformed: tuple[Event, object] | None = None
    #: What the user would have been told.
    hints: list[str] = field(default_factory=list)
    #: Whether an id had to be made up.
    made_id: bool = False
    #: The fields that are arguments of a message.
    arguments: frozenset[object] = frozenset()
    #: For a span, whether it asks another service.
    client: bool = False


class _Watch(Pipeline):
    """A pipeline that keeps nothing, but notes what is offered and what it becomes."""

    def __init__(self, settings: Settings) -> None:
        #: What `transform` was given last, and gave back.
        self.transformed: tuple[Event, object] | None = None
        # Never a spool: what is only tried must not lie there for somebody to deliver.
        watched = None if settings.transform is None else self._watch(settings.transform)
        # Nor credentials, which nothing is sent with.
        settings = dataclasses.replace(settings, transform=watched, spool=None, disabled=True)
        super().__init__(settings)
        self._seal = Translator(settings, hint=self.hint).seal
        self.trials: list[dict[str, Any]] = []

    def offer(self, item: object, seal: Seal) -> bool:
        """Note *item*, and what *seal* makes of it."""
        made: list[str] = []

        def insert_id() -> str:
            made.append(self._process.insert_id())
            return made[-1]

        self.transformed = None
        trial: dict[str, Any] = {"record": _record_of(item), "hints": []}
        self.trials.append(trial)
        try:
            trial["sealed"] = seal(item, insert_id, self._wall)
        except Exception as error:  # noqa: BLE001 -- as `Pipeline.offer`
            trial["sealed"] = Drop.TRANSFORM
            self.hint("raised", f"it raised {type(error).__name__}: {error}")
        trial |= {"made_id": bool(made), "transformed": self.transformed}
        return not isinstance(trial["sealed"], Drop)

    def ignore(self) -> None:
        """Note that there was no event."""
        self.trials.append({"record": None, "sealed": Drop.IGNORED})

    def hint(self, kind: str, text: str) -> None:
        """Note what the user would be told."""
        if kind != "ignored" and self.trials:
            self.trials[-1]["hints"].append(text)

    def _watch(self, transform: Callable[[Event], Event | None]) -> Callable[[Event], Event | None]:
        def watched(event: Event) -> Event | None:
            self.transformed = (event, None)
            changed = transform(event)
            self.transformed = (event, changed)
            return changed

        return watched


def _record_of(item: object) -> Record | Event | None:
    if isinstance(item, (Record, Event)):
        return item
    # What an exporter offers: who reads it, and what.
    first, *rest = cast("tuple[Any, ...]", item)
    return cast("Record", first(*rest[0])) if callable(first) else None


def try_logging(said: Json, settings: Settings) -> list[Trial]:
    """Hand a log record to `MixpanelHandler`."""
    watch = _Watch(settings)
    handler = MixpanelHandler(settings=watch.settings, pipeline=watch)
    record = _spoken.log_record(said)
    _listen(handler._door, watch)
    handler.handle(record)
    args = arguments(record.args) if record.args else {}
    trials = _trials(
        handler._door, watch, "structured", {**args, **_own(record)}, handler._read(record)
    )
    for trial in trials:
        trial.arguments = frozenset(args)
    return trials


def try_structlog(said: Json, settings: Settings) -> list[Trial]:
    """Hand an event dict to `MixpanelProcessor`."""
    watch = _Watch(settings)
    processor = MixpanelProcessor(settings=watch.settings, pipeline=watch)
    event_dict = dict(said)
    _listen(processor._door, watch)
    processor(None, "info", event_dict)
    record = processor._read("", event_dict)
    return _trials(processor._door, watch, "identified", said, record)


def try_span(said: Json, settings: Settings) -> list[Trial]:
    """Hand a span to `MixpanelSpanExporter`; what was added to it is tried, too."""
    from mixpanel_export.otel import MixpanelSpanExporter

    watch = _Watch(settings)
    exporter = MixpanelSpanExporter(settings=watch.settings, pipeline=watch)
    span = _spoken.span(said)
    _listen(exporter._door, watch)
    exporter.export([span])
    attributes = dict(span.attributes or {})
    trials = _trials(exporter._door, watch, "entry", attributes)
    added = {event.name: dict(event.attributes or {}) for event in span.events}
    for trial in trials:
        trial.client = span.kind.name == "CLIENT"
    for trial in trials[1:]:
        # What it has from its span it shares.
        trial.said = {**attributes, **added.get(getattr(trial.record, "name", ""), {})}
    return trials


def try_log(said: Json, settings: Settings) -> list[Trial]:
    """Hand a log record of OpenTelemetry's to `MixpanelLogRecordExporter`."""
    from mixpanel_export.otel import MixpanelLogRecordExporter

    watch = _Watch(settings)
    exporter = MixpanelLogRecordExporter(settings=watch.settings, pipeline=watch)
    record = _spoken.log(said)
    _listen(exporter._door, watch)
    exporter.export([record])
    attributes = dict(record.log_record.attributes or {})
    return _trials(exporter._door, watch, "identified", attributes)


def try_event(said: Json, settings: Settings) -> list[Trial]:
    """Submit an event by hand, given as Mixpanel's own JSON."""
    watch = _Watch(settings)
    name, properties = said.get("event"), said.get("properties", {})
    if not isinstance(name, str) or not isinstance(properties, Mapping):
        raise _spoken.NotSpokenError('an event is {"event": "Signed Up", "properties": {…}}')
    rest = dict(properties)
    event = Event(name, distinct_id=rest.pop("distinct_id", None) or "", properties=rest)
    watch.submit(event)
    translator = Translator(watch.settings)
    return [
        Trial(settings=watch.settings, translator=translator, select="all", said=rest, **each)
        for each in watch.trials
    ]


#: Each door, by the name that `--door` has for it.
DOORS: Final[dict[str, Callable[[Json, Settings], list[Trial]]]] = {
    "logging": try_logging,
    "structlog": try_structlog,
    "span": try_span,
    "log": try_log,
    "event": try_event,
}


def _listen(door: Door, watch: _Watch) -> None:
    # In place of the notice that a door writes to its log, at most once an hour.
    door.translator._hint = watch.hint


def _trials(
    door: Door, watch: _Watch, select: str, said: Json, record: Record | None = None
) -> list[Trial]:
    return [
        Trial(
            settings=door.settings,
            translator=door.translator,
            select=select,
            said=said,
            **{**trial, "record": trial["record"] or record},
        )
        for trial in watch.trials
    ]
