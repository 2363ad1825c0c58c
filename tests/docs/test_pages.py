"""The documentation says what the service does: generated pages are current, links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from service.cds.catalogue import SERVICES
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
