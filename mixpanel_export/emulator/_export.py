"""
``GET /api/2.0/export``: events as Mixpanel gives them back.

Sourced, unless said otherwise: docs, ``openapi/export.openapi.yaml`` and
``docs/data-structure/property-reference/default-properties.mdx``. The parameter ``where`` is not
emulated, the answer is never compressed, and there is no limit of queries.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone

import orjson

from mixpanel_export.emulator import _facts
from mixpanel_export.emulator._body import MalformedError, parse
from mixpanel_export.emulator._event import JsonObject, compact, instant_of, user_of
from mixpanel_export.emulator._store import Store, Stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """
    Which events are wanted.

    Args:
        start_ms: The first moment.

        end_ms: The first moment that is too late.

        names: Names of events. None: all.

        limit: How many at most.

        in_ms: Whether their time is told in milliseconds, else in seconds.
    """

    start_ms: int
    end_ms: int
    names: frozenset[str] | None = None
    limit: int = _facts.MAX_EXPORTED
    in_ms: bool = False


def read_query(parameters: Mapping[str, str]) -> Query:
    """
    Read the parameters of the URL. Both dates are in UTC and inclusive.

    Raises:
        ValueError: If they make no sense. Its text is a guess.
    """
    if parameters.get("where"):
        raise ValueError("where is not emulated")
    limit = parameters.get("limit", str(_facts.MAX_EXPORTED))
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit) <= _facts.MAX_EXPORTED):
        raise ValueError(f"limit must be between 1 and {_facts.MAX_EXPORTED}")
    last = _day(parameters, "to_date")
    return Query(
        start_ms=_milliseconds(_day(parameters, "from_date")),
        end_ms=_milliseconds(last) + 24 * 60 * 60 * 1000,
        names=_names(parameters.get("event")),
        limit=int(limit),
        in_ms=parameters.get("time_in_ms", "").lower() == "true",
    )


def exported(store: Store, query: Query, *, simplified: bool) -> Iterator[str]:
    """Yield the events that a query asks for, a line each, in the order of their arrival."""
    left = query.limit
    for page in store.pages():
        found = (_export(store, stored, query, simplified) for stored in page)
        lines = [line for line in found if line][:left]
        yield "".join(lines)
        left -= len(lines)
        if not left:
            return


def _export(store: Store, stored: Stored, query: Query, simplified: bool) -> str:
    event = orjson.loads(stored.line)
    properties = event["properties"]
    instant = instant_of(properties.get("time"))
    # Sourced: docs, reference/import-events.mdx: a time ahead becomes that of the arrival. Guess:
    # one that cannot be read too.
    instant = stored.received_ms if instant is None else min(instant, stored.received_ms)
    if not query.start_ms <= instant < query.end_ms:
        return ""
    if query.names is not None and event["event"] not in query.names:
        return ""
    user = "" if event["event"] == _facts.HOT_SHARD_NAME else user_of(properties, simplified)
    identified = _identified(store.users.canonical(user), user, simplified)
    for name in ("ip", "token"):
        # Sourced: an address is forgotten once it was looked up; reserved-properties.mdx: a token
        # is never shown.
        properties.pop(name, None)
    if "$device_id" in properties and simplified:
        # Live: the import tool's probe: one prefix is taken away.
        bare = str(properties["$device_id"]).removeprefix(_facts.DEVICE_PREFIX)
        properties["$device_id"] = bare
    event["properties"] = {
        **properties,
        **identified,
        **_added(stored),
        "time": instant if query.in_ms else instant // 1000,
    }
    return compact(event).decode() + "\n"


def _identified(canonical: str, sent: str, simplified: bool) -> JsonObject:
    """Return the properties that say whose an event is."""
    found: JsonObject = {"distinct_id": canonical}
    if canonical != sent:
        found["$distinct_id_before_identity"] = sent
    if not simplified or not sent:
        return found
    # Live: the import tool's probe: an id with the prefix is a device's, any other a user's.
    if sent.startswith(_facts.DEVICE_PREFIX):
        found["$device_id"] = sent.removeprefix(_facts.DEVICE_PREFIX)
    if not canonical.startswith(_facts.DEVICE_PREFIX):
        found["$user_id"] = canonical
    return found


def _added(stored: Stored) -> JsonObject:
    """Return what the service itself says about an event."""
    added: JsonObject = {
        "$mp_api_endpoint": _facts.API_HOST,
        "$mp_api_timestamp_ms": stored.received_ms,
        "mp_processing_time_ms": stored.received_ms,
        "$mp_event_size": stored.size,
    }
    if stored.endpoint == "/import":
        added["$import"] = True
    return added


def _day(parameters: Mapping[str, str], name: str) -> date:
    try:
        day = date.fromisoformat(parameters.get(name, ""))
    except ValueError as error:
        raise ValueError(f"{name} must be a date as yyyy-mm-dd") from error
    # So that the day after it can be told.
    return min(day, date.max - timedelta(days=1))


def _milliseconds(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=timezone.utc).timestamp()) * 1000


def _names(text: str | None) -> frozenset[str] | None:
    if not text:
        return None
    try:
        names = parse(text.encode("utf-8", "surrogateescape"))
    except MalformedError as error:
        raise ValueError("event must be a JSON array of names") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("event must be a JSON array of names")
    return frozenset(names)
