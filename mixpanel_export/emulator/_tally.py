"""What is counted beside the store, and the failures that the page pins."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

# Texts may contain the names of properties, so there is no end to their number.
_MAX_FAILURES = 200

# As much of an offending event as the page shows.
_MAX_SAMPLE = 4_000


@dataclass(slots=True)
class Failure:
    """
    Failures that are alike.

    Args:
        kind: ``rejected``, an event or update that is invalid; ``refused``, a whole request;
            ``vanished``, answered with success and not stored all the same.

        endpoint: Where it was sent.

        field: What was wrong; for a request, the status.

        message: What the service says about it.

        last_ms: When the newest one was.

        count: How many there were.

        sample: The newest one, perhaps only its beginning.
    """

    kind: str
    endpoint: str
    field: str
    message: str
    last_ms: int
    count: int = 0
    sample: str = ""


class Tally:
    """Exact counts since the start or the last reset."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.rejected = 0
        self.vanished = 0
        self.updates = 0
        self.updates_rejected = 0
        self._failures: dict[tuple[str, str, str, str], Failure] = {}

    def failed(self, failure: Failure, sample: bytes) -> None:
        """Remember a failure for the page; the counts above are their own affair."""
        key = (failure.kind, failure.endpoint, failure.field, failure.message)
        before = self._failures.pop(key, None)
        failure.count = before.count + 1 if before else 1
        failure.sample = sample[:_MAX_SAMPLE].decode("utf-8", "replace")
        # At the end again: the first is then the one that has been quiet for longest.
        self._failures[key] = failure
        if len(self._failures) > _MAX_FAILURES:
            del self._failures[next(iter(self._failures))]

    def failures(self) -> list[Failure]:
        """Return the kinds of failure, newest first."""
        return list(reversed(self._failures.values()))
