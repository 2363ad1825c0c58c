"""Minutes of mixed load on two replicas: every answer right, memory and file descriptors flat, nothing lost."""

from __future__ import annotations

import http.client
import itertools
import os
import random
import socket
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import msgspec

from bench import bodies
from soak.calls import HOOK, PATIENCE, Answer, Ehr, send
from soak.certificates import HERE
from soak.load import Load, Outcome, caller, percentiles, running
from soak.report import Report
from soak.world import Replica, World, descendants

SAMPLE = 2.0  # s between looks at memory and descriptors
WARM = 0.25  # of the time, in which caches and pools fill
MEMORY_GROWTH = 10.0  # MB, beyond what remembered JWT ids take
REMEMBERED, JTI_MB = 50_000, 0.0005  # per replica (service/store/store.py), and MB for each
MORE_DESCRIPTORS = 10
STORED_BOUND = 10.0  # s
PAUSE = 0.02  # s between the calls of one caller
# What comes from outside and must be refused in words: name → (body, statuses that are right).
GARBAGE: Mapping[str, tuple[bytes, set[int]]] = MappingProxyType(
    {
        "bytes": (random.Random(5).randbytes(3000), {400}),
        "half a body": (b'{"hook": "patient-view", "hookInstance": "', {400}),
        "an array": (b"[" * 5000, {400}),
        "depth": (b'{"prefetch": ' + b'{"a": ' * 3000 + b"1" + b"}" * 3000 + b"}", {400}),
        "a number": (b'{"hook": 1e99999, "context": 7}', {400}),
        "nothing": (b"", {400}),
        "another hook": (b'{"hook": "order-sign", "hookInstance": "x", "context": {}}', {400}),
        "much": (b'{"hook": "' + b"x" * 6_000_000 + b'"}', {413}),
    }
)


@dataclass
class Samples:
    """Memory (PSS, MB) and open file descriptors of one replica with its workers, as time goes by."""

    memory: list[float] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)

    def take(self, replica: Replica) -> None:
        """One look."""
        pids = descendants(replica.server.process.pid)
        self.memory.append(sum(map(_pss, pids)))
        self.descriptors.append(sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids))

    def growth(self, calls: int) -> list[str]:
        """Why these are not flat, after so many calls."""
        allowed = MEMORY_GROWTH + JTI_MB * min(calls, REMEMBERED)
        memory, descriptors = (last - first for first, last in (ends(self.memory), ends(self.descriptors)))
        reasons = [f"memory grew by {memory:.1f} MB, more than {allowed:.1f}"] if memory > allowed else []
        return reasons + ([f"{descriptors:.0f} more descriptors"] if descriptors > MORE_DESCRIPTORS else [])


def run(world: World, report: Report, minutes: float) -> None:
    """The load for so many minutes; a row for each kind of call and for each replica."""
    report.title(f"Steady load for {minutes:g} minutes on two replicas")
    replicas, ehr = world.two_replicas(), world.ehr()
    ehr.learn(replicas[0].port)
    samples = {replica.port: Samples() for replica in replicas}
    callers = [
        caller(ehr, "all", "half", "feedback", "all", pause=PAUSE), caller(ehr, "none", "all", pause=PAUSE),
        caller(ehr, "all", "none", "feedback", keep=False, pause=PAUSE), _garbage(ehr), _half_sent(ehr), _slow(ehr),
        _large(ehr),
    ]  # fmt: skip
    end = time.monotonic() + 60 * minutes
    with running([replica.port for replica in replicas], *callers) as load:
        while time.monotonic() < end:
            time.sleep(SAMPLE)
            for replica in replicas:
                samples[replica.port].take(replica)
    _kinds(report, load)
    _flatness(report, load, samples)
    missing = world.ledger.await_stored(world.database_url, STORED_BOUND)
    verdict = report.check("steady load", *([f"cards and feedback never stored: {missing}"] if any(missing) else []))
    report.line(
        f"\nOf {len(world.ledger.cards)} cards shown and {len(world.ledger.feedback)} feedback items acknowledged "
        f"since the start, {missing[0]} and {missing[1]} are missing in the database: {verdict}"
    )


def _kinds(report: Report, load: Load) -> None:
    report.table("calls", "number", "statuses", "p50 ms", "p99 ms", "slowest ms", "verdict")
    names = {"all": "full prefetch", "half": "half prefetch, rest read", "none": "no prefetch, all read"}
    for kind in sorted({each.kind for each in load.outcomes}):
        found = [each for each in load.outcomes if each.kind == kind]
        times = percentiles([each.answer.seconds for each in found])
        statuses = " ".join(sorted({str(each.answer.status or each.answer.words) for each in found}))
        reasons = Counter(each.fault for each in found if each.fault)
        verdict = report.check(f"steady, {kind}", *(f"{number} × {why}" for why, number in reasons.items()))
        report.row(names.get(kind, kind), len(found), statuses, *(f"{ms:.0f}" for ms in times.values()), verdict)
    report.line("")


def _flatness(report: Report, load: Load, samples: Mapping[int, Samples]) -> None:
    """Memory and descriptors of each replica."""
    report.table("replica", "calls", "memory MB, warm", "at the end", "descriptors, warm", "at the end", "verdict")
    for number, (port, taken) in enumerate(samples.items(), 1):
        calls = sum(each.port == port for each in load.outcomes)
        shown = [f"{value:.0f}" for value in (*ends(taken.memory), *ends(taken.descriptors))]
        report.row(number, calls, *shown, report.check(f"steady, replica {number}", *taken.growth(calls)))


def ends(taken: list[float] | list[int]) -> tuple[float, float]:
    """The medians of the first and of the last quarter of what was seen after the warm-up."""
    warm = taken[int(len(taken) * WARM) :]
    part = max(1, len(warm) // 4)
    return statistics.median(warm[:part]), statistics.median(warm[-part:])


def _pss(pid: int) -> float:
    with suppress(OSError):  # ended meanwhile
        return int(Path(f"/proc/{pid}/smaps_rollup").read_text().partition("\nPss:")[2].split()[0]) / 1024
    return 0.0


# ---- callers that do not behave --------------------------------------------------------------------------------------


def _garbage(ehr: Ehr) -> Callable[[Load], None]:
    """Bodies that are no requests, and requests without a token: refused with an OperationOutcome, never a 5xx."""

    def calls(load: Load) -> None:
        for number, (name, (body, right)) in enumerate(itertools.cycle(GARBAGE.items())):
            if load.over.is_set():
                break
            port = load.ports[number % 2]
            token, expected = (ehr.token(), right) if number % 3 else ("", right | {401})
            found = send(port, HOOK, body, token)
            fault = ehr.fault_of(found, expected) if found.status != 200 else "garbage was answered with 200"
            load.outcomes.append(Outcome("garbage", port, found, f"{name}: {fault}" if fault else "", ""))
            time.sleep(PAUSE)

    return calls


def _half_sent(ehr: Ehr) -> Callable[[Load], None]:
    """Requests whose sender leaves in the middle, or does not wait for the answer: nobody is there to be answered."""

    def calls(load: Load) -> None:
        for number in itertools.count():
            if load.over.is_set():
                break
            whole = _request(ehr)
            with suppress(OSError), socket.create_connection((HERE, load.ports[number % 2]), PATIENCE) as wire:
                wire.sendall(whole if number % 3 == 2 else whole[: len(whole) // (1 + number % 3 * 20)])
                load.over.wait(0.5 if number % 3 else 0.0)

    return calls


def _slow(ehr: Ehr) -> Callable[[Load], None]:
    """A sender that needs two seconds for its request gets its card all the same."""

    def calls(load: Load) -> None:
        for number in itertools.count():
            if load.over.is_set():
                break
            port, whole, began = load.ports[number % 2], _request(ehr), time.monotonic()
            try:
                with socket.create_connection((HERE, port), PATIENCE) as wire:
                    for place in range(0, len(whole), len(whole) // 20):
                        wire.sendall(whole[place : place + len(whole) // 20])
                        time.sleep(0.1)
                    got = http.client.HTTPResponse(wire)
                    got.begin()
                    found = Answer(got.status, time.monotonic() - began, msgspec.json.decode(got.read()), "", began)
            except (OSError, http.client.HTTPException) as error:
                found = Answer(0, time.monotonic() - began, None, type(error).__name__, began)
            ehr.ledger.shown(found)
            load.outcomes.append(Outcome("slow sender", port, found, ehr.fault_of(found), ""))

    return calls


def _request(ehr: Ehr) -> bytes:
    """A whole hook call as it goes over the wire."""
    body = ehr.body("all")
    head = f"POST {HOOK} HTTP/1.1\r\nHost: soak\r\nContent-Type: application/json\r\nConnection: close\r\n"
    return f"{head}Authorization: Bearer {ehr.token()}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def _large(ehr: Ehr) -> Callable[[Load], None]:
    """A long chart (1.5 MB) now and then; there is always something to say about it."""
    body = bodies.large(datetime.now(UTC))

    def calls(load: Load) -> None:
        for number in itertools.count():
            if load.over.wait(1.0):
                break
            port = load.ports[number % 2]
            found = ehr.ledger.shown(send(port, HOOK, body, ehr.token()))
            cards = found.body.get("cards") if isinstance(found.body, dict) else None
            fault = "" if found.status == 200 and cards else f"answered {found.status or found.words} without a card"
            load.outcomes.append(Outcome("large chart", port, found, fault, ""))

    return calls
