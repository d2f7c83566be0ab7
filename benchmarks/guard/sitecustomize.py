"""
Python imports this when it starts: the program, whichever it is, is listened to as closely as
possible.

A second handler of ours gets every record of every logger at every level, as one on the root logger
would with all libraries at DEBUG and nothing kept from it. Everything that OpenTelemetry can
instrument is instrumented, records carry the ids of traces, and wherever a trace begins, a query
and a request belong to it.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import closing
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from opentelemetry import context, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider

from mixpanel_export import MixpanelHandler

# From all processes one byte for each record that the second handler was given, "t" if it is part
# of a trace and "r" if it is not, and "s" for each span of a client.
_tally = os.open(os.environ["GUARD_TALLY"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


class Everything(logging.Handler):
    """
    Hands each record on to a handler of ours, and counts it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._ours = MixpanelHandler(super_properties={"heard": "everywhere"})

    def handle(self, record: logging.LogRecord) -> bool:
        traced = getattr(record, "otelTraceID", "0") != "0"
        os.write(_tally, b"t" if traced else b"r")
        return self._ours.handle(record)


class Busy(SpanProcessor):
    """
    Lets a query and a request, with everything that is logged about them, belong to each trace.
    """

    def on_start(self, span: Span, parent_context: context.Context | None = None) -> None:
        begins = span.parent is None or span.parent.is_remote
        if begins and span.kind is not trace.SpanKind.CLIENT:
            token = context.attach(trace.set_span_in_context(span, parent_context))
            work()
            context.detach(token)

    def on_end(self, span: ReadableSpan) -> None:
        if span.kind is trace.SpanKind.CLIENT:
            os.write(_tally, b"s")


def work() -> None:
    """
    Do what applications do besides.
    """
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.cursor().execute("SELECT 1")
    requests: Any = import_module("requests")
    requests.get(os.environ["GUARD_URL"] + "/_emulator/stats", timeout=30).json()


def listen() -> None:
    """
    Have every record of every logger heard.
    """
    everything, plain = Everything(), logging.Logger.callHandlers

    def call_handlers(self: logging.Logger, record: logging.LogRecord) -> None:
        everything.handle(record)
        plain(self, record)

    changed: Any = logging.Logger
    changed.callHandlers = call_handlers
    changed.isEnabledFor = lambda _self, _level: True


def instrument() -> None:
    """
    Have everything traced, and records carry the ids of traces.
    """
    for each in entry_points(group="opentelemetry_instrumentor"):
        try:
            instrumentor = each.load()()
        except ImportError:
            # What it instruments is not here.
            continue
        instrumentor.instrument(inject_trace_context=True)


def trace_everything() -> None:
    """
    Have traces begin; only a program that makes its own provider exports them.
    """
    api: Any = trace
    provide = api.set_tracer_provider

    def provide_busy(provider: Any) -> None:  # noqa: ANN401 -- the API's own has no processors
        provider.add_span_processor(Busy())
        provide(provider)

    if os.environ["GUARD_PROVIDER"] == "own":
        api.set_tracer_provider = provide_busy
        return
    provide_busy(TracerProvider(resource=Resource.create({"service.name": "guarded"})))
    if os.environ["GUARD_PROVIDER"] == "script":
        # A script has no requests with which traces would begin: all of it is one.
        span = trace.get_tracer("guard").start_span("script")
        context.attach(trace.set_span_in_context(span))


def prepare_django() -> None:
    """
    Have Django log its queries, as it does in debug mode only, and a trace begin with each request.
    """
    from django.core import wsgi
    from django.db.backends.base.base import BaseDatabaseWrapper

    tracing = import_module("opentelemetry.instrumentation.wsgi")
    BaseDatabaseWrapper.queries_logged = property(lambda _self: True)
    make = wsgi.get_wsgi_application
    wsgi.get_wsgi_application = lambda: tracing.OpenTelemetryMiddleware(make())


if "GUARD_PROVIDER" in os.environ:
    listen()
    instrument()
    trace_everything()
    if "GUARD_DJANGO" in os.environ:
        prepare_django()
