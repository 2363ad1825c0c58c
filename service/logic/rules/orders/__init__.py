"""Group J, orders: a magnesium test, a wasting drug, magnesium itself, its interactions, and potassium."""

from __future__ import annotations

from service.logic.model import Hook
from service.logic.rules.orders.baselines import wasting_drug
from service.logic.rules.orders.interactions import interactions
from service.logic.rules.orders.intravenous import iv_magnesium
from service.logic.rules.orders.oral import oral_magnesium
from service.logic.rules.orders.potassium import potassium
from service.logic.rules.orders.tests import laboratory_test
from service.logic.rules.rule import ORDER_HOOKS, Rule

_SIGN = frozenset({Hook.ORDER_SIGN})
RULES = (
    Rule("R-090", "laboratory-test-ordered", laboratory_test, 5, ORDER_HOOKS, ORDER_HOOKS),
    Rule("R-091", "wasting-drug-ordered", wasting_drug, 3, ORDER_HOOKS, ORDER_HOOKS),
    Rule("R-092", "iv-magnesium-ordered", iv_magnesium, 1, ORDER_HOOKS, ORDER_HOOKS),
    Rule("R-093", "oral-magnesium-ordered", oral_magnesium, 2, ORDER_HOOKS, ORDER_HOOKS),
    Rule("R-094", "interaction", interactions, 4, ORDER_HOOKS, ORDER_HOOKS),
    Rule("R-095", "potassium-ordered", potassium, 2, _SIGN, _SIGN),
)
