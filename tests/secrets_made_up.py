"""
Secrets of many kinds, none of them real.

They are drawn from a seeded generator in the forms that services give them; what would show a
scanner whose they are stands here in pieces.
"""

from __future__ import annotations

import base64
import json
import string
from collections.abc import Callable
from random import Random

DIGITS = string.digits
HEX = "0123456789abcdef"
LOWER = string.ascii_lowercase + DIGITS
UPPER = string.ascii_uppercase + DIGITS
ALNUM = string.ascii_letters + DIGITS
WORD = ALNUM + "_-"

#: How many of each kind there are.
EACH = 7


class Maker:
    """
    Makes secrets; the same ones every time.
    """

    def __init__(self) -> None:
        self._random = Random(2026)

    def some(self, alphabet: str, count: int) -> str:
        # Never without a digit: one that has none may be a word.
        drawn = "".join(self._random.choices(alphabet, k=count - 1))
        return drawn + self._random.choice(DIGITS if DIGITS in alphabet else alphabet)

    def token(self) -> str:
        """
        Make a JSON Web Token.
        """
        parts = [{"alg": "HS256", "typ": "JWT"}, {"sub": self.some(DIGITS, 8)}]
        texts = [base64.urlsafe_b64encode(json.dumps(part).encode()) for part in parts]
        return ".".join([*(text.decode().rstrip("=") for text in texts), self.some(WORD, 43)])

    def card(self) -> str:
        """
        Make the number of a card.
        """
        digits = "4" + self.some(DIGITS, 14)
        odd = sum(sum(divmod(int(each) * 2, 10)) for each in digits[::2])
        return digits + str(-(odd + sum(map(int, digits[1::2]))) % 10)

    def key(self, kind: str) -> str:
        """
        Make a private key.
        """
        lines = [self.some(ALNUM, 64) for _ in range(3)]
        body = "\n".join(lines)
        return f"-----BEGIN {kind}PRIVATE " + f"KEY-----\n{body}\n-----END {kind}PRIVATE KEY-----"


# For each kind what is written, and the secret in it. Most say by their own form what they are,
# the others by the words before them.
Kind = Callable[[Maker], tuple[str, str]]


def alone(prefix: str, alphabet: str, count: int, suffix: str = "") -> Kind:
    """
    Describe a kind whose form says enough.
    """

    def make(maker: Maker) -> tuple[str, str]:
        secret = prefix + maker.some(alphabet, count) + suffix
        return secret, secret

    return make


def after(words: str, alphabet: str, count: int, behind: str = "") -> Kind:
    """
    Describe a kind that one knows by what stands before it.
    """

    def make(maker: Maker) -> tuple[str, str]:
        secret = maker.some(alphabet, count)
        return words + secret + behind, secret

    return make


def whole(make: Callable[[Maker], str]) -> Kind:
    """
    Describe a kind by what makes one.
    """

    def make_twice(maker: Maker) -> tuple[str, str]:
        secret = make(maker)
        return secret, secret

    return make_twice


KINDS: dict[str, Kind] = {
    "amazon": alone("AK" + "IA", UPPER, 16),
    "amazon, secret": after("aws_secret_access_key = '", ALNUM, 40, "'"),
    "artifactory": alone("AK" + "Cp", ALNUM, 69),
    "artifactory, password": alone("A" + "P5", ALNUM, 30),
    "azure storage": after("Account" + "Key=", ALNUM, 88),
    "password in an address": after("https://shop:", ALNUM, 12, "@db.example.com/x"),
    "payment card": whole(lambda maker: maker.card()),
    "cloudant": after("cloudant_password = '", HEX, 64, "'"),
    "cloudant, address": after("https://shop:", HEX, 64, "@shop.cloudant.com"),
    "discord": whole(
        lambda maker: ".".join(
            ["M" + maker.some(ALNUM, 23), maker.some(ALNUM, 6), maker.some(ALNUM, 27)]
        )
    ),
    "github": alone("gh" + "p_", ALNUM, 36),
    "gitlab": alone("gl" + "pat-", ALNUM, 20),
    "gitlab, runner": alone("GR13" + "48941", ALNUM, 20),
    "ibm cloud": after("ibm_cloud_api_key = '", ALNUM, 44, "'"),
    "ibm object storage": after("cos_secret_access_key = '", HEX, 48, "'"),
    "json web token": whole(lambda maker: maker.token()),
    "keyword": after('db_pass = "', ALNUM, 14, '"'),
    "keyword, compared": after("password === '", ALNUM, 14, "'"),
    "keyword, in words": after('secret: "correct horse ', ALNUM, 8, '"'),
    "mailchimp": alone("", HEX, 32, "-" + "us6"),
    "npm": after("//registry.example.com/:_auth" + "Token=npm_", ALNUM, 36),
    "openai": whole(
        lambda maker: "sk" + "-" + maker.some(ALNUM, 20) + "T3Blbk" + "FJ" + maker.some(ALNUM, 20)
    ),
    "private key": whole(lambda maker: maker.key("RSA ")),
    "private key, openssh": whole(lambda maker: maker.key("OPENSSH ")),
    "pypi": alone("pypi-" + "AgEIcHlwaS5vcmc", WORD, 72),
    "sendgrid": whole(
        lambda maker: ".".join(["S" + "G", maker.some(ALNUM, 22), maker.some(ALNUM, 43)])
    ),
    "slack": whole(lambda maker: "xox" + f"b-{maker.some(DIGITS, 12)}-{maker.some(LOWER, 24)}"),
    "slack, hook": whole(
        lambda maker: (
            "https://hooks.slack" + f".com/services/T{maker.some(UPPER, 8)}"
            f"/B{maker.some(UPPER, 8)}/{maker.some(ALNUM, 24)}"
        )
    ),
    "softlayer": after("softlayer_api_key = '", LOWER, 64, "'"),
    "softlayer, address": after("https://api.softlayer.com/soap/v3/", LOWER, 64),
    "square": alone("sq0" + "csp-", ALNUM, 43),
    "stripe": alone("sk_" + "live_", ALNUM, 24),
    "telegram": whole(lambda maker: f"{maker.some(DIGITS, 9)}:{maker.some(ALNUM, 35)}"),
    "twilio": alone("S" + "K", HEX, 32),
}

# What no form gives away: these are sent unless the name of their property announces them.
RANDOM: dict[str, Kind] = {
    "hexadecimal": alone("", HEX, 40),
    "base64": alone("", ALNUM, 44),
}


def make_up(kinds: dict[str, Kind] = KINDS) -> list[tuple[str, str, str]]:
    """
    Make some of each kind: the kind, what is written, the secret in it.
    """
    maker = Maker()
    return [(name, *make(maker)) for name, make in kinds.items() for _ in range(EACH)]
