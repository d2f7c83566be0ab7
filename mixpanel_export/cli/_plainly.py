"""Errors as sentences: a traceback only for those who ask for it."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from pathlib import PurePath
from typing import Any, Final

import click

_OURS: Final = __name__.partition(".")[0]


def plainly(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the flag ``--debug``; without it whatever it raises is told in one line."""

    @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
    @functools.wraps(command)
    def careful(*args: Any, debug: bool, **kwargs: Any) -> Any:  # noqa: ANN401 -- whatever it returns
        try:
            return command(*args, **kwargs)
        except click.ClickException:
            raise
        except Exception as error:
            if debug:
                raise
            text = " ".join(str(error).split())
            raise click.ClickException(
                f"{type(error).__name__}: {text or 'no message'} (--debug shows where)"
            ) from error

    return careful


def origin(error: BaseException) -> str:
    """Say in brackets where somebody else's code raised *error*; nothing if it was not there."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    path = PurePath(last.filename)
    if _OURS in path.parts or last.filename.startswith("<"):
        return ""
    return f" ({path.name}, line {last.lineno})"
