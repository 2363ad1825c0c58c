"""Reasons to measure a magnesium again that was normal within two days (decision 24)."""

from __future__ import annotations

from service.logic.case import Case
from service.logic.case.drugs import CNI_MTOR, EGFR_ANTIBODY, NEPHROTOXIC, PLATINUM
from service.logic.case.person import ARRHYTHMIA
from service.logic.model import Condition
from service.logic.rules.orders.drafts import ordered_drugs
from service.logic.rules.orders.indication import potassium_low

_FAST_LOSS = PLATINUM | EGFR_ANTIBODY | NEPHROTOXIC | (CNI_MTOR - {"mtor_inhibitor"}) | {"loop_diuretic"}
_STATES = ARRHYTHMIA | {"dialysis", "ckrt", "tpn", "refeeding", "refeeding_risk", "dka", "aki"}
_SYMPTOMS = ("symptomatic_hypomg", "symptomatic_hypermg")


def reason_to_repeat(case: Case) -> bool:
    """True if anything since the last magnesium, or about this patient, makes a repeat sensible."""
    drug = case.active(_FAST_LOSS) or ordered_drugs(case, _FAST_LOSS) or case.digoxin or case.nutrition
    kidney = case.gate_closed
    rhythm = case.qtc_long is not None or bool(case.tags & _STATES)
    return bool(drug) or kidney or rhythm or potassium_low(case) or _magnesium_since(case) or _symptom_since(case)


def _magnesium_since(case: Case) -> bool:
    """Magnesium was given after the sample, or a drip runs."""
    if case.mg is None or case.mg.taken is None:
        return False
    sample = case.mg.taken.end
    return bool(case.iv_magnesium) or any(dose.ended > sample for dose in case.magnesium_doses)


def _symptom_since(case: Case) -> bool:
    """A symptom or emergency that began after the sample, or whose beginning is not known."""
    return any(_after(case, c) for c in case.condition(*_SYMPTOMS, *sorted(case.emergency_tags)))


def _after(case: Case, condition: Condition) -> bool:
    if condition.onset is None or case.mg is None or case.mg.taken is None:
        return True
    return condition.onset.end > case.mg.taken.end
