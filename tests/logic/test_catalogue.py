"""The catalogue as data agrees with the code, with its own tables, and with the statements of the sources."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from service.logic import knowledge
from service.logic.case import Case
from service.logic.knowledge import Knowledge, RuleEntry, load
from service.logic.model import (
    Analyte,
    Condition,
    Exposure,
    Hook,
    Ingredient,
    LabResult,
    Medication,
    Order,
    PartialDateTime,
    PatientSnapshot,
    Quantity,
    Schedule,
)
from service.logic.rules import RULES
from service.logic.rules.rule import Rule
from service.logic.units import canonical, convert

ROOT = Path(__file__).parents[2]
STATEMENTS = ROOT / "../shared/clinical/statements.csv"
KNOW = load()
ENTRIES = KNOW.rules.values()

# Parameters that no rule decides by: the reader of observations drops an impossible value before any rule sees it.
READ_ONLY = {
    "rbc-mg-plausible",
    "k-plausible",
    "ca-plausible",
    "ionised-ca-plausible",
    "creatinine-plausible",
    "albumin-plausible",
    "bicarbonate-plausible",
    "qtc-plausible",
    "weight-plausible",
    "height-plausible",
}


# ---- rules.toml against the code and its own tables --------------------------------------------------------------


def test_every_rule_has_a_row_and_every_row_a_rule_in_the_same_order() -> None:
    assert list(KNOW.rules) == [rule.id for rule in RULES]


def test_every_parameter_is_named_by_a_rule_or_belongs_to_the_reader() -> None:
    named = {name for entry in ENTRIES for name in entry.parameters}
    assert KNOW.parameters.keys() - named == READ_ONLY
    assert {f"dose:{dose}" for dose in KNOW.doses} <= named
    assert {"profile", "interactions"} <= named


def test_every_reference_is_cited_and_has_a_short_label() -> None:
    assert KNOW.references.keys() - set(_cited()) == set()
    assert [r.id for r in KNOW.references.values() if not 0 < len(r.label) <= 25] == []
    labels = [r.label for r in KNOW.references.values()]
    assert len(set(labels)) == len(labels)


def _cited() -> Iterator[str]:
    for table in (KNOW.parameters, KNOW.doses, KNOW.rules):
        yield from (citation.source for row in table.values() for citation in row.citations)
    yield from (band.citation.source for bands in KNOW.profiles.values() for band in bands)
    yield from (citation.source for row in KNOW.interactions for citation in row.citations)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.id)
def test_a_row_is_short_complete_and_says_nothing_twice(entry: RuleEntry) -> None:
    assert 0 < len(entry.title) <= 60
    assert entry.question.endswith("?")
    assert entry.inputs
    assert entry.condition.endswith(".")
    assert len(set(entry.parameters)) == len(entry.parameters)
    assert len(set(entry.statements)) == len(entry.statements)


def test_titles_are_unique() -> None:
    titles = [entry.title for entry in ENTRIES]
    assert len(set(titles)) == len(titles)


_ROW: dict[str, Any] = {
    "title": "t",
    "question": "q?",
    "inputs": ["serum magnesium"],
    "condition": "c.",
    "parameters": [],
    "cite": [["engineering", "place"]],
}


def test_a_misspelt_key_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"R-999 has unknown keys: limit$"):
        knowledge._rule("R-999", {**_ROW, "limit": "misspelt"})


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({}, []),
        ({"parameters": ["mg-severe", "dose:oral", "profile", "interactions"]}, []),
        ({"parameters": ["mg-sever"]}, ["R-999 names no parameter mg-sever"]),
        ({"parameters": ["dose:mg-severe"]}, ["R-999 names no parameter dose:mg-severe"]),
        ({"cite": [["nobody-1999", "p. 1"]]}, ["R-999 cites no reference nobody-1999"]),
        ({"cite": []}, ["R-999 cites nothing"]),
    ],
)
def test_what_a_row_names_must_exist(change: dict[str, Any], problem: list[str]) -> None:
    entry = knowledge._rule("R-999", {**_ROW, **change})
    assert list(knowledge._unknown_names(entry, KNOW)) == problem


# ---- docs/statements.md ------------------------------------------------------------------------------------------


def _page() -> tuple[dict[str, str], set[str]]:
    """The table (statement -> its last column) and the ids of the list below it."""
    table, rest = (ROOT / "docs/statements.md").read_text(encoding="utf-8").split("## Statements that no chart answers")
    rows = re.findall(r"^\| (S\d-\d{3}) \| [a-z0-9-]+ \| [^|]+ \| ([^|]+) \|$", table, re.MULTILINE)
    assert len(rows) == len(dict(rows)) == len(re.findall(r"^\| S\d", table, re.MULTILINE))
    return dict(rows), set(re.findall(r"S\d-\d{3}", rest))


def test_the_page_and_the_rules_name_each_other() -> None:
    table, rest = _page()
    said = {key: set(re.findall(r"R-\d{3}", "" if why.startswith("none: ") else why)) for key, why in table.items()}
    resting = {key: {e.id for e in ENTRIES if key in e.statements} for key in table}
    assert said == resting
    assert {name for entry in ENTRIES for name in entry.statements} <= table.keys() | rest


def test_a_statement_without_a_rule_has_a_reason() -> None:
    table, _ = _page()
    bare = [key for key, why in table.items() if not re.fullmatch(r"none: \S.{9,}|R-\d{3}(, R-\d{3})*", why)]
    assert bare == []


def test_every_statement_of_the_sources_is_on_the_page() -> None:
    if not STATEMENTS.exists():
        pytest.skip("the table of statements is not beside the project")
    with STATEMENTS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    computable = {row["id"] for row in rows if not row["computable_from_fhir"].startswith("not computed")}
    table, rest = _page()
    assert table.keys() == computable
    assert rest == {row["id"] for row in rows} - computable
    rules = {rule.id for rule in RULES}
    assert {name for why in table.values() for name in re.findall(r"R-\d{3}", why)} <= rules


# ---- a rule reads only what its row, or a reading shared by many rules, names ---------------------------------------

NOW = datetime(2026, 6, 15, 10, tzinfo=UTC)
MG, K, CA, CREATININE = Analyte.SERUM_MAGNESIUM, Analyte.POTASSIUM, Analyte.CALCIUM, Analyte.CREATININE

# Behind "magnesium is current, reliable and low", "potassium is low", "the kidney gate is closed" and the like.
SHARED = {
    "profile",
    "mg-current-inpatient",
    "mg-current-ambulatory",
    "mg-contradiction",
    "mg-contradiction-share",
    "mg-contradiction-minutes",
    "mg-severe",
    "mg-moderate",
    "k-edta",
    "k-low",
    "k-high",
    "ca-low",
    "ionised-ca-low",
    "albumin-low",
    "ionised-mg-range",
    "pair-inpatient",
    "pair-ambulatory",
    "creatinine-current-inpatient",
    "creatinine-current-ambulatory",
    "egfr-normal",
    "egfr-reduced",
    "egfr-severe",
    "aki-rise",
    "aki-rise-window",
    "aki-ratio",
    "aki-ratio-window",
    "child-height-window",
    "pregnancy-creatinine",
    "child-age",
    "acute-window",
    "platinum-exposure",
    "egfr-exposure",
    "drug-exposure",
    "iv-mg-recent",
    "mg-eclampsia-ceiling",
    # Behind "is being treated", "is news", "is an emergency", "protein alone does not explain it".
    "aki-window",
    "aki-doubled",
    "aki-refute-window",
    "schwartz-age",
    "once-order",
    "calcium-albumin-window",
    "ca-very-low",
    "ionised-ca-very-low",
    "ca-high",
    "phosphate-low",
    "mg-trend-window",
    "mg-fall",
    "k-very-low",
    "mg-marginal",
    "oral-new-inpatient",
    "oral-new-ambulatory",
    "scale-window",
    "dose-row",
    "treatment-holds-inpatient",
    "treatment-holds-ambulatory",
    "after-iv",
    "qtc-long",
    "newborn-age",
    "mg-high-moderate",
    "mg-high-severe",
}
# Rules that ask another rule: they read what that one reads.
ASKED = {
    "R-045": {"R-032"},
    "R-065": {"R-021"},
    "R-076": {"R-032"},
    "R-077": {"R-033"},
    "R-080": {"R-014"},
    "R-081": {"R-014"},
    "R-090": {"R-005", "R-041", "R-044", "R-054", "R-060"},
    "R-092": {"R-014"},
}
# Stated on the card, read by the reader of observations, or not looked up by name: beyond this test.
STATED = {
    "mg-plausible",
    "mg-range-impossible",
    "oral-supplement-limit",
    "iv-pregnancy-days",
    "iv-rate",
    "interactions",  # a tuple, not a table
}


class _Recorded(dict[str, Any]):
    """A table that notes every row that is looked up."""

    def __init__(self, table: Any, name: str, seen: set[str]) -> None:
        super().__init__(table)
        self.name, self.seen = name, seen

    def __getitem__(self, key: str) -> Any:
        self.seen.add(self.name.format(key))
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.seen.add(self.name.format(key))
        return super().get(key, default)


def _recording() -> tuple[Knowledge, set[str]]:
    seen: set[str] = set()
    known = replace(
        KNOW,
        parameters=_Recorded(KNOW.parameters, "{}", seen),
        doses=_Recorded(KNOW.doses, "dose:{}", seen),
        profiles=_Recorded(KNOW.profiles, "profile", seen),
    )
    return known, seen


def _when(hours: float) -> PartialDateTime:
    moment = NOW - timedelta(hours=hours)
    return PartialDateTime(moment, moment)


def _lab(analyte: Analyte, value: str, unit: str = "", hours: float = 2, **rest: Any) -> LabResult:
    number, unit = Decimal(value), unit or canonical(analyte)
    return LabResult(
        f"Observation/{analyte.name}-{hours}",
        analyte,
        Quantity(number, unit),
        convert(number, unit, analyte),
        _when(hours),
        **rest,
    )


def _drug(name: str, kind: str, days: float = 400, ended: float | None = None, **rest: Any) -> Medication:
    return Medication(
        reference=f"MedicationStatement/{name}",
        name=name,
        ingredients=(Ingredient(name, kind, Decimal(4000)),),
        recognised_by="code",
        exposure=Exposure.ACTIVE if ended is None else Exposure.ENDED,
        start=_when(days * 24),
        end=None if ended is None else _when(ended),
        **rest,
    )


def _patient(*labs: LabResult, tags: str = "", born: int = 1950, newborn: bool = False, **rest: Any) -> PatientSnapshot:
    birth = PartialDateTime(datetime(born, 1, 1, tzinfo=UTC), datetime(born, 1, 1, 23, tzinfo=UTC))
    return PatientSnapshot(
        "Patient/p",
        NOW,
        birth=_when(30) if newborn else birth,
        sex="female",
        labs=labs,
        conditions=tuple(
            Condition(f"Condition/{tag}", frozenset({tag}), tag, active=True, onset=_when(3)) for tag in tags.split()
        ),
        **rest,
    )


WASTING = (
    _drug("furosemide", "loop_diuretic"),
    _drug("omeprazole", "ppi"),
    _drug("cisplatin", "platinum", ended=480),
    _drug("cetuximab", "anti_egfr_mab", ended=480),
    _drug("tacrolimus", "calcineurin_inhibitor"),
    _drug("gentamicin", "aminoglycoside"),
)
OXIDE = _drug("magnesium oxide", "mg_preparation", route="oral", doses_per_day=Decimal(2))
SULFATE = _drug("magnesium sulfate", "mg_preparation", days=1, ended=1, route="iv", duration_min=Decimal(60))
SALTS = tuple(
    _drug(f"magnesium {salt[5:]}", "mg_preparation", route="oral", doses_per_day=Decimal(1))
    for salt in KNOW.parameters
    if salt.startswith("salt-")
)
FLAT = (_lab(CREATININE, "70"), _lab(Analyte.ALBUMIN, "42"))
URINE = (_lab(Analyte.URINE_MAGNESIUM, "3"), _lab(Analyte.URINE_CREATININE, "4000"))
LOAD = replace(_lab(Analyte.URINE_MAGNESIUM_24H, "240", hours=0.5), collected_from=_when(25).start)

PATIENTS = {
    "nothing on file": _patient(),
    "an antacid": _patient(medications=(_drug("magaldrate", "mg_containing_antacid"),)),
    "stale magnesium": _patient(_lab(MG, "0.6", hours=24 * 200), medications=WASTING),
    "two results of one hour": _patient(_lab(MG, "0.6"), _lab(MG, "0.9", hours=2.5)),
    "low, everything else low, wasting drugs": _patient(
        _lab(MG, "0.55"),
        _lab(K, "3.0"),
        _lab(CA, "1.9"),
        _lab(Analyte.IONISED_CALCIUM, "1.0"),
        *FLAT,
        *URINE,
        _lab(Analyte.QTC, "510"),
        _lab(Analyte.BICARBONATE, "33"),
        medications=(*WASTING, OXIDE),
        tags="atrial_fibrillation alcohol t2dm kidney_transplant",
    ),
    "low and alkalotic, nothing taken": _patient(
        _lab(MG, "0.55"), _lab(K, "3.0"), _lab(Analyte.BICARBONATE, "33"), _lab(CA, "2.3"), *FLAT, *URINE
    ),
    "low without a cause": _patient(_lab(MG, "0.6"), _lab(K, "4.0"), *FLAT),
    "low on oral magnesium": _patient(_lab(MG, "0.6"), _lab(K, "4.0"), *FLAT, *URINE, medications=(OXIDE,)),
    "low and high potassium and low calcium": _patient(_lab(MG, "0.6"), _lab(K, "6.0"), _lab(CA, "1.5"), *FLAT),
    "moderate, long QTc": _patient(_lab(MG, "0.45"), _lab(K, "4.0"), *FLAT, _lab(Analyte.QTC, "510")),
    "low, little in urine": _patient(_lab(MG, "0.6"), *FLAT, _lab(Analyte.URINE_MAGNESIUM, "0.2"), URINE[1]),
    "new PPI, digoxin": _patient(
        _lab(MG, "0.6"),
        medications=(_drug("omeprazole", "ppi", days=120), _drug("digoxin", "cardiac_glycoside")),
    ),
    "diuretic alone": _patient(medications=WASTING[:1]),
    "severe inpatient": _patient(_lab(MG, "0.38"), _lab(K, "3.0"), *FLAT, inpatient=True),
    "torsades": _patient(_lab(MG, "0.38"), *FLAT, tags="torsades", inpatient=True),
    "ventricular tachycardia": _patient(_lab(MG, "0.38"), *FLAT, tags="vt", inpatient=True),
    "tetany": _patient(_lab(MG, "0.38"), *FLAT, tags="tetany", inpatient=True),
    "severe with failing kidneys": _patient(_lab(MG, "0.38"), _lab(CREATININE, "220"), medications=(OXIDE,)),
    "tetany with failing kidneys": _patient(_lab(MG, "0.38"), _lab(CREATININE, "220"), tags="tetany"),
    "collection": _patient(_lab(MG, "0.6"), *FLAT, _lab(Analyte.URINE_MAGNESIUM_24H, "18")),
    "loading test": _patient(
        _lab(MG, "0.75"), *FLAT, LOAD, medications=(replace(SULFATE, end=_when(24)),), tags="t2dm"
    ),
    "latent deficiency": _patient(_lab(MG, "0.78"), _lab(Analyte.RBC_MAGNESIUM, "1.4"), *FLAT, tags="migraine"),
    "normal, migraine, ionised": _patient(_lab(MG, "0.85"), _lab(Analyte.IONISED_MAGNESIUM, "0.4"), tags="migraine"),
    "low protein": _patient(
        _lab(MG, "0.66"), _lab(CA, "2.0"), _lab(Analyte.ALBUMIN, "22"), _lab(Analyte.IONISED_MAGNESIUM, "0.5")
    ),
    "high on dialysis": _patient(_lab(MG, "1.3"), tags="dialysis", medications=(OXIDE,)),
    "high and symptomatic": _patient(
        _lab(MG, "2.4"), _lab(CREATININE, "220"), tags="symptomatic_hypermg", medications=(OXIDE,)
    ),
    "haemolysed high": _patient(_lab(MG, "1.4", haemolysed=True), _lab(CREATININE, "220"), medications=(OXIDE,)),
    "eclampsia protocol": _patient(
        _lab(MG, "2.9"), *FLAT, tags="eclampsia", born=1998, medications=(replace(SULFATE, exposure=Exposure.ACTIVE),)
    ),
    "all salts": _patient(_lab(MG, "0.6"), *FLAT, medications=SALTS),
    "reduced kidneys, product, no level": _patient(_lab(CREATININE, "110"), medications=(OXIDE,)),
    "kidney disease, research": _patient(_lab(MG, "0.75"), _lab(CREATININE, "150"), research=True),
    "seizing child": _patient(_lab(MG, "0.55"), _lab(Analyte.WEIGHT, "16"), tags="seizure_acute", born=2020),
    "child, severe": _patient(
        _lab(MG, "0.35"), _lab(Analyte.WEIGHT, "16"), _lab(CREATININE, "30"), _lab(Analyte.HEIGHT, "104"), born=2020
    ),
    "infant": _patient(_lab(MG, "0.3"), _lab(CA, "1.5"), born=2025),
    "unstable, not severe": _patient(_lab(MG, "0.6"), *FLAT, tags="vt", inpatient=True),
    "refeeding": _patient(_lab(MG, "0.8", hours=20), tags="refeeding", inpatient=True),
    "child in torsades": _patient(_lab(MG, "0.55"), _lab(Analyte.WEIGHT, "16"), tags="torsades", born=2020),
    "seizing child, closed gate": _patient(
        _lab(MG, "0.35"),
        _lab(Analyte.WEIGHT, "16"),
        _lab(CREATININE, "110"),
        _lab(CREATININE, "50", hours=30),
        tags="seizure_acute",
        born=2020,
    ),
    "failing and in tetany": _patient(_lab(MG, "0.35"), _lab(CREATININE, "600"), tags="tetany"),
    "low in pregnancy": _patient(_lab(MG, "0.65"), *FLAT, tags="pregnant", born=1998),
    "marginal in hospital": _patient(_lab(MG, "0.68"), *FLAT, inpatient=True),
    "newborn, low": _patient(_lab(MG, "0.45"), tags="jitteriness", newborn=True),
    "newborn, high": _patient(_lab(MG, "2.6"), newborn=True),
    "high again": _patient(_lab(MG, "1.2"), _lab(MG, "1.05", hours=30), _lab(MG, "1.1", hours=50), *FLAT),
    "scale, not given": _patient(
        _lab(MG, "0.6"),
        *FLAT,
        medications=(replace(SULFATE, schedule=Schedule.SCALE, exposure=Exposure.ACTIVE),),
        inpatient=True,
    ),
    "dose a day ago": _patient(medications=(replace(SULFATE, start=_when(32), end=_when(30)),), inpatient=True),
    "dose a day ago, closed": _patient(
        _lab(CREATININE, "250"), medications=(replace(SULFATE, start=_when(32), end=_when(30)),), inpatient=True
    ),
    "new digoxin, nothing measured": _patient(medications=(_drug("digoxin", "cardiac_glycoside", days=2),)),
    "torsades again": _patient(_lab(MG, "0.8"), *FLAT, tags="torsades", medications=(SULFATE,)),
    "new fibrillation": _patient(_lab(MG, "0.8"), *FLAT, tags="atrial_fibrillation"),
    "falling kidney function": _patient(_lab(MG, "0.6"), _lab(CREATININE, "120"), _lab(CREATININE, "80", hours=40)),
}
ORDERS = {
    "tests": (Order("ServiceRequest/mg", test=MG),),
    "blood": (Order("ServiceRequest/cbc", draws_blood=True),),
    "potassium alone": (Order("MedicationRequest/k", medication=_drug("potassium", "potassium_salt")),),
    "drugs": tuple(
        Order(drug.reference, medication=drug)
        for drug in (*WASTING, *SALTS, SULFATE, _drug("levothyroxine", "hormone"), _drug("potassium", "potassium_salt"))
    ),
}


def _situations(rule: Rule) -> Iterator[PatientSnapshot]:
    """The patients above on every hook on which the rule may speak, order hooks with orders."""
    for patient in PATIENTS.values():
        for hook in (rule.hooks & rule.asked_on) - {Hook.ORDER_SELECT, Hook.ORDER_SIGN}:
            yield replace(patient, hook=hook)
        for hook in (rule.hooks & rule.asked_on) & {Hook.ORDER_SELECT, Hook.ORDER_SIGN}:
            yield from (replace(patient, hook=hook, orders=orders) for orders in ORDERS.values())


def _reads(rule: Rule) -> set[str]:
    """Every parameter, dose and profile that the rule looked up for any of the patients."""
    known, seen = _recording()
    for patient in _situations(rule):
        rule.evaluate(Case(patient, known))
    return seen


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_reads_what_its_row_names_and_names_what_it_reads(rule: Rule) -> None:
    named = set(KNOW.rules[rule.id].parameters)
    asked = {name for other in ASKED.get(rule.id, ()) for name in KNOW.rules[other].parameters}
    read = _reads(rule)
    assert read - SHARED - asked - named == set()
    assert named - SHARED - STATED - read == set()
