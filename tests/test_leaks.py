"""
Secrets of many kinds, hidden wherever an application may put them, do not leave.
"""

from __future__ import annotations

import logging
from typing import Any

import pytest

from mixpanel_export import Event, GroupUpdate, MixpanelHandler, Pipeline, ProfileUpdate, Settings
from mixpanel_export.testing import ScriptedTransport
from tests.secrets_made_up import KINDS, RANDOM, make_up


class PlainError(Exception):
    """An error."""


def say_everywhere(log: logging.Logger, pipeline: Pipeline, text: str) -> None:
    """
    Put a text into every place that something is sent from.
    """
    who = {"distinct_id": "u-1"}
    log.info("Signed Up with %s", text, extra=who)
    log.info("Signed Up with %(it)s", {"it": text}, extra=who)
    log.info(text, extra=who)
    log.info("Name", extra={**who, text: 1})
    log.info("Value", extra={**who, "note": text, "other": f"see {text} there"})
    log.info("Nested", extra={**who, "all": {"a": [{"b": text, text: "b"}], "c": (text, {text})}})
    log.info("Address", extra={**who, "url": f"https://example.com/a?x=1&y={text}&z=2"})
    log.info("Headers", extra={**who, "headers": {"X-Note": text, "Accept": "*/*"}})
    log.info("Unusable", extra={**who, "ip": text, "time": text})
    log.info("Profile", extra={**who, "$set": {"note": text, "all": [text]}, "$unset": [text]})
    try:
        raise PlainError(f"cannot open {text}")  # noqa: TRY301 -- to be caught here
    except PlainError:
        log.exception("Failed", extra=who, stack_info=True)
    pipeline.submit(Event(text, properties={"note": text, text: 1}))
    pipeline.submit(Event("$merge", properties={"$distinct_ids": ["a", "b"], "note": text}))
    pipeline.submit(ProfileUpdate("u-1", "$append", {"note": text, text: 1}))
    pipeline.submit(GroupUpdate("company", "acme", "$set", {"note": {"deep": [text]}}))


#: What `say_everywhere` makes of one text: its lines, those of profiles included.
LINES = 17


def what_leaves(texts: list[str], **fields: Any) -> bytes:  # noqa: ANN401 -- any setting
    """
    Put texts into every place, and return all that is sent.
    """
    transport = ScriptedTransport()
    settings = Settings(token="t", transport=transport, include=("message", "stack"), **fields)
    handler = MixpanelHandler(settings=settings)
    # Not in the tree of loggers, so that it is gone with the test.
    log = logging.Logger("shop")  # noqa: LOG001 -- gone with the test
    log.addHandler(handler)
    for text in texts:
        say_everywhere(log, handler.pipeline, text)
    handler.pipeline.close(30.0)
    assert handler.pipeline.stats.delivered == LINES * len(texts)
    return b"\n".join(transport.lines)


def pieces(secret: str) -> list[str]:
    """
    Cut a secret into pieces of some length: no part of it may leave either.
    """
    return [secret[at : at + 10] for at in range(4, max(5, len(secret) - 9), 10)]


def test_there_are_enough() -> None:
    """
    Two hundred secrets, all different, of far more than a dozen kinds.
    """
    secrets = {secret for _, _, secret in make_up()}

    assert len(secrets) >= 200
    assert len(KINDS) >= 12


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_a_secret_leaves(kind: str) -> None:
    """
    In names, values, addresses, headers, errors and profiles: not even a piece of it.
    """
    made = [(text, secret) for name, text, secret in make_up() if name == kind]

    found = what_leaves([text for text, _ in made]).decode()

    for _, secret in made:
        assert secret not in found
        assert [piece for piece in pieces(secret) if piece in found] == []
    assert "[scrubbed]" in found


def test_everything_leaves_if_that_is_wanted() -> None:
    """
    The places are real: without the search, what is put there arrives.
    """
    text = "gh" + "p_" + "0123456789abcdefghij0123456789abcdef"

    found = what_leaves([text], scrub=False).decode()

    silent = [line for line in found.splitlines() if text not in line]
    assert [line[:18] for line in silent] == ['{"event":"Profile"']


@pytest.mark.parametrize("kind", RANDOM)
def test_what_merely_looks_random_leaves(kind: str) -> None:
    """
    It may be an id. Under a name that announces a secret it stays.
    """
    made = [secret for name, _, secret in make_up(RANDOM) if name == kind]

    assert all(secret in what_leaves([secret]).decode() for secret in made[:2])
    hidden = what_leaves([f"api_key={secret}" for secret in made]).decode()
    assert [secret for secret in made if secret in hidden] == []
