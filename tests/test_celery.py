"""
What is bound where a task is queued is bound where it runs, and nowhere else.

Here with messages that stay in memory; tests/test_examples_web.py has a broker and a pool.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery, signals
from celery.contrib.testing.worker import start_worker

import mixpanel_export.celery
from mixpanel_export import bind, bound
from mixpanel_export._context import Holder, current
from mixpanel_export.celery import HEADER, connect
from tests.web import Shop

SIGNALS = (
    signals.before_task_publish,
    signals.task_prerun,
    signals.task_postrun,
    signals.worker_process_shutdown,
)


class Jobs:
    """A Celery application of which each test makes its tasks, and what was sent."""

    def __init__(self) -> None:
        self.shop = Shop()
        self.celery = Celery(
            "jobs",
            broker="memory://",
            backend="cache+memory://",
            set_as_current=False,
            broker_connection_retry_on_startup=True,
        )
        self.headers: list[dict[str, Any]] = []

    def task(self, **options: object) -> Callable[[Callable[..., object]], Any]:
        """
        Make a task of a function, in this application only.
        """
        made: Callable[[Callable[..., object]], Any] = self.celery.task(shared=False, **options)
        return made

    def seen(self) -> dict[str, dict[str, Any]]:
        """
        Return whose each event was, and what else was bound.
        """
        facts = self.shop.facts()
        return {
            name: {key: value for key, value in found.items() if key != "ip"}
            for name, found in facts.items()
        }

    def leave_logging(self, **_: object) -> None:
        """
        Keep a worker from changing the loggers of this process: it asks whether somebody else does.
        """

    def listen(self, headers: dict[str, Any], **_: object) -> None:
        """
        Keep the headers of a message.
        """
        self.headers.append(headers)


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    """
    Open an application for one test, with the signals connected, twice: that is once.
    """
    before = [list(signal.receivers) for signal in SIGNALS]
    jobs = Jobs()
    connect()
    connect()
    signals.after_task_publish.connect(jobs.listen)
    signals.setup_logging.connect(jobs.leave_logging)
    yield jobs
    signals.setup_logging.disconnect(jobs.leave_logging)
    signals.after_task_publish.disconnect(jobs.listen)
    for signal, receivers in zip(SIGNALS, before, strict=True):
        signal.receivers[:] = receivers
    jobs.celery.close()
    jobs.shop.close()


def work(jobs: Jobs, result: Any) -> Any:  # noqa: ANN401 -- whatever the task returns
    """
    Let a worker come, and wait for a result.
    """
    with start_worker(jobs.celery, pool="solo", perform_ping_check=False, loglevel="ERROR"):
        return result.get(timeout=30)


def test_connecting_twice_is_connecting_once() -> None:
    """
    Two parts of an application may both see to it.
    """
    before = [list(signal.receivers) for signal in SIGNALS]
    try:
        connect()
        once = [len(signal.receivers) for signal in SIGNALS]
        connect()
        twice = [len(signal.receivers) for signal in SIGNALS]
    finally:
        for signal, receivers in zip(SIGNALS, before, strict=True):
            signal.receivers[:] = receivers

    assert once == twice == [len(receivers) + 1 for receivers in before]


def test_a_task_knows_the_request_that_queued_it(jobs: Jobs) -> None:
    """
    Identity, facts, and what was bound; what the task binds holds to its end.
    """

    @jobs.task()
    def brew(tea: str) -> str:
        jobs.shop.log_event("Begun")
        bind(tea=tea)
        jobs.shop.log_event("Brewed")
        return "done"

    with Holder(lambda: {"$user_id": "u-1", "utm_source": "mail"}).open():
        bind(plan="pro")
        result = brew.delay("oolong")

    assert work(jobs, result) == "done"

    common = {"distinct_id": "u-1", "$user_id": "u-1", "utm_source": "mail", "plan": "pro"}
    assert jobs.seen() == {"Begun": common, "Brewed": {**common, "tea": "oolong"}}


def test_tasks_do_not_mix(jobs: Jobs) -> None:
    """
    A worker runs one task after another, also after one that failed.
    """

    @jobs.task()
    def fail() -> None:
        bind(distinct_id="u-1", plan="pro")
        raise LookupError("no tea")

    @jobs.task()
    def brew() -> dict[str, object]:
        jobs.shop.log_event("Brewed")
        return dict(current().items())

    fail.delay()

    assert work(jobs, brew.delay()) == {}

    assert jobs.seen() == {"Brewed": {"distinct_id": ""}}
    assert current() == {}


def test_a_task_of_a_task_and_a_retry_know_it_too(jobs: Jobs) -> None:
    """
    However often a message is written anew.
    """

    @jobs.task(bind=True, max_retries=1)
    def brew(self: Any, tea: str) -> str:  # noqa: ANN401 -- no types
        if not self.request.retries:
            bind(tries=1)
            raise self.retry(countdown=0)
        jobs.shop.log_event("Brewed", tea=tea)
        return tea

    @jobs.task()
    def serve(tea: str) -> str:
        jobs.shop.log_event("Served", tea=tea)
        return tea

    with bound(distinct_id="u-1"):
        result = (brew.s("oolong") | serve.s()).apply_async()

    assert work(jobs, result) == "oolong"

    common = {"distinct_id": "u-1", "tea": "oolong", "tries": 1}
    assert jobs.seen() == {"Brewed": common, "Served": common}


def test_a_message_holds_plain_values(jobs: Jobs) -> None:
    """
    Whatever was bound: brokers take numbers, text, lists and mappings, and nothing too large.
    """
    with bound({"$user_id": "u-1"}, big=2**70, user=ValueError, long="x" * 999, none=None):
        jobs.celery.send_task("brew")

    [headers] = jobs.headers
    assert headers[HEADER] == {
        "$user_id": "u-1",
        "big": str(2**70),
        "user": "<class 'ValueError'>",
        "long": "x" * 255,
    }


def test_a_message_holds_nothing_if_nothing_is_bound(jobs: Jobs) -> None:
    """
    What Celery's own clock queues is nobody's, and its messages are as they were.
    """
    jobs.celery.send_task("brew")

    [headers] = jobs.headers
    assert HEADER not in headers


def test_a_header_that_is_none_of_ours_is_ignored(jobs: Jobs) -> None:
    """
    Somebody else may have written the message.
    """

    @jobs.task()
    def brew() -> dict[str, object]:
        return dict(current().items())

    assert work(jobs, brew.apply_async(headers={HEADER: "u-1"})) == {}


def test_a_task_that_runs_at_once_is_a_task_all_the_same(jobs: Jobs) -> None:
    """
    Without a worker, as in tests of applications: it sees what is bound and keeps its own.
    """

    @jobs.task()
    def brew(cups: int) -> dict[str, object]:
        bind(cups=cups)
        if cups:
            brew.apply(args=(cups - 1,))
        return dict(current().items())

    with Holder(lambda: {"distinct_id": "u-1"}).open():
        inside = brew.apply(args=(2,)).get()
        after = dict(current().items())

    assert inside == {"distinct_id": "u-1", "cups": 2}
    assert after == {"distinct_id": "u-1"}


def test_a_task_that_was_begun_before_connecting_may_end_after(jobs: Jobs) -> None:
    """
    The end of a task that has no holder closes none.
    """

    @jobs.task()
    def brew() -> None:
        raise AssertionError("it is not run")

    signals.task_postrun.send(sender=brew, task_id="1", task=brew)
    signals.before_task_publish.send(sender="brew", headers=None)

    assert current() == {}


def test_a_child_that_shuts_down_delivers_what_it_has() -> None:
    """
    It ends with os._exit, which skips what Python does at exit.
    """
    script = """
import logging, os
import mixpanel_export.celery
from celery import signals
from mixpanel_export import MixpanelHandler, Settings
from mixpanel_export.testing import ScriptedTransport

mixpanel_export.celery.connect()
transport = ScriptedTransport()
log = logging.getLogger("shop")
log.setLevel(logging.INFO)
log.addHandler(MixpanelHandler(settings=Settings(token="t", transport=transport)))
log.info("Tea Brewed", extra={"cups": 2})
signals.worker_process_shutdown.send(sender=None, pid=os.getpid(), exitcode=0)
os._exit(len(transport.lines))
"""

    ran = subprocess.run([sys.executable, "-c", script], timeout=60, check=False)

    assert ran.returncode == 1


def test_it_is_a_module_of_its_own() -> None:
    """
    Nothing of Celery is loaded for those who do not use it.
    """
    script = "import sys, mixpanel_export; sys.exit('celery' in sys.modules)"

    ran = subprocess.run([sys.executable, "-c", script], env=dict(os.environ), check=False)

    assert ran.returncode == 0
    assert mixpanel_export.celery.__all__ == ["connect"]
