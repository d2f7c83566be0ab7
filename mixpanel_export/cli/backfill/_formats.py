"""The formats of sources: which it is, and what reads it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import PurePosixPath
from typing import Final

import orjson

from mixpanel_export.cli.backfill._access import access_log, is_access_log
from mixpanel_export.cli.backfill._pieces import Chunk, elements, lines, unmarked
from mixpanel_export.cli.backfill._sources import Source
from mixpanel_export.cli.backfill._streams import Counted, plain
from mixpanel_export.cli.backfill._tables import parquet, table
from mixpanel_export.cli.backfill._trouble import Damage

#: What can be asked for.
FORMATS: Final = ("ndjson", "json", "csv", "tsv", "parquet", "combined")

# What the ends of names say; what is compressed has another end after it.
_ENDINGS: Final = {
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
}
_PACKED: Final = (".gz", ".zst", ".zstd")

_PARQUET: Final = b"PAR1"
_ZIP: Final = b"PK\x03\x04"

# So much of a text whose format is not known is shown, in bytes.
_EXCERPT: Final = 30

# So many lines of a text are looked at.
_LOOK: Final = 5


@dataclass(frozen=True, slots=True)
class Reading:
    """
    How sources are read.

    Args:
        format: One of `FORMATS`; None if each source is to say.

        delimiter: What separates the columns of CSV; None if the header is to say.

        typed: Whether cells of CSV that look like numbers are numbers.
    """

    format: str | None = None
    delimiter: str | None = None
    typed: bool = True


#: What a record's number counts, by format.
UNITS: Final = {"json": "item", "parquet": "row"}


def read(source: Source, stream: Counted, how: Reading) -> tuple[str, Iterator[Chunk]]:
    """
    Read *source*, which is open as *stream*.

    Returns:
        Its format, and its records; these raise `Damage` where it cannot be read any further.

    Raises:
        Damage: If it cannot be read at all, or is in no format that is known.
    """
    if how.format == "parquet" or (how.format is None and stream.peek(4) == _PARQUET):
        return "parquet", parquet(source)
    pieces = unmarked(plain(stream))
    first = next(pieces, b"")
    found = how.format or _guess(PurePosixPath(source.name), first)
    pieces = chain([first], pieces)
    if found == "json":
        return found, elements(pieces)
    if found == "combined":
        return found, access_log(pieces)
    if found in {"csv", "tsv"}:
        delimiter = "\t" if found == "tsv" else how.delimiter
        return found, table(pieces, delimiter, typed=how.typed)
    return found, lines(pieces)


def _guess(name: PurePosixPath, text: bytes) -> str:
    suffixes = [suffix.lower() for suffix in name.suffixes if suffix.lower() not in _PACKED]
    ending = _ENDINGS.get(suffixes[-1]) if suffixes else None
    start = text.lstrip()
    if ending or not start:
        return ending or "ndjson"
    some = [line for line in start.split(b"\n", _LOOK)[:_LOOK] if line.strip()]
    if start[:1] == b"[" and not is_access_log(some[0]):
        return "json"
    if start[:1] == b"{":
        return "ndjson" if any(map(_is_object, some)) else "json"
    if any(map(is_access_log, some)):
        return "combined"
    if text.startswith(_ZIP):
        raise Damage(
            "it is a ZIP archive: unzip it, as with unzip -p FILE | mixpanel-export import -"
        )
    begun = start.split(b"\n", 1)[0][:_EXCERPT].decode("utf-8", "backslashreplace")
    raise Damage(
        f"line 1, column 1: no format begins with {begun!r}; say which it is with --format:"
        f" {', '.join(FORMATS)}"
    )


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(orjson.loads(line), dict)
    except ValueError:
        return False
