"""The repeat guard in a replay: one reader for each patient, who remembers; the rules of it are those of the service."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

from service.decide import Decision
from service.logic.repeat_guard import Key, Sighting, is_repeat, sighting, situation, statements


@dataclass(slots=True)
class Reader:
    """Who opens a chart again and again, with what was shown; nobody overrides anything in a replay."""

    seen: dict[Key, Sighting] = field(default_factory=dict)

    def without_repeats(self, decision: Decision, at: datetime) -> Decision:
        """The decision without the cards of which nothing is news; those that stay are remembered."""
        if not decision.cards:
            return decision
        now, kept = situation(decision.assessment.case), []
        for card in decision.cards:
            said = statements(card.stated, decision.assessment)
            if not is_repeat(said, now, self.seen, at):
                kept.append(card)
                self.seen |= {each.key: sighting(each, now, at) for each in said}
        return replace(decision, cards=kept)
