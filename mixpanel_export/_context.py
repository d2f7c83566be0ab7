"""
Identity and properties bound to the current context: a request, a task, a block of code.

What is bound is a mapping in a context variable, replaced and never changed: a copied context, or a
task that was started before a `bind`, keeps what it saw. Within a request that is not what one
wants: a framework runs parts of it in threads and tasks of their own, each in a copy. So middleware
puts a `Holder` there, and what is bound inside of it reaches all who share it.
"""

from __future__ import annotations

import os
from _thread import get_ident
from collections.abc import Callable, Collection, ItemsView, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar
from threading import RLock
from types import MappingProxyType
from typing import Final

_NOTHING: Final[Mapping[str, object]] = MappingProxyType({})

_bound: ContextVar[Mapping[str, object]] = ContextVar("mixpanel_export", default=_NOTHING)

#: Look up what is bound in this context: a mapping that must not be changed and is not to be kept,
#: since that of a request is asked when it is read. `items` reads it once and is what to use.
current = _bound.get


def bind(properties: Mapping[str, object] | None = None, /, **more: object) -> None:
    """
    Add to what each event of this context carries.

    Follows `contextvars`: it holds for the current thread or asyncio task and for tasks started
    from it, until `unbind` or `clear`. Inside a request or task that one of the middlewares has
    opened, it holds for all of that, whichever thread or task of it calls, and ends with it.

    Args:
        properties: Names and values, for names that are no identifiers, such as ``$user_id``.

        more: The same as keywords. ``distinct_id``, ``$user_id`` and ``$device_id`` say whose the
            events are; everything else becomes a property.
    """
    added = {**(properties or {}), **more}
    _replace(lambda before: plus(before, added))


def unbind(*names: str) -> None:
    """Remove *names* from what is bound; names that are not bound are ignored."""
    _replace(lambda before: _minus(before, names))


def clear() -> None:
    """Remove everything that is bound in this context."""
    _replace(lambda _: _NOTHING)


@contextmanager
def bound(properties: Mapping[str, object] | None = None, /, **more: object) -> Iterator[None]:
    """
    Bind inside a ``with`` block, or a function decorated with it; afterwards all is as before.

    Takes what `bind` takes. Of those who share a request only the one in the block is concerned, so
    parallel tasks of one request do not mix what they bind like this.
    """
    with _set(plus(_bound.get(), {**(properties or {}), **more})):
        yield


def unbound() -> AbstractContextManager[None]:
    """Begin with nothing bound, for a ``with`` block; afterwards all is as before."""
    return _set(_NOTHING)


class Holder(Mapping[str, object]):
    """
    What is bound in one request or task, for everything that takes part in it.

    Args:
        source: Asked each time that somebody reads what is bound, and not before: for an event, not
            for a record that is none. What it says gives way to what is bound inside. Must not
            raise. If it reads what is bound itself, say by logging, it does not find its own part.

        within: What it starts with. None is what is bound where it is made, but nothing of another
            holder: servers may begin one request in the context of the one before (uvicorn does,
            where a client sends several at once).
    """

    __slots__ = ("_asking", "_source", "now", "outside")

    def __init__(
        self,
        source: Callable[[], Mapping[str, object]],
        *,
        within: Mapping[str, object] | None = None,
    ) -> None:
        self._source = source
        #: What it starts with.
        self.outside = _ground(_bound.get()) if within is None else within
        self._asking: set[int] = set()
        #: What is bound at the moment; replaced, never changed.
        self.now: Mapping[str, object] = _Layer(self)

    def open(self) -> AbstractContextManager[None]:
        """Make this what is bound, for a ``with`` block; may be done again and again."""
        return _set(self)

    def __getitem__(self, name: str) -> object:
        return self.now[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.now)

    def __len__(self) -> int:
        return len(self.now)

    def __bool__(self) -> bool:
        return bool(self.now)

    def items(self) -> ItemsView[str, object]:
        """Ask once, and give all there is."""
        return self.now.items()

    # Compared as what it is and not by what it says: asgiref compares context variables.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def ask(self) -> dict[str, object]:
        """Give what it starts with, and what its source says."""
        found = dict(self.outside.items())
        thread = get_ident()
        if thread not in self._asking:
            self._asking.add(thread)
            try:
                found = _merge(found, self._source())
            finally:
                self._asking.discard(thread)
        return found


class _Layer(Mapping[str, object]):
    """What was bound and unbound since, upon what a holder is yet to be asked for."""

    __slots__ = ("_gone", "_own", "holder")

    def __init__(
        self,
        holder: Holder,
        own: Mapping[str, object] = _NOTHING,
        gone: frozenset[str] = frozenset(),
    ) -> None:
        self.holder = holder
        self._own = own
        self._gone = gone

    def plus(self, added: Mapping[str, object]) -> _Layer:
        return _Layer(self.holder, {**self._own, **added}, self._gone.difference(added))

    def minus(self, names: tuple[str, ...]) -> _Layer:
        return _Layer(self.holder, _without(self._own, names), self._gone.union(names))

    def __getitem__(self, name: str) -> object:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __bool__(self) -> bool:
        return True  # Nobody knows before it was asked.

    def items(self) -> ItemsView[str, object]:
        return self._all().items()

    def _all(self) -> dict[str, object]:
        return _merge(_without(self.holder.ask(), self._gone), self._own)


# Guards the exchange of what a holder holds, since threads share it. Made anew in a child, where a
# thread that held it is not there to let go.
_changing = RLock()


def _renew_lock() -> None:
    global _changing  # noqa: PLW0603 -- one lock for the process
    _changing = RLock()


with suppress(AttributeError):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_renew_lock)


def _replace(change: Callable[[Mapping[str, object]], Mapping[str, object]]) -> None:
    here = _bound.get()
    if isinstance(here, Holder):
        with _changing:
            here.now = change(here.now)
    else:
        _bound.set(change(here))


@contextmanager
def _set(value: Mapping[str, object]) -> Iterator[None]:
    token = _bound.set(value)
    try:
        yield
    finally:
        # A generator may be finished in another context than the one that started it, as async
        # fixtures and the collector do. What is bound there is none of ours to restore.
        with suppress(ValueError):
            _bound.reset(token)


def _ground(here: Mapping[str, object]) -> Mapping[str, object]:
    """Give what is bound beneath all holders, if *here* is one or belongs to one."""
    if isinstance(here, _Layer):
        here = here.holder
    return _ground(here.outside) if isinstance(here, Holder) else here


def plus(before: Mapping[str, object], added: Mapping[str, object]) -> Mapping[str, object]:
    """Give what is bound and *added* on top, without asking a holder that is among it."""
    if isinstance(before, Holder):
        before = before.now
    return before.plus(added) if isinstance(before, _Layer) else {**before, **added}


def _minus(before: Mapping[str, object], names: tuple[str, ...]) -> Mapping[str, object]:
    return before.minus(names) if isinstance(before, _Layer) else _without(before, names)


def _without(before: Mapping[str, object], names: Collection[str]) -> dict[str, object]:
    return {name: value for name, value in before.items() if name not in names}


def _merge(under: dict[str, object], over: Mapping[str, object]) -> dict[str, object]:
    """Put *over* on top; if it says whose the events are, what is below does not any more."""
    if over.get("distinct_id") is not None:
        under = _without(under, ("$user_id", "$device_id"))
    elif over.get("$user_id") is not None:
        # The device stays: Mixpanel learns from the two together whose device it is.
        under = _without(under, ("distinct_id",))
    return {**under, **over}
