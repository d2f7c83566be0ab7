"""Which events there are, with what properties of what types, and who sent some lately."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from mixpanel_export.emulator._event import JsonObject, compact
from mixpanel_export.emulator._reading import Reader
from mixpanel_export.emulator._store import Shown, Store

# An application has dozens of event names, and one that makes them up has no end of them.
MAX_NAMES = 300
MAX_PROPERTIES = 255
MAX_USERS = 100

# Events that are looked at in one go: about 20 ms. Four times a second that keeps pace with 8 000
# events a second; of more, only a part is looked at.
_MAX_AT_ONCE = 2_000

# How far it may be behind, in events.
_MAX_BEHIND = 50_000

# As much of a value as is shown, in characters.
_MAX_EXAMPLE = 80

# Sourced: docs, docs/data-structure/property-reference/data-type.mdx: dates are texts in the format
# of ISO.
_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?)?")

# What every event carries, and what is the sender's and not the event's.
_COMMON = frozenset({"distinct_id", "time", "$insert_id", "token"})


@dataclass(slots=True)
class _Kind:
    """Values of one type: how many, and one of them."""

    count: int = 0
    example: str = ""


@dataclass(slots=True)
class _Name:
    """What is known of the events of one name."""

    count: int = 0
    last_ms: int = 0
    # Property -> type -> its values.
    properties: dict[str, dict[str, _Kind]] = field(default_factory=dict)


@dataclass(slots=True)
class _User:
    """What somebody did lately."""

    count: int = 0
    last_ms: int = 0
    name: str = ""


class Catalogue:
    """
    The names, properties and users in the stored events.

    It looks at events when it is asked to, not when they arrive, so that nobody pays for what
    nobody sees; at those that are stored by then, in the order of their arrival.

    Args:
        store: Where the events are.

        reader: Says whose they are.

    Attributes:
        seen: How many events it has looked at.
    """

    def __init__(self, store: Store, reader: Reader) -> None:
        self._store = store
        self._reader = reader
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.seen = 0
        self._last = 0
        self._names: dict[str, _Name] = {}
        self._users: dict[str, _User] = {}

    def study(self) -> None:
        """Look at the next events."""
        after = max(self._last, self._store.imported - _MAX_BEHIND)
        rows = self._store.following(after, limit=_MAX_AT_ONCE)
        for row in rows:
            self._look_at(row)
        if rows:
            self._last = rows[-1].id
            self.seen += len(rows)

    @property
    def behind(self) -> int:
        """How many events it has still to look at."""
        return min(self._store.imported - self._last, _MAX_BEHIND)

    def names(self) -> list[JsonObject]:
        """Return a row for each event name, the most frequent first."""
        ranked = sorted(self._names.items(), key=lambda item: (-item[1].count, item[0]))
        return [
            {
                "name": name,
                "count": known.count,
                "last_ms": known.last_ms,
                "properties": len(known.properties),
                "drifting": sum(map(_drifts, known.properties.values())),
            }
            for name, known in ranked
        ]

    def properties(self, name: str) -> list[JsonObject]:
        """Return a row for each property of the events of this name; those that drift first."""
        known = self._names.get(name, _Name()).properties
        ranked = sorted(known.items(), key=lambda item: (not _drifts(item[1]), item[0]))
        return [
            {
                "name": property_name,
                "count": sum(kind.count for kind in kinds.values()),
                "drifts": _drifts(kinds),
                "types": list(_rows(kinds)),
            }
            for property_name, kinds in ranked
        ]

    def users(self) -> list[JsonObject]:
        """Return a row for each user who sent something lately, the latest first."""
        return [
            {"user": user, "count": known.count, "last_ms": known.last_ms, "name": known.name}
            for user, known in reversed(self._users.items())
        ]

    def _look_at(self, row: Shown) -> None:
        name, values, user = self._reader.read(row)
        self._note_user(user, name, row)
        known = self._names.get(name)
        if known is None:
            if len(self._names) >= MAX_NAMES:
                return
            known = self._names[name] = _Name()
        known.count += 1
        known.last_ms = row.received_ms
        for property_name, value in values.items():
            if property_name not in _COMMON:
                _note(known.properties, property_name, value)

    def _note_user(self, user: str, name: str, row: Shown) -> None:
        if not user:
            return
        # At the end again: the first is then the one who has been quiet for longest.
        known = self._users.pop(user, None) or _User()
        self._users[user] = known
        known.count += 1
        known.last_ms = row.received_ms
        known.name = name
        if len(self._users) > MAX_USERS:
            del self._users[next(iter(self._users))]


def _note(properties: dict[str, dict[str, _Kind]], name: str, value: object) -> None:
    kinds = properties.get(name)
    if kinds is None:
        if len(properties) >= MAX_PROPERTIES:
            return
        kinds = properties[name] = {}
    kind = kinds.setdefault(type_of(value), _Kind())
    if not kind.count:
        text = value if isinstance(value, str) else compact(value).decode()
        kind.example = text[:_MAX_EXAMPLE]
    kind.count += 1


def type_of(value: object) -> str:
    """Return what Mixpanel calls the type of a value."""
    if isinstance(value, str):
        is_date = value[:1].isdigit() and _DATE.fullmatch(value)
        return "date" if is_date else "string"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "numeric"
    if value is None:
        return "null"
    return "list" if isinstance(value, list) else "object"


def _drifts(kinds: dict[str, _Kind]) -> bool:
    """Say whether values are of several types; one that is missing is of none."""
    return len(kinds.keys() - {"null"}) > 1


def _rows(kinds: dict[str, _Kind]) -> Iterator[JsonObject]:
    for name, kind in sorted(kinds.items(), key=lambda item: -item[1].count):
        yield {"type": name, "count": kind.count, "example": kind.example}
