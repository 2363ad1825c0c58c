"""The table of contents: every rule of the catalogue, in order. Nothing registers itself."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from service.logic.message import Message
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

GROUPS: Mapping[str, Message] = MappingProxyType(  # by the first four characters of a rule's id
    {
        "R-00": Message("A. Data integrity"),
        "R-01": Message("B. Serum and ionised magnesium"),
        "R-02": Message("C. Erythrocyte magnesium"),
        "R-03": Message("D. Kidney"),
        "R-04": Message("E. Potassium and calcium"),
        "R-05": Message("F. Drugs"),
        "R-06": Message("G. Conditions"),
        "R-07": Message("H. Treatment"),
        "R-08": Message("I. Excess"),
        "R-09": Message("J. Orders"),
        "R-10": Message("K. Nephrology"),
    }
)
