"""
A Celery application whose worker logs when it starts and in each task.

As a program it is the other side: it asks for so many tasks. ``SHOP_END`` says what a worker's
child does for the end: ``nothing``, or ``signal`` to flush when Celery says that it ends.
"""

import importlib
import os
import sys

# Not installed where types are checked.
celery = importlib.import_module("celery")

app = celery.Celery("shop", broker=os.environ["SHOP_BROKER"])

if __name__ == "__main__":
    for _ in range(int(sys.argv[1])):
        app.send_task("shop.serve")
else:
    from shop import emit, handler  # type: ignore[import-not-found]  # It lies beside this file.

    emit(100, "import")

    def serve() -> None:
        """
        Do a task.
        """
        emit(5, "task")

    def end(**_: object) -> None:
        """
        Deliver before the child ends, which it does without a word to anybody else.
        """
        handler.pipeline.flush()

    app.task(name="shop.serve")(serve)
    if os.environ["SHOP_END"] == "signal":
        importlib.import_module("celery.signals").worker_process_shutdown.connect(end)
