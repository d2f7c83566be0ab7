"""
The queue on disk: what was put is still there after the process, after damage, after a full disk.
"""

from __future__ import annotations

import os
import random
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mixpanel_export import _directory, _disk
from mixpanel_export._batch import Lane
from mixpanel_export._chain import FEWEST, PATIENCE, SPARES
from mixpanel_export._directory import Directory, merged
from mixpanel_export._exceptions import SpoolError
from mixpanel_export._keeper import ADOPTION
from mixpanel_export._orphan import Orphan
from mixpanel_export._outcome import Rejection
from mixpanel_export._segment import DAMAGED, PREAMBLE, SEGMENT_BYTES, START, record_of, walk
from tests.spools import ADD, BIG, SET, Host, files, hosting, lines_of


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    """
    Start processes on one directory; they end after the test.
    """
    with hosting(tmp_path) as start:
        yield start


# -- in and out -----------------------------------------------------------------------------------


def test_lines_come_out_as_they_went_in(start: Callable[..., Host]) -> None:
    """
    In their order, a batch at a time; what was taken is held until it is released.
    """
    host = start()
    lines = lines_of(25)

    accepted = [host.queue.put(line) for line in lines]
    first = host.queue.take()
    held = host.queue.held_events, len(host.queue), host.queue.waiting
    host.queue.release(10, sum(map(len, first)), host.queue.places())

    assert all(accepted)
    assert first == lines[:10]
    assert held == (25, 15, 15)
    assert host.take() == lines[10:]
    assert (host.queue.held_events, host.queue.waiting_bytes, host.queue.held_bytes) == (0, 0, 0)


def test_nothing_is_opened_before_the_first_line(
    start: Callable[..., Host], tmp_path: Path
) -> None:
    """
    A queue that holds nothing has no directory.
    """
    host = start()

    pause = host.keep()

    assert (list(tmp_path.iterdir()), pause) == ([], ADOPTION)


def test_directories_and_files_are_nobody_elses(start: Callable[..., Host], tmp_path: Path) -> None:
    """
    Lines are data of users; the name of the project's directory is no credential.
    """
    start(token="secret").queue.put(b"{}")

    (directory,) = tmp_path.glob("*/*")

    assert directory.stat().st_mode & 0o777 == 0o700
    assert directory.parent.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}
    assert not any(b"secret" in path.read_bytes() for path in directory.iterdir())
    assert "secret" not in str(directory)


def test_a_batch_fits_its_bytes(start: Callable[..., Host]) -> None:
    """
    The lines of a batch take no more than a request may have, and never of two segments.
    """
    host = start(batch_bytes=1_100_000)
    lines = lines_of(12, BIG)
    for line in lines:
        assert host.queue.put(line)

    sizes = []
    while batch := host.queue.take():
        sizes.append(len(batch))

    assert sizes == [2, 2, 2, 2, 2, 2]


def test_the_next_segment_is_ready(start: Callable[..., Host], tmp_path: Path) -> None:
    """
    The first is made while its caller waits, the others by `keep`; finished ones are deleted.
    """
    host = start()
    host.queue.put(b"{}")
    host.keep()
    spares = len(files(tmp_path)) - 1
    for line in lines_of(20, BIG):
        host.queue.put(line)
    host.take()
    host.keep()

    assert spares == SPARES
    assert host.queue.inline == 1
    assert len(files(tmp_path)) == 1 + SPARES


def test_the_worker_is_rung_once_a_batch(start: Callable[..., Host]) -> None:
    """
    By the first line when it waits for one, then by a batch's worth.
    """
    host = start()
    host.queue.put(b"{}")
    first = host.rings
    host.queue.arm(batch=True)
    for line in lines_of(8):
        host.queue.put(line)
    before = host.rings, host.queue.full_batch
    host.queue.put(b"{}")

    assert (first, before, host.rings) == (1, (1, False), 2)
    assert host.queue.full_batch
    host.queue.arm(batch=False)
    host.queue.put(b"{}")
    assert host.rings == 3


@pytest.fixture
def _restless() -> Iterator[None]:
    """
    Have threads take turns as often as can be.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_restless")
def test_many_threads_lose_nothing(start: Callable[..., Host]) -> None:
    """
    They change segments under each other, and none comes between another and its record.
    """
    host = start()
    sizes = [10, 300, 10, 20_000]
    expected = [b"%d-%d" % (n, k) + b"x" * sizes[k % 4] for n in range(4) for k in range(1500)]

    def put(number: int) -> None:
        for line in expected[number * 1500 : number * 1500 + 1500]:
            assert host.queue.put(line)

    threads = [threading.Thread(target=put, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(host.take()) == sorted(expected)


def test_a_line_longer_than_a_segment_is_refused(start: Callable[..., Host]) -> None:
    """
    There are none such, but nothing shall loop for ever.
    """
    assert not start().queue.put(b"x" * SEGMENT_BYTES)


# -- other lanes ----------------------------------------------------------------------------------


def test_updates_are_kept_and_increments_are_not(start: Callable[..., Host]) -> None:
    """
    A `$set` survives its process, an `$add` does not: nobody could know whether it was applied.
    """
    host = start()
    for aside in (SET, ADD, SET):
        assert host.queue.put_aside(aside)
    host.queue.put(b"{}")
    taken = [host.queue.take_aside(10, 1_000) for _ in range(3)]
    host.die()
    heir = start()
    heir.keep()

    assert [[aside.repeatable for aside in each] for each in taken] == [[True], [False], [True]]
    assert (heir.queue.adopted, heir.queue.aside, heir.queue.waiting) == (3, 2, 3)
    assert [aside.line for aside in heir.queue.take_aside(10, 1_000)] == [SET.line] * 2
    assert heir.take() == [b"{}"]


def test_updates_of_the_dead_go_first(start: Callable[..., Host]) -> None:
    """
    They were said before; what was said later must win.
    """
    host = start()
    host.queue.put_aside(SET)
    host.queue.put_aside(SET._replace(lane=Lane.GROUPS))
    host.die()
    heir = start()
    heir.queue.put_aside(SET._replace(line=b"later"))
    heir.keep()

    lanes = [(a.lane, a.line) for _ in range(3) for a in heir.queue.take_aside(10, 1_000)]

    assert lanes == [(Lane.ENGAGE, SET.line), (Lane.GROUPS, SET.line), (Lane.ENGAGE, b"later")]


def test_a_batch_of_updates_is_settled_as_a_whole(
    start: Callable[..., Host], tmp_path: Path
) -> None:
    """
    When the last of its lines is done with, and not earlier.
    """
    host = start()
    for _ in range(3):
        host.queue.put_aside(SET)
    host.queue.put(b"{}")
    size = 3 * len(SET.line)
    host.queue.take_aside(10, 1_000)
    places = host.queue.places()
    host.queue.release(2, size, places)
    before = files(tmp_path, "cursor")
    host.queue.release(1, 0, places)
    host.die()
    heir = start()
    heir.keep()

    assert before == []
    assert (heir.queue.adopted, heir.take()) == (1, [b"{}"])


def test_what_is_lost_with_the_process_is_counted(start: Callable[..., Host]) -> None:
    """
    At the end only what is in memory is given up.
    """
    host = start()
    host.queue.put(b"{}")
    host.queue.put_aside(SET)
    host.queue.put_aside(ADD)

    lost = host.queue.lose()

    assert lost == (0, 1)
    assert (host.queue.waiting, host.queue.aside) == (2, 1)


# -- after the process ----------------------------------------------------------------------------


def test_the_next_process_takes_over(start: Callable[..., Host], tmp_path: Path) -> None:
    """
    What was settled is not taken again, in whatever order that was; nothing remains at the end.
    """
    host = start()
    lines = lines_of(40)
    for line in lines:
        host.queue.put(line)
    batches = [(host.queue.take(), host.queue.places()) for _ in range(4)]
    for number in (2, 0):
        taken, places = batches[number]
        host.queue.release(10, sum(map(len, taken)), places)
    host.die()
    heir = start()
    heir.keep()
    heir.queue.arm(batch=True)

    assert (heir.queue.adopted, heir.queue.held_events, len(heir.queue)) == (20, 20, 0)
    assert heir.queue.full_batch
    assert heir.take() == [*lines[10:20], *lines[30:]]
    heir.keep()
    assert list(tmp_path.glob("*/*")) == []


def test_an_heir_may_die_too(start: Callable[..., Host]) -> None:
    """
    The next one goes on where it ended; a cursor that was long or cut short does no harm.
    """
    host = start()
    for line in lines_of(30):
        host.queue.put(line)
    host.die()
    for _ in range(2):
        heir = start()
        heir.keep()
        lines = heir.queue.take()
        heir.queue.release(len(lines), sum(map(len, lines)), heir.queue.places())
        heir.die()
    last = start()
    last.keep()

    assert last.take() == lines_of(30)[20:]


def test_a_long_cursor_is_written_anew(
    start: Callable[..., Host], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A process that sends one event at a time for weeks needs no more than a few bytes for it.
    """
    monkeypatch.setattr(_directory, "_LONG", 5)
    host = start(batch_events=1)
    for line in lines_of(30):
        host.queue.put(line)
    for _ in range(25):
        taken = host.queue.take()
        host.queue.release(1, len(taken[0]), host.queue.places())
    (cursor,) = files(tmp_path, "cursor")
    size = cursor.stat().st_size
    cursor.write_bytes(cursor.read_bytes() + b"half")
    (cursor.parent / "cursor.new").write_bytes(b"from an earlier attempt")
    host.die()
    heir = start()
    heir.keep()

    assert size <= 6 * 16
    assert heir.take() == lines_of(30)[25:]


def test_a_directory_is_adopted_once(start: Callable[..., Host]) -> None:
    """
    Not from oneself, not from those that live, and not by two at a time.
    """
    living, dead = start(), start()
    living.queue.put(b"alive")
    dead.queue.put(b"dead")
    dead.die()
    first, second = start(), start()
    for host in (living, first, second):
        host.keep()

    assert [host.queue.adopted for host in (living, first, second)] == [1, 0, 0]


def test_who_left_nothing_wakes_nobody(start: Callable[..., Host], tmp_path: Path) -> None:
    """
    What others have done with is deleted, and no worker is started for it.
    """
    dead = start()
    dead.queue.put(b"{}")
    dead.take()
    dead.die()
    left = files(tmp_path)
    heir = start()
    heir.keep()

    assert left
    assert files(tmp_path) == []
    assert heir.rings == 0


def test_another_process_that_lives_is_let_alone(
    start: Callable[..., Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Its lock says so.
    """
    host = start()
    host.queue.put(b"{}")
    host.die()
    heir = start()
    with monkeypatch.context() as patch:
        patch.setattr(_disk, "lock", lambda _file: False)
        heir.keep()
        before = heir.queue.adopted
    heir.keep()

    assert (before, heir.queue.adopted) == (0, 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_lock_is_held_against_others(start: Callable[..., Host], tmp_path: Path) -> None:
    """
    A forked child inherits the file and not the lock; that it looks costs nobody theirs.
    """
    host = start()
    host.queue.put(b"{}")
    (path,) = (str(lock.parent) for lock in files(tmp_path, "lock"))

    for _ in range(2):
        child = os.fork()
        if not child:
            os._exit(0 if Directory.adopt(path) is None else 1)
        _, status = os.waitpid(child, 0)
        assert status == 0


def test_not_everything_is_adopted_at_once(
    start: Callable[..., Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    When the first is delivered, the next follows at once.
    """
    monkeypatch.setattr("mixpanel_export._keeper.AT_ONCE", 1)
    for _ in range(2):
        dead = start()
        dead.queue.put(b"{}")
    for dead in [start(), start()]:
        dead.queue.put(b"{}")
        dead.die()
    host = start()
    host.keep()
    first = host.queue.adopted
    host.take()
    host.keep(0.0)

    assert (first, host.queue.adopted) == (1, 2)


def test_a_damaged_cursor_delivers_twice(start: Callable[..., Host], tmp_path: Path) -> None:
    """
    What it says is believed only with its checksum.
    """
    host = start()
    for line in lines_of(20):
        host.queue.put(line)
    for _ in range(2):
        lines = host.queue.take()
        host.queue.release(10, sum(map(len, lines)), host.queue.places())
    (cursor,) = files(tmp_path, "cursor")
    data = bytearray(cursor.read_bytes())
    data[5] ^= 1
    cursor.write_bytes(data)
    host.die()
    heir = start()
    heir.keep()

    assert heir.take() == lines_of(20)[:10]


def test_a_sibling_that_is_quicker(
    start: Callable[..., Host],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    """
    It has removed the directory between our look and our lock: that is no trouble.
    """
    host = start()
    host.queue.put(b"{}")
    host.die()
    heir = start()
    lock = _disk.lock

    def late(file: int) -> bool:
        for path in files(tmp_path, "*"):
            path.unlink()
        for path in tmp_path.glob("*/*"):
            path.rmdir()
        return lock(file)

    monkeypatch.setattr(_disk, "lock", late)
    heir.keep()

    assert (heir.queue.adopted, caplog.text) == (0, "")


def test_own_and_adopted_lines_take_turns(start: Callable[..., Host]) -> None:
    """
    Neither waits for all of the other.
    """
    dead = start()
    for line in lines_of(30):
        dead.queue.put(line)
    dead.die()
    host = start()
    host.keep()
    for _ in range(30):
        host.queue.put(b"own")

    turns = []
    while lines := host.queue.take():
        turns.append(lines[0] == b"own")

    assert turns in ([True, False] * 3, [False, True] * 3)


def test_a_loopback_never_gets_what_was_for_mixpanel(start: Callable[..., Host]) -> None:
    """
    Nor the other way round; other addresses of Mixpanel's may.
    """
    for url in ("http://127.0.0.1:1", "https://api.mixpanel.com", "https://api-eu.mixpanel.com"):
        dead = start(base_url=url)
        dead.queue.put(url.encode())
        dead.die()
    loopback = start(base_url="http://localhost:2")
    ours = start()
    for host in (loopback, ours, loopback):
        host.keep()

    assert loopback.queue.adopted == 0
    assert sorted(ours.take()) == [b"https://api-eu.mixpanel.com", b"https://api.mixpanel.com"]


def test_other_projects_are_left_alone_and_told_of(
    start: Callable[..., Host], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Their token is not ours; one line says that something lies there.
    """
    dead = start(token="other")
    dead.queue.put(b"{}")
    dead.die()
    (tmp_path / "a file").touch()
    host = start()
    host.queue.put(b"{}")
    host.keep()
    host.keep(100)

    assert host.queue.adopted == 0
    assert caplog.text.count("1 directories of other projects") == 1


def test_a_newer_format_is_left_alone(
    start: Callable[..., Host], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Whoever wrote it can read it.
    """
    host = start()
    host.queue.put(b"{}")
    host.die()
    (path,) = files(tmp_path)
    path.write_bytes(PREAMBLE[:7] + b"\x02" + path.read_bytes()[8:])
    heir = start()
    heir.keep()

    assert (heir.queue.adopted, path.exists()) == (0, True)
    assert "newer version" in caplog.text


def test_what_is_no_spool_is_let_alone(start: Callable[..., Host], tmp_path: Path) -> None:
    """
    A directory without a lock, one that hides, a file.
    """
    host = start()
    host.queue.put(b"{}")
    (parent,) = tmp_path.iterdir()
    for name in ("strange", ".hidden"):
        (parent / name).mkdir()
    (parent / "file").touch()
    host.keep()

    assert (parent / "strange").exists()
    assert host.queue.adopted == 0


def test_a_directory_that_says_nothing_about_itself(
    start: Callable[..., Host], tmp_path: Path
) -> None:
    """
    It is taken over by a process that does not send to this machine.
    """
    known: set[Path] = set()
    for text in ("", "[]"):
        host = start()
        host.queue.put(b"{}")
        (lock,) = set(files(tmp_path, "lock")) - known
        known.add(lock)
        lock.write_text(text)
        host.die()
    heir = start()
    heir.keep()

    assert heir.queue.adopted == 2


# -- damage ---------------------------------------------------------------------------------------


def damage(data: bytearray, chance: random.Random) -> None:
    """
    Do what disks do: flip a bit, zero a page, cut the end off, write noise.
    """
    end = len(data.rstrip(b"\0"))
    where = chance.randrange(end)
    match chance.choice(["bit", "page", "cut", "noise"]):
        case "bit":
            data[where] ^= 1 << chance.randrange(8)
        case "page":
            begin = where & ~4095
            data[begin : begin + 4096] = bytes(4096)
        case "cut":
            del data[where:]
        case _:
            size = min(chance.randrange(1, 3000), end - where)
            data[where : where + size] = chance.randbytes(size)


def test_damage_costs_only_what_it_hits(start: Callable[..., Host], tmp_path: Path) -> None:
    """
    300 times: no exception, nothing that was never put, neighbours kept, the counts exact.
    """
    chance = random.Random(20261121)
    writer = start()
    lines = lines_of(400, 300)
    for line in lines:
        writer.queue.put(line)
    writer.keep()
    writer.die()
    path = files(tmp_path)[0]
    sound = path.read_bytes()[: 400 * 320 + 8192]
    records = [(begin, end) for _, _, begin, end in walk(sound, START, len(sound))]
    directory = Directory.adopt(str(path.parent))
    assert directory is not None

    for _ in range(300):
        data = bytearray(sound)
        damage(data, chance)
        path.write_bytes(data.ljust(len(sound), b"\0") if len(data) == len(sound) else data)
        hit = {
            number
            for number, (begin, end) in enumerate(records)
            if data[begin:end] != sound[begin:end]
        }
        orphan = Orphan(directory, 0, [])
        found, _ = orphan.take(1_000, 10_000_000)

        assert found == [line for number, line in enumerate(lines) if number not in hit]
        assert (orphan.count, orphan.unread) == (400 - len(hit), 0)
        # Unless the mark is damaged itself.
        known = data[:START] == sound[:START]
        assert orphan.damaged == len(hit) if known else orphan.damaged >= bool(hit)
    directory.release()


def test_damage_is_counted(start: Callable[..., Host], tmp_path: Path) -> None:
    """
    One record in the middle, of three; a file that was cut off; an empty one is not damaged.
    """
    host = start()
    for line in lines_of(3):
        host.queue.put(line)
    host.die()
    (path,) = files(tmp_path)
    data = bytearray(path.read_bytes())
    data[START + 12 + 40 + 20] ^= 1
    path.write_bytes(data)
    path.with_name("00000001.seg").write_bytes(data[:100])
    path.with_name("00000002.seg").touch()
    path.with_name("00000003.seg").write_bytes(b"noise" * 9)
    heir = start()
    heir.keep()

    assert heir.take() == [lines_of(3)[0], lines_of(3)[2], lines_of(3)[0]]
    # One record, one short file with a record that is cut off, one with noise and no more.
    assert (heir.queue.adopted, heir.queue.damaged) == (3, 5)


def test_damage_while_it_is_in_use(start: Callable[..., Host], tmp_path: Path) -> None:
    """
    Somebody writes into the file under us: what is missing is counted, and nothing waits for it.
    """
    host = start()
    for line in lines_of(3):
        host.queue.put(line)
    (path,) = files(tmp_path)
    with path.open("r+b") as file:
        file.seek(START + 12 + 40 + 20)
        file.write(b"!")

    found = host.take()

    assert found == [lines_of(3)[0], lines_of(3)[2]]
    assert (host.queue.damaged, host.queue.lost, host.queue.waiting) == (1, 1, 0)
    assert host.queue.shed_events == 1


def test_an_adopted_file_that_vanishes(start: Callable[..., Host], tmp_path: Path) -> None:
    """
    What was in it is lost and counted.
    """
    host = start()
    host.queue.put(b"{}")
    host.die()
    heir = start()
    heir.keep()
    for path in files(tmp_path):
        path.unlink()

    assert heir.take() == []
    assert (heir.queue.adopted, heir.queue.lost, heir.queue.shed_events) == (1, 1, 0)


def test_records_between_other_things() -> None:
    """
    A wrong lane, a length beyond the end, too few bytes: none of it is a record.
    """
    good = record_of(b"good")
    wrong = record_of(b"lane")[:3] + b"\x63" + record_of(b"lane")[4:]
    data = wrong + good + record_of(b"long" * 9)[:-1]

    found = [(lane, line) for lane, line, _, _ in walk(data, 0, len(data))]

    assert found == [(DAMAGED, b""), (0, b"good"), (DAMAGED, b"")]


def test_parts_are_joined() -> None:
    """
    Parts that touch, overlap or contain each other become one; all that is done with counts.
    """
    parts = [(5, 9, 3), (0, 2, 1), (2, 3, 1), (6, 7, 1), (20, 30, 9)]

    assert merged(parts) == [(0, 3, 2), (5, 9, 4), (20, 30, 9)]


# -- bounds ---------------------------------------------------------------------------------------


def test_a_full_spool_refuses_the_newest(start: Callable[..., Host]) -> None:
    """
    Until there is room again.
    """
    host = start(spool_max_bytes=16 * 1024 * 1024)
    accepted = sum(host.queue.put(line) for line in lines_of(40, BIG))
    refused = host.queue.put_aside(SET), host.queue.put(lines_of(1, BIG)[0])
    host.keep()
    host.take()
    host.keep()

    assert (accepted, refused) == (FEWEST * 8, (False, False))
    assert host.queue.put(lines_of(1, BIG)[0])


def test_a_full_spool_gives_up_the_oldest(
    start: Callable[..., Host], caplog: pytest.LogCaptureFixture
) -> None:
    """
    If that is the policy, a segment at a time; what is in flight is not given up.
    """
    host = start(spool_max_bytes=16 * 1024 * 1024, overflow="drop_oldest", batch_events=4)
    host.queue.put_aside(SET)
    lines = lines_of(31, BIG)
    for line in lines:
        assert host.queue.put(line)
    host.queue.put_aside(SET)
    flying, places = host.queue.take(), host.queue.places()
    host.keep()
    first = host.queue.evicted, host.queue.shed_events, host.queue.shed_aside, host.queue.aside
    host.keep()
    host.keep()

    assert flying == lines[:3]
    assert not host.queue.crowded
    assert first == (6, 5, 1, 1)
    # The file of those in flight is still there, so that another one had to go.
    assert (host.queue.evicted, host.queue.held_events) == (14, 33 - 14)
    host.queue.release(len(flying), sum(map(len, flying)), places)
    assert host.queue.put(lines[0])
    assert host.take() == [*lines[16:], lines[0]]
    assert "spool is full" in caplog.text


def test_nothing_to_give_up(start: Callable[..., Host]) -> None:
    """
    All is in flight: nothing is given up, and what comes is refused.
    """
    host = start(spool_max_bytes=16 * 1024 * 1024, overflow="drop_oldest")
    for line in lines_of(32, BIG):
        host.queue.put(line)
    while host.queue.take():
        pass
    host.keep()

    assert host.queue.evicted == 0
    assert not host.queue.put(lines_of(1, BIG)[0])


def test_what_is_too_old_expires(start: Callable[..., Host], tmp_path: Path) -> None:
    """
    By the last moment at which its file was written to.
    """
    dead = start()
    dead.queue.put(b"{}")
    dead.queue.put_aside(SET)
    dead.die()
    host = start(spool_max_age=100.0)
    for path in files(tmp_path):
        os.utime(path, (host.clock.wall() - 50, host.clock.wall() - 50))
    for line in lines_of(9, BIG):
        host.queue.put(line)
    host.keep()
    before = host.queue.expired
    host.keep(60)
    adopted = host.queue.expired
    host.keep(60)

    assert (before, adopted, host.queue.expired) == (0, 2, 2 + 8)
    assert len(host.take()) == 1


# -- disks that fail ------------------------------------------------------------------------------


def test_a_full_disk(
    start: Callable[..., Host], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """
    What comes is held in memory, with a warning, until there is room; then it goes on.
    """
    host = start()
    with monkeypatch.context() as patch:
        patch.setattr(_disk, "allocate", _no_room)
        assert host.queue.put(b"1")
        assert host.queue.put_aside(SET)
        host.keep(0.1)
        host.keep(PATIENCE)
    before = host.queue.places(), len(host.queue)
    host.keep(PATIENCE)
    host.queue.put(b"2")

    assert before == (None, 1)
    assert host.take() == [b"2", b"1"]
    assert "No space left" in caplog.text
    (aside,) = host.queue.take_aside(1, 1_000)
    assert (aside.place, host.queue.places()) == (None, None)


def _no_room(_file: int, _size: int) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("missing", ["posix_fallocate", "fdatasync"])
def test_systems_that_lack_something(
    start: Callable[..., Host], monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """
    Other calls do the same.
    """
    monkeypatch.delattr(os, missing)
    host = start()
    host.queue.put(b"{}")
    host.keep()
    host.die()
    heir = start()
    heir.keep()

    assert heir.take() == [b"{}"]


def test_a_system_without_locks(
    start: Callable[..., Host], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """
    The queue is in memory there.
    """
    monkeypatch.setitem(sys.modules, "fcntl", None)
    host = start()

    assert host.queue.put(b"{}")
    assert host.take() == [b"{}"]
    assert "no POSIX locks" in caplog.text


def test_a_file_system_without_locks(
    start: Callable[..., Host], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Likewise.
    """
    monkeypatch.setattr(_disk, "lock", lambda _file: False)
    host = start()

    assert host.queue.put(b"{}")
    assert "cannot be locked" in caplog.text


def test_network_file_systems_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The deepest mount counts; where there is no table, nothing can be said.
    """
    table = tmp_path / "mounts"
    table.write_text(f"short\nd / ext4 rw 0 0\nserver {tmp_path} nfs4 rw 0 0\n")

    with pytest.raises(SpoolError, match=r"network file system \(nfs4\)"):
        _disk.require_local(str(tmp_path), str(table))
    _disk.require_local("/", str(table))
    _disk.require_local(str(tmp_path), str(tmp_path / "nothing"))
    table.write_text("")
    _disk.require_local(str(tmp_path), str(table))
    monkeypatch.setattr("sys.platform", "darwin")
    _disk.require_local(str(tmp_path), str(table))


def test_a_cursor_that_cannot_be_written(
    start: Callable[..., Host], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Delivery goes on; only a kill would deliver twice.
    """
    host = start()
    host.queue.put(b"{}")
    monkeypatch.setattr(Directory, "settle", _refuse)

    assert host.take() == [b"{}"]
    assert host.queue.held_events == 0
    assert "read-only" in caplog.text


def _refuse(*_: object) -> None:
    raise OSError(30, "read-only")


def test_a_sync_that_fails(
    start: Callable[..., Host], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """
    It is told, and delivery goes on.
    """
    host = start()
    host.queue.put(b"{}")
    with monkeypatch.context() as patch:
        patch.setattr(_disk, "sync", _refuse)
        host.keep()

    assert host.take() == [b"{}"]
    assert "read-only" in caplog.text


def test_a_directory_that_is_removed_while_in_use(
    start: Callable[..., Host], tmp_path: Path
) -> None:
    """
    What is open goes on; what comes later is held in memory.
    """
    import shutil

    host = start()
    host.queue.put(b"1")
    shutil.rmtree(tmp_path)
    host.keep()
    for line in lines_of(10, BIG):
        assert host.queue.put(line)

    assert len(host.take()) == 11


def test_a_directory_that_cannot_be_listed(
    start: Callable[..., Host], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Adoption is given up for the moment.
    """
    host = start()
    host.queue.put(b"{}")
    monkeypatch.setattr(os, "listdir", _refuse)
    host.keep()

    assert "read-only" in caplog.text
    assert host.take() == [b"{}"]


def test_directories_need_not_be_synced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """
    Some systems cannot open them.
    """
    monkeypatch.setattr(os, "open", _refuse)

    _disk.sync_directory(str(tmp_path))


# -- waiting for the disk -------------------------------------------------------------------------


def test_the_disk_is_waited_for_in_the_background(
    start: Callable[..., Host], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """
    Every `spool_sync` seconds, if something was written since.
    """
    synced: list[int] = []
    named: list[str] = []
    monkeypatch.setattr(_disk, "sync", synced.append)
    monkeypatch.setattr(_disk, "sync_directory", named.append)
    host = start(spool_sync=2.0)
    host.queue.put(b"1")
    pause = host.keep()
    counts = [len(synced)]
    for line in (None, b"2"):
        if line:
            host.queue.put(line)
        host.keep(2.0)
        counts.append(len(synced))
    host.queue.put(b"3")
    host.keep(0.5)

    assert (pause, counts, len(synced)) == (2.0, [1, 1, 2], 2)
    # The project's among all, the process's among the project's, and the file's there: once each.
    assert [len(Path(name).relative_to(tmp_path).parts) for name in named] == [0, 1, 2]


def test_or_before_an_event_is_accepted(
    start: Callable[..., Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    With ``spool_sync="always"`` each `put` waits.
    """
    synced: list[int] = []
    monkeypatch.setattr(_disk, "sync", synced.append)
    host = start(spool_sync="always")
    for line in lines_of(3):
        host.queue.put(line)
    host.queue.arm(batch=True)
    host.queue.put_aside(SET)

    assert len(synced) == 4
    assert host.keep() == 0.5


def test_the_keeper_is_woken(start: Callable[..., Host]) -> None:
    """
    By the first line after a rest, and not by each.
    """
    host = start()
    host.queue.put(b"{}")
    host.queue.bell.listen(60.0)
    host.queue.bell.listen(0.001)
    host.queue.bell.ring()
    host.queue.bell.ring()

    assert host.queue.bell._bell.qsize() == 1


# -- re-entrance ----------------------------------------------------------------------------------


def test_a_signal_in_the_middle_of_a_change(
    start: Callable[..., Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    What a handler logs while a segment is made waits for that, and is on the disk thereafter.
    """
    host = start()
    allocate = _disk.allocate
    inner: list[bool] = []

    def interrupted(file: int, size: int) -> None:
        if not inner:
            inner.extend([host.queue.put(b"inner"), host.queue.put_aside(SET)])
            host.queue.tidy()
        allocate(file, size)

    monkeypatch.setattr(_disk, "allocate", interrupted)
    outer = host.queue.put(b"outer")
    host.die()
    heir = start()
    heir.keep()

    assert (outer, inner) == (True, [True, True])
    assert sorted(heir.take()) == [b"inner", b"outer"]
    assert heir.queue.aside == 1


def test_a_signal_in_the_middle_of_a_change_that_fails(
    start: Callable[..., Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    There is no room for what a handler was told is accepted: it is lost, and counted.
    """
    host = start(max_events=1)
    host.queue.put(b"{}")

    def interrupted(_file: int, _size: int) -> None:
        host.queue.put(b"inner")
        host.queue.put(b"inner, too")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_disk, "allocate", interrupted)
    for line in lines_of(9, BIG):
        host.queue.put(line)

    assert host.queue.lost == 2
    assert host.queue.shed_events == 2


def test_an_interrupted_allocation_leaves_nothing(
    start: Callable[..., Host], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """
    Ctrl-C goes to whoever logs, and the next event finds everything in order.
    """
    host = start()

    def interrupt(_file: int, _size: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_disk, "allocate", interrupt)
        with pytest.raises(KeyboardInterrupt):
            host.queue.put(b"1")
    left = files(tmp_path)

    assert left == []
    assert host.queue.put(b"2")
    assert host.take() == [b"2"]


def test_one_keeper_at_a_time(start: Callable[..., Host], monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A second one comes back later.
    """
    host = start()
    host.queue.put(b"{}")
    pauses: list[float] = []
    allocate = _disk.allocate

    def meanwhile(file: int, size: int) -> None:
        pauses.append(host.queue.keeper.keep())
        allocate(file, size)

    monkeypatch.setattr(_disk, "allocate", meanwhile)
    host.keep()

    assert pauses == [PATIENCE] * SPARES


def test_a_keeper_that_takes_long_is_not_waited_for(
    start: Callable[..., Host], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """
    A disk may hang; the files are left as they are then.
    """
    monkeypatch.setattr("mixpanel_export._keeper.PATIENCE", 0.01)
    host = start()
    host.queue.put(b"{}")
    host.take()
    with host.queue.keeper._keeping:
        host.queue.tidy()

    assert len(files(tmp_path)) == 1


def test_a_keeper_that_takes_long_makes_nothing_more_after_the_end(
    start: Callable[..., Host], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """
    Nobody would use it, or delete it.
    """
    monkeypatch.setattr("mixpanel_export._keeper.PATIENCE", 0.01)
    host = start()
    host.queue.put(b"{}")
    made: list[int] = []
    allocate = _disk.allocate

    def meanwhile(file: int, size: int) -> None:
        if not made:
            host.queue.close()
        made.append(file)
        allocate(file, size)

    monkeypatch.setattr(_disk, "allocate", meanwhile)
    host.keep()

    assert len(made) == 1 < SPARES
    assert len(list(tmp_path.glob("*/*"))) == 1


# -- the end --------------------------------------------------------------------------------------


def test_at_rest_nothing_is_left(start: Callable[..., Host], tmp_path: Path) -> None:
    """
    No file and no directory of this process; the next line makes a new one.
    """
    host = start()
    host.queue.put(b"1")
    host.keep()
    host.take()
    host.queue.tidy()
    left = list(tmp_path.glob("*/*"))
    host.queue.put(b"2")

    assert left == []
    assert host.take() == [b"2"]


def test_what_is_held_is_kept(start: Callable[..., Host], tmp_path: Path) -> None:
    """
    To be tidy is not to give up; after `close` nothing is taken in, and others may take over.
    """
    host = start()
    host.queue.put(b"1")
    host.queue.tidy()
    host.queue.put(b"2")
    host.queue.close()
    refused = host.queue.put(b"3")
    heir = start()
    heir.keep()

    assert not refused
    assert host.queue.held_events == 2
    assert heir.take() == [b"1", b"2"]
    heir.queue.close()
    assert list(tmp_path.glob("*/*")) == []


def test_what_does_not_belong_to_it_remains(start: Callable[..., Host], tmp_path: Path) -> None:
    """
    A directory with somebody's file in it is not deleted, nor is the file.
    """
    host = start()
    host.queue.put(b"1")
    (directory,) = tmp_path.glob("*/*")
    (directory / "notes.txt").write_text("mine")
    host.take()
    host.queue.tidy()

    assert [path.name for path in directory.iterdir()] == ["notes.txt"]


def test_rejected_events_are_buried_with_the_reason(
    start: Callable[..., Host], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    One JSON object a line, the event as it was sent; the file is bounded.
    """
    host = start()
    host.queue.put(b"{}")
    host.queue.bury([Rejection(b'{"event":"A"}', "time", "is in 1969")])
    (path,) = tmp_path.glob("*/rejected.jsonl")
    text = path.read_text()
    monkeypatch.setattr("mixpanel_export._rejected.MAX_REJECTED_BYTES", 10)
    host.queue.bury([Rejection(b"{}", "", "again")])

    assert text == '{"message":"is in 1969","field":"time","line":{"event":"A"}}\n'
    assert [path.name for path in tmp_path.glob("*/rejected*")] == ["rejected.1.jsonl"]


def test_a_grave_that_cannot_be_dug(
    start: Callable[..., Host], caplog: pytest.LogCaptureFixture
) -> None:
    """
    It is told, no more: there is no directory.
    """
    start().queue.bury([Rejection(b"{}", "", "again")])

    assert "No such file" in caplog.text
