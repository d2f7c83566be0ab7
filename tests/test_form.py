"""
Forms: however often one was used, and whatever comes, the properties are the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timezone
from decimal import Decimal
from enum import Enum
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixpanel_export._event import Drop
from mixpanel_export._fill import Filler
from mixpanel_export._form import TOO_MANY, WORTH, Form
from mixpanel_export._line import Pairs, dump
from mixpanel_export._privacy import SCRUBBED, Privacy
from mixpanel_export._values import cut
from tests.effort import steadily

CARD = 4111111111111111
PAIR = (("field", "name"),)
BASE: dict[str, Any] = {
    "time": 0,
    "distinct_id": "",
    "$insert_id": None,
    "ip": "0",
    "mp_lib": "mixpanel-export",
}


class Unhashable:
    """Says that it has no hash, in words of its own."""

    def __hash__(self) -> int:
        raise NotImplementedError  # As an object may that a library has made.


def deep(depth: int) -> object:
    """
    Return tuples in tuples; who asks them for their hash comes to the end of the stack.
    """
    found: object = ()
    for _ in range(depth):
        found = (found,)
    return found


class Plan(Enum):
    """What a value may be an instance of."""

    PRO = "pro"


#: One of each kind that is told apart, and what becomes of it; None if nothing does.
VALUES: list[tuple[object, object]] = [
    ("pro", "pro"),
    ("pro and more", "pro and more"),
    ('"\\\n\x00é\u2028', '"\\\n\x00é\u2028'),
    ("half \ud83d", "half ?"),
    ("41111111-1111-1111-8111-deadbeef0000", "41111111-1111-1111-8111-deadbeef0000"),
    ("token=abcd", f"token={SCRUBBED}"),
    ("x" * 300, "x" * 255),
    (True, True),
    (False, False),
    (5, 5),
    (-5, -5),
    (CARD, SCRUBBED),
    (-(2**70), str(-(2**70))),
    (0.5, 0.5),
    (1e16, 1e16),
    (math.nan, None),
    (-math.inf, None),
    (["a", "b"], ["a", "b"]),
    (["a", ["b"]], ["a", ["b"]]),
    ([1, True], [1, True]),
    ([], []),
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


class Shop:
    """
    Rules of a shop: nothing is called "", and nobody "x".
    """

    def __init__(self) -> None:
        self.filler = Filler(Privacy(), lambda _kind: None)
        self.names: dict[str, str] = {}
        self.owners: dict[str, str] = {}
        self.ignored: list[tuple[str, bool]] = []

    def as_name(self, name: str) -> str:
        """
        Take it, unless it is a refund.
        """
        return "" if name == "Refund" else name.strip()

    def owner(self, fields: Mapping[Any, Any], identity: tuple[str, ...]) -> str:
        """
        Know nobody by the id x.
        """
        found = str(next(fields[name] for name in identity))
        return "" if found == "x" else found

    def ignore(self, name: str, heeded: bool) -> Drop:
        """
        Note it.
        """
        self.ignored.append((name, heeded))
        return Drop.IGNORED


def form(*pairs: tuple[str, str], **base: object) -> Form:
    """
    Return a form with these *pairs* of fields and properties; *base* is in every event, too.
    """
    return Form(Shop(), base={**BASE, **base}, pairs=pairs, selected=True, heeded=True, identity=())


def used(pairs: Pairs, fields: dict[str, Any], **base: object) -> Form:
    """
    Return a form that *fields* have filled often enough for a function of its own.
    """
    return worn(form(*pairs, **base), fields)


def worn(form: Form, fields: dict[str, Any]) -> Form:
    """
    Use *form* until it has a function.
    """
    for _ in range(WORTH):
        before = form.seal
        sealed(form, fields)
    assert before == form._seal_in_a_loop
    assert form.seal != before
    return form


def sealed(form: Form, fields: dict[str, Any], name: str = "Sold") -> bytes | Drop:
    """
    Return what becomes of *fields*.
    """
    return form.seal((name, 1_700_000_000.1234, fields, "u-1"), lambda: "id-1", float)


def properties(form: Form, fields: dict[str, Any]) -> dict[str, Any]:
    """
    Return what stands in an event beside what stands in all.
    """
    line = sealed(form, fields)
    assert isinstance(line, bytes)
    event = orjson.loads(line)
    assert event.keys() == {"event", "properties"}
    assert event["event"] == "Sold"
    found: dict[str, Any] = event["properties"]
    head = {name: found.pop(name) for name in BASE}
    assert head == {
        **BASE,
        "time": 1_700_000_000_123,
        "distinct_id": "u-1",
        "$insert_id": "id-1",
    }
    return found


@pytest.mark.parametrize(("example", "_"), VALUES)
def test_what_was_seen_once_binds_nobody(example: object, _: object) -> None:
    """
    A function made after one kind of value is right for every other.
    """
    found = used(PAIR, {"field": example})

    for value, expected in VALUES:
        wanted = {} if expected is None else {"name": expected}
        for each in (form(*PAIR), found):
            filled = properties(each, {"field": value})
            assert filled == wanted, each


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats().map(lambda number: number + 0.0)  # A zero is a zero, whatever its sign.
    | st.text(st.characters(), max_size=20)
    | st.uuids().map(str),
    lambda each: st.lists(each, max_size=6) | st.dictionaries(st.text(), each, max_size=3),
    max_leaves=10,
)


@given(ANYTHING, st.lists(ANYTHING, min_size=1, max_size=5))
@steadily(200)
def test_a_function_says_what_the_loop_says(example: object, values: list[object]) -> None:
    """
    Of any value, the first time and the second.
    """
    found = used(PAIR, {"field": example})

    for value in [*values, *values]:
        assert sealed(found, {"field": value}) == sealed(form(*PAIR), {"field": value})


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

    assert sealed(used(pairs, fields, **base), shuffled) == sealed(form(*pairs, **base), shuffled)


@pytest.mark.parametrize("name", ['"', "'", "\\", "{", "}", "\n", "\ud83d", "fields", "value", "é"])
def test_a_name_cannot_say_anything(name: str) -> None:
    """
    It stands there as a text, quoted, and is found by itself.
    """
    sent = cut(name)

    assert properties(used(((name, sent),), {name: "pro"}), {name: "free"}) == {sent: "free"}


def test_what_says_nothing_leaves_what_stands_in_every_event() -> None:
    """
    A property of its own goes before that of all events, unless it says nothing.
    """
    pairs = (("plan", "plan"), ("coupon", "coupon"))
    for each in (form(*pairs, plan="free"), used(pairs, {"plan": "a", "coupon": "b"}, plan="free")):
        assert properties(each, {"plan": "pro", "coupon": None}) == {"plan": "pro"}
        assert properties(each, {"plan": None, "coupon": "c"}) == {"plan": "free", "coupon": "c"}
        assert properties(each, {"plan": b"", "coupon": None}) == {"plan": "free"}


def test_names_are_asked_for_until_they_are_known() -> None:
    """
    Before and after there is a function; a name that is none makes no event.
    """
    shop = Shop()
    each = Form(shop, base=BASE, pairs=(), selected=True, heeded=True, identity=())

    for _ in range(2 * WORTH):
        line = sealed(each, {}, " Sold ")
        assert isinstance(line, bytes)
        assert orjson.loads(line)["event"] == "Sold"
        assert sealed(each, {}, "Refund") is Drop.IGNORED
        shop.names["Refund"] = dump("Refund")
        assert isinstance(sealed(each, {}, "Refund"), bytes)
        shop.names.clear()
    assert each.seal != each._seal_in_a_loop


@pytest.mark.parametrize(
    ("given", "owner"),
    [
        ("customer-42", "customer-42"),
        ("c-42", "c-42"),
        ('"c\\42', '"c\\42'),
        ("half \ud83d of 42", "half ? of 42"),
        ("x", ""),
        (7, "7"),
        ("c", "c"),
    ],
)
def test_the_owner_is_among_the_fields(given: object, owner: str) -> None:
    """
    Remembered or forgotten, it is the same.
    """
    shop = Shop()
    each = Form(shop, base=BASE, pairs=(), selected=True, heeded=True, identity=("distinct_id",))

    lines = [sealed(each, {"distinct_id": given}) for _ in range(2 * WORTH)]
    assert each.seal != each._seal_in_a_loop
    assert len(set(lines)) == 1
    shop.owners.clear()
    assert sealed(each, {"distinct_id": given}) == lines[0]
    assert isinstance(lines[0], bytes)
    assert orjson.loads(lines[0])["properties"]["distinct_id"] == owner


@pytest.mark.parametrize("element", [Unhashable(), deep(300_000), 5])
def test_only_texts_are_looked_up(element: object) -> None:
    """
    Whatever else is in a list is not asked for its hash.
    """
    found = used(PAIR, {"field": ["a"]})

    line = sealed(found, {"field": [element]})

    assert isinstance(line, bytes)
    assert line == sealed(form(*PAIR), {"field": [element]})


def test_too_many_fields_have_no_function() -> None:
    """
    It would take too long to make.
    """
    pairs = tuple((f"field {number}", f"{number}") for number in range(TOO_MANY))
    each = form(*pairs)

    for _ in range(2 * WORTH):
        sealed(each, {name: 1 for name, _ in pairs})

    assert each.seal == each._seal_in_a_loop


def test_what_others_forget_is_found_out_anew() -> None:
    """
    Another thread may forget what was known, between the question and the answer.
    """

    class Forgetful(dict[Any, str]):
        """Knows everything, until it is asked."""

        def __contains__(self, _key: object) -> bool:
            return True

    shop = Shop()
    shop.filler.known = shop.filler.written = Forgetful()
    for value in ("some text", 0.5, ["some text"]):
        each = Form(shop, base=BASE, pairs=PAIR, selected=True, heeded=True, identity=())
        assert properties(worn(each, {"field": value}), {"field": value}) == {"name": value}

    shop.names = Forgetful()
    each = Form(shop, base=BASE, pairs=(), selected=True, heeded=True, identity=())
    line = sealed(worn(each, {}), {})
    assert isinstance(line, bytes)

    shop = Shop()
    shop.owners = Forgetful()
    for identity in ((), ("distinct_id",)):
        each = Form(shop, base=BASE, pairs=(), selected=True, heeded=True, identity=identity)
        fields = {"distinct_id": "user-42"} if identity else {}
        again = sealed(worn(each, fields), fields)
        assert isinstance(again, bytes)
        assert again == (line.replace(b'"u-1"', b'"user-42"') if identity else line)


def test_who_comes_in_between_does_not_begin_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A signal handler may make an event of the same form while its function is made.
    """
    each = form(("a", "a"))
    make = each._function
    between = []

    def interrupted(_self: Form, fields: dict[str, Any]) -> Any:  # noqa: ANN401 -- as it is
        between.append(sealed(each, fields))
        return make(fields)

    monkeypatch.setattr(Form, "_function", interrupted)

    lines = [sealed(each, {"a": 1}) for _ in range(2 * WORTH)]

    assert len(between) == 1
    assert len({*lines, *between}) == 1
    assert each.seal != each._seal_in_a_loop


@pytest.mark.parametrize("error", [RecursionError, MemoryError])
def test_without_a_function_the_loop_goes_on(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Where there is no room to make one.
    """

    def broken(_self: Form, _fields: dict[str, Any]) -> Any:  # noqa: ANN401 -- as it is
        raise error

    monkeypatch.setattr(Form, "_function", broken)
    each = form(("a", "a"))

    for _ in range(2 * WORTH):
        assert properties(each, {"a": 1}) == {"a": 1}
    assert each.seal == each._seal_in_a_loop


def test_what_is_too_large_is_no_event() -> None:
    """
    As much is left out as it takes; if that is not enough, the event is.
    """
    for each in (form(("a", "a")), used((("a", "a"),), {"a": 1})):
        assert sealed(each, {"a": 1}, "x" * 1_100_000) is Drop.TOO_LARGE
        line = sealed(each, {"a": ["b" * 200] * 200})
        assert isinstance(line, bytes)


def test_what_is_no_event_is_ignored() -> None:
    """
    However often.
    """
    shop = Shop()
    each = Form(shop, base=BASE, pairs=(), selected=False, heeded=False, identity=())

    for _ in range(2 * WORTH):
        assert sealed(each, {}) is Drop.IGNORED
    assert shop.ignored == [("Sold", False)] * 2 * WORTH
