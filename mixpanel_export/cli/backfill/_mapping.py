"""A record of any shape -> an event, or updates of a profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mixpanel_export import Event, GroupUpdate, ProfileUpdate
from mixpanel_export._update import OPERATIONS
from mixpanel_export.cli.backfill._moments import Moments
from mixpanel_export.cli.backfill._trouble import Fault

# What a profile may carry that is about the update, or of an export, and not of the user.
_ABOUT: Final = frozenset({"$token", "$ip", "$time", "$ignore_time", "$ignore_alias"})

# So many names of fields does a message list.
_NAMED: Final = 8

_MISSING: Final = object()


@dataclass(frozen=True)
class Fields:
    """
    Where in a record things are.

    A name with dots, such as ``user.id``, leads into objects if there is no field of that name.
    """

    event: str = "event"
    time: str = "time"
    distinct_id: str = "distinct_id"
    insert_id: str = "$insert_id"
    ip: str = "ip"
    rename: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)
    """Properties that every event has, whatever its record says; `event` and the like too."""

    @property
    def usual(self) -> bool:
        """Whether everything is where an event of Mixpanel has it."""
        return self == Fields()


@dataclass(frozen=True)
class Mapper:
    """
    Makes events and updates of records.

    Args:
        fields: Where things are.

        moments: Reads times.

        group_key: What kind of group the profiles are of; None if they are users'.
    """

    fields: Fields
    moments: Moments
    group_key: str | None = None

    def event(self, record: Mapping[str, Any], now: float) -> Event | Fault:
        """Make the event that *record* describes; *now* is in seconds since the epoch."""
        names = self.fields
        given = _flat(record)
        for old, new in names.rename.items():
            if (value := _take(given, old)) is not _MISSING:
                given[new] = value
        name = names.constants.get("event", _take(given, names.event))
        if name is _MISSING or name is None or isinstance(name, (Mapping, list)):
            profile = "$distinct_id" in record or "$group_id" in record
            return Fault(
                f"has no name in the field {names.event!r}{_among(record)}; "
                + (
                    "for profiles there are --profiles and --groups"
                    if profile
                    else "--event names another field, --set event=NAME gives all one name"
                )
            )
        value = names.constants.get("time", _take(given, names.time))
        if value is _MISSING or value is None:
            return Fault(
                f"has no time in the field {names.time!r}{_among(record)}; --time names another"
            )
        moment = self.moments.read(value, now)
        if moment is None:
            return Fault(
                f"has a time that is none from 1971 to an hour ahead: {value!r:.100}"
                + (f"; {self.moments.advice}" if isinstance(value, str) else "")
            )
        owner = names.constants.get("distinct_id", _take(given, names.distinct_id))
        insert_id = _take(given, names.insert_id)
        ip = _take(given, names.ip)
        given.update(names.constants)
        for own in ("event", "time", "distinct_id"):
            if own in names.constants:
                del given[own]
        return Event(
            _text(name),
            distinct_id=_text(owner),
            properties=given,
            time=moment,
            insert_id=_text(insert_id) or None,
            ip=_text(ip) or None,
        )

    def updates(self, record: Mapping[str, Any]) -> tuple[ProfileUpdate | GroupUpdate, ...] | Fault:
        """
        Make the updates that *record* describes.

        That is one for each operation that it holds, such as ``$set``; without any, everything in
        it, or in its ``$properties``, is set.
        """
        given = dict(record)
        wanted = "$group_id" if self.group_key else "$distinct_id"
        owner = _take(given, wanted)
        if owner is _MISSING:
            owner = _take(given, self.fields.distinct_id)
        if owner is _MISSING or owner is None:
            return Fault(
                f"says neither with {wanted} nor with {self.fields.distinct_id!r} whose it is"
                f"{_among(record)}; --distinct-id names another field"
            )
        given.pop("$group_key", None)
        about = {name: given.pop(name) for name in _ABOUT & given.keys()}
        operations = [name for name in OPERATIONS if name in given]
        if not operations:
            given = {"$set": self._set(given)}
            operations = ["$set"]
        if self.group_key:
            key = self.group_key
            try:
                return tuple(
                    GroupUpdate(key, _text(owner), each, given[each]) for each in operations
                )
            except ValueError as error:
                return Fault(str(error))
        ip = _text(about.get("$ip")) or "0"
        quiet = bool(about.get("$ignore_time", True))
        return tuple(
            ProfileUpdate(_text(owner), each, given[each], ip=ip, ignore_time=quiet)
            for each in operations
        )

    def _set(self, given: dict[str, Any]) -> dict[str, Any]:
        inside = given.get("$properties")
        found = dict(inside) if isinstance(inside, Mapping) else given
        for old, new in self.fields.rename.items():
            if (value := _take(found, old)) is not _MISSING:
                found[new] = value
        return {**found, **self.fields.constants}


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """Give all fields of *record* in one mapping: those in its `properties`, too."""
    inside = record.get("properties")
    if not isinstance(inside, Mapping):
        return dict(record)
    return {**inside, **{name: value for name, value in record.items() if name != "properties"}}


def _among(record: Mapping[str, Any]) -> str:
    """Tell what *record* has instead of what was looked for."""
    names = [str(name) for name in _flat(record)]
    shown = ", ".join(f"{name!r:.40}" for name in names[:_NAMED])
    return f"; it has {shown}{', …' * (len(names) > _NAMED)}" if names else "; it is empty"


def _take(given: dict[str, Any], path: str) -> Any:  # noqa: ANN401 -- any field
    """Take a field out; what is inside of another stays there."""
    if path in given:
        return given.pop(path)
    found: Any = given
    for part in path.split(".") if "." in path else (path,):
        if not isinstance(found, Mapping) or part not in found:
            return _MISSING
        found = found[part]
    return found


def _text(value: object) -> str:
    return "" if value is None or value is _MISSING else str(value)
