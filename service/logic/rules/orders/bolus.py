"""The first bolus of an emergency, the second, and the signs that forbid one."""

from __future__ import annotations

from collections.abc import Iterator

from service.logic.case import Case
from service.logic.message import Message
from service.logic.model import Indicator
from service.logic.rules.orders.issue import Issue
from service.logic.rules.phrases import aged, sign_words


def bolus_issues(case: Case) -> Iterator[Issue]:
    """Torsades: what the chart's card says too; the first bolus is open at every gate (decision 26)."""
    if case.bolus_indicated and not case.bolus_open:
        return (yield from _barred(case))
    if signs := tuple(sign_words(sign) for sign in case.condition(*sorted(case.toxic_signs - {"heart_block"}))):
        text = Message("Signs of magnesium toxicity ({signs})", signs=signs)
        yield Issue("toxicity", Indicator.CRITICAL, text, Message("stop magnesium, calcium IV now"))
    elif case.excess_signs and not case.bolus_indicated and case.mg_measured is None:
        signs = tuple(sign_words(sign) for sign in case.condition(*sorted(case.excess_signs)))
        text = Message("Magnesium running, level not known, {signs}", signs=signs)
        yield Issue("hold", Indicator.WARNING, text, Message("hold it, measure now"))
    if not case.bolus_indicated:
        return
    if case.mg_high and case.mg is not None:
        yield Issue(
            "magnesium-high", Indicator.WARNING, Message("Torsades, {mg}", mg=aged(case, case.mg)), _at_most_one(case)
        )
    if _given_before(case):
        level = Indicator.WARNING if case.gate_closed else Indicator.INFO
        yield Issue(
            "repeat", level, Message("Torsades, magnesium was given already"), Message("level and calcium at hand")
        )


def _barred(case: Case) -> Iterator[Issue]:
    """At or above 3.0 mmol/L, or without reflexes or breath, no magnesium even in torsades."""
    signs = tuple(sign_words(s) for s in case.condition("absent_reflexes", "areflexia", "respiratory_depression"))
    known = (aged(case, case.mg),) if case.mg is not None and case.mg_is_current else ()
    text = Message("Torsades with {reasons}, no magnesium", reasons=(*signs, *known))
    yield Issue("magnesium-high", Indicator.CRITICAL, text, Message("pacing or isoprenaline; calcium IV now"))


def _at_most_one(case: Case) -> Message:
    if case.mg_at_least("mg-high-moderate"):
        return Message("pacing or isoprenaline first, one bolus at most")
    return Message("one bolus, level before another")


def _given_before(case: Case) -> bool:
    """A dose into a vein within the last day: what is ordered now is the second."""
    return any(case.now - dose.ended <= case.duration("bolus-repeat-window") for dose in case.iv_doses)
