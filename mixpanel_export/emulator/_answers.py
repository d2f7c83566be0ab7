"""
The shapes in which Mixpanel answers.

Sourced from docs, ``openapi/ingestion.openapi.yaml``, and from what the official SDKs read; see
`_facts` for the texts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mixpanel_export.emulator import _facts
from mixpanel_export.emulator._event import JsonObject, compact

JSON = "application/json"

# The smallest transparent GIF: one pixel, for `img=1`.
_PIXEL = bytes.fromhex(
    "47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b"
)

# A callback becomes script on this origin, so only what can be a function's name is repeated.
_CALLBACK = re.compile(r"[A-Za-z_$][\w$.]{0,127}")


@dataclass(frozen=True, slots=True)
class Answer:
    """
    A complete HTTP answer.

    Args:
        status: The HTTP status.

        body: Its bytes.

        content_type: What they are.

        headers: More headers, with names in lower case; they win.
    """

    status: int
    body: bytes
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


def in_json(status: int, content: object) -> Answer:
    """Answer with *content* in JSON."""
    return Answer(status, compact(content))


def refusal(status: int, error: str) -> Answer:
    """Refuse a whole request: nothing was imported."""
    words = _facts.STATUS_WORDS.get(status, "")
    return in_json(status, {"code": status, "error": error, "status": words})


def strict_verdict(imported: int, failed: Sequence[JsonObject | str]) -> Answer:
    """Answer /import?strict=1. Sourced for objects; live for strings, see `VERBS_REFUSED`."""
    if not failed:
        return in_json(200, {"code": 200, "num_records_imported": imported, "status": "OK"})
    return in_json(
        400,
        {
            "code": 400,
            "error": _facts.VALIDATION_FAILED,
            "status": "Bad Request",
            "num_records_imported": imported,
            "failed_records": list(failed),
        },
    )


def lenient_verdict(imported: int, *, complete: bool, verbose: bool) -> Answer:
    """
    Answer /import without strict=1 to a JSON body.

    Live: go, ingestion_test.go for success; sheets, utilities/validate.js for an event that is
    ``{}``. Guess: a batch that fails in part is answered like one that fails.
    """
    if not verbose:
        return _text(complete)
    content: JsonObject = {"code": 200, "num_records_imported": imported, "status": int(complete)}
    if not complete:
        content["error"] = _facts.VALIDATION_FAILED
    return in_json(200, content)


def legacy_verdict(error: str | None, query: Mapping[str, str]) -> Answer:
    """
    Answer in the way of /track, /engage, /groups and of forms on /import.

    Args:
        error: Why it failed, or None.

        query: Parameters of the request: ``verbose``, ``img`` and ``callback`` choose the shape.
    """
    callback = query.get("callback", "")
    if is_on(query.get("img")):
        return Answer(200, _PIXEL, "image/gif")
    content: object = int(error is None)
    if is_on(query.get("verbose")):
        content = {"error": error, "status": content}
    if _CALLBACK.fullmatch(callback):
        return Answer(200, f"{callback}({compact(content).decode()});".encode(), "text/javascript")
    if isinstance(content, int):
        return _text(error is None)
    return in_json(200, content)


def is_on(flag: str | None) -> bool:
    """Read a parameter that is a switch; ``verbose`` may also be 2."""
    return flag not in (None, "", "0", "false")


def _text(good: bool) -> Answer:
    return Answer(200, b"1" if good else b"0", "text/plain; charset=utf-8")
