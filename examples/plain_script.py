"""
Convert CSV files to JSON, and tell Mixpanel how the tool is used.

    MIXPANEL_TOKEN=... python plain_script.py orders.csv customers.csv

Each file converted is an event, because its record has fields of its own. The other lines go to the
terminal only. Nothing needs to be flushed: what is queued is delivered when the script ends.
"""

import csv
import getpass
import json
import logging.config
import platform
import sys
import time
from hashlib import sha256
from pathlib import Path

import mixpanel_export

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(levelname)s %(message)s"}},
    "handlers": {
        "terminal": {"class": "logging.StreamHandler", "formatter": "line"},
        "mixpanel": {"class": "mixpanel_export.MixpanelHandler", "level": "INFO"},
    },
    "root": {"level": "INFO", "handlers": ["terminal", "mixpanel"]},
}

log = logging.getLogger("convert")


def convert(path: Path) -> None:
    """Write the rows of *path* to a file beside it, as a list of objects."""
    began = time.perf_counter()
    with path.open(newline="", encoding="utf-8") as source:
        rows = list(csv.DictReader(source))
    path.with_suffix(".json").write_text(json.dumps(rows, indent=2), encoding="utf-8")
    seconds = round(time.perf_counter() - began, 3)
    log.info("File Converted", extra={"rows": len(rows), "seconds": seconds})


def main() -> None:
    """Convert all files that are named on the command line."""
    logging.config.dictConfig(LOGGING)
    # The same person on the same machine has the same id, without being named by it.
    person = sha256(f"{getpass.getuser()}@{platform.node()}".encode()).hexdigest()[:32]
    with mixpanel_export.bound(distinct_id=person, version="1.2"):
        for name in sys.argv[1:]:
            log.info("reading %s", name)
            convert(Path(name))


if __name__ == "__main__":
    main()
