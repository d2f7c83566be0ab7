"""A source's bytes, decompressed, in pieces of bounded size."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

from mixpanel_export.cli.backfill._sources import reading
from mixpanel_export.cli.backfill._trouble import Damage, Unusable

# So much is read at once, and so much is given at once, in bytes.
_READ: Final = 1 << 18
PIECE: Final = 1 << 18

# What a stream begins with. -- RFC 1952, 2.3.1; RFC 8878, 3.1.1.
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"


class Counted:
    """
    A stream that knows how much was read of it, and can give back what was only looked at.

    Args:
        stream: Where the bytes come from.

        note: Called with the number of bytes that were read.
    """

    def __init__(self, stream: BinaryIO, note: Callable[[int], object]) -> None:
        self._stream = stream
        self._note = note
        self._ahead = b""
        #: How many bytes were given out.
        self.position = 0

    def peek(self, size: int) -> bytes:
        """Look at the next *size* bytes, fewer only at the end."""
        while len(self._ahead) < size and (more := self._more()):
            self._ahead += more
        return self._ahead[:size]

    def read(self, size: int = _READ) -> bytes:
        """Read at most *size* bytes, none only at the end."""
        found = self._ahead or self._more()
        found, self._ahead = found[:size], found[size:]
        self.position += len(found)
        return found

    def _more(self) -> bytes:
        with reading():
            found = self._stream.read(_READ)
        self._note(len(found))
        return found


def plain(stream: Counted) -> Iterator[bytes]:
    """
    Give what *stream* holds, decompressed if it is gzip or zstd, whatever its name says.

    Raises:
        Damage: Where it cannot be read any further; what was good until there has been given.
    """
    if stream.peek(2) == _GZIP:
        yield from _gunzip(stream)
    elif stream.peek(4) == _ZSTD:
        yield from _unzstd(stream)
    else:
        while piece := stream.read(PIECE):
            yield piece


def _gunzip(stream: Counted) -> Iterator[bytes]:
    engine = zlib.decompressobj(31)  # 31: gzip's format, with the largest window
    data = b""
    while data or (data := stream.read()):
        if engine.eof:
            # Several gzip streams one after the other are one. -- RFC 1952, 2.2. What pads the last
            # one to a block of a tape is nothing.
            data = data.lstrip(b"\0")
            if not data:
                continue
            engine = zlib.decompressobj(31)
        before = engine.copy()
        try:
            piece = engine.decompress(data, PIECE)
        except zlib.error as error:
            found = list(_salvaged(before, data))
            yield b"".join(found)
            good = len(found)
            where = stream.position - len(data) + good
            raise Damage(f"the gzip stream is damaged at byte {where:,}: {error}") from None
        if piece:
            yield piece
        data = engine.unused_data if engine.eof else engine.unconsumed_tail
    if not engine.eof:
        raise Damage(f"the gzip stream breaks off at byte {stream.position:,}: the file is cut off")


def _salvaged(engine: zlib._Decompress, data: bytes) -> Iterator[bytes]:
    """Give what comes of *data*, a byte at a time, until that which is damaged."""
    for index in range(len(data)):
        piece = _decompressed(engine, data[index : index + 1])
        if piece is None:
            return
        yield piece


def _decompressed(engine: zlib._Decompress, data: bytes) -> bytes | None:
    try:
        return engine.decompress(data)
    except zlib.error:
        return None


def _unzstd(stream: Counted) -> Iterator[bytes]:
    try:
        import pyarrow as pa
    except ImportError:
        raise Unusable(
            "pyarrow is missing; zstd needs pip install 'mixpanel-export[files]'"
        ) from None
    with pa.CompressedInputStream(pa.PythonFile(_Readable(stream), "r"), "zstd") as opened:
        while True:
            try:
                piece = opened.read(PIECE)
            except OSError as error:
                where = f"{stream.position:,}"
                raise Damage(
                    f"the zstd stream is damaged or cut off before byte {where}: {error}"
                ) from None
            if not piece:
                return
            yield piece


class _Readable:
    """What pyarrow asks of a file."""

    closed = False

    def __init__(self, stream: Counted) -> None:
        self._stream = stream

    def read(self, size: int) -> bytes:
        """Read *size* bytes, fewer only at the end."""
        found = self._stream.peek(size)
        self._stream.read(len(found))
        return found

    def close(self) -> None:
        """Leave it open; it is not ours."""
