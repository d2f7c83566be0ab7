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
from mixpanel_export.emulator._parcel import Arrival, Parcel
from mixpanel_export.emulator._rules import RULEBOOKS, Fault, Mode
from mixpanel_export.emulator._tally import Failure


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

        simplified: Whether the project merges identities the simplified way.

        clock: Seconds since the epoch.
    """

    def __init__(
        self, books: Books, keeper: Gatekeeper, *, simplified: bool, clock: Callable[[], float]
    ) -> None:
        self._books = books
        self._keeper = keeper
        self._simplified = simplified
        self._clock = clock

    def take(self, arrival: Arrival, parcel: Parcel, mode: Mode) -> Verdict:
        """Judge, complete and store the events of a request."""
        scene = Scene(int(self._clock() * 1000), self._simplified)
        events = [Event(record, scene) for record in parcel.records]
        verbs = [event for event in events if event.name in _facts.IDENTITY_VERBS]
        if verbs and self._simplified and mode is not Mode.TRACK:
            return self._refuse_verbs(arrival, verbs[0], len(events))
        rulebook = RULEBOOKS[mode]
        kept: list[tuple[int, bytes]] = []
        failed: list[JsonObject | str] = []
        for index, event in enumerate(events):
            fault = rulebook.first_fault(event)
            if fault:
                failed.append(self._reject(arrival, index, event, fault))
                continue
            reason = self._reason_to_vanish(event, mode)
            if reason:
                self._books.tally.vanish(arrival.path, reason, event.line)
                continue
            event.cut()
            event.complete(_defaults(event, parcel, arrival, mode))
            kept.append((event.key(), event.line))
        self._books.store.add(arrival.path, scene.now_ms, kept)
        self._books.pulse.add(len(kept))
        return Verdict(len(events) - len(failed), failed)

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
        # Sourced: docs, reference/track-event.mdx. Guess: that the answer is success, as
        # mixpanel-js issue 427 reports it; mixpanel-node issue 190 reports the opposite.
        if (
            event.instant is not None
            and event.instant < event.scene.now_ms - _facts.TRACK_WINDOW_MS
        ):
            return _facts.TOO_OLD
        return None


def _defaults(event: Event, parcel: Parcel, arrival: Arrival, mode: Mode) -> JsonObject:
    """Return what the service itself fills in for a valid event."""
    properties = event.properties
    defaults: JsonObject = {}
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


def _hash_of(address: str) -> str:
    return hashlib.sha256(address.encode()).hexdigest()[:32]
