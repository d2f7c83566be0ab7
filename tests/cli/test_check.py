"""
The command `check`, against three emulators that stand for three regions.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from mixpanel_export import Settings
from mixpanel_export._exceptions import TransportError
from mixpanel_export.cli._check import check, look_around
from mixpanel_export.cli.check import _network
from mixpanel_export.cli.check._finding import Finding
from mixpanel_export.cli.check._place import look_at_uwsgi
from mixpanel_export.cli.check._probe import _describe
from mixpanel_export.emulator import EmulatorProcess
from mixpanel_export.testing import FakeClock

pytestmark = pytest.mark.emulator

ACCOUNT = ("--service-account", "robot:s3cret", "--project-id", "7")
REGIONS = {
    "us": ("--token", "T-us", *ACCOUNT),
    "eu": ("--token", "T-eu"),
    "in": ("--token", "T-in"),
}
SetToken = Callable[[str], None]

NOBODY = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def running() -> Iterator[Mapping[str, EmulatorProcess]]:
    """
    Run an emulator for each region, each with credentials of its own.
    """
    with ThreadPoolExecutor() as pool:
        emulators = list(pool.map(lambda args: EmulatorProcess(*args), REGIONS.values()))
    yield dict(zip(REGIONS, emulators, strict=True))
    for emulator in emulators:
        emulator.stop()


@pytest.fixture
def regions(
    running: Mapping[str, EmulatorProcess], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Mapping[str, EmulatorProcess]:
    """
    Three regions that have forgotten everything, and an environment that says nothing.
    """
    for name in [name for name in os.environ if name.startswith("MIXPANEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.chdir(tmp_path)
    for emulator in running.values():
        emulator.reset()
    return running


def look(
    regions: Mapping[str, EmulatorProcess],
    *,
    skew: float = 0.0,
    hosts: Mapping[str, str] | None = None,
    **settings: str,
) -> dict[str, Finding]:
    """
    Return what is found with these settings, by its subject.
    """
    import time

    clock = FakeClock(time.time() + skew)
    given = {name: each.url for name, each in regions.items()} | dict(hosts or {})
    with ExitStack() as stack:
        found = list(look_around(None, settings | {"spool": None}, given, clock, stack))
    for each in regions.values():
        counts = each.stats()
        assert (counts["imported"], counts["stored"], counts["profiles"]) == (0, 0, 0)
    subjects = {each.subject: each for each in found}
    assert len(subjects) == len(found)
    return subjects


def levels(found: Mapping[str, Finding]) -> dict[str, str]:
    """
    Return how bad each thing is.
    """
    return {name: each.level for name, each in found.items()}


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch, regions: object) -> SetToken:  # noqa: ARG001 -- its order
    """
    Set the token.
    """
    return lambda text: monkeypatch.setenv("MIXPANEL_TOKEN", text)


@pytest.mark.parametrize("region", REGIONS)
def test_right_credentials_in_the_right_region(
    regions: Mapping[str, EmulatorProcess], token: SetToken, region: str
) -> None:
    """
    Where all is right, nothing is a problem, whichever region it is.
    """
    token(f"T-{region}")
    found = look(regions, region=region)

    assert set(levels(found).values()) == {"ok", "note"}
    assert levels(found)[f"region {region}"] == "ok"
    assert levels(found)["/track"] == levels(found)["/engage"] == "ok"
    assert levels(found)["clock"] == "ok"


@pytest.mark.parametrize("region", ["eu", "in"])
def test_a_wrong_region_is_told_from_a_wrong_token(
    regions: Mapping[str, EmulatorProcess], token: SetToken, region: str
) -> None:
    """
    Credentials that another region takes are not wrong: the fix names that region.
    """
    token(f"T-{region}")
    found = look(regions)

    assert found["region us"].level == "problem"
    assert found["region us"].fix == f"set MIXPANEL_REGION={region}: the project is there"
    assert levels(found)[f"region {region}"] == "ok"
    assert "wrong region" in found["/track"].text


def test_a_wrong_token(regions: Mapping[str, EmulatorProcess], token: SetToken) -> None:
    """
    Credentials that no region takes are wrong, in Mixpanel's own words.
    """
    token("T-nowhere")
    found = look(regions)

    assert found["region us"].level == "problem"
    assert "Invalid credentials" in found["region us"].text
    assert "Access Keys" in found["region us"].fix
    assert levels(found)["/track"] == levels(found)["/engage"] == "warning"


def test_no_credentials(regions: Mapping[str, EmulatorProcess]) -> None:
    """
    Without any, none is asked for.
    """
    found = look(regions)

    assert found["credentials"].level == "problem"
    assert "MIXPANEL_TOKEN" in found["credentials"].fix
    assert not any(each.stats()["requests"] for each in regions.values())


@pytest.mark.parametrize(
    ("secret", "project", "told"),
    [
        ("s3cret", "8", "not a project member"),
        ("wrong", "7", "Invalid service account credentials"),
    ],
)
def test_a_wrong_service_account(
    regions: Mapping[str, EmulatorProcess],
    monkeypatch: pytest.MonkeyPatch,
    secret: str,
    project: str,
    told: str,
) -> None:
    """
    A wrong secret and a wrong project are told in Mixpanel's words.
    """
    monkeypatch.setenv("MIXPANEL_SERVICE_SECRET", secret)
    found = look(regions, service_account="robot", project_id=project)

    assert found["region us"].level == "problem"
    assert told in found["region us"].text
    assert "Service Accounts" in found["region us"].fix


def test_the_token_beside_a_service_account(
    regions: Mapping[str, EmulatorProcess], monkeypatch: pytest.MonkeyPatch, token: SetToken
) -> None:
    """
    `/track` and `/engage` take any token, so `/import` is asked about it; without one it is said.
    """
    monkeypatch.setenv("MIXPANEL_SERVICE_SECRET", "s3cret")

    def with_token(text: str) -> dict[str, Finding]:
        token(text)
        return look(regions, service_account="robot", project_id="7")

    without, right, wrong = map(with_token, ("", "T-us", "T-typo"))

    assert without["token"].level == "note"
    assert right["token"].level == right["/engage"].level == "ok"
    assert wrong["region us"].level == "ok"
    assert wrong["token"].level == "problem"
    assert wrong["/engage"].level == "warning"


def test_a_project_secret_is_at_its_end(
    regions: Mapping[str, EmulatorProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The day on which Mixpanel stops taking it is named.
    """
    monkeypatch.setenv("MIXPANEL_API_SECRET", "s")

    assert "2027-03-03" in look(regions)["credentials"].text


@pytest.mark.parametrize(
    ("skew", "level", "told"),
    [
        (5, "ok", "agrees"),
        (300, "warning", "5 minutes ahead of"),
        (-300, "warning", "5 minutes behind"),
        (4 * 3600, "problem", "4 hours ahead of Mixpanel's; what is more than an hour"),
        (-3 * 86_400, "warning", "3 days behind"),
    ],
)
def test_clocks(
    regions: Mapping[str, EmulatorProcess], token: SetToken, skew: float, level: str, told: str
) -> None:
    """
    The clock of this machine is compared with the hosts'; events an hour ahead are rejected.
    """
    token("T-us")
    found = look(regions, skew=skew)["clock"]

    assert found.level == level
    assert found.text.startswith(told)


def test_an_address_of_nobody(regions: Mapping[str, EmulatorProcess], token: SetToken) -> None:
    """
    One at which nobody answers is no refusal; with `base_url` nothing else is asked.
    """
    token("T-us")
    base = look(regions, base_url=NOBODY)
    region = look(regions, hosts={"us": NOBODY})

    assert base["address"].level == "problem"
    assert "nothing listens there" in base["address"].text
    assert not any(each.startswith("region") for each in base)
    assert region["region us"].level == "problem"
    assert "nothing listens there" in region["region us"].text
    assert levels(region)["region eu"] == "note"


def test_an_address_of_somebody_else(
    regions: Mapping[str, EmulatorProcess], token: SetToken
) -> None:
    """
    An answer that is not Mixpanel's gives no verdict on credentials; an emulator's does.
    """
    token("T-eu")
    right = look(regions, base_url=regions["eu"].url)
    refused = look(regions, base_url=regions["us"].url)
    wrong = look(regions, base_url=f"{regions['eu'].url}/nowhere")
    regions["eu"].faults([{"path": "/import", "status": 503}])
    down = look(regions, base_url=regions["eu"].url)

    assert levels(right)["address"] == "ok"
    assert "refuses the credentials" in refused["address"].text
    assert wrong["address"].level == "problem"
    assert "404" in wrong["address"].text
    assert "503" in down["address"].text


def test_wrong_settings_are_a_finding(regions: Mapping[str, EmulatorProcess]) -> None:
    """
    A setting that cannot work is told like everything else.
    """
    found = look(regions, region="europe")

    assert found["settings"].level == "problem"
    assert "'eu'" in found["settings"].text


def test_the_way_there(
    regions: Mapping[str, EmulatorProcess], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """
    A proxy is named without its password, and so is what keeps TLS from working.
    """
    monkeypatch.setenv("http_proxy", "http://user:pass@proxy.example:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    settings = Settings(token="t", base_url="http://mixpanel.example", disabled=True)
    found = {each.subject + each.level: each for each in _network._way(settings)}

    assert found["proxynote"].text == "requests go through http://***@proxy.example:3128"
    assert "none.pem" in found["TLSproblem"].text
    assert found["settingsproblem"].fix
    assert regions


def test_more_than_one_region_takes_the_credentials(
    regions: Mapping[str, EmulatorProcess], token: SetToken
) -> None:
    """
    Then it cannot be told where the project is, which is a warning.
    """
    token("T-us")
    found = look(regions, hosts={"eu": regions["us"].url})

    assert found["region"].level == "warning"
    assert found["region"].text.startswith("eu takes them too")


def test_tls_says_who_vouches_for_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The issuer of the certificate gives a proxy away that opens TLS.
    """
    certificates = Path(__file__).parents[1] / "lifecycle" / "certificates"
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(certificates / "server.pem")
    trusting = ssl.create_default_context(cafile=certificates / "c327e7cd.0")
    trusting.check_hostname = False
    monkeypatch.setattr(_network, "_context", lambda **_: trusting)

    def serve(listener: socket.socket) -> None:
        with served.wrap_socket(listener.accept()[0], server_side=True) as stream:
            stream.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor() as pool:
        pool.submit(serve, listener)
        (found,) = _network._tls("127.0.0.1", listener.getsockname()[1], 5)
    # Nobody listens any more: what is wrong is told by the questions themselves.
    assert not list(_network._tls("127.0.0.1", 9, 5))
    assert found.level == "ok"
    assert "TLSv1" in found.text


@pytest.mark.parametrize(
    ("cause", "told"),
    [
        (ssl.SSLCertVerificationError(1, "self-signed"), "SSL_CERT_FILE"),
        (httpx.ProxyError("407"), "HTTPS_PROXY"),
        (socket.gaierror(-2, "unknown"), "DNS"),
        (ConnectionRefusedError(), "base_url"),
        (httpx.ConnectTimeout("late"), "firewall"),
        (ssl.SSLError(1, "wrong version"), "http:// or https://"),
        (OSError("else"), "may reach"),
    ],
)
def test_what_went_wrong_on_the_way_has_its_fix(cause: Exception, told: str) -> None:
    """
    Each way in which a host cannot be reached has a fix of its own.
    """
    error = TransportError("it failed")
    error.__cause__ = cause

    assert told in _describe(error, Settings(token="t"))[1]


def test_a_proxy_that_cannot_be_reached_is_not_the_hosts_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    The proxy is named, without its password.
    """
    monkeypatch.setenv("HTTPS_PROXY", "http://user:word@127.0.0.1:9")
    error = TransportError("it failed")
    error.__cause__ = httpx.ConnectError("refused")

    text, fix = _describe(error, Settings(token="t"))

    assert text.startswith("the proxy http://***@127.0.0.1:9 cannot be reached")
    assert "NO_PROXY" in fix


def test_the_spool_is_tried(
    regions: Mapping[str, EmulatorProcess], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A directory that can be used is used and left as it was; one that cannot is a problem.
    """
    (tmp_path / "file").write_text("")
    assert regions
    run = CliRunner()

    good = run.invoke(check, ["--offline", "--spool", str(tmp_path / "new"), "--json"])
    bad = run.invoke(check, ["--offline", "--spool", str(tmp_path / "file"), "--json"])
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1))
    full = run.invoke(check, ["--offline", "--spool", str(tmp_path / "new"), "--json"])

    assert (good.exit_code, bad.exit_code, full.exit_code) == (0, 1, 0)
    assert json.loads(good.output)["findings"][0]["level"] == "ok"
    assert json.loads(bad.output)["findings"][0]["level"] == "problem"
    assert "1 bytes are free" in json.loads(full.output)["findings"][0]["text"]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file"]


def test_uwsgi(tmp_path: Path) -> None:
    """
    What uWSGI needs is looked for where its settings usually are.
    """
    path = tmp_path / "uwsgi.ini"
    assert list(look_at_uwsgi(tmp_path)) == []
    path.write_text("[uwsgi]\nmaster = true\n")
    fixes = [each.fix for each in look_at_uwsgi(tmp_path)]
    path.write_text("[uwsgi]\nenable-threads = true\nlazy-apps = true\n")
    good = [each.level for each in look_at_uwsgi(tmp_path)]
    path.write_text("nonsense")
    odd = [each.level for each in look_at_uwsgi(tmp_path)]

    assert [fix.split()[1] for fix in fixes] == ["enable-threads", "lazy-apps"]
    assert (good, odd) == (["ok"], ["note"])


GOOD = """
import logging, mixpanel_export
log = logging.getLogger("shop")
log.setLevel(logging.INFO)
def make():
    log.addHandler(mixpanel_export.MixpanelHandler(token="T-us", base_url=%r))
"""
BAD = """
import logging, logging.handlers, queue, sys, threading, time
from mixpanel_export import MixpanelHandler, MixpanelProcessor
from mixpanel_export.testing import ScriptedTransport
own = dict(token="T-us", base_url=%r)
root = MixpanelHandler(**own)
logging.root.addHandler(logging.handlers.MemoryHandler(9, target=root))
logging.getLogger("shop").addHandler(MixpanelHandler(**own))
logging.getLogger("late").addHandler(MixpanelHandler(level="ERROR", **own))
logging.getLogger("quiet").propagate = False
lost = MixpanelHandler(region="eu", token="T")
off = MixpanelHandler(disabled=True, **own)
logging.getLogger("off").addHandler(off)
logging.getLogger("off").disabled = True
behind = logging.handlers.QueueListener(queue.Queue(), MixpanelHandler(**own))
logging.getLogger("mixpanel_export").disabled = True
threading.Thread(target=time.sleep, args=(9,), daemon=True, name="ticker").start()
logging.getLogger("shop").error("Booted", extra={"distinct_id": "u-1"})
if "structlog" in sys.argv:
    import structlog
    structlog.configure(
        processors=[structlog.processors.JSONRenderer(), MixpanelProcessor(**own)]
    )
"""


def run_app(folder: Path, module: str, *args: str) -> dict[str, Any]:
    """
    Run the command in a process of its own, as an application must not see the test's.
    """
    ran = subprocess.run(
        [sys.executable, "-m", "mixpanel_export", "check", "--app", module, "--json", *args],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert not ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    assert ran.returncode == (not found["ok"])
    return found


def test_an_application_that_is_right(
    regions: Mapping[str, EmulatorProcess], tmp_path: Path
) -> None:
    """
    The settings that are checked are the application's own.
    """
    (tmp_path / "good_shop.py").write_text(GOOD % regions["us"].url)
    found = run_app(tmp_path, "good_shop:make()")

    texts = {each["text"]: each["level"] for each in found["findings"]}
    assert found["ok"]
    assert texts["a MixpanelHandler hears logger shop and those below, from INFO"] == "ok"
    assert texts[f"{regions['us'].url} takes the credentials"] == "ok"


def test_an_application_that_is_wrong(
    regions: Mapping[str, EmulatorProcess], tmp_path: Path
) -> None:
    """
    Each trap is found, with its fix; and nothing that the application says is sent.
    """
    (tmp_path / "bad_shop.py").write_text(BAD % regions["us"].url)
    found = run_app(tmp_path, "bad_shop", "--offline")

    told = "\n".join(each["text"] for each in found["findings"])
    assert all(each["fix"] for each in found["findings"] if each["level"] in ("problem", "warning"))
    for text in (
        "2 events are said while it is imported",
        "threads run since it was imported: ticker",
        "MixpanelHandler is off",
        "attached to no logger",
        "behind a QueueListener",
        "logger shop has the level WARNING",
        "its MixpanelHandler has the level ERROR",
        "logger off is disabled",
        "two MixpanelHandlers hear it",
        "no MixpanelHandler hears quiet",
        "the logger mixpanel_export is silent",
    ):
        assert text in told
    # Two handlers have the same faults: equal findings are told once.
    assert len({json.dumps(each) for each in found["findings"]}) == len(found["findings"])
    assert not regions["us"].stats()["requests"]


def test_applications_that_cannot_be_looked_at(
    regions: Mapping[str, EmulatorProcess], tmp_path: Path
) -> None:
    """
    A module that is not there, and one without any door, are told apart.
    """
    assert regions
    (tmp_path / "empty_shop.py").write_text("")
    (tmp_path / "broken_shop.py").write_text("import logging\n1 / 0\n")
    broken = run_app(tmp_path, "broken_shop", "--offline")["findings"][0]
    path = run_app(tmp_path, "empty_shop.py", "--offline")["findings"][0]
    missing = run_app(tmp_path, "no_such_shop", "--offline")["findings"][0]
    empty = run_app(tmp_path, "empty_shop", "--offline")["findings"][1]

    assert "ModuleNotFoundError: No module named 'no_such_shop'" in missing["text"]
    assert "there is no MixpanelHandler" in empty["text"]
    assert "division by zero (broken_shop.py, line 2)" in broken["text"]
    assert "--app empty_shop" in path["fix"]


@pytest.mark.structlog
def test_structlogs_processors_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The processor's place decides: behind a renderer it sees nothing, before logging it doubles.
    """
    import structlog

    from mixpanel_export import MixpanelHandler, MixpanelProcessor
    from mixpanel_export.cli.check import _app

    ours = MixpanelProcessor(token="t")
    handler = MixpanelHandler(token="t")
    renderer = structlog.processors.JSONRenderer()
    hand_on = structlog.stdlib.ProcessorFormatter.wrap_for_formatter
    opened = [ours._door, handler._door]
    verdicts = []
    monkeypatch.setattr(structlog, "is_configured", lambda: True)
    for processors in ([ours, renderer], [renderer, ours], [ours, hand_on], [renderer]):
        monkeypatch.setattr(structlog, "get_config", lambda: {"processors": processors})  # noqa: B023 -- called before the next turn
        verdicts += [each.level for each in _app._look_at_structlog(opened)]
    handler.close()
    ours.close()

    assert verdicts == ["ok", "problem", "warning", "note"]


def test_on_a_narrow_terminal(
    regions: Mapping[str, EmulatorProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Nothing is wider than 80 columns; problems are counted; the exit status is 1.
    """
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("MIXPANEL_TOKEN", "T-eu")
    hosts = [f"--host={name}={each.url}" for name, each in regions.items()]
    ran = CliRunner().invoke(check, hosts)
    wrong = CliRunner().invoke(check, ["--host", "mars=http://x"])

    assert ran.exit_code == 1
    assert max(map(len, ran.output.splitlines())) <= 80
    assert "set MIXPANEL_REGION=eu" in ran.output
    assert ran.output.rstrip().endswith("1 problem, 2 warnings.")
    assert wrong.exit_code == 2
    assert "REGION=URL" in wrong.output
