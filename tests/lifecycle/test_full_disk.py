"""
A disk that is full, and one that becomes read-only: a real file system, small, mounted for the
test.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mixpanel_export._clock import Deadline
from mixpanel_export._event import Event
from mixpanel_export._pipeline import Pipeline
from mixpanel_export._settings import Settings
from mixpanel_export._wire import Request, Response
from mixpanel_export.testing import ScriptedTransport

PAD = ["x" * 200] * 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """
    Mount a file system that has room for four segments.
    """
    if not (hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("mkfs.ext4")):
        pytest.skip("only root can mount a file system")
    image, place = tmp_path / "image", tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(24 * 1024 * 1024)
    place.mkdir()
    subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", str(image)], check=True)
    mounted = subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=False)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    # Lazily, since a thread may have a file open for a moment still.
    subprocess.run(["umount", "-l", str(place)], check=True)


@contextmanager
def read_only(disk: Path) -> Iterator[None]:
    """
    Let nothing be opened for writing there; what is open may still be written to.
    """
    # Made elsewhere: a mount through which somebody writes already cannot become read-only.
    beside = disk.with_name("beside")
    beside.mkdir()
    with mounted("--bind", disk, beside):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(beside)], check=True)
        with mounted("--bind", beside, disk):
            with pytest.raises(OSError, match="Read-only"):
                (disk / "new").touch()
            yield


@contextmanager
def mounted(how: str, what: Path, where: Path) -> Iterator[None]:
    """
    Mount *what* there for a while.
    """
    subprocess.run(["mount", how, str(what), str(where)], check=True)
    try:
        yield
    finally:
        # Lazily, since a thread may have a file open for a moment still.
        subprocess.run(["umount", "-l", str(where)], check=True)


class Switched(ScriptedTransport):
    """
    A transport behind which Mixpanel is down until it is switched on.
    """

    on = False

    def send(self, request: Request, deadline: Deadline) -> Response:
        if not self.on:
            raise ConnectionError("down")
        return super().send(request, deadline)


def eventually(condition: Callable[[], object]) -> None:
    """
    Wait for another thread; fails after ten seconds.
    """
    end = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)  # Real threads on a real disk.


@pytest.fixture
def transport() -> Switched:
    """
    Mixpanel, down.
    """
    return Switched()


@pytest.fixture
def pipeline(disk: Path, transport: Switched) -> Iterator[Pipeline]:
    """
    Start a pipeline with its spool there.
    """
    settings = Settings(
        token="t",
        spool=str(disk / "spool"),
        max_bytes=2_000_000,
        transport=transport,
        backoff_initial=0.01,
        backoff_max=0.05,
        jitter=0.0,
        flush_interval=0.01,
    )
    pipeline = Pipeline(settings)
    yield pipeline
    pipeline.close(5.0)


def submit(pipeline: Pipeline, number: int) -> bool:
    """
    Submit an event of four kilobytes.
    """
    return pipeline.submit(Event("A", properties={"number": number, "pad": PAD}))


def test_a_full_disk_under_load(
    disk: Path, pipeline: Pipeline, transport: Switched, caplog: pytest.LogCaptureFixture
) -> None:
    """
    The application runs on; what neither disk nor memory can hold is counted; all else arrives.
    """
    refused = 0
    for number in range(10_000):
        refused += not submit(pipeline, number)
        if refused > 300:
            break
    held = pipeline.stats.accepted
    transport.on = True
    flushed = pipeline.flush(20.0)
    # There is room again, and the disk is used again.
    eventually(lambda: submit(pipeline, 0) and list(disk.glob("spool/*/*/*.seg")))
    done = pipeline.flush(20.0)
    stats = pipeline.stats

    assert (flushed, done, refused) == (True, True, 301)
    # More than memory alone may hold, and than three segments.
    assert held > 12_000_000 / 4_300
    assert stats.dropped["full"] >= refused
    assert (stats.delivered, stats.abandoned, stats.queued) == (stats.accepted, 0, 0)
    assert len(set(transport.lines)) == stats.accepted
    assert "No space left on device" in caplog.text


def test_a_disk_that_becomes_read_only(
    disk: Path, pipeline: Pipeline, transport: Switched, caplog: pytest.LogCaptureFixture
) -> None:
    """
    What is there is read and delivered; what comes is held in memory.
    """
    for number in range(100):
        assert submit(pipeline, number)
    eventually(lambda: len(list(disk.glob("spool/*/*/*.seg"))) > 1)
    with read_only(disk):
        for number in range(3_000):
            assert submit(pipeline, number)
        transport.on = True

        assert pipeline.flush(20.0)
        assert pipeline.stats.delivered == 3_100
    assert "Read-only" in caplog.text
