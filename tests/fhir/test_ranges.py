"""Which range is the laboratory's normal one for this patient: below, at and above every age; what is not understood."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fhir.charts import SNOMED, Json, issues, lab, observation, quantity, read

NOT_USED = "Observation/o1: Its reference range is not used: not known to be the normal one for this patient."
WOMAN: Json = {"resourceType": "Patient", "id": "p", "gender": "female", "birthDate": "1975-06-15"}  # 50 on the day


def limits(low: float = 0.7, high: float = 1.05, **members: object) -> Json:
    return {"low": quantity(low, "mmol/L"), "high": quantity(high, "mmol/L"), **members}


def text(words: str) -> Json:
    return {"text": words}


def of(*words: str) -> list[Json]:
    return [text(word) for word in words]


GENERAL = limits(0.65, 1.1)

# ---- which range ----------------------------------------------------------------------------------------------------

NORMAL: list[Json] = [
    limits(),
    limits(type=text("Normal")),
    limits(type=text("Reference range")),
    limits(type=text("Норма")),
    limits(type=text("محدوده طبیعی")),
    limits(type={"coding": [{"code": "normal", "display": "Normal Range"}]}),
    limits(type={"coding": [{"code": "NORMAL"}], "text": "whatever"}),
    limits(text="0.70 - 1.05 mmol/L"),
    limits(text="Normal range"),
    limits(text="Adults: 0.7 - 1.05"),
    {"text": "0.7 - 1.05"},
    {"text": "0,70–1,05 ммоль/л"},
    {"text": "от 0,7 до 1,05"},
    {"text": "[0.7 to 1.05]"},
    {"text": "Normal: 0.7-1.05 mmol/L"},
    {"text": "۰٫۷۰ تا ۱٫۰۵"},
]
OTHER: list[Json] = [
    limits(type=text("Critical")),
    limits(type=text("panic")),
    limits(type=text("Критический")),
    limits(type={"coding": [{"code": "therapeutic"}]}),
    limits(type={"coding": [{"code": "treatment"}]}),
    limits(type={"coding": [{"code": "recommended"}]}),
    limits(type={"coding": [{"code": "X1"}]}),
    limits(type={"coding": [{"code": "X1", "display": "Normal"}]}),
    limits(text="Critical Range"),
    limits(text="Therapeutic range (pre-eclampsia)"),
    limits(text="Target"),
    limits(text="Zielbereich 0.7 - 1.05"),
    limits(text="Терапевтический диапазон"),
    limits(text="محدوده درمانی"),
    limits(text="Dialysis patients"),
    {"text": "Neonates: 0.7 - 1.05"},
    {"text": "0.7 - 1.05 therapeutic"},
    limits(appliesTo=of("Neonate")),
    limits(appliesTo=of("Dialysis")),
    limits(appliesTo=of("Female, postmenopausal")),
    limits(appliesTo=[{"coding": [{"system": SNOMED, "code": "77386006", "display": "Pregnant"}]}]),
    limits(appliesTo=[{"coding": [{"system": "urn:x", "code": "4711"}]}]),
    limits(appliesTo=[{}]),
    limits(appliesTo=of("Females", "second trimester")),
    limits(age={"low": quantity(0, "moons"), "high": quantity(1000, "moons")}),
    limits(age={"low": quantity(0)}),
    limits(age={"high": {"unit": "a"}}),
    limits(age={"high": {"value": 100, "unit": "a", "code": "d"}}),
    limits(age={"high": {"value": 100, "unit": "a", "comparator": "<"}}),
]


@pytest.mark.parametrize("stated", NORMAL, ids=range(len(NORMAL)))
def test_a_normal_range_is_used(stated: Json) -> None:
    found = read(WOMAN, observation(referenceRange=[stated]))
    (result,) = found.labs
    assert result.range is not None
    assert (result.range.low, result.range.high) == (Decimal("0.7"), Decimal("1.05"))
    assert issues(found) == []


@pytest.mark.parametrize("stated", OTHER, ids=range(len(OTHER)))
def test_another_range_is_not_used_and_that_is_said(stated: Json) -> None:
    found = read(WOMAN, observation(referenceRange=[stated]))
    assert found.labs[0].range is None
    assert issues(found) == [NOT_USED]


@pytest.mark.parametrize("stated", OTHER, ids=range(len(OTHER)))
@pytest.mark.parametrize("first", [True, False])
def test_beside_a_normal_one_it_is_passed_over_wherever_it_stands(stated: Json, first: bool) -> None:
    found = read(WOMAN, observation(referenceRange=[stated, GENERAL] if first else [GENERAL, stated]))
    assert found.labs[0].range is not None
    assert found.labs[0].range.low == Decimal("0.65")
    assert issues(found) == []


# ---- for whom -------------------------------------------------------------------------------------------------------

FEMALE = [
    "female",
    "Females",
    "F",
    "woman",
    "Frauen",
    "weiblich",
    "femme",
    "mujer",
    "Ж",
    "женский",
    "женщины",
    "زن",
    "Adult female",
]
MALE = [
    "male",
    "Males",
    "M",
    "men",
    "Männer",
    "männlich",
    "homme",
    "hombre",
    "М",
    "мужской",
    "мужчины",
    "مرد",
    "Adult male",
]


@pytest.mark.parametrize("word", FEMALE)
def test_a_range_for_women(word: str) -> None:
    stated = observation(referenceRange=[GENERAL, limits(appliesTo=of(word))])
    assert lab(WOMAN, stated).range.low == Decimal("0.7")  # type: ignore[union-attr]
    assert lab(WOMAN | {"gender": "male"}, stated).range.low == Decimal("0.65")  # type: ignore[union-attr]


@pytest.mark.parametrize("word", MALE)
def test_a_range_for_men(word: str) -> None:
    stated = observation(referenceRange=[limits(appliesTo=of(word))])
    assert lab(WOMAN, stated).range is None
    assert issues(read(WOMAN, stated)) == []  # understood: it is for somebody else
    assert lab(WOMAN | {"gender": "male"}, stated).range is not None


@pytest.mark.parametrize(("code", "women"), [("248152002", True), ("248153007", False)])
def test_a_sex_by_its_code(code: str, women: bool) -> None:
    stated = observation(referenceRange=[limits(appliesTo=[{"coding": [{"system": SNOMED, "code": code}]}])])
    assert (lab(WOMAN, stated).range is not None) is women


def aged(low: Json | None = None, high: Json | None = None) -> Json:
    return limits(age={name: side for name, side in (("low", low), ("high", high)) if side})


# The sample of 2025-06-15 09:00; days from the first possible moment of birth.
@pytest.mark.parametrize(
    ("born", "age", "applies"),
    [
        ("2025-06-08", aged(quantity(7, "d")), True),
        ("2025-06-09", aged(quantity(7, "d")), False),
        ("2025-06-07", aged(quantity(7, "d")), True),
        ("2025-06-08", aged(None, quantity(7, "d")), True),
        ("2025-06-07", aged(None, quantity(7, "d")), False),
        ("2025-06-09", aged(None, quantity(7, "d")), True),
        ("2025-06-08", aged(quantity(1, "wk"), quantity(1, "week")), True),
        ("2025-06-12", aged(quantity(0, "hours"), quantity(72, "hours")), True),
        ("2025-06-11", aged(quantity(0, "hours"), quantity(72, "hours")), False),
        ("2025-05-15", aged(quantity(1, "mo")), True),
        ("2025-05-16", aged(quantity(1, "Monat")), False),
        ("2007-06-15", aged(quantity(18, "a")), True),
        ("2007-06-16", aged(quantity(18, "yr")), False),
        ("2007-06-16", aged(quantity(18, "лет")), False),
        ("1975-06-15", aged(quantity(0, "yr"), quantity(1, "yr")), False),
        ("1975-06-15", aged(quantity(0, "Jahre"), quantity(1, "Jahre")), False),
        ("1975-06-15", aged(quantity(0, "هفته"), quantity(4, "هفته")), False),
        ("1975-06-15", aged(quantity(0, "weeks"), quantity(4, "weeks")), False),
        ("1975-06-15", aged(quantity(18, "سال")), True),
        ("2007-06-15", limits(appliesTo=of("Adults")), True),
        ("2007-06-16", limits(appliesTo=of("Adults")), False),
        (None, aged(quantity(18, "a")), False),
        (None, limits(appliesTo=of("Взрослые")), False),
    ],
)
def test_the_age_of_a_range(born: str | None, age: Json, applies: bool) -> None:
    person = {name: value for name, value in (WOMAN | {"birthDate": born}).items() if value}
    found = read(person, observation(referenceRange=[age]))
    assert (found.labs[0].range is not None) is applies
    assert issues(found) == []


# ---- any words ------------------------------------------------------------------------------------------------------

PIECES = [
    "0.7",
    "1,05",
    "1,000",
    "-",
    "to",
    "до",
    "mmol/L",
    "mg/dL",
    "Normal",
    "Critical",
    "adult",
    "female",
    "weeks",
    "(",
    "<",
    "۰٫۷",
]
WORDS = st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=8).map(" ".join)


@given(WORDS, WORDS, WORDS, WORDS)
def test_any_words_make_a_range_that_is_one_or_none(kind: str, group: str, words: str, unit: str) -> None:
    stated = {"type": text(kind), "appliesTo": of(group), "text": words, "age": {"high": quantity(99, unit)}}
    for given_limits in ({}, limits()):
        found = lab(WOMAN, observation(referenceRange=[given_limits | stated]))
        assert (
            found.range is None
            or found.range.low is None
            or found.range.high is None
            or found.range.low < found.range.high
        )
