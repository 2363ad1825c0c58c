"""R-095: is potassium ordered while magnesium is low or unknown?"""

from __future__ import annotations

from service.logic.case import Case
from service.logic.case.drugs import LOOP_OR_THIAZIDE, is_fluid
from service.logic.model import Analyte, Finding, Indicator, NotMet, Proposal
from service.logic.rules.orders.drafts import ordered_drugs
from service.logic.rules.rule import Answer
from service.logic.rules.words import dated, last_magnesium, references
from service.logic.text import Text


def potassium(case: Case) -> Answer:
    """R-095: potassium is ordered: it will not hold while magnesium is low, and nobody knows if it was not measured."""
    ordered = ordered_drugs(case, frozenset({"potassium_salt"}))
    ordered = [m for m in ordered if not is_fluid(m) and not m.classes & LOOP_OR_THIAZIDE]
    if not ordered:
        return NotMet()
    evidence = references(case.mg, case.potassium, *ordered)
    if case.potassium_high:
        return _potassium_high(case, evidence)
    if case.mg_low and case.mg is not None:
        return Finding(
            "correct-magnesium-too",
            Indicator.WARNING,
            text=Text("Potassium ordered, magnesium {dated} low: potassium may not hold.", dated=dated(case.mg)),
            why=Text("Low magnesium keeps potassium low by renal loss."),
            proposals=(Proposal(case.knowledge.doses["correct-with"], Text("Correct both together.")),),
            evidence=evidence,
        )
    if case.mg_reliable or Analyte.SERUM_MAGNESIUM in case.patient.pending:
        return NotMet()
    refractory = case.potassium_low and bool(case.potassium_products)
    return Finding(
        "magnesium-unknown",
        Indicator.WARNING if refractory else Indicator.INFO,
        text=Text("Potassium ordered, no current magnesium: check it."),
        why=last_magnesium(case),
        tests=(Analyte.SERUM_MAGNESIUM,),
        evidence=evidence,
    )


def _potassium_high(case: Case, evidence: tuple[str, ...]) -> Finding:
    assert case.potassium is not None  # noqa: S101  a high potassium is one
    return Finding(
        "potassium-high",
        Indicator.WARNING,
        text=Text("Potassium ordered, but potassium {dated} is already high.", dated=dated(case.potassium)),
        advice=(Text("Check potassium before any more of it; a low magnesium is no reason to give it."),),
        evidence=evidence,
    )
