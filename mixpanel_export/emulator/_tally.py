"""What is counted beside the store, and the failures that the page pins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from mixpanel_export.emulator._pulse import Pulse

# Texts may contain the names of properties, so there is no end to their number.
_MAX_FAILURES = 200

# As much of an offending event as the page shows, in bytes, and of a text that names a property.
_MAX_SAMPLE = 4_000
_MAX_TEXT = 400


@dataclass(frozen=True, slots=True)
class Failure:
    """
    Failures that are alike in their first four fields.

    Args:
        kind: ``rejected``, an event or update that is invalid; ``refused``, a whole request;
            ``vanished``, answered with success and not stored all the same.

        endpoint: Where it was sent.

        field: What was wrong; for a request, the status.

        message: What the service says about it.

        sample: The newest one, perhaps only its beginning.

        whole: Whether it is all of it.

        count: How many there were.

        last_ms: When the newest one was.
    """

    kind: str
    endpoint: str
    field: str
    message: str
    sample: str = ""
    whole: bool = True
    count: int = 1
    last_ms: int = 0


class Tally:
    """
    Exact counts since the start or the last reset.

    Args:
        clock: Seconds since the epoch.

        pulse: Failures per second.
    """

    def __init__(self, clock: Callable[[], float], pulse: Pulse) -> None:
        self._clock = clock
        self.pulse = pulse
        self.reset()

    def reset(self) -> None:
        """Begin again."""
        self.requests: Counter[str] = Counter()
        self.rejected = 0
        self.vanished = 0
        self.updates = 0
        self.updates_rejected = 0
        self._failures: dict[tuple[str, str, str, str], Failure] = {}
        self.pulse.reset()

    def pin(self, failure: Failure, sample: bytes) -> None:
        """Remember a failure for the page; the counts above are their own affair."""
        self.pulse.add(1)
        field, message = failure.field[:_MAX_TEXT], failure.message[:_MAX_TEXT]
        key = (failure.kind, failure.endpoint, field, message)
        before = self._failures.pop(key, None)
        # At the end again: the first is then the one that has been quiet for longest.
        self._failures[key] = replace(
            failure,
            field=field,
            message=message,
            whole=len(sample) <= _MAX_SAMPLE,
            sample=sample[:_MAX_SAMPLE].decode("utf-8", "replace"),
            count=before.count + 1 if before else 1,
            last_ms=int(self._clock() * 1000),
        )
        if len(self._failures) > _MAX_FAILURES:
            del self._failures[next(iter(self._failures))]

    def vanish(self, endpoint: str, reason: str, sample: bytes) -> None:
        """Count something that is answered with success and goes nowhere."""
        self.vanished += 1
        self.pin(Failure("vanished", endpoint, "", reason), sample)

    def failures(self) -> list[Failure]:
        """Return the kinds of failure, newest first."""
        return list(reversed(self._failures.values()))
