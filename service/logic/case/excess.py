"""How high a high magnesium is, what feeds it, and whether it is news (decisions 20, 29, 31 and 33)."""

from __future__ import annotations

from functools import cached_property

from service.logic.case.drugs import MAGNESIUM_PRODUCT, is_fluid, magnesium_route
from service.logic.case.emergency import Emergency
from service.logic.case.person import NEONATAL_SIGNS, OBSTETRIC
from service.logic.case.results import above, at_least, below, canonical
from service.logic.model import Medication
from service.logic.units import to_unit

TIERS = ("life-threatening", "severe", "moderate")


class Excess(Emergency):
    """A high magnesium."""

    @cached_property
    def magnesium_drafts(self) -> list[Medication]:
        """Draft orders of a magnesium product."""
        drafts = (o.medication for o in self.patient.orders if o.medication is not None)
        return [m for m in drafts if m.classes & MAGNESIUM_PRODUCT and not is_fluid(m)]

    @cached_property
    def obstetric_protocol(self) -> bool:
        """Magnesium sulfate is running for (pre)eclampsia, or is about to be continued."""
        continued = any(magnesium_route(m) == "iv" for m in self.magnesium_drafts)
        return self.coded(*OBSTETRIC) and (bool(self.iv_magnesium) or continued)

    @cached_property
    def unranged_newborn(self) -> bool:
        """Under two days old and the laboratory gives no range: limits of their own hold."""
        return self.newborn and self.mg_class == "unclassified"

    @cached_property
    def newborn_between(self) -> bool:
        """A newborn's sound and current magnesium between the limits of low and of high (decision 31)."""
        if not (self.unranged_newborn and self.mg_reliable) or self.mg is None:
            return False
        return not below(self.mg, self.limit("newborn-low", self.mg)) and not self.mg_at_least("newborn-noted")

    @cached_property
    def excess_tier(self) -> str | None:
        """mild, moderate, severe, life-threatening or protocol-range; None when magnesium is not reliably high."""
        if self.mg is None or not self.mg_reliable:
            return None
        if self.unranged_newborn:
            return self._tier if self.mg_at_least("newborn-noted") else None
        if not self.mg_high:
            return None
        in_range = not above(self.mg, self.limit("mg-eclampsia-ceiling", self.mg))
        return "protocol-range" if self.obstetric_protocol and in_range and not self.toxic_signs else self._tier

    @cached_property
    def _tier(self) -> str:
        """The tier in the unit reported."""
        return next((tier for tier in TIERS if self.mg_at_least(f"mg-high-{tier}")), "mild")

    @cached_property
    def excess_is_critical(self) -> bool:
        """Moderate or above by either printed scale: the graver one sets the urgency (decision 33)."""
        if self.mg is None or self.excess_tier in {None, "protocol-range"}:
            return False
        limits = (
            (unit, self.knowledge.limit("mg-high-moderate", unit, self.mg.analyte)) for unit in ("mmol/L", "mg/dL")
        )
        other = any(to_unit(canonical(self.mg), unit, self.mg.analyte) >= limit for unit, limit in limits)
        return self.excess_tier != "mild" or other

    @cached_property
    def newborn_is_toxic(self) -> bool:
        """A newborn from 3.0 mmol/L, or from 2.0 with a sign (decision 31)."""
        very_high = self.mg is not None and at_least(self.mg, self.limit("newborn-very-high", self.mg))
        return very_high or bool(self.tags & NEONATAL_SIGNS)

    @cached_property
    def fed_excess(self) -> bool:
        """A scheduled source with kidneys not known to be normal, or any active source with a closed gate."""
        scheduled = bool(self.scheduled_magnesium) and self.gate != "normal"
        return scheduled or bool(self.magnesium_products and self.gate_closed)

    @cached_property
    def mild_excess_is_loud(self) -> bool:
        """Below 2.0 mmol/L: with signs, from 1.5, or with a source that the kidneys cannot clear (decision 20)."""
        if self.excess_signs:
            return True
        if self.younger_than("neonate-age") or self.after_iv is not None:
            return False
        return self.mg_at_least("mg-high-warning") or self.fed_excess

    @cached_property
    def excess_is_news(self) -> bool:
        """A mild excess that nothing makes loud is news on first sight, or when it rose (decision 20)."""
        if self.excess_tier != "mild" or self.newborn or self.mild_excess_is_loud or self.excess_is_critical:
            return True
        if self.after_iv is not None:
            return False
        first = self.mg_before is None or self.classify(self.mg_before) != "high"
        return first or self.mg_rose
