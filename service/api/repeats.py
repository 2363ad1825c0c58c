"""The repeat guard at work: a card of which nothing is news to its reader is not shown, the others are remembered."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from service.cds.cards import Card
from service.decide import Decision
from service.logic.repeat_guard import is_repeat, sighting, situation, statements
from service.store.repeat import RepeatMemory, Shown


def without_repeats(
    decision: Decision, memory: RepeatMemory, tenant: str, patient: str, user: str, now: datetime
) -> tuple[Decision, list[str]]:
    """The decision without the cards that this user has seen, and the rules that those stated.

    While the guard is off (`memory.off` says why) every card stays.
    """
    if not (decision.cards and patient and user) or memory.off:
        return decision, []
    pair = memory.pair(tenant, patient.removeprefix("Patient/"), user)
    seen = memory.recall(pair)
    if seen is None:
        return decision, []
    known = memory.veiled(situation(decision.assessment.case), pair)
    kept: list[Card] = []
    repeated: list[str] = []
    for card in decision.cards:
        said = statements(card.stated, decision.assessment)
        if is_repeat(said, known, seen, now):
            repeated += card.stated
            continue
        kept.append(card)
        shown = (Shown(each.key, sighting(each, known, now), now + each.interval) for each in said)
        memory.remember(pair, card.body["uuid"], shown)
    return replace(decision, cards=kept), repeated
