"""Words of a dosage or a product name -> dose, duration, rate, strength, concentration; ambiguous numbers are named."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from service.fhir.timing import doses_in_words
from service.logic.units import code as unit_code
from service.terminology.number_words import NUMBER, is_ambiguous, read_number

MASS_MG = {"mg": Decimal(1), "g": Decimal(1000), "ug": Decimal("0.001"), "kg": Decimal(1_000_000)}

_MASS = r"(?:mg|g|gm|gram\w*|mcg|µg|мг|г|мкг|گرم|میلی ?گرم)"
_PER_BODY = (
    r"(?!\s*/\s*(?:m2|m²|kg|кг|day|сут|h|hr|hour|min|ч|час|мин)\b"
    r"|\s*(?:per|на|pro|в)\s+(?:kg|кг|minute|min|hour|мин|час))"
)
_FORM = (
    r"(?:tab(?:let)?s?|tbl|caps?(?:ules?)?|sachets?|packets?|tabletten?|kapseln?|comprim\w+|таб\w*|капс\w*|пакет\w*|"
    r"قرص|کپسول|ساشه)(?!\w)"
)
_COUNTS = {
    "half": "0.5", "half a": "0.5", "one": "1", "two": "2", "three": "3", "four": "4", "eine": "1", "zwei": "2",
    "drei": "3", "une": "1", "deux": "2", "una": "1", "dos": "2", "одна": "1", "одну": "1", "две": "2", "три": "3",
    "полтаблетки": "0.5", "یک": "1", "دو": "2", "سه": "3", "نیم": "0.5", "1/2": "0.5", "1/4": "0.25", "a": "1",
}  # fmt: skip
_TO = r"\s*(?:-|–|—|to|до|bis|تا|or|или)\s*"
_COUNT = rf"(?:{NUMBER}|(?<!\w)(?:{'|'.join(map(re.escape, sorted(_COUNTS, key=len, reverse=True)))})(?!\w))"
_AMOUNT = re.compile(
    rf"(?P<low>{NUMBER})(?:{_TO}(?P<high>{NUMBER}))?\s*-?\s*"
    rf"(?P<unit>{_MASS}|mmol|ммоль|m?eq|мэкв|میلی ?مول)(?!\w){_PER_BODY}",
    re.IGNORECASE,
)
# "400 mg tablet", "tablets of 400 mg": the strength of one, not the dose. "2 400 mg tablets" are two of them.
_STRENGTH = re.compile(
    rf"(?:(?<![\d.,\w])(?P<count>\d{{1,2}})(?:\s*[x×]\s*|\s+))?(?P<each>{NUMBER})\s*-?\s*(?P<unit>{_MASS})\s*(?:-\s*)?{_FORM}"
    rf"|{_FORM}\s*(?:of|à|по|a)\s*(?P<each2>{NUMBER})\s*(?P<unit2>{_MASS})(?!\w)",
    re.IGNORECASE,
)
_TABLETS = re.compile(rf"(?P<low>{_COUNT})(?:{_TO}(?P<high>{_COUNT}))?\s*(?:x\s*)?{_FORM}", re.IGNORECASE)
_TIME_UNIT = r"(?P<unit>minutes?|minuten|mins?|мин\w*|دقیقه|hours?|hrs?|h|std|stunden?|час\w*|ч|ساعت)(?!\w)"
_OVER = re.compile(
    rf"(?:\b(?:over|in|within|за|в течение|über|durante|en)|طی|در عرض|ظرف)\s+(?:about\s+)?"
    rf"(?P<low>{_COUNT})(?:{_TO}(?P<high>{_COUNT}))?\s*-?\s*{_TIME_UNIT}",
    re.IGNORECASE,
)
_AS_INFUSION = re.compile(rf"(?P<low>{NUMBER})(?P<high>)[\s-]*{_TIME_UNIT}[\s-]*(?:infusion|bolus|push)", re.IGNORECASE)
_RATE_TIME = r"(?:/|per\s+|в\s+|در\s+)\s*(?P<time>min|minute|h|hr|hour|мин\w*|ч|час\w*|دقیقه|ساعت)(?!\w)(?!\s*/)"
_RATE = re.compile(
    rf"(?P<low>{NUMBER})(?:{_TO}(?P<high>{NUMBER}))?\s*(?P<unit>mg|g|gm|mL|мг|г|мл|گرم)\s*{_RATE_TIME}", re.IGNORECASE
)
_CONCENTRATION = re.compile(
    rf"(?P<mass>{NUMBER})\s*(?P<unit>mg|g|мг|г)\s*(?:/|in|в|на)\s*(?P<volume>{NUMBER})?\s*(?P<of>mL|мл|L|л)(?!\w)"
    rf"|(?P<percent>{NUMBER})\s*%",
    re.IGNORECASE,
)
_ANY_NUMBER = re.compile(rf"(?P<number>{NUMBER})\s*(?:{_MASS}|mmol|m?eq|mL|мл|L|л|%)(?!\w)", re.IGNORECASE)
_THEN = re.compile(
    r"[;,.]?\s+(?:and\s+)?(?:then|followed by|after that|thereafter|затем|потом|далее|dann|danach|luego|después|"
    r"puis|ensuite)\b|\s*(?:سپس|بعد از آن)",
    re.IGNORECASE,
)
_AND = re.compile(r"\s+(?:and|plus|и|und|y|et|و)\s+|\s*[,;+&]\s+", re.IGNORECASE)
_AT_A_TIME = re.compile(
    r"\b(?:morning|noon|midday|lunch|afternoon|evening|night|bedtime|breakfast|dinner|supper|a\.?m\.?|p\.?m\.?|"
    r"morgens|mittags|abends|утром|дн[её]м|вечером|на ночь)\b|صبح|ظهر|شب|عصر",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class DoseInWords:
    """One dose and its unit (a UCUM code or "tablet"), and how many of them a day, as a text states them."""

    amount: Decimal | None = None
    unit: str = ""
    per_day: Decimal | None = None


@lru_cache(maxsize=1024)  # what is written on an order recurs from call to call
def dose_in_words(text: str) -> DoseInWords:
    """The dose of a text; of parts that follow each other ("then") the greatest, of parts of one day their sum.

    >>> dose_in_words("400 mg daily for one week, then 800 mg")
    DoseInWords(amount=Decimal('800'), unit='mg', per_day=Decimal('1'))
    >>> dose_in_words("400 mg in the morning and 800 mg at bedtime")
    DoseInWords(amount=Decimal('1200'), unit='mg', per_day=Decimal('1'))
    """
    found: list[DoseInWords] = []
    for phase in _THEN.split(text):
        dose = _of_one_day(phase, text)
        if dose.amount is None:
            continue
        before = found[-1].per_day if found else None
        found.append(DoseInWords(dose.amount, dose.unit, dose.per_day or before))
    if len({dose.unit for dose in found}) > 1:
        return DoseInWords()
    return max(found, key=lambda dose: (dose.amount or 0) * (dose.per_day or 1), default=DoseInWords())


def _of_one_day(phase: str, text: str) -> DoseInWords:
    parts = [part for part in _AND.split(phase) if _single(part, text)[0] is not None]
    if len(parts) > 1 and all(_AT_A_TIME.search(part) for part in parts):
        doses = [_single(part, text) for part in parts]
        amounts = [amount for amount, _ in doses if amount is not None]
        if len({unit for _, unit in doses}) == 1:
            return DoseInWords(sum(amounts, Decimal(0)), doses[0][1], Decimal(1))
    amount, unit = _single(phase, text)
    return DoseInWords(amount, unit, doses_in_words(phase))


def _single(words: str, text: str) -> tuple[Decimal | None, str]:
    """The first dose of these words; a count of tablets times their strength, where the words state it."""
    strength, rest = _strength_and_rest(words, text)
    if strength is not None and strength[1] is not None:  # "2 400 mg tablets"
        return strength[0] * strength[1], "mg"
    if found := _AMOUNT.search(rest):
        return _upper(found, text), unit_code(_unit(found["unit"])) or ""
    count = _TABLETS.search(rest)
    if count is None:
        return (strength[0], "mg") if strength else (None, "")
    number = _upper(count, text)
    return (number * strength[0], "mg") if number is not None and strength else (number, "tablet")


def _strength_and_rest(words: str, text: str) -> tuple[tuple[Decimal, Decimal | None] | None, str]:
    """(milligrams of one, how many are named before it), and the words without the strength."""
    found = _STRENGTH.search(words)
    if found is None:
        return None, words
    number = read_number(found["each"] or found["each2"], text)
    factor = MASS_MG.get(unit_code(_unit(found["unit"] or found["unit2"])) or "")
    rest = f"{words[: found.start()]} {_form_of(found)} {words[found.end() :]}"
    if number is None or factor is None:
        return None, rest
    return (number * factor, Decimal(found["count"]) if found["count"] else None), rest


def _form_of(found: re.Match[str]) -> str:
    """What is left of "3 tablets of 400 mg" is "3 tablets"; of "400 mg tablet" nothing."""
    return "tablets" if found["each2"] else ""


def _unit(spelled: str) -> str:
    lower = re.sub(r"\s+", "", spelled.lower())
    known = {"gm": "g", "mcg": "ug", "µg": "ug", "мкг": "ug", "گرم": "g", "میلیگرم": "mg", "میلیمول": "mmol"}
    return known.get(lower, "g" if lower.startswith("gram") else lower)


def _upper(found: re.Match[str], text: str) -> Decimal | None:
    """The upper end of a range, which a limit has to hold."""
    low, high = (_count(found[side], text) for side in ("low", "high"))
    return high if found["high"] else low


def _count(spelled: str | None, text: str) -> Decimal | None:
    if not spelled:
        return None
    word = _COUNTS.get(" ".join(spelled.lower().split()))
    return Decimal(word) if word else read_number(spelled, text)


@lru_cache(maxsize=1024)
def ambiguous_number(text: str) -> str:
    """The first amount, volume or share in a text that can be read in two ways; "" if there is none.

    >>> ambiguous_number("1.000 mg IV"), ambiguous_number("0.625 mg")
    ('1.000', '')
    """
    if not any(letter.isdigit() for letter in text):
        return ""
    counted = _STRENGTH.sub(lambda found: "" if found["count"] else found[0], text)
    numbers = (found["number"] for found in _ANY_NUMBER.finditer(counted))
    return next((number for number in numbers if is_ambiguous(number, text)), "")


# ---- duration, rate, concentration ----------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def minutes_in_words(text: str) -> Decimal | None:
    """Over how many minutes one dose is given; of a range the shorter, which is the faster.

    >>> minutes_in_words("4 g IV over 5 to 10 minutes"), minutes_in_words("за 2 ч")
    (Decimal('5'), Decimal('120'))
    """
    found = _OVER.search(text) or _AS_INFUSION.search(text)
    low = _count(found["low"], text) if found else None
    if found is None or not low:
        return None
    return low if found["unit"].lower().startswith(("min", "мин", "دقیقه")) else low * 60


@lru_cache(maxsize=1024)
def rate_in_words(text: str) -> tuple[Decimal, str] | None:
    """An amount per minute and its unit; of a range the upper end."""
    found = _RATE.search(text)
    number = _upper(found, text) if found else None
    return per_minute(number, found["unit"], found["time"]) if found and number else None


def per_minute(number: Decimal, unit: str, time: str) -> tuple[Decimal, str] | None:
    """An amount in a minute, of one in a minute or an hour."""
    known = unit_code(_unit(unit))
    return (number if time.lower().startswith(("min", "мин", "دقیقه")) else number / 60, known) if known else None


def concentration(texts: Iterable[str]) -> Decimal | None:
    """Milligrams in a millilitre, if the texts state one and only one: "4 g/100 mL", "40 mg/mL", "25 %"."""
    found = {
        mg for text in texts for match in _CONCENTRATION.finditer(text) if (mg := _mg_per_ml(match, text)) is not None
    }
    return found.pop() if len(found) == 1 else None


def _mg_per_ml(found: re.Match[str], text: str) -> Decimal | None:
    if found["percent"]:
        share = read_number(found["percent"], text)
        return None if share is None else share * 10
    mass, volume = read_number(found["mass"], text), read_number(found["volume"] or "1", text)
    if mass is None or not volume:
        return None
    volume *= 1000 if found["of"] in {"L", "l", "л", "Л"} else 1
    return mass * (1 if found["unit"].lower() in {"mg", "мг"} else 1000) / volume


def strength_in_name(name: str) -> Decimal | None:
    """Milligrams of the first mass in a product's name that is not one per volume, body or day."""
    for found in _AMOUNT.finditer(name):
        factor = MASS_MG.get(unit_code(_unit(found["unit"])) or "")
        if factor is None or re.match(r"\s*/\s*[\d.,]*\s*(?:ml|мл|l|л)\b", name[found.end() :], re.IGNORECASE):
            continue
        number = _upper(found, name)
        return None if number is None else number * factor
    return None
