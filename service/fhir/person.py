"""Patient and Encounter -> birth, sex, and whether the patient is in hospital or emergency care."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import tzinfo

from service.fhir import total
from service.fhir.wire import Resource
from service.logic.model import When

_INPATIENT = {"imp", "acute", "nonac", "obsenc", "emer", "ss", "prenc", "inpatient", "emergency"}
_AMBULATORY = {"amb", "hh", "vr", "fld", "outpatient", "ambulatory"}
_OVER = {"finished", "cancelled", "entered-in-error", "completed", "discharged", "discontinued", "planned"}


def birth(patient: Resource | None, zone: tzinfo) -> When | None:
    """The date of birth, as precise as it is given."""
    return total.when(total.text(patient.birthDate)[:10], zone) if patient else None


def sex(patient: Resource | None) -> str:
    """female, male, or "" when not stated or neither."""
    given = total.text(patient.gender).lower() if patient else ""
    return given if given in {"female", "male"} else ""


def inpatient(encounters: Iterable[Resource], encounter_id: str) -> bool | None:
    """True in hospital or emergency care, False in ambulatory care, None if no encounter tells.

    The encounter of the context decides; without it, the ones that are not over.
    """
    listed = list(encounters)
    named = [e for e in listed if encounter_id and e.id == encounter_id]
    running = named or [e for e in listed if total.text(e.status).lower() not in _OVER]
    classes = {word.lower() for e in running for word in _class_words(e)}
    if classes & _INPATIENT:
        return True
    return False if classes & _AMBULATORY else None


def _class_words(encounter: Resource) -> Iterable[str]:
    """R4: a Coding; R5: a list of CodeableConcepts; older: a code."""
    for value in total.items(getattr(encounter, "class")):
        if isinstance(value, str):
            yield value
        yield total.text(total.obj(value).get("code"))
        yield from (coding.code for coding in total.codings(value))
