"""
All that belongs to one pipeline in one process: the threads that drive its engine, and their end.

A *worker* thread seals batches; up to `Settings.connections` *connection* threads send them, more
than one only under backlog. The first event of a process starts them, nothing earlier does.
"""

from __future__ import annotations

import _thread
import os
import queue
import random
import secrets
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Literal

from mixpanel_export import _home, _lifecycle, _metrics, _uwsgi
from mixpanel_export._clock import Deadline
from mixpanel_export._engine import Engine
from mixpanel_export._ids import insert_ids
from mixpanel_export._notice import Notices, logger
from mixpanel_export._outcome import Delivered
from mixpanel_export._sender import Sender

if TYPE_CHECKING:
    from collections.abc import Callable

    from mixpanel_export._clock import Clock
    from mixpanel_export._outcome import Rejection
    from mixpanel_export._sender import Shipment
    from mixpanel_export._settings import Settings
    from mixpanel_export._spool import SpoolQueue
    from mixpanel_export._transport import Transport
    from mixpanel_export._update import Aside

#: The threads that are delivering now, and their processes. A log record of such a thread is about
#: delivery, and exporting it would feed on itself. A forked child inherits the entries, and gives
#: its first threads the identifiers of the parent's: hence the processes.
delivering: Final[dict[int, int]] = {}

#: Seconds after which a connection thread without work ends. Ours: longer than `flush_interval`, so
#: that a steady trickle keeps its connection.
IDLE: Final = 10.0

#: Seconds that the end of a process waits at most for threads to begin. Ours: far more than that
#: takes.
BIRTH: Final = 1.0

#: Seconds between two looks of a caller who delivers itself: what others bring in does not wake it.
POLL: Final = 0.05

#: What takes every line of this process in place of the queues; see `_pipeline.divert`.
diversion: Callable[[bytes | Aside], Literal[True]] | None = None

_getpid: Final = os.getpid


class Process:
    """
    Everything that belongs to one pipeline in one process; a fork leaves it behind as a whole.

    The threads hold on to this and not to the pipeline.
    """

    def __init__(self, settings: Settings, transport: Transport, clock: Clock) -> None:
        self.pid = os.getpid()
        self.home = _home.settle()
        # The one that takes its place in a child; always empty in its own process.
        self.heirs: dict[int, Process] = {}
        self.settings = settings
        self.clock = clock
        self.notices = Notices(clock)
        self.engine = Engine(settings, clock=clock, notices=self.notices, ring=self.ring)
        self.closed = False
        self.aim()
        self.sender = Sender(settings, transport, clock=clock, random=random.random)
        # 96 random bits name the process and a counter the event: unique for less than the price of
        # a random number each, and it compresses. It fits the 36 characters that Mixpanel takes.
        self.insert_id = insert_ids(secrets.token_hex(12))
        self.bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.rung = False
        # Whoever pops the token starts the worker; a list's pop is one step, so only one does.
        self.token = [True]
        # In a process that must not have threads: for the child that takes over what it holds.
        self.baton: _uwsgi.Baton | None = None
        self.keeper: object = None
        # How many connection threads there are and how many of them have nothing to do; guarded by
        # the engine's lock.
        self.connections = 0
        self.idle = 0
        self.retiring = False
        # One for each thread that was started and has not begun, see `await_births`.
        self.unborn: list[None] = []
        self.ending = False
        self.time: Callable[[float, str], None] | None = None

    # -- from the callers' threads ----------------------------------------------------------------

    def aim(self) -> None:
        """Let lines go where they belong: to the queue, unless they are diverted or refused."""
        queue = self.engine.queue
        to = _refuse if self.closed else diversion
        self.put: Callable[[bytes], bool] = to or queue.put
        self.put_aside: Callable[[Aside], bool] = to or queue.put_aside
        self.off = self.settings.disabled and diversion is None

    def ring(self) -> None:
        """Wake the worker, or start it. Called when something is put, so without a lock."""
        if not self.rung:
            self.rung = True
            self.bell.put(None)
        if self.token:
            self.start()

    def start(self) -> bool:
        """Start the worker unless it runs; False if no thread can be started."""
        if not self.token:
            return True
        if _uwsgi.forks_later():
            self.wait_for_workers()
            return False
        if are_greenlets() and not is_main_thread():
            # What it starts runs when it comes back to its loop, and a thread of gevent's pool
            # never does. The next event shall ring too: it may be the main thread's.
            self.engine.queue.arm(batch=False)
            return False
        try:
            self.token.pop()
        except IndexError:
            return True
        _lifecycle.register()
        if _uwsgi.lacks_threads():
            self.notices.warn(
                "threads",
                "uWSGI runs without threads: most events are delivered at the end only; set"
                " enable-threads",
            )
        # Not earlier: gevent's threads need gevent's bell, and gevent may be here since just now.
        self.bell = queue.SimpleQueue()
        self.rung = False
        # First, since a worker that retires at once ends it.
        self.start_keeper()
        try:
            # Not threading.Thread: its start takes a lock that may be held by the very code which a
            # signal handler or a finaliser interrupted, and it waits for the thread.
            self.begin(self.work)
        except RuntimeError:
            # The interpreter is exiting; flush and close deliver on their own thread.
            self.keeper = None
            self.token.append(True)
            return False
        if self.ending or _lifecycle.is_late():
            self.await_births()
        return True

    def renew_ids(self) -> bool:
        """
        Make up other ids if these have come to an end; False if they have not.

        What they are made with gives up for good when memory or the stack has no room for a block.
        """
        try:
            self.insert_id()
        except StopIteration:
            self.insert_id = insert_ids(secrets.token_hex(12))
            return True
        return False

    def begin(self, run: Callable[..., object], *args: object) -> None:
        """Start a thread; raises RuntimeError if there can be no more."""
        # First: whoever waits for threads to begin sees this, or this one sees it.
        self.unborn.append(None)
        try:
            if self.ending and not _lifecycle.is_late():
                raise RuntimeError("the process ends")  # noqa: TRY301 -- as where threads are refused
            _thread.start_new_thread(run, args)
        except BaseException:
            self.born()
            raise

    def born(self) -> None:
        """Note that a thread has begun, as the first that it does."""
        del self.unborn[:1]

    def await_births(self) -> None:
        """
        Wait until all threads have begun, a second at most.

        If this is the exit, nobody else starts one from here on.

        In CPython 3.10 a thread that begins when the interpreter is gone ends the process with
        SIGSEGV. Those of `threading` are waited for whenever one is started, ours only at the end.
        """
        self.ending = _lifecycle.is_late()
        if are_greenlets():
            return
        patience = Deadline(self.clock, BIRTH)
        while self.unborn and not patience.passed:
            self.clock.sleep(0.001)

    def start_keeper(self) -> None:
        """Start the thread that looks after the spool, if there is one."""
        spool = self.engine.spool
        if spool is not None:
            self.keeper = object()
            try:
                self.begin(self.look_after, spool, self.keeper)
            except RuntimeError:
                # The interpreter is exiting; `put` helps itself, and so does a flush.
                self.keeper = None

    def take_over(self) -> None:
        """Look for what others left in the spool, where no event has come that would do it."""
        spool = self.engine.spool
        if spool is not None and diversion is None and self.keeper is None and not self.inherited:
            self.keep_safely(spool)

    def look_after(self, spool: SpoolQueue, keeper: object) -> None:
        """Do what a spool needs, until another one does, the process is at rest, or forked."""
        self.born()
        delivering[_thread.get_ident()] = _getpid()
        try:
            while self.keeper is keeper and not self.inherited:
                spool.bell.listen(self.keep_safely(spool))
        finally:
            delivering.pop(_thread.get_ident(), None)

    def keep_safely(self, spool: SpoolQueue) -> float:
        """Look after the spool once; whatever goes wrong, it must go on."""
        try:
            return spool.keeper.keep()
        except Exception as error:  # noqa: BLE001 -- a bug, or no memory
            self.notices.warn("bug", f"the spool failed unexpectedly: {type(error).__name__}")
            logger.debug("the spool failed unexpectedly", exc_info=True)
            return 1.0

    def wait_for_workers(self) -> None:
        """Keep everything for the child that takes the baton; this process has no threads."""
        if self.baton is None and self.engine.queue.waiting:
            # Children inherit it: the first that ends without an event of its own delivers.
            _lifecycle.register()
            self.notices.warn(
                "preload",
                "uWSGI loads the application before it forks: events wait for the first worker that"
                " logs or ends; set lazy-apps or py-call-uwsgi-fork-hooks",
            )
            # If no more files may be opened, the next event tries again.
            with suppress(OSError):
                self.baton = _uwsgi.Baton()
        self.engine.queue.arm(batch=False)

    def inherit(self, parent: Process) -> None:
        """Take over what a process without threads could not deliver."""
        if parent.baton is None or not parent.baton.take():
            return
        waiting = parent.engine.queue
        while waiting.waiting:
            asides = waiting.take_aside(waiting.aside, self.settings.max_bytes)
            for aside in asides:
                self.put_aside(aside._replace(place=None))
            waiting.release(len(asides), 0, waiting.places())
            lines = waiting.take()
            for line in lines:
                self.put(line)
            waiting.release(len(lines), 0, waiting.places())

    @property
    def inherited(self) -> bool:
        """True in a forked child of its process, where gevent's threads live on."""
        return self.pid != _getpid()

    # -- the worker's thread ----------------------------------------------------------------------

    def work(self) -> None:
        """Step until retired, or forked."""
        self.born()
        delivering[_thread.get_ident()] = _getpid()
        if self.time is None:
            self.time = _metrics.observe(self.engine, self.settings)
        try:
            while not (self.inherited or (self.retiring and self.retire())):
                self.listen(self.step_safely())
            if self.engine.spool is not None and not self.inherited:
                self.engine.spool.tidy()
        finally:
            delivering.pop(_thread.get_ident(), None)

    def listen(self, seconds: float | None) -> None:
        """Wait for a ring, at most so long."""
        try:
            self.bell.get(timeout=seconds)
        except queue.Empty:
            return
        # Before the step that follows: a ring from here on is about something it may not see.
        self.rung = False

    def step_safely(self) -> float | None:
        """Step; whatever goes wrong, later events must still leave."""
        try:
            return self.step()
        except Exception as error:  # noqa: BLE001 -- a bug, or no memory
            self.notices.warn("bug", f"delivery failed unexpectedly: {type(error).__name__}")
            logger.debug("delivery failed unexpectedly", exc_info=True)
            return 1.0

    def step(self) -> float | None:
        """Seal and hand out what is due; say when to come back, None if a ring will tell."""
        while self.engine.pack():
            self.hand_out()
        self.hand_out()
        return self.engine.wait()

    def hand_out(self) -> None:
        """Wake as many connections as there is work for, starting one more if they are too few."""
        engine = self.engine
        with engine.changed:
            ready = engine.sendable
            engine.changed.notify_all()
            if ready <= self.idle or self.connections >= self.settings.connections:
                return
            self.connections += 1
            self.idle += 1
        try:
            self.begin(self.serve)
        except RuntimeError:
            with engine.changed:
                self.connections -= 1
                self.idle -= 1
                alone = not self.connections
            # No more threads: the interpreter is exiting. The worker has nothing better to do.
            while alone and (shipment := engine.next()):
                self.carry(shipment, Deadline(self.clock, None))

    def retire(self) -> bool:
        """End the threads if nothing is held; the next event starts new ones."""
        engine = self.engine
        with engine.changed:
            engine.queue.arm(batch=False)
            self.rung = False
            if not engine.idle:
                return False
            self.sender.close()
            self.keeper = None
            self.token.append(True)
            if engine.queue.waiting and not self.closed:
                # An event came just now. Either its ring found the token, and another worker is on
                # its way, or this one stays.
                try:
                    self.token.pop()
                except IndexError:
                    return True
                self.start_keeper()
                return False
            engine.changed.notify_all()
            return True

    # -- the connections' threads -----------------------------------------------------------------

    def serve(self) -> None:
        """Send what may be sent, until there was nothing for a while."""
        self.born()
        delivering[_thread.get_ident()] = _getpid()
        try:
            while (shipment := self.await_shipment()) is not None:
                self.carry(shipment, Deadline(self.clock, None), connection=True)
                self.ring()
        finally:
            delivering.pop(_thread.get_ident(), None)

    def await_shipment(self) -> Shipment | None:
        """Wait for something to send; None if it is time to end."""
        engine = self.engine
        patience = Deadline(self.clock, IDLE)
        with engine.changed:
            while not self.inherited:
                shipment = engine.next()
                if shipment is not None:
                    self.idle -= 1
                    return shipment
                if patience.passed or (self.retiring and engine.idle):
                    self.connections -= 1
                    self.idle -= 1
                    return None
                self.clock.wait(engine.changed, patience.left())
            return None

    def carry(self, shipment: Shipment, deadline: Deadline, *, connection: bool = False) -> None:
        """Make one attempt and account for it; *connection* says that its thread is idle then."""
        engine = self.engine
        started = self.clock.monotonic()
        try:
            attempt = self.sender.attempt(shipment, deadline)
        except Exception as error:  # noqa: BLE001 -- a bug; it costs this batch and is counted
            attempt = None
            self.notices.warn("bug", f"a batch was lost to {type(error).__name__}")
            logger.debug("a batch was lost", exc_info=True)
        if self.inherited:
            return
        if engine.spool is not None and attempt is not None and attempt.rejections:
            # Before they are done with.
            engine.spool.bury(attempt.rejections)
        # Both at once: a flush that returns now may be followed by an event, for which the worker
        # must see that this connection is free.
        with engine.changed:
            self.idle += connection
            if attempt is None:
                engine.lose(shipment)
            else:
                engine.settle(shipment, attempt)
        if attempt is not None:
            self.tell(attempt.rejections)
            if self.time is not None and attempt.requests:
                kind = type(attempt.outcome).__name__
                seconds = self.clock.monotonic() - started
                self.time(seconds, "" if isinstance(attempt.outcome, Delivered) else kind)

    def tell(self, rejections: tuple[Rejection, ...]) -> None:
        """Tell whoever asked, and the log, about rejected events."""
        if not rejections:
            return
        first = rejections[0]
        self.notices.warn(
            "rejected", f"Mixpanel rejected {len(rejections)} events; the first: {first.message}"
        )
        if self.settings.on_rejected is not None:
            for rejection in rejections:
                self.call_back(self.settings.on_rejected, rejection)

    def call_back(self, on_rejected: Callable[[Rejection], object], rejection: Rejection) -> None:
        """Hand over one rejection; raising costs nothing."""
        try:
            on_rejected(rejection)
        except (Exception, SystemExit) as error:  # noqa: BLE001 -- the application's code
            # Nothing ends with a thread of ours but the delivery.
            self.notices.warn("on_rejected", f"on_rejected raised {type(error).__name__}")

    # -- waiting ----------------------------------------------------------------------------------

    def settle(self, done: Callable[[], bool], deadline: Deadline) -> bool:
        """Wait until *done*, delivering on this thread if no other can; False at the deadline."""
        engine = self.engine
        if is_delivering(_thread.get_ident()):
            # The application's code on our thread, in on_rejected say: it would wait for itself.
            return done()
        while True:
            alone = not done() and not self.start()
            if alone:
                self.deliver_here(done, deadline)
                if are_greenlets():
                    # What gevent has opened here is of no use to another thread.
                    self.sender.close()
            self.ring()
            with engine.changed:
                while not done():
                    if deadline.passed:
                        return False
                    left = deadline.left()
                    self.clock.wait(engine.changed, min(left, POLL) if alone else left)
                    if alone:
                        break
                else:
                    return True

    def deliver_here(self, done: Callable[[], bool], deadline: Deadline) -> None:
        """Do the threads' work on the calling thread."""
        engine = self.engine
        delivering[_thread.get_ident()] = _getpid()
        try:
            while not done() and not deadline.passed:
                while engine.pack():
                    pass
                shipment = engine.next()
                if shipment is not None:
                    self.carry(shipment, deadline)
                elif (pause := engine.wait()) is not None:
                    self.clock.sleep(deadline.clip(pause))
                else:
                    return
        finally:
            delivering.pop(_thread.get_ident(), None)


def is_delivering(thread: int) -> bool:
    """Say whether *thread*, by its identifier, delivers at the moment."""
    return delivering.get(thread) == _getpid()


def are_greenlets() -> bool:
    """Say whether what is started as a thread is none, but shares the thread that starts it."""
    # By the name, since debuggers and tracers replace it too, and start real threads.
    home = str(getattr(_thread.start_new_thread, "__module__", ""))
    return home.partition(".")[0] in {"gevent", "eventlet"}


def is_main_thread() -> bool:
    """Say whether this is the thread with which the process began, be it by a fork."""
    # On Linux the first thread has the number of its process; elsewhere Python remembers it.
    return threading.get_native_id() in {_getpid(), threading.main_thread().native_id}


def _refuse(_line: object) -> bool:
    return False
