"""R-092: is this intravenous magnesium safe for this patient in this dose and time?"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from service.logic.case import Case
from service.logic.case.drugs import magnesium_route
from service.logic.message import Message
from service.logic.model import Analyte, Finding, Indicator, Medication, NotMet, Schedule
from service.logic.rules.excess import antidote_dose
from service.logic.rules.orders.bolus import bolus_issues
from service.logic.rules.orders.doses import Course, course, grams_per_dose, of_kind, rate_mg_min
from service.logic.rules.orders.drafts import is_parenteral, magnesium_products
from service.logic.rules.orders.indication import emergency_coded, emergency_told
from service.logic.rules.orders.issue import Issue, gravest_first
from service.logic.rules.orders.kidney import kidney_issues
from service.logic.rules.orders.level import level_issues
from service.logic.rules.phrases import aged, drugs, references, sign_words
from service.logic.rules.rule import Answer
from service.logic.units import rounded


def iv_magnesium(case: Case) -> Answer:
    """R-092: intravenous magnesium is ordered: contraindications, kidney, level, dose, rate; all as one (21)."""
    ordered = sorted((m for m in magnesium_products(case) if is_parenteral(m)), key=lambda m: (m.name, m.reference))
    if not ordered:
        return NotMet()
    issues = _issues(case, ordered)
    rates = [rate for drug in ordered if (rate := rate_mg_min(drug)) is not None]
    worst = gravest_first(issues)[0] if issues else None
    return Finding(
        "+".join(issue.code for issue in issues) or "no-issue",
        worst.indicator if worst else Indicator.INFO,
        text=worst.text if worst else Message("IV magnesium ordered: {drugs}", drugs=drugs(ordered, 1)),
        why=_level_and_kidney(case),
        advice=(
            *(issue.line for issue in gravest_first(issues)[1:]),
            *_notes(case, ordered),
            *_monitoring(case, issues),
        ),
        tests=tuple(_tests(case)) if issues else (),
        values={"rate_mg_min": rounded(max(rates), 1)} if rates else {},
        evidence=references(case.mg, case.creatinine, *ordered),
        sources=_SOURCES if {issue.code for issue in issues} - {"pregnancy-duration"} else (),
        action=worst.action if worst else None,
        context_only=not issues,
    )


# What an order card rests on; the regulator's warning of long infusions stands only where one is ordered in pregnancy.
_SOURCES = ("mgso4-label", "hedayati-2024")


def _issues(case: Case, ordered: list[Medication]) -> list[Issue]:
    """Every point once, each as loud as an emergency lets it be."""
    whole = course(case, ordered)
    issues = [
        *_contraindications(case),
        *bolus_issues(case),
        *kidney_issues(case, ordered, whole),
        *level_issues(case, ordered, whole),
        *_dose_issues(case, whole),
        *(issue for drug in ordered for issue in (*_rate_issues(case, drug), *_patient_issues(case, drug))),
    ]
    if emergency_coded(case):
        issues = [_softened(issue) for issue in issues]
    return list({issue.code: issue for issue in issues}.values())


def _softened(issue: Issue) -> Issue:
    """An emergency is never blocked: kidney, rate and dose stay visible as a warning."""
    kept = issue.code in {"magnesium-high", "toxicity", "myasthenia"} or issue.indicator is Indicator.INFO
    return issue if kept else Issue(issue.code, Indicator.WARNING, issue.text, issue.action)


def _contraindications(case: Case) -> Iterator[Issue]:
    """Heart block and myasthenia, each said (decision 44); in torsades magnesium stays first line beside pacing."""
    for tag in ("heart_block", "myasthenia"):
        for sign in case.condition(tag)[:1]:
            if tag == "heart_block" and case.bolus_indicated:
                text, action = Message("{sign} with torsades", sign=sign_words(sign)), Message("pacing at hand")
                yield Issue("heart-block", Indicator.WARNING, text, action)
            else:
                text = Message("{sign}, IV magnesium is contraindicated by the label", sign=sign_words(sign))
                action = Message("stop, or only with monitoring by a specialist")
                yield Issue(tag.replace("_", "-"), Indicator.CRITICAL, text, action)


def _dose_issues(case: Case, whole: Course) -> Iterator[Issue]:
    """Outside obstetric protocols: the day's grams, with as-needed doses at their maximum (decision 34)."""
    limit = case.knowledge.value("iv-total")
    if whole.most <= limit or case.coded("preeclampsia", "eclampsia"):
        return
    values = {"grams": rounded(whole.most, 1), "limit": rounded(limit, 0)}
    if whole.as_needed:
        text = Message("With as-needed doses {grams} g of IV magnesium in 24 h, more than {limit} g", **values)
    else:
        text = Message("{grams} g of IV magnesium in 24 h, more than {limit} g", **values)
    yield Issue("dose", Indicator.WARNING, text, Message("check the dose"))


def _rate_issues(case: Case, drug: Medication) -> Iterator[Issue]:
    rate, usual = rate_mg_min(drug), case.knowledge.value("iv-rate")
    if rate is None or rate <= usual or magnesium_route(drug) != "iv" or emergency_coded(case):
        return
    told = {"rate": rounded(rate, 0), "limit": rounded(usual, 0)}
    text = Message("IV magnesium at {rate} mg/min, more than {limit} mg/min", **told)
    yield Issue("rate", Indicator.WARNING, text, Message("slow it down"))


def _patient_issues(case: Case, drug: Medication) -> Iterator[Issue]:
    yield from _child_issues(case, drug)
    days, most = (
        None if drug.duration_min is None else drug.duration_min / 1440,
        case.knowledge.value("iv-pregnancy-days"),
    )
    if case.pregnant and days is not None and days > most:
        text = Message("Pregnancy, IV magnesium continuously for more than {days} days", days=rounded(most, 0))
        yield Issue("pregnancy-duration", Indicator.WARNING, text, Message("shorten it"))


def _child_issues(case: Case, drug: Medication) -> Iterator[Issue]:
    """The other limits are an adult's: a child's dose is checked by weight, or said not to be."""
    if case.age_group != "child":
        return
    weight, grams = case.current(Analyte.WEIGHT, case.duration("child-weight-window")), grams_per_dose(drug)
    if weight is None or not weight.value or grams is None:
        text = Message("Child, dose of IV magnesium not checked (weight or dose not known)")
        yield Issue("child-unchecked", Indicator.WARNING, text, Message("check it by weight"))
        return
    per_kg, most = grams * 1000 / weight.value, case.knowledge.value("child-dose-maximum")
    low, high = case.knowledge.doses["child"].amount or (Decimal(0), Decimal(0))
    if grams * 1000 > most or (high and per_kg > high):
        values = {"dose": rounded(per_kg, 0), "low": low, "high": high, "most": rounded(most, 0)}
        text = Message("Child, {dose} mg/kg of IV magnesium, not {low} to {high} mg/kg and at most {most} mg", **values)
        yield Issue("child-dose", Indicator.WARNING, text, Message("check the dose"))


def _notes(case: Case, ordered: list[Medication]) -> Iterator[Message]:
    """What is asked or said beside, and never makes a card: a missing duration, a rate that an emergency allows."""
    infused = [m for m in of_kind(ordered, Schedule.SCHEDULED) if magnesium_route(m) == "iv"]
    rates = [rate for drug in infused if (rate := rate_mg_min(drug)) is not None]
    limit = case.knowledge.value("iv-rate")
    if len(rates) < len(infused):
        yield Message("State over what time.")
    if rates and max(rates) > limit and emergency_coded(case):
        told = {"rate": rounded(max(rates), 0), "limit": rounded(limit, 0)}
        yield Message("{rate} mg/min: above the label's {limit}, while life is in danger only.", **told)


def _monitoring(case: Case, issues: list[Issue]) -> Iterator[Message]:
    """What to watch, where the order is a warning or an emergency; a question needs none of it."""
    ranks = {issue.indicator for issue in issues}
    if not ranks - {Indicator.INFO} and not emergency_told(case):
        return
    hours = int(case.duration("after-iv").total_seconds() // 3600)
    yield Message("Monitor reflexes, breathing, urine and potassium; level from {hours} h after.", hours=hours)
    if Indicator.CRITICAL in ranks or emergency_told(case):
        yield Message("Antidote at hand: {antidote}", antidote=antidote_dose(case))


def _tests(case: Case) -> Iterator[Analyte]:
    """Creatinine and magnesium where the card asks for them; in an emergency beside the dose, not before it."""
    if case.gate == "unknown" and case.creatinine is None:
        yield Analyte.CREATININE
    if not case.mg_reliable:
        yield Analyte.SERUM_MAGNESIUM


def _level_and_kidney(case: Case) -> Message:
    mg = aged(case, case.mg) if case.mg else Message("no interpretable magnesium on file")
    if case.creatinine is None:
        return Message("Rests on: {mg}; no current creatinine.", mg=mg)
    if case.egfr is None:
        return Message("Rests on: {mg}; {cr}.", mg=mg, cr=aged(case, case.creatinine))
    values = {"mg": mg, "cr": aged(case, case.creatinine)}
    return Message("Rests on: {mg}; {cr}, eGFR {egfr}.", egfr=rounded(case.egfr, 0), **values)
