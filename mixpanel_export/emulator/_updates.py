"""Profile updates: from the records of a request to the profiles in the store."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone

from mixpanel_export.emulator import _facts, _profiles
from mixpanel_export.emulator._books import Books
from mixpanel_export.emulator._credentials import Gatekeeper
from mixpanel_export.emulator._event import JsonObject, compact
from mixpanel_export.emulator._tally import Failure


class Updates:
    """
    Applies updates of users and groups.

    Args:
        books: Where profiles and failures are written down.

        keeper: Knows the tokens.

        clock: Seconds since the epoch.
    """

    def __init__(self, books: Books, keeper: Gatekeeper, *, clock: Callable[[], float]) -> None:
        self._store = books.store
        self._tally = books.tally
        self._keeper = keeper
        self._clock = clock

    def apply(self, endpoint: str, records: list[object], *, group: bool) -> str | None:
        """Apply what can be applied; return the first reason why something could not, or None."""
        with self._store.transaction():
            errors = [self._apply_one(endpoint, record, group) for record in records]
        return next(filter(None, errors), None)

    def _apply_one(self, endpoint: str, record: object, group: bool) -> str | None:
        try:
            kind, identifier, update = _profiles.subject(record, group=group)
            before = self._store.profile(kind, identifier)
            after = _profiles.apply(update, before, group=group)
        except _profiles.InapplicableError as error:
            self._tally.updates_rejected += 1
            failure = Failure("rejected", endpoint, "update", str(error))
            self._tally.pin(failure, compact(record))
            return str(error)
        if not self._keeper.knows_token(update["$token"]):
            self._tally.vanish(endpoint, _facts.UNKNOWN_TOKEN, compact(record))
            return None
        self._tally.updates += 1
        if after is None:
            self._store.delete_profile(kind, identifier)
        else:
            seen = None if group else self._last_seen(update)
            self._store.save_profile(kind, identifier, after, seen)
        return None

    def _last_seen(self, update: JsonObject) -> str | None:
        # Sourced: docs, default-properties.mdx.
        if update.get("$ignore_time") is True:
            return None
        time = update.get("$time")
        if not isinstance(time, (int, float)) or not 0 < time < _facts.FIRST_MILLISECONDS:
            time = self._clock()
        return datetime.fromtimestamp(time, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
