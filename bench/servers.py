"""Starts servers as processes of their own on free ports, says what they used of the processor, and ends them."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO

ROOT = Path(__file__).parents[1]
OURS = (
    "MAGNESIUM_CDS_",
    "DATABASE_",
    "OTEL_",
    "WEB_",
    "HOST",
    "PORT",
)  # settings of whoever calls us, not of our servers
NOTHING: Mapping[str, str] = MappingProxyType({})
START_SECONDS = 60.0
STOP_SECONDS = 30.0
PROCESS_CLOCK = 2  # Linux: the CPU clock of a process is ~pid * 8 + 2, in nanoseconds and with its ended threads


@dataclass(frozen=True, slots=True)
class Server:
    """A running server on a port of this machine."""

    process: subprocess.Popen[bytes]
    port: int

    def cpu(self) -> float:
        """User and system seconds so far of the server and of the workers it has now."""
        return sum(map(_cpu_of, family(self.process.pid)))


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(
    command: Sequence[str],
    port: int,
    ready: str | Callable[[], bool] = "/",
    environment: Mapping[str, str] = NOTHING,
    log: Path | None = None,
    stop: signal.Signals = signal.SIGTERM,
    patience: float = START_SECONDS,
) -> Iterator[Server]:
    """A server in a process group of its own, for as long as the block lasts, however that ends.

    It has started when the path `ready` is answered on `port` with any status, or when `ready()` is true. What it
    prints goes to the file `log`; without one it is shown only if the server does not start.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    with log.open("ab") if log else tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**kept, **environment}, start_new_session=True, stdout=output, stderr=output
        )
        server = Server(process, port)
        try:
            answers = (lambda: fetched(port, ready) is not None) if isinstance(ready, str) else ready
            _await(server, answers, output, patience)
            yield server
        finally:
            end(process, stop)


@contextmanager
def magnesium(
    folder: Path,
    site: str = "",
    environment: Mapping[str, str] = NOTHING,
    before: Sequence[str] = (),
    patience: float = START_SECONDS,
) -> Iterator[Server]:
    """The service as `make run` starts it, with `site` as the text of its site file; its files are in `folder`.

    `before` its command stands that of a program which looks on; it has `patience` seconds to start.
    """
    port = free_port()
    (folder / "site.toml").write_text(site, encoding="utf-8")
    settings = {
        "PORT": str(port),
        "DATABASE_URL": f"sqlite:///{folder}/store.sqlite3",
        "MAGNESIUM_CDS_SITE": str(folder / "site.toml"),
        **environment,
    }
    command = [*before, sys.executable, "-m", "service", "serve"]
    with running(command, port, "/health/live", settings, patience=patience) as server:
        yield server


def fetched(port: int, path: str) -> bytes | None:
    """The body of the answer to a GET of this path, of whatever status; None if nothing answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def end(process: subprocess.Popen[bytes], stop: signal.Signals = signal.SIGTERM) -> None:
    """Ask the process to end, give it time, then end whatever is left of its group."""
    with suppress(subprocess.TimeoutExpired):
        process.send_signal(stop)
        process.wait(STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def family(leader: int) -> set[int]:
    """The process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # ended meanwhile
            parent = int(entry.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.parent.name))
    family, generation = {leader}, [leader]
    while generation:
        generation = [child for each in generation for child in children.get(each, ())]
        family.update(generation)
    return family


def busy() -> float:
    """Seconds that all processors of this machine together have worked so far, for whomever."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]]
    idle = ticks[3] + ticks[4]
    return (sum(ticks) - idle) / os.sysconf("SC_CLK_TCK")


def _await(server: Server, ready: Callable[[], bool], output: IO[bytes], patience: float) -> None:
    until = time.monotonic() + patience
    while not ready():
        if server.process.poll() is not None or time.monotonic() > until:
            with suppress(OSError):  # a log that was opened for writing alone is there to be read by others
                output.seek(0)
                sys.stderr.write(output.read().decode(errors="replace")[-4000:])
            raise SystemExit(f"a server did not start: {' '.join(map(str, server.process.args))}")  # type: ignore[arg-type]
        time.sleep(0.05)


def _cpu_of(pid: int) -> float:
    with suppress(OSError):  # ended meanwhile
        return time.clock_gettime(~pid * 8 + PROCESS_CLOCK)
    return 0.0
