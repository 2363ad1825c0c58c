"""A call without prefetch: everything is read from a FHIR server that needs 50 ms for each answer."""

from __future__ import annotations

import http.client
import statistics
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.bodies import PATIENT, small
from bench.calls import HOOK, ROOMY
from bench.load import drive, request
from bench.report import Figure, of_rounds
from bench.servers import Server, free_port, magnesium, running
from service.cds.services import BY_ID

DELAY = 0.05  # s
SECTION = "FHIR fallback, a server that answers after 50 ms"
CALLS = 20  # in one round
GOAL = 1.2


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds of a call without prefetch (median, p95), its CPU seconds, the slowest read, CPU seconds with prefetch."""

    call: float
    p95: float
    cpu: float
    slowest: float
    usual: float


def measure(rounds: int) -> Generator[Figure]:
    """Calls without prefetch, the same reads one by one, and calls with the same chart prefetched, in turn."""
    port = free_port()
    stub = [sys.executable, "-m", "bench.fhir_server", str(port), str(DELAY)]
    sent = msgspec.json.decode(small())
    queries, full = _queries(sent["context"]), request(HOOK, msgspec.json.encode(sent))
    bare = request(HOOK, msgspec.json.encode(sent | {"prefetch": None, "fhirServer": f"http://127.0.0.1:{port}/fhir"}))
    with (
        tempfile.TemporaryDirectory() as folder,
        magnesium(Path(folder), ROOMY) as service,
        running(stub, port, f"/fhir/Patient/{PATIENT}"),
    ):
        measured = [_round(service, port, bare, full, queries) for _ in range(1 + rounds)][1:]
    yield of_rounds(SECTION, "a call", [each.call / each.slowest for each in measured], "x slowest read")
    yield of_rounds(SECTION, "p95 of a call", [each.p95 / each.slowest for each in measured], "x slowest read", GOAL)
    yield of_rounds(SECTION, "CPU of a call", [each.cpu / each.usual for each in measured], "x with prefetch")
    yield of_rounds(SECTION, "CPU of a call", [1000 * each.cpu for each in measured], "ms here")


def _round(service: Server, port: int, bare: bytes, full: bytes, queries: list[str]) -> Round:
    times, cpu = _calls(service, bare)
    p95 = statistics.quantiles(times, n=20)[-1]
    return Round(statistics.median(times), p95, cpu, _slowest(port, queries), _calls(service, full)[1])


def _queries(context: dict[str, str]) -> list[str]:
    """What discovery advertises, filled for this call."""
    queries = []
    for query in BY_ID[HOOK.rpartition("/")[2]].prefetch.values():
        for name, value in context.items():
            query = query.replace(f"{{{{context.{name}}}}}", value)
        queries.append(query.replace("|", "%7C"))
    return queries


def _calls(service: Server, data: bytes) -> tuple[list[float], float]:
    """Seconds of each call, and CPU seconds of one."""
    before = service.cpu()
    times = drive(service.port, lambda: data, CALLS)
    return times, (service.cpu() - before) / CALLS


def _slowest(port: int, queries: list[str]) -> float:
    """Seconds of the slowest of these reads, one after the other on one connection."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        return max(_read(connection, f"/fhir/{query}") for query in queries)


def _read(connection: http.client.HTTPConnection, target: str) -> float:
    started = time.perf_counter()
    connection.request("GET", target, headers={"Accept": "application/fhir+json"})
    connection.getresponse().read()
    return time.perf_counter() - started
