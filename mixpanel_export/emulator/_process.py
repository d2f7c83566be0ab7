"""An emulator in a process of its own, for tests, demonstrations and benchmarks."""

from __future__ import annotations

import atexit
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import urlsplit

_START = 20.0
_STOP = 5.0
_ANSWER = 30.0

# The directory from which this package was imported.
_ROOT = Path(__file__).resolve().parents[2]


class EmulatorProcess:
    """
    A running emulator; leave the context, or call `stop`, to end it.

    It listens on 127.0.0.1, ignores the terminal's Ctrl-C, and ends with the
    process that started it, however that ends (on Windows only if it ends in an orderly way).

    Attributes:
        url: Its address, without a slash at the end.

        pid: Its process.

        access_key: What the page asks for if it listens off loopback, else empty.

    Args:
        args: Options of the command, such as ``"--token", "T"``.

        port: Where it listens. 0: on any free port. None: on the usual one, or the next free one.

    Raises:
        RuntimeError: If it does not start; with what it said.
    """

    def __init__(self, *args: str, port: int | None = 0) -> None:
        self._owner = os.getpid()
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # Closed by stop().
        self._child = subprocess.Popen(  # noqa: S603  # Our own command, without a shell.
            [
                *(sys.executable, "-m", "mixpanel_export.emulator"),
                *(() if port is None else ("--port", str(port))),
                *("--parent", str(self._owner), *args),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=_environment(),
            start_new_session=True,
        )
        self._stdout = cast("IO[bytes]", self._child.stdout)
        atexit.register(self.stop)
        try:
            address = urlsplit(self._read_address())
        except BaseException:
            self.stop()
            raise
        self.access_key = address.query.partition("=")[2]
        self._netloc = address.netloc
        self.url = f"http://{address.netloc}"
        self.pid = self._child.pid

    def __enter__(self) -> EmulatorProcess:  # noqa: PYI034  # Self is newer than Python 3.10.
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def stats(self) -> dict[str, Any]:
        """Return the counts since the start or the last reset."""
        counts: dict[str, Any] = json.loads(self._call("GET", "/_emulator/stats"))
        return counts

    def events(self, *, dedup: bool = False) -> list[dict[str, Any]]:
        """
        Return the stored events in the order of their arrival.

        Args:
            dedup: Of those that Mixpanel takes for the same return only one.
        """
        return list(self.each_event(dedup=dedup))

    def each_event(self, *, dedup: bool = False) -> Iterator[dict[str, Any]]:
        """Yield what `events` returns, holding one at a time: there may be many."""
        with self._ask("GET", f"/_emulator/events?dedup={int(dedup)}") as answer:
            for line in answer:
                yield json.loads(line)

    def failures(self) -> list[dict[str, Any]]:
        """
        Return the kinds of failure that the page shows, the newest first.

        Each says what failed (``kind``, ``endpoint``, ``field``, ``message``), how often
        (``count``), the beginning of the latest ``sample``, and where the rule was read
        (``origin``, ``source``).
        """
        return list(_objects(self._call("GET", "/_emulator/failures")))

    def profiles(self) -> list[dict[str, Any]]:
        """Return the profiles of users and groups."""
        return list(_objects(self._call("GET", "/_emulator/profiles")))

    def reset(self) -> None:
        """Make it forget everything, faults and the rate window too."""
        self._call("POST", "/_emulator/reset", {})

    def faults(self, faults: Iterable[Mapping[str, Any]]) -> None:
        """
        Make it misbehave; more faults are added to those in force.

        Raises:
            RuntimeError: If it does not understand them; with what it said.
        """
        self._call("POST", "/_emulator/faults", [dict(fault) for fault in faults])

    def stop(self) -> None:
        """End it; again does nothing, nor does it in a process that was forked from the owner."""
        if os.getpid() != self._owner or self._stderr.closed:
            return
        atexit.unregister(self.stop)
        self._child.terminate()
        try:
            self._child.wait(_STOP)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._stdout.close()
        self._stderr.close()

    def _read_address(self) -> str:
        """Return the address from the line that says that connections are accepted."""
        line: list[bytes] = []
        reader = threading.Thread(target=lambda: line.append(self._stdout.readline()), daemon=True)
        reader.start()
        reader.join(_START)
        words = b"".join(line).decode().split()
        if "at" in words:
            return words[words.index("at") + 1]
        self._child.kill()
        self._child.wait()
        reader.join()
        self._stderr.seek(0)
        said = self._stderr.read().decode("utf-8", "replace").strip()
        raise RuntimeError(f"the emulator did not start: {said or f'silent for {_START} s'}")

    def _call(self, method: str, path: str, content: object = None) -> bytes:
        with self._ask(method, path, content) as answer:
            return answer.read()

    @contextmanager
    def _ask(
        self, method: str, path: str, content: object = None
    ) -> Iterator[http.client.HTTPResponse]:
        # http.client and not urllib: a proxy from the environment has no business here.
        connection = http.client.HTTPConnection(self._netloc, timeout=_ANSWER)
        headers = {"Authorization": f"Bearer {self.access_key}"} if self.access_key else {}
        if method == "POST":
            headers["Content-Type"] = "application/json"
        with closing(connection):
            body = json.dumps(content) if method == "POST" else None
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            if answer.status != 200:
                told = answer.read().decode()
                raise RuntimeError(f"the emulator answered {answer.status}: {told}")
            yield answer


def _environment() -> dict[str, str]:
    environment = dict(os.environ)
    if _ROOT.name not in ("site-packages", "dist-packages"):
        # A checkout that the parent found by a changed sys.path, which children do not inherit.
        known = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(_ROOT), known)))
    return environment


def _objects(lines: bytes) -> Iterator[dict[str, Any]]:
    return (json.loads(line) for line in lines.split(b"\n") if line)
