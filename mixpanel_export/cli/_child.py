"""A command that runs as if it had been started in our place."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Final

# What somebody may send to the process that they see, and mean the command.
_FORWARDED: Final = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2")

# What a terminal sends to all processes in its foreground by itself.
_KEYS: Final = ("SIGINT", "SIGQUIT")

#: What shells answer for a command that cannot be run, and for one that is not there.
NOT_RUNNABLE: Final = 126
NOT_FOUND: Final = 127


class Child:
    """
    Runs one command: signals go to it, and its exit status is ours.

    It shares terminal, standard streams and process group with us, so that Ctrl-C, Ctrl-Z and the
    window's size reach it as they would without us. Only for the main thread.
    """

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []

    def run(self, arguments: Sequence[str], environment: Mapping[str, str]) -> int:
        """
        Run a command to its end; returns its status, as shells count it if a signal ended it.

        Raises:
            OSError: If it cannot be started.
        """
        known = [number for name in _FORWARDED if (number := getattr(signal, name, None))]
        # What is ignored stays so, for the command too: that is how nohup works.
        heard = [number for number in known if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self._forward) for number in heard}
        try:
            self._child = subprocess.Popen(arguments, env=environment)  # noqa: S603 -- what was asked for
            for number in self._early:
                self._child.send_signal(number)
            status = self._child.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        return status if status >= 0 else 128 - status

    def _forward(self, number: int, _frame: FrameType | None) -> None:
        if signal.Signals(number).name in _KEYS and _on_the_terminal():
            # The command has it already, and takes a second one for impatience.
            return
        if self._child is None:
            self._early.append(number)
        else:
            self._child.send_signal(number)


def _on_the_terminal() -> bool:
    """Say whether we are what the keyboard of a terminal speaks to."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    finally:
        os.close(terminal)
