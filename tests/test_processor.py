"""
The door for structlog, as structlog calls it; it needs nothing of structlog's.
"""

from __future__ import annotations

import copy
import logging
import os
import pickle
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from typing import Any, NoReturn

import orjson
import pytest

from mixpanel_export import (
    MixpanelHandler,
    MixpanelProcessor,
    Pipeline,
    Settings,
    SettingsError,
    bound,
)
from mixpanel_export._clock import SystemClock
from mixpanel_export._ids import MEMORY
from mixpanel_export._process import delivering
from mixpanel_export._record import Record
from mixpanel_export.testing import ScriptedTransport


class LateClock(SystemClock):
    """The machine's clock, but for the date."""

    wall = staticmethod(lambda: 1_700_000_000.0)


class Ear:
    """A processor, and what arrived."""

    def __init__(
        self,
        select: str | Callable[[Record], bool] | None = None,
        loggers: tuple[str, ...] | None = None,
    ) -> None:
        self.transport = ScriptedTransport()
        settings = Settings(token="t", transport=self.transport, select=select, loggers=loggers)
        self.pipeline = Pipeline(settings, clock=LateClock())
        self.processor = MixpanelProcessor(settings=settings, pipeline=self.pipeline)

    def hear(self, event: object = "Signed Up", logger: object = None, **fields: object) -> None:
        self.processor(logger, "info", {**fields, "event": event})

    def events(self) -> list[dict[str, Any]]:
        assert self.pipeline.flush(10.0)
        return [orjson.loads(line) for line in self.transport.lines]

    def names(self) -> list[str]:
        return [event["event"] for event in self.events()]

    def owners(self) -> list[str]:
        return [event["properties"]["distinct_id"] for event in self.events()]


@pytest.fixture
def ear() -> Iterator[Ear]:
    """
    Listen for one test.
    """
    ear = Ear()
    yield ear
    ear.pipeline.close()


# -- what becomes an event ------------------------------------------------------------------------


def test_what_is_identified_is_an_event(ear: Ear) -> None:
    """
    The message names it; the application's fields are its properties, now is its time.
    """
    ear.hear("Signed Up", distinct_id="u-1", plan="pro")

    (event,) = ear.events()
    assert event["event"] == "Signed Up"
    properties = event["properties"]
    assert properties.pop("$insert_id")
    assert properties == {
        "time": 1_700_000_000_000,
        "distinct_id": "u-1",
        "ip": "0",
        "mp_lib": "mixpanel-export",
        "plan": "pro",
    }


@pytest.mark.parametrize(
    ("changed", "name", "properties"),
    [
        ({}, "Won", {}),
        ({"event": ValueError("late")}, "ValueError", {}),
        ({"event": "Won\nTraceback (most recent call last):"}, "Won", {}),
        ({"level": None}, "Won", {}),
        ({"level": "hard"}, "Won", {"level": "hard"}),
        ({"level": ["hard"]}, "Won", {"level": ["hard"]}),
    ],
)
def test_values_may_need_a_closer_look(
    ear: Ear, changed: dict[str, Any], name: str, properties: dict[str, Any]
) -> None:
    """
    A message that is none, or has a trace below it; the level of a game: whatever came before.
    """
    usual = {"distinct_id": "u-1", "event": "Won", "level": "INFO"}

    ear.processor(None, "info", usual)
    ear.processor(None, "info", {**usual, **changed})

    _, event = ear.events()
    assert event["event"] == name
    found = {key: event["properties"].get(key) for key in {"level", *properties}}
    assert found == {"level": None, **properties}


def test_the_dict_is_returned_untouched(ear: Ear) -> None:
    """
    The next processor gets the very same object, with the same values in the same order.
    """
    tags = ["a"]
    said = {"distinct_id": "u-1", "tags": tags, "exc_info": True, "event": "A", "level": "info"}
    before = copy.deepcopy(list(said.items()))

    returned = ear.processor(None, "info", said)

    assert returned is said
    assert list(said.items()) == before
    assert said["tags"] is tags
    assert ear.names() == ["A"]


def test_what_changes_later_was_sealed(ear: Ear) -> None:
    """
    Processors behind it, and the application, may do as they like.
    """
    tags = ["a"]
    said: dict[str, Any] = {"distinct_id": "u-1", "tags": tags, "event": "A"}

    ear.processor(None, "info", said)
    tags.append("b")
    said.clear()

    assert ear.events()[0]["properties"]["tags"] == ["a"]


def test_an_ordinary_line_is_none(ear: Ear) -> None:
    """
    Without identity or mark it is ignored and counted, whatever its fields.
    """
    ear.hear("cache is warm", entries=500)
    ear.processor(None, "error", {"event": "it broke", "exc_info": True})

    assert ear.names() == []
    assert ear.pipeline.stats.ignored == 2


@pytest.mark.parametrize("mark", ["mixpanel.event", "mixpanel_event"])
def test_marks_decide(ear: Ear, mark: str) -> None:
    """
    Text names the event, True sends it, False never does.
    """
    ear.hear("one", **{mark: "Signed Up"})
    ear.hear("two", **{mark: True})
    ear.hear("three", distinct_id="u-1", **{mark: False})

    assert ear.names() == ["Signed Up", "two"]
    assert ear.pipeline.stats.ignored == 1
    assert mark not in ear.events()[0]["properties"]


@pytest.mark.parametrize(
    ("select", "names"),
    [
        (None, ["identified", "marked"]),
        ("marked", ["marked"]),
        ("identified", ["identified", "marked"]),
        ("structured", ["structured", "identified", "marked"]),
        ("all", ["plain", "structured", "identified", "marked"]),
    ],
)
def test_select_decides(select: str | None, names: list[str]) -> None:
    """
    The setting means what it means at every door; this one's default is `identified`.
    """
    ear = Ear(select=select)

    ear.hear("plain")
    ear.hear("structured", plan="pro")
    ear.hear("identified", distinct_id="u-1")
    ear.hear("marked", mixpanel_event=True)

    assert ear.names() == names
    assert ear.pipeline.stats.ignored == 4 - len(names)


def test_a_callable_sees_the_record() -> None:
    """
    With the application's fields alone, and the logger's name.
    """
    seen: list[Record] = []

    def select(record: Record) -> bool:
        seen.append(record)
        return record.name == "A"

    ear = Ear(select=select)

    ear.hear("A", logging.getLogger("shop"), plan="pro", level="info")
    ear.hear("B")

    assert ear.names() == ["A"]
    assert seen[0][:4] == ("A", 1_700_000_000.0, {"plan": "pro"}, "shop")


def test_stamps_do_not_make_an_event_structured() -> None:
    """
    What processors add is no field of the application's.
    """
    ear = Ear(select="structured")

    ear.hear("plain", level="info", timestamp="2026-11-21T02:40:00Z", lineno=7, exc_info=True)

    assert ear.names() == []


# -- the logger's name ----------------------------------------------------------------------------


def test_the_wrapped_logger_has_a_name() -> None:
    """
    Where it is one of logging's; else the field that `add_logger_name` leaves is believed.
    """
    ear = Ear(loggers=("shop",))

    ear.hear("A", logging.getLogger("shop.till"), distinct_id="u-1")
    ear.hear("B", logging.getLogger("other"), distinct_id="u-1")
    ear.processor(None, "info", {"event": "C", "distinct_id": "u-1", "logger": "shop"})
    ear.hear("D", logging, distinct_id="u-1")

    assert ear.names() == ["A", "C"]


@pytest.mark.parametrize("name", ["httpx", "mixpanel_export.emulator"])
def test_what_carries_the_events_is_never_an_event(ear: Ear, name: str) -> None:
    """
    Our own loggers, and the client's.
    """
    ear.hear("A", logging.getLogger(name), distinct_id="u-1")

    assert ear.names() == []


def test_names_without_end_do_not_fill_the_memory(ear: Ear) -> None:
    """
    Only so many are remembered.
    """
    for number in range(MEMORY + 2):
        ear.hear("A", distinct_id="u-1", **{f"made_up_{number}": 1})

    assert len(ear.processor._forms) <= MEMORY


# -- the message ----------------------------------------------------------------------------------


def test_without_a_message_there_is_no_event(ear: Ear) -> None:
    """
    Mixpanel takes none without a name; a mark may still give one.
    """
    ear.processor(None, "info", {"distinct_id": "u-1"})
    ear.hear(None, distinct_id="u-1")
    ear.hear("", distinct_id="u-1")
    ear.processor(None, "info", {"distinct_id": "u-1", "mixpanel_event": "Named"})

    assert ear.names() == ["Named"]
    assert ear.pipeline.stats.ignored == 3


def test_a_message_of_any_type_names_the_event(ear: Ear) -> None:
    """
    An exception by its class, everything else by its text.
    """
    ear.hear(ZeroDivisionError("1/0"), distinct_id="u-1")
    ear.hear(42, distinct_id="u-1")

    assert ear.names() == ["ZeroDivisionError", "42"]


def test_a_template_that_waits_for_its_arguments(ear: Ear) -> None:
    """
    In front of `PositionalArgumentsFormatter` the template names the event.
    """
    ear.hear("Paid by %s", positional_args=("card",), distinct_id="u-1")

    (event,) = ear.events()
    assert event["event"] == "Paid by %s"
    assert event["properties"]["arg_0"] == "card"


def test_time_ip_and_insert_id_are_honoured(ear: Ear) -> None:
    """
    As at every door where they are said by hand.
    """
    moment = datetime(2023, 11, 14, tzinfo=timezone.utc)
    ear.hear("A", distinct_id="u-1", time=moment, ip="203.0.113.7", **{"$insert_id": "i-1"})

    properties = ear.events()[0]["properties"]
    assert properties["time"] == 1_699_920_000_000
    assert properties["ip"] == "203.0.113.7"
    assert properties["$insert_id"] == "i-1"


# -- what is bound --------------------------------------------------------------------------------


def test_what_is_bound_is_added(ear: Ear) -> None:
    """
    It fills an event up; it does not make one.
    """
    with bound(distinct_id="u-1", plan="pro"):
        ear.hear("ordinary line")
        ear.hear("Order Placed", mixpanel_event=True, total=31.5)

    (event,) = ear.events()
    assert event["event"] == "Order Placed"
    assert event["properties"]["distinct_id"] == "u-1"
    assert (event["properties"]["plan"], event["properties"]["total"]) == ("pro", 31.5)


def test_what_is_said_goes_before_what_is_bound(ear: Ear) -> None:
    """
    Identity and properties alike; "" is nobody, None is unknown.
    """
    with bound(distinct_id="bound", plan="pro"):
        ear.hear("A", distinct_id="own", plan="free")
        ear.hear("B", distinct_id="")
        ear.hear("C", distinct_id=None)

    assert ear.owners() == ["own", "", "bound"]
    assert ear.events()[0]["properties"]["plan"] == "free"


# -- records of logging, in ProcessorFormatter ----------------------------------------------------


def log_record(**attributes: object) -> logging.LogRecord:
    """
    Make a record that logging made, half a minute before now.
    """
    record = logging.LogRecord("shop", 20, "shop.py", 7, "Paid by %s", ("card",), None)
    record.created = 1_699_999_970.25
    vars(record).update(attributes)
    return record


def test_a_foreign_record_is_named_by_its_template() -> None:
    """
    Not by the interpolated text; its time is the one when it was made, its logger is known.
    """
    ear = Ear(loggers=("shop",))

    ear.hear("Paid by card", _record=log_record(), _from_structlog=False, distinct_id="u-1")

    (event,) = ear.events()
    assert event["event"] == "Paid by %s"
    assert event["properties"]["time"] == 1_699_999_970_250
    assert not any(name.startswith("_") for name in event["properties"])


def test_a_record_of_structlog_keeps_its_message(ear: Ear) -> None:
    """
    What logging carries is the whole dict; the message stands in ours.
    """
    record = log_record(msg={"event": "Signed Up"})

    ear.hear("Signed Up", _record=record, _from_structlog=True, distinct_id="u-1")

    assert ear.names() == ["Signed Up"]


def test_a_field_named_record_is_a_field_of_ours(ear: Ear) -> None:
    """
    Only logging's own records tell anything.
    """
    ear.hear("A", _record="x", distinct_id="u-1")

    assert ear.names() == ["A"]


# -- safety ---------------------------------------------------------------------------------------


def test_what_a_delivery_thread_says_is_left_alone(ear: Ear) -> None:
    """
    It would feed on itself; also where the record comes from that thread and is formatted here, but
    not where it comes from such a thread of another process.
    """
    elsewhere = log_record(thread=-7)
    try:
        delivering[threading.get_ident()] = os.getpid()
        ear.hear("A", distinct_id="u-1")
        ear.hear("B", distinct_id="u-1", _record=log_record(thread=None))
        del delivering[threading.get_ident()]
        delivering[-7] = os.getpid()
        ear.hear("C", distinct_id="u-1", _record=elsewhere)
        ear.hear("D", distinct_id="u-1", _record=log_record(thread=-7, process=-1))
    finally:
        delivering.clear()

    assert ear.names() == ["Paid by %s"]
    assert ear.pipeline.stats.ignored == 3


def test_a_thread_that_delivered_in_the_parent_is_a_thread_like_others(ear: Ear) -> None:
    """
    A child's threads are given the identifiers of its parent's.
    """
    delivering[threading.get_ident()] = -1
    try:
        ear.hear("A", distinct_id="u-1")
    finally:
        delivering.clear()

    assert ear.names() == ["A"]


@pytest.mark.parametrize(
    "rendered",
    ['{"event": "A"}', b"{}", (("A",), {"extra": {"distinct_id": "u-1"}})],
)
def test_behind_a_renderer_it_says_so(
    ear: Ear,
    rendered: Any,  # noqa: ANN401 -- anything but a mapping
    caplog: pytest.LogCaptureFixture,
) -> None:
    """
    What was rendered is passed on; the remedy is told once.
    """
    assert ear.processor(None, "info", rendered) is rendered
    assert ear.processor(None, "info", rendered) is rendered

    (line,) = caplog.messages
    assert "move it in front of it" in line
    assert ear.names() == []


class Broken(dict[str, Any]):
    """An event dict that cannot be read."""

    def __iter__(self) -> NoReturn:
        raise OSError("secret")

    def keys(self) -> NoReturn:
        raise OSError("secret")


@pytest.mark.parametrize("select", ["identified", "all"])
def test_a_broken_dict_costs_a_warning(select: str, caplog: pytest.LogCaptureFixture) -> None:
    """
    Nothing is raised, and nothing of what was said is told.
    """
    ear = Ear(select=select)
    broken = Broken(event="A", distinct_id="u-1")

    assert ear.processor(None, "info", broken) is broken
    assert ear.processor(None, "info", broken) is broken

    (line,) = caplog.messages
    assert "OSError" in line
    assert "secret" not in caplog.text


class Hostile:
    """A value that fails whatever is done to it."""

    def __str__(self) -> str:
        raise ValueError("no")

    __repr__ = __str__


def test_hostile_values_do_no_harm(ear: Ear) -> None:
    """
    As message, as field, as name of a field.
    """
    ear.hear(Hostile(), distinct_id="u-1")
    ear.hear("A", distinct_id="u-1", value=Hostile())
    ear.processor(None, "info", {"event": "B", "distinct_id": "u-1", Hostile(): 1})  # type: ignore[dict-item] # no text

    assert ear.names() == ["<Hostile>", "A", "B"]


class Stop(BaseException):
    """What structlog's own DropEvent is: no Exception."""


def test_what_is_no_exception_is_not_swallowed(ear: Ear) -> None:
    """
    Control flow of others passes through, such as an interrupt while values are read.
    """

    class Stopping:
        def __str__(self) -> str:
            raise Stop

    with pytest.raises(Stop):
        ear.hear("A", distinct_id="u-1", value=Stopping())


def test_threads_may_share_one(ear: Ear) -> None:
    """
    Nothing is lost and nothing is mixed up.
    """

    def say(number: int) -> None:
        for each in range(200):
            ear.hear("A", distinct_id=f"u-{number}", each=each)

    threads = [threading.Thread(target=say, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    said = sorted((e["properties"]["distinct_id"], e["properties"]["each"]) for e in ear.events())
    assert said == [(f"u-{number}", each) for number in range(4) for each in range(200)]


# -- opening, copying, closing --------------------------------------------------------------------


def test_doors_of_both_kinds_share_a_pipeline() -> None:
    """
    One queue, one ledger where the delivery settings are equal.
    """
    settings = Settings(token="t", transport=ScriptedTransport())

    assert (
        MixpanelProcessor(settings=settings).pipeline is MixpanelHandler(settings=settings).pipeline
    )


def test_a_wrong_setting_is_an_error() -> None:
    """
    When the processor is made, not when something is said.
    """
    with pytest.raises(SettingsError, match="regoin"):
        MixpanelProcessor(token="t", regoin="eu")


def test_without_credentials_it_is_off(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """
    One warning, and what is said is passed on.
    """
    for name in [name for name in os.environ if name.startswith("MIXPANEL_")]:
        monkeypatch.delenv(name)
    processor = MixpanelProcessor()
    said = {"event": "A", "distinct_id": "u-1"}

    assert processor(None, "info", said) is said

    (line,) = caplog.messages
    assert "MixpanelProcessor is off" in line
    assert processor.pipeline.stats.accepted == 0


def test_a_copy_is_the_same_processor(ear: Ear) -> None:
    """
    Like a function: who copies a configuration does not open doors.
    """
    chain = [ear.processor]

    assert copy.copy(ear.processor) is ear.processor
    assert copy.deepcopy(chain) == chain


def test_pickled_it_is_opened_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    With the same settings; what came from the environment is looked up where it arrives.
    """
    monkeypatch.setenv("MIXPANEL_TOKEN", "here")
    processor = MixpanelProcessor(select="all")
    pickled = pickle.dumps(processor)
    monkeypatch.setenv("MIXPANEL_TOKEN", "there")

    again = pickle.loads(pickled)

    assert b"here" not in pickled
    assert again.pipeline.settings.token == "there"
    assert again._door.settings.select == "all"
    given = pickle.loads(pickle.dumps(MixpanelProcessor(token="given")))
    assert given.pipeline.settings.token == "given"


def test_a_pipeline_cannot_be_pickled(ear: Ear) -> None:
    """
    It has threads and connections, and somebody else's hands on it.
    """
    with pytest.raises(TypeError, match="pipeline of its own"):
        pickle.dumps(ear.processor)


def test_flush_and_close_may_be_called_at_any_time(ear: Ear) -> None:
    """
    Neither is final: what is said afterwards arrives.
    """
    ear.hear("A", distinct_id="u-1")
    ear.processor.flush()
    ear.processor.close()
    ear.hear("B", distinct_id="u-1")
    ear.processor.close()

    assert ear.names() == ["A", "B"]


def test_the_time_is_now() -> None:
    """
    Without a clock of its own, the machine's.
    """
    transport = ScriptedTransport()
    processor = MixpanelProcessor(settings=Settings(token="t", transport=transport))
    before = time.time()

    processor(None, "info", {"event": "A", "distinct_id": "u-1"})
    processor.pipeline.close()

    (line,) = transport.lines
    moment: Mapping[str, Any] = orjson.loads(line)["properties"]
    assert int(before * 1000) <= moment["time"] <= time.time() * 1000


def test_an_identity_of_context_variables_gives_way_to_what_is_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    What structlog has merged from there is known by being the same object, and behind the message.
    """
    merged = {"distinct_id": "from context"}
    module = types.ModuleType("structlog.contextvars")
    module.__dict__["get_contextvars"] = lambda: merged
    monkeypatch.setitem(sys.modules, "structlog.contextvars", module)
    ear = Ear()

    with bound(distinct_id="bound"):
        ear.processor(None, "info", {"mixpanel_event": "A", "event": "a", **merged})
        ear.processor(None, "info", {"event": "B", "distinct_id": "said"})
        ear.processor(
            None, "info", {"mixpanel_event": "C", "$user_id": None, "event": "c", **merged}
        )
        ear.processor(None, "info", {**merged, "event": "D"})
        ear.processor(None, "info", {"event": "E", **merged})

    assert ear.names() == ["A", "B", "C", "D"]
    assert ear.owners() == ["bound", "said", "bound", "from context"]
    ear.pipeline.close()
