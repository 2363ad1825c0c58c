"""Group G, conditions: who should be tested, what else explains a low value, and what changes its meaning."""

from __future__ import annotations

from service.logic.case import Case
from service.logic.case.person import NEUROPSYCHIATRIC
from service.logic.message import Message
from service.logic.model import Analyte, Finding, Hook, Indicator, Medication, MissingInputs, NotMet, Proposal
from service.logic.rules.erythrocyte import latent_deficiency
from service.logic.rules.phrases import ANALYTE, aged, drugs, references, sign_words
from service.logic.rules.rule import Answer, Rule
from service.logic.units import rounded

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
        "diarrhea",
        "tubulopathy",
    ]
)
_ANTACIDS = frozenset({"mg_containing_antacid"})
_METFORMIN = frozenset({"antidiabetic_metformin"})


def _low(case: Case) -> MissingInputs | NotMet | None:
    if case.mg is None or not case.mg_is_current:
        return MissingInputs((Analyte.SERUM_MAGNESIUM.value,))
    return None if case.mg_low else NotMet()


def _of(case: Case, *tags: str) -> tuple[str, ...]:
    return tuple(c.reference for c in case.condition(*tags))


def testing_indicated(case: Case) -> Answer:
    """R-060: no serum magnesium for a year, and a reason to know it; not in hospital."""
    if case.in_hospital:
        return NotMet(Message("Asked in ambulatory care only."))
    if case.newest_mg is None and "magnesium" in case.patient.unavailable:
        return MissingInputs((Analyte.SERUM_MAGNESIUM.value,))
    window = case.duration("test-indication-window")
    if case.newest_mg is not None and case.age_of(case.newest_mg) <= window:
        return NotMet()
    reasons = case.tags & (NEUROPSYCHIATRIC | {"alcohol", "antacid_long_use"})
    metformin = _taken_for(case, _METFORMIN, "ppi-typical")
    antacids = _taken_for(case, _ANTACIDS, "ppi-possible")
    if not reasons and not antacids and not metformin:
        return NotMet()
    return Finding(
        result="testing-indicated",
        indicator=Indicator.INFO,
        text=Message("No serum magnesium for {days} days, and a reason to know it", days=window.days),
        why=Message(
            "With: {things}; the list is from a laboratory's brochure.", things=_indications(case, reasons, metformin)
        ),
        tests=(Analyte.SERUM_MAGNESIUM,),
        evidence=_of(case, *sorted(reasons)) + references(*antacids, *metformin),
        action=Message("measure magnesium with the next sample"),
    )


def _taken_for(case: Case, classes: frozenset[str], least: str) -> list[Medication]:
    span = case.duration(least)
    return [m for m in case.active(classes) if m.start and case.now - m.start.start >= span]


def _indications(case: Case, reasons: frozenset[str], metformin: list[Medication]) -> tuple[Message, ...]:
    told = tuple(dict.fromkeys(sign_words(c) for c in case.condition(*sorted(reasons))))[:3]
    return (*told, *((drugs(metformin, 1),) if metformin else ())) or (Message("long antacid use"),)


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
        text=_nothing_found(case),
        tests=(Analyte.URINE_MAGNESIUM, Analyte.URINE_CREATININE),
        evidence=references(case.mg),
        action=Message("measure urine magnesium and creatinine (FEMg), or 24-hour urine"),
    )


def _nothing_found(case: Case) -> Message:
    """No known cause: only where every medication was recognised and every list could be read."""
    if case.patient.unrecognised_medications:
        return Message(
            "No known cause among what was recognised; {count} medications were not",
            count=case.patient.unrecognised_medications,
        )
    if case.patient.unavailable or case.patient.incomplete:
        return Message("No known cause in what could be read of the chart")
    return Message("None of the known causes of a low magnesium is in the chart")


def _collected(case: Case) -> bool:
    return case.current(Analyte.URINE_MAGNESIUM_24H, case.duration("urine-window")) is not None


def pregnancy(case: Case) -> Answer:
    """R-062: what pregnancy changes: dilution, no CKD-EPI, supplement limit, intravenous only for an indication."""
    if case.mg is None:
        return MissingInputs((Analyte.SERUM_MAGNESIUM.value,))
    if not case.pregnant:
        return NotMet()
    drip, long = bool(case.iv_magnesium), _long_drip(case)
    said = _DRIP if drip else Message("Pregnancy: dilution lowers serum magnesium; {mg}", mg=aged(case, case.mg))
    return Finding(
        result="pregnancy",
        indicator=Indicator.WARNING if long else Indicator.INFO,
        text=Message("Pregnancy, magnesium drip for over {days} days", days=_drip_days(case)) if long else said,
        why=None if drip else Message("eGFR equations do not apply in pregnancy."),
        advice=((_DRIP,) if long else ()) if drip else _pregnancy_advice(case),
        evidence=references(case.mg) + _of(case, "pregnant", "preeclampsia", "eclampsia"),
        action=Message("review it, it harms fetal bone (FDA 2013)") if long else None,
        context_only=not long,
    )


_DRIP = Message("On the drip watch reflexes, breathing and urine; stop if reflexes are absent.")


def _pregnancy_advice(case: Case) -> tuple[Message, ...]:
    if "preeclampsia" in case.tags or "eclampsia" in case.tags:
        return (Message("Severe features: magnesium sulfate is the treatment, by obstetric protocol."),)
    limit = rounded(case.knowledge.value("oral-supplement-limit"), 0)
    return (Message("Supplements up to {limit} mg/day unless deficient.", limit=limit),)


def _drip_days(case: Case) -> int:
    return case.knowledge.duration("iv-pregnancy-days").days


def _long_drip(case: Case) -> bool:
    """Intravenous magnesium that has been running longer than the limit of pregnancy."""
    limit = case.knowledge.duration("iv-pregnancy-days")
    return any(m.start is not None and case.now - m.start.start > limit for m in case.iv_magnesium)


def refeeding(case: Case) -> Answer:
    """R-066: refeeding, or its risk: magnesium, potassium and phosphate every 12 h (ASPEN 2020)."""
    present = [c for c in case.condition("refeeding", "refeeding_risk") if not c.of_finished_encounter]
    if not present:
        return NotMet()
    span = case.duration("refeeding-interval")
    wanted = (Analyte.SERUM_MAGNESIUM, Analyte.POTASSIUM, Analyte.PHOSPHATE)
    due = tuple(a for a in wanted if a not in case.patient.pending and case.current(a, span) is None)
    if not due:
        return NotMet(Message("All three are fresh or ordered."))
    hours = int(span.total_seconds() // 3600)
    return Finding(
        result="refeeding",
        indicator=Indicator.INFO,
        text=Message("Refeeding: {tests} older than {hours} h", tests=tuple(ANALYTE[a] for a in due), hours=hours),
        why=Message("High risk: magnesium, potassium and phosphate every {hours} h for 3 days.", hours=hours),
        tests=due,
        evidence=tuple(c.reference for c in present),
        action=Message("measure now and every {hours} h", hours=hours),
    )


def alcohol(case: Case) -> Answer:
    """R-063: alcohol use with low magnesium: look for the other electrolytes."""
    if answer := _low(case):
        return answer
    if "alcohol" not in case.tags:
        return NotMet()
    return Finding(
        result="alcohol",
        indicator=case.low_level,
        text=Message("Alcohol use with low magnesium: phosphate, potassium and calcium are often low too"),
        advice=(Message("Check phosphate, potassium, calcium; intravenous phosphate can drop calcium further."),),
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
        text=Message("Type 2 diabetes: urinary magnesium loss is common."),
        advice=()
        if sglt2 or case.pregnant
        else (Message("SGLT2 inhibitors raise magnesium; whether one fits is for the diabetes team."),),
        evidence=references(case.mg, *sglt2) + _of(case, "t2dm"),
        context_only=True,
    )


def migraine(case: Case) -> Answer:
    """R-065: migraine with a low or latently low magnesium: information on an adjunct, small trials."""
    if case.mg is None or not case.mg_is_current:
        return MissingInputs((Analyte.SERUM_MAGNESIUM.value,))
    low = case.mg_low or isinstance(latent_deficiency(case), Finding)
    if "migraine" not in case.tags or not low:
        return NotMet()
    trials = Message("In trials: 600 mg/day elemental magnesium as citrate for 3 months, beside proven prophylaxis.")
    return Finding(
        result="migraine-adjunct",
        indicator=Indicator.INFO,
        text=Message("Migraine: magnesium is at most an adjunct; the evidence is small trials."),
        why=Message(
            "Not in the Russian prophylaxis guideline of 2024; IV magnesium there only for prolonged aura in hospital."
        ),
        proposals=(Proposal(case.knowledge.doses["migraine-oral"], trials),),
        evidence=references(case.mg) + _of(case, "migraine"),
        context_only=True,
    )


_CHART_OPENS = frozenset({Hook.PATIENT_VIEW})
RULES = (
    Rule("R-060", "testing-indicated", testing_indicated, 46, _CHART_OPENS, _CHART_OPENS),
    Rule("R-061", "cause-unknown", cause_unknown, priority=32),
    Rule("R-062", "pregnancy", pregnancy, priority=33),
    Rule("R-063", "alcohol", alcohol, priority=23),
    Rule("R-064", "type-2-diabetes", type_2_diabetes, priority=37),
    Rule("R-065", "migraine", migraine, priority=38),
    Rule("R-066", "refeeding", refeeding, priority=18),
)
