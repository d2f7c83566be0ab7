"""
The bounded queue in memory.
"""

from __future__ import annotations

import gc
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

import pytest

from mixpanel_export._batch import Batch, Lane
from mixpanel_export._queue import MemoryQueue
from mixpanel_export._update import Aside

LINE = b"x" * 10


class Bell:
    """Counts how often it was rung."""

    def __init__(self) -> None:
        self.rings = 0

    def __call__(self) -> None:
        self.rings += 1


@pytest.fixture
def bell() -> Bell:
    """
    Hang up a bell.
    """
    return Bell()


def make(
    bell: Bell,
    *,
    max_events: int = 100,
    max_bytes: int = 10_000,
    batch_events: int = 5,
    batch_bytes: int = 1_000,
) -> MemoryQueue:
    """
    Make a small queue.
    """
    return MemoryQueue(
        max_events=max_events,
        max_bytes=max_bytes,
        batch_events=batch_events,
        batch_bytes=batch_bytes,
        ring=bell,
    )


def test_lines_come_out_in_the_order_in_which_they_went_in(bell: Bell) -> None:
    """
    What is taken is the oldest, in order.
    """
    queue = make(bell)
    lines = [b"%d" % number for number in range(7)]

    accepted = [queue.put(line) for line in lines]

    assert all(accepted)
    assert len(queue) == 7
    assert queue.take() == lines[:5]
    assert queue.take() == lines[5:]
    assert queue.take() == []


def test_the_first_line_rings(bell: Bell) -> None:
    """
    An idle worker hears of the first line, and not of each that follows.
    """
    queue = make(bell)

    for _ in range(4):
        queue.put(LINE)

    assert bell.rings == 1


def test_a_full_batch_rings(bell: Bell) -> None:
    """
    Once armed for a batch, the line that completes it rings, once.
    """
    queue = make(bell)
    queue.arm(batch=True)

    rings = []
    for _ in range(7):
        queue.put(LINE)
        rings.append(bell.rings)

    assert rings == [0, 0, 0, 0, 1, 1, 1]
    assert queue.full_batch


def test_a_batch_of_bytes_rings(bell: Bell) -> None:
    """
    A few long lines are a batch too.
    """
    queue = make(bell, batch_bytes=100)
    queue.arm(batch=True)

    queue.put(b"x" * 60)
    before = bell.rings
    queue.put(b"x" * 60)

    assert (before, bell.rings) == (0, 1)
    assert queue.full_batch


def test_exactly_a_batch_of_bytes_rings(bell: Bell) -> None:
    """
    The byte that completes a batch rings, whatever is held beside it, and however that changed.
    """
    queue = make(bell, max_bytes=1_000, batch_bytes=100)
    settlements: list[Callable[[], None]] = [
        lambda: None,
        lambda: queue.resize(100, 30),
        lambda: queue.release(2, 30),
        lambda: queue.release(2, 50),
    ]
    rings = []

    for settle in settlements:
        settle()
        queue.arm(batch=True)
        before = bell.rings
        queue.put(b"x" * 50)
        rings.append(bell.rings - before)
        queue.put(b"x" * 50)
        rings.append(bell.rings - before)
        queue.take()
        queue.take()

    assert rings == [0, 1] * 4


def test_a_batch_is_full_at_its_bounds(bell: Bell) -> None:
    """
    Exactly as many lines or bytes as a batch carries are one, fewer are not.
    """
    lines, sizes = make(bell, batch_events=3), make(bell, batch_bytes=100)
    full = []

    for _ in range(3):
        full.append((lines.full_batch, sizes.full_batch))
        lines.put(LINE)
        sizes.put(b"x" * 50)

    assert full == [(False, False), (False, False), (False, True)]
    assert lines.full_batch


def test_an_armed_queue_rings_for_the_next_line(bell: Bell) -> None:
    """
    Armed without a batch in mind, the very next line rings.
    """
    queue = make(bell)
    queue.put(LINE)
    queue.take()
    queue.arm(batch=False)

    queue.put(LINE)

    assert bell.rings == 2


def test_the_number_of_events_is_bounded(bell: Bell) -> None:
    """
    The line beyond `max_events` is refused, and what was taken still counts.
    """
    queue = make(bell, max_events=6)

    accepted = [queue.put(LINE) for _ in range(8)]
    queue.take()
    while_taken = queue.put(LINE)

    assert accepted == [True] * 6 + [False] * 2
    assert not while_taken
    assert queue.held_events == 6


def test_the_number_of_bytes_is_bounded(bell: Bell) -> None:
    """
    A line that would exceed `max_bytes` is refused and takes no room.
    """
    queue = make(bell, max_bytes=100)

    accepted = [queue.put(b"x" * 40) for _ in range(3)]

    assert accepted == [True, True, False]
    assert queue.held_bytes == 80
    assert queue.put(b"x" * 20)


def test_released_room_can_be_used_again(bell: Bell) -> None:
    """
    What is settled makes room, in events and in bytes.
    """
    queue = make(bell, max_events=5, max_bytes=100)
    for _ in range(5):
        queue.put(LINE)
    queue.take()
    queue.resize(50, 8)
    held = queue.held_bytes

    queue.release(5, 8)

    assert held == 8
    assert (queue.held_events, queue.held_bytes, queue.waiting_bytes) == (0, 0, 0)
    assert queue.put(b"x" * 100)


def test_a_batch_keeps_within_its_bytes(bell: Bell) -> None:
    """
    Lines that do not fit are left where they were, in order.
    """
    queue = make(bell, batch_bytes=100)
    lines = [b"%02d" % number + b"x" * 38 for number in range(5)]
    for line in lines:
        queue.put(line)

    taken = [queue.take(), queue.take(), queue.take()]

    assert taken == [lines[:2], lines[2:4], lines[4:]]


def test_several_threads_lose_nothing(bell: Bell) -> None:
    """
    Threads that put at once are all counted, and the bytes come out even.
    """
    queue = make(bell, max_events=100_000, max_bytes=10**9, batch_events=2_000, batch_bytes=10**6)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    threads = [
        threading.Thread(target=lambda: [queue.put(LINE) for _ in range(5_000)]) for _ in range(4)
    ]
    try:
        for thread in threads:
            thread.start()
        taken = 0
        while any(thread.is_alive() for thread in threads) or len(queue):
            taken += len(queue.take())
    finally:
        sys.setswitchinterval(interval)

    assert taken == 20_000
    assert queue.held_bytes == 200_000
    queue.release(20_000, 200_000)
    assert (queue.held_events, queue.held_bytes) == (0, 0)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer that interrupts")
def test_put_may_interrupt_itself(bell: Bell) -> None:
    """
    A signal handler that puts while the same thread is in `put` neither deadlocks nor miscounts.
    """
    queue = make(bell, max_events=10**9, max_bytes=10**12)
    inside: list[bool] = []

    def handler(_number: int, _frame: FrameType | None) -> None:
        # It may interrupt itself, too: appending is one step, adding up is not.
        inside.append(queue.put(b"inner"))

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    outer = 0
    try:
        while len(inside) < 50:
            outer += queue.put(LINE)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert all(inside)
    assert len(queue) == outer + len(inside)
    assert queue.held_bytes == 10 * outer + 5 * len(inside)


def test_a_finaliser_may_put(bell: Bell) -> None:
    """
    An object that puts when it is collected may be collected in the middle of a `put`.
    """
    queue = make(bell, max_events=10**9, max_bytes=10**12)

    class Last:
        def __init__(self) -> None:
            self.cycle = self

        def __del__(self) -> None:
            queue.put(b"last words")

    for _ in range(100):
        Last()
        queue.put(LINE)
    gc.collect()

    assert len(queue) == 200


def aside(size: int = 10, *, lane: Lane = Lane.ENGAGE, repeatable: bool = True) -> Aside:
    """
    Make a line of another lane.
    """
    return Aside(lane, b"x" * size, repeatable)


def test_other_lanes_have_the_same_bounds(bell: Bell) -> None:
    """
    Updates count against both bounds as events do, and ring at once.
    """
    events = make(bell, max_events=3)
    sizes = make(bell, max_bytes=25)

    accepted = [events.put(LINE), events.put_aside(aside()), events.put_aside(aside())]
    full = [events.put_aside(aside()), events.put(LINE)]
    by_size = [sizes.put_aside(aside()) for _ in range(3)]

    assert all(accepted)
    assert not any(full)
    assert by_size == [True, True, False]
    assert (events.waiting, events.aside, len(events)) == (3, 2, 1)
    assert sizes.held_bytes == 20


def test_only_like_goes_with_like(bell: Bell) -> None:
    """
    A batch has one lane, and one answer to whether it may be repeated; the order is kept.
    """
    queue = make(bell)
    lines = [
        aside(),
        aside(),
        aside(repeatable=False),
        aside(lane=Lane.GROUPS),
        aside(),
    ]
    for each in lines:
        queue.put_aside(each)

    taken = []
    while batch := queue.take_aside(10, 1_000):
        taken.append(batch)

    assert taken == [lines[:2], lines[2:3], lines[3:4], lines[4:]]
    assert queue.held_events == 5
    assert queue.held_bytes == 50


def test_batches_of_other_lanes_are_bounded(bell: Bell) -> None:
    """
    So many lines at most, so many bytes at most, and one at least.
    """
    queue = make(bell)
    for _ in range(6):
        queue.put_aside(aside(40))

    sizes = [
        len(queue.take_aside(2, 1_000)),
        len(queue.take_aside(10, 100)),
        len(queue.take_aside(10, 1)),
    ]

    assert sizes == [2, 2, 1]


def test_what_is_taken_waits_no_more(bell: Bell) -> None:
    """
    Bytes are held from the first moment to the last, and wait until they are taken.
    """
    queue = make(bell, batch_events=2)
    seen = []

    def look() -> None:
        seen.append((queue.waiting_bytes, queue.held_bytes))

    for _ in range(4):
        queue.put(LINE)
        queue.put_aside(aside(100))
    look()
    queue.take()
    queue.take_aside(2, 1_000)
    look()
    queue.take()
    queue.take_aside(2, 1_000)
    look()
    queue.resize(200, 20)
    look()
    queue.release(4, 40)
    look()

    assert seen == [(440, 440), (220, 440), (0, 440), (0, 260), (0, 220)]


def test_other_lanes_may_fill_the_queue_to_the_last_byte(bell: Bell) -> None:
    """
    Neither bound is reached too early.
    """
    queue = make(bell, max_bytes=25)

    accepted = [queue.put_aside(aside(size)) for size in (20, 5, 0, 1)]

    assert accepted == [True, True, True, False]
    assert queue.held_bytes == 25


@pytest.mark.parametrize(("max_bytes", "count"), [(85, 2), (125, 2), (126, 3), (127, 3)])
def test_a_batch_of_another_lane_keeps_within_its_bytes(
    bell: Bell, max_bytes: int, count: int
) -> None:
    """
    Brackets and separators count: three lines of 40 bytes take 126 in a body.
    """
    queue = make(bell)
    for _ in range(4):
        queue.put_aside(aside(40))

    taken = queue.take_aside(10, max_bytes)

    assert len(taken) == count
    assert Batch.of([each.line for each in taken]).raw_size <= max_bytes
