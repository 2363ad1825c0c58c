"""Pages of other origins: those on the list may call, preflight needs no token, errors are readable to them too."""

from __future__ import annotations

import pytest

from tests.api.apps import VIEW, locked_app, open_app
from tests.contract.messages import feedback, hook_request

SANDBOX = "https://sandbox.cds-hooks.org"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
PATHS = ("/cds-services", VIEW, f"{VIEW}/feedback", "/v1/evaluate")


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with locked_app(tmp_path_factory.mktemp("cors")) as house:
        yield house


@pytest.mark.parametrize("path", PATHS)
def test_preflight_is_answered_without_a_token(house, path):
    answer = house.client.options(path, headers={"Origin": SANDBOX, **PREFLIGHT})
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == SANDBOX
    assert {"GET", "POST", "OPTIONS"} <= set(answer.headers["Access-Control-Allow-Methods"].split(", "))
    assert {"authorization", "content-type"} <= set(answer.headers["Access-Control-Allow-Headers"].lower().split(", "))
    assert "Access-Control-Allow-Credentials" not in answer.headers


ERRORS = {
    "401": lambda client, origin: client.post(VIEW, json=hook_request(), headers=origin),
    "404": lambda client, origin: client.post("/cds-services/no-such", json=hook_request(), headers=origin),
    "405": lambda client, origin: client.put(VIEW, headers=origin),
    "401-feedback": lambda client, origin: client.post(f"{VIEW}/feedback", json=feedback(), headers=origin),
}


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_is_readable_to_an_origin_on_the_list(house, error):
    answer = ERRORS[error](house.client, {"Origin": SANDBOX})
    assert str(answer.status_code) == error[:3]
    assert answer.headers["Access-Control-Allow-Origin"] == SANDBOX
    assert "Origin" in str(answer.headers.getlist("Vary"))


def test_a_refusal_for_want_of_data_is_readable_too(house):
    answer = house.post(VIEW, hook_request(prefetch={}), Origin=SANDBOX)
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (412, SANDBOX)


OTHERS = (
    "https://evil.example",
    "null",
    "https://sandbox.cds-hooks.org.evil.example",
    "http://sandbox.cds-hooks.org",
    "https://[",
)


@pytest.mark.parametrize("origin", OTHERS)
def test_other_origins_are_told_nothing(house, origin):
    for answer in (
        house.client.options(VIEW, headers={"Origin": origin, **PREFLIGHT}),
        house.client.get("/cds-services", headers={"Origin": origin}),
    ):
        assert not [name for name in answer.headers.keys() if name.startswith("Access-Control")]  # noqa: SIM118


HERE = {
    "http://127.0.0.1:5500": True,
    "http://localhost:3000": True,
    "http://[::1]:1": True,
    "http://127.0.0.1.evil.example": False,
    "http://[": False,
}


@pytest.mark.parametrize("origin", HERE)
def test_in_development_pages_of_this_machine_may_call(tmp_path, origin):
    with open_app(tmp_path) as house:
        answer = house.client.get("/cds-services", headers={"Origin": origin})
    assert (answer.headers.get("Access-Control-Allow-Origin") == origin) is HERE[origin]


def test_answers_about_a_patient_are_kept_nowhere(house):
    for answer in (
        house.post(VIEW, hook_request()),
        house.client.post(VIEW, json={}),
        house.post(VIEW, hook_request(prefetch={})),
    ):
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"


def test_discovery_may_be_kept_and_asked_again(house):
    answer = house.client.get("/cds-services")
    assert "no-store" not in answer.headers.get("Cache-Control", "")
    assert house.client.get("/cds-services", headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304
