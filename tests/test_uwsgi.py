"""
What is different under uWSGI. The server itself is not needed: its module is made up.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType

import pytest

from mixpanel_export import _uwsgi


@pytest.fixture
def uwsgi(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """
    Be uWSGI's master that loads the application for two workers.
    """
    uwsgi = ModuleType("uwsgi")
    says = {
        "worker_id": lambda: 0,
        "masterpid": os.getpid,
        "numproc": 2,
        "has_threads": 1,
        "opt": {"master": True},
    }
    for name, value in says.items():
        setattr(uwsgi, name, value)
    monkeypatch.setitem(sys.modules, "uwsgi", uwsgi)
    return uwsgi


def test_elsewhere_nothing_is_different() -> None:
    """
    Without uWSGI there is nothing to ask.
    """
    assert not _uwsgi.forks_later()
    assert not _uwsgi.lacks_threads()


@pytest.mark.parametrize(
    ("numbers", "options", "verdict"),
    [
        ((0, os.getpid(), 2), {}, True),
        ((0, os.getpid(), 1), {}, True),
        ((0, os.getpid(), 2), {"py-call-uwsgi-fork-hooks": True}, False),
        ((0, 0, 2), {}, True),
        ((0, 0, 1), {}, False),
        ((0, -1, 2), {}, False),
        ((1, -1, 2), {}, False),
        ((1, 0, 2), {}, False),
    ],
    ids=[
        "master",
        "master of one",
        "master that tells Python",
        "no master, two processes",
        "no master, one process",
        "a mule",
        "a worker",
        "a worker that was the first process",
    ],
)
def test_whoever_forks_later_has_no_threads(
    uwsgi: ModuleType, numbers: tuple[int, int, int], options: dict[str, bool], *, verdict: bool
) -> None:
    """
    That is whoever loads the application for others, unless Python is told of the forks.
    """
    worker, master, processes = numbers
    uwsgi.worker_id = lambda: worker  # type: ignore[attr-defined] # made up here
    uwsgi.masterpid = lambda: master  # type: ignore[attr-defined] # likewise
    uwsgi.numproc = processes  # type: ignore[attr-defined] # likewise
    uwsgi.opt = options  # type: ignore[attr-defined] # likewise

    assert _uwsgi.forks_later() is verdict


@pytest.mark.parametrize("missing", ["worker_id", "masterpid", "numproc", "opt", "has_threads"])
def test_a_stand_in_need_not_know_everything(uwsgi: ModuleType, missing: str) -> None:
    """
    What an application puts in its place where there is no uWSGI breaks nothing.
    """
    uwsgi.masterpid = lambda: 0  # type: ignore[attr-defined] # made up here
    delattr(uwsgi, missing)

    assert _uwsgi.forks_later() is (missing == "has_threads")
    assert not _uwsgi.lacks_threads()


@pytest.mark.parametrize("threads", [0, 1])
def test_whether_there_are_threads_is_asked(uwsgi: ModuleType, threads: int) -> None:
    """
    The server itself says whether they get a turn.
    """
    uwsgi.has_threads = threads  # type: ignore[attr-defined] # made up here

    assert _uwsgi.lacks_threads() is not bool(threads)


def test_one_of_all_gets_the_baton() -> None:
    """
    Who takes it first has it; whoever comes later finds it gone.
    """
    baton = _uwsgi.Baton()
    ends = baton._ends
    # As a fork would leave it to a second process.
    second = _uwsgi.Baton.__new__(_uwsgi.Baton)
    second._ends = (os.dup(ends[0]), os.dup(ends[1]))
    second._files = baton._files

    taken = [baton.take(), second.take()]

    assert taken == [True, False]
    # Nothing stays open.
    for end in (*ends, *second._ends):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(end)


def test_a_baton_that_was_closed_is_gone() -> None:
    """
    Nothing is read from what has been opened in its place.
    """
    baton = _uwsgi.Baton()
    other = os.pipe()
    os.write(other[1], b"not ours")
    for end, new in zip(baton._ends, other, strict=True):
        os.dup2(new, end)

    taken = baton.take()

    assert not taken
    assert os.read(other[0], 100) == b"not ours"
    for end in (*baton._ends, *other):
        os.close(end)
    # Closed, and nothing there.
    assert not baton.take()
