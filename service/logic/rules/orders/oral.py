"""R-093: is this oral magnesium safe for this patient in this dose?"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from service.logic.case import Case
from service.logic.case.drugs import magnesium_route
from service.logic.model import Finding, Indicator, Medication, NotMet
from service.logic.rules.intake import elemental_per_day
from service.logic.rules.kidney import gate_unknown
from service.logic.rules.orders.drafts import magnesium_products
from service.logic.rules.orders.issue import Issue
from service.logic.rules.rule import Answer
from service.logic.rules.words import drugs, references
from service.logic.text import Text
from service.logic.units import rounded


def oral_magnesium(case: Case) -> Answer:
    """R-093: oral magnesium is ordered: kidney, level and daily elemental dose."""
    ordered = [m for m in magnesium_products(case) if magnesium_route(m) == "oral"]
    if not ordered:
        return NotMet()
    daily = elemental_per_day(case, ordered)
    issues = list(_oral_issues(case, daily))
    counted = [issue for issue in issues if issue.indicator is not Indicator.INFO]
    text = (
        Text("Oral magnesium ordered: {issue}", issue=counted[0].text)
        if counted
        else Text("Oral magnesium ordered: {drugs}.", drugs=drugs(ordered, 1))
    )
    computed = None if daily is None else rounded(daily, 0)
    return Finding(
        "+".join(issue.code for issue in counted) or "no-issue",
        max((issue.indicator for issue in issues), key=lambda i: i.rank, default=Indicator.INFO),
        text,
        _ordered_elemental(case, ordered, computed),
        (*(issue.text for issue in issues[0 if not counted else 1 :]), Text("Diarrhoea limits the dose; divide it.")),
        values={} if computed is None else {"ordered_elemental_mg_day": computed},
        evidence=references(case.mg, case.creatinine) + tuple(drug.reference for drug in ordered),
    )


def _ordered_elemental(case: Case, ordered: list[Medication], mg: Decimal | None) -> Text:
    """The elemental sum; "at least" where the salt, dose or frequency of a product is not known."""
    if mg is None:
        return _UNKNOWN_ELEMENTAL
    if all(elemental_per_day(case, [product]) is not None for product in ordered):
        return Text("Ordered: {mg} mg elemental/day.", mg=mg)
    return Text("Ordered: at least {mg} mg elemental/day.", mg=mg)


_UNKNOWN_ELEMENTAL = Text("The elemental dose could not be computed from the order.")


def _oral_issues(case: Case, daily: Decimal | None) -> Iterator[Issue]:
    if case.mg_high:
        yield Issue("magnesium-high", Indicator.WARNING, Text("Serum magnesium is already high."))
    if case.age_group == "child":
        yield Issue("child", Indicator.WARNING, Text("Child: the dose is not checked by this service."))
    if case.gate_closed:
        yield Issue("kidney", Indicator.WARNING, Text("The kidneys cannot clear magnesium."))
    if case.gate == "unknown":
        yield Issue("creatinine-missing", Indicator.WARNING, gate_unknown(case))
    if daily is not None and daily > case.knowledge.value("oral-maximum"):
        yield Issue("dose", Indicator.WARNING, Text("{mg} mg elemental/day exceeds 1000 mg.", mg=rounded(daily, 0)))
    elif daily is not None and daily > case.knowledge.value("oral-supplement-limit") and not case.mg_low:
        yield Issue(
            "dose-without-deficiency",
            Indicator.WARNING,
            Text("{mg} mg elemental/day exceeds 350 mg without a low magnesium.", mg=rounded(daily, 0)),
        )
    if case.mg_normal:
        yield Issue("not-low", Indicator.INFO, Text("Serum magnesium is in range: is replacement needed?"))
