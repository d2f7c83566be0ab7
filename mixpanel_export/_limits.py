"""
Every number and forbidden value that Mixpanel documents and that we act upon.

Each has one home, here, with its source and the day on which it was read. Numbers that *we* chose
are the defaults in `_settings`.
"""

from __future__ import annotations

from typing import Final

# Events in one request. -- Mixpanel docs, Import Events (read 2026-08-21).
MAX_REQUEST_EVENTS: Final = 2_000

# 10 MB of uncompressed JSON in one request. -- Import Events (read 2026-08-21). Taken as 10**7, the
# smaller of the two meanings of MB. Mixpanel's OpenAPI sample still shows 2 MiB.
MAX_REQUEST_BYTES: Final = 10_000_000

# An event is smaller than 1 MB of uncompressed JSON. -- Import Events (read 2026-08-21).
MAX_EVENT_BYTES: Final = 1_000_000 - 1

# Longer strings are cut. -- Property Reference, Data Types (read 2026-08-21). The import page says
# characters instead of bytes; cutting at bytes satisfies both.
MAX_STRING_BYTES: Final = 255

# Fewer than 255 properties, keys of an object, elements of a list. -- Import Events (read
# 2026-08-21).
MAX_PROPERTIES: Final = 254
MAX_ELEMENTS: Final = 254

# Nesting of objects and lists. -- Import Events (read 2026-08-21).
MAX_DEPTH: Final = 3

# 8 KB for a list or an object on an event. -- Property Reference, Data Types (read 2026-08-21).
MAX_NESTED_BYTES: Final = 8_000

# A list or an object on a profile: 256 KB. -- Property Reference, Data Types (read 2026-08-21).
MAX_PROFILE_NESTED_BYTES: Final = 256_000

# Properties of a profile. -- User Profile Limits (read 2026-08-21). An update that would bring more
# fails as a whole.
MAX_PROFILE_PROPERTIES: Final = 2_000

# An update of a profile: 1 MB. -- User Profile Limits (read 2026-08-21).
MAX_UPDATE_BYTES: Final = 1_000_000

# Updates in one request: 2000, but 200 are advised. -- User Profile Limits, User Profiles (read
# 2026-08-21).
MAX_REQUEST_UPDATES: Final = 200

# /track takes the events of the last five days. -- Track Events (read 2026-08-21). In milliseconds;
# less an hour, so that an event does not come of age on its way.
MAX_TRACK_AGE_MS: Final = (5 * 24 - 1) * 3_600 * 1_000

# Only letters, digits and hyphens, at most 36 bytes. -- Import Events (read 2026-08-21).
MAX_INSERT_ID_BYTES: Final = 36

# 255 characters. -- Mixpanel's older guide to distinct_id (read 2026-08-21); bytes satisfy it.
MAX_DISTINCT_ID_BYTES: Final = 255

# The disallowed list for distinct_id and $insert_id. -- Import Events (read 2026-08-21). Compared
# without case, as two public connectors do; "lmy47d" stands in these connectors' lists only.
FORBIDDEN_IDS: Final = frozenset(
    {
        "00000000-0000-0000-0000-000000000000",
        "anon",
        "anonymous",
        "nil",
        "none",
        "null",
        "n/a",
        "na",
        "undefined",
        "unknown",
        "<nil>",
        "0",
        "-1",
        "true",
        "false",
        "[]",
        "{}",
        "lmy47d",
    }
)

# `time` is neither before 1971-01-01 nor more than an hour ahead. -- Import Events (read
# 2026-08-21). In milliseconds.
MIN_TIME_MS: Final = 365 * 86_400 * 1_000
MAX_AHEAD_MS: Final = 3_600 * 1_000

# JSON numbers are doubles to most readers: beyond this, integers lose digits -- RFC 8259, 6.
MAX_SAFE_INTEGER: Final = 2**53 - 1

# After 429, 502 and 503: from 2 s doubling to 60 s, with a jitter of 1 to 5 s. -- Import Events
# (read 2026-08-21). The defaults of `Settings`; seconds.
BACKOFF_INITIAL: Final = 2.0
BACKOFF_MAX: Final = 60.0
BACKOFF_JITTER: Final = 5.0

# Ingestion hosts by data residency -- Mixpanel docs, Overview (read 2026-08-21).
HOSTS: Final = {
    "us": "https://api.mixpanel.com",
    "eu": "https://api-eu.mixpanel.com",
    "in": "https://api-in.mixpanel.com",
}

# The day on which Mixpanel stops taking project secrets. -- Project Secret (read 2026-08-21).
PROJECT_SECRET_END: Final = "2027-03-03"  # noqa: S105 -- a date
