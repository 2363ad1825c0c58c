"""Draft and pending orders: which tests and which drugs they ask for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from service.fhir import primitives
from service.fhir.context import ReadContext, name
from service.fhir.decode import concept, concepts
from service.fhir.exposure import NOT_KNOWN
from service.fhir.medication import read_medication
from service.fhir.resources import MedicationRequest, Resource, ServiceRequest
from service.logic.message import Message
from service.logic.model import Analyte, DataIssue, Exposure, Order
from service.terminology.analytes import names_other_specimen
from service.terminology.lab_orders import OrderKind, kinds_of_order

_PENDING = {"active", "draft", "on-hold", ""}
_MAGNESIUM = {Analyte.SERUM_MAGNESIUM, Analyte.RBC_MAGNESIUM, Analyte.IONISED_MAGNESIUM, Analyte.URINE_MAGNESIUM}
_NOT_WANTED = {"cancelled", "entered-in-error", "revoked", "stopped", "completed"}


def read_order(resource: Resource, selected: bool, context: ReadContext) -> list[Order | DataIssue]:
    """A draft order in our words; what we do not understand is named and skipped."""
    if isinstance(resource, MedicationRequest):
        return _medication_order(resource, selected, context)
    if isinstance(resource, ServiceRequest):
        return _read_tests(resource, selected, context)
    return []


def _read_tests(resource: ServiceRequest, selected: bool, context: ReadContext) -> list[Order | DataIssue]:
    """One order a test of ours; one without a test where blood is drawn for others, such as a blood count."""
    if primitives.text(resource.status) in _NOT_WANTED or resource.doNotPerform:
        return []
    blood = OrderKind.BLOOD in _kinds(resource, context)
    tests = tests_of(resource, context)
    if not tests and blood:
        return [Order(name(resource), selected, draws_blood=True)]
    return [Order(name(resource), selected, test=test, draws_blood=blood) for test in tests]


def _kinds(resource: ServiceRequest, context: ReadContext) -> frozenset[OrderKind]:
    """Whether this is a magnesium test, or another for which blood is drawn: by code, category and words."""
    code = concept(resource.code)
    coded = [*code.codings, *(coding for category in concepts(resource.category) for coding in category.codings)]
    return kinds_of_order([(system, value) for system, value, _ in coded], code.texts, context.codes)


def _medication_order(resource: MedicationRequest, selected: bool, context: ReadContext) -> list[Order | DataIssue]:
    """Whatever the status of a draft, it is not yet taken; "do not give" is no order."""
    if primitives.text(resource.status) in _NOT_WANTED:
        return []
    if resource.doNotPerform:
        return [DataIssue(name(resource), Message("Says what is not to be given: not read as an order."))]
    read = read_medication(resource, context)
    issues = [issue for issue in read.issues if issue.problem != NOT_KNOWN]
    if read.medication is None:
        return [*issues]
    if read.medication.exposure is Exposure.LOCAL:
        return [DataIssue(name(resource), Message("Acts where it is applied: not judged as an order."))]
    taken = replace(read.medication, exposure=Exposure.UNKNOWN)
    return [Order(taken.reference, selected, medication=taken), *issues]


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
    magnesium = [Analyte.SERUM_MAGNESIUM] if OrderKind.MAGNESIUM in _kinds(resource, context) else []
    known = panel or named[:1]
    return list(dict.fromkeys(known if _MAGNESIUM & set(known) else [*known, *magnesium]))


def _by_words(analyte: Analyte, texts: tuple[str, ...]) -> Analyte:
    """CPT 83735 means magnesium in serum, red cells and urine alike: the words decide."""
    if analyte is Analyte.SERUM_MAGNESIUM and any(names_other_specimen(text) for text in texts):
        urine = any("urin" in text.lower() for text in texts)
        return Analyte.URINE_MAGNESIUM if urine else Analyte.RBC_MAGNESIUM
    return analyte
