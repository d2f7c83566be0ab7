"""What lies in a spool: found, counted and read without changing anything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from mixpanel_export._directory import Directory
from mixpanel_export._orphan import Orphan
from mixpanel_export._rejected import NAMES

_PROJECT: Final = re.compile(r"[0-9a-f]{16}")

#: What may be said of a process's directory: its process lives; it is gone; a newer version of this
#: package wrote it; it may not be read.
ALIVE: Final = "alive"
GONE: Final = "gone"
NEWER: Final = "newer version"
CLOSED: Final = "no access"


@dataclass(frozen=True, slots=True)
class Left:
    """What one process has in the spool, or has left there."""

    project: str
    """The name of the project's directory."""

    process: str
    """The name of the process's directory: its number and a random one; ``""`` if not known."""

    state: str
    """`ALIVE`, `GONE`, `NEWER` or `CLOSED`. Of the last two nothing more is known."""

    host: str = ""
    """The address that its lines were for."""

    events: int = 0
    """How many wait; of a process that lives, about."""

    updates: int = 0
    """How many updates of profiles and verbs of identity wait."""

    damaged: int = 0
    """How many events fail their checksum; 0 while the process lives, and may be writing them."""

    bytes: int = 0
    """The bytes of what waits, as it stands in the files."""

    last_write: float | None = None
    """When something was last put there, in seconds since the epoch; `None` if nothing waits."""


class Rejected(NamedTuple):
    """What Mixpanel has rejected of one project."""

    project: str
    events: int
    bytes: int


def projects(spool: Path, only: str | None = None) -> list[Path]:
    """Give the directories of all projects in *spool*, or of the one that is called *only*."""
    return [
        path
        for path in sorted(spool.iterdir())
        if path.is_dir() and _PROJECT.fullmatch(path.name) and only in {None, path.name}
    ]


def processes(project: Path) -> list[Path]:
    """Give the directories of all processes in that of a project."""
    return [
        path
        for path in sorted(project.iterdir())
        if path.is_dir() and not path.name.startswith(".")
    ]


def survey(spool: Path) -> Iterator[Left]:
    """Say what lies in *spool*, process by process."""
    for project in projects(spool):
        yield from _survey(project)


def _survey(project: Path) -> Iterator[Left]:
    try:
        paths = processes(project)
    except PermissionError:
        yield Left(project.name, "", CLOSED)
        return
    for path in paths:
        if left := _look_safely(project.name, path):
            yield left


def _look_safely(project: str, path: Path) -> Left | None:
    try:
        return _look(project, path)
    except FileNotFoundError:
        # Delivered, and deleted, meanwhile; or never one of ours.
        return None
    except ValueError:
        return Left(project, path.name, NEWER)
    except OSError:
        return Left(project, path.name, CLOSED)


def _look(project: str, path: Path) -> Left:
    found = Directory.look(str(path))
    if found is None:
        return Left(project, path.name, ALIVE)
    directory, alive = found
    try:
        orphans = [
            Orphan(directory, number, directory.settled.get(number, ()))
            for number in directory.numbers
        ]
        host = str(directory.about.get("host", ""))
    finally:
        directory.release()
    waiting = [orphan for orphan in orphans if orphan.count]
    return Left(
        project,
        path.name,
        ALIVE if alive else GONE,
        host,
        events=sum(orphan.unread for orphan in orphans),
        updates=sum(orphan.asides for orphan in orphans),
        damaged=0 if alive else sum(orphan.damaged for orphan in orphans),
        bytes=sum(orphan.end for orphan in orphans),
        last_write=max((orphan.touched for orphan in waiting), default=None),
    )


def lines(directory: Directory) -> Iterator[bytes]:
    """Give the lines that wait in *directory*, which is locked: updates first."""
    for number in directory.numbers:
        orphan = Orphan(directory, number, directory.settled.get(number, ()))
        yield from (line for _, line, _, _ in orphan.asides_found)
        while found := orphan.take(orphan.count, orphan.end)[0]:
            yield from found


def rejected_files(project: Path) -> list[Path]:
    """Give the files of rejected events of a project, the older one first."""
    return [project / name for name in reversed(NAMES) if (project / name).exists()]


def rejected(spool: Path) -> Iterator[Rejected]:
    """Say how much was rejected, project by project; only where there is something."""
    for project in projects(spool):
        texts = []
        # Of a project that may not be read `survey` tells.
        with suppress(PermissionError):
            texts = [path.read_bytes() for path in rejected_files(project)]
        if texts:
            count = sum(text.count(b"\n") for text in texts)
            yield Rejected(project.name, count, sum(map(len, texts)))
