"""The command `emulator`."""

from __future__ import annotations

import signal
import sqlite3
import sys
from types import FrameType
from typing import Any

import click

from mixpanel_export.emulator import _facts
from mixpanel_export.emulator._options import DEFAULT_MAX_STORED, DEFAULT_PORT, EmulatorOptions


@click.command(name="emulator")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=int, help=f"Port; 0: any.  [default: {DEFAULT_PORT}, else the next free one]"
)
@click.option("--db", metavar="FILE", help="SQLite file that survives a restart.")
@click.option(
    "--max-stored",
    default=DEFAULT_MAX_STORED,
    show_default=True,
    help="Events that are kept, the newest ones; 0: all.",
)
@click.option("--token", "tokens", multiple=True, help="A known project token; none: every one.")
@click.option("--service-account", metavar="USER:SECRET", help="The known service account.")
@click.option("--project-id", metavar="N", help="The project of the credentials.")
@click.option("--api-secret", metavar="SECRET", help="The known project secret.")
@click.option(
    "--identity",
    type=click.Choice(["simplified", "original"]),
    default="simplified",
    show_default=True,
    help="How the project merges identities.",
)
@click.option(
    "--hot-shard-events",
    default=_facts.HOT_SHARD_EVENTS,
    show_default=True,
    help="Events of one distinct_id and day, more become $hotshard_events; 0: no limit.",
)
@click.option(
    "--retention-days",
    default=0,
    help="Refuse events older than this; 0: none is too old.",
)
@click.option(
    "--old-track-events",
    type=click.Choice(["success", "failure"]),
    default="success",
    show_default=True,
    help="Answer of /track to events older than 5 days, which are not stored.",
)
@click.option(
    "--max-events-per-minute",
    default=0,
    help="Answer 429 to more events than this in one rate window; 0: never.",
)
@click.option(
    "--rate-window",
    default=_facts.RATE_WINDOW,
    show_default=True,
    help="Seconds that count as a minute.",
)
@click.option(
    "--max-request-bytes",
    default=_facts.MAX_REQUEST_BYTES,
    show_default=True,
    help="Largest uncompressed body.",
)
@click.option("--allow-host", "allow_hosts", multiple=True, help="A name besides loopback's.")
@click.option("--open", "open_browser", is_flag=True, help="Open the page in a browser.")
@click.option("--parent", type=int, hidden=True, help="Stop when this process is gone.")
def emulator(parent: int | None, **options: Any) -> None:  # noqa: ANN401  # EmulatorOptions types them.
    """
    Run Mixpanel's ingestion API on this machine, with a live page.

    /import, /track, /engage and /groups answer as Mixpanel does, /api/2.0/export gives back what
    arrived; all of it is shown and stays here.
    """
    # Until the server has its own handlers: nothing has begun that would need an orderly end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    try:
        chosen = EmulatorOptions(**options)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    try:
        from mixpanel_export.emulator._serve import serve
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"{error.name} is missing; the emulator needs pip install 'mixpanel-export[emulator]'"
        ) from error
    try:
        serve(chosen, parent=parent, announce=_announce)
    except OSError as error:
        raise click.ClickException(f"cannot listen on {chosen.host}: {error}") from error
    except sqlite3.Error as error:
        raise click.ClickException(f"cannot use {chosen.db}: {error}") from error


def _announce(address: str) -> None:
    print(f"Mixpanel emulator at {address}  (Ctrl-C stops it)", flush=True)  # noqa: T201  # What it is for.


def _leave(_number: int, _frame: FrameType | None) -> None:
    # uvicorn raises a captured signal once more when it is done; that is an orderly end too.
    sys.exit(0)
