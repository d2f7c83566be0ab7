"""What is wrong, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: So much of a record that cannot be read is shown and kept, in characters.
EXCERPT: Final = 2_000

#: Why a text cannot be read; most often it is one of an old Windows.
NOT_UTF_8: Final = (
    "is not UTF-8; another encoding is to be converted, as with iconv -f CP1252 -t UTF-8"
)


@dataclass(frozen=True, slots=True)
class Fault:
    """
    A record that cannot be sent.

    Args:
        reason: What is wrong with it.

        text: The record, or its beginning.

        column: Where in it, in characters from 1 on; None if it is the whole.
    """

    reason: str
    text: str = ""
    column: int | None = None


class Damage(Exception):  # noqa: N818 -- what happened to the source, not to us
    """A source, or the rest of it, cannot be read; its text says where and why."""


class Unusable(Exception):  # noqa: N818 -- the same of an argument
    """Something that was asked for cannot be done; its text says what to do instead."""


def excerpt(text: bytes) -> str:
    """Give the beginning of a record that may be anything."""
    return text[: EXCERPT * 4].decode("utf-8", "backslashreplace")[:EXCERPT]
