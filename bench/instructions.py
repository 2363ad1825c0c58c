"""Instructions of a call, counted by valgrind: steady to a percent where ratios of times swing with the machine."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.calls import GUARDED, HOOK, ROOMY, Target, always, baseline, folder_of, signing
from bench.load import drive, request
from bench.report import Figure
from bench.servers import family, magnesium

CALLS, WARMING_UP = 20, 10
STARTING = 600.0  # s; under valgrind everything takes twenty times as long
SETTLING = 1.0  # s, in which what was answered is also logged and stored
NEEDED = ("valgrind", "vgdb")
VALGRIND = ("valgrind", "-q", "--tool=callgrind", "--instr-atstart=no", "--trace-children=yes")


def measure(bodies: Mapping[str, bytes]) -> Generator[Figure]:
    """Millions of instructions of a call, in user space: the worker with all its threads, SQLite and OpenSSL included."""
    missing = [program for program in NEEDED if not shutil.which(program)]
    for name, data in bodies.items():
        section = f"instructions, {name}"
        if missing:
            yield Figure(section, "not measured", None, "", note=f"{' and '.join(missing)} not installed")
            continue
        counts = {}
        for target, serve in SERVED.items():
            with ExitStack() as opened:
                out = folder_of(opened)
                before = [*VALGRIND, f"--callgrind-out-file={out}/%p"]
                counts[target] = _per_call(serve(opened, data, before), out) / 1e6
            note = f"({counts[target] / counts['echo']:.2f} x echo)"
            yield Figure(section, target, counts[target], "million a call", note=note)


def _echo(opened: ExitStack, data: bytes, before: Sequence[str]) -> Target:
    return Target(opened.enter_context(baseline(before, STARTING)), always(request("/echo", data)))


def _service(opened: ExitStack, data: bytes, before: Sequence[str]) -> Target:
    server = magnesium(folder_of(opened), ROOMY, before=before, patience=STARTING)
    return Target(opened.enter_context(server), always(request(HOOK, data)))


def _signed(opened: ExitStack, data: bytes, before: Sequence[str]) -> Target:
    return signing(opened, GUARDED, data, CALLS + WARMING_UP, before, STARTING)


SERVED = {"echo": _echo, "service": _service, f"service with {GUARDED}": _signed}


def _per_call(target: Target, out: Path) -> float:
    """Instructions of the worker for each of CALLS calls, once the first are over."""
    server = target.server
    (worker,) = family(server.process.pid) - {server.process.pid}
    drive(server.port, target.draw, WARMING_UP)
    time.sleep(SETTLING)
    _tell(worker, "instrumentation", "on")
    drive(server.port, target.draw, CALLS)
    time.sleep(SETTLING)
    _tell(worker, "instrumentation", "off")
    _tell(worker, "dump")
    return counted(out, worker) / CALLS


def counted(out: Path, process: int) -> int:
    """All that was dumped of a process: into a file of its number, and further ones with a point and a count."""
    dumped = "".join(file.read_text() for file in (*out.glob(f"{process}"), *out.glob(f"{process}.*")))
    return sum(map(int, re.findall(r"(?m)^totals: (\d+)", dumped)))


def _tell(process: int, *words: str) -> None:
    subprocess.run(["vgdb", f"--pid={process}", *words], check=True, capture_output=True, timeout=STARTING)
