"""The service at work as its operators see it: an id for each request, times by stage, and counts for Prometheus.

Every label has few values, all of them words of ours: none comes from a request.
"""

from __future__ import annotations

import re
from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from uuid import uuid4

import flask
import structlog
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from service import __version__
from service.cds.catalogue import BY_ID, PREFETCH_KEYS
from service.fhir.client import WORDING
from service.logic.knowledge import VERSION
from service.logic.rules import RULES

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
BUILD = Gauge("magnesium_cds_build_info", "1", ["version", "knowledge"], multiprocess_mode="livemax")

# A series that begins with its first count shows no increase, and no alert: these begin with 0.
for _rule in RULES:
    RULE_FAILURES.labels(_rule.id)
for _kind in ("jti", "write", "dropped", "feedback", "summary", "ping", "purge", "migrate"):
    STORE_FAULTS.labels(_kind)
for _outcome in ("accepted", "overridden"):
    FEEDBACK.labels(_outcome)
for _ident in BY_ID:
    for _status in ("200", "401", "412", "500"):
        REQUESTS.labels(_ident, _status)
BUILD.labels(__version__, VERSION).set(1)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# W3C Trace Context, level 1: version, trace-id, parent-id, trace-flags.
_TRACE = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]([0-9a-f])(?:-.*)?")


class Stopwatch:
    """Seconds of one call, from now on, and of its stages: `with watch("read"): …`."""

    def __init__(self) -> None:
        self._started = perf_counter()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Add the time of the block to the stage."""
        started = perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + perf_counter() - started

    def total(self) -> float:
        """Seconds since the start."""
        return perf_counter() - self._started

    def ms(self) -> dict[str, float]:
        """Milliseconds by stage, and in all until now."""
        return {stage: round(1000 * took, 2) for stage, took in {**self.seconds, "total": self.total()}.items()}


def observe(app: flask.Flask) -> None:
    """Give each request its ids and its watch, and count it when it is answered, however that ends."""

    @app.before_request
    def begin() -> None:
        flask.g.watch = Stopwatch()
        flask.g.request_id, trace_id, flags = _ids()
        flask.g.trace = f"00-{trace_id}-{uuid4().hex[:16]}-0{flags}"
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=flask.g.request_id, trace_id=trace_id)

    @app.after_request
    def finish(response: flask.Response) -> flask.Response:
        response.headers["X-Request-Id"] = flask.g.request_id
        if counted := _service():
            REQUESTS.labels(counted, str(response.status_code)).inc()
            for stage, seconds in flask.g.watch.seconds.items():
                TIMES.labels(stage).observe(seconds)
            TIMES.labels("total").observe(flask.g.watch.total())
        return response


def watch() -> Stopwatch:
    """The watch of the present request."""
    found: Stopwatch = flask.g.watch
    return found


def trace() -> str:
    """The `traceparent` of requests that are made to answer the present one."""
    return str(flask.g.trace)


def _ids() -> tuple[str, str, str]:
    """Request id, trace id and the sampled flag: those that were sent, if they look like it, else new ones."""
    headers = flask.request.headers
    sent = _REQUEST_ID.fullmatch(headers.get("X-Request-Id", ""))
    traced = _TRACE.fullmatch(headers.get("traceparent", ""))
    trace_id, flags = (traced[1], str(int(traced[2], 16) & 1)) if traced else (uuid4().hex, "0")
    return (sent[0] if sent else uuid4().hex), trace_id, flags


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
        PREFETCH.labels(key if key in PREFETCH_KEYS else OTHER, state).inc()


def count_feedback(outcomes: Iterable[str]) -> None:
    """Count reported outcomes, those that were reported before included."""
    for outcome, number in Tally(outcomes).items():
        FEEDBACK.labels(outcome).inc(number)


_KINDS = {words: kind for kind, words in WORDING.items()}


def count_fhir_failure(words: str) -> None:
    """Count a failed or cut read by the row of `WORDING` that says why."""
    kind = _KINDS.get(words) or _KINDS.get(re.sub(r" \(\d+\)$", "", words), OTHER)
    FHIR_FAILURES.labels(kind).inc()


def exposition(waiting: int) -> bytes:
    """All metrics in Prometheus text format: of this process, or of all in PROMETHEUS_MULTIPROC_DIR if that is set."""
    WAITING.set(waiting)
    every = CollectorRegistry()
    try:
        MultiProcessCollector(every)  # type: ignore[no-untyped-call]
    except ValueError:
        return generate_latest(REGISTRY)
    return generate_latest(every)
