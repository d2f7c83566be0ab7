"""Files, where operating systems differ: locks, allocation, flushing."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from types import ModuleType
from typing import Final

from mixpanel_export._exceptions import SpoolError

# File systems of other machines: their locks, mappings and flushes promise too little.
_REMOTE: Final = frozenset(
    {"9p", "afs", "ceph", "cifs", "fuse.sshfs", "lustre", "ncpfs", "nfs", "nfs4", "smb3", "smbfs"}
)


def _fcntl() -> ModuleType:
    try:
        import fcntl
    except ImportError:
        raise SpoolError("this system has no POSIX locks") from None
    return fcntl


def lock(file: int) -> bool:
    """
    Lock an open file for this process, until it closes any descriptor of it or ends.

    Not `flock`, which a forked child would inherit: the lock of a killed parent would last as long
    as its children.

    Returns:
        False if another process holds the lock. The own process is given it again.

    Raises:
        SpoolError: If this system, such as Windows, has no such locks.
    """
    fcntl = _fcntl()
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def is_locked(file: int) -> bool:
    """
    Say whether another process holds the lock of an open file.

    Raises:
        SpoolError: As `lock`.
    """
    fcntl = _fcntl()
    try:
        # A shared lock needs no permission to write. It is asked for the shortest time, since who
        # wants the file for good is told that it is locked.
        fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.lockf(file, fcntl.LOCK_UN)
    except OSError:
        return True
    return False


def require_lock(file: int) -> None:
    """
    Lock a file that nobody else knows.

    Raises:
        SpoolError: If it cannot be locked.
    """
    if not lock(file):
        raise SpoolError("files cannot be locked there")


def allocate(file: int, size: int) -> None:
    """
    Give an empty file *size* bytes of zeros that have their place on the disk.

    A mapping of a file with holes would kill the process where there is no room for them.

    Raises:
        OSError: If there is no room.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
        return
    zeros = bytes(65_536)
    left = size
    while left:
        left -= os.write(file, zeros[:left])


def sync(file: int) -> None:
    """Wait until what was written to *file* is on the disk, also through a mapping."""
    getattr(os, "fdatasync", os.fsync)(file)


def sync_directory(path: str) -> None:
    """Wait until the names in a directory are on the disk; where that cannot be, do nothing."""
    with suppress(OSError):
        file = os.open(path, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)


def require_local(path: str, mounts: str = "/proc/self/mounts") -> None:
    """
    Make sure that *path*, which exists, is on a disk of this machine, as far as can be told.

    Raises:
        SpoolError: If it is not.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        with open(mounts, encoding="utf-8", errors="replace") as table:
            rows = [line.split() for line in table]
    except OSError:
        return
    path = os.path.realpath(path)
    # The deepest one counts, and of two at one place the later.
    over = [
        (len(row[1]), number, row[2])
        for number, row in enumerate(rows)
        if len(row) > 2 and os.path.join(path, "").startswith(os.path.join(row[1], ""))
    ]
    if over and (kind := max(over)[2]) in _REMOTE:
        raise SpoolError(f"{path} is on a network file system ({kind}); use a local disk")
