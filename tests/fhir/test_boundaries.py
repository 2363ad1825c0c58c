"""At, below and above the boundaries of the readers, where a slip of one sign would go unseen."""

from __future__ import annotations

from decimal import Decimal

import pytest

from service.fhir import primitives
from service.fhir.decode import _COUNTED_BYTES, has_duplicate_members
from service.fhir.paging import is_enough
from service.logic.model import Problem
from tests.fhir.charts import (
    NOW,
    SITE,
    Json,
    concept,
    drug,
    issues,
    lab,
    magnesium,
    medication,
    observation,
    quantity,
    read,
)

# NOW is 2025-06-15T10:00:00Z.


@pytest.mark.parametrize(
    ("taken", "problem"),
    [
        ("2025-06-15", None),  # today, without a time: it may have been before this moment
        ("2025-06-15T10:00:00Z", None),
        ("2025-06-15T10:00:01Z", Problem.FUTURE),
        ("2025-06-16", Problem.FUTURE),
        ("2025-06-14", None),
        ("2025-06", Problem.NO_TIME),
        ("2025", Problem.NO_TIME),
        ("2025-07", Problem.NO_TIME),
        ("20250615", None),
        ("20250615090000", None),
        ("202506150900+0000", None),
        ("20250615110000", Problem.FUTURE),
        ("2025-06-15T10:00:00+01:00[Europe/Berlin]", None),
        ("2025-06-15T12:00:00+01:00[Europe/Berlin]", Problem.FUTURE),
        ("15.06.2025", Problem.NO_TIME),
        ("202506", Problem.NO_TIME),
        ("20251340", Problem.NO_TIME),
        ("17991231", Problem.NO_TIME),
    ],
)
@pytest.mark.parametrize("explain", [True, False])
def test_the_time_of_a_result(taken: str, problem: Problem | None, explain: bool) -> None:
    assert lab(observation(effectiveDateTime=taken), explain=explain).problem is problem


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({}, "No time of collection: never current."),
        ({"effectiveDateTime": "soon"}, "A time was sent that is not readable: never current."),
        ({"effectivePeriod": {"start": "soon"}}, "A time was sent that is not readable: never current."),
        ({"issued": "soon"}, "A time was sent that is not readable: never current."),
        ({"effectiveDateTime": "2025-06"}, "Only its month or year is stated: never current."),
        ({"issued": "2025-06-15T09:00:00Z"}, "No time of collection; the time of issue was used."),
        (
            {"effectiveDateTime": "soon", "issued": "2025-06-15T09:00:00Z"},
            "Its time of collection is not readable; the time of issue was used.",
        ),
        ({"effectiveDateTime": "2025-06-15T09:00"}, "Time without a zone; read in the site's zone."),
        ({"effectiveDateTime": "2025-06-15"}, ""),
        ({"effectiveDateTime": "2025-06-15T09:00Z"}, ""),
        ({"effectiveDateTime": "2025-06-15T09:00+00:00"}, ""),
        ({"effectiveDateTime": "2025-06-15T09:00+00:00[Etc/UTC]"}, ""),
    ],
)
def test_what_is_said_of_a_time(members: Json, said: str) -> None:
    found = read(observation(**({"effectiveDateTime": None} | members)))
    assert issues(found) == ([f"Observation/o1: {said}"] if said else [])


TIMES = {
    "0001-06-15T10:00Z": False, "0002-06-15T10:00Z": True, "9998-06-15T10:00Z": True, "9999-06-15T10:00Z": False,
    "1799-06-15": False, "1800-06-15": True, "2400-06-15": True, "2401-06-15": False,
    "2025-06-15T09:00:00Z" + " " * 40: True, "2025-06-15T09:00:00Z" + " " * 41: False,
}  # fmt: skip


@pytest.mark.parametrize(("text", "read_as"), TIMES.items())
def test_years_and_lengths_that_are_times(text: str, read_as: bool) -> None:
    assert (primitives.when(text, SITE.zone) is not None) is read_as


SIGNS = {
    "<": "<",
    "<=": "<=",
    "≤": "<=",
    ">": ">",
    ">=": ">=",
    "≥": ">=",
    "=": "",
    "": "",
    "<>": None,
    "ad": None,
    "~": None,
}


@pytest.mark.parametrize(("sign", "comparator"), SIGNS.items())
def test_comparators(sign: str, comparator: str | None) -> None:
    found = read(observation(valueQuantity={"value": 0.62, "unit": "mmol/L", "comparator": sign}))
    (result,) = found.labs
    assert (result.problem is None, result.comparator) == (comparator is not None, comparator or "")
    said = [f"Observation/o1: The comparator {sign} is not understood: not interpreted."]
    assert issues(found) == (said if comparator is None else [])


@pytest.mark.parametrize(
    ("text", "value", "comparator", "said"),
    [
        ("1,26 mmol/L", "1.26", "", ""),
        ("= 0,62 ммоль/л", "0.62", "", ""),
        ("≤0.4 mmol/L", "0.4", "<=", ""),
        ("۰٫۶۲ mmol/L", "0.62", "", ""),
        (
            "1.260 mmol/L",
            None,
            "",
            "The number 1.260 can be read in two ways (decimals or thousands): not interpreted.",
        ),
        (
            "1,260 ммоль/л",
            None,
            "",
            "The number 1,260 can be read in two ways (decimals or thousands): not interpreted.",
        ),
        ("0.620 mmol/L", "0.620", "", ""),
        ("about 0.62 mmol/L", None, "", "No numeric value."),
    ],
)
def test_a_value_in_words(text: str, value: str | None, comparator: str, said: str) -> None:
    found = read(observation(valueQuantity=None, valueString=text))
    (result,) = found.labs
    assert (result.reported.value if result.reported else None) == (None if value is None else Decimal(value))
    assert result.comparator == comparator
    assert issues(found) == ([f"Observation/o1: {said}"] if said else [])


def test_a_double_is_told_in_its_short_spelling() -> None:
    found = lab(observation(valueQuantity={"value": 1.2000000000000002, "unit": "mmol/L"}))
    assert (str(found.value), found.raw) == ("1.2", "1.2")


@pytest.mark.parametrize(
    ("above", "problem"), [("-0.01", None), ("0", Problem.IMPOSSIBLE_RANGE), ("0.01", Problem.IMPOSSIBLE_RANGE)]
)
def test_a_range_that_cannot_be_one_in_its_unit(above: str, problem: Problem | None) -> None:
    low = SITE.knowledge.value("mg-range-impossible") + Decimal(above)
    stated = {"low": quantity(float(low), "mmol/L"), "high": quantity(float(low) + 1, "mmol/L")}
    assert lab(observation(referenceRange=[stated])).problem is problem


def test_one_usable_result_is_read_however_old_and_though_newer_ones_are_of_no_use() -> None:
    albumin = {"code": concept("http://loinc.org", "1751-7"), "valueQuantity": quantity(40, "g/L")}
    days = ("2025-06-12", "2025-06-11", "2010-01-01", "2005-01-01")
    listed = [observation(id=day, effectiveDateTime=f"{day}T09:00:00Z", **albumin) for day in days]
    for useless in listed[:2]:
        useless["valueQuantity"] = quantity(40)  # no unit
    found = read(*reversed(listed), explain=False)
    assert {result.reference for result in found.labs} == {f"Observation/{day}" for day in days[:3]}


# ---- doses ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("repeat", "per_day"),
    [
        ({"frequency": 2, "period": 1, "periodUnit": "d"}, "2"),
        ({"frequency": 2, "period": 0, "periodUnit": "d"}, None),
        ({"frequency": 2, "period": 1, "periodUnit": "fortnight"}, None),
        ({"frequency": 0, "period": 1, "periodUnit": "d"}, None),
        ({"frequency": 1, "frequencyMax": 3, "period": 1, "periodUnit": "d"}, "3"),
        ({"period": 6, "periodUnit": "h"}, "4"),
        ({"period": 6}, None),
        ({"timeOfDay": ["08:00", "20:00"]}, "2"),
        ({}, None),
    ],
)
def test_how_often(repeat: Json, per_day: str | None) -> None:
    found = drug(magnesium("Magnesium oxide", dosageInstruction=[{"timing": {"repeat": repeat}}]))
    assert found.doses_per_day == (None if per_day is None else Decimal(per_day))


@pytest.mark.parametrize("value", [0, None])
def test_a_maximum_of_nothing_is_none(value: int | None) -> None:
    most = {"numerator": {"value": value, "unit": "mg"}, "denominator": quantity(1, "d")}
    given = {"doseAndRate": [{"doseQuantity": quantity(400, "mg")}], "maxDosePerPeriod": most, "asNeededBoolean": True}
    assert drug(magnesium("Magnesium oxide", dosageInstruction=[given])).most_per_day is None


@pytest.mark.parametrize(
    ("doses", "mg"),
    [
        ([quantity(50, "mg/kg"), quantity(4000, "mg")], 4000),
        ([quantity(4000, "mg"), quantity(50, "mg/kg")], 4000),
        ([quantity(2, "g"), quantity(4000, "mg")], 4000),
        ([quantity(4000, "mg"), quantity(2, "g")], 4000),
        ([quantity(50, "mg/kg")], None),
    ],
)
def test_of_an_ordered_and_a_calculated_dose_the_mass(doses: list[Json], mg: int | None) -> None:
    given = [{"doseAndRate": [{"doseQuantity": dose} for dose in doses], "route": {"text": "IV"}}]
    assert drug(magnesium("Magnesium sulfate", dosageInstruction=given)).ingredients[0].mg_per_dose == mg


COUNTING = (
    *(
        "{tbl}",
        "{pill}",
        "{Pill}",
        "{pills}",
        "pill",
        "{capsule}",
        "{Cap}",
        "{caplet}",
        "{softgel}",
        "{piece}",
        "{each}",
        "[each]",
    ),
    *(
        "EA",
        "{ea}",
        "{lozenge}",
        "{gummy}",
        "{sachet}",
        "{packet}",
        "{dragee}",
        "Dragée",
        "{Stk}",
        "Stück",
        "{count}",
        "{item}",
    ),
    *("{unit}", "{dose}", "{#}", "#", "1", "", "таб", "драже", "шт", "قرص", "عدد"),
)


@pytest.mark.parametrize("unit", COUNTING)
def test_two_of_whatever_is_counted_are_two_tablets(unit: str) -> None:
    given = [{"doseAndRate": [{"doseQuantity": quantity(2, unit)}], "route": {"text": "oral"}}]
    assert drug(magnesium("Magnesium oxide 400 mg", dosageInstruction=given)).ingredients[0].mg_per_dose == 800


@pytest.mark.parametrize(
    "unit", ["mL", "{drop}", "{puff}", "{application}", "{spoon}", "%", "h", "mmol", "heap", "step"]
)
def test_what_is_no_count_of_tablets_is_not_taken_for_one(unit: str) -> None:
    given = [{"doseAndRate": [{"doseQuantity": quantity(2, unit)}], "route": {"text": "oral"}}]
    assert drug(magnesium("Magnesium oxide 400 mg", dosageInstruction=given)).ingredients[0].mg_per_dose != 800


def test_only_the_magnesium_of_a_product_has_an_amount() -> None:
    parts = [
        {
            "itemCodeableConcept": {"text": name},
            "strength": {"numerator": quantity(mg, "mg"), "denominator": quantity(1, "{tbl}")},
        }
        for name, mg in (("calcium carbonate", 600), ("magnesium hydroxide", 300))
    ]
    product = {"resourceType": "Medication", "id": "p", "ingredient": parts}
    given = [{"doseAndRate": [{"doseQuantity": quantity(2, "{tbl}")}]}]
    found = drug(
        product,
        medication(
            medicationCodeableConcept=None, medicationReference={"reference": "Medication/p"}, dosageInstruction=given
        ),
    )
    assert {item.name: item.mg_per_dose for item in found.ingredients} == {
        "calcium carbonate": None,
        "magnesium hydroxide": 600,
    }


# ---- charts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encounter", "over"),
    [
        ({"status": "finished"}, True),
        ({"status": "in-progress"}, False),
        ({"status": "in-progress", "period": {"end": "2025-06-15T10:00:00Z"}}, True),
        ({"status": "in-progress", "period": {"end": "2025-06-15T10:00:01Z"}}, False),
        ({"status": "in-progress", "period": {"end": "2025-06-15"}}, False),
        ({"status": "in-progress", "period": {"end": "2025-06-14"}}, True),
    ],
)
def test_a_diagnosis_of_a_stay_that_is_over(encounter: Json, over: bool) -> None:
    stay = {"resourceType": "Encounter", "id": "e", "subject": {"reference": "Patient/p"}, **encounter}
    diagnosis = {
        "resourceType": "Condition", "id": "c", "subject": {"reference": "Patient/p"},
        "code": concept("http://hl7.org/fhir/sid/icd-10", "N17.9"), "encounter": {"reference": "Encounter/e"},
    }  # fmt: skip
    (found,) = read(stay, diagnosis).conditions
    assert found.of_finished_encounter is over


@pytest.mark.parametrize(
    ("count", "times", "enough"),
    [
        (2, ["2025-06-15", "2025-06-14"], True),
        (2, ["2025-06-15", "2025-06-15"], True),
        (2, ["2025-06-14", "2025-06-15"], False),
        (3, ["2025-06-15", "2025-06-14"], False),
        (1, ["2025-06-15"], False),  # one of one proves no order
        (1, ["2025-06-15", "2025-06-14"], True),
        (2, ["2025-06-15", None], False),
    ],
)
def test_whether_a_page_is_enough(count: int, times: list[str | None], enough: bool) -> None:
    assert is_enough(f"Observation?_sort=-date&_count={count}", times) is enough


@pytest.mark.parametrize("size", [10, _COUNTED_BYTES - 40, _COUNTED_BYTES, _COUNTED_BYTES + 40])
@pytest.mark.parametrize("mark", [":", " :", "\n:", "\t: "])
def test_a_member_twice_is_found_in_bodies_of_any_length_and_layout(size: int, mark: str) -> None:
    filler = '"filler"' + mark + '"' + "x" * size + '"'
    assert has_duplicate_members(f'{{{filler},"a"{mark}1,"a"{mark}2}}'.encode())
    assert not has_duplicate_members(f'{{{filler},"a"{mark}1,"b"{mark}"a"}}'.encode())
    assert has_duplicate_members(f'{{"t"{mark}"\\u0022:",{filler},"a"{mark}1,"a"{mark}2}}'.encode())


def test_now_is_what_the_cases_say() -> None:
    assert NOW.isoformat() == "2025-06-15T10:00:00+00:00"


# ---- values ---------------------------------------------------------------------------------------------------------


EDGES = [(0, "0", True), (1, "0", True), (0, "-0.001", False), (1, "0.001", False)]


@pytest.mark.parametrize(("side", "beyond", "possible"), EDGES)
def test_what_is_possible_at_its_edges(side: int, beyond: str, possible: bool) -> None:
    edge = next(iter(SITE.knowledge.parameters["mg-plausible"].interval.values()))[side] + Decimal(beyond)
    found = lab(observation(valueQuantity={"value": float(edge), "unit": "mmol/L"}))
    assert found.problem is (None if possible else Problem.IMPLAUSIBLE)


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"valueQuantity": None, "valueString": "0.62 kg"}, Problem.UNKNOWN_UNIT),  # a unit, of something else
        ({"valueQuantity": None, "valueString": "0.62 furlong"}, Problem.UNKNOWN_UNIT),
        ({"valueQuantity": None, "valueString": "0.62"}, Problem.NO_UNIT),
        ({"valueQuantity": quantity(0.62, "m" * 60, "mmol/L")}, None),
        ({"valueQuantity": quantity(0.62, "m" * 61, "mmol/L")}, Problem.UNKNOWN_UNIT),
        ({"valueQuantity": quantity(0.62, "mmol/L", "m" * 61)}, Problem.UNKNOWN_UNIT),
    ],
)
def test_units(members: Json, problem: Problem | None) -> None:
    assert lab(observation(**members)).problem is problem


def test_a_timed_collection_begins_with_its_first_day() -> None:
    found = lab(
        observation(effectiveDateTime=None, effectivePeriod={"start": "2025-06-14", "end": "2025-06-15T08:00:00Z"})
    )
    assert found.collected_from is not None
    assert found.collected_from.isoformat() == "2025-06-14T00:00:00+00:00"


DURATIONS = [(4, "h", 240), (4, "fortnight", None), (None, "h", None), (0, "h", None)]


@pytest.mark.parametrize(("duration", "unit", "minutes"), DURATIONS)
def test_how_long_a_dose_runs(duration: int | None, unit: str, minutes: int | None) -> None:
    given = [{"timing": {"repeat": {"duration": duration, "durationUnit": unit}}, "route": {"text": "IV"}}]
    assert drug(magnesium("Magnesium sulfate", dosageInstruction=given)).duration_min == minutes


@pytest.mark.parametrize(
    ("text", "specimen", "used"),
    [
        ("Serum potassium", "SE:RUM", True),
        ("Potassium", "SE:RUM", False),
        ("Serum potassium", "Urine", False),
        ("Potassium", "Serum", True),
    ],
)
def test_a_specimen_that_is_not_understood(text: str, specimen: str, used: bool) -> None:
    held = {"resourceType": "Specimen", "id": "s", "type": {"text": specimen}}
    result = observation(code={"text": text}, specimen={"reference": "Specimen/s"}, valueQuantity=quantity(4, "mmol/L"))
    assert bool(read(held, result).labs) is used
