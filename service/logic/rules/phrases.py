"""Phrases that several rules use: a result with value, unit and day; a list of drugs; magnesium in three units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from decimal import Decimal

from service.logic.case import Case
from service.logic.case.ranges import Range
from service.logic.message import Message
from service.logic.model import Analyte, Condition, LabResult, Medication
from service.logic.units import rounded, to_unit

ANALYTE = {
    Analyte.SERUM_MAGNESIUM: Message("serum magnesium"),
    Analyte.RBC_MAGNESIUM: Message("erythrocyte magnesium"),
    Analyte.IONISED_MAGNESIUM: Message("ionised magnesium"),
    Analyte.URINE_MAGNESIUM: Message("spot urine magnesium"),
    Analyte.URINE_MAGNESIUM_24H: Message("24-hour urine magnesium"),
    Analyte.CREATININE: Message("creatinine"),
    Analyte.URINE_CREATININE: Message("spot urine creatinine"),
    Analyte.EGFR: Message("eGFR"),
    Analyte.POTASSIUM: Message("potassium"),
    Analyte.CALCIUM: Message("total calcium"),
    Analyte.ADJUSTED_CALCIUM: Message("albumin-adjusted calcium"),
    Analyte.IONISED_CALCIUM: Message("ionised calcium"),
    Analyte.ALBUMIN: Message("albumin"),
    Analyte.BICARBONATE: Message("bicarbonate"),
    Analyte.PHOSPHATE: Message("phosphate"),
    Analyte.PTH: Message("parathyroid hormone"),
    Analyte.ALP: Message("alkaline phosphatase"),
    Analyte.QTC: Message("QTc interval"),
    Analyte.WEIGHT: Message("body weight"),
    Analyte.HEIGHT: Message("body height"),
}
GATE = {
    "normal": Message("kidney function normal"),
    "reduced": Message("kidney function reduced"),
    "severe": Message("kidney function severely reduced"),
    "failure": Message("kidney failure or dialysis"),
    "unstable": Message("acute kidney injury"),
    "unknown": Message("kidney function not known"),
}


def amount(result: LabResult) -> Message:
    """Value and unit as reported."""
    if result.reported is None:
        return Message("{number} (no usable unit)", number=result.raw)
    value, unit = result.reported.value, result.reported.unit
    return Message("{comparator}{value} {unit}", comparator=result.comparator, value=value, unit=unit)


def dated(result: LabResult) -> Message:
    """Value, unit and the moment at which it was taken."""
    assert result.taken is not None  # noqa: S101  a case holds dated results only
    moment = result.taken.start.date() if result.taken.date_only else result.taken.end
    return Message("{amount} ({when})", amount=amount(result), when=moment)


def named_and_dated(result: LabResult) -> Message:
    """Analyte, value, unit and moment."""
    return Message("{analyte} {dated}", analyte=ANALYTE[result.analyte], dated=dated(result))


def other_units(result: LabResult) -> Message:
    """A magnesium concentration in the two units in which it was not reported."""
    assert result.reported is not None  # noqa: S101  asked of usable results only
    others = [unit for unit in ("mmol/L", "mg/dL", "meq/L") if unit != result.reported.unit]
    first, second = (_in(result, unit) for unit in others[:2])
    return Message("= {first} = {second}", first=first, second=second)


def _in(result: LabResult, unit: str) -> Message:
    value = rounded(to_unit(result.value or Decimal(0), unit, result.analyte), 2)
    return Message("{value} {unit}", value=value, unit=unit)


def limits(given: Range | None) -> Message:
    """The range that was used and where it comes from."""
    if given is None:
        return Message("no reference range applies")
    if given.origin == "flag":
        return Message("laboratory flag {flag}, no range given", flag=given.flag)
    span = _span(given)
    return Message("laboratory range {span}", span=span) if given.origin == "laboratory" else _profile(span)


def _profile(span: Message) -> Message:
    return Message("default range {span}, as the laboratory gave none", span=span)


def _span(given: Range) -> Message:
    if given.low is None:
        return Message("up to {high} {unit}", high=given.high or Decimal(0), unit=given.unit)
    if given.high is None:
        return Message("from {low} {unit}", low=given.low, unit=given.unit)
    return Message("{low} to {high} {unit}", low=given.low, high=given.high, unit=given.unit)


def drugs(medications: Iterable[Medication], most: int = 3) -> Message:
    """Drug names as written in the chart; those recognised by name only are marked; more than `most` are counted."""
    listed = list(medications)
    shown = tuple(_drug(item) for item in listed[:most])
    if len(listed) > most:
        return Message("{drugs} and {count} more", drugs=shown, count=len(listed) - most)
    return Message("{drugs}", drugs=shown)


def _drug(item: Medication) -> Message:
    name = item.name if len(item.name) <= 40 else ", ".join(i.name for i in item.ingredients)[:40]
    return Message("{drug}", drug=name) if item.recognised_by != "name" else Message("{drug} (by name)", drug=name)


def substances(medications: Iterable[Medication]) -> Message:
    """All medications by their active ingredients, each once: short enough for a headline; recognised by name: marked."""
    named = {_substance(item): item.recognised_by == "name" for item in medications}
    told = (
        Message("{drug} (by name)", drug=n) if by_name else Message("{drug}", drug=n) for n, by_name in named.items()
    )
    return Message("{drugs}", drugs=tuple(told))


def _substance(item: Medication) -> str:
    magnesium = [i.name for i in item.ingredients if i.name.startswith("magnesium")]
    return (magnesium or [i.name for i in item.ingredients] or [item.name])[0][:40]


def magnesium_values(result: LabResult) -> Mapping[str, Decimal]:
    """The three concentrations of serum magnesium for `values`."""
    if result.value is None:
        return {}
    analyte = Analyte.SERUM_MAGNESIUM
    return {
        "mg_mmol_L": rounded(result.value, 4),
        "mg_mg_dL": rounded(to_unit(result.value, "mg/dL", analyte), 3),
        "mg_mEq_L": rounded(to_unit(result.value, "meq/L", analyte), 3),
    }


def references(*items: LabResult | Medication | None) -> tuple[str, ...]:
    """References of what a finding rests on, once each, in order."""
    return tuple(dict.fromkeys(item.reference for item in items if item is not None))


def last_magnesium(case: Case) -> Message:
    """The last serum magnesium with its day, or why there is none."""
    if case.mg is not None:
        return Message("Last serum magnesium {dated}.", dated=dated(case.mg))
    if case.newest_mg is not None:
        return Message("The last serum magnesium could not be interpreted.")
    if "magnesium" in case.patient.unavailable:
        return Message("Serum magnesium could not be read.")
    return Message("No serum magnesium on file.")


_BRIEF = {
    Analyte.SERUM_MAGNESIUM: Message("Mg"),
    Analyte.POTASSIUM: Message("K"),
    Analyte.CALCIUM: Message("Ca"),
    Analyte.ADJUSTED_CALCIUM: Message("adjusted Ca"),
    Analyte.IONISED_CALCIUM: Message("ionised Ca"),
}


def age(case: Case, result: LabResult) -> Message:
    """How old a result is: minutes, hours to two days, then days; of a day without time only the days."""
    assert result.taken is not None  # noqa: S101  a case holds dated results only
    old = case.age_of(result)
    if result.taken.date_only:
        days = (case.now.date() - result.taken.start.date()).days
        return Message("{days} d ago", days=days) if days > 0 else Message("today")
    return elapsed(old)


def elapsed(old: timedelta) -> Message:
    """A time that has passed: minutes, hours to two days, then days."""
    if old < timedelta(hours=1):
        return Message("{minutes} min ago", minutes=int(old.total_seconds() // 60))
    if old < timedelta(hours=48):
        return Message("{hours} h ago", hours=int(old.total_seconds() // 3600))
    return Message("{days} d ago", days=old.days)


def brief(result: LabResult) -> Message:
    """Short name, value and unit: "K 3.1 mmol/L"."""
    return Message(
        "{analyte} {amount}", analyte=_BRIEF.get(result.analyte, ANALYTE[result.analyte]), amount=amount(result)
    )


def aged(case: Case, result: LabResult) -> Message:
    """Short name, value, unit, age and, to two days, the time of day: "Mg 0.55 mmol/L (3 h ago, 08:00)"."""
    assert result.taken is not None  # noqa: S101  a case holds dated results only
    if result.taken.date_only or case.age_of(result) >= timedelta(hours=48):
        return Message("{brief} ({age})", brief=brief(result), age=age(case, result))
    return Message("{brief} ({age}, {clock})", brief=brief(result), age=age(case, result), clock=result.taken.end)


def grams(drug: Medication) -> Message:
    """A dose of intravenous magnesium in grams where it is known, else the drug as the chart names it."""
    amounts = [i.mg_per_dose for i in drug.ingredients if i.name == "magnesium sulfate" and i.mg_per_dose is not None]
    return Message("{grams} g", grams=rounded(amounts[0] / 1000, 1).normalize()) if amounts else substances([drug])


def sign_words(sign: Condition) -> Message:
    """A sign or condition as the chart writes it, marked where no code states it."""
    if sign.recognised_by == "code":
        return Message("{sign}", sign=sign.text[:60])
    return Message("{sign} (from text)", sign=sign.text[:60])
