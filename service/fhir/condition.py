"""Condition -> tags: by code, else by text; refuted and erroneous ones are named, never counted."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from service.fhir import total
from service.fhir.context import Reading
from service.fhir.wire import Concept, Resource
from service.logic.model import Condition, DataIssue
from service.logic.text import Text
from service.terminology import conditions

_ACTIVE = {"active", "recurrence", "relapse"}


def read_condition(resource: Resource, reading: Reading) -> Condition | DataIssue:
    """One condition as tags, or why it is not used."""
    name = reading.name(resource)
    verified = _status(resource.verificationStatus)
    if verified in {"refuted", "entered-in-error"}:
        return DataIssue(name, Text("Refuted or entered in error: not used."))
    concept = resource.concept()
    tags, recognised_by = _tags(concept)
    if not tags:
        return DataIssue(name, Text("Condition without meaning for the rules."))
    return Condition(
        reference=name,
        tags=tags,
        text=concept.texts[0][:120] if concept.texts else "",
        active=_is_active(resource, verified),
        onset=total.when(resource.onsetDateTime, reading.zone) or total.period(resource.onsetPeriod, reading.zone)[0],
        recognised_by=recognised_by,
        dialysate_mg=next(
            (mg for text in concept.texts if (mg := conditions.dialysate_magnesium(text)) is not None), None
        ),
    )


@lru_cache(maxsize=4096)
def _tags(concept: Concept) -> tuple[frozenset[str], str]:
    """Tags by code, and by the text beside it; displays of a recognised code add nothing, ICD titles say too much."""
    coded = frozenset(tag for system, code, _ in concept.codings for tag in conditions.by_code(system, code))
    words = (concept.text,) if coded else concept.texts
    told = frozenset(tag for word in words for tag in conditions.by_text(word))
    return coded | told, "code" if coded else "text"


def _is_active(resource: Resource, verified: str) -> bool:
    """Active unless its status, an abatement or an open differential says otherwise."""
    if verified == "differential":
        return False
    status = _status(resource.clinicalStatus)
    ended = resource.abatementDateTime or resource.abatementPeriod or resource.abatementString
    return status in _ACTIVE if status else not ended


def _status(value: Any) -> str:
    """A status as a code (STU3) or a CodeableConcept (R4)."""
    if isinstance(value, str):
        return value.strip().lower()
    return next(
        (coding.code.lower() for coding in total.codings(value)), total.text(total.obj(value).get("text")).lower()
    )
