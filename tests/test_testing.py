"""
The stand-ins that others build their tests on.
"""

from __future__ import annotations

import threading

import pytest

from mixpanel_export._batch import Batch
from mixpanel_export._clock import Deadline
from mixpanel_export._settings import Settings
from mixpanel_export._wire import Response, encode
from mixpanel_export.testing import FakeClock, ScriptedTransport, lines_of


def test_a_fake_clock_jumps() -> None:
    """
    Waiting takes no time and lets it pass, on both clocks.
    """
    clock = FakeClock(100.0)

    clock.sleep(2.0)
    clock.advance(1.0)
    clock.sleep(-5.0)
    with (condition := threading.Condition()):
        clock.wait(condition, 4.0)

    assert (clock.wall(), clock.monotonic()) == (107.0, 7.0)


def test_a_fake_clock_waits_for_a_notice() -> None:
    """
    Without a limit it really waits: somebody has to notify.
    """
    clock = FakeClock()
    condition = threading.Condition()
    done = threading.Event()

    def wait() -> None:
        with condition:
            clock.wait(condition, None)
        done.set()

    thread = threading.Thread(target=wait)
    thread.start()
    while not done.wait(0.01):
        with condition:
            condition.notify_all()
    thread.join()

    assert clock.monotonic() == 0.0


@pytest.mark.parametrize("gzip", [True, False])
def test_a_script_is_followed_and_then_everything_is_well(*, gzip: bool) -> None:
    """
    Responses, status codes and exceptions in their order; after the last, success.
    """
    batch = Batch.of([b'{"a":1}', b'{"b":2}'], gzip=gzip)
    request = encode(batch, Settings(token="t"))
    deadline = Deadline(FakeClock(), None)
    transport = ScriptedTransport(503, Response(200, b"x"), ValueError("as scripted"))

    statuses = [transport.send(request, deadline) for _ in range(2)]
    with pytest.raises(ValueError, match="as scripted"):
        transport.send(request, deadline)
    last = transport.send(request, deadline)
    transport.close()

    assert statuses == [Response(503), Response(200, b"x")]
    assert b'"num_records_imported":2' in last.body
    assert lines_of(request) == [b'{"a":1}', b'{"b":2}']
    assert len(transport.lines) == 8
    assert transport.closed == 1
