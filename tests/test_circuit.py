"""
The gate before the connections. How the engine uses it is tested there.
"""

from __future__ import annotations

import pytest

from mixpanel_export._circuit import FAILURES, Circuit
from mixpanel_export._outcome import Delivered, Misconfigured, Retryable
from mixpanel_export._sender import Attempt
from mixpanel_export.testing import FakeClock

DOWN = Attempt(Retryable("down"), pause=4.0)
ASKED = Attempt(Retryable("busy", after=30.0), pause=30.0)
WRONG = Attempt(Misconfigured(401, "who?"), pause=60.0)
FINE = Attempt(Delivered(1), 1)


@pytest.fixture
def clock() -> FakeClock:
    """
    Start a clock.
    """
    return FakeClock()


def is_open(circuit: Circuit, clock: FakeClock) -> bool:
    """
    Say whether a request may be made now.
    """
    return circuit.opens_at() <= clock.monotonic()


@pytest.mark.parametrize("requests_per_hour", [None, 120])
def test_at_first_it_is_open(clock: FakeClock, requests_per_hour: int | None) -> None:
    """
    Nothing has happened, and a request could have been made at any time before.
    """
    circuit = Circuit(clock, requests_per_hour)

    assert (circuit.state, circuit.failures, circuit.reason) == ("closed", 0, "")
    assert (circuit.successes, circuit.last_success) == (0, None)
    assert circuit.opens_at() == float("-inf")


def test_requests_are_numbered(clock: FakeClock) -> None:
    """
    From 1, without gaps.
    """
    circuit = Circuit(clock, None)

    assert [circuit.launch() for _ in range(3)] == [1, 2, 3]


def test_a_single_failure_changes_nothing(clock: FakeClock) -> None:
    """
    One request that fails says little.
    """
    circuit = Circuit(clock, None)

    ended = circuit.judge(circuit.launch(), DOWN)

    assert not ended
    assert (circuit.state, circuit.failures, circuit.reason) == ("closed", 1, "down")
    assert is_open(circuit, clock)


def test_failures_in_a_row_open_it(clock: FakeClock) -> None:
    """
    Then nothing is sent until the pause is over.
    """
    circuit = Circuit(clock, None)

    for _ in range(FAILURES):
        circuit.judge(circuit.launch(), DOWN)

    assert circuit.state == "open"
    assert circuit.opens_at() == 4.0


def test_a_verdict_closes_it(clock: FakeClock) -> None:
    """
    The first answer ends the outage.
    """
    circuit = Circuit(clock, None)
    for _ in range(FAILURES):
        circuit.judge(circuit.launch(), DOWN)
    clock.advance(1.0)

    ended = circuit.judge(circuit.launch(), FINE)
    again = circuit.judge(circuit.launch(), FINE)

    assert (ended, again) == (True, False)
    assert (circuit.state, circuit.failures, circuit.reason) == ("closed", 0, "")
    assert (circuit.successes, circuit.last_success) == (2, 1.0)
    assert is_open(circuit, clock)


def test_failures_at_the_same_time_are_one(clock: FakeClock) -> None:
    """
    What was under way when the first failure was noticed does not count again.
    """
    circuit = Circuit(clock, None)
    launches = [circuit.launch() for _ in range(4)]

    for launch in launches:
        circuit.judge(launch, DOWN)

    assert circuit.failures == 1


def test_what_the_server_asks_holds_at_once(clock: FakeClock) -> None:
    """
    A single ``Retry-After`` stops everything; a shorter one does not shorten it.
    """
    circuit = Circuit(clock, None)

    circuit.judge(circuit.launch(), ASKED)
    circuit.judge(circuit.launch(), Attempt(Retryable("busy", after=1.0), pause=2.0))

    assert circuit.state == "closed"
    assert circuit.opens_at() == 30.0


def test_wrong_credentials_pause_it(clock: FakeClock) -> None:
    """
    The data are not at fault: wait for somebody to change something.
    """
    circuit = Circuit(clock, None)

    ended = circuit.judge(circuit.launch(), WRONG)

    assert not ended
    assert (circuit.state, circuit.reason) == ("paused", "status 401: who?")
    assert circuit.opens_at() == 60.0


def test_haste_opens_it_unless_it_was_told(clock: FakeClock) -> None:
    """
    At the end of the process there is one more try, but not with wrong credentials, and not before
    the server wants to hear from us.
    """
    down, asked, wrong = (Circuit(clock, None) for _ in range(3))
    for _ in range(FAILURES):
        down.judge(down.launch(), DOWN)
    asked.judge(asked.launch(), ASKED)
    wrong.judge(wrong.launch(), WRONG)

    for circuit in (down, asked, wrong):
        circuit.hurry()

    assert is_open(down, clock)
    assert asked.opens_at() == 30.0
    assert wrong.opens_at() == 60.0


def test_only_time_ends_what_the_server_asked_for(clock: FakeClock) -> None:
    """
    Neither a success that was under way nor a refusal shortens it.
    """
    circuit = Circuit(clock, None)
    first, second, third = (circuit.launch() for _ in range(3))

    circuit.judge(first, Attempt(Retryable("busy", after=300.0), pause=300.0))
    circuit.judge(second, FINE)
    circuit.judge(third, WRONG)

    assert circuit.opens_at() == 300.0


def test_requests_are_paced(clock: FakeClock) -> None:
    """
    A minute's worth at once, then evenly, never more than the hour's.
    """
    circuit = Circuit(clock, 120)
    launches = []

    for _ in range(300):
        clock.advance(circuit.opens_at() - clock.monotonic())
        circuit.launch()
        launches.append(clock.monotonic())

    assert launches == pytest.approx([0.0, *(30.0 * number for number in range(299))])


def test_a_request_that_took_two_is_paid_for_twice(clock: FakeClock) -> None:
    """
    The next one waits for both.
    """
    circuit = Circuit(clock, 120)
    for _ in range(2):
        circuit.launch()

    circuit.spend(1)

    assert circuit.opens_at() == pytest.approx(60.0)


def test_a_slow_pace_still_lets_one_through(clock: FakeClock) -> None:
    """
    One request an hour is one at once and the next in an hour.
    """
    circuit = Circuit(clock, 1)

    first = is_open(circuit, clock)
    circuit.launch()

    assert first
    assert circuit.opens_at() == pytest.approx(3_600.0)
