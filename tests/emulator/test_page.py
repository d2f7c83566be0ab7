"""
The page in a real browser.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.emulator.api import Api, event, events

pytestmark = pytest.mark.browser

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run"
    " --disable-background-networking --disable-component-update --disable-sync"
)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """
    A browser with an empty profile, shared by the tests of this file.
    """
    options = webdriver.ChromeOptions()
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Path("/usr/bin/chromedriver")
    service = webdriver.ChromeService(str(driver)) if driver.exists() else None
    browser = webdriver.Chrome(options=options, service=service)
    yield browser
    browser.quit()


class Page:
    """
    The emulator's page, looked at.
    """

    def __init__(self, browser: webdriver.Chrome, url: str) -> None:
        self.browser = browser
        browser.get_log("browser")  # type: ignore[no-untyped-call]  # selenium lacks it.
        browser.get(url)
        self.wait_for("#connection.good")

    def find(self, selector: str) -> list[WebElement]:
        """
        Return the elements that are there now.
        """
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def wait_for(self, selector: str, text: str = "", *, count: int | None = None) -> None:
        """
        Wait until elements show *text*; with *count*, until there are so many of them.
        """
        WebDriverWait(self.browser, 10, poll_frequency=0.02).until(
            lambda _: self._shows(selector, text, count), f"{selector} does not show {text!r}"
        )

    def _shows(self, selector: str, text: str, count: int | None) -> bool:
        script = "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)"
        texts = [one for one in self.browser.execute_script(script, selector) if text in one]
        return len(texts) == count if count is not None else bool(texts)

    def click(self, selector: str) -> None:
        """
        Click on the first of the elements.
        """
        self.find(selector)[0].click()

    def errors(self) -> list[object]:
        """
        Return what the console complains about.
        """
        entries = self.browser.get_log("browser")  # type: ignore[no-untyped-call]  # The same.
        return [entry for entry in entries if entry["level"] != "INFO"]


@pytest.fixture
def page(api: Api, chromium: webdriver.Chrome) -> Iterator[Page]:
    """
    The page, whose console must stay clean whatever a test does.
    """
    page = Page(chromium, api.emulator.url)
    yield page
    assert page.errors() == []


def test_an_event_is_seen_soon(api: Api, page: Page) -> None:
    """
    Name, user, properties and counts, without reloading.
    """
    api.imports([event("Order Placed", distinct_id="ada", plan="pro")], compressed=True)

    page.wait_for("td.event", "Order Placed")
    page.wait_for("td.user", "ada")
    page.wait_for("td.properties", "plan pro")
    page.wait_for("#imported .value", "1")
    page.wait_for("#requests .statuses", "200")


def test_a_failure_is_pinned(api: Api, page: Page) -> None:
    """
    It stays in view under a flood of valid events, with its culprit, and shows in the title.
    """
    api.imports([event("Culprit", time=1)])
    for _ in range(3):
        api.imports(events(300))

    page.wait_for("#imported .value", "900")
    page.wait_for("#failures summary", "must not be before 1971-01-01", count=1)
    page.click("#failures summary")
    page.wait_for("#failures pre", "Culprit")
    assert page.browser.title == "(1 rejected) Mixpanel emulator"


def test_markup_stays_text(api: Api, page: Page) -> None:
    """
    What an event contains is shown and never run.
    """
    attack = "<script>document.title = 'run'</script><img src=x onerror=\"document.title='run'\">"
    api.imports([event(attack, distinct_id=attack, **{attack: attack}), event(attack, time=1)])

    page.wait_for("td.event", attack)
    page.wait_for("#failures pre", "")
    page.click("td.event button")
    page.wait_for("tr.json pre", "<script>")
    assert page.find("main script, main img") == []
    assert "run" not in page.browser.title


def test_duplicates_are_marked(api: Api, page: Page) -> None:
    """
    The promise that users doubt most.
    """
    same = event("Twice")
    api.imports([same])
    api.imports([same])

    page.wait_for("#duplicates .value", "1")
    page.wait_for("td.event .badge", "duplicate", count=1)


def test_a_search_narrows_the_list(api: Api, page: Page) -> None:
    """
    Old events and new ones.
    """
    api.imports([event("Apple"), event("Pear")])
    page.wait_for("td.event", count=2)

    page.find("input")[0].send_keys("pear")

    page.wait_for("td.event", count=1)
    api.imports([event("Apple"), event("Pear Tree")])
    page.wait_for("td.event", "Pear Tree")
    page.wait_for("td.event", "Apple", count=0)


def test_a_pause_holds_the_list_and_loses_nothing(api: Api, page: Page) -> None:
    """
    Numbers go on; what arrived meanwhile is there afterwards.
    """
    api.imports([event("Before")])
    page.wait_for("td.event", "Before")

    page.click("#pause")
    api.imports([event("Meanwhile")])
    page.wait_for("#imported .value", "2")
    page.wait_for("#pause", "Resume (1 new)")
    page.wait_for("td.event", count=1)
    page.click("#pause")

    page.wait_for("td.event", "Meanwhile")
    page.wait_for("td.event", "Before")


def test_reset_empties_the_page(api: Api, page: Page) -> None:
    """
    The button forgets everything, and the page says how to begin.
    """
    api.imports([event(), event(time=1)])
    page.wait_for("#failures")

    page.click("header button")

    page.wait_for(".nothing", "Nothing has arrived yet")
    page.wait_for("#failures", count=0)
    assert api.emulator.stats()["imported"] == 0


def test_a_flood_stays_usable(api: Api, page: Page) -> None:
    """
    Ten thousand events later there are two hundred rows, and a click still works.
    """
    for _ in range(10):
        api.imports(events(1000), compressed=True)

    page.wait_for("#imported .value", "10,000")
    assert len(page.find("td.event")) <= 200
    page.click("td.event button")
    page.wait_for("tr.json pre", "distinct_id")


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_is_wider_than_the_window(api: Api, page: Page, width: int) -> None:
    """
    On a phone as on a screen.
    """
    long = "x" * 255
    api.imports([event(long, distinct_id=long, **{long: long}), event(insert_id="_" * 255)])
    screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}

    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    page.wait_for("td.event", long)
    page.wait_for("#failures")
    wide = page.browser.execute_script("return document.documentElement.scrollWidth")
    page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    assert wide <= width
