"""
Statements 96 to 111: /import without strict=1, and /track.
"""

from __future__ import annotations

import json
import re

import pytest

from mixpanel_export.emulator import EmulatorOptions, _facts
from mixpanel_export.emulator._parcel import Arrival
from mixpanel_export.emulator._project import Project
from tests.emulator.api import Api, event, now_ms
from tests.emulator.cases import DAY, HOUR, ODD, TEXT_0, TEXT_1, TRACKED, Case, in_base64

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
        "c106-failure",
        lambda api: api.track(event(token="T", time=now_ms() - 5 * DAY - HOUR)), 200, TEXT_0, 0,
        ODD,
    ),
    Case(
        "c106-young",
        lambda api: api.track(event(token="T", time=now_ms() - 5 * DAY + HOUR)), 200, TEXT_1, 1,
    ),
    Case("c108", lambda api: api.track(event(token="T", insert_id=None)), 200, TEXT_1, 1),
    Case("c110", lambda api: api.track(TRACKED, query="?callback=cb"), 200, "cb(1);", 1),
    Case("c110-odd", lambda api: api.track(TRACKED, query="?callback=a(b)"), 200, TEXT_1, 1),
]  # fmt: skip


CASES = [*LENIENT, *TRACK]


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


@pytest.mark.parametrize(
    ("ip", "properties", "city"),
    [
        ("1", {}, "London"),
        ("0", {}, None),
        ("1", {"ip": "0"}, None),
        ("1", {"ip": "192.0.2.1"}, "San Francisco"),
    ],
)
def test_c111_an_event_happens_where_its_sender_is(
    ip: str, properties: dict[str, str], city: str | None
) -> None:
    """
    With `ip=1`, and unless it says itself where it happens. Without a socket: its sender is remote.
    """
    project = Project(EmulatorOptions(), wall=lambda: 1.7e9, monotonic=lambda: 0.0)
    body = json.dumps({"event": "Seen", "properties": {"token": "T", **properties}}).encode()

    answer = project.answer(
        Arrival(path="/track", query={"ip": ip}, body=body, client="198.51.100.7")
    )

    (line,) = project.books.store.lines(dedup=False)
    assert answer.body == b"1"
    assert json.loads(line)["properties"].get("$city") == city
    project.books.store.close()
