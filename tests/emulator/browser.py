"""
The emulator's page in a real browser, looked at and touched as somebody would.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run"
    " --disable-background-networking --disable-component-update --disable-sync"
)


def start(profile: Path) -> webdriver.Chrome:
    """
    Start Chromium with an empty profile.
    """
    options = webdriver.ChromeOptions()
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={profile}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Path("/usr/bin/chromedriver")
    service = webdriver.ChromeService(str(driver)) if driver.exists() else None
    browser = webdriver.Chrome(options=options, service=service)
    browser.set_page_load_timeout(20)
    # Without a window to ask in, the clipboard is closed unless it was opened.
    allowed = {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    browser.execute_cdp_cmd("Browser.grantPermissions", allowed)
    return browser


class Page:
    """
    The page of the emulator at *url*, fresh.
    """

    def __init__(self, browser: webdriver.Chrome, url: str) -> None:
        self.browser = browser
        self.url = url
        self.errors()
        # Another page first: a new address that differs only behind the "#" would load nothing.
        browser.get("about:blank")
        browser.get(url)
        self.wait_for("#connection.good")

    def find(self, selector: str) -> list[WebElement]:
        """
        Return the elements that are there now.
        """
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        """
        Return what the elements say.
        """
        script = "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)"
        return cast("list[str]", self.run(script, selector))

    def wait_for(self, selector: str, text: str = "", *, count: int | None = None) -> None:
        """
        Wait until elements show *text*; with *count*, until so many of them do.
        """
        WebDriverWait(self.browser, 10, poll_frequency=0.02).until(
            lambda _: self._shows(selector, text, count), f"{selector} does not show {text!r}"
        )

    def _shows(self, selector: str, text: str, count: int | None) -> bool:
        texts = [one for one in self.texts(selector) if text in " ".join(one.split())]
        return len(texts) == count if count is not None else bool(texts)

    def click(self, selector: str, text: str = "") -> None:
        """
        Click on the first of the elements that shows *text*.
        """
        self.wait_for(selector, text)
        script = (
            "[...document.querySelectorAll(arguments[0])]"
            ".find(e => e.textContent.includes(arguments[1])).click()"
        )
        self.run(script, selector, text)

    def press(self, keys: str) -> None:
        """
        Press keys, wherever the focus is.
        """
        self.browser.switch_to.active_element.send_keys(keys)

    def run(self, script: str, *arguments: object) -> object:
        """
        Run a script in the page.
        """
        return self.browser.execute_script(script, *arguments)

    def go(self, part: str) -> None:
        """
        Look at a part of the page, as its address says.
        """
        self.run("window.location.hash = arguments[0]", part)
        self.wait_for(f"#{part.partition('/')[0]}")

    def copied(self) -> str:
        """
        Return what is in the clipboard.
        """
        self.wait_for(".copy[data-done]")
        script = "const done = arguments[0]; navigator.clipboard.readText().then(done, done)"
        text: str = self.browser.execute_async_script(script)
        return text

    def show(self, width: int, scheme: str = "light") -> None:
        """
        Be so wide, and light or dark.
        """
        screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)

    def errors(self) -> list[object]:
        """
        Return what the console complains about.
        """
        entries = self.browser.get_log("browser")  # type: ignore[no-untyped-call]  # selenium lacks it.
        return [entry for entry in entries if entry["level"] != "INFO"]
