"""A chart as it was at a time: of each resource, from when it was known, and what it said then. Pure.

An export tells how things ended. Looked at from within, a result is known when it was issued, an order that is
completed today was active, a stay was in progress, a diagnosis coded for a stay was unknown until the stay was over.
Each resource becomes a row of `Phase`s (from when until when, and with what members changed); what cannot be placed in
time has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec

from service.fhir import primitives
from service.fhir.decode import decode_lenient
from service.fhir.primitives import local_reference
from service.fhir.resources import Period, Reference

BEGINNING: Final = datetime.min.replace(tzinfo=UTC)
FOREVER: Final = datetime.max.replace(tzinfo=UTC)
Changes = Mapping[str, Any]  # members of a resource as they were; None for one that was not there
AS_IT_IS: Final[Changes] = MappingProxyType({})


class Phase(NamedTuple):
    """From `begins` until before `ends` the resource is on the chart, with `changes`."""

    begins: datetime
    ends: datetime = FOREVER
    changes: Changes = AS_IT_IS


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What an export does not say: delays, and how far back a chart is asked for (as the prefetch queries do)."""

    lag: timedelta = timedelta(minutes=60)  # from collection to result, where `issued` is absent
    order_lasts: timedelta = timedelta(days=1)  # an ended order whose end is not told
    results_back: timedelta = timedelta(days=400)
    orders_back: timedelta = timedelta(days=200)  # after their end
    administrations_back: timedelta = timedelta(days=14)
    statements_back: timedelta = timedelta(days=60)


# ---- what is read of a resource ------------------------------------------------------------------------------------


class _Supply(msgspec.Struct, rename="camel"):
    validity_period: Period | None = None


class _Repeat(msgspec.Struct, rename="camel"):
    bounds_period: Period | None = None


class _Timing(msgspec.Struct):
    repeat: _Repeat | None = None


class _Dosage(msgspec.Struct):
    timing: _Timing | None = None


class Dates(msgspec.Struct, rename="camel"):
    """Of a resource, everything that places it in time."""

    resource_type: str | None = None
    id: str | None = None
    status: str | None = None
    category: msgspec.Raw = msgspec.Raw(b"")
    class_: msgspec.Raw = msgspec.field(default=msgspec.Raw(b""), name="class")
    period: Period | None = None
    part_of: Reference | None = None
    hospitalization: msgspec.Raw = msgspec.Raw(b"")
    admission: msgspec.Raw = msgspec.Raw(b"")  # R5
    encounter: Reference | None = None
    context: Reference | None = None
    based_on: list[Reference] | None = None
    issued: str | None = None
    effective_date_time: str | None = None
    effective_period: Period | None = None
    effective_instant: str | None = None
    occurrence_date_time: str | None = None
    occurrence_period: Period | None = None
    occurence_date_time: str | None = None  # R5 spells an administration's time with one r less
    occurence_period: Period | None = None
    authored_on: str | None = None
    dispense_request: _Supply | None = None
    dosage_instruction: list[_Dosage] | None = None
    date_asserted: str | None = None
    asserted_date: str | None = None  # STU3
    recorded_date: str | None = None
    onset_date_time: str | None = None
    onset_period: Period | None = None
    abatement_date_time: str | None = None
    abatement_period: Period | None = None
    when_handed_over: str | None = None
    when_prepared: str | None = None
    deceased_date_time: str | None = None

    @property
    def admitted(self) -> bool:
        """An encounter that tells of an admission."""
        return bool(bytes(self.hospitalization) or bytes(self.admission))


def dates_of(content: bytes) -> Dates:
    """The dates of a resource; members that do not fit their type are left out."""
    found = decode_lenient(content, Dates)
    return found if isinstance(found, Dates) else Dates()


@dataclass(frozen=True, slots=True)
class Timeframe:
    """What places a resource in time besides its own dates."""

    zone: tzinfo
    stays: Mapping[str, tuple[datetime, datetime | None]] = field(default_factory=dict)  # by Encounter/id
    answered: Mapping[str, datetime] = field(default_factory=dict)  # ServiceRequest/id -> its first result was known
    assume: Assumptions = field(default_factory=Assumptions)

    def at(self, *values: str | None) -> datetime | None:
        """The first of some dates that can be read; of a part of a date its end, for before that it is not sure."""
        return next((found.end for value in values if (found := primitives.when(value, self.zone))), None)

    def period(self, *periods: Period | None) -> tuple[datetime | None, datetime | None]:
        """Start and end of the first period that has either."""
        for period in periods:
            start, end = primitives.period(period, self.zone)
            if start or end:
                return (start.start if start else None), (end.end if end else None)
        return None, None


def phases(dates: Dates, frame: Timeframe) -> list[Phase]:
    """The phases of a resource, in order; none if it cannot be placed in time."""
    reader = _READERS.get(dates.resource_type or "")
    found = reader(dates, frame) if reader else iter((Phase(BEGINNING),))
    return [phase for phase in found if phase.begins < phase.ends]


# ---- by kind -------------------------------------------------------------------------------------------------------


def _always(dates: Dates, frame: Timeframe) -> Iterator[Phase]:
    """A Patient: born once, and alive until dead."""
    died = frame.at(dates.deceased_date_time)
    alive = {"deceasedDateTime": None, "deceasedBoolean": None}
    yield Phase(BEGINNING, died or FOREVER, alive)
    if died:
        yield Phase(died)


def known_at(dates: Dates, frame: Timeframe) -> datetime | None:
    """When an Observation was known: issued, else collected and some time for the laboratory."""
    issued = frame.at(dates.issued)
    start, end = frame.period(dates.effective_period)
    taken = frame.at(dates.effective_date_time) or end or start or frame.at(dates.effective_instant)
    if issued:
        return max(issued, taken) if taken else issued
    return taken + (frame.assume.lag if _is_laboratory(dates) else timedelta()) if taken else None


def _is_laboratory(dates: Dates) -> bool:
    said = bytes(dates.category)
    return not said or b"vital-signs" not in said


def _observation(dates: Dates, frame: Timeframe) -> Iterator[Phase]:
    known = known_at(dates, frame)
    if known:
        taken = frame.at(dates.effective_date_time, dates.effective_instant) or known
        yield Phase(known, taken + frame.assume.results_back)


_ONGOING: Final = {"active", "completed", "stopped", "ended", "unknown", ""}  # once they were active


def _request(dates: Dates, frame: Timeframe) -> Iterator[Phase]:
    """Active from when it was written until its end; then as it is today."""
    bounds = [d.timing.repeat.bounds_period for d in dates.dosage_instruction or () if d.timing and d.timing.repeat]
    supply = dates.dispense_request.validity_period if dates.dispense_request else None
    start, end = frame.period(supply, *bounds)
    written = frame.at(dates.authored_on) or start
    status = primitives.text(dates.status)
    if written is None:
        return
    if status not in _ONGOING:
        yield Phase(written, written + frame.assume.orders_back)
        return
    if end is None:
        end = FOREVER if status in {"active", ""} else written + frame.assume.order_lasts
    yield Phase(written, end, _was("active", status))
    if end != FOREVER:
        after = AS_IT_IS if status not in {"active", "unknown", ""} else _was("completed", status)
        yield Phase(max(end, written), end + frame.assume.orders_back, after)


def _was(then: str, now: str) -> Changes:
    return AS_IT_IS if then == now else {"status": then, "statusReason": None}


def _administration(dates: Dates, frame: Timeframe) -> Iterator[Phase]:
    """From its beginning: what hangs and how long it will run is known when it is started."""
    start, end = frame.period(dates.effective_period, dates.occurence_period, dates.occurrence_period)
    given = frame.at(dates.effective_date_time, dates.occurence_date_time, dates.occurrence_date_time) or start or end
    if given:
        yield Phase(given, given + frame.assume.administrations_back)


def _statement(dates: Dates, frame: Timeframe) -> Iterator[Phase]:
    """From when somebody said so; one that still holds today is not forgotten."""
    start, end = frame.period(dates.effective_period)
    said = frame.at(dates.date_asserted, dates.effective_date_time) or start
    if said is None:
        return
    status = primitives.text(dates.status)
    over = end if end and end > said and status in {"completed", "stopped"} else said
    forgotten = FOREVER if status == "active" and end is None else max(said, end or said) + frame.assume.statements_back
    yield Phase(said, over, {"status": "active"})
    yield Phase(over, forgotten)


def _dispense(dates: Dates, frame: Timeframe) -> Iterator[Phase]:
    given = frame.at(dates.when_handed_over, dates.when_prepared)
    if given:
        yield Phase(given, given + frame.assume.orders_back)


def _condition(dates: Dates, frame: Timeframe) -> Iterator[Phase]:
    known = _diagnosed(dates, frame)
    if known is None:
        return
    start, end = frame.period(dates.abatement_period)
    over = frame.at(dates.abatement_date_time) or end or start
    if over and over > known:
        yield Phase(known, over, _UNRESOLVED)
        yield Phase(over)
    else:
        yield Phase(known)


_UNRESOLVED: Final[Changes] = {
    "abatementDateTime": None, "abatementPeriod": None, "clinicalStatus": {"coding": [{"code": "active"}]},
}  # fmt: skip


def _diagnosed(dates: Dates, frame: Timeframe) -> datetime | None:
    """When it was recorded; coded for a stay: when the stay was over; else its onset."""
    recorded = frame.at(dates.recorded_date, dates.asserted_date)
    if recorded:
        return recorded
    stay = frame.stays.get(_encounter(dates))
    if b"encounter-diagnosis" in bytes(dates.category) or (stay and not dates.onset_date_time):
        return stay[1] if stay else None
    start, end = frame.period(dates.onset_period)
    return frame.at(dates.onset_date_time) or start or end


def _encounter(dates: Dates) -> str:
    named = dates.encounter or dates.context
    return local_reference(named.reference or "") if named else ""


def _stay(dates: Dates, frame: Timeframe) -> Iterator[Phase]:
    """In progress until its end, and nobody knows of its end before."""
    start, end = frame.period(dates.period)
    if start is None:
        return
    status = primitives.text(dates.status)
    open_ended = {"status": "in-progress", "period": {"start": dates.period.start if dates.period else None}}
    yield Phase(start, end or FOREVER, open_ended | dict.fromkeys(_KNOWN_LATER) if status in _HAPPENED else AS_IT_IS)
    if end:
        yield Phase(max(start, end), FOREVER, AS_IT_IS if status not in _STILL else {"status": "finished"})


_KNOWN_LATER: Final = ("statusHistory", "length", "diagnosis")
_STILL: Final = {"in-progress", "arrived", "triaged", "onleave", "unknown", ""}
_HAPPENED: Final = _STILL | {"finished", "completed", "discharged"}


def _test(dates: Dates, frame: Timeframe) -> Iterator[Phase]:
    """A laboratory order: active until its first result was known, else until its time."""
    written = frame.at(dates.authored_on, dates.occurrence_date_time)
    if written is None:
        return
    status = primitives.text(dates.status)
    if status not in _ONGOING:
        yield Phase(written, written + frame.assume.orders_back)
        return
    _, planned = frame.period(dates.occurrence_period)
    due = frame.at(dates.occurrence_date_time) or planned
    done = frame.answered.get(f"ServiceRequest/{dates.id}") or (max(due, written) if due else None)
    if done is None:
        done = FOREVER if status in {"active", ""} else written + frame.assume.order_lasts
    elif done == written:
        done = written + frame.assume.order_lasts
    yield Phase(written, done, _was("active", status))
    if done != FOREVER:
        yield Phase(done, done + frame.assume.orders_back, _was("completed", status))


_READERS: Final[Mapping[str, Callable[[Dates, Timeframe], Iterator[Phase]]]] = {
    "Patient": _always,
    "Observation": _observation,
    "MedicationRequest": _request,
    "MedicationAdministration": _administration,
    "MedicationStatement": _statement,
    "MedicationDispense": _dispense,
    "Condition": _condition,
    "Encounter": _stay,
    "ServiceRequest": _test,
}
