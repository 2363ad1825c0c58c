"""Group H, treatment of a reliably low magnesium: route, doses by table, kidney and age, follow-up.

Every dose is a row of doses.toml in a `Proposal`; `gates.py` lets it pass only for a patient for whom it is written.
The text of a finding here is that of its first proposal, and falls with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

from service.logic.case import Case
from service.logic.case.person import EMERGENCY, OBSTETRIC, UNSTABLE_RHYTHM
from service.logic.gates import closed_gate
from service.logic.model import (
    Analyte,
    Dose,
    Finding,
    Indicator,
    Ingredient,
    Medication,
    MissingInputs,
    NotMet,
    Proposal,
)
from service.logic.rules.drugs import sparing_diuretic_fits
from service.logic.rules.kidney import current_femg, loading_infusion
from service.logic.rules.rule import Answer, Rule
from service.logic.rules.words import ANALYTE, GATE, drugs, references
from service.logic.text import Text, Value
from service.logic.units import rounded, to_unit

_SEVERE_SYMPTOMS = EMERGENCY | {"symptomatic_hypomg"}


def _treatable(case: Case) -> MissingInputs | NotMet | None:
    if case.mg is None or not case.mg_is_current:
        return MissingInputs((Analyte.SERUM_MAGNESIUM.value,))
    return None if case.mg_low else NotMet()


def route_of(case: Case) -> str:
    """iv-urgent, iv or oral for a low magnesium, whatever the gates say."""
    if case.tags & EMERGENCY:
        return "iv-urgent"
    gut = case.tags & {"short_bowel", "npo", "oral_intolerance"}
    return "iv" if case.severity == "severe" or case.potassium_low or case.calcium_low or gut else "oral"


def route(case: Case) -> Answer:
    """R-070: which way magnesium should go in, and why."""
    if answer := _treatable(case):
        return answer
    way = route_of(case)
    words = {
        "iv-urgent": Text("Urgent intravenous magnesium is indicated: {reasons}.", reasons=_reasons(case)),
        "iv": _iv_words(case),
        "oral": _oral_words(case),
    }
    row = {"iv-urgent": "route-urgent", "iv": "route-iv", "oral": "route-oral"}[way]
    return Finding(
        result=way,
        indicator=Indicator.CRITICAL if way == "iv-urgent" else Indicator.WARNING,
        text=words[way],
        advice=() if way == "oral" else tuple(_before_the_vein(case)),
        proposals=(Proposal(case.knowledge.doses[row], words[way]),),
        evidence=references(
            case.mg,
            case.creatinine,
            case.potassium if case.potassium_low else None,
            case.calcium if case.calcium_low else None,
        ),
    )


def _before_the_vein(case: Case) -> Iterator[Text]:
    if case.tags & {"heart_block", "myasthenia"}:
        yield Text("Heart block or myasthenia: contraindicated by the label.")
    if case.age_group == "child" and case.current(Analyte.WEIGHT, case.duration("child-weight-window")) is None:
        yield Text("Weigh the child: no dose is shown without a current weight.")


def _oral_words(case: Case) -> Text:
    """What is not known could be a reason for the vein: potassium, calcium, kidney function."""
    looked_at = (
        (case.potassium, ANALYTE[Analyte.POTASSIUM]),
        (case.calcium, Text("calcium")),
        (case.creatinine, ANALYTE[Analyte.CREATININE]),
    )
    unknown = tuple(words for result, words in looked_at if result is None)
    if unknown:
        return Text("Oral magnesium suits: no reason for the vein found. Missing: {things}.", things=unknown)
    return Text("Oral magnesium suits: no reason for the vein found.")


def _iv_words(case: Case) -> Text:
    if case.severity == "mild" and not case.patient.inpatient:
        return Text("Consider intravenous magnesium: {reasons}.", reasons=_reasons(case))
    return Text("Intravenous magnesium is indicated: {reasons}.", reasons=_reasons(case))


def _reasons(case: Case) -> tuple[Text, ...]:
    present = (
        ("torsades" in case.tags, Text("torsades de pointes")),
        ("vt" in case.tags, Text("ventricular tachycardia")),
        ("hemodynamic_instability" in case.tags, Text("haemodynamic instability")),
        ("tetany" in case.tags, Text("tetany")),
        ("seizure_acute" in case.tags, Text("seizure")),
        (case.severity == "severe", Text("severe hypomagnesaemia")),
        (case.potassium_low, Text("low potassium")),
        (case.calcium_low, Text("low calcium")),
        ("short_bowel" in case.tags, Text("short bowel")),
        ("npo" in case.tags, Text("nil by mouth")),
        ("oral_intolerance" in case.tags, Text("oral intolerance")),
    )
    return tuple(words for is_present, words in present if is_present)[:3]


def inpatient_table(case: Case) -> Answer:
    """R-071: the dose table for a stable adult inpatient, by serum magnesium in mg/dL rounded to one decimal."""
    if answer := _treatable(case):
        return answer
    stable = not case.tags & EMERGENCY
    if (
        route_of(case) != "iv"
        or not case.patient.inpatient
        or not stable
        or case.age_group == "child"
        or case.mg is None
    ):
        return NotMet()
    if case.iv_magnesium:
        return NotMet(Text("Intravenous magnesium is already running."))
    mg_dl = rounded(to_unit(case.mg.value or Decimal(0), "mg/dL", case.mg.analyte), 1)
    bands = [case.knowledge.doses[name] for name in ("iv-band-severe", "iv-band-moderate", "iv-band-mild")]
    dose = next((d for d in bands if d.below_mg_dl is not None and mg_dl < d.below_mg_dl), None)
    if dose is None:
        return NotMet()
    text = Text("Stable inpatient: {dose} in 5 % glucose; repeat by level.", dose=infusion(dose))
    return Finding(
        dose.id,
        Indicator.INFO,
        text,
        Text("Dose table of the digest for {value} mg/dL; rate at most 150 mg/min.", value=mg_dl),
        proposals=(Proposal(dose, text),),
        evidence=references(case.mg, case.creatinine),
    )


def infusion(dose: Dose) -> Text:
    """An intravenous dose in words: grams of magnesium sulfate over minutes or hours."""
    (low, high), (shortest, longest) = _span(dose.amount), _span(dose.over)
    values: dict[str, Value] = {"low": low, "high": high, "shortest": shortest, "longest": longest}
    if dose.over_unit == "min":
        return Text("magnesium sulfate {low} to {high} g IV over {shortest} to {longest} min", **values)
    return Text("magnesium sulfate {low} to {high} g IV over {shortest} to {longest} h", **values)


def _span(ends: tuple[Decimal, Decimal] | None) -> tuple[Decimal, Decimal]:
    assert ends is not None  # noqa: S101  rows with a dose carry amount and time
    return ends


def emergency(case: Case) -> Answer:
    """R-072: the adult emergency dose; the label's rate stands beside it unless life is in danger."""
    if answer := _treatable(case):
        return answer
    if not case.tags & EMERGENCY or case.age_group == "child":
        return NotMet()
    if case.coded(*OBSTETRIC):
        return NotMet(Text("Eclampsia: the obstetric protocol applies, not this table."))
    unstable = bool(case.tags & UNSTABLE_RHYTHM)
    row = "iv-torsades" if "torsades" in case.tags else "iv-unstable" if unstable else "iv-severe-symptoms"
    dose = case.knowledge.doses[row]
    if unstable:
        text = Text("Emergency, unstable: {dose} in 100 mL; repeat once if still unstable.", dose=infusion(dose))
    else:
        text = Text("Emergency, stable: {dose} in 50 to 100 mL.", dose=infusion(dose))
    follow_on = case.knowledge.doses["iv-follow-on"]
    then = Text("Then {dose}, by level.", dose=infusion(follow_on))
    proposals = (Proposal(dose, text),) + (() if unstable else (Proposal(follow_on, then),))
    return Finding(
        "emergency-unstable" if unstable else "emergency-stable",
        Indicator.CRITICAL,
        text,
        Text("Label rate 150 mg/min (1 g in 7 min, 2 g in 14 min): faster only when life is in danger."),
        (Text("Monitor ECG, reflexes and breathing; calcium gluconate at hand."),),
        proposals,
        evidence=references(case.mg, case.creatinine)
        + tuple(c.reference for c in case.condition(*sorted(case.tags & EMERGENCY))),
    )


def child(case: Case) -> Answer:
    """R-073: a child's intravenous dose by weight; without a weight no dose is stated."""
    if answer := _treatable(case):
        return answer
    if case.age_group != "child" or route_of(case) == "oral":
        return NotMet()
    weight = case.current(Analyte.WEIGHT, case.duration("child-weight-window"))
    if weight is None or weight.value is None:
        return MissingInputs((Analyte.WEIGHT.value,))
    dose = case.knowledge.doses["child-urgent" if case.tags & EMERGENCY else "child"]
    low, high = (_capped(case, per_kg * weight.value) for per_kg in _span(dose.amount))
    text = Text(
        "Child: magnesium sulfate {low} to {high} mg IV slowly (25 to 50 mg/kg, maximum 2 g).", low=low, high=high
    )
    return Finding(
        "child-dose",
        Indicator.CRITICAL if case.tags & EMERGENCY else Indicator.WARNING,
        text,
        Text("Weight {kg} kg; ECG and breathing monitored.", kg=rounded(weight.value, 1)),
        proposals=(Proposal(dose, text),),
        values={"child_mgso4_mg_low": low, "child_mgso4_mg_high": high},
        evidence=references(case.mg, weight, case.creatinine),
    )


def _capped(case: Case, mg: Decimal) -> Decimal:
    return min(rounded(mg, 0), case.knowledge.value("child-dose-maximum"))


def kidney_adjusted(case: Case) -> Answer:
    """R-074: what may be given, if anything, when the kidney gate is closed."""
    if answer := _treatable(case):
        return answer
    if not case.gate_closed or case.pseudo:
        return NotMet()
    if case.gate == "failure":
        return _kidney_note(case, "no-dose-treat-loss", Indicator.INFO, _FAILURE)
    if case.severity != "severe":
        note = _AFTER_BOLUS if "torsades" in case.tags else _NOT_SEVERE
        return _kidney_note(case, "no-automatic-supplement", Indicator.INFO, note)
    symptoms = bool(case.tags & _SEVERE_SYMPTOMS)
    dose = case.knowledge.doses["kidney-severe-symptoms" if symptoms else "kidney-severe-oral"]
    if symptoms:
        text = Text("Kidney-adjusted: {dose}, no repeat before a level.", dose=infusion(dose))
    else:
        low, high = _span(dose.amount)
        text = Text(
            "Kidney-adjusted: oral {low} to {high} mg elemental magnesium/day, level first.", low=low, high=high
        )
    return Finding(
        dose.id,
        Indicator.CRITICAL if symptoms else Indicator.WARNING,
        text,
        Text("Half the usual dose or less: {gate}.", gate=GATE[case.gate]),
        proposals=(Proposal(dose, text),),
        evidence=references(case.mg, case.creatinine),
    )


_FAILURE = Text("Kidney failure or dialysis: no magnesium dose; treat the loss, review dialysate and binders.")
_AFTER_BOLUS = Text("After the emergency bolus no automatic supplement: the kidneys cannot clear magnesium.")
_NOT_SEVERE = Text("Not severe and the kidneys cannot clear magnesium: no automatic supplement; treat the cause.")


def _kidney_note(case: Case, result: str, indicator: Indicator, text: Text) -> Finding:
    return Finding(result, indicator, text, evidence=references(case.mg, case.creatinine))


def oral(case: Case) -> Answer:
    """R-075: the oral dose, and the elemental magnesium of every product that is already taken."""
    intake = elemental_per_day(case, case.oral_magnesium)
    dose = case.knowledge.doses["oral"]
    enough = intake is not None and intake >= case.knowledge.value("oral-maximum")
    wanted = case.mg_low and route_of(case) == "oral" and not enough
    if wanted and (intake is None or closed_gate(case, dose) is None):
        return _oral_dose(case, dose, intake)
    if intake is None:
        return _treatable(case) or NotMet()
    mg = rounded(intake, 0)
    return Finding(
        "intake",
        Indicator.INFO,
        text=_contain(case, mg),
        why=Text("{drugs}.", drugs=drugs(case.oral_magnesium)),
        values={"oral_elemental_mg_day": mg},
        evidence=references(*case.oral_magnesium),
    )


def _contain(case: Case, mg: Decimal) -> Text:
    """The elemental sum; "at least" where a product's salt, dose or frequency is not known."""
    if all(elemental_per_day(case, [product]) is not None for product in case.oral_magnesium):
        return Text("Magnesium products contain {mg} mg elemental/day.", mg=mg)
    return Text("Magnesium products contain at least {mg} mg elemental/day.", mg=mg)


def _oral_dose(case: Case, dose: Dose, intake: Decimal | None) -> Finding:
    low, high = _span(dose.amount)
    text = Text(
        "Oral: {low} to {high} mg elemental magnesium/day in 2 to 4 doses, organic or slow-release.", low=low, high=high
    )
    taken = None if intake is None else rounded(intake, 0)
    already = None if taken is None else Text("Already taken: {mg} mg elemental/day.", mg=taken)
    caution = Text("Start low and recheck: kidney function is reduced.")
    return Finding(
        "oral-dose",
        Indicator.WARNING,
        text,
        already,
        ((caution,) if case.gate == "reduced" else ()) + (Text("Diarrhoea limits the dose."),),
        (Proposal(dose, text),),
        values={} if taken is None else {"oral_elemental_mg_day": taken},
        evidence=references(case.mg, case.creatinine, *case.oral_magnesium),
    )


_SALTS = (
    "oxide",
    "hydroxide",
    "chloride",
    "lactate",
    "carbonate",
    "sulfate",
    "citrate",
    "gluconate",
    "glycinate",
    "aspartate",
)


def elemental_mg(case: Case, item: Ingredient) -> Decimal | None:
    """Elemental magnesium in one dose of an ingredient; None if the salt or the amount is not known."""
    if item.mg_per_dose is None:
        return None
    if item.name == "magnesium":
        return item.mg_per_dose
    salt = next((s for s in _SALTS if item.name == f"magnesium {s}"), None)
    return None if salt is None else item.mg_per_dose * case.knowledge.value(f"salt-{salt}")


def elemental_per_day(case: Case, products: list[Medication]) -> Decimal | None:
    """Elemental magnesium per day of these products, as far as salt, dose and frequency are known; else None."""
    total = None
    for product in once(products):
        for item in product.ingredients:
            dose = elemental_mg(case, item)
            if dose is not None and product.doses_per_day is not None:
                total = (total or Decimal(0)) + dose * product.doses_per_day
    return total


def once(products: list[Medication]) -> list[Medication]:
    """Each intake once: the same entry twice is one, and so is the same dose as an order and as a statement."""
    kept: list[Medication] = []
    for product in products:
        if not any(_same_intake(product, other) for other in kept):
            kept.append(product)
    return kept


def _same_intake(one: Medication, other: Medication) -> bool:
    if one.reference.partition("/")[0] == other.reference.partition("/")[0]:
        return replace(one, reference=other.reference) == other
    return (one.ingredients, one.doses_per_day) == (other.ingredients, other.doses_per_day)


def adjunct(case: Case) -> Answer:
    """R-076: still low after four weeks of oral magnesium: what else may help, with how little evidence."""
    if answer := _treatable(case):
        return answer
    long = [m for m in case.oral_magnesium if m.start and case.now - m.start.start >= case.duration("oral-trial")]
    if not long or case.pseudo:
        return NotMet()
    femg = current_femg(case)
    if femg is not None and femg < case.knowledge.value("femg-extrarenal"):
        return NotMet(Text("FEMg points to a loss outside the kidney: treat the gut, or give magnesium parenterally."))
    sparing = sparing_diuretic_fits(case)
    option = Text("Amiloride or triamterene may help (weak evidence; eGFR 60 or more, potassium not high).")
    sglt2 = Text("In type 2 diabetes an SGLT2 inhibitor raises magnesium.")
    return Finding(
        "refractory-to-oral",
        Indicator.INFO,
        text=Text("Still low after 4 weeks or more of oral magnesium: {drugs}.", drugs=drugs(long, 2)),
        advice=(
            Text("Check intake and salt; FEMg if not done."),
            *((option,) if sparing else ()),
            *((sglt2,) if "t2dm" in case.tags and not case.pregnant else ()),
        ),
        evidence=references(case.mg, *long),
    )


def follow_up(case: Case) -> Answer:
    """R-077: when to measure again under treatment."""
    oral_treatment = [m for m in case.oral_magnesium if m.classes & {"mg_preparation"}] if not case.mg_high else []
    infusions = [m for m in case.recent_iv_magnesium if m not in _test_loads(case)]
    if not infusions and not oral_treatment:
        return NotMet()
    advice = []
    if infusions:
        advice.append(
            Text("IV: level 6 to 12 h after each dose, at least daily in hospital; watch potassium with sulfate.")
        )
    if oral_treatment:
        advice.append(Text("Oral: level after 1 to 2 weeks, then every 3 to 6 months."))
    if case.gate_closed:
        advice.append(Text("Kidney gate closed: a level before every dose."))
    elif case.mg_normal and case.gate == "normal":
        advice.append(Text("Level in range: continue 2 to 3 days to refill cells, then review the need."))
        if infusions and case.calcium_low:
            advice.append(Text("Calcium still low: the digest continues the dose for 3 to 5 days more."))
    return Finding(
        "follow-up",
        Indicator.INFO,
        text=Text("Magnesium treatment in progress: re-measure on time."),
        advice=tuple(advice),
        evidence=references(*infusions, *oral_treatment),
    )


def _test_loads(case: Case) -> list[Medication]:
    """Infusions that were loading tests, not treatment."""
    urine = case.current(Analyte.URINE_MAGNESIUM_24H, case.mg_window)
    load = loading_infusion(case, urine) if urine else None
    return [load[0]] if load else []


RULES = (
    Rule("R-070", "route", route, priority=14, treatment=True),
    Rule("R-071", "inpatient-dose-table", inpatient_table, priority=15, treatment=True),
    Rule("R-072", "emergency-dose", emergency, priority=3, treatment=True),
    Rule("R-073", "child-dose", child, priority=4, treatment=True),
    Rule("R-074", "kidney-adjusted", kidney_adjusted, priority=8, treatment=True),
    Rule("R-075", "oral-dose-and-intake", oral, priority=16, treatment=True),
    Rule("R-076", "adjunct", adjunct, priority=34),
    Rule("R-077", "follow-up", follow_up, priority=43),
)
