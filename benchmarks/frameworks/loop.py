"""
An asyncio program: logs on the loop, waits for delivery without blocking it.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from shop import emit, ends, handler  # type: ignore[import-not-found]  # It lies beside this file.


class Pulse:
    """
    The longest time for which the loop did not come round.
    """

    def __init__(self) -> None:
        self.longest = 0.0

    async def beat(self) -> None:
        """
        Measure until cancelled.
        """
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.001)  # What is longer is the loop's pause.
            self.longest = max(self.longest, time.monotonic() - before - 0.001)


async def visit(log: Callable[[], object]) -> None:
    """
    Log as a request does, and wait for something in between.
    """
    for _ in range(50):
        log()
        await asyncio.sleep(0.01)  # As for a database.


async def pause(work: Awaitable[object]) -> str:
    """
    Do *work*, and say how long the loop paused meanwhile.
    """
    pulse = Pulse()
    beat = asyncio.create_task(pulse.beat())
    await work
    beat.cancel()
    return f"{pulse.longest * 1_000:.0f} ms"


async def main() -> None:
    """
    Log 10,000 events from 40 tasks, then wait until they are delivered.
    """
    elsewhere = logging.getLogger("elsewhere")
    elsewhere.addHandler(logging.NullHandler())
    elsewhere.propagate = False

    def log_elsewhere() -> None:
        for number in range(5):
            elsewhere.warning("Happened", extra={"distinct_id": "task", "number": number})

    without = await pause(asyncio.gather(*(visit(log_elsewhere) for _ in range(40))))
    logged = await pause(asyncio.gather(*(visit(lambda: emit(5, "task")) for _ in range(40))))
    before = time.monotonic()
    flushed = await pause(handler.pipeline.aflush(10))
    seconds = time.monotonic() - before
    ends(
        f"the loop's longest pause: {without} with another handler, {logged} with ours,"
        f" {flushed} in the {seconds:.2f} s of aflush"
    )


asyncio.run(main())
