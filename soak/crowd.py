"""Many callers without prefetch while the FHIR server is broken: what they cost those who need no FHIR server."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from soak.calls import Answer, Ehr, slowest, statuses
from soak.faults import Fault
from soak.matrix import HARD_STOP, PREFETCH_BOUND
from soak.pace import allowance
from soak.report import Report
from soak.world import Memory, Replica, World

CROWDS = ((Fault.HUNG, 20), (Fault.BLACK_HOLE, 20), (Fault.HUGE, 8))
BESIDE = 5  # calls with prefetch, one after the other


def run(world: World, report: Report) -> None:
    """A row for each crowd, each at a new replica."""
    report.title("A crowd without prefetch while the FHIR server is broken, at one replica")
    report.table(
        "fault", "callers without prefetch", "their statuses", "slowest ms", "beside them with prefetch: statuses",
        "slowest ms", "peak MB", "verdict",
    )  # fmt: skip
    for fault, number in CROWDS:
        replica, ehr = world.start(), world.ehr()
        ehr.learn(replica.port)
        memory, quiet = Memory([replica]), allowance(ehr, replica.port)
        with world.fhir.broken(fault):
            crowd, beside = _calls(ehr, replica, number)
        quiet = max(quiet, allowance(ehr, replica.port))
        reasons, peak = [*_reasons(ehr, fault, crowd, beside, quiet), *memory.reasons()], memory.peak()
        replica.stop()
        told = (statuses(crowd), slowest(crowd), statuses(beside), slowest(beside))
        report.row(fault.value, number, *told, peak, report.check(f"crowd, {fault.value}", *reasons))


def _calls(ehr: Ehr, replica: Replica, number: int) -> tuple[list[Answer], list[Answer]]:
    with ThreadPoolExecutor(number) as callers:
        crowd = [callers.submit(ehr.call, replica.port, "none") for _ in range(number)]
        time.sleep(0.5)
        beside = [ehr.call(replica.port, "all") for _ in range(BESIDE)]
        return [each.result() for each in crowd], beside


def _reasons(ehr: Ehr, fault: Fault, crowd: list[Answer], beside: list[Answer], quiet: float) -> list[str]:
    reasons = [ehr.fault_of(each, (412,), lacking=True) for each in crowd] + [ehr.fault_of(each) for each in beside]
    # A huge answer is work for this machine's processors, which also have to make it: there only the hard stop counts.
    bound = quiet + (HARD_STOP if fault is Fault.HUGE else PREFETCH_BOUND)
    if (longest := max(each.seconds for each in beside)) > bound:
        reasons.append(f"a call with prefetch took {longest:.2f} s, more than {bound:g} s")
    if (longest := max(each.seconds for each in crowd)) > HARD_STOP + quiet:
        reasons.append(f"a call without prefetch took {longest:.2f} s, more than {HARD_STOP + quiet:g} s")
    return reasons
