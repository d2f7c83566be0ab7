"""
What neither an event nor another web page can do to the page.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

import pytest
from selenium import webdriver

from tests.emulator.api import Api, event
from tests.emulator.browser import Page

pytestmark = pytest.mark.browser

ATTACK = (
    "<script>document.title = 'run'</script><img src=x onerror=\"document.title='run'\">"
    "<svg onload=document.title='run'>${document.title='run'}"
)


def test_markup_stays_text(api: Api, page: Page) -> None:
    """
    Names, users, names and values of properties, profiles, addresses: shown, never run.
    """
    api.imports(
        [event(ATTACK, distinct_id=ATTACK, **{ATTACK: ATTACK, "other": {ATTACK: [ATTACK]}})]
    )
    api.imports([event(ATTACK, time=1), event(ATTACK, distinct_id=ATTACK, **{ATTACK: 5})])
    api.imports([event("Bad", **{ATTACK: list(range(300))})])
    api.engage({"$set": {ATTACK: ATTACK}, "$distinct_id": ATTACK}, {ATTACK: ATTACK})
    api.imports(ATTACK.encode())

    page.wait_for("td.event", ATTACK)
    page.wait_for("#failures .field", "<script>")
    for summary in page.find("#failures summary"):
        summary.click()
    page.wait_for("#failures pre", "<script>")
    page.click("td.event button")
    page.wait_for("tr.json pre", "<script>")
    page.click("td.user button", ATTACK)
    page.wait_for("#profile dd", ATTACK)
    page.wait_for("#timeline .name", ATTACK)
    page.go(f"names/{quote(ATTACK)}")
    page.wait_for("#properties th", ATTACK)
    page.wait_for("#properties .type code", "<script>")
    page.go(f"events/{quote(ATTACK)}")
    page.wait_for(".chip b", ATTACK)

    assert page.find("main script, main img, main svg[onload]") == []
    assert "run" not in page.browser.title


# What a page elsewhere may try; each leaves a word of what it was answered.
FOREIGN = """
const done = arguments[arguments.length - 1], home = arguments[0], words = {};
const json = {"content-type": "application/json"};
const tries = {
  reset_as_text: ["reset", {method: "POST", body: "{}", mode: "no-cors"}],
  reset_as_json: ["reset", {method: "POST", body: "{}", headers: json}],
  reset_as_us: ["reset", {method: "POST", body: "{}", headers: json, credentials: "include"}],
  faults_as_text: ["faults", {method: "POST", body: '[{"status": 500}]', mode: "no-cors"}],
  faults_as_json: ["faults", {method: "POST", body: '[{"status": 500}]', headers: json}],
  faults_deleted: ["faults", {method: "DELETE", headers: json}],
  fault_deleted: ["faults/1", {method: "DELETE"}],
  events_read: ["events", {}],
  stats_read: ["stats", {}],
  events_unread: ["events", {mode: "no-cors"}],
};
const load = (tag, name, key) => new Promise((answer) => {
  const element = document.createElement(tag);
  element.onload = () => { words[tag] = tag === "iframe" ? seen(element) : "loaded"; answer(); };
  element.onerror = () => { words[tag] = "refused"; answer(); };
  element[key] = `${home}/_emulator/${name}`;
  document.body.append(element);
});
const seen = (frame) => {
  try { return frame.contentWindow.document.title; } catch { return "refused"; }
};
const send = async ([name, [path, options]]) => {
  words[name] = await fetch(`${home}/_emulator/${path}`, options).then(
    (response) => response.type === "opaque" ? "refused" : "answered", () => "refused");
};
const stream = () => new Promise((answer) => {
  const source = new EventSource(`${home}/_emulator/live`);
  source.onmessage = () => { words.live = "heard"; answer(); };
  source.onerror = () => { words.live = "refused"; source.close(); answer(); };
});
Promise.all([...Object.entries(tries).map(send), stream(), load("script", "stats", "src"),
  load("img", "page/favicon.svg", "src"), load("iframe", "page/index.html", "src")])
  .then(() => done(words));
"""


class _Elsewhere(BaseHTTPRequestHandler):
    """
    Somebody else's web page.
    """

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<title>elsewhere</title><body>")

    def log_message(self, *_args: object) -> None:
        return


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """
    The address of a page of another origin.
    """
    with ThreadingHTTPServer(("127.0.0.1", 0), _Elsewhere) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_a_foreign_page_cannot_drive_the_emulator(
    api: Api, chromium: webdriver.Chrome, elsewhere: str
) -> None:
    """
    It can neither forget, nor switch faults, nor read, nor embed.
    """
    api.imports([event("Secret")])
    api.emulator.faults([{"path": "/groups", "status": 503}])
    chromium.get(elsewhere)

    words = chromium.execute_async_script(FOREIGN, api.emulator.url)

    assert set(words.values()) == {"refused"}, words
    assert len(words) == 14
    assert [one["event"] for one in api.emulator.events()] == ["Secret"]
    assert api.groups({"$set": {"a": 1}}).status_code == 503
    assert api.imports([event()]).status_code == 200


def test_our_own_page_can_do_all_of_it(api: Api, page: Page, chromium: webdriver.Chrome) -> None:
    """
    So that the test above fails for the right reason: the same from here is answered.
    """
    api.emulator.faults([{"path": "/groups", "status": 503}])

    words = chromium.execute_async_script(FOREIGN, api.emulator.url)

    assert words["reset_as_json"] == words["faults_deleted"] == words["events_read"] == "answered"
    assert (words["live"], words["img"]) == ("heard", "loaded")
    page.errors()


def test_a_name_that_was_made_to_point_here_is_refused(api: Api) -> None:
    """
    DNS rebinding: the page would be of the same origin, but the Host header tells.
    """
    answer = api.client.get(api.emulator.url, headers={"Host": "rebound.example"})

    assert answer.status_code == 403
