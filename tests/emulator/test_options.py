"""
Options that cannot work are refused with the option, the value and the fix.
"""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from mixpanel_export.emulator import EmulatorOptions
from mixpanel_export.emulator._command import emulator
from tests.emulator.api import Run, event


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"port": 65536}, "port must be between 0 and 65535, not 65536"),
        ({"max_stored": -1}, r"max_stored must be 0 \(all\) or more, not -1"),
        ({"tokens": ("",)}, "token must not be empty"),
        ({"service_account": "svc", "project_id": "1"}, "must be USER:SECRET"),
        ({"service_account": "svc:", "project_id": "1"}, "must be USER:SECRET"),
        ({"service_account": "svc:pw"}, "needs project_id"),
        ({"identity": "new"}, "identity must be 'simplified' or 'original', not 'new'"),
        ({"hot_shard_events": -1}, r"hot_shard_events must be 0 \(no limit\) or more, not -1"),
        ({"retention_days": -1}, r"retention_days must be 0 \(for ever\) or more, not -1"),
        ({"old_track_events": "1"}, "old_track_events must be 'success' or 'failure', not '1'"),
        ({"max_events_per_minute": -1}, "max_events_per_minute must be"),
        ({"rate_window": 0.0}, "rate_window must be"),
        ({"rate_window": float("nan")}, "rate_window must be"),
        ({"max_request_bytes": 0}, "max_request_bytes must be"),
    ],
)
def test_wrong_options_are_explained(options: dict[str, Any], complaint: str) -> None:
    """
    At construction, before anything listens.
    """
    with pytest.raises(ValueError, match=complaint):
        EmulatorOptions(**options)


def test_the_command_explains_them_too() -> None:
    """
    As an error of usage, without a traceback.
    """
    result = CliRunner().invoke(emulator, ["--max-stored", "-1"])

    assert result.exit_code == 2
    assert "max_stored must be" in result.output


def test_secrets_are_not_in_the_repr() -> None:
    """
    Options may be logged.
    """
    options = EmulatorOptions(
        tokens=("hush",), service_account="u:hush", project_id="1", api_secret="hush"
    )

    assert "hush" not in repr(options)


def test_the_environment_does_not_matter(monkeypatch: pytest.MonkeyPatch, running: Run) -> None:
    """
    What configures the library does not configure the emulator.
    """
    for name in ("TOKEN", "PORT", "HOST", "MAX_STORED", "API_SECRET"):
        monkeypatch.setenv(f"MIXPANEL_{name}", "7")
        monkeypatch.setenv(f"EMULATOR_{name}", "7")

    api = running("--max-stored", "9")

    assert api.imports([event()]).status_code == 200
