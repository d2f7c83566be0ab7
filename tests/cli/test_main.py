"""
The command line as a whole: what it teaches, and what it says when an extra is missing.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

import mixpanel_export

# Runs the command line in a Python that cannot import a module.
WITHOUT = """
import sys
sys.modules[sys.argv.pop(1)] = None
from mixpanel_export.cli import main
main()
"""

# Asks for the end while the command line is being loaded.
INTERRUPTED = """
import builtins, sys
plain = builtins.__import__
def interrupted(name, *args):
    if name == "click":
        raise KeyboardInterrupt
    return plain(name, *args)
builtins.__import__ = interrupted
from mixpanel_export.cli import main
main()
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """
    Run this Python, and wait for its end.
    """
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_shows_how_to_begin(option: str) -> None:
    """
    The help names all commands and the two ways to use them that a newcomer needs.
    """
    ran = run("-m", "mixpanel_export", option)

    assert ran.returncode == 0
    assert "mixpanel-export demo\n" in ran.stdout
    assert "MIXPANEL_BASE_URL=http://127.0.0.1:8787" in ran.stdout
    commands = ran.stdout.partition("Commands:\n")[2].partition("\n\n")[0]
    assert [line.split()[0] for line in commands.splitlines()] == [
        "demo",
        "emulator",
        "check",
        "explain",
        "import",
        "run",
        "spool",
        "tail",
    ]


@pytest.mark.parametrize(
    "command", ["demo", "emulator", "check", "explain", "import", "run", "spool", "tail"]
)
def test_each_command_explains_itself(command: str) -> None:
    """
    Each command has a help of its own under its own name.
    """
    ran = run("-m", "mixpanel_export", command, "--help")

    assert ran.returncode == 0
    assert ran.stdout.startswith(f"Usage: mixpanel-export {command} [OPTIONS]")


def test_version() -> None:
    """
    `--version` says the version of the package.
    """
    ran = run("-m", "mixpanel_export", "--version")

    assert ran.returncode == 0
    assert mixpanel_export.__version__ in ran.stdout


def test_an_unknown_command_is_an_error() -> None:
    """
    A typing error gets the usual message and the status of wrong usage.
    """
    ran = run("-m", "mixpanel_export", "dmeo")

    assert ran.returncode == 2
    assert "No such command 'dmeo'" in ran.stderr


@pytest.mark.parametrize(
    ("missing", "command", "extra"),
    [
        ("click", "--help", "mixpanel-export[cli]"),
        ("rich", "demo", "mixpanel-export[cli,emulator]"),
        ("rich", "spool ls .", "mixpanel-export[cli]"),
        ("rich", "check --offline", "mixpanel-export[cli]"),
        ("rich", "explain {}", "mixpanel-export[cli]"),
        ("rich", "import -", "mixpanel-export[cli]"),
        ("fsspec", "import --dry-run s3://bucket/a", "mixpanel-export[files]"),
        ("starlette", "demo", "mixpanel-export[cli,emulator]"),
        ("uvicorn", "emulator", "mixpanel-export[emulator]"),
        ("rich", "run true", "mixpanel-export[cli,emulator]"),
        ("uvicorn", "run true", "mixpanel-export[cli,emulator]"),
    ],
)
def test_a_missing_extra_is_named(missing: str, command: str, extra: str) -> None:
    """
    Without a package of an extra a command says what to install, without traceback, and fails.
    """
    ran = run("-c", WITHOUT, missing, *command.split())

    assert ran.returncode == 1
    assert missing in ran.stderr
    assert extra in ran.stderr
    assert "Traceback" not in ran.stderr


def test_commands_that_need_less_work_without_the_rest() -> None:
    """
    A missing package of one command does not stand in the way of the others, nor of the help.
    """
    assert run("-c", WITHOUT, "rich", "emulator", "--help").returncode == 0
    assert run("-c", WITHOUT, "starlette", "--help").returncode == 0


def test_a_broken_package_is_not_taken_for_a_missing_one() -> None:
    """
    Only click's own absence is explained away; any other failed import keeps its traceback.
    """
    ran = run("-c", WITHOUT, "mixpanel_export._context", "--help")

    assert ran.returncode == 1
    assert "mixpanel_export._context" in ran.stderr
    assert "[cli]" not in ran.stderr


def test_ctrl_c_during_the_start_is_silent() -> None:
    """
    Ctrl-C before a command has begun ends the process as shells expect it, without traceback.
    """
    ran = run("-c", INTERRUPTED)

    assert ran.returncode == 130
    assert ran.stderr == ""
