"""The command `run`: another command, and a local Mixpanel that hears what it says."""

from __future__ import annotations

import http.client
import os
import sys
import time
from collections.abc import Mapping
from typing import Final

import click

from mixpanel_export.cli._child import NOT_FOUND, NOT_RUNNABLE, Child
from mixpanel_export.cli._extras import need_emulator
from mixpanel_export.cli._stop import Stop
from mixpanel_export.emulator import EmulatorProcess

# The emulator takes any. One of its own, so that what waits in a spool for a real project stays.
_TOKEN: Final = "local"  # noqa: S105 -- not a secret

# Real credentials have no business here, and neither has a switch that keeps quiet.
_TAKEN_AWAY: Final = (
    "MIXPANEL_SERVICE_ACCOUNT",
    "MIXPANEL_SERVICE_SECRET",
    "MIXPANEL_PROJECT_ID",
    "MIXPANEL_API_SECRET",
    "MIXPANEL_REGION",
    "MIXPANEL_DISABLED",
)

# How long Ctrl-C may go unnoticed while only the page is left, in seconds.
_TICK: Final = 0.05


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("--open", "open_page", is_flag=True, help="Open the page in a browser.")
@click.option("--keep", is_flag=True, help="Leave the emulator and its page running until Ctrl-C.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port of the emulator; 0: any.  [default: 8787, else the next free one]",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(command: tuple[str, ...], port: int | None, *, open_page: bool, keep: bool) -> None:
    """
    Run a command with a local Mixpanel.

    \b
        mixpanel-export run -- python your_application.py

    COMMAND finds an emulator in MIXPANEL_BASE_URL, and a token for it in MIXPANEL_TOKEN; variables
    with other credentials, MIXPANEL_REGION and MIXPANEL_DISABLED are taken away. Signals go to it,
    and its exit status is this one's. What arrived is printed at its end, to standard error: its
    own output stays as it is.
    """  # noqa: D301 -- click's sign for "leave these lines as they are"
    need_emulator("run")
    try:
        running = EmulatorProcess(*(("--open",) if open_page else ()), port=port)
    except RuntimeError as error:
        raise click.ClickException(str(error)) from error
    with running as emulator:
        click.echo(f"A local Mixpanel with a live page:  {emulator.url}", err=True)
        status = _run(command, _environment(os.environ, emulator.url))
        _tell(emulator)
        if keep:
            _wait(emulator.url)
        sys.exit(status)


def _environment(own: Mapping[str, str], url: str) -> dict[str, str]:
    """Return the environment in which a command sends to *url*."""
    # A proxy cannot reach it.
    direct = [each for name in ("no_proxy", "NO_PROXY") if (each := own.get(name))]
    unproxied = ",".join([*direct, "127.0.0.1"])
    kept = {name: value for name, value in own.items() if name not in _TAKEN_AWAY}
    return {
        **kept,
        "MIXPANEL_BASE_URL": url,
        "MIXPANEL_TOKEN": _TOKEN,
        "NO_PROXY": unproxied,
        "no_proxy": unproxied,
    }


def _run(command: tuple[str, ...], environment: Mapping[str, str]) -> int:
    try:
        return Child().run(command, environment)
    except FileNotFoundError:
        click.echo(f"Error: there is no command {command[0]!r}", err=True)
        return NOT_FOUND
    except OSError as error:
        click.echo(f"Error: cannot run {command[0]!r}: {error}", err=True)
        return NOT_RUNNABLE


def _tell(emulator: EmulatorProcess) -> None:
    from mixpanel_export.cli._arrived import show_arrived

    try:
        show_arrived(emulator)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        # The status is the command's all the same.
        click.echo(f"the emulator does not answer: {error}", err=True)


def _wait(url: str) -> None:
    with Stop() as stop:
        click.echo(f"\nThe page stays until Ctrl-C:  {url}", err=True)
        while not stop:
            time.sleep(_TICK)  # A signal ends it at once.
