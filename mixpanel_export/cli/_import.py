"""The command `import`: history into Mixpanel."""

from __future__ import annotations

import dataclasses
import gc
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import available_timezones

import click

from mixpanel_export import Event, Settings
from mixpanel_export.cli._flags import settings_flags, settings_of
from mixpanel_export.cli._plainly import plainly
from mixpanel_export.cli._stop import Stop

if TYPE_CHECKING:
    from mixpanel_export._event import Transform
    from mixpanel_export.cli.backfill._maker import Rules

# Mixpanel advises 10 to 20 clients. -- Mixpanel docs, Import Events (read 2026-08-21).
_CONNECTIONS: Final = 10

_SETTINGS: Final = (
    "service_account",
    "project_id",
    "region",
    "base_url",
    "strict",
    "allow",
    "deny",
    "scrub",
    "sample",
    "super_properties",
    "batch_events",
    "batch_bytes",
    "connections",
    "connect_timeout",
    "timeout",
    "backoff_initial",
    "backoff_max",
    "jitter",
    "gzip",
)

# Where things are in a record; names of `Fields`.
_FIELDS: Final = ("event", "time", "distinct_id", "insert_id", "ip")

# What else decides what becomes of a record.
_SHAPING: Final = (
    *_FIELDS,
    *("format", "delimiter", "text", "rename", "constants", "timezone", "time_format", "repeats"),
    *("profiles", "groups", "transform", "since", "until"),
)

_NAIVE: Final = "a time without a zone was taken as one of {}; --timezone says another"

# `--until` may be in the future, in seconds.
_FAR: Final = 100 * 365 * 86_400.0

# A record in flight is dozens of small objects, none of which ever holds itself.
_COLLECT_EACH: Final = 100_000


def _pair(_ctx: click.Context, _param: click.Parameter, values: Iterable[str]) -> dict[str, str]:
    found = {}
    for value in values:
        name, sign, text = value.partition("=")
        if not (name and sign and text):
            raise click.BadParameter(f"must be given as NAME=VALUE, not {value!r}")
        found[name] = text
    return found


def _zones(_ctx: click.Context, _param: click.Parameter, begun: str) -> list[str]:
    return sorted(zone for zone in available_timezones() if zone.startswith(begun))


def _constant(text: str) -> Any:  # noqa: ANN401 -- any JSON
    try:
        return json.loads(text)
    except ValueError:
        return text


@click.command(
    "import",
    epilog="Exit status: 0 if every record was delivered or left out on purpose, 1 if not.",
)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...", type=click.Path())
@click.option(
    "--format",
    type=click.Choice(["ndjson", "json", "csv", "tsv", "parquet", "combined"]),
    help="What the sources are, if it is not to be found out: combined is a web server's access"
    " log.",
)
@click.option(
    "--delimiter", metavar="C", help="What separates columns of CSV, if the header does not show."
)
@click.option(
    "--text", is_flag=True, help="Leave cells of CSV texts, even if they look like numbers."
)
@click.option("--event", metavar="FIELD", help="Where the event's name is.  [default: event]")
@click.option("--time", metavar="FIELD", help="Where its time is.  [default: time]")
@click.option("--distinct-id", metavar="FIELD", help="Where its user is.  [default: distinct_id]")
@click.option(
    "--insert-id",
    metavar="FIELD",
    help="Where an id of its own is; without one it is made of the record's content.  [default:"
    " $insert_id]",
)
@click.option("--ip", metavar="FIELD", help="Where the user's address is.  [default: ip]")
@click.option(
    "--rename", multiple=True, metavar="OLD=NEW", callback=_pair, help="Give a field another name."
)
@click.option(
    "--set",
    "constants",
    multiple=True,
    metavar="NAME=VALUE",
    callback=_pair,
    help="Give every record a property; event, distinct_id and time too. JSON, else text.",
)
@click.option(
    "--timezone",
    default="UTC",
    show_default=True,
    help="The zone of times without one.",
    shell_complete=_zones,
)
@click.option("--time-format", metavar="FORMAT", help="How times are written, as for strptime.")
@click.option(
    "--repeats",
    is_flag=True,
    help="Records that are alike in everything are different events, told apart by their place in"
    " the source.",
)
@click.option("--profiles", is_flag=True, help="The records are profiles of users.")
@click.option("--groups", metavar="KEY", help="The records are profiles of groups of this kind.")
@click.option(
    "--transform",
    metavar="MODULE:FUNCTION",
    help="Sees each event last; returns it, maybe changed, or None to leave it out.",
)
@click.option("--since", metavar="TIME", help="Leave out events before this time.")
@click.option("--until", metavar="TIME", help="Leave out events from this time on.")
@click.option("--newest-first", is_flag=True, help="Begin with the source whose events are latest.")
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), help="The most records per second."
)
@click.option("--dry-run", is_flag=True, help="Do everything but send and remember; show three.")
@click.option(
    "--state",
    type=click.Path(dir_okay=False, path_type=Path),
    help="What remembers how far it is.  [default: mixpanel-import-….state]",
)
@click.option(
    "--rejected",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where what cannot be delivered goes, with the reason.  [default: beside the state]",
)
@click.option("--restart", is_flag=True, help="Forget what an earlier run has done.")
@click.option(
    "--patience",
    type=click.FloatRange(0),
    default=600.0,
    show_default=True,
    help="Give up after so many seconds without a verdict from Mixpanel.",
)
@settings_flags(_SETTINGS)
@plainly
def import_(  # noqa: PLR0913 -- each is a flag
    *,
    sources: tuple[str, ...],
    dry_run: bool,
    newest_first: bool,
    restart: bool,
    state: Path | None,
    rejected: Path | None,
    rate: float | None,
    patience: float,
    **flags: Any,  # noqa: ANN401 -- those of `_rules` and `_reading`, and settings
) -> None:
    """
    Bring history into Mixpanel.

    A SOURCE is a file, a pattern such as 'logs/**/*.gz', - for standard input, or an address such
    as 's3://bucket/events/*.parquet'. Formats and compression (gzip, zstd) are found out: NDJSON,
    JSON, CSV, Parquet, access logs. MIXPANEL_TOKEN says which project; every other setting has its
    MIXPANEL_ variable, too.

    \b
        mixpanel-export import events/*.ndjson.gz
        mixpanel-export import --event action --time ts --distinct-id user old.csv
        mixpanel-export import --dry-run --since 2026-01-01 's3://old/*.parquet'
        mixpanel-export import --profiles users.json

    It may be stopped at any time, even killed: the same command again goes on where it was, and
    what was under way then is recognised by Mixpanel. What cannot be delivered is written to a
    file, with the reason and where it stood.
    """  # noqa: D301 -- click's sign for "leave these lines as they are"
    if importlib.util.find_spec("rich") is None:
        raise click.ClickException(
            "rich is missing; import needs pip install 'mixpanel-export[cli]'"
        )
    from mixpanel_export.cli.backfill._trouble import Unusable

    try:
        status = _run(
            sources,
            flags,
            order=newest_first,
            dry_run=dry_run,
            restart=restart,
            state=state,
            rejected=rejected,
            rate=rate,
            patience=patience,
        )
    except Unusable as trouble:
        raise click.ClickException(str(trouble)) from trouble
    sys.exit(status)


def _run(  # noqa: PLR0913 -- each is a flag
    arguments: tuple[str, ...],
    flags: Mapping[str, Any],
    *,
    order: bool,
    dry_run: bool,
    restart: bool,
    state: Path | None,
    rejected: Path | None,
    rate: float | None,
    patience: float,
) -> int:
    """Do it, and say what came of it; returns the exit status."""
    from mixpanel_export.cli.backfill._books import Books
    from mixpanel_export.cli.backfill._formats import Reading
    from mixpanel_export.cli.backfill._journal import Journal
    from mixpanel_export.cli.backfill._run import Job, Run, newest_first
    from mixpanel_export.cli.backfill._show import progress, show_ledger
    from mixpanel_export.cli.backfill._sources import find

    settings = _settings(flags, dry_run=dry_run)
    found = find(arguments)
    key = _key(settings, arguments, flags)
    state = state or Path(f"mixpanel-import-{key[:8]}.state")
    rejected = rejected or state.with_name(f"{state.stem}.rejected.ndjson")
    books = Books([source.size for source in found])
    rules = _rules(flags, books.hint)
    reading = Reading(flags["format"], flags["delimiter"], typed=not flags["text"])
    if order:
        found = newest_first(found, reading, rules)
    job = Job(settings, found, reading, rules, rate=rate, patience=patience)
    with ExitStack() as opened:
        journal = None
        if not dry_run:
            journal = opened.enter_context(closing(Journal(state, key, rejected, restart=restart)))
            books.before = journal.counts
        opened.enter_context(_seldom_collecting())
        stop = opened.enter_context(Stop())
        with progress(books) as tell:
            run = Run(job, journal, books, tell=tell, stopped=lambda: bool(stop))
            run.go()
        wrong = books.counts["rejected"] + books.counts["invalid"]
        show_ledger(
            books,
            dry=dry_run,
            notes=[
                *([_damaged(run.damaged)] if run.damaged else []),
                *([f"what was not delivered, and why: {rejected}"] if wrong and journal else []),
                *([f"gave up: {run.failure}"] if run.failure and not run.error else []),
                *(
                    [f"not finished; the same command goes on where this one was ({state})"]
                    if journal and (stop or run.failure)
                    else []
                ),
            ],
        )
        if run.error:
            raise run.error
        if stop:
            return stop.status
    return 1 if wrong or books.counts["abandoned"] or run.damaged or run.failure else 0


def _damaged(count: int) -> str:
    return f"{count:,} {'source was' if count == 1 else 'sources were'} not read to the end"


@contextmanager
def _seldom_collecting() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(_COLLECT_EACH)
    yield
    gc.set_threshold(*before)


def _settings(flags: Mapping[str, Any], *, dry_run: bool) -> Settings:
    """Give the settings, with what holds for history and not for an application."""
    profiles = bool(flags["profiles"] or flags["groups"])
    if flags["profiles"] and flags["groups"]:
        raise click.UsageError("--profiles and --groups exclude each other")
    given = {name: flags[name] for name in _SETTINGS}
    if flags["transform"]:
        # As python -m has it, and an installed command has not.
        sys.path.insert(0, os.getcwd())  # noqa: PTH109 -- a text, as sys.path holds them
        given["transform"] = _function(flags["transform"])
    # Updates of one profile depend on each other.
    connections = 1 if profiles else _CONNECTIONS
    # An application's budget of events per minute is nothing to its history.
    settings = settings_of(given | {"api": "import"}, connections=connections)
    settings = dataclasses.replace(settings, budget=None, transform=_watched(settings.transform))
    if settings.disabled:
        raise click.UsageError("MIXPANEL_DISABLED is set: nothing would be sent")
    if not dry_run and not (settings.token if profiles else settings.credentials):
        raise click.UsageError(
            "set MIXPANEL_TOKEN to the project's token, or try it with --dry-run"
        )
    if settings.exposed:
        click.echo(f"{settings.host} is not encrypted: the credentials can be read", err=True)
    return settings


def _watched(transform: Transform | None) -> Transform | None:
    """Tell a mistake in *transform* from the wish to leave an event out."""

    def watched(event: Event) -> Event | None:
        found: object = transform(event)  # type: ignore[misc] # there is one
        if found is not None and not isinstance(found, Event):
            raise TypeError(
                f"the transform must return the event or None, not {type(found).__name__}"
            )
        return found

    return watched if transform is not None else None


def _function(text: str) -> object:
    [field] = [each for each in dataclasses.fields(Settings) if each.name == "transform"]
    try:
        return field.metadata["read"](text)
    except ValueError as error:
        raise click.BadParameter(f"{error}, not {text!r}", param_hint="--transform") from error


def _rules(flags: Mapping[str, Any], hint: Callable[[str, str], object]) -> Rules:
    from mixpanel_export.cli.backfill._maker import Rules
    from mixpanel_export.cli.backfill._mapping import Fields, Mapper
    from mixpanel_export.cli.backfill._moments import Moments, zone_named

    named = {name: flags[name] for name in _FIELDS if flags[name]}
    constants = {name: _constant(text) for name, text in flags["constants"].items()}
    fields = Fields(**named, rename=flags["rename"], constants=constants)
    zone = zone_named(flags["timezone"])
    naive = _NAIVE.format(flags["timezone"])
    moments = Moments(zone, flags["time_format"], lambda: hint("naive", naive))
    limits = Moments(zone, None, lambda: None)

    def limit(name: str) -> int | None:
        if flags[name] is None:
            return None
        found = limits.read(flags[name], time.time() + _FAR)
        if found is None:
            raise click.BadParameter(
                f"is no time such as 2026-01-31: {flags[name]!r}", param_hint=f"--{name}"
            )
        return found

    return Rules(
        Mapper(fields, moments, flags["groups"]),
        profiles=bool(flags["profiles"] or flags["groups"]),
        since=limit("since"),
        until=limit("until"),
        repeats=flags["repeats"],
    )


def _key(settings: Settings, arguments: tuple[str, ...], flags: Mapping[str, Any]) -> str:
    """Name the import by where it goes, what it reads and what becomes of that."""
    alias = settings.project_id or settings.token or settings.api_secret
    parts = [settings.host, alias, arguments, *(flags[name] for name in _SHAPING)]
    parts += [settings.sample, settings.allow, settings.deny, settings.scrub]
    parts.append(dict(settings.super_properties))
    return sha256(json.dumps(parts, default=str).encode()).hexdigest()[:32]
