"""
The libraries that are measured, each with its own defaults, as after copying from its README.

What had to differ has a comment. `SYSTEMS` are libraries that take an event and deliver it later;
`VARIANTS` are other doors of this one, what such a door is put into, and rivals tuned; `BESIDE`
says what costs the caller anyway. Nothing is imported before it is opened.
"""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

NAME = "Page Viewed"
KEY = "0123456789abcdef0123456789abcdef"

# The logger of what is only logged.
ALONE = "alone"

# Seconds that a flush may take where the library wants to know.
PATIENCE = 30.0


@dataclass(frozen=True)
class Client:
    """A library, opened."""

    track: Callable[[str, dict[str, Any]], object]
    """Take an event of this user with these properties."""

    flush: Callable[[], object]
    """Deliver what was taken, as far as the library does that."""


@dataclass(frozen=True)
class System:
    """A library, as the tables know it."""

    label: str
    open: Callable[[str], Client]
    packages: tuple[str, ...]
    """What must be installed; the first one's version is shown."""

    imports: str = ""
    """The modules that an application imports to use it, with commas."""


# -- the libraries ----------------------------------------------------------------------------


def open_ours(url: str, **settings: Any) -> Client:  # noqa: ANN401 -- any setting
    from mixpanel_export import MixpanelHandler

    handler = MixpanelHandler(token=KEY, base_url=url, **settings)
    return Client(logged_to(handler), lambda: handler.pipeline.flush(timeout=PATIENCE))


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
                future.result(PATIENCE)

    return Client(
        lambda who, properties: client.track(
            event(event_type=NAME, user_id=who, event_properties=properties)
        ),
        flush,
    )


def open_snowplow(url: str, **settings: Any) -> Client:  # noqa: ANN401 -- any setting
    snowplow = import_module("snowplow_tracker")
    # `Snowplow.create_tracker` would make an emitter that sends on the caller's thread.
    emitter = snowplow.AsyncEmitter(url, **settings)
    tracker = snowplow.Tracker("benchmark", emitters=[emitter], app_id="shop")
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
    # Its integration patches `logging` and needs no handler. What it is compared with it may not
    # take.
    integration = import_module("sentry_sdk.integrations.logging")
    integration.ignore_logger(ALONE)
    integration.ignore_logger_for_sentry_logs(ALONE)
    return Client(logged_to(logging.NullHandler()), lambda: sentry.flush(PATIENCE))


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
        lambda: logfire.force_flush(int(PATIENCE * 1_000)),
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


def logged_to(
    handler: logging.Handler, logger: str = "product"
) -> Callable[[str, dict[str, Any]], None]:
    """Make events by logging them to *handler*, with a *logger* of its own."""
    log = logging.getLogger(logger)
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(handler)
    return lambda who, properties: log.info(NAME, extra={"distinct_id": who, **properties})


# -- other doors of ours, and what they are put into ------------------------------------------


def open_spool(url: str) -> Client:
    return open_ours(url, spool="spool")


def open_structlog(url: str) -> Client:
    from mixpanel_export import MixpanelProcessor

    processor = MixpanelProcessor(token=KEY, base_url=url)
    return Client(said_to(processor), lambda: processor.pipeline.flush(timeout=PATIENCE))


def said_to(*processors: object) -> Callable[[str, dict[str, Any]], None]:
    """
    Make events by saying them to structlog, with *processors* in front of the renderer.

    The others are those that structlog has without any configuration, but times are in ISO format
    and the result is JSON, as in services. -- structlog 26.1, `_config` (read 2026-11-21). Like
    `logging.NullHandler`, it is written nowhere: whoever writes lets other threads go first.
    """
    structlog = import_module("structlog")
    # Without `structlog.configure`, which there is once in a process.
    log = structlog.wrap_logger(
        structlog.ReturnLogger(),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.StackInfoRenderer(),
            structlog.dev.set_exc_info,
            structlog.processors.TimeStamper(fmt="iso"),
            *processors,
            structlog.processors.JSONRenderer(),
        ],
        cache_logger_on_first_use=True,
    )
    return lambda who, properties: log.info(NAME, distinct_id=who, **properties)


def open_submit(url: str) -> Client:
    from mixpanel_export import Event, Pipeline, Settings

    pipeline = Pipeline(Settings(token=KEY, base_url=url))
    return Client(
        lambda who, properties: pipeline.submit(
            Event(NAME, distinct_id=who, properties=properties)
        ),
        lambda: pipeline.flush(timeout=PATIENCE),
    )


def open_event(_: str) -> Client:
    from mixpanel_export import Event

    return Client(
        lambda who, properties: Event(NAME, distinct_id=who, properties=properties), nothing
    )


def open_span(url: str) -> Client:
    from mixpanel_export.otel import MixpanelSpanExporter

    exporter = MixpanelSpanExporter(token=KEY, base_url=url)
    provider = exported_to(exporter)

    def flush() -> None:
        provider.force_flush()
        exporter.force_flush()

    return Client(traced(provider), flush)


def open_unexported(_: str) -> Client:
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class Nowhere(SpanExporter):
        def export(self, spans: object) -> SpanExportResult:  # noqa: ARG002 -- the SDK's signature
            return SpanExportResult.SUCCESS

    provider = exported_to(Nowhere())
    return Client(traced(provider), provider.force_flush)


def open_unprocessed(_: str) -> Client:
    return Client(traced(import_module("opentelemetry.sdk.trace").TracerProvider()), nothing)


def exported_to(exporter: object) -> Any:  # noqa: ANN401 -- the SDK may not be installed
    """Make a provider that exports to *exporter*, in batches as the SDK has them."""
    provider = import_module("opentelemetry.sdk.trace").TracerProvider()
    batch = import_module("opentelemetry.sdk.trace.export").BatchSpanProcessor
    provider.add_span_processor(batch(exporter))
    return provider


def traced(provider: Any) -> Callable[[str, dict[str, Any]], None]:  # noqa: ANN401 -- the SDK may not be installed
    """Make events by tracing them."""
    tracer = provider.get_tracer("shop")

    def track(who: str, properties: dict[str, Any]) -> None:
        with tracer.start_as_current_span(
            NAME, attributes={"mixpanel.distinct_id": who, **properties}
        ):
            pass

    return track


def nothing() -> None:
    """Have nothing to flush."""


SYSTEMS = {
    "ours": System("mixpanel-export", open_ours, ("mixpanel-export",), "mixpanel_export"),
    "mixpanel": System("mixpanel", open_mixpanel, ("mixpanel",), "mixpanel"),
    "posthog": System("posthog", open_posthog, ("posthog",), "posthog"),
    "segment": System("segment", open_segment, ("segment-analytics-python",), "segment.analytics"),
    "rudder": System("rudder", open_rudder, ("rudder-sdk-python",), "rudderstack.analytics"),
    "amplitude": System("amplitude", open_amplitude, ("amplitude-analytics",), "amplitude"),
    "snowplow": System("snowplow", open_snowplow, ("snowplow-tracker",), "snowplow_tracker"),
    "sentry": System("sentry logs", open_sentry, ("sentry-sdk",), "sentry_sdk"),
    "logfire": System("logfire", open_logfire, ("logfire",), "logfire"),
    "opentelemetry": System(
        "OTLP logs",
        open_opentelemetry,
        (
            "opentelemetry-sdk",
            "opentelemetry-exporter-otlp-proto-http",
            "opentelemetry-instrumentation-logging",
        ),
        "opentelemetry.sdk._logs, opentelemetry.sdk._logs.export,"
        " opentelemetry.exporter.otlp.proto.http._log_exporter,"
        " opentelemetry.instrumentation.logging.handler",
    ),
}

_OURS = ("mixpanel-export",)
_STRUCTLOG = ("structlog",)
_SDK = ("opentelemetry-sdk",)

VARIANTS = {
    "floor": System(
        "logging alone", lambda _: Client(logged_to(logging.NullHandler(), ALONE), nothing), ()
    ),
    "handler": System("with the handler", open_ours, _OURS, "mixpanel_export._handler"),
    "spool": System("with a spool", open_spool, _OURS),
    "structlog": System("structlog", open_structlog, _OURS + _STRUCTLOG),
    "structlog alone": System("structlog alone", lambda _: Client(said_to(), nothing), _STRUCTLOG),
    "submit": System("`Pipeline.submit`", open_submit, _OURS),
    "event alone": System("`Event` alone", open_event, _OURS),
    "span": System("spans", open_span, _OURS + _SDK),
    "span unexported": System("spans into an exporter that does nothing", open_unexported, _SDK),
    "span alone": System("spans without an exporter", open_unprocessed, _SDK),
    # What takes most with answers after 50 ms, of all settings of all libraries that were tried.
    "snowplow tuned": System(
        "snowplow, 8 threads",
        lambda url: open_snowplow(url, batch_size=2_000, thread_count=8),
        ("snowplow-tracker",),
    ),
}


# What each is compared with, in the same process: `logging` if nothing else is said.
FLOOR = ("floor",)
BESIDE = {
    "structlog": ("structlog alone",),
    "submit": ("event alone", "floor"),
    "span": ("span alone", "span unexported"),
}


def describe() -> dict[str, dict[str, str | None]]:
    """Say which libraries are installed, and that of this one which sources are measured."""
    return {
        name: {
            "label": system.label,
            "version": installed(system.packages),
        }
        for name, system in {**SYSTEMS, **VARIANTS}.items()
    }


def installed(packages: tuple[str, ...]) -> str | None:
    """Say the version of the first of *packages*; None if one of them is missing."""
    try:
        first, *_ = [_version(package) for package in packages] or [""]  # All, or it raises.
        return first
    except PackageNotFoundError:
        return None


def _version(package: str) -> str:
    # A checkout on PYTHONPATH will do.
    if package == "mixpanel-export" and find_spec("mixpanel_export") is not None:
        return str(import_module("mixpanel_export").__version__)
    return version(package)


def sources() -> str:
    """
    Give a few digits that change with this library, or with what measures it.

    ``""`` if it is not there.
    """
    spec = find_spec("mixpanel_export")
    if spec is None or spec.origin is None:
        return ""
    digest = hashlib.sha256()
    package, here = Path(spec.origin).parent, Path(__file__).parent
    for path in (*sorted(package.rglob("*.py")), *sorted(here.glob("*.py"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]
