"""The handbook's two roles in PostgreSQL: one owns the tables, that of the web pods reads and writes rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from bench.postgres import postgres, programs
from service.errors import StoreUnavailable
from service.store import CardRow, FeedbackItem, Store, upgrade
from tests.deploy.manifests import ROOT, without

NOW = datetime(2026, 3, 18, 10, 0, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=800)
OWNER, WEB = "magnesium_cds_owner", "magnesium_cds"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a server's administrator."""
    with postgres(programs() or without("PostgreSQL is not installed: the roles were NOT tried")) as database:
        yield database.url


@pytest.fixture(scope="module")
def urls(server: str) -> dict[str, str]:
    """The URL of each role in the database that the handbook's statements make."""
    handbook = (ROOT / "docs/operating.md").read_text(encoding="utf-8")
    before, after = re.findall(r"```sql\n(.*?)```", handbook, re.DOTALL)[0].split("\\connect mg\n")
    for url, statements in ((server, before), (server.replace("/postgres", "/mg"), after)):
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in filter(str.strip, statements.split(";")):
                connection.execute(statement)
    return {role: server.replace("//mg@", f"//{role}@").replace("/postgres", "/mg") for role in (OWNER, WEB)}


def test_web_pods_work_once_the_owner_has_migrated(urls: dict[str, str]) -> None:
    with pytest.raises(StoreUnavailable):
        upgrade(urls[WEB])
    upgrade(urls[OWNER])
    upgrade(urls[WEB])  # as each pod does when it starts: there is nothing left to change
    faults: list[str] = []
    store = Store(urls[WEB], clock=lambda: NOW, on_fault=faults.append)
    try:
        assert not store.seen_jti("ehr", "a", NOW + timedelta(minutes=5), NOW)
        store.remember_cards([CardRow("c1", "magnesium-patient-view", LONG_AGO, ("R-011",), "warning", "v1")])
        assert store.record_feedback("s", [FeedbackItem("c1", "accepted", LONG_AGO)], LONG_AGO).accepted == 1
        assert store.summary("", LONG_AGO.date(), NOW.date()) is not None
        store.purge(NOW)  # unless the writer has already
        assert not sum(row.accepted for row in store.summary("", LONG_AGO.date(), NOW.date()))
    finally:
        store.close()
    assert faults == []


@pytest.mark.parametrize(
    "statement",
    ["CREATE TABLE t (i int)", "CREATE TEMP TABLE t (i int)", "DROP TABLE cards", "TRUNCATE cards", "CREATE SCHEMA s"],
)
def test_web_pods_change_no_table(urls: dict[str, str], statement: str) -> None:
    upgrade(urls[OWNER])
    with psycopg.connect(urls[WEB]) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement)
