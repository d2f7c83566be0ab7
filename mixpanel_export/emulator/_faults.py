"""Faults on demand: which request fails, and how."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from typing import Any

from mixpanel_export.emulator import _facts
from mixpanel_export.emulator._answers import Answer, in_json, refusal
from mixpanel_export.emulator._event import JsonObject

ENDPOINTS = ("/import", "/track", "/engage", "/groups")
MAX_FAULTS = 100
ACTIONS = ("respond", "reset", "hang", "pass")

_KNOWN = frozenset(
    {
        "path", "times", "every", "probability", "seed", "status", "headers", "body", "delay",
        "store", "action",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """
    One way to misbehave.

    Args:
        path: The endpoint, or ``*`` for every one.

        times: How often it acts. None: without end.

        every: It acts on each n-th request to its path.

        probability: It acts with this probability, decided by its own generator.

        seed: Starts that generator.

        action: ``respond`` answers, ``reset`` aborts the connection, ``hang`` says nothing,
            ``pass`` lets the request through.

        status: Status of a response.

        headers: Additional headers of a response.

        body: Body of a response, text or JSON. None: what Mixpanel (4xx) or a proxy in front of
            it (5xx) would say; below 400 nothing.

        delay: Seconds before it acts; for ``hang``, until the connection is closed. None: 0, or
            for ever.

        store: Whether the request is processed first, so that its data arrive all the same.
    """

    path: str = "*"
    times: int | None = None
    every: int = 1
    probability: float = 1.0
    seed: int = 0
    action: str = "pass"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: object = None
    delay: float | None = None
    store: bool = False

    def answer(self) -> Answer:
        """Return what a client is told."""
        plain = self._plain()
        headers = {name.lower(): value for name, value in self.headers.items()}
        return Answer(plain.status, plain.body, plain.content_type, headers)

    def _plain(self) -> Answer:
        if isinstance(self.body, str):
            kind = "text/html" if self.body.lstrip().startswith("<") else "text/plain"
            return Answer(
                self.status, self.body.encode("utf-8", "replace"), f"{kind}; charset=utf-8"
            )
        if self.body is not None:
            return in_json(self.status, self.body)
        if self.status < 400:
            return Answer(self.status, b"", "text/plain; charset=utf-8")
        words = _words(self.status)
        if self.status < 500:
            return refusal(self.status, _DEFAULT_ERRORS.get(self.status, words))
        page = f"<html><head><title>{self.status} {words}</title></head></html>\n"
        return Answer(self.status, page.encode(), "text/html; charset=utf-8")


_DEFAULT_ERRORS = {
    401: _facts.INVALID_CREDENTIALS,
    413: _facts.TOO_LARGE.format(limit=_facts.MAX_REQUEST_BYTES),
    429: _facts.RATE_LIMITED,
}


def _words(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def read_faults(content: object) -> list[Fault]:
    """
    Read faults from JSON. One with a status or a body responds, unless it says otherwise.

    Raises:
        ValueError: If it is not a list of them; names the key, the value and the fix.
    """
    if not isinstance(content, list):
        raise ValueError(f"faults must be a list, not {content!r}")
    return [_read_fault(one) for one in content]


def _read_fault(content: object) -> Fault:
    if not isinstance(content, dict):
        raise ValueError(f"a fault must be an object, not {content!r}")
    unknown = sorted(set(content) - _KNOWN)
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r}; keys are {', '.join(sorted(_KNOWN))}")
    given = {key: value for key, value in content.items() if value is not None}
    for key, value in given.items():
        check = _CHECKS.get(key)
        if check and not check[0](value):
            raise ValueError(f"{key} must be {check[1]}, not {value!r}")
    if "action" not in given and ("status" in given or "body" in given):
        given["action"] = "respond"
    return Fault(**given)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_number(value: object, low: float, high: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


# RFC 9110, sections 5.1 and 5.5: a name is a token, a value begins and ends with what one can see.
_NAME = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"([!-~]([ -~]*[!-~])?)?")

# These say how long the body is, and the server says that itself.
_FRAMING = frozenset({"content-length", "transfer-encoding"})


def _is_headers(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(text, str)
        and _NAME.fullmatch(name)
        and name.lower() not in _FRAMING
        and _VALUE.fullmatch(text)
        for name, text in value.items()
    )


_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "path": (lambda value: value in (*ENDPOINTS, "*"), f"'*' or one of {', '.join(ENDPOINTS)}"),
    "times": (_is_count, "1 or more"),
    "every": (_is_count, "1 or more"),
    "probability": (lambda value: _is_number(value, 0, 1), "between 0 and 1"),
    "seed": (lambda value: isinstance(value, int), "an integer"),
    "status": (lambda value: _is_count(value) and 200 <= value <= 599, "between 200 and 599"),
    "headers": (
        _is_headers,
        f"names and values in printable ASCII, without {' and '.join(sorted(_FRAMING))}",
    ),
    "delay": (lambda value: _is_number(value, 0, 86_400), "between 0 and 86400 seconds"),
    "store": (lambda value: isinstance(value, bool), "true or false"),
    "action": (lambda value: value in ACTIONS, f"one of {', '.join(ACTIONS)}"),
}


class _Armed:
    """A fault with what it remembers: how many requests it saw, how often it acted."""

    def __init__(self, number: int, fault: Fault) -> None:
        self.number = number
        self.fault = fault
        self._seen = 0
        self._acted = 0
        self._random = random.Random(fault.seed)  # noqa: S311  # Chance, not a secret.

    def is_due(self, path: str) -> bool:
        """
        Count a request and say whether the fault would act on it.

        Counts and draws for every request to its path, also those on which another fault acts, so
        that "each third request" means just that.
        """
        if self.fault.path not in ("*", path):
            return False
        self._seen += 1
        drawn = self._random.random() < self.fault.probability
        spent = self.fault.times is not None and self._acted >= self.fault.times
        return drawn and not spent and self._seen % self.fault.every == 0

    def act(self) -> Fault:
        """Count that it acted."""
        self._acted += 1
        return self.fault

    def state(self) -> JsonObject:
        """Return the fault and what became of it."""
        return {
            "id": self.number,
            "seen": self._seen,
            "acted": self._acted,
            **asdict(self.fault),
        }


class FaultList:
    """The faults in force, in the order of their arrival; the first that is due acts."""

    def __init__(self) -> None:
        self._armed: list[_Armed] = []
        self._number = 0

    def add(self, faults: list[Fault]) -> None:
        """
        Put more faults at the end.

        Raises:
            ValueError: If there would be more than 100: each request asks every one of them.
        """
        if len(self._armed) + len(faults) > MAX_FAULTS:
            raise ValueError(f"faults must be {MAX_FAULTS} at most; remove or reset some")
        for fault in faults:
            self._number += 1
            self._armed.append(_Armed(self._number, fault))

    def next(self, path: str) -> Fault | None:
        """Return the fault that hits the next request to *path*, or None if it passes."""
        due = [armed for armed in self._armed if armed.is_due(path)]
        return due[0].act() if due else None

    def state(self) -> list[JsonObject]:
        """Return the faults in force, each with its number and how often it acted."""
        return [armed.state() for armed in self._armed]

    def remove(self, number: int) -> bool:
        """Put an end to one; False if it is not there any more."""
        before = len(self._armed)
        self._armed = [armed for armed in self._armed if armed.number != number]
        return len(self._armed) < before

    def clear(self) -> None:
        """Misbehave no longer."""
        self._armed.clear()
