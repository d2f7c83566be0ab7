"""
The pipeline: what takes events in, and accounts for them, in one process after the other.

Emitting costs the caller a few microseconds and takes no lock. What is behind it belongs to one
process, see `mixpanel_export._process`; a fork gets its own.
"""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from mixpanel_export import _lifecycle, _process
from mixpanel_export._clock import SYSTEM_CLOCK, Clock, Deadline
from mixpanel_export._event import Drop, Event
from mixpanel_export._exceptions import SettingsError
from mixpanel_export._ledger import Health, Stats
from mixpanel_export._notice import logger
from mixpanel_export._process import Process, are_greenlets
from mixpanel_export._translate import Sealed, Translator
from mixpanel_export._update import Aside, GroupUpdate, ProfileUpdate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    from typing_extensions import Self

    from mixpanel_export._settings import Settings

#: The shutdown timeout while the circuit is open, in seconds.
HOPELESS: Final = 1.0


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


def divert(take: Callable[[bytes | Aside], Literal[True]] | None) -> None:
    """
    Have every pipeline of this process hand its lines to *take*, on the caller's thread.

    Meanwhile nothing new is sent or kept, and pipelines that are `disabled` work like others. What
    was accepted before is delivered as ever.

    Args:
        take: Called with each line; what is diverted counts as accepted. `None` lets lines go to
            the queues again.
    """
    _process.diversion = take
    for pipeline in living():
        pipeline._current().aim()


def living() -> list[Pipeline]:
    """Give the pipelines of this process, whoever made them."""
    return [each for each in _lifecycle.living() if isinstance(each, Pipeline)]


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
        set: Mapping[str, Any] | None = None,  # noqa: A002 -- Mixpanel's name, without the dollar
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
            [  # noqa: C419 -- a generator would stop at the first
                self.submit(ProfileUpdate(distinct_id, operation, value, ip=ip))
                for operation, value in operations.items()
                if value is not None
            ]
        )

    def update_group(  # noqa: PLR0913 -- Mixpanel's operations, by their names
        self,
        group_key: str,
        group_id: str,
        *,
        set: Mapping[str, Any] | None = None,  # noqa: A002 -- Mixpanel's name, without the dollar
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
            [  # noqa: C419 -- a generator would stop at the first
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
            return self._fail(process, item, seal, error)
        if type(line) is bytes:
            if process.put(line):
                return True
            self._count_refused(process)
            return False
        if type(line) is tuple:
            # All of them, whatever becomes of the first.
            return all([self._take(process, each) for each in line])  # noqa: C419 -- a generator would stop at the first
        return self._take(process, line)

    def _fail(self, process: Process, item: object, seal: Seal, error: Exception) -> bool:
        if type(error) is StopIteration and process.renew_ids():
            return self.offer(item, seal)
        process.engine.dropped["transform"].bump()
        process.notices.warn("transform", f"an event raised {type(error).__name__}: dropped")
        return False

    def _take(self, process: Process, line: object) -> bool:
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
    def _count_refused(process: Process) -> None:
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
            # What was taken over just now may be delivered already.
            more = process.engine.spool.keeper.adopt()
            if process.engine.idle and not more:
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
            process.await_births()
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

    def _new_process(self) -> Process:
        transport = self.settings.transport
        if transport is None:
            # Here and not on top: importing httpx takes ten times as long as importing this
            # package. And not later: a fork in the middle of an import breaks the child.
            from mixpanel_export._transport import HttpxTransport

            transport = HttpxTransport(self.settings)
        return Process(self.settings, transport, self._clock)

    def _current(self) -> Process:
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
        process.await_births()
        self._give_up(process)
        if process.engine.spool is not None and process.engine.idle:
            process.engine.spool.tidy()
        # Left open, sockets would be reported as leaks by an interpreter that looks for them.
        process.sender.close()

    @staticmethod
    def _is_used(process: Process) -> bool:
        """Say whether anything was taken in; before that nothing is started, not even to end it."""
        queue = process.engine.queue
        # Without the token there is a worker, whatever it was started for.
        return any(process.engine.mark()) or queue.adopted > 0 or not process.token

    @staticmethod
    def _give_up(process: Process) -> int:
        lost = process.engine.abandon()
        if lost:
            reason = process.engine.health.reason or "a longer shutdown_timeout may help"
            logger.warning("%d events were not delivered in time and are lost: %s", lost, reason)
        return lost
