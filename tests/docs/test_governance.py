"""The paper for a hospital: written from rules, guards and tests; what it names exists, and what rules read it says."""

from __future__ import annotations

import ast
import importlib
import tomllib
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest

from service.fhir import resources
from service.governance.attributes import NEVER_READ, source_attributes
from service.governance.document import document, style_hash
from service.governance.paper import ENGINEERING, SECTIONS, TO_BE_ASSIGNED, Installation, hazards, may_be_critical
from service.logic.case import Case
from service.logic.evaluate import evaluate
from service.logic.gates import closed_for
from service.logic.knowledge import load
from service.logic.model import Finding, Indicator, PatientSnapshot
from service.logic.rules import RULES
from service.logic.rules.rule import Rule
from service.terminology.conditions import TAGS
from tests.vignettes.files import read
from tools.governance_page import FOLDER, render

TESTS = Path(__file__).parents[1]
KNOW = load()
VIGNETTES = [vignette for vignette in read() if vignette.direct]
every_hazard = pytest.mark.parametrize("hazard", hazards(), ids=lambda row: row["id"])


@pytest.mark.parametrize(("name", "page"), render().items(), ids=lambda value: value[:20])
def test_the_pages_are_what_rules_guards_and_tests_say(name: str, page: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == page, "python -m tools.governance_page"


# ---- the hazard log -------------------------------------------------------------------------------------------------


@cache
def names_in(file: str) -> set[str]:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@cache
def cases_in(group: str) -> set[str]:
    path = TESTS / "vignettes" / f"{group}.toml"
    return {case["title"] for case in tomllib.loads(path.read_text(encoding="utf-8"))["case"]}


@every_hazard
def test_a_hazard_has_all_fields_of_the_form(hazard: dict) -> None:
    assert hazard.keys() - {"cases"} == {"id", "hazard", "effect", "causes", "guards", "tests", "residual"}
    assert all(hazard.values())


@every_hazard
def test_every_guard_is_in_the_code(hazard: dict) -> None:
    for guard in hazard["guards"]:
        module, _, name = guard.partition(":")
        found: object = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)


@every_hazard
def test_every_test_and_case_exists(hazard: dict) -> None:
    for test in hazard["tests"]:
        file, _, name = test.partition("::")
        assert name in names_in(file), test
    for case in hazard.get("cases", ()):
        group, _, title = case.partition(": ")
        assert title in cases_in(group), case


def test_hazards_are_numbered_and_no_risk_is_invented() -> None:
    assert [row["id"] for row in hazards()] == [f"H-{n:02}" for n in range(1, len(hazards()) + 1)]
    log = render()["hazard-log.md"]
    assert log.count(f"| initial severity, likelihood, risk | {TO_BE_ASSIGNED} |") == len(hazards())
    assert log.count(f"| residual severity, likelihood, acceptability | {TO_BE_ASSIGNED} |") == len(hazards())


# ---- device status --------------------------------------------------------------------------------------------------


def test_every_rule_that_is_ever_critical_is_named_as_one() -> None:
    seen = {
        judged.rule.id
        for vignette in VIGNETTES
        for judged in evaluate(vignette.patient, KNOW).judgements
        if isinstance(judged.outcome, Finding) and judged.outcome.indicator is Indicator.CRITICAL
    }
    assert seen == may_be_critical(), "service/governance/statements.toml names them"


def test_the_mode_of_the_site_stands_beside_each_rule() -> None:
    site = Installation(KNOW, lambda rule: "reference" if rule == "R-081" else "on")
    device = SECTIONS[1].markdown(site)
    assert "Changed by this site: R-081 reference." in device
    assert "**in doubt: time-critical** | reference |" in device


# ---- source attributes ----------------------------------------------------------------------------------------------


class Watched(PatientSnapshot):
    """A patient of whom it is noted what is looked at."""

    def __getattribute__(self, name: str) -> object:
        if name in {"birth", "sex"}:
            LOOKED_AT.add(name)
        return super().__getattribute__(name)


LOOKED_AT: set[str] = set()
WATCHED = [Watched(**{f.name: getattr(v.patient, f.name) for f in fields(PatientSnapshot)}) for v in VIGNETTES]


def read_of_a_person(rule: Rule) -> set[str]:
    """Whether a rule, with its gates, looks at birth or sex in any vignette."""
    LOOKED_AT.clear()
    for patient in WATCHED:
        case = Case(patient, KNOW)
        answer = rule.evaluate(case)
        if isinstance(answer, Finding):
            closed_for(case, answer)
    return set(LOOKED_AT)


def test_what_rules_read_of_a_person_is_stated() -> None:
    named = {"birth": "dateOfBirth", "sex": "sex"}
    unstated = [
        (rule.id, what)
        for rule in RULES
        for what in sorted(read_of_a_person(rule))
        if not source_attributes(rule.id, KNOW)["use"][named[what]]["used"]
    ]
    assert unstated == []


def test_what_is_never_read_is_not_even_decoded() -> None:
    assert set(resources.Patient.__struct_fields__) - set(resources.Resource.__struct_fields__) == {
        "birthDate",
        "gender",
    }
    social = {"race", "ethnicity", "language", "homeless", "housing", "food_insecurity", "employment"}
    assert not social & set(TAGS)
    use = source_attributes("R-011", KNOW)["use"]
    assert [use[name] for name in NEVER_READ] == [{"used": False}] * len(NEVER_READ)


def test_a_site_that_changes_a_limit_is_named_as_having_done_so() -> None:
    changed = KNOW.with_values({"mg-moderate": KNOW.value("mg-moderate")})
    assert source_attributes("R-011", changed)["release"]["changedBySite"] == ["mg-moderate"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_every_rule_has_all_thirteen_attributes(rule) -> None:
    told = source_attributes(rule.id, KNOW)
    assert len(told["use"]) + len(told.keys() - {"rule", "regulation", "use"}) == 13
    assert told["bibliographicCitation"]


# ---- approval sheet -------------------------------------------------------------------------------------------------


def test_every_engineering_choice_is_on_the_sheet() -> None:
    sheet = render()["approval-sheet.md"]
    tables = (KNOW.parameters.values(), KNOW.doses.values())
    chosen = [row.id for table in tables for row in table if ENGINEERING in {c.source for c in row.citations}]
    assert len(chosen) > 90
    assert [name for name in chosen if f"| `{name}`: " not in sheet] == []
    rules = [entry.id for entry in KNOW.rules.values() if ENGINEERING in {c.source for c in entry.citations}]
    assert [name for name in rules if f"| {name} " not in sheet] == []


def test_every_choice_of_a_number_has_a_reason_and_not_only_a_kind() -> None:
    said = {p.id: c.at for p in KNOW.parameters.values() for c in p.citations if c.source == ENGINEERING}
    assert {name: at for name, at in said.items() if len(at.split()) < 2} == {}


# ---- the printable file ---------------------------------------------------------------------------------------------


def test_the_file_stands_alone() -> None:
    page = document(Installation(KNOW))
    assert [page.count(f'<section id="{section.id}">') for section in SECTIONS] == [1] * len(SECTIONS)
    assert "<script" not in page
    assert "@media print" in page
    assert ' src="' not in page
    assert 'rel="stylesheet"' not in page
    assert style_hash().startswith("sha256-")
