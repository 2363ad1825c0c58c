"""A point of an order that needs a second look."""

from __future__ import annotations

from dataclasses import dataclass

from service.logic.message import Message
from service.logic.model import Indicator


@dataclass(frozen=True, slots=True)
class Issue:
    """Something about an order that needs a second look: `text` as a headline without a period, `action` beside it."""

    code: str
    indicator: Indicator
    text: Message
    action: Message

    @property
    def line(self) -> Message:
        """The issue as a line below another headline."""
        if self.action.template.endswith("?"):
            return Message("{issue}: {action}", issue=self.text, action=self.action)
        return Message("{issue}: {action}.", issue=self.text, action=self.action)


def gravest_first(issues: list[Issue]) -> list[Issue]:
    """The most urgent first; of the same urgency in the order given."""
    return sorted(issues, key=lambda issue: -issue.indicator.rank)
