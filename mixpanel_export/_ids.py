"""Ids, times and addresses in the form in which Mixpanel takes them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from datetime import datetime, timezone
from functools import lru_cache
from ipaddress import ip_address
from itertools import chain, count, repeat
from operator import attrgetter
from typing import Final, cast

from mixpanel_export._limits import (
    FORBIDDEN_IDS,
    MAX_AHEAD_MS,
    MAX_DISTINCT_ID_BYTES,
    MAX_INSERT_ID_BYTES,
    MIN_TIME_MS,
)
from mixpanel_export._values import SURELY_SHORT, text_of

#: Most of what is remembered in one place. A name that a program makes up at run time must not fill
#: the memory; this is far more than the places that any program logs from.
MEMORY: Final = 2_000

#: March 1973. Mixpanel tells seconds from milliseconds by their magnitude -- Import Events (read
#: 2026-08-21) --, so that a smaller number may be taken for seconds, thousands of years ahead.
SURELY_MS: Final = 100_000_000_000

#: The forbidden ids are words, numbers, and one UUID.
NIL: Final = max(FORBIDDEN_IDS, key=len)
LONGEST_WORD: Final = max(map(len, FORBIDDEN_IDS - {NIL}))
LONGEST_NUMBER: Final = max(len(each) for each in FORBIDDEN_IDS - {NIL} if each[-1].isdigit())

# The last two digits of ids that are made up; few, so that a block of ids stays in the cache.
_TAILS: Final = tuple(f"{number:02x}" for number in range(64))

_INSERT_ID: Final = re.compile(rf"[0-9A-Za-z-]{{1,{MAX_INSERT_ID_BYTES}}}")


def as_id(value: object, prefixed: bool = False) -> str:
    """
    Make an id that Mixpanel takes, ``""`` if it forbids this one.

    Args:
        value: The id; `None` is none.

        prefixed: Whether it is a device's and to be marked as one.
    """
    if type(value) is str and not prefixed:
        size = len(value)
        # Most are longer than the words that are forbidden, or end in a digit, which of these only
        # the shortest do.
        if (
            LONGEST_WORD < size <= SURELY_SHORT
            or (LONGEST_NUMBER < size <= LONGEST_WORD and value[-1].isdigit())
        ) and (value.strip() is value and value != NIL):
            return value
    if value is None:
        return ""
    text = value if type(value) is str else _whole_text(value)
    bare = text.strip().lower()
    if not bare or bare in FORBIDDEN_IDS:
        return ""
    # In Mixpanel's simplified identity a device is a distinct_id with this prefix. -- Mixpanel
    # docs, Simplified ID Merge (read 2026-08-21).
    if prefixed and not text.startswith("$device:"):
        text = "$device:" + text
    if len(text) > SURELY_SHORT and len(_utf8(text)) > MAX_DISTINCT_ID_BYTES:
        # Cut, two users could become one.
        return hashlib.sha256(_utf8(text)).hexdigest()
    return text


def insert_ids(prefix: str) -> Callable[[], str]:
    """
    Make up ids: *prefix* and a counter.

    Whatever threads and signal handlers call for one, each gets its own: with CPython's global lock
    nothing comes between the parts of a call, since none of them is written in Python. Ids are
    made in blocks that differ in their last two digits: one by one, between all else that an event
    takes, each costs its caller twice as much (0.9 us, measured).
    """
    heads = map((prefix + "%x").__mod__, count())
    blocks = map(list, map(map, map(attrgetter("__add__"), heads), repeat(_TAILS)))
    return chain.from_iterable(blocks).__next__


def as_time(value: object, now: float) -> int | None:
    """
    Make a time that Mixpanel takes, in milliseconds; in seconds if those would be misread.

    Args:
        value: A datetime (naive is UTC), or a number of seconds or milliseconds since 1970.

        now: Seconds since the epoch.

    Returns:
        None if *value* is none of these, or lies before 1971 or more than an hour ahead.
    """
    # By its type: an object may even raise when it is asked for its class.
    kind = type(value)
    try:
        if issubclass(kind, datetime):
            moments = [_timestamp(cast("datetime", value)) * 1000]
        elif issubclass(kind, (int, float)) and kind is not bool:
            number = float(cast("float", value))
            moments = [number * 1000, number]
        else:
            return None
    except Exception:  # noqa: BLE001 -- somebody else's number or time zone may raise anything
        return None
    latest = now * 1000 + MAX_AHEAD_MS
    # The two readings of a number cannot both lie in this window.
    found = next((round(each) for each in moments if MIN_TIME_MS <= each <= latest), None)
    return found if found is None or found >= SURELY_MS else found // 1000


def as_insert_id(value: object) -> str:
    text = value if type(value) is str else _whole_text(value)
    if _INSERT_ID.fullmatch(text) and text.lower() not in FORBIDDEN_IDS:
        return text
    return hashlib.sha256(_utf8(text)).hexdigest()[:32]


def _timestamp(moment: datetime) -> float:
    if moment.utcoffset() is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return moment.timestamp()


@lru_cache(maxsize=MEMORY)
def address(text: str) -> str | None:
    """Give the canonical form of an IP address; ``"0"`` is "do not locate"; None for the rest."""
    try:
        return "0" if text == "0" else str(ip_address(text.strip()))
    except ValueError:
        return None


def _whole_text(value: object) -> str:
    try:
        # Exactly a text, and not something of a type of its own that lies about itself.
        return str.__str__(str(value))
    except Exception:  # noqa: BLE001 -- somebody else's __str__ may raise anything
        return text_of(value)


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "replace")
