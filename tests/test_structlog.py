"""
The door for structlog, in structlog's own chains: what arrives, and that nothing else changes.
"""

from __future__ import annotations

import asyncio
import contextvars
import io
import logging
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

import orjson
import pytest
import structlog
from structlog.contextvars import (
    bind_contextvars,
    bound_contextvars,
    clear_contextvars,
    get_contextvars,
    merge_contextvars,
    reset_contextvars,
    unbind_contextvars,
)
from structlog.processors import (
    CallsiteParameter,
    CallsiteParameterAdder,
    EventRenamer,
    JSONRenderer,
    KeyValueRenderer,
    StackInfoRenderer,
    TimeStamper,
    format_exc_info,
)
from structlog.stdlib import (
    ExtraAdder,
    PositionalArgumentsFormatter,
    ProcessorFormatter,
    add_log_level,
    add_log_level_number,
    add_logger_name,
)
from structlog.typing import EventDict, Processor, WrappedLogger

from mixpanel_export import MixpanelHandler, MixpanelProcessor, bound
from mixpanel_export._clock import Deadline
from mixpanel_export._context import Holder
from mixpanel_export.delivery import Request, Response
from mixpanel_export.testing import ScriptedTransport


class Ear:
    """A processor, and what arrived."""

    def __init__(self, **fields: Any) -> None:  # noqa: ANN401 -- any setting
        self.transport = ScriptedTransport()
        self.processor = MixpanelProcessor(token="t", transport=self.transport, **fields)

    def events(self) -> list[dict[str, Any]]:
        assert self.processor.pipeline.flush(10.0)
        return [orjson.loads(line) for line in self.transport.lines]

    def names(self) -> list[str]:
        return [event["event"] for event in self.events()]

    def properties(self) -> list[dict[str, Any]]:
        """What the application said, without what every event has."""
        every = {"time", "$insert_id", "ip", "mp_lib"}
        return [
            {name: value for name, value in event["properties"].items() if name not in every}
            for event in self.events()
        ]


@pytest.fixture
def ear() -> Iterator[Ear]:
    """
    Listen for one test.
    """
    ear = Ear()
    yield ear
    ear.processor.pipeline.close()


@pytest.fixture(autouse=True)
def _untouched() -> Iterator[None]:
    """
    Leave neither structlog's configuration nor its context variables behind.
    """
    clear_contextvars()
    yield
    clear_contextvars()
    structlog.reset_defaults()


def drop(_logger: WrappedLogger, _name: str, event_dict: EventDict) -> EventDict:
    """
    Drop what asks for it, as structlog lets a processor do.
    """
    if event_dict.pop("drop", False):
        raise structlog.DropEvent
    return event_dict


def fail(_logger: WrappedLogger, _name: str, event_dict: EventDict) -> EventDict:
    """
    Raise what asks for it.
    """
    if error := event_dict.pop("fail", None):
        raise error
    return event_dict


# -- structlog is as it was -----------------------------------------------------------------------


def said_by(log: Any) -> None:  # noqa: ANN401 -- a bound logger of any class
    """
    Say everything that structlog can be told.
    """
    log.info("plain")
    log.info("identified", distinct_id="u-1", plan="pro")
    log.info("marked", mixpanel_event=True)
    log.warning("two", number=2)
    log.info(None)
    log.info(None, distinct_id="u-1")
    log.bind(distinct_id="u-2", tags=["a"]).bind(tags=["b"]).unbind("distinct_id").info("bound")
    log.new(fresh=1).error("new")
    log.debug("low")
    log.info("dropped", drop=True, distinct_id="u-1")
    log.info("stack", distinct_id="u-1", stack_info=False)
    with bound_contextvars(distinct_id="u-3"):
        log.info("in context")
    try:
        _ = 1 / 0
    except ZeroDivisionError as error:
        log.exception("broken", distinct_id="u-1")
        log.critical("given", exc_info=error)
    with pytest.raises(KeyError, match="mine"):
        log.info("failing", fail=KeyError("mine"), distinct_id="u-1")


CHAINS: dict[str, list[Processor]] = {
    "json": [merge_contextvars, add_log_level, drop, fail, format_exc_info, JSONRenderer()],
    "key-value": [merge_contextvars, drop, fail, StackInfoRenderer(), KeyValueRenderer()],
    "place": [
        merge_contextvars,
        drop,
        fail,
        CallsiteParameterAdder([CallsiteParameter.FUNC_NAME, CallsiteParameter.LINENO]),
        format_exc_info,
        JSONRenderer(default=str),
    ],
    "renamed": [
        drop,
        merge_contextvars,
        EventRenamer("message", "detail"),
        JSONRenderer(default=str),
    ],
}

WRAPPERS: dict[str, type] = {
    "filtering": structlog.make_filtering_bound_logger(logging.INFO),
    "unfiltered": structlog.make_filtering_bound_logger(0),
    "generic": structlog.BoundLogger,
}


def printed(chain: list[Processor], wrapper: type, say: Callable[[Any], None] = said_by) -> str:
    """
    Return what a logger with this chain prints, and the error that it ended with.
    """
    file = io.StringIO()
    log = structlog.wrap_logger(
        structlog.PrintLogger(file), processors=chain, wrapper_class=wrapper, context_class=dict
    )
    try:
        say(log)
    except Exception as error:  # noqa: BLE001 -- compared
        file.write(f"{type(error).__name__}: {error}")
    return file.getvalue()


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("chain", CHAINS)
def test_nothing_changes_wherever_it_stands(ear: Ear, chain: str, wrapper: str) -> None:
    """
    First, in the middle, last before the renderer, or everywhere: the same lines, the same errors.
    """
    plain = CHAINS[chain]
    chains: list[list[Processor]] = [
        [*plain[:index], ear.processor, *plain[index:]] for index in range(len(plain))
    ]
    chains.append([each for processor in plain for each in (ear.processor, processor)])

    expected = printed(plain, WRAPPERS[wrapper])

    assert expected.count("\n") > 3
    for processors in chains:
        assert printed(processors, WRAPPERS[wrapper]) == expected
    assert ear.names()


def test_drop_event_of_others_is_obeyed(ear: Ear) -> None:
    """
    What is dropped in front of us is no event; behind us it was one already.
    """
    behind = printed(
        [ear.processor, drop, JSONRenderer()],
        structlog.BoundLogger,
        lambda log: log.info("A", drop=True, distinct_id="u-1"),
    )
    in_front = printed(
        [drop, ear.processor, JSONRenderer()],
        structlog.BoundLogger,
        lambda log: log.info("B", drop=True, distinct_id="u-1"),
    )

    assert (behind, in_front) == ("", "")
    assert ear.names() == ["A"]


def test_the_place_of_the_call_is_the_application_s(ear: Ear) -> None:
    """
    A processor in front of it does not hide who called.
    """
    adder = CallsiteParameterAdder([CallsiteParameter.FUNC_NAME])

    def caller(log: Any) -> None:  # noqa: ANN401 -- a bound logger
        log.info("A", distinct_id="u-1")

    line = printed([ear.processor, adder, JSONRenderer()], structlog.BoundLogger, caller)

    assert orjson.loads(line)["func_name"] == "caller"


def test_import_does_not_need_structlog() -> None:
    """
    Nor does the processor: structlog is looked at only where the application has imported it.
    """
    program = """
import sys
import mixpanel_export
processor = mixpanel_export.MixpanelProcessor(token="t", disabled=True)
with mixpanel_export.bound(distinct_id="u-1"):
    processor(None, "info", {"event": "A", "distinct_id": "u-2"})
sys.exit("structlog" in sys.modules)
"""

    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], timeout=60, check=False, capture_output=True
    )

    assert (ran.returncode, ran.stderr) == (0, b"")


# -- what structlog's processors add --------------------------------------------------------------


def say(processors: list[Processor], event: object, **fields: object) -> None:
    """
    Log once, through this chain.
    """
    log = structlog.wrap_logger(
        structlog.PrintLogger(io.StringIO()), processors=[*processors, JSONRenderer(default=str)]
    )
    log.error(event, **fields)


def test_the_example_of_the_readme(ear: Ear) -> None:
    """
    Level and context are merged in front of it, a renderer stands behind it.
    """
    say([merge_contextvars, add_log_level, ear.processor], "Signed Up", distinct_id="u-1", plan="p")

    assert ear.names() == ["Signed Up"]
    assert ear.properties() == [{"distinct_id": "u-1", "plan": "p"}]


def test_what_all_processors_add_is_left_out(ear: Ear) -> None:
    """
    Each that structlog has, in front of us at once; an exception's text may hold anything.
    """
    chain: list[Processor] = [
        merge_contextvars,
        add_log_level,
        add_log_level_number,
        TimeStamper(fmt="iso", utc=True),
        CallsiteParameterAdder(),
        StackInfoRenderer(),
        format_exc_info,
    ]
    try:
        int("secret")
    except ValueError:
        say(
            [*chain, ear.processor],
            "A",
            distinct_id="u-1",
            plan="p",
            exc_info=True,
            stack_info=True,
        )

    assert ear.properties() == [{"distinct_id": "u-1", "plan": "p"}]


def test_a_number_of_seconds_as_timestamp_is_left_out_too(ear: Ear) -> None:
    """
    `TimeStamper` without a format.
    """
    say([TimeStamper(), ear.processor], "A", distinct_id="u-1")

    assert ear.properties() == [{"distinct_id": "u-1"}]


@pytest.mark.parametrize("name", ["message", "msg"])
def test_behind_a_renamer_the_message_still_names_the_event(ear: Ear, name: str) -> None:
    """
    For the names that are usual.
    """
    say([EventRenamer(name), ear.processor], "Signed Up", distinct_id="u-1")

    assert ear.names() == ["Signed Up"]
    assert ear.properties() == [{"distinct_id": "u-1"}]


def test_positional_arguments_do_not_make_names(ear: Ear) -> None:
    """
    In front of the formatter, the template names the event.
    """
    log = structlog.wrap_logger(
        structlog.PrintLogger(io.StringIO()),
        processors=[ear.processor, PositionalArgumentsFormatter(), JSONRenderer()],
        wrapper_class=structlog.stdlib.BoundLogger,
    )

    log.info("Paid by %s", "card", distinct_id="u-1")

    assert ear.names() == ["Paid by %s"]
    assert ear.properties() == [{"distinct_id": "u-1", "arg_0": "card"}]


# -- context --------------------------------------------------------------------------------------


def test_structlog_s_context_is_seen_where_it_is_merged(ear: Ear) -> None:
    """
    What is bound to a logger or to structlog's context is part of what is said.
    """
    with bound_contextvars(distinct_id="u-1", request="r-1", path="/tea"):
        say([merge_contextvars, ear.processor], "A", plan="p", mixpanel_event=True)
        say([ear.processor, merge_contextvars], "B", plan="p", mixpanel_event=True)

    assert ear.names() == ["A", "B"]
    assert ear.properties() == [
        {"distinct_id": "u-1", "plan": "p", "path": "/tea"},
        {"distinct_id": "", "plan": "p"},
    ]


@pytest.mark.parametrize("select", ["identified", "structured"])
def test_structlog_s_context_makes_no_event(select: str) -> None:
    """
    Bound for a request, it would make one of each line in it; even where a line says the same.
    """
    ear = Ear(select=select)
    user = "u-1"

    with bound_contextvars(distinct_id=user, path="/tea"), bound(plan="p"):
        say([merge_contextvars, ear.processor], "Cache is warm")
        say([merge_contextvars, ear.processor], "Signed Up", distinct_id=user)

    assert ear.names() == ["Signed Up"]
    assert ear.properties() == [{"distinct_id": "u-1", "plan": "p", "path": "/tea"}]
    assert ear.processor.pipeline.stats.ignored == 1
    ear.processor.pipeline.close()


def test_what_is_bound_is_looked_up_for_events_only(ear: Ear) -> None:
    """
    In a web request it may have to ask a database.
    """
    asked: list[str] = []

    def ask() -> dict[str, object]:
        asked.append("who is it?")
        return {"distinct_id": "u-2"}

    holder = Holder(ask)

    with bound_contextvars(distinct_id="u-1"), holder.open():
        say([merge_contextvars, ear.processor], "Cache is warm")
        assert not asked
        say([merge_contextvars, ear.processor], "Signed Up", mixpanel_event=True)

    assert ear.properties() == [{"distinct_id": "u-2"}]


@pytest.mark.parametrize(
    ("fields", "here", "there", "owner"),
    [
        ({"distinct_id": "own"}, {"distinct_id": "here"}, {"distinct_id": "there"}, "own"),
        ({}, {"distinct_id": "here"}, {"distinct_id": "there"}, "here"),
        ({}, {}, {"distinct_id": "there"}, "there"),
        ({}, {"plan": "p"}, {"distinct_id": "there"}, "there"),
        ({}, {"$user_id": "here"}, {"distinct_id": "there"}, "here"),
        ({}, {"distinct_id": ""}, {"distinct_id": "there"}, ""),
        ({}, {"distinct_id": None}, {"distinct_id": "there"}, "there"),
        ({"$device_id": "own"}, {"distinct_id": "here"}, {"plan": "p"}, "$device:own"),
        ({"distinct_id": None}, {"distinct_id": "here"}, {"distinct_id": "there"}, "here"),
        ({"distinct_id": ""}, {"distinct_id": "here"}, {"distinct_id": "there"}, ""),
        ({}, {"distinct_id": "here"}, {}, "here"),
    ],
)
def test_who_it_is(
    ear: Ear,
    fields: dict[str, object],
    here: dict[str, object],
    there: dict[str, object],
    owner: str,
) -> None:
    """
    What is said goes before what is bound with `mixpanel_export.bound`, that before structlog's
    context.
    """
    with bound_contextvars(**there), bound(here):
        say([merge_contextvars, ear.processor], "A", mixpanel_event=True, **fields)

    assert [each["distinct_id"] for each in ear.properties()] == [owner]


def test_what_is_bound_to_the_logger_is_said(ear: Ear) -> None:
    """
    It is nearer than any context.
    """
    log = structlog.wrap_logger(
        structlog.PrintLogger(io.StringIO()),
        processors=[merge_contextvars, ear.processor, JSONRenderer()],
    )

    with bound(distinct_id="here"), bound_contextvars(distinct_id="there"):
        log.bind(distinct_id="logger").info("A")

    assert ear.properties() == [{"distinct_id": "logger"}]


def test_context_variables_work_as_before(ear: Ear) -> None:
    """
    Bound, reset, unbound, in nested blocks and copied contexts: nothing of ours is among them.
    """
    lines: list[EventDict] = []

    def keep(_logger: WrappedLogger, _name: str, event_dict: EventDict) -> EventDict:
        lines.append(dict(event_dict))
        raise structlog.DropEvent

    log = structlog.wrap_logger(
        None, processors=[ear.processor, merge_contextvars, ear.processor, keep]
    )

    tokens = bind_contextvars(a=1, b=2)
    log.info("1", a=3)
    with bound_contextvars(b=4, mixpanel_event=True):
        log.info("2")
        copied = contextvars.copy_context()
    log.info("3")
    copied.run(log.info, "4")
    unbind_contextvars("b")
    log.info("5")
    reset_contextvars(**tokens)
    log.info("6")

    assert lines == [
        {"event": "1", "a": 3, "b": 2},
        {"event": "2", "a": 1, "b": 4, "mixpanel_event": True},
        {"event": "3", "a": 1, "b": 2},
        {"event": "4", "a": 1, "b": 4, "mixpanel_event": True},
        {"event": "5", "a": 1},
        {"event": "6"},
    ]
    assert get_contextvars() == {}
    assert ear.names() == ["2", "4"]


def test_asynchronous_methods_keep_the_context(ear: Ear) -> None:
    """
    They run the chain in another thread; what was bound where they were called is there, too.
    """
    threads: set[int] = set()

    def watch(_logger: WrappedLogger, _name: str, event_dict: EventDict) -> EventDict:
        threads.add(threading.get_ident())
        return event_dict

    log = structlog.wrap_logger(
        structlog.PrintLogger(io.StringIO()),
        processors=[merge_contextvars, watch, ear.processor, JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )

    async def visit(number: int) -> None:
        with bound(distinct_id=f"u-{number}"), bound_contextvars(number=number):
            await asyncio.sleep(0)
            await log.ainfo("Visited", mixpanel_event=True)
            await log.adebug("low", mixpanel_event=True)

    async def main() -> None:
        await asyncio.gather(*(visit(number) for number in range(5)))

    asyncio.run(main())

    assert threading.get_ident() not in threads
    found = sorted((each["distinct_id"], each["number"]) for each in ear.properties())
    assert found == [(f"u-{number}", number) for number in range(5)]


# -- logging --------------------------------------------------------------------------------------


class Till:
    """A logger of logging's that formats with structlog, and what it printed."""

    def __init__(self, formatter: logging.Formatter) -> None:
        self.file = io.StringIO()
        handler = logging.StreamHandler(self.file)
        handler.setFormatter(formatter)
        # Not in the tree of loggers, so that it is gone with the test.
        self.log = logging.Logger("shop.till")  # noqa: LOG001 -- gone with the test
        self.log.addHandler(handler)

    def structlog(self, *processors: Processor) -> Any:  # noqa: ANN401 -- a proxy of any class
        return structlog.wrap_logger(
            self.log, processors=list(processors), wrapper_class=structlog.stdlib.BoundLogger
        )

    def lines(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self.file.getvalue().splitlines()]


def test_a_logger_of_logging_is_known_by_name() -> None:
    """
    With or without `add_logger_name`, in front of us or behind.
    """
    ear = Ear(loggers=("shop",))
    till = Till(logging.Formatter())
    other = structlog.wrap_logger(
        logging.getLogger("other"), processors=[ear.processor, JSONRenderer()]
    )

    till.structlog(add_logger_name, ear.processor, JSONRenderer()).info("A", distinct_id="u-1")
    till.structlog(ear.processor, add_logger_name, JSONRenderer()).info("B", distinct_id="u-1")
    other.info("C", distinct_id="u-1")

    assert ear.names() == ["A", "B"]
    assert ear.properties() == [{"distinct_id": "u-1"}] * 2


def test_in_a_formatter_it_hears_both(ear: Ear) -> None:
    """
    `ProcessorFormatter` shows it what was said to structlog and what was said to logging.
    """
    till = Till(
        ProcessorFormatter(
            foreign_pre_chain=[add_log_level, ExtraAdder()],
            processors=[
                ear.processor,
                ProcessorFormatter.remove_processors_meta,
                JSONRenderer(default=str),
            ],
        )
    )

    till.structlog(merge_contextvars, add_log_level, ProcessorFormatter.wrap_for_formatter).info(
        "Signed Up", distinct_id="u-1", plan="p"
    )
    till.log.info("Paid by %s", "card", extra={"distinct_id": "u-2", "total": 5})
    till.log.info("cache is warm")

    assert ear.names() == ["Signed Up", "Paid by %s"]
    assert ear.properties() == [
        {"distinct_id": "u-1", "plan": "p"},
        {"distinct_id": "u-2", "total": 5},
    ]
    assert [line["event"] for line in till.lines()] == [
        "Signed Up",
        "Paid by card",
        "cache is warm",
    ]


def test_a_formatter_that_passes_arguments_names_them(ear: Ear) -> None:
    """
    With `pass_foreign_args` they are there to be told.
    """
    till = Till(
        ProcessorFormatter(
            foreign_pre_chain=[ExtraAdder(), ear.processor],
            processors=[ProcessorFormatter.remove_processors_meta, JSONRenderer(default=str)],
            pass_foreign_args=True,
        )
    )

    till.log.info("Paid by %s", "card", extra={"distinct_id": "u-2"})

    assert ear.names() == ["Paid by %s"]
    assert ear.properties() == [{"distinct_id": "u-2", "arg_0": "card"}]


# -- structlog's other habits ---------------------------------------------------------------------


def test_capture_logs_works_as_before(ear: Ear) -> None:
    """
    It replaces the chain: what is captured is no event.
    """
    structlog.configure(processors=[ear.processor, JSONRenderer()])
    log = structlog.get_logger()

    with structlog.testing.capture_logs() as captured:
        log.info("A", distinct_id="u-1")

    assert captured == [{"event": "A", "distinct_id": "u-1", "log_level": "info"}]
    assert ear.names() == []


def test_it_can_be_captured_behind(ear: Ear) -> None:
    """
    In a chain of a test's own, events and captured lines are both there.
    """
    capture = structlog.testing.LogCapture()
    structlog.configure(processors=[ear.processor, capture])

    structlog.get_logger().info("A", distinct_id="u-1")

    assert capture.entries == [{"event": "A", "distinct_id": "u-1", "log_level": "info"}]
    assert ear.names() == ["A"]


def test_what_delivery_says_to_structlog_is_no_event() -> None:
    """
    It would make an event of each delivery, and of the delivery of that.
    """

    class Talking(ScriptedTransport):
        """Says to structlog what it sends."""

        def send(self, request: Request, deadline: Deadline) -> Response:
            log.info("Sent", distinct_id="u-1")
            return super().send(request, deadline)

    transport = Talking()
    processor = MixpanelProcessor(token="t", transport=transport)
    log = structlog.wrap_logger(
        structlog.PrintLogger(io.StringIO()), processors=[processor, JSONRenderer()]
    )

    log.info("A", distinct_id="u-1")
    processor.pipeline.close()

    assert [orjson.loads(line)["event"] for line in transport.lines] == ["A"]
    assert processor.pipeline.stats.ignored == 1


def test_a_cached_logger_has_it(ear: Ear) -> None:
    """
    The first use puts the chain together for ever.
    """
    structlog.configure(
        processors=[ear.processor, JSONRenderer()],
        logger_factory=lambda *_: structlog.PrintLogger(io.StringIO()),
        cache_logger_on_first_use=True,
    )
    log = structlog.get_logger()
    log.info("A", distinct_id="u-1")
    structlog.configure(processors=[JSONRenderer()])

    log.info("B", distinct_id="u-1")

    assert ear.names() == ["A", "B"]


def test_a_logger_with_it_can_be_pickled() -> None:
    """
    As structlog's own loggers and processors can.
    """
    transport_less = MixpanelProcessor(token="t", disabled=True)
    log = structlog.wrap_logger(
        structlog.PrintLogger(),
        processors=[transport_less, JSONRenderer()],
        wrapper_class=structlog.BoundLogger,
    ).bind(plan="p")

    again = pickle.loads(pickle.dumps(log))

    assert again.bind()._context == {"plan": "p"}
    assert again._processors[0].pipeline.settings.token == "t"


def test_it_is_typed_as_a_processor(ear: Ear) -> None:
    """
    A type checker takes it where structlog wants one.
    """
    processor: Processor = ear.processor
    said: MutableMapping[str, Any] = {"event": "A"}

    assert processor(None, "info", said) is said


# -- the other door -------------------------------------------------------------------------------


@pytest.fixture
def shop(ear: Ear) -> logging.Logger:
    """
    A logger of logging's with our handler on it.
    """
    log = logging.Logger("shop")  # noqa: LOG001 -- gone with the test
    log.addHandler(MixpanelHandler(pipeline=ear.processor.pipeline))
    return log


def test_the_handler_understands_what_is_wrapped_for_a_formatter(
    ear: Ear, shop: logging.Logger
) -> None:
    """
    The message is the whole dict then.
    """
    log = structlog.wrap_logger(
        shop, processors=[add_log_level, TimeStamper(), ProcessorFormatter.wrap_for_formatter]
    )

    log.info("Signed Up", distinct_id="u-1", plan="p")
    log.info("cache is warm")

    assert ear.names() == ["Signed Up"]
    assert ear.properties() == [{"distinct_id": "u-1", "plan": "p"}]


def test_the_handler_understands_what_is_rendered_for_logging(
    ear: Ear, shop: logging.Logger
) -> None:
    """
    Each field is one of the record's then; level and timestamp make no event.
    """
    log = structlog.wrap_logger(
        shop,
        processors=[
            add_log_level,
            TimeStamper(),
            add_logger_name,
            structlog.stdlib.render_to_log_kwargs,
        ],
    )

    log.info("Signed Up", distinct_id="u-1", plan="p")
    log.info("cache is warm")

    assert ear.names() == ["Signed Up"]
    (properties,) = ear.properties()
    assert (properties["distinct_id"], properties["plan"]) == ("u-1", "p")
