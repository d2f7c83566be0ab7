"""
The demo's doors: four ways to say the same, and what is said where one is not installed.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from mixpanel_export import MixpanelHandler, Pipeline, Settings, bound
from mixpanel_export.cli import _doors
from mixpanel_export.cli._shop import Visitor
from mixpanel_export.testing import ScriptedTransport, lines_of

VISITOR = Visitor(distinct_id="u-1", ip="192.0.2.7", plan="pro", currency="EUR")
NAMES = ["logging", "structlog", "OpenTelemetry", "by hand"]

# What only OpenTelemetry knows, and what differs from event to event.
OF_SPANS = {"trace_id", "span_id", "span_kind", "service_name", "$duration"}
OF_THE_MOMENT = {"time", "$insert_id"}


def hear(
    name: str, fields: Mapping[str, Any], profile: Mapping[str, Any]
) -> dict[str, list[dict[str, Any]]]:
    """
    Say one event through one door, and a line that is none; returns what was sent, by endpoint.
    """
    transport = ScriptedTransport()
    pipeline = Pipeline(
        Settings(token="t", transport=transport, super_properties={"door": "by hand"})
    )
    with _doors.open_doors(pipeline) as (voices, _):
        voice = next(voice for voice in voices if voice.name == name)
        with bound(distinct_id=VISITOR.distinct_id, ip=VISITOR.ip):
            voice.say(VISITOR, "Order Placed", fields, profile)
            voice.note("reserved %d articles for %s", 2, "o-1")
        pipeline.close()
    sent: dict[str, list[dict[str, Any]]] = {"import": [], "engage": []}
    for request in transport.requests:
        endpoint = "engage" if "/engage" in request.url else "import"
        sent[endpoint] += map(orjson.loads, lines_of(request))
    return sent


@pytest.mark.structlog
@pytest.mark.otel
@pytest.mark.parametrize("name", NAMES)
def test_every_door_says_the_same(name: str) -> None:
    """
    Name, user, address and properties are the same through each; what is no event is not sent.
    """
    sent = hear(name, {"total": 31.5, "articles": ["Teapot", "Kettle"]}, {})

    (event,) = sent["import"]
    properties = {
        name: value
        for name, value in event["properties"].items()
        if name not in OF_SPANS | OF_THE_MOMENT
    }
    assert event["event"] == "Order Placed"
    assert properties == {
        "distinct_id": "u-1",
        "ip": "192.0.2.7",
        "mp_lib": "mixpanel-export",
        "door": name,
        "total": 31.5,
        "articles": ["Teapot", "Kettle"],
    }
    assert sent["engage"] == []


@pytest.mark.structlog
@pytest.mark.otel
@pytest.mark.parametrize("name", NAMES)
def test_every_door_sets_profiles(name: str) -> None:
    """
    What belongs in the profile gets there through each door, and is no property of the event.
    """
    sent = hear(name, {"via": "form"}, {"plan": "pro"})

    (event,), (update,) = sent["import"], sent["engage"]
    assert "$set" not in event["properties"]
    assert "plan" not in event["properties"]
    assert update["$distinct_id"] == "u-1"
    assert update["$set"] == {"plan": "pro"}


def listeners() -> int:
    """
    Count who of ours listens to the shop's logger.
    """
    handlers = logging.getLogger("shop").handlers
    return sum(isinstance(handler, MixpanelHandler) for handler in handlers)


def test_a_closed_door_leaves_logging_alone() -> None:
    """
    Afterwards nobody of ours listens to the shop's logger any more.
    """
    pipeline = Pipeline(Settings(token="t", transport=ScriptedTransport()))

    with _doors.open_doors(pipeline):
        assert listeners() == 1

    assert listeners() == 0
    pipeline.close()


def test_a_door_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The others are open; the line says what to install.
    """
    monkeypatch.setitem(sys.modules, "structlog", None)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    pipeline = Pipeline(Settings(token="t", transport=ScriptedTransport()))

    with _doors.open_doors(pipeline) as (voices, absent):
        assert [voice.name for voice in voices] == ["logging", "by hand"]
    assert absent == [
        "structlog: not installed; pip install 'mixpanel-export[structlog]'",
        "OpenTelemetry: not installed; pip install 'mixpanel-export[otel]'",
    ]
    pipeline.close()


@pytest.mark.otel
def test_a_door_that_is_too_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    If OpenTelemetry is there, but not as new as needed, the line says that.
    """
    monkeypatch.delitem(sys.modules, "mixpanel_export.otel", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk._logs", None)
    pipeline = Pipeline(Settings(token="t", transport=ScriptedTransport()))

    with _doors.open_doors(pipeline) as (_, absent):
        assert any("1.39 or newer" in line for line in absent)
    pipeline.close()
