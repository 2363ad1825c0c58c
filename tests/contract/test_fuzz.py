"""What schemathesis invents from the contract: every answer is described, and none is a fault of ours."""

from __future__ import annotations

from typing import Any

import flask
import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.contract.openapi import Operation, operations

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@schemathesis.serializer("application/x-ndjson", "application/ndjson")
def batch_of_one(_ctx: Any, value: Any) -> bytes:
    return msgspec.json.encode(value) + b"\n"


# The guide is files that may or may not have been built: tests/docs/test_site.py.
OPERATIONS = sorted((o for o in operations() if o.id != "guide.page"), key=lambda operation: operation.id)


@pytest.fixture(scope="session")
def described(app: flask.Flask) -> Any:
    return schemathesis.openapi.from_wsgi("/openapi.yaml", app)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_every_invented_request_gets_a_described_answer(described: Any, operation: Operation):
    invented = described[operation.path][operation.method].as_strategy()

    @given(case=invented)
    @settings(max_examples=100, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    def run(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=CHECKS)

    run()
