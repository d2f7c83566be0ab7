"""
Who may import.
"""

from __future__ import annotations

import pytest

from mixpanel_export.emulator import EmulatorOptions, _facts
from mixpanel_export.emulator._credentials import Gatekeeper, read_basic
from tests.emulator.api import basic

EARLY = _facts.SECRET_ENDS - 1


def keeper(now: float = EARLY, **options: object) -> Gatekeeper:
    """
    Return one who knows these credentials.
    """
    return Gatekeeper(EmulatorOptions(**options), lambda: now)  # type: ignore[arg-type] # any option


def test_c28_secrets_work_until_their_last_day() -> None:
    """
    From 2027-03-03 on they are refused.
    """
    before, after = (keeper(now, api_secret="S") for now in (EARLY, _facts.SECRET_ENDS))

    assert before.refusal(basic("S"), None) is None
    assert after.refusal(basic("S"), None) == _facts.INVALID_SECRET


def test_a_wrong_secret_has_its_own_text() -> None:
    """
    Where a project has a secret and no token is configured.
    """
    assert keeper(api_secret="S").refusal(basic("x"), None) == _facts.INVALID_SECRET


@pytest.mark.parametrize(
    ("authorization", "project"),
    [(basic("anything"), None), (basic("any", "thing"), "1"), ("Basic any:", None)],
)
def test_nothing_configured_accepts_what_has_the_right_form(
    authorization: str, project: str | None
) -> None:
    """
    So that one can start without an account.
    """
    assert keeper().refusal(authorization, project) is None


@pytest.mark.parametrize("authorization", [None, "", "Bearer T", "Basic", "Basic ???", basic("")])
def test_what_has_no_user_is_refused(authorization: str | None) -> None:
    """
    Even if everybody is known.
    """
    assert keeper().refusal(authorization, None) == _facts.INVALID_CREDENTIALS


def test_several_tokens_may_be_known() -> None:
    """
    Each of them passes, others do not.
    """
    known = keeper(tokens=("A", "B"))

    answers = [known.refusal(basic(token), None) for token in ("A", "B", "C")]
    assert answers == [None, None, _facts.INVALID_CREDENTIALS]
    assert [known.knows_token(token) for token in ("A", "C", None)] == [True, False, False]


def test_an_account_is_unknown_where_only_tokens_are_known() -> None:
    """
    A password is not ignored.
    """
    refusal = keeper(tokens=("A",)).refusal(basic("A", "pw"), "1")

    assert refusal == _facts.UNKNOWN_SERVICE_ACCOUNT


@pytest.mark.parametrize(
    ("header", "parts"),
    [
        (basic("u", "p:q"), ("u", "p:q")),
        ("Basic u:p", ("u", "p")),
        ("basic u:p", ("u", "p")),
        ("Digest u:p", ("", "")),
        ("Basic /w==", ("", "")),
    ],
)
def test_c27_basic_may_be_plain(header: str, parts: tuple[str, str]) -> None:
    """
    Mixpanel takes base64 and the text itself.
    """
    assert read_basic(header) == parts
