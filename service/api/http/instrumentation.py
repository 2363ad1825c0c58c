"""Each request gets its ids and its stopwatch, and is counted, traced and logged under them."""

from __future__ import annotations

import re
from secrets import token_hex
from typing import TYPE_CHECKING

import flask
import structlog

from service.cds.services import BY_ID
from service.observability import metrics
from service.observability.logging import digest
from service.observability.timing import Stopwatch, TraceContext, own_trace, sent_trace

if TYPE_CHECKING:
    from service.observability.tracing import CallSpan, Tracing

LOG = structlog.get_logger(__name__)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def instrument(app: flask.Flask, tracing: Tracing | None = None) -> None:
    """Give each request its ids and its stopwatch, and count it when it is answered, however that ends.

    With `tracing` each call that is counted has a span as well.
    """

    @app.before_request
    def begin() -> None:
        flask.g.watch = Stopwatch()
        flask.g.service, sent = _service(), sent_trace(flask.request.headers.get("traceparent", ""))
        flask.g.span = _begin_span(tracing, sent) if tracing and flask.g.service else None
        flask.g.trace = flask.g.span.place if flask.g.span else own_trace(sent)
        sent_id = _sent_id()
        flask.g.request_id = sent_id or token_hex(16)
        logged = digest(sent_id) if sent_id else flask.g.request_id
        structlog.contextvars.bind_contextvars(request_id=logged, trace_id=flask.g.trace.trace_id)

    @app.after_request
    def finish(response: flask.Response) -> flask.Response:
        response.headers["X-Request-Id"] = flask.g.request_id
        if flask.g.service:
            metrics.count_call(flask.g.service, response.status_code, flask.g.watch)
        if flask.g.span:
            flask.g.span.end(response.status_code, flask.g.watch)
        return response

    @app.teardown_request
    def forget(_error: BaseException | None) -> None:
        structlog.contextvars.clear_contextvars()  # what the server says between two calls belongs to neither


def start_tracing() -> Tracing | None:
    """Tracing as the OTEL_ variables say, or None, with an error in the log, if they cannot be used: cards come first.

    Only here is anything of OpenTelemetry imported.
    """
    try:
        from service.observability.tracing import Tracing

        return Tracing()
    except (ImportError, ValueError, RuntimeError) as error:
        LOG.error("traces-off", exc_info=error)  # noqa: TRY400  the processors of the log take care of `exc_info`
        return None


def stopwatch() -> Stopwatch:
    """The stopwatch of the present request."""
    found: Stopwatch = flask.g.watch
    return found


def traceparent() -> str:
    """The `traceparent` of requests that are made to answer the present one."""
    return str(flask.g.trace.header())


def _sent_id() -> str:
    """The caller's id of the request, if it looks like one; else "". It may be anything: a patient's number, a name."""
    sent = flask.request.headers.get("X-Request-Id", "")
    return sent if _REQUEST_ID.fullmatch(sent) else ""


def _begin_span(tracing: Tracing, sent: TraceContext | None) -> CallSpan:
    """The span of a call: its route is the pattern, since the path may hold anything."""
    route = flask.request.url_rule.rule if flask.request.url_rule else ""
    hook = BY_ID[flask.g.service].hook.value if flask.g.service in BY_ID else ""
    return tracing.begin(flask.request.method, route, flask.g.service, hook, sent)


def _service() -> str:
    """Under which name this request is counted; "" for probes, pages and what is no call for advice."""
    match flask.request.endpoint:
        case "hooks.call":
            named = str((flask.request.view_args or {}).get("service_id"))
            return named if named in BY_ID else metrics.OTHER
        case "hooks.feedback":
            return "feedback"
        case "rest.evaluate" | "fhir.evaluate":
            return "evaluate"
        case "explain.answer":
            return "explain"
    return ""
