"""The gates: whether a dose may stand for this patient. The only way for a `Proposal` onto a card."""

from __future__ import annotations

from collections.abc import Iterator

from service.logic.case import Case
from service.logic.model import Dose, Finding


def closed_gate(case: Case, dose: Dose) -> str | None:
    """The name of the first gate that is closed for this dose, or None if it may stand."""
    return next(_closed(case, dose), None)


def _closed(case: Case, dose: Dose) -> Iterator[str]:
    if dose.first_bolus:
        yield from _closed_to_bolus(case, dose)
        return
    if case.mg is None or not case.mg_is_current or not case.mg_reliable:
        yield "unusable-value"
    if case.mg_high:
        yield "magnesium-high"
    if case.pseudo:
        yield "pseudo-hypomagnesaemia"
    if case.dose_gate not in dose.kidney:
        yield "kidney"
    if case.age_group not in dose.ages:
        yield "age"
    if case.pregnant and not dose.pregnancy:
        yield "pregnancy"


def _closed_to_bolus(case: Case, dose: Dose) -> Iterator[str]:
    """The first bolus in torsades waits for no level, kidney or protein; only toxicity and age bar it (26, 27)."""
    if not case.bolus_open:
        yield "magnesium-high"
    if case.age_group not in dose.ages:
        yield "age"


def closed_for(case: Case, finding: Finding) -> dict[str, str]:
    """Dose id -> closed gate, for the proposals of a finding that may not stand."""
    checked = ((p.dose.id, closed_gate(case, p.dose)) for p in finding.proposals)
    return {dose: gate for dose, gate in checked if gate is not None}
