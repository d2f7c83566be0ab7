"""
A line: one event as JSON, sealed.

Its bytes never change again. They hold no credential, and nothing that was not asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from mixpanel_export._ids import address, as_insert_id, as_time
from mixpanel_export._limits import MAX_EVENT_BYTES, MAX_PROPERTIES
from mixpanel_export._values import repaired, text_of

#: Fields, and the names of the properties that they become.
Pairs = tuple[tuple[Any, str], ...]

#: These four become fields of the event; an unusable value of the last three stays as a property.
HONOURED: Final = frozenset({"distinct_id", "time", "ip", "$insert_id"})

#: Refuse what a double cannot hold, instead of a look at each integer.
STRICT: Final = orjson.OPT_STRICT_INTEGER


def dump(value: Any) -> str:  # noqa: ANN401 -- any JSON
    """Write a value, or a name, as JSON; repaired as `dump_repaired` does if it must be."""
    try:
        return orjson.dumps(value, None, STRICT).decode()
    except TypeError:
        return orjson.dumps(repaired(value)).decode()


def dump_repaired(name: str, properties: dict[str, Any]) -> bytes:
    """Make a line of what holds an integer that is too big, or half of a surrogate pair."""
    return orjson.dumps(repaired({"event": name, "properties": properties}))


def squeeze(properties: dict[str, Any], pairs: Pairs, rivals: tuple[str, ...]) -> Pairs:
    """
    Make room: the event's own first properties survive, those that every event carries give way.

    Args:
        properties: What the event has so far.

        pairs: What is to come.

        rivals: Those of *properties* that give way.

    Returns:
        The pairs for which there is room.
    """
    fixed = properties.keys() - set(rivals)
    room = MAX_PROPERTIES - len(fixed)
    kept: dict[str, Any] = {}
    for key, name in pairs:
        # What replaces something that stands there anyway needs no place.
        if name in fixed or room > 0:
            kept[name] = key
            room -= name not in fixed
    others = [name for name in rivals if name not in kept]
    for name in others[room:]:
        del properties[name]
    return tuple((key, name) for name, key in kept.items())


def honour(head: dict[str, Any], fields: Mapping[Any, Any], now: float) -> None:
    """Move `time`, `$insert_id`, `ip` to *head*; what cannot be used gets a ``_`` to its name."""
    if (value := fields.get("time")) is not None:
        moment = as_time(value, now)
        name = "time_" if moment is None else "time"
        head[name] = text_of(value) if moment is None else moment
    if (value := fields.get("$insert_id")) is not None:
        head["$insert_id"] = as_insert_id(value)
    if (value := fields.get("ip")) is not None:
        text = text_of(value)
        found = address(text)
        head["ip" if found else "ip_"] = found or text


def shrink(line: bytes) -> bytes | None:
    """
    Leave out the biggest properties until the event fits; `_truncated` says how many went.

    Returns:
        The line; None if nothing is left that could go.
    """
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
