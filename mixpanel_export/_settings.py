"""
Settings: each one declared once.

The field `x` is the keyword ``x`` of every door, the environment variable ``MIXPANEL_X`` and,
unless it is a secret or a callable, a flag ``--x``. All else is derived from the declaration.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from mixpanel_export import _limits
from mixpanel_export._exceptions import SettingsError

if TYPE_CHECKING:
    from mixpanel_export._event import Event
    from mixpanel_export._outcome import Rejection
    from mixpanel_export._record import Record
    from mixpanel_export._transport import Transport

PREFIX: Final = "MIXPANEL_"

_NOT_IN_ADDRESS: Final = re.compile(r"[\s?#]")

# A reader turns the text of an environment variable into the value, or raises ValueError saying
# what it must be. A check gives the value back, maybe in a canonical form, or raises the same.
Reader = Callable[[str], object]
Check = Callable[[Any], object]


def _read_flag(text: str) -> bool:
    word = text.strip().lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off"):
        return False
    raise ValueError("must be true or false")


def _read_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("must be a number") from None


def _read_integer(text: str) -> int:
    try:
        return int(text.replace("_", ""))
    except ValueError:
        raise ValueError("must be a whole number") from None


def _read_mapping(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        raise ValueError("must be a JSON object") from None


def _read_names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _read_callable(text: str) -> object:
    module, _, path = text.partition(":")
    if not module or not path:
        raise ValueError("must be given as 'module:function'")
    try:
        value: object = importlib.import_module(module)
        for part in path.split("."):
            value = getattr(value, part)
    except Exception as error:  # importing runs somebody else's code
        raise ValueError(f"cannot be imported ({type(error).__name__}: {error})") from error
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be a text that is not empty")
    return value.strip()


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be True or False")
    return value


def _number(value: object, low: float = 0.0, high: float = 10_000_000.0) -> float:
    # Ten million seconds are four months: beyond that it is a mistake, and some clocks overflow.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ValueError(f"must be a number from {low:g} to {high:g}")
    return float(value)


def _integer(value: object, low: int = 1, high: float = math.inf) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        bounds = f"of at least {low}" if high == math.inf else f"from {low} to {high:g}"
        raise ValueError(f"must be a whole number {bounds}")
    return value


def _choice(value: object, *choices: str) -> str:
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"must be {_or(choices)}")
    return value


def _or(choices: tuple[str, ...]) -> str:
    *first, last = map(repr, choices)
    return f"{', '.join(first)} or {last}" if first else last


def _select(value: object) -> object:
    if callable(value):
        return value
    try:
        return _choice(value, *SELECTIONS)
    except ValueError as error:
        raise ValueError(f"{error}, or a callable that takes a Record") from None


def _function(value: object) -> object:
    if not callable(value):
        raise ValueError("must be a callable")
    return value


def _names(value: object) -> tuple[str, ...]:
    names = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (None,)
    if not all(isinstance(name, str) for name in names):
        raise ValueError("must be a list of texts")
    return names


def _parts(value: object) -> tuple[str, ...]:
    parts = _names(value)
    for part in parts:
        _choice(part, "message", "stack")
    return parts


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ValueError("must be a mapping of names to values")
    return MappingProxyType(dict(value))


def _address(value: object) -> str:
    text = _text(value).rstrip("/")
    if _NOT_IN_ADDRESS.search(text):
        raise ValueError("must be an address such as 'https://api.mixpanel.com'")
    try:
        parts = urlsplit(text)
        complete = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number, half an IPv6 address
        complete = False
    if not complete:
        raise ValueError("must be an address such as 'https://api.mixpanel.com'")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold credentials; set token or service_account instead")
    return text


def _directory(value: object) -> str:
    path = Path(_text(os.fspath(value) if isinstance(value, os.PathLike) else value))
    # Absolute, since the process may change its directory; but not resolved, since nothing needs to
    # be there yet.
    return str(Path.cwd() / path.expanduser())


def _interval(value: object) -> float | str:
    if value == "always":
        return "always"
    try:
        return _number(value, 0.01, 3600)
    except ValueError as error:
        raise ValueError(f"{error}, or 'always'") from None


def _transport(value: object) -> object:
    if not (callable(getattr(value, "send", None)) and callable(getattr(value, "close", None))):
        raise ValueError("must have the methods send and close of a Transport")
    return value


def _shown(each: dataclasses.Field[Any], value: object) -> str:
    """Write out a wrong value, unless it is a secret or an address that may hold one."""
    text = repr(value)
    hidden = each.metadata["secret"] or (each.name == "base_url" and "@" in text)
    return "a secret" if hidden else text


#: Which records are events; see `Settings.select`.
SELECTIONS: Final = ("marked", "identified", "structured", "entry", "all")


def _setting(  # noqa: PLR0913 -- one row of the table of settings, all by keyword
    default: object,
    text: str,
    *,
    group: str,
    check: Check,
    read: Reader = str,
    secret: bool = False,
    flag: bool = True,
) -> Any:  # noqa: ANN401 -- stands for the field's own type, as dataclasses.field does
    metadata = {
        "default": default,
        "help": text,
        "group": group,
        "check": check,
        "read": read,
        "secret": secret,
        "flag": flag and not secret,
    }
    # dataclasses refuse a default that cannot be hashed, as a mapping proxy before Python 3.12.
    return field(default_factory=lambda: default, metadata=metadata)


_who = partial(_setting, None, group="who", check=_text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """
    How events are chosen, batched, sent and accounted for.

    Every wrong value raises `SettingsError` here, at construction, naming the field, the value and
    the fix. `from_environment` fills what is not given from ``MIXPANEL_*`` variables. Times are in
    seconds and sizes in bytes.
    """

    # who -----------------------------------------------------------------------------------------
    token: str | None = _who("The project token.", secret=True)
    service_account: str | None = _who("A service account; needs service_secret and project_id.")
    service_secret: str | None = _who("The service account's secret.", secret=True)
    project_id: str | None = _who("The project's number; sent only with a service account.")
    api_secret: str | None = _who(
        f"The project's secret; Mixpanel stops taking it on {_limits.PROJECT_SECRET_END}.",
        secret=True,
    )
    # where ---------------------------------------------------------------------------------------
    region: str = _setting(
        "us",
        "Where the project's data live: us, eu or in.",
        group="where",
        check=lambda value: _choice(value, *_limits.HOSTS),
    )
    base_url: str | None = _setting(
        None,
        "The address to send to instead of the region's: an emulator, a proxy.",
        group="where",
        check=_address,
    )
    api: str = _setting(
        "import",
        "The endpoint for events: import, which checks credentials and events, or track, for which"
        " only the token is needed; events older than five days go to import all the same.",
        group="where",
        check=lambda value: _choice(value, "import", "track"),
    )
    strict: bool = _setting(
        True,
        "Let Mixpanel validate each event and say which it rejects.",
        group="where",
        check=_flag,
        read=_read_flag,
    )
    # what ----------------------------------------------------------------------------------------
    select: str | Callable[[Record], bool] | None = _setting(
        None,
        "Which records are events: marked, identified, structured, entry, all, or a callable on the"
        " Record. None is the door's own default: structured for logging, identified for"
        " structlog and OpenTelemetry's logs, entry for spans.",
        group="what",
        check=_select,
        read=lambda text: _read_callable(text) if ":" in text else text,
    )
    loggers: tuple[str, ...] | None = _setting(
        None,
        "Names of the loggers whose records, and whose children's, are looked at; None is all.",
        group="what",
        check=_names,
        read=_read_names,
    )
    transform: Callable[[Event], Event | None] | None = _setting(
        None,
        "Sees each event last before it is sealed; returns it, maybe changed, or None to drop it.",
        group="what",
        check=_function,
        read=_read_callable,
        flag=False,
    )
    allow: tuple[str, ...] | None = _setting(
        None,
        "Names of the only properties that are sent; None is all. Those that announce a secret are"
        " sent if they are among them.",
        group="what",
        check=_names,
        read=_read_names,
    )
    deny: tuple[str, ...] = _setting(
        (),
        "Names of properties that are not sent.",
        group="what",
        check=_names,
        read=_read_names,
    )
    scrub: bool = _setting(
        True,
        "Replace secrets: by their names, and by the form of texts.",
        group="what",
        check=_flag,
        read=_read_flag,
    )
    include: tuple[str, ...] = _setting(
        (),
        "What else of a record is sent: message, the text of it; stack, the traceback.",
        group="what",
        check=_parts,
        read=_read_names,
    )
    baggage: tuple[str, ...] = _setting(
        (),
        "Names of OpenTelemetry's baggage that become properties of spans and log records; the"
        " context processors read it.",
        group="what",
        check=_names,
        read=_read_names,
    )
    sample: float = _setting(
        1.0,
        "The share of users whose events are sent, from 0 to 1: of one user all or none.",
        group="what",
        check=lambda value: _number(value, 0, 1),
        read=_read_number,
    )
    budget: int | None = _setting(
        None,
        "How many events of one name are sent in a minute; None is any number.",
        group="what",
        check=_integer,
        read=_read_integer,
    )
    super_properties: Mapping[str, object] = _setting(
        MappingProxyType({}),
        "Properties that every event carries.",
        group="what",
        check=_mapping,
        read=_read_mapping,
    )
    # queue ---------------------------------------------------------------------------------------
    max_events: int = _setting(
        1_000_000,
        "How many events may be held: waiting, in flight and waiting for a retry.",
        group="queue",
        check=_integer,
        read=_read_integer,
    )
    max_bytes: int = _setting(
        64 * 1024 * 1024,
        "How many bytes these may take, as held: compressed where they are.",
        group="queue",
        check=lambda value: _integer(value, _limits.MAX_EVENT_BYTES + 1),
        read=_read_integer,
    )
    overflow: str = _setting(
        "drop_newest",
        "What gives way when the bound is reached: drop_newest or drop_oldest.",
        group="queue",
        check=lambda value: _choice(value, "drop_newest", "drop_oldest"),
    )
    # batch ---------------------------------------------------------------------------------------
    batch_events: int = _setting(
        2_000,
        "How many events one request carries at most.",
        group="batch",
        check=lambda value: _integer(value, 1, _limits.MAX_REQUEST_EVENTS),
        read=_read_integer,
    )
    batch_bytes: int = _setting(
        2_000_000,
        "How many bytes of JSON one request carries at most, before compression.",
        group="batch",
        check=lambda value: _integer(value, _limits.MAX_EVENT_BYTES + 1, 9_500_000),
        read=_read_integer,
    )
    flush_interval: float = _setting(
        2.0,
        "How long an event waits for others at most; the first of an idle pipeline waits 0.25.",
        group="batch",
        check=_number,
        read=_read_number,
    )
    # send ----------------------------------------------------------------------------------------
    connections: int = _setting(
        4,
        "How many requests may be under way at once; more than one only under backlog.",
        group="send",
        check=lambda value: _integer(value, 1, 64),
        read=_read_integer,
    )
    connect_timeout: float = _setting(
        3.0,
        "How long a connection may take to open.",
        group="send",
        check=lambda value: _number(value, 0.001),
        read=_read_number,
    )
    timeout: float = _setting(
        15.0,
        "How long a request may take in all.",
        group="send",
        check=lambda value: _number(value, 0.001),
        read=_read_number,
    )
    backoff_initial: float = _setting(
        _limits.BACKOFF_INITIAL,
        "How long to wait before the first retry; doubles with each.",
        group="send",
        check=_number,
        read=_read_number,
    )
    backoff_max: float = _setting(
        _limits.BACKOFF_MAX,
        "The longest wait between two tries, jitter not counted; with jitter, drawn from half of"
        " this to all of it.",
        group="send",
        check=_number,
        read=_read_number,
    )
    jitter: float = _setting(
        _limits.BACKOFF_JITTER,
        "Each wait gets an extra drawn from a fifth of this to all of it.",
        group="send",
        check=_number,
        read=_read_number,
    )
    requests_per_hour: int | None = _setting(
        None,
        "How many requests may be made in an hour; a sixtieth of them at once. None is no limit.",
        group="send",
        check=_integer,
        read=_read_integer,
    )
    gzip: bool = _setting(True, "Compress requests.", group="send", check=_flag, read=_read_flag)
    transport: Transport | None = _setting(
        None,
        "What carries a request; None is httpx.",
        group="send",
        check=_transport,
        read=_read_callable,
        flag=False,
    )
    # end -----------------------------------------------------------------------------------------
    shutdown_timeout: float = _setting(
        5.0,
        "How long the end of the process may be delayed to deliver what is queued, all pipelines"
        " together; 1 once three requests in a row have failed.",
        group="end",
        check=_number,
        read=_read_number,
    )
    # spool ---------------------------------------------------------------------------------------
    spool: str | None = _setting(
        None,
        "A directory on a local disk for what waits, so that it survives the process; made if need"
        " be. None is memory.",
        group="spool",
        check=_directory,
    )
    spool_max_bytes: int = _setting(
        256 * 1024 * 1024,
        "How much disk a process may take, with what it has taken over from others.",
        group="spool",
        check=lambda value: _integer(value, 16 * 1024 * 1024),
        read=_read_integer,
    )
    spool_sync: float | str = _setting(
        0.5,
        "How often the disk is waited for, which is what a power cut may cost; always is before"
        " each event is accepted.",
        group="spool",
        check=_interval,
        read=lambda text: text if text.strip() == "always" else _read_number(text),
    )
    spool_max_age: float = _setting(
        30 * 86_400.0,
        "How long events are kept that cannot be delivered; decided a few megabytes at a time.",
        group="spool",
        check=lambda value: _number(value, 1),
        read=_read_number,
    )
    # misc ----------------------------------------------------------------------------------------
    disabled: bool = _setting(
        False, "Accept and send nothing.", group="misc", check=_flag, read=_read_flag
    )
    on_rejected: Callable[[Rejection], object] | None = _setting(
        None,
        "Called with each event that Mixpanel rejects, on a delivery thread.",
        group="misc",
        check=_function,
        read=_read_callable,
        flag=False,
    )

    def __post_init__(self) -> None:
        for each in dataclasses.fields(self):
            value = getattr(self, each.name)
            if value is None and each.metadata["default"] is None:
                continue
            try:
                checked = each.metadata["check"](value)
            except (ValueError, TypeError) as error:
                raise SettingsError(f"{each.name} {error}, not {_shown(each, value)}") from None
            object.__setattr__(self, each.name, checked)
        if self.api == "track" and not self.token:
            raise SettingsError("api='track' needs the token; it takes no other credentials")
        if self.service_account and not (self.service_secret and self.project_id):
            raise SettingsError("service_account needs service_secret and project_id beside it")

    def __repr__(self) -> str:
        shown = []
        for each in dataclasses.fields(self):
            value = getattr(self, each.name)
            if value != each.metadata["default"]:
                shown.append(f"{each.name}={'***' if each.metadata['secret'] else repr(value)}")
        return f"Settings({', '.join(shown)})"

    @classmethod
    def from_environment(
        cls,
        environ: Mapping[str, str] | None = None,
        /,
        **given: Any,  # noqa: ANN401 -- any field
    ) -> Settings:
        """
        Make settings of *given* and, for each field not given, of its variable ``MIXPANEL_X``.

        Args:
            environ: The variables; `None` is the process's environment. An empty value is the same
                as none.

            given: Fields by name.

        Raises:
            SettingsError: If a field is unknown or a value is wrong.
        """
        environ = os.environ if environ is None else environ
        names = {each.name for each in dataclasses.fields(cls)}
        if unknown := sorted(given.keys() - names):
            raise SettingsError(f"there is no setting {unknown[0]!r}; there are {sorted(names)}")
        values = dict(given)
        for each in dataclasses.fields(cls):
            variable = PREFIX + each.name.upper()
            if each.name in given or not environ.get(variable):
                continue
            try:
                values[each.name] = each.metadata["read"](environ[variable])
            except ValueError as error:
                raise SettingsError(
                    f"{variable} {error}, not {_shown(each, environ[variable])}"
                ) from None
        return cls(**values)

    @property
    def host(self) -> str:
        """The address that requests go to, without a slash at its end."""
        return self.base_url or _limits.HOSTS[self.region]

    @property
    def credentials(self) -> tuple[str, str] | None:
        """
        User and password of ``/import``: service account, else token, else project secret.

        `None` if there are none.
        """
        if self.service_account and self.service_secret:
            return self.service_account, self.service_secret
        user = self.token or self.api_secret
        return (user, "") if user else None

    @property
    def exposed(self) -> bool:
        """True if credentials would travel in clear: plain HTTP to another machine."""
        parts = urlsplit(self.host)
        return parts.scheme == "http" and not is_loopback(parts.hostname or "")

    def delivery(self) -> tuple[object, ...]:
        """Give the values that doors must agree on to share one pipeline: all but the "what"."""
        return tuple(
            getattr(self, each.name)
            for each in dataclasses.fields(self)
            if each.metadata["group"] != "what"
        )


def is_loopback(host: str) -> bool:
    """Say whether *host*, a name or an address without brackets, is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
