"""Group B, serum and ionised magnesium: class, severity, CTCAE grade, optimum, excess."""

from __future__ import annotations

from decimal import Decimal

from service.logic.case import Case
from service.logic.case.drugs import ONCOLOGY, magnesium_route
from service.logic.case.person import EMERGENCY, NEUROPSYCHIATRIC, OBSTETRIC
from service.logic.case.results import above, at_least, below
from service.logic.model import Analyte, Finding, Indicator, LabResult, MissingInputs, NotMet
from service.logic.rules.kidney import magnesium_orders
from service.logic.rules.rule import Answer, Rule
from service.logic.rules.words import amount, dated, limits, magnesium_values, other_units, references
from service.logic.text import Text
from service.logic.units import to_unit

_NEEDS_MG = MissingInputs((Analyte.SERUM_MAGNESIUM.value,))


def serum_class(case: Case) -> Answer:
    """R-010: low, normal or high by the laboratory's range, flag, or the profile; never alone a reason for a card."""
    if case.mg is None or case.mg_class is None:
        return _NEEDS_MG
    said = {
        "low": Text("Serum magnesium {dated} is low.", dated=dated(case.mg)),
        "normal": Text("Serum magnesium {dated} is in range.", dated=dated(case.mg)),
        "high": Text("Serum magnesium {dated} is high.", dated=dated(case.mg)),
        "unclassified": Text("Serum magnesium {dated}: no range applies at this age.", dated=dated(case.mg)),
    }
    return Finding(
        result=case.mg_class,
        indicator=Indicator.INFO,
        text=said[case.mg_class],
        why=Text("Range used: {limits}.", limits=limits(case.range_of(case.mg))),
        values=magnesium_values(case.mg),
        evidence=references(case.mg),
        context_only=True,
    )


def severity(case: Case) -> Answer:
    """R-011: mild, moderate or severe; how urgent depends on what else is wrong."""
    if case.mg is None or not case.mg_is_current:
        return _NEEDS_MG
    if case.severity is None:
        return NotMet()
    return Finding(
        result=case.severity,
        indicator=_severity_indicator(case, case.severity),
        text=_severity_text(case, case.severity, case.mg),
        why=Text("({units}; {limits}.)", units=other_units(case.mg), limits=limits(case.range_of(case.mg))),
        advice=_severity_advice(case),
        values=magnesium_values(case.mg),
        evidence=references(case.mg, case.potassium if case.potassium_low else None),
    )


def _severity_text(case: Case, grade: str, mg: LabResult) -> Text:
    if case.pseudo:
        return Text("Low serum magnesium {dated}, probably protein-related.", dated=dated(mg))
    words = {
        "mild": Text("Mild hypomagnesaemia: serum magnesium {dated}.", dated=dated(mg)),
        "moderate": Text("Moderate hypomagnesaemia: serum magnesium {dated}.", dated=dated(mg)),
        "severe": Text("Severe hypomagnesaemia: serum magnesium {dated}.", dated=dated(mg)),
    }
    return words[grade]


def _severity_indicator(case: Case, grade: str) -> Indicator:
    if case.pseudo:
        return Indicator.INFO
    if grade == "severe" or case.tags & EMERGENCY:
        return Indicator.CRITICAL
    rhythm = case.tags & {"arrhythmia", "atrial_fibrillation", "long_qt"} or case.qtc_long
    if grade == "moderate" and (case.potassium_low or case.calcium_low or rhythm):
        return Indicator.CRITICAL
    return Indicator.WARNING


def _severity_advice(case: Case) -> tuple[Text, ...]:
    if case.pseudo:
        if case.current(Analyte.IONISED_MAGNESIUM, case.mg_window) is not None:
            return (Text("Do not treat the number: look for the cause of the low albumin."),)
        return (Text("Do not treat the number: measure ionised magnesium, look for the cause of the low albumin."),)
    return (Text("Repeat magnesium, potassium and calcium after any change."),)


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
        text=Text("CTCAE v5 grade {grade} by serum magnesium {amount}.", grade=grade, amount=amount(case.mg)),
        why=None if grade == other else _other_scale(other, other_scale),
        values={f"ctcae_{side}_grade": Decimal(grade)},
        evidence=references(case.mg),
        context_only=not (case.exposed(ONCOLOGY, "platinum-exposure") or "cancer" in case.tags),
    )


def _other_scale(grade: int, unit: str) -> Text:
    return Text("On the {unit} scale of CTCAE it is grade {grade}; the scales differ.", unit=unit, grade=grade)


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
        text=Text("Serum magnesium {dated}: in range, below the proposed optimum.", dated=dated(case.mg)),
        why=Text(
            "Proposed optimum {limit} mmol/L; with: {risks}. Expert opinion, not a treatment target.",
            limit=case.knowledge.value("mg-optimum"),
            risks=risks,
        ),
        advice=() if case.gate_closed else (_OPTIMUM,),
        evidence=references(case.mg),
    )


_OPTIMUM = Text("Magnesium-rich diet; erythrocyte magnesium if the picture suggests deficiency.")


def _risks(case: Case) -> tuple[Text, ...]:
    present = (
        (bool(case.wasting), Text("a magnesium-wasting drug")),
        (case.potassium_low, Text("low potassium")),
        (case.calcium_low, Text("low calcium")),
        ("t2dm" in case.tags, Text("type 2 diabetes")),
        ("alcohol" in case.tags, Text("alcohol use disorder")),
        (bool(case.tags & {"arrhythmia", "atrial_fibrillation", "long_qt"} or case.digoxin), Text("arrhythmia risk")),
        (case.pregnant, Text("pregnancy")),
        (bool(case.tags & NEUROPSYCHIATRIC), Text("a neuro-psychiatric indication")),
    )
    return tuple(words for is_present, words in present if is_present)


def excess(case: Case) -> Answer:
    """R-014: tier of hypermagnesaemia; independent of eGFR; a running eclampsia protocol has its own ceiling."""
    if case.mg is None or not case.mg_is_current:
        return _NEEDS_MG
    tier = excess_tier(case)
    if tier is None:
        return NotMet()
    indicator = _excess_indicator(case, tier)
    if tier == "protocol-range":
        text = Text("Serum magnesium {dated}: within the range of an eclampsia protocol.", dated=dated(case.mg))
        advice: tuple[Text, ...] = (Text("Watch reflexes, breathing and urine output; calcium at hand."),)
    else:
        text, advice = _excess_text(tier, case.mg), ()
    return Finding(
        tier,
        indicator,
        text,
        Text("({units}; {limits}.)", units=other_units(case.mg), limits=limits(case.range_of(case.mg))),
        advice,
        values=magnesium_values(case.mg),
        evidence=references(case.mg, *(case.iv_magnesium if tier == "protocol-range" else ())),
    )


def excess_tier(case: Case) -> str | None:
    """The tier of R-014, or None when magnesium is not reliably high."""
    if not case.mg_high or case.mg is None:
        return None
    if obstetric_protocol(case) and not above(case.mg, case.limit("mg-eclampsia-ceiling", case.mg)):
        return "protocol-range"
    for tier in ("life-threatening", "severe", "moderate"):
        if at_least(case.mg, case.limit(f"mg-high-{tier}", case.mg)):
            return tier
    return "mild"


def obstetric_protocol(case: Case) -> bool:
    """Magnesium sulfate is running for (pre)eclampsia, or is about to be continued."""
    continued = any(o.medication and magnesium_route(o.medication) == "iv" for o in magnesium_orders(case))
    return case.coded(*OBSTETRIC) and (bool(case.iv_magnesium) or continued)


def _excess_indicator(case: Case, tier: str) -> Indicator:
    if tier == "protocol-range":
        return Indicator.INFO
    if tier != "mild" or case.mg is None:
        return Indicator.CRITICAL
    tolerated = case.coded("dialysis") and not above(case.mg, case.limit("mg-high-dialysis-tolerated", case.mg))
    return Indicator.INFO if tolerated else Indicator.WARNING


def _excess_text(tier: str, mg: LabResult) -> Text:
    words = {
        "mild": Text("Mild hypermagnesaemia: serum magnesium {dated}.", dated=dated(mg)),
        "moderate": Text("Moderate hypermagnesaemia: serum magnesium {dated}.", dated=dated(mg)),
        "severe": Text("Severe hypermagnesaemia: serum magnesium {dated}.", dated=dated(mg)),
        "life-threatening": Text("Life-threatening hypermagnesaemia: serum magnesium {dated}.", dated=dated(mg)),
    }
    return words[tier]


def ionised(case: Case) -> Answer:
    """R-015: ionised magnesium by its own range; a low one beside a normal total may be a deficiency."""
    result = case.current(Analyte.IONISED_MAGNESIUM, case.mg_window)
    if result is None:
        return MissingInputs((Analyte.IONISED_MAGNESIUM.value,))
    grade = case.classify(result)
    said = {
        "low": Text("Ionised magnesium {dated} is low.", dated=dated(result)),
        "normal": Text("Ionised magnesium {dated} is in range.", dated=dated(result)),
        "high": Text("Ionised magnesium {dated} is high.", dated=dated(result)),
    }
    unexpected = grade == "low" and case.mg_normal
    note = Text("A low ionised beside a normal total value may mean deficiency.") if unexpected else None
    why = Text("Range used: {limits}. Clinical benefit is not established.", limits=limits(case.range_of(result)))
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
