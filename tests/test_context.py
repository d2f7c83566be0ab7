"""
What is bound holds where it was bound, and nowhere else.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from contextvars import copy_context
from threading import Barrier, Thread
from typing import Any, cast

import pytest

from mixpanel_export import bind, bound, clear, unbind
from mixpanel_export._context import Holder, current, plus, unbound


@pytest.fixture(autouse=True)
def _nothing_bound() -> Iterator[None]:
    """
    Nothing is bound before a test, and nothing stays after it.
    """
    clear()
    yield
    clear()


@pytest.fixture
def _hectic() -> Iterator[None]:
    """
    Let threads interrupt each other much more often than they do.
    """
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def test_nothing_is_bound_at_first() -> None:
    """
    A program that never binds carries nothing.
    """
    assert copy_context().run(current) == {}


def test_what_is_bound_adds_up() -> None:
    """
    One `bind` after another adds to what is there, and the later one wins.
    """
    bind(distinct_id="u-1", plan="free")
    bind(plan="pro", seats=3)

    assert current() == {"distinct_id": "u-1", "plan": "pro", "seats": 3}


def test_names_that_are_no_identifiers_are_bound_by_a_mapping() -> None:
    """
    A mapping binds any name, also one that is a parameter elsewhere, and keywords go before it.
    """
    bind({"$user_id": "u-1", "plan": "free"}, plan="pro", properties="mine")

    assert current() == {"$user_id": "u-1", "plan": "pro", "properties": "mine"}


def test_binding_a_mapping_copies_it() -> None:
    """
    A mapping that changes later does not change what was bound.
    """
    given = {"plan": "pro"}
    bind(given)

    given["plan"] = "free"

    assert current() == {"plan": "pro"}


def test_what_was_seen_does_not_change() -> None:
    """
    Whoever looked up what is bound keeps what they saw, whatever is bound and unbound later.
    """
    bind(plan="free")
    seen = current()

    bind(plan="pro")
    unbind("plan")

    assert seen == {"plan": "free"}


def test_unbind_removes_names() -> None:
    """
    Names are unbound one by one, and names that are not bound are ignored.
    """
    bind(distinct_id="u-1", plan="pro", seats=3)

    unbind("plan", "seats", "colour")

    assert current() == {"distinct_id": "u-1"}


def test_clear_removes_everything() -> None:
    """
    After `clear` nothing is bound.
    """
    bind(distinct_id="u-1", plan="pro")

    clear()

    assert current() == {}


def test_nothing_cannot_be_written_to() -> None:
    """
    The mapping that stands for nothing is shared, so nobody can put something into it.
    """
    with pytest.raises(TypeError):
        cast("Any", current())["plan"] = "pro"


def test_a_block_binds_inside_only() -> None:
    """
    What a block binds is gone after it, and what it covered is back.
    """
    bind(plan="free")

    with bound({"$user_id": "u-1"}, plan="pro"):
        inside = current()

    assert inside == {"$user_id": "u-1", "plan": "pro"}
    assert current() == {"plan": "free"}


def test_blocks_nest() -> None:
    """
    An inner block adds to the outer one and takes only its own away.
    """
    with bound(distinct_id="u-1"):
        with bound(plan="pro"):
            inner = current()
        outer = current()

    assert inner == {"distinct_id": "u-1", "plan": "pro"}
    assert outer == {"distinct_id": "u-1"}


def test_a_block_cleans_up_after_an_error() -> None:
    """
    An error goes through the block as it is, and nothing stays bound.
    """
    with pytest.raises(LookupError, match="nothing there"), bound(plan="pro"):
        raise LookupError("nothing there")

    assert current() == {}


def test_a_block_restores_what_was_before_it() -> None:
    """
    Whatever the block's body binds, unbinds or clears, afterwards all is as before.
    """
    bind(distinct_id="u-1")

    with bound(plan="pro"):
        clear()
        bind(seats=3)

    assert current() == {"distinct_id": "u-1"}


def test_a_block_may_begin_with_nothing() -> None:
    """
    Whatever was bound, and whatever is bound inside, afterwards all is as before.
    """
    bind(plan="pro")

    with unbound():
        inside = dict(current())
        bind(seats=3)
    after = dict(current())

    assert inside == {}
    assert after == {"plan": "pro"}


def test_a_function_can_be_decorated() -> None:
    """
    A decorated function runs with what is bound, each time it is called.
    """

    @bound(plan="pro")
    def work() -> dict[str, object]:
        return dict(current())

    seen = [work(), work()]

    assert seen == [{"plan": "pro"}, {"plan": "pro"}]
    assert current() == {}


def test_a_new_thread_starts_with_nothing() -> None:
    """
    What one thread binds is not seen by another.
    """
    bind(distinct_id="u-1")
    seen: list[object] = []

    def work() -> None:
        seen.append(dict(current()))
        bind(distinct_id="u-2")

    thread = Thread(target=work)
    thread.start()
    thread.join()

    assert seen == [{}]
    assert current() == {"distinct_id": "u-1"}


def test_a_copied_context_keeps_what_it_saw() -> None:
    """
    A copy of the context carries what was bound when it was made, and binds for itself alone.
    """
    bind(plan="free")
    copy = copy_context()
    bind(plan="pro")

    seen = copy.run(current)
    copy.run(bind, seats=3)

    assert seen == {"plan": "free"}
    assert current() == {"plan": "pro"}


def test_tasks_inherit_and_do_not_mix() -> None:
    """
    A task starts with what its maker had bound, and what tasks bind stays in each of them.
    """

    async def request(user: str) -> dict[str, object]:
        bind(distinct_id=user)
        await asyncio.sleep(0)
        return dict(current())

    async def serve() -> list[dict[str, object]]:
        bind(server="a")
        return list(await asyncio.gather(request("u-1"), request("u-2")))

    seen = asyncio.run(serve())

    assert seen == [
        {"server": "a", "distinct_id": "u-1"},
        {"server": "a", "distinct_id": "u-2"},
    ]
    assert current() == {}


def test_a_generator_may_be_finished_in_another_context() -> None:
    """
    A block that is left in another context than the one that entered it raises nothing.
    """

    def steps() -> Iterator[None]:
        with bound(plan="pro"):
            yield

    generator = steps()
    copy_context().run(next, generator)

    with suppress(StopIteration):
        next(generator)

    assert current() == {}


# -- inside a request ---------------------------------------------------------------------------


def test_a_holder_is_what_is_bound_while_it_is_open() -> None:
    """
    Inside there is what was bound outside and what its source says; afterwards all is as before.
    """
    bind(server="a", plan="free")

    with Holder(lambda: {"plan": "pro", "ip": "203.0.113.9"}).open():
        inside = dict(current().items())

    assert inside == {"server": "a", "plan": "pro", "ip": "203.0.113.9"}
    assert current() == {"server": "a", "plan": "free"}


def test_a_holder_reads_like_a_mapping() -> None:
    """
    Whoever asks for a name, for all names, for their number gets the answers of a mapping.
    """
    with Holder(lambda: {"plan": "pro"}).open():
        assert current()["plan"] == "pro"
        assert list(current()) == ["plan"]
        assert len(current()) == 1
        assert current()
        bind(seats=3)
        assert dict(current()) == {"plan": "pro", "seats": 3}
        clear()
        assert not current()


def test_a_holder_is_equal_to_itself_only() -> None:
    """
    Comparing context variables, as asgiref does, asks nobody anything.
    """
    asked: list[str] = []

    def source() -> dict[str, object]:
        asked.append("who")
        return {}

    one, other = Holder(source), Holder(source)

    assert one == one  # noqa: PLR0124 -- that is the question
    assert one != other
    assert len({one, other}) == 2
    assert asked == []


def test_the_source_is_asked_when_somebody_reads() -> None:
    """
    Binding asks for nothing; each reading asks once, since the answer may have changed.
    """
    answers = iter(["u-1", "u-2", "u-3"])

    with Holder(lambda: {"distinct_id": next(answers)}).open():
        bind(plan="pro")
        unbind("seats")
        with bound(item=1):
            first = dict(current().items())
        second = dict(current().items())

    assert first == {"distinct_id": "u-1", "plan": "pro", "item": 1}
    assert second == {"distinct_id": "u-2", "plan": "pro"}
    assert next(answers) == "u-3"


def test_something_can_be_put_on_top_without_asking() -> None:
    """
    A door knows more of a record than its fields and does not yet know whether it is an event.
    """
    asked: list[str] = []

    def source() -> dict[str, object]:
        asked.append("who")
        return {"distinct_id": "u-1", "plan": "pro"}

    with Holder(source).open():
        more = plus(current(), {"plan": "free", "line": 7})
        before = list(asked)
        found = dict(more.items())

    assert before == []
    assert found == {"distinct_id": "u-1", "plan": "free", "line": 7}
    assert plus({"plan": "pro"}, {"line": 7}) == {"plan": "pro", "line": 7}


def test_what_copies_of_the_context_bind_reaches_the_whole_request() -> None:
    """
    A thread of a pool and a task run in copies; what they bind is there for the one who waits.
    """

    async def look_up(user: str) -> None:
        bind(distinct_id=user)

    async def handle() -> dict[str, object]:
        with Holder(dict).open():
            await asyncio.create_task(look_up("u-1"))
            await asyncio.to_thread(bind, plan="pro")
            await asyncio.to_thread(unbind, "colour")
            return dict(current().items())

    async def serve() -> list[dict[str, object]]:
        return [await handle(), dict(current())]

    first, after = asyncio.run(serve())

    assert first == {"distinct_id": "u-1", "plan": "pro"}
    assert after == {}


def test_requests_do_not_mix() -> None:
    """
    Requests that run at once, and one after another in the same thread, see only their own.
    """

    async def handle(user: str) -> dict[str, object]:
        with Holder(dict).open():
            bind(distinct_id=user)
            await asyncio.sleep(0)
            await asyncio.to_thread(bind, seen=user)
            return dict(current().items())

    async def serve() -> list[dict[str, object]]:
        return list(await asyncio.gather(handle("u-1"), handle("u-2")))

    seen = asyncio.run(serve())
    with Holder(dict).open():
        bind(distinct_id="u-3")
    with Holder(dict).open():
        later = dict(current().items())

    assert seen == [{"distinct_id": "u-1", "seen": "u-1"}, {"distinct_id": "u-2", "seen": "u-2"}]
    assert later == {}


def test_parallel_tasks_of_a_request_do_not_mix_their_blocks() -> None:
    """
    `bound` holds in its block and nowhere else, also when others of the same request bind.
    """

    async def work(item: int, started: asyncio.Event, go_on: asyncio.Event) -> dict[str, object]:
        with bound(item=item):
            started.set()
            await go_on.wait()
            bind(inner=item)
            return dict(current().items())

    async def handle() -> list[dict[str, object]]:
        with Holder(lambda: {"ip": "203.0.113.9"}).open():
            one, two = asyncio.Event(), asyncio.Event()
            parts = [asyncio.create_task(work(1, one, two)), asyncio.create_task(work(2, two, one))]
            return [*await asyncio.gather(*parts), dict(current().items())]

    first, second, request = asyncio.run(handle())

    assert first == {"ip": "203.0.113.9", "item": 1, "inner": 1}
    assert second == {"ip": "203.0.113.9", "item": 2, "inner": 2}
    assert request == {"ip": "203.0.113.9"}


def test_what_the_source_says_can_be_unbound() -> None:
    """
    `unbind` and `clear` take away what middleware has put there, and `bind` puts it back.
    """
    with Holder(lambda: {"ip": "203.0.113.9", "plan": "pro"}).open():
        unbind("ip")
        without = dict(current().items())
        bind(ip="198.51.100.7")
        other = dict(current().items())
        clear()
        nothing = dict(current().items())

    assert without == {"plan": "pro"}
    assert other == {"plan": "pro", "ip": "198.51.100.7"}
    assert nothing == {}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"plan": "pro"}, {"$user_id": "u-1", "$device_id": "d-1", "plan": "pro"}),
        ({"distinct_id": "u-2"}, {"distinct_id": "u-2"}),
        ({"distinct_id": ""}, {"distinct_id": ""}),
        ({"$user_id": "u-2"}, {"$user_id": "u-2", "$device_id": "d-1"}),
        ({"$device_id": "d-2"}, {"$user_id": "u-1", "$device_id": "d-2"}),
    ],
)
def test_an_identity_replaces_the_one_below(
    given: dict[str, object], expected: dict[str, object]
) -> None:
    """
    An event carries the identity that was bound last and no part of another user's.
    """
    with Holder(lambda: {"$user_id": "u-1", "$device_id": "d-1"}).open():
        bind(given)
        seen = dict(current().items())

    assert seen == expected


def test_a_holder_can_start_with_another_ones() -> None:
    """
    A task that runs inside a request sees the request's; what it binds stays with it.
    """
    with Holder(lambda: {"distinct_id": "u-1", "ip": "203.0.113.9"}).open():
        bind(plan="pro")
        with Holder(lambda: {"$user_id": "u-2"}, within=current()).open():
            bind(job="mail")
            inner = dict(current().items())
        outer = dict(current().items())

    assert inner == {"$user_id": "u-2", "ip": "203.0.113.9", "plan": "pro", "job": "mail"}
    assert outer == {"distinct_id": "u-1", "ip": "203.0.113.9", "plan": "pro"}


def test_a_holder_made_inside_another_one_has_nothing_of_it() -> None:
    """
    A server may begin a request in the context of the one before; only what was bound around both
    is there.
    """
    bind(server="a")
    seen: list[dict[str, object]] = []

    def begin() -> None:
        with Holder(lambda: {"ip": "198.51.100.7"}).open():
            seen.append(dict(current().items()))

    with Holder(lambda: {"distinct_id": "u-1"}).open():
        bind(plan="pro")
        copy_context().run(begin)
        with bound(item=1):
            copy_context().run(begin)
        with Holder(dict, within=current()).open():
            copy_context().run(begin)

    assert seen == [{"server": "a", "ip": "198.51.100.7"}] * 3


def test_a_source_that_reads_what_is_bound_does_not_ask_itself() -> None:
    """
    A database that logs while it is asked who the user is would never come to an end otherwise.
    """
    seen: list[dict[str, object]] = []

    def source() -> dict[str, object]:
        seen.append(dict(current().items()))
        return {"distinct_id": "u-1"}

    with Holder(source).open():
        bind(plan="pro")
        result = dict(current().items())

    assert result == {"distinct_id": "u-1", "plan": "pro"}
    assert seen == [{"plan": "pro"}]


def test_a_source_that_fails_can_be_asked_again() -> None:
    """
    An error comes to whoever reads, and does not make the next reading think that it is inside.
    """
    fails = iter([True, False])

    def source() -> dict[str, object]:
        if next(fails):
            raise LookupError("no database")
        return {"distinct_id": "u-1"}

    with Holder(source).open():
        with pytest.raises(LookupError):
            current().items()
        assert dict(current().items()) == {"distinct_id": "u-1"}


@pytest.mark.usefixtures("_hectic")
def test_threads_of_a_request_lose_nothing() -> None:
    """
    What many threads bind at once is all there, although they interrupt each other all the time.
    """
    start = Barrier(8)

    def work(number: int) -> None:
        start.wait()
        for each in range(200):
            bind({f"{number}-{each}": each})

    with Holder(dict).open():
        threads = [Thread(target=copy_context().run, args=(work, number)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = dict(current().items())

    assert len(found) == 1_600


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_child_binds_although_a_thread_was_binding_when_it_was_forked() -> None:
    """
    The lock that a thread of the parent held is not held in the child.
    """
    script = """
import os, sys, threading
from mixpanel_export import bind
from mixpanel_export._context import Holder, _changing, current

taken, forked = threading.Event(), threading.Event()

def hold():
    with _changing:
        taken.set()
        forked.wait()

with Holder(dict).open():
    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait()
    child = os.fork()
    if not child:
        bind(plan="pro")
        os._exit(0 if dict(current().items()) == {"plan": "pro"} else 1)
    _, status = os.waitpid(child, 0)
    forked.set()
    thread.join()
sys.exit(os.waitstatus_to_exitcode(status))
"""

    ran = subprocess.run([sys.executable, "-c", script], timeout=60, check=False)

    assert ran.returncode == 0
