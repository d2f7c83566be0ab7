"""
The public face: names that others rely on.
"""

from __future__ import annotations

import importlib

import pytest

import mixpanel_export


@pytest.mark.parametrize(
    "name", ["mixpanel_export", "mixpanel_export.delivery", "mixpanel_export.testing"]
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
