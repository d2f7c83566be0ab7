"""Telling the operator: the first of a kind at once, then at most one a minute with a count."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mixpanel_export._clock import Clock

logger: Final = logging.getLogger("mixpanel_export")


def _say_anyway(record: logging.LogRecord) -> bool:
    """
    Print a warning that only handlers of ours would get: they send it nowhere.

    Where there is no handler at all, `logging` prints it by itself. One of ours on the root logger
    would make it silent, and the loss of events with it.
    """
    found = False
    here: logging.Logger | None = logger
    while here is not None:
        for handler in here.handlers:
            if not any(
                each.__module__.startswith("mixpanel_export.") for each in type(handler).mro()
            ):
                return True
            found = True
        here = here.parent if here.propagate else None
    last = logging.lastResort
    if found and last is not None and record.levelno >= last.level:
        last.handle(record)
    return True


logger.addFilter(_say_anyway)

#: Seconds between two notices of one kind. A server that is down for an hour is worth 60 lines, not
#: one for each event.
INTERVAL: Final = 60.0


class Notices:
    """
    Warnings that cannot flood a log.

    Args:
        clock: Where the time comes from.

        interval: Seconds between two of one kind.
    """

    __slots__ = ("_clock", "_interval", "_kinds")

    def __init__(self, clock: Clock, interval: float = INTERVAL) -> None:
        self._clock = clock
        self._interval = interval
        self._kinds: dict[str, tuple[float, int]] = {}

    def warn(self, kind: str, text: str) -> None:
        """
        Log *text* as a warning, unless one of this *kind* was logged a short while ago.

        Args:
            kind: What is counted together.

            text: What is wrong, and what helps; never a payload or a secret.
        """
        now = self._clock.monotonic()
        last, silent = self._kinds.get(kind, (float("-inf"), 0))
        if now - last < self._interval:
            self._kinds[kind] = (last, silent + 1)
            return
        self._kinds[kind] = (now, 0)
        more = f" ({silent} more like this since the last such line)" if silent else ""
        logger.warning("%s%s", text, more)
