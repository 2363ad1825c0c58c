"""Further rows of the CDS Hooks checklist: what needs a FHIR server, a site's settings or a client's odd habits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from fhir.resources.R4B import get_fhir_model_class
from flask.testing import FlaskClient
from structlog.testing import capture_logs

from service.errors import SettingsError
from service.samples import expand, samples
from service.settings import load
from service.site import site_schema
from tests.api.apps import BASE, VIEW, RunningApp, bearer, locked_app, open_app
from tests.contract.conftest import Locked
from tests.contract.messages import (
    FUROSEMIDE,
    HOOKS,
    LOW,
    NOW,
    PATIENT,
    bundle,
    having,
    hook_request,
    medication,
    without,
)
from tests.contract.openapi import OUTCOME, problems
from tests.contract.test_conformance import call, said, states, url, valueless
from tests.fhir.servers import by_target, reply, serving

Json = dict[str, Any]
ROOT = Path(__file__).parents[2]
ACCESS = {"access_token": "synthetic-token", "token_type": "Bearer", "expires_in": 300, "subject": "us"}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[RunningApp]:
    with open_app(tmp_path) as house:
        yield house


def gaps(answer: Any) -> str:
    """What the cards say they could not read."""
    return "\n".join(card["detail"].partition("Could not be read")[2].partition("\n")[0] for card in answer)


# --- G, D: endpoints and discovery ---

FAULTS = {
    400: {"method": "POST", "path": url(), "data": b"{", "content_type": "application/json"},
    404: {"method": "POST", "path": "/cds-services/none", "data": b"{}", "content_type": "application/json"},
    405: {"method": "PUT", "path": url()},
    412: {"method": "POST", "path": url(), "json": hook_request(prefetch={})},
    413: {"method": "POST", "path": url(), "data": b" " * 5_000_001, "content_type": "application/json"},
    415: {"method": "POST", "path": url(), "data": b"<x/>", "content_type": "text/xml"},
}


@pytest.mark.parametrize("status", FAULTS)
def test_g_01_g_02_g_06_g_10_an_error_is_json_without_an_empty_member(client: FlaskClient, status: int):
    answer = client.open(**FAULTS[status])
    assert (answer.status_code, answer.mimetype, problems(OUTCOME, answer.json)) == (status, "application/json", [])
    assert list(valueless(answer.json)) == []


@pytest.mark.parametrize("name", list(samples()))
def test_g_04_ac_03_sg_05_what_an_action_creates_is_valid_r4_about_this_patient(client: FlaskClient, name: str):
    sample = expand(samples()[name], NOW)
    said = sample.request["context"]
    answer = client.post(f"/cds-services/{sample.service}", json=sample.request).json
    for suggestion in (s for card in answer.get("cards", ()) for s in card.get("suggestions", ())):
        for action in suggestion["actions"]:
            resource = action["resource"]
            get_fhir_model_class(resource["resourceType"]).model_validate(resource)
            named = set(re.findall(r'"reference":"([^"]+)"', msgspec.json.encode(resource).decode()))
            assert named <= {f"Patient/{said['patientId']}", f"Encounter/{said.get('encounterId')}"}


IN_CLEAR = {
    # that of this machine alone may be http: it is a name in tokens, to which nothing is sent
    "public_urls": '[service]\npublic_urls = ["http://cds.hospital.example"]\n{tenant}',
    "fhir_bases": '[service]\npublic_urls = ["https://a.example"]\n{tenant}fhir_bases = ["http://127.0.0.1/r4"]\n',
}


@pytest.mark.parametrize("name", IN_CLEAR)
def test_g_05_production_starts_with_https_urls_only(tmp_path: Path, name: str):
    tenant = '[[tenant]]\nname = "a"\niss = "https://a.example"\njku = ["https://a.example/keys"]\n'
    file = tmp_path / "site.toml"
    file.write_text(IN_CLEAR[name].replace("{tenant}", tenant), encoding="utf-8")
    environ = {"MAGNESIUM_CDS_MODE": "production", "MAGNESIUM_CDS_SITE": str(file), "DATABASE_URL": "sqlite:///x"}
    with pytest.raises(SettingsError, match=f"{name}: .*(must be https in production|not a plain https URL)"):
        load(environ, site_schema())


def test_g_05_every_host_of_the_ingress_has_its_certificate():
    ingress = yaml.safe_load((ROOT / "deploy/base/ingress.yaml").read_text(encoding="utf-8"))["spec"]
    certified = {host for entry in ingress["tls"] for host in entry["hosts"] if entry["secretName"]}
    assert {rule["host"] for rule in ingress["rules"]} == certified


def test_d_10_d_11_d_25_a_service_has_the_members_of_2_0_and_no_others(client: FlaskClient):
    members = {"id", "hook", "title", "description", "prefetch", "usageRequirements"}
    assert all(service.keys() == members for service in client.get("/cds-services").json["services"])


# --- I, C: invocation ---


def test_i_03_where_the_site_says_so_a_service_answers_by_its_id(tmp_path: Path):
    path, body = url("order-sign"), hook_request("order-select")
    with locked_app(tmp_path, service="use_id_not_hook = true") as house:
        answer = house.post(path, body)
    assert "R-091" in states(answer)


@pytest.mark.parametrize(
    "scope", ["patient/Observation.read", "patient/*.rs", "Observation.Read (Labs) (R4)", "", None, ["x"]], ids=str
)
def test_i_11_a_scope_is_a_hint_and_no_condition(house: RunningApp, scope: Any):
    found = {"Patient/": reply(msgspec.json.encode(PATIENT)), "19123-9": reply(msgspec.json.encode(bundle(LOW)))}
    with serving(by_target(found, reply())) as server:
        asked = hook_request(fhirServer=server.base, fhirAuthorization=ACCESS | {"scope": scope}, prefetch={})
        answer = house.post(VIEW, asked)
    assert "R-011" in states(answer)


URN = "urn:uuid:0c6a4a52-7a4e-4a0e-8f5e-2d9c1b7e6a31"
REFERENCES = {
    "relative": ("Medication/x1", "", "x1"),
    "absolute": ("https://ehr.example/r4/Medication/x1", "", "x1"),
    "versioned": ("Medication/x1/_history/2", "", "x1"),
    "full-url": ("https://ehr.example/r4/Medication/x1", "https://ehr.example/r4/Medication/x1", "x1"),
    "urn": (URN, URN, None),
    "urn-and-id": (URN, URN, "x1"),
    "contained": ("#x1", "", "x1"),
}


def referring(form: str) -> Json:
    """Draft orders whose drug is known by reference only: as Epic sends it, and in every other way."""
    reference, full, ident = REFERENCES[form]
    drug = {"resourceType": "Medication", "code": FUROSEMIDE["medicationCodeableConcept"]}
    drug |= {"id": ident} if ident else {}
    order = without(FUROSEMIDE, "medicationCodeableConcept") | {"medicationReference": {"reference": reference}}
    if form == "contained":
        return bundle(order | {"contained": [drug]})
    return {"resourceType": "Bundle", "entry": [{"resource": order}, {"resource": drug, "fullUrl": full}]}


@pytest.mark.parametrize("form", REFERENCES)
def test_i_15_c_07_a_drug_is_found_however_the_order_refers_to_it(client: FlaskClient, form: str):
    asked = having(hook_request("order-select"), referring(form), "context", "draftOrders")
    assert said(call(client, asked, "order-select")) == said(call(client, hook_request("order-select"), "order-select"))


ODD_MEMBERS = {
    "category-object": {"category": {"coding": [{"system": "urn:x", "code": "inpatient"}]}},
    "requester-absent": {"requester": {"extension": [{"url": "urn:absent", "valueCode": "unknown"}]}},
    "no-members": {},
    "dose": {"dosageInstruction": [{"text": "2 times daily", "doseAndRate": [{"doseQuantity": {"value": 40}}]}]},
}


@pytest.mark.parametrize("odd", ODD_MEMBERS)
def test_c_05_a_selected_order_may_lack_dose_and_more_and_hold_odd_members(client: FlaskClient, odd: str):
    asked = having(hook_request("order-select"), bundle(FUROSEMIDE | ODD_MEMBERS[odd]), "context", "draftOrders")
    assert said(call(client, asked, "order-select")) == said(call(client, hook_request("order-select"), "order-select"))


def test_c_09_what_is_not_being_ordered_comes_from_prefetch(client: FlaskClient):
    oral = medication("d1", "6582", "Magnesium oxide", "draft")
    plain = having(hook_request("order-sign"), bundle(oral), "context", "draftOrders")
    taking = having(plain, bundle(medication("m9", "10582", "Levothyroxine")), "prefetch", "medicationRequests")
    assert "R-094" not in states(call(client, plain, "order-sign"))
    assert "R-094" in states(call(client, taking, "order-sign"))


# --- P: prefetch ---


def test_p_07_a_first_page_of_results_is_judged(client: FlaskClient):
    first = bundle(LOW) | {"link": [{"relation": "next", "url": "https://ehr.example/r4/Observation?page=2"}]}
    assert "R-011" in states(call(client, having(hook_request(), first, "prefetch", "magnesium")))


NOBODY = {"null": None, "empty-bundle": bundle(), "somebody-else": PATIENT | {"id": "p2"}, "no-resource": {}}


@pytest.mark.parametrize("nobody", NOBODY)
def test_p_11_without_the_patient_the_answer_is_412(client: FlaskClient, nobody: str):
    answer = call(client, having(hook_request(), NOBODY[nobody], "prefetch", "patient"))
    assert answer.status_code == 412
    assert answer.json["issue"][0]["expression"] == ["$.prefetch.patient"]


def test_p_04_an_encounter_that_the_context_does_not_name_is_not_missed(client: FlaskClient):
    outside = call(client, hook_request()).json["cards"]
    inside = call(client, having(hook_request(), "e1", "context", "encounterId")).json["cards"]
    assert "encounter" in gaps(inside)
    assert "encounter" not in gaps(outside)


# --- K: what narrow panels and plain Markdown readers can show ---


@pytest.mark.parametrize("language", ["en", "ru", "fa"])
@pytest.mark.parametrize("name", list(samples()))
def test_k_03_a_detail_has_no_table_and_no_html(client: FlaskClient, name: str, language: str):
    sample = expand(samples()[name], NOW)
    answer = client.post(f"/cds-services/{sample.service}", json=sample.request, headers={"Accept-Language": language})
    for card in answer.json.get("cards", ()):
        assert not re.search(r"^\s*\||(?<!\\)<[a-z/!]", card["detail"], re.MULTILINE)


# --- AC: actions ---

EPIC_ORDER = """
[tenant.orders."serum magnesium"]
system = "urn:com.epic.cdshooks.action.code.system.preference-list-item"
code = "MG-1"
display = "Magnesium, serum"
"""


def test_ac_03_an_order_carries_the_code_of_the_site(tmp_path: Path):
    asked = having(hook_request("order-select"), None, "prefetch", "magnesium")
    with locked_app(tmp_path, tenant=EPIC_ORDER) as house:
        (card,) = house.post(url("order-select"), asked).json["cards"]
    coded = [action["resource"]["code"]["coding"] for s in card["suggestions"] for action in s["actions"]]
    system = "urn:com.epic.cdshooks.action.code.system.preference-list-item"
    assert [{"system": system, "code": "MG-1", "display": "Magnesium, serum"}] in coded


# --- S: security ---

REFUSED = {
    "nothing": dict,
    "null": lambda: {"Authorization": "null"},
    "basic": lambda: {"Authorization": "Basic dTpw"},
    "expired": lambda: bearer(VIEW, iat=1, exp=2),
    "issuer": lambda: bearer(VIEW, iss="https://other.example"),
    "audience": lambda: bearer(url("order-sign")),
    "life": lambda: bearer(VIEW, exp=int(NOW.timestamp()) + 999_999),
}


def test_s_15_every_refusal_is_the_same(tmp_path: Path):
    with locked_app(tmp_path) as house:
        used = bearer(VIEW)
        house.client.post(VIEW, json=hook_request(), headers=used)
        proofs = [*(make() for make in REFUSED.values()), used]
        answers = [house.client.post(VIEW, json=hook_request(), headers=proof) for proof in proofs]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.data for answer in answers}) == 1
    assert {answer.headers["WWW-Authenticate"] for answer in answers} == {"Bearer"}
    assert answers[0].json["issue"][0]["code"] == "login"


@pytest.mark.parametrize("claims", [{}, {"exp": 2, "iat": 1}, {"aud": "https://other.example"}], ids=str)
def test_s_16_no_token_of_a_caller_is_logged_or_stored(tmp_path: Path, caplog: pytest.LogCaptureFixture, claims: Json):
    caplog.set_level("DEBUG")
    proof = bearer(VIEW, **claims)
    with capture_logs() as logs, locked_app(tmp_path) as house:
        house.client.post(VIEW, json=hook_request(), headers=proof)
        house.client.post(VIEW, json=hook_request(), headers=proof)
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("store*"))
    assert logs
    for part in proof["Authorization"].removeprefix("Bearer ").split("."):
        assert part not in f"{logs}{caplog.text}"
        assert part.encode() not in kept


def test_s_14_where_the_site_says_so_a_token_serves_several_calls(tmp_path: Path):
    with locked_app(tmp_path, tenant='replay = "report"') as house:
        proof = bearer(VIEW)
        answers = [house.client.post(VIEW, json=hook_request(), headers=proof) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 200]


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("header", ["X-Forwarded-Host", "Host", "Forwarded", "X-Original-URL"])
def test_s_05_only_configured_urls_are_an_audience(locked: Locked, hook: str, header: str):
    elsewhere = locked.token(f"https://evil.example{url(hook)}") | {header: "evil.example"}
    answer = call(locked.client, hook_request(hook), hook, headers=elsewhere)
    assert answer.status_code == 401
    assert call(locked.client, hook_request(hook), hook, headers=locked.token(f"{BASE}{url(hook)}/")).status_code == 200
