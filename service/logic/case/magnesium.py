"""Serum magnesium: which value counts, whether it is reliable, how low it is."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from functools import cached_property

from service.logic import formulas
from service.logic.case.drugs import GivenDose
from service.logic.case.electrolytes import Electrolytes
from service.logic.case.person import EMERGENCY
from service.logic.case.results import above, below, canonical, is_day_only, time_between
from service.logic.model import Analyte, LabResult
from service.logic.units import limit_in, to_unit


class SerumMagnesium(Electrolytes):
    """The serum magnesium by which the patient is judged."""

    @cached_property
    def newest_mg(self) -> LabResult | None:
        """The newest serum magnesium, interpretable or not."""
        return next(iter(self.labs.get(Analyte.SERUM_MAGNESIUM, ())), None)

    @cached_property
    def mg_unreadable(self) -> LabResult | None:
        """The newest serum magnesium if it is current but must not be interpreted."""
        newest = self.newest_mg
        if newest is None or newest.problem is None or self.age_of(newest) > self.mg_window:
            return None
        return newest

    @cached_property
    def contradiction(self) -> tuple[LabResult, LabResult] | None:
        """The newest current serum magnesium and another of the same hour that differs too much."""
        results = self.usable(Analyte.SERUM_MAGNESIUM)
        if not results or self.age_of(results[0]) > self.mg_window:
            return None
        near = self.duration("mg-contradiction-minutes")
        for first in results:
            if self.age_of(first) > self.mg_window or time_between(results[0], first) > near:
                break
            for other in results:
                if other is not first and time_between(first, other) <= near and self._contradict(first, other):
                    return first, other
        return None

    def _contradict(self, one: LabResult, other: LabResult) -> bool:
        replaced = {one.status, other.status} & {"corrected", "amended"} or one.haemolysed != other.haemolysed
        if replaced or one.comparator or other.comparator or is_day_only(one) or is_day_only(other):
            return False
        a, b = canonical(one), canonical(other)
        share = self.knowledge.value("mg-contradiction-share") / 100
        return abs(a - b) > max(self.knowledge.value("mg-contradiction"), share * max(a, b))

    @cached_property
    def mg(self) -> LabResult | None:
        """The newest serum magnesium that may be interpreted, however old; None if a newer one must not be."""
        if self.mg_unreadable or self.contradiction:
            return None
        return next(iter(self.usable(Analyte.SERUM_MAGNESIUM)), None)

    @cached_property
    def mg_is_current(self) -> bool:
        """True if `mg` is within the window of currency."""
        return self.mg is not None and self.age_of(self.mg) <= self.mg_window

    @cached_property
    def mg_class(self) -> str | None:
        """low, normal, high or unclassified for `mg`; None without one."""
        return self.classify(self.mg) if self.mg else None

    @cached_property
    def haemolysed(self) -> bool:
        """The current serum magnesium comes from a haemolysed specimen."""
        return self.mg is not None and self.mg_is_current and self.mg.haemolysed

    @cached_property
    def edta(self) -> tuple[LabResult, LabResult] | None:
        """Potassium and calcium of the same collection that make the EDTA pattern with a low magnesium, or None."""
        if self.mg is None or not self.mg_is_current or self.mg_class != "low":
            return None
        potassium = self.same_collection(self.mg, Analyte.POTASSIUM)
        calcium = self.same_collection(self.mg, Analyte.CALCIUM)
        if potassium is None or calcium is None:
            return None
        high_k = above(potassium, self.limit("k-edta", potassium))
        low_ca = below(calcium, self.limit("ca-low", calcium))
        return (potassium, calcium) if high_k and low_ca else None

    @cached_property
    def mg_reliable(self) -> bool:
        """Current, interpretable, and no specimen problem that makes its class doubtful."""
        if self.mg is None or not self.mg_is_current or self.edta:
            return False
        return not (self.haemolysed and self.mg_class != "low")

    @cached_property
    def mg_low(self) -> bool:
        """Serum magnesium is currently and reliably low."""
        return self.mg_reliable and self.mg_class == "low"

    @cached_property
    def mg_high(self) -> bool:
        """Serum magnesium is currently and reliably high."""
        return self.mg_reliable and self.mg_class == "high"

    @cached_property
    def mg_normal(self) -> bool:
        """Serum magnesium is currently and reliably in range."""
        return self.mg_reliable and self.mg_class == "normal"

    @cached_property
    def severity(self) -> str | None:
        """mild, moderate or severe for a reliably low magnesium in the unit reported, else None."""
        if not self.mg_low or self.mg is None:
            return None
        if below(self.mg, self.limit("mg-severe", self.mg)):
            return "severe"
        return "moderate" if below(self.mg, self.limit("mg-moderate", self.mg)) else "mild"

    @cached_property
    def graver_severity(self) -> str | None:
        """The graver of the grades by the mmol/L and by the mg/dL scale (decision 33); None if not low."""
        if self.severity is None or self.mg is None:
            return None
        grades = ("mild", "moderate", "severe")
        return max((self.severity, *(self._grade_in(unit) for unit in ("mmol/L", "mg/dL"))), key=grades.index)

    def _grade_in(self, unit: str) -> str:
        assert self.mg is not None  # noqa: S101  the caller looked
        value = to_unit(canonical(self.mg), unit, Analyte.SERUM_MAGNESIUM)
        for grade in ("severe", "moderate"):
            if value < self.knowledge.limit(f"mg-{grade}", unit, Analyte.SERUM_MAGNESIUM):
                return grade
        return "mild"

    @cached_property
    def mg_before(self) -> LabResult | None:
        """The usable serum magnesium before the newest one, at most three days older."""
        if self.mg is None:
            return None
        window = self.duration("mg-trend-window")
        older = (r for r in self.usable(Analyte.SERUM_MAGNESIUM) if r is not self.mg and r.reported is not None)
        return next((r for r in older if timedelta(0) < time_between(self.mg, r) <= window), None)

    def _changed_by(self, window: str, sign: int, parameter: str) -> bool:
        """Magnesium moved by at least the parameter, up (1) or down (-1), from some value within the window."""
        if self.mg is None:
            return False
        span, least, now = self.duration(window), self.knowledge.value(parameter), canonical(self.mg)
        earlier = [r for r in self.usable(Analyte.SERUM_MAGNESIUM) if r is not self.mg]
        return any(time_between(self.mg, r) <= span and sign * (now - canonical(r)) >= least for r in earlier)

    @cached_property
    def after_iv(self) -> GivenDose | None:
        """The intravenous dose within 6 h of whose end (or during which) the serum magnesium was drawn, or None."""
        return self.iv_dose_at(self.mg) if self.mg is not None else None

    def iv_dose_at(self, result: LabResult) -> GivenDose | None:
        """The intravenous dose that may have raised a result, or None; a day without a time cannot tell."""
        if result.taken is None or result.taken.date_only:
            return None
        drawn, span = result.taken.end, self.duration("after-iv")
        return next((d for d in self.iv_doses if d.begun <= drawn and drawn - d.ended < span), None)

    @cached_property
    def mg_fell(self) -> bool:
        """Magnesium fell by 0.15 mmol/L or more within 72 h: a real fall, whatever the protein."""
        return self._changed_by("mg-trend-window", -1, "mg-fall")

    @cached_property
    def mg_rose(self) -> bool:
        """Magnesium rose by 0.10 mmol/L or more within 48 h."""
        return self._changed_by("mg-rise-window", 1, "mg-rise")

    @cached_property
    def pseudo(self) -> bool:
        """A low total magnesium that is probably only a low protein (R-004's guard); never in an emergency (27)."""
        if not self.mg_low or self.graver_severity == "severe" or self._really_low:
            return False
        ionised = self.current(Analyte.IONISED_MAGNESIUM, self.mg_window)
        if ionised is not None:
            return self.classify(ionised) in {"normal", "high"}
        return self.albumin_low and self._adjusted_not_low

    @cached_property
    def _really_low(self) -> bool:
        """What speaks for a real deficit beside a low protein (decision 27)."""
        ionised = self.current(Analyte.IONISED_CALCIUM)
        low_ionised = ionised is not None and self.classify(ionised) == "low"
        partners = self.potassium_low or self.phosphate_low or low_ionised
        causes = bool(self.tags & {"alcohol", "diarrhea", "chronic_diarrhea"}) or bool(self.wasting)
        return bool(self.tags & (EMERGENCY | {"polymorphic_vt"})) or self.mg_fell or partners or causes

    @cached_property
    def mg_adjusted(self) -> Decimal | None:
        """Serum magnesium adjusted to albumin, mmol/L, with a current albumin; approximate."""
        albumin = self.current(Analyte.ALBUMIN)
        if self.mg is None or albumin is None or not self.mg_is_current:
            return None
        return formulas.albumin_adjusted_magnesium(canonical(self.mg), canonical(albumin))

    @cached_property
    def _adjusted_not_low(self) -> bool:
        limits = self.range_of(self.mg) if self.mg else None
        if self.mg_adjusted is None or limits is None or limits.low is None:
            return False
        low = limit_in(limits.low, limits.unit, "mmol/L", Analyte.SERUM_MAGNESIUM)
        return self.mg_adjusted >= low
