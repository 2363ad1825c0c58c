"""Patient and Encounter -> birth, sex, and whether the patient is in hospital or emergency care."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, tzinfo

from service.fhir import primitives
from service.fhir.decode import cached_by_bytes, concepts
from service.fhir.resources import Encounter, Patient
from service.logic.model import PartialDateTime

_INPATIENT = {"imp", "acute", "nonac", "obsenc", "emer", "ss", "prenc", "inpatient", "emergency"}
_AMBULATORY = {"amb", "hh", "vr", "fld", "outpatient", "ambulatory"}
_OVER = {"finished", "cancelled", "entered-in-error", "completed", "discharged", "discontinued", "planned"}


def birth(patient: Patient | None, zone: tzinfo) -> PartialDateTime | None:
    """The date of birth, as precise as it is given."""
    return primitives.when(primitives.text(patient.birthDate)[:10], zone) if patient else None


def sex(patient: Patient | None) -> str:
    """female, male, or "" when not stated or neither."""
    given = primitives.text(patient.gender).lower() if patient else ""
    return given if given in {"female", "male"} else ""


def inpatient(encounters: Iterable[Encounter], encounter_id: str) -> bool | None:
    """True in hospital or emergency care, False in ambulatory care, None if no encounter tells.

    The encounter of the context decides; without it, the ones that are not over.
    """
    listed = list(encounters)
    named = [e for e in listed if encounter_id and e.id == encounter_id]
    running = named or [e for e in listed if primitives.text(e.status).lower() not in _OVER]
    classes = frozenset().union(*(_classes(e.class_) for e in running))
    if classes & _INPATIENT:
        return True
    return False if classes & _AMBULATORY else None


def finished(encounters: Iterable[Encounter], as_of: datetime, zone: tzinfo) -> frozenset[str]:
    """Ids of the encounters that are over at a moment: by status, or by the end of their period."""
    return frozenset(primitives.text(e.id) for e in encounters if e.id and _is_finished(e, as_of, zone))


def _is_finished(encounter: Encounter, as_of: datetime, zone: tzinfo) -> bool:
    end = primitives.period(encounter.period, zone)[1]
    return primitives.text(encounter.status).lower() in _OVER or (end is not None and end.end <= as_of)


@cached_by_bytes
def _classes(raw: bytes) -> frozenset[str]:
    """R4: a Coding; R5: a list of CodeableConcepts; older: a code."""
    found = concepts(raw)
    coded = [coding.code.lower() for said in found for coding in said.codings]
    return frozenset((*coded, *(said.text.lower() for said in found if not said.codings)))
