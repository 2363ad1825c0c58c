"""Replicas that come and go under load: rolling restarts, SIGTERM unannounced, a worker killed, tables that change."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import psycopg

from soak.calls import Ledger
from soak.faults import Fault
from soak.load import Load, Outcome, caller, percentiles, running
from soak.pace import allowance
from soak.report import Report
from soak.world import Replica, World, upgrade

ROUNDS = 6
PRE_STOP = 1.0  # s between leaving the list of ready replicas and SIGTERM; 5 s in Kubernetes
SLOW = 1.2  # s that the FHIR server takes, so that calls are under way when SIGTERM comes
AT_ONCE = 0.1  # s in which a request that was sent may not have been read
RESPAWN_BOUND = 10.0  # s until a killed worker's successor answers
KILLS = 3


def run(world: World, report: Report, rounds: int = ROUNDS) -> None:
    """Rolling restarts of two replicas as Kubernetes makes them."""
    report.title(f"{rounds} rolling restarts of two replicas under load")
    replicas, ehr = world.two_replicas(), world.ehr()
    ehr.learn(replicas[0].port)
    codes, stopping, began = Counter[int](), list[float](), time.monotonic()
    callers = [caller(ehr, "all", "feedback", "half", pause=0.01), caller(ehr, "none"), caller(ehr, "all", keep=False)]
    with running([replica.port for replica in replicas], *callers) as load:
        for place in (0, 1) * rounds:
            code, took = _replace(world, load, place)
            codes[code] += 1
            stopping.append(took)
    lost = [f"{each.kind}: {each.fault}" for each in load.faults]
    reasons = [*lost, *_uncleanly(codes)]
    report.line(
        f"{len(load.outcomes)} calls in {time.monotonic() - began:.0f} s, {len(lost)} not answered as they must be; "
        f"exit codes {dict(codes)}; stopping took {max(stopping):.1f} s at most; slowest answer "
        f"{percentiles([each.answer.seconds for each in load.outcomes])['max']:.0f} ms: "
        f"{report.check('rolling restarts', *reasons)}"
    )


def _replace(world: World, load: Load, place: int) -> tuple[int, float]:
    """The new one is ready before the old one leaves the list, waits, and is told to stop."""
    old, new = world.replicas[place], world.start()
    load.ports = [*load.ports, new.port]
    load.ports = [port for port in load.ports if port != old.port]
    world.replicas[place] = new
    time.sleep(PRE_STOP)
    return old.stop(), time.monotonic() - old.told


def _uncleanly(codes: Counter[int]) -> list[str]:
    return [f"{number} replicas ended with exit code {code}" for code, number in codes.items() if code]


def without_warning(world: World, report: Report) -> None:
    """SIGTERM to a replica that everybody still calls: what it has read is answered, the rest is refused or reset."""
    report.title("SIGTERM under load, without any warning to callers")
    replica, ehr = world.start(), world.ehr()
    ehr.learn(replica.port)
    quick = [caller(ehr, "all", "feedback"), caller(ehr, "all", keep=False), caller(ehr, "all", keep=False)]
    waiting = [caller(ehr, "none") for _ in range(4)]
    with world.fhir.broken(Fault.LATENCY, SLOW), running([replica.port], *waiting, *quick) as load:
        time.sleep(3.0)
        code = replica.stop()
        took = time.monotonic() - replica.told
        time.sleep(0.1)
    stop = sort(load.outcomes, replica.told, replica.log.read_text(errors="replace"))
    reasons = [*stop.reasons(), *([f"exit code {code}"] if code else [])]
    report.line(
        f"{stop.told()} Ended with code {code} after {took:.1f} s: {report.check('SIGTERM under load', *reasons)}"
    )


@dataclass(frozen=True, slots=True)
class Stop:
    """The calls around a SIGTERM: those under way then, those sent later, and those that must have been answered."""

    under_way: list[Outcome]
    later: list[Outcome]
    wronged: list[str]

    def reasons(self) -> list[str]:
        """What speaks against it; that nothing was put to the test does too."""
        untested = [] if any(map(_waited, self.under_way)) else ["no call was waiting for the FHIR server at SIGTERM"]
        return self.wronged + untested

    def told(self) -> str:
        """In words."""
        answered = sum(not each.fault for each in self.under_way)
        how = Counter(each.answer.words or str(each.answer.status) for each in self.later if each.fault)
        refused = how.pop("ConnectionRefusedError", 0)
        counted = ", ".join(f"{number} {words}" for words, number in how.items()) or "none"
        return (
            f"Of {len(self.under_way)} calls under way ({sum(map(_waited, self.under_way))} of them waiting for a slow "
            f"FHIR server) {answered} were answered. Of {len(self.later)} sent from then on "
            f"{sum(not each.fault for each in self.later)} were answered, {refused} found nobody listening, "
            f"{how.total()} were cut ({counted})."
        )


def sort(outcomes: list[Outcome], told: float, log: str) -> Stop:
    """The calls of a load by when they were sent, as seen from SIGTERM at `told`.

    What was sent a moment before may not have been read yet: like what was sent later, it may be lost, unless it got
    an answer that is wrong, or stands in the log and so was read.
    """
    before = [each for each in outcomes if each.answer.began < told - AT_ONCE]
    later = [each for each in outcomes if each.answer.began >= told - AT_ONCE]
    wronged = [each for each in before if each.fault]
    wronged += [each for each in later if each.fault and (each.answer.status or each.trace in log)]
    return Stop(
        [each for each in before if each.answer.began + each.answer.seconds > told],
        later,
        [f"{each.kind}, sent {each.answer.began - told:+.2f} s from SIGTERM: {each.fault}" for each in wronged],
    )


def _waited(outcome: Outcome) -> bool:
    return outcome.kind == "none"


def worker_killed(world: World, report: Report, kills: int = KILLS) -> None:
    """SIGKILL to gunicorn's worker, as the kernel does it to one that takes too much memory."""
    report.title("A worker killed (SIGKILL) under load")
    replica, ehr = world.start(), world.ehr(ledger=Ledger())
    ehr.learn(replica.port)
    quiet = allowance(ehr, replica.port)
    gaps, moments = list[float](), list[tuple[float, float]]()
    callers = [caller(ehr, kind, keep=False) for kind in ("all", "none", "feedback", "all")]
    with running([replica.port], *callers) as load:
        for _ in range(kills):
            time.sleep(1.0)
            moments.append(_kill(replica))
            gaps.append(_until_answered(load, moments[-1][1]))
    cards, feedback = ehr.ledger.await_stored(world.database_url, 2)
    reasons = [reason for fault in load.faults if (reason := _unexpected(fault, moments))]
    others = len(reasons)
    if max(gaps) > RESPAWN_BOUND + quiet:
        reasons.append(f"answered again only after {max(gaps):.1f} s")
    if feedback:
        reasons.append(f"{feedback} acknowledged feedback items are not in the database")
    report.line(
        f"{kills} kills, {len(load.outcomes)} calls; {len(load.faults) - others} that were under way when a worker was "
        f"killed were lost, and {others} that were not; answered again after "
        f"{', '.join(f'{gap:.1f}' for gap in gaps)} s, callers who came meanwhile waited. Of "
        f"{len(ehr.ledger.feedback)} feedback items acknowledged {feedback} are not in the database, of "
        f"{len(ehr.ledger.cards)} cards shown {cards} (they are recorded a fifth of a second after the answer): "
        f"{report.check('worker killed', *reasons)}"
    )
    replica.stop()


def _kill(replica: Replica) -> tuple[float, float]:
    """Between which two moments it happened."""
    workers, began = replica.workers, time.monotonic()
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    return began, time.monotonic()


def _until_answered(load: Load, moment: float) -> float:
    """Seconds from `moment` to the end of the first answer to a call that was begun after it."""
    while time.monotonic() < moment + 2 * RESPAWN_BOUND:
        right = [each.answer for each in load.outcomes[-50:] if each.answer.began > moment and not each.fault]
        if right:
            return min(each.began + each.seconds for each in right) - moment
        time.sleep(0.02)
    return time.monotonic() - moment


def _unexpected(outcome: Outcome, moments: list[tuple[float, float]]) -> str:
    """Why this loss is more than that of a call under way when a worker was killed."""
    began, ended = outcome.answer.began, outcome.answer.began + outcome.answer.seconds
    if outcome.answer.status == 0 and any(began <= after and before <= ended for before, after in moments):
        return ""
    near = min((began - after for _, after in moments), key=abs, default=0.0)
    return f"{outcome.kind}, begun {near:+.3f} s from a kill, so not under way: {outcome.fault}"


def migrations(world: World, report: Report) -> None:
    """Replicas that start without a database, then two upgrades at once beside them; then tables of a later version."""
    report.title("Tables that come and change while replicas serve")
    with psycopg.connect(world.database_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE later")
    url, past_proxy = world.proxied_url("later"), world.database_url.replace("/postgres", "/later")
    ledger = Ledger()
    ehr = world.ehr(ledger=ledger)
    with world.database.broken(Fault.REFUSED), ThreadPoolExecutor(2) as starting:
        began = time.monotonic()
        replicas = list(starting.map(lambda _: world.start(DATABASE_URL=url), range(2)))
        started = time.monotonic() - began
        ehr.learn(replicas[0].port)
    with running([each.port for each in replicas], caller(ehr, "all", "none"), caller(ehr, "all", keep=False)) as load:
        reasons = _upgrade_twice(past_proxy)
        time.sleep(1.0)
        with psycopg.connect(past_proxy, autocommit=True) as connection:  # what a later version of ours would do
            connection.execute("ALTER TABLE cards ADD COLUMN of_a_later_version text")
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
        reasons += _upgrade_twice(past_proxy)
        newcomer = world.start(DATABASE_URL=url)
        load.ports = [*load.ports, newcomer.port]
        time.sleep(1.0)
    stored = ehr.feedback(newcomer.port)
    reasons += [f"{each.kind}: {each.fault}" for each in load.faults]
    reasons += [] if stored.status == 200 else [f"feedback by old code to new tables was answered {stored.status}"]
    reasons += _not_stored(ledger, past_proxy)
    for replica in (*replicas, newcomer):
        replica.stop()
    report.line(
        f"Two replicas were ready {started:.1f} s after they were started without a database, and served; two `db "
        f"upgrade` at once made the tables beside them; two more, and a replica started then, left tables of a later "
        f"version as they are. {len(load.outcomes)} calls, {len(load.faults)} not answered as they must be: "
        f"{report.check('migrations', *reasons)}"
    )


def _upgrade_twice(url: str) -> list[str]:
    both = [upgrade(url) for _ in range(2)]
    said = [process.communicate(timeout=60)[1].decode(errors="replace") for process in both]
    return [f"db upgrade: {words[-300:]}" for process, words in zip(both, said, strict=True) if process.returncode]


def _not_stored(ledger: Ledger, url: str) -> list[str]:
    cards, feedback = ledger.await_stored(url, 15)
    return (
        [f"{cards} cards shown and {feedback} feedback items acknowledged were not stored"] if cards + feedback else []
    )
