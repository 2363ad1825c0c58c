"""Phrases that several rules use: a result with value, unit and day; a list of drugs; magnesium in three units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from decimal import Decimal

from service.logic.case import Case
from service.logic.case.ranges import Range
from service.logic.model import Analyte, Condition, LabResult, Medication
from service.logic.text import Text
from service.logic.units import rounded, to_unit

ANALYTE = {
    Analyte.SERUM_MAGNESIUM: Text("serum magnesium"),
    Analyte.RBC_MAGNESIUM: Text("erythrocyte magnesium"),
    Analyte.IONISED_MAGNESIUM: Text("ionised magnesium"),
    Analyte.URINE_MAGNESIUM: Text("spot urine magnesium"),
    Analyte.URINE_MAGNESIUM_24H: Text("24-hour urine magnesium"),
    Analyte.CREATININE: Text("creatinine"),
    Analyte.URINE_CREATININE: Text("spot urine creatinine"),
    Analyte.EGFR: Text("eGFR"),
    Analyte.POTASSIUM: Text("potassium"),
    Analyte.CALCIUM: Text("total calcium"),
    Analyte.ADJUSTED_CALCIUM: Text("albumin-adjusted calcium"),
    Analyte.IONISED_CALCIUM: Text("ionised calcium"),
    Analyte.ALBUMIN: Text("albumin"),
    Analyte.BICARBONATE: Text("bicarbonate"),
    Analyte.PHOSPHATE: Text("phosphate"),
    Analyte.PTH: Text("parathyroid hormone"),
    Analyte.ALP: Text("alkaline phosphatase"),
    Analyte.QTC: Text("QTc interval"),
    Analyte.WEIGHT: Text("body weight"),
    Analyte.HEIGHT: Text("body height"),
}
GATE = {
    "normal": Text("kidney function normal"),
    "reduced": Text("kidney function reduced"),
    "severe": Text("kidney function severely reduced"),
    "failure": Text("kidney failure or dialysis"),
    "unstable": Text("acute kidney injury"),
    "unknown": Text("kidney function not known"),
}


def amount(result: LabResult) -> Text:
    """Value and unit as reported."""
    if result.reported is None:
        return Text("{number} (no usable unit)", number=result.raw)
    value, unit = result.reported.value, result.reported.unit
    return Text("{comparator}{value} {unit}", comparator=result.comparator, value=value, unit=unit)


def dated(result: LabResult) -> Text:
    """Value, unit and the moment at which it was taken."""
    assert result.taken is not None  # noqa: S101  a case holds dated results only
    moment = result.taken.start.date() if result.taken.date_only else result.taken.end
    return Text("{amount} ({when})", amount=amount(result), when=moment)


def named_and_dated(result: LabResult) -> Text:
    """Analyte, value, unit and moment."""
    return Text("{analyte} {dated}", analyte=ANALYTE[result.analyte], dated=dated(result))


def other_units(result: LabResult) -> Text:
    """A magnesium concentration in the two units in which it was not reported."""
    assert result.reported is not None  # noqa: S101  asked of usable results only
    others = [unit for unit in ("mmol/L", "mg/dL", "meq/L") if unit != result.reported.unit]
    first, second = (_in(result, unit) for unit in others[:2])
    return Text("= {first} = {second}", first=first, second=second)


def _in(result: LabResult, unit: str) -> Text:
    value = rounded(to_unit(result.value or Decimal(0), unit, result.analyte), 2)
    return Text("{value} {unit}", value=value, unit=unit)


def limits(given: Range | None) -> Text:
    """The range that was used and where it comes from."""
    if given is None:
        return Text("no reference range applies")
    if given.origin == "flag":
        return Text("laboratory flag {flag}, no range given", flag=given.flag)
    span = _span(given)
    return Text("laboratory range {span}", span=span) if given.origin == "laboratory" else _profile(span)


def _profile(span: Text) -> Text:
    return Text("default range {span}, as the laboratory gave none", span=span)


def _span(given: Range) -> Text:
    if given.low is None:
        return Text("up to {high} {unit}", high=given.high or Decimal(0), unit=given.unit)
    if given.high is None:
        return Text("from {low} {unit}", low=given.low, unit=given.unit)
    return Text("{low} to {high} {unit}", low=given.low, high=given.high, unit=given.unit)


def drugs(medications: Iterable[Medication], most: int = 3) -> Text:
    """Drug names as written in the chart; those recognised by name only are marked; more than `most` are counted."""
    listed = list(medications)
    shown = tuple(_drug(item) for item in listed[:most])
    if len(listed) > most:
        return Text("{drugs} and {count} more", drugs=shown, count=len(listed) - most)
    return Text("{drugs}", drugs=shown)


def _drug(item: Medication) -> Text:
    name = item.name if len(item.name) <= 40 else ", ".join(i.name for i in item.ingredients)[:40]
    return Text("{drug}", drug=name) if item.recognised_by != "name" else Text("{drug} (by name)", drug=name)


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


def last_magnesium(case: Case) -> Text:
    """The last serum magnesium with its day, or why there is none."""
    if case.mg is not None:
        return Text("Last serum magnesium {dated}.", dated=dated(case.mg))
    if case.newest_mg is not None:
        return Text("The last serum magnesium could not be interpreted.")
    if "magnesium" in case.patient.unavailable:
        return Text("Serum magnesium could not be read.")
    return Text("No serum magnesium on file.")


_BRIEF = {
    Analyte.SERUM_MAGNESIUM: Text("Mg"),
    Analyte.POTASSIUM: Text("K"),
    Analyte.CALCIUM: Text("Ca"),
    Analyte.ADJUSTED_CALCIUM: Text("adjusted Ca"),
    Analyte.IONISED_CALCIUM: Text("ionised Ca"),
}


def age(case: Case, result: LabResult) -> Text:
    """How old a result is: minutes, hours to two days, then days; of a day without time only the days."""
    assert result.taken is not None  # noqa: S101  a case holds dated results only
    old = case.age_of(result)
    if result.taken.date_only:
        days = (case.now.date() - result.taken.start.date()).days
        return Text("{days} d ago", days=days) if days > 0 else Text("today")
    return elapsed(old)


def elapsed(old: timedelta) -> Text:
    """A time that has passed: minutes, hours to two days, then days."""
    if old < timedelta(hours=1):
        return Text("{minutes} min ago", minutes=int(old.total_seconds() // 60))
    if old < timedelta(hours=48):
        return Text("{hours} h ago", hours=int(old.total_seconds() // 3600))
    return Text("{days} d ago", days=old.days)


def brief(result: LabResult) -> Text:
    """Short name, value and unit: "K 3.1 mmol/L"."""
    return Text(
        "{analyte} {amount}", analyte=_BRIEF.get(result.analyte, ANALYTE[result.analyte]), amount=amount(result)
    )


def aged(case: Case, result: LabResult) -> Text:
    """Short name, value, unit and age: "Mg 0.55 mmol/L (3 h ago)"."""
    return Text("{brief} ({age})", brief=brief(result), age=age(case, result))


def grams(drug: Medication) -> Text:
    """A dose of intravenous magnesium in grams where it is known, else the drug as the chart names it."""
    amounts = [i.mg_per_dose for i in drug.ingredients if i.name == "magnesium sulfate" and i.mg_per_dose is not None]
    return Text("{grams} g", grams=rounded(amounts[0] / 1000, 1).normalize()) if amounts else drugs([drug])


def sign_words(sign: Condition) -> Text:
    """A sign or condition as the chart writes it, marked where no code states it."""
    if sign.recognised_by == "code":
        return Text("{sign}", sign=sign.text[:60])
    return Text("{sign} (from text)", sign=sign.text[:60])
