"""
A simulation of the delivery engine: a seed, and all that can happen in some minutes of its life.

::

    seed ──> World ──> Host (a process) ──> Pipeline, its worker and its connections, step by step
                └────> Server, which remembers what it applied        Books, counted apart

The step functions are the real ones; threads, time, randomness and the network are played by the
world. One thing happens at a time, in an order that the seed decides: wherever another thread could
come in between, in a wait, a request or a compression, the world may go on with somebody else.
"""

from __future__ import annotations

import copy
import itertools
import logging
import math
import random
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from unittest import mock

from mixpanel_export import _engine, _pipeline, _process
from mixpanel_export._batch import Batch
from mixpanel_export._event import Event
from mixpanel_export._outcome import Rejection
from mixpanel_export._pipeline import Pipeline
from mixpanel_export._process import IDLE
from mixpanel_export._settings import Settings
from mixpanel_export._update import (
    GroupUpdate,
    ProfileUpdate,
    alias_event,
    identify_event,
    merge_event,
)
from tests.simulation_books import Violation, WatchedEngine, claim
from tests.simulation_host import (
    Actor,
    Clock,
    Host,
    Lifecycle,
    Packer,
    Threads,
    WatchedPipeline,
    Worker,
)
from tests.simulation_server import TOKEN, Server

#: What a process may be about when an answer arrives.
STATES: Final = ("running", "flushing", "closing", "after fork", "exiting")

#: Seconds within which everything is settled once nothing goes wrong any more: the longest pause,
#: and for each line the slowest pace and the slowest answer, and its way through the wrong lane.
PATIENCE: Final = (400.0, 15.0)

#: How many may be somebody else's interruption of an interruption.
DEPTH: Final = 5


@dataclass(slots=True)
class Report:
    """What a schedule was about."""

    seed: int
    cells: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often there was each answer in each state of a process."""

    fates: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    processes: int = 0
    seconds: float = 0.0


# -- the world ------------------------------------------------------------------------------------


class World:
    """Decides what happens next."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.report = Report(seed)
        self.clock = Clock(self, self.rng.choice((0.0, 1e-6)))
        #: In the place of `_process.delivering`.
        self.delivering: dict[int, int] = {}
        self.server = Server(self)
        self.settings = self._draw_settings()
        self.ident = 1
        self._idents = itertools.count(2)
        self._serial = itertools.count()
        self._depth = 0
        self._spins = (0.0, 0)
        self._unpacked: dict[bytes, list[bytes]] = {}
        self._log: deque[tuple[Any, ...]] = deque(maxlen=200)
        self.hosts = [Host(self, 1_000)]
        self.host = self.hosts[0]

    def _draw_settings(self) -> Settings:
        draw = self.rng.choice
        api = draw(("import", "import", "import", "track"))
        who: dict[str, Any] = {"token": TOKEN}
        if api == "import" and draw((False, False, True)):
            who = {"service_account": "a", "service_secret": "s", "project_id": "1"}
            who |= {"token": TOKEN} if draw((False, True)) else {}
        return Settings(
            **who,
            api=api,
            strict=draw((True, True, True, False)),
            transform=_transform,
            max_events=draw((5, 20, 60, 1_000, 1_000)),
            max_bytes=draw((1_000_000, 64 * 1024 * 1024)),
            overflow=draw(("drop_newest", "drop_oldest")),
            batch_events=draw((1, 2, 4, 10, 10, 50)),
            batch_bytes=1_000_000,
            flush_interval=draw((0.0, 0.1, 2.0)),
            connections=draw((1, 2, 4)),
            backoff_initial=draw((0.1, 2.0)),
            backoff_max=draw((1.0, 60.0)),
            jitter=draw((0.0, 5.0)),
            requests_per_hour=draw((None, None, None, 36_000, 600)),
            gzip=draw((True, False)),
            transport=self.server,
            timeout=draw((1.0, 15.0)),
            shutdown_timeout=draw((0.0, 1.0, 5.0, 30.0)),
            on_rejected=draw((None, self._on_rejected, self._on_rejected)),
        )

    # -- telling ----------------------------------------------------------------------------------

    def note(self, *words: object) -> None:
        """Write a line of the log."""
        self._log.append((self.clock.now, self.host.pid, self.ident, self._depth, *words))

    def log(self) -> str:
        """Give the last lines of the log."""
        return "\n".join(
            f"{now:12.6f} {pid} #{ident:<4}{' ' * 2 * depth}{' '.join(map(str, words))}"
            for now, pid, ident, depth, *words in self._log
        )

    def count(self, kind: str) -> None:
        """Count an answer in the state in which it arrives."""
        self.report.cells[kind, self.host.state] += 1

    def new_ident(self) -> int:
        return next(self._idents)

    @property
    def callers(self) -> int:
        """How many threads of this process's application are delivering."""
        mine = sum(pid == self.host.pid for pid in self.delivering.values())
        return mine - len(self.host.actors)

    def unpack(self, batch: Batch) -> list[bytes]:
        """Give the lines of *batch*; remembered, since it is asked for after each step."""
        lines = self._unpacked.get(batch.body)
        if lines is None:
            lines = self._unpacked[batch.body] = batch.lines()
        claim(len(lines) == batch.count, "a batch miscounts its lines")
        return lines

    # -- time and turns ---------------------------------------------------------------------------

    @contextmanager
    def being(self, host: Host, ident: int = 0) -> Iterator[None]:
        """Be somebody else for a while; a new thread of the application if not said who."""
        before = self.host, self.ident
        self.host, self.ident = host, ident or self.new_ident()
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            self.host, self.ident = before

    def turn(self, limit: float) -> bool:
        """Let one thread take a step, or time pass until one can; False if none can by *limit*."""
        actors = [actor for host in self.hosts for actor in host.actors if not actor.busy]
        ready = [actor for actor in actors if actor.ready()]
        if ready:
            self._step(self.rng.choice(ready))
            return True
        due = min((actor.due for actor in actors), default=math.inf)
        if due <= limit:
            self.clock.advance(due - self.clock.now)
        return due <= limit

    def _step(self, actor: Actor) -> None:
        moment, spins = self._spins
        self._spins = (moment, spins + 1) if self.clock.now - moment < 0.01 else (self.clock.now, 0)
        claim(spins < 2_000, "the threads spin")
        actor.busy = True
        with self.being(actor.host, actor.ident):
            actor.step()
        actor.busy = False
        actor.host.audit()

    def wait(self, seconds: float) -> None:
        """Let others go on; may return early, as conditions do."""
        if self._depth >= DEPTH or not self.turn(self.clock.now + seconds):
            self.clock.advance(seconds)

    def elapse(self, seconds: float) -> None:
        """Let others go on for so long."""
        end = self.clock.now + seconds
        self.meanwhile(0.1)
        while self._depth < DEPTH and self.clock.now < end and self.turn(end):
            pass
        self.clock.advance(end - self.clock.now)

    def meanwhile(self, chance: float) -> None:
        """Let another thread of the application come in between, now and then."""
        if self.server.faults and self._depth < DEPTH and self.rng.random() < chance:
            with self.being(self.host):
                # What takes the lock would have to wait for it.
                (self.submit if self.host.locked else self.act)()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let nobody come in between."""
        self._depth += DEPTH
        yield
        self._depth -= DEPTH

    def intrude(self) -> None:
        """Let another thread submit something while somebody looks at the clock."""
        if self.server.faults and self._depth < DEPTH and self.rng.random() < 0.005:
            with self.being(self.host):
                self.submit()

    # -- what applications do ---------------------------------------------------------------------

    def live(self) -> None:
        """Let things happen, and some go wrong."""
        rng, self.server.faults = self.rng, True
        for _ in range(rng.choice((5, 15, 30))):
            host = rng.choice(self.hosts)
            with self.being(host):
                self.act()
            host.audit()
            for _ in range(rng.choice((0, 2, 4, 8))):
                self.turn(self.clock.now + rng.choice((0.0, 0.3, 5.0, 60.0)))
            if rng.random() < 0.1:
                self._almost()
        for host in self.hosts:
            if rng.random() < 0.6:
                with self.being(host):
                    self.submit()
                    self.submit()
                    rng.choice((self.close, self.close, self.exit))()

    def _almost(self) -> None:
        """Wake a worker just before the moment at which it would have woken itself."""
        workers = [each for host in self.hosts for each in host.actors if isinstance(each, Worker)]
        worker = self.rng.choice(workers) if workers else None
        if worker is not None and self.clock.now < worker.due < math.inf:
            ahead = 1e-6 * self.rng.randint(0, 20)
            self.clock.advance(worker.due - self.clock.now - ahead)
            with self.being(worker.host):
                worker.process.ring()
            self._step(worker)

    def act(self) -> None:
        """Do one of the things that an application does."""
        actions = (self.submit, self.flush, self.fork, self.exit, self.close, self.rest, self.look)
        self.rng.choices(actions, (60, 12, 4, 6, 1, 4, 2))[0]()

    def submit(self) -> None:
        pipeline, rng = self.host.pipeline, self.rng
        count = rng.choice((1, 1, 2, 5, 12))
        make = rng.choices((self._event, self._verb, self._profile, self._group), (66, 8, 18, 8))[0]
        accepted = [pipeline.submit(make(f"n{next(self._serial)}")) for _ in range(count)]
        self.note(make.__name__, sum(accepted), "of", count)

    def _event(self, name: str) -> Event:
        what = self.rng.choice(("Bought", "Bought", "Bought", "Bought", " ", "Dropped", "Broken"))
        time = self.clock.wall() - 6 * 86_400 if self.rng.random() < 0.1 else None
        return Event(what, distinct_id=name, time=time)

    def _verb(self, name: str) -> Event:
        return self.rng.choice((identify_event, alias_event, merge_event))(name, f"other-{name}")

    def _profile(self, name: str) -> ProfileUpdate:
        rng = self.rng
        if rng.random() < 0.005:
            # Near what one update may take, or more.
            parts = range(rng.choice((3, 10, 17)))
            return ProfileUpdate(name, "$set", {f"p{part}": ["y" * 250] * 250 for part in parts})
        user = rng.choice(("u-1", "u-2", "u-3", "anonymous"))
        operation = rng.choice(("$add", "$append", "$set", "$set", "$union", "$unset"))
        value = [1] if operation == "$union" else 1
        return ProfileUpdate(user, operation, [name] if operation == "$unset" else {name: value})

    def _group(self, name: str) -> GroupUpdate:
        return GroupUpdate("company", self.rng.choice(("acme", "acme", "")), "$set", {name: 1})

    def flush(self) -> None:
        before = self.host.held()
        timeout = self.rng.choice((0.0, 0.5, 3.0, 20.0, None))
        with self._stage("flushing", timeout):
            settled = self.host.pipeline.flush(timeout)
        self.note("flush", settled)
        claim(not settled or not before & self.host.held(), "flush said that all was settled")

    def fork(self) -> None:
        parent = self.host
        if len(self.hosts) >= 4:
            return
        before = parent.held(), parent.engine
        child = Host(self, 1_000 + len(self.hosts))
        child.pipeline = copy.copy(parent.pipeline)
        child.forked = parent.forked = True
        self.hosts.append(child)
        self.note("fork", child.pid)
        # The thread that forks is the one that goes on in the child.
        with self.being(child, self.ident):
            # Some servers fork without Python's knowledge, so that no hook is called.
            if self.rng.random() < 0.5:
                child.pipeline.forked()
                claim(not child.unaware, "the hook did nothing")
                claim(not child.held() & parent.held(), "a child begins with lines of its parent")
            if self.rng.random() < 0.5:
                self.submit()
        claim((parent.held(), parent.engine) == before, "a fork changed the parent")

    def exit(self) -> None:
        host, rng = self.host, self.rng
        host.threads = host.threads and rng.random() < 0.7
        with self._stage("exiting", None):
            deadline = host.exit_deadline = host.pipeline.start_exit()
            if rng.random() < 0.5:
                self.wait(0.1)
            host.pipeline.finish_exit(deadline)
            self.note("exit")
        if rng.random() < 0.5:
            self.submit()
            self.note("late", host.pipeline.flush(deadline.left()))
        if host.threads and rng.random() < 0.8:
            # It was a signal, whose handler goes on.
            host.exit_deadline = None
            host.pipeline.resume()

    def close(self) -> None:
        host = self.host
        before, timeout = self._given_up(), self.rng.choice((0.0, 2.0, 20.0, 90.0, None))
        with self._stage("closing", timeout):
            complete = host.pipeline.close(timeout)
        host.engine.books.over = True
        self.note("close", complete)
        claim(not host.held(), "closed with something left")
        claim(complete or self._given_up() > before, "nothing was given up")

    def _given_up(self) -> int:
        return 0 if self.host.unaware else self.host.engine.stats.abandoned

    @contextmanager
    def _stage(self, name: str, timeout: float | None) -> Iterator[None]:
        """Note what the application waits for; if nobody else does anything, not for too long."""
        began, others, host = self.clock.now, next(self._idents), self.host
        host.stages.append(name)
        alone = self._depth == 1 and not any(each.actors for each in self.hosts)
        yield
        host.stages.remove(name)
        if alone and next(self._idents) == others + 1:
            limit = self.settings.shutdown_timeout if timeout is None else timeout
            claim(self.clock.now - began < limit + 0.11, name, "took too long")

    def rest(self) -> None:
        self.host.pipeline.rest()

    def look(self) -> None:
        stats, health = self.host.pipeline.stats, self.host.pipeline.health
        claim(health.ok or health.reason, "trouble without a reason")
        claim(stats.adopted == stats.expired == stats.damaged == 0, "there is no spool")

    def _on_rejected(self, rejection: Rejection) -> None:
        known, pipeline = self.server.lines[rejection.line], self.host.pipeline
        claim(known.pid == self.host.pid, "another process is told of a rejection")
        claim(not self.host.locked, "a callback under the lock")
        known.told += 1
        claim(known.told == 1, "a rejection is told again")
        match self.rng.randrange(12):
            case 0 | 1:
                pipeline.submit(self._event(f"n{next(self._serial)}"))
            case 2:
                pipeline.flush(10.0)
            case 3:
                raise ValueError("the application's bug")
            case 4 if self.rng.random() < 0.1:
                pipeline.close(0.0)

    # -- the end ----------------------------------------------------------------------------------

    def finish(self) -> None:
        """Let nothing go wrong any more, and see that everything comes to its end."""
        self.server.faults = False
        self.note("nothing goes wrong any more")
        for host in self.hosts:
            if not host.threads or host.unaware:
                with self.being(host):
                    self.close()
        limit = self.clock.now + PATIENCE[0]
        limit += PATIENCE[1] * sum(len(host.engine.books.live) for host in self.hosts)
        while not all(host.engine.books.idle for host in self.hosts):
            claim(self.turn(limit), "something waits for ever")
        for host in self.hosts:
            with self.being(host):
                self.close()
        limit = self.clock.now + 2 * IDLE
        while any(host.actors for host in self.hosts):
            claim(self.turn(limit), "a thread waits for ever")
        for host in self.hosts:
            host.audit()
            process = host.pipeline._process
            claim(process.connections == process.idle == 0, "connections that do not exist")
            self.report.fates.update(host.engine.books.fates)
        for line in self.server.lines.values():
            claim(line.fate, "a line without an end")
            claim(line.fate != "delivered" or line.applied, "delivered, and never applied")
            told = line.told or not self.settings.on_rejected
            claim(line.fate != "rejected" or told, "rejected, and nobody was told")


class Home:
    """Whether this is the process of the world that it was made in."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._pid = world.host.pid

    def __getitem__(self, _index: int) -> int:
        return self._world.host.pid == self._pid


def _transform(event: Event) -> Event | None:
    if event.name == "Broken":
        raise ValueError("the application's bug")
    return None if event.name == "Dropped" else event


def run(seed: int, pipeline: type[WatchedPipeline] = WatchedPipeline) -> Report:
    """
    Play the schedule of *seed*.

    Raises:
        AssertionError: If a promise was broken; it names the seed and the last steps.
    """
    world = World(seed)
    salts = (f"{number:x}" for number in itertools.count(0xA0))
    both: dict[str, Any] = {
        "_lifecycle": Lifecycle(world),
        "are_greenlets": lambda: False,
        "os": mock.Mock(getpid=lambda: world.host.pid),
    }
    replaced: dict[str, Any] = {
        **both,
        "_thread": Threads(world),
        "_getpid": lambda: world.host.pid,
        "_home": mock.Mock(settle=lambda: Home(world)),
        "random": random.Random(seed),
        "secrets": mock.Mock(token_hex=lambda _size: next(salts)),
        "delivering": world.delivering,
        "Engine": WatchedEngine,
    }
    with ExitStack() as stack:
        stack.enter_context(mock.patch.multiple(_pipeline, **both))
        stack.enter_context(mock.patch.multiple(_process, **replaced))
        stack.enter_context(mock.patch.object(_engine, "Batch", Packer(world)))
        silenced = logging.getLogger("mixpanel_export")
        stack.enter_context(mock.patch.object(silenced, "disabled", True))
        try:
            made = world.host.pipeline = pipeline.__new__(pipeline)
            made.world = world
            Pipeline.__init__(made, world.settings, clock=world.clock)
            world.live()
            world.finish()
        except (Violation, Exception) as error:
            what = error if isinstance(error, Violation) else repr(error)
            raise AssertionError(f"seed {seed}: {what}\n{world.log()}") from error
    world.report.seconds = world.clock.now
    world.report.processes = len(world.hosts)
    return world.report
