"""Whether the pipeline's ledger and what the emulator stored tell the same story."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from mixpanel_export import Stats


class Told(NamedTuple):
    """What the application knows."""

    events: Mapping[str, int]
    """How many events it said, by door."""

    updates: int
    """How many times it set something in a profile."""

    profiles: Mapping[str, Mapping[str, Any]]
    """What it set, by `distinct_id`."""


class Stored(NamedTuple):
    """What the emulator knows."""

    counts: Mapping[str, int]
    """Its counts by name."""

    events: Mapping[str, int]
    """How many different events it has, by door."""

    profiles: Mapping[str, Mapping[str, Any]]
    """The profiles of users, by `distinct_id`."""


def differences(told: Told, stats: Stats, stored: Stored) -> list[str]:
    """
    Return what does not agree, each in one line; nothing if all is well.

    Repetitions are no difference: Mixpanel's reports show one of them, and the ``distinct`` events
    of the emulator are counted in the same way.

    Args:
        told: What the application says.

        stats: What the pipeline says, after it was closed.

        stored: What the emulator says.
    """
    said = sum(told.events.values())
    accepted, delivered = (
        # The ledger counts updates as well.
        count - told.updates
        for count in (stats.accepted, stats.delivered)
    )
    distinct = stored.counts["distinct"]
    must_be_equal = [
        ("said", said, "accepted", accepted),
        ("accepted", accepted, "delivered", delivered),
        ("delivered", delivered, "distinct in the emulator", distinct),
        *(
            (
                f"said through {door}",
                told.events.get(door, 0),
                "in the emulator",
                stored.events.get(door, 0),
            )
            for door in {**told.events, **stored.events}
        ),
    ]
    must_be_zero = [
        *((name, getattr(stats, name)) for name in ("rejected", "evicted", "expired")),
        *((name, getattr(stats, name)) for name in ("abandoned", "queued")),
        *((f"dropped ({reason})", count) for reason, count in stats.dropped.items()),
        ("rejected by the emulator", stored.counts["rejected"]),
        ("updates rejected by the emulator", stored.counts["updates_rejected"]),
        ("acknowledged but not stored by the emulator", stored.counts["vanished"]),
        ("profiles that are not as they were set", _wrong(told.profiles, stored.profiles)),
    ]
    return [
        *(
            f"{left:,} {one}, but {right:,} {other}"
            for one, left, other, right in must_be_equal
            if left != right
        ),
        *(f"{count:,} {name}" for name, count in must_be_zero if count),
    ]


def _wrong(told: Mapping[str, object], stored: Mapping[str, object]) -> int:
    return sum(told.get(who) != stored.get(who) for who in {**told, **stored})
