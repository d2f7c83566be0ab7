"""What an open page is told: a few updates a second, however many events arrive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict

from mixpanel_export.emulator._event import JsonObject, compact
from mixpanel_export.emulator._faults import FaultList
from mixpanel_export.emulator._project import Project
from mixpanel_export.emulator._sources import source_of
from mixpanel_export.emulator._store import USER
from mixpanel_export.emulator._tally import Failure
from mixpanel_export.emulator._view import View, newest, shortened, shown

# At 30 000 events a second one push for each would kill the browser's tab; four updates a second
# look alive and cost nothing.
TICK = 0.25

# After so many seconds of silence a comment is sent, which finds connections that are gone.
_HEARTBEAT = 15.0

# When a browser that has lost the stream asks again; its own choice would be some seconds.
_RETRY_MS = 1000

# What the page shows at most; older ones are searched, not scrolled to.
_MAX_EVENTS = 100
_MAX_FAILURES = 50
_MAX_IDS = 100

# After as many, updates without events: a list that is new four times a second cannot be read, and
# drawing it is what keeps a browser busy.
_REST = 3

# Of those who want every event, so many at a time.
_MAX_FOLLOWED = 1_000


class Broadcast:
    """
    The stream of one open page, or of one terminal.

    The first update says everything, each later one only what has changed.

    Args:
        project: What is shown.

        faults: The faults in force.

        view: What is looked at.
    """

    def __init__(self, project: Project, faults: FaultList, view: View) -> None:
        self._project = project
        self._faults = faults
        self._view = view
        self._epoch = -1
        self._last_event = max(0, project.books.store.imported - view.lines) if view.follow else 0
        self._told: dict[str, bytes] = {}
        self._rest = 0

    async def stream(self, stopping: asyncio.Event) -> AsyncIterator[bytes]:
        """Yield updates until *stopping* is set."""
        yield b"retry: %d\n\n" % _RETRY_MS
        silence = 0.0
        while not stopping.is_set():
            update = self._update()
            silence = 0.0 if update else silence + TICK
            if update:
                yield b"data: " + compact(update) + b"\n\n"
            elif silence >= _HEARTBEAT:
                silence = 0.0
                yield b": still here\n\n"
            # One that follows and is behind catches up, and others have their turn all the same.
            behind = self._view.follow and self._project.books.store.imported > self._last_event
            await _pause(stopping, 0 if behind else TICK)

    def _update(self) -> JsonObject:
        fresh = self._project.epoch != self._epoch
        if fresh and self._epoch != -1:
            self._last_event = 0
        if fresh:
            self._epoch = self._project.epoch
            self._told.clear()
            self._rest = 0
        events = self._followed() if self._view.follow else self._newest()
        update: JsonObject = {"epoch": self._epoch} if fresh else {}
        for key, value in self._facts().items():
            told = compact(value)
            if self._told.get(key) != told:
                self._told[key] = told
                update[key] = value
        if events or fresh:
            update["events"] = events
        return update

    def _facts(self) -> JsonObject:
        books, view = self._project.books, self._view
        failures = [explained(one) for one in books.tally.failures()[:_MAX_FAILURES]]
        if view.follow:
            return {"failures": failures}
        return {
            "stats": books.stats(),
            "rate": round(books.pulse.rate()),
            "history": books.pulse.history(),
            "failing": books.tally.pulse.history(),
            "failures": failures,
            "faults": self._faults.state(),
            **self._part(),
        }

    def _part(self) -> JsonObject:
        """Return what only the open part of the page needs."""
        books, view = self._project.books, self._view
        facts: JsonObject = {}
        if view.part in ("names", "users"):
            books.catalogue.study()
            facts["behind"] = books.catalogue.behind
        if view.part == "names":
            facts["names"] = books.catalogue.names()
            facts["properties"] = books.catalogue.properties(view.name or "")
        if view.part == "users" and view.user is None:
            facts["users"] = books.catalogue.users()
        if view.user is not None:
            # One more tells that there are more.
            facts["ids"] = books.store.users.ids(view.user, limit=_MAX_IDS + 1)
            facts["profile"] = shortened(books.store.profile(USER, view.user))
        return facts

    def _newest(self) -> list[JsonObject]:
        store, reader = self._project.books.store, self._project.books.reader
        if self._rest:
            self._rest -= 1
            return []
        after, self._last_event = self._last_event, store.imported
        found = newest(store, reader, self._view, after=after, limit=_MAX_EVENTS)
        # The first ones are what was here already.
        self._rest = _REST if after and len(found) == _MAX_EVENTS else 0
        return [shown(row, reader) for row in found]

    def _followed(self) -> list[JsonObject]:
        store, reader = self._project.books.store, self._project.books.reader
        rows = store.following(self._last_event, limit=_MAX_FOLLOWED)
        if rows:
            self._last_event = rows[-1].id
        wanted = (row for row in rows if self._view.shows(row, reader))
        return [{**asdict(row), "user": reader.read(row).user} for row in wanted]


def explained(failure: Failure) -> JsonObject:
    """Return a failure in JSON, with the source of its reason."""
    source = source_of(failure.message)
    return {
        **asdict(failure),
        "origin": source.origin.value if source else "",
        "source": source.text if source else "",
    }


async def _pause(stopping: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stopping.wait(), seconds)
    except asyncio.TimeoutError:
        # The usual case: the next update is due.
        return
