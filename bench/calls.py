"""CPU and latency of a hook call with everything prefetched, against the yardsticks of `bench.baseline`."""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count, repeat
from pathlib import Path
from uuid import uuid4

import msgspec
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from bench.load import Draw, drive, request
from bench.report import MET, MISSED, NOT_MEASURABLE, QUIET, Figure, of_rounds
from bench.servers import START_SECONDS, Server, busy, free_port, magnesium, running

HOOK = "/cds-services/magnesium-patient-view"
ROOMY = "[service]\nmax_body_bytes = 50000000\nrate_limit_per_minute = 1000000\n"
YARDSTICKS = ("echo", "parse", "rule", "drain")  # routes of `bench.baseline`
OURS = "service"
# How a call is proved, and whether the repeat guard looks at it; each reader is another, so that every card is shown.
GUARDED = "RS384 and the repeat guard"
SIGNED = {"ES384": False, "RS384": False, GUARDED: True}
SIGNED_GOAL = 1.6  # x echo, of a small call with RS384 and the guard
SECRET = "of the bench, and long enough for it"
READER = re.compile(rb'"userId"\s*:\s*"')
Key = ECKey | RSAKey
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


def measure(
    bodies: Mapping[str, bytes], calls: int, rounds: int, cpu_goal: float, signed_goal: float | None = None
) -> Generator[Figure]:
    """Blocks of `calls` calls to each target in turn, so that whatever else the machine does meets all of them."""
    for name, data in bodies.items():
        yield from _measure(name, data, calls, rounds, (cpu_goal, signed_goal))


def _measure(
    section: str, data: bytes, calls: int, rounds: int, goals: tuple[float, float | None]
) -> Generator[Figure]:
    with _targets(data, calls * (rounds + 1)) as targets:
        _round(targets, calls, 1)  # the first calls are slower
        started, before = time.monotonic(), _others(targets)
        alone = [_round(targets, calls, 1) for _ in range(rounds)]
        others = (_others(targets) - before) / (time.monotonic() - started)
        yield from _figures(f"{section}, 1 connection", alone, goals[0])
        yield from _signed(f"{section}, 1 connection", alone, goals[1])
        yield _tail(f"{section}, 1 connection", alone, others)
        for how in SIGNED:
            del targets[how]
        four = [_round(targets, calls, 4) for _ in range(rounds)]
        yield from _figures(f"{section}, 4 connections", four, goals[0])


@contextmanager
def _targets(data: bytes, signed_calls: int) -> Iterator[dict[str, Target]]:
    with ExitStack() as opened:
        ours = opened.enter_context(magnesium(folder_of(opened), ROOMY))
        theirs = opened.enter_context(baseline())
        yield {
            OURS: Target(ours, always(request(HOOK, data))),
            **{name: Target(theirs, always(request(f"/{name}", data))) for name in YARDSTICKS},
            **{how: signing(opened, how, data, signed_calls) for how in SIGNED},
        }


def folder_of(opened: ExitStack) -> Path:
    """A folder for as long as something is open."""
    return Path(opened.enter_context(tempfile.TemporaryDirectory()))


def signing(
    opened: ExitStack, how: str, data: bytes, calls: int, before: Sequence[str] = (), patience: float = START_SECONDS
) -> Target:
    """A service that asks for tokens, and the calls that bring them."""
    folder, algorithm = folder_of(opened), how.split()[0]
    rsa = algorithm == "RS384"
    key = RSAKey.generate_key(2048, {"kid": "bench"}) if rsa else ECKey.generate_key("P-384", {"kid": "bench"})
    (folder / "keys.json").write_bytes(msgspec.json.encode({"keys": [key.as_dict(private=False)]}))
    tenant = f'{ROOMY}[[tenant]]\nname = "bench"\niss = "{ISSUER}"\njwks_file = "keys.json"\n'
    environment = {"MAGNESIUM_CDS_SECRET": SECRET} if SIGNED[how] else {}
    server = opened.enter_context(magnesium(folder, tenant, environment, before, patience))
    return Target(server, _with_tokens(algorithm, key, server.port, data, calls))


@contextmanager
def baseline(before: Sequence[str] = (), patience: float = START_SECONDS) -> Iterator[Server]:
    """The yardsticks, served; `before` their command stands that of a program which looks on."""
    port = free_port()
    command = [*before, sys.executable, "-m", "bench.baseline"]
    with running(command, port, environment={"PORT": str(port)}, patience=patience) as server:
        yield server


def always(data: bytes) -> Draw:
    """The same request each time."""
    return partial(next, repeat(data))


def _with_tokens(algorithm: str, key: Key, port: int, data: bytes, calls: int) -> Draw:
    """The same chart with another token and another reader each time, all tokens signed beforehand."""
    headers = deque({"Authorization": f"Bearer {_token(algorithm, key, port)}"} for _ in range(calls))
    readers = count()

    def draw() -> bytes:
        return request(
            HOOK, READER.sub(lambda name: name[0] + b"%d-" % next(readers), data, count=1), headers.popleft()
        )

    return draw


def _token(algorithm: str, key: Key, port: int) -> str:
    at = int(time.time())
    audience = f"http://127.0.0.1:{port}{HOOK}"
    claims = {"iss": ISSUER, "aud": audience, "iat": at, "exp": at + 3000, "jti": str(uuid4())}
    return jwt.encode({"alg": algorithm, "kid": "bench", "typ": "JWT"}, claims, key, algorithms=[algorithm])


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


def _signed(section: str, rounds: list[Round], goal: float | None) -> Iterator[Figure]:
    """The goal is for RS384 with the guard: the check of ES384 alone is half an echo."""
    for how, guarded in SIGNED.items():
        values = [each.cpu[how] / each.cpu["echo"] for each in rounds]
        yield of_rounds(section, f"CPU with {how}", values, "x echo", goal if guarded else None)


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
