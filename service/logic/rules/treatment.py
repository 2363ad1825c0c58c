"""Group H, treatment of a reliably low magnesium: route, doses by table, kidney and age, follow-up.

Every dose is a row of doses.toml in a `Proposal`; `gates.py` lets it pass only for a patient for whom it is written.
The text of a finding here is that of its first proposal, and falls with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from service.logic.case import Case
from service.logic.case.person import EMERGENCY, OBSTETRIC, UNSTABLE_RHYTHM
from service.logic.gates import closed_gate
from service.logic.message import Message, Value
from service.logic.model import (
    Analyte,
    Condition,
    Dose,
    Finding,
    Indicator,
    LabResult,
    Medication,
    MissingInputs,
    NotMet,
    Proposal,
)
from service.logic.rules.drugs import sparing_diuretic_fits
from service.logic.rules.intake import elemental_per_day
from service.logic.rules.kidney import current_femg, loading_infusion
from service.logic.rules.phrases import ANALYTE, GATE, aged, drugs, elapsed, grams, references, sign_words, substances
from service.logic.rules.rule import Answer, Rule
from service.logic.units import rounded, to_unit

_SEVERE_SYMPTOMS = EMERGENCY | {"symptomatic_hypomg", "polymorphic_vt"}


def _treatable(case: Case) -> MissingInputs | NotMet | None:
    if case.mg is None or not case.mg_is_current:
        return MissingInputs((Analyte.SERUM_MAGNESIUM.value,))
    return None if case.mg_low else NotMet()


def _to_be_given(case: Case) -> MissingInputs | NotMet | None:
    """Like `_treatable`, and nothing has been given or ordered since the sample that treats it already."""
    if answer := _treatable(case):
        return answer
    return NotMet(Message("Being treated already.")) if case.low_is_handled else None


def route(case: Case) -> Answer:
    """R-070: which way magnesium should go in, and why."""
    if answer := _to_be_given(case):
        return answer
    way = case.route
    words = {
        "iv-urgent": Message("Urgent intravenous magnesium is indicated: {reasons}.", reasons=_reasons(case)),
        "iv": _iv_words(case),
        "oral": _oral_words(case),
    }
    row = {"iv-urgent": "route-urgent", "iv": "route-iv", "oral": "route-oral"}[way]
    return Finding(
        result=way,
        indicator=Indicator.CRITICAL if way == "iv-urgent" else case.low_level,
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


def _before_the_vein(case: Case) -> Iterator[Message]:
    if case.tags & {"heart_block", "myasthenia"}:
        yield Message("Heart block or myasthenia: contraindicated by the label.")
    if case.age_group == "child" and case.current(Analyte.WEIGHT, case.duration("child-weight-window")) is None:
        yield Message("Weigh the child: no dose is shown without a current weight.")


def _oral_words(case: Case) -> Message:
    """What is not known could be a reason for the vein: potassium, calcium, kidney function."""
    looked_at = (
        (case.potassium, ANALYTE[Analyte.POTASSIUM]),
        (case.calcium, Message("calcium")),
        (case.creatinine, ANALYTE[Analyte.CREATININE]),
    )
    unknown = tuple(words for result, words in looked_at if result is None)
    if unknown:
        return Message("Oral magnesium suits: no reason for the vein found. Missing: {things}.", things=unknown)
    return Message("Oral magnesium suits: no reason for the vein found.")


def _iv_words(case: Case) -> Message:
    if case.severity == "mild" and not case.patient.inpatient:
        return Message("Consider intravenous magnesium: {reasons}.", reasons=_reasons(case))
    return Message("Intravenous magnesium is indicated: {reasons}.", reasons=_reasons(case))


def _reasons(case: Case) -> tuple[Message, ...]:
    present = (
        ("torsades" in case.tags, Message("torsades de pointes")),
        ("vt" in case.tags, Message("ventricular tachycardia")),
        ("hemodynamic_instability" in case.tags, Message("haemodynamic instability")),
        ("tetany" in case.tags, Message("tetany")),
        ("seizure_acute" in case.tags, Message("seizure")),
        (case.graver_severity == "severe", Message("severe hypomagnesaemia")),
        (case.potassium_low, Message("low potassium")),
        (case.calcium_low, Message("low calcium")),
        ("short_bowel" in case.tags, Message("short bowel")),
        ("npo" in case.tags, Message("nil by mouth")),
        ("oral_intolerance" in case.tags, Message("oral intolerance")),
    )
    return tuple(words for is_present, words in present if is_present)[:3]


def inpatient_table(case: Case) -> Answer:
    """R-071: the dose table for a stable adult inpatient, by mg/dL: unrounded at 1.0, to one decimal above."""
    if answer := _to_be_given(case):
        return answer
    stable = not case.emergency_tags and not case.bolus_open
    if case.route != "iv" or not case.patient.inpatient or not stable or case.age_group == "child" or case.mg is None:
        return NotMet()
    if case.iv_magnesium:
        return NotMet(Message("Intravenous magnesium is already running."))
    mg_dl = _table_value(case.mg)
    bands = [case.knowledge.doses[name] for name in ("iv-band-severe", "iv-band-moderate", "iv-band-mild")]
    dose = next((d for d in bands if d.below_mg_dl is not None and mg_dl < d.below_mg_dl), None)
    if dose is None:
        return NotMet()
    text = Message("Stable inpatient: {dose} in 5 % glucose; repeat by level.", dose=infusion(dose))
    return Finding(
        dose.id,
        Indicator.INFO,
        text,
        Message("Dose table of the digest for {value} mg/dL.", value=rounded(mg_dl, 1)),
        proposals=(Proposal(dose, text),),
        evidence=references(case.mg, case.creatinine),
    )


def _table_value(mg: LabResult) -> Decimal:
    """Milligrams per decilitre for the table: below 1.0 as they are, above rounded, which closes the 1.5-1.6 gap."""
    value = to_unit(mg.value or Decimal(0), "mg/dL", mg.analyte)
    return value if value < 1 else max(rounded(value, 1), Decimal("1.0"))


def infusion(dose: Dose) -> Message:
    """An intravenous dose in words: grams of magnesium sulfate over minutes or hours."""
    (low, high), (shortest, longest) = _span(dose.amount), _span(dose.over)
    values: dict[str, Value] = {"low": low, "high": high, "shortest": shortest, "longest": longest}
    if dose.over_unit == "min":
        return Message("magnesium sulfate {low} to {high} g IV over {shortest} to {longest} min", **values)
    return Message("magnesium sulfate {low} to {high} g IV over {shortest} to {longest} h", **values)


def _span(ends: tuple[Decimal, Decimal] | None) -> tuple[Decimal, Decimal]:
    assert ends is not None  # noqa: S101  rows with a dose carry amount and time
    return ends


def emergency(case: Case) -> Answer:
    """R-072: the adult emergency dose; in torsades at every level below 3.0 mmol/L, measured or not (decision 26)."""
    if case.age_group == "child":
        return NotMet()
    if case.bolus_open:
        return _torsades(case)
    if answer := _treatable(case):
        return answer
    if not case.emergency_tags:
        return NotMet()
    if case.coded(*OBSTETRIC):
        return NotMet(Message("Eclampsia: the obstetric protocol applies, not this table."))
    return _other_emergency(case)


def _torsades(case: Case) -> Finding:
    dose = case.knowledge.doses["iv-torsades"]
    high = case.mg_at_least("mg-high-moderate")
    told = case.condition("torsades", "polymorphic_vt", "vt", "cardiac_arrest")
    name = Message("Torsades") if case.torsades else Message("VT with severely low magnesium")
    marked = Message("{name} (from text)", name=name) if told and not _coded(told) else name
    number = case.age_group == "adult"
    amount_words = _bolus_words(dose) if number else Message("magnesium sulfate IV, dose by age")
    text = (
        Message("{name}: pacing or isoprenaline first; {dose}, one bolus at most", name=marked, dose=amount_words)
        if high
        else Message("{name}: {dose} now", name=marked, dose=amount_words)
    )
    return Finding(
        "torsades-bolus",
        Indicator.CRITICAL,
        text,
        _torsades_why(case),
        tuple(_torsades_advice(case)),
        (Proposal(dose, text),) if number else (),
        tests=() if case.mg_measured is not None else (Analyte.SERUM_MAGNESIUM, Analyte.POTASSIUM),
        evidence=references(case.mg_measured, case.qtc_long, case.creatinine) + tuple(c.reference for c in told),
    )


def _coded(conditions: list[Condition]) -> bool:
    return any(c.recognised_by == "code" for c in conditions)


def _bolus_words(dose: Dose) -> Message:
    (_, grams_), (_, minutes) = _span(dose.amount), _span(dose.over)
    return Message("magnesium sulfate {grams} g IV over {minutes} min", grams=grams_, minutes=minutes)


def _torsades_why(case: Case) -> Message:
    measured = (r for r in (case.mg_measured, case.qtc_long, case.potassium) if r is not None)
    values = tuple(aged(case, r) for r in measured)
    if not values:
        return Message("Given whatever the level; none is known.")
    return Message("Given whatever the level: {values}.", values=values)


def _torsades_advice(case: Case) -> Iterator[Message]:
    if case.gate_closed:
        yield Message("Once; no infusion after it, the kidneys cannot clear it.")
    yield Message(
        "Pulseless: as a bolus. Above the label's {rate} mg/min, as life is in danger.", rate=_label_rate(case)
    )
    if "heart_block" in case.tags:
        yield Message("Heart block: pacing; magnesium is still first line.")
    yield Message("Potassium to 4.5-5, stop QT drugs, calcium at hand.")


def _label_rate(case: Case) -> Decimal:
    return rounded(case.knowledge.value("iv-rate"), 0)


def _other_emergency(case: Case) -> Finding:
    unstable = bool(case.tags & UNSTABLE_RHYTHM)
    dose = case.knowledge.doses["iv-unstable" if unstable else "iv-severe-symptoms"]
    signs = tuple(dict.fromkeys(sign_words(c) for c in case.condition(*sorted(case.emergency_tags))))[:2]
    if unstable:
        text = Message("{signs}: {dose}; repeat once if still unstable", signs=signs, dose=infusion(dose))
    else:
        text = Message("{signs}, stable: {dose}", signs=signs, dose=infusion(dose))
    follow_on = case.knowledge.doses["iv-follow-on"]
    then = Message("Then {dose}, by level.", dose=infusion(follow_on))
    return Finding(
        "emergency-unstable" if unstable else "emergency-stable",
        Indicator.CRITICAL,
        text,
        Message("Label rate {rate} mg/min: faster only when life is in danger.", rate=_label_rate(case)),
        (Message("Monitor ECG, reflexes and breathing; calcium gluconate at hand."),),
        (Proposal(dose, text),) + (() if unstable else (Proposal(follow_on, then),)),
        evidence=references(case.mg, case.creatinine)
        + tuple(c.reference for c in case.condition(*sorted(case.emergency_tags))),
    )


def child(case: Case) -> Answer:
    """R-073: a child's intravenous dose by weight; without a weight no dose, in torsades the rule without a number."""
    if case.age_group != "child":
        return _treatable(case) or NotMet()
    if not case.bolus_open:
        if answer := _to_be_given(case):
            return answer
        if case.route == "oral":
            return NotMet()
    weight = case.current(Analyte.WEIGHT, case.duration("child-weight-window"))
    if weight is None or weight.value is None:
        return _unweighed(case) if case.bolus_open else MissingInputs((Analyte.WEIGHT.value,))
    return _child_dose(case, weight, weight.value)


def _child_row(case: Case) -> Dose:
    if case.bolus_open:
        return case.knowledge.doses["child-torsades"]
    if case.gate_closed and case.emergency_tags and case.severity == "severe":
        return case.knowledge.doses["child-urgent-closed"]
    return case.knowledge.doses["child-urgent" if case.emergency_tags else "child"]


def _child_dose(case: Case, weight: LabResult, kg: Decimal) -> Finding:
    dose = _child_row(case)
    low, high = (_capped(case, per_kg * kg) for per_kg in _span(dose.amount))
    once_ = dose.id == "child-urgent-closed"
    if once_:
        text = Message("Child, kidneys closed: magnesium sulfate {low} mg IV once, level before more", low=low)
    elif dose.first_bolus:
        shortest, longest = _span(dose.over)
        text = Message(
            "Torsades in a child: magnesium sulfate {low} to {high} mg IV over {shortest} to {longest} min now",
            low=low, high=high, shortest=shortest, longest=longest,
        )  # fmt: skip
    else:
        text = Message("Child: magnesium sulfate {low} to {high} mg IV slowly", low=low, high=high)
    urgent = case.emergency_tags or case.bolus_open
    return Finding(
        "child-dose",
        Indicator.CRITICAL if urgent else case.low_level,
        text,
        _per_kg(case, dose, kg),
        (Message("Pulseless: as a bolus."),) if dose.first_bolus else (),
        proposals=(Proposal(dose, text),),
        values={"child_mgso4_mg_low": low, "child_mgso4_mg_high": high},
        evidence=references(case.mg, weight, case.creatinine),
    )


def _per_kg(case: Case, dose: Dose, kg: Decimal) -> Message:
    low, high = _span(dose.amount)
    most = rounded(case.knowledge.value("child-dose-maximum") / 1000, 0)
    if low == high:
        return Message("{low} mg/kg, at most {most} g; weight {kg} kg.", low=low, most=most, kg=rounded(kg, 1))
    return Message(
        "{low} to {high} mg/kg, at most {most} g; weight {kg} kg.", low=low, high=high, most=most, kg=rounded(kg, 1)
    )


def _unweighed(case: Case) -> Finding:
    dose = case.knowledge.doses["child-torsades"]
    (low, high), most = _span(dose.amount), rounded(case.knowledge.value("child-dose-maximum") / 1000, 0)
    text = Message(
        "Torsades in a child: magnesium sulfate {low} to {high} mg/kg IV, at most {most} g, now; weigh",
        low=low, high=high, most=most,
    )  # fmt: skip
    return Finding(
        "child-rule",
        Indicator.CRITICAL,
        text,
        Message("No current weight: no number is shown."),
        proposals=(Proposal(dose, text),),
        evidence=references(case.mg_measured, case.qtc_long),
    )


def _capped(case: Case, mg: Decimal) -> Decimal:
    return min(rounded(mg, 0), case.knowledge.value("child-dose-maximum"))


def kidney_adjusted(case: Case) -> Answer:
    """R-074: what may be given, if anything, when the kidney gate is closed; the stricter gate decides (28)."""
    if answer := _treatable(case):
        return answer
    if not case.gate_closed or case.pseudo or case.age_group == "child":
        return NotMet()
    if case.bolus_open:
        return _kidney_note(case, "no-automatic-supplement", Indicator.INFO, _AFTER_BOLUS)
    if case.dialysis:
        note = _CKRT if case.ckrt else _DIALYSIS
        return _kidney_note(case, "protocol" if case.ckrt else "no-dose-treat-loss", Indicator.INFO, note)
    symptoms = bool(case.tags & _SEVERE_SYMPTOMS)
    if case.severity != "severe" or (case.dose_gate == "failure" and not symptoms):
        note = _FAILURE if case.dose_gate == "failure" else _NOT_SEVERE
        return _kidney_note(case, "no-automatic-supplement", Indicator.INFO, note)
    return _kidney_dose(case, symptoms)


def _kidney_dose(case: Case, symptoms: bool) -> Finding:
    row = "kidney-severe-oral"
    if symptoms:
        row = "kidney-failure-symptoms" if case.dose_gate == "failure" else "kidney-severe-symptoms"
    dose = case.knowledge.doses[row]
    text = _kidney_words(dose)
    return Finding(
        dose.id,
        Indicator.CRITICAL if symptoms else case.low_level,
        text,
        Message("Half the usual dose or less: {gate}.", gate=GATE[case.gate]),
        proposals=(Proposal(dose, text),),
        evidence=references(case.mg, case.creatinine),
    )


def _kidney_words(dose: Dose) -> Message:
    low, high = _span(dose.amount)
    if dose.id == "kidney-severe-symptoms":
        return Message("Kidney-adjusted: {dose}, no repeat before a level", dose=infusion(dose))
    if dose.id == "kidney-failure-symptoms":
        return Message("Kidney failure: {dose}; begin with {low} g, level before more", dose=infusion(dose), low=low)
    return Message("Kidney-adjusted: oral {low} to {high} mg elemental magnesium/day, level first", low=low, high=high)


_DIALYSIS = Message("Dialysis: no magnesium dose; treat the loss, review dialysate and binders.")
_CKRT = Message("Continuous renal replacement: losses are large, replace by protocol with levels.")
_FAILURE = Message("Kidney failure: no automatic supplement; treat the cause of the loss.")
_AFTER_BOLUS = Message("After the emergency bolus no automatic supplement: the kidneys cannot clear magnesium.")
_NOT_SEVERE = Message("Not severe and the kidneys cannot clear magnesium: no automatic supplement; treat the cause.")


def _kidney_note(case: Case, result: str, indicator: Indicator, text: Message) -> Finding:
    return Finding(result, indicator, text, evidence=references(case.mg, case.creatinine))


def oral(case: Case) -> Answer:
    """R-075: the oral dose, and the elemental magnesium of every product that is already taken."""
    intake = elemental_per_day(case, case.oral_magnesium)
    dose = case.knowledge.doses["oral"]
    enough = intake is not None and intake >= case.knowledge.value("oral-maximum")
    wanted = case.mg_low and case.route == "oral" and not enough and not case.low_is_handled
    if wanted and (intake is None or closed_gate(case, dose) is None):
        return _oral_dose(case, dose, intake)
    if intake is None:
        return _treatable(case) or NotMet()
    mg = rounded(intake, 0)
    return Finding(
        "intake",
        Indicator.INFO,
        text=_contain(case, mg),
        why=Message("{drugs}.", drugs=drugs(case.oral_magnesium)),
        values={"oral_elemental_mg_day": mg},
        evidence=references(*case.oral_magnesium),
        context_only=True,
    )


def _contain(case: Case, mg: Decimal) -> Message:
    """The elemental sum; "at least" where a product's salt, dose or frequency is not known."""
    if all(elemental_per_day(case, [product]) is not None for product in case.oral_magnesium):
        return Message("Magnesium products contain {mg} mg elemental/day.", mg=mg)
    return Message("Magnesium products contain at least {mg} mg elemental/day.", mg=mg)


def _oral_dose(case: Case, dose: Dose, intake: Decimal | None) -> Finding:
    low, high = _span(dose.amount)
    text = Message(
        "Oral: {low} to {high} mg elemental magnesium/day in 2 to 4 doses, organic or slow-release.", low=low, high=high
    )
    taken = None if intake is None else rounded(intake, 0)
    already = None if taken is None else Message("Already taken: {mg} mg elemental/day.", mg=taken)
    caution = Message("Start low and recheck: kidney function is reduced.")
    return Finding(
        "oral-dose",
        case.low_level,
        text,
        already,
        ((caution,) if case.gate == "reduced" else ()) + (Message("Diarrhoea limits the dose."),),
        (Proposal(dose, text),),
        values={} if taken is None else {"oral_elemental_mg_day": taken},
        evidence=references(case.mg, case.creatinine, *case.oral_magnesium),
    )


def adjunct(case: Case) -> Answer:
    """R-076: still low after four weeks of oral magnesium: what else may help, with how little evidence."""
    if answer := _treatable(case):
        return answer
    long = [m for m in case.oral_magnesium if m.start and case.now - m.start.start >= case.duration("oral-trial")]
    if not long or case.pseudo:
        return NotMet()
    femg = current_femg(case)
    if femg is not None and femg < case.knowledge.value("femg-extrarenal"):
        return NotMet(
            Message("FEMg points to a loss outside the kidney: treat the gut, or give magnesium parenterally.")
        )
    sparing = sparing_diuretic_fits(case)
    option = Message("Amiloride or triamterene may help (weak evidence; kidneys normal, potassium not high).")
    sglt2 = Message("In type 2 diabetes an SGLT2 inhibitor raises magnesium; without it for a specialist, off label.")
    return Finding(
        "refractory-to-oral",
        Indicator.INFO,
        text=Message(
            "Still low after {days} days or more of {drugs}",
            days=case.knowledge.duration("oral-trial").days,
            drugs=substances(long),
        ),
        action=Message("SGLT2 inhibitor by a specialist, off label") if _off_label_sglt2(case, femg) else None,
        advice=(
            Message("Check intake and salt; FEMg if not done."),
            *((option,) if sparing else ()),
            *((sglt2,) if not case.pregnant and (femg is not None or "t2dm" in case.tags) else ()),
        ),
        evidence=references(case.mg, *long),
    )


def _off_label_sglt2(case: Case, femg: Decimal | None) -> bool:
    """Refractory renal wasting without diabetes, not pregnant (decision 39)."""
    renal = femg is not None and femg > case.knowledge.value("femg-renal")
    return renal and not ({"t2dm", "t1dm"} & case.tags or case.pregnant)


def follow_up(case: Case) -> Answer:
    """R-077: when to measure again; a reason for a card only when a level is overdue, or calcium stays low (19, 38)."""
    oral_treatment = [m for m in case.oral_magnesium if m.classes & {"mg_preparation"}] if not case.mg_high else []
    infusions = [m for m in case.recent_iv_magnesium if m not in _test_loads(case)]
    overdue, low_calcium = _overdue(case), _calcium_stays_low(case)
    if not (infusions or oral_treatment or overdue or low_calcium):
        return NotMet()
    return Finding(
        "calcium-still-low" if low_calcium else "level-overdue" if overdue else "follow-up",
        Indicator.INFO,
        text=low_calcium or overdue or Message("Magnesium treatment in progress"),
        advice=tuple(_when_to_measure(case, bool(infusions), bool(oral_treatment))),
        tests=(Analyte.SERUM_MAGNESIUM,) if overdue and not low_calcium else (),
        evidence=references(*infusions, *oral_treatment, case.calcium if low_calcium else None),
        action=_CONTINUE
        if low_calcium
        else Message("measure magnesium now")
        if overdue
        else Message("re-measure on time"),
        context_only=not (overdue or low_calcium),
    )


_CONTINUE = Message("continue the dose for 3 to 5 days more")


def _calcium_stays_low(case: Case) -> Message | None:
    if not case.calcium_stays_low or case.calcium is None:
        return None
    return Message("{ca} still low, magnesium normal again", ca=aged(case, case.calcium))


def _overdue(case: Case) -> Message | None:
    missing = case.overdue_level
    if missing is None:
        return None
    ago = elapsed(case.now - missing.since)
    if missing.given:
        return Message("No magnesium level since {dose} {ago}", dose=grams(missing.drug), ago=ago)
    return Message("No magnesium level since {drug} was begun {ago}", drug=drugs([missing.drug]), ago=ago)


def _when_to_measure(case: Case, infused: bool, swallowed: bool) -> Iterator[Message]:
    if infused:
        yield Message(
            "IV: level from {hours} h after each dose, at least daily in hospital; watch potassium with sulfate.",
            hours=case.knowledge.value("after-iv"),
        )
    if swallowed:
        yield Message("Oral: level after 1 to 2 weeks, then every 3 to 6 months.")
    if case.gate_closed:
        yield Message("Kidney gate closed: a level before every dose.")
    elif case.mg_normal and case.gate == "normal" and not case.calcium_low:
        yield Message("Level in range: continue 2 to 3 days to refill cells, then review the need.")


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
