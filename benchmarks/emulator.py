"""
Measure how many events a second the emulator takes, and whether its memory stays as it is.

    python benchmarks/emulator.py                     2,000,000 events
    python benchmarks/emulator.py --events 200000     fewer
    python benchmarks/emulator.py --page              with a page open that listens

An emulator and this generator beside it, on the same machine: requests to /import?strict=1 with
2,000 events of about 420 bytes each, no two alike, of 5,000 users with two ids each, uncompressed,
over four connections. Each line of the table stands for a quarter of the events. Linux only: memory
is what /proc says.
"""

from __future__ import annotations

import argparse
import http.client
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from mixpanel_export.emulator import EmulatorProcess

BATCH = 2_000
CONNECTIONS = 4
USERS = 5_000
TEXT = "x" * 200


def body(start: int) -> bytes:
    """
    Return a request of events that were never sent before.
    """
    now_ms = int(time.time() * 1000)
    rows = [
        f'{{"event":"Order Placed","properties":{{"time":{now_ms - number % 1000},'
        f'"distinct_id":"user-{number % USERS}","$user_id":"user-{number % USERS}",'
        f'"$device_id":"device-{number % USERS}","$insert_id":"benchmark-{number}",'
        f'"ip":"0","plan":"pro","total":{number / 100},"text":"{TEXT}"}}}}'
        for number in range(start, start + BATCH)
    ]
    return f"[{','.join(rows)}]".encode()


def send(netloc: str, starts: Iterator[int], lock: threading.Lock) -> None:
    """
    Send requests on one connection, until there are no more.
    """
    connection = http.client.HTTPConnection(netloc, timeout=60)
    headers = {"Authorization": "Basic T:", "Content-Type": "application/json"}
    while True:
        with lock:
            start = next(starts, None)
        if start is None:
            connection.close()
            return
        connection.request("POST", "/import?strict=1", body(start), headers)
        answer = connection.getresponse()
        if (text := answer.read()) and answer.status != 200:
            raise RuntimeError(f"answered {answer.status}: {text.decode()}")


def listen(netloc: str) -> None:
    """
    Read what an open page is told, to its end.
    """
    connection = http.client.HTTPConnection(netloc, timeout=60)
    connection.request("GET", "/_emulator/live")
    stream = connection.getresponse()
    while stream.read1():
        continue


def memory(pid: int) -> float:
    """
    Return what a process holds, in megabytes.
    """
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    (resident,) = (line.split()[1] for line in lines if line.startswith("VmRSS"))
    return int(resident) / 1024


def seconds_of_cpu(pid: int) -> float:
    """
    Return the processor time that a process has used.
    """
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def main() -> None:
    """
    Measure, and print a table.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--page", action="store_true")
    chosen = parser.parse_args()
    quarter = chosen.events // 4 // BATCH * BATCH
    with EmulatorProcess("--hot-shard-events", "0") as emulator:
        netloc = urlsplit(emulator.url).netloc
        if chosen.page:
            threading.Thread(target=listen, args=(netloc,), daemon=True).start()
        print(f"{'events':>10} {'events/s':>9} {'CPU s per million':>18} {'memory, MB':>11}")
        print(f"{0:>10,} {'':>9} {'':>18} {memory(emulator.pid):>11.1f}")
        for part in range(4):
            lock = threading.Lock()
            starts = iter(range(part * quarter, (part + 1) * quarter, BATCH))
            senders = [
                threading.Thread(target=send, args=(netloc, starts, lock))
                for _ in range(CONNECTIONS)
            ]
            began, cpu = time.monotonic(), seconds_of_cpu(emulator.pid)
            for sender in senders:
                sender.start()
            for sender in senders:
                sender.join()
            rate = quarter / (time.monotonic() - began)
            cost = (seconds_of_cpu(emulator.pid) - cpu) / quarter * 1e6
            total = emulator.stats()["distinct"]
            print(f"{total:>10,} {rate:>9,.0f} {cost:>18.1f} {memory(emulator.pid):>11.1f}")
            if total != (part + 1) * quarter:
                raise SystemExit(f"{(part + 1) * quarter - total} events are missing")


if __name__ == "__main__":
    main()
