"""
The application of all cases: a logger that exports, and a tally of the calls that returned.

Where it delivers to, and how, stands in the environment, as with any application.
"""

from __future__ import annotations

import itertools
import logging
import os
import time

from mixpanel_export import MixpanelHandler

# What the package itself has to say goes to stderr, with its name in front.
logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")

handler = MixpanelHandler()
log = logging.getLogger("shop")
log.setLevel(logging.INFO)
log.propagate = False
log.addHandler(handler)

# Appending is one step, for all processes that inherit or open the file.
_tally = os.open(os.environ["SHOP_TALLY"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
_numbers = itertools.count()


def emit(count: int, where: str) -> None:
    """
    Log *count* events, and enter each in the tally once its call has returned.
    """
    for _ in range(count):
        call = f"{os.getpid()}-{next(_numbers)}"
        log.info("Happened", extra={"distinct_id": where, "call": call})
        os.write(_tally, f"{where}\n".encode())


def ends(note: str = "") -> None:
    """
    Say that from here on the process does nothing but end.
    """
    print(f"ends {time.monotonic()} {note}", flush=True)
