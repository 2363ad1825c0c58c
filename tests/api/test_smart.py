"""The pages of the SMART app without a browser: who is led where, with which scopes, and what is closed."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from urllib.parse import unquote

import msgspec
import pytest

from service.cds.services import BY_ID
from tests.api.apps import locked_app, open_app

FHIR, OTHER = "https://ehr.hospital.example/fhir", "https://ehr.hospital.example/test/fhir"
SMART = """
[tenant.smart]
client_id = "magnesium-cds"
iss = {bases}
hosts = ["https://login.hospital.example"]
jwks = "https://login.hospital.example/jwks"
issuer = "https://login.hospital.example"
"""
READS = {
    *("patient/Patient.rs", "patient/Encounter.rs", "patient/Observation.rs", "patient/Condition.rs"),
    *("patient/MedicationRequest.rs", "patient/MedicationStatement.rs", "patient/MedicationAdministration.rs"),
}


def data(page: str) -> dict[str, str]:
    """What the page tells its script."""
    return {name: unescape(value) for name, value in re.findall(r'data-(\w+)="([^"]*)"', page)}


def launched(tmp_path: Path, query: str = "", bases: tuple[str, ...] = (FHIR,)):
    with locked_app(tmp_path, tenant=SMART.format(bases=list(bases))) as house:
        return house.client.get(f"/smart/launch{query}")


def test_from_the_ehr_with_launch_and_alone_with_a_choice_of_the_patient(tmp_path: Path) -> None:
    told = data(launched(tmp_path, f"?iss={FHIR}/&launch=x").text)
    assert (told["iss"], told["client"]) == (f"{FHIR}/", "magnesium-cds")
    assert told["hosts"].split() == ["https://ehr.hospital.example", "https://login.hospital.example"]
    assert set(told["scope"].split()) == {"launch", *READS}
    assert set(data(launched(tmp_path).text)["scope"].split()) == {"launch/patient", *READS}


def test_of_several_ehrs_the_reader_chooses(tmp_path: Path) -> None:
    answer = launched(tmp_path, bases=(FHIR, OTHER))
    links = re.findall(r'href="(launch\?iss=[^"]+)"', answer.text)
    assert [unquote(link) for link in links] == [f"launch?iss={base}" for base in (FHIR, OTHER)]
    assert "data-client" not in answer.text


@pytest.mark.parametrize("iss", ["https://elsewhere.example/fhir", f"{FHIR}/x", f"{FHIR}?x", "javascript:x", "//x"])
def test_another_ehr_is_refused(tmp_path: Path, iss: str) -> None:
    answer = launched(tmp_path, f"?iss={iss}")
    assert (answer.status_code, answer.json["issue"][0]["code"]) == (403, "forbidden")
    assert "elsewhere" not in answer.text


def test_without_an_ehr_nothing_is_open_and_it_says_so(tmp_path: Path) -> None:
    with locked_app(tmp_path) as house:
        for path in ("/smart/launch", f"/smart/launch?iss={FHIR}", "/smart/app"):
            answer = house.client.get(path)
            assert answer.status_code == 404
            assert "[tenant.smart]" in answer.json["issue"][0]["details"]["text"]


def test_the_app_reads_by_the_queries_that_are_advertised(tmp_path: Path) -> None:
    with open_app(tmp_path) as house:
        told = data(house.client.get("/smart/app").text)
    assert msgspec.json.decode(told["queries"]) == BY_ID["magnesium-patient-view"].prefetch


def test_the_policy_of_production_names_the_ehr_and_of_development_this_machine(tmp_path: Path) -> None:
    policy = launched(tmp_path).headers["Content-Security-Policy"]
    assert f"connect-src 'self' {FHIR}/ https://login.hospital.example;" in policy
    with open_app(tmp_path) as house:
        policy = house.client.get("/smart/app").headers["Content-Security-Policy"]
    assert "connect-src 'self' http://localhost:* http://127.0.0.1:* https://launch.smarthealthit.org;" in policy
    assert "frame-ancestors 'none'" in policy
