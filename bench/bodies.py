"""Request bodies of the two sizes that are measured: a usual chart (60 resources) and a long one (1,210)."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

PATIENT = "9c1b7a52-6f0e-4b36-8d0b-1f3a0f6f4a11"
LABS = (
    ("19123-9", "Magnesium [Mass/volume] in Serum or Plasma", "mg/dL", 1.2, 2.2, 1.7, 2.4),
    ("2601-3", "Magnesium [Moles/volume] in Serum or Plasma", "mmol/L", 0.5, 0.95, 0.7, 1.0),
    ("2160-0", "Creatinine [Mass/volume] in Serum or Plasma", "mg/dL", 0.6, 1.4, 0.6, 1.2),
    ("2823-3", "Potassium [Moles/volume] in Serum or Plasma", "mmol/L", 3.0, 5.0, 3.5, 5.1),
    ("17861-6", "Calcium [Mass/volume] in Serum or Plasma", "mg/dL", 8.0, 10.0, 8.6, 10.3),
    ("1751-7", "Albumin [Mass/volume] in Serum or Plasma", "g/dL", 3.0, 4.8, 3.5, 5.2),
    ("2951-2", "Sodium [Moles/volume] in Serum or Plasma", "mmol/L", 132, 145, 136, 145),
    ("2345-7", "Glucose [Mass/volume] in Serum or Plasma", "mg/dL", 80, 160, 70, 99),
    ("718-7", "Hemoglobin [Mass/volume] in Blood", "g/dL", 9, 15, 12, 16),
    ("2777-1", "Phosphate [Mass/volume] in Serum or Plasma", "mg/dL", 2.2, 4.8, 2.5, 4.5),
)
DRUGS = (
    ("4603", "C03CA01", "furosemide"), ("7646", "A02BC01", "omeprazole"), ("3407", "C01AA05", "digoxin"),
    ("29046", "C09AA03", "lisinopril"), ("83367", "C10AA05", "atorvastatin"), ("6809", "A10BA02", "metformin"),
    ("6582", "A12CC10", "magnesium oxide"), ("2555", "L01XA01", "cisplatin"), ("10582", "H03AA01", "levothyroxine"),
    ("1191", "B01AC06", "aspirin"),
)  # fmt: skip
PROBLEMS = (
    ("E11.9", "44054006", "Type 2 diabetes mellitus"), ("I10", "38341003", "Hypertensive disorder"),
    ("I48.91", "49436004", "Atrial fibrillation"), ("N18.30", "433144002", "Chronic kidney disease stage 3"),
    ("G43.909", "37796009", "Migraine"), ("K21.9", "235595009", "Gastroesophageal reflux disease"),
    ("M81.0", "64859006", "Osteoporosis"), ("F51.01", "193462001", "Insomnia"), ("E78.5", "55822004", "Hyperlipidemia"),
)  # fmt: skip


def body(observations: int, medications: int, now: datetime) -> bytes:
    """A patient-view request whose results go back 90 days from `now`; the same for the same arguments."""
    dice = random.Random(7)
    chart = {
        "patient": _patient(),
        "observations": _bundle([_observation(dice, number, now) for number in range(observations)]),
        "medicationRequests": _bundle(
            [_medication(dice, number, now, "MedicationRequest") for number in range(medications)]
        ),
        "medicationStatements": _bundle(
            [_medication(dice, number, now, "MedicationStatement") for number in range(medications)]
        ),
        "conditions": _bundle([_condition(dice, problem, now) for problem in PROBLEMS]),
    }
    context = {"userId": "Practitioner/prac-17", "patientId": PATIENT, "encounterId": _id(dice)}
    return msgspec.json.encode(
        {"hook": "patient-view", "hookInstance": _id(dice), "context": context, "prefetch": chart}
    )


def small(now: datetime | None = None) -> bytes:
    """About 73 kB, 60 resources."""
    return body(30, 10, now or datetime.now(UTC))


def large(now: datetime | None = None) -> bytes:
    """About 1.5 MB, 1,210 resources."""
    return body(1000, 100, now or datetime.now(UTC))


def _id(dice: random.Random) -> str:
    return str(UUID(int=dice.getrandbits(128), version=4))


def _patient() -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "id": PATIENT,
        "meta": {"versionId": "4", "lastUpdated": "2025-03-14T06:40:00+01:00"},
        "identifier": [{"use": "official", "system": "urn:oid:2.999.1", "value": "synthetic-1"}],
        "name": [{"use": "official", "family": "Example", "given": ["Bench", "Mark"]}],
        "gender": "female",
        "birthDate": "1952-11-13",
        "address": [{"use": "home", "line": ["Example street 1"], "city": "Exampletown", "postalCode": "00100"}],
    }


def _bundle(resources: list[dict[str, Any]]) -> dict[str, Any]:
    base = "https://fhir.example.org/r4"
    entries = [
        {"fullUrl": f"{base}/{r['resourceType']}/{r['id']}", "resource": r, "search": {"mode": "match"}}
        for r in resources
    ]
    return {"resourceType": "Bundle", "type": "searchset", "total": len(entries), "entry": entries}


def _observation(dice: random.Random, number: int, now: datetime) -> dict[str, Any]:
    code, display, unit, low, high, normal_low, normal_high = LABS[number % len(LABS)]
    taken = now - timedelta(minutes=60 + dice.randrange(90 * 24 * 60))
    ucum = {"unit": unit, "system": "http://unitsofmeasure.org", "code": unit}
    return {
        "resourceType": "Observation",
        "id": _id(dice),
        "meta": {"versionId": "1", "lastUpdated": taken.isoformat()},
        "identifier": [{"system": "urn:oid:2.999.2", "value": str(number)}],
        "status": "final",
        "category": [
            {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "laboratory"}]}
        ],
        "code": {
            "coding": [{"system": "http://loinc.org", "code": code, "display": display}],
            "text": display.split(" ")[0],
        },
        "subject": {"reference": f"Patient/{PATIENT}"},
        "effectiveDateTime": taken.isoformat(),
        "issued": (taken + timedelta(minutes=50)).isoformat(),
        "performer": [{"reference": "Organization/lab-1", "display": "Example laboratory"}],
        "valueQuantity": {"value": round(dice.uniform(low, high), 2), **ucum},
        "interpretation": [
            {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation", "code": "N"}]}
        ],
        "referenceRange": [{"low": {"value": normal_low, **ucum}, "high": {"value": normal_high, **ucum}}],
    }


def _medication(dice: random.Random, number: int, now: datetime, kind: str) -> dict[str, Any]:
    rxcui, atc, name = DRUGS[number % len(DRUGS)]
    started = (now - timedelta(days=dice.randrange(2, 600))).isoformat()
    coding = [
        {"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": rxcui, "display": name},
        {"system": "http://www.whocc.no/atc", "code": atc, "display": name},
    ]
    dosage = {
        "text": "1 tablet by mouth once daily",
        "timing": {"repeat": {"frequency": 1, "period": 1, "periodUnit": "d"}},
        "route": {"coding": [{"system": "http://snomed.info/sct", "code": "26643006", "display": "Oral route"}]},
        "doseAndRate": [
            {"doseQuantity": {"value": 1, "unit": "tablet", "system": "http://unitsofmeasure.org", "code": "{tbl}"}}
        ],
    }
    resource = {
        "resourceType": kind,
        "id": _id(dice),
        "identifier": [{"system": "urn:oid:2.999.3", "value": f"MED-{number}"}],
        "status": "active" if number % 3 else "stopped",
        "medicationCodeableConcept": {"coding": coding, "text": name},
        "subject": {"reference": f"Patient/{PATIENT}"},
    }
    if kind == "MedicationRequest":
        return resource | {"intent": "order", "authoredOn": started, "dosageInstruction": [dosage]}
    return resource | {"effectivePeriod": {"start": started}, "dateAsserted": started, "dosage": [dosage]}


def _condition(dice: random.Random, problem: tuple[str, str, str], now: datetime) -> dict[str, Any]:
    icd, snomed, text = problem
    codings = [
        {"system": "http://snomed.info/sct", "code": snomed, "display": text},
        {"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": icd},
    ]
    system = "http://terminology.hl7.org/CodeSystem/condition-"
    return {
        "resourceType": "Condition",
        "id": _id(dice),
        "clinicalStatus": {"coding": [{"system": f"{system}clinical", "code": "active"}]},
        "verificationStatus": {"coding": [{"system": f"{system}ver-status", "code": "confirmed"}]},
        "code": {"coding": codings, "text": text},
        "subject": {"reference": f"Patient/{PATIENT}"},
        "onsetDateTime": (now - timedelta(days=dice.randrange(100, 3000))).date().isoformat(),
    }
