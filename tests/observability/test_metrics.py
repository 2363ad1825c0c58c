"""What operators see: ids that join the logs, lines that hold only what is listed, metrics that count, readiness."""

from __future__ import annotations

import ast
import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import flask
import msgspec
import pytest
import structlog
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

import service
from service.api import operations
from service.api.http import error_handlers
from service.api.self_test import broken_rules
from service.cds.services import BY_ID
from service.fhir.failure import FailureKind
from service.logic.rules import RULES
from service.observability import logging as logs
from service.observability import metrics
from service.observability.logging import digest
from service.observability.timing import Stopwatch
from service.store.repeat import NO_SECRET
from service.terminology.queries import PREFETCH_KEYS
from tests.api.apps import VIEW, locked_app, open_app
from tests.contract.messages import NOW, evaluation, feedback, having, hook_request
from tests.fhir.servers import reply, serving

PACKAGE = Path(service.__file__).parent


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with open_app(tmp_path_factory.mktemp("telemetry")) as house:
        yield house


@pytest.fixture
def stdout(capsys):
    """The lines of the log as they come out in production, decoded."""
    root, handlers, level = logging.getLogger(), logging.getLogger().handlers[:], logging.getLogger().level
    logs.log_to_stdout("INFO", readable=False)
    structlog.contextvars.clear_contextvars()
    yield lambda: [msgspec.json.decode(line) for line in capsys.readouterr().out.splitlines()]
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level


# --- ids ---

REQUEST_IDS = {
    "abc-123": True,
    "a" * 64: True,
    "a" * 65: False,
    "": False,
    "Ivanova Maria": False,
    "a\tb": False,
    "é": False,
    "a;b": False,
}


@pytest.mark.parametrize("sent", REQUEST_IDS)
def test_a_request_id_is_kept_if_it_looks_like_one_and_made_if_not(house, sent):
    answer = house.client.get("/health/live", headers={"X-Request-Id": sent})
    assert (answer.headers["X-Request-Id"] == sent) is REQUEST_IDS[sent]
    assert 0 < len(answer.headers["X-Request-Id"]) <= 64


def test_an_error_has_its_id_too_and_each_request_its_own(house):
    ids = [
        house.client.get(path).headers["X-Request-Id"]
        for path in ("/no-such", "/v1/rules/no", "/health/live", "/health/live")
    ]
    assert len(set(ids)) == 4


TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACES = {
    f"00-{TRACE}-{PARENT}-01": "01",
    f"00-{TRACE}-{PARENT}-00": "00",
    f"00-{TRACE}-{PARENT}-03": "01",
    f"01-{TRACE}-{PARENT}-01-more": "01",
    f"ff-{TRACE}-{PARENT}-01": None,
    f"00-{'0' * 32}-{PARENT}-01": None,
    f"00-{TRACE}-{'0' * 16}-01": None,
    f"00-{TRACE.upper()}-{PARENT}-01": None,
    "Ivanova": None,
    "": None,
}


@pytest.mark.parametrize("sent", TRACES)
def test_a_trace_is_logged_and_passed_on_to_the_fhir_server(house, sent):
    body = hook_request(prefetch={}, fhirAuthorization={"access_token": "t", "token_type": "Bearer"})
    with serving(reply()) as server:
        house.post(VIEW, body | {"fhirServer": server.base}, traceparent=sent)
    passed = {request.headers["traceparent"] for request in server.seen}
    (version, trace, parent, flags), *others = [one.split("-") for one in passed]
    assert (version, len(trace), len(parent), others) == ("00", 32, 16, [])
    assert parent != PARENT
    assert (trace == TRACE) is (TRACES[sent] is not None)
    assert flags == (TRACES[sent] or "00")


# --- logs ---


def test_a_decision_is_one_line_of_json_that_says_who_asked_what_and_how_long_each_stage_took(house, stdout):
    house.post(VIEW, hook_request(), X_Request_Id="r-1", traceparent=f"00-{TRACE}-{PARENT}-01")
    (line,) = stdout()
    assert line.keys() == {
        "event", "level", "time", "request_id", "trace_id", "tenant", "issuer", "service", "hook", "cards", "rules",
        "indicators", "failed", "states", "withheld", "repeated", "silent", "knowledge", "ms",
    }  # fmt: skip
    assert (line["event"], line["request_id"], line["trace_id"]) == ("decision", digest("r-1"), TRACE)
    assert (line["service"], line["hook"]) == ("magnesium-patient-view", "patient-view")
    assert len(line["cards"]) == len(line["indicators"]) == 1
    assert "R-011" in line["rules"]
    assert line["ms"].keys() == {"gather", "read", "evaluate", "render", "total"}
    assert sum(took for stage, took in line["ms"].items() if stage != "total") <= line["ms"]["total"]
    assert set(line["states"]) <= set(PREFETCH_KEYS)


def test_the_line_of_a_caller_names_tenant_and_issuer(tmp_path, stdout):
    with locked_app(tmp_path) as house:
        house.post(VIEW, hook_request())
        house.post(VIEW, hook_request(prefetch={}))
        house.client.post(VIEW, json=hook_request())
    answered, lacking, refused = [line for line in stdout() if line["event"] in {"decision", "refused"}]
    assert (answered["tenant"], answered["issuer"]) == ("clinic", "https://ehr.hospital.example")
    assert (lacking["status"], lacking["tenant"], lacking["missing"]) == (412, "clinic", ["magnesium", "patient"])
    assert (refused["status"], refused["kind"], refused["service"]) == (401, "Unauthorised", "magnesium-patient-view")
    assert "tenant" not in refused


def test_the_line_of_a_refusal_names_the_key_that_the_ehr_sent_as_failed(tmp_path, stdout):
    failed = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "timeout"}]}
    request = hook_request()
    request["prefetch"]["magnesium"] = failed
    with locked_app(tmp_path) as house:
        house.post(VIEW, request)
    assert [line["missing"] for line in stdout() if line["event"] == "refused"] == [["magnesium"]]


def test_nothing_of_one_request_is_said_of_the_next(tmp_path, stdout):
    with locked_app(tmp_path) as house:
        house.post(VIEW, hook_request())
        house.client.get("/no-such")
    last = stdout()[-1]
    assert last["event"] == "refused"
    assert not {"tenant", "service"} & last.keys()


def test_what_is_not_on_the_list_does_not_get_out(stdout):
    structlog.get_logger().warning(
        "store-fault", kind="jti", patient="Ivanova", url="https://x", words="x", error="y" * 1000
    )
    (line,) = stdout()
    assert line.keys() == {"event", "level", "time", "kind", "error"}
    assert len(line["error"]) <= logs.MAX_VALUE_LENGTH + 1


def test_an_exception_is_its_type_and_place_without_its_words(stdout):
    try:
        int("Ivanova")
    except ValueError as error:
        structlog.get_logger().error("unexpected", exc_info=error)
    (line,) = stdout()
    assert line["error"] == "ValueError"
    assert "test_metrics.py" in line["trace"][-1]
    assert "Ivanova" not in str(line)


LIBRARIES = {
    ("gunicorn.error", "Worker (pid:%s) was sent %s!", (7, "SIGKILL")): "Worker (pid:7) was sent …!",
    ("gunicorn.error", "Worker failed to boot.", ()): "Worker failed to boot.",
    (
        "gunicorn.error",
        "Invalid request from ip=10.0.0.7: Invalid HTTP Header: 'Authorization Bearer x'",
        (),
    ): "Invalid request from ip=10.0.0.7",
    ("gunicorn.error", "Error handling request %s", ("/x?patient=Ivanova",)): "Error handling request …",
    ("urllib3.util", "Retry %d after %s", (1, "/Patient/9")): "Retry 1 after …",
    ("some.library", "Patient Ivanova was read", ()): "a library's message, not shown",
    ("some.library", "%d of %s", ("Ivanova", 7)): "%d of %s",
}


@pytest.mark.parametrize("case", LIBRARIES)
def test_a_library_is_heard_without_the_words_put_into_its_messages(case):
    name, message, args = case[0], case[1], case[2]
    assert logs.template(logging.LogRecord(name, 30, "", 1, message, args, None)) == LIBRARIES[case]


def test_a_library_speaks_in_lines_like_ours(stdout):
    try:
        int("Ivanova")
    except ValueError:
        logging.getLogger("gunicorn.error").exception("Error handling request %s", "/Patient/Ivanova")
    (line,) = stdout()
    assert (line["level"], line["logger"], line["error"]) == ("error", "gunicorn.error", "ValueError")
    assert "Ivanova" not in str(line)


def test_libraries_are_heard_from_warnings_on(stdout):
    logging.getLogger("urllib3.connectionpool").debug("GET /Patient/9")
    logging.getLogger("sqlalchemy.engine").info("SELECT")
    assert stdout() == []


def test_a_library_that_complains_without_end_is_heard_once_a_minute_from_each_place():
    passes = logs.throttle()

    def heard(name: str, line: int, at: float) -> bool:
        record = logging.LogRecord(name, 30, "exporter.py", line, "Failed %s", ("x",), None)
        record.created = at
        return passes(record)

    said = [("opentelemetry.x", 1, at) for at in (1000.0, 1001.0, 1059.9, 1060.0, 1061.0, 500.0)]
    assert [heard(*one) for one in said] == [True, False, False, True, False, True]
    assert heard("opentelemetry.x", 2, 500.0)
    assert all(heard("gunicorn.error", 1, 1000.0) for _ in range(3))


def logged() -> dict[str, set[str]]:
    """By place in the code, the names under which values are logged."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="LOG" | "log"), attr="debug" | "info" | "warning" | "error")
                ):
                    names = {keyword.arg for keyword in node.keywords if keyword.arg}
                    found[f"{path.name}:{node.lineno}"] = names - {"exc_info"}
    return found


def test_all_that_the_code_logs_is_on_the_list():
    assert len(logged()) >= 8
    assert {place: names - logs.ALLOWED for place, names in logged().items() if names - logs.ALLOWED} == {}


# --- metrics ---


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"magnesium_cds_{name}", labels) or 0.0


COUNTED = {
    "requests_total|service=magnesium-patient-view|status=200": lambda house: house.post(VIEW, hook_request()),
    "requests_total|service=magnesium-patient-view|status=412": lambda house: house.post(
        VIEW, hook_request(prefetch={})
    ),
    "requests_total|service=magnesium-patient-view|status=400": lambda house: house.post(VIEW, {}),
    "requests_total|service=other|status=404": lambda house: house.post("/cds-services/Ivanova", {}),
    "requests_total|service=feedback|status=200": lambda house: house.post(f"{VIEW}/feedback", feedback()),
    "requests_total|service=evaluate|status=200": lambda house: house.post("/v1/evaluate", evaluation()),
    "request_seconds_count|stage=total": lambda house: house.post(VIEW, hook_request()),
    "request_seconds_count|stage=gather": lambda house: house.post(VIEW, hook_request()),
    "request_seconds_count|stage=read": lambda house: house.post(VIEW, hook_request()),
    "request_seconds_count|stage=evaluate": lambda house: house.post(VIEW, hook_request()),
    "request_seconds_count|stage=render": lambda house: house.post(VIEW, hook_request()),
    "prefetch_states_total|key=potassium|state=present": lambda house: house.post(VIEW, hook_request()),
    "prefetch_states_total|key=conditions|state=none": lambda house: house.post(VIEW, hook_request()),
    "prefetch_states_total|key=measurements|state=absent": lambda house: house.post(VIEW, hook_request()),
    "prefetch_states_total|key=other|state=none": lambda house: house.post(
        VIEW, having(hook_request(), None, "prefetch", "Ivanova")
    ),
    "feedback_total|outcome=overridden": lambda house: house.post(f"{VIEW}/feedback", feedback()),
}


@pytest.mark.parametrize("metric", COUNTED)
def test_what_happens_is_counted_once(house, metric):
    name, *labels = metric.split("|")
    labels = dict(label.split("=") for label in labels)
    before = sample(name, **labels)
    COUNTED[metric](house)
    assert sample(name, **labels) == before + 1


@pytest.mark.parametrize(
    "path", ["/health/live", "/health/ready", "/metrics", "/", "/cds-services", "/v1/rules", "/no-such"]
)
def test_probes_pages_and_strays_are_not_counted_as_calls(house, path):
    def calls() -> float:
        return sum(
            s.value for metric in metrics.REQUESTS.collect() for s in metric.samples if s.name.endswith("_total")
        )

    before = calls()
    house.client.get(path)
    assert calls() == before


FAILURES = {
    "401": reply(b"{}", 401),
    "4xx": reply(b"{}", 418),
    "5xx": reply(b"{}", 500),
    "3xx": reply(b"", 302),
    "not-json": reply(b"<html>"),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_a_failing_fhir_server_is_counted_by_kind(house, kind):
    before = sample("fhir_failures_total", kind=kind)
    body = hook_request(prefetch={}, fhirAuthorization={"access_token": "t", "token_type": "Bearer"})
    with serving(FAILURES[kind]) as server:
        house.post(VIEW, body | {"fhirServer": server.base})
    asked = len(BY_ID["magnesium-patient-view"].prefetch) - 1  # the call names no encounter
    assert sample("fhir_failures_total", kind=kind) == before + asked


def test_a_fault_of_the_store_is_counted(tmp_path):
    before = sample("store_faults_total", kind="feedback")
    with open_app(tmp_path, DATABASE_URL="sqlite:////proc/none/store.sqlite3") as house:
        assert house.post(f"{VIEW}/feedback", feedback()).status_code == 503
        house.post(VIEW, hook_request())
        assert "magnesium_cds_store_waiting 1.0" in house.client.get("/metrics").text
        house.app.extensions["dependencies"].store.close(0)
    assert sample("store_faults_total", kind="feedback") == before + 1


def test_every_label_is_a_word_of_ours(house):
    odd = "Ivanova"
    house.post(f"/cds-services/{odd}", hook_request(), X_Request_Id=odd)
    house.post(VIEW, having(hook_request(fhirServer=odd), None, "prefetch", odd))
    words = {
        "service": {*BY_ID, "other", "feedback", "evaluate", "explain"},
        "stage": {"gather", "read", "evaluate", "render", "total"},
        "rule": {rule.id for rule in RULES},
        "indicator": {"info", "warning", "critical"},
        "key": {*PREFETCH_KEYS, "other"},
        "state": {"present", "none", "failed", "incomplete", "absent"},
        "outcome": {"accepted", "overridden"},
        "unit": {"mmol/L", "mg/dL", "mg/L", "meq/L"},
        "kind": {*FailureKind, "jti", "repeat", "write", "dropped", "feedback", "summary", "ping", "purge", "migrate"},
    }
    ours = [m for m in REGISTRY.collect() if m.name.startswith("magnesium_cds")]
    labels = {(name, value) for m in ours for s in m.samples for name, value in s.labels.items()}
    assert {(n, v) for n, v in labels if n in words and v not in words[n]} == set()
    assert {n for n, _ in labels} == {*words, "status", "le", "version", "knowledge"}


def test_series_that_alerts_watch_begin_at_zero(house):
    text = house.client.get("/metrics").text
    assert all(f'magnesium_cds_rule_failures_total{{rule="{rule.id}"}}' in text for rule in RULES)
    assert 'magnesium_cds_store_faults_total{kind="dropped"}' in text
    assert "magnesium_cds_build_info{" in text


def test_several_processes_are_counted_together(tmp_path):
    script = """
from service.app import create_app
from service.site import site_schema
from service.settings import load
client = create_app(load({"DATABASE_URL": "sqlite:///%s/s.sqlite3"}, site_schema())).test_client()
client.post("/cds-services/magnesium-patient-view", json={})
print(client.get("/metrics").text)
"""
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    run = [sys.executable, "-W", "error", "-c", script % tmp_path]
    for calls in ("1.0", "2.0"):
        said = subprocess.run(run, env=environ, cwd=PACKAGE.parent, capture_output=True, text=True, check=True).stdout
        assert f'magnesium_cds_requests_total{{service="magnesium-patient-view",status="400"}} {calls}' in said
        assert "magnesium_cds_build_info{" in said


# --- times ---


def test_a_watch_adds_up_each_stage_also_of_a_block_that_fails():
    watch = Stopwatch()
    for _ in range(2):
        with pytest.raises(KeyError), watch("gather"):
            raise KeyError
    assert set(watch.seconds) == {"gather"}
    assert 0 < watch.seconds["gather"] <= watch.total()


def test_the_stages_of_a_call_that_fails_are_counted(house):
    before = sample("request_seconds_count", stage="gather")
    assert house.post(VIEW, hook_request(prefetch={})).status_code == 412
    assert sample("request_seconds_count", stage="gather") == before + 1


# --- readiness ---


def test_a_sound_service_is_ready(house):
    answer = house.client.get("/health/ready")
    assert (answer.status_code, answer.json["checks"]) == (
        200,
        {"knowledge": "ok", "store": "ok", "repeatGuard": f"repeat guard off: {NO_SECRET}"},
    )


def test_without_its_database_it_is_ready_and_says_so(tmp_path):
    with open_app(tmp_path, DATABASE_URL="sqlite:////proc/none/store.sqlite3") as house:
        answer = house.client.get("/health/ready")
        assert (answer.status_code, answer.json["checks"]) == (
            200,
            {"knowledge": "ok", "store": "failing", "repeatGuard": f"repeat guard off: {NO_SECRET}"},
        )
        assert house.post(VIEW, hook_request()).json["cards"]
        house.app.extensions["dependencies"].store.close(0)


def test_without_its_knowledge_it_is_not_ready_and_names_the_rules(house):
    deps = house.app.extensions["dependencies"]
    kept = {name: value for name, value in deps.site.knowledge.parameters.items() if name != "mg-severe"}
    knowledge = replace(deps.site.knowledge, parameters=kept)
    lame = replace(deps, site=replace(deps.site, knowledge=knowledge))
    assert "R-011" in broken_rules(lame.site, NOW)
    app = flask.Flask("lame")
    error_handlers.register(app)
    app.register_blueprint(operations.blueprint(lame))
    answer = app.test_client().get("/health/ready")
    assert answer.status_code == 503
    assert "R-011" in answer.json["issue"][0]["details"]["text"]
    assert app.test_client().get("/health/live").status_code == 200


def test_nothing_is_logged_of_probes(house):
    with capture_logs() as lines:
        for path in ("/health/live", "/health/ready", "/metrics"):
            house.client.get(path)
    assert lines == []


# --- units that drift ---


def test_the_magnesium_of_a_call_is_counted_by_the_unit_in_which_it_was_reported(house):
    def counted(unit):
        return REGISTRY.get_sample_value("magnesium_cds_magnesium_count", {"unit": unit}) or 0.0

    low = hook_request()
    unit = low["prefetch"]["magnesium"]["entry"][0]["resource"]["valueQuantity"]["unit"]
    other = {"mmol/L": "mg/dL", "mg/dL": "mmol/L"}[unit]
    before = counted(unit), counted(other)
    assert house.post(VIEW, low).status_code == 200
    assert (counted(unit) - before[0], counted(other) - before[1]) == (1.0, 0.0)
