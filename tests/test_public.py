"""
The public face: names that others rely on.
"""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import mixpanel_export


@pytest.mark.parametrize(
    "name",
    [
        "mixpanel_export",
        "mixpanel_export.asgi",
        "mixpanel_export.delivery",
        "mixpanel_export.pytest_plugin",
        "mixpanel_export.testing",
        "mixpanel_export.wsgi",
        pytest.param("mixpanel_export.celery", marks=pytest.mark.celery),
        pytest.param("mixpanel_export.django", marks=pytest.mark.django),
    ],
)
def test_all_is_sorted_and_complete(name: str) -> None:
    """
    ``__all__`` lists what is there, in order, each with a docstring of its own or its type's.
    """
    module = importlib.import_module(name)

    assert module.__all__ == sorted(module.__all__)
    assert all(getattr(module, each).__doc__ for each in module.__all__)


@pytest.mark.otel
def test_the_doors_for_opentelemetry_are_these() -> None:
    """
    As above; importing them needs the extra.
    """
    test_all_is_sorted_and_complete("mixpanel_export.otel")


class Without:
    """An importer to whom one package is unknown, as to an environment without it."""

    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(self, name: str, *_: object) -> None:
        if name == self._package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.mark.parametrize(
    ("name", "missing"),
    [("celery", "celery"), ("django", "asgiref"), ("django", "django")],
)
def test_a_door_whose_friend_is_missing_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, name: str, missing: str
) -> None:
    """
    By the name of the extra, and without the traceback of somebody else's import.
    """
    monkeypatch.delitem(sys.modules, f"mixpanel_export.{name}", raising=False)
    for module in [module for module in sys.modules if module.partition(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(sys, "meta_path", [Without(missing), *sys.meta_path])

    with pytest.raises(ModuleNotFoundError, match=rf"mixpanel-export\[{name}\]") as caught:
        importlib.import_module(f"mixpanel_export.{name}")

    assert caught.value.name in {missing, "asgiref"}  # Without Django both are missing.
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        pytest.param("celery", "celery.signals", marks=pytest.mark.celery),
        pytest.param("django", "django.http", marks=pytest.mark.django),
    ],
)
def test_a_friend_that_is_broken_is_not_said_to_be_missing(
    monkeypatch: pytest.MonkeyPatch, name: str, broken: str
) -> None:
    """
    Installing it again would not help; the error is the one that Python gives.
    """
    friend, _, part = broken.partition(".")
    monkeypatch.delattr(importlib.import_module(friend), part, raising=False)
    monkeypatch.delitem(sys.modules, f"mixpanel_export.{name}", raising=False)
    monkeypatch.setitem(sys.modules, broken, None)

    with pytest.raises(ImportError) as caught:
        importlib.import_module(f"mixpanel_export.{name}")

    assert "mixpanel-export[" not in str(caught.value)


def test_what_nobody_asked_for_is_not_imported() -> None:
    """
    The package by itself is next to nothing, and binding needs no pipeline.
    """
    program = """
import sys
import mixpanel_export
print(*sorted(name for name in sys.modules if name.startswith("mixpanel_export.")))
mixpanel_export.bind(plan="pro")
print("mixpanel_export._pipeline" in sys.modules, "orjson" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )

    assert (done.stdout, done.stderr) == ("\nFalse False\n", "")


def test_each_name_is_there_and_no_other() -> None:
    """
    They are found when they are asked for, once; others are an error as anywhere.
    """
    assert sorted(mixpanel_export._WHERE) == mixpanel_export.__all__
    assert set(mixpanel_export.__all__) <= set(dir(mixpanel_export))
    assert mixpanel_export.bind is vars(mixpanel_export)["bind"]
    with pytest.raises(AttributeError, match="no attribute 'track'"):
        _ = mixpanel_export.track  # type: ignore[attr-defined] # that is the point


def test_the_errors_are_one_family() -> None:
    """
    One ``except`` catches all that this package raises.
    """
    errors = (
        mixpanel_export.SettingsError,
        mixpanel_export.TransportError,
        mixpanel_export.SpoolError,
    )

    assert all(issubclass(error, mixpanel_export.MixpanelExportError) for error in errors)
