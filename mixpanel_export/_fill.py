"""
Fields into properties, in the form in which they are sent, and all of it into a line.

This is most of what an event costs its caller, so the common types are told apart in one loop
without a call, and texts that were found clean are remembered: most values are few, such as plans,
countries and routes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, cast

from orjson import OPT_APPEND_NEWLINE, dumps

from mixpanel_export._ids import MEMORY
from mixpanel_export._limits import MAX_EVENT_BYTES, MAX_NESTED_BYTES, MAX_STRING_BYTES
from mixpanel_export._line import STRICT, Pairs, dump, dump_repaired, shrink
from mixpanel_export._privacy import Privacy, is_id
from mixpanel_export._values import MISSING, SURELY_SHORT, clean, cut

#: The smallest whole number that may be a card's, of 13 digits that begin with a 4. Milliseconds
#: since the epoch are smaller, and common.
CARDS: Final = 4_000_000_000_000

# The largest number that is not infinite.
_LARGEST: Final = sys.float_info.max

#: Stands for a value that says nothing. JSON writes this character in another way, so that nothing
#: that is said can be taken for it.
LEFT_OUT: Final = "\0"

# How lines are written: with a line break behind, which is cut off. orjson cuts what it returns
# from a kilobyte of fresh memory. While thousands of lines wait, each would begin in memory that
# was never touched, which costs more than to make it (1.2 to 4 us an event, measured). Without its
# end a line is a copy, as long as it needs to be, and the kilobyte is there for the next one.
_WITH_END: Final = STRICT | OPT_APPEND_NEWLINE

#: So many texts surely fit into a list of 8 KB: JSON takes six bytes for a byte at most, and two
#: quotes and a comma for each text. Most lists are that: a few tags.
FEW: Final = MAX_NESTED_BYTES // (6 * MAX_STRING_BYTES + 3)


class Filler:
    """
    Fills properties; remembers which texts hold nothing to be changed.

    Safe to call from any thread at any moment.

    Args:
        privacy: The rules for names and texts.

        tell: Called with ``"cut"`` or ``"naive"`` when a text is shortened or a date has no zone.
    """

    __slots__ = ("_tell", "known", "privacy", "written")

    def __init__(self, privacy: Privacy, tell: Callable[[str], object]) -> None:
        self.privacy = privacy
        self._tell = tell
        #: Texts that are sent as they are, and the JSON of each.
        self.known: dict[str, str] = {}
        #: The JSON of numbers with a fraction, and of lists of a few such texts, as tuples: what
        #: takes longest to write.
        self.written: dict[float | tuple[str, ...], str] = {}

    def fill(self, properties: dict[str, Any], fields: Mapping[Any, Any], pairs: Pairs) -> None:
        """
        Fill *properties*.

        Args:
            properties: What stands in it gives way, but not to what says nothing.

            fields: What was said.

            pairs: Which of it is sent, and as what.
        """
        for key, name in pairs:
            value = self.value(fields[key])
            if value is not MISSING:
                properties[name] = value

    def value(self, value: Any) -> Any:  # noqa: ANN401 -- any JSON
        """Give *value* as it is sent, `MISSING` if it says nothing."""
        kind = type(value)
        if kind is str:
            # An id is new each time: to remember it would only make others forgotten.
            return value if value in self.known or is_id(value) else self.text(value)
        if value is None:
            return MISSING
        if (
            kind is bool
            # What is too big for a double is found when the line is made.
            or (kind is int and value < CARDS)
            # Neither an infinity nor "not a number" lies between these.
            or (kind is float and -_LARGEST <= value <= _LARGEST)
            or (kind is list and len(value) <= FEW and self.knows(value))
        ):
            return value
        return self.clean(value)

    def json(self, value: Any) -> str:  # noqa: ANN401 -- any JSON
        """Write *value* as it is sent, in JSON; `LEFT_OUT` if it says nothing."""
        # A list may be changed meanwhile: what is looked at must be what is written and remembered.
        texts = tuple(value) if type(value) is list and len(value) <= FEW else ()
        if texts and all(type(each) is str for each in texts) and self.knows([*texts]):
            return self._remember(texts, dump(texts))
        if type(value) is float and -_LARGEST <= value <= _LARGEST:
            # A zero is a zero, whatever its sign.
            return self._remember(value, dump(value + 0.0))
        sent = self.value(value)
        if sent is MISSING:
            return LEFT_OUT
        return (type(sent) is str and self.known.get(sent)) or dump(sent)

    def _remember(self, value: float | tuple[str, ...], text: str) -> str:
        if len(self.written) >= MEMORY:
            self.written.clear()
        self.written[value] = text
        return text

    @staticmethod
    def line(name: str, properties: dict[str, Any]) -> bytes | None:
        """Make the line of an event; None if it is too large, however much of it is left out."""
        try:
            line = dumps({"event": name, "properties": properties}, None, _WITH_END)[:-1]
        except TypeError:
            line = dump_repaired(name, properties)
        return line if len(line) <= MAX_EVENT_BYTES else shrink(line)

    def text(self, text: str) -> str:
        """Give *text* as it is sent."""
        found = self.privacy.text(text)
        if len(found) > SURELY_SHORT or not found.isascii():
            whole, found = found, cut(found)
            if found == whole:
                found = whole
            elif len(found) < len(whole):
                self._tell("cut")
        if found is text:
            if len(self.known) >= MEMORY:
                self.known.clear()
            self.known[text] = dump(text)
        return found

    def clean(self, value: object) -> Any:  # noqa: ANN401 -- any JSON
        """Give *value* as it is sent; see `mixpanel_export._values.clean`."""
        # By its type: an object may even raise when it is asked for its class.
        if issubclass(type(value), datetime) and cast("datetime", value).tzinfo is None:
            self._tell("naive")
        return clean(value, privacy=self.privacy)

    def knows(self, values: list[Any]) -> bool:
        """Say whether all of *values* are texts that may be sent; find it out if they are texts."""
        known = self.known
        for value in values:
            if type(value) is not str or (value not in known and self.text(value) is not value):
                return False
        return True
