"""
The parts of `import`, each by itself.
"""

from __future__ import annotations

import gzip
import io
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date, datetime, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from mixpanel_export import Event, Settings
from mixpanel_export._batch import Lane
from mixpanel_export._event import Drop
from mixpanel_export._translate import Translator
from mixpanel_export._update import Aside
from mixpanel_export.cli.backfill import _express, _pieces, _show
from mixpanel_export.cli.backfill._books import Books
from mixpanel_export.cli.backfill._express import Express
from mixpanel_export.cli.backfill._formats import Reading, read
from mixpanel_export.cli.backfill._journal import Journal
from mixpanel_export.cli.backfill._maker import Maker, Rules
from mixpanel_export.cli.backfill._mapping import Fields, Mapper
from mixpanel_export.cli.backfill._moments import Moments, zone_named
from mixpanel_export.cli.backfill._parcel import Packer, Parcel, number_of, place, source_of
from mixpanel_export.cli.backfill._pieces import Chunk, elements, lines
from mixpanel_export.cli.backfill._sources import Source
from mixpanel_export.cli.backfill._streams import Counted, plain
from mixpanel_export.cli.backfill._tables import table
from mixpanel_export.cli.backfill._trouble import Damage, Fault, Unusable
from mixpanel_export.cli.backfill._window import Window
from mixpanel_export.testing import FakeClock
from tests import effort
from tests.secrets_made_up import make_up

NOW = 1_770_000_000.0
FIRST = 1_760_000_000_000
quickly = effort.steadily(60)

UTC = Moments(timezone.utc, None, lambda: None)


def stream(data: bytes) -> Counted:
    """
    Give *data* as a source's stream.
    """
    return Counted(io.BytesIO(data), lambda _size: None)


def items(chunks: Iterator[Chunk]) -> list[Any]:
    """
    Give what is in *chunks*, until the damage if there is one.
    """
    found: list[Any] = []
    try:
        for chunk in chunks:
            found += chunk.items
    except Damage as damage:
        found.append(damage)
    return found


# -- the short way --------------------------------------------------------------------------------

SECRETS = [text for _, text, _ in make_up()]
TEXTS = st.one_of(
    st.sampled_from(["pro", "free", "", " ", "x" * 300, "ü" * 200, "4111 1111 1111 1111"]),
    st.sampled_from(SECRETS),
    st.text(max_size=30),
)
VALUES = st.one_of(
    TEXTS,
    st.integers(-(2**60), 2**60),
    st.floats(),
    st.booleans(),
    st.none(),
    st.lists(TEXTS, max_size=7),
    st.lists(st.one_of(st.integers(), st.lists(TEXTS), st.none()), max_size=2),
    st.dictionaries(TEXTS, st.integers(), max_size=2),
    st.just(4111111111111111),
)
IDS = st.sampled_from(["u-1", "someone@example.com", "", "anonymous", "x" * 300, "a b", 7, None])
PROPERTIES = st.fixed_dictionaries(
    {
        "time": st.sampled_from(
            [FIRST, FIRST // 1000, FIRST / 1000, 63_072_000_000, 7, "x", None, 9_999_999_999_999]
        ),
        "distinct_id": IDS,
        "$insert_id": st.sampled_from(["a" * 32, "b-1", "bad id", "x" * 40, "null", 5, None]),
        "plan": VALUES,
        "n": VALUES,
    },
    optional={
        "ip": st.sampled_from(["0", "203.0.113.9", "nowhere", None, 7]),
        "$user_id": IDS,
        "$device_id": IDS,
        "password": TEXTS,
        "token": TEXTS,
        "mp_lib": TEXTS,
        "mixpanel.event": st.just(True),
        "tags": st.lists(TEXTS, max_size=4),
    },
)


def both_ways(items: list[bytes], *, scrub: bool = True) -> tuple[list[Any], list[Any]]:
    """
    Make lines of *items* in the short way, and of each in the long one; read them again.
    """
    translator = Translator(Settings(token="t", scrub=scrub))
    express = Express(translator.filler.privacy, translator._base)
    express.approve("A", b'{"event":"A",')
    short = express.lines(items, NOW)
    long = [
        translator.seal(
            Event(each["event"], properties=each["properties"]), lambda: "made-up", lambda: NOW
        )
        for each in map(json.loads, items)
    ]
    assert all(line is None or b"\n" not in line for line in short)
    return [line and read_again(line) for line in short], [read_again(line) for line in long]


def read_again(line: object) -> bytes:
    """
    Give what *line* says: 1 and 1.0 are not the same, the order of properties is.
    """
    assert isinstance(line, bytes)
    return orjson.dumps(json.loads(line, object_pairs_hook=once), option=orjson.OPT_SORT_KEYS)


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """
    Make an object of *pairs*, whose names must be different.
    """
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


# Without blanks; as Python's own writer does it; indented; in another order, with escapes.
STYLES: list[Callable[[Any], bytes]] = [
    lambda record: json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode(),
    lambda record: json.dumps(record).encode(),
    lambda record: json.dumps(record, indent=1).encode(),
    lambda record: json.dumps(record, sort_keys=True, separators=(" , ", " : ")).encode(),
    lambda record: json.dumps(dict(reversed(record.items())), separators=(",", ":")).encode(),
]


@given(st.lists(st.tuples(PROPERTIES, st.sampled_from(STYLES)), max_size=8), st.booleans())
@quickly
def test_the_short_way_makes_what_the_long_one_makes(rows: list[Any], scrub: bool) -> None:
    """
    Or it says that it cannot, however a record is written.
    """
    items = [style({"event": "A", "properties": row}) for row, style in rows]

    short, long = both_ways(items, scrub=scrub)

    for line, expected in zip(short, long, strict=True):
        assert line is None or line == expected


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"time": FIRST // 1_000},
        {"$user_id": "user-one", "$device_id": "device-one"},
        {"ip": "203.0.113.9"},
        {"tags": ["a", "b"], "n": 1.5, "mixed": True, "text": 'says "\u00fc"'},
        {"distinct_id": ""},
        {"distinct_id": "u-1", "$insert_id": "short-id"},
    ],
)
def test_what_is_usual_goes_the_short_way(changed: dict[str, Any]) -> None:
    """
    Else it would be no use.
    """
    usual = {"time": FIRST, "distinct_id": "someone@example.com", "$insert_id": "a" * 32}
    for style in (STYLES[0], STYLES[1], STYLES[4]):
        items = [
            style({"event": "A", "properties": {**usual, "url": f"http://x/{n}", **changed}})
            for n in range(3)
        ]

        short, long = both_ways(items)

        assert short == long


@pytest.mark.parametrize("secret", SECRETS[::5])
def test_no_secret_goes_the_short_way(secret: str) -> None:
    """
    Nor in a list, nor if its neighbours are clean.
    """
    usual = {"time": FIRST, "distinct_id": "someone@example.com", "$insert_id": "a" * 32}
    for value in (secret, ["a", secret]):
        items = [
            STYLES[0]({"event": "A", "properties": {**usual, "note": each}})
            for each in (value, type(value)(), "clean")
        ]

        short, long = both_ways(items)

        assert short[0] is None or short[0] == long[0]
        assert short[2] == long[2]


@pytest.mark.parametrize(
    "twice",
    [
        b'"plan":"a","plan":"b"',
        b'"plan" :"a","plan":"b"',
        b'"plan"\t:"a","plan":"b"',
        b'"plan":"a","p\\u006can":"b"',
        b'"plan":"a","time":1760000000000',
    ],
)
def test_an_event_that_says_something_twice_goes_the_long_way(twice: bytes) -> None:
    """
    Only one of it was looked at; what else there is shall not hide it.
    """
    usual = b'{"event":"A","properties":{"time":1760000000000,"distinct_id":"u-1","$insert_id":"a1"'
    translator = Translator(Settings(token="t"))
    express = Express(translator.filler.privacy, translator._base)
    express.approve("A", b'{"event":"A",')
    items = [usual + b"," + twice + b"}}", usual + b',"plan":"c"}}', usual + b',"plan" :"c"}}']

    found = express.lines(items, NOW)

    assert [line is None for line in found] == [True, False, False]


def test_records_of_other_shapes_go_the_long_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Whatever they are; what is remembered is bounded.
    """
    monkeypatch.setattr(_express, "_MEMORY", 1)
    translator = Translator(Settings(token="t"))
    express = Express(translator.filler.privacy, translator._base)
    for name in ("A", "B"):
        express.approve(name, b'{"event":"%s",' % name.encode())
    express.approve("changed", b'{"event":"other",')
    usual = {"time": FIRST, "distinct_id": "u-1", "$insert_id": "a" * 32}
    odd: list[Any] = [
        None,
        {"event": "B", "properties": usual},
        b"",
        b"[]",
        b"7",
        b'"B"',
        b'{"event":"B"}',
        b'{"event":[],"properties":{}}',
        b'{"event":"B","properties":["time","distinct_id","$insert_id"]}',
        b'{"event":"B","properties":[[]]}',
        b'{"event":"C","properties":{}}',
    ]
    big = {f"p{n}": "x" * 250 for n in range(240)}

    def item(name: str, properties: dict[str, Any]) -> bytes:
        return orjson.dumps({"event": name, "properties": properties})

    assert express.lines(odd, NOW) == [None] * len(odd)
    assert express.lines([item("A", usual)], NOW) == [None]
    assert express.lines([item("B", {**usual, **big})], NOW) != [None]
    [line] = express.lines([item("B", usual)], NOW)
    assert line is not None
    monkeypatch.setattr(_express, "MAX_EVENT_BYTES", 100)
    assert express.lines([item("B", usual)], NOW) == [None]


# -- bytes ----------------------------------------------------------------------------------------


def test_gzip_streams_one_after_the_other_are_one() -> None:
    """
    Also if the last is padded with zeros; anything else behind it is damage.
    """
    packed = gzip.compress(b"one\n") + gzip.compress(b"two\n")

    assert b"".join(plain(stream(packed + b"\0" * 512))) == b"one\ntwo\n"
    with pytest.raises(Damage, match="damaged at byte"):
        list(plain(stream(packed + b"rubbish")))


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=5))
@quickly
def test_lines_do_not_depend_on_pieces(text: bytes, cuts: list[int]) -> None:
    """
    However the bytes come, the lines and their numbers are the same.
    """
    edges = [0, *sorted(cuts), len(text)]
    pieces = [text[a:b] for a, b in pairwise(edges)]

    found = [
        pair for chunk in lines(pieces) for pair in zip(chunk.numbers, chunk.items, strict=True)
    ]

    whole = text.split(b"\n")
    expected = [line.removesuffix(b"\r") for line in (whole if whole[-1] else whole[:-1])]
    assert found == list(enumerate(expected, 1))


ARRAYS = [
    b'[{"a": 1}, {"b": "]}\\"["}, [1, {"c": 2}] , {"d": "\\\\"}]',
    b'{"a": 1}\n{"b": {"c": "\\u00e9"}} {"d": []}',
    b'[{"a": "' + b"\\" * 6 + b'"}, {"b": 1}]',
]


@pytest.mark.parametrize("text", ARRAYS)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1_000])
def test_elements_do_not_depend_on_pieces(text: bytes, size: int) -> None:
    """
    Strings hold brackets and escapes, and may be torn anywhere.
    """
    found = items(elements(text[at : at + size] for at in range(0, len(text), size)))

    array = text[:1] == b"["
    expected = orjson.loads(text) if array else [{"a": 1}, {"b": {"c": "é"}}, {"d": []}]
    assert [orjson.loads(item) for item in found] == expected


def test_an_element_that_is_too_long_costs_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Whether it is a string or has many parts; memory stays bounded.
    """
    monkeypatch.setattr(_pieces, "MAX_RECORD", 100)
    text = (
        b'[{"a": 1}, {"long": "' + b"x" * 500 + b'"}, {"b": [' + b"1, {}, " * 90 + b'2]}, {"c": 3}]'
    )

    found = items(elements(text[at : at + 10] for at in range(0, len(text), 10)))
    at_once = items(elements([text]))

    for each in (found, at_once):
        assert each[0] == b'{"a": 1}'
        assert [type(item) for item in each] == [bytes, Fault, Fault, bytes]
        assert each[-1] == b'{"c": 3}'


def test_a_line_that_is_too_long_costs_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    At the end of a source, too; and what breaks off in the middle of one says so.
    """
    monkeypatch.setattr(_pieces, "MAX_RECORD", 10)

    def broken() -> Iterator[bytes]:
        yield b"one\ntw"
        raise Damage("cut off")

    inside = items(lines([b"one\n" + b"x" * 8, b"y" * 8, b"z\ntwo\r\n"]))
    last = items(lines([b"one\n", b"x" * 20]))
    cut = items(lines(broken()))

    assert inside[0] == b"one"
    assert isinstance(inside[1], Fault)
    assert inside[2] == b"two"
    assert [type(item) for item in last] == [bytes, Fault]
    assert str(cut[-1]) == "cut off; line 2 is not whole"


@pytest.mark.parametrize(
    ("name", "text", "form"),
    [
        ("a.json", b'{"event": "A"}\n{"event": "B"}\n', "ndjson"),
        ("a.json", b'{\n "event": "A"\n}\n', "json"),
        ("a", b' [{"event": "A"}]', "json"),
        ("a.jsonl.gz", gzip.compress(b"rubbish\n"), "ndjson"),
        ("a.tsv", b"event\ttime\nA\t1\n", "tsv"),
        (
            "a.log",
            b'\n1.2.3.4 - - [17/May/2025:10:05:04 +0200] "GET / HTTP/1.0" 304 -\n',
            "combined",
        ),
        ("a", b"", "ndjson"),
    ],
)
def test_formats_are_found_out(name: str, text: bytes, form: str) -> None:
    """
    By what is in a source; by its name only if that does not show.
    """
    source = Source(name, None, lambda: io.BytesIO(text))

    found, chunks = read(source, stream(text), Reading())

    assert found == form
    assert len([item for item in items(chunks) if item]) == len(text[:1]) + (b"B" in text)


def test_a_table_can_be_told_how_it_is_written() -> None:
    """
    A delimiter of its own, cells that stay texts; a header that is no use is damage.
    """
    text = b"event;time,zone;n;\nA;1;1.50;true\n\nB;2;x;\n"

    found = items(table([text], ";", typed=False))
    typed = items(table([text], None, typed=True))
    twice = items(table([b"a,b,a\n1,2,3\n"], None, typed=True))
    latin = items(table(["a,b\nü,1\n".encode("latin-1")], None, typed=True))

    assert found == [
        b"",
        {"event": "A", "time,zone": "1", "n": "1.50"},
        b"",
        {"event": "B", "time,zone": "2", "n": "x"},
    ]
    assert typed[1] == {"event": "A", "time,zone": 1, "n": 1.5}
    assert str(twice[-1]) == "the header names the column 'a' twice"
    assert latin[1].reason.startswith("is not UTF-8; another encoding is to be converted")


def test_a_quote_that_is_never_closed_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    At the end, after many lines, and before a line that cannot be read; what follows is kept.
    """
    text = b'a,b\n1,"open\n' + b"2,x\n" * 300 + b"3,y\n"
    short = b'a,b\n1,"open\n' + b"x" * 50 + b"\n2,y\n"

    found = items(table([text], None, typed=True))
    monkeypatch.setattr(_pieces, "MAX_RECORD", 40)
    cut = items(table([short], None, typed=True))

    assert isinstance(found[1], Fault)
    assert found[2:] == [{"a": 2, "b": "x"}] * 300 + [{"a": 3, "b": "y"}]
    assert [type(item) for item in cut] == [bytes, Fault, Fault, dict]


# -- times and fields -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1_760_000_000, 1_760_000_000_000),
        (1_760_000_000_123, 1_760_000_000_123),
        (1_760_000_000_123_456, 1_760_000_000_123),
        (1_760_000_000_123_456_789, 1_760_000_000_123),
        ("1760000000.5", 1_760_000_000_500),
        ("2025-06-01", 1_748_736_000_000),
        ("1972-01-01", 63_072_000_000),
        ("2025-06-01 10:00", 1_748_772_000_000),
        ("2025-06-01T10:00:00Z", 1_748_772_000_000),
        ("2025-06-01T12:00:00.123456789+02:00", 1_748_772_000_123),
        ("2025-06-01 05:00:00,5 -0500", 1_748_772_000_500),
        ("2025-06-01T13:00:00+03", 1_748_772_000_000),
        (datetime(2025, 6, 1, 10), 1_748_772_000_000),  # noqa: DTZ001 -- that is the point
        (date(2025, 6, 1), 1_748_736_000_000),
        ("2025-02-30", None),
        ("yesterday", None),
        (True, None),
        (-5, None),
        (None, None),
        ("2093-01-01", None),
    ],
)
def test_times_are_read_as_people_write_them(value: object, expected: int | None) -> None:
    """
    Numbers of any unit, dates and texts; None if it is no time, or too far away.
    """
    assert UTC.read(value, NOW) == expected


def test_times_have_zones_and_forms_of_their_own() -> None:
    """
    A zone holds for what does not say its own, and each such time is counted.
    """
    unzoned: list[int] = []
    berlin = Moments(zone_named("Europe/Berlin"), "%d.%m.%Y %H:%M", lambda: unzoned.append(1))

    assert berlin.read("01.06.2025 12:00", NOW) == 1_748_772_000_000
    assert berlin.read("2025-06-01", NOW) is None
    assert len(unzoned) == 1
    with pytest.raises(Unusable):
        zone_named("../etc/passwd")


def test_fields_are_found_in_objects_and_given_other_names() -> None:
    """
    With dots, in `properties`, as constants; ids that are numbers are texts.
    """
    fields = Fields(
        event="what",
        time="at",
        distinct_id="user.id",
        insert_id="id",
        rename={"geo.city": "$city"},
        constants={"plan": "pro"},
    )
    record = {
        "what": "A",
        "properties": {"at": FIRST, "user": {"id": 7}, "geo": {"city": "Lyon"}},
        "id": 12,
        "plan": "free",
    }

    made = Mapper(fields, UTC).event(record, NOW)
    fixed = Mapper(Fields(constants={"event": "B", "distinct_id": "u", "time": FIRST}), UTC).event(
        {}, NOW
    )

    assert isinstance(made, Event)
    assert (made.name, made.distinct_id, made.insert_id, made.time) == ("A", "7", "12", FIRST)
    assert made.properties["$city"] == "Lyon"
    assert made.properties["plan"] == "pro"
    assert fixed == Event("B", distinct_id="u", time=FIRST)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"time": FIRST}, "has no name in the field 'event'"),
        ({"event": {}, "time": FIRST}, "has no name"),
        ({"event": "A"}, "has no time in the field 'time'"),
        ({"event": "A", "time": "x"}, "has a time that is none from 1971"),
        ({"event": " ", "time": FIRST}, "has no name"),
        ({"event": "A", "time": FIRST, **{f"p{n}": ["x" * 250] * 30 for n in range(250)}}, "large"),
        (["A"], "is JSON, but not an object"),
    ],
)
def test_a_record_that_is_no_event_says_why(record: object, reason: str) -> None:
    """
    With a part of it, for the file of rejected records.
    """
    maker = Maker(Settings(token="t"), Rules(Mapper(Fields(), UTC)), hint=print, wall=lambda: NOW)

    [found] = maker.make([orjson.dumps(record)], [1])

    if reason == "large":
        assert type(found) is bytes  # the biggest properties went
    else:
        assert isinstance(found, Fault)
        assert reason in found.reason
        assert found.text


def test_json_that_only_python_writes_is_read() -> None:
    """
    Not-a-number, half a surrogate pair, an integer without end; names that stand twice are told.
    """
    told: list[str] = []
    maker = Maker(
        Settings(token="t"),
        Rules(Mapper(Fields(), UTC)),
        hint=lambda kind, _text: told.append(kind),
        wall=lambda: NOW,
    )
    texts = [
        b'{"event": "A", "time": 1760000000, "x": NaN, "y": "\\ud800", "z": %s}' % (b"9" * 30),
        b'{"event": "A", "time": 1760000000, "a": {"b": 1, "b": 2}}',
        b'{"event": "A", "time": 1760000000, "z": %s}' % (b"9" * 5_000),
    ]

    made = maker.make(texts, range(1, 4))
    again = maker.make(texts, range(1, 4))

    first, second = (orjson.loads(line) for line in made[:2] if type(line) is bytes)
    assert first["properties"]["y"] == "?"
    assert "x" not in first["properties"]
    assert second["properties"]["a"] == {"b": 2}
    assert "repeated" in told
    assert made == again


def test_updates_say_whose_they_are() -> None:
    """
    Groups take no operation of users only; an id that Mixpanel forbids is none.
    """
    users = Mapper(Fields(rename={"p": "plan"}), UTC)
    groups = Mapper(Fields(), UTC, "company")

    [update] = users.updates({"distinct_id": "u", "p": "pro", "$ip": "203.0.113.9"})  # type: ignore[misc] # no fault

    assert (update.value, update.ip) == ({"plan": "pro"}, "203.0.113.9")  # type: ignore[union-attr] # it is an update
    assert isinstance(users.updates({"p": 1}), Fault)
    assert isinstance(groups.updates({"$group_id": "a", "$add": {"n": 1}}), Fault)
    maker = Maker(Settings(token="t"), Rules(users, profiles=True), hint=print)
    [found] = maker.make([b'{"distinct_id": "null", "a": 1}'], [1])
    assert isinstance(found, Fault)
    assert "forbids" in found.reason


# -- parcels, window, journal ---------------------------------------------------------------------


def test_parcels_hold_what_a_request_may_carry() -> None:
    """
    Neither too many nor too long; each line knows its place, and every record is settled once.
    """
    emitted: list[Parcel] = []
    packer = Packer(4, 100, emitted.append)
    line = b"x" * 30

    packer.add(2, range(1, 8), 8, [line, line, line, line, Fault("bad"), None, "sampled"])
    packer.add(3, [1, 5], 9, [b"y" * 99, b"z" * 500])
    packer.flush()

    assert [len(parcel.lines) for parcel in emitted] == [3, 1, 1, 1]
    places = [(source_of(at), number_of(at)) for parcel in emitted for at in parcel.places]
    assert places == [(2, 1), (2, 2), (2, 3), (2, 4), (3, 1), (3, 5)]
    settled = sorted(tuple(run) for parcel in emitted for run in parcel.runs)
    assert sum(end - start for start, end in settled) == 7 + 8
    assert sum((parcel.counts for parcel in emitted), Counter()) == {"invalid": 1, "sampled": 1}


def test_updates_keep_their_order() -> None:
    """
    One that must not be repeated closes the parcel of those that may be; a record stays whole.
    """
    emitted: list[Parcel] = []
    packer = Packer(2_000, 60, emitted.append)

    def aside(text: bytes, *, repeatable: bool = True) -> Aside:
        return Aside(Lane.ENGAGE, text * 10, repeatable)

    packer.add(
        0,
        range(1, 5),
        5,
        [
            (aside(b"a"),),
            (aside(b"b"), aside(b"c", repeatable=False)),
            (aside(b"d"),),
            (aside(b"e"), aside(b"f"), aside(b"g")),
        ],
    )
    packer.flush()

    assert [[line[:1] for line in parcel.lines] for parcel in emitted] == [
        [b"a"],
        [b"b", b"c"],
        [b"d", b"e", b"f", b"g"],
    ]
    assert [parcel.repeatable for parcel in emitted] == [True, False, True]


def test_faults_alone_are_settled_now_and_then() -> None:
    """
    So that a source of nothing else leaves its mark.
    """
    emitted: list[Parcel] = []
    packer = Packer(10, 1_000, emitted.append)

    packer.add(0, range(1, 26), 26, [Fault("bad")] * 25)
    packer.add(0, range(26, 12_000), 12_000, [None] * 11_974)

    assert [parcel.counts["invalid"] for parcel in emitted] == [10, 10, 5]


def test_the_window_narrows_and_opens_again() -> None:
    """
    Requests that are told together that they are too many count as told once.
    """
    clock = FakeClock()
    window = Window(8, clock, lambda: False)
    numbers = [window.enter() for _ in range(8)]

    for number in numbers:
        window.leave(number, limited=True, pause=5.0)
    narrowed = window.size
    later = window.enter()
    waited = clock.monotonic()
    window.leave(later, limited=False)
    for _ in range(60):
        window.leave(window.enter(), limited=False)

    assert narrowed == 4
    assert waited >= 5.0
    assert window.size == 8
    assert Window(1, clock, lambda: True).enter() == 0


def journal(folder: Path, *, key: str = "k", restart: bool = False) -> Journal:
    """
    Open the journal of an import.
    """
    return Journal(folder / "state", key, folder / "rejected", restart=restart)


def test_a_journal_forgets_what_is_not_whole(tmp_path: Path) -> None:
    """
    The last line may be torn, and the rejected records of what it would have settled with it.
    """
    source = Source("a", 10, lambda: io.BytesIO(b"0123456789"))
    first = journal(tmp_path)
    index = first.index(source)
    first.settle([[place(index, 1), place(index, 5)]], {"delivered": 3}, [{"line": 2}])
    first.note_end(index, 9, 10)
    first.close()
    with (tmp_path / "state").open("ab") as file:
        file.write(b'{"settled":[[5,9]],"cou')
    with (tmp_path / "rejected").open("ab") as file:
        file.write(b'{"line": 3}\n')

    second = journal(tmp_path)

    assert second.counts == {"delivered": 3}
    assert second.index(source) == index
    assert not second.is_done(index, 10)
    assert (tmp_path / "rejected").read_bytes() == b'{"line":2}\n'
    chunk = second.remaining(index, Chunk(["a", "b", "c"], [3, 4, 6], 9))
    assert chunk == Chunk(["c"], [6], 9)
    assert second.remaining(index, Chunk(["a"], [3], 4)) is None
    assert second.remaining(index, Chunk(["z"], [8], 9)) == Chunk(["z"], [8], 9)
    second.settle([[place(index, 5), place(index, 9)]], {}, [])
    second.close()
    third = journal(tmp_path)
    assert third.is_done(index, 10)
    assert not third.is_done(index, 11)
    assert not third.is_done(index, None)
    third.close()


def test_a_journal_serves_one_import_at_a_time(tmp_path: Path) -> None:
    """
    And only its own; a folder that is not there is said to be so.
    """
    first = journal(tmp_path)

    with pytest.raises(Unusable, match="another import is under way"):
        journal(tmp_path)
    first.close()
    with pytest.raises(Unusable, match="state of another import"):
        journal(tmp_path, key="other")
    with pytest.raises(Unusable, match="No such file"):
        journal(tmp_path / "nowhere")
    journal(tmp_path, key="other", restart=True).close()

    assert not (tmp_path / "rejected").exists()
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o600


# -- what is shown --------------------------------------------------------------------------------


def test_progress_says_how_far_it_is() -> None:
    """
    On a terminal with a bar if it is known how much there is; elsewhere in lines.
    """
    books = Books([500, 500])
    books.settle({"delivered": 10, "rejected": 1, "invalid": 2})
    books.advance(500)
    books.trouble = "status 503"
    console = Console(width=120, file=io.StringIO(), record=True)

    console.print(_show._picture(books))
    console.print(_show._picture(Books([None])))
    said = console.export_text()

    assert "13 records" in said
    assert "3 rejected" in said
    assert "left" in said
    assert "status 503" in said
    assert "(status 503)" in _show._line(books)
    assert _show._duration(3_700) == "1 h 01 min"
    assert Books([None]).left is None
    assert books.rate() >= 0
    for _ in range(3):
        books._recent.appendleft((-100.0, 0))
    assert books.rate() > 0


def test_progress_in_a_pipe_is_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    One now and then, and what is to be told at once between them.
    """
    monkeypatch.setattr(_show, "_INTERVAL", 0.01)

    with _show.progress(Books([1])) as tell:
        tell("something [is] wrong")
        threading.Event().wait(0.1)

    said = capsys.readouterr().err
    assert "something [is] wrong\n" in said
    assert "0 records" in said


def test_progress_on_a_terminal_is_live(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    And leaves what was told.
    """
    shown = io.StringIO()

    def terminal(**_options: object) -> Console:
        return Console(file=shown, force_terminal=True, width=90, soft_wrap=True)

    monkeypatch.setattr(_show, "Console", terminal)
    monkeypatch.setenv("TERM", "xterm")

    with _show.progress(Books([10])) as tell:
        tell("a.ndjson, line 1: has \x1b]0;no title\x07")

    assert "a.ndjson, line 1" in shown.getvalue()
    assert ": has \\x1b]0;no title\\x07" in shown.getvalue()
    assert "0 records" in shown.getvalue()


def test_drops_have_words() -> None:
    """
    Every reason for which a record may have no line is told, or is none for what is imported.
    """
    from mixpanel_export.cli.backfill._maker import _FAULTS, _LEFT

    assert set(Drop) - set(_FAULTS) - set(_LEFT) == {Drop.BUDGET, Drop.NO_TOKEN}
    assert json.dumps(sorted(_FAULTS.values()))
