"""
Noticing a fork.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from unittest import mock

import pytest

from mixpanel_export import _home


def forked(home: _home.Home) -> int:
    """
    Return what *home* says in a child that C code has forked, so that no hook of Python ran.
    """
    child: int = ctypes.CDLL(None).fork()
    if child == 0:
        os._exit(home[0])
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("platform", [sys.platform, "elsewhere"])
def test_a_child_is_somewhere_else(platform: str) -> None:
    """
    By the kernel's help where there is some, and by the process's number.
    """
    with mock.patch.object(sys, "platform", platform):
        home = _home.settle()

    assert (home[0], forked(home), home[0]) == (1, 0, 1)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has it")
def test_a_kernel_that_does_not_help_is_no_error() -> None:
    """
    Older ones do not know of it.
    """
    page = mock.MagicMock(spec=mmap.mmap)
    page.madvise.side_effect = OSError(22, "Invalid argument")
    with mock.patch.object(mmap, "mmap", return_value=page):
        home = _home.settle()

    assert home is not page
    assert home[0] == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has it")
def test_no_room_for_a_page_is_no_error() -> None:
    """
    A child finds out about its fork on the caller's thread, where nothing may be raised.
    """
    with mock.patch.object(mmap, "mmap", side_effect=OSError(12, "Cannot allocate memory")):
        home = _home.settle()

    assert home[0] == 1
