"""Traces: one for each call, of the caller's, by OTLP to a real receiver; never in the way, never about a patient."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from socket import socket
from time import monotonic
from typing import Any
from urllib import request as http

import msgspec
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from service.cds.services import BY_ID
from service.errors import SettingsError
from service.logic.knowledge import VERSION
from service.settings import load
from tests.api.apps import VIEW, RunningApp, locked_app, open_app
from tests.api.test_privacy import CALLS, CANARY, NUMBER, TOKEN, fault
from tests.cli.test_serve import COMMAND, answer, environment, port  # noqa: F401  a fixture
from tests.contract.messages import evaluation, feedback, hook_request
from tests.fhir.servers import (
    Request,
    Server,
    deaf,
    drip,
    endless,
    in_turn,
    nobody,
    raw,
    reply,
    serving,
    silence,
    then_reset,
    unconnectable,
)
from tests.observability.test_metrics import PACKAGE, PARENT, TRACE, stdout  # noqa: F401  a fixture

SENT = f"00-{TRACE}-{PARENT}-01"
STAGES = ["gather", "read", "evaluate", "render"]
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.fixture
def traced(tmp_path, monkeypatch):
    """Opens a house whose traces go to a base URL; they have been sent when its block ends."""

    @contextmanager
    def opened(base: str, house: Any = open_app, **variables: str) -> Iterator[RunningApp]:
        variables = {ENDPOINT: base, **variables}
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        with house(tmp_path, **variables) as found:
            yield found
            found.app.extensions["tracing"].close()
            for thread in threading.enumerate():  # what is still said of the collector is said now, not to other tests
                if thread.name == "traces-end":
                    thread.join(30)

    return opened


def exports(collector: Server) -> list[ExportTraceServiceRequest]:
    """All that a collector was sent, in the order in which it came."""
    assert {(request.method, request.target) for request in collector.seen} <= {("POST", "/fhir/v1/traces")}
    return [ExportTraceServiceRequest.FromString(request.body) for request in collector.seen]


def spans(collector: Server) -> list[Span]:
    return [
        span for sent in exports(collector) for of in sent.resource_spans for s in of.scope_spans for span in s.spans
    ]


def calls(collector: Server) -> list[Span]:
    return [span for span in spans(collector) if span.kind == Span.SPAN_KIND_SERVER]


def said(attributes: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in attributes}


# --- what is sent ---


def test_a_call_is_one_span_below_that_of_its_caller_with_its_stages_below_it(traced):
    with serving(reply(b"")) as collector:
        with traced(collector.base) as house:
            house.post(VIEW, hook_request(), traceparent=SENT)
        (call,) = calls(collector)
        stages = [span for span in spans(collector) if span.kind == Span.SPAN_KIND_INTERNAL]
    assert (call.trace_id.hex(), call.parent_span_id.hex()) == (TRACE, PARENT)
    assert call.name == "POST /cds-services/<service_id>"
    assert said(call.attributes) == {
        "http.request.method": "POST",
        "http.route": "/cds-services/<service_id>",
        "http.response.status_code": 200,
        "magnesium_cds.service": "magnesium-patient-view",
        "magnesium_cds.hook": "patient-view",
    }
    assert [span.name for span in stages] == STAGES
    assert {(span.trace_id, span.parent_span_id) for span in stages} == {(call.trace_id, call.span_id)}
    moments = [call.start_time_unix_nano]
    moments += [at for span in stages for at in (span.start_time_unix_nano, span.end_time_unix_nano)]
    moments += [call.end_time_unix_nano]
    assert moments == sorted(moments)
    assert moments[-1] > moments[0]


def test_the_log_the_span_and_the_fhir_server_are_told_the_same_trace(traced, stdout):  # noqa: F811
    body = hook_request(prefetch={}, fhirAuthorization={"access_token": "t", "token_type": "Bearer"})
    with serving(reply(b"")) as collector, serving(reply()) as server:
        with traced(collector.base) as house:
            house.post(VIEW, body | {"fhirServer": server.base})
        (call,) = calls(collector)
    told = {request.headers["traceparent"] for request in server.seen}
    assert told == {f"00-{call.trace_id.hex()}-{call.span_id.hex()}-01"}
    assert [line["trace_id"] for line in stdout() if line["event"] == "refused"] == [call.trace_id.hex()]
    assert call.parent_span_id == b""


def test_each_call_without_a_trace_begins_its_own(traced):
    with serving(reply(b"")) as collector:
        with traced(collector.base) as house:
            for _ in range(3):
                house.post(VIEW, hook_request())
        assert len({span.trace_id for span in calls(collector)}) == 3


OTHERS = {
    "feedback": (lambda house: house.post(f"{VIEW}/feedback", feedback()), 200, "feedback"),
    "evaluate": (lambda house: house.post("/v1/evaluate", evaluation()), 200, "evaluate"),
    "explain": (lambda house: house.post("/explain", evaluation()), 200, "explain"),
    "lacking": (lambda house: house.post(VIEW, hook_request(prefetch={})), 412, "magnesium-patient-view"),
    "no-such-service": (lambda house: house.post("/cds-services/Ivanova", {}), 404, "other"),
    "our-fault": (lambda house: house.post("/v1/evaluate", evaluation()), 500, "evaluate"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_every_call_that_is_counted_is_traced_with_its_status(traced, name):
    act, status, service = OTHERS[name]
    with serving(reply(b"")) as collector:
        with traced(collector.base) as house:
            if status == 500:
                house.app.view_functions["rest.evaluate"] = fault
            assert act(house).status_code == status
        (call,) = calls(collector)
    found = said(call.attributes)
    assert (found["http.response.status_code"], found["magnesium_cds.service"]) == (status, service)
    assert call.status.code == (Status.STATUS_CODE_ERROR if status == 500 else Status.STATUS_CODE_UNSET)


def test_probes_pages_and_strays_are_not_traced(traced):
    with serving(reply(b"")) as collector:
        with traced(collector.base) as house:
            for path in ("/health/live", "/health/ready", "/metrics", "/", "/cds-services", "/v1/rules", "/no-such"):
                house.client.get(path)
        assert spans(collector) == []


# By the caller's flags ("" for no trace) and the sampler: is the call sent to the collector?
SAMPLED = {
    ("01", ""): True,
    ("00", ""): False,
    ("", ""): True,
    ("00", "always_on"): True,
    ("01", "always_off"): False,
    ("", "parentbased_always_off"): False,
    ("01", "parentbased_always_off"): True,
}


@pytest.mark.parametrize("case", SAMPLED)
def test_the_caller_and_the_sampler_decide_what_is_recorded_and_fhir_servers_are_told(traced, case):
    flags, sampler = case
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-{flags}"} if flags else {}
    body = hook_request(prefetch={}, fhirAuthorization={"access_token": "t", "token_type": "Bearer"})
    with serving(reply(b"")) as collector, serving(reply()) as server:
        with traced(collector.base, **({"OTEL_TRACES_SAMPLER": sampler} if sampler else {})) as house:
            house.post(VIEW, body | {"fhirServer": server.base}, **headers)
        assert bool(spans(collector)) is SAMPLED[case]
    (told,) = {request.headers["traceparent"] for request in server.seen}
    assert told.endswith("-01" if SAMPLED[case] else "-00")
    assert (told[3:35] == TRACE) is bool(flags)


NAMED: dict[str, tuple[Mapping[str, str], Mapping[str, str]]] = {
    "by us": ({}, {"service.name": "magnesium-cds", "magnesium_cds.knowledge": VERSION}),
    "by the site": ({"OTEL_SERVICE_NAME": "advice"}, {"service.name": "advice"}),
    "with more": (
        {"OTEL_RESOURCE_ATTRIBUTES": "service.name=advice,deployment.environment.name=test"},
        {"service.name": "advice", "deployment.environment.name": "test"},
    ),
}


@pytest.mark.parametrize("name", NAMED)
def test_the_service_is_named_as_the_site_says(traced, name):
    variables, expected = NAMED[name]
    with serving(reply(b"")) as collector:
        with traced(collector.base, **variables) as house:
            house.post(VIEW, hook_request())
        (sent,) = exports(collector)
    found = said(sent.resource_spans[0].resource.attributes)
    assert expected.items() <= found.items()


def test_the_endpoint_of_traces_goes_before_the_one_of_all_signals_and_headers_are_sent(traced, monkeypatch):
    with serving(reply(b"")) as collector, nobody() as other:
        more = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{collector.base}/v1/traces"}
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=abc")
        with traced(other, **more) as house:
            house.post(VIEW, hook_request())
        assert len(calls(collector)) == 1
        assert {request.headers["x-key"] for request in collector.seen} == {"abc"}


# --- what is not sent ---

SPAN_SAYS = {
    "http.request.method",
    "http.route",
    "http.response.status_code",
    "magnesium_cds.service",
    "magnesium_cds.hook",
}
RESOURCE_SAYS = {
    "service.name",
    "service.version",
    "service.instance.id",
    "magnesium_cds.knowledge",
    "telemetry.sdk.language",
    "telemetry.sdk.name",
    "telemetry.sdk.version",
}


def test_nothing_of_a_request_reaches_the_collector_but_words_of_ours(traced):
    with serving(reply(b"")) as collector:
        with traced(collector.base, locked_app, service="max_body_bytes = 100000") as house:
            house.app.add_url_rule("/fault", view_func=fault)
            for act in CALLS.values():
                act(house)
            house.post(VIEW, hook_request(), tracestate=f"v={CANARY}", baggage=f"patient={CANARY}", traceparent=SENT)
        sent, found = exports(collector), spans(collector)
        received = b"".join(request.body + repr(request.headers).encode() for request in collector.seen)
    assert len(calls(collector)) > 30
    assert not any(word.encode() in received for word in (CANARY, NUMBER, TOKEN, "Bearer"))
    assert {name for span in found for name in said(span.attributes)} == SPAN_SAYS
    assert {
        name for part in sent for of in part.resource_spans for name in said(of.resource.attributes)
    } == RESOURCE_SAYS
    assert not any(span.events or span.links or span.trace_state or span.status.message for span in found)
    services = {said(span.attributes)["magnesium_cds.service"] for span in calls(collector)}
    assert services <= {*BY_ID, "other", "feedback", "evaluate", "explain"}
    routes = {rule.rule for rule in house.app.url_map.iter_rules()}
    assert {said(span.attributes)["http.route"] for span in calls(collector)} <= routes


# --- collectors on bad days ---


@contextmanager
def answering(how: Any) -> Iterator[str]:
    with serving(how) as server:
        yield server.base


BAD_DAYS = {
    "nobody": nobody,
    "deaf": deaf,
    "unconnectable": unconnectable,
    "silent": lambda: answering(silence),
    "refuses": lambda: answering(reply(b"", 401)),
    "is down": lambda: answering(reply(b"", 503)),
    "is down for an hour": lambda: answering(reply(b"", 503, retry_after="3600")),
    "redirects": lambda: answering(reply(b"", 302, location="http://127.0.0.1:1/")),
    "garbage": lambda: answering(raw(b"\x00garbage\r\n\r\n")),
    "resets": lambda: answering(then_reset(raw(b"HTTP/1.1 2"))),
    "drips its head": lambda: answering(drip(b"HTTP/1.1 200 OK\r\nx: " + b" " * 60)),
}
# Each span is a batch and the queue holds two of them, so that the collector's fault is met during the calls.
HURRIED = {
    "OTEL_BSP_SCHEDULE_DELAY": "1",
    "OTEL_BSP_MAX_QUEUE_SIZE": "2",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "1",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
}
PATIENT = HURRIED | {"OTEL_BSP_MAX_QUEUE_SIZE": "100"}
SECRET = "zqxsecret"


@pytest.mark.parametrize("day", BAD_DAYS)
def test_calls_do_not_notice_a_bad_collector_and_little_is_said_of_it(traced, stdout, day):  # noqa: F811
    with BAD_DAYS[day]() as base:
        base = base.replace("http://", f"http://user:{SECRET}@")
        with traced(base, **HURRIED, OTEL_EXPORTER_OTLP_HEADERS=f"authorization={SECRET}") as house:
            began = monotonic()
            assert {house.post(VIEW, hook_request()).status_code for _ in range(30)} == {200}
            assert monotonic() - began < 20  # the exporter waits a second for each of the 150 spans
    lines = stdout()
    assert len([line for line in lines if line["event"] == "decision"]) == 30
    assert len([line for line in lines if line.get("logger", "").startswith("opentelemetry")]) <= 5
    assert SECRET not in str(lines)


def dripping(request: Request, sock: socket) -> None:
    """A head at once, and then a body for three minutes."""
    raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9000\r\n\r\n")(request, sock)
    drip(b" " * 9000)(request, sock)


LONG_ANSWERS = {"drips": dripping, "endless": endless()}


@pytest.mark.parametrize("how", LONG_ANSWERS)
def test_the_words_of_a_collector_are_not_waited_for(traced, how):
    with serving(LONG_ANSWERS[how]) as collector:
        with traced(collector.base, **PATIENT) as house:
            for _ in range(3):
                house.post(VIEW, hook_request())
        assert len(calls(collector)) == 3


def test_a_collector_that_comes_back_is_sent_what_follows(traced):
    with serving(in_turn(*[reply(b"", 503)] * 5, reply(b""))) as collector:
        with traced(collector.base, **PATIENT) as house:
            house.post(VIEW, hook_request())
            house.post(VIEW, hook_request(), traceparent=SENT)
        assert TRACE in {call.trace_id.hex() for call in calls(collector)}


# --- off, and wrong ---

SERVED = """
import sys
from service.app import create_app
from service.site import site_schema
from service.cli.setup import environment
from service.settings import load
app = create_app(load(environment(), site_schema()))
print(app.test_client().post("/cds-services/magnesium-patient-view", json={}).status_code)
print(app.extensions["tracing"] is not None, any(name.startswith("opentelemetry") for name in sys.modules))
"""
HERE = {ENDPOINT: "http://127.0.0.1:9"}
PROCESSES = {
    "nothing said": ({}, "False False"),
    "a sampler alone": ({"OTEL_TRACES_SAMPLER": "always_on", "OTEL_SERVICE_NAME": "x"}, "False False"),
    "no exporter": (HERE | {"OTEL_TRACES_EXPORTER": "none"}, "False False"),
    "disabled": (HERE | {"OTEL_SDK_DISABLED": "True"}, "False False"),
    "a collector": (HERE, "True True"),
    "a queue of no length": (HERE | {"OTEL_BSP_MAX_QUEUE_SIZE": "-1"}, "False True"),
    "no number of attributes": (HERE | {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "many"}, "False True"),
}


@pytest.mark.parametrize("name", PROCESSES)
def test_without_a_collector_nothing_of_opentelemetry_is_imported_and_with_wrong_variables_cards_are_answered(
    tmp_path, name
):
    variables, expected = PROCESSES[name]
    run = [sys.executable, "-W", "error", "-c", SERVED]
    done = subprocess.run(
        run, env=environment(tmp_path, **variables), cwd=PACKAGE.parent, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-2:] == ["400", expected], done.stderr
    assert ("traces-off" in done.stdout) is (expected == "False True")


WRONG = {
    "no URL": ({ENDPOINT: "collector:4318"}, ENDPOINT),
    "gRPC": (HERE | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL"),
    "gRPC for traces": (HERE | {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"),
    "another exporter": (HERE | {"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_work_is_said_at_the_start(name):
    environ, variable = WRONG[name]
    with pytest.raises(SettingsError) as error:
        load(environ)
    assert [problem.partition(":")[0] for problem in error.value.problems] == [variable]


# --- a serving process ---


def posted(port: int) -> int:  # noqa: F811
    body = msgspec.json.encode(hook_request())
    call = http.Request(f"http://127.0.0.1:{port}{VIEW}", body, {"content-type": "application/json"})
    with http.urlopen(call) as response:  # noqa: S310  this machine
        return int(response.status)


@pytest.mark.parametrize("day", ["a good day", "silent"])
def test_a_process_that_is_told_to_stop_sends_what_it_has_and_does_not_wait_long(tmp_path: Path, port: int, day):  # noqa: F811
    with serving(silence if day == "silent" else reply(b"")) as collector:
        env = environment(tmp_path, PORT=str(port), **{ENDPOINT: collector.base})
        with subprocess.Popen(
            COMMAND, env=env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        ) as process:
            try:
                answer(port, process)
                assert posted(port) == 200
                process.send_signal(signal.SIGTERM)
                began = monotonic()
                said = process.communicate(timeout=60)[1]
            finally:
                process.kill()
        assert (process.returncode, "Traceback" in said) == (0, False)
        assert monotonic() - began < 9  # the exporter would wait 10 s, the SDK 30 s
        assert len(calls(collector)) == 1
