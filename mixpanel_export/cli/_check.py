"""The command `check`: why nothing arrives."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from mixpanel_export import Settings
from mixpanel_export._clock import SYSTEM_CLOCK, Clock
from mixpanel_export._limits import HOSTS
from mixpanel_export.cli._flags import settings_flags, settings_of
from mixpanel_export.cli._plainly import plainly

if TYPE_CHECKING:
    from mixpanel_export.cli.check._finding import Finding

_SETTINGS: Final = (
    *("service_account", "project_id", "region", "base_url"),
    *("connect_timeout", "timeout", "spool"),
)

# Never closed: what the application's exporters hold comes out when the process ends.
_UNTIL_THE_END: Final = ExitStack()


def _host(_ctx: click.Context, _param: click.Parameter, values: Iterable[str]) -> dict[str, str]:
    found = {}
    for value in values:
        region, _, address = value.partition("=")
        if region not in HOSTS or "://" not in address:
            known = ", ".join(HOSTS)
            raise click.BadParameter(f"must be REGION=URL with one of {known}, not {value!r}")
        found[region] = address.rstrip("/")
    return found


@click.command(epilog="Exit status: 0 if there is no problem, warnings aside; 1 if there is one.")
@click.option(
    "--app",
    metavar="MODULE[:ATTRIBUTE]",
    help="Import the application, look at its handlers, and check its settings; with () behind"
    " it, the attribute is called.",
)
@settings_flags(_SETTINGS)
@click.option(
    "--host",
    "hosts",
    multiple=True,
    metavar="REGION=URL",
    callback=_host,
    help="Where a region is, instead of Mixpanel's own host.",
)
@click.option("--offline", is_flag=True, help="Ask no host; look at this machine only.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@plainly
def check(
    app: str | None,
    hosts: Mapping[str, str],
    offline: bool,
    as_json: bool,
    **flags: Any,  # noqa: ANN401 -- settings
) -> None:
    """
    Find out why nothing arrives.

    Whether the credentials are right and in which region, whether clock, proxy, TLS and spool are
    as they must be, and with --app whether the application's handlers hear anything. Nothing is
    stored in the project: hosts are asked with events that they do not take. Settings are those
    of the MIXPANEL_ variables and flags, or of the application.

    \b
        MIXPANEL_TOKEN=… mixpanel-export check
        MIXPANEL_TOKEN=… mixpanel-export check --app shop.wsgi:application
    """  # noqa: D301 -- click's sign for "leave these lines as they are"
    if not as_json and importlib.util.find_spec("rich") is None:
        raise click.ClickException("rich is missing; install 'mixpanel-export[cli]', or use --json")
    # As `python -m` has it, for the application and for callables that settings name.
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 -- a text, as all of them there
    everywhere = {} if offline else {**HOSTS, **hosts}
    findings = list(
        dict.fromkeys(look_around(app, flags, everywhere, SYSTEM_CLOCK, _UNTIL_THE_END))
    )
    problems = any(each.level == "problem" for each in findings)
    if as_json:
        found = [dataclasses.asdict(each) for each in findings]
        click.echo(json.dumps({"ok": not problems, "findings": found}, indent=2))
    else:
        from mixpanel_export.cli.check._show import show

        show(findings)
    sys.exit(int(problems))


def look_around(
    app: str | None,
    flags: Mapping[str, Any],
    hosts: Mapping[str, str],
    clock: Clock,
    stack: ExitStack,
) -> Iterator[Finding]:
    """
    Look at everything that there is to be looked at.

    Args:
        app: What to import; None leaves the application alone.

        flags: Settings that the command line gives.

        hosts: The address of each region; without any, none is asked.

        clock: What is compared with the hosts' clocks.

        stack: As long as it is open, nothing that the application says is sent.
    """
    from mixpanel_export.cli.check._app import load, look_at_doors, settings_of_doors
    from mixpanel_export.cli.check._finding import Finding
    from mixpanel_export.cli.check._place import look_at_spool, look_at_uwsgi

    of_doors: dict[str, Settings] = {}
    if app is not None:
        loaded = list(load(app, stack))
        yield from loaded
        if loaded[0].level == "ok":
            yield from look_at_doors()
            of_doors = settings_of_doors()
    if not of_doors:
        try:
            of_doors = {"": settings_of(flags)}
        except click.UsageError as error:
            yield Finding("settings", "problem", error.message, "put it right where it is set")
    for name, settings in of_doors.items():
        if len(of_doors) > 1:
            yield Finding("settings", "note", f"of {name}: {settings!r}")
        if hosts:
            from mixpanel_export.cli.check._network import look

            yield from look(settings, hosts, clock)
        yield from look_at_spool(settings)
    yield from look_at_uwsgi(Path.cwd())
