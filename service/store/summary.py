"""What became of a tenant's cards: shown, accepted and overridden per rule, knowledge version and week, and in all."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, Subquery, func, literal_column, select

from service.store.tables import CARDS, FEEDBACK

UNKNOWN = "unknown"  # in place of a rule: feedback about cards that are not, or no longer, stored
EVERY = "every-card"  # in place of a rule: all cards, each counted once
NOT_STATED = "not-stated"  # in place of a reason's code

Query = Select[*tuple[Any, ...]]


@dataclass(slots=True)
class SummaryRow:
    """Numbers of cards. The week is that in which the cards were issued, so that accepted / shown is a proportion.

    A card has one outcome, the last that was reported of it; `reasons` maps the codes of override reasons to cards. A
    card that states several rules counts for each, and once for "every-card". Of unknown cards the week is that of the
    feedback's receipt.
    """

    rule: str
    version: str
    week: str  # ISO 8601, "2026-W12"
    shown: int = 0
    accepted: int = 0
    overridden: int = 0
    reasons: dict[str, int] = field(default_factory=dict)


def summarise(connection: Connection, tenant: str, since: date, until: date) -> list[SummaryRow]:
    """One row per rule, version and week, in this order, of the cards issued from `since` to the day before `until`."""
    tally: dict[tuple[str, str, str], SummaryRow] = {}
    for group, number in _count(connection, _shown(tenant, since, until)):
        for row in _rows(tally, group):
            row.shown += number
    for (*group, outcome, code), number in _count(connection, _reported(tenant, since, until)):
        for row in _rows(tally, group):
            if outcome == "accepted":
                row.accepted += number
            else:
                row.overridden += number
                row.reasons[code or NOT_STATED] = row.reasons.get(code or NOT_STATED, 0) + number
    return [tally[key] for key in sorted(tally)]


def to_csv(rows: Iterable[SummaryRow]) -> str:
    """The rows as CSV (RFC 4180) with a heading; the reasons as "code=number" with spaces between."""
    out = io.StringIO()
    written = csv.writer(out)
    written.writerow(["rule", "version", "week", "shown", "accepted", "overridden", "reasons"])
    for row in rows:
        reasons = " ".join(f"{code}={number}" for code, number in sorted(row.reasons.items()))
        written.writerow([row.rule, row.version, row.week, row.shown, row.accepted, row.overridden, reasons])
    return out.getvalue()


def _shown(tenant: str, since: date, until: date) -> Query:
    day = CARDS.c.issued_on
    group = (CARDS.c.rules, CARDS.c.version, day)
    return select(*group, func.count()).where(CARDS.c.tenant == tenant, day >= since, day < until).group_by(*group)


def _last() -> Subquery:
    """Of each card the report whose outcome is the latest; of two at one moment the acceptance."""
    order = (FEEDBACK.c.outcome_at.desc(), FEEDBACK.c.outcome)
    place = func.row_number().over(partition_by=FEEDBACK.c.card, order_by=order)
    return select(FEEDBACK, place.label("place")).subquery("last")


def _reported(tenant: str, since: date, until: date) -> Query:
    """Cards per rules, version, day, outcome and reason."""
    last = _last()
    rules = func.coalesce(CARDS.c.rules, literal_column(f"'[\"{UNKNOWN}\"]'"))
    version = func.coalesce(CARDS.c.version, literal_column("''"))
    day = func.coalesce(CARDS.c.issued_on, last.c.received_on)
    group = (rules, version, day, last.c.outcome, last.c.reason_code)
    source = last.outerjoin(CARDS, CARDS.c.uuid == last.c.card)
    theirs = func.coalesce(CARDS.c.tenant, last.c.tenant) == tenant
    cards: Query = select(*group, func.count()).select_from(source).group_by(*group)
    return cards.where(last.c.place == 1, theirs, day >= since, day < until)


def _count(connection: Connection, query: Query) -> Iterator[tuple[list[Any], int]]:
    """Each group of the query with its number."""
    for *group, number in connection.execute(query):
        yield group, number


def _rows(tally: dict[tuple[str, str, str], SummaryRow], group: list[Any]) -> list[SummaryRow]:
    """The rows to which cards with these rules (JSON), version and day belong."""
    rules, version, day = group
    week = f"{day:%G-W%V}"
    names = [*dict.fromkeys(msgspec.json.decode(rules, type=list[str])), EVERY]
    return [tally.setdefault((rule, version, week), SummaryRow(rule, version, week)) for rule in names]
