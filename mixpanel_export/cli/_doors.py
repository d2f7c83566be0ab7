"""The four doors to the pipeline: each a voice with which the shop says what happens in it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from mixpanel_export import Event, MixpanelHandler, MixpanelProcessor, Pipeline, Settings
from mixpanel_export.cli._shop import Visitor, Voice

#: The property that says through which door an event came.
DOOR: Final = "door"


class ByLogging(Voice):
    """Log records, as any application writes them."""

    name = "logging"

    def __init__(self, pipeline: Pipeline) -> None:
        self._log = logging.getLogger("shop")
        self._log.setLevel(logging.INFO)
        self._log.propagate = False
        self._handler = MixpanelHandler(pipeline=pipeline, super_properties={DOOR: self.name})
        self._log.addHandler(self._handler)

    def say(
        self,
        visitor: Visitor,  # noqa: ARG002 -- bound
        event: str,
        fields: Mapping[str, Any],
        profile: Mapping[str, Any],
    ) -> None:
        self._log.info(event, extra={**fields, **_of(profile)})

    def note(self, text: str, *arguments: object) -> None:
        # Without fields of its own it is no event.
        self._log.info(text, *arguments)

    def close(self) -> None:
        self._log.removeHandler(self._handler)


class ByStructlog(Voice):
    """Lines of structlog: those that name somebody are events."""

    name = "structlog"
    extra = "structlog"

    def __init__(self, pipeline: Pipeline) -> None:
        import structlog
        from structlog.testing import ReturnLogger

        door = MixpanelProcessor(pipeline=pipeline, super_properties={DOOR: self.name})
        # Whatever is left of a line behind the last processor, this logger only returns.
        self._log = structlog.wrap_logger(ReturnLogger(), processors=[door])

    def say(
        self, visitor: Visitor, event: str, fields: Mapping[str, Any], profile: Mapping[str, Any]
    ) -> None:
        self._log.info(event, distinct_id=visitor.distinct_id, **fields, **_of(profile))

    def note(self, text: str, *arguments: object) -> None:
        # What is bound is known of it too, but makes no event of it.
        self._log.info(text, *arguments)


class BySpans(Voice):
    """OpenTelemetry's spans: those without a parent, and about somebody, are events."""

    name = "OpenTelemetry"
    extra = "otel"

    def __init__(self, pipeline: Pipeline) -> None:
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor

        from mixpanel_export.otel import MixpanelContextSpanProcessor, MixpanelSpanExporter

        door = MixpanelSpanExporter(pipeline=pipeline, super_properties={DOOR: self.name})
        self._provider = TracerProvider(shutdown_on_exit=False)
        self._provider.add_span_processor(MixpanelContextSpanProcessor(settings=pipeline.settings))
        self._provider.add_span_processor(SimpleSpanProcessor(door))
        self._tracer = self._provider.get_tracer("shop")
        self._pipeline = pipeline

    def say(
        self, visitor: Visitor, event: str, fields: Mapping[str, Any], profile: Mapping[str, Any]
    ) -> None:
        self._tracer.start_span(event, attributes=fields).end()
        if profile:
            # No attribute of a span changes a profile.
            self._pipeline.update_profile(visitor.distinct_id, set=profile)

    def note(self, text: str, *arguments: object) -> None:  # noqa: ARG002 -- a name is not filled in
        self._tracer.start_span(text, attributes={"mixpanel.event": False}).end()

    def close(self) -> None:
        self._provider.shutdown()


class ByHand(Voice):
    """Events made by hand, which nobody else hears of."""

    name = "by hand"

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def say(
        self, visitor: Visitor, event: str, fields: Mapping[str, Any], profile: Mapping[str, Any]
    ) -> None:
        who = visitor.distinct_id
        self._pipeline.submit(Event(event, distinct_id=who, properties=fields, ip=visitor.ip))
        if profile:
            self._pipeline.update_profile(who, set=profile)

    def note(self, text: str, *arguments: object) -> None:
        """Have nobody to say it to."""


_VOICES: Final[tuple[type[Voice], ...]] = (ByLogging, ByStructlog, BySpans, ByHand)


def _of(profile: Mapping[str, Any]) -> dict[str, Any]:
    """Give the field that sets *profile*."""
    return {"$set": profile} if profile else {}


def make_pipeline(url: str) -> Pipeline:
    """Make the pipeline that all doors share; it delivers to *url*."""
    # Given by hand, so that the environment has no say.
    settings = Settings(token="demo", base_url=url, super_properties={DOOR: ByHand.name})  # noqa: S106 -- any will do
    return Pipeline(settings)


@contextmanager
def open_doors(pipeline: Pipeline) -> Iterator[tuple[list[Voice], list[str]]]:
    """
    Open, for the time of this context, each door to *pipeline* that is installed.

    Gives the voices, and for each of the others a line that says what to install.
    """
    opened = [_open(kind, pipeline) for kind in _VOICES]
    voices = [voice for voice in opened if isinstance(voice, Voice)]
    with ExitStack() as doors:
        for voice in voices:
            doors.callback(voice.close)
        yield voices, [why for why in opened if isinstance(why, str)]


def _open(kind: type[Voice], pipeline: Pipeline) -> Voice | str:
    """Open a door; or say why it cannot be, in a line."""
    try:
        return kind(pipeline)
    except ModuleNotFoundError:
        return f"{kind.name}: not installed; pip install 'mixpanel-export[{kind.extra}]'"
    except ImportError as error:
        # Too old a release, say.
        return f"{kind.name}: {error}"
