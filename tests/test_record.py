"""
The one shape that every source is read into.
"""

from __future__ import annotations

from typing import Any, cast

import pytest

from mixpanel_export._record import NOTHING_BOUND, Record


def test_a_record_needs_a_name_a_time_and_fields() -> None:
    """
    Without the rest it is from no logger, has nothing bound, and its names speak for it.
    """
    record = Record("Signed Up", 1_700_000_000.5, {"plan": "pro"})

    assert (record.name, record.time, record.fields) == (
        "Signed Up",
        1_700_000_000.5,
        {"plan": "pro"},
    )
    assert (record.logger, dict(record.bound), record.grounds) == ("", {}, None)


def test_a_record_keeps_what_it_is_given() -> None:
    """
    The logger and what was bound stand where they were put.
    """
    record = Record("Signed Up", 0.0, {}, "shop.cart", {"distinct_id": "u-1"})

    assert record.logger == "shop.cart"
    assert record.bound == {"distinct_id": "u-1"}


def test_a_record_does_not_change() -> None:
    """
    Nobody on the way can give a record another name.
    """
    record = Record("Signed Up", 0.0, {})

    with pytest.raises(AttributeError):
        cast("Any", record).name = "Signed Out"


def test_nothing_bound_stays_nothing() -> None:
    """
    The mapping that all records without a context share cannot be written to.
    """
    with pytest.raises(TypeError):
        cast("Any", NOTHING_BOUND)["plan"] = "pro"
