"""
Attempts, waits and splitting.
"""

from __future__ import annotations

import pytest

from mixpanel_export._batch import Batch
from mixpanel_export._clock import Deadline
from mixpanel_export._exceptions import TransportError
from mixpanel_export._outcome import Delivered, Misconfigured, Refused, Rejection, Retryable
from mixpanel_export._sender import MAX_BISECTIONS, Sender, Shipment
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
    Allow all the time there is.
    """
    return Deadline(clock, None)


def test_a_valid_batch_is_delivered(clock: FakeClock) -> None:
    """
    One request, and everything is settled.
    """
    transport = ScriptedTransport()

    attempt = sender_with(transport, clock).attempt(Shipment(batch_of(3)), no_limit(clock))

    assert attempt.outcome == Delivered(imported=3)
    assert (attempt.delivered, attempt.rejections, attempt.again) == (3, (), ())
    assert len(transport.requests) == 1


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
    assert (again.failures, again.due) == (1, 2.0)


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


def test_a_closed_idle_connection_is_tried_again_at_once(clock: FakeClock) -> None:
    """
    A reset on a connection that had served before says nothing about the server.
    """
    transport = ScriptedTransport(TransportError("reset", stale=True))

    attempt = sender_with(transport, clock).attempt(Shipment(batch_of(1)), no_limit(clock))

    assert attempt.delivered == 1
    assert len(transport.requests) == 2
    assert clock.monotonic() == 0.0


def test_a_second_reset_waits(clock: FakeClock) -> None:
    """
    Only one retry is immediate.
    """
    stale = TransportError("reset", stale=True)
    transport = ScriptedTransport(stale, stale)

    attempt = sender_with(transport, clock).attempt(Shipment(batch_of(1)), no_limit(clock))

    assert attempt.outcome == Retryable("reset")
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


def test_too_large_a_request_is_halved(clock: FakeClock) -> None:
    """
    After 413 both halves are due at once; a line alone is given up as rejected.
    """
    sender = sender_with(ScriptedTransport(413, 413), clock)

    many = sender.attempt(Shipment(batch_of(5), ordinal=7), no_limit(clock))
    one = sender.attempt(Shipment(batch_of(1)), no_limit(clock))

    assert [each.batch.lines() for each in many.again] == [
        batch_of(5).lines()[:2],
        batch_of(5).lines()[2:],
    ]
    assert all(each.due == 0.0 and each.ordinal == 7 for each in many.again)
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
    A batch of nothing but bad lines takes at most 64 requests more; every line is accounted for.
    """
    transport = Spoiled(*range(2_000))
    sender = Sender(SETTINGS, transport, clock=clock, random=lambda: 0.5)

    attempts, left = sender.send(batch_of(2_000), no_limit(clock))

    assert len(transport.requests) <= MAX_BISECTIONS + 1
    assert sum(len(attempt.rejections) for attempt in attempts) == 2_000
    assert isinstance(attempts[0].outcome, Refused)
    assert left == []


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
    The transport is told the shorter of `timeout` and what is left.
    """
    seen: list[float] = []

    class Watching(ScriptedTransport):
        def send(self, request: Request, deadline: Deadline) -> Response:
            seen.append(deadline.left())
            return super().send(request, deadline)

    sender = sender_with(Watching(), clock, Settings(token="t", timeout=15.0))

    sender.attempt(Shipment(batch_of(1)), no_limit(clock))
    sender.attempt(Shipment(batch_of(1)), Deadline(clock, 2.0))

    assert seen == [15.0, 2.0]


def test_close_closes_the_transport(clock: FakeClock) -> None:
    """
    The connections go when the sender goes.
    """
    transport = ScriptedTransport()

    sender_with(transport, clock).close()

    assert transport.closed == 1
