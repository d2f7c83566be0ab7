"""
What is bound holds where it was bound, and nowhere else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from contextvars import copy_context
from threading import Thread
from typing import Any, cast

import pytest

from mixpanel_export import bind, bound, clear, unbind
from mixpanel_export._context import current


@pytest.fixture(autouse=True)
def _nothing_bound() -> Iterator[None]:
    """
    Nothing is bound before a test, and nothing stays after it.
    """
    clear()
    yield
    clear()


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
