"""Panels and reports -> which results are of another specimen than blood, because what holds them together says so."""

from __future__ import annotations

from collections.abc import Iterable

from service.fhir import primitives
from service.fhir.context import ReadContext, name
from service.fhir.decode import NO_CONCEPT, concept, decode_member
from service.fhir.resources import DiagnosticReport, Observation, Reference, Specimen
from service.terminology.analytes import names_other_specimen
from service.terminology.specimens import SpecimenKind, specimen_kind


def of_another_specimen(
    observations: Iterable[Observation], reports: Iterable[DiagnosticReport], context: ReadContext
) -> dict[str, bool]:
    """References of the results in panels of urine, fluid and the like; True where the panel's specimen says so.

    A panel in a report, or in another panel, hands on what it is handed.
    """
    holders: list[Observation | DiagnosticReport] = [*reports, *(each for each in observations if each.hasMember)]
    found: dict[str, bool] = {}
    for _ in range(3):  # a report, a panel, a panel in it
        before = len(found)
        for holder in holders:
            told = _told(holder, found, context)
            if told is not None:
                found |= {reference: told or found.get(reference, False) for reference in _members(holder)}
        if len(found) == before:
            break
    return found


def _told(holder: Observation | DiagnosticReport, found: dict[str, bool], context: ReadContext) -> bool | None:
    """True if its specimen, False if its words say that it is not blood; None if it may be."""
    specimens = holder.specimen if isinstance(holder.specimen, list) else [holder.specimen]
    kinds = {_kind(reference, holder, context) for reference in specimens if reference}
    if kinds == {SpecimenKind.OTHER}:
        return True
    if any(names_other_specimen(word) for word in concept(holder.code).texts):
        return False
    return found.get(name(holder), found.get(holder.full_url))


def _kind(reference: Reference, holder: Observation | DiagnosticReport, context: ReadContext) -> SpecimenKind:
    specimen = context.find(reference, holder.contained)
    said = concept(specimen.type) if isinstance(specimen, Specimen) else NO_CONCEPT
    return specimen_kind(
        ((system, code) for system, code, _ in said.codings), (primitives.text(reference.display), *said.texts)
    )


def _members(holder: Observation | DiagnosticReport) -> list[str]:
    listed = holder.result if isinstance(holder, DiagnosticReport) else decode_member(holder.hasMember, list[Reference])
    references = [primitives.text(reference.reference) for reference in listed or ()]
    return [
        name(holder) + each if each.startswith("#") else primitives.local_reference(each) for each in references if each
    ]
