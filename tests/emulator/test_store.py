"""
What is kept, and counts that are exact whatever is kept.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from pathlib import Path

import pytest

from mixpanel_export.emulator import EmulatorProcess, _store
from mixpanel_export.emulator._pulse import Pulse
from mixpanel_export.emulator._store import Store
from mixpanel_export.emulator._tally import Failure, Tally
from tests.emulator.api import Api, Run, events


def rows(*keys: int) -> list[tuple[int, int, bytes]]:
    """
    Return events with these keys, as the store wants them.
    """
    return [(key, 0, json.dumps({"event": key}).encode()) for key in keys]


def kept(store: Store, *, dedup: bool = False) -> list[int]:
    """
    Return the keys of what is stored.
    """
    text = "".join(store.lines(dedup=dedup))
    return [json.loads(line)["event"] for line in text.splitlines()]


def test_events_come_back_in_the_order_of_their_arrival(api: Api) -> None:
    """
    Line by line, as they were sent.
    """
    first, second = events(3), events(2)
    api.imports(first)
    api.imports(second)

    assert api.emulator.events() == [*first, *second]


def test_only_the_newest_are_kept() -> None:
    """
    Counts know about all of them, also about a repetition of one that is gone.
    """
    store = Store(None, max_stored=3)

    store.add("/import", 0, rows(1, 2))
    store.add("/import", 0, rows(3, 4, 5))
    store.add("/import", 0, rows(1))

    assert kept(store) == [4, 5, 1]
    assert (store.imported, store.distinct, store.duplicates, store.stored) == (6, 5, 1, 3)
    store.close()


def test_a_request_larger_than_the_store_leaves_its_end() -> None:
    """
    The bound holds within one request too.
    """
    store = Store(None, max_stored=3)

    store.add("/import", 0, rows(*range(10)))

    assert kept(store) == [7, 8, 9]
    store.close()


def test_without_a_bound_all_are_kept() -> None:
    """
    0 means all.
    """
    store = Store(None, max_stored=0)

    store.add("/import", 0, rows(*range(5000)))

    assert kept(store) == list(range(5000))
    store.close()


def test_without_duplicates_the_newest_is_shown() -> None:
    """
    In its own place.
    """
    store = Store(None, max_stored=0)

    store.add("/import", 0, rows(1, 2, 1, 3))

    assert kept(store, dedup=True) == [2, 1, 3]
    store.close()


def test_search_finds_text_and_nothing_else() -> None:
    """
    Characters that mean something to SQL mean themselves.
    """
    store = Store(None, max_stored=0)
    store.add(
        "/import", 0, [(1, 0, b'{"a":"100%"}'), (2, 0, b'{"a":"100x"}'), (3, 0, rb'{"a":"\"_\\"}')]
    )

    found = {
        text: [row.id for row in store.newest(after=0, containing=[[text]])]
        for text in ("100%", '"_', "\\", "A", "")
    }

    assert found == {"100%": [1], '"_': [3], "\\": [3], "A": [3, 2, 1], "": [3, 2, 1]}
    store.close()


def test_repetitions_are_marked() -> None:
    """
    The page tells the first from the others.
    """
    store = Store(None, max_stored=0)
    store.add("/import", 0, rows(1, 2, 1))

    newest = store.newest(after=0)

    assert [(row.id, row.duplicate) for row in newest] == [(3, True), (2, False), (1, False)]
    store.close()


def test_a_file_survives_a_restart(tmp_path: Path) -> None:
    """
    Events, keys and profiles; so a repetition after the restart is known as one.
    """
    path = str(tmp_path / "emulator.db")
    before = Store(path, max_stored=2)
    before.add("/import", 0, rows(1, 2, 3))
    before.save_profile("", "u", {"plan": "pro"}, None)
    before.close()

    after = Store(path, max_stored=2)
    after.add("/import", 0, rows(1))

    assert kept(after) == [3, 1]
    assert (after.imported, after.distinct) == (4, 3)
    assert after.profile("", "u") == {"plan": "pro"}
    after.close()


def test_failures_that_were_dropped_do_not_come_back(tmp_path: Path) -> None:
    """
    Nor those from before a reset.
    """
    path = str(tmp_path / "emulator.db")

    def fields() -> list[str]:
        store = Store(path, max_stored=0)
        found = [one.field for one in Tally(lambda: 0.0, Pulse(lambda: 0.0), store).failures()]
        store.close()
        return found

    store = Store(path, max_stored=0)
    tally = Tally(lambda: 0.0, Pulse(lambda: 0.0), store)
    for number in range(202):
        tally.pin(Failure("rejected", "/import", str(number), "bad"), b"{}")
    tally.end_request("400")
    tally.pin(Failure("rejected", "/import", "7", "bad"), b"{}")
    tally.end_request("400")
    store.close()
    assert fields() == ["7", *map(str, range(201, 7, -1)), *map(str, range(6, 1, -1))]

    store = Store(path, max_stored=0)
    store.reset()
    store.close()
    assert fields() == []


def test_profiles_are_counted_and_come_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    In bounded pages, users first; a change that is taken back changes no count.
    """
    store = Store(None, max_stored=0)
    for number in range(5):
        for kind in ("", "company"):
            store.save_profile(kind, str(number), {"a": "x" * 10}, None)
    store.save_profile("", "1", {}, None)
    store.delete_profile("", "2")
    store.delete_profile("", "2")

    def fail() -> None:
        with store.transaction():
            store.delete_profile("", "3")
            raise RecursionError

    with pytest.raises(RecursionError):
        fail()

    monkeypatch.setattr(_store, "_MAX_READ", 25)
    pages = [[(one.kind, one.id) for one in page] for page in store.profiles()]
    assert [one for page in pages for one in page] == [
        *(("", number) for number in "0134"),
        *(("company", number) for number in "01234"),
    ]
    assert max(map(len, pages)) == 3
    assert (store.count_profiles(groups=False), store.count_profiles(groups=True)) == (4, 5)
    store.reset()
    assert (store.count_profiles(groups=False), store.count_profiles(groups=True)) == (0, 0)
    store.close()


def test_of_large_events_few_are_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A thousand of 1 MB would be as much memory.
    """
    store = Store(None, max_stored=0)
    store.add("/import", 0, rows(*range(10)))
    monkeypatch.setattr(_store, "_MAX_READ", 30)

    assert [row.id for row in store.following(4, limit=9)] == [5, 6, 7]
    assert [row.id for row in store.following(4, limit=2)] == [5, 6]
    assert [len(page) for page in store.pages()] == [3, 3, 3, 1]
    assert kept(store) == list(range(10))
    store.close()


def test_a_file_belongs_to_one_emulator(tmp_path: Path) -> None:
    """
    The second one is told when it starts.
    """
    path = str(tmp_path / "emulator.db")

    with EmulatorProcess("--db", path), pytest.raises(RuntimeError, match="cannot use"):
        EmulatorProcess("--db", path)


def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    """
    Also one of another version of the emulator.
    """
    path = tmp_path / "other.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE events (id INTEGER)")
    other.close()
    before = path.read_bytes()

    with pytest.raises(sqlite3.DatabaseError, match="belongs to another version or program"):
        Store(str(path), max_stored=0)

    assert path.read_bytes() == before


def test_counts_are_exact_under_concurrency(running: Run) -> None:
    """
    Eight senders, each batch twice, a store that is far too small.
    """
    api = running("--max-stored", "100")

    def send() -> None:
        for _ in range(5):
            batch = events(50)
            api.imports(batch)
            api.imports([*batch, {}])

    senders = [threading.Thread(target=send) for _ in range(8)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()

    stats = api.emulator.stats()
    assert stats["requests"] == {"200": 40, "400": 40}
    assert stats["imported"] == 4000
    assert stats["distinct"] == stats["duplicates"] == 2000
    assert stats["rejected"] == 40
    assert stats["stored"] == len(api.emulator.events()) == 100


def test_reset_forgets_everything(api: Api) -> None:
    """
    Events, profiles, counts; and a repetition is new again.
    """
    batch = events(2)
    api.imports(batch)
    api.engage({"$set": {"a": 1}})
    api.emulator.reset()

    assert not any(api.emulator.stats().values())
    assert (api.emulator.events(), api.emulator.profiles()) == ([], [])
    api.imports(batch)
    assert api.emulator.stats()["duplicates"] == 0


def test_unknown_paths_count_as_requests(api: Api) -> None:
    """
    A client with the wrong address is seen; the emulator's own page is not counted.
    """
    api.send("/v1/import")
    api.client.get(api.emulator.url + "/")

    assert api.emulator.stats()["requests"] == {"404": 1}
