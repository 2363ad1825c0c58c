"""What a rule is: a name, where it may speak, how urgent its line is, and a function that asks one question."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from service.logic.case import Case
from service.logic.model import Finding, Hook, MissingInputs, NotMet

Answer = Finding | NotMet | MissingInputs
EVERY_CHART_HOOK = frozenset({Hook.PATIENT_VIEW, Hook.ENCOUNTER_START, Hook.ENCOUNTER_DISCHARGE})
ORDER_HOOKS = frozenset({Hook.ORDER_SELECT, Hook.ORDER_SIGN})


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of the catalogue. `hooks` are the moments at which its finding may appear on a card.

    `priority` orders the lines of a card (lower first);
    `treatment` marks rules whose finding is a proposal to give magnesium and nothing else.
    """

    id: str
    name: str
    evaluate: Callable[[Case], Answer]
    priority: int
    hooks: frozenset[Hook] = EVERY_CHART_HOOK
    asked_on: frozenset[Hook] = frozenset(Hook)
    treatment: bool = False
    research: bool = False
