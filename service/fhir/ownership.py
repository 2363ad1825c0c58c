"""Whose resources they are: the patient's own, each once in its latest version, and those of somebody else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TypeVar

from service.fhir import primitives, resources
from service.fhir.context import name
from service.fhir.decode import decode_member
from service.fhir.memory import Memory
from service.fhir.resources import (
    DiagnosticReport,
    Encounter,
    Meta,
    Observation,
    Patient,
    Prescribed,
    RefusedResource,
    Resource,
    ServiceRequest,
    Specimen,
)
from service.logic.model import DataIssue, Hook

R = TypeVar("R", bound=Resource)
_INDEXED = (resources.Medication, Specimen)  # belong to nobody
_CLINICAL = (Prescribed, Observation, resources.Condition)


@dataclass(frozen=True, slots=True)
class EvaluationInput:
    """What came in about one patient: resources, drafts, and the words of the call around them."""

    patient_id: str
    as_of: datetime
    hook: Hook = Hook.PATIENT_VIEW
    encounter_id: str = ""
    resources: tuple[Resource, ...] = ()
    drafts: tuple[Resource, ...] = ()
    selections: tuple[str, ...] = ()
    asked: frozenset[str] = frozenset()  # prefetch keys that should hold something of this patient
    filled: tuple[tuple[frozenset[str], tuple[Resource, ...]], ...] = ()  # what came under which keys
    unavailable: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    issues: tuple[DataIssue, ...] = ()
    memory: Memory | None = None  # of readings of the same resources at other moments


@dataclass(slots=True)
class ResourceIndex:
    """The patient's resources by kind, each once, in the order in which they came."""

    patients: dict[object, Patient] = field(default_factory=dict)
    encounters: dict[object, Encounter] = field(default_factory=dict)
    observations: dict[object, Observation] = field(default_factory=dict)
    medications: dict[object, Prescribed] = field(default_factory=dict)
    conditions: dict[object, resources.Condition] = field(default_factory=dict)
    requests: dict[object, ServiceRequest] = field(default_factory=dict)
    named: dict[str, Resource] = field(default_factory=dict)  # Medication and Specimen by every name they have
    reports: list[DiagnosticReport] = field(default_factory=list)
    refused: list[RefusedResource] = field(default_factory=list)
    other_patient: list[Resource] = field(default_factory=list)


def index_resources(chart: EvaluationInput) -> ResourceIndex:
    """The patient's resources (and those that name no patient); those of somebody else are named."""
    index = ResourceIndex()
    names: set[str | None] = {f"Patient/{chart.patient_id}", chart.patient_id, *_also_known(chart)}
    for resource in chart.resources:
        if _is_own(resource, chart.patient_id, names):
            _put(index, resource)
        else:
            index.other_patient.append(resource)
    for resource in chart.drafts:
        if isinstance(resource, _INDEXED):
            _put(index, resource)
    return index


def _also_known(chart: EvaluationInput) -> set[str]:
    """Full URLs (urn:uuid:…) under which the patient's own Patient resource is referred to."""
    patients = (r for r in chart.resources if isinstance(r, Patient))
    return {r.full_url for r in patients if primitives.text(r.id) == chart.patient_id and r.full_url}


def _is_own(resource: Resource, patient_id: str, names: set[str | None]) -> bool:
    """`names` are the references under which the patient is known; it learns further spellings."""
    subject = _subject(resource)
    if subject in names or not patient_id:
        return True
    if isinstance(resource, Patient):
        return primitives.text(resource.id) == patient_id or resource.full_url in names
    if not subject or subject.startswith("#") or isinstance(resource, _INDEXED):
        return True
    if primitives.local_reference(subject) in names:
        names.add(subject)
        return True
    return False


def _subject(resource: Resource) -> str:
    """The patient whom a resource names, or ""."""
    named = resource.subject
    if named is None or not named.reference:
        named = resource.patient
    return (named.reference or "") if named else ""


def _put(index: ResourceIndex, resource: Resource) -> None:
    if isinstance(resource, Observation):
        _keep(index.observations, resource)
    elif isinstance(resource, Prescribed):
        _keep(index.medications, resource)
    elif isinstance(resource, resources.Condition):
        _keep(index.conditions, resource)
    elif isinstance(resource, ServiceRequest):
        _keep(index.requests, resource)
    elif isinstance(resource, Patient):
        _keep(index.patients, resource)
    elif isinstance(resource, Encounter):
        _keep(index.encounters, resource)
    elif isinstance(resource, DiagnosticReport):
        index.reports.append(resource)
    elif isinstance(resource, RefusedResource):
        index.refused.append(resource)
    elif isinstance(resource, _INDEXED):
        index.named |= {name(resource): resource, resource.full_url: resource}


def _keep(held: dict[object, R], resource: R) -> None:
    """Each resource once, in its latest version, although several prefetch keys may hold it; ones without id all.

    The same id on two servers, or inside two resources, is not the same resource: there the full URL tells them apart.
    """
    key = _key(held, resource)
    known = held.setdefault(key, resource)
    if known is not resource and _version(resource) > _version(known):
        held[key] = resource


def _key(held: dict[object, R], resource: R) -> object:
    if not resource.id:
        return id(resource)
    plain, server = (type(resource), resource.id), _server(resource)
    first = held.get(plain)
    if first is None or not server or _server(first) in {"", server}:
        return plain
    return (*plain, server)


def _server(resource: Resource) -> str:
    """Where a resource is at home, as its full URL says: the base of a server, the resource that holds it, or ""."""
    url = resource.full_url
    if "#" in url:
        return url.partition("#")[0]
    base = url.removesuffix(f"/{resource.resourceType}/{resource.id}")
    return base if base != url and "://" in base else ""


def _version(resource: Resource) -> tuple[float, int, bool]:
    """Greater for a later version of the same resource."""
    meta = decode_member(resource.meta, Meta) or Meta()
    updated, number = primitives.when(meta.lastUpdated, UTC), primitives.text(meta.versionId)
    corrected = isinstance(resource, Observation) and resource.status in {"corrected", "amended", "entered-in-error"}
    return (
        updated.end.timestamp() if updated else 0.0,
        int(number) if number.isdecimal() and len(number) < 20 else 0,
        corrected,
    )


def sole_patient(resources: Iterable[Resource]) -> str | None:
    """The id of the only patient of a Bundle: its one Patient, else the one subject all resources name.

    None if there are several; "" if nobody is named.
    """
    listed = list(resources)
    patients = {primitives.text(r.id) for r in listed if isinstance(r, Patient)}
    if len(patients) == 1:
        return patients.pop()
    subjects = {primitives.local_reference(s) for r in listed if isinstance(r, _CLINICAL) and (s := _subject(r))}
    if len(patients) > 1 or len(subjects) > 1:
        return None
    return subjects.pop().removeprefix("Patient/") if subjects else ""
