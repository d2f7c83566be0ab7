"""Pieces of plain bytes -> lines, or the elements of a JSON array, with their numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mixpanel_export.cli.backfill._trouble import Damage, Fault, excerpt

#: A record that is longer is not read, in bytes. An event has less than 1 MB, and a form of it that
#: is four times as long is not one that anybody uses.
MAX_RECORD: Final = 4_000_000

_MARK: Final = b"\xef\xbb\xbf"
_WIDE: Final = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class Chunk:
    """
    Some records of a source, one after the other.

    Args:
        items: The records: bytes of JSON, mappings, or what is wrong with them; ``b""`` is a blank
            line.

        numbers: Their numbers, from 1 on, growing.

        end: The number of whatever comes next.
    """

    items: Sequence[Any]
    numbers: Sequence[int]
    end: int


def unmarked(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """
    Leave out a byte order mark at the beginning.

    Raises:
        Damage: If it is that of an encoding which is not UTF-8.
    """
    first = True
    for each in pieces:
        piece = each
        if first:
            first = False
            if piece[:2] in _WIDE:
                raise Damage("the text is UTF-16: convert it, as with iconv -f UTF-16 -t UTF-8")
            piece = piece.removeprefix(_MARK)
        yield piece


def lines(pieces: Iterable[bytes]) -> Iterator[Chunk]:
    """
    Give the lines, without what ends them.

    Raises:
        Damage: As *pieces* do; a line that is not whole then is not given.
    """
    number, rest, start = 1, b"", b""
    try:
        for piece in pieces:
            *whole, rest = (rest + piece).split(b"\n") if rest else piece.split(b"\n")
            if start and whole:
                # The end of a line whose beginning was long enough to know better.
                whole[0] = start
                start = b""
            usual = b"\r" not in piece and max(map(len, whole), default=0) <= MAX_RECORD
            items: list[Any] = whole if usual else [_line(each) for each in whole]
            if items:
                yield Chunk(items, range(number, number + len(items)), number + len(items))
                number += len(items)
            if len(rest) > MAX_RECORD:
                start, rest = start or rest, b""
    except Damage as damage:
        broken = f"; line {number:,} is not whole" if rest or start else ""
        raise Damage(f"{damage}{broken}") from None
    if rest or start:
        yield Chunk([_line(start or rest)], [number], number + 1)


def _line(line: bytes) -> bytes | Fault:
    if len(line) > MAX_RECORD:
        return Fault(f"the line is longer than {MAX_RECORD:,} bytes", excerpt(line[:200]))
    return line.removesuffix(b"\r")


# A string, or its beginning if it has no end yet, or a bracket.
_TOKEN: Final = re.compile(rb'"(?:[^"\\]*(?:\\.[^"\\]*)*")?|[][{}]', re.DOTALL)
_REST: Final = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_BETWEEN: Final = re.compile(rb"[\s,]*")


class _Elements:
    """
    Cuts a text into JSON values: the elements of one array, or objects one after the other.

    Only brackets and strings are looked at, so that a value that is wrong costs itself only.
    """

    def __init__(self) -> None:
        self.number = 1
        self._text = b""
        self._scanned = 0  # how far it was looked at
        self._start = 0  # where the current element, or what is between two, begins
        self._inside = False  # a string
        self._depth = 0
        self._array: bool | None = None  # whether there is one around all; None before the first
        self._skipped = b""  # the beginning of an element that is too long

    def feed(self, piece: bytes) -> list[Any]:
        """Give the elements that end in *piece*."""
        self._text = self._text[self._start :] + piece
        self._scanned -= self._start
        self._start = 0
        found: list[Any] = []
        if self._inside:
            self._leave_string()
        if not self._inside:
            self._scan(found)
        if len(self._text) - self._start > MAX_RECORD:
            self._skipped = self._skipped or self._text[self._start : self._start + 200]
            self._text = self._text[self._scanned :]
            self._scanned = self._start = 0
        return found

    def _scan(self, found: list[Any]) -> None:
        for match in _TOKEN.finditer(self._text, self._scanned):
            token = match[0]
            self._scanned = match.end()
            if token == b'"':
                self._leave_string()
                return
            if token == b"{" or token == b"[":  # noqa: PLR1714 -- half the time of `in`
                self._open(token, match.start(), found)
            elif token == b"}" or token == b"]":  # noqa: PLR1714 -- half the time of `in`
                self._close(match.end(), found)
        self._scanned = len(self._text)

    def _leave_string(self) -> None:
        """Look for the end of the string that the text is in; it may be in a later piece."""
        rest = _REST.match(self._text, self._scanned)
        self._inside = rest is None
        if rest:
            self._scanned = rest.end()
        else:
            # What a backslash at the very end is about is not known yet.
            tail = self._text[self._scanned :]
            escapes = len(tail) - len(tail.rstrip(b"\\"))
            self._scanned = len(self._text) - escapes % 2

    def finish(self) -> list[Any]:
        """Give what is left between the last element and the end."""
        if self._depth or self._array or self._inside:
            raise Damage(f"the text ends in the middle of item {self.number:,}")
        found: list[Any] = []
        self._between(len(self._text), found)
        return found

    def _open(self, token: bytes, start: int, found: list[Any]) -> None:
        if self._depth == 0:
            self._between(start, found)
            self._start = start
            if self._array is None:
                self._array = token == b"["
                if self._array:
                    self._start = start + 1
                    return
        self._depth += 1

    def _close(self, end: int, found: list[Any]) -> None:
        if self._depth == 0:
            # The array's own end, or one bracket too many.
            self._between(end - 1, found)
            self._start = end
            self._array = False
            return
        self._depth -= 1
        if self._depth == 0:
            self._add(self._text[self._start : end], found)
            self._start = end

    def _between(self, end: int, found: list[Any]) -> None:
        text = self._text[self._start : end]
        if left := text[_BETWEEN.match(text).end() :]:  # type: ignore[union-attr] # matches nothing, too
            found.append(Fault("is not a JSON object", excerpt(left)))

    def _add(self, element: bytes, found: list[Any]) -> None:
        if self._skipped or len(element) > MAX_RECORD:
            text = excerpt(self._skipped or element[:200])
            found.append(Fault(f"the item is longer than {MAX_RECORD:,} bytes", text))
            self._skipped = b""
        else:
            found.append(element)


def elements(pieces: Iterable[bytes]) -> Iterator[Chunk]:
    """
    Give the elements of a JSON array, or the objects that stand one after the other.

    Raises:
        Damage: As *pieces* do, or if the text ends too early.
    """
    cutter = _Elements()

    def chunk(found: list[Any]) -> Iterator[Chunk]:
        if found:
            first, cutter.number = cutter.number, cutter.number + len(found)
            yield Chunk(found, range(first, cutter.number), cutter.number)

    try:
        for piece in pieces:
            yield from chunk(cutter.feed(piece))
    except Damage as damage:
        raise Damage(f"{damage}; item {cutter.number:,} is not whole") from None
    yield from chunk(cutter.finish())
