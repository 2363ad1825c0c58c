"""A full disk: under SQLite, emulated without root, and under PostgreSQL, a small one that is filled.

SQLite: the processes may write no file beyond 4 kB (RLIMIT_FSIZE). Every write to the database then fails as on a full
disk, with EFBIG in place of ENOSPC; other programs do not suffer. The log goes through a pipe, as in a container.
PostgreSQL: its data lie in a file system in memory (tmpfs), which takes root to mount.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.postgres import postgres, programs
from bench.servers import family
from service.store import upgrade
from soak.calls import HOOK, Answer, Ehr, Ledger, send, slowest, statuses
from soak.pace import allowance
from soak.report import Report
from soak.world import Replica, World

ROOM = 4096  # bytes
RECOVERY_BOUND = 5.0  # s
STORED_BOUND = 10.0  # s
SMALL_DISK = "96m"  # an empty PostgreSQL has 60
UNTIL_REFUSED = 400  # feedback items at most: PostgreSQL writes on in the pages and log segments that it has


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
        _recover(report, ehr, replica, url, "disk full", reasons, told)


def _recover(report: Report, ehr: Ehr, replica: Replica, url: str, name: str, reasons: list[str], told: str) -> None:
    """There is room again: feedback is accepted soon, and nothing that was acknowledged or shown is missing."""
    healed, quiet = time.monotonic(), allowance(ehr, replica.port)
    while ehr.feedback(replica.port).status != 200 and time.monotonic() - healed < 4 * RECOVERY_BOUND:
        time.sleep(0.1)
    recovered = time.monotonic() - healed
    missing = ehr.ledger.await_stored(url, STORED_BOUND + quiet)
    replica.stop()
    if recovered > RECOVERY_BOUND + quiet:
        reasons.append(f"feedback was accepted again only after {recovered:.1f} s")
    if any(missing):
        reasons.append(f"{missing[0]} cards shown and {missing[1]} feedback items acknowledged were not stored")
    report.line(
        f"{told}; feedback accepted again {recovered:.1f} s after there was room; of {len(ehr.ledger.cards)} cards "
        f"shown and {len(ehr.ledger.feedback)} feedback items acknowledged {missing[0]} and {missing[1]} were not "
        f"stored: {report.check(name, *reasons)}"
    )


def postgresql(world: World, report: Report) -> None:
    """The same under PostgreSQL: until it can write no more, and then again."""
    report.title("Disk full under PostgreSQL")
    where = programs()
    with _small_disk() as disk:
        if where is None or disk is None:
            report.not_run("a full disk under PostgreSQL: no file system in memory may be mounted here (needs root)")
            return
        with postgres(where, disk) as database:
            upgrade(database.url)
            ehr = world.ehr(ledger=Ledger())
            replica = world.start(mode="development", DATABASE_URL=database.url)
            ehr.learn(replica.port)
            with _filled(disk):
                refused = next((n for n in range(UNTIL_REFUSED) if ehr.feedback(replica.port).status == 503), None)
                reasons, told = _calls(ehr, replica, refused=refused is not None)
            reasons += ["the full disk was not felt"] if refused is None else []
            _recover(report, ehr, replica, database.url, "PostgreSQL's disk full", reasons, told)


@contextmanager
def _small_disk() -> Iterator[Path | None]:
    """A small file system of our own, open to the account of PostgreSQL; None where that is not allowed."""
    folder = Path(tempfile.mkdtemp(prefix="disk-"))
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "tmpfs", str(folder)], check=False)
    folder.chmod(0o755)
    try:
        yield folder if mounted.returncode == 0 else None
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()


@contextmanager
def _filled(disk: Path) -> Iterator[None]:
    """No byte is left in this block."""
    file = disk / "filler"
    with suppress(OSError), file.open("wb", buffering=0) as filler:
        while filler.write(bytes(4096)):
            pass
    try:
        yield
    finally:
        file.unlink()


def _calls(ehr: Ehr, replica: Replica, *, refused: bool = True) -> tuple[list[str], str]:
    cards = [ehr.call(replica.port, sent) for sent in ("all", "none", "half") * 3]
    feedback = [ehr.feedback(replica.port) for _ in range(3)]
    token = ehr.token()
    twice = [ehr.ledger.shown(send(replica.port, HOOK, ehr.body("all"), token)).status for _ in range(2)]
    reasons = [*map(ehr.fault_of, cards)]
    reasons += [
        f"feedback was answered {found.status or found.words}" for found in feedback if refused and found.status != 503
    ]
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
