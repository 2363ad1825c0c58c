"""Group F, drugs: which medication may explain a low magnesium, and which asks for monitoring."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from service.logic.case import Case
from service.logic.case.drugs import CNI_MTOR, EGFR_ANTIBODY, LOOP_OR_THIAZIDE, NEPHROTOXIC, PLATINUM, PPI
from service.logic.model import Analyte, Finding, Hook, Indicator, Medication, MissingInputs, NotMet, Proposal
from service.logic.rules.rule import Answer, Rule
from service.logic.rules.words import dated, drugs, last_magnesium, references
from service.logic.text import Text


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
    option = Text(
        "Where a diuretic stays: amiloride or triamterene is an option (eGFR 60 or more, potassium not high)."
    )
    return Finding(
        result="diuretic",
        indicator=Indicator.WARNING,
        text=Text("Diuretic likely contributes: {drugs}.", drugs=drugs(case.diuretics)),
        advice=(
            Text("Review need and dose of the diuretic; monitor potassium and magnesium."),
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
    if lacks := _needs(case):
        return lacks
    if not case.mg_low or not case.ppis:
        return NotMet()
    result, likelihood = _ppi_likelihood(case)
    return Finding(
        result=result,
        indicator=Indicator.WARNING,
        text=Text(
            "PPI may contribute: {drugs}; {likelihood}.",
            drugs=drugs(case.ppis, 2),
            likelihood=likelihood,
        ),
        why=Text("The loss is intestinal. A supplement alone failed in about a quarter of reported cases."),
        advice=(
            Text("Review the PPI: stop or H2 blocker if possible; check bleeding risk and other indications first."),
        ),
        evidence=references(case.mg, *case.ppis),
    )


def ppi_duration(case: Case) -> timedelta | None:
    """The longest known time on a proton pump inhibitor."""
    starts = [m.start.start for m in case.ppis if m.start is not None]
    return case.now - min(starts) if starts else None


def _ppi_likelihood(case: Case) -> tuple[str, Text]:
    duration = ppi_duration(case)
    if duration is None:
        return "duration-unknown", Text("duration unknown")
    if duration >= case.duration("ppi-typical"):
        return "typical", Text("over a year, typical")
    if duration >= case.duration("ppi-possible"):
        return "possible", Text("3 to 12 months, possible")
    return "unlikely", Text("under 3 months, unlikely: look for another cause")


def platinum(case: Case) -> Answer:
    """R-052: platinum, active or within 180 days, beside a low magnesium."""
    if lacks := _needs(case):
        return lacks
    if not case.mg_low or not case.platinums:
        return NotMet()
    return Finding(
        result="platinum",
        indicator=Indicator.WARNING,
        text=Text(
            "Platinum likely contributes (renal loss, can last months): {drugs}.", drugs=drugs(case.platinums, 2)
        ),
        advice=(Text("FEMg, potassium and calcium before the next cycle."),),
        proposals=(Proposal(case.knowledge.doses["correct-with"], Text("Magnesium in the hydration, by protocol.")),),
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
        indicator=Indicator.WARNING,
        text=Text("Magnesium-wasting drug likely contributes: {drugs}.", drugs=drugs(case.other_wasting, 2)),
        advice=(Text("Weigh need, dose and level with the prescriber; monitor magnesium, potassium and calcium."),),
        evidence=references(case.mg, *case.other_wasting),
    )


def monitoring_gap(case: Case) -> Answer:
    """R-054: a wasting drug is taken and the last serum magnesium is older than its interval."""
    if case.mg_unreadable or case.contradiction:
        return NotMet()
    if case.newest_mg is None and "magnesium" in case.patient.unavailable:
        return MissingInputs((Analyte.SERUM_MAGNESIUM.value,))
    due = list(_due(case))
    if not due:
        return NotMet() if case.medications_known else MissingInputs(("medications",))
    serious = len(case.wasting_groups) >= 2 or case.digoxin or any(d.classes & _LASTING for d in due)
    return Finding(
        result="monitoring-gap",
        indicator=Indicator.WARNING if serious else Indicator.INFO,
        text=Text("Magnesium monitoring is due: {drugs}.", drugs=drugs(due)),
        why=last_magnesium(case),
        tests=(Analyte.SERUM_MAGNESIUM, *_companions(case)),
        evidence=references(case.mg, *due),
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
    "diuretic": Text("diuretic"),
    "PPI": Text("proton pump inhibitor"),
    "platinum": Text("platinum"),
    "EGFR inhibitor": Text("EGFR inhibitor"),
    "calcineurin or mTOR inhibitor": Text("calcineurin or mTOR inhibitor"),
    "nephrotoxic anti-infective": Text("nephrotoxic anti-infective"),
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
        text=Text("Magnesium-wasting drug groups together: {groups}.", groups=tuple(GROUPS[name] for name in groups)),
        evidence=references(*case.wasting),
    )


def arrhythmia_risk(case: Case) -> Answer:
    """R-056: low magnesium with digoxin, an arrhythmia, torsades or a long QTc."""
    if case.mg is None or not case.mg_is_current:
        return MissingInputs((Analyte.SERUM_MAGNESIUM.value,))
    rhythm = case.tags & {"arrhythmia", "atrial_fibrillation", "long_qt", "torsades", "vt"}
    if not case.mg_low or not (rhythm or case.digoxin or case.qtc_long):
        return NotMet()
    critical = case.tags & {"torsades", "vt"} or case.qtc_long or (case.severity != "mild" and not case.pseudo)
    return Finding(
        result="arrhythmia-risk",
        indicator=Indicator.CRITICAL if critical else Indicator.WARNING,
        text=Text("Low magnesium with arrhythmia risk: {risks}.", risks=_rhythm(case)),
        advice=(Text("ECG monitoring; keep potassium in range; review QT-prolonging drugs and digoxin."),),
        evidence=references(case.mg, case.qtc_long, *case.digoxin)
        + tuple(c.reference for c in case.condition(*sorted(rhythm))),
    )


def _rhythm(case: Case) -> tuple[Text, ...]:
    present = (
        ("torsades" in case.tags, Text("torsades de pointes")),
        ("vt" in case.tags, Text("ventricular tachycardia")),
        ("long_qt" in case.tags, Text("long QT")),
        ("atrial_fibrillation" in case.tags, Text("atrial fibrillation")),
        ("arrhythmia" in case.tags, Text("arrhythmia")),
        (bool(case.digoxin), Text("digoxin")),
    )
    words = [text for is_present, text in present if is_present]
    if case.qtc_long is not None:
        words.append(Text("QTc {dated}", dated=dated(case.qtc_long)))
    return tuple(words[:3])


RULES = (
    Rule("R-050", "diuretic", diuretic, priority=20),
    Rule("R-051", "proton-pump-inhibitor", ppi, priority=21),
    Rule("R-052", "platinum", platinum, priority=19),
    Rule("R-053", "other-wasting-drug", other_wasting, priority=22),
    Rule(
        "R-054",
        "monitoring-gap",
        monitoring_gap,
        priority=35,
        hooks=frozenset({Hook.PATIENT_VIEW}),
        asked_on=frozenset({Hook.PATIENT_VIEW}),
        repeat_days=30,
    ),
    Rule("R-055", "combined-risk", combined_risk, priority=36),
    Rule("R-056", "arrhythmia-risk", arrhythmia_risk, priority=7),
)
