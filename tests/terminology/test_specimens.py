"""A specimen is blood, something else, or not understood; only blood is read as serum."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.terminology.specimens import is_blood

SNOMED = "http://snomed.info/sct"
V2 = "http://terminology.hl7.org/CodeSystem/v2-0487"


@pytest.mark.parametrize(
    ("codings", "words", "expected"),
    [
        ([], [], True),
        ([], ["Specimen"], True),
        ([], ["Serum"], True),
        ([], ["VENOUS BLOOD"], True),
        ([], ["Lavender Top Tube"], True),
        ([], ["Сыворотка крови"], True),
        ([], ["نمونه خون"], True),
        ([], ["Heparinplasma"], True),
        ([(SNOMED, "119364003")], [], True),
        ([(SNOMED, "708048008")], ["Citraat (blauw)"], True),
        ([(V2, "SER")], [], True),
        ([("http://hl7.org/fhir/v2/0487", "PLAS")], [], True),
        ([(V2, "UR")], [], False),
        ([(SNOMED, "122575003")], [], False),
        ([(SNOMED, "258441009")], [], False),
        ([("urn:lab", "PLEDTA")], ["Pleural fluid in EDTA tube"], False),
        ([], ["Pleurapunktat"], False),
        ([], ["24 HOUR URINE"], False),
        ([], ["Асцитическая жидкость"], False),
        ([], ["ادرار"], False),
        ([], ["Dialysat"], False),
        ([], ["Left ear swab"], None),
        ([("urn:lab", "X7")], [], None),
        ([("urn:lab", "X7")], ["Serum"], True),
    ],
)
def test_specimens(codings: list[tuple[str, str]], words: list[str], expected: bool | None) -> None:
    assert is_blood(codings, words) is expected


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=10))), st.lists(st.text(max_size=40)))
def test_nothing_raises(codings: list[tuple[str, str]], words: list[str]) -> None:
    assert is_blood(codings, words) in {True, False, None}
