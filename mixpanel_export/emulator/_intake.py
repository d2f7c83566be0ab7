"""Events: from the records of a request to the store, or to a row of ``failed_records``."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from mixpanel_export.emulator import _facts
from mixpanel_export.emulator._answers import is_on
from mixpanel_export.emulator._books import Books
from mixpanel_export.emulator._credentials import Gatekeeper
from mixpanel_export.emulator._event import Event, JsonObject, Scene, identity
from mixpanel_export.emulator._hotshard import HotShards
from mixpanel_export.emulator._options import EmulatorOptions
from mixpanel_export.emulator._parcel import Arrival, Parcel
from mixpanel_export.emulator._places import place_of
from mixpanel_export.emulator._rules import RULEBOOKS, Fault, Mode
from mixpanel_export.emulator._tally import Failure

_DAY_MS = 24 * 60 * 60 * 1000


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    What became of the events of a request.

    Args:
        imported: How many are told to be imported.

        failed: Rows for the others, in their order; one text if the whole batch is refused.
    """

    imported: int
    failed: list[JsonObject | str]

    @property
    def error(self) -> str | None:
        """The first reason in the words of /track, None if at least one event is valid."""
        if self.imported or not self.failed:
            return None
        row = self.failed[0]
        return row if isinstance(row, str) else str(row["message"])


class Intake:
    """
    Takes events in.

    Args:
        books: Where they and their failures are written down.

        keeper: Knows the tokens.

        options: Say how the project merges identities, and which events are too old or too many.

        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        books: Books,
        keeper: Gatekeeper,
        options: EmulatorOptions,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._books = books
        self._keeper = keeper
        self._simplified = options.identity == "simplified"
        self._retention_ms = options.retention_days * _DAY_MS
        self._refuse_old = options.old_track_events == "failure"
        self._hot_shards = HotShards(options.hot_shard_events)
        self._clock = clock

    def reset(self) -> None:
        """Forget how many events each user had."""
        self._hot_shards.reset()

    def take(self, arrival: Arrival, parcel: Parcel, mode: Mode) -> Verdict:
        """Judge, complete and store the events of a request."""
        scene = self._scene()
        events = [Event(record, scene) for record in parcel.records]
        verbs = [event for event in events if event.name in _facts.IDENTITY_VERBS]
        if verbs and self._simplified and mode is not Mode.TRACK:
            return self._refuse_verbs(arrival, verbs[0], len(events))
        rulebook = RULEBOOKS[mode]
        kept: list[Event] = []
        failed: list[JsonObject | str] = []
        for index, event in enumerate(events):
            fault = rulebook.first_fault(event) or self._too_old(event, mode)
            if fault:
                failed.append(self._reject(arrival, index, event, fault))
                continue
            reason = self._reason_to_vanish(event, mode)
            if reason:
                self._books.tally.vanish(arrival.path, reason, event.line)
                continue
            event.cut()
            event.complete(_defaults(event, parcel, arrival, mode))
            kept.append(event)
        self._keep(arrival.path, scene, kept)
        return Verdict(len(events) - len(failed), failed)

    def _scene(self) -> Scene:
        now_ms = int(self._clock() * 1000)
        oldest_ms = now_ms - self._retention_ms if self._retention_ms else None
        return Scene(now_ms, self._simplified, oldest_ms)

    def _keep(self, endpoint: str, scene: Scene, events: list[Event]) -> None:
        hot = [event for event in events if self._hot_shards.is_hot(event)]
        for event in hot:
            event.hide()
        rows = [(event.key(), event.size, event.line) for event in events]
        self._books.store.add(endpoint, scene.now_ms, rows)
        self._books.pulse.add(len(events))
        if hot:
            # Once for a request: there may be thousands.
            self._show(endpoint, _facts.HOT_SHARD, hot[-1])
        self._merge_users(endpoint, events)

    def _merge_users(self, endpoint: str, events: list[Event]) -> None:
        asking = [event for event in events if self._asks_to_merge(event)]
        if not asking:
            return
        with self._books.store.transaction():
            for event in asking:
                reason = self._books.store.users.learn(event, tracked=endpoint == "/track")
                if reason:
                    self._show(endpoint, reason, event)

    def _asks_to_merge(self, event: Event) -> bool:
        if self._simplified:
            return "$device_id" in event.properties and "$user_id" in event.properties
        return event.name in _facts.IDENTITY_VERBS

    def _show(self, endpoint: str, reason: str, event: Event) -> None:
        """Let the page say what the service does without a word; the event itself is stored."""
        self._books.tally.pin(Failure("vanished", endpoint, "", reason), event.line)

    def _refuse_verbs(self, arrival: Arrival, verb: Event, count: int) -> Verdict:
        self._books.tally.rejected += count
        failure = Failure("rejected", arrival.path, "event", _facts.VERBS_REFUSED)
        self._books.tally.pin(failure, verb.line)
        return Verdict(0, [_facts.VERBS_REFUSED])

    def _reject(self, arrival: Arrival, index: int, event: Event, fault: Fault) -> JsonObject:
        self._books.tally.rejected += 1
        failure = Failure("rejected", arrival.path, fault.field, fault.message)
        self._books.tally.pin(failure, event.line)
        sent = event.properties.get("$insert_id")
        return {
            "index": index,
            "insert_id": "" if sent is None else str(sent),
            "field": fault.field,
            "message": fault.message,
        }

    def _reason_to_vanish(self, event: Event, mode: Mode) -> str | None:
        properties = event.properties
        # Sourced: docs, docs/tracking-best-practices/bot-traffic.mdx: true or a text that is not
        # empty. Guess: that such an event is in num_records_imported.
        ignore = properties.get("$ignore")
        if ignore is True or (isinstance(ignore, str) and ignore):
            return _facts.IGNORED
        if mode is not Mode.TRACK:
            return None
        # Live: segevsh/w6w-apps and mixpanel-node issue 59: success, and nothing arrives.
        if not self._keeper.knows_token(properties.get("token")):
            return _facts.UNKNOWN_TOKEN
        return _facts.TOO_OLD if _before_window(event) else None

    def _too_old(self, event: Event, mode: Mode) -> Fault | None:
        # Sourced: docs, reference/track-event.mdx. Guess: that the answer is success, as
        # mixpanel-js issue 427 reports it; mixpanel-node issue 190 reports the opposite.
        if self._refuse_old and mode is Mode.TRACK and _before_window(event):
            return Fault("properties.time", _facts.TOO_OLD)
        return None


def _before_window(event: Event) -> bool:
    start_ms = event.scene.now_ms - _facts.TRACK_WINDOW_MS
    return event.instant is not None and event.instant < start_ms


def _defaults(event: Event, parcel: Parcel, arrival: Arrival, mode: Mode) -> JsonObject:
    """Return what the service itself fills in for a valid event."""
    properties = event.properties
    defaults = _place(properties, parcel, arrival, mode)
    if properties.get("$insert_id") in (None, ""):
        # Sourced: docs, reference/event-deduplication.mdx: generated, so never a duplicate.
        defaults["$insert_id"] = str(uuid.uuid4())
    if mode is Mode.STRICT:
        return defaults
    if properties.get("time") is None:
        # Sourced for /track: docs, reserved-properties.mdx. Guess: lenient /import does the same.
        defaults["time"] = event.scene.now_ms // 1000
    if identity(properties) is None:
        # Sourced for lenient /import: docs, reference/import-events.mdx; on /track only with ip=1.
        hashed = mode is Mode.LENIENT or is_on(parcel.query.get("ip"))
        defaults["distinct_id"] = _hash_of(arrival.client) if hashed else ""
    return defaults


def _place(properties: JsonObject, parcel: Parcel, arrival: Arrival, mode: Mode) -> JsonObject:
    """Return where an event happened, as far as its ``ip`` or, on /track, its sender tell."""
    address = properties.get("ip")
    if address is None and mode is Mode.TRACK and is_on(parcel.query.get("ip")):
        address = arrival.client
    place = place_of(address)
    if place is None:
        return {}
    # Sourced: docs, docs/tracking-best-practices/geolocation.mdx: what the client says wins.
    return {name: value for name, value in place.of_event().items() if name not in properties}


def _hash_of(address: str) -> str:
    return hashlib.sha256(address.encode()).hexdigest()[:32]
