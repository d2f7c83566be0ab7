"""Events and profiles in SQLite: the newest ones, and a fingerprint of every event ever seen."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple

from mixpanel_export.emulator import _users
from mixpanel_export.emulator._event import JsonObject

# Of the tables below; a file with others was made by another version.
_VERSION = 2

_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY,
    key INTEGER NOT NULL,
    endpoint TEXT NOT NULL,
    received_ms INTEGER NOT NULL,
    size INTEGER NOT NULL,
    line TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS keys (key INTEGER PRIMARY KEY, first INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS profiles (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    properties TEXT NOT NULL,
    last_seen TEXT,
    PRIMARY KEY (kind, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS profile_counts (grouped INTEGER PRIMARY KEY, number INTEGER NOT NULL);
INSERT OR IGNORE INTO profile_counts VALUES (0, 0), (1, 0);
CREATE TRIGGER IF NOT EXISTS profile_comes AFTER INSERT ON profiles BEGIN
    UPDATE profile_counts SET number = number + 1 WHERE grouped = (NEW.kind != '');
END;
CREATE TRIGGER IF NOT EXISTS profile_goes AFTER DELETE ON profiles BEGIN
    UPDATE profile_counts SET number = number - 1 WHERE grouped = (OLD.kind != '');
END;
CREATE TABLE IF NOT EXISTS notes (name TEXT NOT NULL UNIQUE, content TEXT NOT NULL);
"""

# Events and profiles that are read in one go, and about how many characters of them: there may be
# such of 1 MB.
_PAGE = 1_000
_MAX_READ = 8_000_000

# Without a file, SQLite uses a temporary one as far as this memory does not suffice, in KiB: the
# newest events fit, while keys, of which there is no end, grow on the disk. Beyond it storing is
# as fast as in memory alone (measured with two million events).
_CACHE = 32 * 1024

USER = ""

Containing = Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Shown:
    """A stored event, with what is known about its arrival."""

    id: int
    endpoint: str
    received_ms: int
    duplicate: bool
    line: str


class Stored(NamedTuple):
    """
    A stored event, with what is told about its arrival when it is exported.

    Args:
        id: Its number.

        endpoint: Where it was sent.

        received_ms: When it arrived.

        size: Bytes of its JSON on arrival.

        line: Its JSON.
    """

    id: int
    endpoint: str
    received_ms: int
    size: int
    line: str


class Profile(NamedTuple):
    """
    A stored profile.

    Args:
        kind: `USER`, or the key of a group.

        id: Whose it is.

        last_seen: When that was; None if it is not known, as of groups.

        properties: What is known of them.
    """

    kind: str
    id: str
    last_seen: str | None
    properties: JsonObject


class Store:
    """
    One SQLite database with one writer.

    Events have consecutive numbers from 1 in the order of their arrival, so the last number is
    also the count of all that were imported. Of those only the newest *max_stored* are kept. What
    grows without a bound is ``keys``: 64 bits for each different event, with their place in a
    B-tree 25 bytes (measured with two million); and, as in a project of Mixpanel, profiles and
    merged ids. That is on the disk.

    Not thread-safe: everything happens on the thread of the event loop.

    Attributes:
        lasting: Whether there is a file, so that somebody may read it again.

        imported: How many events were ever stored.

        distinct: How many of them are different.

        users: Whose ids belong together.

    Args:
        path: The file. None: a temporary one, mostly in memory, that is gone afterwards.

        max_stored: How many events are kept. 0: all.

    Raises:
        sqlite3.Error: If the file cannot be used.
    """

    def __init__(self, path: str | None, *, max_stored: int) -> None:
        self.lasting = bool(path)
        self._max_stored = max_stored
        self._database = sqlite3.connect(path or "", isolation_level=None, timeout=0.5)
        # A second emulator on the same file is told so when it starts, and not in the middle.
        self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._check_version(path)
        # A crash of the machine may cost the newest events of an emulator; a crash of the process
        # does not, and nobody waits for the disk.
        self._database.execute(f"PRAGMA journal_mode = {'WAL' if path else 'MEMORY'}")
        self._database.execute("PRAGMA synchronous = OFF")
        if not path:
            self._database.execute(f"PRAGMA cache_size = {-_CACHE}")
        self._database.executescript(
            f"BEGIN EXCLUSIVE; {_SCHEMA} {_users.SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;"
        )
        self.users = _users.Users(self._database, self._absorb)
        self.imported = self._number("SELECT max(id) FROM events")
        self.distinct = self._number("SELECT count(*) FROM keys")

    @property
    def duplicates(self) -> int:
        """Events that repeat the four fields of an earlier one."""
        return self.imported - self.distinct

    @property
    def stored(self) -> int:
        """Events that are still here."""
        return self.imported - self._number("SELECT min(id) - 1 FROM events")

    def add(
        self, endpoint: str, received_ms: int, events: Sequence[tuple[int, int, bytes]]
    ) -> None:
        """Store events, each a key, its size on arrival and a line, in one transaction."""
        if not events:
            return
        start = self.imported + 1
        with self.transaction():
            fresh = self._database.executemany(
                "INSERT OR IGNORE INTO keys VALUES (?, ?)",
                [(key, number) for number, (key, _, _) in enumerate(events, start)],
            ).rowcount
            self._database.executemany(
                "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (number, key, endpoint, received_ms, size, line.decode())
                    for number, (key, size, line) in enumerate(events, start)
                ],
            )
            if self._max_stored:
                oldest = start + len(events) - self._max_stored
                self._database.execute("DELETE FROM events WHERE id < ?", (oldest,))
        self.imported += len(events)
        self.distinct += fresh

    def lines(self, *, dedup: bool) -> Iterator[str]:
        """
        Yield the events that are stored now, in the order of their arrival, in bounded pages.

        Args:
            dedup: Of those that are the same yield one, the newest, as Mixpanel normally does.
        """
        newest = self._newest(self.imported) if dedup else None
        for page in self.pages():
            chosen = (one.line for one in page if newest is None or one.id in newest)
            yield "".join(f"{line}\n" for line in chosen)

    def pages(self) -> Iterator[list[Stored]]:
        """Yield the events that are stored now, in the order of their arrival."""
        end, last = self.imported, 0
        while page := self._some(
            "SELECT id, endpoint, received_ms, size, line FROM events"
            " WHERE id > ? AND id <= ? ORDER BY id LIMIT ?",
            (last, end, _PAGE),
        ):
            last = page[-1][0]
            yield [Stored._make(row) for row in page]

    def newest(self, *, after: int, containing: Containing = ()) -> Iterator[Shown]:
        """
        Yield the newest events, newest first; to be used up before anything is stored.

        Args:
            after: Only events with a higher number.

            containing: Only events whose JSON contains one text of each list; case does not
                matter in ASCII.
        """
        one = "line LIKE ? ESCAPE '\\'"
        conditions = "".join(f" AND ({' OR '.join([one] * len(texts))})" for texts in containing)
        rows = self._database.execute(
            f"{_SHOWN} WHERE id > ?{conditions} ORDER BY id DESC",
            (after, *(_pattern(text) for texts in containing for text in texts)),
        )
        with closing(rows):
            yield from (_shown(row) for row in rows)

    def following(self, after: int, *, limit: int) -> list[Shown]:
        """
        Return the oldest of the events with a higher number than *after*, oldest first.

        At most *limit*, fewer if they are large; none only if there are none.
        """
        rows = self._some(f"{_SHOWN} WHERE id > ? ORDER BY id LIMIT ?", (after, limit))
        return [_shown(row) for row in rows]

    def profile(self, kind: str, identifier: str) -> JsonObject:
        """Return the properties of a profile, {} if there is none; *kind* is `USER` or a group."""
        row = self._database.execute(
            "SELECT properties FROM profiles WHERE kind = ? AND id = ?", (kind, identifier)
        ).fetchone()
        properties: JsonObject = json.loads(row[0]) if row else {}
        return properties

    def save_profile(
        self, kind: str, identifier: str, properties: JsonObject, last_seen: str | None
    ) -> None:
        """Replace a profile; None leaves the time at which it was last seen."""
        self._database.execute(
            "INSERT INTO profiles VALUES (?1, ?2, ?3, ?4) ON CONFLICT (kind, id) DO UPDATE SET"
            " properties = ?3, last_seen = coalesce(?4, last_seen)",
            (kind, identifier, json.dumps(properties), last_seen),
        )

    def delete_profile(self, kind: str, identifier: str) -> None:
        """Remove a profile if it is there."""
        self._database.execute("DELETE FROM profiles WHERE kind = ? AND id = ?", (kind, identifier))

    def profiles(self) -> Iterator[list[Profile]]:
        """Yield all profiles, groups after users, in bounded pages."""
        last = ("", "")
        while page := self._some(
            "SELECT kind, id, last_seen, properties FROM profiles"
            " WHERE (kind, id) > (?, ?) ORDER BY kind, id LIMIT ?",
            (*last, _PAGE),
        ):
            last = page[-1][:2]
            yield [
                Profile(kind, identifier, last_seen, json.loads(properties))
                for kind, identifier, last_seen, properties in page
            ]

    def count_profiles(self, *, groups: bool) -> int:
        """Count the profiles of users, or of groups."""
        return self._number(
            "SELECT number FROM profile_counts WHERE grouped"
            if groups
            else "SELECT number FROM profile_counts WHERE NOT grouped"
        )

    def notes(self) -> dict[str, JsonObject]:
        """Return what was noted and not forgotten, in the order in which it was noted last."""
        rows = self._database.execute("SELECT name, content FROM notes ORDER BY rowid")
        return {name: json.loads(content) for name, content in rows}

    def note(self, notes: Mapping[str, JsonObject | None]) -> None:
        """Remember something under each name, in place of what was there; None: forget that."""
        with self.transaction():
            for name, content in notes.items():
                self._database.execute("DELETE FROM notes WHERE name = ?", (name,))
                if content is not None:
                    row = (name, json.dumps(content))
                    self._database.execute("INSERT INTO notes VALUES (?, ?)", row)

    def transaction(self) -> _Transaction:
        """Return a context in which all changes happen, or none."""
        return _Transaction(self._database)

    def reset(self) -> None:
        """Forget everything."""
        with self.transaction():
            self._database.execute("DELETE FROM events")
            self._database.execute("DELETE FROM keys")
            self._database.execute("DELETE FROM profiles")
            self._database.execute("DELETE FROM ids")
            self._database.execute("DELETE FROM notes")
        self.users.reset()
        self.imported = self.distinct = 0

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _check_version(self, path: str | None) -> None:
        tables = self._number("SELECT count(*) FROM sqlite_master")
        if tables and self._number("PRAGMA user_version") != _VERSION:
            raise sqlite3.DatabaseError(f"{path} belongs to another version or program")

    def _absorb(self, identifier: str, user: str) -> None:
        """
        Give the profile of an id to the user whose it is now.

        Guess: what the user's own profile says counts more. The documentation only advises to wait
        with profiles until a user is known.
        """
        seen = self._database.execute(
            "SELECT last_seen FROM profiles WHERE kind = ? AND id = ?", (USER, identifier)
        ).fetchone()
        if seen:
            theirs, ours = self.profile(USER, identifier), self.profile(USER, user)
            self.delete_profile(USER, identifier)
            self.save_profile(USER, user, {**theirs, **ours}, seen[0])

    def _newest(self, end: int) -> set[int]:
        rows = self._database.execute(
            "SELECT max(id) FROM events WHERE id <= ? GROUP BY key", (end,)
        )
        return {number for (number,) in rows}

    def _some(self, query: str, parameters: tuple[object, ...]) -> list[Any]:
        """Return the first rows, at least one if there is any; their last column is the large."""
        found, size = [], 0
        with closing(self._database.execute(query, parameters)) as rows:
            for row in rows:
                found.append(row)
                size += len(row[-1])
                if size >= _MAX_READ:
                    break
        return found

    def _number(self, query: str) -> int:
        (number,) = self._database.execute(query).fetchone()
        return int(number or 0)


class _Transaction:
    """Commit at the end, or take everything back after an error."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def __enter__(self) -> None:
        self._database.execute("BEGIN")

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._database.execute("COMMIT" if kind is None else "ROLLBACK")


# What `_shown` reads.
_SHOWN = "SELECT id, endpoint, received_ms, first < id, line FROM events JOIN keys USING (key)"


def _shown(row: tuple[int, str, int, int, str]) -> Shown:
    return Shown(row[0], row[1], row[2], bool(row[3]), row[4])


def _pattern(text: str) -> str:
    # The lines are JSON, where a quote or a backslash in a text is escaped.
    escaped = json.dumps(text, ensure_ascii=False)[1:-1]
    for special in "\\%_":
        escaped = escaped.replace(special, "\\" + special)
    return f"%{escaped}%"
