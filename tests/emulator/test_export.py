"""
Events as Mixpanel's export gives them back.
"""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

import pytest

from mixpanel_export.emulator import _facts
from tests.emulator.api import EVER, Api, Run, basic, event, events, now_ms
from tests.emulator.cases import CLOSED, HOUR

LONDON = {"$city": "London", "$region": "England", "mp_country_code": "GB"}
PLACE = LONDON.keys()


def only(api: Api, query: str = "") -> dict[str, Any]:
    """
    Return the properties of the only event that is exported.
    """
    (one,) = api.exported(query)
    found: dict[str, Any] = one["properties"]
    return found


def test_c47_an_address_becomes_a_place(api: Api) -> None:
    """
    And is forgotten.
    """
    api.imports([event(ip="198.51.100.7")])

    found = only(api)
    assert "ip" not in found
    assert {name: found.get(name) for name in PLACE} == LONDON


@pytest.mark.parametrize("ip", ["0", "127.0.0.1", "8.8.8.8", "not an address", 7, None])
def test_c48_other_addresses_are_nowhere(api: Api, ip: object) -> None:
    """
    `"0"` asks for that; there is no database of addresses here.
    """
    api.imports([event(ip=ip)])

    assert not PLACE & only(api).keys()


def test_c49_what_the_client_says_of_the_place_wins(api: Api) -> None:
    """
    One by one.
    """
    api.imports([event(**{"ip": "198.51.100.7", "$city": "Leeds", "mp_country_code": "UK"})])

    found = only(api)
    assert (found["$city"], found["$region"], found["mp_country_code"]) == (
        "Leeds",
        "England",
        "UK",
    )


def test_c50_the_service_adds_what_it_knows(api: Api) -> None:
    """
    When and where an event arrived, how large it was, and that it was imported.
    """
    sent = event(text="x" * 300)
    before = now_ms()
    api.imports([sent])

    found = only(api)
    assert found["$import"] is True
    assert found["$mp_api_endpoint"] == "api.mixpanel.com"
    assert before <= found["$mp_api_timestamp_ms"] <= found["mp_processing_time_ms"] <= now_ms()
    assert found["$mp_event_size"] == len(json.dumps(sent, separators=(",", ":")))


def test_c50_tracked_events_were_not_imported(api: Api) -> None:
    """
    Nor is their token shown.
    """
    api.track(event(token="T"))

    assert not {"$import", "token"} & only(api).keys()


def test_c40_a_time_ahead_becomes_that_of_the_arrival(api: Api) -> None:
    """
    Half an hour is accepted, and not believed.
    """
    api.imports([event(time=now_ms() + HOUR // 2)])

    assert only(api, "&time_in_ms=true")["time"] <= now_ms()


@pytest.mark.parametrize("time", [1_700_000_000, 1_700_000_000_123])
def test_times_are_seconds_unless_one_asks(api: Api, time: int) -> None:
    """
    Whatever they were when they were sent.
    """
    api.imports([event(time=time)])

    assert only(api)["time"] == 1_700_000_000
    assert only(api, "&time_in_ms=true")["time"] == (time if time > 10**11 else time * 1000)


def test_events_of_the_days_are_exported(api: Api) -> None:
    """
    Both days belong to them, in UTC.
    """
    moments = ["2023-11-13T23:59:59", "2023-11-14T00:00:00", "2023-11-15T23:59:59", "2023-11-16"]
    stamps = [datetime.fromisoformat(each).replace(tzinfo=timezone.utc) for each in moments]
    api.imports([event(str(n), time=int(at.timestamp())) for n, at in enumerate(stamps)])

    found = api.exported(days="from_date=2023-11-14&to_date=2023-11-15&project_id=7")

    assert [one["event"] for one in found] == ["1", "2"]


def test_events_of_some_names_are_exported(api: Api) -> None:
    """
    In the order of their arrival, and no more than one asks for.
    """
    api.imports([event(name) for name in ("A", "B", "C", "A", "B", "A")])

    found = api.exported('&event=["A","C"]&limit=3')

    assert [one["event"] for one in found] == ["A", "C", "A"]


def test_an_export_shows_repetitions(api: Api) -> None:
    """
    Only reports show an event once.
    """
    batch = events(2)
    api.imports(batch)
    api.imports(batch)

    assert len(api.exported()) == 4


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("from_date=2023-11-14", "to_date must be a date"),
        ("from_date=14.11.2023&to_date=2023-11-15", "from_date must be a date"),
        (f"{EVER}&limit=0", "limit must be between 1 and 100000"),
        (f"{EVER}&limit=100001", "limit must be between"),
        (f"{EVER}&limit=many", "limit must be between"),
        (f"{EVER}&event=A", "event must be a JSON array of names"),
        (f"{EVER}&event=[1]", "event must be a JSON array of names"),
        (f"{EVER}&where=true", "where is not emulated"),
    ],
)
def test_what_makes_no_sense_is_refused(api: Api, query: str, complaint: str) -> None:
    """
    With the name of the parameter.
    """
    response = api.send(
        f"/api/2.0/export?project_id=7&{query}", method="GET", authorization=basic("s", "p")
    )

    assert response.status_code == 400
    assert complaint in response.json()["error"]


@pytest.mark.parametrize(
    ("authorization", "query", "error"),
    [
        (basic("svc", "pw"), "&project_id=7", None),
        (basic("S"), "", None),
        (None, "", _facts.INVALID_CREDENTIALS),
        (basic("T"), "", _facts.INVALID_SECRET),
        (basic("svc", "pw"), "", _facts.PROJECT_ID_MISSING),
        (basic("svc", "no"), "&project_id=7", _facts.INVALID_SERVICE_ACCOUNT),
        (basic("S"), "&project_id=8", _facts.WRONG_PROJECT),
    ],
)
def test_an_export_needs_credentials(
    running: Run, authorization: str | None, query: str, error: str | None
) -> None:
    """
    Of a service account or the project's secret; a token can only send.
    """
    response = running(*CLOSED).send(
        f"/api/2.0/export?from_date=2023-11-14&to_date=2023-11-15{query}",
        method="GET",
        authorization=authorization,
    )

    assert response.status_code == (401 if error else 200)
    assert response.text == "" if error is None else response.json()["error"] == error


def test_off_loopback_an_export_needs_the_key(running: Run) -> None:
    """
    Whatever the credentials: where none are configured, everybody's are right.
    """
    api = running("--host", "0.0.0.0")
    refused = api.send(
        f"/api/2.0/export?{EVER}", method="GET", authorization=basic("svc", "pw")
    ).status_code

    assert refused == 403
    assert api.exported(f"&access={api.emulator.access_key}") == []
