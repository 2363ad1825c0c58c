"""How the cost of a call grows with the chart: CPU per resource from 60 to 10,000 resources."""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path

from bench.bodies import body
from bench.calls import HOOK, ROOMY
from bench.load import drive, request
from bench.report import Figure, judged, of_rounds
from bench.servers import Server, magnesium

SIZES = (60, 300, 1200, 5000, 10_000)  # resources
FROM = 1200  # below it the fixed cost of a call shows
WORK = 6000  # resources to be read in one block of calls
SECTION = "growth"
LINEAR = 1.3


def measure(rounds: int) -> Generator[Figure]:
    """Each size in turn, round after round, as a ratio to the cost per resource at 1,200 in the same round."""
    now = datetime.now(UTC)
    requests = {size: request(HOOK, body(size * 5 // 6, size // 12, now)) for size in SIZES}
    with tempfile.TemporaryDirectory() as folder, magnesium(Path(folder), ROOMY) as service:
        for data in requests.values():
            _per_call(service, data, 1)
        costs = [{size: _per_resource(service, size, requests[size]) for size in SIZES} for _ in range(rounds)]
    for size in SIZES:
        values = [cost[size] / cost[FROM] for cost in costs]
        yield of_rounds(SECTION, f"CPU per resource at {size:,}", values, f"x that at {FROM:,}")
    yield _verdict({size: statistics.median(cost[size] / cost[FROM] for cost in costs) for size in SIZES})


def _verdict(relative: dict[int, float]) -> Figure:
    steep = max(cost for size, cost in relative.items() if size >= FROM)
    note = f"(CPU grows with the power {1 + _slope(relative):.2f} of the size)"
    goal = f"linear: at most {LINEAR}"
    return Figure(SECTION, "dearest from 1,200 on", steep, "", note=note, goal=goal, verdict=judged(steep <= LINEAR))


def _slope(relative: dict[int, float]) -> float:
    """Least squares through the logarithms of size and cost per resource, from 1,200 on; 0 is linear growth."""
    large = {size: cost for size, cost in relative.items() if size >= FROM}
    sizes, costs = [math.log(size) for size in large], [math.log(cost) for cost in large.values()]
    return statistics.linear_regression(sizes, costs).slope


def _per_resource(service: Server, size: int, data: bytes) -> float:
    return _per_call(service, data, max(1, WORK // size)) / size


def _per_call(service: Server, data: bytes, calls: int) -> float:
    before = service.cpu()
    drive(service.port, lambda: data, calls)
    return (service.cpu() - before) / calls
