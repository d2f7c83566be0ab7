"""
A pipeline with a spool: what is sealed and what waits on the disk, how it ends, who takes over.
"""

from __future__ import annotations

import _thread
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest

from mixpanel_export._batch import Batch
from mixpanel_export._circuit import FAILURES
from mixpanel_export._clock import SYSTEM_CLOCK, Clock, Deadline
from mixpanel_export._engine import Engine
from mixpanel_export._event import Event
from mixpanel_export._exceptions import TransportError
from mixpanel_export._keeper import Keeper
from mixpanel_export._notice import Notices
from mixpanel_export._pipeline import Pipeline
from mixpanel_export._process import delivering, is_delivering
from mixpanel_export._segment import SEGMENT_BYTES
from mixpanel_export._sender import Sender
from mixpanel_export._settings import Settings
from mixpanel_export._update import Aside, ProfileUpdate, seal_update
from mixpanel_export._wire import Request, Response
from mixpanel_export.testing import FakeClock, ScriptedTransport, lines_of
from tests import spools

QUICK = {"jitter": 0.0, "backoff_initial": 0.01, "flush_interval": 0.01, "shutdown_timeout": 10.0}
PARTIAL = Response(
    400,
    b'{"code":400,"status":"Bad Request","failed_records":[{"index":0,"field":"f","message":"m"}]}',
)


def eventually(condition: Callable[[], bool]) -> None:
    """
    Wait for another thread; fails after ten seconds.
    """
    end = time.monotonic() + 10.0
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < end, "it never came"
        pause.wait(0.005)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    """
    Every test ends with all threads gone, the one that looks after the directory too.
    """
    yield
    eventually(lambda: not delivering)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Pipeline]]:
    """
    Start pipelines on one directory.
    """
    pipelines: list[Pipeline] = []

    def start(*answers: Response | Exception | int, **fields: object) -> Pipeline:
        given = {"token": "t", "spool": tmp_path, **QUICK, **fields}
        given.setdefault("transport", ScriptedTransport(*answers))
        pipelines.append(Pipeline(Settings(**given)))  # type: ignore[arg-type] # fields by name
        return pipelines[-1]

    yield start
    for pipeline in pipelines:
        pipeline.close(0.0)


class Bench:
    """
    An engine with a spool, stepped by hand.
    """

    def __init__(self, root: Path, *answers: Response | Exception | int, **fields: object) -> None:
        given = {"token": "t", "spool": root, "jitter": 0.0, "batch_events": 10, **fields}
        self.settings = Settings(**given)  # type: ignore[arg-type] # fields by name, as tests give
        self.clock = FakeClock()
        self.transport = ScriptedTransport(*answers)
        clock: Clock = self.clock
        self.sender = Sender(self.settings, self.transport, clock=clock, random=lambda: 0.5)
        self.engine = Engine(self.settings, clock=clock, notices=Notices(clock), ring=lambda: None)
        assert self.engine.spool is not None
        self.spool = self.engine.spool

    def put(self, count: int) -> None:
        for number in range(count):
            assert self.engine.queue.put(b'{"n":%d}' % number)

    def run(self) -> None:
        """
        Do whatever is due now.
        """
        while True:
            while self.engine.pack():
                pass
            shipment = self.engine.next()
            if shipment is None:
                break
            self.engine.settle(shipment, self.sender.attempt(shipment, Deadline(self.clock, None)))
        stats = self.engine.stats
        final = stats.delivered + stats.rejected + stats.evicted + stats.expired + stats.abandoned
        assert stats.accepted + stats.adopted == final + stats.queued


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """
    Make benches on one directory.
    """
    benches: list[Bench] = []

    def bench(*answers: Response | Exception | int, **fields: object) -> Bench:
        benches.append(Bench(tmp_path, *answers, **fields))
        return benches[-1]

    yield bench
    for each in benches:
        each.spool.close()


# -- the engine -----------------------------------------------------------------------------------


class Allergic(ScriptedTransport):
    """Answers 500 to each request whose first event is one of the first ten."""

    def send(self, request: Request, deadline: Deadline) -> Response:
        fine = super().send(request, deadline)
        return Response(500) if orjson.loads(lines_of(request)[0])["n"] < 10 else fine


def test_events_that_wait_for_a_retry_do_not_keep_others_on_the_disk(tmp_path: Path) -> None:
    """
    While others are taken, what a connection could do is not measured by what failed.
    """
    bench = Bench(tmp_path, batch_events=1, connections=2, backoff_initial=60.0)
    bench.sender = Sender(bench.settings, Allergic(), clock=bench.clock, random=lambda: 0.5)
    for number in (10, 0, 11, 1, 12, 2, 13, 14, 15):
        assert bench.engine.queue.put(b'{"n":%d}' % number)

    bench.run()
    stats = bench.engine.stats
    bench.engine.stop()
    bench.spool.close()

    assert (stats.delivered, stats.queued) == (6, 3)


def test_no_more_than_so_many_wait_for_a_retry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    What fails takes memory; when it is as much as there may be, the rest stays on the disk.
    """
    monkeypatch.setattr("mixpanel_export._engine.PARKED", 2)
    bench = Bench(tmp_path, batch_events=1, connections=1, backoff_initial=60.0)
    bench.sender = Sender(bench.settings, Allergic(), clock=bench.clock, random=lambda: 0.5)
    for number in (0, 10, 1, 11, 12, 13):
        assert bench.engine.queue.put(b'{"n":%d}' % number)

    bench.run()
    waiting = len(bench.engine.queue)
    bench.engine.stop()
    bench.spool.close()

    assert waiting == 3


def test_a_backlog_waits_on_the_disk(bench: Callable[..., Bench]) -> None:
    """
    No more is sealed than there may be connections; the rest takes no memory.
    """
    host = bench(connections=2)
    host.put(100)
    packed = 0
    while host.engine.pack():
        packed += 1
    waiting = len(host.engine.queue)
    pause = host.engine.wait()
    host.run()

    assert (packed, waiting, pause) == (2, 80, None)
    assert host.engine.stats.delivered == 100
    assert host.engine.idle


def test_a_split_batch_is_settled_part_by_part(bench: Callable[..., Bench]) -> None:
    """
    Too large, partly rejected, refused for now: when all of it is done, the cursor says so.
    """
    host = bench(413, PARTIAL, 500)
    host.put(10)
    host.run()
    half = host.engine.stats
    host.clock.advance(10)
    host.run()
    host.spool.disown()
    heir = bench()
    heir.spool.keeper.keep()

    assert (half.delivered, half.rejected, half.queued) == (4, 1, 5)
    assert host.engine.stats.queued == 0
    assert heir.engine.stats.adopted == 0


def test_what_is_adopted_is_in_the_ledger(bench: Callable[..., Bench]) -> None:
    """
    Beside what was accepted; a flush does not wait for it.
    """
    dead = bench()
    dead.put(30)
    dead.spool.disown()
    host = bench(connections=1)
    host.put(5)
    mark = host.engine.mark()
    host.spool.keeper.keep()
    host.engine.want(mark)
    before = host.engine.stats
    for _ in range(2):
        host.engine.pack()
        shipment = host.engine.next()
        assert shipment is not None
        attempt = host.sender.attempt(shipment, Deadline(host.clock, None))
        host.engine.settle(shipment, attempt)
    settled = host.engine.settled(mark), host.engine.stats.queued
    host.run()

    assert (before.accepted, before.adopted, before.queued) == (5, 30, 35)
    assert settled == (True, 20)
    assert (host.engine.stats.accepted, host.engine.stats.delivered) == (5, 35)


def test_at_the_end_nothing_is_abandoned(bench: Callable[..., Bench]) -> None:
    """
    What waits, is sealed, in flight or parked is kept; only increments are not.
    """
    host = bench(500, connections=3)
    host.put(30)
    host.engine.queue.put_aside(_aside("$set"))
    host.engine.queue.put_aside(_aside("$add"))
    host.engine.hurry()
    assert host.engine.pack()
    shipment = host.engine.next()
    assert shipment is not None
    assert host.engine.pack()
    lost = host.engine.abandon(), host.engine.abandon()
    host.engine.stop()
    stats = host.engine.stats
    # Its answer comes too late.
    host.engine.settle(shipment, host.sender.attempt(shipment, Deadline(host.clock, None)))

    assert lost == (1, 0)
    assert (stats.accepted, stats.abandoned, stats.queued) == (32, 1, 31)
    assert host.engine.stats == stats
    assert host.engine.idle
    assert not host.engine.pack()
    assert host.engine.next() is None
    assert host.engine.wait() is None
    host.spool.close()
    heir = bench()
    heir.spool.keeper.keep()
    assert heir.engine.stats.adopted == 31


def test_increments_in_flight_and_parked_are_abandoned(bench: Callable[..., Bench]) -> None:
    """
    They are not on the disk, wherever they are.
    """
    host = bench()
    host.engine.hurry()
    for _ in range(2):
        host.engine.queue.put_aside(_aside("$add"))
        assert host.engine.pack()
    host.engine.next()

    assert host.engine.abandon() == 2
    assert host.engine.idle


def test_a_broken_line_stops_nothing(bench: Callable[..., Bench], tmp_path: Path) -> None:
    """
    Somebody has written over all that waits: there is nothing to seal, and the ledger says why.
    """
    host = bench()
    host.put(1)
    (path,) = tmp_path.glob("*/*/*.seg")
    with path.open("r+b") as file:
        file.write(b"\1" * 4096)
    host.engine.hurry()
    host.run()

    assert host.engine.stats.abandoned == 1
    assert host.engine.stats.damaged == 1
    assert host.engine.idle


def test_in_an_outage_what_is_parked_is_sealed_enough(bench: Callable[..., Bench]) -> None:
    """
    It goes first when there are answers again; the rest stays on the disk.
    """
    host = bench(*[503] * FAILURES, connections=1)
    host.put(100)

    host.run()

    assert host.engine.circuit == "open"
    assert len(host.engine.queue) == 100 - FAILURES * 10


def test_what_is_counted_as_lost_does_not_come_back(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    No memory for one batch, a bug in another: the next process finds nothing of them.
    """
    host = bench()
    host.put(20)
    with monkeypatch.context() as patch:
        patch.setattr(Batch, "of", _no_memory)
        with pytest.raises(MemoryError):
            host.engine.pack()
    assert host.engine.pack()
    shipment = host.engine.next()
    assert shipment is not None
    host.engine.lose(shipment)
    host.spool.disown()
    heir = bench()
    heir.spool.keeper.keep()

    assert (host.engine.stats.abandoned, host.engine.stats.queued) == (20, 0)
    assert heir.engine.stats.adopted == 0


def _no_memory(*_args: object, **_how: object) -> Batch:
    raise MemoryError


def test_what_is_adopted_goes_its_way(bench: Callable[..., Bench]) -> None:
    """
    It is tried again, ages, keeps nobody waiting who flushes, and is done with in the end.
    """
    dead = bench()
    dead.put(10)
    dead.spool.disown()
    host = bench(TransportError("ReadError: reset"))
    host.spool.keeper.keep()
    host.run()
    host.clock.advance(10.0)
    waiting = host.engine.settled(host.engine.mark()), host.engine.stats.oldest_age
    host.run()
    host.spool.disown()
    heir = bench()
    heir.spool.keeper.keep()

    assert waiting == (True, 10.0)
    assert (host.engine.stats.delivered, host.engine.stats.retries) == (10, 1)
    assert heir.engine.stats.adopted == 0


def test_adopted_updates_are_not_what_was_accepted(bench: Callable[..., Bench]) -> None:
    """
    They are in the ledger once, whatever goes on; the own ones wait for their turn after them.
    """
    dead = bench()
    for _ in range(3):
        dead.engine.queue.put_aside(_aside("$set"))
    dead.spool.disown()
    host = bench()
    host.engine.queue.put_aside(_aside("$set"))
    host.spool.keeper.keep()
    before = host.engine.stats
    host.engine.want(host.engine.mark())
    host.run()

    assert (before.accepted, before.adopted, before.queued) == (1, 3, 4)
    assert (host.engine.stats.accepted, host.engine.stats.delivered) == (1, 4)


def test_what_the_disk_gives_up_is_in_the_ledger(
    bench: Callable[..., Bench], caplog: pytest.LogCaptureFixture
) -> None:
    """
    The oldest where there is no room, which is told, and what has become too old.
    """
    host = bench(spool_max_bytes=4 * SEGMENT_BYTES, overflow="drop_oldest", spool_max_age=100.0)
    for line in spools.lines_of(31, spools.BIG):
        assert host.engine.queue.put(line)
    host.spool.keeper.keep()
    evicted = host.engine.stats
    host.clock.advance(200.0)
    host.spool.keeper.keep()
    expired = host.engine.stats

    assert evicted.evicted > 0
    assert evicted.accepted == evicted.evicted + evicted.queued
    assert expired.expired > 0
    assert expired.accepted == expired.evicted + expired.expired + expired.queued
    assert "the spool is full" in caplog.text


def _aside(operation: str) -> Aside:
    aside = seal_update(ProfileUpdate("u", operation, {"a": 1}))
    assert isinstance(aside, Aside)
    return aside


# -- the pipeline ---------------------------------------------------------------------------------


def test_events_go_through_the_disk(start: Callable[..., Pipeline], tmp_path: Path) -> None:
    """
    They arrive, and nothing is left on the disk.
    """
    transport = ScriptedTransport()
    pipeline = start(transport=transport)
    for number in range(100):
        assert pipeline.submit(Event("A", properties={"number": number}))
    (directory,) = tmp_path.glob("*/*")
    pipeline.update_profile("u", set={"a": 1}, add={"b": 1})
    flushed = pipeline.flush(10.0)
    closed = pipeline.close(), pipeline.close()

    assert flushed
    assert closed == (True, True)
    assert len(transport.lines) == 102
    assert not directory.exists()


def test_at_rest_the_directory_goes_and_comes(
    start: Callable[..., Pipeline], tmp_path: Path
) -> None:
    """
    A pipeline that has nothing to do has no thread and no file.
    """
    pipeline = start()
    for _ in range(2):
        pipeline.submit(Event("A"))
        assert pipeline.flush(10.0)
        pipeline.rest()
        eventually(lambda: not delivering and not list(tmp_path.glob("*/*")))

    assert pipeline.stats.delivered == 2


def test_close_leaves_to_the_next_what_it_cannot_deliver(
    start: Callable[..., Pipeline], caplog: pytest.LogCaptureFixture
) -> None:
    """
    Mixpanel is down: nothing is abandoned, and the next one that only flushes delivers it.
    """
    pipeline = start(*[ConnectionError("down")] * 50)
    for _ in range(20):
        pipeline.submit(Event("A"))
    closed = pipeline.close(0.05)
    queued = pipeline.stats.queued
    refused = pipeline.submit(Event("B"))
    heir = start()
    heir.flush(10.0)
    heir.close(10.0)

    assert (closed, queued, refused) == (True, 20, False)
    assert (heir.stats.adopted, heir.stats.delivered) == (20, 20)
    assert "are lost" not in caplog.text


def test_rejected_events_are_kept_for_whoever_looks(
    start: Callable[..., Pipeline], tmp_path: Path
) -> None:
    """
    With the reason that Mixpanel gave.
    """
    pipeline = start(PARTIAL)
    for _ in range(3):
        pipeline.submit(Event("A"))
    pipeline.flush(10.0)

    (path,) = tmp_path.glob("*/rejected.jsonl")
    (line,) = path.read_text().splitlines()
    assert orjson.loads(line)["message"] == "m"
    assert orjson.loads(line)["line"]["event"] == "A"
    assert pipeline.stats.rejected == 1


def test_the_exit_leaves_no_directory(start: Callable[..., Pipeline], tmp_path: Path) -> None:
    """
    Unless something is left in it.
    """
    pipeline = start()
    pipeline.submit(Event("A"))
    pipeline.finish_exit(pipeline.start_exit())

    assert list(tmp_path.glob("*/*")) == []


def test_the_exit_keeps_what_is_left(start: Callable[..., Pipeline], tmp_path: Path) -> None:
    """
    The process may still go on and deliver it itself.
    """
    pipeline = start(*[ConnectionError("down")] * 3)
    pipeline.submit(Event("A"))
    pipeline.finish_exit(Deadline(SYSTEM_CLOCK, 0.0))
    left = len(list(tmp_path.glob("*/*")))
    pipeline.resume()

    assert left == 1
    assert pipeline.flush(10.0)
    assert pipeline.stats.abandoned == 0


def test_a_bug_does_not_end_the_care(
    start: Callable[..., Pipeline],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """
    Whatever goes wrong, it is told, and delivery goes on.
    """
    caplog.set_level(logging.DEBUG)
    pipeline = start()
    spool = pipeline._process.engine.spool
    assert spool is not None
    monkeypatch.setattr(type(spool.keeper), "keep", _fail)

    pipeline.submit(Event("A"))

    assert pipeline.flush(10.0)
    eventually(lambda: "spool failed unexpectedly: RuntimeError" in caplog.text)
    spool.bell.ring()


def test_bugs_are_of_one_kind(
    start: Callable[..., Pipeline],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """
    One line a minute tells of all of them; each has its traceback, and a second to pass.
    """
    caplog.set_level(logging.DEBUG, "mixpanel_export")
    process = start()._process
    spool = process.engine.spool
    assert spool is not None
    monkeypatch.setattr(type(spool.keeper), "keep", _fail)
    monkeypatch.setattr(process, "step", lambda: _fail(process))

    pauses = process.keep_safely(spool), process.step_safely()

    assert pauses == (1.0, 1.0)
    assert [(each.levelname, each.message, bool(each.exc_info)) for each in caplog.records] == [
        ("WARNING", "the spool failed unexpectedly: RuntimeError", False),
        ("DEBUG", "the spool failed unexpectedly", True),
        ("DEBUG", "delivery failed unexpectedly", True),
    ]


def test_a_thread_of_ours_looks_after_the_disk(
    start: Callable[..., Pipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    What it logs is about delivery. At rest there is none, and a flush looks itself.
    """
    pipeline = start()
    spool = pipeline._process.engine.spool
    assert spool is not None
    keep = type(spool.keeper).keep
    seen = []

    def watched(keeper: Keeper) -> float:
        seen.append(is_delivering(_thread.get_ident()))
        return keep(keeper)

    monkeypatch.setattr(type(spool.keeper), "keep", watched)
    pipeline.submit(Event("A"))
    eventually(lambda: bool(seen))
    pipeline.flush(10.0)
    pipeline.rest()
    eventually(lambda: not delivering)
    by_thread = seen.copy()
    seen.clear()
    pipeline.flush(10.0)

    assert set(by_thread) == {True}
    assert seen[:1] == [False]


def _fail(_self: object) -> float:
    raise RuntimeError("a bug")


def test_no_thread_for_the_disk(
    start: Callable[..., Pipeline], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """
    At the interpreter's exit there is none: the caller makes the files and delivers.
    """
    monkeypatch.setattr(_thread, "start_new_thread", _no_thread)
    pipeline = start(max_bytes=SEGMENT_BYTES)
    pipeline.submit(Event("A"))
    assert pipeline._process.keeper is None
    pipeline._process.start_keeper()

    assert pipeline.flush(10.0)
    assert pipeline.close()
    assert list(tmp_path.glob("*/*")) == []


def _no_thread(*_: object) -> None:
    raise RuntimeError("can't start new thread")


def test_a_worker_that_retires_at_once_leaves_nobody_behind(
    start: Callable[..., Pipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    It may be done before its starter goes on; then nobody would end the care for the disk.
    """
    process = start()._process
    started: list[str] = []

    def at_once(function: Callable[..., object], _arguments: object) -> None:
        started.append(function.__name__)
        if function == process.work:
            process.work()

    monkeypatch.setattr(_thread, "start_new_thread", at_once)
    process.retiring = True

    process.start()

    assert sorted(started) == ["look_after", "work"]
    assert process.keeper is None


def test_what_is_delivered_at_once_is_not_all_that_others_left(
    start: Callable[..., Pipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Nothing is held any more when the first part was delivered before anybody looked.
    """
    monkeypatch.setattr("mixpanel_export._keeper.AT_ONCE", 1)
    for _ in range(3):
        dead = start(*[ConnectionError("down")] * 50)
        dead.submit(Event("A"))
        dead.close(0.0)
    heir = start()
    process = heir._process
    adopt = Keeper.adopt

    def adopt_and_deliver(keeper: Keeper) -> bool:
        more = adopt(keeper)
        assert process.settle(lambda: process.engine.idle, Deadline(SYSTEM_CLOCK, 10.0))
        return more

    monkeypatch.setattr(Keeper, "adopt", adopt_and_deliver)

    assert heir.adopt(10.0)
    assert (heir.stats.adopted, heir.stats.delivered) == (3, 3)


def test_what_others_left_can_be_waited_for(
    start: Callable[..., Pipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    All of it, more than is adopted at once, without an event of one's own.
    """
    monkeypatch.setattr("mixpanel_export._keeper.AT_ONCE", 1)
    for _ in range(3):
        dead = start(*[ConnectionError("down")] * 50)
        dead.submit(Event("A"))
        dead.close(0.0)
    blocked = start(*[ConnectionError("down")] * 50, backoff_initial=60.0)
    waited = blocked.adopt(0.05)
    blocked.close(0.0)
    heir = start()
    done = heir.adopt(10.0), heir.adopt(0.0)

    assert (waited, done) == (False, (True, True))
    assert (heir.stats.adopted, heir.stats.delivered) == (3, 3)
    assert Pipeline(Settings(token="t", transport=ScriptedTransport())).adopt(0.0)


def test_a_fork_has_a_directory_of_its_own(start: Callable[..., Pipeline], tmp_path: Path) -> None:
    """
    The child starts empty; what the parent holds is the parent's.
    """
    pipeline = start(*[ConnectionError("down")] * 1000, backoff_initial=60.0)
    pipeline.submit(Event("Parent"))
    child = os.fork()
    if not child:
        heir = pipeline
        done = heir.submit(Event("Child")) and len(list(tmp_path.glob("*/*"))) == 2
        os._exit(0 if done and heir.stats.accepted == 1 else 1)
    _, status = os.waitpid(child, 0)

    assert status == 0
    assert pipeline.stats.queued == 1
