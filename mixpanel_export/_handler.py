"""The door for `logging`."""

from __future__ import annotations

import logging
from _thread import get_ident
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, cast

from mixpanel_export._context import current, plus
from mixpanel_export._door import Door
from mixpanel_export._ids import MEMORY
from mixpanel_export._message import (
    MOST_PLACES,
    about,
    arguments,
    headline,
    is_from_here,
    name_of,
    read,
    text_of_record,
)
from mixpanel_export._process import delivering, is_delivering
from mixpanel_export._record import new_record

if TYPE_CHECKING:
    from mixpanel_export._form import Form
    from mixpanel_export._pipeline import Pipeline
    from mixpanel_export._record import Record
    from mixpanel_export._settings import Settings

# The attributes of every record, in their order, found out instead of written down: Python 3.12
# brought another one. What `extra` adds to a record comes after them.
_STANDARD: Final = tuple(vars(logging.makeLogRecord({})))
_LAST_STANDARD: Final = _STANDARD[-1]
_SKIP: Final = len(_STANDARD) - 1


class MixpanelHandler(logging.Handler):
    """
    Send log records that are events to Mixpanel.

    It costs the caller a few microseconds, never blocks, never raises, and changes nothing for
    other handlers. Handlers with equal delivery settings share one pipeline.

    Args:
        level: Records below it are not looked at.

        settings: Where everything else is set; `None` is the environment.

        pipeline: Deliver through this one instead of a shared one; it is not closed with the
            handler.

        fields: Single settings by name; they go before *settings* and the environment.

    Raises:
        SettingsError: If a setting is wrong. Without credentials the handler warns once and does
            nothing.
    """

    def __init__(
        self,
        level: int | str = logging.NOTSET,
        *,
        settings: Settings | None = None,
        pipeline: Pipeline | None = None,
        **fields: Any,  # noqa: ANN401 -- any field of Settings
    ) -> None:
        self._door = Door(
            "MixpanelHandler",
            settings=settings,
            pipeline=pipeline,
            fields=fields,
            select="structured",
        )
        self._offer = self._door.pipeline.offer
        self._seal = self._door.seal
        self._include = self._door.settings.include
        # By logger and the names of everything on a record; None is what needs a closer look.
        self._forms: dict[tuple[object, ...], Form | None] = {}
        # Last: `logging` knows the handler from here on, and flushes all that it knows of.
        super().__init__(level)

    @property
    def pipeline(self) -> Pipeline:
        """Where the events go."""
        return self._door.pipeline

    def createLock(self) -> None:  # noqa: N802 -- logging's name
        """Have no lock: there is nothing to guard, and one could deadlock with a signal handler."""
        self.lock = None

    def _at_fork_reinit(self) -> None:
        """Have nothing to make anew; `logging` calls it for the lock."""

    def handle(self, record: logging.LogRecord) -> bool:
        """Take *record* unless a filter objects; without the lock that `logging` would take."""
        if self.filters:
            verdict: object = self.filter(record)
            if not verdict:
                return False
            if isinstance(verdict, logging.LogRecord):  # Python 3.12 and later
                record = verdict
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Take *record*."""
        try:
            # A record of a thread that delivers would feed on itself.
            thread = record.thread or get_ident()
            if thread in delivering and is_delivering(thread) and is_from_here(record):
                self._door.pipeline.ignore()
                return
            fields = record.__dict__
            name = record.msg
            try:
                own = tuple(islice(reversed(fields), len(fields) - _SKIP))
                form = self._forms[record.name, own]
            except KeyError:
                form = self._meet(record)
            if (
                form is None
                # By its type: an object may even raise when it is asked for its class.
                or type(name) is not str
                or "\n" in name
                or record.args
                or record.exc_info
                or current()
            ):
                self._offer(self._read(record), self._seal)
            else:
                self._offer((name, record.created, fields, ""), form.seal)
        except Exception:  # noqa: BLE001 -- logging's contract: a handler never raises
            self.handleError(record)

    def _meet(self, record: logging.LogRecord) -> Form | None:
        """Get ready for records like this one, all from one logger and with fields of one kind."""
        fields = _own(record)
        form = self._door.translator.plan(record.name, tuple(fields)).form
        if "extra" in fields or self._include:
            form = None
        if len(self._forms) >= MEMORY:
            self._forms.clear()
        self._forms[record.name, _own_names(vars(record))] = form
        self._look_around(record)
        return form

    def _read(self, record: logging.LogRecord) -> Record:
        """Make a record of any log record."""
        fields = _own(record)
        # All that loguru was told is in there. -- loguru 0.7.3, StandardSink (read 2026-11-21).
        if issubclass(type(fields.get("extra")), dict):
            fields = {**fields.pop("extra"), **fields}
        if record.args:
            fields = {**arguments(record.args), **fields}
        name = record.msg
        if type(name) is not str:
            if issubclass(type(name), Mapping):
                # structlog hands its event dict to a formatter like this, and formatters of JSON
                # take any; the record's own fields are there as well.
                name, fields, _ = read({**fields, **cast("Mapping[Any, Any]", name)})
            else:
                name = name_of(name)
        elif "\n" in name:
            name = headline(name)
        bound = current()
        if record.exc_info or self._include:
            bound = plus(bound, self._beside(record))
        return new_record((name, record.created, fields, record.name, bound, None))

    def _look_around(self, record: logging.LogRecord) -> None:
        """Look whether another handler gets the records of this logger, too."""
        # Not getLogger: it takes a lock, and makes loggers.
        logger = logging.Logger.manager.loggerDict.get(record.name, logging.root)
        found = 0
        while isinstance(logger, logging.Logger):
            found += sum(isinstance(each, MixpanelHandler) for each in logger.handlers)
            logger = logger.parent if logger.propagate else None  # type: ignore[assignment] # the end
        if found > 1:
            self._door.hint(
                "doors",
                f"{found} MixpanelHandlers get the records of logger {record.name!r}: each sends"
                " an event of its own",
            )

    def _beside(self, record: logging.LogRecord) -> dict[str, object]:
        """Give what is known beside the fields; it makes no record an event."""
        found = about(record.exc_info, self._include) if record.exc_info else {}
        if "message" in self._include:
            found["message"] = text_of_record(record)
        if "stack" in self._include and record.stack_info:
            found.setdefault("stack", record.stack_info.splitlines()[-MOST_PLACES:])
        return found

    def flush(self) -> None:
        """Send what came in, and wait for it half a second at most."""
        self._door.flush()

    def close(self) -> None:
        """Flush. Not final: `logging.config` closes handlers that go on receiving records."""
        self._door.close()
        super().close()


def _own_names(fields: dict[Any, Any]) -> tuple[Any, ...]:
    """Give the names of what is on a record beside what is on all, from behind; and one that is."""
    return tuple(islice(reversed(fields), len(fields) - _SKIP))


def _own(record: logging.LogRecord) -> dict[Any, Any]:
    """Give what is on *record* beside what is on all."""
    items = islice(vars(record).items(), _SKIP, None)
    fields: dict[Any, Any]
    if next(items, ("",))[0] == _LAST_STANDARD:
        fields = dict(items)
    else:
        fields = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    # What formatters of other handlers leave there; `logging` itself forbids it in `extra`.
    fields.pop("message", None)
    fields.pop("asctime", None)
    return fields
