"""What happens while the database is refused, silent, read-only, full, locked or broken, and afterwards."""

from __future__ import annotations

import resource
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from structlog.testing import capture_logs

from bench.postgres import postgres
from service.errors import StoreUnavailable
from service.store import CardRow, FeedbackItem, Store, upgrade
from service.store.database import open_engine
from service.store.on_the_way import claim
from tests.store.servers import Proxy, configure

NOW = datetime(2026, 3, 18, 10, 0, tzinfo=UTC)
SOON = NOW + timedelta(minutes=5)
Open = Callable[..., tuple[Store, list[str]]]
SERVICE = "magnesium-patient-view"
FAULTS = ["refuse", "stall"]


def card(uuid: str) -> CardRow:
    return CardRow(uuid, SERVICE, NOW, ("R-011",), "warning", "v1")


def accepted(uuid: str) -> FeedbackItem:
    return FeedbackItem(uuid, "accepted", NOW, suggestions=("s1",))


@contextmanager
def taking(least: float, most: float) -> Iterator[None]:
    """The block takes between `least` and `most` seconds."""
    start = time.perf_counter()
    yield
    assert least <= time.perf_counter() - start <= most


def settle(store: Store, seconds: float = 12) -> None:
    until = time.monotonic() + seconds
    while store.waiting and time.monotonic() < until:
        time.sleep(0.01)
    assert not store.waiting


def column(url: str, query: str) -> list[Any]:
    with psycopg.connect(url) as connection:
        return [value for (value,) in connection.execute(query)]  # type: ignore[arg-type]


@pytest.mark.parametrize("warm", [True, False], ids=["with open connections", "before the first connection"])
@pytest.mark.parametrize("fault", FAULTS)
def test_jwt_ids_are_answered_in_time_from_memory_and_stored_later(
    fault: str, warm: bool, proxy: Any, empty_postgres: str, open_store: Open
) -> None:
    between, url = proxy
    store, faults = open_store(url)
    if warm:
        assert not store.seen_jti("iss", "before", SOON, NOW)
    getattr(between, fault)()
    for number in range(6):  # more than there are workers
        with taking(0, 0.3):
            assert not store.seen_jti("iss", str(number), SOON, NOW)
        with taking(0, 0.05):
            assert store.seen_jti("iss", str(number), SOON, NOW)
    assert faults.count("jti") == 6
    between.flow()
    settle(store)
    elsewhere, _ = open_store(empty_postgres)
    assert all(elsewhere.seen_jti("iss", str(number), SOON, NOW) for number in range(6))
    with taking(0, 0.2):
        assert not store.seen_jti("iss", "after", SOON, NOW)
    assert faults.count("jti") == 6


@pytest.mark.parametrize("fault", FAULTS)
def test_cards_never_wait_and_are_all_stored_afterwards(
    fault: str, proxy: Any, empty_postgres: str, open_store: Open
) -> None:
    between, url = proxy
    store, faults = open_store(url)
    store.ping(5)
    getattr(between, fault)()
    took = []
    for number in range(1000):
        start = time.perf_counter()
        store.remember_cards([card(str(number))])
        took.append(time.perf_counter() - start)
    assert sorted(took)[-10] < 0.005
    assert store.waiting >= 1000 - 200
    between.flow()
    settle(store)
    assert column(empty_postgres, "SELECT count(*) FROM cards") == [1000]
    assert "dropped" not in faults


@pytest.mark.parametrize("fault", FAULTS)
def test_feedback_that_was_not_stored_is_said_in_time_and_the_retry_stores_it_once(
    fault: str, proxy: Any, empty_postgres: str, open_store: Open
) -> None:
    between, url = proxy
    store, faults = open_store(url)
    store.record_feedback("s", [accepted("before")], NOW)
    getattr(between, fault)()
    with taking(0, 2.3), pytest.raises(StoreUnavailable):
        store.record_feedback("s", [accepted("during")], NOW)
    assert faults.count("feedback") == 1
    between.flow()
    with taking(0, 1):
        store.record_feedback("s", [accepted("during")], NOW)
    assert column(empty_postgres, "SELECT count(DISTINCT card) FROM feedback") == [2]


def test_calls_that_hang_leave_their_workers_when_their_deadline_is_over(proxy: Any, open_store: Open) -> None:
    between, url = proxy
    store, _ = open_store(url)
    store.ping(5)
    between.stall()
    for _ in range(5):  # there are three workers
        with taking(0.25, 0.5), pytest.raises(StoreUnavailable):
            store.ping(0.3)
    between.flow()
    time.sleep(0.2)
    with taking(0, 1):
        store.ping(1)


def test_nothing_acknowledged_is_lost_while_the_database_comes_and_goes(
    proxy: Any, empty_postgres: str, open_store: Open
) -> None:
    between, url = proxy
    store, _ = open_store(url)
    acknowledged: list[str] = []
    stop = threading.Event()

    def post() -> None:
        while not stop.is_set():
            name = store.card_ids.new("", "s", NOW.date())
            store.remember_cards([card(name)])
            try:
                store.record_feedback("s", [accepted(name)], NOW)
                acknowledged.append(name)
            except StoreUnavailable:
                time.sleep(0.01)

    posters = [threading.Thread(target=post) for _ in range(3)]
    for poster in posters:
        poster.start()
    for fault in ("refuse", "stall", "refuse", "refuse", "stall"):
        time.sleep(0.3)
        getattr(between, fault)()
        time.sleep(0.15)
        between.flow()
    time.sleep(0.3)
    stop.set()
    for poster in posters:
        poster.join()
    settle(store)
    assert len(acknowledged) > 20
    assert set(acknowledged) <= set(column(empty_postgres, "SELECT card FROM feedback"))
    assert set(acknowledged) <= set(column(empty_postgres, "SELECT uuid FROM cards"))


def test_a_transaction_orphaned_before_its_commit_blocks_nobody_for_long(
    proxy: Any, empty_postgres: str, open_store: Open
) -> None:
    between, url = proxy
    store, _ = open_store(url)
    store.remember_cards([card("before")])
    settle(store)
    between.trap = b"COMMIT"
    store.remember_cards([card("c1"), card("c2")])  # two, because drivers send several rows in another way than one
    while between.trap:
        time.sleep(0.01)
    between.flow()
    with taking(1, 7):
        settle(store)
    assert column(empty_postgres, "SELECT count(*) FROM cards") == [3]


def test_a_service_that_starts_before_its_database_catches_up(open_store: Open, empty_url: str) -> None:
    """No tables yet: everything works as during an outage, until the writer has migrated."""
    waiting, faults = open_store(empty_url)
    waiting.remember_cards([card("early")])
    assert not waiting.seen_jti("iss", "early", SOON, NOW)
    assert waiting.waiting == 2
    assert "jti" in faults
    starting, _ = open_store(empty_url, migrate=True)
    settle(starting)
    settle(waiting)
    assert starting.seen_jti("iss", "early", SOON, NOW)


def test_a_full_queue_drops_and_counts_what_comes_last(open_store: Open) -> None:
    store, faults = open_store("postgresql://mg@127.0.0.1:1/none", capacity=10)
    store.remember_cards([card(str(number)) for number in range(13)])
    assert faults.count("dropped") == 3
    assert store.waiting == 10
    with taking(0, 1):
        assert store.close(0.3) == 10
    assert faults.count("dropped") == 13


@pytest.mark.parametrize("fault", FAULTS)
def test_closing_takes_no_longer_than_it_may(fault: str, proxy: Any, open_store: Open) -> None:
    between, url = proxy
    store, _ = open_store(url)
    store.ping(5)
    getattr(between, fault)()
    store.remember_cards([card("c")])
    with taking(0, 1.3):
        assert store.close(0.5) == 1


def test_closing_tries_once_more_at_once_however_long_the_pause_would_be(proxy: Any, open_store: Open) -> None:
    between, url = proxy
    store, _ = open_store(url)
    store.ping(5)
    between.refuse()
    store.remember_cards([card("c")])
    time.sleep(1.7)  # the pauses have grown: 0.1, 0.2, 0.4, 0.8, 1.6 s
    between.flow()
    assert store.close(1) == 0


@pytest.fixture
def failover(postgres_programs: Path) -> Iterator[tuple[str, Callable[[], str]]]:
    """The URL of a database behind an address that stays, and what fails it over and returns the new one's own URL.

    The old primary stays up, with the connections to it, and is read-only from then on.
    """
    with postgres(postgres_programs) as old, postgres(postgres_programs) as new:
        for database in (old, new):
            upgrade(database.url)
        between = Proxy(("127.0.0.1", old.server.port))

        def fail_over() -> str:
            configure(old.url, "default_transaction_read_only", "on")
            between.target = ("127.0.0.1", new.server.port)
            return new.url

        yield old.url.replace(f":{old.server.port}/", f":{between.port}/"), fail_over
        between.refuse()


def outcome(call: Callable[[], object]) -> str:
    try:
        call()
    except StoreUnavailable:
        return "unavailable"
    return "fine"


def soon_fine(call: Callable[[], object], seconds: float = 5) -> bool:
    """Does the call, tried again and again, succeed?"""
    until = time.monotonic() + seconds
    while (found := outcome(call)) != "fine" and time.monotonic() < until:
        time.sleep(0.1)
    return found == "fine"


def test_after_a_failover_behind_one_address_everything_is_stored_at_the_new_primary(
    failover: tuple[str, Callable[[], str]], open_store: Open
) -> None:
    url, fail_over = failover
    store, faults = open_store(url)
    use = [lambda: store.record_feedback("s", [accepted("before")], NOW), lambda: store.ping(2)] * 4
    with ThreadPoolExecutor(8) as callers:  # so that several connections lead to the old one
        assert {*callers.map(outcome, use)} == {"fine"}
    store.remember_cards([card("before")])
    settle(store)
    new = fail_over()
    store.remember_cards([card("after")])
    assert not store.seen_jti("iss", "after", SOON, NOW)
    assert soon_fine(lambda: store.record_feedback("s", [accepted("after")], NOW))
    assert soon_fine(lambda: store.ping(2))
    settle(store)
    assert column(new, "SELECT uuid FROM cards") == ["after"]
    assert column(new, "SELECT count(*) FROM feedback") == [1]
    assert column(new, "SELECT count(*) FROM jti") == [1]
    assert "dropped" not in faults


def test_a_replica_that_only_reads_and_says_whether_it_is_ready_notices_the_failover_too(
    failover: tuple[str, Callable[[], str]], open_store: Open
) -> None:
    url, fail_over = failover
    store, _ = open_store(url)
    store.remember_cards([card("before")])
    settle(store)  # the writer has nothing more to do
    assert outcome(lambda: store.ping(2)) == "fine"
    fail_over()
    assert [outcome(lambda: store.ping(2)) for _ in range(3)] == ["unavailable", "fine", "fine"]


def test_a_read_only_database_is_not_ready_and_reading_it_is_not_having_it_back(
    failover: tuple[str, Callable[[], str]], open_store: Open
) -> None:
    url, fail_over = failover
    store, _ = open_store(url)
    assert soon_fine(lambda: store.ping(2))
    store.remember_cards([card("before")])
    settle(store)  # the writer's first look at what is old is over: it would say that the store is lost
    configure(fail_over(), "default_transaction_read_only", "on")
    calls: list[Callable[[], object]] = [
        lambda: store.record_feedback("s", [accepted("c")], NOW),
        lambda: store.summary("", NOW.date(), NOW.date() + timedelta(days=1)),
        lambda: store.ping(2),
    ]
    with capture_logs() as logs:
        outcomes = [[outcome(call) for call in calls] for _ in range(3)]
    assert outcomes == [["unavailable", "fine", "unavailable"]] * 3
    assert [entry["event"] for entry in logs] == ["store lost"]


SQLSTATES = {"25006": True, "57P01": True, "57P02": True, "57P03": True, "P0001": False, "57014": False}


@pytest.mark.parametrize(("sqlstate", "gone"), SQLSTATES.items())
def test_errors_that_mean_another_server_end_all_connections(sqlstate: str, gone: bool, empty_postgres: str) -> None:
    engine = open_engine(empty_postgres, 2)

    def backends() -> set[int]:
        with engine.connect() as one, engine.connect() as other:
            return {int(each.scalar(text("SELECT pg_backend_pid()")) or 0) for each in (one, other)}

    before = backends()
    with pytest.raises(DBAPIError), engine.begin() as connection:
        connection.execute(text(f"DO $$ BEGIN RAISE 'moved' USING ERRCODE = '{sqlstate}'; END $$"))
    assert before.isdisjoint(backends()) is gone
    engine.dispose()


@contextmanager
def read_only(file: Path) -> Iterator[str]:
    yield f"sqlite:///file:{file}?mode=ro&uri=true"


@contextmanager
def full_disk(file: Path) -> Iterator[str]:
    """This process may write no file beyond a size that the database reaches at once."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield f"sqlite:///{file}"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def locked(file: Path) -> Iterator[str]:
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield f"sqlite:///{file}"
    other.execute("ROLLBACK")
    other.close()


@contextmanager
def no_folder(file: Path) -> Iterator[str]:
    yield f"sqlite:///{file}/is no folder/store.db"


@contextmanager
def garbage(file: Path) -> Iterator[str]:
    for each in file.parent.glob("store.db*"):
        each.write_bytes(b"this was a database" * 1000)
    yield f"sqlite:///{file}"


@pytest.mark.parametrize("fault", [read_only, full_disk, locked, no_folder, garbage])
def test_a_file_that_cannot_be_written_is_an_unavailable_store(
    fault: Callable[[Path], Any], tmp_path: Path, open_store: Open
) -> None:
    file = tmp_path / "store.db"
    upgrade(f"sqlite:///{file}")
    with fault(file) as url:
        store, faults = open_store(url)
        with taking(0, 2.5), pytest.raises(StoreUnavailable):
            store.record_feedback("s", [accepted("c")], NOW)
        with taking(0, 0.3):
            assert not store.seen_jti("iss", "1", SOON, NOW)
        assert store.seen_jti("iss", "1", SOON, NOW)
        store.remember_cards([card("c")])
        time.sleep(0.1)
        assert store.waiting == 2
        assert {"feedback", "jti"} <= set(faults)
    if fault in (locked, full_disk):
        settle(store)
        assert store.record_feedback(SERVICE, [accepted("c")], NOW).unknown_cards == 0


def test_a_file_that_was_moved_away_or_replaced_is_noticed(tmp_path: Path, open_store: Open) -> None:
    """The connections that are open would go on writing to what nobody will read again."""
    file, away = tmp_path / "store.db", tmp_path / "away.db"
    upgrade(f"sqlite:///{file}")
    store, _ = open_store(f"sqlite:///{file}")
    store.remember_cards([card("before")])
    settle(store)
    assert store.record_feedback(SERVICE, [accepted("before")], NOW).unknown_cards == 0
    assert not store.seen_jti("iss", "1", SOON, NOW)
    file.rename(away)
    with pytest.raises(StoreUnavailable):
        store.ping(2)
    with pytest.raises(StoreUnavailable):
        store.record_feedback(SERVICE, [accepted("during")], NOW)
    with pytest.raises(StoreUnavailable):
        store.seen_jti("iss", "2", SOON, NOW, strict=True)
    store.remember_cards([card("during")])
    assert not file.exists()
    away.rename(file)
    settle(store)
    with closing(sqlite3.connect(file)) as found:
        assert found.execute("SELECT uuid FROM cards ORDER BY uuid").fetchall() == [("before",), ("during",)]
    file.rename(away)
    upgrade(f"sqlite:///{file}")
    store.ping(2)


def test_claims_that_come_together_share_a_commit(empty_url: str, open_store: Open) -> None:
    """A hundred tokens at once, at two replicas: each is taken once, in far fewer transactions."""
    upgrade(empty_url)
    here, there = open_store(empty_url)[0], open_store(empty_url)[0]
    commits: list[int] = []
    for store in (here, there):
        inner = store._claims._work
        store._claims._work = lambda connection, asked, inner=inner: [  # type: ignore[assignment]
            commits.append(len(asked)),
            inner(connection, asked),
        ][1]
    with ThreadPoolExecutor(100) as callers:
        calls = [
            callers.submit(store.seen_jti, "iss", str(number), SOON, NOW)
            for number in range(50)
            for store in (here, there)
        ]
        assert sum(not call.result() for call in calls) == 50
    assert sum(commits) == 100
    assert len(commits) < 60


def test_of_one_id_in_one_group_one_wins(empty_url: str) -> None:
    upgrade(empty_url)
    rows = [{"issuer": "iss", "digest": jti, "expires_at": SOON} for jti in ("b", "a", "b", "b", "a", "c")]
    engine = open_engine(empty_url, 1)
    with engine.connect() as connection:
        assert claim(connection, [(row, NOW) for row in rows]) == [True, True, False, False, False, True]
        assert claim(connection, [(row, NOW) for row in rows[:3]]) == [False] * 3
    engine.dispose()


REFUSING = {
    "sqlite": "CREATE TRIGGER refuse BEFORE INSERT ON jti BEGIN SELECT RAISE(ABORT, 'no'); END",
    "postgresql": "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;"
    "CREATE TRIGGER refuse BEFORE INSERT ON jti FOR EACH ROW EXECUTE FUNCTION no()",
}


def test_claims_whose_commit_fails_are_all_refused_and_each_may_be_tried_again(
    empty_url: str, open_store: Open
) -> None:
    """Where the site asks for strict replay; elsewhere the memory of the replica answers."""
    upgrade(empty_url)
    store, faults = open_store(empty_url)
    engine = open_engine(empty_url, 1)
    ids = [str(number) for number in range(30)]

    def seen(jti: str) -> bool | None:
        try:
            return store.seen_jti("iss", jti, SOON, NOW, strict=True)
        except StoreUnavailable:
            return None

    with ThreadPoolExecutor(30) as callers:
        with engine.begin() as connection:
            connection.exec_driver_sql(REFUSING[connection.dialect.name])
        assert set(callers.map(seen, ids)) == {None}
        assert faults == ["jti"] * 30
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP TRIGGER refuse" + " ON jti" * (connection.dialect.name == "postgresql"))
        assert set(callers.map(seen, ids)) == {False}
        assert set(callers.map(seen, ids)) == {True}
    engine.dispose()


@pytest.mark.parametrize("fault", FAULTS)
def test_where_strict_is_asked_nobody_passes_while_the_database_is_away_and_the_same_token_passes_once_afterwards(
    fault: str, proxy: Any, empty_postgres: str, open_store: Open
) -> None:
    between, url = proxy
    store, faults = open_store(url)
    assert not store.seen_jti("iss", "before", SOON, NOW, strict=True)
    getattr(between, fault)()
    for _ in range(3):
        with taking(0, 0.4), pytest.raises(StoreUnavailable):
            store.seen_jti("iss", "during", SOON, NOW, strict=True)
    assert faults.count("jti") == 3
    between.flow()
    assert soon_fine(lambda: store.seen_jti("iss", "after", SOON, NOW, strict=True))
    assert not store.seen_jti("iss", "during", SOON, NOW, strict=True)
    elsewhere, _ = open_store(empty_postgres)
    assert elsewhere.seen_jti("iss", "during", SOON, NOW, strict=True)
