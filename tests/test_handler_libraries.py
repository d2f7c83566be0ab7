"""
Records as other libraries make them, made again without these: what the program meant is an event,
what the library says of itself is none.

The fields are those that were seen when the libraries ran, or that their sources put there
(2026-11-21); `mixpanel_export._plan` names the releases.
"""

from __future__ import annotations

import copy
import logging
import logging.handlers
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson
import pytest

from mixpanel_export import MixpanelHandler
from mixpanel_export.testing import ScriptedTransport


class Shop:
    """A handler, loggers of any name that end in it, and what arrived."""

    def __init__(self) -> None:
        self.transport = ScriptedTransport()
        self.handler = MixpanelHandler(token="t", transport=self.transport)

    def log(self, name: str = "shop") -> logging.Logger:
        # Not in the tree of loggers, so that it is gone with the test.
        log = logging.Logger(name)  # noqa: LOG001 -- gone with the test
        log.addHandler(self.handler)
        return log

    def events(self) -> list[dict[str, Any]]:
        assert self.handler.pipeline.flush(10.0)
        return [orjson.loads(line) for line in self.transport.lines]

    def names(self) -> list[str]:
        return [event["event"] for event in self.events()]

    def said(self) -> list[tuple[str, dict[str, Any]]]:
        """Names and properties of all events, without what every event has."""
        every = {"time", "distinct_id", "$insert_id", "ip", "mp_lib"}
        return [
            (
                event["event"],
                {name: value for name, value in event["properties"].items() if name not in every},
            )
            for event in self.events()
        ]


@pytest.fixture
def shop() -> Iterator[Shop]:
    """
    Open a shop for one test.
    """
    shop = Shop()
    yield shop
    shop.handler.pipeline.close()


# -- what libraries say of themselves -------------------------------------------------------------

CELERY = {"id": "1fcd67c3", "name": "shop.add", "args": "(1, 2)", "kwargs": "{}", "runtime": 0.1}
ACCESS = {"h": "127.0.0.1", "r": "GET / HTTP/1.1", "s": "200", "b": "2", "{host}i": "shop"}

# Logger, message, arguments, fields.
OF_THEIR_OWN: dict[str, tuple[str, str, tuple[object, ...], dict[str, object]]] = {
    "aiohttp": (
        "aiohttp.access",
        "127.0.0.1 GET /",
        (),
        {"remote_address": "127.0.0.1", "response_status": 200, "request_header": {"Referer": "-"}},
    ),
    "botocore": ("botocore.regions", "Calling with: %s", ({"Region": "us-east-1"},), {}),
    "celery": ("celery.app.trace", "Task %(name)s[%(id)s] succeeded", (CELERY,), {"data": CELERY}),
    "ddtrace": ("ddtrace._monkey", "failed to patch", (), {"send_to_telemetry": False}),
    "django": (
        "django.request",
        "%s: %s",
        ("Not Found", "/nope"),
        {"status_code": 404, "request": object()},
    ),
    "django database": (
        "django.db.backends",
        "(%.3f) %s; args=%s; alias=%s",
        (0.001, "SELECT 1", None, "default"),
        {"duration": 0.001, "sql": "SELECT 1", "params": None, "alias": "default"},
    ),
    "django server": (
        "django.server",
        '"%s" %s %s',
        ("GET / HTTP/1.1", "200", "1"),
        {"request": object(), "server_time": "21/Nov/2026 03:05:15", "status_code": 200},
    ),
    "google": ("google.auth.transport", "Making request...", (), {"httpRequest": {"url": "/"}}),
    "granian": ("_granian", "%(addr)s", ({"addr": "127.0.0.1"},), {}),
    "gunicorn": ("gunicorn.access", "%(h)s %(r)s", (ACCESS,), {}),
    "gunicorn workers": (
        "gunicorn.error",
        "1 workers",
        (),
        {"metric": "gunicorn.workers", "value": 1, "mtype": "gauge"},
    ),
    "hypercorn": ("hypercorn.access", "%(h)s %(r)s", (ACCESS,), {}),
    "kombu": ("kombu.utils", "EMERGENCY", (), {"emergency_state_file": "/tmp/x"}),
    "sanic": ("sanic.access", "", (), {"status": 200, "byte": 2, "request": "GET /"}),
    "urllib3": (
        "urllib3.connectionpool",
        "Retrying (%r) after %r: %s",
        (1, "reset", "/"),
        {"__urllib3-retry-warning": {"host": "127.0.0.1"}},
    ),
    "uvicorn": ("uvicorn.error", "Started [%d]", (7,), {"color_message": "Started \x1b[36m%d"}),
    "websockets": ("websockets.server", "connection open", (), {"websocket": object()}),
}


@pytest.mark.parametrize("library", OF_THEIR_OWN)
def test_what_a_library_says_of_itself_is_no_event(shop: Shop, library: str) -> None:
    """
    Whatever fields and arguments it gives to its record.
    """
    logger, message, args, fields = OF_THEIR_OWN[library]

    shop.log(logger).warning(message, *args, extra=fields)

    assert shop.names() == []
    assert shop.handler.pipeline.stats.ignored == 1


# -- what libraries put on the records of others --------------------------------------------------

STAMPED: dict[str, dict[str, object]] = {
    "opentelemetry": {
        "otelSpanID": "00f067aa0ba902b7",
        "otelTraceID": "4bf92f3577b34da6a3ce929d0e0e4736",
        "otelTraceSampled": True,
        "otelServiceName": "shop",
    },
    "ddtrace": {
        "dd.trace_id": "6b010aaf000000008e64ab1fb6d623ea",
        "dd.span_id": "15090974564569523697",
        "dd.service": "shop",
        "dd.version": "1",
        "dd.env": "prod",
        "dd": object(),
    },
    "elastic": {
        "elasticapm_transaction_id": None,
        "elasticapm_trace_id": None,
        "elasticapm_span_id": None,
        "elasticapm_service_name": "shop",
        "elasticapm_service_environment": None,
        "elasticapm_labels": {"service.name": "shop"},
    },
    "google": {
        "_resource": None,
        "_trace": None,
        "_span_id": None,
        "_trace_sampled": False,
        "_http_request": {},
        "_source_location": {"line": 7, "file": "shop.py", "function": "buy"},
        "_labels": None,
        "_trace_str": "",
        "_span_id_str": "",
        "_trace_sampled_str": "false",
        "_http_request_str": "{}",
        "_source_location_str": "{}",
        "_labels_str": "{}",
        "_payload_str": "{}",
    },
    "lambda": {"aws_request_id": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef"},
    "structlog": {"_logger": object(), "_name": "info"},
    "uvicorn": {"color_message": "\x1b[1m%s"},
    "logging of Python 3.12": {"taskName": "Task-1"},
}

WEAK: dict[str, dict[str, object]] = {
    "asgi-correlation-id": {"correlation_id": "c-1"},
    "celery": {"task_id": "???", "task_name": "???"},
    "coloredlogs": {"hostname": "web-1", "programname": "shop"},
    "flask": {"remote_addr": "203.0.113.7"},
    "request id": {"request_id": "r-1"},
    "structlog": {"level": "info", "level_number": 20, "logger": "shop", "timestamp": 1.7e9},
    "tornado": {"color": "\x1b[2;32m"},
    "traces": {"trace_id": "4bf9", "span_id": "00f0", "trace_flags": 1, "trace_sampled": True},
}


def stamping(fields: Mapping[str, object]) -> Callable[..., logging.LogRecord]:
    """
    Make records that have these *fields* from the start.
    """

    def make(*args: Any, **kwargs: Any) -> logging.LogRecord:  # noqa: ANN401 -- as logging's
        record = logging.LogRecord(*args, **kwargs)
        vars(record).update(fields)
        return record

    return make


@pytest.mark.parametrize("library", STAMPED)
def test_stamps_change_nothing(shop: Shop, library: str) -> None:
    """
    From a record factory, in front of the application's own fields, or from a filter, behind them:
    an ordinary line stays one, and an event has its own properties alone.
    """
    fields = STAMPED[library]
    factory = logging.getLogRecordFactory()
    logging.setLogRecordFactory(stamping(fields))
    try:
        shop.log().info("cache is warm in %.1f s", 0.5)
        shop.log().info("Signed Up", extra={"plan": "pro"})
    finally:
        logging.setLogRecordFactory(factory)
    log = shop.log()
    log.addFilter(lambda record: vars(record).update(fields) is None)
    log.info("cache is warm in %.1f s", 0.5)
    log.info("Signed Up", extra={"plan": "pro"})

    assert shop.said() == [("Signed Up", {"plan": "pro"})] * 2
    assert shop.handler.pipeline.stats.ignored == 2


@pytest.mark.parametrize("library", WEAK)
def test_weak_names_make_no_event(shop: Shop, library: str) -> None:
    """
    A library may have put them there, or the application: they are sent with an event, and are no
    reason for one.
    """
    fields = WEAK[library]

    shop.log().info("cache is warm", extra=fields)
    shop.log().info("Signed Up", extra={**fields, "plan": "pro"})

    assert shop.said() == [("Signed Up", {**fields, "plan": "pro"})]


# -- libraries that speak for the application -----------------------------------------------------


def by_loguru(shop: Shop, message: str, **extra: object) -> None:
    """
    Hand over a record as loguru's sink for handlers does, with ``format="{message}"``.
    """
    log = shop.log("shop.views")
    record = log.makeRecord(
        "shop.views", 20, "shop.py", 7, message, (), None, "view", {"extra": extra}
    )
    log.handlers[0].handle(record)


def test_loguru_s_fields_are_fields(shop: Shop) -> None:
    """
    It hands all of them over as one; without any, a line is an ordinary one.
    """
    by_loguru(shop, "Signed Up", distinct_id="u-1", plan="pro")
    by_loguru(shop, "cache is warm")

    assert shop.said() == [("Signed Up", {"plan": "pro"})]
    assert shop.events()[0]["properties"]["distinct_id"] == "u-1"


def test_a_field_named_extra_of_another_kind_stays(shop: Shop) -> None:
    """
    Only a mapping can be spread.
    """
    shop.log().info("Ordered", extra={"extra": "cheese", "plan": "pro"})

    assert shop.said() == [("Ordered", {"extra": "cheese", "plan": "pro"})]


def test_loguru_s_stack_trace_does_not_name_the_event(shop: Shop) -> None:
    """
    It stands below the message; what an error says is not sent.
    """
    trace = 'Traceback (most recent call last):\n\n> File "shop.py", line 7\n\nValueError: secret'

    by_loguru(shop, f"Payment Failed\n{trace}", distinct_id="u-1")

    assert shop.names() == ["Payment Failed"]


def test_a_mapping_as_message_is_taken_apart(shop: Shop) -> None:
    """
    As formatters of JSON take it: message and fields in one, beside those of the record.
    """
    message = {"message": "Signed Up", "plan": "pro"}
    shop.log().info(message, extra={"seats": 5})
    shop.log().info({"message": "cache is warm"})
    shop.log().info({"plan": "pro"})

    assert shop.said() == [("Signed Up", {"seats": 5, "plan": "pro"})]
    assert shop.handler.pipeline.stats.ignored == 2
    assert message == {"message": "Signed Up", "plan": "pro"}


def test_structlog_s_dict_is_taken_apart(shop: Shop) -> None:
    """
    As `wrap_for_formatter` hands it over.
    """
    said = {"plan": "pro", "event": "Signed Up", "level": "info", "timestamp": "2026-11-21"}

    shop.log().info(said, extra={"_logger": object(), "_name": "info"})

    assert shop.said() == [("Signed Up", {"plan": "pro"})]


def test_a_mapping_of_arguments_gives_names(shop: Shop) -> None:
    """
    They are fields; those in `extra` go before them.
    """
    shop.log().info("Order %(order)s", {"order": "o-1", "total": 5}, extra={"total": 6})

    assert shop.said() == [("Order %(order)s", {"order": "o-1", "total": 6})]


# -- behind a queue -------------------------------------------------------------------------------


class Queued:
    """A logger upstream of a queue, and our handler behind it."""

    def __init__(self, shop: Shop) -> None:
        self._waiting: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
        self._handler = shop.handler
        self.log = logging.Logger("shop")  # noqa: LOG001 -- gone with the test
        self.log.addHandler(logging.handlers.QueueHandler(self._waiting))

    def deliver(self) -> None:
        while not self._waiting.empty():
            self._handler.handle(self._waiting.get())


@pytest.fixture
def queued(shop: Shop) -> Queued:
    """
    Put a queue in front of the shop.
    """
    return Queued(shop)


def test_behind_a_queue_the_mark_names_the_event(shop: Shop, queued: Queued) -> None:
    """
    The template is gone there, and its arguments with it; fields are not.
    """
    queued.log.info("Paid by %s", "card", extra={"mixpanel_event": "Paid", "total": 5})
    queued.log.info("Paid by %s", "card", extra={"total": 5})
    queued.log.info("listening on %s", "port 80")
    queued.deliver()

    assert shop.said() == [("Paid", {"total": 5}), ("Paid by card", {"total": 5})]


def test_behind_a_queue_the_stack_does_not_name_the_event(shop: Shop, queued: Queued) -> None:
    """
    `QueueHandler` puts exception and stack below the message.
    """
    try:
        int("secret")
    except ValueError:
        queued.log.exception("Payment Failed", extra={"total": 5})
    queued.log.info("Opened", extra={"total": 5}, stack_info=True)
    queued.deliver()

    assert shop.said() == [("Payment Failed", {"total": 5}), ("Opened", {"total": 5})]


def test_two_lines_may_name_an_event(shop: Shop) -> None:
    """
    What only looks a little like a stack trace is left alone.
    """
    shop.log().info("Traceback (most recent call last):", extra={"total": 5})
    shop.log().info("Two\nLines", extra={"total": 5})

    assert shop.names() == ["Traceback (most recent call last):", "Two\nLines"]


def test_a_record_of_another_process_is_not_taken_for_a_delivery_thread_s() -> None:
    """
    Threads of other processes may have the same identifiers as ours.
    """
    seen: list[bool] = []

    class Elsewhere(ScriptedTransport):
        """Logs while it delivers, as another process with such a thread might."""

        def send(self, request: Any, deadline: Any) -> Any:  # noqa: ANN401 -- as the protocol's
            if not seen:
                seen.append(True)
                record = made_elsewhere()
                record.thread = threading.get_ident()
                handler.handle(record)
                record.process = None
                handler.handle(record)
            return super().send(request, deadline)

    def made_elsewhere() -> logging.LogRecord:
        record = logging.makeLogRecord({"name": "shop", "msg": "Elsewhere", "plan": "pro"})
        record.process = -1
        return record

    transport = Elsewhere()
    handler = MixpanelHandler(token="t", transport=transport)
    handler.handle(logging.makeLogRecord({"name": "shop", "msg": "Here", "plan": "pro"}))

    assert handler.pipeline.flush(10.0)
    handler.pipeline.close()

    assert [orjson.loads(line)["event"] for line in transport.lines] == ["Here", "Elsewhere"]
    assert handler.pipeline.stats.ignored == 1


# -- other handlers' habits -----------------------------------------------------------------------


def test_levels_of_one_s_own_are_levels(shop: Shop) -> None:
    """
    With or without a name, they pass where they are high enough.
    """
    shop.handler.setLevel(25)

    shop.log().log(24, "too low", extra={"total": 5})
    shop.log().log(25, "Notice", extra={"total": 5})

    assert shop.names() == ["Notice"]


def test_what_an_error_was_is_not_sent(shop: Shop) -> None:
    """
    Of the exception its class; neither the stack, nor what another handler's formatter made of it.
    """
    log = shop.log()
    log.addFilter(lambda record: bool(logging.Formatter().format(record)))
    try:
        int("secret")
    except ValueError:
        log.exception("Failed", extra={"total": 5}, stack_info=True)

    assert shop.said() == [("Failed", {"total": 5, "exception_type": "ValueError"})]


def test_a_copy_of_a_record_is_the_same_event(shop: Shop) -> None:
    """
    Formatters that colour copy a record first, and `makeLogRecord` makes one from its fields.
    """
    record = shop.log().makeRecord("shop", 20, "f", 1, "A", (), None, extra={"total": 5})

    shop.handler.handle(copy.copy(record))
    shop.handler.handle(logging.makeLogRecord(vars(record)))

    assert shop.said() == [("A", {"total": 5})] * 2
