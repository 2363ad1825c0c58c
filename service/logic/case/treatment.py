"""Whether a low magnesium is being treated already, and what keeps a warning in spite of it (decision 17)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cached_property

from service.logic.case.drugs import GivenDose, is_administration, is_fluid, magnesium_route
from service.logic.case.excess import Excess
from service.logic.case.person import ARRHYTHMIA
from service.logic.case.results import below, canonical
from service.logic.model import Analyte, Indicator, LabResult, Medication
from service.logic.units import limit_in, rounded, to_unit


@dataclass(frozen=True, slots=True)
class Treatment:
    """What is done about a low magnesium: `kind` is given, ordered, oral or scale; `dose` where one was given."""

    kind: str
    drug: Medication
    dose: GivenDose | None = None


class Treated(Excess):
    """A low magnesium and what is done about it."""

    @cached_property
    def route(self) -> str:
        """iv-urgent, iv or oral for a low magnesium, whatever the gates say."""
        if self.emergency_tags or self.bolus_indicated:
            return "iv-urgent"
        gut = self.tags & {"short_bowel", "npo", "oral_intolerance"}
        needs_vein = self.graver_severity == "severe" or self.potassium_low or self.calcium_low or gut
        return "iv" if needs_vein else "oral"

    @cached_property
    def treatment(self) -> Treatment | None:
        """What treats the low magnesium, in the order of decision 17: given, ordered, oral, scale; else None."""
        if self.mg is None or self.mg.taken is None or not self.mg_low:
            return None
        sample = self.mg.taken.end
        return (
            self._given_since(sample) or self._ordered_since(sample) or self._oral_since(sample) or self._scale(sample)
        )

    def _given_since(self, sample: datetime) -> Treatment | None:
        doses = [d for d in self.magnesium_doses if d.ended > sample and not self._is_oral_course(d.drug)]
        return Treatment("given", doses[0].drug, doses[0]) if doses else None

    def _is_oral_course(self, drug: Medication) -> bool:
        return magnesium_route(drug) == "oral" and not is_administration(drug)

    def _ordered_since(self, sample: datetime) -> Treatment | None:
        if self.ambulatory:
            return None
        since = (m for m in self.iv_magnesium if is_administration(m) or ((b := _begun(m)) is not None and b >= sample))
        drug = next(since, None)
        return Treatment("ordered", drug) if drug else None

    def _oral_since(self, sample: datetime) -> Treatment | None:
        window = self.window("oral-new-inpatient", "oral-new-ambulatory")
        products = (m for m in self.regular_oral_magnesium if "mg_preparation" in m.classes)
        drug = next((m for m in products if (begun := _begun(m)) is not None and begun >= sample - window), None)
        return Treatment("oral", drug) if drug else None

    def _scale(self, sample: datetime) -> Treatment | None:
        """A scale holds for four hours after the sample; later without a dose it is named, but treats nothing."""
        fresh = self.now - sample < self.duration("scale-window")
        return Treatment("scale", self.covering_scales[0]) if fresh and self.covering_scales else None

    @cached_property
    def covering_scales(self) -> list[Medication]:
        """Active scales for the vein whose own words do not leave out the value measured."""
        scales = [m for m in self.magnesium_scales if magnesium_route(m) == "iv" and not is_fluid(m)]
        return [m for m in scales if self.mg is None or covers(m, self.mg)]

    @cached_property
    def idle_scale(self) -> Medication | None:
        """A scale that is active beside a low magnesium, with no dose charted since a sample of over four hours ago."""
        return next(iter(self.covering_scales), None) if self.mg_low and self.treatment is None else None

    @cached_property
    def never_lowered(self) -> bool:
        """What keeps its level however well the low magnesium is treated (decision 17)."""
        potassium = self._potassium_very_low and not self.potassium_products
        calcium = self.calcium_very_low and self.calcium_low and not self.calcium_products
        symptoms = self.emergency_tags | (self.tags & {"symptomatic_hypomg"})
        severe = self.graver_severity == "severe" or self.qtc_long is not None
        return severe or bool(symptoms) or potassium or calcium or self._digoxin_at_risk

    @cached_property
    def _potassium_very_low(self) -> bool:
        return self.potassium is not None and below(self.potassium, self.limit("k-very-low", self.potassium))

    @cached_property
    def _digoxin_at_risk(self) -> bool:
        return bool(self.digoxin) and (self.potassium_low or self.graver_severity == "moderate")

    @cached_property
    def modifiable_causes(self) -> list[Medication]:
        """Wasting drugs and proton pump inhibitors that are taken now."""
        return [m for m in self.wasting if m in self.active_medications]

    @cached_property
    def treatment_fails(self) -> bool:
        """Still low, or lower, under treatment, with a cause that can be changed: the treatment does not hold."""
        cause = bool(self.modifiable_causes) or self.calcium_high
        return self.mg_low and cause and (self._fell_after_dose or self._long_treated)

    @cached_property
    def _fell_after_dose(self) -> bool:
        """Lower than the value before the last dose, which was given in the week before this sample."""
        if self.mg is None or self.mg.taken is None:
            return False
        sample = self.mg.taken.end
        dose = next((d for d in self.magnesium_doses if d.ended <= sample), None)
        if dose is None or sample - dose.ended > self.duration("dose-row"):
            return False
        earlier = (r for r in self.usable(Analyte.SERUM_MAGNESIUM) if r.taken and r.taken.end <= dose.begun)
        before = next(earlier, None)
        return before is not None and canonical(self.mg) < canonical(before)

    @cached_property
    def _long_treated(self) -> bool:
        """Low after 48 h (ambulatory 14 days) of doses given, or of a regular product."""
        if self.mg is None or self.mg.taken is None:
            return False
        sample = self.mg.taken.end
        long_ago = sample - self.window("treatment-holds-inpatient", "treatment-holds-ambulatory")
        starts = [b for m in self.regular_oral_magnesium if (b := _begun(m)) is not None]
        row = [d.begun for d in self.magnesium_doses if timedelta(0) <= sample - d.ended <= self.duration("dose-row")]
        goes_on = bool(row) and sample - max(row) <= self.duration("iv-mg-recent")
        return any(start <= long_ago for start in starts) or (goes_on and min(row) <= long_ago)

    @cached_property
    def needs_vein_instead(self) -> bool:
        """Treated by mouth only, where the low magnesium asks for the vein."""
        return self.treatment is not None and self.treatment.kind == "oral" and self.route != "oral"

    @cached_property
    def low_is_handled(self) -> bool:
        """A low magnesium that is treated, with nothing that keeps its level up: information, not a warning."""
        treated = self.treatment is not None and not self.needs_vein_instead
        return treated and not self.never_lowered and not self.treatment_fails

    @cached_property
    def marginally_low(self) -> bool:
        """At most 0.04 mmol/L under the limit in force, and nothing else wrong: information (decision 17)."""
        if not self.mg_low or self.mg is None or self.never_lowered:
            return False
        limits = self.range_of(self.mg)
        if limits is None or limits.low is None or self.mg.reported is None:
            return False
        low = limit_in(limits.low, limits.unit, self.mg.reported.unit, Analyte.SERUM_MAGNESIUM)
        slight = low - self.mg.reported.value <= self.limit("mg-marginal", self.mg) and not self.mg.comparator
        risk = self.tags & (ARRHYTHMIA | {"alcohol"}) or self.wasting or self.qt_drugs or self.digoxin
        return slight and not (risk or self.potassium_low or self.calcium_low)

    @cached_property
    def diluted(self) -> bool:
        """Pregnancy lowers magnesium a little: not by a laboratory's range, and with nothing else wrong (decision 29)."""
        if not (self.mg_low and self.pregnant) or self.mg is None or self.mg.range is not None or self.never_lowered:
            return False
        slight = not below(self.mg, self.limit("pregnancy-low", self.mg))
        wrong = "vomiting" in self.tags or self.wasting or self.potassium_low or self.calcium_low
        return slight and not wrong

    @cached_property
    def low_is_news(self) -> bool:
        """A low magnesium that is neither treated, nor marginal, nor probably a matter of protein or dilution."""
        return self.mg_low and not (self.low_is_handled or self.marginally_low or self.pseudo or self.diluted)

    @cached_property
    def low_level(self) -> Indicator:
        """How loud what stands beside a low magnesium may be: a warning where the low itself is news."""
        return Indicator.WARNING if self.low_is_news else Indicator.INFO


_NUMBER = r"(\d+(?:[.,]\d+)?)"
_SCALE = re.compile(
    rf"\b(?:mg|magnesium)\b(?: level)?[^\d<]{{0,12}}?(<|below|under|less than)?\s*=?\s*{_NUMBER}"
    rf"(?:\s*(?:to|-|\u2013)\s*{_NUMBER})?\s*(mg/dl|mmol/l|meq/l)", re.IGNORECASE,
)  # fmt: skip
_UNITS = {"mg/dl": "mg/dL", "mmol/l": "mmol/L", "meq/l": "meq/L"}


def covers(scale: Medication, mg: LabResult) -> bool:
    """Whether the words of a scale ("if Mg 1.3 to 1.6 mg/dL", "if Mg < 1.2 mg/dL") leave it in; True if unclear."""
    found = _SCALE.search(f"{scale.text} {scale.name}")
    if found is None or mg.value is None:
        return True
    below_word, first, last, unit = found.groups()
    value = to_unit(mg.value, _UNITS[unit.lower()], mg.analyte)
    start = Decimal(first.replace(",", "."))
    if last is not None:
        return start <= rounded(value, 2) <= Decimal(last.replace(",", "."))
    return rounded(value, 2) < start if below_word else True


def _begun(drug: Medication) -> datetime | None:
    """When a medication was ordered or begun."""
    moment = drug.ordered_at or drug.start
    return None if moment is None else moment.start
