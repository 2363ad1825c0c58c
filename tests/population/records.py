"""Made-up patients as FHIR resources, as one Bundle or as the lines of a Bulk Data export."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

import msgspec

AS_OF = "2025-06-15T10:00:00Z"
Json = dict[str, Any]
_LAB = {"2601-3": "mmol/L", "2160-0": "mg/dL", "2823-3": "mmol/L"}
_DRUGS = {"4603": "furosemide", "7646": "omeprazole", "3407": "digoxin", "161": "paracetamol"}


def patient(ident: str, born: str = "1950-03-01") -> Json:
    return {"resourceType": "Patient", "id": ident, "gender": "male", "birthDate": born}


def lab(ident: str, whose: str, loinc: str, value: float, day: str = "2025-06-14") -> Json:
    return {
        "resourceType": "Observation",
        "id": ident,
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": loinc}]},
        "subject": {"reference": f"Patient/{whose}"},
        "effectiveDateTime": f"{day}T08:00:00Z",
        "valueQuantity": {
            "value": value,
            "unit": _LAB[loinc],
            "system": "http://unitsofmeasure.org",
            "code": _LAB[loinc],
        },
    }


def request(ident: str, whose: str, rxnorm: str) -> Json:
    coding = {"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": rxnorm, "display": _DRUGS[rxnorm]}
    return {
        "resourceType": "MedicationRequest",
        "id": ident,
        "status": "active",
        "intent": "order",
        "medicationCodeableConcept": {"coding": [coding]},
        "subject": {"reference": f"Patient/{whose}"},
        "authoredOn": "2025-01-10",
    }


def request_by_reference(ident: str, whose: str, medication: str) -> Json:
    made = request(ident, whose, "4603")
    del made["medicationCodeableConcept"]
    return made | {"medicationReference": {"reference": medication}}


def medication(ident: str, rxnorm: str) -> Json:
    coding = {"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": rxnorm, "display": _DRUGS[rxnorm]}
    return {"resourceType": "Medication", "id": ident, "code": {"coding": [coding]}}


def condition(ident: str, whose: str, icd10: str) -> Json:
    return {
        "resourceType": "Condition",
        "id": ident,
        "clinicalStatus": {"coding": [{"code": "active"}]},
        "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10", "code": icd10}]},
        "subject": {"reference": f"Patient/{whose}"},
    }


def low_magnesium(ident: str = "p1") -> list[Json]:
    """Moderately low magnesium and low potassium on furosemide, with everything that the rules ask first."""
    return [
        patient(ident),
        lab(f"{ident}-mg", ident, "2601-3", 0.45),
        lab(f"{ident}-k", ident, "2823-3", 3.1),
        lab(f"{ident}-crea", ident, "2160-0", 1.1),
        request(f"{ident}-m", ident, "4603"),
        condition(f"{ident}-c", ident, "I50.0"),
    ]


def normal(ident: str) -> list[Json]:
    return [patient(ident), lab(f"{ident}-mg", ident, "2601-3", 0.85), lab(f"{ident}-crea", ident, "2160-0", 0.9)]


def anybody(ident: str, results: int = 20) -> list[Json]:
    """A patient as chance has it, the same for the same id."""
    chance = Random(ident)  # noqa: S311
    days = [f"2025-{chance.randint(1, 6):02}-{chance.randint(1, 14):02}" for _ in range(results)]
    kinds = {"2601-3": (0.3, 1.4), "2160-0": (0.5, 4.0), "2823-3": (2.4, 5.8)}
    labs = [
        lab(f"{ident}-o{number}", ident, loinc, round(chance.uniform(*kinds[loinc]), 2), day)
        for number, day in enumerate(days)
        for loinc in [chance.choice(sorted(kinds))]
    ]
    drugs = [request(f"{ident}-m{n}", ident, code) for n, code in enumerate(chance.sample(sorted(_DRUGS), 2))]
    born = f"{chance.randint(1930, 2020)}-05-05"
    return [
        patient(ident, born),
        *labs,
        *drugs,
        condition(f"{ident}-c", ident, chance.choice(["I50.0", "K50.9", "G43.1"])),
    ]


def bundle(resources: Iterable[Json]) -> bytes:
    return msgspec.json.encode(
        {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": r} for r in resources]}
    )


def write_export(folder: Path, resources: Iterable[Json], *, compressed: Iterable[str] = ()) -> Path:
    """One file for each resource type, named as Bulk Data servers name them."""
    folder.mkdir(parents=True, exist_ok=True)
    lines: dict[str, list[bytes]] = {}
    for resource in resources:
        lines.setdefault(resource["resourceType"], []).append(msgspec.json.encode(resource))
    for kind, found in lines.items():
        content = b"\n".join(found) + b"\n"
        if kind in compressed:
            (folder / f"{kind}.000.ndjson.gz").write_bytes(gzip.compress(content))
        else:
            (folder / f"{kind}.000.ndjson").write_bytes(content)
    return folder
