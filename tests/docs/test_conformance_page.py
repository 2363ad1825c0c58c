"""docs/conformance.md: every test that it names exists, and no row of the checklist is left out."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8")
CHECKLIST = ROOT / "../shared/cds-hooks/conformance.md"
STATUSES = {"met", "met by default, can be changed", "declined"}
ID = r"[A-Z]{1,2}-\d\d"
ROWS = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if re.match(rf"\| {ID} \|", line)]
NAMED = sorted(set(re.findall(r"`(\w[\w/]*\.py)::(test_\w+)`", PAGE)))


@cache
def names_in(file: str) -> set[str]:
    """The names of the tests in a file below tests/."""
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_the_page_names_tests() -> None:
    assert len(NAMED) > 100
    assert PAGE.count("::") == len(re.findall(r"`\w[\w/]*\.py::test_\w+`", PAGE)), "something else looks like a test"


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_every_test_that_the_page_names_exists(file: str, test: str) -> None:
    assert test in names_in(file)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_says_how_it_stands_and_why_that_is_so(row: list[str]) -> None:
    _, asks, status, why = row
    assert 0 < len(asks.split()) <= 12
    assert status in STATUSES
    assert "::" in why or status == "declined"


def test_every_row_stands_once() -> None:
    ids = [row[0] for row in ROWS]
    assert len(set(ids)) == len(ids) > 100


@pytest.mark.skipif(not CHECKLIST.is_file(), reason=f"{CHECKLIST.name} is not here: the rows were NOT compared with it")
def test_every_row_of_the_checklist_is_on_the_page() -> None:
    asked = set(re.findall(rf"^\| ({ID}) \|", CHECKLIST.read_text(encoding="utf-8"), re.MULTILINE))
    assert asked == {row[0] for row in ROWS}
