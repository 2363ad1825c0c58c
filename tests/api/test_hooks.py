"""What a hook call does with what was sent, what was not, and what a FHIR server says: through HTTP, on a fixed day."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
import pytest
from structlog.testing import capture_logs

import service
from service.app import fhir_readers
from service.cds.services import BY_ID
from service.fhir.failure import FailureKind, ReadFailure
from service.settings import Mode
from service.terminology.queries import QUERIES, template
from tests.api.apps import VIEW, locked_app, open_app
from tests.contract.messages import LOW, NOW, PATIENT, bundle, having, hook_request, medication, observation, without
from tests.fhir.servers import Answer, after, by_target, deaf, reply, serving

PACKAGE = Path(service.__file__).parent
YESTERDAY = (datetime.now(UTC) - timedelta(days=1)).date().isoformat().encode()  # its 06:30 is past at any hour
TOKEN = "synthetic-token-4711"
ACCESS = {"access_token": TOKEN, "token_type": "Bearer", "expires_in": 300, "scope": "patient/*.rs", "subject": "us"}
OUTCOME = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "exception"}]}
WARNING = {"resourceType": "OperationOutcome", "issue": [{"severity": "warning", "code": "not-found"}]}
NONE_FOUND = {"resourceType": "Bundle", "entry": [{"resource": WARNING, "search": {"mode": "outcome"}}]}
EVERYTHING = {
    **dict.fromkeys(set(QUERIES) - {"encounter"}),
    "patient": PATIENT,
    "magnesium": bundle(LOW),
    "creatinine": bundle(observation("cr1", "2160-0", 0.8, "mg/dL")),
}
POTASSIUM = bundle(observation("k1", "2823-3", 2.9, "mmol/L"))


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with open_app(tmp_path_factory.mktemp("hooks")) as house:
        yield house


def decided(house, body, path=VIEW, **headers: str) -> tuple[Any, dict[str, Any]]:
    """The answer, and the line that the log has of the decision."""
    with capture_logs() as logs:
        answer = house.post(path, body, **headers)
    return answer, next((line for line in logs if line["event"] == "decision"), {})


def rules(answer: Any) -> set[str]:
    assert answer.status_code == 200, answer.json
    found = (card["extension"]["org.magnesium-cds.findings"] for card in answer.json["cards"])
    return {finding["rule"] for findings in found for finding in findings}


def detail(answer: Any) -> str:
    return "\n".join(card["detail"] for card in answer.json["cards"])


def unread(answer: Any) -> str:
    """What the cards say could not be read, or only in part."""
    return " ".join(line for line in detail(answer).splitlines() if "Could not be read" in line or "in part" in line)


def calling(base: str, prefetch: Any, **members: Any) -> dict[str, Any]:
    return hook_request(prefetch=prefetch, fhirServer=base, fhirAuthorization=ACCESS) | members


def fhir(**found: Any) -> Answer:
    """A FHIR server that finds these things, by a part of the query, and otherwise nothing."""
    parts = {part.replace("_", "-"): reply(msgspec.json.encode(value)) for part, value in found.items()}
    return by_target(parts, reply())


# --- the states of a key ---

SENT = {
    "null": (None, "none"),
    "empty-bundle": ({"resourceType": "Bundle", "type": "searchset", "total": 0}, "none"),
    "no-entries": (bundle(), "none"),
    "count-alone": ({"resourceType": "Bundle", "type": "searchset", "total": 3}, "incomplete"),
    "warning-inside": (NONE_FOUND, "none"),
    "outcome": (OUTCOME, "failed"),
    "error-inside": ({"resourceType": "Bundle", "entry": [{"resource": OUTCOME}]}, "incomplete"),
    "no-fhir": ("<html>", "failed"),
    "value": (POTASSIUM, "present"),
    "lone-resource": (POTASSIUM["entry"][0]["resource"], "present"),
}


@pytest.mark.parametrize("sent", SENT)
def test_a_key_that_was_sent_is_not_asked_for(house, sent):
    value, state = SENT[sent]
    with serving(reply()) as server:
        answer, line = decided(house, calling(server.base, EVERYTHING | {"potassium": value}))
    assert (answer.status_code, line["states"]["potassium"], server.seen) == (200, state, [])
    assert ("potassium" in unread(answer)) is (state in {"failed", "incomplete"})


def test_a_key_that_was_left_out_is_asked_for_once_with_the_advertised_query(house):
    with serving(fhir(code=POTASSIUM)) as server:
        answer, line = decided(house, calling(server.base, without(EVERYTHING, "potassium")))
    (request,) = server.seen
    advertised = template("potassium").replace("{{context.patientId}}", "p1")
    path, query = urlsplit(request.target).path, urlsplit(request.target).query
    assert request.method == "GET"
    assert path == "/fhir/Observation"
    assert parse_qsl(query) == parse_qsl(advertised.partition("?")[2])
    assert line["states"]["potassium"] == "present"
    sent, _ = decided(house, hook_request(prefetch=EVERYTHING | {"potassium": POTASSIUM}))
    assert rules(answer) == rules(sent)
    assert detail(answer) == detail(sent)


def test_without_prefetch_every_key_is_read_at_once(house):
    creatinine = bundle(observation("cr1", "2160-0", 0.8, "mg/dL"))
    slow = {
        "Patient/p1": after(0.3, reply(msgspec.json.encode(PATIENT))),
        "19123-9": after(0.3, reply(msgspec.json.encode(bundle(LOW)))),
        "2160-0": after(0.3, reply(msgspec.json.encode(creatinine))),
    }
    body = calling("", None)
    body["context"]["encounterId"] = "e1"
    with serving(by_target(slow, after(0.3, reply()))) as server:
        started = time.monotonic()
        answer, line = decided(house, body | {"fhirServer": server.base})
        took = time.monotonic() - started
    assert len(server.seen) == len(BY_ID["magnesium-patient-view"].prefetch) == 11
    assert "R-011" in rules(answer)
    assert took < 0.9
    assert line["ms"]["gather"] >= 300


def test_prefetch_and_fhir_server_give_the_same_cards(house):
    with serving(
        fhir(Patient=PATIENT, **{"19123_9": bundle(LOW), "2160_0": EVERYTHING["creatinine"], "2823_3": POTASSIUM})
    ) as server:
        read, _ = decided(house, calling(server.base, None))
    sent, _ = decided(house, hook_request(prefetch=EVERYTHING | {"potassium": POTASSIUM}))
    assert rules(read) == rules(sent)
    assert detail(read) == detail(sent)


# --- one chart, in whatever form an EHR sends it ---

CHART = {
    "patient": PATIENT,
    "encounter": {"resourceType": "Encounter", "id": "e1", "status": "in-progress", "class": {"code": "IMP"},
                  "subject": {"reference": "Patient/p1"}},
    "magnesium": LOW,
    "creatinine": observation("cr1", "2160-0", 0.8, "mg/dL"),
    "chemistry": observation("k1", "2823-3", 2.9, "mmol/L"),
    "medicationRequests": medication("m1", "7646", "Omeprazole"),
    "conditions": {"resourceType": "Condition", "id": "c1", "subject": {"reference": "Patient/p1"},
                   "code": {"text": "Chronic diarrhea"}, "clinicalStatus": {"coding": [{"code": "active"}]}},
}  # fmt: skip
WHOLE = bundle(*CHART.values(), kind="collection")
FORMS = {
    "one Bundle under every key": lambda keys: dict.fromkeys(keys, WHOLE),
    "one Bundle under a key of theirs": lambda _: {"chart": WHOLE},
    "one Bundle under one key of ours": lambda _: {"conditions": WHOLE},
    "nothing but fhirServer": lambda _: None,
}


def in_the_chart(hook: str, base: str, prefetch: Any) -> dict[str, Any]:
    return having(hook_request(hook, prefetch=prefetch, fhirServer=base, fhirAuthorization=ACCESS), "e1", "context",
                  "encounterId")  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("service", BY_ID.values(), ids=lambda service: service.id)
def test_the_cards_are_the_same_in_whatever_form_the_chart_comes(house, service, form):
    keyed = dict.fromkeys(service.prefetch) | {
        key: value if key in {"patient", "encounter"} else bundle(value)
        for key, value in CHART.items()
        if key in service.prefetch
    }
    path, hook = f"/cds-services/{service.id}", service.hook.value
    found = {"Patient/p1": PATIENT, "Encounter/e1": CHART["encounter"]} | {
        part: bundle(CHART[key])
        for part, key in {
            "19123-9": "magnesium",
            "2160-0": "creatinine",
            "2823-3": "chemistry",
            "MedicationRequest?": "medicationRequests",
            "Condition?": "conditions",
        }.items()
    }
    with serving(
        by_target({part: reply(msgspec.json.encode(value)) for part, value in found.items()}, reply())
    ) as server:
        expected, _ = decided(house, in_the_chart(hook, server.base, keyed), path)
        assert (rules(expected) != set(), server.seen) == (True, [])
        answer, line = decided(house, in_the_chart(hook, server.base, FORMS[form](service.prefetch)), path)
        asked = len(server.seen)
    assert (rules(answer), detail(answer), unread(answer)) == (rules(expected), detail(expected), "")
    assert set(line["states"].values()) <= {"present", "none"}
    assert asked <= (len(service.prefetch) if "fhirServer" in form else 3)  # kinds that the chart holds nothing of


def test_an_id_is_encoded_on_its_way_into_a_query(house):
    odd = "p1&code=x?a=b#c"
    with serving(fhir(Patient=PATIENT | {"id": odd})) as server:
        decided(house, having(calling(server.base, None), odd, "context", "patientId"))
    assert len(server.seen) == 10  # no encounter
    assert all(odd in unquote(request.target) and odd not in request.target for request in server.seen)


# --- pages ---


def paged(following: str) -> dict[str, Any]:
    """A first page of potassium results, and where the next one is."""
    return POTASSIUM | {"link": [{"relation": "next", "url": following}]}


def test_a_further_page_is_read_with_the_token(house):
    with serving(fhir(**{"page=2": bundle(observation("k2", "2823-3", 4.0, "mmol/L"))})) as server:
        answer, line = decided(
            house, calling(server.base, EVERYTHING | {"potassium": paged(f"{server.base}/Observation?page=2")})
        )
    (request,) = server.seen
    assert (request.method, request.target) == ("GET", "/fhir/Observation?page=2")
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert line["states"]["potassium"] == "present"
    assert "potassium" not in unread(answer)


def test_a_further_page_elsewhere_is_not_read_and_the_key_is_incomplete(house):
    with serving(reply()) as elsewhere, serving(reply()) as server:
        answer, line = decided(
            house, calling(server.base, EVERYTHING | {"potassium": paged(f"{elsewhere.base}/Observation?page=2")})
        )
    assert (server.seen, elsewhere.seen) == ([], [])
    assert line["states"]["potassium"] == "incomplete"
    assert "potassium" in unread(answer)


def test_a_next_link_of_the_server_that_leads_elsewhere_is_not_followed(house):
    with serving(reply()) as elsewhere, serving(fhir(**{"2823_3": paged(f"{elsewhere.base}/x")})) as server:
        _, line = decided(house, calling(server.base, without(EVERYTHING, "potassium")))
    assert elsewhere.seen == []
    assert line["states"]["potassium"] == "incomplete"


def test_without_access_a_further_page_is_missing_and_not_nothing(house):
    nothing_yet = bundle() | {"link": paged("https://fhir.example/x")["link"]}
    answer, line = decided(house, hook_request(prefetch=EVERYTHING | {"potassium": nothing_yet}))
    assert line["states"]["potassium"] == "incomplete"
    assert "potassium" in unread(answer)


def test_a_magnesium_that_is_incomplete_and_empty_is_not_never_measured(house):
    nothing_yet = bundle() | {"link": paged("https://fhir.example/x")["link"]}
    answer = house.post(VIEW, hook_request(prefetch=EVERYTHING | {"magnesium": nothing_yet}))
    assert answer.status_code == 412
    assert answer.json["issue"][0]["expression"] == ["$.prefetch.magnesium"]


# --- 412 ---

LACKING = {
    "nothing": ({}, ["magnesium", "patient"]),
    "null": (None, ["magnesium", "patient"]),
    "patient": (without(EVERYTHING, "patient"), ["patient"]),
    "magnesium": (without(EVERYTHING, "magnesium"), ["magnesium"]),
    "magnesium-failed": (EVERYTHING | {"magnesium": OUTCOME}, ["magnesium"]),
    "magnesium-no-fhir": (EVERYTHING | {"magnesium": 7}, ["magnesium"]),
}


@pytest.mark.parametrize("lacking", LACKING)
def test_what_cannot_be_done_without_is_named(house, lacking):
    prefetch, keys = LACKING[lacking]
    answer = house.post(VIEW, hook_request(prefetch=prefetch))
    assert answer.status_code == 412
    assert sorted(place for issue in answer.json["issue"] for place in issue["expression"]) == [
        f"$.prefetch.{key}" for key in keys
    ]
    assert {issue["code"] for issue in answer.json["issue"]} == {"incomplete"}


FAILURES = {
    "dead-token": (reply(b"{}", 401), "access token"),
    "no-scope": (reply(b"{}", 403), "scope"),
    "down": (reply(b"", 500), "error of its own"),
    "html": (reply(b"<html>"), "JSON"),
    "redirect": (reply(b"", 302, location="http://127.0.0.1:1/"), "redirect"),
    "outcome": (reply(msgspec.json.encode(OUTCOME)), "the EHR could not read it"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_fhir_server_that_fails_is_worded_for_support(house, failure):
    answered, words = FAILURES[failure]
    with serving(answered) as server:
        answer = house.post(VIEW, calling(server.base, {}))
    assert answer.status_code == 412
    assert all(words in issue["details"]["text"] for issue in answer.json["issue"])


@pytest.mark.parametrize("hook", ["order-select", "order-sign"])
@pytest.mark.parametrize("drafts", ["absent", None])
def test_an_order_hook_without_drafts_is_412_with_a_hint(house, hook, drafts):
    body = having(hook_request(hook), drafts, "context", "draftOrders")
    body = without(body, "context", "draftOrders") if drafts else body
    answer = house.post(f"/cds-services/magnesium-{hook}", body)
    assert answer.status_code == 412
    (issue,) = answer.json["issue"]
    assert "scopes" in issue["details"]["text"]
    assert issue["expression"] == ["$.context.draftOrders"]


def test_data_that_say_nothing_are_no_412(house):
    answer = house.post(VIEW, hook_request(prefetch=EVERYTHING | {"magnesium": bundle()}))
    assert answer.status_code == 200


# --- whose, for whom, about what ---


def test_keys_may_be_called_otherwise(tmp_path):
    with locked_app(tmp_path, tenant='[tenant.aliases]\nmagnesium = ["mg_labs"]\npotassium = ["k", "kalium"]') as house:
        ours, _ = decided(house, hook_request(prefetch=EVERYTHING | {"potassium": POTASSIUM}))
        renamed = without(EVERYTHING, "magnesium") | {"mg_labs": EVERYTHING["magnesium"], "kalium": POTASSIUM}
        theirs, line = decided(house, hook_request(prefetch=without(renamed, "potassium")))
    assert rules(theirs) == rules(ours)
    assert (line["states"]["magnesium"], line["states"]["potassium"]) == ("present", "present")


def test_a_resource_under_an_unexpected_key_counts(house):
    answer = house.post(VIEW, hook_request(prefetch=without(EVERYTHING, "magnesium") | {"labs": bundle(LOW)}))
    assert "R-011" in rules(answer)


NO_USE = {
    "another patient's": LOW | {"id": "foreign", "subject": {"reference": "Patient/p2"}},
    "of a code that nobody knows": LOW | {"code": {"coding": [{"system": "urn:local", "code": "X1"}]}},
    "no result at all": PATIENT,
}


@pytest.mark.parametrize("sent", NO_USE)
def test_magnesium_that_came_and_is_of_no_use_is_never_met_with_silence(house, sent):
    """A card that speaks of something else says that it could not be read; where there is none, the call is refused."""
    useless = EVERYTHING | {"magnesium": bundle(NO_USE[sent])}
    refused = house.post(VIEW, hook_request(prefetch=useless))
    assert (refused.status_code, refused.json["issue"][0]["expression"]) == (412, ["$.prefetch.magnesium"])
    (card,) = house.post(VIEW, hook_request(prefetch=useless | {"potassium": POTASSIUM})).json["cards"]
    assert "Could not be read, so not judged: serum magnesium" in card["detail"]


def test_what_is_of_another_patient_is_dropped_and_noted(house):
    foreign = NO_USE["another patient's"]
    answer = house.post(VIEW, hook_request(prefetch=EVERYTHING | {"magnesium": bundle(LOW, foreign)}))
    assert rules(answer) == rules(house.post(VIEW, hook_request(prefetch=EVERYTHING)))
    body = {"bundle": bundle(PATIENT, foreign), "context": {"patientId": "p1"}}
    issues = house.post("/v1/evaluate", body).json["issues"]
    assert "Observation/foreign" in {issue["reference"] for issue in issues}


@pytest.mark.parametrize("user", ["Patient/p1", "RelatedPerson/r1"])
def test_a_reader_who_is_no_clinician_gets_no_cards(house, user):
    body = hook_request(prefetch=EVERYTHING)
    assert house.post(VIEW, body).json["cards"]
    answer, line = decided(house, having(body, user, "context", "userId"))
    assert (answer.status_code, answer.json) == (200, {"cards": []})
    assert line["withheld"] is True
    assert house.post(VIEW, having(hook_request(prefetch={}), user, "context", "userId")).status_code == 412


def ordering(selected: str) -> dict[str, Any]:
    """Two drafts: a platinum compound and a drug without a bearing on magnesium; one is selected."""
    body = hook_request("order-select", prefetch=EVERYTHING | {"magnesium": bundle()})
    drafts = bundle(
        medication("cisplatin", "2555", "Cisplatin", "draft"), medication("other", "161", "Acetaminophen", "draft")
    )
    return having(
        having(body, drafts, "context", "draftOrders"), [f"MedicationRequest/{selected}"], "context", "selections"
    )


def test_order_select_speaks_of_selected_orders_only(house):
    path = "/cds-services/magnesium-order-select"
    assert "Cisplatin" in house.post(path, ordering("cisplatin")).json["cards"][0]["summary"]
    assert house.post(path, ordering("other")).json["cards"] == []
    assert house.post(path, ordering("no-such")).json["cards"] == []


def test_a_magnesium_product_is_judged_while_it_is_selected(house):
    """Its kidney function is not known: said before the order is written out, and not of a draft that is not selected."""
    drafts = bundle(
        medication("mg", "6585", "Magnesium sulfate 2 g intravenous", "draft"),
        medication("other", "161", "Acetaminophen", "draft"),
    )
    body = having(hook_request("order-select"), drafts, "context", "draftOrders")
    path = "/cds-services/magnesium-order-select"
    answer = house.post(path, having(body, ["MedicationRequest/mg"], "context", "selections"))
    assert "R-092" in rules(answer)
    other = house.post(path, having(body, ["MedicationRequest/other"], "context", "selections"))
    assert "R-092" not in rules(other)


# --- Epic ---

TRIGGER = "com.epic.cdshooks.request.bpa-trigger-action"
TRIGGERS = {
    "27": "encounter-discharge",
    27: "encounter-discharge",
    "26": "encounter-start",
    26: "encounter-start",
    "60": "patient-view",
    5: "patient-view",
    None: "patient-view",
    (): "patient-view",
}


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_what_epic_calls_patient_view_is_judged_by_what_happened(house, trigger):
    answer, line = decided(house, hook_request(extension={TRIGGER: trigger}))
    assert (answer.status_code, line["hook"], line["service"]) == (200, TRIGGERS[trigger], "magnesium-patient-view")


def test_the_trigger_changes_no_other_hook(house):
    body = hook_request("order-select", extension={TRIGGER: "27"})
    _, line = decided(house, body, "/cds-services/magnesium-order-select")
    assert line["hook"] == "order-select"


def test_suggestions_fit_what_epic_shows(tmp_path):
    with locked_app(tmp_path) as house:
        answer = house.post("/cds-services/magnesium-order-select", ordering("cisplatin"))
    (card,) = answer.json["cards"]
    assert card["selectionBehavior"] == "any"
    assert card["source"]["topic"]["code"].isalnum()
    assert [len(suggestion["actions"]) for suggestion in card["suggestions"]] == [1] * len(card["suggestions"])


# --- which server, with what, until when ---


def test_the_token_is_in_the_header_of_every_request_and_nowhere_else(tmp_path):
    with serving(fhir(Patient=PATIENT)) as server, locked_app(tmp_path, [server.base]) as house:
        answer, _ = decided(house, calling(server.base, {}))
        stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert len(server.seen) == 10  # no encounter
    for request in server.seen:
        assert request.headers["authorization"] == f"Bearer {TOKEN}"
        assert TOKEN not in request.target
        assert TOKEN.encode() not in request.body
        assert TOKEN not in str({name: value for name, value in request.headers.items() if name != "authorization"})
    assert TOKEN not in answer.text
    assert TOKEN.encode() not in stored


ELSEWHERE = (
    "http://169.254.169.254/latest/meta-data",
    "https://169.254.169.254/fhir",
    "https://evil.example/fhir",
    "http://localhost.evil.example/fhir",
    "{other}",
    "{base}/../admin",
    "{base}.evil.example",
    "{base}@evil.example",
    "file:///etc/passwd",
    "not a URL",
    "",
)


@pytest.mark.parametrize("address", ELSEWHERE)
def test_a_fhir_server_that_is_not_on_the_list_is_never_called(tmp_path, address):
    with serving(reply()) as server, serving(reply()) as other, locked_app(tmp_path, [server.base]) as house:
        base = address.replace("{base}", server.base).replace("{other}", other.base)
        answer = house.post(VIEW, calling(base, {}))
    assert answer.status_code == 412
    assert (server.connections, other.connections) == (0, 0)


@pytest.mark.parametrize(("network", "requests"), [("10.0.0.0/8", 0), ("127.0.0.0/8", 16)])
def test_a_name_on_the_list_may_lead_into_the_tenants_networks_only(tmp_path, network, requests):
    with (
        serving(reply()) as server,
        locked_app(tmp_path, [server.base], tenant=f'fhir_networks = ["{network}"]') as house,
    ):
        settings = house.app.extensions["dependencies"].settings
        # Development reads from servers on this machine in any case; in production the list alone decides.
        (reader,) = [found for key, found in fhir_readers(replace(settings, mode=Mode.PRODUCTION)).items() if key]
        answers = reader.read(server.base, None, dict.fromkeys(map(str, range(16)), "x"), time.monotonic() + 2, bool)
        reader.close()
    assert len(server.seen) == requests
    assert (answers["0"] == ReadFailure(FailureKind.NOT_ALLOWED)) is (requests == 0)


@pytest.mark.parametrize(
    "members",
    [
        {"fhirAuthorization": None},
        {"fhirServer": None},
        {"fhirAuthorization": {}},
        {"fhirAuthorization": ACCESS | {"patient": "p2"}},
    ],
)
def test_without_access_to_this_patient_nothing_is_asked(tmp_path, members):
    with serving(reply()) as server, locked_app(tmp_path, [server.base]) as house:
        assert house.post(VIEW, calling(server.base, {}, **members)).status_code == 412
        assert house.post(VIEW, calling(server.base, EVERYTHING, **members)).status_code == 200
    assert server.connections == 0


def test_access_that_names_this_patient_is_used(tmp_path):
    with serving(fhir(Patient=PATIENT)) as server, locked_app(tmp_path, [server.base]) as house:
        decided(house, calling(server.base, {}, fhirAuthorization=ACCESS | {"patient": "p1"}))
    assert len(server.seen) == 10  # no encounter


@pytest.mark.parametrize("expires_in", [None, 0, -5, "300", True, 1e400, 300])
def test_whatever_is_said_of_the_life_of_a_token_does_no_harm(house, expires_in):
    with serving(fhir(Patient=PATIENT)) as server:
        body = msgspec.json.encode(calling(server.base, {}, fhirAuthorization=ACCESS | {"expires_in": "?"}))
        body = body.replace(b'"?"', str(expires_in).lower().encode() if expires_in != 1e400 else b"1e400").replace(
            b":none", b":null"
        )
        answer = house.client.post(VIEW, data=body, content_type="application/json")
    assert answer.status_code in {200, 400}


def test_a_slow_server_does_not_hold_the_answer_beyond_the_budget(tmp_path):
    with (
        serving(after(3, reply())) as server,
        locked_app(tmp_path, [server.base], service="deadline_ms = 400") as house,
    ):
        started = time.monotonic()
        bare = house.post(VIEW, calling(server.base, {}))
        halfway = time.monotonic()
        partial, line = decided(house, calling(server.base, without(EVERYTHING, "potassium")))
        ended = time.monotonic()
    assert (bare.status_code, partial.status_code) == (412, 200)
    assert all("did not answer in time" in issue["details"]["text"] for issue in bare.json["issue"])
    assert max(halfway - started, ended - halfway) < 0.8
    assert line["states"]["potassium"] == "failed"
    assert "potassium" in unread(partial)


def test_a_token_that_ends_sooner_ends_the_reading_sooner(tmp_path):
    with deaf() as base, locked_app(tmp_path, [base]) as house:
        started = time.monotonic()
        house.post(VIEW, calling(base, {}, fhirAuthorization=ACCESS | {"expires_in": 1}))
    assert time.monotonic() - started < 1.5


# --- the end ---


def test_cards_that_wait_are_stored_when_the_process_ends(tmp_path):
    url = f"sqlite:///{tmp_path}/store.sqlite3"
    script = f"""
import sys
from service.app import application
from service.site import site_schema
from service.settings import load
client = application(load({{"DATABASE_URL": "{url}"}}, site_schema())).test_client()
answer = client.post("{VIEW}", data=sys.stdin.buffer.read(), content_type="application/json")
print(answer.json["cards"][0]["uuid"], file=sys.stderr)
"""
    body = msgspec.json.encode(hook_request(prefetch=EVERYTHING)).replace(NOW.date().isoformat().encode(), YESTERDAY)
    run = [sys.executable, "-W", "error", "-c", script]
    said = subprocess.run(run, input=body, cwd=PACKAGE.parent, capture_output=True, check=True).stderr.decode()
    item = {"card": said.strip(), "outcome": "overridden", "outcomeTimestamp": "2026-11-20T08:58:00Z"}
    with open_app(tmp_path) as house:
        answer = house.post(f"{VIEW}/feedback", {"feedback": [item]})
    assert answer.json == {"accepted": 1, "duplicates": 0, "unknownCards": 0}


def test_a_result_that_cannot_be_identified_is_not_called_absent(house):
    local = {"resourceType": "Observation", "id": "x", "status": "final", "subject": {"reference": "Patient/p1"},
             "code": {"coding": [{"system": "https://lis.example", "code": "MGS"}]},
             "effectiveDateTime": "2026-03-01T07:00:00Z",
             "valueQuantity": {"value": 1.2, "unit": "mg/dL"}}  # fmt: skip
    body = hook_request()
    body["prefetch"] |= {"magnesium": {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": local}]}}
    answer, _ = decided(house, body)
    said = " ".join(card["detail"] for card in answer.json["cards"])
    assert answer.status_code == 200
    assert "serum magnesium" in said.partition("Could not be read, so not judged: ")[2].partition("\n")[0]
    assert "No serum magnesium on file" not in said
