"""Dosage -> how much, how often, how fast, which way: from structure first, from text where there is none."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from service.fhir import primitives
from service.fhir.dosage_words import MASS_MG, dose_in_words, minutes_in_words, per_minute, rate_in_words
from service.fhir.quantity import unit_of
from service.fhir.resources import Dosage, DoseAndRate, Quantity, Repeat, Strength
from service.fhir.route import stated_route
from service.fhir.schedule import is_as_needed
from service.fhir.timing import doses_in_words, doses_per_day, most_in_words
from service.terminology.number_words import ascii_digits

# Milligrams of magnesium sulfate heptahydrate (246.47 g/mol) in amounts of substance.
SULFATE_MG = {"mmol": Decimal("246.47"), "meq": Decimal("123.235")}
_VOLUME_ML = {"mL": Decimal(1), "L": Decimal(1000)}
MINUTES = {"s": Decimal(1) / 60, "min": Decimal(1), "h": Decimal(60), "d": Decimal(1440), "wk": Decimal(10080)}


@dataclass(frozen=True, slots=True)
class Regimen:
    """One dosage. `amount` with `unit` (a UCUM code, or a dose form such as "tablet") is one dose."""

    amount: Decimal | None = None
    unit: str = ""
    per_day: Decimal | None = None  # None where it is not stated, and by mouth as needed
    most_per_day: Decimal | None = None  # where a maximum is stated, or a frequency of what is taken as needed
    minutes: Decimal | None = None
    rate_mg_min: Decimal | None = None
    rate_ml_min: Decimal | None = None
    route: str = ""
    text: str = ""

    @property
    def milligrams(self) -> Decimal | None:
        """One dose in milligrams of the compound, if it is stated as a mass."""
        factor = MASS_MG.get(self.unit)
        return None if self.amount is None or factor is None else self.amount * factor


def read_dosage(dosage: Dosage) -> Regimen:
    """One dosage of a request, statement, dispense or administration."""
    words = ascii_digits(primitives.text(dosage.text))
    said = dose_in_words(words)
    amount, unit = _dose(dosage) or (said.amount, said.unit)
    rate = _rate(dosage) or rate_in_words(words)
    route = stated_route(dosage)
    certain = route == "iv" or not is_as_needed(dosage, words)
    per_day = doses_per_day(dosage.timing, said.per_day or doses_in_words(words))
    return Regimen(
        amount=amount,
        unit=unit,
        per_day=per_day if certain else None,
        most_per_day=_most_per_day(dosage, words, amount, unit) or (None if certain else per_day),
        minutes=_duration(dosage.timing.repeat if dosage.timing else None) or minutes_in_words(words),
        rate_mg_min=rate[0] * MASS_MG[rate[1]] if rate and rate[1] in MASS_MG else None,
        rate_ml_min=rate[0] * _VOLUME_ML[rate[1]] if rate and rate[1] in _VOLUME_ML else None,
        route=route,
        text=words,
    )


def phases(dosages: list[Dosage]) -> list[list[Dosage]]:
    """Dosages that hold at the same time, in the order in which they follow: another sequence number means "then"."""
    if len(dosages) < 2:
        return [dosages] if dosages else []
    numbers = [primitives.bounded(dosage.sequence) for dosage in dosages]
    ordered = sorted(set(numbers), key=lambda number: (number is not None, number or 0))
    return [[dosage for dosage, own in zip(dosages, numbers, strict=True) if own == number] for number in ordered]


# ---- dose -----------------------------------------------------------------------------------------------------------


def _rated(dosage: Dosage) -> list[DoseAndRate]:
    """R4 holds doses and rates in a member of their own, STU3 and administrations in the dosage."""
    return [*(dosage.doseAndRate or ()), dosage]


def _dose(dosage: Dosage) -> tuple[Decimal, str] | None:
    """One dose and its unit: of an ordered and a calculated one that which is a mass, and of these the greater."""
    doses = [dose for rated in _rated(dosage) if (dose := _quantity_of(rated))]
    masses = [dose for dose in doses if dose[1] in MASS_MG]
    return max(masses, key=lambda dose: dose[0] * MASS_MG[dose[1]]) if masses else next(iter(doses), None)


def _quantity_of(rated: DoseAndRate) -> tuple[Decimal, str] | None:
    """Of a range the upper end, which a limit has to hold."""
    bounds = rated.doseRange
    quantity = rated.doseQuantity or rated.dose or (bounds and (bounds.high or bounds.low)) or Quantity()
    number = primitives.number(quantity.value)
    return (number, unit_of(quantity)[0] or dose_form(quantity)) if number else None


_FORMS = re.compile(
    r"tab|tbl|cap|pill|chew|sachet|packet|piece|softgel|lozenge|troche|gumm[iy]|drag[eé]e|comprim|st(?:ü|ue)ck|\bstk|unit|"
    r"dose|count|item|\beach\b|^\W?ea\W?$|таб|капс|драже|пакет|шт|قرص|کپسول|ساشه|عدد|^\{?#\}?$|^1$|^$",
    re.IGNORECASE,
)
_DOSES = re.compile(r"\{?doses?\}?|доз\w*|دوز", re.IGNORECASE)


def dose_form(quantity: Quantity) -> str:
    """ "tablet" for a count of whatever solid form, else the unit as it is spelled."""
    spelled = primitives.text(quantity.code) or primitives.text(quantity.unit)
    return "tablet" if _FORMS.search(spelled) else spelled


def _most_per_day(dosage: Dosage, words: str, amount: Decimal | None, unit: str) -> Decimal | None:
    """Doses a day at most: stated as an amount per period in the unit of one dose, as a count of doses, or in words."""
    listed = dosage.maxDosePerPeriod
    stated = (_doses_of(most, amount, unit) for most in (listed if isinstance(listed, list) else [listed]) if most)
    return min((most for most in stated if most is not None), default=None) or most_in_words(words)


def _doses_of(most: Strength, amount: Decimal | None, unit: str) -> Decimal | None:
    """The doses a day of a maximum: "3 tablets in 1 day" of 1 tablet are 3, "1200 mg in 24 h" of 400 mg are 3."""
    top, bottom = most.numerator, most.denominator
    number, time = (primitives.number(side.value) if side else None for side in (top, bottom))
    minutes = minutes_unit(bottom)
    if top is None or not (number and time and minutes):
        return None
    return _doses_in(top, number * 1440 / (time * minutes), amount, unit)


def _doses_in(top: Quantity, a_day: Decimal, amount: Decimal | None, unit: str) -> Decimal | None:
    """How many doses of `amount` are in what is allowed in a day."""
    of = unit_of(top)[0] or dose_form(top)
    if _DOSES.fullmatch(primitives.text(top.code) or primitives.text(top.unit)):
        return a_day
    mg, each = (MASS_MG.get(name) for name in (of, unit))
    if amount and mg and each:
        return a_day * mg / (amount * each)
    return a_day / amount if amount and unit and of == unit else None


# ---- duration, rate, strength ---------------------------------------------------------------------------------------


def minutes_unit(quantity: Quantity | None) -> Decimal | None:
    """How many minutes one unit of a duration is."""
    return MINUTES.get(primitives.text(quantity.code) or primitives.text(quantity.unit)) if quantity else None


def _duration(repeat: Repeat | None) -> Decimal | None:
    number = primitives.number(repeat.duration) if repeat else None
    unit = MINUTES.get(primitives.text(repeat.durationUnit)) if repeat else None
    return number * unit if number and unit else None


_RATE_UNIT = re.compile(r"(mg|g|mL|мг|г|мл)\s*/\s*(min|h|hr|hour|мин|ч|час)", re.IGNORECASE)


def _rate(dosage: Dosage) -> tuple[Decimal, str] | None:
    """An amount per minute and its unit, the first that is stated as one."""
    return next((rate for rated in _rated(dosage) if (rate := _rate_of(rated))), None)


def _rate_of(rated: DoseAndRate) -> tuple[Decimal, str] | None:
    """Of a range the upper end."""
    if rated.rateRatio:
        return _ratio_rate(rated.rateRatio)
    bounds = rated.rateRange
    quantity = rated.rateQuantity or ((bounds.high or bounds.low) if bounds else None)
    number = primitives.number(quantity.value) if quantity else None
    if quantity is None or number is None:
        return None
    spelled = (_RATE_UNIT.fullmatch(primitives.text(unit)) for unit in (quantity.code, quantity.unit))
    return next((rate for found in spelled if found and (rate := per_minute(number, *found.groups()))), None)


def _ratio_rate(ratio: Strength) -> tuple[Decimal, str] | None:
    if ratio.numerator is None or ratio.denominator is None:
        return None
    amount, time = primitives.number(ratio.numerator.value), primitives.number(ratio.denominator.value)
    unit, minutes = unit_of(ratio.numerator)[0], minutes_unit(ratio.denominator)
    return (amount / (time * minutes), unit) if amount and time and unit and minutes else None


def strength(amount: Strength | None) -> tuple[Decimal, str] | None:
    """Milligrams in one unit of a product, and that unit: "mL", or "" for a dose form."""
    if amount is None:
        return None
    top, bottom = amount.numerator or amount, amount.denominator or Quantity()
    factor, value = MASS_MG.get(unit_of(top)[0] or ""), primitives.number(top.value)
    if value is None or factor is None:
        return None
    volume = _VOLUME_ML.get(unit_of(bottom)[0] or "")
    return value * factor / ((primitives.number(bottom.value) or 1) * (volume or 1)), "mL" if volume else ""
