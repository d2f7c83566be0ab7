"""One shape for what an application said, wherever it said it."""

from __future__ import annotations

from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NOTHING_BOUND: Final[Mapping[str, object]] = MappingProxyType({})


class Record(NamedTuple):
    """
    What the application said, before any rule has looked at it.

    A named tuple rather than a dataclass: one is made for each log record, and this is a third of
    the price.
    """

    name: str
    """What would name the event: the template of a log message, never the interpolated text."""

    time: float
    """When it was said, in seconds since the epoch."""

    fields: Mapping[Any, object]
    """The fields that the application gave, identity, marks and properties alike."""

    logger: str = ""
    """The logger's name."""

    bound: Mapping[str, object] = NOTHING_BOUND
    """What was bound in the context at that moment."""

    grounds: frozenset[str] | None = None
    """
    The values of `select` under which it is an event, where the door knows that better than the
    names of its fields do; with ``marked`` among them a callable is not asked. `None` leaves it to
    the names.
    """


#: Make a record of a tuple of all its fields: the same for half the price, where that counts.
new_record: Final[Callable[[tuple[object, ...]], Record]] = partial(tuple.__new__, Record)
