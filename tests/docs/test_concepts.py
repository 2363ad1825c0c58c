"""docs/concepts.md has a section for every layer of the case, and docs/architecture.md a row for every part."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from service.logic.case import Case
from service.logic.knowledge import load

ROOT = Path(__file__).parents[2]
CONCEPTS = (ROOT / "docs" / "concepts.md").read_text("utf-8")
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text("utf-8")


def test_every_layer_of_the_case_is_told_in_the_order_in_which_they_stand() -> None:
    layers = [layer.__module__.rpartition(".")[2] for layer in reversed(Case.__mro__[1:-1])]
    assert re.findall(r"^## .+ \(`(\w+)\.py`\)$", CONCEPTS, re.MULTILINE) == layers


def test_every_number_that_the_page_names_is_one_of_the_knowledge() -> None:
    parameters = load().parameters
    ids = re.findall(r"`([a-z]+(?:-[a-z]+)+)(-…)?`", CONCEPTS)
    assert len(ids) > 5
    assert [name for name, more in ids if not more and name not in parameters] == []
    assert [name for name, more in ids if more and not any(key.startswith(name) for key in parameters)] == []


def test_every_part_of_the_service_has_a_row_and_every_row_a_part() -> None:
    parts = {
        p.name + "/" * p.is_dir() for p in (ROOT / "service").iterdir() if not p.name.startswith(("__init__", "__py"))
    }
    table = ARCHITECTURE.partition("| part |")[2].partition("\n\n")[0]
    named = {
        name for row in table.splitlines() for name in re.findall(r"`([\w/.]+)`", row.split("|")[1:2][0] if row else "")
    }
    assert {name for name in named if name.count("/") == name.endswith("/")} == parts
    assert [name for name in named if not (ROOT / "service" / name).exists()] == []


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md", "docs/extending.md"])
def test_the_concepts_are_linked(page: str) -> None:
    assert "concepts.md)" in (ROOT / page).read_text("utf-8")
