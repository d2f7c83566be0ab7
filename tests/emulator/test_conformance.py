"""
Statements about Mixpanel's ingestion API, one by one, over real sockets.

A number names a statement wherever it is mentioned: in the rows of `_rules`, in the table here, in
the names of tests. Statements that are missing are not emulated: TLS only (2), geolocation and the
properties that the service adds (47 to 50, 111), retention (83), hot shards and limits of a whole
project (125 to 127).
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from mixpanel_export.emulator import _facts
from mixpanel_export.emulator._rules import RULES
from tests.emulator.api import Api, Run, basic, event, events, now_ms

ORIGINAL = ("--identity", "original")
CLOSED = ("--token", "T", "--service-account", "svc:pw", "--project-id", "7", "--api-secret", "S")

HOUR = 60 * 60 * 1000
DAY = 24 * HOUR

# What may be sent to /track.
TRACKED = {"event": "Seen", "properties": {"token": "T", "distinct_id": "u-1"}}


@dataclass(frozen=True)
class Case:
    """
    One request and its answer.

    Args:
        id: The statement's number, with a suffix where it takes several requests to state it.

        send: Sends the request.

        status: The HTTP status.

        answer: Text of the body, or those keys of it, in JSON, that matter.

        imported: How many events are stored afterwards.

        options: Of the emulator.
    """

    id: str
    send: Callable[[Api], httpx.Response]
    status: int
    answer: str | dict[str, Any]
    imported: int = 0
    options: tuple[str, ...] = field(default=())


OK = {"code": 200, "status": "OK"}
INVALID = {"code": 400, "error": _facts.VALIDATION_FAILED, "status": "Bad Request"}
UNAUTHORIZED = {"code": 401, "status": "Unauthorized"}
TEXT_1 = "1"
TEXT_0 = "0"


def probe(authorization: str | None, query: str = "?strict=1") -> Callable[[Api], httpx.Response]:
    """
    Send one valid event with these credentials.
    """
    return lambda api: api.imports([event()], query=query, authorization=authorization)


def as_form(content: object) -> dict[str, str]:
    """
    Return the fields in which Mixpanel's own libraries send an event.
    """
    return {"data": json.dumps(content), "verbose": "1", "ip": "0"}


def zipped(content: object) -> bytes:
    """
    Return compressed JSON.
    """
    return gzip.compress(json.dumps(content).encode())


def fat(size: int) -> bytes:
    """
    Return a request with one event that is *size* bytes long.
    """
    bare = json.dumps([event(text="")])
    return bare.replace('"text": ""', f'"text": "{"x" * (size - len(bare))}"').encode()


def in_base64(content: object) -> str:
    """
    Return JSON in base64.
    """
    return base64.b64encode(json.dumps(content).encode()).decode()


TRANSPORT = [
    Case("c4", lambda api: api.send("/imports"), 404, {"code": 404}),
    Case("c4-slash", lambda api: api.imports([event()], query="/"), 404, {"code": 404}),
    Case("c1-slash", lambda api: api.send("/track/", json.dumps(TRACKED)), 200, TEXT_1, 1),
    Case("c5", lambda api: api.send("/import", method="GET"), 405, {"code": 405}),
    Case(
        "c6",
        lambda api: api.send(f"/track?data={in_base64(TRACKED)}", method="GET"),
        200, TEXT_1, imported=1,
    ),
    Case("c7", lambda api: api.imports(events(3), compressed=True), 200, OK, imported=3),
    Case(
        "c8",
        lambda api: api.send(
            "/track", zipped([TRACKED]), headers={"Content-Encoding": "gzip"}
        ),
        200, TEXT_1, imported=1,
    ),
    Case(
        "c9",
        lambda api: api.send(
            "/engage", zipped([{"$token": "T", "$distinct_id": "u", "$set": {}}]),
            headers={"Content-Encoding": "gzip"},
        ),
        200, TEXT_0,
    ),
    Case(
        "c10",
        lambda api: api.imports([event()], headers={"Content-Encoding": "gzip"}),
        400, {"code": 400, "error": _facts.NOT_GZIP},
    ),
    Case("c11", lambda api: api.lines(events(5)), 200, OK, imported=5),
    Case("c12", lambda api: api.lines(events(5), end="\n\n"), 200, OK, imported=5),
    Case("c13", lambda api: api.lines(events(1)), 200, OK, imported=1),
    Case(
        "c14",
        lambda api: api.form("/import", as_form([event()]), authorization=basic("T")),
        200, {"error": None, "status": 1}, imported=1,
    ),
    Case(
        "c14-single",
        lambda api: api.form("/import", as_form(event()), authorization=basic("T")),
        200, {"error": None, "status": 1}, imported=1,
    ),
    Case(
        "c14-bad",
        lambda api: api.form(
            "/import", {"data": "{", "verbose": "1"}, authorization=basic("T")
        ),
        200, {"error": "bad data", "status": 0},
    ),
    Case("c15-json", lambda api: api.form("/track", as_form(TRACKED)), 200, {"status": 1}, 1),
    Case(
        "c15-base64",
        lambda api: api.form("/track", {"data": in_base64(TRACKED)}),
        200, TEXT_1, imported=1,
    ),
    Case("c16", lambda api: api.track([TRACKED, TRACKED]), 200, TEXT_1, imported=2),
    Case("c17", lambda api: api.track(TRACKED), 200, TEXT_1, imported=1),
]  # fmt: skip

AUTHENTICATION = [
    Case("c18", probe(basic("T")), 200, OK, 1, CLOSED),
    Case("c19", probe(basic("svc", "pw"), "?strict=1&project_id=7"), 200, OK, 1, CLOSED),
    Case(
        "c20", probe(basic("svc", "pw")), 401,
        {**UNAUTHORIZED, "error": _facts.PROJECT_ID_MISSING}, 0, CLOSED,
    ),
    Case("c21", probe(None), 401, UNAUTHORIZED),
    Case(
        "c21-form",
        lambda api: api.form("/import", {**as_form(event()), "api_key": "K"}),
        200, {"error": None, "status": 1}, imported=0,
    ),
    Case(
        "c22", probe(None), 401,
        {"code": 401, "error": "Invalid credentials", "status": "Unauthorized"},
    ),
    Case(
        "c23", probe(basic("other", "pw"), "?project_id=7"), 401,
        {**UNAUTHORIZED, "error": "Not a valid service account username"}, 0, CLOSED,
    ),
    Case(
        "c23-secret", probe(basic("svc", "wrong"), "?project_id=7"), 401,
        {**UNAUTHORIZED, "error": "Invalid service account credentials"}, 0, CLOSED,
    ),
    Case(
        "c24", probe(basic("svc", "pw"), "?project_id=8"), 401,
        {**UNAUTHORIZED, "error": "Service account is not a project member"}, 0, CLOSED,
    ),
    Case(
        "c25", probe(basic("S"), "?project_id=8"), 401,
        {
            **UNAUTHORIZED,
            "error": "Credentials in request did not match project_id URL parameter",
        },
        0, CLOSED,
    ),
    Case("c26", probe(basic("unknown")), 401, UNAUTHORIZED, 0, CLOSED),
    Case("c27", probe("Basic T:"), 200, OK, 1, CLOSED),
    Case("c27-account", probe("Basic svc:pw", "?strict=1&project_id=7"), 200, OK, 1, CLOSED),
    Case(
        "c29",
        lambda api: api.track({"event": "Seen", "properties": {"token": "unknown"}}),
        200, TEXT_1, 0, CLOSED,
    ),
    Case(
        "c30",
        lambda api: api.track({"event": "Seen", "properties": {}}, query="?verbose=1"),
        200, {"error": "token, missing or empty", "status": 0},
    ),
    Case(
        "c31",
        lambda api: api.send(
            "/engage?verbose=1", '[{"$distinct_id": "u", "$set": {}}]', authorization=basic("T")
        ),
        200, {"error": "$token, missing or empty", "status": 0},
    ),
    Case(
        "c32",
        lambda api: api.imports([{}], query="?verbose=1", authorization=basic("unknown")),
        401, UNAUTHORIZED, 0, CLOSED,
    ),
]  # fmt: skip


def valid(name: str, *records: object, options: tuple[str, ...] = ()) -> Case:
    """
    Return a case of records that /import?strict=1 takes, all of them.
    """
    number = len(records)
    answer = {**OK, "num_records_imported": number}
    return Case(name, lambda api: api.imports(list(records)), 200, answer, number, options)


STRICT_SUCCESS = [
    valid("c33", *events(3)),
    valid("c37", event(distinct_id="")),
    valid("c38", event(**{"distinct_id": None, "$device_id": "d", "$user_id": "u"})),
    valid("c39-seconds", event(time=now_ms() // 1000)),
    valid("c39-milliseconds", event(time=now_ms())),
    valid("c40", event(time=now_ms() + HOUR // 2)),
    valid("c41", event(insert_id="0123456789-abcdefABCDEF-0123456789ab")),
    valid("c42", event(insert_id="whose")),
    valid("c43", *events(2000)),
    valid("c46", event(deep={"a": {"b": {"c": {"d": {"e": 1}}}}})),
    valid("c52-empty", event(**{"$ignore": ""})),
    valid("c52-false", event(**{"$ignore": False})),
    valid("c53", event(token="T")),
    valid("c78-identify", event("$identify", **{"$identified_id": "u", "$anon_id": "d"}),
          options=ORIGINAL),
    valid("c78-alias", event("$create_alias", alias="d"), options=ORIGINAL),
    valid("c78-merge", {"event": "$merge", "properties": {"$distinct_ids": ["u", "d"]}},
          options=ORIGINAL),
]  # fmt: skip


def invalid(
    name: str,
    record: object,
    field: str,
    message: str,
    *,
    options: tuple[str, ...] = (),
) -> Case:
    """
    Return a case of one invalid record between two valid ones.
    """
    sent = record.get("properties") if isinstance(record, dict) else None
    insert_id = sent.get("$insert_id", "") if isinstance(sent, dict) else ""
    row = {"index": 1, "insert_id": insert_id, "field": field, "message": message}
    answer = {**INVALID, "num_records_imported": 2, "failed_records": [row]}
    return Case(name, lambda api: api.imports([event(), record, event()]), 400, answer, 2, options)


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
    invalid("c82", event(text="x" * 1_000_000), "event",
            "'event' is invalid: must be smaller than 1 MB"),
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

LENIENT = [
    Case("c96", lambda api: api.imports([event(insert_id="a:1")], query=""), 200, TEXT_1, 1),
    Case("c97", lambda api: api.imports([event()], query="?strict=0"), 200, TEXT_1, 1),
    Case("c97-bad", lambda api: api.imports([{}], query="?strict=0"), 200, TEXT_0),
    Case(
        "c98",
        lambda api: api.imports([event()], query="?strict=0&verbose=1"),
        200, {"code": 200, "num_records_imported": 1, "status": 1}, 1,
    ),
    Case(
        "c99",
        lambda api: api.imports([{}], query="?strict=0&verbose=1"), 200,
        {
            "code": 200, "error": _facts.VALIDATION_FAILED, "num_records_imported": 0,
            "status": 0,
        },
    ),
]  # fmt: skip

TRACK = [
    Case("c102", lambda api: api.track([TRACKED]), 200, TEXT_1, 1),
    Case(
        "c103",
        lambda api: api.track([TRACKED], query="?verbose=1"), 200, {"error": None, "status": 1}, 1,
    ),
    Case("c104", lambda api: api.track([{"event": "Seen", "properties": {}}]), 200, TEXT_0),
    Case("c104-json", lambda api: api.form("/track", {"data": "{"}), 200, TEXT_0),
    Case(
        "c105",
        lambda api: api.track([{"properties": {"token": "T"}}], query="?verbose=1"),
        200, {"error": "event, missing", "status": 0},
    ),
    Case(
        "c106",
        lambda api: api.track(event(token="T", time=now_ms() - 5 * DAY - HOUR)), 200, TEXT_1, 0,
    ),
    Case(
        "c106-young",
        lambda api: api.track(event(token="T", time=now_ms() - 5 * DAY + HOUR)), 200, TEXT_1, 1,
    ),
    Case("c108", lambda api: api.track(event(token="T", insert_id=None)), 200, TEXT_1, 1),
    Case("c110", lambda api: api.track(TRACKED, query="?callback=cb"), 200, "cb(1);", 1),
    Case("c110-odd", lambda api: api.track(TRACKED, query="?callback=a(b)"), 200, TEXT_1, 1),
]  # fmt: skip

PROFILES = [
    Case(
        "c117",
        lambda api: api.send("/engage?verbose=1", '[{"$token": "T", "$set": {}}]'),
        200, {"error": "$distinct_id, missing or empty", "status": 0},
    ),
    Case("c118", lambda api: api.send("/engage", "nonsense"), 200, TEXT_0),
    Case("c118-add", lambda api: api.engage({"$add": {"n": "x"}}), 200, {"status": 0}),
    Case(
        "c122",
        lambda api: api.groups({"$set": {"a": 1}, "$distinct_id": "u"}), 200, {"status": 0},
    ),
    Case("c123", lambda api: api.groups({"$set": {"a": 1}}), 200, {"error": None, "status": 1}),
    Case(
        "c123-key", lambda api: api.groups({"$set": {}, "$group_key": ""}), 200,
        {"error": "$group_key, missing or empty", "status": 0},
    ),
    Case(
        "c123-id", lambda api: api.groups({"$set": {}, "$group_id": ""}), 200,
        {"error": "$group_id, missing or empty", "status": 0},
    ),
    Case("c124", lambda api: api.engage(*[{"$set": {"n": n}} for n in range(2000)]), 200,
         {"status": 1}),
    Case("c124-more", lambda api: api.engage(*[{"$set": {"n": n}} for n in range(2001)]), 200,
         {"status": 0}),
]  # fmt: skip

CASES = [
    *TRANSPORT,
    *AUTHENTICATION,
    *STRICT_SUCCESS,
    *STRICT_FAILURES,
    *STRICT_REFUSALS,
    *LENIENT,
    *TRACK,
    *PROFILES,
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_answer(running: Run, case: Case) -> None:
    """
    The statement's request is answered as Mixpanel answers, and stores what Mixpanel stores.
    """
    api = running(*case.options)

    response = case.send(api)

    assert response.status_code == case.status
    assert shown(response, case.answer) == case.answer
    assert api.emulator.stats()["imported"] == case.imported


def shown(response: httpx.Response, like: str | dict[str, Any]) -> object:
    """
    Return the text of an answer, or those of its keys that *like* has.
    """
    if isinstance(like, str):
        return response.text
    content = response.json()
    return {key: content.get(key, "nothing") for key in like}


def test_c3_one_path_serves_every_operation(api: Api) -> None:
    """
    /engage picks the operation by the key in the record.
    """
    api.engage({"$set": {"plan": "free"}}, {"$append": {"seen": 1}}, {"$unset": ["plan"]})

    assert api.properties() == {"seen": [1]}


def test_c34_a_repeated_batch_is_imported_again(api: Api) -> None:
    """
    Duplicates are neither refused nor reported.
    """
    batch = events(3)

    answers = [api.imports(batch).json() for _ in range(2)]

    assert answers == [{**OK, "num_records_imported": 3}] * 2


def test_c35_a_view_without_duplicates_shows_each_event_once(api: Api) -> None:
    """
    What is equal in event, time, distinct_id and $insert_id counts once.
    """
    batch = events(3)
    for _ in range(2):
        api.imports(batch)

    assert len(api.emulator.events()) == 6
    assert api.emulator.events(dedup=True) == batch


@pytest.mark.parametrize(
    "change",
    [{"time": 1_700_000_000_001}, {"distinct_id": "u-2"}, {"insert_id": "b"}, {"name": "B"}],
    ids=["time", "distinct_id", "insert_id", "event"],
)
def test_c36_one_different_field_makes_another_event(api: Api, change: dict[str, Any]) -> None:
    """
    All four fields decide.
    """
    same: dict[str, Any] = {"name": "A", "time": 1_700_000_000_000, "insert_id": "a"}

    api.imports([event(**same), event(**{**same, **change})])

    assert len(api.emulator.events(dedup=True)) == 2


def test_c39_seconds_and_milliseconds_are_the_same_instant(api: Api) -> None:
    """
    An event with its time in seconds equals the same event with its time in milliseconds.
    """
    same = event(time=1_700_000_000)

    api.imports([same])
    same["properties"]["time"] *= 1000
    api.imports([same])

    assert len(api.emulator.events(dedup=True)) == 1


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("x" * 300, "x" * 255), ("é" * 150, "é" * 127), ("x" * 255, "x" * 255)],
)
def test_c44_long_texts_are_cut(api: Api, sent: str, kept: str) -> None:
    """
    A text keeps its first 255 bytes, in whole characters, at any depth.
    """
    api.imports([event(text=sent, deep={"list": [sent]})])

    assert api.stored()["text"] == kept
    assert api.stored()["deep"] == {"list": [kept]}


def test_c45_long_names_are_cut(api: Api) -> None:
    """
    A property's name keeps its first 255 bytes.
    """
    api.imports([event(**{"n" * 300: 1})])

    assert api.stored()["n" * 255] == 1


@pytest.mark.parametrize("value", [True, "yes"])
def test_c51_ignored_events_succeed_and_are_not_stored(api: Api, value: object) -> None:
    """
    `$ignore` makes an event vanish behind an answer that says it was imported.
    """
    response = api.imports([event(**{"$ignore": value})])

    assert response.json() == {**OK, "num_records_imported": 1}
    assert api.emulator.stats()["imported"] == 0
    assert api.emulator.stats()["vanished"] == 1


def test_c54_values_of_every_type_are_kept(api: Api) -> None:
    """
    What arrives is stored as it arrived.
    """
    sent = event(a=None, b=True, c=1.5, d=2**53, e=["x", {"y": 1}], f={"g": []}, h="ü", i="")
    sent["properties"]["a"] = None

    api.imports([sent])

    assert api.emulator.events() == [sent]


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


def test_c100_lenient_events_without_an_id_are_never_the_same(api: Api) -> None:
    """
    The service makes up an id for each.
    """
    same = event(insert_id=None)
    for _ in range(2):
        api.imports([same], query="")

    ids = {one["properties"]["$insert_id"] for one in api.emulator.events(dedup=True)}
    assert len(ids) == 2


def test_c101_lenient_events_without_a_user_belong_to_the_address(api: Api) -> None:
    """
    The same sender gets the same id, which is not the address.
    """
    api.imports([event(distinct_id=None), event(distinct_id=None)], query="")

    (user,) = {one["properties"]["distinct_id"] for one in api.emulator.events()}
    assert re.fullmatch("[0-9a-f]{32}", user)


def test_c107_tracked_events_without_a_time_happen_on_arrival(api: Api) -> None:
    """
    `time` is filled in.
    """
    api.track(TRACKED)

    assert abs(api.stored()["time"] * 1000 - now_ms()) < 60_000


def test_c109_a_pixel_is_answered_with_an_image(api: Api) -> None:
    """
    For `img=1` the answer is a GIF of one pixel.
    """
    response = api.send(f"/track?img=1&data={in_base64(TRACKED)}", method="GET")

    assert response.headers["content-type"] == "image/gif"
    assert response.content[:10] == b"GIF89a" + bytes([1, 0, 1, 0])


def test_c110_a_callback_is_script(api: Api) -> None:
    """
    JSONP has the type of a script.
    """
    response = api.track(TRACKED, query="?callback=cb&verbose=1")

    assert response.headers["content-type"].startswith("text/javascript")
    assert response.text == 'cb({"error":null,"status":1});'


def test_every_rule_is_stated() -> None:
    """
    Each row of the rules fulfils a statement that is tested here.
    """
    stated = {case.id.partition("-")[0] for case in CASES} | set(re.findall(r"test_(c\d+)", SOURCE))

    for rule in RULES:
        assert {f"c{number}" for number in rule.statements} <= stated, rule.message


SOURCE = " ".join(globals())
