"""The documentation says what the service does: generated pages are current, links lead somewhere."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import click
import msgspec
import pytest
from markdown_it import MarkdownIt

from service.__main__ import main
from service.cds.services import SERVICES
from service.logic.knowledge import load
from service.logic.rules import RULES
from service.terminology.queries import PREFETCH_KEYS, template
from tools import rule_examples
from tools.clinical_page import PAGE, render

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/**/*.md")])


def test_the_clinical_page_is_what_the_knowledge_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), "run `make docs`"


def test_the_examples_of_a_rule_are_what_the_vignettes_say() -> None:
    assert rule_examples.PAGE_DATA.read_bytes() == rule_examples.render(), "run `make docs`"
    assert all(any(one["result"] for one in rule) for rule in msgspec.json.decode(rule_examples.render()).values())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_of_a_page_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_the_prefetch_table_is_what_discovery_advertises() -> None:
    """Read as GitHub renders it: a bar inside a cell ends the cell unless it is escaped."""
    page = (ROOT / "docs" / "integrating.md").read_text(encoding="utf-8")
    rows = {cells[0]: cells[1] for cells in table_rows(page) if cells[0] in PREFETCH_KEYS}
    assert rows == {key: template(key) for key in PREFETCH_KEYS}
    assert set(PREFETCH_KEYS) >= {key for service in SERVICES for key in service.prefetch}
    assert [service.id for service in SERVICES if f"/cds-services/{service.id}`" not in page] == []


def table_rows(page: str) -> list[list[str]]:
    """The cells of each row of each table, as plain text."""
    rows: list[list[str]] = []
    for before, token in pairwise(MarkdownIt("commonmark").enable("table").parse(page)):
        if token.type == "tr_open":
            rows.append([])
        if before.type in {"td_open", "th_open"}:
            rows[-1].append("".join(child.content for child in token.children or ()))
    return rows


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_bar_inside_code_splits_a_cell_of_a_table(page: Path) -> None:
    """It leaves half a code span on each side, so a backtick as text."""
    broken = [row for row in table_rows(page.read_text(encoding="utf-8")) if any("`" in cell for cell in row)]
    assert broken == []


def test_every_command_is_documented() -> None:
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    groups = [n for n, command in main.commands.items() if isinstance(command, click.Group)]
    names = [*(n for n in main.commands if n not in groups)]
    names += [f"{n} {each}" for n in groups for each in main.commands[n].commands]  # type: ignore[attr-defined]
    assert [name for name in names if f"`{name}" not in page and f"magnesium-cds {name}" not in page] == []


def test_every_status_of_the_contract_is_explained() -> None:
    page = (ROOT / "docs" / "rest.md").read_text(encoding="utf-8")
    contract = (ROOT / "openapi.yaml").read_text(encoding="utf-8")
    statuses = set(re.findall(r'^ +"([45]\d\d)":', contract, flags=re.MULTILINE))
    assert statuses
    assert [status for status in sorted(statuses) if not re.search(rf"^\|.*\b{status}\b", page, re.MULTILINE)] == []


def test_every_rule_and_parameter_is_on_the_clinical_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    knowledge = load()
    assert [rule.id for rule in RULES if rule.id not in page] == []
    assert [name for name in knowledge.parameters if f"`{name}`" not in page] == []
