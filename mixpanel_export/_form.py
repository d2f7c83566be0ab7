"""
The form of the events whose fields have one set of names: what is the same in each is in it.

The first events are put together in a loop, like any other. An event that comes again and again is
worth a function of its own: the loop unrolled, each name in its place, and for each value the one
check that its type in the event before has asked for. A value of another type is as welcome; it is
told apart as in the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, Protocol

from orjson import dumps

from mixpanel_export._event import Drop
from mixpanel_export._fill import CARDS, FEW, LARGEST, WITH_END, Filler
from mixpanel_export._ids import LONGEST_NUMBER, LONGEST_WORD, NIL
from mixpanel_export._limits import MAX_EVENT_BYTES
from mixpanel_export._line import Pairs
from mixpanel_export._privacy import SHORTEST_SECRET
from mixpanel_export._values import MISSING, SURELY_SHORT

#: What would name the event, when it was said in seconds since the epoch, its fields, and whose it
#: is if these do not tell. There may be more fields than the form knows of.
Said = tuple[str, float, Mapping[Any, Any], str]

#: What makes a line of it, given what makes up an id and what tells the seconds since the epoch.
Seal = Callable[[Said, Callable[[], str], Callable[[], float]], bytes | Drop]

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

_FUNCTION: Final = f"""\
def seal(said, insert_id, wall):
    name, moment, fields, owner = said
    if name not in names:
        name = as_name(name)
        if not name:
            return ignored
{{owner}}
    left_out = None
    properties = {{{{
{{properties}}
    }}}}
    if left_out is not None:
        properties = complete(properties)
    try:
        line = dumps({{{{"event": name, "properties": properties}}}}, None, {WITH_END})[:-1]
    except TypeError:
        return make_line(name, properties) or too_large
    return line if len(line) <= {MAX_EVENT_BYTES} else make_line(name, properties) or too_large
"""

# What `as_id` asks first.
_OWNER: Final = f"""\
    owner = fields["distinct_id"]
    if not (
        type(owner) is str
        and (
            {LONGEST_WORD} < len(owner) <= {SURELY_SHORT}
            or ({LONGEST_NUMBER} < len(owner) <= {LONGEST_WORD} and owner[-1].isdigit())
        )
        and owner.strip() is owner
        and owner != {NIL!r}
    ):
        owner = find_owner(fields, identity)
"""


class Rules(Protocol):
    """What holds for all events of a door."""

    @property
    def filler(self) -> Filler:
        """What fills properties."""

    @property
    def names(self) -> set[str]:
        """Names of events that are sent as they are."""

    def as_name(self, name: str) -> str:
        """Give the name that is sent; ``""`` if nothing can be named so."""

    def owner(self, fields: Mapping[Any, Any], identity: tuple[str, ...]) -> str:
        """Say whose the event is, ``""`` if nobody's."""

    def ignore(self, name: str, heeded: bool) -> Drop:
        """Note that this is no event."""


class Form:
    """
    The form of some events.

    Safe to use from any thread at any moment.

    Args:
        rules: What holds for all of them.

        base: What stands in every event, the four fields of the event among it.

        pairs: Which of the fields are sent, and as what; all are named by plain texts.

        selected: Whether such records are events.

        heeded: Whether it may be worth telling that they are not.

        identity: The fields that say whose an event is; none if that is said beside them.
    """

    __slots__ = ("_base", "_heeded", "_identity", "_pairs", "_rules", "_used", "seal")

    seal: Seal
    """Make a line."""

    def __init__(  # noqa: PLR0913 -- what is to be known of a form
        self,
        rules: Rules,
        *,
        base: Mapping[str, Any],
        pairs: Pairs,
        selected: bool,
        heeded: bool,
        identity: tuple[str, ...],
    ) -> None:
        self._rules = rules
        self._base = base
        self._pairs = pairs
        self._heeded = heeded
        self._identity = identity
        self._used = 0
        self.seal = self._seal_in_a_loop if selected else self._ignore

    def _ignore(
        self,
        said: Said,
        insert_id: Callable[[], str],  # noqa: ARG002 -- as `seal`
        wall: Callable[[], float],  # noqa: ARG002
    ) -> Drop:
        return self._rules.ignore(said[0], self._heeded)

    def _seal_in_a_loop(
        self,
        said: Said,
        insert_id: Callable[[], str],
        wall: Callable[[], float],  # noqa: ARG002 -- as `seal`
    ) -> bytes | Drop:
        name, moment, fields, owner = said
        self._used += 1
        # Once: signals may come faster than it is made, and each may bring an event of this form.
        if self._used == WORTH:
            # Close to the end of the stack, or of memory, the loop must do.
            with suppress(RecursionError, MemoryError):
                self.seal = self._function(fields)
        rules = self._rules
        if name not in rules.names:
            name = rules.as_name(name)
            if not name:
                return Drop.IGNORED
        if self._identity:
            owner = rules.owner(fields, self._identity)
        properties = {
            **self._base,
            "time": int(moment * 1000),
            "distinct_id": owner,
            "$insert_id": insert_id(),
        }
        rules.filler.fill(properties, fields, self._pairs)
        return rules.filler.line(name, properties) or Drop.TOO_LARGE

    def _function(self, example: Mapping[Any, Any]) -> Seal:
        """Make the function; *example* are fields that it is to be good at."""
        # What stands in each event is found by a name that Python takes, what is said by its own.
        constants = {f"constant_{number}": each for number, each in enumerate(self._base.values())}
        sources = dict(zip(self._base, constants, strict=True))
        sources |= {
            "time": "int(moment * 1000)",
            "distinct_id": "owner",
            "$insert_id": "insert_id()",
        }
        for key, name in self._pairs:
            said = f"fields[{key!r}]"
            as_it_is = _AS_IT_IS.get(type(example[key]))
            if as_it_is is None:
                sources[name] = _OTHERWISE.format(said=said)
            else:
                otherwise = _OTHERWISE.format(said="value")
                sources[name] = f"value if {as_it_is.format(said=said)} else {otherwise}"
        rules, filler = self._rules, self._rules.filler
        names = {
            **constants,
            "as_name": rules.as_name,
            "complete": self._complete,
            "dumps": dumps,
            "find_owner": rules.owner,
            "identity": self._identity,
            "ignored": Drop.IGNORED,
            "known": filler.known,
            "knows": filler.knows,
            "make_line": filler.line,
            "missing": MISSING,
            "names": rules.names,
            "other": filler.value,
            "too_large": Drop.TOO_LARGE,
        }
        function = _FUNCTION.format(
            owner=_OWNER if self._identity else "",
            properties="\n".join(f"{name!r}: {source}," for name, source in sources.items()),
        )
        # Texts that others have chosen stand in it as literals only.
        exec(function, names)  # noqa: S102 -- see above
        seal: Seal = names["seal"]
        return seal

    def _complete(self, properties: dict[str, Any]) -> dict[str, Any]:
        """Leave out what has nothing to say; what stands in every event stays as it is there."""
        return {
            name: self._base[name] if value is MISSING else value
            for name, value in properties.items()
            if value is not MISSING or name in self._base
        }
