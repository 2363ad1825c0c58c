"""Observation -> LabResult: values, units, times, ranges, specimens and panels as real laboratories send them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from service.logic.model import Analyte, Problem, ReferenceRange
from tests.fhir.charts import LOINC, SNOMED, UCUM, Json, concept, issues, lab, observation, quantity, read

PATIENT: Json = {"resourceType": "Patient", "id": "p", "gender": "female", "birthDate": "1990-01-01"}
INTERPRETATION = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"


# ---- which analyte --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "analyte"),
    [
        (concept(LOINC, "19123-9"), Analyte.SERUM_MAGNESIUM),
        (concept("urn:oid:2.16.840.1.113883.6.1", "2601-3"), Analyte.SERUM_MAGNESIUM),
        (concept("HTTP://LOINC.org/ ", " 2601-3 "), Analyte.SERUM_MAGNESIUM),
        (
            {"coding": [{"system": "urn:local", "code": "MG"}, {"system": LOINC, "code": "2601-3"}]},
            Analyte.SERUM_MAGNESIUM,
        ),
        ({"coding": {"system": LOINC, "code": "2601-3"}}, Analyte.SERUM_MAGNESIUM),
        ({"text": "Магний сыворотки"}, Analyte.SERUM_MAGNESIUM),
        (concept("urn:local", "4711", "Serum potassium"), Analyte.POTASSIUM),
    ],
)
def test_an_analyte_is_known_by_any_of_its_codes_or_its_name(code: Json, analyte: Analyte) -> None:
    assert lab(observation(code=code)).analyte is analyte


@pytest.mark.parametrize(
    "members",
    [
        {"code": concept(LOINC, "2601-3", "Magnesium in urine")},
        {"specimen": {"display": "Urine, 24 h"}},
        {
            "specimen": {"reference": "#s"},
            "contained": [{"resourceType": "Specimen", "id": "s", "type": {"text": "Urine"}}],
        },
    ],
)
def test_a_serum_code_beside_another_specimen_is_not_serum(members: Json) -> None:
    found = read(observation(**members))
    assert found.labs == ()
    assert issues(found) == ["Observation/o1: Code and specimen contradict each other; not read as serum."]


# ---- value ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "number", "unit", "comparator"),
    [
        ({"valueQuantity": quantity(1.260, "mg/dL", "mg/dL")}, "1.26", "mg/dL", ""),
        ({"valueQuantity": quantity("0,62", "ммоль/л")}, "0.62", "mmol/L", ""),
        ({"valueQuantity": quantity(0.62, "میلی‌مول بر لیتر")}, "0.62", "mmol/L", ""),
        ({"valueQuantity": {"value": 0.2, "code": "mmol/L", "system": UCUM, "comparator": "<"}}, "0.2", "mmol/L", "<"),
        ({"valueQuantity": {"value": 4, "unit": "mmol/L", "comparator": ">="}}, "4", "mmol/L", ">="),
        ({"valueString": "0.62 mmol/L"}, "0.62", "mmol/L", ""),
        ({"valueString": "< 0,2 ммоль/л"}, "0.2", "mmol/L", "<"),
        ({"valueString": "≤0.2 mmol/l"}, "0.2", "mmol/L", "<="),
        ({"valueString": "۰٫۶۲ mmol/L"}, "0.62", "mmol/L", ""),
        ({"valueString": "٠٫٦٢ میلی‌مول/لیتر"}, "0.62", "mmol/L", ""),
    ],
)
def test_values_in_all_their_spellings(value: Json, number: str, unit: str, comparator: str) -> None:
    found = lab(observation(**({"valueQuantity": None} | value)))
    assert found.reported is not None
    assert (found.reported.value, found.reported.unit, found.comparator) == (Decimal(number), unit, comparator)
    assert found.problem is None


NO_VALUE = "Observation/o1: No numeric value."


@pytest.mark.parametrize(
    ("value", "problem", "said"),
    [
        ({}, Problem.NO_VALUE, NO_VALUE),
        ({"valueString": "volgt"}, Problem.NO_VALUE, NO_VALUE),
        ({"valueString": "0.62"}, Problem.NO_UNIT, "Observation/o1: No unit: the value is not interpreted."),
        ({"valueInteger": 1}, Problem.NO_UNIT, "Observation/o1: No unit: the value is not interpreted."),
        (
            {"valueCodeableConcept": {"text": "low"}},
            Problem.NO_VALUE,
            "Observation/o1: The value is a CodeableConcept, which is not read.",
        ),
        (
            {"valueRange": {"low": quantity(0.6, "mmol/L"), "high": quantity(0.7, "mmol/L")}},
            Problem.NO_VALUE,
            "Observation/o1: The value is a Range, which is not read.",
        ),
        (
            {"valueRatio": {"numerator": quantity(1)}},
            Problem.NO_VALUE,
            "Observation/o1: The value is a Ratio, which is not read.",
        ),
        (
            {"dataAbsentReason": concept("urn:x", "unknown"), "interpretation": [concept(INTERPRETATION, "N")]},
            Problem.NO_VALUE,
            "Observation/o1: The source gives no value (unknown).",
        ),
        (
            {"valueQuantity": quantity(0, "mmol/L"), "dataAbsentReason": {"text": "specimen unsuitable"}},
            Problem.NO_VALUE,
            "Observation/o1: The source gives no value (specimen unsuitable).",
        ),
        (
            {"valueQuantity": quantity(0.62, "mg/dL", "mmol/L")},
            Problem.UNKNOWN_UNIT,
            "Observation/o1: The unit is unknown for this analyte, or unit and code disagree: not interpreted.",
        ),
        ({"valueQuantity": quantity("NaN", "mmol/L")}, Problem.NO_VALUE, NO_VALUE),
        ({"valueQuantity": quantity(1e300, "mmol/L")}, Problem.NO_VALUE, NO_VALUE),
    ],
)
def test_a_value_that_cannot_be_read_says_why(value: Json, problem: Problem, said: str) -> None:
    found = read(observation(**({"valueQuantity": None} | value)))
    assert [result.problem for result in found.labs] == [problem]
    assert issues(found) == [said]


def test_a_reason_as_text_stands_beside_the_text() -> None:
    found = lab(
        observation(valueQuantity=None, valueString="0.62 mmol/L", dataAbsentReason=concept("urn:x", "as-text"))
    )
    assert found.problem is None


def test_the_unit_wins_over_the_code() -> None:
    found = read(observation(code=concept(LOINC, "19123-9"), valueQuantity=quantity(1.0, "mmol/L")))
    assert found.labs[0].value == Decimal(1)
    assert len(found.issues) == 1


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        ("final", None),
        ("corrected", None),
        ("unknown", None),
        (None, None),
        ("preliminary", Problem.PRELIMINARY),
        ("registered", Problem.STATUS),
        ("cancelled", Problem.STATUS),
        ("entered-in-error", Problem.STATUS),
    ],
)
def test_the_status_decides_about_use(status: str | None, problem: Problem | None) -> None:
    assert lab(observation(status=status)).problem is problem


def test_a_site_may_refuse_an_unknown_status() -> None:
    assert lab(observation(status="unknown"), accept_unknown_status=False).problem is Problem.STATUS


# ---- time -----------------------------------------------------------------------------------------------------------

TEHRAN = timezone(timedelta(hours=3, minutes=30))


@pytest.mark.parametrize(
    ("members", "end"),
    [
        ({"effectiveDateTime": "2025-06-15T09:00:00+03:30"}, datetime(2025, 6, 15, 5, 30, tzinfo=UTC)),
        ({"effectiveDateTime": "2025-06-14"}, datetime(2025, 6, 14, 23, 59, 59, tzinfo=TEHRAN)),
        ({"effectiveDateTime": "2025-05"}, datetime(2025, 5, 31, 23, 59, 59, tzinfo=TEHRAN)),
        ({"effectiveDateTime": "2025-06-15T09:00:00"}, datetime(2025, 6, 15, 9, tzinfo=TEHRAN)),
        (
            {"effectivePeriod": {"start": "2025-06-13", "end": "2025-06-14"}},
            datetime(2025, 6, 14, 23, 59, 59, tzinfo=TEHRAN),
        ),
        ({"effectivePeriod": {"start": "2025-06-13T08:00:00Z"}}, datetime(2025, 6, 13, 8, tzinfo=UTC)),
        ({"effectiveInstant": "2025-06-15T05:00:00.125Z"}, datetime(2025, 6, 15, 5, 0, 0, 125000, tzinfo=UTC)),
        ({"issued": "2025-06-15T05:00:00Z"}, datetime(2025, 6, 15, 5, tzinfo=UTC)),
        ({"effectiveDateTime": "soon", "issued": "2025-06-15T05:00:00Z"}, datetime(2025, 6, 15, 5, tzinfo=UTC)),
    ],
)
def test_when_a_sample_was_taken(members: Json, end: datetime) -> None:
    found = lab(observation(**({"effectiveDateTime": None} | members)), zone=TEHRAN)
    assert found.taken is not None
    assert found.taken.end == end
    part_of_a_date = len(members.get("effectiveDateTime", "")) == len("2025-05")
    assert found.problem is (Problem.NO_TIME if part_of_a_date else None)  # a month is never current (issue 14, 10)


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"effectiveDateTime": None}, Problem.NO_TIME),
        ({"effectiveDateTime": "0001-01-01T00:00:00+14:00"}, Problem.NO_TIME),
        ({"effectiveDateTime": "2025-13-45"}, Problem.NO_TIME),
        ({"effectiveDateTime": "2025-06-16"}, Problem.FUTURE),
    ],
)
def test_a_result_without_a_time_or_of_tomorrow_is_not_used(members: Json, problem: Problem) -> None:
    assert lab(observation(**members)).problem is problem


def test_a_time_without_a_zone_and_a_time_of_issue_are_noted() -> None:
    found = read(observation(effectiveDateTime=None, issued="2025-06-15T09:00:00"))
    assert issues(found) == [
        "Observation/o1: No time of collection; the time of issue was used.",
        "Observation/o1: Time without a zone; read in the site's zone.",
    ]


# ---- reference range and flag ---------------------------------------------------------------------------------------


def limits(low: float | None = None, high: float | None = None, unit: str = "", **members: Any) -> Json:
    ends = {"low": low, "high": high}
    return {side: quantity(end, unit) for side, end in ends.items() if end is not None} | members


FEMALE, MALE = ([concept("http://hl7.org/fhir/administrative-gender", sex)] for sex in ("female", "male"))
CHILD = {"age": {"high": quantity(18, "years", "a")}}
ADULT = {"age": {"low": quantity(18, "years", "a")}}
OLD = {"age": {"low": quantity(65, "years", "a")}}


@pytest.mark.parametrize(
    ("given", "low", "high"),
    [
        ([limits(0.7, 1.0, "mmol/L")], "0.7", "1.0"),
        (limits(0.7, 1.0, "mmol/L"), "0.7", "1.0"),
        ([limits(0.7, 1.0)], "0.7", "1.0"),
        ([limits(0.7)], "0.7", None),
        ([{"text": "0,70 – 1,05 ммоль/л"}], "0.70", "1.05"),
        ([{"text": "۰٫۷۰ تا ۱٫۰۵"}], "0.70", "1.05"),
        ([limits(0.5, 0.9, appliesTo=MALE), limits(0.7, 1.0, appliesTo=FEMALE)], "0.7", "1.0"),
        ([limits(0.6, 1.1), limits(0.7, 1.0, appliesTo=FEMALE)], "0.7", "1.0"),
        ([limits(0.6, 1.1), limits(0.5, 0.9, appliesTo=MALE)], "0.6", "1.1"),
        ([limits(0.5, 0.9, **CHILD), limits(0.7, 1.0, **ADULT)], "0.7", "1.0"),
        ([limits(0.6, 1.1), limits(0.4, 0.8, appliesTo=[concept(SNOMED, "77386006", "Pregnant")])], "0.6", "1.1"),
        (
            [limits(1.5, 2.5, type=concept("urn:t", "therapeutic")), limits(0.7, 1.0, type=concept("urn:t", "normal"))],
            "0.7",
            "1.0",
        ),
        ([{"low": "0.7", "high": quantity(1.0)}], None, "1.0"),
    ],
)
def test_the_range_that_applies_to_this_patient(given: object, low: str | None, high: str | None) -> None:
    ends = [None if end is None else Decimal(end) for end in (low, high)]
    assert lab(PATIENT, observation(referenceRange=given)).range == ReferenceRange(ends[0], ends[1], "mmol/L")


@pytest.mark.parametrize(
    "given",
    [
        [limits(1.0, 0.7)],
        [limits(0.7, 1.0, "furlong")],
        [{"low": quantity(0.7, "mmol/L"), "high": quantity(2.4, "mg/dL")}],
        [limits(0.5, 0.9, appliesTo=MALE)],
        [limits(0.5, 0.9, **CHILD)],
        [limits(0.5, 0.9, **OLD)],
        [{"text": "<145 mg/dL\n"}],
        "0.7-1.0",
    ],
)
def test_no_range_rather_than_a_wrong_one(given: object) -> None:
    assert lab(PATIENT, observation(referenceRange=given)).range is None


@pytest.mark.parametrize(
    ("interpretation", "flag"),
    [
        ([concept(INTERPRETATION, "LL")], "L"),
        (concept(INTERPRETATION, "H"), "H"),
        ([{"text": "n"}], "N"),
        ([concept("urn:x", "odd"), concept(SNOMED, "281300000")], "L"),
        ("H", "H"),
        ([5], ""),
    ],
)
def test_the_flag_of_the_laboratory(interpretation: object, flag: str) -> None:
    assert lab(observation(interpretation=interpretation)).flag == flag


# ---- panels ---------------------------------------------------------------------------------------------------------


def test_each_component_is_a_result_of_its_own() -> None:
    found = read(
        observation(
            code={"text": "Electrolytes"},
            valueQuantity=None,
            component=[
                {
                    "code": concept(LOINC, "2601-3"),
                    "valueQuantity": quantity(0.5, "mmol/L"),
                    "referenceRange": [limits(0.7, 1.0)],
                },
                {"code": concept(LOINC, "2823-3"), "valueString": "3,1 mmol/L"},
                {"code": concept(LOINC, "99999-9"), "valueString": "x"},
                "odd",
            ],
        )
    )
    assert [(r.analyte, r.value, r.range is not None) for r in found.labs] == [
        (Analyte.SERUM_MAGNESIUM, Decimal("0.5"), True),
        (Analyte.POTASSIUM, Decimal("3.1"), False),
    ]
    assert issues(found) == []


def test_a_component_without_a_flag_has_that_of_the_whole() -> None:
    part = {"code": concept(LOINC, "2601-3"), "valueQuantity": quantity(0.5, "mmol/L")}
    flagged = [concept(INTERPRETATION, "H"), concept("urn:x", "HEM")]
    found = lab(observation(code={"text": "Panel"}, valueQuantity=None, interpretation=flagged, component=[part]))
    assert (found.flag, found.haemolysed) == ("H", True)


@pytest.mark.parametrize(
    "members", [{"hasMember": [{"reference": "Observation/o2"}]}, {"component": [{"code": {"text": "x"}}]}]
)
@pytest.mark.parametrize("explain", [True, False])
def test_a_panel_without_a_value_is_no_result(members: Json, explain: bool) -> None:
    panel = observation(id="panel", valueQuantity=None, **members)
    found = read(panel, observation(id="o2"), explain=explain)
    assert [result.reference for result in found.labs] == ["Observation/o2"]
    said = ["Observation/panel: A panel without a value of its own: its members are read."]
    assert issues(found) == (said if explain else [])


# ---- haemolysis -----------------------------------------------------------------------------------------------------


def index(**members: object) -> Json:
    return {"component": [{"code": {"text": "Hemolysis index"}, **members}]}


@pytest.mark.parametrize(
    ("members", "haemolysed"),
    [
        ({}, False),
        ({"note": [{"text": "Specimen haemolysed"}]}, True),
        ({"note": [{"text": "Not haemolysed"}]}, False),
        ({"note": {"text": "Проба с гемолизом"}}, True),
        ({"comment": "slightly hemolyzed"}, True),
        ({"interpretation": [concept("urn:x", "HEM")]}, True),
        (
            {
                "specimen": {"reference": "#s"},
                "contained": [{"resourceType": "Specimen", "id": "s", "condition": [concept("urn:x", "HEM")]}],
            },
            True,
        ),
        ({"specimen": {"reference": "Specimen/s"}}, True),
        (index(valueString="3+"), True),
        (index(valueString="none"), False),
        (index(valueString="0"), False),
        (index(valueString="нет"), False),
        (index(valueCodeableConcept={"text": "Moderate"}), True),
        (index(valueQuantity=quantity(120, "mg/dL"), referenceRange=[limits(high=50)]), True),
        (index(valueQuantity=quantity(20, "mg/dL"), referenceRange=[limits(high=50)]), False),
        (index(valueQuantity=quantity(120, "mg/dL"), interpretation=[concept(INTERPRETATION, "N")]), False),
        (index(valueInteger=0), False),
    ],
)
def test_haemolysis_said_in_any_way(members: Json, haemolysed: bool) -> None:
    specimen = {"resourceType": "Specimen", "id": "s", "note": [{"text": "haemolysis +++"}]}
    assert lab(specimen, observation(**members)).haemolysed is haemolysed


def test_an_index_without_a_limit_is_named_and_not_judged() -> None:
    found = read(observation(**index(valueQuantity=quantity(120, "mg/dL"))))
    assert [result.haemolysed for result in found.labs] == [False]
    assert issues(found) == ["Observation/o1: Haemolysis index without a limit: not judged."]


@pytest.mark.parametrize("explain", [True, False])
def test_a_haemolysed_original_and_its_clean_repeat_are_both_readable(explain: bool) -> None:
    found = read(observation(id="a", note=[{"text": "haemolysed"}]), observation(id="b"), explain=explain)
    assert sorted((r.reference, r.haemolysed, r.problem) for r in found.labs) == [
        ("Observation/a", True, None),
        ("Observation/b", False, None),
    ]


# ---- versions -------------------------------------------------------------------------------------------------------


def version(number: int, value: float, **members: Any) -> Json:
    meta = {"versionId": str(number), "lastUpdated": f"2025-06-15T09:{number:02}:00Z"}
    return observation(valueQuantity=quantity(value, "mmol/L"), meta=meta, **members)


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 3, 1)])
def test_of_a_chain_of_corrections_the_last_version_counts(order: tuple[int, ...]) -> None:
    chain = {
        1: version(1, 0.9, status="preliminary"),
        2: version(2, 0.8, status="final"),
        3: version(3, 0.5, status="corrected"),
    }
    found = lab(*(chain[number] for number in order))
    assert (found.value, found.status) == (Decimal("0.5"), "corrected")


def test_a_result_withdrawn_later_is_withdrawn() -> None:
    assert lab(version(1, 0.5), version(2, 0.5, status="entered-in-error")).problem is Problem.STATUS


def test_copies_that_differ_in_their_meta_only_are_one() -> None:
    assert len(read(version(1, 0.5), version(2, 0.5), observation(id="o2")).labs) == 2


def test_without_versions_a_correction_replaces_the_original() -> None:
    found = lab(observation(), observation(status="corrected", valueQuantity=quantity(0.5, "mmol/L")))
    assert found.value == Decimal("0.5")


def test_results_without_an_id_are_all_kept() -> None:
    assert len(read(observation(id=None), observation(id=None)).labs) == 2
