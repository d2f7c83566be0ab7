"""
The command `explain`: one record through its door, and which rule did what to it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mixpanel_export.cli._explain import explain


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Leave no trace of what a command adds to the path, and have no settings from outside.
    """
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.delenv("MIXPANEL_TOKEN", raising=False)


def run(said: object, *flags: str) -> Result:
    """
    Run the command on a record.
    """
    return CliRunner().invoke(explain, [json.dumps(said), *flags])


def explained(said: object, *flags: str) -> list[dict[str, Any]]:
    """
    Return what the command says, in JSON.
    """
    found: list[dict[str, Any]] = json.loads(run(said, "--json", *flags).output)
    return found


def reasons(explanation: dict[str, Any]) -> dict[str, str]:
    """
    Return the reasons of everything that is sent, or is not, by name.
    """
    sent = {each["name"]: "; ".join(each["why"]) for each in explanation["properties"]}
    omitted = {f"-{each['name']}": each["why"] for each in explanation["omitted"]}
    assert len(omitted) == len(explanation["omitted"])
    return {**sent, **omitted}


LONG = "x" * 300


@pytest.mark.parametrize(
    ("fields", "name", "why"),
    [
        ({"plan": "pro"}, "plan", "as it was said"),
        ({"token": "T1"}, "token_", "means something else to Mixpanel"),
        ({"password": "x"}, "password", "its name announces a secret"),
        ({"note": "card 4111 1111 1111 1111"}, "note", "looks like a secret"),
        ({"text": LONG}, "text", "cut to 255 bytes"),
        ({LONG: 1}, LONG[:255], "its name was"),
        ({"big": 10**20}, "big", "a double cannot hold it"),
        ({"deep": {"a": {"b": {"c": {"d": 1}}}}}, "deep", "3 levels"),
        ({"many": ["x"] * 300}, "many", "254 elements"),
        ({"otelTraceID": "1", "a": 1}, "-otelTraceID", "stamp"),
        ({"nothing": None, "a": 1}, "-nothing", "nothing that JSON could say"),
        ({"$set": {"plan": "pro"}, "distinct_id": "u"}, "-$set", "changes the profile"),
        ({"mixpanel_event": "Paid"}, "-mixpanel_event", "the mark"),
        ({"distinct_id": "u-1"}, "distinct_id", "from distinct_id"),
        ({"$device_id": "d"}, "distinct_id", "from $device_id"),
        ({"$device_id": "d"}, "$device_id", "joins users"),
        ({"distinct_id": "None", "a": 1}, "distinct_id", "does not take"),
        ({"distinct_id": LONG}, "distinct_id", "longer than 255 bytes"),
        ({"a": 1}, "distinct_id", "nobody: no field says who"),
        ({"a": 1}, "$insert_id", "made up"),
        ({"$insert_id": "i-1"}, "$insert_id", "as it was said"),
        ({"$insert_id": "i:1"}, "$insert_id", "a hash"),
        ({"time": 1_700_000_000}, "time", "as it was said: 2023-11-14 22:13:20 UTC"),
        ({"time": "soon"}, "time", "when it was said"),
        ({"time": "soon"}, "time_", "no usable time"),
        ({"ip": "8.8.8.8"}, "ip", "makes a place of it"),
        ({"a": 1}, "ip", "no place"),
        ({"a": 1}, "mp_lib", "this library"),
    ],
)
def test_each_rule_is_named(fields: dict[str, object], name: str, why: str) -> None:
    """
    Whatever a rule does to a field of a log record is said beside the property.
    """
    (explanation,) = explained({"message": "Paid", **fields})

    assert explanation["verdict"] == "event"
    assert why in reasons(explanation)[name]


def test_what_is_as_it_was_said_has_no_other_reason() -> None:
    """
    No rule is blamed that did nothing.
    """
    fields = {"s": "é", "i": 1, "f": 1.5, "b": True, "l": ["x", 1, {"a": None}], "o": {"a": [1]}}
    (explanation,) = explained({"message": "Paid", "extra": fields})

    found = reasons(explanation)
    del found["l"]  # None inside of it is left out
    assert {found[name] for name in found.keys() & fields.keys()} == {"as it was said"}


def test_settings_have_their_reasons() -> None:
    """
    What a setting adds or takes away is said to be its work; flags are settings.
    """
    said = {"message": "Paid", "a": 1, "b": 2, "c": 3}
    deny = reasons(explained(said, "--deny", "a")[0])
    allow = reasons(explained(said, "--allow", "a", "--super-properties", '{"s": 1, "a": 0}')[0])

    assert deny["-a"] == "deny leaves it out"
    assert allow["-b"] == "it is not in allow"
    assert allow["-s"].startswith("of super_properties")
    assert "goes before super_properties" in allow["a"]
    assert reasons(explained(said, "--super-properties", '{"s": 1}')[0])["s"] == "super_properties"


def test_too_much_for_an_event() -> None:
    """
    What there is no room for is listed, by the rule that has cost it its place.
    """
    many = {f"p{index}": index for index in range(300)}
    big = {f"p{index}": [LONG[:100]] * 80 for index in range(200)}

    crowded, huge = (explained({"message": "Paid", **fields})[0] for fields in (many, big))

    assert "254 properties" in reasons(crowded)["-p299"]
    assert "at most 1 MB" in reasons(huge)["_truncated"]
    assert any("biggest properties" in each["why"] for each in huge["omitted"])
    assert huge["bytes"] < 1_000_000


def test_arguments_names_and_profiles() -> None:
    """
    The name is the template; arguments are properties; operations go to the profile, to be seen.
    """
    said = {
        "message": "Paid by %s",
        "args": ["card"],
        "logger": "shop",
        "level": "ERROR",
        "extra": {"distinct_id": "u-1", "$set": {"plan": "pro"}, "mixpanel_event": "Paid"},
    }
    (explanation,) = explained(said)

    assert explanation["name"] == "Paid"
    assert "the name was 'Paid by %s'" in explanation["notes"]
    assert reasons(explanation)["arg_0"] == "an argument of the message"
    (update,) = explanation["updates"]
    assert (update["$distinct_id"], update["$set"]) == ("u-1", {"plan": "pro"})


@pytest.mark.parametrize(
    ("said", "flags", "why"),
    [
        ({"message": "warm"}, (), "select='structured' takes"),
        ({"message": "warm", "otelTraceID": "1"}, (), "otelTraceID: stamps"),
        ({"message": "warm", "a": 1}, ("--select", "marked"), "mixpanel_event"),
        ({"message": "warm", "a": 1, "logger": "django.db"}, (), "a framework's logger"),
        ({"message": "warm", "a": 1, "logger": "httpx"}, (), "would feed on itself"),
        ({"message": "warm", "a": 1, "logger": "x"}, ("--loggers", "shop"), "leaves out 'x'"),
        ({"message": "warm", "a": 1, "mixpanel_event": False}, (), "its mark"),
        ({"message": " ", "a": 1}, (), "nothing names it"),
        ({"message": "$identify", "a": 1}, (), "may join users"),
        ({"message": "Paid", "a": 1}, ("--sample", "0"), "not in the sample"),
    ],
)
def test_why_there_is_no_event(said: object, flags: tuple[str, ...], why: str) -> None:
    """
    A record that is no event is told why, and what would make it one; the exit status is 1.
    """
    (explanation,) = explained(said, *flags)
    ran = run(said, *flags)

    assert explanation["verdict"] in {"ignored", "dropped"}
    assert why in explanation["why"]
    assert ran.exit_code == 1
    assert "No event" in ran.output


def test_a_transform_is_seen_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What it adds, takes away, drops and raises is told as its work; so is what a callable selects.
    """
    (tmp_path / "rules_of_a_shop.py").write_text(
        "import dataclasses\n"
        "def change(event):\n"
        "    if event.name == 'Raise': raise KeyError('plan')\n"
        "    if event.name == 'Drop': return None\n"
        "    kept = {n: v for n, v in event.properties.items() if n != 'gone'}\n"
        "    return dataclasses.replace(event, properties={**kept, 'new': 1})\n"
        "def never(record): return False\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIXPANEL_TRANSFORM", "rules_of_a_shop:change")
    said = {"message": "Paid", "gone": 1, "token": 2, "distinct_id": "u-1"}

    (changed,), (dropped,), (raised,) = (
        explained({**said, "message": name}) for name in ("Paid", "Drop", "Raise")
    )
    (unselected,) = explained(said, "--select", "rules_of_a_shop:never")

    found = reasons(changed)
    assert found["new"] == "set by transform"
    assert found["-gone"] == "transform took it away"
    assert found["token_"].startswith("as it was said; token means")
    assert found["distinct_id"] == "from distinct_id"
    assert dropped["why"] == "transform gave no event back"
    assert raised["notes"] == ["it raised KeyError: 'plan'"]
    assert "callable" in unselected["why"]


def test_structlog() -> None:
    """
    What processors add is told apart from what was said; without an identity there is no event.
    """
    said = {"event": "Paid", "level": "info", "distinct_id": "u-1", "plan": "pro"}
    (explanation,) = explained(said, "--door", "structlog")
    (ignored,) = explained({"event": "Paid", "plan": "pro"}, "--door", "structlog")

    assert reasons(explanation)["plan"] == "as it was said"
    assert "processors add" in reasons(explanation)["-level"]
    assert "select='identified'" in ignored["why"]


def test_by_hand() -> None:
    """
    An event that is submitted goes by the same rules, but needs no selection.
    """
    said = {"event": "Paid", "properties": {"distinct_id": "u-1", "password": "x", "time": "soon"}}
    (explanation,) = explained(said, "--door", "event")

    found = reasons(explanation)
    assert found["distinct_id"] == "as it was said"
    assert "announces a secret" in found["password"]
    assert "time_" in found
    assert explained({"event": " "}, "--door", "event")[0]["why"] == "nothing names it"


@pytest.mark.otel
def test_a_span() -> None:
    """
    Attributes are told by their own names; what was added to a span is an event of its own.
    """
    said = {
        "name": "GET /cart",
        "kind": "SpanKind.SERVER",
        "context": {"trace_id": f"0x{1:032x}", "span_id": f"0x{2:016x}"},
        "start_time": "2026-11-21T07:00:00.000000Z",
        "status": {"status_code": "OK"},
        "resource": {"attributes": {"service.name": "shop"}},
        "attributes": {
            "user.id": "u-1",
            "http.route": "/cart",
            "url.full": "https://shop.example/cart?utm_source=mail",
            "code.lineno": 9,
            "user.email": "a@example.com",
            "exception.message": "x",
            "mixpanel.bound.plan": "pro",
        },
        "events": [{"name": "Coupon", "attributes": {"coupon": "SUMMER"}}],
    }
    span, added = explained(said, "--door", "span")
    (child,) = explained({**said, "parent_id": f"0x{3:016x}", "events": []}, "--door", "span")

    found = reasons(span)
    assert found["http_route"] == "attribute http.route"
    assert found["distinct_id"] == "attribute user.id"
    assert found["utm_source"] == "read from attribute url.full"
    assert found["plan"] == "bound; attribute mixpanel.bound.plan"
    assert found["service_name"] == "added by the door"
    assert "where in the code" in found["-code.lineno"]
    assert "more of a person" in found["-user.email"]
    assert "include='message'" in found["-exception.message"]
    assert (added["name"], reasons(added)["coupon"]) == ("Coupon", "attribute coupon")
    assert "select='entry'" in child["why"]


@pytest.mark.otel
def test_a_log_of_opentelemetrys() -> None:
    """
    A log record is named by its `event_name`, and needs one or an identity.
    """
    said = {"body": "x", "event_name": "Paid", "attributes": {"plan": "pro", "log.record.uid": "1"}}
    (explanation,) = explained(said, "--door", "log")
    (ignored,) = explained({"body": "Paid", "attributes": {"plan": "pro"}}, "--door", "log")

    found = reasons(explanation)
    assert (explanation["name"], found["plan"]) == ("Paid", "attribute plan")
    assert found["-log.record.uid"] == "it is read as the event's name or id"
    assert ignored["verdict"] == "ignored"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"a":', "line 1, column 6"),
        ("[1]", "one JSON object, not list"),
        ('{"message": "x", "level": "LOUD"}', "level must be one of logging's"),
        ('{"message": "x", "extra": 1}', "extra must be an object"),
        ('{"message": "x", "lineno": 1}', "does not let extra hold 'lineno'"),
        ('{"event": "x", "plan": 1}', "--door structlog, or submitted by hand, --door event"),
        (" ", "there is no argument, nor any input"),
    ],
)
def test_wrong_input_is_explained(text: str, told: str) -> None:
    """
    What is no record is told with its place and what would be one, without a traceback.
    """
    ran = CliRunner().invoke(explain, ["-"], input=text)

    assert ran.exit_code == 2
    assert told in " ".join(ran.output.split())
    assert "Traceback" not in ran.output


def test_a_file_is_not_taken_for_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    It says how one is read.
    """
    monkeypatch.chdir(tmp_path)
    (tmp_path / "record.json").write_text("{}")

    ran = CliRunner().invoke(explain, ["record.json"])

    assert ran.exit_code == 2
    assert "a file is read with < record.json" in " ".join(ran.output.split())


@pytest.mark.otel
@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"kind": "inner"}, "kind must be one of internal, server"),
        ({"context": {"trace_id": "xyz"}}, "trace_id must be hexadecimal"),
        ({"start_time": "noon"}, "a time must be ISO 8601"),
        ({"attributes": 1}, "attributes must be an object"),
    ],
)
def test_wrong_spans_are_explained(said: object, told: str) -> None:
    """
    What no span can have is told with what it could have.
    """
    ran = run(said, "--door", "span")

    assert ran.exit_code == 2
    assert told in " ".join(ran.output.split())


@pytest.mark.parametrize("door", ["span", "log"])
def test_doors_without_their_extra(door: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Without OpenTelemetry it is said what to install.
    """
    monkeypatch.delitem(sys.modules, "mixpanel_export.otel", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk._logs", None)
    ran = run({"name": "x"}, "--door", door)

    assert ran.exit_code == 1
    assert "pip install 'mixpanel-export[otel]'" in ran.output


def test_flags_that_are_switches() -> None:
    """
    A setting that is on by default is turned off by its flag with ``no``; a wrong value is told.
    """
    said = {"message": "Paid", "password": "x"}

    assert reasons(explained(said, "--no-scrub")[0])["password"] == "as it was said"
    assert run(said, "--sample", "half").exit_code == 2
    assert "must be a number from 0 to 1" in run(said, "--sample", "2").output


def test_a_bug_is_one_line_unless_somebody_debugs(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    An error that nobody foresaw has its traceback only with --debug.
    """

    def broken(*_: object) -> None:
        raise RuntimeError("of ours")

    monkeypatch.setattr("mixpanel_export.cli._explain.settings_of", broken)

    plain = run({"message": "x"})
    debugged = run({"message": "x"}, "--debug")

    assert plain.exit_code == 1
    assert "RuntimeError: of ours (--debug shows where)" in plain.output
    assert isinstance(debugged.exception, RuntimeError)


def test_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Nothing is wider than 80 columns; names, values and reasons are there.
    """
    monkeypatch.setenv("COLUMNS", "80")
    said = {
        "message": "Paid [bold]",
        "note": "[red]x[/red]",
        "distinct_id": "none",
        "$set": {"a": 1},
    }
    ran = run({**said, "distinct_id": "u-1", "time": "soon", "LONG": LONG})

    assert ran.exit_code == 0
    assert max(map(len, ran.output.splitlines())) <= 80
    assert "Paid [bold]" in ran.output
    assert '"[red]x[/red]"' in ran.output
    assert not {"\x1b", "\x9b"} & set(run({"message": "a\x1b[2J", "\x9b": "\x9b"}).output)
    assert "to the profile" in ran.output
    assert "no usable time" in " ".join(ran.output.split())
