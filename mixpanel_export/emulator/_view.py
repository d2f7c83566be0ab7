"""What somebody looks at: which of the stored events, whose profile, which of the page's parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import islice

from mixpanel_export.emulator._event import JsonObject, compact
from mixpanel_export.emulator._reading import Reader
from mixpanel_export.emulator._store import Shown, Store

# How far back is searched, in events: what this process can read while nobody notices that it
# answers nothing else.
_MAX_SEARCHED = 100_000

# As much of a text as is looked for in the JSON of events, in characters: SQLite cannot look for
# one of more than 50 000 bytes.
_MAX_TEXT = 1_000

# Of somebody with more ids all events are read.
_MAX_IDS = 20

# What is longer is not shown in full, in characters: a page that gets a hundred events of 1 MB four
# times a second is dead.
_MAX_SHOWN = 20_000
_MAX_VALUE = 200
_MAX_VALUES = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """
    What an open page, or a terminal, asks for.

    Args:
        part: The part of the page that is open; only what it needs is told.

        search: Only events whose JSON contains this text.

        name: Only events of this name. None: of any.

        user: Only events of this user, by the id under which one is shown. None: of any.

        endpoint: Only events that came in here. Empty: anywhere.

        repeated: Only events that repeat an earlier one.

        follow: Every event in the order of its arrival, where a page gets the newest.

        lines: With *follow*, how many of the events that are here already come first.
    """

    part: str = "events"
    search: str = ""
    name: str | None = None
    user: str | None = None
    endpoint: str = ""
    repeated: bool = False
    follow: bool = False
    lines: int = 0

    def shows(self, row: Shown, reader: Reader) -> bool:
        """Say whether an event is one that was asked for, but for *search*."""
        if (self.endpoint and row.endpoint != self.endpoint) or (
            self.repeated and not row.duplicate
        ):
            return False
        if self.name is None and self.user is None:
            return True
        reading = reader.read(row)
        return self.name in (None, reading.name) and self.user in (None, reading.user)

    def texts(self, reader: Reader) -> list[list[str]]:
        """
        Return what the JSON of an event has to contain, for the database to choose from.

        Of each list one text is enough.
        """
        ids = reader.ids(self.user, limit=_MAX_IDS + 1) if self.user else []
        few = ids if len(ids) <= _MAX_IDS else []
        wanted = [texts for texts in ([self.search], [self.name or ""], few) if any(texts)]
        return [[text[:_MAX_TEXT] for text in texts] for texts in wanted]


def read_view(query: Mapping[str, str], reader: Reader) -> View:
    """Read what is asked for from the parameters of a URL; any id of a user will do."""
    user = query.get("user")
    lines = query.get("lines", "")
    return View(
        part=query.get("part", "events"),
        search=query.get("q", ""),
        name=query.get("name"),
        user=None if user is None else reader.user(user),
        endpoint=query.get("endpoint", ""),
        repeated=query.get("repeated") == "1",
        follow=query.get("follow") == "1",
        lines=int(lines) if lines.isdecimal() and len(lines) <= 9 else 0,
    )


def shortened(values: JsonObject) -> JsonObject:
    """Return values as they are, or as much of them as can be shown."""
    if len(compact(values)) <= _MAX_SHOWN:
        return values
    return {
        name[:_MAX_VALUE]: value if len(text) <= _MAX_VALUE else text[:_MAX_VALUE] + " …"
        for name, value in list(values.items())[:_MAX_VALUES]
        for text in [value if isinstance(value, str) else compact(value).decode()]
    }


def shown(row: Shown, reader: Reader) -> JsonObject:
    """Return an event as the page gets it: its JSON, or a part of that, and whose it is."""
    name, properties, user = reader.read(row)
    known = {**asdict(row), "user": user, "whole": len(row.line) <= _MAX_SHOWN}
    if not known["whole"]:
        part = {"event": name, "properties": shortened(properties)}
        known["line"] = compact(part).decode()
    return known


def newest(store: Store, reader: Reader, view: View, *, after: int, limit: int) -> list[Shown]:
    """Return the newest events that *view* shows, newest first, above the number *after*."""
    start = max(after, store.imported - _MAX_SEARCHED)
    rows = store.newest(after=start, containing=view.texts(reader))
    return list(islice((row for row in rows if view.shows(row, reader)), limit))
