"""
Secrets: which names announce them, and which texts hold them.
"""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixpanel_export import _privacy
from mixpanel_export._privacy import (
    SCRUBBED,
    Privacy,
    is_card,
    is_secret,
    scrub,
    scrubbed_among,
)
from tests import effort
from tests.secrets_made_up import make_up

steadily = effort.steadily(300)

SECRET_NAMES = [
    "password",
    "PASSWORD2",
    "userPassword",
    "user.password.hash",
    "db_passwd",
    "X-Api-Key",
    "apiKey",
    "apikey",
    "AWSSecretKey",
    "client_secret",
    "Authorization",
    "Set-Cookie",
    "cookies",
    "access_token",
    "accessToken",
    "token",
    "csrfToken",
    "SSN",
    "cvv",
    "cardNumber",
    "card_number",
    "private_key",
    "credentials",
]

PLAIN_NAMES = [
    "",
    "$$",
    "author",
    "authority",
    "scorecard",
    "token_count",
    "tokens",
    "compass",
    "passenger",
    "monkey",
    "key",
    "card",
    "session_id",
    "secretary",
    "keyboard",
    "number_of_cards",
]


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_names_announce_secrets(name: str) -> None:
    """
    In any spelling, wherever the word stands.
    """
    assert is_secret(name)


@pytest.mark.parametrize("name", PLAIN_NAMES)
def test_names_that_resemble_them_do_not(name: str) -> None:
    """
    A word within a word announces nothing.
    """
    assert not is_secret(name)


# Made up, each in the form of the real ones; in two parts, so that no scanner takes them for real.
SECRETS = {
    "visa": "4111 1111 1111 1111",
    "visa without spaces": "4111111111111111",
    "mastercard": "5555-5555-5555-4444",
    "mastercard of the new range": "2223003122003222",
    "american express": "378282246310005",
    "discover": "6011111111111117",
    "diners": "30569309025904",
    "private key": "-----BEGIN RSA PRIVATE " + "KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
    "json web token": "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "amazon": "AKIA" + "IOSFODNN7EXAMPLE",
    "google": "AIza" + "SyA" + "0123456789abcdef0123456789abcdef",
    "google client": "GOCSPX-" + "0123456789abcdef0123456789ab",
    "google access": "ya29." + "a0AfH6SMB0123456789abcdef",
    "github": "ghp_" + "0123456789abcdefghij0123456789abcdef",
    "github, fine grained": "github_pat_" + "0123456789abcdefghijklmn",
    "gitlab": "glpat-" + "0123456789abcdefghij",
    "npm": "npm_" + "0123456789abcdefghij0123456789abcdef",
    "pypi": "pypi-" + "AgEIcHlwaS5vcmc" * 4,
    "openai": "sk-" + "0123456789abcdefghij0123",
    "stripe": "sk_live_" + "0123456789abcdef",
    "stripe webhook": "whsec_" + "0123456789abcdef01234567",
    "square": "sq0csp-" + "0123456789abcdefghij01",
    "sendgrid": "SG." + "0123456789abcdef" + ".0123456789abcdef",
    "twilio": "SK" + "0123456789abcdef" * 2,
    "slack": "xoxb-" + "0123456789-abcdef",
    "slack app": "xapp-" + "1-A0123456789-abcdef",
    "slack webhook": "hooks.slack.com/services/" + "T000/B000/abcdef",
    "mailchimp": "0123456789abcdef" * 2 + "-us6",
    "private key of ssh2": "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\nP2/5\n---- END SSH2 ----",
    "gitlab, runner": "GR13" + "48941" + "0123456789abcdefghij",
    "discord": "M" + "0123456789abcdefghijklm" + ".abc-ef." + "0123456789abcdefghij0123456",
    "telegram": "123456789:" + "AA" + "0123456789abcdefghij-0123456789_a",
    "artifactory": "AK" + "Cp" + "0123456789abcdefghij0123",
    "facebook": "EA" + "AB" + "0123456789abcdefghij" * 3,
}


@pytest.mark.parametrize("kind", SECRETS)
@pytest.mark.parametrize("text", ["{}", "see {} there", "a={}&b=1", '{{"a": "{}"}}'])
def test_what_has_the_form_of_a_secret_is_replaced(kind: str, text: str) -> None:
    """
    Wherever it stands in a text, and nothing else goes with it.
    """
    assert scrub(text.format(SECRETS[kind])) == text.format(SCRUBBED)


def test_a_private_key_without_an_end_takes_the_rest_with_it() -> None:
    """
    What is left of one that was cut off is secret, too.
    """
    assert scrub("see -----BEGIN PRIVATE " + "KEY-----\nMIIEvQIBAD and more") == "see [scrubbed]"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Authorization: Bearer abcdef0123456789", "Authorization: Bearer [scrubbed]"),
        ("authorization: basic dXNlcjpwYXNzd29yZA==", "authorization: basic [scrubbed]"),
        ("https://u:p4ss@example.com/", "https://[scrubbed]@example.com/"),
        ("postgres://shop:hush@db:5432/x", "postgres://[scrubbed]@db:5432/x"),
        ("/reset?token=abc&page=2", "/reset?token=[scrubbed]&page=2"),
        ("?api_key=1234&API-KEY=5678", "?api_key=[scrubbed]&API-KEY=[scrubbed]"),
        ("password=hunter2, user=me", "password=[scrubbed], user=me"),
        ('{"password": "hunter2", "a": 1}', '{"password": "[scrubbed]", "a": 1}'),
        ("secret: abcd", "secret: [scrubbed]"),
        ("AccountKey=abcd==;x", "AccountKey=[scrubbed];x"),
        ("?sig=abcdef&x=1", "?sig=[scrubbed]&x=1"),
        ("/a;jsessionid=1A2B3C?x=1", "/a;jsessionid=[scrubbed]"),
        ("Cookie: a=1; b=2\nHost: x", "Cookie: [scrubbed]\nHost: x"),
        ("Set-Cookie: sid=31; Path=/", "Set-Cookie: [scrubbed]"),
        ('"password": "a b, c", "x": 1', '"password": "[scrubbed]", "x": 1'),
        ("password := 'abc' + x", "password := '[scrubbed]' + x"),
        ("password !== `abc`", "password !== `[scrubbed]`"),
        ("$config['db_pass'] => 'abc'", "$config['db_pass'] => '[scrubbed]'"),
        ('secret("abc")', 'secret("[scrubbed]")'),
        ("password_hash=abc, password2=def", "password_hash=[scrubbed], password2=[scrubbed]"),
        ("contraseña: abc", "contraseña: [scrubbed]"),
        ("see PuTTY-User-Key-File-2: ssh-rsa\nabc", "see [scrubbed]"),
    ],
)
def test_what_follows_a_telling_word_is_replaced(text: str, left: str) -> None:
    """
    The word itself stays, so that one sees what was there.
    """
    assert scrub(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pro",
        "Basic subscription",
        "Bearer of good news to everyone",
        "token bucket",
        "design=modern, monkey=5",
        "https://www.example.com/url?q=a&sig2=mSyNHHES5COiDpakgbFJ2w&session_id=17",
        "token_count=5, tokens: 17, keyboard: qwerty, compass=north",
        "12345678:550e8400-e29b-41d4-a716-446655440000",
        "APARTMENT, ACADEMY, ACCESS; glass-house, glpat-short",
        "cookies: 17",
        "your PRIVATE KEY is safe; BEGIN here",
        "https://www.example.com/search?q=product+analytics",
        "https://example.com:8443/a@b",
        "2026-11-21 10:00:00",
        "1763600000000",
        "1234567890123456",  # a number of no issuer
        "4111111111111112",  # a visa that does not pass the check
        "192.168.100.200",
        "00000000-0000-4000-8000-000000000000",
        "0123456789abcdef0123456789abcdef",
        "+49 170 1234 5678 901",
        "the password: ab",
        "sk-learn",
        "eyJabc",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/120.0.0.0 Safari/537.36",
    ],
)
def test_ordinary_texts_stay(text: str) -> None:
    """
    They come back as the very same object.
    """
    assert scrub(text) is text


def test_only_what_an_event_has_room_for_is_looked_at() -> None:
    """
    A secret that begins within that is still found by its whole.
    """
    edge = "x" * 240 + " 4111 1111 1111 1111"
    beyond = "x" * 400 + " 4111 1111 1111 1111"

    assert "4111" not in scrub(edge)
    assert scrub(beyond) is beyond


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (4111111111111111, True),
        (4111111111111112, False),
        (378282246310005, True),
        (1763600000000, False),
        (-4111111111111111, False),
        (4222222222222, True),
        (0, False),
    ],
)
def test_whole_numbers_may_be_cards(number: int, *, expected: bool) -> None:
    """
    By the same rules as texts.
    """
    assert is_card(number) is expected


def test_the_rules_of_a_door() -> None:
    """
    `deny` and `allow` go by whole names; what is allowed by name is not hidden for it.
    """
    usual = Privacy()
    assert usual.keeps("plan")
    assert usual.hides("password")
    assert usual.card(4111111111111111)
    assert usual.text("token=abcd") == usual.name("token=abcd") == "token=[scrubbed]"

    strict = Privacy(allow=("plan", "password"), deny=("plan",))
    assert not strict.keeps("plan")
    assert strict.keeps("password")
    assert not strict.hides("password")
    assert strict.hides("token")
    assert not strict.keeps("total")

    open_ = Privacy(scrub=False)
    assert not open_.hides("password")
    assert not open_.card(4111111111111111)
    assert open_.text("token=abcd") == open_.name("token=abcd") == "token=abcd"


@steadily
@given(st.text(max_size=600))
def test_any_text_comes_out_again(text: str) -> None:
    """
    Scrubbing never raises, and what it gives has nothing left to scrub.
    """
    once = scrub(text)

    assert isinstance(once, str)
    assert scrub(once) == once


@steadily
@given(st.text(alphabet=string.ascii_lowercase + " .,-", max_size=200))
def test_words_without_digits_or_signs_stay(text: str) -> None:
    """
    Only digits, capitals and signs of assignment can make a secret.
    """
    assert scrub(text) == text


# -- many texts at once -------------------------------------------------------------------------


def changed(texts: list[str]) -> set[str]:
    """
    Find those of *texts* that `scrub` changes, one by one.
    """
    return {text for text in texts if scrub(text) != text}


def test_of_many_texts_the_same_are_found_as_one_by_one() -> None:
    """
    Secrets of all kinds, alone and within a text, among harmless texts of many shapes.
    """
    secrets = [secret for _, text, secret in make_up() for secret in (text, secret, f"a {text} b")]
    texts = [text for text in secrets if "\n" not in text]
    harmless = [f"https://example.com/{number}?page={number % 7}" for number in range(200)]

    for start in range(0, len(texts), 40):
        some = [*texts[start : start + 40], *harmless]
        assert scrubbed_among(some) == changed(some)


@given(st.lists(st.text(alphabet="A3TG12 x-_=:/@.eyJkspwtoken", max_size=40), max_size=12))
@steadily
def test_any_texts_are_judged_as_one_by_one(texts: list[str]) -> None:
    """
    Whatever was judged before.
    """
    assert scrubbed_among(texts) == changed(texts)


@pytest.mark.parametrize(
    ("before", "text"),
    [
        ("A4TA1234567890123456", "A3TA1234567890123456"),
        ("GR4648941abcdefghijklmnopqrst", "GR1348941abcdefghijklmnopqrst"),
        ("ya13.abcdefghijklmnopqrstuvwxyz", "ya29.abcdefghijklmnopqrstuvwxyz"),
        ("4111111111111112", "4111111111111111"),
    ],
)
def test_a_text_of_a_harmless_shape_may_still_be_a_secret(before: str, text: str) -> None:
    """
    Where a certain digit makes the difference, the shape alone says nothing.
    """
    assert scrubbed_among([before]) == set()
    assert scrubbed_among([text]) == {text}


@pytest.mark.parametrize(
    "texts",
    [
        ["İ password=hunter22", "fine"],  # whose small form is longer
        ["two\nlines password=hunter22", "fine"],
        ["https://a:secret@example.com/", "me@example.com"],
        [],
    ],
)
def test_unusual_texts_are_judged_too(texts: list[str]) -> None:
    """
    Line breaks, letters that grow, addresses with a password, nothing at all.
    """
    assert scrubbed_among(texts) == changed(texts)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Shapes are forgotten when there are many.
    """
    monkeypatch.setattr(_privacy, "_MOST_SHAPES", 3)
    letters = string.ascii_lowercase

    for index in range(20):
        scrubbed_among([f"shape {letters[index]}"])
    found = len(_privacy._SHAPES)

    assert found <= 4
    assert Privacy(scrub=False).scrubs is False
    assert Privacy().scrubs is True
