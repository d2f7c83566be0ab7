"""
The emulator as a process: how it starts, and that it always ends.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

import mixpanel_export.emulator
from mixpanel_export.emulator import EmulatorProcess, _serve
from mixpanel_export.emulator._options import DEFAULT_PORT
from tests.emulator.api import Api, event, events

ROOT = str(Path(mixpanel_export.emulator.__file__).parents[2])
COMMAND = [sys.executable, "-m", "mixpanel_export.emulator"]
READY = re.compile(r"Mixpanel emulator at (http://127\.0\.0\.1:(\d+)/)  \(Ctrl-C stops it\)\n")


@contextmanager
def started(*args: str, env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """
    Start the command in a pipe, with more variables in its environment.
    """
    with subprocess.Popen(
        [*COMMAND, *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": ROOT, **(env or {})},
    ) as process:
        yield process
        process.kill()


def first_line(process: subprocess.Popen[str]) -> str:
    """
    Return what it says when it is ready.
    """
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_one_line_and_leaves_quietly(client: httpx.Client, number: signal.Signals) -> None:
    """
    The line when it is ready, nothing else; status 0 and no traceback at the end.
    """
    with started("--port", "0") as process:
        line = first_line(process)
        match = READY.fullmatch(line)
        assert match, line
        assert "Mixpanel emulator" in client.get(match[1]).text
        process.send_signal(number)

        output, errors = process.communicate(timeout=10)

    assert (output, errors, process.returncode) == ("", "", 0)


def test_open_streams_and_hanging_requests_do_not_keep_it(client: httpx.Client) -> None:
    """
    It ends within a few seconds although clients are connected.
    """
    emulator = EmulatorProcess()
    emulator.faults([{"action": "hang"}])
    hanging = threading.Thread(target=_hang, args=(emulator.url,))
    hanging.start()
    with client.stream("GET", emulator.url + "/_emulator/live") as stream:
        next(stream.iter_lines())
        start = time.monotonic()

        emulator.stop()

        assert time.monotonic() - start < 4
        with pytest.raises(httpx.TransportError):
            client.get(emulator.url)
    hanging.join()


def _hang(url: str) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.post(url + "/import", timeout=30, trust_env=False)


def test_it_opens_the_page_when_asked(tmp_path: Path) -> None:
    """
    In the browser of the environment, at the address that it prints.
    """
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}.part; mv {opened}.part {opened}\n')
    browser.chmod(0o755)
    with started("--port", "0", "--open", env={"BROWSER": f"{browser} %s"}) as process:
        match = READY.fullmatch(first_line(process))
        assert match
        deadline = time.monotonic() + 10
        while not opened.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)  # Another process: there is nothing to wait on.

    assert opened.read_text() == f"{match[1]}\n"


def test_a_file_survives_kill_9(client: httpx.Client, tmp_path: Path) -> None:
    """
    Events, profiles, counts, failures and what is a repetition: all that was answered for.
    """
    file = str(tmp_path / "emulator.db")
    batch = events(3)
    with EmulatorProcess("--db", file) as emulator:
        api = Api(emulator, client)
        api.imports(batch)
        api.engage({"$set": {"plan": "pro"}}, {"$set": 7})
        api.imports([event(time=1), event(time="soon"), event(time=1)])
        api.imports([event(**{"$ignore": True})])
        stats, failures = emulator.stats(), emulator.failures()
        os.kill(emulator.pid, signal.SIGKILL)

    with EmulatorProcess("--db", file) as emulator:
        api = Api(emulator, client)
        assert (emulator.stats(), emulator.failures()) == (stats, failures)
        assert [failure["count"] for failure in failures] == [1, 2, 1, 1]
        api.imports([*batch, *events(1)])
        stats = emulator.stats()

        assert (stats["imported"], stats["distinct"], stats["duplicates"]) == (7, 4, 3)
        assert (stats["requests"], stats["rejected"]) == ({"200": 4, "400": 1}, 3)
        assert emulator.events()[:3] == batch
        assert api.properties() == {"plan": "pro"}


def test_the_usual_port_or_the_next_free_one() -> None:
    """
    Two emulators without a port both start.
    """
    with ExitStack() as stack:
        ports = []
        for _ in range(2):
            match = READY.fullmatch(first_line(stack.enter_context(started())))
            assert match
            ports.append(int(match[2]))

    assert DEFAULT_PORT <= ports[0] < ports[1]


def test_a_port_that_is_taken_is_an_error() -> None:
    """
    Where one is asked for, another one would not do.
    """
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with started("--port", port) as process:
            output, errors = process.communicate(timeout=10)

    assert (output, process.returncode) == ("", 1)
    assert errors.startswith("Error: cannot listen on 127.0.0.1: ")


def test_a_process_that_does_not_start_says_why() -> None:
    """
    What it wrote to stderr is in the error.
    """
    with pytest.raises(RuntimeError, match="--colour"):
        EmulatorProcess("--colour")


def test_importing_the_package_does_not_import_the_server() -> None:
    """
    Only serving does.
    """
    script = (
        "import sys, mixpanel_export.emulator; "
        "print(sorted({'uvicorn', 'starlette', 'click'} & set(sys.modules)))"
    )

    assert run(script) == "[]\n"


@pytest.mark.parametrize("missing", ["uvicorn", "starlette", "click"])
def test_without_the_extra_the_command_is_kind(missing: str) -> None:
    """
    It names what is missing and how to get it.
    """
    script = (
        f"import sys, runpy; sys.modules['{missing}'] = None; sys.argv[1:] = ['--port', '0']\n"
        "runpy.run_module('mixpanel_export.emulator', run_name='__main__')"
    )

    result = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": ROOT},
    )

    assert result.returncode == 1
    assert "pip install 'mixpanel-export[emulator]'" in result.stderr
    assert missing in result.stderr
    assert "Traceback" not in result.stderr


def test_a_killed_parent_leaves_no_orphan() -> None:
    """
    Also one that had no chance to say goodbye.
    """
    script = (
        "import os, signal; from mixpanel_export.emulator import EmulatorProcess\n"
        "print(EmulatorProcess().pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )

    pid = int(run(script, status=-signal.SIGKILL))

    wait_until_gone(pid)


def test_a_parent_that_forgets_to_stop_it_leaves_no_orphan() -> None:
    """
    Its exit does.
    """
    script = (
        "from mixpanel_export.emulator import EmulatorProcess\n"
        "print(EmulatorProcess().pid, flush=True)"
    )

    wait_until_gone(int(run(script)))


def test_a_forked_child_does_not_stop_it(client: httpx.Client) -> None:
    """
    It belongs to the process that started it.
    """
    with EmulatorProcess() as emulator:
        child = os.fork()
        if child == 0:
            emulator.stop()
            os._exit(0)
        os.waitpid(child, 0)

        assert Api(emulator, client).imports(events(1)).status_code == 200


def test_stopping_twice_is_stopping_once() -> None:
    """
    Nothing happens the second time.
    """
    emulator = EmulatorProcess()
    emulator.stop()
    emulator.stop()


def test_answers_do_not_wait_for_acknowledgements() -> None:
    """
    Its connections send at once; otherwise each answer after the first would take 40 ms longer.
    """
    with _serve._bind("127.0.0.1", 0) as listener:
        with socket.create_connection(listener.getsockname()):
            connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def run(script: str, *, status: int = 0) -> str:
    """
    Run a script in a process of its own and return what it prints.
    """
    result = subprocess.run(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": ROOT},
    )
    assert result.returncode == status
    return result.stdout


def wait_until_gone(pid: int) -> None:
    """
    Fail if a process is still there in a few seconds.
    """
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}/cmdline").exists() and _is_emulator(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.05)  # As above.


def _is_emulator(pid: int) -> bool:
    return b"emulator" in Path(f"/proc/{pid}/cmdline").read_bytes()
