"""
What the tests have in common that throw anything at a door.
"""

from __future__ import annotations

import os
import time
from typing import Any

import orjson
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from mixpanel_export import Event, Pipeline
from mixpanel_export._limits import (
    MAX_PROFILE_NESTED_BYTES,
    MAX_SAFE_INTEGER,
    MAX_STRING_BYTES,
    MAX_UPDATE_BYTES,
)
from mixpanel_export._update import Aside
from tests import effort
from tests.lines import assert_line, size_of
from tests.objects import HALF, HOSTILE, Label, any_text, anything

# How many examples each test tries. The usual ones are the same on every run: a failure that is
# seen once is seen again. With a number of one's own they differ.
VARIABLE = "MIXPANEL_EXPORT_FUZZ"
EXAMPLES = int(os.environ.get(VARIABLE, "0"))
anyhow = settings(
    max_examples=EXAMPLES or effort.examples(100),
    derandomize=not EXAMPLES,
    deadline=None,
    database=None,
    phases=(Phase.explicit, Phase.generate) if EXAMPLES else tuple(Phase),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


class Basket:
    """
    What a pipeline takes in, instead of delivering it.

    Args:
        pipeline: The pipeline; nothing is started in it.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self.lines: list[bytes] = []
        self.asides: list[Aside] = []
        self._process = pipeline._process
        self._process.put = self._put
        self._process.put_aside = self._put_aside

    def _put(self, line: bytes) -> bool:
        self.lines.append(line)
        return True

    def _put_aside(self, aside: Aside) -> bool:
        self.asides.append(aside)
        return True

    @property
    def failed(self) -> int:
        """
        How many items raised something.
        """
        return self._process.engine.dropped["transform"].value

    def empty(self) -> list[bytes]:
        """
        Take everything out; all of it is sound.
        """
        taken = [*self.lines, *(aside.line for aside in self.asides)]
        for line in self.lines:
            assert_line(line, time.time() * 1000)
        for aside in self.asides:
            assert_update(aside.line)
        self.lines.clear()
        self.asides.clear()
        return taken


def assert_update(line: bytes) -> None:
    """
    Assert that the line of an update or of an identity event is one that Mixpanel takes.
    """
    assert len(line) <= MAX_UPDATE_BYTES
    assert b"\n" not in line
    for name, value in orjson.loads(line).items():
        assert size_of(name) <= MAX_STRING_BYTES
        if name.startswith("$") and isinstance(value, dict):
            for each in value.values():
                assert_nested(each)


def assert_nested(value: object) -> None:
    """
    Assert that a value on a profile is one that Mixpanel keeps.
    """
    match value:
        case str():
            assert size_of(value) <= MAX_STRING_BYTES
        case bool() | float():
            pass
        case int():
            assert abs(value) <= MAX_SAFE_INTEGER
        case list() | dict():
            assert len(orjson.dumps(value)) <= MAX_PROFILE_NESTED_BYTES
            for each in value.values() if isinstance(value, dict) else value:
                assert_nested(each)
        case _:
            raise AssertionError(f"{value!r} on a profile")


def what_was_said(line: bytes) -> Any:  # noqa: ANN401 -- any JSON
    """
    Return what a line says, without what differs each time that it is said.
    """
    said = orjson.loads(line)
    for name in ("time", "$insert_id"):
        said.get("properties", {}).pop(name, None)
    return said


# Names that mean something to us, to logging, to structlog or to Mixpanel.
TELLING = [
    "distinct_id",
    "$user_id",
    "$device_id",
    "time",
    "ip",
    "$insert_id",
    "mixpanel.event",
    "mixpanel_event",
    "token",
    "password",
    "$source",
    "$set",
    "$set_once",
    "$add",
    "$append",
    "$union",
    "$remove",
    "$unset",
    "arg_0",
    "extra",
    "event",
    "level",
    "logger",
    "stack",
    "exception",
    "positional_args",
    "otelTraceID",
    "request",
    "mp_lib",
    "time_",
]
ids = st.sampled_from(["u-1", "", "anon", "0", " null ", "u" * 300, "é" * 200, HALF])
names = st.one_of(any_text, st.sampled_from(TELLING))
odd_names = st.one_of(
    names, st.integers(), st.none(), st.binary(max_size=3), st.builds(Label, any_text)
)
values = st.one_of(
    anything,
    ids,
    st.sampled_from([0, -1, 1e12, 1_700_000_000, "127.0.0.1", "::1", True, False]),
    st.dictionaries(names, anything, max_size=3),
    # A runner that looks at this itself would stumble.
    st.just(None).map(lambda _: Hidden()),
)
crowds = st.integers(240, 300).map(lambda count: {f"p{index}": index for index in range(count)})


class Hidden:
    """
    Stands for the object that even pretends to be of another type.
    """


def reveal(value: Any) -> Any:  # noqa: ANN401 -- any object
    """
    Put the object in its place.
    """
    return HOSTILE["disguise"] if type(value) is Hidden else value


@st.composite
def fields(draw: st.DrawFn, name: st.SearchStrategy[Any] = odd_names) -> dict[Any, Any]:
    """
    Make fields of any names and values.
    """
    found: dict[Any, Any] = dict(draw(st.dictionaries(name, values, max_size=5)))
    if draw(st.integers(0, 9)) == 0:
        found.update(draw(crowds))
    if draw(st.booleans()):
        found["distinct_id"] = draw(ids | values)
    return {key: reveal(value) for key, value in found.items()}


class SilentError(Exception):
    """
    An error that cannot say what is wrong.
    """

    def __str__(self) -> str:
        raise RuntimeError("no text")


def raised(error: BaseException) -> BaseException:
    """
    Raise an error, so that it has a trace.
    """
    try:
        raise error  # noqa: TRY301 -- to be caught here
    except BaseException as caught:  # noqa: BLE001 -- it is what was asked for
        return caught


errors = st.one_of(
    st.builds(ValueError, values),
    st.builds(SilentError),
    st.builds(lambda text: raised(OSError(text)), any_text),
    st.builds(lambda text: raised(KeyboardInterrupt(text)), any_text),
)
failures = st.one_of(
    st.none(),
    st.booleans(),
    errors,
    errors.map(lambda error: (type(error), error, error.__traceback__)),
    st.sampled_from([(), (None,), (None, None, None), (None, 5, None)]),
    values,
).map(reveal)


def doubled(event: Event) -> Event:
    """
    Return an event with a property more, as an application's `transform` may do.
    """
    return Event(event.name, distinct_id=event.distinct_id, properties={**event.properties, "n": 2})


doors: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "select": st.sampled_from(["marked", "identified", "structured", "all"]),
        "transform": st.just(doubled),
        "scrub": st.booleans(),
        "include": st.sampled_from([("message",), ("stack",), ("message", "stack")]),
        "sample": st.sampled_from([0.0, 0.5]),
        "budget": st.sampled_from([1, 100]),
        "deny": st.just(("p1", "distinct_id")),
        "allow": st.just(("p1", "password")),
        "super_properties": st.fixed_dictionaries({}, optional={"service": any_text, "a": any_text})
        | crowds,
    },
)
