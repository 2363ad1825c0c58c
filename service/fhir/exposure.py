"""Taken or not, since when, until when: what is doubtful is unknown and named, never "ended"."""

from __future__ import annotations

from datetime import UTC, timedelta, tzinfo
from decimal import Decimal
from typing import NamedTuple

from service.fhir import primitives, resources
from service.fhir.context import ReadContext
from service.fhir.decode import concept
from service.fhir.dosage import minutes_unit, phases
from service.fhir.resources import (
    Dosage,
    MedicationAdministration,
    MedicationDispense,
    MedicationRequest,
    MedicationStatement,
    Prescribed,
    Quantity,
)
from service.logic.message import Message
from service.logic.model import Exposure, PartialDateTime

Span = tuple[PartialDateTime | None, PartialDateTime | None]


class Course(NamedTuple):
    """Whether a medication is taken, from when to when, and what is doubtful about it."""

    exposure: Exposure
    start: PartialDateTime | None
    end: PartialDateTime | None
    doubt: Message | None = None


_STATUS = {
    "active": Exposure.ACTIVE, "in-progress": Exposure.ACTIVE, "recorded": Exposure.ACTIVE,
    "completed": Exposure.ENDED, "stopped": Exposure.ENDED, "ended": Exposure.ENDED,
    "on-hold": Exposure.NOT_TAKEN, "cancelled": Exposure.NOT_TAKEN, "not-taken": Exposure.NOT_TAKEN,
    "not-done": Exposure.NOT_TAKEN, "intended": Exposure.NOT_TAKEN, "declined": Exposure.NOT_TAKEN,
    "preparation": Exposure.NOT_TAKEN, "draft": Exposure.NOT_TAKEN,
}  # fmt: skip
NOT_KNOWN = Message("It is not known whether this is taken: not counted as taken.")
_GOES_ON = Message("Its status says completed, its own period that it goes on: read as taken.")
_LONGEST_SUPPLY = 1000  # days; a longer course or supply is a slip of the pen


def read_course(resource: Prescribed, dosages: list[Dosage], context: ReadContext) -> Course:
    """The course of one medication, as its source states it."""
    status = primitives.text(resource.status)
    start, end = _times(resource, status, dosages, context)
    exposure = _exposure(resource, status, context, end)
    if exposure is Exposure.ENDED and status == "completed" and end and context.is_ahead(end.start):
        return Course(Exposure.ACTIVE, start, end, _GOES_ON)
    return Course(exposure, start, end, NOT_KNOWN if exposure is Exposure.UNKNOWN else None)


def _exposure(resource: Prescribed, status: str, context: ReadContext, end: PartialDateTime | None) -> Exposure:
    """Taken, ended, not taken or unknown."""
    if isinstance(resource, MedicationDispense):
        return Exposure.NOT_TAKEN if resource.notDone else _dispensed(status, context, end)
    exposure = _STATUS.get(status, Exposure.UNKNOWN)
    if isinstance(resource, MedicationStatement):
        return Exposure.NOT_TAKEN if _denied(resource) else exposure
    if isinstance(resource, MedicationAdministration):
        return Exposure.NOT_TAKEN if resource.notGiven or resource.wasNotGiven else exposure
    return _requested(resource, exposure) if isinstance(resource, MedicationRequest) else exposure


def _denied(resource: MedicationStatement) -> bool:
    """DSTU2, STU3 and R5 say in members of their own that a medication is not taken, whatever the status."""
    said = concept(resource.adherence.code).codings if resource.adherence else ()
    not_taking = any(coding.code.startswith("not-taking") for coding in said)
    return bool(resource.wasNotTaken) or resource.taken == "n" or not_taking


def _requested(resource: MedicationRequest, exposure: Exposure) -> Exposure:
    """A proposal is not taken; a plan is not yet an order, unless it is how somebody reports what the patient takes."""
    intent = primitives.text(resource.intent)
    if resource.doNotPerform or intent in {"proposal", "option"}:
        return Exposure.NOT_TAKEN
    reported = resource.reportedBoolean or resource.reportedReference or resource.reported
    planned = intent == "plan" and not reported and exposure is Exposure.ACTIVE
    return Exposure.UNKNOWN if planned else exposure


def _dispensed(status: str, context: ReadContext, end: PartialDateTime | None) -> Exposure:
    """A dispense counts as taken while its supply lasts; of one that was broken off nobody knows."""
    if status in {"completed", "in-progress"} and end is not None:
        return Exposure.ENDED if context.is_past(end.end) else Exposure.ACTIVE
    not_handed_over = {"preparation", "cancelled", "on-hold", "declined"}
    return Exposure.NOT_TAKEN if status in not_handed_over else Exposure.UNKNOWN


# ---- times ----------------------------------------------------------------------------------------------------------


def _times(resource: Prescribed, status: str, dosages: list[Dosage], context: ReadContext) -> Span:
    """Since when and until when; an event without a period has ended when it happened."""
    zone = context.zone
    if isinstance(resource, MedicationRequest):
        return _ordered(resource, dosages, zone)
    if isinstance(resource, MedicationStatement):
        start, end = primitives.period(resource.effectivePeriod, zone)
        return (start, end) if start or end else (primitives.when(resource.effectiveDateTime, zone), None)
    if isinstance(resource, MedicationAdministration):
        return _administered(resource, status, context)
    return _supply(resource, context) if isinstance(resource, MedicationDispense) else (None, None)


def _ordered(resource: MedicationRequest, dosages: list[Dosage], zone: tzinfo) -> Span:
    """From the first start of all its dosages to the end of the last phase; one without an end leaves it open."""
    bounds = [dosage.timing.repeat.boundsPeriod for dosage in dosages if dosage.timing and dosage.timing.repeat]
    starts = [start for period in bounds if (start := primitives.period(period, zone)[0])]
    start = min(starts, key=lambda moment: moment.start, default=primitives.when(resource.authoredOn, zone))
    return start, _last_end(dosages, start, zone) or primitives.when(resource.dateEnded, zone)


def _last_end(dosages: list[Dosage], start: PartialDateTime | None, zone: tzinfo) -> PartialDateTime | None:
    """The end of the last phase; within one the latest, and none if one of its dosages has none."""
    at, end = start, None
    for phase in phases(dosages):
        ends = [_end_of(dosage, at, zone) for dosage in phase]
        known = [moment for moment in ends if moment]
        end = max(known, key=lambda moment: moment.end) if len(known) == len(ends) else None
        at = end or at
    return end


def _end_of(dosage: Dosage, at: PartialDateTime | None, zone: tzinfo) -> PartialDateTime | None:
    """The end of one dosage: stated, or its duration after its start or after `at`."""
    repeat = dosage.timing.repeat if dosage.timing else None
    if repeat is None:
        return None
    start, end = primitives.period(repeat.boundsPeriod, zone)
    longest = repeat.boundsDuration or (repeat.boundsRange and (repeat.boundsRange.high or repeat.boundsRange.low))
    return end or _after(start or at, _days(longest or None))


def not_over(dosages: list[Dosage], context: ReadContext) -> list[Dosage]:
    """Dosages without those that are stated to be over, if any is left."""
    ends = [(dosage, _end_of(dosage, None, context.zone)) for dosage in dosages]
    return [dosage for dosage, end in ends if end is None or not context.is_past(end.end)] or dosages


def _days(duration: Quantity | None) -> Decimal | None:
    number = primitives.number(duration.value) if duration else None
    minutes = minutes_unit(duration)
    days = number * minutes / 1440 if number and minutes else None
    return days if days is not None and 0 < days < _LONGEST_SUPPLY else None


def _after(start: PartialDateTime | None, days: Decimal | None) -> PartialDateTime | None:
    if start is None or days is None:
        return None
    span = timedelta(minutes=float(days * 1440))
    return PartialDateTime(start.start + span, start.end + span)


def _occurred(resource: MedicationAdministration) -> resources.Period | None:
    return resource.effectivePeriod or resource.occurencePeriod or resource.occurrencePeriod


def _administered(resource: MedicationAdministration, status: str, context: ReadContext) -> Span:
    start, end = primitives.period(_occurred(resource), context.zone)
    if start or end:
        return start, end
    given = resource.effectiveDateTime or resource.occurenceDateTime or resource.occurrenceDateTime
    moment = primitives.when(given, context.zone)
    return moment, moment if status == "completed" else None


def _supply(resource: MedicationDispense, context: ReadContext) -> Span:
    """From the day on which it was handed over, for as long as the supply lasts, where that is stated."""
    handed = primitives.when(resource.whenHandedOver, context.zone)
    days = primitives.number(resource.daysSupply.value) if resource.daysSupply else None
    lasts = Decimal(int(days)) if days is not None and 0 < days < _LONGEST_SUPPLY else None
    return handed, _after(handed, lasts)


def minutes_it_lasted(resource: Prescribed) -> Decimal | None:
    """How many minutes an administration took."""
    if not isinstance(resource, MedicationAdministration):
        return None
    start, end = primitives.period(_occurred(resource), UTC)
    if start is None or end is None or start.date_only or end.date_only:
        return None
    minutes = Decimal((end.end - start.start).total_seconds()) / 60
    return minutes if minutes > 0 else None
