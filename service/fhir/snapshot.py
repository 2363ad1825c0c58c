"""Resources -> one PatientSnapshot: each on its own, foreign patients' dropped and named, nothing lost in silence."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from operator import attrgetter
from types import MappingProxyType
from typing import TypeVar

from service.fhir import resources, total
from service.fhir.condition import read_condition
from service.fhir.context import NOT_SENT, Reading, name
from service.fhir.medication import read_medication
from service.fhir.observation import is_panel, meaning_of, read_observation
from service.fhir.order import pending_tests, read_order
from service.fhir.person import birth, inpatient, sex
from service.fhir.resources import Encounter, Meta, Observation, Patient, Prescribed, Resource, ServiceRequest, Specimen
from service.fhir.wire import one
from service.logic.case.results import LOOKS_BACK, LOOKS_BACK_USUALLY
from service.logic.knowledge import Knowledge
from service.logic.model import (
    Analyte,
    Condition,
    DataIssue,
    Exposure,
    Hook,
    LabResult,
    Medication,
    Order,
    PatientSnapshot,
)
from service.logic.text import Text
from service.terminology.analytes import LAB_CODES, LabCodes, Meaning
from service.terminology.drugs import FORMULARY, Formulary

R = TypeVar("R", bound=Resource)
_INDEXED = (resources.Medication, Specimen)  # belong to nobody
_CLINICAL = (Prescribed, Observation, resources.Condition)


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
    asked: frozenset[str] = frozenset()  # prefetch keys that should hold something of this patient
    filled: frozenset[str] = frozenset()  # those under which resources came
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


@dataclass(slots=True)
class _Filed:
    """The patient's resources by kind, each once, in the order in which they came."""

    patients: dict[object, Patient] = field(default_factory=dict)
    encounters: dict[object, Encounter] = field(default_factory=dict)
    observations: dict[object, Observation] = field(default_factory=dict)
    medications: dict[object, Prescribed] = field(default_factory=dict)
    conditions: dict[object, resources.Condition] = field(default_factory=dict)
    requests: dict[object, ServiceRequest] = field(default_factory=dict)
    index: dict[str, Resource] = field(default_factory=dict)  # Medication and Specimen by every name they have
    foreign: list[Resource] = field(default_factory=list)


def read_snapshot(chart: Chart, site: Site, explain: bool = False) -> PatientSnapshot:
    """The patient in the words of the logic; with `explain`, resources without meaning for the rules are named too."""
    filed = _file(chart)
    reading = _reading(chart, site, filed)
    basket = _Basket(issues=[*chart.issues, *(DataIssue(name(resource), _FOREIGN) for resource in filed.foreign)])
    _read(filed, reading, basket, explain)
    _read_drafts(chart, reading, basket)
    unavailable, incomplete = _unanswered(chart, filed, basket.labs, reading)
    return PatientSnapshot(
        reference=f"Patient/{chart.patient_id}" if chart.patient_id else "Patient",
        as_of=chart.as_of,
        hook=chart.hook,
        birth=reading.birth,
        sex=reading.sex,
        inpatient=inpatient(filed.encounters.values(), chart.encounter_id),
        labs=tuple(basket.labs),
        medications=tuple(basket.medications),
        conditions=tuple(basket.conditions),
        orders=tuple(basket.orders),
        pending=frozenset(basket.pending),
        issues=tuple(basket.issues),
        unavailable=unavailable,
        incomplete=incomplete,
        profile=site.profile,
        research=site.research,
    )


def _read(filed: _Filed, reading: Reading, basket: _Basket, explain: bool) -> None:
    for medication in filed.medications.values():
        _medication(medication, reading, basket)
    for condition in filed.conditions.values():
        _condition(condition, reading, basket, explain)
    for request in filed.requests.values():
        basket.pending.update(pending_tests(request, reading))
    if not explain:
        _recent(filed.observations.values(), reading, basket)
        return
    for observation in filed.observations.values():
        _observation(observation, reading, basket, explain)


def _reading(chart: Chart, site: Site, filed: _Filed) -> Reading:
    patient = next(iter(filed.patients.values()), None)
    return Reading(
        as_of=chart.as_of,
        zone=site.zone,
        knowledge=site.knowledge,
        codes=site.codes,
        formulary=site.formulary,
        accept_unknown_status=site.accept_unknown_status,
        birth=birth(patient, site.zone),
        sex=sex(patient),
        index=filed.index,
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


def _unanswered(
    chart: Chart, filed: _Filed, labs: Iterable[LabResult], reading: Reading
) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """The keys that nothing among the resources answers, with the reason, and those answered only in part."""
    if not chart.asked and not chart.unavailable:
        return chart.unavailable, ()
    came = (filed.patients, filed.encounters, filed.medications, filed.conditions)
    answered = _keys(
        {resource.resourceType for shelf in came for resource in shelf.values()}, {result.analyte for result in labs}
    )
    lacking = dict(chart.unavailable)
    if filed.foreign:
        lacking |= dict.fromkeys(chart.asked & _keys_of(filed.foreign, reading), FOREIGN_ONLY)
    if not filed.patients and "patient" in chart.asked and "patient" not in chart.unavailable:
        lacking["patient"] = "no Patient resource of this patient came"
    lacking |= {key: UNIDENTIFIED for key in chart.filled & _ANALYTES_OF_KEY.keys() if key not in lacking}
    whole = {key: why for key, why in lacking.items() if key not in answered}
    part = tuple(key for key, why in chart.unavailable.items() if key in answered and why != NOT_SENT)
    return MappingProxyType(whole), part


def _keys(kinds: Collection[object], analytes: Collection[Analyte]) -> set[str]:
    """The keys under which resources of these kinds and results of these analytes are expected."""
    return {key for key, kind in _KINDS_OF_KEY.items() if kind in kinds} | {
        key for key, wanted in _ANALYTES_OF_KEY.items() if not wanted.isdisjoint(analytes)
    }


def _keys_of(resources: Iterable[Resource], reading: Reading) -> set[str]:
    listed = list(resources)
    meanings = [meaning_of(r.code, reading.codes) for r in listed if isinstance(r, Observation)]
    return _keys({r.resourceType for r in listed}, {m.analyte for m in meanings if isinstance(m, Meaning)})


FOREIGN_ONLY = "only another patient's data came"
UNIDENTIFIED = "what came could not be identified"  # a local code that the site file does not map, most likely
_FOREIGN = Text("Belongs to another patient: dropped.")


# ---- whose is it, what is it ----------------------------------------------------------------------------------------


def _file(chart: Chart) -> _Filed:
    """The patient's resources (and those that name no patient); those of somebody else are named."""
    filed = _Filed()
    names: set[str | None] = {f"Patient/{chart.patient_id}", chart.patient_id, *_also_known(chart)}
    for resource in chart.resources:
        if _is_own(resource, chart.patient_id, names):
            _put(filed, resource)
        else:
            filed.foreign.append(resource)
    for resource in chart.drafts:
        if isinstance(resource, _INDEXED):
            _put(filed, resource)
    return filed


def _also_known(chart: Chart) -> set[str]:
    """Full URLs (urn:uuid:…) under which the patient's own Patient resource is referred to."""
    patients = (r for r in chart.resources if isinstance(r, Patient))
    return {r.where for r in patients if total.text(r.id) == chart.patient_id and r.where}


def _is_own(resource: Resource, patient_id: str, names: set[str | None]) -> bool:
    """`names` are the references under which the patient is known; it learns further spellings."""
    subject = _subject(resource)
    if subject in names or not patient_id:
        return True
    if isinstance(resource, Patient):
        return total.text(resource.id) == patient_id or resource.where in names
    if not subject or subject.startswith("#") or isinstance(resource, _INDEXED):
        return True
    if total.local_reference(subject) in names:
        names.add(subject)
        return True
    return False


def _subject(resource: Resource) -> str:
    """The patient whom a resource names, or ""."""
    named = resource.subject
    if named is None or not named.reference:
        named = resource.patient
    return (named.reference or "") if named else ""


def _put(filed: _Filed, resource: Resource) -> None:
    if isinstance(resource, Observation):
        _keep(filed.observations, resource)
    elif isinstance(resource, Prescribed):
        _keep(filed.medications, resource)
    elif isinstance(resource, resources.Condition):
        _keep(filed.conditions, resource)
    elif isinstance(resource, ServiceRequest):
        _keep(filed.requests, resource)
    elif isinstance(resource, Patient):
        _keep(filed.patients, resource)
    elif isinstance(resource, Encounter):
        _keep(filed.encounters, resource)
    elif isinstance(resource, _INDEXED):
        filed.index |= {name(resource): resource, resource.where: resource}


def _keep(shelf: dict[object, R], resource: R) -> None:
    """Each resource once, in its latest version, although several prefetch keys may hold it; ones without id all."""
    key = (type(resource), resource.id) if resource.id else id(resource)
    known = shelf.setdefault(key, resource)
    if known is not resource and _version(resource) > _version(known):
        shelf[key] = resource


def _version(resource: Resource) -> tuple[float, int, bool]:
    """Greater for a later version of the same resource."""
    meta = one(resource.meta, Meta) or Meta()
    updated, number = total.when(meta.lastUpdated, UTC), total.text(meta.versionId)
    corrected = isinstance(resource, Observation) and resource.status in {"corrected", "amended", "entered-in-error"}
    return (
        updated.end.timestamp() if updated else 0.0,
        int(number) if number.isdecimal() and len(number) < 20 else 0,
        corrected,
    )


# ---- one reader per kind --------------------------------------------------------------------------------------------


def _recent(observations: Iterable[Observation], reading: Reading, basket: _Basket) -> None:
    """Of each analyte the results as far back as the rules look, and at least one that can be used; newest first.

    A chart may hold a thousand results of which the rules use ten; only these are decoded.
    """
    filed: dict[Analyte, list[Observation]] = {}
    for resource in observations:
        meaning, day = meaning_of(resource.code, reading.codes), resource.effectiveDateTime
        if resource.component or (meaning and (day is None or len(day) < 10)):
            _observation(resource, reading, basket)  # undated, or with components: read it
        elif isinstance(meaning, Meaning):
            filed.setdefault(meaning.analyte, []).append(resource)
    for analyte, results in filed.items():
        earliest = reading.as_of - LOOKS_BACK.get(analyte, LOOKS_BACK_USUALLY)
        results.sort(key=attrgetter("effectiveDateTime"), reverse=True)
        _newest(results, earliest, reading, basket)


def _newest(results: Iterable[Observation], earliest: datetime, reading: Reading, basket: _Basket) -> None:
    """Read results, newest first; once one can be used, no earlier one that is too old. Zones may disturb the order."""
    limit: datetime | None = None
    for resource in results:
        taken = total.when(resource.effectiveDateTime, reading.zone) if limit else None
        if taken and limit and taken.end < limit:
            continue
        found = len(basket.labs)
        _observation(resource, reading, basket)
        usable = [lab.taken.end for lab in basket.labs[found:] if lab.problem is None and lab.taken]
        if usable and not limit:
            limit = min(earliest, *usable)


def _observation(resource: Observation, reading: Reading, basket: _Basket, explain: bool = False) -> None:
    found = False
    for word in read_observation(resource, reading):
        found = True
        if isinstance(word, DataIssue):
            basket.issues.append(word)
        else:
            basket.labs.append(word)
    if explain and not found:
        basket.issues.append(DataIssue(name(resource), _PANEL if is_panel(resource) else _NO_ANALYTE))


_PANEL = Text("A panel without a value of its own: its members are read.")
_NO_ANALYTE = Text("No analyte that the rules use; if it is one, map its code in the site file.")
_NOT_KNOWN_TAKEN = Text("It is not known whether this is taken: not counted as taken.")


def _medication(resource: Prescribed, reading: Reading, basket: _Basket) -> None:
    word = read_medication(resource, reading)
    if isinstance(word, DataIssue):
        basket.issues.append(word)
        return
    basket.medications.append(word)
    if word.exposure is Exposure.UNKNOWN:
        basket.issues.append(DataIssue(word.reference, _NOT_KNOWN_TAKEN))


def _condition(resource: resources.Condition, reading: Reading, basket: _Basket, explain: bool) -> None:
    word = read_condition(resource, reading)
    if isinstance(word, Condition):
        basket.conditions.append(word)
    elif explain:
        basket.issues.append(word)


def _read_drafts(chart: Chart, reading: Reading, basket: _Basket) -> None:
    selected = {total.local_reference(selection) for selection in chart.selections}
    for resource in chart.drafts:
        chosen = chart.hook is not Hook.ORDER_SELECT or name(resource) in selected
        for word in read_order(resource, chosen, reading):
            if isinstance(word, DataIssue):
                basket.issues.append(word)
                continue
            basket.orders.append(word)
            if word.test is not None:
                basket.pending.add(word.test)


def sole_patient(resources: Iterable[Resource]) -> str | None:
    """The id of the only patient of a Bundle: its one Patient, else the one subject all resources name.

    None if there are several; "" if nobody is named.
    """
    listed = list(resources)
    patients = {total.text(r.id) for r in listed if isinstance(r, Patient)}
    if len(patients) == 1:
        return patients.pop()
    subjects = {total.local_reference(s) for r in listed if isinstance(r, _CLINICAL) and (s := _subject(r))}
    if len(patients) > 1 or len(subjects) > 1:
        return None
    return subjects.pop().removeprefix("Patient/") if subjects else ""
