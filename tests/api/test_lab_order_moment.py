"""The lab-order moment over HTTP (decision 23): K 2.9, a diuretic and a PPI, no magnesium on file, blood is drawn."""

from __future__ import annotations

from typing import Any

import pytest

from service.terminology.queries import PREFETCH_KEYS
from tests.api.apps import open_app
from tests.contract.messages import PATIENT, bundle, having, hook_request, medication, observation

LOINC = "http://loinc.org"
CHART = {
    **dict.fromkeys(set(PREFETCH_KEYS) - {"encounter"}),
    "patient": PATIENT,
    "magnesium": bundle(),
    "creatinine": bundle(observation("cr1", "2160-0", 0.8, "mg/dL")),
    "potassium": bundle(observation("k1", "2823-3", 2.9, "mmol/L")),
    "medicationRequests": bundle(medication("m1", "4603", "Furosemide"), medication("m2", "7646", "Omeprazole")),
}
BLOOD = {
    "basic metabolic panel": {"coding": [{"system": LOINC, "code": "51990-0"}], "text": "Basic metabolic panel"},
    "potassium": {"coding": [{"system": LOINC, "code": "2823-3"}]},
    "creatinine": {"coding": [{"system": LOINC, "code": "2160-0"}]},
    "blood count by text": {"text": "CBC with differential"},
    "metabolic panel by text": {"text": "BMP"},
}
NO_BLOOD = {"urine culture": {"text": "Urine culture"}, "chest X-ray": {"text": "Chest X-ray"}}


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with open_app(tmp_path_factory.mktemp("draw")) as house:
        yield house


def ordered(house: Any, hook: str, *codes: dict[str, Any], chart: dict[str, Any] = CHART) -> list[Any]:
    """The cards of a call in which these tests are ordered, all of them selected."""
    requests = [
        {"resourceType": "ServiceRequest", "id": f"r{number}", "status": "draft", "intent": "order", "code": code}
        | {"subject": {"reference": f"Patient/{PATIENT['id']}"}}
        for number, code in enumerate(codes)
    ]
    body = having(hook_request(hook, prefetch=chart), bundle(*requests), "context", "draftOrders")
    if hook == "order-select":
        selections = [f"ServiceRequest/{request['id']}" for request in requests]
        body = having(body, selections, "context", "selections")
    answer = house.post(f"/cds-services/magnesium-{hook}", body)
    assert answer.status_code == 200, answer.json
    return answer.json["cards"]


def results(cards: list[Any]) -> set[tuple[str, str]]:
    found = (finding for card in cards for finding in card["extension"]["org.magnesium-cds.findings"])
    return {(finding["rule"], finding["result"]) for finding in found}


@pytest.mark.parametrize("hook", ["order-select", "order-sign"])
@pytest.mark.parametrize("test", BLOOD)
def test_a_draw_is_offered_a_magnesium_in_one_click(house, hook, test):
    cards = ordered(house, hook, BLOOD[test])
    assert ("R-090", "add-magnesium") in results(cards)
    (suggestion,) = cards[0]["suggestions"]
    (action,) = suggestion["actions"]
    assert (action["type"], action["resource"]["resourceType"]) == ("create", "ServiceRequest")
    assert action["resource"]["code"]["coding"][0]["code"] in {"19123-9", "2601-3"}


@pytest.mark.parametrize("hook", ["order-select", "order-sign"])
def test_a_panel_and_a_potassium_are_one_draw_and_one_offer(house, hook):
    cards = ordered(house, hook, BLOOD["basic metabolic panel"], BLOOD["potassium"])
    assert len(cards) == 1
    assert len(cards[0]["suggestions"]) == 1


@pytest.mark.parametrize("hook", ["order-select", "order-sign"])
@pytest.mark.parametrize("words", ["Magnesium level", "Serum magnesium", "BMP + Mg"])
def test_a_magnesium_known_by_its_words_needs_none_added(house, hook, words):
    assert ("R-090", "add-magnesium") not in results(ordered(house, hook, BLOOD["potassium"], {"text": words}))


@pytest.mark.parametrize("test", NO_BLOOD)
def test_no_blood_no_offer(house, test):
    assert ordered(house, "order-sign", NO_BLOOD[test]) == []


def test_a_chart_without_a_reason_is_left_alone(house):
    quiet = {key: value for key, value in CHART.items() if key != "medicationRequests"}
    quiet |= {"medicationRequests": bundle(), "potassium": bundle(observation("k1", "2823-3", 4.2, "mmol/L"))}
    assert ordered(house, "order-sign", BLOOD["basic metabolic panel"], chart=quiet) == []
