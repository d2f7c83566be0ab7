"""Ctrl-C as a question that is asked at good moments, instead of an exception at any moment."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

_ASKING = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """
    Remembers, inside its context, that Ctrl-C or SIGTERM asked for the end.

    True once that happened. Only for the main thread.
    """

    def __init__(self) -> None:
        self._number = 0
        self._before: dict[signal.Signals, Callable[..., Any] | int | None] = {}

    def __enter__(self) -> Stop:  # noqa: PYI034 -- Self is newer than Python 3.10
        self._before = {number: signal.signal(number, self._note) for number in _ASKING}
        return self

    def __exit__(self, *_exc_info: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __bool__(self) -> bool:
        return self._number != 0

    @property
    def status(self) -> int:
        """The exit status that says what ended the process, as shells count it."""
        return 128 + self._number

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._number = number
