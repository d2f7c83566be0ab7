"""
What went in compared with what came out: where each property is from, and what changed it.

Whatever decides by names is asked again; what decides by values is asked once with the rules for
secrets and once without.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Final, cast

import orjson

from mixpanel_export._event import Drop, Event
from mixpanel_export._ids import as_id
from mixpanel_export._line import HONOURED
from mixpanel_export._plan import MARKS, Heed, Plan, is_stamp, make_plan
from mixpanel_export._privacy import Privacy
from mixpanel_export._record import Record
from mixpanel_export._semconv import plan_names, why_left_out
from mixpanel_export._translate import Translator
from mixpanel_export._update import VERBS, Aside
from mixpanel_export._values import MISSING, clean
from mixpanel_export.cli.explain._trial import Trial

#: A record of a logger that no rule knows, to find out whether the logger is the reason.
_ANYBODY: Final = ""

_DROPS: Final = {
    Drop.TRANSFORM: ("transform gave no event back", "return the event, or a copy, to send it"),
    Drop.TOO_LARGE: ("it is larger than 1 MB, and nothing is left that could go", "say less"),
    Drop.NO_IDENTITY: ("a profile needs to be somebody's", "add a distinct_id"),
    Drop.NO_TOKEN: ("profiles are updated with the token, and there is none", "set MIXPANEL_TOKEN"),
    Drop.SAMPLED: ("its user is not in the sample", "sample=1 sends all"),
    Drop.BUDGET: ("the budget for its name is spent in this minute", "budget=None sends all"),
}

_SELECTIONS: Final = {
    "marked": "what has the field mixpanel_event",
    "identified": "what has a distinct_id, or the field mixpanel_event",
    "structured": "what has a field of its own, and is not a framework's",
    "entry": "spans without a local parent that have a distinct_id",
}

_CHANGES: Final[tuple[tuple[type, str], ...]] = (
    (str, "cut to 255 bytes, as Mixpanel would do"),
    (bool, "sent as JSON has it"),
    (int, "sent as a text: a double cannot hold it"),
    (float, "sent as JSON has it"),
    (list, "held to 254 elements, 3 levels and 8 KB"),
    (dict, "held to 254 elements, 3 levels and 8 KB"),
)


@dataclass(frozen=True)
class Property:
    """One property of the event, and why it is there as it is."""

    name: str
    value: Any
    bytes: int
    why: list[str]


@dataclass(frozen=True)
class Omission:
    """Something that was said, or is set, and is no property."""

    name: str
    why: str


@dataclass(kw_only=True)
class Explanation:
    """What became of one record."""

    #: ``event``, ``ignored`` or ``dropped``.
    verdict: str
    #: The event's name; what would be its name, if there is none.
    name: str
    #: Why there is no event, and what would make it one; empty if there is one.
    why: str = ""
    fix: str = ""
    #: The size of the line.
    bytes: int = 0
    properties: list[Property] = field(default_factory=list)
    omitted: list[Omission] = field(default_factory=list)
    #: What is sent beside the event: operations on profiles.
    updates: list[Any] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def explain(trial: Trial) -> Explanation:
    """Say what became of a record, and why."""
    main, *others = trial.sealed if isinstance(trial.sealed, tuple) else (trial.sealed,)
    if isinstance(main, Drop):
        why, fix = _DROPS.get(main) or _why_ignored(trial)
        verdict = "ignored" if main is Drop.IGNORED else "dropped"
        explanation = Explanation(verdict=verdict, name=trial.record.name, why=why, fix=fix)
    else:
        line = main.line if isinstance(main, Aside) else main
        event = orjson.loads(line)
        explanation = Explanation(verdict="event", name=event["event"], bytes=len(line))
        _Comparison(trial, event["properties"]).write(explanation)
        if trial.record.name != event["event"]:
            explanation.notes.append(f"the name was {trial.record.name!r}")
    for each in others:
        if isinstance(each, Aside):
            explanation.updates.append(orjson.loads(each.line))
        elif isinstance(each, Drop):
            explanation.notes.append(f"a profile is not updated: {_DROPS[each][0]}")
    explanation.notes += dict.fromkeys(trial.hints)
    return explanation


# -- why there is no event ------------------------------------------------------------------------


def _why_ignored(trial: Trial) -> tuple[str, str]:  # noqa: PLR0911 -- one for each reason
    record, translator = trial.record, trial.translator
    if record.name in VERBS:
        return "only an Event that is submitted by hand may join users", "use identify_event()"
    if not record.name.strip():
        return "nothing names it", "give it a text, or name it by the field mixpanel_event"
    if isinstance(record, Event):
        return "nothing can be named so", "give it another name"
    plan = translator.plan(record.logger, tuple(record.fields))
    if plan.mark is not None:
        return f"its mark {plan.mark} says no", "take the mark away, or make it True"
    free = Translator(dataclasses.replace(trial.settings, loggers=None), select=trial.select)
    if free.translate(record._replace(logger=_ANYBODY)) is not None:
        return _why_not_here(trial, free, record.logger)
    selection = trial.settings.select if trial.settings.select is not None else trial.select
    if callable(selection):
        return "the callable of select said no", "mark it: mixpanel_event=True"
    stamps = [str(name) for name in record.fields if is_stamp(str(name))]
    weak = f"; {', '.join(stamps)}: stamps of libraries, no reason to send" if stamps else ""
    wanted = _SELECTIONS.get(selection, selection)
    return f"select={selection!r} takes {wanted}{weak}", _how_to_be_taken(selection)


def _why_not_here(trial: Trial, free: Translator, logger: str) -> tuple[str, str]:
    heed = free.plan(logger, ()).heed
    if heed is Heed.NONE:
        return f"{logger!r} is of what delivers the events, and would feed on itself", ""
    if heed is Heed.ALL:
        return f"loggers={trial.settings.loggers!r} leaves out {logger!r}", "add it to loggers"
    why = f"{logger!r} is a framework's logger, whose records speak of the framework"
    return why, "give it a distinct_id, or mark it: mixpanel_event=True"


def _how_to_be_taken(selection: object) -> str:
    if selection == "marked":
        return "mark it: mixpanel_event=True, or a text that names the event"
    if selection == "structured":
        return "say something in a field, or mark it: mixpanel_event=True"
    return "say who it is about, distinct_id, or mark it: mixpanel_event=True"


# -- why an event looks as it does ----------------------------------------------------------------


class _Comparison:
    """What was said beside what is sent."""

    def __init__(self, trial: Trial, sent: dict[str, Any]) -> None:
        self._trial = trial
        self._sent = sent
        settings, record, translator = trial.settings, trial.record, trial.translator
        self._privacy = Privacy(scrub=settings.scrub, allow=settings.allow, deny=settings.deny)
        self._origins = _origins(trial)
        self._fields: Mapping[Any, Any]
        self._own: Mapping[Any, Any]
        if isinstance(record, Record):
            self._own = record.fields
            plan = translator.plan(record.logger, tuple(record.fields))
            self._fields, self._plan = translator._with_bound(record, plan)
        else:
            self._own = self._fields = record.properties
            self._plan = self._of_event(record)
        self._before: tuple[Mapping[Any, Any], Plan] | None = None
        if trial.transformed is not None and isinstance(trial.transformed[1], Event):
            event = trial.transformed[1]
            self._before = self._fields, self._plan
            self._fields, self._plan = event.properties, self._of_event(event)

    def _of_event(self, event: Event) -> Plan:
        base = self._trial.translator._base
        return make_plan(tuple(event.properties), self._privacy, base=base)

    def write(self, explanation: Explanation) -> None:
        """Add what is sent, and what is not."""
        keys = {name: key for key, name in self._plan.pairs}
        for name, value in self._sent.items():
            why = list(self._why(name, value, keys))
            size = len(orjson.dumps({name: value})) - 1
            explanation.properties.append(Property(name, value, size, why))
        explanation.omitted += self._omitted()

    def _why(self, name: str, value: object, keys: dict[str, Any]) -> Iterator[str]:
        if name in {"distinct_id", "time", "$insert_id", "ip"}:
            yield self._why_head(name, value)
        elif name == "_truncated":
            yield "so many properties went to make room: an event has at most 1 MB"
        elif name in self._plan.aliases:
            yield "who it is about; Mixpanel joins users by it"
        elif name in keys:
            yield from self._why_pair(name, value, keys[name])
        elif name in self._trial.settings.super_properties:
            yield "super_properties"
        elif name == "mp_lib":
            yield "says that this library sent it"
        else:
            yield f"what was said as {name[:-1]} is no usable {name[:-1]}"

    def _why_pair(self, name: str, value: object, key: Any) -> Iterator[str]:  # noqa: ANN401 -- keys of somebody else's mapping
        said = self._fields[key]
        if not self._is_said(key, said):
            yield "set by transform"
        else:
            if self._before is not None:
                key = {name: key for key, name in self._before[1].pairs}[key]
            yield self._whence(key)
        if name == f"{key}_":
            yield f"{key} means something else to Mixpanel, hence the underscore"
        elif name != key:
            yield f"its name was {str(key)[:60]!r}"
        if name in self._plan.hidden:
            yield "scrubbed: its name announces a secret"
            return
        public = clean(said)
        if clean(said, privacy=self._privacy) != public:
            yield "scrubbed: it holds what looks like a secret"
        if type(public) is not type(said) or public != said:
            yield next((text for kind, text in _CHANGES if type(said) is kind), f"was {said!r:.60}")
        elif value == public and name in self._trial.settings.super_properties:
            yield "goes before super_properties"

    def _is_said(self, key: Any, said: object) -> bool:  # noqa: ANN401 -- keys of somebody else's mapping
        """Say whether a property is what it was before `transform`, if there is one."""
        if self._before is None:
            return True
        fields, plan = self._before
        return any(name == key and fields[field] is said for field, name in plan.pairs)

    def _whence(self, key: Any) -> str:  # noqa: ANN401 -- keys of somebody else's mapping
        if key in self._origins:
            return self._origins[key]
        if key not in self._own:
            return "bound where it was said"
        if key in self._trial.arguments:
            return "an argument of the message"
        return "as it was said" if key in self._trial.said else "added by the door"

    def _why_head(self, name: str, value: object) -> str:
        given = None if f"{name}_" in self._sent else self._fields.get(name)
        if name == "distinct_id":
            return self._why_owner(value)
        if name in self._origins and given is not None:
            return self._origins[name]
        if name == "time":
            moment = datetime.fromtimestamp(cast("int", value) / 1000, timezone.utc)
            source = "as it was said" if given is not None else "when it was said"
            return f"{source}: {moment:%Y-%m-%d %H:%M:%S} UTC"
        if name == "ip":
            return (
                "as it was said; Mixpanel makes a place of it" if value != "0" else "none: no place"
            )
        if self._trial.made_id:
            return "made up: tells this event from all others"
        changed = given is not None and given != value
        return "a hash: what was said breaks Mixpanel's rules" if changed else "as it was said"

    def _why_owner(self, value: object) -> str:
        fields, plan = (self._fields, self._plan) if self._before is None else self._before
        named = next((each for each in plan.identity if fields[each] is not None), None)
        if named is None:
            event = self._trial.record
            said = event.distinct_id if isinstance(event, Event) else ""
            return "as it was said" if value and value == said else "nobody: no field says who"
        said = fields[named]
        source = self._origins.get(named, f"from {named}")
        if not as_id(said):
            return f"nobody: {source}, but {said!r:.40} is an id that Mixpanel does not take"
        whole = as_id(said) == str(said) or named == "$device_id"
        return source if whole else f"a hash: {source}, which is longer than 255 bytes"

    # -- what is not there ------------------------------------------------------------------------

    def _omitted(self) -> Iterator[Omission]:
        reached = {**self._fields, **(self._before[0] if self._before else {})}
        for name in self._trial.said:
            if name not in reached and not self._becomes_something(name):
                yield Omission(name, self._why_not_read(name))
        layers = [(self._fields, self._plan)]
        if self._before is not None:
            layers.insert(0, self._before)
            for name in self._before[0].keys() - self._fields.keys():
                if name in {key for key, _ in self._before[1].pairs}:
                    yield Omission(name, "transform took it away")
        for fields, plan in layers:
            yield from self._omitted_by(fields, plan)
        for name in self._trial.settings.super_properties:
            if name not in self._sent:
                yield Omission(name, "of super_properties; it gives way or may not be sent")

    def _omitted_by(self, fields: Mapping[Any, Any], plan: Plan) -> Iterator[Omission]:
        kept = {key for key, _ in plan.pairs}
        for key in fields:
            name = str(key)
            if key in MARKS:
                yield Omission(name, "the mark: it made this an event, and is no property")
            elif key in plan.operations:
                yield Omission(name, "changes the profile, and is no property")
            elif key in HONOURED or key in plan.identity:
                continue
            elif key not in kept:
                yield Omission(name, self._why_name(name))
        if plan is self._plan:
            for key, name in plan.pairs:
                if name not in self._sent:
                    nothing = clean(fields[key], privacy=self._privacy) is MISSING
                    why = "it has nothing that JSON could say" if nothing else _no_room(self._sent)
                    yield Omission(str(key), why)

    def _why_name(self, name: str) -> str:
        settings = self._trial.settings
        if is_stamp(name):
            return "a stamp that libraries put on every record"
        if not Privacy(deny=settings.deny).keeps(name):
            return "deny leaves it out"
        if not self._privacy.keeps(name):
            return "it is not in allow"
        return "another field becomes the same property"

    def _becomes_something(self, name: str) -> bool:
        return any(f"attribute {name}" in origin for origin in self._origins.values())

    def _why_not_read(self, name: str) -> str:
        if self._is_of_otel():
            found = why_left_out(name, self._trial.settings.include)
            return found or "another attribute says the same, or it says nothing usable"
        return "the message, or what loggers and their processors add"

    def _is_of_otel(self) -> bool:
        return isinstance(self._trial.record, Record) and self._trial.record.grounds is not None


def _no_room(sent: Mapping[str, object]) -> str:
    if "_truncated" in sent:
        return "no room: one of the biggest properties of an event of more than 1 MB"
    return "no room: an event has at most 254 properties, and the first ones stay"


def _origins(trial: Trial) -> dict[str, str]:
    """Say of each field of a span or of OpenTelemetry's log record which attributes made it."""
    record = trial.record
    if not isinstance(record, Record) or record.grounds is None:
        return {}
    names = plan_names(tuple(trial.said), trial.client, trial.settings.include)
    found: dict[str, str] = {}
    for attribute, read in names.readers:
        found.update(
            (name, f"read from attribute {attribute}") for name in read(trial.said[attribute])
        )
    for attribute, target in names.pairs:
        found[target] = f"attribute {attribute}"
    for group in reversed(names.identity):
        for target, attributes in group:
            for attribute in reversed(attributes):
                if trial.said[attribute] is not None:
                    found[target] = f"attribute {attribute}"
    for attribute, name, _ in names.bound:
        found.setdefault(name, f"bound; attribute {attribute}")
    if "$insert_id" not in found:
        found["$insert_id"] = "made of what OpenTelemetry has for it" if not trial.made_id else ""
    return {name: text for name, text in found.items() if text}
