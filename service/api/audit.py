"""What is kept of a decision: the cards for their feedback, one line in the log, counts. Nothing of the patient."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import structlog

from service.api.auth.tokens import Caller
from service.api.http.instrumentation import stopwatch
from service.decide import Decision
from service.logic.knowledge import VERSION
from service.observability import metrics
from service.store.feedback import FeedbackItem, Rejected
from service.store.store import CardRow, FeedbackReport
from service.terminology.queries import PREFETCH_KEYS

LOG = structlog.get_logger("audit")


def card_rows(decision: Decision, service: str, caller: Caller, now: datetime) -> list[CardRow]:
    """The cards as the store keeps them."""
    return [
        CardRow(
            uuid=card.body["uuid"],
            service=service,
            issued=now,
            rules=tuple(card.stated),
            indicator=card.body["indicator"],
            version=VERSION,
            tenant=caller.name,
            suggestions=tuple(s["uuid"] for s in card.body.get("suggestions", ())),
        )
        for card in decision.cards
    ]


def decided(
    decision: Decision,
    service: str,
    caller: Caller,
    *,
    withheld: bool = False,
    repeated: Sequence[str] = (),
    silent: bool = False,
) -> None:
    """Count a decision and write its line.

    `withheld`: the reader is no clinician and was given no cards; `repeated`: rules of cards that the reader has seen;
    `silent`: the cards are those that would have been shown.
    """
    _count(decision, repeated, silent=silent)
    LOG.info(
        "decision",
        tenant=caller.name,
        issuer=caller.tenant.iss,
        service=service,
        hook=decision.assessment.patient.hook.value,
        cards=[card.body["uuid"] for card in decision.cards],
        rules=[rule for card in decision.cards for rule in card.stated],
        indicators=[card.body["indicator"] for card in decision.cards],
        failed=decision.failed_rules,
        states={key: state for key, state in decision.states.items() if key in PREFETCH_KEYS},
        withheld=withheld,
        repeated=list(repeated),
        silent=silent,
        knowledge=VERSION,
        ms=stopwatch().ms(),
    )


def _count(decision: Decision, repeated: Sequence[str], *, silent: bool) -> None:
    cards = metrics.SILENT_CARDS if silent else metrics.CARDS
    for rule in decision.failed_rules:
        metrics.RULE_FAILURES.labels(rule).inc()
    for card in decision.cards:
        for rule in card.stated:
            cards.labels(rule, card.body["indicator"]).inc()
    for rule in repeated:
        metrics.REPEATED.labels(rule).inc()
    metrics.count_states(decision.states)
    metrics.count_magnesium(decision.assessment.case)


def reported(items: list[FeedbackItem], rejected: list[Rejected], report: FeedbackReport, caller: Caller) -> None:
    """Count what became of cards and write the line of this report."""
    metrics.count_feedback(item.outcome for item in items)
    LOG.info(
        "feedback",
        tenant=caller.name,
        new=report.accepted,
        duplicates=report.duplicates,
        unknown_cards=report.unknown_cards,
        rejected=len(rejected),
    )
