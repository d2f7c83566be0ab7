"""One event as it arrived, and what makes two of them the same."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

from mixpanel_export.emulator import _facts

JsonObject = dict[str, Any]

# A text of so many characters cannot be too long, at four bytes each.
_SURELY_SHORT = _facts.MAX_STRING_BYTES // 4


@dataclass(frozen=True, slots=True)
class Scene:
    """
    When and where an event arrives.

    Args:
        now_ms: The time.

        simplified: Whether the project merges identities the simplified way.

        oldest_ms: The time before which nothing is kept. None: there is none.
    """

    now_ms: int
    simplified: bool
    oldest_ms: int | None = None


class Event:
    """
    One element of a request.

    Not a dataclass: tens of thousands are made each second, and this is half the price.

    Attributes:
        scene: When and where it arrives.

        record: The element, {} if it is not an object.

        name: Its ``event``, or None if that is not a string.

        properties: Its ``properties``, {} if they are not an object.

        has_properties: Whether they are one.

        line: Its compact JSON.

        size: Bytes of that, on arrival.

        instant: Its time in milliseconds, or None if there is none that can be read.
    """

    __slots__ = (
        "has_properties",
        "instant",
        "line",
        "name",
        "properties",
        "record",
        "scene",
        "size",
    )

    def __init__(self, element: object, scene: Scene) -> None:
        self.scene = scene
        record: JsonObject = element if isinstance(element, dict) else {}
        name = record.get("event")
        properties = record.get("properties")
        self.record = record
        self.name: str | None = name if isinstance(name, str) else None
        self.has_properties = isinstance(properties, dict)
        self.properties: JsonObject = properties if isinstance(properties, dict) else {}
        self.line = compact(element)
        self.size = len(self.line)
        self.instant = instant_of(self.properties.get("time"))

    def cut(self) -> None:
        """Shorten names and texts to what Mixpanel keeps; most events have none to shorten."""
        if self.name is None or not self.has_properties:
            return
        if _too_long(self.name) or _holds_long_text(self.properties):
            self.name = self.record["event"] = _cut_text(self.name)
            self.properties = self.record["properties"] = _cut_values(self.properties)
            self.line = compact(self.record)

    def hide(self) -> None:
        """Make it one of those that a user has too many of."""
        self.properties[_facts.ORIGINAL_NAME] = self.name
        self.properties[_facts.ORIGINAL_USER] = identity(self.properties)
        self.properties["distinct_id"] = ""
        self.name = self.record["event"] = _facts.HOT_SHARD_NAME
        self.line = compact(self.record)

    def complete(self, defaults: JsonObject) -> None:
        """Add what the service itself fills in."""
        if defaults:
            self.properties.update(defaults)
            self.line = compact(self.record)

    def key(self) -> int:
        """
        Return 64 bits that are equal for events that Mixpanel shows as one.

        Two of a hundred million different events share them with a probability of about 1 in
        4 000.
        """
        properties = self.properties
        when = self.instant if self.instant is not None else properties.get("time")
        four = [self.name, when, identity(properties), properties.get("$insert_id")]
        digest = blake2b(compact(four), digest_size=8).digest()
        return int.from_bytes(digest, "little", signed=True)


def compact(value: object) -> bytes:
    """Serialise to JSON without blanks, whatever the reader in `_body` may have produced."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        # Integers beyond 64 bits and lone surrogates; the latter never get further than a refusal.
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "backslashreplace")


def instant_of(time: object) -> int | None:
    """Return the milliseconds that *time* means, in seconds or milliseconds; None if no number."""
    if isinstance(time, bool) or not isinstance(time, (int, float)):
        return None
    if abs(time) >= _facts.FIRST_MILLISECONDS:
        return int(time) if abs(time) < float("inf") else None
    return round(time * 1000)


def identity(properties: JsonObject) -> object:
    """
    Return the user that an event belongs to.

    ``distinct_id`` if it is there, else what Simplified ID Merge derives: ``$user_id``, or
    ``$device_id`` with a prefix. Sourced: docs, docs/tracking-methods/id-management.
    """
    if "distinct_id" in properties:
        return properties["distinct_id"]
    if properties.get("$user_id"):
        return properties["$user_id"]
    if properties.get("$device_id"):
        return as_device(properties["$device_id"])
    return None


def user_of(properties: JsonObject, simplified: bool) -> str:
    """
    Return the id that Mixpanel gives an event, before it looks whose it is; "" for nobody's.

    Sourced: docs, docs/tracking-methods/id-management/identifying-users-simplified.mdx: there
    ``$user_id`` decides, else ``$device_id``, and a library's ``distinct_id`` may be empty beside
    them. Guess: that one that is not empty wins over ``$device_id``. Live, the import tool's probe:
    with Original ID Merge both mean nothing.
    """
    if simplified and properties.get("$user_id"):
        return as_text(properties["$user_id"])
    sent = properties.get("distinct_id")
    if simplified and sent in (None, "") and properties.get("$device_id"):
        return as_device(properties["$device_id"])
    return "" if sent is None else as_text(sent)


def as_device(value: object) -> str:
    """Return the id that a ``$device_id`` has among those of users."""
    return _facts.DEVICE_PREFIX + as_text(value).removeprefix(_facts.DEVICE_PREFIX)


def as_text(value: object) -> str:
    """
    Return an id as a text that a database can hold.

    It is cut like every text. Halves of surrogate pairs, which JSON can hold and a database cannot,
    become question marks.
    """
    return (
        str(value).encode("utf-8", "replace")[: _facts.MAX_STRING_BYTES].decode("utf-8", "ignore")
    )


def _too_long(text: str) -> bool:
    if len(text) <= _SURELY_SHORT:
        return False
    return len(text.encode("utf-8", "surrogatepass")) > _facts.MAX_STRING_BYTES


def _holds_long_text(values: JsonObject) -> bool:
    # Comparing with `_cut_values` would say the same; this is for the many that are not to be cut.
    for name, value in values.items():
        if len(name) > _SURELY_SHORT and _too_long(name):
            return True
        if isinstance(value, str):
            if len(value) > _SURELY_SHORT and _too_long(value):
                return True
        elif isinstance(value, (dict, list)) and _cut(value) != value:
            return True
    return False


def _cut(value: object) -> object:
    if isinstance(value, str):
        return _cut_text(value)
    if isinstance(value, dict):
        return _cut_values(value)
    if isinstance(value, list):
        return [_cut(inner) for inner in value]
    return value


def _cut_values(values: JsonObject) -> JsonObject:
    return {_cut_text(name): _cut(value) for name, value in values.items()}


def _cut_text(text: str) -> str:
    whole = text.encode("utf-8", "surrogatepass")
    return whole[: _facts.MAX_STRING_BYTES].decode("utf-8", "ignore")
