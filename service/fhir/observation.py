"""Observation -> LabResult, with every doubt named. The unit wins over the code; nothing is inferred from a magnitude."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from service.fhir import total
from service.fhir.context import Reading
from service.fhir.wire import Concept, Resource, as_resource, contained
from service.logic.knowledge import Knowledge
from service.logic.model import Analyte, DataIssue, LabResult, Problem, Quantity, ReferenceRange, When
from service.logic.text import Text
from service.logic.units import code as unit_code
from service.logic.units import convert, fits
from service.terminology.analytes import LabCodes, Meaning, names_other_specimen

_USABLE = {"final", "amended", "corrected", "appended"}
_MOLAR_UNITS = {"mmol/L", "umol/L", "meq/L", "mmol/(24.h)", "meq/(24.h)", "pmol/L"}
_COMPARATORS = {"<", "<=", ">", ">="}
_VALUE_TEXT = re.compile(r"(<=?|>=?|≤|≥)?\s*(\d{1,9}(?:[.,]\d{1,9})?)\s*([^\d\s<>=].{0,40})?")
_RANGE_TEXT = re.compile(
    r"(\d{1,6}(?:[.,]\d{1,6})?)\s*(?:-|–|—|to|до|bis)\s*(\d{1,6}(?:[.,]\d{1,6})?)\s*([^\d\s].{0,30})?"
)
_HAEMOLYSED = re.compile(r"ha?emoly[sz]|гемолиз|همولیز|hämoly[st]", re.IGNORECASE)
_NOT_HAEMOLYSED = re.compile(
    r"(?:\b(?:no|not|non|without|nil|negative|absent|free of|keine?|ohne|без|нет|не)\b|بدون|فاقد)[^.;,]{0,25}"
    r"(?:ha?emoly[sz]|гемолиз|همولیز|hämoly[st])|(?:ha?emoly[sz]\w*|гемолиз\w*)[^.;,]{0,12}(?:none|nil|absent|negative|not seen|нет)",
    re.IGNORECASE,
)
_FLAGS = {
    "L": "L", "LL": "L", "LU": "L", "<": "L", "H": "H", "HH": "H", "HU": "H", ">": "H", "N": "N",
    "281300000": "L", "281302008": "H", "166717003": "N", "17621005": "N", "281301001": "N",
}  # fmt: skip
_NORMAL_RANGE = {"", "normal"}
_PLAUSIBLE = {
    Analyte.SERUM_MAGNESIUM: "mg-plausible",
    Analyte.RBC_MAGNESIUM: "rbc-mg-plausible",
    Analyte.POTASSIUM: "k-plausible",
    Analyte.CALCIUM: "ca-plausible",
    Analyte.ADJUSTED_CALCIUM: "ca-plausible",
    Analyte.IONISED_CALCIUM: "ionised-ca-plausible",
    Analyte.CREATININE: "creatinine-plausible",
    Analyte.ALBUMIN: "albumin-plausible",
    Analyte.BICARBONATE: "bicarbonate-plausible",
    Analyte.QTC: "qtc-plausible",
}


@dataclass(frozen=True, slots=True)
class _Value:
    """A value as sent: number, unit code (None if missing or unknown), and what is wrong with it."""

    number: Decimal | None
    unit: str | None
    comparator: str
    raw: str
    problem: Problem | None


@lru_cache(maxsize=4096)
def _coded(concept: Concept, codes: LabCodes) -> Meaning | None:
    found = (codes.by_code(system, code) for system, code, _ in concept.codings)
    return next((meaning for meaning in found if meaning is not None), None)


def meaning_of(resource: Resource, reading: Reading) -> Meaning | None:
    """What an Observation measures, by its code alone: enough to file it; None if that does not tell."""
    return _coded(resource.concept(), reading.codes)


def read_observation(resource: Resource, reading: Reading) -> Iterator[LabResult | DataIssue]:
    """The results of one Observation (its components included), and what could not be used."""
    meaning = _meaning(resource.concept(), resource, reading)
    if isinstance(meaning, Meaning):
        yield from _read_one(resource, resource, meaning, reading)
    elif meaning is not None:
        yield DataIssue(reading.name(resource), meaning)
    if not resource.mentions("component"):
        return
    for component in total.items(resource.component):
        part = as_resource(component)
        inner = _meaning(part.concept(), resource, reading)
        if isinstance(inner, Meaning):
            yield from _read_one(part, resource, inner, reading)


def _meaning(concept: Concept, resource: Resource, reading: Reading) -> Meaning | Text | None:
    """The analyte, or why a related code is not used, or None if the logic has no use for it."""
    if meaning := _coded(concept, reading.codes) or _named(concept, reading.codes):
        return _specimen_fits(meaning, concept, resource, reading)
    if any(reading.codes.is_other_specimen(system, code) for system, code, _ in concept.codings):
        return Text("A specimen or quantity other than the one the rules use; not read as serum.")
    return None


@lru_cache(maxsize=4096)
def _named(concept: Concept, codes: LabCodes) -> Meaning | None:
    """By name, where no code tells; never against a code that says another specimen."""
    if any(codes.is_other_specimen(system, code) for system, code, _ in concept.codings):
        return None
    found = (codes.by_name(name) for name in concept.texts)
    return next((Meaning(analyte) for analyte in found if analyte is not None), None)


_SERUM_LIKE = frozenset(Analyte) - {
    Analyte.URINE_MAGNESIUM, Analyte.URINE_MAGNESIUM_24H, Analyte.URINE_CREATININE, Analyte.RBC_MAGNESIUM,
    Analyte.WEIGHT, Analyte.HEIGHT, Analyte.QTC,
}  # fmt: skip


def _specimen_fits(meaning: Meaning, concept: Concept, resource: Resource, reading: Reading) -> Meaning | Text | None:
    """A serum code beside words or a specimen that say urine or red cells is a contradiction, not a serum result."""
    if meaning.analyte not in _SERUM_LIKE:
        return meaning
    words = list(concept.texts)
    if resource.mentions("specimen"):
        words.append(total.text(total.obj(resource.specimen).get("display")))
        words += [w for s in _specimens(resource, reading) for w in total.concept_texts(s.type)]
    if any(names_other_specimen(word) for word in words if word):
        return Text("Code and specimen contradict each other; not read as serum.")
    return meaning


def _specimens(resource: Resource, reading: Reading) -> list[Resource]:
    reference = total.reference(resource.specimen)
    if not reference:
        return []
    if reference.startswith("#"):
        return [inner for inner in contained(resource) if inner.id == reference[1:]]
    found = reading.find(reference)
    return [found] if found else []


def _read_one(part: Resource, whole: Resource, meaning: Meaning, reading: Reading) -> Iterator[LabResult | DataIssue]:
    """One value of an Observation; `part` is the Observation or one of its components."""
    name, analyte = reading.name(whole), meaning.analyte
    taken, begun, notes = _time(whole, reading)
    value = _value(part, analyte)
    usable = value.number is not None and value.unit is not None
    reported = Quantity(value.number, value.unit) if value.number is not None and value.unit is not None else None
    canonical = convert(reported.value, reported.unit, analyte) if reported else None
    limits = _range(part, value.unit if usable else None, analyte, taken, reading)
    status = total.text(whole.status) or "unknown"
    problem = _problem(status, taken, value, reading) or _implausible(value, canonical, limits, analyte, reading)
    result = LabResult(
        reference=name,
        analyte=analyte,
        reported=reported,
        value=canonical,
        taken=taken,
        comparator=value.comparator,
        range=limits,
        flag=_flag(part.interpretation) or (_flag(whole.interpretation) if part is not whole else ""),
        status=status,
        issued=_issued(whole, reading),
        haemolysed=_haemolysed(part, whole, reading),
        specimen=_collection(whole),
        collected_from=begun,
        problem=problem,
        raw=value.raw,
    )
    yield result
    yield from (DataIssue(name, note) for note in (*notes, *_notes(result, meaning)))


def _problem(status: str, taken: When | None, value: _Value, reading: Reading) -> Problem | None:
    """The first reason why a result must not be interpreted, before its number is looked at."""
    if status not in _USABLE and not (status == "unknown" and reading.accept_unknown_status):
        return Problem.PRELIMINARY if status == "preliminary" else Problem.STATUS
    if value.number is None:
        return Problem.NO_VALUE
    if taken is None:
        return Problem.NO_TIME
    return Problem.FUTURE if taken.start > reading.as_of else value.problem


def _implausible(
    value: _Value, canonical: Decimal | None, limits: ReferenceRange | None, analyte: Analyte, reading: Reading
) -> Problem | None:
    """Outside what is possible, or beside a reference range that cannot be one in this unit."""
    if canonical is None:
        return Problem.NO_VALUE
    low, high = _plausible(analyte, reading.knowledge)
    if not low <= canonical <= high and not (value.comparator and canonical > 0):
        return Problem.IMPLAUSIBLE
    if analyte is Analyte.SERUM_MAGNESIUM and value.unit == "mmol/L" and limits is not None and limits.unit == "mmol/L":
        if limits.low is not None and limits.low >= reading.knowledge.value("mg-range-impossible"):
            return Problem.IMPOSSIBLE_RANGE
    return None


def _plausible(analyte: Analyte, knowledge: Knowledge) -> tuple[Decimal, Decimal]:
    parameter = _PLAUSIBLE.get(analyte)
    if parameter is None:
        return Decimal(0), Decimal("Infinity")
    return next(iter(knowledge.parameters[parameter].interval.values()))


_PROBLEM_TEXT = {
    Problem.NO_UNIT: Text("No unit: the value is not interpreted."),
    Problem.UNKNOWN_UNIT: Text("The unit is unknown for this analyte, or unit and code disagree: not interpreted."),
    Problem.NO_VALUE: Text("No numeric value."),
    Problem.IMPLAUSIBLE: Text("Outside what is possible: not used."),
    Problem.IMPOSSIBLE_RANGE: Text("The reference range is impossible for the unit: not used."),
    Problem.STATUS: Text("Its status does not allow use."),
    Problem.PRELIMINARY: Text("Preliminary: shown, not graded."),
    Problem.NO_TIME: Text("No time of collection: never current."),
    Problem.FUTURE: Text("After the moment of evaluation: ignored."),
}


def _notes(result: LabResult, meaning: Meaning) -> Iterator[Text]:
    if result.problem is not None:
        yield _PROBLEM_TEXT[result.problem]
        return
    if result.status == "unknown":
        yield Text("Status not stated by the source; used like a final result.")
    molar = result.reported is not None and result.reported.unit in _MOLAR_UNITS
    if meaning.property and molar != (meaning.property == "molar"):
        yield Text("The code says mass and the unit amount of substance, or the reverse; the unit was used.")


# ---- value --------------------------------------------------------------------------------------------------------


def _value(part: Resource, analyte: Analyte) -> _Value:
    if isinstance(part.valueQuantity, dict):
        return _from_quantity(part.valueQuantity, analyte)
    if part.valueInteger is not None:
        number = total.number(part.valueInteger)
        return _Value(number, None, "", str(number), Problem.NO_UNIT)
    return _from_text(total.text(part.valueString), analyte)


def _from_quantity(quantity: dict[str, Any], analyte: Analyte) -> _Value:
    number = total.number(quantity.get("value"))
    comparator = total.text(quantity.get("comparator"))
    raw = f"{comparator}{number}" if number is not None else ""
    unit, problem = quantity_unit(quantity)
    if unit is not None and not fits(unit, analyte):
        unit, problem = None, Problem.UNKNOWN_UNIT
    if comparator and comparator not in _COMPARATORS:
        problem = Problem.UNKNOWN_UNIT
    return _Value(number, unit, comparator, raw, problem)


def quantity_unit(quantity: dict[str, Any]) -> tuple[str | None, Problem | None]:
    """The UCUM code of a Quantity: code and unit must not contradict each other; nothing is guessed."""
    return _unit(total.text(quantity.get("code")), total.text(quantity.get("unit")))


@lru_cache(maxsize=2048)
def _unit(code: str, unit: str) -> tuple[str | None, Problem | None]:
    known = {found for spelling in (code, unit) if spelling and (found := unit_code(spelling))}
    if len(known) == 1:
        return known.pop(), None
    return None, Problem.UNKNOWN_UNIT if known or code or unit else Problem.NO_UNIT


def _from_text(value: str, analyte: Analyte) -> _Value:
    """A text that is wholly comparator? number unit, such as "< 0,2 ммоль/л"; anything else has no value."""
    found = _VALUE_TEXT.fullmatch(value)
    if found is None:
        return _Value(None, None, "", "", Problem.NO_VALUE)
    sign, digits, spelling = found.groups()
    comparator = {"≤": "<=", "≥": ">="}.get(sign, sign or "")
    unit = unit_code(spelling) if spelling else None
    problem = None if unit and fits(unit, analyte) else (Problem.UNKNOWN_UNIT if spelling else Problem.NO_UNIT)
    number = total.number(digits)
    return _Value(number, None if problem else unit, comparator, f"{comparator}{digits}", problem)


# ---- time ---------------------------------------------------------------------------------------------------------


def _time(resource: Resource, reading: Reading) -> tuple[When | None, datetime | None, list[Text]]:
    """When the sample was taken, when a timed collection began, and notes."""
    begun = None
    source = resource.effectiveDateTime
    taken = total.when(source, reading.zone)
    if taken is None and resource.effectivePeriod is not None:
        start, end = total.period(resource.effectivePeriod, reading.zone)
        taken, begun = end or start, start.start if start else None
        source = total.obj(resource.effectivePeriod).get("end")
    if taken is None:
        source = resource.effectiveInstant
        taken = total.when(source, reading.zone)
    notes = []
    if taken is None and (issued := total.when(resource.issued, reading.zone)):
        taken, source = issued, resource.issued
        notes.append(Text("No time of collection; the time of issue was used."))
    if taken is not None and not total.has_zone(source):
        notes.append(Text("Time without a zone; read in the site's zone."))
    return taken, begun, notes


def _issued(resource: Resource, reading: Reading) -> datetime | None:
    issued = total.when(resource.issued, reading.zone)
    return issued.end if issued else None


def _collection(resource: Resource) -> str:
    reference = total.reference(resource.specimen)
    return "" if not reference or reference.startswith("#") else total.local_reference(reference)


# ---- reference range, flag, haemolysis -----------------------------------------------------------------------------


def _range(
    part: Resource, unit: str | None, analyte: Analyte, taken: When | None, reading: Reading
) -> ReferenceRange | None:
    """The laboratory's normal range that applies to this patient: by type, sex and age; None if none does."""
    ranges = [r for r in total.items(part.referenceRange) if isinstance(r, dict) and _applies(r, taken, reading)]
    specific = [r for r in ranges if r.get("appliesTo") or r.get("age")]
    for candidate in specific or ranges:
        if found := _limits(candidate, unit, analyte):
            return found
    return None


def _applies(given: dict[str, Any], taken: When | None, reading: Reading) -> bool:
    if given.get("type"):
        kinds = {coding.code.lower() for coding in total.codings(given.get("type"))}
        if kinds and not kinds & _NORMAL_RANGE:
            return False
    return _sex_fits(given, reading.sex) and _age_fits(given, taken, reading)


_SEXES = {"female": {"female", "f", "248152002", "w", "weiblich"}, "male": {"male", "m", "248153007", "männlich"}}


def _sex_fits(given: dict[str, Any], sex: str) -> bool:
    if not given.get("appliesTo"):
        return True
    words = {
        word.lower()
        for concept in total.items(given.get("appliesTo"))
        for word in [*(c.code for c in total.codings(concept)), *total.concept_texts(concept)]
    }
    for known, spellings in _SEXES.items():
        if words & spellings and sex != known:
            return False
    return True


def _age_fits(given: dict[str, Any], taken: When | None, reading: Reading) -> bool:
    age = total.obj(given.get("age"))
    if not age:
        return True
    if reading.birth is None or taken is None:
        return False
    days = Decimal((taken.end - reading.birth.start).days)
    low, high = _age_days(age.get("low")), _age_days(age.get("high"))
    return (low is None or days >= low) and (high is None or days <= high)


def _age_days(value: Any) -> Decimal | None:
    quantity = total.obj(value)
    number = total.number(quantity.get("value"))
    unit = (total.text(quantity.get("code")) or total.text(quantity.get("unit"))).lower()
    per = {"a": "365.25", "y": "365.25", "year": "365.25", "years": "365.25", "mo": "30.44", "month": "30.44",
           "months": "30.44", "wk": "7", "d": "1", "day": "1", "days": "1"}.get(unit)  # fmt: skip
    return None if number is None or per is None else number * Decimal(per)


def _limits(given: dict[str, Any], own: str | None, analyte: Analyte) -> ReferenceRange | None:
    """One reference range; limits without a unit have that of the result (`own`)."""
    low, high = total.obj(given.get("low")), total.obj(given.get("high"))
    numbers = total.number(low.get("value")), total.number(high.get("value"))
    if numbers == (None, None):
        return _limits_from_text(total.text(given.get("text")), own, analyte)
    units = {_side_unit(side, own) for side in (low, high) if side}
    return _sane(numbers[0], numbers[1], units.pop() if len(units) == 1 else None, analyte)


def _side_unit(side: dict[str, Any], own: str | None) -> str | None:
    unit, problem = quantity_unit(side)
    return own if problem is Problem.NO_UNIT else unit


def _limits_from_text(value: str, own: str | None, analyte: Analyte) -> ReferenceRange | None:
    found = _RANGE_TEXT.fullmatch(value) if value else None
    if found is None:
        return None
    return _sane(total.number(found[1]), total.number(found[2]), unit_code(found[3]) if found[3] else own, analyte)


def _sane(low: Decimal | None, high: Decimal | None, unit: str | None, analyte: Analyte) -> ReferenceRange | None:
    if unit is None or not fits(unit, analyte) or (low is not None and high is not None and low >= high):
        return None
    return ReferenceRange(low, high, unit)


def _flag(interpretation: Any) -> str:
    for concept in total.items(interpretation):
        for coding in total.codings(concept):
            if flag := _FLAGS.get(coding.code.upper()):
                return flag
        if flag := _FLAGS.get(total.text(total.obj(concept).get("text")).upper()):
            return flag
    return ""


def _haemolysed(part: Resource, whole: Resource, reading: Reading) -> bool:
    """Haemolysis said by the specimen, a note, a comment, an interpretation or a component."""
    concepts = total.items(part.interpretation) + (total.items(whole.interpretation) if part is not whole else [])
    words = [total.text(total.obj(note).get("text")) for note in total.items(whole.note)]
    words += [total.text(whole.comment), total.text(whole.valueString)]
    for specimen in _specimens(whole, reading):
        concepts += total.items(specimen.condition)
        words += [total.text(total.obj(note).get("text")) for note in total.items(specimen.note)]
    for concept in concepts:
        if any(coding.code.upper() == "HEM" for coding in total.codings(concept)):
            return True
        words += total.concept_texts(concept)
    return any(says_haemolysed(word) for word in words if word)


def says_haemolysed(words: str) -> bool:
    """True if a text states haemolysis and does not deny it."""
    return bool(_HAEMOLYSED.search(words)) and not _NOT_HAEMOLYSED.search(words)
