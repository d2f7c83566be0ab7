"""
What became of a request.

::

    Delivered       Mixpanel has the batch, maybe without some lines that it rejects
    Retryable       nobody knows, or not now: the same bytes again, later
    TooLarge        the same lines in smaller requests
    Refused         one line spoils the request, and the answer does not say which
    Misconfigured   address, credentials or plan are at fault, not the data

An outcome says what the answer means; what follows from it is decided in `_sender`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from mixpanel_export._batch import Batch
    from mixpanel_export._settings import Settings
    from mixpanel_export._wire import Response

#: The longest wait, in seconds, that an answer may ask for. Ours: an hour by mistake would be an
#: outage of our own making, and asking again after five minutes harms nobody.
MAX_RETRY_AFTER: Final = 300.0


@dataclass(frozen=True, slots=True)
class Rejection:
    """Mixpanel's verdict on one event. It is final."""

    line: bytes
    """The event, as it was sent."""

    field: str
    """The field that it is about, as Mixpanel names it; ``""`` if it does not say."""

    message: str
    """The reason, in Mixpanel's words."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The batch arrived. Lines that are not in `rejections` are in the project."""

    imported: int
    rejections: tuple[Rejection, ...] = ()


@dataclass(frozen=True, slots=True)
class Retryable:
    """No verdict: the server is down, overloaded or unreachable."""

    reason: str

    after: float | None = None
    """Seconds that the answer asked to wait at least, at most 300; `None` if it did not ask."""

    applied: bool = True
    """False if it is certain that the server did nothing with the request."""

    status: int | None = None
    """The status of the answer; `None` if there was none."""


@dataclass(frozen=True, slots=True)
class TooLarge:
    """The request has more bytes or events than Mixpanel takes."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Mixpanel took nothing of the batch and did not say which event is at fault."""

    status: int
    message: str


@dataclass(frozen=True, slots=True)
class Misconfigured:
    """Nothing that is sent this way will be taken: wrong credentials, address or plan."""

    status: int
    message: str

    @property
    def reason(self) -> str:
        """What was answered, in a few words."""
        return f"status {self.status}: {self.message}" if self.message else f"status {self.status}"


Outcome = Delivered | Retryable | TooLarge | Refused | Misconfigured

# Statuses that say "not now" whoever says them. -- RFC 9110, 15.5.9 and 15.6; RFC 8470, 5.2; RFC
# 6585, 4. Mixpanel documents 429, 502 and 503.
_NOT_NOW: Final = frozenset({408, 425, 429})


def read_response(response: Response, batch: Batch, now: float) -> Outcome:
    """
    Say what *response* means for *batch*.

    Args:
        response: What came back, from Mixpanel or from something on the way to it.

        batch: What was sent.

        now: Seconds since the epoch, for a ``Retry-After`` that is a date.
    """
    status = response.status
    answer = _answer(status, response.body)
    if status in _NOT_NOW or status >= 500:
        after = retry_after(response.headers.get("retry-after"), now)
        applied = not (status in {429, 503} and answer is not None)
        return Retryable(f"status {status}", after, applied=applied, status=status)
    if status == 413:
        return TooLarge()
    if not (200 <= status < 300 or status in {400, 422}):
        return Misconfigured(status, _message(answer or {}))
    if answer is None:
        return Retryable(f"status {status} with an answer that is not Mixpanel's", status=status)
    # Without strict=1, a 0 in a 200 is all that one learns of an invalid event.
    refused = answer["status"] == 0 if status < 400 else not answer.get("failed_records")
    return Refused(status, _message(answer)) if refused else _delivered(status, answer, batch)


def likely_cause(status: int, settings: Settings) -> str:
    """Say what to look at after *status*, which means that something is wrong with *settings*."""
    if status == 407:
        return "the proxy wants a name and a password, as part of its address"
    if status == 402:
        return "check the plan of the project"
    if status < 400 or status in {404, 405, 410}:
        return f"check the region and base_url: {settings.host} is no such address of Mixpanel's"
    if settings.service_account:
        who = "service_account, service_secret and project_id"
    elif settings.token:
        who = "the token"
    else:
        who = "api_secret, which Mixpanel retires on 2027-03-03 (a service account replaces it),"
    return f"check {who} and the region" + ("" if status in {401, 403} else ", and base_url")


def retry_after(value: str | None, now: float) -> float | None:
    """
    Read the header ``Retry-After``: seconds, or a date.

    Returns:
        Seconds from *now*, from 0 to 300; `None` if there is none or it cannot be read.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        # "-0000" gives a date without a zone and means UTC. -- RFC 5322, 3.3.
        moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
        seconds = moment.timestamp() - now
    return None if math.isnan(seconds) else min(max(seconds, 0.0), MAX_RETRY_AFTER)


def _answer(status: int, body: bytes) -> dict[str, Any] | None:
    """Read an answer in Mixpanel's own form; None for all others, a proxy's JSON included."""
    try:
        answer = orjson.loads(body)
    except ValueError:
        return None
    if not isinstance(answer, dict):
        return None
    verdict = answer.get("status")
    if 200 <= status < 300:
        return answer if type(verdict) in (str, int) and verdict in ("OK", 1, 0) else None
    return answer if "error" in answer or "failed_records" in answer else None


def _message(answer: dict[str, Any]) -> str:
    return _text(answer.get("error"))


def _text(value: object) -> str:
    return "" if value is None else str(value)[:500]


def _delivered(status: int, answer: dict[str, Any], batch: Batch) -> Outcome:
    failed = answer.get("failed_records")
    if not failed:
        return Delivered(imported=batch.count)
    if not isinstance(failed, list):
        return Refused(status, _message(answer))
    lines = batch.lines()
    if all(isinstance(row, str) for row in failed):
        # Identity verbs in a project that has none: texts instead of rows, and nothing imported.
        # -- seen from the live service by a public importer, 2026-08-16.
        return Delivered(0, tuple(Rejection(line, "", _text(failed[0])) for line in lines))
    rows: dict[int, dict[str, Any]] = {}
    for row in failed:
        index = _index(row, lines) if isinstance(row, dict) else None
        if index is None:
            return Refused(status, _message(answer))
        rows[index] = row
    rejections = tuple(
        Rejection(lines[index], _text(row.get("field")), _text(row.get("message")))
        for index, row in sorted(rows.items())
    )
    return Delivered(batch.count - len(rejections), rejections)


def _index(row: dict[str, Any], lines: list[bytes]) -> int | None:
    """Say which line *row* is about: by its position, else by its id, in either spelling."""
    index = row.get("index")
    if type(index) is int and 0 <= index < len(lines):
        return index
    name = row.get("insert_id") or row.get("$insert_id")
    if not isinstance(name, str):
        return None
    wanted = orjson.dumps(name)
    return next(
        (
            index
            for index, line in enumerate(lines)
            if wanted in line and orjson.loads(line)["properties"].get("$insert_id") == name
        ),
        None,
    )
