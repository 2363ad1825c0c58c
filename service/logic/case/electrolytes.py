"""Potassium, calcium, albumin and QTc as they are now."""

from __future__ import annotations

from decimal import Decimal
from functools import cached_property

from service.logic import formulas
from service.logic.case.drugs import Drugs
from service.logic.case.results import below, canonical, unit_of
from service.logic.model import Analyte, LabResult
from service.logic.units import rounded, to_unit


class Electrolytes(Drugs):
    """What is measured beside magnesium."""

    @cached_property
    def potassium(self) -> LabResult | None:
        """The current potassium."""
        return self.current(Analyte.POTASSIUM)

    @cached_property
    def potassium_low(self) -> bool:
        """The current potassium is below its limit (laboratory's first)."""
        return self.potassium is not None and self.classify(self.potassium) == "low"

    @cached_property
    def potassium_high(self) -> bool:
        """The current potassium is above its limit."""
        return self.potassium is not None and self.classify(self.potassium) == "high"

    @cached_property
    def albumin(self) -> LabResult | None:
        """The current albumin."""
        return self.current(Analyte.ALBUMIN)

    @cached_property
    def albumin_low(self) -> bool:
        """The current albumin is below 35 g/L."""
        return self.albumin is not None and below(self.albumin, self.limit("albumin-low", self.albumin))

    @cached_property
    def calcium(self) -> LabResult | None:
        """The calcium to judge by: ionised, else adjusted by the laboratory, else total."""
        for analyte in (Analyte.IONISED_CALCIUM, Analyte.ADJUSTED_CALCIUM, Analyte.CALCIUM):
            if result := self.current(analyte):
                return result
        return None

    @cached_property
    def calcium_corrected(self) -> Decimal | None:
        """Total calcium corrected to albumin, mmol/L; None unless both are current. Never corrects twice."""
        if self.calcium is None or self.calcium.analyte is not Analyte.CALCIUM or self.albumin is None:
            return None
        return formulas.albumin_corrected_calcium(canonical(self.calcium), canonical(self.albumin))

    @cached_property
    def calcium_low(self) -> bool:
        """Calcium (ionised, adjusted or corrected; total only where albumin is missing) is low."""
        if self.calcium is None:
            return False
        if self.calcium_corrected is None:
            return self.classify(self.calcium) == "low"
        limits, unit = self.range_of(self.calcium), unit_of(self.calcium)
        low = limits.low if limits is not None and limits.low is not None else self.limit("ca-low", self.calcium)
        return rounded(to_unit(self.calcium_corrected, unit, Analyte.CALCIUM), 3) < low

    @cached_property
    def qtc_long(self) -> LabResult | None:
        """A current QTc at or above the limit."""
        qtc = self.current(Analyte.QTC)
        return qtc if qtc and not below(qtc, self.limit("qtc-long", qtc)) else None
