"""Potassium, calcium, albumin and QTc as they are now."""

from __future__ import annotations

from decimal import Decimal
from functools import cached_property

from service.logic import formulas
from service.logic.case.drugs import Drugs
from service.logic.case.results import below, canonical, unit_of
from service.logic.model import Analyte, LabResult, Medication
from service.logic.units import rounded, to_unit

CALCIUM_SYMPTOMS = frozenset({"tetany", "seizure_acute", "symptomatic_hypomg"})


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
    def calcium_albumin(self) -> LabResult | None:
        """The albumin that corrects calcium: at most a week old, in hospital too (decision 47)."""
        return self.current(Analyte.ALBUMIN, self.duration("calcium-albumin-window"))

    @cached_property
    def calcium_corrected(self) -> Decimal | None:
        """Total calcium corrected to albumin, mmol/L; None without both. Never corrects twice."""
        if self.calcium is None or self.calcium.analyte is not Analyte.CALCIUM or self.calcium_albumin is None:
            return None
        return formulas.albumin_corrected_calcium(canonical(self.calcium), canonical(self.calcium_albumin))

    @cached_property
    def _calcium_below_range(self) -> bool:
        if self.calcium is None:
            return False
        if self.calcium_corrected is None:
            return self.classify(self.calcium) == "low"
        limits = self.range_of(self.calcium)
        low = limits.low if limits is not None and limits.low is not None else self.limit("ca-low", self.calcium)
        return self._calcium_under(low)

    def _calcium_under(self, limit: Decimal) -> bool:
        """The calcium to judge by, corrected where it can be, lies below a limit in its own unit."""
        assert self.calcium is not None  # noqa: S101  the callers looked
        if self.calcium_corrected is None:
            return below(self.calcium, limit)
        return rounded(to_unit(self.calcium_corrected, unit_of(self.calcium), Analyte.CALCIUM), 3) < limit

    @cached_property
    def calcium_uncorrected(self) -> bool:
        """A total calcium without an albumin to correct it."""
        return self.calcium is not None and self.calcium.analyte is Analyte.CALCIUM and self.calcium_corrected is None

    @cached_property
    def calcium_very_low(self) -> bool:
        """Calcium below 1.9 mmol/L (total or corrected) or 1.0 (ionised)."""
        if self.calcium is None:
            return False
        ionised = self.calcium.analyte is Analyte.IONISED_CALCIUM
        return self._calcium_under(self.limit("ionised-ca-very-low" if ionised else "ca-very-low", self.calcium))

    @cached_property
    def calcium_low(self) -> bool:
        """Calcium is low; a total one without albumin only when very low or with symptoms of it (decision 47)."""
        sure = not self.calcium_uncorrected or self.calcium_very_low or bool(self.tags & CALCIUM_SYMPTOMS)
        return self._calcium_below_range and sure

    @cached_property
    def calcium_perhaps_low(self) -> bool:
        """A total calcium below its range that an albumin or an ionised calcium might correct to normal."""
        return self._calcium_below_range and not self.calcium_low

    @cached_property
    def calcium_high(self) -> bool:
        """Corrected, adjusted or total calcium at or above 3.0 mmol/L: it makes the kidney lose magnesium."""
        if self.calcium is None or self.calcium.analyte is Analyte.IONISED_CALCIUM:
            return False
        return not self._calcium_under(self.limit("ca-high", self.calcium))

    @cached_property
    def phosphate(self) -> LabResult | None:
        """The current phosphate."""
        return self.current(Analyte.PHOSPHATE)

    @cached_property
    def phosphate_low(self) -> bool:
        """The current phosphate is below its limit."""
        return self.phosphate is not None and self.classify(self.phosphate) == "low"

    @cached_property
    def calcium_products(self) -> list[Medication]:
        """Active calcium replacement."""
        return self.active(frozenset({"calcium_oral", "calcium_parenteral"}))

    @cached_property
    def qtc_long(self) -> LabResult | None:
        """A current QTc at or above the limit."""
        qtc = self.current(Analyte.QTC)
        return qtc if qtc and not below(qtc, self.limit("qtc-long", qtc)) else None
