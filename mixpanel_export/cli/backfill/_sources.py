"""Arguments -> sources: files, globs, addresses, standard input."""

from __future__ import annotations

import glob
import hashlib
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from mixpanel_export.cli.backfill._trouble import Damage, Unusable

#: The name of standard input.
STDIN: Final = "-"

# So much of a source's beginning tells whether it is still the one that it was, in bytes.
_HEAD: Final = 4_096


@dataclass(frozen=True)
class Source:
    """
    Something that records are read from.

    Args:
        name: What it is called; also its name in the journal.

        size: Its bytes as they are stored; None if nobody knows.

        opener: Opens it, at its beginning.
    """

    name: str
    size: int | None
    opener: Callable[[], BinaryIO]

    def open(self) -> BinaryIO:
        """
        Open it.

        Raises:
            Damage: If that is not possible.
        """
        with reading():
            return self.opener()

    @property
    def repeatable(self) -> bool:
        """Whether it can be read again from its beginning."""
        return self.name != STDIN

    def head(self) -> bytes:
        """Give its beginning, at most 4 KiB; raises `Damage`."""
        with self.open() as stream, reading():
            return read_fully(stream, _HEAD)


class reading:  # noqa: N801 -- reads as the statement that it is
    """Turn what goes wrong while a source is opened or read into `Damage`."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        # Somebody else's file system may raise anything.
        if isinstance(error, Exception) and not isinstance(error, Damage):
            text = error.strerror if isinstance(error, OSError) else None
            raise Damage(text or f"{type(error).__name__}: {error}") from error


def read_fully(stream: BinaryIO, size: int) -> bytes:
    """Read *size* bytes, fewer only at the end."""
    found = b""
    while len(found) < size and (piece := stream.read(size - len(found))):
        found += piece
    return found


def digest(head: bytes) -> str:
    """Give what stands for the beginning of a source in the journal."""
    return hashlib.sha256(head).hexdigest()[:32]


def find(arguments: Iterable[str]) -> list[Source]:
    """
    Find the sources that *arguments* name, each once, those of a glob in the order of their names.

    Raises:
        Unusable: If one names nothing, a folder, or something that needs a package that is missing.
    """
    found: dict[str, Source] = {}
    for argument in arguments:
        if argument == STDIN:
            sources = [Source(STDIN, None, _standard_input)]
        elif "://" in argument:
            sources = _remote(argument)
        else:
            sources = _local(argument)
        if not sources:
            what = "no file matches" if glob.has_magic(argument) else "there is no such file"
            raise Unusable(f"{argument}: {what}")
        found.update((source.name, source) for source in sources)
    return list(found.values())


def _local(argument: str) -> list[Source]:
    # A file may have the signs of a glob in its name.
    paths = [argument] if Path(argument).exists() else glob.glob(argument, recursive=True)  # noqa: PTH207 -- absolute patterns too
    if paths == [argument] and Path(argument).is_dir():
        raise Unusable(f"{argument}: is a folder; say which of its files, as {argument}/*.ndjson")
    files = sorted(path for path in paths if not Path(path).is_dir())
    return [Source(path, _size(path), _opener(path)) for path in files]


def _size(path: str) -> int | None:
    # What is no file, such as a pipe, has none.
    return os.stat(path).st_size if Path(path).is_file() else None  # noqa: PTH116 -- the same, as a text


def _opener(path: str) -> Callable[[], BinaryIO]:
    return lambda: Path(path).open("rb")


def _remote(address: str) -> list[Source]:
    try:
        from fsspec.core import has_magic, url_to_fs
    except ImportError:
        raise Unusable(
            f"{address}: fsspec is missing; addresses need pip install 'mixpanel-export[files]'"
        ) from None
    try:
        system, path = url_to_fs(address)
        paths = sorted(system.glob(path)) if has_magic(path) else [path]
        return [_remote_source(system, each) for each in paths]
    except FileNotFoundError:
        return []
    except Exception as error:  # somebody else's file system may raise anything
        raise Unusable(f"{address}: {error!s:.500}") from error


def _remote_source(system: Any, path: str) -> Source:  # noqa: ANN401 -- fsspec has no types
    size = system.info(path).get("size")
    return Source(
        str(system.unstrip_protocol(path)), size, lambda: cast("BinaryIO", system.open(path, "rb"))
    )


def _standard_input() -> BinaryIO:
    # Of its own, so that closing it leaves the process's as it is.
    return os.fdopen(os.dup(sys.stdin.fileno()), "rb")
