"""The application, imported: its doors, and whether what is said reaches them."""

from __future__ import annotations

import gc
import importlib
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from logging.handlers import MemoryHandler, QueueListener
from pathlib import PurePath
from typing import Any, Final

from mixpanel_export import MixpanelHandler, MixpanelProcessor, Settings
from mixpanel_export._door import Door
from mixpanel_export._plan import FRAMEWORKS, OURS
from mixpanel_export.cli._plainly import origin
from mixpanel_export.cli.check._finding import Finding
from mixpanel_export.testing import capture_events

# So many names are written out.
_SOME: Final = 5


def load(target: str, stack: ExitStack) -> Iterator[Finding]:
    """
    Import the application, and say what that did.

    Args:
        target: ``module``, ``module:attribute``, or ``module:function()`` to call what makes it.

        stack: As long as it is open, nothing that the application says is sent.
    """
    before = set(threading.enumerate())
    events = stack.enter_context(capture_events())
    try:
        _import(target)
    except (Exception, SystemExit) as error:  # noqa: BLE001 -- somebody else's code
        text = " ".join(f"{type(error).__name__}: {error}{origin(error)}".split())
        module = target.partition(":")[0]
        fix = f"run check where the application runs; python -c 'import {module}' shows more"
        if module.endswith(".py") or "/" in module:
            named = ".".join(PurePath(module).with_suffix("").parts)
            fix = f"name it as a module, from the folder that it is imported from: --app {named}"
        yield Finding("app", "problem", f"{target} cannot be imported: {text}", fix)
        return
    yield Finding("app", "ok", f"{target} is imported")
    if not hasattr(os, "fork"):
        return
    if count := len(events) + len(events.updates):
        text = f"{count} events are said while it is imported: again by each process that does so,"
        fix = "say them where work begins, and not at the top of a module"
        yield Finding("fork", "warning", f"{text} and by a server that forks in its master", fix)
    started = [each.name for each in threading.enumerate() if each not in before]
    if started:
        text = f"threads run since it was imported: {_some(started)}; a server that forks after"
        fix = "start them in each worker, or import the application there: no preload, lazy-apps"
        yield Finding("fork", "warning", f"{text} that (gunicorn --preload) loses them", fix)


def _import(target: str) -> None:
    module, _, path = target.partition(":")
    found: Any = importlib.import_module(module)
    for part in filter(None, path.removesuffix("()").split(".")):
        found = getattr(found, part)
    if path.endswith("()"):
        found()


def doors() -> list[Door]:
    """Give the doors that the application has opened, however it keeps them."""
    # By its type: an object may do anything when it is asked for its class.
    return [each for each in gc.get_objects() if type(each) is Door]


def settings_of_doors() -> dict[str, Settings]:
    """Give the settings by which events are delivered, each once, by the door's name."""
    found: dict[tuple[object, ...], tuple[str, Settings]] = {}
    for door in doors():
        found.setdefault(tuple(map(repr, door.settings.delivery())), (door._name, door.settings))
    return {f"{name} {number}": each for number, (name, each) in enumerate(found.values(), 1)}


def look_at_doors() -> Iterator[Finding]:
    """Say which doors there are, and what does not reach them."""
    opened = doors()
    if not opened:
        yield Finding(
            "doors",
            "problem",
            "there is no MixpanelHandler, MixpanelProcessor or exporter",
            "add one where the application configures its logging; or --app names another module",
        )
    for door in opened:
        if door.settings.disabled:
            text = f"{door._name} is off: disabled, or without credentials"
            fix = "set MIXPANEL_TOKEN before the application configures its logging"
            yield Finding("doors", "problem", text, fix)
        elif door._name not in {"MixpanelHandler", "MixpanelProcessor"}:
            yield Finding("doors", "ok", f"there is a {door._name}")
    yield from _look_at_logging(opened)
    yield from _look_at_structlog(opened)


# -- logging --------------------------------------------------------------------------------------


def _look_at_logging(opened: list[Door]) -> Iterator[Finding]:
    loggers = [
        logging.root,
        *(
            each
            for each in logging.Logger.manager.loggerDict.values()
            if isinstance(each, logging.Logger)
        ),
    ]
    placed: list[tuple[logging.Logger, MixpanelHandler]] = [
        (logger, handler)
        for logger in loggers
        for each in logger.handlers
        for handler in _behind(each)
    ]
    queued = [
        handler
        for each in gc.get_objects()
        if issubclass(type(each), QueueListener)
        for own in each.handlers
        for handler in _behind(own)
    ]
    for _ in queued:
        text = "a MixpanelHandler is behind a QueueListener: arguments are put into messages before"
        fix = "attach it in front of the queue, or name events by the field mixpanel_event"
        yield Finding("logging", "warning", text, fix)
    there = {id(handler._door) for _, handler in placed} | {id(each._door) for each in queued}
    for door in opened:
        if door._name == "MixpanelHandler" and id(door) not in there:
            text = "a MixpanelHandler was made, but is attached to no logger"
            yield Finding("logging", "problem", text, "logging.getLogger(…).addHandler(…)")
    for logger, handler in placed:
        yield from _look_at_handler(logger, handler)
    yield from _look_at_paths(loggers, [logger for logger, _ in placed])
    ours = logging.getLogger("mixpanel_export")
    if ours.disabled or not ours.isEnabledFor(logging.WARNING):
        text = "the logger mixpanel_export is silent: nobody would read its warnings"
        fix = "disable_existing_loggers: False in dictConfig; level WARNING for mixpanel_export"
        yield Finding("logging", "warning", text, fix)


def _behind(handler: logging.Handler | None) -> Iterator[MixpanelHandler]:
    if isinstance(handler, MixpanelHandler):
        yield handler
    elif isinstance(handler, MemoryHandler):
        yield from _behind(handler.target)


def _look_at_handler(logger: logging.Logger, handler: MixpanelHandler) -> Iterator[Finding]:
    level = max(logger.getEffectiveLevel(), handler.level)
    name = logging.getLevelName(level)
    if logger.disabled:
        text = f"logger {logger.name} is disabled"
        fix = "disable_existing_loggers: False in dictConfig"
        yield Finding("logging", "problem", text, fix)
    elif level > logging.INFO:
        whose = "its MixpanelHandler" if handler.level >= level else f"logger {logger.name}"
        text = f"{whose} has the level {name}: what is said by info() is no event"
        fix = f"logging.getLogger({_spelled(logger)}).setLevel(logging.INFO)"
        if handler.level >= level:
            fix = "MixpanelHandler(level=logging.INFO)"
        yield Finding("logging", "warning", text, fix)
    else:
        text = f"a MixpanelHandler hears logger {logger.name} and those below, from {name}"
        yield Finding("logging", "ok", text)


def _look_at_paths(
    loggers: list[logging.Logger], placed: list[logging.Logger]
) -> Iterator[Finding]:
    """Say what never arrives on its way up, and what arrives twice."""
    deaf, twice = [], []
    for logger in loggers:
        above, ends = _path(logger)
        heard = sum(placed.count(each) for each in above)
        if heard > 1:
            twice.append(logger.name)
        elif not heard and placed and not ends and _is_the_applications(logger):
            deaf.append(logger.name)
    if twice:
        text = f"{_some(twice)}: two MixpanelHandlers hear it, and each sends an event"
        yield Finding("logging", "warning", text, "take one of them away")
    if deaf:
        text = f"no MixpanelHandler hears {_some(deaf)}: propagate is off there or above"
        yield Finding("logging", "note", text, "propagate = True, if they say what matters")


def _path(logger: logging.Logger) -> tuple[list[logging.Logger], bool]:
    """Give the loggers whose handlers hear *logger*, and whether the last of them is the root."""
    found = [logger]
    while found[-1].propagate and found[-1].parent is not None:
        found.append(found[-1].parent)
    return found, found[-1] is logging.root


def _is_the_applications(logger: logging.Logger) -> bool:
    top = logger.name.partition(".")[0]
    return top not in FRAMEWORKS and top not in OURS


def _spelled(logger: logging.Logger) -> str:
    return "" if logger is logging.root else repr(logger.name)


# -- structlog ------------------------------------------------------------------------------------


def _look_at_structlog(opened: list[Door]) -> Iterator[Finding]:
    structlog = sys.modules.get("structlog")
    if structlog is None or not structlog.is_configured():
        return
    processors = list(structlog.get_config()["processors"])
    ours = [index for index, each in enumerate(processors) if isinstance(each, MixpanelProcessor)]
    names = [getattr(each, "__name__", type(each).__name__) for each in processors]
    if not ours:
        if any(door._name == "MixpanelProcessor" for door in opened):
            text = "the MixpanelProcessor is not among structlog's processors, but maybe elsewhere"
            yield Finding("structlog", "note", text, "structlog.configure(processors=[…])")
        return
    renderers = [name for name in names[: ours[0]] if name.endswith("Renderer")]
    handed_on = {"wrap_for_formatter", "render_to_log_kwargs"} & set(names)
    if renderers:
        text = f"MixpanelProcessor stands behind {renderers[0]}, and sees only what that made"
        yield Finding("structlog", "problem", text, "move it in front")
    elif handed_on and any(door._name == "MixpanelHandler" for door in opened):
        text = "structlog hands over to logging, where a MixpanelHandler sends the same once more"
        yield Finding("structlog", "warning", text, "keep one of them")
    else:
        yield Finding("structlog", "ok", "MixpanelProcessor is among the processors")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SOME} more" if len(names) > _SOME else ""
    return f"{', '.join(names[:_SOME])}{more}"
