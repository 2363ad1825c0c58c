"""MedicationStatement, -Request, -Administration, -Dispense -> Medication: which drug, taken or not, since when."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import NamedTuple

from msgspec import Raw

from service.fhir import primitives, resources
from service.fhir.context import ReadContext, name
from service.fhir.decode import Coding, Concept, cached_by_bytes, concept, decode_member
from service.fhir.dosage import SULFATE_MG, Regimen, phases, read_dosage, strength
from service.fhir.dosage_words import ambiguous_number, concentration, strength_in_name
from service.fhir.exposure import Course, minutes_it_lasted, not_over, read_course
from service.fhir.resources import (
    CodeableReference,
    Dosage,
    MedicationAdministration,
    MedicationRequest,
    Prescribed,
    Reference,
    Resource,
)
from service.fhir.route import coded_route, route_in, stated_route
from service.fhir.schedule import dosage_words, kind_of_order
from service.logic.message import Message
from service.logic.model import DataIssue, Exposure, Ingredient, Medication, PartialDateTime, Schedule
from service.terminology.drugs import Drug, DrugVocabulary, local_code
from service.terminology.number_words import ascii_digits

_FLUID_PARTNERS = frozenset({"calcium_parenteral", "potassium_salt", "phosphate_salt"})
_MAGNESIUM = frozenset({"mg_preparation", "mg_containing_antacid"})
_PARENTERAL = frozenset({"magnesium sulfate", "magnesium chloride", "magnesium ascorbate", "magnesium"})
_MAX_DEPTH = 3  # a product, a mixture, a part: references are not followed further


@dataclass(slots=True)
class _Product:
    """What is known of a product: codes and names, and its parts with what is in one unit of it."""

    codings: list[Coding] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    forms: list[Raw] = field(default_factory=list)
    parts: list[tuple[_Product, tuple[Decimal, str] | None]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Recognised:
    """Which drugs a product holds, how that is known, under which name, and the route its name or form tells."""

    product: _Product
    drugs: tuple[Drug, ...]
    by: str
    label: str
    route: str
    ingredients: tuple[Ingredient, ...]  # without amounts
    magnesium: bool


_NONE_TAKEN = frozenset({"no-known-medications", "787481004"})  # IPS, SNOMED CT
_DENIED = Message("Says that it is not taken (none, allergy, contraindicated, stopped), or homeopathic: not counted.")
_NONE = Message("States that no medication is taken.")
_CODE_UNKNOWN = "Medication not recognised: code {code} is not known, and it has no name."
_NAMELESS = Message("A medication without code or name: it is not known what is taken.")
_NAMED_BUT_UNKNOWN = Message("Medication not recognised: not among the drugs that the rules know, or not identifiable.")


class MedicationRead(NamedTuple):
    """What came of one medication resource: the medication, or nothing; what is doubtful; whether it is a gap.

    A gap is a medication that is or may be taken and could not be recognised: "takes no such drug" may not be said.
    """

    medication: Medication | None
    issues: tuple[DataIssue, ...] = ()
    gap: bool = False


def read_medication(resource: Prescribed, context: ReadContext) -> MedicationRead:
    """One medication, or why it could not be used."""
    reference = name(resource)
    if primitives.text(resource.status) == "entered-in-error":
        return MedicationRead(None, (DataIssue(reference, Message("Entered in error: not used.")),))
    known, dosages = _identify(resource, context), _dosages(resource)
    course = read_course(resource, dosages, context)
    if not known.drugs:
        problem, none = _unrecognised(known, context.vocabulary)
        gap = not none and course.exposure is Exposure.ACTIVE
        return MedicationRead(None, (DataIssue(reference, problem),), gap)
    found = _medication(resource, known, course, dosages, context)
    issues = [DataIssue(reference, course.doubt)] if course.doubt and found.exposure is not Exposure.LOCAL else []
    if known.magnesium:
        found = _with_amounts(found, resource, known, dosages, context)
        issues += _ambiguous(found, known)
    return MedicationRead(found, tuple(issues))


def _unrecognised(known: _Recognised, vocabulary: DrugVocabulary) -> tuple[Message, bool]:
    """Why no drug is known, and whether the resource says that there is none."""
    if any(coding.code in _NONE_TAKEN for coding in known.product.codings):
        return _NONE, True
    if any(vocabulary.says_none(word) for word in known.product.names):
        return _DENIED, True
    if known.label:
        return _NAMED_BUT_UNKNOWN, False
    codes = [coding.code for coding in known.product.codings if coding.code]
    return (
        (Message("Medication not recognised: code {code} is not known, and it has no name.", code=codes[0][:40]), False)
        if (codes)
        else (_NAMELESS, False)
    )


def _medication(
    resource: Prescribed, known: _Recognised, course: Course, dosages: list[Dosage], context: ReadContext
) -> Medication:
    route = (stated_route(dosages[0]) if dosages else "") or known.route or _route_of_kind(resource, known)
    schedule, once = _kind_of_order(resource, known, dosages, route)
    return Medication(
        reference=name(resource),
        name=known.label,
        ingredients=known.ingredients,
        recognised_by=known.by,
        exposure=_systemic(course.exposure, route),
        route=route,
        start=course.start,
        end=course.end,
        schedule=schedule,
        once=once,
        ordered_at=_ordered_at(resource, context),
        request=_request_of(resource),
        text="; ".join(filter(None, map(dosage_words, dosages))),
    )


def _systemic(exposure: Exposure, route: str) -> Exposure:
    """What acts where it is applied is no exposure that the rules mean, taken or over."""
    return Exposure.LOCAL if route == "local" and exposure is not Exposure.NOT_TAKEN else exposure


def _with_amounts(
    found: Medication, resource: Prescribed, known: _Recognised, dosages: list[Dosage], context: ReadContext
) -> Medication:
    """Of a magnesium product the amounts matter too: how much in one dose, how often, how fast.

    Of phases that follow each other the greatest amount counts: it is what a limit has to hold.
    """
    taken = phases(not_over(dosages, context)) or [[]]
    read = [[read_dosage(dosage) for dosage in phase] or [Regimen()] for phase in taken]
    amounts = [(*_amounts(known, regimens, context.vocabulary), regimens[0]) for regimens in read]
    ingredients, per_day, first = max(amounts, key=lambda each: _daily(each[0], each[1]))
    return replace(
        found,
        ingredients=ingredients,
        doses_per_day=per_day,
        most_per_day=first.most_per_day,
        duration_min=first.minutes or minutes_it_lasted(resource),
        rate_mg_min=first.rate_mg_min or _flow(known, first, context.vocabulary),
    )


def _daily(ingredients: tuple[Ingredient, ...], per_day: Decimal | None) -> Decimal:
    return sum((item.mg_per_dose or Decimal(0) for item in ingredients), Decimal(0)) * (per_day or 1)


def _ambiguous(found: Medication, known: _Recognised) -> list[DataIssue]:
    """A number that can be read in two ways, where a dose or a rate is missing for it."""
    lacks_dose = all(item.mg_per_dose is None for item in found.ingredients)
    lacks_rate = found.route == "iv" and found.rate_mg_min is None and found.duration_min is None
    if not (lacks_dose or lacks_rate):
        return []
    texts = (found.text, *known.product.names)
    number = next((number for text in texts if (number := ambiguous_number(ascii_digits(text)))), "")
    return [DataIssue(found.reference, Message(_TWO_WAYS, number=number))] if number else []


_TWO_WAYS = "The number {number} can be read in two ways (decimals or thousands): not used."


def _kind_of_order(
    resource: Prescribed, known: _Recognised, dosages: list[Dosage], route: str
) -> tuple[Schedule, bool]:
    """Of several dosages a scale goes first, then what is scheduled; once only if each of them is."""
    if isinstance(resource, MedicationAdministration):
        return Schedule.SCHEDULED, False  # what was given is no longer on any condition
    untimed = _untimed(known, route)
    notes = [primitives.text(note.text) for note in getattr(resource, "note", None) or ()]
    kinds = [
        kind_of_order(dosage, ascii_digits("; ".join((dosage_words(dosage), *notes))), untimed)
        for dosage in phases(dosages or [Dosage()])[0]
    ]
    schedules = {schedule for schedule, _ in kinds}
    order = (Schedule.SCALE, Schedule.SCHEDULED, Schedule.AS_NEEDED, Schedule.UNSTATED)
    return next(schedule for schedule in order if schedule in schedules), all(once for _, once in kinds)


def _untimed(known: _Recognised, route: str) -> Schedule:
    """What an order without any time is: by mouth a regular one, magnesium into a vein given by its level."""
    salts = {drug.name for drug in known.drugs if drug.drug_class in _MAGNESIUM}
    if route == "oral" or (not route and salts and salts.isdisjoint(_PARENTERAL)):
        return Schedule.SCHEDULED
    into_vein = salts and (route == "iv" or (not route and "magnesium sulfate" in salts))
    return Schedule.SCALE if into_vein else Schedule.UNSTATED


def _ordered_at(resource: Prescribed, context: ReadContext) -> PartialDateTime | None:
    return primitives.when(resource.authoredOn, context.zone) if isinstance(resource, MedicationRequest) else None


def _request_of(resource: Prescribed) -> str:
    """The request that an administration fulfils, or ""."""
    if not isinstance(resource, MedicationAdministration):
        return ""
    named = resource.request or resource.prescription
    return primitives.local_reference(primitives.text(named.reference)) if named else ""


def _dosages(resource: Prescribed) -> list[Dosage]:
    listed: list[Dosage] | Dosage | None = getattr(resource, "dosageInstruction", None) or resource.dosage
    return listed if isinstance(listed, list) else [listed] if listed else []


# ---- which drug -----------------------------------------------------------------------------------------------------


def _identify(resource: Prescribed, context: ReadContext) -> _Recognised:
    """A product given by its concept alone is remembered; one by reference is followed."""
    if resource.medicationReference is None and resource.medicationCodeableConcept and not resource.medication:
        return _by_concept(resource.medicationCodeableConcept, context.vocabulary)
    return _recognise(_product_of(resource, context), context.vocabulary)


@cached_by_bytes
def _by_concept(raw: bytes, vocabulary: DrugVocabulary) -> _Recognised:
    product = _Product()
    _add_concept(product, concept(raw))
    return _recognise(product, vocabulary)


def _product_of(resource: Prescribed, context: ReadContext) -> _Product:
    product = _Product()
    newer = decode_member(resource.medication, CodeableReference) or CodeableReference()  # R5
    for raw in (resource.medicationCodeableConcept, newer.concept, resource.medication):
        _add_concept(product, concept(raw))
    for reference in (resource.medicationReference, newer.reference):
        _add_reference(product, reference, resource.contained, context, _MAX_DEPTH)
    return product


def _add_concept(product: _Product, added: Concept) -> None:
    product.codings += added.codings
    product.names += [word for word in added.texts if word not in product.names]
    product.names += [coding.code for coding in added.codings if _code_is_name(coding)]


def _code_is_name(coding: Coding) -> bool:
    """Some local systems use the drug's name as its code."""
    return "name" in coding.system.lower() and bool(re.search(r"[^\W\d_]{4}", coding.code))


def _add_reference(
    product: _Product, reference: Reference | None, inside: Raw, context: ReadContext, depth: int
) -> None:
    found = context.find(reference, inside)
    if isinstance(found, resources.Medication):
        _add_product(product, found, inside, context, depth)
    display = primitives.text(reference.display) if reference else ""
    if display and display not in product.names:
        product.names.append(display)


def _add_product(product: _Product, found: resources.Medication, inside: Raw, context: ReadContext, depth: int) -> None:
    _add_concept(product, concept(found.code))
    product.forms += [form for form in (found.form, found.doseForm) if form]
    for identifier in found.identifier or ():
        if identifier.value and "name" in primitives.text(identifier.system).lower():
            product.names.append(primitives.text(identifier.value))
    for part in (found.ingredient or ()) if depth > 0 else ():
        _add_ingredient(product, part, found.contained or inside, context, depth - 1)


def _add_ingredient(
    product: _Product, part: resources.Ingredient, inside: Raw, context: ReadContext, depth: int
) -> None:
    inner = _Product()
    newer = part.item or CodeableReference()  # R5
    for raw in (part.itemCodeableConcept, newer.concept):
        _add_concept(inner, concept(raw))
    for reference in (part.itemReference, newer.reference):
        _add_reference(inner, reference, inside, context, depth)
    stated = part.strength or part.strengthRatio or part.strengthQuantity or part.amount
    product.parts.append((inner, strength(stated)))


def _recognise(product: _Product, vocabulary: DrugVocabulary) -> _Recognised:
    """The drugs of a product: by its codes and those of its parts, else by name; combinations give every component."""
    by_code = _by_codes(product, vocabulary)
    parts = [drug for part, _ in product.parts for drug in _part_drugs(part, vocabulary)]
    if by_code:
        found, by = [*by_code, *parts], "code"
    elif parts:
        found, by = parts, "ingredient"
    else:
        found, by = [drug for word in product.names for drug in vocabulary.by_name(word)], "name"
    drugs = tuple(dict.fromkeys(found))
    return _Recognised(
        product=product,
        drugs=drugs,
        by=by,
        label=_label(product) or (drugs[0].name if drugs else ""),
        route=_told_route(product, vocabulary),
        ingredients=tuple(Ingredient(drug.name, drug.drug_class) for drug in drugs),
        magnesium=any(drug.drug_class in _MAGNESIUM for drug in drugs),
    )


def _by_codes(product: _Product, vocabulary: DrugVocabulary) -> list[Drug]:
    return [drug for system, code, _ in product.codings for drug in vocabulary.by_code(system, code)]


def _part_drugs(part: _Product, vocabulary: DrugVocabulary) -> list[Drug]:
    nested = [drug for inner, _ in part.parts for drug in _part_drugs(inner, vocabulary)]
    return _by_codes(part, vocabulary) or nested or [d for word in part.names for d in vocabulary.by_name(word)]


def _label(product: _Product) -> str:
    """The name under which a clinician knows the product: what the chart wrote."""
    listed = [*product.names, *(word for part, _ in product.parts for word in part.names)]
    return next((" ".join(word.split())[:120] for word in listed if word), "")


def _told_route(product: _Product, vocabulary: DrugVocabulary) -> str:
    """The route that form or name tells; eye drops, creams and the like are "local"."""
    local = any(local_code(system, code) for system, code, _ in product.codings)
    if local or any(vocabulary.local_name(word) for word in product.names):
        return "local"
    told = (*(coded_route(form) for form in product.forms), *(route_in(word) for word in product.names))
    return next((route for route in told if route), "")


def _route_of_kind(resource: Resource, known: _Recognised) -> str:
    """Magnesium sulfate that was administered without a stated route went into a vein."""
    given = isinstance(resource, MedicationAdministration)
    return "iv" if given and known.drugs[0].name == "magnesium sulfate" else ""


# ---- amounts --------------------------------------------------------------------------------------------------------


def _amounts(
    known: _Recognised, regimens: list[Regimen], vocabulary: DrugVocabulary
) -> tuple[tuple[Ingredient, ...], Decimal | None]:
    """The ingredients with their milligrams in one dose, and doses per day.

    Several dosages by mouth at the same time are one daily amount, in doses of the mean size.
    """
    first = regimens[0]
    if len(regimens) == 1 or first.route == "iv":
        return tuple(_with_amount(drug, known, first, vocabulary) for drug in known.drugs), first.per_day
    times = [regimen.per_day for regimen in regimens if regimen.per_day]
    if len(times) < len(regimens):
        return known.ingredients, None
    per_day = sum(times, Decimal(0))
    each = [[_with_amount(drug, known, regimen, vocabulary) for regimen in regimens] for drug in known.drugs]
    return tuple(_mean(doses, times, per_day) for doses in each), per_day


def _mean(doses: list[Ingredient], times: list[Decimal], per_day: Decimal) -> Ingredient:
    amounts = [
        dose.mg_per_dose * often for dose, often in zip(doses, times, strict=True) if dose.mg_per_dose is not None
    ]
    return replace(doses[0], mg_per_dose=sum(amounts, Decimal(0)) / per_day if len(amounts) == len(doses) else None)


def _with_amount(drug: Drug, known: _Recognised, regimen: Regimen, vocabulary: DrugVocabulary) -> Ingredient:
    """An ingredient with its milligrams in one dose, where dose and strength tell."""
    magnesium = [other for other in known.drugs if other.drug_class in _MAGNESIUM]
    fluid = len(_FLUID_PARTNERS & {other.drug_class for other in known.drugs}) >= 2
    if drug not in magnesium or fluid:
        return Ingredient(drug.name, drug.drug_class)
    mg = _part_amount(drug, known.product, regimen, vocabulary)
    if mg is None and len(magnesium) == 1:
        mg = _whole_amount(drug, known, regimen)
    return Ingredient(drug.name, drug.drug_class, mg)


def _part_amount(drug: Drug, product: _Product, regimen: Regimen, vocabulary: DrugVocabulary) -> Decimal | None:
    stated = _part_strength(drug, product, vocabulary)
    if stated is None or regimen.amount is None:
        return None
    mg, unit = stated
    return mg * regimen.amount if regimen.unit == (unit or "tablet") else None


def _part_strength(drug: Drug, product: _Product, vocabulary: DrugVocabulary) -> tuple[Decimal, str] | None:
    return next(
        (stated for part, stated in product.parts if stated and drug in _part_drugs(part, vocabulary)),
        None,
    )


def _whole_amount(drug: Drug, known: _Recognised, regimen: Regimen) -> Decimal | None:
    """A dose given as mass is the magnesium compound's; one in tablets or mL takes the strength from the name."""
    if regimen.milligrams is not None or regimen.amount is None:
        return regimen.milligrams
    if regimen.unit in SULFATE_MG and drug.name == "magnesium sulfate":
        return regimen.amount * SULFATE_MG[regimen.unit]
    if regimen.unit == "mL" and (mg := _dissolved(known, regimen)) is not None:
        return regimen.amount * mg
    return _tablet_mg(known.product, regimen.amount) if regimen.unit == "tablet" else None


def _tablet_mg(product: _Product, amount: Decimal) -> Decimal | None:
    each = strength_in_name(ascii_digits(product.names[0])) if product.names and not product.parts else None
    return None if each is None else each * amount


def _dissolved(known: _Recognised, regimen: Regimen) -> Decimal | None:
    """Milligrams in a millilitre by the name, or else by the text of the dosage; of a single ingredient only."""
    if len(known.drugs) > 1:
        return None
    named = concentration(map(ascii_digits, known.product.names))
    return concentration([regimen.text]) if named is None else named


def _flow(known: _Recognised, regimen: Regimen, vocabulary: DrugVocabulary) -> Decimal | None:
    """Milligrams a minute of an order in millilitres an hour, where the concentration is known."""
    if regimen.rate_ml_min is None:
        return None
    stated = _part_strength(known.drugs[0], known.product, vocabulary) if len(known.drugs) == 1 else None
    mg = stated[0] if stated and stated[1] == "mL" else _dissolved(known, regimen)
    return None if mg is None else mg * regimen.rate_ml_min
