"""Whether the kidneys can clear magnesium: eGFR, acute injury, and the gate that follows."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from functools import cached_property

from service.logic import formulas
from service.logic.case.magnesium import SerumMagnesium
from service.logic.case.results import above, canonical, time_between
from service.logic.model import Analyte, LabResult

CLOSED_GATES = frozenset({"severe", "failure", "unstable"})
MAX_CREATININES = 50  # the newest ones in which a rise is looked for: cost stays bounded, whatever was sent


class Kidney(SerumMagnesium):
    """The kidney gate of a patient."""

    @cached_property
    def creatinine_window(self) -> timedelta:
        """How long creatinine is current."""
        return self.window("creatinine-current-inpatient", "creatinine-current-ambulatory")

    @cached_property
    def creatinine(self) -> LabResult | None:
        """The current creatinine."""
        return self.current(Analyte.CREATININE, self.creatinine_window)

    @cached_property
    def reported_egfr(self) -> LabResult | None:
        """A laboratory eGFR: of the creatinine's own collection, or current when none can be computed."""
        if self.creatinine is not None:
            own = self.same_collection(self.creatinine, Analyte.EGFR)
            if own is not None or self.computed_egfr is not None:
                return own
        return self.current(Analyte.EGFR, self.creatinine_window)

    @cached_property
    def computed_egfr(self) -> Decimal | None:
        """EGFR computed from the current creatinine, or None (no birth date, under one year, no height in a child)."""
        return None if self.creatinine is None else self._egfr_from(self.creatinine)

    def _egfr_from(self, creatinine: LabResult) -> Decimal | None:
        birth = self.patient.birth_date
        if creatinine.taken is None or birth is None:
            return None
        age = formulas.completed_years(birth, creatinine.taken.end.date())
        if age < self.knowledge.value("schwartz-age"):
            return None
        if age < self.knowledge.value("child-age"):
            return self._schwartz(creatinine)
        sexes = (self.patient.sex,) if self.patient.sex else ("female", "male")
        return min(formulas.ckd_epi_2021(canonical(creatinine), Decimal(age), sex) for sex in sexes)

    def _schwartz(self, creatinine: LabResult) -> Decimal | None:
        height = self.current(Analyte.HEIGHT, self.duration("child-height-window"))
        return formulas.bedside_schwartz(canonical(creatinine), canonical(height)) if height else None

    @cached_property
    def egfr(self) -> Decimal | None:
        """EGFR in mL/min/1.73 m², unrounded: computed or reported, the lower if they disagree on the gate.

        None on dialysis and in pregnancy.
        """
        if self.dialysis or self.pregnant:
            return None
        reported = _edge(self.reported_egfr) if self.reported_egfr else None
        known = [value for value in (self.computed_egfr, reported) if value is not None]
        if len(known) == 2 and self._gate_of(known[0]) == self._gate_of(known[1]):
            return known[0]
        return min(known) if known else None

    def _gate_of(self, egfr: Decimal) -> str:
        for gate, parameter in (("normal", "egfr-normal"), ("reduced", "egfr-reduced"), ("severe", "egfr-severe")):
            if egfr >= self.knowledge.value(parameter):
                return gate
        return "failure"

    @cached_property
    def _creatinines(self) -> list[LabResult]:
        return self.usable(Analyte.CREATININE)[:MAX_CREATININES]

    @cached_property
    def aki_row(self) -> tuple[LabResult, LabResult] | None:
        """The lowest and the newest creatinine of an acute injury by KDIGO that is not over, or None."""
        newest = self.creatinine
        if newest is None:
            return None
        window = self.duration("aki-ratio-window")
        week = [r for r in self._creatinines if time_between(newest, r) <= window]
        lowest = min(week, key=canonical)
        return (lowest, newest) if self._risen(lowest, newest) and self._kdigo(week) else None

    def _risen(self, lowest: LabResult, newest: LabResult) -> bool:
        """Still 26.5 µmol/L above the lowest value, or 1.5 times it."""
        low, now = canonical(lowest), canonical(newest)
        return now - low >= self.knowledge.value("aki-rise") or now >= self.knowledge.value("aki-ratio") * low

    def _kdigo(self, week: list[LabResult]) -> bool:
        """A rise by 26.5 µmol/L within 48 h, or to 1.5 times an earlier value, at some time in the week."""
        rise, ratio = self.knowledge.value("aki-rise"), self.knowledge.value("aki-ratio")
        span = self.duration("aki-rise-window")
        return any(
            canonical(later) >= ratio * canonical(earlier)
            or (canonical(later) - canonical(earlier) >= rise and time_between(later, earlier) <= span)
            for place, later in enumerate(week)
            for earlier in week[place + 1 :]
        )

    @cached_property
    def aki_slight(self) -> bool:
        """A KDIGO rise to less than twice the lowest value with eGFR still 60 or more: gate reduced, not closed."""
        if self.aki_row is None or self.egfr is None:
            return False
        lowest, newest = self.aki_row
        doubled = canonical(newest) >= self.knowledge.value("aki-doubled") * canonical(lowest)
        return not doubled and self.egfr >= self.knowledge.value("egfr-normal")

    @cached_property
    def aki_refuted(self) -> bool:
        """AKI on the problem list, but the current creatinine and eGFR of 60 or more say otherwise."""
        fresh = self.creatinine is not None and self.age_of(self.creatinine) <= self.duration("aki-refute-window")
        normal = self.egfr is not None and self.egfr >= self.knowledge.value("egfr-normal")
        return "aki" in self.tags and fresh and normal and self.aki_row is None

    @cached_property
    def aki(self) -> tuple[LabResult, ...] | None:
        """Why the kidneys count as unstable: the creatinines of a KDIGO rise, or () for a condition; else None."""
        if self.aki_row is not None:
            return None if self.aki_slight else self.aki_row
        return () if "aki" in self.tags and not self.aki_refuted else None

    @cached_property
    def gate(self) -> str:
        """The kidney gate: normal, reduced, severe, failure, unstable or unknown. Dialysis, then AKI, then eGFR."""
        if self.dialysis:
            return "failure"
        if self.aki is not None:
            return "unstable"
        if self.pregnant:
            return self._pregnancy_gate
        if self.infant:
            return "unknown" if self._creatinine_not_high else "severe"
        if self.egfr is None:
            return "unknown"
        gate = self._gate_of(self.egfr)
        return "reduced" if gate == "normal" and self.aki_slight else gate

    @cached_property
    def _creatinine_not_high(self) -> bool:
        """Under one year only a creatinine above the laboratory's own range closes the gate."""
        return self.creatinine is None or self.creatinine.range is None or self.classify(self.creatinine) != "high"

    @cached_property
    def dose_gate(self) -> str:
        """The gate for a dose: dialysis, else the stricter of AKI and eGFR below 15 (even unreliable) or anuria."""
        if self.dialysis:
            return "dialysis"
        if self.gate != "unstable":
            return self.gate
        failing = self.egfr is not None and self._gate_of(self.egfr) == "failure"
        return "failure" if failing or "anuria" in self.tags else "unstable"

    @cached_property
    def _pregnancy_gate(self) -> str:
        if self.creatinine is None:
            return "unknown"
        limit = self.limit("pregnancy-creatinine", self.creatinine)
        return "severe" if above(self.creatinine, limit) else "normal"

    @cached_property
    def gate_closed(self) -> bool:
        """Magnesium would accumulate."""
        return self.gate in CLOSED_GATES

    @cached_property
    def closed_since(self) -> LabResult | None:
        """The first result of the present unbroken row of creatinines by which the gate is closed, or None."""
        first = None
        for place, result in enumerate(self._creatinines):
            if not self._closed_at(result, place):
                break
            first = result
        return first

    def _closed_at(self, result: LabResult, place: int) -> bool:
        """Whether a creatinine of the past closed the gate on its day."""
        window = self.duration("aki-ratio-window")
        week = [r for r in self._creatinines[place:] if time_between(result, r) <= window]
        egfr = self._egfr_from(result)
        low = egfr is not None and egfr < self.knowledge.value("egfr-reduced")
        lowest = min(week, key=canonical)
        doubled = canonical(result) >= self.knowledge.value("aki-doubled") * canonical(lowest)
        slight = not doubled and egfr is not None and egfr >= self.knowledge.value("egfr-normal")
        return low or (self._risen(lowest, result) and self._kdigo(week) and not slight)


def _edge(result: LabResult) -> Decimal:
    """A reported eGFR such as ">90" as the number just inside it."""
    tiny = {"<": Decimal("-0.01"), ">": Decimal("0.01")}.get(result.comparator, Decimal(0))
    return canonical(result) + tiny
