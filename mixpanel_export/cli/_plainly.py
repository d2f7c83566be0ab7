"""Errors as sentences: a traceback only for those who ask for it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click


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
