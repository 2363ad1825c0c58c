"""The range in force for a result: the laboratory's, its flag, or the profile of this age."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from service.logic import formulas
from service.logic.case.results import Results, above, below, unit_of
from service.logic.knowledge import Band, interval_in
from service.logic.model import Analyte, LabResult
from service.logic.units import limit_in


@dataclass(frozen=True, slots=True)
class Range:
    """The limits in force for one result, in the result's own unit, and where they come from."""

    low: Decimal | None
    high: Decimal | None
    unit: str
    origin: str  # "laboratory", "profile" or "flag"
    flag: str = ""


class Ranges(Results):
    """Results, each with the range by which it is low, normal or high."""

    def limit(self, parameter: str, result: LabResult) -> Decimal:
        """A parameter in the unit in which the result was reported."""
        return self.knowledge.limit(parameter, unit_of(result), result.analyte)

    def classify(self, result: LabResult) -> str:
        """low, normal, high or unclassified, by the range in force; equality with a limit is normal."""
        limits = self.range_of(result)
        if limits is None:
            return "unclassified"
        if limits.origin == "flag":
            return {"L": "low", "H": "high"}.get(limits.flag, "normal")
        if limits.low is not None and below(result, limits.low):
            return "low"
        if limits.high is not None and above(result, limits.high):
            return "high"
        return "normal" if self._holds_at_any_age(result, limits) else "unclassified"

    def _holds_at_any_age(self, result: LabResult, limits: Range) -> bool:
        """False if an adult's range calls a magnesium normal whose owner's age is unknown, and a child's would not."""
        if self.patient.birth_date is not None or limits.origin != "profile":
            return True
        if result.analyte is not Analyte.SERUM_MAGNESIUM:
            return True
        unit = unit_of(result)
        ranges = [interval_in(band.interval, unit, result.analyte) for band in self.knowledge.profiles["default"]]
        return not any(below(result, low) or above(result, high) for low, high in ranges)

    def range_of(self, result: LabResult) -> Range | None:
        """Laboratory range first, then its flag, then the profile or default of the analyte; None if none applies.

        A side on which the laboratory gives no limit is filled from the profile, in the unit of the result.
        """
        unit = unit_of(result)
        fallback = self._default_range(result)
        if result.range is not None:
            low, high = _range_in(result, unit)
            if fallback is not None:
                low, high = (fallback.low if low is None else low), (fallback.high if high is None else high)
            return Range(low, high, unit, "laboratory")
        if result.flag:
            return Range(None, None, unit, "flag", result.flag)
        return fallback

    def _default_range(self, result: LabResult) -> Range | None:
        unit = unit_of(result)
        if result.analyte is Analyte.SERUM_MAGNESIUM:
            band = self._band(result)
            return Range(*interval_in(band.interval, unit, result.analyte), unit, "profile") if band else None
        if name := _DEFAULT_INTERVAL.get(result.analyte):
            return Range(*self.knowledge.interval(name, unit, result.analyte), unit, "profile")
        low, high = _DEFAULT_LIMITS.get(result.analyte, ("", ""))
        if not low and not high:
            return None
        return Range(
            self.limit(low, result) if low else None, self.limit(high, result) if high else None, unit, "profile"
        )

    def _band(self, result: LabResult) -> Band | None:
        """The band of the profile for the age at sampling; an unknown age is read as an adult's."""
        profile = self.knowledge.profiles.get(self.patient.profile, ())
        bands = [
            *(b for b in self.knowledge.profiles["default"] if not profile or b.months < profile[0].months),
            *profile,
        ]
        bands = list(profile) if profile and profile[0].months == 0 else bands
        birth, taken = self.patient.birth_date, result.taken
        if birth is None or taken is None:
            return bands[-1]
        months = formulas.completed_months(birth, taken.end.date())
        days = (taken.end.date() - birth).days
        suiting = [b for b in bands if (days >= b.days if b.days else months >= b.months)]
        return suiting[-1] if suiting else None


_DEFAULT_INTERVAL = {Analyte.RBC_MAGNESIUM: "rbc-mg-range", Analyte.IONISED_MAGNESIUM: "ionised-mg-range"}
_DEFAULT_LIMITS = {
    Analyte.POTASSIUM: ("k-low", "k-high"),
    Analyte.CALCIUM: ("ca-low", ""),
    Analyte.ADJUSTED_CALCIUM: ("ca-low", ""),
    Analyte.IONISED_CALCIUM: ("ionised-ca-low", ""),
    Analyte.ALBUMIN: ("albumin-low", ""),
    Analyte.PHOSPHATE: ("phosphate-low", ""),
    Analyte.BICARBONATE: ("", "bicarbonate-high"),
}


def _range_in(result: LabResult, unit: str) -> tuple[Decimal | None, Decimal | None]:
    given = result.range
    assert given is not None  # noqa: S101  the caller looked
    low = None if given.low is None else limit_in(given.low, given.unit, unit, result.analyte)
    high = None if given.high is None else limit_in(given.high, given.unit, unit, result.analyte)
    return low, high
