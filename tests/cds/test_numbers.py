"""No number of a parameter stands inside a sentence: the sentence of a rule says the value in force, whatever it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from types import MappingProxyType

import pytest

from service.logic.evaluate import evaluate
from service.logic.knowledge import Knowledge
from service.logic.model import Finding
from tests.vignettes.files import Vignette, read
from tests.vignettes.patients import KNOW

VIGNETTES = [v for v in read() if v.direct]
# Numbers of a source that happen to equal a parameter of the rule, and a scale's own name.
OTHER_NUMBERS = {
    "Calcium gluconate 1 to 3 g": "the antidote's dose",
    "1 to 2 weeks": "how soon an oral dose is followed up",
    "3 to 6 months": "how often a lasting one is",
    "SGLT2": "a name",
    "24-hour urine": "a name",
    "in 24 h": "the day of a dose",
    "in the last 24 h": "the window of a caveat",
}


def _moved(name: str) -> Knowledge:
    """The knowledge with one parameter off its shipped value."""
    parameter = KNOW.parameters[name]
    values = {unit: value * Decimal("1.37") for unit, value in parameter.values.items()}
    changed = replace(parameter, values=MappingProxyType(values))
    return replace(KNOW, parameters=MappingProxyType(dict(KNOW.parameters) | {name: changed}))


def _templates(finding: Finding) -> Iterator[str]:
    texts = (finding.text, finding.action, finding.why, *finding.advice, *(p.text for p in finding.proposals))
    yield from (text.template for text in texts if text is not None)


def _speaks(vignette: Vignette, rules: set[str]) -> bool:
    return not rules.isdisjoint(vignette.expected.get("finds", {}))


@pytest.mark.parametrize("name", [name for name, p in KNOW.parameters.items() if p.values and p.first])
def test_a_sentence_holds_no_number_of_a_parameter(name: str) -> None:
    rules = {rule for rule, entry in KNOW.rules.items() if name in entry.parameters}
    old = [re.escape(f"{value.normalize():f}") for value in KNOW.parameters[name].values.values()]
    number = re.compile(rf"(?<![\d.,-])(?:{'|'.join(old)})(?![\d.,])")
    known = _moved(name)
    said = set()
    for vignette in [v for v in VIGNETTES if _speaks(v, rules)][:40]:
        outcomes = evaluate(vignette.patient, known).judgements
        found = [r.outcome for r in outcomes if r.rule.id in rules and isinstance(r.outcome, Finding)]
        said |= {template for finding in found for template in _templates(finding) if number.search(template)}
    assert {t for t in said if not any(other in t for other in OTHER_NUMBERS)} == set()
