"""Worked patients: what the rules find, what reaches a card, and that the way over FHIR says the same."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from service.cds.cards import Card
from service.logic.evaluate import Assessment
from service.logic.model import Failed, Finding, MissingInputs
from service.logic.rules import RULES
from tests.vignettes.files import Vignette, read
from tests.vignettes.patients import ANALYTES, cards, doses, highest, judged, told, words
from tests.vignettes.wire import decided

VIGNETTES = read()
# 0.6 % or half a unit of the last place that a reader sees, as in the interface.
MARGIN = {"egfr": Decimal(1), "femg_pct": Decimal("0.1"), "oral_elemental_mg_day": Decimal(5)}


@pytest.mark.parametrize("vignette", [v for v in VIGNETTES if v.direct], ids=str)
def test_a_patient_in_the_words_of_the_rules(vignette: Vignette) -> None:
    assessment = judged(vignette.patient)
    assert list(_wrong(vignette, assessment, cards(assessment))) == []


@pytest.mark.parametrize("vignette", [v for v in VIGNETTES if v.wire], ids=str)
def test_the_same_patient_as_fhir(vignette: Vignette) -> None:
    decision = decided(vignette.patient)
    assert list(_wrong(vignette, decision.assessment, decision.cards)) == []


def _wrong(vignette: Vignette, assessment: Assessment, shown: list[Card]) -> Iterator[str]:
    """Every way in which the answer differs from what the vignette expects."""
    yield from _outcomes(vignette, assessment)
    yield from _values(vignette, assessment)
    yield from _cards(vignette, assessment, shown)


def _outcomes(vignette: Vignette, assessment: Assessment) -> Iterator[str]:
    expected = {key: dict(vignette.expected.get(key, {})) for key in ("finds", "urgency", "withheld", "lacking")}
    for judgement in assessment.judgements:
        rule, outcome, result = judgement.rule.id, judgement.outcome, told(judgement.outcome)
        indicator = outcome.indicator.value if isinstance(outcome, Finding) else "none"
        if isinstance(outcome, Failed):
            yield f"{rule} {result}"
        if result != expected["finds"].get(rule, result):
            yield f"{rule} is {result}, not {expected['finds'][rule]}"
        if indicator != expected["urgency"].get(rule, indicator):
            yield f"{rule} is {indicator}, not {expected['urgency'][rule]}"
        if isinstance(outcome, Finding) and rule in vignette.expected.get("silent", ()):
            yield f"{rule} is {result}, must be silent"
        if (gate := expected["withheld"].get(rule)) and not result.startswith(f"withheld by {gate}:"):
            yield f"{rule} is {result}, not withheld by {gate}"
        if (inputs := expected["lacking"].get(rule)) and outcome != MissingInputs(tuple(inputs.split(", "))):
            yield f"{rule} is {result}, must lack {inputs}"
    given = set(doses(assessment))
    if given != set(vignette.expected.get("gives", given)):
        yield f"proposed is {sorted(given)}, not {sorted(vignette.expected['gives'])}"


def _values(vignette: Vignette, assessment: Assessment) -> Iterator[str]:
    stated = [j.outcome.values for j in assessment.judgements if isinstance(j.outcome, Finding)]
    for name, target in vignette.expected.get("values", {}).items():
        found = [values[name] for values in stated if name in values]
        margin = max(MARGIN.get(name, Decimal("0.01")), Decimal("0.006") * target)
        if not found or any(abs(value - target) > margin for value in found):
            yield f"{name} is {', '.join(map(str, found)) or 'missing'}, not {target}"


def _cards(vignette: Vignette, assessment: Assessment, shown: list[Card]) -> Iterator[str]:
    expected = vignette.expected
    stated = {rule for card in shown for rule in card.stated}
    yield from (f"{rule} is on no card" for rule in expected.get("shown", ()) if rule not in stated)
    yield from (f"{rule} is on a card" for rule in expected.get("not_shown", ()) if rule in stated)
    if "indicator" in expected and highest(shown) != expected["indicator"]:
        yield f"the card is {highest(shown)}, not {expected['indicator']}"
    wanted = {a for j in assessment.judgements if isinstance(j.outcome, Finding) for a in j.outcome.tests}
    yield from (f"{name} is not suggested" for name in expected.get("tests", ()) if ANALYTES[name] not in wanted)
    offered = [item["label"] for card in shown for item in card.body.get("suggestions", ())]
    if offered != [f"Order {test}" for test in expected.get("offers", ())] and "offers" in expected:
        yield f"offered is {offered}, not {expected['offers']}"
    on_card = " ".join(card.body["summary"] + " " + card.body["detail"] for card in shown).lower()
    behind = f"{on_card} {words(assessment)}".lower()
    yield from (f"no card says {part!r}" for part in expected.get("on_card", ()) if part.lower() not in on_card)
    yield from (f"nothing says {part!r}" for part in expected.get("says", ()) if part.lower() not in behind)
    yield from (f"something says {part!r}" for part in expected.get("never_says", ()) if part.lower() in behind)


# ---- the collection itself ------------------------------------------------------------------------------------------


def test_every_rule_has_a_patient_in_whom_it_speaks_and_one_in_whom_it_does_not() -> None:
    speaks = {rule for v in VIGNETTES for rule in (*v.expected.get("finds", {}), *v.expected.get("urgency", {}))}
    # Two rules lead a number rather than a result, and withheld treatments are found true.
    speaks |= {rule for v in VIGNETTES for rule in v.expected.get("withheld", {})}
    quiet = {rule for v in VIGNETTES for rule in (*v.expected.get("silent", ()), *v.expected.get("lacking", {}))}
    everyone = {rule.id for rule in RULES}
    assert everyone - speaks == set()
    assert everyone - quiet == set()


_KIDNEY_DOSES = "kidney-severe-symptoms kidney-severe-oral kidney-failure-symptoms"


@pytest.mark.parametrize(
    ("rule", "results"),
    [
        ("R-001", "unit-missing unit-unknown"),
        ("R-002", "implausible range-impossible contradictory"),
        ("R-003", "haemolysed-unreliable haemolysed-low edta-pattern"),
        ("R-004", "pseudo-hypomagnesaemia low-albumin"),
        ("R-005", "stale after-infusion"),
        ("R-010", "low normal high unclassified"),
        ("R-011", "mild moderate severe"),
        ("R-014", "mild moderate severe life-threatening protocol-range"),
        ("R-015", "low normal high"),
        ("R-020", "low normal high"),
        ("R-031", "severe failure unstable unknown"),
        ("R-032", "renal borderline indeterminate extrarenal value-only not-interpretable"),
        ("R-033", "renal-wasting indeterminate conserved load-normal load-possible load-deficient"),
        ("R-041", "refractory magnesium-unknown"),
        ("R-045", "gitelman-like infantile-hypomagnesaemia"),
        ("R-051", "typical possible unlikely duration-unknown"),
        ("R-054", "monitoring-gap measure-now"),
        ("R-070", "iv-urgent iv oral"),
        ("R-071", "iv-band-severe iv-band-moderate iv-band-mild"),
        ("R-072", "torsades-bolus emergency-unstable emergency-stable"),
        ("R-073", "child-dose child-rule"),
        ("R-074", f"{_KIDNEY_DOSES} no-automatic-supplement no-dose-treat-loss protocol"),
        ("R-075", "oral-dose intake"),
        ("R-077", "follow-up level-overdue calcium-still-low"),
        ("R-080", "stop-source ask-for-source hold-source"),
        ("R-082", "kidney-closed no-level"),
        ("R-090", "add-companion-tests complete repeat add-magnesium"),
        ("R-091", "correct-first baseline-needed rhythm-drug-low rhythm-drug-unknown ppi-again cisplatin-hydration"),
        ("R-095", "correct-magnesium-too magnesium-unknown potassium-high"),
    ],
)
def test_every_result_of_a_graded_rule_has_a_patient(rule: str, results: str) -> None:
    assert {v.expected["finds"][rule] for v in VIGNETTES if rule in v.expected.get("finds", {})} == set(results.split())


def test_the_urgency_of_every_result_is_stated_by_some_vignette() -> None:
    met, stated = set(), set()
    for vignette in (v for v in VIGNETTES if v.direct):
        for judgement in judged(vignette.patient).judgements:
            if isinstance(judgement.outcome, Finding):
                found = (judgement.rule.id, judgement.outcome.result, judgement.outcome.indicator)
                met.add(found)
                stated |= {found} if judgement.rule.id in vignette.expected.get("urgency", {}) else set()
    assert met - stated == set()


@pytest.mark.parametrize("vignette", [v for v in VIGNETTES if v.direct], ids=str)
def test_a_finding_names_what_it_rests_on_once_and_out_of_the_chart(vignette: Vignette) -> None:
    person = vignette.patient
    chart = {item.reference for item in person.labs} | {item.reference for item in person.medications}
    chart |= {item.reference for item in person.conditions} | {item.reference for item in person.orders}
    for judgement in judged(person).judgements:
        if isinstance(judgement.outcome, Finding):
            named = judgement.outcome.evidence
            assert len(set(named)) == len(named), judgement.rule.id
            assert set(named) <= chart, judgement.rule.id
            # A kidney function that is not known rests on nothing where only an order asks for it.
            assert named or (judgement.rule.id, judgement.outcome.result) == ("R-031", "unknown")


def test_a_vignette_speaks_of_rules_that_exist() -> None:
    of_rules = ("finds", "urgency", "withheld", "lacking", "silent", "shown", "not_shown")
    named = {rule for v in VIGNETTES for key in of_rules for rule in v.expected.get(key, ())}
    assert named <= {rule.id for rule in RULES}


def test_no_title_stands_twice() -> None:
    titles = [v.title for v in VIGNETTES]
    assert len(set(titles)) == len(titles) >= 120


def test_a_misspelt_expectation_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text('[[case]]\ntitle = "t"\nfind = {}\n', encoding="utf-8")
    with pytest.raises(ValueError, match="'t' has unknown members: find"):
        read(tmp_path)
