"""
A program under gevent, which replaces threads, queues and sleeping before anything else happens.
"""

import importlib
import os
import signal
import sys
import time

# Not installed where types are checked.
gevent = importlib.import_module("gevent")
importlib.import_module("gevent.monkey").patch_all()

from shop import emit, ends, handler  # type: ignore[import-not-found]  # noqa: E402  # Only now.

from mixpanel_export import drain_on_sigterm  # noqa: E402  # Only now.


def trickle(where: str) -> None:
    """
    Log, and let others have their turn.
    """
    for _ in range(20):
        emit(1, where)
        gevent.sleep(0.001)  # Whoever sleeps lets others run.


def main(case: str) -> None:
    """
    Log from greenlets, from a real thread, from a child.
    """
    pool = gevent.get_hub().threadpool
    if case in {"pool first", "pool flushes"}:
        # A real thread has the first event, and does not come back to a loop afterwards.
        pool.apply(emit, (50, "pool"))
    if case == "pool flushes":
        pool.apply(handler.pipeline.flush)
    if case == "sigterm":
        drain_on_sigterm()
    gevent.joinall([gevent.spawn(trickle, "greenlet") for _ in range(50)])
    if case == "pool later":
        pool.apply(emit, (50, "pool"))
    if case == "fork":
        child = os.fork()
        if not child:
            gevent.joinall([gevent.spawn(trickle, "child") for _ in range(10)])
            # Time for the parent's greenlets, which are here too.
            gevent.sleep(0.5)
            sys.exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            raise RuntimeError(f"the child ended with {status}")
    ends()
    if case == "sigterm":
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)  # Until the signal ends it.


main(sys.argv[1])
