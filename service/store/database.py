"""How the store reaches its database: engines, connections and threads that keep their deadlines, migrations."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from service.errors import SettingsError, StoreUnavailable
from service.store.deadline import statement_deadline, time_left

T = TypeVar("T")
MIGRATIONS = Path(__file__).parent / "migrations"
NEWEST = max(file.name for file in (MIGRATIONS / "versions").glob("[0-9]*.py")).partition("_")[0]
"""The revision of the tables that this version wants; its file is called after it."""
MIGRATION_LOCK = 0x6D67636473  # "mgcds": any number that nobody else on the server uses
UPGRADE_SECONDS = 5.0
MIGRATION_PATIENCE = 60.0  # s; another replica may be migrating
LONGEST_USE = 300  # s of a connection: one that only reads would never notice that its address leads elsewhere by now
_migrating = threading.Lock()  # Alembic keeps its context in module globals


class HeldConnection:
    """One connection for one thread, kept between uses, each statement its own transaction: one way there and back.

    It is renewed when it is old, when its file is no longer where it was, and once when it turns out to be lost.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._held: Connection | None = None
        self._renew_at = 0.0

    def run(self, work: Callable[[Connection], T]) -> T:
        """The result of `work`. Raises SQLAlchemyError."""
        held = self._held
        if held is not None and (monotonic() >= self._renew_at or _has_moved(held.connection)):
            self.let_go()
            held = None
        try:
            return work(held or self._open())
        except DBAPIError as fault:
            self.let_go()
            if held is None or not fault.connection_invalidated or time_left() == 0:
                raise
            return work(self._open())

    def _open(self) -> Connection:
        self._held, self._renew_at = self._engine.connect(), monotonic() + LONGEST_USE
        return self._held

    def let_go(self) -> None:
        """Close it."""
        if self._held is not None:
            with suppress(SQLAlchemyError):
                self._held.close()
        self._held = None


class DeadlineExecutor:
    """A few worker threads for calls with a deadline: the caller waits no longer, whatever the driver does.

    The worker is told the same deadline, and connecting is bounded by `connect_timeout`, so it too comes back.
    """

    def __init__(self, name: str, workers: int) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix=name)

    def run(self, deadline: float, work: Callable[[], T]) -> T:
        """The result of `work`, or StoreUnavailable after `deadline` seconds or if the database failed."""
        ends = monotonic() + deadline
        try:
            future = self._pool.submit(_within, ends, work)
        except RuntimeError as closed:
            raise StoreUnavailable("the store is closed") from closed
        try:
            return future.result(deadline)
        except TimeoutError as late:
            future.cancel()
            raise StoreUnavailable(f"the store did not answer within {deadline:g} s") from late
        except SQLAlchemyError as fault:
            raise unavailable(fault) from fault

    def close(self) -> None:
        """Start nothing more and do not wait for what runs."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _within(ends: float, work: Callable[[], T]) -> T:
    with statement_deadline(ends):
        return work()


def unavailable(fault: SQLAlchemyError) -> StoreUnavailable:
    """The fault without its text, which may name hosts or quote values; `__cause__` keeps it for the log."""
    return StoreUnavailable(f"the store failed ({type(fault).__name__})")


def open_engine(url: str, connections: int) -> Engine:
    """An engine that opens at most `connections`, each on first use; SettingsError for a URL that cannot serve."""
    asked_first = not url.startswith("sqlite")  # a file does not go away silently, and asking costs each call a little
    return _engine(url, pool_size=connections, max_overflow=0, pool_pre_ping=asked_first, pool_recycle=LONGEST_USE)


def _engine(url: str, *, create: bool = False, **pooling: Any) -> Engine:
    """`create`: a SQLite file that is not there is made; else it is a database that does not answer."""
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed, create, **pooling)
    from service.store.postgresql import engine  # its driver is 8 MB, of which SQLite needs nothing

    return engine(parsed, **pooling)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise SettingsError(["store: not a database URL"]) from error
    if parsed.drivername in {"postgres", "postgresql", "postgresql+psycopg"}:
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername != "sqlite":
        raise SettingsError([f"store: {parsed.drivername} is not supported, use sqlite:/// or postgresql://"])
    if not parsed.database or parsed.database == ":memory:":
        raise SettingsError(["store: SQLite needs a file, as in sqlite:///var/magnesium.db"])
    return parsed


def _sqlite(url: URL, create: bool, **pooling: Any) -> Engine:
    with suppress(OSError):  # what is wrong with the folder is said when the file is opened
        Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, hide_parameters=True, connect_args={"timeout": 2}, **pooling)

    @event.listens_for(engine, "do_connect")
    def find(_dialect: object, _record: object, _args: Any, _options: Any) -> None:
        file = str(url.database)
        if not create and not file.startswith("file:") and _inode(file) is None:
            raise sqlite3.OperationalError("the file of the database is not there")

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")  # acknowledged is durable, also when the power fails
        record.info[_FILE] = str(url.database), _inode(str(url.database))

    @event.listens_for(engine, "checkout")
    def check(_connection: object, record: Any, _proxy: object) -> None:
        if _has_moved(record):
            raise DisconnectionError("the file of the database is no longer where it was")

    return engine


_FILE = "magnesium-cds file"


def _inode(file: str) -> int | None:
    """What tells a file from another that takes its place; None if it is not there, or has the form of a URI."""
    try:
        return os.stat(file).st_ino
    except OSError:
        return None


def _has_moved(connection: Any) -> bool:
    """Was the SQLite file of this connection moved away or replaced? It would be written to and never be read again."""
    file, inode = connection.info.get(_FILE, ("", None))
    return bool(inode is not None and _inode(file) != inode)


def upgrade(url: str) -> None:
    """Bring the tables up to this version, one process at a time; StoreUnavailable if the database did not answer.

    A database that is already newer (this process is the older one in a rolling update) is left as it is: migrations
    only ever add, see `migrations/__init__.py`.
    """
    engine = _engine(url, create=True, poolclass=NullPool)
    try:
        with _migrating, statement_deadline(monotonic() + MIGRATION_PATIENCE), engine.connect() as connection:
            _lock(connection)
            if _revision(connection) != NEWEST:
                _migrate(connection)
            connection.commit()
    except SQLAlchemyError as fault:
        raise unavailable(fault) from fault


def upgraded(url: str) -> bool:
    """Try to bring the tables up to date, for a few seconds at most: cards do not wait for a database."""
    done = threading.Event()

    def attempt() -> None:
        with suppress(StoreUnavailable):
            upgrade(url)
            done.set()

    thread = threading.Thread(target=attempt, name="store-upgrade", daemon=True)
    thread.start()
    thread.join(UPGRADE_SECONDS)
    return done.is_set()


def once(url: str, work: Callable[[Connection], T]) -> T:
    """The result of one transaction on a connection of its own; StoreUnavailable if the database did not answer."""
    engine = _engine(url, poolclass=NullPool)
    try:
        with statement_deadline(monotonic() + MIGRATION_PATIENCE), engine.begin() as connection:
            return work(connection)
    except SQLAlchemyError as fault:
        raise unavailable(fault) from fault


def _lock(connection: Connection) -> None:
    """Let one process migrate; both locks end with the transaction."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA busy_timeout=60000")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SET LOCAL lock_timeout = 0"))
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})


def _revision(connection: Connection) -> str | None:
    """That of the tables; None if there are none."""
    there = inspect(connection).has_table("alembic_version")
    return connection.scalar(text("SELECT version_num FROM alembic_version")) if there else None


def _migrate(connection: Connection) -> None:
    """Alembic is imported here: a replica whose tables are up to date, as they nearly always are, saves its 10 MB."""
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    current = MigrationContext.configure(connection).get_current_revision()
    if current is None or current in known:
        command.upgrade(config, "head")
