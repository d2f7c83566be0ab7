"""
From bytes to records, however hostile the bytes are.
"""

from __future__ import annotations

import gzip
import json
import zlib

import pytest

from mixpanel_export.emulator._body import (
    MalformedError,
    OversizedError,
    inflate,
    parse,
    parse_data,
    parse_form,
    parse_lines,
)
from tests.emulator.api import Api, basic, events


def bomb(size: int) -> bytes:
    """
    Return *size* zeros, compressed to a thousandth, without ever holding them.

    Each megabyte is packed apart from those before it, so all but the first look alike. The check
    sum at the end is that of two; nobody should come so far.
    """
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    piece = bytes(1024 * 1024)
    first, next_one = (packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + next_one * (size // len(piece) - 1) + packer.flush()


def test_a_bomb_is_refused_without_being_unpacked(api: Api) -> None:
    """
    A quarter of a gigabyte in 256 kB is 413, and the emulator does not grow by half of it.
    """
    before = memory(api.emulator.pid)

    response = api.send(
        "/import?strict=1",
        bomb(256 * 1024 * 1024),
        authorization=basic("T"),
        headers={"Content-Encoding": "gzip"},
    )

    assert response.status_code == 413
    assert memory(api.emulator.pid) - before < 100 * 1024 * 1024


def memory(pid: int) -> int:
    """
    Return the most memory that a process ever had, in bytes.
    """
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:  # noqa: PTH123  # Not a file.
        lines = dict(line.split(":", 1) for line in status)
    return int(lines["VmHWM"].split()[0]) * 1024


def test_a_body_beyond_the_limit_is_read_to_its_end(api: Api) -> None:
    """
    So the client sees 413, and not a connection that broke while it was sending.
    """
    response = api.imports(b" " * (40 * 1024 * 1024))

    assert response.status_code == 413


def test_the_limit_is_exact() -> None:
    """
    As many bytes as allowed pass, one more does not.
    """
    assert inflate(gzip.compress(b"x" * 1000), limit=1000) == b"x" * 1000
    with pytest.raises(OversizedError):
        inflate(gzip.compress(b"x" * 1001), limit=1000)


def test_gzip_may_have_several_members() -> None:
    """
    Files made by appending are valid.
    """
    assert inflate(gzip.compress(b"a") + gzip.compress(b"b"), limit=10) == b"ab"


@pytest.mark.parametrize(
    "body",
    [b"", b"plain", gzip.compress(b"x" * 100)[:-5], gzip.compress(b"") * 1000],
    ids=["empty", "plain", "cut", "many"],
)
def test_what_is_not_gzip_is_malformed(body: bytes) -> None:
    """
    Also what ends early, and what has members without end.
    """
    with pytest.raises(MalformedError):
        inflate(body, limit=1000)


@pytest.mark.parametrize(
    "text", [b"", b"[", b"[NaN]", b"[Infinity]", b"[1e999]", b"{'a': 1}", b"[" * 100_000]
)
def test_what_is_not_json_is_malformed(text: bytes) -> None:
    """
    Also what Python's own parser would take.
    """
    with pytest.raises(MalformedError):
        parse(text)


def test_lines_with_one_that_is_broken_are_malformed() -> None:
    """
    Nothing of them is imported.
    """
    with pytest.raises(MalformedError):
        parse_lines(b'{"a": 1}\n{"b"\n')


def test_windows_line_ends_are_blank() -> None:
    """
    Carriage returns and blank lines do not matter.
    """
    assert parse_lines(b'{"a": 1}\r\n\r\n{"b": 2}') == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize("data", ["", "!", "eyJh", "{"])
def test_data_that_is_neither_json_nor_base64_is_malformed(data: str) -> None:
    """
    Of both it must be one.
    """
    with pytest.raises(MalformedError):
        parse_data(data)


@pytest.mark.parametrize("data", ['{"a": "?>"}', "eyJhIjogIj8+In0=", "eyJhIjogIj8-In0"])
def test_data_may_be_json_or_base64_of_either_alphabet(data: str) -> None:
    """
    With padding or without.
    """
    assert parse_data(data) == {"a": "?>"}


def test_a_form_with_countless_fields_is_malformed() -> None:
    """
    Nobody sends that in good faith.
    """
    with pytest.raises(MalformedError):
        parse_form(b"&".join([b"a=b"] * 10_000))


def test_the_decoded_size_is_what_is_limited(api: Api) -> None:
    """
    2000 events of 4 KB are within the limit, compressed or not.
    """
    batch = [{**one, "properties": {**one["properties"], "t": "x" * 4000}} for one in events(2000)]

    assert len(json.dumps(batch)) < 10 * 1024 * 1024
    assert api.imports(batch).status_code == 200
    assert api.imports(batch, compressed=True).status_code == 200
