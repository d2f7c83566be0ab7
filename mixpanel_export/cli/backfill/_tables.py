"""The formats with columns: CSV, and Parquet."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from mixpanel_export.cli.backfill._pieces import MAX_RECORD, Chunk, lines
from mixpanel_export.cli.backfill._sources import Source, reading
from mixpanel_export.cli.backfill._trouble import NOT_UTF_8, Damage, Fault, Unusable, excerpt

# So many lines may one row take, if there are line breaks within quotes. A quote that is never
# closed would otherwise swallow the rest of the file.
_MAX_LINES: Final = 200

# What separates columns, if the header is to say.
_DELIMITERS: Final = ",;\t|"

# Numbers that mean the same after they were read and written: no zeros in front, as in the number
# of an account, and no more digits than a double holds.
_NUMBER: Final = re.compile(r"-?(?:0|[1-9]\d{0,14})(?:\.\d{1,15})?")
_WORDS: Final[dict[str, Any]] = {"true": True, "false": False}

# So many rows of a Parquet file are read at once.
_ROWS: Final = 1_000


def table(pieces: Iterable[bytes], delimiter: str | None, *, typed: bool) -> Iterator[Chunk]:
    """
    Give the rows of a CSV file as mappings; a row's number is that of its first line.

    Args:
        pieces: The file; its first row names the columns.

        delimiter: What separates columns; None if the header is to say.

        typed: Whether what looks like a number, ``true`` or ``false`` is one.

    Raises:
        Damage: As *pieces* do, or if the header is unusable.
    """
    rows = _Rows(delimiter)
    header: list[str] | None = None
    for chunk in rows.of(lines(pieces)):
        items: list[Any] = []
        for item in chunk.items:
            if header is None and isinstance(item, list):
                header = _check(item)
                items.append(b"")
            elif isinstance(item, list):
                items.append(_row(header or [], item, typed=typed))
            else:
                items.append(item)
        yield Chunk(items, chunk.numbers, chunk.end)


def _check(header: list[str]) -> list[str]:
    names = [name.strip() for name in header]
    if names[0][:1] in {"{", "["}:
        raise Damage("line 1, column 1: this is no header, but JSON: try it without --format")
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise Damage(f"the header names the column {repeated[0]!r} twice")
    return names


def _row(header: list[str], cells: list[str], *, typed: bool) -> dict[str, Any] | Fault:
    if len(cells) != len(header):
        return Fault(
            f"has {len(cells)} columns, but the header has {len(header)}", ",".join(cells)[:2_000]
        )
    read = _typed if typed else str
    # An empty cell says nothing, and neither does a column without a name.
    return {name: read(cell) for name, cell in zip(header, cells, strict=True) if cell and name}


def _typed(cell: str) -> Any:  # noqa: ANN401 -- a text, a number or a truth
    if _NUMBER.fullmatch(cell):
        return float(cell) if "." in cell else int(cell)
    return _WORDS.get(cell.lower(), cell)


class _Rows:
    """
    Makes rows of lines: a row goes on where a quote is open.

    A quote that is never closed costs the line in which it was opened.
    """

    def __init__(self, delimiter: str | None) -> None:
        self._delimiter = delimiter
        self._open: list[tuple[int, bytes]] = []  # lines of the row that is not closed yet
        self._items: list[Any] = []
        self._numbers: list[int] = []

    def of(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        end = 1
        for chunk in chunks:
            for number, item in zip(chunk.numbers, chunk.items, strict=True):
                self._take(number, item)
            end = chunk.end
            yield self._chunk(self._open[0][0] if self._open else end)
        while self._open:
            self._give_up()
        yield self._chunk(end)

    def _chunk(self, end: int) -> Chunk:
        chunk = Chunk(self._items, self._numbers, end)
        self._items, self._numbers = [], []
        return chunk

    def _take(self, number: int, item: bytes | Fault) -> None:
        if isinstance(item, Fault):
            while self._open:
                self._give_up()
            self._add(number, item)
            return
        if not self._open and not item.strip():
            self._add(number, b"")
            return
        self._open.append((number, item))
        if sum(line.count(b'"') for _, line in self._open) % 2 == 0:
            text = b"\n".join(line for _, line in self._open)
            row = self._parse(text)
            if isinstance(row, Fault) and len(self._open) > 1:
                # The quote at its beginning was a slip, and this one has nothing to do with it.
                self._give_up()
                return
            self._add(self._open[0][0], row)
            self._open.clear()
        elif len(self._open) > _MAX_LINES or sum(len(line) for _, line in self._open) > MAX_RECORD:
            self._give_up()

    def _give_up(self) -> None:
        """Take the first of the open lines for broken, and look at the others again."""
        (number, line), *others = self._open
        self._open = []
        column = line.find(b'"') + 1
        self._add(number, Fault("a quote is opened and not closed", excerpt(line), column))
        for each in others:
            self._take(*each)

    def _add(self, number: int, item: Any) -> None:  # noqa: ANN401 -- a row, or why there is none
        self._items.append(item)
        self._numbers.append(number)

    def _parse(self, text: bytes) -> list[str] | Fault:
        try:
            decoded = text.decode()
        except UnicodeDecodeError as error:
            return Fault(NOT_UTF_8, excerpt(text), error.start + 1)
        if self._delimiter is None:
            self._delimiter = max(_DELIMITERS, key=decoded.count)
        try:
            [row] = csv.reader([decoded], delimiter=self._delimiter, strict=True)
        except (csv.Error, ValueError) as error:
            return Fault(f"is not a row of CSV: {error}", excerpt(text))
        return row


def parquet(source: Source) -> Iterator[Chunk]:
    """
    Give the rows of a Parquet file, read a thousand at a time.

    Raises:
        Damage: If it cannot be read, or not any further.

        Unusable: If pyarrow is missing, or the source cannot be read in any order.
    """
    try:
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise Unusable(
            "pyarrow is missing; Parquet needs pip install 'mixpanel-export[files]'"
        ) from None
    number = 1
    with source.open() as stream, reading():
        for batch in ParquetFile(stream).iter_batches(_ROWS):
            rows = _without_nanoseconds(batch).to_pylist()
            items = [{name: each for name, each in row.items() if each is not None} for row in rows]
            yield Chunk(items, range(number, number + len(items)), number + len(items))
            number += len(items)


def _without_nanoseconds(batch: Any) -> Any:  # noqa: ANN401 -- pyarrow has no types
    """Cut times to microseconds: Python's have no more, and pyarrow would refuse to lose any."""
    import pyarrow as pa

    fields = [
        field.with_type(pa.timestamp("us", field.type.tz))
        if pa.types.is_timestamp(field.type)
        else field
        for field in batch.schema
    ]
    columns = [
        column.cast(field.type, safe=False)
        for column, field in zip(batch.columns, fields, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))
