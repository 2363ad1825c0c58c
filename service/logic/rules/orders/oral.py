"""R-093: is this oral magnesium safe for this patient in this dose?"""

from __future__ import annotations

from collections.abc import Iterator

from service.logic.case import Case
from service.logic.case.drugs import magnesium_route
from service.logic.message import Message
from service.logic.model import Analyte, Finding, Indicator, Medication, NotMet
from service.logic.rules.intake import elemental_at_most, elemental_per_day
from service.logic.rules.orders.drafts import magnesium_products
from service.logic.rules.orders.issue import Issue, gravest_first
from service.logic.rules.orders.kidney import kidney
from service.logic.rules.phrases import aged, drugs, references
from service.logic.rules.rule import Answer
from service.logic.units import rounded

# Given for the gut or against phosphate, not for a deficiency: nobody asks whether they are needed (decision 21).
_NOT_FOR_DEFICIENCY = frozenset({"mg_containing_antacid", "bowel_preparation", "phosphate_binder"})
_LAXATIVES = frozenset({"magnesium hydroxide", "magnesium sulfate", "magnesium trisilicate", "magnesium peroxide"})


def oral_magnesium(case: Case) -> Answer:
    """R-093: oral magnesium is ordered: kidney, level and daily elemental dose, with what is already taken."""
    ordered = [m for m in magnesium_products(case) if magnesium_route(m) == "oral"]
    if not ordered:
        return NotMet()
    issues = gravest_first(list(_issues(case, ordered)))
    worst = issues[0] if issues else None
    daily = elemental_per_day(case, ordered)
    return Finding(
        "+".join(issue.code for issue in issues) or "no-issue",
        worst.indicator if worst else Indicator.INFO,
        worst.text if worst else Message("Oral magnesium ordered: {drugs}", drugs=drugs(ordered, 1)),
        _ordered_elemental(case, ordered),
        (*(issue.line for issue in issues[1:]), *(() if case.gate_closed else (_DIVIDE,))),
        tests=tuple(_tests(case)) if issues else (),
        values={} if daily is None else {"ordered_elemental_mg_day": rounded(daily, 0)},
        evidence=references(case.mg, case.creatinine, *ordered),
        action=worst.action if worst else None,
        context_only=not issues,
    )


def _issues(case: Case, ordered: list[Medication]) -> Iterator[Issue]:
    if case.mg_high and case.mg is not None:
        text = Message("{mg} is already high", mg=aged(case, case.mg))
        yield Issue("magnesium-high", Indicator.WARNING, text, Message("stop oral magnesium"))
    yield from _kidney_issues(case)
    if case.age_group == "child":
        text = Message("Child, dose of oral magnesium not checked")
        yield Issue("child", Indicator.WARNING, text, Message("check it by weight"))
    yield from _dose_issues(case, ordered)


def _kidney_issues(case: Case) -> Iterator[Issue]:
    if case.gate_closed:
        text = Message("{kidney}, oral magnesium accumulates", kidney=kidney(case))
        yield Issue("kidney", Indicator.WARNING, text, Message("avoid it, or level before and after"))
    elif case.gate == "unknown" and case.creatinine is None:
        text = Message("Oral magnesium ordered, no current creatinine")
        yield Issue("creatinine-missing", Indicator.INFO, text, Message("add creatinine to the next draw"))


def _dose_issues(case: Case, ordered: list[Medication]) -> Iterator[Issue]:
    """Over the maximum with what is taken beside it; over the supplement's limit, or in range, without a deficiency."""
    alone, whole = elemental_at_most(case, ordered), elemental_at_most(case, [*_others(case, ordered), *ordered])
    most, limit = (case.knowledge.value(name) for name in ("oral-maximum", "oral-supplement-limit"))
    supplement = any(_for_deficiency(drug) for drug in ordered)
    if whole is not None and whole > most:
        text = Message(
            "{mg} mg elemental magnesium/day, more than {most} mg", mg=rounded(whole, 0), most=rounded(most, 0)
        )
        yield Issue("dose", Indicator.WARNING, text, Message("check the dose"))
    elif alone is not None and alone > limit and not case.mg_low and supplement:
        open_gate = case.gate in {"normal", "unknown"}
        text = Message(
            "{mg} mg elemental magnesium/day without a low level, more than {limit} mg",
            mg=rounded(alone, 0), limit=rounded(limit, 0),
        )  # fmt: skip
        level = Indicator.INFO if open_gate else Indicator.WARNING
        yield Issue("dose-without-deficiency", level, text, Message("is it needed?"))
    elif case.mg_normal and case.mg is not None and supplement:
        text = Message("{mg} is in range", mg=aged(case, case.mg))
        yield Issue("not-low", Indicator.INFO, text, Message("is oral magnesium needed?"))


def _for_deficiency(drug: Medication) -> bool:
    return not (drug.classes & _NOT_FOR_DEFICIENCY or _LAXATIVES & {item.name for item in drug.ingredients})


def _others(case: Case, ordered: list[Medication]) -> list[Medication]:
    """What is swallowed already; an order that is signed again is not both."""
    names = {drug.reference for drug in ordered}
    return [drug for drug in case.oral_magnesium if drug.reference not in names]


def _ordered_elemental(case: Case, ordered: list[Medication]) -> Message:
    """The elemental sum: alone, with as-needed doses, and together with what is taken (decision 34)."""
    daily, most = elemental_per_day(case, ordered), elemental_at_most(case, ordered)
    others = _others(case, ordered)
    together = elemental_at_most(case, [*others, *ordered]) if others else None
    if most is None:
        return _UNKNOWN_ELEMENTAL
    if together is not None and together > most:
        return Message(
            "{mg} mg elemental/day if it replaces {drugs}, {all} mg with it.",
            mg=rounded(most, 0), drugs=drugs(others, len(others)), all=rounded(together, 0),
        )  # fmt: skip
    if most > (daily or 0):
        if not daily:
            return Message("As needed: up to {most} mg elemental/day.", most=rounded(most, 0))
        regular = rounded(daily, 0)
        return Message("{mg} mg elemental regular, up to {most} mg with as-needed.", mg=regular, most=rounded(most, 0))
    if all(elemental_per_day(case, [product]) is not None for product in ordered):
        return Message("Ordered: {mg} mg elemental/day.", mg=rounded(most, 0))
    return Message("Ordered: at least {mg} mg elemental/day.", mg=rounded(most, 0))


_DIVIDE = Message("Diarrhoea limits the dose; divide it.")
_UNKNOWN_ELEMENTAL = Message("The elemental dose could not be computed from the order.")


def _tests(case: Case) -> Iterator[Analyte]:
    if case.gate == "unknown" and case.creatinine is None:
        yield Analyte.CREATININE
    if not case.mg_reliable:
        yield Analyte.SERUM_MAGNESIUM
