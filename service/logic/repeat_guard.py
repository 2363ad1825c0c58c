"""Is this finding news to this user? The pure half of the repeat guard (decision 25): it knows no store and no clock.

A card is held back only if nothing on it is news: every finding that is a reason for it was shown to the same user for
the same patient within its interval, nothing got worse since, and it is no emergency.

A warning is news again after a day, a critical finding after an hour or when it rests on a newer result, and any
finding when something in `Situation` is worse than it was.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from service.logic.case import Case
from service.logic.evaluate import Assessment
from service.logic.model import Failed, Finding, Hook, Indicator, LabResult, Medication, Order
from service.logic.rules.rule import ORDER_HOOKS

Key = tuple[str, str]
"""Rule and result: what makes two findings the same."""

HOUR = timedelta(hours=1)
WARNING_DAYS, WARNING_DAYS_AMBULATORY, INFO_DAYS = 1, 30, 7
MG_SHIFT = Decimal("0.10")  # mmol/L, decision 25
CLOCKS = timedelta(minutes=5)  # by which those of two replicas may differ
ALWAYS_EMERGENCY = "R-081"
_HIGH_TIERS = ("mg-high-moderate", "mg-high-severe", "mg-high-life-threatening")
_TIERS = ("", "mild", "moderate", "severe", "life-threatening")


@dataclass(frozen=True, slots=True)
class Situation:
    """What may get worse between two looks at one patient.

    `mg` is serum magnesium in mmol/L or None; `side` is -1 below, 1 above and 0 within its range; `tier` grows with its
    grade. `facts` are the things of which a new one is news: low potassium, a closed gate, a drug, a sign.
    """

    mg: Decimal | None = None
    side: int = 0
    tier: int = 0
    facts: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Statement:
    """A finding that is a reason for a card; `newest` is the time of the newest result on which it rests."""

    key: Key
    level: Indicator
    interval: timedelta
    emergency: bool = False
    newest: datetime | None = None


@dataclass(frozen=True, slots=True)
class Sighting:
    """A finding as it was last shown to one user for one patient, and when that user overrode it."""

    level: Indicator
    shown_at: datetime
    situation: Situation
    newest: datetime | None = None
    overridden_at: datetime | None = None


# ---- what a card states ---------------------------------------------------------------------------------------------


def statements(stated: Collection[str], assessment: Assessment) -> list[Statement]:
    """The reasons among the rules that a card states; none if one of them failed, for that is never old news."""
    results = [result for result in assessment.judgements if result.rule.id in stated]
    if any(isinstance(result.outcome, Failed) for result in results):
        return []
    return [
        _statement(result.rule.id, result.outcome, assessment.case)
        for result in results
        if isinstance(result.outcome, Finding) and not result.outcome.context_only
        if assessment.patient.hook in result.rule.hooks
    ]


def _statement(rule: str, finding: Finding, case: Case) -> Statement:
    return Statement(
        (rule, finding.result),
        finding.indicator,
        interval(rule, finding.indicator, case),
        _is_emergency(rule, finding.indicator, case),
        _newest(finding.evidence, case),
    )


def _is_emergency(rule: str, level: Indicator, case: Case) -> bool:
    """Decisions 26, 29 and 30, and R-081: wherever the chart holds an emergency, what is said beside it counts too."""
    if level is Indicator.CRITICAL:
        return bool(case.emergency_tags or case.bolus_indicated or case.excess_signs) or rule == ALWAYS_EMERGENCY
    urgent = case.bolus_indicated or case.excess_signs or case.measure_now == "emergency"
    return rule == ALWAYS_EMERGENCY or (level is Indicator.WARNING and bool(urgent))


def interval(rule: str, level: Indicator, case: Case) -> timedelta:
    """How long the same finding is not shown again."""
    if level is Indicator.CRITICAL:
        return HOUR
    if own := case.knowledge.rules[rule].repeat_days:
        return timedelta(days=own)
    if level is Indicator.WARNING:
        return timedelta(days=WARNING_DAYS_AMBULATORY if case.ambulatory else WARNING_DAYS)
    return timedelta(days=INFO_DAYS)


def _newest(references: Iterable[str], case: Case) -> datetime | None:
    """The time of the newest of these results."""
    named = set(references)
    times = [lab.taken.end for labs in case.labs.values() for lab in labs if lab.taken and lab.reference in named]
    return max(times, default=None)


def situation(case: Case) -> Situation:
    """What the guard compares of one patient at one moment."""
    measured = case.mg_measured
    side = {"low": -1, "high": 1}.get(case.mg_class or "", 0) if measured else 0
    return Situation(measured.value if measured else None, side, _tier(measured, side, case), frozenset(_facts(case)))


def _tier(measured: LabResult | None, side: int, case: Case) -> int:
    """The grade of a low by its name, of a high by how many limits it has reached; 0 within the range."""
    if measured is None or side == 0:
        return 0
    if side < 0:
        return _TIERS.index(case.graver_severity or "mild")
    return 1 + sum(case.mg_at_least(limit) for limit in _HIGH_TIERS)


def _facts(case: Case) -> Iterator[str]:
    if case.potassium_low:
        yield "low potassium"
    if case.calcium_low:
        yield "low calcium"
    if case.gate_closed:
        yield "kidney gate closed"
    if case.patient.inpatient:
        yield "in hospital"
    yield from case.emergency_tags | case.excess_signs
    drugs = (*case.magnesium_products, *case.wasting, *case.digoxin, *case.qt_drugs)
    yield from (f"drug {item.name}" for drug in drugs for item in drug.ingredients)
    if case.patient.hook in ORDER_HOOKS:
        if case.patient.hook is Hook.ORDER_SIGN:
            yield "signature"
        yield from (_order(order) for order in case.patient.orders)


def _order(order: Order) -> str:
    """An order with all that makes it another order: signing 6 g is no repetition of selecting 2 g."""
    if order.medication is None:
        return f"order {order.test}"
    drug: Medication = order.medication
    parts = [(item.name, item.mg_per_dose) for item in drug.ingredients]
    timing = (drug.doses_per_day, drug.most_per_day, drug.rate_mg_min, drug.duration_min, drug.schedule, drug.once)
    return f"order {parts} {drug.route} {timing}"


# ---- is it news? ----------------------------------------------------------------------------------------------------


def is_repeat(said: Iterable[Statement], now: Situation, seen: Mapping[Key, Sighting], at: datetime) -> bool:
    """True if nothing of what a card says is news to the user who saw `seen`; False if it says nothing."""
    all_said = list(said)
    return bool(all_said) and not any(is_news(one, now, seen.get(one.key), at) for one in all_said)


def is_news(said: Statement, now: Situation, seen: Sighting | None, at: datetime) -> bool:
    """Must this finding be shown at the moment `at`?"""
    if seen is None or seen.shown_at > at + CLOCKS:
        return True
    if said.emergency and not (seen.overridden_at and at - seen.overridden_at < HOUR):
        return True
    if at - max(seen.shown_at, seen.overridden_at or seen.shown_at) >= said.interval:
        return True
    newer = said.newest is not None and (seen.newest is None or said.newest > seen.newest)
    if said.level is Indicator.CRITICAL and newer:
        return True
    return said.level.rank > seen.level.rank or is_worse(now, seen.situation)


def is_worse(now: Situation, before: Situation) -> bool:
    """Something new that is bad, a graver tier, or magnesium 0.10 mmol/L or more further from its range."""
    if now.facts - before.facts:
        return True
    if now.mg is None or now.side == 0:
        return False
    if before.mg is None or now.side != before.side or now.tier > before.tier:
        return True
    return (now.mg - before.mg) * now.side >= MG_SHIFT


def sighting(said: Statement, now: Situation, at: datetime) -> Sighting:
    """What is to be remembered when the card is shown."""
    return Sighting(said.level, at, now, said.newest)
