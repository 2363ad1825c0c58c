"""FHIR JSON as bytes -> resources of which only the members that the readers need are built; the rest is skipped.

Members are untyped on purpose: a vendor's odd value must not cost the resource, let alone the Bundle. `total.py` reads
them. Numbers stay exact decimals.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec

from service.errors import BadRequest


class Resource(msgspec.Struct):
    """A FHIR resource of any type, reduced to what is read. Absent members are None."""

    resourceType: Any = None
    id: Any = None
    status: Any = None
    code: Any = None
    subject: Any = None
    patient: Any = None
    # Observation
    category: Any = None
    effectiveDateTime: Any = None
    effectivePeriod: Any = None
    effectiveInstant: Any = None
    issued: Any = None
    valueQuantity: Any = None
    valueString: Any = None
    valueInteger: Any = None
    dataAbsentReason: Any = None
    interpretation: Any = None
    referenceRange: Any = None
    component: Any = None
    hasMember: Any = None
    specimen: Any = None
    note: Any = None
    comment: Any = None
    contained: Any = None
    # medications
    intent: Any = None
    doNotPerform: Any = None
    medicationCodeableConcept: Any = None
    medicationReference: Any = None
    medication: Any = None
    authoredOn: Any = None
    dosage: Any = None
    dosageInstruction: Any = None
    taken: Any = None
    adherence: Any = None
    whenHandedOver: Any = None
    daysSupply: Any = None
    occurenceDateTime: Any = None
    occurencePeriod: Any = None
    occurrenceDateTime: Any = None
    ingredient: Any = None
    identifier: Any = None
    form: Any = None
    # Condition, Specimen
    clinicalStatus: Any = None
    verificationStatus: Any = None
    onsetDateTime: Any = None
    onsetPeriod: Any = None
    abatementDateTime: Any = None
    abatementPeriod: Any = None
    abatementString: Any = None
    condition: Any = None
    type: Any = None
    # Patient, Encounter
    birthDate: Any = None
    gender: Any = None
    class_: Any = msgspec.field(default=None, name="class")
    # Bundle, OperationOutcome
    entry: Any = None
    link: Any = None
    issue: Any = None
    where: str = msgspec.field(default="", name="-where")  # set by us: fullUrl, or the place in the Bundle


class _Entry(msgspec.Struct):
    fullUrl: Any = None
    resource: Resource | None = None
    search: Any = None


class _Bundle(msgspec.Struct):
    """The fast form: a Bundle whose entries are objects."""

    resourceType: Any = None
    entry: list[_Entry] | None = None
    link: Any = None


class _Head(msgspec.Struct):
    resourceType: Any = None


_head = msgspec.json.Decoder(_Head)
_bundle = msgspec.json.Decoder(_Bundle, float_hook=Decimal)
_resource = msgspec.json.Decoder(Resource, float_hook=Decimal)
_anything = msgspec.json.Decoder(float_hook=Decimal)


@dataclass(slots=True)
class Sheaf:
    """What one value (of a prefetch key, of a page) holds."""

    resources: list[Resource] = field(default_factory=list)
    outcomes: list[Resource] = field(default_factory=list)  # OperationOutcomes
    is_bundle: bool = False
    next_url: str = ""
    odd: list[str] = field(default_factory=list)  # places of entries that are no resources


def read_sheaf(raw: bytes | msgspec.Raw, where: str = "$") -> Sheaf:
    """Read a Bundle, a lone resource or null; entries that are no resources are named in `odd`.

    Raises BadRequest only if the bytes are not JSON.
    """
    try:
        if _is_null(raw):
            return Sheaf()
        return _read_typed(raw, where)
    except msgspec.ValidationError:
        return _read_untyped(raw, where)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise BadRequest("not readable as JSON", where) from error


def _is_null(raw: bytes | msgspec.Raw) -> bool:
    return bytes(raw[:5] if isinstance(raw, bytes) else memoryview(raw)[:5]).strip() == b"null"


def _read_typed(raw: bytes | msgspec.Raw, where: str) -> Sheaf:
    if _head.decode(raw).resourceType != "Bundle":
        sheaf = Sheaf()
        _take(sheaf, _resource.decode(raw), where)
        return sheaf
    bundle = _bundle.decode(raw)
    sheaf = Sheaf(is_bundle=True, next_url=_next(bundle.link))
    for number, entry in enumerate(bundle.entry or ()):
        place = entry.fullUrl if isinstance(entry.fullUrl, str) else f"{where}.entry[{number}]"
        if entry.resource is None:
            sheaf.odd.append(f"{where}.entry[{number}]")
        else:
            _take(sheaf, entry.resource, place)
    return sheaf


def _read_untyped(raw: bytes | msgspec.Raw, where: str) -> Sheaf:
    """The slow form, for a Bundle with something odd in it: every entry on its own."""
    value = _anything.decode(raw)
    sheaf = Sheaf()
    if not isinstance(value, dict):
        sheaf.odd.append(where)
        return sheaf
    if value.get("resourceType") != "Bundle":
        _take(sheaf, as_resource(value), where)
        return sheaf
    sheaf.is_bundle, sheaf.next_url = True, _next(value.get("link"))
    entries = value.get("entry")
    for number, entry in enumerate(entries if isinstance(entries, list) else ()):
        inner = entry.get("resource") if isinstance(entry, dict) else None
        if isinstance(inner, dict):
            full = entry.get("fullUrl")
            _take(sheaf, as_resource(inner), full if isinstance(full, str) else f"{where}.entry[{number}]")
        else:
            sheaf.odd.append(f"{where}.entry[{number}]")
    return sheaf


def _take(sheaf: Sheaf, resource: Resource, where: str) -> None:
    resource.where = where
    if resource.resourceType == "OperationOutcome":
        sheaf.outcomes.append(resource)
    elif resource.resourceType == "Bundle":  # a batch-response, or a Bundle in a Bundle
        inner = resource.entry if isinstance(resource.entry, list) else []
        for number, entry in enumerate(inner):
            held = entry.get("resource") if isinstance(entry, dict) else None
            if isinstance(held, dict) and held.get("resourceType") != "Bundle":
                _take(sheaf, as_resource(held), f"{where}.entry[{number}]")
    elif isinstance(resource.resourceType, str) and resource.resourceType:
        sheaf.resources.append(resource)
    else:
        sheaf.odd.append(where)


def as_resource(value: Any) -> Resource:
    """A decoded JSON object as a Resource; anything else as an empty one."""
    if not isinstance(value, dict):
        return Resource()
    return Resource(**{_MEMBERS[key]: item for key, item in value.items() if key in _MEMBERS})


_MEMBERS = {f.encode_name: f.name for f in msgspec.structs.fields(Resource) if f.name != "where"}


def _next(links: Any) -> str:
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and link.get("relation") == "next" and isinstance(link.get("url"), str):
            return str(link["url"])
    return ""


def contained(resource: Resource) -> Iterator[Resource]:
    """The resources inside a resource."""
    inner = resource.contained
    for value in inner if isinstance(inner, list) else ():
        yield as_resource(value)
