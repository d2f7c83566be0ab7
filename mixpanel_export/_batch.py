"""A batch: the lines that one request carries, sealed into its body."""

from __future__ import annotations

import zlib
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

# Lines are parted by a comma and a line break. JSON written by our serialiser has line breaks only
# as an escape, so this pair of bytes is never part of a line and a body can be taken apart again.
_SEPARATOR: Final = b",\n"

#: What a body holds beside its lines: the brackets, and a separator after each line but the last.
_FRAME: Final = 2

# Level 1 is 10 times smaller at a quarter of the time of level 6, which makes it 12 times smaller:
# measured on product events. 31 asks zlib for gzip's format with the largest window.
_LEVEL: Final = 1
_GZIP: Final = 31


@dataclass(frozen=True, slots=True)
class Batch:
    """
    Lines sealed for one request.

    Compressed once, here: while a batch waits for its turn or for a retry it takes a tenth of the
    room, and every attempt sends the same bytes.
    """

    body: bytes
    """A JSON array of the lines, compressed if `gzip`."""

    count: int
    """The number of lines."""

    raw_size: int
    """The bytes of the array before compression."""

    gzip: bool
    """Whether *body* is compressed."""

    @classmethod
    def of(cls, lines: Sequence[bytes], *, gzip: bool = True) -> Batch:
        """Seal *lines*, at least one, in their order."""
        array = b"[" + _SEPARATOR.join(lines) + b"]"
        body = array
        if gzip:
            compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
            body = compressor.compress(array) + compressor.flush()
        return cls(body=body, count=len(lines), raw_size=len(array), gzip=gzip)

    def lines(self) -> list[bytes]:
        """Take the batch apart again."""
        array = zlib.decompress(self.body, _GZIP) if self.gzip else self.body
        return array[1:-1].split(_SEPARATOR)

    def halves(self) -> tuple[Batch, Batch]:
        """
        Split into two batches, the first lines and the last.

        Raises:
            ValueError: If there is only one line.
        """
        if self.count < 2:
            raise ValueError("a batch of one line has no halves")
        lines = self.lines()
        middle = len(lines) // 2
        return Batch.of(lines[:middle], gzip=self.gzip), Batch.of(lines[middle:], gzip=self.gzip)


def fitting(lines: Sequence[bytes], max_bytes: int) -> int:
    """
    Count how many of the first *lines* fit into a body of *max_bytes*, its brackets included.

    At least one, however long it is: a line alone is as small as a request gets.
    """
    cost = len(_SEPARATOR)
    sizes = accumulate(len(line) + cost for line in lines)
    room = max_bytes - _FRAME + cost
    # The common case costs no Python per line: everything fits.
    if sum(map(len, lines)) + cost * len(lines) <= room:
        return len(lines)
    return max(1, bisect_right(list(sizes), room))
