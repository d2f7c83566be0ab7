"""
Each statement about Mixpanel's API has a test that is named by its number, or a reason.

Tables of cases, and the tests that take more than one request, are in ``test_conformance_*.py``.
"""

from __future__ import annotations

import ast
import importlib
import re
from functools import cache
from pathlib import Path

import pytest

from mixpanel_export.emulator._rules import RULES
from tests.emulator.api import Run
from tests.emulator.cases import Case, shown
from tests.emulator.statements import STATEMENTS, UNMET

HERE = Path(__file__).parent


def numbers(name: str) -> set[int]:
    """
    Return the statements in a name: ``test_c34_…``, ``test_c118_c121_…``, ``test_c55_to_c60_…``.
    """
    named = re.match(r"test((?:_to)?_c\d+)+(?=_)", name)
    found = re.findall(r"(_to)?_c(\d+)", named[0]) if named else []
    stated: set[int] = set()
    last = 0
    for to, number in found:
        stated |= set(range(last if to else int(number), int(number) + 1))
        last = int(number)
    return stated


def functions() -> dict[str, set[int]]:
    """
    Return the statements of all tests of the emulator that are functions of their own.
    """
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in HERE.glob("test_*.py")]
    nodes = [node for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)]
    return {node.name: numbers(node.name) for node in nodes}


def cases() -> list[Case]:
    """
    Return the cases of all tables.
    """
    names = [path.stem for path in HERE.glob("test_conformance_*.py")]
    tables = [importlib.import_module(f"tests.emulator.{name}").CASES for name in names]
    return [case for table in tables for case in table]


@cache
def statements_with_tests() -> set[int]:
    """
    Return the statements that have a test.
    """
    in_tables = {int(case.id.partition("-")[0][1:]) for case in cases()}
    return in_tables.union(*functions().values())


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.id)
def test_answer(running: Run, case: Case) -> None:
    """
    The statement's request is answered as Mixpanel answers, and stores what Mixpanel stores.
    """
    api = running(*case.options)

    response = case.send(api)

    assert response.status_code == case.status
    assert shown(response, case.answer) == case.answer
    assert api.emulator.stats()["imported"] == case.imported


def test_names_are_read_as_they_are_meant() -> None:
    """
    One number, several, a range; and numbers that are none of ours.
    """
    assert numbers("test_c34_a_repeated_batch") == {34}
    assert numbers("test_c118_c121_what_does_not_fit") == {118, 121}
    assert numbers("test_c55_to_c60_failures") == {55, 56, 57, 58, 59, 60}
    assert numbers("test_a_c34_in_the_middle") == set()


def test_the_list_is_complete() -> None:
    """
    The statements are numbered without a gap.
    """
    assert list(STATEMENTS) == list(range(1, 128))


def test_every_statement_is_tested_or_has_a_reason() -> None:
    """
    Not both, and nothing else is tested under a number.
    """
    assert statements_with_tests() | UNMET.keys() == STATEMENTS.keys()
    assert not statements_with_tests() & UNMET.keys()
    assert len(statements_with_tests()) >= 120


def test_every_rule_is_stated() -> None:
    """
    Each row of the rules fulfils a statement that is tested.
    """
    for rule in RULES:
        assert set(rule.statements) <= statements_with_tests(), rule.message


def test_no_case_is_hidden_by_another() -> None:
    """
    A name belongs to one case.
    """
    names = [case.id for case in cases()]

    assert sorted(names) == sorted(set(names))
