"""
Programs that use OpenTelemetry, as users run them: real processes against the emulator.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from mixpanel_export.emulator import EmulatorProcess
from tests.raw_server import raw_server

SETUP = """
import os, sys
from opentelemetry import trace
from opentelemetry._logs import get_logger, set_logger_provider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from mixpanel_export.otel import MixpanelLogRecordExporter, MixpanelSpanExporter

traced, logged = TracerProvider(), LoggerProvider()
traced.add_span_processor(BatchSpanProcessor(MixpanelSpanExporter()))
logged.add_log_record_processor(BatchLogRecordProcessor(MixpanelLogRecordExporter()))
trace.set_tracer_provider(traced)
set_logger_provider(logged)
tracer, log = trace.get_tracer("shop"), get_logger("shop")

def spans(count, name="Span"):
    for number in range(count):
        with tracer.start_as_current_span(name, attributes={"user.id": "u-1", "number": number}):
            pass

def logs(count, name="Log"):
    for number in range(count):
        log.emit(event_name=name, attributes={"user.id": "u-1", "number": number})
"""


@pytest.fixture(scope="module")
def running() -> Iterator[EmulatorProcess]:
    """
    Run an emulator for all tests of this file.
    """
    with EmulatorProcess() as emulator:
        yield emulator


@pytest.fixture
def emulator(running: EmulatorProcess) -> EmulatorProcess:
    """
    An emulator that has seen nothing yet.
    """
    running.reset()
    return running


def run(
    url: str | None,
    program: str,
    *command: str,
    code: int = 0,
    env: dict[str, str] | None = None,
    warnings: str = "error",
) -> subprocess.CompletedProcess[str]:
    """
    Run *program* as a file of its own would be run, and expect its exit status.

    Args:
        url: Where to send; None leaves even the token away.

        program: What.

        command: What to put before the interpreter's arguments; by default the interpreter.

        code: The exit status.

        env: More variables.

        warnings: What becomes of Python's warnings.
    """
    clean = {
        name: text
        for name, text in os.environ.items()
        if not name.startswith(("MIXPANEL_", "OTEL_"))
    }
    at = {} if url is None else {"MIXPANEL_TOKEN": "t", "MIXPANEL_BASE_URL": url}
    done = subprocess.run(
        [*(command or (sys.executable, "-W", warnings)), "-c", textwrap.dedent(program)],
        env={**clean, **at, **(env or {})},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done


def arrived(emulator: EmulatorProcess) -> dict[str, list[int]]:
    """
    Give the numbers that arrived, by the names of the events.
    """
    found: dict[str, list[int]] = {}
    for event in emulator.events():
        found.setdefault(event["event"], []).append(event["properties"]["number"])
    return {name: sorted(numbers) for name, numbers in found.items()}


# -- how it ends ----------------------------------------------------------------------------------


def test_three_spans_of_a_short_script_are_three_events(emulator: EmulatorProcess) -> None:
    """
    The first export of all happens at exit: OpenTelemetry waits five seconds before that.
    """
    done = run(emulator.url, SETUP + "spans(3)")

    assert arrived(emulator) == {"Span": [0, 1, 2]}
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("raise SystemExit(4)", 4),
        ("raise ValueError('the application')", 1),
        ("traced.shutdown(); logged.shutdown()", 0),
        ("traced.force_flush(); logged.force_flush()", 0),
        ("import threading; threading.Thread(target=spans, args=(1, 'Late')).start()", 0),
    ],
)
@pytest.mark.parametrize("handled", ["never", "first", "last"])
def test_however_it_ends_nothing_is_lost(
    emulator: EmulatorProcess, end: str, code: int, handled: str
) -> None:
    """
    Also beside a handler: what it registers at exit runs after OpenTelemetry's, or before it.
    """
    handle = """
import logging, mixpanel_export
logging.getLogger("shop").addHandler(mixpanel_export.MixpanelHandler())
logging.getLogger("shop").warning("Handled", extra={"number": 0})
"""
    first, last = (handle if handled == each else "" for each in ("first", "last"))

    run(emulator.url, f"{first}{SETUP}{last}\nspans(200)\nlogs(300)\n{end}", code=code)

    found = arrived(emulator)
    assert found.pop("Late", [0]) == [0]
    assert found.pop("Handled", []) == [0] * (handled != "never")
    assert found == {"Span": list(range(200)), "Log": list(range(300))}


def test_a_server_that_hangs_delays_the_end_once() -> None:
    """
    Both exporters share one deadline, and each says what it could not deliver.
    """
    # A server that hangs: real time, since the program is a process of its own.
    with raw_server(*[lambda _: time.sleep(60)] * 20) as server:
        program = SETUP + "spans(3)\nlogs(4)\n"
        started = time.monotonic()
        done = run(server.url, program, env={"MIXPANEL_SHUTDOWN_TIMEOUT": "3"})
        took = time.monotonic() - started

    assert 3.0 < took < 6.0
    lost = sum(int(line.split()[0]) for line in done.stderr.splitlines() if "in time" in line)
    assert 4 <= lost <= 7  # at least those that were there first


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_exports_its_own(emulator: EmulatorProcess) -> None:
    """
    What the parent had queued is the parent's.
    """
    program = """
spans(10, "Parent")
logs(10, "Parent's log")
child = os.fork()
if child == 0:
    spans(7, "Child")
    logs(8, "Child's log")
    sys.exit(0)
_, status = os.waitpid(child, 0)
spans(1, "Parent later")
sys.exit(os.waitstatus_to_exitcode(status))
"""
    # Python 3.12 warns of forks beside threads, and OpenTelemetry's are threads.
    run(emulator.url, SETUP + program, warnings="default")

    assert arrived(emulator) == {
        "Parent": list(range(10)),
        "Parent's log": list(range(10)),
        "Child": list(range(7)),
        "Child's log": list(range(8)),
        "Parent later": [0],
    }


# -- chosen by name -------------------------------------------------------------------------------


def is_there(*modules: str) -> bool:
    """
    Say whether a part of OpenTelemetry that is no extra of ours is installed.
    """
    return all(importlib.util.find_spec(module) for module in modules)


needs_metadata = pytest.mark.skipif(
    not entry_points(group="opentelemetry_traces_exporter", name="mixpanel"),
    reason="the package is not installed, so that nobody knows it by name",
)
needs_distro = pytest.mark.skipif(
    not is_there("opentelemetry.distro"), reason="needs opentelemetry-distro"
)
needs_configuration = pytest.mark.skipif(
    not is_there("opentelemetry.configuration"), reason="needs opentelemetry-configuration"
)
needs_httpx_instrumentation = pytest.mark.skipif(
    not (
        is_there("opentelemetry.instrumentation")
        and is_there("opentelemetry.instrumentation.httpx")
    ),
    reason="needs opentelemetry-instrumentation-httpx",
)

BY_NAME = """
from opentelemetry import trace
from opentelemetry._logs import get_logger

tracer = trace.get_tracer("shop")
with tracer.start_as_current_span("Span", attributes={"user.id": "u", "number": 0}):
    get_logger("shop").emit(event_name="Log", attributes={"number": 1})
"""
NAMED = {
    "OTEL_TRACES_EXPORTER": "mixpanel",
    "OTEL_LOGS_EXPORTER": "mixpanel",
    "OTEL_METRICS_EXPORTER": "none",
}


def instrumented() -> tuple[str, ...]:
    """
    Give the command line of opentelemetry-instrument.
    """
    return (str(Path(sys.executable).with_name("opentelemetry-instrument")), sys.executable)


@needs_metadata
@needs_distro
def test_the_environment_alone_is_enough(emulator: EmulatorProcess) -> None:
    """
    An application that knows nothing of us, under ``opentelemetry-instrument``.
    """
    done = run(emulator.url, BY_NAME, *instrumented(), env=NAMED)

    assert arrived(emulator) == {"Span": [0], "Log": [1]}
    assert done.stderr == ""


@needs_metadata
@needs_distro
def test_without_credentials_the_application_runs(emulator: EmulatorProcess) -> None:
    """
    Each exporter warns once and takes nothing.
    """
    done = run(None, BY_NAME + "print('fine')", *instrumented(), env=NAMED)

    assert done.stdout == "fine\n"
    assert done.stderr.count("is off: there are no credentials") == 2
    assert len(done.stderr.splitlines()) == 2
    assert arrived(emulator) == {}


@needs_metadata
@needs_distro
def test_a_disabled_sdk_exports_nothing(emulator: EmulatorProcess) -> None:
    """
    OpenTelemetry's own switch holds for us too, and costs the application nothing.
    """
    done = run(emulator.url, BY_NAME, *instrumented(), env={**NAMED, "OTEL_SDK_DISABLED": "true"})

    assert arrived(emulator) == {}
    assert done.stderr == ""


@needs_metadata
@needs_distro
def test_who_configures_opentelemetry_hands_settings_over(emulator: EmulatorProcess) -> None:
    """
    As keywords, in what OpenTelemetry calls ``exporter_args_map``.
    """
    program = f"""
from mixpanel_export.otel import MixpanelLogRecordExporter, MixpanelSpanExporter
from opentelemetry.distro import OpenTelemetryConfigurator

OpenTelemetryConfigurator().configure(
    auto_instrumentation_version="0",
    exporter_args_map={{
        MixpanelSpanExporter: {{"super_properties": {{"number": 7}}}},
        MixpanelLogRecordExporter: {{"select": "marked"}},
    }},
)
{BY_NAME}
tracer.start_span("A", attributes={{"user.id": "u"}}).end()
"""
    run(emulator.url, program, env=NAMED, warnings="default")

    assert arrived(emulator) == {"Span": [0], "A": [7]}


@needs_metadata
@needs_distro
@needs_configuration
def test_the_environment_may_name_a_file(emulator: EmulatorProcess, tmp_path: Path) -> None:
    """
    Then nothing but the file and our own variables counts.
    """
    path = tmp_path / "otel.yaml"
    path.write_text(
        """
file_format: "1.0"
tracer_provider: {processors: [{batch: {exporter: {mixpanel: }}}]}
""",
        encoding="utf-8",
    )

    run(emulator.url, BY_NAME, *instrumented(), env={**NAMED, "OTEL_CONFIG_FILE": str(path)})

    assert arrived(emulator) == {"Span": [0]}


@needs_metadata
@needs_configuration
def test_a_file_configures_it(emulator: EmulatorProcess, tmp_path: Path) -> None:
    """
    In OpenTelemetry's own file, with settings as keys; the rest is from the environment.
    """
    path = tmp_path / "otel.yaml"
    path.write_text(
        """
file_format: "1.0"
tracer_provider:
  processors:
    - batch:
        exporter:
          mixpanel:
            token: ${SHOP_TOKEN}
            select: identified
            super_properties: {from: file}
    - simple:
        exporter:
          mixpanel: {}
logger_provider:
  processors:
    - batch:
        exporter:
          mixpanel:
""",
        encoding="utf-8",
    )
    program = f"""
from opentelemetry.configuration import configure_sdk, load_config_file
configure_sdk(load_config_file({str(path)!r}))
{BY_NAME}
tracer.start_span("A", attributes={{"distinct_id": "u", "number": 2}}).end()
"""

    run(emulator.url, program, env={"SHOP_TOKEN": "from-file"}, warnings="default")

    assert arrived(emulator) == {"Span": [0], "Log": [1], "A": [2, 2]}
    froms = [event["properties"].get("from") for event in emulator.events()]
    assert sorted(froms, key=str) == [None, None, None, "file"]


# -- not in a circle ------------------------------------------------------------------------------


@needs_httpx_instrumentation
def test_our_requests_are_not_traced(emulator: EmulatorProcess) -> None:
    """
    Whichever thread makes them, with HTTP clients instrumented; the application's own are.
    """
    program = """
import httpx, logging
from mixpanel_export import MixpanelHandler
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

seen = InMemorySpanExporter()
traced.add_span_processor(SimpleSpanProcessor(seen))
HTTPXClientInstrumentor().instrument()
handler = MixpanelHandler(flush_interval=0.01)
logging.getLogger().addHandler(handler)
for number in range(5):
    spans(1)
    traced.force_flush()
    logging.getLogger("shop").warning("Handled", extra={"number": number})
    assert handler.pipeline.flush(10.0)
handler.pipeline.close()
ours = [span.name for span in seen.get_finished_spans()]
with httpx.Client(trust_env=False) as client:
    client.get(os.environ["MIXPANEL_BASE_URL"] + "/_emulator/stats")
print(len(ours), set(ours), len(seen.get_finished_spans()))
"""
    done = run(emulator.url, SETUP + program, warnings="default")

    assert done.stdout == "5 {'Span'} 6\n"
    assert len(emulator.events()) == 10


def test_our_own_warnings_do_not_come_back(emulator: EmulatorProcess) -> None:
    """
    Where `logging` feeds OpenTelemetry, what we log about a failing server is not exported.
    """
    emulator.faults([{"path": "/import", "times": 3, "status": 503}])
    program = """
import logging
from opentelemetry.sdk._logs import LoggingHandler

logging.getLogger().addHandler(LoggingHandler(logger_provider=logged))
logging.getLogger().setLevel(logging.DEBUG)
logging.getLogger("shop").info("Signed Up", extra={"distinct_id": "u-1", "number": 0})
logging.getLogger("mixpanel_export").warning("x", extra={"distinct_id": "u-1", "number": 1})
logging.getLogger("httpx").info("x", extra={"distinct_id": "u-1", "number": 2})
"""
    env = {"MIXPANEL_BACKOFF_INITIAL": "0.01", "MIXPANEL_JITTER": "0.01", "MIXPANEL_SELECT": "all"}

    # OpenTelemetry calls its own handler deprecated; the one after it is in another package.
    run(emulator.url, SETUP + program, env=env, warnings="default")

    found = arrived_of(emulator, "shop")
    assert found == ["Signed Up"]


def arrived_of(emulator: EmulatorProcess, logger: str) -> list[str]:
    """
    Give the names of the events that loggers of the application, or ours, have sent.
    """
    events = [
        (event["properties"].get("logger", ""), event["event"]) for event in emulator.events()
    ]
    assert not any(said.startswith(("mixpanel_export", "httpx", "httpcore")) for said, _ in events)
    return [name for said, name in events if said == logger]
