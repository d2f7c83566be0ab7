"""
Warnings that cannot flood a log.
"""

from __future__ import annotations

import pytest

from mixpanel_export._notice import INTERVAL, Notices
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
