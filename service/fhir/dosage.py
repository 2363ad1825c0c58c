"""Dosage -> how much, how often, how fast, which way: from structure first, from text where there is none."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from service.fhir import primitives
from service.fhir.decode import cached_by_bytes, concepts
from service.fhir.quantity import unit_of
from service.fhir.resources import Dosage, DoseAndRate, Quantity, Repeat, Strength
from service.fhir.schedule import is_as_needed
from service.fhir.timing import doses_per_day, most_in_words
from service.logic.units import code as unit_code

MASS_MG = {"mg": Decimal(1), "g": Decimal(1000), "ug": Decimal("0.001"), "kg": Decimal(1_000_000)}
# Milligrams of magnesium sulfate heptahydrate (246.47 g/mol) in amounts of substance.
SULFATE_MG = {"mmol": Decimal("246.47"), "meq": Decimal("123.235")}
_VOLUME_ML = {"mL": Decimal(1), "L": Decimal(1000)}
_MINUTES = {"s": Decimal(1) / 60, "min": Decimal(1), "h": Decimal(60), "d": Decimal(1440), "wk": Decimal(10080)}

_ROUTES = (
    (
        "iv",
        re.compile(
            r"\b(?:iv|i\.v\.?|ivpb|intraven\w*|infusi\w*|drip|injection|injektion\w*|47625008|"
            r"20045)\b|в/в|внутривен|инфузи|капельн|وریدی|تزریق",
            re.IGNORECASE,
        ),
    ),
    (
        "oral",
        re.compile(
            r"\b(?:po|p\.o\.?|oral\w*|by mouth|per os|ng|og|sublingual|tab\w*|cap\w*|chewable|"
            r"26643006|20053|418136008|127492001)\b|внутрь|перорал|таблет|капсул|خوراکی|"
            r"قرص|کپسول",
            re.IGNORECASE,
        ),
    ),
    (
        "other",
        re.compile(
            r"\b(?:im|i\.m\.?|intramusc\w*|topical|ophthalm\w*|otic|nasal|inhal\w*|rectal|"
            r"enema|transdermal|subcut\w*|sc|vaginal|cream|ointment|eye drops?|irrigation|"
            r"78421000|34206005)\b|внутримыш|местно|подкожн|ингаляц|глазн|عضلانی|موضعی",
            re.IGNORECASE,
        ),
    ),
)
_OVER = re.compile(
    r"\b(?:over|in|within|за|в течение)\s+(\d{1,4}(?:[.,]\d+)?)\s*(min|minutes?|мин\w*|h|hrs?|hours?|ч\w*)\b",
    re.IGNORECASE,
)
_AMOUNT = re.compile(
    r"(\d{1,5}(?:[.,]\d+)?)\s*(mg|g|gm|gram\w*|мг|г|mmol|ммоль|m?eq|мэкв)\b(?!\s*/\s*(?:m2|m²|kg|кг))", re.IGNORECASE
)
_RATE_UNIT = re.compile(r"(mg|g|mL|мг|г|мл)\s*/\s*(min|h|hr|hour|мин|ч|час)", re.IGNORECASE)
_RATE = re.compile(rf"(?<![\d.,])(\d{{1,4}}(?:[.,]\d+)?)\s*{_RATE_UNIT.pattern}\b(?!\s*/)", re.IGNORECASE)
_CONCENTRATION = re.compile(
    r"(\d{1,5}(?:[.,]\d+)?)\s*(mg|g|мг|г)\s*(?:/|in|в|на)\s*(\d{1,4}(?:[.,]\d+)?)?\s*(?:mL|мл)\b"
    r"|(\d{1,2}(?:[.,]\d+)?)\s*%",
    re.IGNORECASE,
)


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
    words = primitives.ascii_digits(primitives.text(dosage.text))
    repeat = dosage.timing.repeat if dosage.timing else None
    amount, unit = _dose(dosage, words)
    rate = _rate(dosage) or _words_rate(words)
    route = stated_route(dosage)
    certain = route == "iv" or not is_as_needed(dosage, words)
    per_day = doses_per_day(dosage.timing, words)
    return Regimen(
        amount=amount,
        unit=unit,
        per_day=per_day if certain else None,
        most_per_day=_most_per_day(dosage, words, amount, unit) or (None if certain else per_day),
        minutes=_duration(repeat) or _words_over(words),
        rate_mg_min=rate[0] * MASS_MG[rate[1]] if rate and rate[1] in MASS_MG else None,
        rate_ml_min=rate[0] * _VOLUME_ML[rate[1]] if rate and rate[1] in _VOLUME_ML else None,
        route=route,
        text=words,
    )


def concurrent(dosages: list[Dosage]) -> list[Dosage]:
    """Those that hold at the same time as the first: another sequence number means "then", not "and"."""
    return [dosage for dosage in dosages if dosage.sequence == dosages[0].sequence]


# ---- route ----------------------------------------------------------------------------------------------------------


def stated_route(dosage: Dosage) -> str:
    """The route of a dosage, coded or in its text."""
    return (coded_route(dosage.route) if dosage.route else "") or route_in(dosage.text)


@cached_by_bytes
def coded_route(raw: bytes) -> str:
    """oral, iv, other or "" from a coded route or dose form."""
    found = concepts(raw)
    words = [word for said in found for coding in said.codings for word in (coding.code, coding.display)]
    return next((route for word in (*words, *(said.text for said in found)) if (route := route_in(word))), "")


def route_in(words: str | None) -> str:
    """oral, iv, other or "" from words."""
    words = primitives.text(words)
    return next((route for route, pattern in _ROUTES if words and pattern.search(words)), "")


# ---- dose and frequency ---------------------------------------------------------------------------------------------


def _rated(dosage: Dosage) -> DoseAndRate:
    """R4 holds dose and rate in a member of their own, STU3 and administrations in the dosage."""
    return dosage.doseAndRate[0] if dosage.doseAndRate else dosage


def _dose(dosage: Dosage, words: str) -> tuple[Decimal | None, str]:
    """One dose and its unit; of a range the upper end, which a limit has to hold."""
    rated = _rated(dosage)
    bounds = rated.doseRange
    quantity = (
        rated.doseQuantity
        or dosage.doseQuantity
        or dosage.dose
        or (bounds and (bounds.high or bounds.low))
        or Quantity()
    )
    if number := primitives.number(quantity.value):
        return number, unit_of(quantity)[0] or _form(quantity)
    found = _AMOUNT.search(words)
    if found is None:
        return None, ""
    return primitives.number(found[1]), unit_code(found[2].lower().replace("gm", "g").rstrip(".")) or ""


_FORMS = re.compile(r"tab|tbl|cap|chew|sachet|piece|unit|dose|таб|капс|قرص|^1$|^$", re.IGNORECASE)


def _form(quantity: Quantity) -> str:
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
    minutes = _MINUTES.get(primitives.text(bottom.code) or primitives.text(bottom.unit)) if bottom else None
    if top is None or not number or not time or not minutes:
        return None
    a_day, of = number * 1440 / (time * minutes), unit_of(top)[0] or _form(top)
    if _DOSES.fullmatch(primitives.text(top.code) or primitives.text(top.unit)):
        return a_day
    mg, each = (MASS_MG.get(name) for name in (of, unit))
    if amount and mg and each:
        return a_day * mg / (amount * each)
    return a_day / amount if amount and unit and of == unit else None


_DOSES = re.compile(r"\{?doses?\}?|доз\w*|دوز", re.IGNORECASE)


def _duration(repeat: Repeat | None) -> Decimal | None:
    number = primitives.number(repeat.duration) if repeat else None
    unit = _MINUTES.get(primitives.text(repeat.durationUnit)) if repeat else None
    return number * unit if number and unit else None


def _words_over(words: str) -> Decimal | None:
    found = _OVER.search(words)
    number = primitives.number(found[1]) if found else None
    if found is None or number is None:
        return None
    return number if found[2].lower().startswith(("min", "мин")) else number * 60


# ---- rate and concentration -----------------------------------------------------------------------------------------


def _rate(dosage: Dosage) -> tuple[Decimal, str] | None:
    """An amount per minute and its unit; of a range the upper end."""
    rated = _rated(dosage)
    if rated.rateRatio:
        return _ratio_rate(rated.rateRatio)
    bounds = rated.rateRange
    quantity = rated.rateQuantity or ((bounds.high or bounds.low) if bounds else None)
    number = primitives.number(quantity.value) if quantity else None
    if quantity is None or number is None:
        return None
    spelled = (_RATE_UNIT.fullmatch(primitives.text(unit)) for unit in (quantity.code, quantity.unit))
    return next((rate for found in spelled if found and (rate := _per_minute(number, *found.groups()))), None)


def _ratio_rate(ratio: Strength) -> tuple[Decimal, str] | None:
    if ratio.numerator is None or ratio.denominator is None:
        return None
    amount, time = primitives.number(ratio.numerator.value), primitives.number(ratio.denominator.value)
    unit = unit_of(ratio.numerator)[0]
    minutes = _MINUTES.get(primitives.text(ratio.denominator.code) or primitives.text(ratio.denominator.unit))
    return (amount / (time * minutes), unit) if amount and time and unit and minutes else None


def _words_rate(words: str) -> tuple[Decimal, str] | None:
    found = _RATE.search(words)
    number = primitives.number(found[1]) if found else None
    return _per_minute(number, found[2], found[3]) if found and number else None


def _per_minute(number: Decimal, unit: str, time: str) -> tuple[Decimal, str] | None:
    known = unit_code(unit)
    return (number if time.lower() in {"min", "мин"} else number / 60, known) if known else None


def concentration(texts: Iterable[str]) -> Decimal | None:
    """Milligrams in a millilitre, if the texts state one and only one: "4 g/100 mL", "40 mg/mL", "25 %"."""
    found = {mg for text in texts for match in _CONCENTRATION.finditer(text) if (mg := _mg_per_ml(match)) is not None}
    return found.pop() if len(found) == 1 else None


def _mg_per_ml(found: re.Match[str]) -> Decimal | None:
    mass, unit, volume, percent = found.groups()
    if percent:
        share = primitives.number(percent)
        return None if share is None else share * 10
    number, per = primitives.number(mass), primitives.number(volume or 1)
    return None if number is None or not per else number * (1 if unit.lower() in {"mg", "мг"} else 1000) / per


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
