"""
What is installed is what was meant: files, metadata, a light import, kindness without extras.

`tests/run` lets this run beside the installed wheel, away from the checkout.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest

import mixpanel_export
from tests.plugins import EXTRAS

# Where the wheel was built from; only `tests/run` can say.
SOURCE = os.environ.get("MIXPANEL_EXPORT_TEST_SOURCE")

needs_wheel = pytest.mark.skipif(SOURCE is None, reason="only tests/run tests an installed wheel")

# Modules of the standard library that cost more than the rest of our import together, or start
# something. They are imported when they are needed.
HEAVY = {"asyncio", "concurrent.futures", "http.client", "multiprocessing", "sqlite3", "ssl"}

SHOW_WHAT_IMPORT_BRINGS = """
import sys
before = set(sys.modules)
import mixpanel_export
for name in sorted(set(sys.modules) - before):
    print(name, getattr(sys.modules[name], "__file__", None) or "built-in")
"""


@pytest.fixture
def installed() -> Distribution:
    """
    The distribution as `pip` sees it.
    """
    return distribution("mixpanel-export")


def requirements(installed: Distribution) -> dict[str, set[str]]:
    """
    Return the names of the distributions that each extra needs; ``""`` for those always needed.
    """
    found: dict[str, set[str]] = {}
    for each in installed.requires or []:
        name = re.match(r"[\w.-]+", each)
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", each)
        assert name
        found.setdefault(extra[1] if extra else "", set()).add(name[0])
    return found


def distributions_of(modules: Iterable[str]) -> set[str]:
    """
    Return the distributions that bring *modules*: with hyphens for dots and underscores.
    """
    return {module.replace(".", "-").replace("_", "-") for module in modules}


def run_python(
    *arguments: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """
    Run this Python, with warnings as errors.
    """
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@needs_wheel
def test_the_wheel_is_what_is_tested() -> None:
    """
    The package comes from site-packages and not from a checkout that happens to be importable.
    """
    assert Path(mixpanel_export.__file__).parts[-3:-1] == ("site-packages", "mixpanel_export")


@needs_wheel
def test_every_file_of_the_package_is_in_the_wheel(installed: Distribution) -> None:
    """
    Modules, py.typed and the emulator's page: what is in the source's folder is installed.
    """
    source = Path(SOURCE or "")
    package = source / "mixpanel_export"

    meant = {path.relative_to(source).as_posix() for path in package.rglob("*") if path.is_file()}
    found = {path.as_posix() for path in installed.files or []}

    assert "mixpanel_export/py.typed" in meant
    assert any(name.startswith("mixpanel_export/emulator/_page/") for name in meant)
    assert meant <= found


@needs_wheel
def test_nothing_else_is_in_the_wheel(installed: Distribution) -> None:
    """
    No tests, no examples at the top of someone's site-packages.
    """
    tops = {path.parts[0] for path in installed.files or [] if ".." not in path.parts}

    assert tops == {"mixpanel_export", f"mixpanel_export-{installed.version}.dist-info"}


@needs_wheel
def test_the_metadata_says_what_it_is(installed: Distribution) -> None:
    """
    Name, version, license, Python, and that it has types.
    """
    metadata = installed.metadata

    assert metadata["Name"] == "mixpanel-export"
    assert metadata["Version"] == mixpanel_export.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.10"
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])
    assert [path.name for path in installed.files or [] if path.name == "LICENSE"] == ["LICENSE"]


@needs_wheel
def test_the_core_needs_two_distributions(installed: Distribution) -> None:
    """
    Everything else is an extra.
    """
    assert requirements(installed)[""] == {"httpx", "orjson"}


@needs_wheel
def test_extras_are_those_that_the_tests_know(installed: Distribution) -> None:
    """
    Each extra brings the modules whose absence keeps its tests out of a run; ``all`` brings all.
    """
    needed = requirements(installed)
    extras = set(installed.metadata.get_all("Provides-Extra", []))

    assert extras == {*EXTRAS, "all"}
    assert {extra: needed[extra] for extra in EXTRAS} == {
        extra: distributions_of(modules) for extra, modules in EXTRAS.items()
    }
    everything = set().union(*map(distributions_of, EXTRAS.values()))
    assert needed["all"] in ({"mixpanel-export"}, everything)


@needs_wheel
def test_no_dependency_has_an_upper_bound(installed: Distribution) -> None:
    """
    A bound that proves wrong keeps fixes of others from our users.
    """
    allowed = re.compile(r"[\w.-]+(\[[\w,-]+\])?(>=[\w.]+)?")
    needed = [each.partition(";")[0].replace(" ", "") for each in installed.requires or []]

    assert [each for each in needed if not allowed.fullmatch(each)] == []


@needs_wheel
def test_the_command_is_the_command_line(installed: Distribution) -> None:
    """
    One script, and it is in a module of its own that the library does not import.
    """
    scripts = [each for each in installed.entry_points if each.group == "console_scripts"]

    assert [(each.name, each.value) for each in scripts] == [
        ("mixpanel-export", "mixpanel_export.cli:main")
    ]


@needs_wheel
def test_opentelemetry_finds_the_exporters(installed: Distribution) -> None:
    """
    By the name that one writes into OTEL_TRACES_EXPORTER and OTEL_LOGS_EXPORTER.
    """
    found = {each.group: each for each in installed.entry_points if each.name == "mixpanel"}

    assert {group: each.value for group, each in found.items()} == {
        "opentelemetry_traces_exporter": "mixpanel_export.otel:MixpanelSpanExporter",
        "opentelemetry_logs_exporter": "mixpanel_export.otel:MixpanelLogRecordExporter",
    }


@needs_wheel
def test_pytest_finds_the_fixtures(installed: Distribution) -> None:
    """
    By being installed.
    """
    found = [each for each in installed.entry_points if each.group == "pytest11"]

    assert [(each.name, each.value) for each in found] == [
        ("mixpanel_export", "mixpanel_export.pytest_plugin")
    ]


@pytest.mark.bare
def test_the_doors_without_their_extra_say_how_to_get_it() -> None:
    """
    An import error that names the extra.
    """
    ran = run_python("-c", "import mixpanel_export.otel")

    assert ran.returncode == 1
    assert "ImportError: mixpanel_export.otel needs" in ran.stderr
    assert "mixpanel-export[otel]" in ran.stderr


def test_import_is_light() -> None:
    """
    `import mixpanel_export` brings orjson and light modules of the standard library, no more.
    """
    # Coverage imports much itself, and that would hide ours.
    env = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}

    ran = run_python("-c", SHOW_WHAT_IMPORT_BRINGS, env=env)

    assert ran.stderr == ""
    brought = dict(line.split(" ", 1) for line in ran.stdout.splitlines())
    foreign = {name.partition(".")[0] for name, file in brought.items() if "site-packages" in file}
    assert foreign <= {"mixpanel_export", "orjson"}
    assert brought.keys() & HEAVY == set()


@pytest.mark.bare
def test_the_command_without_its_extra_says_how_to_get_it() -> None:
    """
    One line with what to install, no traceback, and a status that scripts understand.
    """
    ran = run_python("-m", "mixpanel_export")

    assert ran.returncode == 1
    assert "mixpanel-export[cli]" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.cli
def test_the_command_with_its_extra_shows_what_it_can() -> None:
    """
    The script that was installed and `python -m` are the same command.
    """
    script = Path(sys.executable).with_name("mixpanel-export")

    by_name = subprocess.run([script, "--help"], capture_output=True, text=True, check=True)
    by_module = run_python("-m", "mixpanel_export", "--help")

    assert by_module.returncode == 0
    assert "emulator" in by_name.stdout
    assert "emulator" in by_module.stdout
