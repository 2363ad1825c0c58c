"""FHIR resources as short as a test needs them, and what the readers make of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from service.fhir.decode import Resource, read_bundle
from service.fhir.ownership import EvaluationInput
from service.fhir.snapshot import Site, read_snapshot
from service.logic.knowledge import load
from service.logic.model import LabResult, Medication, PatientSnapshot

Json = dict[str, Any]
NOW = datetime(2025, 6, 15, 10, tzinfo=UTC)
SITE = Site(zone=UTC, knowledge=load())
LOINC, SNOMED, UCUM, ATC = (
    "http://loinc.org",
    "http://snomed.info/sct",
    "http://unitsofmeasure.org",
    "http://www.whocc.no/atc",
)
_ENCODER = msgspec.json.Encoder(decimal_format="number")


def concept(system: str, code: str, text: str = "") -> Json:
    return {"coding": [{"system": system, "code": code}], **({"text": text} if text else {})}


def quantity(value: object, unit: str = "", code: str | None = None) -> Json:
    return {"value": value, **({"unit": unit} if unit else {}), **({"code": code} if code else {})}


def observation(**members: object) -> Json:
    """A serum magnesium of 0.62 mmol/L, taken an hour ago; None leaves a member out."""
    usual: Json = {
        "resourceType": "Observation",
        "id": "o1",
        "status": "final",
        "code": concept(LOINC, "2601-3"),
        "subject": {"reference": "Patient/p"},
        "effectiveDateTime": "2025-06-15T09:00:00Z",
        "valueQuantity": quantity(0.62, "mmol/L"),
    }
    return {name: value for name, value in (usual | members).items() if value is not None}


def medication(kind: str = "MedicationRequest", **members: object) -> Json:
    """Active furosemide."""
    usual: Json = {
        "resourceType": kind,
        "id": "m1",
        "status": "active",
        "medicationCodeableConcept": concept(ATC, "C03CA01", "furosemide"),
        "subject": {"reference": "Patient/p"},
    }
    return {name: value for name, value in (usual | members).items() if value is not None}


def magnesium(name: str, kind: str = "MedicationRequest", **members: object) -> Json:
    """A magnesium product known by its name."""
    return medication(kind, medicationCodeableConcept={"text": name}, **members)


def bundle(*resources: object, urls: Iterable[str] = ()) -> bytes:
    """A Bundle of these; `urls` are the full URLs of the first ones."""
    named = [*urls, *([""] * len(resources))]
    entries = [
        {"resource": resource, **({"fullUrl": url} if url else {})}
        for resource, url in zip(resources, named, strict=False)
    ]
    return _ENCODER.encode({"resourceType": "Bundle", "type": "collection", "entry": entries})


def taken(*resources: object, urls: Iterable[str] = ()) -> list[Resource]:
    """The resources as the service takes them in."""
    return read_bundle(bundle(*resources, urls=urls)).resources


def read(*resources: object, explain: bool = True, urls: Iterable[str] = (), **site: Any) -> PatientSnapshot:
    """What the readers understand of patient p at NOW."""
    chart = EvaluationInput(patient_id="p", as_of=NOW, resources=tuple(taken(*resources, urls=urls)))
    return read_snapshot(chart, replace(SITE, **site), explain)


def lab(*resources: object, **how: Any) -> LabResult:
    """The one result."""
    (only,) = read(*resources, **how).labs
    return only


def drug(*resources: object, **how: Any) -> Medication:
    """The one medication."""
    (only,) = read(*resources, **how).medications
    return only


def issues(snapshot: PatientSnapshot) -> list[str]:
    """What was not understood, as `reference: sentence`."""
    return [f"{issue.reference}: {issue.problem.template.format(**issue.problem.values)}" for issue in snapshot.issues]
