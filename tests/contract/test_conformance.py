"""CDS Hooks 2.0 as a checklist: each test carries the row that it proves (G general, D discovery, I invocation, …)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

import msgspec
import pytest
from flask.testing import FlaskClient

from service.samples import expand, samples
from tests.api.apps import locked_app
from tests.contract.conftest import BASE, Locked, MakeApp
from tests.contract.messages import (
    FUROSEMIDE,
    HOOKS,
    LOW,
    NOW,
    PATIENT,
    bundle,
    feedback,
    having,
    hook_request,
    medication,
    observation,
    without,
)
from tests.contract.openapi import CONTRACT, OUTCOME, problems

SHARED = Path(__file__).parents[2] / "../shared/cds-hooks/examples"
CARDS = CONTRACT["components"]["schemas"]["CardsAnswer"]
LIBRARY = {"patient-view", "order-select", "order-sign", "encounter-start", "encounter-discharge", "medication-refill"}
TOKENS = {hook: {"userId", "patientId", "encounterId"} for hook in HOOKS}  # "Prefetch Token: Yes" on the hook pages
SANDBOX = {"Origin": "https://sandbox.cds-hooks.org"}
Json = dict[str, Any]

every_hook = pytest.mark.parametrize("hook", HOOKS)


def url(hook: str = "patient-view") -> str:
    return f"/cds-services/magnesium-{hook}"


def call(client: FlaskClient, body: Json, hook: str = "patient-view", **options: Any) -> Any:
    return client.post(url(hook), json=body, **options)


def said(answer: Any) -> list[Json]:
    """The cards without what is new in each answer."""
    assert answer.status_code == 200, answer.json
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID", answer.text)
    return msgspec.json.decode(text)["cards"]


def states(answer: Any) -> list[str]:
    """The rules that the cards state."""
    return [finding["rule"] for card in said(answer) for finding in card["extension"]["org.magnesium-cds.findings"]]


def valueless(value: Any, where: str = "$") -> Iterator[str]:
    """Every place with null, "", [] or {}, but for an empty list of cards or services."""
    if value in (None, "", [], {}) and value is not False and where not in {"$.cards", "$.services"}:
        yield where
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from valueless(item, f"{where}.{key}")


@pytest.fixture(scope="module")
def services(client: FlaskClient) -> list[Json]:
    return client.get("/cds-services").json["services"]


@pytest.fixture(scope="module")
def sampled(client: FlaskClient) -> dict[str, Json]:
    """The answers to all built-in sample patients."""
    known = {name: expand(sample, NOW) for name, sample in samples().items()}
    return {name: client.post(f"/cds-services/{s.service}", json=s.request).json for name, s in known.items()}


@pytest.fixture(scope="module")
def cards(sampled: dict[str, Json]) -> list[Json]:
    found = [card for answer in sampled.values() for card in answer.get("cards", ())]
    assert len(found) >= 12
    return found


@pytest.fixture(scope="module")
def suggestions(cards: list[Json]) -> list[Json]:
    found = [suggestion for card in cards for suggestion in card.get("suggestions", ())]
    assert found
    return found


# --- G: all endpoints ---


@pytest.mark.parametrize("path", ["discovery", "call", "feedback"])
def test_g_01_g_03_requests_and_answers_are_strict_json(client: FlaskClient, path: str):
    answer = {
        "discovery": lambda: client.get("/cds-services"),
        "call": lambda: call(client, hook_request()),
        "feedback": lambda: client.post(f"{url()}/feedback", json=feedback()),
    }[path]()
    assert (answer.status_code, answer.mimetype) == (200, "application/json")
    assert isinstance(msgspec.json.decode(answer.data), dict)


def test_g_02_discovery_has_no_member_without_a_value(client: FlaskClient):
    assert list(valueless(client.get("/cds-services").json)) == []


@every_hook
def test_g_02_an_answer_has_no_member_without_a_value(client: FlaskClient, hook: str):
    answer = call(client, hook_request(hook), hook).json
    assert answer["cards"]
    assert list(valueless(answer)) == []


@pytest.mark.parametrize("name", list(samples()))
def test_g_02_no_answer_about_a_sample_has_a_member_without_a_value(sampled: dict[str, Json], name: str):
    assert list(valueless(sampled[name])) == []


def test_g_02_an_answer_to_feedback_has_no_member_without_a_value(client: FlaskClient):
    assert list(valueless(client.post(f"{url()}/feedback", json=feedback()).json)) == []


@pytest.mark.parametrize(
    "where",
    [
        *(("zz",), ("context", "zz"), ("prefetch", "patient", "zz"), ("prefetch", "magnesium", "zz")),
        *(("version",), ("hookVersion",)),  # members of 3.0, of a service; a client may echo them
    ],
)
@pytest.mark.parametrize("value", [1, None, [], {"a": {}}, "x", "3.0.0", "1.0"])
def test_g_07_v_01_unknown_members_change_nothing(client: FlaskClient, where: tuple[str, ...], value: Any):
    assert said(call(client, having(hook_request(), value, *where))) == said(call(client, hook_request()))


def test_g_07_unknown_members_of_the_access_change_nothing(client: FlaskClient):
    access = {"access_token": "t", "token_type": "Bearer", "zz": 1}
    assert states(call(client, hook_request(fhirAuthorization=access))) == states(call(client, hook_request()))


@pytest.mark.parametrize("path", ["/cds-services/", "/cds-services/magnesium-patient-view/"])
def test_g_08_a_trailing_slash_is_not_redirected(client: FlaskClient, path: str):
    answer = client.get(path) if path.count("/") == 2 else client.post(path, json=hook_request())
    assert answer.status_code == 200


def test_g_08_a_doubled_slash_is_not_redirected(client: FlaskClient):
    assert client.post("/cds-services//magnesium-patient-view", json=hook_request()).status_code == 200


@pytest.mark.parametrize(
    "stated", ["application/json; charset=utf-8", "application/json;charset=UTF-8;v=1", "application/fhir+json"]
)
def test_g_09_json_is_read_however_its_type_is_stated(client: FlaskClient, stated: str | None):
    answer = client.post(url(), data=msgspec.json.encode(hook_request()), content_type=stated)
    assert answer.status_code == 200


def test_g_09_a_type_need_not_be_stated_where_callers_prove_who_they_are(client: FlaskClient, locked: Locked):
    """In development mode a page of the web could send a body without a type (7/8, point 4)."""
    body = msgspec.json.encode(hook_request())
    assert locked.client.post(url(), data=body, headers=locked.token(f"{BASE}{url()}")).status_code == 200
    assert client.post(url(), data=body).status_code == 415


def test_g_10_an_error_holds_nothing_of_the_patient(client: FlaskClient):
    named = PATIENT | {"id": "secret-17", "name": [{"family": "Hiddenname"}], "birthDate": "1957-03-02"}
    asked = having(hook_request(), "secret-17", "context", "patientId") | {"prefetch": {"patient": named}}
    answer = call(client, asked)
    assert (answer.status_code, problems(OUTCOME, answer.json)) == (412, [])
    assert not re.search("secret-17|Hiddenname|1957", answer.text)


# --- D: discovery ---


def test_d_01_d_02_discovery_is_an_object_with_services(client: FlaskClient):
    answer = client.get("/cds-services")
    assert answer.status_code == 200
    assert isinstance(answer.json["services"], list)


def test_d_04_d_05_d_06_d_07_every_service_says_what_it_is(services: list[Json]):
    for service in services:
        assert all(isinstance(service[name], str) for name in ("hook", "id", "description", "title"))
        assert re.fullmatch(r"[A-Za-z0-9._~-]+", service["id"])


def test_d_08_d_09_prefetch_maps_words_to_words_and_usage_is_said(services: list[Json]):
    for service in services:
        assert service["prefetch"]
        assert all(isinstance(key, str) and isinstance(query, str) for key, query in service["prefetch"].items())
        assert "FHIR R4" in service["usageRequirements"]


def test_d_12_i_01_every_advertised_service_answers_at_its_url(client: FlaskClient, services: list[Json]):
    for service in services:
        answer = client.post(f"/cds-services/{service['id']}", json=hook_request(service["hook"]))
        assert answer.status_code == 200


def test_d_14_ids_are_unique(services: list[Json]):
    assert len({service["id"] for service in services}) == len(services)


def test_d_15_hooks_are_standard_ones(services: list[Json]):
    assert {service["hook"] for service in services} <= LIBRARY


def templates(services: list[Json]) -> list[tuple[str, str]]:
    return [(service["hook"], query) for service in services for query in service["prefetch"].values()]


def test_d_16_templates_are_relative_reads_or_searches(services: list[Json]):
    for _, query in templates(services):
        assert re.fullmatch(r"[A-Z][A-Za-z]+(/{{[^{}]+}}|\?[^?]+)", query)


def test_d_17_d_18_d_19_d_23_d_24_tokens_are_plain_and_belong_to_the_hook(services: list[Json]):
    for hook, query in templates(services):
        tokens = re.findall("{{(.*?)}}", query)
        assert tokens
        assert set(tokens) <= {f"context.{name}" for name in TOKENS[hook]}
        assert "%" not in query


def test_d_20_d_21_d_22_queries_keep_to_the_portable_subset(services: list[Json]):
    for _, query in templates(services):
        names = [name for name, _ in parse_qsl(query.partition("?")[2])]
        assert len(names) == len(set(names))
        assert set(names) <= {"patient", "code", "status", "_sort", "_count", "category"}


def test_d_26_discovery_is_open(locked: Locked):
    assert locked.client.get("/cds-services").status_code == 200


def test_d_27_discovery_may_be_polled(client: FlaskClient, locked: Locked):
    first = client.get("/cds-services")
    again = client.get("/cds-services", headers={"If-None-Match": first.headers["ETag"]})
    assert first.data == client.get("/cds-services").data == locked.client.get("/cds-services").data
    assert (again.status_code, again.data) == (304, b"")


# --- I: invocation ---


@pytest.mark.parametrize("name", ["hook", "hookInstance", "context"])
@every_hook
def test_i_02_i_04_i_06_a_required_member_is_required(client: FlaskClient, hook: str, name: str):
    answer = call(client, without(hook_request(hook), name), hook)
    assert (answer.status_code, answer.json["issue"][0]["expression"]) == (400, [f"$.{name}"])


@every_hook
def test_i_03_a_hook_that_the_service_does_not_serve_is_refused(client: FlaskClient, hook: str):
    other = HOOKS[HOOKS.index(hook) - 1]
    assert call(client, hook_request(hook, hook=other), hook).status_code == 400


def test_v_01_an_unknown_version_of_a_hook_is_refused(client: FlaskClient):
    assert call(client, hook_request(hook="patient-view-2")).status_code == 400


def test_i_05_an_instance_that_was_used_before_means_nothing(client: FlaskClient):
    first, second = hook_request(), hook_request("encounter-start")
    assert first["hookInstance"] == second["hookInstance"]
    assert said(call(client, first)) != said(call(client, having(first, bundle(), "prefetch", "magnesium")))
    assert said(call(client, second, "encounter-start"))


@pytest.mark.parametrize("instance", ["1B671A64-40D5-491E-99B0-DA01FF1F3341", "not a uuid"])
def test_i_05_any_instance_is_taken(client: FlaskClient, instance: str):
    assert call(client, hook_request(hookInstance=instance)).status_code == 200


@pytest.mark.parametrize("name", ["prefetch", "extension", "fhirAuthorization", "fhirServer"])
def test_i_07_i_08_i_13_an_optional_member_may_be_absent_or_null(client: FlaskClient, name: str):
    expected = 412 if name == "prefetch" else 200
    assert call(client, without(hook_request(), name)).status_code == expected
    assert call(client, hook_request(**{name: None})).status_code == expected


@pytest.mark.parametrize("name", ["access_token", "token_type", "expires_in", "scope", "subject"])
def test_i_09_an_access_that_lacks_a_member_is_no_fault_of_ours(client: FlaskClient, name: str):
    whole = {"access_token": "t", "token_type": "Bearer", "expires_in": 300, "scope": "patient/*.rs", "subject": "us"}
    access = without(whole, name)
    assert call(client, hook_request(fhirAuthorization=access)).status_code == 200
    assert call(client, without(hook_request(fhirAuthorization=access), "prefetch")).status_code == 412


def test_i_12_an_order_of_another_fhir_version_is_no_fault_of_ours(client: FlaskClient):
    old = {"resourceType": "MedicationOrder", "id": "d1", "status": "draft", "patient": {"reference": "Patient/p1"}}
    asked = having(hook_request("order-sign"), bundle(old), "context", "draftOrders")
    assert call(client, asked, "order-sign").status_code in {200, 400}


def test_i_14_ids_are_opaque(client: FlaskClient):
    ident = "e" + "Aa1.-" * 30
    asked = msgspec.json.decode(msgspec.json.encode(hook_request()).replace(b"p1", ident.encode()))
    assert states(call(client, asked)) == states(call(client, hook_request()))


@pytest.mark.parametrize("form", ["https://ehr.example/r4/Patient/p1", "Patient/p1/_history/3"])
def test_i_15_references_are_compared_without_base_and_history(client: FlaskClient, form: str):
    asked = msgspec.json.decode(msgspec.json.encode(hook_request()).replace(b'"Patient/p1"', f'"{form}"'.encode()))
    assert states(call(client, asked)) == states(call(client, hook_request()))


# --- C: contexts ---

REQUIRED = [(hook, name) for hook in HOOKS for name in hook_request(hook)["context"] if name != "draftOrders"]


@pytest.mark.parametrize(("hook", "name"), REQUIRED)
def test_c_01_a_required_field_of_the_context_is_named_when_it_is_missing(client: FlaskClient, hook: str, name: str):
    answer = call(client, without(hook_request(hook), "context", name), hook)
    assert (answer.status_code, answer.json["issue"][0]["expression"]) == (400, [f"$.context.{name}"])


@pytest.mark.parametrize("hook", ["order-select", "order-sign"])
def test_c_02_without_draft_orders_the_answer_is_412_with_a_hint(client: FlaskClient, hook: str):
    answer = call(client, without(hook_request(hook), "context", "draftOrders"), hook)
    assert (answer.status_code, problems(OUTCOME, answer.json)) == (412, [])
    assert "scopes" in answer.json["issue"][0]["details"]["text"]


def test_c_03_a_selection_that_names_no_order_is_ignored(client: FlaskClient):
    asked = having(
        hook_request("order-select"), ["MedicationRequest/d1", "ServiceRequest/none"], "context", "selections"
    )
    assert said(call(client, asked, "order-select")) == said(call(client, hook_request("order-select"), "order-select"))


def test_c_04_the_advice_is_about_the_selected_orders(client: FlaskClient):
    orders = bundle(FUROSEMIDE, medication("d2", "161", "Acetaminophen", "draft"))
    asked = having(hook_request("order-select"), orders, "context", "draftOrders")
    other = having(asked, ["MedicationRequest/d2"], "context", "selections")
    assert "R-091" in states(call(client, asked, "order-select"))
    assert "R-091" not in states(call(client, other, "order-select"))


def test_c_06_an_order_that_is_active_already_is_read_too(client: FlaskClient):
    asked = having(hook_request("order-sign"), bundle(FUROSEMIDE | {"status": "active"}), "context", "draftOrders")
    assert "R-091" in states(call(client, asked, "order-sign"))


def test_c_07_what_is_not_understood_among_the_orders_is_skipped(client: FlaskClient):
    diet = {"resourceType": "NutritionOrder", "id": "n1", "status": "draft", "patient": {"reference": "Patient/p1"}}
    drug = {"resourceType": "Medication", "id": "x1", "code": {"text": "Tea"}}
    asked = having(
        hook_request("order-sign"), without(bundle(FUROSEMIDE, diet, drug), "type"), "context", "draftOrders"
    )
    assert said(call(client, asked, "order-sign")) == said(call(client, hook_request("order-sign"), "order-sign"))


@pytest.mark.parametrize("user", ["Patient/p1", "RelatedPerson/r1"])
def test_c_08_a_user_who_is_no_clinician_gets_no_cards(client: FlaskClient, user: str):
    answer = call(client, having(hook_request(), user, "context", "userId"))
    assert (answer.status_code, answer.json) == (200, {"cards": []})


# --- P: prefetch ---


@pytest.mark.parametrize("nothing", [None, bundle(), {"resourceType": "Bundle", "type": "searchset", "total": 0}])
def test_p_02_p_03_null_and_an_empty_bundle_mean_the_same(client: FlaskClient, nothing: Any):
    asked = having(hook_request(), nothing, "prefetch", "rbcMagnesium")
    assert said(call(client, asked)) == said(call(client, having(hook_request(), None, "prefetch", "rbcMagnesium")))


@pytest.mark.parametrize(("key", "status"), [("calcium", 200), ("magnesium", 412), ("patient", 412)])
def test_p_05_a_failed_query_is_known_to_have_failed(client: FlaskClient, key: str, status: int):
    failed = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "exception"}]}
    answer = call(client, having(hook_request(), failed, "prefetch", key))
    assert answer.status_code == status
    if status == 200:
        assert "calcium" in answer.json["cards"][0]["detail"].partition("Could not be read")[2]


def test_p_06_a_warning_among_the_results_means_that_there_are_none(client: FlaskClient):
    note = {"resourceType": "OperationOutcome", "issue": [{"severity": "warning", "code": "not-found"}]}
    entry = {"resource": note, "search": {"mode": "outcome"}}
    asked = having(hook_request(), {"resourceType": "Bundle", "entry": [entry]}, "prefetch", "magnesium")
    assert call(client, asked).status_code == 200


@pytest.mark.parametrize("kind", ["collection", "batch-response", "lone"])
def test_p_09_any_wrapping_of_a_resource_is_read(client: FlaskClient, kind: str):
    value = LOW if kind == "lone" else bundle(LOW, kind=kind)
    assert said(call(client, having(hook_request(), value, "prefetch", "magnesium"))) == said(
        call(client, hook_request())
    )


def test_p_09_a_result_of_another_patient_is_not_used(client: FlaskClient):
    foreign = LOW | {"subject": {"reference": "Patient/p2"}}
    assert "R-011" not in states(call(client, having(hook_request(), bundle(foreign), "prefetch", "magnesium")))


def test_p_10_keys_may_have_names_of_the_site(locked: Locked):
    asked = hook_request()
    asked["prefetch"]["mg_labs"] = asked["prefetch"].pop("magnesium")
    assert "R-011" in states(call(locked.client, asked, headers=locked.token()))


@pytest.mark.parametrize("magnesium", [{}, {"magnesium": None}], ids=["key-absent", "key-null"])
def test_p_10_a_resource_under_an_unexpected_key_counts(client: FlaskClient, magnesium: Json):
    found = without(hook_request(), "prefetch", "magnesium")["prefetch"] | magnesium | {"labs": bundle(LOW)}
    assert said(call(client, hook_request(prefetch=found))) == said(call(client, hook_request()))


@every_hook
def test_p_11_without_needed_data_the_answer_is_412(client: FlaskClient, hook: str):
    answer = call(client, hook_request(hook) | {"prefetch": {}}, hook)
    places = [place for issue in answer.json["issue"] for place in issue["expression"]]
    assert (answer.status_code, sorted(places)) == (412, ["$.prefetch.magnesium", "$.prefetch.patient"])


def test_p_12_magnesium_that_was_never_measured_is_not_412(client: FlaskClient):
    assert call(client, having(hook_request(), None, "prefetch", "magnesium")).status_code == 200


def test_p_18_a_server_that_is_not_allowed_is_not_asked(locked: Locked):
    asked = without(hook_request(), "prefetch") | {
        "fhirServer": "http://169.254.169.254/latest",
        "fhirAuthorization": {"access_token": "t", "token_type": "Bearer"},
    }
    assert call(locked.client, asked, headers=locked.token()).status_code == 412


# --- R, K, SG, AC, LK: answers ---


@every_hook
def test_r_01_r_03_r_04_success_is_200_with_cards_and_nothing_else(client: FlaskClient, hook: str):
    answer = call(client, hook_request(hook), hook)
    assert answer.status_code == 200
    assert answer.json.keys() == {"cards"}
    assert problems(CARDS, answer.json) == []


def test_r_02_nothing_to_say_is_an_empty_list(client: FlaskClient):
    normal = bundle(observation("mg1", "19123-9", 2.1, "mg/dL"))
    asked = hook_request(prefetch={"patient": PATIENT, "magnesium": normal})
    assert (call(client, asked).status_code, call(client, asked).json) == (200, {"cards": []})


def test_r_05_each_answer_is_complete(client: FlaskClient):
    assert said(call(client, hook_request())) == said(call(client, hook_request()))


@pytest.mark.parametrize("name", list(samples()))
def test_k_every_answer_about_a_sample_fits_the_contract(sampled: dict[str, Json], name: str):
    answer = sampled[name]
    assert problems(OUTCOME if "issue" in answer else CARDS, answer) == []


def test_k_01_sg_02_uuids_are_bare_and_fresh(client: FlaskClient, cards: list[Json], suggestions: list[Json]):
    found = [item["uuid"] for item in (*cards, *suggestions)]
    found += [card["uuid"] for _ in range(2) for card in call(client, hook_request()).json["cards"]]
    assert all(str(UUID(uuid)) == uuid for uuid in found)
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("language", ["en", "ru", "fa"])
@pytest.mark.parametrize("name", list(samples()))
def test_k_02_k_04_k_05_a_card_has_a_short_summary_a_level_and_a_source(client: FlaskClient, name: str, language: str):
    sample = expand(samples()[name], NOW)
    answer = client.post(f"/cds-services/{sample.service}", json=sample.request, headers={"Accept-Language": language})
    for card in answer.json.get("cards", ()):
        assert 0 < len(card["summary"]) < 140
        assert "\n" not in card["summary"]
        assert card["indicator"] in {"info", "warning", "critical"}
        assert card["source"]["label"]


def test_k_03_what_comes_from_the_chart_cannot_become_markup(client: FlaskClient):
    wild = "Furosemide <img src=x onerror=alert(1)> [x](javascript:alert(1)) **b**"
    drug = FUROSEMIDE | {"medicationCodeableConcept": FUROSEMIDE["medicationCodeableConcept"] | {"text": wild}}
    asked = having(hook_request("order-sign"), bundle(drug), "context", "draftOrders")
    (card,) = call(client, asked, "order-sign").json["cards"]
    assert not re.search(r"(?<!\\)<|(?<!\\)\[x", card["detail"])


def test_k_06_k_07_a_source_points_to_the_publisher_alone(locked: Locked):
    (card,) = call(locked.client, hook_request(), headers=locked.token()).json["cards"]
    assert card["source"]["url"].startswith(f"{BASE}/")
    assert "p1" not in card["source"]["url"]
    assert "icon" not in card["source"]


def test_k_08_the_topic_is_alphanumeric_and_constant_per_rule(cards: list[Json]):
    topics = [card["source"]["topic"] for card in cards]
    assert all(re.fullmatch("[A-Za-z0-9]{1,100}", topic["code"]) for topic in topics)
    assert len({topic["code"] for topic in topics}) == len({str(topic) for topic in topics})


def codings(value: Any) -> Iterator[Json]:
    if isinstance(value, dict):
        if "system" in value or ("code" in value and isinstance(value["code"], str)):
            yield value
        value = list(value.values())
    for item in value if isinstance(value, list) else ():
        yield from codings(item)


def test_k_09_every_coding_has_code_and_system(cards: list[Json]):
    found = list(codings(cards))
    assert found
    assert all(isinstance(c["code"], str) and isinstance(c["system"], str) for c in found)


def test_k_10_k_11_selection_behaviour_stands_with_suggestions_and_only_then(cards: list[Json]):
    assert {"suggestions" in card for card in cards} == {True, False}
    for card in cards:
        assert ("suggestions" in card) == ("selectionBehavior" in card)
        assert card.get("selectionBehavior", "any") == "any"


def test_k_12_every_override_reason_has_a_display(cards: list[Json]):
    for card in cards:
        assert card["overrideReasons"]
        assert all(reason["display"] and reason["code"] and reason["system"] for reason in card["overrideReasons"])


def test_sg_01_sg_03_sg_04_sg_06_suggestions_are_labelled_and_hold_one_action(suggestions: list[Json]):
    for suggestion in suggestions:
        assert suggestion["label"]
        assert len(suggestion["actions"]) == 1
        assert "actionSelectionBehavior" not in suggestion


def test_ac_01_ac_02_ac_03_ac_04_ac_05_g_04_an_action_creates_a_whole_resource(suggestions: list[Json]):
    for suggestion in suggestions:
        (action,) = suggestion["actions"]
        resource = action["resource"]
        assert (action["type"], resource["resourceType"]) == ("create", "ServiceRequest")
        assert action["description"]
        assert (resource["status"], resource["intent"]) == ("draft", "order")
        assert resource["subject"]["reference"].startswith("Patient/")
        assert resource["code"]["coding"]


def test_k_13_lk_01_lk_02_lk_03_lk_04_lk_05_links_are_few_absolute_and_ours(locked: Locked):
    (card,) = call(locked.client, hook_request(), headers=locked.token()).json["cards"]
    assert [link["type"] for link in card["links"]] == ["absolute"]
    for link in card["links"]:
        assert link.keys() == {"label", "url", "type"}
        assert link["url"].startswith(f"{BASE}/v1/rules/R-")
        assert locked.client.get(link["url"].removeprefix(BASE)).status_code == 200


def test_lk_03_a_smart_link_is_the_launch_url_with_the_card_and_nothing_of_the_patient(tmp_path):
    with locked_app(tmp_path, tenant=SMART) as house:
        (card,) = house.post("/cds-services/magnesium-patient-view", hook_request()).json["cards"]
    absolute, smart = card["links"]
    assert (absolute["type"], smart["type"], smart["url"]) == ("absolute", "smart", f"{BASE}/smart/launch")
    said = msgspec.json.decode(smart["appContext"])
    assert said["rules"] == [finding["rule"] for finding in card["extension"]["org.magnesium-cds.findings"]]
    assert said.keys() == {"card", "rules"}


SMART = """[tenant.smart]
client_id = "magnesium-cds"
iss = ["https://ehr.hospital.example/fhir"]
jwks = "https://ehr.hospital.example/jwks"
issuer = "https://ehr.hospital.example"
"""


def test_x_02_extensions_are_named_in_reverse_dns(cards: list[Json]):
    assert all(key.count(".") >= 2 for card in cards for key in card["extension"])


@pytest.mark.parametrize("extension", [{}, {"com.vendor.thing": {"a": 1}}, None, [], "x"])
def test_x_01_no_answer_depends_on_an_extension(client: FlaskClient, extension: Any):
    assert said(call(client, hook_request(extension=extension))) == said(call(client, hook_request()))


@pytest.mark.parametrize("language", ["de", "fa-IR,fa;q=0.9", "*", "", ";;q=x", "ru;q=0"])
def test_l_01_any_wish_for_a_language_is_answered(client: FlaskClient, language: str):
    answer = call(client, hook_request(), headers={"Accept-Language": language})
    assert answer.status_code == 200
    assert answer.headers["Content-Language"] in {"en", "ru", "fa"}


@every_hook
def test_q_02_a_call_is_answered_at_once(client: FlaskClient, hook: str):
    assert call(client, hook_request(hook), hook).status_code != 202


# --- F: feedback ---


def fed(client: FlaskClient, *items: Json, hook: str = "patient-view", **options: Any) -> Any:
    return client.post(f"{url(hook)}/feedback", json={"feedback": list(items)}, **options)


def item(**members: Any) -> Json:
    (plain,) = feedback(**members)["feedback"]
    return plain


def counts(answer: Any) -> tuple[int, int, int]:
    """New, rejected, of unknown cards."""
    assert answer.status_code == 200
    return answer.json["accepted"], len(answer.json.get("rejected", ())), answer.json["unknownCards"]


@pytest.fixture
def fresh(make_app: MakeApp) -> FlaskClient:
    """An application whose store is empty."""
    return make_app().test_client()


@every_hook
def test_f_01_f_12_feedback_is_taken_for_every_service(fresh: FlaskClient, hook: str):
    assert counts(fed(fresh, item(), hook=hook)) == (1, 0, 1)


@pytest.mark.parametrize("body", [[], {}, {"feedback": "x"}])
def test_f_02_feedback_is_an_object_with_an_array(client: FlaskClient, body: Any):
    assert client.post(f"{url()}/feedback", json=body).status_code == 400


ACCEPTED = {"outcome": "accepted", "acceptedSuggestions": [{"id": "e3b7c1d4-52a8-4f0b-9c16-7a8d9e0f1b2c"}]}
BAD_ITEMS = {
    "f-03-no-card": without(item(), "card"),
    "f-03-card-object": item(card={}),
    "f-04-ignored": item(outcome="ignored"),
    "f-04-no-outcome": without(item(), "outcome"),
    "f-05-accepted-without-suggestions": item(outcome="accepted"),
    "f-05-accepted-with-none": item(outcome="accepted", acceptedSuggestions=[]),
    "f-08-no-time": without(item(), "outcomeTimestamp"),
    "f-08-garbage-time": item(outcomeTimestamp="yesterday"),
    "f-08-time-without-zone": item(outcomeTimestamp="2026-11-20T08:58:00"),
    "f-10-string": "x",
    "f-10-null": None,
}
GOOD_ITEMS = {
    "f-05-accepted": item(**ACCEPTED),
    "f-06-no-reason": item(),
    "f-07-our-reason": item(
        overrideReason={"reason": {"code": "other", "system": "urn:magnesium-cds:override-reasons"}}
    ),
    "f-07-their-reason": item(overrideReason={"reason": {"code": "17", "system": "https://ehr.example/reasons"}}),
    "f-07-comment-only": item(overrideReason={"userComment": "seen"}),
    "f-08-fractions": item(outcomeTimestamp="2026-11-20T08:58:00.123456Z"),
    "f-08-offset": item(outcomeTimestamp="2026-11-20T08:58:00+00:00"),
    "f-11-epic": item(overrideReasons={"reason": {"code": "17", "system": "urn:oid:1.2"}}),
    "f-14-long-comment": item(overrideReason={"userComment": "x" * 900_000}),
    "f-15-unknown-card": item(card="no-such-card"),
}


@pytest.mark.parametrize("bad", BAD_ITEMS.values(), ids=list(BAD_ITEMS))
def test_f_03_f_04_f_05_f_08_f_10_a_bad_item_is_named_and_costs_no_other(fresh: FlaskClient, bad: Any):
    answer = fed(fresh, item(), bad)
    assert counts(answer) == (1, 1, 1)
    assert answer.json["rejected"][0]["where"] == "$.feedback[1]"


@pytest.mark.parametrize("good", GOOD_ITEMS.values(), ids=list(GOOD_ITEMS))
def test_f_05_f_06_f_07_f_08_f_11_f_14_f_15_a_good_item_is_stored(fresh: FlaskClient, good: Json):
    assert counts(fed(fresh, good)) == (1, 0, 1)


def test_f_09_the_same_report_is_stored_once(fresh: FlaskClient):
    first, again = fed(fresh, item()), fed(fresh, item())
    assert (first.json["accepted"], first.json["duplicates"]) == (1, 0)
    assert (again.json["accepted"], again.json["duplicates"]) == (0, 1)


@pytest.mark.parametrize(("to", "status"), [("/feedback", 200), ("", 200), ("/other", 401)])
def test_f_13_feedback_is_proved_like_a_call(locked: Locked, to: str, status: int):
    headers = locked.token(f"{BASE}{url()}{to}")
    assert fed(locked.client, item(), headers=headers).status_code == status


# --- S: security ---


def test_s_01_s_02_a_call_needs_a_token_where_callers_are_named(locked: Locked):
    assert call(locked.client, hook_request()).status_code == 401
    assert call(locked.client, hook_request(), headers=locked.token()).status_code == 200
    small = {"Authorization": locked.token()["Authorization"].replace("Bearer", "bearer")}
    assert call(locked.client, hook_request(), headers=small).status_code == 200


def test_s_05_a_token_for_another_service_is_refused(locked: Locked):
    elsewhere = locked.token(f"{BASE}{url('order-sign')}")
    assert call(locked.client, hook_request(), headers=elsewhere | {"Host": "cds.hospital.example"}).status_code == 401


def test_s_14_a_token_is_good_for_one_call(locked: Locked):
    headers = locked.token()
    assert [call(locked.client, hook_request(), headers=headers).status_code for _ in range(2)] == [200, 401]


@every_hook
def test_s_18_preflight_needs_no_token(locked: Locked, hook: str):
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    answer = locked.client.options(url(hook), headers=SANDBOX | asked)
    assert answer.status_code < 300
    assert answer.headers["Access-Control-Allow-Origin"] == SANDBOX["Origin"]
    assert {"GET", "POST", "OPTIONS"} <= set(answer.headers["Access-Control-Allow-Methods"].split(", "))
    assert "authorization, content-type" in answer.headers["Access-Control-Allow-Headers"].lower()
    assert "Access-Control-Allow-Credentials" not in answer.headers


def test_s_18_an_origin_that_is_not_listed_gets_no_headers(locked: Locked):
    answer = locked.client.options(url(), headers={"Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/cds-services", b"", 200),
        ("POST", url(), b"{}", 401),
        ("POST", f"{url()}/feedback", b"{}", 401),
        ("GET", "/nothing", b"", 404),
        ("DELETE", "/cds-services", b"", 405),
        ("POST", url(), b"x" * 5_000_001, 413),
    ],
)
def test_s_19_errors_carry_the_headers_too(locked: Locked, method: str, path: str, body: bytes, status: int):
    answer = locked.client.open(path, method=method, data=body, headers=SANDBOX)
    assert answer.status_code == status
    assert answer.headers["Access-Control-Allow-Origin"] == SANDBOX["Origin"]
    assert "Origin" in ", ".join(answer.headers.getlist("Vary"))


@pytest.mark.parametrize(("body", "status"), [(b"{", 400), (msgspec.json.encode(hook_request(prefetch={})), 412)])
def test_s_19_errors_after_the_token_carry_the_headers_too(locked: Locked, body: bytes, status: int):
    headers = SANDBOX | locked.token() | {"Content-Type": "application/json"}
    answer = locked.client.post(url(), data=body, headers=headers)
    assert answer.status_code == status
    assert answer.headers["Access-Control-Allow-Origin"] == SANDBOX["Origin"]


def test_s_22_a_burst_of_one_caller_is_slowed(make_app: MakeApp, site_file: str, key: Any):
    limited = Path(site_file).with_name("limited.toml")
    text = Path(site_file).read_text(encoding="utf-8").replace("[service]", "[service]\nrate_limit_per_minute = 5")
    limited.write_text(text, encoding="utf-8")
    door = Locked(make_app(MAGNESIUM_CDS_SITE=str(limited)).test_client(), key)
    answers = [call(door.client, hook_request(), headers=door.token()) for _ in range(8)]
    assert {answer.status_code for answer in answers} == {200, 429}
    assert int(answers[-1].headers["Retry-After"]) >= 1
    assert problems(OUTCOME, answers[-1].json) == []


# --- the shared examples ---

AT = datetime(2026, 3, 9, 12, 0, tzinfo=UTC)
NAMED = {
    "EX1": ("01-patient-view", 200),
    "EX2": ("02-order-select-servicerequest-magnesium", 200),
    "EX3": ("03-order-select-medicationrequest-furosemide", 200),
    "EX4": ("04-order-sign", 200),
    "EX5": ("05-encounter-discharge", 200),
    "EX6": ("06-patient-view-no-data", 412),
}


@pytest.fixture(scope="module")
def then(make_app: MakeApp) -> FlaskClient:
    return make_app(AT).test_client()


@pytest.mark.parametrize(("name", "status"), NAMED.values(), ids=list(NAMED))
def test_r_01_p_11_a_shared_example_is_answered(then: FlaskClient, name: str, status: int):
    file = SHARED / f"{name}.json"
    if not file.is_file():
        pytest.skip(f"the shared examples are not here ({file.name})")
    body = msgspec.json.decode(file.read_bytes())
    answer = then.post(f"/cds-services/magnesium-{body['hook']}", json=body)
    assert answer.status_code == status
    assert problems(CARDS if status == 200 else OUTCOME, answer.json) == []
    assert list(valueless(answer.json)) == []
