"""R-095: is potassium ordered while magnesium is low or unknown?"""

from __future__ import annotations

from service.logic.case import Case
from service.logic.case.drugs import LOOP_OR_THIAZIDE, is_fluid
from service.logic.case.results import below
from service.logic.message import Message
from service.logic.model import Analyte, Finding, Indicator, NotMet
from service.logic.rules.orders.drafts import magnesium_products, ordered_drugs, to_correct
from service.logic.rules.orders.indication import potassium_low
from service.logic.rules.phrases import aged, drugs, last_magnesium, references
from service.logic.rules.rule import Answer


def potassium(case: Case) -> Answer:
    """R-095: potassium is ordered: it will not hold while magnesium is low, and nobody knows if it was not measured."""
    ordered = ordered_drugs(case, frozenset({"potassium_salt"}))
    ordered = [m for m in ordered if not is_fluid(m) and not m.classes & LOOP_OR_THIAZIDE]
    if not ordered:
        return NotMet()
    evidence = references(case.mg, case.potassium, *ordered)
    if case.potassium_high:
        return _potassium_high(case, evidence)
    if case.mg_low:
        return _low(case, evidence)
    if case.mg_reliable or Analyte.SERUM_MAGNESIUM in case.patient.pending or not _matters(case):
        return NotMet()
    level = Indicator.WARNING if case.potassium_products or case.digoxin else Indicator.INFO
    assert case.potassium is not None  # noqa: S101  a low potassium is one
    return Finding(
        "magnesium-unknown",
        level,
        text=Message("Potassium ordered for {k}, Mg not known", k=aged(case, case.potassium)),
        why=last_magnesium(case),
        advice=(Message("On digoxin: {drugs}.", drugs=drugs(case.digoxin)),) if case.digoxin else (),
        tests=(Analyte.SERUM_MAGNESIUM,),
        evidence=evidence,
        action=Message("measure magnesium"),
    )


def _matters(case: Case) -> bool:
    """Potassium is very low; or low while it is replaced already, or with digoxin (decision 22)."""
    if case.potassium is None:
        return False
    very_low = below(case.potassium, case.limit("k-very-low", case.potassium))
    return very_low or (potassium_low(case) and bool(case.potassium_products or case.digoxin))


def _low(case: Case, evidence: tuple[str, ...]) -> Answer:
    """Magnesium is low: said unless it is treated, by what runs or by what is signed beside the potassium."""
    assert case.mg is not None  # noqa: S101  magnesium is low
    if magnesium_products(case) or case.low_is_handled or case.pseudo:
        return NotMet()
    return Finding(
        "correct-magnesium-too",
        case.low_level,
        text=Message("Potassium ordered, {mg} low", mg=aged(case, case.mg)),
        why=Message("Low magnesium keeps potassium low by renal loss."),
        evidence=evidence,
        action=to_correct(case, Message("replace both")),
    )


def _potassium_high(case: Case, evidence: tuple[str, ...]) -> Finding:
    """A question of potassium and not of magnesium: it stands on a card that is there for another reason."""
    assert case.potassium is not None  # noqa: S101  a high potassium is one
    return Finding(
        "potassium-high",
        Indicator.WARNING,
        text=Message("Potassium ordered, {k} is already high", k=aged(case, case.potassium)),
        evidence=evidence,
        action=Message("check it first"),
        context_only=True,
    )
