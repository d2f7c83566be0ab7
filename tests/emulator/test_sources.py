"""
Every reason that the emulator gives says where it was read.
"""

from __future__ import annotations

import httpx
import pytest

from mixpanel_export.emulator._facts import Origin
from mixpanel_export.emulator._rules import RULES, Rule
from mixpanel_export.emulator._sources import source_of
from tests.emulator.api import Api, event, events


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.message[:40])
def test_rules_have_their_own(rule: Rule) -> None:
    """
    Also where a property's name is part of the text.
    """
    source = source_of(rule.message.format(name="it's a (.*) {name}"))

    assert source is not None
    assert source.origin is rule.origin
    assert source.text == rule.source


def test_a_text_of_nobody_has_none() -> None:
    """
    The body of a fault may say anything.
    """
    assert source_of("no such thing") is None


def test_all_reasons_on_the_page_have_one(api: Api) -> None:
    """
    Of events, updates and whole requests, rejected, refused and vanished.
    """
    api.imports([event(time=1), event(), {}])
    api.imports(b"{nonsense")
    api.imports([])
    api.imports({"event": "A"})
    api.imports(events(1), authorization=None)
    api.imports([event("$identify")])
    api.imports([event(**{"$ignore": True})])
    api.track([{"event": "A", "properties": {"token": "T", "time": 1_600_000_000}}])
    api.track([{"event": "A", "properties": {}}])
    api.form("/track", {"data": "%"})
    api.engage({"$add": {"a": "x"}}, {"$set": 5}, {"$append": {}}, {})
    api.engage({"$token": "", "$set": {}})
    api.groups({"$add": {"a": 1}}, {"$distinct_id": "u", "$set": {}})

    failures = api.client.get(api.emulator.url + "/_emulator/failures")

    assert failures.headers["content-type"].startswith("application/x-ndjson")
    rows = [httpx.Response(200, text=line).json() for line in failures.text.splitlines()]
    assert len(rows) > 12
    assert [row["message"] for row in rows if not row["source"]] == []
    assert {row["origin"] for row in rows} == {origin.value for origin in Origin}
