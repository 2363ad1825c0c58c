"""What kind of order a medication is (decision 14b): at set times, by a level, as needed; once or more."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.fhir.resources import Dosage
from service.fhir.schedule import kind_of_order
from service.logic.model import Schedule
from tests.fhir.charts import Json, drug, magnesium, medication, quantity

SCHEDULED, SCALE, AS_NEEDED, UNSTATED = Schedule.SCHEDULED, Schedule.SCALE, Schedule.AS_NEEDED, Schedule.UNSTATED
IV = {"route": {"text": "IV"}}
ORAL = {"route": {"text": "PO"}}


def repeat(**members: object) -> Json:
    return {"timing": {"repeat": members}}


def code(word: str) -> Json:
    return {"timing": {"code": {"coding": [{"code": word}]}}}


def said(words: str) -> Json:
    return {"text": words}


INTO_A_VEIN: list[tuple[Json, Schedule, bool]] = [
    ({}, SCALE, False),
    (said("2 g / 50 mL Premix Bag"), SCALE, False),
    (code("ASDIR"), SCALE, False),
    (repeat(boundsPeriod={"end": "2025-07-01"}), SCALE, False),
    (repeat(frequency=1, period=6, periodUnit="h"), SCHEDULED, False),
    (repeat(period=12, periodUnit="h"), SCHEDULED, False),
    (repeat(timeOfDay=["08:00"]), SCHEDULED, False),
    (repeat(when=["MORN"]), SCHEDULED, False),
    (repeat(dayOfWeek=["mon"]), SCHEDULED, False),
    (repeat(duration=4, durationUnit="h"), SCHEDULED, False),
    (repeat(count=1), SCHEDULED, True),
    (repeat(count=2), SCHEDULED, False),
    (repeat(count=1, countMax=3), SCHEDULED, False),
    (repeat(count=1, frequency=1, period=1, periodUnit="d"), SCHEDULED, True),
    ({"timing": {"event": ["2025-06-15T12:00:00Z"]}}, SCHEDULED, True),
    ({"timing": {"event": ["2025-06-15T12:00:00Z", "2025-06-16T12:00:00Z"]}}, SCHEDULED, False),
    (code("ONCE"), SCHEDULED, True),
    (code("ONCE MR1"), SCHEDULED, True),
    (code("1X"), SCHEDULED, True),
    (code("X1"), SCHEDULED, True),
    (code("STAT"), SCHEDULED, True),
    (code("Q6H"), SCHEDULED, False),
    (code("INFUSION"), SCHEDULED, False),
    (code("Q6H:PRN"), AS_NEEDED, False),
    (code("ONCE:PRN"), AS_NEEDED, True),
    (code("PRN"), AS_NEEDED, False),
    ({"rateQuantity": quantity(1, "g/h")}, SCHEDULED, False),
    ({"doseAndRate": [{"rateQuantity": quantity(1, "g/h")}]}, SCHEDULED, False),
    ({"rateRatio": {"numerator": quantity(1, "g"), "denominator": quantity(1, "h")}}, SCHEDULED, False),
    (said("1 g/h"), SCHEDULED, False),
    (said("2 g over 2 hours"), SCHEDULED, False),
    (said("2 г за 20 мин"), SCHEDULED, False),
    (said("۲ گرم طی ۲۰ دقیقه"), SCHEDULED, False),
    (said("2 g once"), SCHEDULED, True),
    (said("2 g single dose"), SCHEDULED, True),
    (said("2 г однократно"), SCHEDULED, True),
    (said("۲ گرم یک بار"), SCHEDULED, True),
    (said("2 g einmalig"), SCHEDULED, True),
    (said("2 g once daily"), SCHEDULED, False),
    (said("2 g once a day"), SCHEDULED, False),
    (said("2 g once every 24 hours"), SCHEDULED, False),
    (said("2 г 1 раз в сутки"), SCHEDULED, False),
    (said("۲ گرم یک بار در روز"), SCHEDULED, False),
    (said("2 g every 8 hours"), SCHEDULED, False),
    (said("magnesium sliding scale"), SCALE, False),
    (said("per electrolyte replacement protocol"), SCALE, False),
    (said("2 g if Mg < 1.8, 4 g if Mg < 1.2") | repeat(frequency=1, period=1, periodUnit="d"), SCALE, False),
    (said("2 g if magnesium level is below 0.7 mmol/L"), SCALE, False),
    (said("2 g when serum magnesium less than 1.8") | {"asNeededBoolean": True}, SCALE, False),
    (said("2 г при уровне магния ниже 0,7"), SCALE, False),
    (said("2 г если магний < 0,7"), SCALE, False),
    (said("۲ گرم اگر منیزیم کمتر از ۱٫۸"), SCALE, False),
    (said("wenn Mg < 0,7"), SCALE, False),
    (said("for mg deficiency") | code("Q6H"), SCHEDULED, False),
    (said("for 400 mg less than usual") | code("Q6H"), SCHEDULED, False),
    (said("per pre-eclampsia protocol, 1 g/h"), SCHEDULED, False),
    ({"asNeededBoolean": True}, AS_NEEDED, False),
    ({"asNeededBoolean": False}, SCALE, False),
    ({"asNeeded": True}, AS_NEEDED, False),
    ({"asNeededFor": [{"text": "cramps"}]}, AS_NEEDED, False),
    ({"asNeededCodeableConcept": {"text": "cramps"}} | repeat(frequency=4, period=1, periodUnit="d"), AS_NEEDED, False),
    (said("2 g PRN"), AS_NEEDED, False),
    (said("2 g as needed"), AS_NEEDED, False),
    (said("2 г при необходимости"), AS_NEEDED, False),
    (said("2 г по требованию"), AS_NEEDED, False),
    (said("۲ گرم در صورت نیاز"), AS_NEEDED, False),
    (said("2 g bei Bedarf"), AS_NEEDED, False),
    (said("2 g twice daily, not as needed"), SCHEDULED, False),
    ({"patientInstruction": "take if needed"}, AS_NEEDED, False),
    ({"additionalInstruction": [{"text": "as required"}]}, AS_NEEDED, False),
]  # fmt: skip


@pytest.mark.parametrize(("dosage", "kind", "once"), INTO_A_VEIN, ids=range(len(INTO_A_VEIN)))
def test_magnesium_into_a_vein(dosage: Json, kind: Schedule, once: bool) -> None:
    found = drug(magnesium("Magnesium sulfate", dosageInstruction=[dosage | IV]))
    assert (found.schedule, found.once) == (kind, once)


# Without any time: by product and route.
UNTIMED: list[tuple[str, Json, Schedule]] = [
    ("Magnesium sulfate", IV, SCALE),
    ("Magnesium sulfate", {}, SCALE),  # nobody swallows it unsaid
    ("Magnesium sulfate", ORAL, SCHEDULED),
    ("Magnesium sulfate", {"route": {"text": "IM"}}, UNSTATED),
    ("Magnesium oxide 400 mg", ORAL, SCHEDULED),
    ("Magnesium oxide 400 mg", {}, SCHEDULED),
    ("Magnesium citrate", {"route": {"text": "NG"}}, SCHEDULED),
    ("Magnesium chloride", {}, UNSTATED),
    ("furosemide", ORAL, SCHEDULED),
    ("furosemide", IV, UNSTATED),
    ("furosemide", {}, UNSTATED),
]


@pytest.mark.parametrize(("name", "dosage", "kind"), UNTIMED)
@pytest.mark.parametrize("kind_of_resource", ["MedicationRequest", "MedicationStatement"])
def test_without_any_time(name: str, dosage: Json, kind: Schedule, kind_of_resource: str) -> None:
    member = "dosageInstruction" if kind_of_resource == "MedicationRequest" else "dosage"
    assert drug(magnesium(name, kind_of_resource, **{member: [dosage]})).schedule is kind


def test_a_request_without_any_dosage() -> None:
    assert drug(magnesium("Magnesium sulfate")).schedule is SCALE
    assert drug(magnesium("Magnesium oxide")).schedule is SCHEDULED


@pytest.mark.parametrize(
    ("dosages", "kind", "once"),
    [
        ([code("ONCE"), code("ONCE")], SCHEDULED, True),
        ([code("ONCE"), code("Q6H")], SCHEDULED, False),
        ([code("Q6H"), {"asNeededBoolean": True}], SCHEDULED, False),
        ([{"asNeededBoolean": True}, said("if Mg < 1.8")], SCALE, False),
        ([code("ONCE") | {"sequence": 1}, code("Q6H") | {"sequence": 2}], SCHEDULED, True),
    ],
)
def test_of_several_dosages(dosages: list[Json], kind: Schedule, once: bool) -> None:
    found = drug(magnesium("Magnesium sulfate", dosageInstruction=[dosage | IV for dosage in dosages]))
    assert (found.schedule, found.once) == (kind, once)


def test_the_note_of_an_order_counts() -> None:
    order = magnesium("Magnesium sulfate", dosageInstruction=[code("Q6H") | IV], note=[{"text": "sliding scale"}])
    assert drug(order).schedule is SCALE


def test_a_dose_that_was_given_is_on_no_condition() -> None:
    given_dose = magnesium("Magnesium sulfate", "MedicationAdministration", dosage={"text": "if Mg < 1.8"} | IV)
    assert drug(given_dose).schedule is SCHEDULED


MOST: list[tuple[Json, str | None]] = [
    ({}, None),
    (repeat(frequency=1, period=6, periodUnit="h"), "4"),
    (repeat(frequency=1, frequencyMax=2, period=1, periodUnit="d"), "2"),
    ({"maxDosePerPeriod": {"numerator": quantity(1200, "mg"), "denominator": quantity(24, "h")}}, "3"),
    ({"maxDosePerPeriod": {"numerator": quantity(1.2, "g"), "denominator": quantity(1, "d")}}, "3"),
    ({"maxDosePerPeriod": [{"numerator": quantity(800, "mg"), "denominator": quantity(1, "d")}]}, "2"),
    ({"maxDosePerPeriod": {"numerator": quantity(2, "{dose}"), "denominator": quantity(12, "h")}}, "4"),
    ({"maxDosePerPeriod": {"numerator": quantity(4), "denominator": quantity(1, "h")}}, None),
    ({"maxDosePerPeriod": {"numerator": quantity(4, "mg"), "denominator": quantity(0, "h")}}, None),
    ({"maxDosePerPeriod": {"numerator": quantity(4, "mg")}}, None),
    (said("max 3 doses per day"), "3"),
    (said("up to 3 times a day"), "3"),
    (said("не более 3 раз в сутки"), "3"),
    (said("حداکثر ۳ بار در روز"), "3"),
]


@pytest.mark.parametrize(("dosage", "most"), MOST, ids=range(len(MOST)))
def test_the_most_of_what_is_taken_as_needed(dosage: Json, most: str | None) -> None:
    whole: Json = {"doseAndRate": [{"doseQuantity": quantity(400, "mg")}], "asNeededBoolean": True} | dosage
    found = drug(magnesium("Magnesium oxide", dosageInstruction=[whole]))
    assert found.doses_per_day is None
    assert found.most_per_day == (None if most is None else Decimal(most))


def test_when_it_was_ordered_and_which_request_a_dose_fulfils() -> None:
    ordered = drug(medication(authoredOn="2025-06-14T10:00:00Z", dosageInstruction=[said("40 mg"), said("PO")]))
    assert ordered.ordered_at is not None
    assert (ordered.ordered_at.start.isoformat(), ordered.text) == ("2025-06-14T10:00:00+00:00", "40 mg; PO")
    request = {"reference": "https://ehr.example/fhir/MedicationRequest/r1/_history/2"}
    for member in ("request", "prescription"):
        dose = drug(medication("MedicationAdministration", status="completed", **{member: request}))
        assert (dose.request, dose.ordered_at) == ("MedicationRequest/r1", None)


PIECES = [
    "2 g", "if Mg < 1.8", "once", "daily", "twice", "PRN", "q6h", "over 20 min", "max", "3 times", "/", "day", "0", "۳",
    "sliding scale", "при", "магния", "ниже", "раз", "в сутки", "однократно", "در صورت نیاز", "بار", "روز", "هر",
]  # fmt: skip
WORDS = st.lists(st.sampled_from(PIECES) | st.text(max_size=6), max_size=12).map(" ".join)


@given(WORDS, st.sampled_from(Schedule))
def test_any_words_have_a_kind(words: str, untimed: Schedule) -> None:
    kind, once = kind_of_order(Dosage(text=words), words, untimed)
    assert kind in Schedule
    assert not (once and kind is UNSTATED)


@given(WORDS)
def test_any_words_are_read_in_an_order(words: str) -> None:
    found: Any = drug(magnesium("Magnesium sulfate", dosageInstruction=[{"text": words} | IV]))
    assert found.doses_per_day is None or found.doses_per_day > 0
    assert found.most_per_day is None or found.most_per_day > 0
