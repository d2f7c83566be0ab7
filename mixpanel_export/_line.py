"""
A line: one event as JSON, sealed.

Its bytes never change again. They hold no credential, and nothing that was not asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from mixpanel_export._ids import address, as_id, as_insert_id, milliseconds
from mixpanel_export._limits import (
    MAX_EVENT_BYTES,
    MAX_PROPERTIES,
    MAX_SAFE_INTEGER,
    MAX_STRING_BYTES,
)
from mixpanel_export._plan import HONOURED, Plan
from mixpanel_export._values import MISSING, SURELY_SHORT, clean, cut, repaired, text_of

_MAX_FLOAT: Final = sys.float_info.max


def _squeeze(
    properties: dict[str, Any], plan: Plan, rivals: tuple[str, ...]
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
    fixed = properties.keys() - set(rivals)
    room = MAX_PROPERTIES - len(fixed)
    pairs: dict[str, Any] = {}
    for key, name in plan.pairs:
        # What replaces something that stands there anyway needs no place.
        if name in fixed or room > 0:
            pairs[name] = key
            room -= name not in fixed
    others = [name for name in rivals if name not in pairs]
    for name in others[room:]:
        del properties[name]
    return tuple((key, name) for name, key in pairs.items())


def fill(
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


def make_line(  # noqa: PLR0913, PLR0917 -- the one place where everything comes together
    name: str,
    properties: dict[str, Any],
    fields: Mapping[Any, Any],
    plan: Plan,
    insert_id: Callable[[], str],
    now: float,
) -> bytes | None:
    """
    Put everything together.

    Args:
        name: The event's name.

        properties: What stands in every event, with its time and its owner; used up.

        fields: What was said.

        plan: What becomes of it.

        insert_id: Called for an id if *fields* hold none.

        now: Seconds since the epoch, for a time among *fields*.

    Returns:
        The line; `None` if it cannot be made small enough.
    """
    if plan.honoured:
        honour(properties, fields, now)
    if properties["$insert_id"] is None:
        properties["$insert_id"] = insert_id()
    if plan.aliases and properties["distinct_id"]:
        # Mixpanel goes by these, too: of nobody's event they would make somebody's.
        aliases = ((alias, as_id(fields[alias])) for alias in plan.aliases)
        properties.update((alias, value) for alias, value in aliases if value)
    pairs = plan.pairs if plan.rivals is None else _squeeze(properties, plan, plan.rivals)
    fill(properties, fields, pairs)
    if len(name) > SURELY_SHORT:
        name = cut(name)
    try:
        line = orjson.dumps({"event": name, "properties": properties})
    except TypeError:
        # Half of a surrogate pair is the one thing that the checks on the way do not look for.
        line = orjson.dumps({"event": cut(name), "properties": repaired(properties)})
    return line if len(line) <= MAX_EVENT_BYTES else _shrink(line)


def honour(head: dict[str, Any], fields: Mapping[Any, Any], now: float) -> None:
    """Move `time`, `$insert_id`, `ip` to *head*; what cannot be used gets a ``_`` to its name."""
    if (value := fields.get("time")) is not None:
        moment = milliseconds(value, now)
        name = "time_" if moment is None else "time"
        head[name] = text_of(value) if moment is None else moment
    if (value := fields.get("$insert_id")) is not None:
        head["$insert_id"] = as_insert_id(value)
    if (value := fields.get("ip")) is not None:
        text = text_of(value)
        found = address(text)
        head["ip" if found else "ip_"] = found or text


def _shrink(line: bytes) -> bytes | None:
    """Leave out the biggest properties until the event fits; `_truncated` says how many went."""
    event = orjson.loads(line)
    properties = event["properties"]
    sizes = {name: len(orjson.dumps({name: value})) for name, value in properties.items()}
    biggest = sorted(sizes.keys() - HONOURED, key=lambda name: (-sizes[name], name))
    size = len(line) + len(b',"_truncated":000')
    for count, name in enumerate(biggest, 1):
        del properties[name]
        size -= sizes[name] - 1
        if size <= MAX_EVENT_BYTES:
            properties["_truncated"] = count
            return orjson.dumps(event)
    return None
