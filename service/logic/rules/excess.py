"""Group I, excess: where the magnesium comes from, the antidote, and products taken without safety data."""

from __future__ import annotations

from service.logic.case import Case
from service.logic.case.drugs import magnesium_route
from service.logic.case.person import OBSTETRIC
from service.logic.case.results import above
from service.logic.model import Analyte, Finding, Indicator, Medication, MissingInputs, NotMet
from service.logic.rules.magnesium import excess_tier
from service.logic.rules.rule import Answer, Rule
from service.logic.rules.words import GATE, dated, drugs, references
from service.logic.text import Text, Value


def source(case: Case) -> Answer:
    """R-080: hypermagnesaemia: stop what supplies magnesium, or ask for what the chart does not know."""
    if case.mg is None or not case.mg_is_current:
        return MissingInputs((Analyte.SERUM_MAGNESIUM.value,))
    if excess_tier(case) in {None, "protocol-range"}:
        return NotMet()
    products = list(dict.fromkeys([*case.magnesium_products, *case.recent_iv_magnesium]))
    if products:
        text = Text("High magnesium with a magnesium product: {drugs}.", drugs=drugs(products))
    else:
        text = Text("Hypermagnesaemia without a magnesium product in the chart: ask for hidden sources.")
    hold = (Text("Stop or hold magnesium: {drugs}.", drugs=drugs(products)),) if products else ()
    return Finding(
        "stop-source" if products else "ask-for-source",
        Indicator.WARNING,
        text,
        advice=(
            *hold,
            Text("Ask for non-prescription laxatives, antacids, enemas, parenteral nutrition and dialysate."),
        ),
        evidence=references(case.mg, *products),
    )


def antidote(case: Case) -> Answer:
    """R-081: calcium for a severe tier, a moderate one with symptoms, or an obstetric value above its ceiling."""
    if case.mg is None or not case.mg_is_current:
        return MissingInputs((Analyte.SERUM_MAGNESIUM.value,))
    tier = excess_tier(case)
    if tier is None or tier == "protocol-range":
        return NotMet()
    symptoms = "symptomatic_hypermg" in case.tags
    obstetric = case.tags & OBSTETRIC and above(case.mg, case.limit("mg-eclampsia-ceiling", case.mg))
    if not (tier in {"severe", "life-threatening"} or (tier == "moderate" and symptoms) or obstetric):
        return NotMet()
    signs = case.condition("symptomatic_hypermg", *sorted(OBSTETRIC))
    reasons: tuple[Value, ...] = (*dict.fromkeys(sign.text[:40] for sign in signs), GATE[case.gate])
    return Finding(
        "antidote",
        Indicator.CRITICAL,
        text=Text("Toxic magnesium {dated}: calcium IV now, stop magnesium.", dated=dated(case.mg)),
        why=Text("With: {things}.", things=reasons),
        advice=(antidote_dose(case), *_clearance(case), _WATCH),
        evidence=references(case.mg, case.creatinine) + tuple(sign.reference for sign in signs),
    )


_ANTIDOTE = Text(
    "Calcium gluconate 1 to 3 g IV over 3 to 10 min (peripheral), or calcium chloride 1 g over 10 min (central line)."
)
_CHILD_ANTIDOTE = Text("Calcium IV by weight, per paediatric protocol: no dose here.")
_WATCH = Text("ECG, blood pressure, reflexes and breathing monitored; repeat the level.")


def antidote_dose(case: Case) -> Text:
    """Calcium as the antidote: the doses of the source are an adult's."""
    return _CHILD_ANTIDOTE if case.age_group == "child" else _ANTIDOTE


def _clearance(case: Case) -> tuple[Text, ...]:
    if case.gate_closed:
        return (Text("Dialysis early: the kidneys cannot clear magnesium."),)
    return (Text("Fluids and a loop diuretic if the kidneys allow; dialysis if there is no response."),)


def product_without_safety_data(case: Case) -> Answer:
    """R-082: magnesium taken with failing kidneys, or in age or reduced kidney function without a level for 90 days."""
    products = [m for m in case.magnesium_products if magnesium_route(m) != "iv"]
    if not products:
        return NotMet()
    if case.gate_closed:
        return _product(
            "kidney-closed",
            Indicator.WARNING,
            Text("Magnesium product with {gate}: {drugs}.", gate=GATE[case.gate], drugs=drugs(products, 2)),
            case,
            products,
        )
    old = case.age_years is not None and case.age_years >= case.knowledge.value("excess-age")
    fresh = case.mg is not None and case.age_of(case.mg) <= case.duration("excess-monitor")
    if fresh or not (old or case.gate == "reduced"):
        return NotMet()
    if case.newest_mg is None and "magnesium" in case.patient.unavailable:
        return MissingInputs((Analyte.SERUM_MAGNESIUM.value,))
    text = Text("Magnesium product without a level for 90 days: {drugs}.", drugs=drugs(products, 2))
    return _product("no-level", Indicator.INFO, text, case, products)


def _product(result: str, indicator: Indicator, text: Text, case: Case, products: list[Medication]) -> Finding:
    return Finding(
        result,
        indicator,
        text,
        advice=(Text("Review the need for the product; measure magnesium and creatinine."),),
        tests=tuple(
            a
            for a, known in ((Analyte.SERUM_MAGNESIUM, case.mg_is_current), (Analyte.CREATININE, case.creatinine))
            if not known
        ),
        evidence=references(*products, case.creatinine, case.mg),
    )


RULES = (
    Rule("R-080", "magnesium-source", source, priority=17),
    Rule("R-081", "antidote", antidote, priority=2),
    Rule("R-082", "product-without-safety-data", product_without_safety_data, priority=24),
)
