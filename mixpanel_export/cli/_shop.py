"""
The simulated shop: an application like any other, which says what happens in it.

`bound` is around what one visitor does; everything else is said with one of the voices that the
shop is given. It does not know who listens.
"""

from __future__ import annotations

import contextvars
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, cycle
from random import Random
from types import MappingProxyType
from typing import Any, ClassVar, Final, NamedTuple

from mixpanel_export import Pipeline, bound

# How many visitors are in the shop at once.
_CROWD: Final = 25

# How many different visitors there are: few enough that some come back.
_PEOPLE: Final = 400

# Networks that exist in documentation only. -- RFC 5737, 3.
_NETWORKS: Final = ("192.0.2", "198.51.100", "203.0.113")

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class Product(NamedTuple):
    """Something to buy."""

    name: str
    path: str
    price: float


_PRODUCTS: Final = (
    Product("Teapot", "/teapot", 39.0),
    Product("Kettle", "/kettle", 59.5),
    Product("Grinder", "/grinder", 84.0),
    Product("Filter Papers", "/filter-papers", 4.9),
    Product("Espresso Beans", "/espresso-beans", 17.8),
    Product("Milk Jug", "/milk-jug", 21.0),
)


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who comes to the shop, perhaps more than once."""

    distinct_id: str
    ip: str
    plan: str
    currency: str


class Voice(ABC):
    """
    One way for an application to say what happens in it.

    Args:
        pipeline: Where its events go.

    Raises:
        ImportError: If what it speaks with is not installed.
    """

    #: How it is called.
    name: ClassVar[str]

    #: The extra that installs what it needs; empty if it needs nothing.
    extra: ClassVar[str] = ""

    @abstractmethod
    def __init__(self, pipeline: Pipeline) -> None: ...

    @abstractmethod
    def say(
        self, visitor: Visitor, event: str, fields: Mapping[str, Any], profile: Mapping[str, Any]
    ) -> None:
        """
        Say something that is an event.

        Args:
            visitor: Whose event it is; what is known of them is bound, too.

            event: Its name.

            fields: Its properties.

            profile: What it sets in the visitor's profile; empty if nothing.
        """

    @abstractmethod
    def note(self, text: str, *arguments: object) -> None:
        """Say something that is no event, to whoever looks after the shop."""

    def close(self) -> None:  # noqa: B027 -- most have nothing to close
        """Fall silent."""


class _Visit(NamedTuple):
    """A visitor in the shop, and what is spoken with about it."""

    visitor: Visitor
    voice: Voice


class Shop:
    """
    The shop with everybody in it.

    Args:
        chance: What decides who comes and what they do.

        voices: What is spoken with; each visit has one of them, in turn.
    """

    def __init__(self, chance: Random, voices: Sequence[Voice]) -> None:
        #: How many events were said, by the name of the voice.
        self.said = Counter({voice.name: 0 for voice in voices})
        #: How many ordinary lines were said, which are no events.
        self.lines = 0
        #: How many times something in a profile was set.
        self.updates = 0
        #: The profiles that were set, by `distinct_id`.
        self.profiles: dict[str, Mapping[str, Any]] = {}
        self._chance = chance
        self._voices = cycle(voices)
        self._orders = count(1)
        self._people = [self._person(number) for number in range(_PEOPLE)]
        self._visits: list[tuple[contextvars.Context, Generator[None]]] = []

    @property
    def events(self) -> int:
        """How many events were said."""
        return self.said.total()

    def step(self) -> None:
        """Let somebody do one thing, which is one event."""
        while not self._advance():
            pass  # Whoever was asked has left the shop.

    def close(self) -> None:
        """Send everybody home, each in a context of their own."""
        for context, visit in self._visits:
            context.run(visit.close)
        self._visits.clear()

    def _advance(self) -> bool:
        """Let one visitor go on; False if there was nothing left to do but leave."""
        chance = self._chance
        if len(self._visits) < _CROWD:
            # A context of its own, as a request has in a web framework: what is bound for one
            # visitor is not bound for the others.
            visit = self._visit(_Visit(chance.choice(self._people), next(self._voices)))
            self._visits.append((contextvars.copy_context(), visit))
        index = chance.randrange(len(self._visits))
        context, visit = self._visits[index]
        try:
            context.run(next, visit)
        except StopIteration:
            del self._visits[index]
            return False
        return True

    def _person(self, number: int) -> Visitor:
        chance = self._chance
        return Visitor(
            distinct_id=f"u-{1000 + number}",
            ip=f"{chance.choice(_NETWORKS)}.{chance.randrange(1, 255)}",
            plan=chance.choice(("free", "free", "pro", "team")),
            currency=chance.choice(("EUR", "EUR", "USD", "GBP")),
        )

    def _say(
        self,
        visit: _Visit,
        event: str,
        fields: Mapping[str, Any],
        profile: Mapping[str, Any] = _NOTHING,
    ) -> None:
        visit.voice.say(visit.visitor, event, fields, profile)
        self.said[visit.voice.name] += 1
        if profile:
            self.updates += 1
            self.profiles[visit.visitor.distinct_id] = profile

    # -- what a visitor does; a yield follows each event ------------------------------------------

    def _visit(self, visit: _Visit) -> Generator[None]:
        visitor = visit.visitor
        with bound(distinct_id=visitor.distinct_id, ip=visitor.ip):
            self._say(visit, "Page Viewed", {"path": "/"})
            yield
            if self._chance.random() < 0.25:
                self._say(visit, "Signed Up", {"via": "form"}, {"plan": visitor.plan})
                yield
            basket: list[Product] = []
            yield from self._browse(visit, basket)
            if basket and self._chance.random() < 0.6:
                yield from self._buy(visit, basket)

    def _browse(self, visit: _Visit, basket: list[Product]) -> Generator[None]:
        for product in self._chance.sample(_PRODUCTS, self._chance.randint(1, 4)):
            self._say(visit, "Page Viewed", {"path": product.path})
            yield
            if self._chance.random() < 0.5:
                basket.append(product)
                cost = {"product": product.name, "price": product.price}
                self._say(visit, "Added to Cart", cost)
                yield

    def _buy(self, visit: _Visit, basket: list[Product]) -> Generator[None]:
        order = f"o-{next(self._orders):05d}"
        self.lines += 1
        visit.voice.note("reserved %d articles for %s", len(basket), order)
        total = round(sum(product.price for product in basket), 2)
        money = {"order": order, "total": total, "currency": visit.visitor.currency}
        self._say(visit, "Order Placed", {**money, "articles": [each.name for each in basket]})
        yield
        if self._chance.random() < 0.85:
            method = self._chance.choice(("card", "invoice"))
            self._say(visit, "Order Paid", {**money, "method": method})
        else:
            self._say(visit, "Order Cancelled", {**money, "reason": "changed my mind"})
        yield
