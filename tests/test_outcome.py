"""
What an answer means for a batch, whoever gave it and whatever it says.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import FrozenInstanceError
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any, cast

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mixpanel_export._batch import Batch
from mixpanel_export._outcome import (
    Delivered,
    Misconfigured,
    Outcome,
    Refused,
    Rejection,
    Retryable,
    TooLarge,
    likely_cause,
    read_response,
    retry_after,
)
from mixpanel_export._settings import Settings
from mixpanel_export._wire import Response
from mixpanel_export.testing import FakeClock
from tests import effort

# The same examples on every run: a failure that is seen once is seen again.
steadily = effort.steadily(200)

NOW = FakeClock().wall()
HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>"

LINES = [
    orjson.dumps({"event": "Order Placed", "properties": {"$insert_id": f"id-{number}"}})
    for number in range(4)
]
BATCH = Batch.of(LINES)

NOT_OURS = {
    "html": HTML,
    "nothing": b"",
    "text": b"OK",
    "number": b"1",
    "list": b'["OK"]',
    "null": b"null",
    "half": b'{"status":"OK"',
    "other object": b'{"ok":true}',
    "health": b'{"status":"ok"}',
    "proxy's error": b'{"error":"no upstream"}',
    "proxy's status": b'{"status":502,"error":"no upstream"}',
    "no UTF-8": b'{"status":"\xff"}',
}


def outcome_of(status: int, body: object = b"", **headers: str) -> Outcome:
    """
    Read an answer to the batch.
    """
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return read_response(Response(status, content, headers), BATCH, NOW)


def row(index: object, **more: object) -> dict[str, object]:
    """
    Make a row of ``failed_records``.
    """
    return {"index": index, "field": "properties.time", "message": "no time", **more}


def answer_400(*rows: object, **more: object) -> dict[str, object]:
    """
    Make the answer of strict validation.
    """
    return {
        "code": 400,
        "error": "some data points in the request failed validation",
        "status": "Bad Request",
        "num_records_imported": len(LINES) - len(rows),
        "failed_records": list(rows),
        **more,
    }


def rejected(*indexes: int) -> Delivered:
    """
    Make the outcome of a batch in which these lines failed.
    """
    return Delivered(
        len(LINES) - len(indexes),
        tuple(Rejection(LINES[index], "properties.time", "no time") for index in indexes),
    )


# -- delivered ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {"code": 200, "num_records_imported": 4, "status": "OK"},
        {"code": 200, "num_records_imported": 4, "status": 1},
        {"error": None, "status": 1},
        {"code": 200, "num_records_imported": 4, "status": "OK", "failed_records": []},
        {"code": 200, "status": "OK", "failed_records": None},
    ],
)
def test_what_mixpanel_acknowledges_is_delivered(body: dict[str, object]) -> None:
    """
    Mixpanel's own yes, in each of its forms, is about all lines.
    """
    assert outcome_of(200, body) == Delivered(imported=4)


def test_rows_alone_are_an_answer_of_mixpanels() -> None:
    """
    An answer that says which lines failed need not say in general that some did.
    """
    body = answer_400(row(2))
    del body["error"]

    assert outcome_of(400, body) == rejected(2)


@pytest.mark.parametrize("status", [200, 400, 422])
def test_rejected_lines_are_named_by_their_position(status: int) -> None:
    """
    Lines that failed are rejected with field and message, and the others were imported.
    """
    body = answer_400(row(3), row(1, insert_id="id-0"), status="OK" if status == 200 else "Bad")

    assert outcome_of(status, body) == rejected(1, 3)


@pytest.mark.parametrize("key", ["insert_id", "$insert_id"])
@pytest.mark.parametrize("index", [None, -1, 4, 99, "2", True, 2.0])
def test_rejected_lines_are_named_by_their_id(key: str, index: object) -> None:
    """
    Without a usable position the id names the line, in either spelling of its key.
    """
    assert outcome_of(400, answer_400(row(index, **{key: "id-2"}))) == rejected(2)


def test_an_id_is_the_events_own() -> None:
    """
    A property that looks like another event's id does not make this one the rejected one.
    """
    lines = [
        b'{"event":"a","properties":{"$insert_id":"id-0","order":{"$insert_id":"id-1"}}}',
        b'{"event":"b","properties":{"$insert_id":"id-1"}}',
    ]
    body = orjson.dumps(answer_400(row(None, insert_id="id-1")))

    outcome = read_response(Response(400, body), Batch.of(lines), NOW)

    assert outcome == Delivered(1, (Rejection(lines[1], "properties.time", "no time"),))


def test_a_line_is_rejected_once() -> None:
    """
    Several rows about one line are one rejection.
    """
    body = answer_400(row(1), row(1), row(None, insert_id="id-1"))

    assert outcome_of(400, body) == rejected(1)


def test_all_lines_can_be_rejected() -> None:
    """
    A batch of which nothing was imported is settled all the same.
    """
    assert outcome_of(400, answer_400(*map(row, range(4)))) == rejected(0, 1, 2, 3)


@pytest.mark.parametrize("nothing", [{}, {"field": None, "message": None}])
def test_what_a_row_does_not_say_is_empty(nothing: dict[str, object]) -> None:
    """
    A row without field and message still names its line.
    """
    outcome = outcome_of(400, answer_400({"index": 0, **nothing}))

    assert outcome == Delivered(3, (Rejection(LINES[0], "", ""),))


@pytest.mark.parametrize("field", [7, ["properties", "time"], {"a": 1}])
def test_what_a_row_says_is_text(field: object) -> None:
    """
    A field or message of another type comes out as its text.
    """
    outcome = outcome_of(400, answer_400(row(0, field=field, message=field)))

    assert outcome == Delivered(3, (Rejection(LINES[0], str(field), str(field)),))


def test_rows_that_are_texts_reject_the_whole_batch() -> None:
    """
    Identity verbs in a project without them are refused in words, and nothing was imported.
    """
    why = "identity events are not allowed when project is using simplified identity management"
    once, often = answer_400(why), answer_400(why, "another", num_records_imported=0)

    outcomes = [outcome_of(400, once), outcome_of(400, often)]

    assert outcomes == [Delivered(0, tuple(Rejection(line, "", why) for line in LINES))] * 2


# -- refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize(
    "failed",
    [
        [row(99)],
        [row(None)],
        [row(0), row(99)],
        [row(None, insert_id="unknown")],
        [row(None, insert_id=7)],
        [row(None, insert_id="")],
        [{}],
        [None],
        [1, 2],
        [[]],
        [row(0), "text"],
        {"0": "no time"},
        "no time",
        7,
        True,
    ],
)
def test_rows_that_name_no_line_are_a_refusal(status: int, failed: object) -> None:
    """
    Where it cannot be told which line failed, none is taken for the one.
    """
    body = answer_400(failed_records=failed)

    assert outcome_of(status, body) == Refused(
        status, "some data points in the request failed validation"
    )


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"code": 400, "error": "bad data", "status": "Bad Request"}, "bad data"),
        ({"error": "bad data", "status": 0}, "bad data"),
        ({"error": "bad data", "status": 0, "failed_records": []}, "bad data"),
        ({"error": None, "status": 0}, ""),
        ({"error": ["bad", 1], "status": 0}, "['bad', 1]"),
        ({"error": "x" * 2_000, "status": 0}, "x" * 500),
    ],
)
def test_a_no_without_rows_is_a_refusal(status: int, body: object, message: str) -> None:
    """
    Mixpanel's own no that names no record is about the whole batch.
    """
    assert outcome_of(status, body) == Refused(status, message)


def test_a_zero_in_a_yes_is_a_refusal() -> None:
    """
    Without strict validation a status of 0 is all that is said of an invalid event.
    """
    body = {"code": 200, "error": "some failed", "num_records_imported": 0, "status": 0}

    assert outcome_of(200, body) == Refused(200, "some failed")


# -- retryable ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 202, 204])
@pytest.mark.parametrize("body", NOT_OURS.values(), ids=NOT_OURS)
def test_a_yes_that_is_not_mixpanels_is_none(status: int, body: bytes) -> None:
    """
    Something on the way that says yes to everything has delivered nothing.
    """
    outcome = outcome_of(status, body)

    assert isinstance(outcome, Retryable)
    assert outcome.applied
    assert outcome.status == status
    assert str(status) in outcome.reason


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("body", [HTML, b"", b"1", b"null", b'["error"]', b'{"message":"no"}'])
def test_a_no_that_is_not_mixpanels_is_none(status: int, body: bytes) -> None:
    """
    Something on the way that says no has not looked at the events.
    """
    outcome = outcome_of(status, body)

    assert isinstance(outcome, Retryable)
    assert outcome.status == status


@pytest.mark.parametrize(
    "status", [408, 425, 429, 500, 501, 502, 503, 504, 507, 520, 522, 524, 529, 599]
)
@pytest.mark.parametrize("body", [b"", HTML, b'{"error":"try later","status":0}'])
def test_not_now_is_tried_again(status: int, body: bytes) -> None:
    """
    Statuses that mean "not now" mean it in whatever words.
    """
    outcome = outcome_of(status, body)

    assert isinstance(outcome, Retryable)
    assert outcome.reason == f"status {status}"
    assert outcome.after is None


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 524])
def test_when_a_request_certainly_did_nothing(status: int) -> None:
    """
    Only Mixpanel itself, saying 429 or 503, did nothing with the request for certain.
    """
    own = b'{"code":429,"error":"Project exceeded rate limits.","status":"Too Many Requests"}'

    certain = outcome_of(status, own)
    others = [outcome_of(status, body) for body in (b"", HTML, b'{"ok":false}', b"[]")]

    said = f"status {status}"
    assert certain == Retryable(said, applied=status not in {429, 503}, status=status)
    assert others == [Retryable(said, applied=True, status=status)] * 4


def date(seconds: float) -> str:
    """
    Write an HTTP date so many seconds from now.
    """
    moment = datetime.fromtimestamp(NOW, timezone.utc) + timedelta(seconds=seconds)
    return format_datetime(moment, usegmt=True)


@pytest.mark.parametrize(
    ("value", "after"),
    [
        ("0", 0.0),
        ("7", 7.0),
        ("2.5", 2.5),
        (" 7 ", 7.0),
        ("300", 300.0),
        ("301", 300.0),
        ("86400", 300.0),
        ("1e99", 300.0),
        ("inf", 300.0),
        ("9" * 400, 300.0),
        ("-5", 0.0),
        ("-inf", 0.0),
        ("nan", None),
        ("", None),
        (" ", None),
        ("soon", None),
        ("7 seconds", None),
        ("\0", None),
        ("Tue, 14 Nov", None),
        ("Tue, 99 Nov 2023 22:13:27 GMT", None),
        ("Tue, 14 Nov 99999 22:13:27 GMT", None),
        ("Tue, 14 Nov 2023 22:13:27 +9999", None),
        (date(7), 7.0),
        (date(0), 0.0),
        (date(-3_600), 0.0),
        (date(86_400), 300.0),
        ("Tue, 14 Nov 2023 22:13:27 GMT", 7.0),
        ("Tue, 14 Nov 2023 22:13:27 -0000", 7.0),
        ("Wed, 15 Nov 2023 00:13:27 +0200", 7.0),
        ("Tue, 14 Nov 0001 22:13:27 GMT", 0.0),
    ],
)
def test_how_long_an_answer_asks_to_wait(value: str, after: float | None) -> None:
    """
    ``Retry-After`` is seconds or a date, from nothing to five minutes; what cannot be read is none.
    """
    outcome = outcome_of(503, HTML, **{"retry-after": value})

    assert retry_after(value, NOW) == after
    assert outcome == Retryable("status 503", after, status=503)


@pytest.fixture
def _far_from_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """
    The machine stands eleven hours west of Greenwich.
    """
    monkeypatch.setenv("TZ", "WST+11")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_far_from_utc")
@pytest.mark.parametrize("zone", ["GMT", "-0000", "+0000", ""])
def test_a_date_does_not_depend_on_where_one_is(zone: str) -> None:
    """
    A date without a zone is in UTC, wherever the machine is.
    """
    assert retry_after(f"Tue, 14 Nov 2023 22:13:27 {zone}", NOW) == 7.0


def test_an_answer_need_not_ask_to_wait() -> None:
    """
    Without the header nothing is asked for.
    """
    assert retry_after(None, NOW) is None


@steadily
@given(st.text(max_size=40) | st.floats().map(str) | st.integers().map(str))
@example("Mon, 01 Jan 0001 00:00:00 +2359")
@example("Fri, 31 Dec 9999 23:59:59 -2359")
def test_any_header_can_be_read(value: str) -> None:
    """
    Whatever the header says, it is a wait within bounds, or none.
    """
    after = retry_after(value, NOW)

    assert after is None or 0.0 <= after <= 300.0


@steadily
@given(
    day=st.sampled_from(["", "Mon, ", "Foo, "]),
    date=st.tuples(
        st.integers(0, 40), st.sampled_from(["Jan", "feb", "Foo"]), st.integers(0, 10**5)
    ),
    clock=st.lists(st.integers(-1, 99), max_size=4).map(lambda parts: ":".join(map(str, parts))),
    zone=st.sampled_from(["GMT", "", "EST", "+0000", "-0000", "+9999", "-2400", "Z", "+1", "+"]),
)
def test_any_date_can_be_read(day: str, date: tuple[int, str, int], clock: str, zone: str) -> None:
    """
    Dates that do not exist are no wait, and never an error.
    """
    after = retry_after(f"{day}{' '.join(map(str, date))} {clock} {zone}", NOW)

    assert after is None or 0.0 <= after <= 300.0


# -- the rest -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", [b"", HTML, b'{"code":413,"error":"request exceeds max limit of 10485760 bytes"}']
)
def test_too_large_is_too_large(body: bytes) -> None:
    """
    413 is about the size, in whatever words.
    """
    assert outcome_of(413, body) == TooLarge()


@pytest.mark.parametrize(
    "status", [401, 402, 403, 404, 405, 406, 407, 409, 410, 411, 414, 415, 421, 426, 431, 451]
)
def test_other_refusals_are_about_the_configuration(status: int) -> None:
    """
    Every other 4xx is about address, credentials or plan, not about the events.
    """
    body = {"code": status, "error": "Invalid credentials", "status": "Unauthorized"}

    assert outcome_of(status, body) == Misconfigured(status, "Invalid credentials")
    assert outcome_of(status, HTML) == Misconfigured(status, "")


@pytest.mark.parametrize(
    ("status", "fields", "cause"),
    [
        (401, {"token": "t"}, "check the token and the region"),
        (
            403,
            {"service_account": "a", "service_secret": "s", "project_id": "1"},
            "check service_account, service_secret and project_id and the region",
        ),
        (
            401,
            {"api_secret": "s"},
            (
                "check api_secret, which Mixpanel retires on 2027-03-03 (a service account replaces"
                " it), and the region"
            ),
        ),
        (402, {"token": "t"}, "check the plan of the project"),
        (407, {"token": "t"}, "the proxy wants a name and a password, as part of its address"),
        (
            404,
            {"token": "t", "base_url": "https://example.com/x"},
            "check the region and base_url: https://example.com/x is no such address of Mixpanel's",
        ),
        *(
            (
                status,
                {"token": "t", "region": "eu"},
                (
                    "check the region and base_url: https://api-eu.mixpanel.com is no such address"
                    " of Mixpanel's"
                ),
            )
            for status in (302, 405, 410)
        ),
        (418, {"token": "t"}, "check the token and the region, and base_url"),
    ],
)
def test_what_is_wrong_is_named(status: int, fields: dict[str, Any], cause: str) -> None:
    """
    The likeliest cause, by the status and by what is set.
    """
    assert likely_cause(status, Settings(**fields)) == cause


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_redirects_are_about_the_configuration(status: int) -> None:
    """
    A redirect is not followed: it would carry the credentials elsewhere.
    """
    silent = outcome_of(status, b"", location="https://example.com")
    telling = outcome_of(status, {"error": "moved"}, location="https://example.com")

    assert silent == Misconfigured(status, "")
    assert silent.reason == f"status {status}"
    assert telling == Misconfigured(status, "moved")
    assert telling.reason == f"status {status}: moved"
    assert "base_url" in likely_cause(status, Settings(token="t"))


@pytest.mark.parametrize(
    "outcome",
    [
        Rejection(b"{}", "", ""),
        Delivered(1),
        Retryable("no answer"),
        TooLarge(),
        Refused(400, ""),
        Misconfigured(401, ""),
    ],
)
def test_a_verdict_does_not_change(outcome: object) -> None:
    """
    What became of a request can be handed around, compared and looked up.
    """
    with pytest.raises((FrozenInstanceError, TypeError)):
        cast("Any", outcome).status = 200

    assert len({outcome, outcome}) == 1


keys = st.sampled_from(
    ["status", "error", "code", "failed_records", "index", "insert_id", "$insert_id", "field"]
)
documents = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-2, 6),
        st.floats(),
        st.sampled_from(["OK", "id-0", "id-3", "\ud800", "é", ""]),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
# The likeliest shape, with something odd in each place.
answers = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from(["OK", "Bad Request", 0, 1, None]) | documents,
        "error": documents,
        "num_records_imported": documents,
        "failed_records": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "index": st.integers(-1, 5) | documents,
                    "insert_id": st.sampled_from(["id-1", "id-9", ""]) | documents,
                    "$insert_id": st.sampled_from(["id-2", "id-9"]) | documents,
                    "field": documents,
                    "message": documents,
                },
            )
            | documents,
            max_size=4,
        )
        | documents,
    },
)
bodies = st.one_of(
    st.binary(max_size=30),
    st.sampled_from([*NOT_OURS.values()]),
    (answers | documents).map(lambda document: json.dumps(document).encode()),
)
statuses = st.sampled_from([200, 400, 422, 429, 503]) | st.integers(-1, 1_000)


@effort.steadily(500)
@given(
    status=statuses,
    body=bodies,
    headers=st.dictionaries(st.sampled_from(["retry-after", "location"]), st.text(max_size=9)),
)
def test_every_answer_has_a_meaning(status: int, body: bytes, headers: dict[str, str]) -> None:
    """
    Whatever comes back, nothing is raised, and every line of a delivered batch is accounted for.
    """
    outcome = read_response(Response(status, body, headers), BATCH, NOW)

    match outcome:
        case Delivered(imported, rejections):
            assert imported + len(rejections) == BATCH.count
            assert imported >= 0
            assert {each.line for each in rejections} <= set(LINES)
            assert all(type(each.field) is type(each.message) is str for each in rejections)
        case Retryable(reason, after):
            assert reason
            assert after is None or (math.isfinite(after) and 0.0 <= after <= 300.0)
        case Refused(number, message) | Misconfigured(number, message):
            assert number == status
            assert type(message) is str
        case _:
            assert outcome == TooLarge()


@steadily
@given(
    status=st.integers(200, 299) | st.sampled_from([400, 422]),
    body=st.binary(max_size=30) | documents.map(lambda each: json.dumps([each]).encode()),
)
def test_only_mixpanels_words_settle_anything(status: int, body: bytes) -> None:
    """
    What is not an object as Mixpanel writes it neither delivers nor refuses.
    """
    assert isinstance(outcome_of(status, body), Retryable)
