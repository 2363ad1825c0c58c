"""Elemental magnesium that is swallowed: of one dose, of a day, at most with what is taken as needed."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from service.logic.case import Case
from service.logic.model import Ingredient, Medication, Schedule

_SALTS = (
    "oxide", "hydroxide", "chloride", "lactate", "carbonate",
    "sulfate", "citrate", "gluconate", "glycinate", "aspartate",
)  # fmt: skip


def elemental_mg(case: Case, item: Ingredient) -> Decimal | None:
    """Elemental magnesium in one dose of an ingredient; None if the salt or the amount is not known."""
    if item.mg_per_dose is None:
        return None
    if item.name == "magnesium":
        return item.mg_per_dose
    salt = next((s for s in _SALTS if item.name == f"magnesium {s}"), None)
    return None if salt is None else item.mg_per_dose * case.knowledge.value(f"salt-{salt}")


def elemental_per_day(case: Case, products: list[Medication]) -> Decimal | None:
    """Elemental magnesium a day of what is taken regularly, as far as salt, dose and frequency are known; else None."""
    return _per_day(case, [p for p in products if p.schedule is not Schedule.AS_NEEDED])


def elemental_at_most(case: Case, products: list[Medication]) -> Decimal | None:
    """The same with the maximum of what is taken as needed (decision 34)."""
    return _per_day(case, [replace(p, doses_per_day=p.most_per_day or p.doses_per_day) for p in products])


def _per_day(case: Case, products: list[Medication]) -> Decimal | None:
    total = None
    for product in once(products):
        for item in product.ingredients:
            dose = elemental_mg(case, item)
            if dose is not None and product.doses_per_day is not None:
                total = (total or Decimal(0)) + dose * product.doses_per_day
    return total


def once(products: list[Medication]) -> list[Medication]:
    """Each intake once: the same entry twice is one, and so is the same dose as an order and as a statement."""
    kept: list[Medication] = []
    for product in products:
        if not any(_same_intake(product, other) for other in kept):
            kept.append(product)
    return kept


def _same_intake(one: Medication, other: Medication) -> bool:
    if one.reference.partition("/")[0] == other.reference.partition("/")[0]:
        return replace(one, reference=other.reference) == other
    return (one.ingredients, one.doses_per_day) == (other.ingredients, other.doses_per_day)
