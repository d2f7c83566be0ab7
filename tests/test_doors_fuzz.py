"""
Whatever is thrown at a door, it does not raise, and what comes out at the other side is sound.

``MIXPANEL_EXPORT_FUZZ=30000 pytest tests/test_doors_fuzz.py`` tries so many examples in each test.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixpanel_export import (
    Event,
    GroupUpdate,
    MixpanelHandler,
    MixpanelProcessor,
    Pipeline,
    ProfileUpdate,
    Settings,
    bound,
)
from mixpanel_export._update import OPERATIONS
from mixpanel_export.testing import ScriptedTransport
from tests.doors import (
    Basket,
    anyhow,
    doors,
    failures,
    fields,
    ids,
    odd_names,
    reveal,
    values,
    what_was_said,
)
from tests.objects import any_text, wreck

# What `logging` itself refuses in `extra`.
TAKEN = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime"})

TRANSPORT = ScriptedTransport()


def open_pipeline() -> Pipeline:
    """
    Open a pipeline that will not deliver.
    """
    return Pipeline(Settings(token="t", transport=TRANSPORT))


class Careful(MixpanelHandler):
    """A handler that must not meet an error."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 -- logging's name
        raise AssertionError("a record was not read") from record.exc_info and record.exc_info[1]


@anyhow
@given(
    messages=values | any_text,
    arguments=st.lists(values.map(reveal), max_size=3).map(tuple),
    said=fields(),
    failure=failures,
    stack=st.none() | any_text,
    around=fields(any_text),
    door=doors,
)
def test_logging(  # noqa: PLR0913, PLR0917 -- all that a record has
    messages: object,
    arguments: tuple[Any, ...],
    said: dict[Any, Any],
    failure: object,
    stack: str | None,
    around: dict[str, Any],
    door: dict[str, Any],
) -> None:
    """
    Each record becomes the same sound line every time, whatever happens to its fields afterwards.
    """
    pipeline = open_pipeline()
    basket = Basket(pipeline)
    handler = Careful(pipeline=pipeline, **door)
    record = logging.makeLogRecord({"name": "shop", "msg": reveal(messages), "args": arguments})
    record.exc_info = failure  # type: ignore[assignment] # whatever was given
    record.stack_info = stack
    vars(record).update((name, said[name]) for name in said if name not in TAKEN)

    with bound(around):
        handler.handle(record)
        first = basket.empty()
        handler.handle(record)
    wreck([said, arguments, around, messages], set())
    second = basket.empty()

    assert basket.failed == 0
    if "budget" not in door and "sample" not in door:
        assert [what_was_said(line) for line in second] == [what_was_said(line) for line in first]
    handler.close()


@anyhow
@given(
    attributes=st.dictionaries(st.sampled_from(sorted(TAKEN - {"created"})), values, max_size=4),
    created=st.sampled_from([None, "now", float("nan"), float("inf"), [], 1.7e9]),
    said=fields(),
)
def test_records_that_are_none(
    attributes: dict[str, Any], created: object, said: dict[Any, Any]
) -> None:
    """
    A record that somebody has tampered with may be lost, but nothing is raised for it.
    """
    pipeline = open_pipeline()
    basket = Basket(pipeline)
    handler = MixpanelHandler(pipeline=pipeline, include=("message", "stack"))
    record = logging.makeLogRecord({"name": "shop", "msg": "Order Placed"})
    vars(record).update({**said, **attributes, "created": created})
    for name, value in attributes.items():
        vars(record)[name] = reveal(value)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging, "raiseExceptions", False)
        handler.handle(record)

    basket.empty()
    handler.close()


@anyhow
@given(
    said=fields(),
    event=values,
    beside=st.fixed_dictionaries(
        {}, optional={"exc_info": failures, "_record": values, "stack_info": values}
    ),
    logger=values | st.just(logging.getLogger("shop")),
    around=fields(any_text),
    door=doors,
)
def test_structlog(  # noqa: PLR0913, PLR0917 -- all that is said to it
    said: dict[Any, Any],
    event: object,
    beside: dict[str, Any],
    logger: object,
    around: dict[str, Any],
    door: dict[str, Any],
) -> None:
    """
    Each event dict is handed on as it is, and becomes a sound line or none.
    """
    pipeline = open_pipeline()
    basket = Basket(pipeline)
    processor = MixpanelProcessor(pipeline=pipeline, **door)
    given_ = {"event": reveal(event), **said, **beside}
    before = [(id(name), id(value)) for name, value in given_.items()]

    with bound(around):
        assert processor(reveal(logger), "info", given_) is given_
        first = basket.empty()
        assert processor(reveal(logger), "info", given_) is given_
    assert [(id(name), id(value)) for name, value in given_.items()] == before
    wreck([given_, around], set())
    second = basket.empty()

    assert basket.failed == 0
    if "budget" not in door and "sample" not in door:
        assert [what_was_said(line) for line in second] == [what_was_said(line) for line in first]


@anyhow
@given(said=values, logger=values)
def test_structlog_behind_a_renderer(said: object, logger: object) -> None:
    """
    What is no event dict is handed on, too.
    """
    pipeline = open_pipeline()
    basket = Basket(pipeline)
    processor = MixpanelProcessor(pipeline=pipeline)
    given_: Any = reveal(said)

    assert processor(reveal(logger), "info", given_) is given_

    basket.empty()


operands: st.SearchStrategy[Any] = fields() | values | st.lists(odd_names, max_size=3)
events = st.builds(
    Event,
    any_text | st.sampled_from(["$identify", "$create_alias", "$merge"]),
    distinct_id=ids | any_text,
    properties=fields(),
    time=st.one_of(st.none(), st.datetimes(), st.floats(), st.integers()),
    insert_id=st.none() | any_text,
    ip=st.none() | any_text,
)
updates = st.one_of(
    st.builds(ProfileUpdate, ids, st.sampled_from(OPERATIONS), operands),
    st.builds(GroupUpdate, any_text, ids, st.sampled_from(["$set", "$union", "$unset"]), operands),
)


@anyhow
@given(item=events | updates | values, door=doors)
def test_submit(item: Any, door: dict[str, Any]) -> None:  # noqa: ANN401 -- any object
    """
    Each event and update becomes the same sound line every time; anything else is counted.
    """
    pipeline = Pipeline(Settings(token="t", transport=TRANSPORT, **door))
    basket = Basket(pipeline)
    given_ = reveal(item)
    known = isinstance(item, (Event, ProfileUpdate, GroupUpdate))

    accepted = pipeline.submit(given_)
    first = basket.empty()
    again = pipeline.submit(given_)
    wreck([item.properties if isinstance(item, Event) else getattr(item, "value", None)], set())
    second = basket.empty()

    assert accepted == bool(first)
    assert again == bool(second)
    assert known or not accepted
    if known and "budget" not in door and "sample" not in door:
        assert basket.failed == 0
        assert [what_was_said(line) for line in second] == [what_was_said(line) for line in first]


def test_the_examples_are_examples() -> None:
    """
    What is thrown reaches the other side: a door that took nothing would pass all of the above.
    """
    pipeline = open_pipeline()
    basket = Basket(pipeline)
    handler = Careful(pipeline=pipeline)
    record = logging.makeLogRecord({"name": "shop", "msg": "Order Placed", "distinct_id": "u-1"})

    handler.handle(record)

    (line,) = basket.empty()
    assert isinstance(what_was_said(line), Mapping)
    handler.close()
