"""Draft and pending orders: which tests and which drugs they ask for."""

from __future__ import annotations

from collections.abc import Iterator

from service.fhir import primitives
from service.fhir.context import ReadContext, name
from service.fhir.decode import concept
from service.fhir.medication import draft
from service.fhir.resources import MedicationRequest, Resource, ServiceRequest, UnknownResource
from service.logic.model import Analyte, DataIssue, Order
from service.logic.text import Text
from service.terminology.analytes import names_other_specimen

_PENDING = {"active", "draft", "on-hold", ""}
_NOT_WANTED = {"cancelled", "entered-in-error", "revoked", "stopped", "completed"}


def read_order(resource: Resource, selected: bool, context: ReadContext) -> list[Order | DataIssue]:
    """A draft order in our words; what we do not understand is named and skipped."""
    if isinstance(resource, MedicationRequest):
        if primitives.text(resource.status) in _NOT_WANTED:
            return []
        read = draft(resource, context)
        return [read if isinstance(read, DataIssue) else Order(read.reference, selected, medication=read)]
    if isinstance(resource, ServiceRequest):
        wanted = primitives.text(resource.status) not in _NOT_WANTED
        return [Order(name(resource), selected, test=test) for test in tests_of(resource, context) if wanted]
    if isinstance(resource, UnknownResource) and resource.kind == "MedicationOrder":
        return [DataIssue(name(resource), Text("DSTU2 resource: this service reads FHIR R4."))]
    return []


def pending_tests(resource: ServiceRequest, context: ReadContext) -> Iterator[Analyte]:
    """The tests of a ServiceRequest that is still open."""
    if primitives.text(resource.status) in _PENDING and not resource.doNotPerform:
        yield from tests_of(resource, context)


def tests_of(resource: ServiceRequest, context: ReadContext) -> list[Analyte]:
    """The analytes that a ServiceRequest measures, those of a known panel included."""
    found = concept(resource.code)
    listed, texts = found.codings, found.texts
    single = [meaning.analyte for system, code, _ in listed if (meaning := context.codes.by_code(system, code))]
    if single:
        return [_by_words(single[0], texts)]
    panel = [analyte for system, code, _ in listed for analyte in context.codes.panel(system, code)]
    named = [analyte for text in texts if (analyte := context.codes.by_name(text))]
    return list(dict.fromkeys(panel or named[:1]))


def _by_words(analyte: Analyte, texts: tuple[str, ...]) -> Analyte:
    """CPT 83735 means magnesium in serum, red cells and urine alike: the words decide."""
    if analyte is Analyte.SERUM_MAGNESIUM and any(names_other_specimen(text) for text in texts):
        urine = any("urin" in text.lower() for text in texts)
        return Analyte.URINE_MAGNESIUM if urine else Analyte.RBC_MAGNESIUM
    return analyte
