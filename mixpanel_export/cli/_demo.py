"""The command `demo`: a shop that speaks, an emulator that receives, and whether both agree."""

from __future__ import annotations

import http.client
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from random import Random
from typing import Final

import click

from mixpanel_export import Pipeline
from mixpanel_export.cli._doors import DOOR, make_pipeline, open_doors
from mixpanel_export.cli._extras import need_emulator
from mixpanel_export.cli._ledger import Stored, Told, differences
from mixpanel_export.cli._shop import Shop
from mixpanel_export.cli._stop import Stop
from mixpanel_export.emulator import EmulatorProcess

# How long the shop rests between two looks at the clock, in seconds: short enough that events come
# in a trickle and not in heaps.
_TICK: Final = 0.02

# How long the pipeline may take to deliver what is queued when the shop closes, in seconds, and how
# long without an answer.
_PATIENCE: Final = 30.0
_NO_PATIENCE: Final = 1.0


@click.command()
@click.option(
    "--seconds",
    type=click.FloatRange(0, 86_400, min_open=True),
    default=10.0,
    show_default=True,
    help="How long the shop is open.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0, 10_000, min_open=True),
    default=200.0,
    show_default=True,
    help="Events per second.",
)
@click.option("--keep", is_flag=True, help="Leave the emulator and its page running until Ctrl-C.")
def demo(seconds: float, rate: float, keep: bool) -> None:
    """
    Run a simulated shop against a local Mixpanel.

    The shop says what happens in it through logging, structlog, OpenTelemetry's spans and by hand,
    as far as these are installed, and it becomes events on the emulator's page. At the end what was
    said through each door and the ledger of the pipeline are compared with what the emulator
    stored: the exit status is 0 if they agree, 1 if they do not. Ctrl-C closes the shop early.
    Nothing leaves this machine, and no MIXPANEL_ or OTEL_ variable changes anything.
    """
    need_emulator("the demo")
    # A proxy has no business between two processes of one machine.
    os.environ["NO_PROXY"] = "*"
    # OpenTelemetry could be told to keep quiet, or to cut spans short.
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        del os.environ[name]
    with Stop() as stop, _emulator() as emulator:
        click.echo(f"A local Mixpanel with a live page:  {emulator.url}")
        click.echo(f"A shop has {rate:g} events a second for {seconds:g} s; Ctrl-C ends it.")
        sys.exit(_run(emulator, stop, seconds, rate, keep=keep))


@contextmanager
def _emulator() -> Iterator[EmulatorProcess]:
    try:
        # It must still have all events at the end.
        emulator = EmulatorProcess("--max-stored", "0")
    except RuntimeError as error:
        raise click.ClickException(str(error)) from error
    with emulator:
        yield emulator


def _run(emulator: EmulatorProcess, stop: Stop, seconds: float, rate: float, *, keep: bool) -> int:
    """Open the shop, close it, and compare; returns the exit status."""
    from mixpanel_export.cli._screen import show_ledger

    pipeline = make_pipeline(emulator.url)
    with open_doors(pipeline) as (voices, absent):
        click.echo("".join(f"{line}\n" for line in absent))
        shop = Shop(Random(), voices)  # noqa: S311 -- chance, not a secret
        _open(shop, pipeline, emulator, stop, seconds, rate)
        shop.close()
        _drain(pipeline)
    told = Told(shop.said, shop.updates, shop.profiles)
    stats, stored = pipeline.stats, _stored(emulator)
    click.echo()
    show_ledger(told, stats, stored)
    click.echo()
    if found := differences(told, stats, stored):
        click.echo("They differ:\n" + "\n".join(f"  {each}" for each in found), err=True)
        return 1
    click.echo("Both agree: what was said through each door has arrived.")
    if stop:
        return stop.status
    if keep:
        click.echo(f"The page stays until Ctrl-C:  {emulator.url}")
        while not stop:
            time.sleep(_TICK)  # A signal ends it at once.
    return 0


def _open(  # noqa: PLR0913, PLR0917 -- this is where they meet
    shop: Shop,
    pipeline: Pipeline,
    emulator: EmulatorProcess,
    stop: Stop,
    seconds: float,
    rate: float,
) -> None:
    """Let things happen in the shop at *rate*, until the time is over or *stop* says so."""
    from mixpanel_export.cli._screen import progress

    with progress(seconds) as (show, interval):
        start = time.monotonic()
        passed = shown = 0.0
        while passed < seconds and not stop:
            time.sleep(_TICK)  # The pace of the lines that are shown.
            passed = min(time.monotonic() - start, seconds)
            for _ in range(int(passed * rate) - shop.events):
                shop.step()
            if passed >= shown + interval:
                shown += interval
                show(passed, pipeline.stats, _counts(emulator))


def _drain(pipeline: Pipeline) -> None:
    """Close *pipeline*, with patience as long as somebody answers."""
    deadline = time.monotonic() + _PATIENCE
    while not pipeline.flush(_NO_PATIENCE) and pipeline.health.ok and time.monotonic() < deadline:
        pass
    pipeline.close(_NO_PATIENCE)


def _counts(emulator: EmulatorProcess) -> Mapping[str, int]:
    with _answering():
        return emulator.stats()


def _stored(emulator: EmulatorProcess) -> Stored:
    """Ask the emulator for everything that is compared."""
    with _answering():
        profiles = {each["$distinct_id"]: each["properties"] for each in emulator.profiles()}
        return Stored(emulator.stats(), _events_by_door(emulator), profiles)


def _events_by_door(emulator: EmulatorProcess) -> Mapping[str, int]:
    events = emulator.each_event(dedup=True)
    return Counter(event["properties"].get(DOOR, "unknown") for event in events)


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        raise click.ClickException(f"the emulator does not answer: {error}") from error
