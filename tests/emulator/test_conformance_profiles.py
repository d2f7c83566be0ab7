"""
Statements 112 to 127: profiles, and volume. What the operations do is in ``test_profiles.py``.
"""

from __future__ import annotations

from tests.emulator.cases import TEXT_0, Case

CASES = [
    Case(
        "c117",
        lambda api: api.send("/engage?verbose=1", '[{"$token": "T", "$set": {}}]'),
        200, {"error": "$distinct_id, missing or empty", "status": 0},
    ),
    Case("c118", lambda api: api.send("/engage", "nonsense"), 200, TEXT_0),
    Case("c118-add", lambda api: api.engage({"$add": {"n": "x"}}), 200, {"status": 0}),
    Case(
        "c122",
        lambda api: api.groups({"$set": {"a": 1}, "$distinct_id": "u"}), 200, {"status": 0},
    ),
    Case("c123", lambda api: api.groups({"$set": {"a": 1}}), 200, {"error": None, "status": 1}),
    Case(
        "c123-key", lambda api: api.groups({"$set": {}, "$group_key": ""}), 200,
        {"error": "$group_key, missing or empty", "status": 0},
    ),
    Case(
        "c123-id", lambda api: api.groups({"$set": {}, "$group_id": ""}), 200,
        {"error": "$group_id, missing or empty", "status": 0},
    ),
    Case("c124", lambda api: api.engage(*[{"$set": {"n": n}} for n in range(2000)]), 200,
         {"status": 1}),
    Case("c124-more", lambda api: api.engage(*[{"$set": {"n": n}} for n in range(2001)]), 200,
         {"status": 0}),
]  # fmt: skip
