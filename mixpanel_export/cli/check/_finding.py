"""What was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: ``ok``; ``note``, worth knowing; ``warning``, likely to become trouble; ``problem``, is trouble.
Level = Literal["ok", "note", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    #: What was looked at, in a word.
    subject: str
    level: Level
    #: What was found.
    text: str
    #: What to do; empty if there is nothing.
    fix: str = ""
