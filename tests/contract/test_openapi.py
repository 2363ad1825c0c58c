"""The contract is valid, says of every route what the application has and nothing else, and its examples are true."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import flask
import pytest
import yaml
from flask.testing import FlaskClient
from openapi_spec_validator import OpenAPIV31SpecValidator

from service.api.calculations import CALCULATIONS
from service.cds.services import BY_ID
from service.logic.model import Analyte, Hook
from service.terminology.queries import PREFETCH_KEYS
from tests.contract.openapi import (
    CONTRACT,
    CONTRACT_FILE,
    FHIR_JSON,
    METHODS,
    OUTCOME,
    Example,
    examples,
    operations,
    problems,
    resolved,
)

OPERATIONS = sorted(operations(), key=lambda operation: operation.id)
EXAMPLES = sorted(examples(), key=lambda example: (example.operation.id, example.name))
SCHEMAS: dict[str, Any] = CONTRACT["components"]["schemas"]
every_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: f"{e.operation.id}-{e.name}")


def test_the_contract_is_valid_openapi():
    assert [str(error) for error in OpenAPIV31SpecValidator(CONTRACT).iter_errors()] == []


class Strict(yaml.SafeLoader):
    """Of a key that occurs twice other readers keep the last, and say nothing."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        assert sorted(set(keys)) == sorted(keys), node.start_mark
        return super().construct_mapping(node, deep)


def test_no_key_occurs_twice():
    assert Strict(CONTRACT_FILE.read_bytes()).get_single_data() == CONTRACT


def nothings(value: Any, where: str) -> Iterator[str]:
    """Keys without a value, examples aside: in `{description: One thing, another}` YAML reads one of the last words."""
    if isinstance(value, dict):
        for key, item in value.items():
            if item is None:
                yield f"{where}.{key}"
            if key not in {"value", "examples"}:
                yield from nothings(item, f"{where}.{key}")
    for item in value if isinstance(value, list) else ():
        yield from nothings(item, where)


def test_no_words_of_a_description_became_a_key():
    assert list(nothings(CONTRACT, "$")) == []


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_every_operation_has_a_title_and_a_description(operation):
    assert operation.body["summary"]
    assert operation.body["description"]


# --- routes and contract, in both directions ---


def routes(app: flask.Flask) -> set[tuple[str, str, str]]:
    """Endpoint, method and path of every route, with parameters unnamed."""
    return {
        (rule.endpoint, method.lower(), re.sub(r"<[^>]+>", "{}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


def described() -> set[tuple[str, str, str]]:
    """The same of the contract; an operation of one calculation stands for the route of all."""
    found = set()
    for operation in OPERATIONS:
        endpoint = ".".join(operation.id.split(".")[:2])
        path = re.sub(r"{[^}]+}", "{}", operation.path)
        if endpoint == "rest.calculate":
            path = path.rpartition("/")[0] + "/{}"
        found.add((endpoint, operation.method, path))
    return found


def test_every_route_is_described(app: flask.Flask):
    assert routes(app) - described() == set()


def test_everything_described_is_a_route_of_that_name(app: flask.Flask):
    assert described() - routes(app) == set()


def test_no_path_has_a_method_that_is_not_described():
    assert {method for item in CONTRACT["paths"].values() for method in item} <= {*METHODS, "parameters"}


def test_operation_ids_are_unique():
    assert len({operation.id for operation in OPERATIONS}) == len(OPERATIONS)


def test_every_calculation_has_its_own_operation():
    assert {o.path.rpartition("/")[2] for o in OPERATIONS if o.path.startswith("/v1/calculations/")} == set(
        CALCULATIONS
    )


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ("ServiceId", list(BY_ID)),
        ("HookName", [hook.value for hook in Hook]),
        ("Analyte", [analyte.value for analyte in Analyte]),
        ("PrefetchKey", [*PREFETCH_KEYS]),
    ],
)
def test_a_list_of_words_is_that_of_the_code(schema: str, words: list[str]):
    assert sorted(SCHEMAS[schema]["enum"]) == sorted(words)


def test_the_salts_are_those_of_the_knowledge(client: FlaskClient):
    parameters = client.get("/v1/parameters").json["parameters"]
    salts = [p["id"].removeprefix("salt-") for p in parameters if p["id"].startswith("salt-")]
    assert SCHEMAS["Salt"]["enum"] == salts


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_every_error_is_described_as_an_operation_outcome(operation):
    failures = {status: response for status, response in operation.responses.items() if status >= "400"}
    kind = FHIR_JSON if operation.path.startswith("/fhir/") else "application/json"
    assert all(r["content"] == {kind: r["content"][kind]} for r in failures.values())
    assert all(r["content"][kind]["schema"] == OUTCOME for r in failures.values())
    if operation.method == "post":
        assert {"400", "413", "415", "500"} <= set(failures)
    assert ("401" in failures) == ("429" in failures) == ("security" in operation.body)


def test_every_schema_is_used():
    text = str(CONTRACT)
    assert [name for name in SCHEMAS if f"#/components/schemas/{name}'" not in text] == []


def answers(schema: dict[str, Any], seen: set[str]) -> list[dict[str, Any]]:
    """Every object schema that an answer of this schema can hold; FHIR resources aside."""
    name = schema.get("$ref", "")
    if name in seen or name.endswith("HookRequest") or "/Fhir" in name:
        return []
    seen.add(name) if name else None
    whole = resolved(schema)
    inner = [*whole.get("properties", {}).values(), *whole.get("oneOf", ()), *whole.get("anyOf", ())]
    inner += [whole["items"]] if "items" in whole else []
    here = (
        [whole]
        if "properties" in whole and whole["properties"].get("resourceType") != {"const": "ServiceRequest"}
        else []
    )
    return [*here, *(found for part in inner for found in answers(part, seen))]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_no_object_of_an_answer_may_hold_more_than_is_described(operation):
    seen: set[str] = set()
    for response in operation.responses.values():
        for media in response.get("content", {}).values():
            assert [s for s in answers(media["schema"], seen) if s.get("additionalProperties") is not False] == []


# --- examples ---


def send(client: FlaskClient, example: Example):
    """The answer of the service to the request that goes with an example."""
    operation, requests = example.operation, example.operation.requests
    body = {"json": requests[example.name]} if requests else {}
    return client.open(operation.url(example.name), method=operation.method.upper(), **body)


def test_every_operation_with_a_json_answer_shows_one():
    shown = {example.operation.id for example in EXAMPLES}
    with_json = {o.id for o in OPERATIONS if "application/json" in o.responses["200"]["content"]}
    assert with_json - shown == {"pages.one_sample"}


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o.method == "post"], ids=lambda operation: operation.id)
def test_every_example_request_has_one_example_answer(operation):
    assert sorted(operation.requests) == sorted(e.name for e in EXAMPLES if e.operation.id == operation.id)


@every_example
def test_the_example_fits_its_own_schema(example: Example):
    assert problems(example.operation.schema(example.status), example.answer) == []


@every_example
def test_the_answer_to_the_example_request_fits_the_schema(client: FlaskClient, example: Example):
    answer = send(client, example)
    assert answer.status_code == example.status
    assert answer.mimetype in example.operation.responses[str(example.status)]["content"]
    assert problems(example.operation.schema(example.status), answer.json) == []


@every_example
def test_the_example_is_part_of_the_real_answer(make_app, example: Example):
    answer = send(make_app().test_client(), example)
    assert list(untrue(plain(example.answer), plain(answer.json), "$")) == []


def plain(value: Any) -> Any:
    """The value without what differs from call to call and from release to release."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, str):
        value = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID", value)
        return re.sub(r"\b\d+\.\d+\.\d+\b", "VERSION", value)
    return value


def untrue(shown: Any, real: Any, where: str):
    """What is shown and is not so. Of an array a part may be shown, in order; of an object likewise."""
    if isinstance(shown, dict) and isinstance(real, dict):
        for key, item in shown.items():
            yield from untrue(item, real.get(key), f"{where}.{key}")
    elif isinstance(shown, list) and isinstance(real, list):
        rest = list(enumerate(real))
        for item in shown:
            differences = {place: list(untrue(item, other, f"{where}[{place}]")) for place, other in rest}
            found = min(differences, key=lambda place: len(differences[place]), default=None)
            yield from [f"{where} has no {item!r}"] if found is None else differences[found]
            rest = [(place, other) for place, other in rest if found is not None and place > found]
    elif shown != real:
        yield f"{where}: {shown!r} is shown, {real!r} is real"


# --- beyond the examples ---


# The guide has to be built first: tests/docs/test_site.py.
GETS = [o for o in OPERATIONS if o.method == "get" and o.id != "guide.page"]


@pytest.mark.parametrize("operation", GETS, ids=lambda operation: operation.id)
def test_a_get_answers_with_a_described_type(client: FlaskClient, operation):
    name = next(iter(operation.parameters[0]["examples"])) if "{" in operation.path else ""
    answer = client.get(operation.url(name))
    assert answer.status_code == 200
    assert answer.mimetype in operation.responses["200"]["content"]
    if answer.mimetype == "application/json":
        assert problems(operation.schema(200), answer.json) == []


def test_every_rule_parameter_and_sample_answers_on_its_own(client: FlaskClient):
    rules, parameters = client.get("/v1/rules").json["rules"], client.get("/v1/parameters").json["parameters"]
    assert [client.get(f"/v1/rules/{rule['id']}").json for rule in rules] == rules
    assert [client.get(f"/v1/parameters/{p['id']}").json for p in parameters] == parameters
    for line in client.get("/samples").json["samples"]:
        assert problems(SCHEMAS["Sample"], client.get(f"/samples/{line['id']}").json) == []


def test_every_citation_names_a_listed_source(client: FlaskClient):
    sources = {source["id"] for source in client.get("/v1/references").json["references"]}
    rules, parameters = client.get("/v1/rules").json["rules"], client.get("/v1/parameters").json["parameters"]
    assert {citation["source"] for row in (*rules, *parameters) for citation in row["citations"]} <= sources


@pytest.mark.parametrize("language", ["en", "ru", "fa"])
def test_the_timeline_is_as_described_as_a_member_and_as_a_picture(client: FlaskClient, language: str):
    evaluate = next(operation for operation in OPERATIONS if operation.id == "rest.evaluate")
    body = evaluate.requests["moderate"] | {"language": language, "options": {"timeline": True, "timelineWidth": 320}}
    answer = client.post("/v1/evaluate", json=body)
    assert problems(evaluate.schema(200), answer.json) == []
    assert len(answer.json["timeline"]["table"]) > 3
    picture = client.post("/v1/evaluate", json=body, headers={"Accept": "image/svg+xml"})
    assert picture.mimetype in evaluate.responses["200"]["content"]
    assert picture.headers["Content-Language"] == language


def test_the_file_that_is_served_is_the_contract(client: FlaskClient):
    answer = client.get("/openapi.yaml")
    assert answer.mimetype == "application/yaml"
    assert answer.data.startswith(b"openapi: 3.1.0\n")


def test_production_has_everything_but_the_samples(make_app, site_file):
    app = make_app(MAGNESIUM_CDS_MODE="production", MAGNESIUM_CDS_SITE=site_file)
    missing = {endpoint for endpoint, _, _ in described() - routes(app)}
    answer = app.test_client().get("/samples")
    assert missing == {"pages.all_samples", "pages.one_sample"}
    assert (answer.status_code, problems(OUTCOME, answer.json)) == (404, [])
