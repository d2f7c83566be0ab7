"""What commands need that is not always there."""

from __future__ import annotations

from importlib.util import find_spec

import click


def need_emulator(command: str) -> None:
    """
    Say kindly what is missing for a command that runs an emulator and shows a ledger.

    Raises:
        click.ClickException: If something is; names it and how to get it.
    """
    for module in ("rich", "starlette", "uvicorn"):
        if find_spec(module) is None:
            raise click.ClickException(
                f"{module} is missing; {command} needs pip install 'mixpanel-export[cli,emulator]'"
            )
