"""Throughput of one and of two replicas, and what else the processors did meanwhile."""

from __future__ import annotations

import os
import signal
import statistics
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from bench.calls import HOOK, ROOMY
from bench.load import flood, request
from bench.postgres import Database, postgres, programs
from bench.report import Figure, judged, of_rounds
from bench.servers import Server, busy, magnesium

CALLERS = 8  # connections of each of the two processes that call; 16 or 32 leave as much of the processors idle
WINDOW, RAMP = 1.5, 0.3  # s measured, after s of the same load
GOAL = 1.8


@dataclass(frozen=True, slots=True)
class Run:
    """Calls per second, and how many cores each party kept busy meanwhile."""

    rate: float
    replicas: float
    callers: float
    database: float
    others: float


@dataclass(frozen=True, slots=True)
class House:
    """Two replicas, the database they share (None: each has its own SQLite), and the processes that call them."""

    replicas: Sequence[Server]
    database: Database | None
    callers: ProcessPoolExecutor


def measure(bodies: Mapping[str, bytes], rounds: int) -> Generator[Figure]:
    """One and two replicas in turn under the same number of callers, for a usual chart and for a long one."""
    with _house() as house:
        where = "one PostgreSQL" if house.database else "SQLite each (no PostgreSQL here)"
        for name, body in bodies.items():
            data = request(HOOK, body)
            runs = [(_run(house, 1, data), _run(house, 2, data)) for _ in range(rounds)]
            answered = [
                pair for pair in runs if all(run.rate for run in pair)
            ]  # on a machine that is very busy not all
            yield from _figures(f"replicas, {name}, {2 * CALLERS} callers, {where}", answered or runs)


@contextmanager
def _house() -> Iterator[House]:
    with ExitStack() as stack:
        where = programs()
        database = stack.enter_context(postgres(where)) if where else None
        environment = {"DATABASE_URL": database.url} if database else {}
        folders = [Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in range(2)]
        replicas = [stack.enter_context(magnesium(folder, ROOMY, environment)) for folder in folders]
        # Ctrl-C is for the process that ends the servers; these end with it.
        ignoring = (signal.SIGINT, signal.SIG_IGN)
        pool = ProcessPoolExecutor(2, get_context("spawn"), initializer=signal.signal, initargs=ignoring)
        yield House(replicas, database, stack.enter_context(pool))


def _run(house: House, number: int, data: bytes) -> Run:
    """The two callers on one replica, or one caller on each."""
    begin = time.monotonic() + RAMP
    calls = [
        house.callers.submit(flood, house.replicas[caller % number].port, data, CALLERS, begin, begin + WINDOW)
        for caller in range(2)
    ]
    time.sleep(max(0.0, begin - time.monotonic()))
    before, started = _used(house), time.monotonic()
    time.sleep(max(0.0, begin + WINDOW - time.monotonic()))
    replicas, database, machine = (now - then for now, then in zip(_used(house), before, strict=True))
    seconds = time.monotonic() - started
    answered, callers = map(sum, zip(*(call.result() for call in calls), strict=True))
    shares = [used / seconds for used in (replicas, callers, database, machine - replicas - callers - database)]
    return Run(answered / WINDOW, *shares)


def _used(house: House) -> tuple[float, float, float]:
    """CPU seconds so far of the replicas, of the database, and of the whole machine."""
    database = house.database.server.cpu() if house.database else 0.0
    return sum(replica.cpu() for replica in house.replicas), database, busy()


def _figures(section: str, runs: Sequence[tuple[Run, Run]]) -> Iterator[Figure]:
    """The goal is for what calls cost the service: calls a second fall short where others keep the processors busy."""
    if not all(run.rate for pair in runs for run in pair):
        yield Figure(section, "2 replicas", None, "", note="not measured: no call was answered in time")
        return
    yield of_rounds(section, "2 replicas, calls/s", [two.rate / one.rate for one, two in runs], "x 1 replica")
    values = [2 * (two.rate / two.replicas) / (one.rate / one.replicas) for one, two in runs]
    gain, goal = statistics.median(values), f"at least {GOAL}"
    name, verdict = "2 replicas, by calls/CPU s of them", judged(gain >= GOAL)
    yield Figure(section, name, gain, "x 1 replica", min(values), max(values), "", goal, verdict)
    for number, name in enumerate(("1 replica", "2 replicas")):
        yield _shares(section, name, [pair[number] for pair in runs])


def _shares(section: str, name: str, runs: Sequence[Run]) -> Figure:
    """Calls per second, and who kept how many cores busy."""
    parties = ("replicas", "callers", "database", "others")
    shares = {party: statistics.median(getattr(run, party) for run in runs) for party in parties}
    cores = os.cpu_count() or 1
    shares["idle"] = max(0.0, cores - sum(shares.values()))
    note = f"of {cores} cores: " + ", ".join(f"{party} {share:.2f}" for party, share in shares.items())
    rates = [run.rate for run in runs]
    return Figure(section, name, statistics.median(rates), "calls/s here", min(rates), max(rates), note)
