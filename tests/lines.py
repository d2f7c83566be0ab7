"""
What every line must be, whatever it was made of.
"""

from __future__ import annotations

import re
from ipaddress import ip_address

import orjson
import pytest

from mixpanel_export._ids import SURELY_MS
from mixpanel_export._limits import (
    FORBIDDEN_IDS,
    MAX_AHEAD_MS,
    MAX_ELEMENTS,
    MAX_EVENT_BYTES,
    MAX_NESTED_BYTES,
    MAX_PROPERTIES,
    MAX_SAFE_INTEGER,
    MAX_STRING_BYTES,
    MIN_TIME_MS,
)

NOW = 1_700_000_000.0
NOW_MS = 1_700_000_000_000

# What stands in every event.
FIXED = ["time", "distinct_id", "$insert_id", "ip", "mp_lib"]

RESERVED = [
    "token",
    "$time",
    "$distinct_id",
    "bucket",
    "$bucket",
    "alias",
    "$event_name",
    "$identified_id",
    "$anon_id",
    "$distinct_ids",
    "$distinct_id_before_identity",
    "$is_reshuffled",
    "$preshuffle_distinct_id",
    "$failure_reason",
    "$failure_description",
    "$identity_failure_reason",
    "mp_original_event_name",
    "mp_original_distinct_id",
    "$source",
    "$partner_id",
    "$duration_s",
    "$event_count",
    "$origin_start",
    "$origin_end",
    "$mp_experiment_name",
]


def size_of(text: str) -> int:
    """
    Return how many bytes a text takes.
    """
    return len(text.encode())


def assert_value(value: object, depth: int = 0) -> None:
    """
    Assert that a value in a line is one that Mixpanel keeps.
    """
    match value:
        case str():
            assert size_of(value) <= MAX_STRING_BYTES
        case bool() | float():
            pass
        case int():
            assert abs(value) <= MAX_SAFE_INTEGER
        case list():
            assert depth < 3
            assert len(value) <= MAX_ELEMENTS
            assert depth > 0 or len(orjson.dumps(value)) <= MAX_NESTED_BYTES
            for each in value:
                assert_value(each, depth + 1)
        case dict():
            for each in value:
                assert_value(each)
            assert_value(list(value.values()), depth)
            assert depth > 0 or len(orjson.dumps(value)) <= MAX_NESTED_BYTES
        case _:
            pytest.fail(f"{value!r} in a line")


def assert_line(line: bytes, latest: float = NOW_MS) -> None:
    """
    Assert that a line has the one shape, and keeps every limit that Mixpanel documents.
    """
    assert len(line) <= MAX_EVENT_BYTES
    assert b"\n" not in line
    event = orjson.loads(line)
    assert list(event) == ["event", "properties"]
    assert event["event"].strip()
    assert size_of(event["event"]) <= MAX_STRING_BYTES
    found = event["properties"]
    assert len(found) <= MAX_PROPERTIES
    assert list(found)[:4] == FIXED[:4]
    assert type(found["time"]) is int
    # What Mixpanel does not take for milliseconds is seconds.
    moment = found["time"] * (1 if found["time"] >= SURELY_MS else 1_000)
    assert MIN_TIME_MS <= moment <= latest + MAX_AHEAD_MS
    for name in ("distinct_id", "$user_id", "$device_id"):
        assert isinstance(found.get(name, ""), str)
        assert found.get(name, "").strip().lower() not in FORBIDDEN_IDS
    assert re.fullmatch("[0-9A-Za-z-]{1,36}", found["$insert_id"])
    assert found["$insert_id"].lower() not in FORBIDDEN_IDS
    assert found["ip"] == "0" or str(ip_address(found["ip"])) == found["ip"]
    assert found.keys().isdisjoint(RESERVED)
    assert found.keys().isdisjoint(["mixpanel.event", "mixpanel_event"])
    for name, value in found.items():
        assert size_of(name) <= MAX_STRING_BYTES
        assert_value(value)
