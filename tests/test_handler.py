"""
The door for logging.
"""

from __future__ import annotations

import logging
import logging.config
import logging.handlers
import os
import queue
import threading
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from mixpanel_export import MixpanelHandler, Settings, SettingsError, bound
from mixpanel_export._ids import MEMORY
from mixpanel_export._process import delivering
from mixpanel_export.testing import ScriptedTransport


class Shop:
    """A logger with our handler on it, and what arrived."""

    def __init__(self, **fields: Any) -> None:  # noqa: ANN401 -- any setting
        self.transport = ScriptedTransport()
        settings = Settings(token="t", transport=self.transport, **fields)
        self.handler = MixpanelHandler(settings=settings)
        # Not in the tree of loggers, so that it is gone with the test.
        self.log = logging.Logger("shop")  # noqa: LOG001 -- gone with the test
        self.log.addHandler(self.handler)

    def events(self) -> list[dict[str, Any]]:
        assert self.handler.pipeline.flush(10.0)
        return [orjson.loads(line) for line in self.transport.lines]

    def names(self) -> list[str]:
        return [event["event"] for event in self.events()]

    def close(self) -> None:
        self.handler.pipeline.close()


@pytest.fixture
def shop() -> Iterator[Shop]:
    """
    Open a shop for one test.
    """
    shop = Shop()
    yield shop
    shop.close()


def test_a_record_with_fields_is_an_event(shop: Shop) -> None:
    """
    The message's template names it; the fields are its properties.
    """
    shop.log.info("Signed Up", extra={"distinct_id": "u-1", "plan": "pro"})

    (event,) = shop.events()
    assert event["event"] == "Signed Up"
    assert event["properties"]["distinct_id"] == "u-1"
    assert event["properties"]["plan"] == "pro"
    assert set(event["properties"]) == {
        "time",
        "distinct_id",
        "$insert_id",
        "ip",
        "mp_lib",
        "plan",
    }


def test_a_record_without_fields_is_none(shop: Shop) -> None:
    """
    An ordinary log line, with arguments or an exception, is ignored and counted.
    """
    shop.log.info("listening on %s", "port 80")
    shop.log.error("it broke", exc_info=ValueError("why"), stack_info=True)

    assert shop.names() == []
    assert shop.handler.pipeline.stats.ignored == 2


def test_the_time_is_that_of_the_record(shop: Shop) -> None:
    """
    Milliseconds since the epoch, when the call was made.
    """
    record = shop.log.makeRecord("shop", 20, "f", 1, "A", (), None, extra={"a": 1})
    record.created = 1_700_000_000.25

    shop.log.handle(record)

    assert shop.events()[0]["properties"]["time"] == 1_700_000_000_250


def test_the_template_names_the_event(shop: Shop) -> None:
    """
    Never the interpolated text; arguments become properties.
    """
    shop.log.info("Order %s for %d", "o-1", 30, extra={"distinct_id": "u-1"})
    shop.log.info("Order %(order)s", {"order": "o-2"})

    first, second = shop.events()
    assert first["event"] == "Order %s for %d"
    assert (first["properties"]["arg_0"], first["properties"]["arg_1"]) == ("o-1", 30)
    assert second["event"] == "Order %(order)s"
    assert second["properties"]["order"] == "o-2"


def test_a_single_argument_that_is_no_tuple_is_named_too(shop: Shop) -> None:
    """
    Handlers upstream may replace the arguments by anything.
    """
    record = shop.log.makeRecord("shop", 20, "f", 1, "A", (), None, extra={"a": 1})
    record.args = "alone"  # type: ignore[assignment] # as some handlers do

    shop.log.handle(record)

    assert shop.events()[0]["properties"]["arg_0"] == "alone"


def test_an_exception_as_message_names_the_event(shop: Shop) -> None:
    """
    ``log.error(exc)`` is named by the class, since the text varies.
    """
    shop.log.error(ZeroDivisionError("1/0"), extra={"order": 7})
    shop.log.error(42, extra={"order": 7})

    assert shop.names() == ["ZeroDivisionError", "42"]


def test_what_is_bound_is_added(shop: Shop) -> None:
    """
    Identity and properties of the context are on every event of the block.
    """
    with bound(distinct_id="u-1", plan="pro"):
        shop.log.info("Order Placed", extra={"total": 31.5})

    (event,) = shop.events()
    assert event["properties"]["distinct_id"] == "u-1"
    assert event["properties"]["plan"] == "pro"
    assert event["properties"]["total"] == 31.5


def test_what_formatters_leave_behind_is_not_a_field(shop: Shop) -> None:
    """
    A formatted record is the same event as an unformatted one.
    """
    record = shop.log.makeRecord("shop", 20, "f", 1, "A", (), None, extra={"a": 1})
    plain = shop.log.makeRecord("shop", 20, "f", 1, "plain", (), None)
    formatter = logging.Formatter("%(asctime)s %(message)s")
    formatter.format(record)
    formatter.format(plain)

    shop.log.handle(record)
    shop.log.handle(plain)

    (event,) = shop.events()
    assert "message" not in event["properties"]
    assert "asctime" not in event["properties"]


def test_a_record_of_another_shape_is_read_too(shop: Shop) -> None:
    """
    Where attributes were removed or reordered, names tell the fields from the rest.
    """
    record = shop.log.makeRecord("shop", 20, "f", 1, "A", (), None, extra={"a": 1})
    del record.processName
    record.processName = "late"

    shop.log.handle(record)

    (event,) = shop.events()
    assert event["properties"]["a"] == 1
    assert "processName" not in event["properties"]


def test_a_record_that_passed_a_queue_is_the_same_event(shop: Shop) -> None:
    """
    Behind a QueueHandler the fields are still there.
    """
    waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
    log = logging.Logger("upstream")  # noqa: LOG001 -- gone with the test
    log.addHandler(logging.handlers.QueueHandler(waiting))

    log.info("Signed Up", extra={"distinct_id": "u-1", "plan": "pro"})
    shop.handler.handle(waiting.get())

    (event,) = shop.events()
    assert event["event"] == "Signed Up"
    assert event["properties"]["plan"] == "pro"


def test_integer_keys_are_names_too(shop: Shop) -> None:
    """
    `extra` takes any key that a dict takes.
    """
    shop.log.info("A", extra={1: "one"})  # type: ignore[dict-item] # logging takes it

    assert shop.events()[0]["properties"]["1"] == "one"


def test_levels_and_filters_are_obeyed(shop: Shop) -> None:
    """
    What the handler is told not to look at is not looked at.
    """
    shop.handler.setLevel(logging.WARNING)
    shop.handler.addFilter(lambda record: "secret" not in record.__dict__)

    shop.log.info("too low", extra={"a": 1})
    shop.log.warning("filtered", extra={"secret": 1})
    shop.log.warning("passes", extra={"a": 1})

    assert shop.names() == ["passes"]


def test_a_filter_may_replace_the_record(shop: Shop) -> None:
    """
    Since Python 3.12 a filter may give back another record.
    """
    other = shop.log.makeRecord("shop", 20, "f", 1, "other", (), None, extra={"a": 1})
    shop.handler.addFilter(lambda _record: True)
    shop.handler.filter = lambda _record: other  # type: ignore[method-assign,assignment,return-value] # as 3.12

    shop.handler.handle(shop.log.makeRecord("shop", 20, "f", 1, "one", (), None))

    assert shop.names() == ["other"]


def test_a_record_of_a_delivery_thread_is_left_alone(shop: Shop) -> None:
    """
    What delivery itself logs would feed on itself; also where threads are not recorded.
    """
    record = shop.log.makeRecord("shop", 20, "f", 1, "A", (), None, extra={"a": 1})
    assert record.thread is not None
    delivering[record.thread] = os.getpid()
    try:
        shop.handler.handle(record)
        record.thread = None
        shop.handler.handle(record)
    finally:
        delivering.clear()

    assert shop.names() == []
    assert shop.handler.pipeline.stats.ignored == 2


def test_a_thread_that_delivered_in_the_parent_is_a_thread_like_others(shop: Shop) -> None:
    """
    A child's threads are given the identifiers of its parent's.
    """
    delivering[threading.get_ident()] = -1
    try:
        shop.log.info("A", extra={"a": 1})
    finally:
        delivering.clear()

    assert shop.names() == ["A"]


def test_a_broken_record_is_reported_and_not_raised(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    A handler never raises; what cannot be read goes to logging's own error report.
    """
    record = shop.log.makeRecord("shop", 20, "f", 1, "A", (), None)
    vars(record).clear()
    record.thread = 0

    shop.handler.emit(record)

    assert "Logging error" in capsys.readouterr().err


def test_it_has_no_lock(shop: Shop) -> None:
    """
    A log call from a signal handler or a forked child cannot wait for one.
    """
    assert shop.handler.lock is None
    shop.handler._at_fork_reinit()
    shop.handler.acquire()
    shop.handler.release()


def test_flush_and_close_may_be_called_at_any_time(shop: Shop) -> None:
    """
    Neither is final: records that come afterwards arrive.
    """
    shop.log.info("A", extra={"a": 1})
    shop.handler.flush()
    shop.handler.close()
    shop.log.info("B", extra={"a": 1})
    shop.handler.close()

    assert shop.names() == ["A", "B"]


def test_one_that_was_never_made_is_not_known_to_logging() -> None:
    """
    Whoever keeps the error of a wrong setting keeps the half-made handler, too: `logging` must
    not flush it.
    """
    known: list[Any] = logging._handlerList  # type: ignore[attr-defined] # by no other name
    before = len(known)
    with pytest.raises(SettingsError) as caught:
        MixpanelHandler(token="t", region="europe")

    assert len(known) == before
    del caught


def test_dict_config_makes_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    By its name and with settings as keywords.
    """
    transport = ScriptedTransport()
    monkeypatch.setenv("MIXPANEL_TOKEN", "from-env")
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {
                "mixpanel": {
                    "class": "mixpanel_export.MixpanelHandler",
                    "level": "INFO",
                    "region": "eu",
                    "transport": transport,
                }
            },
            "loggers": {"configured": {"level": "INFO", "handlers": ["mixpanel"]}},
        }
    )
    log = logging.getLogger("configured")
    (handler,) = log.handlers
    try:
        log.info("Signed Up", extra={"distinct_id": "u-1"})

        assert isinstance(handler, MixpanelHandler)
        assert handler.level == logging.INFO
        assert handler.pipeline.settings.region == "eu"
        assert handler.pipeline.flush(10.0)
        assert len(transport.lines) == 1
        handler.pipeline.close()
    finally:
        log.removeHandler(handler)


def test_other_handlers_are_left_as_they_are(shop: Shop) -> None:
    """
    The record that others get is untouched.
    """
    seen: list[dict[str, Any]] = []

    class Witness(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(dict(vars(record)))

    shop.log.addHandler(Witness())
    record = shop.log.makeRecord("shop", 20, "f", 1, "A %s", ("x",), None, extra={"a": [1]})
    before = dict(vars(record))

    shop.log.handle(record)

    assert seen == [before]


def test_a_field_that_changes_later_was_sealed(shop: Shop) -> None:
    """
    What the application does with a logged object afterwards does not reach the event.
    """
    tags = ["a"]
    shop.log.info("A", extra={"tags": tags})
    tags.append("b")

    assert shop.events()[0]["properties"]["tags"] == ["a"]


def test_the_class_of_an_exception_is_sent_with_an_event(shop: Shop) -> None:
    """
    It makes no event of a record, since each error has one.
    """
    try:
        int("x")
    except ValueError:
        shop.log.exception("Failed")
        shop.log.exception("Payment Failed", extra={"total": 5})
    shop.log.error("No Exception", exc_info=(None, None, None), extra={"total": 5})

    failed, other = (event["properties"] for event in shop.events())
    assert failed["exception_type"] == "ValueError"
    assert not {"message", "stack", "exception_message"} & failed.keys()
    assert "exception_type" not in other


def test_text_and_stack_are_sent_if_they_are_asked_for() -> None:
    """
    The text as it would be logged, the exception's own, and the innermost places last.
    """
    shop = Shop(include=("message", "stack"))
    try:
        int("x")
    except ValueError:
        shop.log.exception("Paid by %s", "card", extra={"total": 5})
    shop.log.info("Seen", stack_info=True, extra={"total": 5})
    shop.log.info("Plain", extra={"total": 5})

    failed, seen, plain = (event["properties"] for event in shop.events())
    shop.close()
    assert failed["message"] == "Paid by card"
    assert failed["exception_message"] == "invalid literal for int() with base 10: 'x'"
    assert __file__ in failed["stack"][-1]
    assert any("test_text_and_stack" in place for place in seen["stack"])
    assert plain["message"] == "Plain"
    assert "stack" not in plain


def test_an_exception_may_be_its_own_cause_or_none_at_all() -> None:
    """
    A chain without an end is not followed; ``exc_info=False`` is no exception.
    """
    shop = Shop(include=("message", "stack"))
    error = ValueError("x")
    error.__cause__ = error.__context__ = error

    shop.log.error("Failed", exc_info=error, extra={"total": 5})
    shop.log.error("Seen", exc_info=False, extra={"total": 5})

    failed, seen = (event["properties"] for event in shop.events())
    shop.close()
    assert (failed["exception_type"], failed["exception_message"]) == ("ValueError", "x")
    assert not {"exception_type", "exception_message", "stack"} & seen.keys()


def test_arguments_that_do_not_fit_cost_no_event() -> None:
    """
    The application hears of its mistake from the handlers that print.
    """
    shop = Shop(include=("message",))

    shop.log.info("Paid by %d", "card", extra={"total": 5})
    shop.log.info("Paid by %s %s", "card", extra={"total": 5})
    shop.log.info("Paid by %(card)s", {"cash": 1}, extra={"total": 5})

    assert shop.names() == ["Paid by %d", "Paid by %s %s", "Paid by %(card)s"]
    assert [event["properties"]["message"] for event in shop.events()] == shop.names()
    shop.close()


def test_two_handlers_on_one_logger_are_told_of(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Once: each record would be two events.
    """
    parent = logging.getLogger("doubled")
    child = logging.getLogger("doubled.cards")
    other = MixpanelHandler(pipeline=shop.handler.pipeline, super_properties={"other": True})
    parent.addHandler(shop.handler)
    child.addHandler(other)
    try:
        for _ in range(2):
            child.warning("Paid", extra={"total": 5})
            parent.warning("Paid", extra={"total": 5})
    finally:
        parent.removeHandler(shop.handler)
        child.removeHandler(other)

    told = [message for message in caplog.messages if "MixpanelHandlers" in message]
    assert len(told) == 2  # One for each handler.
    assert all("'doubled.cards'" in message for message in told)


def test_the_first_record_that_is_no_event_is_explained(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """
    As an information, and never again.
    """
    caplog.set_level(logging.INFO, "mixpanel_export")
    shop.log.info("cache is warm")
    shop.log.info("cache is cold")

    told = [each for each in caplog.records if each.name == "mixpanel_export"]
    assert [each.levelname for each in told] == ["INFO"]
    assert "'cache is warm'" in told[0].getMessage()
    assert "fields of its own" in told[0].getMessage()


def test_loggers_without_end_do_not_fill_the_memory(shop: Shop) -> None:
    """
    Only so many are remembered.
    """
    for number in range(2 * MEMORY + 1):
        shop.handler.handle(logging.makeLogRecord({"name": f"made.up.{number}", "msg": "A"}))

    assert len(shop.handler._forms) <= MEMORY


def test_a_record_that_updates_a_profile_is_both(shop: Shop) -> None:
    """
    All of it is accepted and delivered.
    """
    shop.log.info("Signed Up", extra={"distinct_id": "u-1", "$set": {"plan": "pro"}})

    assert shop.handler.pipeline.flush(10)
    stats = shop.handler.pipeline.stats
    assert (stats.accepted, stats.delivered) == (2, 2)


def test_what_cannot_be_updated_is_counted(shop: Shop) -> None:
    """
    The event goes out, the update of nobody does not.
    """
    shop.log.info("Signed Up", extra={"$set": {"plan": "pro"}})
    shop.handler.pipeline.close()
    shop.log.info("Too Late", extra={"distinct_id": "u-1", "$set": {"plan": "pro"}})

    stats = shop.handler.pipeline.stats
    assert stats.delivered == 1
    assert stats.dropped == {"no_identity": 1, "closed": 2}


def test_messages_and_extras_in_one_mapping(shop: Shop) -> None:
    """
    A mapping as message, and loguru's one field that holds all others.
    """
    shop.log.info({"event": "Signed Up", "plan": "pro"}, extra={"distinct_id": "u-1"})
    shop.log.info("Paid", extra={"extra": {"distinct_id": "u-1", "total": 5}})

    signed_up, paid = shop.events()
    assert signed_up["event"] == "Signed Up"
    assert signed_up["properties"]["plan"] == "pro"
    assert paid["properties"]["total"] == 5
    assert "extra" not in paid["properties"]
