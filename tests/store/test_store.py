"""What the store promises, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text

from service.errors import SettingsError, StoreUnavailable
from service.store import CardRow, FeedbackItem, FeedbackReport, Store, SummaryRow
from service.store.store import CLOCK_ERROR
from service.store.summary import to_csv

NOW = datetime(2026, 3, 18, 10, 0, tzinfo=UTC)  # a Wednesday, 2026-W12
SOON = NOW + timedelta(minutes=5)
SERVICE = "magnesium-patient-view"
EVER = (date(2020, 1, 1), date(2030, 1, 1))
Open = Callable[..., tuple[Store, list[str]]]


def card(uuid: str, *rules: str, issued: datetime = NOW, version: str = "v1") -> CardRow:
    return CardRow(uuid, SERVICE, issued, rules or ("R-011",), "warning", version, "site", ("s1",))


def accepted(uuid: str, at: datetime = NOW) -> FeedbackItem:
    return FeedbackItem(uuid, "accepted", at, suggestions=("s1",))


def overridden(uuid: str, code: str = "", at: datetime = NOW) -> FeedbackItem:
    return FeedbackItem(uuid, "overridden", at, reason=code)


def settle(store: Store, seconds: float = 5) -> None:
    """Wait until all is written."""
    until = time.monotonic() + seconds
    while store.waiting and time.monotonic() < until:
        time.sleep(0.005)
    assert not store.waiting


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    engine = create_engine(make_url(url).set(drivername="sqlite" if url.startswith("sqlite") else "postgresql+psycopg"))
    with engine.begin() as connection:
        found = [tuple(row) for row in connection.execute(text(query))]
    engine.dispose()
    return found


def test_feedback_is_told_apart_new_repeated_and_about_unknown_cards(url: str, open_store: Open) -> None:
    store, faults = open_store(url)
    store.remember_cards([card("c1")])
    settle(store)
    items = [accepted("c1"), overridden("c1", "declined"), accepted("c1"), accepted("nobody's")]
    assert store.record_feedback(SERVICE, items, NOW, "site") == FeedbackReport(3, 1, 1)
    assert store.record_feedback(SERVICE, items, NOW, "site") == FeedbackReport(0, 4, 1)
    assert store.record_feedback(SERVICE, [accepted("c1", NOW + timedelta(seconds=1))], NOW, "site") == FeedbackReport(
        1, 0, 0
    )
    assert store.record_feedback(SERVICE, [], NOW, "site") == FeedbackReport(0, 0, 0)
    assert rows(url, "SELECT count(*) FROM feedback") == [(4,)]
    assert faults == []


def test_a_time_is_the_same_time_in_every_zone(url: str, open_store: Open) -> None:
    store, _ = open_store(url)
    elsewhere = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert store.record_feedback(SERVICE, [accepted("c"), accepted("c", elsewhere)], NOW, "site") == FeedbackReport(
        1, 1, 2
    )


def test_a_thousand_items_with_all_they_may_hold_fit_into_the_deadline(url: str, open_store: Open) -> None:
    store, _ = open_store(url)
    long = [FeedbackItem(f"{n:0100}", "overridden", NOW, (), "other", "ү" * 1000) for n in range(1000)]
    assert store.record_feedback(SERVICE, long, NOW, "site") == FeedbackReport(1000, 0, 1000)


def test_the_same_feedback_from_many_at_once_is_stored_once(url: str, open_store: Open) -> None:
    first, second = open_store(url)[0], open_store(url)[0]
    items = [accepted(f"c{n}") for n in range(200)]
    with ThreadPoolExecutor(8) as pool:
        orders = [items, items[::-1]] * 4
        calls = [
            pool.submit((first, second)[n % 2].record_feedback, SERVICE, order, NOW, "site")
            for n, order in enumerate(orders)
        ]
        assert sum(call.result().accepted for call in calls) == 200


def test_summary_counts_cards_by_rule_version_and_week(url: str, open_store: Open) -> None:
    store, _ = open_store(url)
    earlier = datetime(2026, 1, 1, tzinfo=UTC)  # belongs to 2026-W01
    store.remember_cards(
        [card("a", "R-011", "R-050"), card("b"), card("c", version="v2"), card("d", issued=earlier), card("a")]
    )
    settle(store)
    store.record_feedback(
        SERVICE,
        [
            accepted("a"),
            accepted("a", SOON),  # reported again: still one card
            overridden("b", "declined"),
            overridden("b", "declined", SOON),
            overridden("c"),
            overridden("d", "x"),
            overridden("d", "y", SOON),
            overridden("gone", "declined"),
        ],
        NOW,
        "site",
    )
    assert store.summary("site", *EVER) == [
        SummaryRow("R-011", "v1", "2026-W01", 1, 0, 1, {"y": 1}),  # the last word of two
        SummaryRow("R-011", "v1", "2026-W12", 2, 1, 1, {"declined": 1}),
        SummaryRow("R-011", "v2", "2026-W12", 1, 0, 1, {"not-stated": 1}),
        SummaryRow("R-050", "v1", "2026-W12", 1, 1, 0, {}),
        SummaryRow("every-card", "", "2026-W12", 0, 0, 1, {"declined": 1}),
        SummaryRow("every-card", "v1", "2026-W01", 1, 0, 1, {"y": 1}),
        SummaryRow("every-card", "v1", "2026-W12", 2, 1, 1, {"declined": 1}),
        SummaryRow("every-card", "v2", "2026-W12", 1, 0, 1, {"not-stated": 1}),
        SummaryRow("unknown", "", "2026-W12", 0, 0, 1, {"declined": 1}),
    ]
    assert [row.week for row in store.summary("site", date(2026, 1, 1), date(2026, 3, 18))] == ["2026-W01"] * 2
    assert store.summary("site", date(2026, 3, 19), date(2027, 1, 1)) == []


def test_another_tenants_cards_are_unknown_and_in_nobody_elses_numbers(url: str, open_store: Open) -> None:
    store, _ = open_store(url)
    store.remember_cards([card("c1")])
    settle(store)
    assert store.record_feedback(SERVICE, [accepted("c1")], NOW, "stranger").unknown_cards == 1
    assert store.record_feedback("another-service", [accepted("c1")], NOW, "site").unknown_cards == 1
    own = [(row.rule, row.shown, row.accepted) for row in store.summary("site", *EVER)]
    assert own == [("R-011", 1, 0), ("every-card", 0, 1), ("every-card", 1, 0), ("unknown", 0, 1)]
    assert {row.rule for row in store.summary("stranger", *EVER)} == {"unknown", "every-card"}
    assert rows(url, "SELECT count(*) FROM feedback WHERE card = 'c1'") == [(0,)]


def test_a_card_is_known_before_its_row_is_and_only_what_it_offered_is_kept(url: str, open_store: Open) -> None:
    store, _ = open_store(url)
    name = store.card_ids.new("site", SERVICE, NOW.date())
    offered = store.card_ids.suggestion(name, 1)
    item = FeedbackItem(name, "accepted", NOW, suggestions=(offered, "4711 Jane Doe"))
    assert store.record_feedback(SERVICE, [item], NOW, "site") == FeedbackReport(1, 0, 0)
    assert rows(url, "SELECT suggestions FROM feedback") == [(f'["{offered}","other"]',)]


def test_a_late_report_does_not_replace_a_later_outcome(url: str, open_store: Open) -> None:
    store, _ = open_store(url)
    store.remember_cards([card("c1"), card("c2")])
    settle(store)
    store.record_feedback(
        SERVICE, [accepted("c1", SOON), accepted("c2", SOON), overridden("c2", "x", SOON)], NOW, "site"
    )
    store.record_feedback(SERVICE, [overridden("c1", "x", NOW)], NOW, "site")
    (row,) = [row for row in store.summary("site", *EVER) if row.rule == "every-card"]
    assert (row.shown, row.accepted, row.overridden, row.reasons) == (2, 2, 0, {})


def test_the_summary_as_csv() -> None:
    row = SummaryRow("R-011", "v1", "2026-W12", 3, 1, 2, {"other": 1, "declined": 1})
    assert to_csv([row]) == (
        "rule,version,week,shown,accepted,overridden,reasons\r\nR-011,v1,2026-W12,3,1,2,declined=1 other=1\r\n"
    )


def test_the_year_of_a_week_is_that_of_its_thursday(url: str, open_store: Open) -> None:
    store, _ = open_store(url)
    store.remember_cards([card("a", issued=datetime(2027, 1, 1, tzinfo=UTC))])
    settle(store)
    assert [row.week for row in store.summary("site", *EVER)] == ["2026-W53"] * 2


def test_purge_keeps_what_is_within_retention_and_nothing_else(url: str, open_store: Open) -> None:
    old, young = NOW - timedelta(days=11), NOW - timedelta(days=10)
    store, _ = open_store(url, retention=timedelta(days=10), clock=lambda: old)
    store.remember_cards([card("old", issued=old), card("young", issued=young)])
    settle(store)
    store.record_feedback(SERVICE, [accepted("old")], old, "site")
    store.record_feedback(SERVICE, [accepted("young")], young, "site")
    store.seen_jti("iss", "expired", NOW - CLOCK_ERROR, old)
    store.seen_jti("iss", "expired, if this clock is right", NOW, old)
    store.seen_jti("iss", "valid", SOON, old)
    settle(store)
    assert store.purge(NOW) == 3
    assert store.purge(NOW) == 0
    assert rows(url, "SELECT uuid FROM cards UNION ALL SELECT card FROM feedback") == [("young",), ("young",)]
    assert rows(url, "SELECT count(*) FROM jti") == [(2,)]


def test_purge_of_more_rows_than_one_batch(url: str, open_store: Open) -> None:
    store, _ = open_store(url)
    store.remember_cards([card(str(n), issued=NOW - timedelta(days=401)) for n in range(2500)])
    settle(store, 10)
    assert store.purge(NOW) == 2500


def test_the_writer_purges_by_itself(url: str, open_store: Open) -> None:
    first, _ = open_store(url)
    first.remember_cards([card("old", issued=NOW - timedelta(days=401))])
    settle(first)
    open_store(url)
    until = time.monotonic() + 5
    while rows(url, "SELECT count(*) FROM cards") != [(0,)] and time.monotonic() < until:
        time.sleep(0.02)
    assert rows(url, "SELECT count(*) FROM cards") == [(0,)]


def test_a_jwt_id_is_used_once_per_issuer_until_it_expires(url: str, open_store: Open) -> None:
    here, there = open_store(url)[0], open_store(url)[0]
    assert not here.seen_jti("iss", "1", SOON, NOW)
    assert here.seen_jti("iss", "1", SOON, NOW)
    assert there.seen_jti("iss", "1", SOON, NOW)
    assert not there.seen_jti("another", "1", SOON, NOW)
    later = SOON + timedelta(seconds=1)
    assert not there.seen_jti("iss", "1", later + timedelta(minutes=5), later)
    assert here.seen_jti("iss", "1", later + timedelta(minutes=5), later)


def test_any_string_can_be_a_jwt_id_and_none_is_stored(url: str, open_store: Open) -> None:
    store, faults = open_store(url)
    strange = ["", "\x00", "\ud800", "secret-" * 1000, "۱"]
    assert [store.seen_jti("i\x00s\ud800s", jti, SOON, NOW) for jti in strange * 2] == [False] * 5 + [True] * 5
    assert faults == []
    assert all(len(digest) == 64 for (digest,) in rows(url, "SELECT digest FROM jti"))


RACER = """
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from service.store import Store
now = datetime(2026, 3, 18, tzinfo=UTC)
faults = []
stores = [Store(sys.argv[1], clock=lambda: now, on_fault=faults.append) for _ in range(2)]
for store in stores:
    store.ping(5)
print("ready", flush=True)
sys.stdin.readline()
for jti in range(10):
    with ThreadPoolExecutor(20) as pool:
        calls = [pool.submit(stores[n % 2].seen_jti, "iss", str(jti), now + timedelta(hours=1), now) for n in range(20)]
    print("won", jti, sum(not call.result() for call in calls))
print("faults", *faults)
"""


def test_of_twenty_threads_in_each_of_two_processes_one_wins(empty_postgres: str, open_store: Open) -> None:
    open_store(empty_postgres, migrate=True)
    start = [sys.executable, "-c", RACER, empty_postgres]
    racers = [subprocess.Popen(start, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for racer in racers:
        assert racer.stdout
        assert racer.stdout.readline() == "ready\n"
    said = []
    for racer in racers:
        assert racer.stdin
        racer.stdin.write("go\n")
        racer.stdin.flush()
    for racer in racers:
        said += racer.communicate(timeout=20)[0].splitlines()
    wins: Counter[str] = Counter()
    for line in said:
        word, *rest = line.split()
        assert word == "won" or not rest, line
        if word == "won":
            wins[rest[0]] += int(rest[1])
    assert wins == {str(jti): 1 for jti in range(10)}


def test_closing_stores_what_waits_and_then_refuses(url: str, open_store: Open) -> None:
    store, faults = open_store(url)
    store.remember_cards([card(str(n)) for n in range(1500)])
    assert store.close(10) == 0
    assert rows(url, "SELECT count(*) FROM cards") == [(1500,)]
    store.remember_cards([card("late")])
    assert faults == ["dropped"]
    with pytest.raises(StoreUnavailable):
        store.record_feedback(SERVICE, [accepted("c")], NOW, "site")
    assert not store.seen_jti("iss", "late", SOON, NOW)


def test_a_row_that_the_database_refuses_costs_no_other_row(url: str, open_store: Open) -> None:
    store, faults = open_store(url)
    bad = CardRow("bad", "s", NOW, (), None, "v")  # type: ignore[arg-type]
    store.remember_cards([card("a"), bad, card("b")])
    settle(store)
    assert rows(url, "SELECT uuid FROM cards ORDER BY uuid") == [("a",), ("b",)]
    assert faults.count("dropped") == 1


def test_nothing_stored_has_a_place_for_the_patient(url: str) -> None:
    columns = {
        "cards": "uuid service tenant issued_on rules indicator version suggestions",
        "feedback": "card outcome outcome_at service suggestions reason_system reason_code reason_display comment"
        " received_on tenant",
        "jti": "issuer digest expires_at",
        "sightings": "patient reader rule result level shown_at newest_result_at overridden_at expires_at card state",
    }
    for table, names in columns.items():
        if url.startswith("sqlite"):
            found = {name for _, name, *_ in rows(url, f"PRAGMA table_info({table})")}
        else:
            query = f"SELECT column_name FROM information_schema.columns WHERE table_name = '{table}'"  # noqa: S608
            query += " AND table_schema = current_schema"
            found = {name for (name,) in rows(url, query)}
        assert found == set(names.split())


@pytest.mark.parametrize(
    "wrong", ["", "nonsense", "mysql://h/d", "sqlite://", "sqlite:///:memory:", "postgresql+asyncpg://h/d"]
)
def test_a_url_that_cannot_serve_is_an_error_of_the_settings(wrong: str) -> None:
    with pytest.raises(SettingsError, match="store"):
        Store(wrong, clock=lambda: NOW)
