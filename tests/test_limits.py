"""
The numbers that Mixpanel decided, compared with what its documentation says in words.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from mixpanel_export import _limits


def test_an_event_fits_into_a_request() -> None:
    """
    The largest event, alone in its brackets, is a valid request.
    """
    assert _limits.MAX_EVENT_BYTES + len(b"[]") <= _limits.MAX_REQUEST_BYTES


def test_an_event_is_smaller_than_a_megabyte() -> None:
    """
    "Less than 1 MB" leaves one byte less than the smaller meaning of a megabyte.
    """
    assert _limits.MAX_EVENT_BYTES == 999_999


@pytest.mark.parametrize("name", ["MAX_PROPERTIES", "MAX_ELEMENTS"])
def test_fewer_than_255_is_254(name: str) -> None:
    """
    "Fewer than 255" properties or elements are 254.
    """
    assert getattr(_limits, name) == 254


def test_time_begins_in_1971() -> None:
    """
    The earliest time is the first moment of 1971 in UTC.
    """
    beginning = datetime.fromtimestamp(_limits.MIN_TIME_MS / 1000, timezone.utc)

    assert beginning == datetime(1971, 1, 1, tzinfo=timezone.utc)


def test_forbidden_ids_are_compared_without_case() -> None:
    """
    All 18 forbidden ids are written in lower case and without blanks, as they are looked up.
    """
    assert len(_limits.FORBIDDEN_IDS) == 18
    assert all(each == each.strip().lower() for each in _limits.FORBIDDEN_IDS)


@pytest.mark.parametrize("region", _limits.HOSTS)
def test_every_host_is_an_address_without_a_path(region: str) -> None:
    """
    Each region's host is reached by HTTPS at Mixpanel, and a path can be put after it.
    """
    parts = urlsplit(_limits.HOSTS[region])

    assert parts.scheme == "https"
    assert (parts.hostname or "").endswith(".mixpanel.com")
    assert not parts.path


def test_backoff_doubles_from_two_seconds_to_a_minute() -> None:
    """
    The waits between retries are Mixpanel's: 2 s doubling to 60 s, and a jitter of up to 5 s.
    """
    assert (_limits.BACKOFF_INITIAL, _limits.BACKOFF_MAX, _limits.BACKOFF_JITTER) == (2, 60, 5)


def test_every_number_has_its_source() -> None:
    """
    The comment before each constant names where it comes from, and those read online the day.
    """
    source = Path(_limits.__file__).read_text(encoding="utf-8")
    paragraphs = source.split("\n\n")

    constants = [each for each in paragraphs if re.search(r"^[A-Z_]+: Final", each, re.MULTILINE)]

    assert len(constants) >= 12
    assert [
        each for each in constants if not re.search(r"\(read\s.*\d{4}|RFC \d+", each, re.DOTALL)
    ] == []
