"""
Statements 55 to 92: events and requests that /import?strict=1 refuses. Of the others on limits and
faults, 93 is in ``test_rate.py``, 94 and 95 are in ``test_faults.py``.
"""

from __future__ import annotations

import json

import pytest

from mixpanel_export.emulator import _facts
from tests.emulator.api import Api, Run, event, events, now_ms
from tests.emulator.cases import (
    DAY,
    HOUR,
    INVALID,
    ODD,
    OK,
    ORIGINAL,
    Case,
    fat,
    invalid,
    shown,
)

TIME, USER, ID = "properties.time", "properties.distinct_id", "$insert_id"
FUTURE = "'properties.time' is invalid: must not be in the future"
NO_NUMBER = "'properties.time' is invalid: must be specified as seconds since epoch"
PLACEHOLDER = "'properties.distinct_id' is invalid: must not be a placeholder value"
NO_USER = "'properties.distinct_id' is invalid: must not be missing"
CHARACTERS = "'$insert_id' is invalid: must only contain alphanumeric or hyphen '-' characters"

NO_TEXTS: tuple[object, ...] = (0, -1, True, False, [], {})
VERBS_REFUSED = (
    "identity events are not allowed when project is using simplified identity management"
)


def with_verb(verb: str) -> Case:
    """
    Return a case of an identity verb beside a valid event.
    """
    answer = {**INVALID, "num_records_imported": 0, "failed_records": [VERBS_REFUSED]}
    return Case(f"c77-{verb}", lambda api: api.imports([event(), event(verb)]), 400, answer)


STRICT_FAILURES = [
    invalid("c61-missing", {"properties": event()["properties"]}, "event",
            "'event' must not be missing or blank"),
    invalid("c61-blank", event("  "), "event", "'event' must not be missing or blank"),
    invalid("c61-no-object", 7, "event", "'event' must not be missing or blank"),
    invalid("c62", event(time=None), TIME, "'properties.time' is invalid: must not be missing"),
    invalid("c63-hours", event(time=now_ms() + 7 * HOUR), TIME, FUTURE),
    invalid("c63-year-2100", event(time=4102444800), TIME, FUTURE),
    invalid("c64", event(time=31535999), TIME,
            "'properties.time' is invalid: must not be before 1971-01-01"),
    invalid("c65", event(time="2026-11-20T00:00:00"), TIME, NO_NUMBER),
    invalid("c65-true", event(time=True), TIME, NO_NUMBER),
    invalid("c66", event(distinct_id=None), USER, NO_USER, options=ORIGINAL),
    invalid("c66-inert", event(**{"distinct_id": None, "$user_id": "u"}), USER, NO_USER,
            options=ORIGINAL),
    invalid("c66-simplified", event(distinct_id=None), USER, NO_USER),
    *(
        invalid(f"c67-{value}", event(distinct_id=value), USER, PLACEHOLDER)
        for value in sorted(_facts.FORBIDDEN_IDS)
    ),
    *(
        invalid(f"c67-json-{value}", event(distinct_id=value), USER, PLACEHOLDER)
        for value in NO_TEXTS
    ),
    invalid("c68", event(distinct_id="UnKnown"), USER, PLACEHOLDER),
    invalid("c69", event(distinct_id="lmy47d"), USER, PLACEHOLDER),
    invalid("c70", event(insert_id=None), ID, "'$insert_id' is invalid: must not be missing"),
    invalid("c71", event(insert_id="a:1"), ID, CHARACTERS),
    invalid("c71-underscore", event(insert_id="purchase_1"), ID, CHARACTERS),
    invalid("c72", event(insert_id="x" * 37), ID,
            "'$insert_id' is invalid: must not be longer than 36 bytes"),
    invalid("c73", event(insert_id="null"), ID,
            "'$insert_id' is invalid: must not be a placeholder value"),
    invalid("c75", event("", time="x", insert_id="a:1"), "event",
            "'event' must not be missing or blank"),
    invalid("c80", event(**{f"p{n}": n for n in range(252)}), "properties",
            "'properties' is invalid: must have fewer than 255 properties"),
    invalid("c81", event(tags=list(range(255))), "properties.tags",
            "'properties.tags' is invalid: must have fewer than 255 elements"),
    invalid("c81-within", event(a={"b": [list(range(255))]}), "properties.a",
            "'properties.a' is invalid: must have fewer than 255 elements"),
    invalid("c81-keys", event(a=[{f"k{n}": n for n in range(255)}]), "properties.a",
            "'properties.a' is invalid: must have fewer than 255 keys"),
    invalid("c82", event(text="x" * 1_000_000), "event",
            "'event' is invalid: must be smaller than 1 MB"),
    invalid("c83", event(time=now_ms() - 31 * DAY), TIME,
            "'properties.time' is invalid: must be within the project's retention",
            options=ODD),
    invalid("c84-absent", {"event": "A"}, "properties",
            "'properties' is invalid: must be an object"),
    invalid("c84-list", {"event": "A", "properties": [1]}, "properties",
            "'properties' is invalid: must be an object"),
    invalid("c79", {"event": "$merge", "properties": {"$distinct_ids": ["a", "b", "c"]}},
            "properties.$distinct_ids", "'properties.$distinct_ids' is invalid: must be two ids",
            options=ORIGINAL),
]  # fmt: skip


STRICT_REFUSALS = [
    Case(
        "c76",
        lambda api: api.imports([event(""), event("")]),
        400, {**INVALID, "num_records_imported": 0},
    ),
    *map(with_verb, sorted(_facts.IDENTITY_VERBS)),
    Case(
        "c85",
        lambda api: api.imports(b'[{"event": "A", "properties": {"n": NaN}}]'),
        400, {"code": 400, "error": _facts.NOT_JSON},
    ),
    Case("c83-young", lambda api: api.imports([event(time=now_ms() - 29 * DAY)]), 200, OK, 1,
         ODD),
    Case("c83-default", lambda api: api.imports([event(time=31536000)]), 200, OK, 1),
    Case("c85-deep", lambda api: api.imports(b"[" * 990 + b"]" * 990), 400, {"code": 400}),
    Case("c85-object", lambda api: api.imports(event()), 400, {"code": 400}),
    Case("c86", lambda api: api.imports([]), 400, {"code": 400, "status": "Bad Request"}),
    Case("c87", lambda api: api.imports(events(2001)), 413, {"code": 413}),
    Case(
        "c88",
        lambda api: api.imports(fat(1001)), 413,
        {
            "code": 413,
            "error": "request exceeds max limit of 1000 bytes",
            "status": "Request Entity Too Large",
        },
        0, ("--max-request-bytes", "1000"),
    ),
    Case(
        "c88-fits",
        lambda api: api.imports(fat(1000)), 200, OK, 1, ("--max-request-bytes", "1000"),
    ),
    Case(
        "c89",
        lambda api: api.imports(fat(1001), compressed=True), 413, {"code": 413},
        0, ("--max-request-bytes", "1000"),
    ),
]  # fmt: skip


CASES = [*STRICT_FAILURES, *STRICT_REFUSALS]


def test_c55_to_c60_failures_are_listed_and_the_others_stored(api: Api) -> None:
    """
    One row for each failed event, with its position in the request and its id.
    """
    batch = [event(), event(time=None, insert_id="a"), event(), event(insert_id=None), event("")]

    response = api.imports(batch)

    assert response.status_code == 400
    told = response.json()
    assert shown(response, INVALID) == INVALID
    assert told["num_records_imported"] == 2
    assert [row["index"] for row in told["failed_records"]] == [1, 3, 4]
    assert [row["insert_id"] for row in told["failed_records"]][:2] == ["a", ""]
    assert set(told["failed_records"][0]) == {"index", "insert_id", "field", "message"}
    assert api.emulator.events() == [batch[0], batch[2]]


@pytest.mark.parametrize("text", [b'"\xff"', b'"\\ud800"'], ids=["bytes", "escape"])
def test_c74_texts_that_are_not_utf8_fail_alone(api: Api, text: bytes) -> None:
    """
    Bytes that are not UTF-8, and halves of surrogate pairs, cost one event and name the property.
    """
    bad = json.dumps(event(note="?")).encode().replace(b'"?"', text)

    response = api.imports(b"[" + bad + b"," + json.dumps(event()).encode() + b"]")

    (row,) = response.json()["failed_records"]
    assert row["field"] == "properties.note"
    assert row["message"] == "properties.note is invalid: string should be valid utf8"
    assert response.json()["num_records_imported"] == 1


def test_a_name_that_is_not_utf8_fails_alone(api: Api) -> None:
    """
    As a property does.
    """
    response = api.imports([event("\ud800"), event()])

    (row,) = response.json()["failed_records"]
    assert (row["field"], row["index"]) == ("event", 0)
    assert api.track([event("\ud800", token="T")]).text == "0"


def test_c90_above_the_limit_nothing_is_imported(running: Run) -> None:
    """
    The documented answer, and no event of the request.
    """
    api = running("--max-events-per-minute", "10")
    api.imports(events(8))

    response = api.imports(events(3))

    assert response.status_code == 429
    assert response.json() == {
        "code": 429,
        "error": "Project exceeded rate limits. Please retry the request with exponential backoff.",
        "status": "Too Many Requests",
    }
    assert api.emulator.stats()["imported"] == 8


def test_c91_the_limit_does_not_say_when_to_come_back(running: Run) -> None:
    """
    No source shows a Retry-After.
    """
    api = running("--max-events-per-minute", "1")
    api.imports(events(1))

    assert "retry-after" not in api.imports(events(1)).headers


def test_c92_invalid_events_count_towards_the_limit(running: Run) -> None:
    """
    A request answered with 400 is not free.
    """
    api = running("--max-events-per-minute", "10")
    api.imports([event("")] * 8)

    assert api.imports(events(3)).status_code == 429
