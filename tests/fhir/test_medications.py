"""The four medication resources -> Medication: which drug, taken or not, how much, how fast."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from service.logic.model import Exposure
from tests.fhir.charts import ATC, SNOMED, Json, concept, drug, issues, magnesium, medication, quantity, read

UUID = "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0"
BY_REFERENCE: Json = {"medicationCodeableConcept": None}
FUROSEMIDE: Json = {"resourceType": "Medication", "id": "f", "code": concept(ATC, "C03CA01", "furosemide")}


# ---- which drug -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "contained", "url"),
    [
        ("#f", True, ""),
        ("Medication/f", False, ""),
        ("/Medication/f", False, ""),
        ("Medication/f/_history/3", False, ""),
        ("https://ehr.example/fhir/Medication/f", False, ""),
        ("https://ehr.example/fhir/Medication/f", False, "https://ehr.example/fhir/Medication/f"),
        (UUID, False, UUID),
    ],
)
def test_a_product_is_found_by_any_reference(reference: str, contained: bool, url: str) -> None:
    held = {"contained": [FUROSEMIDE]} if contained else {}
    request = medication(medicationReference={"reference": reference}, **BY_REFERENCE, **held)
    found = drug(*([] if contained else [FUROSEMIDE]), request, urls=[url])
    assert (found.reference, [item.name for item in found.ingredients]) == ("MedicationRequest/m1", ["furosemide"])


def test_a_product_that_is_not_there_is_known_by_its_display() -> None:
    request = medication(
        medicationReference={"reference": "Medication/x", "display": "Furosemide 40 mg"}, **BY_REFERENCE
    )
    assert (drug(request).recognised_by, drug(request).ingredients[0].name) == ("name", "furosemide")


@pytest.mark.parametrize(
    "members",
    [
        {"medication": {"concept": concept(ATC, "C03CA01")}},
        {"medication": {"reference": {"reference": "Medication/f"}}},
        {"medication": concept(ATC, "C03CA01")},
        {
            "medicationReference": {"reference": "#mix"},
            "contained": [
                {
                    "resourceType": "Medication",
                    "id": "mix",
                    "ingredient": [{"itemReference": {"reference": "Medication/f"}}],
                }
            ],
        },
        {
            "medicationReference": {"reference": "#mix"},
            "contained": [
                {
                    "resourceType": "Medication",
                    "id": "mix",
                    "ingredient": {"itemCodeableConcept": concept(ATC, "C03CA01")},
                }
            ],
        },
        {
            "medicationReference": {"reference": "#mix"},
            "contained": [
                {
                    "resourceType": "Medication",
                    "id": "mix",
                    "ingredient": [{"item": {"concept": {"text": "furosemide"}}}],
                }
            ],
        },
        {
            "medicationReference": {"reference": "#n"},
            "contained": [
                {
                    "resourceType": "Medication",
                    "id": "n",
                    "identifier": [{"system": "urn:drug-name", "value": "Furosemide"}],
                }
            ],
        },
    ],
)
def test_r5_spellings_mixtures_and_names_in_identifiers(members: Json) -> None:
    found = drug(FUROSEMIDE, medication(**BY_REFERENCE, **members))
    assert [item.name for item in found.ingredients] == ["furosemide"]


def test_a_mixture_of_itself_ends() -> None:
    mix = {
        "resourceType": "Medication",
        "id": "f",
        "ingredient": [{"itemReference": {"reference": "Medication/f"}}] * 2,
    }
    found = read(mix, medication(medicationReference={"reference": "Medication/f"}, **BY_REFERENCE))
    assert found.medications == ()


@pytest.mark.parametrize(
    ("members", "said"),
    [
        (
            {"medicationCodeableConcept": {"text": "Little pink pill"}},
            "Medication not recognised: not among the drugs that the rules know, or not identifiable.",
        ),
        ({"medicationCodeableConcept": None}, "A medication without code or name: it is not known what is taken."),
        (
            {"medicationCodeableConcept": "pill"},
            "Medication not recognised: not among the drugs that the rules know, or not identifiable.",
        ),
        ({"status": "entered-in-error"}, "Entered in error: not used."),
    ],
)
@pytest.mark.parametrize("explain", [True, False])
def test_what_is_not_known_is_named(members: Json, said: str, explain: bool) -> None:
    found = read(medication(**members), explain=explain)
    assert (found.medications, issues(found)) == ((), [f"MedicationRequest/m1: {said}"])


# ---- exposure -------------------------------------------------------------------------------------------------------

REPORTED: Json = {"intent": "plan", "reportedBoolean": True}


@pytest.mark.parametrize(
    ("kind", "members", "exposure"),
    [
        ("MedicationRequest", {}, Exposure.ACTIVE),
        ("MedicationRequest", {"intent": "order"}, Exposure.ACTIVE),
        ("MedicationRequest", {"intent": "plan"}, Exposure.UNKNOWN),
        ("MedicationRequest", REPORTED, Exposure.ACTIVE),
        ("MedicationRequest", {"intent": "proposal"}, Exposure.NOT_TAKEN),
        ("MedicationRequest", {"intent": "plan", "status": "completed"}, Exposure.ENDED),
        ("MedicationRequest", {"doNotPerform": True}, Exposure.NOT_TAKEN),
        ("MedicationRequest", {"status": "on-hold"}, Exposure.NOT_TAKEN),
        ("MedicationRequest", {"status": "stopped"}, Exposure.ENDED),
        ("MedicationRequest", {"status": "draft"}, Exposure.NOT_TAKEN),
        ("MedicationRequest", {"status": "unknown"}, Exposure.UNKNOWN),
        ("MedicationRequest", {"status": None}, Exposure.UNKNOWN),
        ("MedicationRequest", {"status": 5}, Exposure.UNKNOWN),
        ("MedicationStatement", {"taken": "n"}, Exposure.NOT_TAKEN),
        ("MedicationStatement", {"taken": "unk"}, Exposure.ACTIVE),
        ("MedicationStatement", {"status": "recorded"}, Exposure.ACTIVE),
        (
            "MedicationStatement",
            {"status": "recorded", "adherence": {"code": concept("urn:x", "not-taking")}},
            Exposure.NOT_TAKEN,
        ),
        ("MedicationStatement", {"status": "intended"}, Exposure.NOT_TAKEN),
        ("MedicationAdministration", {"status": "in-progress"}, Exposure.ACTIVE),
        ("MedicationAdministration", {"status": "not-done"}, Exposure.NOT_TAKEN),
        ("MedicationDispense", {"status": "completed"}, Exposure.UNKNOWN),
        (
            "MedicationDispense",
            {"status": "completed", "whenHandedOver": "2025-06-01", "daysSupply": quantity(30, "d")},
            Exposure.ACTIVE,
        ),
        (
            "MedicationDispense",
            {"status": "completed", "whenHandedOver": "2025-03-01", "daysSupply": quantity(30, "d")},
            Exposure.ENDED,
        ),
    ],
)
def test_taken_or_not(kind: str, members: Json, exposure: Exposure) -> None:
    found = read(medication(kind, **members))
    assert [item.exposure for item in found.medications] == [exposure]
    said = [f"{kind}/m1: It is not known whether this is taken: not counted as taken."]
    assert issues(found) == (said if exposure is Exposure.UNKNOWN else [])


@pytest.mark.parametrize(
    ("kind", "members", "start", "end"),
    [
        ("MedicationRequest", {"authoredOn": "2025-06-01"}, "2025-06-01", None),
        (
            "MedicationRequest",
            {
                "authoredOn": "2025-06-01",
                "dosageInstruction": [
                    {"timing": {"repeat": {"boundsPeriod": {"start": "2025-06-03", "end": "2025-06-10"}}}}
                ],
            },
            "2025-06-03",
            "2025-06-10",
        ),
        ("MedicationStatement", {"effectivePeriod": {"start": "2025-05-01"}}, "2025-05-01", None),
        ("MedicationStatement", {"effectiveDateTime": "2025-05-02"}, "2025-05-02", None),
        (
            "MedicationAdministration",
            {"status": "completed", "effectiveDateTime": "2025-06-14"},
            "2025-06-14",
            "2025-06-14",
        ),
        (
            "MedicationAdministration",
            {"status": "completed", "occurenceDateTime": "2025-06-14"},
            "2025-06-14",
            "2025-06-14",
        ),
        (
            "MedicationAdministration",
            {"occurrencePeriod": {"start": "2025-06-13", "end": "2025-06-14"}},
            "2025-06-13",
            "2025-06-14",
        ),
    ],
)
def test_since_when_and_until_when(kind: str, members: Json, start: str, end: str | None) -> None:
    found = drug(medication(kind, **members))
    days = [None if when is None else when.start.date().isoformat() for when in (found.start, found.end)]
    assert days == [start, end]


# ---- how much, how often --------------------------------------------------------------------------------------------


def dosage(value: object = None, unit: str = "", **members: Any) -> Json:
    """R4: the dose in `doseAndRate`."""
    given = {} if value is None else {"doseAndRate": [{"doseQuantity": quantity(value, unit)}]}
    return given | members


def times(frequency: object, period: object = 1, unit: str = "d", **members: object) -> Json:
    return {"timing": {"repeat": {"frequency": frequency, "period": period, "periodUnit": unit, **members}}}


DAILY, TWICE = times(1), times(2)


@pytest.mark.parametrize(
    ("given", "mg", "per_day"),
    [
        (dosage(400, "mg", **TWICE), "400", "2"),
        (dosage("0,4", "г", **TWICE), "400.0", "2"),
        (dosage(2, "tablet", **DAILY), "800", "1"),
        ({"doseQuantity": quantity(400, "mg"), **DAILY}, "400", "1"),  # STU3
        (
            {"doseAndRate": [{"doseRange": {"low": quantity(200, "mg"), "high": quantity(400, "mg")}}], **DAILY},
            "400",
            "1",
        ),
        ({"doseAndRate": [{"doseRange": {"low": quantity(200, "mg")}}], **DAILY}, "200", "1"),
        (dosage(400, "mg", **times(1, 8, "h")), "400", "3"),
        (dosage(400, "mg", timing={"repeat": {"period": 12, "periodUnit": "h"}}), "400", "2"),
        (dosage(400, "mg", timing={"repeat": {"timeOfDay": ["08:00", "20:00"]}}), "400", "2"),
        (dosage(400, "mg", timing={"repeat": {"when": ["MORN", "EVE"], "period": 1, "periodUnit": "d"}}), "400", "2"),
        (dosage(400, "mg", timing={"code": concept("urn:x", "TID")}), "400", "3"),
        ({"text": "400 mg three times daily"}, "400", "3"),
        ({"text": "по 400 мг 2 раза в сутки"}, "400", "2"),
        ({"text": "۴۰۰ mg دو بار در روز"}, "400", "2"),
        (dosage(400, "mg", **TWICE, asNeededBoolean=True), "400", None),
        (dosage(400, "mg", **TWICE, asNeededCodeableConcept={"text": "cramps"}), "400", None),
        ({"text": "400 mg twice daily as needed"}, "400", None),
        (dosage(400, "mg"), "400", None),
        (dosage(400, "furlong", **DAILY), None, "1"),
        ({"text": 5, "timing": "daily", "doseAndRate": "400 mg"}, None, None),
    ],
)
def test_one_dosage_by_mouth(given: Json, mg: str | None, per_day: str | None) -> None:
    found = drug(magnesium("Magnesium oxide 400 mg tablet", dosageInstruction=[given]))
    assert found.ingredients[0].mg_per_dose == (None if mg is None else Decimal(mg))
    assert found.doses_per_day == (None if per_day is None else Decimal(per_day))


@pytest.mark.parametrize(
    ("given", "a_day"),
    [
        ([dosage(400, "mg", **DAILY), dosage(400, "mg", **DAILY)], 800),
        ([dosage(1, "tablet", **DAILY), dosage(2, "tablet", **TWICE)], 2000),
        ([dosage(400, "mg", **DAILY, sequence=1), dosage(800, "mg", **DAILY, sequence=1)], 1200),
        ([dosage(400, "mg", **DAILY, sequence=1), dosage(800, "mg", **DAILY, sequence=2)], 800),  # issue 14, 9
        ([dosage(800, "mg", **DAILY, sequence=1), dosage(400, "mg", **DAILY, sequence=2)], 800),
        ([dosage(800, "mg", **DAILY, sequence="NaN"), dosage(400, "mg", **DAILY, sequence=2)], 800),
        ([dosage(800, "mg", **DAILY, sequence=1), dosage(400, "mg", **DAILY, sequence="sNaN")], 800),
        ([dosage(400, "mg", **DAILY), dosage(400, "mg", asNeededBoolean=True)], None),
        ([dosage(400, "mg", **DAILY), dosage(5, "furlong", **DAILY)], None),
    ],
)
def test_several_dosages_are_one_day(given: list[Json], a_day: int | None) -> None:
    found = drug(magnesium("Magnesium oxide 400 mg tablet", "MedicationStatement", dosage=given))
    dose, often = found.ingredients[0].mg_per_dose, found.doses_per_day
    assert (None if dose is None or often is None else dose * often) == a_day


def product(numerator: Json, denominator: Json, name: str = "magnesium oxide", **strength: Json) -> Json:
    part = {
        "itemCodeableConcept": {"text": name},
        **(strength or {"strength": {"numerator": numerator, "denominator": denominator}}),
    }
    return {"resourceType": "Medication", "id": "p", "ingredient": [part]}


@pytest.mark.parametrize(
    ("held", "given", "mg"),
    [
        (product(quantity(500, "mg"), quantity(1, "tablet")), dosage(2, "tablet"), "1000"),
        (product(quantity(4, "g"), quantity(100, "mL")), dosage(50, "mL"), "2000"),
        (product(quantity(40, "g"), quantity(1, "L")), dosage(50, "mL"), "2000"),
        (product(quantity(4, "g"), quantity(100, "mL")), dosage(2, "tablet"), None),
        (product(quantity(500, "mg"), quantity(1, "tablet")), dosage(5, "mL"), None),
        (product({}, {}, strengthQuantity=quantity(500, "mg")), dosage(1, "tablet"), "500"),
        (
            product({}, {}, strengthRatio={"numerator": quantity(500, "mg"), "denominator": quantity(5, "mL")}),
            dosage(10, "mL"),
            "1000",
        ),
        (
            product({}, {}, amount={"numerator": quantity(500, "mg"), "denominator": quantity(1)}),
            dosage(1, "tablet"),
            "500",
        ),
    ],
)
def test_a_strength_as_ratio(held: Json, given: Json, mg: str | None) -> None:
    request = medication(medicationReference={"reference": "Medication/p"}, dosageInstruction=[given], **BY_REFERENCE)
    assert drug(held, request).ingredients[0].mg_per_dose == (None if mg is None else Decimal(mg))


# ---- infusions ------------------------------------------------------------------------------------------------------

IV: Json = {"route": concept(SNOMED, "47625008")}
SULFATE = "Magnesium sulfate 4 g/100 mL"


@pytest.mark.parametrize(
    ("name", "given", "rate"),
    [
        (SULFATE, {"doseAndRate": [{"rateQuantity": quantity(50, "mL/h")}]}, 2000 / 60),
        (
            SULFATE,
            {"doseAndRate": [{"rateRatio": {"numerator": quantity(50, "mL"), "denominator": quantity(1, "h")}}]},
            2000 / 60,
        ),
        (SULFATE, {"rateRatio": {"numerator": quantity(50, "mL"), "denominator": quantity(30, "min")}}, 2000 / 30),
        (SULFATE, {"text": "50 mL/h"}, 2000 / 60),
        ("Магния сульфат 25 %", {"text": "4 мл/ч в/в"}, 1000 / 60),
        ("Magnesium sulfate", {"text": "20 g in 500 mL at 50 mL/h"}, 2000 / 60),
        ("Magnesium sulfate", {"doseAndRate": [{"rateQuantity": quantity(50, "mL/h")}]}, None),
        ("Magnesium sulfate", {"doseAndRate": [{"rateQuantity": quantity(2, "g/h")}]}, 2000 / 60),
        (
            "Magnesium sulfate",
            {"doseAndRate": [{"rateRange": {"low": quantity(1, "g/h"), "high": quantity(2, "g/h")}}]},
            2000 / 60,
        ),
        (
            "Magnesium sulfate",
            {"rateRatio": {"numerator": quantity(2, "g"), "denominator": quantity(1, "h")}},
            2000 / 60,
        ),
        ("Magnesium sulfate", {"text": "2 г/ч"}, 2000 / 60),
        ("Magnesium sulfate", {"text": "10 mg/kg/h"}, None),
        ("Magnesium sulfate", {"doseAndRate": [{"rateQuantity": quantity(10, "mg/min/kg")}]}, None),
        (
            "Magnesium sulfate",
            {"doseAndRate": [{"rateRatio": {"numerator": quantity(2, "g"), "denominator": quantity(0, "h")}}]},
            None,
        ),
    ],
)
def test_how_fast(name: str, given: Json, rate: float | None) -> None:
    found = drug(magnesium(name, dosageInstruction=[given | IV]))
    assert found.route == "iv"
    assert found.rate_mg_min == (None if rate is None else pytest.approx(Decimal(rate)))


def test_the_concentration_of_an_ingredient_serves_a_rate() -> None:
    held = product(quantity(4, "g"), quantity(100, "mL"), "magnesium sulfate")
    rate = {"doseAndRate": [{"rateQuantity": quantity(50, "mL/h")}]}
    request = medication(
        medicationReference={"reference": "Medication/p"}, dosageInstruction=[rate | IV], **BY_REFERENCE
    )
    assert drug(held, request).rate_mg_min == pytest.approx(Decimal(2000) / 60)


@pytest.mark.parametrize(
    ("name", "given", "mg"),
    [
        ("Магния сульфат 25 %", dosage(10, "мл"), "2500"),
        ("Magnesium sulfate 500 mg/mL", dosage(4, "mL"), "2000"),
        ("Magnesium sulfate", dosage(16, "mmol"), "3943.52"),
        ("Magnesium sulfate", dosage(2, "g"), "2000"),
        ("Magnesium sulfate 4 g/100 mL, 2 g/50 mL (40 mg/mL)", dosage(50, "mL"), "2000"),
        ("Magnesium sulfate 4 g/100 mL or 10 %", dosage(50, "mL"), None),
    ],
)
def test_a_dose_in_millilitres_needs_one_concentration(name: str, given: Json, mg: str | None) -> None:
    found = drug(magnesium(name, dosageInstruction=[given | IV]))
    assert found.ingredients[0].mg_per_dose == (None if mg is None else Decimal(mg))


def test_as_needed_limits_no_infusion() -> None:
    given = dosage(2, "g", **times(1, 6, "h"), asNeededBoolean=True)
    assert drug(magnesium("Magnesium sulfate", dosageInstruction=[given | IV])).doses_per_day == 4


def test_an_administration_tells_dose_and_duration() -> None:
    given = magnesium(
        "Magnesium sulfate",
        "MedicationAdministration",
        status="completed",
        dosage={"dose": quantity(2, "g"), "route": {"text": "IV"}},
        effectivePeriod={"start": "2025-06-15T08:00:00Z", "end": "2025-06-15T08:20:00Z"},
    )
    found = drug(given)
    assert (found.ingredients[0].mg_per_dose, found.duration_min, found.route) == (2000, 20, "iv")


@pytest.mark.parametrize(
    ("members", "route"),
    [
        ({"dosageInstruction": [IV]}, "iv"),
        ({"dosageInstruction": [{"route": {"text": "перорально"}}]}, "oral"),
        ({"dosageInstruction": [{"text": "1 tablet by mouth"}]}, "oral"),
        ({"medicationCodeableConcept": {"text": "Furosemide eye drops"}}, "local"),
        ({"medicationCodeableConcept": {"text": "Furosemide 10 mg/mL injection"}}, "iv"),
        ({}, ""),
    ],
)
def test_the_route(members: Json, route: str) -> None:
    assert drug(medication(**members)).route == route
