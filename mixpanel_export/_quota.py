"""Which events are sent, if not all of them are to be."""

from __future__ import annotations

import zlib
from itertools import count
from typing import TYPE_CHECKING

from mixpanel_export._event import Drop
from mixpanel_export._ids import MEMORY

if TYPE_CHECKING:
    from collections.abc import Callable


class Quota:
    """
    A sample of the users, and a budget for each name.

    Args:
        sample: The share of users whose events are sent, from 0 to 1. Of one user all are or none;
            an event of nobody's goes by its own id.

        budget: How many events of one name are sent in a minute; `None` is any number.
    """

    __slots__ = ("_budget", "_sample", "_spent")

    def __init__(self, sample: float, budget: int | None) -> None:
        self._sample = sample
        self._budget = budget
        # For each name the minute, and what counts in it; `next` of a count is one step, so no
        # thread is counted twice or not at all.
        self._spent: dict[str, tuple[int, Callable[[], int]]] = {}

    @property
    def limits(self) -> bool:
        """True if there is anything to ask for."""
        return self._sample < 1 or self._budget is not None

    def spend(self, name: str, owner: str, insert_id: str, now: float) -> Drop | None:
        """
        Say why an event is not sent; None if it is.

        Args:
            name: The event's name.

            owner: The user, or ``""``.

            insert_id: The event's id.

            now: Seconds since the epoch.
        """
        if self._sample < 1:
            # The same users in every process and every release.
            share = zlib.crc32((owner or insert_id).encode("utf-8", "replace")) / 2**32
            if share >= self._sample:
                return Drop.SAMPLED
        if self._budget is not None and self._number(name, int(now // 60)) >= self._budget:
            return Drop.BUDGET
        return None

    def _number(self, name: str, minute: int) -> int:
        spent = self._spent.get(name)
        if spent is None or spent[0] != minute:
            if len(self._spent) >= MEMORY:
                self._spent.clear()
            spent = self._spent[name] = (minute, count().__next__)
        return spent[1]()
