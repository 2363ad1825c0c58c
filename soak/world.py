"""The processes of a soak: PostgreSQL, the EHR's hosts, replicas of the service, and the proxies between them."""

from __future__ import annotations

import itertools
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import msgspec

from bench.postgres import postgres, programs
from bench.servers import Server, family, fetched, free_port, running
from soak import certificates
from soak.calls import OLD_KEY, PUBLIC, Ehr, Ledger, key_set
from soak.certificates import HERE, Papers
from soak.chart import BORN, MARK, Json, chart
from soak.faults import LATENCY, Fault, Proxy

ISSUER = "https://ehr.soak.example"
SECRET = "the same at every replica of a soak"
SERVE = [sys.executable, "-m", "service", "serve"]
UPGRADE = [sys.executable, "-m", "service", "db", "upgrade"]
NOTHING: Mapping[str, str] = MappingProxyType({})
MEMORY_BOUND = 512  # MB, the limit of a pod in deploy/base/deployment.yaml
MARKS = MappingProxyType({"a patient, user or access token": MARK, "a bearer token": "eyJ", "a birth date": BORN})
NOT_THERE = "no PostgreSQL on this machine: initdb was not found (apt-get install postgresql)"


@dataclass(frozen=True, slots=True)
class Dependency:
    """A real process and the proxy through which the service reaches it."""

    proxy: Proxy
    process: subprocess.Popen[bytes]

    @contextmanager
    def broken(self, fault: Fault, latency: float = LATENCY) -> Iterator[None]:
        """In this block it has the fault; afterwards it is healed, whatever happened."""
        try:
            if fault is Fault.HUNG:
                _signal(self.process.pid, signal.SIGSTOP)
            else:
                self.proxy.inject(fault, latency)
            yield
        finally:
            if fault is Fault.HUNG:
                _signal(self.process.pid, signal.SIGCONT)
            else:
                self.proxy.inject(None)


@dataclass(slots=True, eq=False)
class Replica:
    """A running replica of the service."""

    server: Server
    log: Path
    metrics: Path
    _life: ExitStack
    told: float = 0.0  # time.monotonic() of when it was told to stop

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.server.port

    @property
    def workers(self) -> list[int]:
        """The process ids of gunicorn's workers."""
        return sorted(family(self.server.process.pid) - {self.server.process.pid})

    def scrape(self) -> None:
        """Keep what /metrics says now; what was kept stays where nobody answers any more."""
        words = fetched(self.port, "/metrics") if self.server.process.poll() is None else None
        if words and b"# HELP" in words:
            self.metrics.write_bytes(words)

    def stop(self) -> int:
        """A last look at its metrics, then SIGTERM; the exit code."""
        self.scrape()
        self.told = time.monotonic()
        self._life.close()
        return self.server.process.wait()


@dataclass
class World:
    """Everything that runs; `folder` holds certificates, site files and logs."""

    folder: Path
    papers: Papers
    database_url: str  # past the proxy
    database: Dependency
    fhir: Dependency
    chart: list[Json]
    life: ExitStack
    ledger: Ledger = field(default_factory=Ledger)
    replicas: list[Replica] = field(default_factory=list)
    started: list[Replica] = field(default_factory=list)  # also those that have ended
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))  # replicas may start at the same time

    def ehr(self, issuer: str = ISSUER, jku: str = "", ledger: Ledger | None = None) -> Ehr:
        """A caller whose patients are in this world's FHIR server; `ledger` if its calls go to another database."""
        return Ehr(issuer, fhir_base(self.fhir), self.chart, ledger or self.ledger, jku)

    def proxied_url(self, database: str = "postgres") -> str:
        """The database as the service reaches it: through the proxy, over TLS, and the certificate is verified."""
        where = f"postgresql://mg@{HERE}:{self.database.proxy.port}/{database}"
        return f"{where}?sslmode=verify-full&sslrootcert={self.papers.authority}"

    def start(self, site: str = "", mode: str = "production", log: Path | None = None, **environment: str) -> Replica:
        """A replica that is ready; without `site` it has the site file of a hospital with one EHR."""
        name, port = f"replica-{next(self._numbers)}", free_port()
        file = self.folder / f"{name}.toml"
        file.write_text(site or self.hospital(), encoding="utf-8")
        settings = {
            "PORT": str(port), "MAGNESIUM_CDS_MODE": mode, "MAGNESIUM_CDS_SITE": str(file),
            "DATABASE_URL": self.proxied_url(), "MAGNESIUM_CDS_SECRET": SECRET, **environment,
        }  # fmt: skip
        life, log = ExitStack(), log or self.folder / f"{name}.log"
        self.life.push(life)
        server = life.enter_context(running(SERVE, port, "/health/ready", settings, log))
        replica = Replica(server, log, self.folder / f"{name}.metrics", life)
        self.started.append(replica)
        return replica

    def two_replicas(self) -> list[Replica]:
        """The replicas that all parts share; started when first asked for."""
        while len(self.replicas) < 2:
            self.replicas.append(self.start())
        return self.replicas

    def hospital(self) -> str:
        """The site file: one caller whose keys are in a file, whose FHIR server may be read."""
        (self.folder / "keys.json").write_bytes(key_set(OLD_KEY))
        return service_table(self.papers) + tenant("clinic", ISSUER, 'jwks_file = "keys.json"', self.fhir)


def service_table(papers: Papers) -> str:
    """The `[service]` of a site file."""
    lines = [f'public_urls = ["{PUBLIC}"]', f'ca_bundle = "{papers.authority}"', "rate_limit_per_minute = 1_000_000"]
    return "\n".join(["[service]", *lines, ""])


def tenant(name: str, issuer: str, keys: str, fhir: Dependency) -> str:
    """A `[[tenant]]` of a site file; loopback is allowed as a network that the site names."""
    bases = f'fhir_bases = ["{fhir_base(fhir)}"]'
    return "\n".join(
        ["[[tenant]]", f'name = "{name}"', f'iss = "{issuer}"', keys, bases, 'fhir_networks = ["127.0.0.0/8"]', ""]
    )


def fhir_base(fhir: Dependency) -> str:
    """The base URL of the FHIR server behind its proxy."""
    return f"https://{HERE}:{fhir.proxy.port}/fhir"


@contextmanager
def host(papers: Papers, folder: Path) -> Iterator[Dependency]:
    """A FHIR server and host of keys behind a proxy; what it serves is in `folder`."""
    port = free_port()
    with running([sys.executable, "-m", "soak.hosts", str(port), str(folder)], port, "/jwks") as server:
        yield from _behind(Proxy(port, papers), server)


def _behind(proxy: Proxy, server: Server) -> Iterator[Dependency]:
    try:
        yield Dependency(proxy, server.process)
    finally:
        proxy.close()


@contextmanager
def world() -> Iterator[World]:
    """PostgreSQL and the EHR's hosts, up and well; all that was started in it ends with it. Raises LookupError."""
    where = programs()
    if where is None:
        raise LookupError(NOT_THERE)
    with ExitStack() as life:
        folder = Path(life.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        papers = certificates.make(folder)
        database = life.enter_context(postgres(where))
        proxy = Proxy(database.server.port, papers, postgres=True)
        life.callback(proxy.close)
        resources = chart(datetime.now(UTC))
        (folder / "chart.json").write_bytes(msgspec.json.encode(resources))
        (folder / "jwks.json").write_bytes(key_set(OLD_KEY))
        fhir = life.enter_context(host(papers, folder))
        yield World(folder, papers, database.url, Dependency(proxy, database.server.process), fhir, resources, life)


def upgrade(url: str) -> subprocess.Popen[bytes]:
    """`magnesium-cds db upgrade` as a process that has just begun."""
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL_FILE"}
    return subprocess.Popen(
        UPGRADE, env={**environment, "DATABASE_URL": url}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
    )  # fmt: skip


def _signal(leader: int, number: signal.Signals) -> None:
    for pid in family(leader):
        with suppress(ProcessLookupError):
            os.kill(pid, number)


class Memory:
    """The highest resident memory of replicas since this was made: of master and worker together, as a pod counts it.

    Pages that both use are counted twice, and the peaks of both need not be at one time: never too little.
    """

    def __init__(self, replicas: Iterable[Replica]) -> None:
        self._families = {replica: _members(replica) for replica in replicas}
        for pid in set[int]().union(*self._families.values()):
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # proc(5): forget the peak

    def peak(self) -> int:
        """MB, of the replica that had the most."""
        return max(sum(map(_highest, pids)) for pids in self._families.values()) // 1024

    def reasons(self) -> list[str]:
        """Why a pod would not have lived: too much memory, or a process that has been killed already."""
        ended = any(_members(replica) != pids for replica, pids in self._families.items())
        peak = self.peak()
        over = f"a replica took {peak} MB of memory, more than the {MEMORY_BOUND} MB of its pod"
        return [over] * (peak > MEMORY_BOUND) + ["a worker ended"] * ended


def _members(replica: Replica) -> set[int]:
    return family(replica.server.process.pid)


def _highest(pid: int) -> int:
    """kB."""
    with suppress(OSError):  # ended meanwhile
        return int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0])
    return 0


def traces(folder: Path) -> list[str]:
    """Where in what the replicas wrote (logs, metrics, tables in SQLite) something of a patient or a token stands."""
    texts = {file.name: file.read_text(encoding="utf-8", errors="replace").splitlines() for file in written(folder)}
    texts |= {file.name: _dumped(file) for file in folder.glob("*.sqlite3")}
    found = []
    for name, lines in sorted(texts.items()):
        for what, mark in MARKS.items():
            numbers = [number for number, line in enumerate(lines, 1) if mark in line]
            if numbers:
                found.append(f"{name}, line {numbers[0]} and {len(numbers) - 1} more: {what}")
    return found


def written(folder: Path) -> list[Path]:
    """The logs and the metrics of the replicas."""
    return [*folder.glob("*.log"), *folder.glob("*.metrics")]


def _dumped(file: Path) -> list[str]:
    """Every row of an SQLite database."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        return list(connection.iterdump())
