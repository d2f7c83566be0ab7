"""
What can be raised: one tree, small, and free of credentials.
"""

from __future__ import annotations

import inspect

import pytest

import mixpanel_export
from mixpanel_export import _exceptions
from mixpanel_export._exceptions import (
    MixpanelExportError,
    SettingsError,
    SpoolError,
    TransportError,
)

ERRORS = [
    each
    for _, each in inspect.getmembers(_exceptions, inspect.isclass)
    if issubclass(each, Exception)
]


@pytest.mark.parametrize("error", ERRORS)
def test_one_base_catches_everything(error: type[Exception]) -> None:
    """
    Whoever catches `MixpanelExportError` catches all that this package raises.
    """
    assert issubclass(error, MixpanelExportError)


@pytest.mark.parametrize("error", ERRORS)
def test_the_tree_is_drawn_and_public(error: type[Exception]) -> None:
    """
    Each error stands in the tree of the module's docstring and in the package's root.
    """
    assert _exceptions.__doc__ is not None
    assert error.__name__ in _exceptions.__doc__
    assert getattr(mixpanel_export, error.__name__) is error


def test_a_wrong_setting_is_a_value_error() -> None:
    """
    Code that knows nothing of this package catches a wrong setting as what it is.
    """
    assert issubclass(SettingsError, ValueError)


@pytest.mark.parametrize("error", [TransportError, SpoolError])
def test_trouble_with_the_world_is_no_value_error(error: type[Exception]) -> None:
    """
    A network or a disk that fails is not the caller's mistake.
    """
    assert not issubclass(error, ValueError)


def test_a_transport_error_is_careful_by_default() -> None:
    """
    Unless it is told otherwise, the request may have reached the server.
    """
    error = TransportError("connection reset")

    assert (error.reason, error.sent, error.stale) == ("connection reset", True, False)


def test_a_transport_error_says_what_happened() -> None:
    """
    The reason is its text, and what is known of the request stands beside it.
    """
    error = TransportError("closed while idle", sent=False, stale=True)

    assert str(error) == error.reason == "closed while idle"
    assert (error.sent, error.stale) == (False, True)
