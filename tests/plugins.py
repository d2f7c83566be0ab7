"""
Keep tests of extras that are not installed out of the run.

Three ways for a test to say what it needs:

- its folder or its file is named after an extra: ``tests/emulator/``, ``tests/test_cli.py``,
  ``tests/test_cli_import.py``. The file is not even imported without it, so it may import the
  extra's packages at its top;
- a marker with the extra's name, ``@pytest.mark.emulator``, for a single test in another file. It
  is skipped without the extra, and imports the extra's packages inside;
- ``@pytest.mark.bare`` is the opposite: the test needs an environment without any extra.

What is there is looked up, unless ``MIXPANEL_EXPORT_TEST_EXTRAS`` says what must be there: ``none``
or ``all``. Then anything else is an error: a broken environment must not pass for a thin one.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

VARIABLE = "MIXPANEL_EXPORT_TEST_EXTRAS"

# Each extra, and the modules that its distributions bring; tests/test_packaging.py compares them
# with the wheel's.
EXTRAS = {
    "celery": ("celery",),
    "cli": ("click", "rich"),
    "django": ("django",),
    "emulator": ("click", "starlette", "uvicorn"),
    "files": ("fsspec", "isal", "pyarrow"),
    "otel": ("opentelemetry.sdk",),
    "structlog": ("structlog",),
    "ua": ("ua_parser",),
}

# What tests need and users do not: groups of dependencies in pyproject.toml and their modules. They
# come with all extras, and have markers too.
GROUPS = {
    "runners": ("pytest_asyncio", "xdist"),
    "web": ("flask", "gunicorn", "redis"),
}
_ALL = EXTRAS | GROUPS

_TESTS = Path(__file__).parent
_present = pytest.StashKey[frozenset[str]]()


def needed(path: Path) -> str | None:
    """
    Return the extra that a test file or folder needs by its name or by that of its folder, or None.
    """
    inside = path.relative_to(_TESTS)
    folders = inside.parts if path.is_dir() else inside.parts[:-1]
    for extra in EXTRAS:
        if extra in folders:
            return extra
        if f"{inside.stem}_".startswith(f"test_{extra}_"):
            return extra
    return None


def is_there(module: str) -> bool:
    """
    Say whether a module, maybe inside a package, could be imported.
    """
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package is there
        return False


def look_around(promised: str | None) -> frozenset[str]:
    """
    Return the extras, and groups, that are installed.

    Args:
        promised: ``none`` or ``all`` of them must be; if None, there may be any.

    Raises:
        pytest.UsageError: If the promise is not kept, or is not one of these.
    """
    modules = sorted({module for modules in _ALL.values() for module in modules})
    found = {module for module in modules if is_there(module)}
    must_be = {"none": set(), "all": set(modules), None: found}.get(promised)
    if must_be is None:
        raise pytest.UsageError(f"{VARIABLE} must be 'none' or 'all', not {promised!r}")
    if found != must_be:
        wrong = "installed" if promised == "none" else "missing"
        names = ", ".join(sorted(found ^ must_be))
        raise pytest.UsageError(f"{VARIABLE} is {promised!r}, but {wrong}: {names}")
    return frozenset(extra for extra, modules in _ALL.items() if found.issuperset(modules))


def pytest_configure(config: pytest.Config) -> None:
    """
    Register a marker for each extra, and look which are there.
    """
    for extra in _ALL:
        config.addinivalue_line("markers", f"{extra}: needs the extra or group {extra!r}")
    config.stash[_present] = look_around(os.environ.get(VARIABLE))


def pytest_report_header(config: pytest.Config) -> str:
    """
    Say at the top of the run what is tested and what is not.
    """
    present = config.stash[_present]
    absent = _ALL.keys() - present
    without = f"; files that need {', '.join(sorted(absent))} are left out" if absent else ""
    return f"extras: {', '.join(sorted(present)) or 'none'}{without}"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """
    Leave alone what could not be imported: files, and folders, whose conftest.py comes first.
    """
    if not collection_path.is_relative_to(_TESTS):
        return None
    extra = needed(collection_path)
    return True if extra and extra not in config.stash[_present] else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """
    Mark what needs an extra by its place, and skip what cannot run.
    """
    present = config.stash[_present]
    for item in items:
        extra = needed(item.path) if item.path.is_relative_to(_TESTS) else None
        if extra:
            item.add_marker(extra)
        for name in sorted(_ALL.keys() - present):
            if item.get_closest_marker(name):
                item.add_marker(pytest.mark.skip(reason=f"needs {name!r}"))
        if present and item.get_closest_marker("bare"):
            item.add_marker(pytest.mark.skip(reason="needs an environment without extras"))
