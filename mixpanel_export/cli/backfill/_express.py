"""
The short way for records that are Mixpanel events already, as most of a backfill's are.

Such an event is sent as it stands in its source, with nothing put in but what stands in every event
of ours, if the line that `Translator.seal` would make says the same. So nothing is written again,
and to see it costs a fraction: records whose properties have the same names are looked at column by
column, and texts that were not seen before are searched for secrets all at once. Whatever is
unusual goes the long way.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, Final, NamedTuple

from orjson import dumps, loads

from mixpanel_export._fill import CARDS, FEW
from mixpanel_export._ids import SURELY_MS, address, as_id, as_insert_id, as_time
from mixpanel_export._limits import MAX_AHEAD_MS, MAX_EVENT_BYTES, MAX_STRING_BYTES
from mixpanel_export._line import HONOURED
from mixpanel_export._plan import IDENTITY, make_plan
from mixpanel_export._privacy import Privacy, scrubbed_among
from mixpanel_export._values import SURELY_SHORT

# So many texts, names, and sets of names are remembered: some megabytes.
_MEMORY: Final = 20_000

# What an event has that goes this way.
_REQUIRED: Final = frozenset({"time", "distinct_id", "$insert_id"})

# Ids as the official libraries make them are of this form, and none that is forbidden; many, with
# line breaks between them.
_USUAL_IDS: Final = re.compile(r"(?:[0-9A-Za-z]{20,36}\n)+").fullmatch

# Users' ids that are longer than any forbidden word, and shorter than any forbidden UUID.
_USUAL_OWNERS: Final = re.compile(r"(?:[0-9A-Za-z_.:@|-]{10,35}\n)+").fullmatch

_MAX_FLOAT: Final = sys.float_info.max

# What properties begin with, as writers of JSON write it: without blanks, or as Python's own.
_OPENINGS: Final = (b'"properties":{', b'"properties": {')

_Row = dict[str, Any]


class _Plan(NamedTuple):
    """What to do with properties that have one set of names."""

    aliases: tuple[str, ...]  # the identities beside the distinct_id
    others: tuple[str, ...]  # all that are neither these nor fields of the event
    added: bytes  # what else stands in every event, ready to be put in front of them


class Express:
    """
    Finds the events that may be sent as they stand.

    Args:
        privacy: The rules for names and texts.

        base: What stands in every event beside its own properties, the four fields among it.
    """

    def __init__(self, privacy: Privacy, base: Mapping[str, Any]) -> None:
        self._privacy = privacy
        self._base = dict(base)
        self._plans: dict[tuple[str, ...], _Plan | None] = {}
        self._known: set[str] = set()
        self._names: set[str] = set()

    def approve(self, name: str, line: bytes) -> None:
        """Let events of this *name* go this way if the long way, which made *line*, kept it."""
        if line.startswith(b'{"event":' + dumps(name) + b","):
            if len(self._names) >= _MEMORY:
                self._names.clear()
            self._names.add(name)

    def lines(self, items: Sequence[Any], now: float) -> list[bytes | None]:
        """
        Make the line of each of *items*, or `None` for one that has to go the long way.

        Args:
            items: Records; those that are bytes of JSON may go this way.

            now: Seconds since the epoch, from which "in the future" is measured.
        """
        groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
        records = _loaded(items)
        names = self._names
        for index, record in enumerate(records):
            try:
                if record["event"] in names and len(record) == 2:
                    groups[tuple(record["properties"])].append(index)
            except (TypeError, KeyError):  # noqa: PERF203 -- most have this shape
                pass  # The long way knows others, or will say what is wrong.
        lines: list[bytes | None] = [None] * len(items)
        for key, indexes in groups.items():
            rows = [records[index]["properties"] for index in indexes]
            # What can be looped over need not be an object.
            plan = self._plan(key) if set(map(type, rows)) == {dict} else None
            if plan is not None:
                found = self._found([items[index] for index in indexes], rows, plan, now)
                for index, line in zip(indexes, found, strict=True):
                    lines[index] = line
        return lines

    def _found(
        self, items: list[bytes], rows: list[_Row], plan: _Plan, now: float
    ) -> list[bytes | None]:
        """Make the lines of events that have properties of the same names; None is unusual."""
        bad = self._heads(rows, plan)
        self._others(rows, plan.others, bad)
        # Those of the properties, of the properties themselves, and of the name.
        count = len(rows[0]) + 2
        # No item has fewer of them, so if all together have not more, neither has any.
        if _is_doubtful(b"".join(items), count * len(items)):
            bad.update(index for index, item in enumerate(items) if _is_doubtful(item, count))
        opening = _OPENINGS[_OPENINGS[0] not in items[0]]
        times = [row["time"] for row in rows]
        if not _are_sent(times, now):
            items = [_timed(*each, now) for each in zip(items, times, strict=True)]
        begun, growth = opening + plan.added, len(plan.added)
        # Quotes within texts are escaped, so that this is found where it is meant.
        lines: list[bytes | None] = [
            line
            if (line := item.replace(opening, begun, 1)) and len(line) - len(item) == growth
            else None
            for item in items
        ]
        for index in bad:
            lines[index] = None
        if max(map(len, items)) + len(plan.added) > MAX_EVENT_BYTES:
            return [line if line and len(line) <= MAX_EVENT_BYTES else None for line in lines]
        return lines

    def _heads(self, rows: list[_Row], plan: _Plan) -> set[int]:
        """Find the rows whose ids or address are unusual."""
        bad: set[int] = set()
        for name, usual, is_usual in (
            ("distinct_id", _USUAL_OWNERS, _is_owner),
            ("$insert_id", _USUAL_IDS, _is_insert_id),
        ):
            ids = [row[name] for row in rows]
            if set(map(type, ids)) != {str} or not usual("\n".join(ids) + "\n"):
                bad |= _indexes(rows, name, is_usual)
        for alias in plan.aliases:
            bad |= _indexes(rows, alias, _is_alias)
            bad.update(index for index, row in enumerate(rows) if row["distinct_id"] == "")
        if "ip" in rows[0]:
            bad |= _indexes(rows, "ip", _is_ip)
        return bad

    def _others(self, rows: list[_Row], names: tuple[str, ...], bad: set[int]) -> None:
        """Add to *bad* the rows with unusual values."""
        new: set[str] = set()
        columns = []
        for column in _columns(rows, names):
            texts = _new_texts(column, self._known)
            if texts is None:
                texts = _look_closely(column, bad)
            if texts:
                columns.append(column)
                new |= texts
        if dirty := self._learn(list(new)):
            for column in columns:
                bad.update(index for index, value in enumerate(column) if _holds(value, dirty))

    def _plan(self, names: tuple[str, ...]) -> _Plan | None:
        """Say what to do with properties of these names; None if they need to be changed."""
        if names in self._plans:
            return self._plans[names]
        plan = make_plan(names, self._privacy, base=self._base)
        others = tuple(name for name in names if name not in HONOURED and name not in IDENTITY)
        usual = (
            set(names) >= _REQUIRED
            and plan.pairs == tuple((name, name) for name in others)
            and plan.mark is None
            and not plan.hidden
            and plan.rivals is None
        )
        more = {name: value for name, value in self._base.items() if name not in names}
        added = dumps(more)[1:-1] + b"," if more else b""
        if len(self._plans) >= _MEMORY:
            self._plans.clear()
        self._plans[names] = found = _Plan(plan.aliases, others, added) if usual else None
        return found

    def _learn(self, texts: list[str]) -> set[str]:
        """Remember those of *texts* that may be sent as they are, and give the others."""
        dirty = {
            text
            for text in texts
            if len(text) > SURELY_SHORT and len(text.encode()) > MAX_STRING_BYTES
        }
        if self._privacy.scrubs:
            dirty |= scrubbed_among(texts)
        if len(self._known) >= _MEMORY:
            self._known.clear()
        self._known.update(texts)
        self._known -= dirty
        return dirty


_TEXT: Final = frozenset({str})
_NUMBERS: Final = frozenset({int, float, bool})


def _loaded(items: Sequence[Any]) -> list[Any]:
    """Give what *items* say; None for one that is no JSON."""
    try:
        return list(map(loads, items))
    except ValueError:
        return list(map(_read, items))


def _read(item: object) -> Any:  # noqa: ANN401 -- any JSON
    try:
        return loads(item) if type(item) is bytes else None
    except ValueError:
        return None


def _columns(rows: list[_Row], names: tuple[str, ...]) -> Iterable[tuple[Any, ...]]:
    """Turn *rows* by a right angle."""
    if len(names) < 2:
        return [tuple(row[name] for row in rows) for name in names]
    return zip(*map(itemgetter(*names), rows), strict=True)


def _new_texts(column: tuple[Any, ...], known: set[str]) -> set[str] | None:
    """Give the texts in *column* that are not *known*; None if not all in it is usual."""
    try:
        # Each once, and less what is known: of most columns nothing is left to be looked at.
        values = set(column) - known
    except TypeError:
        if set(map(type, column)) != {list} or max(map(len, column)) > FEW:
            return None
        texts = list(chain.from_iterable(column))
        return set(texts) - known if set(map(type, texts)) <= _TEXT else None
    kinds = set(map(type, values))
    if kinds <= _TEXT:
        return values
    if kinds <= _NUMBERS and min(values) > -CARDS and max(values) < CARDS:
        return set()
    return None


def _look_closely(column: tuple[Any, ...], bad: set[int]) -> set[str]:
    """Give the texts in *column*, and note what is unusual in it."""
    texts: set[str] = set()
    for index, value in enumerate(column):
        if not _is_usual(value):
            bad.add(index)
        elif type(value) is str:
            texts.add(value)
        elif type(value) is list:
            texts.update(value)
    return texts


def _is_usual(value: object) -> bool:
    kind = type(value)
    if kind is list:
        return len(value) <= FEW and all(type(each) is str for each in value)  # type: ignore[arg-type, attr-defined] # a list
    if kind is float:
        return -_MAX_FLOAT <= value <= _MAX_FLOAT  # type: ignore[operator] # a float
    return kind is str or kind is bool or (kind is int and -CARDS < value < CARDS)  # type: ignore[operator] # an int


def _holds(value: object, dirty: set[str]) -> bool:
    if type(value) is list:
        return not dirty.isdisjoint(value)
    return type(value) is str and value in dirty


def _are_sent(times: list[Any], now: float) -> bool:
    """Say whether all of *times* are sent as they are."""
    latest = now * 1000 + MAX_AHEAD_MS
    return set(map(type, times)) == {int} and min(times) >= SURELY_MS and max(times) <= latest


def _timed(item: bytes, time: Any, now: float) -> bytes:  # noqa: ANN401 -- any JSON
    """Put the time into *item* as it is sent; nothing if it is not seen where to."""
    found = as_time(time, now)
    if found is None or type(time) is not int:
        return b""
    if found == time:
        return item
    # Without an escape, what looks like a name is one.
    if b"\\" in item:
        return b""
    name = b'"time": ' if b'"time": ' in item else b'"time":'
    return item.replace(name + b"%d" % time, name + b"%d" % found, 1)


def _is_doubtful(text: bytes, count: int) -> bool:
    """Say whether there may be more than *count* names in *text*, or line breaks."""
    return (
        b"\n" in text
        or b"\t" in text
        or b"\r" in text
        or text.replace(b" ", b"").count(b'":') != count
    )


def _indexes(rows: list[_Row], name: str, is_usual: Any) -> set[int]:  # noqa: ANN401 -- a question
    """Find the rows whose value of this name is unusual."""
    column = [row[name] for row in rows]
    if set(map(type, column)) == {str} and all(map(is_usual, set(column))):
        return set()
    return {
        index for index, value in enumerate(column) if not (type(value) is str and is_usual(value))
    }


def _is_owner(value: str) -> bool:
    return not value or as_id(value) == value


def _is_alias(value: str) -> bool:
    return as_id(value) == value != ""


def _is_insert_id(value: str) -> bool:
    return as_insert_id(value) == value


def _is_ip(value: str) -> bool:
    return address(value) == value
