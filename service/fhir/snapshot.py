"""Resources -> one PatientSnapshot: each on its own, foreign patients' dropped and named, nothing lost in silence."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, tzinfo
from operator import attrgetter
from types import MappingProxyType
from typing import TypeVar

from service.fhir import primitives, resources
from service.fhir.condition import read_condition
from service.fhir.context import NOT_SENT, TRUNCATED, ReadContext, name
from service.fhir.medication import read_medication
from service.fhir.observation import is_panel, meaning_of, read_observation
from service.fhir.order import pending_tests, read_order
from service.fhir.ownership import EvaluationInput, ResourceIndex, index_resources
from service.fhir.panels import of_another_specimen
from service.fhir.patient import birth, finished, inpatient, sex
from service.fhir.resources import Observation, Prescribed, Resource
from service.logic.formulas import completed_years
from service.logic.knowledge import Knowledge
from service.logic.message import Message
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
from service.logic.windows import look_back
from service.terminology.analytes import LAB_CODES, LabCodes, Meaning
from service.terminology.drugs import DRUG_VOCABULARY, DrugVocabulary
from service.terminology.queries import QUERIES, keys_of
from service.terminology.systems import NO_LOCAL_SYSTEMS, CodeSystems

R = TypeVar("R", bound=Resource)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Site:
    """What a site decides about reading."""

    zone: tzinfo
    knowledge: Knowledge
    codes: LabCodes = LAB_CODES
    vocabulary: DrugVocabulary = DRUG_VOCABULARY
    systems: CodeSystems = NO_LOCAL_SYSTEMS
    accept_unknown_status: bool = True
    profile: str = "default"
    research: bool = False


@dataclass(slots=True)
class SnapshotBuilder:
    """Words while they are collected."""

    labs: list[LabResult] = field(default_factory=list)
    medications: list[Medication] = field(default_factory=list)
    conditions: list[Condition] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    issues: list[DataIssue] = field(default_factory=list)
    pending: set[Analyte] = field(default_factory=set)
    unrecognised_medications: int = 0


def read_snapshot(chart: EvaluationInput, site: Site, explain: bool = False) -> PatientSnapshot:
    """The patient in the words of the logic; with `explain`, resources without meaning for the rules are named too."""
    index = index_resources(chart)
    context = _context(chart, site, index)
    context = replace(context, panels=of_another_specimen(index.observations.values(), index.reports, context))
    builder = SnapshotBuilder(
        issues=[*chart.issues, *(DataIssue(name(resource), _OTHER_PATIENT) for resource in index.other_patient)]
    )
    _refused(index, builder)
    _read(index, context, builder, explain)
    _read_drafts(chart, context, builder)
    unavailable, incomplete = _unanswered(chart, index, builder.labs, context)
    return PatientSnapshot(
        reference=f"Patient/{chart.patient_id}" if chart.patient_id else "Patient",
        as_of=chart.as_of,
        hook=chart.hook,
        birth=context.birth,
        sex=context.sex,
        inpatient=inpatient(index.encounters.values(), chart.encounter_id),
        labs=tuple(builder.labs),
        medications=tuple(builder.medications),
        conditions=tuple(builder.conditions),
        orders=tuple(builder.orders),
        pending=frozenset(builder.pending),
        issues=tuple(builder.issues),
        unrecognised_medications=builder.unrecognised_medications,
        unavailable=unavailable,
        incomplete=incomplete,
        profile=site.profile,
        research=site.research,
    )


def _refused(index: ResourceIndex, builder: SnapshotBuilder) -> None:
    """Named, and a medication among them is one that was not recognised."""
    builder.issues += [DataIssue(name(resource), _TWICE) for resource in index.refused]
    builder.unrecognised_medications += sum(each.kind.startswith("Medication") for each in index.refused)


_TWICE = Message("A member stands twice in it: refused, since nobody knows which is meant.")


def _read(index: ResourceIndex, context: ReadContext, builder: SnapshotBuilder, explain: bool) -> None:
    for medication in index.medications.values():
        _medication(medication, context, builder)
    for condition in index.conditions.values():
        _condition(condition, context, builder, explain)
    for request in index.requests.values():
        builder.pending.update(pending_tests(request, context))
    if not explain:
        _recent(index.observations.values(), context, builder)
        return
    for observation in index.observations.values():
        _observation(observation, context, builder, explain)


def _context(chart: EvaluationInput, site: Site, index: ResourceIndex) -> ReadContext:
    patient = next(iter(index.patients.values()), None)
    return ReadContext(
        as_of=chart.as_of,
        zone=site.zone,
        knowledge=site.knowledge,
        codes=site.codes,
        vocabulary=site.vocabulary,
        systems=site.systems,
        accept_unknown_status=site.accept_unknown_status,
        birth=birth(patient, site.zone),
        sex=sex(patient),
        finished=finished(index.encounters.values(), chart.as_of, site.zone),
        index=index.named,
        memory=chart.memory,
    )


def _unanswered(
    chart: EvaluationInput, index: ResourceIndex, labs: Collection[LabResult], context: ReadContext
) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """The keys that nothing among the resources answers, with the reason, and those answered only in part.

    A key counts as answered when what it asks for came under another: what a resource is, the resource decides.
    """
    if not chart.asked and not chart.unavailable:
        return chart.unavailable, ()
    came = (index.patients, index.encounters, index.medications, index.conditions)
    answered = keys_of(
        {resource.resourceType for held in came for resource in held.values()}, {result.analyte for result in labs}
    )
    lacking = dict(chart.unavailable)
    if index.other_patient:
        lacking |= dict.fromkeys(chart.asked & _keys_of(index.other_patient, context), ONLY_OTHER_PATIENT)
    if not index.patients and "patient" in chart.asked and "patient" not in chart.unavailable:
        lacking["patient"] = "no Patient resource of this patient came"
    lacking |= {key: UNIDENTIFIED for key in _unidentified(chart, labs) if key not in lacking}
    whole = {key: why for key, why in lacking.items() if key not in answered and _is_needed(key, context)}
    part = tuple(key for key, why in chart.unavailable.items() if key in answered and why not in {NOT_SENT, TRUNCATED})
    return MappingProxyType(whole), part


def _unidentified(chart: EvaluationInput, labs: Collection[LabResult]) -> Iterator[str]:
    """Keys under which something came, but no result that they ask for; a mixed Bundle may hold none of it."""
    of_reference = {lab.reference: lab.analyte for lab in labs}
    for keys, came in chart.filled:
        wanted = {analyte for key in keys if key in QUERIES for analyte in QUERIES[key].analytes}
        if not wanted:
            continue
        names = {name(resource) for resource in came if isinstance(resource, Observation)}
        known = {of_reference[each] for each in names & of_reference.keys()}
        other_kinds = {resource.resourceType for resource in came if not isinstance(resource, Observation)}
        if known.isdisjoint(wanted) and len(known) + len(other_kinds) < 2:
            yield from (key for key in keys if key in QUERIES and QUERIES[key].analytes)


def _is_needed(key: str, context: ReadContext) -> bool:
    """False for what only a child's rules use, in an adult."""
    if key not in QUERIES or not QUERIES[key].children or context.birth is None:
        return True
    youngest = completed_years(context.birth.end.date(), context.as_of.date())
    return youngest < context.knowledge.value("child-age")


def _keys_of(resources: Iterable[Resource], context: ReadContext) -> set[str]:
    listed = list(resources)
    meanings = [meaning_of(r.code, context.codes) for r in listed if isinstance(r, Observation)]
    return keys_of({r.resourceType for r in listed}, {m.analyte for m in meanings if isinstance(m, Meaning)})


ONLY_OTHER_PATIENT = "only another patient's data came"
UNIDENTIFIED = "what came could not be identified"  # a local code that the site file does not map, most likely
_OTHER_PATIENT = Message("Belongs to another patient: dropped.")


# ---- one reader per kind --------------------------------------------------------------------------------------------


_SORTABLE = re.compile(r"\d{4}-\d\d-\d\d")  # a day at least, in the order of the alphabet


def _recent(observations: Iterable[Observation], context: ReadContext, builder: SnapshotBuilder) -> None:
    """Of each analyte the results as far back as the rules look, and at least one that can be used; newest first.

    A chart may hold a thousand results of which the rules use ten; only these are decoded.
    """
    index: dict[Analyte, list[Observation]] = {}
    for resource in observations:
        meaning, day = meaning_of(resource.code, context.codes), resource.effectiveDateTime
        if resource.component or (meaning and (day is None or not _SORTABLE.match(day))):
            _observation(resource, context, builder)  # undated, or with components: read it
        elif isinstance(meaning, Meaning):
            index.setdefault(meaning.analyte, []).append(resource)
    spans = look_back(context.knowledge, index)
    for analyte, results in index.items():
        earliest = None if spans[analyte] == timedelta.max else context.as_of - spans[analyte]
        results.sort(key=attrgetter("effectiveDateTime"), reverse=True)
        _newest(results, earliest, context, builder)


def _newest(
    results: Iterable[Observation], earliest: datetime | None, context: ReadContext, builder: SnapshotBuilder
) -> None:
    """Read results, newest first; once one can be used, no earlier one that is too old. Zones may disturb the order."""
    limit: datetime | None = None
    for resource in results:
        taken = primitives.when(resource.effectiveDateTime, context.zone) if limit else None
        if taken and limit and taken.end < limit:
            continue
        found = len(builder.labs)
        _observation(resource, context, builder)
        usable = [lab.taken.end for lab in builder.labs[found:] if lab.problem is None and lab.taken]
        if usable and not limit and earliest:
            limit = min(earliest, *usable)


def _read_once(resource: R, context: ReadContext, read: Callable[[R, ReadContext], T]) -> T:
    """What a reader finds, remembered where the same resource is looked at at many moments.

    A result of which a panel says something is read anew: the panel may have come later.
    """
    if context.memory is None or name(resource) in context.panels or resource.full_url in context.panels:
        return read(resource, context)
    return context.memory.recall(resource, context.as_of, lambda: read(resource, context))


def _read_observation(resource: Observation, context: ReadContext) -> tuple[LabResult | DataIssue, ...]:
    return tuple(read_observation(resource, context))


def _observation(resource: Observation, context: ReadContext, builder: SnapshotBuilder, explain: bool = False) -> None:
    found = False
    for word in _read_once(resource, context, _read_observation):
        found = True
        if isinstance(word, DataIssue):
            builder.issues.append(word)
        else:
            builder.labs.append(word)
    if explain and not found:
        builder.issues.append(DataIssue(name(resource), _PANEL if is_panel(resource) else _NO_ANALYTE))


_PANEL = Message("A panel without a value of its own: its members are read.")
_NO_ANALYTE = Message("No analyte that the rules use; if it is one, map its code in the site file.")


def _medication(resource: Prescribed, context: ReadContext, builder: SnapshotBuilder) -> None:
    read = _read_once(resource, context, read_medication)
    builder.issues += read.issues
    builder.unrecognised_medications += read.gap
    if read.medication is not None:
        builder.medications.append(read.medication)


def _condition(resource: resources.Condition, context: ReadContext, builder: SnapshotBuilder, explain: bool) -> None:
    word = read_condition(resource, context)
    if isinstance(word, Condition):
        builder.conditions.append(word)
    elif explain:
        builder.issues.append(word)


def _read_drafts(chart: EvaluationInput, context: ReadContext, builder: SnapshotBuilder) -> None:
    selected = {primitives.local_reference(selection) for selection in chart.selections}
    for resource in chart.drafts:
        chosen = chart.hook is not Hook.ORDER_SELECT or name(resource) in selected
        for word in read_order(resource, chosen, context):
            if isinstance(word, DataIssue):
                builder.issues.append(word)
                continue
            builder.orders.append(word)
            if word.test is not None:
                builder.pending.add(word.test)
            if word.medication is not None and chart.hook is Hook.MEDICATION_REFILL:
                builder.medications.append(replace(word.medication, exposure=Exposure.ACTIVE, start=None, end=None))
