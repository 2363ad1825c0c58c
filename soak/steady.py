"""Minutes of mixed load on two replicas: every answer right, memory and file descriptors flat, nothing lost."""

from __future__ import annotations

import http.client
import itertools
import os
import random
import secrets
import socket
import statistics
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

from bench import bodies
from bench.servers import family
from service.cds.services import BY_ID
from soak.calls import HOOK, PATIENCE, Answer, Ehr, cards_of, decoded, send, statuses
from soak.certificates import HERE
from soak.chart import MARK, VIEW
from soak.load import Caller, Load, Outcome, caller, percentiles, running
from soak.report import Report
from soak.world import Replica, World

SAMPLE = 2.0  # s between looks at memory and descriptors
SHORTEST = 0.5  # minutes
APART = 0.5  # of the time and the calls lie between the quarters that are compared
MEMORY_GROWTH = 10.0  # MB, beyond what remembered JWT ids take
REMEMBERED, JTI_MB = 50_000, 0.0005  # per replica (service/store/store.py), and MB for each
MORE_DESCRIPTORS = 10
FHIR = "FHIR server"
READS_AT_ONCE = 3 * len(BY_ID[VIEW].prefetch)  # by the callers below who leave reading to the service
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
NO_TOKEN = "a valid body without a token"


@dataclass
class Samples:
    """Memory (PSS, MB) and open file descriptors by kind, of one replica with its workers, as time goes by."""

    memory: list[float] = field(default_factory=list)
    descriptors: list[Counter[str]] = field(default_factory=list)

    def take(self, replica: Replica, peers: Mapping[int, str]) -> None:
        """One look; `peers` names what listens on which port of this machine."""
        pids = family(replica.server.process.pid)
        self.memory.append(sum(map(_pss, pids)))
        self.descriptors.append(kinds(pids, {**peers, replica.port: "callers"}))

    @property
    def numbers(self) -> list[int]:
        """Descriptors at each look, but for connections to the FHIR server that a crowd of reads leaves behind.

        Those are kept for the next reads, as many as ever were in use at one time: their number follows the largest
        crowd so far. Beyond what the callers here can use at one time they are counted, since then they leak.
        """
        return [sum(each.values()) - min(each[FHIR], READS_AT_ONCE) for each in self.descriptors]

    def growth(self, calls: int) -> list[str]:
        """Why these are not flat, after so many calls."""
        (first, last), (fewer, more) = ends(self.memory), ends(self.numbers)
        reasons = []
        if last - first > allowed(calls):
            reasons.append(f"memory grew by {last - first:.1f} MB, more than {allowed(calls):.1f}")
        if more - fewer > MORE_DESCRIPTORS:
            reasons.append(f"{more - fewer:.0f} more descriptors: {self._named()}")
        return reasons

    def _named(self) -> str:
        """Which kinds there are more of at the end."""
        kinds = set[str]().union(*self.descriptors)
        pairs = {kind: ends([each[kind] for each in self.descriptors]) for kind in kinds}
        return ", ".join(f"{kind} {a:.0f} → {b:.0f}" for kind, (a, b) in sorted(pairs.items()) if b > a)


def allowed(calls: int) -> float:
    """MB by which memory may grow between the two quarters that are compared, after so many calls in all."""
    return MEMORY_GROWTH + JTI_MB * min(calls * APART, REMEMBERED)


def run(world: World, report: Report, minutes: float) -> None:
    """The load for so many minutes; a row for each kind of call and for each replica."""
    report.title(f"Steady load for {minutes:g} minutes on two replicas")
    replicas, ehr = world.two_replicas(), world.ehr()
    ehr.learn(replicas[0].port)
    samples = {replica.port: Samples() for replica in replicas}
    peers = {world.fhir.proxy.port: FHIR, world.database.proxy.port: "PostgreSQL"}
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
                samples[replica.port].take(replica, peers)
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
        reasons = Counter(each.fault for each in found if each.fault)
        verdict = report.check(f"steady, {kind}", *(f"{number} × {why}" for why, number in reasons.items()))
        report.row(
            names.get(kind, kind),
            len(found),
            statuses(each.answer for each in found),
            *(f"{ms:.0f}" for ms in times.values()),
            verdict,
        )
    report.line("")


def _flatness(report: Report, load: Load, samples: Mapping[int, Samples]) -> None:
    """Memory and descriptors of each replica."""
    report.table(
        "replica", "calls", "memory MB, 2nd quarter", "4th", "descriptors, 2nd quarter", "4th",
        "most connections to the FHIR server", "smallest leak seen: kB per call", "one descriptor in calls", "verdict",
    )  # fmt: skip
    for number, (port, taken) in enumerate(samples.items(), 1):
        calls = sum(each.port == port for each in load.outcomes)
        shown = [f"{value:.0f}" for value in (*ends(taken.memory), *ends(taken.numbers))]
        to_fhir = max(each[FHIR] for each in taken.descriptors)
        verdict = report.check(f"steady, replica {number}", *taken.growth(calls))
        report.row(number, calls, *shown, to_fhir, *_smallest_leak(calls), verdict)
    report.line(
        f"\nCompared are the medians of the second and of the last quarter of the time. Connections to the FHIR server "
        f"are kept, as many as were ever in use at one time: counted beyond {READS_AT_ONCE} alone."
    )


def _smallest_leak(calls: int) -> tuple[str, str]:
    """What would be seen: kB for each call, and calls for each descriptor."""
    between = max(1.0, calls * APART)
    return f"{1000 * MEMORY_GROWTH / between:.1f}", f"{between / MORE_DESCRIPTORS:.0f}"


def ends(taken: Sequence[float]) -> tuple[float, float]:
    """The medians of the second and of the last quarter: what fills in the beginning is no leak, a leak goes on."""
    part = max(1, len(taken) // 4)
    return statistics.median(taken[part : 2 * part] or taken), statistics.median(taken[-part:])


def kinds(pids: Iterable[int], peers: Mapping[int, str]) -> Counter[str]:
    """Open descriptors of these processes: files, pipes …, and connections by who is at the other end, or at ours."""
    pairs, found = _connections(), Counter[str]()
    for pid in pids:
        with suppress(OSError):  # ended meanwhile
            for entry in os.scandir(f"/proc/{pid}/fd"):
                with suppress(OSError):  # closed meanwhile
                    found[_kind(os.readlink(entry.path), pairs, peers)] += 1
    return found


def _kind(target: str, pairs: Mapping[str, tuple[int, int]], peers: Mapping[int, str]) -> str:
    what, _, number = target.partition(":")
    if what != "socket":
        return "file" if target.startswith("/") else what
    ours, theirs = pairs.get(number.strip("[]"), (0, 0))
    return peers.get(theirs) or peers.get(ours) or "other sockets"


def _connections() -> dict[str, tuple[int, int]]:
    """The ports at both ends of the TCP connections of this machine, by the inode of the socket; proc(5)."""
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return {row[9]: (int(row[1].rpartition(":")[2], 16), int(row[2].rpartition(":")[2], 16)) for row in rows}


def _pss(pid: int) -> float:
    with suppress(OSError):  # ended meanwhile
        return int(Path(f"/proc/{pid}/smaps_rollup").read_text().partition("\nPss:")[2].split()[0]) / 1024
    return 0.0


# ---- callers that do not behave --------------------------------------------------------------------------------------


def _garbage(ehr: Ehr) -> Caller:
    """Bodies that are no requests, and requests without a token: refused with an OperationOutcome, never a 5xx."""

    def calls(load: Load) -> None:
        sent = {**GARBAGE, NO_TOKEN: (ehr.body("all"), {401})}
        for number, (name, (body, right)) in enumerate(itertools.cycle(sent.items())):
            if load.over.is_set():
                break
            port = load.ports[number % 2]
            bare = name == NO_TOKEN or number // len(sent) % 3 == 0
            found = send(port, HOOK, body, "" if bare else ehr.token())
            expected = right | {401} if bare else right
            fault = ehr.fault_of(found, expected) if found.status != 200 else "was answered with 200"
            load.outcomes.append(Outcome("garbage", port, found.bare(), f"{name}: {fault}" if fault else "", ""))
            time.sleep(PAUSE)

    return Caller(("garbage",), calls)


def _half_sent(ehr: Ehr) -> Caller:
    """Requests whose sender leaves in the middle, or does not wait for the answer: nobody is there to be answered."""

    def calls(load: Load) -> None:
        for number in itertools.count():
            if load.over.is_set():
                break
            port, whole, began = load.ports[number % 2], _request(ehr), time.monotonic()
            with suppress(OSError), socket.create_connection((HERE, port), PATIENCE) as wire:
                wire.sendall(whole[: len(whole) // (2, 20, 1)[number % 3]])
                load.over.wait(0.5 if number % 3 else 0.0)
                gone = Answer(0, time.monotonic() - began, None, "left", began)
                load.outcomes.append(Outcome("sender leaves", port, gone, "", ""))

    return Caller(("sender leaves",), calls)


def _slow(ehr: Ehr) -> Caller:
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
                    found = Answer(got.status, time.monotonic() - began, decoded(got.read()), "", began)
            except (OSError, http.client.HTTPException) as error:
                found = Answer(0, time.monotonic() - began, None, type(error).__name__, began)
            ehr.ledger.shown(found)
            load.outcomes.append(Outcome("slow sender", port, found.bare(), ehr.fault_of(found), ""))

    return Caller(("slow sender",), calls)


def _request(ehr: Ehr) -> bytes:
    """A whole hook call as it goes over the wire."""
    body = ehr.body("all")
    head = f"POST {HOOK} HTTP/1.1\r\nHost: soak\r\nContent-Type: application/json\r\nConnection: close\r\n"
    return f"{head}Authorization: Bearer {ehr.token()}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def _large(ehr: Ehr) -> Caller:
    """A long chart (1.5 MB) now and then, of a new patient; there is always something to say about it."""
    chart = bodies.large(datetime.now(UTC))

    def calls(load: Load) -> None:
        for number in itertools.count():
            if load.over.wait(1.0):
                break
            port = load.ports[number % 2]
            body = chart.replace(bodies.PATIENT.encode(), f"{MARK}-{secrets.token_hex(8)}".encode())
            found = ehr.ledger.shown(send(port, HOOK, body, ehr.token()))
            fault = (
                ""
                if found.status == 200 and cards_of(found)
                else f"answered {found.status or found.words} without a card"
            )
            load.outcomes.append(Outcome("large chart", port, found.bare(), fault, ""))

    return Caller(("large chart",), calls)
