"""The drafts that the advice is about, and the magnesium among them."""

from __future__ import annotations

from service.logic.case import Case
from service.logic.case.drugs import MAGNESIUM_PRODUCT, is_fluid, magnesium_route
from service.logic.gates import closed_gate
from service.logic.message import Message
from service.logic.model import Hook, Medication, Order


def drafts(case: Case) -> list[Order]:
    """The drafts the advice is about: on order-select only the selected ones."""
    if case.patient.hook is Hook.ORDER_SELECT:
        return [o for o in case.patient.orders if o.selected]
    return list(case.patient.orders)


def ordered_drugs(case: Case, classes: frozenset[str]) -> list[Medication]:
    """Draft medications of these classes."""
    return [o.medication for o in drafts(case) if o.medication and o.medication.classes & classes]


def magnesium_products(case: Case) -> list[Medication]:
    """Draft magnesium products; nutrition and dialysis fluids are none."""
    return [m for m in ordered_drugs(case, MAGNESIUM_PRODUCT) if not is_fluid(m)]


_GATED = {"kidney": Message("kidney function first"), "unusable-value": Message("measure it again first")}


def to_correct(case: Case, action: Message) -> Message:
    """The action for a low magnesium, or what comes before it where the gate for giving magnesium is closed."""
    closed = closed_gate(case, case.knowledge.doses["correct-with"])
    return _GATED.get(closed or "", action)


def is_parenteral(drug: Medication) -> bool:
    """Into a vein, or (sulfate by another route than the mouth) into a muscle."""
    route = magnesium_route(drug)
    return route == "iv" or (route == "other" and any(i.name == "magnesium sulfate" for i in drug.ingredients))
