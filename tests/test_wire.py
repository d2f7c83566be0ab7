"""
What a batch looks like on the wire, and who may see its credentials.
"""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from dataclasses import FrozenInstanceError
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest

from mixpanel_export import Settings, SettingsError
from mixpanel_export._batch import Batch, Lane
from mixpanel_export._wire import Request, Response, encode

SECRET = "hunter2-5d41402a"
BATCH = Batch.of([b'{"event":"a"}', b'{"event":"b"}'])

ACCOUNT = {"service_account": "robot", "service_secret": SECRET, "project_id": "4711"}


def encoded(fields: dict[str, Any] | None = None, batch: Batch = BATCH) -> Request:
    """
    Encode a batch; with a token, if no other settings are given.
    """
    return encode(batch, Settings(**(fields or {"token": SECRET})))


def query_of(request: Request) -> dict[str, list[str]]:
    """
    Return the parameters of a request's address.
    """
    return parse_qs(urlsplit(request.url).query, keep_blank_values=True, strict_parsing=True)


@pytest.mark.parametrize(
    ("fields", "address"),
    [
        ({}, "https://api.mixpanel.com/import"),
        ({"region": "eu"}, "https://api-eu.mixpanel.com/import"),
        ({"region": "in"}, "https://api-in.mixpanel.com/import"),
        ({"base_url": "http://127.0.0.1:8787"}, "http://127.0.0.1:8787/import"),
        ({"base_url": "https://proxy.example/mixpanel/"}, "https://proxy.example/mixpanel/import"),
    ],
)
def test_events_go_to_import(fields: dict[str, str], address: str) -> None:
    """
    Events are posted to ``/import`` at the region's host, or below the address that is set.
    """
    request = encoded({"token": SECRET, **fields})

    assert request.method == "POST"
    assert request.url.partition("?")[0] == address


def test_mixpanel_is_asked_to_validate() -> None:
    """
    Unless told otherwise, Mixpanel says of each event whether it is valid.
    """
    assert query_of(encoded()) == {"strict": ["1"]}


def test_a_lenient_answer_is_still_a_readable_one() -> None:
    """
    Without validation Mixpanel is asked for an answer in JSON.
    """
    assert query_of(encoded({"token": SECRET, "strict": False})) == {"verbose": ["1"]}


def test_a_project_is_named_to_a_service_account() -> None:
    """
    A service account works for several projects, so that the project stands in the address.
    """
    assert query_of(encoded(ACCOUNT)) == {"strict": ["1"], "project_id": ["4711"]}


@pytest.mark.parametrize("name", ["token", "api_secret"])
def test_a_project_is_not_named_otherwise(name: str) -> None:
    """
    A token or a secret belongs to one project, and Mixpanel refuses to be told which.
    """
    request = encoded({name: SECRET, "project_id": "4711"})

    assert "project_id" not in query_of(request)


@pytest.mark.parametrize("project", ["1&strict=0", "1#top", "a b", "é", "1%2", "1+1"])
def test_a_project_cannot_change_the_address(project: str) -> None:
    """
    Whatever is set as the project arrives as the one parameter that it is.
    """
    request = encoded({**ACCOUNT, "project_id": project})

    assert query_of(request) == {"strict": ["1"], "project_id": [project]}
    assert request.url.isascii()
    assert " " not in request.url


@pytest.mark.parametrize(
    ("fields", "user"),
    [
        ({"token": SECRET}, f"{SECRET}:"),
        ({"api_secret": SECRET}, f"{SECRET}:"),
        ({"token": SECRET, "api_secret": "other"}, f"{SECRET}:"),
        (ACCOUNT, f"robot:{SECRET}"),
        ({**ACCOUNT, "token": "other"}, f"robot:{SECRET}"),
        ({"token": "schlüssel"}, "schlüssel:"),
    ],
)
def test_who_sends_is_said_by_basic_authentication(fields: dict[str, str], user: str) -> None:
    """
    Token and secret are users without a password, a service account has one.
    """
    scheme, _, credentials = encoded(fields).headers["Authorization"].partition(" ")

    assert scheme == "Basic"
    assert b64decode(credentials, validate=True).decode() == user


def test_the_body_is_json() -> None:
    """
    The body is the batch's own, and the headers say that it is JSON and that JSON is expected.
    """
    request = encoded()

    assert request.body is BATCH.body
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Accept"] == "application/json"
    assert request.headers["User-Agent"].startswith("mixpanel-export")


@pytest.mark.parametrize(("gzip", "encoding"), [(True, "gzip"), (False, None)])
def test_compression_is_said_if_there_is_one(gzip: bool, encoding: str | None) -> None:
    """
    The header for compression is there if the body is compressed, whatever the setting is now.
    """
    batch = Batch.of([b"{}"], gzip=gzip)

    for setting in (True, False):
        request = encoded({"token": SECRET, "gzip": setting}, batch)

        assert request.headers.get("Content-Encoding") == encoding


def test_a_batch_always_looks_the_same() -> None:
    """
    A retry sends the same bytes to the same address.
    """
    assert encoded() == encoded()


@pytest.mark.parametrize("fields", [{"token": SECRET}, {"api_secret": SECRET}, ACCOUNT])
def test_a_request_does_not_show_its_credentials(fields: dict[str, str]) -> None:
    """
    Neither a request's text nor its address says who sends it, or what.
    """
    request = encoded(fields)
    hidden = b64encode(SECRET.encode()).decode().rstrip("=")[:-1]

    shown = f"{request} {request!r} {request.url} {[request]}"

    assert SECRET not in shown
    assert hidden not in shown
    assert repr(request.body) not in shown
    assert "Basic" not in shown
    assert request.url in repr(request)


@pytest.mark.parametrize(
    "fields", [{"disabled": True}, {"service_secret": SECRET, "project_id": "4711"}]
)
def test_without_credentials_there_is_no_request(fields: dict[str, Any]) -> None:
    """
    Settings without credentials are refused with what is missing, and without what is there.
    """
    with pytest.raises(SettingsError, match="set token, or service_account") as caught:
        encoded(fields)

    assert SECRET not in str(caught.value)


def test_a_request_does_not_change() -> None:
    """
    Nobody on the way can send it elsewhere, nor change what came back.
    """
    with pytest.raises(FrozenInstanceError):
        cast("Any", encoded()).url = "https://example.com"
    with pytest.raises(FrozenInstanceError):
        cast("Any", Response(200)).status = 400


def test_a_response_may_be_a_status_only() -> None:
    """
    An answer has no content and no headers unless it is given some.
    """
    response = Response(204)

    assert (response.status, response.body, response.headers) == (204, b"", {})


HOSTILE = b'{"event":"\\"properties\\":{","properties":{"time":1,"a":{"properties":{"b":1}}}}'


@pytest.mark.parametrize("gzip", [True, False])
def test_track_has_the_token_in_each_event(*, gzip: bool) -> None:
    """
    It is put among the event's own properties, nowhere else, the same at every attempt.
    """
    batch = Batch.of([HOSTILE, HOSTILE], gzip=gzip, lane=Lane.TRACK)
    settings = Settings(token='t"x', api="track")

    request, again = (encode(batch, settings) for _ in range(2))

    body = zlib.decompress(request.body, 31) if gzip else request.body
    expected = orjson.loads(HOSTILE)
    expected["properties"]["token"] = 't"x'
    assert orjson.loads(body) == [expected, expected]
    assert request.body == again.body
    assert request.url == "https://api.mixpanel.com/track?verbose=1&ip=0"
    assert "Authorization" not in request.headers
    assert ("Content-Encoding" in request.headers) == gzip


@pytest.mark.parametrize("lane", [Lane.ENGAGE, Lane.GROUPS])
def test_updates_have_the_token_in_each_record(lane: Lane) -> None:
    """
    Not compressed, and without our own address as the user's place.
    """
    lines = [b'{"$distinct_id":"u","$set":{"a":",\\n{"}}', b'{"$distinct_id":"v","$set":{}}']
    batch = Batch.of(lines, gzip=False, lane=lane)

    request = encode(batch, Settings(token="t"))

    records = orjson.loads(request.body)
    assert records == [{"$token": "t", **orjson.loads(line)} for line in lines]
    assert request.url == f"https://api.mixpanel.com/{lane.value}?verbose=1&ip=0"
    assert "Content-Encoding" not in request.headers


def test_verbs_of_identity_go_to_import() -> None:
    """
    There the credentials are checked, and merging is possible nowhere else.
    """
    request = encode(Batch.of([b"{}"], lane=Lane.IDENTITY), Settings(token="t"))

    assert request.url.startswith("https://api.mixpanel.com/import?")


def test_without_a_token_updates_cannot_be_sent() -> None:
    """
    A service account is no token.
    """
    with pytest.raises(SettingsError, match="token"):
        encode(Batch.of([b"{}"], gzip=False, lane=Lane.ENGAGE), Settings(api_secret="s"))
