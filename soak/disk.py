"""A full disk under SQLite, emulated without root: the processes may write no file beyond 4 kB (RLIMIT_FSIZE).

Every write to the database then fails as on a full disk, with EFBIG in place of ENOSPC. What this does not emulate:
other programs that suffer too. The log goes through a pipe, as in a container.
"""

from __future__ import annotations

import os
import resource
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.servers import family
from soak.calls import HOOK, Answer, Ehr, Ledger, send, slowest, statuses
from soak.report import Report
from soak.world import Replica, World

ROOM = 4096  # bytes
RECOVERY_BOUND = 5.0  # s
STORED_BOUND = 10.0  # s


def run(world: World, report: Report) -> None:
    """Cards are answered, feedback is refused for now, and what waited is stored when there is room again."""
    report.title("Disk full under SQLite")
    url = f"sqlite:///{world.folder}/full.sqlite3"
    ledger = Ledger()
    ehr = world.ehr(ledger=ledger)
    with _piped(world.folder / "full-disk.log") as pipe:
        replica = world.start(mode="development", log=pipe, DATABASE_URL=url)
        ehr.learn(replica.port)
        ehr.feedback(replica.port)
        with _full(replica):
            reasons, told = _calls(ehr, replica)
        healed = time.monotonic()
        while ehr.feedback(replica.port).status != 200 and time.monotonic() - healed < 4 * RECOVERY_BOUND:
            time.sleep(0.1)
        recovered = time.monotonic() - healed
        missing = ledger.await_stored(url, STORED_BOUND)
        replica.stop()
    if recovered > RECOVERY_BOUND:
        reasons.append(f"feedback was accepted again only after {recovered:.1f} s")
    if any(missing):
        reasons.append(f"{missing[0]} cards shown and {missing[1]} feedback items acknowledged were not stored")
    report.line(
        f"{told}; feedback accepted again {recovered:.1f} s after there was room; of {len(ledger.cards)} cards shown "
        f"and {len(ledger.feedback)} feedback items acknowledged {missing[0]} and {missing[1]} were not stored: "
        f"{report.check('disk full', *reasons)}"
    )


def _calls(ehr: Ehr, replica: Replica) -> tuple[list[str], str]:
    cards = [ehr.call(replica.port, sent) for sent in ("all", "none", "half") * 3]
    feedback = [ehr.feedback(replica.port) for _ in range(3)]
    token = ehr.token()
    twice = [ehr.ledger.shown(send(replica.port, HOOK, ehr.body("all"), token)).status for _ in range(2)]
    reasons = [*map(ehr.fault_of, cards)]
    reasons += [f"feedback was answered {found.status or found.words}" for found in feedback if found.status != 503]
    reasons += [] if twice == [200, 401] else [f"a token used twice was answered {twice}"]
    return reasons, f"Cards {_told(cards)}, feedback {_told(feedback)}, a token used twice {twice[1]}"


def _told(answers: list[Answer]) -> str:
    return f"{statuses(answers)} (slowest {slowest(answers)} ms)"


@contextmanager
def _full(replica: Replica) -> Iterator[None]:
    pids = family(replica.server.process.pid)
    before = {pid: resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in pids}
    try:
        for pid, (_, most) in before.items():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (ROOM, most))
        yield
    finally:
        for pid, limits in before.items():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


@contextmanager
def _piped(log: Path) -> Iterator[Path]:
    """A pipe whose reader writes to `log`: so the limit does not hit the log as well."""
    pipe = log.with_suffix(".pipe")
    os.mkfifo(pipe)
    ours = os.open(pipe, os.O_RDWR)  # opens without a partner, and keeps the pipe open for those who come and go

    def copy() -> None:
        with open(pipe, "rb") as source, log.open("wb") as sink:
            shutil.copyfileobj(source, sink)

    reader = threading.Thread(target=copy, daemon=True)
    reader.start()
    try:
        yield pipe
    finally:
        os.close(ours)
        reader.join(5)
