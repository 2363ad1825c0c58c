"""A site may keep a rule as reference text: then nothing of it recommends, doses, orders or presses (`[rules]`)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC

import pytest

from service.cds.cards import Presentation, to_cards
from service.cds.i18n import Wording
from service.logic.evaluate import Assessment, evaluate
from service.logic.model import Finding, Indicator, NotMet, Withheld
from service.logic.rules import RULES
from tests.vignettes.files import Vignette, read
from tests.vignettes.patients import KNOW, judged, patient

TIME_CRITICAL = frozenset({"R-072", "R-081"})
SPOKEN = [v for v in read() if v.direct]
FIRED = [(v, rule) for v in SPOKEN for rule in TIME_CRITICAL if isinstance(judged(v.patient).outcome(rule), Finding)]


def shown(assessment: Assessment, *only: str) -> Iterator[dict]:
    """The cards, of these rules alone."""
    silent = frozenset(rule.id for rule in RULES if only and rule.id not in only)
    how = Presentation(Wording("en", UTC), base_url="https://cds.example", silent=silent)
    return (card.body for card in to_cards(assessment, KNOW, how, lambda test: {"test": test.value}))


@pytest.mark.parametrize(("vignette", "rule"), FIRED, ids=str)
def test_a_time_critical_rule_as_reference_text_presses_nobody(vignette: Vignette, rule: str) -> None:
    assessment = evaluate(vignette.patient, KNOW, reference=TIME_CRITICAL)
    finding = assessment.outcome(rule)
    assert isinstance(finding, Finding)
    assert finding.indicator is Indicator.INFO
    assert (finding.proposals, finding.advice, finding.action, finding.tests) == ((), (), None, ())
    for card in shown(assessment, rule):
        assert card["indicator"] == "info"
        assert card["summary"] == f"Reference text: {KNOW.rules[rule].title}"
        assert "suggestions" not in card
        assert "without a recommendation" in card["detail"]
        assert f"/v1/rules/{rule}" in card["detail"]
        assert " g " not in card["detail"]


def test_other_rules_of_the_same_patient_are_not_touched() -> None:
    torsades = patient("mg 0.33 mmol/L", "creatinine 70 umol/L", conditions=["torsades, since -1h"], setting="ward")
    before, after = judged(torsades), evaluate(torsades, KNOW, reference=TIME_CRITICAL)
    changed = {r.rule.id for r, s in zip(before.judgements, after.judgements, strict=True) if r.outcome != s.outcome}
    assert changed == {"R-072"}


def test_what_a_gate_withholds_is_not_told_either() -> None:
    closed = patient("mg 0.45 mmol/L", "creatinine 180 umol/L", conditions=["vt, since -1h"], setting="ward")
    assert isinstance(judged(closed).outcome("R-072"), Withheld)
    assert isinstance(evaluate(closed, KNOW, reference=TIME_CRITICAL).outcome("R-072"), NotMet)


def test_a_rule_that_does_not_fire_says_nothing_as_reference_either() -> None:
    assert not isinstance(evaluate(patient(), KNOW, reference=TIME_CRITICAL).outcome("R-081"), Finding)
