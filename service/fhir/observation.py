"""Observation -> LabResult, every doubt named. The unit wins over the code; nothing is inferred from a magnitude."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from msgspec import Raw

from service.fhir import primitives
from service.fhir.context import ReadContext, name
from service.fhir.decode import NO_CONCEPT, Concept, cached_by_bytes, concept, concepts, decode_member, is_present
from service.fhir.haemolysis import concept_says_haemolysed, index_says_haemolysed, is_index, says_haemolysed
from service.fhir.quantity import spelled_unit, unit_of
from service.fhir.reference_range import read_reference_range
from service.fhir.resources import Measured, Observation, Period, Quantity, Specimen
from service.logic import model
from service.logic.knowledge import Knowledge
from service.logic.message import Message
from service.logic.model import Analyte, DataIssue, LabResult, PartialDateTime, Problem
from service.logic.units import convert, fits
from service.terminology.analytes import LabCodes, Meaning, names_other_specimen, names_serum
from service.terminology.number_words import NUMBER, ascii_digits, read_number
from service.terminology.specimens import SpecimenKind, specimen_kind

_USABLE = {"final", "amended", "corrected", "appended"}
_MOLAR_UNITS = {"mmol/L", "umol/L", "meq/L", "mmol/(24.h)", "meq/(24.h)", "pmol/L"}
_COMPARATORS = {"": "", "=": "", "<": "<", "<=": "<=", "≤": "<=", ">": ">", ">=": ">=", "≥": ">="}
_VALUE_TEXT = re.compile(rf"([<>]=?|[≤≥=])?\s*({NUMBER})\s*([^\d\s<>=].{{0,40}})?")
_FLAGS = {
    "L": "L", "LL": "L", "LU": "L", "<": "L", "H": "H", "HH": "H", "HU": "H", ">": "H", "N": "N",
    "281300000": "L", "281302008": "H", "166717003": "N", "17621005": "N", "281301001": "N",
}  # fmt: skip
_SERUM_LIKE = frozenset(Analyte) - {
    Analyte.URINE_MAGNESIUM, Analyte.URINE_MAGNESIUM_24H, Analyte.URINE_CREATININE, Analyte.RBC_MAGNESIUM,
    Analyte.WEIGHT, Analyte.HEIGHT, Analyte.QTC,
}  # fmt: skip
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
    Analyte.WEIGHT: "weight-plausible",
    Analyte.HEIGHT: "height-plausible",
}
_CONTRADICTION = Message("Code and specimen contradict each other; not read as serum.")
_OTHER_ANALYTE = Message("Code and name contradict each other: the code is another test; not used.")
_UNLISTED = Message("The LOINC code is not known here, and neither name nor specimen says serum or plasma; not used.")
_OTHER_PANEL = Message("Part of a panel of another specimen; not read as serum.")
_OTHER_SPECIMEN = Message("A specimen or quantity other than the one the rules use; not read as serum.")


class _Value(NamedTuple):
    """A value as sent: number, unit code (None if missing or unknown), and what is wrong with it."""

    number: Decimal | None
    unit: str | None = None
    comparator: str = ""
    raw: str = ""
    problem: Problem | None = None
    why: Message | None = None  # in words, where the problem alone says too little


class _Sample(NamedTuple):
    """What an Observation says once for all its values."""

    reference: str
    status: str
    taken: PartialDateTime | None
    begun: datetime | None  # of a timed collection
    issued: datetime | None
    specimen: str
    haemolysed: bool
    interpretation: Raw  # of the whole: that of a value without one of its own
    notes: list[Message]
    untimed: Message | None  # why there is no time, in words


# ---- which analyte --------------------------------------------------------------------------------------------------


@cached_by_bytes
def meaning_of(code: bytes, codes: LabCodes) -> Meaning | Message | None:
    """What a code measures, by code or else by name; why a related one is not used; None if the logic has no use."""
    found = concept(code)
    meaning = _coded(found.codings, codes)
    if meaning is None and any(codes.is_other_specimen(system, code) for system, code, _ in found.codings):
        return _OTHER_SPECIMEN
    meaning = meaning or _named(found, codes)
    if meaning is None:
        return None
    if any(codes.is_other_analyte(system, code) for system, code, _ in found.codings):
        return _OTHER_ANALYTE
    if meaning.analyte in _SERUM_LIKE and any(names_other_specimen(word) for word in found.texts):
        return _CONTRADICTION
    return meaning


def _named(found: Concept, codes: LabCodes) -> Meaning | None:
    """By its name; beside a LOINC code that is not in the table, the name has to be confirmed by the specimen."""
    named = next((named for word in found.texts if (named := codes.by_name(word))), None)
    if named is None:
        return None
    loinc = any(codes.is_loinc(system) for system, _, _ in found.codings)
    return Meaning(named, unlisted=loinc and named in _SERUM_LIKE and not any(map(names_serum, found.texts)))


def _coded(codings: Iterable[tuple[str, str, str]], codes: LabCodes) -> Meaning | None:
    return next((meaning for system, code, _ in codings if (meaning := codes.by_code(system, code))), None)


def is_panel(resource: Observation) -> bool:
    """True if it only holds other results together and has no value of its own."""
    if not (is_present(resource.component) or is_present(resource.hasMember)):
        return False
    single = (resource.valueQuantity, resource.valueCodeableConcept, resource.valueRange, resource.valueRatio)
    return not (resource.valueString or resource.valueInteger is not None or any(is_present(raw) for raw in single))


def read_observation(resource: Observation, context: ReadContext) -> Iterator[LabResult | DataIssue]:
    """The results of one Observation (its components included), and what could not be used."""
    parts = decode_member(resource.component, list[Measured]) or []
    values = parts if is_panel(resource) else [resource, *parts]
    wanted = [(value, meaning) for value in values if (meaning := meaning_of(value.code, context.codes))]
    if not wanted:
        return
    specimen = _specimen(resource, context)
    sample = _sample(resource, parts, specimen, context)
    kind = _specimen_kind(resource, specimen)
    for value, meaning in wanted:
        if isinstance(meaning, Message):
            yield DataIssue(sample.reference, meaning)
        elif meaning.analyte in _SERUM_LIKE and _contradicts(kind, value):
            yield DataIssue(sample.reference, _CONTRADICTION)
        elif meaning.analyte in _SERUM_LIKE and _of_other_panel(resource, value, context):
            yield DataIssue(sample.reference, _OTHER_PANEL)
        elif meaning.unlisted and kind is not SpecimenKind.BLOOD:
            yield DataIssue(sample.reference, _UNLISTED)
        else:
            result, doubts = _read(value, meaning.analyte, sample, context)
            yield result
            yield from [DataIssue(sample.reference, note) for note in _notes(result, doubts, meaning, sample)]


def _contradicts(kind: SpecimenKind, value: Measured) -> bool:
    """True for another specimen, and for one that is not understood ("SE:RUM") unless the name itself says serum."""
    said = concept(value.code).texts if kind is SpecimenKind.UNCLEAR else ()
    return kind is SpecimenKind.OTHER or (kind is SpecimenKind.UNCLEAR and not any(map(names_serum, said)))


def _of_other_panel(resource: Observation, value: Measured, context: ReadContext) -> bool:
    """True if a panel that holds this value is of another specimen; a code of its own says more than the panel's name."""
    told = context.panels.get(name(resource), context.panels.get(resource.full_url))
    if told is None and value is not resource and any(map(names_other_specimen, concept(resource.code).texts)):
        told = False
    return told is True or (told is False and _coded(concept(value.code).codings, context.codes) is None)


def _specimen(resource: Observation, context: ReadContext) -> Specimen | None:
    found = context.find(resource.specimen, resource.contained) if resource.specimen else None
    return found if isinstance(found, Specimen) else None


def _specimen_kind(resource: Observation, specimen: Specimen | None) -> SpecimenKind:
    if specimen is None and resource.specimen is None:
        return SpecimenKind.UNSTATED
    kind = concept(specimen.type) if specimen else NO_CONCEPT
    display = primitives.text(resource.specimen.display) if resource.specimen else ""
    return specimen_kind(((system, code) for system, code, _ in kind.codings), (display, *kind.texts))


def _read(part: Measured, analyte: Analyte, sample: _Sample, context: ReadContext) -> tuple[LabResult, list[Message]]:
    """One value of an Observation, and what is wrong with it; `part` is the Observation or a component."""
    value = _value(part, analyte)
    reported = model.Quantity(value.number, value.unit) if value.number is not None and value.unit else None
    canonical = convert(reported.value, reported.unit, analyte) if reported else None
    unit = reported.unit if reported else None
    limits, no_limits = (
        read_reference_range(part.referenceRange, unit, analyte, sample.taken, context)
        if part.referenceRange
        else (None, None)
    )
    said = part.interpretation or sample.interpretation
    result = LabResult(
        reference=sample.reference,
        analyte=analyte,
        reported=reported,
        value=canonical,
        taken=sample.taken,
        comparator=value.comparator,
        range=limits,
        flag=_flag(said) if said else "",
        status=sample.status,
        issued=sample.issued,
        haemolysed=sample.haemolysed or bool(said and concept_says_haemolysed(said)),
        specimen=sample.specimen,
        collected_from=sample.begun,
        problem=_problem(value, sample, context) or _implausible(value, canonical, limits, analyte, context),
        raw=value.raw,
    )
    if result.problem is not None:
        return result, [_why(result.problem, value, sample)]
    return result, [no_limits] if no_limits else []


def _why(problem: Problem, value: _Value, sample: _Sample) -> Message:
    if problem is Problem.NO_VALUE and value.why:
        return value.why
    return sample.untimed if problem is Problem.NO_TIME and sample.untimed else _PROBLEM_TEXT[problem]


def _problem(value: _Value, sample: _Sample, context: ReadContext) -> Problem | None:
    """The first reason why a result must not be interpreted, before its number is looked at."""
    if sample.status not in _USABLE and not (sample.status == "unknown" and context.accept_unknown_status):
        return Problem.PRELIMINARY if sample.status == "preliminary" else Problem.STATUS
    if value.number is None:
        return Problem.NO_VALUE
    if sample.taken is None or sample.untimed:
        return Problem.NO_TIME
    return Problem.FUTURE if context.is_ahead(sample.taken.start) else value.problem


def _implausible(
    value: _Value,
    canonical: Decimal | None,
    limits: model.ReferenceRange | None,
    analyte: Analyte,
    context: ReadContext,
) -> Problem | None:
    """Outside what is possible, or beside a reference range that cannot be one in this unit."""
    if canonical is None:
        return Problem.NO_VALUE
    low, high = _plausible(analyte, context.knowledge)
    if not low <= canonical <= high and not (value.comparator and canonical > 0):
        return Problem.IMPLAUSIBLE
    if analyte is not Analyte.SERUM_MAGNESIUM or limits is None or limits.low is None:
        return None
    molar = value.unit == "mmol/L" and limits.unit == "mmol/L"
    impossible = molar and limits.low >= context.knowledge.value("mg-range-impossible")
    return Problem.IMPOSSIBLE_RANGE if impossible else None


def _plausible(analyte: Analyte, knowledge: Knowledge) -> tuple[Decimal, Decimal]:
    parameter = _PLAUSIBLE.get(analyte)
    if parameter is None:
        return Decimal(0), Decimal("Infinity")
    return next(iter(knowledge.parameters[parameter].interval.values()))


_PROBLEM_TEXT = {
    Problem.NO_UNIT: Message("No unit: the value is not interpreted."),
    Problem.UNKNOWN_UNIT: Message("The unit is unknown for this analyte, or unit and code disagree: not interpreted."),
    Problem.NO_VALUE: Message("No numeric value."),
    Problem.IMPLAUSIBLE: Message("Outside what is possible: not used."),
    Problem.IMPOSSIBLE_RANGE: Message("The reference range is impossible for the unit: not used."),
    Problem.STATUS: Message("Its status does not allow use."),
    Problem.PRELIMINARY: Message("Preliminary: shown, not graded."),
    Problem.NO_TIME: Message("No time of collection: never current."),
    Problem.FUTURE: Message("After the moment of evaluation: ignored."),
}


def _notes(result: LabResult, doubts: list[Message], meaning: Meaning, sample: _Sample) -> Iterator[Message]:
    yield from sample.notes
    yield from doubts
    if result.problem is not None:
        return
    if result.status == "unknown":
        yield Message("Status not stated by the source; used like a final result.")
    molar = result.reported is not None and result.reported.unit in _MOLAR_UNITS
    if meaning.property and molar != (meaning.property == "molar"):
        yield Message("The code says mass and the unit amount of substance, or the reverse; the unit was used.")


# ---- value ----------------------------------------------------------------------------------------------------------


def _value(part: Measured, analyte: Analyte) -> _Value:
    if part.dataAbsentReason and (reason := _reason(part.dataAbsentReason)):
        return _no_value(Message("The source gives no value ({reason}).", reason=reason))
    if quantity := decode_member(part.valueQuantity, Quantity):
        return _from_quantity(quantity, analyte)
    if (number := primitives.number(part.valueInteger)) is not None:
        return _Value(number, raw=str(number), problem=Problem.NO_UNIT)
    if part.valueString:
        return _from_text(ascii_digits(primitives.text(part.valueString)), analyte)
    kinds = {"CodeableConcept": part.valueCodeableConcept, "Range": part.valueRange, "Ratio": part.valueRatio}
    kind = next((kind for kind, raw in kinds.items() if is_present(raw)), None)
    return _no_value(Message("The value is a {kind}, which is not read.", kind=kind) if kind else None)


def _no_value(why: Message | None = None, raw: str = "") -> _Value:
    return _Value(None, raw=raw, problem=Problem.NO_VALUE, why=why)


@cached_by_bytes
def _reason(raw: bytes) -> str:
    """Why there is no value; "" if there is one, in words."""
    said = concept(raw)
    word = next((coding.code for coding in said.codings), said.text)
    return "" if word == "as-text" else word[:80]


def _from_quantity(quantity: Quantity, analyte: Analyte) -> _Value:
    number, sign = primitives.number(quantity.value), primitives.text(quantity.comparator)
    comparator = _COMPARATORS.get(sign)
    if comparator is None:
        return _no_value(Message(_SIGN, sign=sign[:10]), raw=f"{sign[:10]}{number}" if number is not None else "")
    unit, problem = unit_of(quantity)
    if unit is not None and not fits(unit, analyte):
        unit, problem = None, Problem.UNKNOWN_UNIT
    return _Value(number, unit, comparator, f"{comparator}{number}" if number is not None else "", problem)


def _from_text(value: str, analyte: Analyte) -> _Value:
    """A text that is wholly comparator? number unit, such as "< 0,2 ммоль/л"; anything else has no value."""
    found = _VALUE_TEXT.fullmatch(value)
    if found is None:
        return _no_value()
    sign, digits, spelling = found.groups()
    comparator = _COMPARATORS[sign or ""]
    number = primitives.bounded(read_number(digits, value))
    if number is None:
        return _no_value(Message(_TWO_WAYS, number=digits[:40]), raw=f"{comparator}{digits[:40]}")
    unit = spelled_unit(spelling) if spelling else None
    problem = None if unit and fits(unit, analyte) else (Problem.UNKNOWN_UNIT if spelling else Problem.NO_UNIT)
    return _Value(number, None if problem else unit, comparator, f"{comparator}{number}", problem)


_SIGN = "The comparator {sign} is not understood: not interpreted."
_TWO_WAYS = "The number {number} can be read in two ways (decimals or thousands): not interpreted."


# ---- the sample: time, haemolysis -----------------------------------------------------------------------------------


def _sample(resource: Observation, parts: list[Measured], specimen: Specimen | None, context: ReadContext) -> _Sample:
    time = _time(resource, context)
    issued = primitives.when(resource.issued, context.zone)
    haemolysed, doubt = _haemolysed(resource, parts, specimen)
    return _Sample(
        reference=name(resource),
        status=primitives.text(resource.status) or "unknown",
        taken=time.taken,
        begun=time.begun,
        issued=issued.end if issued else None,
        specimen=_collection(resource),
        haemolysed=haemolysed,
        interpretation=resource.interpretation,
        notes=[*time.notes, *doubt],
        untimed=time.untimed,
    )


class _Time(NamedTuple):
    """When a sample was taken, when a timed collection began; what is to be said of it, and why it has no time."""

    taken: PartialDateTime | None
    begun: datetime | None = None
    notes: tuple[Message, ...] = ()
    untimed: Message | None = None


def _time(resource: Observation, context: ReadContext) -> _Time:
    """From the first member that states a readable time; a time of issue only stands in for what is not stated."""
    period = resource.effectivePeriod or Period()
    times = (resource.effectiveDateTime, period.end, period.start, resource.effectiveInstant)
    sent = [time for time in times if time]
    source = next((time for time in sent if primitives.when(time, context.zone)), resource.issued or "")
    taken = primitives.when(source, context.zone)
    if taken is None:
        return _Time(None, untimed=_UNREADABLE_TIME if sent or resource.issued else None)
    notes = [] if source in sent else [_UNREADABLE_ISSUED if sent else _ISSUED]
    notes += [] if primitives.has_zone(source) else [_NO_ZONE]
    begun = primitives.when(period.start, context.zone)
    part_of_a_date = taken.end - taken.start > timedelta(days=2)
    return _Time(taken, begun.start if begun else None, tuple(notes), _MONTH if part_of_a_date else None)


_UNREADABLE_TIME = Message("A time was sent that is not readable: never current.")
_MONTH = Message("Only its month or year is stated: never current.")
_UNREADABLE_ISSUED = Message("Its time of collection is not readable; the time of issue was used.")
_ISSUED = Message("No time of collection; the time of issue was used.")
_NO_ZONE = Message("Time without a zone; read in the site's zone.")


def _collection(resource: Observation) -> str:
    reference = primitives.text(resource.specimen.reference) if resource.specimen else ""
    return "" if not reference or reference.startswith("#") else primitives.local_reference(reference)


@cached_by_bytes
def _flag(raw: bytes) -> str:
    """The laboratory's flag: "L", "H", "N" or ""."""
    found = concepts(raw)
    words = [word for said in found for word in (*(coding.code for coding in said.codings), said.text)]
    return next((flag for word in words if (flag := _FLAGS.get(word.upper()))), "")


def _haemolysed(resource: Observation, parts: list[Measured], specimen: Specimen | None) -> tuple[bool, list[Message]]:
    """Haemolysis said by a note, a comment, an interpretation, the specimen or an index among the components."""
    words = [resource.comment, resource.valueString, *(note.text for note in resource.note or ())]
    coded = [resource.interpretation]
    if specimen:
        words += [note.text for note in specimen.note or ()]
        coded.append(specimen.condition)
    told = [says_haemolysed(primitives.text(word)) for word in words if word]
    told += [concept_says_haemolysed(raw) for raw in coded if raw]
    told += [index_says_haemolysed(part) for part in parts if is_index(part.code)]
    return True in told, [_INDEX_NOT_JUDGED] if None in told and True not in told else []


_INDEX_NOT_JUDGED = Message("Haemolysis index without a limit: not judged.")
