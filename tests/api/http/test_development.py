"""Development mode before pages of the web: what a browser on this machine can be made to send is refused."""

from __future__ import annotations

import msgspec
import pytest

from tests.api.apps import VIEW, locked_app, open_app
from tests.contract.messages import hook_request
from tests.fhir.servers import by_target, reply, serving

PAGE = {"Origin": "https://evil.example"}


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with open_app(tmp_path_factory.mktemp("open")) as app:
        yield app


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    with locked_app(tmp_path_factory.mktemp("locked")) as app:
        yield app


HERE = ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "127.0.0.2"]
ELSEWHERE = ["evil.example", "evil.example:8000", "localhost.evil.example", "10.0.0.5", "[", "127.0.0.1.evil.example"]


@pytest.mark.parametrize("host", HERE)
def test_a_host_that_is_this_machine_is_answered(house, host):
    assert house.post(VIEW, hook_request(), Host=host).status_code == 200


@pytest.mark.parametrize("path", [VIEW, f"{VIEW}/feedback", "/v1/evaluate", "/v1/calculations/femg"])
@pytest.mark.parametrize("host", ELSEWHERE)
def test_a_name_that_was_led_here_is_403(house, path, host):
    answer = house.post(path, hook_request(), Host=host)
    assert (answer.status_code, answer.json["issue"][0]["code"]) == (403, "forbidden")


def test_a_name_that_was_led_here_reads_nothing_and_probes_use_any(house):
    assert house.client.get("/v1/feedback/summary", headers={"Host": "evil.example"}).status_code == 403
    assert house.client.get("/health/live", headers={"Host": "10.0.0.5:8000"}).status_code == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [("https://evil.example", 403), ("null", 403), ("http://localhost.evil.example", 403), ("http://[", 403),
     ("http://localhost:8080", 200), ("http://127.0.0.1:3000", 200)],
)  # fmt: skip
def test_a_page_of_the_web_makes_it_act_no_more_than_it_may_read(house, origin, status):
    assert house.post(VIEW, hook_request(), Origin=origin).status_code == status


@pytest.mark.parametrize("stated", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None])
def test_what_a_page_may_send_without_asking_is_415(house, stated):
    answer = house.client.post(VIEW, data=msgspec.json.encode(hook_request()), content_type=stated)
    assert answer.status_code == 415
    assert "application/json" in answer.json["issue"][0]["details"]["text"]


def test_where_callers_prove_who_they_are_a_host_and_an_origin_prove_nothing(locked):
    assert locked.post(VIEW, hook_request(), Host="cds.internal", **PAGE).status_code == 200


@pytest.mark.parametrize("end", ["?q=", "/fhir?x", "#", "/_search?source="])
def test_a_base_with_a_query_is_400(house, locked, end):
    for app in (house, locked):
        answer = app.post(VIEW, hook_request(fhirServer=f"http://127.0.0.1:9200{end}"))
        assert (answer.status_code, answer.json["issue"][0]["expression"]) == (400, ["$.fhirServer"])


@pytest.mark.parametrize("value", [5, ["http://127.0.0.1"], {}, True])
def test_a_base_of_another_type_is_400(house, value):
    answer = house.post(VIEW, hook_request(fhirServer=value))
    assert (answer.status_code, answer.json["issue"][0]["expression"]) == (400, ["$.fhirServer"])


def test_a_service_of_this_machine_that_is_no_fhir_server_is_asked_for_nothing_but_its_word(house):
    with serving(by_target({"/other/metadata": reply(b'{"version":"8.1"}')}, reply(b'{"secret":1}'))) as server:
        body = hook_request(prefetch={}, fhirServer=server.base.replace("/fhir", "/other"))
        assert house.post(VIEW, body).status_code == 412
        assert {request.target for request in server.seen} == {"/other/metadata"}
        assert not any("authorization" in request.headers for request in server.seen)
