"""The services offered: id, hook, title, required context, and prefetch templates in the portable subset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from service.logic.model import Hook


@dataclass(frozen=True, slots=True)
class Service:
    """One CDS service. `context` maps the required context fields to the JSON type they must have."""

    id: str
    hook: Hook
    title: str
    description: str
    context: Mapping[str, type]
    prefetch: Mapping[str, str]


def _labs(codes: str, count: int) -> str:
    listed = ",".join(f"http://loinc.org|{code}" for code in codes.split())
    return f"Observation?patient={{{{context.patientId}}}}&code={listed}&_sort=-date&_count={count}"


_PATIENT_DATA = {
    "patient": "Patient/{{context.patientId}}",
    "magnesium": _labs("19123-9 2601-3", 10),
    "rbcMagnesium": _labs("26746-8 2597-3", 3),
    "ionizedMagnesium": _labs("2600-5 32698-3 73572-0", 3),
    "urineMagnesium": _labs("19124-7 2598-1 24447-5 2599-9", 5),
    "creatinine": _labs("2160-0 14682-9 38483-4 59826-8 77140-2", 10),
    "urineCreatinine": _labs("2161-8 14683-7", 5),
    "potassium": _labs("2823-3 6298-4 77142-8", 5),
    "calcium": _labs("17861-6 2000-8 49765-1 1996-8 29265-6 46099-8 1994-3 1995-0", 8),
    "albumin": _labs("1751-7 61151-7 61152-5", 3),
    "bicarbonate": _labs("1963-8 1959-6 2028-9", 3),
    "qtc": _labs("8636-3 76635-2 76634-5", 3),
    "medicationRequests": "MedicationRequest?patient={{context.patientId}}&status=active,completed,stopped",
    "medicationStatements": "MedicationStatement?patient={{context.patientId}}",
    "medicationAdministrations": "MedicationAdministration?patient={{context.patientId}}"
    "&_sort=-effective-time&_count=50",
    "conditions": "Condition?patient={{context.patientId}}",
}
_ENCOUNTER = {"encounter": "Encounter/{{context.encounterId}}"}

# Without these no honest answer is possible: who the patient is, and whether magnesium was measured.
REQUIRED_KEYS = frozenset({"patient", "magnesium"})
PREFETCH_KEYS = (*_PATIENT_DATA, *_ENCOUNTER)
CONTEXT_TOKENS = ("patientId", "encounterId", "userId")

_PERSON: Mapping[str, type] = MappingProxyType({"userId": str, "patientId": str})
_REFILL: Mapping[str, type] = MappingProxyType({"patientId": str})
_STAY: Mapping[str, type] = MappingProxyType({"userId": str, "patientId": str, "encounterId": str})
_SELECT: Mapping[str, type] = MappingProxyType({"userId": str, "patientId": str, "selections": list})
_READS = "Reads magnesium in serum, erythrocytes and urine, creatinine, electrolytes, medications and problems."

USAGE = (
    "FHIR R4. Scopes (read and search): Patient, Encounter, Observation, MedicationRequest, MedicationStatement, "
    "MedicationAdministration, Condition. Cards are for clinicians: a patient or related person as user gets none. "
    "Languages: en, ru, fa by Accept-Language. Decision support; does not replace clinical judgement."
)


def _service(ident: str, hook: Hook, title: str, description: str, context: Mapping[str, type]) -> Service:
    data = {**_PATIENT_DATA, **_ENCOUNTER}
    return Service(ident, hook, title, f"{description} {_READS}", context, MappingProxyType(data))


SERVICES: tuple[Service, ...] = (
    _service(
        "magnesium-patient-view",
        Hook.PATIENT_VIEW,
        "Magnesium: status when a chart opens",
        "Low, high, latent or unreliable magnesium, its likely causes and what to check.",
        _PERSON,
    ),
    _service(
        "magnesium-order-select",
        Hook.ORDER_SELECT,
        "Magnesium: tests, baselines and magnesium itself while ordering",
        "A blood test, a magnesium product or a drug that wastes magnesium is being selected.",
        _SELECT,
    ),
    _service(
        "magnesium-order-sign",
        Hook.ORDER_SIGN,
        "Magnesium: safety of magnesium, potassium and wasting-drug orders",
        "Intravenous or oral magnesium, potassium, or a drug that wastes or binds magnesium is being signed.",
        _PERSON,
    ),
    _service(
        "magnesium-encounter-start",
        Hook.ENCOUNTER_START,
        "Magnesium: status at admission",
        "Magnesium disorders known at the start of an encounter.",
        _STAY,
    ),
    _service(
        "magnesium-encounter-discharge",
        Hook.ENCOUNTER_DISCHARGE,
        "Magnesium: open points at discharge",
        "Magnesium disorders that are still open at discharge.",
        _STAY,
    ),
    _service(
        "magnesium-medication-refill",
        Hook.MEDICATION_REFILL,
        "Magnesium: levels due when a drug is renewed",
        "A proton pump inhibitor, a diuretic or another drug that wastes magnesium is being renewed.",
        _REFILL,
    ),
)
BY_ID: Mapping[str, Service] = MappingProxyType({service.id: service for service in SERVICES})


def discovery() -> dict[str, object]:
    """The discovery document; the same for everybody, release by release."""
    return {
        "services": [
            {
                "id": service.id,
                "hook": service.hook.value,
                "title": service.title,
                "description": service.description,
                "prefetch": dict(service.prefetch),
                "usageRequirements": USAGE,
            }
            for service in SERVICES
        ]
    }
