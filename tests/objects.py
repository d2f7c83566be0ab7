"""
Objects that an application may put into its fields: common ones, odd ones, hostile ones.
"""

from __future__ import annotations

import math
from collections import UserDict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum, IntEnum, IntFlag
from fractions import Fraction
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple, cast

from hypothesis import strategies as st

LONG = "é" * 200  # 400 bytes
LONG_ASCII = "x" * 256
HALF = "\ud83d"  # the first half of a surrogate pair


class Colour(Enum):
    """An enumeration of texts."""

    RED = "red"
    MANY = ("red", "green")


class Level(IntEnum):
    """An enumeration of numbers."""

    HIGH = 3


class Rights(IntFlag):
    """An enumeration of bits."""

    READ = 1
    WRITE = 2


@dataclass
class Point:
    """A mutable dataclass."""

    x: object
    y: object = 2
    tags: list[object] = field(default_factory=list)


@dataclass(frozen=True)
class Label:
    """A dataclass that can be a key, or an element of a set."""

    text: str


class Pair(NamedTuple):
    """A tuple with names."""

    left: object
    right: object


class Plain:
    """An object that knows nothing of JSON."""

    def __str__(self) -> str:
        return "a plain object"


class Counting:
    """An object that counts how often it had to say what it is."""

    asked = 0

    def __repr__(self) -> str:
        self.asked += 1
        return "x"


class Text(str):
    """A text of an application's own type."""

    __slots__ = ()


class Whole(int):
    """A number of an application's own type."""


class Part(float):
    """Another one."""


class Moment(datetime):
    """A moment of an application's own type."""


class Money(Decimal):
    """A decimal of one."""


class Raw(bytes):
    """Bytes of one."""

    __slots__ = ()


class Broken:
    """An object whose every method raises."""

    __hash__ = None  # type: ignore[assignment] # as in objects that cannot be hashed

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__

    def __iter__(self) -> Iterator[object]:
        raise RuntimeError("no elements")

    def __bool__(self) -> bool:
        raise RuntimeError("neither")

    def __len__(self) -> int:
        raise RuntimeError("no length")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("nothing like it")


class BrokenList(list[object]):
    """A list that cannot be looked through."""

    def __iter__(self) -> Iterator[object]:
        raise RuntimeError("no elements")


class BrokenMapping(UserDict[str, object]):
    """A mapping that has items until one asks for them."""

    def items(self) -> Any:  # noqa: ANN401 -- raises
        raise RuntimeError("no items")


class BrokenHash:
    """A key that a dictionary would not take."""

    def __hash__(self) -> int:
        raise RuntimeError("no hash")


class OddKeys(Mapping[Any, object]):
    """A mapping with keys that no dictionary could have."""

    def __getitem__(self, key: object) -> object:
        return 1

    keys_of_all = (BrokenHash(), Broken(), [1], HALF, LONG, None, 1, 1.0, ("a", 1), Label("b"))

    def __iter__(self) -> Iterator[object]:
        return iter(self.keys_of_all)

    def __len__(self) -> int:
        return 10


class Endless(Mapping[str, object]):
    """A mapping that goes on for ever."""

    def __getitem__(self, key: str) -> object:
        return key

    def __iter__(self) -> Iterator[str]:
        number = 0
        while True:
            number += 1
            yield str(number)

    def __len__(self) -> int:
        return 2


@dataclass
class BrokenPoint:
    """A dataclass one of whose fields cannot be read."""

    x: int = 1

    def __getattribute__(self, name: str) -> object:
        if name == "x":
            raise RuntimeError("no x")
        return super().__getattribute__(name)


class BrokenZone(tzinfo):
    """A time zone that cannot say where it is."""

    def utcoffset(self, _moment: datetime | None) -> timedelta:
        raise RuntimeError("nowhere")

    def tzname(self, _moment: datetime | None) -> str:
        raise RuntimeError("nowhere")

    def dst(self, _moment: datetime | None) -> timedelta:
        raise RuntimeError("nowhere")


class BrokenNumber(int):
    """A number that denies it."""

    def __add__(self, other: object) -> int:
        raise RuntimeError("no sum")

    def __int__(self) -> int:
        raise RuntimeError("no integer")

    def __lt__(self, other: object) -> bool:
        raise RuntimeError("no order")

    def __str__(self) -> str:
        raise RuntimeError("no digits")


class Disguised:
    """An object that pretends to be of another type, and fails at that too."""

    @property
    def __class__(self) -> Any:  # noqa: ANN401 -- a disguise
        raise RuntimeError("no class")

    @__class__.setter
    def __class__(self, value: object) -> None:
        raise RuntimeError("no class")


class LyingText(str):
    """A text that encodes to something else."""

    __slots__ = ()

    def encode(self, *_arguments: object) -> Any:  # noqa: ANN401 -- a lie
        return SimpleNamespace(decode=lambda *_: object(), __getitem__=None)

    def __getitem__(self, _key: object) -> Any:  # noqa: ANN401 -- a lie
        return self

    def decode(self, *_arguments: object) -> object:
        return object()


class LyingDate(date):
    """A date whose text is none."""

    def isoformat(self) -> Any:  # noqa: ANN401 -- a lie
        return object()


class LyingSpan(timedelta):
    """A time span whose seconds are no number."""

    def total_seconds(self) -> Any:  # noqa: ANN401 -- a lie
        return math.nan


class Speaker:
    """An object whose text is of a type of its own."""

    def __str__(self) -> str:
        return LyingText("spoken")


# By name: a runner that looks at some of these itself would stumble.
HOSTILE: dict[str, Any] = {
    "broken": Broken(),
    "list": BrokenList([1, 2]),
    "mapping": BrokenMapping({"a": 1}),
    "hash": BrokenHash(),
    "keys": OddKeys(),
    "endless": Endless(),
    "dataclass": BrokenPoint(),
    "zone": datetime(2024, 1, 1, tzinfo=BrokenZone()),
    "zone of a time": time(1, 2, tzinfo=BrokenZone()),
    "too early": datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
    "too late": datetime.max.replace(tzinfo=timezone(-timedelta(hours=14))),
    "number": BrokenNumber(7),
    "disguise": Disguised(),
    "lying text": LyingText("a lie"),
    "lying date": LyingDate(2024, 1, 1),
    "lying span": LyingSpan(1),
    "lying __str__": Speaker(),
    "signalling": Decimal("sNaN"),
    "big decimal": Decimal("1e999999"),
    "big fraction": Fraction(10**400, 3),
    "big": 10**5_000,
    "big and negative": -(10**5_000),
}


# -- any of them ----------------------------------------------------------------------------------

# Long ones are made of few, since each character costs a draw.
any_text = st.one_of(
    st.text(st.characters(), max_size=9),
    st.text(st.characters(), min_size=1, max_size=3).map(lambda text: text * 99),
)
zones = st.none() | st.timezones() | st.just(timezone(timedelta(hours=-14)))
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(10**30), 10**30),
    st.integers(4_000, 4_700).map(lambda digits: 10**digits),
    st.floats(),
    any_text,
    any_text.map(Text),
    st.decimals(),
    st.fractions(),
    st.complex_numbers(),
    st.binary(max_size=10),
    st.binary(max_size=10).map(bytearray),
    st.datetimes(timezones=zones),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.uuids(),
    st.ip_addresses(),
    st.sampled_from([Colour.RED, Colour.MANY, Level.HIGH, Rights.READ, Plain(), Point, Ellipsis]),
    # The disguised object deceives Hypothesis too.
    st.sampled_from(sorted(HOSTILE.keys() - {"disguise"})).map(lambda name: HOSTILE[name]),
)
keys = st.one_of(
    any_text,
    st.integers(),
    st.floats(),
    st.none(),
    st.binary(max_size=5),
    st.builds(Label, any_text),
)
hashable = st.one_of(any_text, st.integers(), st.floats(), st.dates(), st.builds(Label, any_text))


def nest(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """
    Put values into everything that can hold some.
    """
    return st.one_of(
        st.lists(inner, max_size=8),
        st.lists(inner, max_size=4).map(tuple),
        st.lists(inner, max_size=4).map(deque),
        st.lists(any_text, max_size=40),
        st.sets(hashable, max_size=8),
        st.frozensets(hashable, max_size=8),
        st.dictionaries(keys, inner, max_size=8),
        st.dictionaries(keys, inner, max_size=4).map(MappingProxyType),
        st.dictionaries(any_text, inner, max_size=4).map(UserDict),
        st.builds(Point, inner, inner),
        st.builds(Pair, inner, inner),
        st.tuples(inner, st.integers(2, 400)).map(lambda pair: [pair[0]] * pair[1]),
        inner.map(in_itself),
    )


def in_itself(value: object) -> list[object]:
    """
    Make a list that holds a value and, two levels down, itself.
    """
    outer: list[object] = [value]
    outer.append({"again": outer})
    return outer


anything = st.recursive(scalars, nest, max_leaves=20)


def wreck(value: object, done: set[int]) -> None:
    """
    Change everything about a value that can be changed.
    """
    if id(value) in done:
        return
    done.add(id(value))
    if type(value) in (list, deque, tuple):
        for each in list(cast("list[object]", value)):
            wreck(each, done)
    if type(value) in (dict, UserDict):
        for each in list(cast("dict[object, object]", value).values()):
            wreck(each, done)
    if type(value) is Point:
        for each in list(vars(value).values()):
            wreck(each, done)
        value.x = value.y = "changed"
    if type(value) in (list, deque, set, dict, UserDict, bytearray):
        cast("list[object]", value).clear()
    if type(value) is list:
        value.append("changed")
