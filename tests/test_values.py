"""
Any Python object becomes a value that JSON can say and Mixpanel keeps, and nothing is ever raised.
"""

from __future__ import annotations

import math
import uuid
from collections import ChainMap, OrderedDict, UserDict, defaultdict, deque
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from ipaddress import ip_address
from numbers import Integral, Real
from pathlib import PurePosixPath
from time import tzset
from types import MappingProxyType
from typing import Any, cast

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixpanel_export._limits import (
    MAX_DEPTH,
    MAX_ELEMENTS,
    MAX_NESTED_BYTES,
    MAX_SAFE_INTEGER,
    MAX_STRING_BYTES,
)
from mixpanel_export._values import MISSING, clean, cut, text_of
from tests import effort
from tests.objects import (
    HALF,
    HOSTILE,
    LONG,
    LONG_ASCII,
    Broken,
    BrokenMapping,
    Colour,
    Counting,
    Level,
    Moment,
    Money,
    OddKeys,
    Pair,
    Part,
    Plain,
    Point,
    Raw,
    Rights,
    Text,
    Whole,
    anything,
    hashable,
    wreck,
)

# The same examples on every run: a failure that is seen once is seen again.
steadily = effort.steadily(200)


def faults(value: object, left: int = MAX_DEPTH) -> list[str]:
    """
    Return what is wrong with a converted value, besides its size as a whole.
    """
    kind = type(value)
    if kind is str:
        text = cast("str", value)
        whole = not any("\ud800" <= each <= "\udfff" for each in text)
        short = len(text.encode("utf-8", "surrogatepass")) <= MAX_STRING_BYTES
        sound = whole and short
    elif kind is int:
        sound = abs(cast("int", value)) <= MAX_SAFE_INTEGER
    elif kind is float:
        sound = math.isfinite(cast("float", value))
    elif kind is dict:
        names = faults([*cast("dict[object, object]", value)], 1)
        return names + faults([*cast("dict[object, object]", value).values()], left)
    elif kind is list:
        elements = cast("list[object]", value)
        inside = [fault for each in elements for fault in faults(each, left - 1)]
        sound = left > 0 and len(elements) <= MAX_ELEMENTS and not inside
    else:
        sound = kind is bool
    return [] if sound else [f"{kind.__name__} {text_of(value)[:40]!r}"]


def assert_sound(value: object) -> None:
    """
    Assert that a converted value keeps every limit, or is `MISSING`.
    """
    if value is not MISSING:
        assert faults(value) == []
        size = len(orjson.dumps(value))
        assert size <= MAX_NESTED_BYTES if isinstance(value, (list, dict)) else size <= 2_000


# -- the table of types ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "converted"),
    [
        ("pro", "pro"),
        ("", ""),
        (Text("pro"), "pro"),
        (True, True),
        (False, False),
        (7, 7),
        (0, 0),
        (Whole(7), 7),
        (MAX_SAFE_INTEGER, 2**53 - 1),
        (-MAX_SAFE_INTEGER, -(2**53) + 1),
        (2**53, "9007199254740992"),
        (-(2**53), "-9007199254740992"),
        (Whole(2**60), "1152921504606846976"),
        (0.5, 0.5),
        (-0.0, -0.0),
        (Part(0.5), 0.5),
        (5e-324, 5e-324),
        (Decimal("31.50"), 31.5),
        (Money("31.50"), 31.5),
        (Decimal("1e400"), "1E+400"),
        (Fraction(1, 4), 0.25),
        (Colour.RED, "red"),
        (Colour.MANY, ["red", "green"]),
        (Level.HIGH, 3),
        (Rights.READ | Rights.WRITE, 3),
        (date(2024, 2, 29), "2024-02-29"),
        (time(13, 5), "13:05:00"),
        (timedelta(minutes=1, milliseconds=500), 60.5),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (PurePosixPath("a/b"), "a/b"),
        (ip_address("::1"), "::1"),
        (1 + 2j, "(1+2j)"),
        (Plain(), "a plain object"),
        (int, "<class 'int'>"),
        (Point, str(Point)),
        (ValueError("no stock"), "no stock"),
        ([], []),
        ({}, {}),
        ((), []),
        ([1, "a", None, 2.5, b"x", math.nan], [1, "a", 2.5]),
        (("a", 1), ["a", 1]),
        (Pair(1, "b"), [1, "b"]),
        (deque([1, 2]), "deque([1, 2])"),
        ({"b", "a", "c"}, ["a", "b", "c"]),
        (frozenset({3, 1, "2"}), [1, 3, "2"]),
        ({1: 2}.keys(), [1]),
        ({"a": 1, "b": None, "c": {"d": (1,)}}, {"a": 1, "c": {"d": [1]}}),
        ({1: "a", None: "b", ("x", 1): "c"}, {"1": "a", "None": "b", "('x', 1)": "c"}),
        (OrderedDict(a=1), {"a": 1}),
        (defaultdict(list, a=[1]), {"a": [1]}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        (ChainMap({"a": 1}, {"b": 2}), {"b": 2, "a": 1}),
        (UserDict({"a": 1}), {"a": 1}),
        (Point(1, tags=["a"]), {"x": 1, "y": 2, "tags": ["a"]}),
        (Point(Point(None)), {"x": {"y": 2, "tags": []}, "y": 2, "tags": []}),
    ],
)
def test_what_becomes_of_each_type(value: object, converted: object) -> None:
    """
    Each type has one form, and what derives from a type has the form of that type.
    """
    result = clean(value)

    assert result == converted
    assert type(result) is type(converted)


@pytest.mark.parametrize(
    "value",
    [
        None,
        math.nan,
        math.inf,
        -math.inf,
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("-Infinity"),
        b"raw",
        bytearray(b"raw"),
        memoryview(b"raw"),
        Part("nan"),
        Money("NaN"),
        Raw(b"raw"),
    ],
)
def test_what_is_not_sent(value: object) -> None:
    """
    Nothing, what is no number, and raw bytes are left out, also inside lists and objects.
    """
    assert clean(value) is MISSING
    assert clean([1, value]) == [1]
    assert clean({"a": 1, "b": value}) == {"a": 1}


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime.fromisoformat("2024-02-29T12:30:15.999999"), "2024-02-29T12:30:15"),
        (datetime(2024, 2, 29, 12, 30, 15, tzinfo=timezone.utc), "2024-02-29T12:30:15"),
        (
            datetime(2024, 2, 29, 1, 30, tzinfo=timezone(timedelta(hours=2))),
            "2024-02-28T23:30:00",
        ),
        (datetime.fromisoformat("0001-01-01T00:00:00"), "0001-01-01T00:00:00"),
    ],
)
def test_moments_are_utc(moment: datetime, text: str) -> None:
    """
    A moment is written in UTC without an offset, to the second; without a zone it is UTC already.
    """
    assert clean(moment) == text


def test_moments_of_other_types_are_moments() -> None:
    """
    What derives from a datetime, as many libraries' moments do, is written like one.
    """
    moment = Moment(2024, 2, 29, 1, 30, tzinfo=timezone(timedelta(hours=2)))

    assert clean(moment) == "2024-02-28T23:30:00"


@pytest.fixture
def _far_from_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """
    The machine stands eleven hours west of Greenwich.
    """
    monkeypatch.setenv("TZ", "WST+11")
    tzset()
    yield
    monkeypatch.undo()
    tzset()


@pytest.mark.usefixtures("_far_from_utc")
def test_moments_do_not_depend_on_where_one_is() -> None:
    """
    A moment without a zone is in UTC, wherever the machine is.
    """
    naive = datetime.fromisoformat("2024-02-29T12:30:15")

    assert clean(naive) == clean(naive.replace(tzinfo=timezone.utc)) == "2024-02-29T12:30:15"


@pytest.mark.parametrize("name", ["too early", "too late"])
def test_a_moment_that_has_no_utc_is_a_text(name: str) -> None:
    """
    A moment that UTC would put before the first year or after the last is no reason to raise.
    """
    assert isinstance(clean(HOSTILE[name]), str)


def test_numbers_of_other_libraries_are_numbers() -> None:
    """
    What registers as a number without deriving from one, as NumPy's do, is one.
    """

    class Int64:
        def __int__(self) -> int:
            return 7

    class Float32:
        def __float__(self) -> float:
            return 0.5

    Integral.register(Int64)
    Real.register(Float32)

    assert clean([Int64(), Float32()]) == [7, 0.5]


# -- texts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "limit", "result"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "abc"),
        ("éé", 3, "é"),
        ("€€", 5, "€"),
        ("a😀", 4, "a"),
        ("a😀", 5, "a😀"),
        (f"a{HALF}b", 3, "a?b"),
        ("", 3, ""),
    ],
)
def test_texts_are_cut_between_characters(text: str, limit: int, result: str) -> None:
    """
    A cut leaves whole characters within so many bytes, and none that UTF-8 cannot write.
    """
    assert cut(text, limit) == result


@steadily
@given(st.text(st.characters(), max_size=400), st.integers(0, 300))
def test_a_cut_text_is_a_beginning(text: str, limit: int) -> None:
    """
    A cut text is short enough, the text's beginning, and never shorter than it must be.
    """
    result = cut(text, limit)

    whole = text.encode("utf-8", "replace")
    size = len(result.encode())
    assert whole.startswith(result.encode())
    assert size <= limit
    assert size == len(whole) or limit - size < 4


@pytest.mark.parametrize("value", [LONG, Text(LONG), [LONG], {"a": LONG}, {LONG: "a"}, Point(LONG)])
def test_long_texts_are_cut_everywhere(value: object) -> None:
    """
    A text of more than 255 bytes is cut, be it a value, an element, or a key.
    """
    assert orjson.dumps(clean(value)).count("é".encode()) == 127


@pytest.mark.parametrize(
    ("value", "converted"),
    [
        (HALF, "?"),
        (f"a{HALF}", "a?"),
        (Text(HALF), "?"),
        ([HALF], ["?"]),
        ([HALF, 1], ["?", 1]),
        ({"a": HALF, HALF: 1}, {"a": "?", "?": 1}),
        ([[{"a": [HALF]}]], None),
        (Point(HALF), {"x": "?", "y": 2, "tags": []}),
        ({f"x{HALF}"}, ["x?"]),
    ],
)
def test_half_a_character_spoils_nothing(value: object, converted: object) -> None:
    """
    A lone surrogate becomes a question mark, and what it stands in stays what it is.
    """
    result = clean(value)

    assert_sound(result)
    assert converted is None or result == converted


@pytest.mark.parametrize(
    "value",
    [LONG_ASCII, Text(LONG_ASCII), [LONG_ASCII], {"a": LONG_ASCII}, {LONG_ASCII: "a"}],
)
def test_long_plain_texts_are_cut_everywhere(value: object) -> None:
    """
    The same holds for a text of which every character is one byte.
    """
    assert orjson.dumps(clean(value)).count(b"x") == 255


def test_the_text_of_an_object_is_bounded() -> None:
    """
    Whatever an object says, at most 255 bytes of it are kept.
    """
    assert text_of([0] * 1_000) == str([0] * 1_000)[:255]


def test_an_object_without_a_text_is_its_type() -> None:
    """
    An object that cannot say what it is goes by the name of its type.
    """
    assert text_of(Broken()) == "<Broken>"


# -- bounds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [[0] * 300, tuple([0] * 300), set(range(300)), range(300), deque(range(300))],
    ids=["list", "tuple", "set", "range", "deque"],
)
def test_long_lists_are_cut(value: object) -> None:
    """
    No list has more than 254 elements.
    """
    assert_sound(clean(value))


def test_the_first_elements_are_kept() -> None:
    """
    Of a long list and of a large object the beginning is kept.
    """
    assert clean(list(range(300))) == list(range(254))
    assert list(clean({f"k{n}": n for n in range(300)})) == [f"k{n}" for n in range(254)]


def test_depth_ends_in_text() -> None:
    """
    What lies deeper than three levels is text.
    """
    assert clean([[["a"]]]) == [[["a"]]]
    assert faults(clean([[[["a"]]]])) == []
    assert isinstance(clean([[[["a"]]]])[0][0][0], str)
    assert isinstance(clean({"a": {"b": {"c": {"d": 1}}}})["a"]["b"]["c"], str)


def test_a_list_is_cut_at_eight_kilobytes() -> None:
    """
    As many leading elements are kept as 8,000 bytes of JSON hold.
    """
    element = "x" * 255

    result = clean([element] * 100)

    assert result == [element] * 31
    assert len(orjson.dumps(result)) <= MAX_NESTED_BYTES
    assert len(orjson.dumps([*result, element])) > MAX_NESTED_BYTES


def test_an_object_is_cut_at_eight_kilobytes() -> None:
    """
    The first names are kept, as many as 8,000 bytes of JSON hold with their values.
    """
    given = {f"k{n:02}": "x" * 255 for n in range(50)}

    result = clean(given)

    assert result == {name: given[name] for name in list(given)[:30]}


@pytest.mark.parametrize("size", [7_998, 7_999, 8_000, 8_001, 8_002])
@pytest.mark.parametrize("kind", [list, dict])
def test_what_just_fits_stays_whole(kind: type, size: int) -> None:
    """
    A list or object of exactly 8,000 bytes is within the limit, and one byte more is not.
    """
    filling = ["x" * 250] * (31 if kind is list else 30)
    value: Any = filling if kind is list else {f"{n:02}": each for n, each in enumerate(filling)}
    before = len(value)
    if kind is list:
        value.append("x" * (size - len(orjson.dumps([*value, ""]))))
    else:
        value["30"] = "x" * (size - len(orjson.dumps({**value, "30": ""})))
    assert len(orjson.dumps(value)) == size

    result = clean(value)

    assert_sound(result)
    assert len(result) == (before + 1 if size <= 8_000 else before)


@steadily
@given(
    sizes=st.lists(st.integers(0, 254), min_size=1, max_size=40),
    size=st.integers(7_995, 8_005),
    rest=st.lists(st.integers(0, 254), max_size=10),
)
def test_the_longest_beginning_is_kept(sizes: list[int], size: int, rest: list[int]) -> None:
    """
    Of what is too big, as much of the beginning is kept as fits, to the byte.
    """
    sizes = sizes * (8_000 // sum(each + 3 for each in sizes) + 1)
    texts = ["x" * each for each in sizes]
    while len(orjson.dumps([*texts, "x"])) > size:
        texts.pop()
    texts.append("x" * min(254, size - len(orjson.dumps([*texts, ""]))))
    texts += ["x" * each for each in rest]
    named = {f"{number:03}": text for number, text in enumerate(texts)}

    as_list, as_object = clean(texts), clean(named)

    for whole, kept in ((texts, as_list), (list(named.items()), list(as_object.items()))):
        back = dict if whole and isinstance(whole[0], tuple) else list
        assert kept == whole[: len(kept)]
        assert len(orjson.dumps(back(cast("Any", kept)))) <= MAX_NESTED_BYTES
        more = whole[: len(kept) + 1]
        assert (
            len(kept) in (len(whole), MAX_ELEMENTS)
            or len(orjson.dumps(back(cast("Any", more)))) > MAX_NESTED_BYTES
        )


@pytest.mark.parametrize("count", [20, 21, 31])
def test_characters_that_json_escapes_count_as_they_are_written(count: int) -> None:
    """
    A control character takes six bytes in JSON, and a list of them is held to 8 KB all the same.
    """
    result = clean(["\0" * 63] * count)

    assert_sound(result)
    assert len(result) == 20


@pytest.mark.parametrize("rows", [32, 33, 100, 254, 1_000])
def test_a_matrix_stays_a_list(rows: int) -> None:
    """
    However many numbers there are in all, a list of lists is cut and does not turn into text.
    """
    result = clean([[0] * 254 for _ in range(rows)])

    assert_sound(result)
    assert result[0] == [0] * 254


@pytest.mark.parametrize("rows", [33, 254])
def test_a_table_stays_an_object(rows: int) -> None:
    """
    The same for an object of objects.
    """
    row = {f"{n}": 0 for n in range(254)}

    result = clean({f"r{n}": row for n in range(rows)})

    assert_sound(result)
    assert result["r0"] == row


def test_what_holds_itself_ends() -> None:
    """
    A list, an object and a dataclass that hold themselves are as deep as anything else.
    """
    itself: list[object] = [1]
    itself.append(itself)
    mapping: dict[str, object] = {"list": itself}
    mapping["self"] = mapping
    point = Point(mapping)
    point.y = point
    often: list[object] = []
    often.extend([often] * 20)

    for value in (itself, mapping, point, often):
        assert_sound(clean(value))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda value: [[[value] * 254] * 254] * 254,
        lambda value: {str(n): {str(m): [value] * 254 for m in range(254)} for n in range(254)},
    ],
    ids=["lists", "objects"],
)
def test_no_more_is_looked_at_than_can_be_sent(wrap: Callable[[object], object]) -> None:
    """
    A value of millions of elements costs no more than 8 KB are worth.
    """
    counting = Counting()

    assert_sound(clean(wrap(counting)))

    assert counting.asked <= MAX_NESTED_BYTES


def test_what_is_shared_a_thousand_times_is_not_written_out() -> None:
    """
    A value that is small and describes millions of elements costs no more than 8 KB are worth.
    """
    counting = Counting()
    value: object = counting
    for _ in range(16):
        value = [value, value]

    assert_sound(clean(value))

    assert counting.asked <= MAX_NESTED_BYTES


# -- hostility ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_raises(name: str) -> None:
    """
    Whatever an object's own methods do, alone, in a list or in an object, there is a sound value.
    """
    value = HOSTILE[name]

    for each in (value, [value], (1, value), {"a": value}, Point(value), [[[value]]]):
        assert_sound(clean(each))


@pytest.mark.parametrize("name", ["list", "mapping", "dataclass", "zone", "disguise", "broken"])
def test_a_broken_element_spoils_nothing(name: str) -> None:
    """
    One element that cannot be converted leaves those beside it what they are.
    """
    broken = HOSTILE[name]

    converted = clean([1, broken, {"a": broken, "b": [2, broken]}])

    assert_sound(converted)
    assert converted[0] == 1
    assert converted[-1]["b"][0] == 2


def test_what_is_shared_is_not_written_out_beside_something_broken() -> None:
    """
    The bound on what a value costs holds also if a part of it raises.
    """
    counting = Counting()
    value: object = counting
    for _ in range(16):
        value = [value, value]

    assert_sound(clean([BrokenMapping(), value]))

    assert counting.asked <= MAX_NESTED_BYTES


def test_a_long_name_of_a_type_is_cut() -> None:
    """
    Where a type's name stands for an object, it is held to 255 bytes like any text.
    """
    kind = type("L" + LONG, (list,), {})
    other = type("O" + LONG, (), {"__str__": Broken.__str__})

    assert_sound(clean([[[kind()]]]))
    assert_sound(clean(other()))


def test_broken_keys_are_keys() -> None:
    """
    A key that cannot be a text goes by the name of its type, and the others are not concerned.
    """
    converted = clean(OddKeys())

    assert {"<Broken>", "[1]", "?", "None", "('a', 1)", "Label(text='b')"} <= converted.keys()


def test_an_interrupt_is_not_swallowed() -> None:
    """
    Only errors are dealt with: what ends the program goes on ending it.
    """

    class Impatient:
        def __str__(self) -> str:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        clean(Impatient())


# -- properties -----------------------------------------------------------------------------------


@steadily
@given(anything)
def test_everything_has_a_sound_value(value: object) -> None:
    """
    Any object, however nested, gives a value within every limit, or none.
    """
    assert_sound(clean(value))


@steadily
@given(anything)
def test_the_same_object_reads_the_same(value: object) -> None:
    """
    An object that has not changed gives the same bytes again.
    """
    first, second = clean(value), clean(value)

    assert first is second is MISSING or orjson.dumps(first) == orjson.dumps(second)


@steadily
@given(anything)
def test_what_was_said_stays_said(value: object) -> None:
    """
    What happens to an object afterwards does not change the value that was made of it.
    """
    result = clean(value)
    before = repr(result)

    wreck(value, set())

    assert repr(result) == before


small = st.one_of(
    st.booleans(),
    st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
)
name = st.text(max_size=10)
flat = st.lists(small, max_size=10) | st.dictionaries(name, small, max_size=10)
deep = st.lists(small | flat, max_size=6) | st.dictionaries(name, small | flat, max_size=6)


@steadily
@given(small | flat | deep)
def test_what_fits_arrives_as_it_is(value: object) -> None:
    """
    What JSON can say and Mixpanel takes is not touched.
    """
    assert clean(value) == value


@steadily
@given(st.lists(hashable, max_size=20))
def test_the_order_of_a_set_does_not_matter(elements: list[Any]) -> None:
    """
    Sets with the same elements read the same, in whatever order they were filled.
    """

    class Ordered(AbstractSet[Any]):
        def __init__(self, found: list[Any]) -> None:
            self.found = found

        def __contains__(self, each: object) -> bool:
            return each in self.found

        def __iter__(self) -> Iterator[Any]:
            return iter(self.found)

        def __len__(self) -> int:
            return len(self.found)

    one, other = Ordered(elements), Ordered(elements[::-1])

    assert orjson.dumps(clean(one)) == orjson.dumps(clean(other))
