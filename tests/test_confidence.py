"""
Token and service secret never show: not in logs, errors, warnings, what is printed, nor in a repr.
"""

from __future__ import annotations

import base64
import logging
import os
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from mixpanel_export import (
    Event,
    MixpanelExportError,
    MixpanelHandler,
    MixpanelProcessor,
    Pipeline,
    ProfileUpdate,
    Settings,
    SettingsError,
)
from mixpanel_export._batch import Batch, Lane
from mixpanel_export._sender import Sender
from mixpanel_export._transport import HttpxTransport
from mixpanel_export._wire import encode
from mixpanel_export.testing import FakeClock, ScriptedTransport
from tests.raw_server import answer, raw_server

TOKEN = "7f3c" + "a9d1" * 7
SECRET = "Zq81" + "mV5k" * 7
OLD = "9e0b" + "44c2" * 7
ACCOUNT = {"service_account": "shop.mp-service-account", "project_id": "4711"}
BY_TOKEN: dict[str, Any] = {"token": TOKEN}
BY_ACCOUNT: dict[str, Any] = {**ACCOUNT, "service_secret": SECRET, "token": TOKEN}
BY_SECRET: dict[str, Any] = {"api_secret": OLD}


def shown(text: object, given: Iterable[object] = (TOKEN, SECRET, OLD)) -> list[str]:
    """
    Return which of the credentials a text shows, written out or as a header has them.
    """
    basic = [f"{TOKEN}:", f"{ACCOUNT['service_account']}:{SECRET}", f"{OLD}:"]
    forms = [*(base64.b64encode(each.encode()).decode() for each in basic)]
    forms += [each for each in (TOKEN, SECRET, OLD) if each in given]
    return [form for form in forms if form[-12:] in str(text)]


def everything_about(error: BaseException) -> str:
    """
    Write out an error with all that hangs on it.
    """
    trace = traceback.TracebackException.from_exception(error)
    return "".join([repr(error), str(error), repr(error.args), *trace.format(chain=True)])


@pytest.mark.parametrize("field", ["token", "service_secret", "api_secret"])
@pytest.mark.parametrize(
    "wrong",
    [lambda text: text.encode(), lambda text: [text], lambda text: {"it": text}],
    ids=["bytes", "list", "mapping"],
)
@pytest.mark.parametrize("make", [Settings, MixpanelHandler, MixpanelProcessor])
def test_wrong_credentials(
    field: str, wrong: Callable[[str], object], make: Callable[..., object]
) -> None:
    """
    Whatever is wrong about them.
    """
    with pytest.raises(SettingsError) as caught:
        make(**{field: wrong(TOKEN)})

    assert field in str(caught.value)
    assert shown(everything_about(caught.value)) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"region": "mars"},
        {"api": "both"},
        {"base_url": f"https://{TOKEN}:{SECRET}@example.com"},
        {"base_url": f"https://{TOKEN}@example.com"},
        {"base_url": "nowhere"},
        {"max_events": 0},
        {"nonsense": 1},
        {TOKEN: 1},
    ],
    ids=lambda wrong: next(iter(wrong))[:9],
)
def test_wrong_settings_beside_them(wrong: dict[str, Any]) -> None:
    """
    An error about something else says nothing of them, not even one in the wrong place.
    """
    given = {**BY_ACCOUNT, **wrong}
    environ = {f"MIXPANEL_{name.upper()}": str(value) for name, value in given.items()}
    calls: list[Callable[[], object]] = [
        lambda: Settings(**given),
        lambda: Settings.from_environment({}, **given),
        lambda: MixpanelHandler(**given),
        lambda: MixpanelProcessor(**given),
        lambda: MixpanelHandler(settings=Settings(token=TOKEN), **wrong),
    ]
    if not {"nonsense", TOKEN} & wrong.keys():
        calls.append(lambda: Settings.from_environment(environ))

    for call in calls:
        with pytest.raises((SettingsError, TypeError)) as caught:
            call()
        if TOKEN not in wrong:
            # A name is what the error is about.
            assert shown(str(caught.value)) == []


@pytest.mark.parametrize(
    "given", [BY_TOKEN, BY_ACCOUNT, BY_SECRET], ids=["token", "account", "secret"]
)
def test_what_is_printed(given: dict[str, Any]) -> None:
    """
    Every object that holds them keeps them to itself.
    """
    settings = Settings(**given)
    transport = HttpxTransport(settings)
    pipeline = Pipeline(settings)
    handler = MixpanelHandler(pipeline=pipeline)
    processor = MixpanelProcessor(pipeline=pipeline)
    batch = Batch.of([b'{"event":"A","properties":{"time":1}}'])
    request = encode(batch, settings)
    sender = Sender(settings, transport, clock=FakeClock(), random=lambda: 0.5)
    about: list[object] = [
        settings,
        transport,
        pipeline,
        handler,
        processor,
        handler._door,
        pipeline._process,
        pipeline._process.engine,
        pipeline.stats,
        pipeline.health,
        sender,
        batch,
        request,
    ]
    if settings.token:
        update = Batch.of([b'{"$distinct_id":"u","$set":{}}'], lane=Lane.ENGAGE)
        about.append(encode(update, settings))

    for each in about:
        assert shown(repr(each)) == []
        assert shown(str(each)) == []
        assert shown(f"{each}") == []
    assert "***" in repr(settings)
    assert shown(request.headers["Authorization"])  # the test sees them where they are
    pipeline.close()
    transport.close()


def refuse_connections() -> str:
    """
    Return an address where nobody listens.
    """
    with raw_server() as server:
        return server.url


ECHO = f'{{"error":"token {TOKEN} or {SECRET} or {OLD} is wrong","status":0}}'.encode()
BROKEN = f"<html>{TOKEN} {SECRET} {OLD}</html>".encode()
REJECTING = (
    f'{{"code":400,"error":"some","failed_records":[{{"index":0,"field":"token",'
    f'"message":"{TOKEN} {SECRET} {OLD}"}}],"num_records_imported":0,"status":"Bad Request"}}'
).encode()


def misuse(pipeline: Pipeline) -> None:
    """
    Do all that ends up in a log.
    """
    handler = MixpanelHandler(pipeline=pipeline)
    log = logging.Logger("shop")  # noqa: LOG001 -- gone with the test
    log.addHandler(handler)
    log.info("Signed Up", extra={"distinct_id": "u-1", "$set": {"plan": "pro"}})
    log.info("Ignored")
    log.info("Nobody", extra={"distinct_id": "anonymous", "time": "never"})
    pipeline.submit(ProfileUpdate("u-1", "$set", {"a": 1}))
    pipeline.submit(Event("By Hand", properties={"a": "x" * 300}))
    pipeline.flush(0.3)
    pipeline.close(0.1)
    pipeline.submit(Event("Too Late"))


@pytest.mark.parametrize(
    "given", [BY_TOKEN, BY_ACCOUNT, BY_SECRET], ids=["token", "account", "secret"]
)
@pytest.mark.parametrize(
    "reply",
    [
        None,
        answer(401, ECHO),
        answer(403, BROKEN),
        answer(400, REJECTING),
        answer(400, ECHO),
        answer(500, BROKEN),
        answer(200, BROKEN),
        b"nonsense\r\n\r\n",
    ],
    ids=["refused", "401", "403", "rejecting", "400", "500", "200", "no http"],
)
def test_whatever_the_network_does(
    reply: bytes | None,
    given: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """
    With every logger at DEBUG, and a server that repeats what it was sent.
    """
    caplog.set_level(logging.DEBUG)
    rejected: list[object] = []
    more: dict[str, Any] = {"on_rejected": rejected.append, "shutdown_timeout": 0.1}

    def wrong(event: Event) -> Event:
        if event.name == "By Hand":
            raise ValueError("a bug of the application's")
        return event

    with warnings.catch_warnings(record=True) as warned, raw_server(*[reply or b""] * 30) as server:
        warnings.simplefilter("always")
        url = server.url if reply is not None else refuse_connections()
        pipeline = Pipeline(Settings(**given, **more, base_url=url, transform=wrong))
        misuse(pipeline)
    # What a request comes to that was under way would be told in the next test.
    deadline = time.monotonic() + 60.0
    while pipeline._process.connections:
        assert time.monotonic() < deadline
        time.sleep(0.01)  # Nobody tells when a thread ends.
    printed = capfd.readouterr()

    assert caplog.records
    about: list[object] = [
        *(record.getMessage() for record in caplog.records),
        *(vars(record) for record in caplog.records),
        *warned,
        caplog.text,
        printed,
        rejected,
        pipeline.health,
        pipeline.stats,
    ]
    assert [each for each in about if shown(each, given.values())] == []


class Faulty(ScriptedTransport):
    """A transport with a bug."""

    def send(self, *_arguments: object) -> Any:  # noqa: ANN401 -- raises
        raise ZeroDivisionError


def test_a_bug_of_a_transport(caplog: pytest.LogCaptureFixture) -> None:
    """
    What is logged about it, with its trace, shows the code and no values.
    """
    caplog.set_level(logging.DEBUG)

    misuse(Pipeline(Settings(**BY_ACCOUNT, transport=Faulty())))

    assert "ZeroDivisionError" in caplog.text
    assert shown(caplog.text) == []


PROGRAM = """
import logging, sys, warnings
warnings.simplefilter("always")
logging.basicConfig(level=logging.DEBUG)
from mixpanel_export import MixpanelHandler
logging.getLogger().addHandler(MixpanelHandler())
logging.getLogger("shop").info("Signed Up", extra={"distinct_id": "u-1", "$set": {"a": 1}})
print(logging.getLogger().handlers, logging.getLogger().handlers[-1].pipeline)
raise SystemExit("the end")
"""


@pytest.mark.parametrize("wrong", [{}, {"REGION": "mars"}, {"API": "track"}, {"TOKEN": " "}])
def test_a_program_that_nobody_answers(wrong: dict[str, str]) -> None:
    """
    A whole process, from wrong settings to the last words at its exit.
    """
    variables = {
        "TOKEN": TOKEN,
        "SERVICE_ACCOUNT": str(ACCOUNT["service_account"]),
        "SERVICE_SECRET": SECRET,
        "PROJECT_ID": "4711",
        "BASE_URL": refuse_connections(),
        "SHUTDOWN_TIMEOUT": "1",
        **wrong,
    }
    environ = {**os.environ, **{f"MIXPANEL_{name}": text for name, text in variables.items()}}

    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environ, capture_output=True, text=True, check=False
    )

    assert ended.returncode == 1
    assert "the end" in ended.stderr
    assert "mixpanel_export" in ended.stderr
    assert shown(ended.stdout + ended.stderr) == []


def test_our_errors_say_nothing_of_them() -> None:
    """
    Where credentials are missing, those that are there are not named.
    """
    engage = Batch.of([b'{"$distinct_id":"u","$set":{}}'], lane=Lane.ENGAGE)

    with pytest.raises(MixpanelExportError) as caught:
        encode(engage, Settings(**BY_SECRET))

    assert shown(everything_about(caught.value)) == []
