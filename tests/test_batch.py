"""
Lines are packed into one body, and come out of it again as they were.
"""

from __future__ import annotations

import dataclasses
import gzip as standard_gzip
import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixpanel_export._batch import Batch, Lane, fitting
from tests import effort

# The same examples on every run: a failure that is seen once is seen again.
steadily = effort.steadily(200)

# What could be taken for the end of a line, an element or a string.
tricky = st.sampled_from([",\n", "\n", '",\n"', "\\", '"', "],\n[", "\u2028", "é", "😀", "\0"])
texts = st.lists(tricky, max_size=4).map("".join) | st.text(max_size=4)
values = texts | st.integers() | st.none()
documents = st.lists(values, max_size=3) | st.dictionaries(texts, values, max_size=3) | values
lines_of_json = st.builds(
    lambda document, ascii_only: json.dumps(document, ensure_ascii=ascii_only).encode(),
    documents,
    st.booleans(),
)
several_lines = st.lists(lines_of_json, min_size=1, max_size=6)


def some_lines(count: int, size: int = 20) -> list[bytes]:
    """
    Make different lines of the same length.
    """
    return [orjson.dumps(f"{number:0{size - 2}}") for number in range(count)]


@pytest.mark.parametrize("gzip", [True, False])
@steadily
@given(lines=several_lines)
def test_lines_come_out_as_they_went_in(gzip: bool, lines: list[bytes]) -> None:
    """
    Whatever the lines say, a batch gives back the same ones in the same order.
    """
    batch = Batch.of(lines, gzip=gzip)

    assert batch.lines() == lines
    assert batch.count == len(lines)


@pytest.mark.parametrize("gzip", [True, False])
@steadily
@given(lines=several_lines)
def test_a_body_is_a_json_array(gzip: bool, lines: list[bytes]) -> None:
    """
    What is sent is one JSON array of all lines, whose size before compression is known.
    """
    batch = Batch.of(lines, gzip=gzip)

    array = standard_gzip.decompress(batch.body) if gzip else batch.body
    assert json.loads(array) == [json.loads(line) for line in lines]
    assert batch.raw_size == len(array)
    assert batch.gzip is gzip


def test_lines_are_compressed_unless_told_otherwise() -> None:
    """
    A batch is gzip, and takes much less room than what it holds.
    """
    batch = Batch.of(some_lines(2_000))

    assert batch.gzip
    assert batch.body.startswith(b"\x1f\x8b")
    assert len(batch.body) < batch.raw_size / 4


def test_lines_are_events_unless_told_otherwise() -> None:
    """
    Events go to /import, and may be sent twice: Mixpanel knows them by their ids.
    """
    batch = Batch.of([b"{}"])

    assert (batch.lane, batch.repeatable) == (Lane.IMPORT, True)


def test_a_plain_batch_is_readable() -> None:
    """
    Without compression the lines stand in the body as they are, one below the other.
    """
    batch = Batch.of([b'{"a":1}', b'{"b":2}'], gzip=False)

    assert batch.body == b'[{"a":1},\n{"b":2}]'


@pytest.mark.parametrize("gzip", [True, False])
def test_the_same_lines_give_the_same_bytes(gzip: bool) -> None:
    """
    Nothing in a body depends on when or where it was made.
    """
    one, other = (Batch.of(some_lines(100), gzip=gzip) for _ in range(2))

    assert one == other
    assert one.body == other.body


@pytest.mark.parametrize("gzip", [True, False])
@steadily
@given(lines=st.lists(lines_of_json, min_size=2, max_size=6))
def test_halves_lose_nothing(gzip: bool, lines: list[bytes]) -> None:
    """
    The first half and then the last are the whole, in its order, and neither is empty.
    """
    batch = Batch.of(lines, gzip=gzip)

    first, last = batch.halves()

    assert first.lines() + last.lines() == lines
    assert 0 <= last.count - first.count <= 1
    assert first.gzip is last.gzip is gzip


def test_halving_ends_at_single_lines() -> None:
    """
    Halves of halves end in every single line.
    """
    lines = some_lines(9)
    batches = [Batch.of(lines)]

    while any(batch.count > 1 for batch in batches):
        batches = [
            half for each in batches for half in (each.halves() if each.count > 1 else (each,))
        ]

    assert [batch.lines() for batch in batches] == [[line] for line in lines]


def test_one_line_has_no_halves() -> None:
    """
    A batch of one line cannot be split.
    """
    with pytest.raises(ValueError, match=r"^a batch of one line has no halves$"):
        Batch.of([b"{}"]).halves()


@pytest.mark.parametrize("name", [each.name for each in dataclasses.fields(Batch)])
def test_a_batch_does_not_change(name: str) -> None:
    """
    What was sealed stays as it is.
    """
    batch: Any = Batch.of([b"{}"])

    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(batch, name, None)


@steadily
@given(
    sizes=st.lists(st.integers(0, 100), min_size=1, max_size=50),
    max_bytes=st.integers(0, 3_000),
)
def test_what_fits_is_as_much_as_fits(sizes: list[int], max_bytes: int) -> None:
    """
    The lines that fit make a body within the limit, one more would not; but one is always taken.
    """
    lines = [b"x" * size for size in sizes]

    count, size = fitting(lines, max_bytes)
    assert size == sum(map(len, lines[:count]))

    assert 1 <= count <= len(lines)
    assert count == 1 or Batch.of(lines[:count]).raw_size <= max_bytes
    assert count == len(lines) or Batch.of(lines[: count + 1]).raw_size > max_bytes


@pytest.mark.parametrize(("max_bytes", "count"), [(64, 2), (65, 2), (66, 3), (67, 3)])
def test_brackets_and_separators_count(max_bytes: int, count: int) -> None:
    """
    Three lines of 20 bytes take 66 in a body: two brackets, and two bytes between two lines.
    """
    assert fitting(some_lines(3), max_bytes)[0] == count


def test_packing_all_lines_loses_none() -> None:
    """
    Taking what fits again and again puts every line into one batch, within the limit.
    """
    lines = some_lines(1_000, size=37)
    left, batches = lines, []

    while left:
        count, _ = fitting(left, 5_000)
        batches.append(Batch.of(left[:count]))
        left = left[count:]

    assert [line for batch in batches for line in batch.lines()] == lines
    assert all(batch.raw_size <= 5_000 for batch in batches)


def test_parts_are_of_the_same_kind() -> None:
    """
    What is split keeps its lane and whether it may be repeated.
    """
    batch = Batch.of([b"1", b"2"], gzip=False, lane=Lane.ENGAGE, repeatable=False)

    halves = batch.halves()

    assert {(half.gzip, half.lane, half.repeatable) for half in halves} == {
        (False, Lane.ENGAGE, False)
    }


@pytest.mark.parametrize(("lane", "in_order"), [(Lane.IMPORT, False), (Lane.TRACK, False)])
def test_events_need_no_order(lane: Lane, *, in_order: bool) -> None:
    """
    Events carry their time; all else depends on what was done before.
    """
    assert lane.in_order == in_order
    assert all(each.in_order for each in set(Lane) - {Lane.IMPORT, Lane.TRACK})


def test_old_events_are_told_by_their_own_time() -> None:
    """
    A time inside a property or a name does not count; a line without one is not old.
    """
    old = b'{"event":"A","properties":{"time":10}}'
    recent = b'{"event":"\\"properties\\":{\\"time\\":1","properties":{"time":99,"a":{"time":1}}}'
    timeless = b'{"event":"A","properties":{}}'
    batch = Batch.of([old, recent, timeless], lane=Lane.TRACK)

    young, aged = batch.by_age(50)

    assert young.lines() == [recent, timeless]
    assert (aged.lines(), aged.lane) == ([old], Lane.IMPORT)
    assert young.lane is Lane.TRACK


def test_the_moment_itself_is_not_before_it() -> None:
    """
    An event of that very millisecond is recent, and none is lost between the parts.
    """
    lines = [b'{"event":"A","properties":{"time":%d}}' % time for time in (49, 50, 51)]

    young, aged = Batch.of(lines, lane=Lane.TRACK).by_age(50)

    assert (young.lines(), aged.lines()) == (lines[1:], lines[:1])


def test_a_batch_of_one_age_stays_whole() -> None:
    """
    All recent is the batch itself, all old is one batch for the other endpoint.
    """
    batch = Batch.of([b'{"event":"A","properties":{"time":10}}'], lane=Lane.TRACK)

    assert batch.by_age(5) == (batch,)
    (aged,) = batch.by_age(50)
    assert aged.lane is Lane.IMPORT
