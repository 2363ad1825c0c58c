"""openapi.yaml for the tests: its operations, its examples, and what is wrong with a value by one of its schemas."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

CONTRACT_FILE = Path(__file__).parents[2] / "openapi.yaml"
CONTRACT: dict[str, Any] = msgspec.yaml.decode(CONTRACT_FILE.read_bytes())
METHODS = ("get", "post", "put", "patch", "delete")
FHIR_JSON = "application/fhir+json"
OUTCOME = {"$ref": "#/components/schemas/OperationOutcome"}


class Operation(NamedTuple):
    """One method of one path; `parameters` are those of the path and of the method."""

    path: str
    method: str
    body: dict[str, Any]
    parameters: list[dict[str, Any]]

    @property
    def id(self) -> str:
        return self.body["operationId"]

    @property
    def responses(self) -> dict[str, dict[str, Any]]:
        return {status: resolved(response) for status, response in self.body["responses"].items()}

    @property
    def requests(self) -> dict[str, Any]:
        """The example requests by name."""
        media = self.body.get("requestBody", {}).get("content", {}).values()
        return {name: example["value"] for each in media for name, example in each.get("examples", {}).items()}

    def schema(self, status: int) -> dict[str, Any]:
        """The schema of the JSON answer with this status."""
        return _json(self.responses[str(status)]["content"])["schema"]

    def url(self, example: str) -> str:
        """The path with the values of an example in it."""
        filled = self.path
        for parameter in self.parameters:
            if parameter["in"] == "path":
                filled = filled.replace(f"{{{parameter['name']}}}", parameter["examples"][example]["value"])
        return filled


class Example(NamedTuple):
    """An answer that the contract shows, and the operation that gives it."""

    operation: Operation
    name: str
    status: int
    answer: Any


def resolved(value: dict[str, Any]) -> dict[str, Any]:
    """What a local reference points to; anything else as it is."""
    if "$ref" not in value:
        return value
    found: Any = CONTRACT
    for part in value["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return found


def operations() -> Iterator[Operation]:
    for path, item in CONTRACT["paths"].items():
        shared = item.get("parameters", [])
        for method in (name for name in METHODS if name in item):
            listed = [resolved(parameter) for parameter in (*shared, *item[method].get("parameters", ()))]
            yield Operation(path, method, item[method], listed)


def examples() -> Iterator[Example]:
    """Every answer shown in the contract."""
    for operation in operations():
        for status, response in operation.responses.items():
            for name, example in _json(response.get("content", {})).get("examples", {}).items():
                yield Example(operation, name, int(status), example["value"])


def problems(schema: dict[str, Any], value: Any) -> list[str]:
    """Every place at which a value breaks a schema of the contract, formats included."""
    whole = {**schema, "components": CONTRACT["components"]}
    checker = Draft202012Validator(whole, format_checker=Draft202012Validator.FORMAT_CHECKER)
    return [
        f"{inner.json_path}: {inner.message[:300]}" for error in checker.iter_errors(value) for inner in _leaf(error)
    ]


def _leaf(error: ValidationError) -> list[ValidationError]:
    """Of a failed oneOf, the failures of the branch that fits best: those of the deepest, or the fewest."""
    if not error.context:
        return [error]
    branches: dict[Any, list[ValidationError]] = {}
    for inner in error.context:
        branches.setdefault(inner.schema_path[0], []).append(inner)
    best = min(branches.values(), key=lambda branch: (any(e.validator == "const" for e in branch), len(branch)))
    return [leaf for inner in best for leaf in _leaf(inner)]


def _json(content: dict[str, Any]) -> dict[str, Any]:
    return content.get("application/json") or content.get(FHIR_JSON, {})
