"""
What one process of the simulation took in and what became of it, counted apart from the engine.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mixpanel_export._batch import Lane
from mixpanel_export._engine import Engine
from mixpanel_export._sender import Attempt, Shipment

if TYPE_CHECKING:
    from tests.simulation import World

#: The states that are final, by their names in the ledger.
FINAL: Final = ("delivered", "rejected", "evicted", "abandoned")


class Violation(BaseException):
    """A promise was broken. No `Exception`: the engine must not take it for a transport's."""


def claim(holds: object, *words: object) -> None:
    """Raise `Violation` unless it holds."""
    if not holds:
        raise Violation(" ".join(map(str, words)))


@dataclass(slots=True, eq=False)
class Line:
    """One accepted line, as the world knows it."""

    pid: int
    order: int
    """Its place among all lines that its process accepted."""

    lane: Lane
    repeatable: bool
    bad: bool = False
    """The server rejects it."""

    poison: bool = False
    """It breaks the server, with all that stand in the same request."""

    applied: int = 0
    told: int = 0
    """How often it was given to `on_rejected`."""

    verdict: str = ""
    """What an attempt brought; not final before the engine has taken it in."""

    fate: str = ""


class Condition:
    """A lock that notices what is done under it, and a bell for the connections that wait."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self.depth = 0
        self.notify_all = wake

    def __enter__(self) -> None:
        self.depth += 1

    def __exit__(self, *_error: object) -> None:
        self.depth -= 1


class Books:
    """What can be seen of one process from outside."""

    def __init__(self, world: World, pid: int, engine: WatchedEngine) -> None:
        self._world = world
        self._engine = engine
        self.pid = pid
        #: What was accepted and is not final.
        self.live: dict[bytes, Line] = {}
        self.flying: dict[int, Shipment] = {}
        self.packing: list[list[bytes]] = []
        self.fates: Counter[str] = Counter()
        self.moved = True
        #: Set when the pipeline is closed.
        self.over = False
        self._offers = 0
        self.accepted = 0
        self._floor = -math.inf
        self._launches = 0
        self._since = world.clock.now
        self._before: tuple[int, ...] = (0,) * 9

    def offer(self) -> None:
        """Note that something was offered, whatever became of it."""
        self._offers += 1
        self.moved = True

    def take(self, line: bytes, lane: Lane, *, repeatable: bool) -> None:
        """Enter a line that was accepted."""
        world, queue = self._world, self._engine.queue
        claim(line not in world.server.lines, "two lines are the same:", line)
        known = Line(world.host.pid, self.accepted, lane, repeatable)
        world.server.lines[line] = self.live[line] = known
        self.accepted += 1
        self.moved = True
        claim(queue.held_events <= world.settings.max_events, "more events than max_events")
        claim(queue.held_bytes <= world.settings.max_bytes, "more bytes than max_bytes")

    def launch(self, shipment: Shipment, circuit: str) -> None:
        """Look whether *shipment* may leave now."""
        world, settings = self._world, self._world.settings
        lane = shipment.batch.lane
        claim(not self.over, "a request after close")
        if lane.in_order:
            ways = {each.batch.lane for each in self.flying.values()}
            claim(lane not in ways, "two requests at once in the lane", lane.value)
        claim(circuit == "closed" or not self.flying, "two probes while the circuit is", circuit)
        claim(world.clock.now >= self._floor - 1e-6, "a request before Retry-After was over")
        most = settings.connections + world.callers
        claim(len(self.flying) < most, "more requests at once than connections")
        self._launches += 1
        if settings.requests_per_hour is not None:
            pace = settings.requests_per_hour / 3_600
            allowed = max(1.0, pace * 60) + pace * (world.clock.now - self._since)
            claim(self._launches <= allowed + 1e-3, "more requests than requests_per_hour")
        self.flying[shipment.launch] = shipment
        self.moved = True

    def land(self, shipment: Shipment, attempt: Attempt) -> None:
        """Note what an attempt brought for each of its lines."""
        world = self._world
        self.moved = True
        if self.flying.pop(shipment.launch, None) is None:
            # Given up meanwhile.
            return
        if world.server.asked is not None and attempt.requests:
            self._floor = max(self._floor, world.clock.now + world.server.asked)
        rest = Counter(world.unpack(shipment.batch))
        rest.subtract(rejection.line for rejection in attempt.rejections)
        for part in attempt.again:
            rest.subtract(world.unpack(part.batch))
        claim(set(rest.values()) <= {0, 1}, "a line in two parts of a verdict")
        final = [line for line, count in rest.items() if count]
        claim(len(final) == attempt.delivered + attempt.abandoned, "a verdict that does not add up")
        for rejection in attempt.rejections:
            self.live[rejection.line].verdict = "rejected"
        for line in final:
            known = self.live[line]
            claim(attempt.abandoned or known.applied, "delivered, and the server has it not")
            claim(not (attempt.abandoned and known.repeatable), "given up, but repeatable")
            known.verdict = "abandoned" if attempt.abandoned else "delivered"

    def wait(self, pause: float | None, accepted: int) -> None:
        """Look whether a thread of the application that delivers may give up for now."""
        world = self._world
        if pause is None and all(actor.ident != world.ident for actor in world.host.actors):
            # What came after the look has rung.
            others = self.flying or self.packing or accepted < self.accepted
            claim(others or self._engine.idle, "nobody comes back for what is held")

    def audit(self) -> None:
        """Compare the ledger with what is held, line by line."""
        if not self.moved or self._engine.changed.depth:
            return
        self.moved = False
        # Nobody comes in between.
        with self._world.alone():
            stats = self._engine.stats
        size = self._account_for(stats.evicted)
        fates = tuple(self.fates[name] for name in FINAL)
        claim(fates == tuple(getattr(stats, name) for name in FINAL), "in truth", fates, stats)
        claim(stats.accepted == self.accepted, "in truth, accepted:", self.accepted, stats)
        claim(stats.accepted == sum(fates) + stats.queued, "the ledger does not add up:", stats)
        claim(stats.queued == len(self.live), "in truth, queued:", len(self.live), stats)
        claim(stats.queued_bytes == size, "in truth, queued_bytes:", size, stats)
        refused = stats.ignored + sum(stats.dropped.values())
        claim(self._offers == self.accepted + refused, "neither accepted nor dropped", stats)
        claim(stats.oldest_age >= 0.0, "the oldest age is negative")
        counters = (*fates, stats.accepted, stats.retries, stats.requests, refused, stats.ignored)
        fallen = any(new < old for new, old in zip(counters, self._before, strict=True))
        claim(not fallen, "a counter went back:", self._before, counters)
        self._before = counters

    def _account_for(self, evicted: int) -> int:
        """Find all that is live; what is not there any more is final. Give the size of it all."""
        engine, queue = self._engine, self._engine.queue
        held = [*queue._lines, *(aside.line for aside in queue._aside)]
        held += itertools.chain.from_iterable(self.packing)
        size = sum(map(len, held))
        for shipment in engine._held():
            held += self._world.unpack(shipment.batch)
            size += len(shipment.batch.body)
        found = set(held)
        claim(len(found) == len(held), "a line is held twice")
        claim(found <= self.live.keys(), "a line is held that is another's, or was final")
        if len(found) < len(self.live):
            for line in self.live.keys() - found:
                known = self.live.pop(line)
                # Without a verdict there are two ways to end, never both between two audits.
                idle = "evicted" if self.fates["evicted"] < evicted else "abandoned"
                known.fate = known.verdict or idle
                self.fates[known.fate] += 1
        return size

    @property
    def idle(self) -> bool:
        """True if nothing is held."""
        return not self.live and self._engine.idle


class WatchedEngine(Engine):
    """The engine, with somebody who writes down what comes and goes."""

    changed: Condition  # type: ignore[assignment] # stands in for threading's
    books: Books

    def next(self) -> Shipment | None:
        circuit = self.circuit
        shipment = super().next()
        if shipment is not None:
            self.books.launch(shipment, circuit)
        return shipment

    def settle(self, shipment: Shipment, attempt: Attempt) -> None:
        self.books.land(shipment, attempt)
        super().settle(shipment, attempt)

    def wait(self) -> float | None:
        accepted = self.books.accepted
        pause = super().wait()
        self.books.wait(pause, accepted)
        return pause

    def abandon(self) -> int:
        self.books.audit()
        self.books.moved = True
        lost = super().abandon()
        self.books.flying.clear()
        self.books.packing.clear()
        self.books.audit()
        return lost

    def lose(self, shipment: Shipment) -> None:
        raise Violation(f"a batch was lost to a bug: {shipment}")
