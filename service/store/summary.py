"""What became of the cards: shown, accepted and overridden per rule, knowledge version and week."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import msgspec
from sqlalchemy import Column, Connection, Select, distinct, func, literal_column, select

from service.store.tables import CARDS, FEEDBACK

UNKNOWN = "unknown"  # in place of a rule: feedback about cards that are not, or no longer, stored
NOT_STATED = "not-stated"  # in place of a reason's code

Query = Select[*tuple[Any, ...]]


@dataclass(slots=True)
class SummaryRow:
    """Numbers of cards. The week is that in which the cards were issued, so that accepted / shown is a proportion.

    A card counts once, however often its outcome is reported; `reasons` maps the codes of override reasons to cards.
    A card that states several rules counts for each. Of unknown cards the week is that of the feedback's receipt.
    """

    rule: str
    version: str
    week: str  # ISO 8601, "2026-W12"
    shown: int = 0
    accepted: int = 0
    overridden: int = 0
    reasons: dict[str, int] = field(default_factory=dict)


def summarise(connection: Connection, since: date, until: date) -> list[SummaryRow]:
    """One row per rule, version and week, in this order, of the cards issued from `since` to the day before `until`."""
    tally: dict[tuple[str, str, str], SummaryRow] = {}
    for group, number in _count(connection, _shown(since, until)):
        for row in _rows(tally, group):
            row.shown += number
    for (*group, outcome), number in _count(connection, _reported(FEEDBACK.c.outcome, since, until)):
        for row in _rows(tally, group):
            row.accepted += number if outcome == "accepted" else 0
            row.overridden += number if outcome == "overridden" else 0
    reasons = _reported(FEEDBACK.c.reason_code, since, until).where(FEEDBACK.c.outcome == "overridden")
    for (*group, code), number in _count(connection, reasons):
        for row in _rows(tally, group):
            row.reasons[code or NOT_STATED] = row.reasons.get(code or NOT_STATED, 0) + number
    return [tally[key] for key in sorted(tally)]


def _shown(since: date, until: date) -> Query:
    day = CARDS.c.issued_on
    group = (CARDS.c.rules, CARDS.c.version, day)
    return select(*group, func.count()).where(day >= since, day < until).group_by(*group)


def _reported(what: Column[str], since: date, until: date) -> Query:
    """Cards per rules, version, day and the column `what` of their feedback."""
    rules = func.coalesce(CARDS.c.rules, literal_column(f"'[\"{UNKNOWN}\"]'"))
    version = func.coalesce(CARDS.c.version, literal_column("''"))
    day = func.coalesce(CARDS.c.issued_on, FEEDBACK.c.received_on)
    group = (rules, version, day, what)
    cards: Query = select(*group, func.count(distinct(FEEDBACK.c.card))).group_by(*group)
    source = FEEDBACK.outerjoin(CARDS, CARDS.c.uuid == FEEDBACK.c.card)
    return cards.select_from(source).where(day >= since, day < until)


def _count(connection: Connection, query: Query) -> Iterator[tuple[list[Any], int]]:
    """Each group of the query with its number."""
    for *group, number in connection.execute(query):
        yield group, number


def _rows(tally: dict[tuple[str, str, str], SummaryRow], group: list[Any]) -> list[SummaryRow]:
    """The rows to which cards with these rules (JSON), version and day belong."""
    rules, version, day = group
    week = f"{day:%G-W%V}"
    names = msgspec.json.decode(rules, type=list[str])
    return [tally.setdefault((rule, version, week), SummaryRow(rule, version, week)) for rule in names]
