"""Every condition and class of drugs that a rule goes by does by itself what the rule says; its neighbours do not."""

from __future__ import annotations

import pytest

from service.logic.model import PatientSnapshot
from tests.vignettes.patients import patient, said_by, urgency

LOW, MODERATE, NORMAL, HIGH = (f"mg {value} mmol/L" for value in ("0.60", "0.45", "0.74", "2.4"))
KIDNEY = "creatinine 70 umol/L"
SEVERE = ("mg 0.35 mmol/L", "creatinine 240 umol/L")  # and kidneys that cannot clear magnesium
NERVES = (
    "migraine muscle_cramps seizure_acute epilepsy tremor chronic_fatigue anxiety insomnia ischemic_stroke alzheimer "
    "parkinson neurodegenerative depression chronic_stress"
)
CAUSES = "alcohol chronic_diarrhea malabsorption short_bowel refeeding pancreatitis tpn dka"
OBSTETRIC = "pregnant preeclampsia eclampsia"
EMERGENCIES = "torsades vt hemodynamic_instability tetany seizure_acute"
# Rule, result, results of the laboratory, conditions of which one is enough.
CONDITIONS: list[tuple[str, str, tuple[str, ...], str]] = [
    (
        "R-061",
        "not met",
        (LOW, KIDNEY),
        f"{CAUSES} {OBSTETRIC} dialysis",
    ),
    ("R-061", "cause-unknown", (LOW, KIDNEY), "heart_failure t2dm migraine atrial_fibrillation"),
    ("R-060", "testing-indicated", (), f"{NERVES} alcohol antacid_long_use"),
    ("R-060", "not met", (), "heart_failure t2dm pregnant dialysis"),
    ("R-022", "suggest-rbc-magnesium", (NORMAL,), NERVES),
    ("R-022", "not met", (NORMAL,), "heart_failure t2dm alcohol"),
    ("R-022", "not met", (NORMAL, "k 3.0 mmol/L"), "vomiting chronic_diarrhea malabsorption"),
    (
        "R-013",
        "below-optimum",
        (NORMAL, KIDNEY),
        f"{NERVES} t2dm alcohol arrhythmia atrial_fibrillation long_qt {OBSTETRIC}",
    ),
    ("R-013", "not met", (NORMAL, KIDNEY), "heart_failure kidney_transplant"),
    ("R-045", "not met", (LOW, KIDNEY, "k 2.9 mmol/L", "bicarbonate 33 mmol/L"), "alcohol vomiting"),
    ("R-056", "arrhythmia-risk", (LOW, KIDNEY), "arrhythmia atrial_fibrillation long_qt torsades vt"),
    ("R-056", "not met", (LOW, KIDNEY), "heart_failure hemodynamic_instability tetany"),
    ("R-070", "iv-urgent", (LOW, KIDNEY), EMERGENCIES),
    ("R-070", "iv", (LOW, KIDNEY), "short_bowel npo oral_intolerance"),
    ("R-070", "oral", (LOW, KIDNEY), "atrial_fibrillation pregnant symptomatic_hypomg chronic_diarrhea"),
    ("R-072", "torsades-bolus", (LOW, KIDNEY), "torsades"),
    ("R-072", "torsades-bolus", SEVERE, "torsades vt cardiac_arrest"),
    ("R-072", "emergency-unstable", (LOW, KIDNEY), "vt hemodynamic_instability"),
    ("R-072", "emergency-stable", (LOW, KIDNEY), "tetany seizure_acute"),
    ("R-074", "kidney-severe-symptoms", SEVERE, "hemodynamic_instability tetany seizure_acute symptomatic_hypomg"),
    ("R-081", "antidote", (HIGH, KIDNEY), "symptomatic_hypermg"),
    ("R-081", "antidote", ("mg 3.6 mmol/L", KIDNEY), "preeclampsia eclampsia heart_failure"),
    ("R-081", "not met", (HIGH, KIDNEY), "preeclampsia eclampsia symptomatic_hypomg"),
]


@pytest.mark.parametrize(
    ("rule", "said", "labs", "tag"),
    [(rule, said, labs, tag) for rule, said, labs, tags in CONDITIONS for tag in tags.split()],
)
def test_each_condition_is_enough_by_itself(rule: str, said: str, labs: tuple[str, ...], tag: str) -> None:
    assert said_by(rule, patient(*labs, conditions=[tag], born="1990-05-05")) == said


@pytest.mark.parametrize("tag", [*EMERGENCIES.split(), "arrhythmia", "atrial_fibrillation", "long_qt"])
def test_what_makes_a_moderate_value_critical(tag: str) -> None:
    assert urgency("R-011", patient(MODERATE, KIDNEY, conditions=[tag])) == "critical"


@pytest.mark.parametrize("tag", ["heart_failure", "t2dm", "alcohol", "npo", "symptomatic_hypomg"])
def test_what_leaves_a_moderate_value_a_warning(tag: str) -> None:
    assert urgency("R-011", patient(MODERATE, KIDNEY, conditions=[tag])) == "warning"


# Rule, results, result when it is new, result when it is four days old.
PASSING = {
    "torsades": ("R-072", (LOW, KIDNEY), "torsades-bolus", "not met"),
    "vt": ("R-072", (LOW, KIDNEY), "emergency-unstable", "not met"),
    "hemodynamic_instability": ("R-072", (LOW, KIDNEY), "emergency-unstable", "not met"),
    "tetany": ("R-072", (LOW, KIDNEY), "emergency-stable", "not met"),
    "seizure_acute": ("R-072", (LOW, KIDNEY), "emergency-stable", "not met"),
    "symptomatic_hypomg": (
        "R-074",
        SEVERE,
        "kidney-severe-symptoms",
        "kidney-severe-oral",
    ),
    "symptomatic_hypermg": ("R-081", (HIGH, KIDNEY), "antidote", "not met"),
    "dka": ("R-061", (LOW, KIDNEY), "not met", "cause-unknown"),
    "pancreatitis": ("R-061", (LOW, KIDNEY), "not met", "cause-unknown"),
    "refeeding": ("R-061", (LOW, KIDNEY), "not met", "cause-unknown"),
    "vomiting": (
        "R-045",
        (LOW, KIDNEY, "k 2.9 mmol/L", "bicarbonate 33 mmol/L"),
        "not met",
        "gitelman-like",
    ),
    "alcohol": ("R-063", (LOW, KIDNEY), "alcohol", "alcohol"),
    "pregnant": ("R-062", (LOW, KIDNEY), "pregnancy", "pregnancy"),
    "chronic_diarrhea": ("R-061", (LOW, KIDNEY), "not met", "not met"),
}


@pytest.mark.parametrize("tag", PASSING)
def test_an_acute_event_counts_for_three_days_and_a_lasting_condition_for_good(tag: str) -> None:
    rule, labs, new, old = PASSING[tag]
    said = [said_by(rule, patient(*labs, conditions=[f"{tag}, since {since}"])) for since in ("-2h", "-4d", "+2h")]
    never = said_by(rule, patient(*labs))
    assert said == [new, old, never]


@pytest.mark.parametrize(("since", "said"), [("-2h", "unstable"), ("-168h", "unstable"), ("-169h", "unknown")])
def test_acute_kidney_injury_counts_for_a_week(since: str, said: str) -> None:
    assert said_by("R-031", patient(LOW, conditions=[f"aki, since {since}"])) == said


# ---- drugs ----------------------------------------------------------------------------------------------------------

# Drug, the rule that names it beside a low magnesium, its group in R-055, days of its interval in R-054 (0: none).
DRUGS = {
    "furosemide": ("R-050", "diuretic", 180),
    "hydrochlorothiazide": ("R-050", "diuretic", 180),
    "indapamide": ("R-050", "diuretic", 180),
    "omeprazole": ("R-051", "PPI", 365),
    "cisplatin": ("R-052", "platinum", 21),
    "cetuximab": ("R-053", "EGFR inhibitor", 14),
    "erlotinib": ("R-053", "EGFR inhibitor", 0),
    "trastuzumab": ("R-053", "", 0),
    "tacrolimus": ("R-053", "calcineurin or mTOR inhibitor", 90),
    "everolimus": ("R-053", "calcineurin or mTOR inhibitor", 90),
    "gentamicin": ("R-053", "nephrotoxic anti-infective", 7),
    "amphotericin B": ("R-053", "nephrotoxic anti-infective", 7),
    "capreomycin": ("R-053", "nephrotoxic anti-infective", 7),
    "mannitol": ("R-053", "", 0),
}
NOT_WASTING = ["spironolactone", "vonoprazan", "empagliflozin", "amiodarone", "metformin"]


def _taking(*names: str, labs: tuple[str, ...]) -> PatientSnapshot:
    return patient(*labs, drugs=[f"{name}, since -500d" for name in names])


@pytest.mark.parametrize("name", DRUGS)
def test_a_wasting_drug_is_named_by_one_rule_and_explains_a_low_magnesium(name: str) -> None:
    snapshot = _taking(name, labs=(LOW, KIDNEY))
    found = {rule for rule in ("R-050", "R-051", "R-052", "R-053") if said_by(rule, snapshot) != "not met"}
    assert (found, said_by("R-061", snapshot)) == ({DRUGS[name][0]}, "not met")


@pytest.mark.parametrize("name", NOT_WASTING)
def test_a_drug_that_wastes_nothing_explains_nothing(name: str) -> None:
    snapshot = _taking(name, labs=(LOW, KIDNEY))
    found = {rule for rule in ("R-050", "R-051", "R-052", "R-053") if said_by(rule, snapshot) != "not met"}
    assert (found, said_by("R-061", snapshot)) == (set(), "cause-unknown")


@pytest.mark.parametrize("name", DRUGS)
@pytest.mark.parametrize("beside", ["furosemide", "omeprazole", "cisplatin", "cetuximab", "tacrolimus", "gentamicin"])
def test_two_groups_are_a_combined_risk_and_two_drugs_of_one_are_not(name: str, beside: str) -> None:
    groups = {DRUGS[name][1], DRUGS[beside][1]} - {""}
    said = said_by("R-055", _taking(name, beside, labs=(NORMAL,)))
    assert said == ("combined-risk" if len(groups) == 2 else "not met")


@pytest.mark.parametrize("name", DRUGS)
def test_each_drug_has_its_own_interval(name: str) -> None:
    days = DRUGS[name][2]
    said = [said_by("R-054", _taking(name, labs=(f"mg 0.85 mmol/L, -{d}d",))) for d in (max(days, 1), days + 1, 400)]
    assert said == (["not met", "monitoring-gap", "monitoring-gap"] if days else ["not met"] * 3)


STRONG, USUAL = ("cisplatin", "cetuximab", "gentamicin", "amphotericin B", "capreomycin"), ("furosemide", "tacrolimus")


@pytest.mark.parametrize(
    ("name", "days", "how"),
    [
        *((name, 7, "warning") for name in STRONG),
        *((name, 90, "info") for name in (*USUAL, "hydrochlorothiazide", "indapamide", "everolimus")),
        *((name, None, "none") for name in ("trastuzumab", "mannitol", "spironolactone", "omeprazole")),
    ],
)
def test_each_drug_asks_for_a_baseline_of_its_own_age(name: str, days: int | None, how: str) -> None:
    ages = (days, days + 1) if days else (400, 401)
    low_k = "k 3.4 mmol/L"  # a second risk, without which a diuretic asks for nothing (decision 22)
    asked = [patient(f"mg 0.85 mmol/L, -{age}d", low_k, orders=[name], hook="order-sign") for age in ages]
    hydration = "info" if name == "cisplatin" else "none"  # decision 39
    assert [urgency("R-091", snapshot) for snapshot in asked] == [hydration, how]
