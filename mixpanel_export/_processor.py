"""The door for structlog."""

from __future__ import annotations

import sys
from _thread import get_ident
from collections.abc import Mapping, MutableMapping
from functools import partial
from itertools import takewhile
from logging import Logger, LogRecord
from typing import TYPE_CHECKING, Any, Final

from mixpanel_export._clock import SYSTEM_CLOCK
from mixpanel_export._context import Holder, current, plus
from mixpanel_export._door import Door
from mixpanel_export._ids import MEMORY
from mixpanel_export._message import LEVELS, about, is_from_here, name_of, own_names, read
from mixpanel_export._notice import Notices
from mixpanel_export._plan import IDENTITY, MARKS
from mixpanel_export._process import delivering, is_delivering
from mixpanel_export._record import Record
from mixpanel_export._values import MISSING

if TYPE_CHECKING:
    from mixpanel_export._form import Form
    from mixpanel_export._pipeline import Pipeline
    from mixpanel_export._settings import Settings

# Without one of these nothing is identified or marked.
_TELLING: Final = frozenset({*IDENTITY, *MARKS})


class MixpanelProcessor:
    """
    Send what is said to structlog to Mixpanel if it is an event.

    It stands anywhere in front of the renderer, and behind `merge_contextvars` to see what that
    merges. It returns the event dict that it was given, untouched, costs the caller a few
    microseconds, never blocks and never raises. Doors with equal delivery settings share one
    pipeline.

    What structlog's processors have added is not sent: level, timestamp, logger, exception, stack,
    the place of the call. A copy of a processor is the same processor; pickled, it is opened anew
    with the same settings, credentials included.

    Args:
        settings: Where everything is set; `None` is the environment.

        pipeline: Deliver through this one instead of a shared one; it is not closed with the
            processor.

        fields: Single settings by name; they go before *settings* and the environment.

    Raises:
        SettingsError: If a setting is wrong. Without credentials the processor warns once and does
            nothing.
    """

    def __init__(
        self,
        *,
        settings: Settings | None = None,
        pipeline: Pipeline | None = None,
        **fields: Any,  # noqa: ANN401 -- any field of Settings
    ) -> None:
        self._door = Door(
            "MixpanelProcessor",
            settings=settings,
            pipeline=pipeline,
            fields=fields,
            select="identified",
        )
        self._offer = self._door.pipeline.offer
        self._seal = self._door.seal
        # By logger and the names in an event dict; None is what needs a closer look.
        self._forms: dict[tuple[object, ...], Form | None] = {}
        self._ignore = self._door.pipeline.ignore
        self._include = self._door.settings.include
        self._wall = self._door.pipeline._wall
        # Most of what is said is no event. Where names alone tell, it costs next to nothing.
        self._named = self._door.settings.select in (None, "identified", "marked")
        self._notices = Notices(SYSTEM_CLOCK)
        # Enough to open it again elsewhere; a pipeline cannot go there.
        self._opened_with = None if pipeline else (settings, fields)

    @property
    def pipeline(self) -> Pipeline:
        """Where the events go."""
        return self._door.pipeline

    def __call__(
        self,
        logger: object,
        method_name: str,  # noqa: ARG002 -- structlog's signature
        event_dict: MutableMapping[str, Any],
    ) -> MutableMapping[str, Any]:
        """Take *event_dict*, said to *logger*, and give it back as it is."""
        try:
            if (
                self._named
                and "distinct_id" not in event_dict
                and _TELLING.isdisjoint(event_dict.keys())
            ):
                self._ignore()
                if not self._door.explained:
                    self._door.explain(name_of(event_dict.get("event")))
                return event_dict
            origin = logger.name if isinstance(logger, Logger) else ""
            names = tuple(event_dict)
            try:
                form = self._forms[origin, names]
            except KeyError:
                form = self._meet(origin, names)
            if (
                form is None
                or type(name := event_dict["event"]) is not str
                or "\n" in name
                or not (
                    (level := event_dict.get("level")) is None
                    or (type(level) is str and level in LEVELS)
                )
                or get_ident() in delivering
                or current()
            ):
                self._look_closely(origin, event_dict)
            else:
                self._offer((name, self._wall(), event_dict, ""), form.seal)
        except Exception as error:  # noqa: BLE001 -- it would reach whoever said something
            self._complain(event_dict, error)
        return event_dict

    def flush(self) -> None:
        """Send what came in, and wait for it half a second at most."""
        self._door.flush()

    def close(self) -> None:
        """Flush. Not final: what is said afterwards arrives, too."""
        self._door.close()

    def __copy__(self) -> MixpanelProcessor:
        return self

    def __deepcopy__(self, memo: object) -> MixpanelProcessor:
        return self

    def __reduce__(self) -> tuple[object, ...]:
        if self._opened_with is None:
            raise TypeError("cannot pickle a MixpanelProcessor with a pipeline of its own")
        return _open, self._opened_with

    def _meet(self, origin: str, names: tuple[Any, ...]) -> Form | None:
        """Get ready for event dicts with these names; None if each needs a closer look."""
        # Without a name from here, that in the event dict counts.
        fields = own_names(names) if origin or "logger" not in names else None
        form = None if fields is None else self._door.translator.plan(origin, fields).form
        if len(self._forms) >= MEMORY:
            self._forms.clear()
        self._forms[origin, names] = form
        return form

    def _look_closely(self, origin: str, event_dict: Mapping[Any, Any]) -> None:
        """Take one with something about it that the names do not tell."""
        if delivering and _is_of_delivery(event_dict):
            # It would feed on itself.
            self._ignore()
        else:
            self._offer(self._read(origin, event_dict), self._seal)

    def _read(self, origin: str, event_dict: Mapping[Any, Any]) -> Record:
        name, fields, given = read(event_dict)
        moment = self._wall()
        if "_record" in event_dict and isinstance(record := event_dict["_record"], LogRecord):
            # Where structlog formats for logging, the record says more than what was made of it.
            moment = record.created
            origin = record.name
            if not event_dict.get("_from_structlog"):
                name = name_of(record.msg)
        else:
            origin = origin or given
        bound = current()
        if merged := _merged(event_dict, fields):
            # Bound, not said: no reason for an event, and beneath what is bound with us.
            fields = {key: value for key, value in fields.items() if key not in merged}
            bound = Holder(partial(_known, bound), within=merged) if bound else merged
        if failure := event_dict.get("exc_info"):
            bound = plus(bound, about(failure, self._include))
        return Record(name, moment, fields, origin, bound)

    def _complain(self, event_dict: object, error: Exception) -> None:
        # By its type: an object may even raise when it is asked for its class.
        if issubclass(type(event_dict), Mapping):
            self._notices.warn("bug", f"an event dict was not read: {type(error).__name__}")
        else:
            self._notices.warn(
                "place", "MixpanelProcessor stands behind a renderer; move it in front of it"
            )


def _open(settings: Settings | None, fields: dict[str, Any]) -> MixpanelProcessor:
    return MixpanelProcessor(settings=settings, **fields)


def _is_of_delivery(event_dict: Mapping[Any, Any]) -> bool:
    """Say whether it was said on a thread that delivers, maybe in logging and not here."""
    record = event_dict.get("_record")
    if not isinstance(record, LogRecord):
        return is_delivering(get_ident())
    return is_delivering(record.thread or get_ident()) and is_from_here(record)


def _merged(event_dict: Mapping[Any, Any], fields: Mapping[Any, Any]) -> dict[Any, Any]:
    """
    Find out what of *fields* `merge_contextvars` has put there from structlog's context variables.

    It puts it behind the message, where nothing stands that was said or bound to the logger. An
    event dict that somebody has sorted or renamed tells nothing. A mark is meant wherever it is.
    """
    contextvars = sys.modules.get("structlog.contextvars")
    there = contextvars.get_contextvars() if contextvars is not None else None
    if not there:
        return {}
    # By its type: another key may raise when it is compared.
    said = set(takewhile(lambda key: type(key) is not str or key != "event", event_dict))
    return {
        key: value
        for key, value in there.items()
        if key not in said and key not in MARKS and fields.get(key, MISSING) is value
    }


def _known(bound: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in bound.items() if value is not None}
