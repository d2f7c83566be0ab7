"""
A record becomes an event, and an event a line.

::

    Record ── translate ──> Event ── seal ──> line

A line is the JSON of one event without a line break. `event`, `time`, `distinct_id` and
`$insert_id` are frozen in it: Mixpanel takes two events for the same only if all four are equal, so
nothing after this file may write a line again. It never holds a credential.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from mixpanel_export._event import Drop, Event
from mixpanel_export._fill import Filler
from mixpanel_export._ids import MEMORY, as_id
from mixpanel_export._limits import MAX_PROPERTIES
from mixpanel_export._line import HONOURED, dump, honour, squeeze
from mixpanel_export._plan import FIXED, FRAMEWORKS, IDENTITY, OURS, Heed, Plan, make_plan
from mixpanel_export._privacy import Privacy
from mixpanel_export._quota import Quota
from mixpanel_export._record import Record
from mixpanel_export._update import VERBS, Aside, ProfileUpdate, seal_update, seal_verb
from mixpanel_export._values import MISSING

if TYPE_CHECKING:
    from mixpanel_export._settings import Settings
    from mixpanel_export._update import GroupUpdate

#: What becomes of one item: its line, or why there is none. An event that updates its user's
#: profile too has several, its own first.
Sealed = bytes | Aside | Drop | tuple[bytes | Aside | Drop, ...]

#: So many different names of events are too many. Mixpanel shows no more than 5,000 of a project.
#: -- Mixpanel docs, Events and Properties (read 2026-08-21). One program has tens.
MANY_NAMES: Final = 500

# What stands there if a field of the event itself cannot be used.
_UNUSABLE: Final = frozenset({"time_", "ip_"})

# What a user should know, at most once an hour, and nothing is lost by.
_HINTS: Final = {
    "names": f"more than {MANY_NAMES} different names of events; an event is one of few things that"
    " can happen, and what varies belongs into its properties",
    "ids": "an id that Mixpanel does not take, such as 'anonymous' or '0', was replaced by nobody",
    "cut": "a text longer than 255 bytes was cut, as Mixpanel would do",
    "naive": "a date without a time zone was taken as UTC",
    "time": "a time that is neither a datetime nor seconds or milliseconds since 1971 was sent as"
    " the property time_; the event has the time of its record",
    "verb": "an event named $identify, $create_alias or $merge was left out: these join users, and"
    " only an Event that is submitted by hand may do so",
}


class Translator:
    """
    The "what" of one door: which records are events, and what stands in them.

    Its methods are pure but for what they remember, and safe to call from any thread at any moment.

    Args:
        settings: The "what" fields are read, and whether there is a token.

        select: The door's own default for `select`.

        hint: Called with a kind and a text about what a user should know; with ``"ignored"`` and
            the name of the first record that is no event.
    """

    __slots__ = (
        "_base",
        "_event_plans",
        "_explained",
        "_hint",
        "_line",
        "_plain",
        "_plans",
        "_quota",
        "_select",
        "_selection",
        "_token",
        "_transform",
        "_within",
        "filler",
        "names",
        "owners",
    )

    def __init__(
        self,
        settings: Settings,
        *,
        select: str = "all",
        hint: Callable[[str, str], object] = lambda _kind, _text: None,
    ) -> None:
        chosen = settings.select if settings.select is not None else select
        self._select = chosen if callable(chosen) else None
        self._selection = "all" if callable(chosen) else chosen
        self._within = settings.loggers
        self._transform = settings.transform
        # Without any credentials nothing is sent anyway, but tests may want to see it.
        self._token = settings.token is not None or settings.credentials is None
        self._explained = False
        self._hint = hint
        quota = Quota(settings.sample, settings.budget)
        self._quota = quota if quota.limits else None
        privacy = Privacy(scrub=settings.scrub, allow=settings.allow, deny=settings.deny)
        self.filler = Filler(privacy, self._tell)
        # Whether the settings leave single events alone.
        self._plain = not (self._select or self._transform or self._quota)
        self._line = self.filler.line
        self._plans: dict[tuple[object, ...], Plan] = {}
        self._event_plans: dict[tuple[object, ...], Plan] = {}
        #: Names of events that are sent as they are, and the JSON of each.
        self.names: dict[str, str] = {}
        #: Ids of users that are sent as they are, and the JSON of each; forms fill it.
        self.owners: dict[str, str] = {}
        # What stands in every event, already in the form in which it is sent.
        self._base: dict[str, Any] = {
            "time": 0,
            "distinct_id": "",
            "$insert_id": None,
            "ip": "0",
            "mp_lib": "mixpanel-export",
        }
        given = settings.super_properties
        plan = make_plan(tuple(given), privacy)
        for key, name in plan.pairs[: MAX_PROPERTIES - FIXED]:
            value = self.filler.clean(given[key])
            if value is not MISSING:
                self._base[name] = plan.hidden.get(name, value)

    def translate(self, record: Record) -> Event | None:
        """
        Make the event that *record* describes, or `None` if it describes none.

        `transform` has not seen it yet, and its values are those of the record.
        """
        plan = self.plan(record.logger, tuple(record.fields))
        name = self._chosen(record, plan)
        if name is None or _is_blank(name):
            return None
        return self._event(name, record, *self._with_bound(record, plan))

    def seal(
        self,
        item: Record | Event | ProfileUpdate | GroupUpdate,
        insert_id: Callable[[], str],
        wall: Callable[[], float],
    ) -> Sealed:
        """
        Make a line of *item*.

        Args:
            item: A record to translate, or an event or an update made by hand.

            insert_id: Called for an id if the item brings none.

            wall: Called for the seconds since the epoch: the time of an event without one, and what
                "in the future" is measured from.
        """
        if type(item) is not Record:
            return self.seal_by_hand(item, insert_id, wall)  # type: ignore[arg-type] # no record
        fields = item.fields
        try:
            plan = self._plans[item.logger, tuple(fields)]
        except KeyError:
            plan = self.plan(item.logger, tuple(fields))
        plain = plan.form is not None and item.grounds is None
        name = (item.name if plan.selected else None) if plain else self._chosen(item, plan)
        if name is None:
            return self.ignore(item.name, bool(plan.heed))
        if item.bound:
            fields, plan = self._with_bound(item, plan)
        if plain and plan.form is not None:
            return plan.form.seal((name, item.time, fields, ""), insert_id, wall)
        if self._transform is not None:
            event = self._event(name, item, fields, plan)
            line = self._seal_event(event, insert_id, wall)
        else:
            properties = self._base.copy()
            properties["time"] = int(item.time * 1000)
            if plan.identity:
                properties["distinct_id"] = self.owner(fields, plan.identity)
            line = self._make(name, properties, fields, plan, insert_id, wall, item.time)
        if not plan.operations:
            return line
        return (line, *self._updates(fields, plan))

    def ignore(self, name: str, heeded: bool) -> Drop:
        """Note that this is no event; tell it once if it is *heeded*."""
        if not self._explained and heeded:
            self._explained = True
            self._hint("ignored", name)
        return Drop.IGNORED

    # -- made by hand -----------------------------------------------------------------------------

    def seal_by_hand(
        self,
        item: Event | ProfileUpdate | GroupUpdate,
        insert_id: Callable[[], str],
        wall: Callable[[], float],
    ) -> Sealed:
        """Make a line of an event or an update made by hand; see `seal`."""
        if not isinstance(item, Event):
            return self._seal_update(item)
        if item.name in VERBS:
            return seal_verb(item, insert_id(), wall(), self.filler.privacy)
        return self._seal_event(item, insert_id, wall)

    def _seal_update(self, update: ProfileUpdate | GroupUpdate) -> Aside | Drop:
        return seal_update(update, self.filler.privacy) if self._token else Drop.NO_TOKEN

    def _seal_event(
        self, event: Event, insert_id: Callable[[], str], wall: Callable[[], float]
    ) -> bytes | Drop:
        if self._transform is not None:
            changed = self._transform(event)
            if not isinstance(changed, Event):
                return Drop.TRANSFORM
            event = changed
        fields = event.properties
        if event.time is not None or event.insert_id is not None or event.ip is not None:
            given = {"time": event.time, "$insert_id": event.insert_id, "ip": event.ip}
            fields = {
                **fields,
                **{name: value for name, value in given.items() if value is not None},
            }
        names = tuple(fields)
        try:
            plan = self._event_plans[names]
        except KeyError:
            plan = make_plan(
                names,
                self.filler.privacy,
                base=self._base,
                rules=self if self._plain else None,
                named=False,
            )
            _remember(self._event_plans, names, plan)
        now = wall()
        owner = event.distinct_id
        if not owner:
            owner = self.owner(fields, plan.identity)
        elif type(owner) is not str or owner not in self.owners:
            owner = as_id(owner)
            if not owner:
                self._tell("ids")
        if plan.form is not None:
            return plan.form.seal((event.name, now, fields, owner), insert_id, wall)
        properties = {**self._base, "time": int(now * 1000), "distinct_id": owner}
        return self._make(event.name, properties, fields, plan, insert_id, wall, now)

    # -- which records ----------------------------------------------------------------------------

    def _chosen(self, record: Record, plan: Plan) -> str | None:
        """Give the event's name, or None if the record is no event."""
        if plan.mark is not None:
            mark = record.fields[plan.mark]
            if mark is True:
                return record.name
            return mark or None if type(mark) is str else _marked(mark, record.name)
        grounds = record.grounds
        if grounds is None:
            selected = plan.selected
        else:
            named = plan.heed is Heed.NAMED and "identified" in grounds
            selected = self._selection in grounds and (named or plan.heed is Heed.ALL)
        if not selected:
            return None
        if self._select is None or (grounds and "marked" in grounds) or self._select(record):
            return record.name
        return None

    def _heed(self, logger: str) -> Heed:
        top = logger.partition(".")[0]
        within = self._within
        if top.rstrip("0123456789") in OURS or top in OURS:
            return Heed.NONE
        if within is not None:
            wanted = any(logger == each or logger.startswith(each + ".") for each in within)
            return Heed.ALL if wanted else Heed.NONE
        return Heed.NAMED if top in FRAMEWORKS else Heed.ALL

    # -- which fields -----------------------------------------------------------------------------

    def plan(self, logger: str, names: tuple[object, ...]) -> Plan:
        """Say what to do with records of *logger* whose fields have these *names*."""
        plan = self._plans.get((logger, names))
        if plan is None:
            plan = make_plan(
                names,
                self.filler.privacy,
                base=self._base,
                stamped=True,
                selection=self._selection,
                heed=self._heed(logger),
                rules=self if self._plain else None,
            )
            _remember(self._plans, (logger, names), plan)
        return plan

    def _with_bound(self, record: Record, plan: Plan) -> tuple[Mapping[Any, Any], Plan]:
        """Add what is bound to the record's own fields; one identity, not a mix of two."""
        fields: dict[Any, Any] = dict(record.fields)
        known = False
        for name in plan.identity:
            if fields[name] is None:
                del fields[name]
            else:
                known = True
        for name, value in record.bound.items():
            if not (known and name in IDENTITY):
                fields.setdefault(name, value)
        names = tuple(fields)
        return fields, self._plans.get((record.logger, names)) or self.plan(record.logger, names)

    def _event(self, name: str, record: Record, fields: Mapping[Any, Any], plan: Plan) -> Event:
        head: dict[str, Any] = {"time": int(record.time * 1000), "$insert_id": None, "ip": None}
        if plan.honoured:
            honour(head, fields, record.time)
        properties = {name: value for name, value in head.items() if name not in HONOURED}
        properties.update((name, fields[key]) for key, name in plan.pairs)
        if owner := self.owner(fields, plan.identity):
            properties.update((name, fields[name]) for name in plan.aliases)
        return Event(
            name,
            distinct_id=owner,
            properties=properties,
            time=head["time"],
            insert_id=head["$insert_id"],
            ip=head["ip"],
        )

    def _updates(self, fields: Mapping[Any, Any], plan: Plan) -> list[Aside | Drop]:
        """Make the lines that update the user's profile."""
        owner = self.owner(fields, plan.identity)
        return [
            self._seal_update(ProfileUpdate(owner, operation, fields[operation]))
            for operation in plan.operations
        ]

    # -- the line ---------------------------------------------------------------------------------

    def _make(  # noqa: PLR0913, PLR0917 -- the one place where everything comes together
        self,
        name: str,
        properties: dict[str, Any],
        fields: Mapping[Any, Any],
        plan: Plan,
        insert_id: Callable[[], str],
        wall: Callable[[], float],
        now: float,
    ) -> bytes | Drop:
        """
        Put everything together.

        Args:
            name: The event's name.

            properties: What stands in every event, with its time and its owner; used up.

            fields: What was said.

            plan: What becomes of it.

            insert_id: Called for an id if *fields* hold none.

            wall: Called for the seconds since the epoch, if that matters.

            now: Seconds since the epoch, for a time among *fields*.
        """
        if name not in self.names:
            name = self.as_name(name)
            if not name:
                return Drop.IGNORED
        if plan.honoured:
            honour(properties, fields, now)
            for unusable in properties.keys() & _UNUSABLE:
                properties[unusable] = self.filler.text(properties[unusable])
            if "time_" in properties:
                self._tell("time")
        if properties["$insert_id"] is None:
            properties["$insert_id"] = insert_id()
        if plan.aliases and properties["distinct_id"]:
            # Mixpanel goes by these, too: of nobody's event they would make somebody's.
            aliases = ((alias, as_id(fields[alias])) for alias in plan.aliases)
            properties.update((alias, value) for alias, value in aliases if value)
        if self._quota is not None:
            drop = self._quota.spend(
                name, properties["distinct_id"], properties["$insert_id"], wall()
            )
            if drop is not None:
                return drop
        pairs = plan.pairs
        if plan.rivals is not None:
            pairs = squeeze(properties, pairs, plan.rivals)
        self.filler.fill(properties, fields, pairs)
        if plan.hidden:
            hidden = plan.hidden.items()
            properties.update((sent, instead) for sent, instead in hidden if sent in properties)
        return self._line(name, properties) or Drop.TOO_LARGE

    def as_name(self, name: str) -> str:
        """Give the name that is sent; ``""`` if nothing can be named so."""
        if _is_blank(name):
            return ""
        if name in VERBS:
            self._tell("verb")
            return ""
        found = self.filler.text(name)
        if found == name:
            if len(self.names) >= MEMORY:
                self.names.clear()
            self.names[name] = dump(name)
            if len(self.names) > MANY_NAMES:
                self._tell("names")
        return found

    def owner(self, fields: Mapping[Any, Any], identity: tuple[str, ...]) -> str:
        """Give the first *identity* that is not None; ``""`` if there is none."""
        for name in identity:
            value = fields[name]
            if value is not None:
                owner = as_id(value, name == "$device_id")
                if not owner and not (type(value) is str and not value):
                    self._tell("ids")
                return owner
        return ""

    def _tell(self, kind: str) -> None:
        self._hint(kind, _HINTS[kind])


def _marked(mark: object, name: str) -> str | None:
    """Give the name of an event whose mark is neither True nor a plain text."""
    try:
        if not mark:
            return None
    except Exception:  # noqa: BLE001 -- somebody else's __bool__ may raise anything
        return name
    return str.__str__(cast("str", mark)) if issubclass(type(mark), str) else name


def _is_blank(name: str) -> bool:
    # Mixpanel rejects an event without a name. -- Import Events (read 2026-08-21).
    return not name or name.isspace()


def _remember(memory: dict[Any, Any], key: tuple[object, ...], value: object) -> None:
    if len(memory) >= MEMORY:
        memory.clear()
    memory[key] = value


def translate(record: Record, settings: Settings, *, select: str = "all") -> Event | None:
    """
    Make the event that *record* describes, or `None` if it describes none.

    A door makes a `Translator` once and keeps it; this is the same for a single record.

    Args:
        record: What the application said.

        settings: Its "what" fields decide.

        select: What decides if ``settings.select`` is `None`.
    """
    return Translator(settings, select=select).translate(record)
