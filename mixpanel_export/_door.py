"""What all doors have in common: settings, a pipeline that they may share, a translator."""

from __future__ import annotations

import dataclasses
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final

from mixpanel_export import _lifecycle
from mixpanel_export._clock import SYSTEM_CLOCK
from mixpanel_export._exceptions import SettingsError
from mixpanel_export._notice import Notices, logger
from mixpanel_export._pipeline import HOPELESS, Pipeline
from mixpanel_export._settings import Settings
from mixpanel_export._translate import Translator
from mixpanel_export._values import cut

if TYPE_CHECKING:
    from mixpanel_export._record import Record

HOUR: Final = 3_600.0

# What a record needs to be an event.
_WANTED: Final = {
    "marked": "takes what has the field mixpanel_event",
    "identified": "takes what has a distinct_id, or the field mixpanel_event",
    "structured": "takes what has fields of its own, and is not a framework's",
    "entry": "takes spans without a local parent that have a distinct_id",
}

#: How long a door's flush or close may keep its caller, in seconds. `logging.config` calls both for
#: each handler, under a lock that other threads may wait for.
BRIEF: Final = 0.5

# Pipelines by the delivery settings that their doors agree on. The lock guards the look-up together
# with the entry that follows; doors are opened at start-up, events never come here.
_shared: weakref.WeakValueDictionary[tuple[object, ...], Pipeline] = weakref.WeakValueDictionary()
_shared_lock = threading.RLock()


class Door:
    """
    One place where records come in.

    Args:
        name: How warnings call it.

        settings: What holds for it; `None` is the environment.

        pipeline: Where its events go; `None` is the pipeline that all doors with the same delivery
            settings share.

        fields: Settings that replace those of *settings*, *pipeline* or environment.

        select: What decides which records are events if no setting does.

    Raises:
        SettingsError: If a setting is wrong. With nothing but the environment to go by, and where
            there are no credentials, it warns once instead and the door takes nothing.
    """

    def __init__(
        self,
        name: str,
        *,
        settings: Settings | None,
        pipeline: Pipeline | None,
        fields: dict[str, Any],
        select: str,
    ) -> None:
        if pipeline is None:
            settings = _choose(name, settings, fields)
            pipeline = _share(settings)
        else:
            settings = replace_fields(settings or pipeline.settings, fields)
            given = _with_delivery_of(settings, pipeline.settings)
            if given != settings:
                raise SettingsError(
                    "the pipeline decides how events are delivered; give it other settings instead"
                )
        self._name = name
        self.settings = settings
        self.pipeline = pipeline
        self._notices = Notices(SYSTEM_CLOCK, HOUR)
        self._select = settings.select if isinstance(settings.select, str) else select
        #: Whether it was explained why a record was ignored.
        self.explained = False
        self.translator = Translator(settings, select=select, hint=self.hint)
        self.seal = self.translator.seal
        self.pipeline.doors.add(self)

    def take(self, record: Record) -> bool:
        """Translate *record*, and have it delivered if it is an event; see `Pipeline.offer`."""
        return self.pipeline.offer(record, self.seal)

    def hint(self, kind: str, text: str) -> None:
        """Tell the user something that is worth knowing, at most once an hour of each *kind*."""
        if kind == "ignored":
            self.explain(text)
        else:
            self._notices.warn(kind, text)

    def explain(self, name: str) -> None:
        """Say why a record was ignored, the first time; later calls do nothing."""
        if not self.explained:
            self.explained = True
            logger.info(
                "%s: %r and others like it are no events: select=%r %s",
                self._name,
                cut(name, 60),
                self._select,
                _WANTED.get(self._select, "does not choose them"),
            )

    def flush(self) -> None:
        """Send what came in, and wait for it briefly; not at all while nothing answers."""
        deadline = _lifecycle.exit_deadline()
        if deadline is not None:
            self.pipeline.flush(deadline.left())
        else:
            self.pipeline.flush(BRIEF if self.pipeline.health.ok else 0)

    def drain(self, timeout: float) -> bool:
        """Send what came in, and wait for it; False if *timeout*, or the exit, comes first."""
        deadline = _lifecycle.exit_deadline()
        return self.pipeline.flush(timeout if deadline is None else deadline.clip(timeout))

    def end(self, timeout: float) -> None:
        """
        Send what came in, since nothing more will; with its last door a pipeline goes to rest.

        Args:
            timeout: The longest wait, in seconds; while the process exits, what is left of the time
                for that counts instead, and what is not delivered by then is given up.
        """
        deadline = _lifecycle.exit_deadline()
        if deadline is not None:
            self.pipeline.finish_exit(deadline)
        else:
            limit = self.settings.shutdown_timeout if self.pipeline.health.ok else HOPELESS
            self.pipeline.flush(min(timeout, limit))
        self._leave()

    def close(self) -> None:
        """Flush; with its last door closed a pipeline goes to rest. What comes later revives it."""
        self.flush()
        self._leave()

    def _leave(self) -> None:
        self.pipeline.doors.discard(self)
        if not self.pipeline.doors:
            self.pipeline.rest()


def _choose(name: str, settings: Settings | None, fields: dict[str, Any]) -> Settings:
    alone = settings is None and not fields
    try:
        chosen = (
            Settings.from_environment(**fields)
            if settings is None
            else replace_fields(settings, fields)
        )
    except SettingsError as error:
        if not alone:
            raise
        logger.warning("%s is off: %s", name, error)
        return Settings(disabled=True)
    if chosen.credentials is None and not chosen.disabled:
        logger.warning(
            "%s is off: there are no credentials; set MIXPANEL_TOKEN or the keyword token", name
        )
        return dataclasses.replace(chosen, disabled=True)
    return chosen


def replace_fields(settings: Settings, fields: dict[str, Any]) -> Settings:
    """Give *settings* with *fields* in place of its own; raises SettingsError if one is unknown."""
    try:
        return dataclasses.replace(settings, **fields)
    except TypeError as error:
        raise SettingsError(str(error)) from None


def _with_delivery_of(settings: Settings, other: Settings) -> Settings:
    """Give *settings* with everything but the "what" taken from *other*."""
    delivery = {
        each.name: getattr(other, each.name)
        for each in dataclasses.fields(Settings)
        if each.metadata["group"] != "what"
    }
    return dataclasses.replace(settings, **delivery)


def _share(settings: Settings) -> Pipeline:
    key = settings.delivery()
    try:
        hash(key)
    except TypeError:
        # A transport or callable of the application's that cannot be compared is not shared.
        return Pipeline(settings)
    with _shared_lock:
        pipeline = _shared.get(key)
        if pipeline is None or pipeline.closed:
            pipeline = _shared[key] = Pipeline(settings)
        return pipeline
