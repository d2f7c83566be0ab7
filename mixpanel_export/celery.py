"""
Signals for Celery: what is logged in a task knows who caused it.

::

    from mixpanel_export import celery

    celery.connect()  # where the Celery application is made: it runs in both places

A task that is queued in a web request, or in another task, takes along what is bound there, in the
headers of its message. It sends nothing by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mixpanel_export._context import Holder, current
from mixpanel_export._lifecycle import drain
from mixpanel_export._values import MISSING, clean

try:
    from celery import signals
except ModuleNotFoundError as error:
    if error.name != "celery":
        raise
    raise ModuleNotFoundError(
        "celery is missing; its signals need pip install 'mixpanel-export[celery]'", name="celery"
    ) from None

__all__ = ["connect"]

#: The header of a message that holds what was bound, and the attribute of a task's request that
#: holds what is to be closed after it.
HEADER: Final = "mixpanel_export"
_OPEN: Final = "mixpanel_export_open"


def connect() -> None:
    """
    Carry what is bound from where a task is queued to where it runs; calling it twice is the same.

    In a task what `bind` adds holds until the task has ended, and for the tasks that it queues in
    its turn, retries included. Identity and properties of the request become a part of the message,
    as plain values: an IP address and the like then pass through the broker. Queueing a task counts
    as logging when it comes to finding out who the user is.

    Children of the prefork pool end in a way that skips what Python does at exit, so what they have
    queued is delivered when they shut down, within the setting `shutdown_timeout`.
    """
    for signal, receiver in (
        (signals.before_task_publish, _pack),
        (signals.task_prerun, _begin),
        (signals.task_postrun, _end),
        (signals.worker_process_shutdown, _shut_down),
    ):
        signal.connect(receiver, weak=False, dispatch_uid=f"mixpanel_export.{receiver.__name__}")


def _pack(headers: dict[str, Any] | None = None, **_: object) -> None:
    if headers is None:
        return
    packed = {name: clean(value) for name, value in current().items()}
    carried = {name: value for name, value in packed.items() if value is not MISSING}
    if carried:
        headers[HEADER] = carried


def _begin(task: Any, **_: object) -> None:  # noqa: ANN401 -- Celery has no types
    carried = task.request.get(HEADER)
    found = carried if isinstance(carried, Mapping) else {}
    # A task that runs at once, without a worker, is a part of what runs it.
    opened = Holder(lambda: found, within=current()).open()
    opened.__enter__()
    setattr(task.request, _OPEN, opened)


def _end(task: Any, **_: object) -> None:  # noqa: ANN401 -- a task of Celery, which has no types
    opened = task.request.get(_OPEN)
    if opened is not None:
        opened.__exit__(None, None, None)


def _shut_down(**_: object) -> None:
    drain()
