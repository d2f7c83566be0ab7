"""
The pipeline: an engine, the threads that drive it, and how all of it ends.

Emitting costs the caller a few microseconds and takes no lock. A *worker* thread seals batches; up
to `Settings.connections` *connection* threads send them, more than one only under backlog. The
first event of a process starts them, nothing earlier does.
"""

from __future__ import annotations

import _thread
import os
import queue
import random
import secrets
import threading
import weakref
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from mixpanel_export import _home, _lifecycle, _metrics, _uwsgi
from mixpanel_export._clock import SYSTEM_CLOCK, Clock, Deadline
from mixpanel_export._engine import Engine
from mixpanel_export._event import Drop, Event
from mixpanel_export._exceptions import SettingsError
from mixpanel_export._ledger import Health, Stats
from mixpanel_export._notice import Notices, logger
from mixpanel_export._outcome import Delivered
from mixpanel_export._sender import Sender
from mixpanel_export._translate import Sealed, Translator
from mixpanel_export._update import Aside, GroupUpdate, ProfileUpdate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    from typing_extensions import Self

    from mixpanel_export._outcome import Rejection
    from mixpanel_export._sender import Shipment
    from mixpanel_export._settings import Settings
    from mixpanel_export._spool import SpoolQueue
    from mixpanel_export._transport import Transport

#: The threads that are delivering now, and their processes. A log record of such a thread is about
#: delivery, and exporting it would feed on itself. A forked child inherits the entries, and gives
#: its first threads the identifiers of the parent's: hence the processes.
delivering: Final[dict[int, int]] = {}

#: Seconds after which a connection thread without work ends. Ours: longer than `flush_interval`, so
#: that a steady trickle keeps its connection.
IDLE: Final = 10.0

#: The shutdown timeout while the circuit is open, in seconds.
HOPELESS: Final = 1.0

#: Seconds between two looks of a caller who delivers itself: what others bring in does not wake it.
POLL: Final = 0.05

#: What takes every line of this process in place of the queues; see `divert`.
_diversion: Callable[[bytes | Aside], Literal[True]] | None = None

_getpid: Final = os.getpid


class Seal(Protocol):
    """What makes a line of an item; see `Translator.seal`."""

    def __call__(
        self,
        item: Any,  # noqa: ANN401 -- the pipeline does not know what it carries
        insert_id: Callable[[], str],
        wall: Callable[[], float],
        /,
    ) -> Sealed:
        """Make the line, or say why there is none."""


class _Process:
    """
    Everything that belongs to one pipeline in one process; a fork leaves it behind as a whole.

    The threads hold on to this and not to the pipeline.
    """

    def __init__(self, settings: Settings, transport: Transport, clock: Clock) -> None:
        self.pid = os.getpid()
        self.home = _home.settle()
        # The one that takes its place in a child; always empty in its own process.
        self.heirs: dict[int, _Process] = {}
        self.settings = settings
        self.clock = clock
        self.notices = Notices(clock)
        self.engine = Engine(settings, clock=clock, notices=self.notices, ring=self.ring)
        self.closed = False
        self.aim()
        self.sender = Sender(settings, transport, clock=clock, random=random.random)
        # 96 random bits name the process and a counter the event: unique for less than the price of
        # a random number each, and it compresses. It fits the 36 characters that Mixpanel takes.
        self.insert_id: Callable[[], str] = map(
            (secrets.token_hex(12) + "%x").__mod__, count()
        ).__next__
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
        self.time: Callable[[float, str], None] | None = None

    # -- from the callers' threads ----------------------------------------------------------------

    def aim(self) -> None:
        """Let lines go where they belong: to the queue, unless they are diverted or refused."""
        queue = self.engine.queue
        to = _refuse if self.closed else _diversion
        self.put: Callable[[bytes], bool] = to or queue.put
        self.put_aside: Callable[[Aside], bool] = to or queue.put_aside
        self.off = self.settings.disabled and _diversion is None

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
            _thread.start_new_thread(self.work, ())
        except RuntimeError:
            # The interpreter is exiting; flush and close deliver on their own thread.
            self.keeper = None
            self.token.append(True)
            return False
        return True

    def start_keeper(self) -> None:
        """Start the thread that looks after the spool, if there is one."""
        spool = self.engine.spool
        if spool is not None:
            self.keeper = object()
            # Without it, at the interpreter's exit, `put` helps itself.
            with suppress(RuntimeError):
                _thread.start_new_thread(self.look_after, (spool, self.keeper))

    def take_over(self) -> None:
        """Look for what others left in the spool, where no event has come that would do it."""
        spool = self.engine.spool
        if spool is not None and _diversion is None and self.keeper is None and not self.inherited:
            self.keep_safely(spool)

    def look_after(self, spool: SpoolQueue, keeper: object) -> None:
        """Do what a spool needs, until another one does, the process is at rest, or forked."""
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

    def inherit(self, parent: _Process) -> None:
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
            _thread.start_new_thread(self.serve, ())
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


def divert(take: Callable[[bytes | Aside], Literal[True]] | None) -> None:
    """
    Have every pipeline of this process hand its lines to *take*, on the caller's thread.

    Meanwhile nothing new is sent or kept, and pipelines that are `disabled` work like others. What
    was accepted before is delivered as ever.

    Args:
        take: Called with each line; what is diverted counts as accepted. `None` lets lines go to
            the queues again.
    """
    global _diversion  # noqa: PLW0603 -- there is one process
    _diversion = take
    for pipeline in living():
        pipeline._current().aim()


def living() -> list[Pipeline]:
    """Give the pipelines of this process, whoever made them."""
    return [each for each in _lifecycle.living() if isinstance(each, Pipeline)]


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


class Pipeline:
    """
    Take events in, deliver them in the background, account for each.

    Nothing is started or opened before the first event. All methods may be called from any thread;
    `submit` also from a signal handler or a finaliser.

    Args:
        settings: How.

        clock: Where the time comes from.

    Raises:
        SettingsError: If the settings hold no credentials and are not `disabled`.
    """

    def __init__(self, settings: Settings, *, clock: Clock = SYSTEM_CLOCK) -> None:
        if settings.credentials is None and not settings.disabled:
            raise SettingsError(
                "there are no credentials; set token, or service_account, service_secret and"
                " project_id"
            )
        self.settings = settings
        #: The doors that are open on it.
        self.doors: weakref.WeakSet[Any] = weakref.WeakSet()
        self._clock = clock
        self._wall = clock.wall
        self._seal: Seal = Translator(settings).seal_by_hand
        self._process = self._new_process()
        if settings.exposed:
            self._process.notices.warn(
                "exposed", f"credentials travel in clear to {settings.host}; use https"
            )
        _lifecycle.enroll(self)

    # -- taking in --------------------------------------------------------------------------------

    def submit(self, item: Event | ProfileUpdate | GroupUpdate) -> bool:
        """
        Take an event or an update in; returns at once.

        Events of the names ``$identify``, ``$create_alias`` and ``$merge`` change identities; see
        `identify_event`, `alias_event` and `merge_event`. Updates and these are delivered in the
        order in which they are submitted.

        Returns:
            True if it was accepted: it will be delivered, or counted with the reason. False if it
            was not, and `stats` says why.
        """
        return self.offer(item, self._seal)

    def update_profile(  # noqa: PLR0913 -- Mixpanel's operations, by their names
        self,
        distinct_id: str,
        *,
        set: Mapping[str, Any] | None = None,  # noqa: A002
        set_once: Mapping[str, Any] | None = None,
        add: Mapping[str, float] | None = None,
        append: Mapping[str, Any] | None = None,
        union: Mapping[str, Any] | None = None,
        remove: Mapping[str, Any] | None = None,
        unset: Iterable[str] | None = None,
        ip: str = "0",
    ) -> bool:
        """
        Update the profile of a user, one operation after the other.

        Args:
            distinct_id: Whose.

            set: Values to set.

            set_once: Values to set where there is none yet.

            add: Numbers to add; negative ones subtract.

            append: Values to append to lists.

            union: Lists of values, to append where they are missing.

            remove: Values to remove from lists.

            unset: Names of properties to remove.

            ip: The user's address, for the place; ``"0"`` leaves the place alone.

        Returns:
            True if all of it was accepted. `stats` says why not.
        """
        operations = {
            "$set": set,
            "$set_once": set_once,
            "$add": add,
            "$append": append,
            "$union": union,
            "$remove": remove,
            "$unset": None if unset is None else list(unset),
        }
        # All of them, whatever becomes of the first.
        return all(
            [  # noqa: C419
                self.submit(ProfileUpdate(distinct_id, operation, value, ip=ip))
                for operation, value in operations.items()
                if value is not None
            ]
        )

    def update_group(  # noqa: PLR0913 -- as above
        self,
        group_key: str,
        group_id: str,
        *,
        set: Mapping[str, Any] | None = None,  # noqa: A002
        set_once: Mapping[str, Any] | None = None,
        union: Mapping[str, Any] | None = None,
        remove: Mapping[str, Any] | None = None,
        unset: Iterable[str] | None = None,
    ) -> bool:
        """
        Update the profile of a group, one operation after the other; see `update_profile`.

        Args:
            group_key: The kind of group, such as ``company``.

            group_id: Which group.

            set: Values to set.

            set_once: Values to set where there is none yet.

            union: Lists of values, to append where they are missing.

            remove: Values to remove from lists.

            unset: Names of properties to remove.

        Returns:
            True if all of it was accepted. `stats` says why not.
        """
        operations = {
            "$set": set,
            "$set_once": set_once,
            "$union": union,
            "$remove": remove,
            "$unset": None if unset is None else list(unset),
        }
        # All of them, whatever becomes of the first.
        return all(
            [  # noqa: C419
                self.submit(GroupUpdate(group_key, group_id, operation, value))
                for operation, value in operations.items()
                if value is not None
            ]
        )

    def ignore(self) -> None:
        """Count a record that is no event."""
        process = self._process
        if not process.home[0]:
            process = self._current()
        process.engine.ignored.bump()

    def offer(self, item: object, seal: Seal) -> bool:
        """Take in whatever *seal* makes a line of; what `submit` and the doors call."""
        process = self._process
        if process.off:
            return False
        if not process.home[0]:
            # Some servers fork without Python's knowledge, so that its hook never ran.
            process = self._current()
        try:
            line = seal(item, process.insert_id, self._wall)
        except Exception as error:  # noqa: BLE001 -- the application's transform, or its objects
            process.engine.dropped["transform"].bump()
            process.notices.warn("transform", f"an event raised {type(error).__name__}: dropped")
            return False
        if type(line) is bytes:
            if process.put(line):
                return True
            self._count_refused(process)
            return False
        if type(line) is tuple:
            # All of them, whatever becomes of the first.
            return all([self._take(process, each) for each in line])  # noqa: C419
        return self._take(process, line)

    def _take(self, process: _Process, line: object) -> bool:
        if isinstance(line, Drop):
            if line is Drop.IGNORED:
                process.engine.ignored.bump()
            else:
                process.engine.dropped[line.value].bump()
            return False
        put: Callable[[Any], bool] = process.put_aside if isinstance(line, Aside) else process.put
        if put(line):
            return True
        self._count_refused(process)
        return False

    @staticmethod
    def _count_refused(process: _Process) -> None:
        if process.closed:
            process.engine.dropped["closed"].bump()
            process.notices.warn("closed", "an event came after close() and was dropped")
        else:
            process.engine.dropped["full"].bump()
            process.ring()

    # -- waiting ----------------------------------------------------------------------------------

    def flush(self, timeout: float | None = None) -> bool:
        """
        Send what was accepted before the call, and wait for it.

        Args:
            timeout: The longest wait, in seconds. 0 asks for it and does not wait; `None` is the
                setting `shutdown_timeout`.

        Returns:
            True if everything accepted before the call has reached a final state.
        """
        process = self._current()
        process.take_over()
        engine = process.engine
        mark = engine.mark()
        if not self._is_used(process):
            # Nothing is started before the first event, not even to see that there is none.
            return True
        engine.want(mark)
        process.ring()
        settled = process.settle(lambda: engine.settled(mark), self._deadline(timeout))
        if _lifecycle.exit_deadline() is not None and engine.idle:
            process.sender.close()
        return settled

    def adopt(self, timeout: float) -> bool:
        """
        Take over what processes left in the spool that are gone, and wait until it is delivered.

        Without this it is done in the background, once something was accepted.

        Args:
            timeout: The longest wait, in seconds.

        Returns:
            True if there is nothing more that may be taken over, and nothing is held.
        """
        process = self._current()
        deadline = Deadline(self._clock, timeout)
        while process.engine.spool is not None:
            process.engine.spool.keeper.adopt()
            if process.engine.idle:
                break
            if not process.settle(lambda: process.engine.idle, deadline):
                return False
        return True

    async def aflush(self, timeout: float | None = None) -> bool:
        """Flush without blocking the event loop; see `flush`."""
        import asyncio  # whoever awaits has it already, whoever does not need not pay for it

        return await asyncio.to_thread(self.flush, timeout)

    def close(self, timeout: float | None = None) -> bool:
        """
        Deliver what is left and end; final and idempotent.

        Args:
            timeout: The longest wait, in seconds; 0 gives up at once, `None` is the setting
                `shutdown_timeout`. What is not delivered by then is kept in the spool,
                or counted as `abandoned`.

        Returns:
            True if nothing had to be abandoned; what a spool keeps is not.
        """
        process = self._current()
        process.closed = True
        process.aim()
        lost = 0
        process.take_over()
        if self._is_used(process):
            process.engine.hurry()
            process.settle(lambda: process.engine.idle, self._deadline(timeout))
            lost = self._give_up(process)
            process.engine.stop()
            process.retiring = True
            process.keeper = None
            process.ring()
        process.sender.close()
        if process.engine.spool is not None:
            process.engine.spool.close()
        return not lost

    async def aclose(self, timeout: float | None = None) -> bool:
        """Close without blocking the event loop; see `close`."""
        import asyncio  # as above

        return await asyncio.to_thread(self.close, timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    def rest(self) -> None:
        """End the threads and close the connections once nothing is held; an event revives it."""
        process = self._current()
        process.retiring = True
        if self._is_used(process):
            process.ring()

    def _deadline(self, timeout: float | None) -> Deadline:
        return Deadline(self._clock, self.settings.shutdown_timeout if timeout is None else timeout)

    # -- accounting -------------------------------------------------------------------------------

    @property
    def stats(self) -> Stats:
        """The ledger of this process."""
        return self._current().engine.stats

    @property
    def health(self) -> Health:
        """Whether delivery works."""
        return self._current().engine.health

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return self._process.closed

    def __repr__(self) -> str:
        return f"Pipeline({self.settings!r})"

    # -- processes --------------------------------------------------------------------------------

    def _new_process(self) -> _Process:
        transport = self.settings.transport
        if transport is None:
            # Here and not on top: importing httpx takes ten times as long as importing this
            # package. And not later: a fork in the middle of an import breaks the child.
            from mixpanel_export._transport import HttpxTransport

            transport = HttpxTransport(self.settings)
        return _Process(self.settings, transport, self._clock)

    def _current(self) -> _Process:
        """Give what belongs to this process; after a fork it is empty, the rest is the parent's."""
        parent = self._process
        pid = os.getpid()
        if parent.pid == pid:
            return parent
        process = self._new_process()
        if parent.closed:
            process.closed = True
            process.aim()
        # One step: of two threads that find out at the same time, both go on with the same one.
        heir = self._process = parent.heirs.setdefault(pid, process)
        if heir is process:
            heir.inherit(parent)
            if parent.engine.spool is not None:
                parent.engine.spool.disown()
            if are_greenlets():
                # Whatever is under way there is under way in the parent, which shall get the
                # answers. Real threads are not here, and their locks may be held for ever.
                parent.sender.close()
        return heir

    def forked(self) -> None:
        """Start anew in a child process."""
        self._current()

    def start_exit(self) -> Deadline:
        """Make haste, since the process ends; say until when there is time."""
        process = self._current()
        process.engine.hurry()
        if self._is_used(process):
            process.ring()
        limit = self.settings.shutdown_timeout
        if process.engine.circuit != "closed":
            limit = min(limit, HOPELESS)
        return Deadline(self._clock, limit)

    def resume(self) -> None:
        """Go on at the ordinary pace."""
        self._current().engine.calm()

    def finish_exit(self, deadline: Deadline) -> None:
        """Wait until nothing is left, or until *deadline*; give up the rest."""
        process = self._current()
        if not self._is_used(process):
            return
        process.settle(lambda: process.engine.idle, deadline)
        self._give_up(process)
        if process.engine.spool is not None and process.engine.idle:
            process.engine.spool.tidy()
        # Left open, sockets would be reported as leaks by an interpreter that looks for them.
        process.sender.close()

    @staticmethod
    def _is_used(process: _Process) -> bool:
        """Say whether anything was taken in; before that nothing is started, not even to end it."""
        return any(process.engine.mark()) or process.engine.queue.adopted > 0

    @staticmethod
    def _give_up(process: _Process) -> int:
        lost = process.engine.abandon()
        if lost:
            reason = process.engine.health.reason or "a longer shutdown_timeout may help"
            logger.warning("%d events were not delivered in time and are lost: %s", lost, reason)
        return lost


def _refuse(_line: object) -> bool:
    return False
