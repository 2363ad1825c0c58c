"""R-090: a magnesium test is selected, or a blood test to which magnesium should be added."""

from __future__ import annotations

from collections.abc import Iterator

from service.logic.case import Case
from service.logic.case.person import ARRHYTHMIA, NEUROPSYCHIATRIC
from service.logic.message import Message
from service.logic.model import Analyte, Finding, Indicator, NotMet
from service.logic.rules.conditions import testing_indicated
from service.logic.rules.drugs import monitoring_gap
from service.logic.rules.integrity import time_problem
from service.logic.rules.orders.drafts import drafts, magnesium_products
from service.logic.rules.orders.repeat import reason_to_repeat
from service.logic.rules.phrases import ANALYTE, age, brief, references
from service.logic.rules.potassium_calcium import low_calcium_magnesium_unknown, low_potassium_magnesium_unknown
from service.logic.rules.rule import Answer

_MAGNESIUM_TESTS = frozenset({Analyte.SERUM_MAGNESIUM, Analyte.RBC_MAGNESIUM, Analyte.IONISED_MAGNESIUM})


def _stale(case: Case) -> Answer:
    """R-005 where the magnesium is too old; a sample drawn too soon after a dose waits for its own time."""
    answer = time_problem(case)
    return answer if isinstance(answer, Finding) and answer.result == "stale" else NotMet()


# The rules that may want a magnesium now (decision 23), the most specific first.
_WANTED_BY = (
    low_potassium_magnesium_unknown,
    low_calcium_magnesium_unknown,
    monitoring_gap,
    testing_indicated,
    _stale,
)


def laboratory_test(case: Case) -> Answer:
    """R-090: what belongs beside a magnesium test, whether it repeats a normal one, or whether one is missing."""
    selected = [o for o in drafts(case) if o.test in _MAGNESIUM_TESTS]
    if not selected:
        return _add_magnesium(case)
    references_ = tuple(o.reference for o in selected)
    if case.mg is not None and any(o.test is Analyte.SERUM_MAGNESIUM for o in selected) and _normal_lately(case):
        return Finding(
            "repeat",
            Indicator.INFO,
            text=Message("{mg} was normal {age}, nothing new since", mg=brief(case.mg), age=age(case, case.mg)),
            evidence=references(case.mg) + references_,
            action=Message("is a repeat needed?"),
        )
    return _beside(case, references_)


def _normal_lately(case: Case) -> bool:
    """A normal, reliable magnesium within 48 h and no reason to repeat it (decision 24)."""
    recent = case.mg is not None and case.age_of(case.mg) <= case.duration("repeat-test")
    return recent and case.mg_normal and not reason_to_repeat(case)


def _beside(case: Case, selected: tuple[str, ...]) -> Finding:
    wanted = _in_hospital(case) if case.patient.inpatient else _at_home(case)
    tests = tuple(a for a in wanted if a not in case.patient.pending)
    names = tuple(ANALYTE[a] for a in tests)
    text = Message("Magnesium test selected: {tests} missing beside it", tests=names)
    return Finding(
        "add-companion-tests" if tests else "complete",
        Indicator.INFO,
        text if tests else Message("Magnesium test selected; its companion tests are current or ordered"),
        advice=(
            Message("Sample: no haemolysis or EDTA carry-over, not soon after IV magnesium or exercise."),
            *_sodium(case),
        ),
        tests=tests,
        evidence=selected,
        action=Message("add them") if tests else None,
        context_only=not tests,
    )


def _sodium(case: Case) -> tuple[Message, ...]:
    named = not case.patient.inpatient and case.tags & (ARRHYTHMIA | {"hypertension", "t2dm"})
    return (Message("Sodium belongs to the panel in hypertension, arrhythmia and diabetes."),) if named else ()


def _at_home(case: Case) -> Iterator[Analyte]:
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


def _in_hospital(case: Case) -> Iterator[Analyte]:
    """Only what is missing and relevant (decision 24)."""
    abnormal, low = case.mg_class in {"low", "high"}, case.mg_class == "low"
    if case.creatinine is None and (abnormal or case.magnesium_products or magnesium_products(case)):
        yield Analyte.CREATININE
    if low and case.potassium is None:
        yield Analyte.POTASSIUM
    if low and case.calcium is None:
        yield Analyte.CALCIUM
    if case.albumin is None and (low or case.calcium_low or case.calcium_perhaps_low):
        yield Analyte.ALBUMIN


def _add_magnesium(case: Case) -> Answer:
    """Blood is drawn anyway and a rule wants a magnesium: one line, one click (decision 23).

    None of these rules wants one while the last is younger than its window, 72 h at least: the 12 h of the decision.
    """
    draws = [order for order in drafts(case) if order.draws_blood]
    if not draws or Analyte.SERUM_MAGNESIUM in case.patient.pending:
        return NotMet()
    found = [answer for rule in _WANTED_BY if isinstance(answer := rule(case), Finding)]
    wanted = [f for f in found if not f.context_only]
    if not wanted:
        return NotMet()
    first, *others = wanted
    return Finding(
        "add-magnesium",
        Indicator.WARNING if any(f.indicator is not Indicator.INFO for f in wanted) else Indicator.INFO,
        text=first.text,
        why=first.why,
        advice=tuple(Message("{issue}.", issue=finding.text) for finding in others[:1]),
        tests=(Analyte.SERUM_MAGNESIUM,),
        evidence=tuple(dict.fromkeys((*first.evidence, *(order.reference for order in draws)))),
        action=Message("add magnesium to this draw"),
    )
