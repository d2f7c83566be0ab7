"""JSON -> what an application would hand to a door."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final

from mixpanel_export._plan import MARKS

if TYPE_CHECKING:
    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext

Json = Mapping[str, Any]

# What formatters of JSON call the attributes of a log record.
_MESSAGE: Final = ("message", "msg")
_LEVEL: Final = ("level", "levelname")
_LOGGER: Final = ("logger", "name")


class NotSpokenError(ValueError):
    """The JSON is not what the door takes. Its text says what is wrong, and how it should be."""


def log_record(said: Json) -> logging.LogRecord:
    """Make a log record of a message, its `args`, and fields: in `extra`, beside it, or both."""
    fields = dict(said)
    if "event" in fields and not any(name in fields for name in (*_MESSAGE, *MARKS)):
        raise NotSpokenError(
            "what a logger says is its message; with event it is a line of structlog, --door"
            " structlog, or submitted by hand, --door event"
        )
    message = _take(fields, _MESSAGE, "")
    level = _take(fields, _LEVEL, "INFO")
    name = str(_take(fields, _LOGGER, "root"))
    args = fields.pop("args", ())
    fields |= _mapping(fields.pop("extra", {}), "extra")
    number = logging.getLevelName(level.upper()) if isinstance(level, str) else level
    if not isinstance(number, int):
        raise NotSpokenError(f"level must be one of logging's, such as 'INFO', not {level!r}")
    given = tuple(args) if isinstance(args, list) else args
    record = logging.LogRecord(name, number, "", 0, message, given or None, None)
    for key, value in fields.items():
        if hasattr(record, key):
            raise NotSpokenError(f"logging does not let extra hold {key!r}: a record has its own")
        setattr(record, key, value)
    return record


def span(said: Json) -> ReadableSpan:
    """Make a span of what its `to_json` writes; all but the name may be missing."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanKind, Status, StatusCode

    now = time.time_ns()
    context = _context(_mapping(said.get("context") or {}, "context"), "span_id")
    parent = None
    if said.get("parent_id"):
        remote = bool(said.get("parent_is_remote", False))
        parent = _context({**_ids(context), "span_id": said["parent_id"]}, "span_id", remote)
    start = _nanoseconds(said.get("start_time"), now)
    status = _mapping(said.get("status") or {}, "status").get("status_code", "UNSET")
    return ReadableSpan(
        name=str(said.get("name") or ""),
        context=context,
        parent=parent,
        resource=_resource(Resource, said),
        attributes=_mapping(said.get("attributes") or {}, "attributes"),
        events=[
            Event(
                str(each.get("name", "")),
                _mapping(each.get("attributes") or {}, "attributes"),
                _nanoseconds(each.get("timestamp"), start),
            )
            for each in said.get("events") or ()
        ],
        kind=_member(SpanKind, said.get("kind") or "INTERNAL", "kind"),
        status=Status(_member(StatusCode, status, "status_code")),
        start_time=start,
        end_time=_nanoseconds(said.get("end_time"), start),
        instrumentation_scope=InstrumentationScope(str(said.get("scope") or "")),
    )


def log(said: Json) -> ReadableLogRecord:
    """Make OpenTelemetry's log record of what its `to_json` writes; anything may be missing."""
    from opentelemetry._logs import LogRecord
    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    now = time.time_ns()
    record = LogRecord(
        timestamp=_nanoseconds(said.get("timestamp"), now),
        observed_timestamp=_nanoseconds(said.get("observed_timestamp"), now),
        severity_text=said.get("severity_text"),
        body=said.get("body"),
        attributes=dict(_mapping(said.get("attributes") or {}, "attributes")),
        event_name=said.get("event_name"),
    )
    for name in ("trace_id", "span_id"):
        if said.get(name):
            setattr(record, name, _hex(said[name], name))
    scope = InstrumentationScope(str(said.get("scope") or ""))
    return ReadableLogRecord(record, _resource(Resource, said), scope)


def _take(fields: dict[str, Any], names: tuple[str, ...], default: object) -> Any:  # noqa: ANN401 -- any JSON
    for name in names:
        if name in fields:
            return fields.pop(name)
    return default


def _mapping(value: object, name: str) -> Json:
    if not isinstance(value, Mapping):
        raise NotSpokenError(f"{name} must be an object, not {value!r}")
    return value


def _resource(make: Any, said: Json) -> Any:  # noqa: ANN401 -- OpenTelemetry may be missing
    resource = _mapping(said.get("resource") or {}, "resource")
    return make(_mapping(resource.get("attributes") or {}, "attributes of resource"))


def _member(kind: Any, text: object, name: str) -> Any:  # noqa: ANN401 -- OpenTelemetry's enums
    word = str(text).rpartition(".")[2].upper()
    if word not in kind.__members__:
        known = ", ".join(each.lower() for each in kind.__members__)
        raise NotSpokenError(f"{name} must be one of {known}, not {text!r}")
    return kind[word]


def _context(said: Json, name: str, remote: bool = False) -> SpanContext:
    from opentelemetry.trace import SpanContext

    trace_id = _hex(said.get("trace_id") or secrets.token_hex(16), "trace_id")
    return SpanContext(trace_id, _hex(said.get(name) or secrets.token_hex(8), name), remote)


def _ids(context: SpanContext) -> Json:
    return {"trace_id": f"{context.trace_id:032x}"}


def _hex(value: object, name: str) -> int:
    try:
        return int(str(value), 16)
    except ValueError:
        raise NotSpokenError(f"{name} must be hexadecimal digits, not {value!r}") from None


def _nanoseconds(value: object, default: int) -> int:
    if value is None:
        return default
    if isinstance(value, int):
        return value
    try:
        moment = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError:
        raise NotSpokenError(f"a time must be ISO 8601 or nanoseconds, not {value!r}") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return int(moment.timestamp() * 1e9)
