"""The documentation says what the service does: generated pages are current, links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from service.__main__ import main
from service.cds.services import SERVICES
from service.logic.knowledge import load
from service.logic.rules import RULES
from tools.clinical_page import PAGE, render

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/**/*.md")])


def test_the_clinical_page_is_what_the_knowledge_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_of_a_page_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_the_prefetch_table_is_what_discovery_advertises() -> None:
    page = (ROOT / "docs" / "integrating.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \|$", page, flags=re.MULTILINE))
    assert all(rows == dict(service.prefetch) for service in SERVICES)
    assert [service.id for service in SERVICES if f"/cds-services/{service.id}`" not in page] == []


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
