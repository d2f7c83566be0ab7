"""The emulated project: a request in, an answer out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from mixpanel_export.emulator import _facts
from mixpanel_export.emulator._answers import (
    Answer,
    is_on,
    legacy_verdict,
    lenient_verdict,
    refusal,
    strict_verdict,
)
from mixpanel_export.emulator._body import MalformedError, OversizedError
from mixpanel_export.emulator._books import Books
from mixpanel_export.emulator._catalogue import Catalogue
from mixpanel_export.emulator._credentials import Gatekeeper
from mixpanel_export.emulator._event import compact
from mixpanel_export.emulator._export import exported, read_query
from mixpanel_export.emulator._intake import Intake
from mixpanel_export.emulator._options import EmulatorOptions
from mixpanel_export.emulator._parcel import Arrival, Parcel, beginning, parameters, unpack
from mixpanel_export.emulator._pulse import Pulse
from mixpanel_export.emulator._rate import RateWindow
from mixpanel_export.emulator._reading import Reader
from mixpanel_export.emulator._rules import Mode
from mixpanel_export.emulator._store import Store
from mixpanel_export.emulator._tally import MAX_SAMPLE, Failure, Tally
from mixpanel_export.emulator._updates import Updates


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
        self._limit = options.max_request_bytes
        self._wall = wall
        self._keeper = Gatekeeper(options, wall)
        self._rate = RateWindow(
            max_events=options.max_events_per_minute,
            max_bytes=_facts.RATE_BYTES,
            window=options.rate_window,
            clock=monotonic,
        )
        store = Store(options.db, max_stored=options.max_stored)
        self._simplified = options.identity == "simplified"
        reader = Reader(store, simplified=self._simplified)
        self.books = Books(
            store,
            Tally(wall, Pulse(monotonic), store),
            Pulse(monotonic),
            reader,
            Catalogue(store, reader),
        )
        self.epoch = int(wall() * 1000)
        self._intake = Intake(self.books, self._keeper, options, clock=wall)
        self._updates = Updates(self.books, self._keeper, clock=wall)
        self._doors = {
            "/import": self._import,
            "/track": self._track,
            "/engage": self._update_users,
            "/groups": self._update_groups,
        }

    def answer(self, arrival: Arrival) -> Answer:
        """Process a request to one of the four endpoints."""
        try:
            return self._doors[arrival.path](arrival)
        except RecursionError:
            # Hundreds of levels of nesting, which the parser reads and nothing else can walk.
            return self._refuse(arrival, 400, _facts.NOT_JSON)

    def export(
        self, authorization: str | None, parameters: Mapping[str, str]
    ) -> Answer | Iterator[str]:
        """Return the lines of an export, or why there are none."""
        refused = self._keeper.refusal_to_export(authorization, parameters.get("project_id"))
        if refused:
            return refusal(401, refused)
        try:
            query = read_query(parameters)
        except ValueError as error:
            return refusal(400, str(error))
        return exported(self.books.store, query, simplified=self._simplified)

    def reset(self) -> None:
        """Forget everything."""
        self.books.reset()
        self._intake.reset()
        self._rate.reset()
        self.epoch = max(self.epoch + 1, int(self._wall() * 1000))

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
            if arrival.is_form:
                return self._refuse_legacy(arrival, str(error))
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
            self.books.tally.vanish(arrival.path, _facts.NO_CREDENTIALS, compact(record))
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
        verdict = self._intake.take(arrival, parcel, Mode.STRICT if strict else Mode.LENIENT)
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
        verdict = self._intake.take(arrival, parcel, Mode.TRACK)
        return legacy_verdict(verdict.error, parcel.query)

    def _update_users(self, arrival: Arrival) -> Answer:
        return self._update(arrival, group=False)

    def _update_groups(self, arrival: Arrival) -> Answer:
        return self._update(arrival, group=True)

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
        # Guess: one bad update is reported though the others took effect.
        error = self._updates.apply(arrival, parcel, group=group)
        return legacy_verdict(error, parcel.query)

    # -- refusals of whole requests --------------------------------------------------------------

    def _refuse(self, arrival: Arrival, status: int, error: str) -> Answer:
        self._pin(arrival, status, error)
        return refusal(status, error)

    def _refuse_legacy(self, arrival: Arrival, error: str, *, status: int = 200) -> Answer:
        self._pin(arrival, status, error)
        told = legacy_verdict(error, parameters(arrival, limit=self._limit))
        return Answer(status, told.body, told.content_type)

    def _pin(self, arrival: Arrival, status: int, error: str) -> None:
        failure = Failure("refused", arrival.path, str(status), error)
        # One more tells that it goes on.
        self.books.tally.pin(failure, beginning(arrival, length=MAX_SAMPLE + 1))

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
            return self._refuse_legacy(arrival, _facts.RATE_LIMITED, status=429)
        return self._refuse(arrival, 429, _facts.RATE_LIMITED)
