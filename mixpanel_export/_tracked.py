"""What was tracked, for tests: events to look at, and what to say when one is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, Final

from mixpanel_export._event import Event
from mixpanel_export._update import OPERATIONS, GroupUpdate, ProfileUpdate
from mixpanel_export._values import MISSING

# Numbers from here on are milliseconds, as we send them; Mixpanel takes seconds too. Seconds reach
# this in the year 5138, milliseconds did in 1973.
_MILLISECONDS: Final = 1e11

# So much of a value, and so many names of other properties, are shown.
_WIDTH: Final = 200
_OTHERS: Final = 20


class TrackedEvents(list[Event]):
    """
    The events that were tracked, in their order; a list, for everything that one asks of a list.

    Each is an `Event` as it is sent, after translation and privacy: `properties` holds what JSON
    can hold, ``mp_lib`` included, and `time` is in UTC.

    Args:
        hints: Called when nothing was tracked, for what may be the reason, each in a line.
    """

    def __init__(self, hints: Callable[[], Iterable[str]] = tuple) -> None:
        super().__init__()
        #: The updates of profiles and groups, in their order, one operation each.
        self.updates: list[ProfileUpdate | GroupUpdate] = []
        self._hints = hints

    def add(self, record: Mapping[str, Any]) -> None:
        """Add one event or update, given as Mixpanel's JSON."""
        if "event" in record:
            self.append(_event(record))
        else:
            self.updates.append(_update(record))

    def clear(self) -> None:
        """Forget all events and updates so far."""
        super().clear()
        self.updates.clear()

    def named(self, name: str) -> list[Event]:
        """Give the events of this name."""
        return [event for event in self if event.name == name]

    def assert_tracked(self, name: str, /, **expected: object) -> Event:
        """
        Assert that there is an event of this name with these properties; others may be there too.

        Values are compared with ``==``, inside of lists and mappings too, so that `pytest.approx`
        and `unittest.mock.ANY` work; but True is not 1.

        Args:
            name: The event's name.

            expected: The properties; `distinct_id`, `time`, `ip` and ``$insert_id`` are the event's
                own. Names that are no identifiers are given as ``**{"$city": "Oslo"}``.

        Returns:
            The first event that has them.

        Raises:
            AssertionError: If there is none; with the nearest one, and what is different.
        """
        __tracebackhide__ = True
        for event in self:
            if event.name == name and not _wrong(expected, _fields(event)):
                return event
        raise AssertionError("\n".join(self._explain(name, expected)))

    def assert_not_tracked(self, name: str, /, **expected: object) -> None:
        """
        Assert that there is no event of this name with these properties; see `assert_tracked`.

        Raises:
            AssertionError: If there is one; with the event.
        """
        __tracebackhide__ = True
        for number, event in enumerate(self, 1):
            if event.name == name and not _wrong(expected, _fields(event)):
                raise AssertionError(
                    f"event {number} of {len(self)} is one that should not be there:\n  {event!r}"
                )

    def _explain(self, name: str, expected: Mapping[str, object]) -> Iterator[str]:
        candidates = [
            (len(_wrong(expected, _fields(event))), number)
            for number, event in enumerate(self)
            if event.name == name
        ]
        if candidates:
            _, number = min(candidates)
            yield f"no event {name!r} has all of this; the nearest is {number + 1} of {len(self)}:"
            yield from _compare(expected, _fields(self[number]))
        elif self:
            yield f"no event {name!r} was tracked{_similar(name, (each.name for each in self))}"
            yield "these were:"
            for known, count in Counter(each.name for each in self).items():
                yield f"  {known!r}" + (f", {count} times" if count > 1 else "")
        else:
            yield f"no event {name!r} was tracked, nor any other"
            yield from (f"  {hint}" for hint in self._hints())


def _event(record: Mapping[str, Any]) -> Event:
    properties = dict(record["properties"])
    properties.pop("token", None)  # In `/track`'s requests: who, not what.
    time = None
    when: Any = properties.get("time")
    if isinstance(when, (int, float)) and 0 <= when < 1000 * _MILLISECONDS:
        del properties["time"]
        seconds = when / 1000 if when >= _MILLISECONDS else when
        time = datetime.fromtimestamp(seconds, timezone.utc)
    ip = properties.pop("ip", "0")
    return Event(
        record["event"],
        distinct_id=properties.pop("distinct_id", ""),
        insert_id=properties.pop("$insert_id", None),
        time=time,
        ip=None if ip == "0" else ip,
        properties=properties,
    )


def _update(record: Mapping[str, Any]) -> ProfileUpdate | GroupUpdate:
    operation = next(each for each in OPERATIONS if each in record)
    value = record[operation]
    if "$group_key" in record:
        return GroupUpdate(record["$group_key"], record["$group_id"], operation, value)
    return ProfileUpdate(
        record["$distinct_id"],
        operation,
        value,
        ip=record["$ip"],
        time=record.get("$time"),
        ignore_time=record.get("$ignore_time", False),
        ignore_alias=record.get("$ignore_alias", False),
    )


def _fields(event: Event) -> dict[str, Any]:
    own = {
        "distinct_id": event.distinct_id,
        "time": event.time,
        "ip": event.ip,
        "$insert_id": event.insert_id,
    }
    return {**event.properties, **own}


Difference = tuple[str, object, object]


def _wrong(expected: Mapping[str, object], actual: Mapping[str, object]) -> list[str]:
    """Give the names of *expected* of which *actual* has something else, or nothing."""
    return [
        name
        for name, value in expected.items()
        if any(True for _ in _differ(name, value, actual.get(name, MISSING)))
    ]


def _differ(path: str, expected: object, actual: object) -> Iterator[Difference]:
    """Yield where *actual* is not as *expected*: the path, what was expected, what is there."""
    match expected, actual:
        case (dict(), dict()):
            # All of it, unlike the event's properties: a value is what it is.
            for name in {**expected, **actual}:
                yield from _differ(
                    f"{path}.{name}", expected.get(name, MISSING), actual.get(name, MISSING)
                )
        case (list() | tuple(), list()) if len(expected) == len(actual):
            for index, pair in enumerate(zip(expected, actual, strict=True)):
                yield from _differ(f"{path}[{index}]", *pair)
        case _:
            if not _same(expected, actual):
                yield path, expected, actual


def _same(expected: object, actual: object) -> bool:
    if expected is MISSING or actual is MISSING:
        # Not by ==, since there are objects that are equal to everything.
        return False
    if type(actual) is bool and type(expected) in (int, float):
        return False
    if type(expected) is bool and type(actual) is not bool:
        return False
    return bool(expected == actual)


def _compare(expected: Mapping[str, object], actual: Mapping[str, object]) -> Iterator[str]:
    """Yield lines that show what was expected and what is there instead."""
    for name, value in expected.items():
        differences = list(_differ(name, value, actual.get(name, MISSING)))
        if not differences:
            yield f"    {name}: {_show(value)}"
        for path, wanted, found in differences:
            yield f"  - {path}: {_show(wanted)}"
            hint = _similar(name, actual) if found is MISSING and path == name else ""
            yield f"  + {path}: {_show(found)}{hint}"
    others = [name for name in actual if name not in expected]
    more = f" and {len(others) - _OTHERS} more" if len(others) > _OTHERS else ""
    yield f"  not asked for: {', '.join(others[:_OTHERS])}{more}"


def _show(value: object) -> str:
    if value is MISSING:
        return "missing"
    text = repr(value)
    return text if len(text) <= _WIDTH else f"{text[:_WIDTH]}…"


def _similar(name: str, names: Iterable[str]) -> str:
    """Ask whether another name was meant, if there is one that it could be."""
    import difflib  # most tests succeed

    # Without regard to case, in which names differ most often.
    known: dict[str, str] = {each.lower(): each for each in names if each != name}
    found: Sequence[str] = difflib.get_close_matches(name.lower(), known, 1)
    return f"; did you mean {known[found[0]]!r}?" if found else ""
