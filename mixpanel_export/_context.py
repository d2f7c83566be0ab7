"""Identity and properties bound to the current context: a request, a task, a block of code."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_NOTHING: Final[Mapping[str, object]] = MappingProxyType({})

# What is bound is replaced, never changed: a copied context, or a task that was started before a
# `bind`, keeps what it saw.
_bound: ContextVar[Mapping[str, object]] = ContextVar("mixpanel_export", default=_NOTHING)

#: Look up what is bound in this context: a mapping that must not be changed.
current = _bound.get


def bind(properties: Mapping[str, object] | None = None, /, **more: object) -> None:
    """
    Add to what each event of this context carries.

    Follows `contextvars`: it holds for the current thread or asyncio task and for tasks started
    from it, until `unbind` or `clear`.

    Args:
        properties: Names and values, for names that are no identifiers, such as ``$user_id``.

        more: The same as keywords. ``distinct_id``, ``$user_id`` and ``$device_id`` say whose the
            events are; everything else becomes a property.
    """
    _bound.set({**_bound.get(), **(properties or {}), **more})


def unbind(*names: str) -> None:
    """Remove *names* from what is bound; names that are not bound are ignored."""
    _bound.set({name: value for name, value in _bound.get().items() if name not in names})


def clear() -> None:
    """Remove everything that is bound in this context."""
    _bound.set(_NOTHING)


@contextmanager
def bound(properties: Mapping[str, object] | None = None, /, **more: object) -> Iterator[None]:
    """
    Bind inside a ``with`` block, or a function decorated with it; afterwards all is as before.

    Takes what `bind` takes.
    """
    token = _bound.set({**_bound.get(), **(properties or {}), **more})
    try:
        yield
    finally:
        # A generator may be finished in another context than the one that started it, as async
        # fixtures and the collector do. What is bound there is none of ours to restore.
        with suppress(ValueError):
            _bound.reset(token)
