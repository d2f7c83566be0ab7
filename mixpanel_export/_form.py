"""
The form of the events whose fields have one set of names: what is the same in each is in it.

The first events are put together in a loop, like any other. An event that comes again and again is
worth a function of its own: the loop unrolled, each name in its place, and for each value the one
check that its type in the event before has asked for. A value of another type is as welcome; it is
told apart as in the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from mixpanel_export._fill import CARDS, FEW, LARGEST, Filler
from mixpanel_export._line import Pairs
from mixpanel_export._privacy import SHORTEST_SECRET
from mixpanel_export._values import MISSING

#: What gives the properties of an event: its fields, milliseconds since the epoch, whose it is, the
#: id of the event.
Fill = Callable[[Mapping[Any, Any], int, str, str], dict[str, Any]]

#: How often a form is used before it gets a function: making one takes as long as 50 events in the
#: loop, and a program that makes up names must not pay it for each.
WORTH: Final = 50

# For the types that most values have, whether one is sent as it is: what `Filler.value` asks first.
_AS_IT_IS: Final = {
    str: (
        "type(value := {said}) is str"
        f" and (value in known or (len(value) < {SHORTEST_SECRET} and value.isalnum()))"
    ),
    bool: "(value := {said}) is True or value is False",
    int: f"type(value := {{said}}) is int and value < {CARDS}",
    float: f"type(value := {{said}}) is float and {-LARGEST!r} <= value <= {LARGEST!r}",
    list: f"type(value := {{said}}) is list and len(value) <= {FEW} and knows(value)",
}
_OTHERWISE: Final = "sent if (sent := other({said})) is not missing else (left_out := missing)"

_FUNCTION: Final = """\
def fill(fields, moment, owner, insert_id):
    left_out = None
    properties = {{
{properties}
    }}
    return properties if left_out is None else complete(properties)
"""


class Form:
    """
    The form of some events.

    Safe to use from any thread at any moment.

    Args:
        filler: What fills it.

        base: What stands in every event, the four fields of the event among it.

        pairs: Which of the fields are sent, and as what; all are named by plain texts.

        selected: Whether such records are events.

        heeded: Whether it may be worth telling that they are not.

        identity: The fields that say whose an event is.
    """

    __slots__ = ("_base", "_filler", "_pairs", "_used", "fill", "heeded", "identity", "selected")

    fill: Fill
    """Put the properties of an event together."""

    def __init__(  # noqa: PLR0913 -- what is to be known of a form
        self,
        filler: Filler,
        *,
        base: Mapping[str, Any],
        pairs: Pairs,
        selected: bool,
        heeded: bool,
        identity: tuple[str, ...],
    ) -> None:
        self._filler = filler
        self._base = base
        self._pairs = pairs
        self._used = 0
        self.selected = selected
        self.heeded = heeded
        self.identity = identity
        self.fill = self._fill_in_a_loop

    def _fill_in_a_loop(
        self, fields: Mapping[Any, Any], moment: int, owner: str, insert_id: str
    ) -> dict[str, Any]:
        self._used += 1
        if self._used >= WORTH:
            self.fill = self._function(fields)
        properties = {**self._base, "time": moment, "distinct_id": owner, "$insert_id": insert_id}
        self._filler.fill(properties, fields, self._pairs)
        return properties

    def _function(self, example: Mapping[Any, Any]) -> Fill:
        """Make the function; *example* are fields that it is to be good at."""
        # What stands in each event is found by a name that Python takes, what is said by its own.
        constants = {f"constant_{number}": each for number, each in enumerate(self._base.values())}
        sources = dict(zip(self._base, constants, strict=True))
        sources |= {"time": "moment", "distinct_id": "owner", "$insert_id": "insert_id"}
        for key, name in self._pairs:
            said = f"fields[{key!r}]"
            as_it_is = _AS_IT_IS.get(type(example[key]))
            if as_it_is is None:
                sources[name] = _OTHERWISE.format(said=said)
            else:
                otherwise = _OTHERWISE.format(said="value")
                sources[name] = f"value if {as_it_is.format(said=said)} else {otherwise}"
        properties = "\n".join(f"        {name!r}: {source}," for name, source in sources.items())
        names = {
            **constants,
            "complete": self._complete,
            "known": self._filler.known,
            "knows": self._filler.knows,
            "missing": MISSING,
            "other": self._filler.value,
        }
        # Texts that others have chosen stand in it as literals only.
        exec(_FUNCTION.format(properties=properties), names)  # noqa: S102 -- see above
        fill: Fill = names["fill"]
        return fill

    def _complete(self, properties: dict[str, Any]) -> dict[str, Any]:
        """Leave out what has nothing to say; what stands in every event stays as it is there."""
        return {
            name: self._base[name] if value is MISSING else value
            for name, value in properties.items()
            if value is not MISSING or name in self._base
        }
