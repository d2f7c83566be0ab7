"""
OpenTelemetry's names -> Mixpanel's.

Attributes whose meaning Mixpanel knows get the name that its own libraries use; those of
OpenTelemetry's conventions get underscores for their dots; the application's own keep their names.
What is to be done is worked out once for each set of names, and remembered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeGuard, cast

import orjson

from mixpanel_export import _web
from mixpanel_export._ids import MEMORY
from mixpanel_export._line import HONOURED
from mixpanel_export._plan import IDENTITY, MARKS, OPERATIONS
from mixpanel_export._record import NOTHING_BOUND

#: What is in front of the names that the context processors leave on spans and log records: what
#: was bound, what of it OpenTelemetry has no type for (as JSON), and what came as baggage.
BOUND: Final = "mixpanel.bound."
BOUND_JSON: Final = "mixpanel.json."
BAGGAGE: Final = "mixpanel.baggage."

#: The attribute that tells one log record from all others.
UID: Final = "log.record.uid"

# Who it is about: the property, and the attributes that say so, the most trusted first. Mixpanel's
# own names go before the conventions', and the two are never mixed: an event has one identity.
_OWN_IDENTITY: Final = (
    ("distinct_id", ("mixpanel.distinct_id", "distinct_id")),
    ("$user_id", ("mixpanel.user_id", "$user_id")),
    ("$device_id", ("mixpanel.device_id", "$device_id")),
)
_STANDARD_IDENTITY: Final = (
    ("$user_id", ("user.id", "enduser.id")),
    ("$device_id", ("app.installation.id", "device.id", "enduser.pseudo.id")),
)
_OWN_NAMES: Final = frozenset(each for _, names in _OWN_IDENTITY for each in names)
_WHO: Final = _OWN_NAMES | {each for _, names in _STANDARD_IDENTITY for each in names}

# The attributes that Mixpanel has a name for, those of the same property in the order in which they
# are believed. -- Mixpanel docs, Default Properties (read 2026-08-21); OpenTelemetry's attribute
# registry, 1.43, with the names of 1.20 that most instrumentations still write.
_STANDARD: Final = {
    "mixpanel.ip": "ip",
    "client.address": "ip",
    "http.client_ip": "ip",
    "mixpanel.time": "time",
    "mixpanel.insert_id": "$insert_id",
    "user_agent.name": "$browser",
    "user_agent.version": "$browser_version",
    "user_agent.os.name": "$os",
    "user_agent.os.version": "$os_version",
    "browser.language": "$locale",
    "device.manufacturer": "$manufacturer",
    "device.model.name": "$model",
    "device.model.identifier": "$model",
    "geo.country.iso_code": "mp_country_code",
    "geo.region.iso_code": "$region",
    "geo.locality.name": "$city",
    "geo.location.lat": "$latitude",
    "geo.location.lon": "$longitude",
    "deployment.environment.name": "environment",
    "deployment.environment": "environment",
    "http.request.method": "http_request_method",
    "http.method": "http_request_method",
    "http.response.status_code": "http_response_status_code",
    "http.status_code": "http_response_status_code",
    "url.scheme": "url_scheme",
    "http.scheme": "url_scheme",
    # The server's own, never the user's: `$os` would be wrong.
    "os.name": "host_os",
    "os.version": "host_os_version",
}

# The first parts of names that OpenTelemetry's conventions define. Instrumentations write these;
# they are no reason to send anything.
_CONVENTION: Final = re.compile(
    r"(android|app|aws|azure|browser|client|cloud|container|cpu|db|deployment|destination|device"
    r"|dns|elasticsearch|enduser|error|event|exception|faas|feature_flag|file|gcp|gen_ai|geo"
    r"|graphql|heroku|host|http|ios|k8s|log|messaging|net|network|oci|os|peer|process|rpc|server"
    r"|service|session|source|system|tls|url|user|user_agent|webengine)\."
)

# Left out, as the logging door leaves it out: where in the code it was and on which thread, what
# OpenTelemetry notes for itself.
_STAMPS: Final = ("code.", "thread.", "otel.", "telemetry.sdk.")

# Left out, because it says more of a person than an id does, or because it is text that may hold
# anything. `include` brings the last two back.
_PRIVATE: Final = frozenset(
    {"user.email", "user.full_name", "user.name", "user.hash", "log.record.original"}
)
_TEXTS: Final = {"exception.message": "message", "exception.stacktrace": "stack"}

# The last lines of a stack trace are those that tell where it happened.
_MOST_LINES: Final = 30

# Where the name of a log record as an event is, if it has no field for that, today's place first.
_EVENT_NAMES: Final = ("otel.event.name", "event.name")

# Read where a log record's name and id are found.
_HEAD: Final = frozenset({*_EVENT_NAMES, UID})

# Names with a meaning that an attribute must not have by accident; "mixpanel.ip" says it on
# purpose. Profiles are not changed by attributes at all.
_TAKEN: Final = (HONOURED - {"distinct_id"}) | OPERATIONS

# A body that names an event: short, one line, and without a number in it that is probably an id.
_MAX_NAME: Final = 100
_NUMBER: Final = re.compile(r"\d\d")

# The resource's attributes that say where an event comes from; never who it is about.
_RESOURCE: Final = (
    "service.name",
    "service.namespace",
    "service.version",
    "deployment.environment.name",
    "deployment.environment",
)

#: The properties that these become.
RESOURCE: Final = ("service_name", "service_namespace", "service_version", "environment")

# In front of a path to make an address of it.
_ANY_HOST: Final = "http://host"

Reader = Callable[[object], Mapping[str, object]]
Choices = tuple[tuple[str, tuple[str, ...]], ...]


class Names(NamedTuple):
    """What to do with attributes of one particular set of names."""

    own: bool  # whether the application says something that no convention does
    named: bool  # whether one of Mixpanel's own names says who it is about
    identity: tuple[Choices, ...]
    pairs: tuple[tuple[str, str], ...]  # (attribute, property)
    readers: tuple[tuple[str, Reader], ...]  # (attribute, what makes properties of its value)
    bound: tuple[tuple[str, str, bool], ...]  # (attribute, name, whether it is JSON)


@lru_cache(maxsize=MEMORY)
def plan_names(
    names: tuple[str, ...], client: bool = False, include: tuple[str, ...] = ()
) -> Names:
    """
    Work out what to do with attributes of these names.

    Args:
        names: The names, in their order.

        client: Whether they are those of an outgoing request, whose address is no page that the
            user is on.

        include: What else is wanted: ``message``, ``stack``.
    """
    names = tuple(name for name in names if not why_left_out(name, include))
    present = frozenset(names)
    readers = _READERS | _CLIENT_READERS if client else _READERS
    own: dict[str, str] = {}  # property -> attribute
    conventional: dict[str, str] = {}
    bound = []
    for name in names:
        if name in _WHO or name in _STANDARD or name in readers:
            continue
        if (found := _bound(name)) is not None:
            bound.append(found)
        elif _CONVENTION.match(name):
            conventional.setdefault(name.replace(".", "_"), name)
        else:
            own[ordinary(name)] = name
    standard: dict[str, str] = {}
    for name, target in _STANDARD.items():
        if name in present:
            standard.setdefault(target, name)
    # What the application itself calls so goes over what we call so.
    chosen = {**own, **conventional, **standard, **own}
    groups = (_choices(group, present) for group in (_OWN_IDENTITY, _STANDARD_IDENTITY))
    return Names(
        own=any(name not in MARKS for name in own),
        named=not present.isdisjoint(_OWN_NAMES),
        identity=tuple(group for group in groups if group),
        pairs=tuple((name, target) for target, name in chosen.items()),
        readers=tuple((name, read) for name, read in readers.items() if name in present),
        # What was bound goes over what came as baggage.
        bound=tuple(sorted(bound, key=lambda each: not each[0].startswith(BAGGAGE))),
    )


def _choices(group: Choices, present: frozenset[str]) -> Choices:
    found = ((target, tuple(name for name in names if name in present)) for target, names in group)
    return tuple((target, names) for target, names in found if names)


def why_left_out(name: str, include: tuple[str, ...]) -> str:
    """Say why an attribute of this name becomes no property; ``""`` if it does."""
    if name in _TEXTS:
        part = _TEXTS[name]
        return "" if part in include else f"texts may hold anything; include={part!r} sends it"
    if name in _PRIVATE:
        return "it says more of a person than an id does"
    if name in _HEAD:
        return "it is read as the event's name or id"
    return "where in the code, or by whom, it was noted" if name.startswith(_STAMPS) else ""


def _bound(name: str) -> tuple[str, str, bool] | None:
    for prefix in (BOUND, BOUND_JSON):
        if name.startswith(prefix):
            key = name[len(prefix) :]
            return name, f"{key}_" if key in OPERATIONS else key, prefix is BOUND_JSON
    if name.startswith(BAGGAGE):
        # The client's word: a property like another, whatever its name.
        key = name[len(BAGGAGE) :]
        return name, f"{key}_" if key in IDENTITY or key in MARKS else ordinary(key), False
    return None


def ordinary(name: str) -> str:
    """Give *name* an underscore if it would mean more to us than a property's does."""
    return f"{name}_" if name in _TAKEN else name


def speak(
    attributes: Mapping[str, Any], names: Names, fields: dict[str, object]
) -> Mapping[str, object]:
    """
    Say *attributes* in Mixpanel's words.

    Args:
        attributes: What OpenTelemetry has.

        names: What becomes of it: `plan_names` of their names.

        fields: Where it is added; what is there gives way, but for an identity.

    Returns:
        What the context processors had found bound.
    """
    for key, read in names.readers:
        fields.update(read(attributes[key]))
    for key, target in names.pairs:
        fields[target] = attributes[key]
    if names.identity and (found := _identify(attributes, names.identity)):
        for target in IDENTITY:
            fields.pop(target, None)
        fields.update(found)
    if not names.bound:
        return NOTHING_BOUND
    return {
        name: _from_json(attributes[key]) if is_json else attributes[key]
        for key, name, is_json in names.bound
    }


def _identify(
    attributes: Mapping[str, object], groups: tuple[Choices, ...]
) -> Mapping[str, object] | None:
    for group in groups:
        found = {}
        for target, names in group:
            values = (attributes[name] for name in names)
            value = next((value for value in values if value is not None), None)
            if value is not None:
                found[target] = value
        if found:
            return found
    return None


def _from_json(value: object) -> object:
    """Read what a context processor wrote; a limit of OpenTelemetry's may have cut it short."""
    try:
        return orjson.loads(value)  # type: ignore[arg-type] # anything but text raises what is caught
    except orjson.JSONDecodeError:
        return value


def describe_resource(attributes: Mapping[str, object]) -> dict[str, object]:
    """Give the properties that every event of a resource carries: which service, and where."""
    present = {name: attributes[name] for name in _RESOURCE if attributes.get(name)}
    # OpenTelemetry's word for "nobody told me".
    if str(present.get("service.name", "")).startswith("unknown_service"):
        del present["service.name"]
    found: dict[str, object] = {}
    speak(present, plan_names(tuple(present)), found)
    return found


def _is_text(value: object) -> TypeGuard[str]:
    # By its type: an object may even raise when it is asked for its class.
    return issubclass(type(value), str)


def event_name(attributes: Mapping[str, object], given: object) -> str:
    """Give the name that a log record has as an event; ``""`` if it is an ordinary one."""
    for name in (given, *(attributes.get(each) for each in _EVENT_NAMES)):
        if _is_text(name) and name:
            return name
    return ""


def name_of(body: object) -> str:
    """Give the body of a log record as a name; ``""`` if it is none."""
    text = body.strip() if _is_text(body) else ""
    usable = len(text) <= _MAX_NAME and "\n" not in text and not _NUMBER.search(text)
    return text if usable else ""


# -- values that hold more than one property, or more than may be told -----------------------------


def _page(value: object) -> Mapping[str, object]:
    if not _is_text(value):
        return {}
    query = value.partition("#")[0].partition("?")[2]
    return {**_web.current_url(value), **_web.campaign(query)}


def _called(value: object) -> Mapping[str, object]:
    found = _web.current_url(value) if _is_text(value) else {}
    return {"url_full": found["$current_url"]} if found else {}


def _path(value: object) -> Mapping[str, object]:
    if not _is_text(value) or not value.startswith("/"):
        return {}
    path, _, query = value.partition("#")[0].partition("?")
    # Cleaned as part of an address, since that is what the rules for secrets are about.
    address = str(_web.current_url(_ANY_HOST + path).get("$current_url", ""))
    return {"url_path": address[len(_ANY_HOST) :] or None, **_web.campaign(query)}


def _query(value: object) -> Mapping[str, object]:
    return _web.campaign(value) if _is_text(value) else {}


def _referrer(value: object) -> Mapping[str, object]:
    # Headers are lists, since each may be sent more than once.
    if issubclass(type(value), (list, tuple)):
        found = cast("Sequence[object]", value)
        value = found[0] if found else None
    return _web.referrer(value) if _is_text(value) else {}


def _agent(value: object) -> Mapping[str, object]:
    return _web.agent(value) if _is_text(value) else {}


def _stack(value: object) -> Mapping[str, object]:
    return {"stack": value.splitlines()[-_MOST_LINES:] if _is_text(value) else value}


def _platform(value: object) -> Mapping[str, object]:
    return {"$os": value}


# In this order, so that what is better known goes over what was said in the old way, or roughly.
_READERS: Final[dict[str, Reader]] = {
    "browser.platform": _platform,
    "exception.stacktrace": _stack,
    "http.url": _page,
    "url.full": _page,
    "http.target": _path,
    "url.path": _path,
    "url.query": _query,
    "http.request.header.referer": _referrer,
    "http.user_agent": _agent,
    "user_agent.original": _agent,
}
_CLIENT_READERS: Final[dict[str, Reader]] = {"http.url": _called, "url.full": _called}
