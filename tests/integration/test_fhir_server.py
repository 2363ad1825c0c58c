"""The FHIR reader against a server that really searches: tokens, dates, sorting, counts, pages, ids, refusals."""

from __future__ import annotations

import time
from urllib.parse import urlsplit

import msgspec
import pytest

from service.fhir.client import FhirReader, Limits, Pages
from service.fhir.failure import FAILURE_MESSAGES, FailureKind, ReadFailure

SERUM, URINE, POTASSIUM = "19123-9", "2598-9", "2823-3"


@pytest.fixture(scope="module")
def reader():
    reader = FhirReader()
    yield reader
    reader.close()


@pytest.fixture(scope="module")
def patient(fhir_server) -> str:
    """The id of a synthetic patient with seven serum magnesium results (one a day), one potassium, one diagnosis."""
    patient, other = fhir_server.new_id(), fhir_server.new_id()
    fhir_server.put({"resourceType": "Patient", "id": patient, "gender": "female", "birthDate": "1961-02-03"})
    fhir_server.put({"resourceType": "Patient", "id": other, "gender": "male", "birthDate": "1970-01-01"})
    for day in (4, 1, 7, 2, 6, 3, 5):
        fhir_server.put(observation(fhir_server.new_id(), patient, SERUM, day, 0.50 + day / 100))
    fhir_server.put(observation(fhir_server.new_id(), patient, POTASSIUM, 3, 3.4))
    fhir_server.put(observation(fhir_server.new_id(), other, SERUM, 8, 0.99))
    snomed = {"coding": [{"system": "http://snomed.info/sct", "code": "709044004"}]}
    subject = {"reference": f"Patient/{patient}"}
    fhir_server.put({"resourceType": "Condition", "id": fhir_server.new_id(), "subject": subject, "code": snomed})
    return patient


def observation(identifier: str, patient: str, code: str, day: int, value: float) -> dict:
    return {
        "resourceType": "Observation",
        "id": identifier,
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": f"2025-06-0{day}T08:00:00Z",
        "valueQuantity": {"value": value, "unit": "mmol/L", "system": "http://unitsofmeasure.org", "code": "mmol/L"},
    }


def read(reader, server, queries, token=None, seconds=10.0):
    return reader.read(server.base, token or server.token, queries, time.monotonic() + seconds, of(server))


def of(server):
    return lambda url: url.startswith(server.base)


def resources(pages) -> list[dict]:
    assert isinstance(pages, Pages), pages
    return [entry["resource"] for body in pages.bodies for entry in msgspec.json.decode(body).get("entry", ())]


def days(pages) -> list[int]:
    return [int(resource["effectiveDateTime"][8:10]) for resource in resources(pages)]


def test_a_patient_is_read_by_id(reader, fhir_server, patient):
    pages = read(reader, fhir_server, {"patient": f"Patient/{patient}"})["patient"]
    (body,) = pages.bodies
    assert msgspec.json.decode(body)["birthDate"] == "1961-02-03"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (f"code=http://loinc.org|{SERUM}", {1, 2, 3, 4, 5, 6, 7}),
        (f"code=http://loinc.org|{URINE},http://loinc.org|{SERUM}", {1, 2, 3, 4, 5, 6, 7}),
        (f"code=http%3A%2F%2Floinc.org%7C{POTASSIUM}", {3}),
        (f"code={POTASSIUM}", {3}),
        (f"code=http://loinc.org|{SERUM}&date=ge2025-06-05", {5, 6, 7}),
        (f"code=http://loinc.org|{SERUM}&date=ge2025-06-02&date=lt2025-06-04", {2, 3}),
        (f"code=http://loinc.org|{URINE}", set()),
        (f"code=http://example.org|{SERUM}", set()),
        ("code:not=x", {1, 2, 3, 4, 5, 6, 7}),
    ],
)
def test_searches_find_what_they_describe(reader, fhir_server, patient, query, expected):
    pages = read(reader, fhir_server, {"key": f"Observation?patient={patient}&{query}"})["key"]
    assert pages.complete
    assert set(days(pages)) == expected


def test_the_newest_results_come_first(reader, fhir_server, patient):
    query = f"Observation?patient={patient}&code=http://loinc.org|{SERUM}&_sort=-date&_count=10"
    assert days(read(reader, fhir_server, {"key": query})["key"]) == [7, 6, 5, 4, 3, 2, 1]


def test_the_pages_of_the_server_are_followed_to_the_end(reader, fhir_server, patient):
    query = f"Observation?patient=Patient/{patient}&code=http://loinc.org|{SERUM}&_count=3"
    pages = read(reader, fhir_server, {"key": query})["key"]
    assert (len(pages.bodies), pages.complete) == (3, True)
    assert sorted(days(pages)) == [1, 2, 3, 4, 5, 6, 7]


def test_of_a_counted_search_that_is_answered_newest_first_one_page_is_enough(reader, fhir_server, patient):
    query = f"Observation?patient=Patient/{patient}&code=http://loinc.org|{SERUM}&_sort=-date&_count=3"
    pages = read(reader, fhir_server, {"key": query})["key"]
    assert (days(pages), pages.complete) == ([7, 6, 5], True)


def test_too_many_pages_are_said_to_be_incomplete(fhir_server, patient):
    reader = FhirReader(limits=Limits(max_pages=2))
    query = f"Observation?patient={patient}&code=http://loinc.org|{SERUM}&_count=3"
    pages = read(reader, fhir_server, {"key": query})["key"]
    assert (len(days(pages)), pages.failure) == (6, ReadFailure(FailureKind("too-many-pages")))
    reader.close()


def test_a_posted_search_finds_the_same_as_the_search_by_url(reader, fhir_server, patient):
    query = f"Observation?patient={patient}&code=http://loinc.org|{SERUM}&_sort=-date&_count=3"
    poster = FhirReader(limits=Limits(max_url=10))
    by_url, by_post = (resources(read(one, fhir_server, {"key": query})["key"]) for one in (reader, poster))
    assert by_post == by_url != []
    poster.close()


def test_a_search_with_hundreds_of_codes_is_answered(reader, fhir_server, patient):
    codes = ",".join(f"http://loinc.org|{number}-0" for number in range(300))
    query = f"Observation?patient={patient}&code={codes},http://loinc.org|{POTASSIUM}"
    assert days(read(reader, fhir_server, {"key": query})["key"]) == [3]


def test_all_prefetch_keys_at_once(reader, fhir_server, patient):
    labs = {str(number): f"Observation?patient={patient}&code=http://loinc.org|{number}-1" for number in range(12)}
    queries = labs | {
        "patient": f"Patient/{patient}",
        "magnesium": f"Observation?patient={patient}&code=http://loinc.org|{SERUM}",
        "conditions": f"Condition?patient={patient}",
        "medicationRequests": f"MedicationRequest?patient={patient}&status=active",
        "encounter": "Encounter/none-such",
    }
    results = read(reader, fhir_server, queries)
    assert {key for key, result in results.items() if not isinstance(result, Pages)} == {"encounter"}
    assert results["encounter"].words == FAILURE_MESSAGES["404"]
    assert len(resources(results["magnesium"])) == 7
    assert len(resources(results["conditions"])) == 1
    assert resources(results["medicationRequests"]) == []


def test_a_token_that_the_server_does_not_know_is_a_401_for_each_key(reader, fhir_server, patient):
    queries = {"patient": f"Patient/{patient}", "magnesium": f"Observation?patient={patient}"}
    results = read(reader, fhir_server, queries, token="expired")
    assert [result.words for result in results.values() if isinstance(result, ReadFailure)] == [
        FAILURE_MESSAGES["401"]
    ] * 2


def test_the_next_links_of_the_server_stay_on_the_address_that_was_asked(reader, fhir_server, patient):
    pages = read(reader, fhir_server, {"key": f"Observation?patient={patient}&_count=1"})["key"]
    links = [link["url"] for body in pages.bodies for link in msgspec.json.decode(body)["link"]]
    assert {urlsplit(link).netloc for link in links} == {urlsplit(fhir_server.base).netloc}
