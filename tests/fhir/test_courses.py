"""Taken or not, since when, until when: below, at and above every boundary; what is doubtful is unknown and named."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from service.fhir.ownership import EvaluationInput
from service.fhir.snapshot import read_snapshot
from service.logic.model import Exposure, Hook
from tests.fhir.charts import NOW, SITE, Json, concept, drug, issues, magnesium, medication, quantity, read, taken

ACTIVE, ENDED, NOT_TAKEN, UNKNOWN = Exposure.ACTIVE, Exposure.ENDED, Exposure.NOT_TAKEN, Exposure.UNKNOWN
NOT_KNOWN = "It is not known whether this is taken: not counted as taken."
GOES_ON = "Its status says completed, its own period that it goes on: read as taken."
# NOW is 2025-06-15T10:00:00Z.


def supply(handed: str | None, days: object = 30, **members: object) -> Json:
    known = {} if days is None else {"daysSupply": quantity(days, "d")}
    return {"status": "completed", "whenHandedOver": handed, **known, **members}


@pytest.mark.parametrize(
    ("members", "exposure"),
    [
        (supply("2025-05-17"), ACTIVE),
        (supply("2025-05-16"), ACTIVE),  # ends today: it lasts the whole of the day
        (supply("2025-05-15"), ENDED),
        (supply("2025-05-16T10:00:00Z"), ACTIVE),  # ends at this very moment
        (supply("2025-05-16T09:59:59Z"), ENDED),
        (supply("2025-06-05", None), UNKNOWN),  # handed over, for how long is not stated
        (supply("2025-06-05", 0), UNKNOWN),
        (supply("2025-06-05", -3), UNKNOWN),
        (supply("2025-06-05", 999), ACTIVE),
        (supply("2025-06-05", 1000), UNKNOWN),  # a slip of the pen
        (supply(None), UNKNOWN),
        (supply("2025-06-05", status="in-progress"), ACTIVE),
        (supply("2025-06-05", status="stopped"), UNKNOWN),
        (supply("2025-06-05", status="unknown"), UNKNOWN),
        (supply("2025-06-05", status=None), UNKNOWN),
        (supply("2025-06-05", status="preparation"), NOT_TAKEN),
        (supply("2025-06-05", status="declined"), NOT_TAKEN),
        (supply("2025-06-05", notDone=True), NOT_TAKEN),
    ],
)
def test_a_supply(members: Json, exposure: Exposure) -> None:
    found = read(medication("MedicationDispense", **members))
    assert [item.exposure for item in found.medications] == [exposure]
    assert issues(found) == ([f"MedicationDispense/m1: {NOT_KNOWN}"] if exposure is UNKNOWN else [])


def bounds(start: str | None = None, end: str | None = None, **members: object) -> Json:
    period = {name: value for name, value in (("start", start), ("end", end)) if value}
    return {"timing": {"repeat": {**({"boundsPeriod": period} if period else {}), **members}}}


def lasting(value: object, unit: str = "d", **members: object) -> Json:
    return bounds(**members, boundsDuration=quantity(value, unit))


def then(*dosages: Json) -> list[Json]:
    return [dosage | {"sequence": number} for number, dosage in enumerate(dosages, 1)]


ORDERED = "2025-06-01T08:00:00Z"


@pytest.mark.parametrize(
    ("dosages", "start", "end"),
    [
        ([], ORDERED, None),
        ([{}], ORDERED, None),
        ([bounds("2025-06-02", "2025-06-20")], "2025-06-02", "2025-06-20"),
        ([bounds(end="2025-06-20")], ORDERED, "2025-06-20"),
        ([lasting(7)], ORDERED, "2025-06-08"),
        ([lasting(1, "wk")], ORDERED, "2025-06-08"),
        ([lasting(36, "h")], ORDERED, "2025-06-02"),
        ([lasting(7, start="2025-06-05")], "2025-06-05", "2025-06-12"),
        ([bounds(boundsRange={"low": quantity(5, "d"), "high": quantity(7, "d")})], ORDERED, "2025-06-08"),
        ([bounds(boundsRange={"low": quantity(5, "d")})], ORDERED, "2025-06-06"),
        ([lasting(0)], ORDERED, None),
        ([lasting(999)], ORDERED, "2028-02-25"),
        ([lasting(1000)], ORDERED, None),
        ([lasting(7, "furlong")], ORDERED, None),
        # side by side: the latest end counts, and one without an end leaves it open
        ([lasting(7), lasting(14)], ORDERED, "2025-06-15"),
        ([lasting(14), lasting(7)], ORDERED, "2025-06-15"),
        ([lasting(7), {}], ORDERED, None),
        ([bounds("2025-06-05", "2025-06-08"), bounds("2025-06-03", "2025-06-07")], "2025-06-03", "2025-06-08"),
        ([bounds("2025-06"), bounds("2025-06-03")], "2025-06-01", None),  # a month begins with its first day
        # one after the other: the end of the last
        (then(lasting(7), lasting(14)), ORDERED, "2025-06-22"),
        (then(bounds("2025-01-01", "2025-06-01"), bounds("2025-06-01", "2026-12-01")), "2025-01-01", "2026-12-01"),
        (then(lasting(7), {}), ORDERED, None),
        (list(reversed(then(lasting(7), {}))), ORDERED, None),
    ],
)
def test_when_an_order_begins_and_ends(dosages: list[Json], start: str, end: str | None) -> None:
    found = drug(medication(authoredOn=ORDERED, dosageInstruction=dosages))
    assert found.start is not None
    assert found.start.start == datetime.fromisoformat(start).replace(tzinfo=UTC)
    assert (found.end and f"{found.end.start:%Y-%m-%d}") == end


@pytest.mark.parametrize(
    ("kind", "status", "end", "exposure"),
    [
        ("MedicationRequest", "completed", "2025-06-16", ACTIVE),
        ("MedicationRequest", "completed", "2025-06-15", ENDED),  # some time today: nothing contradicts the status
        ("MedicationRequest", "completed", "2025-06-15T10:00:01Z", ACTIVE),
        ("MedicationRequest", "completed", "2025-06-15T10:00:00Z", ENDED),
        ("MedicationRequest", "completed", None, ENDED),
        ("MedicationRequest", "stopped", "2025-06-16", ENDED),
        ("MedicationStatement", "completed", "2025-06-16", ACTIVE),
        ("MedicationStatement", "completed", "2025-06-14", ENDED),
        ("MedicationStatement", "active", "2025-06-14", ACTIVE),  # the rules look at its end
        ("MedicationAdministration", "completed", "2025-06-15T12:00:00Z", ACTIVE),  # an infusion that runs
        ("MedicationAdministration", "completed", "2025-06-15T09:00:00Z", ENDED),
    ],
)
def test_completed_with_an_end_ahead_goes_on(kind: str, status: str, end: str | None, exposure: Exposure) -> None:
    period = {"start": "2025-06-10", **({"end": end} if end else {})}
    request = {"dosageInstruction": [{"timing": {"repeat": {"boundsPeriod": period}}}]}
    found = read(
        medication(kind, status=status, **(request if kind == "MedicationRequest" else {"effectivePeriod": period}))
    )
    assert [item.exposure for item in found.medications] == [exposure]
    assert issues(found) == ([f"{kind}/m1: {GOES_ON}"] if (status, exposure) == ("completed", ACTIVE) else [])


def test_a_course_that_ends_some_time_today_is_over_when_its_status_says_so() -> None:
    order = medication(status="completed", authoredOn="2025-06-01", dosageInstruction=[lasting(14)])
    assert drug(order).exposure is ENDED


@pytest.mark.parametrize(
    ("kind", "members"),
    [
        ("MedicationAdministration", {"status": "completed", "notGiven": True}),
        ("MedicationAdministration", {"status": "completed", "wasNotGiven": True}),
        ("MedicationStatement", {"wasNotTaken": True}),
        ("MedicationUsage", {"status": "not-taken"}),
        ("MedicationOrder", {"status": "on-hold"}),
        ("MedicationRequest", {"intent": "option"}),
    ],
)
def test_what_other_versions_say_is_not_taken(kind: str, members: Json) -> None:
    assert drug(medication(kind, **members)).exposure is NOT_TAKEN


def test_an_order_of_dstu2_is_read_with_its_dates() -> None:
    found = drug(medication("MedicationOrder", dateWritten="2025-06-01", dateEnded="2025-06-10"))
    assert (found.reference, found.exposure) == ("MedicationOrder/m1", ACTIVE)
    assert found.start is not None
    assert found.end is not None
    assert found.ordered_at == found.start
    assert (found.start.start.day, found.end.start.day) == (1, 10)


# ---- phases ---------------------------------------------------------------------------------------------------------


def dose(mg: int, **members: Any) -> Json:
    daily = {"frequency": 1, "period": 1, "periodUnit": "d", **members}
    return {"doseAndRate": [{"doseQuantity": quantity(mg, "mg")}], "timing": {"repeat": daily}}


@pytest.mark.parametrize(
    ("dosages", "mg"),
    [
        (then(dose(400), dose(800)), 800),
        (then(dose(800), dose(400)), 800),
        (then(dose(800, boundsPeriod={"end": "2025-06-14"}), dose(400)), 400),  # the greater one is over
        (then(dose(800, boundsPeriod={"end": "2025-06-15"}), dose(400)), 800),  # over at the end of today
        ([dose(800, boundsPeriod={"end": "2025-06-14"})], 800),  # all are over: nothing else is known
    ],
)
def test_of_phases_the_greatest_that_is_not_over(dosages: list[Json], mg: int) -> None:
    assert drug(magnesium("Magnesium oxide", dosageInstruction=dosages)).ingredients[0].mg_per_dose == mg


# ---- local use ------------------------------------------------------------------------------------------------------

GENTAMICIN: Json = {"medicationCodeableConcept": {"text": "gentamicin"}}
UNKNOWN_DRUG: Json = {"medicationCodeableConcept": {"text": "Xyzol 10 mg"}}
NDC: Json = {"medicationCodeableConcept": concept("http://hl7.org/fhir/sid/ndc", "0338-1715-40")}


def given(**dosage: Any) -> Json:
    return GENTAMICIN | {"dosageInstruction": [dosage]}


LOCAL: list[Json] = [
    {"medicationCodeableConcept": {"text": "tacrolimus 0.1% topical ointment"}},
    {"medicationCodeableConcept": {"text": "gentamicin 0.3 % eye drops"}},
    {"medicationCodeableConcept": {"text": "Гентамицин глазные капли"}},
    {"medicationCodeableConcept": {"text": "جنتامایسین پماد"}},
    given(route={"text": "Ophthalmic"}),
    {
        "medicationCodeableConcept": {"text": "gentamicin"},
        "dosageInstruction": [{"route": {"coding": [{"code": "54485002"}]}}],
    },
    given(text="1 drop in each ear bid"),
    {
        "medicationCodeableConcept": None,
        "medicationReference": {"reference": "#c"},
        "contained": [
            {"resourceType": "Medication", "id": "c", "code": {"text": "gentamicin"}, "form": {"text": "Cream"}},
        ],
    },
]
SYSTEMIC: list[tuple[Json, str]] = [
    (given(route={"text": "IM"}), "other"),
    (
        {
            "medicationCodeableConcept": {"text": "gentamicin"},
            "dosageInstruction": [{"route": {"text": "subcutaneous"}}],
        },
        "other",
    ),
    ({"medicationCodeableConcept": {"text": "gentamicin inhalation"}}, "other"),
    (
        {
            "medicationCodeableConcept": {"text": "tacrolimus"},
            "dosageInstruction": [{"route": {"text": "transdermal"}}],
        },
        "other",
    ),
    (given(route={"text": "IV"}), "iv"),
    (GENTAMICIN, ""),
]


@pytest.mark.parametrize("members", LOCAL, ids=range(len(LOCAL)))
def test_what_acts_where_it_is_applied_is_no_exposure(members: Json) -> None:
    found = drug(medication(**members))
    assert (found.route, found.exposure) == ("local", Exposure.LOCAL)
    assert issues(read(medication(**members | {"status": "unknown"}))) == []
    assert drug(medication(**members | {"status": "on-hold"})).exposure is NOT_TAKEN
    draft = EvaluationInput("p", NOW, Hook.ORDER_SIGN, drafts=tuple(taken(medication(**members))))
    assert read_snapshot(draft, SITE).orders == ()
    assert issues(read_snapshot(draft, SITE)) == [
        "MedicationRequest/m1: Acts where it is applied: not judged as an order."
    ]


@pytest.mark.parametrize(("members", "route"), SYSTEMIC, ids=range(len(SYSTEMIC)))
def test_other_ways_stay_an_exposure(members: Json, route: str) -> None:
    found = drug(medication(**members))
    assert (found.route, found.exposure) == (route, ACTIVE)


# ---- not recognised -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "gaps", "problem"),
    [
        (UNKNOWN_DRUG, 1, "Medication not recognised: not among"),
        (
            UNKNOWN_DRUG | {"status": "stopped"},
            0,
            "Medication not recognised: not among",
        ),
        (
            {"medicationCodeableConcept": {"text": "Xyzol"}, "doNotPerform": True},
            0,
            "Medication not recognised: not among",
        ),
        (
            {"medicationCodeableConcept": concept("http://hl7.org/fhir/sid/ndc", "0338-1715-40")},
            1,
            "code 0338-1715-40 is not known",
        ),
        ({"medicationCodeableConcept": None}, 1, "without code or name"),
        (
            {"medicationCodeableConcept": concept("http://x.example", "no-known-medications")},
            0,
            "States that no medication",
        ),
        ({"medicationCodeableConcept": {"text": "Xyzol"}, "status": "entered-in-error"}, 0, "Entered in error"),
        ({}, 0, ""),
    ],
)
def test_active_medications_that_are_not_recognised_are_counted(members: Json, gaps: int, problem: str) -> None:
    found = read(medication(**members))
    assert found.unrecognised_medications == gaps
    assert problem in "".join(issues(found))
    assert bool(issues(found)) is bool(problem)


# ---- numbers that can be read in two ways ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "dosage", "number"),
    [
        ("Magnesium oxide", {"text": "1.000 mg"}, "1.000"),
        ("Magnesiumoxid 1,000 mg", {"doseAndRate": [{"doseQuantity": quantity(2, "tablet")}]}, "1,000"),
        ("Magnesium sulfate", {"text": "2 g over 20 min"}, ""),
        (
            "Magnesium sulfate",
            {"text": "1.000 mg/min", "route": {"text": "IV"}, "doseAndRate": [{"doseQuantity": quantity(2, "g")}]},
            "1.000",
        ),
        ("Magnesium oxide 1,000 mg tablet", {"text": "1 tablet daily"}, ""),
        ("Magnesium oxide", {"text": "as directed"}, ""),
    ],
)
def test_a_dose_that_can_be_read_in_two_ways_is_unknown_and_said(name: str, dosage: Json, number: str) -> None:
    found = read(magnesium(name, dosageInstruction=[dosage]))
    said = f"MedicationRequest/m1: The number {number} can be read in two ways (decimals or thousands): not used."
    assert issues(found) == ([said] if number else [])
