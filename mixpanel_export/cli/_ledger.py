"""Whether the pipeline's ledger and what the emulator stored tell the same story."""

from __future__ import annotations

from collections.abc import Mapping

from mixpanel_export import Stats


def differences(logged: int, stats: Stats, stored: Mapping[str, int]) -> list[str]:
    """
    Return what does not agree, each in one line; nothing if all is well.

    Repetitions are no difference: Mixpanel's reports show one of them, and the ``distinct`` events
    of the emulator are counted in the same way.

    Args:
        logged: How many events the application logged.

        stats: What the pipeline says, after it was closed.

        stored: What the emulator says: its counts by name.
    """
    must_be_equal = [
        ("logged", logged, "accepted", stats.accepted),
        ("accepted", stats.accepted, "delivered", stats.delivered),
        ("delivered", stats.delivered, "distinct in the emulator", stored["distinct"]),
    ]
    must_be_zero = [
        *((name, getattr(stats, name)) for name in ("rejected", "evicted", "expired")),
        *((name, getattr(stats, name)) for name in ("abandoned", "queued")),
        *((f"dropped ({reason})", count) for reason, count in stats.dropped.items()),
        ("rejected by the emulator", stored["rejected"]),
        ("acknowledged but not stored by the emulator", stored["vanished"]),
    ]
    return [
        *(
            f"{left:,} {one}, but {right:,} {other}"
            for one, left, other, right in must_be_equal
            if left != right
        ),
        *(f"{count:,} {name}" for name, count in must_be_zero if count),
    ]
