"""
What Mixpanel's ingestion API accepts and says: every number, forbidden value and text.

This table is the emulator's own, on purpose: a mirror must not be made by the face that it shows.

Each fact names its origin.

- *sourced*: in Mixpanel's documentation, its OpenAPI files, or an official SDK that relies on it.
- *live*: somebody wrote down what the running service answered.
- *guess*: nothing is published; chosen here, marked, and nothing should depend on it.

Where the facts were read, with the date of the version:

- docs: github.com/mixpanel/docs, 2026-08-21 (pages under ``reference/`` and ``docs/``, and
  ``openapi/ingestion.openapi.yaml``)
- python: github.com/mixpanel/mixpanel-python, 2026-07-28
- go: github.com/mixpanel/mixpanel-go, 2026-02-28
- sheets: github.com/mixpanel/sheets, 2026-06-18 (its tests run against the service)
- import tool: github.com/ak--47/mixpanel-import, 2026-08-17 (so do some of its tests)
"""

from __future__ import annotations

from datetime import datetime, timezone
from enum import Enum


class Origin(Enum):
    """How well a fact is known."""

    SOURCED = "sourced"
    LIVE = "live"
    GUESS = "guess"


# -- sizes -------------------------------------------------------------------------------------

# Sourced: "2000 events" in one request. docs, reference/import-events.mdx and
# reference/track-event.mdx; the same figure for profile updates in
# reference/user-profile-limits.mdx.
MAX_RECORDS = 2_000

# Sourced: "10MB uncompressed". docs, reference/import-events.mdx. The OpenAPI sample still shows
# an older figure of 2097152. Guess: MB means 1024 * 1024, because the import tool fills requests
# to more than 10 000 000 bytes by default.
MAX_REQUEST_BYTES = 10 * 1024 * 1024

# Sourced: each event "less than 1MB", a profile update at most 1MB. docs,
# reference/import-events.mdx and reference/user-profile-limits.mdx. Guess: 10**6.
MAX_RECORD_BYTES = 1_000_000

# Sourced: "fewer than 255" properties, keys and array elements. docs, reference/import-events.mdx.
# Guess: that more of them are refused.
MAX_PROPERTIES = 254
MAX_ELEMENTS = 254

# Sourced: strings and property names are cut, not refused. docs, reference/import-events.mdx (255
# characters) and docs/data-structure/property-reference/data-type.mdx (255 bytes). Bytes is the
# smaller of the two.
MAX_STRING_BYTES = 255

# Sourced: docs, docs/data-structure/user-profiles.mdx, that an update fails beyond it.
MAX_PROFILE_PROPERTIES = 2_000
MAX_PROFILE_NAME = 255

# -- identifiers -------------------------------------------------------------------------------

# Sourced: docs, reference/import-events.mdx.
MAX_INSERT_ID_BYTES = 36

# Sourced: docs, reference/import-events.mdx; the last one from the import tool's
# components/transforms.js. Not told: that upper and lower case are the same; the import tool and
# Langfuse treat them so.
FORBIDDEN_IDS = frozenset(
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

# Sourced: docs, openapi/identity.openapi.yaml.
IDENTITY_VERBS = frozenset({"$identify", "$create_alias", "$merge"})

# Sourced: docs, docs/tracking-methods/id-management/identifying-users-simplified.mdx: what stands
# before a device in a distinct_id.
DEVICE_PREFIX = "$device:"

# Sourced: docs, docs/tracking-methods/id-management/identifying-users-original.mdx: of one user.
MAX_CLUSTER_IDS = 500

# -- time --------------------------------------------------------------------------------------

# Sourced: docs, reference/import-events.mdx: nothing before 1971-01-01, nothing more than an hour
# ahead. Live: the import tool's tests see events of seven hours ahead refused.
EARLIEST_TIME_MS = int(datetime(1971, 1, 1, tzinfo=timezone.utc).timestamp()) * 1000
MAX_FUTURE_MS = 60 * 60 * 1000

# Sourced: docs, reference/import-events.mdx: seconds and milliseconds are told apart by their
# magnitude. Guess: the threshold; 10**11 seconds is the year 5138, 10**11 ms is March 1973.
FIRST_MILLISECONDS = 100_000_000_000

# Sourced: docs, reference/track-event.mdx.
TRACK_WINDOW_MS = 5 * 24 * 60 * 60 * 1000

# -- volume ------------------------------------------------------------------------------------

# Sourced: docs, docs/tracking-best-practices/hot-shard-limits.mdx: of one distinct_id on one event
# date, and what becomes of the others. The limit of 1 000 000 for a group is not emulated: nobody
# says here which properties are group keys.
HOT_SHARD_EVENTS = 200_000
HOT_SHARD_NAME = "$hotshard_events"
ORIGINAL_NAME = "mp_original_event_name"
ORIGINAL_USER = "mp_original_distinct_id"

# Sourced: docs, openapi/export.openapi.yaml.
MAX_EXPORTED = 100_000

# Sourced: docs, docs/data-structure/property-reference/default-properties.mdx: the host by default.
# It stands for whatever address the emulator has.
API_HOST = "api.mixpanel.com"

# -- rate --------------------------------------------------------------------------------------

# Sourced: docs, reference/rate-limits.mdx: 2 GB of uncompressed JSON in a rolling minute.
# Guess: 10**9 bytes to a GB.
RATE_BYTES = 2_000_000_000
RATE_WINDOW = 60.0

# -- credentials -------------------------------------------------------------------------------

# Sourced: docs, reference/project-secret.mdx: the day from which project secrets are refused.
# Guess: midnight UTC.
SECRET_ENDS = datetime(2027, 3, 3, tzinfo=timezone.utc).timestamp()

# -- texts of whole requests -------------------------------------------------------------------

# Sourced: docs, reference/import-events.mdx; go, ingestion_test.go.
VALIDATION_FAILED = "some data points in the request failed validation"

# Sourced: docs, openapi/ingestion.openapi.yaml.
TOO_LARGE = "request exceeds max limit of {limit} bytes"
RATE_LIMITED = "Project exceeded rate limits. Please retry the request with exponential backoff."
INVALID_CREDENTIALS = "Invalid credentials"

# Sourced: docs, openapi/identity.openapi.yaml.
INVALID_SERVICE_ACCOUNT = "Invalid service account credentials"

# Live: sheets, tests/all.test.js. Only "not a project member" is known of the second.
UNKNOWN_SERVICE_ACCOUNT = "Not a valid service account username"
NOT_A_MEMBER = "Service account is not a project member"
WRONG_PROJECT = "Credentials in request did not match project_id URL parameter"
INVALID_SECRET = (
    "Unauthorized, invalid project secret. See docs for more information: "  # noqa: S105  # Not one.
    "https://developer.mixpanel.com/reference/authentication#project-secret"
)

# Guess: the documentation only says that project_id is needed.
PROJECT_ID_MISSING = "project_id URL parameter is required with a service account"

# Live: the import tool's probe of 2026-08-16; the one entry of failed_records, a plain string.
VERBS_REFUSED = (
    "identity events are not allowed when project is using simplified identity management"
)

# Guess: what the import tool's tests look for is the word "retention".
BEYOND_RETENTION = "'properties.time' is invalid: must be within the project's retention"

# Sourced: python, test_mixpanel.py.
BAD_DATA = "bad data"

# Guess, all of them: no text is published.
NOT_JSON = "request body is not valid JSON"
NOT_GZIP = "request body is not valid gzip"
NOT_A_LIST = "request body must be a JSON array of events"
EMPTY_LIST = "request body must contain at least one event"
TOO_MANY = "request exceeds max limit of {limit} records"
NOT_FOUND = "not found"
NOT_ALLOWED = "method not allowed"

# Why something is answered with success and not stored. Our own words, for the page: the service
# says nothing.
IGNORED = "$ignore is set"
UNKNOWN_TOKEN = "no project has this token"  # noqa: S105  # Not one.
TOO_OLD = "older than 5 days; /import takes it"
HOT_SHARD = "more events of one distinct_id on one day than the limit; stored as $hotshard_events"
NOT_A_UUID = "$anon_id is not a UUID of version 4; nothing was merged"
ALREADY_MERGED = "this id belongs to another user already; nothing was merged"
IDS_MISSING = "one of its two ids is missing; nothing was merged"
MERGE_IS_IMPORTED = "$merge is for /import only; nothing was merged"
CLUSTER_FULL = "a user can have 500 ids; nothing was merged"
NO_CREDENTIALS = "a form without credentials"

# The words that stand beside a code in `status`. Sourced: openapi/ingestion.openapi.yaml for 200,
# 400, 401, 413 and 429; the others follow HTTP.
STATUS_WORDS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Request Entity Too Large",
    429: "Too Many Requests",
}
