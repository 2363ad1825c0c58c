"""The table of contents: every rule of the catalogue, in order. Nothing registers itself."""

from __future__ import annotations

from service.logic.rules import (
    conditions,
    drugs,
    erythrocyte,
    excess,
    integrity,
    kidney,
    magnesium,
    nephrology,
    orders,
    potassium_calcium,
    treatment,
)
from service.logic.rules.rule import Rule

RULES: tuple[Rule, ...] = (
    *integrity.RULES,
    *magnesium.RULES,
    *erythrocyte.RULES,
    *kidney.RULES,
    *potassium_calcium.RULES,
    *drugs.RULES,
    *conditions.RULES,
    *treatment.RULES,
    *excess.RULES,
    *orders.RULES,
    *nephrology.RULES,
)
