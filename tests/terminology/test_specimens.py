"""A specimen is blood, something else, or not understood; only blood is read as serum."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.terminology.specimens import SpecimenKind, specimen_kind

SNOMED = "http://snomed.info/sct"
V2 = "http://terminology.hl7.org/CodeSystem/v2-0487"


@pytest.mark.parametrize(
    ("codings", "words", "expected"),
    [
        ([], [], "unstated"),
        ([], ["Specimen"], "unstated"),
        ([], ["Serum"], "blood"),
        ([], ["VENOUS BLOOD"], "blood"),
        ([], ["Lavender Top Tube"], "blood"),
        ([], ["Сыворотка крови"], "blood"),
        ([], ["نمونه خون"], "blood"),
        ([], ["Heparinplasma"], "blood"),
        ([(SNOMED, "119364003")], [], "blood"),
        ([(SNOMED, "708048008")], ["Citraat (blauw)"], "blood"),
        ([(V2, "SER")], [], "blood"),
        ([("http://hl7.org/fhir/v2/0487", "PLAS")], [], "blood"),
        ([(V2, "UR")], [], "other"),
        ([(SNOMED, "122575003")], [], "other"),
        ([(SNOMED, "258441009")], [], "other"),
        ([("urn:lab", "PLEDTA")], ["Pleural fluid in EDTA tube"], "other"),
        ([], ["Pleurapunktat"], "other"),
        ([], ["24 HOUR URINE"], "other"),
        ([], ["Асцитическая жидкость"], "other"),
        ([], ["ادرار"], "other"),
        ([], ["Dialysat"], "other"),
        ([], ["Left ear swab"], "unclear"),
        ([("urn:lab", "X7")], [], "unstated"),
        ([("urn:lab", "4711")], [], "unstated"),
        ([("urn:lab", "Blood")], [], "blood"),
        ([("urn:lab", "URINE")], [], "other"),
        ([("urn:lab", "SWAB")], [], "unclear"),
        ([("urn:lab", "X7")], ["Serum"], "blood"),
    ],
)
def test_specimens(codings: list[tuple[str, str]], words: list[str], expected: str) -> None:
    assert specimen_kind(codings, words) == expected


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=10))), st.lists(st.text(max_size=40)))
def test_nothing_raises(codings: list[tuple[str, str]], words: list[str]) -> None:
    assert specimen_kind(codings, words) in set(SpecimenKind)
