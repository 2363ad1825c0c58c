"""Which findings make a card, which of them leads it, and which only stand behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from service.logic.evaluate import Assessment, RuleResult
from service.logic.knowledge import Knowledge
from service.logic.model import Failed, Finding, Indicator
from service.logic.rules.rule import ORDER_HOOKS


@dataclass(frozen=True, slots=True)
class Selected:
    """The findings of one card: `reasons` make it (gravest first), `context` stands behind it, `failed` broke."""

    reasons: tuple[RuleResult, ...]
    context: tuple[RuleResult, ...]
    failed: tuple[RuleResult, ...]
    lead: RuleResult | None

    @property
    def listed(self) -> tuple[RuleResult, ...]:
        """Every finding behind the card."""
        return (*self.reasons, *self.context)

    @property
    def rules(self) -> frozenset[str]:
        """Every rule behind the card, those that broke too."""
        return frozenset(result.rule.id for result in (*self.listed, *self.failed))


def finding_of(result: RuleResult) -> Finding:
    """The finding of a selected result."""
    assert isinstance(result.outcome, Finding)  # noqa: S101  only findings are selected
    return result.outcome


def select(assessment: Assessment, knowledge: Knowledge, silent: frozenset[str]) -> Selected | None:
    """What one card states of an assessment, or None when there is nothing to say; rules in `silent` never speak."""
    asked = [r for r in assessment.judgements if r.rule.id not in silent]
    failed = tuple(r for r in asked if isinstance(r.outcome, Failed))
    found = [r for r in asked if isinstance(r.outcome, Finding)]
    here = [r for r in found if assessment.patient.hook in r.rule.hooks]
    reasons = [r for r in here if not finding_of(r).context_only]
    if not reasons and not failed:
        return None
    context = [r for r in here if finding_of(r).context_only and not knowledge.rules[r.rule.id].aside]
    if assessment.patient.hook in ORDER_HOOKS:
        context += [r for r in found if knowledge.rules[r.rule.id].quoted and r not in here]
    elif doubtful := _doubtful(assessment, reasons, knowledge):
        reasons, context = [*doubtful, *_not_by_level(reasons, doubtful, knowledge)], []
    ordered = tuple(sorted(reasons, key=_urgency))
    return Selected(ordered, tuple(context) if reasons else (), failed, _lead(ordered, knowledge))


def _urgency(result: RuleResult) -> tuple[int, int, str]:
    return -finding_of(result).indicator.rank, result.rule.priority, result.rule.id


def _lead(reasons: Sequence[RuleResult], knowledge: Knowledge) -> RuleResult | None:
    """Of the gravest reasons the one whose row says that it leads; else the first by priority."""
    if not reasons:
        return None
    gravest = [r for r in reasons if finding_of(r).indicator is finding_of(reasons[0]).indicator]
    leading = [r for r in gravest if knowledge.rules[r.rule.id].lead]
    return min(leading, key=lambda r: knowledge.rules[r.rule.id].lead) if leading else gravest[0]


def _doubtful(assessment: Assessment, reasons: Sequence[RuleResult], knowledge: Knowledge) -> list[RuleResult]:
    """Integrity findings that make the serum magnesium unusable: they replace the card on its level."""
    ungraded = not isinstance(assessment.outcome("R-010"), Finding)
    unusable = ungraded or isinstance(assessment.outcome("R-002"), Finding)
    warned = [r for r in reasons if finding_of(r).indicator is Indicator.WARNING]
    return [
        r
        for r in warned
        if knowledge.rules[r.rule.id].doubts and (unusable or knowledge.rules[r.rule.id].doubts == "always")
    ]


def _not_by_level(
    reasons: Sequence[RuleResult], doubtful: Sequence[RuleResult], knowledge: Knowledge
) -> list[RuleResult]:
    """Emergencies that wait for no level stand beside a doubtful one (decision 27)."""
    return [r for r in reasons if r not in doubtful and knowledge.rules[r.rule.id].emergency]


def indicator_of(selected: Selected) -> Indicator:
    """The highest of the reasons; a warning where rules broke."""
    ranks = [finding_of(r).indicator for r in selected.reasons]
    return max(ranks, key=lambda indicator: indicator.rank, default=Indicator.WARNING)
