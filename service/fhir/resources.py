"""The FHIR resources that are read, each with only the members that a reader uses, in the spellings of STU3, R4 and R5.

Every member may be absent or null. What does not fit its type is left out (`decode.decode_lenient`), and costs nothing
else. `Raw` members stay bytes until a reader wants them: concepts, because what they mean is cached by their bytes, and
the details of an Observation, because most Observations are filed and never read.
"""

# ruff: noqa: N802, N815  the names are FHIR's own

from __future__ import annotations

from decimal import Decimal
from typing import TypeAlias

import msgspec
from msgspec import Raw

ABSENT = Raw(b"")


class Element(msgspec.Struct, gc=False):
    """A JSON object of which the members below are read."""


class Coding(Element):
    """One coding of a concept."""

    system: str | None = None
    code: str | None = None
    display: str | None = None


class CodeableConcept(Element):
    """A concept; a lone Coding where a concept belongs is one too."""

    coding: list[Coding] | None = None
    text: str | None = None
    system: str | None = None
    code: str | None = None
    display: str | None = None


class Reference(Element):
    """A reference to another resource."""

    reference: str | None = None
    display: str | None = None


class Identifier(Element):
    """A business identifier."""

    system: str | None = None
    value: str | None = None


class Quantity(Element):
    """A number with its unit."""

    value: Decimal | None = None
    comparator: str | None = None
    unit: str | None = None
    code: str | None = None


class Range(Element):
    """Two limits."""

    low: Quantity | None = None
    high: Quantity | None = None


class Strength(Quantity):
    """A Ratio or a Quantity: milligrams, or milligrams in a tablet or a volume."""

    numerator: Quantity | None = None
    denominator: Quantity | None = None


class Period(Element):
    """A stretch of time."""

    start: str | None = None
    end: str | None = None


class Annotation(Element):
    """A note."""

    text: str | None = None


class CodeableReference(Element):
    """R5: a concept, a reference, or both."""

    concept: Raw = ABSENT
    reference: Reference | None = None


class Meta(Element):
    """Which of two versions of a resource is the later one."""

    lastUpdated: str | None = None
    versionId: str | None = None


# ---- resources ------------------------------------------------------------------------------------------------------


class Resource(Element):
    """What all have in common. `full_url` is that of the entry, or the place in the Bundle."""

    id: str | None = None
    full_url: str = msgspec.field(default="", name="fullUrl")  # the entry's, set when it is filed
    meta: Raw = ABSENT
    subject: Reference | None = None
    patient: Reference | None = None

    @property
    def resourceType(self) -> str:
        """The kind of resource."""
        return type(self).__name__


class UnknownResource(Resource):
    """A resource of a kind that no reader knows; whose it is matters all the same."""

    kind: str = msgspec.field(default="", name="resourceType")
    contained: Raw = ABSENT
    parameter: Raw = ABSENT  # of Parameters

    @property
    def resourceType(self) -> str:
        """The kind, as it says itself."""
        return self.kind


class RefusedResource(UnknownResource):
    """One in which a member stands twice: which of the two is meant, nobody knows."""


class Measured(Resource):
    """What an Observation and its components have in common: what was measured, and the value."""

    code: Raw = ABSENT
    valueQuantity: Raw = ABSENT
    valueString: str | None = None
    valueInteger: Decimal | None = None
    valueCodeableConcept: Raw = ABSENT
    valueRange: Raw = ABSENT
    valueRatio: Raw = ABSENT
    dataAbsentReason: Raw = ABSENT
    interpretation: Raw = ABSENT
    referenceRange: Raw = ABSENT


class Observation(Measured, tag_field="resourceType", tag=True):
    """A result, or a panel of results."""

    status: str | None = None
    effectiveDateTime: str | None = None
    effectivePeriod: Period | None = None
    effectiveInstant: str | None = None
    issued: str | None = None
    component: Raw = ABSENT
    hasMember: Raw = ABSENT
    specimen: Reference | None = None
    note: list[Annotation] | None = None
    comment: str | None = None  # STU3
    contained: Raw = ABSENT


class ReferenceRange(Range):
    """Limits of a laboratory, and for whom they hold."""

    type: Raw = ABSENT
    appliesTo: Raw = ABSENT
    age: Range | None = None
    text: str | None = None


class DiagnosticReport(Resource, tag_field="resourceType", tag=True):
    """A report: its results may stand in it, and its specimen and meaning are theirs."""

    code: Raw = ABSENT
    specimen: list[Reference] | None = None
    result: list[Reference] | None = None
    contained: Raw = ABSENT


class Parameter(Element):
    """A part of Parameters."""

    resource: AnyResource | None = None
    part: list[Parameter] | None = None


class Specimen(Resource, tag_field="resourceType", tag=True):
    """What was collected."""

    type: Raw = ABSENT
    condition: Raw = ABSENT
    note: list[Annotation] | None = None


class Repeat(Element):
    """When a dose is given."""

    boundsPeriod: Period | None = None
    boundsDuration: Quantity | None = None
    boundsRange: Range | None = None
    count: Decimal | None = None
    countMax: Decimal | None = None
    frequency: Decimal | None = None
    frequencyMax: Decimal | None = None
    period: Decimal | None = None
    periodUnit: str | None = None
    duration: Decimal | None = None
    durationUnit: str | None = None
    when: list[str] | None = None
    timeOfDay: list[str] | None = None
    dayOfWeek: list[str] | None = None


class Timing(Element):
    """When a dose is given, and the code for it."""

    repeat: Repeat | None = None
    code: Raw = ABSENT
    event: list[str] | None = None


class DoseAndRate(Element):
    """How much, and how fast; STU3 and administrations have these members in the dosage itself."""

    doseQuantity: Quantity | None = None
    doseRange: Range | None = None
    dose: Quantity | None = None  # of an administration
    rateRatio: Strength | None = None
    rateQuantity: Quantity | None = None
    rateRange: Range | None = None


class Dosage(DoseAndRate):
    """One instruction."""

    sequence: Decimal | None = None
    text: str | None = None
    timing: Timing | None = None
    asNeededBoolean: bool | None = None
    asNeededCodeableConcept: Raw = ABSENT
    asNeeded: bool | None = None  # R5
    asNeededFor: Raw = ABSENT  # R5
    additionalInstruction: Raw = ABSENT
    patientInstruction: str | None = None
    maxDosePerPeriod: list[Strength] | Strength | None = None  # a list since R5
    route: Raw = ABSENT
    doseAndRate: list[DoseAndRate] | None = None


class Adherence(Element):
    """R5: whether a medication is taken as it should be."""

    code: Raw = ABSENT


class Prescribed(Resource):
    """What the four kinds of medication resources have in common."""

    status: str | None = None
    medicationCodeableConcept: Raw = ABSENT
    medicationReference: Reference | None = None
    medication: Raw = ABSENT  # R5
    contained: Raw = ABSENT
    dosage: list[Dosage] | Dosage | None = None


class MedicationRequest(Prescribed, tag_field="resourceType", tag=True):
    """An order, a plan, or a prescription that somebody reports."""

    intent: str | None = None
    doNotPerform: bool | None = None
    reportedBoolean: bool | None = None
    reportedReference: Reference | None = None
    reported: bool | None = None  # R5
    authoredOn: str | None = None
    dateEnded: str | None = None  # DSTU2
    note: list[Annotation] | None = None
    dosageInstruction: list[Dosage] | None = None


class MedicationOrder(MedicationRequest, tag_field="resourceType", tag=True):
    """DSTU2: what a MedicationRequest is since."""

    authoredOn: str | None = msgspec.field(default=None, name="dateWritten")


class MedicationStatement(Prescribed, tag_field="resourceType", tag=True):
    """What is taken, as somebody tells."""

    taken: str | None = None  # STU3
    wasNotTaken: bool | None = None  # DSTU2
    adherence: Adherence | None = None
    effectiveDateTime: str | None = None
    effectivePeriod: Period | None = None


class MedicationUsage(MedicationStatement, tag_field="resourceType", tag=True):
    """What some versions on the way to R5 call a MedicationStatement."""


class MedicationAdministration(Prescribed, tag_field="resourceType", tag=True):
    """One administration. R5 spells its time with one r less than English does."""

    request: Reference | None = None
    prescription: Reference | None = None  # STU3
    notGiven: bool | None = None  # STU3
    wasNotGiven: bool | None = None  # DSTU2

    effectiveDateTime: str | None = None
    effectivePeriod: Period | None = None
    occurenceDateTime: str | None = None
    occurencePeriod: Period | None = None
    occurrenceDateTime: str | None = None
    occurrencePeriod: Period | None = None


class MedicationDispense(Prescribed, tag_field="resourceType", tag=True):
    """A supply."""

    whenHandedOver: str | None = None
    daysSupply: Quantity | None = None
    notDone: bool | None = None  # STU3
    dosageInstruction: list[Dosage] | None = None


class Ingredient(Element):
    """A part of a product."""

    itemCodeableConcept: Raw = ABSENT
    itemReference: Reference | None = None
    item: CodeableReference | None = None  # R5
    strength: Strength | None = None
    strengthRatio: Strength | None = None
    strengthQuantity: Strength | None = None
    amount: Strength | None = None  # STU3


class Medication(Resource, tag_field="resourceType", tag=True):
    """A product."""

    code: Raw = ABSENT
    identifier: list[Identifier] | None = None
    form: Raw = ABSENT
    doseForm: Raw = ABSENT  # R5
    ingredient: list[Ingredient] | None = None
    contained: Raw = ABSENT


class Condition(Resource, tag_field="resourceType", tag=True):
    """A problem or diagnosis."""

    code: Raw = ABSENT
    clinicalStatus: Raw = ABSENT  # a code in STU3, a concept since
    verificationStatus: Raw = ABSENT
    encounter: Reference | None = None
    context: Reference | None = None  # STU3
    onsetDateTime: str | None = None
    onsetPeriod: Period | None = None
    abatementDateTime: Raw = ABSENT
    abatementPeriod: Raw = ABSENT
    abatementString: Raw = ABSENT
    abatementAge: Raw = ABSENT
    abatementRange: Raw = ABSENT
    abatementBoolean: Raw = ABSENT  # STU3


class Patient(Resource, tag_field="resourceType", tag=True):
    """A person."""

    birthDate: str | None = None
    gender: str | None = None


class Encounter(Resource, tag_field="resourceType", tag=True):
    """A stay or a visit."""

    status: str | None = None
    class_: Raw = msgspec.field(default=ABSENT, name="class")
    period: Period | None = None


class ServiceRequest(Resource, tag_field="resourceType", tag=True):
    """A test that was ordered."""

    status: str | None = None
    doNotPerform: bool | None = None
    code: Raw = ABSENT
    category: Raw = ABSENT


class ProcedureRequest(ServiceRequest, tag_field="resourceType", tag=True):
    """STU3: what a ServiceRequest is since."""


class Issue(Element):
    """One point of an OperationOutcome."""

    severity: str | None = None


class OperationOutcome(Resource, tag_field="resourceType", tag=True):
    """What went wrong on another system."""

    issue: list[Issue] | None = None


class Link(Element):
    """A link of a Bundle."""

    relation: str | None = None
    url: str | None = None


class Entry(Element):
    """An entry of a Bundle."""

    fullUrl: str | None = None
    resource: AnyResource | None = None


class Bundle(Resource, tag_field="resourceType", tag=True):
    """A collection, or one page of an answer."""

    total: Raw = ABSENT
    entry: list[Entry | None] | None = None
    link: list[Link] | None = None


AnyResource: TypeAlias = (
    Observation
    | Specimen
    | DiagnosticReport
    | MedicationRequest
    | MedicationOrder
    | MedicationStatement
    | MedicationUsage
    | MedicationAdministration
    | MedicationDispense
    | Medication
    | Condition
    | Patient
    | Encounter
    | ServiceRequest
    | ProcedureRequest
    | OperationOutcome
    | Bundle
)
