"""What a key is said to hold: nothing on file is never taken for nothing that came, nor the other way round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from service.cds.cards import Presentation
from service.cds.i18n import Wording
from service.cds.services import BY_ID
from service.decide import Call, decide_call
from service.errors import MissingData
from service.fhir.client import Pages
from service.fhir.decode import MAX_ENTRIES
from service.fhir.failure import FailureKind, ReadFailure
from service.fhir.ownership import EvaluationInput
from service.fhir.prefetch import Fetch, gather
from service.fhir.snapshot import read_snapshot
from service.logic.model import Hook
from service.terminology.queries import QUERIES, members, template
from tests.fhir.charts import LOINC, NOW, SITE, concept, observation, quantity

FOUND = {"resource": observation()}
WARNING = {"resource": {"resourceType": "OperationOutcome", "issue": [{"severity": "warning"}]}}
NEXT = {"link": [{"relation": "next", "url": "https://fhir.example/r4/next"}]}
KEY = {"key": "Observation?patient=p"}


def searchset(*entries: Any, **members: Any) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "searchset", **({"entry": list(entries)} if entries else {}), **members}


SENT = {
    "none there are": (searchset(total=0), "none"),
    "no total": (searchset(), "none"),
    "a total of null": (searchset(total=None), "none"),
    "a total that is none": (searchset(total="many"), "none"),
    "less than none": (searchset(total=-1), "none"),
    "a warning instead": (searchset(WARNING, total=0), "none"),
    "a count alone": (searchset(total=3), "incomplete"),
    "a count of many": (searchset(total=10**12), "incomplete"),
    "a count and no entries": (searchset(total=3, entry=[]), "incomplete"),
    "a count and a warning": (searchset(WARNING, total=3), "incomplete"),
    "a count alone in a batch": (searchset({"resource": searchset(total=3)}), "incomplete"),
    "a count, and the next page": (searchset(total=3, **NEXT), "incomplete"),
    "as many as there are": (searchset(FOUND, total=1), "present"),
    "fewer than there are": (searchset(FOUND, total=3), "present"),  # as many as were asked for, or may be seen
}


@pytest.mark.parametrize(("sent", "state"), SENT.values(), ids=SENT)
def test_a_total_without_anything_is_not_nothing_on_file(sent: Any, state: str) -> None:
    body = msgspec.json.encode(sent)
    prefetched = gather(KEY, {"key": body}, {}, {}, None)
    fetched = gather(KEY, {}, {}, {}, lambda _: {"key": Pages((body,))})
    assert prefetched.states["key"] == state
    assert bool(prefetched.unavailable) is (state == "incomplete")
    if "link" not in sent:
        assert (fetched.states, fetched.unavailable) == (prefetched.states, prefetched.unavailable)


PAGES = {
    "the last page is empty": ([searchset(FOUND, total=1, **NEXT), searchset(total=1)], "present"),
    "the first page is empty": ([searchset(total=1, **NEXT), searchset(FOUND, total=1)], "present"),
    "all pages are empty": ([searchset(total=1, **NEXT), searchset(total=1)], "incomplete"),
    "there is nothing on any": ([searchset(total=0, **NEXT), searchset(total=0)], "none"),
}


@pytest.mark.parametrize(("pages", "state"), PAGES.values(), ids=PAGES)
@pytest.mark.parametrize("sent", [0, 1], ids=["all fetched", "the first one sent"])
def test_each_page_states_the_total_of_all(pages: list[Any], state: str, sent: int) -> None:
    bodies = [msgspec.json.encode(page) for page in pages]
    rest = Pages(tuple(bodies[sent:]))
    prefetch = {"key": bodies[0]} if sent else {}
    found = gather(KEY, prefetch, {}, {}, lambda _: {"key": rest}, "https://fhir.example/r4")
    assert found.states["key"] == state
    assert bool(found.unavailable) is (state == "incomplete")
    assert len(found.resources) == (state == "present")


ERROR = {"resource": {"resourceType": "OperationOutcome", "issue": [{"severity": "error"}]}}
UNREADABLE = b"<html>"
TOO_MANY = b'{"resourceType":"Bundle","entry":[' + b",".join([b"{}"] * (MAX_ENTRIES + 1)) + b"]}"
FLAWED = {
    "an error, then nothing": ([searchset(ERROR, **NEXT), searchset()], "incomplete"),
    "an error, then something": ([searchset(ERROR, **NEXT), searchset(FOUND)], "incomplete"),
    "something, then an error": ([searchset(FOUND, **NEXT), searchset(ERROR)], "incomplete"),
    "something, then an error alone": ([searchset(FOUND, **NEXT), ERROR["resource"]], "incomplete"),
    "something, then nothing readable": ([searchset(FOUND, **NEXT), UNREADABLE], "incomplete"),
    "entries that are none, then nothing": ([searchset(5, **NEXT), searchset()], "incomplete"),
    "an error, and no more": ([searchset(ERROR, **NEXT), ReadFailure(FailureKind.GONE)], "incomplete"),
    "entries that are none, and no more": ([searchset(5, **NEXT), ReadFailure(FailureKind.GONE)], "failed"),
    "something, then as much": ([searchset(FOUND, **NEXT), searchset(FOUND)], "present"),
}
FLAWED_IF_FETCHED = {
    "nothing readable, then something": ([UNREADABLE, searchset(FOUND)], "incomplete"),
    "nothing readable, then nothing": ([UNREADABLE, searchset()], "incomplete"),
    "too much, then nothing": ([TOO_MANY, searchset()], "incomplete"),
    "an error alone, then nothing": ([ERROR["resource"], searchset()], "incomplete"),
    "nothing readable at all": ([UNREADABLE, UNREADABLE], "failed"),
}


def encoded(page: Any) -> bytes:
    return page if isinstance(page, bytes) else msgspec.json.encode(page)


@pytest.mark.parametrize(("pages", "state"), FLAWED.values(), ids=FLAWED)
def test_what_was_wrong_with_a_sent_page_stays_wrong_when_the_next_one_has_come(pages: list[Any], state: str) -> None:
    rest = pages[1] if isinstance(pages[1], ReadFailure) else Pages((encoded(pages[1]),))
    found = gather(KEY, {"key": encoded(pages[0])}, {}, {}, lambda _: {"key": rest}, "https://fhir.example/r4")
    assert found.states["key"] == state
    assert bool(found.unavailable) is (state != "present")


@pytest.mark.parametrize(("pages", "state"), (FLAWED | FLAWED_IF_FETCHED).values(), ids=FLAWED | FLAWED_IF_FETCHED)
def test_a_page_with_something_wrong_makes_all_fetched_pages_incomplete(pages: list[Any], state: str) -> None:
    bodies = tuple(encoded(page) for page in pages if not isinstance(page, ReadFailure))
    answer = Pages(bodies, None if len(bodies) == len(pages) else ReadFailure(FailureKind.GONE))
    found = gather(KEY, {}, {}, {}, lambda _: {"key": answer})
    assert found.states["key"] == state
    assert bool(found.unavailable) is (state != "present")


def test_one_key_sent_under_two_names_is_as_good_as_the_worse_of_them() -> None:
    sent = {"key": msgspec.json.encode(searchset(FOUND)), "theirs": UNREADABLE}
    found = gather(KEY, sent, {}, {"key": ["theirs"]}, None)
    assert (found.states, len(found.resources)) == ({"key": "incomplete"}, 1)


# ── what clinicians read ─────────────────────────────────────────────────────────────────────────────────────────────

VIEW = BY_ID["magnesium-patient-view"]


def details(prefetch: Mapping[str, Any], fetch: Fetch | None = None) -> str:
    """The text of the cards of a patient with low magnesium and nothing else on file."""
    usual = dict.fromkeys(VIEW.prefetch, searchset(total=0)) | {
        "patient": {"resourceType": "Patient", "id": "p", "birthDate": "1950-01-01"},
        "magnesium": searchset(FOUND),
    }
    sent = {key: msgspec.json.encode(value) for key, value in (usual | prefetch).items()}
    access: dict[str, Any] = {"fetch": fetch, "fhir_server": "https://fhir.example/r4"}
    call = Call(Hook.PATIENT_VIEW, NOW, {"patientId": "p"}, VIEW.prefetch, sent, **access)
    decision = decide_call(call, SITE, Presentation(Wording("en", SITE.zone)))
    return "\n".join(str(card.body["detail"]) for card in decision.cards)


def test_a_count_alone_is_named_on_the_card() -> None:
    assert "potassium" not in details({}).partition("Could not be read")[2]
    assert "potassium" in details({"potassium": searchset(total=3)}).partition("Could not be read")[2]


def test_an_error_of_the_ehr_is_named_on_the_card_though_the_next_page_came_and_is_empty() -> None:
    def fetch(queries: Mapping[str, str]) -> Mapping[str, Pages | ReadFailure]:
        return dict.fromkeys(queries, Pages((msgspec.json.encode(searchset()),)))

    shown = details({"potassium": searchset(ERROR, **NEXT)}, fetch)
    assert "potassium" in shown.partition("Could not be read")[2]


@pytest.mark.parametrize("key", ["patient", "magnesium"])
def test_a_count_alone_of_what_is_required_is_no_ground_for_an_answer(key: str) -> None:
    with pytest.raises(MissingData) as refused:
        details({key: searchset(total=1)})
    assert set(refused.value.missing) == {key}


# ---- merged searches ------------------------------------------------------------------------------------------------

NOTHING = searchset(total=0)
K = {"resource": observation(id="k", code=concept(LOINC, "2823-3"), valueQuantity=quantity(2.9, "mmol/L"))}
CHART = searchset(
    {"resource": {"resourceType": "Patient", "id": "p", "birthDate": "1950-01-01"}},
    FOUND,
    {"resource": {"resourceType": "Condition", "id": "c", "subject": {"reference": "Patient/p"}}},
)


def many(number: int) -> list[Any]:
    """Results of potassium, newest first."""
    return [{"resource": K["resource"] | {"id": f"k{n}"}} for n in range(number)]


def not_known(prefetch: Mapping[str, Any], unsent: frozenset[str] = frozenset(), **aliases: tuple[str, ...]) -> Any:
    """Why single keys could not be judged, for a call that was sent exactly this."""
    sent = {key: msgspec.json.encode(value) for key, value in prefetch.items()}
    gathered = gather(VIEW.prefetch, sent, {"patientId": "p"}, aliases, None, "", unsent)
    chart = EvaluationInput(
        patient_id="p",
        as_of=NOW,
        resources=tuple(gathered.resources),
        asked=frozenset(gathered.asked),
        filled=tuple(gathered.filled),
        unavailable=gathered.unavailable,
    )
    return dict(read_snapshot(chart, SITE).unavailable)


USUAL = dict.fromkeys(VIEW.prefetch, NOTHING) | {
    "patient": CHART["entry"][0]["resource"],
    "magnesium": searchset(FOUND),
}
OF_CHEMISTRY = {"calcium", "albumin", "bicarbonate", "phosphate"}


@pytest.mark.parametrize(
    ("chemistry", "missing"),
    [
        (searchset(*many(59)), set()),
        (searchset(*many(60)), OF_CHEMISTRY),
        (searchset(*many(60), total=60), set()),
        (searchset(*many(60), total=61), OF_CHEMISTRY),
        (searchset(*many(1), **NEXT), OF_CHEMISTRY),
        (searchset(), set()),
        (searchset(total=1), OF_CHEMISTRY | {"potassium"}),
        (ERROR["resource"], OF_CHEMISTRY | {"potassium"}),
    ],
)
def test_what_is_not_on_a_truncated_merged_search_is_incomplete_and_not_absent(
    chemistry: Any, missing: set[str]
) -> None:
    assert set(not_known(USUAL | {"chemistry": chemistry})) == missing


def test_single_keys_answer_a_merged_one_and_the_later_ones_are_not_missed() -> None:
    single = {key: NOTHING for key, query in QUERIES.items() if not query.extra} | {
        key: USUAL[key] for key in ("patient", "magnesium")
    }
    assert not_known(single) == {}
    lacking = {key: value for key, value in single.items() if key != "albumin"}
    assert set(not_known(lacking)) == {"albumin"}


def test_of_a_merged_search_only_what_did_not_come_is_asked_for() -> None:
    asked: dict[str, str] = {}

    def fetch(queries: Mapping[str, str]) -> Mapping[str, Pages | ReadFailure]:
        asked.update(queries)
        return {}

    sent = {key: msgspec.json.encode(NOTHING) for key in ("potassium", "calcium", "albumin")}
    gather({"chemistry": template("chemistry")}, sent, {"patientId": "p"}, {}, fetch)
    assert list(asked) == ["chemistry"]
    assert ("1963-8" in asked["chemistry"], "2823-3" in asked["chemistry"]) == (True, False)


@pytest.mark.parametrize("key", ["everything", "patient", "conditions", "chemistry"])
def test_one_key_with_the_whole_chart_leaves_nothing_to_miss(key: str) -> None:
    assert not_known({key: CHART}) == {}


def test_what_a_whole_chart_does_not_hold_is_asked_for_where_there_is_access() -> None:
    asked: dict[str, str] = {}

    def fetch(queries: Mapping[str, str]) -> Mapping[str, Pages | ReadFailure]:
        asked.update(queries)
        return {}

    held = {entry["resource"]["resourceType"] for entry in CHART["entry"]}
    gather(VIEW.prefetch, {"everything": msgspec.json.encode(CHART)}, {"patientId": "p", "encounterId": "e"}, {}, fetch)
    assert asked.keys() == {key for key in VIEW.prefetch if all(QUERIES[k].kind not in held for k in members(key))}


def test_one_bundle_under_every_key_leaves_nothing_to_miss() -> None:
    assert not_known(dict.fromkeys(VIEW.prefetch, CHART)) == {}
    assert not_known(dict.fromkeys(QUERIES, CHART)) == {}


def test_a_part_of_a_chart_is_no_chart() -> None:
    part = searchset(*CHART["entry"][:2])
    assert {"conditions", "creatinine", "potassium", "medicationRequests"} <= set(not_known({"everything": part}))
    assert "creatinine" in not_known({"everything": CHART | {"link": NEXT["link"]}})


def test_one_name_of_theirs_may_stand_for_several_of_ours() -> None:
    keys = ("potassium", "calcium", "albumin", "bicarbonate", "phosphate")
    sent = {key: value for key, value in USUAL.items() if key != "chemistry"}
    assert set(keys) - {"phosphate"} <= set(not_known(sent))
    aliases = dict.fromkeys(keys, ("basicPanel",))
    assert not_known(sent | {"basicPanel": searchset(K)}, **aliases) == {}
    assert set(not_known(sent | {"basicPanel": ERROR["resource"]}, **aliases)) == set(keys)


def test_what_is_never_sent_is_neither_missed_nor_asked_for() -> None:
    sent = {key: value for key, value in USUAL.items() if key not in {"rareLabs", "conditions"}}
    assert set(not_known(sent)) == {
        "conditions",
        "rbcMagnesium",
        "ionizedMagnesium",
        "urineMagnesium",
        "urineCreatinine",
    }
    assert not_known(sent, frozenset({"rareLabs", "conditions"})) == {}
    asked: dict[str, str] = {}

    def fetch(queries: Mapping[str, str]) -> Mapping[str, Pages | ReadFailure]:
        asked.update(queries)
        return {}

    gather(VIEW.prefetch, {}, {"patientId": "p"}, {}, fetch, "", {"urineMagnesium", "conditions"})
    assert "conditions" not in asked
    assert ("26746-8" in asked["rareLabs"], "19124-7" in asked["rareLabs"]) == (True, False)


def test_only_a_child_misses_its_height() -> None:
    failed = USUAL | {"measurements": ERROR["resource"]}
    assert set(not_known(failed)) == {"qtc"}
    child = failed | {"patient": USUAL["patient"] | {"birthDate": "2015-01-01"}}
    assert set(not_known(child)) == {"qtc", "bodyHeight", "bodyWeight"}
