"""
The pipeline: events in, threads, waiting, ending. Exits and forks are tested in tests/lifecycle.
"""

from __future__ import annotations

import _thread
import asyncio
import gc
import logging
import os
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import orjson
import pytest

from mixpanel_export import _lifecycle, _metrics, _process, identify_event
from mixpanel_export._batch import Lane
from mixpanel_export._clock import Deadline, SystemClock
from mixpanel_export._event import Drop, Event
from mixpanel_export._exceptions import SettingsError
from mixpanel_export._outcome import Rejection
from mixpanel_export._pipeline import HOPELESS, Pipeline
from mixpanel_export._process import Process, delivering, is_delivering
from mixpanel_export._settings import Settings
from mixpanel_export._update import Aside
from mixpanel_export._wire import Request, Response
from mixpanel_export.testing import FakeClock, ScriptedTransport

QUICK = {"jitter": 0.0, "backoff_initial": 0.01, "flush_interval": 0.01, "shutdown_timeout": 10.0}


def settings_with(transport: object, **fields: object) -> Settings:
    """
    Make settings for quick tests.
    """
    given = {"token": "t", "transport": transport, **QUICK, **fields}
    return Settings(**given)  # type: ignore[arg-type] # fields by name, as tests give


class Gate(ScriptedTransport):
    """Holds every request back until it is opened."""

    def __init__(self, *answers: Response | Exception | int) -> None:
        super().__init__(*answers)
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)

    def send(self, request: Request, deadline: Deadline) -> Response:
        self.entered.release()
        self.open.wait(10.0)
        return super().send(request, deadline)


def retire(process: Process) -> None:
    """
    End the threads of what a test took for the parent of a fork.
    """
    process.retiring = True
    process.ring()


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
    Every test ends with all delivery threads gone, whatever it was about.
    """
    yield
    eventually(lambda: not delivering)


@pytest.fixture
def transport() -> ScriptedTransport:
    """
    Answer everything as Mixpanel does.
    """
    return ScriptedTransport()


@pytest.fixture
def pipeline(transport: ScriptedTransport) -> Iterator[Pipeline]:
    """
    Run a pipeline on that transport.
    """
    pipeline = Pipeline(settings_with(transport))
    yield pipeline
    pipeline.close()


def test_an_event_is_delivered(pipeline: Pipeline, transport: ScriptedTransport) -> None:
    """
    What was submitted arrives, and the ledger says so.
    """
    accepted = pipeline.submit(Event("Signed Up", distinct_id="u-1", properties={"plan": "pro"}))

    assert accepted
    assert pipeline.flush(10.0)
    event = orjson.loads(transport.lines[0])
    assert event["event"] == "Signed Up"
    assert event["properties"]["distinct_id"] == "u-1"
    assert event["properties"]["plan"] == "pro"
    assert (pipeline.stats.accepted, pipeline.stats.delivered) == (1, 1)
    assert pipeline.health.ok


def test_what_carries_it_is_made_where_none_is_given() -> None:
    """
    It asks the address of the settings, where nobody listens here.
    """
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        pipeline = Pipeline(settings_with(None, base_url=f"http://127.0.0.1:{port}"))
        pipeline.submit(Event("A"))

        eventually(lambda: not pipeline.health.ok)

    assert "ConnectError" in pipeline.health.reason
    pipeline.close(0.0)


def test_ids_that_came_to_an_end_are_renewed(
    pipeline: Pipeline, transport: ScriptedTransport
) -> None:
    """
    What makes them gives up for good if there is no room for them once.
    """
    pipeline._process.insert_id = iter(()).__next__

    taken = [pipeline.submit(Event(name)) for name in ("A", "B")]

    assert taken == [True, True]
    assert pipeline.flush()
    ids = [orjson.loads(line)["properties"]["$insert_id"] for line in transport.lines]
    assert len(set(ids)) == 2


def test_an_event_that_stops_an_iteration_is_dropped() -> None:
    """
    Once, and the ids go on.
    """

    def transform(_event: Event) -> Event:
        raise StopIteration

    pipeline = Pipeline(settings_with(ScriptedTransport(), transform=transform))
    before = pipeline._process.insert_id

    assert not pipeline.submit(Event("A"))
    assert pipeline.stats.dropped == {"transform": 1}
    assert pipeline._process.insert_id is before
    pipeline.close()


def test_insert_ids_are_unique_and_valid(pipeline: Pipeline, transport: ScriptedTransport) -> None:
    """
    Each event has an id of its own, within Mixpanel's rules; those that join identities too.
    """
    for _ in range(50):
        pipeline.submit(Event("A"))
        pipeline.submit(identify_event("u-1", "a-1"))
    pipeline.flush(10.0)

    ids = [orjson.loads(line)["properties"]["$insert_id"] for line in transport.lines]

    assert len(set(ids)) == 100
    assert all(len(each) <= 36 and each.isalnum() for each in ids)


def test_nothing_happens_before_the_first_event(transport: ScriptedTransport) -> None:
    """
    A pipeline that is only made has started no thread and opened nothing.
    """
    before = len(delivering)

    pipeline = Pipeline(settings_with(transport))

    assert len(delivering) == before
    assert pipeline.flush(0.0)
    assert pipeline.stats.accepted == 0
    assert transport.requests == []
    assert pipeline.closed is False
    assert list(pipeline.doors) == []
    pipeline.close()


def test_no_credentials_is_an_error() -> None:
    """
    A pipeline made by hand cannot work without them.
    """
    with pytest.raises(SettingsError) as caught:
        Pipeline(Settings())

    assert str(caught.value) == (
        "there are no credentials; set token, or service_account, service_secret and project_id"
    )


def test_a_disabled_pipeline_takes_nothing(transport: ScriptedTransport) -> None:
    """
    With `disabled` nothing is accepted, counted or sent.
    """
    pipeline = Pipeline(Settings(disabled=True, transport=transport))

    accepted = pipeline.submit(Event("A"))

    assert not accepted
    assert pipeline.stats.accepted == 0
    assert pipeline.close()
    assert transport.requests == []


def test_plain_http_to_elsewhere_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """
    Credentials in clear are worth a line, without the credentials.
    """
    Pipeline(Settings(token="very-secret", base_url="http://proxy.example"))

    assert "clear" in caplog.text
    assert "very-secret" not in caplog.text


def test_flush_says_no_when_the_time_is_over() -> None:
    """
    A flush that cannot finish returns False at its timeout, and nothing is lost.
    """
    gate = Gate()
    pipeline = Pipeline(settings_with(gate))
    pipeline.submit(Event("A"))

    in_time = pipeline.flush(0.05)
    without_waiting = pipeline.flush(0)
    gate.open.set()

    assert not in_time
    assert not without_waiting
    assert pipeline.flush()
    assert pipeline.close()


def test_flush_is_about_what_came_before() -> None:
    """
    It does not wait for events that others submit meanwhile.
    """
    transport = Gate()
    pipeline = Pipeline(settings_with(transport, connections=1))
    pipeline.submit(Event("early"))
    transport.entered.acquire(timeout=10.0)
    done = threading.Event()

    def flush() -> None:
        if pipeline.flush(10.0):
            done.set()

    thread = threading.Thread(target=flush)
    thread.start()

    stop = threading.Event()

    def more() -> None:
        while not stop.is_set():
            pipeline.submit(Event("late"))
            stop.wait(0.001)

    noise = threading.Thread(target=more)
    noise.start()
    transport.open.set()
    finished = done.wait(10.0)
    stop.set()
    noise.join()
    thread.join()

    assert finished
    pipeline.close()


def test_close_is_final_and_idempotent(
    pipeline: Pipeline, transport: ScriptedTransport, caplog: pytest.LogCaptureFixture
) -> None:
    """
    It delivers what is left; what comes after is dropped and counted.
    """
    pipeline.submit(Event("A"))

    closed = pipeline.close()
    again = pipeline.close()
    late = pipeline.submit(Event("B"))

    assert closed
    assert again
    assert not late
    assert pipeline.closed
    assert pipeline.stats.delivered == 1
    assert pipeline.stats.dropped == {"closed": 1}
    assert caplog.messages == ["an event came after close() and was dropped"]
    assert transport.closed >= 1


def test_close_abandons_what_cannot_be_sent(caplog: pytest.LogCaptureFixture) -> None:
    """
    At its timeout the rest is counted, with one warning; a late answer changes nothing.
    """
    gate = Gate()
    pipeline = Pipeline(settings_with(gate))
    pipeline.submit(Event("A"))
    gate.entered.acquire(timeout=10.0)

    closed = pipeline.close(0.05)
    gate.open.set()

    assert not closed
    assert (pipeline.stats.abandoned, pipeline.stats.queued) == (1, 0)
    assert caplog.messages == [
        "1 events were not delivered in time and are lost: a longer shutdown_timeout may help"
    ]
    eventually(lambda: not delivering)
    assert pipeline.stats.delivered == 0


@pytest.mark.parametrize(
    "end",
    [
        lambda pipeline: pipeline.flush(10.0),
        lambda pipeline: pipeline.rest(),
        lambda pipeline: pipeline.finish_exit(pipeline.start_exit()),
        lambda pipeline: pipeline.close(),
    ],
)
def test_without_events_nothing_is_started(
    end: Callable[[Pipeline], object],
    pipeline: Pipeline,
    transport: ScriptedTransport,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    Not even to find out that there is nothing to end.
    """
    started: list[object] = []
    monkeypatch.setattr(Process, "start", started.append)

    end(pipeline)

    assert started == []
    assert transport.requests == []


def test_what_is_abandoned_is_told_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    """
    If something is known to be wrong, that is what the line says.
    """
    clock = FakeClock()
    pipeline = Pipeline(settings_with(ScriptedTransport(503)), clock=clock)
    process = pipeline._process
    process.engine.queue.put(b"{}")
    process.engine.hurry()
    process.engine.pack()
    shipment = process.engine.next()
    assert shipment is not None
    process.carry(shipment, Deadline(clock, None))

    closed = pipeline.close(0.0)

    assert not closed
    assert caplog.messages[-1] == "1 events were not delivered in time and are lost: status 503"


def test_a_with_block_closes(transport: ScriptedTransport) -> None:
    """
    Leaving the block delivers everything.
    """
    with Pipeline(settings_with(transport)) as pipeline:
        pipeline.submit(Event("A"))

    assert pipeline.closed
    assert len(transport.lines) == 1


def test_awaiting_does_not_block_the_loop() -> None:
    """
    While a flush and a close wait, the loop runs other things.
    """
    gate = Gate()
    pipeline = Pipeline(settings_with(gate))
    pipeline.submit(Event("A"))

    async def program() -> tuple[bool, bool]:
        flushing = asyncio.ensure_future(pipeline.aflush(10.0))
        await asyncio.sleep(0)
        gate.open.set()
        return await flushing, await pipeline.aclose()

    assert asyncio.run(program()) == (True, True)


def test_awaiting_ends_at_its_time() -> None:
    """
    What is awaited has the timeout of its blocking twin.
    """
    asked: list[float | None] = []

    class Recorded(Pipeline):
        def flush(self, timeout: float | None = None) -> bool:
            asked.append(timeout)
            return super().flush(timeout)

        def close(self, timeout: float | None = None) -> bool:
            asked.append(timeout)
            return super().close(timeout)

    gate = Gate()
    pipeline = Recorded(settings_with(gate))
    pipeline.submit(Event("A"))

    async def program() -> tuple[bool, bool]:
        return await pipeline.aflush(0.0), await pipeline.aclose(0.01)

    answers = asyncio.run(program())
    gate.open.set()

    assert asked == [0.0, 0.01]
    assert answers == (False, False)


def test_backlog_brings_more_connections() -> None:
    """
    While the first request is slow, others go out beside it, up to `connections`.
    """
    gate = Gate()
    pipeline = Pipeline(settings_with(gate, batch_events=10, connections=3))
    for _ in range(100):
        pipeline.submit(Event("A"))

    for _ in range(3):
        assert gate.entered.acquire(timeout=10.0)
    fourth = gate.entered.acquire(timeout=0.1)
    gate.open.set()

    assert not fourth
    assert pipeline.close()
    assert len(gate.lines) == 100


def test_each_batch_that_is_ready_has_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    One more is started for each look, until there are as many as batches; none without need.
    """
    started: list[object] = []
    monkeypatch.setattr("_thread.start_new_thread", lambda run, _args: started.append(run))
    process = Pipeline(settings_with(ScriptedTransport(), batch_events=1))._process
    # No worker shall start.
    process.token.clear()
    for number in range(3):
        process.engine.queue.put(b"%d" % number)
    process.engine.hurry()
    while process.engine.pack():
        pass

    for _ in range(5):
        process.hand_out()

    assert started == [process.serve] * 3
    assert (process.connections, process.idle) == (3, 3)
    shipments = [process.await_shipment() for _ in range(3)]
    assert (process.connections, process.idle) == (3, 0)
    for shipment in shipments:
        assert shipment is not None
        process.carry(shipment, Deadline(process.clock, None), connection=True)
    assert (process.connections, process.idle) == (3, 3)
    assert process.engine.idle


def test_a_connection_that_could_not_start_does_not_count(
    monkeypatch: pytest.MonkeyPatch, transport: ScriptedTransport
) -> None:
    """
    Whoever wanted it sends everything, and the next look finds no connection.
    """

    def refuse(*_args: object) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr("_thread.start_new_thread", refuse)
    process = Pipeline(settings_with(transport, batch_events=1))._process
    for number in range(3):
        process.engine.queue.put(b"%d" % number)
    process.engine.hurry()
    while process.engine.pack():
        pass

    process.hand_out()

    assert transport.lines == [b"0", b"1", b"2"]
    assert (process.connections, process.idle) == (0, 0)


def test_one_connection_is_enough_without_backlog(
    pipeline: Pipeline, transport: ScriptedTransport
) -> None:
    """
    Batches that come one after the other share a connection.
    """
    for _ in range(5):
        pipeline.submit(Event("A"))
        pipeline.flush(10.0)

    assert pipeline._process.connections == 1
    assert len(transport.requests) == 5
    assert transport.closed == 0


def test_an_outage_loses_nothing(transport: ScriptedTransport) -> None:
    """
    Failures are retried, in the background, until they succeed.
    """
    transport = ScriptedTransport(503, ConnectionError("down"), 429, 500)
    with Pipeline(settings_with(transport)) as pipeline:
        for _ in range(50):
            pipeline.submit(Event("A"))

    assert pipeline.stats.delivered == 50
    assert pipeline.stats.retries == 4


@pytest.mark.parametrize("error", [ValueError, SystemExit])
def test_rejections_are_handed_over(
    caplog: pytest.LogCaptureFixture, error: type[BaseException]
) -> None:
    """
    `on_rejected` gets each verdict, and raising in it costs nothing.
    """
    seen: list[Rejection] = []

    def on_rejected(rejection: Rejection) -> None:
        seen.append(rejection)
        raise error("not my day")

    body = (
        b'{"code":400,"status":"Bad Request","failed_records":'
        b'[{"index":0,"field":"properties.time","message":"in the future"}]}'
    )
    transport = ScriptedTransport(Response(400, body))
    fields = {"on_rejected": on_rejected, "connections": 1}
    with Pipeline(settings_with(transport, **fields)) as pipeline:
        pipeline.submit(Event("A"))
        eventually(lambda: error.__name__ in caplog.text)
        pipeline.submit(Event("B"))
        delivered = pipeline.flush()

    assert delivered
    assert [(each.field, each.message) for each in seen] == [("properties.time", "in the future")]
    assert (pipeline.stats.rejected, pipeline.stats.delivered) == (1, 1)
    assert "rejected 1 events" in caplog.text


def test_each_trouble_has_a_limit_of_its_own(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    One that is told often silences no other; a bug anywhere is a bug.
    """

    def broken(*_args: object) -> None:
        raise MemoryError

    one_rejected = Response(400, b'{"code":400,"failed_records":[{"index":0,"message":"m"}]}')
    pipeline = Pipeline(
        settings_with(
            ScriptedTransport(one_rejected),
            on_rejected=broken,
            transform=lambda event: broken() if event.name == "bad" else event,
            base_url="http://proxy.example",
        )
    )
    process = pipeline._process
    for name in ("bad", "good"):
        pipeline.submit(Event(name))
    pipeline.flush(10.0)
    monkeypatch.setattr(process.sender, "attempt", broken)
    pipeline.submit(Event("lost"))
    pipeline.close()
    pipeline.submit(Event("late"))

    kinds = ["exposed", "transform", "rejected", "on_rejected", "bug", "closed"]
    assert list(process.notices._kinds) == kinds
    assert len(caplog.messages) == len(kinds)


def test_rejections_nobody_asked_for_are_only_counted() -> None:
    """
    Without `on_rejected` there is the count and one line.
    """
    body = b'{"code":400,"status":"Bad Request","failed_records":[{"index":0}]}'
    with Pipeline(settings_with(ScriptedTransport(Response(400, body)))) as pipeline:
        pipeline.submit(Event("A"))

    assert pipeline.stats.rejected == 1


def test_flushing_from_a_delivery_thread_does_not_wait_for_itself() -> None:
    """
    Code of the application that runs on a delivery thread cannot deadlock the pipeline.
    """
    answers: list[bool] = []
    body = b'{"code":400,"status":"Bad Request","failed_records":[{"index":0}]}'
    transport = ScriptedTransport(Response(400, body))

    def on_rejected(_rejection: Rejection) -> None:
        mine.submit(Event("B"))
        answers.append(mine.flush(10.0))

    pipeline = mine = Pipeline(settings_with(transport, on_rejected=on_rejected))
    pipeline.submit(Event("A"))
    eventually(lambda: pipeline.stats.delivered == 1)

    assert pipeline.close()
    assert answers == [False]
    assert pipeline.stats.delivered == 1


def test_a_transform_that_raises_costs_its_event(caplog: pytest.LogCaptureFixture) -> None:
    """
    The application does not notice, the ledger does.
    """

    def transform(event: Event) -> Event | None:
        if event.name == "bad":
            raise ZeroDivisionError
        return None if event.name == "unwanted" else event

    transport = ScriptedTransport()
    with Pipeline(settings_with(transport, transform=transform)) as pipeline:
        accepted = [pipeline.submit(Event(name)) for name in ("good", "bad", "unwanted", "good")]

    assert accepted == [True, False, False, True]
    assert pipeline.stats.dropped == {"transform": 2}
    assert "ZeroDivisionError" in caplog.text


def test_one_record_may_be_several_lines(pipeline: Pipeline, transport: ScriptedTransport) -> None:
    """
    Each is taken in or counted by itself, and all of them must be taken in.
    """
    event = b'{"event":"A","properties":{}}'
    update = Aside(Lane.ENGAGE, b'{"$distinct_id":"u-1","$set":{}}', True)

    accepted = [
        pipeline.offer(None, lambda *_args: lines)  # noqa: B023 -- called at once
        for lines in (
            (event, update),
            (Drop.IGNORED, update),
            (event, Drop.NO_IDENTITY),
            (event, event),
        )
    ]

    assert accepted == [True, False, False, True]
    assert pipeline.flush(10.0)
    stats = pipeline.stats
    assert (stats.delivered, stats.ignored, stats.dropped) == (6, 1, {"no_identity": 1})
    assert transport.lines.count(event) == 4


def test_several_lines_need_room_for_each(caplog: pytest.LogCaptureFixture) -> None:
    """
    What there is no room for is counted, and so is what comes after the end.
    """
    gate = Gate()
    pipeline = Pipeline(settings_with(gate, max_events=1))
    lines = (b'{"event":"A","properties":{}}', Aside(Lane.ENGAGE, b'{"$set":{}}', True))

    full = pipeline.offer(None, lambda *_args: lines)
    gate.open.set()
    pipeline.close()
    late = pipeline.offer(None, lambda *_args: lines)

    assert (full, late) == (False, False)
    assert pipeline.stats.dropped == {"full": 1, "closed": 2}
    assert "after close()" in caplog.text


def test_an_event_without_a_name_is_ignored(pipeline: Pipeline) -> None:
    """
    Mixpanel would reject it; it is counted as no event.
    """
    assert not pipeline.submit(Event(" "))
    assert pipeline.stats.ignored == 1


def test_a_full_queue_refuses_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """
    What does not fit is dropped at once, counted, and warned of from the background.
    """
    gate = Gate()
    pipeline = Pipeline(settings_with(gate, max_events=10, batch_events=5))

    accepted = sum(pipeline.submit(Event("A")) for _ in range(30))
    eventually(lambda: "queue is full" in caplog.text)
    gate.open.set()

    assert accepted == 10
    assert pipeline.close()
    assert pipeline.stats.delivered == 10
    assert pipeline.stats.dropped == {"full": 20}


def test_a_bug_in_a_step_does_not_stop_delivery(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Whatever goes wrong in the worker, later events still leave.
    """
    process = pipeline._process
    hand_out = process.hand_out
    failures = iter([MemoryError(), None])

    def sometimes() -> None:
        if (failure := next(failures, None)) is not None:
            raise failure
        hand_out()

    monkeypatch.setattr(process, "hand_out", sometimes)
    pipeline.submit(Event("A"))

    assert pipeline.flush(10.0)
    assert "MemoryError" in caplog.text


def test_a_bug_in_a_step_is_told(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    In a line for everybody, and with the traceback for whoever looks for it; then it goes on.
    """

    def broken() -> None:
        raise MemoryError

    monkeypatch.setattr(pipeline._process, "step", broken)

    with caplog.at_level(logging.DEBUG, "mixpanel_export"):
        pause = pipeline._process.step_safely()

    assert pause == 1.0
    assert [(each.levelname, each.message, bool(each.exc_info)) for each in caplog.records] == [
        ("WARNING", "delivery failed unexpectedly: MemoryError", False),
        ("DEBUG", "delivery failed unexpectedly", True),
    ]


def test_a_bug_in_an_attempt_costs_that_batch(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    It is counted, and nothing waits for it for ever.
    """

    def broken(*_args: object) -> None:
        raise MemoryError

    monkeypatch.setattr(pipeline._process.sender, "attempt", broken)
    with caplog.at_level(logging.DEBUG, "mixpanel_export"):
        pipeline.submit(Event("A"))
        flushed = pipeline.flush(10.0)

    assert flushed
    assert pipeline.stats.abandoned == 1
    assert [(each.levelname, each.message, bool(each.exc_info)) for each in caplog.records] == [
        ("WARNING", "a batch was lost to MemoryError", False),
        ("DEBUG", "a batch was lost", True),
    ]
    # A bug elsewhere is of the same kind: one line a minute is enough for all of them.
    monkeypatch.setattr(pipeline._process, "step", broken)
    caplog.clear()
    pipeline._process.step_safely()
    assert caplog.messages == []


def test_a_pipeline_at_rest_has_no_threads_and_revives(
    pipeline: Pipeline, transport: ScriptedTransport
) -> None:
    """
    After `rest` everything stops once it is delivered; the next event starts it again.
    """
    pipeline.submit(Event("A"))
    pipeline.rest()
    eventually(lambda: transport.closed == 1)
    eventually(lambda: not delivering)

    pipeline.submit(Event("B"))

    eventually(lambda: pipeline.stats.delivered == 2)


def test_an_event_at_the_moment_of_rest_is_not_forgotten(
    pipeline: Pipeline, transport: ScriptedTransport
) -> None:
    """
    Whether it finds the old worker or starts a new one, it is delivered.
    """
    for number in range(200):
        pipeline.submit(Event("A"))
        pipeline.rest()
        if number % 3 == 0:
            eventually(lambda: not delivering)

    assert pipeline.flush(10.0)
    assert len(transport.lines) == 200


def test_connections_without_work_end(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, transport: ScriptedTransport
) -> None:
    """
    A connection thread that had nothing to do for a while is gone.
    """
    monkeypatch.setattr(_process, "IDLE", 0.02)
    pipeline.submit(Event("A"))
    pipeline.flush(10.0)

    eventually(lambda: pipeline._process.connections == 0)
    assert pipeline._process.idle == 0
    pipeline.submit(Event("B"))

    assert pipeline.flush(10.0)
    assert len(transport.requests) == 2


def test_a_worker_that_was_rung_for_is_not_rung_for_again(
    transport: ScriptedTransport,
) -> None:
    """
    However much comes while it is busy, one ring is waiting for it.
    """
    process = Pipeline(settings_with(transport))._process
    process.token.clear()

    for _ in range(5):
        process.ring()
    rings = process.bell.qsize()
    process.listen(0.0)
    process.ring()

    assert (rings, process.bell.qsize()) == (1, 1)


def test_a_worker_is_started_once_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Starting it says whether there is one now; if it could not be, the next attempt may.
    """
    process = Pipeline(settings_with(ScriptedTransport()))._process
    started: list[object] = []

    def refuse(*_args: object) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr("_thread.start_new_thread", refuse)
    refused = process.start()
    monkeypatch.setattr("_thread.start_new_thread", lambda run, _args: started.append(run))
    answers = [process.start(), process.start()]

    assert not refused
    assert answers == [True, True]
    assert started == [process.work]


@pytest.mark.parametrize("started", [False, True])
def test_without_threads_the_caller_delivers(
    pipeline: Pipeline,
    transport: ScriptedTransport,
    monkeypatch: pytest.MonkeyPatch,
    *,
    started: bool,
) -> None:
    """
    When no thread can be started any more, as at exit, flush sends on its own thread, or the worker
    on its.
    """

    def refuse(*_args: object) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    if started:
        pipeline._process.start()
    monkeypatch.setattr("_thread.start_new_thread", refuse)
    pipeline.submit(Event("A"))

    assert pipeline.flush(10.0)
    assert len(transport.lines) == 1
    assert threading.get_ident() not in delivering


def test_without_threads_the_waits_hold_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    On the caller's thread a retry waits as it would in the background, until the deadline.
    """
    clock = FakeClock()
    transport = ScriptedTransport(503, *[503] * 50)
    pipeline = Pipeline(Settings(token="t", transport=transport, jitter=0.0), clock=clock)

    def refuse(*_args: object) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr("_thread.start_new_thread", refuse)
    pipeline.submit(Event("A"))

    flushed = pipeline.flush(3.0)

    assert not flushed
    assert len(transport.requests) == 2
    assert clock.monotonic() >= 3.0
    assert not pipeline.flush()
    assert 0.0 <= clock.monotonic() - 3.0 - pipeline.settings.shutdown_timeout < 0.2
    assert not pipeline.close(0.0)
    assert pipeline.stats.abandoned == 1


def test_a_caller_that_delivers_itself_does_not_wait_for_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    Code of the application that runs meanwhile, on its own thread, cannot deadlock it either.
    """
    answers: list[bool] = []
    body = b'{"code":400,"status":"Bad Request","failed_records":[{"index":0}]}'

    def on_rejected(_rejection: Rejection) -> None:
        mine.submit(Event("B"))
        answers.append(mine.flush(10.0))

    def refuse(*_args: object) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr("_thread.start_new_thread", refuse)
    settings = settings_with(ScriptedTransport(Response(400, body)), on_rejected=on_rejected)
    pipeline = mine = Pipeline(settings)
    pipeline.submit(Event("A"))

    assert pipeline.flush(10.0)
    assert answers == [False]
    assert pipeline.close()
    assert pipeline.stats.delivered == 1


def test_the_last_connection_is_the_worker_only_when_there_is_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    If a second connection cannot be started, the first one does the work.
    """
    gate = Gate()
    pipeline = Pipeline(settings_with(gate, batch_events=5))
    pipeline.submit(Event("A"))
    gate.entered.acquire(timeout=10.0)

    def refuse(*_args: object) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr("_thread.start_new_thread", refuse)
    for _ in range(10):
        pipeline.submit(Event("A"))
    eventually(lambda: pipeline._process.engine.sendable > 0)
    gate.open.set()

    assert pipeline.flush(10.0)
    assert len(gate.lines) == 11
    pipeline.close()


def test_the_exit_is_short_when_nothing_answers(caplog: pytest.LogCaptureFixture) -> None:
    """
    The deadline of an exit is `shutdown_timeout`, and one second while the circuit is open.
    """
    clock = FakeClock()
    transport = ScriptedTransport(*[503] * 100)
    settings = Settings(token="t", transport=transport, jitter=0.0, backoff_max=2.0)
    pipeline = Pipeline(settings, clock=clock)
    process = pipeline._process
    # No worker, which might be quicker.
    process.token.clear()
    healthy = pipeline.start_exit().left()
    for _ in range(3):
        pipeline.submit(Event("A"))
        process.engine.pack()
        shipment = process.engine.next()
        assert shipment is not None
        process.carry(shipment, Deadline(clock, None))

    hopeless = pipeline.start_exit().left()

    assert (healthy, hopeless) == (settings.shutdown_timeout, HOPELESS)
    assert "cannot be delivered" in caplog.text
    pipeline.close(0.0)


def test_an_exit_with_nothing_left_takes_no_time() -> None:
    """
    Its deadline is the longest wait, not the wait.
    """
    clock = FakeClock()
    pipeline = Pipeline(settings_with(ScriptedTransport()), clock=clock)

    pipeline.finish_exit(pipeline.start_exit())

    assert clock.monotonic() == 0.0
    pipeline.close()


def test_a_flush_during_the_exit_leaves_no_connection(
    pipeline: Pipeline, transport: ScriptedTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Nothing comes after it that would close it.
    """
    monkeypatch.setattr(_lifecycle, "exit_deadline", lambda: Deadline(pipeline._clock, 1.0))
    pipeline.submit(Event("A"))

    assert pipeline.flush(10.0)
    assert transport.closed == 1


def test_an_exit_delivers_and_is_not_final(
    pipeline: Pipeline, transport: ScriptedTransport
) -> None:
    """
    What comes after the drain is accepted and can still be flushed.
    """
    pipeline.submit(Event("A"))

    deadline = pipeline.start_exit()
    pipeline.finish_exit(deadline)
    delivered = pipeline.stats.delivered
    pipeline.submit(Event("B"))

    assert delivered == 1
    assert not deadline.passed
    assert pipeline.flush(10.0)
    assert len(transport.lines) == 2


def test_threads_without_an_event_end_too(transport: ScriptedTransport) -> None:
    """
    Whatever it was that a worker was started for.
    """
    pipeline = Pipeline(settings_with(transport))
    assert pipeline._process.start()
    eventually(lambda: bool(delivering))

    assert pipeline.close()
    eventually(lambda: not delivering)
    assert transport.requests == []


def test_no_thread_begins_after_the_end(tmp_path: Path) -> None:
    """
    Whatever was started has begun when the exit is over, be it that nobody had to wait for it, or
    that it was started by a function at exit. In CPython 3.10 it might end the process otherwise.
    """
    program = f"""
import _thread, atexit, sys, time
from mixpanel_export import Event, Pipeline, Settings
from mixpanel_export.testing import ScriptedTransport

start, started, begun = _thread.start_new_thread, [], []

def start_slowly(function, args):
    def run():
        # Nothing is delivered without the others.
        time.sleep(0.3 if late or function.__name__ == "look_after" else 0)  # what is tested
        begun.append(function.__name__)
        function(*args)
    identifier = start(run, ())
    started.append(function.__name__)
    return identifier

def tell():
    print(sorted(started) == sorted(begun))

def submit():
    pipeline.submit(Event("A"))
    if late:
        tell()

late = sys.argv[1] == "late"
_thread.start_new_thread = start_slowly
atexit.register(tell)
pipeline = Pipeline(
    Settings(token="t", spool=None if late else {str(tmp_path)!r}, transport=ScriptedTransport())
)
if late:
    atexit.register(submit)
else:
    submit()
"""

    told = [
        subprocess.run(
            [sys.executable, "-c", program, when],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout.splitlines()[0]
        for when in ("early", "late")
    ]

    assert told == ["True", "True"]


def test_a_thread_starts_no_other_at_the_end(
    transport: ScriptedTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    It might begin too late; what there is to send, the worker sends.
    """
    start, started = _thread.start_new_thread, []
    here = _thread.get_ident()

    def start_new_thread(run: Callable[..., object], args: tuple[object, ...]) -> int:
        started.append(run)
        return start(run, args)

    monkeypatch.setattr(_thread, "start_new_thread", start_new_thread)
    monkeypatch.setattr(_process, "IDLE", 0.0)
    pipeline = Pipeline(settings_with(transport))
    process = pipeline._process

    def deliver() -> int:
        eventually(lambda: process.connections == 0)
        pipeline.submit(Event("A"))
        assert pipeline.flush()
        return started.count(process.serve)

    before = deliver()
    pipeline.finish_exit(pipeline.start_exit())
    after_a_drain = deliver()
    # The exit of this process has not begun, and must not for the tests that follow.
    monkeypatch.setattr(_lifecycle, "exit_deadline", lambda: None)
    monkeypatch.setattr(_lifecycle, "is_late", lambda: _thread.get_ident() == here)
    pipeline.finish_exit(pipeline.start_exit())
    at_the_end = deliver()

    assert (before, after_a_drain, at_the_end) == (1, 2, 2)
    assert len(transport.lines) == 3
    pipeline.close()


def test_the_end_does_not_wait_for_ever_for_a_thread(
    transport: ScriptedTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Nor for what is no thread and shares this one.
    """
    clock = FakeClock()
    process = Pipeline(settings_with(transport), clock=clock)._process
    process.unborn.append(None)

    process.await_births()
    waited = clock.monotonic()
    monkeypatch.setattr(_process, "are_greenlets", lambda: True)
    process.await_births()

    assert waited == pytest.approx(1.0, abs=0.01)
    assert clock.monotonic() == waited


def test_a_child_starts_empty() -> None:
    """
    After a fork that Python did not see, the first event finds out by the process number.
    """
    gate = Gate()
    pipeline = Pipeline(settings_with(gate))
    pipeline.submit(Event("parent's"))
    parent = pipeline._process
    parent.pid = -1
    parent.home = [0]

    pipeline.submit(Event("child's"))

    assert pipeline._process is not parent
    assert pipeline._process.pid == os.getpid()
    assert pipeline.stats.accepted == 1
    gate.open.set()
    assert pipeline.close()
    retire(parent)


def test_a_child_counts_what_it_ignores_itself() -> None:
    """
    Its parent's ledger is the parent's.
    """
    pipeline = Pipeline(settings_with(ScriptedTransport()))
    pipeline.ignore()
    parent = pipeline._process
    parent.pid = -1
    parent.home = [0]

    pipeline.ignore()
    pipeline.ignore()

    assert (parent.engine.stats.ignored, pipeline.stats.ignored) == (1, 2)


@pytest.mark.parametrize("first", [True, False])
def test_one_child_takes_over_what_its_parent_holds(*, first: bool) -> None:
    """
    Where a parent without threads left a baton, the child that gets it has all lines, in order.
    """
    settings = settings_with(ScriptedTransport(), batch_events=2)
    parent, child = (Pipeline(settings)._process for _ in range(2))
    for process in (parent, child):
        process.token.clear()
    parent.baton = mock.Mock(take=lambda: first)
    events = [b"%d" % number for number in range(5)]
    updates = [Aside(Lane.ENGAGE, b"%d" % number, number < 2) for number in range(4)]
    for event in events:
        parent.put(event)
    for update in updates:
        parent.put_aside(update)

    child.inherit(parent)

    queue = child.engine.queue
    taken = [queue.take() for _ in range(4)]
    taken_aside = [queue.take_aside(10, 1_000_000) for _ in range(3)]
    assert taken == ([events[:2], events[2:4], events[4:], []] if first else [[]] * 4)
    assert taken_aside == ([updates[:2], updates[2:], []] if first else [[]] * 3)


def test_nothing_is_taken_over_without_a_baton() -> None:
    """
    An ordinary parent delivers what it holds itself.
    """
    parent, child = (Pipeline(settings_with(ScriptedTransport()))._process for _ in range(2))
    for process in (parent, child):
        process.token.clear()
    parent.put(b"{}")

    child.inherit(parent)

    assert (parent.engine.queue.waiting, child.engine.queue.waiting) == (1, 0)


def test_threads_of_a_child_agree_on_what_is_theirs() -> None:
    """
    Two that find out about the fork at the same time go on with the same queue and ledger.
    """
    pipeline = Pipeline(settings_with(ScriptedTransport()))
    parent = pipeline._process
    parent.pid = -1
    first = pipeline._current()
    # The second thread had looked before the first was done.
    pipeline._process = parent

    second = pipeline._current()

    assert first is second is pipeline._process


def test_a_fork_while_a_child_finds_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Its own child does not go on with what is the first one's.
    """
    pipeline = Pipeline(settings_with(ScriptedTransport()))
    parent = pipeline._process
    parent.pid = -1
    first = pipeline._current()
    # The fork came just before this was written.
    pipeline._process = parent
    monkeypatch.setattr(os, "getpid", lambda: -2)

    second = pipeline._current()

    assert second is not first
    assert (second.pid, parent.heirs) == (-2, {first.pid: first, -2: second})


def test_a_closed_pipeline_stays_closed_in_a_child(pipeline: Pipeline) -> None:
    """
    Closing is final, also for children.
    """
    pipeline.submit(Event("A"))
    pipeline.close()
    pipeline._process.pid = -1
    pipeline._process.home = [0]

    accepted = pipeline.submit(Event("A"))

    assert not accepted
    assert pipeline.stats.dropped == {"closed": 1}


def test_its_repr_shows_no_secret(pipeline: Pipeline) -> None:
    """
    What stands in logs and tracebacks holds no credential.
    """
    assert "token=***" in repr(pipeline)


def test_nothing_leaks_over_many_pipelines() -> None:
    """
    Made, used and closed a hundred times over, nothing remains.
    """
    references = []
    for _ in range(100):
        with Pipeline(settings_with(ScriptedTransport())) as pipeline:
            pipeline.submit(Event("A"))
        references.append(weakref.ref(pipeline))
        del pipeline

    eventually(lambda: not delivering)
    gc.collect()

    assert not any(reference() for reference in references)


def test_our_own_logger_is_quiet_when_all_is_well(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A library that works has nothing to say.
    """
    with caplog.at_level(logging.DEBUG, "mixpanel_export"):
        pipeline.submit(Event("A"))
        pipeline.flush(10.0)

    assert caplog.messages == []


def test_updates_are_delivered(pipeline: Pipeline, transport: ScriptedTransport) -> None:
    """
    Each operation is a record of its own, in order; events beside them are not disturbed.
    """
    user: dict[str, Any] = {
        "set": {"a": 1},
        "set_once": {"b": 2},
        "add": {"c": 3},
        "append": {"d": 4},
        "union": {"e": [5]},
        "remove": {"f": 6},
    }
    group: dict[str, Any] = {
        "set": {"a": 1},
        "set_once": {"b": 2},
        "union": {"c": [3]},
        "remove": {"d": 4},
    }
    accepted = [
        pipeline.update_profile("u-1", **user, unset=["g"], ip="1.2.3.4"),
        pipeline.update_group("company", "acme", **group, unset=("x",)),
        pipeline.submit(identify_event("u-1", "a-1")),
        pipeline.submit(Event("A")),
    ]

    assert all(accepted)
    assert pipeline.flush(10.0)
    records = [orjson.loads(line) for line in transport.lines]
    of_user = {"$token": "t", "$distinct_id": "u-1", "$ip": "1.2.3.4"}
    assert [each for each in records if "$distinct_id" in each] == [
        *({**of_user, f"${name}": value} for name, value in user.items()),
        {**of_user, "$unset": ["g"]},
    ]
    of_group = {"$token": "t", "$group_key": "company", "$group_id": "acme"}
    assert [each for each in records if "$group_key" in each] == [
        *({**of_group, f"${name}": value} for name, value in group.items()),
        {**of_group, "$unset": ["x"]},
    ]
    assert {each.get("event") for each in records} == {None, "$identify", "A"}
    assert pipeline.stats.accepted == pipeline.stats.delivered == 14


def test_updates_leave_the_place_of_a_user_alone(
    pipeline: Pipeline, transport: ScriptedTransport
) -> None:
    """
    Unless told otherwise, the address from which they come says nothing.
    """
    pipeline.update_profile("u-1", set={"a": 1})
    pipeline.flush(10.0)

    assert orjson.loads(transport.lines[0])["$ip"] == "0"


def test_nothing_to_update_is_nothing(pipeline: Pipeline) -> None:
    """
    Without an operation there is no record.
    """
    assert pipeline.update_profile("u-1")
    assert pipeline.update_group("company", "acme")
    assert pipeline.stats.accepted == 0


def test_an_update_of_nobody_is_dropped(pipeline: Pipeline) -> None:
    """
    It is counted with its reason.
    """
    assert not pipeline.update_profile("", set={"a": 1})
    assert pipeline.stats.dropped == {"no_identity": 1}


def test_an_update_needs_the_token(transport: ScriptedTransport) -> None:
    """
    A service account cannot write profiles.
    """
    settings = Settings(
        service_account="s", service_secret="t", project_id="1", transport=transport
    )
    with Pipeline(settings) as pipeline:
        accepted = pipeline.update_profile("u-1", set={"a": 1})

    assert not accepted
    assert pipeline.stats.dropped == {"no_token": 1}


def test_updates_are_refused_when_there_is_no_room_or_no_more_time() -> None:
    """
    They share the bounds with events, and end with the pipeline.
    """
    gate = Gate()
    pipeline = Pipeline(settings_with(gate, max_events=1))
    first = pipeline.update_profile("u-1", set={"a": 1})
    second = pipeline.update_profile("u-1", set={"a": 2})
    gate.open.set()
    pipeline.close()
    third = pipeline.update_profile("u-1", set={"a": 3})

    assert (first, second, third) == (True, False, False)
    assert pipeline.stats.dropped == {"full": 1, "closed": 1}


def test_a_pipeline_goes_on_after_a_false_alarm(pipeline: Pipeline) -> None:
    """
    If the exit is called off, events wait for company again.
    """
    pipeline.finish_exit(pipeline.start_exit())

    pipeline.resume()

    pipeline.submit(Event("A"))
    assert pipeline.flush(10.0)


def test_metrics_are_published_where_they_are_used(
    monkeypatch: pytest.MonkeyPatch, transport: ScriptedTransport
) -> None:
    """
    Each request is timed, with the kind of its failure.
    """
    timed: list[str] = []
    monkeypatch.setattr(
        _metrics, "observe", lambda *_args: lambda _seconds, error: timed.append(error)
    )
    transport = ScriptedTransport(503)
    with Pipeline(settings_with(transport)) as pipeline:
        pipeline.submit(Event("A"))

    assert timed == ["Retryable", ""]


def test_a_request_is_timed_from_its_beginning_to_its_end() -> None:
    """
    In seconds, whatever the clock says.
    """
    clock = FakeClock()
    clock.advance(8.0)

    class Slow(ScriptedTransport):
        def send(self, request: Request, deadline: Deadline) -> Response:
            clock.advance(1.5)
            return super().send(request, deadline)

    timed: list[tuple[float, str]] = []
    pipeline = Pipeline(settings_with(Slow(), flush_interval=0.0), clock=clock)
    process = pipeline._process
    process.token.clear()
    process.time = lambda seconds, error: timed.append((seconds, error))
    pipeline.submit(Event("A"))
    process.engine.pack()
    shipment = process.engine.next()
    assert shipment is not None

    process.carry(shipment, Deadline(clock, None))

    assert timed == [(1.5, "")]


def test_what_asks_nobody_is_not_timed() -> None:
    """
    A batch that has to be split first has made no request.
    """
    clock = FakeClock()
    timed: list[tuple[float, str]] = []
    settings = settings_with(ScriptedTransport(), flush_interval=0.0, api="track")
    process = Pipeline(settings, clock=clock)._process
    process.token.clear()
    process.time = lambda seconds, error: timed.append((seconds, error))
    process.put(b'{"event":"A","properties":{"time":1000}}')
    process.engine.pack()
    shipment = process.engine.next()
    assert shipment is not None

    process.carry(shipment, Deadline(clock, None))

    assert timed == []


class Late(ScriptedTransport):
    """Submits an event at the very moment at which the pipeline goes to rest."""

    pipeline: Pipeline

    def close(self) -> None:
        super().close()
        if self.closed == 1:
            self.pipeline.submit(Event("late"))


@pytest.mark.parametrize("update", [False, True])
def test_a_worker_stays_for_what_comes_at_the_last_moment(*, update: bool) -> None:
    """
    An event that finds the worker neither there nor gone is delivered by it.
    """

    class LateUpdate(Late):
        def close(self) -> None:
            ScriptedTransport.close(self)
            if self.closed == 1:
                self.pipeline.update_profile("u-1", set={"a": 1})

    transport = LateUpdate() if update else Late()
    pipeline = transport.pipeline = Pipeline(settings_with(transport))
    pipeline.submit(Event("A"))

    pipeline.rest()

    eventually(lambda: pipeline.stats.delivered == 2)
    pipeline.close()


def test_a_worker_goes_if_another_is_on_its_way() -> None:
    """
    If the ring of a late event found the token, its worker takes over.
    """

    class Stolen(list[bool]):
        def append(self, _token: bool) -> None:
            """
            Lose it, as if somebody had popped it at once.
            """

    transport = Late()
    pipeline = transport.pipeline = Pipeline(settings_with(transport))
    process = pipeline._process
    process.token = Stolen()
    process.retiring = True

    retired = process.retire()

    assert retired
    assert process.engine.queue.waiting == 1
    process.token = [True]
    assert pipeline.close()


def test_there_is_nothing_to_deliver_when_all_is_under_way() -> None:
    """
    A caller that delivers itself stops when only other threads can bring news.
    """
    clock = FakeClock()
    pipeline = Pipeline(settings_with(ScriptedTransport()), clock=clock)

    pipeline._process.deliver_here(lambda: False, Deadline(clock, 60.0))

    assert clock.monotonic() == 0.0
    assert threading.get_ident() not in delivering
    pipeline.close()


def test_metrics_are_asked_for_once(
    monkeypatch: pytest.MonkeyPatch, transport: ScriptedTransport
) -> None:
    """
    A pipeline that rests and goes on is still the same one; what observing it logs is about it.
    """
    asked: list[tuple[object, object, bool]] = []

    def observe(engine: object, settings: object) -> Callable[[float, str], None]:
        asked.append((engine, settings, is_delivering(threading.get_ident())))
        return lambda _seconds, _error: None

    monkeypatch.setattr(_metrics, "observe", observe)
    with Pipeline(settings_with(transport)) as pipeline:
        pipeline.submit(Event("A"))
        pipeline.rest()
        eventually(lambda: transport.closed == 1)
        pipeline.submit(Event("B"))

    engine = pipeline._process.engine
    assert [each for each in asked if each[0] is engine] == [(engine, pipeline.settings, True)]


def test_a_caller_that_delivers_itself_goes_on_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    While another caller has the only batch in flight, what comes back is still waited for.
    """
    gate = Gate(503)
    pipeline = Pipeline(settings_with(gate))

    def refuse(*_args: object) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    with monkeypatch.context() as patch:
        patch.setattr("_thread.start_new_thread", refuse)
        pipeline.submit(Event("A"))
        process = pipeline._process
        process.engine.hurry()
        process.engine.pack()
        shipment = process.engine.next()
        assert shipment is not None
        in_time = pipeline.flush(0.12)
        gate.open.set()
        process.carry(shipment, Deadline(pipeline._clock, None))

        assert not in_time
        assert pipeline.flush(10.0)
    pipeline.close()


def test_a_caller_that_delivers_itself_waits_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    While another caller has the only batch in flight it looks again and again, and sees the end.
    """
    looks = threading.Semaphore(0)

    class Watched(SystemClock):
        def wait(self, condition: threading.Condition, seconds: float | None) -> None:
            looks.release()
            super().wait(condition, seconds)

    pipeline = Pipeline(settings_with(ScriptedTransport()), clock=Watched())
    process = pipeline._process
    answers: list[bool] = []
    monkeypatch.setattr(process, "start", lambda: False)
    pipeline.submit(Event("A"))
    process.engine.hurry()
    process.engine.pack()
    shipment = process.engine.next()
    assert shipment is not None
    caller = threading.Thread(target=lambda: answers.append(pipeline.flush(10.0)))
    caller.start()
    looked = [looks.acquire(timeout=10.0) for _ in range(3)]
    process.carry(shipment, Deadline(pipeline._clock, None))
    caller.join()

    assert looked == [True] * 3
    assert answers == [True]
