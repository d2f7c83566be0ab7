"""
Emulators in processes of their own, shared by the tests that want the same options.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx
import pytest

from mixpanel_export.emulator import EmulatorProcess
from tests.emulator.api import Api, Run

if TYPE_CHECKING:
    from selenium import webdriver

    from tests.emulator.browser import Page


@pytest.fixture(scope="session")
def client() -> Iterator[httpx.Client]:
    """
    A client that no environment sends through a proxy.
    """
    with httpx.Client(trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture(scope="session")
def running(client: httpx.Client) -> Iterator[Run]:
    """
    Return the emulator with these options, started once and forgetful each time it is asked for.
    """
    known: dict[tuple[str, ...], EmulatorProcess] = {}

    def run(*args: str) -> Api:
        if args not in known:
            known[args] = EmulatorProcess(*args)
        known[args].reset()
        return Api(known[args], client)

    yield run
    for emulator in known.values():
        emulator.stop()


@pytest.fixture
def api(running: Run) -> Api:
    """
    An emulator without options.
    """
    return running()


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """
    A browser, shared by all tests that need one.
    """
    from tests.emulator.browser import start

    browser = start(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.quit()


@pytest.fixture
def page(api: Api, chromium: webdriver.Chrome) -> Iterator[Page]:
    """
    The page, whose console must stay clean whatever a test does.
    """
    from tests.emulator.browser import Page

    page = Page(chromium, api.emulator.url)
    yield page
    assert page.errors() == []
