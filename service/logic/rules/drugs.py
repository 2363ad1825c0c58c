"""Group F, drugs: which medication may explain a low magnesium, and which asks for monitoring."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from service.logic.case import Case
from service.logic.case.drugs import CNI_MTOR, EGFR_ANTIBODY, LOOP_OR_THIAZIDE, NEPHROTOXIC, PLATINUM, PPI, WASTING
from service.logic.case.person import ARRHYTHMIA
from service.logic.message import Message
from service.logic.model import (
    Analyte,
    Exposure,
    Finding,
    Hook,
    Indicator,
    LabResult,
    Medication,
    MissingInputs,
    NotMet,
    Proposal,
)
from service.logic.rules.phrases import brief, dated, drugs, last_magnesium, references, sign_words
from service.logic.rules.rule import EVERY_CHART_HOOK, Answer, Rule
from service.logic.units import rounded


def _needs(case: Case) -> MissingInputs | None:
    """What rules on "drug and low magnesium" lack: the magnesium, or the medication list."""
    if case.mg is None or not case.mg_is_current:
        return MissingInputs((Analyte.SERUM_MAGNESIUM.value,))
    return None if case.medications_known else MissingInputs(("medications",))


def diuretic(case: Case) -> Answer:
    """R-050: an active loop or thiazide diuretic beside a low magnesium."""
    if lacks := _needs(case):
        return lacks
    if not case.mg_low or not case.diuretics:
        return NotMet()
    sparing = sparing_diuretic_fits(case)
    option = Message("Where a diuretic stays: amiloride or triamterene is an option (potassium not high).")
    return Finding(
        result="diuretic",
        indicator=case.low_level,
        text=Message("Low magnesium on a diuretic: {drugs}", drugs=drugs(case.diuretics)),
        advice=(
            Message("Review need and dose of the diuretic; monitor potassium and magnesium."),
            *((option,) if sparing else ()),
        ),
        evidence=references(case.mg, *case.diuretics),
    )


def sparing_diuretic_fits(case: Case) -> bool:
    """Kidneys normal, potassium known and not high, not pregnant."""
    known = case.potassium is not None and not case.potassium_high
    return case.gate == "normal" and known and not case.pregnant


def ppi(case: Case) -> Answer:
    """R-051: an active proton pump inhibitor beside a low magnesium; how likely depends on the duration."""
    if _another_is_renewed(case, PPI):
        return NotMet()
    if lacks := _needs(case):
        return lacks
    if not case.mg_low or not case.ppis:
        return NotMet()
    result, likelihood = _ppi_likelihood(case)
    return Finding(
        result=result,
        indicator=case.low_level,
        text=Message(
            "Low magnesium on a PPI ({likelihood}): {drugs}", drugs=drugs(case.ppis, 2), likelihood=likelihood
        ),
        why=Message("The loss is intestinal. A supplement alone failed in about a quarter of reported cases."),
        advice=(
            Message("Review the PPI: stop or H2 blocker if possible; check bleeding risk and other indications first."),
        ),
        evidence=references(case.mg, *case.ppis, *switched_ppis(case)),
        context_only=result == "unlikely",
    )


def _another_is_renewed(case: Case, classes: frozenset[str]) -> bool:
    """A refill of other drugs: what is due on these waits until they are renewed, or the chart is opened."""
    renewed = [order.medication for order in case.patient.orders if order.medication]
    return case.patient.hook is Hook.MEDICATION_REFILL and not any(drug.classes & classes for drug in renewed)


def switched_ppis(case: Case) -> list[Medication]:
    """Other proton pump inhibitors that were taken at the time of an earlier low magnesium (decision 36)."""
    lows = [r for r in case.usable(Analyte.SERUM_MAGNESIUM) if r is not case.mg and case.classify(r) == "low"]
    past = (m for m in case.patient.medications if m.classes & PPI and m.exposure is Exposure.ENDED)
    return [m for m in past if m not in case.ppis and any(taken_at(m, r) for r in lows)]


def taken_at(drug: Medication, result: LabResult) -> bool:
    """The drug was begun before the result and not ended by then."""
    if result.taken is None or drug.end is None or drug.end.end < result.taken.start:
        return False
    return drug.start is None or drug.start.start <= result.taken.end


def ppi_duration(case: Case) -> timedelta | None:
    """The longest known time on a proton pump inhibitor."""
    starts = [m.start.start for m in case.ppis if m.start is not None]
    return case.now - min(starts) if starts else None


def _ppi_likelihood(case: Case) -> tuple[str, Message]:
    if switched_ppis(case):
        return "typical", Message("low on another PPI before")
    duration = ppi_duration(case)
    if duration is None:
        return "duration-unknown", Message("duration unknown")
    if duration >= case.duration("ppi-typical"):
        return "typical", Message("long-term, typical")
    if duration >= case.duration("ppi-possible"):
        return "possible", Message("for months, possible")
    return "unlikely", Message("short, look for another cause")


def platinum(case: Case) -> Answer:
    """R-052: platinum, active or within 180 days, beside a low magnesium."""
    if lacks := _needs(case):
        return lacks
    if not case.mg_low or not case.platinums:
        return NotMet()
    return Finding(
        result="platinum",
        indicator=case.low_level,
        text=Message(
            "Low magnesium after platinum (renal loss, can last months): {drugs}", drugs=drugs(case.platinums, 2)
        ),
        advice=(Message("FEMg, potassium and calcium before the next cycle."),),
        proposals=(
            Proposal(case.knowledge.doses["correct-with"], Message("Magnesium in the hydration, by protocol.")),
        ),
        evidence=references(case.mg, *case.platinums),
    )


def other_wasting(case: Case) -> Answer:
    """R-053: another drug that wastes magnesium, active or recent."""
    if lacks := _needs(case):
        return lacks
    if not case.mg_low or not case.other_wasting:
        return NotMet()
    return Finding(
        result="other-wasting-drug",
        indicator=case.low_level,
        text=Message("Low magnesium on a wasting drug: {drugs}", drugs=drugs(case.other_wasting, 2)),
        advice=(Message("Weigh need, dose and level with the prescriber; monitor magnesium, potassium and calcium."),),
        evidence=references(case.mg, *case.other_wasting),
    )


def monitoring_gap(case: Case) -> Answer:
    """R-054: serum magnesium is older than a wasting drug's interval, or must be measured at once (decision 26)."""
    if case.mg_unreadable or case.contradiction or _another_is_renewed(case, WASTING):
        return NotMet()
    if case.newest_mg is None and "magnesium" in case.patient.unavailable:
        return MissingInputs((Analyte.SERUM_MAGNESIUM.value,))
    if case.measure_now:
        return _measure_now(case)
    due = list(_due(case))
    if case.in_hospital and case.patient.hook in EVERY_CHART_HOOK:
        due = [d for d in due if d.classes & _ASKED_IN_HOSPITAL]
    if not due:
        return NotMet() if case.medications_known else MissingInputs(("medications",))
    serious = len(case.wasting_groups) >= 2 or case.digoxin or any(d.classes & _LASTING for d in due)
    return Finding(
        result="monitoring-gap",
        indicator=Indicator.WARNING if serious else Indicator.INFO,
        text=Message("Magnesium level due on {drugs}", drugs=drugs(due)),
        why=last_magnesium(case),
        advice=(Message("With digoxin: {drugs}.", drugs=drugs(case.digoxin)),) if case.digoxin else (),
        tests=(Analyte.SERUM_MAGNESIUM, *_companions(case)),
        evidence=references(case.mg, *due),
        action=Message("measure magnesium"),
    )


# In hospital only drugs whose loss is fast enough to be watched there (decision 16).
_ASKED_IN_HOSPITAL = PLATINUM | EGFR_ANTIBODY | NEPHROTOXIC


def _measure_now(case: Case) -> Finding:
    rhythm = [*case.digoxin, *case.qt_drugs]
    signs = case.condition(*sorted(case.emergency_tags | (case.tags & ARRHYTHMIA)))
    why = {
        "qtc": Message("QTc at or above {limit} ms", limit=rounded(case.knowledge.value("qtc-long"), 0)),
        "emergency": Message("{signs}", signs=tuple(sign_words(s) for s in signs[:2])),
        "arrhythmia": Message("{signs}", signs=tuple(sign_words(s) for s in signs[:2])),
        "drug": Message("{drugs}", drugs=drugs(rhythm, 2)),
    }[case.measure_now]
    on = [*rhythm, *(m for m in case.wasting if m not in rhythm)]
    return Finding(
        result="measure-now",
        indicator=Indicator.WARNING,
        text=Message("Mg not known with {why}", why=why),
        why=Message("On {drugs}. {last}", drugs=drugs(on), last=last_magnesium(case)) if on else last_magnesium(case),
        tests=(Analyte.SERUM_MAGNESIUM, *_companions(case)),
        evidence=references(case.qtc_long, case.potassium, *on) + tuple(s.reference for s in signs),
        action=Message("measure magnesium now"),
    )


def _companions(case: Case) -> Iterator[Analyte]:
    if case.potassium is None:
        yield Analyte.POTASSIUM
    if case.calcium is None:
        yield Analyte.CALCIUM
    if case.creatinine is None:
        yield Analyte.CREATININE


def _due(case: Case) -> Iterator[Medication]:
    """Medications whose interval since the last serum magnesium has passed: the shortest that their classes ask for."""
    age = case.age_of(case.mg) if case.mg else None
    taken = {drug.reference for drug in case.active_medications}
    intervals = list(_intervals(case))
    for drug in case.wasting:
        if not (drug.reference in taken or drug.classes & _LASTING):
            continue
        asked = [interval for classes, interval in intervals if drug.classes & classes]
        if asked and (age is None or age > min(asked)):
            yield drug


_LASTING = PLATINUM | EGFR_ANTIBODY  # their effect, and their monitoring, outlast the last dose


def _intervals(case: Case) -> Iterator[tuple[frozenset[str], timedelta]]:
    """How often each group of drugs asks for a serum magnesium, among the drugs that this patient takes."""
    combined = bool(case.digoxin) or len(case.wasting_groups) >= 2
    yield LOOP_OR_THIAZIDE, case.duration("monitor-diuretic-risk" if combined else "monitor-diuretic")
    if case.ppis and _long_ppi(case, combined):
        yield PPI, case.duration("monitor-ppi")
    for classes, name in _INTERVALS:
        yield classes, case.duration(name)


_INTERVALS = (
    (PLATINUM, "monitor-platinum"),
    (EGFR_ANTIBODY, "monitor-egfr"),
    (CNI_MTOR, "monitor-cni"),
    (NEPHROTOXIC, "monitor-antiinfective"),
)


def _long_ppi(case: Case, combined: bool) -> bool:
    duration = ppi_duration(case)
    if duration is None or duration >= case.duration("ppi-typical"):
        return True
    return combined and duration >= case.duration("ppi-possible")


GROUPS = {
    "diuretic": Message("diuretic"),
    "PPI": Message("proton pump inhibitor"),
    "platinum": Message("platinum"),
    "EGFR inhibitor": Message("EGFR inhibitor"),
    "calcineurin or mTOR inhibitor": Message("calcineurin or mTOR inhibitor"),
    "nephrotoxic anti-infective": Message("nephrotoxic anti-infective"),
}


def combined_risk(case: Case) -> Answer:
    """R-055: two or more groups of magnesium-wasting drugs together."""
    if not case.medications_known:
        return MissingInputs(("medications",))
    groups = case.wasting_groups
    if len(groups) < 2:
        return NotMet()
    return Finding(
        result="combined-risk",
        indicator=Indicator.INFO,
        text=Message(
            "Magnesium-wasting drug groups together: {groups}.", groups=tuple(GROUPS[name] for name in groups)
        ),
        evidence=references(*case.wasting),
        context_only=True,
    )


def arrhythmia_risk(case: Case) -> Answer:
    """R-056: low magnesium with digoxin, an arrhythmia, torsades or a long QTc."""
    if case.mg is None or not case.mg_is_current:
        return MissingInputs((Analyte.SERUM_MAGNESIUM.value,))
    rhythm = case.tags & (ARRHYTHMIA | {"torsades", "vt", "polymorphic_vt"})
    if not case.mg_low or not (rhythm or case.digoxin or case.qtc_long):
        return NotMet()
    grave = case.tags & {"torsades", "vt", "polymorphic_vt"} or case.qtc_long or case.severity != "mild"
    return Finding(
        result="arrhythmia-risk",
        indicator=_rhythm_level(case, bool(grave)),
        text=Message("Low {mg} with arrhythmia risk: {risks}", mg=brief(case.mg), risks=_rhythm(case)),
        advice=(Message("ECG monitoring; keep potassium in range; review QT-prolonging drugs and digoxin."),),
        evidence=references(case.mg, case.qtc_long, *case.digoxin)
        + tuple(c.reference for c in case.condition(*sorted(rhythm))),
    )


def _rhythm_level(case: Case, grave: bool) -> Indicator:
    """Critical where the low is news; under digoxin a probably protein-related low stays a warning."""
    if grave and case.low_is_news:
        return Indicator.CRITICAL
    return Indicator.WARNING if case.pseudo and case.digoxin else case.low_level


def _rhythm(case: Case) -> tuple[Message, ...]:
    present = (
        ("torsades" in case.tags, Message("torsades de pointes")),
        ("vt" in case.tags, Message("ventricular tachycardia")),
        ("long_qt" in case.tags, Message("long QT")),
        ("atrial_fibrillation" in case.tags, Message("atrial fibrillation")),
        ("arrhythmia" in case.tags, Message("arrhythmia")),
        (bool(case.digoxin), Message("digoxin")),
    )
    words = [text for is_present, text in present if is_present]
    if case.qtc_long is not None:
        words.append(Message("QTc {dated}", dated=dated(case.qtc_long)))
    return tuple(words[:3])


RULES = (
    Rule("R-050", "diuretic", diuretic, priority=20),
    Rule("R-051", "proton-pump-inhibitor", ppi, priority=21, hooks=EVERY_CHART_HOOK | {Hook.MEDICATION_REFILL}),
    Rule("R-052", "platinum", platinum, priority=19),
    Rule("R-053", "other-wasting-drug", other_wasting, priority=22),
    Rule(
        "R-054",
        "monitoring-gap",
        monitoring_gap,
        priority=35,
        hooks=frozenset({Hook.PATIENT_VIEW, Hook.MEDICATION_REFILL}),
        asked_on=frozenset({Hook.PATIENT_VIEW, Hook.MEDICATION_REFILL}),
    ),
    Rule("R-055", "combined-risk", combined_risk, priority=36),
    Rule("R-056", "arrhythmia-risk", arrhythmia_risk, priority=7),
)
