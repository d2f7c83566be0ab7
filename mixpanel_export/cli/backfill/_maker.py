"""Records -> lines, or why there is none."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, cast

import orjson

from mixpanel_export._event import Drop
from mixpanel_export._translate import Translator
from mixpanel_export._update import Aside
from mixpanel_export.cli._plainly import origin
from mixpanel_export.cli.backfill._express import Express
from mixpanel_export.cli.backfill._mapping import Mapper
from mixpanel_export.cli.backfill._trouble import NOT_UTF_8, Fault, excerpt

if TYPE_CHECKING:
    from mixpanel_export._settings import Settings
    from mixpanel_export._translate import Sealed

_SORTED: Final = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS

# So many records are looked at together: as many as the processor has near.
_FEW: Final = 500

_FAULTS: Final = {
    Drop.IGNORED: "has no name",
    Drop.TOO_LARGE: "is too large: it would have 1 MB or more",
    Drop.NO_IDENTITY: "says whose it is with an id that Mixpanel forbids",
}
_LEFT: Final = {Drop.TRANSFORM: "transform", Drop.SAMPLED: "sampled"}

#: What becomes of a record: a line for /import, lines for other ways, what is wrong with it, why it
#: is left out, or None if it is nothing but a blank line.
Result = bytes | tuple[bytes | Aside, ...] | Fault | str | None


@dataclass(frozen=True)
class Rules:
    """
    Which records are sent, and as what.

    Args:
        mapper: Makes events and updates of records.

        profiles: Whether they are updates of profiles, and not events.

        since: Events before this are left out, in milliseconds since the epoch; None is no limit.

        until: Events from this on are left out; None is no limit.

        repeats: Whether records that are alike in everything are different events.
    """

    mapper: Mapper
    profiles: bool = False
    since: int | None = None
    until: int | None = None
    repeats: bool = False


class Maker:
    """
    Makes lines of records.

    Args:
        settings: The "what" fields are read.

        rules: Which records, and as what.

        hint: Called with a kind and a text about what a user should know.

        wall: Says the seconds since the epoch.
    """

    def __init__(
        self,
        settings: Settings,
        rules: Rules,
        *,
        hint: Callable[[str, str], object],
        wall: Callable[[], float] = time.time,
    ) -> None:
        #: The number of the record that was looked at last.
        self.number = 0
        self._rules = rules
        self._hint = hint
        self._wall = wall
        self._translator = Translator(settings, hint=hint)
        usual = (
            rules.mapper.fields.usual
            and not rules.profiles
            and rules.since is None
            and rules.until is None
            and settings.transform is None
            and settings.sample >= 1
        )
        privacy, base = self._translator.filler.privacy, self._translator._base
        self._express = Express(privacy, base) if usual else None

    def make(self, items: Sequence[Any], numbers: Sequence[int]) -> list[Result]:
        """
        Make the lines of *items*.

        Args:
            items: Records: bytes of JSON, mappings, or what is wrong with them.

            numbers: Their numbers.
        """
        now = self._wall()
        if self._express is None:
            return [self._long_way(*each, now) for each in zip(items, numbers, strict=True)]
        results: list[Result] = []
        for start in range(0, len(items), _FEW):
            some = items[start : start + _FEW]
            results += self._express.lines(some, now)
        if None in results:
            for at, line in enumerate(results):
                if line is None:
                    results[at] = self._long_way(items[at], numbers[at], now)
        return results

    def _long_way(self, item: Any, number: int, now: float) -> Result:  # noqa: ANN401 -- see `make`
        self.number = number
        record = self._parse(item) if type(item) is bytes else item
        if record is None or isinstance(record, Fault):
            return record
        if not isinstance(record, Mapping):
            return Fault("is JSON, but not an object", excerpt(_dump(record)))
        try:
            found = (
                self._updates(record) if self._rules.profiles else self._event(record, number, now)
            )
        except Exception as error:  # noqa: BLE001 -- a transform is somebody else's code
            found = Fault(
                f"cannot be made an event: {type(error).__name__}: {error}{origin(error)}"
            )
        if isinstance(found, Fault) and not found.text:
            return replace(found, text=excerpt(item if type(item) is bytes else _dump(record)))
        return found

    def _event(self, record: Mapping[str, Any], number: int, now: float) -> Result:
        rules = self._rules
        event = rules.mapper.event(record, now)
        if isinstance(event, Fault):
            return event
        moment = cast("int", event.time)  # the mapper reads it
        if (rules.since is not None and moment < rules.since) or (
            rules.until is not None and moment >= rules.until
        ):
            return "outside"
        sealed = self._translator.seal(event, partial(self._insert_id, record, number), self._wall)
        if type(sealed) is bytes:
            if self._express is not None:
                self._express.approve(event.name, sealed)
            return sealed
        return _result((sealed,))

    def _updates(self, record: Mapping[str, Any]) -> Result:
        updates = self._rules.mapper.updates(record)
        if isinstance(updates, Fault):
            return updates
        return _result(self._translator.seal(each, str, self._wall) for each in updates)

    def _insert_id(self, record: Mapping[str, Any], number: int) -> str:
        """Make an id of what *record* says, so that the next run makes the same."""
        content = _dump(record)
        if self._rules.repeats:
            content += b"%d" % number
        return sha256(content).hexdigest()[:32]

    def _parse(self, item: bytes) -> Any:  # noqa: ANN401, PLR0911 -- any JSON, a fault, or None
        record = _loads(item)
        if record is not None:
            # A quick count of names; only if there seem to be too many are they looked at.
            if item.count(b'":') > _dump(record).count(b'":'):
                with suppress(ValueError, RecursionError):
                    json.loads(item, object_pairs_hook=self._pairs)
            return record
        if not item.strip():
            return None
        try:
            # It takes what Python's own writer gives: not-a-number, and half of a surrogate pair.
            return json.loads(item, object_pairs_hook=self._pairs)
        except UnicodeDecodeError as error:
            return Fault(NOT_UTF_8, excerpt(item), error.start + 1)
        except json.JSONDecodeError as error:
            if error.lineno > 1:
                # An element of an array, whose own lines have no numbers.
                where = f"at its line {error.lineno}, column {error.colno}"
                return Fault(f"is not JSON: {error.msg} {where}", excerpt(item))
            return Fault(f"is not JSON: {error.msg}", excerpt(item), error.pos + 1)
        except (RecursionError, ValueError) as error:
            reason = "is nested too deeply" if isinstance(error, RecursionError) else str(error)
            return Fault(reason, excerpt(item))

    def _pairs(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            self._hint("repeated", "a name stood twice in an object; what came last counts")
        return found


def _result(sealed: Iterable[Sealed]) -> Result:
    found: list[bytes | Aside] = []
    for each in sealed:
        if isinstance(each, Drop):
            return _LEFT.get(each) or Fault(_FAULTS[each])
        found.append(cast("Aside", each))
    return tuple(found)


def _loads(item: bytes) -> Any:  # noqa: ANN401 -- any JSON
    try:
        return orjson.loads(item)
    except ValueError:
        return None


def _dump(record: object) -> bytes:
    try:
        return orjson.dumps(record, default=str, option=_SORTED)
    except (TypeError, ValueError):
        # An integer of more than 64 bits, half of a surrogate pair, or nested too deeply for it.
        return json.dumps(record, default=str, sort_keys=True).encode()
