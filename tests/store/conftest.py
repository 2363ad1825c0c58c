"""A real PostgreSQL for the tests, private and thrown away afterwards.

Where Debian's package is missing and we are root, it is installed. Where that fails the tests on PostgreSQL are
skipped, loudly; with REQUIRE_POSTGRES=1 they fail instead.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from bench.postgres import postgres, programs
from service.store import Store, upgrade
from tests.store.servers import Proxy, configure

NOW = datetime(2026, 3, 18, 10, 0, tzinfo=UTC)  # a Wednesday, 2026-W12
ENVIRONMENT = os.environ
NOT_TESTED = "PostgreSQL NOT TESTED: no initdb found and none could be installed (apt-get install postgresql)"


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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say the loud part: a skipped test alone is a letter in a row of dots."""
    skipped = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    number = sum(NOT_TESTED in reason for reason in skipped)
    if number:
        terminalreporter.write_line(f"{number} tests skipped: {NOT_TESTED}", red=True, bold=True)


@pytest.fixture(scope="session")
def postgres_programs() -> Path:
    """Where PostgreSQL's programs are."""
    if programs() is None:
        _install()
    where = programs()
    if where is None:
        (pytest.fail if ENVIRONMENT.get("REQUIRE_POSTGRES") == "1" else pytest.skip)(NOT_TESTED)
    return where


@pytest.fixture(scope="session")
def postgres_server(postgres_programs: Path) -> Iterator[str]:
    """The URL of a server whose data nobody needs."""
    with postgres(postgres_programs) as database:
        configure(database.url, "fsync", "off")
        yield database.url


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


@pytest.fixture
def proxy(empty_postgres: str) -> Iterator[tuple[Proxy, str]]:
    """A proxy before a PostgreSQL with our tables, and the URL of that database through the proxy."""
    upgrade(empty_postgres)
    port = urlsplit(empty_postgres).port
    assert port
    between = Proxy(("127.0.0.1", port))
    yield between, empty_postgres.replace(f":{port}/", f":{between.port}/")
    between.refuse()
