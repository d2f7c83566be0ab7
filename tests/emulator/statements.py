"""
Statements about Mixpanel's ingestion API: what an emulator of it has to do.

Each has a number, by which it is named wherever it is fulfilled or tested: in the rows of `_rules`,
in the cases of ``test_conformance_*.py`` (``c33``, ``c39-seconds``), in the names of tests
(``test_c34_…``). Behind the dash is where it was read, and how well it is known:

- *sourced*: in Mixpanel's documentation, its OpenAPI files or an official library relying on it;
- *live*: somebody wrote down what the running service answered;
- *third parties* do it so; *guess*: nothing is published, and nothing should depend on it.

Pages without an address are those of github.com/mixpanel/docs, 2026-08-21: *import page* is
``reference/import-events.mdx``, *dedupe page* ``reference/event-deduplication.mdx``. Names of
languages are Mixpanel's libraries, *sheets* is its add-on for spreadsheets, *import tool* is
github.com/ak--47/mixpanel-import, *w6w-apps* github.com/segevsh/w6w-apps, *krenalis*
github.com/krenalis/krenalis, *langfuse* github.com/langfuse/langfuse. A number after ``#`` is that
of an issue.

Unless a statement says otherwise, a request carries a valid token in its header and JSON in its
body, and the project is on Simplified ID Merge.
"""

from __future__ import annotations

import re

# Why a statement is not fulfilled.
UNMET = {
    2: (
        "the emulator speaks plain HTTP, on loopback: every client would have to trust its "
        "certificate first"
    ),
}

_TEXT = r"""
# Transport and routing
1. POST /import, /track, /engage, /groups exist on all three residency hosts. — OpenAPI, sourced
2. Plain HTTP calls are refused. — docs `reference/authentication.mdx`, sourced (mode, e.g. 403 or
     closed port: guess)
3. Fragments never reach the server; `/engage` serves every profile operation, picked by the key in
     the record. — OpenAPI + HTTP, sourced
4. Unknown path → 404. — guess
5. GET /import → 405 or 404. — guess
6. GET /track?data=<base64 JSON> behaves as POST with the form field. — node, sourced
7. `Content-Encoding: gzip` on /import is decoded, and limits count the decoded size. — import page,
     sourced
8. `Content-Encoding: gzip` on /track is accepted. — `reference/track-event.mdx`, sourced
9. `Content-Encoding: gzip` on /engage is not supported. — `reference/profile-set.mdx`, sourced
     (answer: guess — status 0 or 400)
10. gzip header with a body that is not gzip → 400. — guess
11. NDJSON on /import with n lines equals an array of n. — import page, sourced
12. A blank last NDJSON line is ignored. — guess
13. An NDJSON body of one line is accepted. — docs integration sample, sourced
14. Form body `data=<JSON>` on /import is accepted and answered in the lenient shape; `verbose` and
     `ip` may sit in the form body as well as in the query. — python, sourced
15. Form body `data=` on /track takes plain JSON or base64 JSON. — python, ruby, node, sourced
16. /track takes a JSON array as application/json. — OpenAPI, go, sourced
17. /track takes a single object as well as an array. — python, identity OpenAPI sample, sourced

# Authentication
18. /import with Basic `TOKEN:` and no project_id, known token → processed. — import page, langfuse,
     sourced
19. /import with service account + matching project_id → processed. — import page, sourced
20. /import with service account and no project_id → refused 401/400. — import page says it is
     required, sourced (code guess)
21. /import with a JSON body and no Authorization → 401. — OpenAPI, sourced (form body with only
     `api_key`: status 1 and nothing stored — mixpanel-ruby #106, mixpanel-python #88, live,
     2018–2020)
22. 401 body has `code` 401, `error` text, `status` "Unauthorized". — OpenAPI, sourced
23. Unknown service-account user → error "Not a valid service account username". — sheets, w6w-apps,
     live
24. Known account, foreign project → error containing "not a project member". — sheets, live
25. Secret not matching project_id → "Credentials in request did not match project_id URL
     parameter". — sheets, live
26. Unknown token as Basic user on /import → 401. — guess
27. Basic value given as plain text rather than base64 is accepted. —
     `reference/service-accounts.mdx`, sourced
28. Project secret as Basic user works until 2027-03-03. — `reference/project-secret.mdx`, sourced
29. /track with any non-empty token → status 1 even if the token is unknown; the event is not
     stored. — w6w-apps, mixpanel-node #59, live
30. /track without token, verbose=1 → 200, status 0, error "token, missing or empty". — issue
     reports, live
31. /engage without `$token` but with a valid Basic header → 200, status 0, "$token, missing or
     empty". — w6w-apps, live
32. Auth is checked before body validation (so `[{}]` is a credential probe). — sheets, live

# /import strict=1: success
33. n valid events → 200 and exactly `code` 200, `num_records_imported` n, `status` "OK". — OpenAPI,
     sourced
34. The same batch twice → both times 200 with n imported. — dedupe page + import tool probe, live
35. After 34, a deduplicated view keyed on (event, time, distinct_id, $insert_id) shows n. — dedupe
     page, sourced
36. Equal tuple except `time` on the same day: two in the query view; may become one after
     compaction. — dedupe page, sourced
37. `distinct_id: ""` → accepted. — import page, sourced
38. distinct_id absent, `$device_id`+`$user_id` present, Simplified → 200. — import tool validators,
     live
39. `time` in seconds and in milliseconds are both accepted and normalise to the same instant. —
     import page, sourced
40. `time` 30 minutes ahead → 200. — import page, sourced; stored value is clamped to now guess
41. `$insert_id` of 36 alphanumerics/hyphens → accepted. — import page, sourced
42. `$insert_id` "whose" (not a UUID) → accepted. — import tool validators, live
43. 2000 events → 200 with 2000. — import page, sourced
44. A string of 300 characters → 200, stored value cut at 255. — import page, sourced
45. Property name of 300 characters → 200, name cut at 255. — events-and-properties page, sourced
46. Nesting of 5 levels → 200. — docs-legacy PR #2197, sourced (contradicts docs)
47. `ip` present → stored event has no `ip`, gains geo fields when resolvable. — import page,
     sourced
48. `ip: "0"` → no geo fields. — import page, sourced
49. Client-supplied `$city`/`$region`/`mp_country_code` win over `ip`. — geolocation page, sourced
50. Stored events carry `$import: true`, `$mp_api_endpoint`, `$mp_api_timestamp_ms`,
     `mp_processing_time_ms`, `$mp_event_size`. — default-properties page, sourced
51. `$ignore: true` → event counted/answered as success and not stored. — bot-traffic page, sourced
     (whether it is in `num_records_imported`: guess)
52. `$ignore: ""` or `false` → stored. — bot-traffic page, sourced
53. `token` inside properties is optional with header auth. — HTTP quickstart, w6w-apps, live
54. Unknown properties of any JSON type are kept. — data-type page, sourced

# /import strict=1: failures
55. Any invalid event → HTTP 400; `error` is "some data points in the request failed validation";
     `status` "Bad Request"; `code` 400. — import page, go test, sourced
56. Valid siblings are stored and `num_records_imported` is their count. — import page, sourced
57. `failed_records` has one row per failed event. — import page, sourced
58. Each row has `index`, `insert_id`, `field`, `message`. — OpenAPI, mixpanel-utils #40, live
59. `index` is zero-based. — import page sample, mixpanel-utils #40, live
60. `insert_id` echoes the sent value, `""` or absent if none was sent. — echo, live, none guess
61. Event name missing or blank → field `event`, "'event' must not be missing or blank". — import
     tool, go, live
62. `time` missing → "'properties.time' is invalid: must not be missing", one row per event. —
     krenalis test, live
63. `time` 7 h ahead → "'properties.time' is invalid: must not be in the future". — import tool,
     live
64. `time` before 1971-01-01 → rejected. — import page, sourced (text guess)
65. `time` not numeric → "'properties.time' is invalid: must be specified as seconds since epoch".
     — OpenAPI, sourced
66. distinct_id missing, Original project → "'properties.distinct_id' is invalid: must not be
     missing". — import tool, live
67. distinct_id on the disallowed list → rejected, field `properties.distinct_id`. — import page,
     sourced (text guess)
68. Comparison in 67 ignores case. — import tool, langfuse, third parties
69. `lmy47d` is disallowed too. — import tool, langfuse, third parties
70. `$insert_id` missing → rejected. — import page, sourced (text guess)
71. `$insert_id` with `:` → field `$insert_id`, "'$insert_id' is invalid: must only contain
     alphanumeric or hyphen '-' characters". — mixpanel-utils #40, live
72. `$insert_id` of 37 bytes → rejected. — import page, sourced (text guess)
73. `$insert_id` "null" → rejected. — import page, sourced (text guess)
74. String with invalid UTF-8 → "properties.<name> is invalid: string should be valid utf8". —
     import page, sourced
75. An event with two faults yields one row naming the first. — "one row per failed event" sourced,
     order guess
76. All invalid → 400 with `num_records_imported` 0. — import tool, live
77. `$identify`/`$create_alias`/`$merge` to a Simplified project → 400, whole batch refused,
     `failed_records` a list of one string, 0 imported. — import tool probe, live
78. The same to an Original project → 200. — import tool probe, live
79. `$merge` with other than two ids → rejected. — identity OpenAPI, sourced (code guess)
80. 255 or more properties → rejected. — import page requirement, sourced, consequence guess
81. Array of 255 or more elements → rejected. — same, guess
82. Event ≥ 1 MB → rejected. — same, guess
83. Event older than the project's retention → rejected with text containing "retention" (off by
     default in the emulator). — import tool, live, wording guess
84. `properties` absent or not an object → rejected. — OpenAPI, sourced, text guess
85. Body is not JSON (e.g. contains `NaN`) → 400 for the request, nothing imported. — guess
86. Empty array → 400. — OpenAPI minItems, sourced, code guess
87. 2001 events → refused, nothing imported. — limit, sourced, code (413 or 400) guess
88. Body over 10 MB decoded → 413 with `code`, `error` "request exceeds max limit of … bytes",
     `status` "Request Entity Too Large", nothing imported. — OpenAPI, sourced, number guess
89. Small gzip of an over-limit body → still 413. — "uncompressed" in import page, sourced

# Rate limiting and faults
90. Above the limit → 429 with `code` 429, the documented text, `status` "Too Many Requests";
     nothing imported. — OpenAPI, sourced
91. 429 carries no Retry-After unless the test asks for it. — absence of any source guess
92. Requests answered 400 count toward the limit. — import page, sourced
93. The window is a rolling minute per project, counting uncompressed bytes and events. — import
     page, sourced
94. Injected 500/502/503/504 may have HTML or empty bodies. — proxies, guess
95. An injected connection reset *after* storing, followed by a retry, must show no duplicate in
     the query view. — dedupe page, sourced

# /import lenient
96. strict absent equals strict=0. — an older import page; python relies on it, sourced
97. strict=0, no verbose → text "1" or "0". — java, sourced
98. strict=0, verbose=1, valid → `code` 200, `num_records_imported`, `status` 1 (integer). — go
     test, sourced
99. strict=0, verbose=1, `[{}]` → HTTP 200, the error text, 0 imported, `status` 0. — sheets, live
100. strict=0 and no `$insert_id` → stored with a generated one, never deduplicated. — dedupe page,
     sourced
101. strict=0 and no distinct_id → stored under a hash of the requester's address. — import page,
     sourced

# /track
102. Valid event → 200, text "1". — OpenAPI, sourced
103. verbose=1 → `{"error": null, "status": 1}`. — python, w6w-apps, live
104. Invalid → HTTP 200 with "0" or status 0. — OpenAPI, issues, live
105. `event` missing, verbose=1 → error "event, missing". — w6w-apps, live
106. Event older than 5 days → not stored. — `reference/track-event.mdx`, sourced; the answer is
     disputed: `0` in mixpanel-node #190, success in mixpanel-js #427 (`time: 123` vanished
     silently); guess: success
107. `time` absent → arrival time. — reserved-properties page, sourced
108. `$insert_id` absent → stored. — dedupe page, sourced
109. img=1 → image answer. — OpenAPI, sourced
110. callback=cb → `text/javascript`, calls cb. — OpenAPI, sourced
111. `ip=1` and no `ip` property → geo from the requester. — OpenAPI/reserved-properties, sourced

# /engage and /groups
112. `$set` twice → last value wins; `$set_once` keeps the first. — OpenAPI, sourced
113. `$add` on an absent property starts from 0; negative decrements. — OpenAPI, sourced
114. `$append` keeps duplicates, `$union` does not, `$remove` of an absent value is a no-op. —
     user-profiles page, OpenAPI, sourced
115. `$unset` takes an array of names. — OpenAPI, sourced
116. `$delete` removes the profile whatever its value; events stay. — OpenAPI, user-profiles page,
     sourced
117. Missing `$distinct_id` → 200, status 0, "$distinct_id, missing or empty". — reports, live
118. Invalid data → HTTP 200; only the body tells. — `reference/profile-set.mdx`, sourced
119. `$ignore_time: true` leaves `$last_seen`. — default-properties page, sourced
120. `ip=0` or `$ip:"0"` leaves the profile's geo fields alone. — OpenAPI, geolocation page, sourced
121. `$set` that would exceed 2000 properties fails. — user-profiles page, sourced (shape guess)
122. Group record with `$distinct_id` → rejected. — mixpanel-swift #539, sourced (shape guess)
123. Group record needs `$group_key` and `$group_id`. — OpenAPI, sourced
124. 2000 records accepted; 2001 refused. — limits pages, sourced (shape guess)

# Volume behaviour
125. The 200 001st event of a distinct_id for one event date is stored as `$hotshard_events` with
     distinct_id "" and the originals in `mp_original_*`; answer is unchanged. — hot-shard page,
     sourced (best-effort counter, exact threshold not guaranteed)
126. Events with distinct_id "" are never hot-sharded. — hot-shard page implies it, sourced
127. The 5001st distinct event name is stored. — events-and-properties page, sourced
"""

STATEMENTS = {
    int(number): " ".join(text.split())
    for number, text in re.findall(r"^(\d+)\. ((?:.|\n )+)", _TEXT, re.MULTILINE)
}
