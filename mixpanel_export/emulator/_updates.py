"""Profile updates: from the records of a request to the profiles in the store."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone

from mixpanel_export.emulator import _facts, _profiles
from mixpanel_export.emulator._answers import is_on
from mixpanel_export.emulator._books import Books
from mixpanel_export.emulator._credentials import Gatekeeper
from mixpanel_export.emulator._event import JsonObject, compact
from mixpanel_export.emulator._parcel import Arrival, Parcel
from mixpanel_export.emulator._places import place_of
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

    def apply(self, arrival: Arrival, parcel: Parcel, *, group: bool) -> str | None:
        """Apply what can be applied; return the first reason why something could not, or None."""
        # Two places of the documentation contradict each other about the default.
        client = arrival.client if is_on(parcel.query.get("ip")) else ""
        with self._store.transaction():
            errors = [
                self._apply_one(arrival.path, record, group, client) for record in parcel.records
            ]
        return next(filter(None, errors), None)

    def _apply_one(self, endpoint: str, record: object, group: bool, client: str) -> str | None:
        try:
            kind, identifier, update = _profiles.subject(record, group=group)
            if not group and update.get("$ignore_alias") is not True:
                identifier = self._store.users.canonical(identifier)
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
            after |= {} if group else _place(update, client)
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


def _place(update: JsonObject, client: str) -> JsonObject:
    """Return where a user is, if an update sets properties and tells from where."""
    given = {**_object(update.get("$set_once")), **_object(update.get("$set"))}
    place = place_of(update.get("$ip", client))
    if not given or place is None:
        return {}
    # Sourced for events, guess for profiles: what the client says of the place counts more.
    return {name: value for name, value in place.of_profile().items() if name not in given}


def _object(value: object) -> JsonObject:
    return value if isinstance(value, dict) else {}
