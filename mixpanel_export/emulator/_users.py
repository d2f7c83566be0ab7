"""
Which ids belong to the same user, in the two ways in which Mixpanel merges them.

Sourced, unless said otherwise: docs, ``docs/tracking-methods/id-management/`` with
``identifying-users-simplified.mdx`` and ``identifying-users-original.mdx``; live: the import tool's
probe of 2026-08-16. What the service does within a day happens here at once.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable

from mixpanel_export.emulator import _facts
from mixpanel_export.emulator._event import Event, JsonObject, as_device, as_text

SCHEMA = """
CREATE TABLE IF NOT EXISTS ids (id TEXT PRIMARY KEY, user TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS ids_of_user ON ids (user);
"""

# Pairs that need not be looked up again; clients repeat theirs with each event.
_MAX_REMEMBERED = 10_000


class Users:
    """
    The ids of all users.

    Args:
        database: Where they are kept, with `SCHEMA` in it.

        absorb: Called with two ids when the first becomes one of the second's.
    """

    def __init__(self, database: sqlite3.Connection, absorb: Callable[[str, str], None]) -> None:
        self._database = database
        self._absorb = absorb
        self._remembered: set[tuple[str, str]] = set()

    def canonical(self, identifier: str) -> str:
        """Return the id under which a user is shown, of whose ids *identifier* is one."""
        row = self._database.execute("SELECT user FROM ids WHERE id = ?", (identifier,)).fetchone()
        return str(row[0]) if row else identifier

    def ids(self, identifier: str, *, limit: int) -> list[str]:
        """Return *limit* of the ids of the user of whose ids *identifier* is one, theirs first."""
        user = self.canonical(identifier)
        rows = self._database.execute(
            "SELECT id FROM ids WHERE user = ?1 AND id != ?1 ORDER BY id LIMIT ?2",
            (user, limit - 1),
        )
        return [user, *(found for (found,) in rows)]

    def learn(self, event: Event, *, tracked: bool) -> str | None:
        """
        Merge the ids that a valid event says are one user's.

        Args:
            event: Any event; most say nothing of the kind.

            tracked: Whether it came through /track, which does not merge.

        Returns:
            Why nothing was merged although the event asks for it; else None. The service keeps
            silent about it.
        """
        properties = event.properties
        if event.scene.simplified:
            device, user = properties.get("$device_id"), properties.get("$user_id")
            return self._give(as_device(device), as_text(user)) if device and user else None
        if event.name == "$identify":
            return self._identify(properties)
        if event.name == "$create_alias":
            return self._alias(properties)
        if event.name == "$merge":
            return _facts.MERGE_IS_IMPORTED if tracked else self._merge(properties)
        return None

    def reset(self) -> None:
        """Forget everything that is not in the database."""
        self._remembered.clear()

    def _give(self, device: str, user: str) -> str | None:
        # Live: the first user of a device keeps it.
        pair = (device, user)
        if pair in self._remembered:
            return None
        fresh = self._database.execute("INSERT OR IGNORE INTO ids VALUES (?, ?)", pair).rowcount
        if fresh:
            self._absorb(device, user)
        elif self.canonical(device) != user:
            return _facts.ALREADY_MERGED
        if len(self._remembered) >= _MAX_REMEMBERED:
            self._remembered.clear()
        self._remembered.add(pair)
        return None

    def _identify(self, properties: JsonObject) -> str | None:
        # Live: a user that is not an id of this form is merged with nobody, silently.
        anonymous, identified = properties.get("$anon_id"), properties.get("$identified_id")
        if not anonymous or not identified:
            return _facts.IDS_MISSING
        if not _is_uuid4(anonymous):
            return _facts.NOT_A_UUID
        return self._join(as_text(identified), as_text(anonymous), first_time=True)

    def _alias(self, properties: JsonObject) -> str | None:
        alias, user = properties.get("alias"), properties.get("distinct_id")
        if not alias or not user:
            return _facts.IDS_MISSING
        return self._join(as_text(user), as_text(alias), first_time=True)

    def _merge(self, properties: JsonObject) -> str | None:
        # That there are two is a rule.
        one, other = map(as_text, properties["$distinct_ids"])
        return self._join(one, other, first_time=False)

    def _join(self, one: str, other: str, *, first_time: bool) -> str | None:
        """Make two users one; with *first_time* the other must not be anybody's yet."""
        user, users = self._cluster(one)
        loser, losers = self._cluster(other)
        if user == loser:
            return None
        if first_time and losers:
            return _facts.ALREADY_MERGED
        if max(users, 1) + max(losers, 1) > _facts.MAX_CLUSTER_IDS:
            return _facts.CLUSTER_FULL
        # Sourced: the service selects one of the ids, after its own needs. Guess: that of the user
        # with more ids, else the one who is named as the user.
        if losers > users:
            user, loser = loser, user
        self._database.execute("UPDATE ids SET user = ? WHERE user = ?", (user, loser))
        self._database.executemany(
            "INSERT OR IGNORE INTO ids VALUES (?, ?)", [(user, user), (loser, user)]
        )
        self._absorb(loser, user)
        return None

    def _cluster(self, identifier: str) -> tuple[str, int]:
        """Return the user of an id and the number of known ids, 0 if it is nobody's."""
        user = self.canonical(identifier)
        (count,) = self._database.execute(
            "SELECT count(*) FROM ids WHERE user = ?", (user,)
        ).fetchone()
        return user, count


def _is_uuid4(value: object) -> bool:
    try:
        return uuid.UUID(str(value)).version == 4
    except ValueError:
        return False
