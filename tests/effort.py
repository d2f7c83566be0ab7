"""
How hard tests with made-up examples try.

With ``MIXPANEL_EXPORT_TEST_EFFORT=few`` they try a few examples each, which is for runs that look
for what differs between releases of Python and of dependencies, beside one run that tries all.
"""

from __future__ import annotations

import os

from hypothesis import settings

FEW = 15
VARIABLE = "MIXPANEL_EXPORT_TEST_EFFORT"


def examples(count: int) -> int:
    """
    Return how many examples to try where *count* are wanted.
    """
    return min(count, FEW) if os.environ.get(VARIABLE) == "few" else count


def steadily(count: int) -> settings:
    """
    Return settings to try *count* examples, the same on every run.
    """
    return settings(max_examples=examples(count), deadline=None, derandomize=True)
