"""Group A, data integrity: results that must not be interpreted, or only with care."""

from __future__ import annotations

from datetime import timedelta

from service.logic.case import Case
from service.logic.case.drugs import GivenDose
from service.logic.message import Message
from service.logic.model import Analyte, Finding, Indicator, LabResult, MissingInputs, NotMet, Problem
from service.logic.rules.phrases import ANALYTE, aged, amount, dated, grams, limits, named_and_dated, references
from service.logic.rules.rule import Answer, Rule
from service.logic.units import rounded

_UNIT_PROBLEMS = {Problem.NO_UNIT, Problem.UNKNOWN_UNIT}
_REPEAT_SPECIMEN = Message("Repeat on a fresh specimen before acting on it.")


def unit_missing(case: Case) -> Answer:
    """R-001: serum or erythrocyte magnesium without a usable unit is never guessed at."""
    for result in (case.mg_unreadable, _newest_rbc(case)):
        if result is not None and result.problem in _UNIT_PROBLEMS:
            return _not_interpreted(result)
    return NotMet() if case.newest_mg else MissingInputs((Analyte.SERUM_MAGNESIUM.value,))


def _newest_rbc(case: Case) -> LabResult | None:
    newest = next(iter(case.labs.get(Analyte.RBC_MAGNESIUM, ())), None)
    return newest if newest and case.age_of(newest) <= case.duration("rbc-window") else None


def _not_interpreted(result: LabResult) -> Finding:
    analyte, missing = ANALYTE[result.analyte], result.problem is Problem.NO_UNIT
    text = (
        Message("Result not interpreted: {analyte} {number} came without a unit.", analyte=analyte, number=result.raw)
        if missing
        else Message(
            "Result not interpreted: {analyte} {number} has an unknown unit.", analyte=analyte, number=result.raw
        )
    )
    return Finding(
        result="unit-missing" if missing else "unit-unknown",
        indicator=Indicator.WARNING,
        text=text,
        why=Message("1.9 mg/dL is normal and 1.9 mmol/L is toxic: a unit is never inferred from the number."),
        advice=(Message("Verify value and unit with the laboratory."),),
        evidence=references(result),
    )


def implausible(case: Case) -> Answer:
    """R-002: outside what is possible, a range impossible for its unit, or two results that contradict each other."""
    result = case.mg_unreadable
    if result is not None and result.problem is Problem.IMPLAUSIBLE:
        low, high = case.knowledge.parameters["mg-plausible"].interval["mmol/L"]
        why = Message("Values outside {low} to {high} mmol/L are not interpreted.", low=low, high=high)
        return _doubtful(
            "implausible", Message("Implausible serum magnesium {dated}.", dated=dated(result)), why, result
        )
    if result is not None and result.problem is Problem.IMPOSSIBLE_RANGE:
        why = Message(
            "The reference range sent with it cannot be one in mmol/L; unit and value may not belong together."
        )
        text = Message("Serum magnesium {dated} contradicts its own reference range.", dated=dated(result))
        return _doubtful("range-impossible", text, why, result)
    if case.contradiction is not None:
        return _contradictory(case, *case.contradiction)
    return NotMet() if case.newest_mg else MissingInputs((Analyte.SERUM_MAGNESIUM.value,))


def _contradictory(case: Case, one: LabResult, other: LabResult) -> Finding:
    text = Message(
        "Contradictory serum magnesium within one hour: {one} and {other}.", one=amount(one), other=amount(other)
    )
    why = Message(
        "They differ by more than {limit} mmol/L and {share} %: {one}; {other}.",
        limit=case.knowledge.value("mg-contradiction"),
        share=case.knowledge.value("mg-contradiction-share"),
        one=dated(one),
        other=dated(other),
    )
    return _doubtful("contradictory", text, why, one, other)


def _doubtful(result: str, text: Message, why: Message, *results: LabResult) -> Finding:
    advice = (Message("Verify with the laboratory or repeat; no severity and no treatment is derived from it."),)
    return Finding(
        result, Indicator.WARNING, text, why, advice, tests=(Analyte.SERUM_MAGNESIUM,), evidence=references(*results)
    )


def specimen_problem(case: Case) -> Answer:
    """R-003: haemolysis raises magnesium; EDTA carry-over lowers magnesium and calcium and raises potassium."""
    if case.mg is None or not case.mg_is_current:
        return MissingInputs((Analyte.SERUM_MAGNESIUM.value,))
    if case.edta is not None:
        return _edta(case.mg, *case.edta)
    if not case.haemolysed:
        return NotMet()
    return _haemolysed_low(case.mg) if case.mg_class == "low" else _haemolysed(case, case.mg)


def _edta(mg: LabResult, potassium: LabResult, calcium: LabResult) -> Finding:
    return Finding(
        result="edta-pattern",
        indicator=Indicator.WARNING,
        text=Message("Probable EDTA contamination: magnesium and calcium low, potassium high in one collection."),
        why=Message(
            "{mg}; {potassium}; {calcium}.",
            mg=named_and_dated(mg),
            potassium=named_and_dated(potassium),
            calcium=named_and_dated(calcium),
        ),
        advice=(Message("Repeat magnesium, potassium and calcium in the right tube before treating any of them."),),
        tests=(Analyte.SERUM_MAGNESIUM, Analyte.POTASSIUM, Analyte.CALCIUM),
        evidence=references(mg, potassium, calcium),
    )


def _haemolysed(case: Case, mg: LabResult) -> Finding:
    urgent = case.magnesium_products and case.gate_closed
    dose = case.after_iv
    advice = (
        (Message("Repeat urgently: magnesium is being taken and the kidneys cannot clear it."),)
        if urgent and case.mg_class == "high"
        else (_REPEAT_SPECIMEN,)
    )
    return Finding(
        result="haemolysed-unreliable",
        indicator=Indicator.WARNING,
        text=Message("Haemolysed specimen: serum magnesium {amount} is unreliable.", amount=amount(mg)),
        why=Message(
            "Red cells release magnesium and potassium; a value in range or high may be false. {mg}.", mg=dated(mg)
        ),
        advice=(*advice, *((_not_before(case, dose),) if dose else ())),
        tests=(Analyte.SERUM_MAGNESIUM, Analyte.POTASSIUM),
        evidence=references(mg),
    )


def _not_before(case: Case, dose: GivenDose) -> Message:
    """Haemolysis does not hide that the sample was drawn too soon (decision 37)."""
    return Message(
        "Drawn within hours of IV magnesium: repeat from {due} on.", due=dose.ended + case.duration("after-iv")
    )


def _haemolysed_low(mg: LabResult) -> Finding:
    return Finding(
        result="haemolysed-low",
        indicator=Indicator.INFO,
        text=Message("Haemolysed specimen: serum magnesium {amount} is low all the same.", amount=amount(mg)),
        why=Message("Haemolysis raises magnesium: the true value may be lower still."),
        evidence=references(mg),
    )


def low_albumin(case: Case) -> Answer:
    """R-004: part of serum magnesium is bound to protein; a low albumin lowers the total, not the ionised part."""
    albumin = case.albumin
    if albumin is None:
        return MissingInputs((Analyte.ALBUMIN.value,))
    total = case.current(Analyte.CALCIUM)
    low_total = total is not None and case.classify(total) == "low"
    if not case.albumin_low or not (case.mg_low or low_total):
        return NotMet()
    adjusted = rounded(case.mg_adjusted, 3) if case.mg_low and case.mg_adjusted is not None else None
    why = (
        Message("Adjusted to albumin, serum magnesium is about {value} mmol/L (approximate).", value=adjusted)
        if adjusted is not None
        else Message("Total calcium is judged after correction to albumin.")
    )
    measured = case.current(Analyte.IONISED_MAGNESIUM, case.mg_window)
    return Finding(
        result="pseudo-hypomagnesaemia" if case.pseudo else "low-albumin",
        indicator=Indicator.INFO,
        text=Message("Low albumin {amount}: total magnesium and calcium may read falsely low.", amount=amount(albumin)),
        why=why,
        advice=() if measured else (Message("Ionised magnesium settles the question where it can be measured."),),
        tests=(Analyte.IONISED_MAGNESIUM,) if case.mg_low and not measured else (),
        values={} if adjusted is None else {"mg_albumin_adjusted_mmol_L": adjusted},
        evidence=references(albumin, case.mg if case.mg_low else total, measured),
        context_only=not case.pseudo,
    )


def time_problem(case: Case) -> Answer:
    """R-005: a serum magnesium that is too old to grade, or taken too soon after intravenous magnesium."""
    mg = case.mg
    if mg is None:
        return MissingInputs((Analyte.SERUM_MAGNESIUM.value,))
    if not case.mg_is_current:
        days = case.age_of(mg).days
        return Finding(
            result="stale",
            indicator=Indicator.INFO,
            text=Message("Last serum magnesium {dated} is {days} days old.", dated=dated(mg), days=days),
            why=Message("Too old to grade or treat by; magnesium counts as unknown."),
            tests=(Analyte.SERUM_MAGNESIUM,),
            evidence=references(mg),
            context_only=not _worth_repeating(case, mg),
        )
    return _after_infusion(case, mg)


def _worth_repeating(case: Case, mg: LabResult) -> bool:
    """An old value is a reason for a card only if it was abnormal, and not longer ago than a year."""
    return case.mg_class != "normal" and case.age_of(mg) <= case.duration("test-indication-window")


def _after_infusion(case: Case, mg: LabResult) -> Answer:
    """Drawn within 6 h of an intravenous dose: news if it is high and the gate closed or another dose due (20)."""
    dose = case.after_iv
    if dose is None or mg.taken is None:
        return NotMet()
    due = dose.ended + case.duration("after-iv")
    drawn = max(mg.taken.end - dose.ended, timedelta(0))
    more = bool(case.scheduled_magnesium or case.magnesium_scales)
    return Finding(
        result="after-infusion",
        indicator=Indicator.INFO,
        text=Message(
            "{mg}, drawn {hours} h after {dose}", mg=aged(case, mg), hours=_hours(drawn), dose=grams(dose.drug)
        ),
        why=Message("It may be falsely high: {limits}.", limits=limits(case.range_of(mg))),
        advice=(Message("Repeat from {due} on.", due=due),),
        evidence=references(mg, dose.drug),
        action=Message("no further dose before a repeat at {due}", due=due),
        context_only=not (case.mg_class == "high" and (case.gate_closed or more)),
    )


def _hours(span: timedelta) -> int:
    return int(span.total_seconds() // 3600)


RULES = (
    Rule("R-001", "unit-missing", unit_missing, priority=1),
    Rule("R-002", "implausible-or-contradictory", implausible, priority=1),
    Rule("R-003", "specimen-problem", specimen_problem, priority=1),
    Rule("R-004", "low-albumin", low_albumin, priority=40),
    Rule("R-005", "time-problem", time_problem, priority=45),
)
