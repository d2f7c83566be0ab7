"""Users with so many events on one day that Mixpanel hides the others."""

from __future__ import annotations

from collections import Counter

from mixpanel_export.emulator._event import Event, as_text, identity

_DAY_MS = 24 * 60 * 60 * 1000

# Pairs of a user and a day that are counted at the same time. A user whose day comes near the limit
# is among the most frequent half of any so many.
_MAX_COUNTED = 100_000


class HotShards:
    """
    Counts the events of each user on each day, in bounded memory.

    Sourced: docs, docs/tracking-best-practices/hot-shard-limits.mdx. The count is best effort, as
    that of the service: a restart begins anew, and rare users are forgotten when there are many.

    Args:
        limit: Events that one user may have on one day. 0: any number.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._counts: Counter[tuple[str, int]] = Counter()

    def is_hot(self, event: Event) -> bool:
        """Count a valid event, and say whether it is one too many. Without a user none is."""
        user = identity(event.properties)
        if not self._limit or not user:
            return False
        when = event.instant if event.instant is not None else event.scene.now_ms
        key = (as_text(user), when // _DAY_MS)
        self._counts[key] += 1
        if len(self._counts) > _MAX_COUNTED:
            self._counts = Counter(dict(self._counts.most_common(_MAX_COUNTED // 2)))
        return self._counts[key] > self._limit

    def reset(self) -> None:
        """Forget everything."""
        self._counts.clear()
