"""An order is known as a magnesium test, or as blood that is drawn anyway, by its code or by its words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.logic.model import Analyte
from service.terminology.analytes import LAB_CODES
from service.terminology.lab_orders import OrderKind, kinds_of_order

CPT = "http://www.ama-assn.org/go/cpt"
LOINC = "http://loinc.org"

MAGNESIUM = """
    Magnesium Level
    Magnesium Lvl
    Mg
    Serum Mg, stat
    BMP + Mg
    BMP, CBC, Mg
    K, Mg, Phos
    Serum electrolytes and magnesium
    Ionized magnesium
    Magnesium [Mass/volume] in Serum or Plasma
    магний крови
    Магний в сыворотке
    سطح منیزیم سرم
    Magnesio sérico
    Magnésium plasmatique
    Magnesium im Serum
"""
BLOOD = """
    Basic metabolic panel
    Comprehensive Metabolic Panel (CMP)
    CBC with differential
    CBC and blood culture
    U&E
    LFTs
    Electrolytes
    Creatinine
    Serum potassium level
    Hemoglobin A1c
    Troponin I
    RBC magnesium
    ОАК
    Биохимический анализ крови
    коагулограмма
    بیوشیمی
    آزمایش خون CBC
    Großes Blutbild
    Nierenwerte
    hemograma
    perfil renal
"""
NEITHER = """
    Magnesium, urine
    24 h urine magnesium
    Magnesium sulfate 2 g IV
    Magnesium replacement protocol
    Potassium chloride 20 mEq
    Urinalysis
    общий анализ мочи
    Blood culture
    POC glucose
    Type and screen
    CT chest
    Consult nephrology for potassium
    Sodium restricted diet
    کشت ادرار
"""


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines()]


@pytest.mark.parametrize("text", lines(MAGNESIUM))
def test_a_magnesium_test_by_its_words(text: str) -> None:
    assert kinds_of_order([], [text]) == {OrderKind.MAGNESIUM, OrderKind.BLOOD}


@pytest.mark.parametrize("text", lines(BLOOD))
def test_other_blood_by_its_words(text: str) -> None:
    assert kinds_of_order([], [text]) == {OrderKind.BLOOD}


@pytest.mark.parametrize("text", lines(NEITHER))
def test_what_is_neither(text: str) -> None:
    assert kinds_of_order([], [text]) == frozenset()


@pytest.mark.parametrize(
    ("system", "code", "kinds"),
    [
        (LOINC, "19123-9", "magnesium blood"),
        (LOINC, "2600-5", "magnesium blood"),
        (LOINC, "26746-8", "blood"),
        (LOINC, "19124-7", ""),  # urine
        (LOINC, "21377-7", ""),  # whole blood: not the test that is meant, and not known as another
        (LOINC, "51990-0", "blood"),
        (LOINC, "58410-2", "blood"),
        (LOINC, "24356-8", ""),  # urinalysis
        (CPT, "83735", "magnesium blood"),
        (CPT, "80048", "blood"),
        (CPT, "80047", "blood"),
        (CPT, "80081", "blood"),
        (CPT, "80082", ""),
        (CPT, "85025", "blood"),
        (CPT, "82570", ""),  # creatinine, other source
        (CPT, "81001", ""),  # urinalysis
        ("urn:oid:2.16.840.1.113883.6.12", "80053", "blood"),
        ("http://snomed.info/sct", "26604007", "blood"),
        ("http://snomed.info/sct", "271285000", "magnesium blood"),
        ("http://terminology.hl7.org/CodeSystem/v2-0074", "CH", "blood"),
        ("http://terminology.hl7.org/CodeSystem/v2-0074", "RAD", ""),
        ("", "80048", ""),
    ],
)
def test_codes(system: str, code: str, kinds: str) -> None:
    assert kinds_of_order([(system, code)], []) == set(kinds.split())


def test_words_of_another_specimen_decide_where_the_code_does_not() -> None:
    assert kinds_of_order([(CPT, "83735")], ["Magnesium, urine"]) == frozenset()
    assert kinds_of_order([(CPT, "83735")], ["Magnesium"]) == {OrderKind.MAGNESIUM, OrderKind.BLOOD}


def test_a_code_of_the_site_counts() -> None:
    local = LAB_CODES.with_codes({("urn:lab", "MG"): Analyte.SERUM_MAGNESIUM})
    assert kinds_of_order([("urn:lab", "MG")], [], local) == {OrderKind.MAGNESIUM, OrderKind.BLOOD}


@given(st.lists(st.tuples(st.text(max_size=30), st.text(max_size=10))), st.lists(st.text(max_size=80)))
def test_nothing_raises(codings: list[tuple[str, str]], texts: list[str]) -> None:
    assert kinds_of_order(codings, texts) <= set(OrderKind)
