"""One patient as the rules see them: what is current, what is low, what is taken, which gate is open. Lazy and pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cached_property

from service.logic import formulas
from service.logic.knowledge import Band, Knowledge, interval_in
from service.logic.model import (
    Analyte,
    Condition,
    Exposure,
    LabResult,
    Medication,
    PatientSnapshot,
    Problem,
)
from service.logic.units import FACTORS, limit_in, rounded, to_unit

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
OBSTETRIC = frozenset({"preeclampsia", "eclampsia"})
CLOSED_GATES = frozenset({"severe", "failure", "unstable"})


# How far back a result can matter: the longest window of its analyte, and two days for pairs and for days without time.
LOOKS_BACK_USUALLY = timedelta(days=32)
LOOKS_BACK = {
    Analyte.CREATININE: timedelta(days=99),
    Analyte.EGFR: timedelta(days=99),
    Analyte.RBC_MAGNESIUM: timedelta(days=182),
}


@dataclass(frozen=True, slots=True)
class Range:
    """The limits in force for one result, in the result's own unit, and where they come from."""

    low: Decimal | None
    high: Decimal | None
    unit: str
    origin: str  # "laboratory", "profile" or "flag"
    flag: str = ""


class Case:
    """A snapshot and the knowledge, with the readings that several rules share. Every reading is computed once."""

    def __init__(self, snapshot: PatientSnapshot, knowledge: Knowledge) -> None:
        self.patient = snapshot
        self.know = knowledge
        self.now = snapshot.as_of

    # ---- results -------------------------------------------------------------------------------------------------

    @cached_property
    def labs(self) -> dict[Analyte, list[LabResult]]:
        """Results that are not in the future, newest first (effective time, then time of issue), duplicates once."""
        by_analyte: dict[Analyte, list[LabResult]] = {}
        for result in sorted(self.patient.labs, key=_newest, reverse=True):
            if result.taken is None or result.problem in _NEVER:
                continue
            same = by_analyte.setdefault(result.analyte, [])
            if not any(_duplicate(result, other) for other in same[-3:]):
                same.append(result)
        return by_analyte

    def usable(self, analyte: Analyte) -> list[LabResult]:
        """Results of an analyte that may be interpreted, newest first."""
        return [result for result in self.labs.get(analyte, ()) if result.problem is None]

    def age_of(self, result: LabResult) -> timedelta:
        """How long before the moment of evaluation the result was taken; a day without time counts to its end."""
        assert result.taken is not None  # noqa: S101  labs holds dated results only
        return max(self.now - result.taken.end, timedelta(0))

    def window(self, inpatient: str, ambulatory: str) -> timedelta:
        """The window in force: the inpatient one in hospital or emergency care, else the ambulatory one."""
        return self.span(inpatient if self.patient.inpatient else ambulatory)

    def span(self, parameter: str) -> timedelta:
        """A time parameter."""
        return self.know.span(parameter)

    def current(self, analyte: Analyte, window: timedelta | None = None) -> LabResult | None:
        """The newest usable result within the window (default: the window for pairs), or None."""
        limit = self.pair_window if window is None else window
        return next((r for r in self.usable(analyte) if self.age_of(r) <= limit), None)

    @cached_property
    def pair_window(self) -> timedelta:
        """How long potassium, calcium, albumin, bicarbonate and QTc are current."""
        return self.window("pair-inpatient", "pair-ambulatory")

    @cached_property
    def mg_window(self) -> timedelta:
        """How long serum magnesium is current."""
        return self.window("mg-current-inpatient", "mg-current-ambulatory")

    # ---- serum magnesium -----------------------------------------------------------------------------------------

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
        near = self.span("mg-contradiction-minutes")
        for first in results:
            if self.age_of(first) > self.mg_window or _apart(results[0], first) > near:
                break
            for other in results:
                if other is not first and _apart(first, other) <= near and self._contradict(first, other):
                    return first, other
        return None

    def _contradict(self, one: LabResult, other: LabResult) -> bool:
        replaced = {one.status, other.status} & {"corrected", "amended"} or one.haemolysed != other.haemolysed
        if replaced or one.comparator or other.comparator or _day_only(one) or _day_only(other):
            return False
        a, b = _value(one), _value(other)
        share = self.know.value("mg-contradiction-share") / 100
        return abs(a - b) > max(self.know.value("mg-contradiction"), share * max(a, b))

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
        """mild, moderate or severe for a reliably low magnesium, else None."""
        if not self.mg_low or self.mg is None:
            return None
        if below(self.mg, self.limit("mg-severe", self.mg)):
            return "severe"
        return "moderate" if below(self.mg, self.limit("mg-moderate", self.mg)) else "mild"

    @cached_property
    def pseudo(self) -> bool:
        """A low total magnesium that is probably only a low protein (R-004's guard)."""
        if not self.mg_low or self.severity == "severe":
            return False
        ionised = self.current(Analyte.IONISED_MAGNESIUM, self.mg_window)
        if ionised is not None:
            return self.classify(ionised) in {"normal", "high"}
        return self.albumin_low and self._adjusted_not_low

    @cached_property
    def mg_adjusted(self) -> Decimal | None:
        """Serum magnesium adjusted to albumin, mmol/L, with a current albumin; approximate."""
        albumin = self.current(Analyte.ALBUMIN)
        if self.mg is None or albumin is None or not self.mg_is_current:
            return None
        return formulas.albumin_adjusted_magnesium(_value(self.mg), _value(albumin))

    @cached_property
    def _adjusted_not_low(self) -> bool:
        limits = self.range_of(self.mg) if self.mg else None
        if self.mg_adjusted is None or limits is None or limits.low is None:
            return False
        low = limit_in(limits.low, limits.unit, "mmol/L", Analyte.SERUM_MAGNESIUM)
        return self.mg_adjusted >= low

    # ---- limits ----------------------------------------------------------------------------------------------------

    def limit(self, parameter: str, result: LabResult) -> Decimal:
        """A parameter in the unit in which the result was reported."""
        return self.know.limit(parameter, _unit(result), result.analyte)

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
        unit = _unit(result)
        ranges = [interval_in(band.interval, unit, result.analyte) for band in self.know.profiles["default"]]
        return not any(below(result, low) or above(result, high) for low, high in ranges)

    def range_of(self, result: LabResult) -> Range | None:
        """Laboratory range first, then its flag, then the profile or default of the analyte; None if none applies.

        A side on which the laboratory gives no limit is filled from the profile, in the unit of the result.
        """
        unit = _unit(result)
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
        unit = _unit(result)
        if result.analyte is Analyte.SERUM_MAGNESIUM:
            band = self._band(result)
            return Range(*interval_in(band.interval, unit, result.analyte), unit, "profile") if band else None
        if name := _DEFAULT_INTERVAL.get(result.analyte):
            return Range(*self.know.interval(name, unit, result.analyte), unit, "profile")
        low, high = _DEFAULT_LIMITS.get(result.analyte, ("", ""))
        if not low and not high:
            return None
        return Range(
            self.limit(low, result) if low else None, self.limit(high, result) if high else None, unit, "profile"
        )

    def _band(self, result: LabResult) -> Band | None:
        """The band of the profile for the age at sampling; an unknown age is read as an adult's."""
        profile = self.know.profiles.get(self.patient.profile, ())
        bands = [*(b for b in self.know.profiles["default"] if not profile or b.months < profile[0].months), *profile]
        bands = list(profile) if profile and profile[0].months == 0 else bands
        birth, taken = self.patient.birth_date, result.taken
        if birth is None or taken is None:
            return bands[-1]
        months = formulas.completed_months(birth, taken.end.date())
        days = (taken.end.date() - birth).days
        suiting = [b for b in bands if (days >= b.days if b.days else months >= b.months)]
        return suiting[-1] if suiting else None

    # ---- other electrolytes ------------------------------------------------------------------------------------------

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
    def calcium_corrected(self) -> Decimal | None:
        """Total calcium corrected to albumin, mmol/L; None unless both are current. Never corrects twice."""
        if self.calcium is None or self.calcium.analyte is not Analyte.CALCIUM or self.albumin is None:
            return None
        return formulas.albumin_corrected_calcium(_value(self.calcium), _value(self.albumin))

    @cached_property
    def calcium_low(self) -> bool:
        """Calcium (ionised, adjusted or corrected; total only where albumin is missing) is low."""
        if self.calcium is None:
            return False
        if self.calcium_corrected is None:
            return self.classify(self.calcium) == "low"
        limits, unit = self.range_of(self.calcium), _unit(self.calcium)
        low = limits.low if limits is not None and limits.low is not None else self.limit("ca-low", self.calcium)
        return rounded(to_unit(self.calcium_corrected, unit, Analyte.CALCIUM), 3) < low

    @cached_property
    def qtc_long(self) -> LabResult | None:
        """A current QTc at or above the limit."""
        qtc = self.current(Analyte.QTC)
        return qtc if qtc and not below(qtc, self.limit("qtc-long", qtc)) else None

    def same_collection(self, result: LabResult, analyte: Analyte) -> LabResult | None:
        """A usable result of another analyte from the same specimen, or taken at the same moment."""
        for other in self.usable(analyte):
            if result.specimen and result.specimen == other.specimen:
                return other
            if _apart(result, other) == timedelta(0):
                return other
        return None

    # ---- person ------------------------------------------------------------------------------------------------------

    @cached_property
    def age_group(self) -> str:
        """adult, child, or unknown when the birth date does not tell."""
        birth = self.patient.birth
        if birth is None:
            return "unknown"
        limit = self.know.value("child-age")
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

    # ---- conditions --------------------------------------------------------------------------------------------------

    @cached_property
    def tags(self) -> frozenset[str]:
        """Tags of conditions that count now (see `condition`)."""
        return frozenset(tag for c in self.patient.conditions for tag in c.tags if self._counts(c, tag))

    def _counts(self, condition: Condition, tag: str) -> bool:
        if not condition.active or (condition.onset is not None and condition.onset.start > self.now):
            return False
        if tag not in ACUTE or condition.onset is None:
            return True
        return self.now - condition.onset.end <= self.span("acute-window")

    def condition(self, *tags: str) -> list[Condition]:
        """Conditions with one of these tags that count now: active and, for acute events, begun within 72 h."""
        return [c for c in self.patient.conditions if any(t in c.tags and self._counts(c, t) for t in tags)]

    def coded(self, *tags: str) -> bool:
        """True if a code, not a text alone, states one of these now: what may lower a warning needs a code."""
        return any(c.recognised_by == "code" for c in self.condition(*tags))

    @cached_property
    def pregnant(self) -> bool:
        """Pregnant, by any of the pregnancy tags."""
        return bool(self.tags & ({"pregnant"} | OBSTETRIC))

    @cached_property
    def dialysis(self) -> bool:
        """On dialysis."""
        return "dialysis" in self.tags

    # ---- drugs -------------------------------------------------------------------------------------------------------

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

    def exposed(self, classes: frozenset[str], window: str) -> list[Medication]:
        """Medications of these classes that are active, or whose last dose lies within the window."""
        span = self.span(window)
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
    def magnesium_products(self) -> list[Medication]:
        """Every active magnesium product, by whatever route (an enema and a muscle absorb too)."""
        return self.active(MAGNESIUM_PRODUCT)

    @cached_property
    def oral_magnesium(self) -> list[Medication]:
        """Active magnesium products that are swallowed."""
        return [m for m in self.magnesium_products if magnesium_route(m) == "oral" and not is_fluid(m)]

    @cached_property
    def iv_magnesium(self) -> list[Medication]:
        """Active intravenous magnesium."""
        return [m for m in self.magnesium_products if magnesium_route(m) == "iv" and not is_fluid(m)]

    @cached_property
    def recent_iv_magnesium(self) -> list[Medication]:
        """Intravenous magnesium, active or ended within 48 hours."""
        recent = self.exposed(MAGNESIUM_PRODUCT, "iv-mg-recent")
        return [m for m in recent if magnesium_route(m) == "iv" and not is_fluid(m)]

    @cached_property
    def medications_known(self) -> bool:
        """False if no medication list could be read: then "takes no such drug" may not be said."""
        kinds = ("medicationRequests", "medicationStatements")
        return bool(self.patient.medications) or not all(kind in self.patient.unavailable for kind in kinds)

    # ---- kidney ------------------------------------------------------------------------------------------------------

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
        if age < self.know.value("child-age"):
            return self._schwartz(creatinine)
        sexes = (self.patient.sex,) if self.patient.sex else ("female", "male")
        return min(formulas.ckd_epi_2021(_value(creatinine), Decimal(age), sex) for sex in sexes)

    def _schwartz(self, creatinine: LabResult) -> Decimal | None:
        height = self.current(Analyte.HEIGHT, self.span("child-height-window"))
        return formulas.bedside_schwartz(_value(creatinine), _value(height)) if height else None

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
            if egfr >= self.know.value(parameter):
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
        rise, ratio = self.know.value("aki-rise"), self.know.value("aki-ratio")
        for earlier in self.usable(Analyte.CREATININE):
            apart, before = _apart(newest, earlier), _value(earlier)
            risen = apart <= self.span("aki-rise-window") and _value(newest) - before >= rise
            if risen or (apart <= self.span("aki-ratio-window") and _value(newest) >= ratio * before):
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


# Acute tags count when begun within 72 h or without a date (terminology/conditions.toml marks the same ones).
ACUTE = EMERGENCY | {
    "symptomatic_hypomg", "symptomatic_hypermg", "aki", "asthma_severe", "dka", "pancreatitis", "refeeding", "vomiting",
}  # fmt: skip

_NEVER = frozenset({Problem.STATUS, Problem.PRELIMINARY, Problem.NO_TIME, Problem.FUTURE, Problem.NO_VALUE})
_DEFAULT_INTERVAL = {Analyte.RBC_MAGNESIUM: "rbc-mg-range", Analyte.IONISED_MAGNESIUM: "ionised-mg-range"}
_DEFAULT_LIMITS = {
    Analyte.POTASSIUM: ("k-low", "k-high"),
    Analyte.CALCIUM: ("ca-low", ""),
    Analyte.ADJUSTED_CALCIUM: ("ca-low", ""),
    Analyte.IONISED_CALCIUM: ("ionised-ca-low", ""),
    Analyte.ALBUMIN: ("albumin-low", ""),
    Analyte.BICARBONATE: ("", "bicarbonate-high"),
}


def below(result: LabResult, limit: Decimal) -> bool:
    """`value < limit` in the reported unit; `<x` is just below x, `>x` just above."""
    value = _reported(result)
    return value < limit or (value == limit and result.comparator == "<")


def above(result: LabResult, limit: Decimal) -> bool:
    """`value > limit` in the reported unit; `<x` is just below x, `>x` just above."""
    value = _reported(result)
    return value > limit or (value == limit and result.comparator == ">")


def at_least(result: LabResult, limit: Decimal) -> bool:
    """`value >= limit` in the reported unit."""
    return not below(result, limit)


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


def ended_before(drugs: Iterable[Medication], moment: datetime) -> Iterator[tuple[Medication, datetime]]:
    """Medications that were given, with a known end (or, for a single administration, start) not after the moment."""
    for drug in drugs:
        last = drug.end or drug.start
        if drug.exposure in {Exposure.ACTIVE, Exposure.ENDED} and last is not None and last.end <= moment:
            yield drug, last.end


def _reported(result: LabResult) -> Decimal:
    assert result.reported is not None  # noqa: S101  usable results carry value and unit
    return result.reported.value


def _value(result: LabResult) -> Decimal:
    assert result.value is not None  # noqa: S101  usable results carry value and unit
    return result.value


def _unit(result: LabResult) -> str:
    return result.reported.unit if result.reported else next(iter(FACTORS[result.analyte]))


def _edge(result: LabResult) -> Decimal:
    """A reported eGFR such as ">90" as the number just inside it."""
    tiny = {"<": Decimal("-0.01"), ">": Decimal("0.01")}.get(result.comparator, Decimal(0))
    return _value(result) + tiny


def _range_in(result: LabResult, unit: str) -> tuple[Decimal | None, Decimal | None]:
    given = result.range
    assert given is not None  # noqa: S101  the caller looked
    low = None if given.low is None else limit_in(given.low, given.unit, unit, result.analyte)
    high = None if given.high is None else limit_in(given.high, given.unit, unit, result.analyte)
    return low, high


def _newest(result: LabResult) -> tuple[float, float, bool, str]:
    taken = result.taken.end.timestamp() if result.taken else 0.0
    issued = result.issued.timestamp() if result.issued else 0.0
    return taken, issued, result.status in {"corrected", "amended"}, result.reference


def _duplicate(one: LabResult, other: LabResult) -> bool:
    return (one.taken, one.reported, one.comparator, one.problem) == (
        other.taken, other.reported, other.comparator, other.problem,
    ) and one.haemolysed == other.haemolysed  # fmt: skip


def _day_only(result: LabResult) -> bool:
    return result.taken is not None and result.taken.date_only


def _apart(one: LabResult, other: LabResult) -> timedelta:
    assert one.taken is not None  # noqa: S101  labs holds dated results only
    assert other.taken is not None  # noqa: S101  labs holds dated results only
    return abs(one.taken.end - other.taken.end)
