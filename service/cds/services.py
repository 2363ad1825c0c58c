"""The services offered: id, hook, title, required context, and prefetch templates in the portable subset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from service.logic.knowledge import load
from service.logic.model import Hook
from service.logic.rules import RULES
from service.terminology.queries import templates


@dataclass(frozen=True, slots=True)
class Service:
    """One CDS service. `context` maps the required context fields to the JSON type they must have."""

    id: str
    hook: Hook
    title: str
    description: str
    context: Mapping[str, type]
    prefetch: Mapping[str, str]


CONTEXT_TOKENS = ("patientId", "encounterId", "userId")

_PERSON: Mapping[str, type] = MappingProxyType({"userId": str, "patientId": str})
_REFILL: Mapping[str, type] = MappingProxyType({"patientId": str})
_STAY: Mapping[str, type] = MappingProxyType({"userId": str, "patientId": str, "encounterId": str})
_SELECT: Mapping[str, type] = MappingProxyType({"userId": str, "patientId": str, "selections": list})

USAGE = (
    "FHIR R4. Scopes (read and search): Patient, Encounter, Observation, MedicationRequest, MedicationStatement, "
    "MedicationAdministration, Condition. Cards are for clinicians: a patient or related person as user gets none. "
    "Languages: en, ru, fa by Accept-Language. Decision support; does not replace clinical judgement."
)


def _service(ident: str, hook: Hook, title: str, description: str, context: Mapping[str, type]) -> Service:
    return Service(ident, hook, title, description, context, MappingProxyType(templates(_inputs(hook))))


def _inputs(hook: Hook) -> set[str]:
    """What the rules name that may speak on this hook."""
    rules = load().rules
    return {name for rule in RULES if hook in rule.hooks for name in rules[rule.id].inputs}


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
