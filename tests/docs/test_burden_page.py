"""docs/burden.md is of this knowledge, and its command is one that the command line knows."""

import re
from pathlib import Path

import msgspec
import pytest

from service.logic.knowledge import VERSION
from service.logic.rules import RULES
from tools.burden_page import FIGURES

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def page():
    return (DOCS / "burden.md").read_text()


def test_the_figures_are_not_older_than_the_knowledge(page):
    said = re.search(r"Knowledge ([\w.]+)\.\n", page)
    assert said
    assert said[1] == VERSION, "python -m tools.burden_page EXPORT_DIR writes it anew (two minutes)"


def test_nothing_failed_while_they_were_counted(page):
    assert "Failed:" not in page


@pytest.mark.parametrize(
    "part", ["Open Database License", "10.13026/c2f9-3y63", "What these figures are not", "magnesium-cds backtest"]
)
def test_the_page_says_whence_and_what_not(page, part):
    assert part in page


def test_its_site_file_is_a_site_file(run):
    done = run("rules", "--site", DOCS / "examples" / "mimic-iv-demo.toml")
    assert done.exit_code == 0, done.output


def test_the_pages_of_the_rules_state_the_same_run(page):
    figures = msgspec.json.decode(FIGURES.read_bytes())
    assert figures["knowledge"] == VERSION
    assert f"{figures['patients']} patients" in page
    assert f"{figures['events']} moments" in page
    assert figures["rules"].keys() <= {rule.id for rule in RULES}
