"""Group C, erythrocyte magnesium: class, latent deficiency, and when to ask for the test."""

from __future__ import annotations

from service.logic.case import Case
from service.logic.case.drugs import LOOP_OR_THIAZIDE
from service.logic.case.person import NEUROPSYCHIATRIC
from service.logic.message import Message
from service.logic.model import Analyte, Finding, Indicator, LabResult, MissingInputs, NotMet, Proposal
from service.logic.rules.phrases import amount, dated, limits, references
from service.logic.rules.rule import Answer, Rule
from service.logic.units import rounded


def rbc_class(case: Case) -> Answer:
    """R-020: erythrocyte magnesium by the laboratory's range, else the labelled default; never by a serum range."""
    rbc = _rbc(case)
    if rbc is None:
        return MissingInputs((Analyte.RBC_MAGNESIUM.value,))
    grade = case.classify(rbc)
    said = {
        "low": Message("Erythrocyte magnesium {dated} is low.", dated=dated(rbc)),
        "normal": Message("Erythrocyte magnesium {dated} is in range.", dated=dated(rbc)),
        "high": Message("Erythrocyte magnesium {dated} is high.", dated=dated(rbc)),
        "unclassified": Message("Erythrocyte magnesium {dated}: no range applies.", dated=dated(rbc)),
    }
    return Finding(
        grade,
        Indicator.INFO,
        said[grade],
        Message("Range used: {limits}; the test's range depends on the method.", limits=limits(case.range_of(rbc))),
        advice=_beside_serum(case, grade),
        values={} if rbc.value is None else {"rbc_mg_mmol_L": rounded(rbc.value, 4)},
        evidence=references(rbc),
        context_only=grade == "normal",
    )


def _beside_serum(case: Case, grade: str) -> tuple[Message, ...]:
    """What the erythrocyte value adds to a low serum value."""
    if not case.mg_low:
        return ()
    if grade == "low":
        return (Message("Serum and erythrocyte magnesium are both low: established deficiency."),)
    return (Message("Serum low, erythrocytes not: recent loss, a shift, dilution or low albumin."),)


def latent_deficiency(case: Case) -> Answer:
    """R-021: erythrocyte magnesium low, serum magnesium normal and reliable, collected within 14 days."""
    rbc, mg = _rbc(case), case.mg
    if rbc is None:
        return MissingInputs((Analyte.RBC_MAGNESIUM.value,))
    if mg is None or not case.mg_is_current:
        return MissingInputs((Analyte.SERUM_MAGNESIUM.value,))
    if not case.mg_normal or case.classify(rbc) != "low" or not _paired(case, rbc, mg):
        return NotMet()
    trial = Message("Consider a trial of oral magnesium; repeat erythrocyte magnesium after 8 to 12 weeks.")
    return Finding(
        result="latent-deficiency",
        indicator=Indicator.WARNING,
        text=Message("Erythrocyte magnesium {rbc} low, serum normal: latent deficiency likely.", rbc=amount(rbc)),
        why=Message("With serum magnesium {serum}. Evidence is moderate: it supports, not proves.", serum=dated(mg)),
        advice=() if case.gate_closed else (_LOOK_FOR_CAUSES,),
        proposals=(Proposal(case.knowledge.doses["oral-trial"], trial),),
        evidence=references(rbc, mg),
    )


_LOOK_FOR_CAUSES = Message("Look for losses and low intake; magnesium-rich diet.")


def suggest_rbc(case: Case) -> Answer:
    """R-022: serum normal, no erythrocyte magnesium for 180 days, and a reason to look into the cells."""
    if case.mg is None or not case.mg_is_current:
        return MissingInputs((Analyte.SERUM_MAGNESIUM.value,))
    if case.in_hospital:
        return NotMet(Message("Asked in ambulatory care only."))
    if not case.mg_normal or (case.labs.get(Analyte.RBC_MAGNESIUM) and _rbc(case)):
        return NotMet()
    if not case.tags & NEUROPSYCHIATRIC and not _unexplained(case):
        return NotMet()
    return Finding(
        result="suggest-rbc-magnesium",
        indicator=Indicator.INFO,
        text=Message("Serum magnesium normal: erythrocyte magnesium may show a latent deficiency."),
        why=Message(
            "Serum {serum}; serum reflects under 1 % of body magnesium. Evidence is moderate.", serum=dated(case.mg)
        ),
        tests=(Analyte.RBC_MAGNESIUM,),
        evidence=references(case.mg),
        action=Message("consider it"),
    )


def _rbc(case: Case) -> LabResult | None:
    return case.current(Analyte.RBC_MAGNESIUM, case.duration("rbc-window"))


def _paired(case: Case, rbc: LabResult, mg: LabResult) -> bool:
    assert rbc.taken is not None  # noqa: S101  a case holds dated results only
    assert mg.taken is not None  # noqa: S101  a case holds dated results only
    gap = max(rbc.taken.start - mg.taken.end, mg.taken.start - rbc.taken.end)
    return gap <= case.duration("rbc-pair")


def _unexplained(case: Case) -> bool:
    """Low potassium or calcium without a diuretic or a loss from the gut to explain it."""
    explained = case.active(LOOP_OR_THIAZIDE) or case.tags & {"vomiting", "chronic_diarrhea", "malabsorption"}
    return (case.potassium_low or case.calcium_low) and not explained


RULES = (
    Rule("R-020", "erythrocyte-magnesium-class", rbc_class, priority=39),
    Rule("R-021", "latent-deficiency", latent_deficiency, priority=10),
    Rule("R-022", "suggest-erythrocyte-magnesium", suggest_rbc, priority=44),
)
