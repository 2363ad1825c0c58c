"""Why intravenous magnesium is ordered: an emergency that waits for nothing, or a reason at a normal level."""

from __future__ import annotations

from datetime import timedelta

from service.logic.case import Case
from service.logic.case.person import OBSTETRIC, UNSTABLE_RHYTHM
from service.logic.case.results import below
from service.logic.model import Condition

EMERGENCY_ORDER = UNSTABLE_RHYTHM | OBSTETRIC | {"polymorphic_vt", "asthma_severe", "tetany", "seizure_acute"}
# Given for its effect and not for a deficiency: nobody asks whether it is needed at a normal level (decision 21).
_AT_A_NORMAL_LEVEL = frozenset({"asthma_severe", "tocolysis", "fetal_neuroprotection", "tetanus", "digoxin_toxicity"})
_RECENT = frozenset({"cardiac_surgery", "atrial_fibrillation"})


def emergency_told(case: Case) -> bool:
    """An emergency indication, coded or only told: then nobody waits for a level or a creatinine."""
    return bool(case.tags & EMERGENCY_ORDER)


def emergency_coded(case: Case) -> bool:
    """An emergency indication stated by a code: only this lowers a warning."""
    return case.coded(*sorted(EMERGENCY_ORDER))


def indicated(case: Case) -> bool:
    """A reason to give magnesium at a normal level is known."""
    effect = case.tags & (EMERGENCY_ORDER | _AT_A_NORMAL_LEVEL) or case.qtc_long is not None
    recent = any(_within(case, condition) for condition in case.condition(*sorted(_RECENT)))
    return bool(effect) or recent or potassium_low(case)


def _within(case: Case, condition: Condition) -> bool:
    """Begun within the window of an operation or an attack: an old fibrillation is no reason for a dose now."""
    begun = condition.onset
    return begun is not None and timedelta(0) <= case.now - begun.start <= case.duration("indication-window")


def potassium_low(case: Case) -> bool:
    """Potassium below the catalogue's limit, whatever the laboratory's range is."""
    return case.potassium is not None and below(case.potassium, case.limit("k-low", case.potassium))
