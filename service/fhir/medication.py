"""MedicationStatement, -Request, -Administration, -Dispense -> Medication: which drug, taken or not, since when."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import UTC, timedelta
from decimal import Decimal

from msgspec import Raw

from service.fhir import primitives, resources
from service.fhir.context import ReadContext, name
from service.fhir.decode import Coding, Concept, cached_by_bytes, concept, decode_member
from service.fhir.dosage import (
    SULFATE_MG,
    Regimen,
    coded_route,
    concentration,
    concurrent,
    read_dosage,
    route_in,
    stated_route,
    strength,
)
from service.fhir.resources import (
    CodeableReference,
    Dosage,
    MedicationAdministration,
    MedicationDispense,
    MedicationRequest,
    MedicationStatement,
    Prescribed,
    Reference,
    Resource,
)
from service.fhir.schedule import dosage_words, kind_of_order
from service.logic.message import Message
from service.logic.model import DataIssue, Exposure, Ingredient, Medication, PartialDateTime, Schedule
from service.terminology.drugs import Drug, DrugVocabulary, local_code

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


_NAMELESS = Message("A medication without code or name: it is not known what is taken.")
_NAMED_BUT_UNKNOWN = Message("Medication not recognised: not among the drugs that the rules know, or not identifiable.")


def read_medication(resource: Prescribed, context: ReadContext) -> Medication | DataIssue:
    """One medication, or why it could not be used."""
    status = primitives.text(resource.status)
    if status == "entered-in-error":
        return DataIssue(name(resource), Message("Entered in error: not used."))
    known = _identify(resource, context)
    if not known.drugs:
        return DataIssue(name(resource), _NAMED_BUT_UNKNOWN if known.label else _NAMELESS)
    dosages = _dosages(resource)
    start, end = _times(resource, status, dosages, context)
    route = (stated_route(dosages[0]) if dosages else "") or known.route or _route_of_kind(resource, known)
    schedule, once = _kind_of_order(resource, known, dosages, route)
    found = Medication(
        reference=name(resource),
        name=known.label,
        ingredients=known.ingredients,
        recognised_by=known.by,
        exposure=_exposure(resource, status, context, end),
        route=route,
        start=start,
        end=end,
        schedule=schedule,
        once=once,
        ordered_at=primitives.when(resource.authoredOn, context.zone)
        if isinstance(resource, MedicationRequest)
        else None,
        request=_request_of(resource),
        text="; ".join(filter(None, map(dosage_words, dosages))),
    )
    return _with_amounts(found, resource, known, dosages, context) if known.magnesium else found


def _with_amounts(
    found: Medication, resource: Prescribed, known: _Recognised, dosages: list[Dosage], context: ReadContext
) -> Medication:
    """Of a magnesium product the amounts matter too: how much in one dose, how often, how fast."""
    regimens = [read_dosage(dosage) for dosage in concurrent(dosages)] or [Regimen()]
    first = regimens[0]
    ingredients, per_day = _amounts(known, regimens, context.vocabulary)
    return replace(
        found,
        ingredients=ingredients,
        doses_per_day=per_day,
        most_per_day=first.most_per_day,
        duration_min=first.minutes or _lasted(resource),
        rate_mg_min=first.rate_mg_min or _flow(known, first, context.vocabulary),
    )


def _kind_of_order(
    resource: Prescribed, known: _Recognised, dosages: list[Dosage], route: str
) -> tuple[Schedule, bool]:
    """Of several dosages a scale goes first, then what is scheduled; once only if each of them is."""
    if isinstance(resource, MedicationAdministration):
        return Schedule.SCHEDULED, False  # what was given is no longer on any condition
    untimed = _untimed(known, route)
    notes = [primitives.text(note.text) for note in getattr(resource, "note", None) or ()]
    kinds = [
        kind_of_order(dosage, primitives.ascii_digits("; ".join((dosage_words(dosage), *notes))), untimed)
        for dosage in concurrent(dosages or [Dosage()])
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
    """The route that form or name tells; local products (eye drops, creams) are "other"."""
    local = any(local_code(system, code) for system, code, _ in product.codings)
    if local or any(vocabulary.local_name(word) for word in product.names):
        return "other"
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


_STRENGTH_IN_NAME = re.compile(
    r"(\d{2,5}(?:[.,]\d+)?)\s*(mg|g|мг|г)\b(?!\s*/\s*(?:m2|m²|kg|кг|day|сут))", re.IGNORECASE
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
    found = _STRENGTH_IN_NAME.search(product.names[0]) if product.names and not product.parts else None
    number = primitives.number(found[1]) if found else None
    if found is None or number is None:
        return None
    return number * (1 if found[2].lower() in {"mg", "мг"} else 1000) * amount


def _dissolved(known: _Recognised, regimen: Regimen) -> Decimal | None:
    """Milligrams in a millilitre by the name, or else by the text of the dosage; of a single ingredient only."""
    if len(known.drugs) > 1:
        return None
    named = concentration(known.product.names)
    return concentration([regimen.text]) if named is None else named


def _flow(known: _Recognised, regimen: Regimen, vocabulary: DrugVocabulary) -> Decimal | None:
    """Milligrams a minute of an order in millilitres an hour, where the concentration is known."""
    if regimen.rate_ml_min is None:
        return None
    stated = _part_strength(known.drugs[0], known.product, vocabulary) if len(known.drugs) == 1 else None
    mg = stated[0] if stated and stated[1] == "mL" else _dissolved(known, regimen)
    return None if mg is None else mg * regimen.rate_ml_min


def _lasted(resource: Prescribed) -> Decimal | None:
    """How many minutes an administration took."""
    if not isinstance(resource, MedicationAdministration):
        return None
    start, end = primitives.period(_occurred(resource), UTC)
    if start is None or end is None or start.date_only or end.date_only:
        return None
    minutes = Decimal((end.end - start.start).total_seconds()) / 60
    return minutes if minutes > 0 else None


# ---- exposure, time -------------------------------------------------------------------------------------------------

_STATUS = {
    "active": Exposure.ACTIVE, "in-progress": Exposure.ACTIVE, "recorded": Exposure.ACTIVE,
    "completed": Exposure.ENDED, "stopped": Exposure.ENDED, "ended": Exposure.ENDED,
    "on-hold": Exposure.NOT_TAKEN, "cancelled": Exposure.NOT_TAKEN, "not-taken": Exposure.NOT_TAKEN,
    "not-done": Exposure.NOT_TAKEN, "intended": Exposure.NOT_TAKEN, "declined": Exposure.NOT_TAKEN,
    "preparation": Exposure.NOT_TAKEN, "draft": Exposure.NOT_TAKEN,
}  # fmt: skip


def _exposure(resource: Prescribed, status: str, context: ReadContext, end: PartialDateTime | None) -> Exposure:
    """Taken, ended, not taken or unknown, as the source states it."""
    if isinstance(resource, MedicationDispense):
        return _dispensed(status, context, end)
    exposure = _STATUS.get(status, Exposure.UNKNOWN)
    if isinstance(resource, MedicationStatement):
        return Exposure.NOT_TAKEN if _denied(resource) else exposure
    if isinstance(resource, MedicationRequest):
        return _requested(resource, exposure)
    return exposure


def _denied(resource: MedicationStatement) -> bool:
    """STU3 says in `taken`, R5 in `adherence`, that a medication is not taken, whatever the status."""
    said = concept(resource.adherence.code).codings if resource.adherence else ()
    return resource.taken == "n" or any(coding.code.startswith("not-taking") for coding in said)


def _requested(resource: MedicationRequest, exposure: Exposure) -> Exposure:
    """A proposal is not taken; a plan is not yet an order, unless it is how somebody reports what the patient takes."""
    intent = primitives.text(resource.intent)
    if resource.doNotPerform or intent in {"proposal", "option"}:
        return Exposure.NOT_TAKEN
    reported = resource.reportedBoolean or resource.reportedReference or resource.reported
    planned = intent == "plan" and not reported and exposure is Exposure.ACTIVE
    return Exposure.UNKNOWN if planned else exposure


def _dispensed(status: str, context: ReadContext, end: PartialDateTime | None) -> Exposure:
    """A dispense counts as taken while its supply lasts."""
    if status not in {"completed", "in-progress"}:
        return Exposure.NOT_TAKEN
    if end is None:
        return Exposure.UNKNOWN
    return Exposure.ACTIVE if end.end >= context.as_of else Exposure.ENDED


def _times(
    resource: Prescribed, status: str, dosages: list[Dosage], context: ReadContext
) -> tuple[PartialDateTime | None, PartialDateTime | None]:
    """Since when and until when; an event without a period has ended when it happened."""
    zone = context.zone
    if isinstance(resource, MedicationRequest):
        timing = dosages[0].timing if dosages else None
        start, end = primitives.period(timing.repeat.boundsPeriod, zone) if timing and timing.repeat else (None, None)
        return start or primitives.when(resource.authoredOn, zone), end
    if isinstance(resource, MedicationStatement):
        start, end = primitives.period(resource.effectivePeriod, zone)
        return (start, end) if start or end else (primitives.when(resource.effectiveDateTime, zone), None)
    if isinstance(resource, MedicationAdministration):
        return _administered(resource, status, context)
    return _supply(resource, context) if isinstance(resource, MedicationDispense) else (None, None)


def _occurred(resource: MedicationAdministration) -> resources.Period | None:
    return resource.effectivePeriod or resource.occurencePeriod or resource.occurrencePeriod


def _administered(
    resource: MedicationAdministration, status: str, context: ReadContext
) -> tuple[PartialDateTime | None, PartialDateTime | None]:
    start, end = primitives.period(_occurred(resource), context.zone)
    if start or end:
        return start, end
    given = resource.effectiveDateTime or resource.occurenceDateTime or resource.occurrenceDateTime
    moment = primitives.when(given, context.zone)
    return moment, moment if status == "completed" else None


def _supply(
    resource: MedicationDispense, context: ReadContext
) -> tuple[PartialDateTime | None, PartialDateTime | None]:
    handed = primitives.when(resource.whenHandedOver, context.zone)
    days = primitives.number(resource.daysSupply.value) if resource.daysSupply else None
    if handed is None or days is None or not 0 < days < 1000:
        return handed, handed
    span = timedelta(days=int(days))
    return handed, PartialDateTime(handed.start + span, handed.end + span)


def draft(resource: Prescribed, context: ReadContext) -> Medication | DataIssue:
    """A draft order: whatever its status, it is not yet taken."""
    found = read_medication(resource, context)
    return replace(found, exposure=Exposure.UNKNOWN) if isinstance(found, Medication) else found
