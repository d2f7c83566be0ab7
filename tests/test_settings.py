"""
Settings: whatever holds for one of them holds for all, so most tests go through their declaration.

A new setting needs a row in `VALUES`, and nothing else here.
"""

from __future__ import annotations

import dataclasses
import json
import math
import operator
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import FrozenInstanceError, dataclass, fields
from pathlib import Path
from typing import Any, cast

import pytest

from mixpanel_export import MixpanelExportError, Settings, SettingsError
from mixpanel_export._settings import is_loopback
from mixpanel_export.testing import ScriptedTransport

TRANSPORT = ScriptedTransport()

# A value for each setting that is not its default, as text in the environment and as it comes out.
VALUES: dict[str, tuple[str, object]] = {
    "token": ("6f1d", "6f1d"),
    "service_account": ("robot.1a2b", "robot.1a2b"),
    "service_secret": ("hush", "hush"),
    "project_id": ("4711", "4711"),
    "api_secret": ("psst", "psst"),
    "region": ("eu", "eu"),
    "base_url": ("http://127.0.0.1:8787/", "http://127.0.0.1:8787"),
    "api": ("track", "track"),
    "strict": ("false", False),
    "select": ("marked", "marked"),
    "loggers": ("shop, billing.cards,", ("shop", "billing.cards")),
    "transform": ("operator:pos", operator.pos),
    "allow": ("plan, total", ("plan", "total")),
    "deny": ("note,", ("note",)),
    "scrub": ("off", False),
    "include": ("message, stack", ("message", "stack")),
    "baggage": ("tenant, plan", ("tenant", "plan")),
    "sample": ("0.25", 0.25),
    "budget": ("60", 60),
    "super_properties": ('{"server": "a", "size": 3}', {"server": "a", "size": 3}),
    "max_events": ("10_000", 10_000),
    "max_bytes": ("2000000", 2_000_000),
    "overflow": ("drop_oldest", "drop_oldest"),
    "batch_events": ("500", 500),
    "batch_bytes": ("9500000", 9_500_000),
    "flush_interval": ("0.5", 0.5),
    "connections": ("8", 8),
    "connect_timeout": ("1", 1.0),
    "timeout": ("7.5", 7.5),
    "backoff_initial": ("0.1", 0.1),
    "backoff_max": ("30", 30.0),
    "jitter": ("0", 0.0),
    "requests_per_hour": ("600", 600),
    "gzip": ("no", False),
    "transport": (f"{__name__}:TRANSPORT", TRANSPORT),
    "shutdown_timeout": ("1.5", 1.5),
    "spool": ("/var/spool/mixpanel", "/var/spool/mixpanel"),
    "spool_max_bytes": ("50_000_000", 50_000_000),
    "spool_sync": ("always", "always"),
    "spool_max_age": ("86400", 86_400.0),
    "disabled": ("true", True),
    "on_rejected": ("operator:truth", operator.truth),
}

NAMES = [each.name for each in fields(Settings)]
SECRETS = [each.name for each in fields(Settings) if each.metadata["secret"]]
WHAT = [each.name for each in fields(Settings) if each.metadata["group"] == "what"]

# What a service account needs beside it, so that it can be tried alone.
COMPANIONS = {"token": "beside", "service_secret": "beside", "project_id": "1"}

SECRET = "hunter2-5d41402a"


def with_one(name: str) -> Settings:
    """
    Make settings in which one field is not as usual.
    """
    given: dict[str, Any] = {**COMPANIONS, name: VALUES[name][1]}
    return Settings(**given)


def refusal(environ: Mapping[str, str] | None = None, /, **given: object) -> str:
    """
    Return what a wrong setting is refused with, the whole traceback included.
    """
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment(environ or {}, **given)
    return "".join(traceback.format_exception(caught.type, caught.value, caught.tb))


def message(environ: Mapping[str, str] | None = None, /, **given: object) -> str:
    """
    Return the text of a refusal.
    """
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment(environ or {}, **given)
    return str(caught.value)


# -- each field, from everywhere ------------------------------------------------------------------


def test_nothing_has_to_be_set() -> None:
    """
    Without keywords and variables every field has its default.
    """
    settings = Settings.from_environment({})

    assert settings == Settings()
    assert {name: getattr(settings, name) for name in NAMES} == {
        each.name: each.metadata["default"] for each in fields(Settings)
    }


def test_every_setting_is_tried() -> None:
    """
    The table of values has a row for each field, in their order, and none beside.
    """
    assert list(VALUES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_is_read_from_the_environment(name: str) -> None:
    """
    The field `x` is read from the variable ``MIXPANEL_X``.
    """
    text, value = VALUES[name]
    environ = {f"MIXPANEL_{each.upper()}": beside for each, beside in COMPANIONS.items()}
    environ[f"MIXPANEL_{name.upper()}"] = text

    settings = Settings.from_environment(environ)

    assert getattr(settings, name) == value
    assert getattr(settings, name) != getattr(Settings(), name)


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_is_a_keyword(name: str) -> None:
    """
    The field `x` is given by the keyword ``x``, as a value of its own type.
    """
    settings = with_one(name)

    assert getattr(settings, name) == VALUES[name][1]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_given_goes_before_the_environment(name: str) -> None:
    """
    A field that is given is not read from its variable, which need not even make sense.
    """
    given: dict[str, Any] = {**COMPANIONS, name: VALUES[name][1]}

    settings = Settings.from_environment({f"MIXPANEL_{name.upper()}": "\0"}, **given)

    assert getattr(settings, name) == VALUES[name][1]


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_variable_is_none(name: str) -> None:
    """
    A variable that is set to nothing counts as not set.
    """
    settings = Settings.from_environment({f"MIXPANEL_{name.upper()}": ""})

    assert settings == Settings()


def test_other_variables_are_let_alone() -> None:
    """
    Only ``MIXPANEL_`` and a field's name in capitals is read.
    """
    environ = {"TOKEN": "a", "mixpanel_token": "b", "MIXPANEL_TOKENS": "c", "MIXPANEL_": "d"}

    assert Settings.from_environment(environ) == Settings()


def test_the_environment_is_that_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Where no variables are handed over, those of the process are read.
    """
    monkeypatch.setenv("MIXPANEL_REGION", "in")

    assert Settings.from_environment().region == "in"


def test_a_plain_construction_reads_no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    `Settings(…)` means what it says, wherever it runs.
    """
    monkeypatch.setenv("MIXPANEL_REGION", "in")

    assert Settings().region == "us"


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_is_described(name: str) -> None:
    """
    Each field says in a sentence what it is for, and to which group of the table it belongs.
    """
    metadata = Settings.__dataclass_fields__[name].metadata

    assert metadata["help"].endswith(".")
    assert metadata["group"] in {
        "who",
        "where",
        "what",
        "queue",
        "batch",
        "send",
        "end",
        "spool",
        "misc",
    }


@pytest.mark.parametrize("name", [*SECRETS, "transform", "transport", "on_rejected"])
def test_secrets_and_code_have_no_flag(name: str) -> None:
    """
    What would stand in the list of processes, or cannot be typed, is no option of the program.
    """
    assert not Settings.__dataclass_fields__[name].metadata["flag"]


# -- readers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [(word, True) for word in ("1", "true", "Yes", " ON ")]
    + [(word, False) for word in ("0", "FALSE", "no", "off\n")],
)
def test_the_words_of_a_flag(text: str, value: bool) -> None:
    """
    A flag is 1, true, yes or on, or else 0, false, no or off, in any case.
    """
    assert Settings.from_environment({"MIXPANEL_GZIP": text}).gzip is value


def test_a_callable_is_a_path_in_a_module() -> None:
    """
    Behind the colon there may be attributes of attributes.
    """
    environ = {"MIXPANEL_ON_REJECTED": "pathlib:Path.exists"}

    found: object = Settings.from_environment(environ).on_rejected

    assert found is Path.exists


def test_a_selection_is_a_word_or_a_callable() -> None:
    """
    In the environment a colon tells a callable from a word.
    """
    environ = {"MIXPANEL_SELECT": "operator:truth"}

    assert Settings.from_environment(environ).select is operator.truth


def test_texts_are_taken_without_blanks_around() -> None:
    """
    A line break at the end of a secret that was read from a file is not part of it.
    """
    assert Settings(token=" 6f1d\n").token == "6f1d"


def test_whole_seconds_are_seconds() -> None:
    """
    A whole number of seconds comes out as the number that the field promises.
    """
    settings = Settings(timeout=7)

    assert type(settings.timeout) is float


def test_names_may_be_any_collection() -> None:
    """
    Names come out as a tuple, whatever held them, even if it can be looked through only once.
    """
    given = cast("Any", (name for name in ("shop", "billing")))

    settings = Settings(loggers=given)

    assert settings.loggers == ("shop", "billing")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_events", 1),
        ("max_bytes", 1_000_000),
        ("batch_events", 1),
        ("batch_events", 2_000),
        ("batch_bytes", 1_000_000),
        ("batch_bytes", 9_500_000),
        ("connections", 1),
        ("connections", 64),
        ("flush_interval", 0.0),
        ("timeout", 0.001),
        ("jitter", 1e7),
    ],
)
def test_bounds_are_allowed(name: str, value: float) -> None:
    """
    The least and the most that a refusal names are values that are taken.
    """
    settings = Settings.from_environment({}, **{name: value})

    assert getattr(settings, name) == value


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("region", "us"),
        ("strict", True),
        ("select", None),
        ("max_events", 1_000_000),
        ("max_bytes", 67_108_864),
        ("overflow", "drop_newest"),
        ("batch_events", 2_000),
        ("batch_bytes", 2_000_000),
        ("flush_interval", 2.0),
        ("connections", 4),
        ("connect_timeout", 3.0),
        ("timeout", 15.0),
        ("backoff_initial", 2.0),
        ("backoff_max", 60.0),
        ("jitter", 5.0),
        ("gzip", True),
        ("shutdown_timeout", 5.0),
        ("disabled", False),
    ],
)
def test_the_defaults_that_users_rely_on(name: str, default: object) -> None:
    """
    Changing one of these changes what every application does that did not set it.
    """
    assert getattr(Settings(), name) == default


# -- wrong values ---------------------------------------------------------------------------------


class Wrong:
    """Nothing that any setting could be."""

    def __repr__(self) -> str:
        return "<something wrong>"


@pytest.mark.parametrize("name", NAMES)
def test_every_wrong_value_names_the_field_the_value_and_the_fix(name: str) -> None:
    """
    A value that no setting takes is refused with the field, what it must be, and what it is.
    """
    text = message(**{name: Wrong()})

    assert text.startswith(f"{name} must ")
    assert text.endswith("not a secret" if name in SECRETS else "not <something wrong>")


@pytest.mark.parametrize("name", [name for name in NAMES if getattr(Settings(), name) is not None])
def test_a_default_cannot_be_switched_off(name: str) -> None:
    """
    `None` is no value for a setting that always has one.
    """
    assert message(**{name: None}).startswith(f"{name} must ")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"region": "europe"}, "region must be 'us', 'eu' or 'in', not 'europe'"),
        ({"region": ["eu"]}, "region must be 'us', 'eu' or 'in', not ['eu']"),
        (
            {"overflow": "block"},
            "overflow must be 'drop_newest' or 'drop_oldest', not 'block'",
        ),
        (
            {"select": "some"},
            (
                "select must be 'marked', 'identified', 'structured', 'entry' or 'all', or a"
                " callable that takes a Record, not 'some'"
            ),
        ),
        ({"token": ""}, "token must be a text that is not empty, not a secret"),
        ({"project_id": " "}, "project_id must be a text that is not empty, not ' '"),
        ({"project_id": 4711}, "project_id must be a text that is not empty, not 4711"),
        ({"gzip": 1}, "gzip must be True or False, not 1"),
        ({"loggers": "shop"}, "loggers must be a list of texts, not 'shop'"),
        ({"loggers": ["shop", 1]}, "loggers must be a list of texts, not ['shop', 1]"),
        ({"transform": 1}, "transform must be a callable, not 1"),
        ({"allow": "plan"}, "allow must be a list of texts, not 'plan'"),
        ({"deny": [1]}, "deny must be a list of texts, not [1]"),
        ({"scrub": 1}, "scrub must be True or False, not 1"),
        ({"include": ["trace"]}, "include must be 'message' or 'stack', not ['trace']"),
        ({"sample": 1.5}, "sample must be a number from 0 to 1, not 1.5"),
        ({"budget": 0}, "budget must be a whole number of at least 1, not 0"),
        (
            {"super_properties": {1: "a"}},
            "super_properties must be a mapping of names to values, not {1: 'a'}",
        ),
        ({"max_events": 0}, "max_events must be a whole number of at least 1, not 0"),
        ({"max_events": 1e6}, "max_events must be a whole number of at least 1, not 1000000.0"),
        ({"max_events": True}, "max_events must be a whole number of at least 1, not True"),
        (
            {"max_bytes": 999_999},
            "max_bytes must be a whole number of at least 1000000, not 999999",
        ),
        ({"batch_events": 2_001}, "batch_events must be a whole number from 1 to 2000, not 2001"),
        (
            {"batch_bytes": 9_500_001},
            "batch_bytes must be a whole number from 1000000 to 9.5e+06, not 9500001",
        ),
        ({"connections": 65}, "connections must be a whole number from 1 to 64, not 65"),
        ({"flush_interval": -0.1}, "flush_interval must be a number from 0 to 1e+07, not -0.1"),
        ({"jitter": "5"}, "jitter must be a number from 0 to 1e+07, not '5'"),
        ({"jitter": True}, "jitter must be a number from 0 to 1e+07, not True"),
        ({"jitter": math.nan}, "jitter must be a number from 0 to 1e+07, not nan"),
        ({"timeout": 0}, "timeout must be a number from 0.001 to 1e+07, not 0"),
    ],
)
def test_what_is_said_about_wrong_values(given: dict[str, object], text: str) -> None:
    """
    Bounds and choices are named, so that the next try can be right.
    """
    assert message(**given) == text


@pytest.mark.parametrize(
    ("variable", "text", "says"),
    [
        ("MIXPANEL_GZIP", "maybe", "must be true or false, not 'maybe'"),
        ("MIXPANEL_TIMEOUT", "soon", "must be a number, not 'soon'"),
        ("MIXPANEL_MAX_EVENTS", "1e6", "must be a whole number, not '1e6'"),
        ("MIXPANEL_SUPER_PROPERTIES", "{a: 1}", "must be a JSON object, not '{a: 1}'"),
        ("MIXPANEL_TRANSFORM", "shop", "must be given as 'module:function', not 'shop'"),
        ("MIXPANEL_TRANSFORM", ":f", "must be given as 'module:function', not ':f'"),
        ("MIXPANEL_TRANSFORM", "operator:", "must be given as 'module:function', not 'operator:'"),
    ],
)
def test_what_is_said_about_wrong_variables(variable: str, text: str, says: str) -> None:
    """
    What cannot be read is refused in the name of the variable.
    """
    assert message({variable: text}) == f"{variable} {says}"


@pytest.mark.parametrize("text", ["no_such_module:f", "operator:no_such_function"])
def test_a_callable_that_is_not_there_is_named(text: str) -> None:
    """
    A module or function that cannot be found is refused with the reason.
    """
    said = message({"MIXPANEL_TRANSFORM": text})

    assert said.startswith("MIXPANEL_TRANSFORM cannot be imported (")
    assert "no_such" in said


@pytest.mark.parametrize("source", ["raise RuntimeError('not here')", "def ", "import nowhere_"])
def test_a_callable_in_a_broken_module_is_a_wrong_setting(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Whatever the import of a setting's module raises, it is the setting that is wrong.
    """
    (tmp_path / "broken_module.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))

    said = message({"MIXPANEL_TRANSFORM": "broken_module:f"})

    assert said.startswith("MIXPANEL_TRANSFORM ")
    assert "broken_module" not in sys.modules


def test_a_relative_module_is_a_wrong_setting() -> None:
    """
    A callable's module has no package that it could be relative to.
    """
    assert message({"MIXPANEL_TRANSFORM": ".shop:f"}).startswith("MIXPANEL_TRANSFORM ")


@pytest.mark.parametrize(("name", "text"), [("max_events", "0"), ("super_properties", "[1]")])
def test_a_variable_of_a_wrong_value_names_the_field(name: str, text: str) -> None:
    """
    What can be read and is wrong is refused as it is everywhere.
    """
    assert message({f"MIXPANEL_{name.upper()}": text}).startswith(f"{name} must be ")


def test_an_unknown_setting_is_named() -> None:
    """
    A misspelt field is refused, and those that exist are shown.
    """
    said = message(tokn="6f1d")

    assert "'tokn'" in said
    assert "'token'" in said


@pytest.mark.parametrize(
    "address",
    [
        "api.mixpanel.com",
        "ftp://api.mixpanel.com",
        "https://",
        "https:///import",
        "https://api.mixpanel.com?region=eu",
        "https://api.mixpanel.com/?",
        "https://api.mixpanel.com#top",
        "https://[::1",
        "http://localhost:port",
        "http://localhost:99999",
        "http://localhost:0",
        "http://local\nhost",
        "http://local host",
    ],
)
def test_an_address_that_leads_nowhere_is_refused(address: str) -> None:
    """
    An address needs http or https, a host and a port that can be; it has nothing behind its path.
    """
    assert message(base_url=address).startswith("base_url must be an address such as ")


@pytest.mark.parametrize("method", ["send", "close"])
def test_half_a_transport_is_refused(method: str) -> None:
    """
    A transport sends and closes.
    """
    half = type("Half", (), {method: lambda *_: None})()

    assert message(transport=half).startswith("transport must have the methods send and close")


@pytest.mark.parametrize("name", ["timeout", "jitter"])
def test_a_wait_has_an_end(name: str) -> None:
    """
    With an endless timeout no request could be sent, with endless jitter no retry.
    """
    assert message(**{name: math.inf}).startswith(f"{name} must be ")


@pytest.mark.parametrize("name", [name for name in NAMES if type(VALUES[name][1]) is float])
def test_a_number_beyond_all_clocks_is_a_wrong_setting(name: str) -> None:
    """
    A whole number that is too big for a float is refused like any other wrong value.
    """
    assert message(**{name: 10**400}).startswith(f"{name} must be ")


@pytest.mark.parametrize(
    "given",
    [
        {"service_account": "robot"},
        {"service_account": "robot", "service_secret": "hush"},
        {"service_account": "robot", "project_id": "4711"},
    ],
)
def test_a_service_account_is_complete_or_wrong(given: dict[str, str]) -> None:
    """
    Half a service account is refused with what it needs.
    """
    assert message(**given) == "service_account needs service_secret and project_id beside it"


@pytest.mark.parametrize("make", [Settings, Settings.from_environment])
def test_what_is_raised_is_ours(make: Callable[..., Settings]) -> None:
    """
    A wrong value is a `MixpanelExportError`, however the settings are made.
    """
    with pytest.raises(MixpanelExportError):
        make(region="europe")


# -- secrets --------------------------------------------------------------------------------------


def test_everything_secret_is_declared_so() -> None:
    """
    Whatever proves to Mixpanel who we are is a secret.
    """
    assert SECRETS == ["token", "service_secret", "api_secret"]


@dataclass
class Shop:
    """An application's own object with our settings in it."""

    name: str
    settings: Settings


@pytest.mark.parametrize("name", SECRETS)
def test_secrets_are_not_shown(name: str) -> None:
    """
    Neither the text of settings nor that of anything around them shows a secret.
    """
    given: dict[str, Any] = {name: SECRET}
    settings = Settings(**given)

    shown = [
        repr(settings),
        str(settings),
        f"{settings} {settings!r}",
        repr([settings]),
        repr({"settings": settings}),
        repr(Shop("corner", settings)),
    ]

    assert [text for text in shown if SECRET in text] == []
    assert all(f"{name}='***'" in text or f"{name}=***" in text for text in shown)


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("value", [SECRET.encode(), [SECRET], {SECRET: 1}], ids=["b", "l", "d"])
def test_a_wrong_secret_is_not_shown(name: str, value: object) -> None:
    """
    A secret of the wrong type is refused without a trace of it.
    """
    assert SECRET not in refusal(**{name: value})


@pytest.mark.parametrize("name", SECRETS)
def test_a_wrong_secret_in_the_environment_is_not_shown(name: str) -> None:
    """
    The refusal of a variable that holds a secret does not quote it.
    """
    text = refusal({f"MIXPANEL_{name.upper()}": " \t"})

    assert f"{name} must be a text that is not empty, not a secret" in text


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("other", [name for name in NAMES if name not in SECRETS])
def test_other_refusals_show_no_secret(name: str, other: str) -> None:
    """
    Whatever else is wrong, the refusal does not show the secrets that were right.
    """
    assert SECRET not in refusal(**{name: SECRET, other: Wrong()})


@pytest.mark.parametrize(
    ("address", "fix"),
    [
        (f"https://robot:{SECRET}@api.mixpanel.com", "must not hold credentials"),
        (f"https://{SECRET}@api.mixpanel.com", "must not hold credentials"),
        (f"https://:{SECRET}@api.mixpanel.com", "must not hold credentials"),
        (f"https://robot:{SECRET}@api.mixpanel.com:port", "must be an address"),
        (f"https:/robot:{SECRET}@api.mixpanel.com", "must be an address"),
        (f"robot:{SECRET}@api.mixpanel.com", "must be an address"),
    ],
)
def test_credentials_in_an_address_are_refused_and_not_shown(address: str, fix: str) -> None:
    """
    Credentials have fields of their own; in an address they would be shown everywhere.
    """
    given, read = refusal(base_url=address), refusal({"MIXPANEL_BASE_URL": address})

    assert f"base_url {fix}" in given
    assert f"base_url {fix}" in read
    assert SECRET not in given
    assert SECRET not in read


def test_a_repr_shows_what_differs() -> None:
    """
    The text of settings is what was set, not the whole table.
    """
    settings = Settings(region="eu", batch_events=10, super_properties={})

    assert repr(settings) == "Settings(region='eu', batch_events=10)"
    assert repr(Settings()) == "Settings()"


# -- what follows from them -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "credentials"),
    [
        ({}, None),
        ({"token": "t"}, ("t", "")),
        ({"api_secret": "s"}, ("s", "")),
        ({"token": "t", "api_secret": "s"}, ("t", "")),
        ({"service_secret": "p", "project_id": "1"}, None),
        ({"service_secret": "p", "project_id": "1", "token": "t"}, ("t", "")),
        ({"service_account": "u", "service_secret": "p", "project_id": "1"}, ("u", "p")),
        (
            {
                "service_account": "u",
                "service_secret": "p",
                "project_id": "1",
                "token": "t",
                "api_secret": "s",
            },
            ("u", "p"),
        ),
    ],
)
def test_which_credentials_are_used(
    given: dict[str, str], credentials: tuple[str, str] | None
) -> None:
    """
    A service account goes before the token, and the token before the project's secret.
    """
    assert Settings.from_environment({}, **given).credentials == credentials


@pytest.mark.parametrize(
    ("given", "host"),
    [
        ({}, "https://api.mixpanel.com"),
        ({"region": "eu"}, "https://api-eu.mixpanel.com"),
        ({"region": "in"}, "https://api-in.mixpanel.com"),
        ({"region": "eu", "base_url": "http://localhost:8787//"}, "http://localhost:8787"),
        ({"base_url": "https://proxy.example/mixpanel/"}, "https://proxy.example/mixpanel"),
    ],
)
def test_where_requests_go(given: dict[str, str], host: str) -> None:
    """
    The region decides, unless there is an address, which may have a path.
    """
    assert Settings.from_environment({}, **given).host == host


@pytest.mark.parametrize(
    ("address", "exposed"),
    [
        ("https://api.mixpanel.com", False),
        ("https://mixpanel.internal", False),
        ("http://api.mixpanel.com", True),
        ("HTTP://api.mixpanel.com", True),
        ("http://mixpanel.internal:8787", True),
        ("http://10.0.0.1", True),
        ("http://[2001:db8::1]:80", True),
        ("http://localhost.example.com", True),
        ("http://localhost", False),
        ("http://shop.localhost:80", False),
        ("http://127.0.0.1:8787", False),
        ("http://127.8.8.8", False),
        ("http://[::1]:8787", False),
    ],
)
def test_when_credentials_travel_in_clear(address: str, exposed: bool) -> None:
    """
    Plain HTTP to another machine exposes credentials; to this one, it does not.
    """
    assert Settings(base_url=address).exposed is exposed


@pytest.mark.parametrize(
    ("host", "here"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("8.8.8.8", False), ("", False)],
)
def test_what_this_machine_is(host: str, here: bool) -> None:
    """
    Loopback addresses and the names that are reserved for them are this machine.
    """
    assert is_loopback(host) is here


@pytest.mark.parametrize("name", WHAT)
def test_rules_of_one_door_do_not_part_it_from_others(name: str) -> None:
    """
    Doors that differ only in what becomes an event can share a pipeline.
    """
    beside = Settings(**COMPANIONS)  # type: ignore[arg-type] # the fields are texts

    assert with_one(name).delivery() == beside.delivery()


@pytest.mark.parametrize("name", [name for name in NAMES if name not in WHAT])
def test_whatever_concerns_delivery_parts_doors(name: str) -> None:
    """
    Doors that differ in who, where, queue, batch, send or end cannot share a pipeline.
    """
    beside = Settings(**COMPANIONS)  # type: ignore[arg-type] # the fields are texts

    assert with_one(name).delivery() != beside.delivery()


def test_delivery_is_a_key() -> None:
    """
    What doors must agree on can be looked up in a dictionary.
    """
    one, other = Settings(token="6f1d", jitter=1), Settings(token="6f1d", jitter=1.0)

    assert {one.delivery(): "shared"}[other.delivery()] == "shared"


# -- for good -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_settings_do_not_change(name: str) -> None:
    """
    A field cannot be set again.
    """
    settings = Settings()

    with pytest.raises(FrozenInstanceError):
        setattr(settings, name, VALUES[name][1])

    assert settings == Settings()


def test_settings_have_no_other_attributes() -> None:
    """
    A misspelt field cannot be set at all.
    """
    with pytest.raises((AttributeError, TypeError)):
        cast("Any", Settings()).tokn = "6f1d"


def test_settings_are_given_by_keyword_only() -> None:
    """
    A value without a name is not taken for a token.
    """
    with pytest.raises(TypeError):
        cast("Any", Settings)("6f1d")


def test_super_properties_are_copied() -> None:
    """
    A mapping that changes later does not change the settings that were made of it.
    """
    given: dict[str, object] = {"server": "a"}
    settings = Settings(super_properties=given)

    given["server"] = "b"
    given["other"] = 1

    assert settings.super_properties == {"server": "a"}


def test_super_properties_cannot_be_written_to() -> None:
    """
    Nobody can add a property to settings that are in use, nor to the default of all others.
    """
    for settings in (Settings(), Settings(super_properties={"server": "a"})):
        with pytest.raises(TypeError):
            cast("Any", settings.super_properties)["other"] = 1

    assert Settings().super_properties == {}


@pytest.mark.parametrize("name", NAMES)
def test_settings_can_be_made_of_settings(name: str) -> None:
    """
    What was checked once passes the checks again, with every field as it was.
    """
    settings = with_one(name)

    assert dataclasses.replace(settings) == settings


def test_super_properties_from_the_environment_are_json() -> None:
    """
    Numbers, flags, lists and objects arrive as what they are.
    """
    given = {"n": 1.5, "on": True, "tags": ["a", "b"], "nested": {"x": None}}

    settings = Settings.from_environment({"MIXPANEL_SUPER_PROPERTIES": json.dumps(given)})

    assert settings.super_properties == given


def test_track_takes_nothing_but_the_token() -> None:
    """
    Other credentials are no use to /track, and events without one would be lost by Mixpanel.
    """
    with pytest.raises(SettingsError, match="token"):
        Settings(api="track", api_secret="s")
