"""
OpenTelemetry's names in Mixpanel's words.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixpanel_export._semconv import (
    describe_resource,
    event_name,
    name_of,
    plan_names,
    speak,
)
from tests import effort


def said(
    attributes: dict[str, Any], *, client: bool = False, include: tuple[str, ...] = ()
) -> dict[str, object]:
    """
    Give the fields that attributes become.
    """
    fields: dict[str, object] = {}
    speak(attributes, plan_names(tuple(attributes), client, include), fields)
    return {name: value for name, value in fields.items() if value is not None}


def bound(attributes: dict[str, Any]) -> dict[str, object]:
    """
    Give what attributes say was bound.
    """
    return dict(speak(attributes, plan_names(tuple(attributes)), {}))


# -- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attribute", "value", "name"),
    [
        ("user.id", "u-1", "$user_id"),
        ("enduser.id", "u-1", "$user_id"),
        ("enduser.pseudo.id", "p-1", "$device_id"),
        ("app.installation.id", "i-1", "$device_id"),
        ("device.id", "d-1", "$device_id"),
        ("distinct_id", "u-1", "distinct_id"),
        ("$user_id", "u-1", "$user_id"),
        ("$device_id", "d-1", "$device_id"),
        ("mixpanel.distinct_id", "u-1", "distinct_id"),
        ("mixpanel.user_id", "u-1", "$user_id"),
        ("mixpanel.device_id", "d-1", "$device_id"),
        ("mixpanel.time", 1_700_000_000, "time"),
        ("mixpanel.ip", "203.0.113.7", "ip"),
        ("mixpanel.insert_id", "i-1", "$insert_id"),
        ("mixpanel.event", "Signed Up", "mixpanel.event"),
        ("mixpanel_event", True, "mixpanel_event"),
        ("client.address", "203.0.113.7", "ip"),
        ("http.client_ip", "203.0.113.7", "ip"),
        ("session.id", "s-1", "session_id"),
        ("user.roles", ("admin",), "user_roles"),
        ("user_agent.name", "Firefox", "$browser"),
        ("user_agent.version", "128.0", "$browser_version"),
        ("user_agent.os.name", "Linux", "$os"),
        ("user_agent.os.version", "6.1", "$os_version"),
        ("user_agent.synthetic.type", "bot", "user_agent_synthetic_type"),
        ("browser.platform", "Windows", "$os"),
        ("browser.language", "de", "$locale"),
        ("browser.mobile", True, "browser_mobile"),
        ("os.name", "Debian", "host_os"),
        ("os.version", "12", "host_os_version"),
        ("device.manufacturer", "Apple", "$manufacturer"),
        ("device.model.name", "iPhone 6s", "$model"),
        ("device.model.identifier", "iPhone8,1", "$model"),
        ("geo.country.iso_code", "DE", "mp_country_code"),
        ("geo.region.iso_code", "DE-BE", "$region"),
        ("geo.locality.name", "Berlin", "$city"),
        ("geo.location.lat", 52.5, "$latitude"),
        ("geo.location.lon", 13.4, "$longitude"),
        ("http.request.method", "GET", "http_request_method"),
        ("http.method", "GET", "http_request_method"),
        ("http.response.status_code", 200, "http_response_status_code"),
        ("http.status_code", 200, "http_response_status_code"),
        ("http.route", "/orders/{id}", "http_route"),
        ("url.scheme", "https", "url_scheme"),
        ("http.scheme", "https", "url_scheme"),
        ("url.path", "/orders", "url_path"),
        ("url.template", "/orders/{id}", "url_template"),
        ("server.address", "shop.example", "server_address"),
        ("error.type", "ValueError", "error_type"),
        ("exception.type", "ValueError", "exception_type"),
        ("deployment.environment.name", "prod", "environment"),
        ("deployment.environment", "prod", "environment"),
        ("feature_flag.key", "new-cart", "feature_flag_key"),
        ("total", 31.5, "total"),
        ("cart.total", 31.5, "cart.total"),
        ("Plan Name", "pro", "Plan Name"),
        ("userland.id", "u", "userland.id"),
        ("$current_url", "https://shop.example/", "$current_url"),
        ("mixpanel.other", 1, "mixpanel.other"),
    ],
)
def test_each_attribute_has_its_name(attribute: str, value: object, name: str) -> None:
    """
    Mixpanel's own name where there is one, underscores in conventional names, others as they are.
    """
    assert said({attribute: value}) == {name: value}


@pytest.mark.parametrize(
    "attribute",
    [
        "user.email",
        "user.full_name",
        "user.name",
        "user.hash",
        "code.function.name",
        "code.lineno",
        "thread.id",
        "thread.name",
        "otel.event.name",
        "otel.status_code",
        "event.name",
        "telemetry.sdk.name",
        "log.record.uid",
        "log.record.original",
        "exception.message",
        "exception.stacktrace",
    ],
)
def test_what_is_nobodys_business_is_left_out(attribute: str) -> None:
    """
    Persons, free text, the place in the code, what OpenTelemetry notes for itself.
    """
    assert said({attribute: "x"}) == {}


@pytest.mark.parametrize(
    ("include", "names"),
    [
        (("message",), ["exception_message"]),
        (("stack",), ["stack"]),
        (("message", "stack"), ["exception_message", "stack"]),
    ],
)
def test_texts_are_sent_if_they_are_asked_for(include: tuple[str, ...], names: list[str]) -> None:
    """
    Only those that are.
    """
    attributes = {"exception.message": "no such user", "exception.stacktrace": "Traceback"}

    assert sorted(said(attributes, include=include)) == names


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("Traceback\n  File a\nValueError", ["Traceback", "  File a", "ValueError"]),
        ("\n".join(map(str, range(100))), [str(number) for number in range(70, 100)]),
        (7, 7),
    ],
)
def test_of_a_stack_the_end_is_sent(value: object, sent: object) -> None:
    """
    The last lines say where it happened.
    """
    assert said({"exception.stacktrace": value}, include=("stack",)) == {"stack": sent}


@pytest.mark.parametrize(
    "name",
    [
        *("time", "ip", "$insert_id"),
        *("$set", "$set_once", "$add", "$append", "$union", "$remove", "$unset"),
    ],
)
def test_names_with_a_meaning_are_no_accident(name: str) -> None:
    """
    An attribute that happens to be called as what steers us is a property like others.
    """
    assert said({name: "x"}) == {f"{name}_": "x"}


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (
            {"http.method": "old", "http.request.method": "new"},
            {"http_request_method": "new"},
        ),
        (
            {"http.client_ip": "192.0.2.1", "client.address": "192.0.2.2"},
            {"ip": "192.0.2.2"},
        ),
        ({"client.address": "192.0.2.2", "mixpanel.ip": "0"}, {"ip": "0"}),
        (
            {"device.model.identifier": "iPhone8,1", "device.model.name": "iPhone 6s"},
            {"$model": "iPhone 6s"},
        ),
        ({"user_agent.os.name": "macOS", "browser.platform": "MacIntel"}, {"$os": "macOS"}),
        ({"session_id": "mine", "session.id": "theirs"}, {"session_id": "mine"}),
        ({"session.id": "theirs", "session_id": "mine"}, {"session_id": "mine"}),
    ],
)
def test_of_several_names_the_best_counts(
    attributes: dict[str, object], expected: dict[str, object]
) -> None:
    """
    Today's names before yesterday's, ours and the application's before OpenTelemetry's.
    """
    assert said(attributes) == expected


# -- identity -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (
            {"mixpanel.distinct_id": "a", "distinct_id": "b", "user.id": "c"},
            {"distinct_id": "a"},
        ),
        ({"distinct_id": "b", "$user_id": "c"}, {"distinct_id": "b", "$user_id": "c"}),
        ({"$device_id": "d", "user.id": "c"}, {"$device_id": "d"}),
        ({"user.id": "a", "enduser.id": "b"}, {"$user_id": "a"}),
        ({"user.id": None, "enduser.id": "b"}, {"$user_id": "b"}),
        ({"user.id": "a", "device.id": "d"}, {"$user_id": "a", "$device_id": "d"}),
        ({"device.id": "d", "app.installation.id": "i"}, {"$device_id": "i"}),
        ({"distinct_id": None, "user.id": "a"}, {"$user_id": "a"}),
        ({"distinct_id": "", "user.id": "a"}, {"distinct_id": ""}),
        ({"user.id": None}, {}),
        ({"session.id": "s", "service.name": "shop"}, {"session_id": "s", "service_name": "shop"}),
    ],
)
def test_an_event_has_one_identity(
    attributes: dict[str, object], expected: dict[str, object]
) -> None:
    """
    Mixpanel's names before the conventions', never a mix of both; an empty id is an answer.
    """
    assert said(attributes) == expected


def test_an_identity_replaces_another() -> None:
    """
    What was known before gives way as a whole.
    """
    fields: dict[str, object] = {"$user_id": "a", "$device_id": "d", "plan": "pro"}

    speak({"distinct_id": "b"}, plan_names(("distinct_id",)), fields)

    assert fields == {"plan": "pro", "distinct_id": "b"}


@pytest.mark.parametrize(
    ("names", "own", "named"),
    [
        ((), False, False),
        (("user.id", "http.route", "code.lineno", "thread.id"), False, False),
        (("mixpanel.event", "mixpanel.ip", "mixpanel.bound.plan"), False, False),
        (("distinct_id",), False, True),
        (("mixpanel.distinct_id",), False, True),
        (("$user_id", "total"), True, True),
        (("$device_id",), False, True),
        (("total",), True, False),
        (("http",), True, False),
    ],
)
def test_what_speaks_for_an_event(names: tuple[str, ...], own: bool, named: bool) -> None:
    """
    What the application says beside conventions, and Mixpanel's own names of identity.
    """
    plan = plan_names(names)

    assert (plan.own, plan.named) == (own, named)


# -- what was bound -------------------------------------------------------------------------------


def test_stamps_say_what_was_bound() -> None:
    """
    Under their own names, whatever these are; JSON is read.
    """
    attributes = {
        "mixpanel.bound.distinct_id": "u-1",
        "mixpanel.bound.ip": "203.0.113.7",
        "mixpanel.bound.cart.size": 3,
        "mixpanel.json.tags": '["a", 1]',
        "plan": "pro",
    }

    assert bound(attributes) == {
        "distinct_id": "u-1",
        "ip": "203.0.113.7",
        "cart.size": 3,
        "tags": ["a", 1],
    }
    assert said(attributes) == {"plan": "pro"}


@pytest.mark.parametrize("value", ['["a", ', "", 3, None, ("a",)])
def test_json_that_was_cut_is_text(value: object) -> None:
    """
    A limit of OpenTelemetry's may shorten it; it is better than nothing.
    """
    assert bound({"mixpanel.json.tags": value}) == {"tags": value}


def test_nothing_that_was_bound_changes_a_profile() -> None:
    """
    Each span of a request carries it: a counter would be moved by all of them.
    """
    stamps = {"mixpanel.json.$add": '{"visits": 1}', "mixpanel.bound.$unset": "plan"}

    assert bound(stamps) == {"$add_": {"visits": 1}, "$unset_": "plan"}


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("tenant", "tenant"),
        ("distinct_id", "distinct_id_"),
        ("$user_id", "$user_id_"),
        ("$device_id", "$device_id_"),
        ("ip", "ip_"),
        ("time", "time_"),
        ("$insert_id", "$insert_id_"),
        ("$set", "$set_"),
        ("mixpanel.event", "mixpanel.event_"),
        ("user.id", "user.id"),
    ],
)
def test_baggage_is_nothing_but_properties(key: str, name: str) -> None:
    """
    It is the client's word: neither an identity nor an order.
    """
    assert bound({f"mixpanel.baggage.{key}": "x"}) == {name: "x"}


@pytest.mark.parametrize("first", ["mixpanel.bound.plan", "mixpanel.baggage.plan"])
def test_what_was_bound_goes_over_baggage(first: str) -> None:
    """
    Whichever was stamped first.
    """
    stamps = {"mixpanel.bound.plan": "mixpanel.bound.plan", "mixpanel.baggage.plan": "theirs"}
    ordered = {first: stamps.pop(first), **stamps}

    assert bound(ordered) == {"plan": "mixpanel.bound.plan"}


# -- resources and names --------------------------------------------------------------------------


def test_a_resource_says_where_it_comes_from() -> None:
    """
    The service and its environment; nothing of the machine, and never who it is about.
    """
    resource = {
        "service.name": "checkout",
        "service.namespace": "shop",
        "service.version": "1.2",
        "service.instance.id": "i-1",
        "deployment.environment.name": "prod",
        "host.name": "h",
        "os.name": "Linux",
        "telemetry.sdk.name": "opentelemetry",
        "user.id": "u-1",
        "device.id": "d-1",
        "distinct_id": "u-1",
    }

    assert describe_resource(resource) == {
        "service_name": "checkout",
        "service_namespace": "shop",
        "service_version": "1.2",
        "environment": "prod",
    }


@pytest.mark.parametrize("name", ["unknown_service", "unknown_service:python", ""])
def test_a_service_without_a_name_has_none(name: str) -> None:
    """
    OpenTelemetry makes one up.
    """
    assert describe_resource({"service.name": name}) == {}


@pytest.mark.parametrize(
    ("attributes", "given", "name"),
    [
        ({}, "Signed Up", "Signed Up"),
        ({"otel.event.name": "A", "event.name": "B"}, None, "A"),
        ({"event.name": "B"}, "", "B"),
        ({"otel.event.name": 7, "event.name": ""}, None, ""),
        ({}, None, ""),
    ],
)
def test_where_the_name_of_an_event_is(
    attributes: dict[str, object], given: object, name: str
) -> None:
    """
    The record's own field, else the attributes that stood in for it.
    """
    assert event_name(attributes, given) == name


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ("Order Placed", "Order Placed"),
        ("  Order Placed\n", "Order Placed"),
        ("Step 2 Completed", "Step 2 Completed"),
        ("x" * 100, "x" * 100),
        ("x" * 101, ""),
        ("Order 4711 placed", ""),
        ("line\nbreak", ""),
        ("", ""),
        ("  ", ""),
        (None, ""),
        (42, ""),
        ({"message": "Order Placed"}, ""),
    ],
)
def test_which_body_is_a_name(body: object, name: str) -> None:
    """
    A short line without a number that may be an id.
    """
    assert name_of(body) == name


# -- values ---------------------------------------------------------------------------------------


SOME_NAMES = st.sampled_from(
    [
        *("user.id", "enduser.id", "device.id", "distinct_id", "mixpanel.distinct_id", "$user_id"),
        *("time", "ip", "mixpanel.time", "mixpanel.ip", "client.address", "exception.message"),
        *("url.full", "http.url", "url.path", "http.target", "url.query", "user_agent.original"),
        *("http.request.header.referer", "mixpanel.json.a", "mixpanel.bound.a", "mixpanel.event"),
    ]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda each: st.lists(each).map(tuple) | st.dictionaries(st.text(), each),
    max_leaves=5,
)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (
            {"url.full": "https://u:p@shop.example/a?utm_source=x&token=t#f"},
            {"$current_url": "https://shop.example/a?utm_source=x", "utm_source": "x"},
        ),
        (
            {"url.full": "https://shop.example/a?utm_source=x#access_token=t&utm_term=y"},
            {"$current_url": "https://shop.example/a?utm_source=x", "utm_source": "x"},
        ),
        (
            {"http.target": "/a?utm_source=x#access_token=t"},
            {"url_path": "/a", "utm_source": "x"},
        ),
        (
            {"http.url": "http://old.example/", "url.full": "http://new.example/"},
            {"$current_url": "http://new.example/"},
        ),
        (
            {"http.target": "/orders/7?utm_campaign=c&token=t"},
            {"url_path": "/orders/7", "utm_campaign": "c"},
        ),
        ({"url.path": "/reset/0123456789abcdef0123456789abcdef"}, {"url_path": "/reset/*"}),
        ({"url.path": "*"}, {}),
        ({"url.query": "utm_source=x&token=t"}, {"utm_source": "x"}),
        (
            {"http.request.header.referer": ("https://a.example/b?q=tea", "https://c.example/")},
            {"$referrer": "https://a.example/b", "$referring_domain": "a.example"},
        ),
        (
            {"http.request.header.referer": "https://a.example/"},
            {"$referrer": "https://a.example/", "$referring_domain": "a.example"},
        ),
        ({"http.request.header.referer": ()}, {}),
        ({"user_agent.original": "", "http.user_agent": ""}, {}),
        ({"url.full": 7, "url.path": None, "url.query": b"x", "user_agent.original": 3.5}, {}),
    ],
)
def test_addresses_tell_no_secrets(
    attributes: dict[str, object], expected: dict[str, object]
) -> None:
    """
    Neither of the page, nor of the page before it; campaigns are found in both.
    """
    assert said(attributes) == expected


def test_where_a_request_goes_is_no_page() -> None:
    """
    On the span of an outgoing request; secrets go the same way.
    """
    attributes = {"url.full": "https://api.example/v1?key=k", "http.url": 7}

    assert said(attributes, client=True) == {"url_full": "https://api.example/v1"}


@pytest.mark.ua
def test_a_user_agent_is_read() -> None:
    """
    With the extra `ua`, into the properties of Mixpanel's own libraries.
    """
    firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"

    for name in ("user_agent.original", "http.user_agent"):
        found = said({name: firefox})
        assert (found["$browser"], found["$browser_version"]) == ("Firefox", 128.0)
        assert found["$os"] == "Linux"


@effort.steadily(100)
@given(st.dictionaries(SOME_NAMES | st.text(), ANYTHING), st.booleans())
def test_it_takes_whatever_there_is(attributes: dict[str, Any], client: bool) -> None:
    """
    No name and no value makes it raise, and nothing steers us by accident.
    """
    fields: dict[str, object] = {}
    plan = plan_names(tuple(attributes), client)

    speak(attributes, plan, fields)

    assert ("time" in fields) == ("mixpanel.time" in attributes)
    assert ("$insert_id" in fields) == ("mixpanel.insert_id" in attributes)
