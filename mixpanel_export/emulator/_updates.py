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
from mixpanel_export.emulator._store import Store
from mixpanel_export.emulator._tally import Failure


class _Drafts:
    """
    Profiles that one request changes: each is read and written once, however many updates it has.

    Args:
        store: Where they are.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._profiles: dict[tuple[str, str], JsonObject] = {}
        self._seen: dict[tuple[str, str], str | None] = {}
        self._deleted: set[tuple[str, str]] = set()

    def profile(self, kind: str, identifier: str) -> JsonObject:
        """Return the properties of a profile as they are by now, {} if there is none."""
        key = (kind, identifier)
        if key not in self._profiles:
            self._profiles[key] = self._store.profile(kind, identifier)
        return self._profiles[key]

    def set(self, kind: str, identifier: str, properties: JsonObject, seen: str | None) -> None:
        """Replace a profile; None leaves the time at which it was last seen."""
        key = (kind, identifier)
        self._profiles[key] = properties
        self._seen[key] = seen or self._seen.get(key)

    def delete(self, kind: str, identifier: str) -> None:
        """Remove a profile if it is there."""
        key = (kind, identifier)
        self._profiles[key] = {}
        self._seen.pop(key, None)
        self._deleted.add(key)

    def save(self) -> None:
        """Write all of them down."""
        with self._store.transaction():
            for key in self._deleted:
                self._store.delete_profile(*key)
            for key, seen in self._seen.items():
                self._store.save_profile(*key, self._profiles[key], seen)


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
        drafts = _Drafts(self._store)
        errors = [
            self._apply_one(arrival.path, record, group, client, drafts)
            for record in parcel.records
        ]
        drafts.save()
        return next(filter(None, errors), None)

    def _apply_one(
        self, endpoint: str, record: object, group: bool, client: str, drafts: _Drafts
    ) -> str | None:
        try:
            kind, identifier, update = _profiles.subject(record, group=group)
            if not group and update.get("$ignore_alias") is not True:
                identifier = self._store.users.canonical(identifier)
            before = drafts.profile(kind, identifier)
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
            drafts.delete(kind, identifier)
        else:
            seen = None if group else self._last_seen(update)
            after |= {} if group else _place(update, client)
            drafts.set(kind, identifier, after, seen)
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
