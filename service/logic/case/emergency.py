"""Emergencies: when the first bolus may not wait, when magnesium must stop, when it must be measured now."""

from __future__ import annotations

from functools import cached_property

from service.logic.case.drugs import unique
from service.logic.case.kidney import Kidney
from service.logic.case.person import ARRHYTHMIA, EMERGENCY, SUSPECT, TOXIC
from service.logic.case.results import at_least
from service.logic.model import LabResult, Medication


class Emergency(Kidney):
    """What cannot wait."""

    @cached_property
    def emergency_tags(self) -> frozenset[str]:
        """The emergencies of a low magnesium that are present now."""
        return self.tags & (EMERGENCY | {"polymorphic_vt"})

    @cached_property
    def torsades(self) -> bool:
        """Torsades, or a polymorphic ventricular tachycardia with a long QT."""
        long_qt = self.qtc_long is not None or "long_qt" in self.tags
        return "torsades" in self.tags or ("polymorphic_vt" in self.tags and long_qt)

    @cached_property
    def mg_measured(self) -> LabResult | None:
        """The current serum magnesium, whether its specimen is sound or not."""
        return self.mg if self.mg is not None and self.mg_is_current else None

    def mg_at_least(self, parameter: str) -> bool:
        """The measured magnesium is at or above a limit, by its number alone."""
        return self.mg_measured is not None and at_least(self.mg_measured, self.limit(parameter, self.mg_measured))

    @cached_property
    def bolus_indicated(self) -> bool:
        """Torsades; or ventricular tachycardia or arrest with a magnesium known to be severely low."""
        pulseless = self.tags & {"vt", "polymorphic_vt", "cardiac_arrest"}
        return self.torsades or (bool(pulseless) and self.severity == "severe")

    @cached_property
    def bolus_open(self) -> bool:
        """The first bolus: at every kidney gate, level and albumin below 3.0 mmol/L, measured or not (decision 26)."""
        barred = self.tags & {"areflexia", "respiratory_depression"}
        return self.bolus_indicated and not barred and not self.mg_at_least("mg-high-severe")

    @cached_property
    def running_sources(self) -> list[Medication]:
        """Magnesium that runs or is taken at set times, nutrition that contains it, and what ran within 6 h."""
        lately = self.now - self.duration("after-iv")
        return unique([*self.scheduled_magnesium, *(d.drug for d in self.iv_doses if d.ended >= lately)])

    @cached_property
    def excess_signs(self) -> frozenset[str]:
        """Signs of excess that count: beside a high magnesium, or while a source runs and the level is not known."""
        unknown = bool(self.running_sources) and self.mg_measured is None
        return self.tags & (TOXIC | SUSPECT) if unknown or self._mg_number_high else frozenset()

    @cached_property
    def _mg_number_high(self) -> bool:
        return self.mg_measured is not None and self.mg_class == "high"

    @cached_property
    def toxic_signs(self) -> frozenset[str]:
        """Signs that mean: stop, calcium now, do not wait for the level."""
        return self.excess_signs & TOXIC

    @cached_property
    def measure_now(self) -> str:
        """Why magnesium that is not known must be measured at once (decision 26), or ""."""
        if self.mg_measured is not None or self.mg_unreadable or self.contradiction:
            return ""
        if self.qtc_long is not None:
            return "qtc"
        cause = self.wasting or "alcohol" in self.tags
        if self.emergency_tags and cause:
            return "emergency"
        if self.tags & ARRHYTHMIA & self._begun_lately and cause:
            return "arrhythmia"
        return "drug" if self._rhythm_drugs_at_risk else ""

    @cached_property
    def _begun_lately(self) -> frozenset[str]:
        """Tags of conditions whose beginning is dated within the window of acute events."""
        window = self.duration("acute-window")
        lately = (c for c in self.patient.conditions if c.onset and self.now - c.onset.end <= window)
        return frozenset(tag for c in lately for tag in c.tags)

    @cached_property
    def _rhythm_drugs_at_risk(self) -> bool:
        """Digoxin or a QT-prolonging antiarrhythmic with low potassium, AKI, or new within 7 days."""
        drugs = [*self.digoxin, *self.torsades_drugs]
        new = any(d.start and self.now - d.start.end <= self.duration("new-drug-window") for d in drugs)
        return bool(drugs) and (self.potassium_low or self.gate == "unstable" or new)
