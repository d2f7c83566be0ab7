"""
Runs of pytest as our users have them: in a process and a folder of their own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

# Where the package is not installed, as in a checkout, pytest has to be told of the fixtures.
INSTALLED = bool(entry_points(group="pytest11", name="mixpanel_export"))
OURS = () if INSTALLED else ("-p", "mixpanel_export.pytest_plugin")

# Other plugins that may be here.
ALONE = ("-p", "no:anyio", "-p", "no:asyncio", "-p", "no:xdist")


def run_pytest(
    folder: Path, *arguments: str, configuration: str = ""
) -> subprocess.CompletedProcess[str]:
    """
    Run the tests in *folder* with warnings as errors, away from this project's configuration.

    Args:
        folder: Where they are.

        arguments: What else pytest is told.

        configuration: Lines of `pytest.ini`.
    """
    (folder / "pytest.ini").write_text(f"[pytest]\n{configuration}\n", encoding="utf-8")
    foreign = ("MIXPANEL_", "PYTEST_")
    clean = {name: text for name, text in os.environ.items() if not name.startswith(foreign)}
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-W", "error", "-rA", "-p", "no:cacheprovider"),
            *(*OURS, *arguments),
        ],
        cwd=folder,
        env=clean,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def outcomes(ran: subprocess.CompletedProcess[str], file: str) -> dict[str, list[str]]:
    """
    Return the tests in *file* by what became of them: ``PASSED``, ``FAILED``, ``ERROR``.
    """
    found: dict[str, list[str]] = {}
    for line in ran.stdout.splitlines():
        if match := re.match(rf"(PASSED|FAILED|ERROR) {re.escape(file)}::(\S+)", line):
            found.setdefault(match[1], []).append(match[2])
    return found
