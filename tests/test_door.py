"""
What doors have in common: settings, sharing, coming and going.
"""

from __future__ import annotations

import pytest

from mixpanel_export import _door, _lifecycle
from mixpanel_export._clock import Deadline
from mixpanel_export._door import Door
from mixpanel_export._exceptions import SettingsError
from mixpanel_export._pipeline import Pipeline
from mixpanel_export._record import Record
from mixpanel_export._settings import Settings
from mixpanel_export.testing import FakeClock, ScriptedTransport

TRANSPORT = ScriptedTransport()


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Let no setting of the machine reach a test, and no pipeline outlive one.
    """
    for name in ("TOKEN", "REGION", "BASE_URL"):
        monkeypatch.delenv(f"MIXPANEL_{name}", raising=False)
    monkeypatch.setattr(_door, "_shared", type(_door._shared)())


def open_door(
    settings: Settings | None = None, pipeline: Pipeline | None = None, **fields: object
) -> Door:
    """
    Open a door as the public classes do.
    """
    return Door("Door", settings=settings, pipeline=pipeline, fields=fields, select="structured")


def record(**fields: object) -> Record:
    """
    Make a record with these fields.
    """
    return Record("Happened", 1_700_000_000.0, fields)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What is not given is looked up; what is given wins.
    """
    monkeypatch.setenv("MIXPANEL_TOKEN", "from-env")
    monkeypatch.setenv("MIXPANEL_REGION", "eu")

    door = open_door(region="in")

    assert (door.settings.token, door.settings.region) == ("from-env", "in")


def test_single_fields_replace_those_of_the_settings() -> None:
    """
    Keywords go before the settings that are handed over; the environment is not asked.
    """
    door = open_door(Settings(token="t", region="eu"), batch_events=7)

    assert (door.settings.region, door.settings.batch_events) == ("eu", 7)


def test_unknown_fields_are_named() -> None:
    """
    A typing error is an error, whichever way it comes.
    """
    with pytest.raises(SettingsError, match="tokn"):
        open_door(tokn="t")
    with pytest.raises(SettingsError, match="tokn"):
        open_door(Settings(token="t"), tokn="t")


def test_without_credentials_it_is_off(caplog: pytest.LogCaptureFixture) -> None:
    """
    One warning that names the fix, and nothing else happens.
    """
    door = open_door()

    accepted = door.take(record(plan="pro"))
    door.flush()
    door.close()

    assert not accepted
    assert len(caplog.messages) == 1
    assert "MIXPANEL_TOKEN" in caplog.messages[0]


def test_a_wrong_environment_alone_does_not_raise(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Nobody can catch an error in a door that was made by name; it warns and is off.
    """
    monkeypatch.setenv("MIXPANEL_TOKEN", "t")
    monkeypatch.setenv("MIXPANEL_REGION", "europe")

    door = open_door()

    assert not door.take(record(plan="pro"))
    assert "europe" in caplog.messages[0]


def test_a_wrong_environment_beside_keywords_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Where code gives settings, code learns of a wrong one.
    """
    monkeypatch.setenv("MIXPANEL_REGION", "europe")

    with pytest.raises(SettingsError, match="europe"):
        open_door(token="t")


def test_a_disabled_door_does_not_warn(caplog: pytest.LogCaptureFixture) -> None:
    """
    Off on purpose is nothing to warn of.
    """
    open_door(disabled=True)

    assert caplog.messages == []


def test_equal_delivery_shares_a_pipeline() -> None:
    """
    Doors that differ in what they send and not in how have one queue and one ledger.
    """
    one = open_door(token="t", select="all")
    other = open_door(token="t", select="marked", super_properties={"app": "shop"})
    elsewhere = open_door(token="t", region="eu")

    assert one.pipeline is other.pipeline
    assert one.pipeline is not elsewhere.pipeline


def test_a_closed_pipeline_is_not_shared() -> None:
    """
    A door that is opened after `Pipeline.close` gets one that works.
    """
    one = open_door(token="t")
    one.pipeline.close()

    other = open_door(token="t")

    assert other.pipeline is not one.pipeline


def test_what_cannot_be_compared_is_not_shared() -> None:
    """
    With a transport that has no hash each door has its own pipeline.
    """

    class Unhashable(ScriptedTransport):
        __hash__ = None  # type: ignore[assignment] # what the test is about

    transport = Unhashable()

    one, other = (open_door(token="t", transport=transport) for _ in range(2))

    assert one.pipeline is not other.pipeline


def test_a_pipeline_can_be_handed_over() -> None:
    """
    The door takes its delivery from it and may have rules of its own.
    """
    with Pipeline(Settings(token="t", transport=TRANSPORT)) as pipeline:
        door = open_door(pipeline=pipeline, select="marked")

        assert door.pipeline is pipeline
        assert not door.take(record(plan="pro"))
        assert door.take(record(**{"mixpanel.event": True}))


def test_a_pipeline_and_settings_of_its_own_do_not_contradict() -> None:
    """
    Other delivery settings than those of the pipeline would be ignored: that is an error.
    """
    with (
        Pipeline(Settings(token="t", transport=TRANSPORT)) as pipeline,
        pytest.raises(SettingsError, match="pipeline"),
    ):
        open_door(pipeline=pipeline, region="eu")


def test_closing_is_not_final() -> None:
    """
    What comes to a closed door is delivered all the same.
    """
    transport = ScriptedTransport()
    door = open_door(token="t", transport=transport, flush_interval=0.01)
    door.take(record(plan="pro"))
    door.close()

    door.take(record(plan="basic"))

    assert door.pipeline.flush(10.0)
    assert len(transport.lines) == 2
    door.pipeline.close()


def test_the_last_door_sends_the_pipeline_to_rest() -> None:
    """
    While another door is open the connections stay.
    """
    transport = ScriptedTransport()
    doors = [open_door(token="t", transport=transport) for _ in range(2)]
    doors[0].take(record(plan="pro"))

    doors[0].close()
    retiring = doors[1].pipeline._process.retiring
    doors[1].close()

    assert not retiring
    assert doors[1].pipeline._process.retiring
    doors[1].pipeline.close()


def test_an_unhealthy_pipeline_is_not_waited_for() -> None:
    """
    While nothing answers, a flush only asks.
    """
    transport = ScriptedTransport(*[503] * 100)
    door = open_door(token="t", transport=transport, flush_interval=0.0)
    door.take(record(plan="pro"))
    door.flush()
    while door.pipeline.health.ok:
        door.pipeline.flush(0.01)

    door.flush()

    assert door.pipeline.stats.queued == 1
    door.pipeline.close(0.0)


def test_at_exit_a_flush_has_what_remains(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    During the exit of the process its one deadline holds.
    """
    transport = ScriptedTransport()
    door = open_door(token="t", transport=transport)
    monkeypatch.setattr(_lifecycle, "_exit_deadline", Deadline(FakeClock(), 7.0))
    door.take(record(plan="pro"))

    door.flush()

    assert len(transport.lines) == 1
    assert transport.closed == 1
    door.pipeline.close()


def test_at_exit_a_drain_has_what_remains(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Whatever the caller would wait: the process has one deadline.
    """
    door = open_door(token="t", transport=ScriptedTransport(*[503] * 100), flush_interval=0.0)
    door.take(record(plan="pro"))

    before = door.drain(0.0)
    monkeypatch.setattr(_lifecycle, "_exit_deadline", Deadline(FakeClock(), 0.0))
    at_exit = door.drain(600.0)

    assert (before, at_exit) == (False, False)
    door.pipeline.close(0.0)


def test_an_end_delivers_and_leaves() -> None:
    """
    With its last door ended a pipeline goes to rest; it is not closed.
    """
    transport = ScriptedTransport()
    door = open_door(token="t", transport=transport)
    door.take(record(plan="pro"))

    door.end(10.0)

    assert len(transport.lines) == 1
    assert not door.pipeline.doors
    assert door.pipeline._process.retiring
    assert not door.pipeline.closed
    door.pipeline.close()


def test_an_end_waits_no_longer_than_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Neither longer than the setting, nor than a second while nothing answers.
    """
    waits: list[float] = []
    transport = ScriptedTransport(*[503] * 100)
    door = open_door(token="t", transport=transport, shutdown_timeout=2.0, flush_interval=0.0)
    flush = door.pipeline.flush
    monkeypatch.setattr(door.pipeline, "flush", waits.append)

    door.end(0.5)
    door.end(30.0)
    door.take(record(plan="pro"))
    while door.pipeline.health.ok:
        flush(0.01)
    door.end(30.0)

    assert waits == [0.5, 2.0, 1.0]
    door.pipeline.close(0.0)


def test_at_exit_an_end_gives_up_the_rest(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """
    After it nobody else would count and report what was not delivered.
    """
    door = open_door(token="t", transport=ScriptedTransport(*[503] * 100))
    door.take(record(plan="pro"))
    monkeypatch.setattr(_lifecycle, "_exit_deadline", Deadline(FakeClock(), 0.0))

    door.end(30.0)

    assert door.pipeline.stats.abandoned == 1
    assert "1 events were not delivered in time" in caplog.text
    door.pipeline.close(0.0)
