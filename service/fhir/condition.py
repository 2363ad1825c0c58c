"""Condition -> tags: by code, else by text; refuted and erroneous ones are named, never counted."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from service.fhir import primitives, resources
from service.fhir.context import ReadContext, name
from service.fhir.decode import cached_by_bytes, concept, is_present
from service.logic.message import Message
from service.logic.model import Condition, DataIssue
from service.terminology import conditions
from service.terminology.systems import CodeSystems

_ACTIVE = {"active", "recurrence", "relapse"}


class _Meaning(NamedTuple):
    """What a concept says: tags, by code or text, its first words, and the magnesium of a dialysate."""

    tags: frozenset[str]
    recognised_by: str
    words: str
    dialysate_mg: Decimal | None


def read_condition(resource: resources.Condition, context: ReadContext) -> Condition | DataIssue:
    """One condition as tags, or why it is not used."""
    verified = _status(resource.verificationStatus)
    if verified in {"refuted", "entered-in-error"}:
        return DataIssue(name(resource), Message("Refuted or entered in error: not used."))
    meaning = _meaning(resource.code, context.systems)
    if not meaning.tags:
        return DataIssue(name(resource), Message("Condition without meaning for the rules."))
    onset = primitives.when(resource.onsetDateTime, context.zone)
    return Condition(
        reference=name(resource),
        tags=meaning.tags,
        text=meaning.words,
        active=_is_active(resource, verified),
        onset=onset or primitives.period(resource.onsetPeriod, context.zone)[0],
        recognised_by=meaning.recognised_by,
        dialysate_mg=meaning.dialysate_mg,
        acute=meaning.tags & conditions.ACUTE,
        of_finished_encounter=_encounter_id(resource) in context.finished,
    )


def _encounter_id(resource: resources.Condition) -> str:
    """The id of the encounter to which a diagnosis belongs, or ""."""
    reference = resource.encounter or resource.context
    return primitives.local_reference(primitives.text(reference.reference)).rpartition("/")[2] if reference else ""


@cached_by_bytes
def _meaning(raw: bytes, systems: CodeSystems) -> _Meaning:
    """Tags by code, and by the text beside it; displays of a recognised code add nothing, ICD titles say too much."""
    found = concept(raw)
    coded = frozenset(
        tag for system, code, _ in found.codings for tag in conditions.by_code(systems.standard(system), code)
    )
    words = (found.text,) if coded else found.texts
    told = frozenset(tag for word in words for tag in conditions.by_text(word))
    dialysate = (conditions.dialysate_magnesium(text) for text in found.texts)
    return _Meaning(
        tags=coded | told,
        recognised_by="code" if coded else "text",
        words=found.texts[0][:120] if found.texts else "",
        dialysate_mg=next((mg for mg in dialysate if mg is not None), None),
    )


def _is_active(resource: resources.Condition, verified: str) -> bool:
    """Active unless its status, an abatement or an open differential says otherwise."""
    if verified == "differential":
        return False
    if status := _status(resource.clinicalStatus):
        return status in _ACTIVE
    return not any(
        is_present(abatement)
        for abatement in (
            resource.abatementDateTime,
            resource.abatementPeriod,
            resource.abatementString,
            resource.abatementAge,
            resource.abatementRange,
            resource.abatementBoolean,
        )
    )


@cached_by_bytes
def _status(raw: bytes) -> str:
    """A status as a code (STU3) or a CodeableConcept (R4)."""
    found = concept(raw)
    return next((coding.code.lower() for coding in found.codings), found.text.lower())
