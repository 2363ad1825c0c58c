"""R-090: a magnesium test is selected: which tests belong beside it."""

from __future__ import annotations

from collections.abc import Iterator

from service.logic.case import Case
from service.logic.case.person import NEUROPSYCHIATRIC
from service.logic.model import Analyte, Finding, Indicator, NotMet
from service.logic.rules.orders.drafts import drafts
from service.logic.rules.rule import Answer
from service.logic.rules.words import ANALYTE
from service.logic.text import Text

_MAGNESIUM_TESTS = frozenset({Analyte.SERUM_MAGNESIUM, Analyte.RBC_MAGNESIUM, Analyte.IONISED_MAGNESIUM})


def magnesium_test(case: Case) -> Answer:
    """R-090: a magnesium test is selected: which tests belong beside it, and how to take the sample."""
    selected = [o for o in drafts(case) if o.test in _MAGNESIUM_TESTS]
    if not selected:
        return NotMet()
    tests = tuple(a for a in _companions(case) if a not in case.patient.pending)
    names = tuple(ANALYTE[a] for a in tests)
    text = (
        Text("With this magnesium test, consider: {tests}.", tests=names)
        if tests
        else Text("Magnesium test selected; its companion tests are current or ordered.")
    )
    return Finding(
        "add-companion-tests" if tests else "complete",
        Indicator.INFO,
        text,
        Text("Magnesium is read together with kidney function, potassium, calcium and albumin."),
        (
            Text(
                "Sample: no haemolysis or EDTA carry-over, not within 6 h after IV magnesium, not right after exercise."
            ),
        ),
        tests=tests,
        evidence=tuple(o.reference for o in selected),
    )


def _companions(case: Case) -> Iterator[Analyte]:
    if case.creatinine is None:
        yield Analyte.CREATININE
    if case.potassium is None:
        yield Analyte.POTASSIUM
    if case.calcium is None:
        yield Analyte.CALCIUM
    if case.albumin is None:
        yield Analyte.ALBUMIN
    if case.tags & NEUROPSYCHIATRIC and case.current(Analyte.RBC_MAGNESIUM, case.duration("rbc-window")) is None:
        yield Analyte.RBC_MAGNESIUM
    if case.mg_low and case.current(Analyte.URINE_MAGNESIUM, case.duration("urine-window")) is None:
        yield Analyte.URINE_MAGNESIUM
        yield Analyte.URINE_CREATININE
