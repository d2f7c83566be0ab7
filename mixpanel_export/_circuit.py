"""Whether anything may be sent at the moment: after failures, as asked by the server, and paced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mixpanel_export._outcome import Misconfigured, Retryable

if TYPE_CHECKING:
    from mixpanel_export._clock import Clock
    from mixpanel_export._sender import Attempt

#: Failures in a row after which only single requests probe. Ours: two can be chance.
FAILURES: Final = 3

_NEVER: Final = float("-inf")


class Circuit:
    """
    The gate before the connections. Guarded by the engine's lock.

    Args:
        clock: Where the time comes from.

        requests_per_hour: The most requests in an hour; `None` is no limit.
    """

    __slots__ = (
        "_asked_until",
        "_clock",
        "_launches",
        "_noticed",
        "_pace",
        "_paced_at",
        "_paused",
        "_resume_at",
        "_tokens",
        "failures",
        "last_success",
        "reason",
        "successes",
    )

    def __init__(self, clock: Clock, requests_per_hour: int | None) -> None:
        self._clock = clock
        #: Failures in a row. Those of requests that were under way at the same time count as one:
        #: four connections that break together are no worse than one.
        self.failures = 0
        #: How many verdicts there were so far.
        self.successes = 0
        #: What went wrong last; ``""`` if nothing did since the last verdict.
        self.reason = ""
        #: When the last verdict came, on the monotonic clock; `None` if there was none.
        self.last_success: float | None = None
        self._launches = 0
        self._noticed = 0
        self._paused = False
        self._resume_at = _NEVER
        # What the server asked for with ``Retry-After``; only time ends it.
        self._asked_until = _NEVER
        # Requests are paid for with tokens that come evenly; a minute's worth can be saved up.
        self._pace = None if requests_per_hour is None else requests_per_hour / 3_600
        self._tokens = self._most
        self._paced_at = clock.monotonic()

    @property
    def state(self) -> str:
        """``closed``, ``open`` or ``paused``; see `Health`."""
        if self._paused:
            return "paused"
        return "open" if self.failures >= FAILURES else "closed"

    @property
    def _most(self) -> float:
        return 0.0 if self._pace is None else max(1.0, self._pace * 60)

    def opens_at(self) -> float:
        """
        Say when the next request may be made, in seconds on the monotonic clock.

        ``-inf`` if nothing ever stood in its way.
        """
        gate = max(self._resume_at, self._asked_until)
        if self._pace is None:
            return gate
        now = self._clock.monotonic()
        self._tokens = min(self._most, self._tokens + (now - self._paced_at) * self._pace)
        self._paced_at = now
        # A billionth less than one, so that rounding does not make it wait for ever.
        missing = 1.0 - 1e-9 - self._tokens
        return max(gate, now + missing / self._pace if missing > 0 else _NEVER)

    def launch(self) -> int:
        """Note that a request is made, and give its number."""
        self.spend(1)
        self._launches += 1
        return self._launches

    def spend(self, requests: int) -> None:
        """Pay for so many requests."""
        if self._pace is not None:
            self._tokens -= requests

    def hurry(self) -> None:
        """Let one more try happen at once, unless the server asked for none or knows us not."""
        if not self._paused:
            self._resume_at = _NEVER

    def judge(self, launch: int, attempt: Attempt) -> bool:
        """
        Draw the conclusion from *attempt*; True if it ended an outage.

        Args:
            launch: Its number.

            attempt: What it brought.
        """
        match attempt.outcome:
            case Retryable(reason=reason, after=after):
                self._fail(launch, reason)
                now = self._clock.monotonic()
                if after is not None:
                    # What was asked of one connection holds for all.
                    self._asked_until = max(self._asked_until, now + after)
                if self.failures >= FAILURES:
                    self._resume_at = max(self._resume_at, now + attempt.pause)
                return False
            case Misconfigured() as outcome:
                self._fail(launch, outcome.reason)
                self._paused = True
                self._resume_at = self._clock.monotonic() + attempt.pause
                return False
            case _:
                ended = self.state != "closed"
                self.failures = 0
                self.successes += 1
                self._paused = False
                self._resume_at = _NEVER
                self.reason = ""
                self.last_success = self._clock.monotonic()
                return ended

    def _fail(self, launch: int, reason: str) -> None:
        self.reason = reason
        if launch > self._noticed:
            self.failures += 1
            self._noticed = self._launches
