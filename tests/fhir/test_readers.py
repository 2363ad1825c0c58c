"""Condition, Patient, Encounter, ServiceRequest, drafts, and whose resources they are."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from service.fhir.ownership import EvaluationInput, sole_patient
from service.fhir.snapshot import read_snapshot
from service.logic.model import Analyte, Exposure, Hook
from tests.fhir.charts import (
    LOINC,
    NOW,
    SITE,
    SNOMED,
    Json,
    bundle,
    concept,
    issues,
    medication,
    observation,
    read,
    taken,
)

TORSADES = "31722008"
CLINICAL, VERIFIED = "condition-clinical", "condition-ver-status"


def condition(**members: object) -> Json:
    usual: Json = {
        "resourceType": "Condition",
        "id": "c1",
        "code": concept(SNOMED, TORSADES),
        "subject": {"reference": "Patient/p"},
    }
    return {name: value for name, value in (usual | members).items() if value is not None}


# ---- conditions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "active"),
    [
        ({}, True),
        ({"clinicalStatus": "active"}, True),
        ({"clinicalStatus": concept(CLINICAL, "active")}, True),
        ({"clinicalStatus": concept(CLINICAL, "recurrence")}, True),
        ({"clinicalStatus": {"text": "Active"}}, True),
        ({"clinicalStatus": "resolved"}, False),
        ({"clinicalStatus": concept(CLINICAL, "inactive")}, False),
        ({"abatementDateTime": "2024-01-01"}, False),
        ({"abatementBoolean": True}, False),
        ({"abatementAge": {"value": 40}}, False),
        ({"abatementBoolean": False, "abatementString": None, "abatementPeriod": {}}, True),
        ({"verificationStatus": "differential"}, False),
        ({"verificationStatus": concept(VERIFIED, "confirmed")}, True),
    ],
)
def test_active_or_not(members: Json, active: bool) -> None:
    (found,) = read(condition(**members)).conditions
    assert (found.active, found.tags, found.recognised_by) == (active, frozenset({"torsades"}), "code")


@pytest.mark.parametrize("status", ["refuted", "entered-in-error", concept(VERIFIED, "refuted")])
def test_a_refuted_condition_is_named_not_counted(status: object) -> None:
    found = read(condition(verificationStatus=status))
    assert (found.conditions, issues(found)) == ((), ["Condition/c1: Refuted or entered in error: not used."])


def test_a_condition_in_words() -> None:
    (found,) = read(
        condition(code={"text": "Haemodialysis, dialysate Mg 0.5 mmol/L"}, onsetPeriod={"start": "2025"})
    ).conditions
    assert (found.recognised_by, found.dialysate_mg, "dialysis" in found.tags) == ("text", Decimal("0.5"), True)
    assert found.onset is not None
    assert found.onset.start.year == 2025


@pytest.mark.parametrize("explain", [True, False])
def test_a_condition_without_meaning_is_named_only_where_all_is_explained(explain: bool) -> None:
    found = read(condition(code={"text": "Wart"}), explain=explain)
    assert issues(found) == (["Condition/c1: Condition without meaning for the rules."] if explain else [])


# ---- person ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "born", "sex"),
    [
        ({"birthDate": "1952-11-13", "gender": "female"}, "1952-11-13", "female"),
        ({"birthDate": "1952", "gender": "Male"}, "1952-01-01", "male"),
        ({"birthDate": "1952-11-13T08:00:00Z", "gender": "other"}, "1952-11-13", ""),
        ({"birthDate": "?", "gender": 5}, None, ""),
    ],
)
def test_a_person(members: Json, born: str | None, sex: str) -> None:
    found = read({"resourceType": "Patient", "id": "p"} | members)
    assert (str(found.birth_date) if found.birth_date else None, found.sex) == (born, sex)


@pytest.mark.parametrize(
    ("members", "inpatient"),
    [
        ({"class": {"code": "IMP"}}, True),
        ({"class": [concept("urn:v3", "EMER")]}, True),
        ({"class": "inpatient"}, True),
        ({"class": {"code": "AMB"}}, False),
        ({"class": {"code": "IMP"}, "status": "finished"}, None),
        ({"class": 5}, None),
        ({}, None),
    ],
)
def test_in_hospital_or_not(members: Json, inpatient: bool | None) -> None:
    visit = {"resourceType": "Encounter", "id": "e", "status": "in-progress", "subject": {"reference": "Patient/p"}}
    assert read(visit | members).inpatient is inpatient


# ---- orders ---------------------------------------------------------------------------------------------------------


def request(**members: object) -> Json:
    usual: Json = {"resourceType": "ServiceRequest", "id": "r1", "status": "active", "code": concept(LOINC, "2601-3")}
    return {name: value for name, value in (usual | members).items() if value is not None}


@pytest.mark.parametrize(
    ("members", "pending"),
    [
        ({}, {Analyte.SERUM_MAGNESIUM}),
        ({"code": {"text": "Magnesium"}}, {Analyte.SERUM_MAGNESIUM}),
        ({"code": concept("http://www.ama-assn.org/go/cpt", "83735", "Magnesium, urine")}, {Analyte.URINE_MAGNESIUM}),
        ({"status": "completed"}, set()),
        ({"doNotPerform": True}, set()),
        ({"doNotPerform": "yes", "status": None}, {Analyte.SERUM_MAGNESIUM}),
    ],
)
def test_what_is_already_ordered(members: Json, pending: set[Analyte]) -> None:
    assert read(request(**members)).pending == pending


def test_drafts_are_orders_and_not_yet_taken() -> None:
    drafts = (
        request(),
        medication(status="active"),
        medication(id="m2", status="cancelled"),
        medication("MedicationOrder", id="old", dateWritten="2025-06-15"),
        medication(id="m3", doNotPerform=True),
        request(id="r3", doNotPerform=True),
    )
    chart = EvaluationInput(
        "p", NOW, Hook.ORDER_SELECT, drafts=tuple(taken(*drafts)), selections=("MedicationRequest/m1",)
    )
    found = read_snapshot(chart, SITE)
    assert [(order.reference, order.selected) for order in found.orders] == [
        ("ServiceRequest/r1", False),
        ("MedicationRequest/m1", True),
        ("MedicationOrder/old", False),
    ]
    assert [order.medication.exposure for order in found.orders if order.medication] == [Exposure.UNKNOWN] * 2
    assert issues(found) == ["MedicationRequest/m3: Says what is not to be given: not read as an order."]


def test_a_draft_may_refer_to_a_product_among_the_drafts() -> None:
    product = {"resourceType": "Medication", "id": "f", "code": {"text": "furosemide"}}
    order = medication(medicationCodeableConcept=None, medicationReference={"reference": "urn:uuid:1"})
    chart = EvaluationInput("p", NOW, Hook.ORDER_SIGN, drafts=tuple(taken(product, order, urls=["urn:uuid:1"])))
    assert [o.medication.name for o in read_snapshot(chart, SITE).orders if o.medication] == ["furosemide"]


# ---- whose ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "own"),
    [
        ({"subject": {"reference": "Patient/p"}}, True),
        ({"subject": {"reference": "https://ehr.example/fhir/Patient/p"}}, True),
        ({"subject": {"reference": "Patient/p/_history/2"}}, True),
        ({"subject": {"reference": "urn:uuid:person"}}, True),
        ({"subject": {"reference": "#p"}}, True),
        ({"subject": None, "patient": {"reference": "Patient/p"}}, True),
        ({"subject": {"display": "nobody"}}, True),
        ({"subject": 5}, True),
        ({"subject": None}, True),
        ({"subject": {"reference": "Patient/q"}}, False),
        ({"subject": {"reference": "urn:uuid:other"}}, False),
        ({"subject": {}, "patient": {"reference": "Patient/q"}}, False),
    ],
)
def test_only_the_patients_own_resources_are_read(members: Json, own: bool) -> None:
    person = {"resourceType": "Patient", "id": "p"}
    found = read(person, observation(**members), observation(id="o2", **members), urls=["urn:uuid:person"])
    assert len(found.labs) == (2 if own else 0)
    named = [f"Observation/o{n}: Belongs to another patient: dropped." for n in (1, 2)]
    assert issues(found) == ([] if own else named)


def test_a_resource_of_no_interest_of_another_patient_is_named_too() -> None:
    found = read({"resourceType": "AllergyIntolerance", "id": "a", "patient": {"reference": "Patient/q"}})
    assert issues(found) == ["AllergyIntolerance/a: Belongs to another patient: dropped."]


def test_a_resource_without_id_is_named_by_its_place() -> None:
    assert issues(read(condition(id=None, code=None))) == [
        "Condition ($.entry[0]): Condition without meaning for the rules."
    ]


@pytest.mark.parametrize(
    ("sent", "patient"),
    [
        ([{"resourceType": "Patient", "id": "p"}, observation(subject={"reference": "Patient/q"})], "p"),
        ([observation(), condition()], "p"),
        ([observation(), condition(subject={"reference": "Patient/q"})], None),
        ([{"resourceType": "Patient", "id": "p"}, {"resourceType": "Patient", "id": "q"}], None),
        ([observation(subject=None)], ""),
        ([], ""),
    ],
)
def test_the_sole_patient(sent: list[Json], patient: str | None) -> None:
    assert sole_patient(taken(*sent)) == patient


# ---- keys that were not sent ----------------------------------------------------------------------------------------


def test_what_came_under_another_key_is_there() -> None:
    missing = dict.fromkeys(
        ("magnesium", "potassium", "conditions", "encounter"), "not sent, and there is no access to the FHIR server"
    )
    chart = EvaluationInput("p", NOW, resources=tuple(taken(observation(), condition())), unavailable=missing)
    assert set(read_snapshot(chart, SITE).unavailable) == {"potassium", "encounter"}


def test_a_key_of_which_a_part_failed_stays_named() -> None:
    chart = EvaluationInput(
        "p", NOW, resources=tuple(taken(observation())), unavailable={"magnesium": "only a part could be read"}
    )
    found = read_snapshot(chart, SITE)
    assert (dict(found.unavailable), found.incomplete) == ({}, ("magnesium",))


def test_what_is_read_does_not_depend_on_where_members_stand() -> None:
    members = observation()
    turned = dict(reversed(members.items()))
    assert read(turned).labs == read(members).labs
    assert bundle(turned) != bundle(members)
    assert msgspec.json.decode(bundle(turned)) == msgspec.json.decode(bundle(members))
