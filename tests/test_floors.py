"""
The map of the house, for whoever comes in for the first time, and the proof that it is true.

::

    record -> event -> line -> queue -> batch -> request -> outcome

Imports point down, and inside a floor they do not go in circles. So a file can be read knowing only
the floors below it, and nothing is ever in the way of testing one.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

FLOORS = {
    "1 words, facts, time": {
        "_exceptions": "the errors: configuration and resources, never what Mixpanel answers",
        "_limits": "every number and forbidden value that Mixpanel documents, with its source",
        "_clock": "the time, how to wait for it, and a deadline",
        "_tally": "counting without a lock",
        "_notice": "telling the operator, at most once a minute of each kind",
        "_record": "Record: what an application said, one shape for every source",
        "_context": "who it is about and what is known: bind, unbind, clear, bound",
        "_settings": "Settings: each declared once; environment, keywords and flags follow",
    },
    "2 rules: pure functions on frozen data": {
        "_values": "any Python object -> a value that JSON and Mixpanel can hold",
        "_privacy": "what must not leave the house",
        "_ids": "ids, times and addresses in the form in which Mixpanel takes them",
        "_line": "lines that are not as they should be: too long, too many properties",
        "_fill": "fields -> properties -> line, sealed once",
        "_form": "the same for fields of the same names, again and again",
        "_plan": "names of fields -> what is to be done with each, worked out once",
        "_event": "Event, and why there may be none",
        "_quota": "which events are sent, if not all are: a sample, a budget",
        "_translate": "record -> event -> line: which records, whose, when, what stands in them",
        "_update": "updates of profiles and the verbs of identity -> lines of their own lanes",
        "_web": "what is known of a web request -> properties",
        "_semconv": "OpenTelemetry's names -> Mixpanel's",
        "_batch": "lines -> batches that one request may carry",
        "_wire": "batch -> request, for each endpoint",
        "_outcome": "response -> what became of each line",
    },
    "3 machines: each touches one piece of the world": {
        "_home": "whether this is still the same process",
        "_queue": "what waits, in memory",
        "_disk": "files, where operating systems differ",
        "_segment": "records in a file: written, read, found again after damage",
        "_directory": "the files of one process, and what is done with in them",
        "_orphan": "a file of a process that is gone",
        "_chain": "the files that a process fills, one after the other",
        "_adoption": "what processes left that are gone, found and locked",
        "_stock": "both: read, settled, deleted",
        "_keeper": "who looks after the files, on a thread of its own",
        "_rejected": "what Mixpanel rejected, kept with the reason",
        "_spool": "what waits, on disk",
        "_transport": "a request goes out, a response or an error comes back",
        "_lifecycle": "this process forks, and it ends",
        "_uwsgi": "a server that forks in its own way",
    },
    "4 engine": {
        "_sender": "batch -> outcomes: attempts, waits, halves; has no thread",
        "_circuit": "whether anything may be sent at the moment",
        "_ledger": "what a pipeline says of itself: Stats and Health",
        "_engine": "what is to be done next; has no thread either",
        "_metrics": "the ledger as OpenTelemetry metrics",
        "_process": "the threads, and all else that a fork leaves behind",
        "_pipeline": "what a caller may ask of them: submit, flush, close",
    },
    "5 doors: read a foreign object into a record, hand it on, nothing else": {
        "_door": "what all doors have in common",
        "_message": "what was said to a logger -> a name and fields",
        "_handler": "logging",
        "_processor": "structlog",
        "_telemetry": "OpenTelemetry's spans and log records -> records",
        "_request": "what all middlewares have in common: a holder for each request",
        "otel": "OpenTelemetry: spans and logs",
        "asgi": "a request's identity and facts, for asynchronous applications",
        "wsgi": "the same for synchronous ones",
        "django": "the same for Django",
        "celery": "the same for Celery",
        "delivery": "the engine's public names, for those who build on it",
        "_tracked": "what was tracked: events to look at, and what to say when one is missing",
        "testing": "what an application's tests need: captured events, a transport, a clock",
    },
    # Not a door and not a program, but the sign at the gate: it shows what the doors and the engine
    # offer. Nothing below asks it for anything.
    "5½ public face": {
        "__init__": "the names for everyone",
    },
    "6 programs": {
        "__main__": "python -m mixpanel_export",
        "cli": "the command mixpanel-export",
        "pytest_plugin": "fixtures: captured events, a local Mixpanel",
        "emulator": "the local Mixpanel with its live page; knows nothing of ours",
        "gateway": "the fleet: events from many machines come in over OTLP",
        "nats": "the fleet: batches wait in a broker",
    },
}

# Floors 1 to 4: covered completely, by their own tests alone, on every Python.
ENGINE_ROOM = [module for floor in list(FLOORS)[:4] for module in FLOORS[floor]]

# A mirror must not be made by the face it shows.
MIRROR = "emulator"

FOR_TYPES_ONLY = ("TYPE_CHECKING", "typing.TYPE_CHECKING")

PACKAGE = "mixpanel_export"
TESTS = Path(__file__).parent


class Import(NamedTuple):
    """
    One module needs another; both are named from the package's root, ``__init__`` for itself.
    """

    importer: str
    line: int
    imported: str

    def __str__(self) -> str:
        return f"{self.importer}, line {self.line}, imports {self.imported}"


def modules_of(package: Path) -> dict[str, Path]:
    """
    Return the files of a package by their dotted names, such as ``_queue`` and ``cli.__init__``.
    """
    return {
        ".".join(path.relative_to(package).with_suffix("").parts): path
        for path in sorted(package.rglob("*.py"))
    }


def room_of(module: str) -> str:
    """
    Return the name that the map has for a module: a whole folder is one room.
    """
    return module.partition(".")[0]


def statements(tree: ast.AST) -> Iterator[ast.AST]:
    """
    Yield everything that can run, also inside functions; ``if TYPE_CHECKING:`` cannot.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in FOR_TYPES_ONLY:
            for otherwise in node.orelse:
                yield otherwise
                yield from statements(otherwise)
        else:
            yield node
            yield from statements(node)


def absolute_names(node: ast.AST, parent: str) -> list[str]:
    """
    Return the dotted names that one statement imports, ``from a import b`` as ``a.b``.

    A literal name given to `importlib.import_module` or `__import__` counts too.
    """
    match node:
        case ast.Import(names=names):
            return [name.name for name in names]
        case ast.ImportFrom(module=module, names=names, level=level):
            base = importlib.util.resolve_name("." * level + (module or ""), parent)
            return [f"{base}.{name.name}" for name in names]
        case ast.Call(
            func=ast.Name(id="__import__" | "import_module")
            | ast.Attribute(attr="__import__" | "import_module"),
            args=[ast.Constant(value=str(name)), *_],
        ):
            return [importlib.util.resolve_name(name, parent)]
    return []


def imports_of(package: Path) -> list[Import]:
    """
    Return which module of a package imports which other one.
    """
    modules = modules_of(package)
    found = []
    for module, path in modules.items():
        parent = ".".join([package.name, *module.split(".")[:-1]])
        for node in statements(ast.parse(path.read_text(encoding="utf-8"), str(path))):
            for name in absolute_names(node, parent):
                imported = inside(name, package.name, modules)
                if imported and imported != module:
                    found.append(Import(module, getattr(node, "lineno", 0), imported))
    return found


def inside(name: str, package: str, modules: Mapping[str, Path]) -> str | None:
    """
    Return the module that holds an imported name; None if the name is not of this package.

    The longest beginning that is a file holds it: ``mixpanel_export.Event`` is in ``__init__``.
    """
    first, *parts = name.split(".")
    if first != package:
        return None
    for length in range(len(parts), -1, -1):
        start = parts[:length]
        for module in (".".join(start), ".".join([*start, "__init__"])):
            if module in modules:
                return module
    return None


def faults(package: Path, floors: Mapping[str, Mapping[str, str]] = FLOORS) -> list[str]:
    """
    Return everything about a package that contradicts the map, each in one line.
    """
    floor_of = {room: number for number, rooms in enumerate(floors.values()) for room in rooms}
    modules = modules_of(package)
    unmapped = sorted({room_of(module) for module in modules} - floor_of.keys())
    known = [
        each
        for each in imports_of(package)
        if room_of(each.importer) in floor_of and room_of(each.imported) in floor_of
    ]
    level = [floor_of[room_of(each.importer)] - floor_of[room_of(each.imported)] for each in known]
    return [
        *(f"{room} is not on the map" for room in unmapped),
        *(f"{each}: upwards" for each, down in zip(known, level, strict=True) if down < 0),
        *(
            f"{each}: the mirror knows nothing of ours"
            for each in known
            if room_of(each.importer) == MIRROR != room_of(each.imported)
        ),
        *circles([each for each, down in zip(known, level, strict=True) if down == 0]),
    ]


def circles(imports: list[Import]) -> list[str]:
    """
    Return the circles among imports, each once, as the way round from its first name.

    Of circles that share a module not all are found at once.
    """
    needs: dict[str, list[str]] = {}
    for each in imports:
        needs.setdefault(each.importer, []).append(each.imported)
    found: dict[frozenset[str], str] = {}
    done: set[str] = set()

    def walk(module: str, way: list[str]) -> None:
        if module in way:
            circle = way[way.index(module) :]
            first = circle.index(min(circle))
            names = [*circle[first:], *circle[: first + 1]]
            found.setdefault(frozenset(circle), f"a circle: {' -> '.join(names)}")
        elif module not in done:
            for imported in needs.get(module, []):
                walk(imported, [*way, module])
            done.add(module)

    for module in needs:
        walk(module, [])
    return list(found.values())


def the_package() -> Path:
    """
    Return the folder of the package that is tested: the installed one, or the checkout's.
    """
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def engine_room_tests() -> list[str]:
    """
    Return the files and folders with the tests of floors 1 to 4, from ``tests/`` on.

    ``_queue`` is tested by ``test_queue.py`` and ``test_queue_….py``, exits and forks of the whole
    engine by ``lifecycle/``.
    """
    found = [TESTS / "lifecycle"] if (TESTS / "lifecycle").is_dir() else []
    for module in ENGINE_ROOM:
        name = f"test{module}"
        found += [*TESTS.glob(f"{name}.py"), *sorted(TESTS.glob(f"{name}_*.py"))]
    return [path.relative_to(TESTS.parent).as_posix() for path in dict.fromkeys(found)]


def package_with(folder: Path, sources: Mapping[str, str]) -> Path:
    """
    Write a made-up package of these files, and an empty ``__init__.py`` unless it is one of them.
    """
    package = folder / PACKAGE
    for name, source in {"__init__.py": "", **sources}.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    return package


def test_the_house_is_as_the_map_says() -> None:
    """
    Every module is on the map, imports point down, no circles, the emulator stands alone.
    """
    assert faults(the_package()) == []


def test_no_module_is_on_two_floors() -> None:
    """
    A module has one place.
    """
    rooms = [room for floor in FLOORS.values() for room in floor]

    assert len(rooms) == len(set(rooms))


def test_the_engine_room_is_floors_one_to_four() -> None:
    """
    What must be covered completely is everything below the doors.
    """
    assert ENGINE_ROOM[0] == "_exceptions"
    assert ENGINE_ROOM[-1] == "_pipeline"
    assert all(module.startswith("_") for module in ENGINE_ROOM)


def test_an_upward_import_is_found(tmp_path: Path) -> None:
    """
    A rule that asks a machine for something is named with its line.
    """
    package = package_with(
        tmp_path,
        {
            "_queue.py": "",
            "_batch.py": "import json\nfrom mixpanel_export._queue import Queue\n",
        },
    )

    assert faults(package) == ["_batch, line 2, imports _queue: upwards"]


def test_an_upward_import_cannot_hide(tmp_path: Path) -> None:
    """
    Inside a function, relative, by name, of the module as a whole, through the root: all count.
    """
    package = package_with(
        tmp_path,
        {
            "_pipeline.py": "",
            "_values.py": "def late():\n    import mixpanel_export._pipeline\n",
            "_privacy.py": "from . import _pipeline\n",
            "_event.py": "from ._pipeline import Pipeline\n",
            "_semconv.py": "importlib.import_module('mixpanel_export._pipeline')\n",
            "_batch.py": "__import__('mixpanel_export._pipeline')\n",
            "_wire.py": "from mixpanel_export import Pipeline\n",
            "_outcome.py": "if True:\n    from mixpanel_export import _pipeline as engine\n",
        },
    )

    assert sorted(faults(package)) == [
        "_batch, line 1, imports _pipeline: upwards",
        "_event, line 1, imports _pipeline: upwards",
        "_outcome, line 2, imports _pipeline: upwards",
        "_privacy, line 1, imports _pipeline: upwards",
        "_semconv, line 1, imports _pipeline: upwards",
        "_values, line 2, imports _pipeline: upwards",
        "_wire, line 1, imports __init__: upwards",
    ]


def test_downward_imports_are_fine(tmp_path: Path) -> None:
    """
    Down by several floors, to a neighbour, from the public face and to it from a program.
    """
    package = package_with(
        tmp_path,
        {
            "__init__.py": "from mixpanel_export._handler import Handler\n",
            "_clock.py": "import time\n",
            "_queue.py": "from mixpanel_export._clock import Clock\n",
            "_spool.py": "from mixpanel_export._queue import Queue\n",
            "_handler.py": "from mixpanel_export._queue import Queue\n",
            "cli/__init__.py": "from mixpanel_export.cli.demo import run\n",
            "cli/demo.py": "from mixpanel_export import Handler, emulator\n",
            "emulator/__init__.py": "from mixpanel_export.emulator import store\n",
            "emulator/store.py": "import sqlite3\n",
        },
    )

    assert faults(package) == []


def test_imports_for_types_only_are_free(tmp_path: Path) -> None:
    """
    What stands under `TYPE_CHECKING` never runs; what stands under its ``else`` does.
    """
    package = package_with(
        tmp_path,
        {
            "_queue.py": "",
            "_batch.py": "if TYPE_CHECKING:\n    from mixpanel_export._queue import Queue\n",
            "_event.py": "if not TYPE_CHECKING:\n    from mixpanel_export._queue import Queue\n",
            "_wire.py": (
                "if typing.TYPE_CHECKING:\n    Queue = object\n"
                "else:\n    from mixpanel_export._queue import Queue\n"
            ),
        },
    )

    assert faults(package) == [
        "_event, line 2, imports _queue: upwards",
        "_wire, line 4, imports _queue: upwards",
    ]


def test_a_circle_is_found(tmp_path: Path) -> None:
    """
    Neighbours may import each other, but not round in a circle; it is named once.
    """
    package = package_with(
        tmp_path,
        {
            "_values.py": "from mixpanel_export import _privacy\n",
            "_privacy.py": "from mixpanel_export import _event\n",
            "_event.py": "def late():\n    from mixpanel_export import _values\n",
            "_batch.py": "from mixpanel_export import _values\n",
        },
    )

    assert faults(package) == ["a circle: _event -> _values -> _privacy -> _event"]


def test_a_circle_inside_a_folder_is_found(tmp_path: Path) -> None:
    """
    The files of a program do not go in circles either.
    """
    package = package_with(
        tmp_path,
        {
            "cli/__init__.py": "from mixpanel_export.cli.demo import run\n",
            "cli/demo.py": "from mixpanel_export.cli import main\n",
        },
    )

    assert faults(package) == ["a circle: cli.__init__ -> cli.demo -> cli.__init__"]


def test_a_module_that_is_not_on_the_map_is_found(tmp_path: Path) -> None:
    """
    Whoever adds a module says where it belongs.
    """
    package = package_with(
        tmp_path,
        {
            "_helpers.py": "",
            "tools/__init__.py": "",
        },
    )

    assert faults(package) == ["_helpers is not on the map", "tools is not on the map"]


def test_the_emulator_stands_alone(tmp_path: Path) -> None:
    """
    It imports nothing of ours, not even from below, and only programs import it.
    """
    package = package_with(
        tmp_path,
        {
            "_limits.py": "",
            "testing.py": "from mixpanel_export.emulator import serve\n",
            "emulator/__init__.py": "from mixpanel_export._limits import MAX_EVENT_BYTES\n",
        },
    )

    assert faults(package) == [
        "testing, line 1, imports emulator.__init__: upwards",
        "emulator.__init__, line 1, imports _limits: the mirror knows nothing of ours",
    ]


def main(question: str) -> None:
    """
    Answer `tests/run`: ``modules`` or ``tests`` of the engine room, so that there is one map.
    """
    answers = {
        "modules": [f"*/{PACKAGE}/{module}.py" for module in ENGINE_ROOM],
        "tests": engine_room_tests(),
    }
    if not answers[question]:
        raise SystemExit(f"no {question} of the engine room are here")
    sys.stdout.write("".join(f"{line}\n" for line in answers[question]))


if __name__ == "__main__":
    main(*sys.argv[1:])
