"""From bytes to resources: what fits is kept, what does not is left out alone, and order is that of the message."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from service.errors import BadRequest, TooLarge
from service.fhir.decode import MAX_ENTRIES, concept, concepts, decode_lenient, decode_member, is_present, read_bundle
from service.fhir.resources import Dosage, MedicationAdministration, Observation, Quantity, ReferenceRange, Specimen
from tests.fhir.charts import bundle, observation


def raw(value: object) -> Raw:
    return Raw(msgspec.json.encode(value))


@pytest.mark.parametrize(
    ("sent", "kind", "kept"),
    [
        ({"value": 0.62, "unit": "mmol/L"}, Quantity, Quantity(Decimal("0.62"), unit="mmol/L")),
        ({"value": "0,62", "unit": "mmol/L"}, Quantity, Quantity(Decimal("0.62"), unit="mmol/L")),
        ({"value": "۰٫۶۲", "unit": "mmol/L"}, Quantity, Quantity(Decimal("0.62"), unit="mmol/L")),
        ({"value": True, "unit": "mmol/L"}, Quantity, Quantity(unit="mmol/L")),
        ({"value": 1, "unit": ["mmol/L"], "code": 7}, Quantity, Quantity(Decimal(1))),
        ({"value": None, "unit": None}, Quantity, Quantity()),
        ("0.62 mmol/L", Quantity, None),
        (None, Quantity, None),
        ([{"text": "a"}, 5, {"text": 5}], list[ReferenceRange], [ReferenceRange(text="a"), ReferenceRange()]),
        ({"text": "a lone one"}, list[ReferenceRange], [ReferenceRange(text="a lone one")]),
        ([], list[ReferenceRange], []),
        ("-", list[ReferenceRange], None),
        ({"text": "x", "sequence": 1}, list[Dosage] | Dosage | None, Dosage(text="x", sequence=Decimal(1))),
        ([{"text": "x", "sequence": "first"}], list[Dosage] | Dosage | None, [Dosage(text="x")]),
    ],
)
def test_what_fits_is_kept(sent: object, kind: Any, kept: object) -> None:
    assert decode_lenient(msgspec.json.encode(sent), kind) == kept


def test_numbers_stay_as_they_were_written() -> None:
    assert str(decode_lenient(b'{"value": 1.260}', Quantity).value) == "1.260"
    assert str(decode_lenient(b'{"value": 1.260, "unit": 5}', Quantity).value) == "1.260"


def test_one_odd_member_costs_only_itself() -> None:
    sent = observation(status=["final"], specimen="blood", note={"text": "ok"}, issued=20250615)
    (found,) = read_bundle(msgspec.json.encode(sent)).resources
    assert isinstance(found, Observation)
    assert (found.id, found.status, found.specimen, found.issued) == ("o1", None, None, None)
    assert [note.text for note in found.note or ()] == ["ok"]
    assert decode_member(found.valueQuantity, Quantity) == Quantity(Decimal("0.62"), unit="mmol/L")


def test_one_odd_entry_costs_only_itself() -> None:
    clean = bundle(*(observation(id=f"o{n}") for n in range(3)))
    parts = [*(observation(id=f"o{n}") for n in range(3)), 5, None, {"resourceType": "Basic"}, {"id": "nothing"}]
    sheaf = read_bundle(bundle(*parts))
    assert sheaf.resources[:3] == read_bundle(clean).resources
    assert [found.resourceType for found in sheaf.resources[3:]] == ["Basic"]
    assert sheaf.invalid_entries == ["$.entry[3]", "$.entry[4]", "$.entry[6]"]


def test_entries_that_are_no_objects_keep_their_numbers() -> None:
    sheaf = read_bundle(
        b'{"resourceType": "Bundle", "entry": [null, 5, {"resource": {"resourceType": "Patient"}}]}', "$.b"
    )
    assert (sheaf.invalid_entries, [found.full_url for found in sheaf.resources]) == (
        ["$.b.entry[0]", "$.b.entry[1]"],
        ["$.b.entry[2]"],
    )


@pytest.mark.parametrize("sent", ["5", '"x"', "[]", "{}", '{"resourceType": 5}', "[ ]"])
def test_what_is_no_resource_is_odd(sent: str) -> None:
    sheaf = read_bundle(sent.encode(), "$.prefetch.x")
    assert (sheaf.resources, sheaf.invalid_entries) == ([], ["$.prefetch.x"])


def test_an_array_holds_resources_and_bundles_and_names_the_rest() -> None:
    patient = '{"resourceType": "Patient"}'
    sent = f'[{patient}, 5, [{patient}], {{"resourceType": "Bundle", "entry": [{{"resource": {patient}}}]}}]'
    sheaf = read_bundle(sent.encode(), "$.b")
    places = [found.full_url for found in sheaf.resources]
    assert (places, sheaf.invalid_entries, sheaf.is_bundle) == (
        ["$.b[0]", "$.b[3].entry[0]"],
        ["$.b[1]", "$.b[2]"],
        False,
    )


def test_null_is_nothing() -> None:
    sheaf = read_bundle(b" null ")
    assert (sheaf.resources, sheaf.invalid_entries, sheaf.is_bundle) == ([], [], False)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"{",
        b'{"resourceType": "Patient"',
        b'{"resourceType": "Patient", "id": 5, "x": nul}',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_what_is_not_json_is_refused(sent: bytes) -> None:
    with pytest.raises(BadRequest, match="not readable as JSON"):
        read_bundle(sent)


@pytest.mark.parametrize("sent", [b'"entry": null', b'"entry": null, "link": 5', b'"link": 5', b'"entry": []'])
def test_an_empty_bundle_is_empty(sent: bytes) -> None:
    sheaf = read_bundle(b'{"resourceType": "Bundle", ' + sent + b"}")
    assert (sheaf.is_bundle, sheaf.resources, sheaf.invalid_entries) == (True, [], [])


def test_a_bundle_within_a_bundle_is_opened() -> None:
    inner = {"resourceType": "Bundle", "entry": [{"resource": observation()}]}
    outer = {"resourceType": "Bundle", "entry": [{"resource": inner, "fullUrl": "urn:uuid:1"}]}
    (found,) = read_bundle(msgspec.json.encode(outer)).resources
    assert (found.id, found.full_url) == ("o1", "$.entry[0].entry[0]")


@pytest.mark.parametrize("odd", [[], [5]], ids=["clean", "odd"])
def test_the_entries_of_bundles_within_a_bundle_count_as_well(odd: list[object]) -> None:
    inner = {"resourceType": "Bundle", "entry": [{"resource": observation()}] * 3 + odd}
    outer = msgspec.json.encode({"resourceType": "Bundle", "entry": [{"resource": inner}] * 2})
    entries = 2 * (1 + 3 + len(odd))
    assert len(read_bundle(outer, "$", entries).resources) == 6
    with pytest.raises(TooLarge, match=f"more than {entries - 1} entries"):
        read_bundle(outer, "$", entries - 1)


def test_the_next_page_and_the_outcomes_are_kept_apart() -> None:
    sent = {
        "resourceType": "Bundle",
        "link": [{"relation": "self", "url": "a"}, {"relation": "next", "url": "b"}],
        "entry": [{"resource": {"resourceType": "OperationOutcome", "issue": {"severity": "error"}}}],
    }
    sheaf = read_bundle(msgspec.json.encode(sent))
    assert (sheaf.next_url, sheaf.resources) == ("b", [])
    assert [issue.severity for outcome in sheaf.outcomes for issue in outcome.issue or ()] == ["error"]


def test_a_resource_cannot_claim_a_place_of_its_own() -> None:
    (found,) = read_bundle(bundle(observation(fullUrl="Specimen/other"))).resources
    assert found.full_url == "$.entry[0]"


def test_a_lone_dosage_of_an_administration_is_no_oddness() -> None:
    (found,) = read_bundle(b'{"resourceType": "MedicationAdministration", "dosage": {"text": "2 g"}}').resources
    assert isinstance(found, MedicationAdministration)
    assert found.dosage == Dosage(text="2 g")


@pytest.mark.parametrize(
    ("sent", "codes", "texts"),
    [
        ({"coding": [{"code": " H ", "display": "High"}], "text": "high"}, ["H"], ["high", "High"]),
        ({"coding": {"code": "H"}}, ["H"], []),
        ({"coding": [{"code": 5, "display": "High"}, None]}, [""], ["High"]),
        ({"code": "AMB", "display": "ambulatory"}, ["AMB"], ["ambulatory"]),
        ("active", [], ["active"]),
        ([{"text": "first"}, {"text": "second"}], [], ["first"]),
        ([], [], []),
        (None, [], []),
        (5, [], []),
    ],
)
def test_a_concept_in_all_its_spellings(sent: object, codes: list[str], texts: list[str]) -> None:
    found = concept(raw(sent))
    assert ([coding.code for coding in found.codings], list(found.texts)) == (codes, texts)


def test_interpretations_are_a_list_in_r4_and_one_in_stu3() -> None:
    assert [c.text for c in concepts(raw([{"text": "H"}, {"text": "L"}]))] == ["H", "L"]
    assert [c.text for c in concepts(raw({"text": "H"}))] == ["H"]


@pytest.mark.parametrize(("sent", "is_given"), [(b"", False), (b"null", False), (b"[]", False), (b'"2024"', True)])
def test_given(sent: bytes, is_given: bool) -> None:
    assert is_present(Raw(sent)) is is_given


def test_a_kind_is_never_mistaken_for_another() -> None:
    (found,) = read_bundle(b'{"id": 5, "code": {"text": "x"}, "resourceType": "Specimen"}').resources
    assert type(found) is Specimen


@pytest.mark.parametrize(("number", "kept"), [(MAX_ENTRIES, MAX_ENTRIES), (MAX_ENTRIES + 1, 0)])
def test_an_odd_array_inside_a_resource_is_mended_unless_it_is_as_long_as_no_chart(number: int, kept: int) -> None:
    notes = [{"text": "x"}] * (number - 1) + [{"text": 5}]
    (found,) = read_bundle(msgspec.json.encode(observation(note=notes))).resources
    assert isinstance(found, Observation)
    assert len(found.note or ()) == kept


def test_a_bundle_that_is_read_without_a_limit_keeps_all_its_entries_although_one_is_odd() -> None:
    entries = [{"resource": observation()}] * MAX_ENTRIES + [5]
    assert len(read_bundle(msgspec.json.encode({"resourceType": "Bundle", "entry": entries})).resources) == MAX_ENTRIES
