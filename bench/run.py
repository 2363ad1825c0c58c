"""`make bench`: CPU per call and latency of a hook call, as ratios to the baseline's /echo measured in the same run.

Both servers run under gunicorn with one worker and four threads; requests alternate between them over kept-alive
connections from this process, so that whatever else the machine does meets both. CPU is the servers' own user and
system time. Absolute times mean nothing on a shared machine; the ratios do.
"""

from __future__ import annotations

import argparse
import http.client
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from bench.bodies import body, large, small

ROOT = Path(__file__).parents[1]
HOOK = "/cds-services/magnesium-patient-view"
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Server:
    """A running server and one connection to it."""

    process: subprocess.Popen[bytes]
    port: int
    connection: http.client.HTTPConnection = field(init=False)

    def __post_init__(self) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def post(self, path: str, data: bytes) -> float:
        """Seconds for one call; raises unless it is answered with 200."""
        started = time.perf_counter()
        self.connection.request("POST", path, data, {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise SystemExit(f"{path} answered {answer.status}")
        return time.perf_counter() - started

    def cpu(self) -> float:
        """User and system seconds of the server and its workers so far."""
        return sum(_cpu_of(pid) for pid in _group(self.process.pid))


def _group(leader: int) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[2]) == leader:
                yield int(entry.name)


def _cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: list[str], port: int, ready: str, **environment: str) -> Iterator[Server]:
    """A server in a process group of its own, until it is no longer needed."""
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **environment}, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _wait(port, ready)
        yield Server(process, port)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def _wait(port: int, path: str) -> None:
    for _ in range(200):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            connection.request("GET", path)
            connection.getresponse().read()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("a server did not start")


@contextmanager
def both() -> Iterator[tuple[Server, Server]]:
    """The service and the baseline."""
    ours, theirs = _free_port(), _free_port()
    gunicorn = [
        sys.executable,
        "-m",
        "gunicorn",
        "-b",
        f"127.0.0.1:{theirs}",
        "-w",
        "1",
        "-k",
        "gthread",
        "--threads",
        "4",
    ]
    gunicorn += ["--keep-alive", "30", "--log-level", "error", "--no-control-socket", "bench.baseline:app"]
    with tempfile.TemporaryDirectory() as folder:
        database = f"sqlite:///{folder}/bench.sqlite3"
        site = Path(folder) / "site.toml"
        site.write_text("[service]\nmax_body_bytes = 50000000\n")
        serve = [sys.executable, "-m", "service", "serve"]
        with (
            running(serve, ours, "/health/live", PORT=str(ours), DATABASE_URL=database, WEB_THREADS="4",
                    MAGNESIUM_CDS_LOG_LEVEL="ERROR", MAGNESIUM_CDS_SITE=str(site)) as service,
            running(gunicorn, theirs, "/") as baseline,
        ):  # fmt: skip
            yield service, baseline


def measure(service: Server, baseline: Server, data: bytes, rounds: int, calls: int) -> None:
    """Alternate blocks of calls and print the ratios of CPU and latency."""
    cpu: list[float] = []
    times: list[float] = []
    echo_times: list[float] = []
    for _ in range(3):
        service.post(HOOK, data)
        baseline.post("/echo", data)
    for _ in range(rounds):
        before, echo_before = service.cpu(), baseline.cpu()
        for _ in range(calls):
            times.append(service.post(HOOK, data))
            echo_times.append(baseline.post("/echo", data))
        time.sleep(0.3)  # the store's writer works a little later
        cpu.append((service.cpu() - before) / (baseline.cpu() - echo_before))
    p50, p99 = statistics.median(times), sorted(times)[int(len(times) * 0.99) - 1]
    print(f"  CPU per call            {statistics.median(cpu):6.2f} x echo   [{min(cpu):.2f} to {max(cpu):.2f}]")
    print(f"  p50                     {p50 / statistics.median(echo_times):6.2f} x echo")
    print(f"  p99                     {p99 / p50:6.2f} x p50    ({1000 * p50:.1f} and {1000 * p99:.1f} ms here)")


def growth(service: Server, rounds: int) -> None:
    """CPU per resource from 60 to 10,000 resources, against the smallest."""
    costs = {}
    for resources in (60, 300, 1200, 5000, 10000):
        data = body(resources * 5 // 6, resources // 12, datetime.now(UTC))
        service.post(HOOK, data)
        calls = max(3, rounds * 600 // resources)
        before = service.cpu()
        for _ in range(calls):
            service.post(HOOK, data)
        costs[resources] = (service.cpu() - before) / calls / resources
    for resources, cost in costs.items():
        print(f"  {resources:6d} resources        {cost / costs[300]:6.2f} x the cost per resource at 300")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--bodies", type=Path, help="folder with small.json and large.json to send instead of our own")
    options = parser.parse_args()
    bodies = {"small": small(), "large": large()}
    if options.bodies:
        bodies = {name: (options.bodies / f"{name}.json").read_bytes() for name in bodies}
    with both() as (service, baseline):
        for name, data, calls in (("small", bodies["small"], 60), ("large", bodies["large"], 6)):
            print(f"{name}: {len(data) // 1000} kB")
            measure(service, baseline, data, options.rounds, calls)
        print("growth:")
        growth(service, options.rounds)


if __name__ == "__main__":
    main()
