"""R-091: is magnesium known and in range before a drug that lowers it?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from service.logic.case import Case
from service.logic.case.drugs import CNI_MTOR, EGFR_ANTIBODY, LOOP_OR_THIAZIDE, NEPHROTOXIC, PLATINUM
from service.logic.case.results import below
from service.logic.model import Analyte, Finding, Indicator, Medication, NotMet, Proposal
from service.logic.rules.drugs import ppi_duration
from service.logic.rules.orders.drafts import drafts, ordered_drugs
from service.logic.rules.rule import Answer
from service.logic.rules.words import dated, drugs, last_magnesium, references
from service.logic.text import Text


def wasting_drug(case: Case) -> Answer:
    """R-091: a magnesium-wasting drug is ordered: is the magnesium known, and is it in range?"""
    concerned = [(drug, window, serious) for drug, window, serious in _baselines(case)]
    if not concerned:
        return NotMet()
    low = [drug for drug, window, _ in concerned if _low_within(case, window)]
    if low:
        return _low_before(case, low)
    due = [(drug, serious) for drug, window, serious in concerned if not _known_within(case, window)]
    if not due or Analyte.SERUM_MAGNESIUM in case.patient.pending:
        return NotMet()
    return Finding(
        "baseline-needed",
        Indicator.WARNING if any(serious for _, serious in due) else Indicator.INFO,
        text=Text("Check magnesium before: {drugs}.", drugs=drugs(drug for drug, _ in due)),
        why=last_magnesium(case),
        tests=(Analyte.SERUM_MAGNESIUM, *_beside_baseline(case)),
        evidence=references(case.mg) + tuple(drug.reference for drug, _ in due),
    )


def _beside_baseline(case: Case) -> Iterator[Analyte]:
    if case.potassium is None:
        yield Analyte.POTASSIUM
    if case.creatinine is None:
        yield Analyte.CREATININE


def _low_within(case: Case, window: timedelta) -> bool:
    """The baseline lies within the drug's window and is low, and not only by a low protein."""
    return _known_within(case, window) and case.mg_class == "low" and not case.pseudo


def _low_before(case: Case, ordered: list[Medication]) -> Finding:
    assert case.mg is not None  # noqa: S101  magnesium is low
    severe = below(case.mg, case.limit("mg-severe", case.mg))
    first = Text("Correct magnesium first.")
    return Finding(
        "correct-first",
        Indicator.CRITICAL if severe else Indicator.WARNING,
        text=Text("Magnesium {dated} is low before {drugs}.", dated=dated(case.mg), drugs=drugs(ordered, 2)),
        why=Text("The drug lowers magnesium further."),
        proposals=(Proposal(case.knowledge.doses["correct-with"], first),),
        tests=() if case.mg_is_current else (Analyte.SERUM_MAGNESIUM,),
        evidence=references(case.mg) + tuple(drug.reference for drug in ordered),
    )


def _baselines(case: Case) -> Iterator[tuple[Medication, timedelta, bool]]:
    """Draft wasting drugs with the window in which a baseline counts, and whether a missing one is a warning."""
    for order in drafts(case):
        drug = order.medication
        if drug is None:
            continue
        if drug.classes & (PLATINUM | EGFR_ANTIBODY | NEPHROTOXIC):
            yield drug, case.duration("baseline-strong"), True
        elif drug.classes & (LOOP_OR_THIAZIDE | CNI_MTOR):
            yield drug, case.duration("baseline-usual"), False
        elif drug.classes & {"ppi"} and _ppi_matters(case, drug):
            yield drug, case.duration("baseline-ppi"), False


def _ppi_matters(case: Case, drug: Medication) -> bool:
    planned = None
    if drug.start is not None and drug.end is not None:
        planned = drug.end.end - drug.start.start
    running = ppi_duration(case)
    span = case.duration("ppi-possible")
    long = (planned is not None and planned >= span) or (running is not None and running >= span)
    beside = ordered_drugs(case, LOOP_OR_THIAZIDE) or case.diuretics or case.digoxin
    return long or bool(beside)


def _known_within(case: Case, window: timedelta) -> bool:
    usable = case.mg is not None and not (case.mg_is_current and not case.mg_reliable)
    return usable and case.mg is not None and case.age_of(case.mg) <= window
