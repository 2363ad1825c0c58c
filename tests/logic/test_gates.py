"""The gates are structural: no dose reaches a card past its row, whoever proposes it; these tests try to break that."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from service.logic.case import Case
from service.logic.evaluate import Assessment, evaluate
from service.logic.gates import closed_gate
from service.logic.message import Message
from service.logic.model import Finding, Indicator, PatientSnapshot, Proposal, Withheld
from service.logic.rules import RULES
from service.logic.rules.rule import Answer, Rule
from tests.vignettes.patients import KNOW, cards, doses, patient

ROWS: dict[str, dict[str, Any]] = tomllib.loads(
    files("service.logic.knowledge").joinpath("doses.toml").read_text(encoding="utf-8")
)
BOLUS = {name: row for name, row in ROWS.items() if row.get("first_bolus")}
USUAL = {name: row for name, row in ROWS.items() if name not in BOLUS}
GATES = ("normal", "reduced", "severe", "failure", "unstable", "unknown")
AGES = {"adult": "1980-01-01", "child": "2018-01-01", "unknown": None}
EGFR = {"normal": "90", "reduced": "45", "severe": "20", "failure": "10"}
PREGNANT = {"normal": ["creatinine 60 umol/L"], "severe": ["creatinine 120 umol/L"]}


def _patient(gate: str, age: str, pregnant: bool) -> PatientSnapshot:
    """A patient with a reliably low magnesium in this state of the gates."""
    conditions = ["pregnant"] * pregnant
    labs = PREGNANT.get(gate, []) if pregnant else [f"egfr {EGFR[gate]} mL/min"] if gate in EGFR else []
    if gate == "unstable":
        conditions.append("aki, since -5h")
    if gate == "failure" and pregnant:
        conditions.append("dialysis")
    return patient("mg 0.35 mmol/L", *labs, conditions=conditions, born=AGES[age], setting="ward")


# Pregnancy has no eGFR, so no reduced gate; a pregnant child or somebody of unknown age may well be sent.
STATES = [
    (gate, age, pregnant)
    for gate, age, pregnant in product(GATES, AGES, (False, True))
    if not (pregnant and gate == "reduced")
]


# ---- every row against every state ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("gate", "age", "pregnant"), STATES)
def test_a_row_is_open_exactly_for_whom_it_is_written(gate: str, age: str, pregnant: bool) -> None:
    case = Case(_patient(gate, age, pregnant), KNOW)
    assert (case.gate, case.age_group, case.pregnant) == (gate, age, pregnant)
    dialysis = gate == "failure" and pregnant
    written = {name for name, row in USUAL.items() if gate in row["kidney"] and age in row["ages"] and not dialysis}
    written = {name for name in written if ROWS[name]["pregnancy"] or not pregnant}
    assert {name for name in ROWS if closed_gate(case, KNOW.doses[name]) is None} == written


def test_in_kidney_failure_only_emergencies_have_a_row_and_none_with_an_amount_where_the_age_is_unknown() -> None:
    failing = [name for name, row in USUAL.items() if "failure" in row["kidney"]]
    assert failing == ["child-urgent-closed", "kidney-failure-symptoms"]  # decisions 26 and 28
    assert [name for name, row in ROWS.items() if "amount" in row and "unknown" in row["ages"]] == []


def test_a_row_for_adults_is_not_a_row_for_children_and_a_closed_gate_has_rows_of_its_own() -> None:
    amounts = {name: row for name, row in ROWS.items() if "amount" in row}
    assert [name for name, row in amounts.items() if len(row["ages"]) > 1] == []
    both = [name for name, row in amounts.items() if {"severe", "normal"} <= set(row["kidney"])]
    assert both == list(BOLUS)


# ---- the first bolus in torsades: one rule for every gate, level and protein (decisions 26 and 27) -------------------

LEVELS = {
    "not measured": (),
    "low": ("mg 0.45 mmol/L",),
    "in range": ("mg 0.85 mmol/L",),
    "protein-related": ("mg 0.64 mmol/L", "albumin 20 g/L"),
    "without unit": ("mg 1.1",),
    "haemolysed": ("mg 1.40 mmol/L, haemolysed",),
    "just below the limit": ("mg 2.99 mmol/L",),
}


@pytest.mark.parametrize("kidney", [*EGFR, "dialysis", "aki", "unknown"])
@pytest.mark.parametrize("labs", LEVELS.values(), ids=LEVELS)
@pytest.mark.parametrize("age", ["adult", "child"])
def test_the_first_bolus_in_torsades_is_open_for_every_gate_and_level(
    labs: tuple[str, ...], kidney: str, age: str
) -> None:
    known = [f"egfr {EGFR[kidney]} mL/min"] if kidney in EGFR else []
    conditions = ["torsades, since -1h", *([kidney] if kidney in {"dialysis", "aki"} else [])]
    case = Case(patient(*labs, *known, conditions=conditions, born=AGES[age], setting="ward"), KNOW)
    open_rows = {name for name in BOLUS if closed_gate(case, KNOW.doses[name]) is None}
    assert open_rows == {"iv-torsades" if age == "adult" else "child-torsades"}


@pytest.mark.parametrize(
    ("labs", "conditions"),
    [
        (("mg 3.0 mmol/L",), ["torsades, since -1h"]),
        (("mg 7.3 mg/dL",), ["torsades, since -1h"]),
        (("mg 0.45 mmol/L",), ["torsades, since -1h", "areflexia, since -1h"]),
        (("mg 0.45 mmol/L",), ["torsades, since -1h", "respiratory_depression, since -1h"]),
        (("mg 0.45 mmol/L",), ["vt, since -1h"]),
        (("mg 0.35 mmol/L",), ["torsades, since -80h"]),
        (("mg 0.45 mmol/L",), []),
    ],
)
def test_toxicity_and_other_rhythms_keep_the_first_bolus_closed(labs: tuple[str, ...], conditions: list[str]) -> None:
    case = Case(patient(*labs, conditions=conditions, born=AGES["adult"], setting="ward"), KNOW)
    assert closed_gate(case, KNOW.doses["iv-torsades"]) == "magnesium-high"


LOW = "mg 0.45 mmol/L"
UNUSABLE = {
    "no magnesium": ((), "unusable-value"),
    "without unit": (("mg 1.1",), "unusable-value"),
    "unit unknown": (("mg 1.1 furlong",), "unusable-value"),
    "newer one without unit": ((LOW, "mg 1.1, -1h"), "unusable-value"),
    "contradictory": ((LOW, "mg 0.85 mmol/L, -90min"), "unusable-value"),
    "stale": (("mg 0.45 mmol/L, -40d",), "unusable-value"),
    "without time": (("mg 0.45 mmol/L, no time",), "unusable-value"),
    "in the future": (("mg 0.45 mmol/L, +2h",), "unusable-value"),
    "entered in error": (("mg 0.45 mmol/L, status entered-in-error",), "unusable-value"),
    "preliminary": (("mg 0.45 mmol/L, status preliminary",), "unusable-value"),
    "haemolysed, in range": (("mg 0.85 mmol/L, haemolysed",), "unusable-value"),
    "haemolysed, high": (("mg 1.40 mmol/L, haemolysed",), "unusable-value"),
    "EDTA": ((LOW, "k 6.5 mmol/L", "ca 1.3 mmol/L"), "unusable-value"),
    "high": (("mg 1.40 mmol/L",), "magnesium-high"),
    "protein-related": (("mg 0.64 mmol/L", "albumin 20 g/L"), "pseudo-hypomagnesaemia"),
    "ionised normal": (("mg 0.60 mmol/L", "ionised_mg 0.50 mmol/L"), "pseudo-hypomagnesaemia"),
}


@pytest.mark.parametrize("row", USUAL)
@pytest.mark.parametrize(("labs", "gate"), UNUSABLE.values(), ids=UNUSABLE)
def test_no_row_is_open_on_a_value_that_must_not_be_treated(row: str, labs: tuple[str, ...], gate: str) -> None:
    age = "child" if ROWS[row]["ages"] == ["child"] else "adult"
    kidney = next(state for state in EGFR if state in ROWS[row]["kidney"])
    suitable = patient(*labs, f"egfr {EGFR[kidney]} mL/min", born=AGES[age], setting="ward")
    assert closed_gate(Case(suitable, KNOW), KNOW.doses[row]) == gate
    low = patient(LOW, f"egfr {EGFR[kidney]} mL/min", born=AGES[age], setting="ward")
    assert closed_gate(Case(low, KNOW), KNOW.doses[row]) is None, "the patient must suit the row"


# ---- a rule that proposes everything to everybody -------------------------------------------------------------------


def _everything(case: Case) -> Answer:
    proposals = tuple(
        Proposal(dose, Message("Give {row}.", row=f"row:{dose.id}.")) for dose in case.knowledge.doses.values()
    )
    return Finding("everything", Indicator.WARNING, Message("Everything is proposed."), proposals=proposals)


ROGUE = Rule("R-021", "rogue", _everything, priority=1)
INNOCENT = tuple(rule for rule in RULES if rule.id in {"R-002", "R-010"})  # the writer of cards asks for these


def _said(assessment: Assessment) -> set[str]:
    words = " ".join(f"{card.body['summary']}. {card.body['detail']}" for card in cards(assessment))
    return set(re.findall(r"row:([\w-]+?)\.", words, re.IGNORECASE))


@pytest.mark.parametrize(("gate", "age", "pregnant"), STATES)
def test_a_careless_rule_gets_no_closed_row_onto_a_card(gate: str, age: str, pregnant: bool) -> None:
    person = _patient(gate, age, pregnant)
    assessment = evaluate(person, KNOW, (*INNOCENT, ROGUE))
    opened = {name for name in ROWS if closed_gate(Case(person, KNOW), KNOW.doses[name]) is None}
    assert set(doses(assessment)) == opened
    assert _said(assessment) == opened


@pytest.mark.parametrize(("labs", "_gate"), UNUSABLE.values(), ids=UNUSABLE)
def test_a_careless_rule_gets_no_row_onto_a_card_from_an_unusable_value(labs: tuple[str, ...], _gate: str) -> None:
    assessment = evaluate(patient(*labs, "egfr 90 mL/min"), KNOW, (*INNOCENT, ROGUE))
    assert list(doses(assessment)) == []
    assert _said(assessment) == set()


@pytest.mark.parametrize("row", ROWS)
def test_a_careless_treatment_falls_with_its_row(row: str) -> None:
    def ask(case: Case) -> Answer:
        text = Message("row:{row}.", row=row)
        return Finding(row, Indicator.CRITICAL, text, proposals=(Proposal(case.knowledge.doses[row], text),))

    careless = replace(ROGUE, evaluate=ask, treatment=True)
    for person in (_patient(*state) for state in STATES):
        assessment = evaluate(person, KNOW, (*INNOCENT, careless))
        stands = closed_gate(Case(person, KNOW), KNOW.doses[row]) is None
        assert isinstance(assessment.outcome("R-021"), Finding if stands else Withheld)
        assert _said(assessment) == ({row} if stands else set())


# ---- where a proposal may be written at all -------------------------------------------------------------------------

SERVICE = Path(__file__).parents[2] / "service"
# The rules that speak of amounts. Elsewhere a proposal may only say that magnesium is corrected along.
WITH_AMOUNTS = {"treatment.py", "erythrocyte.py", "conditions.py"}
WITHOUT_AMOUNT = "correct-with"


def _calls(path: Path, name: str) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        called = node.func if isinstance(node, ast.Call) else None
        if isinstance(node, ast.Call) and name in {getattr(called, "id", ""), getattr(called, "attr", "")}:
            yield node


def test_only_rules_write_proposals_and_only_treatments_with_an_amount() -> None:
    for path in SERVICE.rglob("*.py"):
        for call in _calls(path, "Proposal"):
            assert SERVICE / "logic/rules" in path.parents, path
            if path.name not in WITH_AMOUNTS:
                assert ast.unparse(call.args[0]) == f"case.knowledge.doses['{WITHOUT_AMOUNT}']", path
    assert "amount" not in ROWS[WITHOUT_AMOUNT]


def test_nothing_between_the_rules_and_the_card_looks_up_a_dose() -> None:
    for folder in ("cds", "fhir", "api"):
        for path in (SERVICE / folder).rglob("*.py"):
            if path.parent.name == "pages":  # show the knowledge itself, of no patient
                continue
            reads = [n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if getattr(n, "attr", "") == "doses"]
            assert reads == [], path


def test_every_rule_with_a_dose_for_its_sentence_is_marked_as_a_treatment() -> None:
    for gate, age, pregnant in STATES:
        for judgement in evaluate(_patient(gate, age, pregnant), KNOW).judgements:
            if isinstance(judgement.outcome, Finding) and not judgement.rule.treatment:
                said = judgement.outcome.text
                assert all(proposal.text != said for proposal in judgement.outcome.proposals), judgement.rule.id


# Sentences outside treatment.py that hold grams or milligrams, and why they need no gate.
NO_PROPOSAL = {
    "In trials: 600 mg/day": "inside a proposal",
    "Supplements up to {limit} mg/day unless": "an upper limit for supplements in pregnancy",
    "Calcium gluconate 1 to 3 g": "the antidote",
    "above {high} mg is wasting": "urine",
    "24-hour urine magnesium {value} mg": "urine",
    "removes about 486, 306 or 56 mg": "what a session removes",
    "at most 4 g over 4 to 12 h": "an upper limit for what somebody else ordered",
    "Over 4 g although": "what somebody else ordered",
    "Ordered: {mg} mg": "what somebody else ordered",
    "{mg} mg elemental regular": "what is taken",
    "Up to {mg} mg elemental/day": "what is taken",
    "Ordered: at least {mg} mg": "what somebody else ordered",
    "{grams} g in 24 h exceeds": "what somebody else ordered",
    "{mg} mg elemental/day exceeds": "what somebody else ordered",
    "Child: {dose} mg/kg": "what somebody else ordered",
}
_MASS = re.compile(r"[\d}] ?(?:g|mg)\b(?!/dL|/L|/min)")


def test_a_mass_stands_in_no_other_sentence_of_the_rules() -> None:
    for path in (SERVICE / "logic/rules").glob("*.py"):
        for call in _calls(path, "Message"):
            words = call.args[0].value if call.args and isinstance(call.args[0], ast.Constant) else ""
            quoted = words == "{grams} g"  # a dose that the chart states, not one of ours
            if path.name != "treatment.py" and not quoted and isinstance(words, str) and _MASS.search(words):
                assert any(known in words for known in NO_PROPOSAL), f"{path.name}: {words}"
