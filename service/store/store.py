"""The store: what the rest of the service may ask of the database, and what happens while it does not answer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from time import monotonic
from typing import Any, TypeVar

import msgspec
import structlog
from sqlalchemy import ColumnElement, Connection, Table, delete, false, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError

from service.errors import StoreUnavailable
from service.store.batch import SharedTransaction
from service.store.card_ids import CardIds
from service.store.database import DeadlineExecutor, HeldConnection, open_engine, unavailable, upgrade
from service.store.deadline import statement_deadline
from service.store.feedback import FeedbackItem, storable
from service.store.on_the_way import Pair, claim, recall
from service.store.on_the_way import Row as SightingRow
from service.store.repeat import RepeatMemory, override
from service.store.replay import SeenTokens, digest
from service.store.reported import Reported, feedback_rows
from service.store.secret import Secret
from service.store.summary import SummaryRow, summarise
from service.store.tables import CARDS, FEEDBACK, JTI, SIGHTINGS
from service.store.writer import Row, Writer

T = TypeVar("T")
JTI_DEADLINE = 0.2  # s
SIGHTINGS_DEADLINE = 0.2  # s
FEEDBACK_DEADLINE = 2.0  # s
SUMMARY_DEADLINE = 5.0  # s
WRITE_DEADLINE = 2.0  # s, of the writer thread for one batch
JTI_REMEMBERED = 50_000  # per process
CLOCK_ERROR = timedelta(hours=2)  # by which `now` may be wrong: an id deleted too early could be used again
SHARED, SLOW_WORKERS = 2, 3  # threads, each with at most one connection; the writer has one more
PURGE_EVERY, PURGE_AGAIN = 3600.0, 60.0  # s; the latter after a failure
PURGE_BATCH = 1000  # rows per transaction
STORING = frozenset({"jti", "write", "feedback"})  # what proves that rows can be stored; reading does not
REFUSED = (DataError, IntegrityError)  # the row's fault, not the database's
LOG = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CardRow:
    """A card that was answered. Only the day of `issued` is kept."""

    uuid: str
    service: str
    issued: datetime
    rules: tuple[str, ...]
    indicator: str
    version: str  # of the knowledge
    tenant: str = ""
    suggestions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FeedbackReport:
    """How many items of one feedback call were new, how many were stored before, how many name no card we know."""

    accepted: int
    duplicates: int
    unknown_cards: int


def _ignore(_kind: str) -> None: ...


class Store:
    """One database, used by one process; safe for threads. Make it after the server has forked.

    Nothing is opened here: the database may be down. `on_fault` is called, from any thread, with the kind of each
    fault: `jti` (answered from memory), `repeat` (no card was held back), `write` (failed and will be tried again),
    `dropped` (once per row given up: the queue full, or refused), `feedback`, `summary` and `ping` (the caller was
    told), `purge`, `migrate`.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], datetime],
        on_fault: Callable[[str], None] = _ignore,
        capacity: int = 10_000,
        retention: timedelta = timedelta(days=400),
        migrate: bool = False,
        secret: Secret | None = None,
    ) -> None:
        """`clock` gives the aware time to the writer thread; with `migrate` that thread first calls `upgrade`.

        `secret` is that of the site; without one the repeat guard is off.
        """
        self._url, self._clock, self._on_fault, self._retention = url, clock, on_fault, retention
        self._engine = open_engine(url, SHARED + SLOW_WORKERS + 1)
        self._claims = SharedTransaction(
            "store-jti", HeldConnection(self._engine), claim
        )  # its own: no summary delays a card
        self._sightings = SharedTransaction("store-repeat", HeldConnection(self._engine), recall)
        self._slow = DeadlineExecutor("store", SLOW_WORKERS)
        self._seen_tokens = SeenTokens(JTI_REMEMBERED)
        self._failing: set[str] = set()
        self._to_migrate = migrate
        self._purge_due = 0.0
        self._writer = Writer(self._write, self._maintain, capacity)
        self.card_ids = CardIds(secret or Secret(os.urandom(32)))  # without a secret known to this process alone
        self.repeats = RepeatMemory(secret, self._recall, lambda rows: self._enqueue([(SIGHTINGS, r) for r in rows]))

    @property
    def waiting(self) -> int:
        """Rows not yet stored."""
        return len(self._writer)

    def remember_cards(self, cards: Sequence[CardRow]) -> None:
        """Have the cards stored soon; returns at once, whatever the state of the database."""
        self._enqueue([(CARDS, _card(card)) for card in cards])

    def record_feedback(
        self, service: str, items: Sequence[FeedbackItem], received: datetime, tenant: str = ""
    ) -> FeedbackReport:
        """Store the items; when this returns they are durable. Raises StoreUnavailable: then the caller may retry.

        Items belong to cards that this service answered to this tenant: known by their ids, or by their rows. Of any
        other card nothing is kept but that somebody spoke of it.
        """
        if not items:
            return FeedbackReport(0, 0, 0)
        own = {item.card for item in items if self.card_ids.issued_on(item.card, tenant, service)}
        reported = Reported(service, storable(tenant), received, own, self.card_ids)
        cards = _overridden(items, own, self.repeats) if self.repeats.keyed else {}
        return self._ask(self._slow, "feedback", FEEDBACK_DEADLINE, lambda at: _record(at, items, reported, cards))

    def seen_jti(self, issuer: str, jti: str, expires: datetime, now: datetime, *, strict: bool = False) -> bool:
        """True if this issuer's JWT id was used before and has not expired; remembers it otherwise.

        Asks the database for 200 ms at most. If it does not answer, this process's memory decides and the id is stored
        later; `strict` raises StoreUnavailable instead, and the same token may be tried again.
        """
        key = (storable(issuer), digest(jti))
        if not self._seen_tokens.add(key, expires, now):
            return True
        row = {"issuer": key[0], "digest": key[1], "expires_at": expires.astimezone(UTC)}
        try:
            with self._noting("jti"):
                return not self._claims.ask((row, now), JTI_DEADLINE)
        except StoreUnavailable:
            if strict:
                self._seen_tokens.discard(key)
                raise
            self._enqueue([(JTI, row)])
            return False

    def summary(self, tenant: str, since: date, until: date) -> list[SummaryRow]:
        """What became of a tenant's cards issued from `since` to the day before `until`. Raises StoreUnavailable."""
        return self._ask(self._slow, "summary", SUMMARY_DEADLINE, lambda at: summarise(at, tenant, since, until))

    def ping(self, deadline: float = 1.0) -> None:
        """Raises StoreUnavailable unless the tables answer within `deadline` seconds and are not read-only."""
        self._ask(self._slow, "ping", deadline, _try_out)

    def purge(self, now: datetime) -> int:
        """Delete what is older than the retention, and JWT ids long expired; the number of rows. For the writer thread."""
        oldest = (now - self._retention).date()
        return (
            self._delete(CARDS, CARDS.c.issued_on < oldest)
            + self._delete(FEEDBACK, FEEDBACK.c.received_on < oldest)
            + self._delete(JTI, JTI.c.expires_at <= now.astimezone(UTC) - CLOCK_ERROR)
            + self._delete(SIGHTINGS, SIGHTINGS.c.expires_at <= now.astimezone(UTC))
        )

    def close(self, timeout: float = 5.0) -> int:
        """Store what waits, for `timeout` seconds at most, and let go of the database; the number of rows lost."""
        lost = self._writer.close(timeout)
        self._claims.close()
        self._sightings.close()
        self._slow.close()
        self._engine.dispose()
        self._dropped(lost, "closed before they could be stored")
        return lost

    def _ask(self, executor: DeadlineExecutor, kind: str, deadline: float, work: Callable[[Connection], T]) -> T:
        """The result of `work` in a transaction on a thread of the executor, or StoreUnavailable."""
        with self._noting(kind):
            return executor.run(deadline, lambda: self._transact(work))

    def _do(self, kind: str, work: Callable[[Connection], T]) -> T:
        """The same on the present thread, which must be the writer's."""
        with self._noting(kind), statement_deadline(monotonic() + WRITE_DEADLINE):
            try:
                return self._transact(work)
            except SQLAlchemyError as fault:
                raise unavailable(fault) from fault

    def _recall(self, pair: Pair) -> list[SightingRow]:
        with self._noting("repeat"):
            return self._sightings.ask(pair, SIGHTINGS_DEADLINE)

    def _transact(self, work: Callable[[Connection], T]) -> T:
        with self._engine.begin() as connection:
            return work(connection)

    @contextmanager
    def _noting(self, kind: str) -> Iterator[None]:
        """Count each fault; log when the database is lost and when it is back, not every call between.

        While nothing can be stored, that something could be read is not "back".
        """
        try:
            yield
        except StoreUnavailable as fault:
            self._on_fault(kind)
            if not self._failing:
                LOG.warning("store lost", during=kind, error=str(fault), detail=_detail(fault))
            self._failing.add(kind)
            raise
        if self._failing and (kind in STORING or not self._failing & STORING):
            self._failing.clear()
            LOG.warning("store back", waiting=self.waiting)

    def _enqueue(self, rows: Sequence[Row]) -> None:
        self._dropped(self._writer.put(rows), "the queue is full or closed")

    def _dropped(self, number: int, why: str) -> None:
        for _ in range(number):
            self._on_fault("dropped")
        if number:
            LOG.warning("rows given up", number=number, why=why)

    def _write(self, rows: Sequence[Row]) -> None:
        """Store the rows; what the database refuses for itself is given up, so that it does not block the others."""
        try:
            self._do("write", lambda connection: _insert(connection, rows))
        except StoreUnavailable as fault:
            if not isinstance(fault.__cause__, REFUSED):
                raise
            if len(rows) == 1:
                self._dropped(1, "refused by the database")
            else:
                for row in rows:
                    self._write([row])

    def _maintain(self) -> None:
        if self._to_migrate:
            with self._noting("migrate"):
                upgrade(self._url)
            self._to_migrate = False
        if monotonic() >= self._purge_due:
            self._purge_due = monotonic() + PURGE_AGAIN
            self.purge(self._clock())
            self._purge_due = monotonic() + PURGE_EVERY

    def _delete(self, table: Table, condition: ColumnElement[bool]) -> int:
        """Delete in small transactions, which hold up nobody."""
        key = list(table.primary_key)
        batch = delete(table).where(tuple_(*key).in_(select(*key).where(condition).limit(PURGE_BATCH)))
        gone = total = self._do("purge", lambda connection: connection.execute(batch).rowcount)
        while gone == PURGE_BATCH:
            gone = self._do("purge", lambda connection: connection.execute(batch).rowcount)
            total += gone
        return total


def _detail(fault: StoreUnavailable) -> str:
    """The driver's words for the log, but only where they are about the connection and cannot quote values."""
    cause = fault.__cause__
    return (
        str(cause.orig).partition("\n")[0] if isinstance(cause, DBAPIError) and not isinstance(cause, REFUSED) else ""
    )


def _card(card: CardRow) -> dict[str, Any]:
    return {
        "uuid": card.uuid,
        "service": card.service,
        "tenant": storable(card.tenant),
        "issued_on": card.issued.astimezone(UTC).date(),
        "rules": _json(card.rules),
        "indicator": card.indicator,
        "version": card.version,
        "suggestions": _json(card.suggestions),
    }


def _overridden(items: Sequence[FeedbackItem], own: set[str], repeats: RepeatMemory) -> dict[str, datetime]:
    """When each of our cards was last overridden, by the hash under which the repeat guard knows it."""
    latest: dict[str, datetime] = {}
    for item in items:
        if item.outcome == "overridden" and item.card in own:
            hashed = repeats.hash("card", item.card)
            latest[hashed] = max(item.at, latest.get(hashed, item.at))
    return latest


def _json(words: tuple[str, ...]) -> str:
    return msgspec.json.encode(words).decode()


def _try_out(connection: Connection) -> None:
    """Read, and write nothing: a server that is read-only refuses that too."""
    connection.execute(select(CARDS.c.uuid).limit(1))
    connection.execute(delete(JTI).where(false()))


def _new(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that can say ON CONFLICT, in the dialect of the connection."""
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)


def _insert(connection: Connection, rows: Sequence[Row]) -> None:
    """Insert what is not there yet, in one statement per table.

    That is what RETURNING is for: without it psycopg would send a pipeline, and PostgreSQL (15) does not apply its
    idle_in_transaction_session_timeout to a connection that was lost after a pipeline.
    """
    for table in (CARDS, JTI):
        values = [row for its_table, row in rows if its_table is table]
        if values:
            connection.execute(_new(connection, table).on_conflict_do_nothing().returning(*table.primary_key), values)
    _upsert_sightings(connection, [row for table, row in rows if table is SIGHTINGS])


def _upsert_sightings(connection: Connection, rows: Sequence[SightingRow]) -> None:
    """What was shown last is kept, in whatever order replicas tell it."""
    newest = {tuple(row[column.name] for column in SIGHTINGS.primary_key): row for row in rows}
    if not newest:
        return
    insert = _new(connection, SIGHTINGS)
    told = {c.name: insert.excluded[c.name] for c in SIGHTINGS.c if not c.primary_key}
    key = list(SIGHTINGS.primary_key)
    upsert = insert.on_conflict_do_update(
        index_elements=key, set_=told, where=SIGHTINGS.c.shown_at <= insert.excluded.shown_at
    )
    connection.execute(upsert.returning(*key), [newest[each] for each in sorted(newest)])


def _record(
    connection: Connection, items: Sequence[FeedbackItem], reported: Reported, overridden: dict[str, datetime]
) -> FeedbackReport:
    rows, unknown = feedback_rows(connection, items, reported)
    insert = _new(connection, FEEDBACK).on_conflict_do_nothing().returning(FEEDBACK.c.card)
    in_order = sorted(rows, key=lambda row: (row["card"], row["outcome"], row["outcome_at"]))  # so none deadlock
    stored = len(connection.execute(insert, in_order).all())
    override(connection, overridden)
    return FeedbackReport(stored, len(rows) - stored, unknown)
