"""What was said to a logger: a message, its arguments, or one mapping that holds all of it."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Iterable, Mapping
from logging import LogRecord
from typing import Any, Final, cast

from mixpanel_export._values import text_of

#: So many places of a stack are sent, the innermost ones. A list has room for 8 KB.
MOST_PLACES: Final = 30

# What structlog and its processors put beside the application's own fields, apart from those that
# `read` looks for by name. -- structlog.processors and structlog.stdlib (26.1, read 2026-11-21).
_ADDED: Final = frozenset(
    {
        "_from_structlog",
        "_logger",
        "_name",
        "_record",
        "exception",
        "level_number",
        "positional_args",
        "stack",
        "stack_info",
    }
)

# The place of the call, as `CallsiteParameterAdder` names it. Some of these are names that an
# application may well use itself: they go only where one of the others shows whose they are.
_PLACE: Final = frozenset(
    {
        "func_name",
        "lineno",
        "pathname",
        "process_name",
        "qual_module",
        "qual_name",
        "thread_name",
    }
)
_MAYBE_PLACE: Final = ("filename", "module", "process", "thread")

# Where the message is if it was renamed.
_RENAMED: Final = ("message", "msg")

# The first line of a stack trace, that of a group of exceptions too.
_TRACE: Final = re.compile(r"\n[^\n]*(Traceback|Stack) \(most recent call last\):")

_UNUSUAL: Final = _ADDED | _PLACE

# What `own_names` leaves to `read`: an exception has much to say.
_SPECIAL: Final = _UNUSUAL | {"exc_info"}

# What `read` looks for by name.
_USUAL: Final = frozenset({"event", "exc_info", "level", "logger", "timestamp"})

# In both spellings, since a set is asked faster than a text is turned to small letters.
_LEVEL_NAMES: Final = frozenset(
    {"critical", "debug", "error", "exception", "fatal", "info", "notset", "warn", "warning"}
)
#: What a level may be called.
LEVELS: Final = _LEVEL_NAMES | {name.upper() for name in _LEVEL_NAMES}


def name_of(message: object) -> str:
    """Name the event that a message describes: its text, or the class of an exception."""
    if type(message) is str:
        return headline(message) if "\n" in message else message
    return type(message).__name__ if issubclass(type(message), BaseException) else text_of(message)


def headline(text: str) -> str:
    """Cut off the stack traces that `QueueHandler` and loguru put below a message."""
    found = _TRACE.search(text)
    return text[: found.start()] if found else text


def arguments(args: object) -> dict[Any, Any]:
    """Name the arguments of a message: a mapping's own names, or ``arg_0``, ``arg_1`` and so on."""
    if issubclass(type(args), Mapping):
        return dict(cast("Mapping[Any, Any]", args))
    values = cast("tuple[Any, ...]", args) if issubclass(type(args), tuple) else (args,)
    return {f"arg_{index}": value for index, value in enumerate(values)}


def is_from_here(record: LogRecord) -> bool:
    """Say whether *record* is of this process: another's threads may have the same identifiers."""
    return record.process is None or record.process == os.getpid()


def read(said: Mapping[Any, Any]) -> tuple[str, dict[Any, Any], str]:
    """
    Take a mapping apart that holds a message among its fields, as structlog's event dict does.

    Args:
        said: The mapping; it is left as it is.

    Returns:
        The event's name, ``""`` if there is no message; the application's own fields, without what
        structlog's processors have added; the logger's name, ``""`` if it is not there.
    """
    fields = dict(said)
    # Looked for one by one, since nearly every event dict has these; that is cheaper than a set.
    message = fields.pop("event", None)
    level = fields.pop("level", None)
    fields.pop("timestamp", None)
    fields.pop("exc_info", None)
    logger = fields.pop("logger", None)
    if level is not None and not (type(level) is str and level in LEVELS):
        fields["level"] = level  # Of a game, say.
    if message is None:
        found = [name for name in _RENAMED if name in fields]
        message = fields.pop(found[0]) if found else None
    if not _UNUSUAL.isdisjoint(fields):
        args = fields.get("positional_args")
        if not _PLACE.isdisjoint(fields):
            for name in _MAYBE_PLACE:
                fields.pop(name, None)
        for name in _UNUSUAL.intersection(fields):
            del fields[name]
        if args:
            fields = {**arguments(args), **fields}
    if type(message) is not str or "\n" in message:
        message = "" if message is None else name_of(message)
    return message, fields, logger if type(logger) is str else ""


def own_names(names: tuple[Any, ...]) -> tuple[str, ...] | None:
    """
    Say which names of an event dict `read` would give for fields.

    Returns:
        Those names, where the message is a text of one line and the level, if there is one, one of
        `LEVELS`; None if it depends on other values, or if there is something else about it.
    """
    # By their types: another key may raise when it is compared.
    if not all(type(name) is str for name in names) or "event" not in names:
        return None
    message = names.index("event")
    # Behind the message stands what processors add, and maybe `merge_contextvars` among them.
    if not (_USUAL.issuperset(names[message:]) and _SPECIAL.isdisjoint(names)):
        return None
    return tuple(name for name in names if name not in _USUAL)


def text_of_record(record: LogRecord) -> str:
    """Give a record's text: the template as it is if the arguments do not go into it."""
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 -- logging reports it where the text is printed
        return text_of(record.msg)


def about(failure: object, include: tuple[str, ...]) -> dict[str, object]:
    """
    Say what went wrong, as properties.

    Args:
        failure: What is given as ``exc_info``: an exception, the three of `sys.exc_info`, or True.

        include: What else is wanted; ``stack`` is where it went wrong, the innermost place last.
    """
    # By its type: an object may even raise when it is asked for its class.
    if issubclass(type(failure), tuple):
        given = cast("tuple[Any, ...]", failure)
        failure = given[1] if len(given) > 1 else None
    elif not issubclass(type(failure), BaseException):
        failure = sys.exc_info()[1]
    if not issubclass(type(failure), BaseException):
        return {}
    error = cast("BaseException", failure)
    found: dict[str, object] = {"exception_type": type(error).__name__}
    if "message" in include:
        found["exception_message"] = text_of(error)
    if "stack" in include:
        found["stack"] = places(traceback.extract_tb(error.__traceback__))
    return found


def places(frames: Iterable[traceback.FrameSummary]) -> list[str]:
    """Write out the last of the places that a stack consists of."""
    return [f"{each.filename}:{each.lineno} {each.name}" for each in frames][-MOST_PLACES:]
