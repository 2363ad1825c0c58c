"""Counts and times for Prometheus.

Every label has few values, all of them words of ours: none comes from a request.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Mapping
from functools import cache

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from service import __version__
from service.cds.services import BY_ID
from service.fhir.failure import FailureKind
from service.logic.case import Case
from service.logic.knowledge import VERSION
from service.logic.rules import RULES
from service.observability.timing import Stopwatch
from service.terminology.queries import PREFETCH_KEYS

OTHER = "other"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4)
REQUESTS = Counter("magnesium_cds_requests", "Calls for advice and of feedback, by service", ["service", "status"])
TIMES = Histogram("magnesium_cds_request_seconds", "Time of a call, whole and by stage", ["stage"], buckets=SECONDS)
CARDS = Counter("magnesium_cds_cards", "Cards, once for each rule that one states", ["rule", "indicator"])
SILENT_CARDS = Counter("magnesium_cds_silent_cards", "Cards that silent mode did not show", ["rule", "indicator"])
PREFETCH = Counter("magnesium_cds_prefetch_states", "What was there under each prefetch key", ["key", "state"])
RULE_FAILURES = Counter("magnesium_cds_rule_failures", "Rules that broke on a patient", ["rule"])
REPEATED = Counter("magnesium_cds_repeated", "Findings held back because their reader has seen them", ["rule"])
MAGNESIUM = Histogram(
    "magnesium_cds_magnesium",
    "Current serum magnesium of a call in mmol/L, by the unit in which it was reported",
    ["unit"],
    buckets=(0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0),
)
STORE_FAULTS = Counter("magnesium_cds_store_faults", "What the database did not do", ["kind"])
FEEDBACK = Counter("magnesium_cds_feedback", "Cards reported as accepted or overridden", ["outcome"])
FHIR_FAILURES = Counter("magnesium_cds_fhir_failures", "Queries that a FHIR server did not answer in full", ["kind"])
WAITING = Gauge("magnesium_cds_store_waiting", "Records not yet stored", multiprocess_mode="livesum")
LOG_LINES_DROPPED = Counter("magnesium_cds_log_lines_dropped", "Lines of the log that nobody took in time")
BUILD = Gauge("magnesium_cds_build_info", "1", ["version", "knowledge"], multiprocess_mode="livemax")

# A series that begins with its first count shows no increase, and no alert: these begin with 0.
for _rule in RULES:
    RULE_FAILURES.labels(_rule.id)
for _kind in ("jti", "repeat", "write", "dropped", "feedback", "summary", "ping", "purge", "migrate"):
    STORE_FAULTS.labels(_kind)
for _outcome in ("accepted", "overridden"):
    FEEDBACK.labels(_outcome)
for _ident in (*BY_ID, "feedback", "evaluate", "explain"):
    for _status in ("200", "401", "412", "500", "503"):
        REQUESTS.labels(_ident, _status)
BUILD.labels(__version__, VERSION).set(1)

# Finding a series takes longer than counting in it, and there are few: each is looked up once.
_requests, _times, _prefetch = cache(REQUESTS.labels), cache(TIMES.labels), cache(PREFETCH.labels)


def count_call(service: str, status: int, stopwatch: Stopwatch) -> None:
    """Count an answered call and its times; `service` is the id of a service, or another word of ours."""
    _requests(service, str(status)).inc()
    for stage, seconds in stopwatch.seconds.items():
        _times(stage).observe(seconds)
    _times("total").observe(stopwatch.total())


def count_states(states: Mapping[str, str]) -> None:
    """Count what was there under each prefetch key; keys that are not ours count as one."""
    for key, state in states.items():
        _prefetch(key if key in PREFETCH_KEYS else OTHER, state).inc()


def count_magnesium(case: Case) -> None:
    """Where the magnesium of the calls lies: a unit that changes in an interface moves it at once."""
    if case.mg is not None and case.mg_is_current and case.mg.reported is not None and case.mg.value is not None:
        MAGNESIUM.labels(case.mg.reported.unit).observe(float(case.mg.value))


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
