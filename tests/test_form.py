"""
Forms: however often one was used, and whatever comes, the properties are the same.
"""

from __future__ import annotations

import math
from datetime import datetime, timezone
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixpanel_export._fill import Filler
from mixpanel_export._form import WORTH, Form
from mixpanel_export._line import Pairs
from mixpanel_export._privacy import SCRUBBED, Privacy
from tests.effort import steadily

CARD = 4111111111111111
BASE: dict[str, Any] = {
    "time": 0,
    "distinct_id": "",
    "$insert_id": None,
    "ip": "0",
    "mp_lib": "mixpanel-export",
}


class Plan(Enum):
    """What a value may be an instance of."""

    PRO = "pro"


#: One of each kind that is told apart, and what becomes of it; None if nothing does.
VALUES: list[tuple[object, object]] = [
    ("pro", "pro"),
    ("token=abcd", f"token={SCRUBBED}"),
    ("x" * 300, "x" * 255),
    (True, True),
    (False, False),
    (5, 5),
    (-5, -5),
    (CARD, SCRUBBED),
    (-(2**70), -(2**70)),  # Too big for a double, which is found when the line is made.
    (0.5, 0.5),
    (math.nan, None),
    (-math.inf, None),
    (["a", "b"], ["a", "b"]),
    (["a", "token=abcd"], ["a", f"token={SCRUBBED}"]),
    ([1, "a", None], [1, "a"]),
    (["a"] * 300, ["a"] * 254),
    ((1, 2), [1, 2]),
    ({"a": CARD}, {"a": SCRUBBED}),
    (None, None),
    (b"raw", None),
    (Plan.PRO, "pro"),
    (Decimal("1.5"), 1.5),
    (datetime(2026, 11, 21, tzinfo=timezone.utc), "2026-11-21T00:00:00"),
]


def form(*pairs: tuple[str, str], **base: object) -> Form:
    """
    Return a form with these *pairs* of fields and properties; *base* is in every event, too.
    """
    return Form(
        Filler(Privacy(), lambda _kind: None),
        base={**BASE, **base},
        pairs=pairs,
        selected=True,
        heeded=True,
        identity=(),
    )


def used(pairs: Pairs, fields: dict[str, Any], **base: object) -> Form:
    """
    Return a form that *fields* have filled often enough for a function of its own.
    """
    found = form(*pairs, **base)
    for _ in range(WORTH):
        before = found.fill
        properties(found, fields)
    assert before == found._fill_in_a_loop
    assert found.fill != before
    return found


def properties(form: Form, fields: dict[str, Any]) -> dict[str, Any]:
    """
    Return what stands in an event beside what stands in all.
    """
    found = form.fill(fields, 1_700_000_000_000, "u-1", "id-1")
    head = {name: found.pop(name) for name in BASE}
    assert head == {
        **BASE,
        "time": 1_700_000_000_000,
        "distinct_id": "u-1",
        "$insert_id": "id-1",
    }
    return found


@pytest.mark.parametrize(("example", "_"), VALUES)
def test_what_was_seen_once_binds_nobody(example: object, _: object) -> None:
    """
    A function made after one kind of value is right for every other.
    """
    pairs = (("field", "name"),)
    found = used(pairs, {"field": example})

    for value, expected in VALUES:
        wanted = {} if expected is None else {"name": expected}
        for each in (form(*pairs), found):
            filled = properties(each, {"field": value})
            assert filled == wanted, each


@given(
    st.dictionaries(st.text(), st.sampled_from([value for value, _ in VALUES]), max_size=40),
    st.dictionaries(st.text(), st.sampled_from(["a", 1, 0.5]), max_size=5),
    st.randoms(use_true_random=False),
)
@steadily(200)
def test_names_are_literals(fields: dict[str, Any], base: dict[str, Any], random: Any) -> None:  # noqa: ANN401 -- what hypothesis gives
    """
    Whatever a field is called, and however many there are.
    """
    pairs = tuple((key, f"sent as {key}") for key in fields)
    others = list(fields.values())
    random.shuffle(others)
    shuffled = dict(zip(fields, others, strict=True))

    assert properties(used(pairs, fields, **base), shuffled) == properties(
        form(*pairs, **base), shuffled
    )


@pytest.mark.parametrize("name", ['"', "'", "\\", "{", "}", "\n", "\ud83d", "fields", "value", "é"])
def test_a_name_cannot_say_anything(name: str) -> None:
    """
    It stands there as a text, quoted, and is found by itself.
    """
    assert properties(used(((name, name),), {name: "pro"}), {name: "free"}) == {name: "free"}


def test_what_says_nothing_leaves_what_stands_in_every_event() -> None:
    """
    A property of its own goes before that of all events, unless it says nothing.
    """
    pairs = (("plan", "plan"), ("coupon", "coupon"))
    for each in (form(*pairs, plan="free"), used(pairs, {"plan": "a", "coupon": "b"}, plan="free")):
        assert properties(each, {"plan": "pro", "coupon": None}) == {"plan": "pro"}
        assert properties(each, {"plan": None, "coupon": "c"}) == {"plan": "free", "coupon": "c"}
        assert properties(each, {"plan": b"", "coupon": None}) == {"plan": "free"}
