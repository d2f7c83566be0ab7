"""
Attempts, waits and splitting.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from urllib.parse import urlsplit

import pytest

from mixpanel_export._batch import Batch, Lane
from mixpanel_export._clock import Deadline
from mixpanel_export._exceptions import TransportError
from mixpanel_export._limits import MAX_TRACK_AGE_MS
from mixpanel_export._outcome import (
    Delivered,
    Misconfigured,
    Refused,
    Rejection,
    Retryable,
    TooLarge,
)
from mixpanel_export._sender import MAX_BISECTIONS, Attempt, Sender, Shipment
from mixpanel_export._settings import Settings
from mixpanel_export._wire import Request, Response
from mixpanel_export.testing import FakeClock, ScriptedTransport, lines_of

SETTINGS = Settings(token="t", jitter=0.0)
REFUSAL = Response(400, b'{"code":400,"error":"malformed","status":"Bad Request"}')


def batch_of(count: int) -> Batch:
    """
    Seal so many lines, each different.
    """
    return Batch.of([b'{"n":%d}' % number for number in range(count)])


def sender_with(
    transport: ScriptedTransport, clock: FakeClock, settings: Settings = SETTINGS
) -> Sender:
    """
    Make a sender without surprises.
    """
    return Sender(settings, transport, clock=clock, random=lambda: 0.5)


@pytest.fixture
def clock() -> FakeClock:
    """
    Start a clock.
    """
    return FakeClock()


def no_limit(clock: FakeClock) -> Deadline:
    """
    Allow a day: no more than enough, so that a sender that never ends fails.
    """
    return Deadline(clock, 86_400.0)


def test_a_valid_batch_is_delivered(clock: FakeClock) -> None:
    """
    One request, and everything is settled.
    """
    transport = ScriptedTransport()

    attempt = sender_with(transport, clock).attempt(Shipment(batch_of(3)), no_limit(clock))

    assert attempt.outcome == Delivered(imported=3)
    assert (attempt.delivered, attempt.rejections, attempt.again) == (3, (), ())
    assert attempt.requests == len(transport.requests) == 1


def test_rejected_records_are_final(clock: FakeClock) -> None:
    """
    Records the server names as invalid are not sent again; the others were imported.
    """
    transport = ScriptedTransport(
        Response(
            400,
            b'{"code":400,"status":"Bad Request","num_records_imported":2,"failed_records":'
            b'[{"index":1,"insert_id":"","field":"properties.time","message":"in the future"}]}',
        )
    )

    attempt = sender_with(transport, clock).attempt(Shipment(batch_of(3)), no_limit(clock))

    assert attempt.delivered == 2
    assert attempt.rejections == (Rejection(b'{"n":1}', "properties.time", "in the future"),)
    assert attempt.again == ()


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_the_same_bytes_go_again_later(clock: FakeClock, status: int) -> None:
    """
    After "not now" the same batch is due again, after Mixpanel's first wait.
    """
    batch = batch_of(2)
    transport = ScriptedTransport(status)

    attempt = sender_with(transport, clock).attempt(Shipment(batch), no_limit(clock))

    (again,) = attempt.again
    assert isinstance(attempt.outcome, Retryable)
    assert again.batch is batch
    assert (again.failures, again.due, attempt.pause) == (1, 2.0, 2.0)


def test_the_wait_doubles_up_to_a_minute(clock: FakeClock) -> None:
    """
    2 s, 4 s, … 60 s, as Mixpanel asks.
    """
    sender = sender_with(ScriptedTransport(), clock)

    waits = [sender.backoff(failures) for failures in range(7)]

    assert waits == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert sender.backoff(10_000) == 60.0


def test_the_jitter_lies_between_one_and_five_seconds(clock: FakeClock) -> None:
    """
    Each wait gets an extra from a fifth of the jitter to all of it.
    """
    settings = Settings(token="t")
    least, most = (
        Sender(settings, ScriptedTransport(), clock=clock, random=random)
        for random in (lambda: 0.0, lambda: 1.0)
    )

    waits = least.backoff(0), most.backoff(0)

    assert waits == (3.0, 7.0)


def test_the_longest_wait_is_not_always_a_minute(clock: FakeClock) -> None:
    """
    Who came back in step with Mixpanel's rolling minute could miss what is free of it each time.
    """
    settings = Settings(token="t")
    whole, half = (
        Sender(settings, ScriptedTransport(), clock=clock, random=random)
        for random in (lambda: 0.0, lambda: 1.0)
    )

    waits = whole.backoff(5), half.backoff(5), half.backoff(4)

    assert waits == (61.0, 35.0, 37.0)


def test_what_the_server_asks_for_is_a_floor(clock: FakeClock) -> None:
    """
    ``Retry-After`` lengthens the wait, also beyond `backoff_max`, and never shortens it.
    """
    sender = sender_with(
        ScriptedTransport(
            Response(429, headers={"retry-after": "90"}),
            Response(429, headers={"retry-after": "0"}),
        ),
        clock,
    )

    long, short = (sender.attempt(Shipment(batch_of(1)), no_limit(clock)) for _ in range(2))

    assert [each.again[0].due for each in (long, short)] == [90.0, 2.0]


def test_the_server_may_name_a_moment(clock: FakeClock) -> None:
    """
    ``Retry-After`` as a date is seen from the wall clock of the attempt.
    """
    moment = datetime.fromtimestamp(clock.wall(), timezone.utc) + timedelta(seconds=90)
    answer = Response(503, headers={"retry-after": format_datetime(moment, usegmt=True)})
    clock.advance(10.0)

    attempt = sender_with(ScriptedTransport(answer), clock).attempt(
        Shipment(batch_of(1)), no_limit(clock)
    )

    assert attempt.pause == 80.0


def test_a_closed_idle_connection_is_tried_again_at_once(clock: FakeClock) -> None:
    """
    A reset on a connection that had served before says nothing about the server.
    """
    transport = ScriptedTransport(TransportError("reset", stale=True))

    attempt = sender_with(transport, clock).attempt(Shipment(batch_of(1)), no_limit(clock))

    assert attempt.delivered == 1
    assert attempt.requests == len(transport.requests) == 2
    assert clock.monotonic() == 0.0


def test_a_second_reset_waits(clock: FakeClock) -> None:
    """
    Only one retry is immediate.
    """
    stale = TransportError("reset", stale=True)
    transport = ScriptedTransport(stale, stale)

    attempt = sender_with(transport, clock).attempt(Shipment(batch_of(1)), no_limit(clock))

    assert attempt.outcome == Retryable("reset")
    assert attempt.requests == 2
    assert attempt.again[0].due == 2.0


@pytest.mark.parametrize("sent", [True, False])
def test_no_answer_is_an_outcome(clock: FakeClock, *, sent: bool) -> None:
    """
    It is remembered whether the request may have been applied.
    """
    transport = ScriptedTransport(TransportError("refused", sent=sent))

    attempt = sender_with(transport, clock).attempt(Shipment(batch_of(1)), no_limit(clock))

    assert attempt.outcome == Retryable("refused", applied=sent)


def test_a_broken_transport_costs_nothing(clock: FakeClock) -> None:
    """
    Whatever somebody's transport raises, the batch is kept.
    """
    transport = ScriptedTransport(ZeroDivisionError("oops"))

    attempt = sender_with(transport, clock).attempt(Shipment(batch_of(1)), no_limit(clock))

    assert attempt.outcome == Retryable("ZeroDivisionError: oops")
    assert len(attempt.again) == 1


def test_a_wrong_token_is_probed_slowly(clock: FakeClock) -> None:
    """
    With wrong credentials the events are kept and tried once in a while.
    """
    transport = ScriptedTransport(Response(401, b'{"error":"Invalid credentials","status":"x"}'))

    attempt = sender_with(transport, clock).attempt(Shipment(batch_of(1)), no_limit(clock))

    assert attempt.outcome == Misconfigured(401, "Invalid credentials")
    assert attempt.again[0].due == 60.0


def test_probes_of_wrong_credentials_do_not_come_together(clock: FakeClock) -> None:
    """
    The longest wait gets its jitter like every other.
    """
    settings = Settings(token="t", backoff_max=60.0, jitter=5.0)

    attempt = sender_with(ScriptedTransport(401), clock, settings).attempt(
        Shipment(batch_of(1)), no_limit(clock)
    )

    assert attempt.pause == attempt.again[0].due == 63.0


def test_too_large_a_request_is_halved(clock: FakeClock) -> None:
    """
    After 413 both halves are due at once; a line alone is given up as rejected.
    """
    sender = sender_with(ScriptedTransport(413, 413), clock)

    many = sender.attempt(Shipment(batch_of(5), ordinal=7, failures=3), no_limit(clock))
    one = sender.attempt(Shipment(batch_of(1)), no_limit(clock))

    assert [each.batch.lines() for each in many.again] == [
        batch_of(5).lines()[:2],
        batch_of(5).lines()[2:],
    ]
    assert [(each.due, each.ordinal, each.failures) for each in many.again] == [(0.0, 7, 0)] * 2
    assert many.outcome == one.outcome == TooLarge()
    assert one.rejections == (Rejection(b'{"n":0}', "", "the request is too large"),)


class Spoiled:
    """Answers as a server that refuses every request that holds one of the bad lines."""

    def __init__(self, *bad: int) -> None:
        self.bad = {b'{"n":%d}' % number for number in bad}
        self.requests: list[Request] = []
        self.imported: list[bytes] = []

    def send(self, request: Request, deadline: Deadline) -> Response:
        assert not deadline.passed
        self.requests.append(request)
        lines = lines_of(request)
        if self.bad.intersection(lines):
            return REFUSAL
        self.imported += lines
        return Response(200, b'{"code":200,"status":"OK"}')

    def close(self) -> None:
        """Have nothing to close."""


def test_one_bad_line_costs_one_line(clock: FakeClock) -> None:
    """
    A refusal that names no record is searched for by halving.
    """
    transport = Spoiled(1_234)
    sender = Sender(SETTINGS, transport, clock=clock, random=lambda: 0.5)

    attempts, left = sender.send(batch_of(2_000), no_limit(clock))

    rejections = [each for attempt in attempts for each in attempt.rejections]
    assert rejections == [Rejection(b'{"n":1234}', "", "malformed")]
    assert len(transport.imported) == 1_999
    assert len(transport.requests) <= 2 * 11 + 1
    assert left == []


def test_the_search_is_bounded(clock: FakeClock) -> None:
    """
    A batch of nothing but bad lines takes 64 requests more, no less; every line is accounted for.
    """
    transport = Spoiled(*range(2_000))
    sender = Sender(SETTINGS, transport, clock=clock, random=lambda: 0.5)

    attempts, left = sender.send(batch_of(2_000), no_limit(clock))

    assert len(transport.requests) == MAX_BISECTIONS + 1
    assert sum(len(attempt.rejections) for attempt in attempts) == 2_000
    assert isinstance(attempts[0].outcome, Refused)
    assert left == []


def test_a_search_survives_a_request_that_is_too_large(clock: FakeClock) -> None:
    """
    A 413 in the middle of a search neither ends nor renews what the search may take.
    """
    sender = sender_with(ScriptedTransport(REFUSAL, 413), clock)
    refused = sender.attempt(Shipment(batch_of(8)), no_limit(clock))

    split = sender.attempt(refused.again[0], no_limit(clock))

    searches = [each.search for each in (*refused.again, *split.again)]
    assert searches[0] is not None
    assert all(search is searches[0] for search in searches)
    assert searches[0].left == MAX_BISECTIONS - 4


def update_of(count: int) -> Batch:
    """
    Seal so many lines that must not be applied twice.
    """
    lines = [b'{"$add":{"n":%d}}' % number for number in range(count)]
    return Batch.of(lines, lane=Lane.ENGAGE, repeatable=False)


def test_increments_of_unknown_fate_are_abandoned(clock: FakeClock) -> None:
    """
    They may have been applied, so they are not sent again; the wait is as long as for others.
    """
    transport = ScriptedTransport(500)

    attempt = sender_with(transport, clock).attempt(Shipment(update_of(3)), no_limit(clock))

    assert attempt == Attempt(Retryable("status 500", status=500), abandoned=3, pause=2.0)


def test_increments_that_were_not_applied_go_again(clock: FakeClock) -> None:
    """
    Where it is certain that the server did nothing, they are like all else.
    """
    transport = ScriptedTransport(TransportError("refused", sent=False))

    attempt = sender_with(transport, clock).attempt(Shipment(update_of(3)), no_limit(clock))

    assert attempt.abandoned == 0
    assert [each.batch.count for each in attempt.again] == [3]


def test_increments_do_not_go_again_at_once(clock: FakeClock) -> None:
    """
    A connection that was closed may have carried them.
    """
    transport = ScriptedTransport(TransportError("reset", stale=True))

    attempt = sender_with(transport, clock).attempt(Shipment(update_of(3)), no_limit(clock))

    assert (attempt.abandoned, attempt.requests) == (3, 1)


def test_refused_increments_are_searched_only_alone(clock: FakeClock) -> None:
    """
    One alone is rejected for certain; of several some may have been applied.
    """
    sender = sender_with(ScriptedTransport(*[REFUSAL] * 3), clock)

    one, two, many = (
        sender.attempt(Shipment(update_of(count)), no_limit(clock)) for count in (1, 2, 5)
    )

    refused = Refused(400, "malformed")
    assert one == Attempt(refused, rejections=(Rejection(b'{"$add":{"n":0}}', "", "malformed"),))
    assert two == Attempt(refused, abandoned=2)
    assert many == Attempt(refused, abandoned=5)


def tracked(*ages_ms: int) -> Batch:
    """
    Seal events for /track, each so many milliseconds old.
    """
    now_ms = round(FakeClock().wall() * 1000)
    lines = [b'{"event":"A","properties":{"time":%d}}' % (now_ms - age) for age in ages_ms]
    return Batch.of(lines, lane=Lane.TRACK)


def test_recent_events_are_tracked(clock: FakeClock) -> None:
    """
    Up to the last millisecond that /track takes, a batch goes there as it is.
    """
    transport = ScriptedTransport()

    attempt = sender_with(transport, clock).attempt(
        Shipment(tracked(0, MAX_TRACK_AGE_MS)), no_limit(clock)
    )

    assert attempt.delivered == 2
    assert [urlsplit(request.url).path for request in transport.requests] == ["/track"]


def test_events_too_old_to_be_tracked_are_imported(clock: FakeClock) -> None:
    """
    What grew old while it waited changes its lane, without a request, and keeps all else.
    """
    transport = ScriptedTransport()
    batch = tracked(0, MAX_TRACK_AGE_MS + 1, MAX_TRACK_AGE_MS)
    first, second, third = batch.lines()
    shipment = Shipment(batch, ordinal=7, failures=2)

    attempt = sender_with(transport, clock).attempt(shipment, no_limit(clock))

    assert (attempt.outcome, attempt.requests, transport.requests) == (None, 0, [])
    assert [(each.batch.lane, each.batch.lines()) for each in attempt.again] == [
        (Lane.TRACK, [first, third]),
        (Lane.IMPORT, [second]),
    ]
    assert {(each.ordinal, each.failures) for each in attempt.again} == {(7, 2)}


def test_only_tracked_events_grow_too_old(clock: FakeClock) -> None:
    """
    /import takes events of any age.
    """
    lines = tracked(2 * MAX_TRACK_AGE_MS, 0).lines()

    attempt = sender_with(ScriptedTransport(), clock).attempt(
        Shipment(Batch.of(lines)), no_limit(clock)
    )

    assert attempt.delivered == 2


def test_send_waits_and_tries_again(clock: FakeClock) -> None:
    """
    Alone, a sender waits out the delays on its clock.
    """
    transport = ScriptedTransport(503, 503)

    attempts, left = sender_with(transport, clock).send(batch_of(2), no_limit(clock))

    assert [type(each.outcome) for each in attempts] == [Retryable, Retryable, Delivered]
    assert clock.monotonic() == 6.0
    assert len({request.body for request in transport.requests}) == 1
    assert left == []


def test_send_waits_for_moments_too(clock: FakeClock) -> None:
    """
    A wait of less than a second is waited out like every other.
    """
    settings = Settings(token="t", backoff_initial=0.25, jitter=0.0)

    attempts, _ = sender_with(ScriptedTransport(503, 503), clock, settings).send(
        batch_of(2), no_limit(clock)
    )

    assert [each.pause for each in attempts] == [0.25, 0.5, 0.0]
    assert clock.monotonic() == 0.75


def test_send_gives_back_what_was_not_sent_in_time(clock: FakeClock) -> None:
    """
    At the deadline the rest is the caller's again.
    """
    transport = ScriptedTransport(*[503] * 10)
    batch = batch_of(2)

    attempts, left = sender_with(transport, clock).send(batch, Deadline(clock, 3.0))

    assert len(attempts) == 2
    assert clock.monotonic() == 3.0
    assert left == [batch]


def test_an_attempt_is_held_to_its_time(clock: FakeClock) -> None:
    """
    The transport is told the shorter of `timeout` and what is left, the second time too.
    """
    seen: list[float] = []

    class Watching(ScriptedTransport):
        def send(self, request: Request, deadline: Deadline) -> Response:
            seen.append(deadline.left())
            return super().send(request, deadline)

    transport = Watching(200, TransportError("reset", stale=True))
    sender = sender_with(transport, clock, Settings(token="t", timeout=15.0))

    sender.attempt(Shipment(batch_of(1)), no_limit(clock))
    sender.attempt(Shipment(batch_of(1)), Deadline(clock, 2.0))

    assert seen == [15.0, 2.0, 2.0]


def test_close_closes_the_transport(clock: FakeClock) -> None:
    """
    The connections go when the sender goes.
    """
    transport = ScriptedTransport()

    sender_with(transport, clock).close()

    assert transport.closed == 1


def test_what_a_server_repeats_is_masked(clock: FakeClock) -> None:
    """
    Its words are logged, and ours must not be among them.
    """
    token = "0123456789abcdef"
    echo = Response(401, b'{"error":"unknown token %s","status":0}' % token.encode())
    transport = ScriptedTransport(echo, ValueError(f"cannot send {token}"))
    sender = sender_with(transport, clock, Settings(token=token))

    refused, failed = [
        sender.attempt(Shipment(batch_of(1)), Deadline(clock, 5.0)) for _ in range(2)
    ]

    assert refused.outcome == Misconfigured(401, "unknown token ***")
    assert isinstance(failed.outcome, Retryable)
    assert failed.outcome.reason == "ValueError: cannot send ***"


def test_what_is_masked_is_as_long_as_a_secret(clock: FakeClock) -> None:
    """
    Eight characters are; and what was said need not be text that can be encoded.
    """
    transport = ScriptedTransport(ValueError("12345678 1234567 \ud800"))

    attempt = sender_with(
        transport, clock, Settings(token="12345678", api_secret="1234567")
    ).attempt(Shipment(batch_of(1)), Deadline(clock, 5.0))

    assert isinstance(attempt.outcome, Retryable)
    assert attempt.outcome.reason == "ValueError: *** 1234567 ?"
