"""Group G, conditions: who should be tested, what else explains a low value, and what changes its meaning."""

from __future__ import annotations

from service.logic.case import Case
from service.logic.case.person import NEUROPSYCHIATRIC
from service.logic.model import Analyte, Finding, Hook, Indicator, MissingInputs, NotMet, Proposal
from service.logic.rules.erythrocyte import latent_deficiency
from service.logic.rules.rule import Answer, Rule
from service.logic.rules.words import dated, references
from service.logic.text import Text

# Conditions that explain a low magnesium: then R-061 does not look further.
_EXPLAINING = frozenset(
    [
        "alcohol",
        "chronic_diarrhea",
        "malabsorption",
        "short_bowel",
        "refeeding",
        "pancreatitis",
        "tpn",
        "dka",
        "pregnant",
        "preeclampsia",
        "eclampsia",
        "dialysis",
    ]
)
_ANTACIDS = frozenset({"mg_containing_antacid"})


def _low(case: Case) -> MissingInputs | NotMet | None:
    if case.mg is None or not case.mg_is_current:
        return MissingInputs((Analyte.SERUM_MAGNESIUM.value,))
    return None if case.mg_low else NotMet()


def _of(case: Case, *tags: str) -> tuple[str, ...]:
    return tuple(c.reference for c in case.condition(*tags))


def testing_indicated(case: Case) -> Answer:
    """R-060: no serum magnesium for a year, and a reason to know it."""
    if case.newest_mg is None and "magnesium" in case.patient.unavailable:
        return MissingInputs((Analyte.SERUM_MAGNESIUM.value,))
    window = case.duration("test-indication-window")
    if case.newest_mg is not None and case.age_of(case.newest_mg) <= window:
        return NotMet()
    reasons = case.tags & (NEUROPSYCHIATRIC | {"alcohol", "antacid_long_use"})
    antacids = [
        m for m in case.active(_ANTACIDS) if m.start and case.now - m.start.start >= case.duration("ppi-possible")
    ]
    if not reasons and not antacids:
        return NotMet()
    return Finding(
        result="testing-indicated",
        indicator=Indicator.INFO,
        text=Text("No serum magnesium in the last year, and there is an indication to measure it."),
        why=Text(
            "Neuro-psychiatric symptoms, alcohol use or long antacid use; the list is from a laboratory's brochure."
        ),
        tests=(Analyte.SERUM_MAGNESIUM,),
        evidence=_of(case, *sorted(reasons)) + references(*antacids),
    )


def cause_unknown(case: Case) -> Answer:
    """R-061: low magnesium without a drug or condition that explains it: measure urine magnesium and creatinine."""
    if answer := _low(case):
        return answer
    if not case.medications_known:
        return MissingInputs(("medications",))
    explained = case.wasting or case.tags & _EXPLAINING or case.pseudo or case.gate_closed
    if explained or case.current(Analyte.URINE_MAGNESIUM, case.duration("urine-window")) or _collected(case):
        return NotMet()
    return Finding(
        result="cause-unknown",
        indicator=Indicator.INFO,
        text=Text("None of the known causes of a low magnesium is in the chart."),
        advice=(
            Text("Spot urine magnesium and creatinine with serum magnesium and creatinine (FEMg), or 24-hour urine."),
        ),
        tests=(Analyte.URINE_MAGNESIUM, Analyte.URINE_CREATININE),
        evidence=references(case.mg),
    )


def _collected(case: Case) -> bool:
    return case.current(Analyte.URINE_MAGNESIUM_24H, case.duration("urine-window")) is not None


def pregnancy(case: Case) -> Answer:
    """R-062: what pregnancy changes: dilution, no CKD-EPI, supplement limit, intravenous only for an indication."""
    if case.mg is None:
        return MissingInputs((Analyte.SERUM_MAGNESIUM.value,))
    if not case.pregnant:
        return NotMet()
    return Finding(
        result="pregnancy",
        indicator=Indicator.INFO,
        text=Text("Pregnancy: dilution lowers serum magnesium; read {dated} with care.", dated=dated(case.mg)),
        why=Text("eGFR equations do not apply; creatinine above 97 µmol/L (1.1 mg/dL) closes the kidney gate."),
        advice=(
            Text("Supplements up to 350 mg/day unless deficient; IV only for an obstetric or urgent indication."),
            Text("Continuous magnesium sulfate beyond 5 to 7 days harms fetal bone (FDA 2013)."),
        ),
        evidence=references(case.mg) + _of(case, "pregnant", "preeclampsia", "eclampsia"),
    )


def alcohol(case: Case) -> Answer:
    """R-063: alcohol use with low magnesium: look for the other electrolytes."""
    if answer := _low(case):
        return answer
    if "alcohol" not in case.tags:
        return NotMet()
    return Finding(
        result="alcohol",
        indicator=Indicator.WARNING,
        text=Text("Alcohol use disorder with low magnesium: phosphate, potassium and calcium are often low too."),
        advice=(Text("Check phosphate, potassium, calcium; intravenous phosphate can drop calcium further."),),
        tests=tuple(a for a in (Analyte.PHOSPHATE, Analyte.POTASSIUM, Analyte.CALCIUM) if case.current(a) is None),
        evidence=references(case.mg) + _of(case, "alcohol"),
    )


def type_2_diabetes(case: Case) -> Answer:
    """R-064: type 2 diabetes with low magnesium: SGLT2 inhibitors raise magnesium."""
    if answer := _low(case):
        return answer
    if "t2dm" not in case.tags:
        return NotMet()
    sglt2 = case.active(frozenset({"sglt2"}))
    return Finding(
        result="type-2-diabetes",
        indicator=Indicator.INFO,
        text=Text("Type 2 diabetes: urinary magnesium loss is common."),
        advice=()
        if sglt2 or case.pregnant
        else (Text("SGLT2 inhibitors raise magnesium; whether one fits is for the diabetes team."),),
        evidence=references(case.mg, *sglt2) + _of(case, "t2dm"),
    )


def migraine(case: Case) -> Answer:
    """R-065: migraine with a low or latently low magnesium: information on an adjunct, small trials."""
    if case.mg is None or not case.mg_is_current:
        return MissingInputs((Analyte.SERUM_MAGNESIUM.value,))
    low = case.mg_low or isinstance(latent_deficiency(case), Finding)
    if "migraine" not in case.tags or not low:
        return NotMet()
    trials = Text("In trials: 600 mg/day elemental magnesium as citrate for 3 months, beside proven prophylaxis.")
    return Finding(
        result="migraine-adjunct",
        indicator=Indicator.INFO,
        text=Text("Migraine: magnesium is at most an adjunct; the evidence is small trials."),
        why=Text(
            "Not in the Russian prophylaxis guideline of 2024; IV magnesium there only for prolonged aura in hospital."
        ),
        proposals=(Proposal(case.knowledge.doses["migraine-oral"], trials),),
        evidence=references(case.mg) + _of(case, "migraine"),
    )


_CHART_OPENS = frozenset({Hook.PATIENT_VIEW})
RULES = (
    Rule("R-060", "testing-indicated", testing_indicated, 46, _CHART_OPENS, _CHART_OPENS, repeat_days=365),
    Rule("R-061", "cause-unknown", cause_unknown, priority=32),
    Rule("R-062", "pregnancy", pregnancy, priority=33),
    Rule("R-063", "alcohol", alcohol, priority=23),
    Rule("R-064", "type-2-diabetes", type_2_diabetes, priority=37),
    Rule("R-065", "migraine", migraine, priority=38),
)
