"""The migrations: additive, repeatable, one process at a time, and in agreement with the tables the code knows."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from service.errors import StoreUnavailable
from service.store import upgrade
from service.store.database import MIGRATIONS, NEWEST, open_engine
from service.store.tables import METADATA

HARMLESS = ("CREATE TABLE ", "CREATE INDEX ", "INSERT INTO alembic_version ", "UPDATE alembic_version ")


def additive(statement: str) -> bool:
    """True if code that does not know of this step reads and writes on as before."""
    if " ADD COLUMN " in statement:
        return "NOT NULL" not in statement or "DEFAULT" in statement
    return statement.startswith(HARMLESS) or statement in ("BEGIN", "COMMIT")


def statements() -> list[str]:
    """The SQL of all migrations for PostgreSQL."""
    said = io.StringIO()
    config = Config(output_buffer=said)
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["dialect"] = "postgresql"
    command.upgrade(config, "head", sql=True)
    plain = re.sub(r"--.*", "", said.getvalue())
    return [" ".join(each.split()) for each in plain.split(";") if each.strip()]


def test_every_migration_only_adds_so_that_the_older_code_keeps_working() -> None:
    written = statements()
    assert any("CREATE TABLE cards" in each for each in written)
    assert [each for each in written if not additive(each)] == []


@pytest.mark.parametrize(
    "step",
    [
        "DROP TABLE cards",
        "ALTER TABLE cards DROP COLUMN tenant",
        "ALTER TABLE cards RENAME TO answers",
        "ALTER TABLE cards ALTER COLUMN tenant TYPE INTEGER",
        "ALTER TABLE cards ADD COLUMN ward TEXT NOT NULL",
        "DELETE FROM cards",
    ],
)
def test_that_check_sees_what_would_break_the_older_code(step: str) -> None:
    assert not additive(step)


@pytest.mark.parametrize("column", ["ward TEXT", "ward TEXT DEFAULT '' NOT NULL", "ward TEXT NOT NULL DEFAULT ''"])
def test_that_check_lets_a_harmless_column_pass(column: str) -> None:
    assert additive(f"ALTER TABLE cards ADD COLUMN {column}")


def test_the_tables_built_are_the_tables_the_code_knows(empty_url: str) -> None:
    upgrade(empty_url)
    upgrade(empty_url)
    engine = open_engine(empty_url, 1)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    engine.dispose()


def test_tables_of_this_version_are_left_to_themselves_without_alembic(url: str) -> None:
    assert ScriptDirectory(str(MIGRATIONS)).get_current_head() == NEWEST
    said = "import sys; from service.store import upgrade; upgrade(sys.argv[1]); print('alembic' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", said, url], capture_output=True, text=True, timeout=30)
    assert (run.stdout, run.stderr) == ("False\n", "")


def test_a_database_that_is_already_newer_is_left_alone(url: str) -> None:
    engine = open_engine(url, 1)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    upgrade(url)
    with engine.begin() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "9999"
    engine.dispose()


def test_replicas_that_start_together_migrate_once(empty_url: str) -> None:
    call = [sys.executable, "-c", "import sys; from service.store import upgrade; upgrade(sys.argv[1])", empty_url]
    replicas = [subprocess.Popen(call, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    assert [replica.communicate(timeout=30)[1] for replica in replicas] == ["", "", ""]


def test_a_migration_that_fails_leaves_nothing_behind(empty_url: str) -> None:
    if empty_url.startswith("sqlite"):  # an empty file is an empty database
        file = Path(empty_url.removeprefix("sqlite:///"))
        file.parent.mkdir()
        file.touch()
    engine = open_engine(empty_url, 1)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE jti (x INTEGER)"))  # the last table of the first step is in the way
    with pytest.raises(StoreUnavailable):
        upgrade(empty_url)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE jti"))
    engine.dispose()
    upgrade(empty_url)


def test_a_server_that_is_not_there_is_an_unavailable_store() -> None:
    with pytest.raises(StoreUnavailable) as caught:
        upgrade("postgresql://someone:secret@127.0.0.1:1/db")
    assert "secret" not in str(caught.value)
    assert isinstance(caught.value.__cause__.orig, psycopg.OperationalError)  # type: ignore[union-attr]
