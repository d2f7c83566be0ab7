"""What an open page is told: a few updates a second, however many events arrive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict

from mixpanel_export.emulator._event import JsonObject, compact
from mixpanel_export.emulator._project import Project

# At 30 000 events a second one push for each would kill the browser's tab; four updates a second
# look alive and cost nothing.
TICK = 0.25

# After so many seconds of silence a comment is sent, which finds connections that are gone.
_HEARTBEAT = 15.0

# What the page shows at most; older ones are searched, not scrolled to.
_MAX_EVENTS = 100
_MAX_FAILURES = 50


class Broadcast:
    """
    The stream of one open page.

    Args:
        project: What is shown.

        search: Only events that contain this text.
    """

    def __init__(self, project: Project, search: str) -> None:
        self._project = project
        self._search = search
        self._epoch = -1
        self._last_event = 0
        self._last_sent = b""

    async def stream(self, stopping: asyncio.Event) -> AsyncIterator[bytes]:
        """Yield updates until *stopping* is set; the first one holds what there is already."""
        silence = 0.0
        while not stopping.is_set():
            update = self._update()
            silence = 0.0 if update else silence + TICK
            if update:
                yield b"data: " + update + b"\n\n"
            elif silence >= _HEARTBEAT:
                silence = 0.0
                yield b": still here\n\n"
            await _pause(stopping)

    def _update(self) -> bytes | None:
        content = self._content()
        update = compact(content)
        if update == self._last_sent and not content["events"]:
            return None
        self._last_sent = compact({**content, "events": []})
        return update

    def _content(self) -> JsonObject:
        project, books = self._project, self._project.books
        if project.epoch != self._epoch:
            self._epoch, self._last_event = project.epoch, 0
        events = books.store.newest(
            after=self._last_event, containing=self._search, limit=_MAX_EVENTS
        )
        self._last_event = books.store.imported
        return {
            "epoch": project.epoch,
            "stats": books.stats(),
            "rate": round(books.pulse.rate()),
            "history": books.pulse.history(),
            "failures": [asdict(one) for one in books.tally.failures()[:_MAX_FAILURES]],
            "events": [asdict(event) for event in events],
        }


async def _pause(stopping: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(stopping.wait(), TICK)
    except asyncio.TimeoutError:
        # The usual case: the next update is due.
        return
