"""
Directories that do not fit: nobody is disturbed, the queue is in memory, and one line says why.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from mixpanel_export import _disk
from mixpanel_export._adoption import MAKING
from mixpanel_export._directory import Directory
from tests.spools import Host, files, hosting

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX")

NOBODY = 65_534


def works_in_memory(host: Host) -> bool:
    """
    Say whether events come and go, without a file.
    """
    accepted = host.queue.put(b"1")
    host.keep()
    held = len(host.queue), host.queue.places()
    return accepted and held == (1, None) and host.take() == [b"1"]


def failing(number: int) -> Callable[..., None]:
    """
    Return what fails with this error.
    """

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("call", "number"),
    [
        ("makedirs", errno.EROFS),
        ("makedirs", errno.EACCES),
        ("mkdir", errno.EDQUOT),
        ("rename", errno.ENOSPC),
        ("posix_fallocate", errno.EDQUOT),
        ("posix_fallocate", errno.EOPNOTSUPP),
    ],
)
def test_a_disk_that_refuses(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    call: str,
    number: int,
) -> None:
    """
    Read-only, not allowed, over the quota, no such thing there: each is told once and tried again.
    """
    with hosting(tmp_path) as start:
        host = start()
        with monkeypatch.context() as patch:
            patch.setattr(os, call, failing(number))
            assert works_in_memory(host)
        host.keep()
        host.queue.put(b"2")
        on_disk = len(files(tmp_path))

        assert host.take() == [b"2"]
    assert caplog.text.count(os.strerror(number)) == 1
    assert on_disk >= 1
    # What was begun is not left behind.
    assert list(tmp_path.glob("*/.*")) == []


def test_a_file_in_the_place_of_the_directory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """
    It stays as it is.
    """
    place = tmp_path / "spool"
    place.write_text("mine")
    with hosting(place) as start:
        assert works_in_memory(start())
    assert place.read_text() == "mine"
    assert "spool cannot be used" in caplog.text


def test_a_network_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Its locks and mappings promise too little.
    """
    table = tmp_path / "mounts"
    table.write_text(f"server {tmp_path} nfs4 rw 0 0\n")
    local = _disk.require_local
    monkeypatch.setattr(_disk, "require_local", lambda path: local(path, str(table)))
    with hosting(tmp_path) as start:
        assert works_in_memory(start())
    assert "network file system (nfs4); use a local disk" in caplog.text
    assert files(tmp_path, "*") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_another_users_directory(mode: int) -> None:
    """
    It is not ours to write to; what its processes left is not ours to take over.
    """
    with TemporaryDirectory() as folder, hosting(place := Path(folder, "spool")) as start:
        place.parent.chmod(0o755)
        dead = start()
        dead.queue.put(b"{}")
        dead.die()
        for path in (place, *place.glob("*")):
            path.chmod(mode)
        child = os.fork()
        if not child:
            os.setuid(NOBODY)
            heir = start()
            os._exit(0 if works_in_memory(heir) and heir.queue.adopted == 0 else 1)
        _, status = os.waitpid(child, 0)
        ours = start()
        ours.keep()

        assert status == 0
        assert ours.take() == [b"{}"]


def test_what_was_killed_while_it_was_made(tmp_path: Path) -> None:
    """
    It is deleted after a while, unless its process lives; what is not of ours stays.
    """
    with hosting(tmp_path) as start:
        host = start()
        host.queue.put(b"{}")
        (parent,) = tmp_path.iterdir()
        old, bare, fresh, held, strange = (
            parent / f".{name}"
            for name in ("7-0123abcd", "8-0123abcd", "9-0123abcd", "10-0123abcd", "mine")
        )
        for path in (old, bare, fresh, held, strange):
            path.mkdir()
        for path in (old, held):
            (path / "lock").touch()
        for path in (old, bare, held, strange):
            os.utime(path, (host.clock.wall() - 2 * MAKING,) * 2)
        os.utime(fresh, (host.clock.wall(),) * 2)
        _hold_elsewhere(held / "lock", host.keep)
        left = sorted(path.name for path in parent.glob(".*"))

    assert left == sorted([fresh.name, held.name, strange.name])


def _hold_elsewhere(lock: Path, meanwhile: Callable[[], object]) -> None:
    """
    Do something while another process holds a lock.
    """
    ready, say = os.pipe()
    child = os.fork()
    if not child:
        file = os.open(lock, os.O_RDWR)
        os.write(say, b"1" if _disk.lock(file) else b"0")
        time.sleep(60)  # It is killed.
        os._exit(0)
    assert os.read(ready, 1) == b"1"
    try:
        meanwhile()
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(ready)
        os.close(say)


# -- looking --------------------------------------------------------------------------------------


def test_looking_changes_nothing(tmp_path: Path) -> None:
    """
    A directory may be read whoever holds it; who holds it is told apart.
    """
    with hosting(tmp_path) as start:
        host = start()
        host.queue.put(b"{}")
        (path,) = (lock.parent for lock in files(tmp_path, "lock"))
        mine = Directory.look(str(path))
        host.die()
        gone = Directory.look(str(path))
        assert gone is not None
        directory, held = gone
        numbers, about = directory.numbers, directory.about
        directory.release()
        seen: list[bool] = []

        def look() -> None:
            found = Directory.look(str(path))
            assert found is not None
            found[0].release()
            seen.append(found[1])

        _hold_elsewhere(path / "lock", look)
        heir = start()
        heir.keep()

        assert (mine, held, numbers, about["format"]) == (None, False, [0], 1)
        assert seen == [True]
        assert heir.take() == [b"{}"]
    with pytest.raises(FileNotFoundError):
        Directory.look(str(tmp_path))
