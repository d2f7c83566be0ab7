"""
What tests of statements are made of: a request and its answer.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from mixpanel_export.emulator import _facts
from tests.emulator.api import Api, event

ORIGINAL = ("--identity", "original")
CLOSED = ("--token", "T", "--service-account", "svc:pw", "--project-id", "7", "--api-secret", "S")

# One of everything that is different by default.
ODD = ("--hot-shard-events", "3", "--retention-days", "30", "--old-track-events", "failure")

HOUR = 60 * 60 * 1000
DAY = 24 * HOUR

# What may be sent to /track.
TRACKED = {"event": "Seen", "properties": {"token": "T", "distinct_id": "u-1"}}


@dataclass(frozen=True)
class Case:
    """
    One request and its answer.

    Args:
        id: The statement's number, with a suffix where it takes several requests to state it.

        send: Sends the request.

        status: The HTTP status.

        answer: Text of the body, or those keys of it, in JSON, that matter.

        imported: How many events are stored afterwards.

        options: Of the emulator.
    """

    id: str
    send: Callable[[Api], httpx.Response]
    status: int
    answer: str | dict[str, Any]
    imported: int = 0
    options: tuple[str, ...] = field(default=())


OK = {"code": 200, "status": "OK"}
INVALID = {"code": 400, "error": _facts.VALIDATION_FAILED, "status": "Bad Request"}
UNAUTHORIZED = {"code": 401, "status": "Unauthorized"}
TEXT_1 = "1"
TEXT_0 = "0"


def probe(authorization: str | None, query: str = "?strict=1") -> Callable[[Api], httpx.Response]:
    """
    Send one valid event with these credentials.
    """
    return lambda api: api.imports([event()], query=query, authorization=authorization)


def as_form(content: object) -> dict[str, str]:
    """
    Return the fields in which Mixpanel's own libraries send an event.
    """
    return {"data": json.dumps(content), "verbose": "1", "ip": "0"}


def zipped(content: object) -> bytes:
    """
    Return compressed JSON.
    """
    return gzip.compress(json.dumps(content).encode())


def fat(size: int) -> bytes:
    """
    Return a request with one event that is *size* bytes long.
    """
    bare = json.dumps([event(text="")])
    return bare.replace('"text": ""', f'"text": "{"x" * (size - len(bare))}"').encode()


def in_base64(content: object) -> str:
    """
    Return JSON in base64.
    """
    return base64.b64encode(json.dumps(content).encode()).decode()


def valid(name: str, *records: object, options: tuple[str, ...] = ()) -> Case:
    """
    Return a case of records that /import?strict=1 takes, all of them.
    """
    number = len(records)
    answer = {**OK, "num_records_imported": number}
    return Case(name, lambda api: api.imports(list(records)), 200, answer, number, options)


def invalid(
    name: str,
    record: object,
    field: str,
    message: str,
    *,
    options: tuple[str, ...] = (),
) -> Case:
    """
    Return a case of one invalid record between two valid ones.
    """
    sent = record.get("properties") if isinstance(record, dict) else None
    insert_id = sent.get("$insert_id", "") if isinstance(sent, dict) else ""
    row = {"index": 1, "insert_id": insert_id, "field": field, "message": message}
    answer = {**INVALID, "num_records_imported": 2, "failed_records": [row]}
    return Case(name, lambda api: api.imports([event(), record, event()]), 400, answer, 2, options)


def shown(response: httpx.Response, like: str | dict[str, Any]) -> object:
    """
    Return the text of an answer, or those of its keys that *like* has.
    """
    if isinstance(like, str):
        return response.text
    content = response.json()
    return {key: content.get(key, "nothing") for key in like}
