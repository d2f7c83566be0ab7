"""
What the benchmarks say can be believed: the figures of made-up runs, and of one that is real.

They lie beside this folder; `tests/run` copies them together.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SVG = "{http://www.w3.org/2000/svg}"

# What is installed, and what is not.
SYSTEMS = {
    "ours": {"label": "mixpanel-export", "version": "0.1.0"},
    "segment": {"label": "segment", "version": "2.4.0"},
    "snowplow": {"label": "snowplow", "version": "1.1.0"},
    "snowplow tuned": {"label": "snowplow, 8 threads", "version": "1.1.0"},
    "floor": {"label": "logging alone", "version": ""},
}
ABSENT = (
    *("mixpanel", "posthog", "rudder", "amplitude", "sentry", "logfire", "opentelemetry"),
    *("spool", "submit"),
)


def speed(*arguments: str) -> str:
    """
    Run the command to its end, and give what it prints.
    """
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "speed.py", *arguments],
        check=True,
        capture_output=True,
        text=True,
        timeout=100,
    )
    return done.stdout


def keep(path: Path, cells: list[tuple[str, str, int, dict[str, float]]]) -> None:
    """
    Write what a session would have left behind that was killed while it wrote.
    """
    absent = {each: {"label": each, "version": None} for each in ABSENT}
    head = {"where": "on the moon", "scale": 1.0, "sources": "c0ffee", "systems": SYSTEMS | absent}
    lines = [
        {"row": row, "system": system, "run": run, "figures": figures, "stderr": ""}
        for row, system, run, figures in cells
    ]
    text = "".join(f"{json.dumps(each)}\n" for each in (head, *lines))
    path.write_text(f'{text}{{"row": "caller", "sys', encoding="utf-8")


def rows(table: str) -> dict[str, list[str]]:
    """
    Read a table: what it says of each thing, by the thing.
    """
    read = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table.splitlines()
        if line.startswith("|")
    ]
    return {first: rest for first, *rest in read}


def test_what_was_measured_becomes_a_table_and_a_picture(tmp_path: Path) -> None:
    """
    Medians are shown, losses count, an aim is met or missed, and what is not there has no column
    and no line.
    """
    keep(
        tmp_path / "speed.json",
        [
            *(
                ("caller", "ours", run, {"p50": ours, "floor p50": floor, "times floor": times})
                for run, (ours, floor, times) in enumerate(
                    ((6.0, 4.0, 1.5), (10.0, 5.0, 2.0), (8.0, 8.0, 1.0))
                )
            ),
            ("caller", "segment", 0, {"p50": 16.0, "floor p50": 4.0, "times floor": 4.0}),
            ("50ms", "ours", 0, {"rate": 54_321.0, "expected": 100_000, "lost": 0}),
            ("50ms", "segment", 0, {"rate": 90_000.0, "expected": 100_000, "lost": 60_000}),
            ("50ms", "snowplow tuned", 0, {"rate": 60_000.0, "expected": 100_000, "lost": 0}),
            ("outage", "ours", 0, {"expected": 40_000, "lost": 0, "duplicates": 0, "grown": 9e6}),
            ("outage", "ours", 1, {"expected": 40_000, "lost": 2, "duplicates": 0, "grown": 9e6}),
        ],
    )
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- speed -->\nold\n<!-- /speed -->\nafter\n", encoding="utf-8")

    printed = speed("--show", str(tmp_path / "speed.json"), "--write", str(readme))

    assert "on the moon" in printed
    told = rows(printed)
    assert told == {
        "": [
            *("aim", "mixpanel-export 0.1.0", "segment 2.4.0", "snowplow 1.1.0"),
            "snowplow, 8 threads 1.1.0",
        ],
        "---": ["---"] * 5,
        "caller's thread, µs an event, median, and compared with logging alone (5.00)": [
            *("≤ 1.8x: met", "8.00 (1.50x)", "16.0 (4.00x)", "–", "–")
        ],
        "100,000 events at once, or those of 2 s, answers after 50 ms: the same": [
            *("≥ the fastest that loses nothing: **missed** by 10%", "54,300"),
            *("90,000, 60% missing", "–", "60,000"),
        ],
        "2,000 events a second for 20 s, no answer for 10: delivered; longest call; memory": [
            *("all, once; < 10 ms; < 15 MB: **missed**", "39,998–40,000 of 40,000; 9.00 MB"),
            *("–", "–", "–"),
        ],
    }
    text = readme.read_text(encoding="utf-8")
    assert text.startswith("before\n<!-- speed -->\n")
    assert text.endswith("<!-- /speed -->\nafter\n")
    assert "old" not in text
    assert rows(text) == told
    drawn = ET.parse(tmp_path / "speed.svg").getroot()
    panels = {group[0].text: group for group in drawn.findall(f"{SVG}g")}
    widths = [float(bar.attrib["width"]) for bar in panels.popitem()[1].findall(f"{SVG}rect")]
    assert widths == [190.0]
    assert list(panels) == [
        "caller's thread, µs an event in the median",
        "delivered per second, answers after 50 ms",
    ]


def test_a_session_measures_and_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    """
    Real processes beside a real server: what arrives is counted, and nothing is measured twice.
    """
    file = tmp_path / "speed.json"
    command = ("--rows", "exit,50ms", "--systems", "ours", "--quick", "--json", str(file))
    speed(*command)
    kept = file.read_text(encoding="utf-8")

    speed(*command)

    assert file.read_text(encoding="utf-8") == kept
    cells = [json.loads(line) for line in kept.splitlines()[1:]]
    figures = {(cell["row"], cell["system"]): cell["figures"] for cell in cells}
    assert figures.keys() == {("exit", "ours"), ("50ms", "ours")}
    ended = figures["exit", "ours"]
    assert (ended["expected"], ended["lost"], ended["duplicates"]) == (250, 0, 0)
    assert ended["ended"] is True
    burst = figures["50ms", "ours"]
    assert (burst["expected"], burst["lost"], burst["duplicates"]) == (5_000, 0, 0)
    assert burst["rate"] > 0


def test_costs_are_compared_within_turns() -> None:
    """
    With those of making the event and of logging alone, in the same process.
    """
    ask = "import json, _speed_rows; print(json.dumps(_speed_rows.caller('submit', 0.05)[0]))"
    done = subprocess.run(
        [sys.executable, "-c", ask],
        cwd=BENCHMARKS,
        check=True,
        capture_output=True,
        text=True,
        timeout=100,
    )

    figures = json.loads(done.stdout)

    # Who submits an event has made it.
    assert figures["times event alone"] > 1
    assert 0 < figures["beyond event alone"] < figures["p50"]
    assert 0 < figures["event alone p50"] < figures["floor p50"]
    assert 0 < figures["event alone cpu"] < figures["cpu"]
