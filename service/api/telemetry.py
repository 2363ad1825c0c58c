"""The service at work as its operators see it: an id for each request, times by stage, and counts for Prometheus.

Every label has few values, all of them words of ours: none comes from a request.
"""

from __future__ import annotations

import re
from collections import Counter as Tally
from collections.abc import Iterable, Mapping
from functools import cache
from secrets import token_hex
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import flask
import structlog
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from service import __version__
from service.cds.catalogue import BY_ID, PREFETCH_KEYS
from service.fhir.failure import FailureKind
from service.logic.knowledge import VERSION
from service.logic.rules import RULES

if TYPE_CHECKING:
    from service.api.tracing import CallSpan, Tracing

LOG = structlog.get_logger(__name__)
OTHER = "other"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4)
REQUESTS = Counter("magnesium_cds_requests", "Calls for advice and of feedback, by service", ["service", "status"])
TIMES = Histogram("magnesium_cds_request_seconds", "Time of a call, whole and by stage", ["stage"], buckets=SECONDS)
CARDS = Counter("magnesium_cds_cards", "Cards, once for each rule that one states", ["rule", "indicator"])
PREFETCH = Counter("magnesium_cds_prefetch_states", "What was there under each prefetch key", ["key", "state"])
RULE_FAILURES = Counter("magnesium_cds_rule_failures", "Rules that broke on a patient", ["rule"])
STORE_FAULTS = Counter("magnesium_cds_store_faults", "What the database did not do", ["kind"])
FEEDBACK = Counter("magnesium_cds_feedback", "Cards reported as accepted or overridden", ["outcome"])
FHIR_FAILURES = Counter("magnesium_cds_fhir_failures", "Queries that a FHIR server did not answer in full", ["kind"])
WAITING = Gauge("magnesium_cds_store_waiting", "Records not yet stored", multiprocess_mode="livesum")
LOG_LINES_DROPPED = Counter("magnesium_cds_log_lines_dropped", "Lines of the log that nobody took in time")
BUILD = Gauge("magnesium_cds_build_info", "1", ["version", "knowledge"], multiprocess_mode="livemax")

# A series that begins with its first count shows no increase, and no alert: these begin with 0.
for _rule in RULES:
    RULE_FAILURES.labels(_rule.id)
for _kind in ("jti", "write", "dropped", "feedback", "summary", "ping", "purge", "migrate"):
    STORE_FAULTS.labels(_kind)
for _outcome in ("accepted", "overridden"):
    FEEDBACK.labels(_outcome)
for _ident in (*BY_ID, "feedback", "evaluate"):
    for _status in ("200", "401", "412", "500", "503"):
        REQUESTS.labels(_ident, _status)
BUILD.labels(__version__, VERSION).set(1)

# Finding a series takes longer than counting in it, and there are few: each is looked up once.
_requests, _times, _prefetch = cache(REQUESTS.labels), cache(TIMES.labels), cache(PREFETCH.labels)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# W3C Trace Context, level 1: version, trace-id, parent-id, trace-flags.
_TRACE = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]([0-9a-f])(?:-.*)?")


class TraceContext(NamedTuple):
    """A place in a trace (W3C Trace Context): ids of 32 and 16 hexadecimal digits; is the trace recorded?"""

    trace_id: str
    span_id: str
    sampled: bool

    def header(self) -> str:
        """As the header `traceparent`."""
        return f"00-{self.trace_id}-{self.span_id}-0{self.sampled:d}"


class Stopwatch:
    """Seconds of one call, from now on, and of its stages: `with watch("read"): …`."""

    __slots__ = ("blocks", "started")

    def __init__(self) -> None:
        self.blocks: list[tuple[str, float, float]] = []  # stage, and when it began and ended, as `started`
        self.started = perf_counter()

    def __call__(self, stage: str) -> _Block:
        """A block whose time is added to the stage."""
        return _Block(stage, self.blocks)

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by stage."""
        found: dict[str, float] = {}
        for stage, began, ended in self.blocks:
            found[stage] = found.get(stage, 0.0) + ended - began
        return found

    def total(self) -> float:
        """Seconds since the start."""
        return perf_counter() - self.started

    def ms(self) -> dict[str, float]:
        """Milliseconds by stage, and in all until now."""
        return {stage: round(1000 * took, 2) for stage, took in {**self.seconds, "total": self.total()}.items()}


class _Block:
    """Notes when it began and ended, however it ends; it costs half of what a generator does."""

    __slots__ = ("_began", "_blocks", "_stage")

    def __init__(self, stage: str, blocks: list[tuple[str, float, float]]) -> None:
        self._stage, self._blocks = stage, blocks

    def __enter__(self) -> None:
        self._began = perf_counter()

    def __exit__(self, *_raised: object) -> None:
        self._blocks.append((self._stage, self._began, perf_counter()))


def observe(app: flask.Flask, tracing: Tracing | None = None) -> None:
    """Give each request its ids and its watch, and count it when it is answered, however that ends.

    With `tracing` each call that is counted has a span as well.
    """

    @app.before_request
    def begin() -> None:
        flask.g.watch = Stopwatch()
        flask.g.service, sent = _service(), _sent_trace()
        flask.g.span = _begin_span(tracing, sent) if tracing and flask.g.service else None
        flask.g.trace = flask.g.span.place if flask.g.span else _trace(sent)
        flask.g.request_id = _request_id()
        structlog.contextvars.bind_contextvars(request_id=flask.g.request_id, trace_id=flask.g.trace.trace_id)

    @app.after_request
    def finish(response: flask.Response) -> flask.Response:
        response.headers["X-Request-Id"] = flask.g.request_id
        if flask.g.service:
            _requests(flask.g.service, str(response.status_code)).inc()
            for stage, seconds in flask.g.watch.seconds.items():
                _times(stage).observe(seconds)
            _times("total").observe(flask.g.watch.total())
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
        from service.api.tracing import Tracing

        return Tracing()
    except (ImportError, ValueError, RuntimeError) as error:
        LOG.error("traces-off", exc_info=error)  # noqa: TRY400  the processors of the log take care of `exc_info`
        return None


def watch() -> Stopwatch:
    """The watch of the present request."""
    found: Stopwatch = flask.g.watch
    return found


def trace() -> str:
    """The `traceparent` of requests that are made to answer the present one."""
    return str(flask.g.trace.header())


def _request_id() -> str:
    """That which was sent, if it looks like one, else a new one."""
    sent = flask.request.headers.get("X-Request-Id", "")
    return sent if _REQUEST_ID.fullmatch(sent) else token_hex(16)


def _sent_trace() -> TraceContext | None:
    """The caller's place in a trace, if it told one."""
    sent = _TRACE.fullmatch(flask.request.headers.get("traceparent", ""))
    return TraceContext(sent[1], sent[2], bool(int(sent[3], 16) & 1)) if sent else None


def _trace(sent: TraceContext | None) -> TraceContext:
    """Our own place in the caller's trace, or in a new one, where no span has it."""
    return TraceContext(sent.trace_id if sent else token_hex(16), token_hex(8), bool(sent and sent.sampled))


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
            return named if named in BY_ID else OTHER
        case "hooks.feedback":
            return "feedback"
        case "rest.evaluate":
            return "evaluate"
    return ""


def count_states(states: Mapping[str, str]) -> None:
    """Count what was there under each prefetch key; keys that are not ours count as one."""
    for key, state in states.items():
        _prefetch(key if key in PREFETCH_KEYS else OTHER, state).inc()


def count_feedback(outcomes: Iterable[str]) -> None:
    """Count reported outcomes, those that were reported before included."""
    for outcome, number in Tally(outcomes).items():
        FEEDBACK.labels(outcome).inc(number)


def count_fhir_failure(kind: FailureKind) -> None:
    """Count a failed or cut read by its kind."""
    FHIR_FAILURES.labels(kind.value).inc()


def exposition(waiting: int) -> bytes:
    """All metrics in Prometheus text format: of this process, or of all in PROMETHEUS_MULTIPROC_DIR if that is set."""
    WAITING.set(waiting)
    every = CollectorRegistry()
    try:
        MultiProcessCollector(every)  # type: ignore[no-untyped-call]
    except ValueError:
        return generate_latest(REGISTRY)
    return generate_latest(every)
