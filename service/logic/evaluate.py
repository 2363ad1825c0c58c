"""Ask every rule about one patient, in order; let no dose past a closed gate; let no fault take down the rest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from service.logic.case import Case
from service.logic.frozen import dataclass
from service.logic.gates import closed_for
from service.logic.knowledge import Knowledge
from service.logic.message import Message
from service.logic.model import Failed, Finding, Indicator, NotMet, Off, Outcome, PatientSnapshot, Withheld
from service.logic.rules import RULES
from service.logic.rules.rule import Rule


@dataclass(frozen=True, slots=True)
class RuleResult:
    """What one rule says about one patient."""

    rule: Rule
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Assessment:
    """All judgements, the kidney gate under which they stand, and until when."""

    patient: PatientSnapshot
    judgements: tuple[RuleResult, ...]
    gate: str
    stale_after: datetime
    case: Case  # the patient by organ, as the rules saw them

    def outcome(self, rule_id: str) -> Outcome:
        """The outcome of one rule."""
        return next(j.outcome for j in self.judgements if j.rule.id == rule_id)


def evaluate(
    patient: PatientSnapshot,
    knowledge: Knowledge,
    rules: Iterable[Rule] = RULES,
    off: frozenset[str] = frozenset(),
    reference: frozenset[str] = frozenset(),
) -> Assessment:
    """Judge one patient by every rule; rules in `off` are not asked, those in `reference` recommend nothing."""
    case = Case(patient, knowledge)
    judgements = [RuleResult(rule, _judge(rule, case, off)) for rule in rules]
    said = tuple(_as_reference(j, knowledge) if j.rule.id in reference else j for j in judgements)
    return Assessment(patient, said, case.gate, _stale_after(case), case)


def _as_reference(judged: RuleResult, knowledge: Knowledge) -> RuleResult:
    """What a site keeps as reference text: the rule's title, what it rests on, no urgency, advice, dose or order."""
    outcome = judged.outcome
    if isinstance(outcome, Withheld):
        return RuleResult(judged.rule, NotMet(Message("Withheld, and reference text at this site.")))
    if not isinstance(outcome, Finding):
        return judged
    finding = Finding(
        result=outcome.result,
        indicator=Indicator.INFO,
        text=Message("Reference text: {title}", title=knowledge.rules[judged.rule.id].title),
        why=Message("The chart meets the conditions of this text; this site shows it without a recommendation."),
        evidence=outcome.evidence,
        sources=outcome.sources,
        context_only=outcome.context_only,
    )
    return RuleResult(judged.rule, finding)


def _stale_after(case: Case) -> datetime:
    """When the magnesium on which the findings rest stops being current; a day from now without one."""
    if case.mg is None or case.mg.taken is None or not case.mg_is_current:
        return case.now + timedelta(days=1)
    return case.mg.taken.end + case.mg_window


def _judge(rule: Rule, case: Case, off: frozenset[str]) -> Outcome:
    if rule.id in off:
        return Off()
    if case.patient.hook not in rule.asked_on:
        return NotMet(Message("Not asked on this hook."))
    try:
        answer = rule.evaluate(case)
        return _gated(rule, answer, case) if isinstance(answer, Finding) else answer
    except Exception as error:  # noqa: BLE001  the one broad catch: a fault in a rule is said, not hidden
        return Failed(f"{type(error).__name__} in {rule.id}")


def _gated(rule: Rule, finding: Finding, case: Case) -> Outcome:
    """The finding with only those proposals that may stand; a treatment falls with its first proposal."""
    closed = closed_for(case, finding)
    if not closed:
        return finding
    first = closed.get(finding.proposals[0].dose.id)
    if rule.treatment and first is not None:
        return Withheld(first, finding)
    return replace(finding, proposals=tuple(p for p in finding.proposals if p.dose.id not in closed))
