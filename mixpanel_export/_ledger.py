"""What a pipeline says of itself: the ledger, and whether delivery works."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

#: Why an event was never accepted.
DROPS: Final = (
    "full",
    "closed",
    "no_identity",
    "no_token",
    "too_large",
    "transform",
    "sampled",
    "budget",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """
    The ledger, in events.

    ::

        accepted + adopted = delivered + rejected + evicted + expired + abandoned + queued

    """

    accepted: int = 0
    """Taken in."""

    adopted: int = 0
    """Taken over from the spool of a process that is gone."""

    delivered: int = 0
    """Acknowledged by Mixpanel."""

    rejected: int = 0
    """Refused by Mixpanel for what they are; final."""

    evicted: int = 0
    """Pushed out by newer ones, with ``overflow="drop_oldest"``."""

    expired: int = 0
    """Too old to be kept any longer."""

    abandoned: int = 0
    """Given up: not sent when the time to close or exit was over."""

    queued: int = 0
    """Waiting, in flight, or waiting to be tried again."""

    dropped: Mapping[str, int] = field(default_factory=dict)
    """Never accepted, by reason; only reasons that occurred."""

    ignored: int = 0
    """Records that are no events."""

    damaged: int = 0
    """
    Found broken in a spool, and left out. Of what was written shortly before its process ended,
    places are counted: nobody knows how many events stood there.
    """

    retries: int = 0
    """Requests that brought no verdict and were, or will be, made again."""

    requests: int = 0
    """Requests in all."""

    queued_bytes: int = 0
    """What `queued` takes, as it is held."""

    oldest_age: float = 0.0
    """How long the oldest of `queued` has waited, in seconds; 0.0 if there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether delivery works."""

    ok: bool
    """True unless the last attempt failed."""

    circuit: str
    """``closed``: sending; ``open``: no answers, single probes; ``paused``: misconfigured."""

    reason: str = ""
    """What is wrong, in a few words."""

    last_success_age: float | None = None
    """Seconds since the last verdict from Mixpanel; `None` if there was none yet."""
