"""Nothing in silence: resources in other resources, under one id on two servers, with a member twice, in panels of urine."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import BadRequest
from service.fhir.decode import has_duplicate_members, read_bundle
from service.fhir.ownership import EvaluationInput
from service.fhir.snapshot import read_snapshot
from service.logic.model import Analyte, PatientSnapshot
from tests.fhir.charts import LOINC, NOW, SITE, SNOMED, Json, concept, issues, medication, observation, quantity, read

POTASSIUM = concept(LOINC, "2823-3")


def potassium(**members: object) -> Json:
    return observation(id="k1", code=POTASSIUM, valueQuantity=quantity(2.5, "mmol/L"), **members)


def sent(raw: bytes) -> PatientSnapshot:
    return read_snapshot(EvaluationInput("p", NOW, resources=tuple(read_bundle(raw).resources)), SITE, explain=True)


# ---- resources in resources -----------------------------------------------------------------------------------------

OWN: Json = {"subject": {"reference": "Patient/p"}}
REPORT: Json = {"resourceType": "DiagnosticReport", "id": "dr", "code": {"text": "BMP"}, **OWN}
LIST: Json = {"resourceType": "List", "id": "l", **OWN}


@pytest.mark.parametrize("holder", [REPORT, LIST], ids=["report", "list"])
@pytest.mark.parametrize("subject", [{"reference": "Patient/p"}, None], ids=["own", "of the holder"])
def test_a_result_in_another_resource_is_read(holder: Json, subject: Json | None) -> None:
    found = read(holder | {"contained": [potassium(subject=subject)]})
    assert [(lab.reference, lab.analyte, lab.problem) for lab in found.labs] == [
        (f"{holder['resourceType']}/{holder['id']}#k1", Analyte.POTASSIUM, None)
    ]


def test_of_another_patients_report_nothing_is_read_and_its_results_are_named() -> None:
    other = REPORT | {"subject": {"reference": "Patient/q"}, "contained": [potassium(subject=None)]}
    found = read(other)
    assert found.labs == ()
    assert "DiagnosticReport/dr#k1: Belongs to another patient: dropped." in issues(found)


def test_two_reports_may_name_their_results_alike() -> None:
    low = potassium(effectiveDateTime="2025-06-14T09:00:00Z")
    found = read(REPORT | {"contained": [potassium()]}, REPORT | {"id": "d2", "contained": [low]})
    assert [lab.reference for lab in found.labs] == ["DiagnosticReport/dr#k1", "DiagnosticReport/d2#k1"]


def test_a_member_in_its_panel_and_a_drug_in_a_list() -> None:
    panel = observation(id="pan", code={"text": "BMP"}, valueQuantity=None, hasMember=[{"reference": "#k1"}])
    found = read(panel | {"contained": [potassium()]}, LIST | {"contained": [medication(id="#m")]})
    assert [lab.reference for lab in found.labs] == ["Observation/pan#k1"]
    assert [drug.reference for drug in found.medications] == ["List/l#m"]


def test_a_specimen_in_a_result_is_no_resource_of_its_own() -> None:
    specimen = {"resourceType": "Specimen", "id": "s", "type": {"text": "Serum"}}
    found = read_bundle(msgspec.json.encode(potassium(contained=[specimen], specimen={"reference": "#s"})))
    assert len(found.resources) == 1


def test_parameters_are_opened() -> None:
    inner = {"resourceType": "Bundle", "entry": [{"resource": medication()}]}
    parts = [{"resource": potassium()}, {"part": [{"resource": inner}]}, {"part": [{"part": []}]}, {"valueString": "x"}]
    found = sent(msgspec.json.encode({"resourceType": "Parameters", "parameter": parts}))
    assert [lab.reference for lab in found.labs] == ["Observation/k1"]
    assert [drug.reference for drug in found.medications] == ["MedicationRequest/m1"]


# ---- one id, several resources --------------------------------------------------------------------------------------

A, B = "http://a.example/fhir/Observation/k1", "https://b.example/fhir/Observation/k1"


@pytest.mark.parametrize(
    ("urls", "number"),
    [
        ([A, B], 2),
        ([A, A], 1),
        ([A, ""], 1),  # the same resource under two prefetch keys, one of them without full URLs
        (["", A], 1),
        (["", ""], 1),
        (["urn:uuid:1", "urn:uuid:2"], 1),
        ([A, "http://a.example/fhir/Observation/other"], 1),
    ],
)
def test_the_same_id_on_two_servers_is_two_resources(urls: list[str], number: int) -> None:
    found = read(potassium(), potassium(), urls=urls)
    assert len(found.labs) == number


def test_the_later_version_counts_on_each_server() -> None:
    later = potassium(meta={"lastUpdated": "2025-06-15T09:00:00Z"}) | {"valueQuantity": quantity(3.5, "mmol/L")}
    found = read(potassium(), potassium(), later, urls=[A, B, B])
    assert sorted(str(lab.value) for lab in found.labs) == ["2.5", "3.5"]


# ---- members that stand twice ---------------------------------------------------------------------------------------

MAGNESIUM = (
    '{"resourceType":"Observation","id":"o","status":"final","subject":{"reference":"Patient/p"},'
    '"code":{"coding":[{"system":"http://loinc.org","code":"2601-3"}]},"effectiveDateTime":"2025-06-15T09:00:00Z",'
)
TWICE = [
    MAGNESIUM + '"valueQuantity":{"value":0.4,"value":0.9,"unit":"mmol/L"}}',
    MAGNESIUM + '"status":"entered-in-error","valueQuantity":{"value":0.4,"unit":"mmol/L"}}',
    MAGNESIUM + '"status":"final","valueQuantity":{"value":0.4,"unit":"mmol/L"}}',  # the same twice
    MAGNESIUM + '"valueQuantity":{"value":0.4,"unit":"mmol/L"},"note":[{"text":"a","text":"b"}]}',
    MAGNESIUM + '"valueQuantity":{"value":0.4,"\\u0076alue":0.9,"unit":"mmol/L"}}',  # an escaped name is the same name
]


@pytest.mark.parametrize("resource", TWICE, ids=range(len(TWICE)))
@pytest.mark.parametrize("alone", [True, False], ids=["alone", "in a Bundle"])
def test_a_resource_with_a_member_twice_is_refused_and_named(resource: str, alone: bool) -> None:
    other = msgspec.json.encode(potassium()).decode()
    whole = f'{{"resourceType":"Bundle","entry":[{{"resource":{resource}}},{{"resource":{other}}}]}}'
    found = sent((resource if alone else whole).encode())
    assert [lab.analyte for lab in found.labs] == ([] if alone else [Analyte.POTASSIUM])
    assert "Observation/o: A member stands twice in it: refused, since nobody knows which is meant." in issues(found)


def test_a_medication_with_a_member_twice_is_one_that_is_not_known() -> None:
    raw = msgspec.json.encode(medication()).decode()
    found = sent((raw[:-1] + ',"status":"stopped"}').encode())
    assert (found.medications, found.unrecognised_medications) == ((), 1)


def test_another_patients_refused_resource_is_only_another_patients() -> None:
    found = sent(TWICE[0].replace("Patient/p", "Patient/q").encode())
    assert issues(found) == ["Observation/o: Belongs to another patient: dropped."]


def test_a_bundle_with_a_member_twice_is_no_bundle() -> None:
    with pytest.raises(BadRequest, match="twice"):
        read_bundle(b'{"resourceType":"Bundle","entry":[],"entry":[{"resource":{"resourceType":"Patient"}}]}')


NAMES = st.sampled_from(["a", "b", "value", 'quo"te', "é"])
JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)


@given(JSON, st.booleans())
def test_what_an_encoder_writes_has_no_member_twice(value: Any, indented: bool) -> None:
    raw = msgspec.json.encode(value)
    assert not has_duplicate_members(msgspec.json.format(raw, indent=2) if indented else raw)
    name, other = msgspec.json.encode("x"), msgspec.json.encode(value)
    assert has_duplicate_members(b"[{" + name + b":1," + name + b" : " + other + b"}]")


@pytest.mark.parametrize("raw", [b"", b"{", b"nul", b"[" * 100_000, b"9" * 10_000, b'{"a": NaN}', b"\xff"])
def test_what_is_no_json_has_none(raw: bytes) -> None:
    assert not has_duplicate_members(raw)


# ---- panels ---------------------------------------------------------------------------------------------------------

NAMED = {"text": "Potassium"}


def panel(text: str = "URINE ELECTROLYTES", **members: object) -> Json:
    return observation(
        id="pan", code={"text": text}, valueQuantity=None, hasMember=[{"reference": "Observation/k1"}], **members
    )


def urine(**members: object) -> Json:
    return {
        "resourceType": "Specimen",
        "id": "u",
        "type": {"coding": [{"system": SNOMED, "code": "122575003"}]},
        **members,
    }


OTHER_PANEL = "Part of a panel of another specimen; not read as serum."


@pytest.mark.parametrize("explain", [True, False])
@pytest.mark.parametrize(
    ("holders", "code", "used"),
    [
        ([panel()], NAMED, False),
        ([panel("Моча: электролиты")], NAMED, False),
        ([panel()], POTASSIUM, True),  # a code of its own says serum; the panel is only named
        ([panel("Basic metabolic panel")], NAMED, True),
        ([panel("Electrolytes", specimen={"reference": "Specimen/u"}), urine()], NAMED, False),
        ([panel("Electrolytes", specimen={"reference": "Specimen/u"}), urine()], POTASSIUM, False),
        ([panel("Electrolytes", specimen={"display": "Urine"})], NAMED, False),
        ([panel("Electrolytes", specimen={"display": "Serum"})], NAMED, True),
        ([REPORT | {"code": {"text": "Urine chemistry"}, "result": [{"reference": "Observation/k1"}]}], NAMED, False),
        ([REPORT | {"specimen": [{"display": "Urine"}], "result": [{"reference": "Observation/k1"}]}], NAMED, False),
        (
            [REPORT | {"code": {"text": "Urine"}, "result": [{"reference": "Observation/pan"}]}, panel("Electrolytes")],
            NAMED,
            False,
        ),
    ],
)
def test_a_panel_hands_its_specimen_on(holders: list[Json], code: Json, used: bool, explain: bool) -> None:
    found = read(potassium() | {"code": code}, *holders, explain=explain)
    assert [lab.analyte for lab in found.labs] == ([Analyte.POTASSIUM] if used else [])
    assert (f"Observation/k1: {OTHER_PANEL}" in issues(found)) is not used


def test_components_of_a_urine_panel_are_urine() -> None:
    parts = [
        {"code": NAMED, "valueQuantity": quantity(2.5, "mmol/L")},
        {"code": POTASSIUM, "valueQuantity": quantity(2.6, "mmol/L")},
    ]
    found = read(observation(id="pan", code={"text": "Urine electrolytes"}, valueQuantity=None, component=parts))
    assert [str(lab.value) for lab in found.labs] == ["2.6"]
    assert f"Observation/pan: {OTHER_PANEL}" in issues(found)


def test_panels_in_a_circle_end() -> None:
    circle = observation(id="a", code={"text": "Urine"}, valueQuantity=None, hasMember=[{"reference": "Observation/a"}])
    assert read(circle).labs == ()
