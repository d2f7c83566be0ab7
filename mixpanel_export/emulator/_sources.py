"""Where the reason of a failure is written down, for those who doubt it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mixpanel_export.emulator import _facts
from mixpanel_export.emulator._facts import Origin
from mixpanel_export.emulator._rules import RULES


@dataclass(frozen=True, slots=True)
class Source:
    """
    Why a text is believed to be Mixpanel's.

    Args:
        origin: How well it is known.

        text: Where it was read.
    """

    origin: Origin
    text: str


def source_of(message: str) -> Source | None:
    """Return where a reason was read, or None if it is not Mixpanel's but that of a fault."""
    return next((source for pattern, source in _SOURCES if pattern.fullmatch(message)), None)


def _pattern(template: str) -> re.Pattern[str]:
    # "{name}" and "{limit}" stand for whatever was put in their place.
    return re.compile(re.sub(r"\\\{\w+\\\}", ".*", re.escape(template)), re.DOTALL)


_PROFILES = "docs, docs/data-structure/user-profiles.mdx"
_ORIGINAL = "docs/tracking-methods/id-management/identifying-users-original.mdx"
_AUTHENTICATION = "docs, openapi/ingestion.openapi.yaml"

# Of whole requests, and of what is answered with success; `_facts` says more about each.
_OTHERS = (
    (_facts.VALIDATION_FAILED, Origin.SOURCED, "docs, reference/import-events.mdx"),
    (_facts.TOO_LARGE, Origin.SOURCED, "docs, openapi/ingestion.openapi.yaml"),
    (_facts.RATE_LIMITED, Origin.SOURCED, "docs, reference/rate-limits.mdx"),
    (_facts.INVALID_CREDENTIALS, Origin.SOURCED, _AUTHENTICATION),
    (_facts.INVALID_SERVICE_ACCOUNT, Origin.SOURCED, "docs, openapi/identity.openapi.yaml"),
    (_facts.UNKNOWN_SERVICE_ACCOUNT, Origin.LIVE, "sheets, tests/all.test.js"),
    (_facts.NOT_A_MEMBER, Origin.LIVE, "sheets, tests/all.test.js"),
    (_facts.WRONG_PROJECT, Origin.LIVE, "sheets, tests/all.test.js"),
    (_facts.INVALID_SECRET, Origin.LIVE, "sheets, tests/all.test.js"),
    (_facts.PROJECT_ID_MISSING, Origin.GUESS, "docs say that it is needed; no text"),
    (_facts.VERBS_REFUSED, Origin.LIVE, "import tool, its probe of 2026-08-16"),
    (_facts.BAD_DATA, Origin.SOURCED, "python, test_mixpanel.py"),
    (_facts.NOT_JSON, Origin.GUESS, "no text is published"),
    (_facts.NOT_GZIP, Origin.GUESS, "no text is published"),
    (_facts.NOT_A_LIST, Origin.GUESS, "no text is published"),
    (_facts.EMPTY_LIST, Origin.GUESS, "no text is published"),
    (_facts.TOO_MANY, Origin.GUESS, "docs, reference/import-events.mdx limits them; no text"),
    (_facts.IGNORED, Origin.SOURCED, "docs, docs/tracking-best-practices/bot-traffic.mdx"),
    (_facts.UNKNOWN_TOKEN, Origin.LIVE, "segevsh/w6w-apps; mixpanel-node issue 59"),
    (_facts.TOO_OLD, Origin.SOURCED, "docs, reference/track-event.mdx"),
    (_facts.NO_CREDENTIALS, Origin.LIVE, "mixpanel-python issue 88, mixpanel-ruby issue 106"),
    (_facts.HOT_SHARD, Origin.SOURCED, "docs, docs/tracking-best-practices/hot-shard-limits.mdx"),
    (_facts.NOT_A_UUID, Origin.LIVE, "import tool, its probe of 2026-08-16"),
    (_facts.ALREADY_MERGED, Origin.LIVE, "import tool, its probe of 2026-08-16"),
    (_facts.IDS_MISSING, Origin.GUESS, "docs, openapi/identity.openapi.yaml asks for both"),
    (_facts.MERGE_IS_IMPORTED, Origin.SOURCED, "docs, openapi/identity.openapi.yaml"),
    (_facts.CLUSTER_FULL, Origin.SOURCED, f"docs, {_ORIGINAL}"),
    # Of updates of profiles; see `_profiles`.
    ("$token, missing or empty", Origin.LIVE, "segevsh/w6w-apps, issue reports"),
    ("$distinct_id, missing or empty", Origin.LIVE, "segevsh/w6w-apps, issue reports"),
    ("{name}, not allowed in a group update", Origin.SOURCED, "mixpanel-swift, pull request 539"),
    (
        "{name}, not supported for groups",
        Origin.SOURCED,
        "docs, docs/data-structure/user-profiles.mdx",
    ),
    ("{name}, missing or empty", Origin.GUESS, "docs, reference/group-*.mdx require it; no text"),
    ("{name}, must be an {kind}", Origin.GUESS, "docs, reference/profile-*.mdx; no text"),
    ("no operation", Origin.GUESS, "docs, reference/profile-*.mdx; no text"),
    ("update, larger than 1 MB", Origin.GUESS, "docs, reference/user-profile-limits.mdx; no text"),
    ("profile, more than {limit} properties", Origin.GUESS, f"{_PROFILES}; no text"),
    ("profile, a name longer than {limit} characters", Origin.GUESS, f"{_PROFILES}; no text"),
    ("{name} is not a number", Origin.GUESS, "docs, reference/profile-*.mdx; no text"),
    ("{name} is out of range", Origin.GUESS, "docs, reference/profile-*.mdx; no text"),
    ("{name} is not a list", Origin.GUESS, "docs, reference/profile-*.mdx; no text"),
    ("{name} is not an array", Origin.GUESS, "docs, reference/profile-*.mdx; no text"),
)

_SOURCES = [
    *((_pattern(rule.message), Source(rule.origin, rule.source)) for rule in RULES),
    *((_pattern(text), Source(origin, source)) for text, origin, source in _OTHERS),
]
