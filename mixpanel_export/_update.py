"""
What changes profiles and identities: updates of users and groups, and the identity verbs.

Their lines go by lanes of their own, in order, since what they do depends on what was done before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import islice
from typing import Any, Final, NamedTuple

import orjson

from mixpanel_export._batch import Lane
from mixpanel_export._event import Drop, Event
from mixpanel_export._ids import as_id, as_insert_id, as_time
from mixpanel_export._limits import (
    MAX_PROFILE_NESTED_BYTES,
    MAX_PROFILE_PROPERTIES,
    MAX_UPDATE_BYTES,
)
from mixpanel_export._privacy import SCRUBBED, Privacy
from mixpanel_export._values import MISSING, clean, cut, repaired, text_of

#: The operations on a user's profile. -- Mixpanel docs, User Profiles (read 2026-08-21).
OPERATIONS: Final = (
    "$set",
    "$set_once",
    "$add",
    "$append",
    "$union",
    "$remove",
    "$unset",
    "$delete",
)

# "$add" and "$append" are not supported for groups. -- User Profiles (read 2026-08-21); the batch
# page lists "$add" nevertheless.
_USERS_ONLY: Final = frozenset({"$add", "$append"})

# What gives another result if it is done twice.
_NOT_REPEATABLE: Final = frozenset({"$add", "$append"})


_USUAL: Final = Privacy()


class Aside(NamedTuple):
    """A line that goes by another lane than events do."""

    lane: Lane
    line: bytes
    repeatable: bool
    place: object | None = None
    """Where it stands on the disk; `None` if it is in memory only."""


@dataclass(frozen=True, slots=True)
class ProfileUpdate:
    """
    One operation on one user's profile.

    Args:
        distinct_id: Whose.

        operation: ``$set``, ``$set_once``, ``$add``, ``$append``, ``$union``, ``$remove``,
            ``$unset`` or ``$delete``.

        value: A mapping of names to values; for ``$unset`` a list of names; for ``$delete``
            anything.

        ip: The user's address, which Mixpanel turns into a place; ``"0"`` leaves the place alone.

        time: When, for ``$last_seen``: a datetime (naive is UTC) or seconds; `None` is on arrival.

        ignore_time: True leaves ``$last_seen`` alone.

        ignore_alias: With ``$delete``, True if *distinct_id* is an alias.

    Raises:
        ValueError: If there is no such operation.
    """

    distinct_id: str
    operation: str
    value: Any = field(hash=False)
    ip: str = field(default="0", kw_only=True)
    time: datetime | float | None = field(default=None, kw_only=True)
    ignore_time: bool = field(default=False, kw_only=True)
    ignore_alias: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        _check(self.operation, OPERATIONS)


@dataclass(frozen=True, slots=True)
class GroupUpdate:
    """
    One operation on one group's profile.

    Args:
        group_key: The kind of group, such as ``company``; it must exist in the project.

        group_id: Which group, such as ``acme``.

        operation: ``$set``, ``$set_once``, ``$union``, ``$remove``, ``$unset`` or ``$delete``.

        value: As in `ProfileUpdate`.

    Raises:
        ValueError: If there is no such operation on groups.
    """

    group_key: str
    group_id: str
    operation: str
    value: Any = field(hash=False)

    def __post_init__(self) -> None:
        _check(self.operation, tuple(each for each in OPERATIONS if each not in _USERS_ONLY))


def _check(operation: str, operations: tuple[str, ...]) -> None:
    if operation not in operations:
        raise ValueError(f"operation must be one of {', '.join(operations)}, not {operation!r}")


def identify_event(identified_id: str, anon_id: str) -> Event:
    """
    Make the event that joins an anonymous id to a known one, in a project with Original ID Merge.

    Args:
        identified_id: The known user.

        anon_id: The anonymous id; Mixpanel takes only UUIDs of version 4.
    """
    return Event("$identify", properties={"$identified_id": identified_id, "$anon_id": anon_id})


def alias_event(distinct_id: str, alias: str) -> Event:
    """Make the event that gives *distinct_id* another name, with Original ID Merge."""
    return Event("$create_alias", distinct_id=distinct_id, properties={"alias": alias})


def merge_event(distinct_id: str, other_id: str) -> Event:
    """Make the event that merges two users, for good, with Original ID Merge."""
    return Event("$merge", properties={"$distinct_ids": [distinct_id, other_id]})


#: Events of these names change identities.
VERBS: Final = frozenset({"$identify", "$create_alias", "$merge"})

# What they are about.
_IDS: Final = frozenset({"distinct_id", "$identified_id", "$anon_id", "alias", "$distinct_ids"})


def seal_update(update: ProfileUpdate | GroupUpdate, privacy: Privacy = _USUAL) -> Aside | Drop:
    """Make the line of *update*, without a token and by *privacy*; or say why there is none."""
    if isinstance(update, ProfileUpdate):
        distinct_id = as_id(update.distinct_id)
        if not distinct_id:
            return Drop.NO_IDENTITY
        head: dict[str, Any] = {"$distinct_id": distinct_id, "$ip": cut(update.ip)}
        if update.time is not None:
            head["$time"] = _seconds(update.time)
        if update.ignore_time:
            head["$ignore_time"] = True
        if update.ignore_alias:
            head["$ignore_alias"] = True
        lane = Lane.ENGAGE
    else:
        group_key, group_id = text_of(update.group_key), as_id(update.group_id)
        if not group_key or not group_id:
            return Drop.NO_IDENTITY
        head = {"$group_key": group_key, "$group_id": group_id}
        lane = Lane.GROUPS
    line = _dump({**head, update.operation: _operand(update.operation, update.value, privacy)})
    if len(line) > MAX_UPDATE_BYTES:
        return Drop.TOO_LARGE
    return Aside(lane, line, update.operation not in _NOT_REPEATABLE)


def seal_verb(event: Event, insert_id: str, now: float, privacy: Privacy = _USUAL) -> Aside:
    """Make the line of an identity event: its ids as they are, anything else by *privacy*."""
    moment = as_time(event.time, now)
    properties: dict[str, Any] = {
        "time": round(now * 1000) if moment is None else moment,
        "distinct_id": as_id(event.distinct_id),
        "$insert_id": as_insert_id(event.insert_id) if event.insert_id else insert_id,
    }
    for key, value in _some(event.properties, (Mapping,)):
        name = text_of(key)
        if properties.get(name) or not (name in _IDS or privacy.keeps(name)):
            continue
        cleaned = clean(value) if name in _IDS else clean(value, privacy=privacy)
        if cleaned is not MISSING:
            properties[privacy.name(name)] = SCRUBBED if privacy.hides(name) else cleaned
    return Aside(Lane.IDENTITY, _dump({"event": event.name, "properties": properties}), True)


def _seconds(time: datetime | float) -> float:
    if isinstance(time, datetime):
        time = time if time.tzinfo else time.replace(tzinfo=timezone.utc)
        return time.timestamp()
    return float(time)


def _operand(operation: str, value: object, privacy: Privacy) -> Any:  # noqa: ANN401 -- any JSON
    if operation == "$delete":
        return ""
    if operation == "$unset":
        names = [value] if issubclass(type(value), str) else value
        return [privacy.name(text_of(name)) for name in _some(names, (list, tuple, set))]
    operand = {}
    for key, each in _some(value, (Mapping,)):
        name = text_of(key)
        cleaned = clean(each, MAX_PROFILE_NESTED_BYTES, privacy)
        if privacy.keeps(name) and cleaned is not MISSING:
            operand[privacy.name(name)] = SCRUBBED if privacy.hides(name) else cleaned
    return operand


def _some(value: Any, kinds: tuple[type, ...]) -> list[Any]:  # noqa: ANN401 -- any object
    """Give what *value* holds, or its pairs, as far as there is room; nothing if it is no such."""
    # By its type: an object may even raise when it is asked for its class.
    if not issubclass(type(value), kinds):
        return []
    try:
        found = value.items() if issubclass(type(value), Mapping) else value
        return list(islice(found, MAX_PROFILE_PROPERTIES))
    except Exception:  # noqa: BLE001 -- somebody else's mapping may raise anything
        return []


def _dump(record: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(record)
    except TypeError:
        return orjson.dumps(repaired(record))
