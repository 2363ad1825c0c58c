"""Observation.referenceRange -> the laboratory's normal range that applies to this patient, by type, text, sex and age.

What is not understood of "which range" or "for whom" makes a range unusable: the service's own then holds, and is said.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import NamedTuple

from msgspec import Raw

from service.fhir import primitives
from service.fhir.context import ReadContext
from service.fhir.decode import Concept, cached_by_bytes, concepts, decode_lenient
from service.fhir.quantity import spelled_unit, unit_of
from service.fhir.resources import Quantity, Range, ReferenceRange
from service.logic import model
from service.logic.message import Message
from service.logic.model import Analyte, PartialDateTime, Problem
from service.logic.units import fits
from service.terminology.number_words import NUMBER, ascii_digits, read_number

Span = tuple[Decimal | None, Decimal | None]

_RANGE = re.compile(
    rf"[(\[]?\s*(?P<low>{NUMBER})\s*(?:-|–|—|to|до|bis|تا|…|\.\.\.)\s*(?P<high>{NUMBER})\s*[)\]]?", re.IGNORECASE
)
_WORD = re.compile(r"[^\W\d_]+")


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_NORMAL = _set(
    "normal normals reference referenzbereich referenz range ranges interval limits limit value values lab laboratory "
    "the of for and to from von general all everyone any population healthy unspecified normalbereich normalwert "
    "referentie от норма нормальный нормальные референс референсный референсные интервал значения пределы диапазон "
    "общий все از طبیعی نرمال مرجع محدوده بازه مقادیر همه"
)
_UNIT_WORDS = _set(
    "mg ug µg g kg mol mmol umol µmol nmol pmol meq u iu l dl ml m h min мг мкг г моль ммоль мкмоль мэкв л дл мл"
)
_SEXES = {
    "female": _set(
        "female females f woman women girl girls lady ladies w weiblich frau frauen femme femmes féminin femenino "
        "femenina mujer mujeres feminino ж жен женский женщина женщины женщин زن زنان خانم مونث مؤنث"
    ),
    "male": _set(
        "male males m man men boy boys männlich mann männer homme hommes masculin masculino hombre hombres "
        "м муж мужской мужчина мужчины мужчин مرد مردان آقا مذکر"
    ),
}
_SEX_CODES = {"248152002": "female", "703118005": "female", "248153007": "male", "703117000": "male"}
_ADULT = _set("adult adults erwachsene erwachsener adulte adultes adulto adultos взрослый взрослые بزرگسال بزرگسالان")
_ADULT_DAYS = Decimal("365.25") * 18
_DAYS_OF = {
    "365.25": "a y yr yrs year years jahr jahre j an ans año años год года лет г سال",
    "30.44": "mo mos mon month months monat monate mois mes meses мес месяц месяца месяцев ماه",
    "7": "wk wks week weeks w woche wochen semaine semaines semana semanas нед неделя недели недель هفته",
    "1": "d day days tag tage jour jours dia dias día días дн день дня дней сут сутки روز",
    "0.0416666666666666667": "h hr hrs hour hours stunde stunden std heure heures hora horas ч час часа часов ساعت",
    "0.000694444444444444444": "min mins minute minutes minuten мин минут دقیقه",
}
_AGE_UNITS = {word: Decimal(days) for days, words in _DAYS_OF.items() for word in words.split()}


class _Stated(NamedTuple):
    """Limits, and for whom they are stated: which sexes, from and to which age in days."""

    limits: model.ReferenceRange | None
    sexes: frozenset[str]  # empty: any
    age: Span | None  # None: any
    special: bool  # not for everybody
    understood: bool  # which range it is, and for whom


def read_reference_range(
    raw: Raw, unit: str | None, analyte: Analyte, taken: PartialDateTime | None, context: ReadContext
) -> tuple[model.ReferenceRange | None, Message | None]:
    """The range that holds for this patient on that day, a special one before a general one, or why there is none.

    Limits without a unit have that of the result.
    """
    stated = [each for each in _stated(raw, unit, analyte) if each.limits]
    fitting = [each for each in stated if each.understood and _applies(each, taken, context)]
    chosen = next(iter(sorted(fitting, key=lambda each: not each.special)), None)
    if chosen is not None:
        return chosen.limits, None
    return None, None if all(each.understood for each in stated) else _NOT_UNDERSTOOD


_NOT_UNDERSTOOD = Message("Its reference range is not used: not known to be the normal one for this patient.")


@cached_by_bytes
def _stated(raw: bytes, unit: str | None, analyte: Analyte) -> tuple[_Stated, ...]:
    """The ranges of an analyte as its laboratory states them with every result."""
    return tuple(_state(limits, unit, analyte) for limits in decode_lenient(raw, list[ReferenceRange]) or [])


def _state(given: ReferenceRange, unit: str | None, analyte: Analyte) -> _Stated:
    limits, words = _limits(given, unit, analyte)
    groups = [_group(concept) for concept in concepts(given.appliesTo)] + [_group_of_words(words)]
    age = _age(given.age)
    sexes = frozenset(sex for group in groups if group for sex in group[0])
    adult = any(group[1] for group in groups if group)
    understood = _is_normal(given) and None not in groups and age is not _UNCLEAR
    span = age if age and age is not _UNCLEAR else (_ADULT_DAYS, None) if adult else None
    return _Stated(limits, sexes, span, bool(sexes) or span is not None, understood)


def _is_normal(limits: ReferenceRange) -> bool:
    """True for a range without a type, or whose type says that it is the normal one: not critical, not therapeutic."""
    said = concepts(limits.type)
    codes = {coding.code.lower() for concept in said for coding in concept.codings if coding.code}
    if codes:
        return "normal" in codes
    return all(word in _NORMAL for concept in said for text in concept.texts for word in _words(text))


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]


_Group = tuple[frozenset[str], bool]  # sexes, adults only


def _group(said: Concept) -> _Group | None:
    """For whom a concept says that a range holds; None if that is not understood."""
    coded = frozenset(sex for coding in said.codings if (sex := _SEX_CODES.get(coding.code)))
    if coded:
        return coded, False
    texts = said.texts or [coding.code for coding in said.codings]
    words = [word for text in texts for word in _words(text)]
    return _group_of_words(words) if words else None


def _group_of_words(words: list[str]) -> _Group | None:
    sexes = frozenset(sex for sex, spellings in _SEXES.items() if not spellings.isdisjoint(words))
    known = _NORMAL | _UNIT_WORDS | _ADULT | _SEXES["female"] | _SEXES["male"]
    return (sexes, not _ADULT.isdisjoint(words)) if known.issuperset(words) else None


def _applies(stated: _Stated, taken: PartialDateTime | None, context: ReadContext) -> bool:
    if stated.sexes and context.sex not in stated.sexes:
        return False
    if stated.age is None:
        return True
    if context.birth is None or taken is None:
        return False
    youngest, oldest = stated.age
    days = (taken.end - context.birth.start).days
    return (youngest is None or days >= youngest) and (oldest is None or days <= oldest)


# ---- age ------------------------------------------------------------------------------------------------------------

_UNCLEAR: Span = (None, None)  # an age whose number or unit is not known must not read as "any age"


def _age(age: Range | None) -> Span | None:
    if age is None or not (age.low or age.high):
        return None
    low, high = _days(age.low), _days(age.high)
    return _UNCLEAR if (age.low and low is None) or (age.high and high is None) else (low, high)


def _days(age: Quantity | None) -> Decimal | None:
    number = primitives.number(age.value) if age else None
    if age is None or number is None or age.comparator:
        return None
    spellings = (primitives.text(age.code), primitives.text(age.unit))
    known = {_AGE_UNITS.get(spelling.lower().strip("{}. ")) for spelling in spellings if spelling}
    per = known.pop() if len(known) == 1 else None
    return None if per is None else number * per


# ---- limits ---------------------------------------------------------------------------------------------------------


def _limits(limits: ReferenceRange, own: str | None, analyte: Analyte) -> tuple[model.ReferenceRange | None, list[str]]:
    """Limits in structure or else in the text, and the words of the text that are neither number nor unit."""
    low = primitives.number(limits.low.value) if limits.low else None
    high = primitives.number(limits.high.value) if limits.high else None
    text = ascii_digits(primitives.text(limits.text))
    in_text, words = _in_text(text, own, analyte)
    if low is None and high is None:
        return in_text, words
    units = {_side_unit(side, own) for side in (limits.low, limits.high) if side}
    return _sane(low, high, units.pop() if len(units) == 1 else None, analyte), words


def _side_unit(side: Quantity, own: str | None) -> str | None:
    unit, problem = unit_of(side)
    return own if problem is Problem.NO_UNIT else unit


def _in_text(text: str, own: str | None, analyte: Analyte) -> tuple[model.ReferenceRange | None, list[str]]:
    """Limits in words and what else is said: "Normal: 0.70 - 1.05 mmol/L" -> 0.70 to 1.05 mmol/L and "normal"."""
    found = _RANGE.search(text)
    if found is None:
        return None, _words(text)
    unit, rest = _leading_unit(text[found.end() :])
    low, high = read_number(found["low"], text), read_number(found["high"], text)
    known = None if low is None or high is None else _sane(low, high, unit or own, analyte)
    return known, _words(f"{text[: found.start()]} {rest}")


def _leading_unit(text: str) -> tuple[str | None, str]:
    """The unit with which a text begins, in up to four words, and the rest."""
    words = text.split()
    for count in range(min(4, len(words)), 0, -1):
        if unit := spelled_unit(" ".join(words[:count]).strip("()[],;")):
            return unit, " ".join(words[count:])
    return None, text


def _sane(low: Decimal | None, high: Decimal | None, unit: str | None, analyte: Analyte) -> model.ReferenceRange | None:
    if unit is None or not fits(unit, analyte) or (low is not None and high is not None and low >= high):
        return None
    return model.ReferenceRange(low, high, unit)
