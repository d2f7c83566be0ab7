"""
What to do with the fields of a record, worked out from their names.

Applications log from few places, so the same names come again and again: a `Plan` is made once for
each set of names, and remembered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Any, Final

from mixpanel_export._form import Form, Rules
from mixpanel_export._limits import MAX_PROPERTIES
from mixpanel_export._line import HONOURED, Pairs
from mixpanel_export._privacy import SCRUBBED, Privacy
from mixpanel_export._values import cut, text_of

#: Names of the fields that say whose an event is, in the order in which they are believed.
IDENTITY: Final = ("distinct_id", "$user_id", "$device_id")

#: A field of this name sends its record whatever the selection says: text names the event, True
#: sends it, False never does.
MARKS: Final = ("mixpanel.event", "mixpanel_event")

#: Operations on the profile of the user whom a record is about: a mapping each, or a list.
OPERATIONS: Final = frozenset(
    {"$set", "$set_once", "$add", "$append", "$union", "$remove", "$unset"}
)

# Fields that libraries put on the records that pass them, through record factories, filters,
# formatters or `extra`. They neither make a record an event nor become its properties. Found by
# running these libraries, or reading them where that is said (2026-11-21).
_STAMPS: Final = frozenset(
    {
        "taskName",  # logging since Python 3.12, on records that come from there
        "color_message",  # uvicorn 0.54
        "websocket",  # websockets 17.4, uvicorn
        "request",  # Django 5.2: a request, or the socket that it came from
        "dd",  # ddtrace 4.16, where another handler formats with "{"
        "aws_request_id",  # the runtime of AWS Lambda (read)
        "celery_current_id",  # asgi-correlation-id 5.0 (read), this and the next
        "celery_parent_id",
        "end_color",  # tornado 6.6, where another handler formats with it
        "_logger",  # structlog 26.1, this and the next: `wrap_for_formatter`
        "_name",
        "_http_request",  # google-cloud-logging 3.17 (read), all from here on
        "_http_request_str",
        "_labels",
        "_labels_str",
        "_payload_str",
        "_resource",
        "_source_location",
        "_source_location_str",
        "_span_id",
        "_span_id_str",
        "_trace",
        "_trace_sampled",
        "_trace_sampled_str",
        "_trace_str",
    }
)
# OpenTelemetry's instrumentation of logging 0.66b2, ddtrace 4.16, elastic-apm 6.26 (read).
_STAMP_PREFIXES: Final = ("otel", "dd.", "elasticapm_")

# Fields that a library may have put there, or the application: sent, but no reason to send.
_WEAK: Final = frozenset(
    {
        "status_code",  # Django 5.2, this and the next
        "server_time",
        "data",  # Celery 5.7; the next two where another handler formats with it
        "task_id",
        "task_name",
        "trace_id",  # what traces are connected by, in recipes and filters of many
        "span_id",
        "trace_flags",
        "trace_sampled",
        "correlation_id",  # asgi-correlation-id 5.0, django-guid 3.6 (read)
        "request_id",  # in recipes and filters of many
        "remote_addr",  # a recipe in Flask's documentation (read)
        "hostname",  # coloredlogs 15.0 (read), this and the next
        "programname",
        "color",  # tornado 6.6, where another handler formats with it
        "level",  # structlog 26.1, all from here on: `render_to_log_kwargs`
        "level_number",
        "logger",
        "timestamp",
        "exception",
        "stack",
    }
)

# Names that mean something else to Mixpanel than to the application that uses them. -- Mixpanel
# docs, Reserved Properties (read 2026-08-21). A property of such a name gets an underscore.
_RESERVED: Final = frozenset(
    {
        "token",
        "$time",
        "$distinct_id",
        "bucket",
        "$bucket",
        "alias",
        "$event_name",
        "$identified_id",
        "$anon_id",
        "$distinct_ids",
        "$distinct_id_before_identity",
        "$is_reshuffled",
        "$preshuffle_distinct_id",
        "$failure_reason",
        "$failure_description",
        "$identity_failure_reason",
        "mp_original_event_name",
        "mp_original_distinct_id",
        "$source",
        "$partner_id",
        "$duration_s",
        "$event_count",
        "$origin_start",
        "$origin_end",
        "$mp_experiment_name",
    }
)

# Of what is honoured, what is rare.
_HEAD: Final = HONOURED - {"distinct_id"}

# Loggers of frameworks and clients: their structured records describe themselves, not the product.
# Fields of their own, in `extra` or as a mapping of arguments, were seen on records of aiohttp,
# botocore, Celery, ddtrace, Django, google-auth, granian, gunicorn, hypercorn, kombu, sanic,
# urllib3, uvicorn and websockets (2026-11-21).
FRAMEWORKS: Final = frozenset(
    {
        "_granian",
        "aiohttp",
        "amqp",
        "asyncio",
        "boto3",
        "botocore",
        "celery",
        "concurrent",
        "ddtrace",
        "django",
        "elastic_transport",
        "elasticapm",
        "flask",
        "google",
        "granian",
        "gunicorn",
        "hypercorn",
        "kombu",
        "opentelemetry",
        "parso",
        "pymongo",
        "redis",
        "requests",
        "s3transfer",
        "sanic",
        "sentry_sdk",
        "sqlalchemy",
        "starlette",
        "tornado",
        "urllib3",
        "uvicorn",
        "watchfiles",
        "websockets",
        "werkzeug",
    }
)

# The properties that stand in every event: the four fields, `ip` and `mp_lib`, less the name.
FIXED: Final = 5

# Ours, and those of the client that sends, or of its successors: exporting these would feed on
# itself.
OURS: Final = ("mixpanel_export", "httpx", "httpcore", "h11", "h2", "hpack")

# The positional arguments of a log message: a library's plain messages have them too.
_ARGUMENT: Final = re.compile(r"arg_\d+")

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with the fields of records that have one set of names."""

    heed: Heed
    selected: bool  # by names alone; a mark or a callable may still say otherwise
    mark: object | None  # the field that holds the mark
    identity: tuple[str, ...]  # the identity fields among the names
    aliases: tuple[str, ...]  # those of them that are sent beside the distinct_id
    honoured: bool  # whether time, ip or $insert_id is among the fields
    pairs: Pairs  # (field, name of the property)
    operations: tuple[str, ...]  # on the profile
    hidden: dict[str, str]  # what stands in place of secrets
    rivals: tuple[str, ...] | None  # what gives way if all of it might be too much for an event
    form: Form | None  # if none of the rare things above, nor a setting, has a part in it


class Heed(IntEnum):
    """How much attention a logger gets."""

    NONE = 0
    NAMED = 1  # what is marked or identified
    ALL = 2


def make_plan(  # noqa: PLR0913 -- everything that decides, by name
    names: tuple[object, ...],
    privacy: Privacy,
    *,
    base: Mapping[str, Any] = _NOTHING,
    stamped: bool = False,
    selection: str = "all",
    heed: Heed = Heed.ALL,
    rules: Rules | None = None,
    named: bool = True,
) -> Plan:
    """
    Work out what to do with fields of these names.

    Args:
        names: The names, in their order.

        privacy: The rules for names.

        base: What stands in every event beside them.

        stamped: Whether libraries may have put stamps among them, as they do on log records, and
            whether operations on the profile may be among them.

        selection: What is selected.

        heed: How much attention their logger gets.

        rules: What holds for events that are made of nothing but these fields; `None` if the
            settings have a part in each event.

        named: Whether it is among these fields whose an event is.
    """
    own = False
    pairs: dict[str, object] = {}
    hidden: dict[str, str] = {}
    operations = []
    for key in names:
        name = str.__str__(key) if issubclass(type(key), str) else text_of(key)
        if name in MARKS or (stamped and is_stamp(name)):
            continue
        own = own or not (name in IDENTITY or name in _WEAK or _ARGUMENT.fullmatch(name))
        if stamped and name in OPERATIONS:
            operations.append(name)
        elif name not in HONOURED and name not in IDENTITY and privacy.keeps(name):
            sent = cut(privacy.name(name + "_" if name in _RESERVED else name))
            if privacy.hides(name):
                hidden[sent] = SCRUBBED
            pairs.setdefault(sent, key)
    # Only texts: another name may raise when it is compared.
    texts = {name for name in names if issubclass(type(name), str)}
    identity = tuple(name for name in IDENTITY if name in texts)
    by_names = {
        "all": True,
        "structured": own or bool(identity),
        "identified": bool(identity),
        "entry": bool(identity),
        "marked": False,
    }[selection]
    mark = next((mark for mark in MARKS if mark in texts), None) if heed else None
    aliases = tuple(name for name in identity if name != "distinct_id")
    honoured = not _HEAD.isdisjoint(texts)
    crowded = len(base) + len(names) > MAX_PROPERTIES
    selected = by_names and (heed is Heed.ALL or (heed is Heed.NAMED and bool(identity)))
    plain = not (mark or aliases or honoured or operations or hidden or crowded)
    form = None
    # Anything but a text of the plainest kind, as a name, may be equal to whatever it likes.
    if rules is not None and plain and all(type(name) is str for name in names):
        form = Form(
            rules,
            base=base,
            pairs=tuple((key, name) for name, key in pairs.items()),
            selected=selected,
            heeded=bool(heed),
            identity=identity if named else (),
        )
    return Plan(
        heed=heed,
        selected=selected,
        mark=mark,
        identity=identity,
        aliases=aliases,
        honoured=honoured,
        pairs=tuple((key, name) for name, key in pairs.items()),
        operations=tuple(operations),
        hidden=hidden,
        rivals=tuple(base)[FIXED:] if crowded else None,
        form=form,
    )


def is_stamp(name: str) -> bool:
    """Say whether libraries put a field of this name on the records that pass them."""
    return name in _STAMPS or name.startswith(_STAMP_PREFIXES)
