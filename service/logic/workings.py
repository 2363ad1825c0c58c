"""Calculations behind findings, with this patient's numbers put in: a reader can follow each with a pencil."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType

from service.logic import formulas
from service.logic.case import Case
from service.logic.evaluate import Assessment
from service.logic.message import Message
from service.logic.model import Analyte, Finding, LabResult, Medication
from service.logic.rules.kidney import loading_infusion
from service.logic.rules.phrases import drugs
from service.logic.units import FACTORS, rounded

Input = tuple[str, LabResult | Message]


@dataclass(frozen=True, slots=True)
class Working:
    """One formula of a finding: in symbols, with the numbers, and what each symbol stands for.

    `numbers` is arithmetic in the units of `symbols`; its result is the finding's own, not a second one.
    """

    rule: str
    name: Message
    symbols: str
    numbers: str
    result: Message
    inputs: tuple[Input, ...]


def workings(assessment: Assessment) -> list[Working]:
    """The calculations behind the findings of an assessment, in the order of the rules."""
    found = []
    for judgement in assessment.judgements:
        work = _WORKINGS.get(judgement.rule.id)
        if work is not None and isinstance(judgement.outcome, Finding):
            labs = _labs(assessment, judgement.outcome)
            found += [working for working in [work(assessment.case, judgement.outcome, labs)] if working]
    return found


Labs = Mapping[Analyte, LabResult]


def _labs(assessment: Assessment, finding: Finding) -> Labs:
    """The results that a finding names as its evidence."""
    return {lab.analyte: lab for lab in assessment.patient.labs if lab.reference in finding.evidence and lab.value}


def _egfr(case: Case, finding: Finding, labs: Labs) -> Working | None:
    """None where the laboratory's own eGFR stands."""
    creatinine, birth = labs.get(Analyte.CREATININE), case.patient.birth_date
    if case.egfr != case.computed_egfr or creatinine is None or creatinine.taken is None or birth is None:
        return None
    result = Message("{value} mL/min/1.73 m²", value=finding.values["egfr"])
    age = formulas.completed_years(birth, creatinine.taken.end.date())
    if age < case.knowledge.value("child-age"):
        return _schwartz(case, creatinine, result)
    sex = case.patient.sex or "female"  # the lower value, which is the one that counts where nobody knows
    sexed = Message("female") if sex == "female" else Message("male")
    known = sexed if case.patient.sex else Message("not known: the lower value, that of a woman")
    return Working(
        "R-030",
        Message("eGFR by CKD-EPI 2021"),
        "142 × min(Scr/κ, 1)^α × max(Scr/κ, 1)^−1.200 × 0.9938^age" + (" × 1.012" if sex == "female" else ""),
        _ckd_epi(_mg_dl(creatinine), age, sex),
        result,
        (("Scr (mg/dL)", creatinine), ("age", Message("{years} years", years=age)), ("sex (κ, α)", known)),
    )


def _ckd_epi(creatinine: str, age: int, sex: str) -> str:
    kappa, alpha = ("0.7", "−0.241") if sex == "female" else ("0.9", "−0.302")
    ratio = f"{creatinine}/{kappa}"
    numbers = f"142 × min({ratio}, 1)^{alpha} × max({ratio}, 1)^−1.200 × 0.9938^{age}"
    return numbers + (" × 1.012" if sex == "female" else "")


def _schwartz(case: Case, creatinine: LabResult, result: Message) -> Working | None:
    height = case.current(Analyte.HEIGHT, case.duration("child-height-window"))
    if height is None:
        return None
    numbers = f"0.413 × {_canonical(height)} / {_mg_dl(creatinine)}"
    inputs = (("height (cm)", height), ("Scr (mg/dL)", creatinine))
    return Working("R-030", Message("eGFR by bedside Schwartz"), "0.413 × height / Scr", numbers, result, inputs)


def _mg_dl(creatinine: LabResult) -> str:
    """Creatinine in mg/dL, for which the formulas are written; from µmol/L with its factor left to be seen."""
    if creatinine.reported is not None and creatinine.reported.unit == "mg/dL":
        return f"{creatinine.reported.value:f}"
    return f"({_canonical(creatinine)} / 88.4)"


def _canonical(result: LabResult) -> str:
    value = rounded(result.value or Decimal(0), 4)
    return f"{value.normalize():f}"


def _femg(_case: Case, finding: Finding, labs: Labs) -> Working:
    kinds = (Analyte.URINE_MAGNESIUM, Analyte.CREATININE, Analyte.SERUM_MAGNESIUM, Analyte.URINE_CREATININE)
    urine_mg, serum_cr, serum_mg, urine_cr = (_canonical(labs[kind]) for kind in kinds)
    return Working(
        "R-032",
        Message("Fractional excretion of magnesium"),
        "100 × (UMg × SCr) / (0.7 × SMg × UCr)",
        f"100 × ({urine_mg} × {serum_cr}) / (0.7 × {serum_mg} × {urine_cr})",
        Message("{value} %", value=finding.values["femg_pct"]),
        _inputs(labs, UMg=kinds[0], SCr=kinds[1], SMg=kinds[2], UCr=kinds[3]),
    )


def _inputs(labs: Labs, **symbols: Analyte) -> tuple[Input, ...]:
    """Each symbol with its unit, and the result that it stands for."""
    return tuple((f"{symbol} ({_unit(kind)})", labs[kind]) for symbol, kind in symbols.items())


def _unit(analyte: Analyte) -> str:
    return next(iter(FACTORS[analyte])).replace("umol", "µmol").replace("(24.h)", "24 h")


def _calcium(_case: Case, finding: Finding, labs: Labs) -> Working:
    calcium, albumin = _canonical(labs[Analyte.CALCIUM]), _canonical(labs[Analyte.ALBUMIN])
    return Working(
        "R-042",
        Message("Calcium corrected to albumin"),
        "Ca + 0.02 × (40 − albumin)",
        f"{calcium} + 0.02 × (40 − {albumin})",
        Message("{value} mmol/L", value=finding.values["ca_corrected_mmol_L"]),
        _inputs(labs, Ca=Analyte.CALCIUM, albumin=Analyte.ALBUMIN),
    )


def _magnesium(_case: Case, finding: Finding, labs: Labs) -> Working | None:
    value = finding.values.get("mg_albumin_adjusted_mmol_L")
    if value is None or Analyte.SERUM_MAGNESIUM not in labs:
        return None
    magnesium, albumin = _canonical(labs[Analyte.SERUM_MAGNESIUM]), _canonical(labs[Analyte.ALBUMIN])
    return Working(
        "R-004",
        Message("Magnesium adjusted to albumin (approximate)"),
        "Mg + 0.005 × (40 − albumin)",
        f"{magnesium} + 0.005 × (40 − {albumin})",
        Message("{value} mmol/L", value=value),
        _inputs(labs, Mg=Analyte.SERUM_MAGNESIUM, albumin=Analyte.ALBUMIN),
    )


def _load(case: Case, finding: Finding, labs: Labs) -> Working | None:
    urine = labs.get(Analyte.URINE_MAGNESIUM_24H)
    given: tuple[Medication, Decimal] | None = loading_infusion(case, urine) if urine is not None else None
    share = finding.values.get("load_excreted_pct")
    if urine is None or given is None or share is None:
        return None
    drug, infused = given
    said = Message("{value} mg elemental: {drug}", value=rounded(infused, 1), drug=drugs([drug]))
    return Working(
        "R-033",
        Message("Magnesium loading test"),
        "100 × excreted / infused",
        f"100 × {_canonical(urine)} / {rounded(infused, 4).normalize():f}",
        Message("{value} %", value=share),
        (("excreted (mg/24 h)", urine), ("infused (mg)", said)),
    )


_WORKINGS: Mapping[str, Callable[[Case, Finding, Labs], Working | None]] = MappingProxyType(
    {"R-004": _magnesium, "R-030": _egfr, "R-032": _femg, "R-033": _load, "R-042": _calcium}
)
