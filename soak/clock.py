"""A replica whose clock is an hour wrong, and then set right: tokens are refused meanwhile, and none counts twice after."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from soak.calls import HOOK, Answer, Ehr, send, statuses
from soak.pace import allowance
from soak.report import Report
from soak.world import Replica, World

LIBRARY = "libfaketimeMT.so.1"
FOLDERS = (Path("/usr/lib"), Path("/usr/local/lib"))
NOT_THERE = "a clock that jumps: no libfaketime on this machine (apt-get install libfaketime)"
JUMPS = ("+3600", "-3600")  # s
WELL_BOUND = 5.0  # s after the clock is right again
# libfaketime before 0.9.11 makes the sleep of Python 3.11 fail (wolfcw/libfaketime#426); waiting for an event is well.
SLEEP = "import threading, time\ntime.sleep = lambda seconds: threading.Event().wait(seconds) and None\n"


def run(world: World, report: Report) -> None:
    """A replica starts beside a good one with a wrong clock, serves, and its clock jumps back."""
    report.title("A clock that is an hour wrong, and then jumps back")
    library = next((found for folder in FOLDERS for found in folder.rglob(LIBRARY)), None)
    if library is None:
        report.not_run(NOT_THERE)
        return
    good, ehr = world.two_replicas()[0], world.ehr()
    ehr.learn(good.port)
    report.table("wrong by s", "statuses meanwhile", "well s after", "a token used before, shown after", "verdict")
    for jump in JUMPS:
        report.row(jump, *_jump(world, report, ehr, good, library, jump))


def _jump(world: World, report: Report, ehr: Ehr, good: Replica, library: Path, jump: str) -> tuple[str, ...]:
    quiet, token, clock = allowance(ehr, good.port), ehr.token(), world.folder / f"clock{jump}"
    _shown(ehr, good, token)
    clock.write_text(jump)
    sleeping = world.folder / "sleep"
    sleeping.mkdir(exist_ok=True)
    (sleeping / "sitecustomize.py").write_text(SLEEP)
    replica = world.start(
        LD_PRELOAD=str(library), FAKETIME_TIMESTAMP_FILE=str(clock), FAKETIME_CACHE_DURATION="1",
        FAKETIME_DONT_FAKE_MONOTONIC="1", PYTHONPATH=str(sleeping),
    )  # fmt: skip
    meanwhile = [ehr.call(replica.port, sent) for sent in ("all", "none", "half")]
    clock.write_text("+0")
    took = _until(lambda: not ehr.fault_of(ehr.call(replica.port, "all")))
    time.sleep(1.0)  # its writer has purged what it thought had expired
    again = _shown(ehr, replica, token)
    replica.stop()
    reasons = [ehr.fault_of(each, (401,)) for each in meanwhile]
    reasons += [] if any(each.status == 401 for each in meanwhile) else ["the wrong clock was not felt"]
    reasons += [f"well only after {took:.1f} s"] if took > WELL_BOUND + quiet else []
    reasons += [] if again.status == 401 else [f"a token used before was answered {again.status} after"]
    return statuses(meanwhile), f"{took:.1f}", str(again.status), report.check(f"clock {jump} s", *reasons)


def _shown(ehr: Ehr, replica: Replica, token: str) -> Answer:
    return ehr.ledger.shown(send(replica.port, HOOK, ehr.body("all"), token))


def _until(well: Callable[[], bool]) -> float:
    """Seconds until it is, or four times the bound."""
    began = time.monotonic()
    while not well() and time.monotonic() - began < 4 * WELL_BOUND:
        time.sleep(0.1)
    return time.monotonic() - began
