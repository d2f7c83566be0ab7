"""The command `tail`: what arrives at a running emulator, line by line."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

import click

from mixpanel_export.cli._terminal import clock, printable, safe_json

_USUAL: Final = "http://127.0.0.1:8787"

# The emulator says something every 15 seconds, if only that it is there.
_SILENCE: Final = 60.0

# What has a place of its own in a line, or is the same in every event.
_DULL: Final = frozenset({"time", "distinct_id", "$insert_id", "token", "mp_lib", "$lib_version"})


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print each event as it is stored, in JSON.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(0, 1_000_000),
    default=10,
    show_default=True,
    help="How many events that are there already come first.",
)
@click.option("--name", help="Only events of this name.")
@click.option("--user", help="Only events of this user.")
@click.argument("url", required=False)
def tail(url: str | None, lines: int, name: str | None, user: str | None, *, as_json: bool) -> None:
    """
    Follow the events of a running emulator.

    URL is the address that the emulator printed, else MIXPANEL_BASE_URL, else
    http://127.0.0.1:8787. One line for each event, until Ctrl-C or the end of the emulator; what is
    refused or rejected has its line too, with --json on standard error.
    """
    address = url or os.environ.get("MIXPANEL_BASE_URL") or _USUAL
    asked = {"follow": "1", "lines": str(lines), "name": name, "user": user}
    query = urlencode({key: value for key, value in asked.items() if value is not None})
    reader = _Reader(as_json=as_json, complete=name is None and user is None)
    try:
        with _updates(address, query) as updates:
            for update in updates:
                reader.show(update)
    except KeyboardInterrupt:
        # The usual end; shells count it so.
        sys.exit(130)
    click.echo("The emulator has stopped.", err=True)


@contextmanager
def _updates(address: str, query: str) -> Iterator[Iterator[dict[str, Any]]]:
    """Open the stream of the emulator at *address*."""
    parts = urlsplit(address)
    if parts.scheme != "http" or not parts.netloc:
        raise click.ClickException(f"{address} is not the address of an emulator")
    key = parse_qs(parts.query).get("access", [""])[0]
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    connection = http.client.HTTPConnection(parts.netloc, timeout=_SILENCE)
    with closing(connection):
        try:
            connection.request("GET", f"/_emulator/live?{query}", headers=headers)
            answer = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise click.ClickException(
                f"no emulator answers at {address} ({error}); mixpanel-export emulator starts one"
            ) from error
        if answer.status != 200 or answer.headers.get_content_type() != "text/event-stream":
            told = answer.read(500).decode("utf-8", "replace").strip()
            raise click.ClickException(f"{address} answered {answer.status}: {printable(told)}")
        yield _read(answer)


def _read(answer: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    prefix = b"data: "
    try:
        for line in answer:
            if line.startswith(prefix):
                yield json.loads(line[len(prefix) :])
    except (OSError, http.client.HTTPException):
        # It was ended in the middle of a line; what it had said is shown.
        return


class _Reader:
    """
    Prints what the stream says.

    Args:
        as_json: Whether events are printed as they are.

        complete: Whether every event is asked for, so that a gap means that some are gone.
    """

    def __init__(self, *, as_json: bool, complete: bool) -> None:
        self._as_json = as_json
        self._complete = complete
        self._last: int | None = None
        self._failures: dict[tuple[str, ...], int] | None = None
        self._width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        self._color = False if os.environ.get("NO_COLOR") else None

    def show(self, update: Mapping[str, Any]) -> None:
        """Print the events and the failures of one update."""
        if "epoch" in update and self._failures is not None:
            # Everything was forgotten.
            self._last, self._failures = None, {}
        events = update.get("events", ())
        if events and self._complete:
            self._tell_gap(events[0]["id"] - 1)
        if events:
            self._last = events[-1]["id"]
            write = self._line_in_json if self._as_json else self._line
            texts = [write(row) for row in events]
            click.echo("\n".join(texts), color=self._color)
        for one in self._fresh(update.get("failures", ())):
            click.echo(one, err=self._as_json, color=self._color)

    def _tell_gap(self, before: int) -> None:
        if self._last is not None and before > self._last:
            gone = before - self._last
            click.echo(f"… {gone:,} events were gone before they could be read", err=True)

    def _line_in_json(self, row: Mapping[str, Any]) -> str:
        return safe_json(row["line"])

    def _line(self, row: Mapping[str, Any]) -> str:
        record = json.loads(row["line"])
        properties = record["properties"]
        user = printable(row["user"] or "nobody")
        name = printable(str(record["event"]))
        marks = [*(["duplicate"] if row["duplicate"] else [])]
        if row["endpoint"] != "/import":
            marks.append(row["endpoint"])
        mark = f" ({', '.join(marks)})" if marks else ""
        gap, end = (" " * (width - len(text)) for text, width in ((name + mark, 24), (user, 16)))
        facts = "  ".join(
            f"{printable(key)}={printable(_text(value))}"
            for key, value in sorted(properties.items(), key=_is_common)
            if key not in _DULL and (key, value) != ("ip", "0")
        )
        when = clock(row["received_ms"])
        plain = f"{when}  {name}{mark}{gap}  {user}{end}  "
        if self._width is not None:
            facts = facts[: max(self._width - len(plain), 0)]
        bold, faint = click.style(name, bold=True), click.style(facts, dim=True)
        noted = click.style(mark, fg="yellow") if mark else ""
        return f"{when}  {bold}{noted}{gap}  {click.style(user, fg='cyan')}{end}  {faint}"

    def _fresh(self, failures: list[dict[str, Any]]) -> Iterator[str]:
        """Yield a line for each kind of failure that has happened again since the last update."""
        first = self._failures is None
        known = self._failures = self._failures or {}
        for one in reversed(failures):
            key = tuple(one[part] for part in ("kind", "endpoint", "field", "message"))
            new = one["count"] - known.get(key, 0)
            known[key] = one["count"]
            if new > 0 and not first:
                kind = click.style(one["kind"], fg="red", bold=True)
                why = printable(f"{one['endpoint']} {one['field']}: {one['message']}")
                yield f"{clock(one['last_ms'])}  {kind} {new:,}×  {why}"


def _is_common(item: tuple[str, object]) -> bool:
    """Say whether a library or the service adds it; the application's own properties come first."""
    return item[0].startswith(("$", "mp_", "trace_id", "span_")) or item[0] == "ip"


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
