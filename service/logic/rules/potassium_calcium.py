"""Group E, potassium and calcium: what will not correct before magnesium does."""

from __future__ import annotations

from service.logic.case import Case
from service.logic.case.drugs import WASTING
from service.logic.case.results import below
from service.logic.message import Message
from service.logic.model import Analyte, Finding, Indicator, LabResult, MissingInputs, NotMet, Proposal
from service.logic.rules.kidney import current_femg
from service.logic.rules.phrases import age, aged, brief, dated, drugs, limits, named_and_dated, references
from service.logic.rules.rule import Answer, Rule
from service.logic.units import rounded, to_unit


def low_potassium_low_magnesium(case: Case) -> Answer:
    """R-040: potassium will probably not correct until magnesium is replaced."""
    if lacks := _lacks(case, case.potassium, Analyte.POTASSIUM):
        return lacks
    assert case.potassium is not None  # noqa: S101  not lacking
    assert case.mg is not None  # noqa: S101  not lacking
    if not case.potassium_low or not case.mg_low:
        return NotMet()
    critical = below(case.potassium, case.limit("k-critical", case.potassium))
    return Finding(
        result="low-potassium-low-magnesium",
        indicator=Indicator.CRITICAL if critical else case.low_level,
        text=Message("{k} with low {mg}", k=aged(case, case.potassium), mg=brief(case.mg)),
        why=Message(
            "Potassium may not correct before magnesium; {limits}.", limits=limits(case.range_of(case.potassium))
        ),
        advice=(Message("Not potassium alone; ECG."),),
        action=None if case.gate_closed else Message("replace both"),
        proposals=(
            Proposal(case.knowledge.doses["correct-with"], Message("Correct magnesium together with potassium.")),
        ),
        evidence=references(case.potassium, case.mg),
    )


def low_potassium_magnesium_unknown(case: Case) -> Answer:
    """R-041: a low potassium, above all under replacement, asks for magnesium."""
    if case.potassium is None:
        return MissingInputs((Analyte.POTASSIUM.value,))
    if not case.potassium_low or case.mg_reliable or _magnesium_in_doubt(case):
        return NotMet()
    refractory = bool(case.potassium_products)
    k = aged(case, case.potassium)
    text = Message("{k} despite replacement, Mg not known", k=k) if refractory else Message("{k}, Mg not known", k=k)
    return Finding(
        result="refractory" if refractory else "magnesium-unknown",
        indicator=Indicator.WARNING if refractory or case.digoxin else Indicator.INFO,
        text=text,
        why=Message("Low magnesium keeps potassium low by renal loss."),
        advice=(Message("On digoxin: {drugs}.", drugs=drugs(case.digoxin)),) if case.digoxin else (),
        tests=(Analyte.SERUM_MAGNESIUM,),
        action=Message("measure magnesium"),
        evidence=references(case.potassium, *case.potassium_products),
    )


def _magnesium_in_doubt(case: Case) -> bool:
    """A current magnesium that R-001 to R-003 already ask to repeat."""
    return bool(case.mg_unreadable or case.contradiction or (case.mg_is_current and not case.mg_reliable))


def corrected_calcium(case: Case) -> Answer:
    """R-042: total calcium corrected to albumin; ionised or laboratory-adjusted calcium is used as it is."""
    if case.calcium is None:
        return MissingInputs((Analyte.CALCIUM.value,))
    if case.calcium.analyte is not Analyte.CALCIUM:
        return NotMet(Message("Calcium is ionised or already adjusted; it is not corrected twice."))
    if case.calcium_corrected is None:
        return MissingInputs((Analyte.ALBUMIN.value,))
    mmol = rounded(case.calcium_corrected, 3)
    mg = rounded(to_unit(case.calcium_corrected, "mg/dL", Analyte.CALCIUM), 2)
    return Finding(
        result="corrected-calcium",
        indicator=Indicator.INFO,
        text=Message("Albumin-corrected calcium {mmol} mmol/L ({mg} mg/dL).", mmol=rounded(mmol, 2), mg=mg),
        values={"ca_corrected_mmol_L": mmol, "ca_corrected_mg_dL": mg},
        evidence=references(case.calcium, case.calcium_albumin),
        context_only=True,
    )


def low_calcium_low_magnesium(case: Case) -> Answer:
    """R-043: functional hypoparathyroidism; calcium alone will not hold."""
    if lacks := _lacks(case, case.calcium, Analyte.CALCIUM):
        return lacks
    if not (case.calcium_low or case.calcium_perhaps_low) or not case.mg_low:
        return NotMet()
    return Finding(
        result="low-calcium-low-magnesium",
        indicator=case.low_level if case.calcium_low else Indicator.INFO,
        text=Message("{calcium} with low magnesium", calcium=_calcium(case)),
        why=_calcium_why(case),
        advice=(Message("Calcium alone will not hold; measure PTH."),) if case.calcium_low else (_SETTLE_CALCIUM,),
        proposals=(
            Proposal(case.knowledge.doses["correct-with"], Message("Correct magnesium together with calcium.")),
        ),
        tests=_calcium_tests(case),
        evidence=references(case.calcium, case.calcium_albumin, case.mg),
        action=_calcium_action(case),
    )


def _calcium_action(case: Case) -> Message | None:
    if not case.calcium_low:
        return Message("measure ionised calcium or albumin")
    return None if case.gate_closed else Message("replace both")


_SETTLE_CALCIUM = Message("Ionised calcium or albumin settles whether calcium is low.")


def _calcium_tests(case: Case) -> tuple[Analyte, ...]:
    if not case.calcium_low:
        return (Analyte.IONISED_CALCIUM, Analyte.ALBUMIN)
    return () if case.current(Analyte.PTH, case.mg_window) else (Analyte.PTH,)


def low_calcium_magnesium_unknown(case: Case) -> Answer:
    """R-044: a low calcium without a current magnesium asks for it; a total one without albumin only informs (47)."""
    if case.calcium is None:
        return MissingInputs((Analyte.CALCIUM.value,))
    low = case.calcium_low or case.calcium_perhaps_low
    if not low or case.mg_reliable or _magnesium_in_doubt(case):
        return NotMet()
    return Finding(
        result="magnesium-unknown",
        indicator=Indicator.WARNING if case.calcium_low else Indicator.INFO,
        text=Message("{calcium}, Mg not known", calcium=_calcium(case)),
        why=_calcium_why(case),
        advice=() if case.calcium_low else (_SETTLE_CALCIUM,),
        tests=(Analyte.SERUM_MAGNESIUM, *(() if case.calcium_low else (Analyte.IONISED_CALCIUM, Analyte.ALBUMIN))),
        evidence=references(case.calcium, case.calcium_albumin),
        action=Message("measure magnesium"),
    )


def _calcium(case: Case) -> Message:
    assert case.calcium is not None  # noqa: S101  the callers looked
    if case.calcium_corrected is None:
        return Message("Low {result}", result=aged(case, case.calcium))
    unit = case.calcium.reported.unit if case.calcium.reported else "mmol/L"
    value = rounded(to_unit(case.calcium_corrected, unit, Analyte.CALCIUM), 2)
    return Message("Low corrected Ca {value} {unit} ({age})", value=value, unit=unit, age=age(case, case.calcium))


def _calcium_why(case: Case) -> Message:
    assert case.calcium is not None  # noqa: S101  the callers looked
    if case.calcium_corrected is not None and case.calcium_albumin is not None:
        return Message(
            "Total calcium {ca}, albumin {albumin}.", ca=dated(case.calcium), albumin=dated(case.calcium_albumin)
        )
    if case.calcium_uncorrected:
        return Message("No albumin of the last {days} d to correct it.", days=_albumin_days(case))
    return Message("Calcium: {limits}.", limits=limits(case.range_of(case.calcium)))


def _albumin_days(case: Case) -> int:
    return case.knowledge.duration("calcium-albumin-window").days


def _lacks(case: Case, partner: LabResult | None, analyte: Analyte) -> MissingInputs | None:
    mg = () if case.mg is not None and case.mg_is_current else (Analyte.SERUM_MAGNESIUM.value,)
    other = () if partner is not None else (analyte.value,)
    return MissingInputs((*mg, *other)) if mg or other else None


def tubulopathy(case: Case) -> Answer:
    """R-045: the pattern of Gitelman syndrome, or of a familial hypomagnesaemia with hypocalcaemia in an infant."""
    if case.mg is None or not case.mg_is_current:
        return MissingInputs((Analyte.SERUM_MAGNESIUM.value,))
    if not case.mg_low:
        return NotMet()
    if not case.medications_known:
        return MissingInputs(("medications",))
    if _infant(case):
        return _hsh(case)
    bicarbonate = case.current(Analyte.BICARBONATE)
    if bicarbonate is None and case.potassium_low:
        return MissingInputs((Analyte.BICARBONATE.value,))
    alkalosis = bicarbonate is not None and case.classify(bicarbonate) == "high"
    femg = current_femg(case)
    renal = femg is None or femg >= case.knowledge.value("femg-borderline")
    other_cause = case.exposed(WASTING, "drug-exposure") or case.platinums or case.tags & {"alcohol", "vomiting"}
    if not (case.potassium_low and alkalosis and renal) or other_cause:
        return NotMet()
    return _gitelman(case, bicarbonate)


def _infant(case: Case) -> bool:
    young = case.age_years is not None and case.age_years < case.knowledge.value("infant-age")
    return young and case.calcium_low and case.mg is not None and below(case.mg, case.limit("infant-mg", case.mg))


def _hsh(case: Case) -> Finding:
    return Finding(
        result="infantile-hypomagnesaemia",
        indicator=Indicator.CRITICAL,
        text=Message("Infant with very low magnesium and low calcium: suspect an inherited cause."),
        why=Message("Pattern of hypomagnesaemia with secondary hypocalcaemia (TRPM6); seizures may follow."),
        advice=(Message("Paediatric nephrology or endocrinology now; genetics."),),
        evidence=references(case.mg, case.calcium),
    )


def _gitelman(case: Case, bicarbonate: LabResult | None) -> Finding:
    return Finding(
        result="gitelman-like",
        indicator=Indicator.WARNING,
        text=Message("Low magnesium, low potassium, alkalosis without a drug cause: Gitelman-like pattern."),
        why=None if bicarbonate is None else Message("{result}.", result=named_and_dated(bicarbonate)),
        advice=(Message("Urine calcium/creatinine and chloride; nephrology; genetic testing."),),
        evidence=references(case.mg, case.potassium, bicarbonate),
    )


RULES = (
    Rule("R-040", "low-potassium-low-magnesium", low_potassium_low_magnesium, priority=9),
    Rule("R-041", "low-potassium-magnesium-unknown", low_potassium_magnesium_unknown, priority=12),
    Rule("R-042", "albumin-corrected-calcium", corrected_calcium, priority=62),
    Rule("R-043", "low-calcium-low-magnesium", low_calcium_low_magnesium, priority=9),
    Rule("R-044", "low-calcium-magnesium-unknown", low_calcium_magnesium_unknown, priority=11),
    Rule("R-045", "inherited-tubulopathy-pattern", tubulopathy, priority=13),
)
