"""A remembered reading is the reading that would be made anew, at any moment."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from service.fhir.decode import read_bundle
from service.fhir.memory import Memory
from service.fhir.ownership import EvaluationInput
from service.fhir.snapshot import read_snapshot
from service.settings import load
from service.site import site_of, site_schema

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
DRUG = {"medicationCodeableConcept": {"text": "magnesium oxide"}, "subject": {"reference": "Patient/p"}}
RESOURCES = [
    {"resourceType": "Patient", "id": "p", "birthDate": "1950-01-01"},
    *(
        {
            "resourceType": "Observation", "id": f"o{day}", "status": "final", "subject": {"reference": "Patient/p"},
            "code": {"coding": [{"system": "http://loinc.org", "code": "19123-9"}]},
            "effectiveDateTime": f"2026-03-0{day}T08:00:00Z", "valueQuantity": {"value": 1.2, "unit": "mg/dL"},
        }
        for day in range(1, 8)
    ),
    {"resourceType": "MedicationRequest", "id": "r", "status": "active", "intent": "order", "authoredOn": "2026-03-01",
     "dosageInstruction": [{"timing": {"repeat": {"boundsPeriod": {"end": "2026-03-03"}}}}], **DRUG},
    {"resourceType": "MedicationStatement", "id": "s", "status": "completed",
     "effectivePeriod": {"start": "2026-03-02", "end": "2026-03-05T10:00:00Z"}, **DRUG},
    {"resourceType": "MedicationDispense", "id": "d", "status": "completed", "whenHandedOver": "2026-03-02",
     "daysSupply": {"value": 3}, **DRUG},
]  # fmt: skip


@pytest.fixture(scope="module")
def site():
    return site_of(load({}, site_schema()))


def test_what_is_remembered_is_what_would_be_read(site):
    bundle = {"resourceType": "Bundle", "entry": [{"resource": resource} for resource in RESOURCES]}
    resources = tuple(read_bundle(msgspec.json.encode(bundle)).resources)
    memory, seen = Memory(), set()
    for hours in [*range(0, 240, 5), *range(237, 0, -7)]:  # there and back
        chart = EvaluationInput("p", BEGIN + timedelta(hours=hours), resources=resources)
        anew = read_snapshot(chart, site)
        assert read_snapshot(replace(chart, memory=memory), site) == anew
        seen.add((tuple(m.exposure for m in anew.medications), sum(lab.problem is None for lab in anew.labs)))
    assert len(seen) > 5, "the readings did change with the moment"
    assert memory.readings
