"""Bad input of every kind: the right status and an OperationOutcome that names the place; never a fault of ours."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from flask.testing import FlaskClient

from service.api.http.request_body import CALCULATION_BYTES
from tests.contract.messages import (
    PATIENT,
    bundle,
    evaluation,
    feedback,
    having,
    hook_request,
    observation,
    without,
)
from tests.contract.openapi import CONTRACT, FHIR_JSON, METHODS, OUTCOME, operations, problems, resolved

VIEW, SELECT = "/cds-services/magnesium-patient-view", "/cds-services/magnesium-order-select"
EVALUATE, FEEDBACK, FEMG = "/v1/evaluate", f"{VIEW}/feedback", "/v1/calculations/femg"
POSTS = (VIEW, FEEDBACK, EVALUATE, FEMG)
CALCULATIONS = sorted((o for o in operations() if o.path.startswith("/v1/calculations/")), key=lambda o: o.path)
DEEP = 100_000
HUGE = "a number of 400 digits"  # stands in a body for what no encoder of ours would write
OTHER = {"resourceType": "Patient", "id": "p2"}
SELECTING = hook_request("order-select")


def refused(answer: Any, status: int, where: str = "") -> None:
    """The answer has this status, is an OperationOutcome, and names a place that begins so."""
    kind = FHIR_JSON if answer.request.path.startswith("/fhir/") else "application/json"
    assert (answer.status_code, answer.mimetype) == (status, kind)
    assert problems(OUTCOME, answer.json) == []
    places = [place for issue in answer.json["issue"] for place in issue.get("expression", ())]
    assert any(place.startswith(where) for place in places) or not where, f"{places}: {answer.json}"


def encoded(body: Any) -> bytes:
    return msgspec.json.encode(body).replace(f'"{HUGE}"'.encode(), b"9" * 400)


def raw(client: FlaskClient, path: str, body: bytes, content_type: str | None = "application/json") -> Any:
    return client.post(path, data=body, content_type=content_type)


# --- bodies that are not what a body should be ---

NOT_OBJECTS = {
    "empty": b"",
    "blank": b" \n",
    "not-json": b"hello",
    "half": b'{"hook": "patient-view"',
    "trailing-comma": b'{"hook": "patient-view",}',
    "comment": b'{"hook": "patient-view" /* so */}',
    "two-objects": b"{}{}",
    "single-quotes": b"{'hook': 1}",
    "array": b"[]",
    "string": b'"patient-view"',
    "number": b"12",
    "null": b"null",
    "true": b"true",
    "nan": b'{"bundle": NaN, "feedback": NaN, "hook": NaN}',
    "infinity": b'{"bundle": Infinity, "feedback": -Infinity, "hook": Infinity}',
    "invalid-utf-8": b'{"hook": "\xff\xfe"}',
    "utf-16": '{"hook": "patient-view"}'.encode("utf-16"),
    "deep-arrays": b'{"bundle":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep-objects": b'{"feedback":' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}",
    "deep-and-open": b"[" * DEEP,
    "nul": b"\x00",
    "form": b"hook=patient-view",
    "xml": b"<Bundle/>",
}


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("body", NOT_OBJECTS.values(), ids=list(NOT_OBJECTS))
def test_a_body_that_is_no_json_object_is_refused(client: FlaskClient, path: str, body: bytes):
    too_long = "calculations" in path and len(body) > CALCULATION_BYTES
    refused(raw(client, path, body), 413 if too_long else 400, "$")


@pytest.mark.parametrize("where", [("prefetch", "conditions"), ("context", "extra"), ("extension",)])
def test_depth_anywhere_in_a_hook_request_is_no_fault_of_ours(client: FlaskClient, where: tuple[str, ...]):
    body = msgspec.json.encode(having(hook_request(), "HERE", *where)).replace(b'"HERE"', b"[" * DEEP + b"]" * DEEP)
    answer = raw(client, VIEW, body)
    assert answer.status_code in {200, 400}
    if answer.status_code == 400:
        refused(answer, 400, "$")


@pytest.mark.parametrize("path", POSTS)
def test_a_body_that_is_too_large_is_refused(client: FlaskClient, path: str):
    refused(raw(client, path, b'{"a": "' + b"x" * 5_000_000 + b'"}'), 413)


def test_more_feedback_than_is_read_is_refused(client: FlaskClient):
    item = feedback()["feedback"][0]
    refused(client.post(FEEDBACK, json={"feedback": [item] * 1001}), 413, "$.feedback")


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    "stated",
    ["text/plain", "text/html", "application/xml", "application/fhir+xml", "application/x-www-form-urlencoded"],
)
def test_a_content_type_other_than_json_is_refused(client: FlaskClient, path: str, stated: str):
    refused(raw(client, path, b"{}", stated), 415)


# --- envelopes with a member of the wrong type ---

VIEWING = hook_request()
WRONG_CALLS: dict[str, tuple[str, Any, int, str]] = {
    "hook-missing": (VIEW, without(VIEWING, "hook"), 400, "$.hook"),
    "hook-null": (VIEW, having(VIEWING, None, "hook"), 400, "$.hook"),
    "hook-number": (VIEW, having(VIEWING, 7, "hook"), 400, "$.hook"),
    "hook-list": (VIEW, having(VIEWING, ["patient-view"], "hook"), 400, "$.hook"),
    "hook-empty": (VIEW, having(VIEWING, "", "hook"), 400, "$.hook"),
    "hook-unknown": (VIEW, having(VIEWING, "medication-refill", "hook"), 400, "$.hook"),
    "hook-of-another-service": (VIEW, having(VIEWING, "order-sign", "hook"), 400, "$.hook"),
    "instance-missing": (VIEW, without(VIEWING, "hookInstance"), 400, "$.hookInstance"),
    "instance-number": (VIEW, having(VIEWING, 1, "hookInstance"), 400, "$.hookInstance"),
    "instance-empty": (VIEW, having(VIEWING, "", "hookInstance"), 400, "$.hookInstance"),
    "context-missing": (VIEW, without(VIEWING, "context"), 400, "$.context"),
    "context-null": (VIEW, having(VIEWING, None, "context"), 400, "$.context"),
    "context-list": (VIEW, having(VIEWING, [], "context"), 400, "$.context"),
    "context-string": (VIEW, having(VIEWING, "p1", "context"), 400, "$.context"),
    "patient-missing": (VIEW, without(VIEWING, "context", "patientId"), 400, "$.context.patientId"),
    "patient-null": (VIEW, having(VIEWING, None, "context", "patientId"), 400, "$.context.patientId"),
    "patient-empty": (VIEW, having(VIEWING, "", "context", "patientId"), 400, "$.context.patientId"),
    "patient-object": (VIEW, having(VIEWING, {"id": "p1"}, "context", "patientId"), 400, "$.context.patientId"),
    "patient-number": (VIEW, having(VIEWING, 5, "context", "patientId"), 400, "$.context.patientId"),
    "user-missing": (VIEW, without(VIEWING, "context", "userId"), 400, "$.context.userId"),
    "user-list": (VIEW, having(VIEWING, ["Practitioner/1"], "context", "userId"), 400, "$.context.userId"),
    "encounter-number": (VIEW, having(VIEWING, 5, "context", "encounterId"), 400, "$.context.encounterId"),
    "prefetch-list": (VIEW, having(VIEWING, [], "prefetch"), 400, "$.prefetch"),
    "prefetch-string": (VIEW, having(VIEWING, "x", "prefetch"), 400, "$.prefetch"),
    "access-list": (VIEW, having(VIEWING, [], "fhirAuthorization"), 400, "$.fhirAuthorization"),
    "prefetch-value-string": (VIEW, having(VIEWING, "x", "prefetch", "magnesium"), 412, "$.prefetch.magnesium"),
    "prefetch-value-number": (VIEW, having(VIEWING, HUGE, "prefetch", "patient"), 412, "$.prefetch.patient"),
    "prefetch-value-empty": (VIEW, having(VIEWING, {}, "prefetch", "magnesium"), 412, "$.prefetch.magnesium"),
    "selections-missing": (SELECT, without(SELECTING, "context", "selections"), 400, "$.context.selections"),
    "selections-null": (SELECT, having(SELECTING, None, "context", "selections"), 400, "$.context.selections"),
    "selections-string": (SELECT, having(SELECTING, "x", "context", "selections"), 400, "$.context.selections"),
    "selections-numbers": (SELECT, having(SELECTING, [1], "context", "selections"), 400, "$.context.selections"),
    "drafts-missing": (SELECT, without(SELECTING, "context", "draftOrders"), 412, "$.context.draftOrders"),
    "drafts-null": (SELECT, having(SELECTING, None, "context", "draftOrders"), 412, "$.context.draftOrders"),
    "drafts-list": (SELECT, having(SELECTING, [], "context", "draftOrders"), 400, "$.context.draftOrders"),
    "drafts-string": (SELECT, having(SELECTING, "x", "context", "draftOrders"), 400, "$.context.draftOrders"),
    "drafts-patient": (SELECT, having(SELECTING, PATIENT, "context", "draftOrders"), 400, "$.context.draftOrders"),
    "drafts-empty": (SELECT, having(SELECTING, {}, "context", "draftOrders"), 400, "$.context.draftOrders"),
    "service-unknown": ("/cds-services/none", VIEWING, 404, "$.id"),
    "service-of-feedback-unknown": ("/cds-services/none/feedback", feedback(), 404, "$.id"),
}
WRONG_FEEDBACK: dict[str, tuple[str, Any, int, str]] = {
    "feedback-missing": (FEEDBACK, {}, 400, "$.feedback"),
    "feedback-null": (FEEDBACK, {"feedback": None}, 400, "$.feedback"),
    "feedback-object": (FEEDBACK, {"feedback": {}}, 400, "$.feedback"),
    "feedback-string": (FEEDBACK, {"feedback": "x"}, 400, "$.feedback"),
}
EVALUATING = evaluation()
PROFILE, RESEARCH = "referenceProfile", "researchRules"
TWO = bundle(PATIENT, OTHER)
WRONG_EVALUATIONS: dict[str, tuple[str, Any, int, str]] = {
    "bundle-missing": (EVALUATE, {"hook": "patient-view"}, 400, "$"),
    "bundle-null": (EVALUATE, {"bundle": None}, 400, "$.bundle"),
    "bundle-string": (EVALUATE, {"bundle": "x"}, 400, "$.bundle"),
    "bundle-number": (EVALUATE, {"bundle": 5}, 400, "$.bundle"),
    "bundle-list": (EVALUATE, {"bundle": []}, 400, "$.bundle"),
    "bundle-empty": (EVALUATE, {"bundle": {}}, 400, "$.bundle"),
    "two-patients": (EVALUATE, {"bundle": TWO}, 400, "$.context.patientId"),
    "hook-unknown": (EVALUATE, having(EVALUATING, "patient-view-2", "hook"), 400, "$.hook"),
    "hook-number": (EVALUATE, having(EVALUATING, 5, "hook"), 400, "$.hook"),
    "hook-null": (EVALUATE, having(EVALUATING, None, "hook"), 400, "$.hook"),
    "as-of-words": (EVALUATE, having(EVALUATING, "tomorrow", "asOf"), 400, "$.asOf"),
    "as-of-empty": (EVALUATE, having(EVALUATING, "", "asOf"), 400, "$.asOf"),
    "as-of-no-such-day": (EVALUATE, having(EVALUATING, "2025-02-30", "asOf"), 400, "$.asOf"),
    "as-of-no-such-hour": (EVALUATE, having(EVALUATING, "2025-02-03T25:00:00Z", "asOf"), 400, "$.asOf"),
    "as-of-number": (EVALUATE, having(EVALUATING, 20250615, "asOf"), 400, "$.asOf"),
    "language-unknown": (EVALUATE, having(EVALUATING, "tlh", "language"), 400, "$.language"),
    "language-number": (EVALUATE, having(EVALUATING, 5, "language"), 400, "$.language"),
    "language-empty": (EVALUATE, having(EVALUATING, "", "language"), 400, "$.language"),
    "context-list": (EVALUATE, having(EVALUATING, [], "context"), 400, "$.context"),
    "patient-object": (EVALUATE, having(EVALUATING, {"patientId": {}}, "context"), 400, "$.context.patientId"),
    "encounter-number": (EVALUATE, having(EVALUATING, {"encounterId": 5}, "context"), 400, "$.context.encounterId"),
    "selections-string": (EVALUATE, having(EVALUATING, {"selections": "x"}, "context"), 400, "$.context.selections"),
    "selections-number": (EVALUATE, having(EVALUATING, {"selections": [5]}, "context"), 400, "$.context.selections"),
    "drafts-string": (EVALUATE, having(EVALUATING, {"draftOrders": "x"}, "context"), 400, "$.context.draftOrders"),
    "drafts-list": (EVALUATE, having(EVALUATING, {"draftOrders": []}, "context"), 400, "$.context.draftOrders"),
    "options-list": (EVALUATE, having(EVALUATING, [], "options"), 400, "$.options"),
    "profile-unknown": (EVALUATE, EVALUATING | {"options": {PROFILE: "x"}}, 400, f"$.options.{PROFILE}"),
    "profile-number": (EVALUATE, EVALUATING | {"options": {PROFILE: 5}}, 400, f"$.options.{PROFILE}"),
    "research-string": (EVALUATE, EVALUATING | {"options": {RESEARCH: "yes"}}, 400, f"$.options.{RESEARCH}"),
}
WRONG = {
    f"{kind}-{name}": case
    for kind, table in (("call", WRONG_CALLS), ("feedback", WRONG_FEEDBACK), ("evaluate", WRONG_EVALUATIONS))
    for name, case in table.items()
}


@pytest.mark.parametrize(("path", "body", "status", "where"), WRONG.values(), ids=list(WRONG))
def test_what_is_wrong_is_said_with_its_place(client: FlaskClient, path: str, body: Any, status: int, where: str):
    refused(raw(client, path, encoded(body)), status, where)


def test_a_missing_bundle_is_named(client: FlaskClient):
    assert "bundle" in client.post(EVALUATE, json={}).json["issue"][0]["details"]["text"]


# --- odd, but to be survived: any described status, an answer that fits its schema ---

FEMG_MEMBERS = ("urineMagnesium", "serumMagnesium", "urineCreatinine", "serumCreatinine")
ODD_CALLS: dict[str, tuple[str, Any]] = {
    "instance-no-uuid": (VIEW, having(VIEWING, "abc", "hookInstance")),
    "server-number": (VIEW, having(VIEWING, 5, "fhirServer")),
    "server-elsewhere": (VIEW, having(without(VIEWING, "prefetch"), "http://169.254.169.254", "fhirServer")),
    "server-not-a-url": (VIEW, having(without(VIEWING, "prefetch"), "http://[::1", "fhirServer")),
    "access-of-numbers": (VIEW, having(VIEWING, {"access_token": 5, "expires_in": "x"}, "fhirAuthorization")),
    "huge-value": (VIEW, having(VIEWING, bundle(observation("o", "19123-9", HUGE, "mg/dL")), "prefetch", "magnesium")),
    "entry-string": (VIEW, having(VIEWING, {"resourceType": "Bundle", "entry": "x"}, "prefetch", "conditions")),
    "entries-odd": (VIEW, having(VIEWING, {"resourceType": "Bundle", "entry": [1, None, {}]}, "prefetch", "qtc")),
    "dangling-selection": (SELECT, having(SELECTING, ["ServiceRequest/none"], "context", "selections")),
    "no-selection": (SELECT, having(SELECTING, [], "context", "selections")),
    "comment-of-a-megabyte": (FEEDBACK, feedback(overrideReason={"userComment": "x" * 1_000_000})),
    "as-of-the-last-day": (EVALUATE, having(EVALUATING, "9999-12-31", "asOf")),
    "as-of-the-first-day": (EVALUATE, having(EVALUATING, "0001-01-01", "asOf")),
    "as-of-the-first-hour-east": (EVALUATE, having(EVALUATING, "0001-01-01T00:00:00+14:00", "asOf")),
    "as-of-the-last-hour-west": (EVALUATE, having(EVALUATING, "9999-12-31T23:59:59-12:00", "asOf")),
    "lone-resource": (EVALUATE, {"bundle": PATIENT}),
    "nobody": (EVALUATE, {"bundle": {"resourceType": "Bundle"}}),
    "patient-slash": (EVALUATE, having(EVALUATING, {"patientId": "../../x"}, "context")),
    "femg-huge": (FEMG, {member: {"value": HUGE, "unit": "mg/dL"} for member in FEMG_MEMBERS}),
}
BY_PATH = {"/cds-services/{id}": VIEW, "/cds-services/{id}/feedback": FEEDBACK, "/v1/evaluate": EVALUATE, FEMG: FEMG}
DESCRIBED = {url: o for o in operations() for path, url in BY_PATH.items() if o.path == path} | {
    SELECT: next(o for o in operations() if o.id == "hooks.call")
}


def fits(answer: Any, path: str) -> None:
    """The answer has a described status and fits the schema of that status."""
    assert answer.status_code < 500
    assert str(answer.status_code) in DESCRIBED[path].responses
    assert problems(DESCRIBED[path].schema(answer.status_code), answer.json) == []


@pytest.mark.parametrize(("path", "body"), ODD_CALLS.values(), ids=list(ODD_CALLS))
def test_what_is_odd_is_survived(client: FlaskClient, path: str, body: Any):
    fits(raw(client, path, encoded(body)), path)


NOT_ENTRIES = {"resourceType": "Bundle", "entry": "x"}


def test_entries_that_are_no_array_are_not_taken_for_an_empty_bundle(client: FlaskClient):
    answer = client.post(EVALUATE, json={"bundle": NOT_ENTRIES})
    assert answer.status_code == 400 or answer.json["issues"]


def test_prefetch_whose_entries_are_no_array_is_not_taken_for_nothing_on_file(client: FlaskClient):
    refused(client.post(VIEW, json=having(VIEWING, NOT_ENTRIES, "prefetch", "magnesium")), 412, "$.prefetch.magnesium")


ODD_WORDS = (rb"\ud800", rb"\u0000", "\u202e".encode(), b"x" * 10_000, b"{{7*7}}", b"%s%n", b"../../etc")
REPLACED = {  # in the usual body of each path
    VIEW: (
        VIEWING,
        (b"p1", b"mg1", b"mg/dL", b"19123-9", b"final", b"Omeprazole", b"Practitioner/1", b"0c6a4a52", b"2026"),
    ),
    EVALUATE: (EVALUATING, (b"p1", b"mg1", b"mg/dL", b"19123-9", b"final", b"female", b"collection", b"2026")),
    FEEDBACK: (feedback(), (b"4f6cb2a9", b"overridden", b"2026")),
    FEMG: (DESCRIBED[FEMG].requests["femg"], (b"mg/dL", b"urineMagnesium")),
}


@pytest.mark.parametrize(("path", "old"), [(path, old) for path, (_, words) in REPLACED.items() for old in words])
@pytest.mark.parametrize("new", ODD_WORDS, ids=["surrogate", "nul", "direction", "long", "template", "format", "dots"])
def test_odd_characters_are_survived(client: FlaskClient, path: str, old: bytes, new: bytes):
    body = encoded(REPLACED[path][0])
    assert old in body
    fits(raw(client, path, body.replace(old, new)), path)


# --- paths and methods ---


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("/nothing", ""),
        ("/v1", ""),
        ("/v1/rules/R-999", "$.id"),
        ("/v1/rules/%00", "$.id"),
        ("/v1/parameters/none", "$.id"),
        ("/v1/parameters/..%2f..%2fetc", ""),
        ("/static/none.js", ""),
        ("/static/..%2fpages.py", ""),
        ("/samples/none", ""),
    ],
)
def test_what_does_not_exist_is_refused(client: FlaskClient, path: str, where: str):
    refused(client.get(path), 404, where)


def test_an_unknown_calculation_is_refused(client: FlaskClient):
    refused(client.post("/v1/calculations/none", json={}), 404, "$.name")


OTHER_METHODS = [
    (path, method) for path, item in sorted(CONTRACT["paths"].items()) for method in METHODS if method not in item
]


@pytest.mark.parametrize(("path", "method"), OTHER_METHODS)
def test_g_06_another_method_is_refused_and_the_allowed_ones_named(client: FlaskClient, path: str, method: str):
    answer = client.open(path.replace("{id}", "x").replace("{name}", "x"), method=method)
    refused(answer, 405)
    allowed = {word.strip().lower() for word in answer.headers["Allow"].split(",")}
    assert allowed - {"head", "options"} == CONTRACT["paths"][path].keys() - {"parameters"}


@pytest.mark.parametrize("name", ["since", "until"])
@pytest.mark.parametrize("day", ["yesterday", "", "2026-02-30", "20261", "2026-W01-1-1"])
def test_a_day_that_is_none_is_refused(client: FlaskClient, name: str, day: str):
    refused(client.get("/v1/feedback/summary", query_string={name: day}), 400, f"?{name}")


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
@pytest.mark.parametrize("name", ["since", "until"])
def test_the_first_and_the_last_day_are_survived(client: FlaskClient, name: str, day: str):
    answer = client.get("/v1/feedback/summary", query_string={name: day})
    assert answer.status_code in {200, 400}


# --- without proof of the caller ---

SECURED = [o for o in operations() if "security" in o.body]


@pytest.mark.parametrize("operation", SECURED, ids=lambda operation: operation.id)
@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer x", "Bearer a.b.c", "Basic dTpw", "bearer " + "a" * 20_000]
)
def test_without_a_token_nothing_is_answered(locked, operation, header: str | None):
    headers = {} if header is None else {"Authorization": header}
    path = operation.path.replace("{id}", "magnesium-patient-view")
    answer = locked.client.open(path, method=operation.method.upper(), headers=headers, data=b"{")
    refused(answer, 401)
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.data == locked.client.post(VIEW).data, "all refusals are the same"


FOR_READERS_OF_AN_EHR = {
    "explain.ask",
    "smart.launch",
    "smart.app",
}  # closed where callers are proved and no EHR is configured for SMART


def test_what_is_not_secured_is_open(locked):
    gets = [o for o in operations() if "security" not in o.body and o.method == "get"]
    gets = [o for o in gets if o.id != "guide.page"]  # has to be built first: tests/docs/test_site.py
    for operation in (o for o in gets if o.id in FOR_READERS_OF_AN_EHR):
        refused(locked.client.get(operation.path), 404)
    for operation in (o for o in gets if o.id not in FOR_READERS_OF_AN_EHR):
        name = next(iter(operation.parameters[0]["examples"])) if "{" in operation.path else ""
        assert locked.client.get(operation.url(name)).status_code == 200, operation.id


# --- calculations ---


def broken_quantities(good: dict[str, Any]) -> dict[str, Any]:
    """A quantity with each thing wrong that can be; None for one that is missing."""
    return {
        "missing": None,
        "number": good["value"],
        "string": "1 mg/dL",
        "list": [good],
        "without-value": {"unit": good["unit"]},
        "value-string": good | {"value": str(good["value"])},
        "value-null": good | {"value": None},
        "value-true": good | {"value": True},
        "without-unit": {"value": good["value"]},
        "unit-null": good | {"unit": None},
        "unit-number": good | {"unit": 5},
        "unit-empty": good | {"unit": ""},
        "unit-unknown": good | {"unit": "furlong"},
        "unit-of-time": good | {"unit": "s"},
        "zero": good | {"value": 0},
        "negative": good | {"value": -1},
    }


BROKEN_WORDS: dict[str, list[Any]] = {
    "age": [None, "74", -1, 121, True, [], {}],
    "sex": [None, "", "other", "F", 1, [], {}],
    "salt": [None, "", "table", 1, [], {}],
}


def broken_calculations():
    for operation in CALCULATIONS:
        (good,) = operation.requests.values()
        for member, value in good.items():
            is_quantity = isinstance(value, dict)
            named = broken_quantities(value) if is_quantity else {str(wrong): wrong for wrong in BROKEN_WORDS[member]}
            for name, wrong in named.items():
                body = {key: item for key, item in (good | {member: wrong}).items() if item is not None}
                yield pytest.param(operation.path, body, f"$.{member}", id=f"{operation.path[17:]}-{member}-{name}")


@pytest.mark.parametrize(("path", "body", "where"), list(broken_calculations()))
def test_a_calculation_refuses_what_it_cannot_read(client: FlaskClient, path: str, body: Any, where: str):
    refused(client.post(path, json=body), 400, where)


@pytest.mark.parametrize(
    "height", [None, 120, {"value": 120}, {"value": 0, "unit": "cm"}, {"value": 120, "unit": "mg"}]
)
def test_a_childs_egfr_needs_a_height(client: FlaskClient, height: Any):
    body = {"creatinine": {"value": 0.5, "unit": "mg/dL"}, "age": 7, "height": height}
    refused(client.post("/v1/calculations/egfr", json=body), 400, "$.height")


@pytest.mark.parametrize("value", [1e-9, 1e-6, 1e-3, 999, 1e6, 1e9], ids=str)
@pytest.mark.parametrize("operation", CALCULATIONS, ids=lambda operation: operation.id)
def test_a_value_of_any_size_is_survived(client: FlaskClient, operation, value: float):
    (good,) = operation.requests.values()
    for member in (name for name, quantity in good.items() if isinstance(quantity, dict)):
        answer = client.post(operation.path, json=good | {member: good[member] | {"value": value}})
        assert answer.status_code in {200, 400}
        assert problems(operation.schema(answer.status_code), answer.json) == []


def units():
    for operation in CALCULATIONS:
        (good,) = operation.requests.values()
        schema = operation.body["requestBody"]["content"]["application/json"]["schema"]
        for member, quantity in schema["properties"].items():
            for unit in resolved(quantity).get("properties", {}).get("unit", {}).get("examples", ()):
                yield pytest.param(operation, good, member, unit, id=f"{operation.path[17:]}-{member}-{unit}")


@pytest.mark.parametrize(("operation", "good", "member", "unit"), list(units()))
def test_every_unit_that_is_shown_is_read(client: FlaskClient, operation, good: Any, member: str, unit: str):
    young = {"age": 7} if member == "height" else {}
    answer = client.post(operation.path, json=good | young | {member: {"value": 1.5, "unit": unit}})
    assert answer.status_code == 200
    assert problems(operation.schema(200), answer.json) == []
