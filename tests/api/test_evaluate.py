"""POST /v1/evaluate through HTTP: what a reader sees of the moment that the call states."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.fhir.decode import MAX_ENTRIES
from tests.api.apps import open_app
from tests.contract.messages import FUROSEMIDE, LOW, PATIENT, bundle
from tests.contract.test_openapi import plain


@pytest.mark.parametrize(
    ("as_of", "clock"),
    [
        ("2026-03-10T13:30:00+03:30", "12:30"),
        ("2026-03-10T10:00:00Z", "09:00"),
        ("2026-03-10T05:00:00-05:00", "04:00"),
    ],
)
def test_times_are_those_of_the_zone_in_which_the_call_states_its_moment(
    tmp_path: Path, as_of: str, clock: str
) -> None:
    body = {"asOf": as_of, "bundle": bundle(PATIENT, LOW | {"effectiveDateTime": "2026-03-10T09:00:00Z"})}
    with open_app(tmp_path) as house:
        (card,) = house.post("/v1/evaluate", body).json["cards"]
        assert f"(1 h ago, {clock})" in card["summary"]


AT = "2026-03-10T10:00:00Z"
LOW_TODAY = LOW | {"effectiveDateTime": "2026-03-10T09:00:00Z"}
WAYS = {
    **{kind: bundle(PATIENT, LOW_TODAY, kind=kind) for kind in ("collection", "searchset", "transaction", "document")},
    "array": [PATIENT, LOW_TODAY],
    "array of bundles": [bundle(PATIENT), bundle(LOW_TODAY)],
    "a resource": LOW_TODAY,
}


@pytest.mark.parametrize("way", WAYS)
def test_resources_come_in_a_bundle_alone_or_in_an_array(tmp_path: Path, way: str) -> None:
    with open_app(tmp_path) as house:
        (card,) = house.post("/v1/evaluate", {"asOf": AT, "bundle": WAYS[way]}).json["cards"]
        assert "Mg 1.1 mg/dL" in card["summary"]


def test_what_is_no_resource_in_an_array_is_named_and_takes_nothing_else_away(tmp_path: Path) -> None:
    with open_app(tmp_path) as house:
        said = house.post("/v1/evaluate", {"asOf": AT, "bundle": [PATIENT, 3, None, LOW_TODAY, [PATIENT]]}).json
        assert len(said["cards"]) == 1
        places = {place for place in ("$.bundle[1]", "$.bundle[2]", "$.bundle[4]") if place in str(said["issues"])}
        assert len(places) == 3


@pytest.mark.parametrize("sent", [[], {}, None, 3, "a", [3], [[PATIENT]], {"id": "p1"}, [{"id": "p1"}]])
def test_anything_else_is_refused_with_its_place(tmp_path: Path, sent: object) -> None:
    with open_app(tmp_path) as house:
        answer = house.post("/v1/evaluate", {"bundle": sent})
        assert answer.status_code == 400
        assert answer.json["issue"][0]["expression"] == ["$.bundle"]


def test_an_array_has_the_limit_of_a_bundle(tmp_path: Path) -> None:
    with open_app(tmp_path) as house:
        assert house.post("/v1/evaluate", {"bundle": [PATIENT] * (MAX_ENTRIES + 1)}).status_code == 413


def test_the_timeline_comes_alone_as_a_picture_or_as_a_member_of_the_answer(tmp_path: Path) -> None:
    body = {"asOf": AT, "bundle": bundle(PATIENT, LOW_TODAY)}
    with open_app(tmp_path) as house:
        plain = house.post("/v1/evaluate", body)
        asked = house.post("/v1/evaluate", body | {"options": {"timeline": True}}).json["timeline"]
        alone = house.post("/v1/evaluate", body, Accept="image/svg+xml")
        assert "timeline" not in plain.json
        assert asked["sentence"].startswith("Magnesium 1.1 mg/dL, the only reliable result")
        assert plain.json["cards"][0]["summary"] in [row.get("remark") for row in asked["table"]]
        assert alone.mimetype == "image/svg+xml"
        assert alone.headers["Content-Security-Policy"] == "default-src 'none'; style-src 'unsafe-inline'"
        assert asked["sentence"] in alone.text


def test_the_timeline_is_drawn_for_a_width_within_bounds(tmp_path: Path) -> None:
    with open_app(tmp_path) as house:
        for width, status in ((239, 400), (240, 200), (1600, 200), (1601, 400)):
            body = {"bundle": bundle(PATIENT, LOW_TODAY), "options": {"timeline": True, "timelineWidth": width}}
            answer = house.post("/v1/evaluate", body)
            assert answer.status_code == status
            assert status == 400 or f'viewBox="0 0 {width} ' in answer.json["timeline"]["svg"]


MISSPELT = {
    "$.asof": {"asof": AT},
    "$.draftOrders": {"draftOrders": bundle()},
    "$.context.patientID": {"context": {"patientId": "p1", "patientID": "p2"}},
    "$.options.research": {"options": {"research": True}},
    "$.a key": {"п" * 9: 1},
}


@pytest.mark.parametrize("place", MISSPELT)
def test_what_is_no_member_of_the_request_is_named_and_decides_nothing(tmp_path: Path, place: str) -> None:
    with open_app(tmp_path) as house:
        usual = house.post("/v1/evaluate", {"asOf": AT, "bundle": bundle(PATIENT, LOW_TODAY)}).json
        said = house.post("/v1/evaluate", {"asOf": AT, "bundle": bundle(PATIENT, LOW_TODAY)} | MISSPELT[place]).json
    assert usual["issues"] == []
    assert said["issues"] == [{"reference": place, "problem": "Not a member of the request: not read."}]
    assert plain(said | {"issues": []}) == plain(usual)


@pytest.mark.parametrize("member", ["draftOrders", "medications"])
def test_what_is_no_resource_among_the_drafts_is_named(tmp_path: Path, member: str) -> None:
    context = {member: [FUROSEMIDE, 3]}
    with open_app(tmp_path) as house:
        said = house.post("/v1/evaluate", {"bundle": bundle(PATIENT), "hook": "order-sign", "context": context}).json
    assert [issue["reference"] for issue in said["issues"]] == [f"$.context.{member}[1]"]
    assert [drug["reference"] for drug in said["read"]["medications"]] == ["MedicationRequest/d1"]
