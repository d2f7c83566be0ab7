"""What processes of a project left that are gone: found, and locked, one directory at a time."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from mixpanel_export._directory import Directory
from mixpanel_export._orphan import Orphan
from mixpanel_export._settings import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mixpanel_export._notice import Notices

#: Seconds after which a directory that is still not made never will be. Ours.
MAKING: Final = 60.0


class Adoption:
    """
    Finds what may be taken over, again and again.

    Args:
        parent: The directory of the project.

        host: The address that our lines are for.

        notices: Where trouble is told.
    """

    def __init__(self, parent: str, host: str, notices: Notices) -> None:
        self._parent = parent
        self._host = host
        self._notices = notices
        # Looked at, and not for us.
        self._strangers: set[str] = set()
        self._told = False

    def look(self, now: float) -> Iterator[tuple[Directory, list[Orphan]]]:
        """
        Lock one directory after the other, and give it with its segments.

        Args:
            now: Seconds since the epoch.

        Raises:
            OSError: If the directory of the project cannot be read.
        """
        if not os.path.isdir(self._parent):
            return
        self._tell_of_others()
        for name in sorted(os.listdir(self._parent)):
            path = os.path.join(self._parent, name)
            if name.startswith("."):
                Directory.sweep(path, now - MAKING)
            elif name not in self._strangers and os.path.isdir(path):
                directory = Directory.adopt(path)
                if directory is not None and (orphans := self._open(directory)) is not None:
                    yield directory, orphans

    def _open(self, directory: Directory) -> list[Orphan] | None:
        """Read the segments of a directory; release it, and give `None`, if that is not for us."""
        try:
            if self._is_for_us(directory.about):
                return [
                    Orphan(directory, number, directory.settled.get(number, ()))
                    for number in directory.numbers
                ]
            self._strangers.add(os.path.basename(directory.path))
        except FileNotFoundError:
            # A sibling was quicker, and has done with it.
            pass
        except (OSError, ValueError) as error:
            self._strangers.add(os.path.basename(directory.path))
            self._notices.warn("adoption", f"{directory.path} was left alone: {error}")
        directory.release()
        return None

    def _tell_of_others(self) -> None:
        if self._told:
            return
        root, ours = os.path.split(self._parent)
        left = sum(
            entry.is_dir() and not entry.name.startswith(".")
            for name in os.listdir(root)
            if name != ours and os.path.isdir(os.path.join(root, name))
            for entry in os.scandir(os.path.join(root, name))
        )
        if left:
            self._told = True
            self._notices.warn(
                "others",
                f"{root} holds {left} directories of other projects; they are left alone, and"
                " delivered by `mixpanel-export spool drain` with the credentials of theirs",
            )

    def _is_for_us(self, about: dict[str, Any]) -> bool:
        """Say whether lines that were queued for another host may go to ours."""
        theirs, ours = about.get("host"), self._host
        hosts = [urlsplit(host).hostname or "" for host in (str(theirs), ours)]
        return theirs == ours or not any(map(is_loopback, hosts))
