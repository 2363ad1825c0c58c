"""How much magnesium an order gives, over what time, and together with what already runs."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from service.logic.case import Case
from service.logic.model import Medication
from service.logic.rules.intake import once


def grams_per_dose(drug: Medication) -> Decimal | None:
    """Grams of the compound in one dose; None if the order does not say."""
    amounts = [i.mg_per_dose for i in drug.ingredients if i.name.startswith("magnesium") and i.mg_per_dose is not None]
    return sum(amounts, Decimal(0)) / 1000 if amounts else None


def grams_ordered(drug: Medication) -> Decimal:
    """Grams of the compound that an order gives, over however long; a repeated dose counts for one day."""
    return (grams_per_dose(drug) or Decimal(0)) * max(drug.doses_per_day or Decimal(1), Decimal(1))


def grams_per_day(drug: Medication) -> Decimal:
    """Grams of the compound in one day of this order; an infusion over days is spread over them."""
    days = Decimal(1) if drug.duration_min is None else max(drug.duration_min / 1440, Decimal(1))
    return grams_ordered(drug) / days


def with_running(case: Case, ordered: list[Medication]) -> list[Medication]:
    """What is ordered into a vein or muscle, and what is running; an order that is signed again is not both."""
    names = {drug.reference for drug in ordered}
    return [*ordered, *(m for m in once(case.iv_magnesium) if m.reference not in names and not is_over(case, m))]


def is_over(case: Case, drug: Medication) -> bool:
    """A single dose of more than a day ago whose order was left active."""
    if drug.start is None or drug.doses_per_day is not None:
        return False
    lasted = timedelta(minutes=float(drug.duration_min or 0))
    return case.now - drug.start.end > lasted + timedelta(days=1)


def rate_mg_min(drug: Medication) -> Decimal | None:
    """The ordered rate: stated, or dose by duration; None when neither is known."""
    if drug.rate_mg_min is not None:
        return drug.rate_mg_min
    grams = grams_per_dose(drug)
    if grams is None or not drug.duration_min:
        return None
    return grams * 1000 / drug.duration_min
