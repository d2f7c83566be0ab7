"""A stored event as Mixpanel shows it: whose it is, after all merging."""

from __future__ import annotations

from typing import NamedTuple, cast

from mixpanel_export.emulator import _facts
from mixpanel_export.emulator._body import parse
from mixpanel_export.emulator._event import JsonObject, user_of
from mixpanel_export.emulator._store import Shown, Store


class Reading(NamedTuple):
    """
    What a stored event says.

    Args:
        name: Of the event.

        properties: As they were stored.

        user: Whose it is now; empty for nobody's.
    """

    name: str
    properties: JsonObject
    user: str


class Reader:
    """
    Reads stored events.

    Args:
        store: Knows whose ids belong together.

        simplified: Whether the project merges identities the simplified way.
    """

    def __init__(self, store: Store, *, simplified: bool) -> None:
        self._users = store.users
        self._simplified = simplified

    def read(self, row: Shown) -> Reading:
        """Read one event."""
        record = cast("JsonObject", parse(row.line.encode()))
        name, properties = record["event"], record["properties"]
        hidden = name == _facts.HOT_SHARD_NAME
        user = "" if hidden else user_of(properties, self._simplified)
        return Reading(name, properties, self.user(user))

    def user(self, identifier: str) -> str:
        """Return the id under which somebody is shown, of whose ids *identifier* is one."""
        return self._users.canonical(identifier)

    def ids(self, identifier: str, *, limit: int) -> list[str]:
        """Return *limit* of the ids of somebody, in the form in which they stand in events."""
        known = self._users.ids(identifier, limit=limit)
        return [one.removeprefix(_facts.DEVICE_PREFIX) for one in known]
