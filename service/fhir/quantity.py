"""Quantity -> number and UCUM code. Code and unit must not contradict each other, and nothing is guessed."""

from __future__ import annotations

from functools import lru_cache

from service.fhir.resources import Quantity
from service.logic.model import Problem
from service.logic.units import code as known_unit
from service.terminology.number_words import ascii_digits

_MAX_UNIT = 60  # characters; no unit has more, and what is longer is not kept


def unit_of(quantity: Quantity) -> tuple[str | None, Problem | None]:
    """The UCUM code, or None and why: there is no unit, or it is unknown, or code and unit disagree."""
    code, unit = quantity.code or "", quantity.unit or ""
    if len(code) > _MAX_UNIT or len(unit) > _MAX_UNIT:
        return None, Problem.UNKNOWN_UNIT
    return _unit(code, unit)


@lru_cache(maxsize=2048)
def _unit(code: str, unit: str) -> tuple[str | None, Problem | None]:
    spelled = [spelling for spelling in (code.strip(), unit.strip()) if spelling]
    known = {found for spelling in spelled if (found := spelled_unit(spelling))}
    if len(known) == 1:
        return known.pop(), None
    return None, Problem.UNKNOWN_UNIT if spelled else Problem.NO_UNIT


def spelled_unit(spelling: str) -> str | None:
    """The UCUM code of a unit in words; in Persian "per" is a word of its own."""
    return known_unit(spelling) or known_unit(ascii_digits(spelling).replace(" بر ", "/").replace(" در ", "/"))
