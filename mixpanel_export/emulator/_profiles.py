"""
Profile updates: who they are about, and what each operation does.

Sourced: docs, ``reference/profile-*.mdx``, ``reference/group-*.mdx`` and
``docs/data-structure/user-profiles.mdx``. What happens to a value of the wrong type is a guess:
the update fails and leaves the profile as it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from mixpanel_export.emulator import _facts
from mixpanel_export.emulator._event import JsonObject, as_text, compact


class InapplicableError(Exception):
    """An update cannot be applied. Its text is part of the answer."""


def subject(record: object, *, group: bool) -> tuple[str, str, JsonObject]:
    """
    Return whom an update is about, kind and id, and the update. The kind of a user is "".

    Raises:
        InapplicableError: If it does not say so, or lacks its token.
    """
    if not isinstance(record, dict):
        raise InapplicableError(_facts.BAD_DATA)
    if group and "$distinct_id" in record:
        # Sourced: mixpanel/mixpanel-swift, pull request 539. Guess: the text.
        raise InapplicableError("$distinct_id, not allowed in a group update")
    for name in _REQUIRED[group]:
        if record.get(name) in (None, ""):
            # Live for $token and $distinct_id: segevsh/w6w-apps, issue reports. Guess: the others.
            raise InapplicableError(f"{name}, missing or empty")
    if group:
        return as_text(record["$group_key"]), as_text(record["$group_id"]), record
    return "", as_text(record["$distinct_id"]), record


_REQUIRED = {False: ("$token", "$distinct_id"), True: ("$token", "$group_key", "$group_id")}


def apply(record: JsonObject, before: JsonObject, *, group: bool) -> JsonObject | None:
    """
    Return the properties after an update; None if the profile is deleted.

    Args:
        record: The update; normally with one operation, else they take effect in its order.

        before: The properties until now; not changed.

        group: Whether it is about a group.

    Raises:
        InapplicableError: If it has no operation, or one that does not fit.
    """
    operations = [name for name in record if name in _OPERATIONS or name == "$delete"]
    if not operations:
        raise InapplicableError("no operation")
    if len(compact(record)) > _facts.MAX_RECORD_BYTES:
        raise InapplicableError("update, larger than 1 MB")
    after = dict(before)
    for name in operations:
        if group and name in _ONLY_FOR_USERS:
            raise InapplicableError(f"{name}, not supported for groups")
        if name == "$delete":
            return None
        _OPERATIONS[name](after, _checked(name, record[name]))
    if any(len(name) > _facts.MAX_PROFILE_NAME for name in after.keys() - before.keys()):
        raise InapplicableError(f"profile, a name longer than {_facts.MAX_PROFILE_NAME} characters")
    if len(after) > max(_facts.MAX_PROFILE_PROPERTIES, len(before)):
        raise InapplicableError(f"profile, more than {_facts.MAX_PROFILE_PROPERTIES} properties")
    return after


def _checked(operation: str, value: object) -> Any:  # noqa: ANN401  # A dict or a list; the operation knows.
    wanted = list if operation == "$unset" else dict
    if not isinstance(value, wanted):
        kind = "array" if wanted is list else "object"
        raise InapplicableError(f"{operation}, must be an {kind}")
    return value


def _set(properties: JsonObject, values: JsonObject) -> None:
    properties.update(values)


def _set_once(properties: JsonObject, values: JsonObject) -> None:
    for name, value in values.items():
        properties.setdefault(name, value)


def _add(properties: JsonObject, values: JsonObject) -> None:
    for name, value in values.items():
        before = properties.get(name, 0)
        if not _is_number(value) or not _is_number(before):
            raise InapplicableError(f"$add, {name} is not a number")
        try:
            properties[name] = before + value
            in_range = math.isfinite(properties[name])
        except OverflowError:
            # One of them is an integer that no number of 64 bits comes near.
            in_range = False
        if not in_range:
            raise InapplicableError(f"$add, {name} is out of range")


def _append(properties: JsonObject, values: JsonObject) -> None:
    for name, value in values.items():
        properties[name] = [*_list(properties, name, "$append"), value]


def _union(properties: JsonObject, values: JsonObject) -> None:
    for name, additions in values.items():
        if not isinstance(additions, list):
            raise InapplicableError(f"$union, {name} is not an array")
        merged = list(_list(properties, name, "$union"))
        known = set(map(_comparable, merged))
        for value in additions:
            if _comparable(value) not in known:
                known.add(_comparable(value))
                merged.append(value)
        properties[name] = merged


def _remove(properties: JsonObject, values: JsonObject) -> None:
    for name, value in values.items():
        if name in properties:
            gone, known = _comparable(value), _list(properties, name, "$remove")
            properties[name] = [one for one in known if _comparable(one) != gone]


def _unset(properties: JsonObject, names: list[object]) -> None:
    for name in names:
        if isinstance(name, str):
            properties.pop(name, None)


def _comparable(value: object) -> object:
    """Return what is equal for equal values, and can be in a set; for Python True is 1."""
    return value if isinstance(value, str) or _is_number(value) else compact(value)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _list(properties: JsonObject, name: str, operation: str) -> list[object]:
    value = properties.get(name, [])
    if not isinstance(value, list):
        raise InapplicableError(f"{operation}, {name} is not a list")
    return value


_OPERATIONS: dict[str, Callable[[JsonObject, Any], None]] = {
    "$set": _set,
    "$set_once": _set_once,
    "$add": _add,
    "$append": _append,
    "$union": _union,
    "$remove": _remove,
    "$unset": _unset,
}

# Sourced: docs, docs/data-structure/user-profiles.mdx; the page about batches lists $add for
# groups nevertheless.
_ONLY_FOR_USERS = frozenset({"$add", "$append"})
