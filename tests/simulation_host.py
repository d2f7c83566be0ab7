"""
The processes of the simulation: their pipelines and threads, and what stands in for the system.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast

from mixpanel_export._batch import Batch
from mixpanel_export._clock import Deadline
from mixpanel_export._pipeline import Pipeline, Seal
from mixpanel_export._process import IDLE, Process
from mixpanel_export._update import Aside
from mixpanel_export.testing import FakeClock
from tests.simulation_books import Books, Condition, WatchedEngine, claim

if TYPE_CHECKING:
    from mixpanel_export._sender import Shipment
    from tests.simulation import World

#: For so many seconds, somebody who waits need not look for work.
GLANCE: Final = 0.1


# -- stand-ins ------------------------------------------------------------------------------------


class Clock(FakeClock):
    """While somebody waits, the others go on. A look at it may take a microsecond, as in life."""

    def __init__(self, world: World, tick: float) -> None:
        super().__init__()
        self._world = world
        self._tick = tick

    @property
    def now(self) -> float:
        return self._passed

    def monotonic(self) -> float:
        self._passed += self._tick
        self._world.intrude()
        return self._passed

    def sleep(self, seconds: float) -> None:
        # Whoever sleeps for no time at all hopes that somebody else gets on.
        self._world.elapse(max(seconds, 0.05))

    def wait(self, condition: Any, seconds: float | None) -> None:  # noqa: ANN401 -- a `Condition`
        claim(seconds is not None and seconds < math.inf, "an application waits without a limit")
        if seconds is None or seconds > GLANCE:
            self._world.host.claim_that_somebody_delivers()
        depth, condition.depth = condition.depth, 0
        self._world.wait(seconds or 0.0)
        condition.depth = depth


class Threads:
    """In the place of `_thread`: a thread is something that the world lets take a step."""

    def __init__(self, world: World) -> None:
        self._world = world

    def start_new_thread(self, function: Callable[[], object], _arguments: object) -> None:
        host = self._world.host
        if not host.threads:
            raise RuntimeError("can't create new thread at interpreter shutdown")
        process = function.__self__  # type: ignore[attr-defined] # a method
        process.born()
        kind = Worker if function.__name__ == "work" else Connection
        host.actors.append(kind(host, process))

    def get_ident(self) -> int:
        return self._world.ident


class Lifecycle:
    """In the place of `_lifecycle`: the world says what ends and when."""

    def __init__(self, world: World) -> None:
        self._world = world

    def enroll(self, pipeline: object) -> None: ...

    def register(self) -> None: ...

    def is_late(self) -> bool:
        return False

    def exit_deadline(self) -> Deadline | None:
        return self._world.host.exit_deadline


class Packer:
    """In the place of `Batch` in the engine: others come in between while a batch is compressed."""

    def __init__(self, world: World) -> None:
        self._world = world

    def of(self, lines: list[bytes], **how: Any) -> Batch:  # noqa: ANN401 -- as `Batch.of`
        host = self._world.host
        claim(not host.locked, "a batch is compressed under the lock")
        books = host.engine.books
        books.packing.append(lines)
        self._world.meanwhile(0.1)
        if lines in books.packing:
            # Otherwise it was given up meanwhile.
            books.packing.remove(lines)
        books.moved = True
        return Batch.of(lines, **how)


class WatchedPipeline(Pipeline):
    """The pipeline, with an engine that is watched."""

    world: World

    def _new_process(self) -> Process:
        process, host = super()._new_process(), self.world.host
        engine = cast("WatchedEngine", process.engine)
        engine.changed = Condition(host.wake)
        engine.books = books = Books(self.world, process.pid, engine)
        put, put_aside = process.put, process.put_aside

        def watched_put(line: bytes) -> bool:
            accepted = put(line)
            if accepted:
                books.take(line, engine._events_lane, repeatable=True)
            return accepted

        def watched_put_aside(aside: Aside) -> bool:
            accepted = put_aside(aside)
            if accepted:
                books.take(aside.line, aside.lane, repeatable=aside.repeatable)
            return accepted

        process.put, process.put_aside = watched_put, watched_put_aside
        return process

    def offer(self, item: object, seal: Seal) -> bool:
        accepted = super().offer(item, seal)
        cast("WatchedEngine", self._process.engine).books.offer()
        return accepted


# -- processes and threads ------------------------------------------------------------------------


class Actor:
    """A thread, as far as the world is concerned."""

    def __init__(self, host: Host, process: Process) -> None:
        self.host = host
        self.world = host.world
        self.process = process
        self.engine = cast("WatchedEngine", process.engine)
        self.ident = self.world.new_ident()
        self.busy = False
        #: When it does something again, unless it is woken.
        self.due = -math.inf
        self.world.delivering[self.ident] = host.pid

    def ready(self) -> bool:
        return self.due <= self.world.clock.now

    @property
    def sends(self) -> bool:
        """True while it has a request under way, after which it rings."""
        return False

    def step(self) -> None:
        raise NotImplementedError  # Each kind of thread has its own.

    def end(self) -> None:
        self.host.actors.remove(self)
        self.world.delivering.pop(self.ident, None)


class Worker(Actor):
    """The loop of `Process.work`, one round at a time."""

    def ready(self) -> bool:
        return super().ready() or not self.process.bell.empty()

    def step(self) -> None:
        self.process.listen(0.0)
        if self.process.retiring and self.process.retire():
            self.end()
        else:
            pause = self.process.step()
            self.due = math.inf if pause is None else self.world.clock.now + pause
        if self.due == math.inf or self not in self.host.actors:
            self._claim_that_somebody_comes()

    def _claim_that_somebody_comes(self) -> None:
        others = [actor for actor in self.host.actors if actor is not self]
        awake = self.ready() or any(actor.busy or actor.ready() or actor.sends for actor in others)
        claim(awake or self.engine.idle, "nobody comes back for what is held")


class Connection(Actor):
    """The loop of `Process.serve`, which lets the world go on while a request is under way."""

    def __init__(self, host: Host, process: Process) -> None:
        super().__init__(host, process)
        self.waiting = False
        self._shipment: Shipment | None = None
        self._patience = self.world.clock.now + IDLE

    @property
    def sends(self) -> bool:
        return self._shipment is not None

    def step(self) -> None:
        world, process = self.world, self.process
        if self._shipment is not None:
            shipment, self._shipment = self._shipment, None
            process.carry(shipment, Deadline(world.clock, None), connection=True)
            process.ring()
            self.due, self._patience = -math.inf, world.clock.now + IDLE
            return
        with self.engine.changed:
            self._shipment = self.engine.next()
            self.waiting = self._shipment is None
            if self._shipment is not None:
                process.idle -= 1
                self.due = world.clock.now + world.rng.choice((0.0, 0.05, 0.4, 3.0))
            elif world.clock.now >= self._patience or (process.retiring and self.engine.idle):
                process.connections -= 1
                process.idle -= 1
                self.end()
            else:
                self.due = self._patience


class Host:
    """A process: a pipeline, its threads, and an application that uses it."""

    def __init__(self, world: World, pid: int) -> None:
        self.world = world
        self.pid = pid
        self.pipeline: WatchedPipeline
        self.actors: list[Actor] = []
        #: Whether threads can be started.
        self.threads = True
        self.exit_deadline: Deadline | None = None
        self.stages: list[str] = []
        self.forked = False

    @property
    def engine(self) -> WatchedEngine:
        return cast("WatchedEngine", self.pipeline._process.engine)

    @property
    def unaware(self) -> bool:
        """True while it does not know that it was forked."""
        return self.engine.books.pid != self.pid

    @property
    def locked(self) -> bool:
        return self.engine.changed.depth > 0 and not self.unaware

    @property
    def state(self) -> str:
        if self.exit_deadline is not None:
            return "exiting"
        if self.stages:
            return self.stages[-1]
        return "after fork" if self.forked else "running"

    def wake(self) -> None:
        """Wake the connections that wait."""
        for actor in self.actors:
            if isinstance(actor, Connection) and actor.waiting:
                actor.due = -math.inf

    def held(self) -> set[bytes]:
        """Give the lines that are not final."""
        self.audit()
        return set() if self.unaware else set(self.engine.books.live)

    def claim_that_somebody_delivers(self) -> None:
        """Look whether anybody does what a thread of the application waits for."""
        books = self.engine.books
        somebody = self.threads or self.actors or books.flying or books.packing
        claim(somebody or self.engine.idle, "somebody waits, and nobody delivers")

    def audit(self) -> None:
        if not self.unaware:
            self.engine.books.audit()
