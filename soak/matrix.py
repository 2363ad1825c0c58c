"""Each dependency with each fault: what callers get meanwhile, how fast, and when all is well again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType

from service.api.auth.jwks_cache import RETRY_S
from soak.calls import HOOK, LACKING, NEW_KEY, OLD_KEY, Answer, Ehr, Ledger, detail, key_set, send, slowest, statuses
from soak.faults import LATENCY, Fault
from soak.pace import QUIET_CALLS, TIMES, allowance
from soak.report import Report
from soak.world import Dependency, Memory, Replica, World, host, service_table, tenant

PREFETCH_BOUND = 0.5  # s, promised with prefetch and a key that is known
FALLBACK_BOUND = 2.0  # s, where a dependency has to be asked: FHIR server, host of keys, database for feedback
HARD_STOP = 4.0  # s, for anything
RECOVERY_BOUND = 5.0  # s from the end of the fault until every kind of call is right again at every replica
CATCH_UP_BOUND = 10.0  # s until the cards shown meanwhile are stored: the writer tries again 5 s later at the latest
LONGEST_WATCH = 45.0  # s after which waiting for recovery is given up
# One outage lasts until the pauses between the writer's attempts have grown to their longest.
LONGER = MappingProxyType({("postgresql", Fault.REFUSED): 12.0})  # s
TARGETS = ("fhir", "jwks", "postgresql")
NAMES = {"fhir": "FHIR server", "jwks": "JWKS host", "postgresql": "PostgreSQL"}
ASKING = {"fhir": "fallback", "jwks": "new key", "postgresql": "feedback"}  # the kind of call that cannot do without it
COLUMNS = (
    "dependency", "fault", "statuses: prefetch", "half", "fallback", "feedback", "new key",
    "slowest prefetch ms", "fallback ms", "feedback ms", "new key ms", "recovered s", "stored s", "peak MB",
    "quiet ms", "verdict",
)  # fmt: skip


@dataclass
class Cell:
    """What was seen in one cell; `reasons` speak against it, `allowance` is added to what is promised (`soak.pace`)."""

    target: str
    fault: Fault
    allowance: float = 0.0
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    bounds: dict[str, float] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    recovered: float = 0.0
    stored: float | None = None
    peak: int = 0

    def quiet(self, ehr: Ehr, *ports: int) -> None:
        """Measure how fast this machine is now; of a run before the fault and one after it the slower one counts."""
        self.allowance = max(self.allowance, allowance(ehr, *ports))

    def judge(self, kind: str, found: Answer, bound: float, reason: str) -> None:
        """Note an answer that is promised within `bound` seconds."""
        self.answers.setdefault(kind, []).append(found)
        if reason:
            self.reasons.append(f"{kind}: {reason}")
        self.bounds[kind] = bound

    def verdict(self, report: Report) -> str:
        """All that speaks against it: what was wrong, and the slowest answer of each kind that came too late."""
        longest = {kind: max(each.seconds for each in found) for kind, found in self.answers.items()}
        felt = [] if self.felt() else ["the fault was not felt"]
        late = [
            f"{kind}: took {took:.2f} s, more than {self.bounds[kind]:g} + {self.allowance:.2f} s"
            for kind, took in longest.items()
            if took > self.bounds[kind] + self.allowance
        ]
        return report.check(
            f"{NAMES[self.target]}, {self.fault.value}", *felt, *self.reasons, *late, *self._slow_to_recover()
        )

    def _slow_to_recover(self) -> list[str]:
        """Recovery and storing, against what is promised on a machine of this pace."""
        reasons = []
        if self.recovered > RECOVERY_BOUND + self.allowance:
            reasons.append(f"recovered only after {self.recovered:.1f} s, more than {RECOVERY_BOUND:g} s")
        if self.stored is not None and self.stored > CATCH_UP_BOUND + self.allowance:
            reasons.append(f"what waited was stored only after {self.stored:.1f} s, more than {CATCH_UP_BOUND:g} s")
        return reasons

    def felt(self) -> bool:
        """Was anything different from health where the dependency had to be asked? Latency may cost time alone."""
        found = self.answers.get(ASKING[self.target], [])
        late = self.fault is Fault.LATENCY and any(each.seconds >= LATENCY for each in found)
        return late or any(each.status != 200 or LACKING in detail(each) for each in found)

    def row(self, verdict: str) -> list[object]:
        """As a row of the table."""
        kinds = ("prefetch", "half", "fallback", "feedback", "new key")
        shown = self.answers
        if self.target == "jwks":  # the others have a key that is known: they show that they do not ask
            shown = {kind: found for kind, found in shown.items() if kind in {"prefetch", "new key"}}
        return [
            NAMES[self.target], self.fault.value, *(statuses(shown.get(kind, [])) for kind in kinds),
            *(slowest(shown.get(kind, [])) for kind in ("prefetch", "fallback", "feedback", "new key")),
            f"{self.recovered:.1f}", "–" if self.stored is None else f"{self.stored:.1f}",
            self.peak, f"{1000 * self.allowance / TIMES:.0f}", verdict,
        ]  # fmt: skip


def run(world: World, report: Report, cells: Iterable[tuple[str, Fault]] | None = None) -> None:
    """All cells, or the given ones; prints a row for each."""
    wanted = list(cells) if cells is not None else [(target, fault) for target in TARGETS for fault in Fault]
    report.title("Faults of the dependencies")
    report.line(
        f"Promised: {PREFETCH_BOUND:g} s with prefetch and a known key, {FALLBACK_BOUND:g} s where a dependency is "
        f"asked, {HARD_STOP:g} s for anything, recovery in {RECOVERY_BOUND:g} s; each cell may take {TIMES:g} times "
        f"the slowest of {QUIET_CALLS} quiet calls before and after it longer (column `quiet ms`). "
        "FHIR server and PostgreSQL: two replicas in production mode, keys in a file. JWKS "
        "host: one replica in development mode with tenants that must prove themselves, since production reads no keys "
        "from this machine; its calls without prefetch and its feedback have a key that is known and do not ask the "
        "host: judged, not shown. A fault that nobody felt is a failure.\n"
    )
    report.table(*COLUMNS)
    with _ready_for_keys(world, [fault for target, fault in wanted if target == "jwks"]) as jwks:
        for target, fault in wanted:
            if target != "jwks":
                cell = _cell(world, Cell(target, fault))
                report.row(*cell.row(cell.verdict(report)))
        for cell in jwks():
            report.row(*cell.row(cell.verdict(report)))


# ---- FHIR server and PostgreSQL --------------------------------------------------------------------------------------


def _cell(world: World, cell: Cell) -> Cell:
    replicas, ehr = world.two_replicas(), world.ehr()
    ehr.learn(replicas[0].port)
    ehr.learn(replicas[1].port)
    ports = [replica.port for replica in replicas]
    cell.quiet(ehr, *ports)
    broken = world.fhir if cell.target == "fhir" else world.database
    memory = Memory(replicas)
    with broken.broken(cell.fault):
        _calls(cell, ehr, replicas)
        time.sleep(LONGER.get((cell.target, cell.fault), 0.0))
    _weigh(cell, memory)
    healed = time.monotonic()
    _await_recovery(cell, healed, lambda: _well(ehr, replicas))
    cell.quiet(ehr, *ports)
    if cell.target == "postgresql":
        _await_stored(cell, healed, world)
        _replays(cell, ehr, replicas, across=True)
    return cell


def _weigh(cell: Cell, memory: Memory) -> None:
    cell.peak = memory.peak()
    cell.reasons += memory.reasons()


def _calls(cell: Cell, ehr: Ehr, replicas: list[Replica]) -> None:
    """At each replica: two calls that must ask the FHIR server and one that must ask it for a part, under way at the
    same time, and beside them calls that need not ask it, one after the other."""
    fhir, database = cell.target == "fhir", cell.target == "postgresql"
    with ThreadPoolExecutor(6) as callers:
        asking: list[tuple[str, Future[Answer]]] = []
        for replica in replicas:
            asking += [("fallback", callers.submit(ehr.call, replica.port, "none")) for _ in range(2)]
            asking.append(("half", callers.submit(ehr.call, replica.port, "half")))
        for replica in replicas * 3:
            found = ehr.call(replica.port, "all")
            cell.judge("prefetch", found, PREFETCH_BOUND, ehr.fault_of(found))
        for replica in replicas:
            found = ehr.feedback(replica.port)
            bound = HARD_STOP if database else PREFETCH_BOUND
            cell.judge("feedback", found, bound, _feedback_fault(found, down=database))
        _replays(cell, ehr, replicas, across=False)
        for kind, future in asking:
            allowed = (412,) if fhir and kind == "fallback" else ()
            reason = ehr.fault_of(future.result(), allowed, lacking=fhir)
            cell.judge(kind, future.result(), FALLBACK_BOUND, reason)


def _feedback_fault(found: Answer, *, down: bool) -> str:
    expected = {200, 503} if down else {200}
    return "" if found.status in expected else f"answered {found.status or found.words}"


def _replays(cell: Cell, ehr: Ehr, replicas: list[Replica], *, across: bool) -> None:
    """A token that was used is refused: by the same replica always, by the other one while there is a database."""
    token = ehr.token()
    first, second = replicas[0], replicas[-1 if across else 0]
    found = [ehr.ledger.shown(send(replica.port, HOOK, ehr.body("all"), token)) for replica in (first, second)]
    if [each.status for each in found] != [200, 401]:
        where = "at the other replica" if across else "at the same replica"
        cell.reasons.append(f"a token used twice {where} was answered {[each.status for each in found]}")


def _well(ehr: Ehr, replicas: list[Replica]) -> bool:
    """Is every kind of call right at every replica?"""
    return all(
        not ehr.fault_of(ehr.call(replica.port, sent)) for replica in replicas for sent in ("all", "none")
    ) and all(ehr.feedback(replica.port).status == 200 for replica in replicas)


def _await_recovery(cell: Cell, healed: float, well: Callable[[], bool]) -> None:
    while not (fine := well()) and time.monotonic() - healed < LONGEST_WATCH:
        time.sleep(0.1)
    cell.recovered = time.monotonic() - healed
    if not fine:
        cell.reasons.append(f"not well after {cell.recovered:.1f} s")


def _await_stored(cell: Cell, healed: float, world: World) -> None:
    missing = world.ledger.await_stored(world.database_url, LONGEST_WATCH)
    cell.stored = time.monotonic() - healed
    if any(missing):
        cell.reasons.append(f"{missing[0]} cards shown and {missing[1]} feedback items acknowledged were never stored")


# ---- the host of keys ------------------------------------------------------------------------------------------------


@contextmanager
def _ready_for_keys(world: World, faults: list[Fault]) -> Iterator[Callable[[], Iterator[Cell]]]:
    """A replica with one caller and one host of keys for each fault, so that the cells do not wait for each other.

    Its keys are fetched now: by the time of the cells the service will ask for an unknown one.
    """
    if not faults:
        yield lambda: iter(())
        return
    with ExitStack() as life:
        folder = world.folder / "jwks"
        folder.mkdir()
        (folder / "chart.json").write_bytes((world.folder / "chart.json").read_bytes())
        (folder / "jwks.json").write_bytes(key_set(OLD_KEY))
        hosts = {fault: life.enter_context(host(world.papers, folder)) for fault in faults}
        tenants = [
            tenant(f"caller-{number}", _issuer(fault), f'jku = ["{_jku(hosts[fault])}"]', world.fhir)
            for number, fault in enumerate(faults)
        ]
        replica = world.start(service_table(world.papers) + "".join(tenants), mode="development")
        # Each a tenant of its own: feedback about the card of another one is not kept.
        ehrs = {fault: world.ehr(_issuer(fault), _jku(hosts[fault]), Ledger()) for fault in faults}
        for ehr in ehrs.values():
            ehr.learn(replica.port)
        warmed = time.monotonic()

        def cells() -> Iterator[Cell]:
            time.sleep(max(0.0, warmed + RETRY_S + 1 - time.monotonic()))
            (folder / "jwks.json").write_bytes(key_set(OLD_KEY, NEW_KEY))
            with ThreadPoolExecutor(len(faults)) as watchers:
                watched = [
                    _key_cell(Cell("jwks", fault), ehrs[fault], replica, hosts[fault], watchers) for fault in faults
                ]
                for cell, recovery in watched:
                    recovery.result()
                    yield cell

        yield cells


def _key_cell(
    cell: Cell, ehr: Ehr, replica: Replica, keys: Dependency, watchers: ThreadPoolExecutor
) -> tuple[Cell, Future[None]]:
    """The calls while the host of keys is broken; its recovery is watched while the next cell begins."""
    cell.quiet(ehr, replica.port)
    memory = Memory([replica])
    with keys.broken(cell.fault), ThreadPoolExecutor(1) as caller:
        unknown = caller.submit(ehr.call, replica.port, "all", NEW_KEY)
        for sent, kind, bound in (("all", "prefetch", PREFETCH_BOUND), ("none", "fallback", FALLBACK_BOUND)):
            for _ in range(3):
                found = ehr.call(replica.port, sent)
                cell.judge(kind, found, bound, ehr.fault_of(found))
        found = ehr.feedback(replica.port)
        cell.judge("feedback", found, PREFETCH_BOUND, _feedback_fault(found, down=False))
        reason = ehr.fault_of(unknown.result(), (401,))
        cell.judge("new key", unknown.result(), FALLBACK_BOUND, reason)
    _weigh(cell, memory)
    healed = time.monotonic()

    def well() -> bool:
        found = [ehr.call(replica.port, "all", key) for key in (OLD_KEY, NEW_KEY)]
        return not any(map(ehr.fault_of, found))

    def recovery() -> None:
        _await_recovery(cell, healed, well)
        cell.quiet(ehr, replica.port)

    return cell, watchers.submit(recovery)


def _issuer(fault: Fault) -> str:
    return f"https://{fault.name.lower().replace('_', '-')}.soak.example"


def _jku(keys: Dependency) -> str:
    return f"https://127.0.0.1:{keys.proxy.port}/jwks"
