"""
Send the requests of an Apache access log (combined format) to Mixpanel, one page view each.

    MIXPANEL_TOKEN=... python access_log.py /var/log/apache2/access.log
    zcat access.log.2.gz | MIXPANEL_TOKEN=... python access_log.py

A log may be sent again: a request's `$insert_id` is a hash of its line and the line's number, so
Mixpanel's reports show it once. Give whole files; in a part of one the lines have other numbers.
"""

import logging
import re
import sys
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from mixpanel_export import MixpanelHandler

LINE = re.compile(
    r'(?P<ip>\S+) \S+ \S+ \[(?P<time>[^]]+)\] "(?P<method>[A-Z]+) (?P<url>\S+)(?: [^"]*)?"'
    r' (?P<status>\d{3}) [\d-]+ "(?P<referrer>(?:[^"\\]|\\.)*)"'
    r' "(?P<agent>(?:[^"\\]|\\.)*)"?'  # Crawlers with a line break in their name end without quote.
)
FLUSH_EVERY = 20_000  # A file is read faster than the network carries it: let it catch up.
PATIENCE = 300.0  # Seconds that Mixpanel may be unreachable. What is lost then, a second run sends.

log = logging.getLogger("access_log")


def track(number: int, line: str) -> None:
    """Log the request in *line*; raises ValueError if there is none."""
    match = LINE.fullmatch(line)
    if match is None:
        raise ValueError("not a request in combined format")
    ip, agent = match["ip"], match["agent"]
    fields = {
        "time": datetime.strptime(match["time"], "%d/%b/%Y:%H:%M:%S %z"),
        # The same visitor has the same id on every day, without being named by it.
        "distinct_id": sha256(f"{ip} {agent}".encode()).hexdigest()[:32],
        "$insert_id": sha256(f"{number} {line}".encode()).hexdigest()[:32],
        "ip": ip,
        "method": match["method"],
        "status": int(match["status"]),
        "user_agent": agent,
        # What follows a question mark may be a secret, a key to reset a password say.
        "path": match["url"].partition("?")[0],
    }
    if match["referrer"] not in {"", "-"}:
        fields["$referrer"] = match["referrer"].partition("?")[0]
    log.info("Page Viewed", extra=fields)


def main() -> int:
    """Send everything; returns 0 if all of it arrived."""
    handler = MixpanelHandler()
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "/dev/stdin")
    requests = malformed = 0
    with path.open(encoding="utf-8", errors="backslashreplace") as source:
        for number, line in enumerate(source, 1):
            try:
                track(number, line.rstrip("\n"))
                requests += 1
            except ValueError as error:
                malformed += 1
                print(f"line {number}: {error}", file=sys.stderr)
            if number % FLUSH_EVERY == 0:
                handler.pipeline.flush(PATIENCE)
    handler.pipeline.close(PATIENCE)
    stats = handler.pipeline.stats
    print(
        f"{requests:,} requests ({malformed:,} malformed lines):"
        f" {stats.accepted:,} accepted, {stats.delivered:,} delivered,"
        f" {stats.rejected:,} rejected, {sum(stats.dropped.values()):,} dropped,"
        f" {stats.abandoned:,} abandoned"
    )
    return 0 if stats.delivered == requests else 1


if __name__ == "__main__":
    sys.exit(main())
