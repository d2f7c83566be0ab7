"""Times in the forms in which people write them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from mixpanel_export._ids import SURELY_MS, as_time
from mixpanel_export.cli.backfill._trouble import Unusable

# ISO 8601 as it is met: a space for the T, commas, any number of decimals, an offset without colon.
_ISO: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d+))?)?"
    r" ?(Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)?)?",
    re.IGNORECASE,
)
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?")

# Seconds and milliseconds; microseconds and nanoseconds. No two of them can be meant by one number.
_FINER: Final = (1, 1_000, 1_000_000)


def zone_named(name: str) -> tzinfo:
    """
    Give a time zone, such as ``Europe/Berlin``.

    Raises:
        Unusable: If there is none of this name.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        alike = [each for each in available_timezones() if name.lower() in each.lower().split("/")]
        meant = f"did you mean {min(alike)}?" if alike else "they are named as Europe/Berlin"
        raise Unusable(f"there is no time zone {name!r}; {meant}") from None


class Moments:
    """
    Reads times.

    Args:
        zone: Of those that do not say theirs.

        pattern: How texts are written, as for `datetime.strptime`; None is ISO 8601, or a number.

        unzoned: Called for each time that does not say its zone.
    """

    def __init__(self, zone: tzinfo, pattern: str | None, unzoned: Callable[[], object]) -> None:
        self._zone = zone
        self._pattern = pattern
        self._unzoned = unzoned

    @property
    def advice(self) -> str:
        """What to do about a text that is not understood."""
        if self._pattern is None:
            return "--time-format says how times are written, as '%d/%m/%Y %H:%M'"
        return f"--time-format says that it is written as {self._pattern!r}"

    def read(self, value: object, now: float) -> int | None:
        """
        Give milliseconds since the epoch; None if *value* is no time from 1971 to an hour ahead.

        Args:
            value: A number of seconds or of a finer unit, a date, or a text.

            now: Seconds since the epoch.
        """
        if isinstance(value, str):
            value = self._of_text(value.strip())
        if isinstance(value, datetime):
            return _milliseconds(self._zoned(value), now)
        if isinstance(value, date):
            return _milliseconds(self._zoned(datetime.combine(value, time())), now)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        found = (_milliseconds(value / unit if unit > 1 else value, now) for unit in _FINER)
        return next((each for each in found if each is not None), None)

    def _zoned(self, moment: datetime) -> datetime:
        if moment.tzinfo is not None:
            return moment
        self._unzoned()
        return moment.replace(tzinfo=self._zone)

    def _of_text(self, text: str) -> datetime | float | None:
        if self._pattern is not None:
            try:
                return datetime.strptime(text, self._pattern)  # noqa: DTZ007 -- see `_zoned`
            except ValueError:
                return None
        if _NUMBER.fullmatch(text):
            return float(text) if "." in text else int(text)
        match = _ISO.fullmatch(text)
        if match is None:
            return None
        *parts, fraction, offset = match.groups()
        try:
            year, month, day, hour, minute, second = (int(part or 0) for part in parts)
            moment = datetime(year, month, day, hour, minute, second)  # noqa: DTZ001 -- the zone comes next
        except ValueError:
            return None
        moment += timedelta(microseconds=int(f"{fraction or 0:0<6}"[:6]))
        return moment.replace(tzinfo=_offset(offset)) if offset else moment


def _milliseconds(value: datetime | float, now: float) -> int | None:
    found = as_time(value, now)
    # The earliest ones come in seconds.
    return found * 1000 if found is not None and found < SURELY_MS else found


def _offset(text: str) -> timezone:
    if text[0] not in "+-":
        return timezone.utc
    digits = text[1:].replace(":", "")
    away = timedelta(hours=int(digits[:2]), minutes=int(digits[2:] or 0))
    return timezone(-away if text[0] == "-" else away)
