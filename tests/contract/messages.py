"""Our own request bodies for the contract tests, all of one invented patient, and the moment at which they are sent."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
HOOKS = (
    "patient-view",
    "order-select",
    "order-sign",
    "encounter-start",
    "encounter-discharge",
    "medication-refill",
)
PATIENT = {"resourceType": "Patient", "id": "p1", "gender": "female", "birthDate": "1957-03-02"}
SUBJECT = {"reference": "Patient/p1"}
Json = dict[str, Any]


def bundle(*resources: Json, kind: str = "searchset") -> Json:
    return {"resourceType": "Bundle", "type": kind, "entry": [{"resource": resource} for resource in resources]}


def observation(ident: str, loinc: str, value: float, unit: str, **members: Any) -> Json:
    return {
        "resourceType": "Observation",
        "id": ident,
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": loinc}]},
        "subject": SUBJECT,
        "effectiveDateTime": "2026-11-20T06:30:00Z",
        "valueQuantity": {"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit},
    } | members


def medication(ident: str, rxnorm: str, name: str, status: str = "active") -> Json:
    coding = {"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": rxnorm, "display": name}
    return {
        "resourceType": "MedicationRequest",
        "id": ident,
        "status": status,
        "intent": "order",
        "medicationCodeableConcept": {"coding": [coding]},
        "subject": SUBJECT,
    }


LOW = observation("mg1", "19123-9", 1.1, "mg/dL")
FUROSEMIDE = medication("d1", "4603", "Furosemide", "draft")


def context(hook: str) -> Json:
    """The context that a hook requires, with a furosemide order where orders are."""
    said: Json = {"userId": "Practitioner/1", "patientId": "p1"}
    if hook == "medication-refill":
        del said["userId"]  # the one hook that does not require it
        said["medications"] = bundle(medication("d1", "7646", "Omeprazole", "draft"), kind="collection")
    if hook.startswith("encounter"):
        said["encounterId"] = "e1"
    if hook.startswith("order"):
        said["draftOrders"] = bundle(FUROSEMIDE, kind="collection")
    if hook == "order-select":
        said["selections"] = ["MedicationRequest/d1"]
    return said


def hook_request(hook: str = "patient-view", /, **members: Any) -> Json:
    """A request for which every hook has a card: low magnesium, and a draft of furosemide on the order hooks."""
    return {
        "hook": hook,
        "hookInstance": "0c6a4a52-7a4e-4a0e-8f5e-2d9c1b7e6a31",
        "context": context(hook),
        "prefetch": {
            "patient": PATIENT,
            "magnesium": bundle(LOW),
            "creatinine": bundle(observation("cr1", "2160-0", 0.8, "mg/dL")),
            "potassium": bundle(observation("k1", "2823-3", 3.2, "mmol/L")),
            "medicationRequests": bundle(medication("m1", "7646", "Omeprazole")),
            "conditions": None,
        },
    } | members


def evaluation(**members: Any) -> Json:
    return {"bundle": bundle(PATIENT, LOW, kind="collection")} | members


def feedback(**members: Any) -> Json:
    item = {
        "card": "4f6cb2a9-6c3e-4ab4-9b0e-2f3ad5c0a7d1",
        "outcome": "overridden",
        "outcomeTimestamp": "2026-11-20T08:58:00Z",
    }
    return {"feedback": [item | members]}


def without(value: Json, *path: str) -> Json:
    """A copy of the value without the member at this path."""
    name, *rest = path
    if not rest:
        return {key: item for key, item in value.items() if key != name}
    return value | {name: without(value[name], *rest)}


def having(value: Json, changed: Any, *path: str) -> Json:
    """A copy of the value with another member at this path."""
    name, *rest = path
    return value | {name: having(value[name], changed, *rest) if rest else changed}
