"""
What must not leave the house: names that announce a secret, texts that hold one.

The patterns are those of secrets whose form gives them away. A word that merely looks random is
left alone: it is more often an id than a key.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Final

from mixpanel_export._limits import MAX_STRING_BYTES

#: What stands in place of a secret.
SCRUBBED: Final = "[scrubbed]"

# Segments of a name that announce a secret, wherever they stand in it.
_SECRET_SEGMENTS: Final = frozenset(
    {
        "accesskey",
        "apikey",
        "authorization",
        "contrasena",
        "cookie",
        "cookies",
        "credential",
        "credentials",
        "csrf",
        "csrftoken",
        "cvc",
        "cvv",
        "cvv2",
        "jwt",
        "passcode",
        "passphrase",
        "passwd",
        "password",
        "passwords",
        "privatekey",
        "pwd",
        "secret",
        "secretkey",
        "secrets",
        "ssn",
        "xsrf",
    }
)

# The same, of two segments in a row.
_SECRET_PAIRS: Final = frozenset(
    {
        ("access", "key"),
        ("account", "key"),
        ("api", "key"),
        ("auth", "key"),
        ("aws", "key"),
        ("card", "number"),
        ("client", "key"),
        ("database", "key"),
        ("database", "pass"),
        ("db", "key"),
        ("db", "pass"),
        ("encryption", "key"),
        ("key", "pass"),
        ("master", "key"),
        ("priv", "key"),
        ("private", "key"),
        ("security", "code"),
        ("service", "key"),
        ("session", "key"),
        ("signing", "key"),
        ("smtp", "pass"),
        ("softlayer", "key"),
        ("user", "pass"),
    }
)

# These do only at the end of a name: `access_token`, but not `token_count`.
_SECRET_ENDINGS: Final = frozenset({"token", "authtoken", "accesstoken"})

_SEGMENT: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")

# A secret that begins within what is kept may end beyond it, and is recognised by its whole.
_LOOK: Final = MAX_STRING_BYTES + 100

# Whether anything in a text is worth a closer look: digits enough for a card, what one of the
# tokens below cannot do without, a word that something secret may be assigned to. Grouped by their
# first letters, and beginning with one, since that is several times faster.
_DIGITS: Final = re.compile(r"[0-9][0-9 -]{11,}[0-9]")
_HINTS: Final = re.compile(
    r"(?:eyJ|A(?:KIA|SIA|3T|BIA|CCA|Iza|KC|P[0-9A-F]|C[0-9a-f])|EAA|G(?:R13|OCSPX-)"
    r"|P(?:RIVATE KEY|uTTY-User)|S(?:G\.|K)|g(?:l[a-z]{2,5}-|h[oprsu]_|ithub_pat)|hooks\.slack|npm_"
    r"|pypi-|rk_|s(?:k[-_]|q0)|whsec_|x(?:app-|ox)|ya29\.|-us|\.softlayer"
    r"|\.[\w-]{6}\.[\w-]{27}|:[\w-]{35})"
)
_WORDS: Final = re.compile(
    r"(?:auth|b(?:asic|earer)|c(?:ontrase|ookie|srf|vv)|key|p(?:ass|w)|s(?:ecret|ess(?:ion)?id|ig"
    r"|sn)|token)"
)

# A card's number by its issuer's range: 13 to 19 digits, maybe in groups. -- ISO/IEC 7812-1; the
# ranges as the issuers publish them (read 2026-11-21).
_CARD: Final = re.compile(
    r"(?<![0-9A-Za-z.])(?:4[0-9]{3}|5[0-9]{3}|2[2-7][0-9]{2}|3[0-9]{3}|6[0-9]{3})"
    r"(?:[ -]?[0-9]){9,15}(?![0-9A-Za-z])"
)

_FORMS: Final = (
    # A private key, to its end or to the end of the text.
    r"-{0,5} ?BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY.*?(?:-{4,5} ?END [A-Z0-9 ]*-{4,5}|\Z)",
    r"PuTTY-User-Key-File-[23].*",
    # JSON Web Tokens: both of their first parts are the Base64 of a JSON object.
    r"\beyJ[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*)*",
    # Keys that say whose they are.
    r"\b(?:AKIA|ASIA|A3T[0-9A-Z]|ABIA|ACCA)[0-9A-Z]{16}\b",  # Amazon
    r"\bAKC[a-z][0-9A-Za-z]{20,}",  # Artifactory, this and the next
    r"\bAP[0-9A-F][0-9A-Za-z]{24,}",
    r"\b[MNO][\w-]{23,25}\.[\w-]{6}\.[\w-]{27,}",  # Discord
    r"\bEAA[0-9A-Za-z_-]{50,}",  # Facebook, Square
    r"\bAIza[\w-]{35}",  # Google, with the next two
    r"\bGOCSPX-[\w-]{20,}",
    r"\bya29\.[\w-]{20,}",
    r"\bgh[oprsu]_\w{36,}",  # GitHub
    r"\bgithub_pat_\w{22,}",
    r"\bgl(?:pat|dt|ft|soat|rt|cbt|imt|ptt|agent|oas)-[\w-]{20,}",  # GitLab
    r"\bGR1348941[\w-]{20,}",
    r"\bnpm_[0-9A-Za-z]{36}",
    r"\bpypi-[\w-]{50,}",
    r"\bsk-[\w-]{20,}",  # OpenAI, Anthropic
    r"\b(?:sk|rk)_(?:live|test)_[0-9A-Za-z]{10,}",  # Stripe
    r"\bwhsec_[0-9A-Za-z+/=]{24,}",
    r"\bsq0[a-z]{3}-[\w-]{22,}",  # Square
    r"\bSG\.[\w-]{16,}\.[\w-]{16,}",  # SendGrid
    r"\b(?:AC|SK)[0-9a-f]{32}\b",  # Twilio
    r"(?<=api\.softlayer\.com/soap/)v3(?:\.1)?/[0-9a-z]{64}",  # SoftLayer
    r"\b[0-9]{8,10}:[\w-]{35}(?![\w-])",  # Telegram
    r"\bx(?:app|ox[a-z])-[\w-]{10,}",  # Slack
    r"hooks\.slack\.com/services/[\w/]+",
    r"\b[0-9a-z]{32}-us[0-9]{1,2}\b",  # Mailchimp
)
_TOKENS: Final = re.compile("|".join(_FORMS), re.DOTALL)

# What follows these words; the words themselves stay.
_AUTHORIZATION: Final = re.compile(
    r"(?i)\b(bearer\s+|basic\s+|token\s+)(?=[\w.~+/=-]*[0-9=])[\w.~+/=-]{12,}"
)
_USERINFO: Final = re.compile(r"(?<=://)[^\s/?#@]*:[^\s/?#@]+(?=@)")
_COOKIES: Final = re.compile(r"(?i)(\bcookie:\s*)(?!\s|\[scrubbed\])[^\r\n]+")
_ASSIGNMENT: Final = re.compile(
    r"""(?ix)
    ( (?: password | passwd | passphrase | pwd | contrase(?:n|ñ)a | secret (?: [_-]? key )?
      | token | signature | csrf | authorization | phpsessid | jsessionid
      | (?: access | account | api | auth | client | database | db | encryption | master | priv
        | private | secret | service | session | shared | signing ) [_-]? key
      | (?<! [a-z0-9] ) (?: aws | cl | clou | cloud | cloudant | cos | iam | ibm | sl | softlayer )
        [_-]? (?: api [_-]? )? (?: key | pass | pw )
      | (?<! [a-z0-9] ) (?: database | db | ftp | key | mysql | redis | smtp | user ) [_-]? pass
      | (?<! [a-z0-9] ) (?: sig | cvv | ssn ) )
      (?: (?<! sig ) [_-]? (?: [0-9]{1,2} | hash | text | value ) )? []"'`)]{0,2} \s*
      (?: [:!=]? ={1,2} >? | : (?! // ) | (?= \( ["'`] ) ) \s* [@(]? ["'`]? )
    (?! bearer\b | basic\b | \[scrubbed\] )
    (?: (?<= ["'`] ) [^"'`]{3,} (?= ["'`] ) | [^\s"'`&,;)}\]]{3,} )
    """
)

#: Fewer letters and digits are no secret: what is shorter than a card's number and looked for has
#: other characters in it.
SHORTEST_SECRET: Final = 13

# -- RFC 9562, section 4
_UUID: Final = re.compile(r"(?i)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_UUID_SIZE: Final = 36


@lru_cache(maxsize=2_000)
def is_secret(name: str) -> bool:
    """Say whether a field of this name holds a secret: ``userPassword`` does, ``author`` not."""
    segments = [segment.lower() for segment in _SEGMENT.findall(name)]
    if not segments:
        return False
    return (
        segments[-1] in _SECRET_ENDINGS
        or not _SECRET_SEGMENTS.isdisjoint(segments)
        or not _SECRET_PAIRS.isdisjoint(pairwise(segments))
    )


def is_id(text: str) -> bool:
    """
    Say whether *text* is like most ids: nothing but a few letters and digits, or a UUID.

    Neither holds a secret. One of 25,000 random UUIDs begins like a card's number, which it is not.
    """
    if len(text) < SHORTEST_SECRET:
        return text.isalnum()
    return len(text) == _UUID_SIZE and _UUID.fullmatch(text) is not None


def scrub(text: str) -> str:
    """
    Replace what looks like a secret in *text*.

    Only as much is looked at as an event has room for, and the rest is cut off if it is looked at
    at all: card numbers, private keys, JSON Web Tokens, the keys of well-known services, what
    follows ``Bearer``, passwords in addresses, and what is assigned to a name such as
    ``password``.
    """
    if is_id(text):
        return text
    # Each of these finds nothing in most texts, and all are much cheaper than what they spare.
    digits, hints = _DIGITS.search(text, 0, _LOOK), _HINTS.search(text, 0, _LOOK)
    words = (" " in text or "=" in text or ":" in text or "(" in text) and _WORDS.search(
        text[:_LOOK].lower()
    )
    address = "@" in text and "://" in text
    if not (digits or hints or words or address):
        return text
    found = text[:_LOOK]
    if digits:
        found = _CARD.sub(_card, found)
    if hints:
        found = _TOKENS.sub(SCRUBBED, found)
    if address:
        found = _USERINFO.sub(SCRUBBED, found)
    if words:
        found = _COOKIES.sub(rf"\1{SCRUBBED}", found)
        found = _AUTHORIZATION.sub(rf"\1{SCRUBBED}", found)
        found = _ASSIGNMENT.sub(rf"\1{SCRUBBED}", found)
    return text if found == text[:_LOOK] else found


# Texts that differ in their digits only have one shape, and most shapes come again and again: the
# addresses of a shop's pages. The hints for a shape are those for its texts, with a zero for each
# digit that stands for itself, and not in a class or a count.
_SHAPE: Final = str.maketrans("123456789", "0" * 9)
_SHAPE_HINTS: Final = re.compile(
    re.sub(r"(\[[^]]*\]|\{[^}]*\})|[0-9]", lambda part: part[1] or "0", _HINTS.pattern)
)
_SHAPES: Final[set[str]] = set()
_MOST_SHAPES: Final = 20_000


def scrubbed_among(texts: Sequence[str]) -> set[str]:
    """
    Find those of *texts*, without a line break in any, that `scrub` would change.

    The same as asking it for each, but what it would look for is looked for in all of them at once,
    and in each shape once.
    """
    shapes = "\n".join(texts).translate(_SHAPE).split("\n")
    if len(shapes) != len(texts):
        return {text for text in texts if scrub(text) is not text}
    unknown = list(set(shapes) - _SHAPES)
    suspects = _suspects(unknown)
    if len(_SHAPES) >= _MOST_SHAPES:
        _SHAPES.clear()
    _SHAPES.update(unknown)
    _SHAPES.difference_update(suspects)
    if not suspects:
        return set()
    return {
        text
        for text, shape in zip(texts, shapes, strict=True)
        if shape in suspects and scrub(text) is not text
    }


def _suspects(shapes: Sequence[str]) -> set[str]:
    """Find the shapes of which some text may hold a secret."""
    whole = "\n".join(shapes)
    lower = whole.lower()
    if len(lower) != len(whole):
        # One of the few letters whose small form is longer: the places would not agree.
        return set(shapes)
    suspects = {shape for shape in shapes if "://" in shape} if "@" in whole else set()
    ends: list[int] = []
    for pattern, within in ((_DIGITS, whole), (_SHAPE_HINTS, whole), (_WORDS, lower)):
        for match in pattern.finditer(within):
            ends = ends or list(accumulate(len(shape) + 1 for shape in shapes))
            suspects.add(shapes[bisect_right(ends, match.start())])
    return suspects


def is_card(number: int) -> bool:
    """Say whether a whole number is that of a card."""
    return _CARD.fullmatch(str(number)) is not None and _passes(str(number))


def _card(match: re.Match[str]) -> str:
    return SCRUBBED if _passes(match[0]) else match[0]


def _passes(number: str) -> bool:
    """Say whether the digits of *number* pass Luhn's check. -- ISO/IEC 7812-1, annex B."""
    digits = [int(each) for each in reversed(number) if each.isdigit()]
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[1::2]]
    return len(digits) >= SHORTEST_SECRET and (sum(digits[::2]) + sum(doubled)) % 10 == 0


class Privacy:
    """
    The rules of one door.

    Args:
        scrub: Whether secrets are replaced.

        allow: The only names that are sent; `None` is all.

        deny: Names that are not sent.
    """

    __slots__ = ("_allow", "_deny", "_scrub", "name", "text")

    text: Callable[[str], str]
    """Replace the secrets in a text."""

    name: Callable[[str], str]
    """Replace the secrets in the name of a property; the same names come again and again."""

    def __init__(
        self,
        *,
        scrub: bool = True,
        allow: Iterable[str] | None = None,
        deny: Iterable[str] = (),
    ) -> None:
        self._scrub = scrub
        self._allow = None if allow is None else frozenset(allow)
        self._deny = frozenset(deny)
        self.text = _scrub_text if scrub else _leave
        self.name = _scrub_name if scrub else _leave

    def keeps(self, name: str) -> bool:
        """Say whether a property of this name is sent at all."""
        return name not in self._deny and (self._allow is None or name in self._allow)

    def hides(self, name: str) -> bool:
        """Say whether its value is replaced as a whole, because of its name."""
        if not self._scrub or (self._allow is not None and name in self._allow):
            return False
        return is_secret(name)

    @property
    def scrubs(self) -> bool:
        """Whether secrets are replaced at all."""
        return self._scrub

    @property
    def card(self) -> Callable[[int], bool]:
        """What says whether a whole number is to be replaced."""
        return is_card if self._scrub else _never


_scrub_text = scrub
_scrub_name = lru_cache(maxsize=2_000)(scrub)


def _leave(text: str) -> str:
    return text


def _never(_number: int) -> bool:
    return False
