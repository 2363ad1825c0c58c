"""Observation.referenceRange -> the laboratory's normal range that applies to this patient, by type, sex and age."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import NamedTuple

from msgspec import Raw

from service.fhir import primitives
from service.fhir.context import ReadContext
from service.fhir.decode import cached_by_bytes, concepts, decode_lenient
from service.fhir.quantity import spelled_unit, unit_of
from service.fhir.resources import Quantity, ReferenceRange
from service.logic import model
from service.logic.model import Analyte, PartialDateTime, Problem
from service.logic.units import fits

_RANGE_TEXT = re.compile(
    r"(\d{1,6}(?:[.,]\d{1,6})?)\s*(?:-|–|—|to|до|bis|تا)\s*(\d{1,6}(?:[.,]\d{1,6})?)\s*([^\d\s].{0,30})?"
)
_SEXES = {"female": {"female", "f", "248152002", "w", "weiblich"}, "male": {"male", "m", "248153007", "männlich"}}
_PREGNANCY = re.compile(r"pregnan|trimester|gestation|schwanger|беремен|триместр|باردار|77386006")
_DAYS = {
    "a": "365.25", "y": "365.25", "year": "365.25", "years": "365.25", "mo": "30.44", "month": "30.44",
    "months": "30.44", "wk": "7", "d": "1", "day": "1", "days": "1",
}  # fmt: skip


class _Stated(NamedTuple):
    """Limits, and for whom they are stated: which sexes, from and to which age in days."""

    limits: model.ReferenceRange
    sexes: frozenset[str]  # empty: any
    age: tuple[Decimal | None, Decimal | None] | None  # None: any
    special: bool  # not for everybody


def read_reference_range(
    raw: Raw, unit: str | None, analyte: Analyte, taken: PartialDateTime | None, context: ReadContext
) -> model.ReferenceRange | None:
    """The range that holds for this patient on that day, a special one before a general one; None if none does.

    Limits without a unit have that of the result.
    """
    fitting = [stated for stated in _stated(raw, unit, analyte) if _applies(stated, taken, context)]
    special = [stated for stated in fitting if stated.special]
    return next((stated.limits for stated in special or fitting), None)


@cached_by_bytes
def _stated(raw: bytes, unit: str | None, analyte: Analyte) -> tuple[_Stated, ...]:
    """The normal ranges of an analyte as its laboratory states them with every result."""
    listed = decode_lenient(raw, list[ReferenceRange]) or []
    stated = (_state(limits, unit, analyte) for limits in listed if _is_normal(limits))
    return tuple(limits for limits in stated if limits is not None)


def _state(given: ReferenceRange, unit: str | None, analyte: Analyte) -> _Stated | None:
    limits, words = _limits(given, unit, analyte), _words(given.appliesTo)
    if limits is None or any(_PREGNANCY.search(word) for word in words):
        return None  # whether she is pregnant, a reader of results does not know
    sexes = frozenset(sex for sex, spellings in _SEXES.items() if words & spellings)
    age = (_days(given.age.low), _days(given.age.high)) if given.age and (given.age.low or given.age.high) else None
    return _Stated(limits, sexes, age, bool(words) or age is not None)


def _is_normal(limits: ReferenceRange) -> bool:
    """True unless the type says that it is another kind of range, such as a therapeutic one."""
    codes = {coding.code.lower() for concept in concepts(limits.type) for coding in concept.codings}
    return not codes or bool(codes & {"", "normal"})


def _words(raw: Raw) -> set[str]:
    found = concepts(raw)
    return {word.lower() for said in found for word in (*(c.code for c in said.codings), *said.texts)}


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


def _days(age: Quantity | None) -> Decimal | None:
    number = primitives.number(age.value) if age else None
    per = _DAYS.get(primitives.text(age.code or age.unit).lower()) if age else None
    return None if number is None or per is None else number * Decimal(per)


def _limits(limits: ReferenceRange, own: str | None, analyte: Analyte) -> model.ReferenceRange | None:
    low = primitives.number(limits.low.value) if limits.low else None
    high = primitives.number(limits.high.value) if limits.high else None
    if low is None and high is None:
        return _limits_in_text(primitives.text(limits.text), own, analyte)
    units = {_side_unit(side, own) for side in (limits.low, limits.high) if side}
    return _sane(low, high, units.pop() if len(units) == 1 else None, analyte)


def _side_unit(side: Quantity, own: str | None) -> str | None:
    unit, problem = unit_of(side)
    return own if problem is Problem.NO_UNIT else unit


def _limits_in_text(value: str, own: str | None, analyte: Analyte) -> model.ReferenceRange | None:
    found = _RANGE_TEXT.fullmatch(primitives.ascii_digits(value)) if value else None
    if found is None:
        return None
    return _sane(
        primitives.number(found[1]), primitives.number(found[2]), spelled_unit(found[3]) if found[3] else own, analyte
    )


def _sane(low: Decimal | None, high: Decimal | None, unit: str | None, analyte: Analyte) -> model.ReferenceRange | None:
    if unit is None or not fits(unit, analyte) or (low is not None and high is not None and low >= high):
        return None
    return model.ReferenceRange(low, high, unit)
