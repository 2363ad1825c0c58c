"""From items of feedback to rows: what is kept of a report about our cards, and of one about somebody else's."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from service.store.card_ids import CardIds
from service.store.feedback import OTHER, FeedbackItem
from service.store.tables import CARDS


@dataclass(frozen=True, slots=True)
class Reported:
    """Who reports to which service, when, and which of the cards are theirs by their ids."""

    service: str
    tenant: str
    received: datetime
    own: set[str]
    ids: CardIds


def feedback_rows(
    connection: Connection, items: Sequence[FeedbackItem], reported: Reported
) -> tuple[list[dict[str, Any]], int]:
    """A row for each item, and the number of those about cards that are not known to be the tenant's."""
    stored = _stored(connection, {item.card for item in items} - reported.own, reported)
    rows = []
    for item in items:
        offered = reported.ids.suggestions(item.card) if item.card in reported.own else stored.get(item.card)
        rows.append(_row(item, offered, reported))
    return rows, sum(item.card not in reported.own and item.card not in stored for item in items)


def _stored(connection: Connection, cards: set[str], reported: Reported) -> dict[str, frozenset[str]]:
    """The suggestions of those cards of this tenant and service that are in the database."""
    theirs = (CARDS.c.tenant == reported.tenant, CARDS.c.service == reported.service)
    found = connection.execute(select(CARDS.c.uuid, CARDS.c.suggestions).where(CARDS.c.uuid.in_(cards), *theirs))
    return {uuid: frozenset(msgspec.json.decode(suggestions, type=list[str])) for uuid, suggestions in found}


def _row(item: FeedbackItem, offered: frozenset[str] | None, reported: Reported) -> dict[str, Any]:
    """`offered` are the suggestions of the card, None for a card that is not known: then its id is only hashed."""
    accepted = [each if each in (offered or ()) else OTHER for each in item.suggestions]
    return {
        "card": _unknown(item.card, reported.tenant) if offered is None else item.card,
        "outcome": item.outcome,
        "outcome_at": item.at.astimezone(UTC),
        "service": reported.service,
        "tenant": reported.tenant,
        "suggestions": msgspec.json.encode(sorted(set(accepted))).decode(),
        "reason_system": "",
        "reason_code": item.reason,
        "reason_display": "",
        "comment": item.comment if offered is not None else "",
        "received_on": reported.received.astimezone(UTC).date(),
    }


def _unknown(card: str, tenant: str) -> str:
    """What stands for a card of which nothing is known: the same for the same words, and not these words."""
    return "unknown-" + hashlib.sha256(f"{tenant}:{card}".encode()).hexdigest()[:32]
