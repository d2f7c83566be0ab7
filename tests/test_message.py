"""
What was said to a logger, taken apart.
"""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest

from mixpanel_export._message import (
    about,
    arguments,
    headline,
    is_from_here,
    name_of,
    own_names,
    read,
    text_of_record,
)


class Text(str):
    """A text of somebody else's type."""

    __slots__ = ()


@pytest.mark.parametrize(
    ("message", "name"),
    [
        ("Signed Up", "Signed Up"),
        ("", ""),
        (Text("Signed Up"), "Signed Up"),
        (ZeroDivisionError("1/0"), "ZeroDivisionError"),
        (42, "42"),
    ],
)
def test_a_message_names_the_event(message: object, name: str) -> None:
    """
    Its text; an exception's class, since what it says varies.
    """
    found = name_of(message)

    assert found == name
    assert type(found) is str


@pytest.mark.parametrize(
    "below",
    [
        'Traceback (most recent call last):\n  File "shop.py", line 7\nValueError: secret',
        "Stack (most recent call last):\n  File …",
        "  + Exception Group Traceback (most recent call last):\n  | secret",
    ],
)
def test_a_stack_trace_is_no_part_of_the_name(below: str) -> None:
    """
    Where it was put below the message, however that is read.
    """
    message = f"Payment Failed\n{below}"

    assert headline(message) == name_of(message) == "Payment Failed"
    assert read({"event": message}) == ("Payment Failed", {}, "")


@pytest.mark.parametrize("message", ["Two\nlines", "Traceback (most recent call last):", "\n"])
def test_several_lines_are_a_name(message: str) -> None:
    """
    Only what begins like a stack trace is cut off, and only below something.
    """
    assert headline(message) == name_of(message) == message


@pytest.mark.parametrize(("process", "here"), [(os.getpid(), True), (None, True), (-1, False)])
def test_a_record_knows_its_process(process: int | None, here: bool) -> None:
    """
    Unless logging was told not to look; then it is taken for one of ours.
    """
    assert is_from_here(logging.makeLogRecord({"process": process})) is here


@pytest.mark.parametrize(
    ("args", "fields"),
    [
        (("card", 5), {"arg_0": "card", "arg_1": 5}),
        ({"order": "o-1"}, {"order": "o-1"}),
        ("alone", {"arg_0": "alone"}),
    ],
)
def test_arguments_get_names(args: object, fields: Mapping[str, object]) -> None:
    """
    A mapping has them already; others are counted.
    """
    assert arguments(args) == fields


@pytest.mark.parametrize("kind", [dict, OrderedDict, MappingProxyType])
def test_a_mapping_is_taken_apart(kind: type) -> None:
    """
    Message, logger, the application's fields; the mapping itself is left as it is, of any kind.
    """
    items = {"plan": "pro", "event": "Signed Up", "logger": "shop", 1: "one"}
    said = kind(items)

    assert read(said) == ("Signed Up", {"plan": "pro", 1: "one"}, "shop")
    assert dict(said) == items


@pytest.mark.parametrize(
    "added",
    [
        {"level": "info", "level_number": 20, "timestamp": 1_700_000_000.25},
        {"level": "WARNING", "timestamp": "2026-11-21T02:40:00Z"},
        {"exc_info": True, "stack_info": True},
        {"exception": "Traceback …", "stack": "Stack …"},
        {"_record": object(), "_from_structlog": True},
        {"_logger": object(), "_name": "info"},
        {"func_name": "buy", "filename": "shop.py", "module": "shop"},
        {"lineno": 7, "pathname": "/srv/shop.py", "qual_name": "shop.buy", "qual_module": "shop"},
        {"process": 7, "process_name": "MainProcess", "thread": 8, "thread_name": "MainThread"},
    ],
)
def test_what_processors_add_is_no_field(added: Mapping[str, object]) -> None:
    """
    Level, time, exception, stack, place of the call, and what connects with logging.
    """
    _, fields, _ = read({"plan": "pro", "event": "Signed Up", **added})

    assert fields == {"plan": "pro"}


@pytest.mark.parametrize(
    "own",
    [
        {"level": 7},
        {"level": "gold"},
        {"level": ["gold"]},
        {"filename": "report.pdf", "process": "refund", "module": "maths", "thread": "t-1"},
        {"message": "hello", "msg": "hello"},
    ],
)
def test_what_only_looks_like_it_is_kept(own: Mapping[str, object]) -> None:
    """
    Names that an application uses for itself stay, where nothing shows that they are another's.
    """
    assert read({"event": "Level Completed", **own}) == ("Level Completed", own, "")


def test_positional_arguments_are_named() -> None:
    """
    While they wait to be put in, the message is a template; a field of such a name goes before.
    """
    said = {"event": "Paid by %s", "positional_args": ("card", 5), "arg_1": "own"}

    assert read(said) == ("Paid by %s", {"arg_0": "card", "arg_1": "own"}, "")
    assert read({"event": "Paid", "positional_args": ()}) == ("Paid", {}, "")


@pytest.mark.parametrize("name", ["message", "msg"])
def test_a_renamed_message_is_found(name: str) -> None:
    """
    Under the names that it is usually given.
    """
    assert read({name: "Signed Up", "plan": "pro"}) == ("Signed Up", {"plan": "pro"}, "")


@pytest.mark.parametrize("said", [{}, {"event": None}, {"event": ""}])
def test_no_message_is_no_name(said: Mapping[str, object]) -> None:
    """
    Saying nothing is allowed.
    """
    assert read(said) == ("", {}, "")


def test_a_logger_that_is_no_text_is_unknown() -> None:
    """
    Only a name can be compared with names.
    """
    assert read({"event": "A", "logger": object()}) == ("A", {}, "")


def test_arguments_that_do_not_fit_leave_the_template() -> None:
    """
    It is logging that complains about them, where the text is printed.
    """
    fitting = logging.makeLogRecord({"msg": "Paid %s", "args": ("late",)})
    wrong = logging.makeLogRecord({"msg": "Paid %d", "args": ("late",)})

    assert text_of_record(fitting) == "Paid late"
    assert text_of_record(wrong) == "Paid %d"


def test_what_went_wrong_may_be_an_exception_itself() -> None:
    """
    As with ``exc_info=error``; what is no exception says nothing.
    """
    error = ValueError("late")

    assert about(error, ("message",)) == {
        "exception_type": "ValueError",
        "exception_message": "late",
    }
    assert about((None, None, None), ()) == about((), ()) == about(5, ()) == {}


@pytest.mark.parametrize(
    "said",
    [
        {"event": "A"},
        {"total": 5, "event": "A", "level": "info", "timestamp": "2026"},
        {"distinct_id": "u-1", "a": None, "event": "A", "logger": "shop"},
        {"event": "A", "level": None},
    ],
)
def test_names_alone_tell_the_fields_of_most_event_dicts(said: dict[str, Any]) -> None:
    """
    The same that reading it gives, in the same order.
    """
    name, fields, _ = read(said)

    assert name == said["event"]
    assert own_names(tuple(said)) == tuple(fields)


@pytest.mark.parametrize(
    "names",
    [
        ("total",),  # no message
        ("event", "total"),  # merged, or from a processor
        ("event", "_record"),
        ("func_name", "event"),
        ("event", "exc_info"),
        (5, "event"),
    ],
)
def test_other_event_dicts_need_a_closer_look(names: tuple[Any, ...]) -> None:
    """
    What stands behind the message may be from context variables.
    """
    assert own_names(names) is None
