"""R-092: is this intravenous magnesium safe for this patient in this dose and time?"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from service.logic.case import Case
from service.logic.case.drugs import magnesium_route
from service.logic.case.person import OBSTETRIC, UNSTABLE_RHYTHM
from service.logic.model import Analyte, Finding, Indicator, Medication, NotMet
from service.logic.rules.excess import antidote_dose
from service.logic.rules.kidney import gate_unknown
from service.logic.rules.magnesium import excess_tier
from service.logic.rules.orders.doses import grams_ordered, grams_per_day, grams_per_dose, rate_mg_min, with_running
from service.logic.rules.orders.drafts import is_parenteral, magnesium_products
from service.logic.rules.orders.issue import Issue, gravest_first
from service.logic.rules.rule import Answer
from service.logic.rules.words import dated, drugs, references
from service.logic.text import Text
from service.logic.units import rounded

EMERGENCY_ORDER = UNSTABLE_RHYTHM | OBSTETRIC | {"asthma_severe", "tetany", "seizure_acute"}


def iv_magnesium(case: Case) -> Answer:
    """R-092: intravenous magnesium is ordered: kidney, level, dose, rate and contraindications, in that order."""
    ordered = sorted((m for m in magnesium_products(case) if is_parenteral(m)), key=lambda m: (m.name, m.reference))
    if not ordered:
        return NotMet()
    together = [*_level_issues(case), *_kidney_issues(case, ordered), *_day_issues(case, ordered)]
    issues = [*together, *(issue for drug in ordered for issue in _iv_issues(case, drug))]
    issues = list({issue.code: issue for issue in issues}.values())
    if case.coded(*sorted(EMERGENCY_ORDER)):
        issues = [_softened(issue) for issue in issues]
    worst = max((issue.indicator for issue in issues), key=lambda i: i.rank, default=Indicator.INFO)
    counted = [issue for issue in issues if issue.indicator is not Indicator.INFO]
    rates = [rate for drug in ordered if (rate := rate_mg_min(drug)) is not None]
    return Finding(
        "+".join(issue.code for issue in issues) or "no-issue",
        worst,
        text=_iv_text(counted, ordered),
        why=_level_and_kidney(case),
        advice=(*(issue.text for issue in gravest_first(issues)), *_iv_monitoring(case, counted)),
        values={"rate_mg_min": rounded(max(rates), 1)} if rates else {},
        evidence=references(case.mg, case.creatinine) + tuple(drug.reference for drug in ordered),
    )


def _iv_text(issues: list[Issue], ordered: list[Medication]) -> Text:
    if not issues:
        return Text("IV magnesium ordered ({drugs}): monitor as below.", drugs=drugs(ordered, 1))
    worst = gravest_first(issues)[0]
    if len(issues) == 1:
        return Text("IV magnesium ordered: {issue}", issue=worst.text)
    return Text("IV magnesium ordered, {count} points to check: {issue}", count=len(issues), issue=worst.text)


def _emergency_order(case: Case) -> bool:
    """An emergency indication, coded or only told: then nobody waits for a level."""
    return bool(case.tags & EMERGENCY_ORDER)


def _softened(issue: Issue) -> Issue:
    """An emergency is never blocked: kidney, rate and dose stay visible as a warning."""
    kept = issue.code in {"magnesium-high", "heart-block-or-myasthenia"} or issue.indicator is Indicator.INFO
    return issue if kept else Issue(issue.code, Indicator.WARNING, issue.text)


def _iv_issues(case: Case, drug: Medication) -> Iterator[Issue]:
    yield from _child_issues(case, drug)
    yield from _rate_issues(case, drug)
    yield from _patient_issues(case, drug)


def _level_issues(case: Case) -> Iterator[Issue]:
    if case.mg_high and excess_tier(case) != "protocol-range":
        yield Issue("magnesium-high", Indicator.CRITICAL, Text("Serum magnesium is already high: stop."))
    elif case.mg_normal and not _emergency_order(case):
        yield Issue("not-low", Indicator.INFO, Text("Serum magnesium is in range: is replacement needed?"))
    elif not case.mg_is_current and not _emergency_order(case):
        yield Issue("no-magnesium", Indicator.WARNING, Text("No current serum magnesium."))
    elif case.mg_is_current and not case.mg_reliable and not _emergency_order(case):
        yield Issue("unreliable", Indicator.WARNING, Text("The current magnesium is unreliable: repeat it first."))
    elif case.pseudo and not _emergency_order(case):
        yield Issue("protein-related", Indicator.WARNING, Text("The low magnesium is probably protein-related."))


def _day_issues(case: Case, ordered: list[Medication]) -> Iterator[Issue]:
    daily = sum((grams_per_day(drug) for drug in with_running(case, ordered)), Decimal(0))
    if daily > case.knowledge.value("iv-total") and not case.coded(*OBSTETRIC):
        yield Issue("dose", Indicator.WARNING, Text("{grams} g in 24 h exceeds 8 g.", grams=rounded(daily, 1)))


def _kidney_issues(case: Case, ordered: list[Medication]) -> Iterator[Issue]:
    if case.coded(*sorted(EMERGENCY_ORDER)):
        yield from _emergency_kidney_issues(case)
    else:
        yield from _elective_kidney_issues(case)
    grams = sum((grams_ordered(drug) for drug in with_running(case, ordered)), Decimal(0))
    if case.gate_closed and grams > case.knowledge.value("iv-total-kidney"):
        text = Text("Over 4 g although the kidneys cannot clear magnesium.")
        yield Issue("dose-for-kidney", Indicator.CRITICAL, text)


def _emergency_kidney_issues(case: Case) -> Iterator[Issue]:
    """An emergency waits for no creatinine; what comes after the first dose does."""
    if case.gate == "unknown":
        text = Text("Emergency: do not wait for creatinine; send it, and take a level before any repeat.")
        yield Issue("creatinine-missing", Indicator.WARNING, text)
    elif case.gate_closed:
        text = Text("Emergency: the kidneys hardly clear magnesium; take a level before any repeat.")
        yield Issue("kidney", Indicator.WARNING, text)


def _elective_kidney_issues(case: Case) -> Iterator[Issue]:
    if case.gate == "unknown":
        yield Issue("creatinine-missing", Indicator.WARNING, gate_unknown(case))
    if not case.gate_closed:
        return
    if case.mg_reliable and not case.mg_low:
        text = Text("Kidneys cannot clear it and magnesium is not low: stop.")
        yield Issue("kidney-and-not-low", Indicator.CRITICAL, text)
    else:
        yield Issue("kidney", Indicator.WARNING, _KIDNEY_SEVERE if case.severity == "severe" else _KIDNEY)


_KIDNEY = Text("The kidneys cannot clear magnesium: stop, or decide individually with a level before each dose.")
_KIDNEY_SEVERE = Text("The kidneys cannot clear magnesium: at most 4 g over 4 to 12 h, a level before repeating.")


def _rate_issues(case: Case, drug: Medication) -> Iterator[Issue]:
    rate, usual = rate_mg_min(drug), case.knowledge.value("iv-rate")
    if magnesium_route(drug) != "iv":
        yield Issue("route", Indicator.INFO, Text("Not intravenous: no rate to check."))
    elif rate is None:
        yield Issue("duration-missing", Indicator.WARNING, Text("No duration or rate: state over what time."))
    elif rate > usual and case.coded(*sorted(EMERGENCY_ORDER)):
        text = Text("Rate {rate} mg/min: over 150 only while life is in danger.", rate=rounded(rate, 0))
        yield Issue("rate", Indicator.INFO, text)
    elif rate > usual:
        text = Text("Rate {rate} mg/min exceeds 150 mg/min.", rate=rounded(rate, 0))
        yield Issue("rate", Indicator.WARNING, text)


def _child_issues(case: Case, drug: Medication) -> Iterator[Issue]:
    """The other limits are an adult's: a child's dose is checked by weight, or said not to be."""
    if case.age_group != "child":
        return
    weight, grams = case.current(Analyte.WEIGHT, case.duration("child-weight-window")), grams_per_dose(drug)
    if weight is None or not weight.value or grams is None:
        yield Issue("child-unchecked", Indicator.WARNING, Text("Child: dose not checked (weight or dose not known)."))
        return
    per_kg = grams * 1000 / weight.value
    high = case.knowledge.doses["child"].amount
    if grams * 1000 > case.knowledge.value("child-dose-maximum") or (high and per_kg > high[1]):
        text = Text("Child: {dose} mg/kg; the range is 25 to 50 mg/kg, at most 2 g.", dose=rounded(per_kg, 0))
        yield Issue("child-dose", Indicator.WARNING, text)


def _patient_issues(case: Case, drug: Medication) -> Iterator[Issue]:
    if case.tags & {"heart_block", "myasthenia"}:
        yield Issue(
            "heart-block-or-myasthenia",
            Indicator.CRITICAL,
            Text("Heart block or myasthenia: contraindicated by the label."),
        )
    days = None if drug.duration_min is None else drug.duration_min / 1440
    if case.pregnant and days is not None and days > case.knowledge.value("iv-pregnancy-days"):
        yield Issue("pregnancy-duration", Indicator.WARNING, Text("Pregnancy: not continuously beyond 5 days."))


def _level_and_kidney(case: Case) -> Text:
    mg = Text("magnesium {dated}", dated=dated(case.mg)) if case.mg else Text("no interpretable magnesium on file")
    if case.creatinine is None:
        return Text("Rests on: {mg}; no current creatinine.", mg=mg)
    if case.egfr is None:
        return Text("Rests on: {mg}; creatinine {cr}.", mg=mg, cr=dated(case.creatinine))
    return Text(
        "Rests on: {mg}; creatinine {cr}, eGFR {egfr}.", mg=mg, cr=dated(case.creatinine), egfr=rounded(case.egfr, 0)
    )


def _iv_monitoring(case: Case, issues: list[Issue]) -> tuple[Text, ...]:
    watch = Text(
        "Monitor reflexes, breathing, urine (100 mL or more in 4 h) and potassium; level 6 to 12 h after the dose."
    )
    grave = any(issue.indicator is Indicator.CRITICAL for issue in issues) or _emergency_order(case)
    if case.age_group == "child":
        watch = Text("Monitor reflexes, breathing, urine and potassium; level 6 to 12 h after the dose.")
    return (watch, Text("Antidote at hand: {antidote}", antidote=antidote_dose(case))) if grave else (watch,)
