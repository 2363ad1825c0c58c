"""Group B, serum and ionised magnesium: class, severity, CTCAE grade, optimum, excess."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from service.logic.case import Case
from service.logic.case.drugs import ONCOLOGY
from service.logic.case.kidney import CLOSED_GATES
from service.logic.case.person import ARRHYTHMIA, NEONATAL_SIGNS, NEUROPSYCHIATRIC
from service.logic.case.results import above, below
from service.logic.case.treatment import Treatment
from service.logic.message import Message
from service.logic.model import Analyte, Condition, Finding, Indicator, LabResult, MissingInputs, NotMet
from service.logic.rules.phrases import (
    aged,
    amount,
    brief,
    dated,
    drugs,
    grams,
    limits,
    magnesium_values,
    other_units,
    references,
    sign_words,
    substances,
)
from service.logic.rules.rule import Answer, Rule
from service.logic.units import to_unit

MAX_NAMED = 2  # products that a headline surely has room for; more are all named below it (decision 44)
_NEEDS_MG = MissingInputs((Analyte.SERUM_MAGNESIUM.value,))


def serum_class(case: Case) -> Answer:
    """R-010: low, normal or high by the laboratory's range, flag, or the profile; alone a reason for no card.

    Except in a newborn with a sign, between the limits of R-011 and R-014: no range tells that it is harmless.
    """
    if case.mg is None or case.mg_class is None:
        return _NEEDS_MG
    if case.newborn_between and (signs := case.condition(*sorted(NEONATAL_SIGNS))):
        return _newborn_with_signs(case, case.mg, signs)
    said = {
        "low": Message("Serum magnesium {dated} is low.", dated=dated(case.mg)),
        "normal": Message("Serum magnesium {dated} is in range.", dated=dated(case.mg)),
        "high": Message("Serum magnesium {dated} is high.", dated=dated(case.mg)),
        "unclassified": Message("Serum magnesium {dated}: no range applies at this age.", dated=dated(case.mg)),
    }
    return Finding(
        result=case.mg_class,
        indicator=Indicator.INFO,
        text=said[case.mg_class],
        why=Message("Range used: {limits}.", limits=limits(case.range_of(case.mg))),
        values=magnesium_values(case.mg),
        evidence=references(case.mg),
        context_only=True,
    )


def _newborn_with_signs(case: Case, mg: LabResult, signs: list[Condition]) -> Finding:
    told = tuple(dict.fromkeys(sign_words(sign) for sign in signs))[:2]
    return Finding(
        "unclassified",
        Indicator.WARNING,
        Message("Newborn, {mg}, with {signs}", mg=aged(case, mg), signs=told),
        Message("No range applies under 2 days; maternal magnesium is a likely source of a high value."),
        (Message("Calcium and glucose too; dose by weight, per neonatal protocol."),),
        values=magnesium_values(mg),
        evidence=references(mg) + tuple(sign.reference for sign in signs),
        action=Message("repeat it, ask for the mother's magnesium"),
    )


def severity(case: Case) -> Answer:
    """R-011: mild, moderate or severe; how urgent depends on what else is wrong and on what is done already."""
    if case.mg is None or not case.mg_is_current:
        return _NEEDS_MG
    if case.severity is None:
        return newborn_low(case) or NotMet()
    return Finding(
        result=case.severity,
        indicator=_severity_indicator(case),
        text=_severity_text(case, case.mg),
        why=_severity_why(case, case.mg),
        action=_severity_action(case),
        advice=_severity_advice(case),
        values=magnesium_values(case.mg),
        evidence=references(
            case.mg,
            case.potassium if case.potassium_low else None,
            case.calcium if case.calcium_low else None,
            case.treatment.drug if case.treatment else None,
        ),
    )


def _severity_text(case: Case, mg: LabResult) -> Message:
    if case.pseudo and case.albumin is not None:
        return Message("Low {mg}, {albumin}: probably protein-related", mg=aged(case, mg), albumin=brief(case.albumin))
    if case.pseudo:
        return Message("Low {mg}: probably protein-related, as ionised magnesium is not low", mg=aged(case, mg))
    partners = tuple(brief(r) for r in (_low_potassium(case), _low_calcium(case)) if r is not None)
    values: tuple[Message, ...] = (aged(case, mg), *partners)
    words = {
        "mild": Message("Low {values}", values=values),
        "moderate": Message("Moderately low {values}", values=values),
        "severe": Message("Severely low {values}", values=values),
    }
    low, symptoms = words[case.graver_severity or "mild"], case.condition("symptomatic_hypomg")
    if not symptoms:
        return low
    return Message("{low}, with {signs}", low=low, signs=tuple(dict.fromkeys(sign_words(s) for s in symptoms))[:2])


def _low_potassium(case: Case) -> LabResult | None:
    return case.potassium if case.potassium_low else None


def _low_calcium(case: Case) -> LabResult | None:
    return case.calcium if case.calcium_low else None


def _severity_why(case: Case, mg: LabResult) -> Message:
    used = limits(case.range_of(mg))
    if case.graver_severity != case.severity:
        return Message("Mg {units}; {limits}; graded by the graver scale.", units=other_units(mg), limits=used)
    return Message("Mg {units}; {limits}.", units=other_units(mg), limits=used)


def _severity_indicator(case: Case) -> Indicator:
    if not case.low_is_news:
        return Indicator.INFO
    if case.graver_severity == "severe" or case.emergency_tags:
        return Indicator.CRITICAL
    rhythm = case.tags & ARRHYTHMIA or case.qtc_long
    if case.graver_severity == "moderate" and (case.potassium_low or case.calcium_low or rhythm):
        return Indicator.CRITICAL
    return Indicator.WARNING


def _severity_action(case: Case) -> Message:
    """What to do, in the order in which it is decided: nothing by number, done already, the kidneys, the partners."""
    if case.pseudo:
        return Message("look for the cause of the low albumin")
    if case.bolus_open:
        return Message("bolus first, then by level")
    if case.treatment_fails:
        return _does_not_hold(case)
    if case.treatment is not None and not case.needs_vein_instead:
        return _under_treatment(case, case.treatment)
    return _action_by_kidney(case) or _replacement(case)


def _action_by_kidney(case: Case) -> Message | None:
    """What comes before the replacement where the kidneys cannot clear magnesium; in an emergency a dose all the same."""
    if case.emergency_tags and case.gate_closed and case.severity == "severe":
        return Message("the kidney-adjusted dose now, level before more")
    if case.ckrt:
        return Message("losses are large, replace by protocol with levels")
    if case.gate in CLOSED_GATES:
        return Message("kidneys cannot clear magnesium, replace only by individual decision")
    return None


def _replacement(case: Case) -> Message:
    """How a low magnesium is replaced, and with what else."""
    if case.age_group == "child":
        return Message("replace by weight")
    if case.idle_scale is not None:
        return Message("scale active, no dose charted: give")
    if case.potassium_low and case.calcium_low:
        return Message("replace all three")
    if case.potassium_low or case.calcium_low:
        return Message("replace both")
    if case.diluted:
        return Message("pregnancy dilutes it, repeat with the next sample")
    if case.marginally_low:
        return Message("repeat, look for a cause")
    return Message("replace magnesium, find the cause")


def _does_not_hold(case: Case) -> Message:
    """Treated, and still low or lower: the cause that can be changed comes first."""
    if case.modifiable_causes:
        return Message("treatment does not hold, review {drugs}", drugs=substances(case.modifiable_causes[:2]))
    return Message("treatment does not hold, treat the high calcium")


def _under_treatment(case: Case, treatment: Treatment) -> Message:
    """What runs, and when to measure."""
    if treatment.dose is not None:
        due = treatment.dose.ended + case.duration("after-iv")
        return Message("{dose} given since, measure again from {due}", dose=grams(treatment.drug), due=due)
    if treatment.kind == "ordered":
        return Message("{dose} IV ordered since, measure again after it", dose=grams(treatment.drug))
    if treatment.kind == "oral":
        begun = substances([treatment.drug])
        if case.ambulatory:
            return Message("{drug} begun, repeat the level in 1 to 2 weeks", drug=begun)
        hours = case.duration("oral-new-inpatient") // timedelta(hours=1)
        return Message("{drug} begun, repeat the level within {hours} h", drug=begun, hours=hours)
    return Message("scale active, no dose charted: give")


def _severity_advice(case: Case) -> tuple[Message, ...]:
    if case.pseudo:
        if case.current(Analyte.IONISED_MAGNESIUM, case.mg_window) is not None:
            return ()
        return (Message("Measure ionised magnesium where it can be measured."),)
    if case.calcium_perhaps_low and case.calcium is not None:
        return (Message("{ca} without albumin: measure ionised calcium or albumin.", ca=aged(case, case.calcium)),)
    if case.phosphate_low and case.phosphate is not None:
        return (Message("Replace phosphate too: {phosphate}.", phosphate=aged(case, case.phosphate)),)
    if case.idle_scale is not None:
        return (Message("Scale {drug} active, no dose charted since the sample.", drug=drugs([case.idle_scale])),)
    if case.treatment is not None and case.treatment_fails:
        return (Message("Under treatment ({drug}) and still low.", drug=drugs([case.treatment.drug])),)
    return ()


def ctcae(case: Case) -> Answer:
    """R-012: CTCAE v5 grade in the scale of the reported unit; equality takes the lower grade. Shown in oncology."""
    if case.mg is None or not case.mg_is_current:
        return _NEEDS_MG
    if not case.mg_reliable or case.mg_class not in {"low", "high"}:
        return NotMet()
    side = "hypo" if case.mg_class == "low" else "hyper"
    grade = _grade(case, case.mg, side, _scale(case.mg))
    other_scale = "mg/dL" if _scale(case.mg) == "mmol/L" else "mmol/L"
    other = _grade(case, case.mg, side, other_scale)
    return Finding(
        result=f"{side} G{grade}",
        indicator=Indicator.INFO,
        text=Message("CTCAE v5 grade {grade} by serum magnesium {amount}.", grade=grade, amount=amount(case.mg)),
        why=None if grade == other else _other_scale(other, other_scale),
        values={f"ctcae_{side}_grade": Decimal(grade)},
        evidence=references(case.mg),
        context_only=not (case.exposed(ONCOLOGY, "platinum-exposure") or "cancer" in case.tags),
    )


def _other_scale(grade: int, unit: str) -> Message:
    return Message("On the {unit} scale of CTCAE it is grade {grade}; the scales differ.", unit=unit, grade=grade)


def _scale(mg: LabResult) -> str:
    return "mg/dL" if mg.reported and mg.reported.unit in {"mg/dL", "mg/L"} else "mmol/L"


def _grade(case: Case, mg: LabResult, side: str, scale: str) -> int:
    value = to_unit(mg.value or Decimal(0), scale, mg.analyte)
    steps = {"hypo": (2, 3, 4), "hyper": (3, 4)}[side]
    grade = 1
    for step in steps:
        limit = case.knowledge.limit(f"ctcae-{side}-{step}", scale, mg.analyte)
        beyond = value < limit if side == "hypo" else value > limit
        edge = value == limit and mg.comparator == ("<" if side == "hypo" else ">")
        grade = step if beyond or edge else grade
    return grade


def below_optimum(case: Case) -> Answer:
    """R-013: in range, below the proposed optimum, with at least one risk; no treatment follows."""
    if case.mg is None or not case.mg_is_current:
        return _NEEDS_MG
    if case.in_hospital:
        return NotMet(Message("Asked in ambulatory care only."))
    risks = _risks(case)
    if (
        case.age_group != "adult"
        or not case.mg_normal
        or not below(case.mg, case.limit("mg-optimum", case.mg))
        or not risks
    ):
        return NotMet()
    return Finding(
        result="below-optimum",
        indicator=Indicator.INFO,
        text=Message("Serum magnesium {dated}: in range, below the proposed optimum.", dated=dated(case.mg)),
        why=Message(
            "Proposed optimum {limit} mmol/L; with: {risks}. Expert opinion, not settled (trial until 2027), no target.",
            limit=case.knowledge.value("mg-optimum"),
            risks=risks,
        ),
        advice=() if case.gate_closed else (_OPTIMUM,),
        evidence=references(case.mg),
        context_only=True,
    )


_OPTIMUM = Message("Magnesium-rich diet; erythrocyte magnesium if the picture suggests deficiency.")


def _risks(case: Case) -> tuple[Message, ...]:
    present = (
        (bool(case.wasting), Message("a magnesium-wasting drug")),
        (case.potassium_low, Message("low potassium")),
        (case.calcium_low, Message("low calcium")),
        ("t2dm" in case.tags, Message("type 2 diabetes")),
        ("alcohol" in case.tags, Message("alcohol use disorder")),
        (
            bool(case.tags & {"arrhythmia", "atrial_fibrillation", "long_qt"} or case.digoxin),
            Message("arrhythmia risk"),
        ),
        (case.pregnant, Message("pregnancy")),
        (bool(case.tags & NEUROPSYCHIATRIC), Message("a neuro-psychiatric indication")),
    )
    return tuple(words for is_present, words in present if is_present)


def excess(case: Case) -> Answer:
    """R-014: tier of hypermagnesaemia; independent of eGFR; a running eclampsia protocol has its own ceiling."""
    if case.mg is None or not case.mg_is_current:
        return _NEEDS_MG
    tier = case.excess_tier
    if tier is None:
        return NotMet()
    return Finding(
        tier,
        _excess_indicator(case, tier),
        _excess_text(case, tier, case.mg),
        Message("Mg {units}; {limits}.", units=other_units(case.mg), limits=limits(case.range_of(case.mg))),
        _excess_advice(case, tier),
        values=magnesium_values(case.mg),
        evidence=references(case.mg, *(case.iv_magnesium if tier == "protocol-range" else ())),
        action=_excess_action(case, tier),
        context_only=not case.excess_is_news,
    )


def _excess_indicator(case: Case, tier: str) -> Indicator:
    if case.unranged_newborn and case.mg is not None:
        loud = above(case.mg, case.limit("newborn-high", case.mg))
        return Indicator.CRITICAL if case.newborn_is_toxic else Indicator.WARNING if loud else Indicator.INFO
    if tier == "protocol-range":
        return Indicator.WARNING if case.gate_closed or case.excess_signs or "oliguria" in case.tags else Indicator.INFO
    if case.excess_is_critical:
        return Indicator.CRITICAL
    return Indicator.WARNING if case.mild_excess_is_loud else Indicator.INFO


def _excess_text(case: Case, tier: str, mg: LabResult) -> Message:
    """The tier, with the signs that make it urgent: those known only from words are marked (decisions 30 and 40)."""
    signs = case.condition(*sorted(case.excess_signs), *(("oliguria",) if tier == "protocol-range" else ()))
    told = tuple(dict.fromkeys(sign_words(sign) for sign in signs))[:2]
    if told and tier == "protocol-range":
        return Message("{mg}, with {signs}", mg=aged(case, mg), signs=told)
    plain = _tier_text(case, tier, mg)
    return Message("{tier}, with {signs}", tier=plain, signs=told) if told else plain


def _tier_text(case: Case, tier: str, mg: LabResult) -> Message:
    if tier == "protocol-range":
        return Message("{mg}, range of an eclampsia protocol", mg=aged(case, mg))
    words = {
        "mild": Message("High {mg}", mg=aged(case, mg)),
        "moderate": Message("Moderate hypermagnesaemia, {mg}", mg=aged(case, mg)),
        "severe": Message("Severe hypermagnesaemia, {mg}", mg=aged(case, mg)),
        "life-threatening": Message("Life-threatening hypermagnesaemia, {mg}", mg=aged(case, mg)),
    }
    return words[tier]


def _excess_action(case: Case, tier: str) -> Message:
    if tier == "protocol-range":
        return _protocol_action(case)
    if case.newborn:
        return Message("likely from the mother's magnesium, watch breathing and tone")
    if case.magnesium_products:
        return Message("stop or hold {drugs}", drugs=substances(case.magnesium_products))
    if case.after_iv is not None:
        return Message("no further dose, watch ECG and reflexes, repeat")
    if tier == "mild" and not case.mild_excess_is_loud:
        return Message("ask for a source, repeat")
    return Message("find the source, watch ECG and reflexes")


def _protocol_action(case: Case) -> Message:
    if case.excess_signs or "oliguria" in case.tags:
        return Message("check reflexes and breathing now, stop if absent; level now")
    if case.gate_closed:
        return Message("kidneys cannot clear it, halve or stop the drip, level within 2 h")
    return Message("watch reflexes, breathing and urine")


def _excess_advice(case: Case, tier: str) -> tuple[Message, ...]:
    if tier == "protocol-range" and "oliguria" in case.tags:
        return (Message("Oliguria: halve or stop the drip."),)
    if case.unranged_newborn:
        return (Message("Maternal magnesium is a likely source, charted or not."),)
    if len(case.magnesium_products) > MAX_NAMED:
        return (Message("Stop or hold {drugs}.", drugs=substances(case.magnesium_products)),)
    return ()


def newborn_low(case: Case) -> Finding | None:
    """A newborn's low total magnesium by the limits of the first two days (decision 31); None outside them."""
    if case.mg is None or not case.unranged_newborn or not case.mg_reliable:
        return None
    if not below(case.mg, case.limit("newborn-low", case.mg)):
        return None
    grave = below(case.mg, case.limit("newborn-very-low", case.mg)) or bool(case.tags & NEONATAL_SIGNS)
    return Finding(
        "severe" if below(case.mg, case.limit("mg-severe", case.mg)) else "moderate",
        Indicator.CRITICAL if grave else Indicator.WARNING,
        Message("Newborn, low {mg}", mg=aged(case, case.mg)),
        Message("Limit of the first two days: {limit} mmol/L.", limit=case.knowledge.value("newborn-low")),
        (Message("Calcium and glucose too; dose by weight, per neonatal protocol."),),
        values=magnesium_values(case.mg),
        evidence=references(case.mg),
        action=Message("treat by weight, per neonatal protocol"),
    )


def ionised(case: Case) -> Answer:
    """R-015: ionised magnesium by its own range; a low one beside a normal total may be a deficiency."""
    result = case.current(Analyte.IONISED_MAGNESIUM, case.mg_window)
    if result is None:
        return MissingInputs((Analyte.IONISED_MAGNESIUM.value,))
    grade = case.classify(result)
    said = {
        "low": Message("Ionised magnesium {dated} is low.", dated=dated(result)),
        "normal": Message("Ionised magnesium {dated} is in range.", dated=dated(result)),
        "high": Message("Ionised magnesium {dated} is high.", dated=dated(result)),
    }
    unexpected = grade == "low" and case.mg_normal
    note = Message("A low ionised beside a normal total value may mean deficiency.") if unexpected else None
    why = Message("Range used: {limits}. Clinical benefit is not established.", limits=limits(case.range_of(result)))
    return Finding(
        grade,
        Indicator.INFO,
        said[grade],
        why,
        (note,) if note else (),
        evidence=references(result),
        context_only=grade == "normal",
    )


RULES = (
    Rule("R-010", "serum-magnesium-class", serum_class, priority=60),
    Rule("R-011", "hypomagnesaemia-severity", severity, priority=6),
    Rule("R-012", "ctcae-grade", ctcae, priority=50),
    Rule("R-013", "in-range-below-optimum", below_optimum, priority=42),
    Rule("R-014", "hypermagnesaemia-tier", excess, priority=5),
    Rule("R-015", "ionised-magnesium", ionised, priority=41),
)
