"""MedicationStatement, -Request, -Administration, -Dispense -> Medication: which drug, taken or not, since when, how."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

from service.fhir import total
from service.fhir.context import Reading
from service.fhir.dosage import MASS_MG, SULFATE_MG, Dosage, read_dosage, route_of, stated_route
from service.fhir.observation import quantity_unit
from service.fhir.wire import Concept, Resource, as_concept, contained
from service.logic.model import DataIssue, Exposure, Ingredient, Medication, When
from service.logic.text import Text
from service.terminology.drugs import Drug, Formulary, local_code

KINDS = frozenset({"MedicationStatement", "MedicationRequest", "MedicationAdministration", "MedicationDispense"})
_FLUID_PARTNERS = frozenset({"calcium_parenteral", "potassium_salt", "phosphate_salt"})
_MAGNESIUM = frozenset({"mg_preparation", "mg_containing_antacid"})
_DEEPEST = 3  # a product, a mixture, a part: references are not followed further


@dataclass(slots=True)
class _Product:
    """What is known of a product: codes and names, and its parts with their strengths in mg per dose form."""

    codings: list[total.Coding] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    forms: list[Any] = field(default_factory=list)
    parts: list[tuple[_Product, Decimal | None]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Recognised:
    """Which drugs a product holds, how that is known, under which name, and the route its name or form tells."""

    drugs: tuple[Drug, ...]
    by: str
    label: str
    route: str


def read_medication(resource: Resource, reading: Reading) -> Medication | DataIssue:
    """One medication, or why it could not be used."""
    name = reading.name(resource)
    status = total.text(resource.status)
    if status == "entered-in-error":
        return DataIssue(name, Text("Entered in error: not used."))
    known, product = _identify(resource, reading)
    if not known.drugs:
        return DataIssue(name, _unrecognised(known.label))
    magnesium = any(drug.drug_class in _MAGNESIUM for drug in known.drugs)
    dosage = read_dosage(resource) if magnesium else Dosage(route=stated_route(resource))
    start, end = _times(resource, status, reading)
    return Medication(
        reference=name,
        name=known.label or known.drugs[0].name,
        ingredients=tuple(_with_amounts(known.drugs, product or _product_of(resource, reading), dosage, reading))
        if magnesium
        else tuple(Ingredient(drug.name, drug.drug_class) for drug in known.drugs),
        recognised_by=known.by,
        exposure=_exposure(resource, status, reading, end),
        route=dosage.route or known.route or _route_of_kind(resource, known),
        start=start,
        end=end,
        doses_per_day=dosage.per_day,
        duration_min=dosage.minutes,
        rate_mg_min=dosage.rate_mg_min,
    )


def _unrecognised(label: str) -> Text:
    if not label:
        return Text("A medication without code or name: it is not known what is taken.")
    return Text("Medication not recognised: not among the drugs that the rules know, or not identifiable.")


# ---- which drug -----------------------------------------------------------------------------------------------------


def _identify(resource: Resource, reading: Reading) -> tuple[_Recognised, _Product | None]:
    """A product given by its concept alone is remembered; one by reference is followed."""
    concept = resource.concept("medicationCodeableConcept")
    if (concept.codings or concept.texts) and resource.medicationReference is None:
        return _by_concept(concept, reading.formulary), None
    product = _product_of(resource, reading)
    return _recognise(product, reading.formulary), product


@lru_cache(maxsize=4096)
def _by_concept(concept: Concept, formulary: Formulary) -> _Recognised:
    product = _Product()
    _add_concept(product, concept)
    return _recognise(product, formulary)


def _product_of(resource: Resource, reading: Reading) -> _Product:
    product = _Product()
    r5 = total.obj(resource.medication)
    _add_concept(product, resource.concept("medicationCodeableConcept"))
    for concept in (r5.get("concept"), resource.medication):
        _add_concept(product, as_concept(concept))
    for reference in (resource.medicationReference, r5.get("reference")):
        if isinstance(reference, dict):
            _add_reference(product, reference, resource, reading, _DEEPEST)
    return product


def _add_concept(product: _Product, concept: Concept) -> None:
    product.codings += concept.codings
    product.names += [name for name in concept.texts if name not in product.names]
    product.names += [coding.code for coding in concept.codings if _code_is_name(coding)]


def _code_is_name(coding: total.Coding) -> bool:
    """Some local systems use the drug's name as its code."""
    return "name" in coding.system.lower() and bool(re.search(r"[^\W\d_]{4}", coding.code))


def _add_reference(product: _Product, reference: Any, holder: Resource, reading: Reading, depth: int) -> None:
    display = total.text(total.obj(reference).get("display"))
    medication = _resolve(total.reference(reference), holder, reading)
    if medication is not None:
        _add_medication(product, medication, reading, depth)
    if display and display not in product.names:
        product.names.append(display)


def _resolve(reference: str, holder: Resource, reading: Reading) -> Resource | None:
    if reference.startswith("#"):
        return next((inner for inner in contained(holder) if inner.id == reference[1:]), None)
    return reading.find(reference) if reference else None


def _add_medication(product: _Product, medication: Resource, reading: Reading, depth: int) -> None:
    _add_concept(product, medication.concept())
    product.forms.append(medication.form)
    for identifier in total.items(medication.identifier):
        value, system = total.text(total.obj(identifier).get("value")), total.text(total.obj(identifier).get("system"))
        if "name" in system.lower() and value:
            product.names.append(value)
    if depth > 0:
        for part in total.items(medication.ingredient):
            _add_ingredient(product, total.obj(part), medication, reading, depth - 1)


def _add_ingredient(product: _Product, part: dict[str, Any], holder: Resource, reading: Reading, depth: int) -> None:
    inner = _Product()
    item = total.obj(part.get("item"))
    for concept in (part.get("itemCodeableConcept"), item.get("concept")):
        _add_concept(inner, as_concept(concept))
    for reference in (part.get("itemReference"), item.get("reference")):
        if isinstance(reference, dict):
            _add_reference(inner, reference, holder, reading, depth)
    strength = part.get("strength") or part.get("strengthRatio") or part.get("strengthQuantity") or part.get("amount")
    product.parts.append((inner, _strength_mg(total.obj(strength))))


def _strength_mg(strength: dict[str, Any]) -> Decimal | None:
    """Milligrams in one unit of the denominator (a tablet, a millilitre)."""
    top, bottom = total.obj(strength.get("numerator")) or strength, total.obj(strength.get("denominator"))
    factor = MASS_MG.get(quantity_unit(top)[0] or "")
    value, per = total.number(top.get("value")), total.number(bottom.get("value"))
    if value is None or factor is None:
        return None
    return value * factor / (per or 1)


def _recognise(product: _Product, formulary: Formulary) -> _Recognised:
    """The drugs of a product: by its codes and those of its parts, else by name; combinations give every component."""
    by_code = _by_codes(product, formulary)
    parts = [drug for part, _ in product.parts for drug in _part_drugs(part, formulary)]
    if by_code:
        found, by = [*by_code, *parts], "code"
    elif parts:
        found, by = parts, "ingredient"
    else:
        found, by = [drug for name in product.names for drug in formulary.by_name(name)], "name"
    return _Recognised(tuple(dict.fromkeys(found)), by, _label(product), _told_route(product, formulary))


def _by_codes(product: _Product, formulary: Formulary) -> list[Drug]:
    return [drug for system, code, _ in product.codings for drug in formulary.by_code(system, code)]


def _part_drugs(part: _Product, formulary: Formulary) -> list[Drug]:
    nested = [drug for inner, _ in part.parts for drug in _part_drugs(inner, formulary)]
    return _by_codes(part, formulary) or nested or [d for name in part.names for d in formulary.by_name(name)]


def _label(product: _Product) -> str:
    """The name under which a clinician knows the product: what the chart wrote."""
    listed = [*product.names, *(name for part, _ in product.parts for name in part.names)]
    return next((" ".join(name.split())[:120] for name in listed if name), "")


def _told_route(product: _Product, formulary: Formulary) -> str:
    """The route that form or name tells; local products (eye drops, creams) are "other"."""
    local = any(local_code(system, code) for system, code, _ in product.codings)
    if local or any(formulary.local_name(name) for name in product.names):
        return "other"
    return route_of(product.forms, *product.names)


def _route_of_kind(resource: Resource, known: _Recognised) -> str:
    """Magnesium sulfate that was administered without a stated route went into a vein."""
    given = resource.resourceType == "MedicationAdministration"
    return "iv" if given and known.drugs[0].name == "magnesium sulfate" else ""


# ---- amounts --------------------------------------------------------------------------------------------------------


def _with_amounts(found: tuple[Drug, ...], product: _Product, dosage: Dosage, reading: Reading) -> Iterator[Ingredient]:
    """Each ingredient with its milligrams in one dose, where dose and strength tell."""
    magnesium = [drug for drug in found if drug.drug_class in _MAGNESIUM]
    fluid = len(_FLUID_PARTNERS & {drug.drug_class for drug in found}) >= 2
    for drug in found:
        mg = None
        if drug in magnesium and not fluid:
            mg = _part_amount(drug, product, dosage, reading)
            if mg is None and len(magnesium) == 1:
                mg = _whole_amount(drug, product, dosage)
        yield Ingredient(drug.name, drug.drug_class, mg)


def _part_amount(drug: Drug, product: _Product, dosage: Dosage, reading: Reading) -> Decimal | None:
    for part, strength in product.parts:
        if strength is None or drug not in _part_drugs(part, reading.formulary):
            continue
        if dosage.unit in {"tablet", "mL"} and dosage.amount is not None:
            return strength * dosage.amount
    return None


_STRENGTH_IN_NAME = re.compile(
    r"(\d{2,5}(?:[.,]\d+)?)\s*(mg|g|мг|г)\b(?!\s*/\s*(?:m2|m²|kg|кг|day|сут))", re.IGNORECASE
)


def _whole_amount(drug: Drug, product: _Product, dosage: Dosage) -> Decimal | None:
    """A dose given as mass is the magnesium compound's; a dose in tablets takes the strength from the name."""
    if dosage.milligrams is not None:
        return dosage.milligrams
    if dosage.unit in SULFATE_MG and drug.name == "magnesium sulfate" and dosage.amount is not None:
        return dosage.amount * SULFATE_MG[dosage.unit]
    strengths = {m[0] for name in product.names[:1] if (m := _STRENGTH_IN_NAME.search(name))}
    if dosage.unit == "tablet" and dosage.amount is not None and len(strengths) == 1 and not product.parts:
        found = _STRENGTH_IN_NAME.search(product.names[0])
        number = total.number(found[1]) if found else None
        if found and number is not None:
            return number * (1 if found[2].lower() in {"mg", "мг"} else 1000) * dosage.amount
    return None


# ---- exposure, time, route ------------------------------------------------------------------------------------------

_STATUS = {
    "active": Exposure.ACTIVE, "in-progress": Exposure.ACTIVE, "recorded": Exposure.ACTIVE,
    "completed": Exposure.ENDED, "stopped": Exposure.ENDED, "ended": Exposure.ENDED,
    "on-hold": Exposure.NOT_TAKEN, "cancelled": Exposure.NOT_TAKEN, "not-taken": Exposure.NOT_TAKEN,
    "not-done": Exposure.NOT_TAKEN, "intended": Exposure.NOT_TAKEN, "declined": Exposure.NOT_TAKEN,
    "preparation": Exposure.NOT_TAKEN, "draft": Exposure.NOT_TAKEN,
}  # fmt: skip


def _exposure(resource: Resource, status: str, reading: Reading, end: When | None) -> Exposure:
    """Taken, ended, not taken or unknown, as the source states it."""
    if resource.doNotPerform is True or total.text(resource.taken) == "n" or _not_adherent(resource):
        return Exposure.NOT_TAKEN
    if total.text(resource.intent) in {"proposal", "option"}:
        return Exposure.NOT_TAKEN
    if resource.resourceType == "MedicationDispense":
        return _dispensed(status, reading, end)
    return _STATUS.get(status, Exposure.UNKNOWN)


def _not_adherent(resource: Resource) -> bool:
    code = total.obj(resource.adherence).get("code")
    return any(coding.code.startswith("not-taking") for coding in total.codings(code))


def _dispensed(status: str, reading: Reading, end: When | None) -> Exposure:
    """A dispense counts as taken while its supply lasts."""
    if status not in {"completed", "in-progress"}:
        return Exposure.NOT_TAKEN
    if end is None:
        return Exposure.UNKNOWN
    return Exposure.ACTIVE if end.end >= reading.as_of else Exposure.ENDED


def _times(resource: Resource, status: str, reading: Reading) -> tuple[When | None, When | None]:
    """Since when and until when; an event without a period has ended when it happened."""
    zone = reading.zone
    if resource.resourceType == "MedicationDispense":
        return _supply(resource, reading)
    start, end = total.period(resource.effectivePeriod or resource.occurencePeriod, zone)
    if start or end:
        return start, end
    moment = total.when(resource.effectiveDateTime or resource.occurenceDateTime, zone)
    if resource.resourceType == "MedicationAdministration":
        return moment, moment if status == "completed" else None
    if resource.resourceType == "MedicationStatement":
        return moment, None
    bounds = _bounds(resource)
    start, end = total.period(bounds, zone)
    return start or total.when(resource.authoredOn, zone), end


def _bounds(resource: Resource) -> Any:
    listed = total.items(resource.dosageInstruction) or total.items(resource.dosage)
    timing = total.obj(total.obj(listed[0]).get("timing")) if listed else {}
    return total.obj(timing.get("repeat")).get("boundsPeriod")


def _supply(resource: Resource, reading: Reading) -> tuple[When | None, When | None]:
    handed = total.when(resource.whenHandedOver, reading.zone)
    days = total.number(total.obj(resource.daysSupply).get("value"))
    if handed is None or days is None or not 0 < days < 1000:
        return handed, handed
    span = timedelta(days=int(days))
    return handed, When(handed.start + span, handed.end + span)


def draft(resource: Resource, reading: Reading) -> Medication | DataIssue:
    """A draft order: whatever its status, it is not yet taken."""
    found = read_medication(resource, reading)
    return replace(found, exposure=Exposure.UNKNOWN) if isinstance(found, Medication) else found
