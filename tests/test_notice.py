"""
Warnings that cannot flood a log.
"""

from __future__ import annotations

import logging

import pytest

from mixpanel_export import MixpanelHandler
from mixpanel_export._notice import INTERVAL, Notices, logger
from mixpanel_export.testing import FakeClock


def test_the_first_of_a_kind_is_logged_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """
    One line for each kind, immediately.
    """
    notices = Notices(FakeClock())

    notices.warn("a", "first a")
    notices.warn("b", "first b")

    assert caplog.messages == ["first a", "first b"]
    assert {record.name for record in caplog.records} == {"mixpanel_export"}


def test_more_of_a_kind_are_counted_for_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """
    Within a minute there is one line; the next one says how many there were.
    """
    clock = FakeClock()
    notices = Notices(clock)

    for _ in range(5):
        notices.warn("a", "down")
        clock.advance(INTERVAL / 10)
    clock.advance(INTERVAL)
    notices.warn("a", "down")

    assert caplog.messages == ["down", "down (4 more like this since the last such line)"]


OURS = MixpanelHandler(disabled=True)
OTHER = logging.NullHandler()


@pytest.mark.parametrize(
    ("near", "far", "said"),
    [
        ([], [], "down\n"),
        ([], [OURS], "down\n"),
        ([OURS], [OURS], "down\n"),
        ([], [OURS, OTHER], ""),
        ([OTHER], [OURS], ""),
    ],
)
def test_a_warning_is_printed_if_nobody_else_hears_it(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    near: list[logging.Handler],
    far: list[logging.Handler],
    said: str,
) -> None:
    """
    Our handler alone on the root logger must not be what keeps the loss of events a secret.
    """
    root = logging.Logger("root")  # noqa: LOG001 -- the real one has pytest's handlers
    root.handlers = far
    monkeypatch.setattr(logger, "parent", root)
    monkeypatch.setattr(logger, "handlers", near)

    Notices(FakeClock()).warn("a", "down")
    logger.info("for those who ask")

    assert capsys.readouterr().err == said


def test_who_wants_nothing_printed_is_obeyed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    `logging` has a switch for that.
    """
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "handlers", [OURS])
    monkeypatch.setattr(logging, "lastResort", None)

    Notices(FakeClock()).warn("a", "down")

    assert capsys.readouterr().err == ""
