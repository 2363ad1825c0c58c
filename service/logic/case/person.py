"""Who the patient is and what the problem list says now: age, pregnancy, dialysis, acute events."""

from __future__ import annotations

from functools import cached_property

from service.logic import formulas
from service.logic.case.ranges import Ranges
from service.logic.model import Condition

NEUROPSYCHIATRIC = frozenset(
    [
        "migraine",
        "muscle_cramps",
        "seizure_acute",
        "epilepsy",
        "tremor",
        "chronic_fatigue",
        "anxiety",
        "insomnia",
        "ischemic_stroke",
        "alzheimer",
        "parkinson",
        "neurodegenerative",
        "depression",
        "chronic_stress",
    ]
)
EMERGENCY = frozenset({"torsades", "vt", "hemodynamic_instability", "tetany", "seizure_acute"})
UNSTABLE_RHYTHM = frozenset({"torsades", "vt", "hemodynamic_instability"})
ARRHYTHMIA = frozenset({"arrhythmia", "atrial_fibrillation", "long_qt"})
# Signs of excess that mean "stop, calcium now" while magnesium runs, and those that mean "hold, measure now".
TOXIC = frozenset({"areflexia", "respiratory_depression", "heart_block", "cardiac_arrest", "apnea"})
SUSPECT = frozenset({"hypotension", "bradycardia", "drowsiness", "symptomatic_hypermg"})
NEONATAL_SIGNS = TOXIC | EMERGENCY | {"hypotonia", "jitteriness", "symptomatic_hypermg", "symptomatic_hypomg"}
OBSTETRIC = frozenset({"preeclampsia", "eclampsia"})


class Person(Ranges):
    """Results, and the person to whom they belong."""

    @cached_property
    def age_group(self) -> str:
        """adult, child, or unknown when the birth date does not tell."""
        birth = self.patient.birth
        if birth is None:
            return "unknown"
        limit = self.knowledge.value("child-age")
        oldest = formulas.completed_years(birth.start.date(), self.now.date())
        youngest = formulas.completed_years(birth.end.date(), self.now.date())
        if youngest >= limit:
            return "adult"
        return "child" if oldest < limit else "unknown"

    @cached_property
    def age_years(self) -> int | None:
        """Completed years now, or None."""
        birth = self.patient.birth_date
        return None if birth is None else formulas.completed_years(birth, self.now.date())

    @cached_property
    def infant(self) -> bool:
        """Under one year: bedside Schwartz does not hold."""
        return self.age_years is not None and self.age_years < self.knowledge.value("schwartz-age")

    def younger_than(self, parameter: str) -> bool:
        """Younger than a parameter's days, at any hour of the day of birth."""
        birth = self.patient.birth
        return birth is not None and self.now - birth.start < self.duration(parameter)

    @cached_property
    def newborn(self) -> bool:
        """Under two days."""
        return self.younger_than("newborn-age")

    @cached_property
    def ambulatory(self) -> bool:
        """Not in hospital or emergency care, as far as is known."""
        return not self.patient.inpatient

    @cached_property
    def tags(self) -> frozenset[str]:
        """Tags of conditions that count now (see `condition`)."""
        return frozenset(tag for c in self.patient.conditions for tag in c.tags if self._counts(c, tag))

    def _counts(self, condition: Condition, tag: str) -> bool:
        if not condition.active or (condition.onset is not None and condition.onset.start > self.now):
            return False
        if tag not in condition.acute:
            return True
        if condition.onset is None:
            return not condition.of_finished_encounter
        return self.now - condition.onset.end <= self.duration("aki-window" if tag == "aki" else "acute-window")

    def condition(self, *tags: str) -> list[Condition]:
        """Conditions with one of these tags that count now: active and, for acute events, begun within 72 h."""
        return [c for c in self.patient.conditions if any(t in c.tags and self._counts(c, t) for t in tags)]

    def coded(self, *tags: str) -> bool:
        """True if a code, not a text alone, states one of these now: what may lower a warning needs a code."""
        return any(c.recognised_by == "code" for c in self.condition(*tags))

    def from_text(self, *tags: str) -> bool:
        """True if only words, no code, state one of these now: a card marks it."""
        return bool(self.condition(*tags)) and not self.coded(*tags)

    @cached_property
    def pregnant(self) -> bool:
        """Pregnant, by any of the pregnancy tags."""
        return bool(self.tags & ({"pregnant"} | OBSTETRIC))
