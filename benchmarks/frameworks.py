"""
Show that everything arrives, under the servers and frameworks that people use.

    python benchmarks/frameworks.py                   in an environment made for the run
    python benchmarks/frameworks.py --venv DIR        in this one, with what is installed there
    python benchmarks/frameworks.py --only gunicorn   cases with this word in their name

Each case is a real program (`frameworks/`) that delivers to an emulator on this machine. It counts
the log calls that returned; the emulator's events are compared with that. Celery and RQ need a
`redis-server`, uWSGI a C compiler.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import venv
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mixpanel_export.emulator import EmulatorProcess

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = Path(__file__).resolve().parent / "frameworks"
CERTIFICATES = ROOT / "tests" / "lifecycle" / "certificates"
FRAMEWORKS = ("gunicorn", "uvicorn", "uwsgi", "celery[redis]", "rq", "gevent")
#: An older uWSGI, which has no threads unless told so: its program in an environment of its own.
OLD_UWSGI = "../old/bin/uwsgi"

#: How long anything may take, in seconds; then it hangs, and says where.
PATIENCE = 60.0
REQUESTS = 200


class MissingError(Exception):
    """
    What a case needs is not here.
    """


@dataclass
class Run:
    """
    One case under way: where it delivers to, what it was seen to do.
    """

    emulator: EmulatorProcess
    folder: Path
    environment: dict[str, str]
    seconds: float | None = None
    notes: list[str] = field(default_factory=list)
    said: str = ""

    @property
    def tally(self) -> Counter[str]:
        """
        How many log calls have returned so far, by where they stand in the program.
        """
        path = self.folder / "tally"
        return Counter(path.read_text().splitlines() if path.exists() else ())

    def start(self, *command: str | Path) -> subprocess.Popen[bytes]:
        """
        Start a program that will be stopped with all its children.
        """
        with (self.folder / "said").open("ab") as said:
            return subprocess.Popen(
                command,
                cwd=PROGRAMS,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def await_end(self, program: subprocess.Popen[bytes]) -> float:
        """
        Wait until *program* has ended by itself, and say when; if it hangs, have it say where.
        """
        try:
            program.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.notes.append("HANGS")
            # With PYTHONFAULTHANDLER each process of the group prints its stacks.
            os.killpg(program.pid, signal.SIGABRT)
            program.wait()
        ended = time.monotonic()
        # Helpers of multiprocessing notice a moment later that they are alone.
        try:
            until(lambda: not lives(program.pid), "left processes behind", patience=2.0)
        except TimeoutError as error:
            self.notes.append(str(error))
            os.killpg(program.pid, signal.SIGKILL)
        return ended

    def await_delivery(self) -> None:
        """
        Wait until everything logged so far has arrived, without anybody's doing anything.
        """
        # Not the same number all the time: a worker may be late and log when it is imported.
        with contextlib.suppress(TimeoutError):
            until(lambda: self.emulator.stats()["distinct"] == self.tally.total(), "", patience=8.0)
            return
        arrived, logged = self.emulator.stats()["distinct"], self.tally.total()
        self.notes.append(f"while it was idle only {arrived} of {logged} arrived")

    def script(self, *command: str | Path, ends_by: int = 0) -> None:
        """
        Run a program of ours to its end, and measure how long that takes once it has nothing to do.
        """
        program = self.start(sys.executable, *command)
        ended = self.await_end(program)
        if program.returncode != ends_by:
            self.notes.append(f"exit status {program.returncode}")
        for line in self.read().splitlines():
            if line.startswith("ends "):
                _, moment, note = line.split(" ", 2)
                self.seconds = ended - float(moment)
                self.notes += filter(None, [note])

    def service(
        self, *command: str | Path, use: Callable[[], object], ends_by: Sequence[int] = (0,)
    ) -> None:
        """
        Run a service, *use* it, tell it to end by SIGTERM, and measure how long that takes.
        """
        program = self.start(*command)
        try:
            use()
        except TimeoutError as error:
            self.notes.append(str(error))
        told = time.monotonic()
        program.send_signal(signal.SIGTERM)
        self.seconds = self.await_end(program) - told
        if program.returncode not in ends_by:
            self.notes.append(f"exit status {program.returncode}")

    def read(self) -> str:
        """
        Return everything that the programs said.
        """
        return (self.folder / "said").read_text(errors="replace")


@dataclass(frozen=True)
class Case:
    """
    One row: its name, what it needs from pip, and what it does.
    """

    name: str
    run: Callable[[Run], None]
    needs: tuple[str, ...] = ()


def lives(group: int) -> bool:
    """
    Say whether a group of processes has members left.
    """
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def until(done: Callable[[], bool], what: str, *, patience: float = PATIENCE) -> None:
    """
    Wait for something that is about to happen.

    Raises:
        TimeoutError: If it does not.
    """
    limit = time.monotonic() + patience
    while not done():
        if time.monotonic() > limit:
            raise TimeoutError(what)
        time.sleep(0.05)  # Another process tells only when it is asked.


# -- what cases have in common --------------------------------------------------------------------


def free_port() -> int:
    """
    Find a port that nobody listens on.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def accepts(port: int) -> bool:
    """
    Say whether somebody listens.
    """
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def get(port: int) -> None:
    """
    Ask a web application for something.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE / 4)
    try:
        connection.request("GET", "/")
        answer = connection.getresponse().read()
    finally:
        connection.close()
    if answer != b"ok":
        raise RuntimeError(f"the application answered {answer!r}")


def visit(run: Run, port: int) -> None:
    """
    Send requests, eight at a time; more when all is quiet, so that the end finds something to do.
    """
    until(lambda: accepts(port), "nobody listens")
    with ThreadPoolExecutor(8) as visitors:
        list(visitors.map(get, [port] * REQUESTS))
        run.await_delivery()
        list(visitors.map(get, [port] * REQUESTS))


def web(*command: str, ends_by: Sequence[int] = (0,), **variables: str) -> Callable[[Run], None]:
    """
    Make the case of a web server; ``{port}`` in its command is where it listens.
    """

    def case(run: Run) -> None:
        port = free_port()
        run.environment.update(variables)
        words = [word.format(port=port) for word in command]
        first = Path(sys.prefix) / "bin" / words[0]
        if not first.exists():
            raise MissingError(f"no {words[0]}")
        run.service(first, *words[1:], use=lambda: visit(run, port), ends_by=ends_by)

    return case


def program(*command: str, ends_by: int = 0, **variables: str) -> Callable[[Run], None]:
    """
    Make the case of a program that ends by itself.
    """

    def case(run: Run) -> None:
        run.environment.update(variables)
        run.script(*command, ends_by=ends_by)

    return case


@contextlib.contextmanager
def tunnel(run: Run, *arguments: object) -> Iterator[int]:
    """
    Run `frameworks/tunnel.py`, and give its port.
    """
    command = [sys.executable, str(PROGRAMS / "tunnel.py"), *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=run.folder) as process:
        try:
            yield int(process.stdout.readline() if process.stdout else "")
        finally:
            process.terminate()


# -- cases that are more than a command -----------------------------------------------------------


@contextlib.contextmanager
def broker(run: Run) -> Iterator[str]:
    """
    Run a Redis, and give its address.
    """
    server = shutil.which("redis-server")
    if server is None:
        raise MissingError("no redis-server")
    port = free_port()
    options = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
    redis = subprocess.Popen(
        [server, *options], cwd=run.folder, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        until(lambda: accepts(port), "the broker does not start")
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        redis.terminate()
        redis.wait()


def celery(*, end: str) -> Callable[[Run], None]:
    """
    Make the case of a Celery worker that forks two children beforehand.
    """

    def case(run: Run) -> None:
        # Longer than an idle child takes to end, so that it is seen whether it cares.
        run.environment.update(SHOP_END=end, MIXPANEL_FLUSH_INTERVAL="6")

        def ask(total: int) -> None:
            run.await_end(run.start(sys.executable, "tasks.py", str(REQUESTS)))
            until(lambda: run.tally["task"] == total, "tasks were not done")

        def use() -> None:
            ask(5 * REQUESTS)
            run.await_delivery()
            ask(10 * REQUESTS)

        command = ("-m", "celery", "-A", "tasks", "worker", "-P", "prefork", "-c", "2")
        with broker(run) as address:
            run.environment.update(SHOP_BROKER=address)
            run.service(sys.executable, *command, use=use)

    return case


def rq(*, end: str) -> Callable[[Run], None]:
    """
    Make the case of an RQ worker that forks for each job.
    """

    def case(run: Run) -> None:
        run.environment.update(SHOP_END=end)
        with broker(run) as address:
            run.environment.update(SHOP_BROKER=address)
            run.await_end(run.start(sys.executable, "jobs.py", "20"))
            run.script("-m", "rq.cli", "worker", "--burst", "--quiet", "--url", address)

    return case


def paced(run: Run) -> None:
    """
    3,600 requests an hour: 60 at once, then one a second.
    """
    run.environment.update(
        MIXPANEL_REQUESTS_PER_HOUR="3600",
        MIXPANEL_BATCH_EVENTS="10",
        MIXPANEL_SHUTDOWN_TIMEOUT="20",
    )
    run.script("script.py", "640")
    requests = sum(run.emulator.stats()["requests"].values())
    run.notes.append(f"{requests} requests; 60 may go at once, then one a second")


def proxied(run: Run) -> None:
    """
    A host that only the proxy knows.
    """
    port = run.emulator.url.rpartition(":")[2]
    with tunnel(run, "proxy", port) as proxy:
        run.environment.update(
            HTTP_PROXY=f"http://127.0.0.1:{proxy}", MIXPANEL_BASE_URL="http://mixpanel.test:8080"
        )
        run.script("script.py", "5000")


def private(*, trusted: bool, tunnelled: bool = False) -> Callable[[Run], None]:
    """
    Make the case of a server whose certificate comes from an authority that nobody knows.
    """

    def case(run: Run) -> None:
        variables = {"SSL_CERT_DIR": str(CERTIFICATES)} if trusted else {}
        port = run.emulator.url.rpartition(":")[2]
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(tunnel(run, "tls", port, CERTIFICATES / "server.pem"))
            host = "localhost"
            if tunnelled:
                proxy = stack.enter_context(tunnel(run, "proxy", server))
                variables["HTTPS_PROXY"] = f"http://127.0.0.1:{proxy}"
                host = "mixpanel.test"
            run.environment.update(variables, MIXPANEL_BASE_URL=f"https://{host}:{server}")
            run.script("script.py", "5000")

    return case


# -- the table ------------------------------------------------------------------------------------

GUNICORN = ("gunicorn", "--bind", "127.0.0.1:{port}", "--workers", "2", "wsgi:application")
UVICORN = ("uvicorn", "--port", "{port}", "--log-level", "warning", "asgi:application")
UWSGI = (
    *("uwsgi", "--http-socket", "127.0.0.1:{port}", "--module", "wsgi", "--need-app"),
    *("--virtualenv", sys.prefix, "--master", "--processes", "2"),
    # Else SIGTERM means to begin anew.
    *("--hook-master-start", "unix_signal:15 gracefully_kill_them_all"),
)

CASES = (
    Case("script", program("script.py", "5000")),
    Case("SIGTERM, as Python has it", program("sigterm.py", "plain", ends_by=-signal.SIGTERM)),
    Case("SIGTERM, `drain_on_sigterm()`", program("sigterm.py", "drain", ends_by=-signal.SIGTERM)),
    *(
        Case(f"multiprocessing, {method}", program("processes.py", method))
        for method in ("fork", "forkserver", "spawn")
    ),
    Case("gunicorn, 2 sync, --preload", web(*GUNICORN, "--preload"), ("gunicorn",)),
    Case("gunicorn, 2 sync", web(*GUNICORN), ("gunicorn",)),
    Case(
        "gunicorn, 2 gthread of 4, --preload",
        web(*GUNICORN, "--worker-class", "gthread", "--threads", "4", "--preload"),
        ("gunicorn",),
    ),
    Case("gunicorn, 2 gevent", web(*GUNICORN, "--worker-class", "gevent"), ("gunicorn", "gevent")),
    Case(
        "gunicorn, 2 gevent, --preload",
        web(*GUNICORN, "--worker-class", "gevent", "--preload"),
        ("gunicorn", "gevent"),
    ),
    Case(
        "gunicorn, 2 gevent, --preload, patched master",
        web(*GUNICORN, "--worker-class", "gevent", "--preload", "--config", "patched.py"),
        ("gunicorn", "gevent"),
    ),
    *(
        Case(", ".join(filter(None, ["uWSGI", options])), web(*UWSGI, *options.split()), ("uwsgi",))
        for options in (
            "",
            "--threads 4",
            "--py-call-uwsgi-fork-hooks",
            "--threads 4 --py-call-uwsgi-fork-hooks",
            "--lazy-apps",
        )
    ),
    # Long enough for a delivery thread to be in the middle of something, if there were one.
    Case(
        "uWSGI, a second between import and fork",
        web(*UWSGI, "--exec-post-app", "sleep 1"),
        ("uwsgi",),
    ),
    *(
        Case(f"uWSGI 2.0.21, {words}", web(OLD_UWSGI, *UWSGI[1:], *options))
        for words, options in (
            ("no threads", ()),
            ("no threads, --lazy-apps", ("--lazy-apps",)),
            ("--enable-threads", ("--enable-threads",)),
        )
    ),
    *(
        Case(f"uvicorn, {words}", web(*UVICORN, SHOP_END=end, ends_by=(-15,)), ("uvicorn",))
        for end, words in (
            ("nothing", "as it is"),
            ("sigterm", "`drain_on_sigterm()`"),
            ("lifespan", "`aflush()` at lifespan's end"),
        )
    ),
    Case("Celery, 2 prefork, as it is", celery(end="nothing"), ("celery", "redis")),
    Case(
        "Celery, 2 prefork, `flush()` in worker_process_shutdown",
        celery(end="signal"),
        ("celery", "redis"),
    ),
    Case("RQ, as it is", rq(end="nothing"), ("rq",)),
    Case("RQ, `flush()` at the end of a job", rq(end="flush"), ("rq",)),
    *(
        Case(f"gevent, {words}", program("greenlets.py", case), ("gevent",))
        for words, case in (
            ("50 greenlets", "greenlets"),
            ("`os.fork()`", "fork"),
            ("a thread of its pool logs first", "pool first"),
            ("a thread of its pool flushes first", "pool flushes"),
            ("a thread of its pool logs later", "pool later"),
        )
    ),
    Case(
        "gevent, `drain_on_sigterm()`",
        program("greenlets.py", "sigterm", ends_by=-signal.SIGTERM),
        ("gevent",),
    ),
    Case("asyncio, `aflush()`", program("loop.py")),
    Case("HTTP proxy", proxied),
    Case("private authority, SSL_CERT_DIR", private(trusted=True)),
    Case("private authority, through a proxy", private(trusted=True, tunnelled=True)),
    Case("private authority, not trusted", private(trusted=False)),
    Case("requests_per_hour=3600", paced),
)


def row(case: Case, emulator: EmulatorProcess) -> str:
    """
    Run a case, and say what came of it in a line of the table.
    """
    try:
        for name in case.needs:
            version(name)
    except PackageNotFoundError as error:
        return line(case.name, "", "", "", "", f"not run: no {error.name}")
    emulator.reset()
    with tempfile.TemporaryDirectory() as folder:
        run = Run(emulator, Path(folder), environment(emulator, folder))
        try:
            case.run(run)
        except MissingError as error:
            return line(case.name, "", "", "", "", f"not run: {error}")
        calls = run.tally
        run.notes += warnings(run.read())
        if os.environ.get("SHOP_VERBOSE"):
            sys.stderr.write(f"--- {case.name}\n{run.read()}")
    events: list[Mapping[str, Any]] = [event["properties"] for event in emulator.events()]
    arrived = Counter(
        where for where, _ in {(event["distinct_id"], event["call"]) for event in events}
    )
    missing = [f"{where} {arrived[where]} of {count}" for where, count in calls.items()]
    whole = arrived == calls
    return line(
        case.name,
        calls.total(),
        arrived.total(),
        len(events) - arrived.total(),
        "" if run.seconds is None else f"{run.seconds:.2f}",
        "; ".join([*([] if whole else [f"**{', '.join(missing)}**"]), *run.notes]),
    )


def line(*cells: object) -> str:
    """
    Write a line of the table.
    """
    return f"| {' | '.join(map(str, cells))} |"


def warnings(said: str) -> list[str]:
    """
    Find what the package had to say, each once, and what nobody expected.
    """
    kinds = Counter(
        each for each in said.splitlines() if each.startswith(("mixpanel_export: ", "Traceback "))
    )
    return [f"{count} x “{shorten(each, 80, placeholder=' …')}”" for each, count in kinds.items()]


def environment(emulator: EmulatorProcess, folder: str) -> dict[str, str]:
    """
    Make the environment of a program: nothing of ours may change what it does.
    """
    ours = ("MIXPANEL_", "OTEL_", "PYTHON", "SSL_CERT_", "SHOP_")
    proxies = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(ours) and name.lower() not in proxies
    }
    return {
        **kept,
        "MIXPANEL_TOKEN": "benchmark",
        "MIXPANEL_BASE_URL": emulator.url,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONFAULTHANDLER": "1",
        "PYTHONPATH": str(PROGRAMS),
        "PYTHONUNBUFFERED": "1",
        "SHOP_TALLY": str(Path(folder) / "tally"),
    }


def surroundings() -> str:
    """
    Say when and on what this runs, and what is installed.
    """
    words = [
        f"{datetime.now(timezone.utc):%Y-%m-%d}",
        f"{platform.python_implementation()} {platform.python_version()}",
        f"{platform.system()} {platform.machine()}",
        f"{os.cpu_count()} cores",
    ]
    for each in ("mixpanel-export", *FRAMEWORKS):
        name = each.partition("[")[0]
        with contextlib.suppress(PackageNotFoundError):
            words.append(f"{name} {version(name)}")
    return ", ".join(words)


def install(folder: Path) -> None:
    """
    Make an environment with the package and all frameworks that can be installed.
    """
    venv.create(folder, with_pip=True)
    pip = (folder / "bin" / "python", "-m", "pip", "install", "--quiet")
    subprocess.run([*pip, f"{ROOT}[emulator]"], check=True)
    for framework in FRAMEWORKS:
        # One by one: uWSGI needs a compiler, and the others shall not miss it.
        subprocess.run([*pip, framework], check=False)
    venv.create(folder / "old", with_pip=True)
    pip = (folder / "old" / "bin" / "python", "-m", "pip", "install", "--quiet")
    subprocess.run([*pip, "uwsgi==2.0.21"], check=False)


def main() -> None:
    """
    Print the table.
    """
    options = argparse.ArgumentParser(description=(__doc__ or "").strip().partition("\n")[0])
    options.add_argument("--venv", type=Path, help="an environment; made for the run without")
    options.add_argument("--only", default="", help="run cases with this in their name")
    chosen = options.parse_args()
    if chosen.venv is None:
        with tempfile.TemporaryDirectory() as folder:
            install(Path(folder))
            sys.exit(again(Path(folder), chosen.only))
    if Path(sys.prefix).resolve() != chosen.venv.resolve():
        sys.exit(again(chosen.venv, chosen.only))

    from mixpanel_export.emulator import EmulatorProcess

    print(surroundings(), end="\n\n")
    print(line("case", "accepted", "delivered", "duplicates", "exit, s", "note"))
    print("|---|--:|--:|--:|--:|---|")
    with EmulatorProcess("--max-stored", "0") as emulator:
        for case in CASES:
            if chosen.only in case.name:
                print(row(case, emulator), flush=True)


def again(folder: Path, only: str) -> int:
    """
    Run this file in another environment.
    """
    command = (folder / "bin" / "python", Path(__file__), "--venv", folder, "--only", only)
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    main()
