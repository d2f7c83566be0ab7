"""
Mixpanel's own libraries, and curl as its documentation shows it, with the emulator behind them.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.emulator.api import Api, Run, now_ms
from tests.emulator.cases import CLOSED, DAY, ORIGINAL
from tests.plugins import is_there

if TYPE_CHECKING:
    from mixpanel import Mixpanel

# A project with a token, a service account and a secret, in which ids are merged by verbs.
PROJECT = (*CLOSED, *ORIGINAL)

PYTHON = pytest.mark.skipif(not is_there("mixpanel"), reason="needs mixpanel")
CURL = pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")


@pytest.fixture
def api(running: Run) -> Api:
    """
    The emulator of such a project.
    """
    return running(*PROJECT)


def seen(api: Api) -> list[tuple[str, str]]:
    """
    Return name and user of each event, as Mixpanel exports them.
    """
    return [(one["event"], one["properties"]["distinct_id"]) for one in api.exported()]


def profiles(api: Api) -> dict[str, Any]:
    """
    Return the properties of all profiles, by the ids of users and groups.
    """
    found = api.emulator.profiles()
    return {one.get("$distinct_id") or one["$group_id"]: one["properties"] for one in found}


# -- the package from PyPI -----------------------------------------------------------------------


@pytest.fixture
def mixpanel(api: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mixpanel]:
    """
    Mixpanel's client for Python, with a service account.

    Not tested is its `alias`, which speaks to Mixpanel itself, wherever the client is pointed.
    """
    from mixpanel import Consumer, Mixpanel, ServiceAccountCredentials

    monkeypatch.setenv("NO_PROXY", "*")
    url = api.emulator.url
    account = ServiceAccountCredentials("svc", "pw", "7")
    consumer = Consumer(
        f"{url}/track", f"{url}/engage", f"{url}/import", 10, f"{url}/groups", credentials=account
    )
    yield Mixpanel("T", consumer)
    consumer._session.close()


@PYTHON
def test_python_tracks_and_imports(api: Api, mixpanel: Mixpanel) -> None:
    """
    What happened now through /track, what is older through /import.
    """
    mixpanel.track("u", "Signed Up", {"plan": "pro"})
    mixpanel.import_data(None, "u", "Ordered", (now_ms() - 40 * DAY) // 1000, {"total": 31.5})

    assert seen(api) == [("Signed Up", "u"), ("Ordered", "u")]
    tracked, imported = (one["properties"] for one in api.exported())
    assert (tracked["plan"], tracked["mp_lib"]) == ("pro", "python")
    assert (imported["total"], imported["$import"]) == (31.5, True)


@PYTHON
def test_python_says_why_it_may_not_import(api: Api, mixpanel: Mixpanel) -> None:
    """
    A project that is not the service account's.
    """
    from mixpanel import MixpanelException

    mixpanel._consumer._credentials.project_id = "8"

    with pytest.raises(MixpanelException, match="not a project member"):
        mixpanel.import_data(None, "u", "Ordered", now_ms() // 1000)
    assert api.emulator.stats()["imported"] == 0


@PYTHON
def test_python_changes_people(api: Api, mixpanel: Mixpanel) -> None:
    """
    Each of its operations.
    """
    mixpanel.people_set("u", {"plan": "free", "old": 1, "tags": ["a"]})
    mixpanel.people_set("u", {"plan": "pro"}, meta={"$ip": "198.51.100.7"})
    mixpanel.people_set_once("u", {"plan": "none", "first": True})
    mixpanel.people_increment("u", {"logins": 2})
    mixpanel.people_append("u", {"tags": "a"})
    mixpanel.people_union("u", {"tags": ["a", "b"]})
    mixpanel.people_remove("u", {"tags": "b"})
    mixpanel.people_unset("u", ["old"])
    mixpanel.people_track_charge("u", 9.5)
    mixpanel.people_set("gone", {"a": 1})
    mixpanel.people_delete("gone")

    (profile,) = profiles(api).values()
    charge = profile.pop("$transactions")
    assert [one["$amount"] for one in charge] == [9.5]
    assert profile == {
        "plan": "pro",
        "first": True,
        "logins": 2,
        "tags": ["a", "a"],
        "$city": "London",
        "$region": "England",
        "$country_code": "GB",
        "$timezone": "Europe/London",
    }
    mixpanel.people_clear_charges("u")
    assert "$transactions" not in profiles(api)["u"]


@PYTHON
def test_python_changes_groups(api: Api, mixpanel: Mixpanel) -> None:
    """
    Each of its operations.
    """
    mixpanel.group_set("company", "acme", {"tier": "gold", "old": 1})
    mixpanel.group_set_once("company", "acme", {"tier": "none", "first": 1})
    mixpanel.group_union("company", "acme", {"tags": ["a", "b"]})
    mixpanel.group_remove("company", "acme", {"tags": "a"})
    mixpanel.group_unset("company", "acme", ["old"])
    mixpanel.group_set("company", "gone", {"a": 1})
    mixpanel.group_delete("company", "gone")

    assert profiles(api) == {"acme": {"tier": "gold", "first": 1, "tags": ["b"]}}


@PYTHON
def test_python_merges_users(api: Api, mixpanel: Mixpanel) -> None:
    """
    By `$merge`, which it imports.
    """
    for user in ("u", "other"):
        mixpanel.track(user, "Seen")
    mixpanel.merge(None, "u", "other")

    assert seen(api)[:2] == [("Seen", "u")] * 2


# -- curl ----------------------------------------------------------------------------------------


def curl(api: Api, path: str, *words: str) -> str:
    """
    Run curl and return what is answered.
    """
    command = ["curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", "20"]
    done = subprocess.run(
        [*command, f"{api.emulator.url}{path}", *words], capture_output=True, text=True, check=True
    )
    return done.stdout


def signed_up(**properties: object) -> str:
    """
    Return the event of Mixpanel's page about importing, in an array.
    """
    known = {
        "time": now_ms(),
        "distinct_id": "91304156-cafc-4673-a237-623d1129c801",
        "$insert_id": "29fc2962-6d9c-455d-95ad-95b84f09b9e4",
        "Referred By": "Friend",
    }
    return json.dumps([{"event": "Signed Up", "properties": {**known, **properties}}])


@CURL
@pytest.mark.parametrize(
    ("query", "user"),
    [("strict=1", "S:"), ("strict=1", "T:"), ("strict=1&project_id=7", "svc:pw")],
)
def test_curl_imports(api: Api, query: str, user: str) -> None:
    """
    With a project's secret, its token, a service account; again does no harm.
    """
    words = ("-u", user, "-H", "Content-Type: application/json", "-d", signed_up())

    answers = [json.loads(curl(api, f"/import?{query}", *words)) for _ in range(2)]

    assert answers == [{"code": 200, "num_records_imported": 1, "status": "OK"}] * 2
    assert api.emulator.stats()["distinct"] == 1
    (found, _) = api.exported()
    assert found["properties"]["Referred By"] == "Friend"


@CURL
def test_curl_imports_leniently(api: Api) -> None:
    """
    Without `strict`, and an event without id.
    """
    event = signed_up(**{"$insert_id": ""})
    words = ("--user", "S:", "--header", "Content-Type: application/json", "--data", event)

    assert curl(api, "/import", "--request", "POST", *words) == "1"
    assert api.emulator.stats()["imported"] == 1


@CURL
def test_curl_tracks_json(api: Api) -> None:
    """
    As the quickstart does.
    """
    words = ("--header", "Content-Type: application/json", "--header", "accept: text/plain")

    assert curl(api, "/track", *words, "--data", signed_up(token="T")) == "1"
    assert seen(api) == [("Signed Up", "91304156-cafc-4673-a237-623d1129c801")]


@CURL
def test_curl_tracks_a_form(api: Api) -> None:
    """
    In the field `data`.
    """
    assert curl(api, "/track", "--data-urlencode", f"data={signed_up(token='T')}") == "1"
    assert api.emulator.stats()["imported"] == 1


@CURL
def test_curl_exports(api: Api) -> None:
    """
    As the page about exports does.
    """
    api.track(json.loads(signed_up(token="T", time=now_ms())))
    api.imports(json.loads(signed_up(time=1_700_000_000_000)))

    text = curl(
        api,
        "/api/2.0/export?from_date=2023-11-14&to_date=2023-11-14",
        *("-G", "-u", "S:", "--data-urlencode", 'event=["Signed Up"]'),
    )

    assert json.loads(text)["properties"]["time"] == 1_700_000_000


# -- the package from npm ------------------------------------------------------------------------

NODE = """
const Mixpanel = require("mixpanel");
const [host, port] = process.argv.slice(2);
const client = Mixpanel.init("T", { protocol: "http", host, port, verbose: true });
const wait = (send) => new Promise((done, fail) => send((e) => (e ? fail(e) : done())));

(async () => {
  await wait((cb) => client.track("Seen", { distinct_id: "u", plan: "pro" }, cb));
  await wait((cb) => client.track_batch([
    { event: "One", properties: { distinct_id: "alias" } },
    { event: "Two", properties: { distinct_id: "u" } },
  ], {}, cb));
  await wait((cb) => client.alias("u", "alias", cb));
  await wait((cb) => client.people.set("u", { plan: "free", old: 1 }, cb));
  await wait((cb) => client.people.set_once("u", { plan: "none", first: 1 }, cb));
  await wait((cb) => client.people.increment("u", "logins", 2, cb));
  await wait((cb) => client.people.append("u", "tags", "a", cb));
  await wait((cb) => client.people.union("u", { tags: ["a", "b"] }, cb));
  await wait((cb) => client.people.remove("u", { tags: "a" }, cb));
  await wait((cb) => client.people.unset("u", "old", cb));
  await wait((cb) => client.people.set("gone", { a: 1 }, cb));
  await wait((cb) => client.people.delete_user("gone", cb));
  await wait((cb) => client.groups.set("company", "acme", { tier: "gold" }, cb));
  await wait((cb) => client.groups.set_once("company", "acme", { tier: "none", first: 1 }, cb));
  await wait((cb) => client.groups.union("company", "acme", { tags: ["a", "b"] }, cb));
  await wait((cb) => client.groups.remove("company", "acme", { tags: "b" }, cb));
  await wait((cb) => client.groups.unset("company", "acme", "first", cb));
})().catch((error) => { console.error(error); process.exitCode = 1; });
"""


@pytest.mark.long
@pytest.mark.skipif(not shutil.which("npm"), reason="needs npm")
def test_node_tracks_and_changes_profiles(api: Api, tmp_path: Path) -> None:
    """
    All that it sends over plain HTTP; it insists on HTTPS for what it imports.
    """
    install = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(tmp_path), "mixpanel"]
    subprocess.run(install, check=True, capture_output=True, timeout=300)
    script = tmp_path / "send.js"
    script.write_text(NODE, encoding="utf-8")
    url = urlsplit(api.emulator.url)

    done = subprocess.run(
        ["node", str(script), str(url.hostname), str(url.port)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": "/usr/bin:/bin"},
    )

    assert (done.returncode, done.stderr) == (0, "")
    names = [one for one in seen(api) if not one[0].startswith("$")]
    assert sorted(names) == [("One", "u"), ("Seen", "u"), ("Two", "u")]
    assert profiles(api) == {
        "u": {"plan": "free", "first": 1, "logins": 2, "tags": ["b"]},
        "acme": {"tier": "gold", "tags": ["a"]},
    }
