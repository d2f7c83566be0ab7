"""
What makes an event or a profile update invalid: one row for each rule.

The numbers in a row are those of the statements in ``tests/emulator/test_conformance.py``. Rows
are tried from top to bottom and the first that is broken is reported: "one row per failed event"
is sourced, the order is a guess. Short names of sources are explained in `_facts`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Flag, auto

from mixpanel_export.emulator import _facts
from mixpanel_export.emulator._event import Event, JsonObject, identity
from mixpanel_export.emulator._facts import Origin

GUESS, LIVE, SOURCED = Origin.GUESS, Origin.LIVE, Origin.SOURCED


class Mode(Flag):
    """How an event came in."""

    STRICT = auto()
    LENIENT = auto()
    TRACK = auto()


ANY = Mode.STRICT | Mode.LENIENT | Mode.TRACK


# Returns whether the rule is broken, or the name of the property that breaks it.
Check = Callable[[Event], bool | str]


@dataclass(frozen=True, slots=True)
class Rule:
    """
    One reason to refuse an event.

    Args:
        statements: Numbers of the statements that it fulfils.

        modes: The ways in that it guards.

        field: What ``failed_records`` calls the culprit; ``{name}`` is the property's name.

        message: What it says about it.

        origin: How well the text is known.

        source: Where it was read.

        broken: The rule itself.

        verbs: Whether it holds for identity verbs too, which carry neither a user nor an id.
    """

    statements: tuple[int, ...]
    modes: Mode
    field: str
    message: str
    origin: Origin
    source: str
    broken: Check
    verbs: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """Why one event was refused."""

    field: str
    message: str


class Rulebook:
    """
    The rules for one way in.

    Args:
        mode: That way.
    """

    def __init__(self, mode: Mode) -> None:
        self._for_verbs = [rule for rule in RULES if mode in rule.modes and rule.verbs]
        self._for_others = [rule for rule in RULES if mode in rule.modes]

    def first_fault(self, event: Event) -> Fault | None:
        """Return the first rule that *event* breaks, or None if it is valid."""
        is_verb = event.name in _facts.IDENTITY_VERBS
        for rule in self._for_verbs if is_verb else self._for_others:
            broken = rule.broken(event)
            if broken:
                name = broken if isinstance(broken, str) else ""
                return Fault(rule.field.format(name=name), rule.message.format(name=name))
        return None


def is_forbidden(value: object) -> bool:
    """Say whether *value* is one of the placeholders that Mixpanel takes for a bug."""
    # Python's spelling of numbers, booleans and empty lists is that of JSON, but for the case.
    text = value if isinstance(value, str) else str(value)
    return text.strip().lower() in _facts.FORBIDDEN_IDS


_INSERT_ID = re.compile(r"[0-9A-Za-z-]+")


def _lacks(name: str) -> Check:
    return lambda event: event.properties.get(name) in (None, "")


def _nameless(event: Event) -> bool:
    return not (event.name and event.name.strip())


def _without_properties(event: Event) -> bool:
    return not event.has_properties


def _without_time(event: Event) -> bool:
    return event.properties.get("time") is None


def _without_instant(event: Event) -> bool:
    return event.instant is None and not _without_time(event)


def _too_early(event: Event) -> bool:
    return event.instant is not None and event.instant < _facts.EARLIEST_TIME_MS


def _too_late(event: Event) -> bool:
    return event.instant is not None and event.instant > event.scene.now_ms + _facts.MAX_FUTURE_MS


def _beyond_retention(event: Event) -> bool:
    oldest = event.scene.oldest_ms
    return oldest is not None and event.instant is not None and event.instant < oldest


def _without_user(event: Event) -> bool:
    properties = event.properties
    if event.scene.simplified:
        return identity(properties) is None
    return properties.get("distinct_id") is None


def _forbidden_user(event: Event) -> bool:
    return is_forbidden(event.properties.get("distinct_id", ""))


def _insert_id(event: Event) -> str:
    return str(event.properties.get("$insert_id", ""))


def _long_insert_id(event: Event) -> bool:
    # Characters are bytes in every id that the next rule lets pass.
    return len(_insert_id(event)) > _facts.MAX_INSERT_ID_BYTES


def _odd_insert_id(event: Event) -> bool:
    return not _INSERT_ID.fullmatch(_insert_id(event))


def _forbidden_insert_id(event: Event) -> bool:
    return is_forbidden(_insert_id(event))


def _too_many_properties(event: Event) -> bool:
    return len(event.properties) > _facts.MAX_PROPERTIES


def _long_list(event: Event) -> bool | str:
    # Most events have no list, and this is the quick way to see it.
    return b"[" in event.line and _crowded(event.properties, list)


def _large_object(event: Event) -> bool | str:
    # The event itself is one, and so are its properties.
    return event.line.count(b"{") > 2 and _crowded(event.properties, dict)


def _crowded(properties: JsonObject, kind: type) -> bool | str:
    return next((name for name, value in properties.items() if _is_crowded(value, kind)), False)


def _is_crowded(value: object, kind: type) -> bool:
    if not isinstance(value, (list, dict)):
        return False
    if isinstance(value, kind) and len(value) > _facts.MAX_ELEMENTS:
        return True
    inside = value.values() if isinstance(value, dict) else value
    return any(_is_crowded(inner, kind) for inner in inside)


def _too_big(event: Event) -> bool:
    return event.size >= _facts.MAX_RECORD_BYTES


def _undecodable(event: Event) -> bool | str:
    # What `_body.parse` could not decode is a lone surrogate, and `compact` escapes those: a line
    # without such an escape needs no search, and that is nearly every line.
    if b"\\ud" not in event.line:
        return False
    for name, value in event.properties.items():
        if not _is_text(name) or not _is_text(value):
            return name.encode("utf-8", "replace").decode()
    return False


def _odd_name(event: Event) -> bool:
    return b"\\ud" in event.line and not _is_text(event.name)


def _is_text(value: object) -> bool:
    if isinstance(value, str):
        return not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, dict):
        return all(_is_text(name) and _is_text(inner) for name, inner in value.items())
    if isinstance(value, list):
        return all(map(_is_text, value))
    return True


def _identify_without_user(event: Event) -> bool:
    return (
        event.scene.simplified
        and event.name in _facts.IDENTITY_VERBS
        and not event.properties.get("distinct_id")
    )


def _wrong_merge(event: Event) -> bool:
    ids = event.properties.get("$distinct_ids")
    return event.name == "$merge" and not (isinstance(ids, list) and len(ids) == 2)


_IMPORT = Mode.STRICT | Mode.LENIENT
_DOCS_IMPORT = "docs, reference/import-events.mdx"

# fmt: off
RULES = (
    Rule((61, 99), _IMPORT, "event", "'event' must not be missing or blank",
         LIVE, "import tool, tests/int.optional.test.js; go, ingestion_test.go",
         _nameless, verbs=True),
    Rule((104, 105), Mode.TRACK, "event", "event, missing",
         LIVE, "segevsh/w6w-apps, apps/mixpanel, measured 2026-08-18",
         _nameless, verbs=True),
    Rule((84,), _IMPORT, "properties", "'properties' is invalid: must be an object",
         GUESS, "docs, openapi/ingestion.openapi.yaml asks for an object; no text",
         _without_properties, verbs=True),
    Rule((30,), Mode.TRACK, "properties.token", "token, missing or empty",
         LIVE, "issue reports of mixpanel-python and mixpanel-node",
         _lacks("token"), verbs=True),
    Rule((), ANY, "event", "event is invalid: string should be valid utf8",
         GUESS, f"{_DOCS_IMPORT} has these words for a property",
         _odd_name, verbs=True),
    Rule((74,), ANY, "properties.{name}",
         "properties.{name} is invalid: string should be valid utf8",
         SOURCED, _DOCS_IMPORT,
         _undecodable, verbs=True),
    Rule((62,), Mode.STRICT, "properties.time",
         "'properties.time' is invalid: must not be missing",
         LIVE, "krenalis/krenalis, connectors/mixpanel, its test against the service",
         _without_time),
    Rule((65,), Mode.STRICT, "properties.time",
         "'properties.time' is invalid: must be specified as seconds since epoch",
         SOURCED, "docs, openapi/ingestion.openapi.yaml",
         _without_instant),
    Rule((64,), Mode.STRICT, "properties.time",
         "'properties.time' is invalid: must not be before 1971-01-01",
         GUESS, f"{_DOCS_IMPORT} forbids it; no text",
         _too_early),
    Rule((63,), Mode.STRICT, "properties.time",
         "'properties.time' is invalid: must not be in the future",
         LIVE, "import tool, tests/int.optional.test.js",
         _too_late),
    Rule((83,), Mode.STRICT, "properties.time", _facts.BEYOND_RETENTION,
         GUESS, "import tool, tests/int.optional.test.js looks for the word retention",
         _beyond_retention),
    Rule((66, 38), Mode.STRICT, "properties.distinct_id",
         "'properties.distinct_id' is invalid: must not be missing",
         LIVE, "import tool, components/validators.js",
         _without_user),
    Rule((67, 68, 69), Mode.STRICT, "properties.distinct_id",
         "'properties.distinct_id' is invalid: must not be a placeholder value",
         GUESS, f"{_DOCS_IMPORT} lists the values; no text",
         _forbidden_user),
    Rule((70,), Mode.STRICT, "$insert_id", "'$insert_id' is invalid: must not be missing",
         GUESS, f"{_DOCS_IMPORT} requires it; no text",
         _lacks("$insert_id")),
    Rule((72,), Mode.STRICT, "$insert_id",
         "'$insert_id' is invalid: must not be longer than 36 bytes",
         GUESS, f"{_DOCS_IMPORT} limits it; no text",
         _long_insert_id),
    Rule((71,), Mode.STRICT, "$insert_id",
         "'$insert_id' is invalid: must only contain alphanumeric or hyphen '-' characters",
         LIVE, "mixpanel/mixpanel-utils, issue 40",
         _odd_insert_id),
    Rule((73,), Mode.STRICT, "$insert_id",
         "'$insert_id' is invalid: must not be a placeholder value",
         GUESS, f"{_DOCS_IMPORT} lists the values; no text",
         _forbidden_insert_id),
    Rule((80,), Mode.STRICT, "properties",
         "'properties' is invalid: must have fewer than 255 properties",
         GUESS, f"{_DOCS_IMPORT} limits them; the consequence and text are not told",
         _too_many_properties),
    Rule((81,), Mode.STRICT, "properties.{name}",
         "'properties.{name}' is invalid: must have fewer than 255 elements",
         GUESS, f"{_DOCS_IMPORT} limits them; the consequence and text are not told",
         _long_list),
    Rule((), Mode.STRICT, "properties.{name}",
         "'properties.{name}' is invalid: must have fewer than 255 keys",
         GUESS, f"{_DOCS_IMPORT} limits them; the consequence and text are not told",
         _large_object),
    Rule((82,), ANY, "event", "'event' is invalid: must be smaller than 1 MB",
         GUESS, f"{_DOCS_IMPORT} limits it; no text",
         _too_big, verbs=True),
    Rule((79,), _IMPORT, "properties.$distinct_ids",
         "'properties.$distinct_ids' is invalid: must be two ids",
         GUESS, "docs, openapi/identity.openapi.yaml asks for two; no text",
         _wrong_merge, verbs=True),
    Rule((), Mode.TRACK, "properties.distinct_id", "distinct_id, missing or empty",
         LIVE, "mixpanel/mixpanel-python, issue 132",
         _identify_without_user, verbs=True),
)
# fmt: on

RULEBOOKS = {mode: Rulebook(mode) for mode in (Mode.STRICT, Mode.LENIENT, Mode.TRACK)}
