"""
The simulated shop: an application like any other, which logs what happens in it.

This is how a program looks that uses this library: `log.info` with ordinary ``extra=`` fields, and
`bound` around what one visitor does. It does not know who listens.
"""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Generator
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Final, NamedTuple

from mixpanel_export import bound

log = logging.getLogger("shop")

# How many visitors are in the shop at once.
_CROWD: Final = 25

# How many different visitors there are: few enough that some come back.
_PEOPLE: Final = 400

# Networks that exist in documentation only. -- RFC 5737, 3.
_NETWORKS: Final = ("192.0.2", "198.51.100", "203.0.113")


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


class Shop:
    """
    The shop with everybody in it.

    Args:
        chance: What decides who comes and what they do.
    """

    def __init__(self, chance: Random) -> None:
        #: How many events were logged.
        self.events = 0
        #: How many ordinary lines were logged, which are no events.
        self.lines = 0
        self._chance = chance
        self._orders = count(1)
        self._people = [self._person(number) for number in range(_PEOPLE)]
        self._visits: list[tuple[contextvars.Context, Generator[None]]] = []

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
            visit = self._visit(chance.choice(self._people))
            self._visits.append((contextvars.copy_context(), visit))
        index = chance.randrange(len(self._visits))
        context, visit = self._visits[index]
        try:
            context.run(next, visit)
        except StopIteration:
            del self._visits[index]
            return False
        self.events += 1
        return True

    def _person(self, number: int) -> Visitor:
        chance = self._chance
        return Visitor(
            distinct_id=f"u-{1000 + number}",
            ip=f"{chance.choice(_NETWORKS)}.{chance.randrange(1, 255)}",
            plan=chance.choice(("free", "free", "pro", "team")),
            currency=chance.choice(("EUR", "EUR", "USD", "GBP")),
        )

    # -- what a visitor does; a yield follows each event ------------------------------------------

    def _visit(self, visitor: Visitor) -> Generator[None]:
        with bound(distinct_id=visitor.distinct_id, ip=visitor.ip):
            log.info("Page Viewed", extra={"path": "/"})
            yield
            if self._chance.random() < 0.25:
                log.info("Signed Up", extra={"plan": visitor.plan})
                yield
            basket: list[Product] = []
            yield from self._browse(basket)
            if basket and self._chance.random() < 0.6:
                yield from self._buy(visitor, basket)

    def _browse(self, basket: list[Product]) -> Generator[None]:
        for product in self._chance.sample(_PRODUCTS, self._chance.randint(1, 4)):
            log.info("Page Viewed", extra={"path": product.path})
            yield
            if self._chance.random() < 0.5:
                basket.append(product)
                log.info("Added to Cart", extra={"product": product.name, "price": product.price})
                yield

    def _buy(self, visitor: Visitor, basket: list[Product]) -> Generator[None]:
        order = f"o-{next(self._orders):05d}"
        # A line for whoever looks after the shop. It has no fields of its own, so it is no event.
        log.info("reserved %d articles for %s", len(basket), order)
        self.lines += 1
        total = round(sum(product.price for product in basket), 2)
        money = {"order": order, "total": total, "currency": visitor.currency}
        log.info("Order Placed", extra={**money, "articles": [each.name for each in basket]})
        yield
        if self._chance.random() < 0.85:
            method = self._chance.choice(("card", "invoice"))
            log.info("Order Paid", extra={**money, "method": method})
        else:
            log.info("Order Cancelled", extra={**money, "reason": "changed my mind"})
        yield
