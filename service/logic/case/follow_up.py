"""What is due while magnesium is taken or given: a level that is overdue, kidneys that closed since (decisions 18, 19)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from service.logic.case.drugs import magnesium_route
from service.logic.case.treatment import Treated
from service.logic.model import Analyte, Medication, Schedule


@dataclass(frozen=True, slots=True)
class OverdueLevel:
    """A level that is missing: since which dose was given, or since which product was begun."""

    drug: Medication
    since: datetime
    given: bool


class FollowUp(Treated):
    """Treatment with magnesium, and what must be looked at meanwhile."""

    @cached_property
    def overdue_level(self) -> OverdueLevel | None:
        """The magnesium level that is overdue and not ordered, or None."""
        if Analyte.SERUM_MAGNESIUM in self.patient.pending:
            return None
        return self._overdue_after_dose or self._overdue_at_home

    @cached_property
    def _overdue_after_dose(self) -> OverdueLevel | None:
        """In hospital a day after the last intravenous dose; with a closed gate six hours after any dose."""
        doses = self.magnesium_doses if self.gate_closed else self.iv_doses
        if not doses or (self.ambulatory and not self.gate_closed):
            return None
        last = doses[0]
        wait = self.duration("level-after-dose-closed" if self.gate_closed else "level-after-iv")
        earliest = last.ended + (wait if self.gate_closed else timedelta(0))
        due = wait <= self.now - last.ended <= self.duration("level-forgotten")
        return OverdueLevel(last.drug, last.ended, given=True) if due and not self._measured_since(earliest) else None

    @cached_property
    def _overdue_at_home(self) -> OverdueLevel | None:
        """At home three months after an oral product was begun."""
        if self.in_hospital:
            return None
        wait = self.duration("level-after-oral")
        products = (m for m in self.regular_oral_magnesium if "mg_preparation" in m.classes)
        starts = ((m, m.start.start) for m in products if m.start is not None)
        due = ((m, start) for m, start in starts if self.now - start >= wait and not self._measured_since(start))
        return next((OverdueLevel(m, start, given=False) for m, start in due), None)

    def _measured_since(self, moment: datetime) -> bool:
        newest = self.newest_mg
        return newest is not None and newest.taken is not None and newest.taken.end >= moment

    @cached_property
    def calcium_stays_low(self) -> bool:
        """Calcium is low although magnesium, low within the week before, is normal again after treatment."""
        treated = any(self.now - d.ended <= self.duration("mg-current-inpatient") for d in self.magnesium_doses)
        if not (treated or self.iv_magnesium) or not self.mg_normal or not self.calcium_low:
            return False
        week = self.duration("dose-row")
        earlier = (r for r in self.usable(Analyte.SERUM_MAGNESIUM) if r is not self.mg and self.age_of(r) <= week)
        return any(self.classify(r) == "low" for r in earlier)

    @cached_property
    def closed_gate_news(self) -> str:
        """Why a closed gate with magnesium on the list is news: newly-closed, high, ambulatory, measure-first or ""."""
        if not self.gate_closed or not self.magnesium_products:
            return ""
        if self._closed_after_source:
            return "newly-closed"
        if self.mg_high and self.after_iv is None:
            return "high"
        if self.ambulatory and self.gate in {"severe", "failure"} and self._swallowed:
            return "ambulatory"
        unscheduled = any(m.schedule in {Schedule.SCALE, Schedule.AS_NEEDED} for m in self.magnesium_products)
        measured = self.mg is not None and self.age_of(self.mg) <= self.duration("mg-current-inpatient")
        return "measure-first" if unscheduled and not measured else ""

    @cached_property
    def _swallowed(self) -> bool:
        return any(magnesium_route(m) != "iv" for m in self.magnesium_products)

    @cached_property
    def _closed_after_source(self) -> bool:
        """The first closed result is newer than a scheduled product's start or than a dose of the last 48 h."""
        first = self.closed_since
        if first is None or first.taken is None:
            return False
        starts = [m.start.start for m in self.scheduled_magnesium if m.start is not None]
        doses = [d.ended for d in self.magnesium_doses if self.now - d.ended <= self.duration("iv-mg-recent")]
        return any(first.taken.end > moment for moment in (*starts, *doses))
