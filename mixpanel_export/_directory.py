"""
A directory of segments: that of one process, or of one that is gone.

::

    spool/<project>/<process>/lock            held as long as the process lives
                              cursor          which parts of which segments are done with
                              00000000.seg …  see `_segment`

The cursor is a list of parts and not one number, since batches are settled in any order. Part by
part it is appended to, and written anew when it has become long.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from contextlib import suppress
from hashlib import blake2b
from struct import Struct
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from mixpanel_export import _disk

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mixpanel_export._settings import Settings

# The name of a directory while it is made.
_HIDDEN: Final = re.compile(r"\.\d+-[0-9a-f]{8}")

_PART: Final = Struct("<IIII")
_ENTRY: Final = _PART.size + 4

#: So many entries are written until the cursor is written anew. Ours: 64 KB.
_LONG: Final = 4096

#: A part of a segment: where it starts and stops, and how many records in it are done with.
Part = tuple[int, int, int]

# The directories that this process holds, and its number. A POSIX lock on one's own file is granted
# again, and lost when any descriptor of the file is closed: so these are never opened twice. A
# forked child inherits the entries and not the locks.
_held: Final[dict[tuple[int, str], object]] = {}


def _hold(path: str) -> bool:
    # One step, so that of two threads only one gets it.
    mine = object()
    return _held.setdefault((os.getpid(), path), mine) is mine


def _let_go(path: str) -> None:
    _held.pop((os.getpid(), path), None)


def directory_of(settings: Settings) -> str:
    """
    Give the path of the project's directory in the spool.

    Its name tells projects apart and is no credential; the path has no links in it, so that each
    directory has one name in this process.
    """
    who = settings.project_id or (settings.credentials or ("", ""))[0]
    alias = blake2b(who.encode()).hexdigest()[:16]
    return os.path.join(os.path.realpath(settings.spool or ""), alias)


class Directory:
    """
    A directory that this process has locked; see `make` and `adopt`.

    What is settled is noted by whoever holds the engine's lock.
    """

    def __init__(self, path: str, lock: int) -> None:
        self.path = path
        self._lock = lock
        self._cursor = -1
        self._entries = 0
        #: The parts of each segment, by its number, that are done with: sorted, none touching.
        self.settled: dict[int, list[Part]] = {}

    @classmethod
    def make(cls, parent: str, about: dict[str, Any]) -> Directory:
        """
        Make a new one in *parent*, which is made too if need be.

        Args:
            parent: The directory of the project.

            about: What is known about it, for those who find it; no secrets.

        Raises:
            OSError: If it cannot be made.

            SpoolError: If *parent* is not on a local disk.
        """
        os.makedirs(os.path.dirname(parent), mode=0o700, exist_ok=True)
        os.makedirs(parent, mode=0o700, exist_ok=True)
        _disk.require_local(parent)
        name = f"{os.getpid()}-{secrets.token_hex(4)}"
        path = os.path.join(parent, name)
        # Nobody shall find it before it is locked.
        hidden = os.path.join(parent, f".{name}")
        os.mkdir(hidden, 0o700)
        lock = -1
        _hold(path)
        try:
            lock = os.open(os.path.join(hidden, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
            _disk.require_lock(lock)
            os.write(lock, json.dumps(about).encode())
            os.rename(hidden, path)
        except BaseException:
            cls(hidden, lock).remove()
            _let_go(path)
            raise
        for each in (os.path.dirname(parent), parent):
            _disk.sync_directory(each)
        return cls(path, lock)

    @classmethod
    def adopt(cls, path: str) -> Directory | None:
        """Take over the directory of a process that is gone; `None` if it is not, or not ours."""
        if not _hold(path):
            return None
        try:
            lock = os.open(os.path.join(path, "lock"), os.O_RDWR)
        except OSError:
            _let_go(path)
            return None
        if not _disk.lock(lock):
            os.close(lock)
            _let_go(path)
            return None
        directory = cls(path, lock)
        directory._read_cursor()
        return directory

    @classmethod
    def sweep(cls, hidden: str, before: float) -> None:
        """
        Delete what a process left that was killed while it made its directory.

        Args:
            hidden: The path, whose name begins with a dot.

            before: What is newer, in seconds since the epoch, may still be in the making.
        """
        if not _HIDDEN.fullmatch(os.path.basename(hidden)):
            return
        with suppress(OSError):
            if os.stat(hidden).st_mtime >= before:
                return
            if directory := cls.adopt(hidden):
                directory.remove()
            else:
                # Not even the lock was made; else somebody has it, and the directory is not empty.
                os.rmdir(hidden)

    @classmethod
    def look(cls, path: str) -> tuple[Directory, bool] | None:
        """
        Open a directory to read it. Whoever holds it may change its files at any moment.

        Returns:
            It, to be released, and whether a process holds it. `None` if this one does.

        Raises:
            OSError: If it cannot be read.
        """
        if not _hold(path):
            return None
        try:
            lock = os.open(os.path.join(path, "lock"), os.O_RDONLY)
        except OSError:
            _let_go(path)
            raise
        held = _disk.is_locked(lock)
        directory = cls(path, lock)
        directory._read_cursor()
        return directory, held

    @property
    def about(self) -> dict[str, Any]:
        """What its process wrote about it; empty if that cannot be read."""
        try:
            os.lseek(self._lock, 0, os.SEEK_SET)
            found = json.loads(os.read(self._lock, 65_536))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def numbers(self) -> list[int]:
        """The numbers of its segments, in their order."""
        names = os.listdir(self.path)
        return sorted(int(name[:8]) for name in names if name[8:] == ".seg" and name[:8].isdigit())

    # -- the cursor -------------------------------------------------------------------------------

    def settle(self, number: int, parts: Iterable[Part]) -> None:
        """
        Note that *parts* of segment *number* are done with.

        Raises:
            OSError: If it cannot be written. Then they are delivered twice if the process is
                killed, and nothing worse.
        """
        parts = merged(parts)
        self.settled[number] = merged([*self.settled.get(number, ()), *parts])
        if self._entries >= _LONG:
            self._rewrite()
            return
        if self._cursor < 0:
            self._open_cursor("cursor")
        os.write(self._cursor, b"".join(_entry(number, *part) for part in parts))
        self._entries += len(parts)

    def forget(self, number: int) -> None:
        """Leave out a segment that is no more."""
        self.settled.pop(number, None)

    def _open_cursor(self, name: str) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
        self._cursor = os.open(os.path.join(self.path, name), flags, 0o600)

    def _read_cursor(self) -> None:
        try:
            with open(os.path.join(self.path, "cursor"), "rb") as file:
                data = file.read()
        except OSError:
            return
        found: dict[int, list[Part]] = {}
        for begin in range(0, len(data) - _ENTRY + 1, _ENTRY):
            number, *part = _PART.unpack_from(data, begin)
            if data[begin : begin + _ENTRY] == _entry(number, *part):
                found.setdefault(number, []).append((part[0], part[1], part[2]))
        self.settled = {number: merged(parts) for number, parts in found.items()}
        # What is appended must stand at a multiple of an entry: begin a new file.
        self._entries = _LONG

    def _rewrite(self) -> None:
        if self._cursor >= 0:
            os.close(self._cursor)
            self._cursor = -1
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(self.path, "cursor.new"))
        self._open_cursor("cursor.new")
        entries = [
            _entry(number, *part) for number, parts in self.settled.items() for part in parts
        ]
        os.write(self._cursor, b"".join(entries))
        # With a full disk the old one must remain.
        os.replace(os.path.join(self.path, "cursor.new"), os.path.join(self.path, "cursor"))
        self._entries = 0

    # -- the end ----------------------------------------------------------------------------------

    def release(self) -> None:
        """Leave it to whoever comes. Idempotent."""
        if self._cursor >= 0:
            os.close(self._cursor)
            self._cursor = -1
        # In this order: who sees that it is not held may try its lock, and gets it.
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
            _let_go(self.path)

    def remove(self) -> None:
        """Delete it and release it; what does not belong to it remains."""
        with suppress(OSError):
            # The lock last: until then nobody else can have it.
            for name in ("cursor", "cursor.new", "lock"):
                with suppress(FileNotFoundError):
                    os.unlink(os.path.join(self.path, name))
            os.rmdir(self.path)
        self.release()


def _entry(number: int, start: int, stop: int, lines: int) -> bytes:
    part = _PART.pack(number, start, stop, lines)
    return part + crc32(part).to_bytes(4, "little")


def merged(parts: Iterable[Part]) -> list[Part]:
    """Sort *parts*, and join those that touch or overlap."""
    joined: list[Part] = []
    for start, stop, lines in sorted(parts):
        if joined and start <= joined[-1][1]:
            first, last, before = joined[-1]
            joined[-1] = first, max(stop, last), before + lines
        else:
            joined.append((start, stop, lines))
    return joined
