"""Orders of intravenous magnesium and the kidneys that must clear it."""

from __future__ import annotations

from collections.abc import Iterator

from service.logic.case import Case
from service.logic.message import Message
from service.logic.model import Indicator, Medication, Schedule
from service.logic.rules.orders.doses import Course, is_it_needed, of_kind, rate_mg_min
from service.logic.rules.orders.indication import emergency_told, indicated
from service.logic.rules.orders.issue import Issue
from service.logic.rules.phrases import GATE, aged, amount
from service.logic.units import rounded


def kidney_issues(case: Case, ordered: list[Medication], whole: Course) -> Iterator[Issue]:
    """A closed gate, a reduced one with a large dose at a normal level, or one that nobody knows."""
    if emergency_told(case):
        yield from _in_emergency(case, whole)
    elif case.gate == "unknown":
        yield from _unknown(case)
    elif case.gate_closed:
        yield _closed(case, ordered, whole)
    elif asked_by_kidney(case, ordered, whole) and case.mg is not None:
        text = Message("{mg} in range, {kidney}", mg=aged(case, case.mg), kidney=kidney(case))
        yield Issue("reduced-and-not-low", Indicator.WARNING, text, is_it_needed(ordered, whole))
    limit = case.knowledge.value("iv-total-kidney")
    if case.gate_closed and whole.scheduled > limit:
        text = Message("{kidney}, more than {limit} g of IV magnesium", kidney=kidney(case), limit=rounded(limit, 0))
        yield Issue("dose-for-kidney", Indicator.CRITICAL, text, Message("reduce it"))


def kidney(case: Case) -> Message:
    """What closes the gate, as a headline names it."""
    if case.gate == "unstable" and case.creatinine is not None:
        return Message("{gate}, creatinine {amount}", gate=GATE[case.gate], amount=amount(case.creatinine))
    if case.egfr is None or case.gate == "unstable":
        return GATE[case.gate]
    return Message("eGFR {egfr}", egfr=rounded(case.egfr, 0))


def _in_emergency(case: Case, whole: Course) -> Iterator[Issue]:
    """An emergency waits for no creatinine, and torsades for no kidney; what comes after the first dose does."""
    large = whole.most > case.knowledge.value("iv-total-kidney")
    if case.gate == "unknown":
        action = Message("do not wait; send creatinine, level before a repeat")
        level = Indicator.WARNING if large else Indicator.INFO
        yield Issue("creatinine-missing", level, Message("Emergency, {gate}", gate=GATE[case.gate]), action)
    elif case.gate_closed:
        text = Message("Emergency, {kidney}", kidney=kidney(case))
        first = case.bolus_open and not large
        action = Message("one dose, no infusion after it, level before a repeat")
        yield Issue("kidney", Indicator.INFO if first else Indicator.WARNING, text, action)


def _unknown(case: Case) -> Iterator[Issue]:
    if case.creatinine is None:
        text = Message("IV magnesium ordered, no current creatinine")
        yield Issue("creatinine-missing", Indicator.WARNING, text, Message("creatinine first"))
    elif not case.infant:
        text = Message("IV magnesium ordered, eGFR cannot be computed")
        yield Issue("creatinine-missing", Indicator.WARNING, text, Message("birth date or height first"))


def _closed(case: Case, ordered: list[Medication], whole: Course) -> Issue:
    """Critical only where magnesium is not low and the order is too fast or too much (or the level already high)."""
    if case.mg_low:
        text = Message("{kidney}, IV magnesium accumulates", kidney=kidney(case))
        return Issue("kidney", Indicator.WARNING, text, Message("small dose, level before each repeat"))
    fast = any((rate_mg_min(drug) or 0) > case.knowledge.value("iv-rate") for drug in ordered)
    large = whole.scheduled > case.knowledge.value("iv-total-kidney")
    level = Indicator.CRITICAL if fast or large or case.mg_high else Indicator.WARNING
    if case.mg_normal and case.mg is not None:
        text = Message("{kidney}, {mg} not low", kidney=kidney(case), mg=aged(case, case.mg))
        return Issue("kidney-and-not-low", level, text, Message("stop IV magnesium, or level before each dose"))
    text = Message("{kidney}, IV magnesium accumulates", kidney=kidney(case))
    return Issue("kidney", level, text, Message("stop it, or level before each dose"))


def asked_by_kidney(case: Case, ordered: list[Medication], whole: Course) -> bool:
    """Magnesium in range, and a closed gate; or eGFR 30 to below 60 with 4 g or more, or a scale (decision 21)."""
    large = whole.most >= case.knowledge.value("iv-reduced") or bool(of_kind(ordered, Schedule.SCALE))
    reduced = case.gate == "reduced" and large and not indicated(case)
    return case.mg_normal and (case.gate_closed or reduced)
