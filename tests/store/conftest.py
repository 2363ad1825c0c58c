"""A real PostgreSQL for the tests, private and thrown away afterwards, and a proxy that breaks its connections.

Where Debian's package is missing and we are root, it is installed. Where that fails the tests on PostgreSQL are
skipped, loudly; with REQUIRE_POSTGRES=1 they fail instead.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from service.store import Store, upgrade

NOW = datetime(2026, 3, 18, 10, 0, tzinfo=UTC)  # a Wednesday, 2026-W12
ENVIRONMENT = os.environ
NOT_TESTED = "PostgreSQL NOT TESTED: no initdb found and none could be installed (apt-get install postgresql)"


def _programs() -> Path | None:
    found = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "initdb").exists()]
    if found:
        return max(found, key=lambda path: int(path.parent.name))
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


def _install() -> None:
    """Debian's package, without the cluster that it would set up and start by itself."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    quiet = {"env": {**ENVIRONMENT, "DEBIAN_FRONTEND": "noninteractive"}, "capture_output": True, "timeout": 300}
    settings = Path("/etc/postgresql-common/createcluster.conf")
    with suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(["apt-get", "update", "-q"], **quiet)
        subprocess.run(["apt-get", "install", "-qy", "--no-install-recommends", "postgresql-common"], **quiet)
        settings.write_text("create_main_cluster = false\n")
        subprocess.run(["apt-get", "install", "-qy", "--no-install-recommends", "postgresql"], **quiet)


def _unprivileged() -> dict[str, int | list[int]]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    names = {user.pw_name for user in pwd.getpwall()}
    user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say the loud part: a skipped test alone is a letter in a row of dots."""
    skipped = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    number = sum(NOT_TESTED in reason for reason in skipped)
    if number:
        terminalreporter.write_line(f"{number} tests skipped: {NOT_TESTED}", red=True, bold=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a server whose data nobody needs."""
    if _programs() is None:
        _install()
    programs = _programs()
    if programs is None:
        (pytest.fail if ENVIRONMENT.get("REQUIRE_POSTGRES") == "1" else pytest.skip)(NOT_TESTED)
    folder, port, account = tempfile.mkdtemp(prefix="pg-"), _free_port(), _unprivileged()
    if account:
        os.chown(folder, account["user"], account["group"])

    def run(program: str, *arguments: str) -> None:
        call = [str(programs / program), "-D", f"{folder}/data", *arguments]
        environment = {"PATH": ENVIRONMENT["PATH"], "LC_ALL": "C.UTF-8"}
        subprocess.run(call, check=True, stdout=subprocess.DEVNULL, cwd=folder, env=environment, **account)

    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    try:
        run("initdb", "-U", "mg", "-A", "trust", "-E", "UTF8", "--no-sync")
        run("pg_ctl", "-w", "-l", f"{folder}/log", "-o", options, "start")
        yield f"postgresql://mg@127.0.0.1:{port}/postgres"
        run("pg_ctl", "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def empty_postgres(postgres_server: str) -> str:
    """The URL of an empty schema, which serves as well as a database and is made in a hundredth of the time."""
    name = f"t_{os.urandom(6).hex()}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")  # type: ignore[arg-type]
    return f"{postgres_server}?options=-csearch_path%3D{name}"


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/a folder/store.db"
    return str(request.getfixturevalue("empty_postgres"))


@pytest.fixture
def url(empty_url: str) -> str:
    """The URL of a database with our tables, of each kind."""
    upgrade(empty_url)
    return empty_url


@pytest.fixture
def open_store() -> Iterator[Callable[..., Store]]:
    """Opens stores with a fixed clock, each with the list of its faults, and closes them after the test."""
    opened: list[Store] = []

    def open_one(url: str, **options: object) -> tuple[Store, list[str]]:
        faults: list[str] = []
        store = Store(url, **{"clock": lambda: NOW, "on_fault": faults.append, **options})  # type: ignore[arg-type]
        opened.append(store)
        return store, faults

    yield open_one
    for store in opened:
        store.close(0.2)


class Proxy:
    """A TCP proxy before a server: `flow()`, `refuse()`, and `stall()`: a black hole, open but silent.

    A connection that lost bytes in a stall stays silent afterwards, as behind a firewall that has forgotten it: nor
    does the server learn that the client has gone.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self._target, self._flowing = target, threading.Event()
        self._sockets: list[socket.socket] = []
        self.port = _free_port()
        self.trap = b""  # the first message to the server that contains it springs a stall
        self._listener: socket.socket | None = None
        self.flow()

    def flow(self) -> None:
        self._flowing.set()
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port))
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def stall(self) -> None:
        self._flowing.clear()

    def refuse(self) -> None:
        if self._listener:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._sockets.clear()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(self._target)
                self._sockets += [client, server]
                lost = threading.Event()
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=(*ends, lost), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, lost: threading.Event) -> None:
        with suppress(OSError):
            while piece := source.recv(65536):
                if self.trap and self.trap in piece:
                    self.stall()
                    lost.set()
                    self.trap = b""
                if not self._flowing.is_set():
                    lost.set()
                if not lost.is_set():
                    sink.sendall(piece)
            if not lost.is_set():
                sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def proxy(empty_postgres: str) -> Iterator[tuple[Proxy, str]]:
    """A proxy before a PostgreSQL with our tables, and the URL of that database through the proxy."""
    upgrade(empty_postgres)
    port = urlsplit(empty_postgres).port
    assert port
    between = Proxy(("127.0.0.1", port))
    yield between, empty_postgres.replace(f":{port}/", f":{between.port}/")
    between.refuse()
