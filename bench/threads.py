"""How many threads: CPU per call and the slowest calls of a crowd, by `WEB_THREADS`, against the fewest."""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.bodies import small
from bench.calls import HOOK, ROOMY
from bench.load import drive, request
from bench.report import Figure, of_rounds
from bench.servers import Server, magnesium

NUMBERS = (8, 32, 128)
CALLERS, CALLS = 64, 15 * 64
SECTION = f"threads, small body, {CALLERS} callers"


@dataclass(frozen=True, slots=True)
class Run:
    """CPU seconds per call, and the seconds of the middle and of the 99th of 100 calls."""

    cpu: float
    p50: float
    p99: float


def measure(rounds: int) -> Generator[Figure]:
    """Each number in turn, round after round, as ratios to the smallest in the same round."""
    data = request(HOOK, small())
    with ExitStack() as stack:
        folders = [Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in NUMBERS]
        servers = {
            number: stack.enter_context(magnesium(folder, ROOMY, {"WEB_THREADS": str(number)}))
            for number, folder in zip(NUMBERS, folders, strict=True)
        }
        for server in servers.values():
            drive(server.port, lambda: data, CALLERS, CALLERS)
        runs = [{number: _run(server, data) for number, server in servers.items()} for _ in range(rounds)]
    for number in NUMBERS[1:]:
        for name in ("cpu", "p50", "p99"):
            ratios = [getattr(run[number], name) / getattr(run[NUMBERS[0]], name) for run in runs]
            yield of_rounds(SECTION, f"{number} threads, {name}", ratios, f"x {NUMBERS[0]} threads")


def _run(server: Server, data: bytes) -> Run:
    before = server.cpu()
    times = sorted(drive(server.port, lambda: data, CALLS, CALLERS))
    return Run((server.cpu() - before) / CALLS, times[CALLS // 2], times[CALLS * 99 // 100])
