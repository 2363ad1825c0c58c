"""The moments at which somebody would have asked: chart days, magnesium results, orders signed, stays begun, ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import Final

from service.fhir.observation import meaning_of
from service.fhir.ownership import EvaluationInput
from service.fhir.primitives import has_zone
from service.fhir.resources import Observation
from service.history.chart import Entry, History, Stay
from service.history.phase import known_at
from service.logic.model import Analyte, Hook
from service.terminology.analytes import LabCodes, Meaning


class Kind(StrEnum):
    """What happened, as `--events` names it."""

    DAYS = "days"
    RESULTS = "results"
    ORDERS = "orders"
    LAB_ORDERS = "lab-orders"
    ENCOUNTERS = "encounters"


@dataclass(frozen=True, slots=True)
class Event:
    """A moment at which the service is asked, and the drafts that are being signed."""

    at: datetime
    kind: Kind
    hook: Hook
    stay: Stay | None
    drafts: tuple[Entry, ...] = ()
    results: tuple[str, ...] = ()  # references of the new results


MAGNESIUM: Final = {Analyte.SERUM_MAGNESIUM, Analyte.IONISED_MAGNESIUM, Analyte.RBC_MAGNESIUM}
_LONGEST_VISIT: Final = timedelta(days=30)  # of an ambulatory encounter; longer ones are series of visits
_AMBULATORY: Final = {"amb", "hh", "vr", "fld", "outpatient", "ambulatory"}
_DRAFT: Final = {"status": "draft"}
_NOT_SIGNED: Final = {"draft", "entered-in-error"}


def events(history: History, kinds: frozenset[Kind], codes: LabCodes, hour: int = 8) -> list[Event]:
    """The events of some kinds in a patient's history, in the order of time."""
    found: list[Event] = []
    if Kind.DAYS in kinds:
        found += _days(history, hour)
    if Kind.ENCOUNTERS in kinds:
        found += _encounters(history)
    if Kind.RESULTS in kinds:
        found += _results(history, codes)
    found += (event for event in _orders(history) if event.kind in kinds)
    order = list(Kind)
    return sorted(found, key=lambda event: (event.at, order.index(event.kind), event.hook))


def _days(history: History, hour: int) -> Iterator[Event]:
    """Each day of a stay at the set hour of the clock by which its beginning was written; no moment twice."""
    seen: set[datetime] = set()
    for stay in history.stays:
        if stay.within or not _is_stay(stay):
            continue
        moment = _local(stay.start, history.frame.zone).replace(hour=hour, minute=0, second=0, microsecond=0)
        moment += timedelta(days=moment < stay.start)
        while stay.end and moment < stay.end:
            if moment not in seen:
                yield Event(moment, Kind.DAYS, Hook.PATIENT_VIEW, history.stay_at(moment))
            seen.add(moment)
            moment += timedelta(days=1)


def _is_stay(stay: Stay) -> bool:
    """An ambulatory encounter of months without an admission is a series of visits; its days are no chart days."""
    if stay.end is None:
        return False
    return stay.admitted or not stay.classes & _AMBULATORY or stay.end - stay.start <= _LONGEST_VISIT


def _local(moment: datetime, zone: tzinfo) -> datetime:
    """By the clock on the wall: the offset as written, or the site's zone where the time is written in UTC."""
    return moment.astimezone(zone) if moment.utcoffset() == timedelta() else moment


def _encounters(history: History) -> Iterator[Event]:
    for stay in history.stays:
        if not stay.within:
            yield Event(stay.start, Kind.ENCOUNTERS, Hook.ENCOUNTER_START, stay)
            if stay.end and stay.end > stay.start:
                last = stay.end - timedelta(seconds=1)  # while it is still in progress
                yield Event(last, Kind.ENCOUNTERS, Hook.ENCOUNTER_DISCHARGE, stay)


def _results(history: History, codes: LabCodes) -> Iterator[Event]:
    """Each moment at which a magnesium became known, judged as if the chart were opened then."""
    new: dict[datetime, list[str]] = {}
    for entry in history.of("Observation"):
        known = known_at(entry.dates, history.frame)
        if known and _is_magnesium(entry, codes):
            new.setdefault(known, []).append(entry.name)
    for moment, names in new.items():
        yield Event(moment, Kind.RESULTS, Hook.PATIENT_VIEW, history.stay_at(moment), results=tuple(names))


def _is_magnesium(entry: Entry, codes: LabCodes) -> bool:
    resource = entry.phase(0)
    found = meaning_of(resource.code, codes) if isinstance(resource, Observation) else None
    return isinstance(found, Meaning) and found.analyte in MAGNESIUM


def _orders(history: History) -> Iterator[Event]:
    """Orders written at the same moment are signed together."""
    together: dict[datetime, list[Entry]] = {}
    for kind in ("MedicationRequest", "ServiceRequest"):
        for entry in history.of(kind):
            written = history.frame.at(entry.dates.authored_on)
            if written and entry.dates.status not in _NOT_SIGNED and has_zone(entry.dates.authored_on or ""):
                together.setdefault(written.astimezone(UTC), []).append(entry)
    for moment, entries in together.items():
        drugs = any(entry.dates.resource_type == "MedicationRequest" for entry in entries)
        kind = Kind.ORDERS if drugs else Kind.LAB_ORDERS
        yield Event(moment, kind, Hook.ORDER_SIGN, history.stay_at(moment), tuple(entries))


def chart_at(history: History, event: Event) -> EvaluationInput:
    """What the EHR would have sent at an event."""
    moment = event.at.astimezone(history.frame.zone)
    drafts = (entry.read({**_DRAFT, **entry.fixed}) for entry in event.drafts)
    return EvaluationInput(
        patient_id=history.patient,
        as_of=moment,
        hook=event.hook,
        encounter_id=event.stay.name.removeprefix("Encounter/") if event.stay else "",
        resources=history.chart(event.at, without=event.drafts),
        drafts=tuple(draft for draft in drafts if draft is not None),
    )
