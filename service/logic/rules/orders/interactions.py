"""R-094: do oral magnesium and another oral drug have to be kept apart?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from service.logic.case import Case
from service.logic.case.drugs import MAGNESIUM_PRODUCT, magnesium_route
from service.logic.knowledge import Interaction
from service.logic.message import Message
from service.logic.model import Finding, Indicator, Medication, NotMet, Schedule
from service.logic.rules.orders.drafts import drafts, magnesium_products
from service.logic.rules.phrases import drugs
from service.logic.rules.rule import Answer


def interactions(case: Case) -> Answer:
    """R-094: oral magnesium and a drug that it binds, whichever of the two is being ordered."""
    ordered_mg = [m for m in magnesium_products(case) if magnesium_route(m) == "oral"]
    drafted = [o.medication for o in drafts(case) if o.medication]
    others = [m for m in drafted if not m.classes & MAGNESIUM_PRODUCT]
    taken = [m for m in case.active_medications if not m.classes & MAGNESIUM_PRODUCT]
    pairs = list(_pairs(case, ordered_mg, [*taken, *others]))
    pairs += [p for p in _pairs(case, case.oral_magnesium, others) if p not in pairs]
    if not pairs:
        return NotMet()
    found = list(dict.fromkeys(other for _, other, _ in pairs))
    scheduled = any(not (mg.once or mg.schedule is Schedule.AS_NEEDED) for _, _, mg in pairs)
    return Finding(
        "interaction",
        Indicator.WARNING if scheduled else Indicator.INFO,
        text=Message("Oral magnesium binds or weakens {drugs}", drugs=drugs(found, len(found))),
        action=Message("separate them"),
        advice=tuple(dict.fromkeys(_keep_apart(interaction, other) for interaction, other, _ in pairs)),
        evidence=tuple(dict.fromkeys(item.reference for _, other, mg in pairs for item in (other, mg))),
    )


def _pairs(
    case: Case, magnesium: Iterable[Medication], others: Iterable[Medication]
) -> Iterator[tuple[Interaction, Medication, Medication]]:
    listed = list(others)
    for product in magnesium:
        for other in listed:
            interaction = next((i for i in case.knowledge.interactions if applies(i, other, product)), None)
            if interaction is not None and other.route in {"oral", ""}:
                yield interaction, other, product


def applies(interaction: Interaction, other: Medication, product: Medication) -> bool:
    """Whether an oral magnesium product and another oral drug have to be kept apart by this row."""
    if interaction.only_with and interaction.only_with not in {i.name for i in product.ingredients}:
        return False
    return any(
        (item.drug_class in interaction.classes or item.name in interaction.ingredients)
        and item.name not in interaction.exceptions
        for item in other.ingredients
    )


def _keep_apart(interaction: Interaction, other: Medication) -> Message:
    name = drugs([other])
    if interaction.only_with:
        return Message(
            "{drug}: pyridoxine in the magnesium product weakens levodopa without a decarboxylase inhibitor.", drug=name
        )
    if interaction.hours is None:
        return Message("{drug}: avoid together with magnesium.", drug=name)
    before, after = interaction.hours
    if interaction.other_time_of_day:
        return Message("{drug}: at another time of day, at least {hours} h apart.", drug=name, hours=before)
    if before == after:
        return Message("{drug}: keep {hours} h apart from magnesium.", drug=name, hours=before)
    return Message(
        "{drug}: take {before} h before or {after} h after magnesium.", drug=name, before=before, after=after
    )
