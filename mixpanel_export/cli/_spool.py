"""The commands `spool`: what waits on disk, seen and moved by hand."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import IO, Final

import click

from mixpanel_export import Pipeline, Settings, SettingsError
from mixpanel_export._directory import Directory, directory_of
from mixpanel_export.cli import _survey
from mixpanel_export.cli._stop import Stop
from mixpanel_export.cli._survey import ALIVE, GONE, Left, processes, projects, rejected_files

# How often it is said how far things are, and how long it takes to hear Ctrl-C at most, in seconds.
_TICK: Final = 0.5

# How long what is under way may still take when it is time to end, in seconds.
_LAST: Final = 1.0

_DIR = click.argument(
    "directory",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_PROJECT = click.option(
    "--project", metavar="NAME", help="Only this project, by the name that ls shows."
)
_REJECTED = click.option(
    "--rejected", is_flag=True, help="Only the events that Mixpanel has rejected, with the reasons."
)


class _Careful(click.Group):
    """A group whose commands work with files, some of them somebody else's."""

    def invoke(self, ctx: click.Context) -> object:
        """Run a command; what the system does not let it do is said without a traceback."""
        try:
            return super().invoke(ctx)
        except OSError as error:
            if error.errno == errno.EPIPE:
                # Who read our output has had enough; click knows.
                raise
            raise click.ClickException(str(error)) from error


@click.group(name="spool", cls=_Careful)
def spool() -> None:
    """
    See and move what waits on disk.

    DIR is what the setting `spool` names. What belongs to a process that lives is only looked at.
    """
    if importlib.util.find_spec("rich") is None:
        raise click.ClickException(
            "rich is missing; these commands need pip install 'mixpanel-export[cli]'"
        )


# -- ls -------------------------------------------------------------------------------------------


@spool.command()
@_DIR
@_JSON
def ls(directory: Path, as_json: bool) -> None:
    """
    List what lies in DIR, process by process.

    A process is alive, and delivers itself, or gone: then another of its project delivers it, or
    `spool drain`. What a living process has changes while it is counted. The exit status is 1 if
    something in DIR could not be read.
    """
    left = list(_survey.survey(directory))
    rejected = list(_survey.rejected(directory))
    if as_json:
        shown = {
            "processes": [asdict(each) for each in left],
            "rejected": [each._asdict() for each in rejected],
        }
        click.echo(json.dumps(shown, indent=2))
    else:
        from mixpanel_export.cli._tables import show_rejected, show_spool

        show_spool(left, time.time())
        show_rejected(rejected)
    sys.exit(any(each.state not in {ALIVE, GONE} for each in left))


# -- drain ----------------------------------------------------------------------------------------


@spool.command()
@_DIR
@_JSON
@click.option(
    "--timeout",
    type=click.FloatRange(0),
    help="Give up after so many seconds.  [default: when all is delivered]",
)
def drain(directory: Path, as_json: bool, timeout: float | None) -> None:
    """
    Deliver what processes left in DIR that are gone, and print the ledger.

    How, and for which project, is said by the same MIXPANEL_ variables as for an application, such
    as MIXPANEL_TOKEN. What Mixpanel rejects is kept in DIR with the reason. The exit status is 0 if
    nothing is left of this project but what living processes deliver themselves; 1 if something is,
    because Mixpanel does not take it, or the time was over; Ctrl-C leaves the rest where it is.
    """
    try:
        settings = Settings.from_environment(spool=str(directory))
        pipeline = Pipeline(settings)
    except SettingsError as error:
        raise click.ClickException(str(error)) from error
    with Stop() as stop:
        trouble = _deliver(pipeline, stop, timeout, quiet=as_json)
        pipeline.close(_LAST)
        status = stop.status if stop else 1
    stats = pipeline.stats
    project = Path(directory_of(settings))
    left = [each for each in _survey.survey(directory) if each.state != ALIVE]
    ours = [each for each in left if each.project == project.name]
    if as_json:
        shown = {each.name: getattr(stats, each.name) for each in fields(stats)}
        shown |= {"dropped": dict(stats.dropped), "left": list(map(asdict, ours))}
        click.echo(json.dumps(shown, indent=2))
    else:
        from mixpanel_export.cli._tables import show_ledger

        show_ledger(stats)
    if trouble:
        click.echo(trouble, err=True)
    for line in _remains(ours, len(left) - len(ours)):
        click.echo(line, err=True)
    sys.exit(status if stop or ours else 0)


def _deliver(pipeline: Pipeline, stop: Stop, timeout: float | None, *, quiet: bool) -> str:
    """Deliver until nothing is left, *stop* says so or the time is over; say what is wrong."""
    from rich.console import Console

    end = float("inf") if timeout is None else time.monotonic() + timeout
    console = Console(stderr=True, highlight=False, quiet=quiet)
    with console.status("looking") as status:
        while not stop:
            patience = min(_TICK, end - time.monotonic())
            if pipeline.adopt(max(0.0, patience)):
                return ""
            stats, health = pipeline.stats, pipeline.health
            if health.circuit == "paused":
                return f"Mixpanel does not take them: {health.reason}"
            if time.monotonic() >= end:
                return f"the time was over{health.reason and f': {health.reason}'}"
            status.update(
                f"{stats.delivered:,} delivered, {stats.queued:,} more at hand"
                + (f"; {health.reason}" if health.reason else "")
            )
    return "interrupted"


def _remains(ours: list[Left], others: int) -> Iterator[str]:
    """Say what was left alone, and what would help."""
    if ours:
        events = sum(each.events + each.updates for each in ours)
        hosts = sorted({each.host for each in ours if each.host})
        yield (
            f"{events:,} events of {len(ours)} processes are left"
            f"{f', for {hosts[0]}' if len(hosts) == 1 else ''}; mixpanel-export spool ls shows them"
        )
    if others:
        yield (
            f"{others} directories of other projects are left; they need the credentials of theirs"
        )


# -- export ---------------------------------------------------------------------------------------


@spool.command()
@_DIR
@_PROJECT
@_REJECTED
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A new file to write to, which nobody else may read.  [default: standard output]",
)
def export(directory: Path, project: str | None, rejected: bool, output: Path | None) -> None:
    """
    Write what processes left in DIR that are gone, one JSON object a line.

    They are the very bytes that would be sent, without credentials, and they stay in DIR. The exit
    status is 1 if something could not be read, or belongs to a living process.
    """
    skipped = written = 0
    with _writing(output) as file:
        for path in projects(directory, project):
            if rejected:
                for each in rejected_files(path):
                    text = each.read_bytes()
                    file.write(text)
                    written += text.count(b"\n")
                continue
            for process in processes(path):
                count = _export(process, file)
                skipped += count is None
                written += count or 0
    click.echo(f"{written:,} lines written", err=True)
    _tell_of_skipped(skipped)
    sys.exit(skipped > 0)


@contextmanager
def _writing(output: Path | None) -> Iterator[IO[bytes]]:
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(file, "wb") as opened:  # noqa: PTH123 -- it is open already, for nobody else
        yield opened


def _export(process: Path, file: IO[bytes]) -> int | None:
    """Write what a process that is gone has left; how many lines, None if it is not for us."""
    directory = Directory.adopt(str(process))
    if directory is None:
        return None
    written = 0
    try:
        for line in _survey.lines(directory):
            file.write(line + b"\n")
            written += 1
    except ValueError:
        # A newer version's.
        return None
    finally:
        directory.release()
    return written


def _tell_of_skipped(skipped: int) -> None:
    if skipped:
        click.echo(
            f"{skipped} processes were left alone: they live, or their files cannot be read",
            err=True,
        )


# -- purge ----------------------------------------------------------------------------------------


@spool.command()
@_DIR
@_PROJECT
@_REJECTED
@_JSON
@click.option("--yes", is_flag=True, help="Do not ask.")
def purge(directory: Path, project: str | None, rejected: bool, as_json: bool, yes: bool) -> None:
    """
    Delete what lies in DIR, rejected events too; asks before.

    What is deleted was not delivered, and will not be. What belongs to a living process stays; the
    exit status is 1 if there was any, or something could not be deleted.
    """
    chosen = projects(directory, project)
    names = {path.name for path in chosen}
    gone = [] if rejected else [each for each in _survey.survey(directory) if each.state != ALIVE]
    events = sum(each.events + each.updates for each in gone if each.project in names)
    dead = sum(each.events for each in _survey.rejected(directory) if each.project in names)
    if not yes:
        what = f"{dead:,} rejected events" if rejected else f"{events:,} events that wait and "
        what += "" if rejected else f"{dead:,} rejected ones"
        click.confirm(f"Delete {what} for good?", abort=True, err=True)
    skipped = sum(_purge(path, rejected=rejected) for path in chosen)
    if as_json:
        click.echo(json.dumps({"events": events, "rejected": dead, "left_alone": skipped}))
    else:
        click.echo(f"{events:,} events and {dead:,} rejected ones are deleted")
    _tell_of_skipped(skipped)
    sys.exit(skipped > 0)


def _purge(project: Path, *, rejected: bool) -> int:
    """Delete what lies in the directory of a project; say how many processes had to stay."""
    skipped = 0
    for path in rejected_files(project):
        path.unlink()
    if rejected:
        return skipped
    for process in processes(project):
        directory = Directory.adopt(str(process))
        if directory is None:
            skipped += 1
            continue
        for path in process.glob("*.seg"):
            path.unlink(missing_ok=True)
        directory.remove()
    with suppress(OSError):
        # Unless somebody's file or process is there.
        project.rmdir()
    return skipped
