"""The FHIR operation: what /v1/evaluate says, as valid FHIR R4, for a client that knows nothing but FHIR."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import requests
from fhir.resources.R4B import get_fhir_model_class

from service.api.fhir_definitions import CODE, PARAMETERS
from service.api.fhir_operation import PATH
from service.api.http.responses import encode
from service.guidance import guidance
from tests.api.apps import BASE, RunningApp, bearer, locked_app, open_app
from tests.cli.test_server import port, serving  # noqa: F401  fixtures
from tests.contract.messages import FUROSEMIDE, LOW, PATIENT, Json, bundle, medication
from tests.contract.openapi import CONTRACT, OUTCOME, problems
from tests.contract.test_openapi import plain
from tests.vignettes.files import Vignette, read
from tests.vignettes.wire import draft, resources

FHIR_JSON = "application/fhir+json"
EVALUATE = "/v1/evaluate"
AT = "2026-11-20T09:00:00Z"
RULE = re.compile(r"R-\d{3}")
WIRED = [vignette for vignette in read() if vignette.wire]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    with open_app(tmp_path_factory.mktemp("fhir")) as house:
        yield house


def parameters(*given: Json) -> Json:
    return {"resourceType": "Parameters", "parameter": list(given)}


def data(*listed: Json) -> list[Json]:
    return [{"name": "data", "resource": resource} for resource in listed]


def sent(house: RunningApp, *given: Json, **headers: str) -> Any:
    return house.post(PATH, parameters(*given), **headers)


def guided(house: RunningApp, *given: Json) -> Json:
    """The GuidanceResponse, which is valid."""
    answer = sent(house, *given)
    assert (answer.status_code, answer.mimetype) == (200, FHIR_JSON)
    valid(answer.json)
    return answer.json


def valid(body: Json) -> None:
    """Valid FHIR R4, and by those invariants of it that no schema checks; and as the contract says."""
    get_fhir_model_class(body["resourceType"]).model_validate(body)
    assert problems({"$ref": "#/components/schemas/GuidanceResponse"}, body) == []
    inside = {resource["id"] for resource in body["contained"]}
    named = set(re.findall(r'"reference":\s*"#([^"]+)"', msgspec.json.encode(body).decode()))
    assert named == inside  # dom-3
    for action in actions(body):
        assert ("resource" in action) != ("action" in action)  # rqg-1
    assert list(empty(body)) == []


def empty(value: Any) -> Iterator[Any]:
    """What FHIR forbids: a member without anything in it."""
    if value in ("", [], {}, None):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from empty(inner)


def contained(body: Json, ident: str) -> Json:
    return next((resource for resource in body["contained"] if resource["id"] == ident), {})


def actions(body: Json) -> list[Json]:
    top = contained(body, "cards").get("action", [])
    return [*top, *(inner for action in top for inner in action.get("action", ()))]


def findings(body: Json) -> dict[str, Json]:
    """Of each rule its parts by name, lists where there may be several."""
    return {
        found["rule"][0]: found
        for found in (_members(each["part"]) for each in contained(body, "findings")["parameter"])
    }


def _members(parts: list[Json]) -> Json:
    found: dict[str, list[Any]] = {}
    for part in parts:
        (value,) = (item for key, item in part.items() if key != "name")
        found.setdefault(part["name"], []).append(_members(value) if isinstance(value, list) else value)
    return found


def told(finding: Json) -> Json:
    """A finding of /v1/evaluate, as lists and with sources as FHIR has them."""
    listed = {name: value if isinstance(value, list) else [value] for name, value in finding.items()}
    if "values" in listed:
        listed["values"] = [{name: [value] for name, value in finding["values"].items()}]
    if "citations" in listed:
        listed["citations"] = [source["source"] for source in finding["citations"]]
    return listed


def as_requests(vignette: Vignette) -> tuple[Json, list[Json]]:
    """One patient as a body of /v1/evaluate, and as parameters of the operation."""
    patient = vignette.patient
    listed = [msgspec.json.decode(encode(resource)) for resource in resources(patient)]
    drafts = [msgspec.json.decode(encode(draft(order, patient.as_of))) for order in patient.orders]
    chosen = [order.reference for order in patient.orders if order.selected]
    moment = patient.as_of.isoformat()
    context = {"patientId": "p", "encounterId": "e", "draftOrders": bundle(*drafts), "selections": chosen}
    body = {"bundle": bundle(*listed), "hook": patient.hook.value, "asOf": moment, "context": context}
    given = [
        {"name": "subject", "valueString": "Patient/p"},
        {"name": "encounter", "valueString": "Encounter/e"},
        {"name": "hook", "valueCode": patient.hook.value},
        {"name": "asOf", "valueDateTime": moment},
        *({"name": "selections", "valueString": reference} for reference in chosen),
        *({"name": "draftOrders", "resource": order} for order in drafts),
        *data(*listed),
    ]
    return body, given


@pytest.mark.parametrize("vignette", WIRED[::3], ids=str)
def test_every_rule_and_every_card_is_that_of_evaluate(house: RunningApp, vignette: Vignette) -> None:
    body, given = as_requests(vignette)
    alone, guide = house.post(EVALUATE, body).json, guided(house, *given)
    found = findings(guide)
    for finding in found.values():
        if "citations" in finding:
            finding["citations"] = [source["label"] for source in finding["citations"]]
    assert found == {finding["rule"]: told(finding) for finding in alone["findings"]}
    shown = contained(guide, "cards").get("action", [])
    assert [(a["title"], a["priority"]) for a in shown] == [
        (card["summary"], {"critical": "stat", "warning": "urgent", "info": "routine"}[card["indicator"]])
        for card in alone["cards"]
    ]
    assert [a.get("description", "") for a in shown] == [card["detail"] for card in alone["cards"]]
    offered = [[s["label"] for s in card.get("suggestions", ())] for card in alone["cards"]]
    assert [[inner["title"] for inner in a.get("action", ())] for a in shown] == offered
    orders = [a["resource"] for card in alone["cards"] for s in card.get("suggestions", ()) for a in s["actions"]]
    assert [o for r in guide["contained"] if r["resourceType"] == "ServiceRequest" for o in [r | {"id": 0}]] == [
        order | {"id": 0} for order in orders
    ]
    assert ("result" in guide) is bool(alone["cards"])


def test_the_vignettes_have_what_is_compared() -> None:
    assert len(WIRED[::3]) > 20
    assert any(vignette.patient.orders for vignette in WIRED[::3])


ALIKE = {
    "bundle": data(bundle(PATIENT, LOW)),
    "single resources": data(PATIENT, LOW),
    "subject": [{"name": "subject", "valueString": "Patient/p1"}, *data(PATIENT, LOW)],
    "subject by its id": [{"name": "subject", "valueId": "p1"}, *data(PATIENT, LOW)],
    "subject as Reference": [{"name": "subject", "valueReference": {"reference": "Patient/p1"}}, *data(PATIENT, LOW)],
    "subject as URL": [{"name": "subject", "valueUri": "https://ehr.example/fhir/Patient/p1"}, *data(PATIENT, LOW)],
    "moment": [{"name": "asOf", "valueDateTime": AT}, *data(PATIENT, LOW)],
    "moment as instant": [{"name": "asOf", "valueInstant": AT}, *data(PATIENT, LOW)],
    "hook": [{"name": "hook", "valueCode": "patient-view"}, *data(PATIENT, LOW)],
    "language": [
        {"name": "userLanguage", "valueCodeableConcept": {"coding": [{"code": "en-US"}]}},
        *data(PATIENT, LOW),
    ],
    "profile": [{"name": "referenceProfile", "valueCode": "default"}, *data(PATIENT, LOW)],
    "research": [{"name": "researchRules", "valueBoolean": False}, *data(PATIENT, LOW)],
}


@pytest.mark.parametrize("way", ALIKE)
def test_what_is_said_in_another_way_is_answered_alike(house: RunningApp, way: str) -> None:
    usual = guided(house, *data(PATIENT, LOW))
    assert plain(guided(house, *ALIKE[way])) == plain(usual)
    assert usual["status"] == "success"
    assert usual["result"]


def test_language_drafts_and_encounter_are_heard(house: RunningApp) -> None:
    spoken = {"name": "userLanguage", "valueCodeableConcept": {"coding": [{"code": "ru"}]}}
    hook = {"name": "hook", "valueCode": "order-sign"}
    orders = [
        {"name": "draftOrders", "resource": bundle(FUROSEMIDE)},
        {"name": "encounter", "valueString": "Encounter/e1"},
    ]
    body = guided(house, spoken, hook, *orders, *data(PATIENT, LOW))
    assert body["language"] == "ru"
    assert re.search("[а-я]", actions(body)[0]["title"])
    assert body["encounter"] == {"reference": "Encounter/e1"}
    assert findings(body)["R-091"]["outcome"] == ["finding"]


def test_a_refill_is_judged_by_its_drafts(house: RunningApp) -> None:
    given = [{"name": "hook", "valueCode": "medication-refill"}, {"name": "asOf", "valueDateTime": AT}]
    order = medication("d1", "7646", "Omeprazole", "draft")
    body = guided(house, *given, {"name": "draftOrders", "resource": order}, *data(PATIENT, LOW))
    sent = {
        "bundle": bundle(PATIENT, LOW),
        "asOf": AT,
        "hook": "medication-refill",
        "context": {"medications": bundle(order)},
    }
    alone = house.post(EVALUATE, sent).json
    assert [a["title"] for a in actions(body)[:1]] == [card["summary"] for card in alone["cards"]]


def test_an_action_has_its_sources_and_its_orders_wait_to_be_accepted(house: RunningApp) -> None:
    body = guided(house, *data(PATIENT, LOW, medication("m1", "7646", "Omeprazole")))
    (card,) = contained(body, "cards")["action"]
    sources = {source["label"]: source for source in card["documentation"]}
    assert sources["hedayati-2024"]["type"] == "citation"
    assert sources["hedayati-2024"]["url"].startswith("https://doi.org/")
    assert RULE.match(body["reasonCode"][0]["coding"][0]["code"])
    assert card["selectionBehavior"] == "any"
    (order,) = card["action"]
    resource = contained(body, order["resource"]["reference"].removeprefix("#"))
    assert (resource["resourceType"], resource["status"]) == ("ServiceRequest", "draft")


def test_without_serum_magnesium_the_data_required_are_named(house: RunningApp) -> None:
    body = guided(house, *data(PATIENT))
    assert body["status"] == "data-required"
    assert "result" not in body
    codes = [c["code"] for need in body["dataRequirement"] for f in need.get("codeFilter", ()) for c in f["code"]]
    assert {"19123-9", "2601-3"} <= set(codes)
    assert all(need["type"] == "Observation" or "codeFilter" not in need for need in body["dataRequirement"])


def test_a_rule_that_broke_is_a_failure_and_says_so(house: RunningApp) -> None:
    answer = house.post(EVALUATE, {"bundle": bundle(PATIENT, LOW)}).json
    answer["findings"][0] = {
        "rule": "R-001",
        "name": "x",
        "outcome": "failed",
        "error": "KeyError in R-001",
        "shown": True,
    }
    body = guidance(msgspec.json.decode(msgspec.json.encode(answer), type=dict[str, Any]))
    valid(body)
    assert body["status"] == "failure"
    assert contained(body, "issues")["issue"][0]["details"]["text"] == "KeyError in R-001"


def test_a_page_is_documentation_and_an_app_is_not(house: RunningApp) -> None:
    answer = house.post(EVALUATE, {"bundle": bundle(PATIENT, LOW)}).json
    url = "https://cds.example/x"
    answer["cards"][0]["links"] = [{"label": kind, "url": url, "type": kind} for kind in ("absolute", "smart")]
    (card,) = contained(guidance(answer), "cards")["action"]
    assert [d["label"] for d in card["documentation"] if d["type"] == "documentation"] == ["absolute"]


def test_what_was_not_read_is_named(house: RunningApp) -> None:
    nameless = LOW | {"id": "o9", "valueQuantity": {"value": 3.1}}
    body = guided(
        house, *data(PATIENT, LOW, nameless), {"name": "data", "resource": 3}, {"name": "zz", "valueCode": "x"}
    )
    assert body["evaluationMessage"] == [{"reference": "#issues"}]
    issues = contained(body, "issues")["issue"]
    places = [issue.get("diagnostics") or issue["expression"][0] for issue in issues]
    assert set(places) == {"Parameters.parameter[4]", "Observation/o9", "Parameters.parameter.where(name='data')[3]"}


WRONG: dict[str, tuple[Any, str]] = {
    "no Parameters": (PATIENT, "Parameters"),
    "no data": (parameters({"name": "subject", "valueString": "Patient/p1"}), "Parameters.parameter"),
    "nothing": (parameters(), "Parameters.parameter"),
    "data of a value": (parameters({"name": "data", "valueString": "x"}), "Parameters.parameter[0]"),
    "no resource": (parameters({"name": "data", "resource": {}}), "Parameters.parameter.where(name='data')"),
    "two patients": (parameters(*data(PATIENT, PATIENT | {"id": "p2"})), "Parameters.parameter.where(name='subject')"),
    "hook": (parameters(*data(PATIENT), {"name": "hook", "valueCode": "x"}), "Parameters.parameter.where(name='hook')"),
    "hook of a type": (parameters(*data(PATIENT), {"name": "hook", "valueBoolean": True}), "Parameters.parameter[1]"),
    "hook without value": (parameters(*data(PATIENT), {"name": "hook", "valueInteger": 3}), "Parameters.parameter[1]"),
    "hook twice": (
        parameters(*data(PATIENT), *[{"name": "hook", "valueCode": "patient-view"}] * 2),
        "Parameters.parameter[2]",
    ),
    "moment": (
        parameters(*data(PATIENT), {"name": "asOf", "valueDateTime": "x"}),
        "Parameters.parameter.where(name='asOf')",
    ),
    "drafts": (
        parameters(*data(PATIENT), {"name": "draftOrders", "resource": {"id": "x"}}),
        "Parameters.parameter.where(name='draftOrders')",
    ),
    "name of a number": ({"resourceType": "Parameters", "parameter": [{"name": 3}]}, "Parameters.parameter[0].name"),
    "parameter of a string": ({"resourceType": "Parameters", "parameter": "x"}, "Parameters.parameter"),
    "array": ([], "Parameters"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_said_with_its_place(house: RunningApp, wrong: str) -> None:
    body, where = WRONG[wrong]
    answer = house.post(PATH, body)
    assert (answer.status_code, answer.mimetype, problems(OUTCOME, answer.json)) == (400, FHIR_JSON, [])
    get_fhir_model_class("OperationOutcome").model_validate(answer.json)
    assert [place.startswith(where) for issue in answer.json["issue"] for place in issue["expression"]] == [True]


ACCEPTED = (
    "*/*",
    "application/json",
    FHIR_JSON,
    f"{FHIR_JSON}; fhirVersion=4.0",
    "application/*",
    "text/html, */*;q=0.1",
)
FORMATS = ("", "json", "application/json", "application/fhir+json", "application/fhir%2Bjson", "text/json")


@pytest.mark.parametrize("accept", ACCEPTED)
@pytest.mark.parametrize("path", ["/fhir/metadata", f"/fhir/OperationDefinition/{CODE}"])
def test_json_is_answered_to_whoever_takes_it(house: RunningApp, path: str, accept: str) -> None:
    assert house.client.get(path, headers={"Accept": accept}).mimetype == FHIR_JSON


@pytest.mark.parametrize("form", FORMATS)
def test_a_format_is_stronger_than_accept(house: RunningApp, form: str) -> None:
    accept = {"Accept": "application/fhir+xml"} if form else {}
    assert house.client.get(f"/fhir/metadata?_format={form}", headers=accept).status_code == 200


@pytest.mark.parametrize(
    ("query", "accept"), [("", "application/fhir+xml"), ("?_format=xml", "*/*"), ("", "text/turtle")]
)
def test_another_format_is_406_and_says_which_there_is(house: RunningApp, query: str, accept: str) -> None:
    for answer in (
        house.client.get(f"/fhir/metadata{query}", headers={"Accept": accept}),
        house.client.post(f"{PATH}{query}", json=parameters(), headers={"Accept": accept}),
    ):
        assert (answer.status_code, answer.mimetype) == (406, FHIR_JSON)
        assert FHIR_JSON in answer.json["issue"][0]["details"]["text"]


def test_a_body_of_xml_is_415_and_says_what_is_read(house: RunningApp) -> None:
    answer = house.client.post(PATH, data=b"<Parameters/>", content_type="application/fhir+xml")
    assert (answer.status_code, answer.mimetype) == (415, FHIR_JSON)
    assert "application/json" in answer.json["issue"][0]["details"]["text"]


def test_the_definition_lists_what_is_read_and_the_statement_names_it(house: RunningApp) -> None:
    statement, definition = (
        house.client.get(path).json for path in ("/fhir/metadata", f"/fhir/OperationDefinition/{CODE}")
    )
    for body in (statement, definition):
        get_fhir_model_class(body["resourceType"]).model_validate(body)
    (operation,) = statement["rest"][0]["operation"]
    assert operation == {"name": CODE, "definition": definition["url"]}
    assert [p["name"] for p in definition["parameter"] if p["use"] == "in"] == list(PARAMETERS)
    assert [p["type"] for p in definition["parameter"] if p["use"] == "out"] == ["GuidanceResponse"]


def test_in_production_a_token_for_this_path_is_needed_and_the_public_url_is_named(tmp_path: Path) -> None:
    with locked_app(tmp_path) as house:
        body = parameters(*data(PATIENT, LOW))
        codes = [
            house.client.post(PATH, json=body, headers=headers).status_code
            for headers in ({}, bearer(EVALUATE), bearer(PATH))
        ]
        assert house.client.get("/fhir/metadata").json["implementation"]["url"] == f"{BASE}/fhir"
    assert codes == [401, 401, 200]


def test_in_silent_mode_every_rule_is_told_and_no_card(tmp_path: Path) -> None:
    with locked_app(tmp_path, tenant="silent = true") as house:
        body = sent(house, *data(PATIENT, LOW)).json
        counted = house.client.get("/metrics").text
    valid(body)
    assert "result" not in body
    assert findings(body)["R-011"]["outcome"] == ["finding"]
    assert {shown for finding in findings(body).values() for shown in finding["shown"]} == {False}
    assert re.search(r'silent_cards\w*\{[^}]*rule="R-011"[^}]*\} [1-9]', counted)


def test_a_client_that_knows_fhir_alone_finds_the_operation_and_calls_it(serving: Any, port: int) -> None:  # noqa: F811
    with serving(threads=8), requests.Session() as client:
        client.headers["Accept"] = FHIR_JSON
        base = f"http://127.0.0.1:{port}/fhir"
        (operation,) = client.get(f"{base}/metadata", timeout=9).json()["rest"][0]["operation"]
        definition = client.get(operation["definition"], timeout=9).json()
        (needed,) = (p for p in definition["parameter"] if p["use"] == "in" and p["min"] > 0)
        body = parameters(
            {"name": needed["name"], "resource": bundle(PATIENT, LOW)}, {"name": "asOf", "valueDateTime": AT}
        )
        url = f"{base}/${definition['code']}"
        answer = client.post(url, data=msgspec.json.encode(body), headers={"Content-Type": FHIR_JSON}, timeout=9)
    found = get_fhir_model_class("GuidanceResponse").model_validate(msgspec.json.decode(answer.content))
    assert found.status == "success"
    group = next(resource for resource in found.contained if resource.get_resource_type() == "RequestGroup")
    assert f"#{group.id}" == found.result.reference
    assert "Mg 1.1 mg/dL" in group.action[0].title
    assert Decimal("1.1") in [part.valueDecimal for part in every_part(found)]


def every_part(found: Any) -> Iterator[Any]:
    """All parts of the findings, at every depth."""
    listed = list(next(r for r in found.contained if r.get_resource_type() == "Parameters").parameter)
    while listed:
        part = listed.pop()
        yield part
        listed += part.part or []


def test_the_contract_names_the_parameters_of_the_definition() -> None:
    schema = CONTRACT["components"]["schemas"]["FhirParameters"]["properties"]["parameter"]["items"]
    assert set(schema["properties"]["name"]["examples"]) == set(PARAMETERS)
