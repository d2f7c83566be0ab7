"""
Any Python object to a value that JSON and Mixpanel take: total, bounded, safe with cycles.

Nothing here raises, whatever an object's own methods do, and nothing of what is returned changes
when the original does.
"""

from __future__ import annotations

import dataclasses
import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from itertools import accumulate, islice
from numbers import Integral, Real
from typing import Any, Final, cast

import orjson

from mixpanel_export._limits import (
    MAX_DEPTH,
    MAX_ELEMENTS,
    MAX_NESTED_BYTES,
    MAX_SAFE_INTEGER,
    MAX_STRING_BYTES,
)
from mixpanel_export._privacy import SCRUBBED, Privacy

JsonValue = Any


class _Missing(Enum):
    """The type of `MISSING`, an enumeration of one so that type checkers can tell it apart."""

    MISSING = 0


#: Stands for "nothing to send": None, not a number, raw bytes.
MISSING: Final = _Missing.MISSING

#: A string of so few characters cannot be too long in bytes: UTF-8 takes four for one at most.
SURELY_SHORT: Final = MAX_STRING_BYTES // 4

# A hostile value can be small and still describe millions of elements (a list that holds itself ten
# times). 8 KB, the most that Mixpanel takes for one property, has no room for more than this.
_MAX_NODES: Final = MAX_NESTED_BYTES


def cut(text: str, limit: int = MAX_STRING_BYTES) -> str:
    """Shorten *text* to *limit* bytes, whole characters only; lone surrogates become ``?``."""
    return text.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")


def text_of(value: object) -> str:
    """Give the text form of any object, at most 255 bytes; its type's name if it has none."""
    try:
        return cut(str(value))
    except Exception:  # noqa: BLE001 -- somebody else's __str__ may raise anything
        return _type_of(value)


def _type_of(value: object) -> str:
    return cut(f"<{type(value).__name__}>")


class _Walk:
    """What one conversion carries along: the rules, and how many values may still be looked at."""

    __slots__ = ("left", "privacy")

    def __init__(self, privacy: Privacy) -> None:
        self.privacy = privacy
        self.left = _MAX_NODES


_PUBLIC: Final = Privacy(scrub=False)


def clean(value: object, limit: int = MAX_NESTED_BYTES, privacy: Privacy = _PUBLIC) -> JsonValue:
    """
    Convert *value* to what JSON can say and Mixpanel keeps, or to `MISSING`.

    Strings are cut at 255 bytes, dates become UTC in ISO format (naive ones are taken as UTC),
    integers that a double cannot hold become text, sets become sorted lists, dataclasses and
    mappings objects; anything unknown becomes its text. Lists and objects are held to 254 elements,
    3 levels and *limit* bytes of JSON. What *privacy* objects to is replaced or left out.
    """
    converted = _convert(value, MAX_DEPTH, _Walk(privacy))
    return _fit(converted, limit) if isinstance(converted, (list, dict)) else converted


def _convert(value: object, depth: int, walk: _Walk) -> JsonValue:
    try:
        converted = _convert_known(value, depth, walk)
    except Exception:  # noqa: BLE001 -- somebody else's object may raise anything
        return _type_of(value)
    if type(converted) is str:
        text = converted if type(value) in _TIMES else walk.privacy.text(converted)
        return text if len(text) <= SURELY_SHORT and text.isascii() else cut(text)
    if type(converted) is int and walk.privacy.card(converted):
        return SCRUBBED
    return converted


def _convert_known(value: object, depth: int, walk: _Walk) -> JsonValue:
    kind = type(value)
    if kind is str:
        # Not cut yet: half a secret is harder to recognise.
        return value
    if kind in _NESTED or (kind not in _SIMPLE and _is_nested(value)):
        return _nested(value, depth, walk)
    convert = _SIMPLE.get(kind)
    return _uncommon(value, depth, walk) if convert is None else convert(value)


def _uncommon(value: object, depth: int, walk: _Walk) -> JsonValue:
    """Convert a value whose type only derives from the known ones, or is unknown."""
    if isinstance(value, Enum):
        return _convert(value.value, depth, walk)
    for kind, convert in _SIMPLE.items():
        if isinstance(value, kind):
            return convert(value)
    # NumPy's scalars among others: they register as numbers without deriving from them.
    if isinstance(value, Integral):
        return _integer(int(value))
    if isinstance(value, Real):
        return _real(float(value))
    return text_of(value)


def _is_nested(value: object) -> bool:
    return isinstance(value, (list, tuple, AbstractSet, Mapping)) or _is_dataclass(value)


def _nested(value: object, depth: int, walk: _Walk) -> JsonValue:
    if depth <= 0:
        # Not its text: that of a small value that holds itself twice, 40 times over, has no end.
        return _type_of(value)
    if _is_dataclass(value):
        names = [each.name for each in dataclasses.fields(cast("Any", value))]
        value = {name: getattr(value, name, None) for name in names}
    if isinstance(value, Mapping):
        return _object(value, depth - 1, walk)
    found = _list(cast("Any", value), depth - 1, walk)
    # A set has no order of its own, and the same event must always read the same.
    return sorted(found, key=_order) if isinstance(value, AbstractSet) else found


def _object(value: Mapping[Any, Any], depth: int, walk: _Walk) -> dict[str, JsonValue]:
    found: dict[str, JsonValue] = {}
    for key, each in islice(value.items(), MAX_ELEMENTS):
        walk.left -= 1
        if walk.left < 0:
            break
        name = walk.privacy.name(text_of(key))
        if walk.privacy.hides(name):
            found[name] = SCRUBBED
        elif (converted := _convert(each, depth, walk)) is not MISSING:
            found[name] = converted
    return found


def _list(value: Iterable[object], depth: int, walk: _Walk) -> list[JsonValue]:
    found = []
    for each in islice(value, MAX_ELEMENTS):
        walk.left -= 1
        if walk.left < 0:
            break
        if (converted := _convert(each, depth, walk)) is not MISSING:
            found.append(converted)
    return found


def _is_dataclass(value: object) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _integer(value: int) -> JsonValue:
    # int.__add__ and the like ignore what a subclass overrides; bool stays what it is.
    if isinstance(value, bool):
        return value
    plain = int.__add__(value, 0)
    if -MAX_SAFE_INTEGER <= plain <= MAX_SAFE_INTEGER:
        return plain
    try:
        return cut(str(plain))
    except ValueError:
        # Python 3.11 and later refuse to write out more than 4,300 digits.
        return cut(hex(plain))


def _real(value: Decimal | float) -> JsonValue:
    if isinstance(value, Decimal) and not value.is_finite():
        return MISSING  # float() raises for one kind of these, the signalling one
    plain = float(value)
    if math.isfinite(plain):
        return plain
    # An ordinary Decimal can be beyond what a double holds; its digits are still worth having.
    return text_of(value) if isinstance(value, Decimal) else MISSING


def _moment(value: date | time | timedelta) -> JsonValue:
    # The methods of these classes, since a subclass may give back anything at all.
    if isinstance(value, timedelta):
        return timedelta.total_seconds(value)
    if isinstance(value, datetime):
        if value.utcoffset() is not None:
            try:
                value = datetime.astimezone(value, timezone.utc)
            except OverflowError:  # the first or last day that there is, elsewhere
                return text_of(value)
        # Mixpanel's format for dates has neither fraction nor offset and means UTC. -- Mixpanel
        # docs, Property Reference, Data Types (read 2026-08-21).
        return datetime.isoformat(datetime.replace(value, tzinfo=None), timespec="seconds")
    return date.isoformat(value) if isinstance(value, date) else time.isoformat(value)


def _nothing(_value: object) -> JsonValue:
    return MISSING


def _order(value: JsonValue) -> tuple[str, str]:
    return type(value).__name__, str(value)


def repaired(value: JsonValue) -> JsonValue:
    """Replace lone surrogates, and integers that a double cannot hold, wherever they are."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {repaired(name): repaired(each) for name, each in value.items()}
    if isinstance(value, list):
        return [repaired(each) for each in value]
    return _integer(value) if isinstance(value, int) else value


def _fit(value: list[JsonValue] | dict[str, JsonValue], limit: int) -> JsonValue:
    """Keep as many leading elements of *value* as *limit* bytes hold."""
    if len(orjson.dumps(value)) <= limit:
        return value
    elements = list(value.items()) if isinstance(value, dict) else value
    # Each costs its own bytes and a comma; one bracket is left over.
    costs = accumulate(
        len(orjson.dumps({each[0]: each[1]})) - 1
        if isinstance(value, dict)
        else len(orjson.dumps(each)) + 1
        for each in elements
    )
    kept = elements[: bisect_right(list(costs), limit - 1)]
    return dict(kept) if isinstance(value, dict) else kept


_NESTED: Final = frozenset({list, dict, tuple, set, frozenset})

# The order matters for what derives from these: a bool is an int, a datetime a date.
_SIMPLE: Final[dict[type, Callable[[Any], JsonValue]]] = {
    type(None): _nothing,
    str: cut,
    bool: _integer,
    int: _integer,
    float: _real,
    Decimal: _real,
    date: _moment,
    datetime: _moment,
    time: _moment,
    timedelta: _moment,
    bytes: _nothing,
    bytearray: _nothing,
    memoryview: _nothing,
}

# Their texts are made here, and hold nothing of anybody's.
_TIMES: Final = frozenset({date, datetime, time})
