"""The two statements for which an answer waits, as SQL text: building them anew costs several times what they do.

Both dialects understand the same text, but for the mark of a parameter; times are those that `tables.py` declares.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection

from service.store.tables import SIGHTINGS

Claim = tuple[dict[str, Any], datetime]
"""A row of `jti`, and the moment at which it is claimed."""
Pair = tuple[str, str]
"""The hashes of a patient and of a user."""
Row = dict[str, Any]

_COLUMNS = tuple(column.name for column in SIGHTINGS.c)
_CLAIM = """
INSERT INTO jti (issuer, digest, expires_at) VALUES {rows}
ON CONFLICT (issuer, digest) DO UPDATE SET expires_at = excluded.expires_at WHERE jti.expires_at <= {mark}
RETURNING issuer, digest"""
_RECALL = f"SELECT {', '.join(_COLUMNS)} FROM sightings WHERE {{pairs}}"  # noqa: S608  names of our columns


def claim(connection: Connection, claims: Sequence[Claim]) -> list[bool]:
    """True for those who are the first to store their id, or the first after its expiry; the same id wins once."""
    sqlite = connection.dialect.name == "sqlite"
    rows = {(row["issuer"], row["digest"]): row["expires_at"] for row, _ in claims}
    in_order = [(*key, _moment(rows[key], sqlite)) for key in sorted(rows)]  # so that replicas do not deadlock
    now = _moment(min(moment for _, moment in claims), sqlite)
    told = (*(value for row in in_order for value in row), now)
    won = {tuple(row) for row in connection.exec_driver_sql(_claim_text(sqlite, len(rows)), told)}
    return [_take(won, (row["issuer"], row["digest"])) for row, _ in claims]


def recall(connection: Connection, pairs: Sequence[Pair]) -> list[list[Row]]:
    """The rows of `sightings` of each pair, in one query."""
    text = _recall_text(connection.dialect.name == "sqlite", len(pairs))
    told = tuple(value for pair in pairs for value in pair)
    found: dict[Pair, list[Row]] = {}
    for values in connection.exec_driver_sql(text, told):
        row = dict(zip(_COLUMNS, values, strict=True))
        found.setdefault((row["patient"], row["reader"]), []).append(row)
    return [found.get(pair, []) for pair in pairs]


def utc(moment: datetime | str | None) -> datetime | None:
    """A time as the database gives it; SQLite knows no zones, and without SQLAlchemy no times."""
    read = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return read.replace(tzinfo=UTC) if read is not None and read.tzinfo is None else read


def _take(won: set[tuple[Any, ...]], key: Pair) -> bool:
    taken = key in won
    won.discard(key)
    return taken


def _moment(moment: datetime, sqlite: bool) -> datetime | str:
    """As SQLAlchemy stores it."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}" if sqlite else moment


@lru_cache(maxsize=64)
def _claim_text(sqlite: bool, number: int) -> str:
    mark = "?" if sqlite else "%s"
    return _CLAIM.format(rows=", ".join([f"({mark}, {mark}, {mark})"] * number), mark=mark)


@lru_cache(maxsize=64)
def _recall_text(sqlite: bool, number: int) -> str:
    mark = "?" if sqlite else "%s"
    return _RECALL.format(pairs=" OR ".join([f"(patient = {mark} AND reader = {mark})"] * number))
