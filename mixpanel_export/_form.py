"""
The form of the events whose fields have one set of names: what is the same in each is in it.

The first events are put together in a loop, like any other. An event that comes again and again is
worth a function of its own: the loop unrolled, the line written out but for the values, and for
each value the one check that its type in the event before has asked for. A value of another type is
as welcome; it is told apart as in the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import chain, repeat
from json.encoder import encode_basestring
from typing import Any, Final, Protocol

from mixpanel_export._event import Drop
from mixpanel_export._fill import CARDS, FEW, LEFT_OUT, Filler
from mixpanel_export._ids import LONGEST_NUMBER, LONGEST_WORD, NIL
from mixpanel_export._limits import MAX_EVENT_BYTES
from mixpanel_export._line import Pairs, dump
from mixpanel_export._privacy import SHORTEST_SECRET, is_id
from mixpanel_export._values import SURELY_SHORT

#: What would name the event, when it was said in seconds since the epoch, its fields, and whose it
#: is if these do not tell. There may be more fields than the form knows of.
Said = tuple[str, float, Mapping[Any, Any], str]

#: What makes a line of it, given what makes up an id and what tells the seconds since the epoch.
Seal = Callable[[Said, Callable[[], str], Callable[[], float]], bytes | Drop]

#: How often a form is used before it gets a function: making one takes as long as 170 events in the
#: loop (0.8 ms, measured), and a program that makes up names must not pay it for each.
WORTH: Final = 150

#: So many fields are too many for a function: to make it would keep everybody waiting for 10 ms.
TOO_MANY: Final = 70

# When *value* is simple, and its JSON then: what `Filler.value` asks first.
_TEXT: Final = ("type(value) is str and value in known", "known[value]")
_SHORT_ID: Final = (
    f"type(value) is str and len(value) < {SHORTEST_SECRET} and value.isalnum()",
    """f'"{value}"'""",
)
_LONG_ID: Final = ("type(value) is str and is_id(value)", """f'"{value}"'""")
_SIMPLE: Final = {
    bool: (("value is True", "'true'"), ("value is False", "'false'")),
    int: ((f"type(value) is int and {-CARDS} < value < {CARDS}", "str(value)"),),
    float: (("type(value) is float and value in written", "written[value]"),),
}

# A list of so many texts. Only these are looked up: anything else would be asked for its hash, and
# may take its time for that, or the stack.
_TEXTS: Final = "type(value) is list and len(value) == {size} == len(texts := tuple(value)){each}"
_EACH_TEXT: Final = " and type(texts[{index}]) is str"

_IF_SIMPLE: Final = """\
if {when}:
            {slot} = {json}
        el"""

_VALUE: Final = """\
        value = {said}
        {simple}if ({slot} := json(value)) is left_out:
            {instead}
"""

_FUNCTION: Final = f"""\
def seal(said, insert_id, wall):
    name, moment, fields, owner = said
    try:
        if name in names:
            event = names[name]
        else:
            name = as_name(name)
            if not name:
                return ignored
            event = dump(name)
{{owner}}
        gaps = ()
{{values}}
        line = {{line}}
        if gaps:
            for gap in gaps:
                line = line.replace(gap, "")
        line = line.encode()
    except (LookupError, ValueError):
        # What was known was forgotten just now, or an id holds half of a surrogate pair.
        return again(said, insert_id, wall)
    return line if len(line) <= {MAX_EVENT_BYTES} else again(said, insert_id, wall)
"""

#: So many users are remembered, then all are forgotten. Who does one thing mostly does another
#: soon: with so many, 78 % of the requests in a web server's log were of somebody known. An event
#: of theirs costs 0.65 us less than without a memory, one of somebody new 0.6 us more (measured).
USERS: Final = 250

_REMEMBER: Final = f"""\
            if len(owners) >= {USERS}:
                owners.clear()
            owners[owner] = owner = quote(owner)
"""
# Whose it is, in JSON: among the fields, where `as_id` would ask first what is asked here, or said
# beside them.
_OWNER: Final = f"""\
        owner = fields["distinct_id"]
        if type(owner) is str and owner in owners:
            owner = owners[owner]
        elif (
            type(owner) is str
            and (
                {LONGEST_WORD} < len(owner) <= {SURELY_SHORT}
                or ({LONGEST_NUMBER} < len(owner) <= {LONGEST_WORD} and owner[-1].isdigit())
            )
            and owner.strip() is owner
            and owner != {NIL!r}
        ):
{_REMEMBER}
        else:
            owner = quote(find_owner(fields, identity))
"""
_OWNER_BESIDE: Final = f"""\
        if owner in owners:
            owner = owners[owner]
        else:
{_REMEMBER}
"""


class Rules(Protocol):
    """What holds for all events of a door."""

    @property
    def filler(self) -> Filler:
        """What fills properties."""

    @property
    def names(self) -> dict[str, str]:
        """Names of events that are sent as they are, and the JSON of each."""

    @property
    def owners(self) -> dict[str, str]:
        """Ids that are sent as they are, and the JSON of each."""

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
        insert_id: Callable[[], str],  # noqa: ARG002 -- whoever calls `seal` gives it
        wall: Callable[[], float],  # noqa: ARG002 -- whoever calls `seal` gives it
    ) -> Drop:
        return self._rules.ignore(said[0], self._heeded)

    def _seal_in_a_loop(
        self,
        said: Said,
        insert_id: Callable[[], str],
        wall: Callable[[], float],  # noqa: ARG002 -- whoever calls `seal` gives it
    ) -> bytes | Drop:
        name, moment, fields, owner = said
        self._used += 1
        # Once: signals may come faster than it is made, and each may bring an event of this form.
        if self._used == WORTH and len(self._pairs) < TOO_MANY:
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
        rules, filler = self._rules, self._rules.filler
        # Of a line; each is a literal in Python, if in braces with the name of what is the JSON.
        parts = {name: repr(dump(value)) for name, value in self._base.items()}
        parts |= {
            "time": "f'{int(moment * 1000)}'",
            "distinct_id": "f'{owner}'",
            "$insert_id": """f'"{insert_id()}"'""",
        }
        values = []
        for number, (key, name) in enumerate(self._pairs):
            slot = f"value_{number}"
            gap = f"gaps += ({f',{dump(name)}:{LEFT_OUT}'!r},)"
            instead = f"{slot} = {parts[name]}" if name in parts else gap
            parts[name] = f"f'{{{slot}}}'"
            values.append(_value(example[key], said=f"fields[{key!r}]", slot=slot, instead=instead))
        pieces = [repr('{"event":'), "f'{event}'", repr(',"properties":')]
        for before, (name, part) in zip(chain("{", repeat(",")), parts.items(), strict=False):
            pieces += [repr(f"{before}{dump(name)}:"), part]
        pieces.append(repr("}}"))
        function = _FUNCTION.format(
            owner=_OWNER if self._identity else _OWNER_BESIDE,
            values="".join(values),
            line=" ".join(pieces),
        )
        names: dict[str, Any] = {
            "again": self._seal_in_a_loop,
            "as_name": rules.as_name,
            "dump": dump,
            "find_owner": rules.owner,
            "identity": self._identity,
            "ignored": Drop.IGNORED,
            "is_id": is_id,
            "json": filler.json,
            "known": filler.known,
            "left_out": LEFT_OUT,
            "names": rules.names,
            "owners": rules.owners,
            "quote": encode_basestring,
            "written": filler.written,
        }
        # Texts that others have chosen stand in it as literals only.
        exec(function, names)  # noqa: S102 -- no text of others is code in it
        seal: Seal = names["seal"]
        return seal


def _value(example: object, **words: str) -> str:
    """Write down how a value becomes JSON; *example* is one of them, *words* stand in `_VALUE`."""
    simple: tuple[tuple[str, str], ...]
    if example is None or type(example) is str:
        simple = (_TEXT, _SHORT_ID)
        if example is not None and is_id(example):
            simple = (_SHORT_ID if len(example) < SHORTEST_SECRET else _LONG_ID, _TEXT)
    elif type(example) is list and 0 < len(example) <= FEW:
        each = "".join(_EACH_TEXT.format(index=index) for index in range(len(example)))
        texts = _TEXTS.format(size=len(example), each=each)
        simple = ((f"{texts} and texts in written", "written[texts]"),)
    else:
        simple = _SIMPLE.get(type(example), ())
    return _VALUE.format(
        simple="".join(_IF_SIMPLE.format(when=when, json=json, **words) for when, json in simple),
        **words,
    )
