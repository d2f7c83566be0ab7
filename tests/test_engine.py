"""
The state of one pipeline, driven step by step on a fake clock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from mixpanel_export._batch import Batch, Lane
from mixpanel_export._circuit import FAILURES as CIRCUIT_FAILURES
from mixpanel_export._clock import Deadline
from mixpanel_export._engine import FIRST_WAIT, Engine, Mark
from mixpanel_export._exceptions import TransportError
from mixpanel_export._notice import Notices
from mixpanel_export._sender import Attempt, Sender, Shipment
from mixpanel_export._settings import Settings
from mixpanel_export._update import Aside
from mixpanel_export._wire import Request, Response
from mixpanel_export.testing import FakeClock, ScriptedTransport, lines_of

PARTIAL = Response(
    400,
    b'{"code":400,"status":"Bad Request","failed_records":[{"index":0,"field":"f","message":"m"}]}',
)
WRONG_TOKEN = Response(401, b'{"code":401,"error":"Invalid credentials","status":"Unauthorized"}')


class Bench:
    """An engine with everything around it, and the steps that the threads would make."""

    def __init__(self, *answers: Response | Exception | int, **fields: object) -> None:
        given = {"token": "t", "jitter": 0.0, "batch_events": 10, **fields}
        self.settings = Settings(**given)  # type: ignore[arg-type] # fields by name, as tests give
        self.clock = FakeClock()
        self.transport = ScriptedTransport(*answers)
        self.sender = Sender(self.settings, self.transport, clock=self.clock, random=lambda: 0.5)
        self.rings = 0
        self.notices = Notices(self.clock)
        self.engine = Engine(self.settings, clock=self.clock, notices=self.notices, ring=self.ring)
        self.put_so_far = 0

    def ring(self) -> None:
        self.rings += 1

    def put(self, count: int = 1, size: int = 20) -> int:
        """
        Put *count* lines of *size* bytes, each different; return how many were accepted.
        """
        accepted = 0
        for _ in range(count):
            self.put_so_far += 1
            accepted += self.engine.queue.put(b'{"n":%d}'.ljust(size) % self.put_so_far)
        self.check()
        return accepted

    def pack(self) -> int:
        """
        Seal what is due; return how many batches that were.
        """
        packed = 0
        while self.engine.pack():
            packed += 1
        self.check()
        return packed

    def send(self) -> Attempt | None:
        """
        Send one batch if one may be sent.
        """
        shipment = self.engine.next()
        if shipment is None:
            return None
        return self.finish(shipment)

    def finish(self, shipment: Shipment) -> Attempt:
        """
        Make the attempt for a shipment in flight.
        """
        attempt = self.sender.attempt(shipment, Deadline(self.clock, None))
        self.engine.settle(shipment, attempt)
        self.check()
        return attempt

    def run(self, seconds: float = 1_000.0) -> None:
        """
        Do whatever becomes due within *seconds*.
        """
        end = self.clock.monotonic() + seconds
        while self.clock.monotonic() < end:
            self.pack()
            while self.send():
                pass
            pause = self.engine.wait()
            if pause is None:
                return
            self.clock.advance(min(pause, end - self.clock.monotonic()))

    def check(self) -> None:
        """
        Assert the law of the ledger.
        """
        stats = self.engine.stats
        final = stats.delivered + stats.rejected + stats.evicted + stats.expired + stats.abandoned
        assert stats.accepted + stats.adopted == final + stats.queued


def test_without_a_spool_nothing_is_on_disk() -> None:
    """
    Nobody has to look after what is not there.
    """
    assert Bench().engine.spool is None


def test_a_single_event_leaves_soon() -> None:
    """
    The first event of an idle pipeline waits a quarter of a second for company.
    """
    bench = Bench()
    bench.put()

    at_once = bench.pack()
    pause = bench.engine.wait()
    bench.clock.advance(FIRST_WAIT)

    assert (at_once, pause) == (0, FIRST_WAIT)
    assert bench.pack() == 1


def test_a_trickle_leaves_every_interval() -> None:
    """
    After a batch the next one leaves `flush_interval` later, not sooner.
    """
    bench = Bench()
    bench.put()
    bench.run(2 * FIRST_WAIT)

    bench.put()
    packed = bench.pack()
    pause = bench.engine.wait()

    assert bench.engine.stats.delivered == 1
    assert packed == 0
    assert pause == bench.settings.flush_interval


def test_a_full_batch_leaves_at_once() -> None:
    """
    As many events as a batch takes wait for nothing.
    """
    bench = Bench()
    bench.put(25)

    packed = bench.pack()

    assert packed == 2
    assert bench.engine.sendable == 2


def test_a_shorter_interval_shortens_the_first_wait() -> None:
    """
    With ``flush_interval=0`` nothing waits for company.
    """
    bench = Bench(flush_interval=0.0)
    bench.put()

    assert bench.pack() == 1


def test_looking_for_nothing_delays_nothing() -> None:
    """
    The next event waits for company as long as the first, however often nothing was there.
    """
    bench = Bench()
    bench.put()
    bench.run()
    bench.clock.advance(100.0)

    looked = bench.pack()
    bench.put()
    bench.pack()

    assert looked == 0
    assert bench.engine.wait() == FIRST_WAIT


def test_partial_batches_wait_while_others_are_stuck() -> None:
    """
    What could not be sent anyway is left to grow.
    """
    bench = Bench()
    bench.put(10)
    bench.pack()
    bench.put(3)
    bench.clock.advance(100.0)

    packed = bench.pack()

    assert packed == 0
    assert bench.engine.sendable == 1


def test_the_ledger_of_a_good_day() -> None:
    """
    All that was accepted is delivered.
    """
    bench = Bench()
    bench.put(25)

    bench.run()

    stats = bench.engine.stats
    assert (stats.accepted, stats.delivered, stats.queued) == (25, 25, 0)
    assert (stats.requests, stats.retries, stats.queued_bytes) == (3, 0, 0)
    assert stats.oldest_age == 0.0


def test_rejected_events_are_counted_once() -> None:
    """
    What Mixpanel rejects is final, the rest of its batch delivered.
    """
    bench = Bench(PARTIAL)
    bench.put(10)

    bench.run()

    stats = bench.engine.stats
    assert (stats.delivered, stats.rejected, stats.queued) == (9, 1, 0)


def test_the_ledger_shows_what_waits_and_what_was_not_taken() -> None:
    """
    Events and bytes that are held, from the first moment on, and records that are no events.
    """
    bench = Bench()
    bench.put(3, size=101)
    bench.engine.ignored.bump()

    stats = bench.engine.stats

    assert (stats.accepted, stats.queued, stats.queued_bytes, stats.ignored) == (3, 3, 300, 1)
    assert stats.dropped == {}


def test_verdicts_add_up() -> None:
    """
    What several answers say is counted together, and in the end nothing is held.
    """
    bench = Bench(PARTIAL, 413, 503, PARTIAL, TransportError("reset", stale=True))
    bench.put(40)

    bench.run()

    stats = bench.engine.stats
    assert (stats.delivered, stats.rejected, stats.queued, stats.queued_bytes) == (38, 2, 0, 0)
    assert (stats.requests, stats.retries) == (len(bench.transport.requests), 2)
    assert not bench.put(size=bench.settings.max_bytes + 1)
    assert bench.put(size=bench.settings.max_bytes)


def test_events_are_compressed_and_updates_are_not() -> None:
    """
    Mixpanel does not take compressed updates; `gzip` says whether it gets compressed events.
    """
    packed, plain = Bench(), Bench(gzip=False)
    for bench in (packed, plain):
        bench.put()
        for aside in (set_plan(1), GROUP, VERB):
            bench.engine.queue.put_aside(aside)
        bench.run()

    compressed = [
        sorted(
            urlsplit(request.url).path
            for request in bench.transport.requests
            if request.headers.get("Content-Encoding") == "gzip"
        )
        for bench in (packed, plain)
    ]

    assert compressed == [["/import", "/import"], []]


def test_a_failed_batch_is_sent_again_byte_for_byte() -> None:
    """
    Every attempt carries the same bytes.
    """
    bench = Bench(503, 503)
    bench.put(10)

    bench.run()

    assert bench.engine.stats.delivered == 10
    assert bench.engine.stats.retries == 2
    assert len({request.body for request in bench.transport.requests}) == 1


def test_what_is_in_flight_is_counted_in_events() -> None:
    """
    From the request to its answer.
    """
    bench = Bench()
    bench.put(15)
    bench.engine.want(bench.engine.mark())
    bench.pack()
    flying = [bench.engine.next(), bench.engine.next()]
    before = bench.engine.in_flight

    for shipment in flying:
        assert shipment is not None
        bench.finish(shipment)

    assert (before, bench.engine.in_flight) == (15, 0)


def test_other_batches_pass_one_that_waits() -> None:
    """
    A batch that waits for its retry does not hold up the next one.
    """
    bench = Bench(503)
    bench.put(20)
    bench.pack()

    bench.send()
    second = bench.send()

    assert second is not None
    assert second.delivered == 10
    assert bench.engine.stats.queued == 10


def test_a_pause_asked_of_one_holds_for_all() -> None:
    """
    After ``Retry-After`` no connection sends until then.
    """
    bench = Bench(Response(429, headers={"retry-after": "30"}))
    bench.put(20)
    bench.pack()

    bench.send()
    meanwhile = bench.send()
    pause = bench.engine.wait()
    bench.run()

    assert meanwhile is None
    assert pause == 30.0
    assert bench.engine.stats.delivered == 20


def test_the_circuit_opens_after_failures_in_a_row() -> None:
    """
    Then a single request at a time probes, with growing waits.
    """
    bench = Bench(*[503] * 10)
    bench.put(50)
    bench.pack()
    for _ in range(CIRCUIT_FAILURES):
        bench.send()

    health = bench.engine.health
    blocked = bench.send()
    pause = bench.engine.wait()

    assert (health.ok, health.circuit, health.reason) == (False, "open", "status 503")
    assert blocked is None
    assert pause is not None
    assert bench.engine.sendable == 0


def test_an_open_circuit_probes_alone() -> None:
    """
    While one probe is under way nothing else is sent.
    """
    bench = Bench(*[503] * CIRCUIT_FAILURES)
    bench.put(50)
    bench.pack()
    for _ in range(CIRCUIT_FAILURES):
        bench.send()
    bench.clock.advance(100.0)

    allowed = bench.engine.sendable
    probe = bench.engine.next()
    second = bench.engine.next()

    assert allowed == 1
    assert probe is not None
    assert second is None
    assert bench.engine.sendable == 0


def test_health_is_good_until_the_first_failure() -> None:
    """
    One failure in a row is enough to say so, and one verdict ends it.
    """
    bench = Bench(503)
    bench.put(20)
    bench.pack()
    seen = [bench.engine.health.ok]

    for _ in range(2):
        bench.send()
        seen.append(bench.engine.health.ok)

    assert seen == [True, False, True]


def test_the_first_success_brings_full_speed() -> None:
    """
    Once a probe is answered, everything that waited may go at once.
    """
    bench = Bench(*[503] * CIRCUIT_FAILURES)
    bench.put(50)
    bench.pack()
    for _ in range(CIRCUIT_FAILURES):
        bench.send()
    bench.clock.advance(8.0)

    bench.send()

    assert bench.engine.health.circuit == "closed"
    assert bench.engine.sendable == 4
    assert bench.engine.health.last_success_age == 0.0


def test_failures_at_the_same_time_count_as_one() -> None:
    """
    Four connections that break together do not open the circuit.
    """
    bench = Bench(*[503] * 4)
    bench.put(40)
    bench.pack()
    flying = [bench.engine.next() for _ in range(4)]

    for shipment in flying:
        assert shipment is not None
        bench.finish(shipment)

    assert bench.engine.health.circuit == "closed"
    assert bench.engine.stats.retries == 4


def test_a_fresh_probe_waits_as_long_as_an_old_one() -> None:
    """
    The wait of an open circuit grows, whichever batch probes.
    """
    bench = Bench(*[503] * 20)
    bench.put(200)
    bench.pack()

    bench.run(120.0)

    assert len(bench.transport.requests) < 10


def test_wrong_credentials_pause_everything(caplog: pytest.LogCaptureFixture) -> None:
    """
    Events are kept, one probe a minute goes out, and one line says what to check.
    """
    bench = Bench(WRONG_TOKEN, WRONG_TOKEN)
    bench.put(30)
    bench.pack()

    bench.send()
    health = bench.engine.health
    blocked = bench.send()
    bench.run()

    assert health.circuit == "paused"
    assert "401" in health.reason
    assert blocked is None
    assert (bench.engine.stats.delivered, bench.engine.stats.retries) == (30, 2)
    assert bench.clock.monotonic() >= 120.0
    assert "token" in caplog.messages[0]


def test_with_wrong_credentials_one_batch_at_a_time_asks() -> None:
    """
    Once a minute, however many wait and whichever of them asked before.
    """
    bench = Bench(*[WRONG_TOKEN] * 20)
    bench.put(20)

    bench.run(230.0)

    assert len(bench.transport.requests) == 4


def test_too_large_a_batch_arrives_in_pieces() -> None:
    """
    Halves go next, before what came later, and everything arrives.
    """
    bench = Bench(413)
    bench.put(20)
    bench.pack()

    bench.send()
    lines = bench.transport.lines
    while bench.send():
        pass

    sent = bench.transport.lines[len(lines) :]
    assert bench.engine.stats.delivered == 20
    assert sent[:10] == lines[:10]


def test_newest_events_are_refused_when_it_is_full(caplog: pytest.LogCaptureFixture) -> None:
    """
    With `drop_newest` the queue keeps what it has; the worker says so.
    """
    bench = Bench(max_events=10)

    accepted = bench.put(15)
    for _ in range(5):
        bench.engine.dropped["full"].bump()
    bench.engine.wait()
    bench.engine.wait()

    assert accepted == 10
    assert bench.engine.stats.dropped == {"full": 5}
    assert len(caplog.messages) == 1
    assert "5 events" in caplog.messages[0]


def test_oldest_batches_give_way_when_it_is_full() -> None:
    """
    With `drop_oldest` the newest events are kept, and each evicted one is counted.
    """
    bench = Bench(max_events=40, overflow="drop_oldest")

    for _ in range(10):
        bench.put(10)
        bench.pack()
    bench.run()

    stats = bench.engine.stats
    assert stats.accepted == 100
    assert (stats.evicted, stats.delivered) == (70, 30)
    assert bench.transport.lines[-1].startswith(b'{"n":100}')


def test_parked_batches_give_way_too_and_flying_ones_do_not() -> None:
    """
    The oldest batch that is not in flight goes first, wherever it waits.
    """
    bench = Bench(503, max_events=30, overflow="drop_oldest")
    bench.put(10)
    bench.pack()
    bench.send()
    bench.put(10)
    bench.pack()
    flying = bench.engine.next()

    bench.put(10)
    bench.pack()
    bench.put(10)
    bench.pack()

    assert flying is not None
    assert bench.engine.stats.evicted == 20
    bench.finish(flying)
    assert bench.engine.stats.delivered == 10
    evicted = bench.transport.lines[:10]
    bench.run()
    assert bench.engine.stats.delivered == 20
    assert not set(evicted) & set(bench.transport.lines[10:])


def test_the_oldest_of_several_parked_batches_gives_way() -> None:
    """
    The others keep their turns.
    """
    bench = Bench(503, 503, max_events=30, overflow="drop_oldest")
    bench.put(20)
    bench.pack()
    bench.send()
    bench.send()

    bench.put(10)
    bench.pack()
    bench.run()

    assert bench.engine.stats.evicted == 10
    assert bench.transport.lines[20:] == [
        *bench.transport.lines[20:30],
        *bench.transport.lines[10:20],
    ]
    assert bench.engine.stats.delivered == 20


def test_bytes_make_the_oldest_give_way() -> None:
    """
    The bound in bytes counts what is really held.
    """
    bench = Bench(max_bytes=2_000_000, batch_bytes=1_000_000, overflow="drop_oldest", gzip=False)

    for _ in range(6):
        bench.put(10, size=40_000)
        bench.pack()

    assert bench.engine.stats.evicted == 40
    assert bench.engine.stats.queued_bytes < 1_000_000


@pytest.mark.parametrize(("size", "evicted"), [(999_998, 0), (999_999, 1)])
def test_eviction_leaves_room_for_a_batch_and_no_more(size: int, evicted: int) -> None:
    """
    What is held may fill the bound up to the size of one batch, to the byte.
    """
    bench = Bench(max_bytes=2_000_000, batch_bytes=1_000_000, overflow="drop_oldest", gzip=False)
    bench.engine.queue.put(b"x" * size)
    bench.engine.hurry()

    bench.pack()

    assert bench.engine.stats.evicted == evicted


def test_eviction_spares_what_is_in_flight() -> None:
    """
    If all that is held is under way nothing can give way.
    """
    bench = Bench(max_events=20, overflow="drop_oldest")
    bench.put(10)
    bench.pack()
    bench.engine.next()
    bench.put(10)

    bench.pack()

    assert bench.engine.stats.evicted == 10
    assert bench.engine.stats.queued == 10


def test_wanted_events_are_sealed_at_once() -> None:
    """
    What a flush asks for does not wait for company.
    """
    bench = Bench()
    bench.put(3)

    bench.engine.want(bench.engine.mark())

    assert bench.pack() == 1
    assert not bench.engine.settled(Mark(3, 0))
    bench.send()
    assert bench.engine.settled(Mark(3, 0))


def test_settled_is_about_what_came_before() -> None:
    """
    Later events do not delay the answer, earlier ones that wait for a retry do.
    """
    bench = Bench(503)
    bench.put(10)
    bench.pack()
    bench.put(10)
    bench.pack()

    bench.send()
    bench.send()

    assert not bench.engine.settled(Mark(10, 0))
    bench.clock.advance(10.0)
    bench.send()
    bench.put(5)
    assert bench.engine.settled(Mark(20, 0))


def test_what_comes_after_the_mark_does_not_count() -> None:
    """
    A batch that begins exactly at the mark is a later one, in every lane.
    """
    bench = Bench()
    bench.put(10)
    bench.engine.queue.put_aside(set_plan(1))
    mark = bench.engine.mark()
    bench.engine.hurry()
    bench.run()
    bench.put(10)
    bench.engine.queue.put_aside(set_plan(2))
    bench.pack()

    later = bench.engine.mark()

    assert (mark, later) == (Mark(10, 1), Mark(20, 2))
    assert bench.engine.settled(mark)
    assert not bench.engine.settled(Mark(11, 1))
    assert not bench.engine.settled(Mark(10, 2))


def test_what_waits_for_a_batch_is_not_settled() -> None:
    """
    Neither an event nor an update, whichever of them has left.
    """
    events, updates = Bench(), Bench()
    events.engine.queue.put_aside(set_plan(1))
    events.engine.hurry()
    events.run()
    events.engine.calm()
    events.put()
    updates.put(10)
    updates.run()
    updates.engine.queue.put_aside(set_plan(1))

    settled = [bench.engine.settled(Mark(1, 1)) for bench in (events, updates)]

    assert settled == [False, False]
    assert events.engine.settled(Mark(0, 1))
    assert updates.engine.settled(Mark(10, 0))


def test_idle_means_that_nothing_is_held() -> None:
    """
    Neither a line that waits nor a batch that does, or that is on its way.
    """
    bench = Bench()
    seen = [bench.engine.idle]

    bench.put(10)
    seen.append(bench.engine.idle)
    bench.pack()
    seen.append(bench.engine.idle)
    shipment = bench.engine.next()
    assert shipment is not None
    seen.append(bench.engine.idle)
    bench.finish(shipment)
    seen.append(bench.engine.idle)

    assert seen == [True, False, False, False, True]


def test_a_hurried_engine_tries_what_was_parked() -> None:
    """
    When the time runs out, what waits for a retry gets one more try at once.
    """
    bench = Bench(503)
    bench.put(10)
    bench.pack()
    bench.send()
    bench.put(1)

    bench.engine.hurry()

    assert bench.pack() == 1
    assert bench.engine.sendable == 2


def test_a_hurried_engine_does_not_hammer_a_wrong_address() -> None:
    """
    Misconfigured stays paused, however late it is.
    """
    bench = Bench(WRONG_TOKEN)
    bench.put(10)
    bench.pack()
    bench.send()

    bench.engine.hurry()

    assert bench.engine.sendable == 0


def test_what_is_abandoned_is_counted_once() -> None:
    """
    Waiting, ready, parked and in flight: all of it, and a late answer changes nothing.
    """
    bench = Bench(503)
    bench.put(10)
    bench.pack()
    bench.send()
    bench.put(20)
    bench.pack()
    flying = bench.engine.next()
    bench.put(3)

    lost = bench.engine.abandon()

    assert flying is not None
    assert lost == 33
    assert bench.engine.idle
    bench.finish(flying)
    stats = bench.engine.stats
    assert (stats.abandoned, stats.delivered, stats.queued, stats.queued_bytes) == (33, 0, 0, 0)
    assert bench.engine.abandon() == 0


def test_a_batch_that_is_being_packed_is_abandoned_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Giving up while the worker compresses includes what it compresses, at once and once.
    """
    bench = Bench()
    seal: Callable[..., Batch] = Batch.of
    lost: list[int] = []
    idle: list[bool] = []

    def interrupted(lines: list[bytes], **how: Any) -> Batch:  # noqa: ANN401 -- handed on
        assert not bench.engine.settled(Mark(10, 0))
        idle.append(bench.engine.idle)
        lost.append(bench.engine.abandon())
        idle.append(bench.engine.idle)
        lost.append(bench.engine.abandon())
        return seal(lines, **how)

    monkeypatch.setattr(Batch, "of", interrupted)

    for total in (10, 20, 30):
        bench.put(10)
        bench.pack()

        stats = bench.engine.stats
        assert (stats.abandoned, stats.queued, stats.queued_bytes) == (total, 0, 0)
        assert bench.engine.idle
    assert lost == [10, 0] * 3
    assert idle == [False, True] * 3


def test_a_lost_batch_is_counted() -> None:
    """
    What a bug costs is accounted for, once.
    """
    bench = Bench()
    bench.put(10)
    bench.pack()
    flying = bench.engine.next()
    assert flying is not None

    abandoned = []
    for _ in range(2):
        bench.engine.lose(flying)
        abandoned.append(bench.engine.stats.abandoned)

    assert abandoned == [10, 10]
    assert bench.engine.idle


def test_the_oldest_age_is_that_of_the_oldest() -> None:
    """
    It counts from the moment the worker first saw it, through every retry.
    """
    bench = Bench(503)
    bench.put(10)
    bench.pack()
    bench.clock.advance(1.0)
    bench.send()
    bench.put(1)
    bench.pack()
    bench.clock.advance(1.5)

    age = bench.engine.stats.oldest_age

    assert age == 2.5


def test_what_is_given_up_ages_no_more() -> None:
    """
    Where nothing is held, nothing is old.
    """
    bench = Bench()
    bench.put()
    bench.engine.wait()
    bench.clock.advance(10.0)
    before = bench.engine.stats.oldest_age

    bench.engine.abandon()

    assert (before, bench.engine.stats.oldest_age) == (10.0, 0.0)


def test_waiting_for_company_makes_older() -> None:
    """
    The age of a batch is that of its first event, not of its seal.
    """
    bench = Bench()
    bench.clock.advance(8.0)
    bench.put()
    bench.pack()
    bench.clock.advance(0.125)
    bench.put(9)
    packed = bench.pack()
    bench.clock.advance(1.0)

    age = bench.engine.stats.oldest_age

    assert packed == 1
    assert age == 1.125


def test_nothing_to_do_means_waiting_for_a_ring() -> None:
    """
    An idle engine asks for no timer, and the next line rings.
    """
    bench = Bench()

    pause = bench.engine.wait()
    bench.put()

    assert pause is None
    assert bench.rings == 1


def test_company_does_not_ring_before_the_batch_is_full() -> None:
    """
    Between the first event and the end of its wait only a full batch is news.
    """
    bench = Bench()
    bench.put()
    bench.engine.wait()
    rings = []

    for _ in range(9):
        bench.put()
        rings.append(bench.rings)

    assert rings == [1] * 8 + [2]


def test_what_was_seen_to_be_due_waits_for_a_connection() -> None:
    """
    At the very moment at which it is due it may be sent, and is no reason to look again.
    """
    bench = Bench(503)
    bench.put(10)
    bench.pack()
    bench.send()
    bench.clock.advance(2.0)

    sendable = bench.engine.sendable
    pause = bench.engine.wait()

    assert (sendable, pause) == (1, None)


def test_a_line_that_comes_while_the_queue_is_armed_is_seen() -> None:
    """
    `wait` looks again after arming, so that no line is left behind.
    """
    bench = Bench(flush_interval=0.0)
    bench.put()

    pause = bench.engine.wait()

    assert pause == 0.0


def test_all_connections_busy_means_waiting_for_one() -> None:
    """
    With everything in flight there is no timer: the settlement rings.
    """
    bench = Bench(*[503] * CIRCUIT_FAILURES)
    bench.put(50)
    bench.pack()
    for _ in range(CIRCUIT_FAILURES):
        bench.send()
    bench.clock.advance(100.0)
    bench.engine.next()

    assert bench.engine.wait() is None


def test_trouble_is_told_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """
    An outage is a line a minute, not a line a request.
    """
    bench = Bench(*[TransportError("ConnectError: refused")] * 20)
    bench.put(100)

    bench.run(50.0)

    assert len(caplog.messages) == 1
    assert "refused" in caplog.messages[0]


def test_each_trouble_is_told_in_words_that_help(caplog: pytest.LogCaptureFixture) -> None:
    """
    What is wrong, what becomes of the events, and what to look at; one line each, at once.
    """
    bench = Bench(503, WRONG_TOKEN, PROXY_ERROR, max_events=20, overflow="drop_oldest")
    bench.put(10)
    bench.pack()
    bench.send()
    bench.put(10)
    bench.pack()
    bench.send()
    bench.engine.dropped["full"].bump()
    bench.engine.wait()
    bench.engine.abandon()
    bench.clock.advance(60.0)
    bench.engine.queue.put_aside(add_one(1))
    bench.engine.hurry()
    bench.pack()
    bench.send()

    why = "status 401: Invalid credentials"
    check = "check the token and the region"
    full = "Mixpanel takes them too slowly, or max_events and max_bytes are too small"
    assert caplog.messages == [
        "events cannot be delivered at the moment (status 503); they are kept and sent again",
        f"the queue is full: the oldest events are given up; {full}",
        f"Mixpanel does not take events from here ({why}); {check}; events are kept meanwhile",
        f"the queue is full: 1 events were not accepted so far; {full}",
        "1 updates such as increments may or may not have been applied; they are not sent again",
    ]
    assert list(bench.notices._kinds) == [
        "unreachable",
        "evicted",
        "misconfigured",
        "full",
        "unknown",
    ]


def set_plan(number: int) -> Aside:
    """
    Make the line of a profile update.
    """
    return Aside(Lane.ENGAGE, b'{"$distinct_id":"u","$set":{"n":%d}}' % number, True)


def add_one(number: int) -> Aside:
    """
    Make the line of an increment.
    """
    return Aside(Lane.ENGAGE, b'{"$distinct_id":"u","$add":{"n":%d}}' % number, False)


GROUP = Aside(Lane.GROUPS, b'{"$group_key":"k","$group_id":"g","$set":{}}', True)
VERB = Aside(Lane.IDENTITY, b'{"event":"$merge","properties":{}}', True)
TRACK_OK = Response(200, b'{"error":null,"status":1}')
PROXY_ERROR = Response(502, b"<html>bad gateway</html>")


def lanes_of(bench: Bench) -> list[str]:
    """
    Name the endpoints of the requests so far.
    """
    return [request.url.split("?")[0].rsplit("/", 1)[1] for request in bench.transport.requests]


def test_each_lane_has_its_endpoint() -> None:
    """
    Events, updates of users and of groups, and verbs travel apart.
    """
    bench = Bench()
    bench.put()
    for aside in (set_plan(1), GROUP, VERB):
        bench.engine.queue.put_aside(aside)

    bench.run()

    assert sorted(lanes_of(bench)) == ["engage", "groups", "import", "import"]
    assert bench.engine.stats.delivered == 4


def test_updates_are_sent_in_their_order() -> None:
    """
    A later update never overtakes an earlier one, not even one that waits for its retry.
    """
    bench = Bench(503)
    for number in range(45):
        bench.engine.queue.put_aside(set_plan(number))
    bench.put(10)
    bench.pack()

    bench.send()
    meanwhile = bench.send()
    bench.run()

    assert meanwhile is not None
    assert lanes_of(bench)[:2] == ["engage", "import"]
    sent = [line for line in bench.transport.lines if b"$set" in line]
    numbers = [int(line.split(b'"n":')[1].rstrip(b"}")) for line in sent]
    assert numbers == [*range(10), *range(45)]
    assert bench.engine.stats.delivered == 55


def test_only_the_head_of_a_lane_is_in_flight() -> None:
    """
    The second batch of updates waits for the answer to the first.
    """
    bench = Bench()
    for number in range(15):
        bench.engine.queue.put_aside(set_plan(number))
    bench.engine.want(bench.engine.mark())
    bench.pack()

    first = bench.engine.next()
    second = bench.engine.next()

    assert first is not None
    assert second is None
    assert bench.engine.sendable == 0
    bench.finish(first)
    assert bench.engine.sendable == 1


def test_increments_travel_by_themselves() -> None:
    """
    What may be sent twice is not mixed with what may not, and the order is kept.
    """
    bench = Bench()
    for aside in (set_plan(1), add_one(2), add_one(3), set_plan(4)):
        bench.engine.queue.put_aside(aside)

    bench.run()

    assert [len(lines_of(request)) for request in bench.transport.requests] == [1, 2, 1]


@pytest.mark.parametrize(
    "answer", [PROXY_ERROR, TransportError("read timeout"), TransportError("reset", stale=True)]
)
def test_an_increment_of_unknown_fate_is_abandoned(
    answer: Response | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Sent again it might count twice; it is given up, counted and warned of.
    """
    bench = Bench(answer)
    bench.engine.queue.put_aside(add_one(1))
    bench.engine.queue.put_aside(set_plan(2))

    bench.run()

    stats = bench.engine.stats
    assert (stats.abandoned, stats.delivered, stats.retries) == (1, 1, 0)
    assert len(bench.transport.requests) == 2
    assert ["increments" in message for message in caplog.messages] == [True]


@pytest.mark.parametrize(
    "answer",
    [
        Response(429, b'{"code":429,"error":"rate limits","status":"Too Many Requests"}'),
        TransportError("refused", sent=False),
        413,
    ],
)
def test_an_increment_that_was_certainly_not_applied_is_sent_again(
    answer: Response | Exception | int,
) -> None:
    """
    No connection, or Mixpanel's own word that it did nothing.
    """
    bench = Bench(answer)
    bench.engine.queue.put_aside(add_one(1))
    bench.engine.queue.put_aside(add_one(2))

    bench.run()

    assert bench.engine.stats.delivered == 2


def test_a_refused_increment_alone_is_rejected() -> None:
    """
    One record and "no": that one is at fault. Of several nobody knows which were applied.
    """
    refusal = Response(200, b'{"error":"$add, not a number","status":0}')
    alone, together = Bench(refusal), Bench(refusal)
    alone.engine.queue.put_aside(add_one(1))
    for number in range(3):
        together.engine.queue.put_aside(add_one(number))

    alone.run()
    together.run()

    assert alone.engine.stats.rejected == 1
    assert together.engine.stats.abandoned == 3


def test_many_updates_do_not_wait_for_the_timer() -> None:
    """
    As many as one request takes leave at once.
    """
    bench = Bench()
    for number in range(200):
        bench.engine.queue.put_aside(set_plan(number))

    assert bench.pack() == 1


def test_updates_do_not_wait_for_stuck_events() -> None:
    """
    Behind a backlog of events, updates still leave on time.
    """
    bench = Bench()
    bench.put(20)
    bench.pack()
    bench.engine.queue.put_aside(set_plan(1))
    bench.engine.wait()
    bench.clock.advance(10.0)

    assert bench.pack() == 1


def test_updates_do_not_hold_events_back() -> None:
    """
    When the first wait is over, all that waited leaves: first the updates, then the events.
    """
    bench = Bench()
    bench.put(3)
    bench.engine.queue.put_aside(set_plan(1))
    bench.engine.wait()
    bench.clock.advance(FIRST_WAIT)

    packed = bench.pack()

    assert packed == 2


def test_what_is_left_of_a_full_batch_waits_anew() -> None:
    """
    It has its own interval, however long the batch before it had waited.
    """
    bench = Bench()
    bench.put()
    bench.engine.wait()
    bench.clock.advance(FIRST_WAIT)
    bench.put(11)

    first = bench.engine.pack()
    bench.send()
    second = bench.engine.pack()

    assert (first, second) == (True, False)
    assert bench.engine.wait() == bench.settings.flush_interval


def test_all_that_waits_is_abandoned_together() -> None:
    """
    Lines of every lane that are in no batch yet count too.
    """
    bench = Bench()
    bench.put(3)
    bench.engine.queue.put_aside(set_plan(1))
    bench.engine.queue.put_aside(add_one(1))

    lost = bench.engine.abandon()

    assert lost == bench.engine.stats.abandoned == 5
    assert bench.engine.stats.queued_bytes == 0


def test_updates_are_abandoned_and_settled_like_events() -> None:
    """
    A flush waits for them, and at the end they are counted.
    """
    bench = Bench()
    bench.put(2)
    bench.engine.queue.put_aside(set_plan(1))
    mark = bench.engine.mark()
    bench.engine.want(mark)
    bench.pack()
    bench.send()
    bench.engine.queue.put_aside(set_plan(2))

    assert mark == Mark(2, 1)
    assert not bench.engine.settled(mark)
    assert bench.engine.abandon() == 3
    assert bench.engine.settled(mark)


def test_an_outage_does_not_hold_a_lane_longer_than_events() -> None:
    """
    When a verdict comes, the head of each lane may go at once too.
    """
    bench = Bench(*[503] * CIRCUIT_FAILURES)
    bench.engine.queue.put_aside(set_plan(1))
    bench.put(40)
    bench.pack()
    bench.engine.want(bench.engine.mark())
    bench.pack()
    for _ in range(CIRCUIT_FAILURES):
        bench.send()
    bench.clock.advance(20.0)

    bench.send()

    assert bench.engine.circuit == "closed"
    assert bench.engine.sendable >= 4


def test_old_events_leave_track() -> None:
    """
    What is older than five days when it is sent goes to /import.
    """
    bench = Bench(api="track", flush_interval=0.0)
    now = round(bench.clock.wall() * 1000)
    for age in (0, 6 * 86_400_000):
        line = b'{"event":"A","properties":{"time":%d,"n":%d}}' % (now - age, age)
        bench.engine.queue.put(line)
    bench.transport = ScriptedTransport(TRACK_OK)
    bench.sender = Sender(bench.settings, bench.transport, clock=bench.clock, random=lambda: 0.5)

    bench.run()

    assert sorted(lanes_of(bench)) == ["import", "track"]
    assert bench.engine.stats.delivered == 2
    assert bench.engine.stats.requests == 2


class Allergic(ScriptedTransport):
    """Answers 500 to every request that holds the eleventh event, and notes how large it was."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def send(self, request: Request, deadline: Deadline) -> Response:
        lines = lines_of(request)
        if any(line.startswith(b'{"n":11}') for line in lines):
            self.sizes.append(len(lines))
            return Response(500)
        return super().send(request, deadline)


def allergic() -> tuple[Bench, Allergic]:
    """
    Make a bench with such a server.
    """
    bench, transport = Bench(), Allergic()
    bench.transport = transport
    bench.sender = Sender(bench.settings, transport, clock=bench.clock, random=lambda: 0.5)
    return bench, transport


def test_a_batch_that_breaks_the_server_alone_is_halved() -> None:
    """
    While others succeed, one that keeps failing with 5xx is made smaller, down to one event.
    """
    bench, transport = allergic()
    pauses: list[float] = []

    for _ in range(20):
        bench.put(10)
        bench.pack()
        bench.clock.advance(100.0)
        while attempt := bench.send():
            pauses += [attempt.pause] if attempt.again else []

    # The first failure of the whole says nothing yet; then three in a row do, with each size.
    assert transport.sizes == [10] * 4 + [5] * 3 + [2] * 3 + [1] * 9
    # Each size waits as if nothing had failed before.
    assert pauses[:13] == [2.0, 4.0, 8.0, 16.0] + [2.0, 4.0, 8.0] * 3
    stats = bench.engine.stats
    assert stats.queued == 1
    assert stats.delivered == stats.accepted - 1


class OneSided(ScriptedTransport):
    """Gives the same answer to every update, and takes every event."""

    def __init__(self, answer: Response) -> None:
        super().__init__()
        self.answer = answer

    def send(self, request: Request, deadline: Deadline) -> Response:
        taken = super().send(request, deadline)
        return taken if "/import" in request.url else self.answer


def one_sided(answer: Response) -> Bench:
    """
    Make a bench with such a server, and send updates only until the circuit is not closed.
    """
    bench = Bench()
    bench.transport = OneSided(answer)
    bench.sender = Sender(bench.settings, bench.transport, clock=bench.clock, random=lambda: 0.5)
    for aside in (set_plan(1), GROUP):
        bench.engine.queue.put_aside(aside)
    bench.run(50.0)
    assert bench.engine.circuit != "closed"
    return bench


@pytest.mark.parametrize("answer", [Response(500), Response(404)])
def test_updates_that_nobody_takes_do_not_hold_events_back(answer: Response) -> None:
    """
    Of what may probe, that goes first which failed least: it is the likeliest to succeed.
    """
    bench = one_sided(answer)
    bench.put(10)

    bench.run(130.0)

    assert bench.engine.stats.delivered == 10
    assert bench.engine.stats.queued == 2


def test_an_address_that_is_wrong_for_updates_only_does_not_slow_events_down() -> None:
    """
    If others succeed, it is asked once a minute, and nothing else waits for that.
    """
    bench = one_sided(Response(404))
    bench.put(10)
    bench.run(130.0)
    asked = lanes_of(bench).count("engage")

    for _ in range(100):
        bench.put(10)
        bench.run(3.0)

    assert bench.engine.stats.delivered == 1_010
    assert 4 <= lanes_of(bench).count("engage") - asked <= 6


def test_a_backlog_of_events_does_not_hold_an_update_back() -> None:
    """
    One that failed goes first again when it is due, as long as requests need not be few.
    """
    bench = Bench(503)
    bench.engine.queue.put_aside(set_plan(1))
    bench.engine.want(bench.engine.mark())
    bench.pack()
    bench.send()
    bench.put(20)
    bench.pack()
    bench.clock.advance(2.0)

    bench.send()
    bench.send()

    assert lanes_of(bench) == ["engage", "engage", "import"]


def test_after_an_outage_waits_begin_anew() -> None:
    """
    What failed often while nobody answered has not failed since.
    """
    bench = Bench(*[503] * 6)
    bench.put(20)
    while not bench.engine.stats.delivered:
        bench.pack()
        bench.clock.advance(1.0)
        bench.send()
    bench.transport = ScriptedTransport(503)
    bench.sender = Sender(bench.settings, bench.transport, clock=bench.clock, random=lambda: 0.5)

    failed = bench.send()

    assert failed is not None
    assert failed.pause == 2.0


def test_after_an_outage_the_waits_of_updates_begin_anew_too() -> None:
    """
    Those at the head of their lane, which is all that was tried.
    """
    bench = Bench(*[503] * CIRCUIT_FAILURES)
    bench.engine.queue.put_aside(set_plan(1))
    bench.put(10)
    bench.engine.want(bench.engine.mark())
    while not bench.engine.stats.delivered:
        bench.pack()
        bench.clock.advance(1.0)
        bench.send()
    bench.transport = ScriptedTransport(503)
    bench.sender = Sender(bench.settings, bench.transport, clock=bench.clock, random=lambda: 0.5)

    failed = bench.send()

    assert failed is not None
    assert lanes_of(bench) == ["engage"]
    assert failed.pause == 2.0


def test_a_batch_is_not_halved_for_an_outage() -> None:
    """
    Failures count against it only if something succeeded since the last one.
    """
    bench, transport = allergic()
    bench.put(20)
    bench.pack()

    for _ in range(10):
        bench.clock.advance(400.0)
        while bench.send():
            pass

    assert transport.sizes == [10] * 10
    assert bench.engine.stats.delivered == 10


def test_requests_keep_to_their_pace() -> None:
    """
    With `requests_per_hour` a backlog leaves evenly.
    """
    bench = Bench(requests_per_hour=60)
    bench.put(50)
    bench.pack()

    bench.send()
    second = bench.send()
    pause = bench.engine.wait()
    bench.run()

    assert second is None
    assert pause == pytest.approx(60.0)
    assert bench.clock.monotonic() == pytest.approx(240.0)


def test_a_request_that_was_made_twice_is_paid_for_twice() -> None:
    """
    The first met a connection that was closed meanwhile; the server may have counted it.
    """
    bench = Bench(TransportError("closed", stale=True), requests_per_hour=60)
    bench.put(20)
    bench.pack()

    bench.send()

    assert bench.engine.stats.requests == 2
    assert bench.engine.wait() == pytest.approx(120.0)


def test_going_on_after_haste() -> None:
    """
    If it was not the end after all, events wait for company again.
    """
    bench = Bench()
    bench.engine.hurry()
    bench.put()
    hurried = bench.pack()
    bench.engine.calm()
    bench.put()

    assert hurried == 1
    assert bench.pack() == 0


def test_a_batch_for_which_there_is_no_memory_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Its lines are lost and the ledger says so; what comes later is not affected.
    """
    bench = Bench()
    bench.put(10)

    def broken(*_args: object, **_how: object) -> Batch:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(Batch, "of", broken)
        with pytest.raises(MemoryError):
            bench.engine.pack()
    bench.put(10)
    bench.run()

    stats = bench.engine.stats
    assert (stats.abandoned, stats.delivered, stats.queued_bytes) == (10, 10, 0)


def test_a_moment_that_passes_unseen_is_not_forgotten() -> None:
    """
    What becomes due between the last look and the wait is looked at again at once.
    """
    bench = Bench(503)
    bench.put(10)
    bench.pack()
    bench.send()
    bench.clock.advance(2.0 - 1e-9)
    sendable = bench.engine.sendable
    bench.clock.advance(1e-6)

    pause = bench.engine.wait()

    assert (sendable, pause) == (0, 0.0)
    assert bench.engine.sendable == 1
    assert bench.engine.wait() is None


def test_only_one_packs_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A second thread that packs meanwhile could bring updates into their lane in the wrong order.
    """
    bench = Bench()
    bench.engine.hurry()
    bench.engine.queue.put_aside(set_plan(1))
    seal: Callable[..., Batch] = Batch.of
    meanwhile: list[bool] = []

    def interrupted(lines: list[bytes], **how: Any) -> Batch:  # noqa: ANN401 -- handed on
        if not meanwhile:
            bench.engine.queue.put_aside(set_plan(2))
            meanwhile.append(bench.engine.pack())
        return seal(lines, **how)

    monkeypatch.setattr(Batch, "of", interrupted)

    packed = bench.pack()

    assert meanwhile == [False]
    assert packed == 2


def test_a_signal_handler_may_pack_between_two_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What it has left is sealed as if nothing had been, and is as old as it is.
    """
    bench = Bench()
    bench.put(20)
    is_due = bench.engine._seal_due
    handled: list[bool] = []

    def interrupted() -> bool:
        due = is_due()
        if not handled:
            handled.append(True)
            handled.append(bench.engine.pack())
        return due

    monkeypatch.setattr(bench.engine, "_seal_due", interrupted)

    packed = bench.engine.pack()
    bench.clock.advance(1.0)

    assert (packed, handled) == (True, [True, True])
    assert bench.engine.sendable == 2
    assert bench.engine.stats.oldest_age == 1.0


def test_a_gate_that_opens_unseen_is_not_forgotten() -> None:
    """
    If the pace allows a request between the last look and the wait, it is made at once.
    """
    bench = Bench(requests_per_hour=60)
    bench.put(20)
    bench.pack()
    bench.send()
    bench.clock.advance(60.0 - 1e-6)
    sendable = bench.engine.sendable
    bench.clock.advance(1e-3)

    pause = bench.engine.wait()

    assert (sendable, pause) == (0, 0.0)


def test_eviction_stops_at_what_cannot_give_way() -> None:
    """
    Updates are not evicted: if they alone exceed the bound, there is nothing more to give up.
    """
    bench = Bench(max_events=20, overflow="drop_oldest")
    for number in range(12):
        bench.engine.queue.put_aside(set_plan(number))
    bench.put(5)
    bench.engine.want(bench.engine.mark())

    bench.pack()

    assert bench.engine.stats.evicted == 5
    assert bench.engine.stats.queued == 12


def test_haste_reaches_the_lanes_too() -> None:
    """
    An update that waits for its retry gets its one more try.
    """
    bench = Bench(Response(429, b'{"error":"busy","status":"x"}'))
    bench.engine.queue.put_aside(set_plan(1))
    bench.engine.want(bench.engine.mark())
    bench.pack()
    bench.send()
    before = bench.engine.sendable

    bench.engine.hurry()

    assert (before, bench.engine.sendable) == (0, 1)
