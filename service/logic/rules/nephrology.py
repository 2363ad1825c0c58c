"""Group K, nephrology: dialysis, transplantation, and one association kept for research."""

from __future__ import annotations

from service.logic.case import Case
from service.logic.case.drugs import CNI_MTOR
from service.logic.case.results import below
from service.logic.message import Message
from service.logic.model import Analyte, Finding, Indicator, LabResult, MissingInputs, NotMet
from service.logic.rules.phrases import dated, drugs, references
from service.logic.rules.rule import Answer, Rule


def dialysis(case: Case) -> Answer:
    """R-100: on dialysis the dialysate decides serum magnesium."""
    if case.mg is None:
        return MissingInputs((Analyte.SERUM_MAGNESIUM.value,))
    if not case.dialysis:
        return NotMet()
    conditions = case.condition("dialysis")
    stated = next((c.dialysate_mg for c in conditions if c.dialysate_mg is not None), None)
    options = _DIALYSATE
    if case.ckrt:
        options = _CITRATE if "citrate_ckrt" in case.tags else _CKRT
    known = Message("Dialysate magnesium {value} mmol/L.", value=stated) if stated is not None else None
    return Finding(
        "dialysis",
        Indicator.INFO,
        text=_decides(case, case.mg),
        why=known or Message("The fluid's magnesium is not stated in the chart."),
        advice=(options,),
        evidence=references(case.mg, *case.ckrt_fluids) + tuple(c.reference for c in conditions),
        context_only=True,
    )


def _decides(case: Case, mg: LabResult) -> Message:
    if case.ckrt:
        return Message("Continuous renal replacement: serum magnesium {dated} follows the fluid.", dated=dated(mg))
    return Message("Dialysis: serum magnesium {dated} follows the dialysate.", dated=dated(mg))


_DIALYSATE = Message("Dialysate options 0.5, 0.75 and 1.0 mmol/L; judge a pre-dialysis sample, review binders and PPI.")
_CKRT = Message("Continuous therapy loses magnesium: replace by protocol with levels.")
_CITRATE = Message(
    "Continuous therapy with citrate loses magnesium (median 0.9 mmol/h with 0.75 mmol/L fluid): "
    "replace by protocol with levels."
)


def transplant(case: Case) -> Answer:
    """R-101: a low magnesium after kidney transplantation is associated with new-onset diabetes."""
    if case.mg is None or not case.mg_is_current:
        return MissingInputs((Analyte.SERUM_MAGNESIUM.value,))
    if case.in_hospital:
        return NotMet(Message("Asked in ambulatory care only."))
    low = case.mg_reliable and below(case.mg, case.limit("transplant-mg", case.mg))
    if "kidney_transplant" not in case.tags or not low:
        return NotMet()
    inhibitors = case.active(CNI_MTOR)
    level = Message("Check glucose and the drug level: {drugs}.", drugs=drugs(inhibitors, 2))
    return Finding(
        "transplant-low-magnesium",
        Indicator.INFO,
        text=Message("Kidney transplant, magnesium {dated}: associated with new-onset diabetes.", dated=dated(case.mg)),
        why=Message(
            "Association in cohorts (below {limit} mmol/L); not a treatment target.",
            limit=case.knowledge.value("transplant-mg"),
        ),
        advice=(level if inhibitors else Message("Check glucose."),),
        evidence=references(case.mg, *inhibitors) + tuple(c.reference for c in case.condition("kidney_transplant")),
    )


def ckd_prognosis(case: Case) -> Answer:
    """R-102: research only: survival in CKD by serum magnesium; never a treatment target."""
    if not case.patient.research:
        return NotMet(Message("Research rules are off."))
    if case.mg is None or not case.mg_is_current:
        return MissingInputs((Analyte.SERUM_MAGNESIUM.value,))
    if case.dialysis or case.pregnant:
        return NotMet()
    if case.egfr is None:
        return MissingInputs((Analyte.CREATININE.value,))
    low = case.mg_reliable and below(case.mg, case.limit("ckd-mg", case.mg))
    if case.egfr >= case.knowledge.value("egfr-normal") or not low:
        return NotMet()
    return Finding(
        "ckd-prognosis",
        Indicator.INFO,
        text=Message("Research: CKD with magnesium {dated}, associated with shorter survival.", dated=dated(case.mg)),
        why=Message(
            "One cohort (below {limit} mg/dL). An association; never a treatment target.",
            limit=case.knowledge.value("ckd-mg"),
        ),
        evidence=references(case.mg, case.creatinine),
    )


RULES = (
    Rule("R-100", "dialysis", dialysis, priority=33),
    Rule("R-101", "transplant", transplant, priority=34),
    Rule("R-102", "ckd-prognosis", ckd_prognosis, priority=47, research=True),
)
