"""What is counted beside the store, and the failures that the page pins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

from mixpanel_export.emulator._event import JsonObject
from mixpanel_export.emulator._pulse import Pulse
from mixpanel_export.emulator._store import Store

# Texts may contain the names of properties, so there is no end to their number.
_MAX_FAILURES = 200

# As much of an offending event as the page shows, in bytes, and of a text that names a property.
MAX_SAMPLE = 4_000
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


Key = tuple[str, str, str, str]

# The name under which the counts are noted; those of failures are not empty.
_COUNTS = ""
_COUNTED = ("requests", "rejected", "vanished", "updates", "updates_rejected")


class Tally:
    """
    Exact counts since the last reset, or since the start if the store is not *lasting*.

    Args:
        clock: Seconds since the epoch.

        pulse: Failures per second.

        store: Notes them after each request, if it is *lasting*.
    """

    def __init__(self, clock: Callable[[], float], pulse: Pulse, store: Store) -> None:
        self._clock = clock
        self.pulse = pulse
        self._store = store
        self.reset()
        notes = store.notes()
        for name, number in notes.pop(_COUNTS, {}).items():
            setattr(self, name, Counter(number) if name == "requests" else number)
        for note in notes.values():
            failure = Failure(**note)
            key = (failure.kind, failure.endpoint, failure.field, failure.message)
            self._failures[key] = failure

    def reset(self) -> None:
        """Begin again."""
        self.requests: Counter[str] = Counter()
        self.rejected = 0
        self.vanished = 0
        self.updates = 0
        self.updates_rejected = 0
        self._failures: dict[Key, Failure] = {}
        # Those that have happened again, or are gone, in the request that is answered now.
        self._touched: dict[Key, None] = {}
        self.pulse.reset()

    def end_request(self, outcome: str) -> None:
        """Count a request by its status, or by what became of it instead; all it did is noted."""
        self.requests[outcome] += 1
        if self._store.lasting:
            notes: dict[str, JsonObject | None] = {
                "\n".join(key): asdict(self._failures[key]) if key in self._failures else None
                for key in self._touched
            }
            notes[_COUNTS] = {name: getattr(self, name) for name in _COUNTED}
            self._store.note(notes)
        self._touched.clear()

    def pin(self, failure: Failure, sample: bytes | None) -> None:
        """
        Remember a failure for the page; the counts above are their own affair.

        Args:
            failure: What failed, and why.

            sample: What it was; None: it was not kept.
        """
        self.pulse.add(1)
        field, message = failure.field[:_MAX_TEXT], failure.message[:_MAX_TEXT]
        key = (failure.kind, failure.endpoint, field, message)
        before = self._failures.pop(key, None)
        # At the end again: the first is then the one that has been quiet for longest.
        self._failures[key] = replace(
            failure,
            field=field,
            message=message,
            whole=sample is not None and len(sample) <= MAX_SAMPLE,
            sample=(sample or b"")[:MAX_SAMPLE].decode("utf-8", "replace"),
            count=before.count + 1 if before else 1,
            last_ms=int(self._clock() * 1000),
        )
        self._touch(key)
        if len(self._failures) > _MAX_FAILURES:
            quiet = next(iter(self._failures))
            del self._failures[quiet]
            self._touch(quiet)

    def _touch(self, key: Key) -> None:
        # At the end again: they are noted in the order in which they happened.
        self._touched.pop(key, None)
        self._touched[key] = None

    def vanish(self, endpoint: str, reason: str, sample: bytes) -> None:
        """Count something that is answered with success and goes nowhere."""
        self.vanished += 1
        self.pin(Failure("vanished", endpoint, "", reason), sample)

    def failures(self) -> list[Failure]:
        """Return the kinds of failure, newest first."""
        return list(reversed(self._failures.values()))
