"""The door for `logging`."""

from __future__ import annotations

import logging
from _thread import get_ident
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from mixpanel_export._context import current
from mixpanel_export._door import Door
from mixpanel_export._pipeline import delivering, is_delivering
from mixpanel_export._record import Record
from mixpanel_export._values import text_of

if TYPE_CHECKING:
    from mixpanel_export._pipeline import Pipeline
    from mixpanel_export._settings import Settings

# The attributes of every record, in their order, found out instead of written down: Python 3.12
# brought another one. What `extra` adds to a record comes after them.
_STANDARD: Final = tuple(vars(logging.makeLogRecord({})))
_LAST_STANDARD: Final = _STANDARD[-1]
_SKIP: Final = len(_STANDARD) - 1

# What formatters of other handlers leave on a record; `logging` itself forbids them in `extra`.
_FORMATTED: Final = frozenset({"message", "asctime"})


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
        super().__init__(level)
        self._door = Door(
            "MixpanelHandler",
            settings=settings,
            pipeline=pipeline,
            fields=fields,
            select="structured",
        )
        self._offer = self._door.pipeline.offer
        self._seal = self._door.seal

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
        # A record of a thread that delivers would feed on itself.
        thread = record.thread or get_ident()
        if thread in delivering and is_delivering(thread):
            self._door.pipeline.ignore()
            return
        try:
            items = islice(vars(record).items(), _SKIP, None)
            if next(items)[0] == _LAST_STANDARD:
                fields: dict[Any, Any] = dict(items)
            else:
                fields = {
                    name: value for name, value in vars(record).items() if name not in _STANDARD
                }
            if not _FORMATTED.isdisjoint(fields):
                fields = {name: fields[name] for name in fields if name not in _FORMATTED}
            if record.args:
                fields = {**_arguments(record.args), **fields}
            name = record.msg
            if type(name) is not str:
                name = type(name).__name__ if isinstance(name, BaseException) else text_of(name)
            self._offer(Record(name, record.created, fields, record.name, current()), self._seal)
        except Exception:  # noqa: BLE001 -- logging's contract: a handler never raises
            self.handleError(record)

    def flush(self) -> None:
        """Send what came in, and wait for it half a second at most."""
        self._door.flush()

    def close(self) -> None:
        """Flush. Not final: `logging.config` closes handlers that go on receiving records."""
        self._door.close()
        super().close()


def _arguments(args: object) -> dict[Any, Any]:
    """Name the arguments of a message: a mapping's own names, or ``arg_0``, ``arg_1`` and so on."""
    if isinstance(args, Mapping):
        return dict(args)
    values = args if isinstance(args, tuple) else (args,)
    return {f"arg_{index}": value for index, value in enumerate(values)}
