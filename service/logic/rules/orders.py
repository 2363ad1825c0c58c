"""Group J, orders: a magnesium test, a wasting drug, magnesium itself, its interactions, and potassium."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from service.logic.case import Case
from service.logic.case.drugs import (
    CNI_MTOR,
    EGFR_ANTIBODY,
    LOOP_OR_THIAZIDE,
    MAGNESIUM_PRODUCT,
    NEPHROTOXIC,
    PLATINUM,
    is_fluid,
    magnesium_route,
)
from service.logic.case.person import NEUROPSYCHIATRIC, OBSTETRIC, UNSTABLE_RHYTHM
from service.logic.case.results import below
from service.logic.knowledge import Interaction
from service.logic.model import Analyte, Finding, Hook, Indicator, Medication, NotMet, Order, Proposal
from service.logic.rules.drugs import ppi_duration
from service.logic.rules.excess import antidote_dose
from service.logic.rules.kidney import gate_unknown
from service.logic.rules.magnesium import excess_tier
from service.logic.rules.rule import ORDER_HOOKS, Answer, Rule
from service.logic.rules.treatment import elemental_per_day, once
from service.logic.rules.words import ANALYTE, dated, drugs, last_magnesium, references
from service.logic.text import Text
from service.logic.units import rounded

_EMERGENCY_ORDER = UNSTABLE_RHYTHM | OBSTETRIC | {"asthma_severe", "tetany", "seizure_acute"}
_MAGNESIUM_TESTS = frozenset({Analyte.SERUM_MAGNESIUM, Analyte.RBC_MAGNESIUM, Analyte.IONISED_MAGNESIUM})


def _drafts(case: Case) -> list[Order]:
    """The drafts the advice is about: on order-select only the selected ones."""
    if case.patient.hook is Hook.ORDER_SELECT:
        return [o for o in case.patient.orders if o.selected]
    return list(case.patient.orders)


def _ordered(case: Case, classes: frozenset[str]) -> list[Medication]:
    """Draft medications of these classes."""
    return [o.medication for o in _drafts(case) if o.medication and o.medication.classes & classes]


def _magnesium(case: Case) -> list[Medication]:
    """Draft magnesium products; nutrition and dialysis fluids are none."""
    return [m for m in _ordered(case, MAGNESIUM_PRODUCT) if not is_fluid(m)]


def _parenteral(drug: Medication) -> bool:
    """Into a vein, or (sulfate by another route than the mouth) into a muscle."""
    route = magnesium_route(drug)
    return route == "iv" or (route == "other" and any(i.name == "magnesium sulfate" for i in drug.ingredients))


# ---- R-090 ----------------------------------------------------------------------------------------------------


def magnesium_test(case: Case) -> Answer:
    """R-090: a magnesium test is selected: which tests belong beside it, and how to take the sample."""
    selected = [o for o in _drafts(case) if o.test in _MAGNESIUM_TESTS]
    if not selected:
        return NotMet()
    tests = tuple(a for a in _companions(case) if a not in case.patient.pending)
    names = tuple(ANALYTE[a] for a in tests)
    text = (
        Text("With this magnesium test, consider: {tests}.", tests=names)
        if tests
        else Text("Magnesium test selected; its companion tests are current or ordered.")
    )
    return Finding(
        "add-companion-tests" if tests else "complete",
        Indicator.INFO,
        text,
        Text("Magnesium is read together with kidney function, potassium, calcium and albumin."),
        (
            Text(
                "Sample: no haemolysis or EDTA carry-over, not within 6 h after IV magnesium, not right after exercise."
            ),
        ),
        tests=tests,
        evidence=tuple(o.reference for o in selected),
    )


def _companions(case: Case) -> Iterator[Analyte]:
    if case.creatinine is None:
        yield Analyte.CREATININE
    if case.potassium is None:
        yield Analyte.POTASSIUM
    if case.calcium is None:
        yield Analyte.CALCIUM
    if case.albumin is None:
        yield Analyte.ALBUMIN
    if case.tags & NEUROPSYCHIATRIC and case.current(Analyte.RBC_MAGNESIUM, case.duration("rbc-window")) is None:
        yield Analyte.RBC_MAGNESIUM
    if case.mg_low and case.current(Analyte.URINE_MAGNESIUM, case.duration("urine-window")) is None:
        yield Analyte.URINE_MAGNESIUM
        yield Analyte.URINE_CREATININE


# ---- R-091 ----------------------------------------------------------------------------------------------------


def wasting_drug(case: Case) -> Answer:
    """R-091: a magnesium-wasting drug is ordered: is the magnesium known, and is it in range?"""
    concerned = [(drug, window, serious) for drug, window, serious in _baselines(case)]
    if not concerned:
        return NotMet()
    low = [drug for drug, window, _ in concerned if _low_within(case, window)]
    if low:
        return _low_before(case, low)
    due = [(drug, serious) for drug, window, serious in concerned if not _known_within(case, window)]
    if not due or Analyte.SERUM_MAGNESIUM in case.patient.pending:
        return NotMet()
    return Finding(
        "baseline-needed",
        Indicator.WARNING if any(serious for _, serious in due) else Indicator.INFO,
        text=Text("Check magnesium before: {drugs}.", drugs=drugs(drug for drug, _ in due)),
        why=last_magnesium(case),
        tests=(Analyte.SERUM_MAGNESIUM, *_beside_baseline(case)),
        evidence=references(case.mg) + tuple(drug.reference for drug, _ in due),
    )


def _beside_baseline(case: Case) -> Iterator[Analyte]:
    if case.potassium is None:
        yield Analyte.POTASSIUM
    if case.creatinine is None:
        yield Analyte.CREATININE


def _low_within(case: Case, window: timedelta) -> bool:
    """The baseline lies within the drug's window and is low, and not only by a low protein."""
    return _known_within(case, window) and case.mg_class == "low" and not case.pseudo


def _low_before(case: Case, ordered: list[Medication]) -> Finding:
    assert case.mg is not None  # noqa: S101  magnesium is low
    severe = below(case.mg, case.limit("mg-severe", case.mg))
    first = Text("Correct magnesium first.")
    return Finding(
        "correct-first",
        Indicator.CRITICAL if severe else Indicator.WARNING,
        text=Text("Magnesium {dated} is low before {drugs}.", dated=dated(case.mg), drugs=drugs(ordered, 2)),
        why=Text("The drug lowers magnesium further."),
        proposals=(Proposal(case.knowledge.doses["correct-with"], first),),
        tests=() if case.mg_is_current else (Analyte.SERUM_MAGNESIUM,),
        evidence=references(case.mg) + tuple(drug.reference for drug in ordered),
    )


def _baselines(case: Case) -> Iterator[tuple[Medication, timedelta, bool]]:
    """Draft wasting drugs with the window in which a baseline counts, and whether a missing one is a warning."""
    for order in _drafts(case):
        drug = order.medication
        if drug is None:
            continue
        if drug.classes & (PLATINUM | EGFR_ANTIBODY | NEPHROTOXIC):
            yield drug, case.duration("baseline-strong"), True
        elif drug.classes & (LOOP_OR_THIAZIDE | CNI_MTOR):
            yield drug, case.duration("baseline-usual"), False
        elif drug.classes & {"ppi"} and _ppi_matters(case, drug):
            yield drug, case.duration("baseline-ppi"), False


def _ppi_matters(case: Case, drug: Medication) -> bool:
    planned = None
    if drug.start is not None and drug.end is not None:
        planned = drug.end.end - drug.start.start
    running = ppi_duration(case)
    span = case.duration("ppi-possible")
    long = (planned is not None and planned >= span) or (running is not None and running >= span)
    beside = _ordered(case, LOOP_OR_THIAZIDE) or case.diuretics or case.digoxin
    return long or bool(beside)


def _known_within(case: Case, window: timedelta) -> bool:
    usable = case.mg is not None and not (case.mg_is_current and not case.mg_reliable)
    return usable and case.mg is not None and case.age_of(case.mg) <= window


# ---- R-092 ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Issue:
    """Something about a magnesium order that needs a second look."""

    code: str
    indicator: Indicator
    text: Text


def iv_magnesium(case: Case) -> Answer:
    """R-092: intravenous magnesium is ordered: kidney, level, dose, rate and contraindications, in that order."""
    ordered = sorted((m for m in _magnesium(case) if _parenteral(m)), key=lambda m: (m.name, m.reference))
    if not ordered:
        return NotMet()
    together = [*_level_issues(case), *_kidney_issues(case, ordered), *_day_issues(case, ordered)]
    issues = [*together, *(issue for drug in ordered for issue in _iv_issues(case, drug))]
    issues = list({issue.code: issue for issue in issues}.values())
    if case.coded(*sorted(_EMERGENCY_ORDER)):
        issues = [_softened(issue) for issue in issues]
    worst = max((issue.indicator for issue in issues), key=lambda i: i.rank, default=Indicator.INFO)
    counted = [issue for issue in issues if issue.indicator is not Indicator.INFO]
    rates = [rate for drug in ordered if (rate := rate_mg_min(drug)) is not None]
    return Finding(
        "+".join(issue.code for issue in issues) or "no-issue",
        worst,
        text=_iv_text(counted, ordered),
        why=_level_and_kidney(case),
        advice=(*(issue.text for issue in _gravest_first(issues)), *_iv_monitoring(case, counted)),
        values={"rate_mg_min": rounded(max(rates), 1)} if rates else {},
        evidence=references(case.mg, case.creatinine) + tuple(drug.reference for drug in ordered),
    )


def _gravest_first(issues: list[_Issue]) -> list[_Issue]:
    return sorted(issues, key=lambda issue: -issue.indicator.rank)


def _iv_text(issues: list[_Issue], ordered: list[Medication]) -> Text:
    if not issues:
        return Text("IV magnesium ordered ({drugs}): monitor as below.", drugs=drugs(ordered, 1))
    worst = _gravest_first(issues)[0]
    if len(issues) == 1:
        return Text("IV magnesium ordered: {issue}", issue=worst.text)
    return Text("IV magnesium ordered, {count} points to check: {issue}", count=len(issues), issue=worst.text)


def _emergency_order(case: Case) -> bool:
    """An emergency indication, coded or only told: then nobody waits for a level."""
    return bool(case.tags & _EMERGENCY_ORDER)


def _softened(issue: _Issue) -> _Issue:
    """An emergency is never blocked: kidney, rate and dose stay visible as a warning."""
    kept = issue.code in {"magnesium-high", "heart-block-or-myasthenia"} or issue.indicator is Indicator.INFO
    return issue if kept else _Issue(issue.code, Indicator.WARNING, issue.text)


def _iv_issues(case: Case, drug: Medication) -> Iterator[_Issue]:
    yield from _child_issues(case, drug)
    yield from _rate_issues(case, drug)
    yield from _patient_issues(case, drug)


def _level_issues(case: Case) -> Iterator[_Issue]:
    if case.mg_high and excess_tier(case) != "protocol-range":
        yield _Issue("magnesium-high", Indicator.CRITICAL, Text("Serum magnesium is already high: stop."))
    elif case.mg_normal and not _emergency_order(case):
        yield _Issue("not-low", Indicator.INFO, Text("Serum magnesium is in range: is replacement needed?"))
    elif not case.mg_is_current and not _emergency_order(case):
        yield _Issue("no-magnesium", Indicator.WARNING, Text("No current serum magnesium."))
    elif case.mg_is_current and not case.mg_reliable and not _emergency_order(case):
        yield _Issue("unreliable", Indicator.WARNING, Text("The current magnesium is unreliable: repeat it first."))
    elif case.pseudo and not _emergency_order(case):
        yield _Issue("protein-related", Indicator.WARNING, Text("The low magnesium is probably protein-related."))


def _day_issues(case: Case, ordered: list[Medication]) -> Iterator[_Issue]:
    daily = sum((_grams_per_day(drug) for drug in _together(case, ordered)), Decimal(0))
    if daily > case.knowledge.value("iv-total") and not case.coded(*OBSTETRIC):
        yield _Issue("dose", Indicator.WARNING, Text("{grams} g in 24 h exceeds 8 g.", grams=rounded(daily, 1)))


def _kidney_issues(case: Case, ordered: list[Medication]) -> Iterator[_Issue]:
    if case.coded(*sorted(_EMERGENCY_ORDER)):
        yield from _emergency_kidney_issues(case)
    else:
        yield from _elective_kidney_issues(case)
    grams = sum((_grams_ordered(drug) for drug in _together(case, ordered)), Decimal(0))
    if case.gate_closed and grams > case.knowledge.value("iv-total-kidney"):
        text = Text("Over 4 g although the kidneys cannot clear magnesium.")
        yield _Issue("dose-for-kidney", Indicator.CRITICAL, text)


def _emergency_kidney_issues(case: Case) -> Iterator[_Issue]:
    """An emergency waits for no creatinine; what comes after the first dose does."""
    if case.gate == "unknown":
        text = Text("Emergency: do not wait for creatinine; send it, and take a level before any repeat.")
        yield _Issue("creatinine-missing", Indicator.WARNING, text)
    elif case.gate_closed:
        text = Text("Emergency: the kidneys hardly clear magnesium; take a level before any repeat.")
        yield _Issue("kidney", Indicator.WARNING, text)


def _elective_kidney_issues(case: Case) -> Iterator[_Issue]:
    if case.gate == "unknown":
        yield _Issue("creatinine-missing", Indicator.WARNING, gate_unknown(case))
    if not case.gate_closed:
        return
    if case.mg_reliable and not case.mg_low:
        text = Text("Kidneys cannot clear it and magnesium is not low: stop.")
        yield _Issue("kidney-and-not-low", Indicator.CRITICAL, text)
    else:
        yield _Issue("kidney", Indicator.WARNING, _KIDNEY_SEVERE if case.severity == "severe" else _KIDNEY)


_KIDNEY = Text("The kidneys cannot clear magnesium: stop, or decide individually with a level before each dose.")
_KIDNEY_SEVERE = Text("The kidneys cannot clear magnesium: at most 4 g over 4 to 12 h, a level before repeating.")


def _rate_issues(case: Case, drug: Medication) -> Iterator[_Issue]:
    rate, usual = rate_mg_min(drug), case.knowledge.value("iv-rate")
    if magnesium_route(drug) != "iv":
        yield _Issue("route", Indicator.INFO, Text("Not intravenous: no rate to check."))
    elif rate is None:
        yield _Issue("duration-missing", Indicator.WARNING, Text("No duration or rate: state over what time."))
    elif rate > usual and case.coded(*sorted(_EMERGENCY_ORDER)):
        text = Text("Rate {rate} mg/min: over 150 only while life is in danger.", rate=rounded(rate, 0))
        yield _Issue("rate", Indicator.INFO, text)
    elif rate > usual:
        text = Text("Rate {rate} mg/min exceeds 150 mg/min.", rate=rounded(rate, 0))
        yield _Issue("rate", Indicator.WARNING, text)


def _child_issues(case: Case, drug: Medication) -> Iterator[_Issue]:
    """The other limits are an adult's: a child's dose is checked by weight, or said not to be."""
    if case.age_group != "child":
        return
    weight, grams = case.current(Analyte.WEIGHT, case.duration("child-weight-window")), _grams(drug)
    if weight is None or not weight.value or grams is None:
        yield _Issue("child-unchecked", Indicator.WARNING, Text("Child: dose not checked (weight or dose not known)."))
        return
    per_kg = grams * 1000 / weight.value
    high = case.knowledge.doses["child"].amount
    if grams * 1000 > case.knowledge.value("child-dose-maximum") or (high and per_kg > high[1]):
        text = Text("Child: {dose} mg/kg; the range is 25 to 50 mg/kg, at most 2 g.", dose=rounded(per_kg, 0))
        yield _Issue("child-dose", Indicator.WARNING, text)


def _patient_issues(case: Case, drug: Medication) -> Iterator[_Issue]:
    if case.tags & {"heart_block", "myasthenia"}:
        yield _Issue(
            "heart-block-or-myasthenia",
            Indicator.CRITICAL,
            Text("Heart block or myasthenia: contraindicated by the label."),
        )
    days = None if drug.duration_min is None else drug.duration_min / 1440
    if case.pregnant and days is not None and days > case.knowledge.value("iv-pregnancy-days"):
        yield _Issue("pregnancy-duration", Indicator.WARNING, Text("Pregnancy: not continuously beyond 5 days."))


def _grams(drug: Medication) -> Decimal | None:
    amounts = [i.mg_per_dose for i in drug.ingredients if i.name.startswith("magnesium") and i.mg_per_dose is not None]
    return sum(amounts, Decimal(0)) / 1000 if amounts else None


def _grams_ordered(drug: Medication) -> Decimal:
    """Grams of the compound that an order gives, over however long; a repeated dose counts for one day."""
    return (_grams(drug) or Decimal(0)) * max(drug.doses_per_day or Decimal(1), Decimal(1))


def _grams_per_day(drug: Medication) -> Decimal:
    """Grams of the compound in one day of this order; an infusion over days is spread over them."""
    days = Decimal(1) if drug.duration_min is None else max(drug.duration_min / 1440, Decimal(1))
    return _grams_ordered(drug) / days


def _together(case: Case, ordered: list[Medication]) -> list[Medication]:
    """What is ordered into a vein or muscle, and what is running; an order that is signed again is not both."""
    names = {drug.reference for drug in ordered}
    return [*ordered, *(m for m in once(case.iv_magnesium) if m.reference not in names and not _is_over(case, m))]


def _is_over(case: Case, drug: Medication) -> bool:
    """A single dose of more than a day ago whose order was left active."""
    if drug.start is None or drug.doses_per_day is not None:
        return False
    lasted = timedelta(minutes=float(drug.duration_min or 0))
    return case.now - drug.start.end > lasted + timedelta(days=1)


def rate_mg_min(drug: Medication) -> Decimal | None:
    """The ordered rate: stated, or dose by duration; None when neither is known."""
    if drug.rate_mg_min is not None:
        return drug.rate_mg_min
    grams = _grams(drug)
    if grams is None or not drug.duration_min:
        return None
    return grams * 1000 / drug.duration_min


def _level_and_kidney(case: Case) -> Text:
    mg = Text("magnesium {dated}", dated=dated(case.mg)) if case.mg else Text("no interpretable magnesium on file")
    if case.creatinine is None:
        return Text("Rests on: {mg}; no current creatinine.", mg=mg)
    if case.egfr is None:
        return Text("Rests on: {mg}; creatinine {cr}.", mg=mg, cr=dated(case.creatinine))
    return Text(
        "Rests on: {mg}; creatinine {cr}, eGFR {egfr}.", mg=mg, cr=dated(case.creatinine), egfr=rounded(case.egfr, 0)
    )


def _iv_monitoring(case: Case, issues: list[_Issue]) -> tuple[Text, ...]:
    watch = Text(
        "Monitor reflexes, breathing, urine (100 mL or more in 4 h) and potassium; level 6 to 12 h after the dose."
    )
    grave = any(issue.indicator is Indicator.CRITICAL for issue in issues) or _emergency_order(case)
    if case.age_group == "child":
        watch = Text("Monitor reflexes, breathing, urine and potassium; level 6 to 12 h after the dose.")
    return (watch, Text("Antidote at hand: {antidote}", antidote=antidote_dose(case))) if grave else (watch,)


# ---- R-093 ----------------------------------------------------------------------------------------------------


def oral_magnesium(case: Case) -> Answer:
    """R-093: oral magnesium is ordered: kidney, level and daily elemental dose."""
    ordered = [m for m in _magnesium(case) if magnesium_route(m) == "oral"]
    if not ordered:
        return NotMet()
    daily = elemental_per_day(case, ordered)
    issues = list(_oral_issues(case, daily))
    counted = [issue for issue in issues if issue.indicator is not Indicator.INFO]
    text = (
        Text("Oral magnesium ordered: {issue}", issue=counted[0].text)
        if counted
        else Text("Oral magnesium ordered: {drugs}.", drugs=drugs(ordered, 1))
    )
    computed = None if daily is None else rounded(daily, 0)
    return Finding(
        "+".join(issue.code for issue in counted) or "no-issue",
        max((issue.indicator for issue in issues), key=lambda i: i.rank, default=Indicator.INFO),
        text,
        _ordered_elemental(case, ordered, computed),
        (*(issue.text for issue in issues[0 if not counted else 1 :]), Text("Diarrhoea limits the dose; divide it.")),
        values={} if computed is None else {"ordered_elemental_mg_day": computed},
        evidence=references(case.mg, case.creatinine) + tuple(drug.reference for drug in ordered),
    )


def _ordered_elemental(case: Case, ordered: list[Medication], mg: Decimal | None) -> Text:
    """The elemental sum; "at least" where the salt, dose or frequency of a product is not known."""
    if mg is None:
        return _UNKNOWN_ELEMENTAL
    if all(elemental_per_day(case, [product]) is not None for product in ordered):
        return Text("Ordered: {mg} mg elemental/day.", mg=mg)
    return Text("Ordered: at least {mg} mg elemental/day.", mg=mg)


_UNKNOWN_ELEMENTAL = Text("The elemental dose could not be computed from the order.")


def _oral_issues(case: Case, daily: Decimal | None) -> Iterator[_Issue]:
    if case.mg_high:
        yield _Issue("magnesium-high", Indicator.WARNING, Text("Serum magnesium is already high."))
    if case.age_group == "child":
        yield _Issue("child", Indicator.WARNING, Text("Child: the dose is not checked by this service."))
    if case.gate_closed:
        yield _Issue("kidney", Indicator.WARNING, Text("The kidneys cannot clear magnesium."))
    if case.gate == "unknown":
        yield _Issue("creatinine-missing", Indicator.WARNING, gate_unknown(case))
    if daily is not None and daily > case.knowledge.value("oral-maximum"):
        yield _Issue("dose", Indicator.WARNING, Text("{mg} mg elemental/day exceeds 1000 mg.", mg=rounded(daily, 0)))
    elif daily is not None and daily > case.knowledge.value("oral-supplement-limit") and not case.mg_low:
        yield _Issue(
            "dose-without-deficiency",
            Indicator.WARNING,
            Text("{mg} mg elemental/day exceeds 350 mg without a low magnesium.", mg=rounded(daily, 0)),
        )
    if case.mg_normal:
        yield _Issue("not-low", Indicator.INFO, Text("Serum magnesium is in range: is replacement needed?"))


# ---- R-094 ----------------------------------------------------------------------------------------------------


def interactions(case: Case) -> Answer:
    """R-094: oral magnesium and a drug that it binds, whichever of the two is being ordered."""
    ordered_mg = [m for m in _magnesium(case) if magnesium_route(m) == "oral"]
    drafts = [o.medication for o in _drafts(case) if o.medication]
    others = [m for m in drafts if not m.classes & MAGNESIUM_PRODUCT]
    taken = [m for m in case.active_medications if not m.classes & MAGNESIUM_PRODUCT]
    pairs = list(_pairs(case, ordered_mg, [*taken, *others]))
    pairs += [p for p in _pairs(case, case.oral_magnesium, others) if p not in pairs]
    if not pairs:
        return NotMet()
    found = list(dict.fromkeys(other for _, other, _ in pairs))
    return Finding(
        "interaction",
        Indicator.WARNING,
        text=Text("Oral magnesium binds or weakens: {drugs}.", drugs=drugs(found)),
        advice=tuple(dict.fromkeys(_keep_apart(interaction, other) for interaction, other, _ in pairs)),
        evidence=tuple(dict.fromkeys(item.reference for _, other, mg in pairs for item in (other, mg))),
    )


def _pairs(
    case: Case, magnesium: Iterable[Medication], others: Iterable[Medication]
) -> Iterator[tuple[Interaction, Medication, Medication]]:
    listed = list(others)
    for product in magnesium:
        for other in listed:
            interaction = next((i for i in case.knowledge.interactions if _applies(i, other, product)), None)
            if interaction is not None and other.route in {"oral", ""}:
                yield interaction, other, product


def _applies(interaction: Interaction, other: Medication, product: Medication) -> bool:
    if interaction.only_with and interaction.only_with not in {i.name for i in product.ingredients}:
        return False
    return any(
        (item.drug_class in interaction.classes or item.name in interaction.ingredients)
        and item.name not in interaction.exceptions
        for item in other.ingredients
    )


def _keep_apart(interaction: Interaction, other: Medication) -> Text:
    name = drugs([other])
    if interaction.only_with:
        return Text(
            "{drug}: pyridoxine in the magnesium product weakens levodopa without a decarboxylase inhibitor.", drug=name
        )
    if interaction.hours is None:
        return Text("{drug}: avoid together with magnesium.", drug=name)
    before, after = interaction.hours
    if interaction.other_time_of_day:
        return Text("{drug}: at another time of day, at least {hours} h apart.", drug=name, hours=before)
    if before == after:
        return Text("{drug}: keep {hours} h apart from magnesium.", drug=name, hours=before)
    return Text("{drug}: take {before} h before or {after} h after magnesium.", drug=name, before=before, after=after)


# ---- R-095 ----------------------------------------------------------------------------------------------------


def potassium(case: Case) -> Answer:
    """R-095: potassium is ordered: it will not hold while magnesium is low, and nobody knows if it was not measured."""
    ordered = _ordered(case, frozenset({"potassium_salt"}))
    ordered = [m for m in ordered if not is_fluid(m) and not m.classes & LOOP_OR_THIAZIDE]
    if not ordered:
        return NotMet()
    evidence = references(case.mg, case.potassium, *ordered)
    if case.potassium_high:
        return _potassium_high(case, evidence)
    if case.mg_low and case.mg is not None:
        return Finding(
            "correct-magnesium-too",
            Indicator.WARNING,
            text=Text("Potassium ordered, magnesium {dated} low: potassium may not hold.", dated=dated(case.mg)),
            why=Text("Low magnesium keeps potassium low by renal loss."),
            proposals=(Proposal(case.knowledge.doses["correct-with"], Text("Correct both together.")),),
            evidence=evidence,
        )
    if case.mg_reliable or Analyte.SERUM_MAGNESIUM in case.patient.pending:
        return NotMet()
    refractory = case.potassium_low and bool(case.potassium_products)
    return Finding(
        "magnesium-unknown",
        Indicator.WARNING if refractory else Indicator.INFO,
        text=Text("Potassium ordered, no current magnesium: check it."),
        why=last_magnesium(case),
        tests=(Analyte.SERUM_MAGNESIUM,),
        evidence=evidence,
    )


def _potassium_high(case: Case, evidence: tuple[str, ...]) -> Finding:
    assert case.potassium is not None  # noqa: S101  a high potassium is one
    return Finding(
        "potassium-high",
        Indicator.WARNING,
        text=Text("Potassium ordered, but potassium {dated} is already high.", dated=dated(case.potassium)),
        advice=(Text("Check potassium before any more of it; a low magnesium is no reason to give it."),),
        evidence=evidence,
    )


_SELECT, _SIGN = frozenset({Hook.ORDER_SELECT}), frozenset({Hook.ORDER_SIGN})
RULES = (
    Rule("R-090", "magnesium-test-selected", magnesium_test, 5, _SELECT, _SELECT),
    Rule("R-091", "wasting-drug-ordered", wasting_drug, 3, ORDER_HOOKS, ORDER_HOOKS),
    Rule("R-092", "iv-magnesium-ordered", iv_magnesium, 1, _SIGN, _SIGN),
    Rule("R-093", "oral-magnesium-ordered", oral_magnesium, 2, _SIGN, _SIGN),
    Rule("R-094", "interaction", interactions, 4, _SIGN, _SIGN),
    Rule("R-095", "potassium-ordered", potassium, 2, _SIGN, _SIGN),
)
