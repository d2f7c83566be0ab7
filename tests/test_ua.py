"""
Real user agents, read by the real library, under Mixpanel's names.
"""

from __future__ import annotations

import pytest

from mixpanel_export._web import agent

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/124.0.0.0 Safari/537.36",
            {"$browser": "Chrome", "$browser_version": 124.0, "$os": "Windows"},
        ),
        (
            (
                f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/124.0.0.0 Safari/537.36"
                " Edg/124.0.2478.51"
            ),
            {"$browser": "Microsoft Edge", "$browser_version": 124.0, "$os": "Windows"},
        ),
        (
            "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0",
            {"$browser": "Firefox", "$browser_version": 125.0, "$os": "Linux"},
        ),
        (
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15"
                " (KHTML, like Gecko) Version/17.4.1 Safari/605.1.15"
            ),
            {"$browser": "Safari", "$browser_version": 17.4, "$os": "Mac OS X"},
        ),
        (
            (
                "Mozilla/5.0 (iPad; CPU OS 16_3 like Mac OS X) AppleWebKit/605.1.15"
                " (KHTML, like Gecko) CriOS/120.0.6099.119 Mobile/15E148 Safari/604.1"
            ),
            {
                "$browser": "Chrome iOS",
                "$browser_version": 120.0,
                "$os": "iOS",
                "$device": "iPad",
            },
        ),
        (
            (
                f"Mozilla/5.0 (Linux; Android 14; SM-S918B) {WEBKIT} SamsungBrowser/25.0"
                " Chrome/121.0.0.0 Mobile Safari/537.36"
            ),
            {
                "$browser": "Samsung Internet",
                "$browser_version": 25.0,
                "$os": "Android",
                "$device": "Android",
            },
        ),
        ("curl/8.5.0", {"$browser": "curl", "$browser_version": 8.5}),
        ("", {}),
        ("\x00\ud83d" * 1_000, {}),
    ],
)
def test_what_people_browse_with_is_known(text: str, found: dict[str, object]) -> None:
    """
    The names that a report shows for events from browsers, too.
    """
    assert agent(text) == found
