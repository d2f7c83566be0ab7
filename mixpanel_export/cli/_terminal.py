"""Texts from elsewhere on a terminal, which must not be able to drive it."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

# What some terminals obey, and JSON need not escape.
_OBEYED: Final = re.compile(r"[\x7f-\x9f]")


def printable(text: str) -> str:
    """Return *text* with everything escaped that is not a visible character or a blank."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
        for each in text
    )


def safe_json(line: str) -> str:
    """Return the same JSON without characters that a terminal might obey."""
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", line)


def clock(ms: int) -> str:
    """Return the local time of day of an instant in milliseconds."""
    return datetime.fromtimestamp(ms / 1000).astimezone().strftime("%H:%M:%S.%f")[:-3]
