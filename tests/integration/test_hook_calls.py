"""A hook call that was sent nothing, answered from a FHIR server that really searches."""

from __future__ import annotations

from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from service.cds.services import BY_ID
from tests.api.apps import VIEW, locked_app
from tests.contract.messages import LOW, NOW, PATIENT, having, hook_request, observation


@pytest.fixture(scope="module")
def patient(fhir_server) -> str:
    """The id of a synthetic patient with a low magnesium and omeprazole."""
    patient = fhir_server.new_id()
    subject = {"subject": {"reference": f"Patient/{patient}"}}
    omeprazole = {"coding": [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "7646"}]}
    drug = {"resourceType": "MedicationRequest", "status": "active", "intent": "order"}
    fhir_server.put(PATIENT | {"id": patient})
    fhir_server.put(LOW | subject | {"id": fhir_server.new_id()})
    fhir_server.put(observation(fhir_server.new_id(), "2160-0", 0.8, "mg/dL") | subject)
    fhir_server.put(drug | subject | {"id": fhir_server.new_id(), "medicationCodeableConcept": omeprazole})
    return patient


def put_patient(fhir_server, born: str, *heights: str) -> str:
    """The id of a patient with a low magnesium, a creatinine and perhaps heights on the server."""
    patient = fhir_server.new_id()
    subject = {"subject": {"reference": f"Patient/{patient}"}}
    fhir_server.put(PATIENT | {"id": patient, "birthDate": born})
    fhir_server.put(LOW | subject | {"id": fhir_server.new_id()})
    fhir_server.put(observation(fhir_server.new_id(), "2160-0", 0.4, "mg/dL") | subject)
    for taken in heights:
        height = observation(fhir_server.new_id(), "8302-2", 110, "cm") | subject | {"effectiveDateTime": taken}
        vital = {"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs"}
        fhir_server.put(height | {"category": [{"coding": [vital]}]})
    return patient


def call(house, fhir_server, patient: str, token: str):
    access = {"access_token": token, "token_type": "Bearer", "expires_in": 300, "scope": "", "subject": "us"}
    body = hook_request(prefetch={}, fhirServer=fhir_server.base, fhirAuthorization=access)
    with capture_logs() as logs:
        answer = house.post(VIEW, having(body, patient, "context", "patientId"))
    return answer, next((line for line in logs if line["event"] == "decision"), None)


def test_every_advertised_query_is_understood_and_its_answer_judged(fhir_server, patient, tmp_path):
    with locked_app(tmp_path, [fhir_server.base], service="deadline_ms = 5000") as house:
        answer, line = call(house, fhir_server, patient, fhir_server.token)
    assert answer.status_code == 200, answer.json
    present = {"patient", "magnesium", "creatinine", "medicationRequests"}
    assert line["states"] == {
        key: "present" if key in present else "none" for key in BY_ID["magnesium-patient-view"].prefetch
    } | {
        "encounter": "absent"  # no encounterId, so no query
    }
    findings = answer.json["cards"][0]["extension"]["org.magnesium-cds.findings"]
    assert "R-011" in {finding["rule"] for finding in findings}


def test_a_token_that_the_server_refuses_is_412(fhir_server, patient, tmp_path):
    with locked_app(tmp_path, [fhir_server.base]) as house:
        answer, line = call(house, fhir_server, patient, "wrong")
    assert (answer.status_code, line) == (412, None)
    assert all("access token" in issue["details"]["text"] for issue in answer.json["issue"])


YESTERDAY = f"{NOW - timedelta(days=1):%Y-%m-%d}"
CHILD, ADULT = f"{NOW.year - 6}-06-01", "1970-06-01"


@pytest.mark.parametrize(
    ("born", "heights", "gate", "missed"),
    [
        pytest.param(CHILD, (), "unknown", True, id="a child without a height"),
        pytest.param(CHILD, (YESTERDAY,), None, False, id="a child measured yesterday"),
        pytest.param(ADULT, (), None, False, id="an adult without a height"),
        pytest.param(ADULT, (YESTERDAY,), None, False, id="an adult measured yesterday"),
    ],
)
def test_a_height_of_yesterday_on_the_server_ends_height_missing(fhir_server, tmp_path, born, heights, gate, missed):
    """Read by the merged search `measurements`; with it the kidneys of a child are known, too."""
    patient = put_patient(fhir_server, born, *heights)
    with locked_app(tmp_path, [fhir_server.base], service="deadline_ms = 5000") as house:
        answer, line = call(house, fhir_server, patient, fhir_server.token)
    assert answer.status_code == 200, answer.json
    (card,) = answer.json["cards"]
    found = {each["rule"]: each["result"] for each in card["extension"]["org.magnesium-cds.findings"]}
    assert line["states"]["measurements"] == ("present" if heights else "none")
    assert found.get("R-031") == gate
    assert ("Height missing" in card["detail"]) is missed
