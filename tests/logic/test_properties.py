"""What must hold for every chart: worse is never milder, missing is never normal, a closed gate adds no treatment."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from random import Random
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from service.cds.i18n import Wording
from service.fhir.snapshot import read_snapshot
from service.logic.case import Case
from service.logic.evaluate import Assessment
from service.logic.model import (
    Analyte,
    Exposure,
    Failed,
    Finding,
    LabResult,
    MissingInputs,
    NotMet,
    PartialDateTime,
    PatientSnapshot,
    Quantity,
)
from service.logic.units import convert
from tests.vignettes.files import read
from tests.vignettes.patients import KNOW, cards, doses, highest, judged, patient, told
from tests.vignettes.wire import SITE, Json, chart, decided, resources

LANGUAGES = ("en", "ru", "fa")
T = TypeVar("T")


def often(times: int) -> Callable[[Any], Any]:
    """The same modest number of charts on every run: a failure here must not depend on luck."""
    slow = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    return settings(derandomize=True, max_examples=times, deadline=None, suppress_health_check=slow)


# ---- charts ---------------------------------------------------------------------------------------------------------

TIMES = ["-30min", "-2h", "-2h", "-5h", "-20h", "-50h", "-5d", "-20d", "-40d", "-200d", "-500d", "day -1d"]
VALUES = {
    "mg": "0.09 0.28 0.35 0.42 0.47 0.55 0.62 0.68 0.74 0.83 0.95 1.10 1.40 2.2 3.2 3.8 5.5",
    "rbc_mg": "1.2 1.5 1.8 2.4 2.9",
    "ionised_mg": "0.36 0.50 0.70",
    "urine_mg": "0.04 0.5 3 6",
    "k": "2.2 3.0 3.3 4.2 5.3 6.3",
    "ca": "1.4 1.8 2.0 2.25 2.8",
    "adjusted_ca": "1.9 2.3",
    "ionised_ca": "0.9 1.2",
    "albumin": "18 27 38 44",
    "creatinine": "30 60 85 115 150 260 600",
    "egfr": "8 22 45 75 110",
    "urine_creatinine": "1500 8000",
    "bicarbonate": "22 33",
    "qtc": "420 530",
    "phosphate": "0.5 1.1",
    "weight": "6 16 48 90",
    "height": "60 104 150 172",
    "urine_mg_24h": "6 18 60",
}
UNIT = {
    "albumin": "g/L", "creatinine": "umol/L", "urine_creatinine": "umol/L", "egfr": "mL/min", "qtc": "ms",
    "weight": "kg", "height": "cm", "urine_mg_24h": "mg/24h",
}  # fmt: skip
DRUGS = [
    "furosemide, oral, since -400d", "hydrochlorothiazide + amiloride, oral, since -30d", "omeprazole, oral",
    "omeprazole, oral, since -800d", "cisplatin, iv, stopped, until -20d", "cetuximab, iv, stopped, until -50d",
    "tacrolimus, oral, since -90d", "gentamicin, iv, since -4d", "digoxin, oral", "potassium chloride, oral, since -4d",
    "magnesium oxide, oral, 400 mg, 2/d, since -60d", "magnesium citrate, oral, since -10d",
    "magaldrate, oral, since -300d",
    "magnesium hydroxide, oral, 800 mg, 3/d", "magnesium sulfate, iv, 4 g, over 4 h, stopped, since -8h, until -4h",
    "magnesium sulfate, iv, since -3h", "magnesium sulfate, other, 5 g", "levothyroxine, oral", "empagliflozin, oral",
    "spironolactone, oral", "furosemide, oral, stopped, until -3d", "magnesium orotate, oral, 500 mg, 2/d",
    "cisplatin, iv, perhaps taken", "tacrolimus, oral, not taken",
]  # fmt: skip
CONDITIONS = [
    "torsades, since -1h", "vt, since -2h", "hemodynamic_instability, since -1h", "tetany, since -5h",
    "seizure_acute, since -1h", "seizure_acute, since -20d", "atrial_fibrillation", "long_qt", "symptomatic_hypomg",
    "symptomatic_hypermg, by text", "npo, by text", "short_bowel", "chronic_diarrhea", "alcohol", "t2dm", "dialysis",
    "dialysis, by text", "kidney_transplant", "aki, since -10h", "aki, since -9d", "preeclampsia", "eclampsia, by text",
    "pregnant", "heart_block", "myasthenia", "asthma_severe, since -1h", "migraine", "insomnia", "depression, inactive",
    "cancer", "vomiting, since -2h", "oral_intolerance",
]  # fmt: skip
ORDERS = [
    "test mg", "test k", "furosemide, oral", "omeprazole, oral", "cisplatin, iv", "gentamicin, iv", "tacrolimus, oral",
    "magnesium sulfate, iv, 2 g, over 10 min", "magnesium sulfate, iv, 10 g", "magnesium sulfate, 4 g, over 4 h",
    "magnesium sulfate, other, 5 g", "magnesium oxide, oral, 400 mg, 3/d", "magnesium citrate + pyridoxine, oral",
    "ciprofloxacin, oral", "levodopa, oral", "potassium chloride, oral", "potassium chloride, iv, not selected",
]  # fmt: skip
ODD = [
    "mg 1.9", "mg 0.6 furlong", "rbc_mg 4.2", "mg 0.5 mmol/L, no time", "mg 0.5 mmol/L, +3h", "k 3.0",
    "mg 0.4 mmol/L, status entered-in-error", "mg 0.4 mmol/L, status preliminary", "mg 0.4 mmol/L, status unknown",
    "mg <0.4 mmol/L", "mg >5 mmol/L", "mg 1.3 mmol/L, haemolysed", "mg 0.4 mmol/L, haemolysed, specimen a",
    "mg 0.7 mmol/L, flag L", "mg 2.4 mmol/L, flag N", "mg 1.6 mg/dL, range 1.8-2.6", "mg 1.4 mEq/L, range -2.1",
    "mg 0.9 mmol/L, range 0.95-", "k 6.0 mmol/L, specimen a", "ca 1.3 mmol/L, specimen a", "egfr >90 mL/min",
    "urine_mg_24h 90 mg/24h, from -26h, -2h",
]  # fmt: skip
NEWBORN = "2026-03-09"
BORN = [
    None, NEWBORN, "2026-01-02", "2025-06-01", "2018-05-05", "2010-01-01", "1996-02-29", "1970-05-05",
    "1940-12-31",
]  # fmt: skip


@dataclass(frozen=True)
class Chart:
    """The lines of a patient, before they are read."""

    labs: list[str] = field(default_factory=list)
    drugs: list[str] = field(default_factory=list)
    conditions: list[str] = field(default_factory=list)
    orders: list[str] = field(default_factory=list)
    born: str | None = "1970-05-05"
    sex: str = "female"
    setting: str = ""
    hook: str = "patient-view"
    research: bool = False

    def patient(self, *more: str, without: tuple[str, ...] = (), conditions: tuple[str, ...] = ()) -> PatientSnapshot:
        """The snapshot, with further results and conditions, and without all results of some analytes."""
        labs = [line for line in self.labs if line.split()[0] not in without]
        rest: dict[str, Any] = {"drugs": self.drugs, "orders": self.orders, "born": self.born, "sex": self.sex}
        rest |= {"setting": self.setting, "hook": self.hook, "research": self.research}
        return patient(*labs, *more, conditions=[*self.conditions, *conditions], **rest)


def results(*names: str) -> st.SearchStrategy[str]:
    """A result of one of these analytes, in its usual unit."""
    lines = [f"{name} {value} {UNIT.get(name, 'mmol/L')}" for name in names for value in VALUES[name].split()]
    return st.builds("{}, {}".format, st.sampled_from(lines), st.sampled_from(TIMES))


ALL = tuple(VALUES)
BUT_MG = tuple(name for name in VALUES if name != "mg")


def charts(
    labs: st.SearchStrategy[str] | None = None, hook: str = "patient-view", most: int = 8
) -> st.SearchStrategy[Chart]:
    """Charts of one hook; by default with every analyte."""
    found = results(*ALL, "mg", "mg", "k", "creatinine") if labs is None else labs
    return st.builds(
        Chart,
        labs=st.lists(found, max_size=most),
        drugs=st.lists(st.sampled_from(DRUGS), max_size=4, unique=True),
        conditions=st.lists(st.sampled_from(CONDITIONS), max_size=3, unique=True),
        orders=st.lists(st.sampled_from(ORDERS), max_size=3, unique=True) if hook.startswith("order") else st.just([]),
        born=st.sampled_from(BORN),
        sex=st.sampled_from(["female", "male", ""]),
        setting=st.sampled_from(["ward", "clinic", ""]),
        hook=st.just(hook),
        research=st.booleans(),
    )


HOOKS = (
    *("patient-view", "order-select", "order-sign"),
    *("encounter-start", "encounter-discharge", "medication-refill"),
)
ANY = st.one_of([charts(st.one_of(results(*ALL), st.sampled_from(ODD)), hook) for hook in HOOKS])
Print = dict[str, tuple[str, str, tuple[tuple[str, Decimal], ...], tuple[str, ...]]]


def judgement(assessment: Assessment) -> Print:
    """All that is decided, without the words and the references."""
    found: Print = {"": (assessment.gate, highest(cards(assessment)), (), ())}
    for item in assessment.judgements:
        outcome, said = item.outcome, told(item.outcome)
        found[item.rule.id] = (said, "", (), ())
        if isinstance(outcome, Finding):
            rows = tuple(sorted(proposal.dose.id for proposal in outcome.proposals))
            found[item.rule.id] = (said, outcome.indicator.value, tuple(sorted(outcome.values.items())), rows)
    return found


# ---- no chart is too odd --------------------------------------------------------------------------------------------


@given(ANY)
@often(500)
def test_every_chart_is_judged_and_told_in_every_language(given_chart: Chart) -> None:
    assessment = judged(given_chart.patient())
    assert [j.rule.id for j in assessment.judgements if isinstance(j.outcome, Failed)] == []
    assert len({j.rule.id for j in assessment.judgements}) == len(assessment.judgements)
    for language in LANGUAGES:
        for card in cards(assessment, language):
            assert 0 < len(card.body["summary"]) < 140
            assert "{" not in card.body["summary"] + card.body["detail"]


@given(ANY)
@often(300)
def test_a_card_states_findings_and_nothing_else(given_chart: Chart) -> None:
    assessment = judged(given_chart.patient())
    shown = cards(assessment)
    assert len(shown) <= 1
    for card in shown:
        stated = {item["rule"]: item["result"] for item in card.body["extension"]["org.magnesium-cds.findings"]}
        assert stated == card.stated
        found = {rule: assessment.outcome(rule) for rule in stated}
        assert {r: o.result for r, o in found.items() if isinstance(o, Finding)} == stated
        ranks = [o.indicator.rank for o in found.values() if isinstance(o, Finding)]
        assert ("info", "warning", "critical").index(card.body["indicator"]) <= max(ranks)


@given(charts(), st.randoms(use_true_random=False))
@often(120)
def test_the_sentence_of_every_finding_fits_a_summary(given_chart: Chart, random: Random) -> None:
    """Any finding may lead a card one day: a site may silence the rest."""
    assessment = judged(given_chart.patient())
    language = random.choice(LANGUAGES)
    wording = Wording(language, SITE.zone)
    said = [wording.plain(j.outcome.text) for j in assessment.judgements if isinstance(j.outcome, Finding)]
    assert [words for words in said if len(words) >= 140] == []


# ---- what changes nothing -------------------------------------------------------------------------------------------


TWO_DRIPS = Chart(hook="order-sign", orders=["magnesium sulfate, iv, 10 g", "magnesium sulfate, iv, 2 g, over 10 min"])


@given(ANY, st.randoms(use_true_random=False))
@example(TWO_DRIPS, Random(1))  # noqa: S311  not a secret
@often(240)
def test_the_order_of_a_chart_changes_nothing(given_chart: Chart, random: Random) -> None:
    snapshot = given_chart.patient()
    shuffled = replace(
        snapshot,
        labs=_shuffled(snapshot.labs, random),
        medications=_shuffled(snapshot.medications, random),
        conditions=_shuffled(snapshot.conditions, random),
        orders=_shuffled(snapshot.orders, random),
    )
    assert judgement(judged(shuffled)) == judgement(judged(snapshot))


def _shuffled(listed: Iterable[T], random: Random) -> tuple[T, ...]:
    mixed = list(listed)
    random.shuffle(mixed)
    return tuple(mixed)


@given(ANY)
@often(240)
def test_a_result_or_condition_that_stands_twice_counts_once(given_chart: Chart) -> None:
    snapshot = given_chart.patient()
    twice = replace(
        snapshot,
        labs=(*snapshot.labs, *(replace(r, reference=r.reference + "-again") for r in snapshot.labs)),
        conditions=(*snapshot.conditions, *(replace(c, reference=c.reference + "-again") for c in snapshot.conditions)),
    )
    assert judgement(judged(twice)) == judgement(judged(snapshot))


@given(ANY)
@often(160)
def test_a_medication_that_stands_twice_counts_once(given_chart: Chart) -> None:
    """The same drug, dose and dates as a request and as a statement is one treatment."""
    snapshot = given_chart.patient()
    again = tuple(replace(m, reference=m.reference + "-again") for m in snapshot.medications)
    assert judgement(judged(replace(snapshot, medications=(*snapshot.medications, *again)))) == judgement(
        judged(snapshot)
    )


WIRED = [vignette for vignette in read() if vignette.wire]


def _other(kind: str, system: str, code: str, whose: str = "p", **more: Any) -> Json:
    """A resource that says nothing about this patient's magnesium."""
    member = "medicationCodeableConcept" if kind == "MedicationStatement" else "code"
    body = {"resourceType": kind, "id": f"x-{code}-{whose}", "subject": {"reference": f"Patient/{whose}"}}
    return body | {member: {"coding": [{"system": system, "code": code}]}, "status": "active"} | more


def _result(code: str, value: float, unit: str, whose: str = "p") -> Json:
    measured = {"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit}
    times = {"status": "final", "effectiveDateTime": "2026-03-10T09:30:00Z"}
    return _other("Observation", "http://loinc.org", code, whose, valueQuantity=measured, **times)


ICD, ATC = "http://hl7.org/fhir/sid/icd-10", "http://www.whocc.no/atc"
STRANGERS = [
    _result("2951-2", 128, "mmol/L"),  # sodium
    _result("718-7", 9.1, "g/dL"),  # haemoglobin
    _result("21377-7", 0.2, "mmol/L"),  # magnesium in whole blood
    _result("2601-3", 0.2, "mmol/L", "somebody-else"),
    _result("2823-3", 2.1, "mmol/L", "somebody-else"),
    _other("Condition", ICD, "M19.9"),  # arthrosis
    _other("Condition", ICD, "Z99.2", "somebody-else"),
    _other("MedicationStatement", ATC, "N02BE01"),  # paracetamol
    _other("MedicationStatement", ATC, "C03CA01", "somebody-else"),
    {"resourceType": "Immunization", "id": "x9", "status": "completed", "patient": {"reference": "Patient/p"}},
    {"resourceType": "Patient", "id": "somebody-else", "gender": "male", "birthDate": "2020-01-01"},
]


@given(st.sampled_from(WIRED), st.lists(st.sampled_from(STRANGERS), min_size=1, unique_by=lambda item: item["id"]))
@often(160)
def test_what_is_unrelated_or_somebody_elses_changes_nothing(vignette: Any, strangers: list[Json]) -> None:
    alone, beside = decided(vignette.patient), decided(vignette.patient, extra=strangers)
    assert judgement(beside.assessment) == judgement(alone.assessment)
    assert [card.stated for card in beside.cards] == [card.stated for card in alone.cards]


@given(st.sampled_from(WIRED), st.randoms(use_true_random=False))
@often(120)
def test_the_order_of_a_bundle_and_a_resource_sent_twice_change_nothing(vignette: Any, random: Random) -> None:
    listed = resources(vignette.patient)
    again = [*listed, *random.sample(listed, k=random.randint(1, len(listed)))]
    random.shuffle(again)
    first, second = (_read_from(vignette.patient, items) for items in (listed, again))
    assert judgement(judged(second)) == judgement(judged(first))


def _read_from(snapshot: PatientSnapshot, items: list[Json]) -> PatientSnapshot:
    site = replace(SITE, profile=snapshot.profile, research=snapshot.research)
    return read_snapshot(chart(snapshot, items), site)


# ---- units ----------------------------------------------------------------------------------------------------------

# How much of the other unit is 1 of the usual one: molar masses 24.305 and 40.078, creatinine 88.4.
_MG = {"mg/dL": Decimal("2.4305"), "mg/L": Decimal("24.305"), "meq/L": Decimal(2)}
_CA = {"mg/dL": Decimal("4.0078"), "meq/L": Decimal(2)}
OTHER_UNITS = {
    Analyte.SERUM_MAGNESIUM: _MG,
    Analyte.RBC_MAGNESIUM: _MG,
    Analyte.IONISED_MAGNESIUM: _MG,
    Analyte.URINE_MAGNESIUM: _MG,
    Analyte.CALCIUM: _CA,
    Analyte.ADJUSTED_CALCIUM: _CA,
    Analyte.POTASSIUM: {"meq/L": Decimal(1)},
    Analyte.ALBUMIN: {"g/dL": Decimal("0.1")},
    Analyte.CREATININE: {"mg/dL": 1 / Decimal("88.4"), "mg/L": 10 / Decimal("88.4")},
    Analyte.URINE_CREATININE: {"mg/dL": 1 / Decimal("88.4")},
}


def _rewritten(result: LabResult, random: Random) -> LabResult:
    units = OTHER_UNITS.get(result.analyte)
    if not units or result.value is None:
        return result
    unit = random.choice(sorted(units))
    number = (result.value * units[unit]).quantize(Decimal("0.000001"))
    return replace(result, reported=Quantity(number, unit), value=convert(number, unit, result.analyte))


def _hulls() -> Iterator[tuple[Decimal, Decimal]]:
    """Each limit of serum magnesium with what the published units make of it, and 2 % around, in mmol/L."""
    factors = {"mmol/L": Decimal(1), "mg/dL": Decimal("2.4305"), "meq/L": Decimal(2)}
    names = [
        n for n in KNOW.parameters if re.match(r"mg-(severe|moderate|optimum|high|eclampsia)|transplant|ckd-mg", n)
    ]
    rows = [KNOW.parameters[name].values for name in names]
    rows += [{u: ends[i] for u, ends in band.interval.items()} for band in KNOW.profiles["default"] for i in (0, 1)]
    for row in rows:
        mmol = [value / factors[unit] for unit, value in row.items()]
        first = mmol[0] if len(mmol) == 1 else None
        ends = [*mmol, (first * Decimal("2.4305")).quantize(Decimal("0.1")) / Decimal("2.4305")] if first else mmol
        yield min(ends) * Decimal("0.98"), max(ends) * Decimal("1.02")


HULLS = list(_hulls())
FAR = [
    f"mg {value} mmol/L"
    for value in (Decimal(n) / 100 for n in range(10, 700, 3))
    if not any(low < value < high for low, high in HULLS)
]


@given(charts(results(*BUT_MG)), st.sampled_from(FAR), st.randoms(use_true_random=False))
@often(300)
def test_the_unit_of_a_result_changes_nothing_away_from_the_limits(given_chart: Chart, mg: str, random: Random) -> None:
    snapshot = given_chart.patient(mg)
    rewritten = replace(snapshot, labs=tuple(_rewritten(result, random) for result in snapshot.labs))
    before, after = judgement(judged(snapshot)), judgement(judged(rewritten))
    scaled = {"R-012"}  # CTCAE's two scales are not equal (C-07)
    for rule in before.keys() - scaled:
        assert after[rule][:2] == before[rule][:2], rule
        for (name, one), (_, other) in zip(before[rule][2], after[rule][2], strict=True):
            assert abs(one - other) <= max(Decimal("0.01"), one / 100), name


def test_there_are_values_away_from_the_limits_in_every_class() -> None:
    values = [Decimal(line.split()[1]) for line in FAR]
    for low, high in ((0, "0.39"), ("0.42", "0.48"), ("0.52", "0.68"), ("0.72", "0.78"), ("1.1", "1.4"), ("2.1", 3)):
        assert any(Decimal(low) < value < Decimal(high) for value in values)


# ---- worse is never milder ------------------------------------------------------------------------------------------

SEVERITY = ["", "mild", "moderate", "severe"]
TIER = ["", "protocol-range", "mild", "moderate", "severe", "life-threatening"]
MG_UNITS = {"mmol/L": Decimal(1), "mg/dL": Decimal("2.4305"), "mg/L": Decimal("24.305"), "mEq/L": Decimal(2)}


def _pair(most: int) -> st.SearchStrategy[tuple[Decimal, Decimal]]:
    """Two magnesium values in hundredths of mmol/L, the lower first."""
    number = st.integers(min_value=5, max_value=most).map(lambda n: Decimal(n) / 100)
    return st.tuples(number, number).map(lambda two: (min(two), max(two)))


def _line(mmol: Decimal, unit: str) -> str:
    return f"mg {(mmol * MG_UNITS[unit]).quantize(Decimal('0.001'))} {unit}"


def _rank(assessment: Assessment, rule: str, scale: list[str]) -> tuple[int, int]:
    outcome = assessment.outcome(rule)
    return (scale.index(outcome.result), outcome.indicator.rank) if isinstance(outcome, Finding) else (0, -1)


@given(charts(results(*BUT_MG)), _pair(120), st.sampled_from(list(MG_UNITS)))
@often(400)
def test_a_lower_magnesium_is_never_milder(given_chart: Chart, pair: tuple[Decimal, Decimal], unit: str) -> None:
    lower, higher = (judged(given_chart.patient(_line(value, unit))) for value in pair)
    worse, better = (_rank(assessment, "R-011", SEVERITY) for assessment in (lower, higher))
    assert worse[0] >= better[0]
    assert worse[1] >= better[1]
    if better[0]:
        order = ("none", "info", "warning", "critical")
        assert order.index(highest(cards(lower))) >= order.index(highest(cards(higher)))


@given(charts(results(*BUT_MG)), _pair(800), st.sampled_from(list(MG_UNITS)))
@often(400)
def test_a_higher_magnesium_is_never_milder(given_chart: Chart, pair: tuple[Decimal, Decimal], unit: str) -> None:
    lower, higher = (_rank(judged(given_chart.patient(_line(v, unit))), "R-014", TIER) for v in pair)
    assert higher[0] >= lower[0]
    assert higher[1] >= lower[1]


# ---- what is missing ------------------------------------------------------------------------------------------------

# What a missing input may open, by the catalogue: the route that is left when no reason for the vein is known, the rows
# that are written for an unknown kidney or age, and what the guards of can no longer see.
_UNKNOWN_KIDNEY = {name for name, dose in KNOW.doses.items() if "unknown" in dose.kidney}
_LOWS = {"route-oral", "oral", "route-iv", "route-urgent", "correct-with", *(n for n in KNOW.doses if n[:2] == "iv")}
_LOWS |= {"child", "child-urgent", "kidney-severe-symptoms", "kidney-severe-oral", "migraine-oral"}
OPENS = {
    "mg": set(),
    "rbc_mg": set(),
    "creatinine": _UNKNOWN_KIDNEY,
    "urine_mg": set(),
    "weight": set(),
    "height": _UNKNOWN_KIDNEY,
    "bicarbonate": set(),
    "qtc": set(),
    "k": _LOWS,
    "ca": _LOWS,
    "albumin": _LOWS,
    "ionised_mg": _LOWS,
}  # fmt: skip
ALSO = {"ca": ("ca", "adjusted_ca", "ionised_ca"), "creatinine": ("creatinine", "egfr")}
# Rules that say of a value that it is in order.
CALLS_NORMAL = {"R-010": "normal", "R-015": "normal", "R-020": "normal", "R-033": "load-normal", "R-090": "complete"}


def _called_normal(assessment: Assessment) -> set[str]:
    return {rule for rule, word in CALLS_NORMAL.items() if told(assessment.outcome(rule)) == word}


@pytest.mark.parametrize("missing", OPENS)
@given(given_chart=charts(most=10))
@often(80)
def test_a_missing_result_is_never_called_normal_and_opens_nothing(missing: str, given_chart: Chart) -> None:
    whole = judged(given_chart.patient())
    without = judged(given_chart.patient(without=ALSO.get(missing, (missing,))))
    assert _called_normal(without) <= _called_normal(whole)
    assert set(doses(without)) - set(doses(whole)) <= OPENS[missing]
    if (
        missing == "creatinine"
        and not {"dialysis", "pregnant"} & _tags(given_chart)
        and "aki" not in _tags(given_chart)
    ):
        assert without.gate == "unknown"


def _tags(given_chart: Chart) -> set[str]:
    tags = {line.split(", ")[0] for line in given_chart.conditions}
    return tags | ({"pregnant"} if tags & {"preeclampsia", "eclampsia"} else set())


@given(charts())
@example(Chart(labs=["mg 0.95 mmol/L, -2h"], born="2018-05-05"))  # seven years old: high
@often(200)
def test_without_a_birth_date_nothing_becomes_normal(given_chart: Chart) -> None:
    assume(
        given_chart.born != NEWBORN
    )  # has no range at all; an unknown age is not taken for the first two days of life
    whole, without = judged(given_chart.patient()), judged(replace(given_chart, born=None).patient())
    assert _called_normal(without) <= _called_normal(whole)


@given(charts())
@often(200)
def test_without_a_birth_date_no_amount_is_given(given_chart: Chart) -> None:
    assessment = judged(replace(given_chart, born=None).patient())
    assert [name for name in doses(assessment) if KNOW.doses[name].amount is not None] == []


@given(charts())
@often(200)
def test_without_any_magnesium_nothing_is_graded_or_treated(given_chart: Chart) -> None:
    assessment = judged(given_chart.patient(without=("mg",)))
    for rule in ("R-010", "R-011", "R-012", "R-013", "R-014", "R-021", "R-040", "R-043", "R-070", "R-080", "R-081"):
        assert isinstance(assessment.outcome(rule), MissingInputs | NotMet) or rule in {"R-080", "R-081"}, rule
    assert _usual(assessment) == set()


@given(charts(), st.sampled_from(["magnesium", "creatinine", "medicationRequests", "conditions"]))
@often(120)
def test_what_could_not_be_read_is_said_on_every_card(given_chart: Chart, key: str) -> None:
    snapshot = replace(given_chart.patient(), unavailable={key: "timed out"})
    for card in cards(judged(snapshot)):
        assert "Could not be read" in card.body["detail"]


# ---- gates ----------------------------------------------------------------------------------------------------------

CLOSERS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "dialysis": ((), ("dialysis",)),
    "dialysis by text": ((), ("dialysis, by text",)),
    "acute kidney injury": ((), ("aki, since -2h",)),
    "creatinine 260": (("creatinine 260 umol/L, -0h",), ()),
    "creatinine 900": (("creatinine 900 umol/L, -0h",), ()),
}
KIDNEY_ROWS = {"kidney-severe-symptoms", "kidney-severe-oral", "kidney-failure-symptoms", "child-urgent-closed"}


@pytest.mark.parametrize("closer", CLOSERS)
@given(given_chart=st.one_of(charts(), charts(hook="order-sign")))
@example(given_chart=Chart(labs=["mg 0.35 mmol/L, -2h", "egfr 22 mL/min, -5h"], born=None))
@often(120)
def test_a_closed_gate_never_adds_a_treatment(closer: str, given_chart: Chart) -> None:
    labs, conditions = CLOSERS[closer]
    before, after = judged(given_chart.patient()), judged(given_chart.patient(*labs, conditions=conditions))
    added = _usual(after) - _usual(before)
    assert added <= (KIDNEY_ROWS if after.gate in {"severe", "unstable", "failure"} else set())
    words = " ".join(card.body["detail"] for card in cards(after))
    for text in _amounts(before) - _amounts(after):
        assert text not in words


def _usual(assessment: Assessment) -> set[str]:
    """The dose rows that are proposed, without the first bolus in torsades."""
    return {name for name in doses(assessment) if not KNOW.doses[name].first_bolus}


def _amounts(assessment: Assessment) -> set[str]:
    """The dose sentences that stand in an assessment."""
    found = [j.outcome for j in assessment.judgements if isinstance(j.outcome, Finding)]
    proposals = [p for finding in found for p in finding.proposals if p.dose.amount is not None]
    return {Wording("en", SITE.zone).markdown(proposal.text) for proposal in proposals}


SPOILT = {
    "haemolysed, in range": ("mg 0.85 mmol/L, -0h, haemolysed",),
    "haemolysed, high": ("mg 1.40 mmol/L, -0h, haemolysed",),
    "EDTA": ("mg 0.35 mmol/L, -0h", "k 6.5 mmol/L, -0h", "ca 1.3 mmol/L, -0h"),
    "without unit": ("mg 1.1, -0h",),
    "contradictory": ("mg 0.40 mmol/L, -0h", "mg 0.95 mmol/L, -20min"),
    "stale": ("mg 0.40 mmol/L, -45d",),
    "high": ("mg 1.60 mmol/L, -0h",),
    "protein-related": ("mg 0.60 mmol/L, -0h", "ionised_mg 0.50 mmol/L, -0h"),
}


@pytest.mark.parametrize("spoilt", SPOILT)
@given(given_chart=st.one_of([charts(results(*BUT_MG), hook) for hook in HOOKS]))
@often(60)
def test_nothing_is_proposed_on_a_value_that_must_not_be_treated(spoilt: str, given_chart: Chart) -> None:
    """But for the first bolus in torsades, which waits for no value (decisions 26 and 27)."""
    snapshot = given_chart.patient(*SPOILT[spoilt])
    assume(spoilt != "protein-related" or Case(snapshot, KNOW).pseudo)  # decision 27: no guard in an emergency
    assessment = judged(snapshot)
    assert _usual(assessment) == set()


@given(ANY)
@often(400)
def test_every_proposal_is_written_for_this_patient(given_chart: Chart) -> None:
    snapshot = given_chart.patient()
    assessment = judged(snapshot)
    rows = [KNOW.doses[name] for name in doses(assessment)]
    assert all(row.first_bolus or Case(snapshot, KNOW).dose_gate in row.kidney for row in rows)
    if given_chart.born is None:
        assert all("unknown" in row.ages for row in rows)
    elif given_chart.born > "2008-03-10":
        assert all("child" in row.ages for row in rows)
    if "pregnant" in _tags(given_chart):
        assert all(row.pregnancy for row in rows)


# ---- time -----------------------------------------------------------------------------------------------------------

FADING = ("R-004", "R-011", "R-015", "R-020", "R-030", "R-041", "R-042", "R-044")


@given(charts(), st.lists(st.integers(min_value=1, max_value=24 * 200), min_size=1, max_size=6, unique=True))
@often(120)
def test_what_has_grown_old_does_not_become_current_again(given_chart: Chart, hours: list[int]) -> None:
    snapshot = given_chart.patient()
    late = [judged(replace(snapshot, as_of=snapshot.as_of + timedelta(hours=h))) for h in sorted(hours)]
    for rule in FADING:
        lacking = [isinstance(assessment.outcome(rule), MissingInputs) for assessment in (judged(snapshot), *late)]
        assert lacking == sorted(lacking), rule


@given(charts())
@often(120)
def test_a_stopped_drug_is_not_taken_for_an_active_one(given_chart: Chart) -> None:
    """Long after everything was stopped no drug explains, feeds or threatens anything any more."""
    snapshot = given_chart.patient()
    long_ago = [replace(m, exposure=Exposure.ENDED, start=None, end=_years_ago(snapshot)) for m in snapshot.medications]
    none = replace(snapshot, medications=())
    assert judgement(judged(replace(snapshot, medications=tuple(long_ago)))) == judgement(judged(none))


def _years_ago(snapshot: PatientSnapshot) -> Any:
    moment = snapshot.as_of - timedelta(days=1000)
    return PartialDateTime(moment, moment)
