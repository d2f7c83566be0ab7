"""The emulated project: a request in, an answer out, and what it leaves behind."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone

from mixpanel_export.emulator import _facts, _profiles
from mixpanel_export.emulator._answers import (
    Answer,
    is_on,
    legacy_verdict,
    lenient_verdict,
    refusal,
    strict_verdict,
)
from mixpanel_export.emulator._body import MalformedError, OversizedError
from mixpanel_export.emulator._credentials import Gatekeeper
from mixpanel_export.emulator._event import Event, JsonObject, Scene, compact, identity
from mixpanel_export.emulator._options import EmulatorOptions
from mixpanel_export.emulator._parcel import Arrival, Parcel, unpack
from mixpanel_export.emulator._pulse import Pulse
from mixpanel_export.emulator._rate import RateWindow
from mixpanel_export.emulator._rules import RULEBOOKS, Fault, Mode
from mixpanel_export.emulator._store import Store
from mixpanel_export.emulator._tally import Failure, Tally


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What became of the events of a request: rows for those that failed, in their order."""

    imported: int
    failed: list[JsonObject | str]

    @property
    def error(self) -> str | None:
        """The first reason in the words of /track, None if at least one event is valid."""
        if self.imported or not self.failed:
            return None
        row = self.failed[0]
        return row if isinstance(row, str) else str(row["message"])


class Project:
    """
    One Mixpanel project.

    Not thread-safe: a request is answered from its first byte to its last without giving way, and
    that is what makes the counts exact.

    Attributes:
        epoch: Changes when everything was forgotten, also by a restart.

    Args:
        options: What is accepted and kept.

        wall: Seconds since the epoch.

        monotonic: Seconds that never go back.
    """

    def __init__(
        self,
        options: EmulatorOptions,
        *,
        wall: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._simplified = options.identity == "simplified"
        self._limit = options.max_request_bytes
        self._wall = wall
        self._keeper = Gatekeeper(options, wall)
        self._rate = RateWindow(
            max_events=options.max_events_per_minute,
            max_bytes=_facts.RATE_BYTES,
            window=options.rate_window,
            clock=monotonic,
        )
        self._doors = {
            "/import": self._import,
            "/track": self._track,
            "/engage": self._update_users,
            "/groups": self._update_groups,
        }
        self.store = Store(options.db, max_stored=options.max_stored)
        self.tally = Tally()
        self.pulse = Pulse(monotonic)
        self.epoch = self._now_ms()

    def answer(self, arrival: Arrival) -> Answer:
        """Process a request to one of the four endpoints."""
        try:
            return self._doors[arrival.path](arrival)
        except RecursionError:
            # Hundreds of levels of nesting, which the parser reads and nothing else can walk.
            return self._refuse(arrival, 400, _facts.NOT_JSON)

    def reset(self) -> None:
        """Forget everything."""
        self.store.reset()
        self._rate.reset()
        self.tally = Tally()
        self.pulse.reset()
        self.epoch = max(self.epoch + 1, self._now_ms())

    def stats(self) -> JsonObject:
        """Return the counts since the start or the last reset."""
        store, tally = self.store, self.tally
        return {
            "requests": dict(tally.requests),
            "imported": store.imported,
            "rejected": tally.rejected,
            "duplicates": store.duplicates,
            "distinct": store.distinct,
            "stored": store.stored,
            "vanished": tally.vanished,
            "profiles": store.count_profiles(groups=False),
            "groups": store.count_profiles(groups=True),
            "updates": tally.updates,
            "updates_rejected": tally.updates_rejected,
        }

    # -- the four doors --------------------------------------------------------------------------

    def _import(self, arrival: Arrival) -> Answer:
        # Live: credentials are judged before the body, which makes `[{}]` a probe for them
        # (sheets, utilities/validate.js).
        refused = self._keeper.refusal(arrival.authorization, arrival.query.get("project_id"))
        if refused and arrival.authorization is None and arrival.is_form:
            return self._import_nowhere(arrival)
        if refused:
            return self._refuse(arrival, 401, refused)
        try:
            parcel = unpack(arrival, limit=self._limit)
        except OversizedError:
            return self._refuse_size(arrival)
        except MalformedError as error:
            return self._refuse(arrival, 400, str(error))
        return self._refuse_import(arrival, parcel) or self._import_parcel(arrival, parcel)

    def _import_nowhere(self, arrival: Arrival) -> Answer:
        # Live: a form without credentials is answered with success and nothing is stored
        # (mixpanel-python issue 88, mixpanel-ruby issue 106).
        try:
            parcel = unpack(arrival, limit=self._limit)
        except (OversizedError, MalformedError):
            return self._refuse_legacy(arrival, _facts.BAD_DATA)
        for record in parcel.records:
            self._vanish(arrival, record, "a form without credentials")
        return legacy_verdict(None, parcel.query)

    def _refuse_import(self, arrival: Arrival, parcel: Parcel) -> Answer | None:
        if not isinstance(parcel.content, list) and not arrival.is_form:
            return self._refuse(arrival, 400, _facts.NOT_A_LIST)
        if not parcel.records:
            return self._refuse(arrival, 400, _facts.EMPTY_LIST)
        if len(parcel.records) > _facts.MAX_RECORDS:
            # Guess: that it is 413 and not 400.
            return self._refuse(arrival, 413, _facts.TOO_MANY.format(limit=_facts.MAX_RECORDS))
        return self._refuse_rate(arrival, parcel)

    def _import_parcel(self, arrival: Arrival, parcel: Parcel) -> Answer:
        # Sourced: docs, an older edition of reference/import-events.mdx: without strict=1 nothing
        # is validated. Forms are answered in the lenient way: python, _write_request.
        strict = is_on(parcel.query.get("strict")) and not arrival.is_form
        verdict = self._take(arrival, parcel, Mode.STRICT if strict else Mode.LENIENT)
        if strict:
            return strict_verdict(verdict.imported, verdict.failed)
        if arrival.is_form:
            return legacy_verdict(_facts.VALIDATION_FAILED if verdict.error else None, parcel.query)
        verbose = is_on(parcel.query.get("verbose"))
        return lenient_verdict(verdict.imported, complete=not verdict.failed, verbose=verbose)

    def _track(self, arrival: Arrival) -> Answer:
        try:
            parcel = unpack(arrival, limit=self._limit)
        except OversizedError:
            return self._refuse_size(arrival)
        except MalformedError:
            return self._refuse_legacy(arrival, _facts.BAD_DATA)
        refused = self._refuse_count(arrival, parcel) or self._refuse_rate(arrival, parcel)
        if refused:
            return refused
        # Sourced: docs, openapi/ingestion.openapi.yaml: 1 means that at least one event is valid
        # (openapi/identity.openapi.yaml says all).
        verdict = self._take(arrival, parcel, Mode.TRACK)
        return legacy_verdict(verdict.error, parcel.query)

    def _update_users(self, arrival: Arrival) -> Answer:
        return self._update(arrival, group=False)

    def _update_groups(self, arrival: Arrival) -> Answer:
        return self._update(arrival, group=True)

    # -- refusals of whole requests --------------------------------------------------------------

    def _refuse(self, arrival: Arrival, status: int, error: str) -> Answer:
        self._pin("refused", arrival, str(status), error, (arrival.body or b"")[:200])
        return refusal(status, error)

    def _refuse_legacy(self, arrival: Arrival, error: str) -> Answer:
        self._pin("refused", arrival, "200", error, (arrival.body or b"")[:200])
        return legacy_verdict(error, arrival.query)

    def _refuse_count(self, arrival: Arrival, parcel: Parcel) -> Answer | None:
        # Guess: both answers.
        if not parcel.records:
            return self._refuse_legacy(arrival, _facts.BAD_DATA)
        if len(parcel.records) > _facts.MAX_RECORDS:
            return self._refuse_legacy(arrival, _facts.TOO_MANY.format(limit=_facts.MAX_RECORDS))
        return None

    def _refuse_size(self, arrival: Arrival) -> Answer:
        return self._refuse(arrival, 413, _facts.TOO_LARGE.format(limit=self._limit))

    def _refuse_rate(self, arrival: Arrival, parcel: Parcel) -> Answer | None:
        if self._rate.admit(len(parcel.records), parcel.size):
            return None
        if arrival.is_form:
            # Live: mixpanel-node issue 231, the body; guess: the status.
            self._pin("refused", arrival, "429", _facts.RATE_LIMITED, b"")
            told = legacy_verdict(_facts.RATE_LIMITED, parcel.query)
            return Answer(429, told.body, told.content_type)
        return self._refuse(arrival, 429, _facts.RATE_LIMITED)

    # -- events ----------------------------------------------------------------------------------

    def _take(self, arrival: Arrival, parcel: Parcel, mode: Mode) -> _Verdict:
        now_ms = self._now_ms()
        scene = Scene(now_ms, self._simplified)
        events = [Event(record, scene) for record in parcel.records]
        if mode is not Mode.TRACK and self._simplified and _hold_verb(events):
            return self._refuse_verbs(arrival, events)
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
                self._vanish(arrival, event.record, reason)
                continue
            event.cut()
            event.complete(_defaults(event, parcel, arrival, mode))
            kept.append((event.key(), event.line))
        self.store.add(arrival.path, now_ms, kept)
        self.pulse.add(len(kept))
        return _Verdict(len(events) - len(failed), failed)

    def _refuse_verbs(self, arrival: Arrival, events: list[Event]) -> _Verdict:
        self.tally.rejected += len(events)
        self._pin("rejected", arrival, "event", _facts.VERBS_REFUSED, events[0].line)
        return _Verdict(0, [_facts.VERBS_REFUSED])

    def _reject(self, arrival: Arrival, index: int, event: Event, fault: Fault) -> JsonObject:
        self.tally.rejected += 1
        self._pin("rejected", arrival, fault.field, fault.message, event.line)
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
            return "$ignore is set"
        if mode is not Mode.TRACK:
            return None
        # Live: segevsh/w6w-apps and mixpanel-node issue 59: success, and nothing arrives.
        if not self._keeper.knows_token(properties.get("token")):
            return "no project has this token"
        # Sourced: docs, reference/track-event.mdx. Guess: that the answer is success, as
        # mixpanel-js issue 427 reports it; mixpanel-node issue 190 reports the opposite.
        if (
            event.instant is not None
            and event.instant < event.scene.now_ms - _facts.TRACK_WINDOW_MS
        ):
            return "older than 5 days; /import takes it"
        return None

    # -- profiles --------------------------------------------------------------------------------

    def _update(self, arrival: Arrival, *, group: bool) -> Answer:
        if arrival.gzip:
            # Sourced: docs, reference/profile-set.mdx: not supported. Guess: the answer.
            return self._refuse_legacy(arrival, _facts.BAD_DATA)
        try:
            parcel = unpack(arrival, limit=self._limit)
        except OversizedError:
            return self._refuse_size(arrival)
        except MalformedError:
            return self._refuse_legacy(arrival, _facts.BAD_DATA)
        refused = self._refuse_count(arrival, parcel)
        if refused:
            return refused
        with self.store.transaction():
            errors = [self._update_one(arrival, record, group) for record in parcel.records]
        # Guess: one bad update is reported though the others took effect.
        return legacy_verdict(next(filter(None, errors), None), parcel.query)

    def _update_one(self, arrival: Arrival, record: object, group: bool) -> str | None:
        try:
            kind, identifier, update = _profiles.subject(record, group=group)
            before = self.store.profile(kind, identifier)
            after = _profiles.apply(update, before, group=group)
        except _profiles.InapplicableError as error:
            self.tally.updates_rejected += 1
            self._pin("rejected", arrival, "update", str(error), compact(record))
            return str(error)
        if not self._keeper.knows_token(update["$token"]):
            self._vanish(arrival, record, "no project has this token")
        elif after is None:
            self.tally.updates += 1
            self.store.delete_profile(kind, identifier)
        else:
            self.tally.updates += 1
            seen = None if group else self._last_seen(update)
            self.store.save_profile(kind, identifier, after, seen)
        return None

    def _last_seen(self, update: JsonObject) -> str | None:
        # Sourced: docs, default-properties.mdx.
        if update.get("$ignore_time") is True:
            return None
        time = update.get("$time")
        if not isinstance(time, (int, float)) or not 0 < time < _facts.FIRST_MILLISECONDS:
            time = self._wall()
        return datetime.fromtimestamp(time, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")

    # -- bookkeeping -----------------------------------------------------------------------------

    def _vanish(self, arrival: Arrival, record: object, reason: str) -> None:
        self.tally.vanished += 1
        self._pin("vanished", arrival, "", reason, compact(record))

    def _pin(self, kind: str, arrival: Arrival, field: str, message: str, sample: bytes) -> None:
        failure = Failure(kind, arrival.path, field, message, self._now_ms())
        self.tally.failed(failure, sample)

    def _now_ms(self) -> int:
        return int(self._wall() * 1000)


def _hold_verb(events: list[Event]) -> bool:
    return any(event.name in _facts.IDENTITY_VERBS for event in events)


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
