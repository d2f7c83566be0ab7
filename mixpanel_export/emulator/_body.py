"""From the bytes of a request to the records in it."""

from __future__ import annotations

import base64
import binascii
import json
import math
import zlib
from itertools import islice
from typing import NoReturn
from urllib.parse import parse_qsl

import orjson

from mixpanel_export.emulator import _facts

JSON_LINES = "application/x-ndjson"
FORM = "application/x-www-form-urlencoded"

# Files made by one tool have one member; each costs a copy of what follows it.
_MAX_MEMBERS = 100

# For zlib: expect the header and trailer of gzip, with the largest window.
_GZIP = 16 + zlib.MAX_WBITS


class MalformedError(Exception):
    """A body cannot be read at all. Its text is part of the answer."""


class OversizedError(Exception):
    """A body is larger than the limit, once decompressed."""


def inflate(body: bytes, *, limit: int) -> bytes:
    """
    Decompress gzip, holding at most *limit* bytes and a little.

    Raises:
        MalformedError: If *body* is not gzip, or ends early.

        OversizedError: If it holds more than *limit* bytes, however small it is itself.
    """
    pieces: list[bytes] = []
    room = limit + 1
    while body and len(pieces) < _MAX_MEMBERS:
        member = zlib.decompressobj(_GZIP)
        try:
            piece = member.decompress(body, room)
        except zlib.error as error:
            raise MalformedError(_facts.NOT_GZIP) from error
        room -= len(piece)
        if room <= 0:
            raise OversizedError
        if not member.eof:
            raise MalformedError(_facts.NOT_GZIP)
        pieces.append(piece)
        # A gzip file may be several, one after the other.
        body = member.unused_data
    if body or not pieces:
        raise MalformedError(_facts.NOT_GZIP)
    return b"".join(pieces)


def inflate_some(body: bytes, *, length: int) -> bytes:
    """Return the first bytes of what gzip holds, or of *body* itself if it is not gzip."""
    try:
        return zlib.decompressobj(_GZIP).decompress(body, length)
    except zlib.error:
        return body[:length]


def parse(text: bytes) -> object:
    """
    Read JSON.

    Text that is not UTF-8, and escaped halves of surrogate pairs, arrive as lone surrogates in the
    string that held them, so that the record can be named that is at fault.

    Raises:
        MalformedError: If it is not JSON; ``NaN``, ``Infinity`` and ``1e999`` are not.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return _parse_slowly(text)


def _parse_slowly(text: bytes) -> object:
    try:
        return json.loads(
            text.decode("utf-8", "surrogateescape"),
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
    except (ValueError, RecursionError) as error:
        raise MalformedError(_facts.NOT_JSON) from error


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse_constant(text)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def parse_lines(text: bytes) -> list[object]:
    """Read one JSON value from each line that is not blank, and not many more than are allowed."""
    lines = (line for line in text.split(b"\n") if line.strip())
    return [parse(line) for line in islice(lines, _facts.MAX_RECORDS + 1)]


def parse_form(text: bytes) -> dict[str, str]:
    """
    Read a form; of fields with the same name the last counts.

    Raises:
        MalformedError: If it is not a form, or has an absurd number of fields.
    """
    try:
        return dict(parse_qsl(text.decode("utf-8", "surrogateescape"), max_num_fields=100))
    except ValueError as error:
        raise MalformedError(_facts.BAD_DATA) from error


def parse_data(data: str) -> object:
    """
    Read the field ``data``: JSON, or JSON in base64 of either alphabet.

    Raises:
        MalformedError: If it is neither.
    """
    text = data.strip().encode("utf-8", "surrogateescape")
    if text[:1] not in (b"[", b"{"):
        text = _from_base64(text)
    try:
        return parse(text)
    except MalformedError as error:
        raise MalformedError(_facts.BAD_DATA) from error


def _from_base64(text: bytes) -> bytes:
    # A '+' that was not escaped has become a blank on its way through the form.
    alphabet = text.translate(bytes.maketrans(b"-_ ", b"+/+"))
    try:
        return base64.b64decode(alphabet + b"=" * (-len(alphabet) % 4), validate=True)
    except binascii.Error as error:
        raise MalformedError(_facts.BAD_DATA) from error
