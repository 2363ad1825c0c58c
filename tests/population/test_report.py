"""The report: one file without network, in three languages, whose numbers are those of the summary."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

from service.logic.knowledge import load
from service.population import report
from service.population.measure import HELD_BACK
from service.population.report.control import Subgroup, change_points, limits, subgroups
from service.population.report.figures import Bar, bars

REPORT = Path(__file__).parents[2] / "service" / "population" / "report"
_IN_QUOTES = re.compile(r'_\(\s*"((?:[^"\\]|\\.)*)"|say\(\s*"((?:[^"\\]|\\.)*)"')
_FIELDS = re.compile(r"\{(\w+)\}")


def said():
    """Every English message of the page and its code; those behind names are listed where they are named."""
    page, code = (REPORT / "page.html").read_text(), (REPORT / "__init__.py").read_text()
    listed = {
        "chart days", "new magnesium results", "orders signed", "laboratory orders", "admissions and discharges",
        "chart openings", "encounters", "inpatient-days", "orders", "critical", "low", "high", "info", "warning",
        "gained", "lost", HELD_BACK, "orders being written", "admissions", "discharges", "refills",
        *report._WARDS.values(),  # the page says them by their code
        "Chart openings with a card, %", "Chart openings with a warning, %",
        "Chart days with a card, %", "Chart days with a warning, %",
    }  # fmt: skip
    return listed | {a or b for a, b in _IN_QUOTES.findall(page + code)}


def of_rules(words):
    """Titles and results of rules; those of a new rule stay English until somebody translates them."""
    code = "".join(file.read_text() for file in (REPORT.parents[1] / "logic").rglob("*.py"))
    titles = {entry.title for entry in load().rules.values()}
    return {word for word in words if word in titles or re.search(rf"\b{word.replace(' ', '-')}\b", code)}


@pytest.mark.parametrize("language", ["ru", "fa"])
def test_every_word_of_the_report_is_translated_with_its_values(language):
    with (REPORT / "languages" / f"{language}.po").open("rb") as file:
        known = {str(m.id): str(m.string) for m in read_po(file, locale=language) if m.id}
    assert said() - known.keys() == set()
    assert known.keys() - said() - of_rules(known) == set(), "said nowhere"
    for english, words in known.items():
        assert words, english
        assert set(_FIELDS.findall(english)) == set(_FIELDS.findall(words)), english


# ---- over time -----------------------------------------------------------------------------------------------------


def test_months_are_joined_until_they_say_something():
    months = {f"2025-{m:02}": {"days": 10, "cards": m, "loud": 0} for m in range(1, 13)}
    groups = subgroups(months, "cards")
    assert [g.events for g in groups] == [30, 30, 30, 30]
    assert groups[0] == Subgroup("2025-01", 30, 6)
    assert sum(g.hits for g in groups) == sum(range(1, 13))
    assert subgroups({"2025-01": {"days": 3, "cards": 1, "loud": 0}}, "cards") == []


def test_a_change_of_the_share_is_found_where_it_is_and_not_where_none_is():
    calm = [Subgroup(str(n), 100, 20 + n % 3) for n in range(20)]
    jump = calm[:12] + [Subgroup(str(n), 100, 45) for n in range(12, 20)]
    assert change_points(calm) == []
    assert change_points(jump) == [12]
    assert change_points([]) == []


def test_limits_are_three_standard_errors_of_their_stretch():
    groups = [Subgroup("a", 100, 20), Subgroup("b", 400, 80)]
    first, second = limits(groups, [])
    assert first.mean == second.mean == 0.2
    assert first.high == pytest.approx(0.2 + 3 * (0.2 * 0.8 / 100) ** 0.5)
    assert second.low == pytest.approx(0.2 - 3 * (0.2 * 0.8 / 400) ** 0.5)


# ---- figures -------------------------------------------------------------------------------------------------------


class Strict(HTMLParser):
    """Counts what is opened and closed, and names every address."""

    def __init__(self):
        super().__init__()
        self.open, self.addresses, self.texts = [], [], []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.addresses += [value for name, value in attrs if name in {"href", "src", "action"}]

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        self.texts.append(data)


def test_what_comes_from_outside_stays_text_in_a_figure():
    drawn = bars([Bar('<script>alert("x")</script>', 'a"b', 3, 0)], "<i>")
    assert "<script>" not in drawn
    assert "<i>" not in drawn
