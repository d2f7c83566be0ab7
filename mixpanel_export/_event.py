"""An event, and why there may be none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any


class Drop(Enum):
    """Why there is no line."""

    IGNORED = "ignored"
    TRANSFORM = "transform"
    TOO_LARGE = "too_large"
    NO_IDENTITY = "no_identity"
    NO_TOKEN = "no_token"  # noqa: S105 -- a reason
    SAMPLED = "sampled"
    BUDGET = "budget"


@dataclass(frozen=True, slots=True)
class Event:
    """
    One thing that a user, or nobody in particular, did.

    Args:
        name: What happened, such as ``Order Placed``: one of few, what varies is a property.

        distinct_id: Who did it; ``""`` is nobody. Ids that Mixpanel forbids become ``""`` when the
            event is sealed.

        properties: Names and values of any type; see the README for what becomes of each.

        time: When: a datetime (naive is UTC), seconds or milliseconds since the epoch; None is now.

        insert_id: What makes two deliveries of this event one: at most 36 letters, digits and
            hyphens; `None` makes one up.

        ip: The end user's address, which Mixpanel turns into a place and forgets; `None` sends
            ``"0"``, no place.
    """

    name: str
    distinct_id: str = field(default="", kw_only=True)
    properties: Mapping[str, Any] = field(default_factory=dict, kw_only=True, hash=False)
    time: datetime | float | None = field(default=None, kw_only=True)
    insert_id: str | None = field(default=None, kw_only=True)
    ip: str | None = field(default=None, kw_only=True)


Transform = Callable[[Event], "Event | None"]
