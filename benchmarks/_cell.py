"""
One cell of the table: one library does one thing, in an interpreter of its own.

    python _cell.py SYSTEM ACTION URL COUNT
    python _cell.py --describe

Every library has its own defaults, as after copying from its README; what had to differ has a
comment. When the events are made, and before the process ends, one line of JSON on stdout says how
long that took. `--describe` tells which libraries are installed.
"""

import json
import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

NAME = "Page Viewed"
KEY = "0123456789abcdef0123456789abcdef"

# What fork and its relatives do: the parent makes event 0, the child the others.
PARENT = range(1)
CHILD = range(1, 301)


@dataclass(frozen=True)
class Client:
    """A library, opened."""

    track: Callable[[str, dict[str, Any]], object]
    """Take an event of this user with these properties."""

    flush: Callable[[], object]
    """Deliver what was taken, as far as the library does that."""


@dataclass(frozen=True)
class System:
    """A library, as the table knows it."""

    label: str
    open: Callable[[str], Client]
    packages: tuple[str, ...]
    """What must be installed; the first one's version is shown."""


# -- the libraries ----------------------------------------------------------------------------


def open_ours(url: str) -> Client:
    from mixpanel_export import MixpanelHandler

    handler = MixpanelHandler(token=KEY, base_url=url)
    return Client(logged_to(handler), lambda: handler.pipeline.flush(timeout=30.0))


def open_mixpanel(url: str) -> Client:
    mixpanel = import_module("mixpanel")
    consumer = mixpanel.BufferedConsumer(events_url=f"{url}/track")
    # Its retries are set up for https only; plain http shall have them too.
    session = consumer._consumer._session
    session.mount("http://", session.get_adapter("https://127.0.0.1"))
    client = mixpanel.Mixpanel(KEY, consumer=consumer)
    return Client(
        lambda who, properties: client.track(who, NAME, properties),
        consumer.flush,
    )


def open_posthog(url: str) -> Client:
    client = import_module("posthog").Posthog(f"phc_{KEY}", host=url)
    return Client(
        lambda who, properties: client.capture(NAME, distinct_id=who, properties=properties),
        client.flush,
    )


def open_segment(url: str) -> Client:
    client = import_module("segment.analytics.client").Client(KEY, host=url)
    return Client(lambda who, properties: client.track(who, NAME, properties), client.flush)


def open_rudder(url: str) -> Client:
    client = import_module("rudderstack.analytics.client").Client(KEY, host=url)
    return Client(lambda who, properties: client.track(who, NAME, properties), client.flush)


def open_amplitude(url: str) -> Client:
    amplitude = import_module("amplitude")
    client = amplitude.Amplitude(KEY, amplitude.Config(server_url=f"{url}/2/httpapi"))
    event = amplitude.BaseEvent

    def flush() -> None:
        for future in client.flush():
            if future is not None:
                future.result(30.0)

    return Client(
        lambda who, properties: client.track(
            event(event_type=NAME, user_id=who, event_properties=properties)
        ),
        flush,
    )


def open_snowplow(url: str) -> Client:
    snowplow = import_module("snowplow_tracker")
    # `Snowplow.create_tracker` would make an emitter that sends on the caller's thread.
    tracker = snowplow.Tracker("benchmark", emitters=[snowplow.AsyncEmitter(url)], app_id="shop")
    schema = "iglu:com.example/page_viewed/jsonschema/1-0-0"

    def track(who: str, properties: dict[str, Any]) -> None:
        tracker.track(
            snowplow.SelfDescribing(
                event_json=snowplow.SelfDescribingJson(schema, properties),
                event_subject=snowplow.Subject().set_user_id(who),
            )
        )

    return Client(track, tracker.flush)


def open_sentry(url: str) -> Client:
    sentry = import_module("sentry_sdk")
    sentry.init(dsn=f"{url.replace('//', f'//{KEY}@')}/1", enable_logs=True)
    # Its integration patches `logging` and needs no handler.
    return Client(logged_to(logging.NullHandler()), sentry.flush)


def open_logfire(url: str) -> Client:
    logfire = import_module("logfire")
    logfire.configure(
        token=KEY,
        send_to_logfire=True,
        console=False,
        inspect_arguments=False,
        advanced=logfire.AdvancedOptions(base_url=url),
    )
    return Client(
        lambda who, properties: logfire.info(NAME, distinct_id=who, **properties),
        logfire.force_flush,
    )


def open_opentelemetry(url: str) -> Client:
    exporter = import_module("opentelemetry.exporter.otlp.proto.http._log_exporter")
    handler = import_module("opentelemetry.instrumentation.logging.handler")
    logs = import_module("opentelemetry.sdk._logs")
    export = import_module("opentelemetry.sdk._logs.export")
    provider = logs.LoggerProvider()
    provider.add_log_record_processor(
        export.BatchLogRecordProcessor(exporter.OTLPLogExporter(endpoint=f"{url}/v1/logs"))
    )
    return Client(
        logged_to(handler.LoggingHandler(logger_provider=provider)),
        provider.force_flush,
    )


def logged_to(handler: logging.Handler) -> Callable[[str, dict[str, Any]], None]:
    """Make events by logging them to *handler*."""
    log = logging.getLogger("product")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(handler)
    return lambda who, properties: log.info(NAME, extra={"distinct_id": who, **properties})


SYSTEMS = {
    "ours": System("mixpanel-export", open_ours, ("mixpanel-export",)),
    "mixpanel": System("mixpanel", open_mixpanel, ("mixpanel",)),
    "posthog": System("posthog", open_posthog, ("posthog",)),
    "segment": System("segment", open_segment, ("segment-analytics-python",)),
    "rudder": System("rudder", open_rudder, ("rudder-sdk-python",)),
    "amplitude": System("amplitude", open_amplitude, ("amplitude-analytics",)),
    "snowplow": System("snowplow", open_snowplow, ("snowplow-tracker",)),
    "sentry": System("sentry logs", open_sentry, ("sentry-sdk",)),
    "logfire": System("logfire", open_logfire, ("logfire",)),
    "opentelemetry": System(
        "OTLP logs",
        open_opentelemetry,
        (
            "opentelemetry-sdk",
            "opentelemetry-exporter-otlp-proto-http",
            "opentelemetry-instrumentation-logging",
        ),
    ),
}


# -- what is done with them -------------------------------------------------------------------


def event(number: int) -> tuple[str, dict[str, Any]]:
    """Make up a user and about 130 bytes of properties, among them the mark that is counted."""
    return f"user-{number % 97}", {
        "seq": f"seq{number:07}",
        "plan": "pro",
        "total": 31.5,
        "items": 3,
        "page": "/products/garden/chairs",
        "campaign": "https://shop.example/spring?from=newsletter",
    }


def track(client: Client, numbers: Iterable[int]) -> dict[str, Any]:
    """Make events as fast as possible; say what that cost each time, in µs, and what was raised."""
    costs, raised = [], 0
    begun = time.monotonic()
    for number in numbers:
        who, properties = event(number)
        before = time.perf_counter_ns()
        try:
            client.track(who, properties)
        except Exception:  # noqa: BLE001 -- as an application would, lest tracking break it
            raised += 1
        costs.append(time.perf_counter_ns() - before)
    costs.sort()
    return {
        "begun": begun,
        "ended": time.monotonic(),
        "p50": costs[len(costs) // 2] / 1000,
        "p99": costs[len(costs) * 99 // 100] / 1000,
        "raised": raised,
    }


def child(system: str, url: str) -> None:
    """Be a child that knows nothing of its parent."""
    configure()
    track(SYSTEMS[system].open(url), CHILD)


def act(action: str, system: str, client: Client, url: str, count: int) -> None:
    """Do *action*, and report the making of the events."""
    match action:
        case "exit" | "flush":
            report(track(client, range(count)))
            if action == "flush":
                try:
                    client.flush()
                except Exception as error:  # noqa: BLE001 -- as an application would
                    logging.getLogger("shop").warning("flush raised %s", type(error).__name__)
        case "sigterm" | "drain_on_sigterm":
            if action == "drain_on_sigterm":
                from mixpanel_export import drain_on_sigterm

                drain_on_sigterm()
            report(track(client, range(count)))
            os.kill(os.getpid(), signal.SIGTERM)
        case "os.fork":
            report(track(client, PARENT))
            if (pid := os.fork()) == 0:
                track(client, CHILD)
                sys.exit(0)
            os.waitpid(pid, 0)
        case "fork":
            report(track(client, PARENT))
            run(multiprocessing.get_context("fork").Process(target=track, args=(client, CHILD)))
        case "spawn":
            report(track(client, PARENT))
            run(multiprocessing.get_context("spawn").Process(target=child, args=(system, url)))
        case "forkserver":
            report(track(client, PARENT))
            run(multiprocessing.get_context("forkserver").Process(target=child, args=(system, url)))
        case _:
            raise ValueError(f"unknown action {action!r}")


def run(process: Any) -> None:  # noqa: ANN401 -- each way to start one has a class of its own
    """Run *process* to its end."""
    process.start()
    process.join()


def report(made: dict[str, Any]) -> None:
    """Tell how the making of the events went."""
    print(json.dumps(made), flush=True)


def configure() -> None:
    """Let warnings be seen, as in any application, and nothing less: they are counted."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    # Some libraries give their loggers a level of their own.
    logging.getLogger().handlers[0].setLevel(logging.WARNING)


def describe() -> dict[str, Any]:
    """Say which libraries are installed."""
    return {
        name: {
            "label": system.label,
            "package": system.packages[0],
            "version": installed(system.packages),
        }
        for name, system in SYSTEMS.items()
    }


def installed(packages: tuple[str, ...]) -> str | None:
    """Say the version of the first of *packages*; None if one of them is missing."""
    try:
        first, *_ = [version(package) for package in packages]  # All of them, or it raises.
        return first
    except PackageNotFoundError:
        return None


def main() -> None:
    """See the top of this file."""
    if sys.argv[1:] == ["--describe"]:
        print(json.dumps(describe()))
        return
    system, action, url, count = sys.argv[1:]
    configure()
    act(action, system, SYSTEMS[system].open(url), url, int(count))


if __name__ == "__main__":
    main()
