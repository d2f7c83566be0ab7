"""All of it together: sources are read, records made lines, parcels sent, the journal kept."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from mixpanel_export._clock import SYSTEM_CLOCK
from mixpanel_export.cli.backfill._books import Books
from mixpanel_export.cli.backfill._formats import UNITS, Reading, read
from mixpanel_export.cli.backfill._journal import Journal
from mixpanel_export.cli.backfill._maker import Maker, Rules
from mixpanel_export.cli.backfill._parcel import Packer, Parcel, number_of, source_of
from mixpanel_export.cli.backfill._shipping import Outcome, Shipping
from mixpanel_export.cli.backfill._sources import Source
from mixpanel_export.cli.backfill._streams import Counted
from mixpanel_export.cli.backfill._trouble import Damage, Fault, Unusable

if TYPE_CHECKING:
    from mixpanel_export._settings import Settings

# So many faults of a source are shown as they are found, and so many that are alike; all are in the
# file of rejected records.
_SHOWN: Final = 10
_ALIKE: Final = 3

# So many lines does a dry run show.
_EXAMPLES: Final = 3

# How often a wait looks whether it is over, in seconds.
_LOOK: Final = 0.1


@dataclass(frozen=True)
class Job:
    """
    What is to be done.

    Args:
        settings: Where to, as whom, and the rules of privacy.

        sources: What is read, in this order.

        reading: How it is read.

        rules: Which records are sent, and as what.

        rate: The most records per second; None is no limit.

        patience: How long there may be no verdict before it gives up, in seconds.
    """

    settings: Settings
    sources: Sequence[Source]
    reading: Reading
    rules: Rules
    rate: float | None = None
    patience: float = 600.0


class Run:
    """
    One run of an import.

    Args:
        job: What is to be done.

        journal: What earlier runs have settled; None makes it a dry run, in which nothing is sent.

        books: What became of each record.

        tell: Called with what a user should read at once.

        stopped: Says whether to come to an end.
    """

    def __init__(
        self,
        job: Job,
        journal: Journal | None,
        books: Books,
        *,
        tell: Callable[[str], object],
        stopped: Callable[[], bool],
    ) -> None:
        self._job = job
        self._journal = journal
        self._books = books
        self._tell = tell
        self._stopped = stopped
        #: Why it gave up; empty if it did not.
        self.failure = ""
        #: What was raised meanwhile, if that is why.
        self.error: Exception | None = None
        #: How many sources could not be read to their end.
        self.damaged = 0
        self._maker = Maker(job.settings, job.rules, hint=self._hint)
        self._names: dict[int, tuple[str, str]] = {}
        self._shown: Counter[str] = Counter()
        self._alike: Counter[tuple[str, str]] = Counter()
        self._hushed: set[str] = set()
        self._reading = 0  # the index of the source that is read
        self._hinted: set[str] = set()
        self._examples = 0
        self._paced_until = 0.0
        self._shipping: Shipping | None = None

    def go(self) -> None:
        """Do it; returns when all is settled, or when it was stopped or gave up."""
        job = self._job
        packer = Packer(job.settings.batch_events, job.settings.batch_bytes, self._emit)
        if self._journal is not None:
            self._shipping = Shipping(
                job.settings, self._books, self._settle, patience=job.patience
            )
        for position, source in enumerate(job.sources):
            if self._is_over():
                break
            try:
                self._read(position, source, packer)
            except (Damage, Unusable) as trouble:
                self.damaged += 1
                self._tell(f"{source.name}: {trouble}")
        packer.flush()
        if self._shipping is not None:
            self._shipping.finish(self._stopped)
            self.failure, self.error = self._shipping.failure, self._shipping.error

    def _is_over(self) -> bool:
        return self._stopped() or (self._shipping is not None and bool(self._shipping.failure))

    def _read(self, position: int, source: Source, packer: Packer) -> None:
        journal, books = self._journal, self._books
        index = position if journal is None else journal.index(source)
        if journal is not None and journal.is_done(index, source.size):
            books.position += source.size or 0
            return
        end = 1
        with closing(source.open()) as opened:
            stream = Counted(opened, books.advance)
            form, chunks = read(source, stream, self._job.reading)
            self._names[index] = (source.name, UNITS.get(form, "line"))
            self._reading = index
            for whole in chunks:
                if self._is_over():
                    return
                end = whole.end
                chunk = whole if journal is None else journal.remaining(index, whole)
                if chunk is not None:
                    results = self._maker.make(chunk.items, chunk.numbers)
                    packer.add(index, chunk.numbers, chunk.end, results)
        if end == 1:
            self._tell(f"{source.name}: is empty")
        if journal is not None:
            journal.note_end(index, end, source.size)

    def _emit(self, parcel: Parcel) -> None:
        for where, fault in parcel.faults:
            self._show(where, fault.reason, fault.column)
        self._pace(len(parcel.lines))
        if self._shipping is not None:
            self._shipping.put(parcel, self._stopped)
            return
        for line in parcel.lines[: _EXAMPLES - self._examples]:
            self._examples += 1
            self._tell(f"would send: {line.decode()}")
        parcel.counts["delivered"] += len(parcel.lines)
        self._books.settle(parcel.counts)

    def _pace(self, count: int) -> None:
        """Wait until *count* more records are within the rate."""
        if self._job.rate is None:
            return
        now = time.monotonic()
        self._paced_until = max(self._paced_until, now) + count / self._job.rate
        while not self._is_over() and (wait := self._paced_until - time.monotonic()) > 0:
            SYSTEM_CLOCK.sleep(min(wait, _LOOK))

    def _settle(self, outcome: Outcome) -> None:
        """Write down what became of a parcel; called on the threads that send."""
        parcel = outcome.parcel
        rejected = [
            self._row(where, fault.reason, {"text": fault.text}) for where, fault in parcel.faults
        ]
        for where, each in outcome.rejections:
            reason = each.message or "Mixpanel gives no reason"
            self._show(where, f"rejected by Mixpanel: {reason}")
            record = {"field": each.field, "record": orjson.loads(each.line)}
            rejected.append(self._row(where, reason, record))
        assert self._journal is not None  # noqa: S101 -- a dry run does not send
        self._journal.settle(parcel.runs, outcome.counts, rejected)
        self._books.settle(outcome.counts)

    def _hint(self, kind: str, text: str) -> None:
        """Count what a user should know, and say where it happened first."""
        self._books.hint(kind, text)
        if kind not in self._hinted:
            self._hinted.add(kind)
            name, unit = self._names[self._reading]
            self._tell(f"{name}, {unit} {self._maker.number:,}: {text}")

    def _row(self, where: int | None, reason: str, more: Mapping[str, Any]) -> dict[str, Any]:
        name, unit, number = self._place(where)
        return {"source": name, unit: number, "reason": reason, **more}

    def _place(self, where: int | None) -> tuple[str, str, int | None]:
        if where is None:
            return "", "line", None
        name, unit = self._names[source_of(where)]
        return name, unit, number_of(where)

    def _show(self, where: int | None, reason: str, column: int | None = None) -> None:
        name, unit, number = self._place(where)
        if self._shown[name] >= _SHOWN or self._alike[name, reason] >= _ALIKE:
            return
        self._shown[name] += 1
        self._alike[name, reason] += 1
        at = f", column {column:,}" if column else ""
        self._tell(f"{name}, {unit} {number or 0:,}{at}: {reason}")
        if self._shown[name] == _SHOWN:
            self._tell(f"{name}: what else is wrong is only counted here")
        elif self._alike[name, reason] == _ALIKE and name not in self._hushed:
            self._hushed.add(name)
            self._tell(f"{name}: what else is wrong in the same way is only counted here")


def newest_first(sources: Sequence[Source], reading: Reading, rules: Rules) -> list[Source]:
    """Order *sources* by the time of their first record, the latest first."""
    now = time.time()

    def first_time(source: Source) -> float:
        try:
            with closing(source.open()) as opened:
                _, chunks = read(source, Counted(opened, lambda _size: None), reading)
                for item in (item for chunk in chunks for item in chunk.items):
                    record = orjson.loads(item) if isinstance(item, bytes) and item else item
                    if isinstance(record, Mapping):
                        event = rules.mapper.event(record, now)
                        if not isinstance(event, Fault):
                            return float(event.time)  # type: ignore[arg-type] # the mapper reads it
        except (Damage, ValueError):
            pass  # It will be told when it is its turn.
        return 0.0

    repeatable = [source for source in sources if source.repeatable]
    others = [source for source in sources if not source.repeatable]
    return sorted(repeatable, key=first_time, reverse=True) + others
