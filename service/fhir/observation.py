"""Observation -> LabResult, with every doubt named. The unit wins over the code; nothing is inferred from a magnitude."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from service.fhir import total
from service.fhir.context import Reading
from service.fhir.wire import Resource, as_resource, contained
from service.logic.knowledge import Knowledge
from service.logic.model import Analyte, DataIssue, LabResult, Problem, Quantity, ReferenceRange, When
from service.logic.text import Text
from service.logic.units import code as unit_code
from service.logic.units import convert, fits
from service.terminology.analytes import Meaning, names_other_specimen

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


def read_observation(resource: Resource, reading: Reading) -> Iterator[LabResult | DataIssue]:
    """The results of one Observation (its components included), and what could not be used."""
    meaning = _meaning(resource.code, resource, reading)
    if isinstance(meaning, Meaning):
        yield from _read_one(resource, resource, meaning, reading)
    elif meaning is not None:
        yield DataIssue(reading.name(resource), meaning)
    for component in total.items(resource.component):
        part = as_resource(component)
        inner = _meaning(part.code, resource, reading)
        if isinstance(inner, Meaning):
            yield from _read_one(part, resource, inner, reading)


def _meaning(concept: Any, resource: Resource, reading: Reading) -> Meaning | Text | None:
    """The analyte, or why a related code is not used, or None if the logic has no use for it."""
    codes = reading.codes
    other = False
    for system, code, _ in total.codings(concept):
        if meaning := codes.by_code(system, code):
            return _specimen_fits(meaning, concept, resource, reading)
        other = other or codes.is_other_specimen(system, code)
    if other:
        return Text("A specimen or quantity other than the one the rules use; not read as serum.")
    for name in total.concept_texts(concept):
        if analyte := codes.by_name(name):
            return _specimen_fits(Meaning(analyte), concept, resource, reading)
    return None


_SERUM_LIKE = frozenset(Analyte) - {
    Analyte.URINE_MAGNESIUM, Analyte.URINE_MAGNESIUM_24H, Analyte.URINE_CREATININE, Analyte.RBC_MAGNESIUM,
    Analyte.WEIGHT, Analyte.HEIGHT, Analyte.QTC,
}  # fmt: skip


def _specimen_fits(meaning: Meaning, concept: Any, resource: Resource, reading: Reading) -> Meaning | Text | None:
    """A serum code beside words or a specimen that say urine or red cells is a contradiction, not a serum result."""
    if meaning.analyte not in _SERUM_LIKE:
        return meaning
    words = [*total.concept_texts(concept), total.text(total.obj(resource.specimen).get("display"))]
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
    name = reading.name(whole)
    taken, begun, notes = _time(whole, reading)
    value = _value(part, meaning.analyte)
    status = total.text(whole.status) or "unknown"
    result = LabResult(
        reference=name,
        analyte=meaning.analyte,
        reported=Quantity(value.number, value.unit) if value.number is not None and value.unit else None,
        value=convert(value.number, value.unit, meaning.analyte) if value.number is not None and value.unit else None,
        taken=taken,
        comparator=value.comparator,
        flag=_flag(part.interpretation) or _flag(whole.interpretation),
        status=status,
        issued=_issued(whole, reading),
        haemolysed=_haemolysed(part, whole, reading),
        specimen=_collection(whole),
        collected_from=begun,
        raw=value.raw,
    )
    result = replace(result, range=_range(part, result, reading))
    problem = _problem(result, value, reading)
    result = replace(result, problem=problem)
    yield result
    yield from (DataIssue(name, note) for note in (*notes, *_notes(result, meaning)))


def _problem(result: LabResult, value: _Value, reading: Reading) -> Problem | None:
    """The first reason why the result must not be interpreted."""
    if result.status not in _USABLE and not (result.status == "unknown" and reading.accept_unknown_status):
        return Problem.PRELIMINARY if result.status == "preliminary" else Problem.STATUS
    if value.number is None:
        return Problem.NO_VALUE
    if result.taken is None:
        return Problem.NO_TIME
    if result.taken.start > reading.as_of:
        return Problem.FUTURE
    return value.problem or _implausible(result, reading.knowledge)


def _implausible(result: LabResult, knowledge: Knowledge) -> Problem | None:
    if result.value is None or result.reported is None:
        return Problem.NO_VALUE
    if parameter := _PLAUSIBLE.get(result.analyte):
        low, high = next(iter(knowledge.parameters[parameter].interval.values()))
        if not low <= result.value <= high and not (result.comparator and result.value > 0):
            return Problem.IMPLAUSIBLE
    elif result.value < 0:
        return Problem.IMPLAUSIBLE
    impossible = result.analyte is Analyte.SERUM_MAGNESIUM and result.reported.unit == "mmol/L"
    if impossible and result.range and result.range.unit == "mmol/L" and result.range.low is not None:
        if result.range.low >= knowledge.value("mg-range-impossible"):
            return Problem.IMPOSSIBLE_RANGE
    return None


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
    spellings = [total.text(quantity.get(member)) for member in ("code", "unit")]
    known = {unit for spelling in spellings if spelling and (unit := unit_code(spelling))}
    if len(known) == 1:
        return known.pop(), None
    if len(known) > 1 or any(spellings):
        return None, Problem.UNKNOWN_UNIT
    return None, Problem.NO_UNIT


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


def _range(part: Resource, result: LabResult, reading: Reading) -> ReferenceRange | None:
    """The laboratory's normal range that applies to this patient: by type, sex and age; None if none does."""
    ranges = [r for r in total.items(part.referenceRange) if isinstance(r, dict) and _applies(r, result, reading)]
    specific = [r for r in ranges if r.get("appliesTo") or r.get("age")]
    for candidate in specific or ranges:
        if found := _limits(candidate, result):
            return found
    return None


def _applies(given: dict[str, Any], result: LabResult, reading: Reading) -> bool:
    kinds = {coding.code.lower() for coding in total.codings(given.get("type"))}
    if kinds and not kinds & _NORMAL_RANGE:
        return False
    return _sex_fits(given, reading.sex) and _age_fits(given, result, reading)


_SEXES = {"female": {"female", "f", "248152002", "w", "weiblich"}, "male": {"male", "m", "248153007", "männlich"}}


def _sex_fits(given: dict[str, Any], sex: str) -> bool:
    words = {
        word.lower()
        for concept in total.items(given.get("appliesTo"))
        for word in [*(c.code for c in total.codings(concept)), *total.concept_texts(concept)]
    }
    for known, spellings in _SEXES.items():
        if words & spellings and sex != known:
            return False
    return True


def _age_fits(given: dict[str, Any], result: LabResult, reading: Reading) -> bool:
    age = total.obj(given.get("age"))
    if not age:
        return True
    if reading.birth is None or result.taken is None:
        return False
    days = Decimal((result.taken.end - reading.birth.start).days)
    low, high = _age_days(age.get("low")), _age_days(age.get("high"))
    return (low is None or days >= low) and (high is None or days <= high)


def _age_days(value: Any) -> Decimal | None:
    quantity = total.obj(value)
    number = total.number(quantity.get("value"))
    unit = (total.text(quantity.get("code")) or total.text(quantity.get("unit"))).lower()
    per = {"a": "365.25", "y": "365.25", "year": "365.25", "years": "365.25", "mo": "30.44", "month": "30.44",
           "months": "30.44", "wk": "7", "d": "1", "day": "1", "days": "1"}.get(unit)  # fmt: skip
    return None if number is None or per is None else number * Decimal(per)


def _limits(given: dict[str, Any], result: LabResult) -> ReferenceRange | None:
    low, high = total.obj(given.get("low")), total.obj(given.get("high"))
    numbers = total.number(low.get("value")), total.number(high.get("value"))
    if numbers == (None, None):
        return _limits_from_text(total.text(given.get("text")), result)
    own = result.reported.unit if result.reported else None
    units = {unit for side in (low, high) if side for unit in _side_unit(side, own)}
    unit = units.pop() if len(units) == 1 else None
    return _sane(numbers[0], numbers[1], unit, result)


def _side_unit(side: dict[str, Any], own: str | None) -> list[str | None]:
    """The unit of one limit; a limit without a unit has that of the result."""
    unit, problem = quantity_unit(side)
    return [own] if problem is Problem.NO_UNIT else [unit]


def _limits_from_text(value: str, result: LabResult) -> ReferenceRange | None:
    found = _RANGE_TEXT.fullmatch(value)
    if found is None:
        return None
    own = result.reported.unit if result.reported else None
    unit = unit_code(found[3]) if found[3] else own
    return _sane(total.number(found[1]), total.number(found[2]), unit, result)


def _sane(low: Decimal | None, high: Decimal | None, unit: str | None, result: LabResult) -> ReferenceRange | None:
    if unit is None or not fits(unit, result.analyte) or (low is not None and high is not None and low >= high):
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
    concepts = [*total.items(part.interpretation), *total.items(whole.interpretation)]
    concepts += [c for s in _specimens(whole, reading) for c in total.items(s.condition)]
    if any(coding.code.upper() == "HEM" for concept in concepts for coding in total.codings(concept)):
        return True
    words = [word for concept in concepts for word in total.concept_texts(concept)]
    words += [total.text(total.obj(note).get("text")) for note in total.items(whole.note)]
    words += [total.text(whole.comment), total.text(whole.valueString)]
    words += [total.text(total.obj(n).get("text")) for s in _specimens(whole, reading) for n in total.items(s.note)]
    return any(says_haemolysed(word) for word in words if word)


def says_haemolysed(words: str) -> bool:
    """True if a text states haemolysis and does not deny it."""
    return bool(_HAEMOLYSED.search(words)) and not _NOT_HAEMOLYSED.search(words)
