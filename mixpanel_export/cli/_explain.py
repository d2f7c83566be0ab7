"""The command `explain`: what becomes of one record, and why."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import sys
from typing import Any, Final

import click

from mixpanel_export.cli._flags import settings_flags, settings_of
from mixpanel_export.cli._plainly import plainly

_SETTINGS: Final = (
    *("select", "loggers", "allow", "deny", "scrub", "include", "super_properties"),
    *("sample", "budget"),
)

# So long may the name of a file be, on most systems.
_LONGEST_NAME: Final = 256

_DOORS: Final = ("logging", "structlog", "span", "log", "event")


@click.command(epilog="Exit status: 0 if there is an event, 1 if there is none, 2 for wrong input.")
@click.argument("record", default="-", metavar="[RECORD]")
@click.option(
    "--door",
    type=click.Choice(_DOORS),
    default="logging",
    show_default=True,
    help="Who hears it: log is OpenTelemetry's log record, event is one that is submitted by hand.",
)
@settings_flags(_SETTINGS)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@plainly
def explain(record: str, door: str, as_json: bool, **flags: Any) -> None:  # noqa: ANN401 -- settings
    """
    Show what becomes of one record, and which rule did what to it.

    RECORD is a JSON object; without it, or with -, it is read from standard input. It goes through
    the same code as in an application, with the settings of the MIXPANEL_ variables and flags, and
    is not sent.

    \b
        mixpanel-export explain '{"message": "Paid by %s", "args": ["card"],
            "logger": "shop.till", "extra": {"distinct_id": "u-1", "total": 5}}'
        mixpanel-export explain --door structlog '{"event": "Paid", "plan": "pro"}'
        mixpanel-export explain --door span '{"name": "GET /cart",
            "kind": "server", "attributes": {"user.id": "u-1", "code.lineno": 9}}'
        mixpanel-export explain --door event '{"event": "Paid",
            "properties": {"password": "x"}}'

    For logging, fields may stand beside the message too, as formatters of JSON write them. A span
    and a log are what OpenTelemetry's console exporters print.
    """  # noqa: D301 -- click's sign for "leave these lines as they are"
    if not as_json and importlib.util.find_spec("rich") is None:
        raise click.ClickException("rich is missing; install 'mixpanel-export[cli]', or use --json")
    # As `python -m` has it, for callables that settings name.
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 -- a text, as all of them there
    said = _read(record)
    settings = settings_of(flags)
    from mixpanel_export.cli.explain._reasons import explain as find_reasons
    from mixpanel_export.cli.explain._spoken import NotSpokenError
    from mixpanel_export.cli.explain._trial import DOORS

    try:
        found = [find_reasons(trial) for trial in DOORS[door](said, settings)]
    except ImportError as error:
        raise click.ClickException(str(error)) from error
    except NotSpokenError as error:
        raise click.UsageError(str(error)) from error
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(each) for each in found], indent=2))
    else:
        from mixpanel_export.cli.explain._show import show

        show(found)
    sys.exit(int(all(each.verdict != "event" for each in found)))


def _read(record: str) -> dict[str, Any]:
    """Read the JSON of the argument, or of standard input."""
    if record == "-":
        if sys.stdin.isatty():
            click.echo("A record in JSON, then Ctrl-D:", err=True)
        record = sys.stdin.read()
        if not record.strip():
            raise click.UsageError("RECORD is missing: there is no argument, nor any input")
    try:
        said = json.loads(record)
    except json.JSONDecodeError as error:
        what = f"RECORD is not JSON: {error.msg} at line {error.lineno}, column {error.colno};"
        if len(record) < _LONGEST_NAME and os.path.exists(record):  # noqa: PTH110 -- a text
            raise click.UsageError(f"{what} a file is read with < {record}") from error
        raise click.UsageError(
            f"""{what} a record is an object such as '{{"message": "Signed Up", "plan": "pro"}}'"""
        ) from error
    if not isinstance(said, dict):
        raise click.UsageError(f"RECORD must be one JSON object, not {type(said).__name__}")
    return said
