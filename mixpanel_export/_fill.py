"""
Fields into properties, in the form in which they are sent.

This is most of what an event costs its caller, so the common types are told apart in one loop
without a call, and texts that were found clean are remembered: most values are few, such as plans,
countries and routes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from mixpanel_export._ids import MEMORY
from mixpanel_export._limits import MAX_ELEMENTS, MAX_NESTED_BYTES
from mixpanel_export._privacy import Privacy
from mixpanel_export._values import MISSING, SURELY_SHORT, clean, cut

#: Fields, and the names of the properties that they become.
Pairs = tuple[tuple[Any, str], ...]

# The smallest whole number that may be a card's, of 13 digits that begin with a 4. Milliseconds
# since the epoch are smaller, and common.
_CARDS: Final = 4_000_000_000_000

_MAX_FLOAT: Final = sys.float_info.max

# Texts of so many characters in all surely fit into a list of 8 KB: JSON takes six bytes for a
# character at most, and for each text two quotes and a comma. Most lists are that: a few tags.
_FEW: Final = (MAX_NESTED_BYTES - 3 * MAX_ELEMENTS - 2) // 6


class Filler:
    """
    Fills properties; remembers which texts hold nothing to be changed.

    Safe to call from any thread at any moment.

    Args:
        privacy: The rules for names and texts.

        tell: Called with ``"cut"`` or ``"naive"`` when a text is shortened or a date has no zone.
    """

    __slots__ = ("_known", "_tell", "privacy")

    def __init__(self, privacy: Privacy, tell: Callable[[str], object]) -> None:
        self.privacy = privacy
        self._tell = tell
        self._known: set[str] = set()

    def fill(self, properties: dict[str, Any], fields: Mapping[Any, Any], pairs: Pairs) -> None:
        """Add what *pairs* name of *fields* to *properties*."""
        known = self._known
        for key, name in pairs:
            value = fields[key]
            kind = type(value)
            if kind is str:
                if value not in known:
                    value = self.text(value)
            elif kind is int:
                # What is too big for a double is found when the line is made.
                if value >= _CARDS:
                    value = self.clean(value)
            elif kind is float:
                # Neither an infinity nor "not a number" lies between these.
                if not -_MAX_FLOAT <= value <= _MAX_FLOAT:
                    continue
            elif kind is not bool:
                value = self.clean(value)
                if value is MISSING:
                    continue
            properties[name] = value

    def text(self, text: str) -> str:
        """Give *text* as it is sent."""
        found = self.privacy.text(text)
        if len(found) > SURELY_SHORT or not found.isascii():
            whole, found = found, cut(found)
            if len(found) < len(whole):
                self._tell("cut")
        if found == text:
            if len(self._known) >= MEMORY:
                self._known.clear()
            self._known.add(text)
        return found

    def clean(self, value: object) -> Any:  # noqa: ANN401 -- any JSON
        """Give *value* as it is sent; see `mixpanel_export._values.clean`."""
        if type(value) is list and (texts := self._texts(value)) is not None:
            return texts
        if isinstance(value, datetime) and value.tzinfo is None:
            self._tell("naive")
        return clean(value, privacy=self.privacy)

    def _texts(self, value: list[Any]) -> list[str] | None:
        """Give a short list of texts as it is sent, the fast way; None if it is not that."""
        known = self._known
        texts = value.copy()
        characters = 0
        for index, each in enumerate(texts):
            if type(each) is not str:
                return None
            if each not in known:
                texts[index] = self.text(each)
            characters += len(each)
        return texts if len(texts) <= MAX_ELEMENTS and characters <= _FEW else None
