"""Group D, kidney: eGFR, the gate for magnesium, and whether the kidney wastes it."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from service.logic import formulas
from service.logic.case import Case
from service.logic.case.drugs import LOOP_OR_THIAZIDE, magnesium_route
from service.logic.case.results import above, below
from service.logic.message import Message, Value
from service.logic.model import (
    Analyte,
    Exposure,
    Finding,
    Indicator,
    LabResult,
    Medication,
    MissingInputs,
    NotMet,
)
from service.logic.rules.phrases import GATE, amount, drugs, named_and_dated, references, substances
from service.logic.rules.rule import ORDER_HOOKS, Answer, Rule
from service.logic.units import rounded


def egfr(case: Case) -> Answer:
    """R-030: CKD-EPI 2021, or bedside Schwartz under 18; not on dialysis, not in pregnancy."""
    if case.dialysis or case.pregnant:
        return NotMet(Message("eGFR is not computed on dialysis or in pregnancy."))
    if case.egfr is None:
        return MissingInputs(_egfr_lacks(case))
    value = rounded(case.egfr, 1)
    source = case.creatinine or case.reported_egfr
    assert source is not None  # noqa: S101  an eGFR comes from one of them
    why = Message("From {source}.", source=named_and_dated(source))
    if case.aki is not None:
        why = Message("From {source}; unreliable in acute kidney injury.", source=named_and_dated(source))
    return Finding(
        result="eGFR",
        indicator=Indicator.INFO,
        text=Message("eGFR {value} mL/min/1.73 m² ({method}).", value=_shown(case, value), method=_method(case)),
        why=why,
        advice=(refuted,) if (refuted := _refuted(case)) else (),
        values={"egfr": value},
        evidence=references(case.creatinine, case.reported_egfr),
        context_only=True,
    )


def _shown(case: Case, value: Decimal) -> Value:
    """The eGFR as a number; as the laboratory gave it, if that is "<60"."""
    reported = case.reported_egfr
    if case.egfr != case.computed_egfr and reported and reported.comparator and reported.reported:
        return f"{reported.comparator}{reported.reported.value:f}"
    return rounded(value, 0)


def _method(case: Case) -> Message:
    if case.egfr != case.computed_egfr:
        return Message("as reported by the laboratory")
    if case.age_group == "child":
        return Message("bedside Schwartz")
    return Message("CKD-EPI 2021") if case.patient.sex else Message("CKD-EPI 2021, sex not known: the lower value")


def _egfr_lacks(case: Case) -> tuple[str, ...]:
    if case.creatinine is None:
        return (Analyte.CREATININE.value,)
    if case.patient.birth_date is None:
        return ("birth date",)
    return (Analyte.HEIGHT.value,)


def gate(case: Case) -> Answer:
    """R-031: magnesium must not be given as usual when the kidneys cannot clear it, or when nobody knows."""
    ordered = case.magnesium_drafts
    if not (case.mg_low or case.magnesium_products or ordered):
        return NotMet(_refuted(case))
    if case.gate_closed:
        return _closed(case)
    if case.gate == "unknown" and (case.mg_low or ordered):
        return Finding(
            result="unknown",
            indicator=Indicator.INFO,
            text=gate_unknown(case),
            tests=(Analyte.CREATININE,) if case.creatinine is None else (),
            evidence=references(case.mg if case.mg_low else None),
            context_only=not case.low_is_news or case.infant,
        )
    return NotMet(_refuted(case))


def _refuted(case: Case) -> Message | None:
    """AKI is listed, and the creatinine says otherwise: said, so that nobody wonders (decision 14a)."""
    if not case.aki_refuted or case.creatinine is None:
        return None
    return Message("AKI on the problem list, {creatinine}.", creatinine=named_and_dated(case.creatinine))


def gate_unknown(case: Case) -> Message:
    """Why the kidney gate is not known; in an emergency nobody waits for it (decision 40)."""
    if case.emergency_tags:
        return Message("Kidney function not known: send creatinine, do not wait for it.")
    if case.creatinine is None:
        return Message("No current creatinine: kidney function must be known before magnesium is given.")
    if case.patient.birth_date is None:
        return Message("Birth date missing: kidney function must be known before magnesium is given.")
    return Message("Height missing: kidney function must be known before magnesium is given.")


def _closed(case: Case) -> Finding:
    rise = case.aki or ()
    news = "" if case.patient.hook in ORDER_HOOKS else case.closed_gate_news
    return Finding(
        result=case.gate,
        indicator=Indicator.WARNING if news != "measure-first" else Indicator.INFO,
        text=_closed_text(case),
        why=_closed_why(case),
        advice=(_INDIVIDUAL,) if (case.mg_low or case.magnesium_drafts) and not _urged(case) else (),
        tests=(Analyte.SERUM_MAGNESIUM,) if news and case.mg_measured is None else (),
        evidence=references(case.creatinine, case.reported_egfr, *rise, *case.magnesium_products)
        + tuple(c.reference for c in case.condition("dialysis", "aki")),
        action=Message("measure before any dose") if news == "measure-first" else _CLOSED_ACTION,
        context_only=not news,
    )


_CLOSED_ACTION = Message("magnesium accumulates, review it, level first")


_INDIVIDUAL = Message("Magnesium only by individual decision, with a level before each dose.")


def _urged(case: Case) -> bool:
    """In an emergency nobody waits for a level; continuous replacement therapy has its own protocol (28, 40)."""
    return bool(case.emergency_tags) or case.bolus_open or case.ckrt


def _closed_text(case: Case) -> Message:
    """The gate, and the magnesium that is on the list."""
    if case.aki and not case.dialysis:
        words = Message(
            "{gate}, creatinine {was} to {now}",
            gate=GATE["unstable"],
            was=amount(case.aki[0]),
            now=amount(case.aki[-1]),
        )
    elif case.egfr is not None and case.gate in {"severe", "failure"}:
        words = Message("{gate}, eGFR {value}", gate=GATE[case.gate], value=rounded(case.egfr, 0))
    else:
        words = Message("{gate}", gate=GATE[case.gate])
    if not case.magnesium_products:
        return words
    return Message("{gate}, on {drugs}", gate=words, drugs=substances(case.magnesium_products))


def _closed_why(case: Case) -> Message | None:
    if case.egfr is None or case.gate != "unstable":
        return None
    return Message("eGFR {value} mL/min/1.73 m², unreliable while creatinine moves.", value=rounded(case.egfr, 0))


def fractional_excretion(case: Case) -> Answer:
    """R-032: FEMg from a urine spot pair and serum within 24 hours; graded only with a low magnesium and open gate."""
    urine_mg = case.current(Analyte.URINE_MAGNESIUM, case.mg_window)
    if urine_mg is None:
        return MissingInputs((Analyte.URINE_MAGNESIUM.value,))
    urine_cr = _near(case, urine_mg, Analyte.URINE_CREATININE, case.duration("urine-spot-pair"))
    serum_mg = _near(case, urine_mg, Analyte.SERUM_MAGNESIUM, case.duration("urine-serum-pair"))
    serum_cr = _near(case, urine_mg, Analyte.CREATININE, case.duration("urine-serum-pair"))
    if urine_cr is None or serum_mg is None or serum_cr is None:
        names = (Analyte.URINE_CREATININE, Analyte.SERUM_MAGNESIUM, Analyte.CREATININE)
        found = (urine_cr, serum_mg, serum_cr)
        return MissingInputs(tuple(name.value for name, result in zip(names, found, strict=True) if result is None))
    if case.mg is None:
        return MissingInputs((Analyte.SERUM_MAGNESIUM.value,))
    values = (_canonical(r) for r in (urine_mg, serum_mg, urine_cr, serum_cr))
    femg = rounded(formulas.fractional_excretion(*values), 2)
    return _femg_finding(case, femg, (urine_mg, urine_cr, serum_mg, serum_cr))


def _femg_finding(case: Case, femg: Decimal, results: tuple[LabResult, ...]) -> Finding:
    grade = femg_grade(case, femg, results[2])
    said = {
        "renal": Message("FEMg {value} %: the kidney wastes magnesium.", value=femg),
        "borderline": Message("FEMg {value} %: borderline, probably renal loss.", value=femg),
        "indeterminate": Message("FEMg {value} %: indeterminate.", value=femg),
        "extrarenal": Message("FEMg {value} %: loss outside the kidney or low intake.", value=femg),
        "value-only": Message("FEMg {value} %; serum magnesium is not low, so it is not graded.", value=femg),
        "not-interpretable": Message("FEMg {value} % cannot be interpreted with this kidney function.", value=femg),
    }
    shift = case.active(LOOP_OR_THIAZIDE) or case.recent_iv_magnesium
    caveat = (Message("A diuretic or IV magnesium in the last 24 h raises FEMg."),) if shift else ()
    return Finding(
        grade,
        Indicator.INFO,
        said[grade],
        Message(
            "100 x (urine Mg x serum creatinine) / (0.7 x serum Mg x urine creatinine); above {limit} % is renal.",
            limit=case.knowledge.value("femg-renal").normalize(),
        ),
        caveat,
        values={"femg_pct": femg},
        evidence=references(*results),
        context_only=grade in {"value-only", "not-interpretable"},
    )


def femg_grade(case: Case, femg: Decimal, serum_mg: LabResult) -> str:
    """The grade of a FEMg (rounded to two decimals)."""
    if case.gate_closed:
        return "not-interpretable"
    if case.classify(serum_mg) != "low" or case.edta:
        return "value-only"
    if case.gate == "unknown":
        return "not-interpretable"
    if femg > case.knowledge.value("femg-renal"):
        return "renal"
    if femg >= case.knowledge.value("femg-borderline"):
        return "borderline"
    return "indeterminate" if femg >= case.knowledge.value("femg-extrarenal") else "extrarenal"


def current_femg(case: Case) -> Decimal | None:
    """The FEMg of R-032 where it may be interpreted, for rules that ask whether the loss is renal."""
    answer = fractional_excretion(case)
    if isinstance(answer, Finding) and answer.result not in {"value-only", "not-interpretable"}:
        return answer.values["femg_pct"]
    return None


def _near(case: Case, urine: LabResult, analyte: Analyte, span: timedelta) -> LabResult | None:
    """The usable result of the same specimen, else the one taken closest to the urine, within the span."""
    assert urine.taken is not None  # noqa: S101  a case holds dated results only
    taken = urine.taken
    found = case.same_collection(urine, analyte)
    if found is not None:
        return found
    close = [
        (max(r.taken.start - taken.end, taken.start - r.taken.end), r)
        for r in case.usable(analyte)
        if r.taken is not None
    ]
    close = [(gap, r) for gap, r in close if gap <= span]
    return min(close, key=lambda pair: pair[0])[1] if close else None


def _canonical(result: LabResult) -> Decimal:
    assert result.value is not None  # noqa: S101  usable results carry value and unit
    return result.value


def urine_24h(case: Case) -> Answer:
    """R-033: 24-hour urine magnesium with a low serum value, or the excretion of an infused load with a normal one."""
    urine = case.current(Analyte.URINE_MAGNESIUM_24H, case.mg_window)
    if urine is None or urine.value is None:
        return MissingInputs((Analyte.URINE_MAGNESIUM_24H.value,))
    if case.mg is None or not case.mg_is_current:
        return MissingInputs((Analyte.SERUM_MAGNESIUM.value,))
    if case.gate_closed:
        return NotMet(Message("Urine magnesium is not interpreted with this kidney function."))
    if case.mg_low:
        return _collection(case, urine, urine.value)
    infusion = loading_infusion(case, urine)
    if infusion is None or case.mg_class != "normal":
        return NotMet()
    return _loading_test(case, urine, urine.value, *infusion)


def _collection(case: Case, urine: LabResult, mg: Decimal) -> Finding:
    value = rounded(mg, 1)
    if above(urine, case.limit("urine-24h-wasting", urine)):
        grade, text = "renal-wasting", Message("24-hour urine magnesium {value} mg: the kidney wastes it.", value=value)
    elif below(urine, case.limit("urine-24h-conserved", urine)):
        grade, text = "conserved", Message("24-hour urine magnesium {value} mg: the kidney conserves it.", value=value)
    else:
        grade, text = "indeterminate", Message("24-hour urine magnesium {value} mg: indeterminate.", value=value)
    why = Message(
        "With a low serum magnesium: above {high} mg is wasting, below {low} mg is conservation.",
        high=case.knowledge.value("urine-24h-wasting"),
        low=case.knowledge.value("urine-24h-conserved"),
    )
    values = {"urine_mg_24h_mg": value}
    return Finding(grade, Indicator.INFO, text, why, values=values, evidence=references(urine, case.mg))


def loading_infusion(case: Case, urine: LabResult) -> tuple[Medication, Decimal] | None:
    """An intravenous magnesium given at the start of the collection, and its elemental milligrams."""
    begun = urine.collected_from
    if begun is None or urine.taken is None:
        return None
    for drug in case.patient.medications:
        grams = _iv_grams(drug)
        given = drug.exposure in {Exposure.ACTIVE, Exposure.ENDED} and magnesium_route(drug) == "iv"
        if not given or grams is None or drug.end is None:
            continue
        if begun <= drug.end.end <= urine.taken.end:
            return drug, grams * case.knowledge.value("mgso4-elemental")
    return None


def _iv_grams(drug: Medication) -> Decimal | None:
    for item in drug.ingredients:
        if item.name == "magnesium sulfate" and item.mg_per_dose is not None:
            return item.mg_per_dose / 1000
    return None


def _loading_test(case: Case, urine: LabResult, mg: Decimal, drug: Medication, infused: Decimal) -> Finding:
    share = rounded(formulas.loading_test(mg, infused), 2)
    if share >= case.knowledge.value("loading-normal"):
        grade, text = (
            "load-normal",
            Message("Magnesium loading test: {share} % excreted, stores normal.", share=rounded(share, 1)),
        )
    elif share < case.knowledge.value("loading-definite"):
        grade, text = (
            "load-deficient",
            Message("Magnesium loading test: {share} % excreted, definite deficiency.", share=rounded(share, 1)),
        )
    else:
        grade, text = (
            "load-possible",
            Message("Magnesium loading test: {share} % excreted, deficiency.", share=rounded(share, 1)),
        )
    return Finding(
        grade,
        Indicator.INFO,
        text,
        Message(
            "{normal} % or more of the load excreted in 24 h is normal, under {definite} % definite; given: {drug}.",
            normal=case.knowledge.value("loading-normal"),
            definite=case.knowledge.value("loading-definite"),
            drug=drugs([drug]),
        ),
        values={"load_excreted_pct": share, "urine_mg_24h_mg": rounded(mg, 1)},
        evidence=references(urine, drug, case.mg),
        action=None if grade == "load-normal" else Message("replace magnesium, look for the cause"),
    )


RULES = (
    Rule("R-030", "egfr", egfr, priority=61),
    Rule("R-031", "kidney-gate", gate, priority=8),
    Rule("R-032", "fractional-excretion", fractional_excretion, priority=30),
    Rule("R-033", "urine-24h-and-loading-test", urine_24h, priority=31),
)
