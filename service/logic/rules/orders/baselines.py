"""R-091: is magnesium known and in range before a drug that lowers it, or that a low magnesium makes dangerous?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

from service.logic.case import Case
from service.logic.case.drugs import (
    CNI_MTOR,
    EGFR_ANTIBODY,
    LOOP_OR_THIAZIDE,
    NEPHROTOXIC,
    PLATINUM,
    PPI,
    QT_ANTIARRHYTHMIC,
    WASTING_GROUPS,
)
from service.logic.case.results import below
from service.logic.message import Message
from service.logic.model import Analyte, Finding, Indicator, LabResult, Medication, NotMet
from service.logic.rules.drugs import ppi_duration, taken_at
from service.logic.rules.orders.drafts import drafts, magnesium_products, ordered_drugs, to_correct
from service.logic.rules.orders.indication import potassium_low
from service.logic.rules.phrases import aged, drugs, last_magnesium, references
from service.logic.rules.rule import Answer

_CORRECT = Message("correct it first")
_RHYTHM = QT_ANTIARRHYTHMIC | {"cardiac_glycoside"}


@dataclass(frozen=True, slots=True)
class _Baseline:
    """A drafted drug that lowers magnesium and how far back a level counts; `strong`: a missing level is a warning."""

    drug: Medication
    window: timedelta
    strong: bool


def wasting_drug(case: Case) -> Answer:
    """R-091: the gravest of: a low magnesium before the drug, a PPI again, a level that is missing, cisplatin."""
    baselines = list(_baselines(case))
    found = [
        finding
        for finding in (
            _low_before(case, baselines),
            _ppi_again(case),
            _rhythm(case),
            _missing(case, baselines),
            _cisplatin(case),
        )
        if finding is not None
    ]
    if not found:
        return NotMet()
    first, *others = sorted(found, key=lambda finding: -finding.indicator.rank)
    beside = (Message("{issue}: {action}.", issue=f.text, action=f.action) for f in others if f.action)
    tests = tuple(dict.fromkeys(test for finding in found for test in finding.tests))
    return replace(first, advice=(*first.advice, *beside), tests=tests)


def _baselines(case: Case) -> Iterator[_Baseline]:
    for order in drafts(case):
        drug = order.medication
        if drug is None:
            continue
        if drug.classes & (PLATINUM | EGFR_ANTIBODY | NEPHROTOXIC):
            yield _Baseline(drug, case.duration("baseline-strong"), strong=True)
        elif drug.classes & (LOOP_OR_THIAZIDE | CNI_MTOR):
            yield _Baseline(drug, case.duration("baseline-usual"), strong=False)
        elif drug.classes & PPI:
            yield _Baseline(drug, case.duration("baseline-ppi"), strong=False)


def _low_before(case: Case, baselines: list[_Baseline]) -> Finding | None:
    """Magnesium known low; for a diuretic or PPI only while nothing is done about it (decision 22)."""
    treated = bool(magnesium_products(case)) or case.low_is_handled
    low = [b.drug for b in baselines if _low_within(case, b.window) and (b.strong or not treated)]
    if not low or case.mg is None:
        return None
    severe = below(case.mg, case.limit("mg-severe", case.mg))
    slight = Indicator.INFO if case.marginally_low else Indicator.WARNING
    return Finding(
        "correct-first",
        Indicator.CRITICAL if severe else slight,
        text=Message("{mg} low before {drugs}", mg=aged(case, case.mg), drugs=drugs(low, 2)),
        why=Message("The drug lowers magnesium further."),
        tests=() if case.mg_is_current else (Analyte.SERUM_MAGNESIUM,),
        evidence=references(case.mg, *low),
        sources=_sources(low),
        action=to_correct(case, _CORRECT),
    )


def _sources(ordered: list[Medication]) -> tuple[str, ...]:
    """The regulator's warning belongs to proton pump inhibitors only."""
    ppi = any(drug.classes & PPI for drug in ordered)
    return (*(("fda-ppi-2011",) if ppi else ()), "hedayati-2024", "mezhevitinova-2023")


def _low_within(case: Case, window: timedelta) -> bool:
    """The baseline lies within the drug's window and is low, and not only by a low protein."""
    return _known_within(case, window) and case.mg_class == "low" and not case.pseudo


def _known_within(case: Case, window: timedelta) -> bool:
    usable = case.mg is not None and not (case.mg_is_current and not case.mg_reliable)
    return usable and case.mg is not None and case.age_of(case.mg) <= window


def _missing(case: Case, baselines: list[_Baseline]) -> Finding | None:
    """No level within the drug's window; for a diuretic or PPI only with a second risk (decision 22)."""
    due = [b for b in baselines if not _low_within(case, b.window) and _baseline_matters(case, b)]
    if not due or Analyte.SERUM_MAGNESIUM in case.patient.pending:
        return None
    ordered = [b.drug for b in due]
    return Finding(
        "baseline-needed",
        Indicator.WARNING if any(b.strong for b in due) else Indicator.INFO,
        text=Message("Magnesium not known before {drugs}", drugs=drugs(ordered)),
        why=last_magnesium(case),
        tests=(Analyte.SERUM_MAGNESIUM, *_beside_baseline(case)),
        evidence=references(case.mg, *ordered),
        sources=_sources(ordered),
        action=Message("check it with the next draw"),
    )


def _baseline_matters(case: Case, baseline: _Baseline) -> bool:
    classes = baseline.drug.classes
    if _known_within(case, baseline.window):
        return bool(classes & LOOP_OR_THIAZIDE) and _nothing_known(case)
    if baseline.strong or classes & CNI_MTOR:
        return True
    return _second_risk(case, baseline.drug) and (not classes & PPI or _ppi_is_long(case, baseline.drug))


def _nothing_known(case: Case) -> bool:
    """Neither magnesium nor potassium nor creatinine is current: a level of an earlier stay is no baseline."""
    return not case.mg_is_current and case.potassium is None and case.creatinine is None


def _second_risk(case: Case, drug: Medication) -> bool:
    """Digoxin, a second wasting class, a low potassium, eGFR below 60, or neither potassium nor creatinine on file."""
    drafted = {name for name, members in WASTING_GROUPS.items() if ordered_drugs(case, members)}
    own = {name for name, members in WASTING_GROUPS.items() if drug.classes & members}
    second = (drafted | set(case.wasting_groups)) - own
    digoxin = case.digoxin or ordered_drugs(case, frozenset({"cardiac_glycoside"}))
    nothing = case.potassium is None and case.creatinine is None
    return bool(second or digoxin or potassium_low(case) or nothing) or case.gate not in {"normal", "unknown"}


def _ppi_is_long(case: Case, drug: Medication) -> bool:
    """Planned or taken for months, or beside a diuretic or digoxin."""
    planned = drug.end.end - drug.start.start if drug.start is not None and drug.end is not None else None
    running, span = ppi_duration(case), case.duration("ppi-possible")
    long = any(time is not None and time >= span for time in (planned, running))
    return long or bool(ordered_drugs(case, LOOP_OR_THIAZIDE) or case.diuretics or case.digoxin)


def _beside_baseline(case: Case) -> Iterator[Analyte]:
    if case.potassium is None:
        yield Analyte.POTASSIUM
    if case.creatinine is None:
        yield Analyte.CREATININE


def _rhythm(case: Case) -> Finding | None:
    """Digoxin or a QT-prolonging antiarrhythmic: a warning at a low magnesium or potassium, else both must be known."""
    ordered = ordered_drugs(case, _RHYTHM)
    if not ordered:
        return None
    low_mg = case.mg_low and not (case.pseudo or case.low_is_handled or magnesium_products(case))
    low_k = potassium_low(case) and not ordered_drugs(case, frozenset({"potassium_salt"}))
    low = [r for r, is_low in ((case.mg, low_mg), (case.potassium, low_k)) if r is not None and is_low]
    if low:
        return _low_before_rhythm(case, ordered, low)
    missing = [a for a in _unknown(case) if a not in case.patient.pending]
    if not missing:
        return None
    return Finding(
        "rhythm-drug-unknown",
        Indicator.INFO,
        text=Message("{drugs} ordered, magnesium or potassium not current", drugs=drugs(ordered)),
        why=last_magnesium(case),
        tests=tuple(dict.fromkeys((*missing, *_beside_baseline(case)))),
        evidence=references(case.mg, case.potassium, *ordered),
        sources=("hedayati-2024",),
        action=Message("check both"),
    )


def _unknown(case: Case) -> Iterator[Analyte]:
    if not case.mg_reliable:
        yield Analyte.SERUM_MAGNESIUM
    if case.potassium is None:
        yield Analyte.POTASSIUM


def _low_before_rhythm(case: Case, ordered: list[Medication], low: list[LabResult]) -> Finding:
    return Finding(
        "rhythm-drug-low",
        Indicator.WARNING,
        text=Message("{drugs} with {results}", drugs=drugs(ordered), results=tuple(aged(case, r) for r in low)),
        why=Message("A low magnesium or potassium makes its arrhythmias likelier."),
        tests=tuple(a for a in _unknown(case) if a not in case.patient.pending),
        evidence=references(*low, *ordered),
        sources=("hedayati-2024",),
        action=to_correct(case, _CORRECT) if case.mg in low else _CORRECT,
    )


def _ppi_again(case: Case) -> Finding | None:
    """A PPI within a year of a low magnesium that came on one (decision 36)."""
    ordered, window = ordered_drugs(case, PPI), case.duration("ppi-again")
    episode = _low_on_ppi(case, window) if ordered else None
    if episode is None:
        return None
    firm = bool(case.tags & {"gi_bleed", "gi_bleeding", "ppi_indication"})
    return Finding(
        "ppi-again",
        Indicator.INFO if firm else Indicator.WARNING,
        text=Message("{drugs} again, {mg} was low on a PPI", drugs=drugs(ordered, 1), mg=aged(case, episode)),
        why=Message("Another PPI is a likely cause whatever its duration."),
        tests=() if case.mg_is_current else (Analyte.SERUM_MAGNESIUM,),
        evidence=references(episode, *ordered),
        sources=("ppi-class", "fda-ppi-2011"),
        action=Message("needs a magnesium plan") if firm else Message("H2 blocker if possible, else measure magnesium"),
    )


def _low_on_ppi(case: Case, window: timedelta) -> LabResult | None:
    """The newest low magnesium of the last year that was taken during a PPI which was then stopped."""
    past = [m for m in case.patient.medications if m.classes & PPI and m not in case.ppis]
    for result in case.usable(Analyte.SERUM_MAGNESIUM):
        recent = case.age_of(result) <= window and case.classify(result) == "low"
        if recent and any(taken_at(drug, result) for drug in past):
            return result
    return None


def _cisplatin(case: Case) -> Finding | None:
    """Magnesium with the hydration protects the kidney at a normal level too (decision 39)."""
    ordered = [m for m in ordered_drugs(case, PLATINUM) if any(i.name == "cisplatin" for i in m.ingredients)]
    if not ordered or magnesium_products(case) or case.gate_closed or case.mg_high:
        return None
    return Finding(
        "cisplatin-hydration",
        Indicator.INFO,
        text=Message("Cisplatin ordered"),
        why=Message("Fewer acute kidney injuries in a large cohort; association only."),
        evidence=references(*ordered),
        action=Message("magnesium with the hydration if the protocol has none"),
        sources=("cisplatin-mg-2025",),
    )
