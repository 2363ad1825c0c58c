"""What is taken now or was taken recently: wasting drugs, magnesium products, digoxin, potassium."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from service.logic.case.person import OBSTETRIC, Person
from service.logic.model import Exposure, Medication, Schedule

LOOP_OR_THIAZIDE = frozenset({"loop_diuretic", "thiazide", "thiazide_like"})
PLATINUM = frozenset({"platinum"})
PPI = frozenset({"ppi"})
EGFR_ANTIBODY = frozenset({"anti_egfr_mab"})
CNI_MTOR = frozenset({"calcineurin_inhibitor", "mtor_inhibitor"})
NEPHROTOXIC = frozenset({"aminoglycoside", "mg_wasting_antimicrobial", "polypeptide_antitb"})
OTHER_WASTING = EGFR_ANTIBODY | CNI_MTOR | NEPHROTOXIC | frozenset({"anti_egfr_tki", "her2", "osmotic_or_cai_diuretic"})
WASTING = LOOP_OR_THIAZIDE | PPI | PLATINUM | OTHER_WASTING
# The groups of R-055: two of them are a combined risk.
WASTING_GROUPS: dict[str, frozenset[str]] = {
    "diuretic": LOOP_OR_THIAZIDE,
    "PPI": PPI,
    "platinum": PLATINUM,
    "EGFR inhibitor": EGFR_ANTIBODY | {"anti_egfr_tki"},
    "calcineurin or mTOR inhibitor": CNI_MTOR,
    "nephrotoxic anti-infective": NEPHROTOXIC,
}
ONCOLOGY = PLATINUM | EGFR_ANTIBODY | frozenset({"anti_egfr_tki", "her2"})
MAGNESIUM_PRODUCT = frozenset({"mg_preparation", "mg_containing_antacid"})

QT_ANTIARRHYTHMIC = frozenset({"qt_antiarrhythmic"})
# Those whose torsades a low magnesium or potassium brings on soon after the start (decision 26); not amiodarone.
TORSADES_DRUGS = frozenset({"sotalol", "dofetilide", "ibutilide", "quinidine", "disopyramide", "procainamide"})
# A laxative or antacid in the sense of the label: taken for its own effect, not to replace magnesium.
DIGOXIN = frozenset({"cardiac_glycoside"})
CKRT_FLUID = frozenset({"ckrt_fluid"})


@dataclass(frozen=True, slots=True)
class GivenDose:
    """A dose of magnesium that was given: the medication, and from when to when."""

    drug: Medication
    begun: datetime
    ended: datetime


class Drugs(Person):
    """A person and what they take."""

    @cached_property
    def active_medications(self) -> list[Medication]:
        """Medications that are being taken now."""
        return [m for m in self.patient.medications if self._is_active(m)]

    def _is_active(self, drug: Medication) -> bool:
        started = drug.start is None or drug.start.start <= self.now
        ended = drug.end is not None and drug.end.end < self.now
        return drug.exposure is Exposure.ACTIVE and started and not ended

    def active(self, classes: frozenset[str]) -> list[Medication]:
        """Active medications of these classes."""
        return [m for m in self.active_medications if m.classes & classes]

    @cached_property
    def ckrt_fluids(self) -> list[Medication]:
        """Active replacement fluids of continuous renal replacement therapy."""
        return self.active(CKRT_FLUID)

    @cached_property
    def ckrt(self) -> bool:
        """On continuous renal replacement therapy, by condition or by an active replacement fluid (decision 28)."""
        return "ckrt" in self.tags or bool(self.ckrt_fluids)

    @cached_property
    def dialysis(self) -> bool:
        """On dialysis, intermittent or continuous."""
        return "dialysis" in self.tags or self.ckrt

    def exposed(self, classes: frozenset[str], window: str) -> list[Medication]:
        """Medications of these classes that are active, or whose last dose lies within the window."""
        span = self.duration(window)
        return [m for m in self.patient.medications if m.classes & classes and self._exposed(m, span)]

    def _exposed(self, drug: Medication, span: timedelta) -> bool:
        if self._is_active(drug):
            return True
        last = drug.end or (drug.start if drug.exposure is Exposure.ENDED else None)
        stopped = drug.exposure is Exposure.ENDED or (drug.exposure is Exposure.ACTIVE and drug.end is not None)
        return stopped and last is not None and timedelta(0) <= self.now - last.start and self.now - last.end <= span

    @cached_property
    def diuretics(self) -> list[Medication]:
        """Active loop, thiazide and thiazide-like diuretics."""
        return self.active(LOOP_OR_THIAZIDE)

    @cached_property
    def ppis(self) -> list[Medication]:
        """Active proton pump inhibitors."""
        return self.active(PPI)

    @cached_property
    def platinums(self) -> list[Medication]:
        """Platinum compounds, active or recent."""
        return self.exposed(PLATINUM, "platinum-exposure")

    @cached_property
    def other_wasting(self) -> list[Medication]:
        """Other wasting drugs, active or recent."""
        antibodies = self.exposed(EGFR_ANTIBODY, "egfr-exposure")
        others = self.exposed(OTHER_WASTING - EGFR_ANTIBODY, "drug-exposure")
        return [*antibodies, *(m for m in others if m not in antibodies)]

    @cached_property
    def wasting(self) -> list[Medication]:
        """Every medication that wastes magnesium, active or recent by its class."""
        return unique([*self.diuretics, *self.ppis, *self.platinums, *self.other_wasting])

    @cached_property
    def wasting_groups(self) -> list[str]:
        """The wasting groups of R-055 that are present."""
        classes = frozenset(c for m in self.wasting for c in m.classes)
        return [name for name, members in WASTING_GROUPS.items() if members & classes]

    @cached_property
    def digoxin(self) -> list[Medication]:
        """Active cardiac glycosides."""
        return self.active(frozenset({"cardiac_glycoside"}))

    @cached_property
    def potassium_products(self) -> list[Medication]:
        """Active potassium replacement; the potassium inside a diuretic's combination tablet is none."""
        return [m for m in self.active(frozenset({"potassium_salt"})) if not m.classes & LOOP_OR_THIAZIDE]

    @cached_property
    def qt_drugs(self) -> list[Medication]:
        """Active antiarrhythmics that prolong QT."""
        return self.active(QT_ANTIARRHYTHMIC)

    @cached_property
    def torsades_drugs(self) -> list[Medication]:
        """Active antiarrhythmics whose torsades a low magnesium brings on."""
        return [m for m in self.qt_drugs if any(i.name in TORSADES_DRUGS for i in m.ingredients)]

    @cached_property
    def magnesium_products(self) -> list[Medication]:
        """Every active magnesium product, by whatever route (an enema and a muscle absorb too), scales included."""
        return [m for m in self.active(MAGNESIUM_PRODUCT) if not self._is_over(m)]

    def _is_over(self, drug: Medication) -> bool:
        """An order for one dose is over when the dose was given, or a day after its start."""
        if not drug.once:
            return False
        start = drug.start or drug.ordered_at
        late = start is not None and self.now - start.end > self.duration("once-order")
        return late or any(m.request == drug.reference and _was_given(m) for m in self.patient.medications)

    @cached_property
    def scheduled_magnesium(self) -> list[Medication]:
        """Active magnesium products that are given whatever the level is."""
        return [m for m in self.magnesium_products if self._is_scheduled(m)]

    def _is_scheduled(self, drug: Medication) -> bool:
        """In (pre)eclampsia untimed intravenous magnesium is the drip, not a scale."""
        drip = drug.schedule is Schedule.SCALE and self.coded(*OBSTETRIC)
        return drip or drug.schedule in {Schedule.SCHEDULED, Schedule.UNSTATED}

    @cached_property
    def magnesium_scales(self) -> list[Medication]:
        """Active scales and replacement protocols of magnesium: given by level."""
        return [m for m in self.magnesium_products if m.schedule is Schedule.SCALE and not self._is_scheduled(m)]

    @cached_property
    def oral_magnesium(self) -> list[Medication]:
        """Active magnesium products that are swallowed."""
        return [m for m in self.magnesium_products if magnesium_route(m) == "oral" and not is_fluid(m)]

    @cached_property
    def regular_oral_magnesium(self) -> list[Medication]:
        """Active magnesium products that are swallowed at set times."""
        return [m for m in self.oral_magnesium if m.schedule is not Schedule.AS_NEEDED]

    @cached_property
    def iv_magnesium(self) -> list[Medication]:
        """Active intravenous magnesium, scales and as-needed orders left out: it runs, or will at its time."""
        return [m for m in self.scheduled_magnesium if magnesium_route(m) == "iv" and not is_fluid(m)]

    @cached_property
    def recent_iv_magnesium(self) -> list[Medication]:
        """Intravenous magnesium that is scheduled now, or of which a dose ended within 48 hours."""
        given = [dose.drug for dose in self.iv_doses if self.now - dose.ended <= self.duration("iv-mg-recent")]
        return unique([*self.iv_magnesium, *given])

    @cached_property
    def magnesium_doses(self) -> list[GivenDose]:
        """Doses of magnesium that were given, newest first: administrations, and courses with a known end."""
        products = [m for m in self.patient.medications if m.classes & MAGNESIUM_PRODUCT and _was_given(m)]
        given = [d for m in products if (d := self._given(m)) is not None]
        return sorted(given, key=lambda dose: dose.ended, reverse=True)

    def _given(self, drug: Medication) -> GivenDose | None:
        last = drug.end or (drug.start if is_administration(drug) else None)
        if last is None or last.end > self.now:
            return None
        begun = drug.start.start if drug.start is not None else last.start
        return GivenDose(drug, min(begun, last.end), last.end)

    @cached_property
    def iv_doses(self) -> list[GivenDose]:
        """Intravenous doses of magnesium that were given, newest first."""
        return [d for d in self.magnesium_doses if magnesium_route(d.drug) == "iv" and not is_fluid(d.drug)]

    @cached_property
    def nutrition(self) -> list[Medication]:
        """Active parenteral nutrition and other fluids that contain magnesium."""
        return [m for m in self.magnesium_products if is_fluid(m)]

    @cached_property
    def in_hospital(self) -> bool:
        """In hospital or emergency care: by the encounter, or by charted doses and drips whatever its class."""
        if self.patient.inpatient or any(m.route == "iv" for m in self.active_medications):
            return True
        lately = self.now - self.duration("iv-mg-recent")
        charted = (m.start or m.end for m in self.patient.medications if is_administration(m))
        return any(moment is not None and lately <= moment.end <= self.now for moment in charted)

    @cached_property
    def medications_known(self) -> bool:
        """False if no medication list could be read: then "takes no such drug" may not be said."""
        kinds = ("medicationRequests", "medicationStatements")
        return bool(self.patient.medications) or not all(kind in self.patient.unavailable for kind in kinds)


def magnesium_route(drug: Medication) -> str:
    """The route of a magnesium product; sulfate without a stated route is read as intravenous, the graver reading."""
    if drug.route:
        return drug.route
    return "iv" if any(item.name == "magnesium sulfate" for item in drug.ingredients) else "oral"


def is_fluid(drug: Medication) -> bool:
    """A nutrition, dialysis or balanced solution: it supplies magnesium, but is not a magnesium order."""
    return len(drug.classes & {"calcium_parenteral", "potassium_salt", "phosphate_salt"}) >= 2


def unique(items: Iterable[Medication]) -> list[Medication]:
    """Each medication once, in order."""
    return list({item.reference: item for item in items}.values())


def is_administration(drug: Medication) -> bool:
    """A dose that was charted, not an order or a list's entry."""
    return drug.reference.startswith("MedicationAdministration/")


def _was_given(drug: Medication) -> bool:
    return drug.exposure is Exposure.ENDED or (drug.exposure is Exposure.ACTIVE and drug.end is not None)
