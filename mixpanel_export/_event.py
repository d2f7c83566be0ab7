"""
An event: translated from a record, sealed once to a line of bytes.

::

    Record ── translate ──> Event ── seal ──> line

A line is the JSON of one event without a line break. `event`, `time`, `distinct_id` and
`$insert_id` are frozen in it: Mixpanel takes two events for the same only if all four are equal, so
nothing after this file may write a line again. It never holds a credential.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, cast

from mixpanel_export._ids import MEMORY, as_id, identity
from mixpanel_export._limits import MAX_PROPERTIES
from mixpanel_export._line import fill, honour, make_line
from mixpanel_export._plan import FIXED, FRAMEWORKS, HONOURED, IDENTITY, OURS, Heed, Plan, make_plan
from mixpanel_export._record import Record

if TYPE_CHECKING:
    from mixpanel_export._settings import Settings

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
        self._plans: dict[tuple[object, ...], Plan] = {}
        self._event_plans: dict[tuple[object, ...], Plan] = {}
        self._loggers: dict[str, Heed] = {}
        # What stands in every event, already in the form in which it is sent.
        self._base: dict[str, Any] = {
            "time": 0,
            "distinct_id": "",
            "$insert_id": None,
            "ip": "0",
            "mp_lib": "mixpanel-export",
        }
        names = settings.super_properties
        fill(self._base, names, make_plan(tuple(names)).pairs[: MAX_PROPERTIES - FIXED])

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
            properties["distinct_id"] = identity(fields, plan.identity)
        line = make_line(name, properties, fields, plan, insert_id, item.time)
        return Drop.TOO_LARGE if line is None else line

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
        properties["distinct_id"] = as_id(owner) if owner else identity(fields, plan.identity)
        line = make_line(event.name, properties, fields, plan, insert_id, now)
        return Drop.TOO_LARGE if line is None else line

    # -- which records ----------------------------------------------------------------------------

    def _name(self, record: Record, plan: Plan) -> str | None:
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
            if not plan.selected or (heed is not Heed.ALL and not (heed and plan.identity)):
                return None
            if self._select is not None and not self._select(record):
                return None
        # Mixpanel rejects an event without a name. -- Import Events (read 2026-08-21).
        return None if not name or name.isspace() else name

    def _heed(self, logger: str) -> Heed:
        top = logger.partition(".")[0]
        within = self._within
        if top.rstrip("0123456789") in OURS or top in OURS:
            heed = Heed.NONE
        elif within is not None:
            wanted = any(logger == each or logger.startswith(each + ".") for each in within)
            heed = Heed.ALL if wanted else Heed.NONE
        else:
            heed = Heed.NAMED if top in FRAMEWORKS else Heed.ALL
        _remember(self._loggers, logger, heed)
        return heed

    # -- which fields -----------------------------------------------------------------------------

    def _plan(self, names: tuple[object, ...]) -> Plan:
        try:
            return self._plans[names]
        except KeyError:
            return self._new_plan(self._plans, names, stamped=True)

    def _new_plan(
        self, plans: dict[tuple[object, ...], Plan], names: tuple[object, ...], *, stamped: bool
    ) -> Plan:
        plan = make_plan(names, tuple(self._base), stamped=stamped, wanted=self._wanted)
        _remember(plans, names, plan)
        return plan

    def _with_bound(self, record: Record, plan: Plan) -> tuple[Mapping[Any, Any], Plan]:
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

    def _event(self, name: str, record: Record, plan: Plan) -> Event:
        fields, plan = self._with_bound(record, plan)
        head: dict[str, Any] = {"time": int(record.time * 1000), "$insert_id": None, "ip": None}
        if plan.honoured:
            honour(head, fields, record.time)
        properties = {name: value for name, value in head.items() if name not in HONOURED}
        properties.update((name, fields[key]) for key, name in plan.pairs)
        if owner := identity(fields, plan.identity):
            properties.update((name, fields[name]) for name in plan.aliases)
        return Event(
            name,
            distinct_id=owner,
            properties=properties,
            time=head["time"],
            insert_id=head["$insert_id"],
            ip=head["ip"],
        )


def _remember(memory: dict[Any, Any], key: object, value: object) -> None:
    if len(memory) >= MEMORY:
        memory.clear()
    memory[key] = value


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
