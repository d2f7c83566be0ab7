"""Credentials, region, token, clock, proxy, TLS: what the hosts say, put together."""

from __future__ import annotations

import dataclasses
import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, cast
from urllib.parse import urlsplit

from mixpanel_export import Settings
from mixpanel_export._batch import Lane
from mixpanel_export._clock import Clock
from mixpanel_export._limits import MAX_AHEAD_MS, PROJECT_SECRET_END
from mixpanel_export._transport import _context
from mixpanel_export.cli.check._finding import Finding, Level
from mixpanel_export.cli.check._probe import Answer, ask_door, ask_import, proxy_of

# By so much, in seconds, clocks that are set by the network do not differ. Ours.
_CLOSE: Final = 10.0

_MISSING: Final = (
    "set MIXPANEL_TOKEN; it is on Mixpanel's page Project Settings, Access Keys. Or set"
    " MIXPANEL_SERVICE_ACCOUNT, MIXPANEL_SERVICE_SECRET and MIXPANEL_PROJECT_ID"
)


def look(settings: Settings, hosts: Mapping[str, str], clock: Clock) -> Iterator[Finding]:
    """
    Ask the hosts; nothing is stored there.

    Args:
        settings: Whose credentials are tried. With a `base_url` only that is asked.

        hosts: The address of each region.

        clock: What is compared with the hosts' clocks.
    """
    yield from _way(settings)
    if settings.credentials is None:
        yield Finding("credentials", "problem", "there are none", _MISSING)
        return
    yield from _kind(settings)
    places = [settings] if settings.base_url else _in_regions(settings, hosts)
    with ThreadPoolExecutor(len(places)) as pool:
        answers = list(pool.map(lambda place: ask_import(place, clock), places))
    if settings.base_url:
        yield _at_address(settings, answers[0])
    else:
        yield from _regions(settings, dict(zip(hosts, answers, strict=True)))
    here = next(each for each in places if each.region == settings.region)
    taking = [p for p, a in zip(places, answers, strict=True) if a.verdict == "taken"]
    yield from _token(settings, taking, here, clock)
    yield from _clock([each.ahead for each in answers if each.ahead is not None])


def _in_regions(settings: Settings, hosts: Mapping[str, str]) -> list[Settings]:
    return [
        dataclasses.replace(settings, region=region, base_url=host)
        for region, host in hosts.items()
    ]


# -- credentials and region -----------------------------------------------------------------------


def _kind(settings: Settings) -> Iterator[Finding]:
    if settings.service_account:
        text = f"service account {settings.service_account}, project {settings.project_id}"
    elif settings.token:
        text = "a project token"
    else:
        text = f"a project secret, which Mixpanel stops taking on {PROJECT_SECRET_END}"
        yield Finding("credentials", "warning", text, "use the project token: MIXPANEL_TOKEN")
        return
    yield Finding("credentials", "note", f"/import is asked with {text}")


def _at_address(settings: Settings, answer: Answer) -> Finding:
    match answer.verdict:
        case "taken":
            return Finding("address", "ok", f"{answer.host} takes the credentials")
        case "refused":
            text = f"{answer.host} refuses the credentials: {answer.text}"
            return Finding("address", "problem", text, _right_credentials(settings))
        case "odd":
            return Finding("address", "problem", f"{answer.host}: {answer.text}", answer.fix)
        case "silent":
            text = f"{answer.host} cannot be reached: {answer.text}"
            return Finding("address", "problem", text, answer.fix)


def _regions(settings: Settings, answers: Mapping[str, Answer]) -> Iterator[Finding]:
    """Say what each region answers, then what follows."""
    mine = settings.region
    taking = [region for region, answer in answers.items() if answer.verdict == "taken"]
    for region, answer in answers.items():
        level: Level = "ok" if answer.verdict == "taken" else "note"
        words = {
            "taken": "takes the credentials",
            "refused": f"refuses them: {answer.text}",
            "odd": f"gives no verdict: {answer.text}",
            "silent": f"cannot be reached: {answer.text}",
        }
        if answer.verdict != "taken" and region == mine:
            level = "problem"
        fix = ""
        if level == "problem":
            fix = _other_region(taking) or answer.fix or _right_credentials(settings)
        yield Finding(f"region {region}", level, f"{words[answer.verdict]} ({answer.host})", fix)
    if mine in taking and len(taking) > 1:
        others = ", ".join(region for region in taking if region != mine)
        yield Finding(
            "region",
            "warning",
            f"{others} takes them too, so that it cannot be told where the project is",
            "compare with Project Settings, Data Residency",
        )


def _other_region(taking: list[str]) -> str:
    return f"set MIXPANEL_REGION={taking[0]}: the project is there" if taking else ""


def _right_credentials(settings: Settings) -> str:
    if settings.service_account:
        return (
            "compare account, secret and project_id with Organization Settings, Service Accounts;"
            " it must be Owner or Admin of the project, and may have expired"
        )
    if settings.token:
        return "compare the token with Project Settings, Access Keys; none may have been cut off"
    return "use the project token instead: MIXPANEL_TOKEN"


# -- the token behind /track and /engage ----------------------------------------------------------


def _token(
    settings: Settings, taking: list[Settings], here: Settings, clock: Clock
) -> Iterator[Finding]:
    """
    Say what can be told of the token.

    Args:
        settings: As configured.

        taking: Where the credentials are right.

        here: Where data go.

        clock: To ask with.
    """
    if not settings.token:
        yield Finding(
            "token",
            "note",
            "there is none: profiles cannot be updated, and api='track' cannot be used",
            "set MIXPANEL_TOKEN beside it if profiles are to be updated",
        )
        return
    if settings.service_account:
        # /import tells a wrong token from a right one, the others do not.
        place = here if here in taking or not taking else taking[0]
        answer = ask_import(
            dataclasses.replace(place, service_account=None, project_id=None), clock
        )
        yield _token_alone(answer)
        right = answer.verdict == "taken" and place is here
    else:
        right = here in taking
    for lane in (Lane.TRACK, Lane.ENGAGE):
        yield _door(lane, ask_door(here, lane, clock), right=right)


def _token_alone(answer: Answer) -> Finding:
    match answer.verdict:
        case "taken":
            text = "/import takes it by itself, so it is right; whether it is of the project of"
            return Finding("token", "ok", f"{text} the service account cannot be told")
        case "refused":
            text = f"/import refuses it by itself: {answer.text}"
            fix = "compare it with Project Settings, Access Keys; updates of profiles are lost"
            return Finding("token", "problem", text, fix)
        case "odd" | "silent":
            return Finding("token", "warning", f"it could not be tried: {answer.text}", answer.fix)


def _door(lane: Lane, answer: Answer, *, right: bool) -> Finding:
    subject = f"/{lane.value}"
    match answer.verdict:
        case "taken" if right:
            return Finding(
                subject, "ok", "answers; it checks no token, but /import here takes this one"
            )
        case "taken":
            text = "answers, but it checks no token: what comes with a wrong one is lost, and what"
            fix = "put right first what /import says"
            return Finding(subject, "warning", f"{text} comes to a wrong region", fix)
        case "refused" | "odd" | "silent":
            text = f"does not answer as Mixpanel: {answer.text}"
            return Finding(subject, "warning", text, answer.fix or "look what stands in between")


# -- the way there --------------------------------------------------------------------------------


def _clock(found: list[float]) -> Iterator[Finding]:
    if not found:
        return
    # The smallest: a cache on the way may have answered with an old date.
    ahead = min(found, key=abs)
    fix = "set the clock by the network: NTP, chrony, systemd-timesyncd"
    if abs(ahead) <= _CLOSE:
        yield Finding("clock", "ok", "agrees with Mixpanel's")
        return
    text = f"{_duration(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} Mixpanel's"
    if ahead * 1000 > MAX_AHEAD_MS:
        text += "; what is more than an hour ahead is rejected"
        yield Finding("clock", "problem", text, fix)
    else:
        yield Finding("clock", "warning", f"{text}; all events have wrong times", fix)


def _duration(seconds: float) -> str:
    for name, unit in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} seconds"


def _way(settings: Settings) -> Iterator[Finding]:
    if settings.disabled:
        fix = "unset MIXPANEL_DISABLED, or the keyword disabled"
        yield Finding("settings", "problem", "disabled is set: nothing is sent", fix)
    address = urlsplit(settings.host)
    if settings.exposed:
        text = f"{settings.host} is plain HTTP: the credentials travel in clear"
        yield Finding("TLS", "problem", text, "use https://")
    proxy = proxy_of(settings)
    if proxy:
        yield Finding("proxy", "note", f"requests go through {proxy}")
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        path = os.environ.get(name)
        if path and not os.path.exists(path):  # noqa: PTH110 -- a text
            fix = f"unset {name}, or name a file of certificates that is there"
            yield Finding("TLS", "problem", f"{name} names {path}, which is not there", fix)
            return
    if address.scheme == "https" and not proxy:
        yield from _tls(address.hostname or "", address.port or 443, settings.connect_timeout)


def _tls(host: str, port: int, timeout: float) -> Iterator[Finding]:
    """Say who vouches for the host; what goes wrong the questions themselves will tell."""
    try:
        with (
            socket.create_connection((host, port), timeout) as plain,
            _context(encrypted=True).wrap_socket(plain, server_hostname=host) as stream,
        ):
            version, certificate = stream.version(), stream.getpeercert() or {}
    except (OSError, ssl.SSLError):
        return
    names = dict(pair for part in cast("Any", certificate.get("issuer", ())) for pair in part)
    issuer = names.get("organizationName") or names.get("commonName") or "nobody"
    yield Finding("TLS", "ok", f"{version}; {host} is vouched for by {issuer}")
