"""Resources -> one PatientSnapshot: each on its own, foreign patients' dropped and named, nothing lost in silence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from types import MappingProxyType

from service.fhir import total
from service.fhir.condition import read_condition
from service.fhir.context import NOT_SENT, Reading
from service.fhir.medication import KINDS, read_medication
from service.fhir.observation import meaning_of, read_observation
from service.fhir.order import pending_tests, read_order
from service.fhir.person import birth, inpatient, sex
from service.fhir.wire import Resource
from service.logic.case import LOOKS_BACK, LOOKS_BACK_USUALLY
from service.logic.knowledge import Knowledge
from service.logic.model import (
    Analyte,
    Condition,
    DataIssue,
    Hook,
    LabResult,
    Medication,
    Order,
    PatientSnapshot,
)
from service.logic.text import Text
from service.terminology.analytes import LAB_CODES, LabCodes
from service.terminology.drugs import FORMULARY, Formulary

_INDEXED = {"Medication", "Specimen"}
_CLINICAL = KINDS | {"Observation", "Condition"}


@dataclass(frozen=True, slots=True)
class Chart:
    """What came in about one patient: resources, drafts, and the words of the call around them."""

    patient_id: str
    as_of: datetime
    hook: Hook = Hook.PATIENT_VIEW
    encounter_id: str = ""
    resources: tuple[Resource, ...] = ()
    drafts: tuple[Resource, ...] = ()
    selections: tuple[str, ...] = ()
    unavailable: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    issues: tuple[DataIssue, ...] = ()


@dataclass(frozen=True, slots=True)
class Site:
    """What a site decides about reading."""

    zone: tzinfo
    knowledge: Knowledge
    codes: LabCodes = LAB_CODES
    formulary: Formulary = FORMULARY
    accept_unknown_status: bool = True
    profile: str = "default"
    research: bool = False


@dataclass(slots=True)
class _Basket:
    """Words while they are collected."""

    labs: list[LabResult] = field(default_factory=list)
    medications: list[Medication] = field(default_factory=list)
    conditions: list[Condition] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    issues: list[DataIssue] = field(default_factory=list)
    pending: set[Analyte] = field(default_factory=set)


def read_snapshot(chart: Chart, site: Site, explain: bool = False) -> PatientSnapshot:
    """The patient in the words of the logic; with `explain`, resources without meaning for the rules are named too."""
    mine, foreign = _own(chart)
    patient = next((r for r in mine if r.resourceType == "Patient"), None)
    reading = _reading(chart, site, patient)
    basket = _Basket(issues=[*chart.issues, *(_foreign(r) for r in foreign)])
    observations: list[Resource] = []
    for resource in _unique(mine):
        if resource.resourceType == "Observation":
            observations.append(resource)
        elif read := _READERS.get(resource.resourceType):
            read(resource, reading, basket, explain)
    for resource in observations if explain else _recent(observations, reading, basket):
        _observation(resource, reading, basket, explain)
    selected = {total.local_reference(s) for s in chart.selections}
    for resource in chart.drafts:
        _read_draft(
            resource, reading, basket, chart.hook is not Hook.ORDER_SELECT or reading.name(resource) in selected
        )
    return PatientSnapshot(
        reference=f"Patient/{chart.patient_id}" if chart.patient_id else "Patient",
        as_of=chart.as_of,
        hook=chart.hook,
        birth=reading.birth,
        sex=reading.sex,
        inpatient=inpatient((r for r in mine if r.resourceType == "Encounter"), chart.encounter_id),
        labs=tuple(basket.labs),
        medications=tuple(basket.medications),
        conditions=tuple(basket.conditions),
        orders=tuple(basket.orders),
        pending=frozenset(basket.pending),
        issues=tuple(basket.issues),
        unavailable=_still_unavailable(chart.unavailable, mine, basket.labs),
        profile=site.profile,
        research=site.research,
    )


def _reading(chart: Chart, site: Site, patient: Resource | None) -> Reading:
    index: dict[str, Resource] = {}
    for resource in (*chart.resources, *chart.drafts):
        if resource.resourceType in _INDEXED:
            index[Reading.name(resource)] = resource
            index[resource.where] = resource
    return Reading(
        as_of=chart.as_of,
        zone=site.zone,
        knowledge=site.knowledge,
        codes=site.codes,
        formulary=site.formulary,
        accept_unknown_status=site.accept_unknown_status,
        birth=birth(patient, site.zone),
        sex=sex(patient),
        index=index,
    )


# A key counts as answered when what it asks for came under another key: what a resource is, the resource decides.
_KINDS_OF_KEY = {
    "patient": "Patient",
    "encounter": "Encounter",
    "medicationRequests": "MedicationRequest",
    "medicationStatements": "MedicationStatement",
    "medicationAdministrations": "MedicationAdministration",
    "conditions": "Condition",
}
_ANALYTES_OF_KEY = {
    "magnesium": {Analyte.SERUM_MAGNESIUM},
    "rbcMagnesium": {Analyte.RBC_MAGNESIUM},
    "ionizedMagnesium": {Analyte.IONISED_MAGNESIUM},
    "urineMagnesium": {Analyte.URINE_MAGNESIUM, Analyte.URINE_MAGNESIUM_24H},
    "creatinine": {Analyte.CREATININE},
    "urineCreatinine": {Analyte.URINE_CREATININE},
    "potassium": {Analyte.POTASSIUM},
    "calcium": {Analyte.CALCIUM, Analyte.ADJUSTED_CALCIUM, Analyte.IONISED_CALCIUM},
    "albumin": {Analyte.ALBUMIN},
    "bicarbonate": {Analyte.BICARBONATE},
    "qtc": {Analyte.QTC},
}


def _still_unavailable(
    unavailable: Mapping[str, str], resources: Iterable[Resource], labs: Iterable[LabResult]
) -> Mapping[str, str]:
    """Keys that nothing among the resources answers."""
    if not unavailable:
        return unavailable
    kinds = {resource.resourceType for resource in resources}
    analytes = {result.analyte for result in labs}
    answered = {key for key, kind in _KINDS_OF_KEY.items() if kind in kinds}
    answered |= {key for key, wanted in _ANALYTES_OF_KEY.items() if wanted & analytes}
    return MappingProxyType({key: why for key, why in unavailable.items() if key not in answered or _partial(why)})


def _partial(why: str) -> bool:
    """An incomplete key stays named although something came."""
    return why != NOT_SENT


# ---- whose is it ----------------------------------------------------------------------------------------------------


def _own(chart: Chart) -> tuple[list[Resource], list[Resource]]:
    """The patient's resources (and those that name no patient), and those of somebody else."""
    names = {f"Patient/{chart.patient_id}", chart.patient_id, *_also_known(chart)}
    mine: list[Resource] = []
    foreign: list[Resource] = []
    for resource in chart.resources:
        (mine if _is_own(resource, chart, names) else foreign).append(resource)
    return mine, foreign


def _also_known(chart: Chart) -> set[str]:
    """Full URLs (urn:uuid:…) under which the patient's own Patient resource is referred to."""
    return {
        r.where
        for r in chart.resources
        if r.resourceType == "Patient" and total.text(r.id) == chart.patient_id and r.where
    }


def _is_own(resource: Resource, chart: Chart, names: set[str]) -> bool:
    if resource.resourceType == "Patient":
        return not chart.patient_id or total.text(resource.id) == chart.patient_id or resource.where in names
    if resource.resourceType in _INDEXED:
        return True
    subject = total.reference(resource.subject) or total.reference(resource.patient)
    if not subject or not chart.patient_id or subject.startswith("#"):
        return True
    return subject in names or total.local_reference(subject) in names


def _foreign(resource: Resource) -> DataIssue:
    return DataIssue(Reading.name(resource), Text("Belongs to another patient: dropped."))


def _unique(resources: Iterable[Resource]) -> Iterable[Resource]:
    """Each resource once, although several prefetch keys may hold it; ones without id are kept."""
    seen: set[str] = set()
    for resource in resources:
        name = Reading.name(resource)
        if resource.id is None or name not in seen:
            seen.add(name)
            yield resource


# ---- one reader per kind --------------------------------------------------------------------------------------------


def _recent(observations: Iterable[Resource], reading: Reading, basket: _Basket) -> Iterator[Resource]:
    """Of each analyte the results as far back as the rules look, and at least one that can be used; newest first.

    A chart may hold a thousand results of which the rules use ten; only these are decoded.
    """
    filed: dict[Analyte, list[tuple[str, Resource]]] = {}
    for resource in observations:
        meaning, day = meaning_of(resource, reading), resource.effectiveDateTime
        if meaning is not None and type(day) is str and len(day) >= 10 and not resource.mentions("component"):
            filed.setdefault(meaning.analyte, []).append((day, resource))
        else:
            yield resource  # undated, a panel, or known by its name only: read it
    for analyte, results in filed.items():
        earliest = (reading.as_of - LOOKS_BACK.get(analyte, LOOKS_BACK_USUALLY)).date().isoformat()
        results.sort(key=lambda dated: dated[0], reverse=True)
        for day, resource in results:
            if day < earliest and any(r.analyte is analyte and r.problem is None for r in basket.labs):
                break
            yield resource


def _observation(resource: Resource, reading: Reading, basket: _Basket, explain: bool) -> None:
    found = False
    for word in read_observation(resource, reading):
        found = True
        if isinstance(word, DataIssue):
            basket.issues.append(word)
        else:
            basket.labs.append(word)
    if explain and not found:
        basket.issues.append(DataIssue(reading.name(resource), Text("No analyte that the rules use.")))


def _medication(resource: Resource, reading: Reading, basket: _Basket, explain: bool) -> None:  # noqa: ARG001
    word = read_medication(resource, reading)
    if isinstance(word, DataIssue):
        basket.issues.append(word)
    else:
        basket.medications.append(word)


def _condition(resource: Resource, reading: Reading, basket: _Basket, explain: bool) -> None:
    word = read_condition(resource, reading)
    if isinstance(word, Condition):
        basket.conditions.append(word)
    elif explain:
        basket.issues.append(word)


def _request(resource: Resource, reading: Reading, basket: _Basket, explain: bool) -> None:  # noqa: ARG001
    basket.pending.update(pending_tests(resource, reading))


_READERS: Mapping[object, Callable[[Resource, Reading, _Basket, bool], None]] = {
    **dict.fromkeys(KINDS, _medication),
    "Condition": _condition,
    "ServiceRequest": _request,
}


def _read_draft(resource: Resource, reading: Reading, basket: _Basket, selected: bool) -> None:
    for word in read_order(resource, selected, reading):
        if isinstance(word, DataIssue):
            basket.issues.append(word)
        else:
            basket.orders.append(word)
            if word.test is not None:
                basket.pending.add(word.test)


def sole_patient(resources: Iterable[Resource]) -> str | None:
    """The id of the only patient of a Bundle: its one Patient, else the one subject all resources name.

    None if there are several; "" if nobody is named.
    """
    listed = list(resources)
    patients = {total.text(r.id) for r in listed if r.resourceType == "Patient"}
    if len(patients) == 1:
        return patients.pop()
    subjects = {total.local_reference(s) for r in listed if r.resourceType in _CLINICAL and (s := _subject(r))}
    if len(patients) > 1 or len(subjects) > 1:
        return None
    return subjects.pop().removeprefix("Patient/") if subjects else ""


def _subject(resource: Resource) -> str:
    return total.reference(resource.subject) or total.reference(resource.patient)
