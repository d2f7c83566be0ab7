"""
Statements 1 to 32: what may be sent, and by whom.
"""

from __future__ import annotations

import json

import pytest

from mixpanel_export.emulator import _facts
from tests.emulator.api import Api, Run, basic, event, events
from tests.emulator.cases import (
    CLOSED,
    OK,
    TEXT_0,
    TEXT_1,
    TRACKED,
    UNAUTHORIZED,
    Case,
    as_form,
    in_base64,
    probe,
    zipped,
)

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
    Case(
        "c15-beacon",
        lambda api: api.send(
            "/track/?verbose=1", f"data={in_base64(TRACKED)}",
            content_type="text/plain;charset=UTF-8",
        ),
        200, {"error": None, "status": 1}, imported=1,
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


CASES = [*TRANSPORT, *AUTHENTICATION]


def test_c3_one_path_serves_every_operation(api: Api) -> None:
    """
    /engage picks the operation by the key in the record.
    """
    api.engage({"$set": {"plan": "free"}}, {"$append": {"seen": 1}}, {"$unset": ["plan"]})

    assert api.properties() == {"seen": [1]}


@pytest.mark.parametrize("region", ["api", "api-eu", "api-in"])
def test_c1_every_endpoint_is_on_every_host(running: Run, region: str) -> None:
    """
    An application that believes to talk to Mixpanel finds all four, whatever the residency.
    """
    hosts = [f"{name}.mixpanel.com" for name in ("api", "api-eu", "api-in")]
    api = running(*(word for host in hosts for word in ("--allow-host", host)))
    host = {"Host": f"{region}.mixpanel.com"}
    update = {"$token": "T", "$set": {"a": 1}}

    answers = [
        api.imports([event()], headers=host).json()["status"],
        api.send("/track", json.dumps(TRACKED), headers=host).text,
        api.send("/engage", json.dumps({**update, "$distinct_id": "u"}), headers=host).text,
        api.send(
            "/groups", json.dumps({**update, "$group_key": "k", "$group_id": "g"}), headers=host
        ).text,
    ]

    assert answers == ["OK", "1", "1", "1"]
