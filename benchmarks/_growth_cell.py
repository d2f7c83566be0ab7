"""
What `growth.py` measures, each in a process of its own: what one event costs under one condition.

    python benchmarks/_growth_cell.py ROW PLACE ADDRESS      prints figures as JSON

There is a logger without a real handler and one with ours, which sends to a server at ADDRESS.
"""

from __future__ import annotations

import json
import logging
import resource
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mixpanel_export import Pipeline

#: How many events a cell logs, where their number is not what is varied.
EVENTS = 20_000

#: How many calls are measured at each depth of the queue.
PROBES = 2_000

#: Seconds until everything must have been delivered.
PATIENCE = 300.0

#: What a cell finds out: numbers by their names.
Figures = dict[str, float]


def loggers(address: str, **settings: object) -> tuple[logging.Logger, logging.Logger, Pipeline]:
    """Make a logger without a real handler, one with ours, and give its pipeline too."""
    from mixpanel_export import MixpanelHandler

    given: dict[str, Any] = {"token": "benchmark-token", "base_url": address, **settings}
    handler = MixpanelHandler(**given)
    made = []
    for name, each in (("bare", logging.NullHandler()), ("ours", handler)):
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.setLevel(logging.INFO)
        logger.addHandler(each)
        made.append(logger)
    return made[0], made[1], handler.pipeline


def log(logger: logging.Logger, numbers: range, properties: int = 8) -> None:
    """Log an event for each of *numbers*."""
    info = logger.info
    for number in numbers:
        info("Signed Up", extra=fields(number, properties))


def fields(number: int, properties: int) -> dict[str, object]:
    """Give what an event carries: texts and numbers, true and false, and who it is about."""
    made: dict[str, object] = {
        "distinct_id": f"user-{number % 10_000:06}",
        "mark": f"seq{number:07}",
        "plan": ("free", "basic", "pro", "enterprise")[number % 4],
        "price": 19.99 + number % 100,
        "country": ("US", "DE", "FR", "JP", "BR")[number % 5],
        "referrer": "https://www.example.com/search?q=product+analytics",
        "is_trial": number % 2 == 0,
        "quantity": number % 9,
        "source": "web",
    }
    for index in range(properties - 8):
        made[NAMES[index]] = ("blue", number, 0.5, True)[index % 4]
    return made


NAMES = [f"property_{index}" for index in range(254)]


def timed(logger: logging.Logger, numbers: range, properties: int = 8) -> list[int]:
    """Log an event for each of *numbers*, and give the nanoseconds that each took."""
    took = []
    clock, info = time.perf_counter_ns, logger.info
    for number in numbers:
        started = clock()
        info("Signed Up", extra=fields(number, properties))
        took.append(clock() - started)
    return took


def delivered(pipeline: Pipeline, events: int) -> None:
    """
    Wait until all is delivered.

    Raises:
        RuntimeError: If it is not, or anything was lost.
    """
    pipeline.flush(PATIENCE)
    if pipeline.stats.delivered != events:
        raise RuntimeError(f"{pipeline.stats.delivered} of {events} delivered: {pipeline.stats}")


def with_properties(address: str, properties: int) -> Figures:
    """Measure calls with so many properties."""
    bare, ours, pipeline = loggers(address)
    floor = timed(bare, range(EVENTS), properties)
    began = time.process_time()
    took = timed(ours, range(EVENTS), properties)
    delivered(pipeline, EVENTS)
    cpu = time.process_time() - began
    return {"bare": median(floor) / 1e3, "call": median(took) / 1e3, "cpu": cpu / EVENTS * 1e6}


def with_threads(address: str, threads: int) -> Figures:
    """Measure calls from so many threads at once."""
    bare, ours, pipeline = loggers(address)
    figures: Figures = {}
    for name, logger in (("bare", bare), ("call", ours)):
        took: list[int] = []
        share = EVENTS // threads
        workers = [
            threading.Thread(
                target=lambda numbers, logger=logger, took=took: took.extend(
                    timed(logger, numbers)
                ),
                args=(range(each * share, (each + 1) * share),),
            )
            for each in range(threads)
        ]
        began = time.process_time()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        if logger is ours:
            delivered(pipeline, share * threads)
        figures[name] = median(took) / 1e3
        figures[f"{name} cpu"] = (time.process_time() - began) / share / threads * 1e6
    return figures


def with_events(address: str, events: int) -> Figures:
    """Measure so many events in one go."""
    bare, ours, pipeline = loggers(address)
    figures: Figures = {}
    for name, logger in (("bare", bare), ("call", ours)):
        memory, began, thread = peak(), time.process_time(), time.thread_time()
        log(logger, range(events))
        figures[name] = (time.thread_time() - thread) / events * 1e6
        if logger is ours:
            delivered(pipeline, events)
            figures["cpu"] = (time.process_time() - began) / events * 1e6
            figures["memory"] = (peak() - memory) / 1e6
    return figures


def with_depth(address: str, depth: int) -> Figures:
    """Measure calls while so many events wait, in memory."""
    return waiting(address, depth)


def with_spool(address: str, depth: int) -> Figures:
    """Measure calls while so many events wait, on the disk."""
    with tempfile.TemporaryDirectory() as folder:
        return waiting(address, depth, spool=folder, spool_max_bytes=2_000_000_000)


def waiting(address: str, depth: int, **settings: object) -> Figures:
    """Let so many events wait, and measure then."""
    bare, ours, pipeline = loggers(address, max_events=depth + 2 * PROBES, **settings)
    floor = timed(bare, range(PROBES))
    # The first events of a process open what they need.
    log(ours, range(PROBES))
    memory = peak()
    log(ours, range(PROBES, PROBES + depth))
    # All that can be packed is: from here on the calls are alone.
    before = -1
    while before != (before := pipeline.stats.queued_bytes):
        time.sleep(1.0)  # Nobody tells when the worker has nothing to pack.
    took = timed(ours, range(PROBES + depth, depth + 2 * PROBES))
    stats = []
    for _ in range(9):
        started = time.perf_counter()
        known = pipeline.stats
        stats.append(time.perf_counter() - started)
    if known.queued != depth + 2 * PROBES:
        raise RuntimeError(f"not all are waiting: {known}")
    pipeline.close(0)
    return {
        "bare": median(floor) / 1e3,
        "call": median(took) / 1e3,
        "stats": median(stats) * 1e6,
        "memory": (peak() - memory) / 1e6,
    }


def peak() -> int:
    """Give the most memory that this process has held so far, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1_024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


CELLS = {
    "properties": with_properties,
    "threads": with_threads,
    "events": with_events,
    "depth": with_depth,
    "spool": with_spool,
}


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    print(json.dumps(CELLS[sys.argv[1]](sys.argv[3], int(sys.argv[2]))))
