"""
Show that nothing becomes an event by accident: each event costs money.

    python benchmarks/cost_guard.py                 a minute for each example
    python benchmarks/cost_guard.py --seconds 15    less
    python benchmarks/cost_guard.py --only flask    examples with this word in their name

Each program in `examples/` runs as it is, with a second handler of ours that gets every record of
every logger at DEBUG, all libraries traced, and the ids of traces on each record (`guard/`). What
the program means to send is known; each of the two handlers must send exactly that. Needs, beside
the package with all extras: flask, gunicorn, redis, a `redis-server`, requests, and
opentelemetry-instrumentation- celery, flask, httpx, logging, redis, requests, sqlite3, starlette
and urllib.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

    from mixpanel_export.emulator import EmulatorProcess

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent / "examples"
PATIENCE = 60.0
GUESSES = "".join(f"{guess}\n" for guess in range(1, 101))
USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@dataclass
class Guard:
    """
    One program under way: where it delivers to, and what it meant to send so far.
    """

    emulator: EmulatorProcess
    folder: Path
    seconds: float
    environment: dict[str, str]
    meant: Counter[str] = field(default_factory=Counter)

    def turns(self) -> Iterator[None]:
        """
        Give one turn after the other until the time is over.
        """
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            yield

    def run(self, *command: str, stdin: str = "") -> None:
        """
        Run a program to its end.
        """
        with (self.folder / "said").open("ab") as said:
            subprocess.run(
                [sys.executable, *command],
                input=stdin.encode(),
                cwd=EXAMPLES,
                env=self.environment,
                stdout=said,
                stderr=said,
                timeout=PATIENCE,
                check=True,
            )

    @contextmanager
    def service(self, *command: str) -> Iterator[None]:
        """
        Run a service; SIGTERM ends it.
        """
        with (self.folder / "said").open("ab") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=EXAMPLES,
                env=self.environment,
                stdout=said,
                stderr=said,
            )
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)

    def total(self) -> int:
        """
        Count what has arrived.
        """
        distinct: int = self.emulator.stats()["distinct"]
        return distinct


# -- what the programs do, and mean to send -------------------------------------------------------


def plain_script(guard: Guard) -> None:
    """
    Convert five files, again and again.
    """
    files = [guard.folder / f"{number}.csv" for number in range(5)]
    for file in files:
        file.write_text("kind,price\ngreen,5\n", encoding="utf-8")
    for _ in guard.turns():
        guard.run("plain_script.py", *map(str, files))
        guard.meant["File Converted"] += len(files)


def structlog_script(guard: Guard) -> None:
    """
    Win a game, again and again.
    """
    for _ in guard.turns():
        guard.run("structlog_script.py", "alice", stdin=GUESSES)
        guard.meant.update(["Game Started", "Game Won"])


def otel_script(guard: Guard) -> None:
    """
    Count the words of five files, one of them empty, again and again.
    """
    files = [guard.folder / f"{number}.txt" for number in range(5)]
    for file in files:
        file.write_text("" if file is files[0] else "one two three", encoding="utf-8")
    for _ in guard.turns():
        guard.run("otel_script.py", "alice", *map(str, files))
        guard.meant["Words Counted"] += len(files)
        guard.meant["Empty File Found"] += 1


def starlette_app(guard: Guard) -> None:
    """
    Order tea, of which every other is sold out.
    """
    command = ("uvicorn", "starlette_app:app", "--log-level", "trace")
    with guard.service(*command, "--uds", socket(guard)), client(guard) as shop:
        for _ in guard.turns():
            post(
                shop, "/orders", {"tea": "oolong"}, 202, {"Authorization": "Bearer secret-of-mary"}
            )
            post(shop, "/orders", {"tea": "mate"}, 404)
            guard.meant.update(["Tea Ordered", "Tea Sold Out"])


def flask_app(guard: Guard) -> None:
    """
    Log in, and order tea.
    """
    with gunicorn(guard, "flask_app:app"), client(guard) as shop:
        for _ in guard.turns():
            post(shop, "/login", {"name": "mary"}, 200)
            post(shop, "/orders", {"tea": "oolong"}, 200)
            guard.meant.update(["Logged In", "Tea Ordered", "Tea Brewed"])


def django_app(guard: Guard) -> None:
    """
    Order tea; each password is looked up in a database.
    """
    guard.environment["DATABASE"] = str(guard.folder / "shop.sqlite3")
    guard.environment["DJANGO_SUPERUSER_PASSWORD"] = "tea"
    guard.environment["GUARD_DJANGO"] = "1"
    guard.run("django_app.py", "migrate")
    user = ("--username", "mary", "--email", "mary@example.com")
    guard.run("django_app.py", "createsuperuser", "--noinput", *user)
    with gunicorn(guard, "django_app:wsgi"), client(guard) as shop:
        shop.auth = ("mary", "tea")
        for _ in guard.turns():
            post(shop, "/orders", {"tea": "oolong"}, 202)
            guard.meant["Tea Ordered"] += 1


def celery_app(guard: Guard) -> None:
    """
    Order tea, which a worker brews, at the second try, and serves.
    """
    with redis(guard) as broker:
        guard.environment["BROKER"] = broker
        work = ("celery", "-A", "celery_app:jobs", "worker", "--concurrency", "2", "-E")
        with (
            gunicorn(guard, "celery_app:web"),
            guard.service(*work, "--loglevel", "DEBUG"),
            client(guard) as shop,
        ):
            shop.auth = ("mary", "")
            for _ in guard.turns():
                post(shop, "/orders", {"tea": "oolong"}, 202)
                guard.meant.update(["Tea Ordered", "Tea Brewed", "Tea Served"])
                time.sleep(0.02)  # So that tasks do not pile up.
            # Two handlers send each.
            await_(lambda: guard.total() >= 2 * guard.meant.total(), "the work is not done")


# -- what they have in common ---------------------------------------------------------------------


def await_(done: Callable[[], bool], what: str) -> None:
    """
    Wait for something; raises TimeoutError if it does not come.
    """
    limit = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > limit:
            raise TimeoutError(what)
        time.sleep(0.05)  # Another process tells only when it is asked.


def socket(guard: Guard) -> str:
    """
    Name the socket on which a server listens.
    """
    return str(guard.folder / "web.sock")


@contextmanager
def gunicorn(guard: Guard, application: str) -> Iterator[None]:
    """
    Serve an application with two workers.
    """
    options = ("--workers", "2", "--log-level", "debug", "--access-logfile", "-")
    with guard.service("gunicorn", application, "--bind", f"unix:{socket(guard)}", *options):
        yield


@contextmanager
def client(guard: Guard) -> Iterator[httpx.Client]:
    """
    Give a client of the server, once that listens.
    """
    import httpx

    await_(Path(socket(guard)).exists, "the server does not start")
    transport = httpx.HTTPTransport(uds=socket(guard), retries=5)
    with httpx.Client(
        transport=transport,
        base_url="http://shop.example",
        headers={"User-Agent": USER_AGENT},
        timeout=PATIENCE,
    ) as client:
        yield client


def post(
    shop: httpx.Client,
    path: str,
    data: Mapping[str, str],
    status: int,
    headers: Mapping[str, str] | None = None,
) -> None:
    """
    Send a form; raises RuntimeError if the answer is another one.
    """
    answer = shop.post(path, data=data, headers=headers)
    if answer.status_code != status:
        raise RuntimeError(f"{path} answered {answer.status_code}")


@contextmanager
def redis(guard: Guard) -> Iterator[str]:
    """
    Run a broker, and give its address.
    """
    path = guard.folder / "redis.sock"
    options = ("--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(guard.folder))
    server = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
    try:
        await_(path.exists, "the broker does not start")
        yield f"redis+socket://{path}"
    finally:
        server.terminate()
        server.wait(PATIENCE)


# Each program, who provides its tracing, and whether it says what it means through `logging`.
PROGRAMS = (
    (plain_script, "script", True),
    (structlog_script, "script", False),
    (otel_script, "own", False),
    (starlette_app, "server", True),
    (flask_app, "server", True),
    (django_app, "server", True),
    (celery_app, "server", True),
)


def guarded(
    program: Callable[[Guard], None], provider: str, logs: bool, seconds: float
) -> tuple[str, bool]:
    """
    Run one program; returns its row, and whether exactly what it meant was sent.
    """
    from mixpanel_export.emulator import EmulatorProcess

    with EmulatorProcess("--max-stored", "0") as emulator, tempfile.TemporaryDirectory() as folder:
        tally = Path(folder) / "tally"
        environment = {
            **{name: text for name, text in os.environ.items() if not name.startswith("OTEL_")},
            "GUARD_PROVIDER": provider,
            "GUARD_TALLY": str(tally),
            "GUARD_URL": emulator.url,
            "MIXPANEL_BASE_URL": emulator.url,
            "MIXPANEL_TOKEN": "benchmark",
            "NO_PROXY": "*",
            "PYTHONPATH": os.pathsep.join([str(HERE / "guard"), str(HERE.parent)]),
        }
        begun = time.monotonic()
        guard = Guard(emulator, Path(folder), seconds, environment)
        try:
            program(guard)
        except Exception:
            print((Path(folder) / "said").read_text(errors="replace")[-4000:], file=sys.stderr)
            raise
        took = time.monotonic() - begun
        sent: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
        for event in emulator.events(dedup=True):
            sent["heard" in event["properties"]][event["event"]] += 1
        heard = Counter(tally.read_text())
    by_program, by_guard = sent[False], sent[True]
    wanted = guard.meant if logs else Counter()
    wrong = [
        f"{name!r}: {found[name]} for {meant[name]}"
        for found, meant in ((by_program, guard.meant), (by_guard, wanted))
        for name in sorted({*found, *meant})
        if found[name] != meant[name]
    ]
    cells = (
        program.__name__,
        f"{took:.0f}",
        str(guard.meant.total()),
        str(by_program.total()),
        str(by_guard.total()),
        str(heard["t"] + heard["r"] - by_guard.total()),
        str(heard["t"]),
        str(heard["s"]),
        "; ".join(wrong) or "exactly these",
    )
    return f"| {' | '.join(cells)} |", not wrong


def main() -> int:
    """
    Print the table; returns 1 if anything was sent that was not meant, or the other way round.
    """
    options = argparse.ArgumentParser(description=(__doc__ or "").strip().partition("\n")[0])
    options.add_argument("--seconds", type=float, default=60.0, help="for how long each runs")
    options.add_argument("--only", default="", help="run programs with this in their name")
    chosen = options.parse_args()
    print(
        "| program | seconds | meant | sent | sent by the second handler | ignored there"
        " | records in a trace | spans of clients | |"
    )
    print(f"|---|{'--:|' * 7}---|")
    good = True
    for program, provider, logs in PROGRAMS:
        if chosen.only in program.__name__:
            row, right = guarded(program, provider, logs, chosen.seconds)
            good = good and right
            print(row, flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
