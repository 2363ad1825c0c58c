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
        """EGFR computed from the current creatinine, or None (no birth date, no height in a child)."""
        birth, creatinine = self.patient.birth_date, self.creatinine
        if creatinine is None or creatinine.taken is None or birth is None:
            return None
        age = formulas.completed_years(birth, creatinine.taken.end.date())
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
    def aki(self) -> tuple[LabResult, ...] | None:
        """Why the kidneys count as unstable: the two creatinines of a KDIGO rise, or () for a condition; else None."""
        if "aki" in self.tags:
            return ()
        newest = self.creatinine
        if newest is None:
            return None
        rise, ratio = self.knowledge.value("aki-rise"), self.knowledge.value("aki-ratio")
        for earlier in self.usable(Analyte.CREATININE):
            apart, before = time_between(newest, earlier), canonical(earlier)
            risen = apart <= self.duration("aki-rise-window") and canonical(newest) - before >= rise
            if risen or (apart <= self.duration("aki-ratio-window") and canonical(newest) >= ratio * before):
                return newest, earlier
        return None

    @cached_property
    def gate(self) -> str:
        """The kidney gate: normal, reduced, severe, failure, unstable or unknown."""
        if self.dialysis:
            return "failure"
        if self.egfr is not None and self._gate_of(self.egfr) == "failure":
            return "failure"
        if self.aki is not None:
            return "unstable"
        if self.pregnant:
            return self._pregnancy_gate
        return self._gate_of(self.egfr) if self.egfr is not None else "unknown"

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


def _edge(result: LabResult) -> Decimal:
    """A reported eGFR such as ">90" as the number just inside it."""
    tiny = {"<": Decimal("-0.01"), ">": Decimal("0.01")}.get(result.comparator, Decimal(0))
    return canonical(result) + tiny
