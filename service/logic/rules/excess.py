"""Group I, excess: where the magnesium comes from, the antidote, and products taken without safety data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from service.logic.case import Case
from service.logic.case.drugs import magnesium_route, unique
from service.logic.case.person import NEONATAL_SIGNS, OBSTETRIC
from service.logic.case.results import above
from service.logic.message import Message, Value
from service.logic.model import Analyte, Finding, Indicator, Medication, MissingInputs, NotMet
from service.logic.rules.intake import elemental_at_most, elemental_per_day
from service.logic.rules.phrases import GATE, aged, drugs, references, sign_words, substances
from service.logic.rules.rule import Answer, Rule
from service.logic.units import rounded


def source(case: Case) -> Answer:
    """R-080: hypermagnesaemia: stop what supplies magnesium, or ask for what the chart does not know.

    Hypotension, drowsiness or a slow pulse while magnesium runs and its level is not known: hold it (decision 30).
    """
    if case.excess_signs and case.mg_measured is None:
        return NotMet() if case.toxic_signs else _suspected(case)
    if case.mg is None or not case.mg_is_current:
        return MissingInputs((Analyte.SERUM_MAGNESIUM.value,))
    tier = case.excess_tier
    if tier in {None, "protocol-range"} or (case.unranged_newborn):
        return NotMet()
    expected = tier == "mild" and case.after_iv is not None and not case.excess_signs
    if expected:
        return NotMet(Message("Drawn within hours of intravenous magnesium: an expected level."))
    products = case.magnesium_products
    names = substances(products)
    if products:
        text = Message("High magnesium with a magnesium product: {drugs}", drugs=names)
    else:
        text = Message("High magnesium without a magnesium product in the chart")
    loud = tier != "mild" or case.excess_signs or case.mg_at_least("mg-high-warning") or products
    ask = Message("Ask for non-prescription laxatives, antacids, enemas, parenteral nutrition and dialysate.")
    return Finding(
        "stop-source" if products else "ask-for-source",
        Indicator.WARNING if loud and not _tolerated(case, tier) else Indicator.INFO,
        text,
        advice=() if products else (ask,),
        evidence=references(case.mg, *products),
        action=Message("stop or hold them") if products else Message("ask for hidden sources"),
        context_only=tier == "mild" and not loud,
    )


def _suspected(case: Case) -> Finding:
    signs = case.condition(*sorted(case.excess_signs))
    told = tuple(dict.fromkeys(sign_words(sign) for sign in signs))
    return Finding(
        "hold-source",
        Indicator.WARNING,
        Message("Magnesium running, level not known, {signs}", signs=told),
        advice=(Message("Check reflexes, breathing and urine; calcium at hand. Hold {drugs}.", drugs=_sources(case)),),
        tests=(Analyte.SERUM_MAGNESIUM,),
        evidence=references(*case.magnesium_products) + tuple(sign.reference for sign in signs),
        action=Message("hold it, measure now"),
    )


def _tolerated(case: Case, tier: str | None) -> bool:
    """A mild excess that is only information although a product is on the list: an open gate, no symptoms."""
    fed = bool(case.scheduled_magnesium and case.gate != "normal") or case.gate_closed
    return tier == "mild" and not (case.excess_signs or case.mg_at_least("mg-high-warning") or fed)


def antidote(case: Case) -> Answer:
    """R-081: calcium for a severe tier, a moderate one with symptoms, an obstetric value above its ceiling, or signs.

    Absent reflexes, respiratory depression, heart block or arrest while a source runs need no level (decision 30).
    """
    if case.toxic_signs and case.mg_measured is None:
        return _antidote(case)
    if case.mg is None or not case.mg_is_current:
        return MissingInputs((Analyte.SERUM_MAGNESIUM.value,))
    return _antidote(case) if _toxic(case) else NotMet()


def _toxic(case: Case) -> bool:
    """A measured magnesium, with its tier and signs, that calls for calcium."""
    tier = case.excess_tier
    if case.mg is None or tier is None or tier == "protocol-range":
        return False
    if case.unranged_newborn:
        return bool(case.tags & NEONATAL_SIGNS)
    ceiling = case.tags & OBSTETRIC and above(case.mg, case.limit("mg-eclampsia-ceiling", case.mg))
    in_protocol = case.tags & OBSTETRIC and bool(case.toxic_signs)
    with_signs = tier == "moderate" and case.excess_signs
    return tier in {"severe", "life-threatening"} or bool(with_signs or ceiling or in_protocol)


def _antidote(case: Case) -> Finding:
    counted = NEONATAL_SIGNS if case.unranged_newborn else case.excess_signs
    signs = case.condition(*sorted(counted), *sorted(OBSTETRIC))
    told = tuple(dict.fromkeys(sign_words(sign) for sign in signs))
    reasons: tuple[Value, ...] = (*told, GATE[case.gate])
    measured = case.mg_measured
    if measured is not None:
        text = Message("Toxic {mg}", mg=aged(case, measured))
    else:
        text = Message("Signs of magnesium toxicity, level not known")
    return Finding(
        "antidote",
        Indicator.CRITICAL,
        text=text,
        why=Message("With: {things}.", things=reasons),
        advice=(*_antidote_first(case), *_clearance(case), _WATCH),
        tests=() if measured is not None else (Analyte.SERUM_MAGNESIUM,),
        evidence=references(measured, case.creatinine, *case.magnesium_products)
        + tuple(sign.reference for sign in signs),
        action=Message("stop magnesium, calcium IV now"),
    )


def _antidote_first(case: Case) -> Iterator[Message]:
    yield antidote_dose(case)
    if case.bolus_indicated:
        yield Message("Torsades: no magnesium now; pacing or isoprenaline.")
    if case.mg_measured is None:
        yield Message("Stop {drugs}; take a level now, treat before its result.", drugs=_sources(case))
    elif case.magnesium_products:
        yield Message("Stop {drugs}.", drugs=drugs(case.magnesium_products, len(case.magnesium_products)))
    if case.digoxin:
        yield Message("Digoxin: calcium slowly, small amounts, ECG; do not withhold it in life-threatening toxicity.")


def _sources(case: Case) -> Message:
    """Every source by name: a list of what to stop is complete."""
    sources = unique([*case.magnesium_products, *case.running_sources])
    return drugs(sources, len(sources))


_ANTIDOTE = Message(
    "Calcium gluconate 1 to 3 g IV over 3 to 10 min (peripheral), or calcium chloride 1 g over 10 min (central line)."
)
_CHILD_ANTIDOTE = Message("Calcium IV by weight, per paediatric protocol: no dose here.")
_WATCH = Message("ECG, blood pressure, reflexes and breathing monitored; repeat the level.")


def antidote_dose(case: Case) -> Message:
    """Calcium as the antidote: the doses of the source are an adult's."""
    return _ANTIDOTE if case.age_group == "adult" else _CHILD_ANTIDOTE


def _clearance(case: Case) -> tuple[Message, ...]:
    if case.gate_closed:
        return (Message("Dialysis early: the kidneys cannot clear magnesium."),)
    return (Message("Fluids and a loop diuretic if the kidneys allow; dialysis if there is no response."),)


def product_without_safety_data(case: Case) -> Answer:
    """R-082: magnesium taken with failing kidneys, or in age or reduced kidney function without a level for 90 days."""
    products = [m for m in case.magnesium_products if magnesium_route(m) != "iv"]
    if not products:
        return NotMet()
    if case.gate_closed:
        return _closed_gate(case, products)
    fresh = case.mg is not None and case.age_of(case.mg) <= case.duration("excess-monitor")
    if case.newest_mg is None and "magnesium" in case.patient.unavailable:
        return MissingInputs((Analyte.SERUM_MAGNESIUM.value,))
    old = case.age_years is not None and case.age_years >= case.knowledge.value("excess-age")
    if fresh or not (old or case.gate == "reduced"):
        return NotMet()
    window = case.knowledge.duration("excess-monitor").days
    text = Message("No magnesium level for {days} days: {drugs}", days=window, drugs=substances(products))
    large = _large_or_long(case, products) and case.gate == "reduced"
    low_egfr = case.egfr is not None and case.egfr < case.knowledge.value("laxative-egfr")
    level = Indicator.WARNING if large and low_egfr else Indicator.INFO
    quiet = case.in_hospital or not large
    return replace(_product("no-level", level, text, case, products), context_only=quiet)


def _large_or_long(case: Case, products: list[Medication]) -> bool:
    """More than 600 mg elemental a day, or for more than 36 days (Mori 2019, Wakai 2019)."""
    intake = elemental_per_day(case, products)
    starts = [m.start.start for m in products if m.start is not None]
    large = intake is not None and intake > case.knowledge.value("laxative-elemental")
    return large or (bool(starts) and case.now - min(starts) > case.duration("laxative-days"))


def _closed_gate(case: Case, products: list[Medication]) -> Finding:
    """A reason where decision 18 makes it one: at home, or a scale or as-needed product without a level in 72 h."""
    text = Message("{gate}, and on the list: {drugs}", gate=GATE[case.gate], drugs=substances(products))
    finding = _product("kidney-closed", Indicator.WARNING, text, case, products)
    intake, most = elemental_per_day(case, products), elemental_at_most(case, products)
    if most is not None and intake is not None and most > intake:
        told = Message(
            "{mg} mg elemental regular, up to {most} mg with as-needed.", mg=rounded(intake, 0), most=rounded(most, 0)
        )
        finding = replace(finding, advice=(told, *finding.advice))
    elif most is not None:
        finding = replace(
            finding, advice=(Message("Up to {mg} mg elemental/day.", mg=rounded(most, 0)), *finding.advice)
        )
    at_home = case.ambulatory and case.gate in {"severe", "failure"}
    return replace(finding, context_only=not at_home)


def _product(result: str, indicator: Indicator, text: Message, case: Case, products: list[Medication]) -> Finding:
    return Finding(
        result,
        indicator,
        text,
        advice=(Message("Review the need; an infrequent, small dose may still accumulate."),),
        action=Message("review the need, measure magnesium and creatinine"),
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
