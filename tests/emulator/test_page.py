"""
The page in a real browser: what each of its parts shows, and how one works with it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from selenium import webdriver
from selenium.webdriver.common.keys import Keys

from mixpanel_export.emulator import EmulatorProcess
from tests.emulator.api import Api, basic, event, events
from tests.emulator.browser import Page

pytestmark = pytest.mark.browser

PARTS = ["events", "users", "users/u-1", "names", "names/Order%20Placed", "faults"]


def test_an_event_is_seen_within_half_a_second(api: Api, page: Page) -> None:
    """
    Name, user, properties and counts, without reloading; the best of three, since the machine has
    other things to do.
    """
    waits = []
    for number in range(3):
        api.imports([event(f"Order {number}", distinct_id="ada", plan="pro")], compressed=True)
        start = time.monotonic()
        page.wait_for("td.event", f"Order {number}")
        waits.append(time.monotonic() - start)

    assert min(waits) < 0.5
    page.wait_for("td.user", "ada", count=3)
    page.wait_for("td.properties", "plan pro", count=3)
    page.wait_for("#imported .value", "3")
    page.wait_for("#requests .statuses", "200 3")


# -- what stays in view --------------------------------------------------------------------------


def test_the_chart_shows_what_arrived_and_what_failed(api: Api, page: Page) -> None:
    """
    A bar for each second of the last minute, and its numbers for who points at it.
    """
    api.imports([*events(7), event(time=1)])

    page.wait_for("#chart .accepted", count=1)
    assert page.find("#chart .failing")[0].rect["height"] > 0
    page.run(
        "const svg = document.querySelector('#chart svg'), bar = svg.querySelector('.accepted');"
        "const {left, width} = bar.getBoundingClientRect();"
        "svg.dispatchEvent(new PointerEvent('pointermove', {clientX: left + width / 2}));"
    )
    page.wait_for("#chart figcaption", "7 accepted, 1 failed")


def test_a_failure_is_pinned(api: Api, page: Page) -> None:
    """
    It stays in view under a flood of valid events, with rule, source, code and culprit.
    """
    api.imports([event("Culprit", time=1, **{"code.file.path": "shop.py", "code.line.number": 7})])
    for _ in range(3):
        api.imports(events(300))

    page.wait_for("#imported .value", "900")
    page.wait_for("#failures summary", "must not be before 1971-01-01", count=1)
    page.click("#failures summary")
    page.wait_for("#failures .rule", "guess docs, reference/import-events.mdx forbids it")
    page.wait_for("#failures .place", "shop.py:7")
    page.wait_for("#failures pre", "Culprit")
    page.wait_for("#failures mark", '"time": 1')
    assert page.browser.title == "(1 rejected) Mixpanel emulator"


def test_failures_are_grouped_by_field_and_reason(api: Api, page: Page) -> None:
    """
    With their number; the first five, the others when asked for, and none moves.
    """
    api.imports([event(time=1), event(time=1), event(insert_id="_")])
    page.wait_for("#failures summary", count=2)
    page.wait_for("#failures summary .count", "2", count=1)
    order = page.texts("#failures .message")

    api.imports([event(time=1)])
    page.wait_for("#failures summary .count", "3", count=1)
    assert page.texts("#failures .message") == order

    api.imports([event(""), event(distinct_id="null"), event(time="soon"), event(time=None)])
    page.wait_for("#failures summary", count=5)
    page.click("#failures .more", "Show all 6 kinds")
    page.wait_for("#failures summary", count=6)


def test_a_refused_request_is_shown_as_far_as_it_is_known(api: Api, page: Page) -> None:
    """
    A command sends it again if one can; each kind is said aloud once.
    """
    api.send("/import", b"x" * (11 << 20), authorization=basic("T"))
    api.form("/track", {"data": "nonsense"})
    api.imports([event("Refused")], authorization=None, compressed=True)

    page.wait_for("#failures summary", count=3)
    for summary in page.find("#failures summary"):
        summary.click()
    page.wait_for("details:nth-of-type(1)[open] pre", '"event": "Refused"')
    page.wait_for("details:nth-of-type(1) button", "Copy as curl")
    page.wait_for("details:nth-of-type(2) pre", "data=nonsense")
    page.wait_for("details:nth-of-type(2) button", "curl", count=0)
    page.wait_for("details:nth-of-type(3)", "It is too large to be kept.")
    page.wait_for("main [role=status]", "A new kind of failure: 401 Invalid credentials")


def test_reset_empties_the_page(api: Api, page: Page) -> None:
    """
    The button forgets everything, and the page says how to begin.
    """
    api.imports([event(), event(time=1)])
    page.wait_for("#failures")

    page.click("#reset")

    page.wait_for(".nothing", "Nothing has arrived yet")
    page.wait_for(".nothing pre", f"MIXPANEL_BASE_URL={api.emulator.url}")
    page.wait_for("#failures", count=0)
    assert api.emulator.stats()["imported"] == 0


# -- events --------------------------------------------------------------------------------------


def test_duplicates_are_marked(api: Api, page: Page) -> None:
    """
    The promise that users doubt most; they can be looked at alone.
    """
    same = event("Twice")
    api.imports([same, event("Once")])
    api.imports([same])

    page.wait_for("#duplicates .value", "1")
    page.wait_for("td.event .badge", "duplicate", count=1)
    page.run(
        "const only = document.querySelector('#only'); only.value = 'repeated';"
        "only.dispatchEvent(new Event('change'))"
    )
    page.wait_for("td.event", count=1)


def test_a_search_narrows_the_list(api: Api, page: Page) -> None:
    """
    Old events and new ones.
    """
    api.imports([event("Apple"), event("Pear")])
    page.wait_for("td.event", count=2)

    page.find("#search")[0].send_keys("pear")

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


def test_what_is_copied_sends_the_same_again(api: Api, page: Page) -> None:
    """
    Pasted into a shell, the command does what the application did, whatever is in the event.
    """
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("needs curl")
    api.imports(
        [
            event(
                'It\'s "quoted" $HOME `id` \\ @x',
                note="a\nb\x1b\x7f\x9b\u202e",
                list=[1, {"a": None}],
            )
        ]
    )
    page.click("td.event button")
    page.click("tr.json button", "Copy as curl")

    command = page.copied()
    ran = subprocess.run(["sh", "-c", command], capture_output=True, check=True, timeout=10)

    assert command.isprintable()
    assert json.loads(ran.stdout)["num_records_imported"] == 1
    assert api.emulator.stats()["duplicates"] == 1
    first, second = api.emulator.events()
    assert first == second


def test_a_flood_stays_usable(api: Api, page: Page) -> None:
    """
    Ten thousand events later there are a hundred rows, and a click still works.
    """
    for _ in range(10):
        api.imports(events(1000), compressed=True)

    page.wait_for("#imported .value", "10,000")
    assert len(page.find("td.event")) <= 100
    page.click("td.event button")
    page.wait_for("tr.json pre", "distinct_id")


def test_what_is_too_large_is_shown_in_part(api: Api, page: Page) -> None:
    """
    An event of nearly 1 MB does not stop the page.
    """
    api.imports([event("Big", **{f"p{n}": ["x" * 200] * 20 for n in range(200)})])

    page.click("td.event button", "Big")

    page.wait_for("tr.json .facts", "cut: it is too large to be shown")
    page.wait_for("tr.json button", "curl", count=0)


# -- users, names, faults ------------------------------------------------------------------------


def test_a_user_has_a_timeline_and_a_profile(api: Api, page: Page) -> None:
    """
    One click away from an event: that user's events only, by their own time, and new ones.
    """
    old, new = event("Old", time=1_700_000_000, distinct_id="ada"), event("New", distinct_id="ada")
    api.imports([new, old, event("Other", distinct_id="bob")])
    api.engage({"$set": {"plan": "pro", "tags": ["a"]}, "$distinct_id": "ada"})

    page.click("td.user button", "ada")

    page.wait_for("#timeline .name", count=2)
    assert page.texts("#timeline .name") == ["New", "Old"]
    assert page.texts("#timeline .day") == ["Today", "14 Nov 2023"]
    page.wait_for("#profile dl", 'planprotags["a"]')
    assert page.browser.current_url.endswith("#users/ada")
    api.imports([event("Newest", distinct_id="ada"), event("Other", distinct_id="bob")])
    page.wait_for("#timeline .name", "Newest")
    page.click("#timeline button", "Old")
    page.wait_for("#timeline pre", "1700000000")
    api.imports([event(distinct_id=None, **{"$device_id": "d", "$user_id": "ada"})])
    page.click("#tab-users")
    page.click("#users li button", "ada")
    page.wait_for("#ids li", "$device:d")
    page.click("#back")
    page.wait_for("#users li", "adaOrder Placed4 events")
    page.wait_for("#users li", count=2)


def test_properties_that_drift_are_highlighted(api: Api, page: Page) -> None:
    """
    The lexicon: names, properties, how often, of which types; and what does not fit.
    """
    api.imports([event("Paid", total=n, plan="pro") for n in range(3)])
    api.imports([event("Paid", total="9.5", at="2026-01-31"), event("paid")])

    page.click("#tab-names")
    page.wait_for("#names li", "Paid1 driftinglike paid4")
    page.click("#names li button", "Paid1")

    page.wait_for("#properties tr.drifts", "total drifts100 %numeric75 %0string25 %9.5", count=1)
    page.wait_for("#properties tr:not(.drifts)", "plan 75 %stringpro")
    page.wait_for("#properties tr:not(.drifts)", "at 25 %date2026-01-31")
    page.click("#properties button", "Show these events")
    page.wait_for("td.event", count=4)
    page.click("#any-name")
    page.wait_for("td.event", count=5)


def test_names_without_end_are_pointed_out(api: Api, page: Page) -> None:
    """
    That there are more than are shown, and what to do about it.
    """
    page.go("names")
    api.imports([event(f"Order {number}") for number in range(301)], compressed=True)

    page.wait_for("#names .note", "These are the first 300 names.")


def test_faults_are_switches(api: Api, page: Page) -> None:
    """
    On: requests fail, and it is counted; off: they do not; faults from elsewhere are shown too.
    """
    api.emulator.faults([{"path": "/engage", "status": 418}])
    page.go("faults")
    page.wait_for("#tab-faults", "Faults1")
    page.click("[role=switch]", "Server error")
    page.wait_for("[role=switch][aria-checked=true]", "Server error")

    assert api.imports(events(1)).status_code == 503

    page.wait_for("[role=switch]", "every request · hit 1 of 1")
    page.click("[role=switch]", "Server error")
    page.wait_for("[role=switch][aria-checked=true]", "Server error", count=0)
    assert api.imports(events(1)).status_code == 200
    page.wait_for("[role=switch][aria-checked=true]", "respond 418")
    page.click("#calm")
    page.wait_for("[role=switch][aria-checked=true]", count=0)
    assert api.engage({"$set": {"a": 1}}).status_code == 200


def test_the_page_may_be_open_many_times(api: Api, page: Page) -> None:
    """
    Although a browser has only six connections for all of its tabs; each is live when looked at.
    """
    first = page.browser.current_window_handle
    for _ in range(6):
        page.browser.switch_to.new_window("tab")
        Page(page.browser, page.url)
    page.click("#reset")
    for other in page.browser.window_handles:
        if other != first:
            page.browser.switch_to.window(other)
            page.browser.close()
    page.browser.switch_to.window(first)

    api.imports([event("After")])
    page.wait_for("td.event", "After")
    page.wait_for("#connection.good")


def test_the_page_finds_an_emulator_that_was_started_again(
    chromium: webdriver.Chrome, client: httpx.Client, tmp_path: Path
) -> None:
    """
    Although another program had the port meanwhile; with a file it shows what it showed before.
    """
    file = str(tmp_path / "emulator.db")
    with EmulatorProcess("--db", file) as emulator:
        Api(emulator, client).imports([event("Before"), event(time=1)])
        port = urlsplit(emulator.url).port
        page = Page(chromium, emulator.url)
        page.wait_for("#failures summary", "must not be before 1971-01-01")
    page.wait_for("#connection.bad")
    asked = threading.Event()

    class Other(BaseHTTPRequestHandler):
        def handle(self) -> None:
            super().handle()  # Which answers 501.
            asked.set()

        def log_message(self, *args: object) -> None:
            """
            Keep quiet.
            """

    with ThreadingHTTPServer(("127.0.0.1", port or 0), Other) as other:
        threading.Thread(target=other.serve_forever, args=(0.05,)).start()
        assert asked.wait(10)
        other.shutdown()

    with EmulatorProcess("--db", file, port=port) as emulator:
        page.wait_for("#connection.good")
        Api(emulator, client).imports([event("After")])
        page.wait_for("td.event", "After")
        page.wait_for("td.event", "Before")
        page.wait_for("#imported .value", "2")
        page.wait_for("#rejected .value", "1")
        page.wait_for("#failures summary", "must not be before 1971-01-01")
        chromium.get("about:blank")
    # That nobody answered, or not with a stream, is what browsers complain about.
    page.errors()


# -- everybody -----------------------------------------------------------------------------------


def test_it_works_with_the_keyboard_alone(api: Api, page: Page) -> None:
    """
    Search, rows, parts, pause and switches.
    """
    api.imports([event("Pear"), event("Apple"), event("Peach")])
    page.wait_for("td.event", count=3)

    page.press("/")
    page.press("pea")
    page.wait_for("td.event", count=2)
    page.press(Keys.TAB * 3 if page.find("#pause") else "")
    page.press(Keys.ENTER)
    page.wait_for("tr.json pre", "Peach")
    page.press(Keys.ARROW_DOWN)
    page.press(Keys.ENTER)
    page.wait_for("tr.json pre", "Pear")
    page.press("p")
    page.wait_for("#pause[aria-pressed=true]")
    page.press("4")
    page.wait_for("#tab-faults[aria-selected=true]")
    page.run("document.querySelector('#tab-faults').focus()")
    page.press(Keys.ARROW_RIGHT)
    page.wait_for("#tab-events[aria-selected=true]")
    page.wait_for("#tab-events:focus")


@pytest.mark.parametrize(("width", "scheme"), [(400, "dark"), (1280, "light")])
def test_nothing_is_wider_than_the_window(api: Api, page: Page, width: int, scheme: str) -> None:
    """
    On a phone as on a screen, in each part, with the longest texts that there can be.
    """
    long = "x" * 255
    api.imports([event(long, distinct_id=long, **{long: long}), event(insert_id="_" * 255)])
    api.imports([event("Order Placed", **{long: 1}), event("Order Placed", **{long: long})])
    api.engage({"$set": {long: long}})
    page.show(width, scheme)

    page.wait_for("#failures")
    wide = {}
    for part in PARTS:
        page.go(part)
        page.wait_for("[role=tabpanel]", "")
        wide[part] = page.run("return document.documentElement.scrollWidth")
    page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    assert wide == dict.fromkeys(PARTS, wide["events"])
    assert int(str(wide["events"])) <= width
