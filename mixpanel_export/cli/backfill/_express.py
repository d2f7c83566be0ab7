"""
The short way for records that are Mixpanel events already, as most of a backfill's are.

It makes byte for byte the line that `Translator.seal` makes, in a third of its time: what is usual
is looked at in one loop, and texts that were not seen before are searched for secrets all at once.
Whatever is unusual goes the long way.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple

from orjson import dumps

from mixpanel_export._fill import CARDS, FEW
from mixpanel_export._ids import address, as_id, as_insert_id, milliseconds
from mixpanel_export._limits import MAX_AHEAD_MS, MAX_EVENT_BYTES, MAX_STRING_BYTES, MIN_TIME_MS
from mixpanel_export._line import dump
from mixpanel_export._plan import HONOURED, IDENTITY, make_plan
from mixpanel_export._privacy import Privacy, scrubbed_among
from mixpanel_export._values import SURELY_SHORT

# So many texts, and so many sets of names, are remembered: some megabytes.
_MEMORY: Final = 50_000

#: What an event has that goes this way.
REQUIRED: Final = frozenset({"time", "distinct_id", "$insert_id"})

# Ids as the official libraries make them: the digits of a UUID.
_USUAL_ID: Final = re.compile(r"[0-9a-f]{32}").fullmatch

_MAX_FLOAT: Final = sys.float_info.max


class _Plan(NamedTuple):
    """What to do with properties that have one set of names."""

    aliases: tuple[str, ...]  # the identities beside the distinct_id
    values: Callable[[dict[str, Any]], tuple[Any, ...]]  # those of all other properties


class Express:
    """
    Makes lines of records that need nothing but a look.

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

    def lines(self, records: Sequence[object], now: float) -> list[bytes | None]:
        """
        Make the line of each of *records*, or `None` for one that has to go the long way.

        Args:
            records: Values as JSON has them.

            now: Seconds since the epoch, from which "in the future" is measured.
        """
        texts: list[str] = []
        found: list[tuple[str, dict[str, Any], int] | None] = []
        for record in records:
            start = len(texts)
            properties = self._look(record, texts, now)
            if properties is None:
                del texts[start:]
                found.append(None)
            else:
                found.append((record["event"], properties, len(texts)))  # type: ignore[index] # looked at
        dirty = self._learn(texts)
        lines: list[bytes | None] = []
        start = 0
        for each in found:
            line = None
            if each is not None:
                name, properties, end = each
                if not dirty or dirty.isdisjoint(texts[start:end]):
                    line = dump(name, properties)
                    if len(line) > MAX_EVENT_BYTES:
                        line = None
                start = end
            lines.append(line)
        return lines

    def approve(self, name: str, line: bytes) -> None:
        """Let events of this *name* go this way if the long way, which made *line*, left it as it is."""
        if line.startswith(b'{"event":' + dumps(name) + b","):
            if len(self._names) >= _MEMORY:
                self._names.clear()
            self._names.add(name)

    def _look(  # noqa: PLR0911, PLR0912 -- a call costs as much as ten of these questions
        self, record: object, texts: list[str], now: float
    ) -> dict[str, Any] | None:
        """Give the properties that are sent, if *texts*, those not seen before, turn out clean."""
        if type(record) is not dict or len(record) != 2:
            return None
        given = record.get("properties")
        if type(given) is not dict or record.get("event") not in self._names:
            return None
        names = tuple(given)
        try:
            plan = self._plans[names]
        except KeyError:
            plan = self._plan(names)
        if plan is None:
            return None
        known = self._known
        unset = False
        for value in plan.values(given):
            kind = type(value)
            if kind is str:
                if value not in known:
                    texts.append(value)
            elif kind is int:
                if value >= CARDS:
                    return None
            elif kind is float:
                if not -_MAX_FLOAT <= value <= _MAX_FLOAT:
                    return None
            elif kind is list:
                if len(value) > FEW:
                    return None
                for each in value:
                    if type(each) is not str:
                        return None
                    if each not in known:
                        texts.append(each)
            elif value is None:
                unset = True
            elif kind is not bool:
                return None
        if unset:
            given = {name: value for name, value in given.items() if value is not None}
        return self._head(given, plan.aliases, now)

    def _head(
        self, given: dict[str, Any], aliases: tuple[str, ...], now: float
    ) -> dict[str, Any] | None:
        """Put what every event has in front of the others, if all of it may stay as it is."""
        moment, owner, insert_id = given.get("time"), given.get("distinct_id"), given["$insert_id"]
        if type(moment) is not int or not MIN_TIME_MS <= moment <= now * 1000 + MAX_AHEAD_MS:
            moment = milliseconds(moment, now)
            if moment is None:
                return None
        if type(owner) is not str or (owner and as_id(owner) != owner):
            return None
        if type(insert_id) is not str:
            return None
        if not _USUAL_ID(insert_id) and as_insert_id(insert_id) != insert_id:
            return None
        ip = given.get("ip", "0")
        if ip != "0" and (type(ip) is not str or address(ip) != ip):
            return None
        properties = self._base.copy()
        for alias in aliases:
            value = given.get(alias)
            if not owner or type(value) is not str or as_id(value) != value:
                return None
            properties[alias] = value
        properties.update(given)
        properties["time"] = moment
        return properties

    def _plan(self, names: tuple[str, ...]) -> _Plan | None:
        """Work out what to do with properties of these names; None if they need to be changed."""
        plan = make_plan(names, self._privacy, base=tuple(self._base))
        others = [name for name in names if name not in HONOURED and name not in IDENTITY]
        found = None
        if (
            set(names) >= REQUIRED
            and plan.pairs == tuple((name, name) for name in others)
            and not plan.hidden
            and plan.rivals is None
            and len(others) > 1
        ):
            found = _Plan(plan.aliases, itemgetter(*others))
        if len(self._plans) >= _MEMORY:
            self._plans.clear()
        self._plans[names] = found
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
