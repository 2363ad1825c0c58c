"""CPU and latency of a hook call with everything prefetched, against the yardsticks of `bench.baseline`."""

from __future__ import annotations

import sys
import tempfile
import time
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from pathlib import Path
from uuid import uuid4

import msgspec
from joserfc import jwt
from joserfc.jwk import ECKey

from bench.load import Draw, drive, request
from bench.report import MET, MISSED, NOT_MEASURABLE, QUIET, Figure, of_rounds
from bench.servers import Server, busy, free_port, magnesium, running

HOOK = "/cds-services/magnesium-patient-view"
ROOMY = "[service]\nmax_body_bytes = 50000000\nrate_limit_per_minute = 1000000\n"
YARDSTICKS = ("echo", "parse", "rule", "drain")  # routes of `bench.baseline`
OURS, SIGNED = "service", "signed"
ISSUER = "https://ehr.hospital.example"


@dataclass(frozen=True, slots=True)
class Target:
    """A server and what to send to it."""

    server: Server
    draw: Draw


@dataclass(frozen=True, slots=True)
class Round:
    """What one block of calls to each target took: CPU seconds per call, and the seconds of each call."""

    cpu: dict[str, float]
    times: dict[str, list[float]]


def measure(name: str, data: bytes, calls: int, rounds: int, cpu_goal: float) -> Generator[Figure]:
    """Blocks of `calls` calls to each target in turn, so that whatever else the machine does meets all of them."""
    section = f"{name} body, {len(data) // 1000} kB"
    with _targets(data, calls * (rounds + 1)) as targets:
        _round(targets, calls, 1)  # the first calls are slower
        started, before = time.monotonic(), _others(targets)
        alone = [_round(targets, calls, 1) for _ in range(rounds)]
        others = (_others(targets) - before) / (time.monotonic() - started)
        yield from _figures(f"{section}, 1 connection", alone, cpu_goal)
        yield _signed(f"{section}, 1 connection", alone)
        yield _tail(f"{section}, 1 connection", alone, others)
        del targets[SIGNED]
        four = [_round(targets, calls, 4) for _ in range(rounds)]
        yield from _figures(f"{section}, 4 connections", four, cpu_goal)


@contextmanager
def _targets(data: bytes, signed_calls: int) -> Iterator[dict[str, Target]]:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        key = ECKey.generate_key("P-384", {"kid": "bench"})
        (Path(other) / "keys.json").write_bytes(msgspec.json.encode({"keys": [key.as_dict(private=False)]}))
        tenant = f'{ROOMY}[[tenant]]\nname = "bench"\niss = "{ISSUER}"\njwks_file = "keys.json"\n'
        with magnesium(Path(one), ROOMY) as ours, magnesium(Path(other), tenant) as signed, _baseline() as theirs:
            yield {
                OURS: Target(ours, _always(request(HOOK, data))),
                **{name: Target(theirs, _always(request(f"/{name}", data))) for name in YARDSTICKS},
                SIGNED: Target(signed, _with_tokens(key, signed.port, data, signed_calls)),
            }


@contextmanager
def _baseline() -> Iterator[Server]:
    """The yardsticks, served."""
    port = free_port()
    with running([sys.executable, "-m", "bench.baseline"], port, environment={"PORT": str(port)}) as server:
        yield server


def _always(data: bytes) -> Draw:
    return partial(next, repeat(data))


def _with_tokens(key: ECKey, port: int, data: bytes, calls: int) -> Draw:
    """The same body with another token each time, all signed beforehand."""
    headers = deque({"Authorization": f"Bearer {_token(key, port)}"} for _ in range(calls))
    return lambda: request(HOOK, data, headers.popleft())


def _token(key: ECKey, port: int) -> str:
    at = int(time.time())
    audience = f"http://127.0.0.1:{port}{HOOK}"
    claims = {"iss": ISSUER, "aud": audience, "iat": at, "exp": at + 3000, "jti": str(uuid4())}
    return jwt.encode({"alg": "ES384", "kid": "bench", "typ": "JWT"}, claims, key, algorithms=["ES384"])


def _round(targets: dict[str, Target], calls: int, connections: int) -> Round:
    """The service comes first: what it stores a little later is counted at the end of the round."""
    began = {name: target.server.cpu() for name, target in targets.items()}
    cpu, times = {}, {}
    for name, target in targets.items():
        before = target.server.cpu()
        times[name] = drive(target.server.port, target.draw, calls, connections)
        cpu[name] = (target.server.cpu() - before) / calls
    time.sleep(0.3)
    for name in targets.keys() - set(YARDSTICKS):
        cpu[name] = (targets[name].server.cpu() - began[name]) / calls
    return Round(cpu, times)


def _others(targets: dict[str, Target]) -> float:
    """CPU seconds so far of everybody but the servers and this process."""
    servers = {target.server for target in targets.values()}
    return busy() - time.process_time() - sum(server.cpu() for server in servers)


def _figures(section: str, rounds: list[Round], cpu_goal: float) -> Iterator[Figure]:
    for name in YARDSTICKS:
        values = [each.cpu[OURS] / each.cpu[name] for each in rounds]
        yield of_rounds(section, "CPU per call", values, f"x {name}", cpu_goal if name == "echo" else None)
    for percent in (50, 99):
        values = [_percentile(each.times[OURS], percent) / _percentile(each.times["echo"], percent) for each in rounds]
        yield of_rounds(section, f"p{percent}", values, "x echo")


def _signed(section: str, rounds: list[Round]) -> Figure:
    values = [each.cpu[SIGNED] / each.cpu["echo"] for each in rounds]
    return of_rounds(section, "CPU with a signed token", values, "x echo")


def _tail(section: str, rounds: list[Round], others: float) -> Figure:
    """p99 over all rounds; missed only where `others` left the processors alone, since they lengthen it."""
    p50, p99 = _over_all(rounds, OURS)
    echo50, echo99 = _over_all(rounds, "echo")
    ratios = [_percentile(each.times[OURS], 99) / _percentile(each.times[OURS], 50) for each in rounds]
    note = f"({1000 * p50:.1f} and {1000 * p99:.1f} ms here; echo {echo99 / echo50:.2f} x; others {others:.2f} cores)"
    verdict = MET if p99 <= 4 * p50 + 0.005 else MISSED if others <= QUIET else NOT_MEASURABLE
    return Figure(section, "p99", p99 / p50, "x p50", min(ratios), max(ratios), note, "at most 4 x p50 + 5 ms", verdict)


def _over_all(rounds: list[Round], name: str) -> tuple[float, float]:
    """p50 and p99 in seconds."""
    times = [taken for each in rounds for taken in each.times[name]]
    return _percentile(times, 50), _percentile(times, 99)


def _percentile(times: list[float], percent: int) -> float:
    """The smallest time that so many percent of the calls did not exceed."""
    return sorted(times)[max(0, -(-len(times) * percent // 100) - 1)]
