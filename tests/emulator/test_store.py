"""
What is kept, and counts that are exact whatever is kept.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from pathlib import Path

import pytest

from mixpanel_export.emulator import EmulatorProcess
from mixpanel_export.emulator._store import Store
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
        text: [row.id for row in store.newest(after=0, containing=[[text]], limit=9)]
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

    newest = store.newest(after=0, limit=9)

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
