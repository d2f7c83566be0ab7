"""
An event: translated from a record, sealed once to a line of bytes.

::

    Record ── translate ──> Event ── seal ──> line

A line is the JSON of one event without a line break. `event`, `time`, `distinct_id` and
`$insert_id` are frozen in it: Mixpanel takes two events for the same only if all four are equal, so
nothing after this file may write a line again. It never holds a credential.

Applications log from few places, so the same *names* of fields come again and again: what to do
with them is worked out once for each set of names (a `_Plan`) and remembered.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import Enum, IntEnum
from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import orjson

from mixpanel_export._limits import (
    FORBIDDEN_IDS,
    MAX_AHEAD_MS,
    MAX_DISTINCT_ID_BYTES,
    MAX_EVENT_BYTES,
    MAX_INSERT_ID_BYTES,
    MAX_PROPERTIES,
    MAX_SAFE_INTEGER,
    MAX_STRING_BYTES,
    MIN_TIME_MS,
)
from mixpanel_export._record import Record
from mixpanel_export._values import MISSING, SURELY_SHORT, clean, cut, repaired, text_of

if TYPE_CHECKING:
    from mixpanel_export._settings import Settings

#: Names of the fields that say whose an event is, in the order in which they are believed.
IDENTITY: Final = ("distinct_id", "$user_id", "$device_id")

#: A field of this name sends its record whatever the selection says: text names the event, True
#: sends it, False never does.
MARKS: Final = ("mixpanel.event", "mixpanel_event")

# Fields that libraries put on the records that pass them. They neither make a record an event nor
# become its properties: OpenTelemetry's and Datadog's correlation, Python 3.12's and uvicorn's own.
_STAMPS: Final = frozenset({"taskName", "color_message", "request", "websocket"})
_STAMP_PREFIXES: Final = ("otel", "dd.")

# Fields that a framework may have put there, or the application: sent, but no reason to send.
_WEAK: Final = frozenset({"status_code", "server_time", "data", "trace_id", "span_id"})

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

# These four become fields of the event; an unusable value of the last three stays as a property.
_HONOURED: Final = frozenset({"distinct_id", "time", "ip", "$insert_id"})

# Loggers of frameworks and clients: their structured records describe themselves, not the product.
_FRAMEWORKS: Final = frozenset(
    {
        "aiohttp",
        "amqp",
        "asyncio",
        "boto3",
        "botocore",
        "celery",
        "concurrent",
        "django",
        "elastic_transport",
        "flask",
        "granian",
        "gunicorn",
        "hypercorn",
        "kombu",
        "opentelemetry",
        "parso",
        "pymongo",
        "redis",
        "requests",
        "sqlalchemy",
        "starlette",
        "tornado",
        "urllib3",
        "uvicorn",
        "watchfiles",
        "werkzeug",
    }
)

# The properties that stand in every event: the four fields, `ip` and `mp_lib`, less the name.
_FIXED: Final = 5

# Ours, and those of the client that sends, or of its successors: exporting these would feed on
# itself.
_OURS: Final = ("mixpanel_export", "httpx", "httpcore", "h11", "h2", "hpack")

# A name that a program makes up at run time must not fill the memory. Far more than the places that
# any program logs from.
_MEMORY: Final = 2_000

_MAX_FLOAT: Final = sys.float_info.max

_INSERT_ID: Final = re.compile(rf"[0-9A-Za-z-]{{1,{MAX_INSERT_ID_BYTES}}}")

# The positional arguments of a log message: a library's plain messages have them too.
_ARGUMENT: Final = re.compile(r"arg_\d+")

Transform = Callable[["Event"], "Event | None"]


class Drop(Enum):
    """Why there is no line."""

    IGNORED = "ignored"
    TRANSFORM = "transform"
    TOO_LARGE = "too_large"
    NO_IDENTITY = "no_identity"
    NO_TOKEN = "no_token"  # noqa: S105 -- a reason


@dataclass(frozen=True, slots=True)
class Event:
    """
    One thing that a user, or nobody in particular, did.

    Args:
        name: What happened, such as ``Order Placed``: one of few, what varies is a property.

        distinct_id: Who did it; ``""`` is nobody. Ids that Mixpanel forbids become ``""`` when the
            event is sealed.

        properties: Names and values of any type; see the README for what becomes of each.

        time: When: a datetime (naive is UTC), seconds or milliseconds since the epoch; None is now.

        insert_id: What makes two deliveries of this event one: at most 36 letters, digits and
            hyphens; `None` makes one up.

        ip: The end user's address, which Mixpanel turns into a place and forgets; `None` sends
            ``"0"``, no place.
    """

    name: str
    distinct_id: str = field(default="", kw_only=True)
    properties: Mapping[str, Any] = field(default_factory=dict, kw_only=True, hash=False)
    time: datetime | float | None = field(default=None, kw_only=True)
    insert_id: str | None = field(default=None, kw_only=True)
    ip: str | None = field(default=None, kw_only=True)


class _Plan(NamedTuple):
    """What to do with the fields of records that have one particular set of names."""

    selected: bool  # by names alone; a mark or a callable may still say otherwise
    mark: object | None  # the field that holds the mark
    identity: tuple[str, ...]  # the identity fields among the names
    aliases: tuple[str, ...]  # those of them that are sent beside the distinct_id
    honoured: bool  # whether time, ip or $insert_id is among them
    pairs: tuple[tuple[Any, str], ...]  # (field, name of the property)
    rivals: tuple[str, ...] | None  # what gives way if all of it might be too much for an event


class _Heed(IntEnum):
    """How much attention a logger gets."""

    NONE = 0
    NAMED = 1  # what is marked or identified
    ALL = 2


class Translator:
    """
    The "what" of one door: which records are events, and what stands in them.

    Its methods are pure but for what they remember, and safe to call from any thread at any moment.

    Args:
        settings: Where `select`, `loggers`, `transform` and `super_properties` are read.

        select: The door's own default for `select`.
    """

    __slots__ = (
        "_base",
        "_event_plans",
        "_loggers",
        "_plans",
        "_select",
        "_transform",
        "_wanted",
        "_within",
    )

    def __init__(self, settings: Settings, *, select: str = "all") -> None:
        chosen = settings.select if settings.select is not None else select
        self._select = chosen if callable(chosen) else None
        self._wanted = "all" if callable(chosen) else chosen
        self._within = settings.loggers
        self._transform = settings.transform
        self._plans: dict[tuple[object, ...], _Plan] = {}
        self._event_plans: dict[tuple[object, ...], _Plan] = {}
        self._loggers: dict[str, _Heed] = {}
        # What stands in every event, already in the form in which it is sent.
        self._base: dict[str, Any] = {
            "time": 0,
            "distinct_id": "",
            "$insert_id": None,
            "ip": "0",
            "mp_lib": "mixpanel-export",
        }
        names = settings.super_properties
        _fill(self._base, names, _make_plan(tuple(names)).pairs[: MAX_PROPERTIES - _FIXED])

    def translate(self, record: Record) -> Event | None:
        """
        Make the event that *record* describes, or `None` if it describes none.

        `transform` has not seen it yet, and its values are those of the record.
        """
        plan = self._plan(tuple(record.fields))
        name = self._name(record, plan)
        return None if name is None else self._event(name, record, plan)

    def seal(
        self, item: Record | Event, insert_id: Callable[[], str], wall: Callable[[], float]
    ) -> bytes | Drop:
        """
        Make a line of *item*.

        Args:
            item: A record to translate, or an event made by hand.

            insert_id: Called for an id if the item brings none.

            wall: Called for the seconds since the epoch: the time of an event without one, and what
                "in the future" is measured from.

        Returns:
            The line, or why there is none.
        """
        if type(item) is not Record:
            return self._seal_event(cast("Event", item), insert_id, wall())
        fields = item.fields
        plan = self._plan(tuple(fields))
        name = self._name(item, plan)
        if name is None:
            return Drop.IGNORED
        if self._transform is not None:
            return self._seal_event(self._event(name, item, plan), insert_id, wall())
        if item.bound:
            fields, plan = self._with_bound(item, plan)
        properties = self._base.copy()
        properties["time"] = int(item.time * 1000)
        if plan.identity:
            properties["distinct_id"] = _identity(fields, plan.identity)
        return _line(name, properties, fields, plan, insert_id, item.time)

    def _seal_event(self, event: Event, insert_id: Callable[[], str], now: float) -> bytes | Drop:
        if self._transform is not None:
            changed = self._transform(event)
            if not isinstance(changed, Event):
                return Drop.TRANSFORM
            event = changed
        if not event.name or event.name.isspace():
            return Drop.IGNORED
        fields = event.properties
        given = {"time": event.time, "$insert_id": event.insert_id, "ip": event.ip}
        if given := {name: value for name, value in given.items() if value is not None}:
            fields = {**fields, **given}
        names = tuple(fields)
        try:
            plan = self._event_plans[names]
        except KeyError:
            plan = self._new_plan(self._event_plans, names, stamped=False)
        owner = event.distinct_id
        properties = self._base.copy()
        properties["time"] = int(now * 1000)
        properties["distinct_id"] = as_id(owner) if owner else _identity(fields, plan.identity)
        return _line(event.name, properties, fields, plan, insert_id, now)

    # -- which records ----------------------------------------------------------------------------

    def _name(self, record: Record, plan: _Plan) -> str | None:
        """Give the event's name, or None if the record is no event."""
        name = record.name
        try:
            heed = self._loggers[record.logger]
        except KeyError:
            heed = self._heed(record.logger)
        if plan.mark is not None and heed:
            mark = record.fields[plan.mark]
            if not mark:
                return None
            name = mark if isinstance(mark, str) else name
        else:
            if not plan.selected or (heed is not _Heed.ALL and not (heed and plan.identity)):
                return None
            if self._select is not None and not self._select(record):
                return None
        # Mixpanel rejects an event without a name. -- Import Events (read 2026-08-21).
        return None if not name or name.isspace() else name

    def _heed(self, logger: str) -> _Heed:
        top = logger.partition(".")[0]
        within = self._within
        if top.rstrip("0123456789") in _OURS or top in _OURS:
            heed = _Heed.NONE
        elif within is not None:
            wanted = any(logger == each or logger.startswith(each + ".") for each in within)
            heed = _Heed.ALL if wanted else _Heed.NONE
        else:
            heed = _Heed.NAMED if top in _FRAMEWORKS else _Heed.ALL
        _remember(self._loggers, logger, heed)
        return heed

    # -- which fields -----------------------------------------------------------------------------

    def _plan(self, names: tuple[object, ...]) -> _Plan:
        try:
            return self._plans[names]
        except KeyError:
            return self._new_plan(self._plans, names, stamped=True)

    def _new_plan(
        self, plans: dict[tuple[object, ...], _Plan], names: tuple[object, ...], *, stamped: bool
    ) -> _Plan:
        plan = _make_plan(names, tuple(self._base), stamped=stamped, wanted=self._wanted)
        _remember(plans, names, plan)
        return plan

    def _with_bound(self, record: Record, plan: _Plan) -> tuple[Mapping[Any, Any], _Plan]:
        """Add what is bound to the record's own fields; one identity, not a mix of two."""
        fields: dict[Any, Any] = dict(record.fields)
        known = any(fields[name] is not None for name in plan.identity)
        for name in plan.identity:
            if fields[name] is None:
                del fields[name]
        for name, value in record.bound.items():
            if not (known and name in IDENTITY):
                fields.setdefault(name, value)
        return fields, self._plan(tuple(fields))

    def _event(self, name: str, record: Record, plan: _Plan) -> Event:
        fields, plan = self._with_bound(record, plan)
        head: dict[str, Any] = {"time": int(record.time * 1000), "$insert_id": None, "ip": None}
        if plan.honoured:
            _honour(head, fields, record.time)
        properties = {name: value for name, value in head.items() if name not in _HONOURED}
        properties.update((name, fields[key]) for key, name in plan.pairs)
        if owner := _identity(fields, plan.identity):
            properties.update((name, fields[name]) for name in plan.aliases)
        return Event(
            name,
            distinct_id=owner,
            properties=properties,
            time=head["time"],
            insert_id=head["$insert_id"],
            ip=head["ip"],
        )


def _make_plan(
    names: tuple[object, ...],
    base: tuple[str, ...] = (),
    *,
    stamped: bool = False,
    wanted: str = "all",
) -> _Plan:
    """
    Work out what to do with fields of these names.

    Args:
        names: The names, in their order.

        base: The properties that every event has beside them.

        stamped: Whether libraries may have put stamps among them, as they do on log records.

        wanted: What is selected.
    """
    own = False
    pairs: dict[str, object] = {}
    for key in names:
        name = key if isinstance(key, str) else text_of(key)
        if name in MARKS or (stamped and _is_stamp(name)):
            continue
        own = own or not (name in IDENTITY or name in _WEAK or _ARGUMENT.fullmatch(name))
        if name not in _HONOURED and name not in IDENTITY:
            pairs.setdefault(cut(name + "_" if name in _RESERVED else name), key)
    identity = tuple(name for name in IDENTITY if name in names)
    return _Plan(
        selected={
            "all": True,
            "structured": own or bool(identity),
            "identified": bool(identity),
            "entry": bool(identity),
            "marked": False,
        }[wanted],
        mark=next((mark for mark in MARKS if mark in names), None),
        identity=identity,
        aliases=tuple(name for name in identity if name != "distinct_id"),
        honoured=any(name in _HONOURED and name != "distinct_id" for name in names),
        pairs=tuple((key, name) for name, key in pairs.items()),
        rivals=base[_FIXED:] if len(base) + len(names) > MAX_PROPERTIES else None,
    )


def _is_stamp(name: str) -> bool:
    return name in _STAMPS or name.startswith(_STAMP_PREFIXES)


def _squeeze(
    properties: dict[str, Any], plan: _Plan, rivals: tuple[str, ...]
) -> tuple[tuple[Any, str], ...]:
    """
    Make room: the event's own first properties survive, those that every event carries give way.

    Args:
        properties: What the event has so far.

        plan: What is to come.

        rivals: Those of *properties* that give way.

    Returns:
        The pairs for which there is room.
    """
    room = MAX_PROPERTIES - (len(properties) - len(rivals))
    pairs = plan.pairs[:room]
    names = {name for _, name in pairs}
    others = [name for name in rivals if name not in names]
    for name in others[room - len(pairs) :]:
        del properties[name]
    return pairs


def _remember(memory: dict[Any, Any], key: object, value: object) -> None:
    if len(memory) >= _MEMORY:
        memory.clear()
    memory[key] = value


def _fill(
    properties: dict[str, Any], fields: Mapping[Any, Any], pairs: tuple[tuple[Any, str], ...]
) -> None:
    """
    Add the *fields* to *properties*, in the form in which they are sent.

    The common types are told apart here, without a call: this loop is most of what an event costs.
    """
    for key, name in pairs:
        value = fields[key]
        kind = type(value)
        if kind is str:
            if len(value) > SURELY_SHORT and (len(value) > MAX_STRING_BYTES or not value.isascii()):
                value = cut(value)
        elif kind is int:
            if not -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
                value = clean(value)
        elif kind is float:
            # Neither an infinity nor "not a number" lies between these.
            if not -_MAX_FLOAT <= value <= _MAX_FLOAT:
                continue
        elif kind is not bool:
            value = clean(value)
            if value is MISSING:
                continue
        properties[name] = value


def _line(  # noqa: PLR0913, PLR0917 -- the one place where everything comes together
    name: str,
    properties: dict[str, Any],
    fields: Mapping[Any, Any],
    plan: _Plan,
    insert_id: Callable[[], str],
    now: float,
) -> bytes | Drop:
    if plan.honoured:
        _honour(properties, fields, now)
    if properties["$insert_id"] is None:
        properties["$insert_id"] = insert_id()
    if plan.aliases and properties["distinct_id"]:
        # Mixpanel goes by these, too: of nobody's event they would make somebody's.
        aliases = ((alias, as_id(fields[alias])) for alias in plan.aliases)
        properties.update((alias, value) for alias, value in aliases if value)
    pairs = plan.pairs if plan.rivals is None else _squeeze(properties, plan, plan.rivals)
    _fill(properties, fields, pairs)
    if len(name) > SURELY_SHORT:
        name = cut(name)
    try:
        line = orjson.dumps({"event": name, "properties": properties})
    except TypeError:
        # Half of a surrogate pair is the one thing that the checks on the way do not look for.
        line = orjson.dumps({"event": cut(name), "properties": repaired(properties)})
    return line if len(line) <= MAX_EVENT_BYTES else _shrink(line)


def _identity(fields: Mapping[Any, Any], names: tuple[str, ...]) -> str:
    """Give the first identity that is not None; ``""`` if there is none."""
    for name in names:
        value = fields[name]
        if value is not None:
            return as_id(value, prefixed=name == "$device_id")
    return ""


def as_id(value: object, *, prefixed: bool = False) -> str:
    """
    Make an id that Mixpanel takes, ``""`` if it forbids this one.

    Args:
        value: The id; `None` is none.

        prefixed: Whether it is a device's and to be marked as one.
    """
    if value is None:
        return ""
    text = value if type(value) is str else _whole_text(value)
    bare = text.strip().lower()
    if not bare or bare in FORBIDDEN_IDS:
        return ""
    # In Mixpanel's simplified identity a device is a distinct_id with this prefix. -- Mixpanel
    # docs, Simplified ID Merge (read 2026-08-21).
    if prefixed and not text.startswith("$device:"):
        text = "$device:" + text
    if len(text) > SURELY_SHORT and len(_utf8(text)) > MAX_DISTINCT_ID_BYTES:
        # Cut, two users could become one.
        return hashlib.sha256(_utf8(text)).hexdigest()
    return text


def _honour(head: dict[str, Any], fields: Mapping[Any, Any], now: float) -> None:
    """Move `time`, `$insert_id`, `ip` to *head*; what cannot be used gets a ``_`` to its name."""
    if (value := fields.get("time")) is not None:
        moment = _milliseconds(value, now)
        name = "time_" if moment is None else "time"
        head[name] = text_of(value) if moment is None else moment
    if (value := fields.get("$insert_id")) is not None:
        head["$insert_id"] = _as_insert_id(value)
    if (value := fields.get("ip")) is not None:
        text = text_of(value)
        address = _address(text)
        name = "ip_" if address is None else "ip"
        head[name] = text if address is None else address


def _milliseconds(value: object, now: float) -> int | None:
    """Read a time: a datetime, or a number of seconds or milliseconds; None if it is neither."""
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            value = value.replace(tzinfo=timezone.utc)
        moments = [value.timestamp() * 1000]
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        moments = [value * 1000, value]
    else:
        return None
    latest = now * 1000 + MAX_AHEAD_MS
    # The two readings of a number cannot both lie in this window.
    return next((round(each) for each in moments if MIN_TIME_MS <= each <= latest), None)


def _as_insert_id(value: object) -> str:
    text = value if type(value) is str else _whole_text(value)
    if _INSERT_ID.fullmatch(text) and text.lower() not in FORBIDDEN_IDS:
        return text
    return hashlib.sha256(_utf8(text)).hexdigest()[:32]


@lru_cache(maxsize=_MEMORY)
def _address(text: str) -> str | None:
    """Give the canonical form of an IP address; ``"0"`` is "do not locate"; None for the rest."""
    try:
        return "0" if text == "0" else str(ip_address(text.strip()))
    except ValueError:
        return None


def _whole_text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 -- somebody else's __str__ may raise anything
        return text_of(value)


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _shrink(line: bytes) -> bytes | Drop:
    """Leave out the biggest properties until the event fits; `_truncated` says how many went."""
    event = orjson.loads(line)
    properties = event["properties"]
    sizes = {name: len(orjson.dumps({name: value})) for name, value in properties.items()}
    biggest = sorted(sizes.keys() - _HONOURED, key=lambda name: (-sizes[name], name))
    size = len(line) + len(b',"_truncated":000')
    for count, name in enumerate(biggest, 1):
        del properties[name]
        size -= sizes[name] - 1
        if size <= MAX_EVENT_BYTES:
            properties["_truncated"] = count
            return orjson.dumps(event)
    return Drop.TOO_LARGE


def translate(record: Record, settings: Settings, *, select: str = "all") -> Event | None:
    """
    Make the event that *record* describes, or `None` if it describes none.

    A door makes a `Translator` once and keeps it; this is the same for a single record.

    Args:
        record: What the application said.

        settings: Its "what" fields decide.

        select: What decides if ``settings.select`` is `None`.
    """
    return Translator(settings, select=select).translate(record)
