"""
A job of RQ, whose workers fork a process for each; and, as a program, what asks for so many.

``SHOP_END`` says what a job does at its end: ``nothing``, or ``flush``.
"""

import importlib
import os
import sys


def serve() -> None:
    """
    Do a job.
    """
    from shop import emit, handler  # type: ignore[import-not-found]  # It lies beside this file.

    emit(5, "job")
    if os.environ["SHOP_END"] == "flush":
        handler.pipeline.flush()


if __name__ == "__main__":
    # Not installed where types are checked.
    connection = importlib.import_module("redis").Redis.from_url(os.environ["SHOP_BROKER"])
    jobs = importlib.import_module("rq").Queue(connection=connection)
    for _ in range(int(sys.argv[1])):
        jobs.enqueue("jobs.serve")
