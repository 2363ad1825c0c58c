"""Orders of intravenous magnesium and the level that is on file."""

from __future__ import annotations

from collections.abc import Iterator

from service.logic.case import Case
from service.logic.message import Message
from service.logic.model import Indicator, Medication
from service.logic.rules.orders.doses import Course, is_it_needed
from service.logic.rules.orders.drafts import ordered_drugs
from service.logic.rules.orders.indication import emergency_told, indicated, potassium_low
from service.logic.rules.orders.issue import Issue
from service.logic.rules.orders.kidney import asked_by_kidney
from service.logic.rules.phrases import aged, brief


def level_issues(case: Case, ordered: list[Medication], whole: Course) -> Iterator[Issue]:
    """Magnesium high, in range, not known, doubtful; and a low potassium that nobody replaces."""
    if case.mg_high and case.mg is not None and case.excess_tier != "protocol-range" and not case.bolus_indicated:
        text = Message("{mg} is already high", mg=aged(case, case.mg))
        yield Issue("magnesium-high", Indicator.CRITICAL, text, Message("stop IV magnesium"))
    elif not emergency_told(case):
        yield from _without_emergency(case, ordered, whole)
    if potassium_low(case) and not (emergency_told(case) or case.gate_closed or _potassium_given(case)):
        assert case.potassium is not None  # noqa: S101  a low potassium is one
        text = Message("{k} is low and no potassium is ordered", k=aged(case, case.potassium))
        yield Issue("potassium-alone", Indicator.INFO, text, Message("replace both"))


def _without_emergency(case: Case, ordered: list[Medication], whole: Course) -> Iterator[Issue]:
    small = whole.most <= case.knowledge.value("iv-small") and case.gate in {"normal", "reduced"}
    level = Indicator.INFO if small else Indicator.WARNING
    if case.mg_normal and case.mg is not None and not (indicated(case) or asked_by_kidney(case, ordered, whole)):
        yield Issue(
            "not-low", Indicator.INFO, Message("{mg} is in range", mg=aged(case, case.mg)), is_it_needed(ordered, whole)
        )
    elif case.mg_unreadable or case.contradiction or (case.mg_is_current and not case.mg_reliable):
        text = Message("IV magnesium ordered, the current magnesium is unreliable")
        yield Issue("unreliable", Indicator.WARNING, text, Message("repeat it before IV magnesium"))
    elif not case.mg_is_current:
        text = Message("IV magnesium ordered, no current magnesium on file")
        yield Issue(
            "no-magnesium",
            level,
            text,
            Message("measure it with the next draw") if small else Message("measure it first"),
        )
    elif case.pseudo and case.mg is not None:
        text = Message("{mg}, probably low only by low protein", mg=brief(case.mg))
        yield Issue("protein-related", Indicator.INFO, text, is_it_needed(ordered, whole))


def _potassium_given(case: Case) -> bool:
    """Potassium is on the list, or ordered beside the magnesium."""
    return bool(case.potassium_products or ordered_drugs(case, frozenset({"potassium_salt"})))
